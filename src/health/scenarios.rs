//! Runs `scenarios.txt`: observation scripts with the verdict changes they must cause, and no others.
//!
//! ```text
//! == a name                                   starts a scenario: one node, both families, one probe
//! probe tcp interval=200ms rise=2 v4          replaces the default probes; one line per probe
//! restored v4=down v6=up                      what the last good table said
//! up up timeout -> down "2 of 2"              steps, then the change the last of them must cause
//! up*4                                        steps without a change
//! refused -> down "3 of 3" -> down "IPv4 fell"   a step that causes two, the other family's last
//! is v4=unknown                               the verdicts at this point
//! ```
//! A step is `up`, `up:150` (round trip in ms), `slow`, `timeout`, `refused`, `status`, `reset`,
//! with `v6/` before it for the other family and `p1/` for another probe, `*n` after it to repeat it;
//! or `wait:10s`, `restart` (through [`HealthModel::transfer`]), `reload` (the same fleet),
//! `reload:fall=1` (all probes), `reload:drop` (no probes), `reload:move` (other port), `tick`.
//! Each observation comes one interval after the last of the same probe and family.

use super::*;
use crate::base::units::Micros;
use crate::model::fleet::{HttpProbe, ProbeKind, ProbeSpec, Region, Site};
use crate::model::ids::{RegionId, SiteId, VantageId};
use crate::model::observation::{FailureReason, Measured, Outcome};
use crate::model::verdict::FamilyHealth;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A fleet of one node with the given probes.
pub(super) fn fleet_of(probes: Vec<ProbeSpec>) -> Arc<Fleet> {
    let node = Node {
        v4: vec![Ipv4Addr::new(127, 1, 1, 1)],
        v6: vec![Ipv6Addr::LOCALHOST],
        probes,
        ..Node::named("tyo-1", SiteId(0))
    };
    let site = Site { name: "tyo".to_owned(), title: None, region: RegionId(0), location: None };
    let regions = vec![Region { name: "asia".to_owned(), title: None }];
    Arc::new(Fleet { regions, sites: vec![site], nodes: vec![node], ..Fleet::default() })
}

/// The default probe: HTTP, both families, gdnsd's thresholds.
pub(super) fn default_probe() -> ProbeSpec {
    ProbeSpec {
        name: None,
        kind: ProbeKind::Http(HttpProbe::default()),
        targets: [
            Some(SocketAddr::from(([127, 1, 1, 1], 8081))),
            Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 8081))),
        ],
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 5,
        fall: 3,
        ok: 5,
    }
}

struct Run {
    place: String,
    probes: Vec<ProbeSpec>,
    model: HealthModel,
    now: MonoTime,
    last: Vec<Transition>,
}

impl Run {
    fn new(place: String, probes: Vec<ProbeSpec>, restored: &BTreeMap<String, NodeHealth>) -> Self {
        let now = MonoTime::from_millis(1_000);
        let model = HealthModel::new(fleet_of(probes.clone()), restored, now, WallTime(1_000));
        Self { place, probes, model, now, last: Vec::new() }
    }

    fn wall(&self) -> WallTime {
        WallTime(self.now.0 / 1_000)
    }

    fn step(&mut self, step: &str) {
        self.last.clear();
        match step.split_once(':') {
            None if step == "restart" => {
                let state = self.model.transfer();
                self.model = HealthModel::new(fleet_of(self.probes.clone()), &state, self.now, self.wall());
            }
            None if step == "tick" => self.last = self.model.tick(self.now, self.wall()),
            None if step == "reload" => self.reload(),
            Some(("wait", span)) => self.now = self.now + duration(span),
            Some(("reload", edit)) => {
                self.edit(edit);
                self.reload();
            }
            _ => self.observe(step),
        }
    }

    fn edit(&mut self, edit: &str) {
        match edit.split_once('=') {
            Some((key, value)) => self.probes.iter_mut().for_each(|probe| set(probe, key, value)),
            None if edit == "drop" => self.probes.clear(),
            None if edit == "add" => self.probes.push(ProbeSpec { kind: ProbeKind::Tcp, ..default_probe() }),
            None if edit == "move" => {
                let targets = self.probes.iter_mut().flat_map(|probe| probe.targets.iter_mut().flatten());
                targets.for_each(|target| target.set_port(9_999));
            }
            None => panic!("{}: unknown edit {edit}", self.place),
        }
    }

    fn reload(&mut self) {
        self.model = self.model.reload(fleet_of(self.probes.clone()), self.now, self.wall());
    }

    fn observe(&mut self, step: &str) {
        let (mut family, mut probe, mut word) = (Family::V4, 0_u8, step);
        while let Some((prefix, rest)) = word.split_once('/') {
            match prefix {
                "v6" => family = Family::V6,
                _ => probe = prefix[1..].parse().expect("p and a number"),
            }
            word = rest;
        }
        let (what, millis) = word.split_once(':').unwrap_or((word, "0.4"));
        let outcome = outcome(what, millis, &self.place);
        self.now =
            self.now + self.probes.get(usize::from(probe)).map_or(Duration::ZERO, |spec| spec.interval);
        let (node, vantage, measured) = (NodeId(0), VantageId::LOCAL, Measured::default());
        let seen = Observation { vantage, node, family, probe, at: self.now, outcome, measured };
        self.last.extend(self.model.apply(&seen, self.wall()));
    }

    fn line(&mut self, line: &str) {
        let mut parts = line.split(" -> ");
        let (steps, expected) = (parts.next().unwrap_or_default(), parts.collect::<Vec<_>>());
        let steps: Vec<&str> = steps.split_whitespace().flat_map(repeated).collect();
        for (at, step) in steps.iter().enumerate() {
            self.step(step);
            let expected = if at + 1 == steps.len() { expected.as_slice() } else { &[] };
            self.check(expected, &format!("step {} ({step})", at + 1));
        }
    }

    fn check(&self, expected: &[&str], step: &str) {
        let place = &self.place;
        assert_eq!(expected.len(), self.last.len(), "{place}, {step}: {expected:?}, got {:?}", self.last);
        for (expected, transition) in expected.iter().zip(&self.last) {
            let (verdict, reason) = expected.split_once(' ').unwrap_or((expected, "\"\""));
            assert_eq!(transition.to.name(), verdict, "{place}, {step}: {}", transition.reason);
            let reason = reason.trim_matches('"');
            assert!(transition.reason.contains(reason), "{place}, {step}: {}", transition.reason);
            let view = self.model.view();
            let held = view[0].family(transition.family).expect("a family that changed is there");
            assert_eq!((held.verdict, held.since), (transition.to, self.wall()), "{place}, {step}");
        }
    }

    fn is(&self, assertions: &str) {
        let view = self.model.view();
        for assertion in assertions.split_whitespace() {
            let (family, verdict) = assertion.split_once('=').expect("family=verdict");
            let family = if family == "v6" { Family::V6 } else { Family::V4 };
            let held = view[0].family(family).expect("both families are there");
            assert_eq!(held.verdict.name(), verdict, "{}: {family}: {}", self.place, held.reason);
        }
    }
}

fn outcome(what: &str, millis: &str, place: &str) -> Outcome {
    let rtt = Micros((millis.parse::<f64>().expect("milliseconds") * 1e3) as u32);
    let failure = |reason, detail: &str| Outcome::Failure { reason, detail: detail.to_owned() };
    match what {
        "up" => Outcome::Success { rtt },
        "slow" if millis == "0.4" => Outcome::Slow { rtt: Micros::from_millis(1_200) },
        "slow" => Outcome::Slow { rtt },
        "timeout" => failure(FailureReason::Timeout, "127.1.1.1:8081: no answer"),
        "refused" => failure(FailureReason::Refused, "127.1.1.1:8081: connection refused"),
        "reset" => failure(FailureReason::Reset, "127.1.1.1:8081: reset"),
        "status" => failure(FailureReason::Status, "127.1.1.1:8081: status 503, expected 200-299"),
        other => panic!("{place}: unknown step {other}"),
    }
}

fn repeated(word: &str) -> Vec<&str> {
    match word.split_once('*') {
        Some((step, times)) => vec![step; times.parse().expect("a count after *")],
        None => vec![word],
    }
}

fn duration(text: &str) -> Duration {
    if let Some(ms) = text.strip_suffix("ms") {
        return Duration::from_millis(ms.parse().expect("milliseconds"));
    }
    Duration::from_secs(text.trim_end_matches('s').parse().expect("seconds"))
}

fn set(probe: &mut ProbeSpec, key: &str, value: &str) {
    match key {
        "interval" => probe.interval = duration(value),
        "timeout" => probe.timeout = duration(value),
        "rise" => probe.rise = value.parse().expect("a count"),
        "fall" => probe.fall = value.parse().expect("a count"),
        "ok" => probe.ok = value.parse().expect("a count"),
        other => panic!("unknown probe field {other}"),
    }
}

fn probe_of(line: &str) -> ProbeSpec {
    let mut probe = default_probe();
    for word in line.split_whitespace() {
        match (word, word.split_once('=')) {
            (_, Some((key, value))) => set(&mut probe, key, value),
            ("tcp", _) => probe.kind = ProbeKind::Tcp,
            ("http", _) => {}
            ("v4", _) => probe.targets[1] = None,
            ("v6", _) => probe.targets[0] = None,
            (other, _) => panic!("unknown probe word {other}"),
        }
    }
    probe
}

fn restored_of(line: &str) -> BTreeMap<String, NodeHealth> {
    let mut health = NodeHealth::default();
    for word in line.split_whitespace() {
        let (family, verdict) = word.split_once('=').expect("family=verdict");
        let verdict = match verdict {
            "up" => Verdict::Up,
            "degraded" => Verdict::Degraded,
            "down" => Verdict::Down,
            _ => Verdict::Unknown,
        };
        let reason = "what it was".to_owned();
        let held = FamilyHealth { verdict, since: WallTime(7), reason, ..FamilyHealth::default() };
        health.families[usize::from(family == "v6")] = Some(held);
    }
    BTreeMap::from([("tyo-1".to_owned(), health)])
}

fn run(scenario: &str) {
    let name = scenario.lines().next().unwrap_or_default().trim();
    let mut probes = Vec::new();
    let mut restored = BTreeMap::new();
    let mut started: Option<Run> = None;
    for (at, line) in scenario.lines().enumerate().skip(1) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => continue,
            "probe" => probes.push(probe_of(rest)),
            "restored" => restored = restored_of(rest),
            _ => {
                let run = started.get_or_insert_with(|| {
                    let probes = match probes.is_empty() {
                        true => vec![default_probe()],
                        false => probes.clone(),
                    };
                    Run::new(String::new(), probes, &restored)
                });
                run.place = format!("{name}, line +{at}");
                if word == "is" { run.is(rest) } else { run.line(line) }
            }
        }
    }
    assert!(started.is_some(), "{name}: a scenario without steps checks nothing");
}

#[test]
fn every_scenario_holds() {
    let text = include_str!("scenarios.txt");
    let scenarios: Vec<&str> = text.split("\n== ").skip(1).collect();
    assert!(scenarios.len() >= 36, "only {} scenarios were found", scenarios.len());
    let failed = |scenario: &&str| std::panic::catch_unwind(|| run(scenario)).is_err();
    let failed: Vec<&str> =
        scenarios.into_iter().filter(failed).filter_map(|text| text.lines().next()).collect();
    assert!(failed.is_empty(), "{} scenarios do not hold: {failed:#?}", failed.len());
}
