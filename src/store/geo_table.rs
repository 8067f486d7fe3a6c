//! `state/geo-table`: the geo table last compiled, so that a start need not compile it again.
//!
//! ```text
//!  write:  geo-table.new ─ sync ─▶ rename to geo-table ─▶ sync the folder
//! ```
//!
//! The file is a cache: it may be missing, old or damaged, and is then passed over. So there is no
//! version before it. Whether its bytes are of use is `geo::frozen`'s to judge.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Where it lies.
#[derive(Clone, Debug)]
pub struct GeoTableFile {
    folder: PathBuf,
}

impl GeoTableFile {
    /// In the state folder `folder`, which need not be there yet.
    pub fn inside(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("geo-table")
    }

    /// What it holds; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or has more than `most` bytes.
    pub fn read(&self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let expected = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(expected.min(most) + 1);
        // What grows while it is read is not read on for ever.
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {most} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    /// Replaces it, whole or not at all. Only for one writer at a time, who holds the folder's lock.
    ///
    /// # Errors
    /// The folder cannot be written; the file before stays.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join("geo-table.new");
        let mut file = File::create(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        drop(file);
        if let Err(error) = written {
            // A full disk is given back what it gave.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        fs::rename(&temporary, self.path())?;
        // Without this the rename itself may be lost in a power cut.
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_replaced_whole_and_read_up_to_a_bound() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = GeoTableFile::inside(folder.path());
        assert_eq!(file.read(9).expect("no error"), None);
        file.write(b"one").expect("writes");
        file.write(b"another").expect("writes");
        assert_eq!(file.read(7).expect("reads").as_deref(), Some(&b"another"[..]));
        assert_eq!(file.read(6).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1, "nothing is left over");
        let nowhere = GeoTableFile::inside(&folder.path().join("missing"));
        assert!(nowhere.write(b"one").is_err());
        assert_eq!(nowhere.read(9).expect("no error"), None);
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_file_before_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = GeoTableFile::inside(folder.path());
        file.write(b"whole").expect("writes");
        // As kill -9 leaves it: the temporary file has a part of its bytes.
        fs::write(folder.path().join("geo-table.new"), b"ha").expect("writes");
        assert_eq!(file.read(9).expect("reads").as_deref(), Some(&b"whole"[..]));
        file.write(b"next").expect("writes over it");
        assert_eq!(file.read(9).expect("reads").as_deref(), Some(&b"next"[..]));
    }
}
