//! `rhumb.yaml`: this instance's own settings.

use crate::policy::files::alerts::ReceiverUrl;
use crate::policy::places::Cidr;
use crate::policy::read::{Bad, List, OneOrMany, OrNone, Scalar, choice, record};
use crate::policy::scalars::{Hostname, Name, Percent, Span, Text, Version, Whole};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;

record! {
    /// Settings of one rhumb instance. Everything is optional; flags of `rhumb serve` outrank it.
    pub struct ServerFile {
        /// Version of the policy language.
        gated version: Version,
        /// Name of this instance, answered by NSID together with the table's generation.
        optional instance: Name = "rhumb",
        /// Whether CHAOS TXT queries for `version.bind`, `version.server`, `hostname.bind` and
        /// `id.server` are answered.
        optional identify: bool = false,
        /// File with the secret of DNS cookies (RFC 9018), shared by instances that answer on one
        /// address, relative to the policy folder: 32 hexadecimal digits in a line, the one in use
        /// first, and in a second line another that is accepted too. Left out: random.
        optional cookie_secrets: Text,
        /// Where DNS is answered over UDP and TCP.
        optional listen: OneOrMany<SocketAddr> = "127.0.0.1:5300",
        /// DNS over TLS (RFC 7858). Left out: not offered.
        optional dot: EncryptedFile,
        /// DNS over HTTPS (RFC 8484) at `/dns-query`. Left out: not offered.
        optional doh: EncryptedFile,
        /// DNS over QUIC (RFC 9250). Left out: not offered.
        optional doq: EncryptedFile,
        /// Where remote vantages and nodes with pushed load report. Left out: nowhere.
        optional reports: ReportsFile,
        /// Where clients report what they measured (docs/latency.md). Left out: nowhere.
        optional measure: MeasureFile,
        /// Where status, metrics and the actions of operators are served over HTTP; a node may push its load
        /// here too. Off loopback `admin_access` has to give a certificate.
        optional admin: SocketAddr = "127.0.0.1:8053",
        /// Who may use the admin address, and how (docs/access.md). Left out: root and the user that rhumb
        /// runs as, on this machine, and whoever shows a token.
        optional admin_access: AdminAccessFile,
        /// Folder for the last good table and policy, relative to the working folder.
        optional state: Text = "state",
        /// MMDB files, relative to the policy folder; later ones overlay earlier ones. Left out: the
        /// shipped ones.
        optional geo: OneOrMany<Text>,
        /// UDP workers per listener; 0 is one per core.
        optional workers: Whole<0, 1024> = 0,
        /// How often the planner looks for better places.
        optional tick: Span<100, 60_000> = "1s",
        /// How the planner may move clients (docs/planner.md). Left out: the defaults.
        optional planner: PlannerFile,
        /// Whether probes of kind `command` may run programs here, as the user rhumb runs as.
        optional commands: bool = false,
        /// Zones to sign, with keys that `rhumb keys generate` makes. Left out: none.
        optional dnssec: DnssecFile,
        /// Limits of responses over UDP, or `none`. Left out: the defaults.
        optional rate_limit: OrNone<RateLimitFile>,
        /// Limits of queries over UDP while there are more than can be answered, or `none`. Left out: the
        /// defaults.
        optional query_limit: OrNone<QueryLimitFile>,
        /// A sample of the queries, as lines of JSON. Left out: none.
        optional query_log: QueryLogFile,
        /// Queries and responses as dnstap. Left out: none.
        optional dnstap: DnstapFile,
        /// Zone transfer to other servers (AXFR out, RFC 5936). Left out: refused.
        optional transfer: TransferFile,
        /// A page for everybody that says how services do (docs/incidents.md). Left out: none.
        optional status_page: StatusPageFile,
    }
}

record! {
    /// How the planner may move clients. What fails is left at once, whatever is said here.
    pub struct PlannerFile {
        /// Of all demand so much is moved by choice in any `change_window`, at most.
        optional change_budget: Percent<1, 100> = "20%",
        /// The window of the change budget.
        optional change_window: Span<1_000, 3_600_000> = "1m",
        /// A better place has to be wanted for so long without a break, and batches of moves are so far apart.
        optional dwell: Span<100, 600_000> = "3s",
        /// Nobody is moved to gain less than this,
        optional margin: Span<0, 1_000> = "10ms",
        /// or less than this share of what the better place costs.
        optional margin_share: Percent<0, 100> = "15%",
        /// A node that came back has all of its clients again after this time, a tenth at once. 0s: all at once.
        optional ramp: Span<0, 86_400_000> = "5m",
        /// A node that reached its cap takes nobody by choice before it is at this share of its capacity.
        optional spill_end: Percent<1, 100> = "65%",
        /// When clients of a rule count as spilling.
        optional spill: SpillFile,
    }
}

record! {
    /// The rung of the ladder at which clients of a rule are sent to later pools of their chain.
    pub struct SpillFile {
        /// It begins when this share of their demand is on later pools.
        optional enter: Percent<0, 100> = "1%",
        /// It ends when no more than this share was for `dwell`. Below `enter`.
        optional exit: Percent<0, 100> = "0.2%",
        /// How long that has to be so.
        optional dwell: Span<0, 86_400_000> = "30s",
    }
}

record! {
    /// The status page: plain HTTP, read-only, without tokens. Put a proxy with TLS before it.
    pub struct StatusPageFile {
        /// Where to listen.
        required listen: SocketAddr,
        /// What stands at the top.
        optional title: Text = "Service status",
        /// Whether sites, nodes and lines are named in what went wrong. Never their addresses.
        optional names: bool = false,
    }
}

record! {
    /// Responses a second that one worker sends over UDP to one client prefix (/24, /56), by kind of
    /// answer. Clients with a valid DNS cookie are not limited, nor are TCP and TLS.
    pub struct RateLimitFile {
        /// Data of a zone file.
        optional answers: Whole<1, 100_000> = 50,
        /// Addresses of steered names.
        optional steered: Whole<1, 100_000> = 50,
        /// NXDOMAIN, and names without the type asked for.
        optional negative: Whole<1, 100_000> = 50,
        /// Delegations.
        optional referrals: Whole<1, 100_000> = 50,
        /// Refusals, failures and malformed queries.
        optional errors: Whole<1, 100_000> = 50,
        /// Of the responses above the limit every so many is sent truncated, so that a client comes
        /// back over TCP; the others are not sent. 0 sends none, 1 all.
        optional slip: Whole<0, 10> = 2,
        /// Kinds of answers that are counted above their limit, and sent.
        optional log_only: OneOrMany<ClassWord> = "steered",
        /// Networks that are never limited. Left out: loopback.
        optional allow: List<Cidr>,
    }
}

record! {
    /// What one client prefix (/24, /56) may have of a worker that gets more queries over UDP than it can
    /// answer: those who ask most are limited first, down to a share that is found by itself. While a
    /// worker keeps up nobody is limited; clients with a valid DNS cookie never are.
    pub struct QueryLimitFile {
        /// Queries a second of one prefix that a worker answers whatever happens.
        optional at_least: Whole<10, 1_000_000> = 100,
        /// Queries a second that a worker answers before it limits anybody. Left out: as many as it can.
        optional above: Whole<100, 10_000_000>,
        /// Of the queries above the limit every so many is answered truncated, so that a client comes
        /// back over TCP; the others are not answered. 0 answers none, 1 all.
        optional slip: Whole<0, 100> = 20,
        /// Count queries above the limit, and answer them.
        optional log_only: bool = false,
        /// Networks that are never limited. Left out: loopback.
        optional allow: List<Cidr>,
    }
}

choice! {
    /// A kind of answer.
    pub enum ClassWord {
        Answers = "answers",
        Steered = "steered",
        Negative = "negative",
        Referrals = "referrals",
        Errors = "errors",
    }
}

record! {
    /// A sample of the queries.
    pub struct QueryLogFile {
        /// One query in so many is logged.
        optional sample: Whole<1, 1_000_000> = 1000,
        /// A file to append to, relative to the working folder; or `stdout`.
        required to: Text,
    }
}

record! {
    /// Zone transfer: who may have which zones, and who is told that they changed.
    pub struct TransferFile {
        /// Origins of the zones to give, or `all`.
        optional zones: OneOrMany<ZoneWord> = "all",
        /// Networks that may ask. Left out: every client that signs with one of the keys.
        optional allow: OneOrMany<Cidr>,
        /// File of TSIG keys (RFC 8945) as `tsig-keygen` writes them, readable by its owner only,
        /// relative to the policy folder. With it, every transfer has to be signed.
        optional keys: Text,
        /// Servers that are told of every change (NOTIFY, RFC 1996).
        optional secondaries: List<SecondaryFile>,
    }
}

record! {
    /// dnstap, as frame streams over a unix socket.
    pub struct DnstapFile {
        /// The socket on which a reader listens, relative to the working folder.
        required socket: Text,
        /// One exchange in so many is sent.
        optional sample: Whole<1, 1_000_000> = 1,
    }
}

record! {
    /// A server that keeps a copy.
    pub struct SecondaryFile {
        /// Where it listens: an address with its port.
        required address: SocketAddr,
        /// Name of the TSIG key that NOTIFY to it is signed with.
        optional key: Text,
    }
}

record! {
    /// An encrypted transport: where it listens, and the certificate it shows.
    pub struct EncryptedFile {
        /// Where to listen.
        required listen: OneOrMany<SocketAddr>,
        /// PEM certificate chain, relative to the policy folder.
        required certificate: Text,
        /// PEM private key, relative to the policy folder.
        required key: Text,
    }
}

record! {
    /// The listener for what others report: observations of remote vantages, load that nodes push. TLS 1.3 only.
    pub struct ReportsFile {
        /// Where to listen.
        required listen: SocketAddr,
        /// PEM certificate chain, relative to the policy folder.
        required certificate: Text,
        /// PEM private key, relative to the policy folder.
        required key: Text,
        /// PEM file of the authorities whose client certificates are taken in place of a token, relative to the
        /// policy folder. A certificate speaks for the vantage that its DNS name names. Left out: tokens only.
        optional client_ca: Text,
    }
}

record! {
    /// What stands before the admin address.
    pub struct AdminAccessFile {
        /// PEM certificate chain, relative to the policy folder: TLS 1.3 is spoken, and nothing else.
        optional certificate: Text,
        /// PEM private key, relative to the policy folder.
        optional key: Text,
        /// Networks that may read `/metrics` without a token. Left out: none.
        optional metrics: List<Cidr>,
        /// A file that gets each line of the audit log too, relative to the working folder; on another disk or
        /// machine it tells what was cut off here. Left out: none.
        optional audit_copy: Text,
        /// An HTTP receiver that gets each line of the audit log too, in order. Left out: none.
        optional audit_webhook: AuditWebhookFile,
    }
}

record! {
    /// Who gets the lines of the audit log.
    pub struct AuditWebhookFile {
        /// Takes POSTs of JSON.
        required url: ReceiverUrl,
        /// File with a bearer token, or with the whole value of the `Authorization` header; relative to the
        /// policy folder, not readable by everybody.
        optional authorization_file: Text,
        /// File of PEM certificates to trust instead of the platform's, relative to the policy folder.
        optional ca: Text,
    }
}

record! {
    /// The listener for what clients measure, `POST /measure`. TLS 1.3 only.
    pub struct MeasureFile {
        /// Where to listen.
        required listen: OneOrMany<SocketAddr>,
        /// PEM certificate chain, relative to the policy folder.
        required certificate: Text,
        /// PEM private key, relative to the policy folder.
        required key: Text,
        /// File of keys that sign passes, a line `NAME KEY` each, as `rhumb measure key NAME` makes them, relative
        /// to the policy folder and readable by its owner only. Left out: clients speak for the network that
        /// they connect from.
        optional passes: Text,
        /// Measurements older than this are dropped.
        optional max_age: Span<60_000, 604_800_000> = "1h",
        /// Client networks below which nothing of a group is used or shown.
        optional least_sources: Whole<2, 64> = 5,
    }
}

record! {
    /// Signed zones.
    pub struct DnssecFile {
        /// Origins of the zones to sign, or `all`.
        required zones: OneOrMany<ZoneWord>,
        /// Folder of the key files, relative to the working folder.
        optional keys: Text = "keys",
        /// Of keys made from now on.
        optional algorithm: AlgorithmWord = "ecdsap256sha256",
    }
}

choice! {
    /// A signature algorithm.
    pub enum AlgorithmWord { EcdsaP256Sha256 = "ecdsap256sha256", Ed25519 = "ed25519", }
}

/// The origin of a zone, or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneWord {
    All,
    Named(String),
}

impl Scalar for ZoneWord {
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "all" }, <Hostname as Scalar>::schema()] })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        if text == "all" {
            return Ok(Self::All);
        }
        Hostname::parse(text, plain).map(|name| Self::Named(name.0))
    }
}
