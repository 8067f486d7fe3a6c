//! The protocol between a vantage and the scheduler, version 1: JSON, since it is one of the few encodings
//! that both ends can extend without a word, and at thousands of observations a second it costs nothing
//! that matters. Keys that are not known are passed over; what is known is checked where it is used.
//!
//! ```text
//!  vantage                                scheduler
//!     ── hello (version, name, token) ──▶     once, within five seconds of the connection
//!     ◀── orders (what to probe) ────────     at once, and again at each change of the fleet
//!     ── report (observations) ─────────▶     a failure or its end at once, all else within 0.2 s
//!     ◀── ping ─────────── pong ────────▶     every two seconds: is it there, how far is it
//!     ◀── refused (why) ─────────────────     before the scheduler hangs up
//! ```
//! No time of day is reckoned with: observations have an age as of when they were sent. A pong tells the
//! vantage's, for people to see.

use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::observation::{FailureReason, Measured, Outcome, Packets, Phases};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub const VERSION: u16 = 1;
/// In the handshake of TLS (ALPN).
pub const PROTOCOL: &[u8] = b"rhumb-vantage/1";
/// How often the scheduler asks whether a vantage is there.
pub const PING_EVERY: Duration = Duration::from_secs(2);
/// After so long without a word either end takes the other for gone.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Probes that cannot be made, of one report that has no observations; more are not told.
pub const MOST_UNMADE: usize = 400;
/// Of one report; with details of [`DETAIL_BYTES`] it fits a frame.
pub const MOST_SEEN: usize = 400;
/// Of what a failed probe tells; more is cut.
pub const DETAIL_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromVantage {
    Hello(Hello),
    Report(Report),
    Pong {
        number: u64,
        /// Milliseconds since 1970 by its own clock, for people; older vantages do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<u64>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromScheduler {
    Orders(Orders),
    Ping { number: u64 },
    Refused { reason: String },
}

/// Who is there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u16,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Without the token.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("version", &self.version)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What was seen since the last report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of the orders that were followed, [`Orders::mark`].
    pub mark: String,
    /// In the order in which it was seen.
    pub seen: Vec<Seen>,
    /// Observations since the start of the vantage that were never sent.
    #[serde(default)]
    pub lost: u64,
    /// All probes that cannot be made there; `None`: as it was told before on this connection. Older vantages do
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmade: Option<Vec<SeenUnmade>>,
}

/// A probe that the vantage's machine cannot make: silence about a node is not its health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenUnmade {
    #[serde(rename = "n")]
    pub node: u16,
    #[serde(rename = "f")]
    pub family: u8,
    #[serde(rename = "p")]
    pub probe: u8,
    /// Why, as for [`Ended::Failed`].
    pub what: String,
}

/// The end of a probe, or what an anchor said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    Probe(SeenProbe),
    Anchor { age: u64, at: u8, ok: bool },
}

/// Keys are short, since there are many of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenProbe {
    /// Microseconds since it ended, when it was sent.
    pub age: u64,
    #[serde(rename = "n")]
    pub node: u16,
    /// 4 or 6.
    #[serde(rename = "f")]
    pub family: u8,
    #[serde(rename = "p")]
    pub probe: u8,
    #[serde(rename = "o")]
    pub outcome: Ended,
    #[serde(rename = "m", default, skip_serializing_if = "Learned::is_nothing")]
    pub learned: Learned,
}

/// Round trips are microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    Ok(u32),
    Slow(u32),
    /// Reason by name, and the detail.
    Failed(String, String),
}

/// [`Measured`], what of it there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connect: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter: Option<u32>,
    /// Sent, lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packets: Option<(u8, u8)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<i32>,
}

impl Learned {
    pub fn of(measured: &Measured) -> Self {
        let Measured { phases: Phases { connect, tls, first_byte }, jitter, packets, certificate_days } =
            *measured;
        let micros = |micros: Option<Micros>| micros.map(|micros| micros.0);
        Self {
            connect: micros(connect),
            tls: micros(tls),
            first: micros(first_byte),
            jitter: micros(jitter),
            packets: packets.map(|packets| (packets.sent, packets.lost)),
            days: certificate_days,
        }
    }

    /// `None` if more packets were lost than sent.
    pub fn measured(self) -> Option<Measured> {
        let Self { connect, tls, first, jitter, packets, days } = self;
        if packets.is_some_and(|(sent, lost)| lost > sent) {
            return None;
        }
        let phases =
            Phases { connect: connect.map(Micros), tls: tls.map(Micros), first_byte: first.map(Micros) };
        Some(Measured {
            phases,
            jitter: jitter.map(Micros),
            packets: packets.map(|(sent, lost)| Packets { sent, lost }),
            certificate_days: days,
        })
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Ended {
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Success { rtt } => Self::Ok(rtt.0),
            Outcome::Slow { rtt } => Self::Slow(rtt.0),
            Outcome::Failure { reason, detail } => Self::Failed(reason.name().to_owned(), plain(detail)),
        }
    }

    /// `None` for a reason there is not, or a detail that is too long or no plain text.
    pub fn outcome(self) -> Option<Outcome> {
        Some(match self {
            Self::Ok(rtt) => Outcome::Success { rtt: Micros(rtt) },
            Self::Slow(rtt) => Outcome::Slow { rtt: Micros(rtt) },
            Self::Failed(reason, detail) => {
                let reason = FailureReason::ALL.into_iter().find(|known| known.name() == reason)?;
                is_plain(&detail).then_some(Outcome::Failure { reason, detail })?
            }
        })
    }
}

/// As much of a text as may be sent.
pub fn plain(text: &str) -> String {
    let mut end = text.len().min(DETAIL_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether a text is one that an honest vantage sends.
pub fn is_plain(text: &str) -> bool {
    text.len() <= DETAIL_BYTES && !text.chars().any(char::is_control)
}

/// What to probe, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// Tells one fleet from another: a hash of all that follows.
    pub mark: String,
    /// Older observations are of no use to anybody.
    pub max_age_ms: u64,
    pub anchors: Vec<SocketAddr>,
    /// By node id.
    pub nodes: Vec<OrderedNode>,
    /// Texts of the files that probes name.
    pub files: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedNode {
    pub name: String,
    /// By position.
    pub probes: Vec<OrderedProbe>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedProbe {
    pub kind: OrderedKind,
    /// IPv4, IPv6.
    pub targets: [Option<SocketAddr>; 2],
    pub interval_ms: u64,
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderedKind {
    Tcp,
    Http(OrderedHttp),
    Icmp { packets: u8 },
    Stun { packets: u8 },
    Dns { query: String, record: u16, rcode: u8, answer: Option<String> },
    Grpc { service: String, tls: bool, host: Option<String>, verify: bool, ca: Option<String> },
    Command { command: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedHttp {
    pub tls: bool,
    /// `get`, `head` or `options`.
    pub method: String,
    pub path: String,
    pub host: Option<String>,
    pub headers: Vec<(String, String)>,
    pub status: Vec<(u16, u16)>,
    pub body: Option<String>,
    pub matches: Option<String>,
    pub verify: bool,
    pub ca: Option<String>,
}

pub const fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

pub const fn family_of(number: u8) -> Option<Family> {
    match number {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_figures_come_through_whole() {
        let failures = FailureReason::ALL.map(|reason| Outcome::Failure { reason, detail: "why".to_owned() });
        let others = [Outcome::Success { rtt: Micros(7) }, Outcome::Slow { rtt: Micros(u32::MAX) }];
        for outcome in others.into_iter().chain(failures) {
            assert_eq!(Ended::of(&outcome).outcome(), Some(outcome));
        }
        let all = Measured {
            phases: Phases { connect: Some(Micros(1)), tls: Some(Micros(2)), first_byte: Some(Micros(3)) },
            jitter: Some(Micros(4)),
            packets: Some(Packets { sent: 5, lost: 2 }),
            certificate_days: Some(-6),
        };
        for measured in [Measured::default(), all] {
            assert_eq!(Learned::of(&measured).measured(), Some(measured));
        }
    }

    #[test]
    fn older_vantages_and_schedulers_are_understood() {
        let older = r#"{"report":{"mark":"m","seen":[],"lost":3}}"#;
        let report = Report { mark: "m".to_owned(), lost: 3, ..Report::default() };
        assert_eq!(
            serde_json::from_str::<FromVantage>(older).ok(),
            Some(FromVantage::Report(report.clone()))
        );
        let pong = FromVantage::Pong { number: 5, clock: None };
        assert_eq!(serde_json::from_str::<FromVantage>(r#"{"pong":{"number":5}}"#).ok(), Some(pong.clone()));
        // What an older scheduler does not know is a key more, which it passes over.
        let what = "no pings".to_owned();
        let unmade = Some(vec![SeenUnmade { node: 1, family: 4, probe: 0, what }]);
        let newer = serde_json::to_value(FromVantage::Report(Report { unmade, ..report })).expect("json");
        assert_eq!(newer["report"]["unmade"][0]["n"], 1);
        assert_eq!(serde_json::to_string(&pong).ok().as_deref(), Some(r#"{"pong":{"number":5}}"#));
    }

    #[test]
    fn what_no_probe_says_is_not_taken() {
        let failed =
            |reason: &str, detail: &str| Ended::Failed(reason.to_owned(), detail.to_owned()).outcome();
        assert_eq!(failed("bored", ""), None);
        assert_eq!(failed("timeout", "two\nlines"), None);
        assert_eq!(failed("timeout", &"x".repeat(DETAIL_BYTES + 1)), None);
        let lost_more = Learned { packets: Some((1, 2)), ..Learned::default() };
        assert_eq!(lost_more.measured(), None);
        let long = Outcome::Failure { reason: FailureReason::Tls, detail: "é".repeat(DETAIL_BYTES) };
        assert!(Ended::of(&long).outcome().is_some(), "a long detail is cut at a character");
        let lines = Outcome::Failure { reason: FailureReason::Tls, detail: "two\nlines".to_owned() };
        assert!(Ended::of(&lines).outcome().is_some(), "and made plain text");
        assert_eq!([4, 6].map(family_of), Family::BOTH.map(Some));
        assert_eq!(family_of(5), None);
    }
}
