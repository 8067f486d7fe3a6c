//! How long clients took to be answered right again: at the server, and behind resolvers that keep answers.
//!
//! ```text
//!  fault ──── took ────▶ right answer ──── up to TTL ────▶ every cache has it
//!             (seen)     at the server     (model)
//! ```
//! A cache that holds the old answer filled at a moment uniform in the last TTL, so its clients follow evenly over
//! one TTL. By `p` of the clients all recovered at once: took + TTL * p, as `check` reckons (semantics.md).

use serde::{Deserialize, Serialize};

/// One client of one service that lost its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Part in the demand, in any unit.
    pub weight: u64,
    /// Milliseconds from the fault to the first right answer; `None`: there was none.
    pub took_ms: Option<u64>,
    pub ttl_ms: u64,
}

/// Milliseconds until so many per cent of the clients; `None`: not before the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50_ms: Option<u64>,
    pub p90_ms: Option<u64>,
    pub p99_ms: Option<u64>,
}

impl Quantiles {
    fn of(quantile: impl Fn(u64) -> Option<u64>) -> Self {
        Self { p50_ms: quantile(50), p90_ms: quantile(90), p99_ms: quantile(99) }
    }
}

/// At the server.
pub fn answered(losses: &[Loss]) -> Quantiles {
    let mut took: Vec<(u64, u64)> = losses.iter().filter_map(|it| Some((it.took_ms?, it.weight))).collect();
    took.sort_unstable();
    let all: u128 = losses.iter().map(|it| u128::from(it.weight)).sum();
    Quantiles::of(|percent| {
        let mut sum = 0_u128;
        took.iter().find_map(|&(ms, weight)| {
            sum += u128::from(weight);
            (sum * 100 >= all * u128::from(percent)).then_some(ms)
        })
    })
}

/// Behind caches.
pub fn followed(losses: &[Loss]) -> Quantiles {
    let Some(latest) = losses.iter().filter_map(|it| Some(it.took_ms? + it.ttl_ms.max(1))).max() else {
        return Quantiles::default();
    };
    let all: f64 = losses.iter().map(|it| it.weight as f64).sum();
    // Rounding must not keep the last of them from following.
    let reaches = |ms: u64, percent: u64| {
        share_followed(losses, |loss| loss.took_ms.map(|took| ms.saturating_sub(took))) * 100.0
            >= percent as f64 - 1e-9 * all.max(1.0).recip()
    };
    Quantiles::of(|percent| {
        reaches(latest, percent).then(|| {
            let (mut low, mut high) = (0, latest);
            while low < high {
                let middle = low + (high - low) / 2;
                if reaches(middle, percent) { high = middle } else { low = middle + 1 }
            }
            low
        })
    })
}

/// Part of the clients behind caches that have the right answer, if `since` tells how long ago the server had it.
pub fn share_followed(losses: &[Loss], since: impl Fn(&Loss) -> Option<u64>) -> f64 {
    let (mut followed, mut all) = (0.0, 0.0);
    for loss in losses {
        all += loss.weight as f64;
        if let Some(ms) = since(loss) {
            followed += loss.weight as f64 * (ms as f64 / loss.ttl_ms.max(1) as f64).min(1.0);
        }
    }
    if all > 0.0 { followed / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(weight: u64, took_ms: Option<u64>) -> Loss {
        Loss { weight, took_ms, ttl_ms: 10_000 }
    }

    #[test]
    fn one_moment_gives_the_formula_of_check() {
        let losses = [loss(3, Some(500)), loss(1, Some(500))];
        let all = |ms| Quantiles { p50_ms: Some(ms), p90_ms: Some(ms), p99_ms: Some(ms) };
        assert_eq!(answered(&losses), all(500));
        let expected = Quantiles { p50_ms: Some(5_500), p90_ms: Some(9_500), p99_ms: Some(10_400) };
        assert_eq!(followed(&losses), expected);
    }

    #[test]
    fn clients_count_by_their_part_and_who_never_recovers_is_told() {
        let losses = [loss(60, Some(100)), loss(35, Some(2_000)), loss(5, None)];
        assert_eq!(answered(&losses), Quantiles { p50_ms: Some(100), p90_ms: Some(2_000), p99_ms: None });
        let behind = followed(&losses);
        assert!(behind.p99_ms.is_none() && behind.p90_ms.is_some_and(|ms| (10_000..=12_000).contains(&ms)));
        assert_eq!(followed(&[]), Quantiles::default());
        assert_eq!(followed(&[loss(1, None)]), Quantiles::default());
        assert_eq!(followed(&[Loss { ttl_ms: 0, ..loss(1, Some(7)) }]).p99_ms, Some(8), "no cache");
    }
}
