//! `fleet.yaml`: what can be answered, and how it is watched.

use crate::policy::files::health::{CombineWord, HealthFile, StaleWord, VantageFile};
use crate::policy::files::probe::ProbeFile;
use crate::policy::findings::Findings;
use crate::policy::read::{List, OrNone, Read, Table, choice, record};
use crate::policy::scalars::{
    Decimal, Degrees, FeedPlace, HttpPath, HttpUrl, Name, Percent, Span, Text, TokenWord, Version, Whole,
};
use crate::policy::tree::{Node, Value};
use serde_json::{Value as Json, json};
use std::net::{IpAddr, SocketAddr};

record! {
    /// The fleet: regions hold sites, sites hold nodes.
    pub struct FleetFile {
        /// Version of the policy language.
        gated version: Version,
        /// Regions by name.
        optional regions: Table<Name, RegionFile>,
        /// Sites (machine rooms) by name.
        optional sites: Table<Name, SiteFile>,
        /// What every node has unless it says otherwise.
        optional defaults: DefaultsFile,
        /// How nodes are judged. Left out: the defaults.
        optional health: HealthFile,
        /// From where nodes are watched. Left out: from this process alone.
        optional vantages: Table<Name, VantageFile>,
        /// Nodes (endpoints with addresses) by name.
        optional nodes: Table<Name, NodeFile>,
    }
}

record! {
    /// A region of the fleet.
    pub struct RegionFile {
        /// For people: East Asia.
        optional title: Text,
        /// When the region is given nobody, since its quality has collapsed. Left out: never.
        optional circuit: RegionCircuitFile,
        /// Where people read on when it is in trouble: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

record! {
    /// Bounds of a region's quality, and how it is tried again. At least one of errors and loss.
    pub struct RegionCircuitFile {
        /// Error rate that its nodes report (`error_rate` of their load feeds), on average.
        optional errors: Percent<1, 100>,
        /// How few errors it has to be down to before it is closed. Half of `errors`, unless given.
        optional errors_exit: Percent<0, 100>,
        /// Loss that clients measured to its sites.
        optional loss: Percent<1, 100>,
        /// How little loss it has to be down to before it is closed. Half of `loss`, unless given.
        optional loss_exit: Percent<0, 100>,
        /// How long it is given nobody, at first; twice as long each time that a trial fails, up to eight times.
        optional open_for: Span<1_000, 3_600_000> = "60s",
        /// Then it is given this share of what it would have of each client group, all its nodes together, ...
        optional trial: Percent<7, 50> = "10%",
        /// ... until it has been well for so long without a break; who reports nothing is not well.
        optional trial_for: Span<1_000, 3_600_000> = "60s",
    }
}

record! {
    /// One machine room.
    pub struct SiteFile {
        /// The region it is in.
        required region: Name,
        /// For people: Shanghai.
        optional title: Text,
        /// Where it stands; distances to clients are measured from here.
        optional location: LocationFile,
        /// Where people read on when it is in trouble: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

record! {
    /// A point on the globe, in degrees.
    pub struct LocationFile {
        /// Latitude, north positive.
        required lat: Degrees<90>,
        /// Longitude, east positive.
        required lon: Degrees<180>,
    }
}

record! {
    /// What every node inherits: `probes` and `combine` as a whole, `capacity` and `load` key by key.
    pub struct DefaultsFile {
        /// Probes of nodes that list none.
        optional probes: List<ProbeFile>,
        /// How many of the probes have to be well, for nodes that do not say.
        optional combine: CombineWord,
        /// Capacity keys that nodes leave out.
        optional capacity: CapacityFile,
        /// Load feed keys that nodes leave out.
        optional load: LoadFile,
        /// What a unit of capacity costs on nodes that do not say.
        optional cost_per_unit: Price,
    }
}

record! {
    /// An endpoint with addresses.
    pub struct NodeFile {
        /// The site it is in.
        required site: Name,
        /// IPv4 and IPv6 addresses to answer with. Probes and the load feed use the first of each family.
        required addresses: List<IpAddr>,
        /// Its own place, if it is not the site's.
        optional location: LocationFile,
        /// The carrier line it is connected to. Left out: all carriers reach it alike.
        optional line: Name,
        /// Labels for selectors. `node`, `site`, `region` and `line` are there already.
        optional labels: Table<Name, Text>,
        /// What it can carry; `none`: never counted as full, whatever the defaults say.
        optional capacity: OrNone<CapacityFile>,
        /// Probes. They replace those of the defaults; an empty list: never probed, counts as up.
        optional probes: List<ProbeFile>,
        /// How many of them have to be well: `all`, `any` or `{at_least: n}`. Left out: all.
        optional combine: CombineWord,
        /// Where this node's probes connect instead of its answer addresses, by family.
        optional probe_target: TargetsFile,
        /// Where it says how loaded it is; `none`: nowhere, whatever the defaults say.
        optional load: OrNone<LoadFile>,
        /// What a unit of its capacity costs, in money of any unit; `money_weight` of profiles.yaml or of a
        /// service says how many milliseconds of round trip a unit of money counts for.
        optional cost_per_unit: Price,
    }
}

/// Money for a unit of capacity.
pub type Price = Decimal<1_000_000>;

record! {
    /// What a node can carry.
    pub struct CapacityFile {
        /// Unit of the amount, as the load feed reports it: mbps, connections, sessions.
        optional unit: Name,
        /// How many of the unit.
        optional amount: Whole<0, 1_000_000_000_000_000>,
        /// Soft target: congestion is priced above it.
        optional target: Percent<1, 100> = "75%",
        /// Hard cap: never planned past.
        optional cap: Percent<1, 100> = "90%",
    }
}

record! {
    /// How a node says how loaded it is: an HTTP GET answered with JSON or with Prometheus' text, or the same
    /// pushed by the node.
    pub struct LoadFile {
        /// Port on the node's first address.
        optional port: Whole<1, 65535>,
        /// Path on the node's first address.
        optional path: HttpPath = "/load",
        /// The whole address, instead of port and path.
        optional url: HttpUrl,
        /// The node sends it by itself, by POST to `/load/NODE`; `port`, `path`, `url`, `interval` and `timeout` then
        /// mean nothing.
        optional push: PushFile,
        /// Time between two reads.
        optional interval: Span<200, 3_600_000> = "5s",
        /// Time one read may take.
        optional timeout: Span<10, 30_000> = "1s",
        /// Reports older than this are stale.
        optional max_age: Span<1_000, 3_600_000> = "30s",
        /// What that means. hold: the last report stands. degraded: the node is degraded. ignore: its load is unknown.
        optional stale: StaleWord = "ignore",
        /// What the answer is. json: a document, read by JSON pointers (RFC 6901). prometheus: its text format,
        /// read by metrics such as `busy{job="edge"}`; samples that match are added up.
        optional format: FormatWord = "json",
        /// Where in it the load is, in the unit of the capacity.
        optional amount: FeedPlace,
        /// Where in it resources are as ratios (1 is full), by resource name.
        optional ratios: Table<Name, FeedPlace>,
        /// Where in it the load is by client network, in the unit of the capacity. json: an object such as
        /// {"198.51.100.0/24": 12.5}, or one of those for each service by name. prometheus: a metric with the label
        /// `prefix`, and `service` where it is of one. It replaces what queries say of who asks.
        optional clients: FeedPlace,
    }
}

record! {
    /// Who may push the load of a node.
    pub struct PushFile {
        /// Hash of the token it shows, as `rhumb vantage token` prints it.
        required token: TokenWord,
    }
}

record! {
    /// Addresses with ports, by family.
    pub struct TargetsFile {
        /// 127.0.0.1:8080
        optional ipv4: SocketAddr,
        /// `[::1]:8080`, in quotes
        optional ipv6: SocketAddr,
    }
}

choice! {
    /// Formats of load feeds.
    pub enum FormatWord { Json = "json", Prometheus = "prometheus", }
}

/// One address with port, or one for each family.
#[derive(Clone, Debug)]
pub enum Target {
    One(SocketAddr),
    ByFamily(TargetsFile),
}

impl Read for Target {
    fn schema() -> Json {
        json!({ "anyOf": [<SocketAddr as Read>::schema(), TargetsFile::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        match node.value {
            Value::Map(_) => TargetsFile::read(node, findings).map(Target::ByFamily),
            _ => SocketAddr::read(node, findings).map(Target::One),
        }
    }
}
