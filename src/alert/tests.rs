//! The book, by a small fleet whose verdicts are set by hand and a clock that is moved by hand.

use super::{AlertBook, Moment};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::units::{Micros, Ppm};
use crate::model::alert::{Alert, AlertPolicy, AlertScope, Bulletin, MOST_ALERTS, Severity};
use crate::model::ids::{Generation, Revision};
use crate::model::overrides::{Action, Override, OverrideId, OverrideStatus};
use crate::model::provenance::{Cause, Provenance};
use crate::model::status::{
    Expiry, ExpiryKind, NodeStatus, OverCapacity, Problem, QueryCounts, ServiceStatus, Status,
};
use crate::model::verdict::{Evidence, FamilyHealth, NodeHealth, NodeLoad, Rule, Verdict};
use std::sync::Arc;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Region, sites, nodes per site.
type Shape = &'static [(&'static str, &'static [&'static str], usize)];

const FLEET: Shape = &[("ea", &["tyo", "osa", "sel"], 3), ("eu", &["fra", "lon"], 2)];

struct World {
    book: AlertBook,
    status: Status,
    now_ms: u64,
}

fn empty() -> Status {
    Status {
        instance: "here".to_owned(),
        version: String::new(),
        now: WallTime(0),
        started_at: WallTime(0),
        table: Provenance {
            generation: Generation(1),
            parent: Generation(0),
            published_at: WallTime(0),
            cause: Cause::ColdStart,
            policy: Revision::default(),
            geo: Revision::default(),
        },
        listen: Vec::new(),
        admin: "127.0.0.1:8053".to_owned(),
        nodes: Vec::new(),
        services: Vec::new(),
        vantages: Vec::new(),
        recent: Vec::new(),
        problems: Vec::new(),
        queries: QueryCounts::default(),
        held_back: Default::default(),
        canary: None,
        overrides: Vec::new(),
        drilled: Vec::new(),
        expiries: Vec::new(),
        alerts: Vec::new(),
        alerts_omitted: 0,
        receivers: Vec::new(),
        incidents: Vec::new(),
    }
}

fn node(region: &str, site: &str, name: String) -> NodeStatus {
    let health = FamilyHealth { verdict: Verdict::Up, observed: true, ..FamilyHealth::default() };
    NodeStatus {
        name,
        site: site.to_owned(),
        region: region.to_owned(),
        line: None,
        addresses: Vec::new(),
        health: NodeHealth { families: [Some(health), None], load: None, forced: None },
        share: Ppm::ZERO,
        probed: true,
    }
}

/// The rules that rhumb comes with.
fn shipped() -> AlertPolicy {
    crate::policy::load(&[]).0.expect("an empty folder is a policy").alerts
}

impl World {
    fn of(shape: Shape) -> Self {
        let mut status = empty();
        for (region, sites, count) in shape {
            for site in *sites {
                status.nodes.extend((1..=*count).map(|at| node(region, site, format!("{site}-{at}"))));
            }
        }
        let mut world = Self { book: AlertBook::new(Arc::new(shipped())), status, now_ms: 1_000_000 };
        world.pass(100);
        world
    }

    fn health(&mut self, name: &str) -> &mut FamilyHealth {
        let node = self.status.nodes.iter_mut().find(|node| node.name == name).expect("a node");
        node.health.families[0].as_mut().expect("a family")
    }

    fn load(&mut self, name: &str, load: NodeLoad) {
        let node = self.status.nodes.iter_mut().find(|node| node.name == name).expect("a node");
        node.health.load = Some(load);
    }

    /// Sets the verdict of every node whose name begins so.
    fn set(&mut self, prefix: &str, verdict: Verdict) {
        let since = WallTime(self.now_ms);
        for node in self.status.nodes.iter_mut().filter(|node| node.name.starts_with(prefix)) {
            let health = node.health.families[0].as_mut().expect("a family");
            if health.verdict != verdict {
                let reason = format!("{} is {verdict}", node.name);
                *health = FamilyHealth { verdict, since, reason, observed: true, ..FamilyHealth::default() };
            }
        }
    }

    /// Lets time pass in steps of 100 ms.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now_ms += 100;
            let now = Moment { mono: MonoTime::from_millis(self.now_ms), wall: WallTime(self.now_ms) };
            self.book.observe(&self.status, now);
        }
    }

    fn keys(&self) -> Vec<String> {
        self.book.alerts().0.into_iter().map(|alert| alert.key).collect()
    }

    /// Keys and revisions that receivers are told.
    fn told(&self) -> Vec<String> {
        let Bulletin { firing, .. } = self.book.bulletin();
        firing.iter().map(|told| format!("{}#{}", told.alert.key, told.revision)).collect()
    }

    fn ended(&self) -> Vec<(String, Option<String>)> {
        let ended = self.book.bulletin().ended;
        ended.iter().map(|alert| (alert.key.clone(), alert.replaced_by.clone())).collect()
    }
}

#[test]
fn what_stood_before_a_restart_is_told_once_it_is_seen_again() {
    let mut world = World::of(&[("ea", &["tyo"], 2)]);
    world.set("tyo", Verdict::Down);
    for name in ["tyo-1", "tyo-2"] {
        world.health(name).observed = false;
    }
    world.pass(60_000);
    assert_eq!(world.keys(), [""; 0], "nobody has looked yet");
    for name in ["tyo-1", "tyo-2"] {
        world.health(name).observed = true;
    }
    world.pass(60_000);
    assert_eq!(world.keys().len(), 1, "{:?}", world.keys());
}

impl World {
    /// The same world under a new book that takes up what was told; nothing is known of it yet.
    fn restart(self) -> Self {
        let told = self.book.bulletin().firing;
        let mut book = AlertBook::new(Arc::new(shipped()));
        let now = Moment { mono: MonoTime::from_millis(self.now_ms), wall: WallTime(self.now_ms) };
        book.restore(told.iter().map(|told| &*told.alert), now);
        let mut status = self.status;
        for node in &mut status.nodes {
            node.health.load = None;
            node.health.families.iter_mut().flatten().for_each(|health| health.observed = false);
        }
        Self { book, status, now_ms: self.now_ms }
    }

    fn look(&mut self) {
        for node in &mut self.status.nodes {
            node.health.families.iter_mut().flatten().for_each(|health| health.observed = true);
        }
    }
}

#[test]
fn what_was_told_before_a_restart_stands_until_it_is_known_to_be_over() {
    let mut world = World::of(FLEET);
    world.set("tyo", Verdict::Down);
    world.set("osa", Verdict::Down);
    world.set("fra-1", Verdict::Down);
    world.pass(10_000);
    let before = ["node-down/node/fra-1#1", "node-down/region/ea#1"];
    assert_eq!(world.told(), before);
    let since = world.book.alerts().0[0].since;
    world.pass(5_000);
    let mut world = world.restart();
    world.pass(120_000);
    assert_eq!(world.told(), before, "nobody has looked yet");
    world.look();
    world.pass(60_000);
    assert_eq!(world.told(), before, "and it stands");
    assert_eq!(world.book.alerts().0[0].since, since);
    // It grows as if there had been no restart, and so does it end.
    world.set("sel", Verdict::Down);
    world.pass(40_000);
    assert_eq!(world.told(), ["node-down/node/fra-1#1", "node-down/region/ea#2"]);
    let mut world = world.restart();
    world.set("", Verdict::Up);
    world.look();
    world.pass(29_000);
    assert_eq!(world.told().len(), 2);
    world.pass(2_000);
    assert!(world.told().is_empty(), "{:?}", world.told());
    let ended = world.book.bulletin().ended;
    let region = ended.iter().find(|alert| alert.key == "node-down/region/ea").expect("the region");
    assert_eq!((region.member_count, region.labels["region"].as_str()), (9, "ea"));
}

#[test]
fn feeds_and_problems_are_awaited_after_a_restart() {
    let mut world = World::of(FLEET);
    let load = |percent| NodeLoad { utilisation: Ppm::from_percent(percent), ..NodeLoad::default() };
    world.load("fra-1", load(90));
    world.status.problems.push(Problem {
        since: WallTime(7),
        code: "table-frozen".to_owned(),
        message: "nobody is moved".to_owned(),
        help: String::new(),
    });
    world.pass(303_000);
    let before = ["overload/node/fra-1#1", "table-frozen/instance/table-frozen#1"];
    assert_eq!(world.told(), before);
    let mut world = world.restart();
    world.look();
    let problems = std::mem::take(&mut world.status.problems);
    world.pass(29_000);
    world.load("fra-1", load(90));
    world.status.problems = problems;
    world.pass(60_000);
    assert_eq!(world.told(), before);
    let mut world = world.restart();
    world.look();
    world.status.problems.clear();
    world.pass(59_000);
    assert_eq!(world.told(), before, "awaited for 30 s, and over after 30 more");
    world.pass(2_000);
    assert!(world.told().is_empty(), "{:?}", world.told());
}

#[test]
fn an_alert_of_a_rule_or_node_that_is_gone_is_over_after_a_restart() {
    let mut world = World::of(FLEET);
    world.set("fra-1", Verdict::Down);
    world.pass(10_000);
    let alert = Alert::clone(&world.book.bulletin().firing[0].alert);
    let other = Alert { rule: "gone".to_owned(), key: "gone/node/fra-1".to_owned(), ..alert };
    let mut world = world.restart();
    let now = Moment { mono: MonoTime::from_millis(world.now_ms), wall: WallTime(world.now_ms) };
    world.book.restore([&other], now);
    world.status.nodes.retain(|node| node.name != "fra-1");
    world.pass(100);
    assert!(world.told().is_empty(), "{:?}", world.told());
    assert_eq!(world.ended(), [("node-down/node/fra-1".to_owned(), None)]);
}

#[test]
fn a_node_is_shown_at_once_and_told_after_the_wait() {
    let mut world = World::of(FLEET);
    world.set("fra-1", Verdict::Down);
    world.pass(100);
    assert_eq!(world.keys(), ["node-down/node/fra-1"]);
    assert!(world.told().is_empty());
    world.pass(1_000);
    assert_eq!(world.told(), ["node-down/node/fra-1#1"]);
    let alert = world.book.alerts().0.remove(0);
    assert_eq!(alert.summary, "node fra-1: down: fra-1 is down");
    assert_eq!((alert.severity, alert.scope), (Severity::Warning, AlertScope::Node));
    let labels: Vec<_> = alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["node=fra-1", "region=eu", "site=fra"]);
}

#[test]
fn a_region_whose_nodes_fall_within_a_second_is_one_alert_with_all_of_them() {
    let mut world = World::of(FLEET);
    for name in ["sel-2", "tyo-1", "osa-1", "osa-2", "tyo-2", "sel-1", "osa-3", "sel-3", "tyo-3"] {
        world.set(name, Verdict::Down);
        world.pass(200);
        assert!(world.told().is_empty(), "a growing alert waits");
    }
    world.pass(1_000);
    assert_eq!(world.told(), ["node-down/region/ea#1"]);
    assert!(world.ended().is_empty(), "what was never told does not end");
    let alert = world.book.alerts().0.remove(0);
    assert_eq!((alert.member_count, alert.severity), (9, Severity::Critical));
    assert!(alert.summary.starts_with("region ea: down: 9 of 9 nodes (osa-1, osa-2,"), "{}", alert.summary);
    world.set("", Verdict::Up);
    world.pass(29_000);
    assert_eq!(world.keys(), ["node-down/region/ea"], "not over yet");
    world.pass(2_000);
    assert!(world.keys().is_empty() && world.told().is_empty());
    assert_eq!(world.ended(), [("node-down/region/ea".to_owned(), None)]);
    let ended = world.book.bulletin().ended.remove(0);
    assert!(ended.ended.is_some() && ended.members.iter().all(|member| !member.firing));
}

#[test]
fn an_alert_that_grows_replaces_the_smaller_ones() {
    let mut world = World::of(FLEET);
    world.set("tyo-1", Verdict::Down);
    world.pass(2_000);
    assert_eq!(world.told(), ["node-down/node/tyo-1#1"]);
    world.set("tyo", Verdict::Down);
    world.pass(2_000);
    assert_eq!(world.told(), ["node-down/site/tyo#1"]);
    world.set("osa", Verdict::Down);
    world.set("sel-2", Verdict::Down);
    world.pass(2_000);
    assert_eq!(world.told(), ["node-down/region/ea#1"], "with the node of a site that is not down");
    let site = Some("node-down/site/tyo".to_owned());
    let region = Some("node-down/region/ea".to_owned());
    assert_eq!(
        world.ended(),
        [("node-down/node/tyo-1".to_owned(), site.clone()), ("node-down/site/tyo".to_owned(), region)]
    );
    let alert = world.book.alerts().0.remove(0);
    assert_eq!((alert.member_count, alert.replaces.len()), (7, 2), "{:?}", alert.replaces);
    // One site is well again: the region is still one alert, and says who is well.
    world.set("tyo", Verdict::Up);
    world.pass(60_000);
    assert_eq!(world.told(), ["node-down/region/ea#1"]);
    let alert = world.book.alerts().0.remove(0);
    let firing = alert.members.iter().filter(|member| member.firing).count();
    assert_eq!((alert.member_count, firing), (7, 4));
}

#[test]
fn an_alert_that_gains_members_is_told_again_but_not_at_once() {
    let mut world = World::of(&[("ea", &["tyo", "osa", "sel"], 4), ("eu", &["fra"], 4)]);
    world.set("fra-1", Verdict::Down);
    world.set("fra-2", Verdict::Down);
    world.set("fra-3", Verdict::Down);
    world.pass(2_000);
    assert_eq!(world.told(), ["node-down/site/fra#1"]);
    world.set("fra-4", Verdict::Down);
    world.pass(20_000);
    assert_eq!(world.told(), ["node-down/site/fra#1"]);
    world.pass(12_000);
    assert_eq!(world.told(), ["node-down/site/fra#2"]);
}

#[test]
fn a_region_that_never_stops_falling_is_told_after_five_waits() {
    let mut world = World::of(&[("ea", &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], 1)]);
    for name in ["a-1", "b-1", "c-1", "d-1", "e-1", "f-1", "g-1"] {
        world.set(name, Verdict::Down);
        world.pass(900);
    }
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("node-down/region/ea"), "{told:?}");
}

#[test]
fn flaps_are_one_alert_and_are_told_as_flapping() {
    let mut world = World::of(FLEET);
    for _ in 0..3 {
        world.set("fra-1", Verdict::Down);
        world.pass(5_000);
        world.set("fra-1", Verdict::Up);
        world.pass(5_000);
    }
    assert_eq!(world.told(), ["node-down/node/fra-1#1", "node-flapping/node/fra-1#1"]);
    world.pass(40_000);
    assert_eq!(world.told(), ["node-flapping/node/fra-1#1"]);
    world.pass(700_000);
    assert!(world.keys().is_empty(), "quiet for ten minutes: {:?}", world.keys());
}

#[test]
fn what_came_and_went_within_the_wait_is_not_told() {
    let mut world = World::of(FLEET);
    let mut policy = shipped();
    policy.resolve_after = std::time::Duration::ZERO;
    world.book.set_policy(Arc::new(policy));
    world.set("fra-1", Verdict::Down);
    world.pass(500);
    world.set("fra-1", Verdict::Up);
    world.pass(2_000);
    assert!(world.told().is_empty() && world.ended().is_empty());
}

/// What is set, the seconds after which it is not yet an alert and is one, and how it is then told.
fn check(set: impl FnOnce(&mut World), quiet_s: u64, told_s: u64, expected: &str) {
    let mut world = World::of(FLEET);
    world.pass(1_000);
    set(&mut world);
    world.pass(quiet_s * 1_000);
    assert!(!world.keys().iter().any(|key| expected.starts_with(key)), "too early: {expected}");
    world.pass((told_s - quiet_s) * 1_000);
    let (alerts, _) = world.book.alerts();
    let told: Vec<_> = alerts.iter().map(|alert| format!("{} {}", alert.key, alert.summary)).collect();
    assert_eq!(told, [expected]);
}

#[test]
fn figures_of_a_node_have_to_last() {
    let slow = |world: &mut World| {
        let health = world.health("fra-1");
        (health.rtt, health.baseline) = (Some(Micros::from_millis(90)), Some(Micros::from_millis(40)));
    };
    check(
        slow,
        29,
        31,
        "latency-doubled/node/fra-1 node fra-1: twice as slow as usual: round trip 90.0 ms, usually 40.0 ms",
    );
    let lossy = |world: &mut World| world.health("fra-1").loss_at_least = Ppm::from_percent(7);
    check(
        lossy,
        29,
        31,
        "loss/node/fra-1 node fra-1: losing packets: surely more than 7.0 % of the probes are lost",
    );
    let full = |world: &mut World| {
        let (utilisation, binding) = (Ppm::from_percent(86), "mbps".to_owned());
        world.load("fra-1", NodeLoad { utilisation, binding, ..NodeLoad::default() });
    };
    check(full, 299, 301, "overload/node/fra-1 node fra-1: nearly full: mbps at 86.0 %");
    let expiring = |world: &mut World| world.health("fra-1").certificate_days = Some(13);
    check(
        expiring,
        0,
        1,
        "node-certificate/node/fra-1 node fra-1: certificate about to expire: the certificate lasts 13 days",
    );
    let damped = |world: &mut World| {
        world.health("fra-1").reason = "held back".to_owned();
        world.health("fra-1").evidence = Evidence { rule: Rule::Damped, ..Evidence::default() };
    };
    check(damped, 0, 1, "node-flapping/node/fra-1 node fra-1: flapping: held back");
}

#[test]
fn a_cold_cache_is_an_alert_only_with_rising_errors() {
    let load = |errors: u32, hit: u32| NodeLoad {
        error_rate: Some(Ppm::from_percent(errors)),
        cache_hit: Some(Ppm::from_percent(hit)),
        ..NodeLoad::default()
    };
    let mut world = World::of(FLEET);
    world.load("fra-1", load(1, 90));
    world.pass(60_000);
    world.load("fra-1", load(1, 50));
    world.pass(120_000);
    assert!(world.keys().is_empty(), "cold, but well");
    world.load("fra-1", load(5, 90));
    world.pass(120_000);
    assert!(world.keys().is_empty(), "errors, but warm");
    world.load("fra-1", load(9, 50));
    world.pass(62_000);
    let alert = world.book.alerts().0.remove(0);
    assert_eq!(alert.key, "cache-failing/node/fra-1");
    assert!(alert.summary.contains("finds 50.0 % in its cache; 9.0 % errors, usually"), "{}", alert.summary);
}

#[test]
fn bounds_have_a_width() {
    let mut world = World::of(FLEET);
    let load = |percent| NodeLoad { utilisation: Ppm::from_percent(percent), ..NodeLoad::default() };
    world.load("fra-1", load(90));
    world.pass(301_000);
    world.load("fra-1", load(80));
    world.pass(120_000);
    assert_eq!(world.keys(), ["overload/node/fra-1"], "80 is not well below 85");
    world.load("fra-1", load(76));
    world.pass(31_000);
    assert!(world.keys().is_empty());
}

#[test]
fn a_dead_node_is_dead_and_nothing_else() {
    let mut world = World::of(FLEET);
    world.set("fra-1", Verdict::Down);
    let health = world.health("fra-1");
    health.loss_at_least = Ppm::from_percent(60);
    (health.rtt, health.baseline) = (Some(Micros::from_millis(900)), Some(Micros::from_millis(40)));
    world.pass(120_000);
    assert_eq!(world.keys(), ["node-down/node/fra-1"]);
}

#[test]
fn problems_of_one_code_are_one_alert_of_this_instance() {
    let mut world = World::of(FLEET);
    let problem = |vantage: &str| Problem {
        since: WallTime(999_000),
        code: "vantage-distrusted".to_owned(),
        message: format!("vantage {vantage} does not count"),
        help: String::new(),
    };
    world.status.problems = vec![problem("a"), problem("b")];
    world.pass(11_000);
    let alert = world.book.alerts().0.remove(0);
    assert_eq!(alert.key, "vantage-distrusted/instance/vantage-distrusted");
    assert_eq!(
        alert.summary,
        "here: a vantage is not believed: vantage a does not count; vantage b does not count"
    );
    assert_eq!((alert.since, alert.labels["instance"].as_str()), (WallTime(999_000), "here"));
    world.status.problems.clear();
    world.pass(31_000);
    assert!(world.keys().is_empty());
}

#[test]
fn what_ends_soon_and_who_is_not_served_is_told() {
    let mut world = World::of(FLEET);
    let at = |kind, days: u64| Expiry { kind, name: "x".to_owned(), at: WallTime(1_000_000 + days * DAY_MS) };
    world.status.expiries =
        vec![at(ExpiryKind::Certificate, 15), at(ExpiryKind::Key, 13), at(ExpiryKind::Signature, 3)];
    world.status.services.push(ServiceStatus {
        sheds_to: None,
        shed_rule: None,
        rungs: Vec::new(),
        over_capacity: None,
        name: "live".to_owned(),
        hostnames: Vec::new(),
        profile: String::new(),
        ttl: 30,
        groups_all_down: 2,
        groups: 10,
        demand: Default::default(),
    });
    let over = OverCapacity { units: 29, unit: None, share: Ppm(241_000), demand: 120 };
    world.status.services[0].over_capacity = Some(over);
    world.pass(1_500);
    let keys = world.keys();
    let expected = [
        "service-unserved/service/live",
        "signature-expiry/instance/signature of x",
        "key-expiry/instance/key of x",
    ];
    assert_eq!(keys, expected, "the worst first; what does not last is no overload");
    world.pass(11_000);
    let alerts = world.book.alerts().0;
    let over = alerts.iter().find(|alert| alert.rule == "service-over-capacity").expect("it lasted");
    assert_eq!(over.key, "service-over-capacity/service/live");
    let expected = "service live: more demand than its nodes may be given: demand of 29 of 120 units (24.1 %) is above what \
                    its nodes may be given";
    assert_eq!(over.summary, expected);
    world.status.services[0].over_capacity = None;
    world.pass(40_000);
    assert!(!world.keys().iter().any(|key| key.starts_with("service-over-capacity")));
}

#[test]
fn overrides_about_to_end_are_told_but_for_short_ones() {
    let mut world = World::of(FLEET);
    let set = |id: u64, minutes: u64, left: u64| OverrideStatus {
        set: Override {
            id: OverrideId(id),
            target: "site/tyo".parse().expect("a target"),
            action: Action::Drain,
            owner: "alice".to_owned(),
            reason: "new disks".to_owned(),
            set_at: WallTime(1_000_000 + (left * 60_000) - minutes * 60_000),
            expires_at: WallTime(1_000_000 + left * 60_000),
            break_glass: Vec::new(),
        },
        nodes: Vec::new(),
    };
    world.status.overrides = vec![set(1, 12, 11), set(2, 12, 8), set(3, 9, 8)];
    world.pass(1_500);
    assert_eq!(world.keys(), ["override-ending/instance/override 2 (drain site/tyo)"]);
    assert!(world.book.alerts().0[0].summary.contains("ends in 8 min; alice: new disks"));
}

#[test]
fn the_number_told_is_bounded() {
    let mut world = World::of(&[]);
    let lonely = |at: usize| node(&format!("r{at}"), &format!("s{at}"), format!("n{at}"));
    world.status.nodes = (0..MOST_ALERTS + 40).map(lonely).collect();
    world.set("", Verdict::Down);
    world.pass(7_000);
    assert_eq!(world.told().len(), MOST_ALERTS);
    let (shown, omitted) = world.book.alerts();
    assert_eq!((shown.len(), omitted), (MOST_ALERTS, 40));
}

#[test]
fn a_rule_that_is_gone_ends_its_alerts_and_others_go_on() {
    let mut world = World::of(FLEET);
    world.set("fra-1", Verdict::Down);
    world.status.problems.push(Problem {
        since: WallTime(0),
        code: "table-frozen".to_owned(),
        message: "frozen".to_owned(),
        help: String::new(),
    });
    world.pass(2_000);
    let mut policy = shipped();
    policy.rules.retain(|rule| rule.name != "table-frozen");
    world.book.set_policy(Arc::new(policy));
    world.pass(100);
    assert_eq!(world.told(), ["node-down/node/fra-1#1"]);
    assert_eq!(world.ended().len(), 1);
}

#[test]
fn the_book_says_when_to_look_again() {
    let mut world = World::of(FLEET);
    assert_eq!(world.book.due(), None);
    world.set("fra-1", Verdict::Down);
    world.pass(100);
    assert_eq!(world.book.due(), Some(MonoTime::from_millis(world.now_ms + 1_000)));
    world.pass(1_000);
    assert_eq!(world.book.due(), None, "told");
    world.set("fra-1", Verdict::Up);
    world.pass(100);
    assert_eq!(world.book.due(), Some(MonoTime::from_millis(world.now_ms + 30_000)));
}
