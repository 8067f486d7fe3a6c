//! What is wrong in a status: real faults alone, each with its evidence.
//!
//! | fault | of |
//! |---|---|
//! | its verdict is down, or was degraded for long | a node |
//! | down for the clients of a line or area, and not for all | a node, as a `reach` |
//! | down over one address family, and not over the other | a node, as a `reach` |
//! | its circuit is open | a region |
//! | client groups answered by `on_all_down`, newcomers shed, demand above what nodes may be given | a service |
//! | the table is frozen, the writer silent | this instance |
//!
//! A node that an operator or a drill withdrew is no fault, whatever its verdict; nor is one that a drill breaks for
//! a while by other means.

use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::incident::{DOWN_OVER, IncidentRules, Part, percent};
use crate::model::status::{NodeStatus, ServiceStatus, Status};
use crate::model::verdict::{FamilyHealth, Scope, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Problems of this instance that are incidents.
const OWN: [&str; 2] = ["table-frozen", "writer-silent"];
/// Of faults that come and go while nothing is wrong: a freeze at the start, a plan that finds room a tick later.
const LASTING: Duration = Duration::from_secs(10);
/// Demand above what nodes may be given, below which it is rounding.
const LEAST_ABOVE: Ppm = Ppm::from_percent(1);
/// Its clients are answered all the same.
pub(super) const NO_ROOM: &str = "more demand than room";
/// An override was the cause of what began so soon after it.
const BY_OVERRIDE_MS: u64 = 30_000;

/// Something that is wrong now.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub part: Part,
    pub name: String,
    /// The node that it is about.
    pub node: Option<String>,
    pub what: String,
    pub site: Option<String>,
    pub region: Option<String>,
    pub line: Option<String>,
    pub evidence: String,
    pub failed_at: WallTime,
    pub verdict_at: WallTime,
    pub confirmed: bool,
    /// How long it has to last before it is an incident.
    pub lasting: Duration,
    /// An operator withdrew something just before: who, and why.
    pub excuse: Option<String>,
}

/// A status, as far as incidents go.
pub(super) struct Facts<'a> {
    pub status: &'a Status,
    pub found: Vec<Found>,
    /// By name.
    pub nodes: BTreeMap<&'a str, &'a NodeStatus>,
    /// Nodes that somebody withdrew, and how that is told.
    pub withdrawn: BTreeMap<&'a str, String>,
}

impl<'a> Facts<'a> {
    pub fn of(status: &'a Status, rules: &IncidentRules, now: WallTime) -> Self {
        let nodes: BTreeMap<&str, &NodeStatus> =
            status.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let mut withdrawn: BTreeMap<&str, String> = status
            .nodes
            .iter()
            .filter_map(|node| Some((node.name.as_str(), node.health.forced.as_ref()?)))
            .filter(|(_, forced)| !forced.action.serves())
            .map(|(name, forced)| (name, forced.told()))
            .collect();
        for name in &status.drilled {
            withdrawn.entry(name).or_insert_with(|| "a drill has it".to_owned());
        }
        let mut found = Vec::new();
        for node in status.nodes.iter().filter(|node| !withdrawn.contains_key(node.name.as_str())) {
            found.extend(of_node(node, rules, now));
        }
        found.extend(circuits(status, now));
        found.extend(own(status, now));
        let services = status.services.iter().filter_map(|service| of_service(service, status, now));
        found.extend(services);
        Self { status, found, nodes, withdrawn }
    }

    /// Whether what is not found of a node is surely not so: it was looked at, or is gone.
    pub fn is_known(&self, node: &str) -> bool {
        self.nodes.get(node).is_none_or(|node| node.health.best().is_none_or(|health| health.observed))
    }

    /// Whether every node that is probed was looked at since the start.
    pub fn is_all_seen(&self) -> bool {
        let is_seen = |node: &NodeStatus| node.health.best().is_none_or(|health| health.observed);
        self.status.nodes.iter().filter(|node| node.probed).all(is_seen)
    }

    /// Nodes of a site that are not withdrawn.
    pub fn nodes_of_site(&self, site: &str) -> usize {
        self.serving().filter(|node| node.site == site).count()
    }

    pub fn sites_of_region(&self, region: &str) -> BTreeSet<&'a str> {
        self.serving().filter(|node| node.region == region).map(|node| node.site.as_str()).collect()
    }

    /// Probed nodes that nobody withdrew.
    pub fn serving(&self) -> impl Iterator<Item = &'a NodeStatus> + '_ {
        let is_serving = |node: &&NodeStatus| node.probed && !self.withdrawn.contains_key(node.name.as_str());
        self.status.nodes.iter().filter(is_serving)
    }
}

fn of_node(node: &NodeStatus, rules: &IncidentRules, now: WallTime) -> Vec<Found> {
    let observed = |health: &&FamilyHealth| health.observed;
    let Some(best) = node.health.best().filter(observed) else { return Vec::new() };
    let lasted = Duration::from_millis(now.0.saturating_sub(best.since.0));
    match best.verdict {
        Verdict::Down => vec![fault(node, best, "down")],
        Verdict::Degraded if lasted >= rules.degraded_after => vec![fault(node, best, "degraded")],
        _ => families(node).chain(reaches(node)).collect(),
    }
}

fn fault(node: &NodeStatus, health: &FamilyHealth, what: &str) -> Found {
    Found {
        part: Part::Node,
        name: node.name.clone(),
        node: Some(node.name.clone()),
        what: what.to_owned(),
        site: Some(node.site.clone()),
        region: Some(node.region.clone()),
        line: node.line.clone(),
        evidence: evidence(health),
        failed_at: health.evidence.first.unwrap_or(health.since).min(health.since),
        verdict_at: health.since,
        confirmed: health.evidence.confirmed,
        lasting: Duration::ZERO,
        excuse: None,
    }
}

/// The reason, and whose word it is.
fn evidence(health: &FamilyHealth) -> String {
    let mut told = health.reason.clone();
    if health.votes.len() > 1 {
        let behind: Vec<&str> = health
            .votes
            .iter()
            .filter(|vote| vote.is_trusted && vote.verdict == health.verdict)
            .map(|vote| vote.vantage.as_str())
            .collect();
        told.push_str(&format!(
            "; so say {} of {} vantages ({})",
            behind.len(),
            health.votes.len(),
            behind.join(", ")
        ));
    } else if let Some(vantage) = &health.evidence.vantage {
        told.push_str(&format!("; seen from {vantage}"));
    }
    told
}

/// Families over which a node is down while another serves; it serves on, with fewer addresses.
fn families(node: &NodeStatus) -> impl Iterator<Item = Found> + '_ {
    let of = |family: Family| {
        let health = node.health.family(family).filter(|it| it.observed && it.verdict == Verdict::Down)?;
        let name = format!("{} for {family}", node.name);
        let what = format!("{DOWN_OVER} {family}");
        Some(Found { part: Part::Reach, name, what, line: None, lasting: LASTING, ..fault(node, health, "") })
    };
    Family::BOTH.into_iter().filter_map(of)
}

/// Where a node is down for some clients only.
fn reaches(node: &NodeStatus) -> Vec<Found> {
    let scoped = node.health.families.iter().flatten().filter(|health| health.observed);
    let down = scoped.flat_map(|health| &health.scoped).filter(|scoped| scoped.verdict == Verdict::Down);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for scoped in down {
        let name = format!("{} for {}", node.name, scoped.scope);
        let line = match &scoped.scope {
            Scope::Line(line) => line.clone(),
            Scope::Area(area) => format!("area {area}"),
        };
        found.entry(name.clone()).or_insert_with(|| Found {
            part: Part::Reach,
            name,
            node: Some(node.name.clone()),
            what: format!("down for {}", scoped.scope),
            site: Some(node.site.clone()),
            region: Some(node.region.clone()),
            line: Some(line),
            evidence: scoped.reason.clone(),
            failed_at: scoped.since,
            verdict_at: scoped.since,
            confirmed: false,
            lasting: Duration::ZERO,
            excuse: None,
        });
    }
    found.into_values().collect()
}

/// Regions that are given nobody. A problem names its region in a sentence, so the region is looked for in it.
fn circuits(status: &Status, now: WallTime) -> Vec<Found> {
    let regions: BTreeSet<&str> = status.nodes.iter().map(|node| node.region.as_str()).collect();
    let cut = status.problems.iter().filter(|problem| problem.code == "region-cut");
    let of = |problem: &crate::model::status::Problem| {
        let is_named = |region: &&&str| problem.message.contains(&format!("region {region} "));
        let region = regions.iter().find(is_named)?;
        Some(Found {
            part: Part::Region,
            region: Some((*region).to_owned()),
            what: "circuit open".to_owned(),
            ..plain(region, problem.message.clone(), problem.since.min(now))
        })
    };
    cut.filter_map(of).collect()
}

fn own(status: &Status, now: WallTime) -> Vec<Found> {
    let of = |problem: &crate::model::status::Problem| Found {
        part: Part::Instance,
        what: problem.message.clone(),
        lasting: LASTING,
        ..plain(&problem.code, problem.message.clone(), problem.since.min(now))
    };
    let is_own = |problem: &&crate::model::status::Problem| OWN.contains(&problem.code.as_str());
    let mut found: Vec<Found> = status.problems.iter().filter(is_own).map(of).collect();
    let distrusted: Vec<String> = status
        .problems
        .iter()
        .filter(|problem| problem.code == "vantage-distrusted")
        .map(|problem| problem.message.clone())
        .collect();
    for it in found.iter_mut().filter(|_| !distrusted.is_empty()) {
        it.evidence = format!("{}; {}", it.evidence, distrusted.join("; "));
    }
    found
}

fn of_service(service: &ServiceStatus, status: &Status, now: WallTime) -> Option<Found> {
    let unserved = Ppm::ratio(u64::from(service.groups_all_down), u64::from(service.groups));
    let shed = service.rungs.iter().map(|at| at.shed).max().unwrap_or_default();
    let above = service.rungs.iter().map(|at| at.unserved).max().unwrap_or_default();
    let (what, evidence, lasting) = match () {
        () if unserved > Ppm::ZERO => {
            let (without, all) = (service.groups_all_down, service.groups);
            let told = format!("{without} of {all} client groups have no usable node");
            ("clients without a usable node", told, Duration::ZERO)
        }
        () if shed > Ppm::ZERO => {
            ("newcomers turned away", format!("{} of newcomers are shed", percent(shed)), LASTING)
        }
        () if above >= LEAST_ABOVE => {
            let told = format!("{} of the demand is above what its nodes may be given", percent(above));
            (NO_ROOM, told, LASTING)
        }
        () => return None,
    };
    // What an operator took away is theirs to know: it was told them before, and is in the audit log.
    let excuse = status.overrides.iter().map(|it| &it.set).find(|set| {
        let is_fresh = now.0.saturating_sub(set.set_at.0) < BY_OVERRIDE_MS;
        !set.action.serves() && is_fresh && now < set.expires_at
    });
    let excuse = excuse.map(crate::model::overrides::Override::told);
    let found = plain(&service.name, evidence, now);
    Some(Found { part: Part::Service, what: what.to_owned(), lasting, excuse, ..found })
}

fn plain(name: &str, evidence: String, since: WallTime) -> Found {
    Found {
        part: Part::Service,
        name: name.to_owned(),
        node: None,
        what: String::new(),
        site: None,
        region: None,
        line: None,
        evidence,
        failed_at: since,
        verdict_at: since,
        confirmed: true,
        lasting: Duration::ZERO,
        excuse: None,
    }
}
