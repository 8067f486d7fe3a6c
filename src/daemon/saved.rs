//! Placements and verdicts to and from the last good table, by name.
//!
//! What the new policy or geo data no longer knows is left out: a placement that loses a node keeps
//! the others, and a group or service without a saved placement is planned afresh.

use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::ids::{NodeId, PoolId};
use crate::model::placement::{Assignment, Placement, PlacementMode, ServiceAssignment, Share};
use crate::model::policy::Policy;
use crate::model::provenance::Provenance;
use crate::model::verdict::NodeHealth;
use crate::store::saved_table::{FORMAT, SavedPlacement, SavedService, SavedTable};
use std::collections::{BTreeMap, HashMap};

/// The live table, by name.
pub fn save(
    provenance: &Provenance,
    policy: &Policy,
    groups: &[ClientGroup],
    assignment: &Assignment,
    health: BTreeMap<String, NodeHealth>,
) -> SavedTable {
    let services = policy.services.iter().zip(&assignment.services);
    SavedTable {
        serials: BTreeMap::new(),
        format: FORMAT,
        provenance: provenance.clone(),
        health,
        group_keys: groups.iter().map(|group| group.key.clone()).collect(),
        services: services
            .map(|(service, assigned)| SavedService {
                name: service.name.clone(),
                placements: assigned
                    .placements
                    .iter()
                    .map(|placement| save_placement(policy, &service.pools, placement))
                    .collect(),
                by_group: assigned.by_group.to_vec(),
            })
            .collect(),
    }
}

fn save_placement(
    policy: &Policy,
    pools: &[crate::model::service::Pool],
    placement: &Placement,
) -> SavedPlacement {
    let name = |node: NodeId| policy.fleet.node(node).name.clone();
    SavedPlacement {
        shares: placement.shares.iter().map(|share| (name(share.node), share.share.0)).collect(),
        backups: placement.backups.iter().map(|&node| name(node)).collect(),
        pool: placement.pool.map(|pool| pools[pool.index()].name.clone()),
        mode: placement.mode.into(),
    }
}

/// The saved placements in the ids of `policy` and `groups`. Groups and services that the saved
/// table does not know get an empty placement, which the planner replaces like an orphan's.
pub fn restore(saved: &SavedTable, policy: &Policy, groups: &[ClientGroup]) -> Assignment {
    let nodes: HashMap<&str, NodeId> =
        policy.fleet.node_ids().map(|id| (policy.fleet.node(id).name.as_str(), id)).collect();
    let keys: HashMap<&str, usize> =
        saved.group_keys.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
    let services = policy.services.iter().map(|service| {
        let known = saved.services.iter().find(|saved| saved.name == service.name);
        let mut placements = vec![unplaced()];
        placements.extend(known.iter().flat_map(|saved| &saved.placements).map(|placement| {
            let pool = placement
                .pool
                .as_ref()
                .and_then(|name| service.pools.iter().position(|pool| pool.name == *name));
            restore_placement(placement, pool, &nodes)
        }));
        let by_group = groups.iter().map(|group| {
            let at = known.zip(keys.get(group.key.as_str())).map(|(saved, &at)| saved.by_group[at] + 1);
            at.unwrap_or(0)
        });
        ServiceAssignment { by_group: by_group.collect(), placements: placements.into(), shed: Vec::new() }
    });
    Assignment { services: services.collect() }
}

fn unplaced() -> Placement {
    Placement { shares: Vec::new(), backups: Vec::new(), pool: None, mode: PlacementMode::Normal }
}

fn restore_placement(
    saved: &SavedPlacement,
    pool: Option<usize>,
    nodes: &HashMap<&str, NodeId>,
) -> Placement {
    let known = |name: &String| nodes.get(name.as_str()).copied();
    let shares: Vec<(NodeId, u32)> =
        saved.shares.iter().filter_map(|(name, share)| Some((known(name)?, *share))).collect();
    Placement {
        shares: rescaled(&shares),
        backups: saved.backups.iter().filter_map(known).collect(),
        pool: pool.map(PoolId::from_index),
        mode: saved.mode.into(),
    }
}

/// Shares scaled to make a whole again after some were lost.
fn rescaled(shares: &[(NodeId, u32)]) -> Vec<Share> {
    let total: u64 = shares.iter().map(|(_, share)| u64::from(*share)).sum();
    let mut scaled: Vec<Share> = shares
        .iter()
        .map(|&(node, share)| Share { node, share: Ppm::ratio(u64::from(share), total) })
        .collect();
    let sum: u32 = scaled.iter().map(|share| share.share.0).sum();
    if let Some(first) = scaled.first_mut() {
        first.share.0 += Ppm::WHOLE.0 - sum.min(Ppm::WHOLE.0);
    }
    scaled
}
