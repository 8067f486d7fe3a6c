//! Asks the nodes how they are: TCP connects, HTTP(S) requests and load feeds, on a fixed grid.
//!
//! ```text
//!  start ─▶ one task per (node, family, probe) and per load feed
//!             │  tick of its grid ─▶ permit ─▶ connect, ask, judge ─▶ sink(ProbeEvent)
//!             │      starts spread evenly over one interval; missed ticks are skipped, never made up
//!  stop  ─▶ all tasks end, their sockets close
//! ```
//! A task has one probe under way at most, so a target that hangs delays nobody but itself; at most
//! [`CONCURRENT`] probes are under way in all, and waiting for a permit is no part of a round trip.
//! Every probe opens a connection of its own: a pooled one would hide a listener that is gone.
//!
//! **Late answers.** An answer after the timeout is [`Outcome::Slow`] if it comes within the slow
//! window, `min(1 s, interval - timeout)`, else the probe has failed. The window ends where the next
//! probe starts, so waiting for a late answer never delays a verdict: a node that swallows packets is
//! found after at most `(fall + 1) * interval` as long as the timeout is at most the interval (0.8 s
//! for 200 ms and 3), and a refused connection is reported at once.
//!
//! Trouble of this machine (no descriptor, no port, no memory) says nothing of a node: it is logged,
//! not reported. Verdicts, smoothing and quorum are `health`'s.

mod anchor;
mod failure;
mod grid;
mod http;
mod load;
mod tls;

#[cfg(test)]
mod tests;

use crate::base::clock::{MonoTime, SharedClock};
use crate::base::hash::SeededRng;
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::{Fleet, ProbeKind, ProbeSpec};
use crate::model::ids::{NodeId, VantageId};
use crate::model::observation::{AnchorReport, FailureReason, LoadReport, Measured, Observation, Outcome};
use failure::Fault;
use grid::Grid;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::warn;

/// Probes under way at once.
pub const CONCURRENT: usize = 512;
/// The longest wait for an answer after the timeout.
const SLOW_WINDOW: Duration = Duration::from_secs(1);
/// How long [`Prober::stop`] waits for its tasks.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What the network said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEvent {
    Observation(Observation),
    Load(LoadReport),
    Anchor(AnchorReport),
}

/// Where events go; called on the runtime's threads, so it must not block.
pub type Sink = Arc<dyn Fn(ProbeEvent) + Send + Sync>;

/// The running probes of one fleet. Dropping it ends them as well, without waiting.
#[derive(Debug)]
pub struct Prober {
    tasks: JoinSet<()>,
}

/// What all tasks share.
struct Bench {
    clock: SharedClock,
    sink: Sink,
    permits: Semaphore,
    tls: tls::Configs,
}

/// One target of one probe.
struct Job {
    node: NodeId,
    family: Family,
    probe: u8,
    target: SocketAddr,
    spec: ProbeSpec,
}

/// Starts probing `fleet`. `seed` decides the order of the first round only.
///
/// Reads the platform's root certificates, once, if some probe verifies one.
pub fn start(handle: &Handle, fleet: &Fleet, clock: SharedClock, seed: u64, sink: Sink) -> Prober {
    let jobs = jobs_of(fleet);
    let kinds = jobs.iter().map(|job| &job.spec.kind);
    let bench = Arc::new(Bench {
        clock,
        sink,
        permits: Semaphore::new(CONCURRENT),
        tls: tls::Configs::for_probes(kinds, load::wants_tls(fleet)),
    });
    let mut rng = SeededRng::new(seed);
    let mut tasks = JoinSet::new();
    let jobs = grid::spread(jobs, |job| job.spec.interval, &mut rng);
    for (job, grid) in jobs {
        tasks.spawn_on(probe_on_grid(job, grid, Arc::clone(&bench)), handle);
    }
    for (feed, grid) in grid::spread(load::feeds_of(fleet), |feed| feed.interval(), &mut rng) {
        tasks.spawn_on(load::read_on_grid(feed, grid, Arc::clone(&bench)), handle);
    }
    for (anchor, grid) in grid::spread(anchor::anchors_of(&fleet.judgement), |_| anchor::INTERVAL, &mut rng) {
        tasks.spawn_on(anchor::ask_on_grid(anchor, grid, Arc::clone(&bench)), handle);
    }
    Prober { tasks }
}

impl Prober {
    /// Ends all probes and closes their sockets; waits for that, but not longer than two seconds.
    /// Events already given to the sink stay given.
    pub async fn stop(mut self) {
        self.tasks.abort_all();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            warn!("some probes did not end within {STOP_LIMIT:?} of being stopped; left to the runtime");
        }
    }

    /// How many probes, load feeds and anchors are asked.
    pub fn targets(&self) -> usize {
        self.tasks.len()
    }
}

fn jobs_of(fleet: &Fleet) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (id, node) in fleet.node_ids().zip(&fleet.nodes) {
        for (probe, spec) in (0..=u8::MAX).zip(&node.probes) {
            for family in Family::BOTH {
                if let Some(target) = spec.targets[family.index()].filter(|_| node.has_family(family)) {
                    jobs.push(Job { node: id, family, probe, target, spec: spec.clone() });
                }
            }
        }
    }
    jobs
}

async fn probe_on_grid(job: Job, mut grid: Grid, bench: Arc<Bench>) {
    let mut in_trouble = false;
    loop {
        grid.tick().await;
        let Ok(permit) = bench.permits.acquire().await else { return };
        let outcome = job.run(&bench).await;
        drop(permit);
        match outcome {
            Ok(outcome) => {
                in_trouble = false;
                let at = bench.clock.mono();
                let (node, family, probe) = (job.node, job.family, job.probe);
                let (vantage, measured) = (VantageId::LOCAL, Measured::default());
                (bench.sink)(ProbeEvent::Observation(Observation {
                    vantage,
                    node,
                    family,
                    probe,
                    at,
                    outcome,
                    measured,
                }));
            }
            Err(trouble) if !in_trouble => {
                in_trouble = true;
                warn!(target = %job.target, "probe not made: {trouble}; raise the descriptor or port limit");
            }
            Err(_) => {}
        }
    }
}

/// How long after the timeout an answer still counts as slow.
fn slow_window(interval: Duration, timeout: Duration) -> Duration {
    interval.saturating_sub(timeout).min(SLOW_WINDOW)
}

impl Job {
    /// One probe, judged; an error is trouble of this machine.
    async fn run(&self, bench: &Bench) -> Result<Outcome, String> {
        let (timeout, began) = (self.spec.timeout, bench.clock.mono());
        let patience = timeout + slow_window(self.spec.interval, timeout);
        let failed = |fault: Fault| Outcome::Failure {
            reason: fault.reason,
            detail: format!("{} {}: {}", self.spec.kind.name(), self.target, fault.detail),
        };
        match tokio::time::timeout(patience, self.ask(bench)).await {
            Err(_) => Ok(failed(Fault::timeout(patience))),
            Ok(Err(fault)) if fault.local => Err(fault.detail),
            Ok(Err(fault)) => Ok(failed(fault)),
            Ok(Ok(rtt)) if bench.clock.mono().since(began) > timeout => Ok(Outcome::Slow { rtt }),
            Ok(Ok(rtt)) => Ok(Outcome::Success { rtt }),
        }
    }

    async fn ask(&self, bench: &Bench) -> Result<Micros, Fault> {
        match &self.spec.kind {
            ProbeKind::Tcp => connect(self.target, &bench.clock).await.map(|(_, rtt)| rtt),
            ProbeKind::Http(probe) => http::probe(self.target, probe, bench).await,
        }
    }
}

/// A fresh connection and the round trip of its handshake.
async fn connect(target: SocketAddr, clock: &SharedClock) -> Result<(TcpStream, Micros), Fault> {
    let began = clock.mono();
    let stream = TcpStream::connect(target).await.map_err(|error| Fault::of_io(&error))?;
    stream.set_nodelay(true).map_err(|error| Fault::of_io(&error))?;
    if is_connected_to_itself(&stream) {
        return Err(Fault::new(FailureReason::Refused, "connection refused (the socket met itself)"));
    }
    Ok((stream, elapsed(began, clock)))
}

/// Whether the kernel gave the socket the very port it connects to (RFC 9293, simultaneous open): on an address
/// of this machine that makes a connection to nobody look like a listener.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

fn elapsed(began: MonoTime, clock: &SharedClock) -> Micros {
    Micros(u32::try_from(clock.mono().since(began).as_micros()).unwrap_or(u32::MAX))
}
