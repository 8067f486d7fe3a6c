//! `rhumb readiness`: what would become of every loss.

use crate::base::units::{Micros, Ppm};
use crate::cli::overrides::push_wrapped;
use crate::cli::records::{SourceArgs, read};
use crate::cli::{Format, chain};
use crate::control::readiness::{MOST_TEXT, of_factor};
use crate::daemon::readiness::{depth, scenario};
use crate::model::readiness::{EventAsk, Fullest, LossOutcome, Readiness, ReadinessAsk};
use crate::readiness;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const WIDTH: usize = 80;
/// Rows shown without `--all`.
const SHOWN: usize = 24;
/// Of names of losses.
const LOSS: std::ops::RangeInclusive<usize> = 20..=32;
/// What all columns but the loss and the bottleneck take.
const COLUMNS: usize = 44;
/// Longest that a server may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Before it is told that it takes time.
const QUIET: Duration = Duration::from_secs(2);

/// Tell what would become of every loss: node, site, region, line
///
/// The planner that would deal with each loss says what comes of it: how full the rest gets, whom it cannot
/// serve, how much longer the way becomes. The worst loss comes first, with the least capacity that would make
/// it fit.
#[derive(clap::Args)]
#[command(after_help = "\
  rhumb readiness                     every single loss, demand as it is now
  rhumb readiness --factor 1.5        with half as much again
  rhumb readiness --event final       at the peak of events/final.yaml
  rhumb readiness --event draft.yaml  of an event that is not in force yet
  rhumb readiness --n 2               pairs of losses too, of the worst ones
  rhumb readiness --state /var/lib/rhumb    without a running rhumb: as of
                                      the last table it made

Fullest is the node nearest to its cap, or furthest above it; unserved is
demand above what nodes may be given, in units of their capacity; mean and p95
say by how much round trips grow. Rows marked ! are not carried.

Exit codes: 0 every loss is carried, 3 some loss is not, 1 refused,
2 could not run")]
pub struct ReadinessArgs {
    /// Losses at a time: 1 or 2
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    n: u8,
    /// So many times the demand as it is
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    factor: Option<Ppm>,
    /// At the peak of this event: its name in the policy, or a file
    #[arg(long, value_name = "NAME|FILE")]
    event: Option<String>,
    /// Every row, not the worst ones alone
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    source: SourceArgs,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn factor(text: &str) -> Result<Ppm, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number; write 1.5"))?;
    of_factor(number)
}

/// An event by its name, or by a file that holds it.
fn event(named: &str) -> Result<EventAsk, String> {
    let path = Path::new(named);
    if !path.is_file() {
        let is_path = named.contains('/') || named.ends_with(".yaml");
        return match is_path {
            true => {
                Err(format!("there is no file {named}; write the name of an event, or the path of its file"))
            }
            false => Ok(EventAsk { name: named.to_owned(), text: None }),
        };
    }
    let failed = |error: std::io::Error| format!("cannot read {named}: {error}");
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MOST_TEXT as u64 {
        return Err(format!("{named} has {size} octets; an event has at most {MOST_TEXT}"));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Ok(EventAsk { name, text: Some(text) })
}

impl ReadinessArgs {
    pub fn run(&self) -> ExitCode {
        let told = match self.told() {
            Ok(told) => told,
            Err((code, why)) => {
                eprintln!("rhumb: {why}");
                return ExitCode::from(code);
            }
        };
        match self.format {
            Format::Json => match serde_json::to_string_pretty(&told) {
                Ok(text) => println!("{text}"),
                Err(error) => {
                    eprintln!("rhumb: {error}");
                    return ExitCode::from(2);
                }
            },
            Format::Text => print!("{}", text(&told, self.all)),
        }
        ExitCode::from(if told.is_ready() { 0 } else { 3 })
    }

    fn told(&self) -> Result<Readiness, (u8, String)> {
        let event = self.event.as_deref().map(event).transpose().map_err(|why| (2, why))?;
        let ask = ReadinessAsk { pairs: self.n == 2, factor: self.factor, event };
        match self.source.is_offline() {
            true => self.of_record(&ask).map_err(|why| (2, why)),
            false => self.of_server(&ask),
        }
    }

    fn of_server(&self, ask: &ReadinessAsk) -> Result<Readiness, (u8, String)> {
        let n = self.n.to_string();
        let factor = ask.factor.map(|factor| factor.fraction().to_string());
        let mut query = vec![("n", n.as_str())];
        query.extend(factor.as_deref().map(|factor| ("factor", factor)));
        query.extend(ask.event.as_ref().map(|event| ("event", event.name.as_str())));
        query.extend(ask.event.as_ref().and_then(|event| Some(("text", event.text.as_deref()?))));
        let answer = waiting(|| self.source.admin().ask_at_length("/readiness", &query, PATIENCE));
        answer.map_err(|error| (if error.is_no() { 1 } else { 2 }, chain(&error)))
    }

    /// As of the last decision that is kept, or of the one in a file.
    fn of_record(&self, ask: &ReadinessAsk) -> Result<Readiness, String> {
        let octets = match self.source.saved() {
            Some(octets) => octets?,
            None => {
                let kept = self.source.list(1)?;
                let newest = kept.decisions.first().ok_or("no decision is kept there")?;
                self.source.octets(newest.provenance.generation.0)?
            }
        };
        let recorded = read(&octets)?;
        let asked = &recorded.asked;
        let scenario = scenario(ask, &asked.policy, &asked.sources)?;
        let is_shown = std::io::stderr().is_terminal();
        let mut progress = |at: usize, of: usize| {
            if is_shown {
                eprint!("\r{at} of {of} losses\x1b[K");
            }
            ControlFlow::Continue(())
        };
        let told = readiness::judge(&asked.input(), &scenario, depth(ask), &mut progress);
        if is_shown {
            eprint!("\r\x1b[K");
        }
        let mut told = told.ok_or("it was ended")?;
        let generation = recorded.decision.provenance.generation.0;
        told.notes.push(format!("as of generation {generation}, and not as it is now"));
        Ok(told)
    }
}

/// Does it, and says on a terminal that it goes on.
fn waiting<T>(work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut waited = QUIET;
            let mut has_told = false;
            while ended.recv_timeout(if has_told { Duration::from_secs(1) } else { QUIET })
                == Err(RecvTimeoutError::Timeout)
            {
                eprint!("\rplanning every loss, {} s\x1b[K", waited.as_secs());
                let _ = std::io::stderr().flush();
                (waited, has_told) = (waited + Duration::from_secs(1), true);
            }
            if has_told {
                eprint!("\r\x1b[K");
            }
        });
        let answer = work();
        drop(done);
        answer
    })
}

/// For people, within 80 columns.
fn text(told: &Readiness, all: bool) -> String {
    let count = |n: usize| format!("{n} {}", if n == 1 { "loss" } else { "losses" });
    let with = if told.scenario == "now" { "the demand as it is now" } else { &told.scenario };
    let mut text = format!("with {with}; {} judged, {} not carried\n", count(told.judged), told.not_carried);
    let raised = told.demand.iter().filter(|it| it.units != it.units_now);
    raised.for_each(|it| {
        text.push_str(&format!("  {}: {} units, {} now\n", it.service, it.units, it.units_now));
    });
    text.push_str(&format!("nothing lost: {}\n\n", calm(told)));
    let most = if all { told.losses.len() } else { SHOWN };
    let rows = || told.losses.iter().take(most);
    let longest = rows().map(|it| it.lost.chars().count()).max().unwrap_or(0);
    let width = longest.clamp(*LOSS.start(), *LOSS.end());
    text.push_str(&line(width, &[" ", "loss", "fullest", "unserved", "mean", "p95", "bottleneck"]));
    for it in rows() {
        text.push_str(&row(width, it, told));
    }
    if told.losses.len() > most {
        text.push_str(&format!(
            "  and {} more, which are less; --all shows them\n",
            told.losses.len() - most
        ));
    }
    text.push('\n');
    told.notes.iter().for_each(|note| push_wrapped(&mut text, "note     ", note));
    conclusion(told).into_iter().for_each(|(label, said)| push_wrapped(&mut text, label, &said));
    text
}

fn calm(told: &Readiness) -> String {
    let fullest = told.calm.fullest.as_ref().map_or_else(
        || "no capacities".to_owned(),
        |it| format!("{} at {}", it.node, percent(it.utilisation)),
    );
    let latency = told.calm.latency;
    let unserved = match told.calm.unserved {
        0 => String::new(),
        units => format!(", {units} units unserved"),
    };
    format!("fullest {fullest}{unserved}; mean {}, p95 {}", millis(latency.mean), millis(latency.p95))
}

fn row(width: usize, it: &LossOutcome, told: &Readiness) -> String {
    let fullest = it
        .fullest
        .as_ref()
        .map_or_else(|| "-".to_owned(), |it| format!("{:>5} {}", percent(it.utilisation), it.node));
    let unserved = match (it.unserved_total(), it.stranded_total()) {
        (0, 0) => "-".to_owned(),
        (0, groups) => format!("{groups} gr."),
        (units, _) if units > 9_999_999 => format!("{} M", units / 1_000_000),
        (units, _) => units.to_string(),
    };
    let grown = |now: Micros, was: Micros| {
        let ms = (i64::from(now.0) - i64::from(was.0)) / 1_000;
        format!("{ms:+} ms")
    };
    let mark = if it.is_carried { " " } else { "!" };
    let (mean, p95) =
        (grown(it.latency.mean, told.calm.latency.mean), grown(it.latency.p95, told.calm.latency.p95));
    let bottleneck = it.bottleneck.as_deref().unwrap_or("-");
    let bottleneck = bottleneck.strip_prefix("pool ").unwrap_or(bottleneck);
    line(width, &[mark, &it.lost, &fullest, &unserved, &mean, &p95, bottleneck])
}

fn line(width: usize, [mark, loss, fullest, unserved, mean, p95, bottleneck]: &[&str; 7]) -> String {
    let (loss, fullest) = (cut(loss, width), cut(fullest, 15));
    let bottleneck = cut(bottleneck, WIDTH - COLUMNS - width);
    let line = format!("{mark} {loss:<width$} {fullest:<15} {unserved:>8} {mean:>7} {p95:>7} {bottleneck}");
    format!("{}\n", line.trim_end())
}

/// What is to be remembered: label and sentence.
fn conclusion(told: &Readiness) -> Vec<(&'static str, String)> {
    let Some(weakest) = told.weakest() else {
        return vec![("weakest  ", "there is nothing to lose: no node serves".to_owned())];
    };
    let mut said = vec![("weakest  ", format!("{}: {}", weakest.lost, what_of(weakest)))];
    if weakest.is_carried {
        said.push(("so       ", "every loss that was judged is carried".to_owned()));
        return said;
    }
    let added = weakest.remedy().map(|remedy| format!("{remedy}: about the least that would do"));
    said.extend(added.into_iter().chain(weakest.no_remedy.clone()).map(|remedy| ("remedy   ", remedy)));
    said
}

fn what_of(weakest: &LossOutcome) -> String {
    let mut said: Vec<String> = weakest
        .unserved
        .iter()
        .filter(|it| it.after > 0)
        .map(|it| format!("{} units of the demand of {} find no room", it.after, it.service))
        .collect();
    let groups = |n: u32| if n == 1 { "client group has" } else { "client groups have" };
    let stranded = weakest.stranded.iter().filter(|it| it.after > 0);
    said.extend(
        stranded.map(|it| format!("{} {} no node left for {}", it.after, groups(it.after), it.service)),
    );
    if let Some(Fullest { node, utilisation, cap, .. }) = &weakest.fullest {
        said.push(format!(
            "{node} gets to {} of its capacity, its cap is {}",
            percent(*utilisation),
            percent(*cap)
        ));
    }
    if let Some(bottleneck) = weakest.bottleneck.as_ref().filter(|_| !weakest.is_carried) {
        said.push(format!("bottleneck: {bottleneck}"));
    }
    match said.is_empty() {
        true => "it is the worst of them".to_owned(),
        false => said.join("; "),
    }
}

fn percent(share: Ppm) -> String {
    format!("{:.0} %", share.percent())
}

fn millis(span: Micros) -> String {
    format!("{:.0} ms", span.millis())
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preflight::Unserved;
    use crate::model::readiness::{Addition, Calm, Latency};

    fn loss(lost: &str, units: u64) -> LossOutcome {
        let fullest = Fullest {
            node: "frankfurt-edge-17".to_owned(),
            site: "fra".to_owned(),
            utilisation: Ppm::from_percent(97),
            cap: Ppm::from_percent(90),
        };
        let unserved = Unserved { service: "live".to_owned(), before: 0, after: units };
        LossOutcome {
            lost: lost.to_owned(),
            is_carried: units == 0,
            fullest: Some(fullest),
            unserved: vec![unserved],
            latency: Latency { mean: Micros::from_millis(70), p95: Micros::from_millis(160) },
            bottleneck: Some("pool the-whole-world of live".to_owned()),
            add: vec![Addition {
                node: "frankfurt-edge-17".to_owned(),
                site: "fra".to_owned(),
                amount: 1_334,
                unit: "mbps".to_owned(),
            }],
            ..LossOutcome::default()
        }
    }

    #[test]
    fn the_matrix_fits_the_screen_and_says_what_to_do() {
        let losses = vec![
            loss("region/north-america-and-all-of-it + site/a-very-long-name", 123_456_789),
            loss("site/tyo", 0),
        ];
        let latency = Latency { mean: Micros::from_millis(34), p95: Micros::from_millis(88) };
        let calm = Calm { fullest: losses[0].fullest.clone(), unserved: 0, latency };
        let told = Readiness {
            scenario: "now".to_owned(),
            calm,
            judged: 2,
            not_carried: 1,
            losses,
            ..Readiness::default()
        };
        let text = text(&told, false);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for told in ["! region/north", "123 M", "+36 ms", "+72 ms", "weakest ", "remedy ", "1334 mbps"] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}
