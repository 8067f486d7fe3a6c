//! Nodes that drills have: what is judged of them is the drill's, and nobody's incident.
//!
//! By name, so that an edit of the fleet leaves them what they are; by drill, since one may still be letting go of
//! its nodes when the next begins.

use super::Writer;
use crate::model::ids::NodeId;
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct Drilled(BTreeMap<u64, Vec<String>>);

impl Drilled {
    /// Ascending, none twice.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.values().flatten().cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Writer {
    pub(super) fn take_drilled(&mut self, run: u64, nodes: Vec<String>) {
        match nodes.is_empty() {
            true => self.drilled.0.remove(&run),
            false => self.drilled.0.insert(run, nodes),
        };
        let (names, fleet) = (self.drilled.names(), &self.inputs.policy.fleet);
        let is_drilled = |node: &NodeId| names.binary_search(&fleet.node(*node).name).is_ok();
        let nodes: Vec<NodeId> = fleet.node_ids().filter(is_drilled).collect();
        self.health.drill(&nodes);
        self.show();
    }
}
