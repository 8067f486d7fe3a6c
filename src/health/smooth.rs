//! Exponentially weighted averages over uneven intervals: `alpha = 1 - exp(-dt / tau)`.
//!
//! Floating point is used here and nowhere in the planner: verdicts and round trips leave this module
//! as integers, and only those enter a plan.

use crate::base::clock::MonoTime;
use std::time::Duration;

/// An average that forgets with time constant `tau`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ewma {
    value: Option<f64>,
}

impl Ewma {
    /// An average that starts at `value` instead of at the first sample.
    pub fn seeded(value: f64) -> Self {
        Self { value: Some(value) }
    }

    pub fn value(&self) -> Option<f64> {
        self.value
    }

    /// Takes in a sample that stands for the `dt` before it; the first sample is the average.
    pub fn add(&mut self, sample: f64, dt: Duration, tau: Duration) -> f64 {
        let next = match self.value {
            None => sample,
            Some(old) => old + alpha(dt, tau) * (sample - old),
        };
        self.value = Some(next);
        next
    }

    /// As [`Ewma::add`], but a sample above the average replaces it at once (peak-sensitive).
    pub fn add_peak(&mut self, sample: f64, dt: Duration, tau: Duration) -> f64 {
        if self.value.is_none_or(|old| sample > old) {
            self.value = Some(sample);
            return sample;
        }
        self.add(sample, dt, tau)
    }
}

fn alpha(dt: Duration, tau: Duration) -> f64 {
    let tau = tau.as_secs_f64().max(1e-6);
    1.0 - (-dt.as_secs_f64() / tau).exp()
}

/// Time between samples, never more than a bound: a gap in which nobody looked teaches nothing, so
/// one sample after it must not stand for the whole of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gap {
    last: Option<MonoTime>,
}

impl Gap {
    pub fn step(&mut self, at: MonoTime, longest: Duration) -> Duration {
        let dt = self.last.map_or(Duration::ZERO, |last| at.since(last));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        dt.min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_constant_covers_63_percent_of_a_step_whatever_the_interval() {
        for pieces in [1_u32, 10, 100] {
            let mut average = Ewma::seeded(0.0);
            for _ in 0..pieces {
                average.add(1.0, Duration::from_secs(30) / pieces, Duration::from_secs(30));
            }
            let value = average.value().expect("seeded");
            assert!((value - 0.632).abs() < 0.001, "{pieces} pieces: {value}");
        }
    }

    #[test]
    fn a_peak_jumps_up_at_once_and_decays() {
        let mut peak = Ewma::default();
        let second = Duration::from_secs(1);
        peak.add_peak(10.0, second, second * 10);
        assert!(peak.add_peak(100.0, second, second * 10) >= 100.0);
        let after = peak.add_peak(10.0, second, second * 10);
        assert!((90.0..95.0).contains(&after), "{after}");
    }

    #[test]
    fn a_long_gap_counts_as_its_bound() {
        let mut gap = Gap::default();
        assert_eq!(gap.step(MonoTime::from_millis(5), Duration::from_secs(4)), Duration::ZERO);
        let long = gap.step(MonoTime::from_millis(3_600_000), Duration::from_secs(4));
        assert_eq!(long, Duration::from_secs(4));
        assert_eq!(gap.step(MonoTime::from_millis(1), Duration::from_secs(4)), Duration::ZERO, "older");
    }
}
