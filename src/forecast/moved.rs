//! Which clients are answered with another node than before, slot by slot.
//!
//! The share of a plan says how many of a group go to a node; which of them go is for slots to say (`routing::steer`).
//! So tables are compared: by pair of distributions, the first node of each slot. A hash of another length shuffles a
//! group's clients anew, which no comparison of plans would show: a group that an edit makes twice as large does that.

use super::Side;
use super::overlap::{Overlap, WHOLE};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::demand::Split;
use crate::model::fleet::Fleet;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::preflight::{ServiceMoves, Way};
use crate::routing::Snapshot;
use crate::routing::steer::{Distribution, ServiceTable};
use crate::schedule;
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// See the module. Clients of services that are gone or new move nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Of all clients, services alike.
    pub clients: Ppm,
    /// Of all demand.
    pub load: Ppm,
    /// Services some of whose clients move, and where.
    pub services: Vec<ServiceMoves>,
}

const WHOLE_PPB: u64 = 1_000_000_000;

/// From and to which region.
type Ends = (Option<String>, Option<String>);
/// From and to which node, in the ids of either policy.
type Flow = (Option<NodeId>, Option<NodeId>);

/// How much of all clients two tables answer otherwise, going by address space.
pub fn moved(before: &Snapshot, after: &Snapshot) -> Ppm {
    let weights = schedule::weights(before.geo.groups());
    let total = weights.iter().sum::<u64>().max(1);
    let fraction = |&weight: &u64| ((u128::from(weight) << Split::FRACTION_BITS) / u128::from(total)) as u64;
    let split = Split { assumed: weights.iter().map(fraction).collect(), counted: Vec::new() };
    let overlap = Overlap::of(&before.geo, &after.geo);
    let shares = common(before, after).map(|pair| of_service(before, after, pair, &split, &overlap));
    let sum: u64 = shares.map(|flows| u64::from(share_of(&flows).0)).sum();
    Ppm(u32::try_from(sum / before.policy.services.len().max(1) as u64).unwrap_or(u32::MAX))
}

pub(super) fn between(before: &Side<'_>, after: &Side<'_>, overlap: &Overlap) -> Moved {
    let (was, is) = (before.table, after.table);
    let demand: u64 = before.account.services.iter().sum();
    let (mut clients, mut load, mut services) = (0_u64, 0_u128, Vec::new());
    for pair in common(was, is) {
        let flows = of_service(was, is, pair, &before.account.split, overlap);
        let own = before.account.services.get(pair.0.index()).copied().unwrap_or(0);
        let share = share_of(&flows);
        clients += u64::from(share.0);
        load += u128::from(share.0) * u128::from(own);
        let moves = flows.into_iter().map(|((from, to), share)| {
            let region = |fleet: &Fleet, node: NodeId| fleet.region_of(node).name.clone();
            let from = from.map(|node| region(&was.policy.fleet, node));
            ((from, to.map(|node| region(&is.policy.fleet, node))), share)
        });
        services.extend(ways(&was.policy.service(pair.0).name, moves));
    }
    let clients = clients / was.policy.services.len().max(1) as u64;
    Moved {
        clients: Ppm(u32::try_from(clients).unwrap_or(u32::MAX)),
        load: match demand {
            0 => Ppm(u32::try_from(clients).unwrap_or(u32::MAX)),
            demand => Ppm(u32::try_from(load / u128::from(demand)).unwrap_or(u32::MAX)),
        },
        services,
    }
}

/// Moves of a service by region, the most first; `None`: there are none.
pub fn ways(service: &str, moves: impl Iterator<Item = (Ends, Ppm)>) -> Option<ServiceMoves> {
    let mut by_ends: BTreeMap<Ends, u32> = BTreeMap::new();
    for (ends, share) in moves {
        let sum = by_ends.entry(ends).or_default();
        *sum = sum.saturating_add(share.0);
    }
    let share = Ppm(by_ends.values().fold(0, |sum, &own| sum.saturating_add(own)));
    let way = |((from, to), share)| Way { from, to, share: Ppm(share) };
    let mut ways: Vec<Way> = by_ends.into_iter().map(way).filter(|way| way.share > Ppm::ZERO).collect();
    ways.sort_by_key(|way| std::cmp::Reverse(way.share));
    (share > Ppm::ZERO).then(|| ServiceMoves { service: service.to_owned(), share, ways })
}

/// Services of both, by name.
fn common<'a>(was: &'a Snapshot, is: &'a Snapshot) -> impl Iterator<Item = (ServiceId, ServiceId)> + 'a {
    was.policy.service_ids().filter_map(|id| {
        let name = &was.policy.service(id).name;
        let other = is.policy.services.iter().position(|service| service.name == *name)?;
        Some((id, ServiceId::from_index(other)))
    })
}

fn share_of(flows: &[(Flow, Ppm)]) -> Ppm {
    Ppm(flows.iter().fold(0, |sum, (_, share)| sum.saturating_add(share.0)))
}

/// Which parts of a service's clients go from one node to another.
fn of_service(
    was: &Snapshot,
    is: &Snapshot,
    (old, new): (ServiceId, ServiceId),
    split: &Split,
    overlap: &Overlap,
) -> Vec<(Flow, Ppm)> {
    let tables = Tables { was: was.service_table(old), is: is.service_table(new) };
    let same = |from: Option<NodeId>, to: Option<NodeId>| {
        let name =
            |fleet: &'_ Fleet, node: NodeId| fleet.nodes.get(node.index()).map(|node| node.name.clone());
        from.and_then(|node| name(&was.policy.fleet, node))
            == to.and_then(|node| name(&is.policy.fleet, node))
    };
    let mut weights: BTreeMap<(u16, u16, bool), u128> = BTreeMap::new();
    for (from, to, part) in overlap.pairs() {
        let plans = tables.was.by_group.get(from.index()).zip(tables.is.by_group.get(to.index()));
        let Some((was, is)) = plans else { continue };
        let is_shuffled = was.hash_lens[Family::V4.index()] != is.hash_lens[Family::V4.index()];
        let fraction = split.fraction(old.index(), from.index());
        let weight = u128::from(fraction) * u128::from(part);
        *weights.entry((was.distribution, is.distribution, is_shuffled)).or_default() += weight;
    }
    let mut flows: HashMap<Flow, u128, FixedState> = HashMap::default();
    for ((from, to, is_shuffled), weight) in weights {
        for (flow, ppb) in tables.flows(from, to, is_shuffled) {
            *flows.entry(flow).or_default() += (weight >> Split::FRACTION_BITS) * u128::from(ppb);
        }
    }
    let whole = u128::from(WHOLE) * 1_000;
    let share = |sum: u128| Ppm(u32::try_from(sum / whole).unwrap_or(u32::MAX));
    let moving = flows.into_iter().filter(|((from, to), _)| !same(*from, *to));
    let mut found: Vec<(Flow, Ppm)> = moving.map(|(flow, sum)| (flow, share(sum))).collect();
    found.sort_unstable_by_key(|(flow, share)| (std::cmp::Reverse(*share), *flow));
    found
}

/// One service's tables.
struct Tables<'a> {
    was: &'a ServiceTable,
    is: &'a ServiceTable,
}

impl Tables<'_> {
    /// From each node to each, in parts per billion of the clients of two distributions.
    fn flows(&self, from: u16, to: u16, is_shuffled: bool) -> Vec<(Flow, u64)> {
        let was = self.was.distributions.get(usize::from(from));
        let Some((was, is)) = was.zip(self.is.distributions.get(usize::from(to))) else { return Vec::new() };
        if is_shuffled && was.is_mixed() && is.is_mixed() {
            let parts = (parts(self.was, was), parts(self.is, is));
            let flow = |(from, own): (&Option<NodeId>, &u64), (to, other): (&Option<NodeId>, &u64)| {
                ((*from, *to), (u128::from(*own) * u128::from(*other) / u128::from(WHOLE_PPB)) as u64)
            };
            return parts.0.iter().flat_map(|it| parts.1.iter().map(move |other| flow(it, other))).collect();
        }
        let count = was.slots.len().max(is.slots.len()).max(1);
        let mut flows: BTreeMap<Flow, u64> = BTreeMap::new();
        for at in 0..count {
            let flow = (first_node(self.was, was, at, count), first_node(self.is, is, at, count));
            *flows.entry(flow).or_default() += 1;
        }
        flows.into_iter().map(|(flow, slots)| (flow, slots * WHOLE_PPB / count as u64)).collect()
    }
}

/// By node: its part of the slots, in parts per billion.
fn parts(table: &ServiceTable, distribution: &Distribution) -> BTreeMap<Option<NodeId>, u64> {
    let count = distribution.slots.len().max(1);
    let mut slots: BTreeMap<Option<NodeId>, u64> = BTreeMap::new();
    for at in 0..count {
        *slots.entry(first_node(table, distribution, at, count)).or_default() += 1;
    }
    slots.into_iter().map(|(node, slots)| (node, slots * WHOLE_PPB / count as u64)).collect()
}

/// Numbers of slots are powers of two, and a slot is a stretch of hashes.
fn first_node(table: &ServiceTable, distribution: &Distribution, at: usize, count: usize) -> Option<NodeId> {
    let set = table.set_at(distribution, at * distribution.slots.len() / count)?;
    set.picks.iter().find_map(|picks| picks.first().copied())
}
