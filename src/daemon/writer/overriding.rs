//! Overrides as the writer takes them: judged, set, extended, ended, and what each does to the table.
//!
//! ```text
//!  drain, force-down ─▶ preflight ─▶ rules ─▶ kept ─▶ evacuation, at once: outside the change budget
//!  force-up ──────────▶ preflight ──────────▶ kept ─▶ its ramp begins, as of a node that came back
//!  cancelled, expired ──────────────────────▶ kept ─▶ the same; who was forced up and is down: evacuation
//! ```
//! A preflight is made here and not beside the writer: it is two plans of the kind that every tick makes, and what
//! it was judged on is what it is set on.

use super::{About, Writer};
use crate::base::diagnostic::did_you_mean;
use crate::control::overrides::Answer;
use crate::daemon::overrides::Word;
use crate::daemon::preflight;
use crate::model::actor::Actor;
use crate::model::ids::NodeId;
use crate::model::overrides::{
    self, Action, MOST_OVERRIDES, Override, OverrideAsk, OverrideDone, OverrideId, OverrideRefusal,
    OverrideRequest, OverrideStatus, Target, impose,
};
use crate::model::preflight::{CAPACITY, LAST_NODE, Preflight};
use crate::model::provenance::Cause;
use crate::model::safety::{self, Change};
use crate::model::verdict::NodeHealth;
use crate::schedule::{Pass, PlanInput};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// For so long a table that gives clients back to nodes is told to be for the sake of the override that ended.
const LATELY: Duration = Duration::from_secs(60);
/// Notes of a preflight.
const MOST_NOTES: usize = 8;

impl Writer {
    /// Does what is asked, or says why not. What ends an override is never refused.
    pub(super) fn take_word(&mut self, ask: OverrideAsk, by: &Actor) -> Answer {
        match ask {
            OverrideAsk::Set(request) => self.set(request, by),
            OverrideAsk::Extend { id, for_s } => self.extend(id, for_s, by),
            OverrideAsk::Cancel { id, reason } => self.cancel(id, reason, by),
        }
    }

    fn set(&mut self, request: OverrideRequest, by: &Actor) -> Answer {
        let is_dry_run = request.dry_run;
        let (word, nodes) = self.understood(request, by).map_err(OverrideRefusal::Wrong)?;
        let (span, named) = (word.span, word.break_glass.clone());
        let draft = self.overrides.draft(word, self.clock.wall());
        let mut told = self.preflight(&draft, &nodes);
        for broken in &mut told.broken {
            broken.is_overridden = named.contains(&broken.rule);
        }
        let draft = Override { break_glass: told.overridden(), ..draft };
        if is_dry_run {
            return Ok((self.done(draft, Some(told), true), None));
        }
        if told.forbids().next().is_some() {
            return Err(OverrideRefusal::Broken(Box::new(told)));
        }
        let (said, action) = (draft.told(), draft.action);
        tracing::warn!(id = draft.id.0, until = draft.expires_at.0, "{said}");
        self.overrides.add(draft.clone(), span, self.clock.mono());
        self.impose();
        match action.serves() {
            true => self.release(vec![said]),
            false => self.withdraw(vec![said]),
        }
        Ok(self.kept(draft, Some(told)))
    }

    /// The request with everything in it found; the error is a sentence.
    fn understood(&self, request: OverrideRequest, by: &Actor) -> Result<(Word, Vec<NodeId>), String> {
        let OverrideRequest { action, target, for_s, reason, break_glass, dry_run: _ } = request;
        let (span, reason) = (overrides::span(for_s)?, overrides::reason(&reason)?);
        let target: Target = target.parse()?;
        let policy = &self.inputs.policy;
        let nodes = target.nodes(policy);
        if nodes.is_empty() {
            return Err(target.why_nothing(policy));
        }
        if self.overrides.is_full() {
            return Err(format!("there are {MOST_OVERRIDES} overrides already; cancel some"));
        }
        let held = self.overrides.list();
        if let Some(held) = held.iter().find(|held| (&held.target, held.action) == (&target, action)) {
            let Override { id, owner, .. } = held;
            let done = action.done();
            return Err(format!(
                "{target} is {done} already by {owner}; to have it last longer: `rhumb overrides extend {id} --for ...`"
            ));
        }
        self.names_rules(&break_glass)?;
        let owner = by.name.clone();
        Ok((Word { target, action, owner, reason, span, break_glass }, nodes))
    }

    /// Whether all of these are rules that there are.
    fn names_rules(&self, named: &[String]) -> Result<(), String> {
        let rules = &self.inputs.policy.safety;
        let known = || [CAPACITY, LAST_NODE].into_iter().chain(rules.iter().map(|rule| rule.name.as_str()));
        match named.iter().find(|name| !known().any(|rule| rule == *name)) {
            None => Ok(()),
            Some(name) => {
                let near = did_you_mean(name, known()).map(|near| format!("did you mean `{near}`?"));
                let all = || format!("there are {}", known().collect::<Vec<_>>().join(", "));
                Err(format!("--break-glass: there is no rule `{name}`; {}", near.unwrap_or_else(all)))
            }
        }
    }

    /// What a draft would do now.
    fn preflight(&self, draft: &Override, nodes: &[NodeId]) -> Preflight {
        let before = Arc::new(self.health.view());
        let mut drafted = self.overrides.list();
        drafted.push(draft.clone());
        let mut after = Vec::clone(&before);
        impose(&mut after, &overrides::forces(&drafted, &self.inputs.policy));
        let after = Arc::new(after);
        let (was, now) = (self.inputs.strategy.health(&before), self.inputs.strategy.health(&after));
        let input = self.plan_input(&was, Pass::Evacuation);
        let mut told = preflight::weigh(&input, &PlanInput { health: &now, ..input }, nodes);
        if draft.action.serves() {
            // It takes nothing from anybody.
            told.broken.clear();
        }
        let (policy, at) = (&self.inputs.policy, self.clock.wall());
        let change = Change { policy, before: &before, after: &after, touched: nodes, at };
        told.broken.extend(safety::judge(&policy.safety, &change));
        told.notes = self.notes(draft, nodes, &before, &after);
        told
    }

    fn notes(
        &self,
        draft: &Override,
        nodes: &[NodeId],
        was: &[NodeHealth],
        now: &[NodeHealth],
    ) -> Vec<String> {
        let mut notes = Vec::new();
        if self.health.freeze().is_some() {
            notes.push(
                "the table is frozen: nodes get clients back only when more of the fleet is known".to_owned(),
            );
        }
        for node in nodes {
            let name = &self.inputs.policy.fleet.node(*node).name;
            let (was, now) = (&was[node.index()], &now[node.index()]);
            let other = now.forced.as_ref().filter(|forced| forced.by != draft.id);
            if let Some(other) = other {
                notes.push(format!("{name} stays {} (override {})", other.told(), other.by));
            } else if draft.action.serves() && !was.verdict().may_serve() {
                let why = was.best().map_or("", |best| best.reason.as_str());
                notes.push(format!(
                    "{name} is judged {}: {why}; clients are sent there all the same",
                    was.verdict()
                ));
            } else if let Some(held) = was.forced.as_ref().filter(|held| !held.action.serves()) {
                notes.push(format!("{name} is {} already (override {})", held.told(), held.by));
            } else if !draft.action.serves() && !was.may_serve() {
                notes.push(format!("{name} gets no clients now, as it is judged {}", was.verdict()));
            }
        }
        if notes.len() > MOST_NOTES {
            let more = notes.len() - (MOST_NOTES - 1);
            notes.truncate(MOST_NOTES - 1);
            notes.push(format!("and {more} more like these"));
        }
        notes
    }

    fn extend(&mut self, id: OverrideId, for_s: u64, by: &Actor) -> Answer {
        let span = overrides::span(for_s).map_err(OverrideRefusal::Wrong)?;
        let is_known = self.overrides.find(id).is_some();
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let set = self.overrides.extend(id, span, now, wall).cloned();
        let set =
            set.map_err(
                |why| if is_known { OverrideRefusal::Wrong(why) } else { OverrideRefusal::Unknown(why) },
            )?;
        tracing::warn!(
            id = id.0,
            until = set.expires_at.0,
            "operator {} extended {}",
            by.name,
            described(&set)
        );
        self.impose();
        Ok(self.kept(set, None))
    }

    fn cancel(&mut self, id: OverrideId, reason: Option<String>, by: &Actor) -> Answer {
        let reason =
            reason.map(|text| overrides::reason(&text)).transpose().map_err(OverrideRefusal::Wrong)?;
        let set = self.overrides.cancel(id).map_err(OverrideRefusal::Unknown)?;
        let why = reason.map_or_else(String::new, |why| format!(": {why}"));
        let said = match set.action {
            Action::Drain => format!("operator {} undrained {}{why}", by.name, set.target),
            _ => format!("operator {} cancelled {}{why}", by.name, described(&set)),
        };
        tracing::warn!(id = id.0, "{said}");
        self.let_go(std::slice::from_ref(&set), vec![said]);
        Ok(self.kept(set, None))
    }

    /// Ends what has had its time.
    pub(super) fn pass_overrides(&mut self) {
        let (ended, is_stepped) = self.overrides.pass(self.clock.mono(), self.clock.wall());
        if is_stepped {
            tracing::warn!("the wall clock was stepped: overrides last as long as they were set for");
            self.impose();
        }
        if !ended.is_empty() {
            let said: Vec<String> = ended.iter().map(|set| format!("{} expired", described(set))).collect();
            said.iter().for_each(|said| tracing::warn!("{said}"));
            self.let_go(&ended, said);
        }
        if is_stepped || !ended.is_empty() {
            self.keeper.keep_overrides(self.overrides.to_keep(), |_| {});
        }
        let is_past = |since| self.clock.mono().since(since) > LATELY;
        if self.pending.released_at.is_some_and(is_past) {
            self.forget_released();
        }
    }

    /// Has nodes judged without overrides that ended.
    fn let_go(&mut self, ended: &[Override], said: Vec<String>) {
        self.impose();
        match ended.iter().any(|set| set.action.serves()) {
            // Who was forced up may be down.
            true => self.withdraw(said),
            false => self.release(said),
        }
    }

    /// Moves at once whom a node was taken from, and nobody else.
    fn withdraw(&mut self, said: Vec<String>) {
        self.replan(Pass::Evacuation, Cause::Withdrawal { said });
    }

    /// Nodes may have clients again: whoever has none at all gets some at once, the others with the ramp.
    fn release(&mut self, said: Vec<String>) {
        self.replan(Pass::Evacuation, Cause::Release { said: said.clone() });
        self.pending.released.extend(said);
        self.pending.released_at = Some(self.clock.mono());
    }

    /// The cause of a rebalance that gives nodes back what an override had taken.
    pub(super) fn release_cause(&self) -> Option<Cause> {
        let said = self.pending.released.clone();
        (!said.is_empty()).then_some(Cause::Release { said })
    }

    pub(super) fn forget_released(&mut self) {
        self.pending.released.clear();
        self.pending.released_at = None;
    }

    /// Has verdicts stand beside what operators say now.
    pub(super) fn impose(&mut self) {
        self.health.force(overrides::forces(&self.overrides.list(), &self.inputs.policy));
    }

    fn kept(
        &mut self,
        set: Override,
        preflight: Option<Preflight>,
    ) -> (OverrideDone, Option<oneshot::Receiver<bool>>) {
        let (written, kept) = oneshot::channel();
        self.keeper.keep_overrides(self.overrides.to_keep(), move |is_written| {
            let _ = written.send(is_written);
        });
        // Whoever changes overrides has seen which there are, also after a restart that could not read them.
        self.reporter.set_problems(About::Overrides, Vec::new());
        self.show();
        (self.done(set, preflight, false), Some(kept))
    }

    fn done(&self, set: Override, preflight: Option<Preflight>, is_dry_run: bool) -> OverrideDone {
        let nodes = overrides::names(&set.target.nodes(&self.inputs.policy), &self.inputs.policy.fleet);
        let generation = self.publisher.snapshot().provenance.generation;
        OverrideDone { set: OverrideStatus { set, nodes }, preflight, is_dry_run, generation, is_kept: None }
    }
}

/// `override 3 of alice (drain site/tyo)`.
fn described(set: &Override) -> String {
    format!("override {} of {} ({} {})", set.id, set.owner, set.action, set.target)
}
