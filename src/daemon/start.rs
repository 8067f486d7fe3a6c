//! The order in which everything comes up and goes down.
//!
//! Up: read the inputs (or the last good ones), restore the last good table, compile the first
//! table, bind every address, start answering, then probe. Nothing says "ready" before all of it.
//! Down: not ready, probes end, queries under way are answered within [`DRAIN`], the last good
//! table is written.

use crate::base::clock::SharedClock;
use crate::control::admin::{self, Admin};
use crate::daemon::answering::{Answerer, Live, SharedCounts};
use crate::daemon::cookies::{Secrets, SecretsError};
use crate::daemon::first::{self, FirstTable, FirstTableError, Former};
use crate::daemon::inputs::{self, Loaded, Loader, Refusal};
use crate::daemon::keeper::Keeper;
use crate::daemon::pulse::Pulse;
use crate::daemon::reload::{self, Probing, Trigger};
use crate::daemon::report::{Identity, Reporter};
use crate::daemon::writer::{About, Event, Writer};
use crate::model::policy::{DotConfig, Policy, ServerConfig as Settings};
use crate::model::status::{ConnectionCounts, Problem, Status, Traffic};
use crate::routing;
use crate::serve::certificate::{self, CertificateError};
use crate::serve::dot::{BoundDot, RunningDot, bind_dot};
use crate::serve::{self, BindError, BoundDns, Counters, Limits, Running, Totals};
use crate::store::state_dir::{Found, KeptInputs, StateDir, StateError};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Longest a stop waits for queries under way.
const DRAIN: Duration = Duration::from_secs(5);
/// Events that may wait for the writer; probes beyond it are dropped and made again.
const EVENT_QUEUE: usize = 16_384;

/// What the command line decides. `None` and empty leave it to `rhumb.yaml`.
#[derive(Clone, Debug)]
pub struct Options {
    pub policies: PathBuf,
    pub state: Option<PathBuf>,
    pub listen: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{}", refusal_sentence(.0))]
    Inputs(Refusal),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    FirstTable(#[from] FirstTableError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot bind the admin address {address}: {source}; choose another with --admin ADDR:PORT")]
    Admin { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Cookies(#[from] SecretsError),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

fn refusal_sentence(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Unreadable(what) => what.clone(),
        Refusal::Mistakes { .. } => {
            "the policy has mistakes and there is no last good one to fall back to; `rhumb check` shows them"
                .to_owned()
        }
        Refusal::Geo(what) => format!("{what}; and there are no last good databases to fall back to"),
    }
}

/// A running daemon.
pub struct Daemon {
    live: Live,
    policy: Arc<Policy>,
    status: watch::Receiver<Option<Arc<Status>>>,
    ready: watch::Sender<bool>,
    admin: SocketAddr,
    events: SyncSender<Event>,
    trigger: Trigger,
    serving: Running,
    dot: Option<RunningDot>,
    /// Rolled as long as it is held.
    _secrets: Secrets,
    reload: tokio::task::JoinHandle<()>,
    admin_task: tokio::task::JoinHandle<()>,
    writer: std::thread::JoinHandle<()>,
}

impl Daemon {
    /// Brings everything up; on an error nothing is left running.
    pub async fn start(options: Options, clock: SharedClock) -> Result<Self, StartError> {
        let Recovered { state, loader, first, problems } = recover(&options, &clock)?;
        let inputs = first.inputs.clone();
        let server = effective(&options, &inputs.policy.server);
        let bound = serve::bind(&server.listen, workers(&server))?;
        let dot = server.dot.as_ref().map(|dot| bind_encrypted(dot, &options.policies)).transpose()?;
        let secrets = server.cookie_secrets.as_ref().map(|file| options.policies.join(file));
        let secrets = Secrets::start(secrets.as_deref())?;
        let (admin_listener, admin) = bind_admin(server.admin).await?;

        let (events, queue) = sync_channel(EVENT_QUEUE);
        let (status_sender, status) = watch::channel(None);
        let identity = Identity {
            started_at: clock.wall(),
            listen: listening(&bound, dot.as_ref()),
            admin: admin.to_string(),
        };
        let counts = Arc::new(SharedCounts::default());
        let reporter = Reporter::new(identity, Arc::clone(&counts), status_sender);
        let keeper = start_keeper(state, &clock, &events)?;
        let pulse = Pulse::new(Arc::clone(&clock));
        let writer =
            Writer::new(first, routing::findings, Arc::clone(&clock), keeper, reporter, pulse.clone());
        let live = Arc::clone(writer.live());
        let policy = Arc::clone(&inputs.policy);
        let answerer = |_| Answerer::new(&live, secrets.live(), Arc::clone(&clock), counts.worker());
        let runtime = tokio::runtime::Handle::current();
        let serving = bound
            .start(answerer, Limits::default(), Arc::clone(&clock), &runtime)
            .map_err(StartError::Thread)?;
        let dot = dot.map(|(bound, certificate)| bound.start(certificate, answerer, Limits::default()));
        let dot = dot.transpose().map_err(StartError::Thread)?;
        let dead_pulse = pulse.clone();
        let writer = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || run_writer(writer, &queue, &dead_pulse))
            .map_err(StartError::Thread)?;
        tell_problems(&events, problems);

        let trigger = Trigger::default();
        let probing = Probing::new(Arc::clone(&clock), events.clone(), clock.wall().0);
        let sockets = [Some(serving.counters()), dot.as_ref().map(RunningDot::counters)];
        let traffic = traffic(counts, sockets.map(Option::<&Arc<_>>::cloned), probing.dropped());
        let reload =
            tokio::spawn(reload::run(loader, inputs, probing, clock, events.clone(), trigger.clone()));
        let (ready, is_ready) = watch::channel(true);
        let routes = admin::router(Admin {
            status: status.clone(),
            explain: ask_writer(&events),
            ready: is_ready,
            health: Arc::new(move || pulse.check()),
            traffic,
            questions: admin::Questions::default(),
        });
        let admin_task = tokio::spawn(serve_admin(admin_listener, routes));
        Ok(Self {
            live,
            policy,
            status,
            ready,
            admin,
            events,
            trigger,
            serving,
            dot,
            _secrets: secrets,
            reload,
            admin_task,
            writer,
        })
    }

    /// Where DNS is answered.
    pub fn dns(&self) -> &[SocketAddr] {
        self.serving.local_addresses()
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The policy in force at the start.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub fn status(&self) -> watch::Receiver<Option<Arc<Status>>> {
        self.status.clone()
    }

    #[cfg(test)]
    pub(super) fn events(&self) -> &SyncSender<Event> {
        &self.events
    }

    /// Reads the policy folder again, as after an edit.
    pub fn reload(&self) {
        self.trigger.pull();
    }

    /// Drains and ends everything, and writes the last good table.
    pub async fn stop(self) {
        self.ready.send_replace(false);
        self.reload.abort();
        let dot = async {
            if let Some(dot) = self.dot {
                dot.stop(DRAIN).await;
            }
        };
        let (died, ()) = tokio::join!(self.serving.stop(DRAIN), dot);
        for worker in died {
            tracing::error!("worker {worker} had died; please report it");
        }
        let (events, writer) = (self.events, self.writer);
        let ended = tokio::task::spawn_blocking(move || {
            let _ = events.send(Event::Stop);
            writer.join().is_err()
        });
        if ended.await.unwrap_or(true) {
            tracing::error!("the writer had died; please report it");
        }
        self.admin_task.abort();
    }
}

/// What a start begins with.
struct Recovered {
    state: StateDir,
    loader: Loader,
    first: FirstTable,
    problems: Vec<(About, Problem)>,
}

/// Inputs from the folder, or else the last good ones; and the last good table.
fn recover(options: &Options, clock: &SharedClock) -> Result<Recovered, StartError> {
    let mut loader = Loader::new(&options.policies);
    let mut loaded = loader.load();
    let configured = || inputs::settings_of(&options.policies).map(|server| server.state_dir);
    let in_force = || loaded.inputs.as_ref().map(|it| it.policy.server.state_dir.clone());
    let folder = options.state.clone().or_else(in_force).or_else(configured);
    let (state, unwritable) = StateDir::open(&folder.unwrap_or_else(|| Settings::default().state_dir))?;
    let mut problems = Problems { clock, found: Vec::new() };

    if !loaded.refusals.is_empty() {
        let kept = problems.unwrap(state.recall_inputs());
        loaded = fall_back(&mut loader, loaded, kept)?;
    }
    problems
        .found
        .extend(loaded.refusals.iter().map(|refusal| (About::Inputs, refusal.problem(clock.wall()))));
    let Some(inputs) = loaded.inputs else {
        let none = || Refusal::Unreadable("there is no policy".to_owned());
        return Err(StartError::Inputs(loaded.refusals.pop().unwrap_or_else(none)));
    };
    let recalled = state.recall_table();
    // What was published while nothing could be kept is not known either.
    let is_history_lost = recalled.is_err() || unwritable.is_some() && matches!(recalled, Ok(None));
    let former = Former { table: problems.unwrap(recalled), is_history_lost };
    let kept = || {
        let kept = state.recall_inputs().ok().flatten()?.value;
        let inputs = loader.load_kept(kept).ok()?;
        Some(inputs)
    };
    let first = first::first_table(inputs, &former, kept, clock, routing::findings)?;
    Ok(Recovered { state, loader, first, problems: problems.found })
}

/// Takes what a former run kept where the folder has nothing usable. Geo data first: with it, the
/// folder's own policy may be fine.
fn fall_back(loader: &mut Loader, loaded: Loaded, kept: Option<KeptInputs>) -> Result<Loaded, StartError> {
    let Some(kept) = kept else { return Ok(loaded) };
    let mut loaded = loaded;
    if loaded.inputs.is_none() && loaded.refusals.iter().all(|refusal| matches!(refusal, Refusal::Geo(_))) {
        loader.recall_geo(kept.geo.clone()).map_err(StartError::Inputs)?;
        let refusals = loaded.refusals;
        loaded = loader.load();
        loaded.refusals = refusals;
    }
    if loaded.inputs.is_none() {
        match loader.load_kept(kept) {
            Ok(inputs) => loaded.inputs = Some(inputs),
            Err(refusal) => {
                tracing::error!("the last good inputs are of no use either: {}", refusal.sentence());
            }
        }
    }
    Ok(loaded)
}

/// Collects what was wrong with the state folder on the way.
struct Problems<'a> {
    clock: &'a SharedClock,
    found: Vec<(About, Problem)>,
}

impl Problems<'_> {
    fn unwrap<T>(&mut self, recalled: Result<Option<Found<T>>, String>) -> Option<T> {
        let (value, note) = match recalled {
            Ok(Some(Found { value, passed_over })) => (Some(value), passed_over),
            Ok(None) => (None, None),
            Err(message) => (None, Some(message)),
        };
        if let Some(message) = note {
            let help = match value {
                Some(_) => "the version before it is in use; nothing to do",
                None => {
                    "it is written anew with the next table; until the first probes are back, unknown nodes may be answered"
                }
            };
            let problem = Problem {
                since: self.clock.wall(),
                code: "state-unreadable".to_owned(),
                message,
                help: help.to_owned(),
            };
            self.found.push((About::Recovery, problem));
        }
        value
    }
}

/// Flags outrank `rhumb.yaml`.
fn effective(options: &Options, configured: &Settings) -> Settings {
    let mut server = configured.clone();
    if !options.listen.is_empty() {
        server.listen.clone_from(&options.listen);
    }
    server.admin = options.admin.unwrap_or(server.admin);
    server
}

fn workers(server: &Settings) -> usize {
    match server.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => usize::from(n),
    }
}

/// Every DNS address, as people read it.
fn listening(plain: &BoundDns, dot: Option<&(BoundDot, Arc<ServerConfig>)>) -> Vec<String> {
    let encrypted = dot.iter().flat_map(|(bound, _)| bound.local_addresses());
    let plain = plain.local_addresses().iter().map(ToString::to_string);
    plain.chain(encrypted.map(|address| format!("{address} (TLS)"))).collect()
}

/// DNS over TLS: its addresses and the certificate it shows.
fn bind_encrypted(dot: &DotConfig, policies: &Path) -> Result<(BoundDot, Arc<ServerConfig>), StartError> {
    let certificate = certificate::load(&policies.join(&dot.certificate), &policies.join(&dot.key))?;
    Ok((bind_dot(&dot.listen)?, certificate))
}

async fn bind_admin(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Admin { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn serve_admin(listener: tokio::net::TcpListener, routes: axum::Router) {
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!("the admin address is gone: {error}");
    }
}

fn start_keeper(
    state: StateDir,
    clock: &SharedClock,
    events: &SyncSender<Event>,
) -> Result<Keeper, StartError> {
    let (clock, events) = (Arc::clone(clock), events.clone());
    let mut told = None;
    let report = move |failure: Option<String>| {
        if let Some(message) = failure.as_ref().filter(|_| told != failure) {
            tracing::error!("{message}");
        }
        told.clone_from(&failure);
        let problem = |message: String| Problem {
            since: clock.wall(),
            code: "state-unwritable".to_owned(),
            message,
            help: "make room or mend permissions; a restart would begin from older state, or from none"
                .to_owned(),
        };
        let problems = failure.map(problem).into_iter().collect();
        let _ = events.try_send(Event::Problems { about: About::State, problems });
    };
    Keeper::start(state, report).map_err(StartError::Thread)
}

/// A writer that dies takes nothing with it: DNS goes on from the last good table, and the pulse
/// tells the admin address.
fn run_writer(writer: Writer, queue: &Receiver<Event>, pulse: &Pulse) {
    let run = std::panic::AssertUnwindSafe(|| writer.run(queue));
    if std::panic::catch_unwind(run).is_err() {
        tracing::error!(
            "the writer died: DNS goes on from the last good table, but nothing is planned any more; \
             restart rhumb, and please report what is above"
        );
    }
    pulse.end();
}

fn tell_problems(events: &SyncSender<Event>, problems: Vec<(About, Problem)>) {
    for (_, problem) in &problems {
        tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
    }
    for about in [About::Inputs, About::Recovery] {
        let of_it = problems.iter().filter(|(subject, _)| *subject == about);
        let problems: Vec<Problem> = of_it.map(|(_, problem)| problem.clone()).collect();
        let _ = events.try_send(Event::Problems { about, problems });
    }
}

/// Adds up what the sockets count, whenever it is asked for.
fn traffic(
    counts: Arc<SharedCounts>,
    [plain, dot]: [Option<Arc<Counters>>; 2],
    observations_dropped: Arc<AtomicU64>,
) -> Arc<dyn Fn() -> Traffic + Send + Sync> {
    Arc::new(move || {
        let totals = |counters: &Option<Arc<Counters>>| counters.as_ref().map(|it| it.totals());
        let [plain, dot] = [&plain, &dot].map(|counters| totals(counters).unwrap_or_default());
        let connections = |totals: &Totals| ConnectionCounts {
            opened: totals.connections_opened,
            open: totals.connections_open(),
            refused: totals.connections_refused,
        };
        Traffic {
            queries: counts.sum(),
            tcp: connections(&plain),
            dot: connections(&dot),
            truncated: plain.truncated + dot.truncated,
            unsent: plain.unsent + dot.unsent,
            unanswered: plain.dropped + dot.dropped,
            observations_dropped: observations_dropped.load(Ordering::Relaxed),
        }
    })
}

fn ask_writer(events: &SyncSender<Event>) -> admin::Ask {
    let events = events.clone();
    Arc::new(move |request| {
        let (reply, answer) = oneshot::channel();
        events.try_send(Event::Explain { request, reply }).ok().map(|()| answer)
    })
}
