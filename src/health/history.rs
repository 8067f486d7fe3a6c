//! The last hour of a node, a cell a minute: enough for a person to see since when something is so.
//!
//! ```text
//!  observation ─▶ the minute under way ── a minute is over ─▶ 59 closed ones (8 bytes each) ─▶ forgotten
//! ```
//! Minutes are counted by the monotonic clock, so a step of the wall clock bends nothing; minutes in which
//! nothing was seen (a suspend) are kept as such. Nothing here decides a verdict.

use crate::base::clock::MonoTime;
use crate::base::units::{Micros, Ppm};
use crate::model::portrait::{MINUTES, Minute};
use std::collections::VecDeque;

const NONE: u16 = u16::MAX;

/// A minute that is over. Loss and utilisation in thousandths, [`NONE`] without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closed {
    /// `u32::MAX`: no answer.
    rtt_us: u32,
    loss: u16,
    utilisation: u16,
}

/// See the module's picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Oldest first, at most [`MINUTES`] - 1.
    closed: VecDeque<Closed>,
    /// Number of the minute under way.
    minute: Option<u64>,
    asked: u32,
    answered: u32,
    rtt_sum_us: u64,
    utilisation: Option<Ppm>,
}

impl History {
    /// A probe ended; `rtt`: it was answered.
    pub fn note(&mut self, rtt: Option<Micros>, at: MonoTime) {
        self.turn(at);
        self.asked = self.asked.saturating_add(1);
        if let Some(rtt) = rtt {
            self.answered = self.answered.saturating_add(1);
            self.rtt_sum_us = self.rtt_sum_us.saturating_add(u64::from(rtt.0));
        }
    }

    /// The node was so full.
    pub fn fill(&mut self, utilisation: Ppm, at: MonoTime) {
        self.turn(at);
        self.utilisation = self.utilisation.max(Some(utilisation));
    }

    /// As of `now`, oldest first; the last is under way. Empty: nothing was ever seen.
    pub fn minutes(&self, now: MonoTime) -> Vec<Minute> {
        if self.minute.is_none() {
            return Vec::new();
        }
        let mut until_now = self.clone();
        until_now.turn(now);
        let last = until_now.under_way();
        until_now.closed.into_iter().chain([last]).map(Closed::told).collect()
    }

    fn under_way(&self) -> Closed {
        let mean = self.rtt_sum_us.checked_div(u64::from(self.answered));
        let rtt_us = mean.map_or(u32::MAX, |mean| u32::try_from(mean).unwrap_or(u32::MAX - 1));
        let lost = self.asked - self.answered;
        let loss =
            if self.asked == 0 { NONE } else { thousandths(Ppm::ratio(lost.into(), self.asked.into())) };
        Closed { rtt_us, loss, utilisation: self.utilisation.map_or(NONE, thousandths) }
    }

    /// Closes the minutes before that of `at`. What comes late counts for the minute under way.
    fn turn(&mut self, at: MonoTime) {
        let minute = at.0 / 60_000_000;
        let Some(before) = self.minute else {
            self.minute = Some(minute);
            return;
        };
        if minute <= before {
            return;
        }
        let nothing = Closed { rtt_us: u32::MAX, loss: NONE, utilisation: NONE };
        let passed = usize::try_from(minute - before).unwrap_or(MINUTES).min(MINUTES);
        let over = std::iter::once(self.under_way()).chain(std::iter::repeat_n(nothing, passed - 1));
        self.closed.extend(over);
        let excess = self.closed.len().saturating_sub(MINUTES - 1);
        self.closed.drain(..excess);
        let closed = std::mem::take(&mut self.closed);
        *self = Self { closed, minute: Some(minute), ..Self::default() };
    }
}

impl Closed {
    fn told(self) -> Minute {
        let ppm = |thousandths: u16| (thousandths != NONE).then(|| Ppm(u32::from(thousandths) * 1_000));
        Minute {
            rtt: (self.rtt_us != u32::MAX).then_some(Micros(self.rtt_us)),
            loss: ppm(self.loss),
            utilisation: ppm(self.utilisation),
        }
    }
}

fn thousandths(share: Ppm) -> u16 {
    u16::try_from(share.0 / 1_000).unwrap_or(NONE - 1).min(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    #[test]
    fn minutes_are_means_and_what_was_not_seen_is_told_as_such() {
        let mut history = History::default();
        assert!(history.minutes(at(600)).is_empty());
        history.note(Some(Micros(1_000)), at(60));
        history.note(Some(Micros(3_000)), at(119));
        history.note(None, at(119));
        history.note(None, at(119));
        history.fill(Ppm::from_percent(40), at(120));
        history.fill(Ppm::from_percent(20), at(130));
        history.note(None, at(240));
        let told = history.minutes(at(250));
        let seen = |rtt: Option<u32>, loss, utilisation| Minute { rtt: rtt.map(Micros), loss, utilisation };
        let expected = [
            seen(Some(2_000), Some(Ppm::from_percent(50)), None),
            seen(None, None, Some(Ppm::from_percent(40))),
            seen(None, None, None),
            seen(None, Some(Ppm::WHOLE), None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut history = History::default();
        for minute in 0..500 {
            history.note(Some(Micros(minute as u32)), at(minute * 60));
            assert!(history.minutes(at(minute * 60)).len() <= MINUTES);
        }
        let told = history.minutes(at(499 * 60));
        assert_eq!((told.len(), told[0].rtt, told[59].rtt), (60, Some(Micros(440)), Some(Micros(499))));
        // Late news count for the minute under way, a long sleep is an empty hour.
        history.note(Some(Micros(501)), at(400 * 60));
        assert_eq!(history.minutes(at(499 * 60))[59].rtt, Some(Micros(500)));
        let told = history.minutes(at(100_000 * 60));
        assert_eq!((told.len(), told.iter().filter(|it| **it != Minute::default()).count()), (60, 0));
        history.note(None, at(u64::MAX / 2_000_000));
        assert_eq!(history.minutes(MonoTime(u64::MAX)).len(), 60);
    }
}
