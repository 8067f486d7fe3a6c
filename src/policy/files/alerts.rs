//! `alerts.yaml`: what people are told of, and who is told.

use crate::model::status::PROBLEM_CODES;
use crate::policy::findings::Findings;
use crate::policy::read::{Bad, OneOrMany, Read, Scalar, Table, choice, record};
use crate::policy::scalars::{Name, Percent, Span, Text, Version, Whole, good_authority, not_one_of};
use crate::policy::tree::{Node, Value};
use serde_json::{Value as Json, json};

record! {
    /// Alerts. Everything is optional; `docs/alerts.md` explains.
    pub struct AlertsFile {
        /// Version of the policy language.
        gated version: Version,
        /// A message waits until nothing was added to it for so long, and five times as long at most.
        optional group_wait: Span<0, 60_000> = "1s",
        /// An alert is over when nothing was the matter for so long.
        optional resolve_after: Span<0, 86_400_000> = "30s",
        /// Who is told. Left out: nobody.
        optional receivers: Table<Name, ReceiverFile>,
        /// What is told. Left out: the rules that rhumb comes with.
        optional rules: Table<Name, RuleFile>,
        /// What is more than an alert: kept, with a timeline. Left out: the defaults.
        optional incidents: IncidentsFile,
    }
}

record! {
    /// Somebody who is told: an Alertmanager or a webhook.
    pub struct ReceiverFile {
        /// Base URL of a Prometheus Alertmanager; alerts go to its API v2.
        optional alertmanager: ReceiverUrl,
        /// URL that takes one POST of JSON per alert.
        optional webhook: ReceiverUrl,
        /// Alerts that matter less are not told.
        optional at_least: SeverityWord = "notice",
        /// File with a bearer token, or with the whole value of the `Authorization` header; relative to the
        /// policy folder, not readable by everybody.
        optional authorization_file: Text,
        /// File of PEM certificates to trust instead of the platform's, relative to the policy folder.
        optional ca: Text,
        /// Of one attempt.
        optional timeout: Span<100, 60_000> = "5s",
        /// An alert that goes on is told again after so long. Left out: 1m for an Alertmanager, which forgets
        /// what it does not hear of, 4h for a webhook.
        optional repeat: Span<10_000, 604_800_000>,
    }
}

record! {
    /// Something to tell of.
    pub struct RuleFile {
        /// What is the matter, in a few words. Left out: the rule's name.
        optional summary: Text,
        /// How much it matters; with `site` and `region` by how far it reaches.
        required severity: SeverityFile,
        /// When it is the matter: all of these conditions; of a list, any of its items.
        required when: OneOrMany<WhenFile>,
        /// How long it has to last.
        optional lasting: Span<0, 86_400_000> = "0s",
        /// Where people read on: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

record! {
    /// When something is an incident, and when it is over (docs/incidents.md).
    pub struct IncidentsFile {
        /// An incident is closed when nothing of it was the matter for so long, and quality was restored.
        optional close_after: Span<1_000, 86_400_000> = "60s",
        /// A node that was degraded for so long is an incident.
        optional degraded_after: Span<1_000, 86_400_000> = "5m",
    }
}

choice! {
    /// How much something matters.
    pub enum SeverityWord { Notice = "notice", Warning = "warning", Critical = "critical", }
}

record! {
    /// How much it matters by how far it reaches.
    pub struct ReachFile {
        /// A node.
        required node: SeverityWord,
        /// Most nodes of a site. Left out: as a node.
        optional site: SeverityWord,
        /// Most sites of a region. Left out: as a site.
        optional region: SeverityWord,
    }
}

/// `warning`, or `{node: warning, region: critical}`.
#[derive(Clone, Debug)]
pub enum SeverityFile {
    Plain(SeverityWord),
    ByReach(ReachFile),
}

impl Read for SeverityFile {
    fn schema() -> Json {
        json!({ "anyOf": [<SeverityWord as Read>::schema(), ReachFile::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            return ReachFile::read(node, findings).map(Self::ByReach);
        }
        SeverityWord::read(node, findings).map(Self::Plain)
    }
}

record! {
    /// Conditions that hold together: of a node, of a service, or of this instance.
    pub struct WhenFile {
        /// Of a node: its verdict, over both address families the better one.
        optional verdict: OneOrMany<VerdictWord>,
        /// Of a node: one address family is down, the other is not.
        optional family: FamilyWord,
        /// Of a node: the rule that holds its verdict.
        optional reason: OneOrMany<ReasonWord>,
        /// Of a node: it keeps going down and coming back.
        optional flapping: FlappingFile,
        /// Of a node: slower than it usually is.
        optional latency: SlowFile,
        /// Of a node: probes lost, with 95 % confidence.
        optional loss: AboveFile,
        /// Of a node: its worst resource against its capacity.
        optional load: AboveFile,
        /// Of a node: `cache_hit` of its load feed.
        optional cache_hit: BelowFile,
        /// Of a node: `error_rate` of its load feed.
        optional errors: ErringFile,
        /// Of a node: the certificate that probes are shown.
        optional certificate: DaysFile,
        /// Of a service: client groups that `on_all_down` answers.
        optional unserved: AboveFile,
        /// Of a service: its demand above what its nodes may be given.
        optional over_capacity: AboveFile,
        /// Of a service: how far the clients of one of its areas are from normal service.
        optional rung: OneOrMany<RungWord>,
        /// Of this instance: a problem that `rhumb status` shows, by its code.
        optional problem: OneOrMany<ProblemWord>,
        /// Of this instance: something that ends soon.
        optional expiry: ExpiryFile,
        /// Of this instance: an override that ends soon.
        optional override_ending: EndingFile,
    }
}

record! {
    /// An override that is about to end.
    pub struct EndingFile {
        /// So soon. Overrides that were set for less are not told of.
        required within: Span<1_000, 259_200_000>,
    }
}

choice! {
    /// A verdict to be told of.
    pub enum VerdictWord { Down = "down", Degraded = "degraded", Unknown = "unknown", }
}

choice! {
    /// What a family is.
    pub enum FamilyWord { Down = "down", }
}

choice! {
    /// A rule that holds a verdict, as `rhumb status --format json` shows it.
    pub enum ReasonWord {
        Failures = "failures",
        Latency = "latency",
        Late = "late",
        Loss = "loss",
        Certificate = "certificate",
        Outlier = "outlier",
        Load = "load",
        StaleLoad = "stale-load",
        Errors = "errors",
        Circuit = "circuit",
        Damped = "damped",
    }
}

choice! {
    /// A rung of the degradation ladder.
    pub enum RungWord { Spill = "spill", Shed = "shed", Circuit = "circuit", }
}

choice! {
    /// Something that ends some day.
    pub enum ExpiryWord { Certificate = "certificate", Key = "key", Signature = "signature", }
}

record! {
    /// Changes of sides.
    pub struct FlappingFile {
        /// So many, a failure and a recovery being two ...
        required changes: Whole<2, 64>,
        /// ... within this time.
        required within: Span<1_000, 86_400_000>,
    }
}

record! {
    /// Round trips above a multiple of the usual one, and by a margin.
    pub struct SlowFile {
        /// The multiple.
        required factor: Percent<110, 10_000>,
        /// The margin.
        optional margin: Span<0, 10_000> = "20ms",
    }
}

record! {
    /// More than a share.
    pub struct AboveFile {
        /// The share.
        required above: Percent<0, 1000>,
    }
}

record! {
    /// Less than a share.
    pub struct BelowFile {
        /// The share.
        required below: Percent<0, 100>,
    }
}

record! {
    /// Errors: more than a share, or more than usual, or both.
    pub struct ErringFile {
        /// The share.
        optional above: Percent<0, 100>,
        /// This multiple of the average of ten minutes, and a percent more.
        optional factor: Percent<110, 10_000>,
    }
}

record! {
    /// Less than some days.
    pub struct DaysFile {
        /// The days.
        required days: Whole<1, 365>,
    }
}

record! {
    /// What ends in less than some days.
    pub struct ExpiryFile {
        /// What it is. Left out: any.
        optional of: OneOrMany<ExpiryWord>,
        /// The days.
        required days: Whole<1, 365>,
    }
}

/// The code of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemWord(pub String);

impl Scalar for ProblemWord {
    fn schema() -> Json {
        json!({ "type": "string", "enum": PROBLEM_CODES })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        match PROBLEM_CODES.contains(&text) {
            true => Ok(Self(text.to_owned())),
            false => Err(not_one_of(text, PROBLEM_CODES)),
        }
    }
}

/// Where a receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverUrl(pub String);

impl Scalar for ReceiverUrl {
    fn schema() -> Json {
        json!({ "type": "string", "format": "uri", "pattern": "^https?://" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let refuse =
            |why: &str, help: &str| Err(Bad::value(format!("`{text}` is not a receiver's URL: {why}"), help));
        let whole = "https://hooks.example.com/rhumb";
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("it has no scheme", whole);
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        match () {
            () if !matches!(scheme, "http" | "https") => refuse("alerts go by http or https", whole),
            () if host.contains('@') => refuse(
                "credentials do not belong into a policy file",
                "put them into a file: `authorization_file`",
            ),
            () if !good_authority(host) || !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                refuse("its host or port cannot be read", whole)
            }
            () => Ok(Self(text.to_owned())),
        }
    }
}
