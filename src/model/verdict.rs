//! What health concludes of a node, with its evidence.

use super::overrides::{Action, Forced};
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

/// The rule that made a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Nothing has been seen yet.
    #[default]
    Awaiting,
    /// Nothing asks this family.
    Unprobed,
    /// Nothing speaks against the node.
    Answers,
    /// Failed probes.
    Failures,
    /// The round trip left its baseline.
    Latency,
    /// The same, by several round trips in a row.
    LatencyStep,
    /// Answers after the timeout.
    Late,
    Loss,
    /// The certificate is about to expire.
    Certificate,
    /// Far worse than its peers.
    Outlier,
    /// Full.
    Load,
    /// The load feed fell silent.
    StaleLoad,
    /// The error rate the node reports.
    Errors,
    /// The circuit that the error rate opened.
    Circuit,
    /// Well, but held back for having flapped.
    Damped,
}

impl Rule {
    pub const fn name(self) -> &'static str {
        match self {
            Rule::Awaiting => "awaiting",
            Rule::Unprobed => "unprobed",
            Rule::Answers => "answers",
            Rule::Failures => "failures",
            Rule::Latency => "latency",
            Rule::LatencyStep => "latency-step",
            Rule::Late => "late",
            Rule::Loss => "loss",
            Rule::Certificate => "certificate",
            Rule::Outlier => "outlier",
            Rule::Load => "load",
            Rule::StaleLoad => "stale-load",
            Rule::Errors => "errors",
            Rule::Circuit => "circuit",
            Rule::Damped => "damped",
        }
    }
}

/// What a verdict rests on, for programs; [`FamilyHealth::reason`] is the same for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub rule: Rule,
    /// Since when this rule has held it; a verdict may outlive several.
    pub since: WallTime,
    /// The probe that decided: its kind, as policy names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<std::borrow::Cow<'static, str>>,
    /// Whose probe that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vantage: Option<String>,
    /// Of the observations that count, how many speak for the verdict.
    pub observations: u32,
    pub of: u32,
    /// When the first of them was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<WallTime>,
    /// Whether more than one vantage stands behind it.
    pub confirmed: bool,
}

/// What one vantage says of one family of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub vantage: String,
    /// `Unknown`: it has not seen the node, or not lately.
    pub verdict: Verdict,
    pub reason: String,
    pub rtt: Option<Micros>,
    /// Whether it counts: the vantage is heard and trusted.
    pub is_trusted: bool,
}

/// Whose clients a verdict is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Line(String),
    Area(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Line(name) => write!(f, "line {name}"),
            Scope::Area(name) => write!(f, "area {name}"),
        }
    }
}

/// What holds for the clients of one line or area, by the vantages that stand for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopedHealth {
    pub scope: Scope,
    pub verdict: Verdict,
    pub since: WallTime,
    pub reason: String,
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
    /// What the loss surely is (95 % confidence).
    #[serde(default)]
    pub loss_at_least: Ppm,
    /// Days that the certificate shown to its probes lasts: the least of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days: Option<i32>,
    #[serde(default)]
    pub evidence: Evidence,
    /// By vantage, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// By line and area that a vantage stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scoped: Vec<ScopedHealth>,
    /// It serves, and its newest probe failed: by the next ones it may be found down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_failing: bool,
    /// Whether this process has judged it, or it came from the last good table.
    #[serde(skip)]
    pub observed: bool,
}

impl FamilyHealth {
    /// The verdict for clients of a line or area: its own where a vantage stands for it.
    pub fn verdict_for(&self, scope: &Scope) -> Verdict {
        let own = self.scoped.iter().find(|scoped| scoped.scope == *scope);
        own.map_or(self.verdict, |scoped| scoped.verdict)
    }

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
    /// What an operator says, whatever the verdict is; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
}

/// A vantage as it is listened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VantageHealth {
    pub name: String,
    /// Why its word does not count; `None`: it does.
    pub distrust: Option<Distrust>,
    /// Of its targets, how many answered it last.
    pub answering: u32,
    pub asked: u32,
    /// Milliseconds since the newest observation that was heard of it; `None`: never.
    #[serde(default)]
    pub heard_ago_ms: Option<u64>,
}

/// Why a vantage's word does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distrust {
    /// Not heard lately.
    Silent,
    /// It sees almost nothing, its anchors included.
    Blind,
    /// It says other things than most of its peers, of most targets.
    Odds,
}

impl Distrust {
    pub const fn name(self) -> &'static str {
        match self {
            Distrust::Silent => "silent",
            Distrust::Blind => "blind",
            Distrust::Odds => "odds",
        }
    }
}

/// Too little is surely known to move anybody by choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    pub since: WallTime,
    /// Nodes of which a trusted vantage says something fresh, and all nodes.
    pub known: u32,
    pub nodes: u32,
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
    /// Smoothed, where the feed tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Ppm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_hit: Option<Ppm>,
}

impl NodeHealth {
    pub fn family(&self, family: Family) -> Option<&FamilyHealth> {
        self.families[family.index()].as_ref()
    }

    /// Whether clients may be given the family: an operator's word goes before the verdict.
    pub fn family_may_serve(&self, family: Family) -> bool {
        let judged = self.family(family);
        judged.is_some_and(|health| self.forced_to_serve().unwrap_or_else(|| health.verdict.may_serve()))
    }

    /// Whether any family may serve: what the planner places clients by.
    pub fn may_serve(&self) -> bool {
        let by_verdict = || Family::BOTH.iter().any(|&family| self.family_may_serve(family));
        self.forced_to_serve().unwrap_or_else(by_verdict)
    }

    /// `None`: no operator says anything of it.
    pub fn forced_to_serve(&self) -> Option<bool> {
        self.forced.as_ref().map(|forced| forced.action.serves())
    }

    /// What an operator said has been done to it.
    pub fn forced_as(&self) -> Option<Action> {
        self.forced.as_ref().map(|forced| forced.action)
    }

    /// What a node is to be priced by: one that is forced up is taken at the operator's word.
    pub fn priced_as(&self) -> Verdict {
        match self.forced_to_serve() {
            Some(true) => Verdict::Up,
            _ => self.verdict(),
        }
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
