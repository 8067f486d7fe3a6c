//! `services/*.yaml` to [`Service`]: pools by selector, chains by area, and what they promise.

use super::audience;
use super::chain::{self, Written};
use super::compose::{self, MAX_POOLS, Outline};
use super::records;
use super::selector::select;
use super::shed;
use super::{NODE, Names, clients, fleet, profiles, title, values};
use crate::base::diagnostic::Span;
use crate::base::units::{Micros, Ppm};
use crate::model::ids::NodeId;
use crate::model::records::RecordSet;
use crate::model::service::{Care, Method, OnAllDown, Pool, PoolMember, RecoveryTier, Service};
use crate::policy::codes;
use crate::policy::files::service::{
    MethodWord, OnAllDownWord, PlainWord, PoolFile, ServiceFile, SloFile, TierWord, WeightFile,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot};
use crate::policy::recovery;
use crate::policy::scalars::{Hostname, Name, Text, Ttl};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

const WEIGHT: u16 = 100;
const MIN_ALIVE: Ppm = Ppm::from_percent(50);
const LINE_PENALTY: Micros = Micros::from_millis(40);

/// All services, in the order of their files.
#[derive(Default)]
pub struct Services<'a> {
    drafts: Vec<(Draft<'a>, Outline)>,
    names: HashMap<String, Place>,
    hostnames: HashMap<String, (String, Place)>,
}

/// A service of which all is lowered that does not depend on others.
struct Draft<'a> {
    /// Without pools, chains and what stands on them.
    service: Service,
    file: &'a At<ServiceFile>,
    rules: Vec<Written>,
    shed_pool: Option<usize>,
}

/// What services refer to.
pub struct World<'a> {
    pub fleet: &'a fleet::Lowered,
    pub clients: &'a clients::Lowered,
    pub profiles: &'a profiles::Lowered,
}

impl<'a> Services<'a> {
    pub fn add(&mut self, path: &str, file: &'a At<ServiceFile>, world: &World<'_>, findings: &mut Findings) {
        let ServiceFile {
            place: _,
            version: _,
            name,
            title: text,
            hostnames,
            profile,
            tier,
            pools,
            chains,
            answers,
            ttl,
            on_all_down,
            shed,
            line_penalty,
            money_weight,
            demand,
            audience,
            transfer_default,
            records: _,
            slo,
            runbook,
        } = &file.value;
        let name = self.take_name(path, name, file.place, findings);
        let pool_names = Names::of(pools, "pools", findings);
        let taken = self.take_hostnames(&name, hostnames, findings);
        let service = Service {
            hostnames: taken.iter().map(|(hostname, _)| hostname.clone()).collect(),
            hostname_spans: taken.iter().map(|(_, span)| *span).collect(),
            name,
            title: title(text),
            profile: world.profiles.of(profile, money_weight, findings),
            tier: lower_tier(tier),
            pools: Vec::new(),
            chains: Vec::new(),
            answers: answers.value().map_or(1, |n| u8::try_from(n.0).unwrap_or(1)),
            ttl: ttl.value().map_or(Ttl::DEFAULT, |ttl| ttl.0),
            on_all_down: lower_on_all_down(on_all_down),
            shed: None,
            line_penalty: line_penalty.value().map_or(LINE_PENALTY, |span| micros(span.0)),
            demand: demand.value().map(|demand| demand.0),
            care: lower_care(slo, runbook, findings),
            audience: audience::lower(audience, world.clients, findings),
            transfer_default: addresses(transfer_default),
            records: Vec::new(),
            source: path.to_owned(),
        };
        if pool_names.len() > MAX_POOLS {
            findings
                .report(&codes::TOO_MANY, file.place, format!("more than {MAX_POOLS} pools in one service"))
                .help("select by label into fewer pools, or split the service");
            return;
        }
        let table = pools.value().map_or(&[][..], |table| &table.rows);
        let lowered: Vec<_> =
            table.iter().map(|(pool, file)| lower_pool(pool, file.as_ref(), world, findings)).collect();
        let (pools, stands_for) = lowered.into_iter().unzip();
        let shed_pool = shed::pool(shed, &pool_names, findings);
        let rules = chain::lower(chains, &pool_names, shed_pool, world, findings);
        let outline = Outline {
            name: service.name.clone(),
            pools,
            stands_for,
            rules: rules.iter().map(|written| written.rule.clone()).collect(),
            place: file.place,
        };
        self.drafts.push((Draft { service, file, rules, shed_pool }, outline));
    }

    /// Once all services are known. `whole`: each could be read.
    pub fn finish(mut self, world: &World<'_>, whole: bool, findings: &mut Findings) -> Vec<Service> {
        let drafts = std::mem::take(&mut self.drafts);
        let (drafts, outlines): (Vec<_>, Vec<_>) = drafts.into_iter().unzip();
        let composed = compose::compose(&outlines, whole, findings);
        let mut services = Vec::with_capacity(drafts.len());
        for (at, (draft, mut composed)) in drafts.into_iter().zip(composed).enumerate() {
            let Draft { mut service, file, rules, shed_pool } = draft;
            composed.name_pools(at, &outlines);
            (service.pools, service.chains) = (composed.pools, composed.rules);
            chain::check_bias(&rules, &service, &composed.written, findings);
            let ServiceFile { tier, ttl, shed, records: record_files, .. } = &file.value;
            let shed_pool = shed_pool.and_then(|pool| match composed.own[pool] {
                None => shed::refuse_service(shed, findings),
                own => own,
            });
            let sets = records::lower(record_files, &service, world.fleet, findings);
            service.records = self.take_records(&service.name, sets, findings);
            service.shed = shed::lower(shed, shed_pool, &service, world.fleet, findings);
            recovery::check(&service, tier, ttl, file.place, world.fleet, findings);
            services.push(service);
        }
        services
    }

    fn take_name(&mut self, path: &str, slot: &Slot<Name>, start: Place, findings: &mut Findings) -> String {
        let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".yaml");
        let (name, place) = match slot {
            Slot::Given(at) => (at.value.0.clone(), at.place),
            Slot::Broken => return stem.to_owned(),
            Slot::Absent => (stem.to_owned(), start),
        };
        match self.names.get(&name) {
            Some(first) => {
                findings
                    .report(&codes::DUPLICATE_NAME, place, format!("two services are named `{name}`"))
                    .help("give one of them another `name`")
                    .related(*first, "the first one");
            }
            None => {
                self.names.insert(name.clone(), place);
            }
        }
        name
    }

    fn take_hostnames(
        &mut self,
        service: &str,
        slot: &Slot<OneOrMany<Hostname>>,
        findings: &mut Findings,
    ) -> Vec<(String, Span)> {
        let mut out = Vec::new();
        let Some(At { value: OneOrMany(list), place }) = slot.given() else {
            return out;
        };
        if list.items.is_empty() && list.whole {
            findings
                .report(&codes::WRONG_VALUE, *place, "a service without a hostname")
                .help("list at least one name to answer");
        }
        for At { value: Hostname(hostname), place } in &list.items {
            if self.take_hostname(service, hostname, *place, findings) {
                out.push((hostname.clone(), place.span));
            }
        }
        out
    }

    /// Whether nobody had it.
    fn take_hostname(
        &mut self,
        service: &str,
        hostname: &str,
        place: Place,
        findings: &mut Findings,
    ) -> bool {
        if let Some((owner, first)) = self.hostnames.get(hostname) {
            let message = match owner == service {
                true => format!("`{hostname}` is listed twice"),
                false => format!("`{hostname}` is steered by service `{owner}` already"),
            };
            findings
                .report(&codes::DUPLICATE_HOSTNAME, place, message)
                .help("a name has one set of rules: remove it from one of the places")
                .related(*first, "first listed here");
            return false;
        }
        self.hostnames.insert(hostname.to_owned(), (service.to_owned(), place));
        true
    }

    /// The sets whose owners nobody has; those of one owner stand together.
    fn take_records(
        &mut self,
        service: &str,
        sets: Vec<(RecordSet, Place)>,
        findings: &mut Findings,
    ) -> Vec<RecordSet> {
        let mut kept: Vec<RecordSet> = Vec::with_capacity(sets.len());
        for (set, place) in sets {
            let is_known = kept.last().is_some_and(|last| last.owner == set.owner);
            let taken = match &set.owner {
                Some(owner) if !is_known => self.take_hostname(service, owner, place, findings),
                _ => true,
            };
            if taken {
                kept.push(set);
            }
        }
        kept
    }
}

fn addresses(slot: &Slot<OneOrMany<IpAddr>>) -> Vec<IpAddr> {
    slot.value().map_or_else(Vec::new, |list| values(&list.0.items).collect())
}

fn lower_tier(slot: &Slot<TierWord>) -> RecoveryTier {
    let default = TierWord::default_tier();
    let TierWord { name, limit } = slot.value().unwrap_or(&default);
    RecoveryTier { name: (*name).to_owned(), limit: *limit }
}

fn micros(span: Duration) -> Micros {
    Micros(u32::try_from(span.as_micros()).unwrap_or(u32::MAX))
}

fn lower_care(slo: &Slot<SloFile>, runbook: &Slot<Text>, findings: &mut Findings) -> Care {
    let availability = slo.value().and_then(|SloFile { place: _, availability }| availability.given());
    if let Some(At { place, .. }) = availability.filter(|at| at.value.0 == Ppm::WHOLE) {
        findings
            .report(&codes::WRONG_VALUE, *place, "an objective of 100 % leaves no time to recover in")
            .help("99.99% is 4 minutes in 30 days, 99.95% is 21 minutes, 99.9% is 43 minutes");
    }
    Care {
        availability: availability.map(|at| at.value.0),
        runbook: runbook.value().map(|text| text.0.clone()),
    }
}

fn lower_on_all_down(slot: &Slot<OnAllDownWord>) -> OnAllDown {
    match slot.value() {
        None | Some(OnAllDownWord::Plain(PlainWord::All)) => OnAllDown::All,
        Some(OnAllDownWord::Plain(PlainWord::LastGood)) => OnAllDown::LastGood,
        Some(OnAllDownWord::Plain(PlainWord::NoData)) => OnAllDown::NoData,
        Some(OnAllDownWord::Plain(PlainWord::ServFail)) => OnAllDown::ServFail,
        Some(OnAllDownWord::Fallback(addresses)) => OnAllDown::Fallback(values(addresses).collect()),
    }
}

/// Also the name of the service that the pool is.
fn lower_pool(
    name: &At<Name>,
    file: Option<&PoolFile>,
    world: &World<'_>,
    findings: &mut Findings,
) -> (Pool, Option<At<String>>) {
    let name_text = name.value.0.clone();
    let mut pool =
        Pool { name: name_text, members: Vec::new(), min_alive: MIN_ALIVE, method: Method::Latency };
    let Some(file) = file else { return (pool, None) };
    if let Some(At { value: Name(service), place }) = file.service.given() {
        refuse_more(file, *place, findings);
        return (pool, Some(At { value: service.clone(), place: *place }));
    }
    if !file.service.is_broken() {
        fill_pool(&mut pool, name.place, file, world, findings);
    }
    (pool, None)
}

/// A pool that is another service has everything from there.
fn refuse_more(file: &PoolFile, place: Place, findings: &mut Findings) {
    let PoolFile { place: _, service: _, select: selector, members, weights, min_alive, method } = file;
    let said = [
        ("select", selector.is_absent()),
        ("members", members.is_absent()),
        ("weights", weights.is_absent()),
        ("min_alive", min_alive.is_absent()),
        ("method", method.is_absent()),
    ];
    if let Some((key, _)) = said.iter().find(|(_, is_absent)| !is_absent) {
        findings
            .report(&codes::WRONG_VALUE, place, format!("`service` beside `{key}` in one pool"))
            .help("a pool is another service or has nodes of its own: make it two pools of the chain");
    }
}

fn fill_pool(pool: &mut Pool, name: Place, file: &PoolFile, world: &World<'_>, findings: &mut Findings) {
    let PoolFile { place: _, service: _, select: selector, members, weights, min_alive, method } = file;
    let (facts, whole) = (&world.fleet.facts, world.fleet.whole);
    let mut nodes: BTreeMap<usize, u16> = BTreeMap::new();
    let nothing_said = selector.value().is_none_or(|table| table.rows.is_empty() && table.whole);
    if let Some(At { value, place }) = selector.given()
        && !value.rows.is_empty()
    {
        nodes.extend(select(value, *place, facts, whole, findings).into_iter().map(|node| (node, WEIGHT)));
    }
    let listed = members.value().map_or(&[][..], |list| &list.0.items);
    for At { value: Name(node), place } in listed {
        let found = world.fleet.nodes.resolve(node, *place, &codes::UNKNOWN_NODE, NODE, findings);
        nodes.extend(found.map(|node| (node, WEIGHT)));
    }
    let readable = !selector.is_broken() && !members.is_broken();
    if nothing_said && listed.is_empty() && readable && members.value().is_none_or(|list| list.0.whole) {
        findings
            .report(&codes::EMPTY_POOL, name, format!("pool `{}` has no nodes", pool.name))
            .help("choose nodes by label with `select`, or list them under `members`");
    }
    // Later rules first, so that the first match has the last word.
    for At { value: WeightFile { place: _, select: selector, weight }, .. } in
        weights.value().map_or(&[][..], |list| &list.items).iter().rev()
    {
        let (Some(at), Some(weight)) = (selector.given(), weight.value()) else {
            continue;
        };
        for node in select(&at.value, at.place, facts, whole, findings) {
            nodes.entry(node).and_modify(|own| *own = u16::try_from(weight.0).unwrap_or(u16::MAX));
        }
    }
    pool.min_alive = min_alive.value().map_or(MIN_ALIVE, |percent| percent.0);
    let member = |(node, weight)| PoolMember { node: NodeId::from_index(node), weight };
    pool.members = nodes.into_iter().map(member).collect();
    lower_method(pool, method, world.fleet, findings);
}

fn lower_method(pool: &mut Pool, slot: &Slot<MethodWord>, fleet: &fleet::Lowered, findings: &mut Findings) {
    let Some(At { value: word, place }) = slot.given() else { return };
    pool.method = match word {
        MethodWord::Latency => Method::Latency,
        MethodWord::Weights => Method::Weights,
        MethodWord::Load => Method::Load,
    };
    let nodes = || pool.members.iter().filter_map(|member| fleet.fleet.nodes.get(member.node.index()));
    let unbounded = nodes().find(|node| node.capacity.is_none());
    if let Some(node) = unbounded.filter(|_| pool.method == Method::Load && fleet.whole) {
        findings
            .report(
                &codes::BAD_METHOD,
                *place,
                format!("node `{}` of a pool by load has no `capacity`", node.name),
            )
            .help("state the capacity of every node of the pool, or use `method: weights`");
    }
}
