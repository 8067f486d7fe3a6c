//! The change budget, watched from outside: whatever latencies and loads do for minutes, no window of 60 s has
//! more moves by choice than the budget.
//!
//! Moves are counted by what clients are given, not by what the planner says it spent. Nobody loses a node in
//! these worlds, and a second that begins with a node above its cap is not counted: moves that relieve it wait
//! for no budget.

use super::properties::{pairs, random};
use super::testing::*;
use super::{Pass, Plan};
use crate::base::hash::SeededRng;
use crate::base::units::Micros;
use crate::model::account::Account;
use crate::model::placement::Share;
use crate::model::verdict::{NodeLoad, Verdict};
use proptest::prelude::*;
use std::collections::VecDeque;

const SECONDS: u64 = 240;
const WINDOW: usize = 60;
/// Shares and weights are whole numbers.
const SLACK: f64 = 1e-6;

/// Moved by choice in each second that counts, and the largest of it, as parts of all demand.
struct Minute {
    moved: VecDeque<f64>,
    largest: VecDeque<f64>,
}

impl Minute {
    fn new() -> Self {
        Self { moved: VecDeque::new(), largest: VecDeque::new() }
    }

    fn add(&mut self, (moved, largest): (f64, f64)) {
        self.moved.push_front(moved);
        self.largest.push_front(largest);
        self.moved.truncate(WINDOW);
        self.largest.truncate(WINDOW);
    }

    /// A single move that is larger than the budget is made, alone.
    fn is_within(&self, budget: f64) -> bool {
        let moved: f64 = self.moved.iter().sum();
        let largest = self.largest.iter().copied().fold(0.0, f64::max);
        moved <= budget + SLACK || (largest > budget && moved <= largest + SLACK)
    }
}

/// What left a node, as a part of all demand, and the most that one group has of it.
fn moved(w: &World, before: &Plan, after: &Plan) -> (f64, f64) {
    let (mut sum, mut largest) = (0.0, 0.0_f64);
    for (service, group, _) in pairs(w) {
        let [old, new] =
            [before, after].map(|plan| plan.assignment.placement(service, group).expect("placed"));
        let kept =
            |share: &Share| new.shares.iter().find(|it| it.node == share.node).map_or(0, |it| it.share.0);
        let left: u32 = old.shares.iter().map(|share| share.share.0.saturating_sub(kept(share))).sum();
        let size = after.account.part_ppb(service.index(), group.index(), u64::from(left)) as f64 / 1e9;
        sum += size;
        largest = largest.max(size);
    }
    (sum, largest)
}

/// Whether what was planned before is above a cap by what is known now.
fn is_in_need(w: &World, before: &Plan, after: &Plan) -> bool {
    let mut load = after.account.base.clone();
    for (service, group, _) in pairs(w) {
        let demand = u128::from(after.account.of(service.index(), group.index()));
        let held = before.assignment.placement(service, group).expect("placed");
        for share in &held.shares {
            load[share.node.index()] += (demand * u128::from(share.share.0) / 1_000_000) as u64;
        }
    }
    w.policy.fleet.nodes.iter().zip(load).any(|(node, load)| {
        node.capacity.as_ref().is_some_and(|capacity| load >= Account::fine(capacity.cap.of(capacity.amount)))
    })
}

/// Now and then another node is slow, another is loaded by others, other ways are long.
fn drift(w: &mut World, calm: &World, rng: &mut SeededRng) {
    let at = rng.below(w.health.len() as u64) as usize;
    let verdict = if rng.below(3) == 0 { Verdict::Degraded } else { Verdict::Up };
    w.health[at] = with_verdict(verdict);
    if let Some(family) = &mut w.health[at].families[0] {
        let excess = if rng.below(2) == 0 { 0 } else { rng.below(200_000) as u32 };
        (family.rtt, family.baseline) = (Some(Micros(7_000 + excess)), Some(Micros(7_000)));
    }
    let amount = w.policy.fleet.nodes[at].capacity.as_ref().map(|it| rng.below(it.amount));
    w.health[at].load = amount.filter(|_| rng.below(2) == 0).map(|amount| NodeLoad {
        amount: Some(amount),
        binding: "mbps".to_owned(),
        ..NodeLoad::default()
    });
    for (rtt, calm) in w.latencies.rtt.iter_mut().zip(&calm.latencies.rtt) {
        if rng.below(8) == 0 {
            *rtt = Micros(if rng.below(2) == 0 { calm.0 } else { 5_000 + rng.below(200_000) as u32 });
        }
    }
}

/// By second, what the planner moved by choice in a random world that does not keep still.
fn check(seed: u64) -> Result<f64, TestCaseError> {
    let mut w = random(seed, 0);
    let (calm, mut rng) = (w.clone(), SeededRng::new(seed ^ 0xB0D6E7));
    let mut plan = plan_first(&w);
    let (mut minute, mut all) = (Minute::new(), 0.0);
    for second in 1..=SECONDS {
        if rng.below(12) == 0 {
            drift(&mut w, &calm, &mut rng);
        }
        let next = w.plan(Some(&plan), second * 1_000, Pass::Full);
        let counted = if is_in_need(&w, &plan, &next) { (0.0, 0.0) } else { moved(&w, &plan, &next) };
        all += counted.0;
        minute.add(counted);
        prop_assert!(minute.is_within(0.2), "{} s: {:?}", second, minute.moved);
        plan = next;
    }
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_minute_has_more_moves_by_choice_than_the_budget(seed: u64) {
        check(seed)?;
    }
}

#[test]
fn these_worlds_do_move() {
    let moved: f64 = (0..8).map(|seed| check(seed).expect("within the budget")).sum();
    assert!(moved > 1.0, "only {moved:.3} of demand moved in eight worlds");
}

/// Twenty groups alike want to leave: a fifth of them each minute, and at the end all of them are gone.
#[test]
fn a_fifth_leaves_each_minute() {
    let rows: Vec<&[u32]> = vec![&[20, 90]; 20];
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1])])]);
    let mut plan = plan_first(&w);
    w.latencies.rtt.iter_mut().step_by(2).for_each(|rtt| *rtt = Micros::from_millis(200));
    let mut gone = Vec::new();
    for second in 1..=300 {
        plan = w.plan(Some(&plan), second * 1_000, Pass::Full);
        if second % 60 == 5 {
            gone.push((0..20).filter(|&g| shares(&plan.assignment, g)[0].0 == 1).count());
        }
    }
    assert_eq!(gone, [4, 8, 12, 16, 20]);
}

/// A group of more than the whole budget goes, alone; small ones do not keep it waiting.
#[test]
fn who_is_larger_than_the_budget_goes_in_its_turn() {
    let rows: Vec<&[u32]> = vec![&[20, 90]; 31];
    let mut w = spread(&rows, vec![service("s", vec![pool(&[0, 1])])]);
    // Group 0 is what no database knows, and counts as the least.
    w.groups[1].v4_slash24 = 225_000;
    let mut plan = plan_first(&w);
    let (mut minute, mut gone_at) = (Minute::new(), None);
    for second in 1..=480 {
        // One after the other, so that there never is a window without any of them.
        let group = if second == 31 { 1 } else { (second / 6) as usize };
        if second == 31 || (second % 6 == 0 && group < 31 && group != 1) {
            w.latencies.rtt[2 * group] = Micros::from_millis(200);
        }
        let next = w.plan(Some(&plan), second * 1_000, Pass::Full);
        minute.add(moved(&w, &plan, &next));
        assert!(minute.is_within(0.2), "{second} s: {:?}", minute.moved);
        plan = next;
        gone_at = gone_at.or((shares(&plan.assignment, 1)[0].0 == 1).then_some(second));
    }
    assert!(gone_at.is_some_and(|second| (34..=171).contains(&second)), "{gone_at:?}");
    assert!((2..31).all(|group| shares(&plan.assignment, group)[0].0 == 1), "and the others after it");
}
