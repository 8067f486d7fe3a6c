//! Sockets: UDP workers, TCP and TLS connections, and nothing about what an answer is.
//!
//! ```text
//!  bind (all or nothing) ─▶ BoundDns ─▶ start ─▶ udp-0 .. udp-n   plain threads, batches of 32
//!                                              └▶ plane ─▶ gate ─▶ connection tasks
//!  BoundTls::bind ─▶ start_dot ─▶ plane ─▶ gate ─▶ TLS ─▶ hickory's RequestHandler
//!                 └▶ start_doh ─▶ plane ─▶ gate ─▶ TLS ─▶ hyper
//!  bind_doq ─▶ BoundDoq ─▶ start ─▶ plane ─▶ gate ─▶ quinn
//!  stop ─▶ what is queued is answered, up to a deadline
//! ```
//!
//! A plane is a runtime of its own, a gate the limits of connections: neither a flood of one transport
//! nor its slow readers reach another, or the daemon's own tasks.
//!
//! What answers is behind [`Answer`]; the daemon puts `dns::answer` and the live snapshot there. This
//! module does not parse queries: it reads the response code of a reply, to count it, and no more.

mod answers;
pub mod bind;
pub mod certificate;
mod connection;
pub mod counters;
pub mod doh;
pub mod doq;
pub mod dot;
pub mod encrypted;
mod gate;
pub mod handover;
mod http;
mod least_ttl;
mod plane;
mod quic_socket;
pub mod tap;
mod udp;
mod udp_batch;
pub mod web;

#[cfg(test)]
mod tests;

pub use bind::{BindError, BoundDns, bind, bind_given};
pub use counters::{Counters, Totals};
pub use doq::{BoundDoq, bind_doq, bind_doq_given};
pub use dot::AnswerRecords;
pub use encrypted::{BoundTls, RunningEncrypted};
pub use gate::Limits;
pub use udp_batch::BATCH;

use crate::base::clock::SharedClock;
pub use crate::dns::Transport;
use answers::SharedAnswers;
use plane::Plane;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages of a zone transfer, made as they are taken.
pub type Messages = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// What answers queries: one per UDP worker, and as many shared by the TCP connections.
pub trait Answer: Send + 'static {
    /// Called before each batch: the moment to look at the live table.
    fn refresh(&mut self);

    /// Called after it over UDP: so many packets came at once, of [`BATCH`] at most.
    fn received(&mut self, _count: usize) {}

    /// Writes a reply into `out` and returns its length; 0 sends nothing.
    fn answer(
        &mut self,
        peer: SocketAddr,
        local: IpAddr,
        transport: Transport,
        query: &[u8],
        out: &mut [u8],
    ) -> usize;

    /// The messages that a query over a stream is answered with, if one is not enough: a zone transfer.
    fn transfer(
        &mut self,
        _peer: SocketAddr,
        _local: IpAddr,
        _transport: Transport,
        _query: &[u8],
    ) -> Option<Messages> {
        None
    }

    /// Called once the answers since the last [`refresh`](Self::refresh) are made (UDP: sent): counters
    /// may be shown now.
    fn settle(&mut self) {}
}

/// When to end, shared by all workers: the clock's time in microseconds, `u64::MAX` while running.
#[derive(Clone, Debug)]
pub(crate) struct StopAt(Arc<AtomicU64>);

impl StopAt {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// The end of the drain, in microseconds of the clock; `None` while running.
    fn deadline(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|&at| at != u64::MAX)
    }
}

/// Serving, until told to stop or dropped.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    counters: Arc<Counters>,
    clock: SharedClockDebug,
    stop_at: StopAt,
    workers: Vec<JoinHandle<()>>,
    tcp: Plane,
}

/// A clock has nothing worth printing.
struct SharedClockDebug(SharedClock);

impl std::fmt::Debug for SharedClockDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clock")
    }
}

impl BoundDns {
    /// Starts one thread per UDP socket and a runtime for TCP. `answers` is called with
    /// 0, 1, ... for each of them before anything is answered.
    ///
    /// # Errors
    /// A thread or a listener that cannot be started; what was started ends again.
    pub fn start<A: Answer>(
        self,
        answers: impl Fn(usize) -> A,
        limits: Limits,
        clock: SharedClock,
    ) -> io::Result<Running> {
        let (udp, tcp) = (self.udp, self.tcp);
        let seats = self.workers_per_address;
        let counters = Arc::new(Counters::with_sets(udp.len() + 1));
        let stop_at = StopAt::new();
        let tcp_set = counters.set(udp.len());
        let seats = (0..seats).map(|seat| answers(udp.len() + seat));
        let responder = Arc::new(SharedAnswers::new(seats, Transport::Tcp, tcp_set.clone()));
        let plane = Plane::start("tcp", counters.clone(), |runtime, stop| {
            gate::start(tcp, responder, limits, stop, tcp_set, runtime)
        })?;
        let mut running = Running {
            addresses: self.addresses,
            counters,
            clock: SharedClockDebug(clock),
            stop_at,
            workers: Vec::with_capacity(udp.len()),
            tcp: plane,
        };
        for (index, socket) in udp.into_iter().enumerate() {
            let worker = udp::Worker::new(
                socket,
                answers(index),
                running.counters.set(index),
                running.stop_at.clone(),
                running.clock.0.clone(),
            );
            match std::thread::Builder::new().name(format!("udp-{index}")).spawn(move || worker.run()) {
                Ok(thread) => running.workers.push(thread),
                // Dropping it ends the workers before this one.
                Err(error) => return Err(error),
            }
        }
        Ok(running)
    }
}

impl Running {
    /// Where it listens, ports filled in.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn signal(&self, drain: Duration) {
        let deadline = self.clock.0.mono() + drain;
        self.stop_at.0.store(deadline.0.min(u64::MAX - 1), Ordering::Release);
        self.tcp.close();
    }

    /// Answers what has already come in, for at most `drain` (and a worker's 250 ms wait), then ends.
    /// Workers that died are reported by name.
    pub async fn stop(self, drain: Duration) -> Vec<String> {
        self.end(drain, drain).await
    }

    /// Ends while another process answers from the same sockets: what is queued is left to it, and
    /// only the connections are drained.
    pub async fn part(self, drain: Duration) -> Vec<String> {
        self.end(Duration::ZERO, drain).await
    }

    async fn end(mut self, udp_drain: Duration, drain: Duration) -> Vec<String> {
        self.signal(udp_drain);
        self.tcp.drain(drain).await;
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(move || {
            let mut dead = Vec::new();
            for worker in workers {
                let name = worker.thread().name().unwrap_or("udp").to_owned();
                if worker.join().is_err() {
                    dead.push(name);
                }
            }
            dead
        });
        joined.await.unwrap_or_default()
    }
}

impl Drop for Running {
    /// Ends without a drain and without waiting: a start-up that failed later must not leave workers
    /// that answer. They are gone within their 250 ms wait. After [`Running::stop`] nothing is left to end.
    fn drop(&mut self) {
        self.signal(Duration::ZERO);
    }
}
