//! Degrading with grace: the rungs of the ladder, and what policy says of shedding newcomers.
//!
//! ```text
//!  normal ─▶ spill ─▶ shed ─▶ (per region) circuit open
//!  one pool  the next  newcomers are     the region is given nobody,
//!  carries   one too   answered `shed`   then a few, then everybody
//! ```
//! Who climbs when is the planner's (`schedule::degrade`); what a shed client is answered is the table's
//! (`routing::guard`).

use super::ids::PoolId;
use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `shed` of a service: what newcomers are answered while its nodes are full, and when they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shed {
    pub to: ShedTo,
    /// Of the capacity that a rule's chain offers: above it, more newcomers are shed.
    pub enter: Ppm,
    /// Below it for `dwell`, fewer are. Lower than `enter`.
    pub exit: Ppm,
    pub dwell: Duration,
    /// A client network that asked within this time is no newcomer, nor for as long again at most.
    pub remember: Duration,
}

impl Shed {
    /// The cap: nothing is planned past it, so what is above has nowhere to go.
    pub const ENTER: Ppm = Ppm::from_percent(90);
    pub const DWELL: Duration = Duration::from_secs(30);
    pub const REMEMBER: Duration = Duration::from_secs(600);

    /// Where policy gives none: five sixths of `enter`, 75 % of 90 %.
    pub const fn exit_of(enter: Ppm) -> Ppm {
        Ppm((enter.0 as u64 * 5 / 6) as u32)
    }
}

/// What a newcomer is answered in place of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShedTo {
    /// Nodes of a pool that no chain has: a waiting room, or the same in a lower quality.
    Pool(PoolId),
    /// Another name, for every type. Lower case, without the final dot.
    Cname(String),
    NoData,
}

impl ShedTo {
    /// As policy has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pool(_) => "pool",
            Self::Cname(_) => "cname",
            Self::NoData => "nodata",
        }
    }
}

/// `circuit` of a region: when its quality has collapsed, and how it is tried again. Neither bound: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionCircuit {
    /// Error rate that the region's nodes report, on average.
    pub errors: Option<Bounds>,
    /// Loss that clients measured to its sites.
    pub loss: Option<Bounds>,
    pub open_for: Duration,
    /// While it is on trial: of what its nodes would have of a client group, so that together they have this part
    /// of the group at most.
    pub trial: Ppm,
    /// How long it has to be well without a break until it is closed.
    pub trial_for: Duration,
}

/// Where something that should be low is too high, and where it is low again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From here it is bad.
    pub enter: Ppm,
    /// Up to here it is well. Lower than `enter`; in between it stays as it is.
    pub exit: Ppm,
}

impl Bounds {
    /// With the exit that policy has where it gives none: half of `enter`.
    pub const fn from_enter(enter: Ppm) -> Self {
        Self { enter, exit: Ppm(enter.0 / 2) }
    }
}

impl RegionCircuit {
    pub const OPEN_FOR: Duration = Duration::from_secs(60);
    pub const TRIAL: Ppm = Ppm::from_percent(10);
    pub const TRIAL_FOR: Duration = Duration::from_secs(60);
}

/// How far the clients of a rule are from normal service, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    #[default]
    Normal,
    /// Part of them is on nodes of a later pool, since those before are full.
    Spill,
    /// Newcomers are answered `shed`.
    Shed,
    /// A region of their chain is given nobody, or only a few on trial.
    Circuit,
}

impl Rung {
    pub const ALL: [Self; 4] = [Self::Normal, Self::Spill, Self::Shed, Self::Circuit];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Spill => "spill",
            Self::Shed => "shed",
            Self::Circuit => "circuit",
        }
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What policy says of shedding a service's newcomers, as people are told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShedRule {
    /// `pool`, `cname` or `nodata`.
    pub to: String,
    /// Which pool, or which name; `None`: neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Above it, of the capacity that a rule's chain offers, more are shed;
    pub enter: Ppm,
    /// below it for so long, fewer.
    pub exit: Ppm,
    pub dwell_s: u64,
}

impl std::fmt::Display for ShedRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{}` {name}", self.to),
            None => write!(f, "`{}`", self.to),
        }
    }
}

/// Where the clients of one rule of a service stand, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungStatus {
    /// The area of the rule; `None`: the catch-all.
    pub area: Option<String>,
    pub rung: Rung,
    /// How long it is there, in seconds.
    pub for_s: u64,
    /// Newcomers of the area that are answered `shed`.
    pub shed: Ppm,
    /// Load against the capacity of all that the chain offers; `None`: some of it has no bound.
    pub utilisation: Option<Ppm>,
    /// Demand of the area on nodes of a later pool.
    pub spilled: Ppm,
    /// Demand of the area above what its nodes may be given.
    pub unserved: Ppm,
}
