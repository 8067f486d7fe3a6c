//! One probe of one family of one node: its counter, its round trips, its losses, and what is to be
//! said of it.

use super::counter::{Counter, Thresholds};
use super::latency::{Latency, Slowness};
use super::loss::LossWindow;
use crate::base::clock::MonoTime;
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::{Node, ProbeSpec};
use crate::model::observation::{FailureReason, Outcome};
use std::net::SocketAddr;

/// Longest failure detail kept, in bytes.
const DETAIL_BYTES: usize = 200;

/// What is wrong with a target, worst first; how a verdict finds its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Failing,
    Slow(Slowness),
    Lossy,
    Answers,
}

/// The state kept for one probe and family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    /// Position in [`Node::probes`].
    pub probe: u8,
    pub counter: Counter,
    pub latency: Latency,
    pub loss: LossWindow,
    /// The newest failure, and whether the failures of this episode all had one reason.
    failure: Option<(FailureReason, String)>,
    pub mixed: bool,
}

impl Track {
    pub fn new(probe: u8, baseline: Option<Micros>) -> Self {
        let latency = baseline.map_or_else(Latency::default, Latency::restored);
        Self {
            probe,
            counter: Counter::default(),
            latency,
            loss: LossWindow::default(),
            failure: None,
            mixed: false,
        }
    }

    /// Tracks for every probe of `node` that has a target in `family`.
    pub fn all_of(node: &Node, family: Family) -> Vec<Track> {
        let probed = |(at, spec): (usize, &ProbeSpec)| {
            spec.targets[family.index()]?;
            u8::try_from(at).ok().map(|at| Track::new(at, None))
        };
        node.probes.iter().enumerate().filter_map(probed).collect()
    }

    /// Takes in one observation made by the probe `spec` describes.
    pub fn observe(&mut self, outcome: &Outcome, at: MonoTime, spec: &ProbeSpec) {
        let thresholds = Thresholds::of(spec);
        match outcome {
            Outcome::Success { rtt } => self.latency.add(*rtt, false, at, spec.interval, thresholds),
            Outcome::Slow { rtt } => self.latency.add(*rtt, true, at, spec.interval, thresholds),
            Outcome::Failure { reason, detail } => {
                self.latency.miss();
                self.remember(*reason, detail);
            }
        }
        let success = !matches!(outcome, Outcome::Failure { .. });
        let changed = self.counter.count(success, thresholds);
        if changed && success {
            self.loss.clear();
        }
        self.loss.add(!success, at, thresholds);
    }

    fn remember(&mut self, reason: FailureReason, detail: &str) {
        let continues = self.counter.episode().failures > 0;
        let same = self.failure.as_ref().is_none_or(|(before, _)| *before == reason);
        self.mixed = continues && (self.mixed || !same);
        let mut end = detail.len().min(DETAIL_BYTES);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        self.failure = Some((reason, detail[..end].to_owned()));
    }

    pub fn failure(&self) -> Option<(FailureReason, &str)> {
        self.failure.as_ref().map(|(reason, detail)| (*reason, detail.as_str()))
    }

    /// `None` before the first observation.
    pub fn finding(&self) -> Option<Finding> {
        Some(match self.counter.standing()? {
            false => Finding::Failing,
            true => match self.latency.slowness() {
                Some(slowness) => Finding::Slow(slowness),
                None if self.loss.is_lossy() => Finding::Lossy,
                None => Finding::Answers,
            },
        })
    }
}

/// Whether two probes ask the same question of the same target, so that what one learned holds for
/// the other. Thresholds and timing may differ: they are read anew for each observation.
pub(super) fn same_question(one: &ProbeSpec, other: &ProbeSpec, family: Family) -> bool {
    one.kind == other.kind && target(one, family) == target(other, family)
}

pub(super) fn target(spec: &ProbeSpec, family: Family) -> Option<SocketAddr> {
    spec.targets[family.index()]
}
