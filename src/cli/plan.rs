//! `rhumb plan`: what other policy files would do, before they are applied.

use crate::base::clock::{SharedClock, SystemClock};
use crate::base::diagnostic::{Diagnostic, SourceFile};
use crate::base::units::Ppm;
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::overrides::{moved as moves_text, push_broken, push_wrapped};
use crate::cli::render::visible;
use crate::cli::{Format, chain, check, render};
use crate::control::plan::{Draft, FORMAT, PlanFile, Planned, Recovery};
use crate::daemon::offline;
use crate::daemon::planning::{self, Reach};
use crate::forecast::{Difference, Forecast, Kind, Latency, NodeStand, ServiceStand};
use crate::history::FileChange;
use crate::model::readiness::LossOutcome;
use crate::store::policy_dir;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Rows of a table: it is to be read in half a minute.
const MOST_ROWS: usize = 8;

/// Differences that are shown.
const LEAST_CLIENTS_PPM: u32 = 500;
const LEAST_LOAD_PPM: u32 = 10_000;

/// Tell what the policy files of a folder would do, without doing it
///
/// Asks the running rhumb: it checks the files, carries its live table, verdicts and demand over to them, and
/// plans on until nobody wants to move. Nothing is changed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb plan                               ./policies, against what is in force
  rhumb plan new-policies --out plan.json  the same, kept for `rhumb apply`
  rhumb plan new-policies --state state    without a running rhumb, from its
                                           state folder
Shares are of clients, services counting alike; load is in capacity units. What
is told is where it ends; moves by choice get there by the change budget
(`planner:` of rhumb.yaml; 20 % of demand a minute).
Exit codes: 0 nothing changes, 2 something does, 3 a guardrail or rule speaks
against it, 1 mistakes in the files, or it could not be worked out")]
pub struct PlanArgs {
    /// Folder with the files; all of them, since what is not in it would be removed
    #[arg(default_value = "policies", value_name = "DIR")]
    folder: PathBuf,
    /// State folder to plan on instead of a running rhumb: what it kept last
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Also write the plan with its files to this file, for `rhumb apply`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl PlanArgs {
    pub fn run(&self) -> ExitCode {
        match self.plan() {
            Ok(planned) => exit_code(&planned),
            Err(message) => {
                eprintln!("rhumb: {message}");
                ExitCode::from(1)
            }
        }
    }

    fn plan(&self) -> Result<Planned, String> {
        let sources = policy_dir::read_folder(&self.folder).map_err(|error| chain(&error))?;
        let diagnostics = check::diagnose(&sources, &self.folder);
        if diagnostics.iter().any(Diagnostic::is_error) {
            let _ = render::print(&diagnostics, &sources);
            return Err("there is no plan of files with mistakes".to_owned());
        }
        let files: Vec<(String, String)> =
            sources.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        let planned = match &self.state {
            Some(state) => self.offline(state, sources)?,
            None => self.asked(files.clone())?,
        };
        if let Some(out) = &self.out {
            write(out, &PlanFile { rhumb_plan: FORMAT, planned: planned.clone(), files })?;
        }
        match self.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(&planned).map_err(|error| error.to_string())?;
                println!("{text}");
            }
            Format::Text => print!("{}", text(&planned, self.out.as_deref())),
        }
        Ok(planned)
    }

    fn asked(&self, files: Vec<(String, String)>) -> Result<Planned, String> {
        self.admin.post("/plan", &Draft { files }).map_err(|error| match error {
            AskError::NotRunning(_) => {
                format!("{}; or plan on what it kept, with --state DIR", chain(&error))
            }
            other => chain(&other),
        })
    }

    fn offline(&self, state: &Path, sources: Vec<SourceFile>) -> Result<Planned, String> {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let situation = offline::situation(state, &self.folder, &clock)?;
        planning::think(&situation, &self.folder, sources, Reach::Losses)
            .map_err(|refused| refused.to_string())
    }
}

fn write(out: &Path, plan: &PlanFile) -> Result<(), String> {
    let text = serde_json::to_string_pretty(plan).map_err(|error| error.to_string())?;
    std::fs::write(out, text).map_err(|error| format!("cannot write {}: {error}", out.display()))
}

fn exit_code(planned: &Planned) -> ExitCode {
    match () {
        () if !planned.broken.is_empty() || !planned.faults.is_empty() => ExitCode::from(3),
        () if planned.changed.is_empty() => ExitCode::SUCCESS,
        () => ExitCode::from(2),
    }
}

/// For people, within 80 columns.
fn text(planned: &Planned, out: Option<&Path>) -> String {
    let Planned { base, revision, changed, edits, forecast, .. } = planned;
    if changed.is_empty() {
        return format!("{revision} is in force already: nothing changes\n");
    }
    let mut text = String::new();
    let on = format!("{revision} in place of {base}, worked out on generation {}", planned.generation.0);
    push_wrapped(&mut text, "plan    ", &on);
    let files: Vec<String> = changed.iter().map(changed_file).collect();
    push_wrapped(&mut text, "files   ", &files.join(", "));
    edits.iter().for_each(|edit| push_wrapped(&mut text, "edit    ", &visible(edit)));
    push_moves(&mut text, forecast);
    push_regions(&mut text, &forecast.differences);
    push_nodes(&mut text, forecast);
    push_services(&mut text, forecast);
    planned.recovery.iter().for_each(|it| push_recovery(&mut text, it));
    planned.worst.iter().for_each(|it| push_worst(&mut text, it));
    planned.notes.iter().for_each(|note| push_wrapped(&mut text, "note    ", &visible(note)));
    for fault in &planned.faults {
        push_wrapped(&mut text, "fault   ", &format!("its table would be refused: {}", visible(fault)));
    }
    planned.broken.iter().for_each(|it| push_broken(&mut text, it));
    if planned.warnings > 0 {
        text.push_str(&format!("{} warnings: `rhumb check` shows them\n", planned.warnings));
    }
    if let Some(out) = out {
        text.push_str(&format!("next    rhumb apply {} --why '...'\n", out.display()));
    }
    text
}

fn changed_file(change: &FileChange) -> String {
    match change {
        FileChange::Added(path) => format!("{path} added"),
        FileChange::Edited(path) => format!("{path} edited"),
        FileChange::Removed(path) => format!("{path} removed"),
    }
}

fn push_moves(text: &mut String, forecast: &Forecast) {
    let moved = &forecast.moved;
    if moved.services.is_empty() {
        return push_wrapped(text, "moves   ", "no clients");
    }
    let (clients, load) = (moved.clients.percent(), moved.load.percent());
    push_wrapped(text, "moves   ", &format!("{clients:.1} % of clients, {load:.1} % of load"));
    moved.services.iter().for_each(|it| push_wrapped(text, "        ", &moves_text(it)));
}

fn push_regions(text: &mut String, differences: &[Difference]) {
    let of = |kind: Kind| differences.iter().filter(move |it| it.of == kind && is_shown(it));
    let rows: Vec<(&str, &Difference)> = of(Kind::Region)
        .map(|it| ("region", it))
        .chain(of(Kind::Line).map(|it| ("line", it)))
        .chain(of(Kind::Node).map(|it| ("node", it)))
        .collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(&format!("shares  {:<33} {:>17} {:>18}\n", "", "clients before now", "load before now"));
    for (kind, it) in rows.iter().take(2 * MOST_ROWS) {
        let name = cut(&format!("{kind} {}", it.name), 33);
        let [c0, c1] = it.clients.map(|share| share.percent());
        let [l0, l1] = it.load.map(|share| share.percent());
        text.push_str(&format!("        {name:<33} {c0:>7.1} % {c1:>6.1} %  {l0:>6.1} % {l1:>6.1} %\n"));
    }
    if rows.len() > 2 * MOST_ROWS {
        text.push_str(&format!("        and {} more: --format json\n", rows.len() - 2 * MOST_ROWS));
    }
}

/// Demand is estimated anew after an edit, so load may differ a little where nobody moves.
fn is_shown(it: &Difference) -> bool {
    let by = |[before, after]: [Ppm; 2]| before.0.abs_diff(after.0);
    by(it.clients) >= LEAST_CLIENTS_PPM || by(it.load) >= LEAST_LOAD_PPM
}

fn push_nodes(text: &mut String, forecast: &Forecast) {
    let full = forecast.utilisation();
    if full.is_empty() {
        return;
    }
    text.push_str(&format!(
        "fullest {:<24} {:<12} {:>8} {:>8} {:>8}\n",
        "node", "site", "before", "after", "cap"
    ));
    let percent =
        |share: Option<Ppm>| share.map_or_else(|| "-".to_owned(), |it| format!("{:.1} %", it.percent()));
    for (name, before, after) in full.into_iter().take(MOST_ROWS) {
        let sides = [&forecast.after, &forecast.before];
        let node: Option<&NodeStand> = sides.iter().find_map(|it| it.nodes.iter().find(|it| it.node == name));
        let (site, cap) = node.map_or(("", None), |it| (it.site.as_str(), it.cap));
        let (name, site) = (cut(name, 24), cut(site, 12));
        let (before, after, cap) = (percent(before), percent(after), percent(cap));
        text.push_str(&format!("        {name:<24} {site:<12} {before:>8} {after:>8} {cap:>8}\n"));
    }
}

fn push_services(text: &mut String, forecast: &Forecast) {
    let latency = |label: &str, was: Latency, is: Latency| {
        format!(
            "{label}: mean {:.1} -> {:.1} ms, p95 {:.1} -> {:.1} ms",
            was.mean_ms, is.mean_ms, was.p95_ms, is.p95_ms
        )
    };
    push_wrapped(text, "latency ", &latency("all", forecast.before.latency, forecast.after.latency));
    for is in &forecast.after.services {
        let none = ServiceStand::default();
        let was = forecast.before.services.iter().find(|was| was.service == is.service).unwrap_or(&none);
        if was.latency != is.latency && forecast.after.services.len() > 1 {
            push_wrapped(text, "        ", &latency(&is.service, was.latency, is.latency));
        }
        if was.unserved > 0 || is.unserved > 0 {
            let told = format!("{}: {} units of demand, {} before", is.service, is.unserved, was.unserved);
            push_wrapped(text, "unserved  ", &told);
        }
        if was.stranded > 0 || is.stranded > 0 {
            let told = format!("{}: client groups: {}, {} before", is.service, is.stranded, was.stranded);
            push_wrapped(text, "no node   ", &told);
        }
    }
    let (was, is) = (forecast.before.scopes(), forecast.after.scopes());
    let told =
        format!("{} -> {} IPv4 prefixes that answers are told apart by (cache entries)", was.v4, is.v4);
    push_wrapped(text, "scopes  ", &told);
}

fn push_recovery(text: &mut String, it: &Recovery) {
    let seconds = |it: Option<f64>| it.map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
    let (before, after) = (seconds(it.before_s), seconds(it.after_s));
    let proof = match it.after_s {
        None => "no probes, so nothing is proven".to_owned(),
        Some(_) if before == after => format!("up to {after}, as before, within its {} ", it.tier),
        Some(_) => format!("up to {after} ({before} before), within its {} ", it.tier),
    };
    push_wrapped(text, "tier    ", format!("{}: recovery {proof}", it.service).trim_end());
}

/// The worst single loss, once it has settled.
fn push_worst(text: &mut String, it: &LossOutcome) {
    let carried = if it.is_carried { "the rest carries it" } else { "the rest cannot carry it" };
    let mut told = format!("losing {}: {carried}", it.lost);
    // Where nobody is served any more, there is nothing to tell of nodes and ways.
    if let Some(fullest) = it.fullest.as_ref().filter(|it| it.utilisation > Ppm::ZERO) {
        let (at, cap) = (fullest.utilisation.percent(), fullest.cap.percent());
        told.push_str(&format!(", {} at {at:.1} % (cap {cap:.0} %)", fullest.node));
    }
    if it.unserved_total() > 0 {
        told.push_str(&format!(", {} units of demand without room", it.unserved_total()));
    }
    if it.stranded_total() > 0 {
        told.push_str(&format!(", {} client groups without a node", it.stranded_total()));
    }
    if it.latency.p95.0 > 0 {
        told.push_str(&format!(", p95 {:.1} ms", it.latency.p95.millis()));
    }
    push_wrapped(text, "worst   ", &told);
    if let Some(remedy) = it.remedy() {
        push_wrapped(text, "        ", &remedy);
    }
}

fn cut(name: &str, width: usize) -> String {
    let (name, width) = (visible(name), width.max(1));
    match name.chars().count() > width {
        true => name.chars().take(width - 1).chain(['~']).collect(),
        false => name,
    }
}
