//! What stands for a steered name where its zone is transferred to servers that cannot steer.
//!
//! The addresses follow from policy alone, never from health, so that a zone's transferred content
//! changes with policy and zone files only: `transfer_default` of the service, or else nodes of the first pool that
//! everybody may use, heaviest first, by family from the first such pool that has any.

use super::block::Block;
use super::chain::address_type;
use crate::base::prefix::Family;
use crate::model::policy::Policy;
use crate::model::service::{OnAllDown, Pool, Service};
use std::net::IpAddr;

/// Addresses of one family, at most.
const MOST: usize = 8;

/// A and AAAA records for a service; an empty block where it has no address of the family.
pub fn blocks(policy: &Policy, service: &Service) -> [Block; 2] {
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
        let everybody = service.chains.iter().find(|rule| rule.area.is_none());
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
