//! Synthetic worlds for the benches: a fleet, services, client groups, a prior and health, all from
//! a seed, sized like the lab or like a large platform.
//!
//! Sites and client places lie on a plane of 20,000 x 10,000 km; the prior is the formula for great
//! circles (1 ms per 100 km, x1.6, + 5 ms) over plane distance, which is all a planner can notice.

use rhumb::base::hash::SeededRng;
use rhumb::base::units::{Micros, Ppm};
use rhumb::model::clients::{Area, ClientGroup, Line};
use rhumb::model::fleet::{Capacity, Node, Region, Site};
use rhumb::model::ids::{AreaId, LineId, NodeId, PoolId, RegionId, SiteId};
use rhumb::model::placement::Latencies;
use rhumb::model::policy::Policy;
use rhumb::model::service::{
    Care, ChainRule, Method, OnAllDown, Pool, PoolMember, Profile, RecoveryTier, Service,
};
use rhumb::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub regions: usize,
    pub sites: usize,
    pub nodes: usize,
    pub services: usize,
    /// Distinct client places; each has a group for every line and one for no line.
    pub places: usize,
    pub lines: usize,
}

impl Size {
    /// 15 nodes, 3 services, 700 groups.
    pub const LAB: Size = Size { regions: 3, sites: 6, nodes: 15, services: 3, places: 175, lines: 3 };
    /// 200 nodes, 20 services, 2,000 groups.
    pub const AIM: Size = Size { regions: 8, sites: 50, nodes: 200, services: 20, places: 500, lines: 3 };
    /// 1,000 nodes, 50 services, 10,000 groups.
    pub const AIM_LARGE: Size =
        Size { regions: 8, sites: 250, nodes: 1_000, services: 50, places: 2_500, lines: 3 };
    /// 200 nodes, 20 services, 5,000 groups, no two of them alike.
    pub const LARGE: Size = Size { regions: 8, sites: 50, nodes: 200, services: 20, places: 1_250, lines: 3 };
}

/// All that a plan is made from.
#[derive(Clone, Debug)]
pub struct World {
    pub policy: Policy,
    pub groups: Vec<ClientGroup>,
    pub latencies: Latencies,
    pub health: Vec<NodeHealth>,
}

impl World {
    /// `fill`: the part of all capacity that is in use.
    pub fn build(size: Size, fill: Ppm, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let sites: Vec<(i64, i64)> = (0..size.sites).map(|_| point(&mut rng)).collect();
        let mut policy = Policy::default();
        policy.clients.lines = (0..size.lines)
            .map(|at| Line { name: format!("line{at}"), title: None, asns: vec![at as u32 + 1] })
            .collect();
        policy.clients.areas =
            (0..size.regions).map(|at| Area { name: format!("area{at}"), ..Area::default() }).collect();
        fleet(&mut policy, size);
        policy.services = (0..size.services).map(|at| service(at, size, &policy)).collect();
        let (groups, latencies) = clients(size, &sites, &mut rng);
        let health = policy.fleet.nodes.iter().map(|node| healthy(node, fill)).collect();
        Self { policy, groups, latencies, health }
    }
}

fn point(rng: &mut SeededRng) -> (i64, i64) {
    (rng.below(20_000) as i64, rng.below(10_000) as i64)
}

fn fleet(policy: &mut Policy, size: Size) {
    for at in 0..size.regions {
        policy.fleet.regions.push(Region { name: format!("region{at}"), title: None });
    }
    for at in 0..size.sites {
        let region = RegionId::from_index(at % size.regions);
        policy.fleet.sites.push(Site { name: format!("site{at}"), title: None, region, location: None });
    }
    for at in 0..size.nodes {
        let line = (at % 4 != 3).then(|| LineId::from_index(at % size.lines.max(1)));
        policy.fleet.nodes.push(Node {
            v4: vec![Ipv4Addr::from_bits(0x7f01_0000 + at as u32)],
            v6: vec![Ipv6Addr::from_bits(1 + at as u128)],
            line,
            capacity: Some(Capacity {
                unit: "mbps".to_owned(),
                amount: 10_000 * (1 + at as u64 % 3),
                target: Ppm::from_percent(75),
                cap: Ppm::from_percent(90),
            }),
            ..Node::named(format!("node{at}"), SiteId::from_index(at % size.sites))
        });
    }
}

/// A pool per region; each area begins with its own region's pool and may go on to all others.
fn service(at: usize, size: Size, policy: &Policy) -> Service {
    let fleet = &policy.fleet;
    let pools = (0..size.regions).map(|region| {
        let of_region = |node: &NodeId| fleet.site_of(*node).region.index() == region;
        let member = |node| PoolMember { node, weight: 100 };
        Pool {
            name: format!("pool{region}"),
            members: fleet.node_ids().filter(of_region).map(member).collect(),
            min_alive: Ppm::from_percent(50),
            method: Method::Latency,
        }
    });
    let chain = |from: usize| (0..size.regions).map(move |n| PoolId::from_index((from + n) % size.regions));
    let rules = (0..size.regions).map(|area| ChainRule::of(AreaId::from_index(area), chain(area).collect()));
    let catch_all = ChainRule::everybody(chain(at % size.regions).collect());
    Service {
        name: format!("service{at}"),
        title: None,
        hostnames: vec![format!("service{at}.rhumb.test")],
        hostname_spans: Vec::new(),
        profile: Profile::ALL[at % 3].clone(),
        tier: RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) },
        pools: pools.collect(),
        chains: rules.chain([catch_all]).collect(),
        answers: 2,
        ttl: 30,
        on_all_down: OnAllDown::All,
        shed: None,
        line_penalty: Micros::from_millis(40),
        transfer_default: Vec::new(),
        records: Vec::new(),
        demand: None,
        care: Care::default(),
        audience: Vec::new(),
        source: format!("services/service{at}.yaml"),
    }
}

fn clients(size: Size, sites: &[(i64, i64)], rng: &mut SeededRng) -> (Vec<ClientGroup>, Latencies) {
    let mut groups = Vec::new();
    let mut rtt = Vec::new();
    for place in 0..size.places {
        let at = point(rng);
        let row: Vec<Micros> = sites.iter().map(|&site| round_trip(at, site)).collect();
        for line in 0..=size.lines {
            groups.push(ClientGroup {
                key: format!("place{place}/line{line}"),
                country: None,
                line: (line < size.lines).then(|| LineId::from_index(line)),
                location: None,
                // One in eight is in no area: the catch-all.
                areas: (place % 8 != 7)
                    .then(|| AreaId::from_index(place % size.regions))
                    .into_iter()
                    .collect(),
                v4_slash24: 1 + rng.below(200) as u32 * rng.below(200) as u32,
                v6_slash48: rng.below(100_000) as u32,
            });
            rtt.extend_from_slice(&row);
        }
    }
    (groups, Latencies::prior(sites.len(), rtt))
}

fn round_trip(a: (i64, i64), b: (i64, i64)) -> Micros {
    let km = ((a.0 - b.0).pow(2) + (a.1 - b.1).pow(2)).isqrt();
    Micros(u32::try_from(5_000 + km * 16).unwrap_or(u32::MAX))
}

/// Up and reporting, so that demand is measured.
fn healthy(node: &Node, fill: Ppm) -> NodeHealth {
    let family = FamilyHealth {
        verdict: Verdict::Up,
        rtt: Some(Micros::from_millis(10)),
        baseline: Some(Micros::from_millis(10)),
        jitter: Some(Micros(500)),
        ..FamilyHealth::default()
    };
    let amount = node.capacity.as_ref().map_or(0, |capacity| fill.of(capacity.amount));
    let load = NodeLoad {
        amount: Some(amount),
        utilisation: fill,
        binding: "mbps".to_owned(),
        ..NodeLoad::default()
    };
    NodeHealth { families: [Some(family.clone()), Some(family)], load: Some(load), forced: None }
}
