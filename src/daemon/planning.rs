//! What other policy files would do to what is live, worked out as the writer would do it.
//!
//! ```text
//!  files ─▶ checked, lowered ─┐
//!  writer ─▶ Situation ───────┴─▶ carried over ─▶ full passes until it settles ─▶ table ─▶ judged, linted
//!                 └─▶ as it is ──────────────────────────────────────────────────────┴─▶ Planned
//! ```
//! Nothing of it runs on the writer's thread but taking the situation. Where the edit leaves the planner's world as it
//! is (zones, alerts, settings) nothing is planned: whoever moves then would have moved anyway.

use crate::base::clock::SharedClock;
use crate::base::diagnostic::{Diagnostic, SourceFile};
use crate::base::error::chain;
use crate::control::plan::{AskPlan, PlanError, Planned, Recovery, Thinking};
use crate::control::policies::Refused;
use crate::daemon::background;
use crate::daemon::first::FirstTable;
use crate::daemon::inputs::{self, Inputs, Refusal};
use crate::daemon::policies;
use crate::daemon::writer::{self, Carried, Event, Situation, is_same_world};
use crate::forecast::{self, Forecast, Settled, Side};
use crate::model::account::Account;
use crate::model::ids::NodeId;
use crate::model::placement::Assignment;
use crate::model::planner::ChangeBudget;
use crate::model::policy::Policy;
use crate::model::preflight::BrokenRule;
use crate::model::provenance::Cause;
use crate::model::readiness::LossOutcome;
use crate::model::safety::{self, Change, SafetyRule};
use crate::model::verdict::NodeHealth;
use crate::policy::recovery;
use crate::readiness;
use crate::routing::{self, judge::Case, judge::Movements};
use crate::schedule::{self, Pass, PlanInput, PlannerMemory};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::{Semaphore, oneshot};

/// Losses that a plan looks at; of more `rhumb readiness` tells.
const MOST_LOSSES: usize = 300;
/// Plans worked out at a time: each is the work of many ticks.
const AT_ONCE: usize = 1;

/// Takes the situation from the writer; `None`: it is gone.
pub async fn situation(events: &SyncSender<Event>) -> Option<Situation> {
    let (reply, answer) = oneshot::channel();
    let sender = events.clone();
    let sent = tokio::task::spawn_blocking(move || sender.send(Event::Situation { reply })).await;
    sent.ok()?.ok()?;
    answer.await.ok()
}

/// Answers questions about files meant for `folder`.
pub fn thinker(events: &SyncSender<Event>, folder: &Path) -> AskPlan {
    let (events, folder) = (events.clone(), folder.to_owned());
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    Arc::new(move |files| -> Thinking {
        let (events, folder, permits) = (events.clone(), folder.clone(), Arc::clone(&permits));
        Box::pin(async move {
            let _permit = permits.try_acquire_owned().map_err(|_| PlanError::Busy)?;
            let situation = situation(&events).await.ok_or(PlanError::Stopping)?;
            let thought =
                tokio::task::spawn_blocking(move || think(&situation, &folder, files, Reach::Losses));
            Ok(thought.await.map_err(|_| PlanError::Stopping)??)
        })
    })
}

/// What files meant for `folder` would do.
///
/// # Errors
/// They are not for use, as an apply would find.
pub fn think(
    situation: &Situation,
    folder: &Path,
    files: Vec<SourceFile>,
    reach: Reach,
) -> Result<Planned, Refused> {
    background::let_answers_go_first();
    let now = situation.at.1;
    let (newer, warnings) =
        inputs::propose(folder, &situation.inputs, files, now).map_err(|why| not_for_use(&why))?;
    let planned = weigh(situation, newer, reach).map_err(Refused::Files)?;
    Ok(Planned { warnings, ..planned })
}

/// How far to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As far as guardrails need.
    Moves,
    /// What would become of every single loss, too.
    Losses,
}

pub fn not_for_use(why: &Refusal) -> Refused {
    match why {
        Refusal::Mistakes { diagnostics, .. } => {
            let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|it| it.is_error()).collect();
            let first =
                errors.first().map_or_else(String::new, |it| format!("{}: {}", it.place(), it.message));
            Refused::Mistakes { count: errors.len(), first }
        }
        other => Refused::Files(other.sentence()),
    }
}

/// What inputs would do; the error says why no table can be made of them.
pub fn weigh(situation: &Situation, newer: Inputs, reach: Reach) -> Result<Planned, String> {
    let is_same =
        is_same_world(&situation.inputs, &newer) && situation.inputs.policy.planner == newer.policy.planner;
    let was = schedule::plan(&PlanInput { pass: Pass::Evacuation, ..situation.asked.input() });
    let changed = policies::changes(&situation.inputs.sources, &newer.sources);
    let carried = situation.carried_to(newer);
    let ending = match is_same {
        true => Ending::where_it_is(situation, &carried, &was.account),
        false => Ending::of(situation, &carried),
    };
    let inputs = &carried.inputs;
    let worst =
        (reach == Reach::Losses && !changed.is_empty()).then(|| ending.worst_loss(&carried)).flatten();
    let Ending { assignment, account, settles_s, .. } = ending;
    let cause = Cause::Reload { what: "what is planned".to_owned() };
    let provenance = writer::provenance(inputs, situation.table.generation, cause, situation.at.1);
    let health = Arc::new(carried.health.view());
    let after = writer::compile(inputs, &assignment, health, provenance, Some(&situation.live))
        .map_err(|error| chain(&error))?;
    let faults = faults(&carried, &after, &account, &situation.live);
    let before =
        Side { table: &situation.live, latencies: &situation.asked.latencies, account: &was.account };
    let side = Side { table: &after, latencies: &inputs.latencies, account: &account };
    let forecast = Forecast::of(&before, &side, settles_s);
    let (old, new) = (&situation.inputs.policy, &inputs.policy);
    let broken = if changed.is_empty() { Vec::new() } else { broken(situation, &forecast) };
    Ok(Planned {
        base: old.revision.clone(),
        generation: situation.table.generation,
        at: situation.at.1,
        revision: new.revision.clone(),
        changed,
        edits: forecast::edits(old, new),
        recovery: recoveries(old, new),
        worst,
        broken,
        faults,
        notes: notes(situation, (is_same, &new.planner.budget), &forecast),
        forecast,
        warnings: 0,
    })
}

/// Where the planner ends.
struct Ending {
    assignment: Arc<Assignment>,
    account: Account,
    memory: PlannerMemory,
    health: Vec<NodeHealth>,
    now_ms: u64,
    settles_s: Option<u32>,
}

impl Ending {
    fn where_it_is(situation: &Situation, carried: &Carried, account: &Account) -> Self {
        let asked = &situation.asked.question;
        Self {
            assignment: Arc::clone(&carried.assignment),
            account: account.clone(),
            memory: carried.memory.clone(),
            health: asked.health.to_vec(),
            now_ms: asked.now_ms,
            settles_s: Some(0),
        }
    }

    fn of(situation: &Situation, carried: &Carried) -> Self {
        let seen = carried.inputs.strategy.health(&Arc::new(carried.health.view()));
        let now_ms = situation.asked.question.now_ms;
        let settled = forecast::settle(&input(carried, &carried.assignment, &carried.memory, &seen, now_ms));
        let Settled { plan, after_s, health, now_ms } = settled;
        let (account, memory) = (plan.account, plan.memory);
        Self { assignment: Arc::new(plan.assignment), account, memory, health, now_ms, settles_s: after_s }
    }

    /// What becomes of the worst single loss from here; `None`: there are too many to look at.
    fn worst_loss(&self, carried: &Carried) -> Option<LossOutcome> {
        let losses = readiness::singles(&carried.inputs.planned, &self.health).len();
        let input = || input(carried, &self.assignment, &self.memory, &self.health, self.now_ms);
        (losses <= MOST_LOSSES).then(|| readiness::worst_single_loss(&input())).flatten()
    }
}

fn input<'a>(
    carried: &'a Carried,
    previous: &'a Assignment,
    memory: &'a PlannerMemory,
    health: &'a [NodeHealth],
    now_ms: u64,
) -> PlanInput<'a> {
    PlanInput {
        policy: &carried.inputs.planned,
        groups: carried.inputs.geo.groups(),
        latencies: &carried.inputs.latencies,
        health,
        previous: Some(previous),
        memory,
        demand: Some(carried.counting.shares()),
        now_ms,
        pass: Pass::Full,
    }
}

/// Why the writer would not publish it.
fn faults(
    carried: &Carried,
    after: &routing::Snapshot,
    account: &Account,
    live: &routing::Snapshot,
) -> Vec<String> {
    let said = routing::judge(&Case {
        policy: &carried.inputs.planned,
        groups: carried.inputs.geo.groups(),
        reach: after.reach(),
        cause: &after.provenance.cause,
        before: Some(&carried.assignment),
        plan: &after.assignment,
        account,
        // The first plan of an edit is the operator's choice.
        movements: &Movements::default(),
        now_ms: 0,
    });
    said.answers.into_iter().chain(routing::findings(after, Some(live)).sentences()).collect()
}

/// Guardrails of the policy in force, and its rules about when things are done.
fn broken(situation: &Situation, forecast: &Forecast) -> Vec<BrokenRule> {
    let policy = &situation.inputs.policy;
    let mut broken = forecast::judge(&policy.guardrails, forecast);
    let rules: Vec<SafetyRule> = policy.safety.iter().filter(|rule| rule.is_of_time()).cloned().collect();
    let health = situation.health.view();
    let touched = touched(policy, forecast);
    let at = situation.at.1;
    let change = Change { policy, before: &health, after: &health, touched: &touched, at };
    broken.extend(safety::judge(&rules, &change));
    broken
}

/// Nodes in force that would carry something else.
fn touched(policy: &Policy, forecast: &Forecast) -> Vec<NodeId> {
    let of_nodes = forecast.differences.iter().filter(|it| it.of == forecast::Kind::Node);
    of_nodes.filter_map(|it| policy.fleet.node_named(&it.name)).collect()
}

/// Whether edits are to be thought through before they are taken up.
pub fn has_limits(policy: &Policy) -> bool {
    !policy.guardrails.is_empty() || policy.safety.iter().any(SafetyRule::is_of_time)
}

fn recoveries(old: &Policy, new: &Policy) -> Vec<Recovery> {
    let slowest = |policy: &Policy, name: &str| {
        let service = policy.services.iter().find(|service| service.name == name)?;
        Some(recovery::slowest(service, &policy.fleet)?.total.as_secs_f64())
    };
    let told = |service: &crate::model::service::Service| Recovery {
        service: service.name.clone(),
        tier: service.tier.name.clone(),
        limit_s: service.tier.limit.as_secs_f64(),
        before_s: slowest(old, &service.name),
        after_s: slowest(new, &service.name),
    };
    new.services.iter().map(told).collect()
}

fn notes(
    situation: &Situation,
    (is_same_world, budget): (bool, &ChangeBudget),
    forecast: &Forecast,
) -> Vec<String> {
    let mut notes = Vec::new();
    if situation.health.freeze().is_some() {
        notes.push(
            "the table is frozen: an edit is taken up, but nobody is moved by choice after it".to_owned(),
        );
    }
    match forecast.settles_s {
        Some(0) => {}
        Some(seconds) => notes.push(format!(
            "by hysteresis and change budget ({} % of demand in {} s) it takes about {seconds} s until the last of them move",
            budget.share.percent(),
            budget.window.as_secs_f64()
        )),
        None => notes.push(format!(
            "after {} s of ticks clients would still be moving; what is told here is as of then",
            forecast::HORIZON_S
        )),
    }
    if is_same_world {
        notes.push("nothing that clients are placed by changes".to_owned());
    }
    notes
}

impl Situation {
    /// As a start with this table would find it.
    pub fn of_first(first: FirstTable, clock: &SharedClock) -> Self {
        let FirstTable { inputs, health, plan, mut asked, snapshot, paths, counting, overrides, .. } = first;
        asked.question.previous = Some(Arc::new(plan.assignment));
        asked.question.memory = plan.memory;
        asked.question.pass = Pass::Full;
        Self {
            table: snapshot.provenance.clone(),
            live: Arc::new(snapshot),
            inputs,
            asked,
            health,
            paths,
            counting,
            overrides: overrides.list(),
            at: (clock.mono(), clock.wall()),
        }
    }
}
