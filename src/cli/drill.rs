//! `rhumb drill`: faults on purpose, for a while, measured from outside.

mod markdown;
mod page;
mod plot;
mod text;

use crate::cli::admin_client::{Admin, AskError};
use crate::cli::{Format, chain};
use crate::control::drills::{AbortBody, StartBody};
use crate::control::policies::Current;
use crate::drill::dates::Date;
use crate::drill::report::{Report, Summary, Verdict};
use clap::{Args, Subcommand, ValueEnum};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks at a drill that runs.
const EVERY: Duration = Duration::from_millis(300);
/// Longest that a forecast is waited for.
const PLANNING: Duration = Duration::from_secs(60);
/// What a run is that did not recover in time, or was given up by a guardrail.
const OVER: u8 = 3;

/// Where the running rhumb is.
#[derive(Args)]
struct Where {
    #[command(flatten)]
    admin: Admin,
}

/// Have a fault on purpose, for a while, measured from outside
///
/// A drill takes nodes away as its file in drills/ of the policy folder says, asks for a thousand client networks over
/// real DNS before, during and after, and gives everything back: at its end, when it is aborted, when a guardrail is
/// broken, when rhumb is stopped, and after a crash.
#[derive(Args)]
#[command(after_help = "\
  rhumb drill plan lose-a-region          what it would do now; nothing is done
  rhumb drill run lose-a-region           asks first; --yes does not
  rhumb drill abort                       everything back, at once
  rhumb drill confirm lose-a-region       begins the date that waits for a word
  rhumb drill list                        next dates, and what was run
  rhumb drill show 3 --format html > drill-3.html

Exit codes: 0 done, 1 refused, aborted or failed, 2 could not ask; of `run`:
0 recovered within the tier, 3 not, or given up by a guardrail")]
pub struct DrillArgs {
    #[command(subcommand)]
    command: DrillCommand,
}

#[derive(Subcommand)]
enum DrillCommand {
    /// Tell what a drill would do now, and what forbids it
    Plan {
        /// Its name, or its file: policies/drills/NAME.yaml
        drill: String,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        at: Where,
    },
    /// Run a drill and show how it goes
    ///
    /// The running rhumb runs it: Ctrl-C leaves the drill running, and says how to abort it.
    #[command(after_help = "\
Exit codes: 0 recovered within the tier, 3 not, or given up by a guardrail,
1 refused, aborted, failed or left running, 2 could not ask")]
    Run {
        /// Its name, or its file: policies/drills/NAME.yaml
        drill: String,
        /// Do not ask; needed where there is no terminal
        #[arg(long)]
        yes: bool,
        /// A rule that it may break, by name; several: again, or with commas
        #[arg(long, value_name = "RULE", value_delimiter = ',')]
        break_glass: Vec<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        at: Where,
    },
    /// Begin the date of a drill that waits for somebody's word
    ///
    /// A drill whose schedule says `confirm: true` is not begun by itself: `rhumb status` tells that it is due, and it
    /// lapses when its window (`within`, 2 h) is over. It is shown to its end, as `run` does.
    #[command(after_help = "\
Exit codes: 0 recovered within the tier, 3 not, or given up by a guardrail,
1 refused, none waits, aborted, failed or left running, 2 could not ask")]
    Confirm {
        /// Its name, or its file: policies/drills/NAME.yaml
        drill: String,
        /// A rule that it may break, by name; several: again, or with commas
        #[arg(long, value_name = "RULE", value_delimiter = ',')]
        break_glass: Vec<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        at: Where,
    },
    /// List drills of the policy with their next dates, and what was run
    List {
        /// So many runs, the newest
        #[arg(long, default_value_t = 20)]
        most: usize,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        at: Where,
    },
    /// Show the report of a run
    Show {
        /// Its number, or `current`
        id: String,
        /// html is one page that needs nothing else, md is for a wiki, json is everything
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
        #[command(flatten)]
        at: Where,
    },
    /// End a drill: everything is given back at once
    Abort {
        /// Its number [default: the one that runs]
        id: Option<u64>,
        /// Why, for whoever reads it later
        #[arg(long)]
        why: Option<String>,
        #[command(flatten)]
        at: Where,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    #[default]
    Text,
    Json,
    Md,
    Html,
}

/// What `GET /drills` says.
#[derive(Deserialize)]
struct Listed {
    drills: Vec<Value>,
    #[serde(default)]
    dates: Vec<Date>,
    runs: Vec<Summary>,
}

/// Why a command ends early.
enum Stop {
    Failed(AskError),
    Refused(String),
    Code(u8),
}

impl From<AskError> for Stop {
    fn from(error: AskError) -> Self {
        Self::Failed(error)
    }
}

impl DrillArgs {
    pub fn run(&self) -> ExitCode {
        let done = match &self.command {
            DrillCommand::Plan { drill, format, at } => at.plan(drill, *format),
            DrillCommand::Run { drill, yes, break_glass, format, at } => {
                at.run(drill, *yes, break_glass, *format)
            }
            DrillCommand::Confirm { drill, break_glass, format, at } => {
                at.begin("/drills/confirm", at.name_of(drill), break_glass, *format)
            }
            DrillCommand::List { most, format, at } => at.list(*most, *format),
            DrillCommand::Show { id, format, at } => at.show(id, *format),
            DrillCommand::Abort { id, why, at } => at.abort(*id, why.clone()),
        };
        match done {
            Ok(code) => ExitCode::from(code),
            Err(Stop::Code(code)) => ExitCode::from(code),
            Err(Stop::Refused(why)) => {
                eprintln!("rhumb: {why}");
                ExitCode::from(1)
            }
            Err(Stop::Failed(error)) => {
                eprintln!("rhumb: {}", chain(&error));
                ExitCode::from(if matches!(error, AskError::Refused(_)) { 1 } else { 2 })
            }
        }
    }
}

impl Where {
    fn plan(&self, drill: &str, format: Format) -> Result<u8, Stop> {
        let report = self.planned(&self.name_of(drill)?)?;
        match format {
            Format::Json => println!("{:#}", json!(report)),
            Format::Text => print!("{}", text::plan(&report)),
        }
        let is_forbidden = report.preflight.as_ref().is_some_and(|told| told.forbids().next().is_some());
        Ok(u8::from(is_forbidden))
    }

    fn planned(&self, name: &str) -> Result<Report, Stop> {
        Ok(self.admin.ask_at_length("/drills/plan", &[("name", name)], PLANNING)?)
    }

    /// The name of a drill in force; a file has to be what is in force.
    fn name_of(&self, drill: &str) -> Result<String, Stop> {
        let path = Path::new(drill);
        if !drill.contains('/') && path.extension().is_none_or(|it| it != "yaml") {
            return Ok(drill.to_owned());
        }
        let own = std::fs::read_to_string(path).map_err(|error| {
            Stop::Refused(format!("cannot read {drill}: {error}; or give the drill's name"))
        })?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or(drill);
        let current: Current = self.admin.ask("/policy", &[])?;
        let in_force = current.files.iter().find(|(path, _)| *path == format!("drills/{stem}.yaml"));
        match in_force {
            Some((_, text)) if *text == own => Ok(stem.to_owned()),
            Some(_) => Err(Stop::Refused(format!(
                "{drill} is not what is in force under that name: `rhumb check` and put it into force first"
            ))),
            None => Err(Stop::Refused(format!(
                "{drill} is not in force: it has to be drills/{stem}.yaml of the running rhumb's policy folder"
            ))),
        }
    }

    fn run(&self, drill: &str, yes: bool, break_glass: &[String], format: Format) -> Result<u8, Stop> {
        let name = self.name_of(drill)?;
        if !yes {
            self.confirm(&name)?;
        }
        self.begin("/drills", Ok(name), break_glass, format)
    }

    /// Has a drill begun, and shows how it goes.
    fn begin(
        &self,
        path: &str,
        name: Result<String, Stop>,
        break_glass: &[String],
        format: Format,
    ) -> Result<u8, Stop> {
        let body = StartBody { name: name?, break_glass: break_glass.to_vec() };
        let (status, said) = self.admin.try_post(path, &body)?;
        if !status.is_success() {
            return Err(refused(status, &said, format));
        }
        let id = said["id"].as_u64().unwrap_or_default();
        let report = self.follow(id, format)?;
        match format {
            Format::Json => println!("{:#}", json!(report)),
            Format::Text => print!("\n{}", text::report(&report)),
        }
        Ok(code(&report))
    }

    fn confirm(&self, name: &str) -> Result<(), Stop> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            eprintln!(
                "rhumb: there is nobody to ask: say --yes to run the drill, or see `rhumb drill plan {name}`"
            );
            return Err(Stop::Code(2));
        }
        print!("{}\nrun it now? [y/N] ", text::plan(&self.planned(name)?));
        let mut line = String::new();
        let read = std::io::stdout().flush().and_then(|()| std::io::stdin().read_line(&mut line));
        match (read, line.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Stop::Refused("nothing was done".to_owned())),
        }
    }

    /// Shows how it goes, to its end.
    fn follow(&self, id: u64, format: Format) -> Result<Report, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop::Failed(AskError::Runtime(error)))?;
        let mut view = text::Progress::new(format == Format::Text);
        runtime.block_on(async {
            let path = format!("/drills/{id}");
            let mut pace = tokio::time::interval(EVERY);
            let mut is_lost = false;
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {
                        view.leave();
                        eprintln!(
                            "rhumb: drill {id} goes on; `rhumb drill abort {id}` ends it, `rhumb drill show {id}` shows it"
                        );
                        return Err(Stop::Code(1));
                    }
                    _ = pace.tick() => {}
                }
                match self.admin.fetch::<Report>(&path, &[]).await {
                    Ok(report) => {
                        is_lost = false;
                        view.show(&report);
                        if report.ended_at.is_some() {
                            view.leave();
                            return Ok(report);
                        }
                    }
                    Err(error @ AskError::Refused(_)) => return Err(error.into()),
                    Err(error) if !is_lost => {
                        is_lost = true;
                        view.leave();
                        eprintln!("rhumb: {}; trying again, the drill is restored whatever happens", chain(&error));
                    }
                    Err(_) => {}
                }
            }
        })
    }

    fn list(&self, most: usize, format: Format) -> Result<u8, Stop> {
        let most = most.to_string();
        let said: Value = self.admin.ask("/drills", &[("most", &most)])?;
        if format == Format::Json {
            println!("{said:#}");
            return Ok(0);
        }
        let listed: Listed = serde_json::from_value(said)
            .map_err(|error| Stop::Refused(format!("that rhumb speaks otherwise: {error}")))?;
        print!("{}", text::list(&listed.drills, &listed.dates, &listed.runs));
        Ok(0)
    }

    fn show(&self, id: &str, format: ReportFormat) -> Result<u8, Stop> {
        let report: Report = self.admin.ask(&format!("/drills/{id}"), &[])?;
        match format {
            ReportFormat::Json => println!("{:#}", json!(report)),
            ReportFormat::Text => print!("{}", text::report(&report)),
            ReportFormat::Md => print!("{}", markdown::report(&report)),
            ReportFormat::Html => print!("{}", page::report(&report)),
        }
        Ok(0)
    }

    fn abort(&self, id: Option<u64>, why: Option<String>) -> Result<u8, Stop> {
        let which = id.map_or_else(|| "current".to_owned(), |id| id.to_string());
        let (status, said) = self.admin.try_post(&format!("/drills/{which}/abort"), &AbortBody { why })?;
        if !status.is_success() {
            return Err(refused(status, &said, Format::Text));
        }
        let id = &said["id"];
        match said["is_restored"].as_bool() {
            Some(true) => println!("drill {id} is over, and everything is given back"),
            _ => println!("drill {id} ends; not everything is given back yet: `rhumb drill show {id}`"),
        }
        Ok(0)
    }
}

/// Tells what spoke against it.
fn refused(status: StatusCode, said: &Value, format: Format) -> Stop {
    let code = if status.is_client_error() { 1 } else { 2 };
    if format == Format::Json {
        println!("{said:#}");
        return Stop::Code(code);
    }
    if let Ok(report) = serde_json::from_value::<Report>(said["plan"].clone()) {
        print!("{}", text::plan(&report));
        eprintln!("rhumb: refused; nothing was done");
    } else {
        eprintln!("rhumb: {}", said["error"].as_str().unwrap_or("refused"));
    }
    Stop::Code(code)
}

fn code(report: &Report) -> u8 {
    match report.verdict() {
        Some(Verdict::Within) => 0,
        Some(Verdict::Over | Verdict::Guardrail) => OVER,
        _ => 1,
    }
}

/// Lengths of time as tables have them.
fn span(ms: Option<u64>) -> String {
    match ms {
        None => "never".to_owned(),
        Some(ms) if ms < 100_000 => format!("{:.1} s", ms as f64 / 1e3),
        Some(ms) => format!("{:.0} min", ms as f64 / 60e3),
    }
}

/// Runs of one drill, the oldest first, for comparison.
fn by_name(runs: &[Summary]) -> BTreeMap<&str, Vec<&Summary>> {
    let mut all: BTreeMap<&str, Vec<&Summary>> = BTreeMap::new();
    for run in runs.iter().rev() {
        all.entry(&run.name).or_default().push(run);
    }
    all
}
