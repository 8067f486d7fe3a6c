//! Where `rhumb why` and `rhumb replay` take records of decisions from.

use crate::cli::admin_client::Admin;
use crate::cli::chain;
use crate::daemon::journal::{listed, taken};
use crate::journal::Kept;
use crate::journal::record::{Recorded, unpack};
use crate::store::journal::import;
use crate::store::state_dir::JOURNAL;
use std::path::PathBuf;

/// Octets of a record in a file at most.
const MOST_BYTES: u64 = 256 << 20;

#[derive(clap::Args)]
pub struct SourceArgs {
    #[command(flatten)]
    admin: Admin,
    /// Read the journal of this state folder instead, running or not
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Read a record that `rhumb why --save` wrote instead
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    pub file: Option<PathBuf>,
}

impl SourceArgs {
    /// Whether no running rhumb is to be asked.
    pub fn is_offline(&self) -> bool {
        self.state.is_some() || self.file.is_some()
    }

    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// What is kept, at most `most` of it; the error is a sentence.
    pub fn list(&self, most: usize) -> Result<Kept, String> {
        match &self.state {
            Some(state) => listed(&self.folder(state)?, most),
            None => self.admin.ask("/journal", &[("most", &most.to_string())]).map_err(|error| chain(&error)),
        }
    }

    /// The record of a generation as a file.
    pub fn octets(&self, generation: u64) -> Result<Vec<u8>, String> {
        match &self.state {
            Some(state) => taken(&self.folder(state)?, generation),
            None => {
                let wanted = generation.to_string();
                self.admin
                    .ask_octets("/journal/record", &[("generation", wanted.as_str())])
                    .map_err(|error| chain(&error))
            }
        }
    }

    /// The record of the file.
    pub fn saved(&self) -> Option<Result<Vec<u8>, String>> {
        let file = self.file.as_ref()?;
        let failed = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
        let size = std::fs::metadata(file).map(|it| it.len()).map_err(failed);
        Some(size.and_then(|size| match size <= MOST_BYTES {
            true => std::fs::read(file).map_err(failed),
            false => Err(format!("{} has {size} octets: too many for a record", file.display())),
        }))
    }

    fn folder(&self, state: &std::path::Path) -> Result<PathBuf, String> {
        let folder = state.join(JOURNAL);
        match folder.is_dir() {
            true => Ok(folder),
            false => Err(format!("{} has no journal; name the state folder of a rhumb", state.display())),
        }
    }
}

/// What a record's file holds.
pub fn read(octets: &[u8]) -> Result<Recorded, String> {
    let record = import(octets).ok_or("this is no whole record of a decision")?;
    unpack(&record).map_err(|error| chain(&error))
}
