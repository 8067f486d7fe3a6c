//! `rhumb sim stability`: how calm the planner is, and how it comes to rest.

use crate::cli::Format;
use crate::sim::stability::{DAY_S, Jolt, Rest, Unrest, noise, tide};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Simulate a day of noise, a day of demand, and jolts to the loop of plan, caches and load reports
///
/// Noise: load reports off by up to 5 %, demand by 3 %, round trips by 6 ms, at 70 % of capacity. Tide:
/// demand follows a sine once a day from 42 to 84 % of capacity, with the same noise. Jolts: a node gets
/// load of other origin (30 % of its capacity), or all demand rises by a quarter, and six hours are
/// looked at: once with sessions of a minute, once with sessions of an hour. Demand is measured by load reports.
#[derive(clap::Args)]
pub struct StabilityArgs {
    /// Makes the world and the noise
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const NOISE_UTILISATION: u64 = 70;
const JOLT_S: u32 = 6 * 3_600;

impl StabilityArgs {
    pub fn run(&self) -> ExitCode {
        let days = [("noise", noise(self.seed, NOISE_UTILISATION, DAY_S)), ("tide", tide(self.seed, DAY_S))];
        let loops = jolts().map(|(name, jolt)| (name, jolt.run(self.seed, JOLT_S)));
        match self.format {
            Format::Text => print!("{}", text(&days, &loops)),
            Format::Json => println!("{:#}", as_json(self.seed, &days, &loops)),
        }
        ExitCode::SUCCESS
    }
}

fn jolts() -> [(&'static str, Jolt); 4] {
    let other = Jolt { other_load: 0.3, ..Jolt::MILD };
    let more = Jolt { demand: 1.25, ..Jolt::MILD };
    let of = |jolt: Jolt, minutes: u64| Jolt { session: Some(Duration::from_secs(minutes * 60)), ..jolt };
    [
        ("other_load_minute", of(other, 1)),
        ("demand_minute", of(more, 1)),
        ("other_load_hour", of(other, 60)),
        ("demand_hour", of(more, 60)),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn text(days: &[(&str, Unrest)], loops: &[(&str, Rest)]) -> String {
    let mut table = plain(&["a day of", "tables", "churn/h", "busiest/h", "returns", "peak"]);
    for (name, unrest) in days {
        table.add_row([
            (*name).to_owned(),
            unrest.tables.to_string(),
            percent(unrest.churn_per_hour),
            format!("{:.2}", unrest.busiest_per_hour),
            unrest.most_returns.to_string(),
            format!("{:.2}", unrest.peak_utilisation),
        ]);
    }
    let mut jolts = plain(&["jolt and sessions", "tables", "last table", "moved", "swing"]);
    for (name, rest) in loops {
        jolts.add_row([
            name.replace('_', " "),
            rest.tables.to_string(),
            format!("{} s", rest.last_table_s),
            percent(rest.moved),
            percent(rest.swing),
        ]);
    }
    [lines(&mut table), lines(&mut jolts)].join("\n")
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    table
}

fn lines(table: &mut Table) -> String {
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n").collect()
}

fn as_json(seed: u64, days: &[(&str, Unrest)], loops: &[(&str, Rest)]) -> Value {
    let mut all = serde_json::Map::from_iter([("seed".to_owned(), json!(seed))]);
    for (name, unrest) in days {
        let figures = json!({
            "tables": unrest.tables,
            "churn_per_hour": unrest.churn_per_hour,
            "busiest_moves_per_hour": unrest.busiest_per_hour,
            "most_returns": unrest.most_returns,
            "peak_utilisation": unrest.peak_utilisation,
        });
        all.insert((*name).to_owned(), figures);
    }
    for (name, rest) in loops {
        let figures = json!({
            "tables": rest.tables,
            "last_table_seconds": rest.last_table_s,
            "moved_share": rest.moved,
            "swing": rest.swing,
        });
        all.insert((*name).to_owned(), figures);
    }
    Value::Object(all)
}
