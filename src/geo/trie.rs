//! Lays a canonical partition out as the multibit trie that [`super::table`] looks up.
//!
//! ```text
//!  first bits ─▶ root entry ─▶ leaf    (20 for IPv4, 16 for IPv6)
//!                           └▶ chunk of 2^stride entries, indexed by the next stride bits ─▶ ...
//!
//!  bit    31         16 15     8  7    6   5            0
//!  leaf   [ group       | depth  | 0  | 0 | 0            ]
//!  chunk  [ offset:24            | lo | 1 | 64 - stride  ]   lo: the bits to come are in the lower 64
//! ```
//!
//! The shift is lowest because a shift instruction reads just those bits of its operand: one step is
//! twelve instructions or so.
//! IPv4 takes 4 bits to /24, always, and then as many as the deepest leaf needs, up to 8: two steps at
//! most, of which the table knows the place and needs no loop. With a root of 16 bits and 8 bits a step
//! it took 2.5 times the memory.
//! An IPv6 chunk is only as deep as its leaves need. IPv6 is sparse, so it takes 4, and more only where at least an eighth of the wider chunk would lead
//! on: an isolated /48 then costs 1 KiB less at two steps more. No chunk crosses bit 64, so that a
//! step shifts one word. Equal chunks are stored once.

use super::leaves::Leaf;
use crate::base::prefix::Family;
use foldhash::HashMap;

/// Bits that index the root, by family.
pub(super) const ROOT_BITS: [u8; 2] = [20, 16];
/// Where the chunks that IPv4 root entries lead to end.
pub(super) const V4_MIDDLE_END: u8 = 24;
pub(super) const CHUNK: u32 = 1 << 6;
pub(super) const LOW: u32 = 1 << 7;
pub(super) const OFFSET_SHIFT: u32 = 8;
/// Entries that 24 bits of offset reach; 64 MiB.
pub(super) const MAX_ENTRIES: usize = 1 << 24;
const MAX_STRIDE: u8 = 8;

/// The leaf entry: where no other value can be, whatever the address.
pub(super) const fn leaf_entry(leaf: Leaf) -> u32 {
    (leaf.value & 0xffff) << 16 | (leaf.len as u32) << 8
}

/// What lookups walk through.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// By family.
    pub roots: [&'a [u32]; 2],
    pub entries: &'a [u32],
    /// So many of `entries` were made for IPv4, and may be shared by IPv6.
    pub v4_entries: usize,
}

impl Layout<'_> {
    /// Whether every lookup ends, in a leaf of a group below `groups` and of a depth that its family has.
    ///
    /// Chunks are stored after those that they lead to, so it is enough to look at each entry once: one
    /// that leads to earlier entries only is the start of no circle.
    pub fn is_sound(&self, groups: usize) -> bool {
        let [v4_root, v6_root] = self.roots;
        let Some(v4_entries) = self.entries.get(..self.v4_entries) else { return false };
        let chunks = Marks::new(v4_entries.iter().map(|entry| entry & CHUNK != 0));
        let is_middle = |&entry: &u32| {
            let wanted = CHUNK | u32::from(64 - (V4_MIDDLE_END - ROOT_BITS[0]));
            entry & CHUNK == 0 || entry & 0xff == wanted
        };
        // The second chunk of an IPv4 lookup is the last: nobody looks whether it leads on.
        let ends = |(at, &entry): (usize, &u32)| {
            is_leaf(entry, groups, Family::V4)
                || entry & LOW == 0 && target(entry, at).is_some_and(|inside| !chunks.any(inside))
        };
        let leads = |end: usize, family: Family| {
            move |&entry: &u32| is_leaf(entry, groups, family) || target(entry, end).is_some()
        };
        v4_root.iter().all(leads(self.v4_entries, Family::V4))
            && v4_root.iter().all(is_middle)
            && v6_root.iter().all(leads(self.entries.len(), Family::V6))
            && v4_entries.iter().enumerate().all(ends)
            && (self.entries.iter().enumerate().skip(self.v4_entries))
                .all(|(at, &entry)| is_leaf(entry, groups, Family::V6) || target(entry, at).is_some())
    }
}

/// As [`leaf_entry`] makes it, for a group and a family that there are.
fn is_leaf(entry: u32, groups: usize, family: Family) -> bool {
    entry & 0xff == 0 && (entry >> 8 & 0xff) <= u32::from(family.bits()) && (entry >> 16) < groups as u32
}

/// The entries that a chunk entry leads to, if it is one and they stand before `end`.
fn target(entry: u32, end: usize) -> Option<std::ops::Range<usize>> {
    let stride = 64_u32.checked_sub(entry & (CHUNK - 1))?;
    let is_chunk = entry & CHUNK != 0 && (1..=u32::from(MAX_STRIDE)).contains(&stride);
    let offset = (entry >> OFFSET_SHIFT) as usize;
    let inside = offset..offset + (1 << stride.min(u32::from(MAX_STRIDE)));
    (is_chunk && inside.end <= end).then_some(inside)
}

/// A bit for each entry.
struct Marks(Vec<u64>);

impl Marks {
    fn new(of: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut words = vec![0; of.len().div_ceil(64)];
        for (at, is_marked) in of.enumerate() {
            words[at / 64] |= u64::from(is_marked) << (at % 64);
        }
        Self(words)
    }

    /// Whether one of `range`, which is not empty and inside, is marked.
    fn any(&self, range: std::ops::Range<usize>) -> bool {
        let (first, last) = (range.start / 64, (range.end - 1) / 64);
        (first..=last).any(|word| {
            let from = if word == first { u64::MAX << (range.start % 64) } else { u64::MAX };
            let to = if word == last { u64::MAX >> (63 - (range.end - 1) % 64) } else { u64::MAX };
            self.0[word] & from & to != 0
        })
    }
}

/// Chunks of both families, appended as they are made.
#[derive(Debug, Default)]
pub(super) struct Builder {
    entries: Vec<u32>,
    /// Offset of a chunk by the hash of its contents.
    known: HashMap<u64, u32>,
}

impl Builder {
    /// The root entries of `leaves`, which are the whole family's in order.
    pub fn family(&mut self, family: Family, leaves: &[Leaf]) -> Vec<u32> {
        self.fill(family, leaves, 0, ROOT_BITS[family.index()])
    }

    /// Whether every chunk made so far can be pointed to.
    pub fn fits(&self) -> bool {
        self.entries.len() <= MAX_ENTRIES
    }

    /// Entries so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn into_entries(mut self) -> Vec<u32> {
        self.entries.shrink_to_fit();
        self.entries
    }

    /// The 2^stride entries for the bits `base..base + stride` of `leaves`, which share the bits before.
    fn fill(&mut self, family: Family, leaves: &[Leaf], base: u8, stride: u8) -> Vec<u32> {
        let end = base + stride;
        let mut filled = Vec::with_capacity(1 << stride);
        let mut rest = leaves;
        while let Some(&first) = rest.first() {
            if first.len <= end {
                let copies = 1_usize << (end - first.len.max(base));
                filled.resize(filled.len() + copies, leaf_entry(first));
                rest = &rest[1..];
            } else {
                let slot = first.bits >> (128 - u32::from(end));
                let inside = rest.partition_point(|leaf| leaf.bits >> (128 - u32::from(end)) == slot);
                filled.push(self.chunk(family, &rest[..inside], end));
                rest = &rest[inside..];
            }
        }
        filled
    }

    fn chunk(&mut self, family: Family, leaves: &[Leaf], base: u8) -> u32 {
        let stride = stride(family, leaves, base);
        let filled = self.fill(family, leaves, base, stride);
        let low = if base >= 64 { LOW } else { 0 };
        self.store(&filled) << OFFSET_SHIFT | low | CHUNK | u32::from(64 - stride)
    }

    fn store(&mut self, filled: &[u32]) -> u32 {
        // One multiplication an entry: a collision costs a chunk stored twice, nothing else.
        let hash = filled.iter().fold(filled.len() as u64, |hash, &entry| {
            (hash.rotate_left(23) ^ u64::from(entry)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        if let Some(&offset) = self.known.get(&hash)
            && self.entries[offset as usize..].starts_with(filled)
        {
            return offset;
        }
        let offset = self.entries.len() as u32;
        self.entries.extend_from_slice(filled);
        self.known.insert(hash, offset);
        offset
    }
}

/// How many bits the chunk below `base` takes at once: at least 1.
fn stride(family: Family, leaves: &[Leaf], base: u8) -> u8 {
    if family == Family::V4 && base < V4_MIDDLE_END {
        return V4_MIDDLE_END - base;
    }
    let deepest = leaves.iter().map(|leaf| leaf.len).max().unwrap_or(base);
    let word_end = if base < 64 { 64 } else { 128 };
    let most = MAX_STRIDE.min(deepest.min(word_end) - base).max(1);
    if family == Family::V4 {
        return most;
    }
    let mut stride = most.min(4);
    while stride < most && leading_on(leaves, base + stride) * 8 >= 1 << stride {
        stride += 1;
    }
    stride
}

/// Distinct prefixes of length `len` with longer leaves inside.
fn leading_on(leaves: &[Leaf], len: u8) -> usize {
    let mut last = None;
    let inner = leaves.iter().filter(|leaf| leaf.len > len).map(|leaf| leaf.bits >> (128 - u32::from(len)));
    inner.filter(|&prefix| last.replace(prefix) != Some(prefix)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn leaf(group: u32, depth: u8) -> u32 {
        leaf_entry(Leaf { bits: 0, len: depth, value: group })
    }

    const fn chunk(offset: u32, stride: u32) -> u32 {
        offset << OFFSET_SHIFT | CHUNK | (64 - stride)
    }

    /// Sixteen leaves, a middle chunk that leads to two of them, and for IPv6 one that leads anywhere.
    fn layout(change: impl Fn(&mut [Vec<u32>; 2], &mut Vec<u32>)) -> bool {
        let mut entries = vec![leaf(1, 32); 16];
        entries.extend([leaf(0, 24); 15]);
        entries.push(chunk(0, 1));
        let v4_entries = entries.len();
        entries.extend([leaf(2, 128), chunk(31, 0)]);
        entries[v4_entries + 1] = chunk(16, 4);
        let mut roots = [vec![leaf(0, 8), chunk(16, 4)], vec![leaf(0, 3), chunk(v4_entries as u32, 1)]];
        change(&mut roots, &mut entries);
        Layout { roots: [&roots[0], &roots[1]], entries: &entries, v4_entries }.is_sound(3)
    }

    #[test]
    fn a_layout_is_sound_if_every_lookup_ends_in_a_group() {
        assert!(layout(|_, _| {}));
        let entry = |at: usize, value: u32| layout(move |_, entries| entries[at] = value);
        let root = |family: usize, value: u32| layout(move |roots, _| roots[family][0] = value);
        assert!(entry(0, leaf(2, 32)), "another group is no fault");
        assert!(!entry(0, leaf(3, 32)), "no such group");
        assert!(!entry(0, leaf(1, 33)), "deeper than an IPv4 address");
        assert!(entry(32, leaf(1, 33)), "not so for IPv6");
        assert!(!entry(32, leaf(1, 129)));
        assert!(!entry(32, leaf(1, 128) | 1), "a leaf with a shift");
        assert!(!entry(33, chunk(33, 1)), "leads to itself");
        assert!(!entry(33, chunk(32, 2)), "leads past itself");
        assert!(!entry(33, chunk(1 << 20, 1)), "leads outside");
        assert!(!entry(33, chunk(0, 9)), "wider than any chunk");
        assert!(!entry(33, chunk(0, 0)));
        assert!(!entry(31, chunk(0, 1) | LOW), "IPv4 has no lower half");
        assert!(!layout(|_, entries| (entries[8], entries[31]) = (chunk(0, 1), chunk(8, 1))), "a third step");
        assert!(!root(0, chunk(16, 3)), "the first IPv4 chunk has one width");
        assert!(!root(0, chunk(17, 4)), "into what is not IPv4's");
        assert!(!root(0, leaf(0, 33)) && root(1, leaf(0, 33)));
        assert!(!root(1, chunk(33, 2)) && !root(1, leaf(3, 0)));
        assert!(root(1, chunk(32, 1)));
    }

    #[test]
    fn marks_are_found_in_ranges_over_several_words() {
        let marks = Marks::new((0..300).map(|at| at == 63 || at == 200));
        for (start, end) in [(0, 63), (64, 200), (201, 300), (128, 129)] {
            assert!(!marks.any(start..end), "{start}..{end}");
        }
        for (start, end) in [(0, 64), (63, 64), (0, 300), (64, 201), (200, 201), (130, 256)] {
            assert!(marks.any(start..end), "{start}..{end}");
        }
    }
}
