//! What the order decides in which policy lists nodes, services and pools, and in which client groups come.
//!
//! | world | another order of | same by name |
//! |---|---|---|
//! | any | pools | every plan |
//! | roomy | nodes, services, pools, groups | the first table |
//! | roomy | services, pools | every plan |
//! | short of capacity | all | how much is unserved |
//!
//! Costs are all different in these worlds. Where the table says less, somebody has to be first, and that is
//! whoever stands first.

use super::exact::short;
use super::testing::*;
use super::{Pass, Plan};
use crate::base::hash::SeededRng;
use crate::base::units::Micros;
use crate::model::ids::{GroupId, NodeId, PoolId, ServiceId, SiteId};
use crate::model::placement::Latencies;
use proptest::prelude::{TestCaseError, prop_assert_eq};
use std::collections::BTreeMap;

/// Each node on a site of its own, and no two round trips alike.
fn distinct(seed: u64) -> World {
    let mut w = short(seed, 20);
    let (nodes, site) = (w.health.len(), w.policy.fleet.sites[0].clone());
    w.policy.fleet.sites = vec![site; nodes];
    for (at, node) in w.policy.fleet.nodes.iter_mut().enumerate() {
        node.site = SiteId::from_index(at);
    }
    let mut rng = SeededRng::new(seed ^ 0x7e57);
    let pairs = w.groups.len() * nodes;
    let rtt = (0..pairs).map(|at| Micros(5_000 + (rng.below(2_000) * 97 + at as u64) as u32));
    w.latencies = Latencies::prior(nodes, rtt.collect());
    w
}

fn order(count: usize, first: usize, rng: &mut SeededRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (first + 1..count).rev() {
        order.swap(at, first + rng.below((at + 1 - first) as u64) as usize);
    }
    order
}

/// Where each went.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(now, &was)| places[was] = now);
    places
}

/// What comes in another order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Nodes,
    Services,
    Pools,
    Groups,
}

/// The same world in another order; names stay with what they name.
fn permuted(w: &World, what: &[What], rng: &mut SeededRng) -> World {
    let mut other = w.clone();
    let mut order = |of: What, count: usize, first: usize| match what.contains(&of) {
        true => order(count, first, rng),
        false => (0..count).collect(),
    };
    let nodes = order(What::Nodes, w.health.len(), 0);
    let place = inverse(&nodes);
    let renamed = |node: NodeId| NodeId::from_index(place[node.index()]);
    other.policy.fleet.nodes = nodes.iter().map(|&at| w.policy.fleet.nodes[at].clone()).collect();
    other.health = nodes.iter().map(|&at| w.health[at].clone()).collect();
    let services = order(What::Services, w.policy.services.len(), 0);
    other.policy.services = services.iter().map(|&at| w.policy.services[at].clone()).collect();
    for service in &mut other.policy.services {
        let pools = order(What::Pools, service.pools.len(), 0);
        let place = inverse(&pools);
        service.pools = pools.iter().map(|&at| service.pools[at].clone()).collect();
        for pool in &mut service.pools {
            pool.members.iter_mut().for_each(|member| member.node = renamed(member.node));
            pool.members.sort_by_key(|member| member.node);
        }
        for rule in &mut service.chains {
            rule.pools.iter_mut().for_each(|pool| *pool = PoolId::from_index(place[pool.index()]));
            rule.bias.iter_mut().for_each(|bias| bias.node = renamed(bias.node));
        }
    }
    // Group 0 counts for what no database knows.
    let groups = order(What::Groups, w.groups.len(), 1);
    other.groups = groups.iter().map(|&at| w.groups[at].clone()).collect();
    let rtt = groups.iter().flat_map(|&at| w.latencies.row(at).to_vec());
    other.latencies = Latencies::prior(w.latencies.sites, rtt.collect());
    other
}

/// Nodes with ppm, backups, and how.
type Given = (BTreeMap<String, u32>, Vec<String>, String);

/// A plan by names.
#[derive(Debug, PartialEq)]
struct Named {
    /// By service and group.
    placements: BTreeMap<(String, String), Given>,
    loads: BTreeMap<String, u64>,
    unserved: BTreeMap<String, u64>,
}

fn named(w: &World, plan: &Plan) -> Named {
    let node = |node: NodeId| w.policy.fleet.node(node).name.clone();
    let mut placements = BTreeMap::new();
    for (at, service) in w.policy.services.iter().enumerate() {
        for (group, client) in w.groups.iter().enumerate() {
            let given = plan.assignment.placement(ServiceId::from_index(at), GroupId::from_index(group));
            let given = given.expect("every group has one");
            let shares = given.shares.iter().map(|share| (node(share.node), share.share.0)).collect();
            let backups = given.backups.iter().map(|&backup| node(backup)).collect();
            let pool = given.pool.map(|pool| service.pool(pool).name.clone());
            let how = format!("{:?} {pool:?}", given.mode);
            placements.insert((service.name.clone(), client.key.clone()), (shares, backups, how));
        }
    }
    let loads = w.policy.fleet.node_ids().zip(&plan.planned_load).map(|(at, &load)| (node(at), load));
    let name = |service: ServiceId| w.policy.service(service).name.clone();
    let unserved = plan.unserved.iter().map(|&(service, units)| (name(service), units)).collect();
    Named { placements, loads: loads.collect(), unserved }
}

fn compare(what: &str, worlds: &[World; 2], plans: &[Plan; 2]) -> Result<(), TestCaseError> {
    let [one, two] = [0, 1].map(|at: usize| named(&worlds[at], &plans[at]));
    prop_assert_eq!(one, two, "{}", what);
    Ok(())
}

/// Both worlds through the same course: a node is lost, then another, and the first comes back.
fn same_course(w: &World, other: &World, victims: [usize; 2]) -> Result<(), TestCaseError> {
    let at = |w: &World, victim: usize| {
        let name = format!("n{}", victim % w.health.len());
        w.policy.fleet.nodes.iter().position(|node| node.name == name).expect("nodes are n0, n1 ..")
    };
    let mut worlds = [w.clone(), other.clone()];
    let mut plans = worlds.each_ref().map(plan_first);
    let mut now_ms = 0;
    compare("at first", &worlds, &plans)?;
    let events = [(victims[0], down()), (victims[1], down()), (victims[0], up())];
    for (event, (victim, health)) in events.into_iter().enumerate() {
        for world in &mut worlds {
            let victim = at(world, victim);
            world.health[victim] = health.clone();
        }
        now_ms += 200;
        for second in 0..8 {
            let pass = if second == 0 { Pass::Evacuation } else { Pass::Full };
            plans = [0, 1].map(|at: usize| worlds[at].plan(Some(&plans[at]), now_ms, pass));
            compare(&format!("{second} s after event {event}"), &worlds, &plans)?;
            now_ms += 1_000;
        }
    }
    Ok(())
}

const ALL: [What; 4] = [What::Nodes, What::Services, What::Pools, What::Groups];

/// More room than anybody asks for.
fn roomy(seed: u64) -> World {
    let w = distinct(seed);
    let nodes = w.health.len();
    w.capacity(&vec![100_000; nodes])
}

fn other_order(w: &World, what: &[What], seed: u64) -> World {
    permuted(w, what, &mut SeededRng::new(seed ^ 1))
}

fn victims(seed: u64) -> [usize; 2] {
    [seed as usize, seed as usize / 3]
}

#[test]
fn the_first_table_of_a_roomy_world_is_the_same_in_any_order() {
    for seed in 0..150 {
        let w = roomy(seed);
        let other = other_order(&w, &ALL, seed);
        assert_eq!(named(&w, &plan_first(&w)), named(&other, &plan_first(&other)), "seed {seed}");
    }
}

#[test]
fn the_order_of_pools_and_in_roomy_worlds_of_services_never_decides() {
    for seed in 0..40 {
        let short = distinct(seed);
        let roomy = roomy(seed);
        for (w, what) in [(short, &[What::Pools][..]), (roomy, &[What::Pools, What::Services])] {
            let other = other_order(&w, what, seed);
            if let Err(difference) = same_course(&w, &other, victims(seed)) {
                panic!("seed {seed}, {what:?}: {difference}");
            }
        }
    }
}

/// Where capacity is short somebody has to be asked first, and that is whoever stands first; which clients are
/// above caps then follows the order, and how many does not.
#[test]
fn how_much_is_unserved_is_the_same_in_any_order() {
    for seed in 0..60 {
        let w = distinct(seed);
        let other = other_order(&w, &ALL, seed);
        let unserved = |w: &World| {
            let first = plan_first(w);
            let after = w.run(first.clone(), 1_000, 4);
            [first, after].map(|plan| plan.unserved.iter().map(|(_, units)| units).sum::<u64>())
        };
        // Each service's is rounded down to units.
        let slack = w.policy.services.len() as u64;
        for (one, two) in unserved(&w).into_iter().zip(unserved(&other)) {
            assert!(one.abs_diff(two) <= slack, "seed {seed}: {one} and {two}");
        }
    }
}
