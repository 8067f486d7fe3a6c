//! What an override would do, told before it is done: where clients go, how full the rest becomes, and which
//! rules speak against it.
//!
//! Names, not ids: it is shown by `rhumb drain` and `POST /overrides`. It is worked out by the planner itself.

use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};

/// The rule that the rest has to carry the demand. No rule of policy has this name.
pub const CAPACITY: &str = "capacity";
/// The rule that no client is left without a node that serves.
pub const LAST_NODE: &str = "last-node";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Nodes it is about.
    pub nodes: Vec<String>,
    /// Services whose clients move at once.
    pub moves: Vec<ServiceMoves>,
    /// Nodes that remain, the fullest afterwards first, bounded; only such as have a capacity.
    pub fullest: Vec<Strain>,
    /// Services with demand that nodes cannot be given, before or after.
    pub unserved: Vec<Unserved>,
    /// Services with client groups that no node may serve, before or after.
    pub stranded: Vec<Stranded>,
    /// Rules that it breaks.
    pub broken: Vec<BrokenRule>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// Where the clients of a service go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceMoves {
    pub service: String,
    /// Of the service's demand.
    pub share: Ppm,
    /// By region, the most first.
    pub ways: Vec<Way>,
}

/// From region to region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// `None`: they had no node.
    pub from: Option<String>,
    /// `None`: no node is left to them.
    pub to: Option<String>,
    /// Of the service's demand.
    pub share: Ppm,
}

/// How full a node is planned to be: of its capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strain {
    pub node: String,
    pub site: String,
    pub before: Ppm,
    pub after: Ppm,
    /// Never planned past while another has room.
    pub cap: Ppm,
}

/// Demand above the caps of all nodes it may be given to, in capacity units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    pub service: String,
    pub before: u64,
    pub after: u64,
}

/// Client groups without a node that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranded {
    pub service: String,
    pub before: u32,
    pub after: u32,
}

/// A rule that speaks against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenRule {
    pub rule: String,
    pub why: String,
    pub way_out: String,
    /// Whoever asks named it: it is broken knowingly.
    pub is_overridden: bool,
}

impl Preflight {
    /// Rules that forbid it.
    pub fn forbids(&self) -> impl Iterator<Item = &BrokenRule> {
        self.broken.iter().filter(|broken| !broken.is_overridden)
    }

    /// Rules that are broken knowingly, by name.
    pub fn overridden(&self) -> Vec<String> {
        self.broken.iter().filter(|broken| broken.is_overridden).map(|broken| broken.rule.clone()).collect()
    }
}
