//! `state/journal/`: records of what was decided, in files that are only ever appended to.
//!
//! ```text
//! journal/
//!   00000000000000000042.seg   16 octets of magic, then frames; named by its first generation
//!   00000000000000000107.seg   begun by the next process, or when the one before was full
//!
//! frame    kind, whether it leans on the base, lengths, SHA-256 of the content, the content (zstd)
//! base     the first frame of its kind in the segment: every later one is compressed against it
//! record   the last frame of a generation: its head, and which content it is made of
//! ```
//! Content that does not change is there once in a segment, and what changes a little takes little room.
//! A segment needs no other, so the oldest is removed whole when there is too much. What a crash cut off is
//! passed over: a record counts when its last frame is whole. A process never appends to the segment of
//! another.
//!
//! Not here: what the content means (`crate::journal`).

use super::sealed::{hex, hex_digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"rhumb journal 1\n";
const HEADER: usize = 1 + 1 + 4 + 4 + 32;
/// Kind of the frame that ends a generation.
const RECORD: u8 = 0;
/// Content of one frame at most, before it is compressed.
const LARGEST: usize = 256 << 20;
const LEVEL: i32 = 3;
/// A delta finds its base within so much (2^25 octets); one that is larger is only worse compressed.
const WINDOW_LOG: u32 = 25;

/// What is kept at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A segment is closed when it has so many octets, or so many records.
    pub segment_bytes: u64,
    pub segment_records: usize,
    /// Of all segments together, but for the newest.
    pub bytes: u64,
    pub segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20, segment_records: 128, bytes: 64 << 20, segments: 64 }
    }
}

/// One kind of content of a record, by a number that its owner chooses: 1 to 15.
pub type Part = (u8, Vec<u8>);

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub generation: u64,
    /// JSON.
    pub head: Vec<u8>,
    pub parts: Vec<Part>,
}

/// Content of a record frame.
#[derive(Serialize, Deserialize)]
struct Entry {
    generation: u64,
    head: Box<serde_json::value::RawValue>,
    /// Digests of the content, by kind.
    parts: BTreeMap<u8, String>,
}

/// The end that is written to.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    limits: Limits,
    open: Option<(File, Segment)>,
}

impl Journal {
    pub fn new(folder: PathBuf, limits: Limits) -> Self {
        Self { folder, limits, open: None }
    }

    /// Adds a generation, and removes what is too much.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let is_full = |(_, segment): &(File, Segment)| {
            segment.written >= self.limits.segment_bytes || segment.records >= self.limits.segment_records
        };
        // After a failed write the file may end in half a frame.
        let (mut file, mut segment) = match self.open.take().filter(|open| !is_full(open)) {
            Some(open) => open,
            None => self.begin(record.generation)?,
        };
        segment.add(record)?;
        let fresh = std::mem::take(&mut segment.fresh);
        file.write_all(&fresh)?;
        file.sync_data()?;
        segment.written += fresh.len() as u64;
        self.open = Some((file, segment));
        Ok(())
    }

    fn begin(&self, generation: u64) -> io::Result<(File, Segment)> {
        fs::create_dir_all(&self.folder)?;
        let others = segments(&self.folder)?;
        let sized = others.into_iter().map(|path| Ok((fs::metadata(&path)?.len(), path)));
        let sized: Vec<(u64, PathBuf)> = sized.collect::<io::Result<_>>()?;
        let mut kept = 0;
        for (at, (bytes, path)) in sized.iter().rev().enumerate() {
            kept += bytes;
            if kept > self.limits.bytes || at + 1 >= self.limits.segments {
                fs::remove_file(path)?;
            }
        }
        let mut file = File::create(self.folder.join(format!("{generation:020}.seg")))?;
        file.write_all(MAGIC)?;
        File::open(&self.folder)?.sync_all()?;
        Ok((file, Segment::default()))
    }
}

/// A segment in the making: what is known of the file, so that content is there once.
#[derive(Debug, Default)]
struct Segment {
    /// Frames that are not in the file yet.
    fresh: Vec<u8>,
    /// Octets of those that are.
    written: u64,
    records: usize,
    known: BTreeSet<(u8, String)>,
    /// The first content of each kind.
    bases: BTreeMap<u8, Vec<u8>>,
}

impl Segment {
    fn add(&mut self, record: &Record) -> io::Result<()> {
        let mut parts = BTreeMap::new();
        for (kind, content) in &record.parts {
            let digest = hex_digest(content);
            if self.known.insert((*kind, digest.clone())) {
                self.frame(*kind, content)?;
            }
            parts.insert(*kind, digest);
        }
        let head = std::str::from_utf8(&record.head).map_err(io::Error::other)?.to_owned();
        let head = serde_json::value::RawValue::from_string(head)?;
        let entry = Entry { generation: record.generation, head, parts };
        self.frame(RECORD, &serde_json::to_vec(&entry)?)?;
        self.records += 1;
        Ok(())
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let too_large = || io::Error::other(format!("{} octets are too many for the journal", content.len()));
        let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= LARGEST);
        let length = length.ok_or_else(too_large)?;
        let base = self.bases.get(&kind);
        let mut compressor = match base {
            Some(base) => zstd::bulk::Compressor::with_dictionary(LEVEL, base)?,
            None => zstd::bulk::Compressor::new(LEVEL)?,
        };
        compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(WINDOW_LOG))?;
        let packed = compressor.compress(content)?;
        self.fresh.extend([kind, u8::from(base.is_some())]);
        self.fresh.extend(u32::try_from(packed.len()).map_err(|_| too_large())?.to_le_bytes());
        self.fresh.extend(length.to_le_bytes());
        self.fresh.extend(Sha256::digest(content));
        self.fresh.extend(packed);
        self.bases.entry(kind).or_insert_with(|| content.to_vec());
        Ok(())
    }
}

/// A frame as it lies in a segment.
#[derive(Clone, Copy)]
struct Frame<'a> {
    kind: u8,
    leans: bool,
    length: usize,
    digest: &'a [u8],
    packed: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `rest` begins with, and what follows it; `None`: no whole one.
    fn take(rest: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = rest.split_at_checked(HEADER)?;
        let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?) as usize);
        let (packed, length) = (number(2)?, number(6)?);
        let (packed, rest) = rest.split_at_checked(packed)?;
        let frame = Self { kind: header[0], leans: header[1] == 1, length, digest: &header[10..], packed };
        (length <= LARGEST).then_some((frame, rest))
    }

    fn content(&self, base: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut decompressor = match base.filter(|_| self.leans) {
            Some(base) => zstd::bulk::Decompressor::with_dictionary(base).ok()?,
            None => zstd::bulk::Decompressor::new().ok()?,
        };
        let content = decompressor.decompress(self.packed, self.length).ok()?;
        (Sha256::digest(&content).as_slice() == self.digest).then_some(content)
    }
}

/// A segment that is read.
struct Opened<'a> {
    frames: Vec<Frame<'a>>,
    /// The first content of each kind.
    bases: BTreeMap<u8, Vec<u8>>,
}

impl<'a> Opened<'a> {
    /// Up to the first frame that is not whole.
    fn of(bytes: &'a [u8]) -> Self {
        let mut opened = Self { frames: Vec::new(), bases: BTreeMap::new() };
        let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
        while let Some((frame, more)) = Frame::take(rest) {
            if let std::collections::btree_map::Entry::Vacant(vacant) = opened.bases.entry(frame.kind) {
                let Some(base) = frame.content(None) else { break };
                vacant.insert(base);
            }
            opened.frames.push(frame);
            rest = more;
        }
        opened
    }

    fn content(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        frame.content(self.bases.get(&frame.kind).map(Vec::as_slice))
    }

    /// Records that can be read, oldest first.
    fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> {
        let records = self.frames.iter().filter(|frame| frame.kind == RECORD);
        records.filter_map(|frame| serde_json::from_slice(&self.content(frame)?).ok())
    }

    fn complete(&self, entry: Entry) -> Option<Record> {
        let part = |(kind, digest): (u8, String)| {
            let is_it = |frame: &&Frame<'_>| frame.kind == kind && hex(frame.digest) == digest;
            Some((kind, self.content(self.frames.iter().find(is_it)?)?))
        };
        let parts = entry.parts.into_iter().map(part).collect::<Option<_>>()?;
        Some(Record { generation: entry.generation, head: entry.head.get().into(), parts })
    }
}

/// Which generations are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub generation: u64,
    /// JSON.
    pub head: Vec<u8>,
}

/// The newest `most` generations in the folder, newest first, and the oldest of all.
pub fn list(folder: &Path, most: usize) -> io::Result<(Vec<Kept>, Option<u64>)> {
    let segments = segments(folder)?;
    let mut found = Vec::new();
    for path in segments.iter().rev() {
        if found.len() >= most {
            break;
        }
        let bytes = read(path)?;
        let kept = |entry: Entry| Kept { generation: entry.generation, head: entry.head.get().into() };
        found.extend(Opened::of(&bytes).entries().rev().take(most - found.len()).map(kept));
    }
    for path in &segments {
        let bytes = read(path)?;
        if let Some(entry) = Opened::of(&bytes).entries().next() {
            return Ok((found, Some(entry.generation)));
        }
    }
    Ok((found, None))
}

/// One generation with all it is made of.
pub fn find(folder: &Path, generation: u64) -> io::Result<Option<Record>> {
    // It lies in the last segment that begins no later.
    let named = |path: &&PathBuf| first_of(path).is_some_and(|first| first <= generation);
    let Some(path) = segments(folder)?.iter().rfind(named).cloned() else { return Ok(None) };
    let bytes = read(&path)?;
    let opened = Opened::of(&bytes);
    let entry = opened.entries().find(|entry| entry.generation == generation);
    Ok(entry.and_then(|entry| opened.complete(entry)))
}

/// A record as a file that needs nothing else: a segment of its own.
pub fn export(record: &Record) -> io::Result<Vec<u8>> {
    let mut segment = Segment { fresh: MAGIC.to_vec(), ..Segment::default() };
    segment.add(record)?;
    Ok(segment.fresh)
}

/// The newest record of such a file.
pub fn import(bytes: &[u8]) -> Option<Record> {
    let opened = Opened::of(bytes);
    let entry = opened.entries().next_back()?;
    opened.complete(entry)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        // Removed since the folder was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn first_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// By their first generation; none where there is no folder.
fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "seg") && first_of(&path).is_some() {
            found.push(path);
        }
    }
    found.sort_by_key(|path| first_of(path));
    Ok(found)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
