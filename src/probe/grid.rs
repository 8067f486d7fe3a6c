//! When probes start: each on a grid of its own interval, the grids spread evenly.
//!
//! ```text
//!  interval 2 s, 4 targets     A . . . A . . . A          order shuffled by the seed
//!                              . B . . . B . . . B        offsets 0, 1/4, 2/4, 3/4 of the interval
//! ```
//! A grid never makes up for missed ticks. A probe that is due starts at once if it is late by no more
//! than its leeway; after that it waits for its grid's next time. So when this process was stopped or
//! starved, all targets go back to their own places in the interval instead of starting together. Targets
//! with different intervals are spread apart.

use crate::base::hash::SeededRng;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Shorter intervals are stretched to this; policy allows no less than 200 ms.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest leeway; of short intervals it is a quarter.
const LEEWAY: Duration = Duration::from_millis(200);

/// The start times of one target.
pub(super) struct Grid {
    offset: Duration,
    interval: Duration,
    /// The time of the last tick on the grid, once there was one.
    last: Option<Instant>,
}

impl Grid {
    /// Waits for the next time to start. The first call sets the grid, `offset` from now.
    pub async fn tick(&mut self) {
        let mut due = self.due(Instant::now());
        loop {
            sleep_until(due).await;
            match self.wake(due, Instant::now()) {
                None => return,
                Some(later) => due = later,
            }
        }
    }

    fn due(&self, now: Instant) -> Instant {
        self.last.map_or(now + self.offset, |last| last + self.interval)
    }

    /// `None`: start; else when to look again.
    fn wake(&mut self, due: Instant, now: Instant) -> Option<Instant> {
        if self.last.is_some() && now.duration_since(due) > self.leeway() {
            return Some(self.after(now, due));
        }
        self.last = Some(due);
        None
    }

    fn leeway(&self) -> Duration {
        LEEWAY.min(self.interval / 4)
    }

    /// The first time of the grid that is not before `now`.
    fn after(&self, now: Instant, due: Instant) -> Instant {
        let late = now.duration_since(due).as_nanos();
        let rounds = late.div_ceil(self.interval.as_nanos().max(1));
        due + self.interval * u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}

/// Gives every target a grid, shuffling the order within each interval.
pub(super) fn spread<T>(
    targets: Vec<T>,
    interval: impl Fn(&T) -> Duration,
    rng: &mut SeededRng,
) -> Vec<(T, Grid)> {
    let mut classes: BTreeMap<Duration, Vec<T>> = BTreeMap::new();
    for target in targets {
        classes.entry(interval(&target).max(SHORTEST)).or_default().push(target);
    }
    let mut spread = Vec::new();
    for (interval, mut targets) in classes {
        shuffle(&mut targets, rng);
        let count = u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
        for (at, target) in (0..count).zip(targets) {
            let offset = interval.mul_f64(f64::from(at) / f64::from(count));
            spread.push((target, Grid { offset, interval, last: None }));
        }
    }
    spread
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut SeededRng) {
    for last in (1..items.len()).rev() {
        let other = rng.below(last as u64 + 1) as usize;
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_spread_evenly_within_each_interval() {
        let second = Duration::from_secs(1);
        let targets: Vec<(u32, Duration)> = (0..8).map(|n| (n, second * (1 + n % 2))).collect();
        let grids = spread(targets, |target| target.1, &mut SeededRng::new(3));
        let mut slow: Vec<u128> =
            grids.iter().filter(|(t, _)| t.1 == second * 2).map(|(_, g)| g.offset.as_millis()).collect();
        slow.sort_unstable();
        assert_eq!(slow, [0, 500, 1_000, 1_500]);
        let order = |seed| -> Vec<u32> {
            let targets: Vec<u32> = (0..16).collect();
            let grids = spread(targets, |_| second, &mut SeededRng::new(seed));
            grids.into_iter().map(|(target, _)| target).collect()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2), "the seed decides the order");
    }

    #[test]
    fn an_interval_of_zero_is_stretched() {
        let grids = spread(vec![()], |()| Duration::ZERO, &mut SeededRng::new(0));
        assert_eq!(grids[0].1.interval, SHORTEST);
    }

    const INTERVAL: Duration = Duration::from_secs(2);

    /// When the probes of `count` targets start, in microseconds, over so many rounds. A probe takes no
    /// time; nobody wakes between the two moments of `stall`.
    fn starts_of(count: u32, rounds: usize, stall: Option<[Duration; 2]>) -> Vec<u128> {
        let began = Instant::now();
        let woken = |due: Instant| match stall {
            Some([from, to]) if (began + from..began + to).contains(&due) => began + to,
            _ => due,
        };
        let mut starts = Vec::new();
        for (_, mut grid) in spread((0..count).collect(), |_| INTERVAL, &mut SeededRng::new(5)) {
            let mut now = began;
            for _ in 0..rounds {
                let mut due = grid.due(now);
                now = woken(due);
                while let Some(later) = grid.wake(due, now) {
                    due = later;
                    now = woken(due);
                }
                starts.push(now.duration_since(began).as_micros());
            }
        }
        starts
    }

    fn most_in(starts: &[u128], window: Duration) -> usize {
        let mut buckets: BTreeMap<u128, usize> = BTreeMap::new();
        for start in starts {
            *buckets.entry(start / window.as_micros()).or_default() += 1;
        }
        buckets.into_values().max().unwrap_or(0)
    }

    #[test]
    fn two_thousand_targets_start_evenly_for_ever() {
        let starts = starts_of(2_000, 5, None);
        assert_eq!(starts.len(), 10_000);
        assert_eq!(most_in(&starts, Duration::from_millis(100)), 100, "a twentieth in a twentieth of it");
        assert_eq!(most_in(&starts, Duration::from_millis(1)), 1, "one in each millisecond");
    }

    #[test]
    fn a_stall_is_followed_by_no_burst() {
        let ms = Duration::from_millis;
        // A short one: what was due in it starts together, a twentieth of the interval's worth. A long
        // one: every target waits for its own place, but the one whose place is just then.
        for (stall, together) in [([ms(3_050), ms(3_150)], 101), ([ms(3_050), ms(63_050)], 1)] {
            let starts = starts_of(2_000, 5, Some(stall));
            let [from, to] = stall.map(|moment| moment.as_micros());
            assert!(starts.iter().all(|&start| start < from || start >= to));
            assert_eq!(starts.iter().filter(|&&start| start == to).count(), together);
            let later: Vec<u128> = starts.into_iter().filter(|&start| start > to).collect();
            assert_eq!(most_in(&later, ms(100)), 100, "back on the grid");
        }
    }

    #[test]
    fn a_probe_that_outlasts_its_interval_waits_for_the_next_time() {
        let mut grid = Grid { offset: Duration::ZERO, interval: INTERVAL, last: None };
        let began = Instant::now();
        assert_eq!(grid.wake(grid.due(began), began), None);
        let due = grid.due(began);
        assert_eq!(due, began + INTERVAL);
        let just_late = due + Duration::from_millis(30);
        assert_eq!(grid.wake(due, just_late), None, "a little late is in time");
        let due = grid.due(just_late);
        assert_eq!(due, began + 2 * INTERVAL, "and does not move the grid");
        assert_eq!(grid.wake(due, due + INTERVAL / 2), Some(began + 3 * INTERVAL));
        assert_eq!(grid.wake(due, due + INTERVAL), Some(began + 3 * INTERVAL), "just in time for it");
    }
}
