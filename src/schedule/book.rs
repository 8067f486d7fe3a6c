//! One service's placements while a plan is made: each distinct one once, groups point at them.
//!
//! Positions of the previous assignment stay valid during the plan, so "unchanged" is an integer
//! comparison, and a service that nobody moved in is handed on as it was given. Otherwise
//! [`Book::close`] renumbers by first use in group order, so that equal assignments
//! are equal byte for byte whatever order they were made in.

use crate::model::ids::NodeId;
use crate::model::placement::{Placement, PlacementMode, ServiceAssignment, Share};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// No placement yet.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Book<'a> {
    /// Borrowed: most of it will not change.
    given: Option<&'a ServiceAssignment>,
    previous: &'a [Placement],
    /// Numbered after the previous ones.
    fresh: Vec<Placement>,
    /// By hash of shares: first and last placement with them. Looked up, never iterated. Filled when
    /// first needed.
    ends: HashMap<u64, (u32, u32), FixedState>,
    /// By placement: the next one with the same hash.
    next: Vec<u32>,
    /// By group.
    pub at: Vec<u32>,
    /// By group, as the previous assignment had it.
    pub before: Vec<u32>,
}

impl<'a> Book<'a> {
    /// Opens at the previous assignment. Placements that name nodes outside the fleet count as none.
    pub fn open(previous: Option<&'a ServiceAssignment>, groups: usize, nodes: usize) -> Self {
        let given = previous.filter(|previous| previous.by_group.len() == groups);
        let placements = given.map_or(&[][..], |given| &given.placements);
        let sound = |placement: &Placement| {
            placement.shares.iter().all(|share| share.node.index() < nodes)
                && placement.backups.iter().all(|node| node.index() < nodes)
        };
        let sound: Vec<bool> = placements.iter().map(sound).collect();
        let number = |&at: &u32| if sound.get(at as usize) == Some(&true) { at } else { NONE };
        let at: Vec<u32> =
            given.map_or_else(|| vec![NONE; groups], |given| given.by_group.iter().map(number).collect());
        Self {
            given,
            previous: placements,
            fresh: Vec::new(),
            ends: HashMap::with_hasher(FixedState::with_seed(0)),
            next: Vec::new(),
            before: at.clone(),
            at,
        }
    }

    /// The number of this placement.
    pub fn intern(&mut self, placement: Placement) -> u32 {
        let backups = placement.backups.clone();
        self.fold(placement, |other| other == backups)
    }

    /// The number of the first placement with these shares whose backups `will_do`, or of this one:
    /// groups whose backups are about as good have the same ones, so that tables stay small.
    pub fn fold(&mut self, placement: Placement, will_do: impl Fn(&[NodeId]) -> bool) -> u32 {
        for at in self.next.len()..self.previous.len() {
            self.link(&self.previous[at].shares);
        }
        let mut at = self.ends.get(&hash(&placement.shares)).map_or(NONE, |&(first, _)| first);
        while let Some(known) = self.get(at) {
            let alike = (known.pool, known.mode) == (placement.pool, placement.mode);
            if alike && known.shares == placement.shares && will_do(&known.backups) {
                return at;
            }
            at = self.next[at as usize];
        }
        self.link(&placement.shares);
        self.fresh.push(placement);
        self.next.len() as u32 - 1
    }

    /// Makes the next number known by its shares.
    fn link(&mut self, shares: &[Share]) {
        let at = self.next.len() as u32;
        let ends = self.ends.entry(hash(shares)).or_insert((at, NONE));
        let last = std::mem::replace(&mut ends.1, at);
        if let Some(last) = self.next.get_mut(last as usize) {
            *last = at;
        }
        self.next.push(NONE);
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
    pub fn weigh(&self, at: &[u32], weights: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut sums = vec![0; self.previous.len() + self.fresh.len()];
        for (&at, weight) in at.iter().zip(weights) {
            if let Some(sum) = sums.get_mut(at as usize) {
                *sum += weight;
            }
        }
        sums
    }

    /// The canonical form; the previous assignment itself where nothing changed.
    pub fn close(mut self) -> ServiceAssignment {
        if let Some(given) = self.given.filter(|given| self.at == **given.by_group && is_canonical(given)) {
            return given.clone();
        }
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
        ServiceAssignment { placements: kept.into(), by_group: at.into(), shed: Vec::new() }
    }
}

fn hash(shares: &[Share]) -> u64 {
    FixedState::with_seed(0).hash_one(shares)
}

/// Whether placements are numbered by first use, and all are used.
fn is_canonical(assignment: &ServiceAssignment) -> bool {
    let mut seen = 0;
    for &at in &assignment.by_group {
        if at > seen {
            return false;
        }
        seen += u32::from(at == seen);
    }
    seen as usize == assignment.placements.len()
}

/// Nobody: `on_all_down` says what is answered.
pub(super) fn nothing() -> Placement {
    Placement { shares: Vec::new(), backups: Vec::new(), pool: None, mode: PlacementMode::AllDown }
}
