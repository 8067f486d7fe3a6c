//! A policy folder from the disk: the text files that policy is made of, within bounds.
//!
//! Only `.yaml`, `.yml` and `.zone` files are read, and below `zones/` the `.inc` files that zones
//! include: keys, certificates and databases may lie beside them. Symbolic links to files are followed; a folder behind a link is entered only once, so that
//! links cannot lead in circles. Hidden files and folders are passed over. What the texts mean is
//! the business of [`crate::policy`]'s callers.

use crate::base::diagnostic::SourceFile;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of one file.
pub const MAX_FILE_BYTES: u64 = 4 << 20;
/// Files of one folder.
pub const MAX_FILES: usize = 4_096;
/// Entries looked at, those that are not read included.
const MAX_ENTRIES: usize = 65_536;
/// Folders within folders.
const MAX_DEPTH: usize = 8;

/// Why a policy folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyDirError {
    #[error("there is no policy folder `{}`: name one, or run where `policies/` is", .0.display())]
    NoFolder(PathBuf),
    #[error("`{}` is not a folder: name the folder that holds the policy files", .0.display())]
    NotAFolder(PathBuf),
    #[error("cannot read `{}`", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("`{}` is larger than 4 MiB: split it", .0.display())]
    TooLarge(PathBuf),
    #[error("more than 4,096 policy files under `{}`", .0.display())]
    TooManyFiles(PathBuf),
    #[error("folders are nested too deeply at `{}`", .0.display())]
    TooDeep(PathBuf),
    #[error("`{}` is not UTF-8 (first bad byte at offset {offset}): save it as UTF-8", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error("the name of `{}` is not UTF-8: rename it", .0.display())]
    NameNotUtf8(PathBuf),
}

/// All policy files under `folder`, sorted by path.
pub fn read_folder(folder: &Path) -> Result<Vec<SourceFile>, PolicyDirError> {
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(PolicyDirError::NoFolder(folder.to_owned()));
        }
        Err(source) => return Err(PolicyDirError::Io { path: folder.to_owned(), source }),
        Ok(metadata) if !metadata.is_dir() => return Err(PolicyDirError::NotAFolder(folder.to_owned())),
        Ok(_) => {}
    }
    let mut walk = Walk { files: Vec::new(), entries: 0, entered: BTreeSet::new() };
    walk.folder(folder, "", 0)?;
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.files)
}

struct Walk {
    files: Vec<SourceFile>,
    entries: usize,
    /// Real paths of folders, so that a link back is not followed.
    entered: BTreeSet<PathBuf>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, name: &str, depth: usize) -> Result<(), PolicyDirError> {
        let io = |source| PolicyDirError::Io { path: folder.to_owned(), source };
        if depth > MAX_DEPTH {
            return Err(PolicyDirError::TooDeep(folder.to_owned()));
        }
        if !self.entered.insert(folder.canonicalize().map_err(io)?) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(PolicyDirError::TooManyFiles(folder.to_owned()));
            }
            self.entry(&path, name, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, parent: &str, depth: usize) -> Result<(), PolicyDirError> {
        let file_name = path.file_name().unwrap_or_default();
        if file_name.as_encoded_bytes().starts_with(b".") {
            return Ok(());
        }
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            // Removed while we looked, or a link that leads nowhere: not a policy file either way.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(PolicyDirError::Io { path: path.to_owned(), source }),
        };
        let is_policy = metadata.is_file() && is_policy(path, parent);
        if !metadata.is_dir() && !is_policy {
            return Ok(());
        }
        let Some(file_name) = file_name.to_str() else {
            return Err(PolicyDirError::NameNotUtf8(path.to_owned()));
        };
        let name = if parent.is_empty() { file_name.to_owned() } else { format!("{parent}/{file_name}") };
        if metadata.is_dir() {
            return self.folder(path, &name, depth + 1);
        }
        if self.files.len() >= MAX_FILES {
            return Err(PolicyDirError::TooManyFiles(path.to_owned()));
        }
        self.files.push(SourceFile { path: name, text: read_text(path)? });
        Ok(())
    }
}

fn is_policy(path: &Path, folder: &str) -> bool {
    let is_among_zones = folder == "zones" || folder.starts_with("zones/");
    path.extension().is_some_and(|ending| match ending.to_str() {
        Some("yaml" | "yml" | "zone") => true,
        Some("inc") => is_among_zones,
        _ => false,
    })
}

/// Whether a file of this path below a policy folder is read.
pub(super) fn is_policy_path(path: &Path) -> bool {
    path.file_name().is_some() && is_policy(path, path.parent().and_then(Path::to_str).unwrap_or_default())
}

/// One file, bounded however long it grows while it is read.
pub fn read_text(path: &Path) -> Result<String, PolicyDirError> {
    let io = |source| PolicyDirError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(PolicyDirError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| PolicyDirError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn policy_files_are_read_in_order_and_nothing_else() {
        let dir = folder();
        fs::create_dir(dir.path().join("services")).expect("mkdir");
        fs::create_dir_all(dir.path().join("zones/deep")).expect("mkdir");
        for (name, text) in [
            ("fleet.yaml", "b"),
            ("clients.yml", "a"),
            ("services/x.yaml", "c"),
            ("services/x.inc", "-"),
            ("zones/a.inc", "d"),
            ("zones/deep/b.inc", "e"),
            ("zones/a.key", "-"),
            ("x.inc", "-"),
            ("README.md", "-"),
            (".hidden.yaml", "-"),
        ] {
            fs::write(dir.path().join(name), text).expect("write");
        }
        fs::write(dir.path().join("geo.mmdb"), [0xff, 0xfe]).expect("write");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("services/loop")).expect("link");
        std::os::unix::fs::symlink("nowhere.yaml", dir.path().join("dangling.yaml")).expect("link");
        let files = read_folder(dir.path()).expect("readable");
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["clients.yml", "fleet.yaml", "services/x.yaml", "zones/a.inc", "zones/deep/b.inc"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = folder();
        let missing = read_folder(&dir.path().join("nowhere")).expect_err("no folder");
        assert!(matches!(missing, PolicyDirError::NoFolder(_)));
        let path = dir.path().join("fleet.yaml");
        fs::write(&path, [b'a', 0xff]).expect("write");
        assert!(matches!(read_folder(&path), Err(PolicyDirError::NotAFolder(_))));
        let bad = read_folder(dir.path()).expect_err("not UTF-8");
        assert!(matches!(&bad, PolicyDirError::NotUtf8 { offset: 1, .. }), "{bad}");
        fs::File::create(&path).and_then(|file| file.set_len(MAX_FILE_BYTES + 1)).expect("a large file");
        assert!(matches!(read_folder(dir.path()), Err(PolicyDirError::TooLarge(_))));
    }
}
