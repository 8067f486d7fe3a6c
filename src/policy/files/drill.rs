//! `drills/*.yaml`: faults on purpose, for a while, watched from outside.

use super::alerts::ProblemWord;
use super::safety::{TargetText, TimeOfDay, WindowFile};
use super::service::TierWord;
use crate::model::drill::On;
use crate::policy::findings::Findings;
use crate::policy::read::{Bad, List, OneOrMany, Read, Scalar, choice, record};
use crate::policy::scalars::{Percent, Span, Text, Version, Whole};
use crate::policy::tree::{Node, Value};
use serde_json::{Value as Json, json};

record! {
    /// A drill: a fault on purpose, for a while, watched from outside. Its name is the file's without .yaml;
    /// `docs/drills.md` explains.
    pub struct DrillFile {
        /// Version of the policy language.
        gated version: Version,
        /// For people.
        optional title: Text,
        /// What is taken away: `region/eu`, `site/tyo`, `line/telecom`, `label/scope=world`, `node/tyo-*`.
        required targets: OneOrMany<TargetText>,
        /// What is done to them. force-down: they leave the answers, and their clients are lost at once. drain: they
        /// leave the answers, and sessions end in their own time. Or programs that break and heal them really.
        optional fault: FaultFile = "force-down",
        /// Time from the first target's fault to the last one's.
        optional ramp: Span<0, 7_200_000> = "0s",
        /// Time from the last target's fault to the restoration.
        required hold: Span<1_000, 7_200_000>,
        /// Time that clients are asked before the first fault, and after the restoration.
        optional watch: Span<1_000, 600_000> = "10s",
        /// Client networks that are asked for.
        optional clients: Whole<10, 10_000> = 1_000,
        /// When it is given up.
        optional guardrails: GuardrailsFile,
        /// Hours in which it does not begin.
        optional blackout: OneOrMany<WindowFile>,
        /// Recovery tier that it is held against: 5m (payments), 15m (messaging, live), 30m (internal), 2h (the rest).
        required tier: TierWord,
        /// When it runs by itself. Left out: when somebody runs it.
        optional schedule: ScheduleFile,
        /// Where people read on: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

record! {
    /// Dates of a drill, in UTC. What forbids a run by hand forbids this too; it is tried again while its window lasts.
    pub struct ScheduleFile {
        /// How often. quarterly: in January, April, July and October.
        required every: EveryWord,
        /// The day: `first tuesday`, `last friday`, `15` or `last` of the month; weekly: `tuesday`.
        required on: OnText,
        /// Its moment in UTC: `10:00`.
        required at: TimeOfDay,
        /// It waits for `rhumb drill confirm`, and lapses with its window. false: it begins by itself.
        optional confirm: bool = "true",
        /// Its window: so long after its moment it may still begin.
        optional within: Span<600_000, 86_400_000> = "2h",
    }
}

choice! {
    /// How often.
    pub enum EveryWord { Weekly = "weekly", Monthly = "monthly", Quarterly = "quarterly", }
}

/// A day of a week or month.
#[derive(Clone, Copy, Debug)]
pub struct OnText(pub On);

impl Scalar for OnText {
    fn schema() -> Json {
        let days = "(mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|fri(day)?|sat(urday)?|sun(day)?)";
        let pattern = format!("^([1-9]|[12][0-9]|3[01]|last|((first|second|third|fourth|last) )?{days})$");
        json!({ "type": ["string", "integer"], "pattern": pattern, "minimum": 1, "maximum": 31 })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let help = "first tuesday, last friday, 15 or last; weekly: tuesday";
        On::parse(text).map(Self).ok_or_else(|| Bad::value(format!("`{text}` is not a day"), help))
    }
}

choice! {
    /// A fault that is an override.
    pub enum FaultWord { ForceDown = "force-down", Drain = "drain", }
}

record! {
    /// Programs that break and heal a target, run once for each. Needs `commands: true` in rhumb.yaml.
    pub struct HookFile {
        /// Program and arguments, run without a shell; `{target}` stands for `site/tyo`, `{name}` for `tyo`. A
        /// program with a `/` is relative to the policy folder.
        required inject: List<Text>,
        /// The same for what takes it back. It may be run twice, and where nothing was broken.
        required heal: List<Text>,
        /// Time one run may take.
        optional timeout: Span<100, 600_000> = "30s",
    }
}

/// `drain`, or `{inject: [..], heal: [..]}`.
#[derive(Clone, Debug)]
pub enum FaultFile {
    Word(FaultWord),
    Hook(Box<HookFile>),
}

impl Read for FaultFile {
    fn schema() -> Json {
        json!({ "anyOf": [<FaultWord as Read>::schema(), HookFile::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            return HookFile::read(node, findings).map(|hook| Self::Hook(Box::new(hook)));
        }
        FaultWord::read(node, findings).map(Self::Word)
    }
}

record! {
    /// When a drill is given up, which restores at once.
    pub struct GuardrailsFile {
        /// A node that is no target is planned fuller than this. Left out: than its cap.
        optional utilisation: Percent<1, 200>,
        /// More than 5 % of the clients are planned to have a longer round trip. Left out: any.
        optional latency_p95: Span<1, 60_000>,
        /// More of the answers of ten seconds are wrong.
        optional failed_answers: Percent<0, 100> = "1%",
        /// More nodes that are no targets are down.
        optional others_down: Whole<0, 60_000> = 0,
        /// No incident may open but of what the drill itself causes.
        optional incidents: bool = "true",
        /// Problems of `rhumb status` that come up meanwhile. Left out: those of the planner and the table.
        optional problems: List<ProblemWord>,
        /// Most vantages have to be trusted, and the table must not be frozen.
        optional quorum: bool = true,
    }
}
