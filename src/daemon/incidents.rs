//! Incidents: the status everybody sees, watched for what goes wrong for clients, and kept.
//!
//! ```text
//!  status (watch) ─▶ IncidentBook ─▶ open (watch) ─▶ admin address, status page
//!  live table ─────▶ who was where     └─▶ history.db: a record each, written again as it goes on
//!             └────▶ SloDay, a record a day
//! ```
//!
//! A task of its own, as alerts have one: the writer knows nothing of it and never waits for it. Each look is made
//! on a thread that may wait for a disk. What the disk does not take is kept at the next look.

use crate::base::clock::{MonoTime, SharedClock};
use crate::control::incidents::{AskSlo, Incidents, read};
use crate::control::policies::Policies;
use crate::control::status_page::{PageView, Rendered};
use crate::daemon::answering::Live;
use crate::daemon::clientele;
use crate::daemon::door::House;
use crate::daemon::pulse::Pulse;
use crate::daemon::slo::{self, Tally};
use crate::daemon::status_page::{Bound, StatusListener};
use crate::history::{History, HistoryError, NewRecord, Record, Shelf};
use crate::incident::{IncidentBook, Kept, Moment};
use crate::model::alert::AlertsShown;
use crate::model::incident::{Clientele, Incident, KIND, Member, Part};
use crate::model::policy::{Policy, ServerConfig, StatusPage};
use crate::model::slo::{SloDay, SloReport};
use crate::model::status::Status;
use crate::routing::Snapshot;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest between two looks: dwells and ramps end without a new status.
const LOOK: Duration = Duration::from_secs(1);
/// Between two times that figures alone are written.
const FIGURES: Duration = Duration::from_secs(10);
/// Closed incidents on the status page.
const MOST_SHOWN: usize = 10;
/// Between two times that the page's availability is worked out anew.
const SLO_EVERY: Duration = Duration::from_secs(30);

/// What everybody sees of the daemon.
pub struct Seen {
    live: Live,
    status: watch::Receiver<Option<Arc<Status>>>,
    pulse: Pulse,
    clock: SharedClock,
}

impl Seen {
    pub fn of(house: &House<'_>, status: &watch::Receiver<Option<Arc<Status>>>, pulse: &Pulse) -> Self {
        let (live, clock) = (Arc::clone(house.live), Arc::clone(house.clock));
        Self { live, status: status.clone(), pulse: pulse.clone(), clock }
    }
}

/// Watches and keeps.
pub struct Watching {
    seen: Seen,
    history: Arc<Shelf>,
    alerts: watch::Receiver<Arc<AlertsShown>>,
    /// `None`: no page is shown.
    status_page: Option<StatusPage>,
    book: IncidentBook,
    tally: Tally,
    /// The last table whose status was seen: who was where before what comes next.
    held: Option<Arc<Snapshot>>,
    /// Records of incidents, by serial.
    records: BTreeMap<u64, u64>,
    /// Nodes that a drill of a former run broke, as long as its record is open.
    drilled: Vec<String>,
    is_recalled: bool,
    figures_at: Option<MonoTime>,
    page: PageState,
    shown: Shown,
}

/// What others look at.
struct Shown {
    open: watch::Sender<Arc<Vec<Incident>>>,
    today: watch::Sender<Arc<SloDay>>,
    page: watch::Sender<Arc<Rendered>>,
}

/// What the page is made of besides what is open.
#[derive(Default)]
struct PageState {
    closed: Vec<Incident>,
    slo: Option<SloReport>,
    slo_at: Option<MonoTime>,
    is_stale: bool,
}

/// The running task, and the page it makes. Both end when this is dropped.
pub struct IncidentWatch {
    task: JoinHandle<()>,
    _page: Option<StatusListener>,
}

impl Drop for IncidentWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watching {
    pub fn new(
        seen: Seen,
        policies: &Policies,
        alerts: watch::Receiver<Arc<AlertsShown>>,
        server: &ServerConfig,
    ) -> Self {
        let rules = seen.live.load().policy.alerts.incidents;
        let shown = Shown {
            open: watch::channel(Arc::default()).0,
            today: watch::channel(Arc::default()).0,
            page: watch::channel(Arc::default()).0,
        };
        Self {
            seen,
            history: Arc::clone(&policies.history),
            alerts,
            status_page: server.status_page.clone(),
            book: IncidentBook::new(rules),
            tally: Tally::default(),
            held: None,
            records: BTreeMap::new(),
            drilled: Vec::new(),
            is_recalled: false,
            figures_at: None,
            page: PageState { is_stale: true, ..PageState::default() },
            shown,
        }
    }

    /// For the admin address.
    pub fn routes(&self) -> Incidents {
        let (history, Seen { live, clock, .. }) = (&self.history, &self.seen);
        let slo: AskSlo = slo::ask(history, live, clock, self.shown.today.subscribe());
        Incidents { open: self.shown.open.subscribe(), history: Arc::clone(history), slo }
    }

    /// Alerts, and incidents that are not over, as a status shows them.
    pub fn told(&self) -> (watch::Receiver<Arc<AlertsShown>>, watch::Receiver<Arc<Vec<Incident>>>) {
        (self.alerts.clone(), self.shown.open.subscribe())
    }

    /// Begins, once the state folder is this process's own, and shows the status page where `page` listens.
    pub fn start(self, page: Option<Bound>) -> IncidentWatch {
        let page = page.map(|bound| bound.listen(self.shown.page.subscribe()));
        IncidentWatch { task: tokio::spawn(self.run()), _page: page }
    }

    /// Runs until there is no more status to come.
    async fn run(mut self) {
        if self.seen.status.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            let mut status = self.seen.status.clone();
            status.mark_unchanged();
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(back) => self = back,
                Err(error) => {
                    tracing::error!("incidents are not watched any more: {error}");
                    return;
                }
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn look(&mut self) {
        let Some(mut status) = self.seen.status.borrow().clone() else { return };
        if let Err(silent) = self.seen.pulse.check() {
            Arc::make_mut(&mut status).problems.push(silent);
        }
        let live = self.seen.live.load_full();
        let now = Moment { mono: self.seen.clock.mono(), wall: self.seen.clock.wall() };
        self.recall(now);
        if !self.drilled.is_empty() {
            self.drilled = self.history.history().map_or_else(|_| Vec::new(), |history| drilled(&history));
            Arc::make_mut(&mut status).drilled.extend_from_slice(&self.drilled);
        }
        self.book.set_rules(live.policy.alerts.incidents);
        self.observe(&status, &live, now);
        let alerts = Arc::clone(&self.alerts.borrow());
        self.book.set_runbooks(|incident| runbooks(incident, &live.policy, &alerts));
        let charges = self.book.take_charges();
        self.tally.look(&status, &live, &charges, now.mono);
        self.keep(now);
        self.show(&status, &live, now);
    }

    /// What a former run left open, as soon as the history can be read.
    fn recall(&mut self, now: Moment) {
        if self.is_recalled {
            return;
        }
        let recalled = self.history.history().and_then(|history| {
            let open = history.open_records(KIND)?;
            self.drilled = drilled(&history);
            self.tally.recall(&history, now.wall)?;
            Ok(open)
        });
        match recalled {
            Ok(open) => {
                let open: Vec<Incident> = open.iter().filter_map(read).collect();
                let ids: Vec<u64> = open.iter().map(|incident| incident.id).collect();
                let serials = self.book.restore(open, now);
                self.records = serials.into_iter().zip(ids).collect();
                self.is_recalled = true;
            }
            Err(error) => tracing::debug!("incidents of a former run cannot be read yet: {error}"),
        }
    }

    fn observe(&mut self, status: &Status, live: &Arc<Snapshot>, now: Moment) {
        let held = self.held.as_ref().unwrap_or(live);
        let made: OnceCell<Arc<Clientele>> = OnceCell::new();
        let before = || Arc::clone(made.get_or_init(|| Arc::new(clientele::of(held))));
        self.book.observe(status, &before, now);
        // A table whose status is still to come may be the first without what was lost.
        if live.provenance.generation == status.table.generation {
            self.held = Some(Arc::clone(live));
        }
    }

    fn keep(&mut self, now: Moment) {
        let is_due = self.figures_at.is_none_or(|before| now.mono.since(before) >= FIGURES);
        if is_due {
            self.figures_at = Some(now.mono);
        }
        let changed = self.book.take_changed(is_due);
        let history = match self.history.history() {
            Ok(history) if self.is_recalled => history,
            _ => {
                changed.into_iter().for_each(|kept| self.book.give_back(kept));
                return;
            }
        };
        for mut kept in changed {
            self.page.is_stale = true;
            match self.write(&history, &mut kept) {
                Ok(()) if kept.incident.is_closed() => drop(self.records.remove(&kept.serial)),
                Ok(()) => {}
                Err(error) => {
                    tracing::error!("an incident is not kept: {error}");
                    self.book.give_back(kept);
                }
            }
        }
        if let Err(error) = self.tally.keep(&history, now.mono, now.wall) {
            tracing::error!("availability of the day is not kept: {error}");
        }
    }

    fn write(&mut self, history: &History, kept: &mut Kept) -> Result<(), HistoryError> {
        let document = |incident: &Incident| serde_json::to_string(incident).unwrap_or_default();
        let id = match self.records.get(&kept.serial) {
            Some(id) => *id,
            None => {
                let Incident { cause, clocks, .. } = &kept.incident;
                let name = format!("{} {}", cause.of.name(), cause.subject);
                let new = NewRecord { name, began: clocks.failed_at, document: document(&kept.incident) };
                let id = history.begin(KIND, &new)?;
                self.records.insert(kept.serial, id);
                self.book.number(kept.serial, id);
                tracing::warn!(incident = id, "{}: {}", kept.incident.summary, kept.incident.impact.told());
                id
            }
        };
        kept.incident.id = id;
        history.rewrite(KIND, id, &document(&kept.incident), kept.incident.closed_at)?;
        if let Some(outcome) = kept.incident.outcome.as_ref().filter(|_| kept.incident.is_closed()) {
            tracing::info!(incident = id, "closed: {outcome}");
        }
        Ok(())
    }

    fn show(&mut self, status: &Status, live: &Snapshot, now: Moment) {
        let open: Vec<Incident> = self.book.open_incidents().cloned().collect();
        self.shown.open.send_if_modified(|shown| {
            let is_other = **shown != open;
            if is_other {
                *shown = Arc::new(open.clone());
            }
            is_other
        });
        self.shown.today.send_replace(Arc::new(self.tally.day().clone()));
        if let Some(page) = self.status_page.clone() {
            self.show_page(&page, &open, status, live, now);
        }
    }

    fn show_page(
        &mut self,
        page: &StatusPage,
        open: &[Incident],
        status: &Status,
        live: &Snapshot,
        now: Moment,
    ) {
        let is_due = self.page.slo_at.is_none_or(|before| now.mono.since(before) >= SLO_EVERY);
        if (is_due || self.page.is_stale)
            && let Ok(history) = self.history.history()
        {
            let today = self.tally.day().clone();
            let slo = slo::report(&history, &live.policy, today, now.wall);
            let kept = history.records(KIND, MOST_SHOWN + open.len());
            if let (Ok(slo), Ok(kept)) = (slo, kept) {
                let closed = kept.iter().filter_map(read).filter(Incident::is_closed);
                self.page.closed = closed.take(MOST_SHOWN).collect();
                (self.page.slo, self.page.slo_at, self.page.is_stale) = (Some(slo), Some(now.mono), false);
            }
        }
        let view = PageView::of(
            page,
            &live.policy,
            status,
            open,
            &self.page.closed,
            self.page.slo.as_ref(),
            now.wall,
        );
        self.shown.page.send_replace(Arc::new(view.render()));
    }
}

/// Nodes of drills that were never ended: whoever takes them back is about to.
fn drilled(history: &History) -> Vec<String> {
    let open = history.open_records(crate::daemon::drills::KIND).unwrap_or_default();
    let nodes = |record: &Record| -> Vec<String> {
        let report = serde_json::from_str::<crate::drill::report::Report>(&record.document);
        report.map_or_else(|_| Vec::new(), |report| report.nodes)
    };
    open.iter().flat_map(nodes).collect()
}

/// Of the places and services that it touches, and of the alerts that stand for its members.
fn runbooks(incident: &Incident, policy: &Policy, alerts: &AlertsShown) -> Vec<String> {
    let names: Vec<&str> = incident.members.iter().map(|member| member.name.as_str()).collect();
    let of_place = |member: &Member| {
        let at = |books: &BTreeMap<String, String>, name: &Option<String>| books.get(name.as_ref()?).cloned();
        let books = &policy.fleet.runbooks;
        match member.part {
            Part::Service | Part::Instance => [None, None],
            _ => [at(&books.sites, &member.site), at(&books.regions, &member.region)],
        }
    };
    let places = incident.members.iter().flat_map(of_place).flatten();
    let is_touched = |name: &str| {
        let is_its = |it: &crate::model::incident::ServiceImpact| it.name == name && it.is_touched();
        names.contains(&name) || incident.impact.services.iter().any(is_its)
    };
    let services = policy.services.iter().filter(|service| is_touched(&service.name));
    let services = services.filter_map(|service| service.care.runbook.clone());
    let is_alerted = |alert: &&crate::model::alert::Alert| {
        names.contains(&alert.subject.as_str())
            || alert.members.iter().any(|member| names.contains(&member.name.as_str()))
    };
    let told = alerts.alerts.iter().filter(is_alerted).filter_map(|alert| alert.runbook.clone());
    let mut all: Vec<String> = Vec::new();
    for runbook in places.chain(services).chain(told) {
        if !all.contains(&runbook) {
            all.push(runbook);
        }
    }
    all
}
