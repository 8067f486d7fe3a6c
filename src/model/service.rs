//! Steered names: what they promise, which nodes may answer, and in which order.

use super::clients::Clients;
use super::degradation::{Shed, ShedRule, ShedTo};
use super::ids::{AreaId, NodeId, PoolId};
pub use super::profile::Profile;
use super::records::RecordSet;
use crate::base::diagnostic::Span;
use crate::base::units::{Micros, Ppm};
use std::net::IpAddr;
use std::time::Duration;

/// One `services/*.yaml`, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique; the file's stem unless the file says otherwise.
    pub name: String,
    pub title: Option<String>,
    /// Lower case, absolute, without the final dot: `live.rhumb.test`. At least one.
    pub hostnames: Vec<String>,
    /// Where `source` has each of them, for messages of later stages; may be shorter.
    pub hostname_spans: Vec<Span>,
    pub profile: Profile,
    pub tier: RecoveryTier,
    pub pools: Vec<Pool>,
    /// First match wins; the last rule has no areas (the catch-all).
    pub chains: Vec<ChainRule>,
    /// Nodes in one answer, 1..=8.
    pub answers: u8,
    /// Seconds, 5..=300.
    pub ttl: u32,
    pub on_all_down: OnAllDown,
    /// `None`: nobody is turned away.
    pub shed: Option<Shed>,
    /// Added to the cost of a node on another line than the client's.
    pub line_penalty: Micros,
    /// What stands for this service where a zone is transferred; empty: nodes of its first pools.
    pub transfer_default: Vec<IpAddr>,
    /// What is steered besides addresses. Ascending by owner and type, none twice; at most
    /// [`MAX_RECORD_SETS`](super::records::MAX_RECORD_SETS).
    pub records: Vec<RecordSet>,
    /// Expected demand in the capacity unit, if the operator states it.
    pub demand: Option<u64>,
    pub care: Care,
    /// What is known of areas' parts in it, whatever is counted; the first rule that has a client is its.
    pub audience: Vec<AudienceRule>,
    /// Where in its file the service is, for messages of later stages: `services/live.yaml`.
    pub source: String,
}

/// The recovery time a service promises: a name (`5m`) and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryTier {
    pub name: String,
    pub limit: Duration,
}

impl RecoveryTier {
    /// What a service of this tier is to be available, where policy does not say.
    pub fn availability(&self) -> Ppm {
        match self.limit.as_secs() {
            ..=300 => Ppm(999_900),
            301..=900 => Ppm(999_500),
            901..=1_800 => Ppm(999_000),
            _ => Ppm(995_000),
        }
    }
}

/// What people who look after a service hold themselves to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// `None`: as its tier has it.
    pub availability: Option<Ppm>,
    /// Where they read on when it is in trouble: a file beside the policies, or a URL.
    pub runbook: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub name: String,
    /// Ascending by node, no node twice.
    pub members: Vec<PoolMember>,
    /// The pool passes while at least ceil(min_alive * members) are not down. Default 50 %.
    pub min_alive: Ppm,
    /// How clients are divided between its nodes.
    pub method: Method,
}

/// How the clients of a pool are divided between its nodes. Caps, targets, verdicts, ramps and least
/// movement hold for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// To the nodes that cost least; those about as near share by weight and capacity.
    #[default]
    Latency,
    /// To all of them by weight, however far they are.
    Weights,
    /// To all of them by what is free of their capacity, times weight, however far they are.
    Load,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Weights => "weights",
            Self::Load => "load",
        }
    }

    /// Whether a node's distance decides nothing.
    pub const fn is_flat(self) -> bool {
        matches!(self, Self::Weights | Self::Load)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolMember {
    pub node: NodeId,
    /// Default 100. 0: only when every weighted member is down.
    pub weight: u16,
}

/// How much of a service's demand the clients of an area together are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudienceRule {
    pub area: AreaId,
    pub at_least: Ppm,
    pub at_most: Ppm,
}

/// Pools to try, in order, for the clients that are in all of some areas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainRule {
    /// Ascending, none twice. Empty: the catch-all. More than one where a pool of the rule is another
    /// service, whose own rules divide the area further.
    pub areas: Vec<AreaId>,
    pub pools: Vec<PoolId>,
    /// Ascending by node, none twice.
    pub bias: Vec<Bias>,
}

/// What a node costs the clients of a rule more or less than it otherwise would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bias {
    pub node: NodeId,
    /// Of round trip, within [`Bias::MOST_US`].
    pub by_us: i32,
}

impl Bias {
    /// Either way.
    pub const MOST_US: i32 = 10_000_000;
}

impl ChainRule {
    /// The catch-all.
    pub fn everybody(pools: Vec<PoolId>) -> Self {
        Self { areas: Vec::new(), pools, bias: Vec::new() }
    }

    pub fn of(area: AreaId, pools: Vec<PoolId>) -> Self {
        Self { areas: vec![area], pools, bias: Vec::new() }
    }

    /// Whether it is for clients in `areas`, which ascend.
    pub fn admits(&self, areas: &[AreaId]) -> bool {
        self.areas.iter().all(|area| areas.binary_search(area).is_ok())
    }

    /// Its areas by name, `europe+mobile`; `None`: the catch-all.
    pub fn area_name(&self, clients: &Clients) -> Option<String> {
        let name = |area: &AreaId| clients.areas.get(area.index()).map_or("?", |area| &area.name);
        (!self.areas.is_empty()).then(|| self.areas.iter().map(name).collect::<Vec<_>>().join("+"))
    }
}

/// What is answered when no node of a client's whole chain may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnAllDown {
    /// As if all were up (default).
    All,
    /// What the last table with a usable node said.
    LastGood,
    /// These addresses.
    Fallback(Vec<IpAddr>),
    NoData,
    ServFail,
}

impl OnAllDown {
    pub const fn name(&self) -> &'static str {
        match self {
            OnAllDown::All => "all",
            OnAllDown::LastGood => "last_good",
            OnAllDown::Fallback(_) => "fallback",
            OnAllDown::NoData => "nodata",
            OnAllDown::ServFail => "servfail",
        }
    }
}

/// What a pool allows to be taken from it by choice: flap damping, circuits and outliers stop here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolBound {
    /// Ascending.
    pub members: Vec<NodeId>,
    /// So many members have to be left.
    pub least_alive: usize,
}

impl Pool {
    /// ceil(`min_alive` * members).
    pub fn bound(&self) -> PoolBound {
        let members: Vec<NodeId> = self.members.iter().map(|member| member.node).collect();
        let least = (members.len() as u64 * u64::from(self.min_alive.0)).div_ceil(1_000_000);
        PoolBound { members, least_alive: usize::try_from(least).unwrap_or(usize::MAX) }
    }
}

impl Service {
    /// How newcomers are shed, told; `None`: they are not.
    pub fn shed_rule(&self) -> Option<ShedRule> {
        let shed = self.shed.as_ref()?;
        let name = match &shed.to {
            ShedTo::Pool(pool) => self.pools.get(pool.index()).map(|pool| pool.name.clone()),
            ShedTo::Cname(name) => Some(name.clone()),
            ShedTo::NoData => None,
        };
        let to = shed.to.name().to_owned();
        Some(ShedRule { to, name, enter: shed.enter, exit: shed.exit, dwell_s: shed.dwell.as_secs() })
    }

    /// Every name it answers: first its hostnames, then the names below them that have other types only.
    pub fn answered_names(&self) -> impl Iterator<Item = &str> {
        let mut owners: Vec<&str> = self.records.iter().filter_map(|set| set.owner.as_deref()).collect();
        owners.dedup();
        self.hostnames.iter().map(String::as_str).chain(owners)
    }

    /// As [`answered_names`](Self::answered_names) has it at a position.
    pub fn answered_name(&self, at: usize) -> Option<&str> {
        match self.hostnames.get(at) {
            Some(hostname) => Some(hostname),
            None => self.answered_names().nth(at),
        }
    }

    /// Positions in `records` of the sets at one of its names.
    pub fn records_at<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, &'a RecordSet)> {
        let is_hostname = self.hostnames.iter().any(|hostname| hostname == name);
        let is_there = move |set: &RecordSet| set.owner.as_deref().map_or(is_hostname, |owner| owner == name);
        self.records.iter().enumerate().filter(move |(_, set)| is_there(set))
    }

    /// The share of clients and time that has to be served.
    pub fn objective(&self) -> Ppm {
        self.care.availability.unwrap_or_else(|| self.tier.availability())
    }

    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[id.index()]
    }

    /// The rule for clients in `areas` (ascending): the first whose areas are all among them, or the
    /// catch-all. `None` only for a service whose chain lacks one, which `check` refuses.
    pub fn chain_for(&self, areas: &[AreaId]) -> Option<&ChainRule> {
        self.chains.iter().find(|rule| rule.admits(areas))
    }
}
