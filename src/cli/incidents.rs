//! `rhumb incidents` and `rhumb incident show`: what went wrong for clients, since when, why most likely.

use crate::audit::Entry;
use crate::base::clock::WallTime;
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::{Format, chain, postmortem};
use crate::model::incident::{Incident, IncidentBrief, LikelyCause, Phase, Severity, Step, percent};
use std::process::ExitCode;

/// Columns of a screen.
const WIDTH: usize = 80;
/// Lines of the audit log that a postmortem looks through.
const MOST_AUDIT: &str = "10000";

/// Show what goes wrong for clients, since when, and why most likely
///
/// An incident is opened by real faults (a node down, or degraded for long; a region cut; clients without a node or
/// turned away; a frozen table) and never by what operators or drills withdraw. What has one likely cause is one
/// incident: a node, a site, a region, a line, or rhumb's own view. Exits 1 when one is open.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb incidents                    # those that are not over
  rhumb incidents --all              # those that are too, the newest first
  rhumb incident show 7              # with its timeline
  rhumb incident show 7 --format md > postmortem.md
Clocks: `answer` is from the first failing observation until 99 % of the clients
had another answer (the table, and a TTL for caches); `quality` until everything
was back and ramped.")]
pub struct IncidentsArgs {
    /// Those that are over as well
    #[arg(long)]
    all: bool,
    /// How many of those
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,
    #[command(flatten)]
    admin: Admin,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Show one incident with its timeline, or draft its postmortem
#[derive(clap::Args)]
pub struct IncidentArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show one incident with its timeline, or draft its postmortem
    ///
    /// `--format md` drafts the postmortem: summary, impact, timeline, evidence, moves, what clients saw, what operators
    /// did meanwhile by the audit log, and the questions that are open.
    Show {
        /// Its number, as `rhumb incidents` has it
        number: u64,
        #[command(flatten)]
        admin: Admin,
        /// `json` is everything, `md` a draft of the postmortem
        #[arg(long, value_enum, default_value_t)]
        format: ShowFormat,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ShowFormat {
    #[default]
    Text,
    Json,
    Md,
}

impl IncidentsArgs {
    pub fn run(&self) -> ExitCode {
        let most = self.most.to_string();
        let all = if self.all { "true" } else { "false" };
        let listed = self.admin.ask("/incidents", &[("all", all), ("most", most.as_str())]);
        let listed: Vec<IncidentBrief> = match listed {
            Ok(listed) => listed,
            Err(error) => return failed(&error),
        };
        match self.format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&listed).unwrap_or_default()),
            Format::Text => print!("{}", list(&listed, self.all)),
        }
        let is_open = listed.iter().any(|incident| incident.phase != Phase::Closed);
        if is_open { ExitCode::from(1) } else { ExitCode::SUCCESS }
    }
}

impl IncidentArgs {
    pub fn run(&self) -> ExitCode {
        let What::Show { number, admin, format } = &self.what;
        let incident: Incident = match admin.ask(&format!("/incidents/{number}"), &[]) {
            Ok(incident) => incident,
            Err(error) => return failed(&error),
        };
        match format {
            ShowFormat::Json => println!("{}", serde_json::to_string_pretty(&incident).unwrap_or_default()),
            ShowFormat::Text => print!("{}", shown(&incident)),
            ShowFormat::Md => {
                let audit: Vec<Entry> = match admin.ask("/audit", &[("most", MOST_AUDIT)]) {
                    Ok(audit) => audit,
                    Err(error) => return failed(&error),
                };
                print!("{}", postmortem::draft(&incident, &audit));
            }
        }
        ExitCode::SUCCESS
    }
}

fn failed(error: &AskError) -> ExitCode {
    eprintln!("rhumb: {}", chain(error));
    match error {
        AskError::Refused(_) => ExitCode::from(1),
        _ => ExitCode::from(2),
    }
}

fn list(listed: &[IncidentBrief], all: bool) -> String {
    if listed.is_empty() {
        return match all {
            true => "no incident is kept\n".to_owned(),
            false => "no incident is open\n".to_owned(),
        };
    }
    listed.iter().map(brief).collect()
}

/// A few lines.
pub(super) fn brief(incident: &IncidentBrief) -> String {
    let IncidentBrief {
        id,
        phase,
        severity,
        cause,
        summary,
        impact,
        failed_at,
        closed_at,
        answer_ms,
        quality_ms,
        runbooks,
    } = incident;
    let until = closed_at.map_or_else(String::new, |at| format!(" until {}", clock(at)));
    let minor = if *severity == Severity::Minor { ", minor" } else { "" };
    let mut text = format!("incident {id}, {}{minor}, since {}{until}\n", phase.name(), clock(*failed_at));
    text.push_str(&folded("  ", summary));
    text.push_str(&folded("  impact: ", impact));
    text.push_str(&folded("  likeliest cause: ", &likeliest(cause)));
    let told = |clock: &Option<u64>| {
        clock.map_or_else(|| "not yet".to_owned(), |ms| format!("after {}", length(ms)))
    };
    let answer = match answer_ms {
        // More demand than room, and everybody has a node.
        Some(0) => "never lost".to_owned(),
        other => told(other),
    };
    text.push_str(&format!("  restored: answer {answer}, full quality {}\n", told(quality_ms)));
    runbooks.iter().for_each(|runbook| text.push_str(&format!("  runbook: {runbook}\n")));
    text
}

pub(super) fn likeliest(cause: &LikelyCause) -> String {
    let LikelyCause { of, subject, why } = cause;
    match of.name() {
        "us" => format!("us (this instance and its network): {why}"),
        of => format!("{of} {subject}: {why}"),
    }
}

fn shown(incident: &Incident) -> String {
    let mut text = brief(&incident.brief());
    for service in incident.impact.services.iter().filter(|it| it.is_touched()) {
        let told = |all: &[crate::model::incident::NamedShare]| {
            all.iter().map(|it| format!("{} {}", it.name, percent(it.share))).collect::<Vec<_>>().join(", ")
        };
        let areas = told(&service.areas);
        if !areas.is_empty() {
            text.push_str(&folded("  ", &format!("{}, of each area's clients: {areas}", service.name)));
        }
        if let (Some(ms), Some(is_within)) = (service.restored_ms, service.is_within_tier()) {
            let word = if is_within { "within" } else { "LATER than" };
            text.push_str(&format!(
                "  {}: answer after {}, {word} its tier {}\n",
                service.name,
                length(ms),
                service.tier
            ));
        }
    }
    let lines: Vec<String> =
        incident.impact.lines.iter().map(|line| format!("{} {}", line.name, percent(line.share))).collect();
    if !lines.is_empty() {
        text.push_str(&folded("  of each line's clients: ", &lines.join(", ")));
    }
    if let Some(peak) = &incident.impact.peak {
        text.push_str(&format!("  fullest meanwhile: {} at {}\n", peak.name, percent(peak.share)));
    }
    text.push_str("timeline (UTC)\n");
    for step in &incident.timeline {
        text.push_str(&told(step));
    }
    if incident.steps_omitted > 0 {
        text.push_str(&format!("  {} steps between are left out\n", incident.steps_omitted));
    }
    text
}

fn told(step: &Step) -> String {
    let mut text = folded(&format!("  {}  ", time_of_day(step.at)), &step.what);
    for moved in &step.moves {
        text.push_str(&folded("                  ", moved));
    }
    text
}

/// A paragraph of at most [`WIDTH`] columns, whose further lines begin below the first one's text.
pub(super) fn folded(lead: &str, text: &str) -> String {
    let indent = " ".repeat(lead.chars().count().min(18));
    let mut out = String::new();
    let mut line = lead.to_owned();
    let mut has_word = false;
    for word in text.split_whitespace() {
        let room = line.chars().count() + usize::from(has_word) + word.chars().count();
        if has_word && room > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line.clone_from(&indent);
            has_word = false;
        }
        if has_word {
            line.push(' ');
        }
        line.push_str(word);
        has_word = true;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

/// `2026-11-22 10:31:04`.
pub(super) fn clock(at: WallTime) -> String {
    let at = i64::try_from(at.0 / 1_000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.to_string().replace('T', " ").replace('Z', ""))
}

/// `10:31:04.120`.
pub(super) fn time_of_day(at: WallTime) -> String {
    let whole = clock(at);
    format!("{}.{:03}", whole.split(' ').nth(1).unwrap_or("?"), at.0 % 1_000)
}

/// `850 ms`, `4.2 s`, `3 min 10 s`, `2 h 5 min`.
pub(super) fn length(ms: u64) -> String {
    match ms {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..7_200_000 if ms % 60_000 < 1_000 => format!("{} min", ms / 60_000),
        60_000..7_200_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}
