//! What an operator may set of the planner: how fast clients are moved by choice, for how much of a gain, and
//! when a service counts as spilling. `planner:` of rhumb.yaml, which `rhumb schema rhumb` tells.
//!
//! The planner reads it with the policy and works with it in integers. What bounds its work or keeps noise out of
//! it (batches, dead bands, steps of a ramp, rounds of polish) is no matter of taste and stays a constant beside
//! what it bounds, in `schedule`.

use crate::base::units::{Micros, Ppm};
use std::time::Duration;

/// How the planner may move clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlannerRules {
    pub budget: ChangeBudget,
    /// A better placement has to be wanted for so long without a break, and batches of moves are so far apart.
    pub dwell: Duration,
    pub margin: Margin,
    /// A node that came back has its whole weight after this time.
    pub ramp: Duration,
    /// A node that reached its cap takes nobody by choice before its utilisation is at this.
    pub spill_end: Ppm,
    pub spill: SpillRung,
}

impl Default for PlannerRules {
    fn default() -> Self {
        Self {
            budget: ChangeBudget::default(),
            dwell: Duration::from_secs(3),
            margin: Margin::default(),
            ramp: Duration::from_secs(300),
            spill_end: Ppm::from_percent(65),
            spill: SpillRung::default(),
        }
    }
}

impl PlannerRules {
    pub fn dwell_ms(&self) -> u64 {
        millis(self.dwell)
    }

    pub fn ramp_ms(&self) -> u64 {
        millis(self.ramp)
    }
}

/// How much of all demand may be moved by choice in any window of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangeBudget {
    pub share: Ppm,
    pub window: Duration,
}

impl Default for ChangeBudget {
    fn default() -> Self {
        Self { share: Ppm::from_percent(20), window: Duration::from_secs(60) }
    }
}

impl ChangeBudget {
    /// Parts per billion of all demand.
    pub const fn share_ppb(&self) -> i64 {
        self.share.0 as i64 * 1_000
    }

    pub fn window_ms(&self) -> u64 {
        millis(self.window)
    }
}

/// By how much a cost must be undercut to matter: the larger of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Margin {
    pub least: Micros,
    /// Of the lower cost; at most the whole.
    pub share: Ppm,
}

impl Default for Margin {
    fn default() -> Self {
        Self { least: Micros::from_millis(10), share: Ppm::from_percent(15) }
    }
}

impl Margin {
    /// Above a cost (us), us.
    #[inline]
    pub const fn of(&self, cost_us: u32) -> u32 {
        let relative = (cost_us as u64 * self.share.0 as u64 / 1_000_000) as u32;
        if relative > self.least.0 { relative } else { self.least.0 }
    }
}

/// When the clients of a rule count as spilling, by the part of their demand on later pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpillRung {
    /// From this on they do,
    pub enter: Ppm,
    /// and up to this they do not any more, after `dwell` of it.
    pub exit: Ppm,
    pub dwell: Duration,
}

impl Default for SpillRung {
    fn default() -> Self {
        Self { enter: Ppm::from_percent(1), exit: Ppm(2_000), dwell: Duration::from_secs(30) }
    }
}

impl SpillRung {
    pub fn dwell_ms(&self) -> u64 {
        millis(self.dwell)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_the_larger_of_two() {
        let margin = Margin::default();
        assert_eq!(
            [0, 66_000, 80_000, 200_000].map(|cost| margin.of(cost)),
            [10_000, 10_000, 12_000, 30_000]
        );
        let whole = Margin { least: Micros(1), share: Ppm::WHOLE };
        assert_eq!((whole.of(0), whole.of(u32::MAX)), (1, u32::MAX));
    }
}
