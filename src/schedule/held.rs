//! Who is held stays: no edit, price, cap or crowd moves a held group, only the loss of its node does.

use super::testing::*;
use super::{Pass, Plan, PlanInput, PlannerMemory, plan};
use crate::base::hash::SeededRng;
use crate::base::units::Ppm;
use crate::model::canary::Hold;
use crate::model::service::Method;

/// 200 groups and four nodes whose clients are divided by weight.
fn weighted(weights: [u16; 4]) -> World {
    let rows = vec![[20_u32, 30, 40, 50]; 200];
    let rows: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1, 2, 3])])]);
    let pool = &mut w.policy.services[0].pools[0];
    pool.method = Method::Weights;
    pool.members.iter_mut().zip(weights).for_each(|(member, weight)| member.weight = weight);
    w
}

/// As the writer takes up an edit: everybody where they were, the memory begun anew.
fn edited(w: &World, before: &Plan, hold: Option<Hold>, seconds: u64) -> Plan {
    let memory = PlannerMemory::default().holding(hold);
    let input = PlanInput {
        policy: &w.policy,
        groups: &w.groups,
        latencies: &w.latencies,
        health: &w.health,
        previous: Some(&before.assignment),
        memory: &memory,
        demand: None,
        now_ms: 100_000,
        pass: Pass::Full,
    };
    w.run(plan(&input), 101_000, seconds)
}

fn is_same(one: &Plan, other: &Plan, group: usize) -> bool {
    placement(&one.assignment, group) == placement(&other.assignment, group)
}

#[test]
fn an_edit_moves_the_canary_alone_and_its_end_everybody() {
    let before = plan_first(&weighted([100; 4]));
    let w = weighted([100, 100, 100, 300]);
    let hold = Hold { share: Ppm::from_percent(20), seed: 3 };
    let now = edited(&w, &before, Some(hold), 20);
    let mut moved = 0;
    for (at, group) in w.groups.iter().enumerate() {
        let stays = is_same(&before, &now, at);
        assert_eq!(stays, hold.holds(&group.key), "{}", group.key);
        moved += usize::from(!stays);
        if !stays {
            assert!(is_half(&now, at), "as the new weights say");
        }
    }
    assert!((20..=60).contains(&moved), "about a fifth: {moved}");
    // Promotion: the same world, nobody held; what is remembered stays.
    let freed = Plan { memory: now.memory.clone().holding(None), ..now.clone() };
    let after = w.run(freed, 130_000, 600);
    assert!((0..w.groups.len()).all(|at| is_half(&after, at)));
}

/// Whether half of the group is on the last node; shares are whole millionths.
fn is_half(plan: &Plan, group: usize) -> bool {
    let (node, share) = shares(&plan.assignment, group)[0];
    node == 3 && share.abs_diff(500_000) < 10
}

#[test]
fn who_is_held_leaves_a_node_that_fails_and_no_other() {
    let before = plan_first(&weighted([100; 4]));
    let mut w = weighted([100, 100, 100, 300]);
    let hold = Hold { share: Ppm::from_percent(20), seed: 3 };
    let now = edited(&w, &before, Some(hold), 20);
    w.health[1] = down();
    for pass in [Pass::Evacuation, Pass::Full] {
        let lost = w.plan(Some(&now), 130_000, pass);
        for at in (0..w.groups.len()).filter(|at| hold.holds(&w.groups[*at].key)) {
            let (was, is) = (shares(&now.assignment, at), shares(&lost.assignment, at));
            assert!(is.iter().all(|(node, _)| *node != 1), "{pass:?} {is:?}");
            for (node, share) in was.iter().filter(|(node, _)| *node != 1) {
                let kept = is.iter().find(|(other, _)| other == node).map_or(0, |(_, share)| *share);
                assert!(kept >= *share, "what was elsewhere stays: {was:?} {is:?}");
            }
        }
    }
}

#[test]
fn no_crowd_price_or_report_moves_who_is_held() {
    for seed in 0..20 {
        let mut rng = SeededRng::new(seed);
        let rows: Vec<Vec<u32>> =
            (0..40).map(|_| (0..4).map(|_| 10 + rng.below(80) as u32).collect()).collect();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let pools = vec![pool(&[0, 1]), pool(&[2, 3])];
        let mut w = spread(&rows, vec![service("s", pools)]).capacity(&[100, 100, 100, 100]);
        w.policy.services[0].demand = Some(150);
        let before = w.run(plan_first(&w), 1_000, 10);
        let hold = Hold { share: Ppm::from_percent(30), seed };
        // More is asked for than the first pool carries, other weights, and reports that run away.
        w.policy.services[0].demand = Some(150 + rng.below(250));
        for member in &mut w.policy.services[0].pools[0].members {
            member.weight = 20 + rng.below(200) as u16;
        }
        let mut now = edited(&w, &before, Some(hold), 5);
        for second in 0..60 {
            for node in 0..4 {
                w.health[node] = loaded(rng.below(150));
            }
            now = w.plan(Some(&now), 120_000 + second * 1_000, Pass::Full);
            for at in (0..w.groups.len()).filter(|at| hold.holds(&w.groups[*at].key)) {
                assert!(is_same(&before, &now, at), "seed {seed}, second {second}, group {at}");
            }
        }
    }
}
