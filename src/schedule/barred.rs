//! Each rule that keeps clients where they are is named, with how much it holds and for how long.

use super::testing::*;
use super::{Pass, Plan, PlanInput, PlannerMemory, plan};
use crate::base::units::{Micros, Ppm};
use crate::model::canary::Hold;
use crate::model::held_back::{HeldBack, HeldBy, HeldMove, HeldRule};
use crate::model::ids::{GroupId, ServiceId};

fn held(w: &World, plan: &Plan) -> HeldBack {
    plan.memory.held_back(&w.policy, &w.groups)
}

/// What the rule holds, if anything.
fn of(held: &HeldBack, by: HeldBy) -> Option<&HeldRule> {
    held.rules.iter().find(|rule| rule.by == by)
}

fn only(held: &HeldBack) -> &HeldRule {
    assert_eq!(held.rules.len(), 1, "{held:#?}");
    &held.rules[0]
}

/// So many groups of one size, all on the first of two nodes.
fn homes(groups: usize) -> (World, Plan) {
    let rows = vec![[20_u32, 80]; groups];
    let rows: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
    let w = spread(&rows, vec![service("s", vec![pool(&[0, 1])])]);
    let first = plan_first(&w);
    (w, first)
}

/// From now on this group is so far from the two.
fn measure(w: &mut World, group: usize, ms: [u32; 2]) {
    for (node, ms) in ms.into_iter().enumerate() {
        w.latencies.rtt[group * 2 + node] = Micros::from_millis(ms);
    }
}

#[test]
fn nothing_is_held_where_everybody_has_the_best() {
    let (w, first) = homes(20);
    let later = w.run(first, 1_000, 5);
    assert_eq!(held(&w, &later).rules, []);
    assert_eq!(held(&w, &later).budget.left, held(&w, &later).budget.whole);
}

#[test]
fn dwell_then_the_budget_and_then_nobody() {
    let (mut w, first) = homes(4);
    (0..4).for_each(|group| measure(&mut w, group, [80, 20]));
    let now = w.plan(Some(&first), 10_000, Pass::Full);
    let told = held(&w, &now);
    let rule = only(&told);
    assert_eq!((rule.by, rule.groups, rule.share), (HeldBy::Dwell, 4, Ppm::WHOLE));
    assert_eq!((rule.for_ms, rule.left_ms, told.share), (0, Some(3_000), Ppm::WHOLE));
    let HeldMove { group, from, to, share, .. } = &told.largest[0];
    assert_eq!((group.as_deref(), from.as_deref(), to.as_deref()), (Some("g0"), Some("n0"), Some("n1")));
    assert_eq!((*share, told.largest.len()), (Ppm::from_percent(25), 4));
    // An evacuation asks nobody, and what is known stands.
    let quick = w.plan(Some(&now), 11_000, Pass::Evacuation);
    assert_eq!(only(&held(&w, &quick)).left_ms, Some(2_000));
    // A quarter of all goes, which is more than there is: the others wait for the rest to be paid.
    let now = w.plan(Some(&quick), 13_000, Pass::Full);
    let told = held(&w, &now);
    let rule = only(&told);
    assert_eq!((rule.by, rule.groups, rule.share, rule.for_ms), (HeldBy::Budget, 3, Ppm(750_000), 3_000));
    assert_eq!((told.budget.left, told.budget.whole), (Ppm::ZERO, Ppm::from_percent(20)));
    assert_eq!(rule.left_ms, Some(told.budget.some_in_ms));
    assert!(told.budget.some_in_ms > 0 && told.budget.whole_in_ms >= told.budget.some_in_ms);
    let after = w.run(now, 14_000, 600);
    assert_eq!(held(&w, &after).rules, []);
    assert!((0..4).all(|group| shares(&after.assignment, group)[0].0 == 1));
}

#[test]
fn a_second_batch_waits_for_the_pause_and_little_for_more() {
    let (mut w, first) = homes(20);
    measure(&mut w, 0, [80, 20]);
    let now = w.plan(Some(&first), 10_000, Pass::Full);
    measure(&mut w, 1, [80, 20]);
    let now = w.run(now, 11_000, 3);
    assert_eq!((shares(&now.assignment, 0)[0].0, only(&held(&w, &now)).by), (1, HeldBy::Dwell));
    let now = w.plan(Some(&now), 14_000, Pass::Full);
    let told = held(&w, &now);
    let rule = only(&told);
    assert_eq!((rule.by, rule.groups, rule.for_ms, rule.left_ms), (HeldBy::Pause, 1, 3_000, Some(2_000)));
    let now = w.run(now, 15_000, 2);
    assert_eq!((shares(&now.assignment, 1)[0].0, held(&w, &now).rules.len()), (1, 0));

    // One group of a thousand is no table.
    let (mut w, first) = homes(1_000);
    measure(&mut w, 7, [80, 20]);
    let now = w.run(first, 10_000, 5);
    let told = held(&w, &now);
    let rule = only(&told);
    assert_eq!((rule.by, rule.groups, rule.share), (HeldBy::Batch, 1, Ppm(1_000)));
    assert_eq!((rule.for_ms, rule.left_ms), (4_000, Some(26_000)));
    let now = w.run(now, 15_000, 30);
    assert_eq!((shares(&now.assignment, 7)[0].0, held(&w, &now).rules.len()), (1, 0));
}

#[test]
fn what_is_better_by_less_than_the_margin_stays_and_does_not_wait() {
    let (mut w, first) = homes(4);
    measure(&mut w, 2, [28, 22]);
    let now = w.run(first, 10_000, 10);
    let told = held(&w, &now);
    let rule = only(&told);
    assert_eq!((rule.by, rule.groups, rule.share), (HeldBy::Margin, 1, Ppm(250_000)));
    assert_eq!((told.share, told.told(), told.largest.len()), (Ppm::ZERO, None, 0));
    let one = now.memory.held_move((ServiceId(0), GroupId(2)), &w.policy, &w.groups).expect("it stays");
    assert_eq!((one.from.as_deref(), one.to.as_deref()), (Some("n0"), Some("n1")));
}

#[test]
fn a_node_that_came_back_has_its_part_of_the_ramp() {
    let (mut w, first) = homes(4);
    w.health[0] = down();
    let away = w.run(first, 10_000, 20);
    w.health[0] = up();
    let back = w.run(away, 40_000, 10);
    assert_eq!(shares(&back.assignment, 0), [(1, 900_000), (0, 100_000)]);
    let told = held(&w, &back);
    let rule = only(&told);
    assert_eq!((rule.by, rule.groups, rule.share), (HeldBy::Ramp, 4, Ppm(900_000)));
    assert!(rule.left_ms.is_some_and(|left| (280_000..=300_000).contains(&left)), "{rule:?}");
    let home = w.run(back, 50_000, 400);
    assert_eq!(held(&w, &home).rules, []);
}

/// Eight groups whose demand one node carries, but for what is spilled to a farther one.
fn spilling(demand: u64) -> (World, Plan) {
    let rows = [[20_u32, 80]; 8];
    let rows: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0]), pool(&[1])])]).capacity(&[100, 400]);
    w.policy.services[0].demand = Some(demand);
    let first = w.run(plan_first(&w), 1_000, 3);
    (w, first)
}

fn is_spilled(plan: &Plan, group: usize) -> bool {
    shares(&plan.assignment, group) == [(1, 1_000_000)]
}

#[test]
fn who_was_spilled_waits_until_the_node_is_at_ease() {
    let (mut w, full) = spilling(140);
    assert!((0..8).any(|group| is_spilled(&full, group)));
    w.policy.services[0].demand = Some(110);
    let now = w.run(full, 10_000, 10);
    let told = held(&w, &now);
    let rule = of(&told, HeldBy::Spill).unwrap_or_else(|| panic!("{told:#?}"));
    let spilled = (0..8).filter(|&group| is_spilled(&now, group)).count();
    assert_eq!((rule.groups as usize, rule.left_ms), (spilled, None));
    w.policy.services[0].demand = Some(60);
    let home = w.run(now, 30_000, 300);
    assert_eq!((held(&w, &home).rules, (0..8).any(|group| is_spilled(&home, group))), (vec![], false));
}

#[test]
fn a_node_that_was_relieved_is_left_alone_for_a_while() {
    let (mut w, first) = homes(8);
    w = w.capacity(&[100, 400]);
    w.policy.services[0].demand = Some(60);
    // It carries what no plan explains, and lets go of clients by and by.
    w.health[0] = loaded(100);
    let now = w.run(first, 10_000, 60);
    assert!((0..8).any(|group| is_spilled(&now, group)));
    w.health[0] = loaded(55);
    let now = w.run(now, 100_000, 20);
    let told = held(&w, &now);
    let rule = of(&told, HeldBy::Strain).unwrap_or_else(|| panic!("{told:#?}"));
    assert!(rule.groups > 0 && rule.left_ms.is_some_and(|left| left <= 300_000), "{rule:?}");
}

#[test]
fn who_is_held_for_a_canary_is_told_and_nobody_else() {
    let (mut w, first) = homes(200);
    (0..200).for_each(|group| measure(&mut w, group, [80, 20]));
    let hold = Hold { share: Ppm::from_percent(20), seed: 3 };
    let memory = PlannerMemory::default().holding(Some(hold));
    let first = plan(&PlanInput {
        policy: &w.policy,
        groups: &w.groups,
        latencies: &w.latencies,
        health: &w.health,
        previous: Some(&first.assignment),
        memory: &memory,
        demand: None,
        now_ms: 10_000,
        pass: Pass::Full,
    });
    let now = w.run(first, 11_000, 300);
    let told = held(&w, &now);
    let rule = only(&told);
    let kept = w.groups.iter().filter(|group| hold.holds(&group.key)).count();
    assert_eq!((rule.by, rule.groups as usize, rule.left_ms), (HeldBy::Hold, kept, None));
    assert_eq!(rule.share.0 as usize / 5_000, kept, "each is half a percent");
}

#[test]
fn nodes_that_others_should_make_room_on_wait_for_the_budget_too() {
    let (w, mut evacuated) = orphans_fill_a_node();
    evacuated.memory.spent.note(10_000, 200_000_000, &w.policy.planner.budget);
    let now = w.plan(Some(&evacuated), 11_000, Pass::Full);
    let told = held(&w, &now);
    let crowd = |service: &str| told.rules.iter().find(|it| it.service == service && it.groups == 0);
    let [s, t] = ["s", "t"].map(|name| crowd(name).unwrap_or_else(|| panic!("{name}: {told:#?}")));
    assert_eq!((s.by, t.by), (HeldBy::Budget, HeldBy::Budget));
    assert!(s.share > Ppm::ZERO && t.share > Ppm::ZERO && told.told().is_some(), "{told:#?}");
    let one = told.largest.iter().find(|one| one.group.is_none()).expect("it is the only one");
    assert_eq!((one.from.as_deref(), one.to.as_deref()), (Some("n1"), None));
    // It is not held any more once it may be done.
    let settled = w.run(now, 20_000, 60);
    assert!(held(&w, &settled).rules.iter().all(|rule| rule.groups > 0), "{:#?}", held(&w, &settled));
}

#[test]
fn what_is_known_survives_being_written_and_moves_nobody() {
    let (mut w, first) = homes(4);
    (0..4).for_each(|group| measure(&mut w, group, [80, 20]));
    let now = w.run(first, 10_000, 4);
    let mut octets = Vec::new();
    ciborium::into_writer(&now.memory, &mut octets).expect("plain data");
    let memory: PlannerMemory = ciborium::from_reader(&octets[..]).expect("as it was written");
    assert_eq!(memory, now.memory);
    assert_eq!(memory.held_back(&w.policy, &w.groups), held(&w, &now));
    let again = Plan { memory, ..now.clone() };
    let [one, other] = [&now, &again].map(|plan| w.plan(Some(plan), 14_000, Pass::Full));
    assert_eq!(one, other);
}

#[test]
fn demand_above_all_caps_is_told_with_its_share() {
    let (mut w, _) = homes(4);
    w = w.capacity(&[100, 100]);
    w.policy.services[0].demand = Some(240);
    let over = plan_first(&w).over_capacity;
    assert_eq!(over.len(), 1);
    // Shares are whole millionths, and units are rounded down.
    assert!((59..=60).contains(&over[0].units) && over[0].demand == 240, "{over:?}");
    assert!(over[0].share.0.abs_diff(250_000) < 10, "{over:?}");
    w.policy.services[0].demand = Some(170);
    assert_eq!(plan_first(&w).over_capacity, []);
    // Clients without any node are another matter.
    w.policy.services[0].on_all_down = crate::model::service::OnAllDown::NoData;
    w.health = vec![down(), down()];
    let nobody = plan_first(&w);
    assert_eq!((nobody.over_capacity.len(), nobody.unserved.len()), (0, 1));
}
