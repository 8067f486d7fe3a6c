//! `rhumb events`: those that are to come, and what became of those that were.

use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::cli::admin_client::Admin;
use crate::cli::render::visible;
use crate::cli::{Format, chain};
use crate::control::events::{EventsShown, KeptEvent};
use crate::model::event::{EventService, PlannedEvent};
use serde_json::json;
use std::process::ExitCode;

const WIDTH: usize = 80;

/// Show events to come, and what became of those that were
///
/// An event is a file of `events/` beside the other policy files: hours in which far more is asked for than
/// usual. TTLs and probes change for it, its nodes are left alone while it lasts, and it is told beforehand when
/// the fleet is not ready.
#[derive(clap::Args)]
#[command(after_help = "\
  rhumb events                    those to come, and those that were
  rhumb events 3                  what came of the third, against what was
                                  expected
  rhumb readiness --event final   every loss at its peak

Exit codes: 0 done, 1 there is none of this number, 2 could not run")]
pub struct EventsArgs {
    /// One that is over or goes on, by its number
    number: Option<u64>,
    #[command(flatten)]
    admin: Admin,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl EventsArgs {
    pub fn run(&self) -> ExitCode {
        let shown: EventsShown = match self.admin.ask("/events", &[]) {
            Ok(shown) => shown,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                return ExitCode::from(2);
            }
        };
        let Some(number) = self.number else {
            match self.format {
                Format::Json => println!("{:#}", json!(shown)),
                Format::Text => print!("{}", listed(&shown)),
            }
            return ExitCode::SUCCESS;
        };
        let Some(kept) = shown.kept.iter().find(|kept| kept.number == number) else {
            eprintln!("rhumb: there is no event {number}; `rhumb events` lists them");
            return ExitCode::from(1);
        };
        match self.format {
            Format::Json => println!("{:#}", json!(kept)),
            Format::Text => print!("{}", told(kept)),
        }
        ExitCode::SUCCESS
    }
}

fn listed(shown: &EventsShown) -> String {
    let mut text = String::new();
    if shown.planned.is_empty() && shown.kept.is_empty() {
        return "no events: files in events/ of the policy folder say when more is asked for\n".to_owned();
    }
    for it in &shown.planned {
        text.push_str(&planned(it));
    }
    for it in &shown.kept {
        let state = if it.is_over { "over" } else { "goes on" };
        let peaks: Vec<String> = it.report.services.iter().map(against).collect();
        let line = format!("{:>4}  {} ({state}): {}", it.number, it.report.name, peaks.join("; "));
        push_wrapped(&mut text, &line);
    }
    text
}

fn planned(it: &PlannedEvent) -> String {
    let mut text = String::new();
    let title = it.title.as_ref().map_or_else(String::new, |title| format!(" ({})", visible(title)));
    push_wrapped(&mut text, &format!("event {}{title}", it.name));
    push_wrapped(
        &mut text,
        &format!("      {} to {}, peak from {}", moment(it.from), moment(it.until), moment(it.peak)),
    );
    let ttl =
        it.ttl.map_or_else(String::new, |ttl| format!(", TTLs at most {ttl} s from {}", moment(it.ahead)));
    push_wrapped(&mut text, &format!("      {}{ttl}", it.services.join(" ")));
    let ready = match (it.is_ready, &it.foreseen) {
        (Some(true), Some(said)) => format!("ready: {said}"),
        (Some(false), Some(said)) => format!("NOT READY: {said}"),
        _ => "not judged now".to_owned(),
    };
    push_wrapped(&mut text, &format!("      {ready}"));
    text
}

fn told(kept: &KeptEvent) -> String {
    let it = &kept.report;
    let mut text = String::new();
    let title = it.title.as_ref().map_or_else(String::new, |title| format!(" ({})", visible(title)));
    let state = match (kept.is_over, it.is_cut_short) {
        (true, true) => "cut short",
        (true, false) => "over",
        (false, _) => "goes on",
    };
    push_wrapped(&mut text, &format!("event {}{title}: {state}", it.name));
    text.push_str(&format!("from {} to {}\n\n", moment(it.from), moment(it.until)));
    text.push_str(&format!(
        "{:<24} {:>12} {:>12} {:>12}  {}\n",
        "service", "before", "expected", "came", "at"
    ));
    for service in &it.services {
        let EventService { service, before, expected, came, came_at } = service;
        let name: String = service.chars().take(24).collect();
        text.push_str(&format!(
            "{name:<24} {before:>12} {expected:>12} {came:>12}  {}\n",
            clock_of(*came_at)
        ));
    }
    text.push('\n');
    if let Some(fullest) = &it.fullest {
        let at = it.fullest_at.map_or_else(String::new, |at| format!(" at {}", clock_of(at)));
        push_wrapped(
            &mut text,
            &format!(
                "fullest   {} with {} of its capacity{at}; its cap is {}",
                fullest.node,
                percent(fullest.utilisation),
                percent(fullest.cap)
            ),
        );
    }
    let unserved =
        format!("served    {} of the demand at worst, {} units short", percent(it.served), it.unserved);
    push_wrapped(&mut text, &unserved);
    if let Some(said) = &it.foreseen {
        push_wrapped(&mut text, &format!("foreseen  {said}"));
    }
    text
}

fn against(it: &EventService) -> String {
    format!("{} {} units, {} expected, {} before", it.service, it.came, it.expected, it.before)
}

fn percent(share: Ppm) -> String {
    format!("{:.0} %", share.percent())
}

fn moment(at: WallTime) -> String {
    written(at, "%Y-%m-%d %H:%M UTC")
}

fn clock_of(at: WallTime) -> String {
    written(at, "%H:%M:%S UTC")
}

fn written(at: WallTime, format: &str) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| "never".to_owned(), |at| at.strftime(format).to_string())
}

/// Wrapped at the width; lines after the first begin where the second column of the first does.
fn push_wrapped(text: &mut String, line: &str) {
    let indent = 10.min(line.len());
    let mut rest = String::new();
    for word in line.split(' ') {
        if rest.trim().is_empty() || rest.chars().count() + 1 + word.chars().count() <= WIDTH {
            if !rest.is_empty() || word.is_empty() {
                rest.push(' ');
            }
            rest.push_str(word);
            continue;
        }
        text.push_str(&format!("{}\n", rest.trim_end()));
        rest = format!("{}{word}", " ".repeat(indent));
    }
    text.push_str(&format!("{}\n", rest.trim_end()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventReport;
    use crate::model::readiness::Fullest;

    #[test]
    fn events_fit_the_screen() {
        let service = EventService {
            service: "a-service-with-a-long-name-of-its-own".to_owned(),
            before: 1_000_000_000,
            expected: 3_000_000_000,
            came: 2_900_000_000,
            came_at: WallTime(1_795_395_600_000),
        };
        let fullest = Fullest {
            node: "frankfurt-edge-17".to_owned(),
            utilisation: Ppm::from_percent(97),
            cap: Ppm::from_percent(90),
            ..Fullest::default()
        };
        let said =
            "3 of 33 losses are not carried; the worst is region/north-america, which leaves much unserved";
        let report = EventReport {
            name: "final".to_owned(),
            title: Some(
                "The final of the cup of all cups, with everybody there who is anybody at all".to_owned(),
            ),
            services: vec![service],
            fullest: Some(fullest),
            fullest_at: Some(WallTime(1_795_395_600_000)),
            foreseen: Some(said.to_owned()),
            ..EventReport::default()
        };
        let planned = PlannedEvent {
            name: "next".to_owned(),
            services: vec!["live".to_owned(); 30],
            ttl: Some(10),
            is_ready: Some(false),
            foreseen: Some(said.to_owned()),
            ..PlannedEvent::default()
        };
        let kept = vec![KeptEvent { number: 3, is_over: true, report }];
        let shown = EventsShown { planned: vec![planned], kept };
        for text in [listed(&shown), told(&shown.kept[0])] {
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        }
        assert!(told(&shown.kept[0]).contains("frankfurt-edge-17 with 97 %"));
        assert!(listed(&shown).contains("NOT READY: 3 of 33"));
    }
}
