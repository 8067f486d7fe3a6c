//! The book, by a small fleet whose verdicts are set by hand and a clock that is moved by hand.

use super::{IncidentBook, Kept, Moment};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::units::Ppm;
use crate::model::degradation::{Rung, RungStatus};
use crate::model::ids::{Generation, Revision};
use crate::model::incident::{
    CauseOf, Clientele, Incident, IncidentRules, MOST_STEPS, NamedShare, NodeClients, Part, Phase,
    ServiceClients, Severity, StepKind,
};
use crate::model::overrides::{Action, Forced, Override, OverrideId, OverrideStatus};
use crate::model::provenance::{Cause, Provenance};
use crate::model::status::{Change, NodeStatus, Problem, QueryCounts, ServiceStatus, Status};
use crate::model::verdict::{Evidence, FamilyHealth, NodeHealth, Verdict};
use std::sync::Arc;

/// Region, sites, nodes per site.
type Shape = &'static [(&'static str, &'static [&'static str], usize)];

const FLEET: Shape = &[("ea", &["tyo", "osa", "sel"], 2), ("eu", &["fra", "lon"], 2)];
const TTL: u32 = 10;
const START: u64 = 1_000_000_000_000;

struct World {
    book: IncidentBook,
    status: Status,
    now_ms: u64,
    /// Closed, as they were handed out.
    closed: Vec<Incident>,
    /// Numbers given so far.
    numbers: u64,
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
            published_at: WallTime(START),
            cause: Cause::ColdStart,
            policy: Revision::default(),
            geo: Revision::default(),
        },
        listen: Vec::new(),
        admin: String::new(),
        nodes: Vec::new(),
        services: vec![ServiceStatus {
            sheds_to: None,
            shed_rule: None,
            rungs: Vec::new(),
            over_capacity: None,
            name: "live".to_owned(),
            hostnames: Vec::new(),
            profile: String::new(),
            ttl: TTL,
            groups_all_down: 0,
            groups: 10,
            demand: Default::default(),
        }],
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
        share: Ppm::from_percent(10),
        probed: true,
    }
}

impl World {
    fn new() -> Self {
        let mut status = empty();
        for (region, sites, count) in FLEET {
            for site in *sites {
                status.nodes.extend((1..=*count).map(|at| node(region, site, format!("{site}-{at}"))));
            }
        }
        let book = IncidentBook::new(IncidentRules::default());
        let mut world = Self { book, status, now_ms: START, closed: Vec::new(), numbers: 0 };
        world.pass(1_000);
        world
    }

    /// Every node has a tenth of the clients, all of the area of its region.
    fn before(status: &Status) -> Clientele {
        let on = |node: &NodeStatus| NodeClients {
            share: Ppm::from_percent(10),
            areas: vec![NamedShare { name: format!("area-{}", node.region), share: Ppm::from_percent(20) }],
            lines: Vec::new(),
        };
        Clientele {
            services: vec![ServiceClients {
                name: "live".to_owned(),
                tier: "5m".to_owned(),
                tier_ms: 300_000,
                ttl: TTL,
                served: Ppm::WHOLE,
                nodes: status.nodes.iter().map(|node| (node.name.clone(), on(node))).collect(),
            }],
        }
    }

    fn nodes(&mut self, prefix: &str) -> impl Iterator<Item = &mut NodeStatus> {
        self.status.nodes.iter_mut().filter(move |node| node.name.starts_with(prefix))
    }

    /// Nodes fall a second after the first observation that failed, and the table goes with them.
    fn fall(&mut self, prefix: &str) {
        let (now, mut names) = (WallTime(self.now_ms), Vec::new());
        for node in self.nodes(prefix) {
            let evidence = Evidence { first: Some(WallTime(now.0 - 1_000)), ..Evidence::default() };
            let reason = "3 of 3 probes refused".to_owned();
            let health = FamilyHealth {
                verdict: Verdict::Down,
                since: now,
                reason,
                evidence,
                observed: true,
                ..FamilyHealth::default()
            };
            node.health.families[0] = Some(health);
            node.share = Ppm::ZERO;
            names.push(node.name.clone());
        }
        self.publish(Cause::Evacuation { nodes: names });
    }

    /// Nodes are well again, and have their clients back `share` of them.
    fn rise(&mut self, prefix: &str, share: Ppm) {
        let (now, mut names) = (WallTime(self.now_ms), Vec::new());
        for node in self.nodes(prefix) {
            let health =
                FamilyHealth { verdict: Verdict::Up, since: now, observed: true, ..FamilyHealth::default() };
            node.health.families[0] = Some(health);
            node.share = share;
            names.push(node.name.clone());
        }
        self.publish(Cause::Recovery { nodes: names });
    }

    fn publish(&mut self, cause: Cause) {
        let generation = Generation(self.status.table.generation.0 + 1);
        let at = WallTime(self.now_ms + 20);
        let (policy, moves) = (Revision::default(), vec!["live: a -> b 10.0 %".to_owned()]);
        self.status.table = Provenance {
            generation,
            parent: self.status.table.generation,
            published_at: at,
            cause: cause.clone(),
            policy: policy.clone(),
            geo: Revision::default(),
        };
        self.status.recent.push(Change { at, generation, cause, policy, moves });
    }

    /// Lets time pass in steps of 100 ms.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now_ms += 100;
            let now =
                Moment { mono: MonoTime::from_millis(self.now_ms - START), wall: WallTime(self.now_ms) };
            let before = || Arc::new(Self::before(&self.status));
            self.book.observe(&self.status, &before, now);
            for Kept { serial, incident } in self.book.take_changed(true) {
                if incident.is_closed() {
                    self.closed.push(incident);
                } else if incident.id == 0 {
                    self.numbers += 1;
                    self.book.number(serial, self.numbers);
                }
            }
        }
    }

    fn open(&self) -> Vec<&Incident> {
        self.book.open_incidents().collect()
    }

    /// Cause and subject of those that are open.
    fn causes(&self) -> Vec<(CauseOf, String)> {
        self.open().into_iter().map(|it| (it.cause.of, it.cause.subject.clone())).collect()
    }

    fn one(&self) -> &Incident {
        let open = self.open();
        assert_eq!(open.len(), 1, "{:#?}", open.iter().map(|it| &it.summary).collect::<Vec<_>>());
        open[0]
    }

    fn problem(&mut self, code: &str, message: &str) {
        self.status.problems.push(Problem {
            since: WallTime(self.now_ms),
            code: code.to_owned(),
            message: message.to_owned(),
            help: String::new(),
        });
    }

    fn withdraw(&mut self, prefix: &str, owner: &str) {
        let (now, until) = (WallTime(self.now_ms), WallTime(self.now_ms + 3_600_000));
        for node in self.nodes(prefix) {
            let (owner, reason) = (owner.to_owned(), "new disks".to_owned());
            node.health.forced =
                Some(Forced { action: Action::Drain, by: OverrideId(1), owner, reason, until });
            node.share = Ppm::ZERO;
        }
        self.status.overrides.push(OverrideStatus {
            set: Override {
                id: OverrideId(1),
                target: "site/tyo".parse().expect("a target"),
                action: Action::Drain,
                owner: owner.to_owned(),
                reason: "new disks".to_owned(),
                set_at: now,
                expires_at: until,
                break_glass: Vec::new(),
            },
            nodes: Vec::new(),
        });
    }
}

fn rung(shed: Ppm, unserved: Ppm) -> RungStatus {
    let rung = if shed > Ppm::ZERO { Rung::Shed } else { Rung::Normal };
    RungStatus { area: None, rung, for_s: 0, shed, utilisation: None, spilled: Ppm::ZERO, unserved }
}

#[test]
fn newcomers_wait_until_they_are_let_in() {
    let mut world = World::new();
    world.status.services[0].rungs = vec![rung(Ppm::from_percent(30), Ppm::from_percent(20))];
    world.pass(11_000);
    assert_eq!(world.one().summary, "service live: newcomers turned away");
    let steps = |service: &str| Cause::Degradation { steps: vec![format!("{service}, area *: shed")] };
    world.publish(steps("live"));
    world.publish(steps("rtc"));
    world.pass(20_000);
    assert_eq!(world.one().clocks.answer_ms, None, "they wait");
    let told: Vec<_> = world.one().timeline.iter().filter(|it| it.kind == StepKind::Published).collect();
    assert_eq!(told.len(), 1, "what the ladder of another service does is not of it: {told:#?}");

    // The nodes are still full, but everybody is let in, when the answers in caches have ended.
    world.status.services[0].rungs = vec![rung(Ppm::ZERO, Ppm::from_percent(20))];
    let let_in = world.now_ms + 100;
    world.pass(5_000);
    assert_eq!(world.one().clocks.answer_ms, None, "caches hold it still");
    world.pass(6_000);
    let took = world.one().clocks.answer_ms.expect("restored");
    let failed_at = world.one().clocks.failed_at.0;
    assert_eq!(failed_at + took, let_in + 9_900);
    world.status.services[0].rungs = vec![rung(Ppm::from_percent(30), Ppm::from_percent(20))];
    world.pass(1_000);
    assert_eq!(world.one().clocks.answer_at, None, "they wait again");
}

/// Demand above the caps takes no answer away; turning newcomers away does, and ends with a TTL.
#[test]
fn an_answer_is_lost_from_when_newcomers_are_turned_away() {
    let mut world = World::new();
    world.status.services[0].rungs = vec![rung(Ppm::ZERO, Ppm::from_percent(20))];
    world.pass(60_000);
    assert_eq!(world.one().clocks.answer_ms, Some(0), "never lost");
    world.status.services[0].rungs = vec![rung(Ppm::from_percent(30), Ppm::from_percent(20))];
    world.pass(20_000);
    assert_eq!((world.one().clocks.answer_ms, world.one().clocks.published_at), (None, None));
    // Nothing is amiss any more, but what they were told is in caches.
    world.status.services[0].rungs = vec![rung(Ppm::ZERO, Ppm::ZERO)];
    world.pass(5_000);
    assert_eq!(world.one().clocks.answer_ms, None);
    world.pass(6_000);
    let took = world.one().clocks.answer_ms.expect("restored");
    assert!((29_000..31_000).contains(&took), "20 s and a TTL of 10 s: {took}");
    assert_eq!(world.one().impact.services[0].restored_ms, Some(took));
    assert_eq!(world.one().clocks.published_at, None, "no table moved the clients of a lost node");
}

fn kinds(incident: &Incident) -> Vec<StepKind> {
    incident.timeline.iter().map(|step| step.kind).collect()
}

#[test]
fn a_node_falls_and_comes_back() {
    let mut world = World::new();
    let failed_at = world.now_ms - 1_000;
    world.fall("tyo-1");
    world.pass(100);
    let incident = world.one();
    assert_eq!(incident.summary, "node tyo-1: down");
    assert_eq!(incident.cause.why, "the other node of site tyo is well");
    assert_eq!(
        incident.impact.told(),
        "live: 10 % of clients were on what is lost (area-ea); 10 % of all planned demand"
    );
    assert_eq!(incident.impact.share, Ppm::from_percent(10));
    assert_eq!(incident.clocks.failed_at, WallTime(failed_at));
    assert_eq!(kinds(incident), [StepKind::Failing, StepKind::Verdict, StepKind::Published]);
    assert_eq!(incident.timeline[2].moves, ["live: a -> b 10.0 %"]);
    assert_eq!(incident.clocks.answer_ms, None, "caches hold it still");

    // The table came 1.02 s after the first failure, and 99 % of a TTL of 10 s follows.
    world.pass(11_000);
    assert_eq!(world.one().clocks.answer_ms, Some(10_920));
    assert_eq!(world.one().impact.services[0].restored_ms, Some(10_920));
    assert_eq!(world.one().impact.services[0].is_within_tier(), Some(true));
    assert_eq!(world.one().phase, Phase::Open);

    world.pass(20_000);
    world.rise("tyo-1", Ppm::from_percent(2));
    world.pass(61_000);
    assert_eq!((world.one().phase, world.one().clocks.quality_ms), (Phase::Recovering, None), "ramping");
    let back_at = world.now_ms;
    world.nodes("tyo-1").for_each(|node| node.share = Ppm::from_percent(10));
    world.pass(200);
    assert!(world.open().is_empty(), "well for a minute, and whole");
    let incident = world.closed.remove(0);
    assert_eq!(incident.clocks.quality_ms, Some(back_at + 100 - failed_at));
    assert_eq!(
        kinds(&incident)[3..],
        [StepKind::Restored, StepKind::Back, StepKind::Published, StepKind::Restored, StepKind::Closed]
    );
    let charges = world.book.take_charges();
    let lost: u64 = charges.iter().map(|charge| charge.lost_ns).sum();
    assert_eq!(lost, 100_000 * (1_020 + 5_000), "a tenth of the clients: until the table, and half a TTL");
}

#[test]
fn a_ramp_that_never_shows_ends_by_its_length() {
    let mut world = World::new();
    world.fall("tyo-1");
    world.pass(12_000);
    world.rise("tyo-1", Ppm::from_percent(5));
    world.pass(309_000);
    assert_eq!(world.one().clocks.quality_at, None);
    world.pass(2_000);
    assert_eq!(world.closed.len(), 1);
    assert!(world.closed[0].clocks.quality_ms.is_some_and(|ms| (322_000..325_000).contains(&ms)));
}

#[test]
fn a_node_becomes_a_site_and_a_site_a_region() {
    let mut world = World::new();
    world.fall("tyo-1");
    world.pass(90_000);
    assert_eq!(world.causes(), [(CauseOf::Node, "tyo-1".to_owned())]);
    world.fall("tyo-2");
    world.pass(200);
    assert_eq!(world.causes(), [(CauseOf::Site, "tyo".to_owned())]);
    assert_eq!(world.one().summary, "site tyo: 2 of 2 nodes down (tyo-1, tyo-2)");
    assert_eq!(world.one().impact.services[0].clients, Ppm::from_percent(20));
    assert_eq!(world.one().impact.services[0].areas[0].share, Ppm::from_percent(40));
    // A single node of another site, minutes later, is another incident; the rest of its site makes them one.
    world.pass(90_000);
    world.fall("osa-1");
    world.pass(200);
    assert_eq!(world.causes(), [(CauseOf::Site, "tyo".to_owned()), (CauseOf::Node, "osa-1".to_owned())]);
    world.fall("osa-2");
    world.pass(200);
    assert_eq!(world.causes(), [(CauseOf::Region, "ea".to_owned())]);
    assert_eq!(world.one().cause.why, "4 nodes in 2 of its 3 sites");
    assert_eq!(world.one().impact.services[0].clients, Ppm::from_percent(40));
    let merged = world.closed.remove(0);
    assert_eq!(merged.outcome.as_deref(), Some("part of incident 1, which has the same cause"));
    assert!(
        world
            .one()
            .timeline
            .iter()
            .any(|step| step.what.starts_with("takes in incident 2 (node osa-1: down)"))
    );
    let told = world.one().timeline.iter().filter(|step| step.kind == StepKind::Spread);
    assert!(told.count() >= 3, "{:#?}", world.one().timeline);
}

#[test]
fn a_region_that_falls_at_once_is_one_incident() {
    let mut world = World::new();
    for prefix in ["tyo-1", "osa-2", "sel-1", "tyo-2", "osa-1"] {
        world.fall(prefix);
        world.pass(2_000);
    }
    assert_eq!(world.causes(), [(CauseOf::Region, "ea".to_owned())]);
    assert!(world.closed.is_empty());
    // Its sites come back one by one, and it closes once.
    for prefix in ["tyo", "osa", "sel"] {
        world.pass(30_000);
        world.rise(prefix, Ppm::from_percent(10));
    }
    world.pass(59_000);
    assert_eq!(world.one().phase, Phase::Recovering);
    world.pass(2_000);
    assert!(world.open().is_empty());
    assert_eq!(world.closed.len(), 1);
}

#[test]
fn nodes_of_one_line_in_several_sites_are_the_line() {
    let mut world = World::new();
    for name in ["tyo-1", "osa-1", "fra-1"] {
        world.nodes(name).for_each(|node| node.line = Some("telecom".to_owned()));
    }
    for name in ["tyo-1", "osa-1", "fra-1"] {
        world.fall(name);
        world.pass(500);
    }
    assert_eq!(world.causes(), [(CauseOf::Line, "telecom".to_owned())]);
    assert_eq!(world.one().cause.why, "3 nodes in 3 sites, all of this line");
}

#[test]
fn two_nodes_far_apart_are_two_incidents() {
    let mut world = World::new();
    world.fall("tyo-1");
    world.fall("fra-1");
    world.pass(1_000);
    assert_eq!(world.causes(), [(CauseOf::Node, "tyo-1".to_owned()), (CauseOf::Node, "fra-1".to_owned())]);
}

#[test]
fn a_service_that_lost_a_node_does_not_draw_others_to_it() {
    let mut world = World::new();
    world.fall("tyo-1");
    world.status.services[0].groups_all_down = 1;
    world.pass(500);
    world.fall("fra-1");
    world.pass(500);
    assert_eq!(world.causes(), [(CauseOf::Node, "tyo-1".to_owned()), (CauseOf::Node, "fra-1".to_owned())]);
    // But where a service alone was short, what falls with it is the cause.
    let mut world = World::new();
    world.status.services[0].groups_all_down = 1;
    world.pass(500);
    world.fall("fra-1");
    world.pass(500);
    assert_eq!(world.causes(), [(CauseOf::Node, "fra-1".to_owned())]);
}

#[test]
fn everything_at_once_by_one_vantage_is_us() {
    let mut world = World::new();
    for prefix in ["tyo", "osa", "fra"] {
        world.fall(prefix);
        world.pass(300);
    }
    assert_eq!(world.causes(), [(CauseOf::Us, "us".to_owned())]);
    assert!(world.one().cause.why.contains("6 of 10 nodes in 2 regions at once, by the word of one vantage"));
    // Several vantages that see the same are believed.
    let mut world = World::new();
    for prefix in ["tyo", "osa", "fra"] {
        world.fall(prefix);
        for node in world.nodes(prefix) {
            node.health.families[0].as_mut().expect("a family").evidence.confirmed = true;
        }
        world.pass(300);
    }
    assert_eq!(world.causes(), [(CauseOf::Fleet, "ea, eu".to_owned())]);
}

#[test]
fn a_freeze_is_us_and_takes_what_falls_with_it() {
    let mut world = World::new();
    world.problem("table-frozen", "fewer than half of the nodes are surely known");
    world.problem("vantage-distrusted", "vantage local does not count: it sees almost nothing");
    world.pass(9_000);
    assert!(world.open().is_empty(), "a blink of it is nothing");
    world.pass(2_000);
    assert_eq!(world.causes(), [(CauseOf::Us, "us".to_owned())]);
    assert!(world.one().cause.why.contains("sees almost nothing"), "{}", world.one().cause.why);
    assert_eq!(world.one().impact.told(), "no client is touched");
    world.fall("fra-1");
    world.pass(500);
    assert_eq!(world.one().members.len(), 2, "what falls while we are blind");
    world.status.problems.clear();
    world.rise("fra-1", Ppm::from_percent(10));
    world.pass(75_000);
    assert_eq!(world.closed.len(), 1);
}

#[test]
fn a_flapping_node_is_one_incident() {
    let mut world = World::new();
    for _ in 0..30 {
        world.fall("tyo-1");
        world.pass(20_000);
        world.rise("tyo-1", Ppm::from_percent(10));
        world.pass(25_000);
    }
    let incident = world.one();
    assert_eq!((incident.members[0].falls, incident.members.len()), (30, 1));
    assert!(incident.timeline.len() <= MOST_STEPS);
    assert!(incident.timeline.iter().any(|step| step.what.contains("again (time 8)")));
    assert!(!incident.timeline.iter().any(|step| step.what.contains("again (time 9)")), "not each of them");
    world.pass(40_000);
    assert_eq!((world.closed.len(), world.open().len()), (1, 0));
}

#[test]
fn one_family_down_is_a_minor_incident_that_says_which() {
    let mut world = World::new();
    let down = FamilyHealth {
        verdict: Verdict::Down,
        since: WallTime(world.now_ms),
        reason: "3 of 3 probes refused".to_owned(),
        observed: true,
        ..FamilyHealth::default()
    };
    world.nodes("tyo-1").for_each(|node| node.health.families[1] = Some(down.clone()));
    world.pass(9_000);
    assert!(world.open().is_empty(), "it may be over at once");
    world.pass(2_000);
    let incident = world.one();
    assert_eq!((incident.cause.of, incident.cause.subject.as_str()), (CauseOf::Node, "tyo-1"));
    assert_eq!(incident.summary, "node tyo-1: down over IPv6");
    assert_eq!((incident.severity(), incident.impact.share), (Severity::Minor, Ppm::ZERO));
    // The other one too: the node is lost.
    world.fall("tyo-1");
    world.pass(1_000);
    assert_eq!(world.one().severity(), Severity::Major);
}

#[test]
fn what_a_drill_breaks_is_no_incident_while_it_has_the_node() {
    let mut world = World::new();
    world.status.drilled = vec!["tyo-1".to_owned(), "tyo-2".to_owned()];
    world.fall("tyo");
    world.pass(20_000);
    assert!(world.open().is_empty());
    world.fall("fra-1");
    world.pass(1_000);
    assert_eq!(world.causes(), [(CauseOf::Node, "fra-1".to_owned())]);
    // The drill lets go of one that is still down.
    world.rise("tyo-1", Ppm::from_percent(10));
    world.status.drilled.clear();
    world.pass(1_000);
    assert_eq!(world.causes().last(), Some(&(CauseOf::Node, "tyo-2".to_owned())));
}

#[test]
fn what_operators_and_drills_withdraw_opens_none() {
    for owner in ["alice", "drill lose-a-region"] {
        let mut world = World::new();
        world.withdraw("tyo", owner);
        world.pass(5_000);
        world.fall("tyo-1");
        world.pass(5_000);
        assert!(world.open().is_empty(), "it is theirs");
        // The last nodes of somebody's clients, over the rule that forbids it.
        world.status.services[0].groups_all_down = 4;
        world.pass(60_000);
        assert!(world.open().is_empty(), "and so is what comes of it");
        world.fall("fra-1");
        world.pass(500);
        assert_eq!(world.one().members[0].name, "fra-1", "others are not");
    }
}

#[test]
fn a_lost_node_that_is_drained_leaves_its_incident() {
    let mut world = World::new();
    world.fall("tyo-1");
    world.pass(12_000);
    world.withdraw("tyo-1", "alice");
    world.pass(59_000);
    assert_eq!(world.one().phase, Phase::Recovering);
    world.pass(2_000);
    let incident = world.closed.remove(0);
    let told = incident.timeline.iter().find(|step| step.kind == StepKind::Back).expect("told");
    assert!(told.what.contains("drained by alice: new disks"), "{}", told.what);
}

#[test]
fn clients_without_a_node_belong_to_the_nodes_that_they_lost() {
    let mut world = World::new();
    world.fall("tyo");
    world.status.services[0].groups_all_down = 3;
    world.pass(500);
    let incident = world.one();
    assert_eq!((incident.cause.of, incident.members.len()), (CauseOf::Site, 3));
    assert_eq!(incident.members[2].part, Part::Service);
    assert!(
        incident
            .impact
            .told()
            .starts_with("live: 30 % of client groups have no usable node, 20 % of clients")
    );
    world.pass(60_000);
    assert_eq!(world.one().clocks.answer_ms, None, "somebody has no answer still");
    world.status.services[0].groups_all_down = 0;
    world.pass(200);
    assert_eq!(world.one().clocks.answer_ms, None, "and has it in a cache");
    world.pass(10_000);
    assert!(world.one().clocks.answer_ms.is_some_and(|ms| ms > 69_000));
}

#[test]
fn clients_without_a_node_alone_are_an_incident_of_the_service() {
    let mut world = World::new();
    world.status.services[0].groups_all_down = 5;
    world.pass(200);
    assert_eq!(world.causes(), [(CauseOf::Service, "live".to_owned())]);
    assert_eq!(world.one().summary, "service live: clients without a usable node");
}

#[test]
fn a_region_whose_circuit_opens_is_an_incident() {
    let mut world = World::new();
    world.problem("region-cut", "the circuit of region ea is open: nobody is sent there");
    world.pass(200);
    assert_eq!(world.causes(), [(CauseOf::Region, "ea".to_owned())]);
    assert_eq!(world.one().impact.services[0].clients, Ppm::from_percent(60), "all six of its nodes");
}

#[test]
fn degraded_for_long_is_an_incident_and_for_short_none() {
    let mut world = World::new();
    let since = WallTime(world.now_ms);
    for node in world.nodes("tyo-1") {
        let health = node.health.families[0].as_mut().expect("a family");
        (health.verdict, health.since, health.reason) = (Verdict::Degraded, since, "slow".to_owned());
    }
    world.pass(299_000);
    assert!(world.open().is_empty());
    world.pass(2_000);
    assert_eq!(world.one().summary, "node tyo-1: degraded");
    assert_eq!(world.one().impact.told(), "no client is touched", "it serves");
}

#[test]
fn a_restart_takes_up_what_was_open() {
    let mut world = World::new();
    world.fall("tyo-1");
    world.pass(12_000);
    let mut kept = world.one().clone();
    kept.id = 7;
    let json = serde_json::to_string(&kept).expect("JSON");
    let mut again = World::new();
    again.now_ms = world.now_ms + 5_000;
    again.status.nodes = world.status.nodes.clone();
    let now = Moment { mono: MonoTime::from_millis(again.now_ms - START), wall: WallTime(again.now_ms) };
    let recalled: Incident = serde_json::from_str(&json).expect("as it was written");
    assert_eq!(recalled, kept);
    again.book.restore(vec![recalled], now);
    // Nobody has looked yet: neither well nor new.
    for node in &mut again.status.nodes {
        node.health.families[0].as_mut().expect("a family").observed = false;
    }
    again.pass(40_000);
    assert_eq!((again.one().id, again.one().phase), (7, Phase::Open));
    assert!(again.one().timeline.iter().any(|step| step.what.starts_with("rhumb was started again")));
    for node in &mut again.status.nodes {
        node.health.families[0].as_mut().expect("a family").observed = true;
    }
    again.pass(1_000);
    assert_eq!((again.one().id, again.one().members.len()), (7, 1), "the same");
    assert_eq!(again.one().clocks.failed_at, kept.clocks.failed_at);
    again.rise("tyo-1", Ppm::from_percent(10));
    again.pass(62_000);
    assert_eq!(again.closed.len(), 1);
    assert!(again.closed[0].clocks.answer_ms.is_some() && again.closed[0].clocks.quality_ms.is_some());
}

#[test]
fn after_a_restart_what_is_planned_is_known_as_soon_as_every_node_was_looked_at() {
    let mut world = World::new();
    world.status.services[0].groups_all_down = 5;
    world.pass(200);
    let mut again = World::new();
    again.now_ms = world.now_ms + 5_000;
    let now = Moment { mono: MonoTime::from_millis(again.now_ms - START), wall: WallTime(again.now_ms) };
    again.book.restore(vec![world.one().clone()], now);
    let look = |world: &mut World, observed| {
        for node in &mut world.status.nodes {
            node.health.families[0].as_mut().expect("a family").observed = observed;
        }
    };
    look(&mut again, false);
    again.pass(5_000);
    assert_eq!(again.one().phase, Phase::Open, "the table of the former run says nothing");
    look(&mut again, true);
    again.pass(200);
    assert_eq!(again.one().phase, Phase::Recovering);
}

#[test]
fn what_the_history_does_not_take_is_handed_out_again() {
    let mut world = World::new();
    world.fall("tyo-1");
    let now = Moment { mono: MonoTime::from_millis(5_000), wall: WallTime(world.now_ms + 100) };
    world.book.observe(&world.status, &|| Arc::new(World::before(&empty())), now);
    let kept = world.book.take_changed(false).remove(0);
    assert!(world.book.take_changed(true).is_empty(), "it was taken");
    world.book.give_back(kept);
    assert_eq!(world.book.take_changed(false).len(), 1);
}
