//! One service's placements while a plan is made: each distinct one once, groups point at them.
//!
//! ```text
//! given     0 ... 4711          the previous assignment's, borrowed; what is settled of it is indexed
//! written   4712 ...            this plan's
//! ```
//! Positions of the previous assignment stay valid during the plan, so "unchanged" is an integer
//! comparison, and a service that nobody moved in is handed on as it was given. Otherwise
//! [`Book::close`] renumbers by first use in group order, and drops what no group has; an evacuation, which
//! has no time for that, [adds](Book::close_quickly) what is new, in the same order.

use super::spread::{Spread, hash};
use crate::model::ids::{NodeId, PoolId};
use crate::model::placement::{Placement, PlacementMode, ServiceAssignment, Share};
use foldhash::fast::FixedState;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// No placement yet.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Book<'a> {
    /// Borrowed: most of it will not change.
    given: Option<&'a ServiceAssignment>,
    settled: &'a [Placement],
    /// The settled ones, indexed.
    spread: Arc<Spread>,
    /// Numbered after the settled ones: first what was given beside those.
    fresh: Vec<Placement>,
    /// How many of them were given.
    given_fresh: usize,
    /// By hash of shares: first and last of `fresh` with them. Looked up, never iterated. Filled when
    /// first needed.
    ends: HashMap<u64, (u32, u32), FixedState>,
    /// By position in `fresh`: the next one with the same hash.
    next: Vec<u32>,
    /// By group.
    pub at: Vec<u32>,
    /// By group, as the previous assignment had it.
    pub before: Cow<'a, [u32]>,
}

impl<'a> Book<'a> {
    /// Opens at the previous assignment. Placements that name nodes outside the fleet count as none.
    /// `kept` is used if it is of these placements.
    pub fn open(
        previous: Option<&'a ServiceAssignment>,
        groups: usize,
        nodes: usize,
        kept: Option<&Arc<Spread>>,
    ) -> Self {
        let given = previous.filter(|previous| previous.by_group.len() == groups);
        let none = ServiceAssignment::default();
        let placements = given.map_or(&none.placements, |given| &given.placements);
        let kept = kept.filter(|kept| kept.is_of(placements.settled()));
        let spread = kept.map_or_else(|| Arc::new(Spread::of(placements.settled())), Arc::clone);
        let sound = |placement: &Placement| {
            placement.shares.iter().all(|share| share.node.index() < nodes)
                && placement.backups.iter().all(|node| node.index() < nodes)
        };
        let all_sound = spread.node_count <= nodes && placements.fresh().iter().all(sound);
        let count = placements.len();
        let most = |given: &ServiceAssignment| given.by_group.iter().copied().max().unwrap_or(0) as usize;
        let before: Cow<'a, [u32]> = match given {
            None => vec![NONE; groups].into(),
            Some(given) if all_sound && most(given) < count => given.by_group.as_slice().into(),
            Some(given) => {
                let number = |&at: &u32| match placements.get(at as usize) {
                    Some(placement) if sound(placement) => at,
                    _ => NONE,
                };
                given.by_group.iter().map(number).collect()
            }
        };
        Self {
            given,
            settled: given.map_or(&[], |given| given.placements.settled()),
            spread,
            fresh: placements.fresh().to_vec(),
            given_fresh: placements.fresh().len(),
            ends: HashMap::with_hasher(FixedState::with_seed(0)),
            next: Vec::new(),
            at: before.to_vec(),
            before,
        }
    }

    /// The number of this placement.
    pub fn intern(&mut self, placement: &Placement) -> u32 {
        let Placement { shares, backups, pool, mode } = placement;
        self.fold(shares, (*pool, *mode), backups, |other| other == backups)
    }

    /// The number of the first placement with these shares whose backups `will_do`, or of this one:
    /// groups whose backups are about as good have the same ones, so that tables stay small.
    pub fn fold(
        &mut self,
        shares: &[Share],
        (pool, mode): (Option<PoolId>, PlacementMode),
        backups: &[NodeId],
        will_do: impl Fn(&[NodeId]) -> bool,
    ) -> u32 {
        for at in self.next.len()..self.fresh.len() {
            let hash = hash(&self.fresh[at].shares);
            self.link(hash);
        }
        let hash = hash(shares);
        let does = |known: &Placement| {
            let alike = (known.pool, known.mode) == (pool, mode);
            alike && known.shares == shares && will_do(&known.backups)
        };
        let mut at = self.spread.first(hash);
        while let Some(known) = self.settled.get(at as usize) {
            if does(known) {
                return at;
            }
            at = self.spread.next(at);
        }
        let mut at = self.ends.get(&hash).map_or(NONE, |&(first, _)| first);
        while let Some(known) = self.fresh.get(at as usize) {
            if does(known) {
                return self.settled.len() as u32 + at;
            }
            at = self.next[at as usize];
        }
        self.link(hash);
        self.fresh.push(Placement { shares: shares.to_vec(), backups: backups.to_vec(), pool, mode });
        (self.settled.len() + self.fresh.len() - 1) as u32
    }

    /// Makes the next of `fresh` known by the hash of its shares.
    fn link(&mut self, hash: u64) {
        let at = self.next.len() as u32;
        let ends = self.ends.entry(hash).or_insert((at, NONE));
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
        self.settled.get(at).or_else(|| self.fresh.get(at.checked_sub(self.settled.len())?))
    }

    /// How many there are; some may be of no group any more.
    pub fn count(&self) -> usize {
        self.settled.len() + self.fresh.len()
    }

    /// Groups that are not where they were, ascending.
    pub fn changed(&self) -> Vec<u32> {
        // Most of most books did not change: whole stretches are compared at once.
        const STRETCH: usize = 64;
        let mut changed = Vec::new();
        for (stretch, (at, before)) in self.at.chunks(STRETCH).zip(self.before.chunks(STRETCH)).enumerate() {
            if at != before {
                let differs = |&group: &usize| at[group] != before[group];
                changed.extend((0..at.len()).filter(differs).map(|group| (stretch * STRETCH + group) as u32));
            }
        }
        changed
    }

    /// By number: whether a placement names one of these nodes.
    pub fn names_any(&self, is_asked: &[bool]) -> Vec<bool> {
        let mut names = self.spread.names_any(is_asked);
        let is_asked = |node: NodeId| is_asked.get(node.index()) == Some(&true);
        names.extend(self.fresh.iter().map(|placement| {
            placement.shares.iter().any(|share| is_asked(share.node))
                || placement.backups.iter().any(|&node| is_asked(node))
        }));
        names
    }

    /// Whether there is any placement that is not a normal one, used or not.
    pub fn is_open(&self) -> bool {
        self.spread.is_open || self.fresh.iter().any(|placement| placement.mode != PlacementMode::Normal)
    }

    /// The previous assignment, if it is what this comes to.
    fn unchanged(&self) -> Option<ServiceAssignment> {
        let given = self.given.filter(|given| self.at == **given.by_group)?;
        // What evacuations added is written anew when it is too much; so is what was given by others.
        (given.placements.len() <= self.at.len().max(1)).then(|| given.clone())
    }

    /// The canonical form; the previous assignment itself where nothing changed. Who is shed is not the
    /// book's: as it was, or nobody.
    pub fn close(mut self) -> (ServiceAssignment, Arc<Spread>) {
        if let Some(given) = self.unchanged() {
            return (given, self.spread);
        }
        let mut at = std::mem::take(&mut self.at);
        let mut renumbered = vec![NONE; self.count() + 1];
        let nobody = renumbered.len() - 1;
        let mut kept = Vec::new();
        for number in &mut at {
            let old = (*number as usize).min(nobody);
            if renumbered[old] == NONE {
                renumbered[old] = kept.len() as u32;
                kept.push(self.take(*number));
            }
            *number = renumbered[old];
        }
        let assignment = ServiceAssignment { placements: kept.into(), by_group: at.into(), shed: Vec::new() };
        let spread = Arc::new(Spread::of(assignment.placements.settled()));
        (assignment, spread)
    }

    /// A placement that is not asked for again.
    fn take(&mut self, at: u32) -> Placement {
        let fresh = (at as usize).checked_sub(self.settled.len()).and_then(|at| self.fresh.get_mut(at));
        match fresh {
            Some(fresh) => std::mem::replace(fresh, nothing()),
            None => self.settled.get(at as usize).cloned().unwrap_or_else(nothing),
        }
    }

    /// As [`Self::close`], for an evacuation: what was given stays as it is, with what is new after it.
    /// `changed` are those that [are](Self::changed).
    pub fn close_quickly(mut self, changed: &[u32]) -> (ServiceAssignment, Arc<Spread>) {
        let Some(given) = self.given.filter(|given| given.placements.len() <= self.at.len().max(1)) else {
            return self.close();
        };
        if changed.is_empty() || self.at.contains(&NONE) {
            return self.close();
        }
        let count = self.settled.len() + self.given_fresh;
        let mut renumbered = vec![NONE; self.fresh.len() - self.given_fresh];
        let mut more = Vec::new();
        for &group in changed {
            let number = &mut self.at[group as usize];
            let Some(new) = (*number as usize).checked_sub(count) else { continue };
            if renumbered[new] == NONE {
                renumbered[new] = (count + more.len()) as u32;
                more.push(std::mem::replace(&mut self.fresh[self.given_fresh + new], nothing()));
            }
            *number = renumbered[new];
        }
        let placements = given.placements.with(more);
        // Written as one when there is much of it.
        let is_same = self.spread.is_of(placements.settled());
        let spread = if is_same { self.spread } else { Arc::new(Spread::of(placements.settled())) };
        (ServiceAssignment { placements, by_group: self.at.into(), shed: Vec::new() }, spread)
    }
}

/// Nobody: `on_all_down` says what is answered.
pub(super) fn nothing() -> Placement {
    Placement { shares: Vec::new(), backups: Vec::new(), pool: None, mode: PlacementMode::AllDown }
}
