//! What a plan worked out that the next one needs again: only ever to be quicker, never to decide.
//!
//! ```text
//! kept of the plan before ─┬ policy, groups, latencies equal? ── no ─▶ nothing is used
//!                          ├ ground, order of the walk ────────────▶ as they are
//!                          ├ rows and orders of costs, ladders ────▶ those that no change concerns
//!                          └ by service: the assignment it made is the previous one, in memory?
//!                              index of its placements, tally, who is restless
//! ```
//! Each part stands beside what it was made from and is used only where that is the same now, so a plan
//! comes out bit for bit the same without any of it: from a journal, after a restart, in a test. It is no
//! part of what a memory says, in writing or in comparison.
//!
//! *Restless* is a pair that [`is_untouched`] says something is to be done about, each time anew: because no
//! node may serve it, mostly nobody. All others can only be concerned by a node that was lost. *Stray* is a
//! group that is not wholly on the first level of its chain: all others can only be if they moved, or if a
//! chain has other levels.

use super::PlanInput;
use super::book::Book;
use super::demand::Demand;
use super::ground::Ground;
use super::ladder::Ladder;
use super::order::Lists;
use super::rows::Rows;
use super::spread::Spread;
use super::sweep::is_untouched;
use super::tally::Tally;
use super::terrain::Terrain;
use crate::model::clients::ClientGroup;
use crate::model::placement::{PlacementMode, ServiceAssignment, Share};
use crate::model::reach::Reach;
use std::sync::Arc;

/// Nothing, or [`Keep`]. All are equal.
#[derive(Clone, Default)]
pub(super) struct Kept(Option<Arc<Keep>>);

/// See the module's picture.
pub(super) struct Keep {
    pub ground: Arc<Ground>,
    pub rows: Arc<Rows>,
    pub orders: Arc<Lists>,
    pub reach: Reach,
    /// Views of `reach` x chains.
    pub ladders: Vec<Arc<Ladder>>,
    pub demand: Demand,
    pub walk: Arc<Walk>,
    pub services: Vec<KeptService>,
}

/// Of one service.
pub(super) struct KeptService {
    /// As the plan left it.
    pub assignment: ServiceAssignment,
    pub spread: Arc<Spread>,
    pub tally: Arc<Tally>,
    /// Groups, ascending.
    pub restless: Vec<u32>,
    /// Groups of which a part is on a later pool, or on nobody.
    pub strays: Vec<u32>,
}

/// By service, of the groups.
pub(super) struct Moved<'p> {
    /// Who is not where they were.
    pub changed: &'p [Vec<u32>],
    /// Who may be on later pools though not moved; `None`: anybody.
    pub strays: &'p [Option<&'p [u32]>],
}

/// In which order groups are placed.
pub(super) struct Walk {
    pub order: Vec<u32>,
    /// By group: its place in the order.
    pub ranks: Vec<u32>,
}

impl Walk {
    pub fn new(demand: &Demand, groups: &[ClientGroup]) -> Self {
        let order = demand.order(groups);
        let mut ranks = vec![0; order.len()];
        for (rank, &group) in order.iter().enumerate() {
            ranks[group as usize] = rank as u32;
        }
        Self { order, ranks }
    }
}

impl Kept {
    pub fn new(keep: Keep) -> Self {
        Self(Some(Arc::new(keep)))
    }

    /// What there is, if it was made from the same world.
    pub fn of(&self, input: &PlanInput<'_>) -> Option<&Keep> {
        self.0.as_deref().filter(|keep| keep.ground.is_of(input))
    }

    /// What there is, if it stands on this very ground.
    pub fn of_ground(&self, ground: &Arc<Ground>) -> Option<&Keep> {
        self.0.as_deref().filter(|keep| Arc::ptr_eq(&keep.ground, ground))
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Keep {
    /// What is kept of a service, if this assignment is the one it is of.
    pub fn service(&self, at: usize, previous: Option<&ServiceAssignment>) -> Option<&KeptService> {
        let (kept, previous) = (self.services.get(at)?, previous?);
        let is_same = kept.assignment.by_group.is_same(&previous.by_group)
            && kept.assignment.placements.is_same(&previous.placements);
        is_same.then_some(kept)
    }

    /// Which nodes some pair had that it may not have any more, by node; `None`: groups are seen in other
    /// ways, so that it cannot be told by nodes.
    fn lost(&self, terrain: &Terrain<'_>) -> Option<Vec<bool>> {
        let (then, now) = (&self.reach, &terrain.reach);
        if then.views().len() != now.views().len() || then.by_group() != now.by_group() {
            return None;
        }
        let mut lost = vec![false; terrain.signals.len()];
        for (then, now) in then.views().iter().zip(now.views()) {
            for (lost, (then, now)) in lost.iter_mut().zip(then.may_serve.iter().zip(&now.may_serve)) {
                *lost |= *then && !now;
            }
        }
        for (then, now) in self.ladders.iter().zip(&terrain.ladders) {
            if Arc::ptr_eq(then, now) {
                continue;
            }
            for rung in then.rungs.iter().filter(|rung| now.rung(rung.node).is_none()) {
                lost[rung.node.index()] = true;
            }
        }
        Some(lost)
    }

    /// Whether some chain of the service is all down, and was not.
    fn falls(&self, terrain: &Terrain<'_>, service: usize) -> bool {
        let count = terrain.ground.chain_samples.len();
        let of_view =
            |view: usize| terrain.ground.chains[service].iter().map(move |&at| view * count + at as usize);
        (0..terrain.reach.views().len())
            .flat_map(of_view)
            .any(|at| terrain.ladders[at].all_down && !self.ladders.get(at).is_some_and(|then| then.all_down))
    }
}

/// By service: groups of the previous assignment that may be strays; `None`: anybody may.
pub(super) fn strays<'k>(terrain: &Terrain<'_>, keep: Option<&'k Keep>) -> Vec<Option<&'k [u32]>> {
    let is_like = |keep: &&Keep| {
        let mut pairs = keep.ladders.iter().zip(&terrain.ladders);
        keep.ladders.len() == terrain.ladders.len()
            && keep.reach.by_group() == terrain.reach.by_group()
            && pairs.all(|(then, now)| Arc::ptr_eq(then, now) || now.is_levelled_as(then))
    };
    let keep = keep.filter(is_like);
    let previous = |at: usize| terrain.input.previous.and_then(|previous| previous.services.get(at));
    let of_service = |at: usize| Some(&keep?.service(at, previous(at))?.strays[..]);
    (0..terrain.input.policy.services.len()).map(of_service).collect()
}

/// Of the groups that may be strays and those that `changed`, those that are.
pub(super) fn astray(
    terrain: &Terrain<'_>,
    book: &Book<'_>,
    service: usize,
    known: Option<&[u32]>,
    changed: &[u32],
) -> Vec<u32> {
    let is_stray = |&group: &u32| {
        let Some(ladder) = terrain.ladder(service, group as usize) else { return true };
        let held = book.get(book.at[group as usize]);
        let is_first = |share: &Share| ladder.rung(share.node).is_none_or(|rung| rung.level == 0);
        held.is_none_or(|it| it.mode != PlacementMode::Normal || !it.shares.iter().all(is_first))
    };
    let Some(known) = known else { return (0..book.at.len() as u32).filter(is_stray).collect() };
    let mut groups: Vec<u32> = known.iter().chain(changed).copied().collect();
    groups.sort_unstable();
    groups.dedup();
    groups.retain(is_stray);
    groups
}

/// By service: groups about whose placement something may have to be done, ascending.
pub(super) fn touched(terrain: &Terrain<'_>, books: &[Book<'_>], keep: Option<&Keep>) -> Vec<Vec<u32>> {
    let lost = keep.and_then(|keep| keep.lost(terrain));
    let known = keep.zip(lost.as_deref());
    let previous = |at: usize| terrain.input.previous.and_then(|previous| previous.services.get(at));
    let of_service = |(at, book): (usize, &Book<'_>)| match known {
        Some((keep, lost)) if !keep.falls(terrain, at) => match keep.service(at, previous(at)) {
            Some(kept) => among(book, lost, &kept.restless),
            None => restless(terrain, book, at, 0..book.at.len() as u32),
        },
        _ => restless(terrain, book, at, 0..book.at.len() as u32),
    };
    books.iter().enumerate().map(of_service).collect()
}

/// Groups whose placement names one of the `lost` nodes, and the restless.
fn among(book: &Book<'_>, lost: &[bool], restless: &[u32]) -> Vec<u32> {
    if !lost.contains(&true) {
        return restless.to_vec();
    }
    let names = book.names_any(lost);
    let is_named = |&(_, &at): &(usize, &u32)| names.get(at as usize) == Some(&true);
    let mut groups: Vec<u32> =
        book.at.iter().enumerate().filter(is_named).map(|(group, _)| group as u32).collect();
    if !restless.is_empty() {
        groups.extend_from_slice(restless);
        groups.sort_unstable();
        groups.dedup();
    }
    groups
}

/// Of these groups the restless ones.
pub(super) fn restless(
    terrain: &Terrain<'_>,
    book: &Book<'_>,
    service: usize,
    groups: impl Iterator<Item = u32>,
) -> Vec<u32> {
    // By placement: the ladder and view it was last judged for, and how.
    let mut judged: Vec<Option<(u32, bool)>> = vec![None; book.count()];
    let is_restless = |&group: &u32| {
        let at = book.at[group as usize];
        let ladder = terrain.ladder_position(service, group as usize);
        let (Some(position), Some(placement)) = (ladder, book.get(at)) else { return true };
        match judged[at as usize] {
            Some((known, is_restless)) if known as usize == position => is_restless,
            _ => {
                let may_serve = &terrain.reach.view(group as usize).may_serve;
                let is_restless = !is_untouched(&terrain.ladders[position], may_serve, placement);
                judged[at as usize] = Some((position as u32, is_restless));
                is_restless
            }
        }
    };
    groups.filter(is_restless).collect()
}

#[cfg(test)]
mod tests;
