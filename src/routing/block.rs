//! Records of one RRset as wire bytes, made once and copied into every answer.
//!
//! ```text
//!  offset  0      2      4       6     10      12
//!          C0 0C  type   IN      ttl   rdlen   rdata      repeated, one record after another
//!          owner: a pointer to the question, right for most answers; an encoder that needs
//!          another owner walks the records and patches the two bytes
//! ```
//!
//! RDATA is uncompressed, so a block means the same anywhere in a message.

use std::sync::Arc;

/// Octets of a record before its RDATA.
pub const RECORD_HEAD: usize = 12;
/// A compression pointer to the name of the question.
pub const QUESTION_POINTER: [u8; 2] = [0xc0, 0x0c];
const CLASS_IN: u16 = 1;

/// Zero or more records of one owner. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Block {
    bytes: Arc<[u8]>,
    count: u16,
}

/// One record of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord<'a> {
    /// Offset of the record in its block.
    pub at: usize,
    pub rtype: u16,
    pub ttl: u32,
    pub rdata: &'a [u8],
}

impl Block {
    /// Encodes one RRset. RDATA longer than 65,535 octets is left out: no record can hold it, and
    /// the zone reader and the address types cannot make it.
    pub fn of<'r>(rtype: u16, ttl: u32, rdata: impl IntoIterator<Item = &'r [u8], IntoIter: Clone>) -> Self {
        Self::in_class(CLASS_IN, rtype, ttl, rdata)
    }

    /// As [`of`](Self::of), in another class than IN.
    pub fn in_class<'r>(
        class: u16,
        rtype: u16,
        ttl: u32,
        rdata: impl IntoIterator<Item = &'r [u8], IntoIter: Clone>,
    ) -> Self {
        let rdata = rdata.into_iter();
        let mut bytes = Vec::with_capacity(rdata.clone().map(|data| RECORD_HEAD + data.len()).sum());
        let mut count = 0;
        for data in rdata {
            let Ok(len) = u16::try_from(data.len()) else { continue };
            bytes.extend_from_slice(&QUESTION_POINTER);
            bytes.extend_from_slice(&rtype.to_be_bytes());
            bytes.extend_from_slice(&class.to_be_bytes());
            bytes.extend_from_slice(&ttl.to_be_bytes());
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(data);
            count += 1;
        }
        Self { bytes: bytes.into(), count }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub fn count(&self) -> u16 {
        self.count
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records in order; stops early at bytes that are no record.
    pub fn records(&self) -> Records<'_> {
        Records::of(&self.bytes)
    }

    /// The TTL of the first record, in seconds.
    pub fn ttl(&self) -> Option<u32> {
        self.records().next().map(|record| record.ttl)
    }

    /// Whether the bytes are exactly `count` whole records.
    pub fn is_well_formed(&self) -> bool {
        let mut records = self.records();
        let whole = records.by_ref().count();
        whole == usize::from(self.count) && records.at == self.bytes.len()
    }
}

/// Iterator over the records of a block.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Over the bytes of a block.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = BlockRecord<'a>;

    fn next(&mut self) -> Option<BlockRecord<'a>> {
        let at = self.at;
        let [_, _, t0, t1, _, _, l0, l1, l2, l3, d0, d1] =
            *self.bytes.get(at..)?.first_chunk::<RECORD_HEAD>()?;
        let start = at + RECORD_HEAD;
        let end = start + usize::from(u16::from_be_bytes([d0, d1]));
        let rdata = self.bytes.get(start..end)?;
        self.at = end;
        let rtype = u16::from_be_bytes([t0, t1]);
        Some(BlockRecord { at, rtype, ttl: u32::from_be_bytes([l0, l1, l2, l3]), rdata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_back_as_it_was_written() {
        let block = Block::of(16, 300, [&b"\x01a"[..], b"\x02bc"]);
        assert_eq!(block.count(), 2);
        assert!(block.is_well_formed());
        let read: Vec<_> = block.records().map(|record| (record.at, record.rtype, record.ttl)).collect();
        assert_eq!(read, [(0, 16, 300), (14, 16, 300)]);
        assert_eq!(block.ttl(), Some(300));
    }

    #[test]
    fn cut_bytes_are_not_well_formed() {
        let whole = Block::of(1, 5, [&[1, 2, 3, 4][..]]);
        let cut = Block { bytes: whole.bytes[..15].into(), count: 1 };
        assert!(!cut.is_well_formed());
        assert!(cut.records().next().is_none());
    }
}
