//! What the members of an incident have in common, and which faults are of one incident.
//!
//! | together | because |
//! |---|---|
//! | nodes of one site | whatever is wrong with a room is wrong with all that is in it |
//! | nodes of one region | they failed within a minute, or most sites of it did by most of their nodes |
//! | nodes of one line | they failed within a minute, in several sites |
//! | everything and a freeze | a scheduler that sees nothing sees everything fail |
//! | a service and nodes | its clients were on them |

use super::case::Case;
use super::facts::{Facts, Found};
use crate::base::clock::WallTime;
use crate::model::incident::{CauseOf, Incident, LikelyCause, Member, Part};
use std::collections::{BTreeMap, BTreeSet};

/// What begins within so long of each other is likely one thing.
const TOGETHER_MS: u64 = 60_000;
/// Names told of several.
const MOST_NAMED: usize = 4;

/// Whether something new belongs to a case.
pub(super) fn belongs(case: &Case, found: &Found) -> bool {
    match found.part {
        Part::Node | Part::Reach => {
            // What a service misses says which nodes it is only while nothing else is known.
            let is_of_services = case.members().iter().all(|member| member.part == Part::Service);
            let counts = |member: &&Member| is_of_services || member.part != Part::Service;
            case.members().iter().filter(counts).any(|member| is_kin(member, found))
        }
        Part::Region => {
            let is_there = |member: &Member| member.region == found.region && member.part != Part::Service;
            case.members().iter().any(is_there)
        }
        Part::Service => {
            let had_clients = |it: &crate::model::incident::ServiceImpact| {
                it.name == found.name && it.clients > crate::base::units::Ppm::ZERO
            };
            let is_lost = case.active().any(|member| member.part != Part::Service);
            is_lost && case.incident.impact.services.iter().any(had_clients)
        }
        Part::Instance => case
            .members()
            .iter()
            .any(|member| member.part == Part::Instance || is_near(member.verdict_at, found.verdict_at)),
    }
}

fn is_kin(member: &Member, found: &Found) -> bool {
    let is_near = is_near(member.verdict_at, found.verdict_at) || is_near(member.failed_at, found.failed_at);
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    match member.part {
        // The whole of a site or region comes by the same rule, whoever is second.
        Part::Node | Part::Reach => {
            same(&member.site, &found.site)
                || (same(&member.region, &found.region) && is_near)
                || (same(&member.line, &found.line) && is_near)
        }
        Part::Region => same(&member.region, &found.region),
        Part::Instance => is_near,
        // Which nodes a service misses is seen together with it.
        Part::Service => is_near,
    }
}

fn is_near(one: WallTime, other: WallTime) -> bool {
    one.0.abs_diff(other.0) <= TOGETHER_MS
}

/// Whether two cases turned out to be one.
pub(super) fn is_one(one: &Case, other: &Case, facts: &Facts<'_>) -> bool {
    let both: Vec<&Member> = one.active().chain(other.active()).collect();
    let regions = |case: &Case| -> BTreeSet<String> {
        case.active()
            .filter(|member| member.part == Part::Node)
            .filter_map(|member| member.region.clone())
            .collect()
    };
    let (of_one, of_other) = (regions(one), regions(other));
    let is_region = of_one.len() == 1 && of_one == of_other && {
        let region = of_one.iter().next().map_or("", String::as_str);
        let hit = sites_hit(&both, region, facts);
        let sites = facts.sites_of_region(region).len();
        hit >= 2 && hit * 2 > sites
    };
    let is_everything = is_most_of_all(&both, facts) && {
        let times: Vec<u64> = both.iter().map(|member| member.verdict_at.0).collect();
        let (first, last) = (times.iter().min(), times.iter().max());
        first.zip(last).is_some_and(|(first, last)| last - first <= TOGETHER_MS)
    };
    is_region || is_everything
}

/// Sites of a region of which more than half of the nodes are members.
fn sites_hit(members: &[&Member], region: &str, facts: &Facts<'_>) -> usize {
    let mut by_site: BTreeMap<&str, usize> = BTreeMap::new();
    let nodes = members.iter().filter(|it| it.part == Part::Node && it.region.as_deref() == Some(region));
    for member in nodes {
        *by_site.entry(member.site.as_deref().unwrap_or("")).or_default() += 1;
    }
    by_site.into_iter().filter(|(site, count)| count * 2 > facts.nodes_of_site(site)).count()
}

/// More than half of all nodes, and at least three.
fn is_most_of_all(members: &[&Member], facts: &Facts<'_>) -> bool {
    let nodes = members.iter().filter(|member| member.part == Part::Node).count();
    let regions: BTreeSet<_> = members.iter().filter_map(|member| member.region.as_deref()).collect();
    nodes >= 3 && regions.len() >= 2 && nodes * 2 > facts.serving().count()
}

/// The likeliest common cause of all that was the matter.
pub(super) fn of(incident: &Incident, facts: &Facts<'_>) -> LikelyCause {
    let members: Vec<&Member> = incident.members.iter().collect();
    if let Some(own) = members.iter().find(|member| member.part == Part::Instance) {
        return us(format!("{}: {}", own.name, own.evidence));
    }
    let nodes: Vec<&Member> =
        members.iter().copied().filter(|member| matches!(member.part, Part::Node | Part::Reach)).collect();
    if let Some(region) = members.iter().find(|member| member.part == Part::Region) {
        return cause(CauseOf::Region, &region.name, format!("its circuit is open: {}", region.evidence));
    }
    if nodes.is_empty() {
        let names = names(members.iter().map(|member| member.name.as_str()));
        return cause(
            CauseOf::Service,
            &names,
            "no node is lost: more demand than room, or no room by policy".to_owned(),
        );
    }
    of_nodes(&nodes, facts)
}

fn of_nodes(nodes: &[&Member], facts: &Facts<'_>) -> LikelyCause {
    let set = |of: fn(&Member) -> Option<&String>| -> BTreeSet<&str> {
        nodes.iter().filter_map(|member| of(member)).map(String::as_str).collect()
    };
    let (sites, regions, lines) = (
        set(|member| member.site.as_ref()),
        set(|member| member.region.as_ref()),
        set(|member| member.line.as_ref()),
    );
    let named: BTreeSet<&str> = nodes.iter().map(|member| bare(member)).collect();
    let (count, of) = (named.len(), facts.serving().count());
    if is_most_of_all(nodes, facts) && nodes.iter().all(|member| !member.confirmed) {
        return us(format!(
            "{count} of {of} nodes in {} regions at once, by the word of one vantage alone: look at this machine's \
             own network first",
            regions.len()
        ));
    }
    let has_all_a_line = nodes.iter().all(|member| member.line.is_some());
    let is_scoped = nodes.iter().all(|member| member.part == Part::Reach);
    if let (1, true) = (lines.len(), has_all_a_line && (is_scoped || sites.len() >= 2)) {
        let line = lines.first().copied().unwrap_or("");
        let why = match is_scoped {
            true => format!("{count} nodes are down for its clients alone"),
            false => format!("{count} nodes in {} sites, all of this line", sites.len()),
        };
        return cause(CauseOf::Line, line, why);
    }
    match (count, sites.len(), regions.len()) {
        (1, ..) => {
            let site = sites.first().copied().unwrap_or("");
            let others = facts.nodes_of_site(site).saturating_sub(1);
            let why = match others {
                0 => format!("it is the only node of site {site}"),
                1 => format!("the other node of site {site} is well"),
                _ => format!("the {others} other nodes of site {site} are well"),
            };
            cause(CauseOf::Node, named.first().copied().unwrap_or(""), why)
        }
        (_, 1, _) => {
            let site = sites.first().copied().unwrap_or("");
            let why = format!("{count} of its {} nodes, and none of another site", facts.nodes_of_site(site));
            cause(CauseOf::Site, site, why)
        }
        (_, hit, 1) => {
            let region = regions.first().copied().unwrap_or("");
            let why = format!("{count} nodes in {hit} of its {} sites", facts.sites_of_region(region).len());
            cause(CauseOf::Region, region, why)
        }
        (_, _, several) => {
            let why = format!("{count} of {of} nodes in {several} regions, within a minute of each other");
            cause(CauseOf::Fleet, &names(regions.into_iter()), why)
        }
    }
}

/// `sha-ct` of `sha-ct for line telecom`.
fn bare(member: &Member) -> &str {
    match member.part {
        Part::Reach => member.name.split(" for ").next().unwrap_or(&member.name),
        _ => &member.name,
    }
}

fn us(why: String) -> LikelyCause {
    cause(CauseOf::Us, "us", why)
}

fn cause(of: CauseOf, subject: &str, why: String) -> LikelyCause {
    LikelyCause { of, subject: subject.to_owned(), why }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    let shown = all[..all.len().min(MOST_NAMED)].join(", ");
    if all.len() > MOST_NAMED { format!("{shown}, ...") } else { shown }
}

/// `site tyo: 2 of 2 nodes down (tyo-1, tyo-2)`.
pub(super) fn summary(incident: &Incident, facts: &Facts<'_>) -> String {
    let LikelyCause { of, subject, .. } = &incident.cause;
    let nodes: Vec<&Member> =
        incident.members.iter().filter(|member| matches!(member.part, Part::Node | Part::Reach)).collect();
    let mut whats: Vec<&str> = nodes.iter().map(|member| member.what.as_str()).collect();
    whats.sort_unstable();
    whats.dedup();
    let what = if whats.is_empty() { String::new() } else { whats.join(", ") };
    let count = nodes.len();
    let named = || names(nodes.iter().map(|member| member.name.as_str()));
    match of {
        CauseOf::Node => format!("node {subject}: {what}"),
        CauseOf::Site => {
            format!("site {subject}: {count} of {} nodes {what} ({})", facts.nodes_of_site(subject), named())
        }
        CauseOf::Region if nodes.is_empty() => format!("region {subject}: circuit open"),
        CauseOf::Region => format!("region {subject}: {count} nodes {what} ({})", named()),
        CauseOf::Line => format!("line {subject}: {count} nodes {what} ({})", named()),
        CauseOf::Fleet => format!("{subject}: {count} nodes {what} ({})", named()),
        CauseOf::Service => {
            let first = incident.members.first().map_or("", |member| member.what.as_str());
            format!("service {subject}: {first}")
        }
        CauseOf::Us if nodes.is_empty() => {
            let first = incident.members.first().map_or("", |member| member.what.as_str());
            format!("this instance: {first}")
        }
        CauseOf::Us => format!("this instance may be blind: {count} nodes seem {what} ({})", named()),
    }
}
