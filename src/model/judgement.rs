//! The constants by which nodes are judged, and who may speak of them.
//!
//! Every default is semantics.md's; every field is a policy field (`fleet.yaml`, `health:` and
//! `vantages:`). What the words mean is told in `docs/health.md`, how they are applied in `health`.

use super::token::TokenHash;
use super::verdict::Scope;
use crate::base::units::{Micros, Ppm};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Vantages that one instance listens to, itself included.
pub const MOST_VANTAGES: usize = 16;
/// The name of this process as a vantage.
pub const LOCAL: &str = "local";
/// Resources of a load feed that say how well a node serves, not how full it is.
pub const ERROR_RATE: &str = "error_rate";
pub const CACHE_HIT: &str = "cache_hit";

/// Rules and vantages of one fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub rules: HealthRules,
    /// Never empty, at most [`MOST_VANTAGES`]; the first is this process itself.
    pub vantages: Vec<Vantage>,
}

impl Default for Judgement {
    fn default() -> Self {
        Self { rules: HealthRules::default(), vantages: vec![Vantage::local()] }
    }
}

/// Where probes start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vantage {
    pub name: String,
    /// Whose clients see the fleet as this vantage does; `None`: nobody's in particular.
    pub stands_for: Option<Scope>,
    /// Places outside the fleet that answer a TCP handshake as long as the vantage's own network is
    /// whole.
    pub anchors: Vec<SocketAddr>,
    pub station: Station,
}

/// Who probes on behalf of a vantage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Station {
    /// This process, from where the machine's routes say or from one of its addresses or interfaces.
    Here(Source),
    /// Another process (`rhumb vantage`), which shows this token, or else a certificate of this name.
    Remote { token: Option<TokenHash> },
}

/// Where the packets of probes leave a machine; nothing said: where its routes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Of one family; targets of the other are not probed.
    pub address: Option<IpAddr>,
    /// Name of an interface.
    pub interface: Option<String>,
}

impl Vantage {
    pub fn local() -> Self {
        let station = Station::Here(Source::default());
        Self { name: LOCAL.to_owned(), stands_for: None, anchors: Vec::new(), station }
    }

    /// Whether what was learned at the one is true of the other: who probes there may have changed.
    pub fn is_same_place(&self, other: &Vantage) -> bool {
        self.name == other.name && self.stands_for == other.stands_for && self.anchors == other.anchors
    }
}

/// How the checks of a node make one verdict of each vantage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combine {
    /// The worst check decides.
    #[default]
    All,
    /// The best check decides.
    Any,
    /// So many have to be well.
    AtLeast(u8),
}

impl Combine {
    /// How many of `checks` have to be well: at least one, at most all.
    pub fn needed(self, checks: usize) -> usize {
        match self {
            Combine::All => checks,
            Combine::Any => 1,
            Combine::AtLeast(count) => usize::from(count).clamp(1, checks.max(1)),
        }
    }
}

/// What a load feed that fell silent means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleLoad {
    /// The last reading stands.
    Hold,
    /// The node is degraded, its load unknown.
    Degraded,
    /// The load is unknown, which is not zero.
    #[default]
    Ignore,
}

/// All constants of judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRules {
    pub latency: LatencyRules,
    pub loss: LossRules,
    pub load: LoadRules,
    pub errors: ErrorRules,
    pub certificate: CertificateRules,
    pub damping: DampingRules,
    pub outlier: OutlierRules,
    pub trust: TrustRules,
}

/// The early warning: fast average against baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyRules {
    /// Time constants of the two averages.
    pub fast: Duration,
    pub baseline: Duration,
    /// Slower than usual: above this share of the baseline (3,000,000 is three times) ...
    pub factor: Ppm,
    /// ... and by so much more.
    pub margin: Micros,
}

impl Default for LatencyRules {
    fn default() -> Self {
        Self {
            fast: Duration::from_secs(15),
            baseline: Duration::from_secs(600),
            factor: Ppm::from_percent(300),
            margin: Micros::from_millis(20),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossRules {
    /// Degraded when the loss is above this with 95 % confidence (Wilson's lower bound).
    pub bound: Ppm,
}

impl Default for LossRules {
    fn default() -> Self {
        Self { bound: Ppm::from_percent(4) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRules {
    /// Degraded when the utilisation stays above this; well again 10 points below.
    pub above: Ppm,
    /// How long either has to last.
    pub lasting: Duration,
}

impl Default for LoadRules {
    fn default() -> Self {
        Self { above: Ppm::from_percent(95), lasting: Duration::from_secs(10) }
    }
}

/// What the error rate that a node reports of itself means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRules {
    /// Degraded above this.
    pub degraded: Ppm,
    /// The circuit opens at this.
    pub open: Ppm,
    /// How long it stays open the first time; each time after doubles it, up to ten times this.
    pub open_for: Duration,
}

impl Default for ErrorRules {
    fn default() -> Self {
        Self {
            degraded: Ppm::from_percent(30),
            open: Ppm::from_percent(50),
            open_for: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRules {
    /// Degraded with fewer days than this to go; 0: never.
    pub days: u16,
}

impl Default for CertificateRules {
    fn default() -> Self {
        Self { days: 7 }
    }
}

/// Flap damping (RFC 2439's shape): a penalty for each flip that fades by halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DampingRules {
    pub per_flip: u32,
    /// Recovery is held back from this penalty on ...
    pub start: u32,
    /// ... until it has faded to this.
    pub end: u32,
    pub half_life: Duration,
    /// Never held back longer.
    pub longest: Duration,
}

impl Default for DampingRules {
    fn default() -> Self {
        Self {
            per_flip: 1_000,
            start: 3_000,
            end: 1_000,
            half_life: Duration::from_secs(300),
            longest: Duration::from_secs(1_800),
        }
    }
}

/// When a node is far worse than its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierRules {
    /// Of one pool at most this share at once; one node of a pool of four or more always may.
    pub share: Ppm,
    /// Above the peers' median by this many deviations (1.4826 times the median deviation) ...
    pub deviations: u32,
    /// ... and by this much at least.
    pub margin: Micros,
    /// How long it has to last; well again after twice as long.
    pub lasting: Duration,
}

impl Default for OutlierRules {
    fn default() -> Self {
        Self {
            share: Ppm::from_percent(20),
            deviations: 6,
            margin: Micros::from_millis(20),
            lasting: Duration::from_secs(5),
        }
    }
}

/// Which vantages are listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRules {
    /// A vantage, and a vantage's word on a node, count for so long after they were last heard; on a
    /// node at least three intervals and a timeout of its slowest probe.
    pub max_age: Duration,
    /// Blind: a smaller share of its targets than this answers it.
    pub dark: Ppm,
    /// A vantage at odds with most of its peers on most targets is distrusted after so long.
    pub odds: Duration,
}

impl Default for TrustRules {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(10), dark: Ppm::from_percent(5), odds: Duration::from_secs(10) }
    }
}
