//! What a table sends to whom, of everybody who asks: looked up as answers are, and as the plan meant it.
//!
//! ```text
//!  plan ──▶ planned   the placements' shares
//!    └─ table ──▶ sent   every network's own slot: off by what slots and hashed prefixes make of a share
//!         └─ clients ──▶ carried   later, and as chance has it
//! ```
//! All three are of the same demand, so what one has beyond the one before it is that step's own.

use crate::base::prefix::{Family, left_aligned};
use crate::base::units::Ppm;
use crate::geo::GeoTable;
use crate::lab::audience::Gathering;
use crate::lab::clients;
use crate::model::fleet::Fleet;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::routing::snapshot::Snapshot;
use crate::routing::steer::Part;
use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// By node, as parts of its capacity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    pub generation: u64,
    /// By the placements of the table's plan,
    pub planned: Vec<f64>,
    /// and by the table.
    pub sent: Vec<f64>,
}

/// Everybody who asks while the fleet is to be as full as it is.
#[derive(Debug)]
pub struct Askers {
    all: Vec<Asker>,
    fleet: Arc<Fleet>,
    level: Ppm,
}

#[derive(Debug)]
struct Asker {
    service: ServiceId,
    group: GroupId,
    family: Family,
    upper: u64,
    depth: u8,
    /// Of all demand.
    part: f64,
}

impl Askers {
    /// `services`: by name that is asked for.
    pub fn of(
        fleet: Arc<Fleet>,
        geo: &GeoTable,
        gathering: &Gathering,
        services: &[Option<ServiceId>],
        level: Ppm,
    ) -> Self {
        let asker = |(pair, part): (crate::lab::audience::Pair, f64)| {
            let address: IpAddr = gathering.clients[pair.client as usize].prefix.address();
            let located = geo.locate(address);
            Some(Asker {
                service: services.get(usize::from(pair.name)).copied().flatten()?,
                group: located.group,
                family: Family::of(address),
                upper: (left_aligned(address) >> 64) as u64,
                depth: located.depth,
                part,
            })
        };
        let all = gathering.audience.present(level.fraction()).into_iter().filter_map(asker).collect();
        Self { all, fleet, level }
    }

    /// What `snapshot` makes of them.
    pub fn sent_by(&self, snapshot: &Snapshot) -> Sent {
        let nodes = self.fleet.nodes.len();
        let (mut planned, mut sent) = (vec![0.0; nodes], vec![0.0; nodes]);
        for asker in &self.all {
            let plan = &snapshot.assignment.services[asker.service.index()];
            let placement =
                plan.by_group.get(asker.group.index()).and_then(|&at| plan.placements.get(at as usize));
            for share in placement.into_iter().flat_map(|placement| &placement.shares) {
                planned[share.node.index()] += asker.part * share.share.fraction();
            }
            if let Some(node) = asker.node(snapshot) {
                sent[node.index()] += asker.part;
            }
        }
        let [planned, sent] =
            [planned, sent].map(|parts| clients::utilisation(&self.fleet, self.level, &parts));
        Sent { generation: snapshot.provenance.generation.0, planned, sent }
    }
}

impl Asker {
    /// The first that it is answered.
    fn node(&self, snapshot: &Snapshot) -> Option<NodeId> {
        let table = snapshot.service_table(self.service);
        let pick = table.pick(self.group, self.family, self.upper, self.depth)?;
        pick.set?.nodes(Part::Addresses(Family::V4)).next()
    }
}

/// Between two looks for a new table.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Tables that are kept until the end; of more the first.
const MOST_TABLES: usize = 1_024;

type Seen = Vec<(Instant, Arc<Snapshot>)>;

/// Keeps each table, to say at the end what it sends: during a run that would be load of its own.
#[derive(Debug)]
pub struct Watch {
    is_over: CancellationToken,
    task: JoinHandle<Seen>,
}

impl Watch {
    /// Within a runtime.
    pub fn begin(live: Arc<ArcSwap<Snapshot>>) -> Self {
        let is_over = CancellationToken::new();
        let told = is_over.clone();
        let task = tokio::spawn(async move {
            let mut seen = Seen::new();
            loop {
                let (now, table) = (Instant::now(), live.load_full());
                let is_new = seen.last().is_none_or(|(_, last)| !Arc::ptr_eq(last, &table));
                if is_new && seen.len() < MOST_TABLES {
                    seen.push((now, table));
                }
                tokio::select! {
                    () = told.cancelled() => return seen,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
        Self { is_over, task }
    }

    /// What each sent, and when it was first seen; a panic while looking would have seen nothing.
    pub async fn end(self, askers: &Askers) -> Vec<(Instant, Sent)> {
        self.is_over.cancel();
        let seen = self.task.await.unwrap_or_default();
        seen.iter().map(|(at, table)| (*at, askers.sent_by(table))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{self, Setup};
    use super::*;
    use crate::base::clock::WallTime;
    use crate::daemon::inputs::Inputs;
    use crate::demand::{DemandBook, Subject};
    use crate::lab::LabOptions;
    use crate::model::demand::Shares;
    use crate::model::ids::{Generation, Revision};
    use crate::model::placement::Assignment;
    use crate::model::provenance::{Cause, Provenance};
    use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
    use crate::routing::{self, SnapshotInput};
    use crate::schedule::{self, Pass, PlanInput, PlannerMemory, Strategy};

    /// The shipped policy and the lab's clients at 70 %, without sockets and time.
    struct Rehearsal {
        inputs: Inputs,
        shares: Arc<Shares>,
        askers: Askers,
        /// What nodes report.
        loads: Vec<f64>,
        previous: Option<Assignment>,
        memory: PlannerMemory,
        table: Option<Snapshot>,
    }

    impl Rehearsal {
        fn new() -> Self {
            let state = tempfile::tempdir().expect("a temporary folder");
            let level = Ppm::from_percent(70);
            let setup = Setup {
                policies: "policies".into(),
                state: Some(state.path().to_path_buf()),
                listen: Vec::new(),
                admin: None,
                strategy: Strategy::Rhumb,
                level,
                options: LabOptions::default(),
            };
            let inputs = scene::read(&setup).expect("the shipped policies are sound");
            let names = scene::hostnames(&inputs.policy);
            let gathering = scene::gather(&inputs, &names, 1);
            let kept = scene::counted(&inputs, &names, &gathering, level);
            let groups = inputs.geo.shared_groups();
            let subjects: Vec<Subject> = inputs.policy.services.iter().map(Subject::of).collect();
            let book = DemandBook::new(subjects, &groups, &schedule::weights(&groups), 0);
            let services: Vec<_> = names.iter().map(|name| scene::service_of(&inputs.policy, name)).collect();
            let fleet = Arc::new(inputs.policy.fleet.clone());
            Self {
                shares: Arc::clone(book.restored(&kept, kept.at).shares()),
                loads: vec![0.03; fleet.nodes.len()],
                askers: Askers::of(fleet, &inputs.geo, &gathering, &services, level),
                previous: None,
                memory: PlannerMemory::default(),
                table: None,
                inputs,
            }
        }

        fn health(&self, lost: Option<&str>) -> Vec<NodeHealth> {
            let node = |(node, &load): (&crate::model::fleet::Node, &f64)| {
                let is_lost = lost.is_some_and(|site| node.name.starts_with(site));
                let (verdict, load) = if is_lost { (Verdict::Down, 0.0) } else { (Verdict::Up, load) };
                let family = FamilyHealth { verdict, ..FamilyHealth::default() };
                let utilisation = Ppm::from_fraction(load);
                let amount = node.capacity.as_ref().map(|capacity| utilisation.of(capacity.amount));
                NodeHealth {
                    families: [Some(family.clone()), (!node.v6.is_empty()).then_some(family)],
                    load: Some(NodeLoad { amount, utilisation, ..NodeLoad::default() }),
                    forced: None,
                }
            };
            self.inputs.policy.fleet.nodes.iter().zip(&self.loads).map(node).collect()
        }

        /// Plans and compiles, and has clients follow at once.
        fn step(&mut self, second: u64, pass: Pass, lost: Option<&str>) -> Sent {
            let (inputs, health) = (&self.inputs, self.health(lost));
            let plan = schedule::plan(&PlanInput {
                policy: &inputs.policy,
                groups: inputs.geo.groups(),
                latencies: &inputs.prior,
                health: &health,
                previous: self.previous.as_ref(),
                memory: &self.memory,
                demand: Some(&self.shares),
                now_ms: second * 1_000,
                pass,
            });
            let made = routing::compile(SnapshotInput {
                provenance: Provenance {
                    generation: Generation(second),
                    parent: Generation(0),
                    published_at: WallTime(0),
                    cause: Cause::ColdStart,
                    policy: Revision::default(),
                    geo: Revision::default(),
                },
                policy: Arc::clone(&inputs.policy),
                zones: Arc::clone(&inputs.zones),
                geo: Arc::clone(&inputs.geo),
                assignment: Arc::new(plan.assignment.clone()),
                health: Arc::new(health),
                previous: self.table.as_ref(),
            });
            let made = made.expect("compiles");
            let sent = self.askers.sent_by(&made);
            self.loads.clone_from(&sent.sent);
            (self.memory, self.previous, self.table) = (plan.memory, Some(plan.assignment), Some(made));
            sent
        }
    }

    /// How far nodes are sent more or less than planned: the most, and root mean square.
    fn off(sent: &Sent) -> (f64, f64) {
        let carrying = sent.sent.iter().zip(&sent.planned).filter(|(_, planned)| **planned > 0.1);
        let off: Vec<f64> = carrying.map(|(sent, planned)| sent / planned - 1.0).collect();
        let most = off.iter().fold(0.0, |most: f64, off| most.max(off.abs()));
        (most, (off.iter().map(|off| off * off).sum::<f64>() / off.len() as f64).sqrt())
    }

    #[test]
    fn nodes_are_sent_what_was_planned_within_a_few_per_cent() {
        let mut rehearsal = Rehearsal::new();
        let idle = rehearsal.step(1, Pass::Full, None);
        for second in 2..6 {
            rehearsal.step(second, Pass::Full, None);
        }
        let before = rehearsal.step(6, Pass::Full, None);
        let lost = rehearsal.step(7, Pass::Evacuation, Some("fra"));
        for second in 8..20 {
            rehearsal.step(second, Pass::Full, Some("fra"));
        }
        let after = rehearsal.step(20, Pass::Full, Some("fra"));
        for (what, sent) in [("idle", idle), ("before", before), ("lost", lost), ("after", after)] {
            let (most, mean) = off(&sent);
            assert!(most < 0.05 && mean < 0.02, "{what}: off by {most:.3}, {mean:.3} rms: {sent:?}");
        }
    }
}
