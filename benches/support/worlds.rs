//! Worlds to measure in, made of policy text like an operator's: the shipped lab, and a large one
//! of 200 nodes, 20 services and 5,000 client groups.

#![allow(dead_code, reason = "each bench uses its own part")]

use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::diagnostic::SourceFile;
use rhumb::base::units::{Micros, Ppm};
use rhumb::geo::{self, Countries, GeoTable};
use rhumb::health::HealthModel;
use rhumb::model::ids::Generation;
use rhumb::model::placement::Latencies;
use rhumb::model::policy::Policy;
use rhumb::model::provenance::{Cause, Provenance};
use rhumb::model::verdict::{NodeHealth, NodeLoad, Verdict};
use rhumb::routing::judge::{Case, Faults, Movements, judge};
use rhumb::routing::{self, Snapshot, SnapshotInput};
use rhumb::schedule::{self, Pass, Plan, PlanInput, PlannerMemory};
use rhumb::store::policy_dir;
use rhumb::zone::{self, ZoneSet};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

pub struct World {
    pub policy: Arc<Policy>,
    pub zones: Arc<ZoneSet>,
    pub geo: Arc<GeoTable>,
    pub latencies: Latencies,
    pub health: Vec<NodeHealth>,
    pub memory: PlannerMemory,
}

impl World {
    /// The shipped policies over the shipped geo data.
    pub fn lab() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let sources = policy_dir::read_folder(&folder).expect("the shipped policies are readable");
        Self::of(&sources, geo::shipped::databases().expect("the shipped databases are sound"))
    }

    /// 200 nodes in 40 sites, 20 services, 5,000 client groups.
    pub fn large() -> Self {
        Self::of(&large_sources(), Vec::new())
    }

    fn of(sources: &[SourceFile], databases: Vec<geo::Database>) -> Self {
        let (policy, mistakes) = rhumb::policy::load(sources);
        let policy = Arc::new(policy.unwrap_or_else(|| panic!("{mistakes:?}")));
        let (zones, mistakes) = zone::load(sources);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let databases: Vec<&geo::Database> = databases.iter().collect();
        let compiled = geo::compile(&databases, &policy.clients, Countries::shipped()).expect("compiles");
        let geo = Arc::new(compiled.table);
        let latencies = geo::latency_prior(geo.groups(), &policy.fleet);
        let model =
            HealthModel::new(Arc::new(policy.fleet.clone()), &BTreeMap::new(), MonoTime(0), WallTime(0));
        let mut health = model.view();
        for (at, node) in health.iter_mut().enumerate() {
            for family in node.families.iter_mut().flatten() {
                family.verdict = Verdict::Up;
                family.rtt = Some(Micros(400));
                family.baseline = Some(Micros(400));
            }
            let amount = 2_000 + 37 * (at as u64 % 50);
            let utilisation = Ppm::ratio(amount, 10_000);
            node.load = Some(NodeLoad {
                amount: Some(amount),
                utilisation,
                binding: "mbps".to_owned(),
                ..NodeLoad::default()
            });
        }
        Self { policy, zones: Arc::new(zones), geo, latencies, health, memory: PlannerMemory::default() }
    }

    pub fn groups(&self) -> usize {
        self.geo.groups().len()
    }

    pub fn plan(&self, health: &[NodeHealth], previous: Option<&Plan>, pass: Pass) -> Plan {
        schedule::plan(&PlanInput {
            policy: &self.policy,
            groups: self.geo.groups(),
            latencies: &self.latencies,
            health,
            previous: previous.map(|plan| &plan.assignment),
            // As the loop does: each plan is made with the memory of the one before.
            memory: previous.map_or(&self.memory, |plan| &plan.memory),
            demand: None,
            now_ms: 10_000,
            pass,
        })
    }

    pub fn compile(&self, plan: &Plan, health: &[NodeHealth], previous: Option<&Snapshot>) -> Snapshot {
        let parent = previous.map_or(Generation(0), |live| live.provenance.generation);
        routing::compile(SnapshotInput {
            provenance: Provenance {
                generation: Generation(parent.0 + 1),
                parent,
                published_at: WallTime(0),
                cause: Cause::Rebalance,
                policy: self.policy.revision.clone(),
                geo: self.geo.revision().clone(),
            },
            policy: Arc::clone(&self.policy),
            zones: Arc::clone(&self.zones),
            geo: Arc::clone(&self.geo),
            assignment: Arc::new(plan.assignment.clone()),
            health: Arc::new(health.to_vec()),
            previous,
        })
        .expect("compiles")
    }

    /// As the writer does with what it compiled.
    pub fn judge(&self, table: &Snapshot, plan: &Plan, before: Option<&Plan>) -> Faults {
        judge(&Case {
            policy: &self.policy,
            groups: self.geo.groups(),
            reach: table.reach(),
            cause: &Cause::Evacuation { nodes: Vec::new() },
            before: before.map(|before| &before.assignment),
            plan: &table.assignment,
            account: &plan.account,
            movements: &Movements::default(),
            now_ms: 0,
        })
    }

    pub fn first(&self) -> (Plan, Snapshot) {
        let plan = self.plan(&self.health, None, Pass::Full);
        let snapshot = self.compile(&plan, &self.health, None);
        (plan, snapshot)
    }

    /// The same health with node `at` down.
    pub fn without(&self, at: usize) -> Vec<NodeHealth> {
        let mut health = self.health.clone();
        for family in health[at].families.iter_mut().flatten() {
            family.verdict = Verdict::Down;
        }
        health
    }
}

fn large_sources() -> Vec<SourceFile> {
    let mut sources = vec![
        file("fleet.yaml", large_fleet()),
        file("clients.yaml", large_clients()),
        file(
            "zones/example.test.zone",
            "@ 60 IN SOA ns1 host 1 3600 600 86400 60\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.1\n".to_owned(),
        ),
    ];
    for service in 0..20 {
        let profile = ["cdn", "rtc", "im"][service % 3];
        let text = format!(
            "version: 1\nhostnames: [svc{service:02}.example.test]\nprofile: {profile}\npools:\n  \
             near: {{ select: {{ tier: near }} }}\n  far: {{ select: {{ tier: far }} }}\n\
             chains:\n  - {{ area: north, pools: [near, far] }}\n  - {{ pools: [far, near] }}\n"
        );
        sources.push(file(&format!("services/svc{service:02}.yaml"), text));
    }
    sources
}

fn large_fleet() -> String {
    let mut text = "version: 1\nregions: { r0: {}, r1: {}, r2: {}, r3: {} }\nsites:\n".to_owned();
    for site in 0..40 {
        let (lat, lon) = (site * 37 % 120 - 60, site * 71 % 340 - 170);
        let _ =
            writeln!(text, "  s{site}: {{ region: r{}, location: {{ lat: {lat}, lon: {lon} }} }}", site % 4);
    }
    text.push_str("defaults:\n  probes: [{ kind: tcp, port: 443 }]\n  capacity: { unit: mbps, amount: 10000 }\nnodes:\n");
    for node in 0..200 {
        let tier = if node % 3 == 0 { "far" } else { "near" };
        let _ = writeln!(
            text,
            "  n{node}: {{ site: s{}, addresses: [198.51.100.{}, \"2001:db8::{node:x}\"], labels: {{ tier: {tier} }} }}",
            node % 40,
            node + 1
        );
    }
    text
}

fn large_clients() -> String {
    let mut text = "version: 1\nareas:\n  north: { cidrs: [192.0.0.0/9] }\noverrides:\n".to_owned();
    for group in 0..5_000_u32 {
        let (lat, lon) = (i64::from(group) / 72 * 2 - 69, i64::from(group) % 72 * 5 - 178);
        let (second, third) = (group / 256, group % 256);
        let _ = writeln!(
            text,
            "  - {{ cidrs: [20.{second}.{third}.0/24], location: {{ lat: {lat}, lon: {lon} }}, areas: [{}] }}",
            if lat > 0 { "north" } else { "" }
        );
    }
    text
}

fn file(path: &str, text: String) -> SourceFile {
    SourceFile { path: path.to_owned(), text }
}
