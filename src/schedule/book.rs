//! One service's placements while a plan is made: each distinct one once, groups point at them.
//!
//! Positions of the previous assignment stay valid during the plan, so "unchanged" is an integer
//! comparison. [`Book::close`] then renumbers by first use in group order, so that equal assignments
//! are equal byte for byte whatever order they were made in.

use crate::model::placement::{Placement, PlacementMode, ServiceAssignment, Share};
use std::collections::HashMap;

/// No placement yet.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Book<'a> {
    /// Borrowed: most of it will not change.
    previous: &'a [Placement],
    /// Numbered after the previous ones.
    fresh: Vec<Placement>,
    /// Looked up, never iterated: their order means nothing. The first is filled when first needed.
    known: Index<&'a Placement>,
    index: Index<Placement>,
    /// By group.
    pub at: Vec<u32>,
    /// By group, as the previous assignment had it.
    pub before: Vec<u32>,
}

type Index<K> = HashMap<K, u32, foldhash::fast::FixedState>;

impl<'a> Book<'a> {
    /// Opens at the previous assignment. Placements that name nodes outside the fleet count as none.
    pub fn open(previous: Option<&'a ServiceAssignment>, groups: usize, nodes: usize) -> Self {
        let previous = previous.filter(|previous| previous.by_group.len() == groups);
        let placements = previous.map_or(&[][..], |previous| &previous.placements);
        let sound = |placement: &Placement| {
            placement.shares.iter().all(|share| share.node.index() < nodes)
                && placement.backups.iter().all(|node| node.index() < nodes)
        };
        let sound: Vec<bool> = placements.iter().map(sound).collect();
        let number = |&at: &u32| if sound.get(at as usize) == Some(&true) { at } else { NONE };
        let at = previous
            .map_or_else(|| vec![NONE; groups], |previous| previous.by_group.iter().map(number).collect());
        Self {
            previous: placements,
            fresh: Vec::new(),
            known: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0)),
            index: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0)),
            before: at.clone(),
            at,
        }
    }

    pub fn intern(&mut self, placement: Placement) -> u32 {
        if self.known.is_empty() {
            for (at, placement) in self.previous.iter().enumerate() {
                self.known.entry(placement).or_insert(at as u32);
            }
        }
        let known = self.known.get(&placement).or_else(|| self.index.get(&placement));
        if let Some(&at) = known {
            return at;
        }
        let at = (self.previous.len() + self.fresh.len()) as u32;
        self.index.insert(placement.clone(), at);
        self.fresh.push(placement);
        at
    }

    #[inline]
    pub fn shares(&self, at: u32) -> &[Share] {
        self.get(at).map_or(&[], |placement| &placement.shares)
    }

    #[inline]
    pub fn get(&self, at: u32) -> Option<&Placement> {
        let at = at as usize;
        self.previous.get(at).or_else(|| self.fresh.get(at.checked_sub(self.previous.len())?))
    }

    /// All there are, by number; some may be of no group any more.
    pub fn placements(&self) -> impl Iterator<Item = &Placement> {
        self.previous.iter().chain(&self.fresh)
    }

    /// Total weight of the groups on each placement.
    pub fn weigh(&self, at: &[u32], weights: &[u64]) -> Vec<u64> {
        let mut sums = vec![0; self.previous.len() + self.fresh.len()];
        for (&at, &weight) in at.iter().zip(weights) {
            if let Some(sum) = sums.get_mut(at as usize) {
                *sum += weight;
            }
        }
        sums
    }

    /// The canonical form.
    pub fn close(mut self) -> ServiceAssignment {
        let mut at = std::mem::take(&mut self.at);
        let mut renumbered = vec![NONE; self.previous.len() + self.fresh.len() + 1];
        let nobody = renumbered.len() - 1;
        let mut kept = Vec::new();
        for number in &mut at {
            let old = (*number as usize).min(nobody);
            if renumbered[old] == NONE {
                renumbered[old] = kept.len() as u32;
                kept.push(self.get(*number).cloned().unwrap_or_else(nothing));
            }
            *number = renumbered[old];
        }
        ServiceAssignment { placements: kept, by_group: at }
    }
}

/// Nobody: `on_all_down` says what is answered.
pub(super) fn nothing() -> Placement {
    Placement { shares: Vec::new(), backups: Vec::new(), pool: None, mode: PlacementMode::AllDown }
}
