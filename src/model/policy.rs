//! One policy folder, compiled: what the operator wants, with every reference resolved.

use super::alert::{AlertPolicy, AlertReceiver};
use super::canary::CanaryRules;
use super::clients::Clients;
use super::dnssec::DnssecConfig;
use super::drill::Drill;
use super::event::Event;
use super::fleet::Fleet;
use super::ids::{Revision, ServiceId};
use super::planner::PlannerRules;
use super::safety::{Guardrails, SafetyRule};
use super::service::{Pool, PoolBound, Service};
use super::transfer::TransferConfig;
use crate::base::diagnostic::Span;
use crate::base::prefix::{Family, Prefix};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The intent everything else serves. Immutable; replaced whole by a good edit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    pub revision: Revision,
    pub server: ServerConfig,
    pub fleet: Fleet,
    pub clients: Clients,
    pub services: Vec<Service>,
    pub alerts: AlertPolicy,
    /// What operators may not break without saying so.
    pub safety: Vec<SafetyRule>,
    /// Hours in which more is asked for, whose change freezes are among the safety rules.
    pub events: Vec<Event>,
    /// What an edit of the policy may do.
    pub guardrails: Guardrails,
    /// How the planner may move clients.
    pub planner: PlannerRules,
    /// How canaries go.
    pub canary: CanaryRules,
    /// Faults to be had on purpose, by name.
    pub drills: Vec<Drill>,
}

impl Policy {
    /// Every pool of every service.
    pub fn pool_bounds(&self) -> Vec<PoolBound> {
        self.services.iter().flat_map(|service| service.pools.iter().map(Pool::bound)).collect()
    }

    pub fn service_ids(&self) -> impl Iterator<Item = ServiceId> + use<> {
        (0..self.services.len()).map(ServiceId::from_index)
    }

    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.index()]
    }
}

/// `rhumb.yaml`: this instance's own settings. Flags of `rhumb serve` outrank it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Instance name, answered by NSID with the generation.
    pub instance: String,
    /// CHAOS TXT `version.bind`, `id.server` and their like are answered.
    pub identify: bool,
    /// File of the secrets that DNS cookies are made with, relative to the policy folder; `None`: random.
    pub cookie_secrets: Option<PathBuf>,
    /// Where rhumb.yaml names it.
    pub cookie_secrets_span: Span,
    /// UDP and TCP. Default 127.0.0.1:5300.
    pub listen: Vec<SocketAddr>,
    pub dot: Option<EncryptedListener>,
    pub doh: Option<EncryptedListener>,
    pub doq: Option<EncryptedListener>,
    /// `None`: nobody reports.
    pub reports: Option<ReportsListener>,
    /// `None`: clients measure nothing.
    pub measure: Option<MeasureListener>,
    /// Default 127.0.0.1:8053.
    pub admin: SocketAddr,
    /// Who may use it, besides root and the user rhumb runs as.
    pub admin_access: AdminAccess,
    /// Relative paths are relative to the working folder. Default `state`.
    pub state_dir: PathBuf,
    /// MMDB files, later ones overlay earlier ones; empty: the shipped ones. Relative paths are
    /// relative to the policy folder.
    pub geo_files: Vec<PathBuf>,
    /// UDP workers per listener; 0: one per core.
    pub workers: u16,
    /// Planner tick.
    pub tick: Duration,
    /// Probes may run programs. Default false.
    pub commands: bool,
    /// `None`: zones are not signed.
    pub dnssec: Option<DnssecConfig>,
    /// `None`: every query over UDP is answered.
    pub rate_limit: Option<RateLimit>,
    /// `None`: all clients are alike to a worker that cannot answer all.
    pub query_limit: Option<QueryLimit>,
    /// `None`: queries are not logged.
    pub query_log: Option<QueryLogConfig>,
    /// `None`: no dnstap.
    pub dnstap: Option<DnstapConfig>,
    /// `None`: zones are not transferred.
    pub transfer: Option<TransferConfig>,
    /// `None`: there is none.
    pub status_page: Option<StatusPage>,
}

/// A page for everybody that says how services do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Plain HTTP.
    pub listen: SocketAddr,
    /// What stands at its top.
    pub title: String,
    /// Whether sites, nodes and lines are named on it.
    pub names: bool,
}

impl StatusPage {
    pub const TITLE: &str = "Service status";
}

/// What kind of answer a response is, as far as limiting goes: one budget each per client prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerClass {
    /// Data of a zone file.
    Static = 0,
    /// Addresses of a steered name.
    Steered = 1,
    /// NXDOMAIN and NODATA.
    Negative = 2,
    Referral = 3,
    /// Any other rcode.
    Error = 4,
}

impl AnswerClass {
    pub const ALL: [Self; 5] = [Self::Static, Self::Steered, Self::Negative, Self::Referral, Self::Error];
}

/// Limits of responses over UDP, so that forged queries cannot be made to hit whom they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Responses a second to one client prefix, by [`AnswerClass`]; at least 1.
    pub rates: [u32; AnswerClass::ALL.len()],
    /// Of responses above the limit every so many is sent truncated, the others are not sent; 0: none.
    pub slip: u8,
    /// Classes that are counted and sent all the same.
    pub log_only: Vec<AnswerClass>,
    /// Never limited.
    pub allow: Vec<Prefix>,
}

impl RateLimit {
    pub const DEFAULT_RATE: u32 = 50;
    pub const DEFAULT_SLIP: u8 = 2;
}

/// Loopback is not limited, since no network delivers packets forged with it.
fn loopback() -> Vec<Prefix> {
    [(Family::V4, 127 << 120, 8), (Family::V6, 1, 128)]
        .map(|(family, bits, len)| Prefix::new(family, bits, len))
        .to_vec()
}

impl Default for RateLimit {
    /// Steered answers are not held back, since large resolvers ask one name for many subnets.
    fn default() -> Self {
        Self {
            rates: [Self::DEFAULT_RATE; AnswerClass::ALL.len()],
            slip: Self::DEFAULT_SLIP,
            log_only: vec![AnswerClass::Steered],
            allow: loopback(),
        }
    }
}

/// Limits of queries over UDP while a worker gets more than it can answer: what one client prefix may
/// have of it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimit {
    /// Queries a second of one prefix that a worker always answers.
    pub at_least: u32,
    /// Queries a second that a worker answers before it limits anybody; `None`: as many as it can.
    pub above: Option<u32>,
    /// Of queries above the limit every so many is answered truncated, the others are not; 0: none.
    pub slip: u8,
    /// Queries above the limit are counted and answered all the same.
    pub log_only: bool,
    /// Never limited.
    pub allow: Vec<Prefix>,
}

impl Default for QueryLimit {
    fn default() -> Self {
        Self { at_least: 100, above: None, slip: 20, log_only: false, allow: loopback() }
    }
}

/// A sample of the queries, as lines of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLogConfig {
    /// One in so many.
    pub sample: u32,
    pub to: LogTarget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    /// Relative paths are relative to the working folder.
    File(PathBuf),
}

/// Queries and responses as dnstap, to who listens on a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnstapConfig {
    pub socket: PathBuf,
    /// One in so many.
    pub sample: u32,
}

/// DNS over TLS (RFC 7858), HTTPS (RFC 8484) or QUIC (RFC 9250): where, and the certificate shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedListener {
    pub listen: Vec<SocketAddr>,
    /// PEM files, relative to the policy folder.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Where the certificate is named in `rhumb.yaml`.
    pub span: Span,
}

/// Where remote vantages and nodes report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportsListener {
    /// One address.
    pub tls: EncryptedListener,
    /// PEM file of authorities for client certificates, relative to the policy folder.
    pub client_ca: Option<PathBuf>,
}

/// What stands before the admin address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminAccess {
    /// `None`: in clear, on loopback only. Its `listen` is empty: the address is a setting of its own.
    pub tls: Option<EncryptedListener>,
    /// Networks that may read `/metrics` without a token.
    pub metrics: Vec<Prefix>,
    /// A file that gets each line of the audit log too, relative to the working folder.
    pub audit_copy: Option<PathBuf>,
    /// A webhook that gets each line of the audit log too.
    pub audit_webhook: Option<AlertReceiver>,
}

/// Where clients report what they measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasureListener {
    pub tls: EncryptedListener,
    /// File of keys that sign passes, relative to the policy folder.
    pub passes: Option<PathBuf>,
    /// Where policy names that file.
    pub passes_span: Span,
    pub rules: MeasureRules,
}

/// What becomes of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureRules {
    /// Older ones are dropped.
    pub max_age: Duration,
    /// Client networks below which nothing of a group is used or shown.
    pub least_sources: usize,
}

impl Default for MeasureRules {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(3_600), least_sources: 5 }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            instance: "rhumb".to_owned(),
            identify: false,
            cookie_secrets: None,
            cookie_secrets_span: Span::default(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5300))],
            dot: None,
            doh: None,
            doq: None,
            reports: None,
            measure: None,
            admin: SocketAddr::from(([127, 0, 0, 1], 8053)),
            admin_access: AdminAccess::default(),
            state_dir: PathBuf::from("state"),
            geo_files: Vec::new(),
            workers: 0,
            tick: Duration::from_secs(1),
            commands: false,
            dnssec: None,
            rate_limit: Some(RateLimit::default()),
            query_limit: Some(QueryLimit::default()),
            query_log: None,
            dnstap: None,
            transfer: None,
            status_page: None,
        }
    }
}
