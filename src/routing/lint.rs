//! A finished table against the promises every table must keep: the last gate before publishing.
//!
//! It knows nothing of how the table was made, so that a mistake of the planner or the compiler is
//! a refused table and a loud line, not a wrong answer. It does not judge how much a table moves
//! ([`judge`](mod@super::judge) does) nor what the user wrote ([`check`](mod@super::check)).

mod content;

use super::judge::Census;
use super::names::{Entry, Found};
use super::records;
use super::snapshot::Snapshot;
use super::steer::{AnswerSet, Distribution, GroupPlan, MAX_HASH_LEN, Reply, ServiceTable, Warning, seeds};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::degradation::ShedTo;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::placement::PlacementMode;
use crate::model::reach::View;
use crate::model::service::{OnAllDown, Service};
use crate::zone::name::Name;
use crate::zone::rtype;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Findings at most: a table with more is refused all the same.
const MAX_FINDINGS: usize = 50;

/// What is wrong with a table, by the part it is wrong with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// With the table as a whole, its names and its zones.
    pub general: Vec<String>,
    /// With single services, in the order of the policy; only those with a finding.
    pub services: Vec<(ServiceId, Vec<String>)>,
}

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.general.is_empty() && self.services.is_empty()
    }

    /// All of them, most general first.
    pub fn sentences(&self) -> Vec<String> {
        let of_services = self.services.iter().flat_map(|(_, findings)| findings);
        self.general.iter().chain(of_services).take(MAX_FINDINGS).cloned().collect()
    }
}

/// What is wrong with `candidate`, lower case, most general first; empty: publish.
pub fn lint(candidate: &Snapshot, live: Option<&Snapshot>) -> Vec<String> {
    findings(candidate, live).sentences()
}

/// [`lint`], by part.
pub fn findings(candidate: &Snapshot, live: Option<&Snapshot>) -> Findings {
    let mut findings = Findings::default();
    lint_generation(candidate, live, &mut findings.general);
    lint_geo(candidate, live, &mut findings.general);
    lint_names(candidate, &mut findings.general);
    let census = Census::of(candidate.geo.groups());
    for id in candidate.policy.service_ids() {
        let said = lint_service(candidate, &census, id, candidate.service_table(id));
        if !said.is_empty() {
            findings.services.push((id, said));
        }
    }
    findings
}

/// What is wrong with a service's part of `candidate`, were it `table`.
pub fn lint_table(candidate: &Snapshot, id: ServiceId, table: &ServiceTable) -> Vec<String> {
    lint_service(candidate, &Census::of(candidate.geo.groups()), id, table)
}

fn lint_generation(candidate: &Snapshot, live: Option<&Snapshot>, findings: &mut Vec<String>) {
    let provenance = &candidate.provenance;
    if provenance.generation <= provenance.parent {
        let (generation, parent) = (provenance.generation, provenance.parent);
        findings.push(format!("generation {generation} is not above its parent {parent}"));
    }
    if let Some(live) = live.map(|live| live.provenance.generation)
        && provenance.parent != live
    {
        findings
            .push(format!("its parent is generation {} but generation {live} is live", provenance.parent));
    }
}

/// Where one group ends and another begins: the scopes of all answers. Proven whole whenever it is another
/// than the live table's, which was proven before.
fn lint_geo(candidate: &Snapshot, live: Option<&Snapshot>, findings: &mut Vec<String>) {
    if live.is_some_and(|live| Arc::ptr_eq(&live.geo, &candidate.geo)) {
        return;
    }
    if let Some(prefix) = candidate.geo.overreach() {
        findings.push(format!("its geo data gives {prefix} as one client group, which it is not"));
    }
}

fn lint_names(candidate: &Snapshot, findings: &mut Vec<String>) {
    let names = candidate.names();
    for service in &candidate.policy.services {
        for (at, hostname) in service.answered_names().enumerate() {
            let name = Name::parse_text(hostname).ok();
            let wire = name.as_ref().map(Name::as_wire).unwrap_or_default();
            let labels = super::names::label_count(wire);
            let is_hostname = at < service.hostnames.len();
            let has_all = |entry: &Entry| {
                let records = entry.typed.map_or(0, |position| names.steered(position).records.len());
                entry.steered.is_some() == is_hostname && records == service.records_at(hostname).count()
            };
            if !matches!(names.find(wire, labels), Found::Exact(entry) if has_all(entry)) {
                findings
                    .push(format!("hostname `{hostname}` of service `{}` is not in the table", service.name));
            }
        }
    }
    for zone in names.zones().iter().filter(|zone| zone.negative.is_empty()) {
        findings.push(format!("zone {} has no start of authority", zone.origin));
    }
    let broken = |(_, entry): &(&[u8], &super::names::Entry)| {
        entry.sets.iter().any(|(kind, block)| {
            !block.is_well_formed() || block.is_empty() || block.records().any(|it| it.rtype != *kind)
        })
    };
    let broken = names.entries().filter(broken).count();
    if broken > 0 {
        findings.push(format!("{broken} names hold static records that are not well-formed"));
    }
}

fn lint_service(candidate: &Snapshot, census: &Census, id: ServiceId, table: &ServiceTable) -> Vec<String> {
    let service = candidate.policy.service(id);
    let mut said = BTreeSet::new();
    if table.by_group.len() != candidate.geo.groups().len() {
        said.insert(format!(
            "covers {} of {} client groups",
            table.by_group.len(),
            candidate.geo.groups().len()
        ));
    }
    if table.by_group.iter().any(|it| usize::from(it.distribution) >= table.distributions.len()) {
        said.insert("sends a client group to a distribution that does not exist".to_owned());
    }
    for distribution in &table.distributions {
        said.extend(lint_distribution(table, distribution, service));
    }
    for (set, _) in table.sets.iter().zip(table.sets_in_use()).filter(|(_, is_used)| *is_used) {
        said.extend(lint_set(service.ttl, set));
        said.extend(content::lint_addresses(&candidate.policy.fleet, service, set));
        said.extend(records::lint(&service.records, service.ttl, set));
    }
    said.extend(lint_scopes(&service.name, table));
    said.extend(content::lint_fences(candidate, census, service, table));
    for (view, distributions) in by_view(candidate, table) {
        said.extend(lint_view(candidate, table, &view.serving, distributions));
    }
    said.into_iter().map(|what| format!("service `{}` {what}", service.name)).take(MAX_FINDINGS).collect()
}

/// What the scopes of its answers rest on: a resolver gives an answer to every client inside its scope, so
/// an answer of scope 0 has to be everybody's, and what picks a slot has to be what the scope covers.
fn lint_scopes(name: &str, table: &ServiceTable) -> Vec<String> {
    let mut said = Vec::new();
    let first = table.distributions.first();
    let alike = |it: &Distribution| !it.is_mixed() && first.is_some_and(|first| it.answers_like(first));
    if table.is_uniform && !table.distributions.iter().all(alike) {
        said.push("answers with scope 0, though its clients are not all answered alike".to_owned());
    }
    let is_longer = |plan: &GroupPlan| plan.hash_lens.iter().zip(MAX_HASH_LEN).any(|(len, most)| *len > most);
    if table.by_group.iter().any(is_longer) {
        said.push("hashes more of a client's address than any scope covers".to_owned());
    }
    if table.seeds != seeds(name) {
        said.push("hashes its clients by the seeds of another service".to_owned());
    }
    said
}

fn lint_distribution(table: &ServiceTable, distribution: &Distribution, service: &Service) -> Vec<String> {
    let mut said = lint_gate(table, distribution, service);
    let shed = service.shed.as_ref().map(|shed| &shed.to);
    match (distribution.reply, &service.on_all_down) {
        _ if distribution.warning == Some(Warning::Shed) => {
            let is_as_asked = matches!(
                (distribution.reply, shed),
                (Reply::Addresses, Some(ShedTo::Pool(_)))
                    | (Reply::Alias, Some(ShedTo::Cname(_)))
                    | (Reply::NoData, Some(ShedTo::NoData))
            );
            if !is_as_asked {
                said.push("sheds newcomers in a way that its policy does not ask for".to_owned());
            }
        }
        (Reply::Alias, _) => said.push("answers another name to who is not shed".to_owned()),
        (Reply::NoData, OnAllDown::NoData) | (Reply::ServFail, OnAllDown::ServFail) => {}
        (Reply::NoData | Reply::ServFail, _) => {
            said.push("has a client group without an answer, which its policy does not ask for".to_owned());
        }
        (Reply::Addresses, _) if !distribution.slots.len().is_power_of_two() => {
            said.push(format!(
                "has a distribution of {} slots, not a power of two",
                distribution.slots.len()
            ));
        }
        (Reply::Addresses, _) => {}
    }
    if distribution.slots.used().iter().any(|set| *set as usize >= table.sets.len()) {
        said.push("has a slot without an answer set".to_owned());
    }
    let has_more_to_say = distribution.reply != Reply::Addresses
        || distribution.warning.is_some()
        || distribution.gate.is_some();
    if distribution.is_plain && has_more_to_say {
        said.push("takes the short way past a gate or a warning".to_owned());
    }
    if distribution.mode != PlacementMode::Normal && distribution.warning.is_none() {
        said.push("answers from nodes that are down without saying so".to_owned());
    }
    said
}

/// Who is let in where, and that whoever is not is answered something.
fn lint_gate(table: &ServiceTable, distribution: &Distribution, service: &Service) -> Vec<String> {
    let mut said = Vec::new();
    let is_answer = distribution.warning == Some(Warning::Shed);
    match distribution.gate {
        None if service.shed.is_none() || is_answer => {}
        None => said.push("has clients that pass no gate, though its policy sheds newcomers".to_owned()),
        Some(_) if service.shed.is_none() || table.guard.is_none() || is_answer => {
            said.push("sheds newcomers, which its policy does not ask for".to_owned());
        }
        Some(gate) => {
            let to = table.distributions.get(usize::from(gate.to));
            if gate.share > Ppm::WHOLE || to.is_none_or(|to| to.warning != Some(Warning::Shed)) {
                said.push("has a gate that leads nowhere".to_owned());
            }
        }
    }
    said
}

/// The distributions of those clients that may be given the same nodes.
fn by_view<'a>(
    candidate: &'a Snapshot,
    table: &'a ServiceTable,
) -> impl Iterator<Item = (&'a View, Vec<&'a Distribution>)> {
    let reach = candidate.reach();
    let mut distributions = vec![BTreeSet::new(); reach.views().len()];
    if reach.is_uniform() {
        distributions[0].extend(0..table.distributions.len());
    } else {
        for (group, plan) in table.by_group.iter().enumerate() {
            distributions[reach.view_of(group)].insert(usize::from(plan.distribution));
        }
    }
    for positions in &mut distributions {
        let gate = |at: &usize| table.distributions.get(*at)?.gate;
        let answers: Vec<usize> =
            positions.iter().filter_map(gate).map(|gate| usize::from(gate.to)).collect();
        positions.extend(answers);
    }
    reach.views().iter().zip(distributions).map(|(view, positions)| {
        (view, positions.into_iter().filter_map(|at| table.distributions.get(at)).collect())
    })
}

/// What clients of one view are answered with: nodes that they may be given.
fn lint_view(
    candidate: &Snapshot,
    table: &ServiceTable,
    serving: &[[bool; 2]],
    distributions: Vec<&Distribution>,
) -> Vec<String> {
    let mut is_used = vec![(false, false); table.sets.len()];
    for distribution in distributions {
        for set in distribution.slots.used() {
            let Some((is_used, is_normal)) = is_used.get_mut(*set as usize) else { continue };
            *is_used = true;
            *is_normal |= distribution.mode == PlacementMode::Normal;
        }
    }
    let mut said = Vec::new();
    for (set, (is_used, is_normal)) in table.sets.iter().zip(is_used) {
        if is_used {
            said.extend(lint_agreement(candidate, serving, set));
        }
        if is_normal {
            said.extend(lint_normal_set(candidate, serving, set));
        }
    }
    said
}

fn serves(serving: &[[bool; 2]], node: NodeId, family: Family) -> bool {
    serving.get(node.index()).is_some_and(|families| families[family.index()])
}

/// A set for clients in normal service: every pick may serve the family it answers.
fn lint_normal_set(candidate: &Snapshot, serving: &[[bool; 2]], set: &AnswerSet) -> Vec<String> {
    let mut said = Vec::new();
    for family in Family::BOTH.into_iter().filter(|family| !set.is_open[family.index()]) {
        for node in set.picks[family.index()].iter() {
            if !serves(serving, *node, family) {
                let node = candidate.policy.fleet.nodes.get(node.index());
                let name = node.map_or("?", |node| &node.name);
                said.push(format!("answers {family} with node `{name}`, which may not serve it"));
            }
        }
    }
    if set.blocks.iter().all(super::block::Block::is_empty) {
        said.push("has an answer without any address".to_owned());
    }
    said
}

/// Bytes, types and TTLs.
fn lint_set(ttl: u32, set: &AnswerSet) -> Vec<String> {
    let mut said = Vec::new();
    for family in Family::BOTH {
        let block = &set.blocks[family.index()];
        let kind = [rtype::A, rtype::AAAA][family.index()];
        let wrong = |record: super::block::BlockRecord<'_>| {
            record.rtype != kind || record.ttl != ttl || record.rdata.len() * 8 != usize::from(family.bits())
        };
        if !block.is_well_formed() || block.records().any(wrong) {
            said.push(format!("has {family} answer bytes that are not well-formed"));
        }
        if set.is_plain[family.index()] && (set.is_open[family.index()] || block.is_empty()) {
            said.push(format!("takes the short way to {family} answers of which there is more to say"));
        }
    }
    said
}

/// Both families speak of the same nodes where the nodes have both.
fn lint_agreement(candidate: &Snapshot, serving: &[[bool; 2]], set: &AnswerSet) -> Option<String> {
    let [v4, v6] = &set.picks;
    let both = |node: &&NodeId| Family::BOTH.iter().all(|it| serves(serving, **node, *it));
    if let (Some(four), Some(six)) = (v4.first(), v6.first())
        && four != six
        && both(&four)
        && both(&six)
        && !set.is_open[1]
    {
        let name = &candidate.policy.fleet.node(*four).name;
        return Some(format!("picks node `{name}` for IPv4 and another for IPv6, though it serves both"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::steer::Slots;
    use super::*;
    use crate::model::placement::PlacementMode;
    use std::sync::Arc;

    fn table(slots: &[&[u32]]) -> ServiceTable {
        let distribution = |of: &&[u32]| Distribution {
            slots: Slots::of(of),
            pool: None,
            mode: PlacementMode::Normal,
            reply: Reply::Addresses,
            warning: None,
            gate: None,
            is_plain: true,
        };
        ServiceTable {
            seeds: seeds("live"),
            ttl: 30,
            is_uniform: true,
            sets: Vec::new(),
            distributions: slots.iter().map(distribution).collect(),
            by_group: vec![GroupPlan { distribution: 0, hash_lens: MAX_HASH_LEN }],
            reach: Arc::default(),
            counted_from: 0,
            guard: None,
        }
    }

    #[test]
    fn scope_0_is_for_what_everybody_is_answered() {
        let said = |table: &ServiceTable| lint_scopes("live", table).join("; ");
        assert_eq!(said(&table(&[&[0]])), "");
        assert_eq!(said(&table(&[&[0], &[0, 0]])), "");
        for slots in [&[&[0, 1][..]][..], &[&[0], &[1]]] {
            assert!(said(&table(slots)).contains("scope 0"), "{slots:?}");
            assert_eq!(said(&ServiceTable { is_uniform: false, ..table(slots) }), "");
        }
        let mut long = table(&[&[0]]);
        long.by_group[0].hash_lens[0] += 1;
        assert!(said(&long).contains("more of a client's address"));
        assert!(lint_scopes("im", &table(&[&[0]])).join("").contains("seeds of another service"));
    }
}
