//! Writes the last good state on a thread of its own, so that a slow disk delays no table.
//!
//! One request of each kind waits; a newer one takes its place, so a disk that hangs costs the room
//! of one table and not of all since. Serials of transferred zones are written before their table is live,
//! beside the table before it; that is waited for, but not longer than a table may be late. A failed write becomes a problem that the status shows, and is
//! tried again every few seconds.

use crate::base::error::chain;
use crate::daemon::background;
use crate::daemon::inputs::Inputs;
use crate::journal::Made;
use crate::journal::record::pack;
use crate::model::alert::KeptAlerts;
use crate::model::demand::KeptDemand;
use crate::model::latency::KeptLatencies;
use crate::model::overrides::KeptOverrides;
use crate::store::saved_table::{SavedSerial, SavedTable};
use crate::store::state_dir::{JOURNAL, StateDir, StateError};
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest a table with new serials waits for them to be written. Past that they go out unwritten, and the
/// status tells of the disk.
const SERIALS_WAIT: Duration = Duration::from_millis(500);
/// Decisions that wait to be written at most; beyond that the journal has gaps.
const DECISIONS: usize = 32;
/// Who waits for overrides to be written at most; beyond that nobody is told.
const WAITING: usize = 64;
/// Longest a stop waits for a disk.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What is to be written; the newest wins.
#[derive(Default)]
struct Desk {
    inputs: ArcSwapOption<Inputs>,
    table: ArcSwapOption<Wanted>,
    latencies: ArcSwapOption<KeptLatencies>,
    demand: ArcSwapOption<KeptDemand>,
    alerts: ArcSwapOption<KeptAlerts>,
    overrides: ArcSwapOption<KeptOverrides>,
    /// The last that was handed in.
    last: ArcSwapOption<SavedTable>,
    is_stopping: AtomicBool,
}

/// Told whether what it waited for is written.
type Waiting = Box<dyn FnOnce(bool) + Send>;

/// A table to be written, and who waits for it.
struct Wanted {
    table: Arc<SavedTable>,
    done: Option<SyncSender<()>>,
}

impl Desk {
    fn put(&self, bell: &SyncSender<()>, table: SavedTable, done: Option<SyncSender<()>>) {
        let table = Arc::new(table);
        self.last.store(Some(Arc::clone(&table)));
        self.table.store(Some(Arc::new(Wanted { table, done })));
        let _ = bell.try_send(());
    }

    /// Whether it was written in time.
    fn put_and_wait(&self, bell: &SyncSender<()>, table: SavedTable) -> bool {
        let (done, written) = sync_channel(1);
        self.put(bell, table, Some(done));
        written.recv_timeout(SERIALS_WAIT).is_ok()
    }
}

/// Writes serials before they are shown.
pub struct SerialBook {
    desk: Arc<Desk>,
    bell: SyncSender<()>,
}

impl SerialBook {
    /// Beside the last table that was kept; without one there is nothing to lose yet.
    pub fn keep(&self, serials: BTreeMap<String, SavedSerial>) {
        let Some(last) = self.desk.last.load_full() else { return };
        let table = SavedTable { serials, ..SavedTable::clone(&last) };
        if !self.desk.put_and_wait(&self.bell, table) {
            tracing::warn!(
                "new zone serials go out before they are written: a crash now may bring older ones back"
            );
        }
    }
}

/// Where what receivers of alerts were told is put to be written.
pub struct AlertShelf {
    desk: Arc<Desk>,
    bell: SyncSender<()>,
}

impl AlertShelf {
    pub fn keep(&self, kept: KeptAlerts) {
        self.desk.alerts.store(Some(Arc::new(kept)));
        let _ = self.bell.try_send(());
    }
}

/// Where things are kept.
pub trait Store: Send + 'static {
    fn keep_inputs(&mut self, inputs: &Inputs) -> Result<(), StateError>;
    fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError>;
    fn keep_latencies(&mut self, kept: &KeptLatencies) -> Result<(), StateError>;
    fn keep_alerts(&mut self, kept: &KeptAlerts) -> Result<(), StateError>;
    fn keep_demand(&mut self, kept: &KeptDemand) -> Result<(), StateError>;
    fn keep_overrides(&mut self, kept: &KeptOverrides) -> Result<(), StateError>;

    fn keep_decision(&mut self, made: &Made) -> Result<(), StateError>;

    /// After these inputs were kept: their compiled geo table, if that is kept too. Does not wait.
    fn keep_geo(&mut self, _: &Inputs) {}

    /// Whether nothing is written before another process has stopped writing.
    fn waits_for_another(&self) -> bool {
        false
    }
}

impl Store for StateDir {
    fn keep_inputs(&mut self, inputs: &Inputs) -> Result<(), StateError> {
        StateDir::keep_inputs(self, &inputs.to_keep())
    }

    fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError> {
        StateDir::keep_table(self, table)
    }

    fn keep_latencies(&mut self, kept: &KeptLatencies) -> Result<(), StateError> {
        StateDir::keep_latencies(self, kept)
    }

    fn keep_demand(&mut self, kept: &KeptDemand) -> Result<(), StateError> {
        StateDir::keep_demand(self, kept)
    }

    fn keep_decision(&mut self, made: &Made) -> Result<(), StateError> {
        let path = self.path().join(JOURNAL);
        let record = pack(made).map_err(|source| StateError::Io { path, source })?;
        self.keep_record(&record)
    }

    fn keep_alerts(&mut self, kept: &KeptAlerts) -> Result<(), StateError> {
        StateDir::keep_alerts(self, kept)
    }

    fn keep_overrides(&mut self, kept: &KeptOverrides) -> Result<(), StateError> {
        StateDir::keep_overrides(self, kept)
    }
}

/// The handle the writer holds.
pub struct Keeper {
    desk: Arc<Desk>,
    /// Room for one: a bell that rings already need not be rung.
    bell: SyncSender<()>,
    decisions: SyncSender<Made>,
    /// Who waits for overrides to be written.
    waiting: SyncSender<Waiting>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    waits_for_another: bool,
}

impl Keeper {
    /// `report` is told the outcome of each write: `None` when it succeeded.
    pub fn start(
        store: impl Store,
        report: impl FnMut(Option<String>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (bell, rings) = sync_channel(1);
        let (alive, ended) = sync_channel(1);
        let (decisions, made) = sync_channel(DECISIONS);
        let (waiting, waits) = sync_channel(WAITING);
        let desk = Arc::new(Desk::default());
        let waits_for_another = store.waits_for_another();
        let worker = Worker {
            store,
            desk: Arc::clone(&desk),
            made,
            inputs: None,
            table: None,
            latencies: None,
            demand: None,
            alerts: None,
            overrides: None,
            waits,
        };
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let _alive = alive;
            background::let_answers_go_first();
            worker.run(&rings, report);
        })?;
        Ok(Self { desk, bell, decisions, waiting, ended, waits_for_another })
    }

    pub fn keep_inputs(&self, inputs: Inputs) {
        self.desk.inputs.store(Some(Arc::new(inputs)));
        let _ = self.bell.try_send(());
    }

    pub fn keep_table(&self, table: SavedTable) {
        self.desk.put(&self.bell, table, None);
    }

    /// Waits until it is written, as [`SerialBook::keep`] does; but not for a predecessor, who answers
    /// and writes its own meanwhile.
    pub fn keep_table_first(&self, table: SavedTable) {
        if self.waits_for_another {
            return self.keep_table(table);
        }
        self.desk.put_and_wait(&self.bell, table);
    }

    pub fn keep_latencies(&self, kept: KeptLatencies) {
        self.desk.latencies.store(Some(Arc::new(kept)));
        let _ = self.bell.try_send(());
    }

    pub fn keep_demand(&self, kept: KeptDemand) {
        self.desk.demand.store(Some(Arc::new(kept)));
        let _ = self.bell.try_send(());
    }

    /// `then` is told whether they are written, on the keeper's thread; what is not is tried again.
    pub fn keep_overrides(&self, kept: KeptOverrides, then: impl FnOnce(bool) + Send + 'static) {
        self.desk.overrides.store(Some(Arc::new(kept)));
        if let Err(TrySendError::Full(then) | TrySendError::Disconnected(then)) =
            self.waiting.try_send(Box::new(then))
        {
            then(false);
        }
        let _ = self.bell.try_send(());
    }

    /// Adds it to the journal; not while a disk that hangs has many to write already.
    pub fn keep_decision(&self, made: Made) {
        let generation = made.provenance.generation;
        if self.decisions.try_send(made).is_err() {
            tracing::warn!(%generation, "the disk is too slow: the journal lacks this generation");
        }
        let _ = self.bell.try_send(());
    }

    pub fn alert_book(&self) -> AlertShelf {
        AlertShelf { desk: Arc::clone(&self.desk), bell: self.bell.clone() }
    }

    pub fn serial_book(&self) -> SerialBook {
        SerialBook { desk: Arc::clone(&self.desk), bell: self.bell.clone() }
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
    made: Receiver<Made>,
    inputs: Option<Arc<Inputs>>,
    table: Option<Arc<Wanted>>,
    latencies: Option<Arc<KeptLatencies>>,
    demand: Option<Arc<KeptDemand>>,
    alerts: Option<Arc<KeptAlerts>>,
    overrides: Option<Arc<KeptOverrides>>,
    waits: Receiver<Waiting>,
}

impl<S: Store> Worker<S> {
    fn run(mut self, rings: &Receiver<()>, mut report: impl FnMut(Option<String>)) {
        loop {
            let rung = match self.is_waiting() {
                true => rings.recv_timeout(RETRY),
                false => rings.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            // Before the last look at the desk: what was put there before the stop is written.
            let is_last = self.desk.is_stopping.load(Ordering::Acquire)
                || matches!(rung, Err(RecvTimeoutError::Disconnected));
            // Before the desk is looked at: what they wait for is there, or written.
            let waits: Vec<Waiting> = self.waits.try_iter().collect();
            self.overrides = self.desk.overrides.swap(None).or(self.overrides.take());
            self.inputs = self.desk.inputs.swap(None).or(self.inputs.take());
            self.table = self.desk.table.swap(None).or(self.table.take());
            self.latencies = self.desk.latencies.swap(None).or(self.latencies.take());
            self.demand = self.desk.demand.swap(None).or(self.demand.take());
            self.alerts = self.desk.alerts.swap(None).or(self.alerts.take());
            let written = match self.is_waiting() {
                true => Some(self.write()),
                false => None,
            };
            waits.into_iter().for_each(|then| then(self.overrides.is_none()));
            // A decision that cannot be written is not tried again: it is of use later, not for a restart.
            let kept = self.made.try_iter().map(|made| self.store.keep_decision(&made)).reduce(Result::and);
            if let Some(outcome) = written.into_iter().chain(kept).reduce(Result::and) {
                report(outcome.err().map(|error| chain(&error)));
            }
            if is_last {
                return;
            }
        }
    }

    fn is_waiting(&self) -> bool {
        let numbers = self.latencies.is_some() || self.demand.is_some();
        numbers
            || self.overrides.is_some()
            || self.inputs.is_some()
            || self.table.is_some()
            || self.alerts.is_some()
    }

    /// Writes what waits; what could not be written goes on waiting.
    fn write(&mut self) -> Result<(), StateError> {
        if let Some(newest) = self.overrides.as_ref() {
            self.store.keep_overrides(newest)?;
            self.overrides = None;
        }
        if let Some(newest) = self.inputs.as_ref() {
            self.store.keep_inputs(newest)?;
            self.store.keep_geo(newest);
            self.inputs = None;
        }
        if let Some(newest) = self.table.as_ref() {
            self.store.keep_table(&newest.table)?;
            if let Some(done) = &newest.done {
                let _ = done.try_send(());
            }
            self.table = None;
        }
        if let Some(newest) = self.latencies.as_ref() {
            self.store.keep_latencies(newest)?;
            self.latencies = None;
        }
        if let Some(newest) = self.demand.as_ref() {
            self.store.keep_demand(newest)?;
            self.demand = None;
        }
        if let Some(newest) = self.alerts.as_ref() {
            self.store.keep_alerts(newest)?;
            self.alerts = None;
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

        fn keep_latencies(&mut self, _: &KeptLatencies) -> Result<(), StateError> {
            Ok(())
        }

        fn keep_demand(&mut self, _: &KeptDemand) -> Result<(), StateError> {
            Ok(())
        }

        fn keep_decision(&mut self, _: &Made) -> Result<(), StateError> {
            Ok(())
        }

        fn keep_alerts(&mut self, _: &KeptAlerts) -> Result<(), StateError> {
            Ok(())
        }

        /// Those with an odd number cannot be written.
        fn keep_overrides(&mut self, kept: &KeptOverrides) -> Result<(), StateError> {
            match kept.next % 2 {
                0 => Ok(()),
                _ => Err(StateError::Locked("state".into())),
            }
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
        assert_eq!(keeper.desk.table.load_full().map(|waits| waits.table.generation().0), Some(1_000));
        (0..2).for_each(|_| permit.send(()).expect("the disk waits"));
        assert_eq!(writes.recv(), Ok(1_000));
        keeper.stop();
        assert_eq!(writes.try_iter().count(), 0);
    }

    #[test]
    fn whoever_sets_an_override_is_told_whether_it_is_written() {
        let ((_permit, permits), (began, _writes)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let keeper = Keeper::start(SlowDisk { permits, began }, |_| {}).expect("a thread");
        for next in [2, 3, 4] {
            let (told, hears) = std::sync::mpsc::channel();
            let kept = KeptOverrides { next, overrides: Vec::new() };
            keeper.keep_overrides(kept, move |is_written| told.send(is_written).expect("the test listens"));
            assert_eq!(hears.recv(), Ok(next != 3), "{next}");
        }
        keeper.stop();
    }

    #[test]
    fn serials_are_written_beside_the_last_table_before_their_keeping_ends() {
        let ((permit, permits), (began, writes)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let keeper = Keeper::start(SlowDisk { permits, began }, |_| {}).expect("a thread");
        let book = keeper.serial_book();
        book.keep(BTreeMap::new());
        assert_eq!(writes.try_iter().count(), 0, "there is no table yet");
        (0..2).for_each(|_| permit.send(()).expect("the disk waits"));
        keeper.keep_table(table(1));
        assert_eq!(writes.recv(), Ok(1));
        let serial = SavedSerial { serial: 8, content: String::new(), soa: String::new() };
        book.keep([("example.test".to_owned(), serial)].into());
        assert_eq!(writes.try_recv(), Ok(1), "the same table, and it is written already");
        let last = keeper.desk.last.load_full().expect("a table");
        assert_eq!(last.serials["example.test"].serial, 8);
        // A disk that hangs holds it up for a moment only.
        book.keep(BTreeMap::new());
        permit.send(()).expect("the disk waits");
        keeper.stop();
    }
}
