//! The search tree of an MMDB file: records read, checked once, then walked without further doubt.
//!
//! ```text
//!  node n:  [ left record | right record ]     24, 28 or 32 bits each
//!  record:  < nodes     another node
//!           = nodes     nothing known
//!           > nodes+15  data section offset: record - nodes - 16
//! ```
//!
//! Writers that share equal subtrees (ours does) make a directed acyclic graph of it, so the check
//! visits each node once, and bounds how many networks the graph unfolds to: a hostile file of 128
//! nodes could otherwise stand for 2^128 networks. maxminddb's own `verify()` counts unfolded networks
//! against the node count and refuses shared subtrees; that is why this is here.
//! It does not decode data; see [`super::database`].

use super::error::Refusal;
use foldhash::{HashMap, HashMapExt};

/// Unfolded networks allowed: this many, and [`UNFOLD_RATIO`] for each node.
const UNFOLD_BASE: u64 = 1 << 20;
const UNFOLD_RATIO: u64 = 64;
/// More than any known database, few enough to walk in seconds.
const UNFOLD_MAX: u64 = 64_000_000;
/// Zero bytes between tree and data.
const SEPARATOR_LEN: u32 = 16;

/// The tree part of a file.
#[derive(Debug)]
pub(super) struct SearchTree {
    bytes: Vec<u8>,
    nodes: u32,
    record_bits: u16,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Node(u32),
    Empty,
    /// Offset in the data section.
    Data(u32),
}

/// What the check learnt.
#[derive(Debug)]
pub(super) struct Survey {
    /// Each distinct data offset with one address (left-aligned in the tree's own bits) that leads to it.
    pub data: Vec<(u32, u128)>,
    /// Networks with data, shared subtrees counted as often as they stand for.
    pub networks: u64,
    /// Whether some node has two parents.
    pub shared: bool,
}

#[derive(Clone, Copy)]
struct Known {
    /// Levels below and including this node; 0: not seen yet.
    height: u8,
    networks: u64,
    leaves: u64,
}

/// A node on the way of the depth-first check.
struct Frame {
    node: u32,
    bits: u128,
    depth: u8,
    next_side: u8,
    known: Known,
}

const UNSEEN: Known = Known { height: 0, networks: 0, leaves: 0 };
const OPEN: u8 = u8::MAX;

impl SearchTree {
    /// `bytes` is the tree alone: exactly `nodes * record_bits / 4` of them.
    pub fn new(bytes: Vec<u8>, nodes: u32, record_bits: u16) -> Result<Self, Refusal> {
        let needed = u64::from(nodes) * u64::from(record_bits) / 4;
        if bytes.len() as u64 != needed || nodes == 0 {
            return Err(Refusal::damaged(format!("its search tree of {nodes} nodes does not fit the file")));
        }
        Ok(Self { bytes, nodes, record_bits })
    }

    /// The record of `node` on `side` (0 left, 1 right).
    #[inline]
    pub fn record(&self, node: u32, side: u8) -> Record {
        let value = self.raw(node as usize, side as usize);
        if value < self.nodes {
            Record::Node(value)
        } else if value == self.nodes {
            Record::Empty
        } else {
            Record::Data((value - self.nodes).wrapping_sub(SEPARATOR_LEN))
        }
    }

    #[inline]
    fn raw(&self, node: usize, side: usize) -> u32 {
        let width = self.record_bits as usize / 4;
        let Some(pair) = self.bytes.get(node * width..(node + 1) * width) else { return self.nodes };
        match (pair, side) {
            (&[a, b, c, _, _, _], 0) | (&[_, _, _, a, b, c], _) => u32::from_be_bytes([0, a, b, c]),
            (&[a, b, c, top, _, _, _], 0) => u32::from_be_bytes([top >> 4, a, b, c]),
            (&[_, _, _, top, a, b, c], _) => u32::from_be_bytes([top & 15, a, b, c]),
            (&[a, b, c, d, _, _, _, _], 0) | (&[_, _, _, _, a, b, c, d], _) => {
                u32::from_be_bytes([a, b, c, d])
            }
            _ => self.nodes,
        }
    }

    /// Visits every reachable node once: each record in range, no cycle, no path longer than an address.
    pub fn survey(&self, address_bits: u8, data_len: usize) -> Result<Survey, Refusal> {
        let mut known = vec![UNSEEN; self.nodes as usize];
        let mut data = HashMap::new();
        let mut shared = false;
        let mut stack = vec![Frame::new(0, 0, 0)];
        known[0].height = OPEN;
        while let Some(frame) = stack.last_mut() {
            if frame.next_side == 2 {
                known[frame.node as usize] = frame.known;
                let done = frame.known;
                stack.pop();
                if let Some(parent) = stack.last_mut() {
                    parent.absorb(done);
                }
                continue;
            }
            let side = frame.next_side;
            frame.next_side += 1;
            let bits = frame.bits | (u128::from(side) << (127 - u32::from(frame.depth)));
            match self.record(frame.node, side) {
                Record::Empty => frame.absorb(Known { height: 0, networks: 0, leaves: 1 }),
                Record::Data(offset) => {
                    if offset as usize >= data_len {
                        return Err(out_of_range(frame.node, side, bits, frame.depth + 1, address_bits));
                    }
                    data.entry(offset).or_insert(bits);
                    frame.absorb(Known { height: 0, networks: 1, leaves: 1 });
                }
                Record::Node(child) => {
                    let depth = frame.depth + 1;
                    let there = known[child as usize];
                    if there.height == OPEN || depth >= address_bits || there.height > address_bits - depth {
                        return Err(too_deep(child, address_bits));
                    }
                    if there.height > 0 {
                        shared = true;
                        frame.absorb(there);
                    } else {
                        known[child as usize].height = OPEN;
                        stack.push(Frame::new(child, bits, depth));
                    }
                }
            }
        }
        self.bounded(known[0])?;
        let lost = known.iter().filter(|known| known.height == 0).count();
        if lost > 0 {
            // Every writer numbers what it can reach, so a lost node means that a record was damaged.
            return Err(Refusal::damaged(format!(
                "{lost} of its {} search tree nodes cannot be reached from the root",
                self.nodes
            )));
        }
        let mut data: Vec<_> = data.into_iter().collect();
        data.sort_unstable();
        Ok(Survey { data, networks: known[0].networks, shared })
    }

    fn bounded(&self, root: Known) -> Result<(), Refusal> {
        let limit = (UNFOLD_BASE + UNFOLD_RATIO * u64::from(self.nodes)).min(UNFOLD_MAX);
        if root.leaves <= limit {
            return Ok(());
        }
        Err(Refusal {
            reason: format!("its {} nodes unfold to more than {limit} networks", self.nodes),
            remedy: "a sound database of this size has fewer: fetch it again, or split it by country",
        })
    }
}

impl Frame {
    const fn new(node: u32, bits: u128, depth: u8) -> Self {
        Self { node, bits, depth, next_side: 0, known: Known { height: 1, networks: 0, leaves: 0 } }
    }

    fn absorb(&mut self, child: Known) {
        self.known.height = self.known.height.max(child.height.saturating_add(1));
        self.known.networks = self.known.networks.saturating_add(child.networks);
        self.known.leaves = self.known.leaves.saturating_add(child.leaves);
    }
}

fn out_of_range(node: u32, side: u8, bits: u128, len: u8, address_bits: u8) -> Refusal {
    use crate::base::prefix::{Family, Prefix};
    let family = if address_bits == 32 { Family::V4 } else { Family::V6 };
    let side = if side == 0 { "left" } else { "right" };
    Refusal::damaged(format!(
        "the {side} record of search tree node {node} (network {}) points outside the data section",
        Prefix::new(family, bits, len)
    ))
}

fn too_deep(node: u32, address_bits: u8) -> Refusal {
    Refusal::damaged(format!(
        "its search tree has a cycle, or a path longer than {address_bits} bits, at node {node}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree24(records: &[[u32; 2]]) -> SearchTree {
        let bytes = records.iter().flatten().flat_map(|record| record.to_be_bytes()[1..].to_vec()).collect();
        let nodes = u32::try_from(records.len()).expect("few nodes");
        SearchTree::new(bytes, nodes, 24).expect("the tree fits")
    }

    fn check(records: &[[u32; 2]], expect: Result<u64, &str>) {
        match (tree24(records).survey(32, 10), expect) {
            (Ok(survey), Ok(networks)) => assert_eq!(survey.networks, networks),
            (Err(refusal), Err(words)) => assert!(refusal.reason.contains(words), "{}", refusal.reason),
            (got, expect) => panic!("{got:?} where {expect:?} was expected"),
        }
    }

    #[test]
    fn trees_are_accepted_or_refused_for_a_reason() {
        check(&[[1, 1]], Ok(0));
        check(&[[17, 18]], Ok(2));
        check(&[[1, 2], [18, 2]], Ok(1));
        check(&[[2, 18], [18, 2]], Err("1 of its 2 search tree nodes cannot be reached"));
        check(&[[0, 1]], Err("cycle"));
        check(&[[1, 2], [0, 2]], Err("cycle"));
        check(&[[2, 1]], Err("left record of search tree node 0 (network 0.0.0.0/1)"));
        check(&[[1, 16]], Err("right record of search tree node 0 (network 128.0.0.0/1)"));
        check(&[[1, 27]], Err("outside the data section"));
    }

    #[test]
    fn a_small_file_cannot_stand_for_endless_networks() {
        let nodes = 31_u32;
        let doubling: Vec<[u32; 2]> = (1..=nodes).map(|next| [next, next]).collect();
        check(&(1..=20).map(|next| [next, 20]).collect::<Vec<_>>(), Ok(0));
        check(&doubling, Err("unfold"));
        let mut with_data = doubling;
        with_data[30] = [nodes + 16, nodes + 16];
        check(&with_data, Err("unfold"));
    }

    #[test]
    fn records_of_28_bits_share_their_middle_byte() {
        let tree = SearchTree::new(vec![0x23, 0x45, 0x67, 0x18, 0x9a, 0xbc, 0xde], 1, 28).expect("one node");
        assert_eq!((tree.raw(0, 0), tree.raw(0, 1)), (0x0123_4567, 0x089a_bcde));
    }
}
