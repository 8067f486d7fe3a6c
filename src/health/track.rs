//! One check of one family of one node, as one vantage sees it: its counter, its round trips, its
//! losses, its certificate, and what is to be said of it.
//!
//! A track is of fixed size but for the text of its newest failure, which is bounded.

use super::combine::Graded;
use super::counter::{Counter, Thresholds};
use super::latency::{Latency, Sample, Slowness};
use super::loss::{LONGEST, LossWindow};
use super::sight::Witness;
use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::{Node, ProbeSpec};
use crate::model::judgement::{HealthRules, LossRules};
use crate::model::observation::{FailureReason, Observation, Outcome, Packets};
use crate::model::verdict::{Rule, Verdict};
use std::net::SocketAddr;
use std::time::Duration;

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
            Finding::Slow(Slowness::Step) => Rule::LatencyStep,
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
    /// Since when nothing but failures were seen; an episode may have had successes since it began.
    run_since: Option<MonoTime>,
    /// At the newest failure the vantage had seen something since the first one of its run.
    borne_out: bool,
    failure: Option<Failure>,
    /// Whether the failures of this episode had different reasons.
    pub mixed: bool,
    /// The newest failure could have been the last that is needed.
    may_fall: bool,
    /// It fell a failure early, [with the other family](Self::fall_with_other).
    pub fell_with_other: bool,
    /// When the failures that count began.
    failing_since: WallTime,
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
            run_since: None,
            borne_out: false,
            failure: None,
            mixed: false,
            may_fall: false,
            fell_with_other: false,
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
        witness: Witness<'_>,
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
                self.remember(*reason, detail, wall);
            }
        }
        let success = !matches!(seen.outcome, Outcome::Failure { .. });
        let is_borne_out = self.is_borne_out(seen, spec, witness);
        self.run_since = (!success).then(|| self.run_since.unwrap_or(at));
        self.borne_out = self.run_since.is_some_and(|since| witness.saw_since(since));
        self.may_fall = is_borne_out;
        let changed = self.counter.count(success, success || is_borne_out, thresholds);
        if changed && success {
            self.loss.clear();
            (self.unborne, self.fell_with_other) = (0, false);
        }
        self.count_loss(seen, is_borne_out, &rules.loss, thresholds);
        if let Some(days) = seen.measured.certificate_days {
            self.certificate_days = Some(days);
            self.expiring = days < i32::from(rules.certificate.days);
        }
    }

    /// Falls a failure early, where the node's other family just fell: of two families that fail at a time one
    /// is the evidence for the other. Whether it did.
    pub fn fall_with_other(&mut self, spec: &ProbeSpec) -> bool {
        let falls = self.may_fall && self.counter.fall_early(Thresholds::of(spec));
        self.fell_with_other |= falls;
        falls
    }

    /// Whether a failure is surely not the vantage's own outage, and so may be the last that is needed.
    fn is_borne_out(&self, seen: &Observation, spec: &ProbeSpec, witness: Witness<'_>) -> bool {
        let Outcome::Failure { reason, .. } = seen.outcome else { return false };
        if witness.is_needless() || reason.is_answer() {
            return true;
        }
        if self.run_since.is_some() {
            // This probe began after the failure before it, and by that one the vantage had seen something
            // again; what it saw only during the probe may be the end of its own outage.
            return self.borne_out;
        }
        // No failure just before it: that something answered while this one waited has to do. Who is told
        // at once that there is no way has not waited.
        let waited = if reason == FailureReason::Timeout { spec.timeout } else { Duration::ZERO };
        witness.saw_since(MonoTime(seen.at.0.saturating_sub(waited.as_micros() as u64)))
    }

    /// Failures in a row while the vantage saw nothing are told as one until it is sure they are the target's.
    fn count_loss(
        &mut self,
        seen: &Observation,
        is_borne_out: bool,
        rules: &LossRules,
        thresholds: Thresholds,
    ) {
        let (success, at) = (!matches!(seen.outcome, Outcome::Failure { .. }), seen.at);
        if !success && !is_borne_out {
            self.unborne = self.unborne.saturating_add(1);
            return;
        }
        let most = if success { 1 } else { LONGEST as u8 };
        let lost = Packets { sent: 1, lost: 1 };
        for _ in 0..std::mem::take(&mut self.unborne).min(most) {
            self.loss.add(lost, at, thresholds, rules);
        }
        let whole = if success { Packets { sent: 1, lost: 0 } } else { lost };
        let packets = seen.measured.packets.filter(|packets| packets.sent > 0).unwrap_or(whole);
        self.loss.add(packets, at, thresholds, rules);
    }

    fn remember(&mut self, reason: FailureReason, detail: &str, wall: WallTime) {
        let continues = self.counter.episode().failures > 0;
        let same = self.failure.as_ref().is_none_or(|before| before.reason == reason);
        self.mixed = continues && (self.mixed || !same);
        if !continues {
            self.failing_since = wall;
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
        (self.counter.episode().failures > 0).then_some(self.failing_since)
    }

    /// Begins to count again from a known standing; what is usual is remembered.
    pub fn restart(&mut self, up: bool) {
        self.counter.restart(up);
        self.loss.clear();
        (self.unborne, self.borne_out, self.run_since) = (0, false, None);
        (self.may_fall, self.fell_with_other) = (false, false);
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
