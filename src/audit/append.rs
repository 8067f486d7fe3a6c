//! Writes the log: each line is on the disk before the action it tells of begins.
//!
//! Everything here waits for the disk: it is for threads that may, not for tasks.

use super::entry::{Entry, Event, Head};
use super::{FILE, verify};
use crate::base::clock::WallTime;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;

/// Lines that may wait for the disk to have room again.
const MOST_WAITING: usize = 256;
/// Read from the end, to find the newest line.
const TAIL: u64 = 256 * 1_024;
/// Names the newest line, so that a log cut short is found out.
const NOTE: &str = "audit.head";
/// Half a line that a crash left behind.
const TORN: &str = "audit.torn";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("cannot write the audit log {}: {source}; make room or mend its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot tell this as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What waits to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub waiting: usize,
    /// There was no room for, since the log could last be written.
    pub lost: u64,
}

/// The log of a state folder.
#[derive(Debug)]
pub struct AuditLog {
    folder: PathBuf,
    /// Another file that gets each line too.
    copy: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    head: Head,
    /// Octets of the file after the line of `head`.
    length: u64,
    waiting: VecDeque<(Timestamp, Event)>,
    lost: u64,
    /// Why the last line did not get to the other file.
    copy_fault: Option<String>,
}

impl AuditLog {
    /// Goes on after the newest line in `folder`; the sentences say what was found amiss.
    pub fn open(folder: &Path, copy: Option<PathBuf>, at: WallTime) -> (Self, Vec<String>) {
        let mut log = Self { folder: folder.to_owned(), copy, state: Mutex::default() };
        let (mut state, mut faults) = (State::default(), Vec::new());
        log.recover(&mut state, moment(at), &mut faults);
        *log.state.get_mut() = state;
        (log, faults)
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The newest line as it was noted beside the log in `folder`.
    pub fn noted(folder: &Path) -> Option<Head> {
        serde_json::from_slice(&fs::read(folder.join(NOTE)).ok()?).ok()
    }

    /// Writes a line and waits for the disk; its number.
    ///
    /// # Errors
    /// It is not in the log, and not half of it.
    pub fn append(&self, at: WallTime, event: Event) -> Result<u64, AuditError> {
        let mut state = self.state.blocking_lock();
        let at = moment(at);
        self.catch_up(&mut state, at)?;
        self.write(&mut state, at, event)
    }

    /// Writes a line, or keeps it until the disk takes it; beyond [`MOST_WAITING`] they are only counted. Gives
    /// its number if it is written.
    pub fn append_or_keep(&self, at: WallTime, event: Event) -> Option<u64> {
        let mut state = self.state.blocking_lock();
        let at = moment(at);
        let written = self.catch_up(&mut state, at).and_then(|()| self.write(&mut state, at, event.clone()));
        match written {
            Ok(seq) => Some(seq),
            Err(error) => {
                tracing::error!("{error}");
                match state.waiting.len() < MOST_WAITING {
                    true => state.waiting.push_back((at, event)),
                    false => state.lost += 1,
                }
                None
            }
        }
    }

    /// Tries what waits again, and says what is wrong with the log now.
    pub fn look(&self, at: WallTime) -> Result<(), (String, Backlog)> {
        let mut state = self.state.blocking_lock();
        let caught_up = self.catch_up(&mut state, moment(at));
        let backlog = Backlog { waiting: state.waiting.len(), lost: state.lost };
        match (caught_up, &state.copy_fault) {
            (Err(error), _) => Err((error.to_string(), backlog)),
            (Ok(()), Some(fault)) => Err((fault.clone(), backlog)),
            (Ok(()), None) => Ok(()),
        }
    }

    fn catch_up(&self, state: &mut State, now: Timestamp) -> Result<(), AuditError> {
        while let Some((at, event)) = state.waiting.front().cloned() {
            self.write(state, at, event)?;
            state.waiting.pop_front();
        }
        if state.lost > 0 {
            let what = format!("{} lines before this one were lost while the disk took none", state.lost);
            self.write(state, now, Event::Noted { what })?;
            state.lost = 0;
        }
        Ok(())
    }

    fn write(&self, state: &mut State, at: Timestamp, event: Event) -> Result<u64, AuditError> {
        let path = self.path();
        let failed = |source| AuditError::Io { path: path.clone(), source };
        let mut file = open(&path).map_err(failed)?;
        // Another process appends too while it hands over to this one.
        file.lock().map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > state.length
            && let Some(head) = newest(&mut file).map_err(failed)?
        {
            state.head = head;
        }
        let (line, head) = state.head.next(at, event)?;
        let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
        if let Err(source) = written {
            let _ = file.set_len(length);
            return Err(failed(source));
        }
        state.length = length + line.len() as u64 + 1;
        state.head = head;
        self.note(&state.head);
        state.copy_fault = self.copy_line(&line);
        Ok(state.head.seq)
    }

    /// A note that is older than the log does no harm, so nothing waits for it.
    fn note(&self, head: &Head) {
        let new = self.folder.join(format!("{NOTE}.new"));
        let noted = serde_json::to_vec(head)
            .map_err(io::Error::other)
            .and_then(|note| fs::write(&new, note))
            .and_then(|()| fs::rename(&new, self.folder.join(NOTE)));
        if let Err(error) = noted {
            tracing::warn!("cannot note the newest line of the audit log: {error}");
        }
    }

    fn copy_line(&self, line: &str) -> Option<String> {
        let path = self.copy.as_ref()?;
        let copied = open(path).and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        let error = copied.err()?;
        Some(format!("cannot copy the audit log to {}: {error}", path.display()))
    }

    /// Finds the newest line, and puts aside half a line that a crash left.
    fn recover(&self, state: &mut State, at: Timestamp, faults: &mut Vec<String>) {
        let path = self.path();
        let noted = Self::noted(&self.folder);
        match self.take_up(state) {
            Ok(torn) => {
                if torn > 0 {
                    let what = format!("a crash left {torn} octets of a line, now in {TORN}");
                    if let Err(error) = self.write(state, at, Event::Noted { what }) {
                        faults.push(error.to_string());
                    }
                }
            }
            Err(fault) => faults.push(format!("{}: {fault}", path.display())),
        }
        // Goes on from the note, so that what is missing before it can be seen.
        if let Some(noted) = noted.filter(|noted| noted.seq > state.head.seq) {
            faults.push(format!(
                "{} ends at number {}, but number {} was written once: lines are missing",
                path.display(),
                state.head.seq,
                noted.seq
            ));
            state.head = noted;
        }
    }

    /// Octets put aside.
    fn take_up(&self, state: &mut State) -> Result<u64, String> {
        let path = self.path();
        let told = |error: io::Error| error.to_string();
        if !path.exists() {
            return Ok(0);
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(told)?;
        file.lock().map_err(told)?;
        let (tail, torn) = tail(&mut file).map_err(told)?;
        let length = file.metadata().map_err(told)?.len() - torn.len() as u64;
        if !torn.is_empty() {
            open(&self.folder.join(TORN)).and_then(|mut aside| aside.write_all(&torn)).map_err(told)?;
            file.set_len(length).and_then(|()| file.sync_data()).map_err(told)?;
        }
        state.length = length;
        let Some(line) = last_line(&tail) else { return Ok(torn.len() as u64) };
        let (_, head) = Entry::read(&line).map_err(|what| format!("the last line: {what}"))?;
        state.head = head;
        Ok(torn.len() as u64)
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// The end of the file as whole lines, and what follows the last of them.
fn tail(file: &mut File) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let torn = tail.split_off(tail.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1));
    Ok((tail, torn))
}

fn last_line(lines: &[u8]) -> Option<String> {
    let lines = lines.strip_suffix(b"\n")?;
    let from = lines.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
    String::from_utf8(lines[from..].to_vec()).ok()
}

fn newest(file: &mut File) -> io::Result<Option<Head>> {
    let (tail, _) = tail(file)?;
    Ok(last_line(&tail).and_then(|line| Entry::read(&line).ok()).map(|(_, head)| head))
}

fn moment(at: WallTime) -> Timestamp {
    i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
}

/// What `rhumb audit verify` does with the log in `folder`.
///
/// # Errors
/// The log cannot be read.
pub fn verify_folder(folder: &Path) -> io::Result<verify::Verdict> {
    verify::verify(&folder.join(FILE), AuditLog::noted(folder).as_ref())
}
