//! When probes start: each on a grid of its own interval, the grids spread evenly.
//!
//! ```text
//!  interval 2 s, 4 targets     A . . . A . . . A          order shuffled by the seed
//!                              . B . . . B . . . B        offsets 0, 1/4, 2/4, 3/4 of the interval
//! ```
//! A grid never makes up for missed ticks: after a stall or a suspend the next probe starts at once and the
//! ones after it at the grid's own times. Targets with different intervals are spread apart.

use crate::base::hash::SeededRng;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Shorter intervals are stretched to this; policy allows no less than 200 ms.
const SHORTEST: Duration = Duration::from_millis(10);

/// The start times of one target; the timer is made by the task that waits for it.
pub(super) struct Grid {
    offset: Duration,
    interval: Duration,
    timer: Option<Interval>,
}

impl Grid {
    pub async fn tick(&mut self) {
        let (offset, interval) = (self.offset, self.interval);
        let timer = self.timer.get_or_insert_with(|| {
            let mut timer = interval_at(Instant::now() + offset, interval);
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
            timer
        });
        timer.tick().await;
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
            spread.push((target, Grid { offset, interval, timer: None }));
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
}
