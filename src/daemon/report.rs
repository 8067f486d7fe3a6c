//! The status an instance shows, made anew after every table and every tick.

use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::daemon::answering::SharedCounts;
use crate::daemon::writer::About;
use crate::model::canary::CanaryBrief;
use crate::model::demand::{DemandCounts, Shares};
use crate::model::held_back::{HeldBack, HeldBy};
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::overrides::OverrideStatus;
use crate::model::placement::{Move, PlacementMode};
use crate::model::policy::Policy;
use crate::model::service::Service;
use crate::model::status::{
    Change, Expiry, NodeStatus, OverCapacity, Problem, ServiceStatus, Status, VantageStatus,
};
use crate::model::verdict::NodeHealth;
use crate::routing::{self, Snapshot};
use crate::schedule::{self, Overload, PlannerMemory};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// Changes shown; older ones are in the log.
const MAX_RECENT: usize = 64;
/// Moves told per change.
const MAX_MOVES: usize = 6;
/// A smaller move would read as 0.0 %.
const LEAST_MOVE: Ppm = Ppm(500);

/// What does not change while the process lives.
#[derive(Clone, Debug)]
pub struct Identity {
    pub started_at: WallTime,
    pub listen: Vec<String>,
    pub admin: String,
}

/// Collects what there is to tell and hands it to whoever watches.
pub struct Reporter {
    identity: Identity,
    counts: Arc<SharedCounts>,
    problems: BTreeMap<About, Vec<Problem>>,
    expiries: BTreeMap<About, Vec<Expiry>>,
    recent: VecDeque<Change>,
    status: watch::Sender<Option<Arc<Status>>>,
    canary: Option<CanaryBrief>,
    /// Rules that held moves when last looked, to log their beginning and end.
    holding: Vec<HeldBy>,
}

/// The fleet, as the writer sees it.
pub struct Seen<'a> {
    /// By node id, both.
    pub nodes: &'a [NodeHealth],
    pub planned_load: &'a [u64],
    pub memory: &'a PlannerMemory,
    pub vantages: Vec<VantageStatus>,
    /// By service id.
    pub demand: &'a [DemandCounts],
    /// Of the last plan.
    pub over_capacity: &'a [Overload],
    /// Nobody is moved by choice, so the last plan is of a while ago.
    pub is_frozen: bool,
    pub overrides: Vec<OverrideStatus>,
    pub drilled: Vec<String>,
}

impl Reporter {
    /// Also where what it shows is looked at.
    pub fn new(
        identity: Identity,
        counts: Arc<SharedCounts>,
    ) -> (Self, watch::Receiver<Option<Arc<Status>>>) {
        let (problems, expiries) = (BTreeMap::new(), BTreeMap::new());
        let (status, shown) = watch::channel(None);
        (
            Self {
                identity,
                counts,
                problems,
                expiries,
                recent: VecDeque::new(),
                status,
                canary: None,
                holding: Vec::new(),
            },
            shown,
        )
    }

    pub fn set_canary(&mut self, canary: CanaryBrief) {
        self.canary = Some(canary);
    }

    /// Replaces what ends some day, of one subject.
    pub fn set_expiries(&mut self, about: About, expiries: Vec<Expiry>) {
        self.expiries.insert(about, expiries);
    }

    /// Replaces the problems about one subject; those that persist keep their beginning.
    pub fn set_problems(&mut self, about: About, mut problems: Vec<Problem>) {
        let known = self.problems.remove(&about).unwrap_or_default();
        for problem in &mut problems {
            let same = |old: &&Problem| old.code == problem.code && old.message == problem.message;
            if let Some(old) = known.iter().find(same) {
                problem.since = old.since;
            }
        }
        if !problems.is_empty() {
            self.problems.insert(about, problems);
        }
    }

    /// Whether there is a problem about the subject.
    pub fn has(&self, about: About) -> bool {
        self.problems.contains_key(&about)
    }

    /// Whether the same problem is shown already.
    pub fn knows(&self, problem: &Problem) -> bool {
        let same = |known: &Problem| known.code == problem.code && known.message == problem.message;
        self.problems.values().flatten().any(same)
    }

    /// Remembers and logs that `snapshot` replaced `former`.
    /// Moves are shares of the demand that is planned with, as `shares` has it.
    pub fn record(&mut self, former: Option<&Snapshot>, snapshot: &Snapshot, shares: &Shares) {
        let provenance = &snapshot.provenance;
        let told = former.map_or_else(Vec::new, |former| tell_moves(former, snapshot, shares));
        tracing::info!(
            generation = provenance.generation.0, cause = %provenance.cause, moves = told.join("; "),
            "table published"
        );
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Change {
            at: provenance.published_at,
            generation: provenance.generation,
            cause: provenance.cause.clone(),
            policy: provenance.policy.clone(),
            moves: told,
        });
    }

    /// Moves that are not made. Logs when a rule begins to hold any and when it ends, but for those that hold every
    /// move for seconds.
    fn told_held_back(&mut self, snapshot: &Snapshot, seen: &Seen<'_>) -> HeldBack {
        let held = seen.memory.held_back(&snapshot.policy, snapshot.geo.groups());
        let held = if seen.is_frozen { held.frozen() } else { held };
        let is_brief = |by: HeldBy| matches!(by, HeldBy::Dwell | HeldBy::Pause | HeldBy::Batch);
        let is_told = |by: &HeldBy| by.is_wait() && !is_brief(*by) && held.holds(*by);
        let holding: Vec<HeldBy> = HeldBy::ALL.into_iter().filter(is_told).collect();
        if holding != self.holding {
            let told = held.told().unwrap_or_else(|| "no move waits any more".to_owned());
            tracing::info!(rules = ?holding.iter().map(|by| by.name()).collect::<Vec<_>>(), "{told}");
            self.holding = holding;
        }
        held
    }

    /// Hands out the status as of now.
    pub fn show(&mut self, snapshot: &Snapshot, seen: Seen<'_>, now: WallTime) {
        let policy = &snapshot.policy;
        let status = Status {
            instance: policy.server.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now,
            started_at: self.identity.started_at,
            table: snapshot.provenance.clone(),
            listen: self.identity.listen.clone(),
            admin: self.identity.admin.clone(),
            nodes: node_statuses(policy, seen.nodes, seen.planned_load),
            services: service_statuses(snapshot, &seen),
            held_back: self.told_held_back(snapshot, &seen),
            vantages: seen.vantages,
            recent: self.recent.iter().cloned().collect(),
            problems: self.problems.values().flatten().cloned().collect(),
            queries: self.counts.sum(),
            overrides: seen.overrides,
            drilled: seen.drilled,
            canary: self.canary.clone(),
            expiries: self.expiries.values().flatten().cloned().collect(),
            // Others put in what they are told of.
            alerts: Vec::new(),
            alerts_omitted: 0,
            receivers: Vec::new(),
            incidents: Vec::new(),
        };
        self.status.send_replace(Some(Arc::new(status)));
    }
}

/// The largest moves in words: "live: tyo-1 -> osa-1 4.2 %"; how many are left out last.
fn tell_moves(former: &Snapshot, snapshot: &Snapshot, shares: &Shares) -> Vec<String> {
    let name = |policy: &Policy, node: Option<NodeId>| {
        node.map_or("nowhere".to_owned(), |node| policy.fleet.node(node).name.clone())
    };
    let assumed = schedule::weights(snapshot.geo.groups());
    let counted = |service: ServiceId| shares.of(service.index()).filter(|of| of.len() == assumed.len());
    let weigh = |service: ServiceId, group: GroupId| match counted(service) {
        Some(counted) => u64::from(counted[group.index()]),
        None => assumed[group.index()],
    };
    let tell = |moved: &Move| {
        let (from, to) = (name(&former.policy, moved.from), name(&snapshot.policy, moved.to));
        let service = &snapshot.policy.service(moved.service).name;
        format!("{service}: {from} -> {to} {:.1} %", moved.share.percent())
    };
    let moves = routing::moves(former, snapshot, weigh);
    let large = moves.iter().take_while(|moved| moved.share >= LEAST_MOVE).take(MAX_MOVES);
    let mut told: Vec<String> = large.map(tell).collect();
    told.extend(left_out(told.len(), moves.len()));
    told
}

/// Of the moves that are not told one by one.
fn left_out(told: usize, all: usize) -> Option<String> {
    match (told, all - told) {
        (_, 0) => None,
        (0, 1) => Some("1 move of less than 0.1 %".to_owned()),
        (0, count) => Some(format!("{count} moves of less than 0.1 %")),
        (_, 1) => Some("1 smaller move".to_owned()),
        (_, count) => Some(format!("{count} smaller moves")),
    }
}

fn node_statuses(policy: &Policy, health: &[NodeHealth], planned_load: &[u64]) -> Vec<NodeStatus> {
    let fleet = &policy.fleet;
    let total: u64 = planned_load.iter().sum();
    let tell = |id: NodeId| {
        let node = fleet.node(id);
        NodeStatus {
            name: node.name.clone(),
            site: fleet.site_of(id).name.clone(),
            region: fleet.region_of(id).name.clone(),
            line: node.line.map(|line| policy.clients.lines[line.index()].name.clone()),
            addresses: fleet.addresses(id).map(|address| address.to_string()).collect(),
            health: health.get(id.index()).cloned().unwrap_or_default(),
            share: Ppm::ratio(planned_load.get(id.index()).copied().unwrap_or(0), total),
            probed: Family::BOTH
                .iter()
                .any(|family| node.probes.iter().any(|probe| probe.targets[family.index()].is_some())),
        }
    };
    fleet.node_ids().map(tell).collect()
}

fn service_statuses(snapshot: &Snapshot, seen: &Seen<'_>) -> Vec<ServiceStatus> {
    let Seen { demand, memory, over_capacity, .. } = seen;
    let assigned = snapshot.policy.services.iter().zip(&snapshot.assignment.services);
    assigned
        .enumerate()
        .map(|(at, (service, assigned))| {
            let failing = |&&at: &&u32| assigned.placements[at as usize].mode != PlacementMode::Normal;
            ServiceStatus {
                name: service.name.clone(),
                hostnames: service.hostnames.clone(),
                profile: service.profile.name().to_owned(),
                ttl: service.ttl,
                groups_all_down: u32::try_from(assigned.by_group.iter().filter(failing).count())
                    .unwrap_or(u32::MAX),
                groups: u32::try_from(assigned.by_group.len()).unwrap_or(u32::MAX),
                demand: demand.get(at).copied().unwrap_or_default(),
                sheds_to: service.shed.as_ref().map(|shed| shed.to.name().to_owned()),
                shed_rule: service.shed_rule(),
                rungs: memory.rungs(&snapshot.policy, at),
                over_capacity: over_capacity
                    .iter()
                    .find(|over| over.service.index() == at)
                    .map(|over| told_overload(&snapshot.policy, service, over)),
            }
        })
        .collect()
}

fn told_overload(policy: &Policy, service: &Service, over: &Overload) -> OverCapacity {
    let pools = service.chains.iter().flat_map(|rule| &rule.pools);
    let nodes =
        pools.flat_map(|&pool| &service.pool(pool).members).map(|member| policy.fleet.node(member.node));
    let mut capacities = nodes.filter_map(|node| node.capacity.as_ref()).map(|capacity| &capacity.unit);
    let unit = capacities.next().filter(|first| capacities.all(|unit| unit == *first)).cloned();
    OverCapacity { units: over.units, unit, share: over.share, demand: over.demand }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        for (told, all, expected) in [
            (0, 0, None),
            (6, 6, None),
            (6, 7, Some("1 smaller move")),
            (2, 9, Some("7 smaller moves")),
            (0, 1, Some("1 move of less than 0.1 %")),
            (0, 12, Some("12 moves of less than 0.1 %")),
        ] {
            assert_eq!(left_out(told, all).as_deref(), expected, "{told} of {all}");
        }
    }
}
