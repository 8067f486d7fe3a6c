//! Query limits: how many queries of one client prefix a worker answers while it has more than it can do.
//!
//! ```text
//!  a window of 100 ms          the next                               queries of a prefix, a second
//!  backlog                ──▶  pressed: the threshold halves, from    │      ┌ above: dropped, some
//!                              all there was down to `at_least`       │██    ├─── threshold    slip
//!  none, pressed          ──▶  the threshold rises, slowly near where │██ █  │
//!  none, none held, 1 s   ──▶  not pressed                            │██ ██ █ █ █
//!                                                                     └──────────── prefixes
//! ```
//!
//! With nothing to do about load there is nothing to look at: a worker that keeps up asks one flag for
//! each query and no more. Backlog is what a worker sees of its own queue: nearly all batches of a window
//! came full, so more was waiting; or it answered more than the policy's `above`. A threshold that comes
//! down from above takes from the heaviest first and leaves all below it whole, which is the fair share
//! (max-min) without knowing what a worker can do; it never falls below `at_least`, so calm clients lose
//! nothing. It also stops where one in seventeen taken is answered: from there on receiving is what
//! costs, and dropping more would help nobody.
//!
//! Buckets are those of [`rrl`](super::rrl), but of queries, and of a rate that moves: one of `at_least`
//! queries that empties with the threshold, so that what is answered comes evenly. A prefix takes the place
//! of the one that is soonest out of debt: a flood from everywhere pushes out no heavy one, and nobody pays
//! for another. Clients with a valid cookie are answered all the same; who they are is asked only where it
//! matters. What becomes of answers is `rrl`'s; streams have their own limits (`serve::gate`).

use super::rrl::{Held, SETS, place, prefix_key};
use super::{Ctx, parse};
use crate::base::clock::MonoTime;
use crate::model::policy::QueryLimit;
use std::net::IpAddr;

/// How often load is looked at.
const WINDOW_US: u64 = 100_000;
/// Fewer queries a second are no load, however they come.
const LIGHT: u64 = 10_000;
/// A worker that keeps up empties its queue now and then, which shows as a batch that is not full: once in
/// so many batches at least.
const RESTS: u32 = 8;
/// Queries held for each that is answered, past which the threshold does not fall. Dropping one costs about
/// a third of answering it, so answers are then a sixth of the work.
const MOST_HELD: u64 = 16;
/// Windows without backlog, and without anybody held, until pressure is over.
const CALM: u32 = 10;
/// Shares of a client that shows a valid cookie.
const VERIFIED_SHARES: u64 = 8;
const WAYS: usize = 4;
const SECOND_NS: u64 = 1_000_000_000;
/// The debt of a prefix that is never limited.
const ALLOWED: u64 = u64::MAX;

/// What is to be done with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Answered.
    Within,
    /// Above its share: answered, and counted.
    Logged,
    Held(Held),
}

/// Totals since the worker's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FairCounts {
    /// Of queries above their prefix's share: answered without records, not answered, answered since the
    /// limit only counts, answered for their cookie.
    pub slipped: u64,
    pub dropped: u64,
    pub logged: u64,
    pub verified: u64,
    /// Milliseconds in which queries were looked at.
    pub pressed_ms: u64,
}

/// One worker's view of who asks how much.
#[derive(Clone, Debug)]
pub struct Fair {
    is_pressed: bool,
    /// Queries a second that a prefix may send.
    threshold: u64,
    /// The last one that was too high.
    too_high: u64,
    /// What one of them costs, and how much of that may be owed; nanoseconds.
    cost: u64,
    tolerance: u64,
    began: MonoTime,
    seen: Seen,
    calm: u32,
    limit: Option<QueryLimit>,
    sets: Box<[Set]>,
    seed: u64,
    pub counts: FairCounts,
}

/// Of the window under way.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    taken: u32,
    /// They came in so many batches, of which so many were full.
    batches: u32,
    full: u32,
    held: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set {
    keys: [u64; WAYS],
    /// When a prefix is out of debt, in nanoseconds.
    until: [u64; WAYS],
}

impl Fair {
    /// Allocates all it will ever need but a policy's list of networks. `None`: nobody is limited. `seed`
    /// is random, and may be the same for all workers.
    pub fn new(limit: Option<&QueryLimit>, seed: u64) -> Self {
        Self {
            is_pressed: false,
            threshold: u64::MAX,
            too_high: u64::MAX,
            cost: 0,
            tolerance: 0,
            began: MonoTime(0),
            seen: Seen::default(),
            calm: 0,
            limit: limit.cloned(),
            sets: vec![Set::default(); SETS].into(),
            seed,
            counts: FairCounts::default(),
        }
    }

    /// Holds to another policy from here on, which begins without pressure.
    pub fn adopt(&mut self, limit: Option<&QueryLimit>) {
        if self.limit.as_ref() != limit {
            self.limit = limit.cloned();
            self.sets.fill(Set::default());
            self.relax();
        }
    }

    /// Whether each query has to be [judged](Self::judge).
    #[inline(always)]
    pub const fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Between two batches, `taken` queries in the one before: as many as fit, if it `was_full`.
    #[inline]
    pub fn turn(&mut self, now: MonoTime, taken: u32, was_full: bool) {
        self.seen.taken = self.seen.taken.saturating_add(taken);
        self.seen.batches += u32::from(taken > 0);
        self.seen.full += u32::from(was_full);
        if now.0 >= self.began.0 + WINDOW_US {
            self.end_window(now);
        }
    }

    #[cold]
    fn end_window(&mut self, now: MonoTime) {
        let lasted_us = (now.0 - self.began.0).max(1);
        let seen = std::mem::take(&mut self.seen);
        self.began = now;
        let Some(limit) = &self.limit else { return };
        let per_second = |count: u32| u64::from(count) * 1_000_000 / lasted_us;
        let (taken, held) = (per_second(seen.taken), per_second(seen.held));
        let answered = taken.saturating_sub(held);
        let is_behind = taken >= LIGHT && (seen.batches - seen.full) * RESTS <= seen.batches;
        let is_above = limit.above.is_some_and(|above| answered > u64::from(above));
        let at_least = u64::from(limit.at_least).max(1);
        if self.is_pressed {
            self.counts.pressed_ms += lasted_us / 1_000;
        }
        if is_above || (is_behind && held / MOST_HELD <= answered) {
            self.too_high = self.threshold.min(taken);
            self.threshold = (self.too_high / 2).max(at_least);
        } else if !is_behind {
            // Slowly where there was too much before: each time around, queries are lost.
            let is_far = self.threshold < self.too_high / 4 * 3;
            let step = self.threshold / if is_far { 8 } else { 128 } + 1;
            self.threshold = self.threshold.saturating_add(step);
        }
        self.is_pressed |= is_behind || is_above;
        self.calm = if is_behind || is_above || seen.held > 0 { 0 } else { self.calm + 1 };
        if self.calm >= CALM {
            self.relax();
        }
        self.cost = SECOND_NS / self.threshold;
        self.tolerance = self.cost * at_least;
    }

    fn relax(&mut self) {
        (self.is_pressed, self.threshold, self.calm) = (false, u64::MAX, 0);
    }

    /// Counts a query of a prefix. `is_verified` is asked only of those above their share.
    #[inline(never)]
    pub fn judge(&mut self, peer: IpAddr, now: MonoTime, is_verified: impl FnOnce() -> bool) -> Share {
        let (key, now) = (prefix_key(&peer), now.0 * 1_000);
        let place = place(key, self.seed);
        let Some(set) = self.sets.get_mut(place) else { return Share::Within };
        let known = set.keys.iter().zip(&mut set.until).find(|(it, _)| **it == key);
        let Some((_, until)) = known else {
            self.enter(peer, key, now + self.cost);
            return Share::Within;
        };
        if *until == ALLOWED {
            return Share::Within;
        }
        let owed_until = (*until).max(now) + self.cost;
        if owed_until <= now + self.tolerance {
            *until = owed_until;
            return Share::Within;
        }
        if is_verified() {
            // A cookie tells who asks, not that there is no end of it.
            let owed_until = (*until).max(now) + self.cost / VERIFIED_SHARES;
            if owed_until <= now + 2 * self.tolerance {
                *until = owed_until;
                self.counts.verified += 1;
                return Share::Within;
            }
        }
        self.judge_over()
    }

    #[cold]
    fn judge_over(&mut self) -> Share {
        let Some(limit) = &self.limit else { return Share::Within };
        // Also where it is only counted, so that the threshold moves as it would.
        self.seen.held += 1;
        if limit.log_only {
            self.counts.logged += 1;
            return Share::Logged;
        }
        if limit.slip > 0 && self.seen.held.is_multiple_of(u32::from(limit.slip)) {
            self.counts.slipped += 1;
            return Share::Held(Held::Slipped);
        }
        self.counts.dropped += 1;
        Share::Held(Held::Dropped)
    }

    /// In place of the entry of its set that is soonest out of debt. A first query is within any share.
    #[inline(never)]
    fn enter(&mut self, peer: IpAddr, key: u64, until: u64) {
        let peer = peer.to_canonical();
        let is_allowed = |limit: &QueryLimit| limit.allow.iter().any(|prefix| prefix.contains(peer));
        let until = if self.limit.as_ref().is_some_and(is_allowed) { ALLOWED } else { until };
        let Some(set) = self.sets.get_mut(place(key, self.seed)) else { return };
        // Whoever is allowed owes nothing.
        let debt = |until: u64| if until == ALLOWED { 0 } else { until };
        let places = set.keys.iter_mut().zip(&mut set.until);
        if let Some(soonest) = places.min_by_key(|(_, until)| debt(**until)) {
            (*soonest.0, *soonest.1) = (key, until);
        }
    }
}

/// Whether a query shows a cookie that only its sender can have.
pub(super) fn is_verified(ctx: &Ctx<'_>, query: &[u8]) -> bool {
    let shown = parse(query).ok().and_then(|query| query.edns?.cookie);
    ctx.cookie_reply(shown.as_ref()).is_some_and(|cookie| cookie.is_verified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::SeededRng;
    use crate::base::prefix::{Family, Prefix};
    use std::collections::{HashMap, VecDeque};

    fn limit() -> QueryLimit {
        QueryLimit { allow: Vec::new(), ..QueryLimit::default() }
    }

    /// A worker in simulated time: an answer costs a hundredth of a millisecond, a query that is dropped
    /// a third of that, and what does not fit its queue is lost.
    struct Worker {
        fair: Fair,
        queue: VecDeque<u32>,
        now_us: u64,
        /// Hundredths of what was worked too long in the last millisecond.
        debt: i64,
        /// By client: asked, answered, held by us, lost by the queue; since they were last looked at.
        clients: HashMap<u32, [u64; 4]>,
    }

    impl Worker {
        const QUEUE: usize = 2_000;

        fn new(limit: &QueryLimit) -> Self {
            let (fair, queue) = (Fair::new(Some(limit), 0x5eed), VecDeque::new());
            Self { fair, queue, now_us: 0, debt: 0, clients: HashMap::new() }
        }

        fn note(&mut self, client: u32, what: usize) {
            self.clients.entry(client).or_default()[what] += 1;
        }

        /// `offered`: client and queries a millisecond, in thousandths.
        fn run(&mut self, ms: u64, offered: &[(u32, u64)], rng: &mut SeededRng) {
            for _ in 0..ms {
                let mut arriving = Vec::new();
                for (client, per_second) in offered {
                    let count = per_second / 1_000 + u64::from(rng.below(1_000) < per_second % 1_000);
                    arriving.extend((0..count).map(|_| *client));
                }
                for last in (1..arriving.len()).rev() {
                    arriving.swap(last, rng.below(last as u64 + 1) as usize);
                }
                for client in arriving {
                    self.note(client, 0);
                    if self.queue.len() < Self::QUEUE {
                        self.queue.push_back(client);
                    } else {
                        self.note(client, 3);
                    }
                }
                self.work();
                self.now_us += 1_000;
            }
        }

        /// A millisecond's worth.
        fn work(&mut self) {
            self.debt = (self.debt - 10_000).max(-10_000);
            while self.debt < 0 && !self.queue.is_empty() {
                let batch: Vec<u32> = self.queue.drain(..self.queue.len().min(32)).collect();
                for client in &batch {
                    let peer = IpAddr::from((client << 8 | 7).to_be_bytes());
                    let is_held = self.fair.is_pressed()
                        && matches!(
                            self.fair.judge(peer, MonoTime(self.now_us), || *client == VERIFIED_FLOOD),
                            Share::Held(Held::Dropped)
                        );
                    self.note(*client, if is_held { 2 } else { 1 });
                    self.debt += if is_held { 33 } else { 100 };
                }
                self.fair.turn(MonoTime(self.now_us), batch.len() as u32, batch.len() == 32);
            }
        }

        fn take(&mut self, client: u32) -> [u64; 4] {
            self.clients.remove(&client).unwrap_or_default()
        }
    }

    const FLOOD: u32 = 1;
    /// With a valid cookie in every query.
    const VERIFIED_FLOOD: u32 = 2;
    fn calm_clients() -> std::ops::Range<u32> {
        100..200
    }

    /// A worker that can answer 100,000 a second; a hundred calm clients at 50 a second each.
    #[test]
    fn while_one_floods_the_calm_lose_nothing() {
        let floods = [(120_000, FLOOD), (200_000, FLOOD), (250_000, FLOOD), (200_000, VERIFIED_FLOOD)];
        for (flood, flooder) in floods {
            let mut worker = Worker::new(&limit());
            let mut rng = SeededRng::new(flood);
            let calm: Vec<(u32, u64)> = calm_clients().map(|client| (client, 50)).collect();
            worker.run(2_000, &calm, &mut rng);
            assert!(!worker.fair.is_pressed(), "5,000 a second are no load");
            let with_flood: Vec<(u32, u64)> = calm.iter().copied().chain([(flooder, flood)]).collect();
            worker.run(1_500, &with_flood, &mut rng);
            assert!(calm_clients().all(|client| worker.take(client)[2] == 0), "we never hold them");
            worker.take(flooder);
            worker.run(3_000, &with_flood, &mut rng);
            let flooded = worker.take(flooder);
            assert!(flooded[1] > 30_000, "{flood}: what there is room for is answered: {flooded:?}");
            assert!(flooded[2] > flooded[0] / 10, "{flood}: the rest is held: {flooded:?}");
            let mut lost = 0;
            for client in calm_clients() {
                let [asked, _, held, unread] = worker.take(client);
                assert_eq!(held, 0, "{flood}");
                assert!(asked > 100);
                lost += unread;
            }
            assert!(lost < 300, "{flood}: {lost} of 15,000 while the threshold sought its place");
            worker.run(5_000, &calm, &mut rng);
            assert!(!worker.fair.is_pressed(), "the flood is over");
        }
    }

    /// Without limits the queue drops without looking.
    #[test]
    fn without_limits_the_calm_lose_as_much_as_the_flood() {
        let mut worker = Worker::new(&limit());
        worker.fair.adopt(None);
        let mut rng = SeededRng::new(3);
        let offered: Vec<(u32, u64)> =
            calm_clients().map(|client| (client, 50)).chain([(FLOOD, 200_000)]).collect();
        worker.run(3_000, &offered, &mut rng);
        let (asked, lost) = calm_clients().fold((0, 0), |(asked, lost), client| {
            let of = worker.take(client);
            (asked + of[0], lost + of[3])
        });
        assert!(lost > asked / 4, "{lost} of {asked}");
    }

    /// A tenth of a second of full batches, in which prefix `n` asks `asked[n]` times; how many of those are
    /// within its share.
    fn window(fair: &mut Fair, now_ms: &mut u64, asked: &[u32]) -> Vec<u32> {
        let mut within = vec![0; asked.len()];
        for ms in 0..100 {
            let now = MonoTime::from_millis(*now_ms + ms);
            for (n, times) in asked.iter().enumerate() {
                let so_far = |ms: u64| *times * ms as u32 / 100;
                for _ in so_far(ms)..so_far(ms + 1) {
                    let share = fair.judge(IpAddr::from([192, 0, n as u8, 9]), now, || false);
                    within[n] += u32::from(!matches!(share, Share::Held(_)));
                }
            }
        }
        *now_ms += 100;
        fair.turn(MonoTime::from_millis(*now_ms), asked.iter().sum(), true);
        within
    }

    /// One that is pressed, and its time: `asked` in all makes the threshold half of it.
    fn pressed(limit: &QueryLimit, asked: &[u32]) -> (Fair, u64) {
        let (mut fair, mut now_ms) = (Fair::new(Some(limit), 1), 0);
        assert!(!fair.is_pressed());
        window(&mut fair, &mut now_ms, asked);
        assert!(fair.is_pressed());
        (fair, now_ms)
    }

    #[test]
    fn the_threshold_falls_from_the_heaviest_to_what_everybody_may() {
        let asked = [6_000, 900, 40, 10];
        let (mut fair, mut now) = pressed(&limit(), &asked);
        // What a bucket holds comes on top, once: a hundred. A prefix's first query is free.
        let about = |within: &[u32], expected: &[u32]| {
            let is_near = |(is, wanted): (&u32, &u32)| (*wanted..=wanted + 101).contains(is);
            assert!(within.iter().zip(expected).all(is_near), "{within:?}, not {expected:?}");
        };
        about(&window(&mut fair, &mut now, &asked), &[3_475, 900, 40, 10]);
        about(&window(&mut fair, &mut now, &asked), &[1_737, 900, 40, 10]);
        about(&window(&mut fair, &mut now, &asked), &[868, 868, 40, 10]);
        // In the end sixteen are held for each answered, and dropping more would not help.
        for _ in 0..20 {
            let within = window(&mut fair, &mut now, &asked);
            assert!(within[0] > 100 && within[2..] == [40, 10], "{within:?}");
        }
        // A hundred a second is what everybody may, however much many send.
        let asked = [50; 40];
        (0..30).for_each(|_| drop(window(&mut fair, &mut now, &asked)));
        let within = window(&mut fair, &mut now, &asked);
        assert!(within.iter().all(|within| (9..=25).contains(within)), "{within:?}");
    }

    #[test]
    fn a_bound_of_the_policy_is_pressure_too() {
        let limit = QueryLimit { above: Some(1_000), at_least: 50, ..limit() };
        let mut fair = Fair::new(Some(&limit), 1);
        for now in 1..20 {
            // Batches that are not full, 90 queries in each tenth of a second.
            fair.turn(MonoTime::from_millis(now * 100), 90, false);
        }
        assert!(!fair.is_pressed(), "1,000 a second are allowed");
        let (mut fair, mut now) = pressed(&limit, &[400, 20]);
        (0..10).for_each(|_| drop(window(&mut fair, &mut now, &[400, 20])));
        let within = window(&mut fair, &mut now, &[400, 20]);
        assert!(within[0] <= 120 && within[1] == 20, "{within:?}");
    }

    #[test]
    fn pressure_ends_with_a_second_without_backlog_in_which_nobody_was_held() {
        let (mut fair, mut now) = pressed(&limit(), &[2_000]);
        for _ in 0..9 {
            now += 100;
            fair.turn(MonoTime::from_millis(now), 100, false);
            assert!(fair.is_pressed());
        }
        fair.turn(MonoTime::from_millis(now + 100), 100, false);
        assert!(!fair.is_pressed());
        assert_eq!(fair.counts.pressed_ms, 1_000);
        let mut fair = Fair::new(None, 1);
        window(&mut fair, &mut now, &[2_000]);
        assert!(!fair.is_pressed(), "without limits");
    }

    #[test]
    fn who_is_allowed_verified_or_only_counted_is_answered() {
        let allow = vec![Prefix::new(Family::V4, 192 << 120, 16)];
        for (limit, is_verified, expected) in [
            (QueryLimit { allow, ..limit() }, false, Share::Within),
            (limit(), true, Share::Within),
            (QueryLimit { log_only: true, ..limit() }, false, Share::Logged),
        ] {
            let (mut fair, now) = pressed(&limit, &[2_000]);
            let mut judge =
                || fair.judge(IpAddr::from([192, 0, 0, 1]), MonoTime::from_millis(now), || is_verified);
            let shares: Vec<Share> = (0..150).map(|_| judge()).collect();
            assert_eq!(shares.last(), Some(&expected), "{limit:?}");
            let FairCounts { slipped, dropped, logged, verified, .. } = fair.counts;
            let over = [u64::from(is_verified) * 50, u64::from(limit.log_only) * 50];
            assert_eq!(([verified, logged], slipped + dropped), (over, 0), "{limit:?}");
        }
    }

    #[test]
    fn of_those_held_every_so_many_slips() {
        for (slip, slipped) in [(0, 0), (1, 1_000), (5, 200)] {
            let (mut fair, now) = pressed(&QueryLimit { slip, ..limit() }, &[2_000]);
            for _ in 0..1_100 {
                fair.judge(IpAddr::from([192, 0, 0, 1]), MonoTime::from_millis(now), || false);
            }
            assert_eq!((fair.counts.slipped, fair.counts.dropped), (slipped, 1_000 - slipped), "{slip}");
        }
    }

    /// A flood from everywhere pushes no heavy prefix out of the table, and holds nobody else up.
    #[test]
    fn strangers_are_never_held_and_hide_nobody() {
        let (mut fair, now) = pressed(&limit(), &[2_000]);
        let now = MonoTime::from_millis(now);
        let (mut stranger, mut heavy) = (0_u32, 0);
        for _ in 0..2_000 {
            heavy += u32::from(fair.judge(IpAddr::from([192, 0, 0, 1]), now, || false) != Share::Within);
            for _ in 0..50 {
                stranger += 1;
                let peer = IpAddr::from((0x1000_0000 + stranger * 256).to_be_bytes());
                assert_eq!(fair.judge(peer, now, || false), Share::Within);
            }
        }
        // Until its debt grows it may be pushed out once or twice.
        assert!(heavy > 1_500, "{heavy}");
    }

    #[test]
    fn prefixes_are_24_and_56_bits_long() {
        for (first, second, is_shared) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("2001:db8:0:ff::1", "2001:db8:0:aa:5::9", true),
            ("2001:db8:0:100::1", "2001:db8:0:200::1", false),
            ("0.0.0.1", "::1", false),
        ] {
            let [first, second] = [first, second].map(|text| text.parse().expect("an address"));
            assert_eq!(prefix_key(&first) == prefix_key(&second), is_shared, "{first} {second}");
        }
    }
}
