//! `rhumb drain`, `undrain`, `force-up`, `force-down`, `overrides`: what operators say of nodes.

use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::render::visible;
use crate::cli::status::seconds;
use crate::cli::{Format, chain, duration};
use crate::control::overrides::BrokenBody;
use crate::model::overrides::{
    Action, Override, OverrideDone, OverrideId, OverrideRequest, OverrideStatus, Target,
};
use crate::model::preflight::{BrokenRule, Preflight, ServiceMoves, Way};
use clap::{Args, Subcommand};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

const WIDTH: usize = 80;

/// Where the running rhumb is, and how to say it.
#[derive(Args)]
struct Where {
    #[command(flatten)]
    admin: Admin,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How an override is set; which is the command's name.
#[derive(Args)]
#[command(after_help = "\
Targets: node/NAME (or NAME), site/NAME, region/NAME, line/NAME,
label/KEY=VALUE; * stands for any text in a name, ? for one character.

  rhumb drain site/tyo --for 30m --reason 'CHG-1234: new switches'
  rhumb drain 'node/fra-*' --for 2h --reason reinstall --dry-run
  rhumb force-down tyo-1 --for 10m --reason 'answers garbage'
  rhumb force-up tyo-2 --for 15m --reason 'the probe is wrong, not the node'

What it would do is worked out first: where clients go, how full the rest gets.
It is refused when that breaks a rule; --break-glass RULE breaks it knowingly,
which is recorded.

Exit codes: 0 done (of --dry-run: it would be), 1 refused, 2 could not run")]
pub struct ForceArgs {
    /// Which nodes
    target: String,
    /// How long it holds: 90s, 30m, 1h30m; 72h at most
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    span: Duration,
    /// Why, for whoever is on call
    #[arg(long)]
    reason: String,
    /// A rule that this may break, by name; several: again, or with commas
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    break_glass: Vec<String>,
    /// Only tell what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: Where,
}

/// Give drained nodes their clients back, with a ramp
///
/// Ends every drain of exactly this target. It is never refused by a rule.
#[derive(Args)]
#[command(after_help = "\
  rhumb undrain site/tyo --reason 'the switches are in'
  rhumb overrides              what is drained, and by which target

Exit codes: 0 done, 1 nothing is drained by this target, 2 could not run")]
pub struct UndrainArgs {
    /// The target as it was drained
    target: String,
    /// Why, for whoever reads it later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// List, extend and cancel what operators have said of nodes
///
/// Without a command: lists what is in force.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
  rhumb overrides
  rhumb overrides list --format json
  rhumb overrides extend 3 --for 1h
  rhumb overrides cancel 3 --reason done

Exit codes: 0 done, 1 refused or no such override, 2 could not run")]
pub struct OverridesArgs {
    #[command(subcommand)]
    command: Option<OverridesCommand>,
    #[command(flatten)]
    at: Where,
}

#[derive(Subcommand)]
enum OverridesCommand {
    /// Show what is in force
    List {
        #[command(flatten)]
        at: Where,
    },
    /// Have an override hold for so long from now
    Extend {
        /// Its number
        id: u64,
        /// From now: 30m, 2h; 72h at most
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        span: Duration,
        #[command(flatten)]
        at: Where,
    },
    /// End an override; it is never refused by a rule
    Cancel {
        /// Its number
        id: u64,
        /// Why, for whoever reads it later
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        at: Where,
    },
}

impl ForceArgs {
    pub fn run(&self, action: Action) -> ExitCode {
        let request = OverrideRequest {
            action,
            target: self.target.clone(),
            for_s: self.span.as_secs(),
            reason: self.reason.clone(),
            break_glass: self.break_glass.clone(),
            dry_run: self.dry_run,
        };
        self.at.tell(self.at.admin.try_post("/overrides", &request), |done| {
            let preflight = done.preflight.as_ref();
            let mut text = preflight.map_or_else(String::new, preflight_text);
            text.push_str(&outcome(done));
            text
        })
    }
}

impl UndrainArgs {
    pub fn run(&self) -> ExitCode {
        match self.found() {
            Ok(ids) => ids
                .into_iter()
                .map(|id| self.at.cancel(id, self.reason.as_deref()))
                .fold(ExitCode::SUCCESS, |all, one| if all == ExitCode::SUCCESS { one } else { all }),
            Err(code) => code,
        }
    }

    /// Drains of this target.
    fn found(&self) -> Result<Vec<OverrideId>, ExitCode> {
        let target: Target =
            self.target.parse().map_err(|why: String| self.at.refuse(&json!({ "error": why })))?;
        let all = self.at.list()?;
        let drains = || all.iter().filter(|it| it.set.action == Action::Drain);
        let ids: Vec<OverrideId> =
            drains().filter(|it| it.set.target == target).map(|it| it.set.id).collect();
        if ids.is_empty() {
            let told: Vec<String> = drains().map(|it| it.set.target.to_string()).collect();
            let help = match told.as_slice() {
                [] => "nothing is drained".to_owned(),
                targets => format!("drained are {}", targets.join(", ")),
            };
            let error = format!("no drain names exactly {target}; {help}");
            return Err(self.at.refuse(&json!({ "error": error })));
        }
        Ok(ids)
    }
}

impl OverridesArgs {
    pub fn run(&self) -> ExitCode {
        match &self.command {
            None => self.at.show(),
            Some(OverridesCommand::List { at }) => at.show(),
            Some(OverridesCommand::Extend { id, span, at }) => {
                let body = json!({ "for_s": span.as_secs() });
                at.tell(at.admin.try_post(&format!("/overrides/{id}/extend"), &body), outcome)
            }
            Some(OverridesCommand::Cancel { id, reason, at }) => {
                at.cancel(OverrideId(*id), reason.as_deref())
            }
        }
    }
}

impl Where {
    fn list(&self) -> Result<Vec<OverrideStatus>, ExitCode> {
        self.admin.ask("/overrides", &[]).map_err(|error| failed(&error))
    }

    fn show(&self) -> ExitCode {
        let all = match self.list() {
            Ok(all) => all,
            Err(code) => return code,
        };
        match self.format {
            Format::Json => println!("{:#}", json!(all)),
            Format::Text if all.is_empty() => println!("no overrides"),
            Format::Text => all.iter().for_each(|it| print!("{}", listed(it))),
        }
        ExitCode::SUCCESS
    }

    fn cancel(&self, id: OverrideId, reason: Option<&str>) -> ExitCode {
        let query: Vec<(&str, &str)> = reason.map(|reason| ("reason", reason)).into_iter().collect();
        self.tell(self.admin.try_delete(&format!("/overrides/{id}"), &query), |done| {
            let Override { action, target, .. } = &done.set.set;
            format!("override {id} is over: {} no longer {}\n{}", target, action.done(), unkept(done))
        })
    }

    /// Prints what came back.
    fn tell(
        &self,
        answer: Result<(StatusCode, Value), AskError>,
        text: impl FnOnce(&OverrideDone) -> String,
    ) -> ExitCode {
        let (status, said) = match answer {
            Ok(answer) => answer,
            Err(error) => return failed(&error),
        };
        if !status.is_success() {
            let code = self.refuse(&said);
            return if status.is_client_error() { code } else { ExitCode::from(2) };
        }
        let done: OverrideDone = match serde_json::from_value(said.clone()) {
            Ok(done) => done,
            Err(error) => {
                eprintln!("rhumb: that rhumb speaks otherwise: {error}");
                return ExitCode::from(2);
            }
        };
        match self.format {
            Format::Json => println!("{said:#}"),
            Format::Text => print!("{}", text(&done)),
        }
        let forbidden = |preflight: &Preflight| preflight.forbids().next().is_some();
        ExitCode::from(u8::from(done.preflight.as_ref().is_some_and(forbidden)))
    }

    /// Prints why not.
    fn refuse(&self, said: &Value) -> ExitCode {
        if self.format == Format::Json {
            println!("{said:#}");
        } else if let Ok(BrokenBody { preflight, .. }) = serde_json::from_value(said.clone()) {
            print!("{}", preflight_text(&preflight));
            eprintln!("rhumb: refused; nothing was changed");
        } else {
            eprintln!("rhumb: {}", said["error"].as_str().unwrap_or("refused"));
        }
        ExitCode::from(1)
    }
}

fn failed(error: &AskError) -> ExitCode {
    eprintln!("rhumb: {}", chain(error));
    let is_no = matches!(error, AskError::Refused(_));
    ExitCode::from(if is_no { 1 } else { 2 })
}

/// One override in a line or a few.
pub(super) fn listed(it: &OverrideStatus) -> String {
    let Override { id, action, target, owner, reason, break_glass, .. } = &it.set;
    let mut text =
        format!("override {id}: {action} {target} by {owner}, until {}\n", moment(it.set.expires_at));
    push_wrapped(&mut text, "  ", &visible(reason));
    let nodes = match it.nodes.as_slice() {
        [] => "no node of the policy any more".to_owned(),
        nodes => nodes.join(" "),
    };
    push_wrapped(&mut text, "  ", &nodes);
    if !break_glass.is_empty() {
        push_wrapped(&mut text, "  ", &format!("over {}", break_glass.join(", ")));
    }
    text
}

fn outcome(done: &OverrideDone) -> String {
    let Override { id, action, target, set_at, expires_at, break_glass, .. } = &done.set.set;
    if done.is_dry_run {
        return "nothing was changed\n".to_owned();
    }
    let mut text = format!("override {id}: {target} is {} until {}\n", action.done(), moment(*expires_at));
    if !break_glass.is_empty() {
        text.push_str(&format!("  over {}, which is recorded\n", break_glass.join(", ")));
    }
    let held = seconds(expires_at.0.saturating_sub(set_at.0));
    let end = match action {
        Action::Drain => format!("rhumb undrain {target}"),
        _ => format!("rhumb overrides cancel {id}"),
    };
    text.push_str(&format!("  it ends by itself {held} after it was set; sooner: {end}\n{}", unkept(done)));
    text
}

/// What to know where the disk did not take it.
fn unkept(done: &OverrideDone) -> &'static str {
    match done.is_kept {
        Some(false) => "  it is in force, and not written yet: a restart now would not know of it\n",
        _ => "",
    }
}

fn moment(at: WallTime) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| "the end of time".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// For people, within 80 columns.
pub(super) fn preflight_text(told: &Preflight) -> String {
    let mut text = String::new();
    push_wrapped(&mut text, "nodes   ", &told.nodes.join(" "));
    match told.moves.as_slice() {
        [] => text.push_str("moves   no clients\n"),
        moves => moves.iter().for_each(|it| push_wrapped(&mut text, "moves   ", &moved(it))),
    }
    if !told.fullest.is_empty() {
        text.push_str(&format!(
            "fullest {:<24} {:<12} {:>7} {:>7} {:>7}\n",
            "node", "site", "before", "after", "cap"
        ));
        let percent = |share: Ppm| format!("{:.0} %", share.percent());
        for it in &told.fullest {
            let (before, after, cap) = (percent(it.before), percent(it.after), percent(it.cap));
            let line = format!("        {:<24} {:<12} {before:>7} {after:>7} {cap:>7}", it.node, it.site);
            text.push_str(&format!("{}\n", line.trim_end()));
        }
    }
    for it in &told.unserved {
        text.push_str(&format!(
            "unserved  {}: {} units of demand, {} before\n",
            it.service, it.after, it.before
        ));
    }
    for it in &told.stranded {
        let (service, after, before) = (&it.service, it.after, it.before);
        text.push_str(&format!("no node   {service}: client groups: {after}, {before} before\n"));
    }
    told.notes.iter().for_each(|note| push_wrapped(&mut text, "note    ", &visible(note)));
    told.broken.iter().for_each(|it| push_broken(&mut text, it));
    text
}

/// `live 12.3 % of its demand: ea -> na 10.0 %, ea -> eu 2.3 %`.
pub(super) fn moved(it: &ServiceMoves) -> String {
    let name = |region: &Option<String>| region.clone().unwrap_or_else(|| "nowhere".to_owned());
    let way = |way: &Way| format!("{} -> {} {:.1} %", name(&way.from), name(&way.to), way.share.percent());
    let ways: Vec<String> = it.ways.iter().map(way).collect();
    format!("{} {:.1} % of its demand: {}", it.service, it.share.percent(), ways.join(", "))
}

pub(super) fn push_broken(text: &mut String, it: &BrokenRule) {
    let verb = if it.is_overridden { "breaks, as told," } else { "breaks" };
    push_wrapped(text, "rule    ", &format!("{verb} `{}`: {}", it.rule, visible(&it.why)));
    if !it.is_overridden {
        let way_out = format!("{}; or --break-glass {}", it.way_out, it.rule);
        push_wrapped(text, "        ", &format!("way out: {way_out}"));
    }
}

/// The value wrapped at the width, each line indented as far as the label is long.
pub(super) fn push_wrapped(text: &mut String, label: &str, value: &str) {
    let room = WIDTH - label.len();
    let (mut line, mut head) = (String::new(), label.to_owned());
    for word in value.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            text.push_str(&format!("{head}{line}\n"));
            (line, head) = (String::new(), " ".repeat(label.len()));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(&format!("{head}{line}\n"));
}
