//! Runs what a drill's file says breaks or heals a target: a program of the operator's, without a shell.
//!
//! It has the policy folder as working folder, an environment of PATH alone and no standard input. It leads a process
//! group of its own, which is killed whole when its time is up or when nobody waits for it any more.

use crate::model::overrides::Target;
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// Where programs are looked for, by us and by the programs themselves.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what it says on standard error, which is told when it fails.
const MOST_SAID: u64 = 400;
/// After its end, for the rest of that.
const LISTEN: Duration = Duration::from_millis(500);

/// Runs the program to its end.
///
/// # Errors
/// A sentence: it cannot be run, takes too long, or says that it failed.
pub async fn run(command: &[String], target: &str, folder: &Path, timeout: Duration) -> Result<(), String> {
    let words: Vec<String> = command.iter().map(|word| filled_in(word, target)).collect();
    let told = words.join(" ");
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let child = Command::new(place(program, folder))
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run `{told}`: {error}"))?;
    let mut running =
        Running { group: child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)), child };
    match tokio::time::timeout(timeout, running.end()).await {
        Err(_) => Err(format!("`{told}` took longer than {timeout:?}, and was killed")),
        Ok(Err(error)) => Err(format!("cannot wait for `{told}`: {error}")),
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => Err(format!("`{told}` failed: {status}{said}")),
    }
}

/// `{target}` is `site/tyo`, `{name}` is `tyo`.
fn filled_in(word: &str, target: &str) -> String {
    let name = target.parse::<Target>().map(|target| target.to_string()).unwrap_or_default();
    let name = name.split_once('/').map_or(target, |(_, name)| name);
    word.replace("{target}", target).replace("{name}", name)
}

/// A program named by a path is one of the policy folder.
fn place(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { folder.join(program) } else { PathBuf::from(program) }
}

struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    /// How it ended, and the beginning of what it said against it.
    async fn end(&mut self) -> std::io::Result<(std::process::ExitStatus, String)> {
        let reading = self.child.stderr.take().map(|stderr| {
            tokio::spawn(async move {
                let mut said = Vec::new();
                let _ = stderr.take(MOST_SAID).read_to_end(&mut said).await;
                said
            })
        });
        let status = self.child.wait().await?;
        // What a child of it keeps open is not waited for: the program's own end counts.
        let said = match reading {
            Some(reading) => tokio::time::timeout(LISTEN, reading).await,
            None => Ok(Ok(Vec::new())),
        };
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().escape_debug().to_string();
        Ok((status, if said.is_empty() { said } else { format!(": {said}") }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With an exit status the number has been let go, and may be another group's by now.
        if let Some(group) = self.group.filter(|_| self.child.id().is_some()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, timeout_ms: u64) -> Result<(), String> {
        let command = ["sh", "-c", script, "{target}", "{name}"].map(str::to_owned);
        run(&command, "site/tyo", Path::new("/"), Duration::from_millis(timeout_ms)).await
    }

    #[tokio::test]
    async fn a_program_succeeds_fails_or_is_killed_in_time() {
        assert_eq!(shell("test $0 = site/tyo && test $1 = tyo", 30_000).await, Ok(()));
        let failed = shell("echo no such site >&2; exit 3", 30_000).await.expect_err("it failed");
        assert!(failed.contains("exit status: 3: no such site"), "{failed}");
        let slow = shell("sleep 600", 50).await.expect_err("too slow");
        assert!(slow.contains("was killed"), "{slow}");
        let missing = run(&["no-such-program".to_owned()], "a", Path::new("/"), Duration::from_secs(1)).await;
        assert!(missing.expect_err("none").contains("cannot run"));
    }
}
