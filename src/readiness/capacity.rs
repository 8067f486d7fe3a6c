//! The least capacity that would make a loss fit, and where: found by adding it and planning again.
//!
//! What the planner leaves above caps is the least there can be, so less room than that never helps; it is rounded
//! up. It is tried at the node that lacks most, then at each that lacks some; whatever is still missing is added, a few times.

use super::effect;
use super::losses::{Loss, serves, without};
use super::scenario::Stage;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::policy::Policy;
use crate::model::readiness::Addition;
use crate::model::verdict::NodeHealth;
use crate::schedule::Plan;
use std::collections::BTreeMap;

/// Times that what is still missing is added,
const STEPS: usize = 5;
/// and that one node alone is tried.
const ALONE_STEPS: usize = 2;

/// Of clients without a node.
pub const NO_CAPACITY_HELPS: &str = "no capacity helps who has no node left: give their chains another pool";

/// By node: capacity units.
type Added = BTreeMap<NodeId, u64>;

/// Additions, the largest first.
///
/// # Errors
/// A sentence: no capacity helps, or none was found within a few steps.
pub fn to_add(stage: &Stage<'_>, loss: &Loss) -> Result<Vec<Addition>, String> {
    let health = without(&stage.health, &loss.nodes);
    let plan = effect::settled(&stage.input(&stage.policy, &health));
    let lacking = lacking(&stage.policy, &plan, &health);
    let Some((&most, _)) = lacking.iter().max_by_key(|(node, lacks)| (**lacks, std::cmp::Reverse(**node)))
    else {
        return Err(NO_CAPACITY_HELPS.to_owned());
    };
    let trial = Trial { stage, health: &health };
    // Amounts are rounded down, those of nodes each by itself; what that hides is found by planning again.
    let is_stranded = effect::stranded(&stage.calm, &plan, &stage.policy).iter().any(|it| it.after > 0);
    let in_all = if is_stranded { 0 } else { effect::unserved_total(&plan) };
    let all = lacking.values().sum::<u64>().max(in_all) + 1;
    let mut alone = Added::from([(most, room(&stage.policy, most, all))]);
    for _ in 0..ALONE_STEPS {
        let missing = trial.missing(&alone);
        if missing.is_empty() {
            return Ok(told(&stage.policy, &alone));
        }
        *alone.entry(most).or_default() += room(&stage.policy, most, missing.values().sum());
    }
    let mut added = Added::new();
    let mut missing = lacking;
    for _ in 0..STEPS {
        for (node, lacks) in &missing {
            *added.entry(*node).or_default() += room(&stage.policy, *node, *lacks + 1);
        }
        missing = trial.missing(&added);
        if missing.is_empty() {
            return Ok(told(&stage.policy, &added));
        }
    }
    let amount: u64 = added.values().sum();
    Err(format!("{amount} more units at the nodes that are full do not suffice; give the chains more nodes"))
}

struct Trial<'t, 'a> {
    stage: &'t Stage<'a>,
    health: &'t [NodeHealth],
}

impl Trial<'_, '_> {
    /// What lies above caps with so much added.
    fn missing(&self, added: &Added) -> Added {
        let mut policy = Policy::clone(&self.stage.policy);
        let mut health = self.health.to_vec();
        for (node, more) in added {
            let Some(capacity) = &mut policy.fleet.nodes[node.index()].capacity else { continue };
            let before = capacity.amount;
            capacity.amount = before.saturating_add(*more);
            // The same load of a larger node.
            if let Some(load) = health.get_mut(node.index()).and_then(|health| health.load.as_mut()) {
                load.utilisation = Ppm::ratio(load.utilisation.of(before), capacity.amount);
            }
        }
        let plan = effect::settled(&self.stage.input(&policy, &health));
        match effect::unserved_total(&plan) {
            0 => Added::new(),
            _ => lacking(&policy, &plan, &health),
        }
    }
}

/// By node that serves: how much of its load lies above its cap.
fn lacking(policy: &Policy, plan: &Plan, health: &[NodeHealth]) -> Added {
    let lacks = |node: NodeId| {
        let capacity = policy.fleet.node(node).capacity.as_ref().filter(|_| serves(health, node))?;
        let over = effect::load(plan, node).saturating_sub(capacity.cap.of(capacity.amount));
        (over > 0).then_some((node, over))
    };
    policy.fleet.node_ids().filter_map(lacks).collect()
}

/// The capacity of which so much may be planned on the node.
fn room(policy: &Policy, node: NodeId, load: u64) -> u64 {
    let cap = policy.fleet.node(node).capacity.as_ref().map_or(1, |capacity| capacity.cap.0.max(1));
    let needed = (u128::from(load) * u128::from(Ppm::WHOLE.0)).div_ceil(u128::from(cap));
    u64::try_from(needed).unwrap_or(u64::MAX)
}

fn told(policy: &Policy, added: &Added) -> Vec<Addition> {
    let fleet = &policy.fleet;
    let mut all: Vec<Addition> = added
        .iter()
        .map(|(node, amount)| Addition {
            node: fleet.node(*node).name.clone(),
            site: fleet.site_of(*node).name.clone(),
            amount: *amount,
            unit: fleet.node(*node).capacity.as_ref().map_or_else(String::new, |it| it.unit.clone()),
        })
        .collect();
    all.sort_by(|one, other| (other.amount, &one.node).cmp(&(one.amount, &other.node)));
    all
}
