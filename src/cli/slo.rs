//! `rhumb slo`: availability against objectives, error budgets, times to recover.

use crate::base::units::Ppm;
use crate::cli::admin_client::Admin;
use crate::cli::incidents::length;
use crate::cli::{Format, chain};
use crate::model::slo::{Recovery, ServiceSlo, SloReport, TierRecovery};
use comfy_table::{Table, presets};
use std::process::ExitCode;

/// Show availability against objectives, error budgets and times to recover
///
/// Of the last 30 days: the share of clients and time that had a usable node, against the objective of each service
/// (`slo:` of its file, or what its tier is), how much of the error budget is spent, and how long recovery took. Counted
/// are clients by address space: those that the table leaves without a node, and those that were sent to a lost node,
/// until it was out of the table and out of caches (half a TTL). Time in which this rhumb did not run is not counted.
/// Exits 1 when a budget is spent.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb slo
  rhumb slo --format json    # with each day, and each month's times to recover
Reading it:
  AVAILABLE  what came of the objective, in the time that was watched
  DOWN       as if all clients had been without an answer for so long
  SPENT      of the error budget: of the time that the objective allows to be
             lost in 30 days
  INCIDENTS  that touched the service
  RTO        the longest until 99 % of its clients had another answer
  MTTR       the mean until everything was as before")]
pub struct SloArgs {
    #[command(flatten)]
    admin: Admin,
    /// `json` is everything, for scripts: days and months too
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl SloArgs {
    pub fn run(&self) -> ExitCode {
        let report: SloReport = match self.admin.ask("/slo", &[]) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                return ExitCode::from(2);
            }
        };
        match self.format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
            Format::Text => print!("{}", text(&report)),
        }
        let is_spent = report.services.iter().any(|service| service.spent > Ppm::WHOLE);
        if is_spent { ExitCode::from(1) } else { ExitCode::SUCCESS }
    }
}

fn text(report: &SloReport) -> String {
    if report.services.is_empty() {
        return "no service is steered\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "SERVICE",
        "TIER",
        "OBJECTIVE",
        "AVAILABLE",
        "DOWN",
        "SPENT",
        "INCIDENTS",
        "RTO",
        "MTTR",
    ]);
    for service in &report.services {
        table.add_row(row(service));
    }
    let mut text = format!("{}\n", table.trim_fmt());
    for tier in report.tiers.iter().filter(|tier| tier.recovery.incidents > 0) {
        text.push_str(&of_tier(tier));
    }
    let (days, window) = (report.days, report.window_days);
    let word = if days == 1 { "day" } else { "days" };
    text.push_str(&format!("{days} {word} of the last {window} watched\n"));
    text
}

fn row(service: &ServiceSlo) -> [String; 9] {
    let ServiceSlo {
        name, tier, objective, availability, watched_ms, unavailable_ms, spent, recovery, ..
    } = service;
    let kept = if *watched_ms == 0 { "-".to_owned() } else { exact(*availability) };
    [
        name.clone(),
        tier.clone(),
        exact(*objective),
        kept,
        short(*unavailable_ms),
        format!("{:.0}%", spent.percent()),
        recovery.incidents.to_string(),
        recovery.rto_ms.map_or_else(|| "-".to_owned(), short),
        recovery.mttr_ms.map_or_else(|| "-".to_owned(), short),
    ]
}

/// `99.984%`, `99.9%`.
fn exact(share: Ppm) -> String {
    let text = format!("{:.3}", share.percent());
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A length of time in six columns: `9.9s`, `3m10s`, `2h05m`, `12d`.
fn short(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `tier 15m: 3 incidents, none late; longest 9.9 s; by month 2026-10 9.9 s, 2026-11 4.1 s`.
fn of_tier(tier: &TierRecovery) -> String {
    let Recovery { incidents, rto_ms, above_tier, .. } = tier.recovery;
    let longest = rto_ms.map_or_else(|| "-".to_owned(), length);
    let late = if above_tier == 0 { "none late".to_owned() } else { format!("{above_tier} late") };
    let months: Vec<String> = tier
        .months
        .iter()
        .filter_map(|month| Some(format!("{} {}", month.month, length(month.recovery.rto_ms?))))
        .collect();
    let months = if months.len() > 1 { format!("; by month {}", months.join(", ")) } else { String::new() };
    let word = if incidents == 1 { "incident" } else { "incidents" };
    format!("tier {}: {incidents} {word}, {late}; longest RTO {longest}{months}\n", tier.tier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_shares_are_short() {
        let told = [0, 9_950, 190_000, 7_500_000, 2_592_000_000].map(short);
        assert_eq!(told, ["0.0s", "9.9s", "3m10s", "2h05m", "30d"]);
        assert_eq!(
            [exact(Ppm(999_500)), exact(Ppm::WHOLE), exact(Ppm(999_844))],
            ["99.95%", "100%", "99.984%"]
        );
    }
}
