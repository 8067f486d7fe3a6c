//! Alerts: what policy asks to be told of (`alerts.yaml`), and what is told.
//!
//! A rule says when something is the matter with a node, a service or this instance. What is told is
//! grouped: nodes of one site are one alert, sites of one region are one alert ([`AlertScope`]). How rules
//! become alerts is `alert`'s business, how alerts reach people is `deliver`'s.

use super::degradation::Rung;
use super::incident::IncidentRules;
use super::status::ExpiryKind;
use super::verdict::{Rule, Verdict};
use crate::base::clock::WallTime;
use crate::base::hash::stable_hash;
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Alerts that are told at once; more are counted.
pub const MOST_ALERTS: usize = 256;
/// Rules and receivers of one policy.
pub const MOST_RULES: usize = 64;
pub const MOST_RECEIVERS: usize = 16;

/// How much it matters, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be read some day.
    #[default]
    Notice,
    /// To be looked at today.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Notice, Self::Warning, Self::Critical];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `alerts.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertPolicy {
    /// A message waits until nothing was added to it for so long, and five times as long at most.
    pub group_wait: Duration,
    /// An alert is over when nothing was the matter for so long.
    pub resolve_after: Duration,
    pub rules: Vec<AlertRule>,
    pub receivers: Vec<AlertReceiver>,
    /// What is more than an alert.
    pub incidents: IncidentRules,
}

impl Default for AlertPolicy {
    fn default() -> Self {
        Self {
            group_wait: Duration::from_secs(1),
            resolve_after: Duration::from_secs(30),
            rules: Vec::new(),
            receivers: Vec::new(),
            incidents: IncidentRules::default(),
        }
    }
}

/// What to tell of, and how much it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRule {
    /// Unique.
    pub name: String,
    /// What is the matter, for people: `down`.
    pub summary: String,
    pub severity: SeverityByScope,
    pub when: When,
    /// How long it has to last before it is an alert.
    pub lasting: Duration,
    /// Where people read on: a file beside the policies, or a URL.
    pub runbook: Option<String>,
}

/// How much it matters, by what it is the matter with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeverityByScope {
    /// A node, a service, this instance.
    pub one: Severity,
    pub site: Severity,
    pub region: Severity,
}

impl SeverityByScope {
    pub const fn of(self, scope: AlertScope) -> Severity {
        match scope {
            AlertScope::Node | AlertScope::Service | AlertScope::Instance => self.one,
            AlertScope::Site => self.site,
            AlertScope::Region => self.region,
        }
    }
}

/// When a rule holds, by what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Of a node: any of these, each of which is all of its conditions.
    Node(Vec<Vec<NodeCondition>>),
    /// A larger share of a service's client groups than this has no usable node.
    Unserved { above: Ppm },
    /// A larger share of a service's demand than this is above what its nodes may be given.
    OverCapacity { above: Ppm },
    /// The clients of an area of a service are on one of these rungs.
    Rung(Vec<Rung>),
    /// Of this instance: any of these.
    Instance(Vec<OwnCondition>),
}

/// What may be the matter with a node. But for the first four a node that is down has nothing else: how
/// slow or full it seems means nothing then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCondition {
    /// Its best verdict is one of these.
    Verdict(Vec<Verdict>),
    /// One of its families is down, the other is not.
    FamilyDown,
    /// One of these rules holds its verdict.
    Reason(Vec<Rule>),
    /// It went down or came back this often within this time.
    Flapping { changes: u32, within: Duration },
    /// The round trip is at least this many times what it usually is (2,000,000 is twice), and by `margin` more.
    Latency { times: Ppm, margin: Micros },
    /// Surely more is lost than this (95 % confidence).
    Loss { above: Ppm },
    /// The worst resource is fuller than this.
    Load { above: Ppm },
    /// It finds less than this in its cache.
    CacheHit { below: Ppm },
    /// The error rate it reports is above this ...
    Errors { above: Ppm },
    /// ... or this many times its own average of ten minutes, and a percent more.
    RisingErrors { times: Ppm },
    /// The certificate that probes are shown lasts fewer days than this.
    Certificate { days: u16 },
}

/// What may be the matter with this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnCondition {
    /// A problem of one of these codes stands.
    Problem(Vec<String>),
    /// One of these lasts fewer days than this.
    Expiry { of: Vec<ExpiryKind>, days: u16 },
    /// An override that was set for longer ends sooner than this.
    OverrideEnding { within: Duration },
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertReceiver {
    /// Unique.
    pub name: String,
    pub kind: ReceiverKind,
    /// Of a webhook the whole address, of an Alertmanager its base.
    pub url: String,
    /// Alerts that matter less are not told.
    pub at_least: Severity,
    /// Holds the value of the `Authorization` header, or a bearer token; relative to the policy folder.
    pub authorization_file: Option<PathBuf>,
    /// PEM certificates that are trusted instead of the platform's, relative to the policy folder.
    pub ca: Option<PathBuf>,
    /// Of one attempt.
    pub timeout: Duration,
    /// An alert that goes on is told again after so long.
    pub repeat: Duration,
}

impl AlertReceiver {
    /// Tells one address from another without holding it: an address may be a secret.
    pub fn place(&self) -> u64 {
        stable_hash(format!("{} {}", self.kind.name(), self.url).as_bytes())
    }

    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// Told of everything, with the defaults.
    pub fn webhook(name: &str, url: &str) -> Self {
        let kind = ReceiverKind::Webhook;
        Self {
            name: name.to_owned(),
            kind,
            url: url.to_owned(),
            at_least: Severity::Notice,
            authorization_file: None,
            ca: None,
            timeout: Self::TIMEOUT,
            repeat: kind.repeat(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// API v2 of Prometheus' Alertmanager.
    Alertmanager,
    /// One POST of JSON per alert.
    Webhook,
}

impl ReceiverKind {
    /// How often an alert that goes on is told, where policy does not say: an Alertmanager forgets what it
    /// does not hear of.
    pub const fn repeat(self) -> Duration {
        match self {
            Self::Alertmanager => Duration::from_secs(60),
            Self::Webhook => Duration::from_secs(4 * 3_600),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
        }
    }
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertScope {
    Node,
    Site,
    Region,
    Service,
    Instance,
}

impl AlertScope {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Site => "site",
            Self::Region => "region",
            Self::Service => "service",
            Self::Instance => "instance",
        }
    }
}

/// Something is the matter, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the same matter, also across a restart: `node-down/region/ea`.
    pub key: String,
    pub rule: String,
    pub severity: Severity,
    pub scope: AlertScope,
    /// Name of the node, site, region, service or matter.
    pub subject: String,
    /// For programs: `region`, `site`, `node`, `service`, `instance`, as far as they are one each.
    pub labels: BTreeMap<String, String>,
    /// For people, in a line.
    pub summary: String,
    /// Where they read on: a file beside the policies, or a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    pub since: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<WallTime>,
    /// Keys of smaller alerts that this one grew out of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// The larger alert that this one became part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// Bounded; `member_count` is all of them.
    pub members: Vec<AlertMember>,
    pub member_count: u32,
}

/// One of those an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMember {
    pub name: String,
    pub since: WallTime,
    /// What was seen, for people.
    pub evidence: String,
    /// Or it is well again, and the alert goes on for others.
    pub firing: bool,
}

/// What receivers are to know: the present state, never a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bulletin {
    /// Name of this instance, and where its status is.
    pub instance: String,
    pub admin: String,
    pub firing: Vec<Told>,
    /// Ended lately, so that its end can be told with its time.
    pub ended: Vec<Arc<Alert>>,
}

/// An alert to tell, and how often it changed so that it is to be told anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub alert: Arc<Alert>,
    pub revision: u64,
}

/// What receivers were told and may believe still, as it is kept for a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAlerts {
    /// By key, as they were told last.
    pub alerts: BTreeMap<String, Alert>,
    pub receivers: Vec<KeptReceiver>,
}

/// What one receiver was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReceiver {
    pub name: String,
    /// [`AlertReceiver::place`]: one at another address was told nothing.
    pub place: u64,
    /// Keys of the alerts, and when it took them.
    pub told: Vec<(String, WallTime)>,
}

/// An alert that somebody took, and when.
pub type TakenAlert = (Arc<Alert>, WallTime);

/// How telling somebody goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    pub name: String,
    pub kind: String,
    /// Messages taken since the start.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Alerts it has not been told of yet, or not of their end.
    pub pending: u32,
    /// Since when nothing arrives, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What a status shows of all this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertsShown {
    /// The worst first, at most [`MOST_ALERTS`].
    pub alerts: Vec<Alert>,
    pub omitted: u32,
    pub receivers: Vec<ReceiverStatus>,
}
