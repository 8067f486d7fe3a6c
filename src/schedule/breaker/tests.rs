//! When a region is cut, how it is tried, and what it takes to have it back.

use super::super::contest::Hurdle;
use super::super::explain::CandidateState;
use super::super::testing::{loaded, plan_first, pool, service, shares, spread, up};
use super::super::{Pass, Plan};
use super::*;
use crate::model::degradation::Rung;
use crate::model::ids::{GroupId, ServiceId};
use crate::model::placement::{Measured, PathQuality, Quality};
use std::time::Duration;

const CIRCUIT: RegionCircuit = RegionCircuit {
    errors: Some(Bounds::from_enter(Ppm::from_percent(50))),
    loss: Some(Bounds::from_enter(Ppm::from_percent(30))),
    open_for: Duration::from_secs(60),
    trial: Ppm::from_percent(10),
    trial_for: Duration::from_secs(30),
};

/// Errors in percent.
fn seen(errors: u32) -> Seen {
    Seen([CIRCUIT.errors.map(|bounds| (bounds, Some(Ppm::from_percent(errors)))), None])
}

#[test]
fn it_opens_tries_and_closes_in_its_time() {
    let mut circuit = Circuit::default();
    let mut now_s = 0;
    let mut run = |circuit: &mut Circuit, seconds: u64, is_bad: bool, expected: State| {
        for _ in 0..seconds {
            circuit.step(&seen(if is_bad { 60 } else { 10 }), &CIRCUIT, now_s * 1_000, || true);
            now_s += 1;
        }
        assert_eq!(circuit.state, expected, "after {now_s} s");
    };
    run(&mut circuit, 5, true, State::Closed);
    run(&mut circuit, 1, false, State::Closed);
    run(&mut circuit, 5, true, State::Closed);
    run(&mut circuit, 1, true, State::Open);
    run(&mut circuit, 59, true, State::Open);
    run(&mut circuit, 1, true, State::HalfOpen);
    run(&mut circuit, 6, true, State::Open);
    run(&mut circuit, 119, false, State::Open);
    run(&mut circuit, 1, false, State::HalfOpen);
    run(&mut circuit, 29, false, State::HalfOpen);
    run(&mut circuit, 1, false, State::Closed);
    run(&mut circuit, 6, true, State::Open);
    run(&mut circuit, 60, false, State::HalfOpen);
}

/// Two regions of a node each; all groups are near the first.
fn world() -> super::super::testing::World {
    let mut world = spread(&[&[10, 60], &[12, 60]], vec![service("s", vec![pool(&[0, 1])])]);
    world.policy.fleet.regions.push(Region { name: "far".to_owned(), title: None });
    world.policy.fleet.sites[1].region = RegionId(1);
    world.policy.fleet.circuits = vec![(RegionId(0), CIRCUIT)];
    world
}

/// Up, with this error rate in percent.
fn erring(percent: u32) -> NodeHealth {
    let mut erring = loaded(10);
    if let Some(load) = &mut erring.load {
        load.error_rate = Some(Ppm::from_percent(percent));
    }
    erring
}

fn rung(world: &super::super::testing::World, plan: &Plan) -> Rung {
    plan.memory.rungs(&world.policy, 0)[0].rung
}

fn of_first(plan: &Plan) -> u32 {
    shares(&plan.assignment, 0).iter().find(|(node, _)| *node == 0).map_or(0, |(_, share)| *share)
}

#[test]
fn clients_leave_a_region_that_errs_and_come_back_by_a_trial() {
    let mut world = world();
    let mut plan = plan_first(&world);
    assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
    world.health = vec![erring(60), up()];
    plan = world.run(plan, 1_000, 8);
    assert_eq!((of_first(&plan), rung(&world, &plan)), (0, Rung::Circuit));
    let input = PlanInput {
        policy: &world.policy,
        groups: &world.groups,
        latencies: &world.latencies,
        health: &world.health,
        previous: Some(&plan.assignment),
        memory: &plan.memory,
        now_ms: 9_000,
        pass: Pass::Full,
        demand: None,
    };
    let told = super::super::explain(&input, ServiceId(0), GroupId(0)).expect("both exist");
    let node = told.candidates.iter().find(|it| it.node == "n0").expect("a member");
    assert_eq!(node.to_win, [Hurdle::Circuit]);
    let because = "the circuit of its region is open";
    assert!(matches!(&node.state, CandidateState::Lost { because: it } if it == because), "{node:?}");
    world.health = vec![erring(25), up()];
    plan = world.run(plan, 9_000, 50);
    assert_eq!(of_first(&plan), 0, "still open");
    plan = world.run(plan, 59_000, 25);
    assert_eq!(rung(&world, &plan), Rung::Circuit);
    assert!((1..=100_000).contains(&of_first(&plan)), "{} ppm on trial", of_first(&plan));
    plan = world.run(plan, 84_000, 400);
    assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
}

#[test]
fn a_region_closes_only_when_it_is_known_to_be_well() {
    let mut world = world();
    world.health = vec![erring(60), up()];
    let mut plan = world.run(plan_first(&world), 1_000, 8);
    let told = |plan: &Plan| plan.memory.cut_regions(&world.policy).first().and_then(|region| region.trial);
    assert_eq!((told(&plan), rung(&world, &plan)), (None, Rung::Circuit));
    let mut now_ms = 9_000;
    // Between the bounds; a feed that ended; and both in turn with what would be well, which takes half a minute.
    let unknown = Trial::Unknown(Signal::Errors);
    for (seconds, health, trial) in [
        (120, erring(49), Trial::Unwell(Signal::Errors)),
        (300, up(), unknown),
        (29, erring(25), Trial::Well),
        (1, erring(26), Trial::Unwell(Signal::Errors)),
        (29, erring(0), Trial::Well),
        (1, loaded(10), unknown),
    ] {
        let mut world = world.clone();
        world.health[0] = health;
        plan = world.run(plan, now_ms, seconds);
        now_ms += seconds * 1_000;
        assert_eq!((told(&plan), rung(&world, &plan)), (Some(trial), Rung::Circuit), "at {now_ms} ms");
        assert!((1..=100_000).contains(&of_first(&plan)), "{} ppm on trial", of_first(&plan));
    }
    world.health[0] = erring(25);
    plan = world.run(plan, now_ms, 31);
    assert_eq!((told(&plan), rung(&world, &plan)), (None, Rung::Normal));
    assert!((1..=100_000).contains(&of_first(&plan)), "{} ppm: the ramp goes on from there", of_first(&plan));
    plan = world.run(plan, now_ms + 31_000, 400);
    assert_eq!(of_first(&plan), 1_000_000);
}

#[test]
fn what_a_region_was_opened_for_has_to_be_known() {
    let of = |errors: Option<u32>, loss: Option<u32>| {
        let value = |percent: Option<u32>| percent.map(Ppm::from_percent);
        Seen([CIRCUIT.errors.zip(Some(value(errors))), CIRCUIT.loss.zip(Some(value(loss)))])
    };
    let by_loss = [false, true];
    assert_eq!(of(Some(0), None).trial(by_loss), Trial::Unknown(Signal::Loss));
    assert_eq!(of(None, Some(15)).trial(by_loss), Trial::Well);
    assert_eq!(of(Some(26), Some(0)).trial(by_loss), Trial::Unwell(Signal::Errors));
    assert_eq!(of(None, Some(16)).trial([true, false]), Trial::Unwell(Signal::Loss));
    assert_eq!(
        of(None, None).trial([false; 2]),
        Trial::Unknown(Signal::Errors),
        "an edit may have changed bounds"
    );
    assert_eq!(Seen::default().trial(by_loss), Trial::Well, "nor may nothing keep it");
}

#[test]
fn the_nodes_of_a_region_have_its_trial_together() {
    let rtt: &[u32] = &[10, 10, 10, 10, 10, 60];
    let mut world = spread(&[rtt; 4], vec![service("s", vec![pool(&[0, 1, 2, 3, 4, 5])])]);
    world.policy.fleet.regions.push(Region { name: "far".to_owned(), title: None });
    world.policy.fleet.sites[5].region = RegionId(1);
    let trial = Ppm::from_percent(20);
    world.policy.fleet.circuits = vec![(RegionId(0), RegionCircuit { trial, ..CIRCUIT })];
    world.health[..5].fill(erring(60));
    let plan = world.run(plan_first(&world), 1_000, 8);
    assert_eq!(shares(&plan.assignment, 0), [(5, 1_000_000)]);
    // Half of the nodes would do.
    world.health[..3].fill(erring(40));
    world.health[3..5].fill(up());
    // The whole of the ramp's time, and more.
    let plan = world.run(plan, 9_000, 500);
    assert_eq!(rung(&world, &plan), Rung::Circuit);
    let of_region: u32 = shares(&plan.assignment, 0).iter().filter(|it| it.0 < 5).map(|it| it.1).sum();
    assert!((150_000..=200_000).contains(&of_region), "{:?}", shares(&plan.assignment, 0));
}

#[test]
fn clients_leave_a_region_that_loses_what_they_send() {
    let mut world = world();
    let plan = plan_first(&world);
    world.latencies.votes = vec![100, 0, 100, 0].into();
    let quality = Quality { loss: Measured { value: 450_000, votes: 100 }, ..Quality::default() };
    world.latencies.quality = (0..2).map(|group| PathQuality { group, site: 0, quality }).collect();
    let plan = world.run(plan, 1_000, 8);
    assert_eq!(rung(&world, &plan), Rung::Circuit);
    assert_eq!(of_first(&plan), 0);
}

#[test]
fn a_region_that_a_safety_rule_speaks_for_stays_and_the_rule_is_told() {
    use crate::model::safety::{Assertion, SafetyRule, Unit};
    let mut world = world();
    let plan = plan_first(&world);
    let mut erring = loaded(10);
    if let Some(load) = &mut erring.load {
        load.error_rate = Some(Ppm::WHOLE);
    }
    world.health = vec![erring, up()];
    let name = "two-regions".to_owned();
    let what = Assertion::AtLeast { count: 2, of: Unit::Region };
    world.policy.safety = vec![SafetyRule { name, what, among: Vec::new(), runbook: None }];
    let plan = world.run(plan, 1_000, 20);
    assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
    let kept = plan.memory.kept_regions(&world.policy, &world.health, 21_000);
    assert_eq!(kept.iter().map(|(_, rule)| rule.as_str()).collect::<Vec<_>>(), ["two-regions"]);
    // It fails for real: nobody asks a rule.
    world.health = vec![super::super::testing::down(), up()];
    let plan = world.plan(Some(&plan), 30_000, Pass::Evacuation);
    assert_eq!(of_first(&plan), 0);
}

#[test]
fn regions_that_are_cut_already_do_not_count_for_a_rule() {
    use crate::model::safety::{Assertion, SafetyRule, Unit};
    let mut world = spread(&[&[10, 60, 110], &[12, 60, 110]], vec![service("s", vec![pool(&[0, 1, 2])])]);
    for (at, id, name) in [(1, RegionId(1), "far"), (2, RegionId(2), "farther")] {
        world.policy.fleet.regions.push(Region { name: name.to_owned(), title: None });
        world.policy.fleet.sites[at].region = id;
    }
    world.policy.fleet.circuits = vec![(RegionId(0), CIRCUIT), (RegionId(1), CIRCUIT)];
    let what = Assertion::AtLeast { count: 2, of: Unit::Region };
    let name = "two-regions".to_owned();
    world.policy.safety = vec![SafetyRule { name, what, among: Vec::new(), runbook: None }];
    let plan = plan_first(&world);
    let mut erring = loaded(10);
    if let Some(load) = &mut erring.load {
        load.error_rate = Some(Ppm::WHOLE);
    }
    // Both at once: one may go, and the other then not.
    world.health = vec![erring.clone(), erring, up()];
    let plan = world.run(plan, 1_000, 8);
    assert_eq!(shares(&plan.assignment, 0), [(1, 1_000_000)]);
    let kept = plan.memory.kept_regions(&world.policy, &world.health, 9_000);
    assert_eq!(kept, [("far".to_owned(), "two-regions".to_owned())]);
}

#[test]
fn a_region_that_nobody_can_do_without_stays() {
    let mut world = world();
    world.policy.services[0].pools = vec![pool(&[0])];
    let plan = plan_first(&world);
    let mut erring = loaded(10);
    if let Some(load) = &mut erring.load {
        load.error_rate = Some(Ppm::WHOLE);
    }
    world.health = vec![erring, up()];
    let plan = world.run(plan, 1_000, 20);
    assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
    let passes = world.plan(Some(&plan), 30_000, Pass::Evacuation);
    assert_eq!(of_first(&passes), 1_000_000);
}
