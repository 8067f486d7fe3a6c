//! How well a vantage sees: whether its word counts.
//!
//! ```text
//!                     ┌─ heard lately? ──────────────── no ─▶ silent   (nothing to count)
//!                     ├─ sees almost nothing answer? ┐
//!   one vantage ──────┤  or 16 targets in a row fail ├─ yes ─▶ ask its anchors, else its peers ─▶ blind
//!                     └─ against most peers on most targets, for 10 s ──────────────────────────▶ at odds
//! ```
//! - **Dark** is when fewer than 5 % of its targets answer; **doubtful** when 16 different targets (or all
//!   there are) failed with no success between, which comes sooner. A true outage of 60 % is neither.
//! - Anchors outside the fleet settle it: one that answered since the failures began means the fleet is
//!   down; none means the vantage is blind. Without anchors a vantage alone is believed; one with peers is
//!   blind if a peer still sees, or if no peer is heard.
//! - A blind vantage that sees again begins to count again from the verdicts held: what it counted while
//!   blind was its own outage.
//!
//! Kept here are counts only; the targets' own states are in [`standing`](super::standing).

use super::lasting::Lasting;
use crate::base::clock::MonoTime;
use crate::base::prefix::Family;
use crate::model::judgement::{TrustRules, Vantage};
use crate::model::verdict::Distrust;
use std::time::Duration;

/// Failures of different targets in a row that raise doubt.
const RUN: u32 = 16;
/// Fewer targets than this tell too little to call a vantage without anchors blind.
const FEW: u32 = 4;

/// What became of a vantage's trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Same,
    Moved,
    /// It sees again after its own outage: its counts are to begin anew.
    SeesAgain,
}

/// What the others are doing while one is in the dark.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peers {
    /// Configured.
    pub others: bool,
    /// Heard lately.
    pub heard: bool,
    /// Heard lately, and seeing.
    pub seeing: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Anchor {
    answered: Option<MonoTime>,
    failed: Option<MonoTime>,
}

/// One vantage.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    heard: [Option<MonoTime>; 2],
    /// Targets whose newest outcome is known, and those of them that answered.
    asked: u32,
    answering: u32,
    last_success: Option<MonoTime>,
    /// Counts successes: a target that failed in this epoch failed since the last success.
    epoch: u32,
    /// Different targets that failed since the last success, and since when.
    run: u32,
    run_since: Option<MonoTime>,
    anchors: Vec<Anchor>,
    odds: Lasting,
    /// What failed since it last was trusted was its own network's doing.
    own_outage: bool,
    distrust: Option<Distrust>,
}

impl Sight {
    pub fn new(vantage: &Vantage) -> Self {
        Self {
            heard: [None; 2],
            asked: 0,
            answering: 0,
            last_success: None,
            epoch: 1,
            run: 0,
            run_since: None,
            anchors: vec![Anchor::default(); vantage.anchors.len()],
            odds: Lasting::default(),
            own_outage: false,
            distrust: None,
        }
    }

    /// Takes in the outcome of one target: what was its newest outcome before, and the epoch of its last
    /// failure. Returns the epoch to keep with the target.
    pub fn note(
        &mut self,
        success: bool,
        before: Option<bool>,
        failed_in: u32,
        family: Family,
        at: MonoTime,
    ) -> u32 {
        self.heard[family.index()] = self.heard[family.index()].max(Some(at));
        self.asked += u32::from(before.is_none());
        self.answering += u32::from(success);
        self.answering -= u32::from(before == Some(true)).min(self.answering);
        if success {
            self.last_success = self.last_success.max(Some(at));
            (self.run, self.run_since) = (0, None);
            self.own_outage &= self.distrust.is_some();
            self.epoch = self.epoch.wrapping_add(1).max(1);
            return failed_in;
        }
        self.run_since.get_or_insert(at);
        self.run += u32::from(failed_in != self.epoch);
        self.epoch
    }

    pub fn anchor(&mut self, anchor: usize, success: bool, at: MonoTime) {
        let Some(anchor) = self.anchors.get_mut(anchor) else { return };
        if success {
            anchor.answered = Some(at);
        } else {
            anchor.failed = Some(at);
            self.own_outage |= self.run_since.is_some();
        }
    }

    /// Replaces the counts by those of a census: targets come and go, and old outcomes age.
    pub fn recount(&mut self, asked: u32, answering: u32) {
        (self.asked, self.answering) = (asked, answering);
    }

    /// Takes in how many of the targets it speaks of it sees otherwise than most of its peers.
    pub fn compare(&mut self, differing: u32, compared: u32, now: MonoTime, odds: Duration) {
        let wanted = match compared {
            0 => Some(false),
            _ if differing * 2 > compared => Some(true),
            _ if differing * 4 < compared => Some(false),
            _ => None,
        };
        self.odds.note(wanted, now, odds, odds);
    }

    pub fn is_heard(&self, family: Family, now: MonoTime, started: MonoTime, max_age: Duration) -> bool {
        // One that was never heard is awaited as long as one that fell silent.
        now.since(self.heard[family.index()].unwrap_or(started)) <= max_age
    }

    pub fn was_ever_heard(&self) -> bool {
        self.heard.iter().any(Option::is_some)
    }

    pub fn is_heard_at_all(&self, now: MonoTime, started: MonoTime, max_age: Duration) -> bool {
        Family::BOTH.iter().any(|&family| self.is_heard(family, now, started, max_age))
    }

    /// Whether something answered it just now.
    pub fn saw_something(&self, now: MonoTime, max_age: Duration) -> bool {
        self.last_success.is_some_and(|at| now.since(at) <= max_age)
    }

    /// Sees almost nothing, or begins to.
    pub fn is_in_doubt(&self, rules: &TrustRules) -> bool {
        self.asked > 0 && (self.is_dark(rules) || self.run >= RUN.min(self.asked))
    }

    fn is_dark(&self, rules: &TrustRules) -> bool {
        u64::from(self.answering) * 1_000_000 < u64::from(self.asked) * u64::from(rules.dark.0)
    }

    /// Weighs all of it anew.
    pub fn weigh(&mut self, heard: bool, peers: Peers, now: MonoTime, rules: &TrustRules) -> Change {
        let before = self.distrust;
        let in_doubt = self.is_in_doubt(rules);
        let blind = in_doubt && self.is_blind(peers, now, rules);
        // Without anchors it is the light that returns that tells it had been the vantage's own night.
        self.own_outage |= self.anchors.is_empty() && blind && self.is_dark(rules);
        self.distrust = match (heard, blind, self.odds.is_on()) {
            (false, ..) => Some(Distrust::Silent),
            (true, true, _) => Some(Distrust::Blind),
            (true, false, true) => Some(Distrust::Odds),
            (true, false, false) => None,
        };
        if before == self.distrust {
            return Change::Same;
        }
        if self.distrust.is_some() {
            return Change::Moved;
        }
        let was_own = std::mem::take(&mut self.own_outage) && !(self.anchors.is_empty() && in_doubt);
        if was_own { Change::SeesAgain } else { Change::Moved }
    }

    fn is_blind(&self, peers: Peers, now: MonoTime, rules: &TrustRules) -> bool {
        if !self.anchors.is_empty() {
            let since = self.run_since.unwrap_or(now);
            return !self.anchors.iter().any(|anchor| {
                anchor
                    .answered
                    .is_some_and(|at| at >= since && anchor.failed.is_none_or(|failed| failed < at))
            });
        }
        peers.others && self.asked >= FEW && (peers.seeing || !peers.heard)
            || (peers.others && !peers.heard && self.is_dark(rules))
    }

    pub fn distrust(&self) -> Option<Distrust> {
        self.distrust
    }

    pub fn counts(&self) -> (u32, u32) {
        (self.answering, self.asked)
    }
}
