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
