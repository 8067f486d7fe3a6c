//! Writes the last good state on a thread of its own, so that a slow disk delays no table.
//!
//! One request of each kind waits; a newer one takes its place, so a disk that hangs costs the room
//! of one table and not of all since. A failed write becomes a problem that the status shows, and is
//! tried again every few seconds.

use crate::base::error::chain;
use crate::daemon::inputs::Inputs;
use crate::store::saved_table::SavedTable;
use crate::store::state_dir::{StateDir, StateError};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest a stop waits for a disk.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What is to be written; the newest wins.
#[derive(Default)]
struct Desk {
    inputs: ArcSwapOption<Inputs>,
    table: ArcSwapOption<SavedTable>,
    is_stopping: AtomicBool,
}

/// Where things are kept.
pub trait Store: Send + 'static {
    fn keep_inputs(&mut self, inputs: &Inputs) -> Result<(), StateError>;
    fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError>;
}

impl Store for StateDir {
    fn keep_inputs(&mut self, inputs: &Inputs) -> Result<(), StateError> {
        StateDir::keep_inputs(self, &inputs.to_keep())
    }

    fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError> {
        StateDir::keep_table(self, table)
    }
}

/// The handle the writer holds.
pub struct Keeper {
    desk: Arc<Desk>,
    /// Room for one: a bell that rings already need not be rung.
    bell: SyncSender<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Keeper {
    /// `report` is told the outcome of each write: `None` when it succeeded.
    pub fn start(
        store: impl Store,
        report: impl FnMut(Option<String>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (bell, rings) = sync_channel(1);
        let (alive, ended) = sync_channel(1);
        let desk = Arc::new(Desk::default());
        let worker = Worker { store, desk: Arc::clone(&desk), inputs: None, table: None };
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let _alive = alive;
            worker.run(&rings, report);
        })?;
        Ok(Self { desk, bell, ended })
    }

    pub fn keep_inputs(&self, inputs: Inputs) {
        self.desk.inputs.store(Some(Arc::new(inputs)));
        let _ = self.bell.try_send(());
    }

    pub fn keep_table(&self, table: SavedTable) {
        self.desk.table.store(Some(Arc::new(table)));
        let _ = self.bell.try_send(());
    }

    /// Writes what waits, then ends; a disk that hangs is left behind after a while.
    pub fn stop(self) {
        self.desk.is_stopping.store(true, Ordering::Release);
        let _ = self.bell.try_send(());
        if matches!(self.ended.recv_timeout(LAST_WRITE), Err(RecvTimeoutError::Timeout)) {
            tracing::error!("the last good state could not be written within {LAST_WRITE:?}");
        }
    }
}

struct Worker<S> {
    store: S,
    desk: Arc<Desk>,
    inputs: Option<Arc<Inputs>>,
    table: Option<Arc<SavedTable>>,
}

impl<S: Store> Worker<S> {
    fn run(mut self, rings: &Receiver<()>, mut report: impl FnMut(Option<String>)) {
        loop {
            let is_waiting = self.inputs.is_some() || self.table.is_some();
            let rung = match is_waiting {
                true => rings.recv_timeout(RETRY),
                false => rings.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            // Before the last look at the desk: what was put there before the stop is written.
            let is_last = self.desk.is_stopping.load(Ordering::Acquire)
                || matches!(rung, Err(RecvTimeoutError::Disconnected));
            self.inputs = self.desk.inputs.swap(None).or(self.inputs.take());
            self.table = self.desk.table.swap(None).or(self.table.take());
            if self.inputs.is_some() || self.table.is_some() {
                report(self.write().err().map(|error| chain(&error)));
            }
            if is_last {
                return;
            }
        }
    }

    /// Writes what waits; what could not be written goes on waiting.
    fn write(&mut self) -> Result<(), StateError> {
        if let Some(newest) = self.inputs.as_ref() {
            self.store.keep_inputs(newest)?;
            self.inputs = None;
        }
        if let Some(newest) = self.table.as_ref() {
            self.store.keep_table(newest)?;
            self.table = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::WallTime;
    use crate::model::ids::{Generation, Revision};
    use crate::model::provenance::{Cause, Provenance};
    use crate::store::saved_table::FORMAT;
    use std::sync::mpsc::Sender;

    /// A disk that writes one table for each permit.
    struct SlowDisk {
        permits: Receiver<()>,
        began: Sender<u64>,
    }

    impl Store for SlowDisk {
        fn keep_inputs(&mut self, _: &Inputs) -> Result<(), StateError> {
            Ok(())
        }

        fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError> {
            self.began.send(table.generation().0).expect("the test listens");
            self.permits.recv().expect("the test permits");
            Ok(())
        }
    }

    fn table(generation: u64) -> SavedTable {
        let revision = Revision("r".to_owned());
        let provenance = Provenance {
            generation: Generation(generation),
            parent: Generation(0),
            published_at: WallTime(0),
            cause: Cause::Rebalance,
            policy: revision.clone(),
            geo: revision,
        };
        let (group_keys, services) = (Vec::new(), Vec::new());
        SavedTable {
            format: FORMAT,
            provenance,
            health: Default::default(),
            group_keys,
            services,
            serials: Default::default(),
        }
    }

    #[test]
    fn behind_a_disk_that_hangs_only_the_newest_table_waits() {
        let ((permit, permits), (began, writes)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let keeper = Keeper::start(SlowDisk { permits, began }, |_| {}).expect("a thread");
        keeper.keep_table(table(1));
        assert_eq!(writes.recv(), Ok(1), "and there it hangs");
        (2..=1_000).for_each(|generation| keeper.keep_table(table(generation)));
        assert_eq!(keeper.desk.table.load_full().map(|waits| waits.generation().0), Some(1_000));
        (0..2).for_each(|_| permit.send(()).expect("the disk waits"));
        assert_eq!(writes.recv(), Ok(1_000));
        keeper.stop();
        assert_eq!(writes.try_iter().count(), 0);
    }
}
