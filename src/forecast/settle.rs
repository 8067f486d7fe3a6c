//! The plan that a change ends in.
//!
//! One full pass does not say it: moves by choice wait for hysteresis and for the change budget. So passes are made as
//! the writer's ticks would make them, in steps as far apart as batches of moves are, until nobody wants to move.
//! What nodes report follows the plan as the planner expects of it: a report that stood still would look like load
//! that clients do not explain.

use crate::base::units::Ppm;
use crate::model::policy::Policy;
use crate::model::verdict::{NodeHealth, NodeLoad};
use crate::schedule::{self, Pass, Plan, PlanInput};

/// Between passes at least, so that a forecast is bounded.
const LEAST_STEP_MS: u64 = 1_000;
/// Looked ahead at most.
pub const HORIZON_S: u32 = 300;

/// Where a change ends.
pub struct Settled {
    /// The last pass.
    pub plan: Plan,
    /// Until the last move; `None`: there was one still at the horizon.
    pub after_s: Option<u32>,
    /// What nodes would report by then.
    pub health: Vec<NodeHealth>,
    pub now_ms: u64,
}

/// Plans `input`, and goes on until nobody wants to move.
pub fn settle(input: &PlanInput<'_>) -> Settled {
    let mut plan = schedule::plan(input);
    let explained = plan.memory.expected();
    let reports = input.health.iter().any(|node| node.load.is_some());
    let (mut now_ms, mut moved_at_ms) = (input.now_ms, input.now_ms);
    let mut health = input.health.to_vec();
    // What batches of moves are apart, and what a better placement has to be wanted for.
    let step_ms = input.policy.planner.dwell_ms().max(LEAST_STEP_MS);
    let end_ms = input.now_ms + u64::from(HORIZON_S) * 1_000;
    while !plan.memory.is_at_rest() || !plan.moves.is_empty() {
        if now_ms + step_ms > end_ms {
            return Settled { plan, after_s: None, health, now_ms };
        }
        now_ms += step_ms;
        if reports {
            health = follow(input.policy, input.health, &explained, &plan.memory.expected());
        }
        let (previous, memory) = (Some(&plan.assignment), &plan.memory);
        let (pass, health) = (Pass::Full, &health);
        let next = schedule::plan(&PlanInput { previous, memory, now_ms, health, pass, ..*input });
        if !next.moves.is_empty() {
            moved_at_ms = now_ms;
        }
        plan = next;
    }
    let after_s = u32::try_from((moved_at_ms - input.now_ms) / 1_000).ok();
    Settled { plan, after_s, health, now_ms }
}

/// What nodes would report once clients have followed from `then` to `now`, units by node.
fn follow(policy: &Policy, health: &[NodeHealth], then: &[u64], now: &[u64]) -> Vec<NodeHealth> {
    let moved = |(at, node): (usize, &NodeHealth)| {
        let Some(load) = &node.load else { return node.clone() };
        let of = |all: &[u64]| all.get(at).copied().unwrap_or(0);
        let shift = |amount: u64| amount.saturating_add(of(now)).saturating_sub(of(then));
        let capacity = policy.fleet.nodes.get(at).and_then(|node| node.capacity.as_ref());
        let utilisation = capacity.map_or(load.utilisation, |capacity| {
            Ppm::ratio(shift(load.utilisation.of(capacity.amount)), capacity.amount)
        });
        let load = NodeLoad { amount: load.amount.map(shift), utilisation, ..load.clone() };
        NodeHealth { load: Some(load), ..node.clone() }
    };
    health.iter().enumerate().map(moved).collect()
}
