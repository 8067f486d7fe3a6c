//! Reading small files of secrets that only their owner may read.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a file of secrets is not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("cannot read {}: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} can be read by others than its owner; `chmod 600` it", .0.display())]
    Open(PathBuf),
    #[error("{} has more than {most} octets", .file.display())]
    Long { file: PathBuf, most: u64 },
}

/// The text of a file of at most `most` octets. What is looked at is the opened file, not its name.
pub fn read(file: &Path, most: u64) -> Result<Zeroizing<String>, SecretFileError> {
    let failed = |source| SecretFileError::Read { file: file.to_owned(), source };
    let opened = std::fs::File::open(file).map_err(failed)?;
    if opened.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SecretFileError::Open(file.to_owned()));
    }
    let mut text = Zeroizing::new(String::new());
    opened.take(most + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > most {
        return Err(SecretFileError::Long { file: file.to_owned(), most });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_small_files_of_their_owner_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("secret");
        let set = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("sets");
        assert!(matches!(read(&file, 4), Err(SecretFileError::Read { .. })));
        std::fs::write(&file, "1234").expect("writes");
        for mode in [0o640, 0o604, 0o610] {
            set(mode);
            assert!(matches!(read(&file, 4), Err(SecretFileError::Open(_))), "{mode:o}");
        }
        set(0o400);
        assert_eq!(read(&file, 4).expect("reads").as_str(), "1234");
        assert!(matches!(read(&file, 3), Err(SecretFileError::Long { .. })));
        assert!(matches!(
            read(folder.path(), 3),
            Err(SecretFileError::Read { .. } | SecretFileError::Open(_))
        ));
    }
}
