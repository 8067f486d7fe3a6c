//! The binary search tree of an MMDB file, built bottom-up so that equal subtrees are one subtree.
//!
//! ```text
//!        (root)                a record is a child node, a value, or nothing;
//!        /    \                two equal children that are leaves become the leaf;
//!     (a)      (a)   ──▶       two equal nodes become one node with two parents
//! ```
//!
//! Readers only ever walk down, so a tree that is really a graph without cycles reads the same and
//! is much smaller: most /24s and /48s of a registry repeat a few shapes. Address space: 128 bits,
//! IPv4 in `::/96`. The node at `::/96` is never shared, because readers tell the IPv4 subtree from
//! its aliases by that node's number.
//!
//! Limit: the `verify()` of the maxminddb crate takes more than three networks per node for a cycle.
//! The shipped country file has 2.6; a test verifies it, so that newer data past that would be seen.

use foldhash::{HashMap, HashMapExt};

use crate::base::prefix::{Family, Prefix};

/// The value that means "no record".
pub const NO_DATA: u32 = 0;

/// A network in tree space with its value (`NO_DATA`, or 1 + an index of the values).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    depth: u8,
    value: u32,
}

impl Network {
    pub fn new(prefix: Prefix, value: u32) -> Self {
        match prefix.family() {
            Family::V4 => Self { bits: prefix.bits() >> 96, depth: prefix.len() + 96, value },
            Family::V6 => Self { bits: prefix.bits(), depth: prefix.len(), value },
        }
    }
}

/// Whether an address of tree space is an IPv4 address.
pub const fn is_v4(bits: u128) -> bool {
    bits >> 32 == 0
}

/// Appends the fewest networks that cover `first..=last`. Both ends are of one family.
pub fn cover_range(first: u128, last: u128, value: u32, out: &mut Vec<Network>) {
    let most_bits = if is_v4(first) { 32 } else { 128 };
    let mut at = first;
    while at <= last {
        // The largest aligned block that starts here and does not pass the end.
        let left = last - at;
        let fits = if left == u128::MAX { 128 } else { 127 - (left + 1).leading_zeros() };
        let size_bits = at.trailing_zeros().min(fits).min(most_bits);
        out.push(Network { bits: at, depth: 128 - size_bits as u8, value });
        match 1_u128.checked_shl(size_bits).and_then(|size| at.checked_add(size)) {
            Some(next) => at = next,
            None => return,
        }
    }
}

/// A record: a node's index in creation order, or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    Node(u32),
    Value(u32),
}

/// Nodes in creation order: children come before their parents, the root is last.
#[derive(Clone, Debug)]
pub struct Tree {
    pub nodes: Vec<[Record; 2]>,
}

impl Tree {
    /// Builds the tree; where networks nest the narrowest wins, of equal ones the last. `None` if
    /// the nodes cannot be counted in 31 bits.
    pub fn of(mut networks: Vec<Network>) -> Option<Tree> {
        networks.sort_by_key(|network| (network.bits, network.depth));
        let mut builder = Builder { nodes: Vec::new(), shared: HashMap::new() };
        let root = builder.subtree(&networks, 0, 0, NO_DATA);
        if let Record::Value(_) = root {
            builder.nodes.push([root, root]);
        }
        (builder.nodes.len() < 1 << 31).then_some(Tree { nodes: builder.nodes })
    }
}

struct Builder {
    nodes: Vec<[Record; 2]>,
    shared: HashMap<[Record; 2], u32>,
}

impl Builder {
    /// The record for the network `bits/depth`, which holds all of `inside`; `around` is the value
    /// of the narrowest network around it. Recursion ends at depth 128.
    fn subtree(&mut self, inside: &[Network], bits: u128, depth: u8, around: u32) -> Record {
        let own = inside.iter().take_while(|network| network.depth <= depth).count();
        let value = inside[..own].last().map_or(around, |network| network.value);
        let inside = &inside[own..];
        if inside.is_empty() || depth >= 128 {
            return Record::Value(value);
        }
        let right_bits = bits | 1 << (127 - depth);
        let (left, right) = inside.split_at(inside.partition_point(|network| network.bits < right_bits));
        let children =
            [self.subtree(left, bits, depth + 1, value), self.subtree(right, right_bits, depth + 1, value)];
        self.node(children, depth == 96 && bits == 0)
    }

    fn node(&mut self, children: [Record; 2], is_v4_root: bool) -> Record {
        if children[0] == children[1] && matches!(children[0], Record::Value(_)) {
            return children[0];
        }
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if !is_v4_root {
            if let Some(&known) = self.shared.get(&children) {
                return Record::Node(known);
            }
            self.shared.insert(children, next);
        }
        self.nodes.push(children);
        Record::Node(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(first: u128, last: u128) -> Vec<(u128, u8)> {
        let mut out = Vec::new();
        cover_range(first, last, 1, &mut out);
        out.iter().map(|network| (network.bits, network.depth)).collect()
    }

    #[test]
    fn a_range_is_covered_by_the_fewest_networks() {
        assert_eq!(covered(0, 0xffff_ffff), [(0, 96)]);
        assert_eq!(covered(1, 6), [(1, 128), (2, 127), (4, 127), (6, 128)]);
        assert_eq!(covered(0xffff_ffff, 0xffff_ffff), [(0xffff_ffff, 128)]);
        assert_eq!(covered(u128::MAX - 1, u128::MAX), [(u128::MAX - 1, 127)]);
        assert_eq!(covered(1 << 127, u128::MAX), [(1 << 127, 1)]);
    }

    #[test]
    fn equal_subtrees_are_built_once() {
        let net = |text: &str| Network::new(Prefix::from(text.parse::<ipnet::IpNet>().expect("network")), 1);
        let alone = Tree::of(vec![net("2001:db8::/32")]).expect("small").nodes.len();
        let twice = Tree::of(vec![net("2001:db8::/32"), net("3001:db8::/32")]).expect("small").nodes.len();
        let other = Tree::of(vec![net("2001:db8::/32"), net("4001:db8::/32")]).expect("small").nodes.len();
        assert_eq!(alone, 32);
        assert_eq!(twice, 32, "both sides of the fork are one node");
        assert_eq!(other, 33, "one more node leads to the same subtree");
    }

    #[test]
    fn an_empty_input_still_has_a_root() {
        let tree = Tree::of(Vec::new()).expect("small");
        assert_eq!(tree.nodes, [[Record::Value(NO_DATA); 2]]);
    }
}
