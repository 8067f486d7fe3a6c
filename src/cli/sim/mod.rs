//! `rhumb sim`: simulations around the real planner, one file per subcommand.
//!
//! Exit codes: 0 done, 2 could not run.

mod plot;
mod region_loss;

use std::process::ExitCode;

/// Simulate fleets, their clients and what steers them
#[derive(clap::Args)]
pub struct SimArgs {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(clap::Subcommand)]
enum SimCommand {
    /// Lose a region at 70 % utilisation: rhumb against what others do
    RegionLoss(region_loss::RegionLossArgs),
}

impl SimArgs {
    pub fn run(&self) -> ExitCode {
        match &self.command {
            SimCommand::RegionLoss(args) => args.run(),
        }
    }
}
