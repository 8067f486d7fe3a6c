//! What nodes report of their clients, from networks to sums by service and group, beside the writer.
//!
//! ```text
//!  load feed ─▶ note: the last report of each node ─▶ (every 5 s) a thread: networks to groups, sums
//!  Counting ◀─ sums ◀─ writer, on a later tick ◀───────────────────┘
//! ```
//! The writer only keeps pointers: a fleet may report millions of networks, and an evacuation waits for
//! nothing. Readings are in the ids of a policy and a geo table; where an edit changes these they are forgotten,
//! and come again with the next report of each node.

use crate::base::clock::MonoTime;
use crate::daemon::inputs::Inputs;
use crate::demand::gathered::{self, Reading, Servers, Sums};
use crate::geo::{GeoTable, embedded_ipv4};
use crate::model::demand::Shares;
use crate::model::fleet::LoadFeed;
use crate::model::ids::{GroupId, NodeId};
use crate::model::observation::{ClientLoad, LoadReport};
use crate::model::policy::Policy;
use crate::model::service::Service;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// From the beginning of a pass to that of the next.
const ROUND: Duration = Duration::from_secs(5);
/// The same while nobody has said anything.
const IDLE_ROUND: Duration = Duration::from_secs(1);

type Readings = BTreeMap<NodeId, Reading>;

/// See the module.
#[derive(Default)]
pub struct ClientLoads {
    /// Of these the readings are.
    world: Option<(Arc<Policy>, Arc<GeoTable>)>,
    /// Not looked at yet.
    waiting: BTreeMap<NodeId, Waiting>,
    /// Elsewhere while a pass runs.
    readings: Readings,
    running: Option<JoinHandle<(Readings, Sums)>>,
    /// The running pass is of another world.
    is_outdated: bool,
    not_before: MonoTime,
    /// Nodes of which something was left out when they reported last.
    odd: BTreeSet<NodeId>,
    unknown: BTreeSet<NodeId>,
}

struct Waiting {
    load: Arc<ClientLoad>,
    amount: Option<u64>,
    at_ms: u64,
}

/// What a pass needs to know.
struct Pass {
    policy: Arc<Policy>,
    geo: Arc<GeoTable>,
    waiting: BTreeMap<NodeId, Waiting>,
    readings: Readings,
    /// How services divide what nodes say of several.
    parts: Vec<f64>,
    down: BTreeSet<NodeId>,
    now_ms: u64,
}

impl ClientLoads {
    /// Takes a report, if it tells of clients.
    pub fn note(&mut self, report: &LoadReport, inputs: &Inputs) {
        let Ok(sample) = &report.result else { return };
        let Some(load) = &sample.clients else { return };
        self.enter(inputs);
        self.tell_odd(report.node, load, &inputs.policy);
        let waiting = Waiting { load: Arc::clone(load), amount: sample.amount, at_ms: report.at.0 / 1_000 };
        self.waiting.insert(report.node, waiting);
    }

    /// Forgets what is of other ids.
    fn enter(&mut self, inputs: &Inputs) {
        let (policy, geo) = (&inputs.policy, &inputs.geo);
        if let Some((own, table)) = &self.world {
            if Arc::ptr_eq(own, policy) && Arc::ptr_eq(table, geo) {
                return;
            }
            let names = own.services.iter().map(|service| &service.name);
            let is_same = names.eq(policy.services.iter().map(|service| &service.name));
            if own.fleet != policy.fleet {
                self.waiting.clear();
                self.odd.clear();
            } else if is_same && Arc::ptr_eq(table, geo) {
                // All ids are what they were.
                self.world = Some((Arc::clone(policy), Arc::clone(geo)));
                return;
            }
        }
        self.readings.clear();
        self.unknown.clear();
        self.is_outdated = self.running.is_some();
        self.world = Some((Arc::clone(policy), Arc::clone(geo)));
    }

    fn tell_odd(&mut self, node: NodeId, load: &ClientLoad, policy: &Policy) {
        let name = &policy.fleet.node(node).name;
        match &load.left_out {
            None => drop(self.odd.remove(&node)),
            Some(what) => {
                if self.odd.insert(node) {
                    tracing::warn!(node = name, "client networks of its load feed: {what}");
                }
            }
        }
    }

    /// What a finished pass summed, if it is of these inputs; begins the next one when it is time.
    pub fn turn(
        &mut self,
        inputs: &Inputs,
        shares: &Shares,
        is_down: impl Fn(NodeId) -> bool,
        now: MonoTime,
    ) -> Option<Sums> {
        self.enter(inputs);
        let sums = self.take();
        let reports = |feed: &LoadFeed| feed.clients.is_some();
        let nodes = &inputs.policy.fleet.nodes;
        let is_wanted = nodes.iter().any(|node| node.load.as_ref().is_some_and(reports));
        if is_wanted && self.running.is_none() && self.not_before <= now {
            self.begin(inputs, shares, is_down, now);
        }
        sums
    }

    fn take(&mut self) -> Option<Sums> {
        let thread = self.running.take_if(|thread| thread.is_finished())?;
        let is_outdated = std::mem::take(&mut self.is_outdated);
        let Ok((readings, sums)) = thread.join() else {
            tracing::error!("summing what nodes report of clients ended in a panic; it begins anew");
            return None;
        };
        if is_outdated {
            return None;
        }
        self.readings = readings;
        self.tell_unknown();
        Some(sums)
    }

    fn tell_unknown(&mut self) {
        let Some((policy, _)) = &self.world else { return };
        for (&node, reading) in &self.readings {
            match &reading.unknown {
                None => drop(self.unknown.remove(&node)),
                Some(name) => {
                    if self.unknown.insert(node) {
                        let node = &policy.fleet.node(node).name;
                        tracing::warn!(
                            node,
                            "client networks of its load feed: {name:?} is no service of it"
                        );
                    }
                }
            }
        }
    }

    fn begin(&mut self, inputs: &Inputs, shares: &Shares, is_down: impl Fn(NodeId) -> bool, now: MonoTime) {
        let is_idle = self.waiting.is_empty() && self.readings.is_empty();
        self.not_before = now + if is_idle { IDLE_ROUND } else { ROUND };
        let pass = Pass {
            policy: Arc::clone(&inputs.policy),
            geo: Arc::clone(&inputs.geo),
            waiting: std::mem::take(&mut self.waiting),
            readings: std::mem::take(&mut self.readings),
            parts: shares.services.iter().map(|&share| f64::from(share)).collect(),
            down: inputs.policy.fleet.node_ids().filter(|node| is_down(*node)).collect(),
            now_ms: now.0 / 1_000,
        };
        let thread = std::thread::Builder::new().name("client-loads".to_owned());
        match thread.spawn(move || pass.run()) {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::warn!("no thread to sum with what nodes report of clients: {error}"),
        }
    }
}

impl Pass {
    fn run(mut self) -> (Readings, Sums) {
        let names: Vec<String> = self.policy.services.iter().map(|service| service.name.clone()).collect();
        let nodes: Vec<Vec<NodeId>> = self.policy.services.iter().map(servers).collect();
        let locate = |address| locate(&self.geo, address);
        for (node, Waiting { load, amount, at_ms }) in std::mem::take(&mut self.waiting) {
            // What one that is down goes on saying is not news: its clients are on their way to others.
            let known = self.policy.fleet.nodes.get(node.index()).filter(|_| !self.down.contains(&node));
            let feed = known.and_then(|known| Some((known, known.load.as_ref()?)));
            if let Some((known, feed)) = feed.filter(|(_, feed)| feed.clients.is_some()) {
                let amount = gathered::believed(amount, known.capacity.as_ref().map(|it| it.amount));
                let max_age_ms = u64::try_from(feed.max_age.as_millis()).unwrap_or(u64::MAX);
                let serves = |service: &usize| nodes[*service].binary_search(&node).is_ok();
                let find = |name: &str| names.iter().position(|known| known == name).filter(serves);
                let reading = Reading::of(&load, amount, (at_ms, max_age_ms), &find, &locate);
                self.readings.insert(node, reading);
            }
        }
        let servers = Servers { names, nodes, parts: self.parts };
        let groups = self.geo.groups().len();
        let is_down = |node: NodeId| self.down.contains(&node);
        let sums = gathered::sums(&mut self.readings, &servers, groups, is_down, self.now_ms);
        (self.readings, sums)
    }
}

/// Nodes of a service, ascending.
fn servers(service: &Service) -> Vec<NodeId> {
    let members = service.pools.iter().flat_map(|pool| &pool.members);
    members.map(|member| member.node).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of an IPv6 address that embeds an IPv4 address, the group of that one.
fn locate(geo: &GeoTable, address: IpAddr) -> (GroupId, u8) {
    let embedded = match address {
        IpAddr::V6(v6) => embedded_ipv4(v6),
        IpAddr::V4(_) => None,
    };
    match embedded {
        Some(v4) => (geo.locate(v4.into()).group, 0),
        None => {
            let located = geo.locate(address);
            (located.group, located.depth)
        }
    }
}
