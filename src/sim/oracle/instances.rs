//! Random worlds for the oracle: small enough for an exact optimum, shaped like real fleets.
//!
//! Sites lie on land-like belts of the globe, half of the clients near a site and half anywhere; carriers
//! cost a penalty to cross; some clients may only be given the nodes of their region (a fence); some
//! nodes are slower than they usually are. Up to 50 nodes, 300 groups and 3 services.
//!
//! | kind | demand, of what all caps allow together |
//! |---|---|
//! | random | 40 to 90 % |
//! | tight | 96 to 104 % |

use crate::base::hash::SeededRng;
use crate::base::units::{Coordinates, Micros, Ppm};
use crate::geo;
use crate::model::clients::{Area, ClientGroup, Line};
use crate::model::fleet::{Capacity, Fleet, Node, Region, Site};
use crate::model::ids::{AreaId, LineId, NodeId, PoolId, RegionId, SiteId};
use crate::model::placement::Latencies;
use crate::model::policy::Policy;
use crate::model::service::{ChainRule, Method, Pool, PoolMember, Profile, Service};
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use crate::sim::world;
use std::net::Ipv4Addr;

const LINES: u64 = 3;
const REGIONS: usize = 4;

/// A world that plans are made for.
#[derive(Clone, Debug)]
pub struct Instance {
    pub policy: Policy,
    pub groups: Vec<ClientGroup>,
    pub latencies: Latencies,
    pub health: Vec<NodeHealth>,
}

impl Instance {
    /// Instance `at` of a seed; each is a world of its own.
    pub fn random(seed: u64, at: usize, is_tight: bool) -> Self {
        let mut rng = SeededRng::new(seed ^ (at as u64 + 1) << 20 ^ u64::from(is_tight) << 60);
        let mut policy = Policy { fleet: fleet(&mut rng), ..Policy::default() };
        let line = |at: u64| Line { name: format!("line{at}"), title: None, asns: vec![at as u32 + 1] };
        policy.clients.lines = (0..LINES).map(line).collect();
        let area = |at: usize| Area { name: format!("area{at}"), ..Area::default() };
        policy.clients.areas = (0..REGIONS).map(area).collect();
        let groups = clients(&policy.fleet, &mut rng);
        let caps: u64 = policy.fleet.nodes.iter().filter_map(|node| node.capacity.as_ref()).map(cap_of).sum();
        let percent = if is_tight { 96 + rng.below(9) } else { 40 + rng.below(51) };
        let services = 1 + rng.below(3);
        let mut left = caps * percent / 100;
        for at in 0..services {
            let demand = if at + 1 == services { left } else { left * (20 + rng.below(50)) / 100 };
            left -= demand;
            policy.services.push(service(at, &policy.fleet, demand, &mut rng));
        }
        let latencies = geo::latency_prior(&groups, &policy.fleet);
        let health = policy.fleet.nodes.iter().map(|_| healthy(&mut rng)).collect();
        Self { policy, groups, latencies, health }
    }
}

fn cap_of(capacity: &Capacity) -> u64 {
    capacity.cap.of(capacity.amount)
}

/// Somewhere that people live, roughly: between 40 south and 60 north.
fn anywhere(rng: &mut SeededRng) -> Coordinates {
    let (latitude, longitude) = (rng.unit() * 100.0 - 40.0, rng.unit() * 360.0 - 180.0);
    Coordinates::from_degrees(latitude, longitude).expect("inside the map")
}

fn near(rng: &mut SeededRng, place: Coordinates) -> Coordinates {
    let (latitude, longitude) = place.degrees();
    let mut by = || rng.unit() * 16.0 - 8.0;
    let (latitude, longitude) = (latitude + by(), (longitude + by()).clamp(-180.0, 180.0));
    Coordinates::from_degrees(latitude, longitude).expect("inside the map")
}

fn fleet(rng: &mut SeededRng) -> Fleet {
    let mut fleet = Fleet::default();
    for at in 0..REGIONS {
        fleet.regions.push(Region { name: format!("region{at}"), title: None });
    }
    let nodes = 10 + rng.below(41) as usize;
    let sites = nodes.div_ceil(1 + rng.below(4) as usize);
    for at in 0..sites {
        let location = anywhere(rng);
        // Regions are belts of longitude.
        let (_, longitude) = location.degrees();
        let region = ((longitude + 180.0) / 360.0 * REGIONS as f64) as usize;
        let region = RegionId::from_index(region.min(REGIONS - 1));
        fleet.sites.push(Site { name: format!("site{at}"), title: None, region, location: Some(location) });
    }
    for at in 0..nodes {
        fleet.nodes.push(Node {
            v4: vec![Ipv4Addr::LOCALHOST],
            line: (rng.below(3) > 0).then(|| LineId(rng.below(LINES) as u16)),
            capacity: Some(Capacity {
                unit: "units".to_owned(),
                amount: 2_000 + rng.below(8_000),
                target: Ppm::from_percent(75),
                cap: Ppm::from_percent(90),
            }),
            ..Node::named(format!("node{at}"), SiteId::from_index(at % sites))
        });
    }
    fleet
}

fn clients(fleet: &Fleet, rng: &mut SeededRng) -> Vec<ClientGroup> {
    let count = 30 + rng.below(271);
    let group = |at: u64| {
        let site = &fleet.sites[rng.below(fleet.sites.len() as u64) as usize];
        let home = site.location.filter(|_| rng.below(2) == 0);
        let location = match home {
            Some(place) => near(rng, place),
            None => anywhere(rng),
        };
        let (_, longitude) = location.degrees();
        let area = ((longitude + 180.0) / 360.0 * REGIONS as f64) as usize;
        ClientGroup {
            key: format!("g{at}"),
            country: None,
            line: (rng.below(4) > 0).then(|| LineId(rng.below(LINES) as u16)),
            location: Some(location),
            areas: vec![AreaId::from_index(area.min(REGIONS - 1))],
            v4_slash24: 1 + rng.below(200) as u32 * rng.below(200) as u32,
            v6_slash48: 0,
        }
    };
    (0..count).map(group).collect()
}

/// One pool for everybody, and for a third of the areas a fence: the nodes of their region alone.
fn service(at: u64, fleet: &Fleet, demand: u64, rng: &mut SeededRng) -> Service {
    let pool = |name: &str, nodes: Vec<NodeId>| Pool {
        name: name.to_owned(),
        members: nodes.into_iter().map(|node| PoolMember { node, weight: 100 }).collect(),
        min_alive: Ppm::ZERO,
        method: Method::Latency,
    };
    let mut pools = vec![pool("everywhere", fleet.node_ids().collect())];
    let mut chains = Vec::new();
    for region in 0..REGIONS {
        let members: Vec<NodeId> =
            fleet.node_ids().filter(|&node| fleet.site_of(node).region.index() == region).collect();
        if rng.below(3) == 0 && members.len() > 2 {
            let id = PoolId::from_index(pools.len());
            pools.push(pool(&format!("region{region}"), members));
            chains.push(ChainRule::of(AreaId::from_index(region), vec![id]));
        }
    }
    chains.push(ChainRule::everybody(vec![PoolId(0)]));
    let profile = Profile::ALL[rng.below(3) as usize].clone();
    Service { chains, ..world::service(&format!("s{at}"), profile, pools, Some(demand)) }
}

/// Up; one node in eight is slower than it usually is.
fn healthy(rng: &mut SeededRng) -> NodeHealth {
    let baseline = Micros::from_millis(10);
    let excess = if rng.below(8) == 0 { 15 + rng.below(60) as u32 } else { 0 };
    let family = FamilyHealth {
        verdict: Verdict::Up,
        rtt: Some(Micros(baseline.0 + excess * 1_000)),
        baseline: Some(baseline),
        ..FamilyHealth::default()
    };
    NodeHealth { families: [Some(family), None], load: None, forced: None }
}
