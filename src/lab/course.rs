//! One run by a script, without a view: clients for a while, a fault, clients for a while more; sampled.
//!
//! ```text
//!  clients begin ──── warm ────▶ fault ──── lasts ────▶ healed, over
//!                     │ a sample each 200 ms of every node │
//! ```
//! What is sampled is what nodes carry, as the lab itself knows it: no load report's age and no average lies
//! between. Survivors are the nodes that the fault does not name.

use super::LabError;
use super::clients::ClientCounts;
use super::fault::Fault;
use super::fleet::{Hit, LabStatus, SAMPLE_EVERY};
use super::session::{LabParts, ask_when_ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// What happens.
#[derive(Clone, Debug)]
pub struct Script {
    pub target: String,
    pub fault: Fault,
    /// How long clients come before it.
    pub warm: Duration,
    /// How long it is watched.
    pub lasts: Duration,
}

/// The survivors at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Since the fault.
    pub at_ms: i64,
    /// Node by node, those without a capacity left out.
    pub nodes: Vec<f64>,
    /// Of them, how many are above their caps.
    pub above: usize,
}

impl Sample {
    pub fn peak(&self) -> f64 {
        self.nodes.iter().copied().fold(0.0, f64::max)
    }

    pub fn mean(&self) -> f64 {
        self.nodes.iter().sum::<f64>() / (self.nodes.len().max(1) as f64)
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Course {
    pub hit: Hit,
    /// When it was.
    pub happened: Instant,
    /// Names of the survivors, as in [`Sample::nodes`].
    pub survivors: Vec<String>,
    /// The lowest of their caps.
    pub cap: f64,
    pub samples: Vec<Sample>,
    /// At the fault, and at the end.
    pub before: ClientCounts,
    pub after: ClientCounts,
}

/// Plays `script`; `tell` is told how far it is, of 1.
pub async fn run(parts: LabParts, script: &Script, tell: impl Fn(f64)) -> Result<Course, LabError> {
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let lab = parts.lab.clone();
    let (counts_out, counts) = watch::channel(ClientCounts::default());
    let clients = tokio::spawn(ask_when_ready(parts, counts_out, stop.clone()));
    // Drawing the networks takes a while; the course begins with the first client.
    let mut begun = counts.clone();
    if begun.wait_for(|counts| counts.arrived > 0).await.is_err() {
        return Err(LabError::Stopped);
    }
    let whole = (script.warm + script.lasts).as_secs_f64().max(f64::MIN_POSITIVE);
    let started = Instant::now();
    let fault_at = started + script.warm;
    let mut ticker = tokio::time::interval(SAMPLE_EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks: Vec<(Instant, LabStatus)> = Vec::new();
    let (mut hit, mut before, mut happened) = (None, ClientCounts::default(), fault_at);
    loop {
        let now = ticker.tick().await;
        if hit.is_none() && now >= fault_at {
            before = counts.borrow().clone();
            hit = Some(lab.apply(&script.target, &[script.fault], None).await?);
            happened = Instant::now();
        }
        looks.push((Instant::now(), lab.status().await?));
        tell((now - started).as_secs_f64() / whole);
        if hit.is_some() && now >= happened + script.lasts {
            break;
        }
    }
    let after = counts.borrow().clone();
    lab.heal(None).await?;
    stop.cancel();
    // It ends by the token; a panic in it would have shown as too few clients.
    let _ = clients.await;
    Ok(course(hit.ok_or(LabError::Stopped)?, happened, &looks, before, after))
}

fn course(
    hit: Hit,
    happened: Instant,
    looks: &[(Instant, LabStatus)],
    before: ClientCounts,
    after: ClientCounts,
) -> Course {
    let last = looks.last().map(|(_, status)| status.nodes.as_slice()).unwrap_or_default();
    let survives = |name: &String| !hit.nodes.contains(name);
    let with_cap = last.iter().filter(|node| survives(&node.name)).filter_map(|node| Some((node, node.cap?)));
    let survivors: Vec<String> = with_cap.clone().map(|(node, _)| node.name.clone()).collect();
    let cap = with_cap.map(|(_, cap)| cap.fraction()).fold(f64::INFINITY, f64::min);
    let sample = |(at, status): &(Instant, LabStatus)| {
        let nodes = || status.nodes.iter().filter(|node| survives(&node.name) && node.cap.is_some());
        let since = i64::try_from(at.saturating_duration_since(happened).as_millis()).unwrap_or(i64::MAX);
        let until = i64::try_from(happened.saturating_duration_since(*at).as_millis()).unwrap_or(i64::MAX);
        Sample {
            at_ms: since - until,
            nodes: nodes().map(|node| node.utilisation.fraction()).collect(),
            above: nodes().filter(|node| node.cap.is_some_and(|cap| node.utilisation > cap)).count(),
        }
    };
    Course { samples: looks.iter().map(sample).collect(), hit, happened, survivors, cap, before, after }
}
