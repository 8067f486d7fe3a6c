//! `services/*.yaml` to [`Service`]: pools by selector, chains by area, and what they promise.

use super::audience;
use super::records;
use super::selector::select;
use super::shed;
use super::{AREA, NODE, Names, POOL, clients, fleet, profiles, title, values};
use crate::base::diagnostic::Span;
use crate::base::units::{Micros, Ppm};
use crate::model::ids::{AreaId, NodeId, PoolId};
use crate::model::records::RecordSet;
use crate::model::service::{ChainRule, OnAllDown, Pool, PoolMember, RecoveryTier, Service};
use crate::policy::codes;
use crate::policy::files::service::{
    AreaWord, ChainFile, OnAllDownWord, PlainWord, PoolFile, ServiceFile, TierWord, WeightFile,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot};
use crate::policy::scalars::{Hostname, Name, Ttl};
use crate::policy::{recovery, shadow};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

const WEIGHT: u16 = 100;
const MIN_ALIVE: Ppm = Ppm::from_percent(50);
const LINE_PENALTY: Micros = Micros::from_millis(40);
const MAX_POOLS: usize = 200;

/// All services, in the order of their files.
#[derive(Default)]
pub struct Services {
    pub services: Vec<Service>,
    names: HashMap<String, Place>,
    hostnames: HashMap<String, (String, Place)>,
}

/// What services refer to.
pub struct World<'a> {
    pub fleet: &'a fleet::Lowered,
    pub clients: &'a clients::Lowered,
    pub profiles: &'a profiles::Lowered,
}

impl Services {
    pub fn add(&mut self, path: &str, file: &At<ServiceFile>, world: &World<'_>, findings: &mut Findings) {
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
            records: record_files,
        } = &file.value;
        let name = self.take_name(path, name, file.place, findings);
        let pool_names = Names::of(pools, "pools", findings);
        let taken = self.take_hostnames(&name, hostnames, findings);
        let mut service = Service {
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
            line_penalty: line_penalty
                .value()
                .map_or(LINE_PENALTY, |span| Micros(u32::try_from(span.0.as_micros()).unwrap_or(u32::MAX))),
            demand: demand.value().map(|demand| demand.0),
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
        for (pool, file) in pools.value().map_or(&[][..], |table| &table.rows) {
            service.pools.push(lower_pool(pool, file.as_ref(), world, findings));
        }
        let shed_pool = shed::pool(shed, &pool_names, findings);
        lower_chains(chains, &pool_names, shed_pool, world, &mut service, findings);
        let sets = records::lower(record_files, &service, world.fleet, findings);
        service.records = self.take_records(&service.name, sets, findings);
        service.shed = shed::lower(shed, shed_pool, &service, world.fleet, findings);
        recovery::check(&service, tier, ttl, file.place, world.fleet, findings);
        self.services.push(service);
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

fn lower_on_all_down(slot: &Slot<OnAllDownWord>) -> OnAllDown {
    match slot.value() {
        None | Some(OnAllDownWord::Plain(PlainWord::All)) => OnAllDown::All,
        Some(OnAllDownWord::Plain(PlainWord::LastGood)) => OnAllDown::LastGood,
        Some(OnAllDownWord::Plain(PlainWord::NoData)) => OnAllDown::NoData,
        Some(OnAllDownWord::Plain(PlainWord::ServFail)) => OnAllDown::ServFail,
        Some(OnAllDownWord::Fallback(addresses)) => OnAllDown::Fallback(values(addresses).collect()),
    }
}

fn lower_pool(name: &At<Name>, file: Option<&PoolFile>, world: &World<'_>, findings: &mut Findings) -> Pool {
    let mut pool = Pool { name: name.value.0.clone(), members: Vec::new(), min_alive: MIN_ALIVE };
    let Some(PoolFile { place: _, select: selector, members, weights, min_alive }) = file else {
        return pool;
    };
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
            .report(&codes::EMPTY_POOL, name.place, format!("pool `{}` has no nodes", pool.name))
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
    pool
}

fn lower_chains(
    chains: &Slot<crate::policy::read::List<ChainFile>>,
    pool_names: &Names,
    shed_pool: Option<usize>,
    world: &World<'_>,
    service: &mut Service,
    findings: &mut Findings,
) {
    let Some(At { value: list, place }) = chains.given() else {
        return;
    };
    let mut used: Vec<bool> = (0..pool_names.len()).map(|at| shed_pool == Some(at)).collect();
    let mut rules = Vec::new();
    let mut catch_all = false;
    for At { value: ChainFile { place, area, pools }, .. } in &list.items {
        let pools = lower_chain_pools(pools, pool_names, &mut used, findings);
        let (area, area_place) = match area {
            Slot::Absent => (None, *place),
            Slot::Given(At { value: AreaWord::Everybody, place }) => (None, *place),
            Slot::Given(At { value: AreaWord::Named(name), place }) => {
                match world.clients.areas.resolve(name, *place, &codes::UNKNOWN_AREA, AREA, findings) {
                    Some(area) => (Some(AreaId::from_index(area)), *place),
                    None => continue,
                }
            }
            Slot::Broken => continue,
        };
        catch_all |= area.is_none();
        rules.push((ChainRule { area, pools }, area_place));
    }
    if !catch_all && list.whole && list.items.iter().all(|rule| !rule.value.area.is_broken()) {
        let place = list.items.last().map_or(*place, |last| last.value.place);
        findings
            .report(&codes::MISSING_CATCH_ALL, place, "clients outside the areas of this chain have no rule")
            .help("add a last rule without `area`: `- pools: [...]`");
    }
    shadow::check(&rules, world.clients, findings);
    service.chains = rules.into_iter().map(|(rule, _)| rule).collect();
    if list.whole && list.items.iter().all(|rule| !rule.value.pools.is_broken()) {
        for ((name, place), used) in pool_names.iter().zip(&used) {
            if !used {
                let report =
                    findings.report(&codes::UNUSED_POOL, *place, format!("no chain names pool `{name}`"));
                report.help("name it in a chain, or remove it");
            }
        }
    }
}

fn lower_chain_pools(
    slot: &Slot<OneOrMany<Name>>,
    names: &Names,
    used: &mut [bool],
    findings: &mut Findings,
) -> Vec<PoolId> {
    let mut pools = Vec::new();
    let Some(At { value: OneOrMany(list), place }) = slot.given() else {
        return pools;
    };
    if list.items.is_empty() && list.whole {
        findings
            .report(&codes::WRONG_VALUE, *place, "a rule without a pool")
            .help("name at least one pool; what happens when all are down is `on_all_down`");
    }
    for At { value: Name(name), place } in &list.items {
        let Some(at) = names.resolve(name, *place, &codes::UNKNOWN_POOL, POOL, findings) else {
            // The misspelt pool is probably the one that then looks unused.
            if let Some(meant) = names.meant(name) {
                used[meant] = true;
            }
            continue;
        };
        let id = PoolId::from_index(at);
        if pools.contains(&id) {
            findings
                .report(&codes::WRONG_VALUE, *place, format!("pool `{name}` is named twice in one rule"))
                .help("a pool is tried once: keep its first place");
            continue;
        }
        used[at] = true;
        pools.push(id);
    }
    pools
}
