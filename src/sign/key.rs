//! One key of one zone: its DNSKEY record and what is derived from it.
//!
//! ```text
//!  DNSKEY  flags 2 | protocol 3 | algorithm 1 | public key       256 zone key, 257 with SEP
//!  DS      key tag 2 | algorithm 1 | digest type 2 (SHA-256) | SHA-256(owner | DNSKEY)
//! ```
//!
//! Key files do not say whether a key with the SEP flag signs keys alone or the zone as well: as
//! everywhere, it signs the zone while no key without the flag does.

use super::secret::Secret;
use super::times::{KeyTimes, Moment};
use crate::model::dnssec::Algorithm;
use crate::zone::name::Name;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const ZONE_KEY: u16 = 256;
const SEP: u16 = 1;
const PROTOCOL: u8 = 3;
/// TTL of DNSKEY, CDS and CDNSKEY, in seconds: rollovers wait for it.
pub const KEY_TTL: u32 = 3_600;
/// SHA-256 (RFC 4509), the digest every validator knows.
const DIGEST_SHA256: u8 = 2;

/// What a key is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// One key for everything.
    #[default]
    Csk,
    /// Signs DNSKEY, CDS and CDNSKEY; the parent's DS names it.
    Ksk,
    /// Signs the rest.
    Zsk,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Role::Csk => "csk",
            Role::Ksk => "ksk",
            Role::Zsk => "zsk",
        }
    }

    pub const fn flags(self) -> u16 {
        match self {
            Role::Csk | Role::Ksk => ZONE_KEY | SEP,
            Role::Zsk => ZONE_KEY,
        }
    }
}

/// A key; cheap to clone.
#[derive(Clone, Debug)]
pub struct Key {
    pub zone: Name,
    pub flags: u16,
    pub algorithm: Algorithm,
    /// As in DNSKEY.
    pub public: Box<[u8]>,
    pub times: KeyTimes,
    pub secret: Arc<Secret>,
}

impl Key {
    /// Has the SEP flag: signs keys, is named by DS.
    pub fn is_sep(&self) -> bool {
        self.flags & SEP != 0
    }

    pub fn dnskey(&self) -> Vec<u8> {
        dnskey(self.flags, self.algorithm, &self.public)
    }

    pub fn tag(&self) -> u16 {
        tag(&self.dnskey())
    }

    /// DS, and CDS, which has the same form (RFC 7344 3.1).
    pub fn ds(&self) -> Vec<u8> {
        let dnskey = self.dnskey();
        let digest = Sha256::new().chain_update(self.zone.as_wire()).chain_update(&dnskey).finalize();
        let mut out = tag(&dnskey).to_be_bytes().to_vec();
        out.extend([self.algorithm.number(), DIGEST_SHA256]);
        out.extend_from_slice(&digest);
        out
    }

    /// The DS record as a parent zone's file has it.
    pub fn ds_text(&self) -> String {
        let ds = self.ds();
        let digest = data_encoding::HEXUPPER.encode(ds.get(4..).unwrap_or_default());
        format!(
            "{} IN DS {} {} {DIGEST_SHA256} {digest}",
            origin(&self.zone),
            self.tag(),
            self.algorithm.number()
        )
    }

    pub fn is_published(&self, now: Moment) -> bool {
        self.times.is_published(now)
    }
}

/// DNSKEY and CDNSKEY RDATA.
pub fn dnskey(flags: u16, algorithm: Algorithm, public: &[u8]) -> Vec<u8> {
    let mut out = flags.to_be_bytes().to_vec();
    out.extend([PROTOCOL, algorithm.number()]);
    out.extend_from_slice(public);
    out
}

/// RFC 4034 appendix B.
pub fn tag(dnskey: &[u8]) -> u16 {
    let pairs = dnskey.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum: u32 = pairs.sum();
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

/// A zone's name with its final dot.
pub fn origin(zone: &Name) -> String {
    if zone.is_root() { ".".to_owned() } else { format!("{zone}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_and_ds_of_rfc_6605_and_rfc_8080() {
        let check = |zone: &str, algorithm, public: &str, expected_tag, digest: &str| {
            let public = data_encoding::BASE64.decode(public.as_bytes()).expect("base64");
            let (octets, own) = super::super::secret::generate(algorithm).expect("a key");
            let secret = Secret::read(algorithm, &octets, &own).expect("a pair");
            let key = Key {
                zone: Name::parse_text(zone).expect("a name"),
                flags: Role::Csk.flags(),
                algorithm,
                public: public.into(),
                times: KeyTimes::default(),
                secret: Arc::new(secret),
            };
            assert_eq!(key.tag(), expected_tag);
            let text = key.ds_text();
            assert!(text.to_lowercase().ends_with(digest), "{text}");
        };
        // RFC 6605 6.1.
        check(
            "example.net.",
            Algorithm::EcdsaP256Sha256,
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
            55648,
            "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
        );
        // RFC 8080 6.1.
        check(
            "example.com.",
            Algorithm::Ed25519,
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            3613,
            "3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
        );
    }
}
