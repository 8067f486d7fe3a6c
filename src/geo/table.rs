//! From an address to its client group, and how many of its bits that took.
//!
//! Immutable once compiled and shared by all workers; a lookup reads one to three words for IPv4 and
//! allocates nothing. How the words are laid out is in [`super::trie`].

use super::countries::Countries;
use super::error::GeoError;
use super::leaves::Leaves;
use super::trie::{Builder, CHUNK, LOW, Layout, MAX_ENTRIES, OFFSET_SHIFT, ROOT_BITS, V4_MIDDLE_END};
use crate::base::prefix::{Family, Prefix, left_aligned};
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, Revision};
use std::net::IpAddr;
use std::sync::Arc;

/// More groups than this do not fit the entries, nor the planner.
pub const MAX_GROUPS: usize = 60_000;
const V4_ROOT: usize = 1 << ROOT_BITS[0];
const V6_ROOT: usize = 1 << ROOT_BITS[1];
/// The bits between the IPv4 root and /24, once these stand lowest.
const V4_MIDDLE: u32 = (1 << (V4_MIDDLE_END - ROOT_BITS[0])) - 1;

/// The flat longest-prefix table of both families, with its groups.
#[derive(Debug)]
pub struct GeoTable {
    v4_root: Box<[u32; V4_ROOT]>,
    v6_root: Box<[u32; V6_ROOT]>,
    entries: Vec<u32>,
    /// So many of `entries` were made for IPv4.
    v4_entries: usize,
    groups: Arc<[ClientGroup]>,
    revision: Revision,
    countries: Countries,
}

/// [`Layout`] that owns its words.
#[derive(Debug)]
pub(super) struct Words {
    pub roots: [Vec<u32>; 2],
    pub entries: Vec<u32>,
    pub v4_entries: usize,
}

/// Entries in the roots, by family.
pub(super) const ROOT_ENTRIES: [usize; 2] = [V4_ROOT, V6_ROOT];

/// The answer of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub group: GroupId,
    /// Length of the longest prefix of the address that lies in one group whole, in the family's own
    /// terms: no other group is inside it, and it has a sibling where another group is.
    pub depth: u8,
}

impl GeoTable {
    /// Fails only where the inputs divide the address space finer than 64 MiB of table can hold.
    pub(super) fn new(
        leaves: &[Leaves; 2],
        groups: Vec<ClientGroup>,
        revision: Revision,
        countries: Countries,
    ) -> Result<Self, GeoError> {
        let mut builder = Builder::default();
        let v4_root = sized(builder.family(Family::V4, leaves[0].as_slice()));
        let v4_entries = builder.len();
        let v6_root = sized(builder.family(Family::V6, leaves[1].as_slice()));
        if !builder.fits() {
            return Err(GeoError::TableTooLarge { limit_mib: (MAX_ENTRIES * size_of::<u32>()) >> 20 });
        }
        let entries = builder.into_entries();
        Ok(Self { v4_root, v6_root, entries, v4_entries, groups: groups.into(), revision, countries })
    }

    /// A table whose words were kept; `None` unless every lookup in them ends in one of `groups`.
    pub(super) fn restored(
        words: Words,
        groups: Vec<ClientGroup>,
        revision: Revision,
        countries: Countries,
    ) -> Option<Self> {
        let Words { roots: [v4_root, v6_root], entries, v4_entries } = words;
        let v4_root: Box<[u32; V4_ROOT]> = v4_root.into_boxed_slice().try_into().ok()?;
        let v6_root: Box<[u32; V6_ROOT]> = v6_root.into_boxed_slice().try_into().ok()?;
        let groups = groups.into();
        let table = Self { v4_root, v6_root, entries, v4_entries, groups, revision, countries };
        let has_groups = (1..=MAX_GROUPS).contains(&table.groups.len());
        (has_groups && table.layout().is_sound(table.groups.len())).then_some(table)
    }

    pub(super) fn layout(&self) -> Layout<'_> {
        let roots = [&self.v4_root[..], &self.v6_root[..]];
        Layout { roots, entries: &self.entries, v4_entries: self.v4_entries }
    }

    /// The group of an address given left-aligned. Bits past the family's are ignored.
    #[inline(always)]
    pub fn lookup(&self, family: Family, bits: u128) -> Located {
        let entry = match family {
            Family::V4 => self.entry_v4((bits >> 96) as u32),
            Family::V6 => self.entry_v6(bits),
        };
        Located { group: GroupId(entry >> 16), depth: (entry >> 8) as u8 }
    }

    /// At most three words, at places known beforehand: no loop, and one shift by a variable.
    #[inline(always)]
    fn entry_v4(&self, bits: u32) -> u32 {
        let entry = self.v4_root[(bits >> (32 - ROOT_BITS[0])) as usize];
        if entry & CHUNK == 0 {
            return entry;
        }
        let entry = self.entry_at((entry >> OFFSET_SHIFT) + (bits >> (32 - V4_MIDDLE_END) & V4_MIDDLE));
        if entry & CHUNK == 0 {
            return entry;
        }
        // The chunk says 64 - stride, which modulo 32 is 32 - stride.
        self.entry_at((entry >> OFFSET_SHIFT) + (bits << V4_MIDDLE_END).wrapping_shr(entry))
    }

    #[inline]
    fn entry_v6(&self, bits: u128) -> u32 {
        let high = (bits >> 64) as u64;
        let mut entry = self.v6_root[(high >> (64 - ROOT_BITS[1])) as usize];
        let mut window = high << ROOT_BITS[1];
        while entry & (CHUNK | LOW) == CHUNK {
            entry = self.step(entry, &mut window);
        }
        if entry & CHUNK != 0 {
            window = bits as u64;
            while entry & CHUNK != 0 {
                entry = self.step(entry, &mut window);
            }
        }
        entry
    }

    #[inline]
    fn step(&self, entry: u32, window: &mut u64) -> u32 {
        // Shifts take their amount modulo 64, so that neither needs a mask: low bits are 64 - stride.
        let at = (entry >> OFFSET_SHIFT) + window.wrapping_shr(entry) as u32;
        *window = window.wrapping_shl(entry.wrapping_neg());
        self.entry_at(at)
    }

    /// Always inside by construction; the fallback keeps a panic path out of the code.
    #[inline]
    fn entry_at(&self, at: u32) -> u32 {
        self.entries.get(at as usize).copied().unwrap_or(0)
    }

    /// [`lookup`](Self::lookup) of an address as it stands (an embedded IPv4 address is not looked for).
    pub fn locate(&self, address: IpAddr) -> Located {
        self.lookup(Family::of(address), left_aligned(address))
    }

    /// The covering prefix of `address`: all its addresses are in one group.
    pub fn covering(&self, address: IpAddr) -> Prefix {
        Prefix::of(address, self.locate(address).depth)
    }

    /// A prefix that [`lookup`](Self::lookup) says lies in one group whole, and that does not; `None`: every
    /// depth that it gives is true. Looks at each word once.
    pub fn overreach(&self) -> Option<Prefix> {
        self.layout().overreach()
    }

    /// Indexed by [`GroupId`]; group 0 is "nothing known".
    pub fn groups(&self) -> &[ClientGroup] {
        &self.groups
    }

    /// The same, for whoever outlives the table.
    pub fn shared_groups(&self) -> Arc<[ClientGroup]> {
        Arc::clone(&self.groups)
    }

    pub fn group(&self, id: GroupId) -> Option<&ClientGroup> {
        self.groups.get(id.index())
    }

    /// Content hash over databases, clients and country table.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    pub fn countries(&self) -> &Countries {
        &self.countries
    }

    /// Bytes that lookups touch (groups and names not counted).
    pub fn size_bytes(&self) -> usize {
        (V4_ROOT + V6_ROOT + self.entries.len()) * size_of::<u32>()
    }
}

/// Leaves cover a whole family, so the root is complete; what is missing would be unknown.
fn sized<const LEN: usize>(mut root: Vec<u32>) -> Box<[u32; LEN]> {
    root.resize(LEN, 0);
    match root.into_boxed_slice().try_into() {
        Ok(root) => root,
        Err(_) => unreachable!("the root was resized to LEN"),
    }
}
