//! The planner's rules, one case each, on worlds of a few nodes.

use super::Pass;
use super::testing::*;
use crate::base::units::{Micros, Ppm};
use crate::model::demand::{Shares, WHOLE};
use crate::model::held_back::HeldBy;
use crate::model::ids::{NodeId, RegionId};
use crate::model::placement::PlacementMode;
use crate::model::service::OnAllDown;
use crate::model::verdict::Verdict;
use std::sync::Arc;

#[test]
fn peers_split_by_weight_and_allowance() {
    let mut w = world(3, vec![service("s", vec![pool(&[0, 1, 2])])]);
    assert_eq!(shares(&plan_first(&w).assignment, 0), [(0, 333_334), (1, 333_333), (2, 333_333)]);
    w.policy.services[0].pools[0].members[2].weight = 200;
    assert_eq!(shares(&plan_first(&w).assignment, 0), [(2, 500_000), (0, 250_000), (1, 250_000)]);
    let w = w.capacity(&[300, 100, 100]);
    assert_eq!(shares(&plan_first(&w).assignment, 0), [(0, 500_001), (2, 333_333), (1, 166_666)]);
}

#[test]
fn the_plan_weighs_groups_by_what_is_counted() {
    let mut w =
        spread(&[&[20, 90], &[90, 20]], vec![service("s", vec![pool(&[0, 1])])]).capacity(&[100, 100]);
    w.policy.services[0].demand = Some(80);
    let assumed = plan_first(&w);
    assert_eq!(assumed.planned_load, [40, 40]);
    let counted = Shares { groups: vec![Some([WHOLE / 8, WHOLE / 8 * 7].into())], services: Arc::default() };
    let learned = w.plan_counted(Some(&assumed), Some(&counted), 1_000, Pass::Full);
    assert_eq!((learned.planned_load.as_slice(), learned.moves.len()), (&[10, 70][..], 0));
    // Beyond the cap of the node that is near, the rest of the group goes elsewhere.
    w.policy.services[0].demand = Some(120);
    let crowded = w.plan_counted(None, Some(&counted), 0, Pass::Full);
    assert!(crowded.planned_load[1] <= 90 && crowded.unserved.is_empty(), "{:?}", crowded.planned_load);
    assert!(shares(&crowded.assignment, 1).len() > 1);
}

#[test]
fn farther_nodes_are_backups_in_order_of_cost() {
    let w = spread(&[&[90, 20, 50], &[20, 90, 60]], vec![service("s", vec![pool(&[0, 1, 2])])]);
    let plan = plan_first(&w);
    assert_eq!(shares(&plan.assignment, 0), [(1, 1_000_000)]);
    assert_eq!(placement(&plan.assignment, 0).backups, [NodeId(2), NodeId(0)]);
    assert_eq!(shares(&plan.assignment, 1), [(0, 1_000_000)]);
}

#[test]
fn groups_that_differ_little_share_a_placement() {
    let mut rng = crate::base::hash::SeededRng::new(5);
    let mut row = || -> Vec<u32> { [20, 80, 82, 84, 86, 160].map(|ms| ms + rng.below(5) as u32).to_vec() };
    let rows: Vec<Vec<u32>> = (0..64).map(|_| row()).collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1, 2, 3, 4, 5])])]);
    let first = plan_first(&w).assignment;
    assert_eq!(first.services[0].placements.len(), 1, "{:?}", first.services[0].placements);
    assert_eq!(placement(&first, 0).backups.len(), 2, "one to answer with and one to lose");
    w.policy.services[0].answers = 4;
    assert_eq!(placement(&plan_first(&w).assignment, 0).backups.len(), 4);
}

#[test]
fn a_family_that_the_nearest_lack_has_a_backup() {
    let mut w = spread(&[&[20, 80, 90, 100]], vec![service("s", vec![pool(&[0, 1, 2, 3])])]);
    w.policy.fleet.nodes[3].v6 = vec![std::net::Ipv6Addr::LOCALHOST];
    w.health[3].families[1] = w.health[3].families[0].clone();
    let first = plan_first(&w);
    assert_eq!(placement(&first.assignment, 0).backups, [NodeId(1), NodeId(2), NodeId(3)]);
    // And it is sought anew when the family dies.
    w.policy.fleet.nodes[1].v6 = vec![std::net::Ipv6Addr::LOCALHOST];
    w.health[1].families[1] = w.health[3].families[1].clone();
    let first = plan_first(&w);
    assert_eq!(placement(&first.assignment, 0).backups, [NodeId(1), NodeId(2)]);
    w.health[1].families[1].as_mut().expect("it has one").verdict = Verdict::Down;
    let later = w.plan(Some(&first), 1_000, Pass::Full);
    assert_eq!(placement(&later.assignment, 0).backups, [NodeId(1), NodeId(2), NodeId(3)]);
}

#[test]
fn what_nobody_moved_in_is_handed_on_as_it_was() {
    let w = world(3, vec![service("s", vec![pool(&[0, 1, 2])])]);
    let first = plan_first(&w);
    let second = w.plan(Some(&first), 1_000, Pass::Full);
    assert!(second.assignment.services[0].by_group.is_same(&first.assignment.services[0].by_group));
    assert!(second.assignment.services[0].placements.is_same(&first.assignment.services[0].placements));
}

#[test]
fn another_line_costs_the_penalty_unless_a_line_is_unknown() {
    use crate::model::clients::Line;
    use crate::model::ids::LineId;
    let mut w = spread(&[&[20, 30], &[20, 30], &[20, 30]], vec![service("s", vec![pool(&[0, 1])])]);
    let line = |name: &str| Line { name: name.to_owned(), title: None, asns: vec![] };
    w.policy.clients.lines = vec![line("a"), line("b")];
    (w.policy.fleet.nodes[0].line, w.policy.fleet.nodes[1].line) = (Some(LineId(0)), Some(LineId(1)));
    (w.groups[0].line, w.groups[1].line) = (Some(LineId(0)), Some(LineId(1)));
    let plan = plan_first(&w);
    let first = |group| shares(&plan.assignment, group)[0].0;
    assert_eq!((first(0), first(1), first(2)), (0, 1, 0));
}

#[test]
fn a_dead_node_loses_only_its_share_and_gets_it_back_by_a_ramp() {
    let mut w = world(3, vec![service("s", vec![pool(&[0, 1, 2])])]);
    let before = plan_first(&w);
    w.health[2] = down();
    let after = w.plan(Some(&before), 1_000, Pass::Evacuation);
    assert_eq!(shares(&after.assignment, 0), [(0, 500_001), (1, 499_999)]);
    assert!(after.moves.iter().all(|one| one.from == Some(NodeId(2))), "{:?}", after.moves);
    w.health[2] = up();
    let ramping = w.run(after.clone(), 2_000, 5);
    assert_eq!(shares(&ramping.assignment, 0).last(), Some(&(2, 33_333)), "a tenth of its third");
    let back = w.run(ramping, 10_000, 320);
    assert_eq!(shares(&back.assignment, 0), shares(&before.assignment, 0));
}

#[test]
fn a_small_gain_moves_nobody_and_a_large_one_waits_three_seconds() {
    let mut w = spread(&[&[50, 70]], vec![service("s", vec![pool(&[0, 1])])]);
    let first = plan_first(&w);
    assert_eq!(shares(&first.assignment, 0), [(0, 1_000_000)]);
    w.latencies.rtt[1] = Micros::from_millis(46);
    let same = w.run(first.clone(), 1_000, 10);
    assert!(shares(&same.assignment, 0).contains(&(0, 500_000)), "joins as a peer, does not take over");
    w.latencies.rtt[1] = Micros::from_millis(56);
    let same = w.run(first.clone(), 1_000, 10);
    assert_eq!(shares(&same.assignment, 0), [(0, 1_000_000)]);
    w.latencies.rtt[1] = Micros::from_millis(30);
    let waiting = w.run(first.clone(), 1_000, 3);
    assert_eq!(shares(&waiting.assignment, 0), [(0, 1_000_000)]);
    let moved = w.run(first, 1_000, 4);
    assert_eq!(shares(&moved.assignment, 0), [(1, 1_000_000)]);
}

#[test]
fn a_full_node_spills_and_the_spill_ends_at_ease() {
    let pools = vec![pool(&[0]), pool(&[1])];
    let mut w = world(2, vec![service("s", pools)]).capacity(&[100, 100]);
    w.policy.services[0].demand = Some(120);
    let first = plan_first(&w);
    assert!(first.planned_load[0] <= 90 && first.planned_load[0] >= 85, "{:?}", first.planned_load);
    assert!(first.unserved.is_empty());
    // Three of four groups are on node 0: at 88 units that is 66 %, at 80 it is 60 %.
    w.policy.services[0].demand = Some(88);
    let still = w.run(first, 1_000, 100);
    assert!((21..=22).contains(&still.planned_load[1]), "{:?}", still.planned_load);
    w.policy.services[0].demand = Some(80);
    let back = w.run(still, 200_000, 100);
    assert_eq!(back.planned_load[1], 0, "{:?}", back.notes);
}

#[test]
fn a_node_that_says_it_is_full_receives_nobody_and_sheds() {
    let mut w = world(3, vec![service("s", vec![pool(&[0, 1, 2])])]).capacity(&[100, 100, 100]);
    w.health = vec![loaded(20), loaded(20), loaded(20)];
    let first = plan_first(&w);
    assert!(first.planned_load.iter().all(|&load| (19..=20).contains(&load)), "{:?}", first.planned_load);
    w.health[0].load.as_mut().expect("reported").utilisation = Ppm::from_percent(95);
    let shed = w.run(first, 1_000, 60);
    assert!(shed.planned_load[0] <= 10, "{:?}", shed.planned_load);
    assert!(shed.planned_load[1] >= 24, "{:?}", shed.planned_load);
}

#[test]
fn scarcity_leaves_nobody_without_an_answer() {
    let mut w = world(2, vec![service("s", vec![pool(&[0, 1])])]).capacity(&[100, 100]);
    w.policy.services[0].demand = Some(300);
    let plan = plan_first(&w);
    assert!((0..4).all(|group| !shares(&plan.assignment, group).is_empty()));
    assert!(plan.unserved[0].1.abs_diff(120) <= 1, "{:?}", plan.unserved);
    assert_eq!(plan.notes.len(), 1);
}

#[test]
fn degraded_and_unknown_nodes_are_not_preferred() {
    let mut w = world(3, vec![service("s", vec![pool(&[0, 1, 2])])]);
    w.health = vec![with_verdict(Verdict::Degraded), with_verdict(Verdict::Unknown), up()];
    let plan = plan_first(&w);
    assert_eq!(shares(&plan.assignment, 0), [(2, 1_000_000)]);
    assert_eq!(placement(&plan.assignment, 0).backups.len(), 2);
}

#[test]
fn who_lost_a_node_goes_round_those_whose_probes_fail_as_far_as_others_have_room() {
    let w = spread(&[&[20, 20, 60][..]; 4], vec![service("s", vec![pool(&[0, 1]), pool(&[2])])]);
    let w = w.capacity(&[1_000, 1_000, 400]);
    let orphans_of = |demand: u64, is_failing: bool| {
        let mut w = w.clone();
        w.policy.services[0].demand = Some(demand);
        let first = plan_first(&w);
        assert_eq!(first.planned_load, [demand / 2, demand / 2, 0]);
        w.health[0] = down();
        w.health[1].families[0].as_mut().expect("a family").is_failing = is_failing;
        w.plan(Some(&first), 1_000, Pass::Evacuation).planned_load
    };
    assert_eq!(orphans_of(400, false), [0, 400, 0]);
    assert_eq!(orphans_of(400, true), [0, 200, 200], "they would soon be moved again");
    let load = orphans_of(1_000, true);
    assert!(load[2] <= 360 && load[1] + load[2] >= 999, "what has no room elsewhere: {load:?}");
}

#[test]
fn who_lost_a_node_leaves_room_for_those_who_are_next() {
    let strict = service("strict", vec![pool(&[0, 1]), pool(&[2])]);
    let free = service("free", vec![pool(&[0, 1]), pool(&[2, 3])]);
    let mut w = spread(&[&[20, 20, 30, 60][..]; 8], vec![strict, free]).capacity(&[1_000; 4]);
    w.policy.services.iter_mut().for_each(|service| service.demand = Some(800));
    let first = plan_first(&w);
    assert_eq!(first.planned_load, [800, 800, 0, 0]);
    // One after another; the second failed once when the first is given up.
    let lost = |region: u16| {
        let mut w = w.clone();
        w.policy.fleet.regions.push(w.policy.fleet.regions[0].clone());
        w.policy.fleet.sites[1].region = RegionId(region);
        w.health[0] = down();
        w.health[1].families[0].as_mut().expect("a family").is_failing = true;
        let one = w.plan(Some(&first), 1_000, Pass::Evacuation);
        w.health[1] = down();
        let both = w.plan(Some(&one), 1_050, Pass::Evacuation);
        assert!(both.moves.iter().all(|it| it.from == Some(NodeId(1))), "only who lost it: {:?}", both.moves);
        (one.planned_load, both)
    };
    let (one, both) = lost(0);
    assert!((400..=500).contains(&one[2]) && one[1] == 800, "half of it is for the other's: {one:?}");
    assert!(both.unserved.is_empty() && both.planned_load[2] <= 900, "{:?}", both.planned_load);
    let (one, both) = lost(1);
    assert!(one[2] >= 700, "what fails in other regions wants other room: {one:?}");
    let unserved: u64 = both.unserved.iter().map(|(_, units)| units).sum();
    assert!(unserved >= 200, "whoever came first has it: {:?}", both.unserved);
}

#[test]
fn nothing_is_left_for_those_who_would_not_come() {
    let one = service("one", vec![pool(&[0, 1]), pool(&[4])]);
    let mut w = spread(&[&[20, 20, 20, 20, 30][..]; 8], vec![one, service("other", vec![pool(&[2, 3])])]);
    w = w.capacity(&[1_000; 5]);
    for (service, demand) in w.policy.services.iter_mut().zip([600, 1_600]) {
        service.demand = Some(demand);
    }
    let first = plan_first(&w);
    assert_eq!(first.planned_load, [300, 300, 800, 800, 0]);
    w.health[0] = down();
    w.health[2].families[0].as_mut().expect("a family").is_failing = true;
    let after = w.plan(Some(&first), 1_000, Pass::Evacuation);
    assert_eq!(after.planned_load, [0, 600, 800, 800, 0], "a lost packet elsewhere sends nobody further");
}

#[test]
fn others_make_room_where_orphans_filled_a_node_to_its_cap() {
    let (w, evacuated) = orphans_fill_a_node();
    let filled = evacuated.planned_load[1];
    assert!(filled > 860 && evacuated.planned_load[2] == 0, "only they move: {:?}", evacuated.planned_load);
    let settled = w.run(evacuated, 14_000, 30);
    assert!((780..=850).contains(&settled.planned_load[1]), "{:?}", settled.planned_load);
    assert!(settled.planned_load[2] > 0 && settled.unserved.is_empty(), "{:?}", settled.unserved);
}

#[test]
fn room_that_comes_to_be_little_by_little_is_used_in_few_steps() {
    let (near, either) = (service("s", vec![pool(&[0, 1])]), service("t", vec![pool(&[1]), pool(&[2])]));
    let mut w = spread(&[&[20, 20, 60][..]; 8], vec![near, either, service("u", vec![pool(&[2])])]);
    w = w.capacity(&[1_000, 1_000, 1_000]);
    w.policy.services[2].demand = Some(800);
    for service in &mut w.policy.services {
        service.profile.session = std::time::Duration::ZERO;
    }
    w.health = vec![loaded(300), loaded(600), up()];
    let mut current = plan_first(&w);
    for tick in 0..5 {
        let load = current.planned_load.clone();
        w.health = (0..3).map(|at| loaded(load[at])).collect();
        current = w.plan(Some(&current), tick * 1_000, Pass::Full);
    }
    w.health[0] = down();
    current = w.plan(Some(&current), 10_000, Pass::Evacuation);
    let filled = current.planned_load[1];
    assert!(filled > 860 && current.planned_load[2] <= 810, "{:?}", current.planned_load);
    // Load of no known origin goes down a little each second, from 50.
    let mut steps = 0;
    for second in 0..35 {
        w.health[2] = loaded(850 - second * 3 / 2);
        current = w.plan(Some(&current), 14_000 + second * 1_000, Pass::Full);
        steps += usize::from(!current.moves.is_empty());
    }
    assert!(current.planned_load[1] + 25 < filled, "{filled}, then {:?}", current.planned_load);
    assert!((1..=2).contains(&steps), "{steps} tables");
}

#[test]
fn all_down_answers_as_the_policy_says() {
    let answer = |rule: OnAllDown, previous: bool| {
        let mut w = spread(&[&[20, 90]], vec![service("s", vec![pool(&[0]), pool(&[1])])]);
        w.policy.services[0].on_all_down = rule;
        w.health[0] = down();
        let first = plan_first(&w);
        assert_eq!(shares(&first.assignment, 0), [(1, 1_000_000)]);
        w.health[1] = down();
        let plan = w.plan(previous.then_some(&first), 1_000, Pass::Evacuation);
        let again = w.plan(Some(&plan), 2_000, Pass::Full);
        assert_eq!(again.assignment, plan.assignment, "stays");
        w.health[1] = up();
        let back = w.plan(Some(&again), 3_000, Pass::Evacuation);
        assert_eq!(placement(&back.assignment, 0).mode, PlacementMode::Normal, "ends at once");
        (placement(&plan.assignment, 0).mode, shares(&plan.assignment, 0))
    };
    assert_eq!(answer(OnAllDown::All, true), (PlacementMode::FailOpen, vec![(0, 1_000_000)]));
    assert_eq!(answer(OnAllDown::LastGood, true), (PlacementMode::FailOpen, vec![(1, 1_000_000)]));
    assert_eq!(answer(OnAllDown::LastGood, false), (PlacementMode::FailOpen, vec![(0, 1_000_000)]));
    assert_eq!(answer(OnAllDown::NoData, true), (PlacementMode::AllDown, vec![]));
    assert_eq!(answer(OnAllDown::ServFail, true), (PlacementMode::AllDown, vec![]));
}

#[test]
fn the_budget_bounds_what_moves_in_a_minute() {
    let rows: Vec<&[u32]> = vec![&[20, 90]; 20];
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1])])]);
    let first = plan_first(&w);
    for rtt in w.latencies.rtt.iter_mut().step_by(2) {
        *rtt = Micros::from_millis(200);
    }
    let moved = |plan: &super::Plan| (0..20).filter(|&g| shares(&plan.assignment, g)[0].0 == 1).count();
    let soon = w.run(first, 1_000, 4);
    assert!((4..=5).contains(&moved(&soon)), "{}", moved(&soon));
    let held = soon.memory.held_back(&w.policy, &w.groups);
    assert!(held.holds(HeldBy::Budget), "{held:?}");
    assert_eq!(moved(&w.run(soon, 5_000, 300)), 20);
}

#[test]
fn malformed_input_is_survived() {
    let mut w = world(2, vec![service("s", vec![pool(&[0, 1, 9])]), service("t", vec![])]);
    w.latencies.rtt.clear();
    w.health.clear();
    w.policy.services[1].chains.clear();
    let plan = plan_first(&w);
    assert_eq!(shares(&plan.assignment, 0).len(), 2);
    w.groups.clear();
    assert!(w.plan(Some(&plan), 1, Pass::Full).moves.is_empty());
}
