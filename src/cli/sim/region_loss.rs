//! `rhumb sim region-loss`: the simulation's figures as a table or JSON, its course as CSV and SVG.

use super::plot;
use crate::cli::Format;
use crate::sim::region_loss::{END_S, Figures, LOSS_S, Outcome, RegionLoss};
use crate::sim::strategy::Strategy;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lose a region at 70 % utilisation: rhumb against what others do
///
/// A fleet of seven regions, where every site can carry the clients nearest to it, loses a region of
/// those that the others can stand in for. Ten minutes from the loss on are looked at. All
/// strategies learn of it 7 s after it. Clients follow as their cached answers run out (TTL 30 s; 5 %
/// of them are behind resolvers that keep an answer ten times as long), their sessions last for a
/// minute (cdn), ten (rtc) or an hour (im), and those of the lost region reconnect, which at first
/// costs up to half as much again as having a session.
#[derive(clap::Args)]
#[command(after_long_help = DEFINITIONS)]
pub struct RegionLossArgs {
    /// Makes the world: places, capacities, client groups, and which region is lost
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Also write a CSV file: a line for each second and strategy
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// Also draw peak utilisation and mean round trip over time, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const DEFINITIONS: &str = "\
Strategies:
  rhumb         the planner: an evacuation when the loss is known, a full pass each
                second; it measures demand by the load that nodes report
  rhumb_stated  the same where policy states the demand of each service
  nearest       the nearest site with a healthy node, its nodes alike
  weighted      all healthy nodes, by capacity
  round_robin   all healthy nodes alike; that each query gets another one is not
                counted as a move

Figures, from the loss to the end, of the nodes that survive:
  peak_utilisation        highest load of any of them at any second, as a part of its capacity
  overloaded_seconds      seconds above capacity, added up over the nodes
  above_cap_seconds       seconds above the cap of 0.90 (by more than 0.001), likewise
  moved_share             demand whose answer changed, as a part of all; each change counts
  bystanders_moved_share  of it, what was not on the lost region
  unserved_share          part of all demand and time without service: no session, or above a
                          node's capacity
  mean_ms, p99_ms         round trips of the sessions there are; what a node above its capacity
                          adds to them is left out";

impl RegionLossArgs {
    pub fn run(&self) -> ExitCode {
        let scene = RegionLoss::new(self.seed);
        let outcomes: Vec<Outcome> = Strategy::ALL.iter().map(|&strategy| scene.run(strategy)).collect();
        if let Err(message) = self.write_files(&outcomes) {
            eprintln!("rhumb: {message}");
            return ExitCode::from(2);
        }
        match self.format {
            Format::Text => print!("{}", text(self.seed, &scene, &outcomes)),
            Format::Json => println!("{:#}", figures_json(self.seed, &scene, &outcomes)),
        }
        ExitCode::SUCCESS
    }

    fn write_files(&self, outcomes: &[Outcome]) -> Result<(), String> {
        if let Some(path) = &self.series {
            write(path, &series(outcomes))?;
        }
        if let Some(path) = &self.plot {
            let svg = plot::svg(outcomes).map_err(|error| format!("cannot draw the plot: {error}"))?;
            write(path, &svg)?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

const HEADER: [&str; 9] =
    ["strategy", "peak", "overload", "over cap", "moved", "others", "unserved", "mean", "p99"];

/// The table for people, 80 columns at most.
pub fn text(seed: u64, scene: &RegionLoss, outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(HEADER);
    for Outcome { figures, .. } in outcomes {
        table.add_row([
            figures.strategy.name().to_owned(),
            format!("{:.2}", figures.peak_utilisation),
            format!("{} s", figures.overloaded_seconds),
            format!("{} s", figures.above_cap_seconds),
            percent(figures.moved_share),
            percent(figures.bystanders_moved_share),
            percent(figures.unserved_share),
            format!("{:.0} ms", figures.mean_ms),
            format!("{:.0} ms", figures.p99_ms),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let rows: String = table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n")
        .collect();
    let minutes = (END_S - LOSS_S) / 60;
    format!(
        "seed {seed}: {} is lost, {} of capacity; the {minutes} minutes after it\n\n{rows}",
        scene.region_name(),
        percent(scene.lost_share()),
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// To four places: more would say nothing.
fn rounded(value: f64) -> Value {
    json!((value * 1e4).round() / 1e4)
}

fn figures_json(seed: u64, scene: &RegionLoss, outcomes: &[Outcome]) -> Value {
    let mut all = Map::new();
    all.insert("seed".to_owned(), json!(seed));
    all.insert("lost_region".to_owned(), json!(scene.region_name()));
    all.insert("lost_share".to_owned(), rounded(scene.lost_share()));
    for Outcome { figures, .. } in outcomes {
        all.insert(figures.strategy.name().to_owned(), strategy_json(figures));
    }
    Value::Object(all)
}

fn strategy_json(figures: &Figures) -> Value {
    json!({
        "peak_utilisation": rounded(figures.peak_utilisation),
        "overloaded_seconds": figures.overloaded_seconds,
        "above_cap_seconds": figures.above_cap_seconds,
        "moved_share": rounded(figures.moved_share),
        "bystanders_moved_share": rounded(figures.bystanders_moved_share),
        "unserved_share": rounded(figures.unserved_share),
        "mean_ms": rounded(figures.mean_ms),
        "p99_ms": rounded(figures.p99_ms),
    })
}

/// CSV, seconds counted from the loss.
fn series(outcomes: &[Outcome]) -> String {
    let names = [
        "second",
        "strategy",
        "peak_utilisation",
        "mean_utilisation",
        "overloaded_nodes",
        "unserved_share",
        "mean_ms",
    ];
    let mut text = names.join(",") + "\n";
    for Outcome { figures, series } in outcomes {
        for sample in series {
            let _ = writeln!(
                text,
                "{},{},{:.4},{:.4},{},{:.6},{:.2}",
                i64::from(sample.second) - i64::from(LOSS_S),
                figures.strategy.name(),
                sample.peak_utilisation,
                sample.mean_utilisation,
                sample.overloaded,
                sample.unserved_share,
                sample.mean_ms,
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "docs/planner.md";
    const PLOT: &str = "docs/region-loss.svg";
    const FENCE: &str = "```text\n$ rhumb sim region-loss --plot docs/region-loss.svg\n";

    /// Of the page: what stands before the output, the output, and what follows.
    fn cut(page: &str) -> (&str, &str, &str) {
        let start = page.find(FENCE).expect("the page shows the command") + FENCE.len();
        let end = start + page[start..].find("```").expect("a block ends");
        (&page[..start], &page[start..end], &page[end..])
    }

    /// `UPDATE=1` writes table and plot anew.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a person may ask for the files to be written")]
    fn the_page_shows_what_the_command_prints() {
        let scene = RegionLoss::new(1);
        let outcomes: Vec<Outcome> = Strategy::ALL.iter().map(|&strategy| scene.run(strategy)).collect();
        let printed = text(1, &scene, &outcomes);
        let drawn = plot::svg(&outcomes).expect("a plot");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join(PAGE)).expect("the page");
        let (before, shown, after) = cut(&page);
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(root.join(PAGE), [before, &printed, after].concat()).expect("the page is written");
            std::fs::write(root.join(PLOT), &drawn).expect("the plot is written");
            return;
        }
        assert_eq!(shown, printed, "{PAGE} is stale: run this test with UPDATE=1");
        let kept = std::fs::read_to_string(root.join(PLOT)).unwrap_or_default();
        assert!(kept == drawn, "{PLOT} is stale: run this test with UPDATE=1");
        assert!(printed.lines().all(|line| line.chars().count() <= 80), "fits a terminal");
        let rows = outcomes.len() * (END_S as usize) + 1;
        assert_eq!(series(&outcomes).lines().count(), rows);
        let json = figures_json(1, &scene, &outcomes);
        for strategy in Strategy::ALL {
            let peak = json[strategy.name()]["peak_utilisation"].as_f64();
            assert!(peak.is_some_and(|peak| peak > 0.5), "{json:#}");
        }
    }
}
