//! `rhumb status --watch`: the status again and again, until Ctrl-C.
//!
//! | where to | how |
//! |---|---|
//! | a terminal | in place, cut to its height |
//! | a pipe or file, or as JSON | appended, one JSON object a line |
//!
//! A daemon that is gone is told once and asked for on: restarts are what people watch.

use crate::cli::admin_client::{Admin, AskError};
use crate::cli::{Format, chain, status};
use crate::model::status::Status;
use ratatui::crossterm::terminal;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Lines of a terminal that does not say.
const ROWS: usize = 24;
/// From the upper left; each line clears what is behind it, the last what is below.
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Seconds between two looks, as people give them.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    match seconds {
        0.1..=3600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("from 0.1 to 3600 seconds".to_owned()),
    }
}

/// Watches until Ctrl-C, or until nobody reads any more.
pub(super) fn run(admin: &Admin, format: Format, every: Duration) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rhumb: cannot start a runtime to watch with: {error}");
            return ExitCode::from(2);
        }
    };
    let is_live = std::io::stdout().is_terminal() && matches!(format, Format::Text);
    let mut view = View { format, is_live, last: String::new(), told: None };
    runtime.block_on(async {
        let mut pace = tokio::time::interval(every);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return ExitCode::SUCCESS,
                _ = pace.tick() => {}
            }
            let asked = tokio::select! {
                _ = tokio::signal::ctrl_c() => return ExitCode::SUCCESS,
                asked = admin.fetch("/status", &[]) => asked,
            };
            match view.show(asked, &mut std::io::stdout().lock()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("rhumb: cannot print: {error}");
                    return ExitCode::from(2);
                }
            }
        }
    })
}

/// What was shown last.
struct View {
    format: Format,
    /// In place, in colour.
    is_live: bool,
    last: String,
    /// Why nothing could be asked, as told.
    told: Option<String>,
}

impl View {
    fn show(&mut self, asked: Result<Status, AskError>, out: &mut impl Write) -> std::io::Result<()> {
        let failure = match asked {
            Ok(status) => {
                self.last = match self.format {
                    Format::Json => serde_json::to_string(&status).unwrap_or_default() + "\n",
                    Format::Text => status::text(&status, self.is_live),
                };
                None
            }
            Err(error) => Some(chain(&error)),
        };
        let is_news = self.told != failure;
        self.told.clone_from(&failure);
        match failure {
            _ if self.is_live => self.redraw(out)?,
            None => {
                let gap = if matches!(self.format, Format::Text) { "\n" } else { "" };
                write!(out, "{}{gap}", self.last)?;
            }
            // On standard error, so that what is appended stays what it is.
            Some(why) if is_news => eprintln!("rhumb: {why}; trying again"),
            Some(_) => {}
        }
        out.flush()
    }

    fn redraw(&self, out: &mut impl Write) -> std::io::Result<()> {
        let rows = terminal::size().map_or(ROWS, |(_, rows)| usize::from(rows));
        out.write_all(screen(self.told.as_deref(), &self.last, rows).as_bytes())
    }
}

/// One picture of the terminal: what is wrong, if anything is, above what was known last.
fn screen(failure: Option<&str>, known: &str, rows: usize) -> String {
    let failure = failure.map(|why| format!("rhumb: {why}; trying again"));
    let lines: Vec<&str> = failure.iter().map(String::as_str).chain(known.lines()).collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() <= room { lines.len() } else { room - 1 };
    let mut text = HOME.to_owned();
    lines[..shown].iter().for_each(|line| text.push_str(&format!("{line}{CLEAR_LINE}\n")));
    if shown < lines.len() {
        text.push_str(&format!("... {} more lines{CLEAR_LINE}\n", lines.len() - shown));
    }
    text + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_cut_to_the_terminal() {
        let known = "a\nb\nc\nd\n";
        let plain = |failure, rows| anstream::adapter::strip_str(&screen(failure, known, rows)).to_string();
        assert_eq!(plain(None, 24), "a\nb\nc\nd\n");
        assert_eq!(plain(None, 5), "a\nb\nc\nd\n");
        assert_eq!(plain(None, 4), "a\nb\n... 2 more lines\n");
        assert_eq!(plain(Some("gone"), 4), "rhumb: gone; trying again\na\n... 3 more lines\n");
        assert_eq!(plain(None, 0), "... 4 more lines\n");
        assert!(screen(None, known, 24).starts_with(HOME) && screen(None, known, 24).ends_with(CLEAR_BELOW));
    }

    #[test]
    fn a_pace_is_neither_hectic_nor_never() {
        assert_eq!(parse_seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1e9", "soon", ""] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
