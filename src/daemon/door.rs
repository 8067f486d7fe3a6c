//! The admin address itself: where it listens, who is let in, and what is behind it.
//!
//! ```text
//!  local socket (root and rhumb's own user) ─┐
//!  loopback: HTTP ───────────────────────────┼─▶ introduce ─▶ admit ─▶ status, explain, journal, tokens, audit
//!  elsewhere: TLS 1.3 only ──────────────────┘         └─▶ nodes' pushed load, which has tokens of its own
//! ```

use crate::audit::AuditLog;
use crate::base::clock::SharedClock;
use crate::base::error::chain;
use crate::control::access::{self, Access, Caller};
use crate::control::admin;
use crate::control::{local, operators};
use crate::daemon::admin::Sights;
use crate::daemon::certificates::{self, Renewal};
use crate::daemon::encrypted::Listener;
use crate::daemon::journal;
use crate::daemon::reports::Post;
use crate::daemon::start::StartError;
use crate::daemon::writer::{About, Event};
use crate::model::policy::{AdminAccess, EncryptedListener, ServerConfig as Settings};
use crate::model::status::Problem;
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

/// What the door stands before, and where it takes from whom it knows.
pub struct House<'a> {
    pub sights: Sights,
    pub post: &'a Post,
    pub state: &'a Path,
    pub clock: &'a SharedClock,
    pub events: &'a SyncSender<Event>,
}

/// Whom the door knows, from the state folder; problems with what it holds are told.
fn access(state: &Path, config: &AdminAccess, clock: &SharedClock, events: &SyncSender<Event>) -> Access {
    let (tokens, token_fault) = Tokens::open(state);
    let (audit, audit_faults) = AuditLog::open(state, config.audit_copy.clone(), clock.wall());
    let problem = |code: &str, message: String, help: &str| Problem {
        since: clock.wall(),
        code: code.to_owned(),
        message,
        help: help.to_owned(),
    };
    let of_tokens = token_fault.map(|fault| {
        problem(
            "tokens-damaged",
            fault,
            "make the tokens anew with `rhumb token create`; until then nobody else is let in",
        )
    });
    let of_audit = audit_faults.into_iter().map(|fault| {
        problem(
            "audit-damaged",
            fault,
            "keep the file and its copies as they are, and see `rhumb audit verify`",
        )
    });
    let problems: Vec<Problem> = of_tokens.into_iter().chain(of_audit).collect();
    for problem in &problems {
        tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
    }
    let _ = events.try_send(Event::Problems { about: About::Operators, problems });
    Access {
        tokens: Arc::new(tokens),
        audit: Arc::new(audit),
        clock: Arc::clone(clock),
        metrics: config.metrics.clone().into(),
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
    pub fn open(self, house: House<'_>, config: &AdminAccess) -> Result<Door, StartError> {
        let House { sights, post, state, clock, events } = house;
        let access = access(state, config, clock, events);
        let routes = admin::router(sights.routes(events)).merge(journal::routes(state));
        let (address, clock) = (self.address, Arc::clone(clock));
        let mut tasks = vec![tokio::spawn(watch(access.clone(), events.clone()))];
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
                let renewing = certificates::run(renewals, About::AdminCertificate, clock, events.clone());
                tasks.push(tokio::spawn(renewing));
                Some(running)
            }
        };
        Ok(Door { address, tasks, running })
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
async fn watch(access: Access, events: SyncSender<Event>) {
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
}

impl Door {
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
