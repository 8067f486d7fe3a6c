//! One lab node: its sockets, and how its replies misbehave.
//!
//! A node is a task that owns its listeners. Told to close, it drops them and every connection, so
//! that the kernel refuses the next; told to open, it binds the same addresses again. Latency, jitter
//! and loss act in the replies, since the kernel completes TCP handshakes by itself: a probe of kind
//! `tcp` notices `down` and nothing else.

use super::LabError;
use super::fault::Conditions;
use super::http;
use super::load::{LoadCell, Reading};
use super::plan::Endpoint;
use crate::base::hash::mix_pair;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Connections and delayed datagrams of one endpoint at one time; further ones are dropped.
const MAX_IN_FLIGHT: usize = 512;
/// A heal that finds its port taken tries again this often.
const REBIND_AFTER: Duration = Duration::from_millis(100);
/// How many times it does before it gives up until the next heal.
const REBIND_TRIES: u32 = 50;

/// What the tasks of one node share.
#[derive(Debug)]
pub struct NodeState {
    pub name: String,
    pub conditions: ArcSwap<Conditions>,
    pub load: LoadCell,
    /// Clients given this node so far.
    pub given: AtomicU64,
    seed: u64,
    draws: AtomicU64,
}

/// How the next reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub lost: bool,
    /// Answered, but with an error.
    pub failed: bool,
    pub delay: Duration,
}

impl NodeState {
    pub fn new(name: String, capacity: Option<u64>, seed: u64) -> Self {
        let conditions = ArcSwap::from_pointee(Conditions::default());
        let (load, given, draws) = (LoadCell::new(capacity), AtomicU64::new(0), AtomicU64::new(0));
        Self { name, conditions, load, given, seed, draws }
    }

    /// Draws the fate of one request. The n-th request of a node always draws the same, whichever
    /// task it comes from.
    pub fn next_reply(&self) -> Reply {
        let conditions = self.conditions.load();
        let draw = mix_pair(self.seed, self.draws.fetch_add(1, Ordering::Relaxed));
        let lost = draw % 1_000_000 < u64::from(conditions.loss.0);
        let failed = mix_pair(draw, 2) % 1_000_000 < u64::from(conditions.errors.0);
        let part = f64::from(mix_pair(draw, 1) as u32) / f64::from(u32::MAX);
        Reply { lost, failed, delay: conditions.latency + conditions.jitter.mul_f64(part) }
    }

    pub fn reading(&self) -> Reading {
        self.load.read(self.conditions.load().load)
    }
}

/// Tells a node's task to hold its sockets or not; the answer comes when it is so.
#[derive(Debug)]
pub struct SetListening {
    pub listening: bool,
    pub done: oneshot::Sender<Result<(), LabError>>,
}

/// Binds a node's sockets, for the first time.
pub async fn open(state: &Arc<NodeState>, endpoints: &Arc<[Endpoint]>) -> Result<JoinSet<()>, LabError> {
    let mut tasks = JoinSet::new();
    for at in 0..endpoints.len() {
        let address = endpoints[at].address;
        let (listener, echo) = bind(address).await.map_err(|source| LabError::Bind {
            node: state.name.clone(),
            address,
            source,
        })?;
        tasks.spawn(accept(listener, Arc::clone(state), Arc::clone(endpoints), at));
        tasks.spawn(echo_datagrams(echo, Arc::clone(state)));
    }
    Ok(tasks)
}

/// Runs a node until its commands end.
pub async fn run(
    state: Arc<NodeState>,
    endpoints: Arc<[Endpoint]>,
    mut sockets: JoinSet<()>,
    mut commands: mpsc::Receiver<SetListening>,
) {
    while let Some(SetListening { listening, done }) = commands.recv().await {
        let result = match (listening, sockets.is_empty()) {
            (true, true) => reopen(&state, &endpoints).await.map(|tasks| sockets = tasks),
            (false, false) => {
                sockets.shutdown().await;
                Ok(())
            }
            _ => Ok(()),
        };
        // Whoever asked may be gone; the sockets are as asked all the same.
        let _ = done.send(result);
    }
}

async fn reopen(state: &Arc<NodeState>, endpoints: &Arc<[Endpoint]>) -> Result<JoinSet<()>, LabError> {
    for _ in 1..REBIND_TRIES {
        if let Ok(tasks) = open(state, endpoints).await {
            return Ok(tasks);
        }
        tokio::time::sleep(REBIND_AFTER).await;
    }
    open(state, endpoints).await
}

async fn bind(address: SocketAddr) -> std::io::Result<(TcpListener, UdpSocket)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of before a fault linger in TIME-WAIT on the same port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok((socket.listen(1_024)?, UdpSocket::bind(address).await?))
}

async fn accept(listener: TcpListener, state: Arc<NodeState>, endpoints: Arc<[Endpoint]>, at: usize) {
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: leave the runtime time to close some.
            tokio::time::sleep(REBIND_AFTER).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < MAX_IN_FLIGHT {
            connections.spawn(connection(stream, Arc::clone(&state), Arc::clone(&endpoints), at));
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<NodeState>, endpoints: Arc<[Endpoint]>, at: usize) {
    if let Err(error) = http::serve(stream, &state, &endpoints[at]).await {
        tracing::trace!(node = %state.name, %error, "lab connection ended");
    }
}

async fn echo_datagrams(socket: UdpSocket, state: Arc<NodeState>) {
    let socket = Arc::new(socket);
    let mut delayed = JoinSet::new();
    let mut buffer = [0; 2_048];
    loop {
        // An error here is an ICMP message about an earlier reply, of no interest to an echo.
        let Ok((len, peer)) = socket.recv_from(&mut buffer).await else { continue };
        while delayed.try_join_next().is_some() {}
        let reply = state.next_reply();
        if reply.lost || delayed.len() >= MAX_IN_FLIGHT {
            continue;
        }
        let (socket, datagram) = (Arc::clone(&socket), buffer[..len].to_vec());
        delayed.spawn(async move {
            tokio::time::sleep(reply.delay).await;
            let _ = socket.send_to(&datagram, peer).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Ppm;

    #[test]
    fn the_nth_reply_depends_on_seed_and_n_alone() {
        let fates = |seed| {
            let state = NodeState::new("a".to_owned(), None, seed);
            let loss = Ppm::from_percent(20);
            let jitter = Duration::from_millis(10);
            state.conditions.store(Arc::new(Conditions { loss, jitter, ..Conditions::default() }));
            (0..2_000).map(|_| state.next_reply()).collect::<Vec<_>>()
        };
        let first = fates(7);
        assert_eq!(first, fates(7));
        assert_ne!(first, fates(8));
        let lost = first.iter().filter(|reply| reply.lost).count();
        assert!((340..=460).contains(&lost), "{lost} of 2000 lost at 20 %");
        assert!(first.iter().all(|reply| reply.delay <= Duration::from_millis(10)));
        assert!(first.iter().any(|reply| reply.delay > Duration::from_millis(5)));
    }
}
