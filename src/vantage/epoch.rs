//! What the listener is told by the rest of the process, and what it tells: the fleet of the moment, and a way
//! for events.

use crate::model::fleet::Fleet;
use crate::probe::{Files, ProbeEvent};
use std::sync::Arc;
use tokio::sync::watch;

/// One fleet, by the number under which the writer knows it.
#[derive(Debug, Default)]
pub struct Epoch {
    pub number: u64,
    pub fleet: Arc<Fleet>,
    /// That its probes name.
    pub files: Files,
}

/// The newest.
pub type Epochs = watch::Receiver<Arc<Epoch>>;

/// Takes an event of an epoch; false if there is no room for it.
pub type Sink = Arc<dyn Fn(u64, ProbeEvent) -> bool + Send + Sync>;
