//! Says that something in a folder changed, once per burst.
//!
//! Editors write a file in several steps and version control rewrites many; the debouncer waits
//! until the folder has been quiet. The folder is watched rather than its files, because most
//! editors replace a file by rename. What changed is not reported: the reader reads everything.

use notify::{EventKind, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Quiet time before a burst of changes counts as over.
const QUIET: Duration = Duration::from_millis(200);

/// Watches until dropped.
pub struct FolderWatch {
    _debouncer: Debouncer<notify::RecommendedWatcher, RecommendedCache>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path} for changes: {source}; edits need SIGHUP to take effect")]
pub struct WatchError {
    path: PathBuf,
    source: notify::Error,
}

impl FolderWatch {
    /// Calls `changed` (from a thread of its own) after each burst of changes below `folder`.
    pub fn start(folder: &Path, changed: impl Fn() + Send + 'static) -> Result<Self, WatchError> {
        let failed = |source| WatchError { path: folder.to_owned(), source };
        let on_events = move |result: DebounceEventResult| match result {
            Ok(events) if events.iter().all(|event| matches!(event.kind, EventKind::Access(_))) => {}
            // An error means events may have been lost: reading again is the remedy.
            Ok(_) | Err(_) => changed(),
        };
        let mut debouncer = new_debouncer(QUIET, None, on_events).map_err(failed)?;
        debouncer.watch(folder, RecursiveMode::Recursive).map_err(failed)?;
        Ok(Self { _debouncer: debouncer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn an_edit_by_rename_is_noticed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (send, changes) = mpsc::channel();
        let _watch = FolderWatch::start(folder.path(), move || {
            let _ = send.send(());
        })
        .expect("watches");
        let temporary = folder.path().join(".fleet.yaml.swp");
        std::fs::write(&temporary, "version: 1\n").expect("writes");
        std::fs::rename(&temporary, folder.path().join("fleet.yaml")).expect("renames");
        changes.recv_timeout(Duration::from_secs(10)).expect("the change is told");
    }
}
