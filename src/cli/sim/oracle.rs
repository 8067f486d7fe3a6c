//! `rhumb sim oracle`: how far plans are from the exact optimum.

use crate::cli::Format;
use crate::sim::oracle::{Outcome, Summary, measure, schedule_of};
use comfy_table::{Table, presets};
use indicatif::ProgressBar;
use std::process::ExitCode;

/// Compare plans with the exact optimum, on random worlds
///
/// Each instance has up to 50 nodes, 300 client groups and 3 services. Beside every ten random ones there is a
/// tight one, whose demand is about all that caps allow. A gap is (plan - optimum) / optimum. The optimum
/// carries its own proof.
///
/// Exits with 1 if a first table is more than 3 % above the optimum, or if any plan leaves more demand
/// unserved than the least possible.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb sim oracle
  rhumb sim oracle --instances 20 --seed 3 --format json")]
pub struct OracleArgs {
    /// How many random instances; a tenth as many tight ones come on top
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    instances: u32,
    /// The same seed gives the same worlds and the same figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `json` is one object, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl OracleArgs {
    pub fn run(&self) -> ExitCode {
        let schedule: Vec<_> = schedule_of(self.instances as usize).collect();
        // Draws on standard error, and only where that is a terminal.
        let bar = ProgressBar::new(schedule.len() as u64);
        let run = |&(at, is_tight): &(usize, bool)| {
            let outcome = measure(self.seed, at, is_tight);
            bar.inc(1);
            outcome
        };
        let outcomes: Vec<Outcome> = schedule.iter().map(run).collect();
        bar.finish_and_clear();
        let summary = Summary::of(self.seed, &outcomes);
        match self.format {
            Format::Text => println!("{}", text(&summary, &outcomes)),
            Format::Json => match serde_json::to_string_pretty(&summary) {
                Ok(text) => println!("{text}"),
                Err(error) => {
                    eprintln!("rhumb: cannot write the summary as JSON: {error}");
                    return ExitCode::from(2);
                }
            },
        }
        let missed = summary.missed();
        missed.iter().for_each(|what| eprintln!("rhumb: {what}"));
        if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

fn text(summary: &Summary, outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "",
        "instances",
        "mean gap",
        "worst gap",
        "after failure, worst",
        "unserved beyond the least",
    ]);
    for (name, is_tight) in [("random", false), ("tight", true)] {
        let own: Vec<Outcome> = outcomes.iter().copied().filter(|one| one.is_tight == is_tight).collect();
        if !own.is_empty() {
            row(&mut table, name, own.len(), &Summary::of(summary.seed, &own));
        }
    }
    row(&mut table, "all", outcomes.len(), summary);
    table.to_string()
}

fn row(table: &mut Table, name: &str, count: usize, summary: &Summary) {
    let percent = |gap: f64| format!("{:.2} %", gap * 100.0);
    table.add_row([
        name.to_owned(),
        count.to_string(),
        percent(summary.mean_gap),
        percent(summary.worst_gap),
        percent(summary.incremental_gap),
        summary.unserved_difference.to_string(),
    ]);
}
