//! Zone transfer as policy asks for it: which zones go to whom, and who is told of changes.

use super::dnssec::SignedZones;
use crate::base::diagnostic::Span;
use crate::base::prefix::Prefix;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// `transfer:` of `rhumb.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferConfig {
    pub zones: SignedZones,
    /// Where rhumb.yaml names them, for messages of later stages.
    pub zones_span: Span,
    /// Clients outside are refused; empty: every client that has a key.
    pub allow: Vec<Prefix>,
    /// File of the TSIG keys, relative to the policy folder. With it, every transfer must be signed.
    pub keys: Option<PathBuf>,
    /// Where rhumb.yaml names it.
    pub keys_span: Span,
    /// Told of changes (RFC 1996).
    pub secondaries: Vec<Secondary>,
}

/// A server that keeps a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Secondary {
    pub address: SocketAddr,
    /// Name of the TSIG key that messages to it are signed with; as policy writes it.
    pub key: Option<String>,
}

impl TransferConfig {
    /// Whether a client may have zones as far as its address tells.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let is_listed = self.allow.iter().any(|prefix| prefix.contains(peer));
        is_listed || self.allow.is_empty() && self.keys.is_some()
    }
}
