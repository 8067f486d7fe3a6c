//! Carries an assignment over a reload: what survives an edit is names, not positions.

use super::book::NONE;
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::ids::NodeId;
use crate::model::placement::{Assignment, Placement, PlacementMode, ServiceAssignment, Share};
use crate::model::policy::Policy;
use crate::model::service::Service;
use std::collections::BTreeMap;

/// The old assignment in the new positions: services, pools and nodes by name, groups by key.
///
/// Shares of nodes that are gone fall to the other nodes of their placement. A group or service
/// that is new, or whose nodes are all gone, has an empty `AllDown` placement, which a plan replaces
/// at once. Start the plan after a reload with a new [`PlannerMemory`](super::PlannerMemory).
pub fn remap(
    old_policy: &Policy,
    old_groups: &[ClientGroup],
    assignment: &Assignment,
    new_policy: &Policy,
    new_groups: &[ClientGroup],
) -> Assignment {
    let nodes = renamed(old_policy, new_policy);
    let groups: BTreeMap<&str, usize> =
        old_groups.iter().enumerate().map(|(at, group)| (group.key.as_str(), at)).collect();
    let old_group: Vec<Option<usize>> =
        new_groups.iter().map(|group| groups.get(group.key.as_str()).copied()).collect();
    let services = new_policy.services.iter().map(|service| {
        let old = old_policy.services.iter().position(|old| old.name == service.name);
        let old = old.and_then(|at| Some((old_policy.services.get(at)?, assignment.services.get(at)?)));
        match old {
            Some((old, placed)) => carry(old, placed, service, &nodes, &old_group),
            None => carry(service, &ServiceAssignment::default(), service, &nodes, &old_group),
        }
    });
    Assignment { services: services.collect() }
}

/// By old node: the new one of the same name.
fn renamed(old: &Policy, new: &Policy) -> Vec<Option<NodeId>> {
    let names: BTreeMap<&str, usize> =
        new.fleet.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let find = |name: &str| names.get(name).copied().map(NodeId::from_index);
    old.fleet.nodes.iter().map(|node| find(&node.name)).collect()
}

fn carry(
    old: &Service,
    placed: &ServiceAssignment,
    new: &Service,
    nodes: &[Option<NodeId>],
    old_group: &[Option<usize>],
) -> ServiceAssignment {
    let mut placements: Vec<Placement> =
        placed.placements.iter().map(|placement| translate(placement, old, new, nodes)).collect();
    let nothing = placements.len() as u32;
    placements.push(translate(&gone(), old, new, nodes));
    let number = |group: &Option<usize>| {
        let at = group.and_then(|group| placed.by_group.get(group)).copied().unwrap_or(NONE);
        at.min(nothing)
    };
    let by_group = old_group.iter().map(number).collect();
    ServiceAssignment { by_group, placements: placements.into(), shed: Vec::new() }
}

fn translate(placement: &Placement, old: &Service, new: &Service, nodes: &[Option<NodeId>]) -> Placement {
    let node = |node: NodeId| nodes.get(node.index()).copied().flatten();
    let kept = placement.shares.iter().filter_map(|s| Some(Share { node: node(s.node)?, share: s.share }));
    let shares = whole(kept.collect());
    if shares.is_empty() {
        return gone();
    }
    let name = placement.pool.and_then(|pool| old.pools.get(pool.index())).map(|pool| &pool.name);
    let pool = new.pools.iter().position(|pool| Some(&pool.name) == name);
    Placement {
        shares,
        backups: placement.backups.iter().filter_map(|&backup| node(backup)).collect(),
        pool: pool.map(crate::model::ids::PoolId::from_index),
        mode: placement.mode,
    }
}

fn gone() -> Placement {
    Placement { shares: Vec::new(), backups: Vec::new(), pool: None, mode: PlacementMode::AllDown }
}

/// Scales to the whole, in the order placements keep.
fn whole(mut shares: Vec<Share>) -> Vec<Share> {
    let sum: u64 = shares.iter().map(|share| u64::from(share.share.0)).sum();
    let mut left = Ppm::WHOLE.0;
    for share in &mut shares {
        share.share = Ppm((u64::from(share.share.0) * 1_000_000 / sum.max(1)) as u32);
        left -= share.share.0.min(left);
    }
    if let Some(first) = shares.first_mut() {
        first.share.0 += left;
    }
    shares.sort_unstable_by_key(|share| (std::cmp::Reverse(share.share), share.node));
    shares
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan_first, pool, service, world};
    use super::*;

    #[test]
    fn nodes_and_groups_are_found_by_name_and_the_rest_is_dropped() {
        let old = world(3, vec![service("s", vec![pool(&[0, 1, 2])])]);
        let assignment = plan_first(&old).assignment;
        assert_eq!(assignment.services[0].placements[0].shares.len(), 3);
        let mut new = old.clone();
        new.policy.fleet.nodes.remove(0);
        new.policy.services[0].pools = vec![pool(&[0, 1])];
        new.groups.reverse();
        new.groups[0].key = "never seen".to_owned();
        let carried = remap(&old.policy, &old.groups, &assignment, &new.policy, &new.groups);
        let s = &carried.services[0];
        assert!(s.placements[s.by_group[0] as usize].shares.is_empty());
        let kept = &s.placements[s.by_group[1] as usize];
        let shares: Vec<_> = kept.shares.iter().map(|share| (share.node.0, share.share.0)).collect();
        assert_eq!(shares, [(0, 500_000), (1, 500_000)]);
    }
}
