//! One check of one family of one node, as one vantage sees it: its counter, its round trips, its
//! losses, its certificate, and what is to be said of it.
//!
//! A track is of fixed size but for the text of its newest failure, which is bounded.

use super::combine::Graded;
use super::counter::{Counter, Thresholds};
use super::latency::{Latency, Sample, Slowness};
use super::loss::{LONGEST, LossWindow};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::{Node, ProbeSpec};
use crate::model::judgement::HealthRules;
use crate::model::observation::{FailureReason, Observation, Outcome, Packets};
use crate::model::verdict::{Rule, Verdict};
use std::net::SocketAddr;

/// Longest failure detail kept, in bytes.
const DETAIL_BYTES: usize = 200;

/// What is wrong with a target, worst first; how a verdict finds its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Failing,
    Slow(Slowness),
    Lossy,
    /// The certificate is about to expire.
    Expiring,
    /// Far worse than its peers; of the node, told of its first track.
    Outlier,
    Answers,
}

impl Finding {
    /// The grade of [`Finding::Failing`]: there is nothing worse.
    pub const WORST: u8 = 5;

    pub fn verdict(self) -> Verdict {
        match self {
            Finding::Failing => Verdict::Down,
            Finding::Slow(_) | Finding::Lossy | Finding::Expiring | Finding::Outlier => Verdict::Degraded,
            Finding::Answers => Verdict::Up,
        }
    }

    pub fn rule(self) -> Rule {
        match self {
            Finding::Failing => Rule::Failures,
            Finding::Slow(Slowness::AboveBaseline) => Rule::Latency,
            Finding::Slow(Slowness::Late) => Rule::Late,
            Finding::Lossy => Rule::Loss,
            Finding::Expiring => Rule::Certificate,
            Finding::Outlier => Rule::Outlier,
            Finding::Answers => Rule::Answers,
        }
    }
}

impl Graded for Finding {
    fn grade(&self) -> u8 {
        match self {
            Finding::Failing => Self::WORST,
            Finding::Slow(_) => 4,
            Finding::Lossy => 3,
            Finding::Expiring => 2,
            Finding::Outlier => 1,
            Finding::Answers => 0,
        }
    }
}

/// The newest failure.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    reason: FailureReason,
    detail: Box<str>,
}

/// The state kept for one check.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    /// Position in [`Node::probes`].
    pub probe: u8,
    pub counter: Counter,
    pub latency: Latency,
    pub loss: LossWindow,
    /// Failures in a row since which the vantage has seen nothing: not counted as losses yet.
    unborne: u8,
    failure: Option<Failure>,
    /// Whether the failures of this episode had different reasons.
    pub mixed: bool,
    /// When the failures that count began.
    failing_since: (MonoTime, WallTime),
    /// As last shown; the limit is crossed by it and by nothing else.
    pub certificate_days: Option<i32>,
    expiring: bool,
}

impl Track {
    pub fn new(probe: u8, baseline: Option<Micros>) -> Self {
        let latency = baseline.map_or_else(Latency::default, Latency::restored);
        Self {
            probe,
            counter: Counter::default(),
            latency,
            loss: LossWindow::default(),
            unborne: 0,
            failure: None,
            mixed: false,
            failing_since: Default::default(),
            certificate_days: None,
            expiring: false,
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
    pub fn observe(
        &mut self,
        seen: &Observation,
        spec: &ProbeSpec,
        rules: &HealthRules,
        bears_out: impl Fn(MonoTime) -> bool,
        wall: WallTime,
    ) {
        let thresholds = Thresholds::of(spec);
        let (at, interval) = (seen.at, spec.interval);
        let mut answered = |rtt, late| {
            self.latency.add(&Sample { rtt, late, at, interval }, thresholds, &rules.latency);
        };
        match &seen.outcome {
            Outcome::Success { rtt } => answered(*rtt, false),
            Outcome::Slow { rtt } => answered(*rtt, true),
            Outcome::Failure { reason, detail } => {
                self.latency.miss();
                self.remember(*reason, detail, at, wall);
            }
        }
        let success = !matches!(seen.outcome, Outcome::Failure { .. });
        let is_borne_out = bears_out(self.failing_since.0);
        let changed = self.counter.count(success, success || is_borne_out, thresholds);
        if changed && success {
            self.loss.clear();
            self.unborne = 0;
        }
        let lost = Packets { sent: 1, lost: 1 };
        if !success && !is_borne_out {
            self.unborne = self.unborne.saturating_add(1);
        } else {
            // Several in a row while nothing else answered are the vantage's loss, not the target's.
            let counted = if success && self.unborne > 1 { 0 } else { std::mem::take(&mut self.unborne) };
            (0..counted.min(LONGEST as u8)).for_each(|_| self.loss.add(lost, at, thresholds, &rules.loss));
            self.unborne = 0;
            let whole = if success { Packets { sent: 1, lost: 0 } } else { lost };
            let packets = seen.measured.packets.filter(|packets| packets.sent > 0).unwrap_or(whole);
            self.loss.add(packets, at, thresholds, &rules.loss);
        }
        if let Some(days) = seen.measured.certificate_days {
            self.certificate_days = Some(days);
            self.expiring = days < i32::from(rules.certificate.days);
        }
    }

    fn remember(&mut self, reason: FailureReason, detail: &str, at: MonoTime, wall: WallTime) {
        let continues = self.counter.episode().failures > 0;
        let same = self.failure.as_ref().is_none_or(|before| before.reason == reason);
        self.mixed = continues && (self.mixed || !same);
        if !continues {
            self.failing_since = (at, wall);
        }
        let mut end = detail.len().min(DETAIL_BYTES);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        // A node that stays down repeats itself.
        if self
            .failure
            .as_ref()
            .is_none_or(|before| before.reason != reason || *before.detail != detail[..end])
        {
            self.failure = Some(Failure { reason, detail: detail[..end].into() });
        }
    }

    pub fn failure(&self) -> Option<(FailureReason, &str)> {
        self.failure.as_ref().map(|failure| (failure.reason, &*failure.detail))
    }

    pub fn failing_since(&self) -> Option<WallTime> {
        (self.counter.episode().failures > 0).then_some(self.failing_since.1)
    }

    /// Begins to count again from a known standing; what is usual is remembered.
    pub fn restart(&mut self, up: bool) {
        self.counter.restart(up);
        self.loss.clear();
        self.unborne = 0;
        self.latency.pardon();
    }

    /// `None` before the first observation.
    pub fn finding(&self) -> Option<Finding> {
        Some(match self.counter.standing()? {
            false => Finding::Failing,
            true => match self.latency.slowness() {
                Some(slowness) => Finding::Slow(slowness),
                None if self.loss.is_lossy() => Finding::Lossy,
                None if self.expiring => Finding::Expiring,
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
