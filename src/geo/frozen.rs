//! A compiled table as bytes, so that a start need not compile what did not change.
//!
//! ```text
//!   0  "rhumbgeo"
//!   8  format                 u32
//!  12  key                    16 bytes: what the table was compiled from
//!  28  length of the payload  u64
//!  36  hash of the payload    16 bytes
//!  52  payload: revision, notes, groups, entries, the two roots
//! ```
//!
//! Everything is little-endian; lists and texts begin with their length (u32). The words of the table
//! are copied as they are, so that reading costs about what copying them does.
//!
//! The key covers all that [`super::compile()`] depends on: the bytes of the databases, the clients
//! policy, the country table, and the version of this program. [`FORMAT`] is to be raised when the
//! layout changes, or what `compile` makes of the same input; a test holds both.
//!
//! Bytes are believed only so far: another format or key, a wrong length or hash is refused, and
//! whatever a sound hash covers is checked once more for what lookups rely on, namely that each ends
//! in a group that there is, of lines and areas that the policy has. So no file can make a lookup panic,
//! hang or leave its table. Keeping the file is `store`'s, and when to write it `daemon`'s.

use super::compile::Compiled;
use super::countries::Countries;
use super::table::{GeoTable, MAX_GROUPS, ROOT_ENTRIES, Words};
use super::trie::MAX_ENTRIES;
use crate::base::hash::content_hash;
use crate::base::units::Coordinates;
use crate::model::clients::{ClientGroup, Clients, CountryCode};
use crate::model::ids::{AreaId, LineId, Revision};

const MAGIC: &[u8; 8] = b"rhumbgeo";
/// Of the layout, and of what `compile` makes of its input.
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 52;
/// Notes that are kept; `compile` makes fewer.
const MAX_NOTES: usize = 16;
/// No larger file is written or need be read: the largest table, and 512 bytes for each group.
pub const MAX_BYTES: usize =
    (MAX_ENTRIES + ROOT_ENTRIES[0] + ROOT_ENTRIES[1]) * size_of::<u32>() + MAX_GROUPS * 512;

/// What a table is compiled from, in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// Of databases in overlay order, each whole as it stands in its file, and the policy over them.
    ///
    /// Clients and countries enter by their debug text: stable for one build, and the version is part
    /// of the key.
    pub fn of<'a>(
        databases: impl IntoIterator<Item = &'a [u8]>,
        clients: &Clients,
        countries: &Countries,
    ) -> Self {
        let mut parts =
            format!("{FORMAT} {} {clients:?}{countries:?}", env!("CARGO_PKG_VERSION")).into_bytes();
        for database in databases {
            parts.extend(hash(database));
        }
        Self(hash(&parts))
    }
}

/// Why bytes are not thawed. None of it is worse than compiling anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrozenError {
    #[error("it is no compiled geo table")]
    Foreign,
    #[error("it has format {0} and this version reads {FORMAT}")]
    Format(u32),
    #[error("it was compiled from other databases, another clients.yaml or by another version")]
    OtherInputs,
    #[error("it is cut short")]
    Truncated,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// The bytes of `table`, which was compiled from what `key` is of; `None` past [`MAX_BYTES`].
pub fn freeze(table: &GeoTable, notes: &[String], key: Key) -> Option<Vec<u8>> {
    let layout = table.layout();
    let mut bytes = Vec::with_capacity(HEADER_LEN + table.size_bytes() + table.groups().len() * 64);
    bytes.resize(HEADER_LEN, 0);
    put_text(&mut bytes, &table.revision().0);
    put_u32(&mut bytes, notes.len());
    notes.iter().for_each(|note| put_text(&mut bytes, note));
    put_u32(&mut bytes, table.groups().len());
    table.groups().iter().for_each(|group| put_group(&mut bytes, group));
    put_u32(&mut bytes, layout.v4_entries);
    put_u32(&mut bytes, layout.entries.len());
    for words in [layout.entries, layout.roots[0], layout.roots[1]] {
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    let payload = &bytes[HEADER_LEN..];
    let (length, sum) = (payload.len() as u64, hash(payload));
    let header = &mut bytes[..HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..28].copy_from_slice(&key.0);
    header[28..36].copy_from_slice(&length.to_le_bytes());
    header[36..].copy_from_slice(&sum);
    (bytes.len() <= MAX_BYTES).then_some(bytes)
}

/// The table that `bytes` hold, if they were frozen with `key`; `clients` and `countries` are those
/// that the key is of.
///
/// # Errors
/// Anything about the bytes that is not exactly as [`freeze`] writes it.
pub fn thaw(
    bytes: &[u8],
    key: Key,
    clients: &Clients,
    countries: &Countries,
) -> Result<Compiled, FrozenError> {
    let mut header = Reading(bytes);
    if header.take(8).ok() != Some(MAGIC) {
        return Err(FrozenError::Foreign);
    }
    let format = header.u32()?;
    if format != FORMAT {
        return Err(FrozenError::Format(format));
    }
    if header.array::<16>()? != key.0 {
        return Err(FrozenError::OtherInputs);
    }
    let length = u64::from_le_bytes(header.array()?);
    let sum = header.array::<16>()?;
    let payload = header.0;
    match (payload.len() as u64).cmp(&length) {
        std::cmp::Ordering::Less => return Err(FrozenError::Truncated),
        std::cmp::Ordering::Greater => return Err(FrozenError::Damaged("something follows its end")),
        std::cmp::Ordering::Equal => {}
    }
    if hash(payload) != sum {
        return Err(FrozenError::Damaged("its checksum does not match"));
    }
    payload_of(Reading(payload), clients, countries)
}

fn payload_of(
    mut from: Reading<'_>,
    clients: &Clients,
    countries: &Countries,
) -> Result<Compiled, FrozenError> {
    let revision = Revision(from.text()?);
    let notes = (0..from.count(MAX_NOTES)?).map(|_| from.text()).collect::<Result<_, _>>()?;
    let groups = (0..from.count(MAX_GROUPS)?).map(|_| from.group(clients)).collect::<Result<_, _>>()?;
    let v4_entries = from.count(MAX_ENTRIES)?;
    let entries = from.count(MAX_ENTRIES)?;
    let entries = from.words(entries)?;
    let roots = [from.words(ROOT_ENTRIES[0])?, from.words(ROOT_ENTRIES[1])?];
    if !from.0.is_empty() {
        return Err(FrozenError::Damaged("something follows its tables"));
    }
    let words = Words { roots, entries, v4_entries };
    let table = GeoTable::restored(words, groups, revision, countries.clone());
    let table = table.ok_or(FrozenError::Damaged("a lookup would leave its tables"))?;
    Ok(Compiled { table, notes })
}

fn hash(bytes: &[u8]) -> [u8; 16] {
    let [low, high] = content_hash(bytes).map(u64::to_le_bytes);
    let mut out = [0; 16];
    out[..8].copy_from_slice(&low);
    out[8..].copy_from_slice(&high);
    out
}

/// Lists are bounded far below what 32 bits count.
fn put_u32(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend((value as u32).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, text.len());
    bytes.extend(text.as_bytes());
}

/// What is unknown is a length of 0.
fn put_group(bytes: &mut Vec<u8>, group: &ClientGroup) {
    let ClientGroup { key, country, line, location, areas, v4_slash24, v6_slash48 } = group;
    put_text(bytes, key);
    put_text(bytes, country.as_ref().map_or("", CountryCode::as_str));
    put_ids(bytes, line.iter().map(|id| id.0));
    put_ids(bytes, areas.iter().map(|id| id.0));
    put_u32(bytes, usize::from(location.is_some()));
    if let Some(at) = location {
        bytes.extend(at.latitude_mdeg.to_le_bytes());
        bytes.extend(at.longitude_mdeg.to_le_bytes());
    }
    bytes.extend(v4_slash24.to_le_bytes());
    bytes.extend(v6_slash48.to_le_bytes());
}

fn put_ids(bytes: &mut Vec<u8>, ids: impl ExactSizeIterator<Item = u16>) {
    put_u32(bytes, ids.len());
    bytes.extend(ids.flat_map(u16::to_le_bytes));
}

/// What is left to read.
struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FrozenError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(FrozenError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], FrozenError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FrozenError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, FrozenError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The length of a list; what it holds is taken from the bytes that are there, never reserved for.
    fn count(&mut self, most: usize) -> Result<usize, FrozenError> {
        let count = self.u32()? as usize;
        if count <= most { Ok(count) } else { Err(FrozenError::Damaged("a list is too long")) }
    }

    fn text(&mut self) -> Result<String, FrozenError> {
        let len = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(len)?);
        Ok(text.map_err(|_| FrozenError::Damaged("a text is not UTF-8"))?.to_owned())
    }

    fn words(&mut self, count: usize) -> Result<Vec<u32>, FrozenError> {
        let bytes = self.take(count * size_of::<u32>())?;
        Ok(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    /// Positions below `len`, at most `most` of them, ascending.
    fn ids(&mut self, len: usize, most: usize) -> Result<Vec<u16>, FrozenError> {
        let count = self.count(most.min(len))?;
        let bytes = self.take(count * size_of::<u16>())?;
        let ids: Vec<u16> = bytes.as_chunks().0.iter().map(|id| u16::from_le_bytes(*id)).collect();
        let is_known = ids.is_sorted_by(|a, b| a < b) && ids.last().is_none_or(|&id| usize::from(id) < len);
        if is_known { Ok(ids) } else { Err(FrozenError::Damaged("a line or an area is not in the policy")) }
    }

    fn group(&mut self, clients: &Clients) -> Result<ClientGroup, FrozenError> {
        let key = self.text()?;
        let country = match self.text()? {
            none if none.is_empty() => None,
            code => Some(CountryCode::parse(&code).ok_or(FrozenError::Damaged("a country is no code"))?),
        };
        let line = self.ids(clients.lines.len(), 1)?.first().copied().map(LineId);
        let areas = self.ids(clients.areas.len(), usize::MAX)?.into_iter().map(AreaId).collect();
        let location = match self.u32()? {
            0 => None,
            _ => Some(self.location()?),
        };
        Ok(ClientGroup {
            key,
            country,
            line,
            location,
            areas,
            v4_slash24: self.u32()?,
            v6_slash48: self.u32()?,
        })
    }

    fn location(&mut self) -> Result<Coordinates, FrozenError> {
        let at = Coordinates {
            latitude_mdeg: i32::from_le_bytes(self.array()?),
            longitude_mdeg: i32::from_le_bytes(self.array()?),
        };
        let is_on_globe = (-90_000..=90_000).contains(&at.latitude_mdeg)
            && (-180_000..=180_000).contains(&at.longitude_mdeg);
        if is_on_globe { Ok(at) } else { Err(FrozenError::Damaged("a location is not on the globe")) }
    }
}
