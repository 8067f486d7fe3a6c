//! Profiles: what the users of a service mind most, as weights over the terms of a cost.
//!
//! The three that rhumb comes with and those of `profiles.yaml` are the same thing; `schedule::cost`
//! says what the terms are. Beside the weights stands what the users do when their node fails, which
//! prices nothing but is load to plan for.
//!
//! | | curve | jitter | loss | load | line, money | session | burst |
//! |---|---|---|---|---|---|---|---|
//! | `cdn` | cdn | 0 | 1 | 0 | 1 | 1 min | 10 % |
//! | `rtc` | rtc | 1 | 1 | 0 | 1 | 10 min | 30 % |
//! | `im` | cdn | 0 | 1 | 1 | 1 | 1 h | 50 % |

use crate::base::units::Ppm;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What reconnecting costs beyond a session's load fades with this time constant.
pub const BURST_FADES: Duration = Duration::from_secs(10);

/// What a service's users mind most; chooses the cost function (semantics.md, "Signals").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: Cow<'static, str>,
    pub weights: Weights,
    /// Mean time for which a client stays with a node once it is there, whatever DNS says meanwhile.
    pub session: Duration,
    /// What a client costs at first when it comes from a failed node, beyond its load and as a part of it.
    pub burst: Ppm,
}

/// What delay costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// The round trip; 1 % of loss costs 10 ms.
    Rtt,
    /// The round trip; 1 % of loss costs a tenth of it.
    Cdn,
    /// Conversation: delay and loss by an E-model-like curve.
    Rtc,
}

/// Factors of the terms; 1 is [`Ppm::WHOLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Weights {
    pub shape: Shape,
    pub line: Ppm,
    /// What a unit of money counts for, us. The operator's `money_weight` is in it.
    pub money_us: u32,
}

/// What prices a node at a distance: services that have it in common share those prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub curve: Curve,
    pub jitter: Ppm,
    pub loss: Ppm,
    pub load: Ppm,
}

impl Curve {
    pub const fn name(self) -> &'static str {
        match self {
            Curve::Rtt => "rtt",
            Curve::Cdn => "cdn",
            Curve::Rtc => "rtc",
        }
    }

    /// What of a curve's terms counts where a profile does not say.
    pub const fn shape(self) -> Shape {
        let jitter = match self {
            Curve::Rtt | Curve::Cdn => Ppm::ZERO,
            Curve::Rtc => Ppm::WHOLE,
        };
        Shape { curve: self, jitter, loss: Ppm::WHOLE, load: Ppm::ZERO }
    }
}

impl Weights {
    /// What a unit of money counts for where policy does not say: 1 ms.
    pub const MONEY_US: u32 = 1_000;

    pub const fn of(shape: Shape) -> Self {
        Self { shape, line: Ppm::WHOLE, money_us: Self::MONEY_US }
    }
}

/// `curve rtt, jitter 2, loss 0.5, load 1, line 1, 1 ms for a unit of money`.
impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { curve, jitter, loss, load } = self.shape;
        write!(f, "curve {}", curve.name())?;
        for (term, weight) in [("jitter", jitter), ("loss", loss), ("load", load), ("line", self.line)] {
            write!(f, ", {term} {}", weight.fraction())?;
        }
        write!(f, ", {} ms for a unit of money", f64::from(self.money_us) / 1e3)
    }
}

impl Profile {
    /// One-way media: throughput matters, a second of delay does not.
    pub const CDN: Profile = built_in("cdn", Curve::Cdn.shape(), 60, 10);
    /// Conversation: delay, jitter and loss.
    pub const RTC: Profile = built_in("rtc", Curve::Rtc.shape(), 600, 30);
    /// Messaging: round trip, then load.
    pub const IM: Profile = built_in("im", Shape { load: Ppm::WHOLE, ..Curve::Cdn.shape() }, 3_600, 50);

    /// Those that rhumb comes with.
    pub const ALL: [Profile; 3] = [Self::CDN, Self::RTC, Self::IM];

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The built-in one of that name.
    pub fn built_in(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }
}

const fn built_in(name: &'static str, shape: Shape, session_s: u64, burst_percent: u32) -> Profile {
    Profile {
        name: Cow::Borrowed(name),
        weights: Weights::of(shape),
        session: Duration::from_secs(session_s),
        burst: Ppm::from_percent(burst_percent),
    }
}
