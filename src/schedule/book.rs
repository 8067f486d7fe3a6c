//! One service's placements while a plan is made: each distinct one once, groups point at them.
//!
//! Positions of the previous assignment stay valid during the plan, so "unchanged" is an integer
//! comparison. [`Book::close`] then renumbers by first use in group order, so that equal assignments
//! are equal byte for byte whatever order they were made in.

use crate::model::ids::NodeId;
use crate::model::placement::{Placement, PlacementMode, ServiceAssignment, Share};
use std::collections::HashMap;

/// No placement yet.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Book {
    pub placements: Vec<Placement>,
    /// Looked up, never iterated: its order means nothing.
    index: HashMap<Placement, u32, foldhash::fast::FixedState>,
    /// By group.
    pub at: Vec<u32>,
    /// By group, as the previous assignment had it.
    pub before: Vec<u32>,
}

impl Book {
    /// Opens at the previous assignment. Placements that name nodes outside the fleet count as none.
    pub fn open(previous: Option<&ServiceAssignment>, groups: usize, nodes: usize) -> Self {
        let mut book = Self {
            placements: Vec::new(),
            index: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0)),
            at: vec![NONE; groups],
            before: Vec::new(),
        };
        if let Some(previous) = previous.filter(|previous| previous.by_group.len() == groups) {
            let known = |node: NodeId| node.index() < nodes;
            let sound = |placement: &&Placement| {
                placement.shares.iter().all(|share| known(share.node))
                    && placement.backups.iter().all(|&node| known(node))
            };
            let adopt = |placement: &Placement| {
                Some(placement).filter(sound).map_or(NONE, |placement| book.intern(placement.clone()))
            };
            let numbers: Vec<u32> = previous.placements.iter().map(adopt).collect();
            let number = |&at: &u32| numbers.get(at as usize).copied().unwrap_or(NONE);
            book.at = previous.by_group.iter().map(number).collect();
        }
        book.before = book.at.clone();
        book
    }

    pub fn intern(&mut self, placement: Placement) -> u32 {
        if let Some(&at) = self.index.get(&placement) {
            return at;
        }
        let at = self.placements.len() as u32;
        self.index.insert(placement.clone(), at);
        self.placements.push(placement);
        at
    }

    pub fn shares(&self, at: u32) -> &[Share] {
        self.get(at).map_or(&[], |placement| &placement.shares)
    }

    pub fn get(&self, at: u32) -> Option<&Placement> {
        self.placements.get(at as usize)
    }

    /// Total weight of the groups on each placement.
    pub fn weigh(&self, at: &[u32], weights: &[u64]) -> Vec<u64> {
        let mut sums = vec![0; self.placements.len()];
        for (&at, &weight) in at.iter().zip(weights) {
            if let Some(sum) = sums.get_mut(at as usize) {
                *sum += weight;
            }
        }
        sums
    }

    /// The canonical form.
    pub fn close(self) -> ServiceAssignment {
        let Self { mut placements, mut at, .. } = self;
        let mut renumbered = vec![NONE; placements.len()];
        let mut kept = Vec::new();
        let nothing =
            Placement { shares: Vec::new(), backups: Vec::new(), pool: None, mode: PlacementMode::AllDown };
        for number in &mut at {
            let old = *number as usize;
            if renumbered.get(old).is_none_or(|&new| new == NONE) {
                let new = kept.len() as u32;
                match placements.get_mut(old) {
                    Some(placement) => {
                        renumbered[old] = new;
                        kept.push(std::mem::replace(placement, nothing.clone()));
                    }
                    None => kept.push(nothing.clone()),
                }
                *number = new;
            } else {
                *number = renumbered[old];
            }
        }
        ServiceAssignment { placements: kept, by_group: at }
    }
}
