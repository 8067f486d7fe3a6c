//! Signing as policy asks for it: which zones, with which algorithm, with keys from where.

use crate::base::diagnostic::Span;
use std::path::PathBuf;

/// Signature algorithms that rhumb makes keys for (RFC 8624: one that all validators know, one that
/// is preferred).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RFC 6605.
    #[default]
    EcdsaP256Sha256,
    /// RFC 8080.
    Ed25519,
}

impl Algorithm {
    pub const ALL: [Algorithm; 2] = [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519];

    /// Of the IANA registry.
    pub const fn number(self) -> u8 {
        match self {
            Algorithm::EcdsaP256Sha256 => 13,
            Algorithm::Ed25519 => 15,
        }
    }

    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            13 => Some(Algorithm::EcdsaP256Sha256),
            15 => Some(Algorithm::Ed25519),
            _ => None,
        }
    }

    /// As policy and command line write it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::EcdsaP256Sha256 => "ecdsap256sha256",
            Algorithm::Ed25519 => "ed25519",
        }
    }

    /// Octets of a public key in a DNSKEY record.
    pub const fn public_len(self) -> usize {
        match self {
            Algorithm::EcdsaP256Sha256 => 64,
            Algorithm::Ed25519 => 32,
        }
    }
}

/// Which zones are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedZones {
    All,
    /// Origins: lower case, without the final dot.
    Listed(Vec<String>),
}

impl SignedZones {
    /// `origin` without its final dot.
    pub fn has(&self, origin: &str) -> bool {
        match self {
            SignedZones::All => true,
            SignedZones::Listed(zones) => zones.iter().any(|zone| zone == origin),
        }
    }
}

/// `dnssec:` of `rhumb.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnssecConfig {
    pub zones: SignedZones,
    /// Where rhumb.yaml names them, for messages of later stages.
    pub zones_span: Span,
    /// Folder of the key files; relative paths are relative to the working folder, so that keys do
    /// not lie among files that are shared.
    pub keys: PathBuf,
    /// Of keys made from now on; existing keys keep theirs.
    pub algorithm: Algorithm,
}

impl DnssecConfig {
    /// Where keys are if policy does not say.
    pub const DEFAULT_KEYS: &'static str = "keys";
}
