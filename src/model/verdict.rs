//! What health concludes of a node, with its evidence.

use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};

/// The judgement of one node on one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Up,
    /// Serves, but early warning or slow answers: eligible at a price.
    Degraded,
    /// Never probed and no last good verdict: eligible, not preferred.
    #[default]
    Unknown,
    Down,
}

impl Verdict {
    /// Whether clients may be given a node of this verdict.
    pub const fn may_serve(self) -> bool {
        !matches!(self, Verdict::Down)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Degraded => "degraded",
            Verdict::Unknown => "unknown",
            Verdict::Down => "down",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One family of one node, as believed now. Serialised as it is into the last good table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyHealth {
    pub verdict: Verdict,
    pub since: WallTime,
    /// Why, for people: "3 of 3 tcp probes refused".
    pub reason: String,
    /// Smoothed (EWMA, tau 30 s, peak-sensitive) round trip; `None` before the first success.
    pub rtt: Option<Micros>,
    /// What the round trip usually is for this prober (slow EWMA, tau 10 min).
    pub baseline: Option<Micros>,
    pub jitter: Option<Micros>,
    /// Over the sliding window.
    pub loss: Ppm,
    /// Whether this process has judged it, or it came from the last good table.
    #[serde(skip)]
    pub observed: bool,
}

impl FamilyHealth {
    /// How much slower the node is than it usually is: what counts for clients the prober does not
    /// stand for (semantics.md, "Signals").
    pub fn excess(&self) -> Micros {
        match (self.rtt, self.baseline) {
            (Some(rtt), Some(baseline)) => Micros(rtt.0.saturating_sub(baseline.0)),
            _ => Micros(0),
        }
    }
}

/// A node as believed now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Indexed by [`Family::index`]; a family the node lacks is `None`.
    pub families: [Option<FamilyHealth>; 2],
    pub load: Option<NodeLoad>,
}

/// A node's load as last reported, if fresh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Smoothed, in the capacity unit.
    pub amount: Option<u64>,
    /// Worst resource against its capacity; may exceed the whole.
    pub utilisation: Ppm,
    /// Which resource that is.
    pub binding: String,
}

impl NodeHealth {
    pub fn family(&self, family: Family) -> Option<&FamilyHealth> {
        self.families[family.index()].as_ref()
    }

    pub fn family_may_serve(&self, family: Family) -> bool {
        self.family(family).is_some_and(|health| health.verdict.may_serve())
    }

    /// Whether any family may serve: what the planner places clients by.
    pub fn may_serve(&self) -> bool {
        Family::BOTH.iter().any(|&family| self.family_may_serve(family))
    }

    /// The best verdict over the families; `Unknown` for a node without addresses.
    pub fn verdict(&self) -> Verdict {
        self.families.iter().flatten().map(|health| health.verdict).min().unwrap_or_default()
    }

    /// The family health the planner prices by: the best verdict, IPv4 on ties.
    pub fn best(&self) -> Option<&FamilyHealth> {
        self.families.iter().flatten().min_by_key(|health| health.verdict)
    }
}
