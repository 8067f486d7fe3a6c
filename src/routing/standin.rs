//! What stands for a steered name where its zone is transferred to servers that cannot steer.
//!
//! The addresses follow from policy alone, never from health, so that a zone's transferred content
//! changes with policy and zone files only: `transfer_default` of the service, or else nodes of the first pool that
//! everybody may use, heaviest first, by family from the first such pool that has any. Records of other types
//! speak of the nodes with these addresses; hints are the addresses themselves.

use super::block::Block;
use super::chain::address_type;
use super::names::SteeredName;
use super::records::{self, Answered, RecordBlocks};
use crate::base::prefix::Family;
use crate::model::ids::NodeId;
use crate::model::policy::Policy;
use crate::model::service::{OnAllDown, Pool, Service};
use std::net::IpAddr;

/// Addresses of one family, at most.
const MOST: usize = 8;

/// What stands for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standin {
    /// A and AAAA; empty where it has no address of the family.
    pub blocks: [Block; 2],
    /// The other types it declares, for the nodes of these addresses.
    pub records: RecordBlocks,
}

impl Standin {
    pub fn of(policy: &Policy, service: &Service) -> Self {
        let blocks = blocks(policy, service);
        let picks =
            if service.records.is_empty() { Default::default() } else { picks(policy, service, &blocks) };
        let answered =
            Answered { fleet: &policy.fleet, blocks: &blocks, picks: picks.each_ref().map(Vec::as_slice) };
        let records = records::blocks(service, answered);
        Self { blocks, records }
    }

    /// Of a set that the service declares.
    pub fn record(&self, at: u16) -> Option<&Block> {
        self.records.as_deref()?.get(usize::from(at)).filter(|block| !block.is_empty())
    }

    /// The types steered at a name that nothing stands for.
    pub fn lacking(&self, name: &SteeredName) -> Vec<u16> {
        let addresses = Family::BOTH.into_iter().filter(|family| self.blocks[family.index()].is_empty());
        let addresses = addresses.map(address_type).filter(|_| name.has_addresses);
        let records = name.records.iter().filter(|(_, at)| self.record(*at).is_none());
        addresses.chain(records.map(|(rtype, _)| *rtype)).collect()
    }
}

/// The nodes of the addresses; where those are nobody's, the nodes that would have been there.
fn picks(policy: &Policy, service: &Service, blocks: &[Block; 2]) -> [Vec<NodeId>; 2] {
    let members = || service.pools.iter().flat_map(|pool| &pool.members).map(|member| member.node);
    let found = Family::BOTH.map(|family| {
        let block = &blocks[family.index()];
        let has = |address: IpAddr| block.records().any(|record| record.rdata == octets(address));
        let mut nodes: Vec<_> = members().filter(|node| policy.fleet.addresses(*node).any(has)).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    });
    if found.iter().any(|nodes| !nodes.is_empty()) || service.transfer_default.is_empty() {
        return found;
    }
    let by_nodes = Service { transfer_default: Vec::new(), ..service.clone() };
    picks(policy, &by_nodes, &self::blocks(policy, &by_nodes))
}

fn blocks(policy: &Policy, service: &Service) -> [Block; 2] {
    Family::BOTH.map(|family| {
        let octets: Vec<Vec<u8>> = addresses(policy, service, family).into_iter().map(octets).collect();
        Block::of(address_type(family), service.ttl, octets.iter().map(Vec::as_slice))
    })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn addresses(policy: &Policy, service: &Service, family: Family) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let is_wanted = |address: &IpAddr| Family::of(*address) == family;
    if !service.transfer_default.is_empty() {
        found.extend(service.transfer_default.iter().copied().filter(is_wanted));
    } else {
        let everybody = service.chains.iter().find(|rule| rule.areas.is_empty());
        let pools = everybody.into_iter().flat_map(|rule| &rule.pools).map(|id| service.pool(*id));
        let of_pools = pools.map(|pool| of_pool(policy, pool, family));
        found.extend(of_pools.into_iter().find(|pool| !pool.is_empty()).unwrap_or_default());
        if let (true, OnAllDown::Fallback(fallback)) = (found.is_empty(), &service.on_all_down) {
            found.extend(fallback.iter().copied().filter(is_wanted));
        }
    }
    found.truncate(MOST);
    found.sort();
    found.dedup();
    found
}

fn of_pool(policy: &Policy, pool: &Pool, family: Family) -> Vec<IpAddr> {
    let mut members = pool.members.clone();
    members.sort_by_key(|member| std::cmp::Reverse(member.weight));
    let addresses = members.iter().flat_map(|member| policy.fleet.addresses(member.node));
    addresses.filter(|address| Family::of(*address) == family).collect()
}
