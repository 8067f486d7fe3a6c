//! How far the planner is from the best there is.
//!
//! ```text
//! seed ─▶ instances ─▶ schedule::plan ──▶ value of the plan ─┐
//!                └───▶ optimum: cost and its proof ──────────┴─▶ gap = (plan - optimum) / optimum
//! ```
//! The objective is the planner's: first as little demand above caps as can be, then the sum over all
//! demand of what its node costs and of the congestion price, which is a *marginal* price: a node's load
//! pays the integral of [`congestion_price`](crate::schedule::cost::congestion_price) from nothing up to
//! it (what is above the cap pays the price at the cap). That is the objective which stands still exactly
//! where nobody finds a cheaper node, prices included. The price moves in steps of a millisecond, so the
//! integral is a line with bends and the optimum is exact: nothing is rounded that the planner does not
//! round too.
//!
//! A gap may also be below nothing by a millionth of a group: the planner counts shares in ppm and
//! rounds loads down.
//!
//! | measured | when |
//! |---|---|
//! | cold | the first table |
//! | incremental | ten seconds after the busiest node failed, and seven minutes after it came back |

pub mod instances;
pub mod optimum;

use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::{Assignment, PlacementMode};
use crate::model::verdict::{NodeHealth, Verdict};
use crate::schedule::{Pass, Plan, PlanInput, PlannerMemory, plan};
use instances::Instance;
use optimum::Problem;

/// One random instance in so many has a tight one beside it.
pub const TIGHT_EVERY: usize = 10;
/// Fine units in a capacity unit, as the planner counts.
const UNIT: u64 = 1 << 16;

/// What first tables are to be within of the optimum.
pub const WORST_GAP: f64 = 0.03;

/// One instance, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub is_tight: bool,
    /// (plan - optimum) / optimum of the first table.
    pub gap: f64,
    /// The worse of the two moments after a failure and after the recovery from it.
    pub incremental_gap: f64,
    /// Units that plans leave above caps beyond the least possible, and the other way round, at all
    /// three moments.
    pub unserved_difference: u64,
    /// The least there is, of the first table.
    pub unserved: u64,
}

/// All instances together.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    pub instances: usize,
    pub tight: usize,
    pub seed: u64,
    pub worst_gap: f64,
    pub mean_gap: f64,
    pub incremental_gap: f64,
    pub incremental_mean_gap: f64,
    pub unserved_difference: u64,
}

/// Measures instance `at` of a seed.
pub fn measure(seed: u64, at: usize, is_tight: bool) -> Outcome {
    let instance = Instance::random(seed, at, is_tight);
    let mut trial = Trial { instance: &instance, health: instance.health.clone() };
    let first = trial.plan(None, 0, Pass::Full);
    let cold = trial.judge(&first);
    let busiest = (0..trial.health.len()).max_by_key(|&node| (first.planned_load[node], node)).unwrap_or(0);
    trial.set(busiest, Verdict::Down);
    let mut current = trial.plan(Some(&first), 1_000, Pass::Evacuation);
    for second in 2..12 {
        current = trial.plan(Some(&current), second * 1_000, Pass::Full);
    }
    let failed = trial.judge(&current);
    trial.set(busiest, Verdict::Up);
    for step in 0..84 {
        current = trial.plan(Some(&current), 12_000 + step * 5_000, Pass::Full);
    }
    let back = trial.judge(&current);
    Outcome {
        is_tight,
        gap: cold.gap,
        incremental_gap: failed.gap.max(back.gap),
        unserved_difference: [&cold, &failed, &back].map(|one| one.unserved_difference).iter().sum(),
        unserved: cold.unserved,
    }
}

/// Which instances a run of `count` random ones has: all of those, and the tight ones after them.
pub fn schedule_of(count: usize) -> impl Iterator<Item = (usize, bool)> {
    let tight = count.div_ceil(TIGHT_EVERY);
    (0..count).map(|at| (at, false)).chain((0..tight).map(|at| (at, true)))
}

impl Summary {
    pub fn of(seed: u64, outcomes: &[Outcome]) -> Self {
        let count = outcomes.len().max(1) as f64;
        let worst = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).fold(f64::MIN, f64::max);
        let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / count;
        let tight = outcomes.iter().filter(|one| one.is_tight).count();
        Self {
            instances: outcomes.len() - tight,
            tight,
            seed,
            worst_gap: worst(|one| one.gap),
            mean_gap: mean(|one| one.gap),
            incremental_gap: worst(|one| one.incremental_gap),
            incremental_mean_gap: mean(|one| one.incremental_gap),
            unserved_difference: outcomes.iter().map(|one| one.unserved_difference).sum(),
        }
    }

    /// Which aims are missed, in sentences without a final stop: a first table further from the optimum than
    /// [`WORST_GAP`], more (or, which no plan can, less) demand unserved than the least possible.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if self.worst_gap > WORST_GAP {
            let (worst, aim) = (self.worst_gap * 100.0, WORST_GAP * 100.0);
            missed
                .push(format!("a first table is {worst:.2} % above the optimum, and the aim is {aim:.0} %"));
        }
        if self.unserved_difference > 0 {
            let units = self.unserved_difference;
            missed.push(format!(
                "plans leave {units} units more unserved than the least possible, the aim is 0"
            ));
        }
        missed
    }
}

/// One instance as its nodes fail and come back.
struct Trial<'a> {
    instance: &'a Instance,
    health: Vec<NodeHealth>,
}

struct Judged {
    gap: f64,
    unserved_difference: u64,
    unserved: u64,
}

impl Trial<'_> {
    fn plan(&self, previous: Option<&Plan>, now_ms: u64, pass: Pass) -> Plan {
        let fresh = PlannerMemory::default();
        plan(&PlanInput {
            policy: &self.instance.policy,
            groups: &self.instance.groups,
            latencies: &self.instance.latencies,
            health: &self.health,
            previous: previous.map(|plan| &plan.assignment),
            memory: previous.map_or(&fresh, |plan| &plan.memory),
            demand: None,
            now_ms,
            pass,
        })
    }

    fn set(&mut self, node: usize, verdict: Verdict) {
        for family in self.health[node].families.iter_mut().flatten() {
            family.verdict = verdict;
        }
    }

    fn judge(&self, plan: &Plan) -> Judged {
        let problem = Problem::of(self.instance, &self.health);
        let best = problem.solve();
        assert!(best.is_proven(), "the optimum and its proof differ");
        let (cost, over) = problem.value(&self.flows(&problem, &plan.assignment));
        let gap = (cost as f64 - best.cost as f64) / (best.cost as f64).max(1.0);
        let difference = over.abs_diff(best.over).saturating_add(UNIT / 2) / UNIT;
        Judged { gap, unserved_difference: difference, unserved: best.over / UNIT }
    }

    /// What a plan puts where: row-major pairs x nodes, fine units.
    fn flows(&self, problem: &Problem, assignment: &Assignment) -> Vec<u64> {
        let (groups, nodes) = (self.instance.groups.len(), self.health.len());
        let mut flows = vec![0; problem.demand.len() * nodes];
        for (pair, &demand) in problem.demand.iter().enumerate() {
            let (service, group) = (ServiceId::from_index(pair / groups), GroupId::from_index(pair % groups));
            let placement = assignment.placement(service, group);
            let placement = placement.filter(|placement| placement.mode == PlacementMode::Normal);
            for share in placement.map_or(&[][..], |placement| &placement.shares) {
                flows[pair * nodes + NodeId::index(share.node)] += share.share.of(demand);
            }
        }
        flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::Bias;

    /// Random ones; `rhumb sim oracle` measures 200, and exits with 1 if it misses the aims.
    const COUNT: usize = 20;

    #[test]
    fn biased_plans_are_near_the_best_too() {
        for at in 0..4 {
            let mut instance = Instance::random(11, at, false);
            for rule in instance.policy.services.iter_mut().flat_map(|service| &mut service.chains) {
                let of_site = |node: &NodeId| instance.policy.fleet.node(*node).site.index();
                let by_us = |node: &NodeId| [30_000, -20_000, 0][of_site(node) % 3];
                let nodes = instance.policy.fleet.node_ids().filter(|node| by_us(node) != 0);
                rule.bias = nodes.map(|node| Bias { node, by_us: by_us(&node) }).collect();
            }
            let trial = Trial { instance: &instance, health: instance.health.clone() };
            let judged = trial.judge(&trial.plan(None, 0, Pass::Full));
            assert!((0.0..0.03).contains(&judged.gap), "{at}: {}", judged.gap);
            assert_eq!(judged.unserved_difference, 0);
        }
    }

    #[test]
    fn cold_plans_are_near_the_best_and_leave_as_little_unserved() {
        let outcomes: Vec<Outcome> = schedule_of(COUNT).map(|(at, tight)| measure(7, at, tight)).collect();
        let summary = Summary::of(7, &outcomes);
        assert_eq!((summary.instances, summary.tight), (COUNT, COUNT.div_ceil(TIGHT_EVERY)));
        assert_eq!(summary.missed(), Vec::<String>::new(), "{outcomes:#?}");
        assert!(summary.mean_gap >= 0.0, "{summary:#?}");
    }

    #[test]
    fn a_missed_aim_is_said() {
        let good = Outcome {
            is_tight: false,
            gap: WORST_GAP,
            incremental_gap: 0.2,
            unserved_difference: 0,
            unserved: 7,
        };
        let said = |outcome: Outcome| Summary::of(1, &[good, outcome]).missed().join("; ");
        assert_eq!(said(good), "");
        assert_eq!(
            said(Outcome { gap: 0.034, ..good }),
            "a first table is 3.40 % above the optimum, and the aim is 3 %"
        );
        assert!(said(Outcome { unserved_difference: 2, ..good }).contains("leave 2 units more unserved"));
    }
}
