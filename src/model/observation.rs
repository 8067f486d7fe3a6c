//! Raw facts from the network, before anybody judges them.

use super::ids::{NodeId, VantageId};
use crate::base::clock::MonoTime;
use crate::base::prefix::{Family, Prefix};
use crate::base::units::{Micros, Ppm};
use std::sync::Arc;

/// The end of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Where the probe started.
    pub vantage: VantageId,
    pub node: NodeId,
    pub family: Family,
    /// Position in [`Node::probes`](super::fleet::Node::probes).
    pub probe: u8,
    /// When it ended, by this process's clock.
    pub at: MonoTime,
    pub outcome: Outcome,
    pub measured: Measured,
}

/// What a probe learned beside its outcome, as far as its kind can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub phases: Phases,
    /// Between the packets of one probe.
    pub jitter: Option<Micros>,
    /// Packets of this probe and how many of them were lost; `None`: the probe itself is the packet.
    pub packets: Option<Packets>,
    /// Whole days until the certificate shown expires; negative: days since.
    pub certificate_days: Option<i32>,
}

/// How long the parts of a probe took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub connect: Option<Micros>,
    pub tls: Option<Micros>,
    pub first_byte: Option<Micros>,
}

/// A probe of several packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    pub sent: u8,
    pub lost: u8,
}

/// A probe that the vantage's own machine cannot make, or can again: no evidence about the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub vantage: VantageId,
    pub node: NodeId,
    pub family: Family,
    /// As in [`Observation::probe`].
    pub probe: u8,
    /// `None`: it is over.
    pub what: Option<String>,
}

/// What an anchor of a vantage said: a place outside the fleet, asked to tell a blind vantage from a
/// dead fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorReport {
    pub vantage: VantageId,
    /// Position in [`Vantage::anchors`](super::judgement::Vantage::anchors).
    pub anchor: u8,
    pub at: MonoTime,
    pub is_success: bool,
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

impl Outcome {
    /// `None`: there was no answer.
    pub const fn rtt(&self) -> Option<Micros> {
        match self {
            Outcome::Success { rtt } | Outcome::Slow { rtt } => Some(*rtt),
            Outcome::Failure { .. } => None,
        }
    }
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
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Refused,
        Self::Unreachable,
        Self::Reset,
        Self::Tls,
        Self::Status,
        Self::Body,
        Self::Other,
    ];

    /// Whether the node itself, or its host, said so: the way to it is whole, so the failure is no
    /// blindness of who asks.
    pub const fn is_answer(self) -> bool {
        matches!(
            self,
            FailureReason::Refused
                | FailureReason::Reset
                | FailureReason::Tls
                | FailureReason::Status
                | FailureReason::Body
        )
    }

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
    /// `None`: the feed tells nothing of clients.
    pub clients: Option<Arc<ClientLoad>>,
}

/// How a node's load divides between client networks, as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientLoad {
    pub rows: Vec<ClientRow>,
    /// Services that are named, with rows or without. None: what is said is of all that the node serves.
    pub services: Vec<String>,
    /// What could not be read of it: a sentence without its end.
    pub left_out: Option<String>,
}

/// A client network's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRow {
    pub prefix: Prefix,
    /// Position in [`ClientLoad::services`]; `None`: of all that the node serves.
    pub service: Option<u32>,
    /// In thousandths of the unit of the node's capacity.
    pub milli: u64,
}

impl ClientLoad {
    /// Networks that are read of one report, at most: the largest.
    pub const MOST_ROWS: usize = 10_000;

    /// Whether it says something of services that it does not name.
    pub fn is_of_all(&self) -> bool {
        self.services.is_empty() || self.rows.iter().any(|row| row.service.is_none())
    }
}
