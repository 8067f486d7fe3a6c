//! How clients follow a table: late where they have a session, and all at once where they lost it.
//!
//! ```text
//!  carried    whom a node has
//!  coming     who lost another node and was sent to it: waits for a cache, then reconnects, which
//!             costs more than having a session for a while
//!  current    whom the table sends to it
//!  lingering  carried + coming - current: sessions outlast the move, a cache and then their own time
//! ```
//! All are ppm of a service's demand, by node. Nobody is lost or made: whom lingering ends for fills the
//! gaps elsewhere, and so do those who are on no node and were sent to none.
//!
//! Lifetimes are means over a service and known only as far as its profile knows them; who wants to
//! know what a node really carries looks at its reports.

use super::load::part;
use crate::model::profile::BURST_FADES;
use crate::model::service::Service;

/// How far reports lag behind loads: smoothing, and half of the interval of reading.
const REPORTED_MS: u64 = 15_000;
/// Longer than this counts as this.
const LONGEST_MS: u64 = 1 << 36;
const WHOLE: u64 = 1_000_000;

/// How clients of a service follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Habit {
    /// Mean age of a cached answer when it is used last, and of the report that shows it.
    cached_ms: u64,
    session_ms: u64,
    /// What all who lost their node cost at most beyond their load while they reconnect, as a part of it.
    pub surge_ppm: u32,
}

impl Habit {
    pub fn of(service: &Service) -> Self {
        let ttl_ms = u64::from(service.ttl) * 1_000;
        let fades_ms = BURST_FADES.as_millis() as u64;
        // They come evenly within a TTL, and the cost of each fades: so many cost it at the same time.
        let at_once = fades_ms * WHOLE / fades_ms.max(ttl_ms);
        let session_ms = service.profile.session.as_millis();
        Self {
            cached_ms: ttl_ms / 2 + REPORTED_MS,
            session_ms: u64::try_from(session_ms).map_or(LONGEST_MS, |ms| ms.min(LONGEST_MS)),
            surge_ppm: part(u64::from(service.profile.burst.0), at_once as u32) as u32,
        }
    }

    /// How long clients stay after they were sent elsewhere, on average.
    pub fn stay_ms(&self) -> u64 {
        self.cached_ms.saturating_add(self.session_ms)
    }

    /// Moves `row` towards `current`. Who was on a node that does not serve any more is on his way.
    pub fn follow(&self, elapsed_ms: u64, row: Row<'_>, current: &[u32], serves: &[bool]) {
        let Row { carried, coming } = row;
        for node in (0..serves.len()).filter(|&node| !serves[node]) {
            (carried[node], coming[node]) = (0, 0);
        }
        if elapsed_ms == 0 {
            return;
        }
        for (has, coming) in carried.iter_mut().zip(coming.iter_mut()) {
            let come = step(u64::from(*coming), elapsed_ms, self.cached_ms) as u32;
            (*has, *coming) = (*has + come, *coming - come);
        }
        let current = || current.iter().zip(serves).map(|(&now, &serves)| if serves { now } else { 0 });
        let sent: u64 = current().map(u64::from).sum();
        let mut free = step(sent.saturating_sub(sum(carried) + sum(coming)), elapsed_ms, self.cached_ms);
        let session_ms = self.stay_ms();
        for (has, now) in carried.iter_mut().zip(current()) {
            let left = step(u64::from(has.saturating_sub(now)), elapsed_ms, session_ms);
            *has -= left as u32;
            free += left;
        }
        fill(carried, coming, current(), free);
    }

    /// By node: what it has to carry for a while beside what the table gives it. Sessions that linger, and
    /// what reconnecting costs.
    pub fn passing<'a>(
        &self,
        carried: &'a [u32],
        coming: &'a [u32],
        current: &'a [u32],
    ) -> impl Iterator<Item = u32> + 'a {
        let surge_ppm = self.surge_ppm;
        carried.iter().zip(coming).zip(current).map(move |((&has, &coming), &now)| {
            let surge = part(u64::from(coming), surge_ppm) as u32;
            has.saturating_add(coming).saturating_sub(now).saturating_add(surge)
        })
    }
}

/// One service's clients: whom nodes have, and who is on his way to them.
pub(super) struct Row<'a> {
    pub carried: &'a mut [u32],
    pub coming: &'a mut [u32],
}

impl Row<'_> {
    /// Notes who lost a node (`left`) and where he was sent (`came`). Sessions alone are lost: of whom the
    /// table had sent to the lost node, some had never followed.
    pub fn send(&mut self, left: &[u32], came: &[u32]) {
        for (has, &left) in self.carried.iter_mut().zip(left) {
            *has = has.saturating_sub(left);
        }
        let free = WHOLE.saturating_sub(sum(self.carried) + sum(self.coming));
        let all = sum(came).max(1);
        for (coming, &came) in self.coming.iter_mut().zip(came) {
            *coming += (u64::from(came) * free.min(all) / all) as u32;
        }
    }
}

/// Lets `free` clients begin where the table sends more than there are.
fn fill(carried: &mut [u32], coming: &[u32], current: impl Iterator<Item = u32> + Clone, mut free: u64) {
    let gap = |((has, coming), now): ((&u32, &u32), u32)| u64::from(now.saturating_sub(has + coming));
    let mut gaps: u64 = carried.iter().zip(coming).zip(current.clone()).map(gap).sum();
    for ((has, coming), now) in carried.iter_mut().zip(coming).zip(current) {
        let gap = u64::from(now.saturating_sub(*has + coming));
        if gap > 0 {
            // Of what is left of both, so that all of them begin somewhere.
            let come = (free.min(gaps) * gap).div_ceil(gaps).min(free).min(gap);
            *has += come as u32;
            (free, gaps) = (free - come, gaps - gap);
        }
    }
}

fn sum(row: &[u32]) -> u64 {
    row.iter().copied().map(u64::from).sum()
}

/// How much of `gap` closes in a time, with a mean lag. A gap too small to divide would never close.
fn step(gap: u64, elapsed_ms: u64, lag_ms: u64) -> u64 {
    // Most gaps of most plans: no division for them.
    if gap == 0 {
        return 0;
    }
    let elapsed_ms = elapsed_ms.min(LONGEST_MS);
    (gap * elapsed_ms / (elapsed_ms + lag_ms).max(1)).max(gap.min(1))
}

#[cfg(test)]
mod tests {
    use super::super::testing::service;
    use super::*;
    use crate::model::profile::Profile;

    fn habit(profile: Profile, ttl: u32) -> Habit {
        let mut service = service("s", vec![]);
        (service.profile, service.ttl) = (profile, ttl);
        Habit::of(&service)
    }

    #[test]
    fn a_surge_is_the_part_of_a_burst_that_is_paid_at_once() {
        assert_eq!(habit(Profile::IM, 30).surge_ppm, 166_666);
        assert_eq!(habit(Profile::CDN, 30).surge_ppm, 33_333);
        assert_eq!(habit(Profile::IM, 5).surge_ppm, 500_000);
        assert_eq!(habit(Profile::IM, 0).surge_ppm, 500_000);
    }

    /// Seconds of following.
    fn run(habit: &Habit, carried: &mut [u32], coming: &mut [u32], current: &[u32], seconds: u64) {
        let serves = vec![true; current.len()];
        for _ in 0..seconds {
            habit.follow(1_000, Row { carried: &mut *carried, coming: &mut *coming }, current, &serves);
        }
    }

    #[test]
    fn who_has_a_session_follows_when_it_ends_and_nobody_is_lost() {
        for (profile, seconds) in [(Profile::CDN, 90), (Profile::IM, 3_630)] {
            let habit = habit(profile, 30);
            let (mut carried, mut coming) = (vec![600_000, 400_000, 0], vec![0; 3]);
            let current = [100_000, 400_000, 500_000];
            run(&habit, &mut carried, &mut coming, &current, seconds);
            assert_eq!(sum(&carried), 1_000_000);
            // After their mean time an e-th part lingers.
            let lingering = f64::from(carried[0] - 100_000) / 500_000.0;
            assert!((lingering - 0.368).abs() < 0.01, "{carried:?}");
            assert_eq!((carried[1], carried[2]), (400_000, 600_000 - carried[0]));
            run(&habit, &mut carried, &mut coming, &current, seconds * 20);
            assert_eq!(carried, current);
        }
    }

    #[test]
    fn who_lost_a_node_comes_as_soon_as_caches_let_go_and_costs_more_meanwhile() {
        let habit = habit(Profile::IM, 30);
        let (mut carried, mut coming) = (vec![300_000, 300_000, 400_000], vec![0; 3]);
        let row = Row { carried: &mut carried, coming: &mut coming };
        habit.follow(1_000, row, &[300_000, 300_000, 400_000], &[true, true, false]);
        assert_eq!(carried, [300_000, 300_000, 0], "nobody was told where to go yet");
        let mut row = Row { carried: &mut carried, coming: &mut coming };
        row.send(&[0, 0, 400_000], &[100_000, 300_000, 0]);
        let current = [400_000, 600_000, 0];
        let passing: Vec<u32> = habit.passing(&carried, &coming, &current).collect();
        assert_eq!(passing, [16_666, 49_999, 0], "a sixth of what comes");
        // Bystanders make room, but not at once.
        let current = [300_000, 700_000, 0];
        let passing: Vec<u32> = habit.passing(&carried, &coming, &current).collect();
        assert_eq!(passing, [116_666, 49_999, 0]);
        run(&habit, &mut carried, &mut coming, &current, 30);
        assert!((140_000..160_000).contains(&sum(&coming)), "an e-th part of 400,000: {coming:?}");
        assert_eq!(sum(&carried) + sum(&coming), 1_000_000);
        run(&habit, &mut carried, &mut coming, &current, 100_000);
        assert_eq!((&carried[..], &coming[..]), (&current[..], &[0; 3][..]));
        assert!(habit.passing(&carried, &coming, &current).all(|ppm| ppm == 0));
    }

    #[test]
    fn who_had_not_come_yet_does_not_leave_again() {
        // The table gives the second node half, but most still are on the first when it is lost.
        let (mut carried, mut coming) = (vec![900_000, 0], vec![0; 2]);
        Row { carried: &mut carried, coming: &mut coming }.send(&[0, 500_000], &[500_000, 0]);
        assert_eq!((carried[0], coming[0]), (900_000, 100_000));
    }

    #[test]
    fn what_the_table_gives_nobody_leaves_and_newcomers_begin_without_a_hurry() {
        let habit = habit(Profile::CDN, 30);
        let (mut carried, mut coming) = (vec![700_000, 300_000], vec![0; 2]);
        run(&habit, &mut carried, &mut coming, &[0, 250_000], 4_000);
        assert_eq!(carried, [0, 250_000]);
        let row = Row { carried: &mut carried, coming: &mut coming };
        habit.follow(u64::MAX, row, &[1_000_000, 0], &[true; 2]);
        assert!(carried[0] > 990_000 && coming == [0; 2], "{carried:?}");
    }
}
