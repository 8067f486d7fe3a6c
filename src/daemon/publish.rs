//! Compile, lint, swap, retire: the one road to the live pointer.
//!
//! A retired snapshot is kept until nobody else holds it, so that freeing its megabytes is the
//! writer's work and never a query worker's.

use crate::daemon::answering::Live;
use crate::routing::{self, Snapshot};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Holds the live pointer; there is one, and the writer owns it.
pub struct Publisher {
    live: Live,
    retired: Vec<Arc<Snapshot>>,
}

/// What became of a candidate.
pub enum Outcome {
    Published,
    /// It would have answered every query as the live table does.
    Unchanged,
    /// Lint found faults; the live table stays.
    Refused(Vec<String>),
}

impl Publisher {
    pub fn new(first: Snapshot) -> Self {
        Self { live: Arc::new(ArcSwap::from_pointee(first)), retired: Vec::new() }
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.live.load_full()
    }

    /// Publishes `candidate` if it differs from the live table and lint has nothing against it.
    pub fn offer(&mut self, candidate: Snapshot) -> Outcome {
        let live = self.live.load_full();
        if candidate.same_content(&live) {
            return Outcome::Unchanged;
        }
        let findings = routing::lint(&candidate, Some(&live));
        if !findings.is_empty() {
            return Outcome::Refused(findings);
        }
        self.retired.push(self.live.swap(Arc::new(candidate)));
        Outcome::Published
    }

    /// Frees retired snapshots that no worker holds any more. Returns how many are still held.
    pub fn free_retired(&mut self) -> usize {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.retired.len()
    }
}
