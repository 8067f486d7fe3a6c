//! The up-and-down counter of one probe, with gdnsd's rules.
//!
//! ```text
//!            failure, and it is the `fall`th since the count was last cleared
//!        ┌───────────────────────────────────────────────────────────────┐
//!        │                                                               ▼
//!   ┌────────┐  `ok` successes in a row clear the failure count      ┌──────┐
//!   │   up   │                                                       │ down │
//!   └────────┘                                                       └──────┘
//!        ▲                                                               │
//!        └───────────────────────────────────────────────────────────────┘
//!            success, and it is the `rise`th in a row
//! ```
//! Failures need not be consecutive: a node that fails every other time goes down, because its
//! single successes never clear the count. The first observation decides at once.
//!
//! It counts observations and knows no time; what a failure is was decided by the probe.

use crate::model::fleet::ProbeSpec;

/// The thresholds of one probe, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    rise: u32,
    pub(super) fall: u32,
    pub(super) ok: u32,
}

impl Thresholds {
    pub(super) fn of(spec: &ProbeSpec) -> Self {
        let at_least_one = |count: u8| u32::from(count.max(1));
        Self { rise: at_least_one(spec.rise), fall: at_least_one(spec.fall), ok: at_least_one(spec.ok) }
    }
}

/// Where one probe of one family of one node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counter {
    /// `None` before the first observation.
    standing: Option<bool>,
    successes: u32,
    failures: u32,
    episode: Episode,
}

/// The failures that count now, and all observations since the first of them: "3 of 5".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Episode {
    pub failures: u32,
    pub observations: u32,
}

impl Counter {
    /// `None` before the first observation, then whether the probe's target is up.
    pub fn standing(&self) -> Option<bool> {
        self.standing
    }

    /// Up, though the newest observation was a failure.
    pub fn is_failing(&self) -> bool {
        self.standing == Some(true) && self.failures > 0 && self.successes == 0
    }

    pub fn episode(&self) -> Episode {
        self.episode
    }

    /// Counts one observation; tells whether the standing changed. Without `may_fall` a failure counts, but
    /// not as the last that is needed.
    pub fn count(&mut self, success: bool, may_fall: bool, thresholds: Thresholds) -> bool {
        let before = self.standing;
        match (before, success) {
            (None, false) if !may_fall => self.first_failure(),
            (None, _) => self.stand(success),
            (Some(true), true) => self.success_while_up(thresholds),
            (Some(true), false) => self.failure_while_up(may_fall, thresholds),
            (Some(false), true) => {
                self.successes += 1;
                if self.successes >= thresholds.rise {
                    self.stand(true);
                }
            }
            (Some(false), false) => self.successes = 0,
        }
        self.standing != before
    }

    /// Falls a failure early, if the newest observation was one and not the only one. Whether it did.
    pub fn fall_early(&mut self, thresholds: Thresholds) -> bool {
        let falls = self.is_failing() && self.failures >= 2 && self.failures + 1 >= thresholds.fall;
        if falls {
            self.stand(false);
        }
        falls
    }

    /// Begins again from a known standing, as if nothing had been counted.
    pub fn restart(&mut self, up: bool) {
        *self = Self { standing: Some(up), ..Self::default() };
    }

    fn stand(&mut self, up: bool) {
        let first_failure = self.standing.is_none() && !up;
        self.standing = Some(up);
        (self.successes, self.failures) = (0, 0);
        if up {
            self.episode = Episode::default();
        } else if first_failure {
            self.episode = Episode { failures: 1, observations: 1 };
        }
    }

    fn success_while_up(&mut self, thresholds: Thresholds) {
        if self.failures == 0 {
            return;
        }
        self.successes += 1;
        self.episode.observations += 1;
        if self.successes >= thresholds.ok {
            self.stand(true);
        }
    }

    /// A first failure that does not decide yet.
    fn first_failure(&mut self) {
        self.episode = Episode { failures: 1, observations: 1 };
    }

    fn failure_while_up(&mut self, may_fall: bool, thresholds: Thresholds) {
        self.successes = 0;
        self.failures = (self.failures + 1).min(if may_fall { u32::MAX } else { thresholds.fall - 1 });
        self.episode.failures += 1;
        self.episode.observations += 1;
        if self.failures >= thresholds.fall {
            self.stand(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Thresholds = Thresholds { rise: 5, fall: 3, ok: 5 };

    /// The standing after each of the observations: `s` success, `f` failure; `U` up, `D` down.
    fn check(observations: &str, standings: &str) {
        let mut counter = Counter::default();
        let seen: String = observations
            .chars()
            .map(|observation| {
                counter.count(observation == 's', true, DEFAULT);
                if counter.standing().expect("observed") { 'U' } else { 'D' }
            })
            .collect();
        assert_eq!(seen, standings, "after {observations}");
    }

    #[test]
    fn counters_follow_gdnsd() {
        check("s", "U");
        check("f", "D");
        check("sfff", "UUUD");
        check("sfsfsf", "UUUUUD");
        check("sffsssssff", "UUUUUUUUUU");
        check("sffssssff", "UUUUUUUDD");
        check("fsssss", "DDDDDU");
        check("fssssfsssss", "DDDDDDDDDDU");
    }

    #[test]
    fn what_may_not_fall_yet_falls_with_the_next_failure_that_may() {
        let mut counter = Counter::default();
        counter.count(true, true, DEFAULT);
        (0..9).for_each(|_| assert!(!counter.count(false, false, DEFAULT)));
        assert!(counter.count(false, true, DEFAULT) && counter.standing() == Some(false));
        let mut unseen = Counter::default();
        assert!(!unseen.count(false, false, DEFAULT) && unseen.standing().is_none());
        assert!(unseen.count(false, true, DEFAULT) && unseen.standing() == Some(false));
    }

    #[test]
    fn who_falls_early_is_one_failure_short() {
        let after = |observations: &str, fall: u32| {
            let mut counter = Counter::default();
            let thresholds = Thresholds { fall, ..DEFAULT };
            for observation in observations.chars() {
                counter.count(observation == 's', true, thresholds);
            }
            (counter.fall_early(thresholds), counter.standing())
        };
        assert_eq!(after("sff", 3), (true, Some(false)));
        assert_eq!(after("sf", 2), (false, Some(true)), "one failure is chance");
        assert_eq!(after("sfsf", 3), (true, Some(false)), "as they count, in a row or not");
        assert_eq!(after("sf", 3), (false, Some(true)), "two failures short");
        assert_eq!(after("sffs", 3), (false, Some(true)), "the newest was none");
        assert_eq!(after("", 3), (false, None));
        assert_eq!(after("sfff", 3), (false, Some(false)), "it has fallen");
    }

    #[test]
    fn an_episode_spans_the_failures_that_count() {
        let mut counter = Counter::default();
        for success in [true, false, true, false, true, false] {
            counter.count(success, true, DEFAULT);
        }
        assert_eq!(counter.episode(), Episode { failures: 3, observations: 5 });
    }
}
