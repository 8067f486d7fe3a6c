//! What comes back to nodes while they ramp up, and what does not wait for that.

use super::super::explain::CandidateState;
use super::super::testing::*;
use super::super::{Pass, Plan, PlanInput};
use crate::model::ids::{GroupId, ServiceId, SiteId};

/// By second of the ramp at which it is looked at: its step, ppm.
const STEPS: [(u64, u32); 4] = [(70, 100_000), (145, 250_000), (220, 500_000), (295, 750_000)];

fn on(plan: &Plan, group: usize, nodes: std::ops::Range<u16>) -> u32 {
    shares(&plan.assignment, group).iter().filter(|(node, _)| nodes.contains(node)).map(|(_, ppm)| ppm).sum()
}

/// The first `near` nodes are a site 10 ms from four groups, the last is a refuge of 60 ms.
fn site(near: u16) -> World {
    let mut rtt = vec![10; usize::from(near)];
    rtt.push(60);
    let all: Vec<u16> = (0..=near).collect();
    let mut w = spread(&[&rtt[..]; 4], vec![service("s", vec![pool(&all)])]);
    for node in &mut w.policy.fleet.nodes[..usize::from(near)] {
        node.site = SiteId(0);
    }
    w
}

/// These nodes fail, and come back at 10 s; a full pass each second from then on.
fn comes_back(w: &mut World, first: Plan, nodes: std::ops::Range<usize>) -> Plan {
    w.health[nodes.clone()].fill(down());
    let away = w.plan(Some(&first), 1_000, Pass::Evacuation);
    let away = w.run(away, 2_000, 8);
    w.health[nodes].fill(up());
    w.plan(Some(&away), 10_000, Pass::Full)
}

#[test]
fn nodes_that_come_back_together_have_the_ramps_part_together() {
    for near in [1, 2, 5, 8] {
        let mut w = site(near);
        let first = plan_first(&w);
        let before = shares(&first.assignment, 0);
        assert_eq!(on(&first, 0, 0..near), 1_000_000, "{before:?}");
        let mut plan = comes_back(&mut w, first, 0..usize::from(near));
        let mut at = 1;
        for (look, ramp) in STEPS {
            plan = w.run(plan, 10_000 + at * 1_000, look - at);
            at = look;
            for group in 0..4 {
                let back = on(&plan, group, 0..near);
                assert!((ramp - 10..=ramp).contains(&back), "{near} nodes: {back} ppm at {ramp}");
            }
        }
        plan = w.run(plan, 10_000 + at * 1_000, 60);
        assert_eq!(shares(&plan.assignment, 0), before, "the ramp is over");
    }
}

#[test]
fn one_of_many_peers_comes_back_in_parts_of_its_own_part() {
    let mut w = world(8, vec![service("s", vec![pool(&[0, 1, 2, 3, 4, 5, 6, 7])])]);
    let first = plan_first(&w);
    let before = shares(&first.assignment, 0);
    let mut plan = comes_back(&mut w, first, 3..4);
    let mut at = 1;
    for (look, ramp) in STEPS {
        plan = w.run(plan, 10_000 + at * 1_000, look - at);
        at = look;
        assert_eq!(on(&plan, 0, 3..4), ramp / 8);
    }
    plan = w.run(plan, 10_000 + at * 1_000, 60);
    assert_eq!(shares(&plan.assignment, 0), before, "steps below the dead band of splits as well");
}

#[test]
fn what_groups_ask_for_adds_up_to_no_more_than_the_ramps_part_of_the_cap() {
    // Each of twenty groups alone would fit on the near node, all of them are twice what it can carry.
    let rows: Vec<&[u32]> = vec![&[20, 70]; 20];
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1])])]).capacity(&[1_000, 10_000]);
    w.policy.services[0].demand = Some(2_000);
    let first = plan_first(&w);
    let mut plan = comes_back(&mut w, first, 0..1);
    let mut at = 1;
    for (look, ramp) in STEPS {
        plan = w.run(plan, 10_000 + at * 1_000, look - at);
        at = look;
        let most = u64::from(ramp) * 900 / 1_000_000;
        let load = plan.planned_load[0];
        assert!((most * 9 / 10..=most).contains(&load), "{load} of at most {most}");
    }
}

#[test]
fn who_has_no_other_node_is_served_at_once() {
    let mut w = site(2);
    w.health[2] = down();
    let first = plan_first(&w);
    let plan = comes_back(&mut w, first, 0..2);
    assert!((0..4).all(|group| on(&plan, group, 0..2) == 1_000_000), "{:?}", shares(&plan.assignment, 0));
    // Nor where the others have no room.
    let mut w = site(2).capacity(&[1_000, 1_000, 500]);
    w.policy.services[0].demand = Some(1_000);
    let first = plan_first(&w);
    let plan = comes_back(&mut w, first, 0..2);
    assert!(plan.unserved.is_empty() && plan.planned_load[2] <= 450, "{:?}", plan.planned_load);
}

#[test]
fn nobody_is_sent_away_for_the_ramp() {
    // What the refuge cannot carry is back at once, and stays when the refuge could.
    let mut w = site(2).capacity(&[1_000, 1_000, 500]);
    w.policy.services[0].demand = Some(1_000);
    let first = plan_first(&w);
    let mut plan = comes_back(&mut w, first, 0..2);
    let mut least = plan.planned_load[0] + plan.planned_load[1];
    assert!(least >= 549, "{:?}", plan.planned_load);
    w.policy.fleet.nodes[2].capacity = node("", 0, Some(5_000)).capacity;
    for second in 1..360 {
        plan = w.plan(Some(&plan), 10_000 + second * 1_000, Pass::Full);
        let back = plan.planned_load[0] + plan.planned_load[1];
        assert!(back + 1 >= least, "{back} after {least} at {second} s");
        least = back;
    }
    assert!(least >= 999, "{:?}", plan.planned_load);
}

#[test]
fn a_node_that_comes_back_later_takes_nothing_from_the_refuge_of_the_others() {
    let mut w = site(2);
    let first = plan_first(&w);
    w.health[1] = down();
    let first = w.plan(Some(&first), 500, Pass::Evacuation);
    let plan = comes_back(&mut w, first, 0..1);
    let plan = w.run(plan, 11_000, 280);
    assert_eq!(on(&plan, 0, 0..1), 750_000);
    w.health[1] = up();
    let plan = w.run(plan, 291_000, 8);
    let (early, late) = (on(&plan, 0, 0..1), on(&plan, 0, 1..2));
    assert_eq!((early, late), (750_000, 50_000), "its part is a half");
    let plan = w.run(plan, 299_000, 400);
    assert_eq!(shares(&plan.assignment, 0), [(0, 500_000), (1, 500_000)]);
}

#[test]
fn a_part_that_is_too_little_yet_is_told_of() {
    let mut w = world(2, vec![service("s", vec![pool(&[0, 1])])]);
    w.policy.services[0].pools[0].members[1].weight = 6;
    let first = plan_first(&w);
    assert_eq!(on(&first, 0, 1..2), 56_603);
    let plan = comes_back(&mut w, first, 1..2);
    let plan = w.run(plan, 11_000, 60);
    assert_eq!(on(&plan, 0, 1..2), 0, "less than a 128th");
    let input = PlanInput {
        policy: &w.policy,
        groups: &w.groups,
        latencies: &w.latencies,
        health: &w.health,
        previous: Some(&plan.assignment),
        memory: &plan.memory,
        demand: None,
        now_ms: 71_000,
        pass: Pass::Full,
    };
    let told = super::super::explain(&input, ServiceId(0), GroupId(0)).expect("both exist");
    let node = told.candidates.iter().find(|it| it.node == "n1").expect("a member");
    let because = "it came back: for now it takes at most 10 % of its part";
    assert!(matches!(&node.state, CandidateState::Backup { because: it, .. } if it == because), "{node:?}");
    let plan = w.run(plan, 71_000, 30);
    assert_eq!(on(&plan, 0, 1..2), 14_150, "a quarter");
}
