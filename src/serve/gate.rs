//! Who may connect: counts connections in total and per client, and waits for them at the end.
//!
//! ```text
//!  accept ─▶ client has its share? ── yes ─▶ closed at once
//!                    │ no
//!             all places taken? ── yes ─▶ the connection longest without progress is cut
//!                    └────────────────────▶ a task of its own
//! ```
//!
//! One task owns all counts, so there is no lock; listeners hand it what they accept. Nobody queues:
//! a queue of strangers would only make the wait longer for all. Whoever floods a full house with
//! connections that ask nothing turns out its own first, and a client that asks at once is answered.
//! Progress is a reply taken by the peer, so a stalled reader and half a query count as silence.

use super::connection::{self, DRAIN_FRESH, Respond};
use super::counters::Set;
use crate::base::prefix::Prefix;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Left for everything but connections: sockets that listen, probes, files, the admin address.
const RESERVED_DESCRIPTORS: usize = 256;
/// Allowed however few descriptors there are.
const FEWEST_CONNECTIONS: usize = 16;
/// Accepted, not yet counted.
pub(super) const WAITING: usize = 64;
/// Pause after the system had no descriptor left, or the like.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Network of one IPv6 client: what a site is given may be larger, what a host has is this.
const V6_CLIENT_BITS: u8 = 64;

/// What connections may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// When as many are open, a further one takes the place of that longest without progress.
    pub connections: usize,
    /// Of one IPv4 address or one IPv6 /64.
    pub connections_per_client: usize,
    /// Between the last reply and the next query.
    pub idle: Duration,
    /// From the first octet of a query to its last.
    pub partial: Duration,
    /// For a peer to take the replies written in one go (up to about 80 KiB).
    pub write: Duration,
    pub queries_per_connection: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_client: 64,
            idle: Duration::from_secs(10),
            partial: Duration::from_secs(5),
            write: Duration::from_secs(5),
            queries_per_connection: 10_000,
        }
    }
}

impl Limits {
    /// With no more connections than leave room, when the process may open `descriptors` and `sharers`
    /// transports hold as many connections each.
    #[must_use]
    pub fn within(mut self, descriptors: usize, sharers: usize) -> Self {
        let share = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / sharers.max(1);
        self.connections = self.connections.min(share.max(FEWEST_CONNECTIONS));
        self
    }

    /// [`idle`](Self::idle) as edns-tcp-keepalive tells it (RFC 7828), in tenths of a second.
    pub fn idle_tenths(&self) -> u16 {
        u16::try_from(self.idle.as_millis() / 100).unwrap_or(u16::MAX)
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub peer: SocketAddr,
    pub local: IpAddr,
}

/// When a connection last got on; the gate reads it to find the one to cut.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Microseconds after `began`.
    last: Arc<AtomicU64>,
}

impl Progress {
    fn new(began: Instant) -> Self {
        let progress = Self { began, last: Arc::default() };
        progress.made();
        progress
    }

    /// A reply was taken.
    pub fn made(&self) {
        let micros = self.began.elapsed().as_micros();
        self.last.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn micros(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Waits until none was made for as long as `patience`.
    pub async fn stalled(&self, patience: Duration) {
        loop {
            let until = self.began + Duration::from_micros(self.micros()) + patience;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// One admitted connection's terms.
pub(super) struct Visit {
    pub ends: Ends,
    pub limits: Arc<Limits>,
    pub stop: CancellationToken,
    pub progress: Progress,
}

impl Visit {
    /// Until the server stops and who has just come has had time to ask.
    pub async fn over(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(DRAIN_FRESH).await;
    }
}

/// What listeners accept.
pub(super) trait Arrival: Send + 'static {
    /// Both ends, and the last thing to do before anything is read; `None`: it is gone already.
    fn ends(&self) -> Option<Ends>;
}

impl Arrival for TcpStream {
    fn ends(&self) -> Option<Ends> {
        // Replies are written whole; waiting to fill a segment would only delay them.
        self.set_nodelay(true).ok()?;
        Some(Ends { peer: self.peer_addr().ok()?, local: self.local_addr().ok()?.ip() })
    }
}

/// Turns an accepted connection into a task's work.
pub(super) trait Admit<C>: Send + Sync + 'static {
    fn admit(&self, connection: C, visit: Visit) -> impl Future<Output = ()> + Send;
}

impl<R: Respond> Admit<TcpStream> for R {
    async fn admit(&self, stream: TcpStream, visit: Visit) {
        connection::serve(stream, self, visit).await;
    }
}

/// Starts accepting; the task returned ends after `stop`, when the last connection has.
pub(super) fn start<A: Admit<TcpStream>>(
    listeners: Vec<std::net::TcpListener>,
    admit: Arc<A>,
    limits: Limits,
    stop: CancellationToken,
    counters: Arc<Set>,
    runtime: &Handle,
) -> io::Result<JoinHandle<()>> {
    let _inside = runtime.enter();
    let (sender, receiver) = mpsc::channel(WAITING);
    let listeners: Vec<TcpListener> =
        listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
    for listener in listeners {
        runtime.spawn(accept(listener, sender.clone(), stop.clone()));
    }
    Ok(runtime.spawn(Gate::new(admit, limits, stop, counters).run(receiver)))
}

async fn accept(listener: TcpListener, sender: mpsc::Sender<TcpStream>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((connection, _)) => {
                if sender.send(connection).await.is_err() {
                    return;
                }
            }
            // A peer that gave up is the next call's news too late to matter; a full table passes.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

/// A connection that holds a place.
struct Guest {
    client: Prefix,
    progress: Progress,
    task: AbortHandle,
}

pub(super) struct Gate<A> {
    admit: Arc<A>,
    limits: Arc<Limits>,
    stop: CancellationToken,
    counters: Arc<Set>,
    began: Instant,
    /// Those that were cut too, until they have ended.
    tasks: JoinSet<()>,
    guests: HashMap<Id, Guest>,
    counts: HashMap<Prefix, usize>,
}

impl<A> Gate<A> {
    pub fn new(admit: Arc<A>, limits: Limits, stop: CancellationToken, counters: Arc<Set>) -> Self {
        Self {
            admit,
            limits: Arc::new(limits),
            stop,
            counters,
            began: Instant::now(),
            tasks: JoinSet::new(),
            guests: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// Until all listeners and connections have ended. Aborting it aborts the connections.
    pub async fn run<C: Arrival>(mut self, mut receiver: mpsc::Receiver<C>)
    where
        A: Admit<C>,
    {
        let mut is_open = true;
        while is_open || !self.tasks.is_empty() {
            tokio::select! {
                // What has ended goes first, so that nobody is cut for a place that is free.
                biased;
                ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    let id = match ended {
                        Some(Ok((id, ()))) => id,
                        Some(Err(error)) => error.id(),
                        None => continue,
                    };
                    self.counters.closed();
                    self.release(id);
                }
                accepted = receiver.recv(), if is_open => match accepted {
                    Some(connection) => self.enter(connection),
                    None => is_open = false,
                },
            }
        }
    }

    fn enter<C: Arrival>(&mut self, connection: C)
    where
        A: Admit<C>,
    {
        let Some(ends) = connection.ends() else { return };
        let client = client_of(ends.peer.ip());
        let held = self.counts.get(&client).copied().unwrap_or(0);
        if held >= self.limits.connections_per_client || self.limits.connections == 0 {
            self.counters.refused();
            return;
        }
        if self.guests.len() >= self.limits.connections {
            self.cut_the_stillest();
        }
        let progress = Progress::new(self.began);
        let visit = Visit {
            ends,
            limits: Arc::clone(&self.limits),
            stop: self.stop.clone(),
            progress: progress.clone(),
        };
        let admit = Arc::clone(&self.admit);
        let task = self.tasks.spawn(async move { admit.admit(connection, visit).await });
        self.guests.insert(task.id(), Guest { client, progress, task });
        *self.counts.entry(client).or_default() += 1;
        self.counters.opened();
    }

    /// One look at each guest, of which there are a bounded number, and only when the house is full.
    fn cut_the_stillest(&mut self) {
        let stillest = self.guests.iter().min_by_key(|(_, guest)| guest.progress.micros());
        if let Some((&id, guest)) = stillest {
            guest.task.abort();
            self.counters.evicted();
            self.release(id);
        }
    }

    /// Frees the place of a connection, once.
    fn release(&mut self, id: Id) {
        let Some(guest) = self.guests.remove(&id) else { return };
        if let Some(count) = self.counts.get_mut(&guest.client) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&guest.client);
            }
        }
    }
}

fn client_of(address: IpAddr) -> Prefix {
    let bits = if address.is_ipv6() { V6_CLIENT_BITS } else { 32 };
    Prefix::of(address, bits)
}
