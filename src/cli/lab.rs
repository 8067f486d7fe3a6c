//! `rhumb lab`: the whole system on loopback, to break and to watch.
//!
//! `rhumb lab` runs nodes, daemon and clients; `fault`, `heal`, `load` and `faults` speak to a running one;
//! `compare` runs two of its own, one after the other. This file reads the command line and prints;
//! everything else is [`crate::lab`]'s.

mod compare;
mod figures;
mod plot;
mod scene;
mod sent;

use crate::base::units::Ppm;
use crate::cli::chain;
use crate::cli::duration;
use crate::lab::control::{self, CallError, ControlClient, FaultRequest, HealRequest, LoadRequest};
use crate::lab::fault::{Fault, parse_percent};
use crate::lab::fleet::{LabFault, LabStatus};
use crate::lab::{self, LabOptions};
use crate::model::alert::AlertReceiver;
use crate::schedule::Strategy;
use clap::{Args, Subcommand, ValueEnum};
use scene::{Scene, Setup};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const AFTER_HELP: &str = "\
Start it, and leave it running:
  rhumb lab

Then, in a second terminal:
  dig @127.0.0.1 -p 5300 live.rhumb.test +subnet=133.11.0.0/16
  rhumb lab fault tyo --down              the site refuses every connection
  rhumb lab fault tyo-1 --latency 150ms --jitter 20ms
  rhumb lab fault telecom --loss 20% --for 60s
  rhumb lab fault tyo-1 --load 95%
  rhumb lab faults                        what is broken now
  rhumb alerts                            what people would be told of it
  rhumb lab heal                          everything, or: rhumb lab heal tyo
  rhumb lab load 70%                      how full clients keep the fleet

What load does, and what a scheduler without it would do to the survivors:
  rhumb lab --load 70%                    lose a site: nobody above the cap
  rhumb lab --load 70% --strategy nearest the same, and its neighbours drown
  rhumb lab compare --fault site/fra      both, as a table and one plot
  rhumb lab --load 130%                   more than there is: newcomers are shed

TARGET is the name of a node, site, region or line; where a name is several of
these, write node/NAME, site/NAME, region/NAME or line/NAME.

Everything stays on loopback but what --webhook and the receivers of alerts.yaml
name; the lab refuses a fleet that does not.";

/// Run nodes, daemon and clients on this machine, and break them
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct LabArgs {
    #[command(subcommand)]
    pub command: Option<LabCommand>,
    #[command(flatten)]
    pub run: LabRunArgs,
}

/// Running a lab.
#[derive(Debug, Args)]
pub struct LabRunArgs {
    /// Folder of policy files
    #[arg(long, value_name = "DIR", default_value = "policies")]
    pub policies: PathBuf,
    /// Folder for the last good table [default: what the policy says]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where to answer DNS; may be given several times [default: what the policy says]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Where to serve metrics and health [default: what the policy says]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Where to listen for `fault` and `heal`
    #[arg(long, value_name = "ADDR", default_value_t = control::DEFAULT_ADDRESS)]
    pub control: SocketAddr,
    /// Synthetic clients per second; 0 for none
    ///
    /// Each stands for many, so that fewer make a coarser audience: with 200, nodes waver by a twentieth.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub rate: u32,
    /// How full clients are to keep the whole fleet; `rhumb lab load` changes it
    ///
    /// Above 100% there are more clients than there is room: services with `shed` turn newcomers away.
    /// A node carries 3% without any client.
    #[arg(long, value_name = "PERCENT", default_value = "18%", value_parser = parse_level)]
    pub load: Ppm,
    /// Who decides: the planner, or what schedulers without load do
    #[arg(long, value_enum, default_value_t)]
    pub strategy: LabStrategy,
    /// Decides clients, jitter and loss
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where to tell of alerts besides the policy's receivers: one POST of JSON each
    #[arg(long, value_name = "URL", value_parser = parse_webhook)]
    pub webhook: Option<String>,
    /// Lines instead of the live view
    #[arg(long)]
    pub plain: bool,
}

/// Strategies of [`Strategy`], as the command line says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LabStrategy {
    /// The planner: capacity, load reports and all
    #[default]
    Rhumb,
    /// The nearest healthy node of each client's chain, whatever is on it
    Nearest,
}

impl LabStrategy {
    const fn strategy(self) -> Strategy {
        match self {
            LabStrategy::Rhumb => Strategy::Rhumb,
            LabStrategy::Nearest => Strategy::Nearest,
        }
    }
}

impl LabRunArgs {
    fn setup(&self) -> Setup {
        Setup {
            policies: self.policies.clone(),
            state: self.state.clone(),
            listen: self.listen.clone(),
            admin: self.admin,
            strategy: self.strategy.strategy(),
            level: self.load,
            options: LabOptions {
                control: self.control,
                rate: self.rate,
                seed: self.seed,
                plain: self.plain,
            },
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Break a node, site, region or line of the running lab
    Fault(FaultArgs),
    /// Take faults off a target, or off everything
    Heal(HealArgs),
    /// List the faults that stand
    Faults(ControlArgs),
    /// Change how full clients keep the running lab's fleet
    Load(LoadArgs),
    /// Break the same thing under both strategies, and draw what becomes of the survivors
    Compare(compare::CompareArgs),
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Of the whole fleet's capacity, e.g. 120%
    #[arg(value_name = "PERCENT", value_parser = parse_level)]
    pub level: Ppm,
    #[command(flatten)]
    pub control: ControlArgs,
}

#[derive(Debug, Args)]
pub struct ControlArgs {
    /// Where the lab listens for control
    #[arg(long, value_name = "ADDR", default_value_t = control::DEFAULT_ADDRESS)]
    pub control: SocketAddr,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["down", "latency", "jitter", "loss", "errors", "load"])]
pub struct FaultArgs {
    /// Name of a node, site, region or line
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Close its sockets: connections are refused
    #[arg(long)]
    pub down: bool,
    /// Delay every reply, e.g. 150ms
    #[arg(long, value_name = "TIME", value_parser = parse_delay)]
    pub latency: Option<u32>,
    /// Delay every reply by up to this much more, e.g. 20ms
    #[arg(long, value_name = "TIME", value_parser = parse_delay)]
    pub jitter: Option<u32>,
    /// Never answer this share of requests, e.g. 20%
    #[arg(long, value_name = "PERCENT", value_parser = parse_loss)]
    pub loss: Option<Fault>,
    /// Answer this share of HTTP requests with 503, e.g. 50%
    #[arg(long, value_name = "PERCENT", value_parser = parse_errors)]
    pub errors: Option<Fault>,
    /// Report this utilisation, e.g. 95%
    #[arg(long, value_name = "PERCENT", value_parser = parse_load)]
    pub load: Option<Fault>,
    /// Heal by itself after this long, e.g. 60s
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub lasts: Option<Duration>,
    #[command(flatten)]
    pub control: ControlArgs,
}

#[derive(Debug, Args)]
pub struct HealArgs {
    /// Name of a node, site, region or line; everything if left out
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    #[command(flatten)]
    pub control: ControlArgs,
}

fn parse_webhook(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(text.to_owned()),
        other => Err(format!("alerts go by http or https, not by {other}")),
    }
}

fn parse_delay(text: &str) -> Result<u32, String> {
    let delay = duration(text)?;
    if delay > lab::fault::MAX_DELAY {
        return Err(format!(
            "`{text}` is longer than {:?}; use --loss 100% for silence",
            lab::fault::MAX_DELAY
        ));
    }
    u32::try_from(delay.as_millis()).map_err(|_| format!("`{text}` is too long"))
}

fn parse_loss(text: &str) -> Result<Fault, String> {
    Ok(Fault::Loss { share: parse_share(text)? })
}

fn parse_errors(text: &str) -> Result<Fault, String> {
    Ok(Fault::Errors { share: parse_share(text)? })
}

fn parse_share(text: &str) -> Result<Ppm, String> {
    let share = parse_percent(text)?;
    if share > Ppm::WHOLE {
        return Err(format!("`{text}` is more than everything"));
    }
    Ok(share)
}

fn parse_level(text: &str) -> Result<Ppm, String> {
    parse_percent(text)
}

fn parse_load(text: &str) -> Result<Fault, String> {
    Ok(Fault::Load { share: parse_percent(text)? })
}

impl FaultArgs {
    fn request(&self) -> FaultRequest {
        let faults = [
            self.down.then_some(Fault::Down),
            self.latency.map(|ms| Fault::Latency { ms }),
            self.jitter.map(|ms| Fault::Jitter { ms }),
            self.loss,
            self.errors,
            self.load,
        ];
        let for_ms = self.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        FaultRequest { target: self.target.clone(), faults: faults.into_iter().flatten().collect(), for_ms }
    }
}

/// Runs the subcommand: 0 done, 1 a call was refused, 2 the lab could not run.
pub fn run(args: &LabArgs) -> ExitCode {
    let done = match &args.command {
        None => run_lab(&args.run),
        Some(LabCommand::Compare(args)) => return args.run(),
        Some(command) => call(command).map_err(|error| error.to_string()),
    };
    match done {
        Ok(text) => {
            // Nobody reading the confirmation is no failure of the command.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(message) => {
            let _ = writeln!(io::stderr(), "rhumb lab: {message}");
            ExitCode::from(if args.command.is_none() { 2 } else { 1 })
        }
    }
}

/// What to print after a command was obeyed.
fn call(command: &LabCommand) -> Result<String, CallError> {
    let at = match command {
        LabCommand::Fault(args) => args.control.control,
        LabCommand::Heal(args) => args.control.control,
        LabCommand::Faults(args) => args.control,
        LabCommand::Load(args) => args.control.control,
        LabCommand::Compare(_) => control::DEFAULT_ADDRESS,
    };
    let client = ControlClient::new(at)?;
    // A runtime of this thread alone can fail only for want of descriptors; no lab is reachable then.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| CallError::NoLab { address: at })?;
    runtime.block_on(async {
        match command {
            LabCommand::Fault(args) => Ok(format!("{}\n", client.fault(&args.request()).await?)),
            LabCommand::Heal(args) => {
                Ok(format!("{}\n", client.heal(&HealRequest { target: args.target.clone() }).await?))
            }
            LabCommand::Load(args) => {
                Ok(format!("{}\n", client.load(&LoadRequest { level: args.level }).await?))
            }
            LabCommand::Faults(_) => Ok(listing(&client.status().await?)),
            LabCommand::Compare(_) => Ok(String::new()),
        }
    })
}

fn listing(status: &LabStatus) -> String {
    if status.faults.is_empty() {
        return "no faults: every node behaves\n".to_owned();
    }
    let line = |fault: &LabFault| {
        let left = fault
            .ends_in_ms
            .map_or("until healed".to_owned(), |ms| format!("for another {} s", ms.div_ceil(1_000)));
        format!("{}: {} {left} ({})\n", fault.target, fault.fault, fault.nodes.join(", "))
    };
    status.faults.iter().map(line).collect()
}

fn run_lab(args: &LabRunArgs) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        cancel_on_signal(shutdown.clone());
        let Scene { parts, daemon, .. } = scene::stage(&args.setup()).await?;
        if let Some(url) = &args.webhook {
            daemon.also_tell(AlertReceiver::webhook("lab", url));
        }
        let ended = lab::run(parts, shutdown.clone()).await.map_err(|error| chain(&error));
        shutdown.cancel();
        daemon.stop().await;
        ended.map(|()| String::new())
    })
}

fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    // A hangup is the daemon's, for reloading; a view whose terminal is gone ends by its own error.
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        // Without a handler the signal ends the process, which is what it is for.
        let Ok(mut signals) = signal(kind) else { continue };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signals.recv().await;
            shutdown.cancel();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fleet::DEFAULT_LEVEL;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        lab: LabArgs,
    }

    fn request(words: &str) -> Result<FaultRequest, String> {
        let line = Line::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?;
        match line.lab.command {
            Some(LabCommand::Fault(args)) => Ok(args.request()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_issue_s_command_lines_are_understood() {
        let got = request(
            "lab fault tyo --latency 150ms --jitter 20ms --loss 20% --errors 10% --load 95% --for 60s",
        )
        .expect("ok");
        assert_eq!(
            lab::fault::phrase(&got.faults),
            "latency 150 ms, jitter 20 ms, loss 20 %, errors 10 %, load 95 %"
        );
        assert_eq!((got.target.as_str(), got.for_ms), ("tyo", Some(60_000)));
        assert_eq!(request("lab fault tyo --down").expect("ok").faults, [Fault::Down]);
        for (words, expect) in [
            ("lab fault tyo", "--down"),
            ("lab fault --down", "TARGET"),
            ("lab fault tyo --latency 150", "write 150ms"),
            ("lab fault tyo --latency 10m", "--loss 100%"),
            ("lab fault tyo --loss 120%", "more than everything"),
            ("lab fault tyo --errors 101%", "more than everything"),
        ] {
            let error = request(words).expect_err(words);
            assert!(error.contains(expect), "{words}: {error}");
        }
        let line = Line::try_parse_from("lab --load 130% --strategy nearest".split(' ')).expect("runs");
        let setup = line.lab.run.setup();
        assert_eq!((setup.level.percent(), setup.strategy), (130.0, Strategy::Nearest));
        let usual = Line::try_parse_from(["lab"]).expect("runs").lab.run.setup();
        assert_eq!((usual.level, usual.strategy), (DEFAULT_LEVEL, Strategy::Rhumb));
        for words in ["lab load 120%", "lab compare --fault site/fra --load 60% --for 30s"] {
            Line::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{words}: {error}"));
        }
        let line =
            Line::try_parse_from("lab --rate 0 --plain --listen 127.0.0.1:5301".split(' ')).expect("runs");
        assert!(line.lab.command.is_none() && line.lab.run.plain && line.lab.run.rate == 0);
    }

    #[test]
    fn standing_faults_are_listed_with_their_end() {
        assert_eq!(listing(&LabStatus::default()), "no faults: every node behaves\n");
        let fault = |ends_in_ms| LabFault {
            target: "tyo".to_owned(),
            fault: Fault::Down,
            nodes: vec!["tyo-1".to_owned(), "tyo-2".to_owned()],
            ends_in_ms,
        };
        let status = LabStatus {
            level: DEFAULT_LEVEL,
            nodes: Vec::new(),
            faults: vec![fault(None), fault(Some(1_001))],
        };
        let expect = "tyo: down until healed (tyo-1, tyo-2)\ntyo: down for another 2 s (tyo-1, tyo-2)\n";
        assert_eq!(listing(&status), expect);
    }
}
