//! `rhumb serve`: the daemon in the foreground, until SIGTERM or SIGINT.

use crate::base::clock::{SharedClock, SystemClock};
use crate::cli::{chain, render};
use crate::daemon::inputs::Refusal;
use crate::daemon::start::{Daemon, Options, StartError};
use crate::daemon::supervisor::{self, Supervisor};
use crate::schedule::Strategy;
use crate::serve::handover::Given;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A watchdog of less would be a busy loop.
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(10);

/// Answer DNS by the policy folder
///
/// Reads the folder, restores the last good table, binds every address, and only then says that it
/// is ready. Edits take effect by themselves (or on SIGHUP); a broken edit is refused and the last
/// good policy stays, also across a restart. SIGTERM drains: queries under way are answered first.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb serve --policies policies --state /var/lib/rhumb
  rhumb serve --listen 192.0.2.1:53 --listen '[2001:db8::1]:53'
  rhumb serve --policies policies --state /var/lib/rhumb --takeover
                                  # a new version: no query is lost")]
pub struct ServeArgs {
    /// Folder with the policy files
    #[arg(long, default_value = "policies", value_name = "DIR")]
    policies: PathBuf,
    /// Folder for the last good state [default: `state` of rhumb.yaml, or ./state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// DNS address, UDP and TCP; may be repeated [default: `listen` of rhumb.yaml, or 127.0.0.1:5300]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Admin address [default: `admin` of rhumb.yaml, or 127.0.0.1:8053]
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// Take the place of the rhumb that uses the state folder, without losing a query; start as usual
    /// if there is none
    #[arg(long)]
    takeover: bool,
    /// How to log [default: human on a terminal, else json]; RUST_LOG filters
    #[arg(long, value_enum)]
    log: Option<LogFormat>,
    /// Where a supervisor is told that this process is ready
    #[arg(long, env = "NOTIFY_SOCKET", hide = true)]
    notify_socket: Option<OsString>,
    /// How soon a supervisor gives up on a silent process, in microseconds
    #[arg(long, env = "WATCHDOG_USEC", hide = true)]
    watchdog_usec: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

impl ServeArgs {
    pub fn run(&self) -> ExitCode {
        let json = self.log.map_or(!std::io::stderr().is_terminal(), |format| format == LogFormat::Json);
        start_logging(json);
        let options = Options {
            policies: self.policies.clone(),
            state: self.state.clone(),
            listen: self.listen.clone(),
            admin: self.admin,
            takeover: self.takeover,
            strategy: Strategy::Rhumb,
        };
        let activated = match supervisor::activated() {
            Ok(activated) => activated,
            Err(error) => return refuse(&format!("cannot use a socket of LISTEN_FDS: {error}")),
        };
        let supervisor = Supervisor::connect(self.notify_socket.as_deref()).unwrap_or_else(|error| {
            tracing::warn!("the supervisor at NOTIFY_SOCKET does not listen: {error}");
            Supervisor::default()
        });
        let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => return refuse(&format!("cannot start the runtime: {error}")),
        };
        // Twice in the time that the supervisor allows.
        let watchdog = self.watchdog_usec.map(|usec| Duration::from_micros(usec / 2).max(SHORTEST_WATCHDOG));
        let watched = Watched { supervisor: Arc::new(supervisor), watchdog };
        runtime.block_on(serve(options, activated, watched))
    }
}

/// Who watches, and how often it is told that all is well.
struct Watched {
    supervisor: Arc<Supervisor>,
    watchdog: Option<Duration>,
}

async fn serve(options: Options, activated: Given, watched: Watched) -> ExitCode {
    let clock: SharedClock = Arc::new(SystemClock::new());
    // Before anything listens, so that no signal is lost between "ready" and the handlers.
    let signals =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return refuse("cannot install signal handlers");
    };
    let mut daemon = match Daemon::start_given(options, activated, clock).await {
        Ok(daemon) => daemon,
        Err(error) => return refuse_start(&error),
    };
    let status = format!("DNS on {}, admin on {}", daemon.listening().join(" "), daemon.admin());
    tracing::info!("ready: {status}");
    let Watched { supervisor, watchdog } = watched;
    supervisor.ready(&status);
    let mut pings = tokio::time::interval(watchdog.unwrap_or(Duration::MAX));
    let successor = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hangup.recv() => {
                supervisor.reloading();
                let (read, supervisor, status) = (daemon.reload(), supervisor.clone(), status.clone());
                tokio::spawn(async move {
                    read.await;
                    supervisor.ready(&status);
                });
            }
            _ = pings.tick(), if watchdog.is_some() => if daemon.is_healthy() {
                supervisor.alive();
            },
            successor = daemon.successor() => break Some(successor),
        }
    };
    match successor {
        Some(successor) => {
            // The supervisor knows the successor by its own word: this end is none of the service's.
            tracing::info!("a successor answers: draining connections");
            daemon.part(successor).await;
        }
        None => {
            supervisor.stopping();
            tracing::info!("stopping: draining queries under way");
            daemon.stop().await;
        }
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// Tells why the daemon did not come up, mistakes with their source lines.
pub fn refuse_start(error: &StartError) -> ExitCode {
    if let StartError::Inputs(Refusal::Mistakes { sources, diagnostics }) = error {
        eprint!("{}", render::plain(diagnostics, sources));
    }
    refuse(&chain(error))
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("rhumb: {message}");
    ExitCode::from(2)
}

/// Logs to standard error. hickory-server logs every answer at info, so it is kept at warn.
pub fn start_logging(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,hickory_server=warn,hickory_net=warn,hickory_proto=warn".into());
    let base =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if json {
        base.json().flatten_event(true).init();
    } else {
        base.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
