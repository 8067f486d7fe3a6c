//! Properties over random streams: what one vantage says alone changes nothing, and what is done to nodes
//! by choice never takes from a pool what it needs.

use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::Family;
use rhumb::base::units::{Micros, Ppm};
use rhumb::health::HealthModel;
use rhumb::model::fleet::{FeedSource, Fleet, LoadFeed, Node, ProbeKind, ProbeSpec, Region, Site};
use rhumb::model::ids::{NodeId, RegionId, SiteId, VantageId};
use rhumb::model::judgement::{Judgement, StaleLoad, Vantage};
use rhumb::model::observation::{FailureReason, LoadReport, LoadSample, Measured, Observation, Outcome};
use rhumb::model::service::PoolBound;
use rhumb::model::verdict::{Rule, Verdict};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const NODES: u16 = 6;
const STEP_MS: u64 = 2_000;

fn model_of(vantages: u8) -> HealthModel {
    let probe = ProbeSpec {
        name: None,
        kind: ProbeKind::Tcp,
        targets: [Some(SocketAddr::from(([127, 0, 0, 1], 80))), None],
        interval: Duration::from_millis(STEP_MS),
        timeout: Duration::from_secs(1),
        rise: 5,
        fall: 3,
        ok: 5,
    };
    let feed = LoadFeed {
        source: FeedSource::Pulled {
            url: "http://127.0.0.1:1/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
        },
        max_age: Duration::from_secs(30),
        stale: StaleLoad::Ignore,
        clients: None,
        amount: None,
        ratios: BTreeMap::new(),
    };
    let node = |n: u16| Node {
        v4: vec![Ipv4Addr::LOCALHOST],
        probes: vec![probe.clone()],
        load: Some(feed.clone()),
        ..Node::named(format!("n-{n}"), SiteId(n % 2))
    };
    let site = |name: &str| Site { name: name.to_owned(), title: None, region: RegionId(0), location: None };
    let vantage = |n| Vantage { name: format!("v{n}"), ..Vantage::local() };
    let judgement = Judgement { vantages: (0..vantages).map(vantage).collect(), ..Judgement::default() };
    let fleet = Fleet {
        regions: vec![Region { name: "r".to_owned(), title: None }],
        sites: vec![site("a"), site("b")],
        nodes: (0..NODES).map(node).collect(),
        judgement,
        circuits: Vec::new(),
        runbooks: Default::default(),
    };
    HealthModel::new(Arc::new(fleet), &BTreeMap::new(), MonoTime(0), WallTime(0))
}

fn seen(vantage: u8, node: u16, at_ms: u64, outcome: Outcome) -> Observation {
    Observation {
        vantage: VantageId(vantage),
        node: NodeId(node),
        family: Family::V4,
        probe: 0,
        at: MonoTime::from_millis(at_ms),
        outcome,
        measured: Measured::default(),
    }
}

fn answer(rtt_us: u32) -> Outcome {
    Outcome::Success { rtt: Micros(rtt_us) }
}

fn failure(reason: FailureReason) -> Outcome {
    Outcome::Failure { reason, detail: String::new() }
}

/// Half of the fleet at most is ill at a time, for a while.
fn truth(node: u16, step: u64, seed: u64) -> Outcome {
    let mut rng = SeededRng::new(seed ^ (step / 25) << 8);
    let (first, count) = (rng.below(u64::from(NODES)) as u16, rng.below(4) as u16);
    match (node + NODES - first) % NODES < count {
        true => failure(FailureReason::Timeout),
        false => answer(10_000),
    }
}

fn lie(rng: &mut SeededRng, mood: u64) -> Outcome {
    match (mood, rng.below(3)) {
        (0, _) | (3, 0) => failure(FailureReason::Refused),
        (1, _) | (3, 1) => answer(900_000),
        (2, _) => answer(10_000),
        _ => Outcome::Slow { rtt: Micros(rng.below(2_000_000) as u32) },
    }
}

fn verdicts(model: &HealthModel) -> Vec<Verdict> {
    model.view().iter().map(|node| node.family(Family::V4).expect("has it").verdict).collect()
}

/// The verdicts after each step; `liar` says what it likes.
fn run(vantages: u8, liar: Option<u8>, seed: u64, is_quiet: bool) -> Vec<Vec<Verdict>> {
    let (mut model, mut rng) = (model_of(vantages), SeededRng::new(seed));
    let mut steps = Vec::new();
    for step in 0..200 {
        let at = step * STEP_MS;
        for node in 0..NODES {
            for vantage in 0..vantages {
                let honest = if is_quiet { answer(10_000) } else { truth(node, step, seed) };
                let mood = SeededRng::new(seed ^ (step / 40)).below(4);
                let outcome = if Some(vantage) == liar { lie(&mut rng, mood) } else { honest };
                let order = u64::from(node) * 100 + u64::from(vantage);
                model.apply(&seen(vantage, node, at + order, outcome), WallTime(at));
            }
        }
        model.tick(MonoTime::from_millis(at + 1_500), WallTime(at));
        steps.push(verdicts(&model));
    }
    steps
}

#[test]
fn a_single_liar_among_three_or_more_changes_no_verdict() {
    for vantages in 3..=5 {
        for seed in 0..4 {
            let honest = run(vantages, None, seed, false);
            assert!(honest.iter().flatten().any(|verdict| *verdict == Verdict::Down), "an empty test");
            for liar in [0, vantages - 1] {
                let lied = run(vantages, Some(liar), seed, false);
                let differs = honest.iter().zip(&lied).position(|(one, other)| one != other);
                assert_eq!(differs, None, "{vantages} vantages, {liar} lies, seed {seed}");
            }
        }
    }
}

#[test]
fn one_of_two_alone_changes_no_verdict() {
    for seed in 0..8 {
        for liar in [0, 1] {
            let steps = run(2, Some(liar), seed, true);
            let first = steps.iter().position(|step| step.iter().all(|verdict| *verdict == Verdict::Up));
            let first = first.unwrap_or(steps.len());
            let moved = steps[first..].iter().position(|step| step.iter().any(|it| *it != Verdict::Up));
            assert_eq!(moved, None, "vantage {liar} lies, seed {seed}, all up from step {first}");
        }
    }
}

#[test]
fn damping_and_circuits_leave_a_pool_what_it_needs() {
    let mut held_back = 0;
    for seed in 0..12 {
        let (mut model, mut rng) = (model_of(1), SeededRng::new(seed));
        model.bound_pools(vec![PoolBound { members: (0..NODES).map(NodeId).collect(), least_alive: 3 }]);
        let mut ill = [false; NODES as usize];
        for step in 0..600 {
            let at = step * STEP_MS;
            for node in 0..NODES {
                if rng.below(8) == 0 {
                    ill[usize::from(node)] = rng.below(2) == 0;
                }
                let outcome =
                    if ill[usize::from(node)] { failure(FailureReason::Timeout) } else { answer(9_000) };
                model.apply(&seen(0, node, at, outcome), WallTime(at));
                let rate =
                    Ppm::from_percent(if rng.below(5) == 0 { 80 } else { 60 * (step as u32 / 50 % 2) });
                let sample =
                    LoadSample { amount: None, ratios: vec![("error_rate".to_owned(), rate)], clients: None };
                let at = MonoTime::from_millis(at);
                model.apply_load(&LoadReport { node: NodeId(node), at, result: Ok(sample) }, WallTime(0));
            }
            model.tick(MonoTime::from_millis(at + 1), WallTime(at));
            model.tick(MonoTime::from_millis(at + 2), WallTime(at));
            let view = model.view();
            let of = |node: &rhumb::model::verdict::NodeHealth| {
                let held = node.family(Family::V4).expect("has it");
                (held.verdict, held.evidence.rule)
            };
            let alive = view.iter().filter(|node| of(node).0.may_serve()).count();
            let by_choice = view
                .iter()
                .filter(|node| matches!(of(node), (Verdict::Down, Rule::Damped | Rule::Circuit)))
                .count();
            held_back += by_choice;
            assert!(
                alive >= 3 || by_choice == 0,
                "seed {seed}, step {step}: {alive} alive, {by_choice} kept"
            );
        }
    }
    assert!(held_back > 100, "nobody was held back: an empty test");
}
