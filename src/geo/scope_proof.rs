//! The proof that scopes rest on: whatever a lookup calls one leaf is one leaf, to its last address.
//!
//! ```text
//!  words of a chunk   [ A/18 | A/18 | A/18 | A/18 | B/20 | chunk ]      bits 16 to 20
//!                       └── a /18 is four words of 20 bits: aligned, and all four the same
//! ```
//!
//! A lookup of any address gives a group and a depth; a resolver may hand the answer to all addresses that
//! share so many bits (RFC 7871). So each entry of depth d has to stand in every word of its prefix of d bits,
//! and nowhere does a leaf reach outside the chunk that it was found in. Each chunk is looked at once.
//!
//! It shares no code with what lays the words out. That lookups end, and in a group that there is, is
//! [`Layout::is_sound`]'s to say.

use super::trie::{CHUNK, Layout, OFFSET_SHIFT, ROOT_BITS};
use crate::base::prefix::{Family, Prefix};
use foldhash::{HashSet, HashSetExt};

impl Layout<'_> {
    /// A prefix that lookups give as one leaf and that is not; `None`: all are.
    pub fn overreach(&self) -> Option<Prefix> {
        Family::BOTH.into_iter().find_map(|family| {
            let mut walk = Walk { entries: self.entries, family, seen: HashSet::new() };
            walk.words(self.roots[family.index()], 0, (0, ROOT_BITS[family.index()]))
        })
    }
}

struct Walk<'w> {
    entries: &'w [u32],
    family: Family,
    /// Chunk entries, and how many bits lead to them.
    seen: HashSet<(u32, u8)>,
}

impl Walk<'_> {
    /// `bits`: those that lead here, left-aligned; `base`, `end`: how many they are before and after the words.
    fn words(&mut self, words: &[u32], bits: u128, (base, end): (u8, u8)) -> Option<Prefix> {
        let mut at = 0;
        while let Some(&entry) = words.get(at) {
            let here = bits | (at as u128) << (128 - u32::from(end));
            if entry & CHUNK != 0 {
                let found = self.seen.insert((entry, end)).then(|| self.chunk(entry, here, end));
                if let Some(prefix) = found.flatten() {
                    return Some(prefix);
                }
                at += 1;
                continue;
            }
            let depth = (entry >> 8) as u8;
            let span = 1_usize.checked_shl(u32::from(end.saturating_sub(depth))).unwrap_or(usize::MAX);
            let inside = words.get(at..at.saturating_add(span));
            let is_whole = inside.is_some_and(|inside| inside.iter().all(|other| *other == entry));
            if depth < base || !at.is_multiple_of(span) || !is_whole {
                return Some(Prefix::new(self.family, here, depth));
            }
            at += span;
        }
        None
    }

    fn chunk(&mut self, entry: u32, bits: u128, base: u8) -> Option<Prefix> {
        let stride = 64 - (entry & (CHUNK - 1));
        let offset = (entry >> OFFSET_SHIFT) as usize;
        let end = u32::from(base) + stride;
        let words = 1_usize.checked_shl(stride).and_then(|count| self.entries.get(offset..offset + count));
        match words {
            Some(words) if end <= 128 => self.words(words, bits, (base, end as u8)),
            _ => Some(Prefix::new(self.family, bits, base)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaves::Leaves;
    use super::super::trie::{Builder, leaf_entry};
    use super::*;

    struct Words {
        roots: [Vec<u32>; 2],
        entries: Vec<u32>,
        v4_entries: usize,
    }

    impl Words {
        fn overreach(&self) -> Option<String> {
            let [v4, v6] = &self.roots;
            let layout = Layout { roots: [v4, v6], entries: &self.entries, v4_entries: self.v4_entries };
            layout.overreach().map(|prefix| prefix.to_string())
        }
    }

    /// Group 1 in all of a family but one prefix of group 2, which is `len` bits long.
    fn around(bits: u128, len: u8) -> Leaves {
        let mut leaves = Leaves::default();
        let mut lens: Vec<(u128, u8, u32)> = vec![(bits, len, 2)];
        lens.extend((1..=len).map(|len| {
            let bit = 1_u128 << (128 - u32::from(len));
            ((bits ^ bit) & !(bit - 1), len, 1)
        }));
        lens.sort_unstable();
        lens.into_iter().for_each(|(bits, len, value)| leaves.push(bits, len, value));
        leaves
    }

    fn words() -> Words {
        let mut builder = Builder::default();
        let v4 = builder.family(Family::V4, around(0x0102_0340_u128 << 96, 27).as_slice());
        let v4_entries = builder.len();
        let v6 = builder.family(Family::V6, around(0x2001_0db8_0001_u128 << 80, 52).as_slice());
        Words { roots: [v4, v6], entries: builder.into_entries(), v4_entries }
    }

    #[test]
    fn a_leaf_that_is_not_one_is_found_wherever_it_stands() {
        assert_eq!(words().overreach(), None);
        let leaf = |value, len| leaf_entry(super::super::leaves::Leaf { bits: 0, len, value });
        let root = |family: usize, at: usize, entry: u32| {
            let mut words = words();
            words.roots[family][at] = entry;
            words.overreach()
        };
        // 128.0.0.0/1 is half of the root.
        let last = (1 << 20) - 1;
        assert_eq!(root(0, last, leaf(2, 20)).as_deref(), Some("128.0.0.0/1"), "another group inside");
        assert_eq!(root(0, last, leaf(1, 2)).as_deref(), Some("128.0.0.0/1"), "another depth inside");
        assert!(root(0, 0, leaf(1, 0)).is_some(), "the whole family");
        assert!(root(1, (1 << 16) - 1, leaf(1, 0)).is_some(), "a span that does not begin here");
        assert_eq!(root(1, 0, CHUNK | 60 | 1 << 28).as_deref(), Some("::/16"), "leads outside");
        let good = words();
        for at in 0..good.entries.len() {
            let mut words = words();
            if words.entries[at] & CHUNK == 0 {
                // One bit shorter than it is: it reaches over its neighbour, or out of its chunk.
                words.entries[at] -= 1 << 8;
                assert!(words.overreach().is_some(), "entry {at}");
            }
        }
    }
}
