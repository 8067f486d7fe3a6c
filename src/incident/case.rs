//! One incident under way: its members as they fall and come back, its timeline, its clocks.

use super::facts::{Facts, Found, NO_ROOM};
use super::{Moment, cause, impact};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::units::Ppm;
use crate::model::ids::Generation;
use crate::model::incident::{
    Clientele, Incident, IncidentRules, MOST_MEMBERS, MOST_STEPS, Member, Part, Phase, Step, StepKind,
};
use crate::model::provenance::Cause;
use crate::model::status::{Change, Status};
use crate::model::verdict::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// The longest ramp of a node that is back, and the ticks that it takes to see its end.
const RAMP: Duration = Duration::from_secs(310);
/// Of what it carried before: then it is whole again, whatever its ramp says.
const WHOLE_AGAIN: Ppm = Ppm::from_percent(90);
/// A table may be stamped a little before the verdict that made it.
const STAMPS_MS: u64 = 2_000;
/// Of a timeline, from its beginning, whatever comes later.
const FIRST_STEPS: usize = MOST_STEPS / 2;
/// Falls of one member that are told one by one.
const FALLS_TOLD: u32 = 8;

/// What is lost while a cache holds a lost node's address, of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    pub service: String,
    /// A millisecond of a millionth of its clients.
    pub lost_ns: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Rises for the life of the process.
    pub serial: u64,
    pub incident: Incident,
    /// Who was where before; `None` after a restart, until it grows.
    pub base: Option<Arc<Clientele>>,
    /// The last generation that its timeline knows.
    pub seen: Generation,
    /// Nothing of it is the matter since then.
    pub quiet_since: Option<MonoTime>,
    /// It changed in a way that is to be kept at once.
    pub is_news: bool,
    /// Or in figures alone.
    pub is_changed: bool,
}

impl Case {
    pub fn open(serial: u64, found: &Found, base: Arc<Clientele>, status: &Status, now: Moment) -> Self {
        let incident = Incident { opened_at: now.wall, ..Incident::default() };
        // The table that came of it may be out already.
        let seen = before(status, found.verdict_at);
        let mut case = Self {
            serial,
            incident,
            base: Some(base),
            seen,
            quiet_since: None,
            is_news: true,
            is_changed: true,
        };
        case.incident.clocks.failed_at = found.failed_at;
        case.incident.clocks.verdict_at = found.verdict_at;
        case
    }

    pub fn restored(serial: u64, incident: Incident, now: Moment) -> Self {
        let mut case = Self {
            serial,
            incident,
            base: None,
            seen: Generation(0),
            quiet_since: None,
            is_news: true,
            is_changed: true,
        };
        let what = "rhumb was started again and took this incident up; what happened meanwhile is not known";
        case.step(now.wall, StepKind::Note, what.to_owned());
        case
    }

    pub fn members(&self) -> &[Member] {
        &self.incident.members
    }

    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.incident.members.iter().filter(|member| member.active)
    }

    pub fn is_of(&self, found: &Found) -> bool {
        self.incident.members.iter().any(|member| member.part == found.part && member.name == found.name)
    }

    /// Takes in something new. `share`: of all planned demand that it carried before.
    pub fn join(&mut self, found: &Found, share: Ppm, now: Moment) {
        let is_first = self.incident.members.is_empty();
        if self.incident.members.len() >= MOST_MEMBERS {
            self.incident.members_omitted += 1;
            return;
        }
        let Found {
            part, name, what, site, region, line, evidence, failed_at, verdict_at, confirmed, ..
        } = found.clone();
        let subject = told(part, &name);
        if failed_at < verdict_at {
            self.step(failed_at, StepKind::Failing, format!("{subject}: the first observation that failed"));
        }
        let kind = if is_first { StepKind::Verdict } else { StepKind::Spread };
        self.step(verdict_at, kind, format!("{subject}: {what}: {evidence}"));
        self.incident.members.push(Member {
            part,
            name,
            what,
            site,
            region,
            line,
            evidence,
            failed_at,
            verdict_at,
            confirmed,
            moved_at: None,
            back_at: None,
            whole_at: None,
            share,
            falls: 1,
            active: true,
        });
        let clocks = &mut self.incident.clocks;
        clocks.failed_at = clocks.failed_at.min(failed_at);
        self.reopen(now);
    }

    /// It goes on, or came again.
    fn reopen(&mut self, _now: Moment) {
        let clocks = &mut self.incident.clocks;
        (clocks.answer_at, clocks.quality_at, clocks.quality_ms) = (None, None, None);
        // It was never lost, until now.
        clocks.answer_ms = clocks.answer_ms.filter(|ms| *ms > 0);
        self.incident.phase = Phase::Open;
        self.quiet_since = None;
        (self.is_news, self.is_changed) = (true, true);
    }

    /// Looks at each member again, at the tables since, and at the clocks. Gives what is to be charged.
    pub fn look(
        &mut self,
        facts: &Facts<'_>,
        rules: &IncidentRules,
        is_settled: bool,
        now: Moment,
    ) -> Vec<Charge> {
        self.follow_tables(facts.status);
        for at in 0..self.incident.members.len() {
            self.look_at(at, facts, is_settled, now);
        }
        let charges = self.follow_moves(facts, now);
        impact::follow(&mut self.incident, facts.status);
        self.run_clocks(facts, now);
        let cause = cause::of(&self.incident, facts);
        if cause != self.incident.cause {
            let is_other =
                (cause.of, &cause.subject) != (self.incident.cause.of, &self.incident.cause.subject);
            if is_other && !self.incident.cause.subject.is_empty() {
                let (of, subject) = (cause.of.name(), &cause.subject);
                let what = format!("likeliest common cause now: {}; {}", called(of, subject), cause.why);
                self.step(now.wall, StepKind::Spread, what);
            }
            self.incident.cause = cause;
            self.is_changed = true;
        }
        let summary = cause::summary(&self.incident, facts);
        if summary != self.incident.summary {
            self.incident.summary = summary;
            self.is_changed = true;
        }
        self.close_if_over(rules, now);
        charges
    }

    fn look_at(&mut self, at: usize, facts: &Facts<'_>, is_settled: bool, now: Moment) {
        let member = &self.incident.members[at];
        let is_same = |found: &&Found| found.part == member.part && found.name == member.name;
        match facts.found.iter().find(is_same) {
            Some(found) if member.active => self.go_on(at, found, now),
            Some(found) => self.fall_again(at, found, now),
            None if member.active => self.come_back(at, facts, is_settled, now),
            None => {}
        }
    }

    fn go_on(&mut self, at: usize, found: &Found, now: Moment) {
        let member = &mut self.incident.members[at];
        let is_worse = member.what != found.what;
        let is_other = is_worse || member.evidence != found.evidence;
        member.evidence.clone_from(&found.evidence);
        member.confirmed |= found.confirmed;
        if is_worse {
            let is_answered = |what: &str| found.part == Part::Service && what == NO_ROOM;
            let (was, is) = (is_answered(&member.what), is_answered(&found.what));
            // From now on everybody is answered with a node, or no more.
            member.moved_at = if is { Some(now.wall) } else { member.moved_at.filter(|_| !was) };
            if was && !is {
                (member.failed_at, member.verdict_at) = (found.failed_at, found.verdict_at);
            }
            member.what.clone_from(&found.what);
            let what = format!("{}: {}: {}", told(found.part, &found.name), found.what, found.evidence);
            self.step(now.wall, StepKind::Verdict, what);
            if was {
                self.reopen(now);
            }
        }
        self.is_changed |= is_other;
    }

    fn fall_again(&mut self, at: usize, found: &Found, now: Moment) {
        let member = &mut self.incident.members[at];
        member.active = true;
        member.falls += 1;
        (member.moved_at, member.back_at, member.whole_at) = (None, None, None);
        (member.failed_at, member.verdict_at) = (found.failed_at, found.verdict_at);
        member.evidence.clone_from(&found.evidence);
        member.what.clone_from(&found.what);
        let falls = member.falls;
        if falls <= FALLS_TOLD {
            let subject = told(found.part, &found.name);
            let what = format!("{subject}: {} again (time {falls}): {}", found.what, found.evidence);
            self.step(found.verdict_at, StepKind::Verdict, what);
        }
        self.reopen(now);
    }

    fn come_back(&mut self, at: usize, facts: &Facts<'_>, is_settled: bool, now: Moment) {
        let member = &self.incident.members[at];
        let node = node_of(member);
        let withdrawn = node.and_then(|node| facts.withdrawn.get(node));
        let is_gone = node.is_some_and(|node| !facts.nodes.contains_key(node));
        let is_known = match node {
            Some(node) => facts.is_known(node) || withdrawn.is_some(),
            // What is planned follows from what is seen of nodes; a circuit from loads, which come later.
            None => is_settled || (member.part != Part::Region && facts.is_all_seen()),
        };
        if !is_known {
            return;
        }
        let subject = told(member.part, &member.name);
        let health = node.and_then(|node| facts.nodes.get(node)?.health.best());
        let is_lost = member.part == Part::Reach && health.is_some_and(|it| it.verdict == Verdict::Down);
        let what = match (withdrawn, is_gone) {
            (Some(said), _) => {
                format!("{subject}: {said}; whatever it does from now on is not of this incident")
            }
            (None, true) => format!("{subject}: the policy has it no more"),
            (None, false) if is_lost => format!("{subject}: the whole node is down now"),
            (None, false) => format!("{subject}: well again"),
        };
        let (falls, verdict_at) = (member.falls, member.verdict_at);
        let is_left = withdrawn.is_some() || is_gone;
        let since = node.filter(|_| !is_left).and_then(|node| facts.nodes.get(node)?.health.best());
        let back_at =
            since.map_or(now.wall, |health| health.since.clamp(verdict_at, now.wall.max(verdict_at)));
        let member = &mut self.incident.members[at];
        member.active = false;
        member.back_at = Some(back_at);
        if member.part == Part::Service && member.what != NO_ROOM {
            // Answers without a node are in caches still.
            member.moved_at.get_or_insert(back_at);
        }
        if is_left || member.part != Part::Node || member.share == Ppm::ZERO {
            member.whole_at = Some(now.wall);
        }
        if falls <= FALLS_TOLD {
            self.step(back_at, StepKind::Back, what);
        }
        (self.is_news, self.is_changed) = (true, true);
    }

    /// Tables that moved clients since the last look.
    fn follow_tables(&mut self, status: &Status) {
        let seen = self.seen;
        let fresh: Vec<Change> =
            status.recent.iter().filter(|change| change.generation > seen).cloned().collect();
        for change in fresh {
            self.seen = change.generation;
            let concerns = |nodes: &[String]| {
                self.incident
                    .members
                    .iter()
                    .any(|member| node_of(member).is_some_and(|it| nodes.iter().any(|n| n == it)))
            };
            let is_told = match &change.cause {
                Cause::Evacuation { nodes } | Cause::Recovery { nodes } => {
                    concerns(nodes) || self.incident.members.iter().all(|member| member.part != Part::Node)
                }
                Cause::Rebalance | Cause::ColdStart => false,
                Cause::WarmStart
                | Cause::Reload { .. }
                | Cause::Withdrawal { .. }
                | Cause::Release { .. } => true,
                Cause::Degradation { steps } => self.concerns_steps(steps),
            };
            if is_told {
                let what = format!("table {} published: {}", change.generation, change.cause);
                self.push(Step {
                    at: change.at,
                    kind: StepKind::Published,
                    what,
                    generation: Some(change.generation),
                    moves: change.moves,
                });
            }
        }
        self.seen = self.seen.max(status.table.generation);
    }

    /// Whether steps of the ladder are of its own services; where more than services went wrong, all are, and
    /// where more may have been made than are told.
    fn concerns_steps(&self, steps: &[String]) -> bool {
        if steps.len() >= Cause::STEPS_TOLD {
            return true;
        }
        let is_of = |member: &Member, step: &String| step.starts_with(&format!("{}, area ", member.name));
        self.incident
            .members
            .iter()
            .any(|member| member.part != Part::Service || steps.iter().any(|step| is_of(member, step)))
    }

    /// Which members the live table gives to nobody any more.
    fn follow_moves(&mut self, facts: &Facts<'_>, now: Moment) -> Vec<Charge> {
        let mut charges = Vec::new();
        let base = self.base.clone();
        let waiting: Vec<usize> = (0..self.incident.members.len())
            .filter(|at| self.incident.members[*at].moved_at.is_none())
            .collect();
        for at in waiting {
            let member = &self.incident.members[at];
            let Some(moved_at) = moved(member, facts.status) else { continue };
            let moved_at = moved_at.max(member.verdict_at).min(now.wall);
            let (failed_at, name) = (member.failed_at, member.name.clone());
            self.incident.members[at].moved_at = Some(moved_at);
            (self.is_news, self.is_changed) = (true, true);
            let until_ms = moved_at.0.saturating_sub(failed_at.0);
            charges.extend(impact::charges(base.as_deref(), &name, until_ms));
        }
        charges
    }

    fn run_clocks(&mut self, facts: &Facts<'_>, now: Moment) {
        let answered: Option<Vec<(WallTime, u64)>> =
            self.incident.members.iter().map(|member| self.answered(member)).collect();
        let clocks = &self.incident.clocks;
        if let Some(answered) = answered.filter(|all| !all.is_empty())
            && clocks.answer_at.is_none()
        {
            let at = answered.iter().map(|(at, _)| *at).max().unwrap_or_default();
            let ms = answered.iter().map(|(_, ms)| *ms).max().unwrap_or_default();
            if at <= now.wall {
                self.answer_restored(at, ms);
            }
        }
        self.become_whole(facts, now);
        let clocks = &mut self.incident.clocks;
        let members = &self.incident.members;
        let of_nodes = members.iter().filter(|member| member.part != Part::Service);
        clocks.published_at = of_nodes.filter_map(|member| member.moved_at).max();
        let whole: Option<Vec<WallTime>> = members.iter().map(|member| member.whole_at).collect();
        if let (Some(whole), None, Some(_)) = (whole, clocks.quality_at, clocks.answer_at) {
            let at = whole.into_iter().max().unwrap_or(now.wall);
            let ms = at.0.saturating_sub(clocks.failed_at.0);
            (clocks.quality_at, clocks.quality_ms) = (Some(at), Some(ms));
            let what = format!("full quality restored, {} after the first failure", span(ms));
            self.step(at, StepKind::Restored, what);
            (self.is_news, self.is_changed) = (true, true);
        }
    }

    fn answer_restored(&mut self, at: WallTime, ms: u64) {
        let clocks = &mut self.incident.clocks;
        clocks.answer_at = Some(at);
        clocks.answer_ms = Some(clocks.answer_ms.map_or(ms, |before| before.max(ms)));
        impact::restored(&mut self.incident);
        let what = match ms {
            0 => "every client is answered with a node, as before".to_owned(),
            _ => format!(
                "answer restored for 99 % of the clients, {} after the first failure (TTL model)",
                span(ms)
            ),
        };
        self.step(at, StepKind::Restored, what);
        (self.is_news, self.is_changed) = (true, true);
    }

    /// When 99 % of a member's clients had another answer, or it was back, and how long that took; `None`: not
    /// yet.
    fn answered(&self, member: &Member) -> Option<(WallTime, u64)> {
        if member.part == Part::Service && member.what == NO_ROOM && member.moved_at.is_none() {
            return Some((member.verdict_at, 0));
        }
        let by_caches = member.moved_at.map(|moved| {
            let ttl_ms = impact::ttl_ms(&self.incident, member);
            WallTime(moved.0 + ttl_ms * 99 / 100)
        });
        let at = match (by_caches, member.back_at.filter(|_| !impact::is_cached(member))) {
            (Some(caches), Some(back)) => caches.min(back),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return None,
        };
        let at = at.max(member.verdict_at);
        Some((at, at.0.saturating_sub(member.failed_at.0)))
    }

    /// Members that are back and carry again what they did.
    fn become_whole(&mut self, facts: &Facts<'_>, now: Moment) {
        for member in &mut self.incident.members {
            let (false, Some(back_at), None) = (member.active, member.back_at, member.whole_at) else {
                continue;
            };
            let share = facts.nodes.get(member.name.as_str()).map(|node| node.share);
            let is_carrying =
                share.is_none_or(|share| share.0 >= WHOLE_AGAIN.of(u64::from(member.share.0)) as u32);
            let is_ramped = now.wall.0.saturating_sub(back_at.0) >= RAMP.as_millis() as u64;
            if is_carrying || is_ramped {
                member.whole_at = Some(now.wall);
                self.is_changed = true;
            }
        }
    }

    fn close_if_over(&mut self, rules: &IncidentRules, now: Moment) {
        if self.active().next().is_some() {
            self.quiet_since = None;
            return;
        }
        let quiet = *self.quiet_since.get_or_insert(now.mono);
        if self.incident.phase == Phase::Open {
            self.incident.phase = Phase::Recovering;
            (self.is_news, self.is_changed) = (true, true);
        }
        let clocks = &self.incident.clocks;
        let is_restored = clocks.answer_at.is_some() && clocks.quality_at.is_some();
        if is_restored && now.mono.since(quiet) >= rules.close_after {
            self.close(now, "everything of it is well again".to_owned());
        }
    }

    pub fn close(&mut self, now: Moment, outcome: String) {
        self.step(now.wall, StepKind::Closed, format!("closed: {outcome}"));
        self.incident.phase = Phase::Closed;
        self.incident.closed_at = Some(now.wall);
        self.incident.outcome = Some(outcome);
        (self.is_news, self.is_changed) = (true, true);
    }

    /// Takes in what turned out to be of the same cause.
    pub fn absorb(&mut self, other: &Self, now: Moment) {
        let name = match other.incident.id {
            0 => String::new(),
            id => format!(" {id}"),
        };
        let what =
            format!("takes in incident{name} ({}), which is of the same cause", other.incident.summary);
        self.step(now.wall, StepKind::Spread, what);
        for member in &other.incident.members {
            let is_known = |it: &Member| it.part == member.part && it.name == member.name;
            if !self.incident.members.iter().any(is_known) && self.incident.members.len() < MOST_MEMBERS {
                self.incident.members.push(member.clone());
            }
        }
        for step in &other.incident.timeline {
            self.push(step.clone());
        }
        self.incident.timeline.sort_by_key(|step| step.at);
        let clocks = &mut self.incident.clocks;
        clocks.failed_at = clocks.failed_at.min(other.incident.clocks.failed_at);
        self.reopen(now);
    }

    pub fn step(&mut self, at: WallTime, kind: StepKind, what: String) {
        self.push(Step { at, kind, what, generation: None, moves: Vec::new() });
    }

    fn push(&mut self, step: Step) {
        (self.is_news, self.is_changed) = (true, true);
        let timeline = &mut self.incident.timeline;
        let is_known = |known: &Step| step.generation.is_some() && known.generation == step.generation;
        if timeline.iter().any(is_known) {
            return;
        }
        if timeline.len() >= MOST_STEPS {
            timeline.remove(FIRST_STEPS);
            self.incident.steps_omitted += 1;
        }
        // What happened before what is told already goes before it.
        let at = timeline.partition_point(|known| known.at <= step.at);
        timeline.insert(at, step);
    }
}

/// The generation before the tables that came of a verdict.
fn before(status: &Status, verdict_at: WallTime) -> Generation {
    let is_before = |change: &&Change| change.at.0 + STAMPS_MS < verdict_at.0;
    status.recent.iter().rev().find(is_before).map_or(Generation(0), |change| change.generation)
}

/// The node that a member is about, if it is about one for everybody.
fn node_of(member: &Member) -> Option<&str> {
    match member.part {
        Part::Node => Some(&member.name),
        Part::Reach => member.name.split(" for ").next(),
        Part::Region | Part::Service | Part::Instance => None,
    }
}

/// When the first table came that gives a member to nobody; `None`: it did not yet.
fn moved(member: &Member, status: &Status) -> Option<WallTime> {
    match member.part {
        Part::Node => {
            let is_its = |change: &&Change| {
                let names_it =
                    matches!(&change.cause, Cause::Evacuation { nodes } if nodes.contains(&member.name));
                names_it && change.at.0 + STAMPS_MS >= member.verdict_at.0
            };
            if let Some(change) = status.recent.iter().find(is_its) {
                return Some(change.at);
            }
            let node = status.nodes.iter().find(|node| node.name == member.name);
            node.is_none_or(|node| node.share == Ppm::ZERO).then_some(status.table.published_at)
        }
        // Clients of a line or a cut region are moved with the verdict's own table.
        Part::Reach | Part::Region => (status.table.published_at.0 + STAMPS_MS >= member.verdict_at.0)
            .then_some(status.table.published_at),
        Part::Service | Part::Instance => None,
    }
}

/// `tyo-1`, `region ea`, `service live`.
fn told(part: Part, name: &str) -> String {
    match part {
        Part::Node | Part::Reach => name.to_owned(),
        Part::Region => format!("region {name}"),
        Part::Service => format!("service {name}"),
        Part::Instance => format!("this instance ({name})"),
    }
}

/// `site tyo`, `us`.
fn called(of: &str, subject: &str) -> String {
    if of == "us" || subject.is_empty() { of.to_owned() } else { format!("{of} {subject}") }
}

/// `4.2 s`, `3 min 10 s`.
pub(super) fn span(ms: u64) -> String {
    match ms {
        ..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..7_200_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}
