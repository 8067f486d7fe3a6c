//! Sealed files: written whole or not at all, and refused when anything is missing from them.
//!
//! ```text
//! rhumb-sealed 1 <payload bytes> <sha256 of the payload, hex>\n
//! <payload>
//! ```
//!
//! A write goes to a temporary file, is synced, and replaces the old file by rename; the old one is
//! kept beside it as `NAME.previous`, so that one damaged file loses one step and not everything.

use crate::base::error::chain;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &str = "rhumb-sealed 1";
/// Larger than any state this program writes; a longer header claim is refused unread.
const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// Why a sealed file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is truncated: {found} of {expected} bytes are there", path.display())]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
}

/// Writes `payload` to `path`, keeping the file that was there as `NAME.previous`.
pub fn write(path: &Path, payload: &[u8]) -> io::Result<()> {
    let temporary = sibling(path, "new");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{MAGIC} {} {}", payload.len(), hex_digest(payload))?;
    file.write_all(payload)?;
    file.sync_all()?;
    drop(file);
    match fs::rename(path, sibling(path, "previous")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&temporary, path)?;
    if let Some(parent) = path.parent() {
        // Without this the rename itself may be lost in a power cut.
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Reads and checks one sealed file.
pub fn read(path: &Path) -> Result<Vec<u8>, SealError> {
    let bytes = fs::read(path).map_err(|source| match source.kind() {
        // A folder that is none holds nothing either; that it cannot be written is told by who writes.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SealError::Missing(path.to_owned()),
        _ => SealError::Io { path: path.to_owned(), source },
    })?;
    let damaged = |what| SealError::Damaged { path: path.to_owned(), what };
    let header_len =
        bytes.iter().take(256).position(|&byte| byte == b'\n').ok_or_else(|| damaged("no header line"))?;
    let header = std::str::from_utf8(&bytes[..header_len]).map_err(|_| damaged("unreadable header"))?;
    let claim = header.strip_prefix(MAGIC).ok_or_else(|| damaged("not a sealed file of this version"))?;
    let (length, digest) = claim.trim().split_once(' ').ok_or_else(|| damaged("short header"))?;
    let expected: u64 = length.parse().map_err(|_| damaged("bad length in header"))?;
    let payload = &bytes[header_len + 1..];
    let found = payload.len() as u64;
    if expected > MAX_PAYLOAD_BYTES || found > expected {
        return Err(damaged("length does not match the header"));
    }
    if found < expected {
        return Err(SealError::Truncated { path: path.to_owned(), expected, found });
    }
    if hex_digest(payload) != digest {
        return Err(damaged("checksum does not match"));
    }
    Ok(payload.to_vec())
}

/// What was found, and what was passed over to find it.
#[derive(Debug)]
pub struct Found<T> {
    pub value: T,
    /// Set when the newest file was unusable and the previous one stands in.
    pub passed_over: Option<String>,
}

/// Reads the newest version of `path` that is sound and that `accept` takes: the file itself, else
/// the one before it. `Ok(None)` when there is neither.
///
/// A crash between the two renames of [`write()`] leaves the previous version alone; that is no
/// damage. The error is that of the newest file that exists, as one sentence.
pub fn read_newest<T>(
    path: &Path,
    accept: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Option<Found<T>>, String> {
    let mut passed_over = None;
    for version in [path.to_owned(), sibling(path, "previous")] {
        let fault = match read(&version) {
            Ok(payload) => match accept(&payload) {
                Ok(value) => return Ok(Some(Found { value, passed_over })),
                Err(what) => format!("{} is of no use: {what}", version.display()),
            },
            Err(SealError::Missing(_)) => continue,
            Err(error) => chain(&error),
        };
        passed_over.get_or_insert(fault);
    }
    passed_over.map_or(Ok(None), Err)
}

/// Lower-case hexadecimal SHA-256.
pub fn hex_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table");
        write(&path, b"payload of some length").expect("writes");
        let whole = fs::read(&path).expect("reads");
        for keep in 0..whole.len() {
            fs::write(&path, &whole[..keep]).expect("writes");
            assert!(read(&path).is_err(), "kept {keep} of {} bytes", whole.len());
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&path, &bent).expect("writes");
            assert!(read(&path).is_err(), "bit flipped at {at}");
        }
        fs::write(&path, &whole).expect("writes");
        assert_eq!(read(&path).expect("sound again"), b"payload of some length");
    }

    #[test]
    fn the_previous_version_stands_in_for_an_unusable_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table");
        let any = |payload: &[u8]| Ok(payload.to_vec());
        assert!(read_newest(&path, any).expect("no damage").is_none());
        write(&path, b"first").expect("writes");
        write(&path, b"second").expect("writes");
        let not_second = |payload: &[u8]| match payload {
            b"second" => Err("it is the second".to_owned()),
            other => Ok(other.to_vec()),
        };
        let found = read_newest(&path, not_second).expect("readable").expect("previous");
        assert_eq!(found.value, b"first");
        assert!(found.passed_over.is_some_and(|why| why.ends_with("is of no use: it is the second")));
        fs::write(&path, "rhumb-sealed 1 6 00").expect("writes");
        let found = read_newest(&path, any).expect("readable").expect("previous");
        assert_eq!(found.value, b"first");
        assert!(found.passed_over.is_some());
        fs::remove_file(&path).expect("removes");
        let found = read_newest(&path, any).expect("readable").expect("previous");
        assert!(found.passed_over.is_none(), "as a crash between two renames leaves it");
        fs::write(sibling(&path, "previous"), "rhumb-sealed 1 6 00").expect("writes");
        assert!(read_newest(&path, any).expect_err("damaged").contains("damaged"));
    }
}
