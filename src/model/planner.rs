//! What an operator may set of the planner: the bounds of moves by choice, and when a service counts as spilling.
//!
//! The planner reads it with the policy and works in these units as integers; everything else that it is tuned by
//! is a constant beside what it tunes (`schedule`).

use crate::base::units::Ppm;
use std::time::Duration;

/// How the planner may move clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlannerRules {
    pub budget: ChangeBudget,
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
