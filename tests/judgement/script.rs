//! What may be in a scenario.
//!
//! ```yaml
//! title: what it shows, in a sentence
//! sites: { a: 3, b: 2 }              # nodes a-1 .. a-3, b-1, b-2
//! families: [v4, v6]                 # default: v4
//! probe: { interval: 2s, timeout: 1s, rise: 5, fall: 3, ok: 5 }
//! fast: "b-*"                        # these nodes are probed every 200 ms
//! checks: 2                          # equal checks per node; default 1
//! combine: any                       # all, any, or how many
//! pools: { live: { members: "*", min_alive: 50 } }
//! vantages: [{ name: local, anchors: 1 }, { name: tokyo, line: telecom }]
//! rtt: 10ms                          # of every node, until the world says otherwise
//! noise: 5                           # percent, seeded
//! stale: degraded                    # what a silent load feed means; feeds begin with the first `load`
//! world:                             # what happens; later lines outrank earlier ones
//!   - { at: 60s, node: "a-*", answer: refused }    # ok refused timeout slow status
//!   - { at: 60s, node: a-1, vantage: tokyo, family: v6, check: 1, answer: ok }
//!   - { at: 60s, node: a-1, pattern: sf }          # every other probe fails (timeout)
//!   - { at: 60s, node: a-1, loss: 20 }             # percent of probes time out
//!   - { at: 60s, node: a-1, rtt: 400ms }
//!   - { at: 60s, node: a-1, certificate: 3 }       # days
//!   - { at: 60s, node: a-1, load: 99, errors: 40 } # percent; feed: false silences the feed
//!   - { at: 60s, vantage: tokyo, cut: true }       # its network: targets and anchors time out
//!   - { at: 60s, vantage: tokyo, silent: true }    # what it sees does not arrive
//!   - { at: 60s, vantage: tokyo, anchors_answer: false }
//!   - { at: 60s, vantage: tokyo, anchors: 0 }      # an edit: it has so many anchors from now on
//!   - { at: 60s, drill: a-1 }
//!   - { at: 60s, suspend: 10m }                    # nothing runs; monotonic time passes
//!   - { at: 60s, clock: 3600 }                     # the wall clock steps, seconds
//!   - { at: 60s, restart: true }                   # or reload: true
//! until: 120s
//! expect:
//!   - { node: a-1, to: down, after: 60s, within: 8s, because: refused, rule: failures }
//!   - { node: a-1, scope: line telecom, to: down, after: 60s, within: 8s }
//!   - { freeze: true, after: 60s, within: 8s }
//!   - { vantage: tokyo, distrust: blind, after: 60s, within: 8s }   # or none
//!   - { node: "*", is: up, at: 100s }              # no change, the state at that moment
//! ```
//! A `node` is a name, or a beginning and `*`; an expectation of several nodes is one for each.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub title: String,
    #[serde(default = "three_nodes")]
    pub sites: BTreeMap<String, u32>,
    #[serde(default = "only_v4")]
    pub families: Vec<String>,
    #[serde(default)]
    pub probe: Probe,
    pub fast: Option<String>,
    #[serde(default = "one")]
    pub checks: u8,
    pub combine: Option<String>,
    #[serde(default)]
    pub pools: BTreeMap<String, PoolScript>,
    #[serde(default)]
    pub vantages: Vec<VantageScript>,
    #[serde(default = "ten_ms")]
    pub rtt: Span,
    #[serde(default)]
    pub noise: u32,
    #[serde(default)]
    pub seed: u64,
    pub stale: Option<String>,
    #[serde(default)]
    pub world: Vec<Happening>,
    pub until: Span,
    #[serde(default)]
    pub expect: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    pub interval: Span,
    pub timeout: Span,
    pub rise: u8,
    pub fall: u8,
    pub ok: u8,
}

impl Default for Probe {
    fn default() -> Self {
        let (interval, timeout) = (Span(Duration::from_secs(2)), Span(Duration::from_secs(1)));
        Self { interval, timeout, rise: 5, fall: 3, ok: 5 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolScript {
    pub members: String,
    /// Percent.
    #[serde(default = "fifty")]
    pub min_alive: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VantageScript {
    pub name: String,
    pub line: Option<String>,
    #[serde(default)]
    pub anchors: u8,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Happening {
    pub at: Span,
    pub node: Option<String>,
    pub vantage: Option<String>,
    pub family: Option<String>,
    pub check: Option<u8>,
    pub answer: Option<String>,
    pub pattern: Option<String>,
    pub loss: Option<u32>,
    pub rtt: Option<Span>,
    pub certificate: Option<i32>,
    pub load: Option<u32>,
    pub errors: Option<u32>,
    pub feed: Option<bool>,
    pub cut: Option<bool>,
    pub silent: Option<bool>,
    pub anchors_answer: Option<bool>,
    pub anchors: Option<u8>,
    pub drill: Option<String>,
    pub suspend: Option<Span>,
    pub clock: Option<i64>,
    pub restart: bool,
    pub reload: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    pub node: Option<String>,
    pub family: Option<String>,
    pub scope: Option<String>,
    pub to: Option<String>,
    pub because: Option<String>,
    pub rule: Option<String>,
    pub freeze: Option<bool>,
    pub vantage: Option<String>,
    pub distrust: Option<String>,
    pub after: Span,
    pub within: Option<Span>,
    pub is: Option<String>,
    pub at: Option<Span>,
}

/// `200ms`, `8s`, `10m`, `1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let count: u64 = text[..digits].parse().map_err(|_| format!("{text:?} is no time"))?;
        let ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("{text:?} lacks a unit: ms, s, m or h")),
        };
        Ok(Self(Duration::from_millis(count * ms)))
    }
}

/// Whether `name` is what a script means: a name, or a beginning and `*`.
pub fn is_meant(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

fn three_nodes() -> BTreeMap<String, u32> {
    BTreeMap::from([("a".to_owned(), 3)])
}

fn only_v4() -> Vec<String> {
    vec!["v4".to_owned()]
}

const fn one() -> u8 {
    1
}

const fn fifty() -> u32 {
    50
}

const fn ten_ms() -> Span {
    Span(Duration::from_millis(10))
}
