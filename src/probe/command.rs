//! A program of the operator's says how a node is: run without a shell, asked for one line of JSON.
//!
//! ```text
//!  in    arguments, with {address} and {port} of the target; the policy folder as working folder;
//!        no standard input, an environment of PATH alone
//!  out   {"ok": true, "latency_ms": 12.5, "jitter_ms": 1, "reason": "…"}    all but `ok` may be left out
//! ```
//! The program leads a process group of its own, which is killed whole when the program ends, when its
//! time is up, and when its output outgrows [`OUTPUT_BYTES`]: what it left running goes with it. A
//! program that cannot be started says nothing about the node.

use super::ask::{Ask, Call, Reply};
use super::failure::Fault;
use super::micros_since;
use crate::base::units::Micros;
use crate::model::observation::{FailureReason, Measured};
use crate::model::probe::CommandProbe;
use async_trait::async_trait;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::Deserialize;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Of standard output; more is an error.
const OUTPUT_BYTES: usize = 16 * 1_024;
/// Of a reason; the rest is cut.
const REASON_CHARS: usize = 200;
/// Where programs are looked for, by the probe and by the programs themselves.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Run {
    command: Vec<String>,
    folder: PathBuf,
}

/// What a program prints.
#[derive(Debug, Deserialize)]
struct Said {
    ok: bool,
    latency_ms: Option<f64>,
    jitter_ms: Option<f64>,
    reason: Option<String>,
}

impl Run {
    pub fn new(probe: &CommandProbe, folder: &Path) -> Self {
        Self { command: probe.command.clone(), folder: folder.to_owned() }
    }

    fn start(&self, target: SocketAddr) -> Result<Running, Fault> {
        let cannot = |why: &dyn std::fmt::Display| {
            Fault::of_machine(format!("cannot run {:?}: {why}", self.command.join(" ")))
        };
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| cannot(&"no program is named"))?;
        let arguments = arguments.iter().map(|argument| filled_in(argument, target));
        let program = place(program, &self.folder);
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", SEARCH)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot(&error))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Running { group: group.ok_or_else(|| cannot(&"it has no process id"))?, child })
    }
}

/// A program named by a path is one of the policy folder.
fn place(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { folder.join(program) } else { PathBuf::from(program) }
}

/// Why a program cannot be run here; `None`: nothing is known against it.
pub(super) fn missing(program: &str, folder: &Path) -> Option<String> {
    let place = place(program, folder);
    let is_file = |path: &Path| path.metadata().ok().filter(std::fs::Metadata::is_file);
    let found = match program.contains('/') {
        true => is_file(&place),
        false => SEARCH.split(':').find_map(|folder| is_file(&Path::new(folder).join(&place))),
    };
    match found {
        None => Some(format!("there is no program `{program}`")),
        Some(file) if file.permissions().mode() & 0o111 == 0 => {
            Some(format!("the program `{program}` may not be run: its mode has no x"))
        }
        Some(_) => None,
    }
}

fn filled_in(argument: &str, target: SocketAddr) -> String {
    argument.replace("{address}", &target.ip().to_string()).replace("{port}", &target.port().to_string())
}

#[async_trait]
impl Ask for Run {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        let began = call.clock.mono();
        let mut running = self.start(call.target)?;
        let output = running.output().await?;
        let status = running.end().await?;
        let took = micros_since(began, &call.clock);
        let said = read(&output, status)?;
        learned.jitter = said.jitter_ms.and_then(micros);
        Ok(Reply { rtt: said.latency_ms.and_then(micros).unwrap_or(took), took })
    }
}

/// A program under way, not yet waited for: while it is, its group's number cannot be anybody else's.
struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    /// All of standard output, to where it is closed.
    async fn output(&mut self) -> Result<Vec<u8>, Fault> {
        let mut output = Vec::new();
        if let Some(stdout) = self.child.stdout.take() {
            let limit = OUTPUT_BYTES as u64 + 1;
            stdout.take(limit).read_to_end(&mut output).await.map_err(|error| Fault::of_io(&error))?;
        }
        if output.len() > OUTPUT_BYTES {
            let detail = format!("the command prints more than {} KiB", OUTPUT_BYTES / 1_024);
            return Err(Fault::new(FailureReason::Other, detail));
        }
        Ok(output)
    }

    /// Waits for the program, then ends what it left running, and only then lets its number go.
    async fn end(mut self) -> Result<ExitStatus, Fault> {
        let local =
            |error: std::io::Error| Fault::of_machine(format!("cannot wait for the command: {error}"));
        let is_over = || {
            let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            waitid(WaitId::Pid(self.group), only_look).map(|status| status.is_some())
        };
        // Listened for before the first look, so that no end goes by unseen.
        let mut ends = signal(SignalKind::child()).map_err(local)?;
        while !is_over().map_err(|error| local(error.into()))? {
            ends.recv().await;
        }
        self.kill();
        self.child.wait().await.map_err(local)
    }

    fn kill(&self) {
        // It fails if the group is gone, which is what was wanted.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With an exit status the number has been let go.
        if self.child.id().is_some() {
            self.kill();
        }
    }
}

fn read(output: &[u8], status: ExitStatus) -> Result<Said, Fault> {
    let told = |detail: String| Fault::new(FailureReason::Other, detail);
    if output.trim_ascii().is_empty() {
        return Err(told(format!("the command says nothing ({status})")));
    }
    let said: Said = serde_json::from_slice(output).map_err(|error| {
        told(format!("the command does not print the json it should: {error} ({status})"))
    })?;
    if said.ok && status.success() {
        return Ok(said);
    }
    let reason: String = said.reason.unwrap_or_default().chars().take(REASON_CHARS).collect();
    let detail = match (said.ok, reason.is_empty()) {
        (true, _) => format!("the command says ok, but: {status}"),
        (false, true) => "the command says not ok".to_owned(),
        (false, false) => format!("the command says {}", reason.escape_debug()),
    };
    Err(Fault::new(FailureReason::Status, detail))
}

/// `None` for what is no length of time.
fn micros(ms: f64) -> Option<Micros> {
    let micros = (ms * 1_000.0).round();
    (0.0..=f64::from(u32::MAX)).contains(&micros).then_some(Micros(micros as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn check(output: &str, code: i32, expected: Result<Option<f64>, (FailureReason, &str)>) {
        match (read(output.as_bytes(), ExitStatus::from_raw(code << 8)), expected) {
            (Ok(said), Ok(latency)) => assert_eq!(said.latency_ms, latency),
            (Err(fault), Err((reason, part))) => {
                assert_eq!(fault.reason, reason, "{output}");
                assert!(fault.detail.contains(part), "{}", fault.detail);
            }
            (seen, _) => panic!("{output}: {seen:?}"),
        }
    }

    #[test]
    fn what_a_program_prints_is_judged() {
        use FailureReason::{Other, Status};
        check(r#"{"ok": true}"#, 0, Ok(None));
        check("{\"ok\": true, \"latency_ms\": 1.5}\n", 0, Ok(Some(1.5)));
        check(r#"{"ok": true}"#, 3, Err((Status, "says ok, but: exit status: 3")));
        check(r#"{"ok": false}"#, 0, Err((Status, "says not ok")));
        check(r#"{"ok": false, "reason": "queue\nfull"}"#, 1, Err((Status, r"says queue\nfull")));
        check("", 127, Err((Other, "says nothing (exit status: 127)")));
        check("fine", 0, Err((Other, "does not print the json")));
        check(r#"{"latency_ms": 1}"#, 0, Err((Other, "missing field `ok`")));
    }

    #[test]
    fn lengths_of_time_are_bounded() {
        assert_eq!(micros(1.5), Some(Micros(1_500)));
        for ms in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert_eq!(micros(ms), None, "{ms}");
        }
    }

    #[test]
    fn arguments_name_the_target() {
        let target = "[2001:db8::1]:443".parse().expect("an address");
        assert_eq!(filled_in("--to={address}:{port}", target), "--to=2001:db8::1:443");
    }
}
