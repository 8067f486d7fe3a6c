//! `health:` and `vantages:` of `fleet.yaml`: the constants of judgement, and from where nodes are watched.

use crate::policy::findings::Findings;
use crate::policy::read::{List, Read, choice, record};
use crate::policy::scalars::{Interface, Name, Percent, Span, TokenWord, Whole};
use crate::policy::tree::{Node, Value};
use serde_json::{Value as Json, json};
use std::net::{IpAddr, SocketAddr};

record! {
    /// The constants by which nodes are judged. Everything is optional; `docs/health.md` tells what they do.
    pub struct HealthFile {
        /// The early warning: round trips that leave their baseline.
        optional latency: LatencyFile,
        /// Lost probes.
        optional loss: LossFile,
        /// Full nodes.
        optional load: FullFile,
        /// The error rate that a node reports of itself (`error_rate` in the ratios of its load feed).
        optional errors: ErrorsFile,
        /// Certificates that probes are shown.
        optional certificate: CertificateFile,
        /// Nodes that keep changing sides.
        optional damping: DampingFile,
        /// Nodes far worse than their peers.
        optional outlier: OutlierFile,
        /// Which vantages are listened to.
        optional trust: TrustFile,
    }
}

record! {
    /// Degraded: the fast average above a multiple of the baseline, and by a margin.
    pub struct LatencyFile {
        /// Time constant of the fast average.
        optional fast: Span<1_000, 600_000> = "15s",
        /// Time constant of the baseline.
        optional baseline: Span<10_000, 86_400_000> = "10m",
        /// The multiple.
        optional factor: Percent<110, 10_000> = "300%",
        /// The margin.
        optional margin: Span<1, 10_000> = "20ms",
    }
}

record! {
    /// Degraded: more lost than this, with 95 % confidence.
    pub struct LossFile {
        /// Above this.
        optional above: Percent<0, 100> = "4%",
    }
}

record! {
    /// Degraded: the worst resource stays above this; well again 10 points below.
    pub struct FullFile {
        /// Above this.
        optional above: Percent<1, 1000> = "95%",
        /// For so long.
        optional lasting: Span<0, 3_600_000> = "10s",
    }
}

record! {
    /// Degraded, and the circuit: two readings in a row at `open` take the node out.
    pub struct ErrorsFile {
        /// Degraded above this.
        optional degraded: Percent<1, 100> = "30%",
        /// The circuit opens at this.
        optional open: Percent<1, 100> = "50%",
        /// How long it stays open the first time; it doubles up to ten times this.
        optional open_for: Span<1_000, 3_600_000> = "30s",
    }
}

record! {
    /// Degraded: a certificate about to expire.
    pub struct CertificateFile {
        /// Fewer days than this to go; 0: never.
        optional days: Whole<0, 365> = 7,
    }
}

record! {
    /// Flap damping: each change of sides adds to a penalty that halves with time.
    pub struct DampingFile {
        /// What a change adds; 0: no damping.
        optional per_flip: Whole<0, 100_000> = 1000,
        /// Recovery is held back from this penalty on ...
        optional start: Whole<1, 1_000_000> = 3000,
        /// ... until it has faded to this.
        optional end: Whole<1, 1_000_000> = 1000,
        /// Half-life of the penalty.
        optional half_life: Span<1_000, 86_400_000> = "5m",
        /// Never held back longer.
        optional longest: Span<1_000, 86_400_000> = "30m",
    }
}

record! {
    /// Degraded: far above the median of its site (four nodes or more) or pool.
    pub struct OutlierFile {
        /// At most this share of a pool at once; 0%: none.
        optional share: Percent<0, 100> = "20%",
        /// By so many median deviations ...
        optional deviations: Whole<1, 100> = 6,
        /// ... and by this at least.
        optional margin: Span<1, 10_000> = "20ms",
        /// For so long.
        optional lasting: Span<0, 3_600_000> = "5s",
    }
}

record! {
    /// Which vantages count.
    pub struct TrustFile {
        /// A vantage, and its word on a node, count for so long.
        optional max_age: Span<1_000, 600_000> = "10s",
        /// Dark: a smaller share of its targets than this answers a vantage.
        optional dark: Percent<0, 50> = "5%",
        /// How long a vantage may see most targets otherwise than most of its peers.
        optional odds: Span<1_000, 3_600_000> = "10s",
    }
}

record! {
    /// A place from which nodes are watched. `local` is this process itself and need not be named.
    pub struct VantageFile {
        /// The carrier line whose clients see the fleet as this vantage does.
        optional line: Name,
        /// The area whose clients do.
        optional area: Name,
        /// Places outside the fleet that take TCP connections as long as the vantage's own network is whole:
        /// without them it cannot be told from a dead fleet that the vantage is cut off.
        optional anchors: List<SocketAddr>,
        /// Hash of the token that `rhumb vantage` shows, as `rhumb vantage token` prints it. Left out: only a
        /// client certificate of this vantage's name is taken (`reports: client_ca` in `rhumb.yaml`).
        optional token: TokenWord,
        /// An address of this machine: this process itself is the vantage, and probes from there. Nodes of the
        /// other family are not probed from it.
        optional source: IpAddr,
        /// An interface of this machine, likewise. Alone it needs the capability to bind to one (CAP_NET_RAW).
        optional interface: Interface,
    }
}

choice! {
    /// What a silent load feed means.
    pub enum StaleWord { Hold = "hold", Degraded = "degraded", Ignore = "ignore", }
}

/// `all`, `any`, or `{at_least: n}`.
#[derive(Clone, Debug)]
pub enum CombineWord {
    All,
    Any,
    AtLeast(AtLeastFile),
}

choice! {
    /// How many of a node's probes have to be well.
    pub enum PlainCombineWord { All = "all", Any = "any", }
}

record! {
    /// Some of a node's probes have to be well.
    pub struct AtLeastFile {
        /// So many.
        required at_least: Whole<1, 64>,
    }
}

impl Read for CombineWord {
    fn schema() -> Json {
        json!({ "anyOf": [<PlainCombineWord as Read>::schema(), AtLeastFile::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            return AtLeastFile::read(node, findings).map(Self::AtLeast);
        }
        PlainCombineWord::read(node, findings).map(|word| match word {
            PlainCombineWord::All => Self::All,
            PlainCombineWord::Any => Self::Any,
        })
    }
}
