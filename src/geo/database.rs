//! One MMDB file: refused with a reason, or kept in a form that can no longer fail.
//!
//! ```text
//!  [ search tree | 16 zero bytes | data section | "\xab\xcd\xefMaxMind.com" | metadata ]
//! ```
//!
//! Reading checks metadata, every reachable tree record, the separator and every record the tree leads
//! to, then keeps the tree and one [`NetworkFacts`] per distinct record; the raw data is dropped. Work
//! and memory are bounded by the size of the file whatever its bytes are.
//! It reads bytes, not files, so that a file that is replaced in place can hurt nobody.

use super::error::{FETCH_AGAIN, GeoError, NOT_MMDB, Refusal};
use super::facts::{Field, NetworkFacts};
use super::tree::{Record, SearchTree, Survey};
use super::value::Value;
use crate::base::prefix::{Family, Prefix, left_aligned};
use foldhash::{HashMap, HashMapExt};
use maxminddb::{MaxMindDbError, Reader};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Larger files are not geo databases; offsets then fit 32 bits.
const MAX_FILE_LEN: usize = 1 << 30;
/// 9999-12-31: an epoch past it is no date that people or tools can print.
const MAX_BUILD_EPOCH: u64 = 253_402_300_799;
/// Decoding work allowed for each byte of the data section, and for any file.
const WORK_RATIO: u64 = 64;
const WORK_BASE: u64 = 16 << 20;
/// Top-level keys listed by `geo info`.
const MAX_KEYS: usize = 64;

/// A verified database.
#[derive(Debug)]
pub struct Database {
    name: String,
    metadata: Metadata,
    contents: Contents,
    digest: [u8; 32],
    tree: SearchTree,
    /// Position in `records` by data offset.
    index: HashMap<u32, u32>,
    /// Each distinct record once; position 0 is "nothing known".
    records: Vec<NetworkFacts>,
    /// Where the IPv4 tree starts.
    v4_root: Cursor,
}

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// "GeoLite2-City".
    pub database_type: String,
    /// By language; often carries the licence or attribution.
    pub description: BTreeMap<String, String>,
    pub languages: Vec<String>,
    /// Seconds since 1970.
    pub build_epoch: u64,
    pub ip_version: u16,
    pub record_size: u16,
    pub node_count: u32,
}

/// What was found inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Networks with data, as the tree divides them (aliases of the IPv4 tree counted again).
    pub networks: u64,
    /// Distinct data records.
    pub records: usize,
    /// Records in which each fact is known.
    pub fields: BTreeMap<&'static str, usize>,
    /// Top-level keys of records, at most 64.
    pub keys: Vec<String>,
    /// Whether equal subtrees are stored once.
    pub shares_subtrees: bool,
}

/// A place in a database's tree: an inner node, or a leaf with a record. Cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    Node(u32),
    /// Position in [`Database::records`].
    Leaf(u32),
}

impl Database {
    /// Verifies `bytes` completely. `name` is how messages call the file.
    ///
    /// # Errors
    /// [`GeoError::Refused`] with what is wrong and what to do.
    pub fn read(name: &str, bytes: Vec<u8>) -> Result<Database, GeoError> {
        Self::verified(name, bytes).map_err(|refusal| refusal.named(name))
    }

    fn verified(name: &str, mut bytes: Vec<u8>) -> Result<Self, Refusal> {
        let digest = Sha256::digest(&bytes).into();
        let (metadata, tree, survey, decoded) = {
            let reader = open(&bytes)?;
            let metadata = Metadata::of(reader.metadata())?;
            let (tree, data_len) = split_tree(&bytes, &metadata)?;
            let survey = tree.survey(metadata.address_bits(), data_len)?;
            let decoded = decode_all(&reader, &metadata, &survey, data_len)?;
            (metadata, tree, survey, decoded)
        };
        bytes.clear();
        let contents = Contents {
            networks: survey.networks,
            records: survey.data.len(),
            fields: count_fields(&decoded.records),
            keys: decoded.keys,
            shares_subtrees: survey.shared,
        };
        let index = (1..).zip(&survey.data).map(|(position, &(offset, _))| (offset, position)).collect();
        let mut database = Self {
            name: name.to_owned(),
            metadata,
            contents,
            digest,
            tree,
            index,
            records: decoded.records,
            v4_root: Cursor::Node(0),
        };
        if database.metadata.ip_version == 6 {
            database.v4_root = database.descend(Cursor::Node(0), 0, 96).0;
        }
        Ok(database)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What the file says of `address` as it stands, and the network it says it of.
    ///
    /// The network of an IPv4 address in an IPv6 database is given in IPv4 terms.
    pub fn lookup(&self, address: IpAddr) -> (&NetworkFacts, Prefix) {
        let family = Family::of(address);
        let (cursor, len) = self.descend(self.root(family), left_aligned(address), family.bits());
        let record = match cursor {
            Cursor::Leaf(record) => record,
            Cursor::Node(_) => 0,
        };
        (self.record(record), Prefix::of(address, len))
    }

    /// The networks in order with what is known of each, for listings; bounded by what `read` accepts.
    pub fn sample(&self) -> Option<(Prefix, &NetworkFacts)> {
        [Family::V4, Family::V6].into_iter().find_map(|family| self.first_leaf(family))
    }

    fn first_leaf(&self, family: Family) -> Option<(Prefix, &NetworkFacts)> {
        let mut stack = vec![(self.root(family), 0_u128, 0_u8)];
        // A tree without data could be walked for ever on end: look at the first few leaves only.
        for _ in 0..4096 {
            let (cursor, bits, len) = stack.pop()?;
            match cursor {
                Cursor::Leaf(0) => {}
                Cursor::Leaf(record) => return Some((Prefix::new(family, bits, len), self.record(record))),
                Cursor::Node(_) => {
                    stack.push((self.child(cursor, 1), bits | (1 << (127 - u32::from(len))), len + 1));
                    stack.push((self.child(cursor, 0), bits, len + 1));
                }
            }
        }
        None
    }

    pub(super) fn root(&self, family: Family) -> Cursor {
        match family {
            Family::V4 => self.v4_root,
            Family::V6 if self.metadata.ip_version == 6 => Cursor::Node(0),
            Family::V6 => Cursor::Leaf(0),
        }
    }

    /// One bit further down; a leaf is its own child.
    #[inline]
    pub(super) fn child(&self, cursor: Cursor, side: u8) -> Cursor {
        let Cursor::Node(node) = cursor else { return cursor };
        match self.tree.record(node, side) {
            Record::Node(next) => Cursor::Node(next),
            Record::Empty => Cursor::Leaf(0),
            Record::Data(offset) => Cursor::Leaf(self.index.get(&offset).copied().unwrap_or(0)),
        }
    }

    pub(super) fn record(&self, position: u32) -> &NetworkFacts {
        self.records.get(position as usize).unwrap_or(&self.records[0])
    }

    fn descend(&self, from: Cursor, bits: u128, max_len: u8) -> (Cursor, u8) {
        let mut cursor = from;
        for len in 0..max_len {
            if matches!(cursor, Cursor::Leaf(_)) {
                return (cursor, len);
            }
            cursor = self.child(cursor, (bits >> (127 - u32::from(len)) & 1) as u8);
        }
        (cursor, max_len)
    }
}

impl Metadata {
    fn of(raw: &maxminddb::Metadata) -> Result<Self, Refusal> {
        if raw.database_type.is_empty() {
            return Err(Refusal::damaged("its metadata has an empty database_type"));
        }
        if raw.description.is_empty() {
            return Err(Refusal::damaged("its metadata has no description, which the format requires"));
        }
        if raw.build_epoch > MAX_BUILD_EPOCH {
            return Err(Refusal::damaged(format!(
                "its metadata claims build_epoch {}, which is past the year 9999",
                raw.build_epoch
            )));
        }
        Ok(Self {
            database_type: raw.database_type.clone(),
            description: raw.description.clone(),
            languages: raw.languages.clone(),
            build_epoch: raw.build_epoch,
            ip_version: raw.ip_version,
            record_size: raw.record_size,
            node_count: raw.node_count,
        })
    }

    /// Bits of an address in the file's own tree.
    pub const fn address_bits(&self) -> u8 {
        if self.ip_version == 6 { 128 } else { 32 }
    }
}

fn open(bytes: &[u8]) -> Result<Reader<&[u8]>, Refusal> {
    let magic = |magic: &[u8]| bytes.starts_with(magic);
    if bytes.is_empty() {
        return Err(Refusal { reason: "it is empty".to_owned(), remedy: FETCH_AGAIN });
    }
    if magic(&[0x1f, 0x8b]) || magic(b"BZh") || magic(&[0xfd, b'7', b'z']) || magic(b"PK\x03\x04") {
        return Err(Refusal { reason: "it is compressed".to_owned(), remedy: "uncompress it first" });
    }
    if bytes.len() > MAX_FILE_LEN {
        let reason = format!("it has {} bytes, more than {MAX_FILE_LEN}", bytes.len());
        return Err(Refusal { reason, remedy: NOT_MMDB });
    }
    Reader::from_source(bytes).map_err(|error| match reason_of(&error) {
        reason if reason.contains("could not find MaxMind DB metadata") => Refusal {
            reason: "it has no MMDB metadata marker, so it is another format or cut short".to_owned(),
            remedy: NOT_MMDB,
        },
        reason => Refusal::damaged(format!("its metadata is unusable: {reason}")),
    })
}

/// The tree's bytes, and the length of the data section between the separator and the metadata.
fn split_tree(bytes: &[u8], metadata: &Metadata) -> Result<(SearchTree, usize), Refusal> {
    const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
    let tree_len = metadata.node_count as usize * usize::from(metadata.record_size) / 4;
    let marker = bytes.windows(MARKER.len()).rposition(|window| window == MARKER).unwrap_or(0);
    let data_start = tree_len + 16;
    let cut = || Refusal::damaged(format!("its {} tree nodes reach past its data", metadata.node_count));
    let separator = bytes.get(tree_len..data_start).ok_or_else(cut)?;
    let data_len = marker.checked_sub(data_start).ok_or_else(cut)?;
    if separator.iter().any(|&byte| byte != 0) {
        return Err(Refusal::damaged(format!(
            "no 16 zero bytes follow its {} tree nodes: the node count or the tree is wrong",
            metadata.node_count
        )));
    }
    let tree = SearchTree::new(bytes[..tree_len].to_vec(), metadata.node_count, metadata.record_size)?;
    Ok((tree, data_len))
}

#[derive(Default)]
struct Decoded {
    records: Vec<NetworkFacts>,
    keys: Vec<String>,
}

/// Decodes each distinct record once, within a budget linear in the data section.
fn decode_all(
    reader: &Reader<&[u8]>,
    metadata: &Metadata,
    survey: &Survey,
    data_len: usize,
) -> Result<Decoded, Refusal> {
    let mut left = WORK_BASE + WORK_RATIO * data_len as u64;
    let mut decoded = Decoded { records: vec![NetworkFacts::default()], ..Decoded::default() };
    decoded.records.reserve_exact(survey.data.len());
    let mut keys: HashMap<&str, ()> = HashMap::new();
    for &(offset, bits) in &survey.data {
        let address = match metadata.ip_version {
            4 => IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        let value: Value<'_> = reader
            .lookup(address)
            .and_then(|found| found.decode())
            .map_err(|error| bad_record(address, offset, &reason_of(&error)))?
            .ok_or_else(|| bad_record(address, offset, "the tree does not lead to it"))?;
        left = left.checked_sub(value.work()).ok_or_else(|| Refusal {
            reason: "its records unfold to far more data than the file holds".to_owned(),
            remedy: FETCH_AGAIN,
        })?;
        if let Value::Map(entries) = &value {
            for (key, _) in entries {
                if keys.len() < MAX_KEYS {
                    keys.insert(key, ());
                }
            }
        }
        decoded.records.push(NetworkFacts::of_record(&value));
    }
    decoded.keys = keys.into_keys().map(str::to_owned).collect();
    decoded.keys.sort_unstable();
    Ok(decoded)
}

fn bad_record(address: IpAddr, offset: u32, why: &str) -> Refusal {
    let address = match address {
        // The IPv4 part of an IPv6 tree, as people write it.
        IpAddr::V6(v6) if v6.to_bits() >> 32 == 0 => IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32)),
        other => other,
    };
    Refusal::damaged(format!("the record of {address} (data offset {offset}) cannot be decoded: {why}"))
}

fn count_fields(records: &[NetworkFacts]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for field in Field::ALL {
        let known = records.iter().filter(|facts| facts.knows(field)).count();
        if known > 0 {
            counts.insert(field.name(), known);
        }
    }
    counts
}

fn reason_of(error: &MaxMindDbError) -> String {
    match error {
        MaxMindDbError::InvalidDatabase { message, .. } => message.clone(),
        MaxMindDbError::Decoding { message, .. } | MaxMindDbError::ResourceLimit { message, .. } => {
            message.clone()
        }
        other => other.to_string(),
    }
}
