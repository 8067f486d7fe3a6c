//! The order in which everything comes up and goes down.
//!
//! Up: read the inputs (or the last good ones), restore the last good table, compile the first
//! table, bind every address, start answering, then probe. Nothing says "ready" before all of it.
//! Down: not ready, probes end, queries under way are answered within [`DRAIN`], the last good
//! table is written.

use crate::base::clock::{SharedClock, WallTime};
use crate::daemon::admin;
use crate::daemon::alerting::{Alerting, Alerts, Sources};
use crate::daemon::answering::{Answerer, Live, SharedCounts};
use crate::daemon::cookies::{Secrets, SecretsError};
use crate::daemon::descriptors;
use crate::daemon::door::{self, Behind, Door, Drilled, House};
use crate::daemon::encrypted::{self, Encrypted};
use crate::daemon::first::FirstTableError;
use crate::daemon::incidents::{IncidentWatch, Seen, Watching};
use crate::daemon::inputs::Refusal;
use crate::daemon::keeper::Keeper;
use crate::daemon::measuring::PassKeysError;
use crate::daemon::notify::{KeyFile, Notifier};
use crate::daemon::pulse::Pulse;
use crate::daemon::querylog::{QueryLogError, QueryLogs};
use crate::daemon::recover::{Recovered, recover};
use crate::daemon::reload::{Probing, Trigger};
use crate::daemon::report::{Identity, Reporter};
use crate::daemon::reports::{self, Reports};
use crate::daemon::status_page;
use crate::daemon::takeover::{HeldStore, Inheritance, Offer, Parting};
use crate::daemon::writer::{About, Event, Writer};
use crate::model::alert::AlertReceiver;
use crate::model::policy::{Policy, ServerConfig as Settings};
use crate::model::status::{Problem, Status};
use crate::schedule::Strategy;
use crate::serve::certificate::CertificateError;
use crate::serve::handover::{Cookies, Given, HandoverError};
use crate::serve::{self, BindError, BoundDns, Limits, Running};
use crate::store::state_dir::{StateDir, StateError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::watch;

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
    /// Take the place of the process that uses the state folder, if there is one.
    pub takeover: bool,
    /// For comparison, in the lab alone: no flag of `serve` and no file can say it.
    pub strategy: Strategy,
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
    #[error(
        "the admin address {address} is not on loopback, and would be served in clear; give `admin_access:` in \
         rhumb.yaml a certificate and a key, or choose an address on loopback"
    )]
    AdminInClear { address: SocketAddr },
    #[error(
        "cannot bind {address} for reports: {source}; choose another `listen` under `reports:` in rhumb.yaml"
    )]
    Reports { address: SocketAddr, source: std::io::Error },
    #[error(
        "cannot bind {address} for the status page: {source}; choose another `listen` under `status_page:` in rhumb.yaml"
    )]
    StatusPage { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    PassKeys(#[from] PassKeysError),
    #[error(transparent)]
    Cookies(#[from] SecretsError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    QueryLog(#[from] QueryLogError),
    #[error("cannot share the sockets with a later process")]
    Share(#[source] std::io::Error),
    #[error("cannot start {what}; raise the limit of threads (`ulimit -u`, `TasksMax=` of a unit)")]
    Thread { what: &'static str, source: std::io::Error },
    #[error("cannot serve {what} on {at}: {reason}; {}", listener_remedy(*.is_short))]
    Listener { what: &'static str, at: String, reason: String, is_short: bool },
}

impl StartError {
    pub(super) fn thread(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Thread { what, source }
    }

    /// `what` could be bound, and not be started.
    pub(super) fn listener(what: &'static str, at: &[SocketAddr], error: &std::io::Error) -> Self {
        let at: Vec<String> = at.iter().map(ToString::to_string).collect();
        // What the system lacks has a number; what a library refuses has none.
        let is_short = error.raw_os_error().is_some();
        Self::Listener { what, at: at.join(", "), reason: error.to_string(), is_short }
    }
}

const fn listener_remedy(is_short: bool) -> &'static str {
    match is_short {
        true => {
            "raise the limits of threads and open files (`ulimit -u`, `ulimit -n`; `TasksMax=`, `LimitNOFILE=` of a unit)"
        }
        false => "check its section of rhumb.yaml, the certificate and the key above all",
    }
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
    listening: Vec<String>,
    events: SyncSender<Event>,
    trigger: Trigger,
    serving: Running,
    encrypted: Encrypted,
    reports: Option<Reports>,
    offer: Offer,
    /// Rolled as long as it is held.
    _secrets: Secrets,
    /// Written out when they are dropped.
    logs: QueryLogs,
    reload: tokio::task::JoinHandle<()>,
    notify: tokio::task::JoinHandle<()>,
    alerts: Alerts,
    incidents: IncidentWatch,
    door: Door,
    pulse: Pulse,
    writer: std::thread::JoinHandle<()>,
}

impl Daemon {
    /// Brings everything up; on an error nothing is left running.
    pub async fn start(options: Options, clock: SharedClock) -> Result<Self, StartError> {
        Self::start_given(options, Given::default(), clock).await
    }

    /// As [`start`](Self::start), with sockets that a supervisor opened.
    pub async fn start_given(
        options: Options,
        activated: Given,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        let Recovered { mut state, loader, first, problems, predecessor } = recover(&options, &clock)?;
        let inputs = first.inputs.clone();
        let mut inheritance = Inheritance::claim(predecessor, activated, &mut state)?;
        let server = effective(&options, &inputs.policy.server, &inheritance.given);
        let secrets = start_secrets(&server, &options, inheritance.given.cookies.take(), &clock)?;
        let Sockets { bound, encrypted, door, reports, status_page, offered } =
            open_sockets(&server, &options, &mut inheritance.given, &state, &secrets).await?;
        let (events, queue) = sync_channel(EVENT_QUEUE);
        let identity = identify(clock.wall(), &bound, &encrypted, door.address());
        let (listening, counts) = (identity.listen.clone(), Arc::new(SharedCounts::default()));
        let (reporter, status) = Reporter::new(identity, Arc::clone(&counts));
        let folder = state.path().to_owned();
        let keeper = start_keeper(inheritance.guard(state), &clock, &events)?;
        let (shelf, pulse) = (keeper.alert_book(), Pulse::new(Arc::clone(&clock)));
        let writer = Writer::new(first, Arc::clone(&clock), keeper, reporter, pulse.clone());
        let (live, policy) = (Arc::clone(writer.live()), Arc::clone(&inputs.policy));
        let logs = QueryLogs::start(&server, &clock)?;
        let notifier = Notifier::new(&live, &status, &events, &clock, KeyFile::new(&options.policies));
        let (limits, transfers) = (descriptors::limits(), notifier.transfers());
        let plain = || Answerer::new(&live, secrets.live(), Arc::clone(&clock), counts.worker());
        let taps = |seat: usize| logs.taps(clock.wall().0 + seat as u64);
        let answerer =
            |seat| plain().idle_tenths(limits.idle_tenths()).with_transfers(&transfers).watched(taps(seat));
        let serving = start_plain(bound, answerer, || secrets.seed(), &limits, &clock)?;
        let probing = Probing::new(&options.policies, &inputs, Arc::clone(&clock), events.clone());
        let encrypted = encrypted.start(answerer, &limits, &clock, probing.post())?;
        let writer = writer.start(queue).map_err(StartError::thread("the writer"))?;
        tell_problems(&events, problems);
        let alerting = Alerting::new(Sources::of(&live, &status, &pulse, &clock, &events), &options.policies);
        let (trigger, (ready, is_ready)) = (Trigger::default(), watch::channel(true));
        let (sockets, post) = (Arc::clone(serving.counters()), probing.post().clone());
        let traffic = admin::traffic(counts, sockets, encrypted.counters(), post.clone(), logs.counts());
        let house = House::of((&folder, &options.policies), &server.instance, &clock, &events, &live);
        let (reload, policies) = house.read_policies(loader, inputs, probing, &trigger);
        let watching = Watching::new(Seen::of(&house, &status, &pulse), &policies, alerting.shown(), &server);
        let sights = admin::Sights::new(&status, is_ready, &pulse, watching.told(), traffic, &post);
        let at = Drilled { folder: &options.policies, dns: serving.local_addresses() };
        let behind = Behind { sights, policies, at, incidents: watching.routes(), post: &post };
        let door = door.open(&house, behind, &server.admin_access)?;
        let offer = inheritance.settle(offered).await?;
        encrypted.listen();
        Ok(Self {
            live,
            policy,
            status,
            ready,
            listening,
            events,
            trigger,
            serving,
            encrypted,
            reports: reports.map(|bound| bound.listen(&post, &clock)),
            offer,
            _secrets: secrets,
            logs,
            reload,
            // Whoever is told of a change asks at once, and must not be answered by the predecessor.
            notify: tokio::spawn(notifier.run()),
            alerts: alerting.recalling(&folder, shelf).start(),
            incidents: watching.start(status_page),
            door,
            pulse,
            writer,
        })
    }

    /// Where DNS is answered.
    pub fn dns(&self) -> &[SocketAddr] {
        self.serving.local_addresses()
    }

    /// Every DNS address as people read it, those of encrypted transports too.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    pub fn admin(&self) -> SocketAddr {
        self.door.address()
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

    /// Whether the writer is at work, as a supervisor wants to know.
    pub fn is_healthy(&self) -> bool {
        self.pulse.check().is_ok()
    }

    /// Tells `receiver` of alerts as well.
    pub fn also_tell(&self, receiver: AlertReceiver) {
        self.alerts.also_tell(receiver);
    }

    #[cfg(test)]
    pub(super) fn events(&self) -> &SyncSender<Event> {
        &self.events
    }

    /// Reads the policy folder again, as after an edit; what is returned ends when that is done, and
    /// need not be waited for.
    pub fn reload(&self) -> impl Future<Output = ()> + Send + use<> {
        self.trigger.pull()
    }

    /// Waits until a successor answers in this process's place; [`part`](Self::part) is to follow.
    pub async fn successor(&mut self) -> Parting {
        self.offer.successor().await
    }

    /// Drains and ends everything, and writes the last good table.
    pub async fn stop(self) {
        self.end(None).await;
    }

    /// Leaves the sockets to a successor: only connections are drained.
    pub async fn part(self, parting: Parting) {
        self.end(Some(parting)).await;
    }

    async fn end(mut self, parting: Option<Parting>) {
        self.ready.send_replace(false);
        self.door.end_drills().await;
        // Until the end somebody may want to see how it goes, unless a successor tells.
        let door = match parting {
            Some(_) => {
                self.door.close().await;
                None
            }
            None => Some(self.door),
        };
        self.offer.end().await;
        if let Some(reports) = self.reports {
            reports.stop().await;
        }
        self.reload.abort();
        self.notify.abort();
        drop(self.alerts);
        drop(self.incidents);
        let (events, writer) = (self.events, self.writer);
        let died = match parting {
            None => {
                let (died, ()) = tokio::join!(self.serving.stop(DRAIN), self.encrypted.stop(DRAIN));
                end_writer(events, writer).await;
                died
            }
            // The successor waits for the state folder, and the connections do not need the writer.
            Some(parting) => {
                let encrypted = self.encrypted;
                let told = async {
                    end_writer(events, writer).await;
                    // Until then nobody else reads the socket of QUIC.
                    encrypted.leave();
                    parting.tell();
                    encrypted.stop(DRAIN).await;
                };
                tokio::join!(self.serving.part(DRAIN), told).0
            }
        };
        for worker in died {
            tracing::error!("worker {worker} had died; please report it");
        }
        let logs = self.logs;
        let _ = tokio::task::spawn_blocking(move || drop(logs)).await;
        if let Some(door) = door {
            door.close().await;
        }
    }
}

async fn end_writer(events: SyncSender<Event>, writer: std::thread::JoinHandle<()>) {
    let ended = tokio::task::spawn_blocking(move || {
        let _ = events.send(Event::Stop);
        writer.join().is_err()
    });
    if ended.await.unwrap_or(true) {
        tracing::error!("the writer had died; please report it");
    }
}

/// Everything that listens, before anything is read.
struct Sockets {
    bound: BoundDns,
    encrypted: encrypted::Bound,
    door: door::Bound,
    reports: Option<reports::Bound>,
    status_page: Option<status_page::Bound>,
    /// The same once more, for a successor.
    offered: Given,
}

async fn open_sockets(
    server: &Settings,
    options: &Options,
    given: &mut Given,
    state: &StateDir,
    secrets: &Secrets,
) -> Result<Sockets, StartError> {
    // Those that are known by their address first: what is left over is plain DNS.
    let door = door::bind(server, &options.policies, given).await?;
    let reports = reports::bind(server.reports.as_ref(), &options.policies, given).await?;
    let status_page = status_page::bind(server.status_page.as_ref(), given).await?;
    let encrypted = encrypted::bind(server, &options.policies, given)?;
    let bound = serve::bind_given(&server.listen, workers(server), given)?;
    let cookies = Some(secrets.cookies());
    let mut offered = Given { replaces_listen: given.replaces_listen, cookies, ..Given::default() };
    let share = |offered: &mut Given| {
        bound.share(offered)?;
        encrypted.share(offered)?;
        door.share(offered)?;
        reports.iter().try_for_each(|bound| bound.share(offered))?;
        status_page.iter().try_for_each(|bound| bound.share(offered))?;
        offered.lock = state.share_lock()?;
        Ok(())
    };
    share(&mut offered).map_err(StartError::Share)?;
    // What nobody listens on any more is closed by the caller with the rest of `given`.
    Ok(Sockets { bound, encrypted, door, reports, status_page, offered })
}

/// Flags outrank `rhumb.yaml`, and sockets that a supervisor opened outrank both.
fn effective(options: &Options, configured: &Settings, given: &Given) -> Settings {
    let mut server = configured.clone();
    if !options.listen.is_empty() {
        server.listen.clone_from(&options.listen);
    }
    server.admin = options.admin.unwrap_or(server.admin);
    if given.replaces_listen {
        let of_another = |address: &SocketAddr| {
            let encrypted = [&server.dot, &server.doh, &server.doq];
            let reports = server.reports.iter().map(|reports| &reports.tls);
            let measure = server.measure.iter().map(|measure| &measure.tls);
            *address == server.admin
                || server.status_page.as_ref().is_some_and(|page| page.listen == *address)
                || encrypted
                    .into_iter()
                    .flatten()
                    .chain(reports)
                    .chain(measure)
                    .any(|it| it.listen.contains(address))
        };
        let opened = given.plain_addresses();
        server.listen = opened.into_iter().filter(|address| !of_another(address)).collect();
    }
    server
}

fn workers(server: &Settings) -> usize {
    match server.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => usize::from(n),
    }
}

fn identify(
    started_at: WallTime,
    bound: &BoundDns,
    encrypted: &encrypted::Bound,
    admin: SocketAddr,
) -> Identity {
    Identity { started_at, listen: listening(bound, encrypted), admin: admin.to_string() }
}

/// Every DNS address, as people read it.
fn listening(plain: &BoundDns, encrypted: &encrypted::Bound) -> Vec<String> {
    let plain = plain.local_addresses().iter().map(ToString::to_string);
    plain.chain(encrypted.listening()).collect()
}

/// Who answers over UDP holds to limits.
fn start_plain(
    bound: BoundDns,
    answerer: impl Fn(usize) -> Answerer,
    seed: impl Fn() -> u64,
    limits: &Limits,
    clock: &SharedClock,
) -> Result<Running, StartError> {
    let at = bound.local_addresses().to_vec();
    let udp_workers = bound.udp_workers();
    let answers = |at| match at < udp_workers {
        true => answerer(at).limited(seed()),
        false => answerer(at),
    };
    let running = bound.start(answers, limits.clone(), Arc::clone(clock));
    running.map_err(|error| StartError::listener("DNS over UDP and TCP", &at, &error))
}

fn start_secrets(
    server: &Settings,
    options: &Options,
    inherited: Option<Cookies>,
    clock: &SharedClock,
) -> Result<Secrets, SecretsError> {
    let file = server.cookie_secrets.as_ref().map(|file| options.policies.join(file));
    Secrets::start(file.as_deref(), inherited, clock)
}

fn start_keeper(
    state: HeldStore,
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
    Keeper::start(state, report).map_err(StartError::thread("the keeper of the state folder"))
}

fn tell_problems(events: &SyncSender<Event>, problems: Vec<(About, Problem)>) {
    for (_, problem) in &problems {
        tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
    }
    for about in [About::Inputs, About::Recovery, About::Overrides] {
        let of_it = problems.iter().filter(|(subject, _)| *subject == about);
        let problems: Vec<Problem> = of_it.map(|(_, problem)| problem.clone()).collect();
        let _ = events.try_send(Event::Problems { about, problems });
    }
}
