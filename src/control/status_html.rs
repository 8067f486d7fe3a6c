//! The status page as HTML: one file without scripts, fonts or pictures, readable on a phone, light and dark.

use super::status_page::{Mood, PageIncident, PageService, PageView};
use crate::base::html::escaped;
use std::fmt::Write;

/// Seconds until a browser asks again.
const REFRESH_S: u32 = 30;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#d9dee4;--back:#f6f7f9;--card:#fff;
--well:#1a7f4b;--recovering:#9a6400;--trouble:#c0262d}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa4b1;--line:#2e353e;--back:#14171b;--card:#1c2127;
--well:#4cc38a;--recovering:#e2a336;--trouble:#ff6b6b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:46rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.35rem;margin:.25rem 0 1rem}h2{font-size:1.05rem;margin:2rem 0 .6rem}
.sum{border-radius:.6rem;padding:.9rem 1rem;background:var(--card);border:1px solid var(--line);
border-left:.35rem solid var(--m);font-weight:600;font-size:1.1rem}
.card{border:1px solid var(--line);border-radius:.6rem;background:var(--card);padding:.8rem 1rem;margin:.6rem 0}
.row{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.1rem 1rem;align-items:baseline}
.name{font-weight:600}.soft{color:var(--soft);font-size:.88rem}.mood{color:var(--m)}
.well{--m:var(--well)}.recovering{--m:var(--recovering)}.trouble{--m:var(--trouble)}
.dot{display:inline-block;width:.65rem;height:.65rem;border-radius:50%;background:var(--m);margin-right:.5rem}
.days{display:flex;gap:3px;margin-top:.55rem}
.days span{flex:1;max-width:1.6rem;height:1.3rem;border-radius:3px;background:var(--m)}
ul{margin:.4rem 0;padding-left:1.2rem}
ol{list-style:none;margin:.5rem 0 0;padding:0 0 0 .9rem;border-left:2px solid var(--line)}
ol li{margin:.15rem 0}time{color:var(--soft);font-variant-numeric:tabular-nums;font-size:.88rem;margin-right:.5rem}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem}a{color:inherit}";

pub(super) fn page(view: &PageView) -> String {
    let mut html = String::with_capacity(8_192);
    let title = escaped(&view.title);
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n<p class=\"sum {}\" role=\"status\">{}</p>\n",
        mood(view.mood),
        escaped(&view.sentence),
    );
    if !view.open.is_empty() {
        html.push_str("<h2>What is going on</h2>\n");
        view.open.iter().for_each(|incident| push_incident(&mut html, incident));
    }
    html.push_str("<h2>Services</h2>\n");
    view.services.iter().for_each(|service| push_service(&mut html, service));
    html.push_str("<h2>Earlier</h2>\n");
    if view.resolved.is_empty() {
        html.push_str("<p class=\"soft\">Nothing yet.</p>\n");
    }
    view.resolved.iter().for_each(|incident| push_incident(&mut html, incident));
    let _ = write!(
        html,
        "<footer>As of {}. This page asks again by itself every {REFRESH_S} seconds; all times are UTC. \
         <a href=\"/status.json\">The same for programs</a>.</footer>\n</main>\n</body>\n</html>\n",
        clock(&view.now),
    );
    html
}

fn push_service(html: &mut String, service: &PageService) {
    let PageService { name, mood: how, sentence, availability, watched, objective, days } = service;
    let _ = write!(
        html,
        "<div class=\"card {}\"><div class=\"row\"><span class=\"name\"><span class=\"dot\"></span>{}</span>\
         <span class=\"mood\">{}</span></div>",
        mood(*how),
        escaped(name),
        escaped(sentence),
    );
    match availability {
        Some(availability) => {
            let _ = write!(
                html,
                "<div class=\"soft\">{availability} available in the last {watched} (it is to be {objective})</div>"
            );
        }
        None => html.push_str("<div class=\"soft\">not watched for long enough yet</div>"),
    }
    if days.len() > 1 {
        html.push_str("<div class=\"days\">");
        for day in days {
            let told = format!("{}: {}", day.day, day.availability);
            let _ = write!(html, "<span class=\"{}\" title=\"{told}\"></span>", mood(day.mood));
        }
        html.push_str("</div>");
    }
    html.push_str("</div>\n");
}

fn push_incident(html: &mut String, incident: &PageIncident) {
    let PageIncident { number, mood: how, headline, since, until, affected, done } = incident;
    let until = until.as_ref().map_or_else(String::new, |until| format!(" until {}", clock(until)));
    let _ = write!(
        html,
        "<div class=\"card {}\"><div class=\"row\"><span class=\"name\"><span class=\"dot\"></span>{}</span>\
         <span class=\"soft\">no. {number}</span></div><div class=\"soft\">since {}{until}</div>",
        mood(*how),
        escaped(headline),
        clock(since),
    );
    if affected.is_empty() {
        html.push_str("<p class=\"soft\">No user is known to be affected.</p>");
    } else {
        html.push_str("<ul>");
        for it in affected {
            let _ = write!(html, "<li>{}</li>", escaped(it));
        }
        html.push_str("</ul>");
    }
    html.push_str("<ol>");
    let day = since.split('T').next().unwrap_or(since);
    for step in done {
        let at = clock(&step.at);
        // Of the same day the time alone.
        let at = at.strip_prefix(day).map_or(at.as_str(), str::trim_start);
        let _ = write!(html, "<li><time>{at}</time>{}</li>", escaped(&step.sentence));
    }
    html.push_str("</ol></div>\n");
}

const fn mood(mood: Mood) -> &'static str {
    match mood {
        Mood::Well => "well",
        Mood::Recovering => "recovering",
        Mood::Trouble => "trouble",
    }
}

/// `2026-11-22 10:31:04`, of a moment as RFC 3339 has it.
fn clock(moment: &str) -> String {
    escaped(&moment.replace('T', " ").replace('Z', ""))
}
