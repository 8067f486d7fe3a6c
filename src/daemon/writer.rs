//! The one writer: turns events into verdicts, verdicts into plans, plans into tables.
//!
//! ```text
//!  event ─▶ health ─▶ down? ─▶ (2 ms) ──▶ evacuate ─┐
//!                     else ─▶ wait for the tick ─▶ plan ─▶ compile ─▶ lint ─▶ publish ─▶ keep
//! ```
//!
//! An evacuation does not wait for the tick; it waits [`COALESCE`] so that the nodes of one site,
//! whose probes end within milliseconds of each other, become one table. If it leaves nodes as good as
//! full, others make room for whom it moved right after it, since those clients connect again now and
//! not at the next tick; a further evacuation goes first. The loop reads no clock but the one it was given.

use crate::base::clock::{MonoTime, SharedClock, WallTime};
use crate::base::error::chain;
use crate::control::overrides::Answer;
use crate::daemon::answering::Live;
use crate::daemon::background;
use crate::daemon::client_loads::ClientLoads;
use crate::daemon::counting::Counting;
use crate::daemon::first::FirstTable;
use crate::daemon::foresight::{Foresight, Outlook};
use crate::daemon::inputs::Inputs;
use crate::daemon::keeper::Keeper;
use crate::daemon::overrides::OverrideBook;
use crate::daemon::paths::Paths;
use crate::daemon::portrait;
use crate::daemon::publish::{Outcome, Publisher};
use crate::daemon::pulse::{BEAT, Pulse};
use crate::daemon::report::Reporter;
use crate::daemon::report::Seen;
use crate::daemon::rungs;
use crate::daemon::saved;
use crate::daemon::signing::Signing;
use crate::daemon::troubles::Troubles;
use crate::daemon::trust;
use crate::explain::{self, Explanation};
use crate::health::{HealthModel, Transition};
use crate::journal::{Made, Question};
use crate::latency::PathReport;
use crate::model::actor::Actor;
use crate::model::canary::CanaryBrief;
use crate::model::ids::{Generation, NodeId};
use crate::model::overrides::{OverrideAsk, statuses};
use crate::model::placement::Assignment;
use crate::model::portrait::NodePortrait;
use crate::model::provenance::{Cause, Provenance};
use crate::model::status::{Expiry, Problem};
use crate::model::verdict::{NodeHealth, Scope, Verdict};
use crate::probe::ProbeEvent;
use crate::routing::judge::Movements;
use crate::routing::{self, CompileError, Snapshot, SnapshotInput};
use crate::schedule::{self, Overload, Pass, PlanInput, PlannerMemory};
use crate::store::saved_table::SavedTable;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

mod about;
mod carry;
mod counted;
mod drilled;
mod overriding;
mod settling;
mod situation;

pub use about::About;
pub use carry::{Carried, Ground, carry, is_same_world};
pub use situation::Situation;

/// Pause between a node's failure and the table that evacuates it.
const COALESCE: Duration = Duration::from_millis(1);
/// Events taken before the loop looks at its deadlines again.
const MAX_BURST: usize = 4_096;

/// What the rest of the process may ask of the writer.
pub enum Event {
    /// From the prober of policy `epoch`; others are stale and ignored.
    Probe {
        epoch: u64,
        event: ProbeEvent,
    },
    /// The reply is the epoch whose probes count from now on, or that the inputs were refused and
    /// everything is as before.
    Reload {
        inputs: Box<Inputs>,
        what: String,
        reply: tokio::sync::oneshot::Sender<Result<u64, Refused>>,
    },
    /// Replaces all problems about one subject.
    Problems {
        about: About,
        problems: Vec<Problem>,
    },
    /// What somebody measured, in the ids of policy `epoch`.
    Path {
        epoch: u64,
        report: PathReport,
    },
    /// Replaces all that ends some day, of one subject.
    Expiries {
        about: About,
        expiries: Vec<Expiry>,
    },
    Explain {
        request: explain::Request,
        reply: tokio::sync::oneshot::Sender<Result<Explanation, String>>,
    },
    /// Everything about the node of this name.
    Portray {
        name: String,
        reply: tokio::sync::oneshot::Sender<Result<NodePortrait, String>>,
    },
    /// Sets, extends or cancels an override.
    Override {
        ask: Box<OverrideAsk>,
        by: Actor,
        reply: tokio::sync::oneshot::Sender<Answer>,
    },
    /// Verdicts of these nodes, by name, are this drill's from now on; none: it has let them go.
    Drilled {
        run: u64,
        nodes: Vec<String>,
    },
    /// What it plans on, to be thought about on another thread.
    Situation {
        reply: tokio::sync::oneshot::Sender<Situation>,
    },
    /// How the canary is, to be shown.
    Canary(Box<CanaryBrief>),
    Stop,
    /// A defect, for the tests of what happens then.
    #[cfg(test)]
    Panic,
    /// Another judge of tables, for the tests of what happens when one is refused.
    #[cfg(test)]
    Lint(crate::daemon::publish::Lint),
    /// Another judge of plans, likewise.
    #[cfg(test)]
    Judge(Judge),
}

/// [`routing::judge()`], or what a test puts in its place.
pub type Judge = fn(&routing::judge::Case<'_>) -> routing::judge::Faults;

/// The table of new inputs was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Nodes whose eligibility changed since the last table, each with the clients it did so for.
#[derive(Default)]
struct Pending {
    down: Vec<(NodeId, Option<Scope>)>,
    up: Vec<(NodeId, Option<Scope>)>,
    evacuate_at: Option<MonoTime>,
    /// When others are asked to make room for whom an evacuation moved.
    make_room_at: Option<MonoTime>,
    /// Overrides that ended lately, or force nodes up, until a table gives these clients.
    released: Vec<String>,
    released_at: Option<MonoTime>,
}

impl Pending {
    /// When something is to be done next; `tick` at the latest.
    fn due(&self, tick: MonoTime) -> MonoTime {
        [self.evacuate_at, self.make_room_at].into_iter().flatten().fold(tick, MonoTime::min)
    }
}

/// What a reload replaces, and puts back if its table is refused.
struct World {
    inputs: Inputs,
    epoch: u64,
    health: HealthModel,
    assignment: Arc<Assignment>,
    memory: PlannerMemory,
    paths: Paths,
    counting: Counting,
    /// A whole plan sees to it; a refused one to nothing of it.
    pending: Pending,
}

pub struct Writer {
    clock: SharedClock,
    inputs: Inputs,
    epoch: u64,
    health: HealthModel,
    assignment: Arc<Assignment>,
    memory: PlannerMemory,
    paths: Paths,
    counting: Counting,
    client_loads: ClientLoads,
    planned_load: Vec<u64>,
    over_capacity: Vec<Overload>,
    /// By choice, as plans are judged.
    movements: Movements,
    publisher: Publisher,
    foresight: Foresight,
    keeper: Keeper,
    reporter: Reporter,
    pulse: Pulse,
    pending: Pending,
    overrides: OverrideBook,
    drilled: drilled::Drilled,
    /// Of the probes of this epoch.
    troubles: Troubles,
    /// A verdict changed since the table was last kept.
    verdicts_moved: bool,
    judge: Judge,
}

impl Writer {
    /// Publishes the first table and has it kept.
    pub fn new(
        first: FirstTable,
        clock: SharedClock,
        keeper: Keeper,
        mut reporter: Reporter,
        pulse: Pulse,
    ) -> Self {
        let FirstTable { inputs, health, plan, asked, snapshot, .. } = first;
        let FirstTable { published_before, problem, serials, paths, counting, overrides, .. } = first;
        let signing = Signing::new(Arc::clone(&clock), published_before).with_serials(serials);
        reporter.record(None, &snapshot, counting.shares());
        if let Some(problem) = problem {
            tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
            reporter.set_problems(About::FirstTable, vec![problem]);
        }
        let provenance = snapshot.provenance.clone();
        let made = Made { provenance, asked, plan: plan.clone(), is_held: false };
        let mut writer = Self {
            clock,
            inputs,
            epoch: 0,
            health,
            assignment: Arc::clone(&snapshot.assignment),
            memory: plan.memory,
            paths,
            counting,
            client_loads: ClientLoads::default(),
            planned_load: plan.planned_load,
            over_capacity: plan.over_capacity,
            movements: Movements::default(),
            publisher: Publisher::new(snapshot, signing).with_book(keeper.serial_book()),
            foresight: Foresight::default(),
            keeper,
            reporter,
            pulse,
            pending: Pending::default(),
            overrides,
            drilled: drilled::Drilled::default(),
            troubles: Troubles::default(),
            verdicts_moved: false,
            judge: routing::judge,
        };
        writer.keeper.keep_inputs(writer.inputs.clone());
        writer.keeper.keep_decision(made);
        writer.adopt_zones();
        // Nothing is answered yet, so these serials too are written before they are shown.
        match writer.publisher.serials().changes() {
            0 => writer.keep_table(),
            _ => writer.keeper.keep_table_first(writer.table_to_keep()),
        }
        writer
    }

    pub fn live(&self) -> &Live {
        self.publisher.live()
    }

    /// Runs on a thread of its own. A writer that dies takes nothing with it: DNS goes on from the last
    /// good table, and the pulse tells the admin address.
    pub fn start(self, events: Receiver<Event>) -> std::io::Result<JoinHandle<()>> {
        let pulse = self.pulse.clone();
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            background::let_answers_go_first();
            let run = std::panic::AssertUnwindSafe(|| self.run(&events));
            if std::panic::catch_unwind(run).is_err() {
                tracing::error!(
                    "the writer died: DNS goes on from the last good table, but nothing is planned any \
                     more; restart rhumb, and please report what is above"
                );
            }
            pulse.end();
        })
    }

    /// Runs until [`Event::Stop`] or until every sender is gone, then writes the last good table.
    fn run(mut self, events: &Receiver<Event>) {
        self.show();
        let mut last_tick = self.clock.mono();
        loop {
            self.pulse.beat();
            let due = self.pending.due(self.next_tick(last_tick));
            match events.recv_timeout(due.since(self.clock.mono()).min(BEAT)) {
                Ok(event) => {
                    let mut burst = std::iter::once(event).chain(events.try_iter().take(MAX_BURST));
                    if burst.any(|event| self.take(event)) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.clock.mono();
            if self.pending.evacuate_at.is_some_and(|at| at <= now) {
                self.evacuate();
            } else if self.pending.make_room_at.is_some_and(|at| at <= now) {
                self.make_room();
            }
            if self.next_tick(last_tick) <= now {
                self.tick();
                // From now and not from the grid: after a suspend there is one tick, not a burst.
                last_tick = now;
            }
        }
        self.keep_table();
        if let Some(kept) = self.paths.to_keep(self.clock.mono(), self.clock.wall(), true) {
            self.keeper.keep_latencies(kept);
        }
        self.count(true);
        self.keeper.stop();
    }

    /// By the tick of the policy in force, so that an edit of it takes effect at once.
    fn next_tick(&self, last: MonoTime) -> MonoTime {
        last + self.inputs.policy.server.tick
    }

    /// Returns whether to stop.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Probe { epoch, event } if epoch == self.epoch => self.observe(&event),
            Event::Probe { .. } => {}
            Event::Reload { inputs, what, reply } => {
                let _ = reply.send(self.reload(*inputs, what));
            }
            Event::Problems { about, problems } => {
                self.reporter.set_problems(about, problems);
                self.show();
            }
            Event::Path { epoch, report } if epoch == self.epoch => {
                if let Err(why) = self.paths.report(&report, &self.inputs, self.clock.mono()) {
                    tracing::debug!("a measurement is not taken: {why}");
                }
            }
            Event::Path { .. } => {}
            Event::Expiries { about, expiries } => self.reporter.set_expiries(about, expiries),
            Event::Explain { request, reply } => {
                let _ = reply.send(self.explain(&request));
            }
            Event::Portray { name, reply } => {
                let _ = reply.send(self.portray(&name));
            }
            // Whoever gave up waiting believes that it was not set.
            Event::Override { ask, reply, .. }
                if reply.is_closed() && matches!(*ask, OverrideAsk::Set(_)) => {}
            Event::Override { ask, by, reply } => {
                let _ = reply.send(self.take_word(*ask, &by));
            }
            Event::Drilled { run, nodes } => self.take_drilled(run, nodes),
            Event::Situation { reply } => {
                let _ = reply.send(self.situation());
            }
            Event::Canary(brief) => self.reporter.set_canary(*brief),
            Event::Stop => return true,
            #[cfg(test)]
            Event::Panic => panic!("as a test asked"),
            #[cfg(test)]
            Event::Lint(lint) => self.publisher.set_lint(lint),
            #[cfg(test)]
            Event::Judge(judge) => self.judge = judge,
        }
        false
    }

    fn observe(&mut self, event: &ProbeEvent) {
        let wall = self.clock.wall();
        match event {
            ProbeEvent::Observation(observation) => {
                self.health.apply(observation, wall).iter().for_each(|it| self.note(it));
            }
            ProbeEvent::Load(report) => {
                self.health.apply_load(report, wall);
                self.client_loads.note(report, &self.inputs);
            }
            ProbeEvent::Anchor(report) => self.health.apply_anchor(report),
            ProbeEvent::Trouble(trouble) => {
                self.troubles.note(trouble);
                self.tell_troubles();
            }
        }
    }

    fn log(&self, transition: &Transition) {
        let node = self.inputs.policy.fleet.node(transition.node);
        let scope = transition.scope.as_ref().map_or("everybody".to_owned(), ToString::to_string);
        tracing::info!(
            node = node.name, family = %transition.family, scope, from = %transition.from,
            to = %transition.to, "{}", transition.reason,
        );
    }

    fn note(&mut self, transition: &Transition) {
        self.log(transition);
        self.verdicts_moved = true;
        let subject = (transition.node, transition.scope.clone());
        match transition.to {
            Verdict::Down => {
                self.pending.up.retain(|other| *other != subject);
                self.pending.down.push(subject);
                let at = self.clock.mono() + COALESCE;
                self.pending.evacuate_at.get_or_insert(at);
            }
            _ if transition.from == Verdict::Down => self.pending.up.push(subject),
            _ => {}
        }
    }

    fn evacuate(&mut self) {
        let cause = Cause::Evacuation { nodes: self.names(&self.pending.down) };
        self.pending.down.clear();
        self.pending.evacuate_at = None;
        self.replan(Pass::Evacuation, cause);
    }

    /// The pass after an evacuation that left no room, where it may be made.
    fn make_room(&mut self) {
        self.pending.make_room_at = None;
        if self.health.freeze().is_none() {
            self.rebalance();
        }
    }

    fn tick(&mut self) {
        let transitions = self.health.tick(self.clock.mono(), self.clock.wall());
        for transition in &transitions {
            self.note(transition);
        }
        if self.pending.evacuate_at.is_some() {
            self.evacuate();
        }
        if self.health.first_round_is_complete() {
            self.reporter.set_problems(About::Recovery, Vec::new());
        }
        self.pass_overrides();
        self.tell_trust();
        self.measure();
        self.count(false);
        rungs::turn(&self.publisher.snapshot(), self.clock.mono());
        self.pending.make_room_at = None;
        match self.health.freeze() {
            // Nobody is moved by choice on what is not surely known; who recovered waits.
            Some(_) => self.show(),
            None => self.rebalance(),
        }
        let problems = self.publisher.renew().into_iter().collect();
        self.reporter.set_problems(About::Signing, problems);
        self.reporter.set_expiries(About::Signing, self.publisher.signing().expiries());
        if self.adopt_zones() {
            self.keep_table();
        }
        self.foresee();
        self.publisher.free_retired();
    }

    /// Has the next plan know what was measured since the last.
    fn measure(&mut self) {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        if self.paths.is_due(now) {
            let held = self.paths.draw(&mut self.inputs, &self.health.view(), now);
            self.reporter.set_problems(About::Latencies, held.problems(wall));
        }
        if let Some(kept) = self.paths.to_keep(now, wall, false) {
            self.keeper.keep_latencies(kept);
        }
    }

    fn rebalance(&mut self) {
        let recovery = || Cause::Recovery { nodes: self.names(&self.pending.up) };
        let by_verdict = (!self.pending.up.is_empty()).then(recovery);
        let cause = self.release_cause().or(by_verdict).unwrap_or(Cause::Rebalance);
        self.pending.up.clear();
        let before = self.publisher.snapshot().provenance.generation;
        self.replan(Pass::Full, cause);
        if self.publisher.snapshot().provenance.generation != before {
            self.forget_released();
        }
    }

    fn tell_troubles(&mut self) {
        let problems = self.troubles.problems(&self.inputs.policy.fleet, self.clock.wall());
        self.reporter.set_problems(About::Probes, problems);
    }

    /// Tells who is distrusted and whether the table is frozen.
    fn tell_trust(&mut self) {
        let problems = trust::problems(&self.health, self.clock.wall());
        for problem in problems.iter().filter(|problem| !self.reporter.knows(problem)) {
            tracing::warn!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        self.reporter.set_problems(About::Trust, problems);
        self.tell_kept_in();
    }

    /// Tells whom a safety rule keeps from being withdrawn by choice.
    fn tell_kept_in(&mut self) {
        let at = (self.clock.mono().0 / 1_000, self.clock.wall());
        let kept = rungs::kept_in(&self.health, &self.memory, &self.inputs.policy, at);
        for problem in kept.iter().filter(|problem| !self.reporter.knows(problem)) {
            tracing::warn!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        self.reporter.set_problems(About::KeptIn, kept);
    }

    /// Takes over the serials that were raised in publishing; whether there were any.
    fn adopt_zones(&mut self) -> bool {
        let zones = Arc::clone(&self.publisher.snapshot().zones);
        !Arc::ptr_eq(&std::mem::replace(&mut self.inputs.zones, Arc::clone(&zones)), &zones)
    }

    /// Has what the loss of a node would need signed before a node is lost.
    fn foresee(&mut self) {
        if let Some(done) = self.foresight.take() {
            tracing::debug!(signatures = done.len(), "signed ahead");
            self.publisher.signing().absorb(done);
        }
        let live = self.publisher.snapshot();
        if !self.foresight.is_wanted(&live, self.clock.mono()) {
            return;
        }
        let Some(ahead) = self.publisher.signing().ahead() else { return };
        self.foresight.begin(Outlook {
            inputs: self.inputs.clone(),
            live,
            health: self.health.view(),
            memory: self.memory.clone(),
            demand: Arc::clone(self.counting.shares()),
            now_ms: self.clock.mono().0 / 1_000,
            ahead,
        });
    }

    fn names(&self, nodes: &[(NodeId, Option<Scope>)]) -> Vec<String> {
        let name = |(node, scope): &(NodeId, Option<Scope>)| {
            let name = &self.inputs.policy.fleet.node(*node).name;
            scope.as_ref().map_or_else(|| name.clone(), |scope| format!("{name} for {scope}"))
        };
        let mut names: Vec<String> = nodes.iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Takes up new inputs, or none of them if their table is refused. What they change is told by the
    /// inputs in force here, which are not always those that were read last.
    fn reload(&mut self, mut inputs: Inputs, what: String) -> Result<u64, Refused> {
        inputs.zones = self.publisher.serials().apply(&inputs.policy, &inputs.zones);
        let carried = carry(&self.ground(), inputs, (self.clock.mono(), self.clock.wall()));
        let Carried { inputs, health, assignment, memory, paths, counting, is_new_fleet } = carried;
        let epoch = self.epoch + u64::from(is_new_fleet);
        let former = World {
            inputs: std::mem::replace(&mut self.inputs, inputs),
            epoch: std::mem::replace(&mut self.epoch, epoch),
            health: std::mem::replace(&mut self.health, health),
            assignment: std::mem::replace(&mut self.assignment, assignment),
            memory: std::mem::replace(&mut self.memory, memory),
            paths: std::mem::replace(&mut self.paths, paths),
            counting: std::mem::replace(&mut self.counting, counting),
            pending: std::mem::take(&mut self.pending),
        };
        self.impose();
        if self.replan(Pass::Full, Cause::Reload { what }) {
            self.keeper.keep_inputs(self.inputs.clone());
            if is_new_fleet {
                // The new prober tells its own.
                self.troubles = Troubles::default();
                self.tell_troubles();
            }
            Ok(self.epoch)
        } else {
            let World { inputs, epoch, health, assignment, memory, paths, counting, pending } = former;
            (self.inputs, self.epoch, self.health) = (inputs, epoch, health);
            (self.assignment, self.memory) = (assignment, memory);
            (self.paths, self.counting, self.pending) = (paths, counting, pending);
            self.show();
            Err(Refused)
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            inputs: &self.inputs,
            health: &self.health,
            assignment: &self.assignment,
            memory: &self.memory,
            paths: &self.paths,
            counting: &self.counting,
        }
    }

    /// Plans with what is known now and publishes if that changes an answer. Returns whether the
    /// plan is in force; a refused one leaves everything as it was.
    fn replan(&mut self, pass: Pass, cause: Cause) -> bool {
        let health = Arc::new(match (pass, self.health.freeze()) {
            (Pass::Evacuation, Some(_)) => self.health.view_of_the_seen(),
            _ => self.health.view(),
        });
        let seen = self.inputs.strategy.health(&health);
        let input = self.plan_input(&seen, pass);
        let now_ms = input.now_ms;
        let mut plan = schedule::plan(&input);
        let wall = self.clock.wall();
        let live = self.publisher.snapshot();
        let cause = rungs::cause(cause, &plan.steps, &self.inputs.policy);
        let provenance = provenance(&self.inputs, live.provenance.generation, cause, wall);
        let assignment = Arc::new(plan.assignment.clone());
        let mut moved_ppb = 0;
        let outcome = match compile(&self.inputs, &assignment, health, provenance, Some(&live)) {
            Ok(candidate) => match self.judged(&candidate, &plan.account, now_ms) {
                Ok(by_choice) => {
                    moved_ppb = by_choice;
                    self.publisher.offer(candidate)
                }
                Err(faults) => Outcome::Refused(faults),
            },
            Err(error) => Outcome::Refused(vec![chain(&error)]),
        };
        let accepted = !matches!(outcome, Outcome::Refused(_));
        if accepted {
            let window_ms = self.inputs.planned.planner.budget.window_ms();
            self.movements.note(now_ms, moved_ppb, window_ms);
            self.adopt_zones();
            rungs::log(&plan.steps, &self.inputs.policy);
            let now = match outcome {
                // Not as planned: some services stay where they are.
                Outcome::Held { .. } => Arc::clone(&self.publisher.snapshot().assignment),
                _ => assignment,
            };
            let previous = Some(std::mem::replace(&mut self.assignment, now));
            self.planned_load.clone_from(&plan.planned_load);
            self.over_capacity.clone_from(&plan.over_capacity);
            // Only what is kept is copied: most plans change nothing.
            let memory = match is_new(&outcome) {
                true => plan.memory.clone(),
                false => std::mem::take(&mut plan.memory),
            };
            let memory = std::mem::replace(&mut self.memory, memory);
            if is_new(&outcome) {
                if pass == Pass::Evacuation && plan.is_tight() {
                    self.pending.make_room_at = Some(self.clock.mono());
                }
                let question = Question { health: seen, previous, memory, now_ms, pass };
                let asked = self.inputs.asked(question, self.counting.shares());
                let is_held = matches!(outcome, Outcome::Held { .. });
                let provenance = self.publisher.snapshot().provenance.clone();
                self.keeper.keep_decision(Made { provenance, asked, plan, is_held });
            }
        }
        let cut = rungs::problems(&self.memory, &self.inputs.policy, wall);
        self.reporter.set_problems(About::Circuits, cut);
        self.settle(&outcome, &live);
        self.show();
        accepted
    }

    fn plan_input<'a>(&'a self, health: &'a [NodeHealth], pass: Pass) -> PlanInput<'a> {
        PlanInput {
            policy: &self.inputs.planned,
            groups: self.inputs.geo.groups(),
            latencies: &self.inputs.latencies,
            health,
            previous: Some(&self.assignment),
            memory: &self.memory,
            demand: Some(self.counting.shares()),
            now_ms: self.clock.mono().0 / 1_000,
            pass,
        }
    }

    fn explain(&self, request: &explain::Request) -> Result<Explanation, String> {
        let snapshot = self.publisher.snapshot();
        let health = self.inputs.strategy.health(&Arc::new(self.health.view()));
        let plan = self.plan_input(&health, Pass::Full);
        let mut told = explain::explain(&snapshot, &plan, request, self.clock.mono())?;
        if let Some(steering) = &mut told.steering {
            steering.demand = self.counting.told(&steering.plan.service, &steering.group);
            if let (Some(_), Some(held)) = (self.health.freeze(), &mut steering.plan.held_back) {
                held.freeze();
            }
        }
        Ok(told)
    }

    fn portray(&self, name: &str) -> Result<NodePortrait, String> {
        let subject = portrait::Subject {
            inputs: &self.inputs,
            health: &self.health,
            assignment: &self.assignment,
            planned_load: &self.planned_load,
            generation: self.publisher.snapshot().provenance.generation,
        };
        subject.portray(name, self.clock.mono(), self.clock.wall())
    }

    fn keep_table(&self) {
        self.keeper.keep_table(self.table_to_keep());
    }

    fn table_to_keep(&self) -> SavedTable {
        let snapshot = self.publisher.snapshot();
        let groups = self.inputs.geo.groups();
        let health = self.health.transfer();
        let saved = saved::save(&snapshot.provenance, &self.inputs.policy, groups, &self.assignment, health);
        SavedTable { serials: self.publisher.serials().to_keep(), ..saved }
    }

    fn show(&mut self) {
        let health = self.health.view();
        let vantages = trust::statuses(&self.health, &self.inputs.policy.fleet, &self.troubles);
        let demand = self.counting.shown();
        let (planned_load, memory) = (&self.planned_load, &self.memory);
        let overrides = statuses(&self.overrides.list(), &self.inputs.policy);
        let drilled = self.drilled.names();
        let (over_capacity, is_frozen) = (&self.over_capacity[..], self.health.freeze().is_some());
        let seen = Seen {
            nodes: &health,
            vantages,
            planned_load,
            memory,
            demand,
            over_capacity,
            is_frozen,
            overrides,
            drilled,
        };
        self.reporter.show(&self.publisher.snapshot(), seen, self.clock.wall());
    }
}

/// Whether there is a new generation.
fn is_new(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Published | Outcome::Held { is_published: true, .. })
}

/// Of a table after `parent`.
pub fn provenance(inputs: &Inputs, parent: Generation, cause: Cause, wall: WallTime) -> Provenance {
    Provenance {
        generation: Generation(parent.0 + 1),
        parent,
        published_at: wall,
        cause,
        policy: inputs.policy.revision.clone(),
        geo: inputs.geo.revision().clone(),
    }
}

/// The table of an assignment.
///
/// # Errors
/// They do not fit together.
pub fn compile(
    inputs: &Inputs,
    assignment: &Arc<Assignment>,
    health: Arc<Vec<NodeHealth>>,
    provenance: Provenance,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, CompileError> {
    routing::compile(SnapshotInput {
        provenance,
        policy: Arc::clone(&inputs.policy),
        zones: Arc::clone(&inputs.zones),
        geo: Arc::clone(&inputs.geo),
        assignment: Arc::clone(assignment),
        health,
        previous,
    })
}
