//! Who may connect: counts connections in total and per client, and waits for them at the end.
//!
//! One task owns all counts, so there is no lock; listeners hand it what they accept. A connection
//! too many is closed at once: a queue of strangers would only make the wait longer for all.

use super::connection::{self, Ends, Respond};
use super::counters::Set;
use crate::base::prefix::Prefix;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Accepted, not yet counted.
const WAITING: usize = 64;
/// Pause after the system had no descriptor left, or the like.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Network of one IPv6 client: what a site is given may be larger, what a host has is this.
const V6_CLIENT_BITS: u8 = 64;

/// What connections may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
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

/// Turns an accepted connection into a task's work.
pub(super) trait Admit: Send + Sync + 'static {
    fn admit(
        &self,
        stream: TcpStream,
        ends: Ends,
        limits: &Limits,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

impl<R: Respond> Admit for R {
    async fn admit(&self, stream: TcpStream, ends: Ends, limits: &Limits, stop: CancellationToken) {
        connection::serve(stream, ends, self, limits, stop).await;
    }
}

/// Starts accepting; the task returned ends after `stop`, when the last connection has.
pub(super) fn start<A: Admit>(
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
    let gate = Gate { admit, limits, stop, counters, tasks: JoinSet::new(), per_client: HashMap::new() };
    Ok(runtime.spawn(gate.run(receiver)))
}

async fn accept(
    listener: TcpListener,
    sender: mpsc::Sender<(TcpStream, SocketAddr)>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
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

struct Gate<A> {
    admit: Arc<A>,
    limits: Limits,
    stop: CancellationToken,
    counters: Arc<Set>,
    tasks: JoinSet<()>,
    per_client: HashMap<tokio::task::Id, Prefix>,
}

impl<A: Admit> Gate<A> {
    /// Until all listeners and connections have ended. Aborting it aborts the connections.
    async fn run(mut self, mut receiver: mpsc::Receiver<(TcpStream, SocketAddr)>) {
        let mut counts: HashMap<Prefix, usize> = HashMap::new();
        let mut is_open = true;
        while is_open || !self.tasks.is_empty() {
            tokio::select! {
                ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    let id = match ended {
                        Some(Ok((id, ()))) => id,
                        Some(Err(error)) => error.id(),
                        None => continue,
                    };
                    self.counters.closed();
                    if let Some(client) = self.per_client.remove(&id) {
                        release(&mut counts, client);
                    }
                }
                accepted = receiver.recv(), if is_open => match accepted {
                    Some((stream, peer)) => self.enter(stream, peer, &mut counts),
                    None => is_open = false,
                },
            }
        }
    }

    fn enter(&mut self, stream: TcpStream, peer: SocketAddr, counts: &mut HashMap<Prefix, usize>) {
        let client = client_of(peer.ip());
        let held = counts.get(&client).copied().unwrap_or(0);
        if self.tasks.len() >= self.limits.connections || held >= self.limits.connections_per_client {
            self.counters.refused();
            return;
        }
        let Ok(local) = stream.local_addr() else { return };
        // Replies are written whole; waiting to fill a segment would only delay them.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let ends = Ends { peer, local: local.ip() };
        let (admit, limits, stop) = (self.admit.clone(), self.limits.clone(), self.stop.clone());
        let task = self.tasks.spawn(async move { admit.admit(stream, ends, &limits, stop).await });
        self.per_client.insert(task.id(), client);
        *counts.entry(client).or_default() += 1;
        self.counters.opened();
    }
}

fn release(counts: &mut HashMap<Prefix, usize>, client: Prefix) {
    if let Some(count) = counts.get_mut(&client) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&client);
        }
    }
}

fn client_of(address: IpAddr) -> Prefix {
    let bits = if address.is_ipv6() { V6_CLIENT_BITS } else { 32 };
    Prefix::of(address, bits)
}
