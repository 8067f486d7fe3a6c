//! `services/*.yaml`: steered names, and which nodes may answer for whom.

use super::profiles::MoneyWeight;
use super::records::RecordsFile;
use crate::model::profile::Profile;
use crate::policy::findings::{At, Findings};
use crate::policy::read::{Bad, List, OneOrMany, Read, Scalar, Table, choice, record};
use crate::policy::scalars::{
    Hostname, Name, Percent, Shift, Span, Text, Ttl, Version, Whole, parse_duration,
};
use crate::policy::tree::{Node, Value};
use serde_json::{Value as Json, json};
use std::net::IpAddr;
use std::time::Duration;

record! {
    /// A service: steered names with a profile, pools and rules.
    pub struct ServiceFile {
        /// Version of the policy language.
        gated version: Version,
        /// Unique name. Left out: the file's name without .yaml.
        optional name: Name,
        /// For people.
        optional title: Text,
        /// The names that are answered.
        required hostnames: OneOrMany<Hostname>,
        /// What its users mind most. cdn: one-way media. rtc: conversation. im: messaging.
        /// Or one of profiles.yaml.
        optional profile: ProfileName = "cdn",
        /// Recovery tier: 5m (payments), 15m (messaging, live), 30m (internal), 2h (the rest).
        optional tier: TierWord = "2h",
        /// Pools of nodes by name.
        required pools: Table<Name, PoolFile>,
        /// Which pools serve whom: the first rule whose area the client is in. The last is for all others.
        required chains: List<ChainFile>,
        /// Nodes in one answer.
        optional answers: Whole<1, 8> = 1,
        /// Seconds that resolvers may keep an answer.
        optional ttl: Ttl = 30,
        /// What is answered when no node of a client's chain may serve.
        optional on_all_down: OnAllDownWord = "all",
        /// What newcomers are answered while the nodes are full. Left out: as everybody.
        optional shed: ShedFile,
        /// Price of crossing a carrier border.
        optional line_penalty: Span<0, 60_000> = "40ms",
        /// How many milliseconds of round trip a unit of money counts for. Left out: as profiles.yaml says.
        optional money_weight: MoneyWeight,
        /// Expected demand, in the unit of the nodes' capacity.
        optional demand: Whole<0, 1_000_000_000_000_000>,
        /// What is known of areas' parts in the demand; it outranks what is counted.
        optional audience: List<AudienceFile>,
        /// Addresses that stand for the service where a zone is transferred to other servers. Left
        /// out: up to eight nodes of the first pools that everybody may use.
        optional transfer_default: OneOrMany<IpAddr>,
        /// What is steered besides A and AAAA.
        optional records: RecordsFile,
        /// What it is to be held to (docs/incidents.md). Left out: what its tier is.
        optional slo: SloFile,
        /// Where people read on when it is in trouble: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

record! {
    /// Objectives of a service.
    pub struct SloFile {
        /// Share of clients and time that has to have a usable node, over 30 days. Left out: 99.99% for the tier 5m,
        /// 99.95% for 15m, 99.9% for 30m, 99.5% for 2h.
        optional availability: Percent<50, 100>,
    }
}

/// Labels and the values they may have; all labels must match.
pub type Selector = Table<Name, OneOrMany<Text>>;

record! {
    /// Nodes that serve together.
    pub struct PoolFile {
        /// Instead of nodes: whatever chain this other service has for a client.
        optional service: Name,
        /// Nodes with all of these labels; a list of values is any of them.
        optional select: Selector,
        /// Nodes by name, in addition.
        optional members: OneOrMany<Name>,
        /// Weights of some of the nodes; the first match counts, all others have 100.
        optional weights: List<WeightFile>,
        /// The next pool is used as well when fewer than this share of the nodes are not down.
        optional min_alive: Percent<0, 100> = "50%",
        /// How clients are divided: latency: to the nodes that cost them least. weights: to all nodes, in
        /// proportion to their weights. load: to all nodes, in proportion to what is free of their capacity.
        optional method: MethodWord = "latency",
    }
}

choice! {
    /// How the clients of a pool are divided between its nodes.
    pub enum MethodWord { Latency = "latency", Weights = "weights", Load = "load", }
}

record! {
    /// The weight of some nodes of a pool.
    pub struct WeightFile {
        /// Which nodes, by label.
        required select: Selector,
        /// Share of clients relative to other nodes; 0: only when every weighted node is down.
        required weight: Whole<0, 10_000>,
    }
}

record! {
    /// Pools to try, in order, for the clients of an area.
    pub struct ChainFile {
        /// The area. Left out, or "*": everybody.
        optional area: AreaWord,
        /// Pools in the order of preference.
        required pools: OneOrMany<Name>,
        /// What some nodes cost these clients more or less than they are far; the first match counts.
        optional bias: List<BiasFile>,
    }
}

record! {
    /// What some nodes cost the clients of a rule more, or less.
    pub struct BiasFile {
        /// Which nodes, by label.
        required select: Selector,
        /// Of round trip: 20ms makes the nodes' catchment smaller, -20ms larger.
        required by: Shift,
    }
}

record! {
    /// How much of the demand the clients of an area are, all together. A client counts by the first rule
    /// that has its area.
    pub struct AudienceFile {
        /// The area.
        required area: Name,
        /// Just this part.
        optional share: Percent<0, 100>,
        /// This part or more.
        optional at_least: Percent<0, 100>,
        /// This part or less.
        optional at_most: Percent<0, 100>,
    }
}

/// The name of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileName(pub String);

impl Scalar for ProfileName {
    /// Editors offer those that rhumb comes with.
    fn schema() -> Json {
        json!({ "anyOf": [{ "enum": Profile::ALL.map(|profile| profile.name) }, <Name as Scalar>::schema()] })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        Name::parse(text, plain).map(|name| Self(name.0))
    }
}

/// The name of an area, or `*` for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AreaWord {
    Everybody,
    Named(String),
}

impl Scalar for AreaWord {
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "*" }, <Name as Scalar>::schema()] })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        if text == "*" {
            return Ok(Self::Everybody);
        }
        Name::parse(text, plain).map(|name| Self::Named(name.0))
    }
}

/// A recovery tier: its length, by number or by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierWord {
    /// `5m`, however it was written.
    pub name: &'static str,
    pub limit: Duration,
}

const TIERS: [(&str, &[&str]); 4] =
    [("5m", &["payments"]), ("15m", &["messaging", "live"]), ("30m", &["internal"]), ("2h", &["rest"])];

impl TierWord {
    pub fn default_tier() -> Self {
        Self { name: "2h", limit: Duration::from_secs(7_200) }
    }
}

impl Scalar for TierWord {
    fn schema() -> Json {
        let words: Vec<&str> = TIERS
            .iter()
            .flat_map(|(name, uses)| std::iter::once(*name).chain(uses.iter().copied()))
            .collect();
        json!({ "type": "string", "enum": words })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let found = TIERS.iter().find(|(name, uses)| *name == text || uses.contains(&text));
        found.and_then(|(name, _)| parse_duration(name).map(|limit| Self { name, limit })).ok_or_else(|| {
            Bad::value(
                format!("`{text}` is not a recovery tier"),
                "one of 5m (payments), 15m (messaging, live), 30m (internal), 2h (rest)",
            )
        })
    }
}

/// `all`, `last_good`, `nodata`, `servfail`, or `{fallback: [addresses]}`.
#[derive(Clone, Debug)]
pub enum OnAllDownWord {
    Plain(PlainWord),
    Fallback(Vec<At<IpAddr>>),
}

choice! {
    /// The answers of last resort that need no addresses.
    pub enum PlainWord { All = "all", LastGood = "last_good", NoData = "nodata", ServFail = "servfail", }
}

record! {
    /// Named addresses as the answer of last resort.
    pub struct FallbackFile {
        /// Addresses to answer with.
        required fallback: OneOrMany<IpAddr>,
    }
}

record! {
    /// What newcomers are answered while the nodes are full: one of pool, cname and nodata; and when they are.
    pub struct ShedFile {
        /// Nodes of this pool, which no chain has: a waiting room, or a lower quality.
        optional pool: Name,
        /// This name, for every type.
        optional cname: Hostname,
        /// true: nothing.
        optional nodata: bool,
        /// More newcomers are shed while the load is above this share of what the chain of their rule offers.
        optional enter: Percent<1, 200> = "90%",
        /// Fewer are when it was below this for `dwell`. Left out: five sixths of `enter`.
        optional exit: Percent<0, 200>,
        /// How long it has to be below `exit` for each step back.
        optional dwell: Span<1_000, 3_600_000> = "30s",
        /// Client networks that asked within this time are no newcomers.
        optional remember: Span<60_000, 86_400_000> = "10m",
    }
}

impl Read for OnAllDownWord {
    fn schema() -> Json {
        json!({ "anyOf": [<PlainWord as Read>::schema(), FallbackFile::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return PlainWord::read(node, findings).map(Self::Plain);
        }
        let FallbackFile { place, fallback } = FallbackFile::read(node, findings)?;
        let list = &fallback.value()?.0;
        if list.whole && list.items.is_empty() {
            findings
                .report(&crate::policy::codes::EMPTY_FALLBACK, place, "a fallback without an address")
                .help("list the addresses to answer with, or use `on_all_down: all`");
            return None;
        }
        Some(Self::Fallback(list.items.clone()))
    }
}
