//! What an override would do, by the planner that would do it.
//!
//! ```text
//!  input, as it is ───────────────▶ evacuation ─▶ plan before ─┐
//!  input, with the override ──────▶ evacuation ─▶ plan after ──┼─▶ Preflight: moves, fullest, unserved
//!                  above caps: then ▶ full pass ─▶ plan settled ┘
//! ```
//! What the planner makes of withdrawn nodes is [`effect`]'s to say, as it is of nodes that are lost. Nothing here is
//! published and nothing remembered.

use crate::forecast;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::overrides::names;
use crate::model::policy::Policy;
use crate::model::preflight::{BrokenRule, CAPACITY, LAST_NODE, Preflight, ServiceMoves, Strain, Unserved};
use crate::readiness::effect;
use crate::schedule::{self, Plan, PlanInput};

/// Nodes shown.
const MOST_SHOWN: usize = 8;

/// Weighs what `after` does to `before`: the same input but for what operators say of `nodes`.
pub fn weigh(before: &PlanInput<'_>, after: &PlanInput<'_>, nodes: &[NodeId]) -> Preflight {
    let policy = before.policy;
    let was = schedule::plan(before);
    let at_once = schedule::plan(after);
    let moves = moves(&at_once, policy);
    let settled = effect::settle(at_once, after);
    let mut told = Preflight {
        nodes: names(nodes, &policy.fleet),
        moves,
        fullest: fullest(&was, &settled, after),
        unserved: effect::unserved(&was, &settled, policy),
        stranded: effect::stranded(&was, &settled, policy),
        ..Preflight::default()
    };
    told.broken = told.of_capacity().into_iter().chain(told.of_last_node()).collect();
    told
}

/// By service, then from region to region.
fn moves(plan: &Plan, policy: &Policy) -> Vec<ServiceMoves> {
    let region = |node: NodeId| policy.fleet.region_of(node).name.clone();
    let of_service = |id: ServiceId| {
        let own = plan.moves.iter().filter(|moved| moved.service == id);
        let ends = own.map(|moved| ((moved.from.map(region), moved.to.map(region)), moved.share));
        forecast::ways(&policy.service(id).name, ends)
    };
    policy.service_ids().filter_map(of_service).collect()
}

fn fullest(was: &Plan, now: &Plan, after: &PlanInput<'_>) -> Vec<Strain> {
    let fleet = &after.policy.fleet;
    let strain = |node: NodeId| {
        after.health.get(node.index()).filter(|health| health.may_serve())?;
        Some(Strain {
            node: fleet.node(node).name.clone(),
            site: fleet.site_of(node).name.clone(),
            before: effect::utilisation(was, after.policy, node)?,
            after: effect::utilisation(now, after.policy, node)?,
            cap: fleet.node(node).capacity.as_ref()?.cap,
        })
    };
    let mut all: Vec<Strain> = fleet.node_ids().filter_map(strain).collect();
    all.sort_by(|one, other| (other.after, &one.node).cmp(&(one.after, &other.node)));
    all.truncate(MOST_SHOWN);
    all
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
