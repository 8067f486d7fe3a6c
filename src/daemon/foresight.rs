//! Signing for tables to come: those in which one node is gone.
//!
//! ```text
//!  writer, on a quiet tick ─▶ Outlook (everything by pointer) ─▶ a thread, for each node that serves:
//!     health with it down ─▶ plan (evacuation) ─▶ compile ─▶ Ahead::cover
//!  writer, on a later tick ◀─ SignedAhead ─────────────────────────────┘
//! ```
//!
//! The tables are never published and nothing of them is kept but signatures. One thread at a time, one
//! pass per live table; a table that changes meanwhile is looked at when the thread is done. The pass
//! has a bound on nodes: what is beyond it is signed when it is needed, as everything else would be.

use crate::base::clock::MonoTime;
use crate::daemon::inputs::Inputs;
use crate::model::demand::Shares;
use crate::model::ids::{Generation, NodeId};
use crate::model::verdict::{NodeHealth, Verdict};
use crate::routing::{self, Snapshot, SnapshotInput};
use crate::schedule::{self, Pass, PlanInput, PlannerMemory};
use crate::sign::{Ahead, SignedAhead};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Nodes whose loss one pass looks at.
const MAX_NODES: usize = 1_024;
/// From the beginning of a pass to that of the next: tables that follow each other fast are much alike.
const PAUSE: Duration = Duration::from_secs(10);

/// What a pass needs to know.
pub struct Outlook {
    pub inputs: Inputs,
    pub live: Arc<Snapshot>,
    pub health: Vec<NodeHealth>,
    pub memory: PlannerMemory,
    pub demand: Arc<Shares>,
    pub now_ms: u64,
    pub ahead: Ahead,
}

/// The thread, if it runs, and the table it or its predecessor looked at.
#[derive(Default)]
pub struct Foresight {
    running: Option<JoinHandle<SignedAhead>>,
    seen: Option<Generation>,
    not_before: MonoTime,
}

impl Foresight {
    /// Whether a pass over the live table should begin.
    pub fn is_wanted(&self, live: &Snapshot, now: MonoTime) -> bool {
        let is_new = self.seen != Some(live.provenance.generation);
        live.signed().is_some() && self.running.is_none() && is_new && self.not_before <= now
    }

    /// Begins a pass.
    pub fn begin(&mut self, outlook: Outlook) {
        self.seen = Some(outlook.live.provenance.generation);
        self.not_before = MonoTime::from_millis(outlook.now_ms) + PAUSE;
        let thread = std::thread::Builder::new().name("foresight".to_owned());
        match thread.spawn(move || outlook.look()) {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::warn!("no thread to sign ahead with: {error}"),
        }
    }

    /// What a finished pass signed.
    pub fn take(&mut self) -> Option<SignedAhead> {
        let thread = self.running.take_if(|thread| thread.is_finished())?;
        match thread.join() {
            Ok(done) => Some(done),
            Err(_) => {
                tracing::error!("signing ahead ended in a panic; signatures are made when needed");
                None
            }
        }
    }
}

impl Outlook {
    pub(super) fn look(mut self) -> SignedAhead {
        let serving: Vec<NodeId> =
            self.inputs.policy.fleet.node_ids().filter(|node| self.serves(*node)).collect();
        for node in serving.into_iter().take(MAX_NODES) {
            let Some(table) = self.table_without(node) else { continue };
            if let Err(error) = self.ahead.cover(&table) {
                tracing::warn!("cannot sign ahead: {error}");
                break;
            }
        }
        self.ahead.finish()
    }

    fn serves(&self, node: NodeId) -> bool {
        self.health.get(node.index()).is_some_and(NodeHealth::may_serve)
    }

    /// The table that would be published if a node went down now.
    fn table_without(&self, node: NodeId) -> Option<Snapshot> {
        let mut health = self.health.clone();
        for family in health.get_mut(node.index())?.families.iter_mut().flatten() {
            family.verdict = Verdict::Down;
        }
        let health = Arc::new(health);
        let plan = schedule::plan(&PlanInput {
            policy: &self.inputs.planned,
            groups: self.inputs.geo.groups(),
            latencies: &self.inputs.latencies,
            health: &self.inputs.strategy.health(&health),
            previous: Some(&self.live.assignment),
            memory: &self.memory,
            demand: Some(&self.demand),
            now_ms: self.now_ms,
            pass: Pass::Evacuation,
        });
        let table = routing::compile(SnapshotInput {
            provenance: self.live.provenance.clone(),
            policy: Arc::clone(&self.inputs.policy),
            zones: Arc::clone(&self.inputs.zones),
            geo: Arc::clone(&self.inputs.geo),
            assignment: Arc::new(plan.assignment),
            health,
            previous: Some(&self.live),
        });
        table.ok()
    }
}
