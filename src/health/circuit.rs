//! The circuit that a node's own error rate opens: no new clients while it serves mostly errors.
//!
//! ```text
//!             error rate at `open` or more, twice                  `open_for` is over
//!   closed ───────────────────────────────────▶ open ──────────────────────────────▶ half-open
//!      ▲                                          ▲     `open` or more: twice as long     │
//!      │                                          └───────────────────────────────────────┤
//!      └───────────────────── three readings below `degraded` ────────────────────────────┘
//! ```
//! Open counts as down, half-open as degraded: the planner's recovery ramp then lets a few clients
//! try it. Probes are no part of this; a node can answer them all and serve nobody. It does not open
//! where a pool could not do without the node (the caller says so). When
//! the feed falls silent it is forgotten with the rest of the load.

use crate::base::clock::MonoTime;
use crate::base::units::Ppm;
use crate::model::judgement::ErrorRules;
use std::time::Duration;

const TO_OPEN: u8 = 2;
const TO_CLOSE: u8 = 3;
/// The wait doubles up to so many times the first.
const LONGEST: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Closed,
    Open {
        until: MonoTime,
    },
    HalfOpen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circuit {
    state: State,
    /// Readings in a row that speak for the next change.
    streak: u8,
    /// How long it was open last.
    wait: Duration,
}

impl Circuit {
    pub fn state(&self) -> State {
        self.state
    }

    /// Closed, and bad for long enough to be open: it was not allowed to.
    pub fn is_to_open(&self) -> bool {
        self.state == State::Closed && self.streak >= TO_OPEN
    }

    /// Takes in a reading; `may_open`: every pool can do without the node.
    pub fn read(&mut self, rate: Ppm, now: MonoTime, may_open: bool, rules: &ErrorRules) {
        self.pass(now);
        let bad = rate >= rules.open;
        match self.state {
            State::Closed => {
                self.streak = if bad { self.streak.saturating_add(1) } else { 0 };
                if self.streak >= TO_OPEN && may_open {
                    self.open(now, rules.open_for);
                }
            }
            State::HalfOpen if bad && may_open => {
                let longest = rules.open_for.saturating_mul(LONGEST);
                self.open(now, self.wait.saturating_mul(2).min(longest));
            }
            State::HalfOpen => {
                self.streak = if rate < rules.degraded { self.streak + 1 } else { 0 };
                if self.streak >= TO_CLOSE {
                    *self = Self::default();
                }
            }
            State::Open { .. } => {}
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, now: MonoTime) {
        if matches!(self.state, State::Open { until } if now >= until) {
            (self.state, self.streak) = (State::HalfOpen, 0);
        }
    }

    fn open(&mut self, now: MonoTime, wait: Duration) {
        *self = Self { state: State::Open { until: now + wait }, streak: 0, wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading (in percent) every ten seconds, and the state after each: closed `.`, open `#`, half `-`.
    fn check(percents: &[u32], may_open: bool, states: &str) {
        let (rules, mut circuit) = (ErrorRules::default(), Circuit::default());
        let seen: String = (0..)
            .zip(percents)
            .map(|(at, &percent)| {
                let now = MonoTime::from_millis(at * 10_000);
                circuit.read(Ppm::from_percent(percent), now, may_open, &rules);
                match circuit.state() {
                    State::Closed => '.',
                    State::Open { .. } => '#',
                    State::HalfOpen => '-',
                }
            })
            .collect();
        assert_eq!(seen, states, "after {percents:?}");
    }

    #[test]
    fn it_opens_waits_tries_and_closes() {
        check(&[0, 60, 0, 60, 0], true, ".....");
        check(&[0, 60, 60, 60, 60, 0, 0, 0, 0], true, "..###--..");
        check(&[60, 60, 0, 0, 0, 40, 0, 0, 0], true, ".###----.");
    }

    #[test]
    fn a_relapse_waits_twice_as_long() {
        check(&[60, 60, 0, 0, 60, 0, 0, 0, 0, 0, 0], true, ".#########-");
        check(&[60, 60, 9, 9, 9, 60, 0, 0, 0, 0, 0, 0, 0, 0], true, ".###-######--.");
    }

    #[test]
    fn it_stays_closed_where_the_node_is_needed() {
        check(&[90, 90, 90, 90], false, "....");
    }
}
