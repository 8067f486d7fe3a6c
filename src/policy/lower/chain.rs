//! `chains` of a service: which pools in which order for whom, and what biases the choice among them.
//!
//! Here a pool that is another service is a pool like any other; what it leads to is `compose`'s matter.
//! Whether a bias changes anything is known only after that.

use super::selector::select;
use super::{AREA, Names, POOL};
use crate::model::ids::{AreaId, NodeId, PoolId};
use crate::model::service::{Bias, ChainRule, Service};
use crate::policy::codes;
use crate::policy::files::service::{AreaWord, BiasFile, ChainFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{List, OneOrMany, Slot};
use crate::policy::scalars::Name;
use crate::policy::shadow;
use std::collections::{BTreeMap, BTreeSet};

/// A rule as written.
pub(super) struct Written {
    pub rule: ChainRule,
    /// Which nodes each of its biases selects.
    biases: Vec<(Place, Vec<NodeId>)>,
    /// Of `bias`.
    bias_place: Place,
}

/// `shed_pool`: a pool that is in use although no chain has it.
pub(super) fn lower(
    chains: &Slot<List<ChainFile>>,
    pool_names: &Names,
    shed_pool: Option<usize>,
    world: &super::service::World<'_>,
    findings: &mut Findings,
) -> Vec<Written> {
    let Some(At { value: list, place }) = chains.given() else { return Vec::new() };
    let mut used: Vec<bool> = (0..pool_names.len()).map(|at| shed_pool == Some(at)).collect();
    let mut rules = Vec::new();
    let mut areas = Vec::new();
    for At { value: ChainFile { place, area, pools, bias }, .. } in &list.items {
        let pools = lower_pools(pools, pool_names, &mut used, findings);
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
        areas.push((area, area_place));
        let (biases, bias_of) = lower_bias(bias, world, findings);
        rules.push(Written {
            rule: ChainRule { areas: area.into_iter().collect(), pools, bias: bias_of },
            biases,
            bias_place: bias.given().map_or(*place, |at| at.place),
        });
    }
    let catch_all = areas.iter().any(|(area, _)| area.is_none());
    if !catch_all && list.whole && list.items.iter().all(|rule| !rule.value.area.is_broken()) {
        let place = list.items.last().map_or(*place, |last| last.value.place);
        findings
            .report(&codes::MISSING_CATCH_ALL, place, "clients outside the areas of this chain have no rule")
            .help("add a last rule without `area`: `- pools: [...]`");
    }
    shadow::check(&areas, world.clients, findings);
    if list.whole && list.items.iter().all(|rule| !rule.value.pools.is_broken()) {
        report_unused(pool_names, &used, findings);
    }
    rules
}

fn report_unused(pool_names: &Names, used: &[bool], findings: &mut Findings) {
    for ((name, place), _) in pool_names.iter().zip(used).filter(|(_, used)| !**used) {
        findings
            .report(&codes::UNUSED_POOL, *place, format!("no chain names pool `{name}`"))
            .help("name it in a chain, or remove it");
    }
}

fn lower_pools(
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

/// Which nodes each entry selects, and what that comes to: the first entry that has a node counts.
fn lower_bias(
    slot: &Slot<List<BiasFile>>,
    world: &super::service::World<'_>,
    findings: &mut Findings,
) -> (Vec<(Place, Vec<NodeId>)>, Vec<Bias>) {
    let (mut entries, mut by_node) = (Vec::new(), BTreeMap::new());
    for At { value: BiasFile { place, select: selector, by }, .. } in
        slot.value().map_or(&[][..], |list| &list.items)
    {
        let (Some(selector), Some(by)) = (selector.given(), by.given()) else { continue };
        let (facts, whole) = (&world.fleet.facts, world.fleet.whole);
        let nodes = select(&selector.value, selector.place, facts, whole, findings);
        let nodes: Vec<NodeId> = nodes.into_iter().map(NodeId::from_index).collect();
        let by_us = by.value.micros();
        nodes.iter().for_each(|&node| {
            by_node.entry(node).or_insert(by_us);
        });
        if by_us == 0 {
            findings
                .report(&codes::BIAS_WITHOUT_EFFECT, by.place, "a bias of nothing")
                .help("state how much of round trip the nodes cost more (`by: 20ms`) or less (`by: -10ms`)");
        } else if !nodes.is_empty() {
            entries.push((*place, nodes));
        }
    }
    let biased = by_node.into_iter().filter(|&(_, by_us)| by_us != 0);
    (entries, biased.map(|(node, by_us)| Bias { node, by_us }).collect())
}

/// Warns of biases that change nobody's choice. `rules`: by rule of `service`, the one it was written as.
pub(super) fn check_bias(written: &[Written], service: &Service, rules: &[usize], findings: &mut Findings) {
    for (at, one) in written.iter().enumerate().filter(|(_, one)| !one.biases.is_empty()) {
        let of_one = service.chains.iter().zip(rules).filter(|(_, rule)| **rule == at).map(|(rule, _)| rule);
        let pools = of_one.flat_map(|rule| &rule.pools).map(|&pool| service.pool(pool));
        let chosen: BTreeSet<NodeId> = pools
            .filter(|pool| !pool.method.is_flat())
            .flat_map(|pool| pool.members.iter().map(|member| member.node))
            .collect();
        if chosen.is_empty() {
            if service.chains.iter().zip(rules).any(|(rule, of)| *of == at && !rule.pools.is_empty()) {
                findings
                    .report(&codes::BIAS_WITHOUT_EFFECT, one.bias_place, "no pool of this rule goes by cost")
                    .help("a bias changes costs: use `method: latency`, or change `weights` instead");
            }
            continue;
        }
        for (place, _) in one.biases.iter().filter(|(_, nodes)| !nodes.iter().any(|it| chosen.contains(it))) {
            findings
                .report(&codes::BIAS_WITHOUT_EFFECT, *place, "no pool of this rule has a node that is meant")
                .help("choose among the nodes of the rule's pools that go by cost, or remove this entry");
        }
        let by = |node: &NodeId| {
            let found = one.rule.bias.binary_search_by_key(node, |bias| bias.node);
            found.map_or(0, |at| one.rule.bias[at].by_us)
        };
        let first = chosen.first().map_or(0, by);
        if first != 0 && chosen.iter().all(|node| by(node) == first) {
            findings
                .report(
                    &codes::BIAS_WITHOUT_EFFECT,
                    one.bias_place,
                    "all nodes of this rule are biased alike",
                )
                .help("only differences decide: leave some nodes of the rule's pools as they are");
        }
    }
}
