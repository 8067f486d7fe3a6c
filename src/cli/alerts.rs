//! `rhumb alerts`: what a running instance tells people of now, and whether they are reached.

use crate::base::clock::WallTime;
use crate::cli::admin_client::Admin;
use crate::cli::incidents::folded;
use crate::cli::{Format, chain};
use crate::model::alert::{Alert, ReceiverStatus};
use crate::model::status::Status;
use serde_json::json;
use std::process::ExitCode;

/// Members whose evidence is shown, of one alert.
const MOST_SHOWN: usize = 12;

/// Show what a running rhumb alerts people of
///
/// Alerts by how much they matter, with their members and the evidence, then the receivers and whether they
/// are reached. Exits 1 when something is the matter.
#[derive(clap::Args)]
pub struct AlertsArgs {
    #[command(flatten)]
    admin: Admin,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl AlertsArgs {
    pub fn run(&self) -> ExitCode {
        let status: Status = match self.admin.ask("/status", &[]) {
            Ok(status) => status,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                return ExitCode::from(2);
            }
        };
        match self.format {
            Format::Json => {
                let told = json!({
                    "alerts": status.alerts,
                    "alerts_omitted": status.alerts_omitted,
                    "receivers": status.receivers,
                });
                println!("{told:#}");
            }
            Format::Text => print!("{}", text(&status, MOST_SHOWN)),
        }
        let is_well =
            status.alerts.is_empty() && status.receivers.iter().all(|it| it.failing_since.is_none());
        if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

/// Alerts with `members` members each, and receivers, for people.
pub fn text(status: &Status, members: usize) -> String {
    let mut text = String::new();
    if status.alerts.is_empty() {
        text.push_str("no alerts\n");
    }
    for alert in &status.alerts {
        text.push_str(&one(alert, status.now, members));
    }
    if status.alerts_omitted > 0 {
        text.push_str(&format!("and {} more alerts\n", status.alerts_omitted));
    }
    status.receivers.iter().for_each(|receiver| text.push_str(&told(receiver, status.now)));
    text
}

fn one(alert: &Alert, now: WallTime, most: usize) -> String {
    // It is told as over when nothing was the matter for a while.
    let is_all = !alert.members.is_empty() && alert.members.len() == alert.member_count as usize;
    let is_well = is_all && alert.members.iter().all(|member| !member.firing);
    let well = if is_well { ", well again" } else { "" };
    let lead = format!("{} (since {} ago{well}): ", alert.severity, ago(now, alert.since));
    let mut text = folded(&lead, &alert.summary);
    let shown = alert.members.iter().filter(|_| alert.member_count > 1).take(most);
    for member in shown {
        let state = if member.firing { "" } else { "well again; was: " };
        text.push_str(&folded(&format!("  {}: ", member.name), &format!("{state}{}", member.evidence)));
    }
    if let Some(runbook) = &alert.runbook {
        text.push_str(&format!("  runbook: {runbook}\n"));
    }
    text
}

fn told(receiver: &ReceiverStatus, now: WallTime) -> String {
    let state = match (receiver.failing_since, &receiver.last_error) {
        (Some(since), Some(error)) => format!("not reached for {}: {error}", ago(now, since)),
        _ => "reached".to_owned(),
    };
    let ReceiverStatus { name, kind, sent, failed, pending, .. } = receiver;
    format!(
        "receiver {name} ({kind}): {sent} messages sent, {failed} attempts failed, {pending} pending; {state}\n"
    )
}

fn ago(now: WallTime, then: WallTime) -> String {
    match now.0.saturating_sub(then.0) / 1_000 {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}
