//! Drills, as the daemon runs them: at most one at a time, each restored whatever happens.
//!
//! ```text
//!  admin address ─▶ desk ─▶ forecast ─▶ rules ─▶ record ─▶ run ─┬▶ overrides, programs ─▶ writer ─▶ table
//!                    │                                          ├▶ observer ─▶ real DNS ─▶ judged
//!                    └─ abort, stop ────────────────────────────┴▶ report ─▶ history
//!  start ─▶ record that is open, override that is left: taken back, and said so
//! ```
//! | file | holds |
//! |---|---|
//! | `forecast` | what it would do, and what forbids it |
//! | `run` | one under way |
//! | `observer` | asks for a thousand clients, and judges the answers |
//! | `deeds` | what is done to the fleet, and how it is taken back |
//! | `hook` | programs that break and heal |
//! | `facts` | what the guardrails are about |
//! | `former` | what a former run left, taken back |
//! | `records` | reports in the history |
//!
//! What is pure of it (course, judgement, measures) is in [`crate::drill`].

mod deeds;
mod facts;
mod forecast;
mod former;
mod hook;
mod observer;
mod records;
mod run;

use crate::base::clock::SharedClock;
use crate::base::diagnostic::did_you_mean;
use crate::base::hash::mix_pair;
use crate::control::drills::{Ask, Drills as Wishes, Refused, RunId, Wish};
use crate::daemon::answering::Live;
use crate::daemon::drills::facts::Former;
use crate::daemon::drills::forecast::Forecast;
use crate::daemon::drills::former::take_back;
use crate::daemon::drills::observer::{Round, reachable};
use crate::daemon::drills::run::{Beginning, Run};
use crate::daemon::writer::{Event, Situation};
use crate::drill::machine::{Ending, Phase};
use crate::drill::report::{FORMAT, Report, Sample, Summary, Tier, Traces};
use crate::drill::script::Script;
use crate::history::Shelf;
use crate::model::actor::Actor;
use crate::model::drill::{Drill, Fault};
use crate::model::overrides::{LONGEST_REASON, names};
use crate::model::policy::Policy;
use crate::model::preflight::BrokenRule;
use crate::model::status::Status;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Wishes that may wait for their turn.
const WAITING: usize = 32;
/// Runs in one answer.
const MOST_LISTED: usize = 1_000;
/// Longest that an abort waits for the restoration before it answers.
const ABORT_WAIT: Duration = Duration::from_secs(10);
/// Longest that a stop of the daemon waits for it.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// What drills need of the daemon.
#[derive(Clone)]
pub struct Setting {
    pub live: Live,
    pub status: watch::Receiver<Option<Arc<Status>>>,
    pub clock: SharedClock,
    pub events: SyncSender<Event>,
    pub shelf: Arc<Shelf>,
    /// Working folder of programs.
    pub policies: PathBuf,
    /// Where DNS is answered over UDP, if it is.
    pub dns: Option<SocketAddr>,
}

/// The desk, at work.
pub struct Drills {
    asks: mpsc::Sender<Ask>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drills {
    pub fn start(setting: Setting) -> Self {
        let (asks, wishes) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(false);
        let desk = Desk { setting, wishes, stopped, running: None };
        Self { asks, stop, task: tokio::spawn(desk.run()) }
    }

    /// For the routes.
    pub fn wishes(&self) -> Wishes {
        Wishes { asks: self.asks.clone() }
    }

    /// Ends a drill that runs, and waits for its restoration.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_WAIT, self.task).await.is_err() {
            tracing::error!("a drill could not be restored in time; the next start does it");
        }
    }
}

struct Desk {
    setting: Setting,
    wishes: mpsc::Receiver<Ask>,
    stopped: watch::Receiver<bool>,
    running: Option<Running>,
}

/// What the desk turns to.
enum Turn {
    /// None: nobody can wish any more.
    Wish(Option<Ask>),
    Ended {
        is_well: bool,
    },
    Stop,
}

/// A run, as the desk sees it.
struct Running {
    id: u64,
    orders: watch::Sender<Option<Ending>>,
    shown: watch::Receiver<Arc<Report>>,
    task: JoinHandle<()>,
}

impl Desk {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = take_back(&self.setting) => {}
            _ = stopped.changed() => return,
        }
        loop {
            let turn = tokio::select! {
                ask = self.wishes.recv() => Turn::Wish(ask),
                is_well = ended(&mut self.running) => Turn::Ended { is_well },
                _ = stopped.changed() => Turn::Stop,
            };
            match turn {
                Turn::Wish(Some(ask)) => self.answer(ask).await,
                Turn::Ended { is_well } => {
                    self.running = None;
                    if !is_well {
                        tracing::error!("a drill died; please report it. What it left is taken back");
                        take_back(&self.setting).await;
                    }
                }
                Turn::Wish(None) | Turn::Stop => break,
            }
        }
        if let Some(running) = self.running {
            running.orders.send_replace(Some(Ending::Stopped));
            let _ = running.task.await;
        }
    }

    async fn answer(&mut self, Ask { wish, reply }: Ask) {
        let setting = self.setting.clone();
        let current = self.running.as_ref().map(|running| (running.id, running.shown.clone()));
        match wish {
            Wish::List { most } => {
                tokio::spawn(async move { reply.send(list(&setting, most, current).await) });
            }
            Wish::Plan { name } => {
                tokio::spawn(async move { reply.send(plan(&setting, &name).await) });
            }
            Wish::Show { id } => {
                tokio::spawn(async move { reply.send(show(&setting, id, current).await) });
            }
            Wish::Start { name, break_glass, by } => {
                let _ = reply.send(self.begin(&name, break_glass, by).await);
            }
            Wish::Abort { id, why, by } => self.abort(id, why, by, reply),
        }
    }

    async fn begin(&mut self, name: &str, break_glass: Vec<String>, by: Actor) -> Result<Value, Refused> {
        if let Some(running) = &self.running {
            let told = running.shown.borrow().clone();
            return Err(Refused::Against(
                format!(
                    "drill {} ({}) is running, begun by {}; wait for its end, or `rhumb drill abort`",
                    running.id, told.name, told.by
                ),
                None,
            ));
        }
        let server = self.setting.dns.ok_or_else(|| {
            Refused::Wrong("this rhumb answers no DNS over UDP, so nobody could be asked for".to_owned())
        })?;
        let prepared = prepare(&self.setting, name, break_glass, &by).await?;
        let Prepared { mut beginning, against } = prepared;
        if !against.is_empty() {
            let told = |it: &BrokenRule| format!("rule `{}`: {}", it.rule, it.why);
            let rules: Vec<String> = against.iter().map(told).collect();
            return Err(Refused::Against(rules.join("; "), Some(Box::new(json!(beginning.report)))));
        }
        let without = |why| Refused::NotNow(format!("{why}; without a record no drill is begun"));
        let id = self.setting.begin_record(&beginning.report).await.map_err(without)?;
        let report = &mut beginning.report;
        report.id = id;
        let told = report.title.as_deref().map_or(String::new(), |title| format!(": {title}"));
        report.traces.reason = cut(&format!("drill {id}{told}"));
        self.setting.rewrite_record(report).await.map_err(without)?;
        tracing::warn!(id, "{} begins the drill {}", by.name, report.name);
        let (orders, ordered) = watch::channel(None);
        let (show, shown) = watch::channel(Arc::new(report.clone()));
        let run = Run::new(&self.setting, beginning, reachable(server), ordered, show);
        self.running = Some(Running { id, orders, shown, task: tokio::spawn(run.go()) });
        Ok(json!({ "id": id }))
    }

    fn abort(
        &self,
        id: RunId,
        why: Option<String>,
        by: Actor,
        reply: oneshot::Sender<Result<Value, Refused>>,
    ) {
        let matches = |running: &&Running| id == RunId::Current || id == RunId::Number(running.id);
        let Some(running) = self.running.as_ref().filter(matches) else {
            let why = match (id, &self.running) {
                (RunId::Number(id), Some(running)) => {
                    format!("drill {id} is not running: drill {} is", running.id)
                }
                (RunId::Number(id), None) => format!("drill {id} is not running: none is"),
                (RunId::Current, _) => "no drill is running".to_owned(),
            };
            let _ = reply.send(Err(Refused::Unknown(why)));
            return;
        };
        running.orders.send_if_modified(|order| {
            let is_first = order.is_none();
            order.get_or_insert(Ending::Aborted { by: by.name, why });
            is_first
        });
        let mut shown = running.shown.clone();
        tokio::spawn(async move {
            let restored = shown.wait_for(|report| report.traces.is_restored);
            let _ = tokio::time::timeout(ABORT_WAIT, restored).await;
            let report = shown.borrow().clone();
            let _ = reply.send(Ok(json!({ "id": report.id, "is_restored": report.traces.is_restored })));
        });
    }
}

/// Whether the run ended as it should; forever while there is none.
async fn ended(running: &mut Option<Running>) -> bool {
    match running {
        Some(running) => (&mut running.task).await.is_ok(),
        None => std::future::pending().await,
    }
}

/// The longest beginning of a text that a reason of an override may have.
fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

type Current = Option<(u64, watch::Receiver<Arc<Report>>)>;

async fn list(setting: &Setting, most: usize, current: Current) -> Result<Value, Refused> {
    let runs = setting.summaries(most.min(MOST_LISTED)).await.map_err(Refused::NotNow)?;
    let live: Option<Summary> = current.map(|(_, shown)| shown.borrow().summary());
    let newer = |run: Summary| live.clone().filter(|live| live.id == run.id).unwrap_or(run);
    let runs: Vec<Summary> = runs.into_iter().map(newer).collect();
    let policy = Arc::clone(&setting.live.load().policy);
    let told = |drill: &Drill| {
        json!({
            "name": drill.name,
            "title": drill.title,
            "fault": drill.fault.name(),
            "targets": drill.targets,
            "hold_s": drill.hold.as_secs(),
            "tier": drill.tier.name,
        })
    };
    let drills: Vec<Value> = policy.drills.iter().map(told).collect();
    Ok(json!({ "drills": drills, "runs": runs, "running": live.map(|live| live.id) }))
}

async fn show(setting: &Setting, id: RunId, current: Current) -> Result<Value, Refused> {
    let wanted = |own: u64| id == RunId::Current || id == RunId::Number(own);
    if let Some((_, shown)) = current.filter(|(own, _)| wanted(*own)) {
        return Ok(json!(**shown.borrow()));
    }
    let RunId::Number(id) = id else {
        return Err(Refused::Unknown(
            "no drill is running; `rhumb drill list` shows what was run".to_owned(),
        ));
    };
    match setting.find_report(id).await.map_err(Refused::NotNow)? {
        Some(report) => Ok(json!(report)),
        None => {
            Err(Refused::Unknown(format!("there is no drill {id}; `rhumb drill list` shows what was run")))
        }
    }
}

async fn plan(setting: &Setting, name: &str) -> Result<Value, Refused> {
    let nobody = Actor { name: String::new(), role: crate::model::actor::Role::Viewer };
    let prepared = prepare(setting, name, Vec::new(), &nobody).await?;
    Ok(json!(prepared.beginning.report))
}

struct Prepared {
    beginning: Beginning,
    /// Rules that forbid it.
    against: Vec<BrokenRule>,
}

/// All that has to be known before a drill is begun; nothing is done.
async fn prepare(
    setting: &Setting,
    name: &str,
    break_glass: Vec<String>,
    by: &Actor,
) -> Result<Prepared, Refused> {
    let situation = situation(setting).await.map_err(Refused::NotNow)?;
    let policy = Arc::clone(&situation.inputs.policy);
    let drill = find(&policy, name)?;
    forecast::names_rules(&policy, &break_glass).map_err(Refused::Wrong)?;
    let (status, at, by) = (setting.status.borrow().clone(), setting.clock.wall(), by.name.clone());
    let worked_out = tokio::task::spawn_blocking(move || {
        let told = forecast::forecast(&situation, &drill, status.as_deref(), at, &break_glass);
        let nodes = drill.nodes(&policy);
        let services = Drill::services(&policy, &nodes);
        // Another sample each time, which its report tells.
        let seed = mix_pair(at.0, crate::base::hash::stable_hash(drill.name.as_bytes()));
        let round =
            Round::draw(&policy, &situation.inputs.geo, &told.account, &services, (seed, drill.clients));
        let against: Vec<BrokenRule> = told.preflight.forbids().cloned().collect();
        let former = Former::of(status.as_deref(), (told.standing.clone(), told.account.base.clone()), nodes);
        let mut report = report_of(&drill, &policy, told, &round, seed);
        (report.by, report.began_at) = (by, at);
        report.traces.owner = format!("{}{} by {}", deeds::OWNER, drill.name, report.by);
        let beginning = Beginning { drill, policy, services, former, round, report };
        Prepared { beginning, against }
    });
    worked_out.await.map_err(|_| Refused::NotNow("the daemon is stopping".to_owned()))
}

fn find(policy: &Policy, name: &str) -> Result<Drill, Refused> {
    let names = || policy.drills.iter().map(|drill| drill.name.as_str());
    policy.drills.iter().find(|drill| drill.name == name).cloned().ok_or_else(|| {
        let help = match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if policy.drills.is_empty() => "write one in drills/ of the policy folder".to_owned(),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Refused::Unknown(format!("no drill in force is called `{name}`; {help}"))
    })
}

fn report_of(drill: &Drill, policy: &Policy, told: Forecast, round: &Round, seed: u64) -> Report {
    let nodes = drill.nodes(policy);
    let services = Drill::services(policy, &nodes);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let heal = match &drill.fault {
        Fault::Withdraw(_) => (Vec::new(), 0),
        Fault::Hook(hook) => (hook.heal.clone(), millis(hook.timeout)),
    };
    let mut observed = crate::drill::report::Measures::default();
    (observed.before, observed.during) = (told.predicted.before, told.predicted.before);
    Report {
        format: FORMAT,
        name: drill.name.clone(),
        title: drill.title.clone(),
        runbook: drill.runbook.clone(),
        break_glass: told.preflight.overridden(),
        fault: drill.fault.name().to_owned(),
        targets: drill.targets.iter().map(ToString::to_string).collect(),
        nodes: names(&nodes, &policy.fleet),
        services: services.iter().map(|id| policy.service(*id).name.clone()).collect(),
        revision: policy.revision.to_string(),
        phase: Phase::Planned.name().to_owned(),
        planned_ms: millis(Script::of(drill).total()),
        tier: Tier { name: drill.tier.name.clone(), limit_s: drill.tier.limit.as_secs() },
        traces: Traces { heal: heal.0, heal_timeout_ms: heal.1, ..Traces::default() },
        sample: Sample {
            seed,
            clients: round.clients,
            groups: round.groups,
            pairs: u32::try_from(round.pairs.len()).unwrap_or(u32::MAX),
            round_ms: millis(round.lasts()),
        },
        predicted: told.predicted,
        observed,
        survivors: told.survivors,
        ways: told.ways,
        preflight: Some(told.preflight),
        ..Report::default()
    }
}

async fn situation(setting: &Setting) -> Result<Situation, String> {
    let (reply, answer) = oneshot::channel();
    if setting.events.try_send(Event::Situation { reply }).is_err() {
        return Err("the writer's queue is full; ask again".to_owned());
    }
    answer.await.map_err(|_| "the writer has ended: see `rhumb status`".to_owned())
}
