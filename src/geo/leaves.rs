//! The canonical partition of an address family: in order, gapless, equal siblings merged as they come.
//!
//! ```text
//!  pushed          10.0.0.0/10 A   10.64.0.0/10 A   10.128.0.0/9 A   11.0.0.0/8 B
//!  kept            10.0.0.0/10 A ─▶ 10.0.0.0/9 A ──▶ 10.0.0.0/8 A     11.0.0.0/8 B
//! ```
//!
//! So each leaf is as short as it can be without another value inside it: its length is the scope that
//! DNS may promise (RFC 7871).

use crate::base::prefix::masked;

/// A prefix, left-aligned, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub bits: u128,
    pub len: u8,
    pub value: u32,
}

/// Takes leaves in address order.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    list: Vec<Leaf>,
}

impl Leaves {
    pub fn push(&mut self, bits: u128, len: u8, value: u32) {
        let mut leaf = Leaf { bits, len, value };
        while let Some(last) = self.list.last()
            && last.len == leaf.len
            && last.value == leaf.value
            && leaf.len > 0
            && last.bits == masked(leaf.bits, leaf.len - 1)
            && last.bits != leaf.bits
        {
            leaf = Leaf { len: leaf.len - 1, ..*last };
            self.list.pop();
        }
        self.list.push(leaf);
    }

    /// The same partition with other values.
    pub fn map(&self, value: impl Fn(u32) -> u32) -> Leaves {
        let mut mapped = Leaves::default();
        for leaf in &self.list {
            mapped.push(leaf.bits, leaf.len, value(leaf.value));
        }
        mapped
    }

    pub fn as_slice(&self) -> &[Leaf] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_siblings_merge_all_the_way_up() {
        let mut leaves = Leaves::default();
        let eighth = 1_u128 << 125;
        for at in 0..8 {
            leaves.push(at * eighth, 3, u32::from(at == 5));
        }
        let shown: Vec<_> =
            leaves.as_slice().iter().map(|leaf| (leaf.bits / eighth, leaf.len, leaf.value)).collect();
        assert_eq!(shown, [(0, 1, 0), (4, 3, 0), (5, 3, 1), (6, 2, 0)]);
        let whole = leaves.map(|_| 7);
        assert_eq!(whole.as_slice(), [Leaf { bits: 0, len: 0, value: 7 }]);
    }
}
