//! The admin address, and what its routes may see of the daemon.

use crate::control::admin::{self, Admin};
use crate::daemon::answering::SharedCounts;
use crate::daemon::start::StartError;
use crate::daemon::writer::Event;
use crate::model::status::{ConnectionCounts, Traffic};
use crate::serve::{Counters, Totals};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Binds it, so that a port in use refuses the start.
pub async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Admin { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves the routes until aborted.
pub fn serve(listener: TcpListener, admin: Admin) -> tokio::task::JoinHandle<()> {
    let routes = admin::router(admin);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!("the admin address is gone: {error}");
        }
    })
}

/// Adds up what the sockets count, whenever it is asked for.
pub fn traffic(
    counts: Arc<SharedCounts>,
    [plain, dot]: [Option<Arc<Counters>>; 2],
    observations_dropped: Arc<AtomicU64>,
) -> Arc<dyn Fn() -> Traffic + Send + Sync> {
    Arc::new(move || {
        let totals = |counters: &Option<Arc<Counters>>| counters.as_ref().map(|it| it.totals());
        let [plain, dot] = [&plain, &dot].map(|counters| totals(counters).unwrap_or_default());
        let connections = |totals: &Totals| ConnectionCounts {
            opened: totals.connections_opened,
            open: totals.connections_open(),
            refused: totals.connections_refused,
        };
        Traffic {
            queries: counts.sum(),
            tcp: connections(&plain),
            dot: connections(&dot),
            truncated: plain.truncated + dot.truncated,
            unsent: plain.unsent + dot.unsent,
            unanswered: plain.dropped + dot.dropped,
            observations_dropped: observations_dropped.load(Ordering::Relaxed),
        }
    })
}

/// Puts a question to the writer, if its queue has room.
pub fn ask_writer(events: &SyncSender<Event>) -> admin::Ask {
    let events = events.clone();
    Arc::new(move |request| {
        let (reply, answer) = oneshot::channel();
        events.try_send(Event::Explain { request, reply }).ok().map(|()| answer)
    })
}
