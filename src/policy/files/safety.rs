//! `safety.yaml`: what has to stay true of the fleet whatever operators do.

use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use crate::model::canary;
use crate::model::overrides::Target;
use crate::model::safety::DAYS;
use crate::policy::read::{Bad, OneOrMany, Scalar, Table, choice, record};
use crate::policy::scalars::{Name, Percent, Span, Text, Version, Whole, not_one_of};
use serde_json::{Value as Json, json};

record! {
    /// Safety rules; `docs/overrides.md` explains.
    pub struct SafetyFile {
        /// Version of the policy language.
        gated version: Version,
        /// By the name that refusals tell and `--break-glass` takes.
        optional rules: Table<Name, SafetyRuleFile>,
        /// What an edit of the policy may do at most; `docs/policies.md` explains.
        optional guardrails: GuardrailsFile,
        /// How `rhumb apply --canary` goes where its flags do not say; `docs/canary.md` explains.
        optional canary: CanaryFile,
    }
}

record! {
    /// A policy in force for a share of the clients first, compared with the others.
    pub struct CanaryFile {
        /// Of all demand.
        optional share: Percent<0, 90> = "10%",
        /// How long before it goes to all.
        optional lasts: Span<10_000, 604_800_000> = "10m",
        /// Probability of giving up a policy that does no harm.
        optional alpha: Percent<0, 50> = "5%",
        /// A rise of round trips below it is no reason to give up: `5ms`, or `5%` of what they were.
        optional latency: Worse = "5ms",
        /// As `latency`, of loss, in points: of 100 packets.
        optional loss: Percent<0, 100> = "0.5%",
        /// So many client groups with figures there have to be on each side for a comparison.
        optional min_groups: Whole<2, 10_000> = "5",
        /// What becomes of it at its end if there are fewer.
        optional when_thin: WhenThinWord = "hold",
    }
}

choice! {
    /// A canary without enough evidence waits for somebody to decide, or goes to all.
    pub enum WhenThinWord { Hold = "hold", Promote = "promote", }
}

record! {
    /// Limits of what an edit does, worked out before it is taken into force. Each may be left out.
    pub struct GuardrailsFile {
        /// Of the clients of any service, so many may be answered with another node than before.
        optional moved: Percent<0, 100>,
        /// So full may a node become.
        optional utilisation: Percent<1, 1_000>,
        /// So much may the 95th percentile of round trips of any service rise: `+20%`.
        optional latency_p95: Rise,
        /// So many capacity units of demand may find no room.
        optional unserved: Whole<0, 1_000_000_000_000>,
        /// What becomes of files edited in place that break a guardrail, or a rule of kind `window` or `freeze`.
        optional on_edit: OnEditWord = "apply",
    }
}

choice! {
    /// What becomes of an edit in place: taken into force and told, held until it is confirmed, refused.
    pub enum OnEditWord { Apply = "apply", Hold = "hold", Refuse = "refuse", }
}

record! {
    /// One rule: exactly one of `at_least`, `never_both`, `window` and `freeze`.
    pub struct SafetyRuleFile {
        /// So many have to serve.
        optional at_least: AtLeastFile,
        /// Of these targets only one may be away at a time.
        optional never_both: OneOrMany<TargetText>,
        /// Overrides are set within these hours only.
        optional window: WindowFile,
        /// Overrides are not set within this time.
        optional freeze: FreezeFile,
        /// Nodes that the rule is about: `site/tyo`, `region/ea`, `line/telecom`, `label/scope=world`, `node/tyo-*`.
        /// Left out: all.
        optional among: OneOrMany<TargetText>,
        /// Where people read on: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

choice! {
    /// What is counted.
    pub enum UnitWord { Node = "node", Site = "site", Region = "region", }
}

record! {
    /// How many have to serve.
    pub struct AtLeastFile {
        /// So many.
        required count: Whole<1, 60_000>,
        /// Of these: a site or region serves while one of its nodes does.
        required of: UnitWord,
    }
}

record! {
    /// Hours of a week.
    pub struct WindowFile {
        /// Left out: every day.
        optional days: OneOrMany<DayWord>,
        /// The first minute: `09:00`.
        required from: TimeOfDay,
        /// The first minute that is outside: `18:00`; before `from`: of the next day.
        required to: TimeOfDay,
        /// East of UTC: `+08:00`.
        optional utc_offset: UtcOffset = "+00:00",
    }
}

record! {
    /// A change freeze.
    pub struct FreezeFile {
        /// Its beginning: `2026-12-24T00:00:00+08:00`.
        required from: Moment,
        /// Its end.
        required until: Moment,
    }
}

/// A target of overrides.
#[derive(Clone, Debug)]
pub struct TargetText(pub Target);

impl Scalar for TargetText {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^((node|site|region|line)/.+|label/.+=.+|[^/]+)$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let help = "node/NAME, site/NAME, region/NAME, line/NAME or label/KEY=VALUE; * stands for any text";
        text.parse().map(Self).map_err(|why: String| Bad::value(why, help))
    }
}

/// Position of a day, Monday first.
#[derive(Clone, Copy, Debug)]
pub struct DayWord(pub usize);

impl Scalar for DayWord {
    fn schema() -> Json {
        json!({ "type": "string", "enum": DAYS })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        DAYS.iter().position(|day| *day == text).map(Self).ok_or_else(|| not_one_of(text, &DAYS))
    }
}

/// Minutes of a day.
#[derive(Clone, Copy, Debug)]
pub struct TimeOfDay(pub u16);

impl Scalar for TimeOfDay {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let bad = || Bad::value(format!("`{text}` is not a time of day"), "write it as \"09:00\", in quotes");
        minutes(text).filter(|minutes| *minutes < 24 * 60).map(Self).ok_or_else(bad)
    }
}

/// Minutes east of UTC.
#[derive(Clone, Copy, Debug)]
pub struct UtcOffset(pub i16);

impl Scalar for UtcOffset {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[+-](0[0-9]|1[0-4]):[0-5][0-9]$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let bad =
            || Bad::value(format!("`{text}` is not an offset from UTC"), "write it as \"+08:00\", in quotes");
        let (sign, rest) = text.split_at_checked(1).ok_or_else(bad)?;
        let minutes =
            minutes(rest).and_then(|it| i16::try_from(it).ok()).filter(|it| *it < 15 * 60).ok_or_else(bad)?;
        match sign {
            "+" => Ok(Self(minutes)),
            "-" => Ok(Self(-minutes)),
            _ => Err(bad()),
        }
    }
}

/// `hh:mm`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_two.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}

/// How much something may rise: `+20%`.
#[derive(Clone, Copy, Debug)]
pub struct Rise(pub Ppm);

impl Scalar for Rise {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\+?[0-9]+(\\.[0-9]{1,4})?%$" })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        let share = Percent::<0, 1_000>::parse(text.strip_prefix('+').unwrap_or(text), plain);
        share.map(|share| Self(share.0)).map_err(|bad| Bad { help: "write it as +20%".to_owned(), ..bad })
    }
}

/// How much longer round trips may become: `5ms`, `5%`.
#[derive(Clone, Copy, Debug)]
pub struct Worse(pub canary::Rise);

impl Scalar for Worse {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]{1,4})?%|([0-9]+(ms|s))+)$" })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        if text.ends_with('%') {
            return Percent::<0, 1_000>::parse(text, plain).map(|part| Self(canary::Rise::ByPart(part.0)));
        }
        let span = Span::<0, 10_000>::parse(text, plain);
        let micros = |span: Span<0, 10_000>| Micros(u32::try_from(span.0.as_micros()).unwrap_or(u32::MAX));
        span.map(|span| Self(canary::Rise::By(micros(span))))
            .map_err(|bad| Bad { help: "write it as 5ms, or as 5% of what they were".to_owned(), ..bad })
    }
}

/// A moment with its offset, as RFC 3339 writes it.
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub WallTime);

impl Scalar for Moment {
    fn schema() -> Json {
        json!({ "type": "string", "format": "date-time" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let moment: Option<jiff::Timestamp> = text.parse().ok();
        let ms = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
        let bad = || Bad::value(format!("`{text}` is not a moment"), "write it as 2026-12-24T00:00:00+08:00");
        ms.map(|ms| Self(WallTime(ms))).ok_or_else(bad)
    }
}
