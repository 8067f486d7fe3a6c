//! The admin address itself: where it listens, who is let in, and what is behind it.
//!
//! ```text
//!  local socket (root and rhumb's own user) ─┐
//!  loopback: HTTP ───────────────────────────┼─▶ introduce ─▶ admit ─▶ status, explain, journal, overrides, tokens, audit
//!  elsewhere: TLS 1.3 only ──────────────────┘         └─▶ nodes' pushed load, which has tokens of its own
//! ```

use crate::audit::AuditLog;
use crate::base::clock::SharedClock;
use crate::base::error::chain;
use crate::control::access::{self, Access, Caller};
use crate::control::admin;
use crate::control::drills as drill_routes;
use crate::control::incidents::{self, Incidents};
use crate::control::policies::{self, Policies};
use crate::control::{self, local, operators, plan};
use crate::daemon::admin::Sights;
use crate::daemon::answering::Live;
use crate::daemon::audit_sending::{self, Sending};
use crate::daemon::canary::{self, Look, Shown};
use crate::daemon::certificates::{self, Renewal};
use crate::daemon::drills::{self, Drills};
use crate::daemon::encrypted::Listener;
use crate::daemon::events as daemon_events;
use crate::daemon::inputs::{Inputs, Loader};
use crate::daemon::journal;
use crate::daemon::planning;
use crate::daemon::policies::Desk;
use crate::daemon::readiness;
use crate::daemon::reload::{self, Probing, Setting, Trigger};
use crate::daemon::reports::Post;
use crate::daemon::start::StartError;
use crate::daemon::writer::{About, Event};
use crate::model::alert::AlertReceiver;
use crate::model::policy::{AdminAccess, EncryptedListener, ServerConfig as Settings};
use crate::model::status::{Problem, Status};
use crate::serve::certificate::Purpose;
use crate::serve::handover::{Given, Served};
use crate::serve::web::Peer;
use crate::serve::{BoundTls, Limits, RunningEncrypted};
use crate::store::tokens::Tokens;
use axum::Router;
use axum::extract::Request;
use axum::middleware;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Between attempts to have a local socket that another process has still.
const RETRY: Duration = Duration::from_millis(50);
/// How often lines of the audit log that wait are tried again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

enum Listening {
    Clear(TcpListener),
    Secret(Listener<BoundTls>),
}

/// The admin address, bound.
pub struct Bound {
    listening: Listening,
    address: SocketAddr,
    /// `None`: another process has it still.
    local: Option<UnixListener>,
}

impl Bound {
    fn new(listening: Listening, address: SocketAddr) -> Self {
        Self { listening, address, local: local::bind(address).ok() }
    }
}

/// Binds it, so that a port in use refuses the start; or takes it from `given`.
pub async fn bind(server: &Settings, policies: &Path, given: &mut Given) -> Result<Bound, StartError> {
    let address = server.admin;
    if let Some(tls) = &server.admin_access.tls {
        let wanted = EncryptedListener { listen: vec![address], ..tls.clone() };
        let listener = Listener::bind(Some(&wanted), policies, Purpose::Admin, |at| {
            BoundTls::bind(at, Purpose::Admin, given)
        })?;
        if let Some(listener) = listener {
            let address = listener.bound().local_addresses().first().copied().unwrap_or(address);
            return Ok(Bound::new(Listening::Secret(listener), address));
        }
    }
    if !address.ip().is_loopback() {
        return Err(StartError::AdminInClear { address });
    }
    let failed = |source| StartError::Admin { address, source };
    let listener = match given.take_tcp(address, Served::Admin) {
        Some(listener) => TcpListener::from_std(listener).map_err(failed)?,
        None => TcpListener::bind(address).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound::new(Listening::Clear(listener), address))
}

/// What is around the door.
pub struct House<'a> {
    pub state: &'a Path,
    /// Of policies: where their relative paths begin.
    pub folder: &'a Path,
    pub instance: &'a str,
    pub clock: &'a SharedClock,
    pub events: &'a SyncSender<Event>,
    pub live: &'a Live,
}

/// What is behind it.
pub struct Behind<'a> {
    pub sights: Sights,
    pub policies: Policies,
    pub at: Drilled<'a>,
    pub incidents: Incidents,
    pub post: &'a Post,
}

impl<'a> House<'a> {
    /// Of a state folder and a policy folder.
    pub fn of(
        (state, folder): (&'a Path, &'a Path),
        instance: &'a str,
        clock: &'a SharedClock,
        events: &'a SyncSender<Event>,
        live: &'a Live,
    ) -> Self {
        Self { state, folder, instance, clock, events, live }
    }
}

/// What drills ask, and where their programs are.
pub struct Drilled<'a> {
    pub folder: &'a Path,
    /// Where DNS is answered over UDP.
    pub dns: &'a [SocketAddr],
}

impl House<'_> {
    /// Begins to read the policy folder, and to carry out orders about it; what is wrong with the history is told.
    pub fn read_policies(
        &self,
        loader: Loader,
        inputs: Inputs,
        probing: Probing,
        trigger: &Trigger,
    ) -> (JoinHandle<()>, Policies) {
        let (desk, orders, told) = Desk::new(self.state, self.clock);
        let problem = told.map(|message| Problem {
            since: self.clock.wall(),
            code: "history-damaged".to_owned(),
            message,
            help: "policies go on as they are; what comes into force from now on is kept if it can be"
                .to_owned(),
        });
        self.tell(About::History, problem.into_iter().collect());
        let history = desk.history();
        let think = planning::thinker(self.events, loader.folder());
        let (clock, live, shown) = (Arc::clone(self.clock), Arc::clone(self.live), Shown::default());
        let look = Look {
            events: self.events.clone(),
            orders: orders.clone(),
            shown: shown.clone(),
            clock: Arc::clone(&clock),
            history: Arc::clone(&history),
        };
        let canary = shown.canary.subscribe();
        let setting = Setting { clock, trigger: trigger.clone(), desk, live, shown };
        // Both end together.
        let reading = async move {
            tokio::join!(reload::run(loader, inputs, probing, setting), canary::watch(look));
        };
        (tokio::spawn(reading), Policies { orders, history, think, canary })
    }

    /// Begins to take wishes about drills, once what a former run left of one is taken back.
    fn run_drills(
        &self,
        status: watch::Receiver<Option<Arc<Status>>>,
        (policies, incidents): (&Policies, &Incidents),
        at: &Drilled<'_>,
        audit: &Arc<AuditLog>,
    ) -> Drills {
        Drills::start(drills::Setting {
            live: Arc::clone(self.live),
            status,
            incidents: incidents.open.clone(),
            clock: Arc::clone(self.clock),
            events: self.events.clone(),
            shelf: Arc::clone(&policies.history),
            audit: Arc::clone(audit),
            policies: at.folder.to_owned(),
            dns: at.dns.first().copied(),
        })
    }

    fn tell(&self, about: About, problems: Vec<Problem>) {
        for problem in &problems {
            tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        let _ = self.events.try_send(Event::Problems { about, problems });
    }

    /// Handing the audit log on.
    fn sending(&self, receiver: &AlertReceiver) -> Sending {
        Sending {
            state: self.state.to_owned(),
            folder: self.folder.to_owned(),
            instance: self.instance.to_owned(),
            receiver: receiver.clone(),
            clock: Arc::clone(self.clock),
            events: self.events.clone(),
        }
    }

    /// Whom the door knows, from the state folder; problems with what it holds are told.
    fn access(&self, config: &AdminAccess) -> Access {
        let Self { state, clock, .. } = self;
        let (tokens, token_fault) = Tokens::open(state);
        let (audit, audit_faults) = AuditLog::open(state, config.audit_copy.clone(), clock.wall());
        let since = clock.wall();
        let of_tokens = token_fault.map(|message| Problem {
            since,
            code: "tokens-damaged".to_owned(),
            message,
            help: "make them anew with `rhumb token create`; until then nobody else is let in".to_owned(),
        });
        let of_audit = audit_faults.into_iter().map(|message| Problem {
            since,
            code: "audit-damaged".to_owned(),
            message,
            help: "keep the file and its copies as they are, and see `rhumb audit verify`".to_owned(),
        });
        let problems: Vec<Problem> = of_tokens.into_iter().chain(of_audit).collect();
        self.tell(About::Operators, problems);
        Access {
            tokens: Arc::new(tokens),
            audit: Arc::new(audit),
            clock: Arc::clone(clock),
            metrics: config.metrics.clone().into(),
        }
    }
}

impl Bound {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds the socket itself to `given`, for a successor.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        match &self.listening {
            Listening::Clear(listener) => {
                given.add(listener.as_fd().try_clone_to_owned()?, Some(Served::Admin))
            }
            Listening::Secret(listener) => listener.bound().share(given),
        }
    }

    /// Lets people in until it is closed.
    ///
    /// # Errors
    /// No thread or descriptor is left.
    pub fn open(
        self,
        house: &House<'_>,
        behind: Behind<'_>,
        config: &AdminAccess,
    ) -> Result<Door, StartError> {
        let House { state, clock, events, .. } = house;
        let Behind { sights, policies, at, incidents, post } = behind;
        let access = house.access(config);
        let drills = house.run_drills(sights.status(), (&policies, &incidents), &at, &access.audit);
        let overrides = sights.overrides(events);
        let (shown, planned) = tokio::sync::watch::channel(None);
        let of_events = control::events::Events { planned, history: Arc::clone(&policies.history) };
        let watching =
            daemon_events::run((*events).clone(), Arc::clone(&of_events.history), Arc::clone(clock), shown);
        let canaries = policies.canaries();
        let ends = canary::write_down(canaries.shown.clone(), Arc::clone(&access.audit), Arc::clone(clock));
        let routes = admin::router(sights.routes(events))
            .merge(overrides)
            .merge(journal::routes(state))
            .merge(drill_routes::routes(drills.wishes()))
            .merge(control::readiness::routes(readiness::foresee(events)))
            .merge(control::events::routes(of_events))
            .merge(plan::routes(Arc::clone(&policies.think)))
            .merge(control::canary::routes(canaries))
            .merge(policies::routes(policies))
            .merge(incidents::routes(incidents));
        let (address, clock, events) = (self.address, Arc::clone(clock), (*events).clone());
        let mut tasks = vec![
            tokio::spawn(watch_audit(access.clone(), events.clone())),
            tokio::spawn(watching),
            tokio::spawn(ends),
        ];
        let sending = config.audit_webhook.as_ref().map(|receiver| house.sending(receiver));
        tasks.extend(sending.map(|sending| tokio::spawn(audit_sending::run(sending))));
        let guarded = routes
            .merge(operators::routes(
                Arc::clone(&access.tokens),
                Arc::clone(&access.audit),
                Arc::clone(&access.clock),
            ))
            .layer(middleware::from_fn_with_state(access, access::admit));
        // Nodes show tokens of their own.
        let all = guarded.merge(post.routes(&clock));
        tasks.push(tokio::spawn(serve_local(self.local, address, introduced(all.clone()))));
        let running = match self.listening {
            Listening::Clear(listener) => {
                tasks.push(tokio::spawn(serve_clear(listener, introduced(all))));
                None
            }
            Listening::Secret(listener) => {
                let (bound, pair, config) = listener.take();
                let all = all.layer(middleware::map_request(from_tls));
                let running = bound.start_routes("admin", config, all, Limits::default());
                let running = running
                    .map_err(|error| StartError::listener(Purpose::Admin.name(), &[address], &error))?;
                let renewals = vec![Renewal::new(pair, running.slot())];
                let renewing = certificates::run(renewals, About::AdminCertificate, clock, events);
                tasks.push(tokio::spawn(renewing));
                Some(running)
            }
        };
        Ok(Door { address, tasks, running, drills: Some(drills) })
    }
}

fn introduced(routes: Router) -> Router {
    routes.layer(middleware::map_request(local::introduce))
}

async fn from_tls(mut request: Request) -> Request {
    if let Some(&Peer(address)) = request.extensions().get::<Peer>() {
        request.extensions_mut().insert(Caller::Remote(address));
    }
    request
}

async fn serve_clear(listener: TcpListener, routes: Router) {
    let service = routes.into_make_service_with_connect_info::<Caller>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!("the admin address is gone: {error}");
    }
}

/// A predecessor has the socket until it leaves.
async fn serve_local(mut bound: Option<UnixListener>, address: SocketAddr, routes: Router) {
    let mut is_told = false;
    let listener = loop {
        match bound.take().map_or_else(|| local::bind(address), Ok) {
            Ok(listener) => break listener,
            Err(error) if !is_told && error.kind() != io::ErrorKind::AddrInUse => {
                tracing::error!("cannot open the local socket of the admin address: {}", chain(&error));
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    };
    let service = routes.into_make_service_with_connect_info::<Caller>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!("the local socket of the admin address is gone: {error}");
    }
}

/// Has the audit log try again what waits, and tells what is wrong with it.
async fn watch_audit(access: Access, events: SyncSender<Event>) {
    let mut was_well = true;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (audit, now) = (Arc::clone(&access.audit), access.clock.wall());
        let Ok(looked) = tokio::task::spawn_blocking(move || audit.look(now)).await else { return };
        let is_well = looked.is_ok();
        if is_well && was_well {
            continue;
        }
        let problem = looked.err().map(|(message, backlog)| Problem {
            since: now,
            code: "audit-unwritable".to_owned(),
            message: format!("{message} ({} lines wait, {} are lost)", backlog.waiting, backlog.lost),
            help: "until then operators can only take back what was done: undrain, abort, rollback"
                .to_owned(),
        });
        let problems = problem.into_iter().collect();
        was_well = is_well && events.try_send(Event::Problems { about: About::Audit, problems }).is_ok();
    }
}

/// The admin address, at work.
pub struct Door {
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
    running: Option<RunningEncrypted>,
    /// None: they have ended.
    drills: Option<Drills>,
}

impl Door {
    /// Ends a drill that runs, and restores; no other is begun.
    pub async fn end_drills(&mut self) {
        if let Some(drills) = self.drills.take() {
            drills.stop().await;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more.
    pub async fn close(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(running) = self.running {
            running.stop(Duration::ZERO).await;
        }
    }
}
