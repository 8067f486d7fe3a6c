//! What a running instance says of itself: one shape for `rhumb status`, the admin API and the
//! lab's view. Names, not ids, so that it means something outside the process.

use super::alert::{Alert, ReceiverStatus};
use super::canary::CanaryBrief;
use super::degradation::{RungStatus, ShedRule};
use super::demand::DemandCounts;
use super::held_back::HeldBack;
use super::ids::{Generation, Revision};
use super::incident::IncidentBrief;
use super::overrides::OverrideStatus;
use super::provenance::{Cause, Provenance};
use super::verdict::{NodeHealth, Scope, VantageHealth};
use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};

/// The whole picture at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub instance: String,
    pub version: String,
    pub now: WallTime,
    pub started_at: WallTime,
    /// The live table.
    pub table: Provenance,
    pub listen: Vec<String>,
    pub admin: String,
    pub nodes: Vec<NodeStatus>,
    pub services: Vec<ServiceStatus>,
    /// Where probes start: this process itself first.
    #[serde(default)]
    pub vantages: Vec<VantageStatus>,
    /// Newest last, bounded.
    pub recent: Vec<Change>,
    /// What is wrong now: broken edits kept out, unreadable files, refused tables.
    pub problems: Vec<Problem>,
    pub queries: QueryCounts,
    /// Moves that are not made, and the rules that hold them.
    #[serde(default)]
    pub held_back: HeldBack,
    /// What operators have said of nodes, by number.
    #[serde(default)]
    pub overrides: Vec<OverrideStatus>,
    /// Nodes that a drill has, by name, ascending: what is judged of them is the drill's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drilled: Vec<String>,
    /// The policy that goes to a share of the clients first, or the last that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryBrief>,
    /// What of this instance ends some day.
    #[serde(default)]
    pub expiries: Vec<Expiry>,
    /// What people are told of now, the worst first, bounded.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// More alerts than are shown.
    #[serde(default)]
    pub alerts_omitted: u32,
    /// How telling them goes.
    #[serde(default)]
    pub receivers: Vec<ReceiverStatus>,
    /// What went wrong for clients and is not over yet, the oldest first.
    #[serde(default)]
    pub incidents: Vec<IncidentBrief>,
}

/// Something that holds until a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    pub kind: ExpiryKind,
    /// Whose: `DNS over TLS`, `example.test`.
    pub name: String,
    pub at: WallTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiryKind {
    /// Of an encrypted listener.
    Certificate,
    /// That signs a zone, with no other to follow it.
    Key,
    /// The first of the signatures in the live table.
    Signature,
}

impl ExpiryKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Signature => "signature",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    pub site: String,
    pub region: String,
    pub line: Option<String>,
    pub addresses: Vec<String>,
    #[serde(flatten)]
    pub health: NodeHealth,
    /// Share of all planned demand that this node carries in the live table.
    pub share: Ppm,
    /// Whether it has a probe at all.
    pub probed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    pub hostnames: Vec<String>,
    pub profile: String,
    pub ttl: u32,
    /// Client groups answered by `on_all_down`.
    pub groups_all_down: u32,
    pub groups: u32,
    /// What is counted of who asks.
    #[serde(default)]
    pub demand: DemandCounts,
    /// What shed newcomers are answered: `pool`, `cname` or `nodata`; `None`: nobody is shed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheds_to: Option<String>,
    /// The same with its thresholds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed_rule: Option<ShedRule>,
    /// Where the clients of each rule stand, in the order of the rules.
    #[serde(default)]
    pub rungs: Vec<RungStatus>,
    /// Demand above what its nodes may be given; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_capacity: Option<OverCapacity>,
}

/// Demand of a service that finds no room below the caps of the nodes it may be given. It is answered all the same:
/// these nodes are planned above their caps by it. Clients whom no node may serve are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverCapacity {
    /// In units of capacity, rounded down.
    pub units: u64,
    /// As policy calls such a unit; `None`: its nodes have several, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Of the service's demand.
    pub share: Ppm,
    /// The whole demand, in the same units.
    pub demand: u64,
}

impl std::fmt::Display for OverCapacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { units, unit, share, demand } = self;
        let unit = unit.as_deref().unwrap_or("units");
        let percent = share.percent();
        write!(
            f,
            "demand of {units} of {demand} {unit} ({percent:.1} %) is above what its nodes may be given"
        )
    }
}

/// A vantage: whether its word counts, and how it is connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VantageStatus {
    #[serde(flatten)]
    pub health: VantageHealth,
    /// Whose clients see the fleet as it does.
    pub stands_for: Option<Scope>,
    /// Another process, or this one.
    pub is_remote: bool,
    /// Probes that it cannot make; the problems tell why.
    pub unmade: u32,
    /// `None`: it is this process, or never connected since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<VantageLink>,
}

/// The connection of a remote vantage. Counts are since the start of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VantageLink {
    pub is_connected: bool,
    /// Since when it is, or is not.
    pub since: WallTime,
    /// Address and port.
    pub peer: String,
    pub connections: u64,
    /// When the newest report came.
    pub reported: Option<WallTime>,
    pub reports: u64,
    /// Reports of another fleet than the one in force: edits and reports cross.
    pub reports_refused: u64,
    pub observations: u64,
    /// Observations that were too old, too many, or found the writer's queue full.
    pub observations_refused: u64,
    /// Observations that it could not send while nobody took them, as it says itself.
    pub lost: u64,
    /// The shortest of late.
    pub round_trip: Option<Micros>,
    /// How far its clock is ahead, in milliseconds: shown and not used. Older vantages do not say.
    pub clock_offset_ms: Option<i64>,
    /// Why the last connection ended, if there is none now.
    pub ended: Option<String>,
}

/// A published generation, told in a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub at: WallTime,
    pub generation: Generation,
    pub cause: Cause,
    pub policy: Revision,
    /// Largest moves first, bounded: "live: tyo-1 -> osa-1 4.2 %".
    pub moves: Vec<String>,
}

/// Something an operator should look at, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub since: WallTime,
    /// One of [`PROBLEM_CODES`].
    pub code: String,
    pub message: String,
    pub help: String,
}

/// Codes of problems: stable, kebab-case. Alert rules name them, so that a problem of any other code could
/// not be told of; a test holds the list against the code.
pub const PROBLEM_CODES: &[&str] = &[
    "alerts-undelivered",
    "anchor-silent",
    "audit-damaged",
    "audit-unsent",
    "audit-unwritable",
    "canary-held",
    "canary-stuck",
    "certificate-refused",
    "drill-unrestored",
    "drill-waiting",
    "edit-held",
    "edit-over-guardrail",
    "edit-refused",
    "event-not-ready",
    "geo-refused",
    "history-damaged",
    "latencies-thin",
    "overrides-unreadable",
    "plan-faulted",
    "policy-half-applied",
    "policy-refused",
    "policy-unreadable",
    "probe-not-made",
    "region-cut",
    "restart-needed",
    "signing-failed",
    "state-unreadable",
    "state-unwritable",
    "table-frozen",
    "table-refused",
    "tokens-damaged",
    "transfer-keys-unreadable",
    "vantage-distrusted",
    "withdrawal-held",
    "writer-silent",
];

/// What came and went at the sockets since the start, as of the moment it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub queries: QueryCounts,
    pub tcp: ConnectionCounts,
    pub dot: ConnectionCounts,
    pub doh: ConnectionCounts,
    pub doq: ConnectionCounts,
    /// Replies with the TC bit.
    pub truncated: u64,
    /// Replies the kernel would not take.
    pub unsent: u64,
    /// Queries that got no reply on purpose: too long, or no query at all.
    pub unanswered: u64,
    /// What probes saw and a writer with a full queue did not take.
    pub observations_dropped: u64,
    pub reports: ReportCounts,
    pub measured: MeasureCounts,
    pub query_log: LogCounts,
    pub dnstap: LogCounts,
}

/// What remote vantages and nodes reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportCounts {
    pub connections: u64,
    /// Vantages connected now.
    pub connected: u64,
    /// Connections turned away, or cut to make room.
    pub refused: u64,
    /// Observations handed to the writer.
    pub observations: u64,
    /// Too old, or of a fleet that is no more.
    pub passed_over: u64,
    /// More than the fleet's probes can make.
    pub surplus: u64,
    /// Never sent, as the vantages say.
    pub lost: u64,
    /// Load that nodes pushed.
    pub pushes: u64,
    pub pushes_refused: u64,
}

/// What clients reported that they measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeasureCounts {
    /// Measurements handed to the writer.
    pub taken: u64,
    /// Requests that were answered with an error.
    pub refused: u64,
}

/// Records of one log of queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    pub taken: u64,
    /// Not written: the log was too slow, or away.
    pub lost: u64,
}

/// Connections of one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    pub opened: u64,
    pub open: u64,
    /// Turned away by a limit.
    pub refused: u64,
    /// Cut to make room for newer ones.
    pub evicted: u64,
}

/// Totals since the start, summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryCounts {
    pub udp: u64,
    pub tcp: u64,
    pub dot: u64,
    #[serde(default)]
    pub doh: u64,
    #[serde(default)]
    pub doq: u64,
    pub answered: u64,
    pub nodata: u64,
    pub nxdomain: u64,
    pub refused: u64,
    pub formerr: u64,
    pub notimp: u64,
    pub servfail: u64,
    pub badvers: u64,
    /// Asked to come again with a cookie.
    #[serde(default)]
    pub badcookie: u64,
    pub dropped: u64,
    /// Above a rate limit: sent without records, not sent, sent since the class is only counted.
    #[serde(default)]
    pub limit_slipped: u64,
    #[serde(default)]
    pub limit_dropped: u64,
    #[serde(default)]
    pub limit_logged: u64,
    /// Of queries above their prefix's share of a worker that got too many: answered without records, not
    /// answered, answered since they are only counted, answered for their cookie.
    #[serde(default)]
    pub share_slipped: u64,
    #[serde(default)]
    pub share_dropped: u64,
    #[serde(default)]
    pub share_logged: u64,
    #[serde(default)]
    pub share_verified: u64,
    /// How long workers got too many, in milliseconds, summed over them.
    #[serde(default)]
    pub pressed_ms: u64,
    /// Answers to newcomers who were shed.
    #[serde(default)]
    pub shed: u64,
}
