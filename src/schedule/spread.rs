//! What is worked out once for a list of placements and asked by every plan that goes on from it: which
//! have the same shares, which nodes they name.
//!
//! ```text
//! nodes   | 3 7 | 9 3 7 | 1 2 | ...      shares and backups of one placement after the other
//! starts  0     2       5     7
//! namers  n1: 2 ... n3: 0 1 ...          placements by node, each once for each time it names it
//! ends    hash of shares ─▶ first with them, next ─▶ the one after it
//! ```
//! A list of settled placements never changes while somebody holds it, and this does: so it is known by its
//! place in memory.

use super::book::NONE;
use crate::model::ids::NodeId;
use crate::model::placement::{Placement, PlacementMode, Share, Shared};
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// See the module's picture.
pub(super) struct Spread {
    of: Shared<Placement>,
    /// Looked up, never iterated.
    ends: HashMap<u64, u32, FixedState>,
    next: Vec<u32>,
    starts: Vec<u32>,
    nodes: Vec<NodeId>,
    /// By node: where its namers start, and the end.
    firsts: Vec<u32>,
    namers: Vec<u32>,
    /// No placement names a node from here on.
    pub node_count: usize,
    /// Some placement is not a normal one.
    pub is_open: bool,
}

impl Spread {
    pub fn of(placements: &Shared<Placement>) -> Self {
        let mut spread = Self {
            of: placements.clone(),
            ends: HashMap::with_capacity_and_hasher(placements.len(), FixedState::with_seed(0)),
            next: vec![NONE; placements.len()],
            starts: Vec::with_capacity(placements.len() + 1),
            nodes: Vec::with_capacity(placements.len() * 4),
            firsts: Vec::new(),
            namers: Vec::new(),
            node_count: 0,
            is_open: placements.iter().any(|placement| placement.mode != PlacementMode::Normal),
        };
        spread.starts.push(0);
        for placement in placements {
            spread.nodes.extend(placement.shares.iter().map(|share| share.node));
            spread.nodes.extend_from_slice(&placement.backups);
            spread.starts.push(spread.nodes.len() as u32);
        }
        spread.node_count = spread.nodes.iter().map(|node| node.index() + 1).max().unwrap_or(0);
        spread.note_namers();
        // Backwards, so that the first of those with the same shares comes first.
        for (at, placement) in placements.iter().enumerate().rev() {
            let later = spread.ends.insert(hash(&placement.shares), at as u32);
            spread.next[at] = later.unwrap_or(NONE);
        }
        spread
    }

    pub fn is_of(&self, placements: &Shared<Placement>) -> bool {
        self.of.is_same(placements)
    }

    /// The first placement whose shares have this hash, or `NONE`.
    pub fn first(&self, hash: u64) -> u32 {
        self.ends.get(&hash).copied().unwrap_or(NONE)
    }

    /// The one after it.
    pub fn next(&self, at: u32) -> u32 {
        self.next[at as usize]
    }

    fn note_namers(&mut self) {
        let mut ends = vec![0_u32; self.node_count + 1];
        self.nodes.iter().for_each(|node| ends[node.index()] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        self.namers = vec![0; self.nodes.len()];
        for (at, own) in self.starts.windows(2).enumerate() {
            for node in &self.nodes[own[0] as usize..own[1] as usize] {
                let place = &mut ends[node.index()];
                *place -= 1;
                self.namers[*place as usize] = at as u32;
            }
        }
        self.firsts = ends;
    }

    /// By placement: whether it names one of these nodes.
    pub fn names_any(&self, is_asked: &[bool]) -> Vec<bool> {
        let mut names = vec![false; self.next.len()];
        let asked = is_asked.iter().take(self.node_count).enumerate().filter(|(_, is_asked)| **is_asked);
        for (node, _) in asked {
            let namers = self.firsts[node] as usize..self.firsts[node + 1] as usize;
            self.namers[namers].iter().for_each(|&at| names[at as usize] = true);
        }
        names
    }
}

/// Of what makes shares equal.
pub(super) fn hash(shares: &[Share]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let take = |hash: u64, share: &Share| {
        let word = u64::from(share.node.0) << 32 | u64::from(share.share.0);
        (hash ^ word).wrapping_mul(FACTOR).rotate_left(29)
    };
    shares.iter().fold(shares.len() as u64, take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Ppm;

    #[test]
    fn equal_shares_are_found_in_order_and_nodes_by_placement() {
        let on = |node: u16, backup: u16| Placement {
            shares: vec![Share { node: NodeId(node), share: Ppm::WHOLE }],
            backups: vec![NodeId(backup)],
            pool: None,
            mode: PlacementMode::Normal,
        };
        let list: Shared<Placement> = vec![on(1, 2), on(3, 4), on(1, 5)].into();
        let spread = Spread::of(&list);
        let first = spread.first(hash(&list[0].shares));
        assert_eq!((first, spread.next(first), spread.next(2), spread.first(1)), (0, 2, NONE, NONE));
        assert_eq!(spread.names_any(&[false, false, false, true, false, true]), [false, true, true]);
        assert_eq!((spread.node_count, spread.is_open), (6, false));
        assert!(spread.is_of(&list) && !spread.is_of(&list.iter().cloned().collect()));
    }
}
