//! What nodes report of their clients, by network, brought to client groups and summed by service.
//!
//! ```text
//!  report ─▶ networks ─▶ groups (the geo table's lookup)     ┌ at most what the node carries in all
//!               └ spans several: 16 parts of it count alike ─┴─▶ Reading ─▶ sums by service and group
//! ```
//! All of it is made beside the writer: a fleet may report millions of networks. A reading that has grown
//! stale is kept apart for [`LINGER_MS`] more, until the clients behind it have shown up elsewhere.

use crate::base::prefix::{Family, Prefix};
use crate::model::ids::{GroupId, NodeId};
use crate::model::observation::ClientLoad;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// For how long a stale reading is remembered.
pub const LINGER_MS: u64 = 300_000;
/// A network that spans several groups is looked at in 2^4 places.
const PART_BITS: u8 = 4;
const MILLI: f64 = 1_000.0;

/// The group of an address, and how many of its bits that took.
pub type Locate<'a> = &'a dyn Fn(IpAddr) -> (GroupId, u8);
/// Load by client group, ascending.
type Rows = Vec<(GroupId, f64)>;

/// Finds a service of the node by its name.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<usize>;

/// What has to be known of the services of a policy, by service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Servers {
    pub names: Vec<String>,
    /// Ascending.
    pub nodes: Vec<Vec<NodeId>>,
    /// How they divide what they have in common.
    pub parts: Vec<f64>,
}

/// What one node said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    at_ms: u64,
    max_age_ms: u64,
    /// By service that it names.
    named: BTreeMap<usize, Rows>,
    /// Of all that it serves.
    common: Option<Rows>,
    /// A name that is no service's of the node.
    pub unknown: Option<String>,
}

/// What is said of one service now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// By group; empty: nobody says anything.
    pub fresh: Vec<f64>,
    /// Of those that fell silent lately, or are down.
    pub stale: Vec<f64>,
    /// Who says something of it, ascending.
    pub nodes: Vec<NodeId>,
    /// Some of it is this service's part of what is said of several.
    pub is_shared: bool,
}

/// What is said now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    pub services: Vec<Sum>,
    /// Who speaks at all.
    pub heard: BTreeSet<NodeId>,
    /// Who fell silent lately, or is down.
    pub lingering: BTreeSet<NodeId>,
}

impl Reading {
    /// `amount`: all that the node can be believed to carry, in the unit of its capacity; rounded.
    pub fn of(
        load: &ClientLoad,
        amount: Option<u64>,
        (at_ms, max_age_ms): (u64, u64),
        find: Find<'_>,
        locate: Locate<'_>,
    ) -> Self {
        let ids: Vec<Option<usize>> = load.services.iter().map(|name| find(name)).collect();
        let total: f64 = load.rows.iter().map(|row| row.milli as f64).sum();
        // What was rounded away of the amount is no claim.
        let most = amount.map(|amount| (amount as f64 + 0.5) * MILLI);
        let scale = most.filter(|most| *most < total).map_or(1.0, |most| most / total) / MILLI;
        let mut named: BTreeMap<usize, BTreeMap<GroupId, f64>> =
            ids.iter().flatten().map(|&service| (service, BTreeMap::new())).collect();
        let mut common = load.is_of_all().then(BTreeMap::new);
        for row in load.rows.iter().filter(|row| row.milli > 0) {
            let of_service = row.service.map(|at| ids.get(at as usize).copied().flatten());
            let to = match of_service {
                None => common.as_mut(),
                Some(service) => service.and_then(|service| named.get_mut(&service)),
            };
            if let Some(to) = to {
                let add = |group, part| *to.entry(group).or_default() += row.milli as f64 * scale * part;
                spread(row.prefix, locate, add);
            }
        }
        let unknown = load.services.iter().zip(&ids).find(|(_, id)| id.is_none());
        Self {
            at_ms,
            max_age_ms,
            named: named.into_iter().map(|(service, rows)| (service, rows.into_iter().collect())).collect(),
            common: common.map(|rows| rows.into_iter().collect()),
            unknown: unknown.map(|(name, _)| name.clone()),
        }
    }

    fn age(&self, now_ms: u64) -> Age {
        match now_ms.saturating_sub(self.at_ms) {
            age if age <= self.max_age_ms => Age::Fresh,
            age if age <= self.max_age_ms + LINGER_MS => Age::Stale,
            _ => Age::Over,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    Stale,
    Over,
}

/// Divides a network between the groups it is in: parts of one.
fn spread(network: Prefix, locate: Locate<'_>, mut add: impl FnMut(GroupId, f64)) {
    let (group, depth) = locate(network.address());
    if network.len() >= depth {
        return add(group, 1.0);
    }
    let family = network.family();
    let bits = PART_BITS.min(family.bits() - network.len());
    let part = 1.0 / f64::from(1_u32 << bits);
    for at in 0..1_u128 << bits {
        let start = network.bits() | at << (128 - u32::from(network.len()) - u32::from(bits));
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits((start >> 96) as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(start)),
        };
        add(locate(address).0, part);
    }
}

/// What a node that says it carries `amount` is believed: no more than twice its capacity, if one is known. A
/// wrong unit, or one wild sample, would else be all of a service for hours.
pub fn believed(amount: Option<u64>, capacity: Option<u64>) -> Option<u64> {
    let most = capacity.map(|capacity| capacity.saturating_mul(2));
    amount.map(|amount| amount.min(most.unwrap_or(u64::MAX))).or(most)
}

/// Forgets what is over, and adds up the rest. Of a node that is down the clients are on their way.
pub fn sums(
    readings: &mut BTreeMap<NodeId, Reading>,
    servers: &Servers,
    groups: usize,
    is_down: impl Fn(NodeId) -> bool,
    now_ms: u64,
) -> Sums {
    readings.retain(|_, reading| reading.age(now_ms) != Age::Over);
    let mut sums = Sums { services: vec![Sum::default(); servers.names.len()], ..Sums::default() };
    for (&node, reading) in readings.iter() {
        let is_fresh = reading.age(now_ms) == Age::Fresh && !is_down(node);
        if is_fresh { &mut sums.heard } else { &mut sums.lingering }.insert(node);
        for (&service, rows) in &reading.named {
            if let Some(sum) = sums.services.get_mut(service) {
                sum.add(node, rows, 1.0, groups, is_fresh);
            }
        }
        if let Some(rows) = &reading.common {
            add_common(&mut sums.services, servers, node, rows, (groups, is_fresh));
        }
    }
    sums
}

/// What is said of all services of a node is divided between them by their parts.
fn add_common(
    sums: &mut [Sum],
    servers: &Servers,
    node: NodeId,
    rows: &Rows,
    (groups, is_fresh): (usize, bool),
) {
    let serves = |service: &usize| servers.nodes[*service].binary_search(&node).is_ok();
    let own: Vec<usize> = (0..servers.nodes.len()).filter(serves).collect();
    let part = |service: usize| servers.parts.get(service).copied().unwrap_or_default();
    let total: f64 = own.iter().map(|&service| part(service)).sum();
    for &service in &own {
        let part = if total > 0.0 { part(service) / total } else { 1.0 / own.len() as f64 };
        if let Some(sum) = sums.get_mut(service) {
            sum.add(node, rows, part, groups, is_fresh);
            sum.is_shared |= !rows.is_empty();
        }
    }
}

impl Sum {
    fn add(&mut self, node: NodeId, rows: &Rows, part: f64, groups: usize, is_fresh: bool) {
        let to = if is_fresh { &mut self.fresh } else { &mut self.stale };
        to.resize(groups, 0.0);
        for &(group, load) in rows {
            if let Some(to) = to.get_mut(group.index()) {
                *to += load * part;
            }
        }
        if is_fresh && self.nodes.last() != Some(&node) {
            self.nodes.push(node);
        }
    }
}
