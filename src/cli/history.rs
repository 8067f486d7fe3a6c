//! `rhumb apply`, `history`, `diff`, `rollback`: other policies in place of the one in force, and back.

use crate::base::diagnostic::{Diagnostic, SourceFile};
use crate::base::units::Ppm;
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::canary::{self, CanaryFlags};
use crate::cli::overrides::push_wrapped;
use crate::cli::{Format, chain, check, render};
use crate::control::plan::{FORMAT, PlanFile};
use crate::control::policies::{Confirmation, Current, InForce, Proposal, Return, Terms};
use crate::history::{Applied, FileChange, Kept};
use crate::model::ids::Revision;
use crate::store::policy_dir;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Put the policy files of a folder into force, or a plan
///
/// Checks them first, here and again by the running rhumb, which works out what they do, as `rhumb plan` tells, and
/// refuses what a guardrail or rule of the policy in force speaks against; writes them to its policy folder and
/// takes them into force as one step, or not at all. Every revision is kept with who, when and why: `rhumb history`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb apply new-policies --why 'more weight for tyo, ticket 4711'
  rhumb apply plan.json --why 'as planned'      # refused if another came into
                             # force since, or it would move much more by now
  rhumb apply new-policies --base 4f2a91c07d3e --why 'ticket 4711'
  rhumb apply new-policies --break-glass moved --why 'tyo has to go'
  rhumb apply --confirm c07d3e --why 'meant so' # an edit in place that waits
  rhumb apply new-policies --canary 10% --for 10m --why 'ticket 4711'
Exit codes: 0 in force, 1 mistakes, refused, or a canary that was aborted or
held, 2 could not ask")]
pub struct ApplyArgs {
    /// Folder with the files, all of them, since what is not in it is removed; or the file of `rhumb plan --out`
    #[arg(required_unless_present = "confirm", value_name = "DIR or PLAN")]
    what: Option<PathBuf>,
    /// Take the edit of the policy folder into force that waits, of this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "what")]
    confirm: Option<String>,
    /// A guardrail or rule that this may break, by name; several: again, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    break_glass: Vec<String>,
    #[command(flatten)]
    canary: CanaryFlags,
    #[command(flatten)]
    terms: TermArgs,
    #[command(flatten)]
    admin: Admin,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Put a former revision of the policy into force again
///
/// Its files replace those of the policy folder; what was in force stays in the history.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb history
  rhumb rollback 4f2a91 --why 'tyo runs hot'
Exit codes: 0 in force, 1 refused, 2 could not ask")]
pub struct RollbackArgs {
    /// As `rhumb history` shows it, or as much of it as no other begins with
    revision: String,
    #[command(flatten)]
    terms: TermArgs,
    #[command(flatten)]
    admin: Admin,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(clap::Args)]
struct TermArgs {
    /// For the history and the audit log
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// The revision that this is meant to replace; refused if it is not in force any more
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
    /// Also if the policy folder holds edits that are not in force: they are set aside
    #[arg(long)]
    overwrite: bool,
}

impl TermArgs {
    fn terms(&self) -> Terms {
        Terms {
            why: self.why.clone(),
            base: self.base.clone().map(Revision),
            overwrite: self.overwrite,
            ..Terms::default()
        }
    }
}

/// Show which policies were in force
///
/// The newest first: when each came into force, by whom and why, and what it changed.
#[derive(clap::Args)]
pub struct HistoryArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,
    #[command(flatten)]
    admin: Admin,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Show what differs between two revisions of the policy
///
/// Exits 0 if nothing does, 1 if something does.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb diff 4f2a91 c07d3e
  rhumb diff 4f2a91            # against what is in force
  rhumb diff --folder policies # what is in force, against a folder")]
pub struct DiffArgs {
    /// As `rhumb history` shows it
    #[arg(required_unless_present = "folder")]
    from: Option<String>,
    /// Left out: what is in force
    #[arg(conflicts_with = "folder")]
    to: Option<String>,
    /// Compare with the files of a folder
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
}

/// Told, with its exit code.
enum Failure {
    /// 1: the answer is no.
    Refused(String),
    /// 2: nothing could be asked.
    Unasked(String),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(said) => Self::Refused(said),
            other => Self::Unasked(chain(&other)),
        }
    }
}

impl ApplyArgs {
    pub fn run(&self) -> ExitCode {
        exit(self.apply())
    }

    fn apply(&self) -> Result<ExitCode, Failure> {
        let canary = self.canary.ask();
        let mut terms = Terms { break_glass: self.break_glass.clone(), canary, ..self.terms.terms() };
        let Some(what) = &self.what else {
            let revision = self.confirm.clone().unwrap_or_default();
            let confirmation = Confirmation { revision, terms };
            return tell(&self.admin.post("/policy/confirm", &confirmation)?, self.format);
        };
        if what.is_file() {
            let PlanFile { planned, files, .. } = read_plan(what)?;
            if terms.base.as_ref().is_some_and(|base| *base != planned.base) {
                let (planned, what) = (&planned.base, what.display());
                return Err(Failure::Refused(format!("{what} was planned on {planned}: leave --base out")));
            }
            (terms.base, terms.planned) = (Some(planned.base), Some(planned.forecast.moved.clients));
            return self.put(&Proposal { files, terms });
        }
        let sources = read(what)?;
        let diagnostics = check::diagnose(&sources, what);
        if diagnostics.iter().any(Diagnostic::is_error) {
            let _ = render::print(&diagnostics, &sources);
            return Err(Failure::Refused("nothing was applied".to_owned()));
        }
        let files = sources.into_iter().map(|file| (file.path, file.text)).collect();
        self.put(&Proposal { files, terms })
    }

    /// Asks for it, and follows a canary to its end.
    fn put(&self, proposal: &Proposal) -> Result<ExitCode, Failure> {
        let done: InForce = self.admin.post("/policy", proposal)?;
        let follows = done.canary.is_some() && self.canary.follows();
        if !follows || self.format == Format::Text {
            tell(&done, self.format)?;
        }
        Ok(if follows { canary::follow(&self.admin, self.format) } else { ExitCode::SUCCESS })
    }
}

/// What `rhumb plan --out` wrote.
fn read_plan(path: &Path) -> Result<PlanFile, Failure> {
    let (name, help) = (path.display(), "make it anew: rhumb plan DIR --out FILE");
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Unasked(format!("cannot read {name}: {error}")))?;
    let plan: PlanFile = serde_json::from_str(&text)
        .map_err(|error| Failure::Refused(format!("{name} is no plan ({error}); {help}")))?;
    match plan.rhumb_plan {
        FORMAT => Ok(plan),
        other => Err(Failure::Refused(format!("{name} is a plan of format {other}, not {FORMAT}; {help}"))),
    }
}

impl RollbackArgs {
    pub fn run(&self) -> ExitCode {
        exit(self.roll_back())
    }

    fn roll_back(&self) -> Result<ExitCode, Failure> {
        let back = Return { revision: self.revision.clone(), terms: self.terms.terms() };
        tell(&self.admin.post("/rollback", &back)?, self.format)
    }
}

impl HistoryArgs {
    pub fn run(&self) -> ExitCode {
        exit(self.list())
    }

    fn list(&self) -> Result<ExitCode, Failure> {
        let most = self.most.to_string();
        let listed: Vec<Applied> = self.admin.ask("/history", &[("most", most.as_str())])?;
        if self.format == Format::Json {
            return json(&listed);
        }
        print!("{}", table_of(&listed));
        Ok(ExitCode::SUCCESS)
    }
}

/// A line of each revision in columns, and below it who and why, which may be long.
fn table_of(listed: &[Applied]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["REVISION", "IN FORCE FROM (UTC)", "HOW", "GENERATION", "MOVED"]);
    for applied in listed {
        let Applied { revision, how, generation, moved_ppm, .. } = applied;
        let moved = moved_ppm.map_or_else(|| "-".to_owned(), |ppm| format!("{:.1} %", Ppm(ppm).percent()));
        let (at, how) = (render::moment(applied.at), how.word().to_owned());
        table.add_row([revision.to_string(), at, how, generation.0.to_string(), moved]);
    }
    let mut text = String::new();
    let mut lines = table.lines().map(|line| line.trim_end().to_owned());
    text.extend(lines.next().map(|header| header + "\n"));
    for (line, applied) in lines.zip(listed) {
        text.push_str(&format!("{line}\n"));
        push_wrapped(&mut text, &" ".repeat(15), &format!("{}: {}", applied.who, applied.why));
    }
    text
}

impl DiffArgs {
    pub fn run(&self) -> ExitCode {
        exit(self.compare())
    }

    fn compare(&self) -> Result<ExitCode, Failure> {
        let (from, old) = match &self.from {
            Some(name) => self.kept(name)?,
            None => self.current()?,
        };
        let (to, new) = match (&self.folder, &self.to) {
            (Some(folder), _) => {
                let files = read(folder)?.into_iter().map(|file| (file.path, file.text));
                (folder.display().to_string(), files.collect())
            }
            (None, Some(name)) => self.kept(name)?,
            (None, None) => self.current()?,
        };
        let text = diff((&from, &old), (&to, &new));
        if text.is_empty() {
            println!("{from} and {to} are the same");
            return Ok(ExitCode::SUCCESS);
        }
        print!("{}", if std::io::stdout().is_terminal() { coloured(&text) } else { text });
        Ok(ExitCode::from(1))
    }

    fn kept(&self, name: &str) -> Result<(String, BTreeMap<String, String>), Failure> {
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let Kept { revision, files } = self.admin.ask(&format!("/history/{name}"), &[])?;
        Ok((revision.to_string(), files.into_iter().collect()))
    }

    fn current(&self) -> Result<(String, BTreeMap<String, String>), Failure> {
        let Current { revision, files } = self.admin.ask("/policy", &[])?;
        Ok((revision.to_string(), files.into_iter().collect()))
    }
}

fn read(folder: &Path) -> Result<Vec<SourceFile>, Failure> {
    policy_dir::read_folder(folder).map_err(|error| Failure::Unasked(chain(&error)))
}

fn exit(done: Result<ExitCode, Failure>) -> ExitCode {
    let (code, message) = match done {
        Ok(code) => return code,
        Err(Failure::Refused(message)) => (1, message),
        Err(Failure::Unasked(message)) => (2, message),
    };
    eprintln!("rhumb: {message}");
    ExitCode::from(code)
}

fn json(told: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(told).map_err(|error| Failure::Unasked(error.to_string()))?;
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn tell(done: &InForce, format: Format) -> Result<ExitCode, Failure> {
    if format == Format::Json {
        return json(done);
    }
    let InForce { revision, parent, generation, changed, warnings, set_aside, moved, broken, canary } = done;
    match changed.is_empty() {
        true => println!("{revision} is in force already"),
        false => println!("{revision} is in force in place of {parent}, from generation {}", generation.0),
    }
    for change in changed {
        let word = match change {
            FileChange::Added(_) => "added",
            FileChange::Edited(_) => "edited",
            FileChange::Removed(_) => "removed",
        };
        println!("  {word:8} {}", path_of(change));
    }
    if let Some(canary) = canary {
        println!(
            "as canary {} for {:.1} % of demand ({} of {} client groups); others stay where they are",
            canary.id,
            canary.reached.percent(),
            canary.groups[0],
            canary.groups[0] + canary.groups[1]
        );
    }
    match moved.filter(|_| !changed.is_empty()) {
        Some(Ppm(0)) => println!("moves no clients"),
        Some(moved) => println!("moves {:.1} % of clients, by the change budget", moved.percent()),
        None => {}
    }
    if !broken.is_empty() {
        println!("over {}, which is recorded", broken.join(", "));
    }
    if *warnings > 0 {
        println!("{warnings} warnings: `rhumb check` shows them");
    }
    if let Some(folder) = set_aside {
        println!("the edits that were in the folder are in {folder} on its machine");
    }
    if !changed.is_empty() {
        match canary {
            Some(_) => println!("back: rhumb canary abort --why '...'"),
            None => println!("back: rhumb rollback {parent} --why '...'"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(change: &FileChange) -> &str {
    match change {
        FileChange::Added(path) | FileChange::Edited(path) | FileChange::Removed(path) => path,
    }
}

type Named<'a> = (&'a str, &'a BTreeMap<String, String>);

/// As `diff -u` writes it; empty if nothing differs.
fn diff((from, old): Named<'_>, (to, new): Named<'_>) -> String {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut text = String::new();
    for path in paths {
        let [before, after] = [old, new].map(|files| files.get(path).map_or("", String::as_str));
        if before != after {
            let lines = TextDiff::from_lines(before, after);
            let mut unified = lines.unified_diff();
            unified.context_radius(CONTEXT).header(&format!("{from}/{path}"), &format!("{to}/{path}"));
            text.push_str(&unified.to_string());
        }
    }
    text
}

fn coloured(text: &str) -> String {
    let colour = |line: &str| match line.as_bytes().first() {
        Some(b'+') => format!("\x1b[32m{line}\x1b[0m\n"),
        Some(b'-') => format!("\x1b[31m{line}\x1b[0m\n"),
        Some(b'@') => format!("\x1b[36m{line}\x1b[0m\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(colour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_files_that_are_new_gone_or_edited_and_no_others() {
        let of = |files: &[(&str, &str)]| -> BTreeMap<String, String> {
            files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect()
        };
        let old = of(&[("a.yaml", "one\ntwo\n"), ("b.yaml", "same\n"), ("gone.yaml", "x\n")]);
        let new = of(&[("a.yaml", "one\nthree\n"), ("b.yaml", "same\n"), ("new.yaml", "y\n")]);
        let text = diff(("aaa", &old), ("bbb", &new));
        for expected in ["--- aaa/a.yaml\n+++ bbb/a.yaml\n", "-two\n+three\n", "-x\n", "+y\n"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("b.yaml"), "{text}");
        assert_eq!(diff(("aaa", &old), ("aaa", &old)), "");
    }
}
