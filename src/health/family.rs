//! One family of one node: from the words of the vantages to the verdict that is held.
//!
//! ```text
//!  words of trusted, fresh vantages ─▶ quorum ─▶ damping ─▶ load and errors ─▶ held verdict, its cause
//!        └─ of those that stand for a line or area ─▶ quorum ─▶ the verdict for those clients
//! ```
//! Where no trusted vantage says anything, what is held stays; only a majority of those that are heard,
//! each refused by the node itself and each seeing others answer, takes a node down then.

use super::Transition;
use super::damping::Damping;
use super::history::History;
use super::load::{Ailment, LoadState};
use super::quorum::Votes;
use super::reason;
use super::standing::{Standing, Word};
use super::track::{Finding, Track};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::model::fleet::Node;
use crate::model::ids::NodeId;
use crate::model::judgement::{HealthRules, MOST_VANTAGES};
use crate::model::verdict::{FamilyHealth, Rule, Scope, Verdict};
use std::time::Duration;

/// Who may speak, as of now; bit masks by vantage.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bench {
    /// Trusted and heard, by family.
    pub trusted: [u16; 2],
    /// Heard, and just now answered by something: what a distrusted vantage needs to be believed.
    pub seeing: [u16; 2],
    /// Several vantages, or anchors: words age. A vantage alone is all there is, however old.
    pub is_watched: bool,
    pub now: MonoTime,
}

/// The node in question, and all that a judgement of it needs beside its own state.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub id: NodeId,
    pub node: &'a Node,
    pub family: Family,
    pub bench: Bench,
    pub rules: &'a HealthRules,
    /// How old the word of a vantage on this node may be.
    pub max_age: Duration,
    pub load: &'a LoadState,
    /// Its faults are a drill's.
    pub is_drilled: bool,
    /// Some pool cannot do without the node.
    pub is_needed: bool,
    pub wall: WallTime,
}

impl Case<'_> {
    /// What load and errors hold against the node; a circuit does not take away whom a pool needs.
    fn ailment(&self) -> Option<Ailment> {
        match self.load.ailment() {
            Some(Ailment::CircuitOpen) if self.is_needed => Some(Ailment::CircuitHalfOpen),
            ailment => ailment,
        }
    }
}

/// What a held verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Check { vantage: u8, probe: u8, finding: Finding },
    Ailment(Ailment),
    Damped,
}

/// The verdict for the clients of a line or area.
#[derive(Clone, Debug)]
pub(super) struct Scoped {
    pub scope: Scope,
    /// Vantages that stand for it.
    pub mask: u16,
    pub held: Option<(Verdict, WallTime, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct FamilyState {
    /// Verdict, since, reason and observed are kept here; the figures are filled in when shown.
    pub held: FamilyHealth,
    pub cause: Option<Cause>,
    pub cause_since: WallTime,
    /// What the vantages last agreed on, before damping and load.
    pub agreed: Option<Verdict>,
    pub damping: Damping,
    /// By vantage. Each without tracks: nothing probes this family.
    pub standings: Vec<Standing>,
    pub scoped: Vec<Scoped>,
    /// By this process's own probes: round trips of several vantages are not to be mixed.
    pub history: History,
}

/// What the words of some vantages come to.
struct Hearing {
    verdict: Option<Verdict>,
    /// The first that says so.
    told: Option<(u8, Word)>,
    /// Whether anybody who counts said anything.
    is_heard: bool,
}

impl FamilyState {
    pub fn new(
        node: &Node,
        family: Family,
        restored: Option<&FamilyHealth>,
        vantages: usize,
        scoped: &[Scoped],
        wall: WallTime,
    ) -> Self {
        let mut standings: Vec<Standing> = (0..vantages).map(|_| Standing::new(node, family)).collect();
        let mut scoped = scoped.to_vec();
        for own in &mut scoped {
            let before = restored.and_then(|it| it.scoped.iter().find(|before| before.scope == own.scope));
            own.held = before.map(|it| (it.verdict, it.since, reason::restored(&it.reason)));
        }
        let restored = restored.filter(|before| before.verdict != Verdict::Unknown);
        let is_unprobed = standings[0].tracks.is_empty();
        let held = match restored {
            _ if is_unprobed => FamilyHealth {
                verdict: Verdict::Up,
                since: restored.map_or(wall, |before| before.since),
                reason: reason::unprobed(node, family),
                observed: true,
                ..FamilyHealth::default()
            },
            Some(before) => {
                if let (Some(first), Some(_)) = (standings[0].tracks.first_mut(), before.baseline) {
                    *first = Track::new(first.probe, before.baseline);
                }
                let reason = reason::restored(&before.reason);
                let (votes, told) = (Vec::new(), Vec::new());
                FamilyHealth { reason, observed: false, votes, scoped: told, ..before.clone() }
            }
            None => FamilyHealth { since: wall, reason: reason::awaiting(node), ..FamilyHealth::default() },
        };
        let (cause, damping) = (None, Damping::default());
        Self {
            held,
            cause,
            cause_since: wall,
            agreed: None,
            damping,
            standings,
            scoped,
            history: History::default(),
        }
    }

    /// Takes over what was learned; of other vantages only this process's own.
    pub fn inherit(
        &mut self,
        node: &Node,
        before: &FamilyState,
        old_node: &Node,
        family: Family,
        same_vantages: bool,
    ) {
        let kept = if same_vantages { before.standings.len() } else { 1 };
        for (standing, old) in self.standings.iter_mut().zip(&before.standings).take(kept) {
            standing.inherit(node, old, old_node, family);
        }
        (self.damping, self.agreed) = (before.damping, before.agreed);
        self.history = before.history.clone();
        for scoped in &mut self.scoped {
            let same = before.scoped.iter().find(|old| old.scope == scoped.scope);
            scoped.held = same.and_then(|old| old.held.clone());
        }
        if !self.is_unprobed() || before.held.verdict != Verdict::Up {
            self.held = before.held.clone();
        }
    }

    pub fn is_unprobed(&self) -> bool {
        self.standings.iter().all(|standing| standing.tracks.is_empty())
    }

    /// The word of a vantage, if it is fresh.
    pub fn word(&self, vantage: usize, case: &Case<'_>) -> Option<Word> {
        let standing = self.standings.get(vantage)?;
        if case.bench.is_watched && !standing.is_fresh(case.bench.now, case.max_age) {
            return None;
        }
        standing.word(case.node)
    }

    /// Hears the vantages of `mask`; `held` is what such a hearing came to last.
    fn hear(&self, mask: u16, held: Option<Verdict>, case: &Case<'_>) -> Hearing {
        let mut votes = Votes::default();
        let mut words = [None; MOST_VANTAGES];
        for (vantage, said) in words.iter_mut().enumerate().take(self.standings.len()) {
            if mask >> vantage & 1 == 1 {
                *said = self.word(vantage, case);
                said.iter().for_each(|word: &Word| votes.add(word.verdict()));
            }
        }
        let verdict = votes.verdict(mask.count_ones(), held);
        let says_so = |(vantage, word): (u8, &Option<Word>)| {
            word.filter(|word| Some(word.verdict()) == verdict).map(|word| (vantage, word))
        };
        Hearing { verdict, told: (0..).zip(&words).find_map(says_so), is_heard: votes.total() > 0 }
    }

    /// Where nobody who is trusted says anything: those that were refused by the node itself while others
    /// answered them.
    fn hear_the_refused(&self, case: &Case<'_>) -> Hearing {
        let seeing = case.bench.seeing[case.family.index()];
        let refused = (0..self.standings.len())
            .filter(|&vantage| seeing >> vantage & 1 == 1 && self.standings[vantage].has_answered_no())
            .filter(|&vantage| self.word(vantage, case).is_some_and(|word| word.finding == Finding::Failing));
        let mask = refused.fold(0_u16, |mask, vantage| mask | 1 << vantage);
        if mask.count_ones() * 2 <= seeing.count_ones() {
            return Hearing { verdict: None, told: None, is_heard: false };
        }
        self.hear(mask, None, case)
    }

    /// Judges anew; the change of the held verdict, if there is one.
    pub fn settle(&mut self, case: &Case<'_>) -> Option<Transition> {
        if self.is_unprobed() {
            return self.settle_unprobed(case);
        }
        let trusted = case.bench.trusted[case.family.index()];
        let base = self.agreed.unwrap_or(self.held.verdict);
        let mut hearing = self.hear(trusted, Some(base), case);
        if !hearing.is_heard && case.bench.is_watched {
            hearing = self.hear_the_refused(case);
        }
        if !hearing.is_heard {
            return None;
        }
        let verdict = hearing.verdict?;
        let is_held_back = self.flip(verdict, case);
        let of_checks = hearing.told.map(|(vantage, word)| Cause::Check {
            vantage,
            probe: self.standings[usize::from(vantage)].tracks[word.track].probe,
            finding: word.finding,
        });
        let (verdict, cause) = match case.ailment() {
            // Who is held back is down whatever else ails it, but for a circuit that says so itself.
            Some(ailment) if ailment.verdict() != Verdict::Down && is_held_back => {
                (Verdict::Down, Some(Cause::Damped))
            }
            Some(ailment) if ailment.verdict() > verdict => {
                (ailment.verdict(), Some(Cause::Ailment(ailment)))
            }
            _ if is_held_back => (Verdict::Down, Some(Cause::Damped)),
            _ => (verdict, of_checks),
        };
        self.conclude(verdict, cause, hearing.told, case)
    }

    /// Notes what the vantages agree on; tells whether a recovery is held back.
    fn flip(&mut self, verdict: Verdict, case: &Case<'_>) -> bool {
        let (now, rules) = (case.bench.now, &case.rules.damping);
        let is_down = verdict == Verdict::Down;
        // Only who is down can be kept down: the flip that reaches the start is itself still followed.
        let is_held_back = !is_down
            && self.held.verdict == Verdict::Down
            && self.damping.holds(now, rules)
            && !case.is_needed;
        let was = self.agreed.replace(verdict);
        if was.is_some_and(|was| (was == Verdict::Down) != is_down) && !case.is_drilled {
            self.damping.flip(now, rules);
        }
        is_held_back
    }

    fn conclude(
        &mut self,
        verdict: Verdict,
        cause: Option<Cause>,
        told: Option<(u8, Word)>,
        case: &Case<'_>,
    ) -> Option<Transition> {
        let is_same = cause.is_none() || self.cause == cause;
        if self.held.observed && is_same && self.held.verdict == verdict {
            return None;
        }
        let before = self.cause.filter(|_| self.held.observed);
        let why = match cause {
            Some(Cause::Ailment(ailment)) => reason::of_ailment(ailment, case),
            Some(Cause::Damped) => reason::damped(&self.damping),
            Some(Cause::Check { .. }) | None => self.tell(told, before, case),
        };
        (self.cause, self.cause_since, self.held.observed) = (cause, case.wall, true);
        self.hold(verdict, why, case)
    }

    /// The evidence for what a vantage says, in a sentence.
    fn tell(&self, told: Option<(u8, Word)>, before: Option<Cause>, case: &Case<'_>) -> String {
        let Some((vantage, word)) = told else { return self.held.reason.clone() };
        let standing = &self.standings[usize::from(vantage)];
        let ill = match before {
            Some(Cause::Check { probe, finding, .. }) => Some((probe, finding)),
            _ => None,
        };
        // What got well is what was ill, not the first probe of the list.
        let was_ill = ill.and_then(|(probe, _)| standing.tracks.iter().find(|track| track.probe == probe));
        let track = match word.finding {
            Finding::Answers => was_ill.unwrap_or(&standing.tracks[word.track]),
            _ => &standing.tracks[word.track],
        };
        let spec = &case.node.probes[usize::from(track.probe)];
        reason::of_finding(word.finding, track, spec, case.family, ill.map(|(_, finding)| finding))
    }

    fn settle_unprobed(&mut self, case: &Case<'_>) -> Option<Transition> {
        let ailment = case.ailment();
        let (verdict, cause) = match ailment {
            Some(ailment) => (ailment.verdict(), Some(Cause::Ailment(ailment))),
            None => (Verdict::Up, None),
        };
        if self.held.verdict == verdict && self.cause == cause {
            return None;
        }
        let why = match ailment {
            Some(ailment) => reason::of_ailment(ailment, case),
            None => reason::unprobed(case.node, case.family),
        };
        (self.cause, self.cause_since) = (cause, case.wall);
        self.hold(verdict, why, case)
    }

    fn hold(&mut self, to: Verdict, why: String, case: &Case<'_>) -> Option<Transition> {
        let from = std::mem::replace(&mut self.held.verdict, to);
        self.held.reason = why;
        if from == to {
            return None;
        }
        self.held.since = case.wall;
        let (node, family, reason) = (case.id, case.family, self.held.reason.clone());
        Some(Transition { node, family, scope: None, from, to, reason })
    }

    /// Judges for the clients of each line and area that vantages stand for.
    pub fn settle_scoped(&mut self, case: &Case<'_>) -> Vec<Transition> {
        let mut changed = Vec::new();
        for at in 0..self.scoped.len() {
            let mask = self.scoped[at].mask & case.bench.trusted[case.family.index()];
            let held = self.scoped[at].held.as_ref().map(|(verdict, ..)| *verdict);
            let hearing = self.hear(mask, held, case);
            let Some(verdict) = hearing.verdict.filter(|_| hearing.is_heard) else { continue };
            if held == Some(verdict) {
                continue;
            }
            let reason = self.tell(hearing.told, None, case);
            let scoped = &mut self.scoped[at];
            scoped.held = Some((verdict, case.wall, reason.clone()));
            let (node, family, scope) = (case.id, case.family, Some(scoped.scope.clone()));
            let from = held.unwrap_or_default();
            changed.push(Transition { node, family, scope, from, to: verdict, reason });
        }
        changed
    }

    /// Whether a trusted vantage says anything fresh of it.
    pub fn is_trusted(&self, case: &Case<'_>) -> bool {
        let mask = case.bench.trusted[case.family.index()];
        self.is_unprobed()
            || (0..self.standings.len()).any(|at| mask >> at & 1 == 1 && self.word(at, case).is_some())
    }

    pub fn rule(&self) -> Rule {
        match self.cause {
            Some(Cause::Check { finding, .. }) => finding.rule(),
            Some(Cause::Ailment(Ailment::CircuitOpen | Ailment::CircuitHalfOpen)) => Rule::Circuit,
            Some(Cause::Ailment(Ailment::Errors)) => Rule::Errors,
            Some(Cause::Ailment(Ailment::Full)) => Rule::Load,
            Some(Cause::Ailment(Ailment::Silent)) => Rule::StaleLoad,
            Some(Cause::Damped) => Rule::Damped,
            None if self.is_unprobed() => Rule::Unprobed,
            None => self.held.evidence.rule,
        }
    }
}
