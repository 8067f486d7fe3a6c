//! `rhumb lab compare`: the same clients and the same fault under both strategies, one after the other.

use super::plot;
use super::scene::{self, Scene, Setup};
use super::{control, parse_level};
use crate::base::units::Ppm;
use crate::cli::{Format, chain, duration};
use crate::lab::LabOptions;
use crate::lab::course::{self, Course, Sample, Script};
use crate::lab::fault::Fault;
use crate::schedule::Strategy;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const STRATEGIES: [Strategy; 2] = [Strategy::Rhumb, Strategy::Nearest];
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Of the bar.
const STEPS: u64 = 1_000;

const DEFINITIONS: &str = "\
Figures, from the fault to the end, of the nodes it leaves alone; a sample each 200 ms:
  peak        highest utilisation of any of them, as a part of its capacity
  above cap   seconds above the cap, added up over the nodes
  overload    seconds above the whole capacity, likewise
  moved       networks (with a name each) that were sent elsewhere than before, as a part of
              all that were placed at the fault; each change counts
  cut         sessions that ended with the nodes of the fault
  failed      tries that found their node down, past its capacity, or no answer at all

Both runs are real time: daemon, nodes and clients on loopback, state in a temporary folder.
Clients are drawn so that by the nearest node all nodes would be equally full before the fault.

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
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
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
    /// `json` is one object, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl CompareArgs {
    /// 0 done, 2 could not run.
    pub fn run(&self) -> ExitCode {
        match self.compare() {
            Ok(courses) => {
                match self.format {
                    Format::Text => print!("{}", self.text(&courses)),
                    Format::Json => println!("{:#}", self.json(&courses)),
                }
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("rhumb lab compare: {message}");
                ExitCode::from(2)
            }
        }
    }

    fn compare(&self) -> Result<Vec<(Strategy, Course)>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
        let course = |strategy| Ok((strategy, runtime.block_on(self.course(strategy))?));
        let courses = STRATEGIES.into_iter().map(course).collect::<Result<Vec<_>, String>>()?;
        if let Some(path) = &self.out {
            let svg = plot::svg(&self.title(), &courses);
            let svg = svg.map_err(|error| format!("cannot draw the plot: {error}"))?;
            std::fs::write(path, svg)
                .map_err(|error| format!("cannot write `{}`: {error}", path.display()))?;
        }
        Ok(courses)
    }

    async fn course(&self, strategy: Strategy) -> Result<Course, String> {
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
        let Scene { parts, daemon } = scene::stage(&setup).await?;
        let script =
            Script { target: self.fault.clone(), fault: Fault::Down, warm: self.warm, lasts: self.lasts };
        let tell = |part: f64| bar.set_position((part * STEPS as f64) as u64);
        let course = course::run(parts, &script, tell).await.map_err(|error| chain(&error));
        daemon.stop().await;
        bar.finish_and_clear();
        course
    }

    fn title(&self) -> String {
        format!("{} goes down at {} % load", self.fault, self.load.percent())
    }

    fn text(&self, courses: &[(Strategy, Course)]) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["strategy", "before", "peak", "above cap", "overload", "moved", "cut", "failed"]);
        for (strategy, course) in courses {
            let figures = Figures::of(course);
            table.add_row([
                strategy.name().to_owned(),
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
        let hit = courses.first().map_or(0, |(_, course)| course.hit.nodes.len());
        let cap = courses.first().map_or(0.0, |(_, course)| course.cap);
        let plural = if hit == 1 { "" } else { "s" };
        format!(
            "{}: {hit} node{plural}; cap {cap:.2}; the {} s after it\n\n{rows}",
            self.title(),
            self.lasts.as_secs()
        )
    }

    fn json(&self, courses: &[(Strategy, Course)]) -> Value {
        let mut all = Map::new();
        all.insert("fault".to_owned(), json!(self.fault));
        all.insert("load".to_owned(), json!(self.load.fraction()));
        all.insert("seconds".to_owned(), json!(self.lasts.as_secs()));
        for (strategy, course) in courses {
            let figures = Figures::of(course);
            let value = json!({
                "peak_before": rounded(figures.before),
                "peak_utilisation": rounded(figures.peak),
                "peak_node": figures.peak_node,
                "cap": rounded(course.cap),
                "above_cap_seconds": rounded(figures.above_cap_s),
                "overloaded_seconds": rounded(figures.overloaded_s),
                "moved_share": rounded(figures.moved),
                "cut_sessions": figures.cut,
                "failed_sessions": figures.failed,
                "nodes": by_node(course),
                "curve": course.samples.iter().map(point).collect::<Vec<Value>>(),
            });
            all.insert(strategy.name().to_owned(), value);
        }
        Value::Object(all)
    }
}

/// To four places: more would say nothing.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Of each survivor after the fault: the highest, and the last.
fn by_node(course: &Course) -> Value {
    let of_node = |(at, name): (usize, &String)| {
        let after = course.samples.iter().filter(|sample| sample.at_ms >= 0);
        let seen: Vec<f64> = after.filter_map(|sample| sample.nodes.get(at).copied()).collect();
        let peak = seen.iter().copied().fold(0.0, f64::max);
        let last = seen.last().copied().unwrap_or_default();
        (name.clone(), json!({ "peak": rounded(peak), "last": rounded(last) }))
    };
    Value::Object(course.survivors.iter().enumerate().map(of_node).collect())
}

fn point(sample: &Sample) -> Value {
    let (peak, mean) = (rounded(sample.peak()), rounded(sample.mean()));
    json!({ "at_ms": sample.at_ms, "peak": peak, "mean": mean, "above": sample.above })
}

/// See [`DEFINITIONS`].
struct Figures {
    /// The highest in the five seconds before the fault.
    before: f64,
    peak: f64,
    peak_node: Option<String>,
    above_cap_s: f64,
    overloaded_s: f64,
    moved: f64,
    cut: u64,
    failed: u64,
}

impl Figures {
    fn of(course: &Course) -> Self {
        let after = || course.samples.iter().filter(|sample| sample.at_ms >= 0);
        let before = course.samples.iter().filter(|sample| (-5_000..0).contains(&sample.at_ms));
        let highest = after().max_by(|one, other| one.peak().total_cmp(&other.peak()));
        let peak = highest.map_or(0.0, Sample::peak);
        let at = highest.and_then(|sample| sample.nodes.iter().position(|&node| node >= peak));
        let full = |sample: &Sample| sample.nodes.iter().filter(|&&node| node > 1.0).count();
        let (then, now) = (&course.before, &course.after);
        let tries =
            |counts: &crate::lab::clients::ClientCounts| counts.stranded + counts.crowded + counts.failed;
        Self {
            before: before.map(Sample::peak).fold(0.0, f64::max),
            peak,
            peak_node: at.and_then(|at| course.survivors.get(at).cloned()),
            above_cap_s: seconds(course, |sample| sample.above),
            overloaded_s: seconds(course, full),
            moved: (now.moved - then.moved) as f64 / (then.placed.max(1) as f64),
            cut: now.cut - then.cut,
            failed: tries(now) - tries(then),
        }
    }
}

/// Node-seconds after the fault: each sample stands until the next.
fn seconds(course: &Course, count: impl Fn(&Sample) -> usize) -> f64 {
    let after = course.samples.windows(2).filter(|pair| pair[0].at_ms >= 0);
    after.map(|pair| count(&pair[0]) as f64 * (pair[1].at_ms - pair[0].at_ms) as f64 / 1e3).sum()
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
    use crate::lab::clients::ClientCounts;
    use crate::lab::fleet::Hit;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    /// Two survivors, a sample a second, the fault before the third.
    fn course(second: &[f64]) -> Course {
        let sample = |(at, &node): (usize, &f64)| Sample {
            at_ms: at as i64 * 1_000 - 2_000,
            nodes: vec![0.5, node],
            above: usize::from(node > 0.9),
        };
        let counts = |moved, stranded| ClientCounts { placed: 200, moved, stranded, ..Default::default() };
        Course {
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
        }
    }

    #[test]
    fn figures_are_of_the_time_after_the_fault() {
        let courses = [
            (Strategy::Rhumb, course(&[0.7, 0.95, 0.7, 0.85, 0.8])),
            (Strategy::Nearest, course(&[0.7, 0.7, 0.95, 1.5, 0.8])),
        ];
        let args = Line::parse_from(["compare", "--fault", "site/fra", "--for", "3s"]).args;
        let expect = "\
site/fra goes down at 70 % load: 1 node; cap 0.90; the 3 s after it

strategy  before  peak  above cap  overload   moved  cut  failed
rhumb       0.95  0.85      0.0 s     0.0 s  20.0 %    0       7
nearest     0.70  1.50      2.0 s     1.0 s  20.0 %    0       7
";
        assert_eq!(args.text(&courses), expect);
        let json = args.json(&courses);
        assert_eq!(json["nearest"]["peak_utilisation"], 1.5);
        assert_eq!(json["nearest"]["peak_node"], "lon-2");
        let svg = plot::svg(&args.title(), &courses).expect("drawn");
        for text in ["site/fra goes down at 70 % load", "rhumb", "nearest", "cap", "fault"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
