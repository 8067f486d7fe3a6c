//! The command line: one file per subcommand, each a struct of flags with a `run`.
//!
//! Exit codes: 0 done, 1 the answer is no (mistakes found, nothing known), 2 could not run.
//! Printing happens here and nowhere else; colours and live views only on a terminal.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the command line is what prints")]

mod admin_client;
mod alerts;
mod audit;
mod backup;
mod drill;
mod canary;
pub mod check;
mod events;
mod explain;
mod geo;
mod geo_build;
#[cfg(test)]
mod help;
mod history;
mod incidents;
pub mod keys;
mod lab;
mod measure;
mod node;
mod overrides;
mod plan;
mod readiness;
mod postmortem;
mod records;
pub mod render;
mod replay;
pub mod schema;
mod serve;
mod sim;
mod slo;
mod status;
mod token;
mod vantage;
mod watch;
mod why;
mod zone;

use crate::base::error::chain;
use crate::model::overrides::Action;
use crate::policy::scalars::parse_duration;
use clap::{Parser, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};
use std::process::ExitCode;
use std::time::Duration;

/// A global traffic scheduler that speaks DNS.
///
/// rhumb answers each query from a table that says which node serves which clients, and rebuilds
/// that table within a second of a node's failure.
#[derive(Parser)]
#[command(name = "rhumb", version, propagate_version = true, max_term_width = 80)]
#[command(after_help = "\
Start here:
  rhumb lab                    a fleet on loopback, probes, DNS, a live view
  dig @127.0.0.1 -p 5300 live.rhumb.test +subnet=101.6.6.0/24
  rhumb lab fault tyo --down   break a site and watch its clients move
  rhumb drain site/tyo --for 10m --reason test
                               out of the answers, and back after ten minutes
  rhumb check policies         every mistake in policy files, at its place")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What a command has to say of itself stands at its arguments: a line here would hide all but the first of it.
#[derive(Subcommand)]
enum Command {
    /// Run everything on loopback: a fleet that can be broken, probes, DNS, synthetic clients
    Lab(lab::LabArgs),
    Serve(serve::ServeArgs),
    Vantage(vantage::VantageArgs),
    Check(check::CheckArgs),
    Plan(plan::PlanArgs),
    Apply(history::ApplyArgs),
    Canary(canary::CanaryArgs),
    History(history::HistoryArgs),
    Diff(history::DiffArgs),
    Rollback(history::RollbackArgs),
    Explain(explain::ExplainArgs),
    Why(why::WhyArgs),
    Replay(replay::ReplayArgs),
    Status(status::StatusArgs),
    Node(node::NodeArgs),
    /// Send no new clients to nodes for a while
    ///
    /// The nodes leave all answers at once; sessions end in their own time. When it ends, by itself or by
    /// `rhumb undrain`, they get their clients back with a ramp.
    Drain(overrides::ForceArgs),
    /// Give drained nodes their clients back, with a ramp
    Undrain(overrides::UndrainArgs),
    /// Send clients to nodes for a while, whatever their verdict
    ///
    /// Goes before the verdict and before the circuit of the region, not before a drain. It begins with a ramp,
    /// and no node is filled past its cap while another has room.
    ForceUp(overrides::ForceArgs),
    /// Treat nodes as down for a while, whatever their verdict
    ///
    /// Their clients are sent elsewhere at once, and are expected to reconnect there at once: for nodes that
    /// serve badly. For maintenance use `rhumb drain`.
    ForceDown(overrides::ForceArgs),
    Drill(drill::DrillArgs),
    /// List, extend and cancel what operators have said of nodes
    Overrides(overrides::OverridesArgs),
    Readiness(readiness::ReadinessArgs),
    Events(events::EventsArgs),
    Alerts(alerts::AlertsArgs),
    Incidents(incidents::IncidentsArgs),
    Incident(incidents::IncidentArgs),
    Slo(slo::SloArgs),
    Token(token::TokenArgs),
    Audit(audit::AuditArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Measure(measure::MeasureArgs),
    /// Look into geo databases, and build them
    Geo(geo::GeoArgs),
    /// Make, show and replace the keys that sign zones
    Keys(keys::KeysArgs),
    /// Check one zone file, or print it as canonical text
    Zone(zone::ZoneArgs),
    /// Simulate fleets, their clients and what steers them
    Sim(sim::SimArgs),
    Schema(schema::SchemaArgs),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    // One TLS provider for whatever of this process speaks TLS; it fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Cli::parse().command {
        Command::Lab(args) => lab::run(&args),
        Command::Serve(args) => args.run(),
        Command::Vantage(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Plan(args) => args.run(),
        Command::Apply(args) => args.run(),
        Command::Canary(args) => args.run(),
        Command::History(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Rollback(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Why(args) => args.run(),
        Command::Replay(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Node(args) => args.run(),
        Command::Drain(args) => args.run(Action::Drain),
        Command::Undrain(args) => args.run(),
        Command::ForceUp(args) => args.run(Action::ForceUp),
        Command::ForceDown(args) => args.run(Action::ForceDown),
        Command::Drill(args) => args.run(),
        Command::Overrides(args) => args.run(),
        Command::Readiness(args) => args.run(),
        Command::Events(args) => args.run(),
        Command::Alerts(args) => args.run(),
        Command::Incidents(args) => args.run(),
        Command::Incident(args) => args.run(),
        Command::Slo(args) => args.run(),
        Command::Token(args) => args.run(),
        Command::Audit(args) => args.run(),
        Command::Backup(args) => args.run(),
        Command::Restore(args) => args.run(),
        Command::Measure(args) => args.run(),
        Command::Geo(args) => args.run(),
        Command::Keys(args) => args.run(),
        Command::Zone(args) => args.run(),
        Command::Sim(args) => args.run(),
        Command::Schema(args) => args.run(),
    }
}

/// A length of time as policy files write it; the unit is required, since 150 of nothing is how drills go wrong.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is not a length of time; write 150ms, 2s, 1h30m"))
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| "the system gives no random numbers".to_owned())
}

/// Output for people or for scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_need_their_unit() {
        assert_eq!(duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "ms", "150", "1.5s", "5d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad).is_err_and(|told| told.contains("write 150ms")), "{bad}");
        }
    }
}
