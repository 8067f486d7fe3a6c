//! What one vantage makes of one family of one node: its checks combined, and whether that is fresh.
//!
//! ```text
//!  Observation ─▶ Track (one check) ─┐
//!                 Track ─────────────┼─ combine ─▶ Word: a finding, and the check that tells of it
//!                 outlier, admitted ─┘
//! ```
//! Whether the vantage itself is trusted, and what the others say, is not asked here.

use super::combine;
use super::lasting::Lasting;
use super::sight::Witness;
use super::track::{Finding, Track, same_question};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::Node;
use crate::model::judgement::HealthRules;
use crate::model::observation::{Observation, Outcome};
use crate::model::verdict::Verdict;
use std::time::Duration;

/// What a vantage says, and the position of the track that tells why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub finding: Finding,
    pub track: usize,
}

impl Word {
    pub fn verdict(self) -> Verdict {
        self.finding.verdict()
    }
}

/// The state kept for one vantage, family and node.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// One per check that asks this family.
    pub tracks: Vec<Track>,
    heard_at: Option<MonoTime>,
    /// Whether the newest check of any was answered, well or not.
    pub newest: Option<bool>,
    /// Far worse than its peers, for long enough.
    pub outlier: Lasting,
    /// ... and the pool can bear one more.
    pub is_admitted_outlier: bool,
}

impl Standing {
    pub fn new(node: &Node, family: Family) -> Self {
        Self {
            tracks: Track::all_of(node, family),
            heard_at: None,
            newest: None,
            outlier: Lasting::default(),
            is_admitted_outlier: false,
        }
    }

    /// Takes in an observation; `None` for a check that is not there, else whether it was answered.
    pub fn observe(
        &mut self,
        seen: &Observation,
        node: &Node,
        rules: &HealthRules,
        witness: Witness<'_>,
        wall: WallTime,
    ) -> Option<bool> {
        let spec = node.probes.get(usize::from(seen.probe))?;
        let track = self.tracks.iter_mut().find(|track| track.probe == seen.probe)?;
        track.observe(seen, spec, rules, witness, wall);
        self.heard_at = self.heard_at.max(Some(seen.at));
        let is_silence = matches!(seen.outcome, Outcome::Failure { reason, .. } if !reason.is_answer());
        Some(!is_silence)
    }

    /// The node's other family fell. Whether a check falls with it.
    pub fn fall_with_other(&mut self, node: &Node) -> bool {
        let mut any = false;
        for track in &mut self.tracks {
            any |= track.fall_with_other(&node.probes[usize::from(track.probe)]);
        }
        any
    }

    pub fn is_fresh(&self, now: MonoTime, max_age: Duration) -> bool {
        self.heard_at.is_some_and(|at| now.since(at) <= max_age)
    }

    /// What is said now; `None` while too few checks have been seen.
    pub fn word(&self, node: &Node) -> Option<Word> {
        let findings = self.tracks.iter().map(Track::finding);
        let needed = node.combine.needed(self.tracks.len());
        let (track, finding) = combine::decide(findings, needed, Finding::WORST)?;
        if finding == Finding::Answers && self.is_admitted_outlier {
            return Some(Word { finding: Finding::Outlier, track: self.pricing().unwrap_or(track) });
        }
        Some(Word { finding, track })
    }

    /// Whether a check that stands down was told so by the node itself, so that it is no blindness.
    pub fn has_answered_no(&self) -> bool {
        let no = |track: &Track| track.failure().is_some_and(|(reason, _)| reason.is_answer());
        self.tracks.iter().any(|track| track.counter.standing() == Some(false) && no(track))
    }

    /// One check prices the node, else a table would mix the round trips of two kinds.
    fn pricing(&self) -> Option<usize> {
        self.tracks.iter().position(|track| track.latency.rtt().is_some())
    }

    pub fn priced(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| track.latency.rtt().is_some())
    }

    /// What the round trip is now, and how far that is from what is usual.
    pub fn pace(&self) -> Option<(Micros, Option<Micros>)> {
        let track = self.priced()?;
        let now = track.latency.now()?;
        Some((now, track.latency.baseline().map(|usual| Micros(now.0.saturating_sub(usual.0)))))
    }

    /// Begins to count again, as the family stands.
    pub fn restart(&mut self, up: bool) {
        for track in &mut self.tracks {
            if track.counter.standing().is_some() {
                track.restart(up);
            }
        }
        (self.outlier, self.is_admitted_outlier) = (Lasting::default(), false);
    }

    /// Takes over what each check learned, where the same question is still asked.
    pub fn inherit(&mut self, node: &Node, before: &Standing, old_node: &Node, family: Family) {
        let mut kept = before.tracks.clone();
        for track in &mut self.tracks {
            let spec = &node.probes[usize::from(track.probe)];
            let same = |old: &Track| same_question(&old_node.probes[usize::from(old.probe)], spec, family);
            if let Some(at) = kept.iter().position(same) {
                let probe = track.probe;
                *track = kept.swap_remove(at);
                track.probe = probe;
            }
        }
        (self.heard_at, self.newest) = (before.heard_at, before.newest);
    }
}
