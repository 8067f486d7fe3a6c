//! One RRSIG record (RFC 4034 3).
//!
//! ```text
//!  RDATA    type 2 | algorithm 1 | labels 1 | original TTL 4 | expiration 4 | inception 4 | key tag 2
//!           | signer's name | signature
//!  signed   RDATA without signature | per record: owner | type | class IN | original TTL | length | RDATA
//! ```
//!
//! Owner and signer are lower case, records canonical and in order; a wildcard's `*` is not counted in
//! labels, by which validators see that an answer was expanded from it.

use super::key::Key;
use super::trusted_time::Window;
use crate::zone::canonical;
use crate::zone::name::Name;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Identifies content and the key it is signed with.
pub type ContentKey = [u8; 32];

/// An RRset to be signed.
#[derive(Clone, Debug)]
pub struct SetToSign<'a> {
    pub owner: &'a Name,
    pub rtype: u16,
    /// Seconds; the original TTL.
    pub ttl: u32,
    /// Canonical, ordered.
    records: Vec<Cow<'a, [u8]>>,
}

impl<'a> SetToSign<'a> {
    pub fn new(owner: &'a Name, rtype: u16, ttl: u32, records: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { owner, rtype, ttl, records: canonical::rrset(rtype, records) }
    }

    /// Of all that a signature says but its validity.
    pub fn content(&self, key: &Key) -> ContentKey {
        let mut hash = Sha256::new();
        // Every part ends where the next begins: names by their zero, the others by fixed or told lengths.
        hash.update(key.zone.as_wire());
        hash.update(self.owner.as_wire());
        hash.update(self.rtype.to_be_bytes());
        hash.update(self.ttl.to_be_bytes());
        hash.update(key.flags.to_be_bytes());
        hash.update([key.algorithm.number()]);
        hash.update(&key.public);
        for record in &self.records {
            hash.update((record.len() as u64).to_be_bytes());
            hash.update(record);
        }
        hash.finalize().into()
    }

    /// The RRSIG's RDATA up to the signature, and what is to be signed.
    pub fn message(&self, key: &Key, window: Window) -> (Vec<u8>, Vec<u8>) {
        let head = self.head(key, window);
        let mut message = head.clone();
        for record in &self.records {
            message.extend_from_slice(self.owner.as_wire());
            message.extend_from_slice(&self.rtype.to_be_bytes());
            message.extend_from_slice(&[0, 1]);
            message.extend_from_slice(&self.ttl.to_be_bytes());
            // A record that stands in a zone or a block is no longer than that.
            let len = u16::try_from(record.len()).unwrap_or(u16::MAX);
            message.extend_from_slice(&len.to_be_bytes());
            message.extend_from_slice(record);
        }
        (head, message)
    }

    fn head(&self, key: &Key, window: Window) -> Vec<u8> {
        let labels = self.owner.label_count() - usize::from(self.owner.is_wildcard());
        let mut head = self.rtype.to_be_bytes().to_vec();
        head.push(key.algorithm.number());
        head.push(u8::try_from(labels).unwrap_or(u8::MAX));
        head.extend(self.ttl.to_be_bytes());
        // Serial numbers (RFC 4034 3.1.5): what does not fit wraps.
        head.extend((window.expiration as u32).to_be_bytes());
        head.extend((window.inception as u32).to_be_bytes());
        head.extend(key.tag().to_be_bytes());
        head.extend_from_slice(key.zone.as_wire());
        head
    }
}
