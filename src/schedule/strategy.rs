//! What the planner is told of the world: everything, or what a scheduler without load knows.
//!
//! | strategy | capacity of nodes, `shed` | what nodes report, what probes measure | so each client gets |
//! |---|---|---|---|
//! | `rhumb` | as they are | as they are | the plan |
//! | `nearest` | none | none | the cheapest healthy node of its chain, whatever is on it; equally near nodes alike |
//!
//! The same planner decides both, so a comparison of the two differs by what was known and by nothing else.
//! The lab alone asks for `nearest`. What looks at the result (status, metrics, the lab's own view) goes by the
//! world as it is.

use crate::base::units::Ppm;
use crate::model::policy::Policy;
use crate::model::verdict::NodeHealth;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// See the table above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    #[default]
    Rhumb,
    Nearest,
}

impl Strategy {
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Rhumb => "rhumb",
            Strategy::Nearest => "nearest",
        }
    }

    /// The policy as the planner is given it.
    pub fn policy(self, policy: &Arc<Policy>) -> Arc<Policy> {
        if self == Strategy::Rhumb {
            return Arc::clone(policy);
        }
        let mut blind = Policy::clone(policy);
        for node in &mut blind.fleet.nodes {
            node.capacity = None;
        }
        blind.services.iter_mut().for_each(|service| service.shed = None);
        Arc::new(blind)
    }

    /// What is known of the nodes, as the planner is given it: of verdicts nothing is left out.
    pub fn health(self, health: &Arc<Vec<NodeHealth>>) -> Arc<Vec<NodeHealth>> {
        if self == Strategy::Rhumb {
            return Arc::clone(health);
        }
        let mut blind = Vec::clone(health);
        for node in &mut blind {
            node.load = None;
            for family in node.families.iter_mut().flatten() {
                (family.rtt, family.jitter, family.loss) = (None, None, Ppm::ZERO);
            }
        }
        Arc::new(blind)
    }
}
