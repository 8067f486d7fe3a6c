//! Asks the nodes how they are: probes of every kind and load feeds, on a fixed grid.
//!
//! ```text
//!  start ─▶ one task per (node, family, probe) and per load feed
//!             │  tick of its grid ─▶ permit ─▶ Ask::ask, judged ─▶ sink(ProbeEvent)
//!             │      starts spread evenly over one interval; missed ticks are skipped, never made up
//!  stop  ─▶ all tasks end, their sockets close, their processes are killed
//! ```
//! Kinds are listed in [`ask`], one file each. A task has one probe under way at most, so a target that
//! hangs delays nobody but itself, as long as there is a permit for each target: as many as half of the
//! descriptors this process may open ([`permits_for`]). Waiting for a permit is no part of a round trip.
//! Every probe opens a socket of its own: a pooled connection would hide a listener that is gone, and a
//! reply to an earlier probe finds nobody to mislead.
//!
//! **Late answers.** An answer after the timeout is [`Outcome::Slow`] if it comes within the slow
//! window, `min(1 s, interval - timeout)`, else the probe has failed. The window ends where the next
//! probe starts, so waiting for a late answer never delays a verdict: a node that swallows packets is
//! found after at most `(fall + 1) * interval` as long as the timeout is at most the interval (0.8 s
//! for 200 ms and 3), and a refused connection is reported at once.
//!
//! Trouble of this machine (no descriptor, no port, no program) says nothing of a node: it is logged,
//! not reported. Verdicts, smoothing and quorum are `health`'s.

mod anchor;
mod ask;
mod burst;
pub mod certificate;
mod client_load;
mod command;
mod dns;
mod failure;
mod grid;
mod grpc;
mod http;
mod icmp;
mod load;
pub mod means;
mod source;
mod stun;
mod tcp;
mod tls;

#[cfg(test)]
mod tests;

use crate::base::clock::{MonoTime, SharedClock};
use crate::base::hash::SeededRng;
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::{Fleet, ProbeKind, ProbeSpec};
use crate::model::ids::{NodeId, VantageId};
use crate::model::judgement::Source;
use crate::model::observation::{AnchorReport, LoadReport, Measured, Observation, Outcome, Trouble};
use ask::{Ask, Call};
use failure::Fault;
use grid::Grid;
pub use load::{DOCUMENT_BYTES, sample_of};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
pub use tls::read_roots;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::warn;

/// Programs running at once.
pub const COMMANDS: usize = 64;
/// Probes under way at once, whatever the descriptors.
const LEAST_PERMITS: usize = 64;
const MOST_PERMITS: usize = 16_384;
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
    /// Sent when it begins, changes or ends.
    Trouble(Trouble),
}

/// Where events go; called on the runtime's threads, so it must not block.
pub type Sink = Arc<dyn Fn(ProbeEvent) + Send + Sync>;

/// What probing needs beside the fleet.
#[derive(Clone)]
pub struct Setting {
    pub clock: SharedClock,
    /// Decides the order of the first round only.
    pub seed: u64,
    /// The policy folder: files that probes name are relative to it, commands run in it.
    pub folder: PathBuf,
    /// As whom: the anchors asked are this vantage's.
    pub vantage: VantageId,
    /// From where.
    pub source: Source,
    /// Files that probes name and that are not looked for in the folder.
    pub files: Files,
    /// Probers that share the descriptors of this process.
    pub probers: usize,
}

/// Contents by path.
pub type Files = Arc<BTreeMap<PathBuf, Vec<u8>>>;

impl Setting {
    /// For the only prober of this process.
    pub fn new(clock: SharedClock, seed: u64, folder: PathBuf) -> Self {
        let (vantage, source, files) = (VantageId::LOCAL, Source::default(), Files::default());
        Self { clock, seed, folder, vantage, source, files, probers: 1 }
    }
}

/// The running probes of one fleet. Dropping it ends them as well, without waiting.
#[derive(Debug)]
pub struct Prober {
    tasks: JoinSet<()>,
}

/// What all tasks share.
struct Bench {
    vantage: VantageId,
    source: Arc<Source>,
    clock: SharedClock,
    sink: Sink,
    permits: Semaphore,
    commands: Semaphore,
}

/// One target of one probe.
struct Job {
    node: NodeId,
    family: Family,
    probe: u8,
    target: SocketAddr,
    spec: ProbeSpec,
    asker: Arc<dyn Ask>,
}

/// Starts probing `fleet`.
///
/// Reads the root certificates that some probe trusts, once each.
pub fn start(handle: &Handle, fleet: &Fleet, setting: Setting, sink: Sink) -> Prober {
    let Setting { clock, seed, folder, vantage, source, files, probers } = setting;
    // A command starts in the folder, from where a relative path would lead elsewhere.
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let mut configs = tls::Configs::new(folder.clone(), files);
    let mut jobs = jobs_of(fleet, &mut configs, &folder);
    jobs.retain(|job| source::suits(&source, job.target));
    // A node has one load, whoever asks.
    let is_local = vantage == VantageId::LOCAL;
    let feeds = if is_local { load::feeds_of(fleet, &mut configs) } else { Vec::new() };
    let anchors = anchor::anchors_of(&fleet.judgement, vantage, &source);
    let bench = Arc::new(Bench {
        vantage,
        source: Arc::new(source),
        clock,
        sink,
        permits: Semaphore::new(permits_for(
            jobs.len() + feeds.len() + anchors.len(),
            open_files() / probers.max(1) as u64,
        )),
        commands: Semaphore::new(COMMANDS),
    });
    let mut rng = SeededRng::new(seed);
    let mut tasks = JoinSet::new();
    for (job, grid) in grid::spread(jobs, |job| job.spec.interval, &mut rng) {
        tasks.spawn_on(probe_on_grid(job, grid, Arc::clone(&bench)), handle);
    }
    for (feed, grid) in grid::spread(feeds, |feed| feed.interval(), &mut rng) {
        tasks.spawn_on(load::read_on_grid(feed, grid, Arc::clone(&bench)), handle);
    }
    let pace = anchor::interval(fleet);
    for (anchor, grid) in grid::spread(anchors, |_| pace, &mut rng) {
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

/// Descriptors that this process may have open.
fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// One for each target, so that those that hang hold nobody up; but no more than half of the
/// descriptors, since the rest of the process needs some.
fn permits_for(targets: usize, open_files: u64) -> usize {
    let affordable = usize::try_from(open_files / 2).unwrap_or(usize::MAX);
    let permits = targets.min(affordable).clamp(LEAST_PERMITS, MOST_PERMITS);
    if permits < targets {
        warn!(
            targets,
            permits, "fewer probes than targets can wait for answers at once; raise the limit of open files"
        );
    }
    permits
}

fn jobs_of(fleet: &Fleet, configs: &mut tls::Configs, folder: &std::path::Path) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (id, node) in fleet.node_ids().zip(&fleet.nodes) {
        for (probe, spec) in (0..=u8::MAX).zip(&node.probes) {
            let asker = ask::asker(&spec.kind, configs, folder);
            for family in Family::BOTH {
                if let Some(target) = spec.targets[family.index()].filter(|_| node.has_family(family)) {
                    let (spec, asker) = (spec.clone(), Arc::clone(&asker));
                    jobs.push(Job { node: id, family, probe, target, spec, asker });
                }
            }
        }
    }
    jobs
}

async fn probe_on_grid(job: Job, mut grid: Grid, bench: Arc<Bench>) {
    let permits = match job.spec.kind {
        ProbeKind::Command(_) => &bench.commands,
        _ => &bench.permits,
    };
    let mut known = None;
    loop {
        grid.tick().await;
        let Ok(permit) = permits.acquire().await else { return };
        let mut measured = Measured::default();
        let outcome = job.run(&bench, &mut measured).await;
        drop(permit);
        match outcome {
            Ok(outcome) => {
                if known.take().is_some() {
                    (bench.sink)(ProbeEvent::Trouble(job.trouble(bench.vantage, None)));
                }
                (bench.sink)(ProbeEvent::Observation(Observation {
                    vantage: bench.vantage,
                    node: job.node,
                    family: job.family,
                    probe: job.probe,
                    at: bench.clock.mono(),
                    outcome,
                    measured,
                }));
            }
            Err(trouble) if known.as_ref() != Some(&trouble) => {
                warn!(target = job.place(), "{} probe not made: {trouble}", job.spec.kind.name());
                known = Some(trouble.clone());
                (bench.sink)(ProbeEvent::Trouble(job.trouble(bench.vantage, Some(trouble))));
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
    /// The target as people know it: pings and commands go to an address, not to a port of it.
    fn place(&self) -> String {
        if self.target.port() == 0 { self.target.ip().to_string() } else { self.target.to_string() }
    }

    fn trouble(&self, vantage: VantageId, what: Option<String>) -> Trouble {
        let Self { node, family, probe, .. } = *self;
        Trouble { vantage, node, family, probe, what }
    }

    /// One probe, judged; an error is trouble of this machine.
    async fn run(&self, bench: &Bench, measured: &mut Measured) -> Result<Outcome, String> {
        let timeout = self.spec.timeout;
        let patience = timeout + slow_window(self.spec.interval, timeout);
        let failed = |fault: Fault| Outcome::Failure {
            reason: fault.reason,
            detail: format!("{} {}: {}", self.spec.kind.name(), self.place(), fault.detail),
        };
        let (source, clock) = (Arc::clone(&bench.source), Arc::clone(&bench.clock));
        let call = Call { target: self.target, timeout, source, clock };
        match tokio::time::timeout(patience, self.asker.ask(&call, measured)).await {
            Err(_) => Ok(failed(Fault::timeout(patience))),
            Ok(Err(fault)) if fault.local => Err(fault.detail),
            Ok(Err(fault)) => Ok(failed(fault)),
            Ok(Ok(reply)) if Duration::from_micros(reply.took.0.into()) > timeout => {
                Ok(Outcome::Slow { rtt: reply.rtt })
            }
            Ok(Ok(reply)) => Ok(Outcome::Success { rtt: reply.rtt }),
        }
    }
}

fn micros_since(began: MonoTime, clock: &SharedClock) -> Micros {
    Micros(u32::try_from(clock.mono().since(began).as_micros()).unwrap_or(u32::MAX))
}
