//! `rhumb backup` and `restore`: the state folder as one file, and back.

use crate::cli::chain;
use crate::history::{FILE as HISTORY, History, HistoryError};
use crate::store::backup::{self, BackupError, Size};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Keep the state folder in one file, while rhumb runs or not
///
/// It holds all that a restart needs and all that was recorded: the last good table and policy, overrides, tokens
/// (their hashes), the audit log, history, decisions. It is written whole or not at all.
#[derive(clap::Args)]
#[command(after_help = "\
  rhumb backup /backup/rhumb-monday --state /var/lib/rhumb

Run it as root or as rhumb's own user, on its machine. The file is readable
for whoever wrote it alone; policy folder, keys and certificates are not in it.

Exit codes: 0 done, 2 could not run")]
pub struct BackupArgs {
    /// Where to; a file of this name is replaced
    file: PathBuf,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = "state")]
    state: PathBuf,
}

/// Make the state folder what a backup holds
///
/// The whole backup is verified first. Refused while a rhumb uses the folder, or if it holds a state already.
#[derive(clap::Args)]
#[command(after_help = "\
  rhumb restore /backup/rhumb-monday --state /var/lib/rhumb
  rhumb restore /backup/rhumb-monday --state /var/lib/rhumb --replace

Run it as the user rhumb runs as, while that rhumb is stopped.

Exit codes: 0 done, 1 refused and nothing changed, 2 could not run")]
pub struct RestoreArgs {
    /// A file that `rhumb backup` wrote
    file: PathBuf,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = "state")]
    state: PathBuf,
    /// Put aside what the folder holds
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the history cannot be copied")]
    History(#[from] HistoryError),
}

impl BackupArgs {
    pub fn run(&self) -> ExitCode {
        match self.keep() {
            Ok(size) => {
                println!("{}: {}", self.file.display(), told(size));
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                ExitCode::from(2)
            }
        }
    }

    fn keep(&self) -> Result<Size, Failed> {
        let mut entries = backup::entries(&self.state, &[HISTORY])?;
        // A database that others write to is copied by itself, beside the backup.
        let copy = Copy(self.file.with_extension("history-copy"));
        if self.state.join(HISTORY).exists() {
            copy.remove();
            History::open_to_read(&self.state)?.copy_to(&copy.0)?;
            entries.push((HISTORY.to_owned(), copy.0.clone()));
        }
        Ok(backup::write(&entries, &self.file)?)
    }
}

/// A file that is gone in the end.
struct Copy(PathBuf);

impl Copy {
    fn remove(&self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

impl RestoreArgs {
    pub fn run(&self) -> ExitCode {
        let (file, state): (&Path, &Path) = (&self.file, &self.state);
        match backup::restore(file, state, self.replace) {
            Ok((size, aside)) => {
                println!("{}: {}", state.display(), told(size));
                if let Some(aside) = aside {
                    println!("what it held before is in {}", aside.display());
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                let is_io = matches!(error, BackupError::Io { .. });
                ExitCode::from(if is_io { 2 } else { 1 })
            }
        }
    }
}

fn told(size: Size) -> String {
    format!("{} files, {} octets", size.files, size.octets)
}
