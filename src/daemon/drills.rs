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
//! | `prepare` | all that has to be known before one is begun |
//! | `dates` | dates that come by themselves |
//! | `telling` | what is told of them |
//! | `deeds` | what is done to the fleet, and how it is taken back |
//! | `hook` | programs that break and heal |
//! | `facts` | what the guardrails are about |
//! | `former` | what a former run left, taken back |
//! | `unrestored` | what could not be taken back: tried on, and told |
//! | `records` | reports in the history |
//!
//! What is pure of it (course, judgement, measures) is in [`crate::drill`].

mod dates;
mod deeds;
mod facts;
mod forecast;
mod former;
mod hook;
mod observer;
mod prepare;
mod records;
mod run;
mod telling;
mod unrestored;

pub use records::KIND;

use crate::audit::AuditLog;
use crate::base::clock::{SharedClock, WallTime};
use crate::control::drills::{Ask, Drills as Wishes, Refused, RunId, Wish};
use crate::daemon::answering::Live;
use crate::daemon::drills::dates::Dates;
use crate::daemon::drills::former::Known;
use crate::daemon::drills::observer::reachable;
use crate::daemon::drills::prepare::{Prepared, prepare};
use crate::daemon::drills::run::Run;
use crate::daemon::writer::Event;
use crate::drill::machine::{Ending, Phase};
use crate::drill::report::Report;
use crate::history::Shelf;
use crate::model::actor::Actor;
use crate::model::incident::Incident;
use crate::model::overrides::LONGEST_REASON;
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
use tokio::time::Instant;

/// Wishes that may wait for their turn.
const WAITING: usize = 32;
/// Longest that an abort waits for the restoration before it answers.
const ABORT_WAIT: Duration = Duration::from_secs(10);
/// Longest that a stop of the daemon waits for it.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at the calendar.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a start, before the first of them: verdicts are this process's own by then, and incidents are recalled.
const SETTLE: Duration = Duration::from_secs(10);

/// What drills need of the daemon.
#[derive(Clone)]
pub struct Setting {
    pub live: Live,
    pub status: watch::Receiver<Option<Arc<Status>>>,
    /// That are not over.
    pub incidents: watch::Receiver<Arc<Vec<Incident>>>,
    pub clock: SharedClock,
    pub events: SyncSender<Event>,
    pub shelf: Arc<Shelf>,
    pub audit: Arc<AuditLog>,
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
        let (unrestored, found) = mpsc::channel(WAITING);
        tokio::spawn(unrestored::keep(setting.clone(), found));
        let desk = Desk {
            setting,
            wishes,
            stopped,
            running: None,
            dates: Dates::default(),
            is_settled: false,
            former: Known::default(),
            unrestored,
        };
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
    dates: Dates,
    /// The first look is due: until then no date is begun by itself.
    is_settled: bool,
    former: Known,
    /// Takes over what could not be restored.
    unrestored: mpsc::Sender<Report>,
}

/// What the desk turns to.
enum Turn {
    /// None: nobody can wish any more.
    Wish(Option<Ask>),
    Ended {
        is_well: bool,
    },
    /// A look at the calendar is due.
    Look,
    Stop,
}

/// A run, as the desk sees it.
struct Running {
    id: u64,
    orders: watch::Sender<Option<Ending>>,
    shown: watch::Receiver<Arc<Report>>,
    task: JoinHandle<()>,
}

impl Running {
    /// It is told to be over, which is the last thing it does.
    fn is_over(&self) -> bool {
        self.shown.borrow().phase == Phase::Over.name()
    }
}

impl Desk {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = self.take_back() => {}
            _ = stopped.changed() => return,
        }
        let mut look = tokio::time::interval_at(Instant::now() + SETTLE, LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let turn = tokio::select! {
                biased;
                _ = stopped.changed() => Turn::Stop,
                is_well = ended(&mut self.running) => Turn::Ended { is_well },
                ask = self.wishes.recv() => Turn::Wish(ask),
                _ = look.tick() => Turn::Look,
            };
            match turn {
                Turn::Wish(Some(ask)) => self.answer(ask).await,
                Turn::Ended { is_well } => self.clear(is_well).await,
                Turn::Look => {
                    self.is_settled = true;
                    self.look_at_former().await;
                    self.look_at_dates().await;
                }
                Turn::Wish(None) | Turn::Stop => break,
            }
        }
        if let Some(running) = self.running {
            running.orders.send_replace(Some(Ending::Stopped));
            let _ = running.task.await;
        }
    }

    /// The run has ended, as it should or not.
    async fn clear(&mut self, is_well: bool) {
        let report = self.running.take().map(|running| running.shown.borrow().clone());
        let left = report.filter(|report| is_well && !report.traces.is_restored);
        if let Some(report) = left {
            let _ = self.unrestored.try_send(Report::clone(&report));
        }
        if !is_well {
            tracing::error!("a drill died; please report it. What it left is taken back");
            self.take_back().await;
        }
    }

    async fn answer(&mut self, Ask { wish, reply }: Ask) {
        let setting = self.setting.clone();
        let current = self.running.as_ref().map(|running| (running.id, running.shown.clone()));
        match wish {
            Wish::List { most } => {
                tokio::spawn(async move { reply.send(telling::list(&setting, most, current).await) });
            }
            Wish::Plan { name } => {
                tokio::spawn(async move { reply.send(telling::plan(&setting, &name).await) });
            }
            Wish::Show { id } => {
                tokio::spawn(async move { reply.send(telling::show(&setting, id, current).await) });
            }
            Wish::Start { name, break_glass, by } => {
                let _ = reply.send(self.begin(&name, break_glass, by, None).await.map(number));
            }
            Wish::Confirm { name, break_glass, by } => {
                let _ = reply.send(self.confirm(&name, break_glass, by).await.map(number));
            }
            Wish::Abort { id, why, by } => self.abort(id, why, by, reply),
        }
    }

    /// Begins a drill, of a date if it has one; the number of the run.
    async fn begin(
        &mut self,
        name: &str,
        break_glass: Vec<String>,
        by: Actor,
        due_at: Option<WallTime>,
    ) -> Result<u64, Refused> {
        if self.running.as_ref().is_some_and(Running::is_over) {
            let is_well = ended(&mut self.running).await;
            self.clear(is_well).await;
        }
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
        self.former.is_enough()?;
        let prepared = prepare(&self.setting, name, break_glass, &by).await?;
        let Prepared { mut beginning, against } = prepared;
        if !against.is_empty() {
            let told = |it: &BrokenRule| format!("rule `{}`: {}", it.rule, it.why);
            let rules: Vec<String> = against.iter().map(told).collect();
            return Err(Refused::Against(rules.join("; "), Some(Box::new(json!(beginning.report)))));
        }
        beginning.report.due_at = due_at;
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
        Ok(id)
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

fn number(id: u64) -> Value {
    json!({ "id": id })
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
