//! The counted demand beside the writer: what workers counted is looked at every few seconds, service by
//! service, and becomes the shares of the next plan.
//!
//! ```text
//!  workers ─▶ Ledger of the live table ──┐ since the last look
//!  workers that are late ─▶ former ledgers ┴─▶ DemandBook ─▶ shares ─▶ the next plan
//!                            (by name)                ▲└─▶ (every 5 min, and at the end) ─▶ state/demand
//!  nodes ─▶ ClientLoads ─▶ sums by service and group ─┘
//! ```
//! Each tick looks at some services, so that a world of many does not hold an evacuation up. A ledger of
//! another shape takes the place of the one before with its table; that one is looked at for a minute more,
//! for workers that have not turned to the new table yet.

use crate::base::clock::{MonoTime, WallTime};
use crate::daemon::inputs::Inputs;
use crate::demand::gathered::Sums;
use crate::demand::{DemandBook, News, Subjects};
use crate::model::clients::ClientGroup;
use crate::model::demand::{Asked, DemandCounts, DemandView, KeptDemand, Shares};
use crate::model::ids::{NodeId, ServiceId};
use crate::routing::Snapshot;
use crate::routing::ledger::Ledger;
use crate::schedule;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often each service is looked at.
const ROUND: Duration = Duration::from_secs(5);
/// How often what was counted is kept.
const KEEP_EVERY: Duration = Duration::from_secs(300);
/// The same where nodes reported what moved shares: after a restart these are what there is until they report
/// again.
const KEEP_DRAWN_EVERY: Duration = Duration::from_secs(10);
/// For how long a former ledger is looked at, and how many of them.
const LINGER: Duration = Duration::from_secs(60);
const MOST_FORMER: usize = 4;

/// See the module.
#[derive(Clone)]
pub struct Counting {
    book: DemandBook,
    /// `None`: no table yet.
    seen: Option<Seen>,
    former: Vec<Former>,
    round_at: MonoTime,
    /// The service to be looked at next.
    next: usize,
    kept_at: MonoTime,
    is_news: bool,
    /// What nodes report was drawn anew: worth keeping before it is due.
    is_drawn: bool,
    /// What nodes say, to be heard in the next round, and in this one.
    arrived: Option<Arc<Sums>>,
    sums: Option<Arc<Sums>>,
    shown: Arc<[DemandCounts]>,
}

/// A ledger and what it said when it was last looked at.
#[derive(Clone)]
struct Seen {
    ledger: Arc<Ledger>,
    services: Vec<String>,
    groups: Arc<[ClientGroup]>,
    /// By service, then group; empty for one that nobody asked for.
    last: Vec<Vec<Asked>>,
}

/// One that is no longer the live table's.
#[derive(Clone)]
struct Former {
    seen: Seen,
    until: MonoTime,
    /// By its group: the same one now.
    groups: Vec<Option<usize>>,
}

impl Seen {
    fn of(snapshot: &Snapshot) -> Self {
        let services = &snapshot.policy.services;
        Self {
            ledger: Arc::clone(snapshot.ledger()),
            services: services.iter().map(|service| service.name.clone()).collect(),
            groups: snapshot.geo.shared_groups(),
            last: vec![Vec::new(); services.len()],
        }
    }

    /// By group, since the last look at this service.
    fn look(&mut self, service: usize) -> Vec<Asked> {
        let mut now = vec![Asked::default(); self.groups.len()];
        self.ledger.read(ServiceId::from_index(service), &mut now);
        let Some(last) = self.last.get_mut(service) else { return now };
        if last.is_empty() {
            if now.iter().any(|asked| !asked.is_none()) {
                last.clone_from(&now);
            }
            return now;
        }
        for (now, last) in now.iter_mut().zip(last) {
            let before = std::mem::replace(last, *now);
            *now = now.since(before);
        }
        now
    }
}

impl Former {
    fn new(seen: Seen, now: &[ClientGroup], until: MonoTime) -> Self {
        let keys: HashMap<&str, usize> =
            now.iter().enumerate().map(|(at, group)| (group.key.as_str(), at)).collect();
        let groups = seen.groups.iter().map(|group| keys.get(group.key.as_str()).copied()).collect();
        Self { seen, until, groups }
    }

    /// Adds what late workers counted of a service.
    fn add(&mut self, service: &str, asked: &mut [Asked]) {
        let Some(at) = self.seen.services.iter().position(|name| name == service) else { return };
        for (late, to) in self.seen.look(at).into_iter().zip(&self.groups).filter(|(late, _)| !late.is_none())
        {
            if let Some(asked) = to.and_then(|to| asked.get_mut(to)) {
                *asked = asked.with(late);
            }
        }
    }
}

impl Counting {
    /// Goes on where a former run ended.
    pub fn restore(kept: Option<&KeptDemand>, inputs: &Inputs, now: MonoTime, wall: WallTime) -> Self {
        let groups = inputs.geo.shared_groups();
        let empty = DemandBook::new(subjects(inputs), &groups, &schedule::weights(&groups), millis(now));
        let book = match kept {
            Some(kept) => empty.restored(kept, wall),
            None => empty,
        };
        let shown = book.counts().into();
        Self {
            book,
            seen: None,
            former: Vec::new(),
            round_at: now,
            next: 0,
            kept_at: now,
            is_news: false,
            is_drawn: false,
            arrived: None,
            sums: None,
            shown,
        }
    }

    /// The same for other inputs.
    #[must_use]
    pub fn carried_to(&self, inputs: &Inputs, now: MonoTime) -> Self {
        let groups = inputs.geo.shared_groups();
        let weights = schedule::weights(&groups);
        let book = self.book.reloaded(subjects(inputs), &groups, &weights, millis(now));
        // Sums are in the ids of the inputs before.
        Self { shown: book.counts().into(), book, next: 0, arrived: None, sums: None, ..self.clone() }
    }

    /// Takes what nodes say of their clients, in ids of the inputs in force.
    pub fn take_reports(&mut self, sums: Sums) {
        // In the midst of a round some services had their turn.
        let place = if self.next == 0 { &mut self.sums } else { &mut self.arrived };
        *place = Some(Arc::new(sums));
    }

    /// What to plan with.
    pub fn shares(&self) -> &Arc<Shares> {
        self.book.shares()
    }

    /// By service.
    pub fn shown(&self) -> &Arc<[DemandCounts]> {
        &self.shown
    }

    /// What is known of a group's part in a service.
    pub fn told(&self, service: &str, group: &str) -> Option<DemandView> {
        self.book.view(self.book.find(service, group)?)
    }

    /// Looks at the services whose turn it is.
    pub fn look(&mut self, live: &Snapshot, is_down: impl Fn(NodeId) -> bool, now: MonoTime) {
        self.turn(live, now);
        let services = live.policy.services.len();
        let since = now.since(self.round_at).as_millis();
        let due = services as u128 * since / ROUND.as_millis().max(1);
        let due = usize::try_from(due).unwrap_or(services).min(services);
        // While one of them is down and the sums do not know it yet, what it said and where its clients are
        // do not fit together.
        let is_gone = |sums: &Sums| sums.heard.iter().any(|node| is_down(*node));
        let sums = self.sums.clone().filter(|sums| !is_gone(sums));
        while self.next < due {
            self.count(live, self.next, now);
            if let Some(sums) = &sums {
                self.hear(live, self.next, sums, now);
            }
            self.next += 1;
        }
        if self.next >= services && since >= ROUND.as_millis() {
            self.end_round(now);
        }
    }

    /// Turns to the counters of the live table.
    fn turn(&mut self, live: &Snapshot, now: MonoTime) {
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(&seen.ledger, live.ledger())) {
            return;
        }
        let groups = live.geo.groups();
        let earlier = std::mem::take(&mut self.former).into_iter().map(|former| (former.seen, former.until));
        let ended = self.seen.replace(Seen::of(live)).map(|seen| (seen, now + LINGER));
        let former = earlier.chain(ended).map(|(seen, until)| Former::new(seen, groups, until));
        self.former = former.collect();
        let surplus = self.former.len().saturating_sub(MOST_FORMER);
        self.former.drain(..surplus);
        self.next = 0;
    }

    fn count(&mut self, live: &Snapshot, service: usize, now: MonoTime) {
        let Some(seen) = &mut self.seen else { return };
        let mut asked = seen.look(service);
        let Some(name) = seen.services.get(service) else { return };
        self.former.iter_mut().for_each(|former| former.add(name, &mut asked));
        self.is_news |= asked.iter().any(|asked| !asked.is_none());
        if self.book.count(ServiceId::from_index(service), &asked, millis(now)) {
            self.is_news = true;
            let name = &live.policy.service(ServiceId::from_index(service)).name;
            tracing::info!(service = name, "counted demand drawn anew");
        }
    }

    /// Has a service go by what nodes report of it.
    fn hear(&mut self, live: &Snapshot, service: usize, sums: &Sums, now: MonoTime) {
        let id = ServiceId::from_index(service);
        let Some(assigned) = live.assignment.services.get(service) else { return };
        let news = self.book.hear(id, sums, assigned, millis(now));
        if news != News::None {
            (self.is_news, self.is_drawn) = (true, true);
        }
        if news == News::Drawn {
            tracing::info!(service = live.policy.service(id).name, "reported demand drawn anew");
        }
    }

    fn end_round(&mut self, now: MonoTime) {
        let is_by_service = self.seen.as_ref().is_some_and(|seen| seen.ledger.is_by_service());
        if is_by_service && self.book.weigh_services(millis(now)) {
            tracing::info!("counted demand of services drawn anew");
        }
        if self.sums.is_some() && self.book.divide_reported() {
            (self.is_news, self.is_drawn) = (true, true);
            tracing::info!("demand of services drawn anew by what nodes report");
        }
        self.sums = self.arrived.take();
        self.former.retain(|former| former.until > now);
        self.shown = self.book.counts().into();
        (self.round_at, self.next) = (now, 0);
    }

    /// What is to be kept now, if it is time.
    pub fn take_kept(&mut self, now: MonoTime, wall: WallTime, is_last: bool) -> Option<KeptDemand> {
        let every = if self.is_drawn { KEEP_DRAWN_EVERY } else { KEEP_EVERY };
        let is_due = is_last || now.since(self.kept_at) >= every;
        (is_due && std::mem::take(&mut self.is_news)).then(|| {
            (self.kept_at, self.is_drawn) = (now, false);
            self.book.keep(wall)
        })
    }
}

fn millis(now: MonoTime) -> u64 {
    now.0 / 1_000
}

fn subjects(inputs: &Inputs) -> Subjects {
    Subjects::of(&inputs.policy.services, &inputs.policy.fleet)
}
