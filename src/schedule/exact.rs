//! Unserved demand is the least that any assignment could leave: against an optimum that is computed
//! another way, on random worlds in which capacity is short.

use super::demand::{Assumed, Demand};
use super::load::{fine, part};
use super::properties::{pairs, random};
use super::testing::*;
use super::{Pass, Plan};
use crate::base::hash::SeededRng;
use crate::base::units::Micros;
use crate::model::ids::{AreaId, GroupId, NodeId, PoolId, ServiceId};
use crate::model::placement::{Latencies, PlacementMode};
use crate::model::service::ChainRule;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Worlds in which every node has a capacity, about as much as is asked for.
pub(super) fn short(seed: u64, down_percent: u64) -> World {
    let mut w = random(seed, down_percent);
    let mut rng = SeededRng::new(seed ^ 0x5051);
    for fleet_node in &mut w.policy.fleet.nodes {
        fleet_node.capacity = node("", 0, Some(10 + rng.below(120))).capacity;
    }
    for service in &mut w.policy.services {
        service.demand = Some(rng.below(400));
    }
    w
}

fn demand_of(w: &World) -> Demand {
    let mut demand = Demand::new(&Assumed::of(&w.groups), w.policy.services.len(), None);
    demand.services = w.policy.services.iter().map(|service| fine(service.demand.unwrap_or(0))).collect();
    demand
}

fn cap(w: &World, node: NodeId) -> u64 {
    let capacity = w.policy.fleet.node(node).capacity.as_ref();
    capacity.map_or(u64::MAX >> 8, |capacity| part(fine(capacity.amount), capacity.cap.0))
}

/// The least unserved demand, fine units: by Hall's theorem the most that any set of chains asks beyond
/// what all nodes of those chains may carry. Chains without a live node are left out.
fn least_unserved(w: &World) -> u64 {
    let demand = demand_of(w);
    let mut asked: BTreeMap<Vec<NodeId>, u64> = BTreeMap::new();
    for (service, group, ladder) in pairs(w).into_iter().filter(|(_, _, ladder)| !ladder.all_down) {
        let mut nodes: Vec<NodeId> = ladder.rungs.iter().map(|rung| rung.node).collect();
        nodes.sort_unstable();
        *asked.entry(nodes).or_default() += demand.of(service.index(), group.index());
    }
    let chains: Vec<_> = asked.into_iter().collect();
    assert!(chains.len() <= 12, "the subsets are counted out");
    let beyond = |subset: u32| {
        let chosen = || chains.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1).map(|(_, it)| it);
        let asked: u64 = chosen().map(|(_, amount)| amount).sum();
        let is_open = |node: &NodeId| chosen().any(|(nodes, _)| nodes.contains(node));
        let room: u64 = w.policy.fleet.node_ids().filter(is_open).map(|node| cap(w, node)).sum();
        asked.saturating_sub(room)
    };
    (0..1_u32 << chains.len()).map(beyond).max().unwrap_or(0)
}

/// What a plan leaves above caps, fine units.
fn left_unserved(w: &World, plan: &Plan) -> u64 {
    let demand = demand_of(w);
    let mut load = vec![0; w.health.len()];
    for (service, group, _) in pairs(w) {
        let placement = plan.assignment.placement(service, group).expect("every group has one");
        if placement.mode == PlacementMode::Normal {
            for share in &placement.shares {
                load[share.node.index()] += part(demand.of(service.index(), group.index()), share.share.0);
            }
        }
    }
    let over = |(at, &load): (usize, &u64)| load.saturating_sub(cap(w, NodeId::from_index(at)));
    load.iter().enumerate().map(over).sum()
}

/// A plan's rounding: a millionth of a group for each of its parts, and crumbs for each node.
fn tolerance(w: &World) -> u64 {
    let all: u64 = demand_of(w).services.iter().sum();
    all * 16 / 1_000_000 + 4_096
}

pub(super) fn check_least(w: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let (least, left) = (least_unserved(w), left_unserved(w, plan));
    prop_assert!(left.abs_diff(least) <= tolerance(w), "least {least}, left {left}");
    Ok(())
}

fn total(plan: &Plan) -> u64 {
    plan.unserved.iter().map(|&(_, lost)| lost).sum()
}

/// Four regions of 12 nodes, 10 ms from their own clients and 200 from all others; each area begins with its
/// own region and may go on to the next ones. `percent` of all capacity is asked for.
fn four_regions(percent: u64) -> World {
    let region = |node: usize| node / 12;
    let rows: Vec<Vec<u32>> = (0..40)
        .map(|group| {
            (0..48).map(|node| if region(node) == group % 4 { 10 } else { 200 + node as u32 }).collect()
        })
        .collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let pools = (0..4).map(|region| pool(&(region * 12..region * 12 + 12).collect::<Vec<_>>()));
    let mut service = service("s", pools.collect());
    let chain = |area: usize| {
        let pools = (0..4).map(|at| PoolId::from_index((area + at) % 4));
        ChainRule::of(AreaId::from_index(area), pools.collect())
    };
    service.chains.splice(0..0, (0..4).map(chain));
    service.demand = Some(48 * 1_000 * percent / 100);
    let mut w = spread(&rows, vec![service]).capacity(&[1_000; 48]);
    for (at, group) in w.groups.iter_mut().enumerate() {
        group.areas = vec![AreaId::from_index(at % 4)];
    }
    w
}

#[test]
fn a_region_of_twelve_nodes_is_lost_and_all_that_fits_is_placed() {
    // Of the three regions left, the caps allow 32,400 units.
    for (percent, missing) in [(60, 0), (67, 0), (72, 34_560 - 32_400), (90, 43_200 - 32_400)] {
        let mut w = four_regions(percent);
        let before = plan_first(&w);
        assert_eq!(total(&before), 0, "{percent} %");
        (0..12).for_each(|node| w.health[node] = down());
        let evacuated = w.plan(Some(&before), 1_000, Pass::Evacuation);
        let rearranged = w.plan(Some(&evacuated), 2_000, Pass::Full);
        for plan in [&evacuated, &rearranged] {
            assert!(total(plan).abs_diff(missing) <= 1, "{percent} %: {:?}", plan.unserved);
            let over: u64 = plan.planned_load.iter().map(|load| load.saturating_sub(900)).sum();
            assert!(over.abs_diff(missing) <= 48, "{percent} %: {:?}", plan.planned_load);
        }
        for (service, group, _) in pairs(&w).into_iter().filter(|(_, group, _)| group.index() % 4 != 0) {
            let placed = |plan: &Plan| plan.assignment.placement(service, group).map(|it| it.shares.clone());
            assert_eq!(placed(&before), placed(&evacuated), "{percent} %: {group:?} is no orphan");
        }
    }
}

#[test]
fn groups_without_demand_are_in_nobodys_way() {
    let services = vec![service("idle", vec![pool(&[0, 1])]), service("busy", vec![pool(&[0, 1])])];
    let mut w = spread(&[&[10, 100], &[10, 100]], services).capacity(&[100, 1_000]);
    w.policy.services[0].demand = Some(0);
    w.policy.services[1].demand = Some(60);
    let before = plan_first(&w);
    assert_eq!(before.planned_load, [60, 0]);
    w.policy.services[1].demand = Some(160);
    let plan = w.plan(Some(&before), 0, Pass::Full);
    assert!(total(&plan) == 0 && plan.planned_load[0] <= 90, "{:?}", plan.planned_load);
}

/// The world with its groups in another order, and where each group of it came from.
fn shuffled(w: &World, seed: u64) -> (World, Vec<usize>) {
    let mut rng = SeededRng::new(seed);
    let mut order: Vec<usize> = (0..w.groups.len()).collect();
    // Group 0 counts for what no database knows.
    for at in (2..order.len()).rev() {
        order.swap(at, 1 + rng.below(at as u64) as usize);
    }
    let mut other = w.clone();
    other.groups = order.iter().map(|&at| w.groups[at].clone()).collect();
    let rows = order.iter().flat_map(|&at| w.latencies.row(at).to_vec());
    other.latencies = Latencies::prior(w.latencies.sites, rows.collect());
    (other, order)
}

proptest! {
    // PROPTEST_CASES in the environment asks for more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_table_leaves_as_little_unserved_as_can_be(seed: u64, down in 0_u64..60) {
        let w = short(seed, down);
        check_least(&w, &plan_first(&w))?;
    }

    #[test]
    fn after_a_loss_the_full_pass_leaves_as_little_as_can_be(seed: u64, victim: prop::sample::Index) {
        let mut w = short(seed, 20);
        let before = plan_first(&w);
        let victim = victim.index(w.health.len());
        w.health[victim] = down();
        let first = w.plan(Some(&before), 1_000, Pass::Evacuation);
        check_least(&w, &w.plan(Some(&first), 2_000, Pass::Full))?;
        check_least(&w, &w.plan(Some(&before), 1_000, Pass::Full))?;
    }

    #[test]
    fn more_capacity_never_leaves_more_unserved(seed: u64, lucky: prop::sample::Index, more in 1_u64..100) {
        let mut w = short(seed, 20);
        let before = total(&plan_first(&w));
        let lucky = &mut w.policy.fleet.nodes[lucky.index(w.health.len())];
        lucky.capacity.as_mut().expect("every node has one").amount += more;
        let slack = w.policy.services.len() as u64;
        prop_assert!(total(&plan_first(&w)) <= before + slack);
    }

    #[test]
    fn the_order_of_groups_does_not_matter(seed: u64) {
        let mut w = short(seed, 20);
        for (at, rtt) in w.latencies.rtt.iter_mut().enumerate() {
            *rtt = Micros(rtt.0 + at as u32);
        }
        let (other, order) = shuffled(&w, seed);
        let (plan, again) = (plan_first(&w), plan_first(&other));
        prop_assert_eq!(&plan.planned_load, &again.planned_load);
        prop_assert_eq!(&plan.unserved, &again.unserved);
        for service in (0..w.policy.services.len()).map(ServiceId::from_index) {
            for (at, &from) in order.iter().enumerate() {
                let shares = |plan: &Plan, group| {
                    plan.assignment.placement(service, GroupId::from_index(group)).map(|p| p.shares.clone())
                };
                prop_assert_eq!(shares(&plan, from), shares(&again, at));
            }
        }
    }
}
