//! `rhumb audit`: the record of what people did, shown and verified.

use crate::audit::{self, Entry, Event, FILE};
use crate::cli::admin_client::Admin;
use crate::cli::{Format, chain};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Characters of what was sent or answered, for people.
const MOST_TOLD: usize = 140;
/// Of a screen, and before what was sent or answered.
const WIDTH: usize = 80;
const INDENT: &str = "      ";

/// Show and verify the record of what people did
///
/// Each action is written down before it is done, and again with what came of it. The lines are chained by
/// their hashes, so that none can be changed, taken out or put in unseen.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb audit show --most 20
  rhumb audit verify                           # exits 1 if a line was changed
  rhumb audit verify --state /var/lib/rhumb
  rhumb audit verify --file /mnt/elsewhere/audit.jsonl")]
pub struct AuditArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show the newest lines
    Show {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        most: usize,
        #[command(flatten)]
        admin: Admin,
        /// `json` is everything, for scripts
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Read all of it on this machine, and exit 1 if anything was changed
    Verify {
        /// The state folder that it is in, of a rhumb that runs or not
        #[arg(long, value_name = "DIR", default_value = "state")]
        state: PathBuf,
        /// A copy instead
        #[arg(long, value_name = "FILE", conflicts_with = "state")]
        file: Option<PathBuf>,
        /// `json` is for scripts
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

impl AuditArgs {
    pub fn run(&self) -> ExitCode {
        let done = match &self.what {
            What::Show { most, admin, format } => show(*most, admin, *format),
            What::Verify { state, file, format } => verify(state, file.as_deref(), *format),
        };
        done.unwrap_or_else(|message| {
            eprintln!("rhumb: {message}");
            ExitCode::from(2)
        })
    }
}

fn show(most: usize, admin: &Admin, format: Format) -> Result<ExitCode, String> {
    let most = most.to_string();
    let entries: Vec<Entry> =
        admin.ask("/audit", &[("most", most.as_str())]).map_err(|error| chain(&error))?;
    match format {
        Format::Json => {
            println!("{}", serde_json::to_string_pretty(&entries).map_err(|error| error.to_string())?);
        }
        Format::Text if entries.is_empty() => println!("nobody has done anything yet"),
        Format::Text => entries.iter().for_each(|entry| print!("{}", told(entry))),
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for people, and below it what was sent or answered.
fn told(entry: &Entry) -> String {
    let (at, number) = (entry.at.strftime("%Y-%m-%d %H:%M:%S"), entry.seq);
    match &entry.event {
        Event::Begun { who, role, from, action, detail } => {
            format!("{number:>5} {at} {who} ({role}, {from}) {action}\n{}", short(detail))
        }
        Event::Ended { of, status, outcome } => {
            let word = if (200..300).contains(status) { "done" } else { "refused" };
            format!("{number:>5} {at}   {of}: {word} ({status})\n{}", short(outcome))
        }
        Event::Noted { what } => format!("{number:>5} {at} note: {what}\n"),
    }
}

/// Its beginning, in lines that a screen shows: folded after commas and spaces, and where there is none.
fn short(told: &Json) -> String {
    if told.is_null() {
        return String::new();
    }
    let text = told.to_string();
    let mut shown: String = text.chars().take(MOST_TOLD).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    let room = WIDTH - INDENT.len();
    let (mut folded, mut line) = (String::new(), String::new());
    let parts: Vec<Vec<char>> =
        shown.split_inclusive([',', ' ']).map(|part| part.chars().collect()).collect();
    for part in parts.iter().flat_map(|part| part.chunks(room)) {
        if line.chars().count() + part.len() > room {
            folded.push_str(&format!("{INDENT}{}\n", line.trim_end()));
            line.clear();
        }
        line.extend(part);
    }
    folded + &format!("{INDENT}{}\n", line.trim_end())
}

fn verify(state: &Path, file: Option<&Path>, format: Format) -> Result<ExitCode, String> {
    let path = file.map_or_else(|| state.join(FILE), Path::to_owned);
    if !path.exists() {
        let what = "nobody has done anything yet, or it lies elsewhere; name it with --state or --file";
        return Err(format!("there is no {}: {what}", path.display()));
    }
    let read = match file {
        Some(file) => audit::verify(file, None),
        None => audit::verify_folder(state),
    };
    let verdict = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let place = path.display().to_string();
    match (format, &verdict.fault) {
        (Format::Json, fault) => {
            let fault = fault.as_ref().map(|fault| json!({ "line": fault.line, "what": fault.what }));
            let told = json!({
                "file": place,
                "lines": verdict.lines,
                "first": verdict.first,
                "newest": verdict.head.seq,
                "hash": verdict.head.hash,
                "fault": fault,
            });
            println!("{told:#}");
        }
        (Format::Text, Some(fault)) => println!(
            "{place}, line {}: {}\nthe {} lines before it are as they were written",
            fault.line, fault.what, verdict.lines
        ),
        (Format::Text, None) => {
            let older = match verdict.first {
                0 | 1 => String::new(),
                first => format!("; it begins with number {first}, older lines are elsewhere"),
            };
            println!(
                "{place}: {} lines, none changed{older}\nnewest: number {}, whose hash is\n  {}",
                verdict.lines, verdict.head.seq, verdict.head.hash
            );
        }
    }
    Ok(ExitCode::from(u8::from(verdict.fault.is_some())))
}
