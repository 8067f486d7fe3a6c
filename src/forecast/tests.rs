//! Small worlds before and after an edit, and what is said of it.

use super::*;
use crate::base::clock::WallTime;
use crate::base::diagnostic::SourceFile;
use crate::geo::{self, Countries, GeoTable};
use crate::model::ids::{Generation, Revision};
use crate::model::policy::Policy;
use crate::model::provenance::{Cause, Provenance};
use crate::model::safety::Guardrails;
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use crate::policy;
use crate::routing::{self, SnapshotInput};
use crate::schedule::{self, Pass, PlanInput, PlannerMemory};
use crate::zone::{self, ZoneSet};
use std::sync::Arc;

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
defaults: { capacity: { unit: mbps, amount: 1000, cap: 90% } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge, at: tyo } }
  tyo-2: { site: tyo, addresses: [127.1.1.2], labels: { role: edge, at: tyo2 } }
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge, at: fra } }
";

const CLIENTS: &str = "version: 1
areas: { one: { cidrs: 11.0.0.0/12 }, two: { cidrs: 12.0.0.0/12 } }
overrides:
  - { cidrs: 11.0.0.0/12, location: { lat: 35, lon: 139 } }
  - { cidrs: 12.0.0.0/12, location: { lat: 50, lon: 8 } }
";

const SERVICE: &str = "version: 1
hostnames: live.example.test
demand: 600
pools: { all: { select: { role: edge }, method: weights, weights: [] } }
chains: [{ pools: all }]
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

/// Everything that a plan and a table need.
struct World {
    policy: Arc<Policy>,
    zones: Arc<ZoneSet>,
    geo: Arc<GeoTable>,
    latencies: Latencies,
    health: Arc<Vec<NodeHealth>>,
}

/// A plan with its table.
struct Made {
    plan: schedule::Plan,
    table: Snapshot,
    after_s: Option<u32>,
}

fn world(fleet: &str, clients: &str, service: &str) -> World {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let files = [
        file("fleet.yaml", fleet),
        file("clients.yaml", clients),
        file("services/live.yaml", service),
        file("zones/example.test.zone", ZONE),
    ];
    let (policy, found) = policy::load(&files);
    let policy = policy.unwrap_or_else(|| panic!("{found:?}"));
    let compiled = geo::compile(&[], &policy.clients, Countries::shipped()).expect("compiles");
    let latencies = geo::latency_prior(compiled.table.groups(), &policy.fleet);
    let up = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
    let node = NodeHealth { families: [Some(up), None], load: None, forced: None };
    World {
        health: Arc::new(vec![node; policy.fleet.nodes.len()]),
        policy: Arc::new(policy),
        zones: Arc::new(zone::load(&files).0),
        geo: Arc::new(compiled.table),
        latencies,
    }
}

impl World {
    /// A first plan.
    fn begin(&self) -> Made {
        let memory = PlannerMemory::default();
        let plan = schedule::plan(&self.input(None, &memory));
        self.made(plan, Some(0), None)
    }

    /// What becomes of `former` here.
    fn take_up(&self, from: &World, former: &Made) -> Made {
        let (old, new) = (&from.policy, &self.policy);
        let (was, is) = (from.geo.groups(), self.geo.groups());
        let previous = schedule::remap(old, was, &former.plan.assignment, new, is);
        let memory = former.plan.memory.carried_over(old, new);
        let Settled { plan, after_s, .. } = settle(&self.input(Some(&previous), &memory));
        self.made(plan, after_s, Some(&former.table))
    }

    fn input<'a>(
        &'a self,
        previous: Option<&'a crate::model::placement::Assignment>,
        memory: &'a PlannerMemory,
    ) -> PlanInput<'a> {
        PlanInput {
            policy: &self.policy,
            groups: self.geo.groups(),
            latencies: &self.latencies,
            health: &self.health,
            previous,
            memory,
            demand: None,
            now_ms: 1_000,
            pass: Pass::Full,
        }
    }

    fn made(&self, plan: schedule::Plan, after_s: Option<u32>, previous: Option<&Snapshot>) -> Made {
        let provenance = Provenance {
            generation: Generation(1),
            parent: Generation(0),
            published_at: WallTime(0),
            cause: Cause::ColdStart,
            policy: Revision(String::new()),
            geo: self.geo.revision().clone(),
        };
        let table = routing::compile(SnapshotInput {
            provenance,
            policy: Arc::clone(&self.policy),
            zones: Arc::clone(&self.zones),
            geo: Arc::clone(&self.geo),
            assignment: Arc::new(plan.assignment.clone()),
            health: Arc::clone(&self.health),
            previous,
        });
        Made { plan, table: table.expect("compiles"), after_s }
    }

    fn side<'a>(&'a self, made: &'a Made) -> Side<'a> {
        Side { table: &made.table, latencies: &self.latencies, account: &made.plan.account }
    }
}

/// The forecast of one world becoming another.
fn forecast(old: &World, new: &World) -> Forecast {
    let was = old.begin();
    let is = new.take_up(old, &was);
    Forecast::of(&old.side(&was), &new.side(&is), is.after_s)
}

fn weighted(weights: &str) -> String {
    SERVICE.replace("weights: []", &format!("weights: [{weights}]"))
}

/// A share, in per cent, as it should be and how far off it may be.
fn near(share: Ppm, percent: f64, by: f64) -> bool {
    (share.percent() - percent).abs() <= by
}

fn node<'a>(stand: &'a Stand, name: &str) -> &'a NodeStand {
    stand.nodes.iter().find(|node| node.node == name).expect("a node of this name")
}

#[test]
fn the_same_again_moves_nobody() {
    let world = world(FLEET, CLIENTS, SERVICE);
    let told = forecast(&world, &world);
    assert_eq!((&told.moved, told.settles_s), (&Moved::default(), Some(0)));
    assert!(told.differences.is_empty() && told.before == told.after);
    let (tyo, fra) = (node(&told.before, "tyo-1"), node(&told.before, "fra-1"));
    assert!(near(tyo.clients, 33.3, 0.1) && near(fra.load, 33.3, 0.1), "{:?}", told.before);
    assert!(near(tyo.utilisation.expect("a capacity"), 20.0, 0.1), "200 of 1000 units: {tyo:?}");
    assert!(told.before.latency.p95_ms > told.before.latency.mean_ms && told.before.latency.mean_ms > 20.0);
    assert_eq!((told.before.unserved(), told.before.services[0].demand), (0, 600));
}

#[test]
fn a_weight_moves_its_share_and_no_more() {
    let old = world(FLEET, CLIENTS, SERVICE);
    let new = world(FLEET, CLIENTS, &weighted("{ select: { at: fra }, weight: 400 }"));
    let told = forecast(&old, &new);
    // 400 of 600 instead of 100 of 300, as exactly as 512 slots can say it.
    assert!(near(told.moved.clients, 33.3, 5.0) && told.moved.clients == told.moved.load, "{:?}", told.moved);
    let way = &told.moved.services[0].ways[0];
    assert_eq!((way.from.as_deref(), way.to.as_deref()), (Some("ea"), Some("eu")), "{:?}", told.moved);
    let fra = told.differences.iter().find(|it| it.name == "fra-1").expect("it differs");
    assert!(fra.of == Kind::Node && near(fra.clients[1], 66.7, 0.1), "{fra:?}");
    let full = told.utilisation();
    assert!(full[0].0 == "fra-1" && near(full[0].2.expect("a capacity"), 40.0, 0.1), "{full:?}");
    assert!(told.settles_s.is_some(), "{told:?}");
}

/// Of a fleet, those lines that do not have this in them.
fn without(fleet: &str, node: &str) -> String {
    fleet.lines().filter(|line| !line.contains(node)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_node_that_is_gone_gives_up_its_clients_and_names_are_matched_not_ids() {
    let more = format!(
        "{FLEET}  fra-2: {{ site: fra, addresses: [127.2.1.2], labels: {{ role: edge, at: fra }} }}\n"
    );
    let four = world(&more, CLIENTS, SERVICE);
    let three = world(&without(&more, "tyo-1"), CLIENTS, SERVICE);
    let told = forecast(&four, &three);
    assert!(
        near(told.moved.clients, 25.0, 5.0),
        "its own, and not all that have another id: {:?}",
        told.moved
    );
    assert_eq!(edits(&four.policy, &three.policy)[0], "node tyo-1 removed");
    // Also across a power of two.
    let told = forecast(&world(FLEET, CLIENTS, SERVICE), &world(&without(FLEET, "tyo-1"), CLIENTS, SERVICE));
    assert!(near(told.moved.clients, 33.3, 5.0), "{:?}", told.moved);
}

#[test]
fn groups_that_an_edit_cuts_otherwise_are_the_same_clients() {
    let wide = CLIENTS.replace("11.0.0.0/12", "11.0.0.0/8");
    let old = world(FLEET, &wide, SERVICE);
    let finer = wide.replace("two: {", "three: { cidrs: 11.128.0.0/9 }, two: {");
    let new = world(FLEET, &finer, SERVICE);
    assert!(new.geo.groups().len() > old.geo.groups().len());
    let told = forecast(&old, &new);
    // The group is half as large and hashed by one bit more, which shuffles it; others stay.
    assert!(told.moved.clients < Ppm::from_percent(67), "{:?}", told.moved);
    let Overlap::Divided(parts) = Overlap::of(&old.geo, &new.geo) else { panic!("they differ") };
    let whole = |row: &Vec<_>| row.iter().map(|&(_, part): &(_, u64)| part).sum::<u64>();
    assert!(parts.iter().all(|row| whole(row).abs_diff(overlap::WHOLE) < 4), "{parts:?}");
    let one = old.geo.locate("11.1.0.0".parse().expect("an address")).group;
    assert_eq!(parts[one.index()].len(), 2, "{parts:?}");
}

#[test]
fn too_little_capacity_is_unserved_and_guardrails_say_so() {
    let old = world(FLEET, CLIENTS, SERVICE);
    let new = world(FLEET, CLIENTS, &SERVICE.replace("demand: 600", "demand: 3000"));
    let told = forecast(&old, &new);
    assert!((298..=300).contains(&told.after.unserved()), "3 x 900 of 3000: {:?}", told.after);
    let limits = Guardrails {
        moved: Some(Ppm::from_percent(1)),
        utilisation: Some(Ppm::from_percent(95)),
        latency_p95: Some(Ppm::from_percent(10)),
        unserved: Some(0),
        ..Guardrails::default()
    };
    let names = |told: &Forecast| judge(&limits, told).into_iter().map(|it| it.rule).collect::<Vec<_>>();
    assert_eq!(names(&told), ["utilisation", "unserved"]);
    assert_eq!(names(&forecast(&new, &new)), [""; 0], "it was so before");
    assert_eq!(names(&forecast(&new, &old)), [""; 0], "it gets better");
    let moved = forecast(&old, &world(FLEET, CLIENTS, &weighted("{ select: { at: fra }, weight: 400 }")));
    assert_eq!(names(&moved)[0], "moved");
}

#[test]
fn far_nodes_raise_the_latency() {
    let old = world(FLEET, CLIENTS, &SERVICE.replace("method: weights", "method: latency"));
    let far = world(FLEET, CLIENTS, &weighted("{ select: { at: fra }, weight: 10000 }"));
    let told = forecast(&old, &far);
    assert!(told.after.latency.mean_ms > told.before.latency.mean_ms + 20.0, "{:?}", told.after.latency);
    let limits = Guardrails { latency_p95: Some(Ppm::from_percent(20)), ..Guardrails::default() };
    for (from, to, is_broken) in
        [(40.0, 50.0, true), (40.0, 47.0, false), (50.0, 40.0, false), (2.0, 2.9, false)]
    {
        let mut told = told.clone();
        (told.before.services[0].latency.p95_ms, told.after.services[0].latency.p95_ms) = (from, to);
        let broken = judge(&limits, &told);
        assert_eq!(!broken.is_empty(), is_broken, "{from} -> {to}: {broken:?}");
    }
}

#[test]
fn what_nodes_report_follows_the_plan() {
    let mut old = world(FLEET, CLIENTS, &SERVICE.replace("demand: 600\n", ""));
    let report = |amount: u64| NodeLoad {
        amount: Some(amount),
        utilisation: Ppm::ratio(amount, 1_000),
        binding: "mbps".to_owned(),
        ..NodeLoad::default()
    };
    let loaded = |node: &NodeHealth| NodeHealth { load: Some(report(200)), ..node.clone() };
    old.health = Arc::new(old.health.iter().map(loaded).collect());
    let mut new =
        world(FLEET, CLIENTS, &weighted("{ select: { at: fra }, weight: 400 }").replace("demand: 600\n", ""));
    new.health = Arc::clone(&old.health);
    let told = forecast(&old, &new);
    let fra = node(&told.after, "fra-1");
    // Were its report to stand still, what left the others would count twice.
    assert!(near(fra.utilisation.expect("a capacity"), 40.0, 4.0), "{fra:?}");
    assert!(told.settles_s.is_some());
}

#[test]
fn edits_are_told_in_words() {
    let old = world(FLEET, CLIENTS, SERVICE).policy;
    let cases = [
        (
            FLEET.replace("amount: 1000", "amount: 500"),
            SERVICE.to_owned(),
            "nodes tyo-1, tyo-2, fra-1: capacity 1000 mbps",
        ),
        (FLEET.replace("127.1.1.2", "127.1.1.9"), SERVICE.to_owned(), "node tyo-2: addresses edited"),
        (
            FLEET.to_owned(),
            weighted("{ select: { at: fra }, weight: 400 }"),
            "service live: pool all: weight of fra-1 100 -> 400",
        ),
        (
            FLEET.to_owned(),
            SERVICE.replace("demand: 600", "demand: 700\nttl: 60"),
            "service live: ttl 30 -> 60",
        ),
        (
            FLEET.to_owned(),
            SERVICE.replace("method: weights", "method: load"),
            "service live: pool all: method weights -> load",
        ),
        (
            FLEET.to_owned(),
            SERVICE.replace("{ pools: all }", "{ area: one, pools: all }, { pools: all }"),
            "chains are now one -> all; everybody -> all",
        ),
    ];
    for (fleet, service, expected) in cases {
        let said = edits(&old, &world(&fleet, CLIENTS, &service).policy);
        assert!(said.iter().any(|text| text.contains(expected)), "{expected}: {said:?}");
    }
    assert_eq!(edits(&old, &old), [""; 0]);
}
