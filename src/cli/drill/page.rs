//! The report of a drill as one page that needs nothing else: no script, nothing loaded from anywhere.

use super::plot;
use super::text::{asked, counted, outcome, rows};
use crate::base::html::escaped;
use crate::cli::render::moment;
use crate::drill::report::{Report, Verdict};

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;color:#1c1c1c;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.verdict{display:inline-block;padding:.25rem .7rem;border-radius:.3rem;color:#fff;font-weight:600}
.well{background:#1a7f37}.ill{background:#b42318}.else{background:#6b6b6b}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;border-bottom:1px solid #e4e4e4;text-align:left}
th{font-weight:600;color:#555}.n{text-align:right;font-variant-numeric:tabular-nums}tr.sum td{font-weight:700}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0}dt{color:#555}dd{margin:0}
svg{max-width:100%;height:auto}.what{white-space:nowrap;color:#0a4f8f}
@media print{body{margin:0}}";

/// One document.
pub fn report(report: &Report) -> String {
    let title = report.title.as_deref().unwrap_or(&report.name);
    let class = match report.verdict() {
        Some(Verdict::Within) => "well",
        Some(Verdict::Over | Verdict::Guardrail | Verdict::Failed) => "ill",
        _ => "else",
    };
    let plot = plot::svg(report).unwrap_or_else(|error| format!("<p>no plot: {}</p>", escaped(&error)));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Drill {id}: {title}</title><style>{STYLE}</style></head><body>\n\
         <h1>Drill {id}: {title}</h1>\n<p class=\"verdict {class}\">{outcome}</p>\n{facts}\
         <h2>Predicted and observed</h2>\n{compared}\
         <h2>How clients moved</h2>\n{plot}\n{ways}{survivors}\
         <h2>Answers</h2>\n{answers}\
         <h2>Timeline</h2>\n{timeline}</body></html>\n",
        id = report.id,
        title = escaped(title),
        outcome = escaped(&outcome(report)),
        facts = facts(report),
        compared = compared(report),
        ways = ways(report),
        survivors = survivors(report),
        answers = answers(report),
        timeline = timeline(report),
    )
}

fn facts(report: &Report) -> String {
    let mut rows = vec![
        ("Fault", format!("{} {}", report.fault, report.targets.join(", "))),
        ("Nodes", report.nodes.join(" ")),
        ("Begun", format!("{} UTC by {}", moment(report.began_at), report.by)),
        ("Policy", format!("revision {}", report.revision)),
        ("Tier", report.tier.name.clone()),
        ("Asked", asked(report)),
    ];
    if !report.break_glass.is_empty() {
        rows.push(("Over rules", report.break_glass.join(", ")));
    }
    if let Some(runbook) = &report.runbook {
        rows.push(("Runbook", runbook.clone()));
    }
    let told = |(label, value): (&str, String)| format!("<dt>{label}</dt><dd>{}</dd>", escaped(&value));
    format!("<dl>{}</dl>\n", rows.into_iter().map(told).collect::<String>())
}

fn compared(report: &Report) -> String {
    let rows = rows(report);
    let last = rows.len().saturating_sub(1);
    let row = |(at, row): (usize, &super::text::Row)| {
        let class = if at == last { " class=\"sum\"" } else { "" };
        format!(
            "<tr{class}><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escaped(&row.label),
            escaped(&row.predicted),
            escaped(&row.observed)
        )
    };
    table(&["", "predicted", "observed"], 1, rows.iter().enumerate().map(row).collect())
}

fn ways(report: &Report) -> String {
    if report.ways.is_empty() {
        return String::new();
    }
    let name = |region: &Option<String>| escaped(region.as_deref().unwrap_or("nowhere"));
    let row = |way: &crate::drill::report::WayShare| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{:.1} %</td><td class=\"n\">{:.1} %</td></tr>\n",
            escaped(&way.service),
            name(&way.from),
            name(&way.to),
            way.predicted.percent(),
            way.observed.percent()
        )
    };
    let head = ["service", "from", "to", "predicted", "observed"];
    format!("<h2>Where they went</h2>\n{}", table(&head, 3, report.ways.iter().map(row).collect()))
}

fn survivors(report: &Report) -> String {
    if report.survivors.is_empty() {
        return String::new();
    }
    let row = |it: &crate::drill::report::Survivor| {
        let cells = [it.before, it.predicted, it.peak, it.cap]
            .map(|share| format!("<td class=\"n\">{:.1} %</td>", share.percent()));
        format!("<tr><td>{}</td>{}</tr>\n", escaped(&it.node), cells.concat())
    };
    let head = ["node", "before", "predicted", "peak", "cap"];
    let rows = report.survivors.iter().map(row).collect();
    format!("<h2>Survivors: load as planned or reported, of their capacity</h2>\n{}", table(&head, 1, rows))
}

fn answers(report: &Report) -> String {
    let answers = &report.answers;
    let parts = [("before", &answers.before), ("during", &answers.during), ("after", &answers.after)];
    let row = |(label, counts)| format!("<tr><td>{label}</td><td>{}</td></tr>\n", counted(counts));
    let mut rows: String = parts.map(row).concat();
    for it in &report.failures {
        let told = format!("{} times {}, first for {}", it.count, it.why, it.example);
        rows.push_str(&format!("<tr><td>failed</td><td>{}</td></tr>\n", escaped(&told)));
    }
    table(&["", "answers"], 2, rows)
}

fn timeline(report: &Report) -> String {
    let row = |mark: &crate::drill::report::Mark| {
        format!(
            "<tr><td class=\"n\">{:.2} s</td><td class=\"what\">{}</td><td>{}</td></tr>\n",
            mark.at_ms as f64 / 1e3,
            mark.what.name(),
            escaped(&mark.detail)
        )
    };
    table(&["since the beginning", "what", ""], 3, report.timeline.iter().map(row).collect())
}

/// Of columns, those from `numbers` on are numbers.
fn table(head: &[&str], numbers: usize, rows: String) -> String {
    let cell = |(at, name): (usize, &&str)| match at >= numbers {
        true => format!("<th class=\"n\">{name}</th>"),
        false => format!("<th>{name}</th>"),
    };
    let head: String = head.iter().enumerate().map(cell).collect();
    format!("<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::report::{Mark, Point, What};

    #[test]
    fn a_page_loads_nothing_and_obeys_nothing() {
        let mark = Mark { at_ms: 5, what: What::Injected, detail: "<script>alert('&')</script>".to_owned() };
        let curve = vec![Point::default(), Point { at_ms: 9_000, ..Point::default() }];
        let shown =
            Report { id: 3, name: "<b>".to_owned(), timeline: vec![mark], curve, ..Report::default() };
        let page = report(&shown);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains("<b>"));
        let outside = ["href=", "src=", "@import", "url("];
        assert!(outside.iter().all(|word| !page.contains(word)), "{page}");
        assert!(page.contains("<svg") && page.contains("failed answers"));
    }
}
