//! Writes the last good state on a thread of its own, so that a slow disk delays no table.
//!
//! The newest request of each kind waits; older ones that were not written yet are superseded. A
//! failed write becomes a problem that the status shows, and is tried again every few seconds.

use crate::daemon::inputs::Inputs;
use crate::store::saved_table::SavedTable;
use crate::store::state_dir::StateDir;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What is to be written.
enum Request {
    Inputs(Box<Inputs>),
    Table(Box<SavedTable>),
    Stop,
}

/// The handle the writer holds.
pub struct Keeper {
    requests: Sender<Request>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// `report` is told the outcome of each write: `None` when it succeeded.
    pub fn start(state: StateDir, report: impl Fn(Option<String>) + Send + 'static) -> std::io::Result<Self> {
        let (requests, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || run(&state, &queue, &report))?;
        Ok(Self { requests, thread: Some(thread) })
    }

    pub fn keep_inputs(&self, inputs: Inputs) {
        let _ = self.requests.send(Request::Inputs(Box::new(inputs)));
    }

    pub fn keep_table(&self, table: SavedTable) {
        let _ = self.requests.send(Request::Table(Box::new(table)));
    }

    /// Writes what waits, then ends.
    pub fn stop(mut self) {
        let _ = self.requests.send(Request::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(state: &StateDir, queue: &Receiver<Request>, report: &dyn Fn(Option<String>)) {
    let (mut inputs, mut table) = (None::<Box<Inputs>>, None::<Box<SavedTable>>);
    let mut stopping = false;
    while !stopping {
        let waiting = inputs.is_some() || table.is_some();
        let first = match waiting {
            true => queue.recv_timeout(RETRY),
            false => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        stopping = matches!(first, Err(RecvTimeoutError::Disconnected));
        // Draining keeps the queue short: the newest of each kind is all that is written.
        for request in first.into_iter().chain(queue.try_iter()) {
            match request {
                Request::Inputs(newer) => inputs = Some(newer),
                Request::Table(newer) => table = Some(newer),
                Request::Stop => stopping = true,
            }
        }
        let failure = write(state, &mut inputs, &mut table).err();
        report(
            failure.map(|error| format!("cannot write the state folder {}: {error}", state.path().display())),
        );
    }
}

/// Writes what waits; what could not be written goes on waiting.
fn write(
    state: &StateDir,
    inputs: &mut Option<Box<Inputs>>,
    table: &mut Option<Box<SavedTable>>,
) -> std::io::Result<()> {
    if let Some(newest) = inputs.as_ref() {
        state.keep_inputs(&newest.to_keep())?;
        *inputs = None;
    }
    if let Some(newest) = table.as_ref() {
        state.keep_table(newest)?;
        *table = None;
    }
    Ok(())
}
