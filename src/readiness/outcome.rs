//! One loss, judged: how full the rest becomes, whom it cannot serve, and what would help.

use super::capacity;
use super::effect;
use super::losses::{Loss, serves, without};
use super::scenario::Stage;
use crate::base::units::Ppm;
use crate::model::ids::{NodeId, PoolId};
use crate::model::policy::Policy;
use crate::model::readiness::{Calm, Fullest, LossOutcome};
use crate::model::service::{Pool, Service};
use crate::model::verdict::NodeHealth;
use crate::schedule::Plan;

/// A node planned to its very cap is a hair above it at times.
const NEGLIGIBLE: Ppm = Ppm(2_000);
/// A node counts as full when less than this is left below its cap.
const NEARLY: Ppm = Ppm(20_000);

/// With nothing lost.
pub fn calm(stage: &Stage<'_>) -> Calm {
    Calm {
        fullest: fullest(stage, &stage.calm, &stage.health),
        unserved: effect::unserved_total(&stage.calm),
        latency: effect::latency(&stage.calm, &stage.policy, stage.groups, stage.latencies),
    }
}

/// What a loss does, without what would help.
pub fn judge(stage: &Stage<'_>, loss: &Loss) -> LossOutcome {
    let (policy, health) = (&*stage.policy, without(&stage.health, &loss.nodes));
    let plan = effect::settled(&stage.input(policy, &health));
    let mut told = LossOutcome {
        lost: loss.name.clone(),
        nodes: u32::try_from(loss.nodes.len()).unwrap_or(u32::MAX),
        is_carried: false,
        fullest: fullest(stage, &plan, &health),
        unserved: effect::unserved(&stage.calm, &plan, policy),
        stranded: effect::stranded(&stage.calm, &plan, policy),
        latency: effect::latency(&plan, policy, stage.groups, stage.latencies),
        moved: effect::moved(&plan),
        bottleneck: None,
        add: Vec::new(),
        no_remedy: None,
    };
    told.is_carried =
        told.unserved_total() == 0 && told.stranded_total() == 0 && told.above_cap() <= NEGLIGIBLE;
    told.bottleneck = bottleneck(&told, policy, &plan, &health);
    told
}

/// Adds what would make it fit, to the outcome of a loss that is not carried.
pub fn mend(stage: &Stage<'_>, loss: &Loss, told: &mut LossOutcome) {
    match capacity::to_add(stage, loss) {
        Ok(add) => {
            told.add = add;
            told.no_remedy = (told.stranded_total() > 0).then(|| capacity::NO_CAPACITY_HELPS.to_owned());
        }
        Err(why) => told.no_remedy = Some(why),
    }
}

/// The node that is fullest against its cap, of those that serve.
fn fullest(stage: &Stage<'_>, plan: &Plan, health: &[NodeHealth]) -> Option<Fullest> {
    let fleet = &stage.policy.fleet;
    let of = |node: NodeId| {
        let (utilisation, cap) = strain(&stage.policy, plan, health, node)?;
        Some((i64::from(utilisation.0) - i64::from(cap.0), node, utilisation, cap))
    };
    let (_, node, utilisation, cap) =
        fleet.node_ids().filter_map(of).max_by_key(|(over, node, ..)| (*over, std::cmp::Reverse(*node)))?;
    let (name, site) = (fleet.node(node).name.clone(), fleet.site_of(node).name.clone());
    Some(Fullest { node: name, site, utilisation, cap })
}

/// Utilisation and cap of a node that serves and has a capacity.
fn strain(policy: &Policy, plan: &Plan, health: &[NodeHealth], node: NodeId) -> Option<(Ppm, Ppm)> {
    let cap = policy.fleet.node(node).capacity.as_ref().filter(|_| serves(health, node))?.cap;
    Some((effect::utilisation(plan, policy, node)?, cap))
}

/// The largest thing that is full, or who has no node.
fn bottleneck(told: &LossOutcome, policy: &Policy, plan: &Plan, health: &[NodeHealth]) -> Option<String> {
    let is_full = |node: &NodeId| {
        let strain = strain(policy, plan, health, *node);
        strain.is_some_and(|(utilisation, cap)| utilisation.0.saturating_add(NEARLY.0) >= cap.0)
    };
    let all_full = |nodes: &mut dyn Iterator<Item = NodeId>| {
        let serving: Vec<NodeId> = nodes.filter(|node| serves(health, *node)).collect();
        !serving.is_empty() && serving.iter().all(is_full)
    };
    let short =
        |service: &&Service| told.unserved.iter().any(|it| it.service == service.name && it.after > 0);
    for service in policy.services.iter().filter(short) {
        let chained = |(at, _): &(usize, &Pool)| {
            let id = PoolId::from_index(*at);
            service.chains.iter().any(|rule| rule.pools.contains(&id))
        };
        let mut pools: Vec<&Pool> =
            service.pools.iter().enumerate().filter(chained).map(|(_, pool)| pool).collect();
        pools.sort_by_key(|pool| std::cmp::Reverse(pool.members.len()));
        let full = pools.iter().find(|pool| all_full(&mut pool.members.iter().map(|member| member.node)));
        if let Some(pool) = full {
            return Some(format!("pool {} of {}", pool.name, service.name));
        }
    }
    if let Some(stranded) = told.stranded.iter().find(|it| it.after > 0) {
        return Some(format!("no node for {}", stranded.service));
    }
    let fullest = told.fullest.as_ref()?;
    let fleet = &policy.fleet;
    let mut of_site = fleet.node_ids().filter(|node| fleet.site_of(*node).name == fullest.site);
    match all_full(&mut of_site) {
        true => Some(format!("site {}", fullest.site)),
        false => Some(format!("node {}", fullest.node)),
    }
}
