//! `rhumb vantage`: probes the fleet of a scheduler from here; `rhumb vantage token`: makes what it shows.

use crate::base::clock::{SharedClock, SystemClock};
use crate::cli::serve::start_logging;
use crate::cli::{chain, random};
use crate::model::judgement::{LOCAL, Source};
use crate::model::token::TokenHash;
use crate::vantage::client::{self, Config};
use crate::vantage::tls;
use rustls::pki_types::ServerName;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Random octets of a token.
const TOKEN_BYTES: usize = 32;
/// Of a token file.
const LONGEST_TOKEN: usize = 512;

/// Probe the fleet of a scheduler from here, and report what is seen
///
/// What to probe comes from the scheduler, so a vantage has no policy files. It goes on while the scheduler is
/// away and reports again when it is back; the clocks of the two need not agree.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  rhumb vantage token gz > gz.token     # with the line that fleet.yaml takes
  rhumb vantage --scheduler dns.example.net:8853 --name gz --token-file gz.token
  rhumb vantage --scheduler 192.0.2.1:8853 --server-name dns.example.net \\
      --ca ca.pem --name gz --cert gz.pem --key gz-key.pem")]
pub struct VantageArgs {
    #[command(subcommand)]
    make: Option<Make>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(clap::Subcommand)]
enum Make {
    /// Make a token: itself to standard output, the policy line with its hash to standard error
    Token {
        /// Of the vantage, as fleet.yaml names it; or of a node that pushes its load
        name: String,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// `listen` of `reports:` in the scheduler's rhumb.yaml
    #[arg(long, value_name = "HOST:PORT", required = true)]
    scheduler: Option<String>,
    /// Name in `vantages:` of its fleet.yaml
    #[arg(long, required = true)]
    name: Option<String>,
    /// File with the token
    #[arg(long, value_name = "FILE", required_unless_present = "cert")]
    token_file: Option<PathBuf>,
    /// Client certificate with the vantage's name as a DNS name, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The only authorities that may have issued the scheduler's certificate, PEM [default: the machine's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name in the scheduler's certificate [default: the host of --scheduler]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Address that probes start from
    #[arg(long, value_name = "ADDR")]
    source: Option<IpAddr>,
    /// Interface that probes leave by
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Run the programs of command probes, as this user, in the working folder
    #[arg(long)]
    allow_commands: bool,
}

impl VantageArgs {
    pub fn run(&self) -> ExitCode {
        let done = match &self.make {
            Some(Make::Token { name }) => make_token(name),
            None => self.run.config().and_then(serve),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("rhumb: {message}");
                ExitCode::from(2)
            }
        }
    }
}

impl RunArgs {
    fn config(&self) -> Result<Config, String> {
        let (Some(scheduler), Some(name)) = (self.scheduler.clone(), self.name.clone()) else {
            return Err("--scheduler and --name are needed".to_owned());
        };
        if name == LOCAL {
            return Err(format!("`{LOCAL}` is the scheduler itself; choose another name"));
        }
        let host = scheduler.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']));
        let host = host.ok_or_else(|| format!("{scheduler:?} names no port; write it as host:8853"))?;
        let wanted = self.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(wanted.to_owned())
            .map_err(|_| format!("{wanted:?} can be in no certificate; name another with --server-name"))?;
        let shown = self.cert.as_deref().zip(self.key.as_deref());
        let tls = tls::client(self.ca.as_deref(), shown).map_err(|error| chain(&error))?;
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let source = Source { address: self.source, interface: self.interface.clone() };
        let (folder, allow_commands) = (PathBuf::from("."), self.allow_commands);
        Ok(Config { scheduler, server_name, tls, name, token, source, folder, allow_commands })
    }
}

fn read_token(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the token in {}: {error}", file.display()))?;
    let token = text.trim();
    match token.len() {
        1..=LONGEST_TOKEN => Ok(token.to_owned()),
        _ => Err(format!("{} holds no token; `rhumb vantage token NAME` makes one", file.display())),
    }
}

fn make_token(name: &str) -> Result<(), String> {
    let random = random::<TOKEN_BYTES>()?;
    let token = data_encoding::BASE64URL_NOPAD.encode(&random);
    let hash = TokenHash::of(&token);
    eprintln!("# in fleet.yaml of the scheduler, for a vantage:");
    eprintln!("vantages: {{{name}: {{token: \"{hash}\"}}}}");
    eprintln!("# or for a node that pushes its load:");
    eprintln!("nodes: {{{name}: {{load: {{push: {{token: \"{hash}\"}}}}}}}}");
    println!("{token}");
    Ok(())
}

fn serve(config: Config) -> Result<(), String> {
    start_logging(!std::io::stderr().is_terminal());
    let seed = u64::from_ne_bytes(random()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(async {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return Err("cannot install signal handlers".to_owned());
        };
        let clock: SharedClock = Arc::new(SystemClock::new());
        tokio::select! {
            () = client::run(config, clock, seed) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopped");
        Ok(())
    })
}
