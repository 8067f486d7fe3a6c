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
//! The first 5 samples are averaged by their median, since the first of all pays for connections, caches
//! and a busy start: an average with a tau of 30 s would hold that against the node for a minute.
//! The peak takes the lower of the last two samples: one lost SYN (a whole second) is no peak, the
//! second sample of a real step is. Early warning: `fast` above 3 times the baseline and 20 ms more,
//! and at least 3 of the last 5 samples there as well, because the average alone stays high for many
//! samples after a single outlier. It ends when `ok` samples in a row and `fast` itself are below
//! twice the baseline (or less than 20 ms over it).
//!
//! The average takes some 7 s to see a step from 50 to 400 ms. So `fall` samples in a row above the bound are
//! the early warning as well, at once (`latency step`): as many as failures in a row are a node that is down.
//! A single spike, or every other sample, is not; both end by the same rule. The baseline stands still for as
//! long as either lasts: a step that stays, stays degraded.
//!
//! Late answers (after the timeout) are the second way to be slower: 3 of the last 5 samples.

use super::counter::Thresholds;
use super::smooth::{Ewma, Gap};
use crate::base::clock::MonoTime;
use crate::base::units::Micros;
use crate::model::judgement::LatencyRules;
use std::time::Duration;

const RTT_TAU: Duration = Duration::from_secs(30);
const PEAK_TAU: Duration = Duration::from_secs(10);
/// Samples whose median seeds averages and baseline.
const SEED: usize = 5;
/// Of the last [`RECENT`] samples so many must be slow.
const NEEDED: u32 = 3;
const RECENT: u32 = 5;

/// Why a node counts as slower than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slowness {
    /// The early warning.
    AboveBaseline,
    /// The same, by samples in a row.
    Step,
    /// Answers come after the timeout.
    Late,
}

/// An answer.
pub(super) struct Sample {
    pub rtt: Micros,
    /// It came after the timeout.
    pub late: bool,
    pub at: MonoTime,
    /// The probe's.
    pub interval: Duration,
}

/// The round trips of one probe.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Latency {
    gap: Gap,
    average: Ewma,
    peak: Ewma,
    fast: Ewma,
    baseline: Ewma,
    /// The very first samples.
    first: [u32; SEED],
    begun: u8,
    /// The first samples that teach the baseline, until there are [`SEED`].
    seed: [u32; SEED],
    seeded: u8,
    previous: Option<f64>,
    jitter: f64,
    /// The last samples, newest in bit 0: above the early-warning bound, and late.
    above: u8,
    late: u8,
    /// How many in a row were above, the newest included.
    run: u32,
    slowness: Option<Slowness>,
    calm: u32,
}

impl Latency {
    /// Starts from the baseline of the last good table.
    pub fn restored(baseline: Micros) -> Self {
        Self { baseline: Ewma::seeded(f64::from(baseline.0)), ..Self::default() }
    }

    /// Takes in the round trip of an answer.
    pub fn add(&mut self, sample: &Sample, thresholds: Thresholds, rules: &LatencyRules) {
        let &Sample { rtt, late, at, interval } = sample;
        let sample = f64::from(rtt.0);
        let dt = self.gap.step(at, interval.saturating_mul(2));
        if let Some(previous) = self.previous {
            self.jitter += ((sample - previous).abs() - self.jitter) / 16.0;
            self.peak.add_peak(sample.min(previous), dt, PEAK_TAU);
        }
        self.previous = Some(sample);
        if usize::from(self.begun) < SEED {
            self.begin(rtt);
        } else {
            self.average.add(sample, dt, RTT_TAU);
            self.fast.add(sample, dt, rules.fast);
        }
        self.judge(sample, late, thresholds, rules);
        self.learn(rtt, dt, rules);
    }

    /// Takes in one of the first samples. Of an even number the lower one in the middle counts.
    fn begin(&mut self, rtt: Micros) {
        self.first[usize::from(self.begun)] = rtt.0;
        self.begun += 1;
        let mut first = self.first;
        let so_far = &mut first[..usize::from(self.begun)];
        so_far.sort_unstable();
        let median = Ewma::seeded(f64::from(so_far[(so_far.len() - 1) / 2]));
        (self.average, self.fast) = (median, median);
    }

    /// A probe without an answer: nothing is learned, but the node is not calm either.
    pub fn miss(&mut self) {
        (self.calm, self.run) = (0, 0);
    }

    fn judge(&mut self, sample: f64, late: bool, thresholds: Thresholds, rules: &LatencyRules) {
        let above = self.baseline.value().is_some_and(|usual| is_above(sample, usual, rules));
        let recent = (1_u8 << RECENT) - 1;
        self.above = (self.above << 1 | u8::from(above)) & recent;
        self.late = (self.late << 1 | u8::from(late)) & recent;
        self.run = if above { self.run.saturating_add(1) } else { 0 };
        let calm = !late && self.baseline.value().is_none_or(|usual| is_calm(sample, usual, rules));
        self.calm = if calm { self.calm.saturating_add(1) } else { 0 };
        self.slowness = match self.slowness {
            None => self.becomes_slow(thresholds, rules),
            Some(Slowness::Late) if self.is_above_baseline(rules) => Some(Slowness::AboveBaseline),
            Some(_) if self.calm >= thresholds.ok && self.fast_is_calm(rules) => {
                (self.above, self.late) = (0, 0);
                None
            }
            slow => slow,
        };
    }

    fn becomes_slow(&self, thresholds: Thresholds, rules: &LatencyRules) -> Option<Slowness> {
        if self.is_above_baseline(rules) {
            return Some(Slowness::AboveBaseline);
        }
        if self.run >= thresholds.fall {
            return Some(Slowness::Step);
        }
        (self.late.count_ones() >= NEEDED).then_some(Slowness::Late)
    }

    fn is_above_baseline(&self, rules: &LatencyRules) -> bool {
        let fast_above = match (self.fast.value(), self.baseline.value()) {
            (Some(fast), Some(usual)) => is_above(fast, usual, rules),
            _ => false,
        };
        fast_above && self.above.count_ones() >= NEEDED
    }

    fn fast_is_calm(&self, rules: &LatencyRules) -> bool {
        match (self.fast.value(), self.baseline.value()) {
            (Some(fast), Some(usual)) => is_calm(fast, usual, rules),
            _ => true,
        }
    }

    fn learn(&mut self, rtt: Micros, dt: Duration, rules: &LatencyRules) {
        let outlier = self.above & 1 == 1;
        if self.slowness.is_some() || outlier {
            return;
        }
        if self.baseline.value().is_some() {
            self.baseline.add(f64::from(rtt.0), dt, rules.baseline);
            return;
        }
        self.seed[usize::from(self.seeded)] = rtt.0;
        self.seeded += 1;
        if usize::from(self.seeded) == SEED {
            self.seed.sort_unstable();
            self.baseline = Ewma::seeded(f64::from(self.seed[SEED / 2]));
            self.seeded = 0;
        }
    }

    /// Forgets what was held against the node, not what is usual for it.
    pub fn pardon(&mut self) {
        (self.above, self.late, self.slowness, self.calm, self.run) = (0, 0, None, 0, 0);
    }

    /// The fast average: what the round trip is now, without the peak that prices it.
    pub fn now(&self) -> Option<Micros> {
        self.fast.value().map(micros)
    }

    /// Of the last five samples, how many were so.
    pub fn recent(&self, slowness: Slowness) -> (u32, u32) {
        let bits = match slowness {
            Slowness::AboveBaseline | Slowness::Step => self.above,
            Slowness::Late => self.late,
        };
        (bits.count_ones(), RECENT)
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

fn is_above(value: f64, usual: f64, rules: &LatencyRules) -> bool {
    value > usual * rules.factor.fraction() && value > usual + f64::from(rules.margin.0)
}

/// Half of the way back: twice the baseline where three times it is too much.
fn is_calm(value: f64, usual: f64, rules: &LatencyRules) -> bool {
    value < usual * f64::midpoint(1.0, rules.factor.fraction()) || value < usual + f64::from(rules.margin.0)
}

fn micros(value: f64) -> Micros {
    Micros(value.round().clamp(0.0, f64::from(u32::MAX)) as u32)
}
