//! The fleet of a policy as real listeners on loopback, and the one task that decides its faults.
//!
//! [`start`] binds every socket before it returns, so that the daemon's first probe finds the nodes
//! up. Faults are the business of one task, the director: it owns the [`FaultBook`], publishes each
//! node's combined conditions, closes and opens sockets, and ends faults whose time is over. A call
//! returns when the sockets are as asked. Stops when the last [`LabFleet`] is dropped.

use super::LabError;
use super::fault::{Conditions, Fault, FaultBook, Standing, phrase};
use super::load::TRICKLE;
use super::node::{self, NodeState, SetListening};
use super::peaks::{Peak, Peaks};
use super::plan::{self, Endpoint};
use super::target::{Names, Target};
use crate::base::hash::{mix_pair, stable_hash};
use crate::base::prefix::Prefix;
use crate::base::units::Ppm;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long a client's session loads its node; the time constant of the fading.
pub const SESSION: Duration = Duration::from_secs(20);
/// Between two looks at every node's load; also a sample each.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// How full clients and trickle keep the fleet unless told otherwise.
pub const DEFAULT_LEVEL: Ppm = Ppm(TRICKLE.0 + 150_000);
const QUEUE: usize = 64;

/// A handle to a running fleet; cheap to clone.
#[derive(Clone, Debug)]
pub struct LabFleet {
    commands: mpsc::Sender<Command>,
    nodes: Arc<[Arc<NodeState>]>,
    by_address: Arc<HashMap<IpAddr, NodeId>>,
    level: Arc<AtomicU32>,
}

/// What a fault or a heal touched; its `Display` is the confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    pub target: String,
    /// `down`, `with latency 150 ms`, `healed`.
    pub effect: String,
    pub nodes: Vec<String>,
    /// What the author may not expect: "tyo-1 is watched by tcp probes alone".
    pub notes: Vec<String>,
}

impl std::fmt::Display for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.nodes.len();
        if count == 0 {
            return write!(f, "{}: nothing to heal", self.target);
        }
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} node{plural} {} ({})", self.target, self.effect, self.nodes.join(", "))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  note: {note}"))
    }
}

/// The load as set; its `Display` is the confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelSet {
    pub level: Ppm,
    pub before: Ppm,
}

impl std::fmt::Display for LevelSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (level, before, seconds) = (self.level.percent(), self.before.percent(), SESSION.as_secs());
        writeln!(f, "load: clients fill the fleet to {level} % from now on ({before} % before)")?;
        writeln!(f, "  note: sessions there are end in their own time, {seconds} s on average;")?;
        write!(f, "        peaks are counted anew")?;
        if self.level <= Ppm::WHOLE {
            return Ok(());
        }
        writeln!(f, "\n  note: there is not room for all: services with `shed` turn newcomers away;")?;
        write!(f, "        `rhumb status` tells how many")
    }
}

/// Where a client was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub node: NodeId,
    /// Whether the node took it: not if it is down.
    pub reached: bool,
    /// Whether it is past its capacity.
    pub is_full: bool,
}

/// One node as the lab has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabNode {
    pub name: String,
    /// What is wrong with it: `latency 150 ms, loss 20 %`; empty if nothing.
    pub faults: String,
    /// In its capacity's unit.
    pub amount: u64,
    pub utilisation: Ppm,
    /// Of its utilisation; `None` without a capacity.
    #[serde(default)]
    pub cap: Option<Ppm>,
    /// Since the lab's load was last set, or since the start.
    #[serde(default)]
    pub peak: Peak,
    /// Clients given this node so far.
    pub given: u64,
}

/// One fault as set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabFault {
    pub target: String,
    pub fault: Fault,
    pub nodes: Vec<String>,
    /// Milliseconds until it heals by itself.
    pub ends_in_ms: Option<u64>,
}

/// The whole fleet as the lab has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabStatus {
    /// How full clients are to keep the fleet.
    #[serde(default)]
    pub level: Ppm,
    pub nodes: Vec<LabNode>,
    pub faults: Vec<LabFault>,
}

#[derive(Debug)]
enum Command {
    Apply {
        target: String,
        faults: Vec<Fault>,
        lasts: Option<Duration>,
        reply: oneshot::Sender<Result<Hit, LabError>>,
    },
    Heal {
        target: Option<String>,
        reply: oneshot::Sender<Result<Hit, LabError>>,
    },
    SetLevel {
        level: Ppm,
        reply: oneshot::Sender<LevelSet>,
    },
    Status {
        reply: oneshot::Sender<LabStatus>,
    },
}

/// Starts every node of `fleet`; `lines` are the policy's carrier lines by id. `seed` decides
/// jitter and loss.
pub async fn start(fleet: &Arc<Fleet>, lines: Vec<String>, seed: u64) -> Result<LabFleet, LabError> {
    let planned = plan::endpoints(fleet)?;
    let mut nodes = Vec::with_capacity(planned.len());
    let mut workers = Vec::with_capacity(planned.len());
    for (node, endpoints) in fleet.nodes.iter().zip(planned) {
        let seed = mix_pair(seed, stable_hash(node.name.as_bytes()));
        let capacity = node.capacity.as_ref().map(|capacity| capacity.amount);
        let mut state = NodeState::new(node.name.clone(), capacity, seed);
        if node.load.as_ref().is_some_and(|feed| feed.clients.is_some()) {
            state.load = state.load.telling_clients();
        }
        let state = Arc::new(state);
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let sockets = node::open(&state, &endpoints).await?;
        workers.push((Arc::clone(&state), endpoints, sockets));
        nodes.push(state);
    }
    let listening = workers.into_iter().map(|(state, endpoints, sockets)| {
        let (send, receive) = mpsc::channel(QUEUE);
        tokio::spawn(node::run(state, endpoints, sockets, receive));
        send
    });
    let nodes: Arc<[Arc<NodeState>]> = nodes.into();
    let (commands, received) = mpsc::channel(QUEUE);
    let level = Arc::new(AtomicU32::new(DEFAULT_LEVEL.0));
    let director = Director {
        fleet: Arc::clone(fleet),
        lines,
        nodes: Arc::clone(&nodes),
        listening: listening.collect(),
        book: FaultBook::default(),
        level: Arc::clone(&level),
        peaks: Peaks::new(fleet),
    };
    tokio::spawn(director.run(received));
    Ok(LabFleet { commands, nodes, by_address: Arc::new(addresses(fleet)), level })
}

fn addresses(fleet: &Fleet) -> HashMap<IpAddr, NodeId> {
    fleet.node_ids().flat_map(|id| fleet.addresses(id).map(move |address| (address, id))).collect()
}

impl LabFleet {
    /// Sets faults on a node, site, region or line, for a while or until healed.
    pub async fn apply(
        &self,
        target: &str,
        faults: &[Fault],
        lasts: Option<Duration>,
    ) -> Result<Hit, LabError> {
        let (target, faults) = (target.to_owned(), faults.to_vec());
        self.ask(|reply| Command::Apply { target, faults, lasts, reply }).await?
    }

    /// Takes every fault off a target, or off everything.
    pub async fn heal(&self, target: Option<&str>) -> Result<Hit, LabError> {
        let target = target.map(str::to_owned);
        self.ask(|reply| Command::Heal { target, reply }).await?
    }

    /// Has clients keep the fleet this full from now on; peaks are counted anew.
    pub async fn set_level(&self, level: Ppm) -> Result<LevelSet, LabError> {
        self.ask(|reply| Command::SetLevel { level, reply }).await
    }

    /// How full clients are to keep the fleet.
    pub fn level(&self) -> Ppm {
        Ppm(self.level.load(Ordering::Relaxed))
    }

    /// Whether the address is some node's.
    pub fn is_node(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
    }

    pub fn is_down(&self, node: NodeId) -> bool {
        self.nodes.get(node.index()).is_none_or(|node| node.conditions.load().down)
    }

    pub async fn status(&self) -> Result<LabStatus, LabError> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// A client of a network was given `address`: if its node is there, it carries `demand` more, in the unit
    /// of its capacity. `None` for an address of no node.
    pub fn give(&self, address: IpAddr, client: Prefix, demand: impl Fn(NodeId) -> f64) -> Option<Given> {
        let id = *self.by_address.get(&address)?;
        let node = self.nodes.get(id.index())?;
        node.given.fetch_add(1, Ordering::Relaxed);
        let reached = !node.conditions.load().down;
        if reached {
            node.load.add(demand(id), client);
        }
        let is_full = node.reading().utilisation > Ppm::WHOLE;
        Some(Given { node: id, reached, is_full })
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, LabError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| LabError::Stopped)?;
        answer.await.map_err(|_| LabError::Stopped)
    }
}

struct Director {
    fleet: Arc<Fleet>,
    lines: Vec<String>,
    nodes: Arc<[Arc<NodeState>]>,
    listening: Vec<mpsc::Sender<SetListening>>,
    book: FaultBook,
    level: Arc<AtomicU32>,
    peaks: Peaks,
}

impl Director {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut fade = tokio::time::interval(SAMPLE_EVERY);
        fade.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut faded_at = Instant::now();
        loop {
            let expiry = self.book.next_expiry();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                () = tokio::time::sleep_until(expiry.unwrap_or(faded_at)), if expiry.is_some() => {
                    self.end_what_is_over().await;
                }
                now = fade.tick() => {
                    let factor = (-(now - faded_at).as_secs_f64() / SESSION.as_secs_f64()).exp();
                    self.nodes.iter().for_each(|node| node.load.fade(factor));
                    self.sample(now - faded_at);
                    faded_at = now;
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // Whoever asked may be gone; what was asked is done all the same.
        match command {
            Command::Apply { target, faults, lasts, reply } => {
                let _ = reply.send(self.apply(&target, &faults, lasts).await);
            }
            Command::Heal { target, reply } => {
                let _ = reply.send(self.heal(target.as_deref()).await);
            }
            Command::SetLevel { level, reply } => {
                let _ = reply.send(self.set_level(level));
            }
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
        }
    }

    fn set_level(&mut self, level: Ppm) -> LevelSet {
        let before = Ppm(self.level.swap(level.0, Ordering::Relaxed));
        self.peaks.clear();
        LevelSet { level, before }
    }

    fn sample(&mut self, lasts: Duration) {
        for (at, node) in self.nodes.iter().enumerate() {
            let is_down = node.conditions.load().down;
            self.peaks.sample(at, node.reading().utilisation, is_down, lasts);
        }
    }

    async fn apply(
        &mut self,
        text: &str,
        faults: &[Fault],
        lasts: Option<Duration>,
    ) -> Result<Hit, LabError> {
        if faults.is_empty() {
            return Err(LabError::NoFault);
        }
        let target = self.resolve(text)?;
        let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts));
        let added = faults.iter().try_for_each(|&fault| {
            let (target, nodes) = (target.label.clone(), target.nodes.clone());
            self.book.add(Standing { target, fault, nodes, until })
        });
        // Also when the book is full half-way: what it says is what is.
        self.enforce(&target.nodes).await?;
        added?;
        let with = if matches!(faults, [Fault::Down]) { "" } else { "with " };
        let during = lasts.map_or(String::new(), |lasts| format!(" for {:?}", lasts));
        Ok(Hit {
            effect: format!("{with}{}{during}", phrase(faults)),
            nodes: self.names(&target.nodes),
            notes: self.notes(&target.nodes, faults),
            target: target.label,
        })
    }

    async fn heal(&mut self, text: Option<&str>) -> Result<Hit, LabError> {
        let target = match text {
            Some(text) => self.resolve(text)?,
            None => Target { label: "all".to_owned(), nodes: self.fleet.node_ids().collect() },
        };
        let healed = self.book.heal(&target.nodes);
        // All of them: a node whose port was taken at the last heal tries again.
        self.enforce(&target.nodes).await?;
        let (effect, notes) = ("healed".to_owned(), Vec::new());
        Ok(Hit { target: target.label, effect, nodes: self.names(&healed), notes })
    }

    async fn end_what_is_over(&mut self) {
        for ended in self.book.expire(Instant::now()) {
            if let Err(error) = self.enforce(&ended.nodes).await {
                tracing::error!(target = %ended.target, %error, "a lab fault ended but its nodes did not come back");
            }
        }
    }

    /// Makes the nodes live under what the book says.
    async fn enforce(&self, nodes: &[NodeId]) -> Result<(), LabError> {
        let mut pending = Vec::with_capacity(nodes.len());
        for &id in nodes {
            let conditions = self.book.conditions(id);
            let node = &self.nodes[id.index()];
            node.conditions.store(Arc::new(conditions));
            if conditions.down {
                // Its sessions end with its connections.
                node.load.fade(0.0);
            }
            let (done, answer) = oneshot::channel();
            let command = SetListening { listening: !conditions.down, done };
            self.listening[id.index()].send(command).await.map_err(|_| LabError::Stopped)?;
            pending.push(answer);
        }
        for answer in pending {
            answer.await.map_err(|_| LabError::Stopped)??;
        }
        Ok(())
    }

    fn resolve(&self, text: &str) -> Result<Target, LabError> {
        Ok(Names { fleet: &self.fleet, lines: &self.lines }.resolve(text)?)
    }

    fn names(&self, nodes: &[NodeId]) -> Vec<String> {
        nodes.iter().map(|&id| self.fleet.node(id).name.clone()).collect()
    }

    /// Faults that nothing of a node can show.
    fn notes(&self, nodes: &[NodeId], faults: &[Fault]) -> Vec<String> {
        let mut notes = Vec::new();
        for node in nodes.iter().map(|&id| self.fleet.node(id)) {
            let unseen = |why: &str| format!("{} {why}", node.name);
            let by_tcp = node.probes.iter().all(|probe| probe.kind.name() == "tcp");
            if faults.iter().any(|fault| matches!(fault, Fault::Load { .. })) && node.load.is_none() {
                notes.push(unseen("has no load feed, so nothing reports the load"));
            }
            if faults.iter().any(|fault| !matches!(fault, Fault::Load { .. })) && node.probes.is_empty() {
                notes.push(unseen("has no probe, so nobody will notice"));
            } else if by_tcp && faults.iter().any(|fault| !matches!(fault, Fault::Load { .. } | Fault::Down))
            {
                notes.push(unseen(
                    "is watched by tcp probes alone, which the kernel answers: only `--down` shows",
                ));
            }
        }
        notes
    }

    fn status(&self) -> LabStatus {
        let now = Instant::now();
        let nodes = self.nodes.iter().enumerate().map(|(at, node)| {
            let conditions: Conditions = **node.conditions.load();
            let reading = node.reading();
            LabNode {
                name: node.name.clone(),
                faults: conditions.to_string(),
                amount: reading.amount,
                utilisation: reading.utilisation,
                cap: self.peaks.cap(at),
                peak: self.peaks.of(at),
                given: node.given.load(Ordering::Relaxed),
            }
        });
        let left = |until: Instant| u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX);
        let faults = self.book.standing().iter().map(|standing| LabFault {
            target: standing.target.clone(),
            fault: standing.fault,
            nodes: self.names(&standing.nodes),
            ends_in_ms: standing.until.map(left),
        });
        let level = Ppm(self.level.load(Ordering::Relaxed));
        LabStatus { level, nodes: nodes.collect(), faults: faults.collect() }
    }
}
