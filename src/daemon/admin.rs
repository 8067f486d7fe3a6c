//! What the routes of the admin address may see of the daemon.

use crate::control::admin::{self, Admin, Questions};
use crate::control::overrides::{self, AskOverride, Overrides};
use crate::daemon::answering::SharedCounts;
use crate::daemon::encrypted::ENCRYPTED;
use crate::daemon::pulse::Pulse;
use crate::daemon::reports::Post;
use crate::daemon::writer::Event;
use crate::model::alert::AlertsShown;
use crate::model::incident::Incident;
use crate::model::status::{ConnectionCounts, LogCounts, Status, Traffic};
use crate::serve::{Counters, Totals};
use axum::Router;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::{oneshot, watch};

/// What the admin address looks at.
pub struct Sights {
    status: watch::Receiver<Option<Arc<Status>>>,
    ready: watch::Receiver<bool>,
    pulse: Pulse,
    alerts: watch::Receiver<Arc<AlertsShown>>,
    incidents: watch::Receiver<Arc<Vec<Incident>>>,
    traffic: Arc<dyn Fn() -> Traffic + Send + Sync>,
    post: Post,
}

impl Sights {
    pub fn new(
        status: &watch::Receiver<Option<Arc<Status>>>,
        ready: watch::Receiver<bool>,
        pulse: &Pulse,
        told: (watch::Receiver<Arc<AlertsShown>>, watch::Receiver<Arc<Vec<Incident>>>),
        traffic: Arc<dyn Fn() -> Traffic + Send + Sync>,
        post: &Post,
    ) -> Self {
        let ((alerts, incidents), pulse) = (told, pulse.clone());
        Self { status: status.clone(), ready, pulse, alerts, incidents, traffic, post: post.clone() }
    }

    pub fn status(&self) -> watch::Receiver<Option<Arc<Status>>> {
        self.status.clone()
    }

    pub fn routes(self, events: &SyncSender<Event>) -> Admin {
        let Self { status, ready, pulse, alerts, incidents, traffic, post } = self;
        let links = Arc::new(move || post.links());
        let health = Arc::new(move || pulse.check());
        let (explain, node, questions) = (ask_writer(events), ask_for_node(events), Questions::default());
        Admin { status, explain, node, ready, health, alerts, incidents, traffic, links, questions }
    }

    /// Where operators say what is to be done with nodes.
    pub fn overrides(&self, events: &SyncSender<Event>) -> Router {
        let (status, ask) = (self.status.clone(), put_to_writer(events));
        overrides::routes(Overrides { status, ask })
    }
}

/// Adds up what the sockets count, whenever it is asked for.
pub fn traffic(
    counts: Arc<SharedCounts>,
    plain: Arc<Counters>,
    encrypted: [Option<Arc<Counters>>; ENCRYPTED],
    post: Post,
    logs: impl Fn() -> [LogCounts; 2] + Send + Sync + 'static,
) -> Arc<dyn Fn() -> Traffic + Send + Sync> {
    Arc::new(move || {
        let [query_log, dnstap] = logs();
        let plain = plain.totals();
        let encrypted = encrypted.each_ref().map(|it| it.as_ref().map(|it| it.totals()).unwrap_or_default());
        let sum = |of: fn(&Totals) -> u64| encrypted.iter().map(of).sum::<u64>() + of(&plain);
        let [dot, doh, doq] = encrypted.each_ref().map(connections);
        Traffic {
            query_log,
            dnstap,
            queries: counts.sum(),
            tcp: connections(&plain),
            dot,
            doh,
            doq,
            truncated: sum(|totals| totals.truncated),
            unsent: sum(|totals| totals.unsent),
            unanswered: sum(|totals| totals.dropped),
            observations_dropped: post.dropped(),
            reports: post.counts(),
            measured: post.measured().sum(),
        }
    })
}

fn connections(totals: &Totals) -> ConnectionCounts {
    ConnectionCounts {
        opened: totals.connections_opened,
        open: totals.connections_open(),
        refused: totals.connections_refused,
        evicted: totals.connections_evicted,
    }
}

/// As [`ask_writer`], of one node.
fn ask_for_node(events: &SyncSender<Event>) -> admin::AskNode {
    let events = events.clone();
    Arc::new(move |name| {
        let (reply, answer) = oneshot::channel();
        events.try_send(Event::Portray { name, reply }).ok().map(|()| answer)
    })
}

/// As [`ask_writer`], of an override.
fn put_to_writer(events: &SyncSender<Event>) -> AskOverride {
    let events = events.clone();
    Arc::new(move |ask, by| {
        let (reply, answer) = oneshot::channel();
        events.try_send(Event::Override { ask: Box::new(ask), by, reply }).ok().map(|()| answer)
    })
}

/// Puts a question to the writer, if its queue has room.
fn ask_writer(events: &SyncSender<Event>) -> admin::Ask {
    let events = events.clone();
    Arc::new(move |request| {
        let (reply, answer) = oneshot::channel();
        events.try_send(Event::Explain { request, reply }).ok().map(|()| answer)
    })
}
