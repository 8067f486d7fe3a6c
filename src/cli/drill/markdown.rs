//! The report of a drill as Markdown, for a wiki or a ticket.

use super::text::{asked, counted, outcome, rows};
use crate::cli::render::moment;
use crate::drill::report::Report;

/// One document.
pub fn report(report: &Report) -> String {
    let title = report.title.as_deref().unwrap_or(&report.name);
    let mut text = format!("# Drill {}: {}\n\n", report.id, plain(title));
    let mut line = |label: &str, value: &str| text.push_str(&format!("- **{label}**: {}\n", plain(value)));
    line("Outcome", &outcome(report));
    line("Fault", &format!("{} {}", report.fault, report.targets.join(", ")));
    line("Nodes", &report.nodes.join(" "));
    line("Begun", &format!("{} UTC by {}", moment(report.began_at), report.by));
    if !report.break_glass.is_empty() {
        line("Over rules", &report.break_glass.join(", "));
    }
    if let Some(runbook) = &report.runbook {
        line("Runbook", runbook);
    }
    line("Asked", &asked(report));
    text.push_str("\n| | predicted | observed |\n|---|--:|--:|\n");
    for row in rows(report) {
        text.push_str(&format!("| {} | {} | {} |\n", row.label, row.predicted, row.observed));
    }
    if !report.ways.is_empty() {
        text.push_str("\n| clients of | from | to | predicted | observed |\n|---|---|---|--:|--:|\n");
        for way in &report.ways {
            let name = |region: &Option<String>| region.clone().unwrap_or_else(|| "nowhere".to_owned());
            text.push_str(&format!(
                "| {} | {} | {} | {:.1} % | {:.1} % |\n",
                way.service,
                name(&way.from),
                name(&way.to),
                way.predicted.percent(),
                way.observed.percent()
            ));
        }
    }
    let answers = &report.answers;
    text.push_str("\n## Answers\n\n");
    for (label, counts) in
        [("Before", &answers.before), ("During", &answers.during), ("After", &answers.after)]
    {
        text.push_str(&format!("- {label}: {}\n", counted(counts)));
    }
    for failure in &report.failures {
        let told = format!("{} times {}, first for {}", failure.count, failure.why, failure.example);
        text.push_str(&format!("- Failed: {}\n", plain(&told)));
    }
    text.push_str("\n## Timeline\n\n| seconds | what | |\n|--:|---|---|\n");
    for mark in &report.timeline {
        let at = mark.at_ms as f64 / 1e3;
        text.push_str(&format!("| {at:.2} | {} | {} |\n", mark.what.name(), plain(&mark.detail)));
    }
    text
}

/// Text that means nothing to Markdown.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
