//! When signatures are valid, on a host whose clock may be set wrong or be stepped.
//!
//! ```text
//!          earliest                                  latest
//!   wall ──────┼── the wall clock                      │     the two differ only while the clock
//!   est. ──────│────────────────────────────────────── ┼──   is in doubt
//!   inception = earliest - 1 h          expiration = latest + 14 d - jitter
//! ```
//!
//! Two clocks are compared: the wall clock, and where it was when last trusted plus the monotonic time
//! since. While they differ by more than [`TOLERANCE`], either may be right, so a signature is made to
//! hold for both: whichever is true, validators accept it. After [`DOUBT`] the wall clock is believed.
//! A floor kept from the former run does the same for a host that starts with its clock in the past.
//! The price is signatures that stay valid longer than usual after a step.

use crate::base::clock::{MonoTime, WallTime};
use crate::sign::times::Moment;
use std::time::Duration;

/// Seconds before now at which signatures begin, for validators whose clocks are behind.
const BACKDATE: u64 = 3_600;
/// Seconds a signature holds.
pub const VALIDITY: u64 = 14 * 86_400;
/// Seconds by which signatures made together end apart, so that they are not renewed together.
const JITTER: u64 = 2 * 86_400;
/// Seconds before the end at which a signature is made again: a third of its life.
const RENEW_BEFORE: u64 = VALIDITY / 3;
/// Seconds by which clocks may differ and still be one.
const TOLERANCE: u64 = 600;
/// How long a stepped wall clock is doubted.
const DOUBT: Duration = Duration::from_secs(86_400);
/// Serial numbers of RFC 1982 compare over less than half of their range.
const LONGEST: u64 = (1 << 31) - 1;

/// Now, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub earliest: Moment,
    pub latest: Moment,
}

/// From when to when a signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub inception: Moment,
    pub expiration: Moment,
}

/// Follows the clocks.
#[derive(Clone, Debug)]
pub struct TrustedTime {
    anchor: (MonoTime, Moment),
    doubted_since: Option<MonoTime>,
    floor: Moment,
}

impl TrustedTime {
    /// `floor`: what [`floor`](Self::floor) said in the former run; 0 if there was none.
    pub fn new(mono: MonoTime, wall: WallTime, floor: Moment) -> Self {
        let wall = wall.0 / 1_000;
        let doubted_since = (floor > wall + TOLERANCE).then_some(mono);
        Self { anchor: (mono, wall), doubted_since, floor }
    }

    /// Looks at both clocks.
    pub fn now(&mut self, mono: MonoTime, wall: WallTime) -> Now {
        let wall = wall.0 / 1_000;
        let estimate = self.anchor.1 + mono.since(self.anchor.0).as_secs();
        let agrees = wall.abs_diff(estimate) <= TOLERANCE && self.floor <= wall.max(estimate) + TOLERANCE;
        if agrees {
            (self.anchor, self.doubted_since) = ((mono, wall), None);
        } else {
            let since = *self.doubted_since.get_or_insert(mono);
            if mono.since(since) >= DOUBT {
                *self = Self { anchor: (mono, wall), doubted_since: None, floor: wall };
                return Now { earliest: wall, latest: wall };
            }
        }
        Now { earliest: wall.min(estimate), latest: wall.max(estimate).max(self.floor) }
    }

    /// A moment that has passed for certain as far as this run can tell; to be kept for the next.
    pub fn floor(&self, now: Now) -> Moment {
        if self.doubted_since.is_some() { self.floor } else { now.earliest.max(self.floor) }
    }
}

impl Now {
    /// The moment by which keys change their state: late rather than early. A floor that was kept
    /// outranks a clock in the past, which would undo what keys have done.
    pub fn for_keys(self, floor: Moment) -> Moment {
        self.earliest.max(floor.min(self.latest))
    }

    /// For a signature over content that hashes to `hash`.
    pub fn window(self, hash: u64) -> Window {
        let inception = self.earliest.saturating_sub(BACKDATE);
        let expiration = self.latest + VALIDITY - hash % JITTER;
        Window { inception, expiration: expiration.min(inception + LONGEST) }
    }
}

impl Window {
    /// Whether the signature has to be made again.
    pub fn is_due(self, now: Now) -> bool {
        now.earliest < self.inception || now.latest >= self.renew_at()
    }

    pub fn renew_at(self) -> Moment {
        self.expiration.saturating_sub(RENEW_BEFORE)
    }

    /// What both hold.
    pub fn and(self, other: Self) -> Self {
        let inception = self.inception.max(other.inception);
        Self { inception, expiration: self.expiration.min(other.expiration) }
    }

    /// Holds always.
    pub const FOREVER: Self = Self { inception: 0, expiration: Moment::MAX };
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_795_000_000;
    const HOUR: u64 = 3_600;

    fn mono(seconds: u64) -> MonoTime {
        MonoTime::from_millis(seconds * 1_000)
    }

    fn wall(seconds: u64) -> WallTime {
        WallTime(seconds * 1_000)
    }

    fn holds(window: Window, at: u64) -> bool {
        window.inception <= at && at < window.expiration
    }

    /// Whatever the clock does, a signature made now and every signature not yet due holds at the
    /// true time.
    #[test]
    fn no_step_of_the_clock_makes_a_signature_bogus() {
        let steps: [i64; 7] = [0, 7_200, -7_200, 30 * 86_400, -30 * 86_400, 3_650 * 86_400, -(T as i64)];
        for step in steps {
            let mut time = TrustedTime::new(mono(0), wall(T), T - HOUR);
            let mut window = time.now(mono(0), wall(T)).window(7);
            for second in (0..86_000).step_by(60) {
                let true_time = T + second;
                let shown = if second < HOUR { true_time } else { true_time.saturating_add_signed(step) };
                let now = time.now(mono(second), wall(shown));
                if window.is_due(now) {
                    window = now.window(7);
                }
                assert!(holds(window, true_time), "step {step} s, second {second}: {window:?}");
            }
        }
    }

    #[test]
    fn a_host_that_starts_in_the_past_signs_for_the_present() {
        let mut time = TrustedTime::new(mono(0), wall(0), T);
        let now = time.now(mono(1), wall(1));
        assert!(holds(now.window(0), T + 5 * 86_400));
        assert_eq!(now.for_keys(T), T, "keys do not go back");
        assert_eq!(time.floor(now), T);
        // The clock is set: signatures begin and end as usual again.
        let now = time.now(mono(60), wall(T + 60));
        assert!(holds(now.window(0), T + 60));
    }

    #[test]
    fn a_lasting_step_is_believed_in_the_end() {
        let mut time = TrustedTime::new(mono(0), wall(T), 0);
        let far = T + 400 * 86_400;
        assert_eq!(time.now(mono(60), wall(far)), Now { earliest: T + 60, latest: far });
        let day = 60 + DOUBT.as_secs();
        assert_eq!(time.now(mono(day), wall(far + day)), Now { earliest: far + day, latest: far + day });
        assert_eq!(time.now(mono(day + 1), wall(far + day + 1)).earliest, far + day + 1);
    }

    #[test]
    fn signatures_end_apart_and_are_due_in_the_last_third() {
        let now = Now { earliest: T, latest: T };
        let (one, other) = (now.window(1), now.window(86_400));
        assert_eq!(one.expiration - other.expiration, 86_399);
        assert!(!one.is_due(now));
        let late = Now { earliest: one.renew_at(), latest: one.renew_at() };
        assert!(one.is_due(late) && one.renew_at() + RENEW_BEFORE == one.expiration);
        let stepped_back = Now { earliest: T - 2 * HOUR, latest: T };
        assert!(one.is_due(stepped_back), "not valid yet for a validator with that clock");
    }
}
