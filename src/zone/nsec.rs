//! NSEC records (RFC 4034 4) and the order their chain stands in.
//!
//! ```text
//!  RDATA   next owner | window, length, bits | window, length, bits ...     types ascending
//!  order   b.a.example.  ─▶  key  example 0 a 0 b 0
//! ```
//!
//! A [`SortKey`] is a name whose bytes compare like the canonical order of names (RFC 4034 6.1), so
//! that a chain is searched by comparing memory. Labels are turned round and each is closed by a
//! zero; a zero inside a label becomes `01 01` and a one `01 02`, which keeps the order. Which names
//! are in a chain is decided elsewhere.

use super::name::{MAX_NAME, Name};
use super::rtype;
use std::collections::BTreeSet;

/// Every octet of a name may become two.
const MAX_KEY: usize = 2 * MAX_NAME;

/// A name in a form whose bytes sort canonically.
#[derive(Clone)]
pub struct SortKey {
    bytes: [u8; MAX_KEY],
    len: usize,
}

impl SortKey {
    /// Of a whole lower-case wire name; allocates nothing. Bytes that are no name give a key of
    /// what could be read.
    pub fn of(wire: &[u8]) -> Self {
        let mut starts = [0_u8; MAX_NAME];
        let (mut at, mut labels) = (0, 0);
        while let Some(&len) = wire.get(at)
            && len != 0
            && at < MAX_NAME
        {
            starts[labels] = u8::try_from(at).unwrap_or(u8::MAX);
            labels += 1;
            at += usize::from(len) + 1;
        }
        let mut key = Self { bytes: [0; MAX_KEY], len: 0 };
        for start in starts[..labels].iter().rev() {
            let start = usize::from(*start);
            let end = start + 1 + usize::from(wire[start]);
            wire.get(start + 1..end).unwrap_or_default().iter().for_each(|octet| key.push_octet(*octet));
            key.push(0);
        }
        key
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push_octet(&mut self, octet: u8) {
        match octet {
            0 | 1 => {
                self.push(1);
                self.push(octet + 1);
            }
            _ => self.push(octet),
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

/// RDATA of the NSEC record that leads to `next`; NSEC and RRSIG are always among its types.
pub fn rdata(next: &Name, types: &BTreeSet<u16>) -> Vec<u8> {
    let mut types = types.clone();
    types.extend([rtype::NSEC, rtype::RRSIG]);
    let mut out = next.as_wire().to_vec();
    let mut types = types.into_iter().peekable();
    while let Some(first) = types.next() {
        let [window, low] = first.to_be_bytes();
        let mut bits = [0_u8; 32];
        let mut last = set_bit(&mut bits, low);
        while let Some(more) = types.next_if(|rtype| rtype.to_be_bytes()[0] == window) {
            last = set_bit(&mut bits, more.to_be_bytes()[1]);
        }
        let len = last / 8 + 1;
        out.extend([window, len]);
        out.extend_from_slice(&bits[..usize::from(len)]);
    }
    out
}

/// Bit 0 is the most significant; returns `low`.
fn set_bit(bits: &mut [u8; 32], low: u8) -> u8 {
    bits[usize::from(low / 8)] |= 0x80 >> (low % 8);
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse_text(text).expect("a good name")
    }

    #[test]
    fn the_example_of_rfc_4034_4_3() {
        let types = BTreeSet::from([1, 15, 1234]);
        let mut expected = b"\x04host\x07example\x03com\x00".to_vec();
        expected.extend([0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b]);
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(rdata(&name("host.example.com."), &types), expected);
    }

    #[test]
    fn the_order_of_rfc_4034_6_1() {
        let names = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let keys: Vec<_> = names.iter().map(|text| SortKey::of(name(text).as_wire())).collect();
        assert!(keys.windows(2).all(|pair| pair[0].as_bytes() < pair[1].as_bytes()));
    }

    proptest! {
        #[test]
        fn keys_sort_like_names(labels in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(0_u8..4, 1..4), 0..4), 2..3))
        {
            let wire = |labels: &Vec<Vec<u8>>| {
                let mut wire = Vec::new();
                for label in labels {
                    wire.push(label.len() as u8);
                    wire.extend(label);
                }
                wire.push(0);
                Name::from_wire(&wire).expect("short labels")
            };
            let (a, b) = (wire(&labels[0]), wire(&labels[1]));
            let (key_a, key_b) = (SortKey::of(a.as_wire()), SortKey::of(b.as_wire()));
            prop_assert_eq!(a.cmp(&b), key_a.as_bytes().cmp(key_b.as_bytes()));
        }
    }
}
