//! Alerts: the status everybody sees, watched for what people are to be told of, and told.
//!
//! ```text
//!  status (watch) ─▶ AlertBook ─▶ shown (watch) ─▶ admin address
//!                        └─▶ bulletin (watch) ─▶ a courier per receiver ─▶ their status ─▶ problems, shown
//! ```
//!
//! A task of its own: the writer knows nothing of it and never waits for it. It looks whenever the status
//! moves, when a wait is over, and every second, because a writer that died moves no status.

use crate::alert::{AlertBook, Moment};
use crate::base::clock::{MonoTime, SharedClock, WallTime};
use crate::daemon::answering::Live;
use crate::daemon::keeper::AlertShelf;
use crate::daemon::pulse::Pulse;
use crate::daemon::writer::{About, Event};
use crate::deliver::{self, Courier};
use crate::model::alert::{
    Alert, AlertReceiver, AlertsShown, Bulletin, KeptAlerts, KeptReceiver, ReceiverStatus, TakenAlert,
};
use crate::model::policy::Policy;
use crate::model::status::{Problem, Status};
use crate::store::state_dir::{Found, StateDir};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Longest between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// After a start, for receivers that were told of something: a lab invites its own.
const AWAITED: Duration = Duration::from_secs(30);
/// Shortest, whatever is due.
const BREATH: Duration = Duration::from_millis(20);

/// What the task sees of the daemon.
pub struct Sources {
    live: Live,
    status: watch::Receiver<Option<Arc<Status>>>,
    pulse: Pulse,
    clock: SharedClock,
    events: SyncSender<Event>,
}

/// Watches and tells.
pub struct Alerting {
    sources: Sources,
    /// Where relative paths of the policy begin.
    folder: PathBuf,
    policy: Arc<Policy>,
    book: AlertBook,
    couriers: Vec<Courier>,
    /// Receivers besides the policy's.
    guests: watch::Receiver<Vec<AlertReceiver>>,
    invite: watch::Sender<Vec<AlertReceiver>>,
    bulletin: watch::Sender<Arc<Bulletin>>,
    shown: watch::Sender<Arc<AlertsShown>>,
    /// Rings when a courier's status changes.
    news: Arc<Notify>,
    /// Of the problems last put to the writer.
    reported: Vec<String>,
    told: Told,
}

/// What receivers were told and may believe still, kept for a restart.
#[derive(Default)]
struct Told {
    shelf: Option<AlertShelf>,
    /// Of a former run, for receivers that are not invited yet.
    former: KeptAlerts,
    /// When who is not invited yet is not awaited any more.
    awaited_until: Option<MonoTime>,
    /// As it was kept last, by receiver.
    kept: Vec<(String, Arc<Vec<TakenAlert>>)>,
    /// What of it could not be read.
    damage: Option<Problem>,
}

/// The running task. It ends when this is dropped.
pub struct Alerts {
    guests: watch::Sender<Vec<AlertReceiver>>,
    task: JoinHandle<()>,
}

impl Alerts {
    /// Tells `receiver` as well, whatever policy says.
    pub fn also_tell(&self, receiver: AlertReceiver) {
        self.guests.send_modify(|guests| guests.push(receiver));
    }
}

impl Drop for Alerts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sources {
    pub fn of(
        live: &Live,
        status: &watch::Receiver<Option<Arc<Status>>>,
        pulse: &Pulse,
        clock: &SharedClock,
        events: &SyncSender<Event>,
    ) -> Self {
        let (live, clock) = (Arc::clone(live), Arc::clone(clock));
        Self { live, status: status.clone(), pulse: pulse.clone(), clock, events: events.clone() }
    }
}

impl Alerting {
    /// `folder`: where relative paths of the policy begin.
    pub fn new(sources: Sources, folder: &Path) -> Self {
        let policy = Arc::clone(&sources.live.load().policy);
        let (invite, guests) = watch::channel(Vec::new());
        Self {
            book: AlertBook::new(Arc::new(policy.alerts.clone())),
            folder: folder.to_owned(),
            policy,
            couriers: Vec::new(),
            guests,
            invite,
            bulletin: watch::channel(Arc::default()).0,
            shown: watch::channel(Arc::default()).0,
            news: Arc::default(),
            reported: Vec::new(),
            told: Told::default(),
            sources,
        }
    }

    /// Goes on from what a former run kept in the state folder `state`, which is this process's own by now, and
    /// keeps it there by `shelf`.
    pub fn recalling(mut self, state: &Path, shelf: AlertShelf) -> Self {
        let (mono, wall) = (self.sources.clock.mono(), self.sources.clock.wall());
        let recalled = StateDir::open_held(state).recall_alerts();
        let (former, fault) = match recalled {
            Ok(Some(Found { value, passed_over })) => (value, passed_over),
            Ok(None) => (KeptAlerts::default(), None),
            Err(fault) => (KeptAlerts::default(), Some(fault)),
        };
        if let Some(message) = &fault {
            tracing::error!("{message}; it lies aside as alerts.damaged");
        }
        self.book.restore(former.alerts.values(), Moment { mono, wall });
        let damage = fault.map(|message| damaged(message, wall));
        let awaited_until = Some(mono + AWAITED);
        self.told = Told { shelf: Some(shelf), former, awaited_until, kept: Vec::new(), damage };
        self
    }

    /// What a status is to show of it.
    pub fn shown(&self) -> watch::Receiver<Arc<AlertsShown>> {
        self.shown.subscribe()
    }

    pub fn start(self) -> Alerts {
        Alerts { guests: self.invite.clone(), task: tokio::spawn(self.run()) }
    }

    /// Runs until there is no more status to come.
    async fn run(mut self) {
        // Before, nobody could say whether what a former run told of still stands.
        if self.sources.status.wait_for(Option::is_some).await.is_err() {
            return;
        }
        self.look();
        self.invite();
        loop {
            self.take_up_policy();
            self.look();
            let now = self.sources.clock.mono();
            let wait = self.book.due().map_or(LOOK, |due| due.since(now).clamp(BREATH, LOOK));
            tokio::select! {
                changed = self.sources.status.changed() => if changed.is_err() { return },
                changed = self.guests.changed() => if changed.is_ok() { self.invite() },
                () = self.news.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn take_up_policy(&mut self) {
        let policy = Arc::clone(&self.sources.live.load().policy);
        if Arc::ptr_eq(&policy, &self.policy) {
            return;
        }
        let is_other = policy.alerts != self.policy.alerts;
        self.policy = policy;
        if is_other {
            self.book.set_policy(Arc::new(self.policy.alerts.clone()));
            self.invite();
        }
    }

    /// A courier for every receiver; those who stay keep what they know.
    fn invite(&mut self) {
        let mut wanted = self.policy.alerts.receivers.clone();
        wanted.extend(self.guests.borrow_and_update().iter().cloned());
        let mut before = std::mem::take(&mut self.couriers);
        for receiver in &wanted {
            let courier = match before.iter().position(|courier| courier.receiver() == receiver) {
                Some(at) => before.swap_remove(at),
                None => deliver::start(
                    receiver,
                    self.told.take(receiver),
                    &self.folder,
                    self.bulletin.subscribe(),
                    &self.sources.clock,
                    &self.news,
                ),
            };
            self.couriers.push(courier);
        }
    }

    fn look(&mut self) {
        let Some(mut status) = self.sources.status.borrow_and_update().clone() else { return };
        if let Err(silent) = self.sources.pulse.check() {
            Arc::make_mut(&mut status).problems.push(silent);
        }
        let clock = &self.sources.clock;
        self.book.observe(&status, Moment { mono: clock.mono(), wall: clock.wall() });
        let bulletin = self.book.bulletin();
        self.bulletin.send_if_modified(|told| {
            let is_new = **told != bulletin;
            if is_new {
                *told = Arc::new(bulletin);
            }
            is_new
        });
        let receivers: Vec<ReceiverStatus> = self.couriers.iter().map(Courier::status).collect();
        self.report(&receivers);
        self.told.keep(&self.couriers, self.sources.clock.mono());
        let (alerts, omitted) = self.book.alerts();
        self.shown.send_replace(Arc::new(AlertsShown { alerts, omitted, receivers }));
    }

    /// Makes a problem of every receiver that cannot be reached.
    fn report(&mut self, receivers: &[ReceiverStatus]) {
        let undelivered = receivers.iter().filter_map(undelivered);
        let problems: Vec<Problem> = undelivered.chain(self.told.damage.clone()).collect();
        let messages: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        // One that a full queue did not take is put again.
        if messages != self.reported
            && self.sources.events.try_send(Event::Problems { about: About::Alerts, problems }).is_ok()
        {
            self.reported = messages;
        }
    }
}

impl Told {
    /// What a receiver was told by a former run.
    fn take(&mut self, receiver: &AlertReceiver) -> Vec<TakenAlert> {
        let is_its = |kept: &KeptReceiver| kept.name == receiver.name && kept.place == receiver.place();
        let Some(at) = self.former.receivers.iter().position(is_its) else { return Vec::new() };
        let kept = self.former.receivers.swap_remove(at);
        let alert =
            |(key, at): (String, WallTime)| Some((Arc::new(self.former.alerts.get(&key)?.clone()), at));
        kept.told.into_iter().filter_map(alert).collect()
    }

    /// Has it written, if it changed.
    fn keep(&mut self, couriers: &[Courier], now: MonoTime) {
        if self.awaited_until.is_some_and(|until| now >= until) {
            (self.former, self.damage, self.awaited_until) = (KeptAlerts::default(), None, None);
        }
        let Some(shelf) = &self.shelf else { return };
        let taken: Vec<(String, Arc<Vec<TakenAlert>>)> =
            couriers.iter().map(|courier| (courier.receiver().name.clone(), courier.taken())).collect();
        let is_same = taken.len() == self.kept.len()
            && taken.iter().zip(&self.kept).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1));
        if is_same {
            return;
        }
        let nothing_yet = self.kept.is_empty() && self.awaited_until.is_some();
        if nothing_yet && self.former.alerts.is_empty() && taken.iter().all(|(_, taken)| taken.is_empty()) {
            self.kept = taken;
            return;
        }
        let mut kept = self.former.clone();
        for (courier, (name, taken)) in couriers.iter().zip(&taken) {
            let told = taken.iter().map(|(alert, at)| (alert.key.clone(), *at)).collect();
            let place = courier.receiver().place();
            kept.receivers.push(KeptReceiver { name: name.clone(), place, told });
            let alerts = taken.iter().map(|(alert, _)| (alert.key.clone(), Alert::clone(alert)));
            kept.alerts.extend(alerts);
        }
        let is_told =
            |key: &String| kept.receivers.iter().any(|it| it.told.iter().any(|(told, _)| told == key));
        let alerts = std::mem::take(&mut kept.alerts);
        kept.alerts = alerts.into_iter().filter(|(key, _)| is_told(key)).collect();
        shelf.keep(kept);
        self.kept = taken;
    }
}

fn damaged(message: String, since: WallTime) -> Problem {
    let help = "it lies aside as alerts.damaged; alerts that stand may be told again, and of some that ended \
                meanwhile nobody is told";
    Problem { since, code: "state-unreadable".to_owned(), message, help: help.to_owned() }
}

fn undelivered(receiver: &ReceiverStatus) -> Option<Problem> {
    let why = receiver.last_error.as_deref().unwrap_or("unknown");
    Some(Problem {
        since: receiver.failing_since?,
        code: "alerts-undelivered".to_owned(),
        message: format!("receiver {} is not told of alerts: {why}", receiver.name),
        help: "it is told how things are as soon as it can be reached; see `receivers` of alerts.yaml"
            .to_owned(),
    })
}
