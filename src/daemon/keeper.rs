//! Writes the last good state on a thread of its own, so that a slow disk delays no table.
//!
//! The newest request of each kind waits; older ones that were not written yet are superseded. A
//! failed write becomes a problem that the status shows, and is tried again with the next table.

use crate::daemon::inputs::Inputs;
use crate::store::saved_table::SavedTable;
use crate::store::state_dir::StateDir;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

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
    let mut stopping = false;
    while !stopping {
        let Ok(first) = queue.recv() else { return };
        let (mut inputs, mut table) = (None, None);
        // Draining keeps the queue short: the writer sends at most a few tables a second.
        for request in std::iter::once(first).chain(queue.try_iter()) {
            match request {
                Request::Inputs(newer) => inputs = Some(newer),
                Request::Table(newer) => table = Some(newer),
                Request::Stop => stopping = true,
            }
        }
        let kept_inputs = inputs.map_or(Ok(()), |inputs| state.keep_inputs(&inputs.to_keep()));
        let kept_table = table.map_or(Ok(()), |table| state.keep_table(&table));
        let failure = kept_inputs.and(kept_table).err();
        report(
            failure.map(|error| format!("cannot write the state folder {}: {error}", state.path().display())),
        );
    }
}
