//! What answers say against whom they speak of: addresses that are those of their nodes, and nodes that the
//! asking clients may be given by policy.

use super::super::judge::Census;
use super::super::snapshot::Snapshot;
use super::super::steer::{AnswerSet, Distribution, ServiceTable, Warning};
use crate::base::prefix::Family;
use crate::model::degradation::ShedTo;
use crate::model::fleet::Fleet;
use crate::model::ids::{NodeId, PoolId};
use crate::model::placement::PlacementMode;
use crate::model::service::{OnAllDown, Service};
use std::net::IpAddr;

/// Every address is one of a node that the set names, or of the policy's fallback; each such node has one.
pub fn lint_addresses(fleet: &Fleet, service: &Service, set: &AnswerSet) -> Vec<String> {
    let mut said = Vec::new();
    for family in Family::BOTH {
        let (block, picks) = (&set.blocks[family.index()], &set.picks[family.index()]);
        let is_known = |node: &&NodeId| node.index() < fleet.nodes.len();
        let of_picks = picks.iter().filter(is_known).flat_map(|node| fleet.addresses(*node));
        let allowed: Vec<IpAddr> = match (&service.on_all_down, picks.is_empty()) {
            (OnAllDown::Fallback(addresses), true) => addresses.clone(),
            _ => of_picks.collect(),
        };
        if !block.records().all(|record| allowed.iter().any(|address| is_rdata(*address, record.rdata))) {
            said.push(format!("has an {family} answer with an address of none of its nodes"));
        }
        let is_told = |node: &NodeId| {
            let mut own = fleet.addresses(*node);
            own.any(|address| block.records().any(|record| is_rdata(address, record.rdata)))
        };
        if !picks.iter().all(|node| node.index() < fleet.nodes.len() && is_told(node)) {
            said.push(format!("has an {family} answer without an address of a node that it names"));
        }
    }
    said
}

fn is_rdata(address: IpAddr, rdata: &[u8]) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets() == rdata,
        IpAddr::V6(v6) => v6.octets() == rdata,
    }
}

/// Each client group is answered with nodes of its own chain, and newcomers with nodes of the pool they are
/// sent to. Groups of one chain and one distribution are looked at once.
pub fn lint_fences(
    candidate: &Snapshot,
    census: &Census,
    service: &Service,
    table: &ServiceTable,
) -> Vec<String> {
    let groups = candidate.geo.groups();
    let chain_of = |&sample: &usize| {
        let areas = &groups[sample].areas;
        service.chains.iter().position(|rule| rule.areas.iter().all(|area| areas.contains(area)))
    };
    let chains: Vec<Option<usize>> = census.samples.iter().map(chain_of).collect();
    let distributions = table.distributions.len();
    let mut is_asked = vec![false; service.chains.len() * distributions];
    for (kind, plan) in census.kinds.iter().zip(&table.by_group) {
        let at = usize::from(plan.distribution);
        if let Some(chain) = chains[*kind as usize]
            && at < distributions
        {
            is_asked[chain * distributions + at] = true;
        }
    }
    let mut said = Vec::new();
    let mut is_inside = vec![false; candidate.policy.fleet.nodes.len()];
    for (rule, is_asked) in service.chains.iter().zip(is_asked.chunks_exact(distributions.max(1))) {
        mark(&mut is_inside, service, &rule.pools);
        let asked = table.distributions.iter().zip(is_asked).filter(|(_, is_asked)| **is_asked);
        for (distribution, _) in asked.filter(|(distribution, _)| !is_last_good(service, distribution)) {
            said.extend(outsider(table, distribution, &is_inside).map(|node| {
                let name = &candidate.policy.fleet.node(node).name;
                format!("answers clients with node `{name}`, which is in no pool of their chain")
            }));
        }
    }
    if let Some(ShedTo::Pool(pool)) = service.shed.as_ref().map(|shed| &shed.to) {
        mark(&mut is_inside, service, &[*pool]);
        for distribution in table.distributions.iter().filter(|it| it.warning == Some(Warning::Shed)) {
            said.extend(outsider(table, distribution, &is_inside).map(|node| {
                let name = &candidate.policy.fleet.node(node).name;
                format!("sheds newcomers to node `{name}`, which is not in the pool for them")
            }));
        }
    }
    said
}

/// What worked last may be in no chain any more.
fn is_last_good(service: &Service, distribution: &Distribution) -> bool {
    distribution.mode != PlacementMode::Normal && service.on_all_down == OnAllDown::LastGood
}

/// By node: a member of one of the pools.
fn mark(is_inside: &mut [bool], service: &Service, pools: &[PoolId]) {
    is_inside.fill(false);
    for member in pools.iter().flat_map(|pool| &service.pool(*pool).members) {
        is_inside[member.node.index()] = true;
    }
}

fn outsider(table: &ServiceTable, distribution: &Distribution, is_inside: &[bool]) -> Option<NodeId> {
    let sets = distribution.slots.used().iter().filter_map(|at| table.sets.get(*at as usize));
    let mut picks = sets.flat_map(|set| set.picks.iter().flat_map(|picks| picks.iter().copied()));
    picks.find(|node| is_inside.get(node.index()) == Some(&false))
}
