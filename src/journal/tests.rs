//! What is kept gives the same plan again, and tells why.

use super::record::{Recorded, head, pack, unpack};
use super::replay::replay;
use super::why::account;
use super::*;
use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use crate::model::demand::{self, Shares};
use crate::model::ids::{AreaId, Generation, LineId, Revision};
use crate::model::provenance::Cause;
use crate::model::verdict::{FamilyHealth, Verdict};
use crate::policy;
use crate::schedule;
use crate::store::journal::{export, import};

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
defaults: { capacity: { unit: mbps, amount: 1000 } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge } }
  tyo-2: { site: tyo, addresses: [127.1.1.2], labels: { role: edge } }
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge } }
";

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
demand: 900
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
";

fn sources(service: &str) -> Vec<SourceFile> {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    vec![file("fleet.yaml", FLEET), file("services/live.yaml", service)]
}

fn groups() -> Vec<ClientGroup> {
    let group = |at: u32| ClientGroup {
        key: format!("G{at}"),
        country: None,
        line: (at.is_multiple_of(3)).then_some(LineId(0)),
        location: None,
        areas: if at.is_multiple_of(2) { vec![AreaId(0)] } else { Vec::new() },
        v4_slash24: 100 * at + 1,
        v6_slash48: u32::MAX,
    };
    (0..40).map(group).collect()
}

/// Every node up but for those named, which are down.
fn health(policy: &Policy, down: &[&str]) -> Arc<Vec<NodeHealth>> {
    let node = |name: &str| {
        let is_down = down.contains(&name);
        let family = FamilyHealth {
            verdict: if is_down { Verdict::Down } else { Verdict::Up },
            reason: if is_down { "3 of 3 probes refused".to_owned() } else { String::new() },
            since: WallTime(if is_down { 90_000 } else { 100_000 }),
            rtt: Some(Micros(1_234)),
            loss: Ppm(17),
            ..FamilyHealth::default()
        };
        NodeHealth { families: [Some(family), None], ..NodeHealth::default() }
    };
    Arc::new(policy.fleet.nodes.iter().map(|one| node(&one.name)).collect())
}

/// A cold start, a node that goes, and its return: as the writer makes them.
fn story() -> Vec<Made> {
    story_of(SERVICE, Strategy::Rhumb)
}

fn story_of(service: &str, strategy: Strategy) -> Vec<Made> {
    let sources = Arc::new(sources(service));
    let (policy, diagnostics) = policy::load(&sources);
    let policy = strategy.policy(&Arc::new(policy.unwrap_or_else(|| panic!("{diagnostics:?}"))));
    let groups: Arc<[ClientGroup]> = groups().into();
    let rtt = |at: usize| Micros::from_millis(10 + (at as u32 * 37) % 90);
    let latencies = Arc::new(Latencies::prior(2, (0..groups.len() * 2).map(rtt).collect()));
    let (mut previous, mut memory) = (None, PlannerMemory::default());
    let steps = [
        (Pass::Full, &[][..], Cause::ColdStart),
        (Pass::Evacuation, &["tyo-1"][..], Cause::Evacuation { nodes: vec!["tyo-1".to_owned()] }),
        (Pass::Full, &[][..], Cause::Recovery { nodes: vec!["tyo-1".to_owned()] }),
    ];
    let step = |(at, (pass, down, cause)): (usize, (Pass, &[&str], Cause))| {
        let question = Question {
            health: health(&policy, down),
            previous: previous.take(),
            memory: std::mem::take(&mut memory),
            now_ms: 5_000 * at as u64,
            pass,
        };
        let (sources, policy) = (Arc::clone(&sources), Arc::clone(&policy));
        let (groups, latencies) = (Arc::clone(&groups), Arc::clone(&latencies));
        // From the second on somebody counts.
        let parts = demand::WHOLE / groups.len() as u32;
        let mut counted = vec![parts; groups.len()];
        counted[at] += demand::WHOLE - parts * groups.len() as u32;
        let shares = Shares { groups: vec![Some(counted.into())], services: Arc::default() };
        let demand = Arc::new(if at == 0 { Shares::default() } else { shares });
        let during = Arc::default();
        let asked = Asked { sources, policy, strategy, groups, latencies, demand, during, question };
        let plan = schedule::plan(&asked.input());
        previous = Some(Arc::new(plan.assignment.clone()));
        memory = plan.memory.clone();
        let provenance = Provenance {
            generation: Generation(at as u64 + 1),
            parent: Generation(at as u64),
            published_at: WallTime(100_000),
            cause,
            policy: asked.policy.revision.clone(),
            geo: Revision("g".to_owned()),
        };
        Made { provenance, asked, plan, is_held: false }
    };
    steps.into_iter().enumerate().map(step).collect()
}

/// Through a file and back.
fn carried(made: &Made) -> Recorded {
    let file = export(&pack(made).expect("packs")).expect("in memory");
    unpack(&import(&file).expect("whole")).expect("reads")
}

#[test]
fn every_step_is_decided_again_bit_for_bit() {
    let full = SERVICE.replace("demand: 900", "demand: 2900\nshed: { nodata: true }");
    let shed = story_of(&full, Strategy::Rhumb);
    assert!(shed.iter().any(|made| !made.plan.assignment.services[0].shed.is_empty()));
    let blind = story_of(&full, Strategy::Nearest);
    assert!(blind.iter().all(|made| made.plan.assignment.services[0].shed.is_empty()), "it knows of no load");
    for made in story().into_iter().chain(shed).chain(blind) {
        let recorded = carried(&made);
        assert_eq!(recorded.asked.question, made.asked.question);
        assert_eq!(recorded.asked.demand, made.asked.demand);
        assert_eq!(recorded.asked.policy, made.asked.policy);
        assert_eq!(recorded.asked.strategy, made.asked.strategy);
        let replayed = replay(&recorded).expect("replays");
        assert!(replayed.is_same, "{}", made.provenance.cause);
        assert_eq!(replayed.plan, made.plan);
    }
}

#[test]
fn another_input_is_another_plan() {
    let mut recorded = carried(&story()[1]);
    recorded.asked.question.health = health(&recorded.asked.policy, &["tyo-2"]);
    assert!(!replay(&recorded).expect("replays").is_same);
}

#[test]
fn moves_have_their_reasons() {
    let story = story();
    let told = |at: usize| {
        let recorded = carried(&story[at]);
        account(&recorded, &replay(&recorded).expect("replays"))
    };
    let first = told(0);
    assert!(first.reasons.iter().all(|reason| reason.because == "they had no node"), "{first:?}");
    assert_eq!((first.services, first.groups), (1, 40));
    let evacuation = told(1);
    assert!(!evacuation.reasons.is_empty());
    for reason in &evacuation.reasons {
        assert_eq!(reason.moved.from.as_deref(), Some("tyo-1"));
        assert_eq!(reason.because, "tyo-1 is down: 3 of 3 probes refused");
        assert!(reason.groups > 0 && reason.largest_group.starts_with('G') && reason.to_cost.is_some());
    }
    assert_eq!(evacuation.nodes, [(Verdict::Up, 2), (Verdict::Down, 1)]);
    let moved: u32 = evacuation.reasons.iter().map(|reason| reason.moved.share_ppm).sum();
    let all: u32 = story[1].plan.moves.iter().map(|one| one.share.0).sum();
    assert_eq!(moved, all, "all of few moves are looked into");
}

#[test]
fn a_record_of_another_format_or_without_a_part_is_told_apart() {
    let record = pack(&story()[0]).expect("packs");
    let text = String::from_utf8(record.head.clone()).expect("JSON");
    let newer = text.replacen(&format!("\"format\":{FORMAT}"), "\"format\":99", 1);
    let error = head(newer.as_bytes()).expect_err("another format").to_string();
    assert!(error.contains("format 99"), "{error}");
    for at in 0..record.parts.len() {
        let mut partial = record.clone();
        partial.parts.remove(at);
        let error = unpack(&partial).expect_err("a part is missing").to_string();
        assert!(error.contains("is missing"), "{error}");
        let mut bent = record.clone();
        bent.parts[at].1.truncate(9);
        assert!(unpack(&bent).is_err());
    }
}
