//! The draft of a postmortem: what rhumb knows of an incident, in the order in which people read it, and what it does
//! not know as questions.

use crate::audit::{Entry, Event};
use crate::base::units::Ppm;
use crate::cli::incidents::{clock, length, likeliest, time_of_day};
use crate::model::incident::{
    CauseOf, Incident, Member, NamedShare, Part, Phase, ServiceImpact, StepKind, percent,
};
use std::fmt::Write;

/// What operators did this long before the first failure is looked at too.
const BEFORE_MS: u64 = 15 * 60_000;
/// And after its end.
const AFTER_MS: u64 = 5 * 60_000;
/// Characters of what was sent with an action.
const MOST_TOLD: usize = 120;

/// Markdown.
pub(super) fn draft(incident: &Incident, audit: &[Entry]) -> String {
    let mut text = String::new();
    head(&mut text, incident);
    impact(&mut text, incident);
    timeline(&mut text, incident);
    evidence(&mut text, incident);
    moves(&mut text, incident);
    seen_by_clients(&mut text, incident);
    operators(&mut text, incident, audit);
    questions(&mut text, incident);
    text
}

fn head(text: &mut String, incident: &Incident) {
    let Incident { id, summary, cause, clocks, phase, outcome, .. } = incident;
    let state = match (phase, incident.closed_at) {
        (Phase::Closed, Some(at)) => {
            let outcome = outcome.as_deref().unwrap_or("closed");
            format!("closed at {} UTC: {outcome}", clock(at))
        }
        _ => format!("{}; this draft is of an incident that is not over", phase.name()),
    };
    let restored = |ms: Option<u64>| ms.map_or_else(|| "not yet".to_owned(), length);
    let _ = write!(
        text,
        "# Incident {id}: {summary}\n\nDraft by rhumb from its records; people have to complete it.\n\n## Summary\n\n\
         From {} UTC: {summary}. Likeliest common cause: {}.\n\n{}.\n\n\
         | | |\n|---|---|\n| State | {state} |\n| First failing observation | {} UTC |\n| Verdict | {} UTC |\n\
         | Answer restored for 99 % of clients after | {} |\n| Full quality restored after | {} |\n",
        clock(clocks.failed_at),
        likeliest(cause),
        incident.impact.told(),
        clock(clocks.failed_at),
        clock(clocks.verdict_at),
        restored(clocks.answer_ms),
        restored(clocks.quality_ms),
    );
    for runbook in &incident.runbooks {
        let _ = writeln!(text, "| Runbook | {runbook} |");
    }
}

fn impact(text: &mut String, incident: &Incident) {
    text.push_str("\n## Impact\n\n");
    let touched: Vec<&ServiceImpact> = incident.impact.services.iter().filter(|it| it.is_touched()).collect();
    if touched.is_empty() {
        text.push_str("No client is known to be touched.\n");
        return;
    }
    text.push_str(
        "| service | clients on what was lost | areas | without a node | turned away | answer restored | tier |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for service in touched {
        let restored = match (service.restored_ms, service.is_within_tier()) {
            (Some(ms), Some(true)) => format!("{} (within)", length(ms)),
            (Some(ms), _) => format!("{} (**later**)", length(ms)),
            (None, _) => "not yet".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {restored} | {} |",
            service.name,
            percent(service.clients),
            shares(&service.areas),
            percent(service.unserved),
            percent(service.shed),
            service.tier
        );
    }
    let lines = shares(&incident.impact.lines);
    if !lines.is_empty() {
        let _ = writeln!(text, "\nOf each line's clients: {lines}.");
    }
    let _ =
        writeln!(text, "\nShare of all planned demand on what was lost: {}.", percent(incident.impact.share));
    if let Some(peak) = &incident.impact.peak {
        let _ = writeln!(text, "Fullest meanwhile: {} at {}.", peak.name, percent(peak.share));
    }
}

fn shares(all: &[NamedShare]) -> String {
    all.iter().map(|it| format!("{} {}", it.name, percent(it.share))).collect::<Vec<_>>().join(", ")
}

fn timeline(text: &mut String, incident: &Incident) {
    let day = clock(incident.clocks.failed_at);
    let day = day.split(' ').next().unwrap_or("?");
    let _ = write!(text, "\n## Timeline\n\n{day}, UTC.\n\n| time | what |\n|---|---|\n");
    for step in &incident.timeline {
        let _ = writeln!(text, "| {} | {} |", time_of_day(step.at), cell(&step.what));
    }
    if incident.steps_omitted > 0 {
        let _ = writeln!(text, "\n{} steps between are left out.", incident.steps_omitted);
    }
}

fn evidence(text: &mut String, incident: &Incident) {
    text.push_str("\n## Evidence\n\n");
    for member in &incident.members {
        let Member { name, what, evidence, confirmed, falls, .. } = member;
        let word = match (member.part, confirmed) {
            (Part::Node, true) => " Several vantages stand behind it.",
            (Part::Node, false) => " The word of one vantage.",
            _ => "",
        };
        let times = if *falls > 1 { format!(" It fell {falls} times.") } else { String::new() };
        let _ = writeln!(text, "- **{name}**, {what}: {evidence}.{word}{times}");
    }
    if incident.members_omitted > 0 {
        let _ = writeln!(text, "- and {} more", incident.members_omitted);
    }
}

fn moves(text: &mut String, incident: &Incident) {
    text.push_str("\n## Moves\n\n");
    let published: Vec<_> =
        incident.timeline.iter().filter(|step| step.kind == StepKind::Published).collect();
    if published.is_empty() {
        text.push_str("No table moved clients for it.\n");
    }
    for step in published {
        let _ = writeln!(text, "- {} {}", time_of_day(step.at), step.what);
        for moved in &step.moves {
            let _ = writeln!(text, "  - {moved}");
        }
    }
    if let Some(generation) = incident.timeline.iter().find_map(|step| step.generation) {
        let _ = writeln!(
            text,
            "\n`rhumb why {generation}` tells what each was decided on, while the journal has it."
        );
    }
}

fn seen_by_clients(text: &mut String, incident: &Incident) {
    text.push_str("\n## What clients saw\n\n");
    let clocks = &incident.clocks;
    for service in incident.impact.services.iter().filter(|it| it.is_touched()) {
        let ServiceImpact { name, clients, ttl, unserved, shed, .. } = service;
        if *clients > Ppm::ZERO {
            let until = match clocks.published_at {
                Some(at) => format!("until {} UTC, and out of caches up to {ttl} s longer", clock(at)),
                None => "until it was back".to_owned(),
            };
            let _ = writeln!(
                text,
                "- {name}: {} were answered addresses that failed from {} UTC {until}. Failed connections of sessions \
                 that were open are not known to rhumb.",
                percent(*clients),
                clock(clocks.failed_at),
            );
        }
        if *unserved > Ppm::ZERO {
            let _ = writeln!(
                text,
                "- {name}: {} of client groups were answered as `on_all_down` says.",
                percent(*unserved)
            );
        }
        if *shed > Ppm::ZERO {
            let _ = writeln!(text, "- {name}: up to {} of newcomers got the `shed` answer.", percent(*shed));
        }
    }
    if !incident.impact.services.iter().any(ServiceImpact::is_touched) {
        text.push_str("Nothing, as far as answers go.\n");
    }
}

fn operators(text: &mut String, incident: &Incident, audit: &[Entry]) {
    text.push_str("\n## What operators did\n\n");
    let from = incident.clocks.failed_at.0.saturating_sub(BEFORE_MS);
    let until = incident.closed_at.map_or(u64::MAX, |at| at.0.saturating_add(AFTER_MS));
    let is_within = |entry: &&Entry| {
        u64::try_from(entry.at.as_millisecond()).is_ok_and(|at| (from..=until).contains(&at))
    };
    let outcome = |of: u64| {
        audit.iter().find_map(|entry| match &entry.event {
            Event::Ended { of: begun, status, .. } if *begun == of => Some(*status),
            _ => None,
        })
    };
    let mut any = false;
    for entry in audit.iter().filter(is_within) {
        let Event::Begun { who, action, detail, .. } = &entry.event else { continue };
        any = true;
        let came = match outcome(entry.seq) {
            Some(200..300) => "done",
            Some(_) => "refused",
            None => "its outcome is not recorded",
        };
        let detail =
            if detail.is_null() { String::new() } else { format!(" {}", short(&detail.to_string())) };
        let at = jiff::Timestamp::from_second(entry.at.as_second()).unwrap_or(entry.at);
        let _ = writeln!(text, "- {at} {who}: `{action}`{} ({came})", cell(&detail));
    }
    if !any {
        text.push_str("Nothing over the admin address, by the audit log.\n");
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MOST_TOLD) {
        Some((cut, _)) => format!("{}..", &text[..cut]),
        None => text.to_owned(),
    }
}

fn questions(text: &mut String, incident: &Incident) {
    text.push_str("\n## Open questions\n\n");
    let mut ask = |question: &str| text.push_str(&format!("- [ ] {question}\n"));
    ask(match incident.cause.of {
        CauseOf::Us => {
            "What was wrong with this instance's own view, and did clients notice anything at all?"
        }
        CauseOf::Service => "Where did the demand come from, or which policy leaves no room for it?",
        _ => "What was the cause behind the likeliest common cause?",
    });
    ask("What changed before the first failure (deployments, networks, policies)?");
    if incident.members.iter().any(|member| member.part == Part::Node && !member.confirmed) {
        ask("One vantage alone saw it: would a second one have seen it sooner, or not at all?");
    }
    if incident.members.iter().any(|member| member.falls > 1) {
        ask("Why did it come back and fail again?");
    }
    let noticed = incident.clocks.verdict_at.0.saturating_sub(incident.clocks.failed_at.0);
    ask(&format!(
        "It took {} from the first failing observation to the verdict: is that soon enough?",
        length(noticed)
    ));
    if incident.impact.services.iter().any(|service| service.is_within_tier() == Some(false)) {
        ask(
            "The answer was restored later than a tier allows: probe more often, lower the TTL, or give it room?",
        );
    }
    if incident
        .impact
        .services
        .iter()
        .any(|service| service.above_caps > Ppm::ZERO || service.shed > Ppm::ZERO)
    {
        ask("The rest could not carry it: how much capacity is to be added, and where?");
    }
    if incident.runbooks.is_empty() {
        ask("No runbook is named for what failed: who writes it?");
    }
    ask("What will keep it from happening again, who does it, and until when?");
}

/// Text that stands in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
