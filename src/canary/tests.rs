//! The course of a canary, moved by hand.

use super::sample::{Samples, Sides};
use super::*;
use crate::base::hash::SeededRng;
use std::time::Duration;

const SECOND: u64 = 1_000;

fn canary() -> Canary {
    let rules = CanaryRules { lasts: Duration::from_secs(100), ..CanaryRules::DEFAULT };
    Canary {
        id: 3,
        base: Revision("aaa".to_owned()),
        revision: Revision("bbb".to_owned()),
        who: "op".to_owned(),
        why: "ticket".to_owned(),
        began: WallTime(1_000 * SECOND),
        until: WallTime(1_100 * SECOND),
        rules,
        hold: Hold { share: rules.share, seed: 1 },
        reached: Ppm::from_percent(11),
        groups: [20, 180],
        services: vec!["live".to_owned()],
        gaining: BTreeMap::from([("b-1".to_owned(), Verdict::Up)]),
        rungs: BTreeMap::from([("live".to_owned(), Rung::Normal)]),
        stage: Stage::Running,
        look: None,
        looks: 0,
    }
}

fn at(second: u64) -> WallTime {
    WallTime((1_000 + second) * SECOND)
}

fn arm(count: u32, mean: f64, variance: f64) -> Arm {
    Arm { count, mean, variance }
}

/// Round trips of the canary's groups are so much longer than before, microseconds.
fn slower(by_us: f64) -> Evidence {
    let latency = Sides { canary: arm(20, by_us, 1e6), control: arm(180, 0.0, 1e6) };
    let samples = Samples { latency, before_us: 40_000.0, ..Samples::default() };
    Evidence { samples: Some(samples), ..Evidence::default() }
}

fn thin() -> Evidence {
    Evidence { samples: Some(Samples::default()), ..Evidence::default() }
}

#[test]
fn a_canary_that_does_no_harm_goes_to_all_when_its_time_is_up() {
    let mut canary = canary();
    let mut looks = 0;
    for second in 0..100 {
        let evidence = match canary.look_due(at(second)) {
            Some(_) => slower(100.0),
            None => Evidence::default(),
        };
        looks += u32::from(evidence.samples.is_some());
        assert_eq!(canary.judge(at(second), &evidence), Decision::GoOn, "{second}");
    }
    assert_eq!((looks, canary.looks, canary.look_due(at(100))), (9, 9, Some(10)));
    assert!(matches!(canary.judge(at(100), &slower(100.0)), Decision::Promote(_)));
    assert_eq!(canary.look.map(|look| look.number), Some(LOOKS));
}

#[test]
fn harm_ends_it_at_once_and_little_or_chance_does_not() {
    let fallen = |verdict: Verdict| Evidence {
        verdicts: BTreeMap::from([("b-1".to_owned(), verdict)]),
        ..Evidence::default()
    };
    let climbed =
        Evidence { rungs: BTreeMap::from([("live".to_owned(), Rung::Spill)]), ..Evidence::default() };
    let elsewhere =
        Evidence { verdicts: BTreeMap::from([("z-1".to_owned(), Verdict::Down)]), ..Evidence::default() };
    let noisy = {
        let latency = Sides { canary: arm(6, 20_000.0, 9e8), control: arm(180, 0.0, 9e8) };
        let samples = Samples { latency, before_us: 40_000.0, ..Samples::default() };
        Evidence { samples: Some(samples), ..Evidence::default() }
    };
    let lossy = {
        let loss = Sides { canary: arm(20, 9_000.0, 1e6), control: arm(180, 0.0, 1e6) };
        Evidence { samples: Some(Samples { loss, ..Samples::default() }), ..Evidence::default() }
    };
    for (evidence, told) in [
        (fallen(Verdict::Down), Some("b-1, which its clients come to, is down and was up")),
        (fallen(Verdict::Degraded), Some("is degraded and was up")),
        (fallen(Verdict::Unknown), None),
        (elsewhere, None),
        (climbed, Some("service live climbed its ladder from normal to spill")),
        (slower(9_000.0), Some("the round trip of its clients rose by 9.0 ms more")),
        (lossy, Some("the loss of its clients rose by 0.9 points more")),
        // Sure, and too little to matter; much, and not sure; better.
        (slower(4_000.0), None),
        (noisy, None),
        (slower(-9_000.0), None),
        (thin(), None),
    ] {
        let mut canary = canary();
        let decision = canary.judge(at(20), &evidence);
        match (told, &decision) {
            (Some(told), Decision::Abort(why)) => assert!(why.contains(told), "{why}"),
            (None, Decision::GoOn) => {}
            other => panic!("{other:?}"),
        }
    }
    // What was so at the beginning is no harm, and what it comes to is.
    let mut worn = Canary { gaining: BTreeMap::from([("b-1".to_owned(), Verdict::Degraded)]), ..canary() };
    assert_eq!(worn.judge(at(1), &fallen(Verdict::Degraded)), Decision::GoOn);
    assert!(matches!(worn.judge(at(1), &fallen(Verdict::Down)), Decision::Abort(_)));
}

#[test]
fn too_little_evidence_a_freeze_or_a_rule_keeps_it_from_all() {
    let held =
        |rules: CanaryRules, evidence: &Evidence| Canary { rules, ..canary() }.judge(at(100), evidence);
    let usual = CanaryRules::DEFAULT;
    assert!(
        matches!(held(usual, &thin()), Decision::Hold(why) if why.contains("fewer than 5 client groups"))
    );
    let lenient = CanaryRules { when_thin: WhenThin::Promote, ..usual };
    assert!(matches!(held(lenient, &thin()), Decision::Promote(_)));
    for (is_frozen, forbidden) in [(true, None), (false, Some("rule `hours` speaks against it".to_owned()))] {
        let evidence = Evidence { is_frozen, forbidden, ..slower(0.0) };
        assert!(matches!(held(lenient, &evidence), Decision::Hold(_)));
    }
    // Held, it still ends by harm, and by nothing else.
    let mut waiting = Canary { stage: Stage::Held { why: "thin".to_owned() }, ..canary() };
    assert_eq!(waiting.judge(at(500), &slower(0.0)), Decision::GoOn);
    let down = BTreeMap::from([("b-1".to_owned(), Verdict::Down)]);
    assert!(matches!(waiting.judge(at(500), &Evidence { verdicts: down, ..thin() }), Decision::Abort(_)));
}

#[test]
fn whatever_happens_it_looks_ten_times_at_most_and_decides_once_its_time_is_up() {
    for seed in 0..300 {
        let mut rng = SeededRng::new(seed);
        let mut canary = canary();
        let (mut now, mut looks, mut ended) = (0, 0, false);
        while now < 130 && !ended {
            let is_due = canary.look_due(at(now)).is_some();
            let evidence = match rng.below(12) {
                0 => thin(),
                _ if is_due => slower(rng.below(12_000) as f64 - 4_000.0),
                _ => Evidence::default(),
            };
            let decision =
                canary.judge(at(now), &Evidence { samples: evidence.samples.filter(|_| is_due), ..evidence });
            looks += u32::from(is_due);
            ended = decision != Decision::GoOn;
            assert!(now < 100 || ended, "seed {seed}: nothing decided");
            if let Decision::Promote(_) = decision {
                assert!(
                    now >= 100
                        && canary.look.is_some_and(|look| look.latency.is_none_or(|it| !it.is_worse()))
                );
            }
            now += 1 + rng.below(9);
        }
        assert!(looks <= LOOKS && canary.looks <= LOOKS, "seed {seed}: {looks}");
    }
    let mut over =
        Canary { stage: Stage::Aborted { at: at(5), by: "op".to_owned(), why: "x".to_owned() }, ..canary() };
    assert_eq!(over.judge(at(100), &slower(90_000.0)), Decision::GoOn);
}

#[test]
fn a_document_survives_being_written_and_read() {
    let mut canary = canary();
    canary.judge(at(20), &slower(100.0));
    let text = serde_json::to_string(&canary).expect("JSON");
    assert_eq!(serde_json::from_str::<Canary>(&text).expect("reads"), canary);
    let brief = canary.brief();
    assert!(
        brief.stage == "running"
            && brief.latency.is_some_and(|[difference, p]| difference == 100.0 && p < 0.5)
    );
}
