//! What one probe's round trips say: the smoothed value, the baseline, jitter, and whether the node
//! is slower than it usually is.
//!
//! | quantity | how | used for |
//! |---|---|---|
//! | `rtt` | the larger of an EWMA (tau 30 s) and a peak EWMA (up at once, decay tau 10 s) | cost |
//! | `baseline` | EWMA, tau 10 min, seeded by the median of the first 5; learns nothing from samples above the early-warning bound and stands still while slower | excess |
//! | `fast` | EWMA, tau 15 s | early warning |
//! | `jitter` | RFC 3550 section 6.4.1: gain 1/16 on the difference of neighbours | cost of calls |
//!
//! The peak takes the lower of the last two samples: one lost SYN (a whole second) is no peak, the
//! second sample of a real step is. Early warning: `fast` above 3 times the baseline and 20 ms more,
//! and at least 3 of the last 5 samples there as well, because the average alone stays high for many
//! samples after a single outlier. It ends when `ok` samples in a row and `fast` itself are below
//! twice the baseline (or less than 20 ms over it).
//!
//! Late answers (after the timeout) are the second way to be slower: 3 of the last 5 samples.

use super::counter::Thresholds;
use super::smooth::{Ewma, Gap};
use crate::base::clock::MonoTime;
use crate::base::units::Micros;
use std::time::Duration;

const RTT_TAU: Duration = Duration::from_secs(30);
const PEAK_TAU: Duration = Duration::from_secs(10);
const FAST_TAU: Duration = Duration::from_secs(15);
const BASELINE_TAU: Duration = Duration::from_secs(600);
/// Early warning: this many times the baseline, and [`MARGIN_US`] more.
const ENTER_FACTOR: f64 = 3.0;
/// Back to normal: below this many times the baseline.
const LEAVE_FACTOR: f64 = 2.0;
const MARGIN_US: f64 = 20_000.0;
/// Samples whose median seeds the baseline.
const SEED: usize = 5;
/// Of the last [`RECENT`] samples so many must be slow.
const NEEDED: u32 = 3;
const RECENT: u32 = 5;

/// Why a node counts as slower than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slowness {
    /// The early warning.
    AboveBaseline,
    /// Answers come after the timeout.
    Late,
}

/// The round trips of one probe.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Latency {
    gap: Gap,
    average: Ewma,
    peak: Ewma,
    fast: Ewma,
    baseline: Ewma,
    /// Until there are [`SEED`].
    seed: Vec<f64>,
    previous: Option<f64>,
    jitter: f64,
    /// The last samples, newest in bit 0: above the early-warning bound, and late.
    above: u8,
    late: u8,
    slowness: Option<Slowness>,
    calm: u32,
}

impl Latency {
    /// Starts from the baseline of the last good table.
    pub fn restored(baseline: Micros) -> Self {
        Self { baseline: Ewma::seeded(f64::from(baseline.0)), ..Self::default() }
    }

    /// Takes in the round trip of an answer that arrived at `at`; `interval` is the probe's.
    pub fn add(&mut self, rtt: Micros, late: bool, at: MonoTime, interval: Duration, ok: Thresholds) {
        let sample = f64::from(rtt.0);
        let dt = self.gap.step(at, interval.saturating_mul(2));
        let confirmed = self.previous.map_or(sample, |previous| sample.min(previous));
        if let Some(previous) = self.previous {
            self.jitter += ((sample - previous).abs() - self.jitter) / 16.0;
        }
        self.previous = Some(sample);
        self.average.add(sample, dt, RTT_TAU);
        self.peak.add_peak(confirmed, dt, PEAK_TAU);
        self.fast.add(sample, dt, FAST_TAU);
        self.judge(sample, late, ok);
        self.learn(sample, dt);
    }

    /// A probe without an answer: nothing is learned, but the node is not calm either.
    pub fn miss(&mut self) {
        self.calm = 0;
    }

    fn judge(&mut self, sample: f64, late: bool, thresholds: Thresholds) {
        let above = self.baseline.value().is_some_and(|usual| is_above(sample, usual));
        let recent = (1_u8 << RECENT) - 1;
        self.above = (self.above << 1 | u8::from(above)) & recent;
        self.late = (self.late << 1 | u8::from(late)) & recent;
        let calm = !late && self.baseline.value().is_none_or(|usual| is_calm(sample, usual));
        self.calm = if calm { self.calm.saturating_add(1) } else { 0 };
        self.slowness = match self.slowness {
            None => self.becomes_slow(),
            Some(Slowness::Late) if self.is_above_baseline() => Some(Slowness::AboveBaseline),
            Some(_) if self.calm >= thresholds.ok && self.fast_is_calm() => {
                (self.above, self.late) = (0, 0);
                None
            }
            slow => slow,
        };
    }

    fn becomes_slow(&self) -> Option<Slowness> {
        if self.is_above_baseline() {
            return Some(Slowness::AboveBaseline);
        }
        (self.late.count_ones() >= NEEDED).then_some(Slowness::Late)
    }

    fn is_above_baseline(&self) -> bool {
        let fast_above = match (self.fast.value(), self.baseline.value()) {
            (Some(fast), Some(usual)) => is_above(fast, usual),
            _ => false,
        };
        fast_above && self.above.count_ones() >= NEEDED
    }

    fn fast_is_calm(&self) -> bool {
        match (self.fast.value(), self.baseline.value()) {
            (Some(fast), Some(usual)) => is_calm(fast, usual),
            _ => true,
        }
    }

    fn learn(&mut self, sample: f64, dt: Duration) {
        let outlier = self.above & 1 == 1;
        if self.slowness.is_some() || outlier {
            return;
        }
        if self.baseline.value().is_some() {
            self.baseline.add(sample, dt, BASELINE_TAU);
            return;
        }
        self.seed.push(sample);
        if self.seed.len() >= SEED {
            self.seed.sort_by(f64::total_cmp);
            self.baseline = Ewma::seeded(self.seed[SEED / 2]);
            self.seed = Vec::new();
        }
    }

    pub fn slowness(&self) -> Option<Slowness> {
        self.slowness
    }

    /// `None` before the first answer.
    pub fn rtt(&self) -> Option<Micros> {
        let average = self.average.value()?;
        Some(micros(self.peak.value().map_or(average, |peak| peak.max(average))))
    }

    pub fn baseline(&self) -> Option<Micros> {
        self.baseline.value().map(micros)
    }

    pub fn jitter(&self) -> Option<Micros> {
        self.previous.map(|_| micros(self.jitter))
    }

    /// The newest sample, for the evidence.
    pub fn last(&self) -> Option<Micros> {
        self.previous.map(micros)
    }
}

fn is_above(value: f64, usual: f64) -> bool {
    value > usual * ENTER_FACTOR && value > usual + MARGIN_US
}

fn is_calm(value: f64, usual: f64) -> bool {
    value < usual * LEAVE_FACTOR || value < usual + MARGIN_US
}

fn micros(value: f64) -> Micros {
    Micros(value.round().clamp(0.0, f64::from(u32::MAX)) as u32)
}
