//! What may be lost at a time: regions, sites, carrier lines and nodes, and pairs of them.

use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use crate::model::policy::Policy;
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// As a target of overrides is written: `site/tyo`.
    pub name: String,
    /// Ascending.
    pub nodes: Vec<NodeId>,
}

/// Every single loss that takes a node that serves, each set of such nodes once: under the name of the largest
/// thing that it is.
pub fn singles(policy: &Policy, health: &[NodeHealth]) -> Vec<Loss> {
    let fleet = &policy.fleet;
    let mut seen = BTreeSet::new();
    let mut all: Vec<Loss> = [by_region(fleet), by_site(fleet), by_line(policy), by_node(fleet)].concat();
    all.retain(|loss| {
        let serving: Vec<NodeId> = loss.nodes.iter().copied().filter(|node| serves(health, *node)).collect();
        !serving.is_empty() && seen.insert(serving)
    });
    all
}

/// Both at a time; `None` if one holds the other.
pub fn pair(one: &Loss, other: &Loss) -> Option<Loss> {
    let (a, b): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
        (one.nodes.iter().copied().collect(), other.nodes.iter().copied().collect());
    if a.is_subset(&b) || b.is_subset(&a) {
        return None;
    }
    Some(Loss { name: format!("{} + {}", one.name, other.name), nodes: a.union(&b).copied().collect() })
}

/// The fleet as it is judged once these nodes are gone: whatever operators say of them.
pub fn without(health: &[NodeHealth], nodes: &[NodeId]) -> Vec<NodeHealth> {
    let mut health = health.to_vec();
    for node in nodes {
        if node.index() >= health.len() {
            // Of whom nothing is known.
            let unknown =
                || NodeHealth { families: [Some(FamilyHealth::default()), None], ..NodeHealth::default() };
            health.resize_with(node.index() + 1, unknown);
        }
        let gone = &mut health[node.index()];
        gone.forced = None;
        for family in gone.families.iter_mut().flatten() {
            family.verdict = Verdict::Down;
        }
    }
    health
}

/// Whether clients may be given the node; one of which nothing is known may be.
pub fn serves(health: &[NodeHealth], node: NodeId) -> bool {
    health.get(node.index()).is_none_or(NodeHealth::may_serve)
}

fn by_region(fleet: &Fleet) -> Vec<Loss> {
    grouped(fleet, "region", |node| Some(fleet.region_of(node).name.clone()))
}

fn by_site(fleet: &Fleet) -> Vec<Loss> {
    grouped(fleet, "site", |node| Some(fleet.site_of(node).name.clone()))
}

fn by_line(policy: &Policy) -> Vec<Loss> {
    let name = |node: NodeId| {
        let line = policy.fleet.node(node).line?;
        policy.clients.lines.get(line.index()).map(|line| line.name.clone())
    };
    grouped(&policy.fleet, "line", name)
}

fn by_node(fleet: &Fleet) -> Vec<Loss> {
    grouped(fleet, "node", |node| Some(fleet.node(node).name.clone()))
}

/// By name, ascending; nodes without one are in none.
fn grouped(fleet: &Fleet, kind: &str, name: impl Fn(NodeId) -> Option<String>) -> Vec<Loss> {
    let mut by_name: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for node in fleet.node_ids() {
        if let Some(name) = name(node) {
            by_name.entry(name).or_default().push(node);
        }
    }
    by_name.into_iter().map(|(name, nodes)| Loss { name: format!("{kind}/{name}"), nodes }).collect()
}
