//! What may be in a scenario.
//!
//! ```yaml
//! title: what it shows, in a sentence
//! sites: { a: east, b: west }                   # and the region of each
//! nodes: { a: 2, b: 2 }                         # a-1, a-2, b-1, b-2
//! capacity: 1000                                # of each node, units
//! lines: { a-1: telecom }                       # nodes connected to a carrier; others to all
//! groups:                                       # of each kind so many, each 1 ms further than the last
//!   near-a: { count: 8, line: telecom, rtt: { a: 10, b: 80 } }       # ms
//! services:
//!   live: { profile: cdn, demand: 2400, stated: true, pools: [[a], [b]], ttl: 30, on_all_down: all }
//!   # also: methods: [weights], by pool; weights: { a-1: 200 }, of nodes in every pool;
//!   # bias: { a: 20 }, what the nodes of a site cost everybody more, ms
//! events:                                       # seconds; at one moment in this order
//!   - { at: 60, down: a-1 }                     # a node, a site, or "*"
//!   - { at: 90, up: a-1 }
//!   - { at: 60, demand: 1.4, over: 30 }         # factor, reached over so many seconds
//!   - { at: 60, slow: a, by: 150 }              # degraded, and so many ms slower
//!   - { at: 60, cut: a, from: telecom }         # clients of the line do not reach it
//!   - { at: 60, load: a-1, of: 300 }            # units that no client causes
//!   - { at: 90, mend: a }                       # ends slow, cut and load
//! above_cap_s: 40                               # how long a node may be planned above its cap, seconds,
//!                                               # while another has room: dwell, then batches
//! has_relief: true                              # relief of unserved demand waits for no budget, and from
//!                                               # outside it cannot be told from other moves
//! look: [59, 67, 120]                           # when the nodes are told of
//! ```
//! Pools name sites; each node of them is a member. A demand not `stated` is known from load reports.

use rhumb::base::units::Micros;
use rhumb::model::clients::{ClientGroup, Line};
use rhumb::model::degradation::{Shed, ShedTo};
use rhumb::model::fleet::{Fleet, Region};
use rhumb::model::ids::{LineId, NodeId};
use rhumb::model::placement::Latencies;
use rhumb::model::policy::Policy;
use rhumb::model::profile::Profile;
use rhumb::model::service::{Bias, Method, OnAllDown, Pool, Service};
use rhumb::sim::world::{self, World};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub title: String,
    pub sites: BTreeMap<String, String>,
    pub nodes: BTreeMap<String, usize>,
    pub capacity: u64,
    #[serde(default)]
    pub lines: BTreeMap<String, String>,
    pub groups: BTreeMap<String, GroupText>,
    pub services: BTreeMap<String, ServiceText>,
    #[serde(default)]
    pub events: Vec<Event>,
    #[serde(default = "patience")]
    pub above_cap_s: u32,
    #[serde(default)]
    pub has_relief: bool,
    pub look: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupText {
    count: u32,
    line: Option<String>,
    rtt: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceText {
    profile: String,
    demand: u64,
    #[serde(default)]
    stated: bool,
    pools: Vec<Vec<String>>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    weights: BTreeMap<String, u16>,
    #[serde(default)]
    bias: BTreeMap<String, i32>,
    #[serde(default = "usual_ttl")]
    ttl: u32,
    #[serde(default)]
    on_all_down: Option<String>,
    /// Newcomers are shed at the usual thresholds. The simulated clients come all the same.
    #[serde(default)]
    shed: bool,
}

fn patience() -> u32 {
    40
}

fn usual_ttl() -> u32 {
    30
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Event {
    pub at: u32,
    pub down: Option<String>,
    pub up: Option<String>,
    pub demand: Option<f64>,
    pub over: u32,
    pub slow: Option<String>,
    pub by: u32,
    pub cut: Option<String>,
    pub from: Option<String>,
    pub load: Option<String>,
    pub of: f64,
    pub mend: Option<String>,
}

impl Script {
    pub fn world(&self) -> World {
        let mut fleet = Fleet::default();
        let mut lines: Vec<String> = self.lines.values().cloned().collect();
        lines.extend(self.groups.values().filter_map(|group| group.line.clone()));
        lines.sort();
        lines.dedup();
        let line = |name: &String| lines.iter().position(|line| line == name).map(LineId::from_index);
        for (site, region) in &self.sites {
            let known = fleet.regions.iter().position(|known| known.name == *region);
            let region = known.unwrap_or_else(|| {
                fleet.regions.push(Region { name: region.clone(), title: None });
                fleet.regions.len() - 1
            });
            for number in 1..=self.nodes.get(site).copied().unwrap_or(0) {
                let name = format!("{site}-{number}");
                let node = world::node(&name, fleet.sites.len(), Some(self.capacity));
                let line = self.lines.get(&name).and_then(&line);
                fleet.nodes.push(rhumb::model::fleet::Node { line, ..node });
            }
            fleet.sites.push(world::site(site, region, None));
        }
        let mut groups: Vec<ClientGroup> = Vec::new();
        let mut rtt = Vec::new();
        for (name, text) in &self.groups {
            for number in 0..text.count {
                let line = text.line.as_ref().and_then(&line);
                groups.push(ClientGroup { line, ..world::group(&format!("{name}/{number}")) });
                rtt.extend(self.sites.keys().map(|site| Micros::from_millis(text.rtt[site] + number)));
            }
        }
        let latencies = Latencies::prior(self.sites.len(), rtt);
        let services = self.services.iter().map(|(name, text)| service(name, text, &fleet)).collect();
        let demand = self.services.values().map(|text| text.demand).collect();
        let mut policy = Policy { fleet, services, ..Policy::default() };
        policy.clients.lines =
            lines.into_iter().map(|name| Line { name, title: None, asns: Vec::new() }).collect();
        World { policy, groups, latencies, demand }
    }
}

fn service(name: &str, text: &ServiceText, fleet: &Fleet) -> Service {
    let profile = Profile::built_in(&text.profile);
    let pool = |sites: &Vec<String>| {
        let is_in = |node: &&usize| sites.contains(&fleet.sites[fleet.nodes[**node].site.index()].name);
        let nodes: Vec<usize> = (0..fleet.nodes.len()).collect();
        world::pool(&sites.join("-"), &nodes.iter().filter(is_in).copied().collect::<Vec<_>>())
    };
    let on_all_down = match text.on_all_down.as_deref() {
        None | Some("all") => OnAllDown::All,
        Some("last_good") => OnAllDown::LastGood,
        Some("nodata") => OnAllDown::NoData,
        Some(other) => panic!("{name}: on_all_down: {other} is not for scenarios"),
    };
    let mut pools: Vec<Pool> = text.pools.iter().map(pool).collect();
    for (pool, method) in pools.iter_mut().zip(&text.methods) {
        let known = [Method::Latency, Method::Weights, Method::Load];
        pool.method = known.into_iter().find(|it| it.name() == method).expect("a method's name");
    }
    for member in pools.iter_mut().flat_map(|pool| &mut pool.members) {
        let own = text.weights.get(&fleet.nodes[member.node.index()].name);
        member.weight = own.copied().unwrap_or(member.weight);
    }
    let biased = |node: &usize| {
        let by_ms = *text.bias.get(&fleet.sites[fleet.nodes[*node].site.index()].name)?;
        Some(Bias { node: NodeId::from_index(*node), by_us: by_ms * 1_000 })
    };
    let demand = text.stated.then_some(text.demand);
    let service = world::service(name, profile.expect("a profile's name"), pools, demand);
    let shed = text.shed.then_some(Shed {
        to: ShedTo::NoData,
        enter: Shed::ENTER,
        exit: Shed::exit_of(Shed::ENTER),
        dwell: Shed::DWELL,
        remember: Shed::REMEMBER,
    });
    let mut service = Service { ttl: text.ttl, on_all_down, shed, ..service };
    service.chains[0].bias = (0..fleet.nodes.len()).filter_map(|node| biased(&node)).collect();
    service
}
