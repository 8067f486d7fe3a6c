//! `state/`: what a restart needs to answer correctly before anything has been probed.
//!
//! ```text
//! state/
//!   lock                      held by the one daemon that uses the folder
//!   inputs, inputs.previous   sealed: the policy files last published, and which geo files
//!   table,  table.previous    sealed: the table last published (see saved_table)
//!   geo/<digest>.mmdb         the geo files last published, checked by their digest when read
//!   latencies, ...previous    sealed: what clients measured (model::latency)
//!   demand, ...previous       sealed: what was asked how often (model::demand)
//!   alerts, alerts.previous   sealed: what receivers of alerts were told and may believe still
//!   overrides, ...previous    sealed: what operators said of nodes (model::overrides)
//!   geo-table                 the geo table last compiled (see geo_table)
//!   journal/                  what was decided and on what (see journal)
//! ```

use super::journal::{Journal, Limits, Record};
use super::saved_table::SavedTable;
use super::sealed;
pub use super::sealed::Found;
use crate::base::diagnostic::SourceFile;
use crate::model::alert::KeptAlerts;
use crate::model::demand::KeptDemand;
use crate::model::ids::Revision;
use crate::model::latency::KeptLatencies;
use crate::model::overrides::KeptOverrides;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Bumped when the shape changes; other formats are refused.
const FORMAT: u32 = 1;
/// The folder of the journal.
pub const JOURNAL: &str = "journal";

/// The folder, locked if it can be written.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    /// Held for the life of the process; the kernel drops it on any exit. `None`: the folder cannot
    /// be written, and is tried again with each write.
    lock: Option<File>,
    journal: Journal,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot write the state folder {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the state folder {} is in use by another rhumb; stop it or choose another with --state DIR",
        .0.display()
    )]
    Locked(PathBuf),
}

/// Inputs as last published.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptInputs {
    pub revision: Revision,
    pub files: Vec<SourceFile>,
    /// Name shown and content.
    pub geo: Vec<GeoFile>,
}

/// One geo database: the name to show for it and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct InputsOnDisk {
    format: u32,
    revision: Revision,
    files: Vec<(String, String)>,
    geo: Vec<(String, String)>,
}

impl StateDir {
    /// Creates the folder if needed and locks it. A folder that cannot be written is opened all the
    /// same, so that what it holds can be recalled; the error beside it says why.
    ///
    /// # Errors
    /// [`StateError::Locked`] only: two daemons must not share a folder, whatever its permissions.
    pub fn open(root: &Path) -> Result<(Self, Option<StateError>), StateError> {
        let mut state = Self::open_held(root);
        match state.lock_for_writing() {
            Ok(()) => Ok((state, None)),
            Err(locked @ StateError::Locked(_)) => Err(locked),
            Err(unwritable) if state.is_locked_by_another() => {
                drop(unwritable);
                Err(StateError::Locked(root.to_owned()))
            }
            Err(unwritable) => Ok((state, Some(unwritable))),
        }
    }

    /// Opens a folder that another process holds, to recall what it keeps; nothing can be written
    /// before its lock is [adopted](Self::adopt).
    pub fn open_held(root: &Path) -> Self {
        let journal = Journal::new(root.join(JOURNAL), Limits::default());
        Self { root: root.to_owned(), lock: None, journal }
    }

    /// Takes over the lock of the process before this one. The lock belongs to the open file, so it is
    /// held by both until one has ended. `None`: that one could not write the folder either.
    pub fn adopt(&mut self, lock: Option<File>) {
        self.lock = lock;
    }

    /// The lock itself, for a process after this one; `None` where the folder cannot be written.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn share_lock(&self) -> io::Result<Option<File>> {
        self.lock.as_ref().map(File::try_clone).transpose()
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Makes sure that the folder is there and ours.
    fn lock_for_writing(&mut self) -> Result<(), StateError> {
        let failed = |source| StateError::Io { path: self.root.clone(), source };
        fs::create_dir_all(self.root.join("geo")).map_err(failed)?;
        if self.lock.is_some() {
            return Ok(());
        }
        let lock = File::create(self.root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => self.lock = Some(lock),
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked(self.root.clone())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(())
    }

    /// A lock can be looked at where it cannot be taken for writing.
    fn is_locked_by_another(&self) -> bool {
        let lock = File::open(self.root.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Keeps the inputs of a published table. Geo files already kept whole are not written again;
    /// those that neither the new nor the previous inputs name are removed.
    pub fn keep_inputs(&mut self, inputs: &KeptInputs) -> Result<(), StateError> {
        self.lock_for_writing()?;
        self.write_inputs(inputs).map_err(|source| StateError::Io { path: self.root.clone(), source })
    }

    fn write_inputs(&self, inputs: &KeptInputs) -> io::Result<()> {
        let mut geo = Vec::new();
        for file in &inputs.geo {
            let digest = sealed::hex_digest(&file.bytes);
            self.write_geo_file(&digest, &file.bytes)?;
            geo.push((file.name.clone(), digest));
        }
        let files = inputs.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        let on_disk = InputsOnDisk { format: FORMAT, revision: inputs.revision.clone(), files, geo };
        let payload = serde_json::to_vec(&on_disk).map_err(io::Error::other)?;
        sealed::write(&self.root.join("inputs"), &payload)?;
        self.drop_unnamed_geo_files();
        Ok(())
    }

    /// Writes one geo file, unless it lies there undamaged.
    fn write_geo_file(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.geo_path(digest);
        let is_kept = fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|kept| kept == bytes);
        if is_kept {
            return Ok(());
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, bytes)?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, &path)?;
        // Without this the rename itself may be lost in a power cut, while the inputs that name it stay.
        File::open(self.root.join("geo"))?.sync_all()
    }

    /// The newest inputs kept whole, their geo files included. `Ok(None)` when there never were any.
    pub fn recall_inputs(&self) -> Result<Option<Found<KeptInputs>>, String> {
        sealed::read_newest(&self.root.join("inputs"), |payload| self.complete(parse_inputs(payload)?))
    }

    /// Reads the geo files that kept inputs name.
    fn complete(&self, on_disk: InputsOnDisk) -> Result<KeptInputs, String> {
        let mut geo = Vec::new();
        for (name, digest) in on_disk.geo {
            let path = self.geo_path(&digest);
            let bytes =
                fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            if sealed::hex_digest(&bytes) != digest {
                return Err(format!("{} is damaged: its content is not what was kept", path.display()));
            }
            geo.push(GeoFile { name, bytes });
        }
        let files = on_disk.files.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
        Ok(KeptInputs { revision: on_disk.revision, files, geo })
    }

    pub fn keep_table(&mut self, table: &SavedTable) -> Result<(), StateError> {
        self.lock_for_writing()?;
        let failed = |source| StateError::Io { path: self.root.clone(), source };
        let payload = serde_json::to_vec(table).map_err(|error| failed(io::Error::other(error)))?;
        sealed::write(&self.root.join("table"), &payload).map_err(failed)
    }

    /// The newest table kept whole. `Ok(None)` when there never was one.
    pub fn recall_table(&self) -> Result<Option<Found<SavedTable>>, String> {
        sealed::read_newest(&self.root.join("table"), SavedTable::parse)
    }

    pub fn keep_latencies(&mut self, kept: &KeptLatencies) -> Result<(), StateError> {
        self.lock_for_writing()?;
        let failed = |source| StateError::Io { path: self.root.clone(), source };
        let payload = serde_json::to_vec(kept).map_err(|error| failed(io::Error::other(error)))?;
        sealed::write(&self.root.join("latencies"), &payload).map_err(failed)
    }

    pub fn keep_demand(&mut self, kept: &KeptDemand) -> Result<(), StateError> {
        self.lock_for_writing()?;
        let failed = |source| StateError::Io { path: self.root.clone(), source };
        let payload = serde_json::to_vec(kept).map_err(|error| failed(io::Error::other(error)))?;
        sealed::write(&self.root.join("demand"), &payload).map_err(failed)
    }

    /// The newest counted demand kept whole. `Ok(None)` when there never was any.
    pub fn recall_demand(&self) -> Result<Option<Found<KeptDemand>>, String> {
        let parse = |payload: &[u8]| serde_json::from_slice(payload).map_err(|error| error.to_string());
        sealed::read_newest(&self.root.join("demand"), parse)
    }

    /// Adds a generation to the journal.
    pub fn keep_record(&mut self, record: &Record) -> Result<(), StateError> {
        self.lock_for_writing()?;
        let path = self.root.join(JOURNAL);
        self.journal.append(record).map_err(|source| StateError::Io { path, source })
    }

    /// The newest measured paths kept whole. `Ok(None)` when there never were any.
    pub fn recall_latencies(&self) -> Result<Option<Found<KeptLatencies>>, String> {
        let parse = |payload: &[u8]| serde_json::from_slice(payload).map_err(|error| error.to_string());
        sealed::read_newest(&self.root.join("latencies"), parse)
    }

    pub fn keep_alerts(&mut self, kept: &KeptAlerts) -> Result<(), StateError> {
        self.lock_for_writing()?;
        let failed = |source| StateError::Io { path: self.root.clone(), source };
        let payload = serde_json::to_vec(kept).map_err(|error| failed(io::Error::other(error)))?;
        sealed::write(&self.root.join("alerts"), &payload).map_err(failed)
    }

    /// What receivers were told, as it was last kept whole; a damaged file is put aside as `alerts.damaged`.
    /// `Ok(None)` when there never was one.
    pub fn recall_alerts(&self) -> Result<Option<Found<KeptAlerts>>, String> {
        self.recall_or_put_aside("alerts")
    }

    pub fn keep_overrides(&mut self, kept: &KeptOverrides) -> Result<(), StateError> {
        self.lock_for_writing()?;
        let failed = |source| StateError::Io { path: self.root.clone(), source };
        let payload = serde_json::to_vec(kept).map_err(|error| failed(io::Error::other(error)))?;
        sealed::write(&self.root.join("overrides"), &payload).map_err(failed)
    }

    /// What operators said of nodes, as it was last kept whole; a damaged file is put aside as
    /// `overrides.damaged`. `Ok(None)` when there never was one.
    pub fn recall_overrides(&self) -> Result<Option<Found<KeptOverrides>>, String> {
        self.recall_or_put_aside("overrides")
    }

    /// The newest version of a file that is whole; a damaged one is renamed to `NAME.damaged`.
    fn recall_or_put_aside<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Found<T>>, String> {
        let path = self.root.join(name);
        let parse = |payload: &[u8]| serde_json::from_slice(payload).map_err(|error| error.to_string());
        let recalled = sealed::read_newest(&path, parse);
        let is_damaged = match &recalled {
            Ok(Some(found)) => found.passed_over.is_some(),
            Ok(None) => false,
            Err(_) => true,
        };
        // Or the next write would keep it as the version before.
        if is_damaged && let Err(error) = fs::rename(&path, self.root.join(format!("{name}.damaged"))) {
            tracing::warn!("cannot put {} aside: {error}", path.display());
        }
        recalled
    }

    fn geo_path(&self, digest: &str) -> PathBuf {
        self.root.join("geo").join(format!("{digest}.mmdb"))
    }

    /// Best effort: a file left over costs space, nothing else.
    fn drop_unnamed_geo_files(&self) {
        let mut named: Vec<String> = Vec::new();
        for version in ["inputs", "inputs.previous"] {
            let Ok(payload) = sealed::read(&self.root.join(version)) else { continue };
            let Ok(inputs) = parse_inputs(&payload) else { return };
            named.extend(inputs.geo.into_iter().map(|(_, digest)| format!("{digest}.mmdb")));
        }
        let Ok(entries) = fs::read_dir(self.root.join("geo")) else { return };
        for entry in entries.flatten() {
            if !named.iter().any(|name| entry.file_name().to_str() == Some(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn parse_inputs(payload: &[u8]) -> Result<InputsOnDisk, String> {
    let inputs: InputsOnDisk = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if inputs.format != FORMAT {
        return Err(format!("kept inputs have format {}, this version reads {FORMAT}", inputs.format));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::chain;

    fn inputs(geo: &[u8]) -> KeptInputs {
        KeptInputs {
            revision: Revision("abc".to_owned()),
            files: vec![SourceFile { path: "fleet.yaml".to_owned(), text: "version: 1\n".to_owned() }],
            geo: vec![GeoFile { name: "country".to_owned(), bytes: geo.to_vec() }],
        }
    }

    fn open(folder: &Path) -> StateDir {
        let (state, unwritable) = StateDir::open(folder).expect("not locked");
        assert!(unwritable.is_none(), "{unwritable:?}");
        state
    }

    #[test]
    fn inputs_come_back_and_a_second_daemon_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut state = open(folder.path());
        assert!(state.recall_inputs().expect("readable").is_none());
        state.keep_inputs(&inputs(b"one")).expect("keeps");
        let back = state.recall_inputs().expect("readable").expect("there");
        assert_eq!(back.value, inputs(b"one"));
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::Locked(_))));
    }

    #[test]
    fn damaged_overrides_are_put_aside_and_the_ones_before_them_are_used() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut state = open(folder.path());
        let kept = |next: u64| KeptOverrides { next, overrides: Vec::new() };
        state.keep_overrides(&kept(1)).expect("keeps");
        state.keep_overrides(&kept(2)).expect("keeps");
        let path = folder.path().join("overrides");
        let whole = fs::read(&path).expect("readable");
        fs::write(&path, &whole[..whole.len() - 1]).expect("writes");
        let found = state.recall_overrides().expect("readable").expect("there");
        assert_eq!(found.value, kept(1));
        assert!(found.passed_over.is_some_and(|why| why.contains("truncated")));
        assert!(folder.path().join("overrides.damaged").exists() && !path.exists());
        state.keep_overrides(&kept(3)).expect("keeps");
        assert_eq!(state.recall_overrides().expect("readable").expect("there").value, kept(3));
    }

    #[test]
    fn a_folder_that_cannot_be_written_refuses_nothing_and_is_used_once_it_can() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path().join("state");
        fs::write(&root, "a file where the folder should be").expect("writes");
        let (mut state, unwritable) = StateDir::open(&root).expect("not locked");
        let message = chain(&unwritable.expect("says why"));
        assert!(message.starts_with("cannot write the state folder ") && !message.ends_with("state"));
        assert!(state.keep_inputs(&inputs(b"one")).is_err());
        fs::remove_file(&root).expect("removes");
        state.keep_inputs(&inputs(b"one")).expect("keeps");
        assert!(matches!(StateDir::open(&root), Err(StateError::Locked(_))), "and it is locked then");
    }

    #[test]
    fn a_lock_is_seen_where_the_folder_cannot_be_written() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let held = open(folder.path());
        fs::remove_dir(folder.path().join("geo")).expect("removes");
        fs::write(folder.path().join("geo"), "in the way").expect("writes");
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::Locked(_))));
        drop(held);
        assert!(StateDir::open(folder.path()).expect("not locked").1.is_some());
    }

    #[test]
    fn a_geo_file_that_changed_under_us_is_passed_over_and_written_anew() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut state = open(folder.path());
        for content in [b"one".as_slice(), b"two", b"three"] {
            state.keep_inputs(&inputs(content)).expect("keeps");
        }
        let count = fs::read_dir(folder.path().join("geo")).expect("lists").count();
        assert_eq!(count, 2, "the newest and the one of the previous inputs");
        let kept = |content: &[u8]| state.geo_path(&sealed::hex_digest(content));
        let (two, three) = (kept(b"two"), kept(b"three"));
        fs::write(&three, b"bent!").expect("writes");
        let found = state.recall_inputs().expect("the previous").expect("there");
        assert_eq!(found.value, inputs(b"two"));
        assert!(found.passed_over.is_some_and(|why| why.contains("damaged")));
        fs::remove_file(&two).expect("removes");
        assert!(state.recall_inputs().expect_err("neither").contains("damaged"), "of the newest");
        state.keep_inputs(&inputs(b"three")).expect("keeps");
        let found = state.recall_inputs().expect("readable").expect("there");
        assert_eq!((found.value, found.passed_over), (inputs(b"three"), None));
    }
}
