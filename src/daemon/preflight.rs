//! What an override would do, by the planner that would do it.
//!
//! ```text
//!  input, as it is ───────────────▶ evacuation ─▶ plan before ─┐
//!  input, with the override ──────▶ evacuation ─▶ plan after ──┼─▶ Preflight: moves, fullest, unserved
//!                  above caps: then ▶ full pass ─▶ plan settled ┘
//! ```
//! The first pass moves only whose node was withdrawn, as the real thing does. What it leaves above caps may find
//! room once others make way, which takes the writer one tick more: so that is tried as well, and what is still
//! without room then is what the rest cannot carry. Nothing here is published and nothing remembered.

use crate::base::units::Ppm;
use crate::model::account::Account;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::overrides::names;
use crate::model::placement::{Assignment, PlacementMode};
use crate::model::policy::Policy;
use crate::model::preflight::{
    BrokenRule, CAPACITY, LAST_NODE, Preflight, ServiceMoves, Strain, Stranded, Unserved, Way,
};
use crate::schedule::{self, Pass, Plan, PlanInput};
use std::collections::BTreeMap;

/// Nodes shown.
const MOST_SHOWN: usize = 8;

/// Weighs what `after` does to `before`: the same input but for what operators say of `nodes`.
pub fn weigh(before: &PlanInput<'_>, after: &PlanInput<'_>, nodes: &[NodeId]) -> Preflight {
    let policy = before.policy;
    let was = schedule::plan(before);
    let at_once = schedule::plan(after);
    let moves = moves(&at_once, policy);
    let settled = settle(at_once, after);
    let mut told = Preflight {
        nodes: names(nodes, &policy.fleet),
        moves,
        fullest: fullest(&was, &settled, after),
        unserved: unserved(&was, &settled, policy),
        stranded: stranded(&was, &settled, policy),
        ..Preflight::default()
    };
    told.broken = told.of_capacity().into_iter().chain(told.of_last_node()).collect();
    told
}

/// The plan itself, or, where it leaves demand unserved, what becomes of it once others make way.
fn settle(at_once: Plan, after: &PlanInput<'_>) -> Plan {
    if at_once.unserved.is_empty() {
        return at_once;
    }
    let (previous, memory) = (Some(&at_once.assignment), &at_once.memory);
    let full = schedule::plan(&PlanInput { previous, memory, pass: Pass::Full, ..*after });
    let total = |plan: &Plan| plan.unserved.iter().map(|(_, lost)| *lost).sum::<u64>();
    if total(&full) < total(&at_once) { full } else { at_once }
}

/// From and to which region.
type Ends = (Option<String>, Option<String>);

/// By service, then from region to region.
fn moves(plan: &Plan, policy: &Policy) -> Vec<ServiceMoves> {
    let region = |node: NodeId| policy.fleet.region_of(node).name.clone();
    let mut by_service: BTreeMap<ServiceId, BTreeMap<Ends, u32>> = BTreeMap::new();
    for moved in &plan.moves {
        let way = (moved.from.map(region), moved.to.map(region));
        *by_service.entry(moved.service).or_default().entry(way).or_default() += moved.share.0;
    }
    let told = |(service, ways): (ServiceId, BTreeMap<Ends, u32>)| {
        let share = Ppm(ways.values().sum());
        let way = |((from, to), share)| Way { from, to, share: Ppm(share) };
        let mut ways: Vec<Way> = ways.into_iter().map(way).collect();
        ways.sort_by_key(|way| std::cmp::Reverse(way.share));
        ServiceMoves { service: policy.service(service).name.clone(), share, ways }
    };
    by_service.into_iter().map(told).collect()
}

/// Planned and other load of a node, as a part of its capacity; `None` without one.
fn utilisation(plan: &Plan, policy: &Policy, node: NodeId) -> Option<Ppm> {
    let capacity = policy.fleet.node(node).capacity.as_ref()?;
    let planned = plan.planned_load.get(node.index()).copied().unwrap_or(0);
    let base = plan.account.base.get(node.index()).copied().unwrap_or(0) / Account::fine(1);
    Some(Ppm::ratio(planned.saturating_add(base), capacity.amount))
}

fn fullest(was: &Plan, now: &Plan, after: &PlanInput<'_>) -> Vec<Strain> {
    let fleet = &after.policy.fleet;
    let strain = |node: NodeId| {
        after.health.get(node.index()).filter(|health| health.may_serve())?;
        Some(Strain {
            node: fleet.node(node).name.clone(),
            site: fleet.site_of(node).name.clone(),
            before: utilisation(was, after.policy, node)?,
            after: utilisation(now, after.policy, node)?,
            cap: fleet.node(node).capacity.as_ref()?.cap,
        })
    };
    let mut all: Vec<Strain> = fleet.node_ids().filter_map(strain).collect();
    all.sort_by(|one, other| (other.after, &one.node).cmp(&(one.after, &other.node)));
    all.truncate(MOST_SHOWN);
    all
}

fn unserved(was: &Plan, now: &Plan, policy: &Policy) -> Vec<Unserved> {
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

fn stranded(was: &Plan, now: &Plan, policy: &Policy) -> Vec<Stranded> {
    let told = |id: ServiceId| Stranded {
        service: policy.service(id).name.clone(),
        before: stranded_groups(&was.assignment, id),
        after: stranded_groups(&now.assignment, id),
    };
    policy.service_ids().map(told).filter(|it| it.before > 0 || it.after > 0).collect()
}

fn stranded_groups(assignment: &Assignment, id: ServiceId) -> u32 {
    let Some(service) = assignment.services.get(id.index()) else { return 0 };
    let is_stranded = |at: &&u32| {
        let placement = service.placements.get(**at as usize);
        placement.is_none_or(|it| it.mode != PlacementMode::Normal || it.shares.is_empty())
    };
    u32::try_from(service.by_group.iter().filter(is_stranded).count()).unwrap_or(u32::MAX)
}

impl Preflight {
    /// Demand that fitted and does not any more.
    fn of_capacity(&self) -> Option<BrokenRule> {
        let worse: Vec<&Unserved> = self.unserved.iter().filter(|it| it.after > it.before).collect();
        if worse.is_empty() {
            return None;
        }
        let tell = |it: &&Unserved| {
            format!(
                "{}: {} units of demand above what its nodes may be given ({} before)",
                it.service, it.after, it.before
            )
        };
        let full = self.fullest.iter().filter(|it| it.after > it.cap && it.after > it.before);
        let full: Vec<String> = full
            .map(|it| {
                let (after, cap) = (it.after.percent(), it.cap.percent());
                format!("{} at {after:.0} % of its capacity, its cap is {cap:.0} %", it.node)
            })
            .collect();
        let mut why = worse.iter().map(tell).collect::<Vec<_>>().join("; ");
        if !full.is_empty() {
            why.push_str(&format!("; {}", full.join(", ")));
        }
        Some(BrokenRule {
            rule: CAPACITY.to_owned(),
            why,
            way_out: "take fewer nodes at a time, wait for less demand, or add capacity".to_owned(),
            is_overridden: false,
        })
    }

    /// Clients that had a node and have none any more.
    fn of_last_node(&self) -> Option<BrokenRule> {
        let worse: Vec<String> = self
            .stranded
            .iter()
            .filter(|it| it.after > it.before)
            .map(|it| {
                let groups = if it.after == 1 { "client group" } else { "client groups" };
                format!(
                    "{}: {} {groups} would have no node left ({} before)",
                    it.service, it.after, it.before
                )
            })
            .collect();
        (!worse.is_empty()).then(|| BrokenRule {
            rule: LAST_NODE.to_owned(),
            why: worse.join("; "),
            way_out: "leave them a node, or give their chain another pool".to_owned(),
            is_overridden: false,
        })
    }
}
