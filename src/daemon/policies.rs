//! Policies put into force on somebody's order, and the history of all that were.
//!
//! ```text
//!  order ─▶ base? edits in the folder? ─▶ check ─▶ files into the folder ─▶ read, plan, judge ─▶ in force ─▶ history
//!                                                        ▲                        └ refused: the files before it, back
//! ```
//!
//! The task that reads the folder carries orders out, so that no reading sees half of one.

use crate::base::clock::SharedClock;
use crate::base::diagnostic::SourceFile;
use crate::base::units::Ppm;
use crate::control::policies::{Apply, Order, Refused};
use crate::daemon::inputs::{self, Inputs};
use crate::history::{FileChange, How, NewApplied, Shelf};
use crate::model::ids::Generation;
use crate::store::policy_dir;
use crate::store::policy_write;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Orders that may wait for their turn.
const WAITING: usize = 4;
/// In the state folder: edits that were not in force when something else was applied.
const ASIDE: &str = "set-aside";

/// Orders and history, for the task that reads the folder.
pub struct Desk {
    pub orders: mpsc::Receiver<Order>,
    state: PathBuf,
    history: Arc<Shelf>,
    clock: SharedClock,
}

/// What is kept of an edit besides its files.
pub struct Entry<'a> {
    pub how: How,
    pub who: &'a str,
    pub why: &'a str,
    pub generation: Generation,
    /// Of all clients.
    pub moved: Option<Ppm>,
}

impl Desk {
    /// With the way orders come by; the sentence says what is wrong with the history.
    pub fn new(state: &Path, clock: &SharedClock) -> (Self, mpsc::Sender<Order>, Option<String>) {
        let (sender, orders) = mpsc::channel(WAITING);
        let (shelf, told) = Shelf::new(state);
        let (history, clock) = (Arc::new(shelf), Arc::clone(clock));
        let desk = Self { orders, state: state.to_owned(), history, clock };
        (desk, sender, told)
    }

    pub fn history(&self) -> Arc<Shelf> {
        Arc::clone(&self.history)
    }

    /// Keeps that `inputs` are in force.
    pub async fn record(&self, inputs: &Inputs, entry: Entry<'_>) {
        let shelf = Arc::clone(&self.history);
        let Entry { how, who, why, generation, moved } = entry;
        let applied = NewApplied {
            at: self.clock.wall(),
            revision: inputs.policy.revision.clone(),
            how,
            who: who.to_owned(),
            why: why.to_owned(),
            generation,
            moved_ppm: moved.map(|share| share.0),
        };
        let files = Arc::clone(&inputs.sources);
        let recording = tokio::task::spawn_blocking(move || shelf.history()?.record(&applied, &files));
        if let Ok(Err(error)) = recording.await {
            tracing::error!("a revision is missing from the history: {error}");
        }
    }

    pub fn state(&self) -> &Path {
        &self.state
    }
}

/// Files that are in the folder now, in place of others.
pub struct Placed {
    pub before: Vec<SourceFile>,
    pub set_aside: Option<PathBuf>,
    pub warnings: usize,
}

/// Checks the files of an order and writes them to `folder`, if `in_force` is what it holds, or as it says.
///
/// # Errors
/// Nothing was written, or all of it was taken back.
pub fn place(folder: &Path, state: &Path, in_force: &Inputs, order: &Apply) -> Result<Placed, Refused> {
    let Apply { files, terms, .. } = order;
    let now = &in_force.policy.revision;
    if let Some(base) = terms.base.as_ref().filter(|base| *base != now) {
        return Err(Refused::Moved { base: base.clone(), now: now.clone() });
    }
    let warnings = check(files)?;
    let before = policy_dir::read_folder(folder);
    let edits = match &before {
        // What is there is what is applied: nothing is lost.
        Ok(present) if edits(files, present).is_empty() => Vec::new(),
        Ok(present) => edits(&in_force.sources, present),
        Err(error) => vec![error.to_string()],
    };
    if !edits.is_empty() && !terms.overwrite {
        return Err(Refused::Edited { what: edits.join(", ") });
    }
    let before = before.map_err(|error| Refused::Disk(error.to_string()))?;
    let set_aside = match edits.is_empty() {
        true => None,
        false => Some(set_aside(state, &before).map_err(|error| Refused::Disk(error.to_string()))?),
    };
    if let Err(error) = policy_write::replace(folder, state, files) {
        let refused = match &error {
            policy_write::WriteError::Path { .. } | policy_write::WriteError::TooMany => {
                return Err(Refused::Files(error.to_string()));
            }
            other => Refused::Disk(crate::base::error::chain(other)),
        };
        take_back(folder, state, &before);
        return Err(refused);
    }
    Ok(Placed { before, set_aside, warnings })
}

/// Writes the files that were there before.
pub fn take_back(folder: &Path, state: &Path, before: &[SourceFile]) {
    if let Err(error) = policy_write::replace(folder, state, before) {
        tracing::error!("the policy folder could not be put back as it was: {error}");
    }
}

/// How many warnings there are.
fn check(files: &[SourceFile]) -> Result<usize, Refused> {
    let (_, _, diagnostics) = inputs::diagnose(files);
    let errors: Vec<_> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    match errors.first() {
        None => Ok(diagnostics.len()),
        Some(first) => {
            let first = format!("{}: {}", first.place(), first.message);
            Err(Refused::Mistakes { count: errors.len(), first })
        }
    }
}

/// Paths that differ.
fn edits(in_force: &[SourceFile], present: &[SourceFile]) -> Vec<String> {
    changes(in_force, present)
        .into_iter()
        .map(|change| match change {
            FileChange::Added(path) | FileChange::Edited(path) | FileChange::Removed(path) => path,
        })
        .collect()
}

/// What differs between two sets of files.
pub fn changes(before: &[SourceFile], now: &[SourceFile]) -> Vec<FileChange> {
    let texts = |files: &[SourceFile]| -> BTreeMap<String, String> {
        files.iter().map(|file| (file.path.clone(), file.text.clone())).collect()
    };
    crate::history::changes(&texts(before), &texts(now))
}

fn set_aside(state: &Path, files: &[SourceFile]) -> std::io::Result<PathBuf> {
    let parent = state.join(ASIDE);
    let mut number = 1;
    let folder = loop {
        let folder = parent.join(number.to_string());
        std::fs::create_dir_all(&parent)?;
        match std::fs::create_dir(&folder) {
            Ok(()) => break folder,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    for file in files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, &file.text)?;
    }
    Ok(folder)
}
