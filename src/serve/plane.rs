//! A runtime of its own for one transport, so that what floods it leaves the others, the probes and
//! the admin address alone: the kernel shares the cores between threads, whatever their queues hold.

use super::Counters;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Threads of a runtime, and answerers they share.
pub(super) const THREADS: usize = 2;

/// One transport's runtime and the gate in it.
#[derive(Debug)]
pub(super) struct Plane {
    pub counters: Arc<Counters>,
    stop: CancellationToken,
    gate: JoinHandle<()>,
    runtime: Option<Runtime>,
}

impl Plane {
    /// Starts threads called `name` and in them what `open` gives, which ends some time after the token.
    ///
    /// # Errors
    /// No thread or descriptor left.
    pub fn start(
        name: &str,
        counters: Arc<Counters>,
        open: impl FnOnce(&Handle, CancellationToken) -> io::Result<JoinHandle<()>>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name(name)
            .enable_all()
            .build()?;
        let stop = CancellationToken::new();
        match open(runtime.handle(), stop.clone()) {
            Ok(gate) => Ok(Self { counters, stop, gate, runtime: Some(runtime) }),
            Err(error) => {
                // The caller may be inside another runtime, where this one may not be waited for.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Begins to end: nothing new is taken.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Answers what has come in, for at most `drain`. What is left then ends with the runtime.
    pub async fn drain(&mut self, drain: Duration) {
        self.close();
        let _ = timeout(drain, &mut self.gate).await;
    }
}

impl Drop for Plane {
    /// A runtime may not be waited for inside another; this one's tasks just end.
    fn drop(&mut self) {
        self.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
