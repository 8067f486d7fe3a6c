//! Replaces the texts of a policy folder as one step, also across a crash.
//!
//! ```text
//!  intent (state/applying, sealed) ─▶ each file: written beside, renamed ─▶ files that are gone ─▶ intent removed
//!            └─ found at a start: done again to its end
//! ```
//!
//! Files that policy does not read (keys, certificates, databases) stay as they are. A file behind a symbolic
//! link is replaced where it lies.

use super::policy_dir::{self, MAX_FILE_BYTES, MAX_FILES, PolicyDirError};
use super::sealed::{self, SealError};
use crate::base::diagnostic::SourceFile;
use crate::base::error::chain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// In the state folder.
const INTENT: &str = "applying";

/// Why a folder was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("`{path}` cannot be a policy file: {why}")]
    Path { path: String, why: &'static str },
    #[error("more than {MAX_FILES} files")]
    TooMany,
    #[error(transparent)]
    Read(#[from] PolicyDirError),
    #[error("cannot write {}: {source}; the folder has to be writable for the user rhumb runs as", path.display())]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Serialize, Deserialize)]
struct Intent {
    folder: PathBuf,
    files: Vec<(String, String)>,
}

/// Has `folder` hold `files` and no other policy texts.
///
/// # Errors
/// A file that cannot be one of a policy: nothing is written. Or the disk does not take it: what was begun is
/// to be finished by [`finish`], or taken back by another call.
pub fn replace(folder: &Path, state: &Path, files: &[SourceFile]) -> Result<(), WriteError> {
    files.iter().try_for_each(check)?;
    if files.len() > MAX_FILES {
        return Err(WriteError::TooMany);
    }
    let (present, path) = (policy_dir::read_folder(folder)?, state.join(INTENT));
    let failed = |source| WriteError::Io { path: path.clone(), source };
    let told = files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
    let intent = Intent { folder: fs::canonicalize(folder).map_err(failed)?, files: told };
    let payload = serde_json::to_vec(&intent).map_err(|error| failed(io::Error::other(error)))?;
    sealed::write(&path, &payload).map_err(failed)?;
    write_all(folder, &present, files)?;
    forget(state).map_err(failed)
}

/// Finishes what a crash left half done in `folder`; whether there was anything.
///
/// # Errors
/// A sentence for people. The intent stays where it is.
pub fn finish(folder: &Path, state: &Path) -> Result<bool, String> {
    let payload = match sealed::read(&state.join(INTENT)) {
        Ok(payload) => payload,
        Err(SealError::Missing(_)) => return Ok(false),
        // Half an intent is written before the first file is touched.
        Err(SealError::Truncated { .. } | SealError::Damaged { .. }) => {
            forget(state).map_err(|error| error.to_string())?;
            return Ok(false);
        }
        Err(error) => return Err(chain(&error)),
    };
    let intent: Intent = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
    if fs::canonicalize(folder).is_ok_and(|here| here != intent.folder) {
        return Ok(false);
    }
    let files: Vec<SourceFile> =
        intent.files.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    let present = policy_dir::read_folder(folder).map_err(|error| chain(&error))?;
    write_all(folder, &present, &files).map_err(|error| chain(&error))?;
    forget(state).map_err(|error| error.to_string())?;
    Ok(true)
}

fn forget(state: &Path) -> io::Result<()> {
    for name in [INTENT.to_owned(), format!("{INTENT}.previous")] {
        match fs::remove_file(state.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Only what differs is touched, so that whoever watches a file sees its own changes alone.
fn write_all(folder: &Path, present: &[SourceFile], files: &[SourceFile]) -> Result<(), WriteError> {
    for file in files {
        let is_there = present.iter().any(|other| other == file);
        if !is_there {
            let path = folder.join(&file.path);
            write(&path, &file.text).map_err(|source| WriteError::Io { path, source })?;
        }
    }
    let wanted: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for file in present.iter().filter(|file| !wanted.contains(file.path.as_str())) {
        let path = folder.join(&file.path);
        fs::remove_file(&path).map_err(|source| WriteError::Io { path, source })?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(parent)?;
    // A name that begins with a dot is passed over by whoever reads the folder meanwhile.
    let beside = parent.join(format!(".{}.new", name.display()));
    let mut file = File::create(&beside)?;
    if let Ok(before) = fs::metadata(&path) {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    File::open(parent)?.sync_all()
}

fn check(file: &SourceFile) -> Result<(), WriteError> {
    let refuse = |why| Err(WriteError::Path { path: file.path.chars().take(200).collect(), why });
    let path = Path::new(&file.path);
    let mut parts = path.components();
    if !parts
        .all(|part| matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b".")))
    {
        return refuse("it has to lie below the policy folder, with no part that begins with a dot");
    }
    if !policy_dir::is_policy_path(path) {
        return refuse("policy reads .yaml, .yml and .zone files, and .inc files below zones/");
    }
    if file.text.len() as u64 > MAX_FILE_BYTES {
        return refuse("it is larger than 4 MiB: split it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders {
        root: tempfile::TempDir,
    }

    impl Folders {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            for name in ["policies/zones", "state"] {
                fs::create_dir_all(root.path().join(name)).expect("creates");
            }
            fs::write(root.path().join("policies/a.pem"), "a key").expect("writes");
            Self { root }
        }

        fn policies(&self) -> PathBuf {
            self.root.path().join("policies")
        }

        fn state(&self) -> PathBuf {
            self.root.path().join("state")
        }

        fn replace(&self, texts: &[(&str, &str)]) -> Result<(), WriteError> {
            replace(&self.policies(), &self.state(), &files(texts))
        }

        fn read(&self) -> Vec<SourceFile> {
            policy_dir::read_folder(&self.policies()).expect("readable")
        }
    }

    fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
        let file = |&(path, text): &(&str, &str)| SourceFile { path: path.to_owned(), text: text.to_owned() };
        texts.iter().map(file).collect()
    }

    const ONE: &[(&str, &str)] = &[("fleet.yaml", "a"), ("services/live.yaml", "s"), ("zones/x.zone", "z")];
    const TWO: &[(&str, &str)] = &[("fleet.yaml", "b"), ("zones/y.zone", "y")];

    #[test]
    fn a_folder_holds_what_it_is_given_and_keeps_what_is_no_policy() {
        let folders = Folders::new();
        for texts in [ONE, TWO, ONE] {
            folders.replace(texts).expect("room");
            assert_eq!(folders.read(), files(texts));
            assert_eq!(fs::read(folders.policies().join("a.pem")).expect("there"), b"a key");
            assert_eq!(finish(&folders.policies(), &folders.state()), Ok(false), "nothing is left to do");
        }
    }

    #[test]
    fn what_a_crash_left_half_done_is_finished_whichever_step_it_came_to() {
        for done in 0..3 {
            let folders = Folders::new();
            folders.replace(ONE).expect("room");
            let folder = fs::canonicalize(folders.policies()).expect("there");
            let told = TWO.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
            let payload = serde_json::to_vec(&Intent { folder, files: told }).expect("JSON");
            sealed::write(&folders.state().join(INTENT), &payload).expect("writes");
            for (path, text) in &TWO[..done.min(TWO.len())] {
                fs::write(folders.policies().join(path), text).expect("writes");
            }
            assert_eq!(finish(&folders.policies(), &folders.state()), Ok(true));
            assert_eq!(folders.read(), files(TWO));
            assert_eq!(finish(&folders.policies(), &folders.state()), Ok(false));
        }
    }

    #[test]
    fn half_an_intent_and_one_of_another_folder_do_nothing() {
        let folders = Folders::new();
        folders.replace(ONE).expect("room");
        let intent = folders.state().join(INTENT);
        fs::write(&intent, "rhumb-sealed 1 500 00\n{").expect("writes");
        assert_eq!(finish(&folders.policies(), &folders.state()), Ok(false));
        let other = Intent { folder: PathBuf::from("/elsewhere"), files: Vec::new() };
        sealed::write(&intent, &serde_json::to_vec(&other).expect("JSON")).expect("writes");
        assert_eq!(finish(&folders.policies(), &folders.state()), Ok(false));
        assert_eq!(folders.read(), files(ONE));
    }

    #[test]
    fn nothing_is_written_outside_the_folder_or_of_another_kind() {
        let folders = Folders::new();
        folders.replace(ONE).expect("room");
        for path in
            ["../x.yaml", "/x.yaml", "a/../x.yaml", ".x.yaml", "a/.b/x.yaml", "x.pem", "x.inc", "", "a/"]
        {
            let refused = folders.replace(&[("fleet.yaml", "changed"), (path, "x")]);
            assert!(matches!(refused, Err(WriteError::Path { .. })), "{path}: {refused:?}");
            assert_eq!(folders.read(), files(ONE), "{path}");
        }
    }

    #[test]
    fn a_link_is_followed_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folders = Folders::new();
        let target = folders.root.path().join("elsewhere.yaml");
        fs::write(&target, "old").expect("writes");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("chmod");
        std::os::unix::fs::symlink(&target, folders.policies().join("fleet.yaml")).expect("links");
        folders.replace(&[("fleet.yaml", "new")]).expect("room");
        assert_eq!(fs::read_to_string(&target).expect("there"), "new");
        assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(folders.policies().join("fleet.yaml").is_symlink());
    }
}
