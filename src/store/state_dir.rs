//! `state/`: what a restart needs to answer correctly before anything has been probed.
//!
//! ```text
//! state/
//!   lock                      held by the one daemon that uses the folder
//!   inputs, inputs.previous   sealed: the policy files last published, and which geo files
//!   table,  table.previous    sealed: the table last published (see saved_table)
//!   geo/<digest>.mmdb         the geo files last published, checked by their digest when read
//! ```

use super::saved_table::SavedTable;
use super::sealed::{self, SealError};
use crate::base::diagnostic::SourceFile;
use crate::model::ids::Revision;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Bumped when the shape changes; other formats are refused.
const FORMAT: u32 = 1;

/// The opened and locked folder.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    /// Held for the life of the process; the kernel drops it on any exit.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot use the state folder {path}: {source}; choose another with --state DIR")]
    Io { path: PathBuf, source: io::Error },
    #[error("the state folder {0} is in use by another rhumb; stop it or choose another with --state DIR")]
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

/// Something read back, with a note when a damaged file was passed over for an older one.
#[derive(Debug)]
pub struct Recalled<T> {
    pub value: T,
    pub note: Option<String>,
}

impl StateDir {
    /// Creates the folder if needed, checks that it can be written, and locks it.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io { path: root.to_owned(), source };
        fs::create_dir_all(root.join("geo")).map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked(root.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Keeps the inputs of a published table. Geo files already kept are not written again; those
    /// that neither the new nor the previous inputs name are removed.
    pub fn keep_inputs(&self, inputs: &KeptInputs) -> io::Result<()> {
        let mut geo = Vec::new();
        for file in &inputs.geo {
            let digest = sealed::hex_digest(&file.bytes);
            let path = self.geo_path(&digest);
            if !path.exists() {
                let temporary = path.with_extension("new");
                fs::write(&temporary, &file.bytes)?;
                File::open(&temporary)?.sync_all()?;
                fs::rename(&temporary, &path)?;
            }
            geo.push((file.name.clone(), digest));
        }
        let files = inputs.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        let on_disk = InputsOnDisk { format: FORMAT, revision: inputs.revision.clone(), files, geo };
        let payload = serde_json::to_vec(&on_disk).map_err(io::Error::other)?;
        sealed::write(&self.root.join("inputs"), &payload)?;
        self.drop_unnamed_geo_files();
        Ok(())
    }

    /// The inputs last kept. `Ok(None)` when there never were any.
    pub fn recall_inputs(&self) -> Result<Option<Recalled<KeptInputs>>, String> {
        let Some(found) = found_or_none(sealed::read_or_previous(&self.root.join("inputs")))? else {
            return Ok(None);
        };
        let on_disk = parse_inputs(&found.payload)?;
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
        let value = KeptInputs { revision: on_disk.revision, files, geo };
        Ok(Some(Recalled { value, note: found.passed_over.map(|error| error.to_string()) }))
    }

    pub fn keep_table(&self, table: &SavedTable) -> io::Result<()> {
        let payload = serde_json::to_vec(table).map_err(io::Error::other)?;
        sealed::write(&self.root.join("table"), &payload)
    }

    /// The table last kept. `Ok(None)` when there never was one.
    pub fn recall_table(&self) -> Result<Option<Recalled<SavedTable>>, String> {
        let path = self.root.join("table");
        let Some(found) = found_or_none(sealed::read_or_previous(&path))? else {
            return Ok(None);
        };
        let value = SavedTable::parse(&found.payload)
            .map_err(|what| format!("{} is not a table of this version: {what}", path.display()))?;
        Ok(Some(Recalled { value, note: found.passed_over.map(|error| error.to_string()) }))
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

fn found_or_none(result: Result<sealed::Found, SealError>) -> Result<Option<sealed::Found>, String> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(SealError::Missing(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(geo: &[u8]) -> KeptInputs {
        KeptInputs {
            revision: Revision("abc".to_owned()),
            files: vec![SourceFile { path: "fleet.yaml".to_owned(), text: "version: 1\n".to_owned() }],
            geo: vec![GeoFile { name: "country".to_owned(), bytes: geo.to_vec() }],
        }
    }

    #[test]
    fn inputs_come_back_and_a_second_daemon_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::open(folder.path()).expect("opens");
        assert!(state.recall_inputs().expect("readable").is_none());
        state.keep_inputs(&inputs(b"one")).expect("keeps");
        let back = state.recall_inputs().expect("readable").expect("there");
        assert_eq!(back.value, inputs(b"one"));
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::Locked(_))));
    }

    #[test]
    fn a_geo_file_that_changed_under_us_is_refused_and_old_ones_go() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::open(folder.path()).expect("opens");
        for content in [b"one".as_slice(), b"two", b"three"] {
            state.keep_inputs(&inputs(content)).expect("keeps");
        }
        let count = fs::read_dir(folder.path().join("geo")).expect("lists").count();
        assert_eq!(count, 2, "the newest and the one of the previous inputs");
        for entry in fs::read_dir(folder.path().join("geo")).expect("lists").flatten() {
            fs::write(entry.path(), b"bent").expect("writes");
        }
        assert!(state.recall_inputs().expect_err("damaged").contains("damaged"));
    }
}
