//! A plan against the promises every plan makes, before a table is made of it.
//!
//! ```text
//!  plan before ─┐                 ┌─ whole: everybody has nodes, shares sum to one
//!  plan ────────┼─▶ pair by pair ─┼─ fences: nodes of the group's own chain, that may serve it
//!  account ─────┘                 ├─ movement: as the cause allows, the rest stays
//!                                 └─ caps: nobody above one while a node of its chain has room
//! ```
//! It shares no code with the planner: chains are read from the policy, loads are added up again. What it
//! takes over is the account (demand, base load, budget), which is what the plan was asked for, not what
//! it answered. So a mistake of the planner is a refused table where answers would be wrong, else a loud line.
//!
//! | cause | what may move |
//! |---|---|
//! | first table, policy edit | everything |
//! | evacuation | nothing of what is on nodes that may serve |
//! | rebalance, recovery | clients whose nodes all serve: within the budget, and one group more; anything while demand lies above caps |
//!
//! [`lint`](mod@super::lint) judges the finished table, which may be another thing than the plan.

use crate::model::account::Account;
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, NodeId, PoolId, ServiceId};
use crate::model::placement::{Assignment, Placement, PlacementMode, Share};
use crate::model::policy::Policy;
use crate::model::provenance::Cause;
use crate::model::reach::{Reach, View};
use crate::model::service::{OnAllDown, Service};

/// Findings at most.
const MOST: usize = 20;
/// Shares are whole parts per million, so loads are that inexact: this part of a node's capacity.
const SLACK: u64 = 1_000;
const WHOLE: u64 = 1_000_000;
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
}

/// What is wrong with a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Clients would get no answer, or one of a node that is not theirs. Never to be published.
    pub answers: Vec<String>,
    /// More is moved than may be, or a node is above its cap though others have room. A plan with that is
    /// better than none: the one before it was made for other nodes and loads.
    pub movement: Vec<String>,
    pub load: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.answers.is_empty() && self.movement.is_empty() && self.load.is_empty()
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
            Cause::Evacuation { .. } => Self::Orphans,
            Cause::Recovery { .. } | Cause::Rebalance | Cause::Degradation { .. } => Self::Budget,
        }
    }
}

/// Judges the plan. Texts are lower case, without a final stop.
pub fn judge(case: &Case<'_>) -> Verdict {
    let mut court = Court::new(case);
    for service in case.policy.service_ids() {
        court.hear(service);
    }
    court.weigh_movement();
    court.weigh_caps();
    court.verdict
}

struct Court<'a> {
    case: &'a Case<'a>,
    movement: Movement,
    verdict: Verdict,
    /// By node, fine units: of the plan, and of the one before by today's demand.
    load: Vec<u64>,
    load_before: Vec<u64>,
    /// Of all demand, parts per billion: what left a node that may serve it, and the largest of it.
    moved_ppb: u64,
    largest_ppb: u64,
}

/// One group of one service.
struct Pair<'a> {
    service: &'a Service,
    view: &'a View,
    pools: &'a [PoolId],
    /// By node, of regions that are given nobody.
    cut: &'a [bool],
    demand: u64,
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
        self.pools.iter().any(|&pool| self.service.pool(pool).members.iter().any(|it| it.node == node))
    }

    /// Nodes that the chain would give it now: of a pool, the weighted ones, or all if none of these serves.
    fn offered(&self) -> impl Iterator<Item = NodeId> {
        self.pools.iter().flat_map(|&pool| {
            let members = &self.service.pool(pool).members;
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
            movement,
            verdict: Verdict::default(),
            load: vec![0; nodes],
            load_before: vec![0; nodes],
            moved_ppb: 0,
            largest_ppb: 0,
        }
    }

    fn pair(&self, service: ServiceId, group: GroupId) -> Option<Pair<'a>> {
        let of = self.case.policy.service(service);
        let client = &self.case.groups[group.index()];
        let rule = of.chains.iter().find(|rule| rule.area.is_none_or(|area| client.in_area(area)))?;
        let view = self.case.reach.view(group.index());
        let demand = self.case.account.of(service.index(), group.index());
        let cut = &self.case.account.cut;
        Some(Pair { service: of, view, pools: &rule.pools, cut, demand })
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.case.groups.len()).map(GroupId::from_index)
    }

    fn hear(&mut self, service: ServiceId) {
        for group in self.groups() {
            let Some(pair) = self.pair(service, group) else { continue };
            let Some(placement) = self.case.plan.placement(service, group) else {
                self.fault(service, group, "has no placement");
                continue;
            };
            self.judge_answer(service, group, &pair, placement);
            add(&mut self.load, placement, pair.demand);
            let Some(before) = self.case.before.and_then(|before| before.placement(service, group)) else {
                continue;
            };
            add(&mut self.load_before, before, pair.demand);
            if self.movement != Movement::Free && before != placement {
                self.judge_move(service, group, &pair, before, placement);
            }
        }
    }

    /// Shares that sum to one, on nodes of the chain that may serve.
    fn judge_answer(&mut self, service: ServiceId, group: GroupId, pair: &Pair<'_>, given: &Placement) {
        let sum: u64 = given.shares.iter().map(|share| u64::from(share.share.0)).sum();
        if sum != WHOLE && !(given.shares.is_empty() && given.mode == PlacementMode::AllDown) {
            self.fault(service, group, &format!("has shares that sum to {sum} parts per million"));
        }
        // What worked last may be in no chain any more.
        if given.mode != PlacementMode::Normal && pair.service.on_all_down == OnAllDown::LastGood {
            return;
        }
        let nodes = given.shares.iter().map(|share| share.node).chain(given.backups.iter().copied());
        for node in nodes {
            let name = || self.case.policy.fleet.nodes.get(node.index()).map_or("?", |node| &node.name);
            if !pair.is_in_chain(node) {
                let what = format!("is given node `{}`, which is in no pool of its chain", name());
                self.fault(service, group, &what);
            } else if given.mode == PlacementMode::Normal && !pair.admits(node) {
                let what = format!("is given node `{}`, which may not serve it", name());
                self.fault(service, group, &what);
            }
        }
        if given.mode != PlacementMode::Normal && pair.offered().next().is_some() {
            self.fault(service, group, "is treated as if no node of its chain could serve, and one can");
        }
    }

    fn judge_move(
        &mut self,
        service: ServiceId,
        group: GroupId,
        pair: &Pair<'_>,
        old: &Placement,
        new: &Placement,
    ) {
        let (Some(old), Some(new)) = (normal(Some(old)), normal(Some(new))) else { return };
        let kept = |node: NodeId| new.shares.iter().find(|it| it.node == node).map_or(0, |it| it.share.0);
        let left = |share: &Share| u64::from(share.share.0.saturating_sub(kept(share.node)));
        let sound = old.shares.iter().filter(|share| pair.admits(share.node));
        let moved: u64 = sound.map(left).sum();
        let is_orphaned = old.shares.iter().any(|share| !pair.admits(share.node));
        match self.movement {
            Movement::Orphans if moved > 0 => {
                let name = &pair.service.name;
                let key = &self.case.groups[group.index()].key;
                self.note_move(format!(
                    "service `{name}`: {moved} parts per million of group {key} leave nodes that serve it"
                ));
            }
            Movement::Budget if !is_orphaned => {
                let size = self.case.account.part_ppb(service.index(), group.index(), moved);
                self.moved_ppb += size;
                let whole = self.case.account.part_ppb(service.index(), group.index(), WHOLE);
                self.largest_ppb = self.largest_ppb.max(whole);
            }
            _ => {}
        }
    }

    fn weigh_movement(&mut self) {
        let budget = u64::try_from(self.case.account.budget_ppb).unwrap_or(0);
        let allowed = budget.saturating_add(self.largest_ppb);
        let in_need = (0..self.load_before.len()).any(|node| self.over(&self.load_before, node) > 0);
        if self.movement == Movement::Budget && !in_need && self.moved_ppb > allowed {
            let percent = |ppb: u64| ppb as f64 / 1e7;
            let (moved, budget) = (percent(self.moved_ppb), percent(budget));
            self.note_move(format!(
                "moves {moved:.2} % of all demand by choice, and {budget:.2} % is what may be moved now"
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
        self.cap(node).map_or(0, |cap| cap / SLACK).max(Account::fine(1))
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
            for group in self.groups() {
                if let Some(finding) = self.spare(service, group, &charged) {
                    return self.verdict.load.push(finding);
                }
            }
        }
    }

    /// A node above its cap that carries the pair, and one of the pair's chain with room.
    fn spare(&self, service: ServiceId, group: GroupId, charged: &[bool]) -> Option<String> {
        let pair = self.pair(service, group)?;
        let given = normal(self.case.plan.placement(service, group))?;
        // An evacuation may put elsewhere what it moves, and nothing else.
        let before = self.case.before.and_then(|before| before.placement(service, group));
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
        let full = given.shares.iter().find(weighs)?.node;
        let has_room = |node: &NodeId| self.room(node.index()) > self.slack(node.index()).max(least);
        let spare = pair.offered().find(has_room)?;
        let name = |node: NodeId| &self.case.policy.fleet.node(node).name;
        let key = &self.case.groups[group.index()].key;
        let percent = |amount: u64, node: NodeId| match self.cap(node.index()) {
            Some(cap) => format!("{:.2} % of it", amount as f64 * 100.0 / cap.max(1) as f64),
            None => "any".to_owned(),
        };
        Some(format!(
            "service `{}`: node `{}` is above its cap (by {}) with clients of {key}, and `{}` has room for \
             them ({})",
            pair.service.name,
            name(full),
            percent(self.over(&self.load, full.index()), full),
            name(spare),
            percent(self.room(spare.index()), spare)
        ))
    }

    fn fault(&mut self, service: ServiceId, group: GroupId, what: &str) {
        if self.verdict.answers.len() < MOST {
            let service = &self.case.policy.service(service).name;
            let key = &self.case.groups[group.index()].key;
            self.verdict.answers.push(format!("service `{service}`: group {key} {what}"));
        }
    }

    fn note_move(&mut self, what: String) {
        if self.verdict.movement.len() < MOST {
            self.verdict.movement.push(what);
        }
    }
}

fn add(load: &mut [u64], placement: &Placement, demand: u64) {
    for share in &placement.shares {
        if let Some(load) = load.get_mut(share.node.index()) {
            *load = load.saturating_add(amount(demand, share));
        }
    }
}

#[cfg(test)]
mod tests;
