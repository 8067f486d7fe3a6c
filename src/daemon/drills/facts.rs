//! What of the status and the table a drill's guardrails are about, against how it was before.

use super::forecast::Standing;
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::drill::guardrail::Facts;
use crate::drill::tally::Tally;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use crate::model::incident::{Incident, Phase};
use crate::model::status::Status;
use std::collections::BTreeSet;

/// How things were before the first fault.
#[derive(Clone, Debug, Default)]
pub struct Former {
    down: BTreeSet<String>,
    problems: BTreeSet<String>,
    /// Of incidents that were open: when each was opened, since it may have no number yet.
    incidents: BTreeSet<WallTime>,
    pub standing: Standing,
    /// By node: load that was not the plan's.
    pub base: Vec<u64>,
    /// Ascending.
    pub targets: Vec<NodeId>,
}

impl Former {
    pub fn of(
        (status, incidents): (Option<&Status>, &[Incident]),
        (standing, base): (Standing, Vec<u64>),
        targets: Vec<NodeId>,
    ) -> Self {
        let down = status.iter().flat_map(|status| down(status)).collect();
        let codes = status.iter().flat_map(|status| status.problems.iter().map(|it| it.code.clone()));
        let incidents = open(incidents).map(|incident| incident.opened_at).collect();
        Self { down, problems: codes.collect(), incidents, standing, base, targets }
    }

    /// Incidents that were not open before.
    pub fn opened(&self, incidents: &[Incident]) -> Vec<String> {
        open(incidents).filter(|incident| !self.incidents.contains(&incident.opened_at)).map(called).collect()
    }

    pub fn facts(&self, status: &Status, now: &Standing, fleet: &Fleet, tally: &Tally, now_ms: u64) -> Facts {
        let (answers, failed, failure) = tally.lately(now_ms);
        let is_target = |name: &String| self.targets.iter().any(|node| fleet.node(*node).name == *name);
        let others = down(status).filter(|name| !self.down.contains(name) && !is_target(name));
        let codes = status.problems.iter().map(|it| it.code.clone());
        let trusted = status.vantages.iter().filter(|it| it.health.distrust.is_none()).count();
        Facts {
            fullest: self.fullest(status, now, fleet),
            p95: now.latency.map(|latency| latency.p95),
            answers,
            failed,
            failure,
            others_down: others.collect(),
            incidents: Vec::new(),
            problems: codes.filter(|code| !self.problems.contains(code)).collect(),
            vantages: u32::try_from(status.vantages.len()).unwrap_or(u32::MAX),
            trusted: u32::try_from(trusted).unwrap_or(u32::MAX),
            is_frozen: status.problems.iter().any(|it| it.code == "table-frozen"),
        }
    }

    /// Of the nodes that are no targets and are fuller than before, the one that is fullest against its cap.
    fn fullest(&self, status: &Status, now: &Standing, fleet: &Fleet) -> Option<(String, Ppm, Ppm)> {
        let of = |node: NodeId| {
            let cap = fleet.nodes.get(node.index())?.capacity.as_ref()?.cap;
            let planned = (*now.utilisation.get(node.index())?)?;
            let share = planned.max(reported(status, &fleet.node(node).name));
            let before = self.standing.utilisation.get(node.index()).copied().flatten().unwrap_or_default();
            (share > before).then_some((node, share, cap))
        };
        let others = fleet.node_ids().filter(|node| self.targets.binary_search(node).is_err());
        let fullest = others.filter_map(of).max_by_key(|(_, share, _)| *share)?;
        Some((fleet.node(fullest.0).name.clone(), fullest.1, fullest.2))
    }
}

/// What a node itself says; nothing where it says nothing.
pub fn reported(status: &Status, name: &str) -> Ppm {
    let node = status.nodes.iter().find(|node| node.name == name);
    node.and_then(|node| Some(node.health.load.as_ref()?.utilisation)).unwrap_or_default()
}

fn down(status: &Status) -> impl Iterator<Item = String> + '_ {
    status.nodes.iter().filter(|node| !node.health.may_serve()).map(|node| node.name.clone())
}

/// Incidents of which something is the matter now.
pub fn open(incidents: &[Incident]) -> impl Iterator<Item = &Incident> {
    incidents.iter().filter(|incident| incident.phase == Phase::Open)
}

/// `incident 7 (node tyo-1: down)`.
pub fn called(incident: &Incident) -> String {
    let Incident { id, summary, .. } = incident;
    if *id == 0 { format!("an incident ({summary})") } else { format!("incident {id} ({summary})") }
}
