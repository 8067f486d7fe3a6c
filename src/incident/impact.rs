//! Who feels an incident: clients by service, area and line, as they were before it.
//!
//! Shares are of address space and of the table before, so that they add up whatever moved since. What is at its worst
//! is kept at its worst.

use super::case::Charge;
use crate::base::units::Ppm;
use crate::model::incident::{
    Clientele, Impact, Incident, Member, NamedShare, NodeClients, Part, ServiceClients, ServiceImpact,
};
use crate::model::status::Status;
use std::collections::{BTreeMap, BTreeSet};

/// Areas and lines kept of one incident and service.
const MOST_NAMED: usize = 12;
/// Of a service that nobody knows the TTL of: the default.
const TTL_S: u32 = 30;

/// Counts anew which clients were on what is lost.
pub(super) fn recount(incident: &mut Incident, base: &Clientele, status: &Status) {
    let lost = lost_nodes(incident, status);
    let nodes: BTreeSet<&str> = lost.iter().map(String::as_str).collect();
    let mut lines: BTreeMap<String, Ppm> = BTreeMap::new();
    for clients in &base.services {
        let on: Vec<&NodeClients> = clients
            .nodes
            .iter()
            .filter(|(name, _)| nodes.contains(name.as_str()))
            .map(|(_, on)| on)
            .collect();
        let impact = entry(&mut incident.impact, clients);
        impact.clients = impact.clients.max(sum(on.iter().map(|on| on.share)));
        let areas = summed(on.iter().flat_map(|on| &on.areas));
        if !areas.is_empty() {
            impact.areas = areas;
        }
        for NamedShare { name, share } in summed(on.iter().flat_map(|on| &on.lines)) {
            let worst = lines.entry(name).or_default();
            *worst = (*worst).max(share);
        }
    }
    if !lines.is_empty() {
        let mut lines: Vec<NamedShare> =
            lines.into_iter().map(|(name, share)| NamedShare { name, share }).collect();
        order(&mut lines);
        incident.impact.lines = lines;
    }
    incident.impact.share =
        sum(incident.members.iter().filter(|it| it.part == Part::Node).map(|it| it.share));
}

/// Nodes that were lost, by name: of a region that was cut all of its nodes. Of a node that is down for some clients
/// only it is not known whose they were.
fn lost_nodes(incident: &Incident, status: &Status) -> Vec<String> {
    let of = |member: &Member| -> Vec<String> {
        let in_region = |region: &str| -> Vec<String> {
            status.nodes.iter().filter(|node| node.region == region).map(|node| node.name.clone()).collect()
        };
        match member.part {
            Part::Node if member.what == "down" || member.falls > 1 => vec![member.name.clone()],
            Part::Region => in_region(&member.name),
            _ => Vec::new(),
        }
    };
    incident.members.iter().flat_map(of).collect()
}

fn entry<'i>(impact: &'i mut Impact, clients: &ServiceClients) -> &'i mut ServiceImpact {
    let at = impact.services.iter().position(|it| it.name == clients.name).unwrap_or_else(|| {
        impact.services.push(ServiceImpact {
            name: clients.name.clone(),
            tier: clients.tier.clone(),
            tier_ms: clients.tier_ms,
            ttl: clients.ttl,
            ..ServiceImpact::default()
        });
        impact.services.len() - 1
    });
    &mut impact.services[at]
}

/// Takes in how services do now.
pub(super) fn follow(incident: &mut Incident, status: &Status) {
    let lost: BTreeSet<String> = incident.members.iter().map(|member| member.name.clone()).collect();
    let is_open = incident.members.iter().any(|member| member.active);
    for service in status.services.iter().filter(|_| is_open) {
        let Some(impact) = incident.impact.services.iter_mut().find(|it| it.name == service.name) else {
            continue;
        };
        // Only whose clients were on it, or who is a member, feels it; others may be short for reasons of their own.
        if impact.clients == Ppm::ZERO && !lost.contains(&service.name) {
            continue;
        }
        let unserved = Ppm::ratio(u64::from(service.groups_all_down), u64::from(service.groups));
        impact.unserved = impact.unserved.max(unserved);
        for at in &service.rungs {
            impact.shed = impact.shed.max(at.shed);
            impact.above_caps = impact.above_caps.max(at.unserved);
        }
    }
    if is_open && let Some(peak) = peak(status, &lost) {
        let is_higher = incident.impact.peak.as_ref().is_none_or(|before| before.share < peak.share);
        if is_higher {
            incident.impact.peak = Some(peak);
        }
    }
}

/// The fullest node that is not lost; where no node tells its load, the fullest chain of a service by plan.
fn peak(status: &Status, lost: &BTreeSet<String>) -> Option<NamedShare> {
    let nodes = status.nodes.iter().filter(|node| !lost.contains(&node.name));
    let loads = nodes.filter_map(|node| {
        let load = node.health.load.as_ref()?;
        Some(NamedShare { name: node.name.clone(), share: load.utilisation })
    });
    let by_plan = || {
        let chains = status.services.iter().flat_map(|service| {
            let told = |at: &crate::model::degradation::RungStatus| {
                let area = at.area.as_deref().unwrap_or("*");
                Some(NamedShare { name: format!("{}, area {area}", service.name), share: at.utilisation? })
            };
            service.rungs.iter().filter_map(told).collect::<Vec<_>>()
        });
        chains.max_by_key(|it| it.share)
    };
    loads.max_by_key(|it| it.share).or_else(by_plan)
}

/// What clients of a lost node lose until it is out of the table, and while their caches hold it: half a TTL each,
/// since caches were filled at any time of the last one.
pub(super) fn charges(base: Option<&Clientele>, node: &str, until_ms: u64) -> Vec<Charge> {
    let of = |service: &ServiceClients| {
        let share = service.nodes.get(node)?.share;
        let ms = until_ms + u64::from(service.ttl) * 1_000 / 2;
        Some(Charge { service: service.name.clone(), lost_ns: u64::from(share.0).saturating_mul(ms) })
    };
    base.map_or_else(Vec::new, |base| base.services.iter().filter_map(of).collect())
}

/// The longest TTL of the services that a member had clients of, in milliseconds; of a service its own.
pub(super) fn ttl_ms(incident: &Incident, member: &Member) -> u64 {
    if member.part == Part::Node && member.share == Ppm::ZERO {
        // Nobody was sent there, so no cache has it.
        return 0;
    }
    let touched = incident.impact.services.iter().filter(|it| match member.part {
        Part::Service => it.name == member.name,
        _ => it.clients > Ppm::ZERO,
    });
    u64::from(touched.map(|it| it.ttl).max().unwrap_or(TTL_S)) * 1_000
}

/// Whether what a member's clients were told stays in caches after it is back: that there is no node for them.
pub(super) fn is_cached(member: &Member) -> bool {
    member.part == Part::Service && member.moved_at.is_some()
}

/// Says of each service how long its clients waited for another answer.
pub(super) fn restored(incident: &mut Incident) {
    let members = &incident.members;
    for service in incident.impact.services.iter_mut().filter(|it| it.is_touched()) {
        let ttl_ms = u64::from(service.ttl) * 1_000 * 99 / 100;
        let took = |member: &Member| {
            let by_caches = member.moved_at.map(|moved| moved.0 + ttl_ms);
            let back = member.back_at.filter(|_| !is_cached(member)).map(|back| back.0);
            let at = by_caches.into_iter().chain(back).min()?;
            Some(at.saturating_sub(member.failed_at.0))
        };
        let is_its = |member: &&Member| match member.part {
            Part::Service => member.name == service.name,
            Part::Node => member.share > Ppm::ZERO,
            Part::Reach | Part::Region => true,
            Part::Instance => false,
        };
        let longest = members.iter().filter(is_its).filter_map(took).max();
        service.restored_ms = service.restored_ms.max(longest);
    }
}

fn sum(shares: impl Iterator<Item = Ppm>) -> Ppm {
    Ppm(shares.fold(0_u32, |sum, share| sum.saturating_add(share.0)).min(Ppm::WHOLE.0))
}

fn summed<'a>(all: impl Iterator<Item = &'a NamedShare>) -> Vec<NamedShare> {
    let mut by_name: BTreeMap<&str, u32> = BTreeMap::new();
    for NamedShare { name, share } in all {
        let sum = by_name.entry(name).or_default();
        *sum = sum.saturating_add(share.0).min(Ppm::WHOLE.0);
    }
    let named = |(name, share): (&str, u32)| NamedShare { name: name.to_owned(), share: Ppm(share) };
    let mut named: Vec<NamedShare> = by_name.into_iter().map(named).collect();
    order(&mut named);
    named
}

fn order(named: &mut Vec<NamedShare>) {
    named.sort_by(|one, other| (other.share, &one.name).cmp(&(one.share, &other.name)));
    named.truncate(MOST_NAMED);
}
