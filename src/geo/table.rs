//! From an address to its client group, and how many of its bits that took.
//!
//! Immutable once compiled and shared by all workers; a lookup reads two to four words for IPv4 and
//! allocates nothing. How the words are laid out is in [`super::trie`].

use super::countries::Countries;
use super::error::GeoError;
use super::leaves::Leaves;
use super::trie::{Builder, CHUNK, LOW, MAX_ENTRIES, OFFSET_SHIFT, ROOT_BITS};
use crate::base::prefix::{Family, Prefix, left_aligned};
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, Revision};
use std::net::IpAddr;

/// More groups than this do not fit the entries, nor the planner.
pub const MAX_GROUPS: usize = 60_000;
const V4_ROOT: usize = 1 << ROOT_BITS[0];
const V6_ROOT: usize = 1 << ROOT_BITS[1];

/// The flat longest-prefix table of both families, with its groups.
#[derive(Debug)]
pub struct GeoTable {
    v4_root: Box<[u32; V4_ROOT]>,
    v6_root: Box<[u32; V6_ROOT]>,
    entries: Vec<u32>,
    groups: Vec<ClientGroup>,
    revision: Revision,
    countries: Countries,
}

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
        let v6_root = sized(builder.family(Family::V6, leaves[1].as_slice()));
        if !builder.fits() {
            return Err(GeoError::TableTooLarge { limit_mib: (MAX_ENTRIES * size_of::<u32>()) >> 20 });
        }
        Ok(Self { v4_root, v6_root, entries: builder.into_entries(), groups, revision, countries })
    }

    /// The group of an address given left-aligned. Bits past the family's are ignored.
    #[inline]
    pub fn lookup(&self, family: Family, bits: u128) -> Located {
        let high = (bits >> 64) as u64;
        let mut entry = match family {
            Family::V4 => self.v4_root[(high >> (64 - ROOT_BITS[0])) as usize],
            Family::V6 => self.v6_root[(high >> (64 - ROOT_BITS[1])) as usize],
        };
        let mut window = high << ROOT_BITS[family.index()];
        while entry & (CHUNK | LOW) == CHUNK {
            entry = self.step(entry, &mut window);
        }
        if entry & CHUNK != 0 {
            window = bits as u64;
            while entry & CHUNK != 0 {
                entry = self.step(entry, &mut window);
            }
        }
        Located { group: GroupId(entry >> 16), depth: (entry >> 8) as u8 }
    }

    #[inline]
    fn step(&self, entry: u32, window: &mut u64) -> u32 {
        // Shifts take their amount modulo 64, so that neither needs a mask: low bits are 64 - stride.
        let at = u64::from(entry >> OFFSET_SHIFT) + window.wrapping_shr(entry);
        *window = window.wrapping_shl(entry.wrapping_neg());
        // Always inside by construction; the fallback keeps a panic path out of the code.
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

    /// Indexed by [`GroupId`]; group 0 is "nothing known".
    pub fn groups(&self) -> &[ClientGroup] {
        &self.groups
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
