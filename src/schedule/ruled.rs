//! What the policy says of the planner is what it does; and an edit of that takes nothing from its memory.

use super::testing::*;
use super::{Pass, Plan};
use crate::base::units::{Micros, Ppm};
use crate::model::degradation::Rung;
use crate::model::ids::{GroupId, ServiceId};
use std::time::Duration;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Twenty groups near node 0, of which half the way becomes long.
fn leaving() -> (World, Plan) {
    let rows: Vec<&[u32]> = vec![&[20, 90]; 20];
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1])])]);
    let first = plan_first(&w);
    w.latencies.rtt.iter_mut().step_by(2).for_each(|rtt| *rtt = Micros::from_millis(200));
    (w, first)
}

fn gone(plan: &Plan) -> usize {
    (0..20).filter(|&group| shares(&plan.assignment, group)[0].0 == 1).count()
}

#[test]
fn the_budget_and_its_window_are_the_policy_s() {
    let (mut w, first) = leaving();
    w.policy.planner.budget.share = Ppm::from_percent(50);
    w.policy.planner.budget.window = s(10);
    let soon = w.run(first.clone(), 1_000, 10);
    assert_eq!(gone(&soon), 10);
    assert_eq!(gone(&w.run(soon.clone(), 11_000, 10)), 20);
    // What was spent is spent, whatever becomes of the rules meanwhile.
    w.policy.planner.budget.window = s(120);
    let slow = w.run(soon, 11_000, 100);
    assert_eq!(gone(&slow), 10);
    assert_eq!(gone(&w.run(slow, 111_000, 20)), 20);
}

#[test]
fn the_dwell_is_the_policy_s_and_an_edit_forgets_no_wish() {
    let (mut w, first) = leaving();
    w.policy.planner.dwell = s(20);
    let waiting = w.run(first, 1_000, 20);
    assert_eq!(gone(&waiting), 0);
    let since = |plan: &Plan| plan.memory.pending.get(&(GroupId(0), ServiceId(0))).copied();
    assert_eq!(since(&waiting), Some(1_000));
    w.policy.planner.dwell = s(22);
    let still = w.run(waiting, 21_000, 2);
    assert_eq!((gone(&still), since(&still)), (0, Some(1_000)), "the wait goes on");
    assert_eq!(gone(&w.run(still, 23_000, 1)), 4);
}

#[test]
fn the_margin_is_the_policy_s() {
    let moved = |least_ms: u32, percent: u32| {
        let mut w = spread(&[&[50, 70]], vec![service("s", vec![pool(&[0, 1])])]);
        w.policy.planner.margin.least = Micros::from_millis(least_ms);
        w.policy.planner.margin.share = Ppm::from_percent(percent);
        let first = plan_first(&w);
        w.latencies.rtt[1] = Micros::from_millis(30);
        shares(&w.run(first, 1_000, 10).assignment, 0)[0].0 == 1
    };
    assert!(moved(10, 15) && moved(19, 60));
    assert!(!moved(21, 15), "20 ms are less than the margin");
    assert!(!moved(10, 70), "and two thirds of 30 ms are");
}

#[test]
fn the_ramp_is_the_policy_s() {
    let on_it = |ramp: Duration, seconds: u64| {
        let mut w = world(2, vec![service("s", vec![pool(&[0, 1])])]);
        w.policy.planner.ramp = ramp;
        w.policy.planner.budget.share = Ppm::WHOLE;
        let before = plan_first(&w);
        w.health[1] = down();
        let after = w.plan(Some(&before), 1_000, Pass::Evacuation);
        w.health[1] = up();
        let back = w.run(after, 2_000, seconds);
        shares(&back.assignment, 0).iter().find(|share| share.0 == 1).map_or(0, |share| share.1)
    };
    assert!(on_it(s(300), 40) < 250_000);
    assert_eq!((on_it(s(20), 40), on_it(Duration::ZERO, 10)), (500_000, 500_000));
}

#[test]
fn the_end_of_spill_is_the_policy_s() {
    let spilled = |percent: u32| {
        let mut w = world(2, vec![service("s", vec![pool(&[0]), pool(&[1])])]).capacity(&[100, 100]);
        w.policy.planner.spill_end = Ppm::from_percent(percent);
        w.policy.services[0].demand = Some(120);
        let first = plan_first(&w);
        w.policy.services[0].demand = Some(80);
        w.run(first, 1_000, 200).planned_load[1]
    };
    // Three of four groups are on node 0 at first: 60 %.
    assert_eq!((spilled(65), spilled(50)), (0, 20));
}

#[test]
fn the_rung_of_spill_is_the_policy_s() {
    let rung = |enter: u32| {
        let mut w = world(2, vec![service("s", vec![pool(&[0]), pool(&[1])])]).capacity(&[100, 100]);
        w.policy.planner.spill.enter = Ppm::from_percent(enter);
        w.policy.services[0].demand = Some(120);
        let plan = w.run(plan_first(&w), 1_000, 10);
        plan.memory.rungs(&w.policy, 0)[0].rung
    };
    // A quarter of the demand is on the second pool.
    assert_eq!((rung(20), rung(40)), (Rung::Spill, Rung::Normal));
}
