//! How each service's demand divides between client groups, as counted and reported: what the planner is given.

use super::ids::{GroupId, ServiceId};
use super::placement::Shared;
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// All of a service's demand, or all services: what shares sum to.
pub const WHOLE: u32 = 1 << 31;

/// Shares in the positions of a policy's services and a geo table's groups. Where there are none, the
/// planner goes by address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// By service: its groups' shares of it, summing to [`WHOLE`]. `None`, or no entry: not counted.
    pub groups: Vec<Option<Arc<[u32]>>>,
    /// By service: its share of the caches that ask at all, summing to [`WHOLE`]. Empty: not counted.
    pub services: Arc<[u32]>,
}

impl Shares {
    /// Of a service; `None`: go by address space.
    pub fn of(&self, service: usize) -> Option<&[u32]> {
        self.groups.get(service)?.as_deref()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Option::is_none) && self.services.is_empty()
    }
}

/// How the demand of each service divides between groups, whatever there is of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// By group: its part of a service that is not counted, in 2^-32.
    pub assumed: Shared<u64>,
    /// By service: its groups' parts in [`WHOLE`]; none, or no entry: not counted.
    pub counted: Vec<Option<Arc<[u32]>>>,
}

impl Split {
    pub const FRACTION_BITS: u32 = 32;

    /// A group's part in a service, in 2^-32; 0 where there is no group of that number.
    #[inline]
    pub fn fraction(&self, service: usize, group: usize) -> u64 {
        match self.counted.get(service).and_then(Option::as_ref) {
            Some(counted) => {
                let part = counted.get(group).copied().unwrap_or(0);
                u64::from(part) << (Self::FRACTION_BITS - WHOLE.ilog2())
            }
            None => self.assumed.get(group).copied().unwrap_or(0),
        }
    }

    /// A group's part of an amount of the service.
    #[inline]
    pub fn part(&self, amount: u64, service: usize, group: usize) -> u64 {
        ((u128::from(amount) * u128::from(self.fraction(service, group))) >> Self::FRACTION_BITS) as u64
    }
}

/// Queries of one service and group: since the counters were made, modulo 2^32, or since a former look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Over UDP without a valid cookie, or in the name of a client subnet.
    pub forgeable: u32,
    pub verified: u32,
}

impl Asked {
    /// Those since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            forgeable: self.forgeable.wrapping_sub(before.forgeable),
            verified: self.verified.wrapping_sub(before.verified),
        }
    }

    /// Both, modulo 2^32.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            forgeable: self.forgeable.wrapping_add(other.forgeable),
            verified: self.verified.wrapping_add(other.verified),
        }
    }

    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// One service and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub service: ServiceId,
    pub group: GroupId,
}

/// What is known of one group's part in one service, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandView {
    /// Of the service's demand, as it is planned with.
    pub share: Ppm,
    /// By address space alone.
    pub assumed: Ppm,
    /// How much of the estimate is counted and not assumed.
    pub confidence: Ppm,
    /// Of the last five minutes: over streams or with a valid cookie, and of the asker's own group.
    pub verified: u64,
    /// All others: they move a share slowly.
    pub forgeable: u64,
    /// The policy bounds it.
    pub is_bounded: bool,
    /// What it would be if nodes reported nothing.
    #[serde(default)]
    pub by_queries: Ppm,
    /// As in [`DemandCounts`].
    #[serde(default)]
    pub reported: Ppm,
    #[serde(default)]
    pub reporters: u32,
    #[serde(default)]
    pub silent: u32,
}

/// What is counted of a service, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandCounts {
    /// Since the start of the process.
    pub verified: u64,
    pub forgeable: u64,
    /// How much of its shares is counted and not assumed, weighted by share.
    pub confidence: Ppm,
    /// The least number of caches that ask as often as it is asked, with answers held for their whole TTL.
    pub caches: u64,
    /// Shares drawn anew since the start of the process.
    pub drawn: u64,
    /// Part of the plan that is on nodes which report by client network, and goes by what they report; 0: all
    /// goes by queries.
    #[serde(default)]
    pub reported: Ppm,
    /// Those nodes.
    #[serde(default)]
    pub reporters: u32,
    /// Those of them that fell silent with so much that shares stay as they were.
    #[serde(default)]
    pub silent: u32,
}

/// The counted demand on disk: by names, so that it outlives ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptDemand {
    pub at: WallTime,
    /// Keys, in the order of the lists below.
    pub groups: Vec<String>,
    pub services: Vec<KeptService>,
    /// Counts of whole services and what leans on them, by name.
    pub audience: Vec<(String, KeptCell)>,
    /// How services divide by what nodes report, of [`WHOLE`]; by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub divided: Vec<(String, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptService {
    pub name: String,
    pub cells: Vec<KeptCell>,
    /// Queries behind what is in force; `None`: nothing is.
    pub drawn_from: Option<u64>,
    /// What nodes reported of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<KeptReports>,
}

/// What nodes reported of a service's clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptReports {
    /// By name.
    pub reporters: Vec<String>,
    /// Of groups by position: what was reported in thousandths of the unit of capacity, and the share in force
    /// (of [`WHOLE`]).
    pub cells: Vec<(u32, u64, u32)>,
    /// Part of the plan that the reporters carried.
    pub covered: Ppm,
    /// For how long the shares had waited for silent reporters.
    pub held_ms: Option<u64>,
}

/// Verified and forgeable queries (in 1/16), the slow share and the one in force (of [`WHOLE`]).
pub type KeptCell = (u32, u32, u32, u32);
