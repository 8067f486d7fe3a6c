//! What a node costs a group in the end: doubt, money, lines, and the shapes of prices.

use super::super::testing::{World, group, plan_first, pool, service, shares, spread, up};
use super::super::{Pass, Plan};
use super::*;
use crate::base::units::{Money, Ppm};
use crate::model::clients::Line;
use crate::model::ids::LineId;
use crate::model::service::{Profile, Service};
use crate::model::verdict::FamilyHealth;

/// One group and two nodes, the first placed before the second came near.
fn world(rtt_ms: [u32; 2], votes: [u16; 2]) -> (World, Plan) {
    let mut w = spread(&[&[rtt_ms[0], 400]], vec![service("s", vec![pool(&[0, 1])])]);
    w.latencies.votes = votes.to_vec().into();
    let plan = plan_first(&w);
    assert_eq!(shares(&plan.assignment, 0), [(0, 1_000_000)]);
    w.latencies.rtt[1] = Micros::from_millis(rtt_ms[1]);
    (w, plan)
}

/// Where the group is after some calm seconds.
fn after(world: &World, plan: Plan) -> Plan {
    world.run(plan, 1_000, 20)
}

#[test]
fn a_guess_must_undercut_what_is_measured_by_more() {
    // 100 ms against 80: past the margin of 12. A guess must be cheaper by 15 ms more, and then wins
    // by less than the margin.
    let cases = [([0, 0], true), ([60, 60], true), ([60, 20], true), ([0, 60], true), ([60, 0], false)];
    for (votes, moves) in cases {
        let (w, plan) = world([100, 80], votes);
        let now = after(&w, plan);
        let node = u16::from(moves);
        assert_eq!(shares(&now.assignment, 0), [(node, 1_000_000)], "{votes:?}");
    }
    // 60 ms, a margin of 10 and a doubt of 11: enough.
    let (w, plan) = world([100, 60], [60, 0]);
    let now = after(&w, plan);
    assert_eq!(shares(&now.assignment, 0), [(1, 1_000_000)]);
}

#[test]
fn votes_that_come_and_go_send_nobody_back() {
    let (mut w, plan) = world([100, 80], [60, 60]);
    let mut plan = after(&w, plan);
    assert_eq!(shares(&plan.assignment, 0), [(1, 1_000_000)]);
    let moved = plan.assignment.clone();
    for (at, votes) in [[60, 0], [0, 0], [600, 2], [0, 60], [60, 60]].into_iter().enumerate() {
        w.latencies.votes = votes.to_vec().into();
        plan = w.run(plan, 100_000 * (at as u64 + 1), 20);
        assert_eq!(plan.assignment, moved, "{votes:?}");
    }
}

#[test]
fn a_cheap_node_is_worth_a_detour_of_its_price() {
    // 20 ms more; a unit costs 0.065 less, which counts for 19.5 or 65 ms.
    for (money_us, node) in [(0, 0), (300_000, 0), (1_000_000, 1)] {
        let mut w = spread(&[&[40, 60]], vec![service("s", vec![pool(&[0, 1])])]);
        w.policy.services[0].profile.weights.money_us = money_us;
        let costs = [85_000, 20_000].map(Money);
        w.policy.fleet.nodes.iter_mut().zip(costs).for_each(|(node, cost)| node.cost_per_unit = cost);
        let plan = plan_first(&w);
        assert_eq!(shares(&plan.assignment, 0)[0].0, node, "{money_us}");
    }
}

#[test]
fn measurements_waive_the_line_and_not_the_price() {
    let mut w = spread(&[&[40]], vec![service("s", vec![pool(&[0])])]);
    w.groups[0] = group("g0", 1);
    w.policy.fleet.nodes[0].line = Some(LineId(1));
    let line = |name: &str| Line { name: name.to_owned(), title: None, asns: Vec::new() };
    w.policy.clients.lines = ["a", "b"].map(line).to_vec();
    w.policy.fleet.nodes[0].cost_per_unit = Money(7_000_000);
    for (votes, cost) in [(0, 87_000), (10, 67_000), (20, 47_000), (60, 47_000)] {
        w.latencies.votes = vec![votes].into();
        let memory = super::super::PlannerMemory::default();
        let input = PlanInput {
            policy: &w.policy,
            groups: &w.groups,
            latencies: &w.latencies,
            health: &w.health,
            previous: None,
            memory: &memory,
            demand: None,
            now_ms: 0,
            pass: Pass::Full,
        };
        let (opening, _) = super::super::plan::Opening::of(&input);
        let terrain = &opening.terrain;
        let planned = terrain.outlook(0, 0).expect("a chain").cost(NodeId(0));
        let told = terrain.terms(0, 0, NodeId(0), 0);
        assert_eq!((planned, told.total_us, told.money_us), (cost, cost, 7_000), "{votes}");
    }
}

#[test]
fn services_share_prices_of_one_shape_alone() {
    let pools = || vec![pool(&[0, 1])];
    let mut services: Vec<Service> = ["a", "b", "c", "d"].map(|name| service(name, pools())).to_vec();
    services[1].profile.weights.money_us = 0;
    services[2].profile = Profile::RTC;
    services[3].profile.weights.shape.loss = Ppm::ZERO;
    let mut w = spread(&[&[40, 48]], services);
    w.health[0].families[0] = Some(FamilyHealth { loss: Ppm(50_000), ..up().families[0].clone().unwrap() });
    w.policy.fleet.nodes[0].cost_per_unit = Money(50_000_000);
    let plan = plan_first(&w);
    let first = |service: usize| {
        let of = &plan.assignment.services[service];
        of.placements[of.by_group[0] as usize].shares[0].node.0
    };
    // Loss of 5 % on the near node costs a broadcast 20 ms, and its price another 50.
    assert_eq!([0, 1, 2].map(first), [1, 1, 1]);
    // Who minds no loss still minds the money.
    assert_eq!(first(3), 1);
    w.policy.services[3].profile.weights.money_us = 0;
    let plan = plan_first(&w);
    let of = &plan.assignment.services[3];
    assert_eq!(of.placements[of.by_group[0] as usize].shares[0].node.0, 0);
}

#[test]
fn who_lost_a_node_is_placed_by_cost_alone() {
    let (mut w, plan) = world([100, 80], [60, 0]);
    w.health[0] = super::super::testing::down();
    let now = w.plan(Some(&plan), 1_000, Pass::Evacuation);
    assert_eq!(shares(&now.assignment, 0), [(1, 1_000_000)]);
}
