//! A plan against the promises every plan makes, before a table is made of it.
//!
//! ```text
//!  plan before ─┐                 ┌─ whole: everybody has nodes, shares sum to one
//!  plan ────────┼─▶ pair by pair ─┼─ fences: nodes of the group's own chain, that may serve it
//!  account ─────┘                 ├─ movement: as the cause allows, the rest stays
//!                                 └─ caps: nobody above one while a node of its chain has room
//! ```
//! It shares no code with the planner: chains are read from the policy, loads are added up again. What it
//! takes over is the account (demand, base load), which is what the plan was asked for, not what
//! it answered. So a mistake of the planner is a refused table where answers would be wrong, else a loud line.
//!
//! | cause | what may move |
//! |---|---|
//! | first table, policy edit | everything |
//! | evacuation, withdrawal | nothing of what is on nodes that may serve |
//! | rebalance, recovery, release | clients whose nodes all serve: within the budget of the policy, with all that was moved so in the last window of it; a group larger than the budget alone; anything while demand lies above caps |
//!
//! [`lint`](mod@super::lint) judges the finished table, which may be another thing than the plan.

use crate::model::account::Account;
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::{Assignment, Placement, PlacementMode, ServiceAssignment, Share};
use crate::model::placements::Placements;
use crate::model::policy::Policy;
use crate::model::provenance::Cause;
use crate::model::reach::{Reach, View};
use crate::model::service::{OnAllDown, Service};
use foldhash::fast::FixedState;
use std::collections::HashMap;

mod movements;

pub use movements::Movements;

/// Findings at most.
const MOST: usize = 20;
/// Shares are whole parts per million, so loads are that inexact: this part of a node's capacity.
const SLACK: u64 = 1_000;
const WHOLE: u64 = 1_000_000;
/// Of all demand, parts per billion: shares and demands are whole numbers to judge and planner, of other sizes.
const GRAIN_PPB: u64 = 100_000;
/// Load is told of where this part of a group could be elsewhere.
const LEAST_PART: u64 = 64;

/// What is judged, and by what.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub policy: &'a Policy,
    pub groups: &'a [ClientGroup],
    /// Who may be given which node.
    pub reach: &'a Reach,
    pub cause: &'a Cause,
    /// The plan in force; `None`: there is none.
    pub before: Option<&'a Assignment>,
    pub plan: &'a Assignment,
    pub account: &'a Account,
    /// What the plans before it moved by choice,
    pub movements: &'a Movements,
    /// and when this one was made, by the same clock.
    pub now_ms: u64,
}

/// What is wrong with a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Clients would get no answer, or one of a node that is not theirs. Never to be published.
    pub answers: Vec<String>,
    /// More is moved than may be, or a node is above its cap though others have room. A plan with that is
    /// better than none: the one before it was made for other nodes and loads.
    pub balance: Vec<String>,
    /// What it moves by choice, parts per billion of all demand: for the next that is judged. No fault.
    pub moved_ppb: u64,
}

impl Faults {
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.balance.is_empty()
    }
}

/// What may move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Movement {
    Free,
    Orphans,
    Budget,
}

impl Movement {
    fn of(cause: &Cause) -> Self {
        match cause {
            Cause::ColdStart | Cause::WarmStart | Cause::Reload { .. } => Self::Free,
            Cause::Evacuation { .. } | Cause::Withdrawal { .. } => Self::Orphans,
            Cause::Recovery { .. } | Cause::Release { .. } | Cause::Rebalance | Cause::Degradation { .. } => {
                Self::Budget
            }
        }
    }
}

/// Judges the plan. Texts are lower case, without a final stop.
pub fn judge(case: &Case<'_>) -> Faults {
    let mut court = Court::new(case);
    for service in case.policy.service_ids() {
        court.hear(service);
    }
    court.weigh_movement();
    court.weigh_caps();
    court.faults
}

struct Court<'a> {
    case: &'a Case<'a>,
    census: Census,
    movement: Movement,
    faults: Faults,
    /// By node, fine units: of the plan, and of the one before by today's demand.
    load: Vec<u64>,
    load_before: Vec<u64>,
    /// Of all demand, parts per billion: what left a node that may serve it, by node, and the largest of it.
    moved_ppb: Vec<u64>,
    largest_ppb: u64,
    /// The largest demand of a pair, fine units.
    largest: u64,
}

/// Groups of the same areas have the same chain of every service.
pub(super) struct Census {
    /// By group.
    pub kinds: Vec<u32>,
    /// By kind: a group of it.
    pub samples: Vec<usize>,
}

impl Census {
    pub fn of(groups: &[ClientGroup]) -> Self {
        // Looked up, never iterated.
        let mut known = HashMap::with_hasher(FixedState::with_seed(0));
        let mut samples = Vec::new();
        let kinds = groups.iter().enumerate().map(|(at, group)| {
            *known.entry(group.areas.as_slice()).or_insert_with(|| {
                samples.push(at);
                samples.len() as u32 - 1
            })
        });
        Self { kinds: kinds.collect(), samples }
    }
}

/// A service, and which nodes are in which of its chains.
struct Charter<'a> {
    id: ServiceId,
    service: &'a Service,
    /// By kind of groups: which chain is theirs.
    chains: Vec<Option<usize>>,
    /// Chains x nodes.
    is_in_chain: Vec<bool>,
}

/// One group of one service.
struct Pair<'a> {
    charter: &'a Charter<'a>,
    group: GroupId,
    /// Which chain of the service is its.
    chain: usize,
    /// Which view of the fleet.
    sight: usize,
    view: &'a View,
    /// By node, of regions that are given nobody.
    cut: &'a [bool],
    demand: u64,
}

impl<'a> Charter<'a> {
    fn of(case: &Case<'a>, census: &Census, id: ServiceId) -> Self {
        let (service, nodes) = (case.policy.service(id), case.policy.fleet.nodes.len());
        let mut is_in_chain = vec![false; service.chains.len() * nodes];
        for (at, rule) in service.chains.iter().enumerate() {
            let members = rule.pools.iter().flat_map(|&pool| &service.pool(pool).members);
            members.for_each(|member| is_in_chain[at * nodes + member.node.index()] = true);
        }
        let chain_of = |&sample: &usize| {
            let client = &case.groups[sample];
            service.chains.iter().position(|rule| rule.areas.iter().all(|area| client.in_area(*area)))
        };
        Self { id, service, chains: census.samples.iter().map(chain_of).collect(), is_in_chain }
    }
}

impl Pair<'_> {
    /// Whether the node may be given to the group at all.
    fn admits(&self, node: NodeId) -> bool {
        self.serves(node) && self.is_in_chain(node)
    }

    fn serves(&self, node: NodeId) -> bool {
        let is_cut = self.cut.get(node.index()) == Some(&true);
        self.view.may_serve.get(node.index()) == Some(&true) && !is_cut
    }

    fn is_in_chain(&self, node: NodeId) -> bool {
        let nodes = self.view.may_serve.len();
        node.index() < nodes && self.charter.is_in_chain[self.chain * nodes + node.index()]
    }

    /// Nodes that the chain would give it now: of a pool, the weighted ones, or all if none of these serves.
    fn offered(&self) -> impl Iterator<Item = NodeId> {
        let service = self.charter.service;
        service.chains[self.chain].pools.iter().flat_map(|&pool| {
            let members = &service.pool(pool).members;
            let serves = |node: NodeId| self.serves(node);
            let any = members.iter().any(|member| member.weight > 0 && serves(member.node));
            members.iter().filter(move |it| serves(it.node) && (it.weight > 0 || !any)).map(|it| it.node)
        })
    }
}

fn amount(demand: u64, share: &Share) -> u64 {
    (u128::from(demand) * u128::from(share.share.0) / u128::from(WHOLE)) as u64
}

fn normal(placement: Option<&Placement>) -> Option<&Placement> {
    placement.filter(|placement| placement.mode == PlacementMode::Normal && !placement.shares.is_empty())
}

impl<'a> Court<'a> {
    fn new(case: &'a Case<'a>) -> Self {
        let nodes = case.policy.fleet.nodes.len();
        let movement = case.before.map_or(Movement::Free, |_| Movement::of(case.cause));
        Self {
            case,
            census: Census::of(case.groups),
            movement,
            faults: Faults::default(),
            load: vec![0; nodes],
            load_before: vec![0; nodes],
            moved_ppb: vec![0; nodes],
            largest_ppb: 0,
            largest: 0,
        }
    }

    fn pair<'c>(&self, charter: &'c Charter<'a>, group: GroupId) -> Option<Pair<'c>>
    where
        'a: 'c,
    {
        let Case { reach, account, .. } = *self.case;
        let sight = reach.view_of(group.index());
        Some(Pair {
            charter,
            group,
            chain: charter.chains[self.census.kinds[group.index()] as usize]?,
            sight,
            view: &reach.views()[sight],
            cut: &account.cut,
            demand: account.of(charter.id.index(), group.index()),
        })
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.case.groups.len()).map(GroupId::from_index)
    }

    /// Groups that have the same of the same chain are judged once, and weighed together.
    fn hear(&mut self, service: ServiceId) {
        let charter = Charter::of(self.case, &self.census, service);
        let nobody = ServiceAssignment::default();
        let plan = self.case.plan.services.get(service.index()).unwrap_or(&nobody);
        let before = self.case.before.and_then(|before| before.services.get(service.index()));
        let before = before.unwrap_or(&nobody);
        // By placement: chain and view for which it was found good last; what it was before; demand.
        let mut good = vec![None; plan.placements.len()];
        let mut alike = vec![None; plan.placements.len()];
        let mut weights = vec![0_u64; plan.placements.len()];
        let mut weights_before = vec![0_u64; before.placements.len()];
        for group in self.groups() {
            let Some(pair) = self.pair(&charter, group) else { continue };
            let Some((at, placement)) = placement_of(plan, group) else {
                self.fault(&pair, "has no placement");
                continue;
            };
            self.largest = self.largest.max(pair.demand);
            weights[at] = weights[at].saturating_add(pair.demand);
            if good[at] != Some((pair.chain, pair.sight)) && self.judge_answer(&pair, placement) {
                good[at] = Some((pair.chain, pair.sight));
            }
            let Some((then, former)) = placement_of(before, group) else { continue };
            weights_before[then] = weights_before[then].saturating_add(pair.demand);
            if self.movement == Movement::Free || alike[at] == Some(then) {
                continue;
            }
            match former == placement {
                true => alike[at] = Some(then),
                false => self.judge_move(&pair, former, placement),
            }
        }
        add(&mut self.load, &plan.placements, &weights);
        add(&mut self.load_before, &before.placements, &weights_before);
    }

    /// Shares that sum to one, on nodes of the chain that may serve. Whether there is nothing to say.
    fn judge_answer(&mut self, pair: &Pair<'_>, given: &Placement) -> bool {
        let before = self.faults.answers.len();
        let sum: u64 = given.shares.iter().map(|share| u64::from(share.share.0)).sum();
        if sum != WHOLE && !(given.shares.is_empty() && given.mode == PlacementMode::AllDown) {
            self.fault(pair, &format!("has shares that sum to {sum} parts per million"));
        }
        // What worked last may be in no chain any more.
        let is_any_good = pair.charter.service.on_all_down == OnAllDown::LastGood;
        if given.mode == PlacementMode::Normal || !is_any_good {
            self.judge_nodes(pair, given);
        }
        self.faults.answers.len() == before
    }

    fn judge_nodes(&mut self, pair: &Pair<'_>, given: &Placement) {
        let nodes = given.shares.iter().map(|share| share.node).chain(given.backups.iter().copied());
        for node in nodes {
            let name = || self.case.policy.fleet.nodes.get(node.index()).map_or("?", |node| &node.name);
            if !pair.is_in_chain(node) {
                let what = format!("is given node `{}`, which is in no pool of its chain", name());
                self.fault(pair, &what);
            } else if given.mode == PlacementMode::Normal && !pair.admits(node) {
                let what = format!("is given node `{}`, which may not serve it", name());
                self.fault(pair, &what);
            }
        }
        if given.mode != PlacementMode::Normal && pair.offered().next().is_some() {
            self.fault(pair, "is treated as if no node of its chain could serve, and one can");
        }
    }

    fn judge_move(&mut self, pair: &Pair<'_>, old: &Placement, new: &Placement) {
        let (Some(old), Some(new)) = (normal(Some(old)), normal(Some(new))) else { return };
        let kept = |node: NodeId| new.shares.iter().find(|it| it.node == node).map_or(0, |it| it.share.0);
        let left = |share: &Share| u64::from(share.share.0.saturating_sub(kept(share.node)));
        let sound = old.shares.iter().filter(|share| pair.admits(share.node));
        let moved: u64 = sound.map(left).sum();
        let is_orphaned = old.shares.iter().any(|share| !pair.admits(share.node));
        match self.movement {
            Movement::Orphans if moved > 0 => {
                let name = &pair.charter.service.name;
                let key = &self.case.groups[pair.group.index()].key;
                self.note(format!(
                    "service `{name}`: {moved} parts per million of group {key} leave nodes that serve it"
                ));
            }
            Movement::Budget if !is_orphaned => {
                let (service, group) = (pair.charter.id.index(), pair.group.index());
                for share in &old.shares {
                    let size = self.case.account.part_ppb(service, group, left(share));
                    self.moved_ppb[share.node.index()] += size;
                }
                let whole = self.case.account.part_ppb(service, group, WHOLE);
                self.largest_ppb = self.largest_ppb.max(whole);
            }
            _ => {}
        }
    }

    fn weigh_movement(&mut self) {
        let in_need = (0..self.load_before.len()).any(|node| self.over(&self.load_before, node) > 0);
        // Whoever leaves a node that is full even so made room for those who lost theirs.
        let by_choice = |node: &usize| self.room(*node) > self.slack(*node);
        let moved_ppb: u64 = (0..self.load.len()).filter(by_choice).map(|node| self.moved_ppb[node]).sum();
        if self.movement != Movement::Budget || in_need || moved_ppb == 0 {
            return;
        }
        self.faults.moved_ppb = moved_ppb;
        let Case { policy, movements, now_ms, .. } = self.case;
        let budget = &policy.planner.budget;
        let before_ppb = movements.lately(*now_ms, budget.window_ms());
        let whole_ppb = u64::from(budget.share.0) * 1_000;
        // A group that is larger than the budget could never be moved otherwise.
        let is_alone = before_ppb <= GRAIN_PPB && moved_ppb <= self.largest_ppb + GRAIN_PPB;
        let sum_ppb = before_ppb.saturating_add(moved_ppb);
        if sum_ppb > whole_ppb + GRAIN_PPB && !(is_alone && self.largest_ppb > whole_ppb) {
            let [moved, sum, whole] = [moved_ppb, sum_ppb, whole_ppb].map(|ppb| ppb as f64 / 1e7);
            let seconds = budget.window.as_secs_f64();
            self.note(format!(
                "moves {moved:.2} % of all demand by choice; that is {sum:.2} % in {seconds} s, and {whole:.2} % \
                 may be"
            ));
        }
    }

    /// What of a plan lies above a node's cap, fine units; base load is nobody's to move.
    fn over(&self, load: &[u64], node: usize) -> u64 {
        let base = self.case.account.base.get(node).copied().unwrap_or(0);
        self.cap(node).map_or(0, |cap| base.saturating_add(load[node]).saturating_sub(cap).min(load[node]))
    }

    fn room(&self, node: usize) -> u64 {
        let base = self.case.account.base.get(node).copied().unwrap_or(0);
        self.cap(node).map_or(u64::MAX, |cap| cap.saturating_sub(base.saturating_add(self.load[node])))
    }

    fn cap(&self, node: usize) -> Option<u64> {
        let capacity = self.case.policy.fleet.nodes[node].capacity.as_ref()?;
        Some(capacity.cap.of(Account::fine(capacity.amount)))
    }

    fn slack(&self, node: usize) -> u64 {
        // Two shares, one here and one there, are each rounded to a millionth of their group.
        let grain = 2 * self.largest.div_ceil(WHOLE);
        self.cap(node).map_or(0, |cap| cap / SLACK).max(Account::fine(1)).max(grain)
    }

    /// Whether the node lies above its cap by what this plan has to answer for.
    fn is_charged(&self, node: usize) -> bool {
        let grew = self.load[node] > self.load_before[node];
        self.over(&self.load, node) > self.slack(node) && (self.movement != Movement::Orphans || grew)
    }

    fn weigh_caps(&mut self) {
        let charged: Vec<bool> = (0..self.load.len()).map(|node| self.is_charged(node)).collect();
        if !charged.contains(&true) {
            return;
        }
        for service in self.case.policy.service_ids() {
            let charter = Charter::of(self.case, &self.census, service);
            let sights = self.case.reach.views().len();
            // By chain and view: the most there is on one node.
            let mut most_room = vec![None; charter.service.chains.len() * sights];
            for group in self.groups() {
                let Some(pair) = self.pair(&charter, group) else { continue };
                let Some(full) = self.carries(&pair, &charged) else { continue };
                let room = most_room[pair.chain * sights + pair.sight]
                    .get_or_insert_with(|| pair.offered().map(|node| self.spare(node)).max().unwrap_or(0));
                let least = pair.demand / LEAST_PART;
                if *room <= least {
                    continue;
                }
                if let Some(spare) = pair.offered().find(|node| self.spare(*node) > least) {
                    let finding = self.could_be_elsewhere(&pair, full, spare);
                    return self.note(finding);
                }
            }
        }
    }

    /// A node above its cap that carries a part of the pair worth moving.
    fn carries(&self, pair: &Pair<'_>, charged: &[bool]) -> Option<NodeId> {
        let given = normal(self.case.plan.placement(pair.charter.id, pair.group))?;
        // An evacuation may put elsewhere what it moves, and nothing else.
        let before = self.case.before.and_then(|before| before.placement(pair.charter.id, pair.group));
        let before = before.filter(|_| self.movement == Movement::Orphans);
        let stays = |node: NodeId| {
            let share = before.and_then(|old| old.shares.iter().find(|share| share.node == node));
            share.map_or(0, |share| amount(pair.demand, share))
        };
        // No placement has a smaller share but where it must, and none is moved for less.
        let least = pair.demand / LEAST_PART;
        let weighs = |share: &&Share| {
            let node = share.node.index();
            let movable = amount(pair.demand, share).saturating_sub(stays(share.node));
            charged[node] && movable.min(self.over(&self.load, node)) > self.slack(node).max(least)
        };
        given.shares.iter().find(weighs).map(|share| share.node)
    }

    /// Room worth speaking of, fine units.
    fn spare(&self, node: NodeId) -> u64 {
        let room = self.room(node.index());
        if room > self.slack(node.index()) { room } else { 0 }
    }

    fn could_be_elsewhere(&self, pair: &Pair<'_>, full: NodeId, spare: NodeId) -> String {
        let name = |node: NodeId| &self.case.policy.fleet.node(node).name;
        let percent = |amount: u64, node: NodeId| match self.cap(node.index()) {
            Some(cap) => format!("{:.2} % of it", amount as f64 * 100.0 / cap.max(1) as f64),
            None => "any".to_owned(),
        };
        format!(
            "service `{}`: node `{}` is above its cap (by {}) with clients of {}, and `{}` has room for them \
             ({})",
            pair.charter.service.name,
            name(full),
            percent(self.over(&self.load, full.index()), full),
            self.case.groups[pair.group.index()].key,
            name(spare),
            percent(self.room(spare.index()), spare)
        )
    }

    fn fault(&mut self, pair: &Pair<'_>, what: &str) {
        if self.faults.answers.len() < MOST {
            let key = &self.case.groups[pair.group.index()].key;
            let finding = format!("service `{}`: group {key} {what}", pair.charter.service.name);
            self.faults.answers.push(finding);
        }
    }

    fn note(&mut self, what: String) {
        if self.faults.balance.len() < MOST {
            self.faults.balance.push(what);
        }
    }
}

/// What a group has, and under which number.
fn placement_of(assignment: &ServiceAssignment, group: GroupId) -> Option<(usize, &Placement)> {
    let at = *assignment.by_group.get(group.index())? as usize;
    Some((at, assignment.placements.get(at)?))
}

/// `weights`: the demand on each placement.
fn add(load: &mut [u64], placements: &Placements, weights: &[u64]) {
    for (placement, &weight) in placements.iter().zip(weights) {
        for share in &placement.shares {
            if let Some(load) = load.get_mut(share.node.index()) {
                *load = load.saturating_add(amount(weight, share));
            }
        }
    }
}

#[cfg(test)]
mod tests;
