//! Reads a log on from where it was read to, for whoever hands its lines on.

use super::entry::Entry;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A place in a log.
#[derive(Debug)]
pub struct Tail {
    file: PathBuf,
    /// Which file it was: one in its place is read from its beginning.
    inode: u64,
    /// Octets read.
    at: u64,
    /// The newest line that was handed out, or that need not be.
    seq: u64,
}

/// Lines of a log, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// As they stand in the file, without their ends.
    pub lines: Vec<String>,
    /// Number of the last; of the one before them if there are none.
    pub seq: u64,
}

impl Tail {
    /// After line `seq` of `file`; 0: from the beginning.
    pub fn new(file: &Path, seq: u64) -> Self {
        Self { file: file.to_owned(), inode: 0, at: 0, seq }
    }

    /// The next `most` lines at most. Lines that are no entries are passed over: `verify` tells of them.
    ///
    /// # Errors
    /// The file cannot be read; where there is none, there are no lines.
    pub fn next(&mut self, most: usize) -> io::Result<Piece> {
        let mut piece = Piece { lines: Vec::new(), seq: self.seq };
        let file = match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(piece),
            opened => opened?,
        };
        let found = file.metadata()?;
        if found.ino() != self.inode || found.len() < self.at {
            (self.inode, self.at) = (found.ino(), 0);
        }
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(self.at))?;
        while piece.lines.len() < most {
            let mut line = Vec::new();
            let length = reader.read_until(b'\n', &mut line)?;
            // Half a line is being written.
            let Some(whole) = line.strip_suffix(b"\n") else { break };
            self.at += length as u64;
            let entry =
                std::str::from_utf8(whole).ok().and_then(|text| Some((text, Entry::read(text).ok()?)));
            if let Some((text, (entry, _))) = entry.filter(|(_, (entry, _))| entry.seq > piece.seq) {
                piece.seq = entry.seq;
                piece.lines.push(text.to_owned());
            }
        }
        self.seq = piece.seq;
        Ok(piece)
    }
}
