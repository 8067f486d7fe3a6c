//! What the planner must remember between two plans: nothing else may make two equal inputs differ.
//!
//! Everything is bounded by the size of the world (one entry per pending group, node, or service and
//! node). A memory whose shape does not fit the world any more, after a reload, is started anew; the
//! loss is that dwell times, averages and ramps begin again.

use super::PlanInput;
use super::breaker::{Circuits, CutRegion};
use super::budget::Spent;
use super::change::Footing;
use super::cost::NodeSignal;
use super::degrade::Degradation;
use super::follow::{Habit, Row};
use super::kept::Kept;
use super::load::part;
use super::scoped::Scoped;
use super::steady::{self, Burden};
use super::terrain::Returns;
use super::waits::Waits;
use crate::base::units::Ppm;
use crate::model::canary::Hold;
use crate::model::clients::ClientGroup;
use crate::model::degradation::RungStatus;
use crate::model::held_back::{BudgetLeft, HeldBy};
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::overrides::Action;
use crate::model::planner::PlannerRules;
use crate::model::policy::Policy;
use crate::model::reach::{Closure, View};
use crate::model::verdict::NodeHealth;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The loop keeps it and hands it back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannerMemory {
    pub(super) services: usize,
    pub(super) groups: usize,
    /// When the last plan was made.
    pub(super) at_ms: u64,
    /// Since when a better placement has been wanted without a break.
    pub(super) pending: BTreeMap<(GroupId, ServiceId), u64>,
    /// What all of it would move: parts per billion of all demand.
    pub(super) wished_ppb: i64,
    /// When anybody was last moved at discretion.
    pub(super) moved_at_ms: Option<u64>,
    /// When somebody last lost a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lost_at_ms: Option<u64>,
    pub(super) nodes: Vec<NodeMemory>,
    /// Nodes that the clients of a line or area do not reach, or got back a short while ago.
    pub(super) scoped: Scoped,
    /// By service: demand in fine units, the recent maximum held.
    pub(super) demand: Vec<u64>,
    /// By service: the demand that was planned for last.
    pub(super) planned: Vec<u64>,
    /// Row-major services x nodes: ppm of the service's demand that the node's reports should be
    /// showing by now. It follows the plan as clients do ([`super::follow`]).
    pub(super) carried: Vec<u32>,
    /// As `carried`: who lost a node and was sent there.
    pub(super) coming: Vec<u32>,
    /// What the last full pass was made on.
    pub(super) footing: Footing,
    /// Moves that are not made, and by which rule: told, not decided by.
    #[serde(default, skip_serializing_if = "Waits::is_empty")]
    pub(super) waits: Waits,
    /// What was moved at discretion in the last window of the change budget.
    #[serde(default, skip_serializing_if = "Spent::is_empty")]
    pub(super) spent: Spent,
    /// Who is shed, and since when.
    #[serde(default)]
    pub(super) degradation: Degradation,
    #[serde(default)]
    pub(super) circuits: Circuits,
    /// Who stays where he is while a policy is in force for others only: not moved by choice, nor for want of room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hold: Option<Hold>,
    /// What only makes the next plan quicker.
    #[serde(skip)]
    pub(super) kept: Kept,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeMemory {
    /// Reached its cap and has not come down to where spill ends since.
    pub full: bool,
    /// When it last said that it is above its target with load the plan does not explain, while that
    /// is not over for good.
    pub strained_at_ms: Option<u64>,
    pub serving: bool,
    /// It is given nobody any more, and has whom it has until their sessions end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_draining: bool,
    /// When it came back, while its ramp lasts and its clients are on their way home after that.
    pub back_since_ms: Option<u64>,
    /// When it last became better, while its clients come home.
    pub eased_at_ms: Option<u64>,
    /// What was planned with last.
    pub signal: Option<NodeSignal>,
    /// Fine units.
    pub base: Option<u64>,
}

/// How fast the held demand forgets a maximum.
const DEMAND_HOLD_MS: u64 = 300_000;
/// For so long after clients lost a node, those that took them are relieved of others.
const AFTERMATH_MS: u64 = 60_000;
/// Wishes are granted when together they move so much of all demand (1/4 %),
const WORTHWHILE_PPB: i64 = 2_500_000;
/// or when one is this old: a table for every handful of clients would be worse than the wait.
const PATIENCE_MS: u64 = 30_000;
/// A node that was relieved takes no newcomers at discretion for so long, unless its load is gone: its
/// clients ask for more than the plan thinks, and would be sent away again.
const STRAIN_MS: u64 = 300_000;
/// For so long after a node came back, or became better, nobody is loyal to a refuge from it.
pub(super) const HOMECOMING_MS: u64 = 60_000;
/// The ramp moves in these steps, so that it makes few tables.
const RAMP_PPM: [u32; 5] = [100_000, 250_000, 500_000, 750_000, 1_000_000];

impl PlannerMemory {
    /// Whether the last batch of moves at discretion was long enough ago for another.
    pub(super) fn is_apart(&self, rules: &PlannerRules) -> bool {
        self.moved_at_ms.is_none_or(|at| self.at_ms.saturating_sub(at) >= rules.dwell_ms())
    }

    pub(super) fn has_full_node(&self) -> bool {
        self.nodes.iter().any(|node| node.full)
    }

    /// Whether a batch of moves at discretion may make room: the last was long enough ago, or clients lost a node since.
    pub(super) fn may_make_room(&self, rules: &PlannerRules) -> bool {
        self.is_apart(rules)
            || self.lost_at_ms.is_some_and(|lost| self.moved_at_ms.is_none_or(|moved| lost >= moved))
    }

    /// Whether clients lost a node a short while ago.
    pub(super) fn is_aftermath(&self) -> bool {
        self.lost_at_ms.is_some_and(|at| self.at_ms.saturating_sub(at) < AFTERMATH_MS)
    }

    /// The memory to plan with at `now_ms`: this one, or a new one if the world changed its shape.
    pub(super) fn resumed(&self, services: usize, groups: usize, nodes: usize, now_ms: u64) -> Self {
        let fits = self.services == services && self.groups == groups && self.nodes.len() == nodes;
        let cells = [self.carried.len(), self.coming.len()];
        if fits && cells == [services * nodes; 2] && self.demand.len() == services {
            let mut memory = self.clone();
            memory.at_ms = now_ms.max(self.at_ms);
            return memory;
        }
        Self {
            services,
            groups,
            at_ms: now_ms,
            pending: BTreeMap::new(),
            wished_ppb: 0,
            moved_at_ms: None,
            lost_at_ms: None,
            nodes: vec![NodeMemory { serving: true, ..NodeMemory::default() }; nodes],
            scoped: Scoped::default(),
            demand: vec![0; services],
            planned: vec![0; services],
            carried: vec![0; services * nodes],
            coming: vec![0; services * nodes],
            footing: Footing::default(),
            waits: Waits::default(),
            spent: self.spent.clone(),
            degradation: self.degradation.clone(),
            circuits: self.circuits.clone(),
            hold: self.hold,
            kept: Kept::default(),
        }
    }

    /// To begin with after an edit that changes the planner's world: who is shed is still known, and
    /// what was moved by choice.
    #[must_use]
    pub fn carried_over(&self, old: &Policy, new: &Policy) -> Self {
        let degradation = self.degradation.carried_over(old, new);
        let circuits = self.circuits.carried_over(old, new);
        Self { degradation, circuits, spent: self.spent.clone(), ..Self::default() }
    }

    /// The same, with these held where they are.
    #[must_use]
    pub fn holding(self, hold: Option<Hold>) -> Self {
        Self { hold, ..self }
    }

    /// By group: whether it is held. Empty: nobody is.
    pub(super) fn held(&self, groups: &[ClientGroup]) -> Vec<bool> {
        self.hold.map_or_else(Vec::new, |hold| groups.iter().map(|group| hold.holds(&group.key)).collect())
    }

    /// Regions whose circuit is not closed.
    pub fn cut_regions(&self, policy: &Policy) -> Vec<CutRegion> {
        self.circuits.tell(&policy.fleet)
    }

    /// Regions whose circuit would be open if it were not for a safety rule: name, rule.
    pub fn kept_regions(&self, policy: &Policy, health: &[NodeHealth], now_ms: u64) -> Vec<(String, String)> {
        self.circuits.kept_in(policy, health, now_ms)
    }

    /// By rule of a service: how far its clients are from normal service, as the last plan had it.
    pub fn rungs(&self, policy: &Policy, service: usize) -> Vec<RungStatus> {
        self.degradation.tell(policy, service, self.at_ms)
    }

    /// Whether no full pass has been made with this memory's world before.
    pub(super) fn is_new(&self) -> bool {
        self.footing == Footing::default()
    }

    /// Whether this plan may grant wishes: not too soon after the last, and not for too little.
    pub(super) fn may_grant(&self, rules: &PlannerRules) -> bool {
        let age = |since: u64| self.at_ms.saturating_sub(since);
        let is_old = self.pending.values().min().is_some_and(|&since| age(since) >= PATIENCE_MS);
        self.is_apart(rules) && (is_old || self.wished_ppb >= WORTHWHILE_PPB)
    }

    /// What may still be moved at discretion, and when there is more: all that others read of the budget.
    pub(super) fn budget(&self, rules: &PlannerRules) -> BudgetLeft {
        self.spent.left(self.at_ms, &rules.budget)
    }

    /// How long a move goes on to wait for this rule, where time alone decides; `to`: the better node.
    pub(super) fn wait_left_ms(
        &self,
        rules: &PlannerRules,
        by: HeldBy,
        since_ms: u64,
        to: Option<NodeId>,
    ) -> Option<u64> {
        let left = |since_ms: u64, ms: u64| ms.saturating_sub(self.at_ms.saturating_sub(since_ms));
        let node = || self.nodes.get(to?.index());
        match by {
            // It does not fit into what is left: when it will depends on what else is moved.
            HeldBy::Budget => {
                Some(self.budget(rules)).filter(|it| it.left == Ppm::ZERO).map(|it| it.some_in_ms)
            }
            HeldBy::Dwell => Some(left(since_ms, rules.dwell_ms())),
            HeldBy::Pause => self.moved_at_ms.map(|at| left(at, rules.dwell_ms())),
            // At the latest: who has waited for longer takes it along.
            HeldBy::Batch => Some(left(since_ms, PATIENCE_MS)),
            HeldBy::Strain => Some(left(node()?.strained_at_ms?, STRAIN_MS)),
            HeldBy::Ramp => Some(left(node()?.back_since_ms?, rules.ramp_ms())),
            HeldBy::Spill | HeldBy::Hold | HeldBy::Freeze | HeldBy::Margin => None,
        }
    }

    /// Notes who serves, and returns each node's ramp in ppm of its part.
    pub(super) fn ramps(&mut self, may_serve: &[bool], ramp_ms: u64) -> Vec<u32> {
        let now = self.at_ms;
        let step = |memory: (&mut NodeMemory, &bool)| {
            let (node, &serving) = memory;
            if serving && !node.serving {
                node.back_since_ms = Some(now);
            }
            node.serving = serving;
            let age = node.back_since_ms.map_or(u64::MAX, |since| now.saturating_sub(since));
            if !serving || age >= ramp_ms.saturating_add(HOMECOMING_MS) {
                node.back_since_ms = None;
            }
            ramp(age, ramp_ms)
        };
        self.nodes.iter_mut().zip(may_serve).map(step).collect()
    }

    /// Notes which nodes an operator drains that could serve.
    pub(super) fn drain(&mut self, health: &[NodeHealth]) {
        for (node, health) in self.nodes.iter_mut().zip(health) {
            node.is_draining = health.forced_as() == Some(Action::Drain) && health.verdict().may_serve();
        }
    }

    /// The signal of a node to plan with, and notes whether it became better.
    pub(super) fn settle(&mut self, node: usize, now: NodeSignal, target_ppm: u32) -> NodeSignal {
        let at_ms = self.at_ms;
        let memory = &mut self.nodes[node];
        let settled = steady::settle(memory.signal, now, target_ppm);
        if steady::has_eased(memory.signal, settled) {
            memory.eased_at_ms = Some(at_ms);
        }
        memory.signal = Some(settled);
        settled
    }

    /// Whether clients who left the node, or would have come to it, are on their way home.
    pub(super) fn homecomings(&mut self, ramp_ms: u64) -> Vec<bool> {
        let now = self.at_ms;
        let home = |node: &mut NodeMemory| {
            if node.back_since_ms.is_some_and(|since| now.saturating_sub(since) <= ramp_ms) {
                node.eased_at_ms = Some(now);
            }
            node.eased_at_ms = node.eased_at_ms.filter(|&at| now.saturating_sub(at) < HOMECOMING_MS);
            node.eased_at_ms.is_some()
        };
        self.nodes.iter_mut().map(home).collect()
    }

    /// By node: it ramps up, or did less than [`HOMECOMING_MS`] ago.
    pub(super) fn back(&self) -> Vec<bool> {
        self.nodes.iter().map(|node| node.back_since_ms.is_some()).collect()
    }

    /// Ramps of nodes on trial stand still at the step that gives what the trial lets them have: the rest of the ramp
    /// comes after it.
    pub(super) fn hold_on_trial(&mut self, input: &PlanInput<'_>) {
        let now = self.at_ms;
        for (node, trial) in self.circuits.on_trial(input) {
            let step = RAMP_PPM.into_iter().find(|&step| step >= trial.0).unwrap_or(1_000_000);
            let most_ms = input.policy.planner.ramp_ms() * u64::from(step) / 1_000_000;
            let memory = &mut self.nodes[node.index()];
            // After an edit nobody remembers a ramp: what the trial lets come is where it stands.
            let floor = now.saturating_sub(most_ms);
            memory.back_since_ms = Some(memory.back_since_ms.map_or(floor, |since| since.max(floor)));
        }
    }

    /// Notes whom lines and areas do not reach and who is back. Returns `closures` with those added whose
    /// clients are told apart only because somebody came back to them.
    pub(super) fn close(
        &mut self,
        closures: Vec<Closure>,
        global: &View,
        rules: &PlannerRules,
    ) -> Vec<Closure> {
        self.scoped.note(&closures, global, (self.at_ms, rules.ramp_ms()));
        self.scoped.apart(closures)
    }

    /// How nodes come back to the clients of a view: no faster than to everybody.
    pub(super) fn returns_of(&self, view: &View, everybody: &Returns, rules: &PlannerRules) -> Returns {
        self.scoped.returns(view, everybody, (self.at_ms, rules.ramp_ms()))
    }

    /// The base loads to plan with.
    pub(super) fn settle_base(
        &mut self,
        burdens: impl Iterator<Item = Burden>,
        rules: &PlannerRules,
    ) -> Vec<u64> {
        let now = self.at_ms;
        let settle = |(node, burden): (&mut NodeMemory, Burden)| {
            let base = steady::settle_base(node.base, burden);
            let since = if burden.is_strain() { Some(now) } else { node.strained_at_ms };
            let late = rules.spill_end;
            let holds = |&at: &u64| !burden.is_relief((now.saturating_sub(at) >= STRAIN_MS).then_some(late));
            node.strained_at_ms = since.filter(holds);
            node.base = Some(base);
            base
        };
        self.nodes.iter_mut().zip(burdens).map(settle).collect()
    }

    /// Moves `carried` towards what the previous table does now.
    pub(super) fn follow(&mut self, elapsed_ms: u64, current: &[u32], habits: &[Habit]) {
        let serves: Vec<bool> = self.nodes.iter().map(|node| node.serving || node.is_draining).collect();
        let nodes = serves.len().max(1);
        let rows = self.carried.chunks_exact_mut(nodes).zip(self.coming.chunks_exact_mut(nodes));
        for (((carried, coming), current), habit) in rows.zip(current.chunks_exact(nodes)).zip(habits) {
            habit.follow(elapsed_ms, Row { carried, coming }, current, &serves);
        }
    }

    /// Notes who lost a node, and where he was sent: ppm of the service's demand, by node.
    pub(super) fn send(&mut self, service: usize, left: &[u32], came: &[u32]) {
        let nodes = self.nodes.len();
        let row = service * nodes..(service + 1) * nodes;
        Row { carried: &mut self.carried[row.clone()], coming: &mut self.coming[row] }.send(left, came);
    }

    /// Ppm of the service's demand that is on no node: who lost one, and who never had any.
    pub(super) fn on_their_way(&self, service: usize) -> u32 {
        let nodes = self.nodes.len();
        let carried = self.carried[service * nodes..(service + 1) * nodes].iter();
        carried.fold(1_000_000_u32, |left, &ppm| left.saturating_sub(ppm))
    }

    /// By node: what it carries for a while beside what the previous table gives it, in fine units.
    pub(super) fn passing(&self, current: &[u32], habits: &[Habit], demand: &[u64]) -> Vec<u64> {
        let nodes = self.nodes.len().max(1);
        let mut passing = vec![0_u64; self.nodes.len()];
        let rows = self.carried.chunks_exact(nodes).zip(self.coming.chunks_exact(nodes));
        let rows = rows.zip(current.chunks_exact(nodes)).zip(habits);
        for ((((carried, coming), current), habit), &demand) in rows.zip(demand) {
            for (sum, ppm) in passing.iter_mut().zip(habit.passing(carried, coming, current)) {
                *sum = sum.saturating_add(part(demand, ppm));
            }
        }
        passing
    }

    /// The demand to plan for when the operator states it.
    pub(super) fn state(&mut self, service: usize, stated: u64) -> u64 {
        (self.demand[service], self.planned[service]) = (stated, stated);
        stated
    }

    /// The demand to plan for: what is measured, or the recent maximum while it fades; settled.
    /// Of a maximum only what is `kept` comes back, while newcomers are shed; what is measured is there.
    pub(super) fn hold(&mut self, service: usize, measured: u64, elapsed_ms: u64, kept: Ppm) -> u64 {
        let held = u128::from(self.demand[service]);
        let left = u128::from(DEMAND_HOLD_MS.saturating_sub(elapsed_ms));
        let faded = (held * left / u128::from(DEMAND_HOLD_MS)) as u64;
        self.demand[service] = measured.max(faded);
        let expected = measured.max(part(faded, kept.0));
        self.planned[service] = steady::settle_demand(self.planned[service], expected);
        self.planned[service]
    }
}

/// What is rare is not written, so that what is kept stays as it was.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// ppm of its weight that a node has so long after it came back.
pub(super) fn ramp(age_ms: u64, ramp_ms: u64) -> u32 {
    if age_ms >= ramp_ms {
        return Ppm::WHOLE.0;
    }
    let linear = age_ms * 1_000_000 / ramp_ms;
    let reached = RAMP_PPM.iter().rev().find(|&&step| u64::from(step) <= linear);
    reached.copied().unwrap_or(RAMP_PPM[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::planner::ChangeBudget;

    const RAMP_MS: u64 = 300_000;

    #[test]
    fn ramps_start_at_a_tenth_and_end() {
        assert_eq!(ramp(0, RAMP_MS), 100_000);
        assert_eq!(ramp(150_000, RAMP_MS), 500_000);
        assert_eq!(ramp(RAMP_MS, RAMP_MS), 1_000_000);
        assert_eq!((ramp(5_000, 10_000), ramp(0, 0)), (500_000, 1_000_000));
        let mut memory = PlannerMemory::default().resumed(1, 1, 1, 0);
        assert_eq!(memory.ramps(&[true], RAMP_MS), [1_000_000]);
        assert_eq!(memory.ramps(&[false], RAMP_MS), [1_000_000]);
        assert_eq!(memory.ramps(&[true], RAMP_MS), [100_000]);
        memory.at_ms = RAMP_MS;
        assert_eq!((memory.ramps(&[true], RAMP_MS), memory.back()), (vec![1_000_000], vec![true]));
        memory.at_ms = RAMP_MS + HOMECOMING_MS;
        assert_eq!((memory.ramps(&[true], RAMP_MS), memory.back()), (vec![1_000_000], vec![false]));
    }

    #[test]
    fn reports_are_expected_to_follow_the_plan_with_a_lag() {
        let habits = [Habit::of(&super::super::testing::service("s", vec![]))];
        let mut memory = PlannerMemory::default().resumed(1, 1, 2, 0);
        // Nobody is anywhere: all are on their way, and caches let go of them within 30 s.
        memory.follow(30_000, &[750_000, 250_000], &habits);
        assert_eq!(memory.carried, [375_000, 125_000]);
        assert_eq!(memory.passing(&[750_000, 250_000], &habits, &[1_000]), [0, 0]);
        memory.nodes[1].serving = false;
        memory.follow(0, &[750_000, 250_000], &habits);
        assert_eq!((&memory.carried[..], memory.on_their_way(0)), (&[375_000, 0][..], 625_000));
        memory.send(0, &[0, 125_000], &[125_000, 0]);
        assert_eq!(memory.coming, [125_000, 0]);
        assert_eq!(memory.passing(&[0, 0], &habits, &[1_000]), [504, 0]);
    }

    #[test]
    fn demand_falls_slowly_and_rises_at_once() {
        let mut memory = PlannerMemory::default().resumed(1, 1, 1, 0);
        assert_eq!(memory.hold(0, 300, 0, Ppm::WHOLE), 300);
        assert_eq!(memory.hold(0, 100, 30_000, Ppm::WHOLE), 300, "270, within the dead band");
        assert_eq!(memory.hold(0, 100, 30_000, Ppm::WHOLE), 243);
        assert_eq!(memory.hold(0, 900, 1_000, Ppm::WHOLE), 900);
    }

    #[test]
    fn wishes_are_granted_in_batches_that_are_worth_it() {
        let mut memory = PlannerMemory::default().resumed(1, 1, 1, 100_000);
        memory.pending.insert((GroupId(0), ServiceId(0)), 90_000);
        memory.wished_ppb = WORTHWHILE_PPB - 1;
        assert!(!memory.may_grant(&PlannerRules::default()));
        memory.at_ms = 120_000;
        assert!(memory.may_grant(&PlannerRules::default()), "waited for long");
        memory.wished_ppb += 1;
        memory.at_ms = 100_000;
        assert!(memory.may_grant(&PlannerRules::default()), "large");
        memory.moved_at_ms = Some(98_000);
        assert!(!memory.may_grant(&PlannerRules::default()), "too soon");
    }

    #[test]
    fn what_was_spent_outlives_an_edit_and_a_new_shape() {
        let budget = ChangeBudget::default();
        let mut memory = PlannerMemory::default().resumed(2, 3, 4, 0);
        memory.spent.note(0, 150_000_000, &budget);
        let left = |memory: &PlannerMemory| memory.spent.purse(&budget).left();
        let edited = memory.carried_over(&Policy::default(), &Policy::default());
        let kept = [memory.resumed(2, 3, 4, 1), memory.resumed(2, 9, 4, 1), edited.resumed(2, 3, 4, 1)];
        assert_eq!(kept.map(|memory| left(&memory)), [50_000_000; 3]);
        let text = serde_json::to_string(&memory).expect("it can be kept");
        assert_eq!(serde_json::from_str::<PlannerMemory>(&text).expect("and read"), memory);
        // As it was kept before there was a window.
        let old = text.replace(r#""spent":[[0,150000000]]"#, r#""budget_ppb":-7"#);
        assert_ne!(old, text);
        assert_eq!(left(&serde_json::from_str(&old).expect("read as well")), 200_000_000);
    }
}
