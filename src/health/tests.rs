//! What scenarios cannot say: several nodes, load, the figures, and that nothing panics.

use super::scenarios::{default_probe, fleet_of};
use super::*;
use crate::base::hash::SeededRng;
use crate::base::units::{Micros, Ppm};
use crate::model::fleet::{FeedSource, LoadFeed};
use crate::model::ids::VantageId;
use crate::model::judgement::{ERROR_RATE, StaleLoad};
use crate::model::observation::{FailureReason, LoadSample, Measured, Outcome};
use crate::model::policy::Policy;
use crate::model::safety::{self, Assertion, SafetyRule, Unit};
use std::time::Duration;

fn fleet_of_two() -> Fleet {
    let mut fleet = Arc::unwrap_or_clone(fleet_of(vec![default_probe()]));
    let mut second = fleet.nodes[0].clone();
    second.name = "osa-1".to_owned();
    second.load = Some(LoadFeed {
        source: FeedSource::Pulled {
            url: "http://127.0.0.1:1/".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        },
        max_age: Duration::from_secs(10),
        stale: StaleLoad::Ignore,
        clients: None,
        amount: None,
        ratios: BTreeMap::new(),
    });
    fleet.nodes.push(second);
    fleet
}

fn model_of(fleet: Fleet) -> HealthModel {
    HealthModel::new(Arc::new(fleet), &BTreeMap::new(), MonoTime::default(), WallTime(0))
}

fn seen(node: u16, at_ms: u64, outcome: Outcome) -> Observation {
    let (node, at) = (NodeId(node), MonoTime::from_millis(at_ms));
    let (vantage, measured) = (VantageId::LOCAL, Measured::default());
    Observation { vantage, node, family: Family::V4, probe: 0, at, outcome, measured }
}

fn answer(rtt_ms: u32) -> Outcome {
    Outcome::Success { rtt: Micros::from_millis(rtt_ms) }
}

fn refusal() -> Outcome {
    Outcome::Failure { reason: FailureReason::Refused, detail: "refused".to_owned() }
}

fn cpu(node: u16, at_ms: u64, percent: u32) -> LoadReport {
    let ratios = vec![("cpu".to_owned(), Ppm::from_percent(percent))];
    let sample = LoadSample { amount: None, ratios, clients: None };
    LoadReport { node: NodeId(node), at: MonoTime::from_millis(at_ms), result: Ok(sample) }
}

#[test]
fn nodes_do_not_touch_each_other() {
    let mut model = model_of(fleet_of_two());
    model.apply(&seen(0, 0, refusal()), WallTime(1));
    let changed = model.apply(&seen(1, 0, answer(3)), WallTime(2)).pop().expect("the first round");
    assert_eq!((changed.node, changed.from, changed.to), (NodeId(1), Verdict::Unknown, Verdict::Up));
    let view = model.view();
    assert!(!view[0].family_may_serve(Family::V4) && view[1].family_may_serve(Family::V4));
    assert_eq!(model.transfer()["osa-1"], view[1]);
}

#[test]
fn a_node_is_failing_from_its_first_failure_to_its_next_answer_or_its_fall() {
    let mut model = model_of(fleet_of_two());
    let mut after = |at_ms: u64, outcome: Outcome| {
        // Another answers, so that the failure is not the vantage's own.
        model.apply(&seen(1, at_ms, answer(3)), WallTime(at_ms));
        model.apply(&seen(0, at_ms + 1, outcome), WallTime(at_ms));
        model.view()[0].families[0].clone().expect("a family")
    };
    let told: Vec<(bool, bool)> = [answer(3), refusal(), answer(3), refusal(), refusal(), answer(3)]
        .into_iter()
        .zip(0..)
        .map(|(outcome, at)| after(at * 2_000, outcome))
        .map(|health| (health.verdict.may_serve(), health.is_failing))
        .collect();
    let (well, failing, down) = ((true, false), (true, true), (false, false));
    assert_eq!(told, [well, failing, well, failing, down, down]);
}

#[test]
fn what_may_be_the_vantage_s_own_fault_does_not_fall_with_the_other_family() {
    let falls_along = |failure: fn() -> Outcome| {
        let mut fleet = fleet_of_two();
        let anchors = vec!["127.0.0.1:1".parse().expect("an address")];
        fleet.judgement.vantages = vec![Vantage { anchors, ..Vantage::local() }];
        let mut model = model_of(fleet);
        let (vantage, at) = (VantageId::LOCAL, MonoTime::default());
        model.apply_anchor(&AnchorReport { vantage, anchor: 0, at, is_success: true });
        let v6 = |at_ms, outcome| Observation { family: Family::V6, ..seen(0, at_ms, outcome) };
        model.apply(&seen(0, 100, answer(1)), WallTime(0));
        model.apply(&v6(200, answer(1)), WallTime(0));
        for at in [3_000, 5_000] {
            model.apply(&v6(at, failure()), WallTime(at));
            model.apply(&seen(0, at + 100, refusal()), WallTime(at));
        }
        let view = model.view();
        assert!(Family::BOTH.iter().all(|&family| view[0].family_may_serve(family)), "two are not enough");
        let changed = model.apply(&seen(0, 7_100, refusal()), WallTime(7_100));
        assert!(!model.view()[0].family_may_serve(Family::V4), "its own refusals");
        changed.iter().any(|it| it.family == Family::V6 && it.to == Verdict::Down)
    };
    let timeout = || Outcome::Failure { reason: FailureReason::Timeout, detail: String::new() };
    assert!(falls_along(refusal), "who refuses has answered the vantage");
    assert!(!falls_along(timeout), "nothing has answered it since");
}

#[test]
fn the_first_round_is_complete_when_every_family_was_judged() {
    let mut model = model_of(fleet_of_two());
    for (node, family) in [(0, Family::V4), (0, Family::V6), (1, Family::V4), (1, Family::V6)] {
        assert!(!model.first_round_is_complete());
        model.apply(&Observation { family, ..seen(node, 0, answer(1)) }, WallTime(0));
    }
    assert!(model.first_round_is_complete());
}

#[test]
fn a_peak_of_two_samples_shows_at_once_and_one_does_not() {
    let mut model = model_of(fleet_of_two());
    let rtt = |model: &HealthModel| model.view()[0].family(Family::V4).and_then(|h| h.rtt).expect("seen");
    for second in 0..30 {
        model.apply(&seen(0, second * 1_000, answer(10)), WallTime(0));
    }
    model.apply(&seen(0, 30_000, answer(1_000)), WallTime(0));
    assert!(rtt(&model) < Micros::from_millis(60), "{:?}", rtt(&model));
    model.apply(&seen(0, 31_000, answer(400)), WallTime(0));
    assert!(rtt(&model) >= Micros::from_millis(400), "{:?}", rtt(&model));
    let health = model.view()[0].family(Family::V4).cloned().expect("seen");
    assert_eq!(health.baseline, Some(Micros::from_millis(10)), "peaks teach the baseline nothing");
    assert!(health.excess() >= Micros::from_millis(390));
    assert!(health.jitter > Some(Micros::from_millis(50)), "{:?}", health.jitter);
}

#[test]
fn the_first_answer_of_all_is_not_held_against_a_node() {
    let mut model = model_of(fleet_of_two());
    let excess = |model: &HealthModel| model.view()[0].family(Family::V4).expect("seen").excess();
    for probe in 0..100 {
        let ms = if probe == 0 { 300 } else { 10 };
        model.apply(&seen(0, probe * 200, answer(ms)), WallTime(0));
        assert_eq!(excess(&model), Micros(0), "probe {probe}");
    }
    // A step is seen as ever.
    for probe in 100..103 {
        model.apply(&seen(0, probe * 200, answer(300)), WallTime(0));
    }
    assert!(excess(&model) >= Micros::from_millis(290), "{:?}", excess(&model));
    // With a node that is slow from the first answer on, it is what is usual.
    let mut model = model_of(fleet_of_two());
    for probe in 0..100 {
        model.apply(&seen(0, probe * 200, answer(300)), WallTime(0));
    }
    assert_eq!(excess(&model), Micros(0));
}

#[test]
fn loss_is_said_from_eight_probes_on() {
    let mut model = model_of(fleet_of_two());
    let mut losses = Vec::new();
    for second in 0..12 {
        let outcome = if second == 3 { refusal() } else { answer(1) };
        model.apply(&seen(0, second * 2_000, outcome), WallTime(0));
        losses.push(model.view()[0].family(Family::V4).expect("seen").loss.0);
    }
    assert_eq!(losses[..7], [0; 7]);
    assert_eq!(losses[7], 125_000);
    assert!(losses[11] < losses[7]);
}

#[test]
fn a_load_ages_out_by_the_tick_and_survives_a_restart() {
    let fleet = fleet_of_two();
    let mut model = model_of(fleet.clone());
    model.apply_load(&cpu(0, 0, 50), WallTime(0));
    assert_eq!(model.view()[0].load, None, "a node without a feed has no load");
    model.apply_load(&cpu(1, 1_000, 50), WallTime(0));
    let load = model.view()[1].load.clone().expect("reported");
    assert_eq!((load.utilisation, load.binding.as_str()), (Ppm(500_000), "cpu"));

    let failed = LoadReport { result: Err("timeout".to_owned()), ..cpu(1, 5_000, 0) };
    model.apply_load(&failed, WallTime(0));
    assert_eq!(model.view()[1].load.as_ref(), Some(&load), "a failed reading changes nothing");

    let start = MonoTime::from_millis(100_000);
    let mut next = HealthModel::new(Arc::new(fleet), &model.transfer(), start, WallTime(0));
    assert_eq!(next.view()[1].load.as_ref(), Some(&load));
    next.tick(MonoTime::from_millis(110_001), WallTime(0));
    assert_eq!(next.view()[1].load, None);

    assert_eq!(model.tick(MonoTime::from_millis(11_001), WallTime(0)), []);
    assert_eq!(model.view()[1].load, None);
}

#[test]
fn what_is_restored_keeps_its_evidence_and_its_baseline() {
    let mut model = model_of(fleet_of_two());
    for second in 0..20 {
        model.apply(&seen(0, second * 2_000, answer(10)), WallTime(5));
    }
    let mut state = model.transfer();
    for _ in 0..2 {
        let fleet = Arc::new(fleet_of_two());
        model = HealthModel::new(fleet, &state, MonoTime::default(), WallTime(9));
        state = model.transfer();
    }
    let held = model.view()[0].family(Family::V4).cloned().expect("both families");
    assert_eq!(held.reason, "as before the restart: http answers in 10 ms (127.1.1.1:8081)");
    assert_eq!((held.since, held.observed, held.baseline), (WallTime(5), false, Some(Micros(10_000))));
    model.apply(&seen(0, 2_000, answer(11)), WallTime(10));
    let held = model.view()[0].family(Family::V4).cloned().expect("both families");
    assert!(held.observed && held.since == WallTime(5) && !held.reason.contains("restart"), "{held:?}");
}

#[test]
fn a_reload_goes_by_name_not_by_position() {
    let mut model = model_of(fleet_of_two());
    model.apply(&seen(0, 0, refusal()), WallTime(1));
    model.apply(&seen(1, 0, answer(1)), WallTime(1));
    model.apply_load(&cpu(1, 0, 70), WallTime(1));
    let mut edited = fleet_of_two();
    edited.nodes.reverse();
    edited.nodes.push(Node { name: "new-1".to_owned(), ..edited.nodes[1].clone() });
    let next = model.reload(Arc::new(edited), MonoTime::default(), WallTime(2));
    let verdicts: Vec<Verdict> =
        next.view().iter().map(|node| node.family(Family::V4).expect("has it").verdict).collect();
    assert_eq!(verdicts, [Verdict::Up, Verdict::Down, Verdict::Unknown]);
    assert!(next.view()[0].load.is_some());
}

/// Any stream of observations, in any order and with any ids, leaves a view that agrees with the
/// transitions announced.
#[test]
fn announced_changes_add_up_to_the_view() {
    for seed in 0..200 {
        let mut rng = SeededRng::new(seed);
        let mut model = model_of(fleet_of_two());
        let mut believed = [[Verdict::Unknown; 2]; 2];
        for _ in 0..400 {
            let outcome = match rng.below(4) {
                0 => refusal(),
                1 => Outcome::Slow { rtt: Micros(rng.next_u64() as u32) },
                _ => answer(rng.below(300) as u32),
            };
            let mut observation = seen(rng.below(3) as u16, rng.below(100_000), outcome);
            observation.family = Family::BOTH[rng.below(2) as usize];
            observation.probe = rng.below(2) as u8;
            let changed = model.apply(&observation, WallTime(1)).into_iter();
            for change in changed.chain(model.tick(observation.at, WallTime(1))) {
                let held = &mut believed[change.node.index()][change.family.index()];
                assert_eq!(*held, change.from, "seed {seed}");
                assert!(change.from != change.to && !change.reason.is_empty(), "seed {seed}");
                *held = change.to;
            }
        }
        for (node, believed) in model.view().iter().zip(believed) {
            let held = node.families.clone().map(|family| family.expect("both families").verdict);
            assert_eq!(held, believed, "seed {seed}");
        }
    }
}

#[test]
fn a_safety_rule_keeps_in_whom_a_circuit_would_take_and_never_who_fails() {
    let fleet = fleet_of_two();
    let what = Assertion::AtLeast { count: 2, of: Unit::Node };
    let rule = SafetyRule { name: "two-nodes".to_owned(), what, among: Vec::new(), runbook: None };
    let policy = Policy { fleet: fleet.clone(), safety: vec![rule], ..Policy::default() };
    let both = |model: &mut HealthModel, node: u16, at_ms: u64, outcome: Outcome| {
        for family in Family::BOTH {
            model.apply(&Observation { family, ..seen(node, at_ms, outcome.clone()) }, WallTime(at_ms));
        }
    };
    for (is_bound, verdict) in [(false, Verdict::Down), (true, Verdict::Degraded)] {
        let mut model = model_of(fleet.clone());
        if is_bound {
            model.bound_safety(safety::bounds(&policy));
        }
        for at_ms in [1_000, 2_000, 3_000] {
            (0..2).for_each(|node| both(&mut model, node, at_ms, answer(3)));
            let ratios = vec![(ERROR_RATE.to_owned(), Ppm::from_percent(80))];
            let sample = LoadSample { amount: None, ratios, clients: None };
            let at = MonoTime::from_millis(at_ms);
            model.apply_load(&LoadReport { node: NodeId(1), at, result: Ok(sample) }, WallTime(at_ms));
            model.tick(at, WallTime(at_ms));
        }
        assert_eq!(model.view()[1].verdict(), verdict, "{:?}", model.view()[1]);
        let kept: Vec<&str> = model.kept_in().into_iter().map(|(_, rule, _)| rule).collect();
        assert_eq!(kept, if is_bound { vec!["two-nodes"] } else { vec![] });
        for at_ms in [4_000, 5_000, 6_000, 7_000] {
            both(&mut model, 0, at_ms, answer(3));
            both(&mut model, 1, at_ms + 1, refusal());
        }
        assert_eq!(model.view()[1].verdict(), Verdict::Down, "a failure does not ask");
    }
}
