//! Drills for the terminal, within 80 columns.

use super::{by_name, span};
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::cli::overrides::{preflight_text, push_wrapped};
use crate::cli::render::{moment, visible};
use crate::drill::dates::{Date, State};
use crate::drill::report::{Counts, Latency, Mark, Measures, Report, Summary, Verdict, What};
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// A row of what is compared: predicted, observed.
pub struct Row {
    pub label: String,
    pub predicted: String,
    pub observed: String,
}

fn percent(share: Ppm) -> String {
    format!("{:.1} %", share.percent())
}

/// What is predicted beside what was seen; the last is the recovery time.
pub fn rows(report: &Report) -> Vec<Row> {
    let Report { predicted, observed, tier, .. } = report;
    let row = |label: &str, of: &dyn Fn(&Measures) -> String| Row {
        label: label.to_owned(),
        predicted: of(predicted),
        observed: of(observed),
    };
    let worst = |of: fn(&Latency) -> f64| {
        move |it: &Measures| it.during.as_ref().map_or_else(String::new, |it| format!("{:.0} ms", of(it)))
    };
    vec![
        row("demand that loses its node", &|it| percent(it.affected)),
        row("50 % answered right by the server after", &|it| span(it.answered.p50_ms)),
        row("90 % answered right by the server after", &|it| span(it.answered.p90_ms)),
        row("99 % answered right by the server after", &|it| span(it.answered.p99_ms)),
        row("50 % answered right behind caches after", &|it| span(it.followed.p50_ms)),
        row("90 % answered right behind caches after", &|it| span(it.followed.p90_ms)),
        row("fullest survivor, planned or reported", &|it| it.utilisation.map(percent).unwrap_or_default()),
        row("round trip, mean, as planned", &worst(|it| it.mean.millis())),
        row("round trip, 95 % of clients, as planned", &worst(|it| it.p95.millis())),
        row(&format!("recovery time: 99 % behind caches ({})", tier.name), &|it| span(it.rto_ms())),
    ]
}

/// How it ended, or where it is.
pub fn outcome(report: &Report) -> String {
    match (&report.ending, report.verdict()) {
        (
            Some(ending),
            Some(Verdict::Aborted | Verdict::Failed | Verdict::Interrupted | Verdict::Guardrail),
        ) => ending.told(),
        (Some(ending), Some(verdict)) => format!("{}: {}", ending.told(), verdict.told()),
        _ => format!("it goes on: {}", report.phase),
    }
}

/// Of answers.
pub fn counted(counts: &Counts) -> String {
    let shed = if counts.shed > 0 { format!(", {} shed", counts.shed) } else { String::new() };
    format!("{} failed of {}{shed}", counts.failed, counts.answers)
}

fn head(report: &Report) -> String {
    let title = report.title.as_deref().map_or(String::new(), |title| format!(": {}", visible(title)));
    let mut text = String::new();
    match report.id {
        0 => push_wrapped(&mut text, "drill   ", &format!("{}{title}", report.name)),
        id => push_wrapped(&mut text, "drill   ", &format!("{id}, {}{title}", report.name)),
    }
    push_wrapped(&mut text, "fault   ", &format!("{} {}", report.fault, report.targets.join(", ")));
    text
}

/// What it would do.
pub fn plan(report: &Report) -> String {
    let mut text = head(report);
    if let Some(told) = &report.preflight {
        text.push_str(&preflight_text(told));
    }
    text.push_str("predicted\n");
    for row in rows(report) {
        text.push_str(format!("  {:<50} {:>12}", row.label, row.predicted).trim_end());
        text.push('\n');
    }
    push_wrapped(&mut text, "asked   ", &asked(report));
    push_wrapped(&mut text, "lasts   ", &span(Some(report.planned_ms)));
    if let Some(runbook) = &report.runbook {
        push_wrapped(&mut text, "runbook ", &visible(runbook));
    }
    text
}

/// What it did.
pub fn report(report: &Report) -> String {
    let mut text = head(report);
    push_wrapped(
        &mut text,
        "begun   ",
        &format!("{} UTC by {}", moment(report.began_at), visible(&report.by)),
    );
    push_wrapped(&mut text, "outcome ", &visible(&outcome(report)));
    if !report.break_glass.is_empty() {
        push_wrapped(&mut text, "over    ", &report.break_glass.join(", "));
    }
    text.push_str(&format!("\n  {:<50} {:>12} {:>12}\n", "", "predicted", "observed"));
    for row in rows(report) {
        let line = format!("  {:<50} {:>12} {:>12}", row.label, row.predicted, row.observed);
        text.push_str(&format!("{}\n", line.trim_end()));
    }
    for way in &report.ways {
        let name = |region: &Option<String>| region.clone().unwrap_or_else(|| "nowhere".to_owned());
        let label = format!("{}: {} -> {}", way.service, name(&way.from), name(&way.to));
        let (predicted, observed) = (percent(way.predicted), percent(way.observed));
        text.push_str(&format!("  {label:<50} {predicted:>12} {observed:>12}\n"));
    }
    if !report.survivors.is_empty() {
        text.push_str(&format!(
            "\n  {:<28} {:>10} {:>11} {:>11} {:>12}\n",
            "survivors", "before", "predicted", "peak", "cap"
        ));
        for it in report.survivors.iter().take(6) {
            let [before, predicted, peak, cap] = [it.before, it.predicted, it.peak, it.cap].map(percent);
            text.push_str(&format!("  {:<28} {before:>10} {predicted:>11} {peak:>11} {cap:>12}\n", it.node));
        }
    }
    let answers = &report.answers;
    text.push('\n');
    for (label, counts) in
        [("before", &answers.before), ("during", &answers.during), ("after", &answers.after)]
    {
        text.push_str(&format!("  answers {label:<7} {}\n", counted(counts)));
    }
    for failure in &report.failures {
        let told = format!("{} times {}, first for {}", failure.count, failure.why, failure.example);
        push_wrapped(&mut text, "  failed  ", &visible(&told));
    }
    push_wrapped(&mut text, "  asked   ", &asked(report));
    text.push('\n');
    report.timeline.iter().for_each(|mark| push_mark(&mut text, mark));
    if let Some(runbook) = &report.runbook {
        push_wrapped(&mut text, "runbook ", &visible(runbook));
    }
    text
}

/// Who is asked for, and how finely that shows times.
pub fn asked(report: &Report) -> String {
    let sample = &report.sample;
    format!(
        "{} client networks of {} groups for {}, each about every {}, over UDP",
        sample.clients,
        sample.groups,
        report.services.join(", "),
        span(Some(sample.round_ms)),
    )
}

fn push_mark(text: &mut String, mark: &Mark) {
    let label = format!("{:>9}  {:<20} ", format!("{:.2} s", mark.at_ms as f64 / 1e3), mark.what.name());
    push_wrapped(text, &label, &visible(&mark.detail));
}

/// Drills there are, what came of their dates, and runs there were.
pub fn list(drills: &[Value], dates: &[Date], runs: &[Summary]) -> String {
    let mut text = String::new();
    let word = |drill: &Value, key: &str| drill[key].as_str().unwrap_or_default().to_owned();
    for drill in drills {
        let targets: Vec<&str> =
            drill["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let fault = format!("{} {}", word(drill, "fault"), targets.join(", "));
        push_wrapped(&mut text, &format!("{:<24} ", word(drill, "name")), &visible(&fault));
        if let Some(next) = drill["schedule"]["next_at"].as_u64() {
            let told = drill["schedule"]["told"].as_str().unwrap_or_default();
            let how = if drill["schedule"]["confirm"] == true { "with a word" } else { "by itself" };
            let next = format!("next {} UTC, {how}: {told}", moment(WallTime(next)));
            push_wrapped(&mut text, &format!("{:<24} ", ""), &visible(&next));
        }
    }
    if drills.is_empty() {
        text.push_str("no drills in force: docs/drills.md tells how to write one\n");
    }
    push_dates(&mut text, dates);
    if runs.is_empty() {
        text.push_str("\nnone was run yet\n");
        return text;
    }
    push_runs(&mut text, runs);
    text
}

fn push_dates(text: &mut String, dates: &[Date]) {
    if dates.is_empty() {
        return;
    }
    text.push_str(&format!("\n{:<19} {:<20} what came of the date\n", "due (UTC)", "drill"));
    for date in dates {
        let why = || date.why.clone().unwrap_or_default();
        let told = match date.state {
            State::Begun => date.run.map_or_else(String::new, |run| format!("run {run}")),
            State::Waiting if date.confirm => {
                format!("waits for `rhumb drill confirm {}` until {} UTC", date.drill, moment(date.until))
            }
            State::Waiting => format!("tried until {} UTC; so far: {}", moment(date.until), why()),
            State::Refused => format!("refused: {}", why()),
            State::Missed => format!("missed: {}", why()),
            State::Lapsed => format!("lapsed: {}", why()),
            State::Dropped => format!("dropped: {}", why()),
        };
        let name: String = date.drill.chars().take(20).collect();
        push_wrapped(text, &format!("{:<19} {name:<20} ", moment(date.due_at)), &visible(&told));
    }
}

fn push_runs(text: &mut String, runs: &[Summary]) {
    text.push_str(&format!(
        "\n{:>4} {:<20} {:<19} {:>9} {:>9} {:>4}  {}\n",
        "run", "drill", "begun (UTC)", "predicted", "recovered", "tier", "failed"
    ));
    for run in runs {
        let recovered = match run.verdict {
            None => run.phase.clone(),
            Some(Verdict::Within | Verdict::Over | Verdict::Unmeasured) => span(run.rto_ms),
            Some(Verdict::Guardrail) => "guardrail".to_owned(),
            Some(Verdict::Aborted) => "aborted".to_owned(),
            Some(Verdict::Failed) => "failed".to_owned(),
            Some(Verdict::Interrupted) => "cut short".to_owned(),
        };
        let name: String = run.name.chars().take(20).collect();
        text.push_str(&format!(
            "{:>4} {name:<20} {:<19} {:>9} {recovered:>9} {:>4}  {}\n",
            run.id,
            moment(run.began_at),
            span(run.predicted_rto_ms),
            run.tier.name,
            run.failed
        ));
    }
    for (name, runs) in by_name(runs) {
        let times: Vec<u64> =
            runs.iter().filter(|run| is_measured(run)).filter_map(|run| run.rto_ms).collect();
        if let [first, .., last] = times[..] {
            let told = match last.cmp(&first) {
                _ if last.abs_diff(first) <= first / 10 => "as fast as".to_owned(),
                std::cmp::Ordering::Less => format!("{} faster than", span(Some(first - last))),
                _ => format!("{} slower than", span(Some(last - first))),
            };
            text.push_str(&format!("\n{name}: the last run was {told} the first of these {}\n", times.len()));
        }
    }
}

fn is_measured(run: &Summary) -> bool {
    matches!(run.verdict, Some(Verdict::Within | Verdict::Over))
}

/// A drill under way: its marks as they come, and on a terminal a line of how far it is.
pub struct Progress {
    is_shown: bool,
    is_live: bool,
    marks: Vec<Mark>,
}

impl Progress {
    pub fn new(is_shown: bool) -> Self {
        Self { is_shown, is_live: is_shown && std::io::stdout().is_terminal(), marks: Vec::new() }
    }

    pub fn show(&mut self, report: &Report) {
        if !self.is_shown {
            return;
        }
        let fresh: Vec<Mark> =
            report.timeline.iter().filter(|mark| !self.marks.contains(mark)).cloned().collect();
        let mut text = String::new();
        fresh.iter().filter(|mark| mark.what != What::Moved).for_each(|mark| push_mark(&mut text, mark));
        self.marks.extend(fresh);
        if self.is_live {
            let last = report.curve.last().copied().unwrap_or_default();
            let failed =
                report.answers.before.failed + report.answers.during.failed + report.answers.after.failed;
            let line = format!(
                "{}: {} of {}, {} moved, {} behind caches, {failed} failed",
                report.phase,
                span(Some(last.at_ms)),
                span(Some(report.planned_ms)),
                percent(last.moved),
                percent(last.followed),
            );
            text = format!("\r\u{1b}[K{text}{}", line.chars().take(79).collect::<String>());
        }
        print!("{text}");
        let _ = std::io::stdout().flush();
    }

    /// Ends the line that is rewritten.
    pub fn leave(&mut self) {
        if self.is_live {
            println!();
        }
    }
}
