//! Who moved between two tables: for the log, the view and the writer's change budget.
//!
//! Tables are compared slot by slot, so a move is what clients see, not what the planner meant.
//! Numbers of slots are powers of two and a slot covers a contiguous stretch of hashes, so that two
//! tables with different numbers still compare.

use super::snapshot::Snapshot;
use super::steer::{Distribution, ServiceTable};
use crate::base::units::Ppm;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::Move;
use std::collections::BTreeMap;

/// Moves between `old` and `new`, largest first.
///
/// `demand` weighs a group of `new` in a service, in any unit that its groups share.
/// Services, groups and nodes are matched by name. `from` is an id of the old policy, `to` and the
/// service are ids of the new one; a service that is new has no moves.
pub fn moves(old: &Snapshot, new: &Snapshot, demand: impl Fn(ServiceId, GroupId) -> u64) -> Vec<Move> {
    let old_groups = match_groups(old, new);
    let mut found = Vec::new();
    for id in new.policy.service_ids() {
        let name = &new.policy.service(id).name;
        let Some(was) = old.policy.services.iter().position(|service| service.name == *name) else {
            continue;
        };
        let was = &old.services()[was];
        let is = &new.services()[id.index()];
        if !std::sync::Arc::ptr_eq(was, is) {
            service_moves(
                &Pair { old, new, was, is },
                id,
                &old_groups,
                |group| demand(id, group),
                &mut found,
            );
        }
    }
    found.sort_by_key(|it| (std::cmp::Reverse(it.share), it.service, it.from, it.to));
    found
}

/// The old group of every new one.
fn match_groups(old: &Snapshot, new: &Snapshot) -> Vec<Option<GroupId>> {
    let groups = new.geo.groups();
    if old.geo.revision() == new.geo.revision() && old.geo.groups().len() == groups.len() {
        return (0..groups.len()).map(|at| Some(GroupId::from_index(at))).collect();
    }
    let numbered = old.geo.groups().iter().enumerate();
    let by_key: BTreeMap<_, _> =
        numbered.map(|(at, group)| (group.key.as_str(), GroupId::from_index(at))).collect();
    groups.iter().map(|group| by_key.get(group.key.as_str()).copied()).collect()
}

struct Pair<'a> {
    old: &'a Snapshot,
    new: &'a Snapshot,
    was: &'a ServiceTable,
    is: &'a ServiceTable,
}

impl Pair<'_> {
    fn distributions(&self, was: u16, is: u16) -> Option<(&Distribution, &Distribution)> {
        self.was.distributions.get(usize::from(was)).zip(self.is.distributions.get(usize::from(is)))
    }
}

fn service_moves(
    pair: &Pair<'_>,
    service: ServiceId,
    old_groups: &[Option<GroupId>],
    demand: impl Fn(GroupId) -> u64,
    found: &mut Vec<Move>,
) {
    let mut weights: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    let mut total = 0_u64;
    for (at, (is, old_group)) in pair.is.by_group.iter().zip(old_groups).enumerate() {
        let weight = demand(GroupId::from_index(at));
        total = total.saturating_add(weight);
        let is = is.distribution;
        if let Some(was) = old_group.and_then(|group| pair.was.by_group.get(group.index()))
            && !is_shared(pair, was.distribution, is)
        {
            let sum = weights.entry((was.distribution, is)).or_default();
            *sum = sum.saturating_add(weight);
        }
    }
    let mut moved: BTreeMap<(Option<NodeId>, Option<NodeId>), u128> = BTreeMap::new();
    for ((was, is), weight) in weights {
        let pairs = slot_pairs(pair, was, is);
        let count = pairs.len() as u128;
        for ends in pairs.into_iter().filter(|(from, to)| is_move(pair, *from, *to)) {
            *moved.entry(ends).or_default() += (u128::from(weight) << 32) / count;
        }
    }
    let whole = (u128::from(total) << 32).max(1);
    for ((from, to), amount) in moved {
        let share = Ppm(u32::try_from(amount * 1_000_000 / whole).unwrap_or(u32::MAX));
        if share > Ppm::ZERO {
            found.push(Move { service, from, to, share });
        }
    }
}

/// Most groups of most tables: their slots were taken over.
fn is_shared(pair: &Pair<'_>, was: u16, is: u16) -> bool {
    pair.distributions(was, is).is_some_and(|(was, is)| was.slots.is_shared_with(&is.slots))
}

/// First node of every slot, before and after, at the finer of both resolutions.
fn slot_pairs(pair: &Pair<'_>, was: u16, is: u16) -> Vec<(Option<NodeId>, Option<NodeId>)> {
    let Some((was, is)) = pair.distributions(was, is) else { return Vec::new() };
    let count = was.slots.len().max(is.slots.len()).max(1);
    let ends = |at| (first_node(pair.was, was, at, count), first_node(pair.is, is, at, count));
    (0..count).map(ends).collect()
}

fn first_node(table: &ServiceTable, distribution: &Distribution, at: usize, count: usize) -> Option<NodeId> {
    let set = table.set_at(distribution, at * distribution.slots.len() / count)?;
    set.picks.iter().find_map(|picks| picks.first().copied())
}

fn is_move(pair: &Pair<'_>, from: Option<NodeId>, to: Option<NodeId>) -> bool {
    let from = from.map(|node| &pair.old.policy.fleet.node(node).name);
    let to = to.map(|node| &pair.new.policy.fleet.node(node).name);
    from != to
}
