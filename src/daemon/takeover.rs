//! Handing everything over to a successor, and taking it from a predecessor.
//!
//! ```text
//!  predecessor:  Offer ─ task: accept ─▶ thread: handover::host ─▶ Parting ─▶ Daemon::part
//!  successor:    Daemon::start ─ take ─▶ bind ─▶ answer ─▶ settle: the folder is ours, keeper goes on
//! ```
//!
//! What the two say to each other is `serve::handover`'s. One successor is heard at a time; one that
//! fails is told in the log and the next is heard.

use crate::base::error::chain;
use crate::daemon::geo_keeper::GeoKeeper;
use crate::daemon::inputs::Inputs;
use crate::daemon::keeper::Store;
use crate::journal::Made;
use crate::model::alert::KeptAlerts;
use crate::model::demand::KeptDemand;
use crate::model::latency::KeptLatencies;
use crate::model::overrides::KeptOverrides;
use crate::serve::handover::{self, Given, HandoverError, Line};
use crate::store::geo_table::GeoTableFile;
use crate::store::saved_table::SavedTable;
use crate::store::state_dir::{StateDir, StateError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A successor that answers already, and waits for this process to stop.
pub struct Parting(Line);

impl Parting {
    /// To be said when nothing is answered or written here any more.
    pub fn tell(self) {
        if let Err(error) = self.0.parted() {
            tracing::warn!("the successor does not hear that this process has stopped: {}", chain(&error));
        }
    }
}

/// Waits for a successor, and holds what it will be given.
pub struct Offer {
    task: Option<JoinHandle<()>>,
    partings: mpsc::Receiver<Parting>,
}

impl Offer {
    /// Without one there is no takeover, and everything else works; so a failure is only told.
    pub fn start(folder: &Path, given: Given) -> Self {
        let (sender, partings) = mpsc::channel(1);
        let listener = handover::listen(folder).and_then(|listener| {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        });
        let task = match listener {
            Ok(listener) => Some(tokio::spawn(wait(listener, Arc::new(given), sender))),
            Err(error) => {
                tracing::warn!(
                    "a takeover will not be possible: cannot listen in {}: {error}",
                    folder.display()
                );
                None
            }
        };
        Self { task, partings }
    }

    /// Waits until a successor answers; forever if there can be none.
    pub async fn successor(&mut self) -> Parting {
        match self.partings.recv().await {
            Some(parting) => parting,
            None => std::future::pending().await,
        }
    }
}

impl Offer {
    /// Closes what was held, so that nothing of it stays open after the stop.
    pub async fn end(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn wait(listener: UnixListener, given: Arc<Given>, partings: mpsc::Sender<Parting>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream.into_std(),
            Err(error) => {
                tracing::warn!("no takeover is possible any more: {error}");
                return;
            }
        };
        tracing::info!("a successor wants to take over");
        match converse(stream, Arc::clone(&given)).await {
            Ok(line) => {
                // Before the successor is told, so that it finds the socket's place free.
                drop(listener);
                let _ = partings.send(Parting(line)).await;
                return;
            }
            Err(error) => tracing::warn!("the takeover failed, this process goes on: {}", chain(&error)),
        }
    }
}

/// On a thread of its own, for which the end of the process need not wait.
async fn converse(
    stream: io::Result<std::os::unix::net::UnixStream>,
    given: Arc<Given>,
) -> Result<Line, HandoverError> {
    let failed = |source| HandoverError::Io { what: "start a thread", source };
    let stream = stream.map_err(failed)?;
    stream.set_nonblocking(false).map_err(failed)?;
    let (sender, outcome) = oneshot::channel();
    let talk = move || {
        let _ = sender.send(handover::host(stream, &given));
    };
    std::thread::Builder::new().name("takeover".to_owned()).spawn(talk).map_err(failed)?;
    outcome.await.unwrap_or(Err(HandoverError::Silent))
}

/// What a start takes over, if anything.
pub struct Inheritance {
    pub given: Given,
    line: Option<Line>,
    folder: PathBuf,
    /// The keeper waits for its end.
    hold: Option<Sender<()>>,
}

impl Inheritance {
    /// Takes the sockets of the predecessor, or those that a supervisor opened.
    pub fn claim(line: Option<Line>, activated: Given, state: &mut StateDir) -> Result<Self, HandoverError> {
        let folder = state.path().to_owned();
        let Some(mut line) = line else {
            return Ok(Self { given: activated, line: None, folder, hold: None });
        };
        let mut given = line.take()?;
        state.adopt(given.lock.take());
        tracing::info!("taking over {} UDP sockets and {} listeners", given.udp.len(), given.tcp.len());
        Ok(Self { given, line: Some(line), folder, hold: None })
    }

    /// A store that writes once the state folder is this process's own.
    pub fn guard(&mut self, state: StateDir) -> HeldStore {
        let (hold, held) = channel();
        let is_held = self.line.is_some();
        self.hold = is_held.then_some(hold);
        let geo = GeoKeeper::start(GeoTableFile::inside(state.path()));
        HeldStore { state, geo, held: is_held.then_some(held) }
    }

    /// Tells the predecessor that this process answers and waits for it to stop; then offers the same
    /// to a successor.
    pub async fn settle(self, offered: Given) -> Result<Offer, HandoverError> {
        let folder = self.folder;
        if let Some(line) = self.line {
            let at = folder.clone();
            let parted = tokio::task::spawn_blocking(move || line.serving(&at)).await;
            parted.unwrap_or(Err(HandoverError::Silent))?;
            tracing::info!("the predecessor has stopped");
        }
        if let Some(hold) = self.hold {
            let _ = hold.send(());
        }
        Ok(Offer::start(&folder, offered))
    }
}

/// The state folder, written only after a predecessor has stopped writing. Waiting here holds up the
/// keeper's thread and nobody else.
pub struct HeldStore {
    state: StateDir,
    geo: GeoKeeper,
    held: Option<Receiver<()>>,
}

impl HeldStore {
    fn ours(&mut self) -> Result<&mut StateDir, StateError> {
        if let Some(held) = &self.held {
            // An end without a word: the start failed, and the predecessor goes on.
            held.recv().map_err(|_| StateError::Locked(self.state.path().to_owned()))?;
            self.held = None;
        }
        Ok(&mut self.state)
    }
}

impl Store for HeldStore {
    fn waits_for_another(&self) -> bool {
        self.held.is_some()
    }

    fn keep_inputs(&mut self, inputs: &Inputs) -> Result<(), StateError> {
        self.ours()?.keep_inputs(&inputs.to_keep())
    }

    fn keep_geo(&mut self, inputs: &Inputs) {
        self.geo.keep(Arc::clone(&inputs.compiled));
    }

    fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError> {
        self.ours()?.keep_table(table)
    }

    fn keep_latencies(&mut self, kept: &KeptLatencies) -> Result<(), StateError> {
        self.ours()?.keep_latencies(kept)
    }

    fn keep_demand(&mut self, kept: &KeptDemand) -> Result<(), StateError> {
        self.ours()?.keep_demand(kept)
    }

    fn keep_decision(&mut self, made: &Made) -> Result<(), StateError> {
        Store::keep_decision(self.ours()?, made)
    }

    fn keep_alerts(&mut self, kept: &KeptAlerts) -> Result<(), StateError> {
        self.ours()?.keep_alerts(kept)
    }

    fn keep_overrides(&mut self, kept: &KeptOverrides) -> Result<(), StateError> {
        self.ours()?.keep_overrides(kept)
    }
}
