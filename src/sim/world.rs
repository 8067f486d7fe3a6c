//! Worlds to simulate: a policy, client groups, the distances between them.
//!
//! [`World::global`] makes a fleet as an operator would have bought it: every site can carry the
//! clients nearest to it at the same utilisation, give or take a tenth. So before anything fails,
//! sending everybody to the nearest node is a good plan, and no strategy starts at a disadvantage.

use crate::base::hash::SeededRng;
use crate::base::units::{Coordinates, Micros, Ppm};
use crate::geo;
use crate::model::clients::ClientGroup;
use crate::model::fleet::{Capacity, Fleet, Node, Region, Site};
use crate::model::ids::{NodeId, PoolId, RegionId, SiteId};
use crate::model::placement::Latencies;
use crate::model::policy::Policy;
use crate::model::profile::Profile;
use crate::model::service::{Care, ChainRule, Method, OnAllDown, Pool, PoolMember, RecoveryTier, Service};
use crate::schedule;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Regions of the world made by [`World::global`]: name, centre, how many clients live there (relative).
const REGIONS: [(&str, f64, f64, u64); 7] = [
    ("east-asia", 35.7, 139.7, 110),
    ("south-east-asia", 3.0, 103.8, 100),
    ("south-asia", 19.1, 77.0, 100),
    ("europe", 50.1, 8.7, 110),
    ("us-east", 39.0, -78.5, 100),
    ("us-west", 37.3, -119.9, 80),
    ("south-america", -23.5, -48.6, 70),
];
/// Sites of a region.
const SITES: usize = 2;

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// At most seven.
    pub regions: usize,
    pub nodes_per_site: usize,
    pub groups_per_site: usize,
}

impl Size {
    /// 28 nodes, 84 client groups.
    pub const WHOLE: Self = Self { regions: REGIONS.len(), nodes_per_site: 2, groups_per_site: 6 };
    /// 6 nodes, 36 client groups.
    pub const SMALL: Self = Self { regions: 3, nodes_per_site: 1, groups_per_site: 6 };
}
/// Profile, part of the demand (percent).
const SERVICES: [(&str, Profile, u64); 3] =
    [("live", Profile::CDN, 50), ("call", Profile::RTC, 20), ("chat", Profile::IM, 30)];
/// What a fleet of [`World::global`] can carry, units.
const CAPACITY: u64 = 2_800_000;
/// How far from its purchase a node's capacity may be, percent.
const CAPACITY_SPREAD: u64 = 10;

/// What a simulation takes place in. Groups ask for their part of each service's demand by
/// [`schedule::weights`].
#[derive(Clone, Debug)]
pub struct World {
    pub policy: Policy,
    pub groups: Vec<ClientGroup>,
    pub latencies: Latencies,
    /// By service, capacity units: what clients ask for, whether policy states it or not.
    pub demand: Vec<u64>,
}

impl World {
    pub fn nodes(&self) -> usize {
        self.policy.fleet.nodes.len()
    }

    /// Services times groups.
    pub fn pairs(&self) -> usize {
        self.policy.services.len() * self.groups.len()
    }

    /// By node, units; a node without capacity cannot be overloaded.
    pub fn capacities(&self) -> Vec<f64> {
        let amount = |node: &Node| node.capacity.as_ref().map_or(f64::INFINITY, |c| c.amount as f64);
        self.policy.fleet.nodes.iter().map(amount).collect()
    }

    /// Row-major services x groups: units asked for.
    pub fn demand_by_pair(&self) -> Vec<f64> {
        let weights = schedule::weights(&self.groups);
        let total = weights.iter().sum::<u64>().max(1) as f64;
        let of = |&demand: &u64| weights.iter().map(move |&weight| demand as f64 * weight as f64 / total);
        self.demand.iter().flat_map(of).collect()
    }

    pub fn region_of(&self, node: usize) -> RegionId {
        self.policy.fleet.site(self.policy.fleet.nodes[node].site).region
    }

    /// Nodes of a region.
    pub fn nodes_in(&self, region: RegionId) -> Vec<usize> {
        (0..self.nodes()).filter(|&node| self.region_of(node) == region).collect()
    }

    /// Regions of two sites, client groups around each, three services that every node serves, and
    /// demand by which the fleet's capacity is used to `utilisation` (percent).
    pub fn global(size: Size, seed: u64, utilisation: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let mut fleet = Fleet::default();
        let mut groups = Vec::new();
        for (at, &(name, latitude, longitude, clients)) in REGIONS.iter().take(size.regions).enumerate() {
            fleet.regions.push(Region { name: name.to_owned(), title: None });
            for number in 0..SITES {
                let place = near(&mut rng, latitude + [4.0, -4.0][number % 2], longitude, 2.0);
                fleet.sites.push(site(&format!("{name}-{}", number + 1), at, Some(place)));
                let (latitude, longitude) = place.degrees();
                for number in number * size.groups_per_site..(number + 1) * size.groups_per_site {
                    let space = clients * clients / 10 * (5 + rng.below(20)) / 15;
                    groups.push(ClientGroup {
                        location: Some(near(&mut rng, latitude, longitude, 8.0)),
                        v4_slash24: space as u32,
                        ..group(&format!("{name}/{number:02}"))
                    });
                }
            }
        }
        for (at, amount) in purchase(&fleet, &groups, size.nodes_per_site, &mut rng).into_iter().enumerate() {
            let site = &fleet.sites[at / size.nodes_per_site].name;
            fleet.nodes.push(node(
                &format!("{site}-{}", at % size.nodes_per_site + 1),
                at / size.nodes_per_site,
                Some(amount),
            ));
        }
        let capacity: u64 = fleet.nodes.iter().filter_map(|n| n.capacity.as_ref()).map(|c| c.amount).sum();
        let demand = SERVICES.iter().map(|(_, _, part)| capacity * utilisation * part / 10_000).collect();
        let everywhere: Vec<usize> = (0..fleet.nodes.len()).collect();
        let offer = |(name, profile, _): &(&str, Profile, u64)| {
            service(name, profile.clone(), vec![pool("everywhere", &everywhere)], None)
        };
        let services = SERVICES.iter().map(offer).collect();
        let latencies = geo::latency_prior(&groups, &fleet);
        Self { policy: Policy { fleet, services, ..Policy::default() }, groups, latencies, demand }
    }
}

/// By node: its site's part of the clients, by distance alone.
fn purchase(fleet: &Fleet, groups: &[ClientGroup], nodes_per_site: usize, rng: &mut SeededRng) -> Vec<u64> {
    let distances = geo::latency_prior(groups, fleet);
    let weights = schedule::weights(groups);
    let mut by_site = vec![0_u64; fleet.sites.len()];
    for (group, weight) in weights.iter().enumerate() {
        let nearest = distances.row(group).iter().enumerate().min_by_key(|&(at, rtt)| (*rtt, at));
        if let Some((site, _)) = nearest {
            by_site[site] += weight;
        }
    }
    let total: u64 = weights.iter().sum::<u64>().max(1);
    let share = |weight: u64| CAPACITY * weight / total / nodes_per_site as u64;
    // A site that nobody is nearest to was bought for something.
    let least = CAPACITY / 100 / by_site.len().max(1) as u64;
    let per_node = by_site.into_iter().flat_map(|weight| vec![share(weight).max(least); nodes_per_site]);
    per_node
        .map(|amount| amount * (100 - CAPACITY_SPREAD + rng.below(2 * CAPACITY_SPREAD + 1)) / 100)
        .collect()
}

/// Within `degrees` of a place.
fn near(rng: &mut SeededRng, latitude: f64, longitude: f64, degrees: f64) -> Coordinates {
    let mut by = || (rng.unit() * 2.0 - 1.0) * degrees;
    let (latitude, longitude) = (latitude + by(), longitude + by());
    Coordinates::from_degrees(latitude, longitude).expect("regions lie well inside the map")
}

pub fn site(name: &str, region: usize, location: Option<Coordinates>) -> Site {
    Site { name: name.to_owned(), title: None, region: RegionId::from_index(region), location }
}

/// A node with the default target and cap.
pub fn node(name: &str, site: usize, capacity: Option<u64>) -> Node {
    Node {
        v4: vec![Ipv4Addr::LOCALHOST],
        capacity: capacity.map(|amount| Capacity {
            unit: "units".to_owned(),
            amount,
            target: Ppm::from_percent(75),
            cap: Ppm::from_percent(90),
        }),
        ..Node::named(name, SiteId::from_index(site))
    }
}

/// A group without location, line or areas.
pub fn group(key: &str) -> ClientGroup {
    ClientGroup {
        key: key.to_owned(),
        country: None,
        line: None,
        location: None,
        areas: Vec::new(),
        v4_slash24: 1_000,
        v6_slash48: 0,
    }
}

/// Nodes, ascending, of equal weight.
pub fn pool(name: &str, nodes: &[usize]) -> Pool {
    let member = |&node: &usize| PoolMember { node: NodeId::from_index(node), weight: 100 };
    Pool {
        name: name.to_owned(),
        members: nodes.iter().map(member).collect(),
        min_alive: Ppm::from_percent(50),
        method: Method::Latency,
    }
}

/// One chain for everybody, over the pools in order.
pub fn service(name: &str, profile: Profile, pools: Vec<Pool>, demand: Option<u64>) -> Service {
    Service {
        name: name.to_owned(),
        title: None,
        hostnames: vec![format!("{name}.rhumb.test")],
        hostname_spans: Vec::new(),
        profile,
        tier: RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) },
        chains: vec![ChainRule::everybody((0..pools.len()).map(PoolId::from_index).collect())],
        pools,
        answers: 1,
        ttl: 30,
        on_all_down: OnAllDown::All,
        shed: None,
        line_penalty: Micros::from_millis(40),
        transfer_default: Vec::new(),
        records: Vec::new(),
        audience: Vec::new(),
        demand,
        care: Care::default(),
        source: format!("services/{name}.yaml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_world_of_the_utilisation_asked_for() {
        for seed in 0..20 {
            let world = World::global(Size::WHOLE, seed, 70);
            assert_eq!(
                format!("{world:?}"),
                format!("{:?}", World::global(Size::WHOLE, seed, 70)),
                "seed {seed}"
            );
            let capacity: f64 = world.capacities().iter().sum();
            let asked: f64 = world.demand_by_pair().iter().sum();
            assert!((asked / capacity - 0.7).abs() < 0.001, "seed {seed}: {}", asked / capacity);
        }
        assert_ne!(
            format!("{:?}", World::global(Size::WHOLE, 1, 70)),
            format!("{:?}", World::global(Size::WHOLE, 2, 70))
        );
    }
}
