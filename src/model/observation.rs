//! Raw facts from the network, before anybody judges them.

use super::ids::NodeId;
use crate::base::clock::MonoTime;
use crate::base::prefix::Family;
use crate::base::units::{Micros, Ppm};

/// The end of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub node: NodeId,
    pub family: Family,
    /// Position in [`Node::probes`](super::fleet::Node::probes).
    pub probe: u8,
    /// When it ended.
    pub at: MonoTime,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered within the timeout.
    Success {
        rtt: Micros,
    },
    /// Answered after the timeout but within one second more: late, not failed.
    Slow {
        rtt: Micros,
    },
    Failure {
        reason: FailureReason,
        detail: String,
    },
}

/// Why a probe failed; a metric label and the start of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    Timeout,
    /// Connection refused: a failure at once.
    Refused,
    /// No route, network down.
    Unreachable,
    /// Reset or closed in the middle.
    Reset,
    Tls,
    /// An HTTP status outside the accepted set.
    Status,
    /// The body lacks the expected text.
    Body,
    /// Not the protocol expected, or a local error such as no free descriptor.
    Other,
}

impl FailureReason {
    pub const fn name(self) -> &'static str {
        match self {
            FailureReason::Timeout => "timeout",
            FailureReason::Refused => "refused",
            FailureReason::Unreachable => "unreachable",
            FailureReason::Reset => "reset",
            FailureReason::Tls => "tls",
            FailureReason::Status => "status",
            FailureReason::Body => "body",
            FailureReason::Other => "other",
        }
    }
}

/// What a node's load feed said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    pub node: NodeId,
    pub at: MonoTime,
    pub result: Result<LoadSample, String>,
}

/// One reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadSample {
    /// In the unit of the node's capacity.
    pub amount: Option<u64>,
    /// Other resources, by name; 1,000,000 is full.
    pub ratios: Vec<(String, Ppm)>,
}
