//! The state folder as one file, and back.
//!
//! ```text
//! rhumb-backup 1\n
//! file <octets> <sha256, hex> <path>\n <octets>      each file, one after the other
//! end <files> <sha256 of all lines before, hex>\n
//! ```
//! Files of the folder are replaced whole or appended to, so that each can be read while rhumb runs; what is a
//! database is copied by whoever can, and handed over as another entry. A restore looks at all of a backup before it
//! touches a folder, and puts the folder that was there aside.

use super::sealed::{hex, hex_digest};
use super::state_dir::{StateDir, StateError};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

const MAGIC: &str = "rhumb-backup 1\n";
/// Of one file.
const MOST_OCTETS: u64 = 1 << 30;
const MOST_FILES: usize = 65_536;
const LONGEST_LINE: u64 = 4_096;
/// Of this process, or made anew: the lock, the sockets of takeovers, the compiled geo table, what is half done.
const LEFT_OUT: [&str; 4] = ["lock", "takeover", "geo-table", "applying"];

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot read or write {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no whole backup: {what}; take another", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("there is no state folder {}; name it with --state DIR", .0.display())]
    NoState(PathBuf),
    #[error(
        "the folder {} holds a state already; restore to another, or have it put aside with --replace",
        .0.display()
    )]
    Occupied(PathBuf),
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub files: usize,
    pub octets: u64,
}

/// A file of the backup: its path in the state folder, and where it is read.
pub type Entry = (String, PathBuf);

/// What of a state folder is to be kept, but for `databases`.
///
/// # Errors
/// It cannot be read.
pub fn entries(state: &Path, databases: &[&str]) -> Result<Vec<Entry>, BackupError> {
    if !state.is_dir() {
        return Err(BackupError::NoState(state.to_owned()));
    }
    let mut all = Vec::new();
    let mut folders = vec![(String::new(), state.to_owned())];
    while let Some((name, folder)) = folders.pop() {
        let failed = |source| BackupError::Io { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (kind, own) = (entry.file_type().map_err(failed)?, entry.file_name());
            let Some(own) = own.to_str() else { continue };
            let is_out = name.is_empty()
                && (LEFT_OUT.iter().any(|it| own.starts_with(it))
                    || databases.iter().any(|it| own.starts_with(it)));
            let path = format!("{name}{own}");
            match () {
                () if is_out || own.ends_with(".new") => {}
                () if kind.is_dir() => folders.push((format!("{path}/"), entry.path())),
                () if kind.is_file() => all.push((path, entry.path())),
                () => {}
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Writes these files to `to`, whole or not at all; one that is gone meanwhile is left out.
///
/// # Errors
/// Something cannot be read or written; there is no backup then.
pub fn write(entries: &[Entry], to: &Path) -> Result<Size, BackupError> {
    let unfinished = beside(to, "new");
    let failed = |source| BackupError::Io { path: unfinished.clone(), source };
    let mut options = OpenOptions::new();
    // It holds hashes of tokens, and who did what.
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let mut out = BufWriter::new(file.map_err(failed)?);
    out.write_all(MAGIC.as_bytes()).map_err(failed)?;
    let (mut size, mut lines) = (Size::default(), Sha256::new());
    for (name, path) in entries.iter().take(MOST_FILES) {
        let octets = match fs::read(path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(BackupError::Io { path: path.clone(), source }),
        };
        let line = format!("file {} {} {name}\n", octets.len(), hex_digest(&octets));
        lines.update(line.as_bytes());
        out.write_all(line.as_bytes()).and_then(|()| out.write_all(&octets)).map_err(failed)?;
        (size.files, size.octets) = (size.files + 1, size.octets + octets.len() as u64);
    }
    writeln!(out, "end {} {}", size.files, hex(&lines.finalize())).map_err(failed)?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed)?;
    fs::rename(&unfinished, to).map_err(failed)?;
    Ok(size)
}

/// Reads a backup to its end, handing on each file.
///
/// # Errors
/// It is not whole, or `take` fails.
pub fn read(
    from: &Path,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), BackupError>,
) -> Result<Size, BackupError> {
    let failed = |source| BackupError::Io { path: from.to_owned(), source };
    let damaged = |what: String| BackupError::Damaged { path: from.to_owned(), what };
    let mut input = BufReader::new(File::open(from).map_err(failed)?);
    let line = |input: &mut BufReader<File>| {
        let mut line = Vec::new();
        input.take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        String::from_utf8(line).map_err(|_| damaged("a line is no text".to_owned()))
    };
    if line(&mut input)? != MAGIC {
        return Err(damaged("it does not begin like one".to_owned()));
    }
    let (mut size, mut lines) = (Size::default(), Sha256::new());
    loop {
        let head = line(&mut input)?;
        let text = head.strip_suffix('\n').ok_or_else(|| damaged("it ends too early".to_owned()))?;
        let words: Vec<&str> = text.splitn(4, ' ').collect();
        match words.as_slice() {
            ["file", octets, digest, name] => {
                let length = octets.parse().ok().filter(|length| *length <= MOST_OCTETS);
                let length = length.ok_or_else(|| damaged(format!("the length of {name}")))?;
                let mut octets = Vec::new();
                (&mut input).take(length).read_to_end(&mut octets).map_err(failed)?;
                if octets.len() as u64 != length || hex_digest(&octets) != *digest || !is_inside(name) {
                    return Err(damaged(format!("{name} is not as it was written")));
                }
                lines.update(head.as_bytes());
                (size.files, size.octets) = (size.files + 1, size.octets + length);
                take(name, &octets)?;
            }
            ["end", files, digest] => {
                let is_whole = files.parse() == Ok(size.files) && hex(&lines.finalize()) == *digest;
                return if is_whole { Ok(size) } else { Err(damaged("its list is not whole".to_owned())) };
            }
            _ => return Err(damaged("a line says nothing".to_owned())),
        }
    }
}

/// Makes `state` what the backup holds, and tells where a folder that was there is now.
///
/// # Errors
/// A rhumb uses the folder, it holds something and is not to be replaced, or the backup is not whole: nothing is changed.
pub fn restore(from: &Path, state: &Path, replace: bool) -> Result<(Size, Option<PathBuf>), BackupError> {
    let size = read(from, |_, _| Ok(()))?;
    // Held to the end, so that no rhumb starts in between.
    let held = state.exists().then(|| StateDir::open(state)).transpose()?;
    let is_empty = held.is_none() || entries(state, &[])?.is_empty();
    if !is_empty && !replace {
        return Err(BackupError::Occupied(state.to_owned()));
    }
    let coming = beside(state, "restoring");
    let failed = |source| BackupError::Io { path: coming.clone(), source };
    if coming.exists() {
        fs::remove_dir_all(&coming).map_err(failed)?;
    }
    fs::create_dir_all(&coming).map_err(failed)?;
    read(from, |name, octets| {
        let path = coming.join(name);
        let failed = |source| BackupError::Io { path: path.clone(), source };
        fs::create_dir_all(path.parent().unwrap_or(&coming)).map_err(failed)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(octets).and_then(|()| file.sync_all()).map_err(failed)
    })?;
    let mut aside = None;
    if state.exists() {
        let free = (1..).map(|number| beside(state, &format!("replaced-{number}"))).find(|it| !it.exists());
        let path = free.unwrap_or_else(|| beside(state, "replaced"));
        fs::rename(state, &path).map_err(|source| BackupError::Io { path: state.to_owned(), source })?;
        match is_empty {
            true => fs::remove_dir_all(&path).map_err(failed)?,
            false => aside = Some(path),
        }
    }
    fs::rename(&coming, state).map_err(|source| BackupError::Io { path: state.to_owned(), source })?;
    Ok((size, aside))
}

/// Whether a path stays in the folder it is joined to.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// `NAME.ending`, in the same folder.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().map_or_else(|| "state".into(), |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!("{name}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(root: &Path) -> PathBuf {
        let state = root.join("state");
        fs::create_dir_all(state.join("journal")).expect("creates");
        for (name, text) in [
            ("table", "one"),
            ("journal/1.seg", "two"),
            ("lock", ""),
            ("geo-table", "made anew"),
            ("table.new", "half"),
            ("history.db-wal", "its own"),
        ] {
            fs::write(state.join(name), text).expect("writes");
        }
        state
    }

    #[test]
    fn a_state_comes_back_as_it_was_and_the_one_there_is_put_aside() {
        let root = tempfile::tempdir().expect("a folder");
        let (state, file) = (state(root.path()), root.path().join("backup"));
        let kept = entries(&state, &["history.db"]).expect("readable");
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["journal/1.seg", "table"]);
        assert_eq!(write(&kept, &file).expect("writes"), Size { files: 2, octets: 6 });
        fs::write(state.join("table"), "later").expect("writes");
        let refused = restore(&file, &state, false).expect_err("it holds something");
        assert!(refused.to_string().contains("--replace"), "{refused}");
        let running = StateDir::open(&state).expect("free").0;
        let refused = restore(&file, &state, true).expect_err("in use");
        assert!(refused.to_string().contains("in use by another rhumb"), "{refused}");
        drop(running);
        let (size, aside) = restore(&file, &state, true).expect("free now");
        assert_eq!(
            (size.files, fs::read_to_string(state.join("table")).expect("there")),
            (2, "one".to_owned())
        );
        let aside = aside.expect("there was one");
        assert_eq!(fs::read_to_string(aside.join("table")).expect("there"), "later");
        let fresh = root.path().join("fresh");
        assert_eq!(restore(&file, &fresh, false).expect("nothing is there").1, None);
        assert_eq!(fs::read_to_string(fresh.join("journal/1.seg")).expect("there"), "two");
    }

    #[test]
    fn a_backup_with_a_byte_changed_cut_or_leading_out_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let (state, file) = (state(root.path()), root.path().join("backup"));
        write(&entries(&state, &[]).expect("readable"), &file).expect("writes");
        let whole = fs::read(&file).expect("readable");
        let fresh = root.path().join("fresh");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&file, &changed).expect("writes");
            assert!(read(&file, |_, _| Ok(())).is_err(), "byte {at}");
            fs::write(&file, &whole[..at]).expect("writes");
            assert!(read(&file, |_, _| Ok(())).is_err(), "cut at {at}");
        }
        let line = format!("file 0 {} ../out\n", hex_digest(b""));
        let end = format!("end 1 {}\n", hex_digest(line.as_bytes()));
        fs::write(&file, format!("{MAGIC}{line}{end}")).expect("writes");
        assert!(restore(&file, &fresh, false).is_err() && !fresh.exists());
    }
}
