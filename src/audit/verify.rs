//! Reads a log from its first line to its last, and says what does not fit.

use super::entry::{Entry, Head};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Of one line: what a line tells is shortened when it is written.
const LONGEST_LINE: u64 = 256 * 1_024;

/// Where a log does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: u64,
    pub what: String,
}

/// What reading a log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Lines that are whole.
    pub lines: u64,
    /// Number of the first line; more than 1 where older ones were put away.
    pub first: u64,
    pub head: Head,
    /// The first place that does not fit; what follows it was read no further.
    pub fault: Option<Fault>,
}

/// Reads all of `file`, and holds it against `noted`, the newest line as it was noted beside it.
///
/// # Errors
/// The file cannot be read.
pub fn verify(file: &Path, noted: Option<&Head>) -> io::Result<Verdict> {
    let mut verdict = Verdict { lines: 0, first: 0, head: Head::default(), fault: None };
    let mut meets_note = noted.is_none_or(|noted| *noted == verdict.head);
    let fault = walk(file, |line| {
        let (entry, head) = Entry::read(line)?;
        // Older lines may have been put away: the first that is here need not be the first there was.
        if verdict.lines == 0 {
            verdict.first = entry.seq;
        }
        let is_first = verdict.lines == 0 && entry.seq != 1;
        if !is_first && (entry.prev != verdict.head.hash || entry.seq != verdict.head.seq + 1) {
            return Err(format!(
                "number {} does not follow number {}: lines are missing between them, or were put in",
                entry.seq, verdict.head.seq
            ));
        }
        (verdict.lines, verdict.head) = (verdict.lines + 1, head);
        meets_note |= noted == Some(&verdict.head);
        Ok(())
    })?;
    verdict.fault = fault;
    if verdict.fault.is_none() && !meets_note {
        let line = verdict.lines + 1;
        let noted = noted.map_or(0, |noted| noted.seq);
        let what = format!("number {noted} was written once and is not here: lines were cut off or replaced");
        verdict.fault = Some(Fault { line, what });
    }
    Ok(verdict)
}

/// The newest `most` entries, the oldest of them first; what cannot be read is left out.
///
/// # Errors
/// The file cannot be read.
pub fn newest(file: &Path, most: usize) -> io::Result<Vec<Entry>> {
    let mut kept = VecDeque::new();
    walk(file, |line| {
        if let Ok((entry, _)) = Entry::read(line) {
            kept.extend([entry]);
        }
        if kept.len() > most {
            kept.pop_front();
        }
        Ok(())
    })?;
    Ok(kept.into())
}

/// The first line that `look` finds a fault in.
fn walk(file: &Path, mut look: impl FnMut(&str) -> Result<(), String>) -> io::Result<Option<Fault>> {
    let mut reader = BufReader::new(File::open(file)?);
    for number in 1.. {
        let mut line = Vec::new();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let whole = line.strip_suffix(b"\n").ok_or("the line has no end".to_owned());
        let text = whole.and_then(|line| std::str::from_utf8(line).map_err(|_| "it is no text".to_owned()));
        if let Err(what) = text.and_then(&mut look) {
            return Ok(Some(Fault { line: number, what }));
        }
    }
    Ok(None)
}
