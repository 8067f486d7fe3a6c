//! How well a vantage sees: whether its word counts, and whether what failed for it may count at all.
//!
//! ```text
//!                     ┌─ heard lately? ──────────────── no ─▶ silent   (nothing to count)
//!   one vantage ──────┼─ sees almost nothing? ── yes ─▶ ask its anchors, else its peers ──▶ blind
//!                     └─ against most peers on most targets, for 10 s ────────────────────▶ at odds
//! ```
//! - **Meanwhile** ([`Witness`]). A target falls by a probe that began after the vantage had seen something, a
//!   target or an anchor, since that target began to fail. So a network that is cut takes down nobody, however
//!   fast some targets are probed, before it is known to be cut; where others answer it costs no time. While
//!   anchors answer, they alone bear out: targets beside the vantage answer through any cut.
//! - To refuse, or to give the wrong answer, is to answer: the way there is whole.
//! - **Dark** is when fewer than 5 % of its targets answer. A true outage of 60 % is not dark. While all anchors
//!   that used to answer fail, fewer than half are enough: a site's own nodes answer through its cut.
//! - Anchors outside the fleet settle it: one that answered since means the fleet is down; all failed, or none
//!   asked for 3 s, means the vantage is blind. Without anchors a vantage alone is believed; one with peers is
//!   blind if most of them still see, or if none is heard. Vantages in the same dark bear each other out.
//! - An anchor fails when it has for 2 s, so a lost packet is no outage. One that never answered, and a peer that never spoke, is no
//!   witness for or against a vantage that has seen anything at all: it may never have worked.
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

/// How long one waits for anchors and peers before dark is blind.
const PATIENCE: Duration = Duration::from_secs(3);
/// An anchor that fails for so long is lost.
const FAILS_FOR: Duration = Duration::from_secs(2);
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
    /// There are some that ever spoke.
    pub others: bool,
    /// So many are heard.
    pub heard: u32,
    /// ... and so many of them see.
    pub seeing: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Anchor {
    answered: Option<MonoTime>,
    /// The first and the newest failure since.
    failed: Option<(MonoTime, MonoTime)>,
}

impl Anchor {
    fn fails(&self) -> bool {
        self.failed.is_some_and(|(first, newest)| newest.since(first) >= FAILS_FOR)
    }
}

/// One vantage.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    heard: [Option<MonoTime>; 2],
    /// Targets whose newest outcome is known, and those of them that answered.
    asked: u32,
    answering: u32,
    last_answer: Option<MonoTime>,
    /// Since when nothing has answered.
    run_since: Option<MonoTime>,
    dark_since: Option<MonoTime>,
    anchors: Vec<Anchor>,
    odds: Lasting,
    /// What failed since it last was trusted was its own network's doing.
    own_outage: bool,
    distrust: Option<Distrust>,
    /// In the dark, as its peers are: so it is not its own.
    is_believed: bool,
}

/// Whether a vantage can vouch that what failed for it did not fail with its own network.
#[derive(Clone, Copy)]
pub(super) struct Witness<'a> {
    sight: &'a Sight,
    rules: &'a TrustRules,
    is_watched: bool,
    now: MonoTime,
}

impl<'a> Witness<'a> {
    pub fn new(sight: &'a Sight, is_watched: bool, rules: &'a TrustRules, now: MonoTime) -> Self {
        Self { sight, rules, is_watched, now }
    }

    /// There is nobody to ask, or the dark has been borne out by others.
    pub fn is_needless(&self) -> bool {
        !self.is_watched || (self.sight.is_believed && self.sight.is_dark(self.rules))
    }

    /// Something answered it since then: a target or an anchor.
    pub fn saw_since(&self, since: MonoTime) -> bool {
        let anchors = self.sight.last_of_anchors();
        // Anchors that were lost are no hindrance to a vantage whose targets answer.
        let is_left_alone = anchors.is_none_or(|at| self.now.since(at) > self.rules.max_age)
            && !(anchors.is_some() && self.sight.is_dark(self.rules));
        let targets = self.sight.last_answer.filter(|_| is_left_alone);
        targets.max(anchors).is_some_and(|at| at >= since)
    }
}

impl Sight {
    pub fn new(vantage: &Vantage) -> Self {
        Self {
            heard: [None; 2],
            asked: 0,
            answering: 0,
            last_answer: None,
            run_since: None,
            dark_since: None,
            anchors: vec![Anchor::default(); vantage.anchors.len()],
            odds: Lasting::default(),
            own_outage: false,
            distrust: None,
            is_believed: false,
        }
    }

    /// Takes in whether one target answered, well or not, and whether it had before.
    pub fn note(&mut self, answered: bool, before: Option<bool>, family: Family, at: MonoTime) {
        self.heard[family.index()] = self.heard[family.index()].max(Some(at));
        self.asked += u32::from(before.is_none());
        self.answering += u32::from(answered);
        self.answering -= u32::from(before == Some(true)).min(self.answering);
        if answered {
            self.last_answer = self.last_answer.max(Some(at));
            self.run_since = None;
            self.own_outage &= self.distrust.is_some();
        } else {
            self.run_since.get_or_insert(at);
        }
    }

    pub fn anchor(&mut self, anchor: usize, success: bool, at: MonoTime) {
        let Some(anchor) = self.anchors.get_mut(anchor) else { return };
        if success {
            (anchor.answered, anchor.failed) = (Some(at), None);
        } else {
            anchor.failed = Some((anchor.failed.map_or(at, |(first, _)| first), at));
        }
    }

    /// Replaces the counts by those of a census: targets come and go, and old outcomes age.
    pub fn recount(&mut self, asked: u32, answering: u32) {
        (self.asked, self.answering) = (asked, answering);
    }

    /// Takes in how many of the targets it speaks of it sees otherwise than most of its peers.
    pub fn compare(&mut self, differing: u32, compared: u32, now: MonoTime, odds: Duration) {
        let wanted = match compared {
            // Who is blind or silent is not at odds with anybody.
            _ if self.distrust.is_some_and(|distrust| distrust != Distrust::Odds) => Some(false),
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

    /// When its newest observation was made.
    pub fn heard(&self) -> Option<MonoTime> {
        self.heard.into_iter().flatten().max()
    }

    pub fn was_ever_heard(&self) -> bool {
        self.heard.iter().any(Option::is_some)
    }

    pub fn is_heard_at_all(&self, now: MonoTime, started: MonoTime, max_age: [Duration; 2]) -> bool {
        Family::BOTH.iter().any(|&family| self.is_heard(family, now, started, max_age[family.index()]))
    }

    /// Whether something answered it just now.
    pub fn saw_something(&self, now: MonoTime, max_age: Duration) -> bool {
        self.last_answer.is_some_and(|at| now.since(at) <= max_age)
    }

    pub fn has_ever_seen(&self) -> bool {
        self.last_answer.is_some()
    }

    fn last_of_anchors(&self) -> Option<MonoTime> {
        self.anchors.iter().filter_map(|anchor| anchor.answered).max()
    }

    /// Whether its anchors tell anything.
    fn is_anchored(&self) -> bool {
        !self.anchors.is_empty() && (!self.has_ever_seen() || self.last_of_anchors().is_some())
    }

    /// The anchors to ask: of those that answered ever, if there are any.
    fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        let some_answered = self.last_of_anchors().is_some();
        self.anchors.iter().filter(move |anchor| !some_answered || anchor.answered.is_some())
    }

    /// Positions of anchors that never answered though targets did.
    pub fn silent_anchors(&self) -> impl Iterator<Item = usize> {
        let is_silent = |anchor: &Anchor| self.has_ever_seen() && anchor.answered.is_none() && anchor.fails();
        (0..).zip(&self.anchors).filter(move |(_, anchor)| is_silent(anchor)).map(|(at, _)| at)
    }

    /// Sees almost nothing.
    pub fn is_dark(&self, rules: &TrustRules) -> bool {
        let lost_anchors = self.last_of_anchors().is_some() && self.anchors().all(Anchor::fails);
        if lost_anchors && self.answering * 2 < self.asked {
            return true;
        }
        self.asked > 0
            && u64::from(self.answering) * 1_000_000 < u64::from(self.asked) * u64::from(rules.dark.0)
    }

    /// Weighs all of it anew.
    pub fn weigh(&mut self, heard: bool, peers: Peers, now: MonoTime, rules: &TrustRules) -> Change {
        let before = self.distrust;
        let dark = self.is_dark(rules);
        self.dark_since = dark.then(|| self.dark_since.unwrap_or(now));
        let blind = dark && self.is_blind(peers, now);
        let share_it = peers.heard > 0 && peers.seeing * 2 <= peers.heard;
        self.is_believed = dark && !blind && !self.is_anchored() && (share_it || !peers.others);
        // Without anchors it is the light that returns that tells it had been the vantage's own night.
        self.own_outage |= blind;
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
        let was_own = std::mem::take(&mut self.own_outage) && (self.is_anchored() || !dark);
        if was_own { Change::SeesAgain } else { Change::Moved }
    }

    fn is_blind(&self, peers: Peers, now: MonoTime) -> bool {
        let is_due = self.dark_since.is_some_and(|since| now.since(since) >= PATIENCE);
        if !self.is_anchored() {
            let most_see = peers.seeing * 2 > peers.heard && self.asked >= FEW;
            return is_due && peers.others && (most_see || peers.heard == 0);
        }
        let since = self.run_since.into_iter().chain(self.dark_since).min().unwrap_or(now);
        let answers = |anchor: &Anchor| anchor.answered.is_some_and(|at| at >= since) && !anchor.fails();
        !self.anchors().any(answers) && (is_due || self.anchors().all(Anchor::fails))
    }

    pub fn distrust(&self) -> Option<Distrust> {
        self.distrust
    }

    pub fn counts(&self) -> (u32, u32) {
        (self.answering, self.asked)
    }
}
