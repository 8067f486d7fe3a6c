//! `rhumb lab compare`: the same clients and the same fault under both strategies, one after the other.

use super::figures::{self, Figures, Outcome};
use super::plot;
use super::scene::{self, Scene, Setup};
use super::sent::{Askers, Watch};
use super::{control, parse_level};
use crate::base::units::Ppm;
use crate::cli::{Format, chain, duration};
use crate::lab::LabOptions;
use crate::lab::course::{self, Script};
use crate::lab::fault::Fault;
use crate::schedule::Strategy;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const STRATEGIES: [Strategy; 2] = [Strategy::Rhumb, Strategy::Nearest];
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Of the bar.
const STEPS: u64 = 1_000;

const DEFINITIONS: &str = "\
Figures, from the fault to the end, of the nodes it leaves alone, with a sample
each 200 ms:
  peak        highest utilisation of any of them, as a part of its capacity
  above cap   seconds above the cap, added up over the nodes
  overload    seconds above the whole capacity, likewise
  moved       networks (with a name each) that were sent elsewhere than before,
              as a part of all that were placed at the fault; each change counts
  cut         sessions that ended with the nodes of the fault
  failed      tries that found their node down, past its capacity, or no answer

Both runs are real time: daemon, nodes and clients on loopback, state in a
temporary folder. Clients are drawn so that by the nearest node all nodes would
be equally full before the fault.

Examples:
  rhumb lab compare --load 70% --fault site/fra --out docs/lab-site-loss.svg
  rhumb lab compare --load 60% --fault region/eu --for 90s --format json";

/// Break the same thing under both strategies, and draw what becomes of the survivors
#[derive(Debug, clap::Args)]
#[command(after_help = DEFINITIONS)]
pub struct CompareArgs {
    /// What goes down: a node, site, region or line
    #[arg(long, value_name = "TARGET")]
    fault: String,
    /// How full clients keep the fleet
    #[arg(long, value_name = "PERCENT", default_value = "70%", value_parser = parse_level)]
    load: Ppm,
    /// How long the survivors are watched
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    lasts: Duration,
    /// How long clients come before the fault: what nodes report is smoothed, so that the planner has seen
    /// all of a load after a minute
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    warm: Duration,
    /// Folder of policy files
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Synthetic clients per second; each stands for many, so more of them are smoother
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Decides clients
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep both runs' state in new folders `rhumb` and `nearest` in here: `rhumb why --state` reads what
    /// was decided, and on what
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Also draw both curves in one plot, as SVG
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write every sample of every survivor as CSV: what it carries, and what the table in force would
    /// send to it, of the same clients, by the plan and by every network's own slot
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// `json` is one object, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl CompareArgs {
    /// 0 done, 2 could not run.
    pub fn run(&self) -> ExitCode {
        match self.compare() {
            Ok(outcomes) => {
                match self.format {
                    Format::Text => print!("{}", self.text(&outcomes)),
                    Format::Json => println!("{:#}", self.json(&outcomes)),
                }
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("rhumb lab compare: {message}");
                ExitCode::from(2)
            }
        }
    }

    fn compare(&self) -> Result<Vec<Outcome>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
        let outcome = |strategy| runtime.block_on(self.outcome(strategy));
        let outcomes = STRATEGIES.into_iter().map(outcome).collect::<Result<Vec<_>, String>>()?;
        if let Some(path) = &self.out {
            let svg = plot::svg(&self.title(), &outcomes);
            write(path, &svg.map_err(|error| format!("cannot draw the plot: {error}"))?)?;
        }
        if let Some(path) = &self.series {
            write(path, &figures::series(&outcomes))?;
        }
        Ok(outcomes)
    }

    async fn outcome(&self, strategy: Strategy) -> Result<Outcome, String> {
        let state = StateFolder::new(strategy, self.state.as_deref())?;
        let setup = Setup {
            policies: self.policies.clone(),
            state: Some(state.path.clone()),
            listen: vec![LOCAL],
            admin: Some(LOCAL),
            strategy,
            level: self.load,
            options: LabOptions {
                control: control::DEFAULT_ADDRESS,
                rate: self.rate,
                seed: self.seed,
                plain: true,
            },
        };
        // Draws on standard error, and only where that is a terminal.
        let bar = ProgressBar::new(STEPS).with_message(strategy.name());
        if let Ok(style) = ProgressStyle::with_template("{msg:8} {wide_bar} {percent:>3} %, {eta} left") {
            bar.set_style(style);
        }
        let Scene { parts, daemon, services } = scene::stage(&setup).await?;
        // The nodes outlive the daemon: it would see them end, and keep that as its last decision.
        let nodes = parts.lab.clone();
        let (fleet, geo) = (Arc::clone(&parts.fleet), Arc::clone(&daemon.live().load().geo));
        let askers = Askers::of(Arc::clone(&fleet), &geo, &parts.gathering, &services, self.load);
        let watch = Watch::begin(Arc::clone(daemon.live()));
        let script =
            Script { target: self.fault.clone(), fault: Fault::Down, warm: self.warm, lasts: self.lasts };
        let tell = |part: f64| bar.set_position((part * STEPS as f64) as u64);
        let course = course::run(parts, &script, tell).await.map_err(|error| chain(&error));
        let tables = watch.end(&askers).await;
        daemon.stop().await;
        drop(nodes);
        bar.finish_and_clear();
        Ok(Outcome::of(strategy, course?, tables, &fleet))
    }

    fn title(&self) -> String {
        format!("{} goes down at {} % load", self.fault, self.load.percent())
    }

    fn text(&self, outcomes: &[Outcome]) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["strategy", "before", "peak", "above cap", "overload", "moved", "cut", "failed"]);
        for outcome in outcomes {
            let figures = Figures::of(&outcome.course);
            table.add_row([
                outcome.strategy.name().to_owned(),
                format!("{:.2}", figures.before),
                format!("{:.2}", figures.peak),
                format!("{:.1} s", figures.above_cap_s),
                format!("{:.1} s", figures.overloaded_s),
                format!("{:.1} %", figures.moved * 100.0),
                figures.cut.to_string(),
                figures.failed.to_string(),
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let rows: String = table
            .lines()
            .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n")
            .collect();
        let hit = outcomes.first().map_or(0, |it| it.course.hit.nodes.len());
        let cap = outcomes.first().map_or(0.0, |it| it.course.cap);
        let plural = if hit == 1 { "" } else { "s" };
        format!(
            "{}: {hit} node{plural}; cap {cap:.2}; the {} s after it\n\n{rows}",
            self.title(),
            self.lasts.as_secs()
        )
    }

    fn json(&self, outcomes: &[Outcome]) -> Value {
        let mut all = Map::new();
        all.insert("fault".to_owned(), json!(self.fault));
        all.insert("load".to_owned(), json!(self.load.fraction()));
        all.insert("seconds".to_owned(), json!(self.lasts.as_secs()));
        all.extend(outcomes.iter().map(|outcome| (outcome.strategy.name().to_owned(), outcome.json())));
        Value::Object(all)
    }
}

/// A folder of one run: gone with it, unless it was asked for.
struct StateFolder {
    path: PathBuf,
    is_kept: bool,
}

impl StateFolder {
    fn new(strategy: Strategy, kept: Option<&Path>) -> Result<Self, String> {
        let path = match kept {
            Some(folder) => folder.join(strategy.name()),
            None => {
                let name = format!("rhumb-lab-compare-{}-{}", std::process::id(), strategy.name());
                std::env::temp_dir().join(name)
            }
        };
        if let Some(folder) = kept {
            std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        }
        // It must be new: what lies there would be somebody else's, and would be taken for a last good table.
        std::fs::create_dir(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self { path, is_kept: kept.is_some() })
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("cannot make the folder `{}` for the state: {error}", path.display())
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        if !self.is_kept {
            // What stays behind in a temporary folder harms nobody.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::lab::sent::Sent;
    use crate::lab::clients::ClientCounts;
    use crate::lab::course::{Course, Sample};
    use crate::lab::fleet::Hit;
    use clap::Parser;
    use tokio::time::Instant;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    /// Two survivors, a sample a second, the fault before the third.
    fn outcome(strategy: Strategy, second: &[f64]) -> Outcome {
        let sample = |(at, &node): (usize, &f64)| Sample {
            at_ms: at as i64 * 1_000 - 2_000,
            nodes: vec![0.5, node],
            above: usize::from(node > 0.9),
        };
        let counts = |moved, stranded| ClientCounts { placed: 200, moved, stranded, ..Default::default() };
        let course = Course {
            happened: Instant::now(),
            hit: Hit {
                target: "fra".to_owned(),
                effect: "down".to_owned(),
                nodes: vec!["fra-1".to_owned()],
                notes: Vec::new(),
            },
            survivors: vec!["lon-1".to_owned(), "lon-2".to_owned()],
            cap: 0.9,
            samples: second.iter().enumerate().map(sample).collect(),
            before: counts(10, 5),
            after: counts(50, 12),
        };
        let sent = |generation, second| Sent {
            generation,
            planned: vec![0.0, 0.6, 0.5],
            sent: vec![0.0, second, 0.5],
        };
        let tables = vec![(-1_500, sent(1, 0.99)), (1_000, sent(2, 0.7))];
        Outcome { strategy, course, tables, places: vec![2, 1] }
    }

    #[test]
    fn figures_are_of_the_time_after_the_fault() {
        let outcomes = [
            outcome(Strategy::Rhumb, &[0.7, 0.95, 0.7, 0.85, 0.8]),
            outcome(Strategy::Nearest, &[0.7, 0.7, 0.95, 1.5, 0.8]),
        ];
        let args = Line::parse_from(["compare", "--fault", "site/fra", "--for", "3s"]).args;
        let expect = "\
site/fra goes down at 70 % load: 1 node; cap 0.90; the 3 s after it

strategy  before  peak  above cap  overload   moved  cut  failed
rhumb       0.95  0.85      0.0 s     0.0 s  20.0 %    0       7
nearest     0.70  1.50      2.0 s     1.0 s  20.0 %    0       7
";
        assert_eq!(args.text(&outcomes), expect);
        let json = args.json(&outcomes);
        assert_eq!(json["nearest"]["peak_utilisation"], 1.5);
        assert_eq!(json["nearest"]["peak_node"], "lon-2");
        assert_eq!(json["rhumb"]["peak_sent"], 0.7, "what tables before the fault sent does not count");
        assert_eq!(json["rhumb"]["peak_planned"], 0.6);
        let series = figures::series(&outcomes);
        let rows: Vec<&str> = series.lines().collect();
        assert_eq!(rows.len(), 1 + 2 * 5 * 2, "{series}");
        assert_eq!(rows[2], "rhumb,-2000,lon-2,0.7000,0,0.0000,0.0000", "before the first table");
        assert_eq!(rows[4], "rhumb,-1000,lon-2,0.9500,1,0.9900,0.6000");
        assert_eq!(rows[20], "nearest,2000,lon-2,0.8000,2,0.7000,0.6000");
        let svg = plot::svg(&args.title(), &outcomes).expect("drawn");
        for text in ["site/fra goes down at 70 % load", "rhumb", "nearest", "cap", "fault"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
