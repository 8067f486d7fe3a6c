//! Canaries, as the daemon runs them: at most one at a time, kept before it is in force.
//!
//! ```text
//!  apply --canary ─▶ prepare ─▶ state/canary ─▶ files into the folder, control held ─▶ watch ─┬▶ Order::Canary
//!  start ─▶ state/canary: goes on where it was, or back ────────────────────────────────────▲ └▶ status
//! ```
//! | file | holds |
//! |---|---|
//! | `prepare` | whether an edit can be had by a share alone, who is in it, and how all are at the beginning |
//! | `watching` | looks, and what they decide |
//!
//! The task that reads the folder (`reload`) begins and ends them, so that no reading sees half of one.

mod prepare;
mod watching;

pub use prepare::prepare;
pub use watching::{Look, watch, write_down};

use crate::base::clock::WallTime;
use crate::base::diagnostic::SourceFile;
use crate::base::error::chain;
use crate::canary::sample::Pair;
use crate::canary::{Canary, Stage};
use crate::model::canary::Hold;
use crate::model::ids::Revision;
use crate::store::sealed;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch as channel;

/// In the state folder.
const FILE: &str = "canary";
/// Who ends a canary that nobody ends.
pub const BY_ITSELF: &str = "rhumb";
/// Of records in the history.
pub const KIND: &str = "canary";
/// After a start its time is not up before so much has passed, or a tenth of it: until then nothing was probed.
const AFTER_START_MS: u64 = 60_000;

/// A canary with what it takes to go on with it, or back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub canary: Canary,
    /// In force before it: path below the policy folder, and text. Nothing once it has ended.
    pub files: Vec<(String, String)>,
    /// How clients were at its beginning. Nothing once it has ended.
    pub pairs: Arc<Vec<Pair>>,
}

/// The canary that runs or ran last, for whoever looks at it and whoever watches over it.
#[derive(Clone)]
pub struct Shown {
    pub canary: Arc<channel::Sender<Option<Arc<Canary>>>>,
    pub pairs: Arc<channel::Sender<Arc<Vec<Pair>>>>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            canary: Arc::new(channel::channel(None).0),
            pairs: Arc::new(channel::channel(Arc::default()).0),
        }
    }
}

impl Shown {
    pub fn show(&self, kept: &Kept) {
        self.pairs.send_replace(Arc::clone(&kept.pairs));
        self.canary.send_replace(Some(Arc::new(kept.canary.clone())));
    }
}

impl Kept {
    pub fn sources(&self) -> Vec<SourceFile> {
        self.files.iter().map(|(path, text)| SourceFile { path: path.clone(), text: text.clone() }).collect()
    }

    /// Has an end, and nothing that only one without needs.
    pub fn ended(mut self, stage: Stage) -> Self {
        (self.canary.stage, self.files, self.pairs) = (stage, Vec::new(), Arc::default());
        self
    }

    /// As it begins now: its whole time is before it.
    pub fn begun_at(mut self, now: WallTime) -> Self {
        let by = now.0.saturating_sub(self.canary.began.0);
        self.canary.began.0 += by;
        self.canary.until.0 += by;
        self
    }

    /// As it goes on after a start.
    pub fn resumed(mut self, now: WallTime) -> Self {
        let lasts = self.canary.until.0.saturating_sub(self.canary.began.0);
        let least = now.0 + AFTER_START_MS.min(lasts / 10);
        self.canary.until = WallTime(self.canary.until.0.max(least));
        self
    }
}

/// Why one ends whose control group could not be held after a start.
pub const NOT_HELD: &str = "after a restart it was not known who was where";

/// Writes it; it is on the disk when this returns.
///
/// # Errors
/// The disk does not take it.
pub fn keep(state: &Path, kept: &Kept) -> io::Result<()> {
    sealed::write(&path(state), &serde_json::to_vec(kept).map_err(io::Error::other)?)
}

/// The newest that is whole.
///
/// # Errors
/// A sentence.
pub fn recall(state: &Path) -> Result<Option<Kept>, String> {
    let parse = |payload: &[u8]| serde_json::from_slice::<Kept>(payload).map_err(|error| chain(&error));
    Ok(sealed::read_newest(&path(state), parse)?.map(|found| found.value))
}

/// Whether an edit to `newer` has to wait at a start for the end of the canary that `in_force` is. What came before
/// the canary does not: an abort was cut short.
pub fn waits(state: &Path, in_force: &Revision, newer: &Revision) -> bool {
    let open = recall(state).ok().flatten().map(|kept| kept.canary).filter(|canary| canary.stage.is_open());
    open.is_some_and(|canary| canary.revision == *in_force && canary.base != *newer)
}

/// Whom a start of this policy has to hold where they are.
pub fn hold_of(state: &Path, revision: &Revision) -> Option<Hold> {
    let kept = recall(state).inspect_err(|error| tracing::error!("{error}")).ok()??;
    let is_of = kept.canary.stage.is_open() && kept.canary.revision == *revision;
    is_of.then_some(kept.canary.hold)
}

fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}
