//! What the planner makes of nodes that are gone: the plan after, and what is to be read off it.
//!
//! ```text
//!  input without the nodes ─▶ evacuation ─▶ anything unserved? ── no ─▶ that is it
//!                                                └─ yes ─▶ full pass ─▶ the better of the two
//! ```
//! The first pass moves only whose node is gone, as the real thing does. What it leaves above caps may find room
//! once others make way, which takes the writer one tick more, when nodes report whom they were sent. What is
//! without room then is what the rest cannot carry.

use crate::base::round_trips::RoundTrips;
use crate::base::units::Ppm;
use crate::model::account::Account;
use crate::model::clients::ClientGroup;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::placement::{Latencies, PlacementMode};
use crate::model::policy::Policy;
use crate::model::preflight::{Stranded, Unserved};
use crate::model::readiness::Latency;
use crate::model::verdict::NodeHealth;
use crate::schedule::{self, Pass, Plan, PlanInput};

/// The plan for `after`, an evacuation, once others have made way where that helps.
pub fn settled(after: &PlanInput<'_>) -> Plan {
    settle(schedule::plan(after), after)
}

/// The plan itself, or, where it leaves demand unserved, what becomes of it once others make way.
pub fn settle(at_once: Plan, after: &PlanInput<'_>) -> Plan {
    if at_once.unserved.is_empty() {
        return at_once;
    }
    // Else load of another origin would be taken for that of clients who have just been sent there.
    let health = reporting(after.policy, after.health, |node, _| load(&at_once, node));
    let (previous, memory, health) = (Some(&at_once.assignment), &at_once.memory, &health[..]);
    let full = schedule::plan(&PlanInput { previous, memory, health, pass: Pass::Full, ..*after });
    if unserved_total(&full) < unserved_total(&at_once) { full } else { at_once }
}

/// Nodes with a capacity that report a load, by what it becomes in capacity units.
pub fn reporting(
    policy: &Policy,
    health: &[NodeHealth],
    becomes: impl Fn(NodeId, u64) -> u64,
) -> Vec<NodeHealth> {
    let mut health = health.to_vec();
    for (node, health) in policy.fleet.node_ids().zip(&mut health) {
        let capacity = policy.fleet.node(node).capacity.as_ref();
        let (Some(load), Some(capacity)) = (&mut health.load, capacity) else { continue };
        let all = load.utilisation.of(capacity.amount).max(load.amount.unwrap_or(0));
        let all = becomes(node, all);
        load.amount = load.amount.map(|_| all);
        load.utilisation = Ppm::ratio(all, capacity.amount);
    }
    health
}

/// Capacity units, of all services.
pub fn unserved_total(plan: &Plan) -> u64 {
    plan.unserved.iter().fold(0, |sum, (_, lost)| sum.saturating_add(*lost))
}

/// Planned and other load of a node, capacity units.
pub fn load(plan: &Plan, node: NodeId) -> u64 {
    let planned = plan.planned_load.get(node.index()).copied().unwrap_or(0);
    planned.saturating_add(base(plan, node))
}

/// Load that is not the plan's, capacity units.
pub fn base(plan: &Plan, node: NodeId) -> u64 {
    plan.account.base.get(node.index()).copied().unwrap_or(0) / Account::fine(1)
}

/// [`load`] as a part of the node's capacity; `None` without one.
pub fn utilisation(plan: &Plan, policy: &Policy, node: NodeId) -> Option<Ppm> {
    let capacity = policy.fleet.node(node).capacity.as_ref()?;
    Some(Ppm::ratio(load(plan, node), capacity.amount))
}

/// By service, where there is any before or after.
pub fn unserved(was: &Plan, now: &Plan, policy: &Policy) -> Vec<Unserved> {
    let of = |plan: &Plan, id: ServiceId| {
        plan.unserved.iter().find(|(service, _)| *service == id).map_or(0, |(_, lost)| *lost)
    };
    let told = |id: ServiceId| Unserved {
        service: policy.service(id).name.clone(),
        before: of(was, id),
        after: of(now, id),
    };
    policy.service_ids().map(told).filter(|it| it.before > 0 || it.after > 0).collect()
}

/// By service, where there are any before or after.
pub fn stranded(was: &Plan, now: &Plan, policy: &Policy) -> Vec<Stranded> {
    let told = |id: ServiceId| Stranded {
        service: policy.service(id).name.clone(),
        before: was.assignment.stranded(id),
        after: now.assignment.stranded(id),
    };
    policy.service_ids().map(told).filter(|it| it.before > 0 || it.after > 0).collect()
}

/// Clients that are elsewhere, of all clients: services count alike.
pub fn moved(plan: &Plan) -> Ppm {
    let services = plan.assignment.services.len().max(1) as u64;
    let all: u64 = plan.moves.iter().map(|one| u64::from(one.share.0)).sum();
    Ppm(u32::try_from(all / services).unwrap_or(u32::MAX))
}

/// Round trips of the clients that have a node, as the planner estimates them.
pub fn latency(plan: &Plan, policy: &Policy, groups: &[ClientGroup], latencies: &Latencies) -> Latency {
    let mut trips = RoundTrips::default();
    for (service, own) in plan.assignment.services.iter().enumerate() {
        for group in 0..groups.len().min(own.by_group.len()) {
            let placement = own.by_group.get(group).and_then(|at| own.placements.get(*at as usize));
            let Some(placement) = placement.filter(|it| it.mode == PlacementMode::Normal) else { continue };
            let (row, fraction) = (latencies.row(group), plan.account.split.fraction(service, group));
            for share in &placement.shares {
                let site = policy.fleet.node(share.node).site;
                let Some(&rtt) = row.get(site.index()) else { continue };
                trips.add(rtt, u128::from(fraction) * u128::from(share.share.0));
            }
        }
    }
    trips.mean_and_p95().map_or_else(Latency::default, |(mean, p95)| Latency { mean, p95 })
}
