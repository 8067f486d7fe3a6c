//! Shares out of counts, for one division: a service between groups, or all queries between services.
//!
//! ```text
//!  prior p ──────────────┐ pulled towards                    ┌ pulled towards
//!  all queries ──────────┴──────────▶ t   slow share q ─▶ ───┴──▶ share ─▶ settled
//!                                      └─ 4.7 % an hour ▲    ▲
//!  verified queries ───────────────────────────────────────-┘
//! ```
//! With n of N queries from a group whose base (p or q) says e = N * base, and m = n + e: the estimate is
//! `(m * n + k * e) / (m + k)`. What is expected counts as information too, so that silence where many
//! queries were expected says as much as queries do, and of a group that hardly shows either way the base
//! is believed.
//!
//! *Forgeable* queries move q alone, by at most the factor 1.1^(1/2) an hour either way. The shares that
//! come out are at least as steady in q as q itself but for one division by their sum, which moves by no
//! more than that again: 10 % an hour, whatever is sent.
//!
//! Real numbers, but for sums, products, quotients and roots only, which are the same on every machine.
//! What leaves here are integers, and the planner has only those.

use crate::model::demand::WHOLE;

/// Time constant of the counts.
pub const TAU_MS: f64 = 300_000.0;
const HOUR_MS: f64 = 3_600_000.0;
/// ln(1.1) / 2: how fast a slow share may move, in an hour.
const LEAN: f64 = 0.047_655;
/// Longest time that one step makes up for.
const MOST_STEP_MS: f64 = 60_000.0;

/// Of this many queries the base is believed as much as of them, at least.
const LEAST_PRIOR: f64 = 20.0;
/// Caches that the base is worth.
const PRIOR_CACHES: f64 = 2.0;

/// A query seldom comes alone (A and AAAA, retries): so much more do counts waver.
const BURST: f64 = 2.0;
/// Part of all that may be wrong before shares are drawn anew,
const NEWS: f64 = 0.05;
/// beside so many times the noise to be expected.
const NEWS_NOISE: f64 = 1.5;
/// Shares drawn from half the queries that there are now, or fewer, are drawn anew for so much: what was
/// learned first was learned from little.
const LEARNING: f64 = 2.0;
const LEARNING_NEWS: f64 = 0.01;
/// The same for one group, which also has to differ by a quarter.
const GROUP_NEWS: f64 = 0.01;
const GROUP_NOISE: f64 = 7.0;
/// Shares drawn from more than so many times the queries that there are now stay in force,
const THIN: f64 = 4.0;
/// for so long at most.
const HOLD_MS: u64 = 86_400_000;

/// Queries by which the base is believed: at least as many as a few caches show in the time that counts
/// remember. A cache shows one in each TTL, whoever stands behind it.
pub fn prior_queries(ttl_s: u32) -> f64 {
    let by_caches = PRIOR_CACHES * TAU_MS / (f64::from(ttl_s.max(1)) * 1_000.0);
    by_caches.max(LEAST_PRIOR)
}

/// The counts of one division, and what follows from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// Queries in about [`TAU_MS`].
    pub verified: Vec<f64>,
    pub forgeable: Vec<f64>,
    /// The slow shares, q.
    pub slow: Vec<f64>,
    /// In force, of [`WHOLE`]; empty: the prior.
    pub settled: Vec<u32>,
    /// Queries behind them.
    pub drawn_from: f64,
    thin_since_ms: Option<u64>,
}

/// One estimate and how far noise alone may carry it.
struct Fresh {
    share: f64,
    noise: f64,
}

impl Division {
    /// `prior` sums to one.
    pub fn new(prior: &[f64]) -> Self {
        Self {
            verified: vec![0.0; prior.len()],
            forgeable: vec![0.0; prior.len()],
            slow: prior.to_vec(),
            settled: Vec::new(),
            drawn_from: 0.0,
            thin_since_ms: None,
        }
    }

    /// Lets old counts fade.
    pub fn fade(&mut self, elapsed_ms: f64) {
        let left = TAU_MS / (TAU_MS + elapsed_ms.max(0.0));
        self.verified.iter_mut().chain(&mut self.forgeable).for_each(|count| *count *= left);
    }

    /// Forgeable and verified queries of one group since the last step.
    pub fn add(&mut self, at: usize, forgeable: f64, verified: f64) {
        if let (Some(of_all), Some(of_verified)) = (self.forgeable.get_mut(at), self.verified.get_mut(at)) {
            *of_all += forgeable;
            *of_verified += verified;
        }
    }

    pub fn queries(&self) -> f64 {
        self.verified.iter().chain(&self.forgeable).sum()
    }

    /// Moves the slow shares towards what all queries say. Nothing counted moves nothing.
    pub fn lean(&mut self, prior: &[f64], k: f64, elapsed_ms: f64) {
        if self.queries() < k {
            return;
        }
        let all: Vec<f64> = self.verified.iter().zip(&self.forgeable).map(|(a, b)| a + b).collect();
        let wanted = estimate(&all, prior, k);
        let most = LEAN * elapsed_ms.clamp(0.0, MOST_STEP_MS) / HOUR_MS;
        let step = |(slow, wanted): (&f64, &Fresh)| (wanted.share - slow).clamp(-most * slow, most * slow);
        let steps: Vec<f64> = self.slow.iter().zip(&wanted).map(step).collect();
        let rise: f64 = steps.iter().filter(|step| **step > 0.0).sum();
        let fall: f64 = -steps.iter().filter(|step| **step < 0.0).sum::<f64>();
        // What rises takes from what falls: the larger side waits for the other.
        let (rising, falling) = (part(fall, rise), part(rise, fall));
        for (slow, step) in self.slow.iter_mut().zip(steps) {
            *slow += step * if step > 0.0 { rising } else { falling };
        }
    }

    /// The shares as they are estimated now.
    pub fn estimate(&self, k: f64) -> Vec<f64> {
        estimate(&self.verified, &self.slow, k).into_iter().map(|fresh| fresh.share).collect()
    }

    /// Draws the shares in force anew if that is news; whether it was.
    pub fn settle(&mut self, prior: &[f64], k: f64, now_ms: u64) -> bool {
        let queries = self.queries();
        if queries * THIN < self.drawn_from {
            let since = *self.thin_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) < HOLD_MS {
                return false;
            }
        }
        self.thin_since_ms = None;
        let fresh = estimate(&self.verified, &self.slow, k);
        if !self.is_news(prior, &fresh, queries) {
            return false;
        }
        self.settled = whole(fresh.iter().map(|fresh| fresh.share));
        self.drawn_from = queries;
        true
    }

    fn is_news(&self, prior: &[f64], fresh: &[Fresh], queries: f64) -> bool {
        let (mut gap, mut noise) = (0.0, 0.0);
        for (at, fresh) in fresh.iter().enumerate() {
            let held = match self.settled.get(at) {
                Some(&share) => f64::from(share) / f64::from(WHOLE),
                None => prior.get(at).copied().unwrap_or_default(),
            };
            let difference = (fresh.share - held).abs();
            if difference > GROUP_NEWS.max(held / 4.0) + GROUP_NOISE * fresh.noise {
                return true;
            }
            gap += difference / 2.0;
            noise += fresh.noise;
        }
        let is_learning = self.drawn_from > 0.0 && queries >= LEARNING * self.drawn_from;
        gap > if is_learning { LEARNING_NEWS } else { NEWS + NEWS_NOISE * noise }
    }

    /// How much of a group's estimate is counted, 0 to 1.
    pub fn confidence(&self, at: usize, k: f64) -> f64 {
        self.confidence_of(self.verified.iter().sum(), at, k)
    }

    /// The same of all, weighted by share.
    pub fn confidence_of_all(&self, k: f64) -> f64 {
        let total: f64 = self.verified.iter().sum();
        let shares = self.estimate(k);
        shares.iter().enumerate().map(|(at, share)| share * self.confidence_of(total, at, k)).sum()
    }

    fn confidence_of(&self, total: f64, at: usize, k: f64) -> f64 {
        let count = self.verified.get(at).copied().unwrap_or_default();
        believed(count + total * self.slow.get(at).copied().unwrap_or_default(), k)
    }
}

fn believed(information: f64, k: f64) -> f64 {
    information / (information + k)
}

/// `a` of `b`, at most all of it.
fn part(a: f64, b: f64) -> f64 {
    if b > a { a / b } else { 1.0 }
}

/// See the module.
fn estimate(counts: &[f64], base: &[f64], k: f64) -> Vec<Fresh> {
    let total: f64 = counts.iter().sum();
    let known = |share: &f64| Fresh { share: *share, noise: 0.0 };
    if total <= 0.0 {
        return base.iter().map(known).collect();
    }
    let one = |(&count, &base): (&f64, &f64)| {
        let expected = total * base;
        let information = count + expected;
        let share = (information * count + k * expected) / (information + k);
        let noise = believed(information, k) * (BURST * (count + 1.0)).sqrt();
        Fresh { share, noise }
    };
    let mut fresh: Vec<Fresh> = counts.iter().zip(base).map(one).collect();
    let sum: f64 = fresh.iter().map(|fresh| fresh.share).sum();
    for fresh in &mut fresh {
        fresh.share /= sum;
        fresh.noise /= sum;
    }
    fresh
}

/// As parts of [`WHOLE`]; what is rounded away goes to the next, so that the sum is exact.
pub fn whole(shares: impl Iterator<Item = f64>) -> Vec<u32> {
    let shares: Vec<f64> = shares.collect();
    let sum: f64 = shares.iter().sum();
    let (mut passed, mut given) = (0.0, 0);
    let last = shares.len().saturating_sub(1);
    let round = |(at, share): (usize, &f64)| {
        passed += share;
        let upto = if at == last || sum <= 0.0 { f64::from(WHOLE) } else { passed / sum * f64::from(WHOLE) };
        let upto = (upto as u32).clamp(given, WHOLE);
        let own = upto - given;
        given = upto;
        own
    };
    shares.iter().enumerate().map(round).collect()
}

/// `weights` as shares that sum to one.
pub fn normal(weights: &[u64]) -> Vec<f64> {
    let total = weights.iter().sum::<u64>().max(1) as f64;
    weights.iter().map(|&weight| weight as f64 / total).collect()
}
