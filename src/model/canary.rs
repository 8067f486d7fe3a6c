//! A canary: a policy that is in force for a share of the clients first, while all others stay where they are.
//!
//! ```text
//!  client group ─▶ hash with the canary's seed ─┬ below the share ─▶ canary: goes where the new policy sends it
//!                                               └ else ────────────▶ control: held, moves only if its node fails
//! ```
//! A [`Hold`] is known by its share and seed alone, so that planner, report and a later process agree on who is held.

use super::ids::Revision;
use crate::base::clock::WallTime;
use crate::base::hash::{mix_pair, stable_hash};
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which client groups are held where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// Of client groups that are not held; by hash, so about that many.
    pub share: Ppm,
    /// Another for each canary, or the same clients would be first every time.
    pub seed: u64,
}

impl Hold {
    /// Whether the group of this key stays. It does not depend on which other groups there are.
    pub fn holds(&self, key: &str) -> bool {
        u128::from(self.rank(key)) * 1_000_000 >= u128::from(self.share.0) << 64
    }

    /// Where a group stands in the order in which a growing share would take them.
    pub fn rank(&self, key: &str) -> u64 {
        mix_pair(self.seed, stable_hash(key.as_bytes()))
    }
}

/// How a canary goes where nobody says otherwise: `canary` of `safety.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRules {
    /// Of all demand.
    pub share: Ppm,
    /// Until it goes to all. Whole seconds.
    pub lasts: Duration,
    /// Probability of giving up a policy that does no harm, over all looks together.
    pub alpha: Ppm,
    /// A rise of round trips below it is no reason to give up.
    pub latency: Rise,
    /// As `latency`, of loss: lost packets of all.
    pub loss: Ppm,
    /// Client groups with figures that there have to be in the canary, and outside it.
    pub min_groups: u32,
    pub when_thin: WhenThin,
}

impl CanaryRules {
    pub const DEFAULT: Self = Self {
        share: Ppm::from_percent(10),
        lasts: Duration::from_secs(600),
        alpha: Ppm::from_percent(5),
        latency: Rise::By(Micros::from_millis(5)),
        loss: Ppm(5_000),
        min_groups: 5,
        when_thin: WhenThin::Hold,
    };
    /// Shortest and longest that a canary lasts.
    pub const SHORTEST: Duration = Duration::from_secs(10);
    pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);
    /// A larger share is no canary.
    pub const MOST_SHARE: Ppm = Ppm::from_percent(90);
}

impl Default for CanaryRules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What somebody wants otherwise than the policy in force has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryAsk {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Ppm>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<Ppm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Rise>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Ppm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_groups: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_thin: Option<WhenThin>,
}

impl CanaryAsk {
    /// `usual` with what is asked for.
    ///
    /// # Errors
    /// A sentence: what no canary can be.
    pub fn over(&self, usual: &CanaryRules) -> Result<CanaryRules, String> {
        let rules = CanaryRules {
            share: self.share.unwrap_or(usual.share),
            lasts: self.lasts_s.map_or(usual.lasts, Duration::from_secs),
            alpha: self.alpha.unwrap_or(usual.alpha),
            latency: self.latency.unwrap_or(usual.latency),
            loss: self.loss.unwrap_or(usual.loss),
            min_groups: self.min_groups.unwrap_or(usual.min_groups),
            when_thin: self.when_thin.unwrap_or(usual.when_thin),
        };
        let (shortest, longest) = (CanaryRules::SHORTEST, CanaryRules::LONGEST);
        match () {
            () if rules.share == Ppm::ZERO || rules.share > CanaryRules::MOST_SHARE => Err(format!(
                "a canary is more than 0 % and at most {:.0} % of clients, not {} %: others have to be left to compare with",
                CanaryRules::MOST_SHARE.percent(),
                rules.share.percent()
            )),
            () if rules.lasts < shortest || rules.lasts > longest => Err(format!(
                "a canary lasts between {} s and {} days",
                shortest.as_secs(),
                longest.as_secs() / 86_400
            )),
            () if rules.alpha == Ppm::ZERO || rules.alpha > Ppm::from_percent(50) => {
                Err("alpha is above 0 % and at most 50 %".to_owned())
            }
            () if rules.min_groups < 2 => {
                Err("a comparison takes two client groups of each side at least".to_owned())
            }
            () => Ok(rules),
        }
    }
}

/// A canary in short, for status and metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanaryBrief {
    pub id: u64,
    pub revision: Revision,
    pub base: Revision,
    /// `running`, `held`, `promoted` or `aborted`.
    pub stage: String,
    /// Why it is held or how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of all demand, asked for and reached.
    pub share: Ppm,
    pub reached: Ppm,
    pub began: WallTime,
    pub until: WallTime,
    pub looks: u32,
    /// How much more the round trip of its clients rose than that of others, microseconds, and the probability of that
    /// by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<[f64; 2]>,
    /// The same of loss, in parts per million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<[f64; 2]>,
}

/// What becomes of a canary at its end if there is too little evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenThin {
    /// It waits for somebody to promote or abort it.
    Hold,
    /// It goes to all: no node fell and no service climbed its ladder.
    Promote,
}

/// How much longer round trips may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rise {
    By(Micros),
    /// Of what they were before.
    ByPart(Ppm),
}

impl Rise {
    /// In microseconds, of clients whose round trip was `before_us`.
    pub fn over(&self, before_us: f64) -> f64 {
        match self {
            Self::By(by) => f64::from(by.0),
            Self::ByPart(part) => before_us * f64::from(part.0) / 1_000_000.0,
        }
    }
}

impl std::fmt::Display for Rise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::By(by) => write!(f, "{} ms", f64::from(by.0) / 1_000.0),
            Self::ByPart(part) => write!(f, "{} %", part.percent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_takes_about_its_share_and_always_the_same() {
        let keys: Vec<String> = (0..20_000).map(|at| format!("CN/line={at}/areas=a")).collect();
        for percent in [1_u32, 10, 50, 90] {
            let hold = Hold { share: Ppm::from_percent(percent), seed: 7 };
            let free = keys.iter().filter(|key| !hold.holds(key)).count() as f64;
            let expected = 20_000.0 * f64::from(percent) / 100.0;
            assert!((free - expected).abs() < 5.0 * expected.sqrt(), "{percent}: {free}");
            // A larger share has everybody of a smaller one.
            let more = Hold { share: Ppm(hold.share.0 + 20_000), ..hold };
            assert!(keys.iter().all(|key| hold.holds(key) || !more.holds(key)));
        }
        let [one, other] = [1, 2].map(|seed| Hold { share: Ppm::from_percent(10), seed });
        let both = keys.iter().filter(|key| !one.holds(key) && !other.holds(key)).count();
        assert!((100..320).contains(&both), "independent of each other: {both}");
        assert!(keys.iter().all(|key| !Hold { share: Ppm::WHOLE, seed: 3 }.holds(key)));
        assert!(keys.iter().all(|key| Hold { share: Ppm::ZERO, seed: 3 }.holds(key)));
    }
}
