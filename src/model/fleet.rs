//! The fleet as policy describes it: region > site > node, and how each node is watched.

use super::degradation::RegionCircuit;
use super::ids::{LineId, NodeId, RegionId, SiteId};
use super::judgement::{Combine, Judgement, StaleLoad};
pub use super::probe::{CommandProbe, DnsProbe, GrpcProbe, HttpProbe, Method, PacketProbe, ProbeKind};
use super::token::TokenHash;
use crate::base::prefix::Family;
use crate::base::units::{Coordinates, Money, Ppm};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Everything that can be answered or probed. Ids are positions in these tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    pub regions: Vec<Region>,
    pub sites: Vec<Site>,
    pub nodes: Vec<Node>,
    /// How the nodes are judged, and from where.
    pub judgement: Judgement,
    /// Of the regions whose quality is watched.
    pub circuits: Vec<(RegionId, RegionCircuit)>,
    pub runbooks: Runbooks,
}

/// Where people read on when something of the fleet is in trouble: files beside the policies, or URLs. By name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runbooks {
    pub regions: BTreeMap<String, String>,
    pub sites: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub name: String,
    /// For people: "East Asia".
    pub title: Option<String>,
}

/// One machine room.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    pub name: String,
    pub title: Option<String>,
    pub region: RegionId,
    pub location: Option<Coordinates>,
}

/// An endpoint with addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the fleet.
    pub name: String,
    pub site: SiteId,
    pub v4: Vec<Ipv4Addr>,
    pub v6: Vec<Ipv6Addr>,
    /// Its own, or else the site's.
    pub location: Option<Coordinates>,
    /// The carrier line it is connected to; `None` is reachable alike from all.
    pub line: Option<LineId>,
    pub labels: BTreeMap<String, String>,
    /// `None`: never counted as full.
    pub capacity: Option<Capacity>,
    /// Empty: never probed, counts as up (`check` warns).
    pub probes: Vec<ProbeSpec>,
    /// How many of the probes have to be well.
    pub combine: Combine,
    pub load: Option<LoadFeed>,
    /// What a unit of its capacity costs; nothing where nobody says.
    pub cost_per_unit: Money,
}

impl Node {
    /// One that has a name and a place and nothing else yet.
    pub fn named(name: impl Into<String>, site: SiteId) -> Self {
        Self {
            name: name.into(),
            site,
            v4: Vec::new(),
            v6: Vec::new(),
            location: None,
            line: None,
            labels: BTreeMap::new(),
            capacity: None,
            probes: Vec::new(),
            combine: Combine::All,
            load: None,
            cost_per_unit: Money::default(),
        }
    }

    pub fn has_family(&self, family: Family) -> bool {
        match family {
            Family::V4 => !self.v4.is_empty(),
            Family::V6 => !self.v6.is_empty(),
        }
    }
}

/// What a node can carry, in the unit its load feed reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// `mbps`, `connections`, `sessions`, ...: a name, shown and compared, never interpreted.
    pub unit: String,
    pub amount: u64,
    /// Soft target, default 75 %: congestion is priced above it.
    pub target: Ppm,
    /// Hard cap, default 90 %: never planned past.
    pub cap: Ppm,
}

/// How one probe of a node is made and counted; [`Node::combine`] says what several of them mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    /// What people call it; unique in the node. `None`: by its kind.
    pub name: Option<String>,
    pub kind: ProbeKind,
    /// Where to connect for each family the node has, indexed by [`Family::index`]. `None`: that
    /// family is not probed by this probe.
    pub targets: [Option<SocketAddr>; 2],
    pub interval: Duration,
    pub timeout: Duration,
    /// Consecutive successes that bring a node up (gdnsd `up_thresh`).
    pub rise: u8,
    /// Failures without `ok` consecutive successes between them that take it down (`down_thresh`).
    pub fall: u8,
    /// Consecutive successes that clear the failure count (`ok_thresh`).
    pub ok: u8,
}

/// How a node says how loaded it is: a document of JSON or of Prometheus' text.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadFeed {
    pub source: FeedSource,
    /// Reports older than this are stale ...
    pub max_age: Duration,
    /// ... which means this.
    pub stale: StaleLoad,
    /// JSON pointers (RFC 6901) by resource name. The first is in the unit of the capacity; all
    /// others are ratios in 0..=1 (1 is full).
    pub amount: Option<String>,
    pub ratios: BTreeMap<String, String>,
    /// Where the load stands by client network, in the unit of the capacity: a JSON pointer to an object, or
    /// a metric with a label `prefix`. `None`: nowhere.
    pub clients: Option<String>,
}

/// Who begins.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedSource {
    /// It is asked by HTTP GET.
    Pulled {
        /// `http://address:port/path`, complete.
        url: String,
        interval: Duration,
        timeout: Duration,
    },
    /// The node sends it by HTTP POST, with the token of this hash.
    Pushed { token: TokenHash },
}

impl LoadFeed {
    /// Where it is asked, if it is.
    pub fn url(&self) -> Option<&str> {
        match &self.source {
            FeedSource::Pulled { url, .. } => Some(url),
            FeedSource::Pushed { .. } => None,
        }
    }
}

impl ProbeSpec {
    /// As shown: `3 of 5 login probes failed`.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name())
    }
}

impl Fleet {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn site(&self, id: SiteId) -> &Site {
        &self.sites[id.index()]
    }

    pub fn site_of(&self, id: NodeId) -> &Site {
        self.site(self.node(id).site)
    }

    pub fn region_of(&self, id: NodeId) -> &Region {
        &self.regions[self.site_of(id).region.index()]
    }

    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId::from_index)
    }

    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId::from_index)
    }

    /// All answer addresses of a node.
    pub fn addresses(&self, id: NodeId) -> impl Iterator<Item = IpAddr> + '_ {
        let node = self.node(id);
        node.v4.iter().copied().map(IpAddr::V4).chain(node.v6.iter().copied().map(IpAddr::V6))
    }
}
