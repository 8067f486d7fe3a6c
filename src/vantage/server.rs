//! The listener for reports: admits vantages, one connection each, and hands nodes that push to the routes.
//!
//! ```text
//!   accept ─▶ TLS 1.3 (5 s) ─▶ ALPN rhumb-vantage/1 ─▶ session ─▶ admitted: the older of its name ends
//!                          └─▶ ALPN http/1.1, none ──▶ routes (POST /load/NODE)
//! ```
//! Who is not yet known as a vantage shares [`STRANGERS`] places; when all are taken, the one that came first
//! goes. So those who connect and say nothing can keep nobody out.

use super::Counts;
use super::epoch::{Epochs, Sink};
use super::session::{Ended, GREETING, Session};
use super::wire::PROTOCOL;
use crate::base::clock::{MonoTime, SharedClock};
use crate::serve::encrypted::CertificateSlot;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Connections of whom nothing is known yet, and of nodes that push.
const STRANGERS: usize = 1_024;
/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Between two requests of a node, and for the head of one.
const REQUEST: Duration = Duration::from_secs(30);
/// Refused strangers are logged no oftener.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long sessions have to say goodbye.
const PARTING: Duration = Duration::from_millis(500);
/// When there is no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// What the listener works with.
#[derive(Clone)]
pub struct Desk {
    pub certificate: CertificateSlot,
    pub epochs: Epochs,
    pub sink: Sink,
    pub clock: SharedClock,
    pub counts: Arc<Counts>,
    /// For who speaks HTTP.
    pub routes: Router,
}

/// A connection's number.
type Number = u64;

/// A connection that has shown to be of vantage `name`.
struct Admission {
    number: Number,
    name: String,
    peer: SocketAddr,
    replaced: CancellationToken,
}

/// How a connection ended.
struct End {
    number: Number,
    peer: SocketAddr,
    /// `None`: it never was a vantage's, or there is nothing to tell.
    why: Option<Ended>,
}

/// Serves until `stopping`, then lets sessions say goodbye.
pub async fn run(listener: TcpListener, desk: Desk, stopping: CancellationToken) {
    let (admit, admissions) = mpsc::channel(64);
    let mut hall = Hall {
        desk,
        stopping: stopping.clone(),
        admit,
        connections: JoinSet::new(),
        strangers: VecDeque::new(),
        vantages: HashMap::new(),
        next: 0,
        told_at: None,
    };
    hall.open(&listener, admissions, &stopping).await;
    drop(listener);
    let ending = async { while hall.connections.join_next().await.is_some() {} };
    let _ = timeout(PARTING, ending).await;
}

struct Hall {
    desk: Desk,
    stopping: CancellationToken,
    admit: mpsc::Sender<Admission>,
    connections: JoinSet<End>,
    /// In the order they came.
    strangers: VecDeque<(Number, AbortHandle)>,
    vantages: HashMap<String, (Number, CancellationToken)>,
    next: Number,
    told_at: Option<MonoTime>,
}

impl Hall {
    async fn open(
        &mut self,
        listener: &TcpListener,
        mut admissions: mpsc::Receiver<Admission>,
        stopping: &CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                Some(admission) = admissions.recv() => self.admitted(admission),
                Some(ended) = self.connections.join_next() => if let Ok(end) = ended {
                    // It may have been let in just before.
                    while let Ok(admission) = admissions.try_recv() {
                        self.admitted(admission);
                    }
                    self.ended(end);
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer),
                    Err(error) => {
                        warn!("cannot accept reports: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.strangers.retain(|(_, task)| !task.is_finished());
        if self.strangers.len() >= STRANGERS
            && let Some((_, oldest)) = self.strangers.pop_front()
        {
            oldest.abort();
            self.desk.counts.cut.fetch_add(1, Ordering::Relaxed);
        }
        let number = self.next;
        self.next += 1;
        self.desk.counts.connections.fetch_add(1, Ordering::Relaxed);
        let (desk, admit, stopping) = (self.desk.clone(), self.admit.clone(), self.stopping.clone());
        let task = self.connections.spawn(async move {
            let why = attend(stream, (number, peer), desk, admit, stopping).await;
            End { number, peer, why }
        });
        self.strangers.push_back((number, task));
    }

    fn admitted(&mut self, admission: Admission) {
        let Admission { number, name, peer, replaced } = admission;
        self.strangers.retain(|(known, _)| *known != number);
        info!(vantage = name, %peer, "vantage connected");
        if let Some((_, older)) = self.vantages.insert(name, (number, replaced)) {
            older.cancel();
        }
        self.desk.counts.connected.store(self.vantages.len() as u64, Ordering::Relaxed);
    }

    fn ended(&mut self, end: End) {
        let End { number, peer, why } = end;
        self.strangers.retain(|(known, _)| *known != number);
        let name =
            self.vantages.iter().find(|(_, (known, _))| *known == number).map(|(name, _)| name.clone());
        if let Some(name) = &name {
            let why = why.as_ref().map_or_else(String::new, Ended::to_string);
            let (presences, now) = (&self.desk.counts.presences, self.desk.clock.wall());
            presences.went(name, number, &why, now, &self.desk.sink);
            self.vantages.remove(name);
            self.desk.counts.connected.store(self.vantages.len() as u64, Ordering::Relaxed);
        }
        let Some(why) = why else { return };
        match (&name, &why) {
            (Some(name), _) => warn!(vantage = name, %peer, "vantage disconnected: {why}"),
            // Its name belongs to the newer connection already.
            (None, Ended::Replaced) => info!(%peer, "a vantage's older connection ended"),
            (None, _) => self.turned_away(peer, &why),
        }
    }

    fn turned_away(&mut self, peer: SocketAddr, why: &Ended) {
        self.desk.counts.refused.fetch_add(1, Ordering::Relaxed);
        let now = self.desk.clock.mono();
        if self.told_at.is_none_or(|at| now.since(at) >= TELL_EVERY) {
            self.told_at = Some(now);
            warn!(%peer, "turned away who wanted to report: {why}");
        }
    }
}

/// One connection, whoever it is; gives what there is to tell of its end.
async fn attend(
    stream: TcpStream,
    (number, peer): (Number, SocketAddr),
    desk: Desk,
    admit: mpsc::Sender<Admission>,
    stopping: CancellationToken,
) -> Option<Ended> {
    stream.set_nodelay(true).ok()?;
    let accepting = TlsAcceptor::from(desk.certificate.config()).accept(stream);
    let stream = match timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Some(Ended::Frame(error.into())),
        Err(_) => return Some(Ended::Silent(HANDSHAKE)),
    };
    if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
        converse(stream, desk.routes, &stopping).await;
        return None;
    }
    let replaced = CancellationToken::new();
    let (counts, clock) = (Arc::clone(&desk.counts), Arc::clone(&desk.clock));
    let session = Session {
        stream,
        epochs: desk.epochs,
        sink: desk.sink,
        clock: desk.clock,
        counts: desk.counts,
        replaced: replaced.clone(),
        stopping,
    };
    let admitted = async |name: &str| {
        counts.presences.came(name, number, peer, clock.wall());
        let admission = Admission { number, name: name.to_owned(), peer, replaced };
        let _ = admit.send(admission).await;
    };
    Some(session.run(admitted).await)
}

/// HTTP/1.1 for nodes that push their load.
async fn converse(stream: TlsStream<TcpStream>, routes: Router, stopping: &CancellationToken) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(16 * 1_024);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::select! {
        _ = serving => {}
        () = stopping.cancelled() => {}
    }
}

const _: () = assert!(GREETING.as_secs() <= HANDSHAKE.as_secs(), "a stranger is gone after ten seconds");
