//! How long to wait after a failure: 1, 2, 4 .. 60 s, a quarter more or less so that many senders do not come
//! together, or as long as the receiver says (`Retry-After`).
//!
//! What is refused for what it is (a status of the 3xx and 4xx) is tried again after a minute.

use super::post::PostError;
use crate::base::hash::SeededRng;
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Backoff {
    rng: SeededRng,
    /// In a row.
    failures: u32,
}

impl Backoff {
    pub fn new(rng: SeededRng) -> Self {
        Self { rng, failures: 0 }
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    pub fn well(&mut self) {
        self.failures = 0;
    }

    /// Before the next attempt.
    pub fn wait(&mut self, error: &PostError) -> Duration {
        if let Some(told) = error.retry_after() {
            return told.max(FIRST_WAIT);
        }
        let doubled = FIRST_WAIT * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(6));
        let base = if error.is_refusal() { LONGEST_WAIT } else { doubled.min(LONGEST_WAIT) };
        base.mul_f64(0.75 + self.rng.unit() / 2.0)
    }
}
