//! `rhumb sim`: simulations around the real planner, one file per subcommand.
//!
//! Exit codes: 0 done, 1 `oracle` missed its aims, 2 could not run.

mod oracle;
mod plot;
mod region_loss;
mod stability;

use std::process::ExitCode;

/// Simulate fleets, their clients and what steers them
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb sim region-loss    # a region lost: rhumb, nearest node, weights, turns
  rhumb sim stability      # does the loop settle, and how many does it move?
  rhumb sim oracle         # plans against the least cost there is")]
pub struct SimArgs {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(clap::Subcommand)]
enum SimCommand {
    /// Lose a region at 70 % utilisation: rhumb against what others do
    RegionLoss(region_loss::RegionLossArgs),
    /// Compare plans with the exact optimum, on random worlds
    Oracle(oracle::OracleArgs),
    /// A day of noise, a day of demand, jolts: whether the planner keeps calm
    Stability(stability::StabilityArgs),
}

impl SimArgs {
    pub fn run(&self) -> ExitCode {
        match &self.command {
            SimCommand::RegionLoss(args) => args.run(),
            SimCommand::Oracle(args) => args.run(),
            SimCommand::Stability(args) => args.run(),
        }
    }
}
