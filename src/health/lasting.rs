//! A condition that has to last before it counts, and its absence before it no longer does.
//!
//! ```text
//!   off ──wanted on for `enter`──▶ on
//!    ▲                             │
//!    └────wanted off for `leave`───┘     between two bounds nothing is wanted: it stays as it is
//! ```
//! Used where one reading is no news: load, error rates, outliers, vantages at odds. It knows no
//! figures; its users compare, with one bound to enter and a lower one to leave.

use crate::base::clock::MonoTime;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lasting {
    on: bool,
    /// Since when the opposite is wanted.
    opposed_since: Option<MonoTime>,
}

impl Lasting {
    pub fn is_on(self) -> bool {
        self.on
    }

    /// Takes in what is wanted at `now` (`None`: neither); tells whether the state changed.
    pub fn note(&mut self, wanted: Option<bool>, now: MonoTime, enter: Duration, leave: Duration) -> bool {
        if wanted != Some(!self.on) {
            self.opposed_since = None;
            return false;
        }
        let since = *self.opposed_since.get_or_insert(now);
        let enough = if self.on { leave } else { enter };
        if now.since(since) < enough {
            return false;
        }
        *self = Self { on: !self.on, opposed_since: None };
        true
    }
}

/// What is wanted of a value: on above `enter`, off below `leave`, neither between them.
pub(super) fn wanted<T: PartialOrd>(value: T, enter: T, leave: T) -> Option<bool> {
    if value > enter {
        return Some(true);
    }
    (value < leave).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One value a second against 10 (enter) and 5 (leave), two seconds each; `#` is on.
    fn check(values: &[u32], states: &str) {
        let mut lasting = Lasting::default();
        let two = Duration::from_secs(2);
        let seen: String = (0..)
            .zip(values)
            .map(|(second, &value)| {
                lasting.note(wanted(value, 10, 5), MonoTime::from_millis(second * 1_000), two, two);
                if lasting.is_on() { '#' } else { '.' }
            })
            .collect();
        assert_eq!(seen, states, "after {values:?}");
    }

    #[test]
    fn a_condition_counts_when_it_has_lasted() {
        check(&[11, 11, 11, 11], "..##");
        check(&[11, 11, 1, 11, 11, 11], ".....#");
        check(&[11, 11, 11, 7, 7, 7, 7, 4, 4, 4], "..#######.");
        check(&[11, 11, 11, 4, 4, 11, 4, 4, 4], "..######.");
    }

    #[test]
    fn without_a_length_it_counts_at_once() {
        let mut lasting = Lasting::default();
        assert!(lasting.note(Some(true), MonoTime(5), Duration::ZERO, Duration::ZERO));
        assert!(!lasting.note(None, MonoTime(6), Duration::ZERO, Duration::ZERO) && lasting.is_on());
    }
}
