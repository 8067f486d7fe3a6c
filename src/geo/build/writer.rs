//! Writes the MMDB container (MaxMind DB file format 2.0) around a finished [`Tree`].
//!
//! ```text
//! | search tree: node = 2 records of 24, 28 or 32 bits | 16 zero bytes | data | marker | metadata |
//!   record < node count: child     = node count: nothing     above: 16 + offset into data
//! ```
//!
//! Values are written once each, in the order the tree first needs them; a string that was written
//! before becomes a pointer to it when that is shorter. Only what the two databases hold can be
//! written: maps with text keys, text, unsigned numbers and lists of text.

use std::collections::HashMap;

use super::tree::{NO_DATA, Record, Tree};

/// A value of the data section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Map(Vec<(&'static str, Value)>),
    Text(String),
    U16(u16),
    U32(u32),
    U64(u64),
    List(Vec<Value>),
}

/// All that goes into one file.
pub struct Database<'a> {
    pub tree: &'a Tree,
    /// Value `n` of the tree is `values[n - 1]`.
    pub values: &'a [Value],
    pub database_type: String,
    /// English; attribution and licence belong here.
    pub description: String,
    /// Seconds since 1970: the date of the source.
    pub build_epoch_s: u64,
}

/// A finished file.
pub struct Written {
    pub bytes: Vec<u8>,
    /// Values the data section holds.
    pub records: usize,
}

const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
const SEPARATOR_BYTES: u32 = 16;

/// Writes the file; `None` if it does not fit 32-bit records.
pub fn write(database: &Database<'_>) -> Option<Written> {
    let node_count = u32::try_from(database.tree.nodes.len()).ok()?;
    let data = Data::of(database, node_count)?;
    let last_record = node_count.checked_add(SEPARATOR_BYTES)?.checked_add(data.last_offset)?;
    let record_bits: u16 = match last_record {
        0..=0x00ff_ffff => 24,
        0x0100_0000..=0x0fff_ffff => 28,
        _ => 32,
    };
    let mut bytes = Vec::new();
    for records in &data.nodes {
        push_node(&mut bytes, *records, record_bits);
    }
    bytes.extend_from_slice(&[0; SEPARATOR_BYTES as usize]);
    bytes.extend_from_slice(&data.section.bytes);
    bytes.extend_from_slice(MARKER);
    let mut metadata = Section::default();
    metadata.push(&metadata_of(database, node_count, record_bits))?;
    bytes.extend_from_slice(&metadata.bytes);
    Some(Written { bytes, records: data.records })
}

fn metadata_of(database: &Database<'_>, node_count: u32, record_bits: u16) -> Value {
    Value::Map(vec![
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(database.build_epoch_s)),
        ("database_type", Value::Text(database.database_type.clone())),
        ("description", Value::Map(vec![("en", Value::Text(database.description.clone()))])),
        ("ip_version", Value::U16(6)),
        ("languages", Value::List(vec![Value::Text("en".into())])),
        ("node_count", Value::U32(node_count)),
        ("record_size", Value::U16(record_bits)),
    ])
}

/// The data section and the tree's records as they stand in the file.
struct Data {
    section: Section,
    nodes: Vec<[u32; 2]>,
    records: usize,
    last_offset: u32,
}

impl Data {
    /// Numbers nodes from the root (created last) down and gives each value its offset.
    fn of(database: &Database<'_>, node_count: u32) -> Option<Data> {
        let mut data = Data {
            section: Section::default(),
            nodes: Vec::with_capacity(database.tree.nodes.len()),
            records: 0,
            last_offset: 0,
        };
        let mut offsets: Vec<Option<u32>> = vec![None; database.values.len()];
        for children in database.tree.nodes.iter().rev() {
            let mut records = [0; 2];
            for (record, child) in records.iter_mut().zip(children) {
                *record = match *child {
                    Record::Node(index) => node_count - 1 - index,
                    Record::Value(NO_DATA) => node_count,
                    Record::Value(value) => {
                        let offset = data.offset_of(value as usize - 1, database.values, &mut offsets)?;
                        node_count.checked_add(SEPARATOR_BYTES)?.checked_add(offset)?
                    }
                };
            }
            data.nodes.push(records);
        }
        Some(data)
    }

    fn offset_of(&mut self, index: usize, values: &[Value], offsets: &mut [Option<u32>]) -> Option<u32> {
        if let Some(offset) = *offsets.get(index)? {
            return Some(offset);
        }
        let offset = u32::try_from(self.section.bytes.len()).ok()?;
        self.section.push(values.get(index)?)?;
        self.records += 1;
        self.last_offset = offset;
        offsets[index] = Some(offset);
        Some(offset)
    }
}

fn push_node(bytes: &mut Vec<u8>, [left, right]: [u32; 2], record_bits: u16) {
    let (l, r) = (left.to_be_bytes(), right.to_be_bytes());
    match record_bits {
        24 => bytes.extend_from_slice(&[l[1], l[2], l[3], r[1], r[2], r[3]]),
        // The middle byte holds the top four bits of both records, the left one's first.
        28 => bytes.extend_from_slice(&[l[1], l[2], l[3], l[0] << 4 | r[0], r[1], r[2], r[3]]),
        _ => bytes.extend_from_slice(&[l[0], l[1], l[2], l[3], r[0], r[1], r[2], r[3]]),
    }
}

/// Type numbers of the format.
mod kind {
    pub const POINTER: u8 = 1;
    pub const TEXT: u8 = 2;
    pub const U16: u8 = 5;
    pub const U32: u8 = 6;
    pub const MAP: u8 = 7;
    pub const U64: u8 = 9;
    pub const LIST: u8 = 11;
}

/// Encoded values and where each string was first written.
#[derive(Default)]
struct Section {
    bytes: Vec<u8>,
    strings: HashMap<String, usize>,
}

impl Section {
    fn push(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Text(text) => self.text(text),
            Value::U16(number) => self.number(kind::U16, u64::from(*number)),
            Value::U32(number) => self.number(kind::U32, u64::from(*number)),
            Value::U64(number) => self.number(kind::U64, *number),
            Value::Map(fields) => {
                self.control(kind::MAP, fields.len())?;
                for (key, value) in fields {
                    self.text(key)?;
                    self.push(value)?;
                }
                Some(())
            }
            Value::List(items) => {
                self.control(kind::LIST, items.len())?;
                items.iter().try_for_each(|item| self.push(item))
            }
        }
    }

    fn number(&mut self, kind: u8, number: u64) -> Option<()> {
        let significant = 8 - number.leading_zeros() as usize / 8;
        self.control(kind, significant)?;
        self.bytes.extend_from_slice(&number.to_be_bytes()[8 - significant..]);
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        if let Some(&at) = self.strings.get(text) {
            let pointer = pointer(at)?;
            if pointer.len() <= text.len() {
                self.bytes.extend_from_slice(&pointer);
                return Some(());
            }
        }
        self.strings.entry(text.to_owned()).or_insert(self.bytes.len());
        self.control(kind::TEXT, text.len())?;
        self.bytes.extend_from_slice(text.as_bytes());
        Some(())
    }

    /// The control byte, the extended type and the size; sizes from 29 on take more bytes.
    fn control(&mut self, kind: u8, size: usize) -> Option<()> {
        let (low_bits, more): (u8, &[u8]) = match size {
            0..=28 => (u8::try_from(size).ok()?, &[]),
            29..=284 => (29, &(size - 29).to_be_bytes()[7..]),
            285..=65_820 => (30, &(size - 285).to_be_bytes()[6..]),
            65_821..=16_843_036 => (31, &(size - 65_821).to_be_bytes()[5..]),
            _ => return None,
        };
        if kind < 8 {
            self.bytes.push(kind << 5 | low_bits);
        } else {
            self.bytes.extend_from_slice(&[low_bits, kind - 7]);
        }
        self.bytes.extend_from_slice(more);
        Some(())
    }
}

/// A pointer to `at`, in 2 to 5 bytes: `001 ss vvv` and 1 to 4 bytes more, each size starting
/// where the one before it ends.
fn pointer(at: usize) -> Option<Vec<u8>> {
    let at = u32::try_from(at).ok()?;
    let with = |size: u8, value: u32, bytes: usize| {
        let value = value.to_be_bytes();
        let high = if bytes < 4 { value[3 - bytes] } else { 0 };
        let mut out = vec![kind::POINTER << 5 | size << 3 | high];
        out.extend_from_slice(&value[4 - bytes..]);
        out
    };
    Some(match at {
        0..=2_047 => with(0, at, 1),
        2_048..=526_335 => with(1, at - 2_048, 2),
        526_336..=134_744_063 => with(2, at - 526_336, 3),
        _ => with(3, at, 4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut section = Section::default();
        section.push(value).expect("fits");
        section.bytes
    }

    #[test]
    fn values_are_encoded_as_the_format_says() {
        assert_eq!(encoded(&Value::U32(0)), [0xc0]);
        assert_eq!(encoded(&Value::U16(258)), [0xa2, 1, 2]);
        assert_eq!(encoded(&Value::U64(1)), [0x01, 0x02, 1]);
        assert_eq!(encoded(&Value::Text("CN".into())), [0x42, b'C', b'N']);
        assert_eq!(encoded(&Value::Text("x".repeat(30)))[..2], [0x5d, 1]);
        assert_eq!(encoded(&Value::Text("x".repeat(300)))[..3], [0x5e, 0, 15]);
        assert_eq!(encoded(&Value::Text("x".repeat(70_000)))[..4], [0x5f, 0, 0x10, 0x53]);
    }

    #[test]
    fn pointers_take_the_fewest_bytes() {
        assert_eq!(pointer(10).expect("fits"), [0x20, 10]);
        assert_eq!(pointer(2_047).expect("fits"), [0x27, 0xff]);
        assert_eq!(pointer(2_048).expect("fits"), [0x28, 0, 0]);
        assert_eq!(pointer(526_335).expect("fits"), [0x2f, 0xff, 0xff]);
        assert_eq!(pointer(526_336).expect("fits"), [0x30, 0, 0, 0]);
        assert_eq!(pointer(134_744_064).expect("fits"), [0x38, 0x08, 0x08, 0x08, 0x00]);
    }

    #[test]
    fn a_string_is_written_once() {
        let name = || Value::Text("an organisation".into());
        let bytes = encoded(&Value::Map(vec![("a", name()), ("b", name())]));
        assert_eq!(bytes.windows(4).filter(|window| window == b"orga").count(), 1);
    }

    #[test]
    fn nodes_of_28_bits_share_their_middle_byte() {
        let mut bytes = Vec::new();
        push_node(&mut bytes, [0x0a12_3456, 0x0b65_4321], 28);
        assert_eq!(bytes, [0x12, 0x34, 0x56, 0xab, 0x65, 0x43, 0x21]);
    }
}
