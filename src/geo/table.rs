//! From an address to its client group, and how many of its bits that took.
//!
//! Immutable once compiled and shared by all workers; a lookup reads two to four words for IPv4 and
//! allocates nothing. How the words are laid out is in [`super::trie`].

use super::countries::Countries;
use super::leaves::Leaves;
use super::trie::{Builder, CHUNK, LOW, OFFSET_MASK, STRIDE_SHIFT};
use crate::base::prefix::{Family, Prefix, left_aligned};
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, Revision};
use std::net::IpAddr;

/// More groups than this do not fit the entries, nor the planner.
pub const MAX_GROUPS: usize = 60_000;
const ROOT_LEN: usize = 1 << 16;

/// The flat longest-prefix table of both families, with its groups.
#[derive(Debug)]
pub struct GeoTable {
    roots: [Box<[u32; ROOT_LEN]>; 2],
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
    pub(super) fn new(
        leaves: &[Leaves; 2],
        groups: Vec<ClientGroup>,
        revision: Revision,
        countries: Countries,
    ) -> Self {
        let mut builder = Builder::default();
        let roots = Family::BOTH.map(|family| {
            let mut root = builder.family(family, leaves[family.index()].as_slice());
            root.resize(ROOT_LEN, 0);
            let root: Box<[u32; ROOT_LEN]> = match root.into_boxed_slice().try_into() {
                Ok(root) => root,
                Err(_) => Box::new([0; ROOT_LEN]),
            };
            root
        });
        Self { roots, entries: builder.into_entries(), groups, revision, countries }
    }

    /// The group of an address given left-aligned. Bits past the family's are ignored.
    #[inline]
    pub fn lookup(&self, family: Family, bits: u128) -> Located {
        let high = (bits >> 64) as u64;
        let mut entry = self.roots[family.index()][(high >> 48) as usize];
        let mut window = high << 16;
        while entry & (CHUNK | LOW) == CHUNK {
            entry = self.step(entry, &mut window);
        }
        if entry & CHUNK != 0 {
            window = bits as u64;
            while entry & CHUNK != 0 {
                entry = self.step(entry, &mut window);
            }
        }
        Located { group: GroupId(entry & 0xffff), depth: (entry >> 16) as u8 }
    }

    #[inline]
    fn step(&self, entry: u32, window: &mut u64) -> u32 {
        let stride = (entry >> STRIDE_SHIFT & 7) + 1;
        let at = u64::from(entry & OFFSET_MASK) + (*window >> (64 - stride));
        *window <<= stride;
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
        (2 * ROOT_LEN + self.entries.len()) * size_of::<u32>()
    }
}
