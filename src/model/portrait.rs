//! One node, told in full: why it is what it is. The shape of `rhumb node` and of `/node`.
//!
//! Names, not ids, so that it means something outside the process. What is told of all nodes at once is
//! [`status`](super::status)'s; this is asked of one.

use super::fleet::Capacity;
use super::ids::Generation;
use super::overrides::Forced;
use super::verdict::{FamilyHealth, Verdict};
use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Minutes of history.
pub const MINUTES: usize = 60;

/// Everything known of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodePortrait {
    pub name: String,
    pub now: WallTime,
    /// The live table.
    pub generation: Generation,
    pub site: String,
    pub region: String,
    pub line: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<String>,
    /// The best of its families.
    pub verdict: Verdict,
    /// What an operator says, whatever the verdict is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// Of all planned demand.
    pub share: Ppm,
    pub families: Vec<FamilyPortrait>,
    /// `None`: it has no load feed.
    pub load: Option<LoadPortrait>,
    /// Services with the node in a pool.
    pub services: Vec<ServiceUse>,
}

/// One address family of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyPortrait {
    pub family: Family,
    #[serde(flatten)]
    pub health: FamilyHealth,
    /// By vantage and probe; empty: nothing asks the family.
    pub checks: Vec<CheckPortrait>,
    pub damping: DampingPortrait,
    /// By this process's own probes, oldest first, the last one still under way; at most [`MINUTES`].
    pub history: Vec<Minute>,
}

/// One probe, as one vantage sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckPortrait {
    pub check: String,
    pub vantage: String,
    pub target: Option<String>,
    /// `None`: nothing seen yet.
    pub verdict: Option<Verdict>,
    pub rtt: Option<Micros>,
    pub baseline: Option<Micros>,
    pub jitter: Option<Micros>,
    /// Of the observations in the window of losses.
    pub lost: u32,
    pub of: u32,
    /// The newest failure of those that count against it.
    pub failure: Option<String>,
    /// Until the certificate expires.
    pub certificate_days: Option<i32>,
}

/// How flapping is held against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DampingPortrait {
    pub penalty: u32,
    pub flips: u32,
    /// Recovery is held back.
    pub holds: bool,
}

/// What its load feed says, smoothed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadPortrait {
    /// In the unit of the capacity.
    pub amount: Option<u64>,
    pub capacity: Option<CapacityPortrait>,
    /// By resource; some, as an error rate, fill nothing.
    pub ratios: BTreeMap<String, Ppm>,
    /// `None`: the feed is silent, so the load is unknown.
    pub utilisation: Option<Ppm>,
    /// The resource that utilisation is of.
    pub binding: Option<String>,
    /// Since the last report.
    pub age_ms: Option<u64>,
    /// Client networks that it reported; `None`: it tells of none.
    #[serde(default)]
    pub networks: Option<u32>,
    /// `closed`, `open` or `half-open`.
    pub circuit: String,
    /// As [`FamilyPortrait::history`], with the utilisation alone.
    pub history: Vec<Minute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityPortrait {
    pub unit: String,
    pub amount: u64,
    pub target: Ppm,
    pub cap: Ppm,
}

impl From<&Capacity> for CapacityPortrait {
    fn from(capacity: &Capacity) -> Self {
        let Capacity { unit, amount, target, cap } = capacity.clone();
        Self { unit, amount, target, cap }
    }
}

/// What a service's clients have of it, in the live table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUse {
    pub name: String,
    /// Of the service's demand that the node carries.
    pub share: Ppm,
    /// Client groups that it serves, and those it is a backup of.
    pub groups: u32,
    pub backs: u32,
}

/// A minute of a node's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Mean of the answers; `None`: there was none.
    pub rtt: Option<Micros>,
    /// Of the probes; `None`: there was none.
    pub loss: Option<Ppm>,
    /// The most.
    pub utilisation: Option<Ppm>,
}
