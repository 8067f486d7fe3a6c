//! Why a generation exists: kept in the snapshot, shown by `status`, `explain` and the lab.

use super::ids::{Generation, Revision};
use crate::base::clock::WallTime;
use serde::{Deserialize, Serialize};

/// What made the writer publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// First table of a process without a usable last good one.
    ColdStart,
    /// First table of a process, from the last good state.
    WarmStart,
    /// A policy, zone or geo edit.
    Reload { what: String },
    /// Clients of nodes that may not serve any more were moved at once.
    Evacuation { nodes: Vec<String> },
    /// Nodes came back.
    Recovery { nodes: Vec<String> },
    /// Operators withdrew nodes, whose clients were moved at once: each told in a sentence.
    Withdrawal { said: Vec<String> },
    /// Nodes may be given clients again, or for the first time: an override ended, or forces them up.
    Release { said: Vec<String> },
    /// Latency, loss or load moved clients.
    Rebalance,
    /// Areas of services changed their rung, or how many of their newcomers are shed.
    Degradation { steps: Vec<String> },
}

impl Cause {
    /// Steps of the ladder that one names, at most.
    pub const STEPS_TOLD: usize = 6;
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::ColdStart => f.write_str("cold start"),
            Cause::WarmStart => f.write_str("warm start from the last good table"),
            Cause::Reload { what } => write!(f, "reload of {what}"),
            Cause::Evacuation { nodes } => write!(f, "evacuation of {}", nodes.join(", ")),
            Cause::Recovery { nodes } => write!(f, "recovery of {}", nodes.join(", ")),
            Cause::Withdrawal { said } | Cause::Release { said } => f.write_str(&said.join("; ")),
            Cause::Rebalance => f.write_str("rebalance"),
            Cause::Degradation { steps } => write!(f, "degradation: {}", steps.join("; ")),
        }
    }
}

/// Where a table came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    pub generation: Generation,
    /// The generation it replaced; 0 for the first ever.
    pub parent: Generation,
    pub published_at: WallTime,
    pub cause: Cause,
    pub policy: Revision,
    /// Content hash over the geo files.
    pub geo: Revision,
}
