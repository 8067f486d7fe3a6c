//! Incidents: something went wrong for clients, from the first failing observation until everything was as before.
//!
//! ```text
//!  failed ──▶ verdict ──▶ table without it ──▶ caches expire ──▶ all back ──▶ ramps over ──▶ closed
//!    └──────────── answer restored ──────────────┘                  │             │
//!    └──────────── full quality restored ─────────────────────────────────────────┘
//! ```
//! How faults become incidents is `incident`'s business; `daemon` keeps each as a record of the history.

use super::ids::Generation;
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of the history's records.
pub const KIND: &str = "incident";
/// Incidents that are open at a time; what more there is joins the last.
pub const MOST_OPEN: usize = 64;
/// Members of one incident; more are counted.
pub const MOST_MEMBERS: usize = 200;
/// Steps of one timeline; of more the first and the last are kept.
pub const MOST_STEPS: usize = 160;

/// When something is an incident, and when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentRules {
    /// An incident is closed when nothing of it was the matter for so long, and quality was restored.
    pub close_after: Duration,
    /// A node that was degraded for so long is an incident.
    pub degraded_after: Duration,
}

impl Default for IncidentRules {
    fn default() -> Self {
        Self { close_after: Duration::from_secs(60), degraded_after: Duration::from_secs(300) }
    }
}

/// What the members of an incident have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CauseOf {
    #[default]
    Node,
    Site,
    Region,
    /// A carrier line, or an area that a vantage stands for.
    Line,
    /// Demand of a service, or nodes of several places.
    Service,
    /// Nodes of several regions at once.
    Fleet,
    /// This instance: its network, its vantages, its writer.
    Us,
}

impl CauseOf {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Site => "site",
            Self::Region => "region",
            Self::Line => "line",
            Self::Service => "service",
            Self::Fleet => "fleet",
            Self::Us => "us",
        }
    }
}

/// The likeliest common cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LikelyCause {
    pub of: CauseOf,
    /// Name of the node, site, region, line or service; of several, the names.
    pub subject: String,
    /// What speaks for it, in a sentence.
    pub why: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Something is the matter.
    #[default]
    Open,
    /// Nothing is any more; ramps go on, or it may come again.
    Recovering,
    Closed,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recovering => "recovering",
            Self::Closed => "closed",
        }
    }
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Node,
    /// A node for the clients of one line or area: `sha-ct for line telecom`.
    Reach,
    /// A region whose circuit is open.
    Region,
    /// A service whose clients have no node, or are turned away.
    Service,
    /// Something of this instance, by the code of the problem.
    Instance,
}

/// What of a node that is down by one address family begins with.
pub const DOWN_OVER: &str = "down over";

/// How much it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Everybody is served: nodes are degraded, or have one address family only.
    Minor,
    #[default]
    Major,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub part: Part,
    pub name: String,
    /// `down`, `degraded`, `circuit open`, `clients without a usable node`.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What was seen, for people: the last time that it went wrong.
    pub evidence: String,
    /// The first observation that failed, or the verdict's time where none is known.
    pub failed_at: WallTime,
    pub verdict_at: WallTime,
    /// More than one vantage stands behind it.
    pub confirmed: bool,
    /// The first table that gives it to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_at: Option<WallTime>,
    /// When it had its clients again; at the latest when its ramp was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_at: Option<WallTime>,
    /// Share of all planned demand that it carried before.
    pub share: Ppm,
    /// How often it went wrong.
    pub falls: u32,
    pub active: bool,
}

/// What a moment of a timeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// The first observation that failed.
    Failing,
    Verdict,
    /// A table that moved clients.
    Published,
    /// The incident grew, or took in another.
    Spread,
    /// A member is well again, or withdrawn by an operator.
    Back,
    /// Of clients, by the TTL model or in full.
    Restored,
    Closed,
    /// Anything else that is worth knowing.
    Note,
}

impl StepKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Verdict => "verdict",
            Self::Published => "published",
            Self::Spread => "spread",
            Self::Back => "back",
            Self::Restored => "restored",
            Self::Closed => "closed",
            Self::Note => "note",
        }
    }
}

/// A moment of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub at: WallTime,
    pub kind: StepKind,
    /// For people.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Largest moves of a published table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<String>,
}

/// A name and a share of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedShare {
    pub name: String,
    pub share: Ppm,
}

/// What it meant for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceImpact {
    pub name: String,
    /// Recovery tier, `5m`, and its length.
    pub tier: String,
    pub tier_ms: u64,
    /// Seconds.
    pub ttl: u32,
    /// Clients, by address space, that were on lost nodes and had to be moved.
    pub clients: Ppm,
    /// Which clients, the most concerned first: of each area, the share that was on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<NamedShare>,
    /// Client groups without a usable node, at the worst.
    pub unserved: Ppm,
    /// Newcomers that were turned away, at the worst.
    pub shed: Ppm,
    /// Demand above what nodes may be given, at the worst.
    pub above_caps: Ppm,
    /// From the first failing observation until 99 % of its clients had another answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_ms: Option<u64>,
}

impl ServiceImpact {
    /// Whether its clients felt anything.
    pub fn is_touched(&self) -> bool {
        [self.clients, self.unserved, self.shed, self.above_caps].iter().any(|share| *share > Ppm::ZERO)
    }

    /// `None`: it is not over, or there was nothing to restore.
    pub fn is_within_tier(&self) -> Option<bool> {
        self.restored_ms.map(|ms| ms <= self.tier_ms)
    }
}

/// Who felt it, and how far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Services that were touched.
    #[serde(default)]
    pub services: Vec<ServiceImpact>,
    /// Carrier lines of clients that were on lost nodes; the share of each.
    #[serde(default)]
    pub lines: Vec<NamedShare>,
    /// Share of all planned demand that was on lost nodes.
    pub share: Ppm,
    /// The fullest survivor while it went on: a node by its load feed, or else a service's chain by plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<NamedShare>,
}

/// When what was restored. Lengths count from `failed_at`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// The first observation that failed.
    pub failed_at: WallTime,
    pub verdict_at: WallTime,
    /// The table that moved the last lost clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<WallTime>,
    /// 99 % of the clients have another answer: that table, and the TTL model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_at: Option<WallTime>,
    /// The longest that any member took for it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// All back, and ramped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality_at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality_ms: Option<u64>,
}

/// An incident, told in full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// 0: the history has not taken it yet.
    pub id: u64,
    pub phase: Phase,
    pub cause: LikelyCause,
    /// `site tyo: 2 of 2 nodes down`.
    pub summary: String,
    pub opened_at: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<WallTime>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    pub members: Vec<Member>,
    #[serde(default)]
    pub members_omitted: u32,
    pub impact: Impact,
    pub clocks: Clocks,
    /// The oldest first.
    pub timeline: Vec<Step>,
    #[serde(default)]
    pub steps_omitted: u32,
    /// Files beside the policies, or URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runbooks: Vec<String>,
}

/// What lists and statuses show of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentBrief {
    pub id: u64,
    pub phase: Phase,
    #[serde(default)]
    pub severity: Severity,
    pub cause: LikelyCause,
    pub summary: String,
    /// Who feels it, in a line.
    pub impact: String,
    pub failed_at: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runbooks: Vec<String>,
}

/// Services named in a line.
const MOST_NAMED: usize = 3;

impl Incident {
    pub fn brief(&self) -> IncidentBrief {
        IncidentBrief {
            id: self.id,
            phase: self.phase,
            severity: self.severity(),
            cause: self.cause.clone(),
            summary: self.summary.clone(),
            impact: self.impact.told(),
            failed_at: self.clocks.failed_at,
            closed_at: self.closed_at,
            answer_ms: self.clocks.answer_ms,
            quality_ms: self.clocks.quality_ms,
            runbooks: self.runbooks.clone(),
        }
    }

    pub fn severity(&self) -> Severity {
        let is_minor = |it: &Member| it.what == "degraded" || it.what.starts_with(DOWN_OVER);
        let is_served =
            self.impact.services.iter().all(|it| it.unserved == Ppm::ZERO && it.shed == Ppm::ZERO);
        match !self.members.is_empty() && self.members.iter().all(is_minor) && is_served {
            true => Severity::Minor,
            false => Severity::Major,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// How long it lasted, or lasts by `now`.
    pub fn lasted(&self, now: WallTime) -> Duration {
        let end = self.closed_at.unwrap_or(now);
        Duration::from_millis(end.0.saturating_sub(self.clocks.failed_at.0))
    }
}

impl Impact {
    /// By address space of each service, and by demand of all: `live: 23 % of clients were on what is lost (asia);
    /// 31 % of all planned demand`.
    pub fn told(&self) -> String {
        let mut touched: Vec<&ServiceImpact> = self.services.iter().filter(|it| it.is_touched()).collect();
        touched.sort_by_key(|it| std::cmp::Reverse((it.unserved, it.clients)));
        let mut told: Vec<String> = touched.iter().take(MOST_NAMED).map(|it| it.told()).collect();
        if touched.len() > MOST_NAMED {
            told.push(format!("{} more services", touched.len() - MOST_NAMED));
        }
        if self.share > Ppm::ZERO && !told.is_empty() {
            told.push(format!("{} of all planned demand", percent(self.share)));
        }
        if told.is_empty() { "no client is touched".to_owned() } else { told.join("; ") }
    }
}

impl ServiceImpact {
    fn told(&self) -> String {
        let mut parts = Vec::new();
        if self.unserved > Ppm::ZERO {
            parts.push(format!("{} of client groups have no usable node", percent(self.unserved)));
        }
        if self.clients > Ppm::ZERO {
            let areas: Vec<&str> = self.areas.iter().take(MOST_NAMED).map(|it| it.name.as_str()).collect();
            let areas = if areas.is_empty() { String::new() } else { format!(" ({})", areas.join(", ")) };
            parts.push(format!("{} of clients were on what is lost{areas}", percent(self.clients)));
        }
        if self.shed > Ppm::ZERO {
            parts.push(format!("{} of newcomers turned away", percent(self.shed)));
        }
        if self.above_caps > Ppm::ZERO {
            parts.push(format!("{} of demand above what nodes may be given", percent(self.above_caps)));
        }
        format!("{}: {}", self.name, parts.join(", "))
    }
}

/// `23 %`, `0.4 %`, `< 0.1 %`.
pub fn percent(share: Ppm) -> String {
    match share.0 {
        0 => "0 %".to_owned(),
        1..1_000 => "< 0.1 %".to_owned(),
        1_000..100_000 => format!("{:.1} %", share.percent()),
        _ => format!("{:.0} %", share.percent()),
    }
}

/// Who was where, by names: of one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clientele {
    pub services: Vec<ServiceClients>,
}

/// The clients of one service, weighted by address space.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceClients {
    pub name: String,
    pub tier: String,
    pub tier_ms: u64,
    /// Seconds.
    pub ttl: u32,
    /// Clients that have a usable node.
    pub served: Ppm,
    pub nodes: BTreeMap<String, NodeClients>,
}

/// Those of a service on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeClients {
    /// Of all clients of the service.
    pub share: Ppm,
    /// Of each area's clients of the service, those that are here.
    pub areas: Vec<NamedShare>,
    /// Of each line's.
    pub lines: Vec<NamedShare>,
}
