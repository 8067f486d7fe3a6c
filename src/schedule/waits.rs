//! Which moves a plan would make and does not, and the rule that holds each: told, never decided by.
//!
//! ```text
//!  a pair that is looked at ─┬ wants elsewhere, not granted ─▶ dwell, budget, pause, batch   (sweep::grant)
//!                            ├ wants elsewhere, held ────────▶ hold
//!                            └ stays: is a better node barred? ▶ ramp, strain, spill, margin  (bars)
//!  nodes that should be relieved by choice ──────────────────▶ budget, pause                  (ebb, relief)
//! ```
//! Nobody is asked for the sake of this list. A pass looks at whom it has a reason to look at, and every rule gives
//! it one when it ends: wishes are looked at in each pass, a ramp, a full or strained node or a price that changes
//! is a change of the node's offer, and a hold is a change for everybody. So what is known of a pair stands until it
//! is looked at again or moved, at the latest after a minute, when its turn comes. The list is shared between plans;
//! it is copied only when something in it changes. It is bounded by the pairs that wait.
//!
//! It is kept with the memory, so that a plan that is made again tells the same. Backups are not in it: who waits
//! for another backup is not waiting for another node.

use super::load;
use super::memory::PlannerMemory;
use super::pick::WHOLE;
use super::sweep::Sweep;
use super::terrain::Outlook;
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::held_back::{HeldBack, HeldBy, HeldMove, HeldRule, MOST_NAMED};
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::Share;
use crate::model::policy::Policy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From where, to where, and which part of the group (ppm).
pub(super) type Flow = (Option<NodeId>, Option<NodeId>, u32);

/// Whoever is on a node, and no group.
const ANYBODY: GroupId = GroupId(u32::MAX);
const WHOLE_PPB: u128 = 1_000_000_000;

/// One move that is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub(super) struct Wait {
    pub service: ServiceId,
    pub group: GroupId,
    pub by: HeldBy,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    /// Of the service's demand, parts per billion.
    pub ppb: u32,
    pub since_ms: u64,
}

/// As it is written: there may be many.
type Row = (ServiceId, GroupId, HeldBy, Option<NodeId>, Option<NodeId>, u32, u64);

impl From<Row> for Wait {
    fn from((service, group, by, from, to, ppb, since_ms): Row) -> Self {
        Self { service, group, by, from, to, ppb, since_ms }
    }
}

impl From<Wait> for Row {
    fn from(Wait { service, group, by, from, to, ppb, since_ms }: Wait) -> Self {
        (service, group, by, from, to, ppb, since_ms)
    }
}

impl Wait {
    /// Of a group there is one; of a node one for each service.
    fn key(&self) -> (ServiceId, GroupId, Option<NodeId>) {
        (self.service, self.group, self.from.filter(|_| self.group == ANYBODY))
    }
}

/// By service, then group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Waits(Arc<Vec<Wait>>);

/// What one pass came to know.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Pairs that wait; one of them is noted once.
    waits: Vec<Wait>,
    /// Pairs that were known to wait and do not.
    gone: Vec<(ServiceId, GroupId)>,
    /// By rule: nodes that should be relieved, in fine units.
    crowds: Vec<(HeldBy, Vec<u64>)>,
}

impl Noted {
    /// Where a wish stands: it replaces what was known of the pair.
    fn set(&mut self, known: &Waits, pair: (ServiceId, GroupId), wait: Option<Wait>) {
        match wait {
            Some(wait) => self.waits.push(wait),
            None if known.of(pair).is_some() => self.gone.push(pair),
            None => {}
        }
    }
}

impl Waits {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, (service, group): (ServiceId, GroupId)) -> Option<usize> {
        self.0.binary_search_by_key(&(service, group, None), Wait::key).ok()
    }

    pub fn of(&self, pair: (ServiceId, GroupId)) -> Option<&Wait> {
        self.position(pair).map(|at| &self.0[at])
    }

    /// Takes in what a pass noted. `changed`: by service, groups that are not where they were, ascending; `crowds`: what
    /// replaces all that was known of nodes, unless the pass asked none.
    pub fn follow(&mut self, noted: Noted, changed: &[Vec<u32>], crowds: Option<Vec<Wait>>) {
        let (mut fresh, mut gone) = (noted.waits, Vec::new());
        if !self.is_empty() {
            let moved = changed.iter().enumerate().flat_map(|(service, groups)| {
                groups.iter().map(move |&group| (ServiceId::from_index(service), GroupId(group)))
            });
            let again = fresh.iter().map(|wait| (wait.service, wait.group));
            gone.extend(moved.chain(noted.gone).chain(again).filter_map(|pair| self.position(pair)));
        }
        let had_crowds = self.0.iter().any(|wait| wait.group == ANYBODY);
        let are_new = crowds.as_ref().is_some_and(|crowds| had_crowds || !crowds.is_empty());
        if fresh.is_empty() && gone.is_empty() && !are_new {
            return;
        }
        fresh.extend(crowds.iter().flatten());
        for wait in &mut fresh {
            let known = self.0.binary_search_by_key(&wait.key(), Wait::key).ok().map(|at| &self.0[at]);
            if let Some(known) = known.filter(|known| known.by == wait.by) {
                wait.since_ms = wait.since_ms.min(known.since_ms);
            }
        }
        gone.sort_unstable();
        let stays = |(at, wait): &(usize, &Wait)| {
            gone.binary_search(at).is_err() && (wait.group != ANYBODY || !are_new)
        };
        let mut all: Vec<Wait> = self.0.iter().enumerate().filter(stays).map(|(_, wait)| *wait).collect();
        all.extend(fresh);
        all.sort_by_key(Wait::key);
        self.0 = Arc::new(all);
    }
}

impl Sweep<'_> {
    /// What holds a pair that has been looked at and stays: `refused` by a rule of the wish for `scratch`'s shares, or
    /// a better node that is barred.
    pub fn note_wait(
        &mut self,
        (service, group): (usize, usize),
        outlook: Outlook<'_>,
        refused: Option<(HeldBy, u64, Flow)>,
        memory: &PlannerMemory,
    ) {
        let pair = (ServiceId::from_index(service), GroupId::from_index(group));
        let (by, since_ms, (from, to, ppm)) = match refused {
            Some(refused) => refused,
            None => match self.barred(service, group, outlook, memory) {
                Some((by, flow)) => (by, memory.at_ms, flow),
                None => return self.noted.set(&memory.waits, pair, None),
            },
        };
        let part = u128::from(ppm) * 1_000 * u128::from(self.demand.weight(service, group));
        let ppb = u32::try_from(part / u128::from(self.demand.total(service).max(1))).unwrap_or(u32::MAX);
        let wait = Wait { service: pair.0, group: pair.1, by, from, to, ppb, since_ms };
        self.noted.set(&memory.waits, pair, Some(wait));
    }

    /// As [`Self::note_wait`], of a pair that has the best there is: while nodes come back that may be little.
    pub fn note_best(&mut self, pair: (usize, usize), outlook: Outlook<'_>, memory: &PlannerMemory) {
        if self.is_ramping {
            return self.note_wait(pair, outlook, None, memory);
        }
        let pair = (ServiceId::from_index(pair.0), GroupId::from_index(pair.1));
        self.noted.set(&memory.waits, pair, None);
    }

    /// Why no node is relieved by choice now, if any reason there is; `is_apart`: the last batch was long enough ago.
    pub fn holds_relief(&self, is_apart: bool) -> Option<HeldBy> {
        match (is_apart, !self.purse.is_empty()) {
            (true, true) => None,
            (false, true) => Some(HeldBy::Pause),
            (_, false) => Some(HeldBy::Budget),
        }
    }

    /// Nodes that should be relieved by choice and are not: by node, fine units; at most what others could take.
    pub fn note_crowd(&mut self, by: HeldBy, gauges: impl Iterator<Item = (u64, u64)>) {
        let (over, room): (Vec<u64>, Vec<u64>) = gauges.unzip();
        let sum = |of: &[u64]| of.iter().fold(0_u64, |sum, &amount| sum.saturating_add(amount));
        let takes = load::ppm_of(sum(&room), sum(&over)).min(u64::from(WHOLE)) as u32;
        let leaves = over.into_iter().map(|over| load::part(over, takes)).collect();
        self.noted.crowds.push((by, leaves));
    }

    /// The crowds of this pass, divided between the services on their nodes. `on`: by service, its demand (fine
    /// units) and how that lies on the nodes (ppm).
    pub fn crowds<'c>(&self, on: impl Iterator<Item = (u64, &'c [u32])> + Clone, at_ms: u64) -> Vec<Wait> {
        let mut waits = Vec::new();
        for (by, leaves) in &self.noted.crowds {
            let by = *by;
            for (node, &over) in leaves.iter().enumerate().filter(|(_, over)| **over > 0) {
                let own = |(demand, carried): (u64, &[u32])| load::part(demand, carried[node]);
                let all: u128 = on.clone().map(|it| u128::from(own(it))).sum();
                let known = waits.iter().any(|wait: &Wait| wait.from == Some(NodeId::from_index(node)));
                for (service, it) in on.clone().enumerate().filter(|_| !known) {
                    let leaving = u128::from(own(it)) * u128::from(over) / all.max(1);
                    let ppb = (leaving * WHOLE_PPB / u128::from(it.0.max(1))).min(WHOLE_PPB) as u32;
                    if ppb > 0 {
                        let (service, from) =
                            (ServiceId::from_index(service), Some(NodeId::from_index(node)));
                        waits.push(Wait {
                            service,
                            group: ANYBODY,
                            by,
                            from,
                            to: None,
                            ppb,
                            since_ms: at_ms,
                        });
                    }
                }
            }
        }
        waits
    }
}

/// From which node to which most of it goes, and how much moves (ppm).
pub(super) fn flow(from: &[Share], to: &[Share], moving: u32) -> Flow {
    let most = |of: &[Share], against: &[Share]| {
        let more = |share: &Share| share.share.0.saturating_sub(load::share_of(against, share.node));
        let most = of.iter().max_by_key(|share| (more(share), std::cmp::Reverse(share.node)));
        most.filter(|share| more(share) > 0).map(|share| share.node)
    };
    (most(from, to), most(to, from), moving)
}

impl PlannerMemory {
    /// All that a plan would move and does not, as of the last plan, by name.
    pub fn held_back(&self, policy: &Policy, groups: &[ClientGroup]) -> HeldBack {
        let services = u64::try_from(policy.services.len()).unwrap_or(1).max(1);
        let mut sums: BTreeMap<(HeldBy, ServiceId), Sum> = BTreeMap::new();
        let mut largest: Vec<&Wait> = Vec::new();
        for wait in self.waits.0.iter().filter(|wait| wait.service.index() < policy.services.len()) {
            sums.entry((wait.by, wait.service))
                .or_insert_with(|| Sum::new(wait))
                .add(wait, self.left_of(wait, policy));
            let is_larger = |known: &&Wait| wait.ppb > known.ppb;
            if wait.by.is_wait() && (largest.len() < MOST_NAMED || largest.last().is_some_and(is_larger)) {
                let at = largest.partition_point(|known| known.ppb >= wait.ppb);
                largest.insert(at, wait);
                largest.truncate(MOST_NAMED);
            }
        }
        let waiting = sums.iter().filter(|((by, _), _)| by.is_wait()).map(|(_, sum)| sum.ppb / services);
        let share = ppm(waiting.sum());
        let rules = sums.iter().map(|(&(by, service), sum)| HeldRule {
            by,
            service: policy.service(service).name.clone(),
            groups: sum.groups,
            share: ppm(sum.ppb),
            of_all: ppm(sum.ppb / services),
            for_ms: self.at_ms.saturating_sub(sum.since_ms),
            left_ms: sum.left_ms,
        });
        let largest = largest.into_iter().map(|wait| self.named(wait, policy, groups)).collect();
        HeldBack {
            share,
            budget: self.budget(&policy.planner),
            is_frozen: false,
            rules: rules.collect(),
            largest,
        }
    }

    /// What holds one client group of a service, if anything does.
    pub(super) fn held_move(
        &self,
        pair: (ServiceId, GroupId),
        policy: &Policy,
        groups: &[ClientGroup],
    ) -> Option<HeldMove> {
        self.waits.of(pair).map(|wait| self.named(wait, policy, groups))
    }

    fn left_of(&self, wait: &Wait, policy: &Policy) -> Option<u64> {
        self.wait_left_ms(&policy.planner, wait.by, wait.since_ms, wait.to)
    }

    fn named(&self, wait: &Wait, policy: &Policy, groups: &[ClientGroup]) -> HeldMove {
        let node = |id: Option<NodeId>| Some(policy.fleet.nodes.get(id?.index())?.name.clone());
        HeldMove {
            by: wait.by,
            service: policy.service(wait.service).name.clone(),
            group: groups.get(wait.group.index()).map(|group| group.key.clone()),
            from: node(wait.from),
            to: node(wait.to),
            share: ppm(u64::from(wait.ppb)),
            for_ms: self.at_ms.saturating_sub(wait.since_ms),
            left_ms: self.left_of(wait, policy),
        }
    }
}

/// Of one rule and service.
struct Sum {
    groups: u32,
    ppb: u64,
    since_ms: u64,
    left_ms: Option<u64>,
}

impl Sum {
    fn new(first: &Wait) -> Self {
        Self { groups: 0, ppb: 0, since_ms: first.since_ms, left_ms: None }
    }

    fn add(&mut self, wait: &Wait, left_ms: Option<u64>) {
        self.groups = self.groups.saturating_add(u32::from(wait.group != ANYBODY));
        self.ppb = self.ppb.saturating_add(u64::from(wait.ppb));
        self.since_ms = self.since_ms.min(wait.since_ms);
        self.left_ms = match (self.left_ms, left_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

fn ppm(ppb: u64) -> Ppm {
    Ppm(u32::try_from(ppb / 1_000).unwrap_or(u32::MAX))
}
