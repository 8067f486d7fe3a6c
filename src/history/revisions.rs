//! Revisions of the policy: recorded, listed, taken out again.

use super::db::{History, HistoryError};
use crate::base::clock::WallTime;
use crate::base::diagnostic::SourceFile;
use crate::model::ids::{Generation, Revision};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Applied revisions that are kept; older ones go, with texts that none refers to any more.
const MOST: i64 = 10_000;

/// How a revision came to be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Found in the folder at a start.
    Start,
    /// Files edited in place.
    Edit,
    /// `rhumb apply`.
    Apply,
    /// `rhumb rollback`.
    Rollback,
    /// `rhumb apply --canary`: for a share of the clients.
    Canary,
    /// A canary that went to all.
    Promote,
}

impl How {
    const ALL: [Self; 6] =
        [Self::Start, Self::Edit, Self::Apply, Self::Rollback, Self::Canary, Self::Promote];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Edit => "edit",
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Canary => "canary",
            Self::Promote => "promote",
        }
    }
}

/// A revision that came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApplied {
    pub at: WallTime,
    pub revision: Revision,
    pub how: How,
    pub who: String,
    pub why: String,
    /// The first table that it made.
    pub generation: Generation,
    /// Of all clients' demand, parts per million; `None`: not known.
    pub moved_ppm: Option<u32>,
}

/// The same as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Counts up, never used again.
    pub seq: i64,
    pub at: WallTime,
    pub revision: Revision,
    /// In force before.
    pub parent: Option<Revision>,
    pub how: How,
    pub who: String,
    pub why: String,
    pub generation: Generation,
    pub moved_ppm: Option<u32>,
    /// Against the one before.
    pub changed: Vec<FileChange>,
}

/// A file that differs between two revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "path", rename_all = "snake_case")]
pub enum FileChange {
    Added(String),
    Edited(String),
    Removed(String),
}

/// A revision with its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub revision: Revision,
    /// Path below the policy folder, and text.
    pub files: Vec<(String, String)>,
}

impl Kept {
    pub fn sources(self) -> Vec<SourceFile> {
        self.files.into_iter().map(|(path, text)| SourceFile { path, text }).collect()
    }
}

impl History {
    /// Keeps a revision and that it came into force, unless it is in force already; for all, if it was a canary's.
    ///
    /// # Errors
    /// The disk does not take it: nothing of it is kept.
    pub fn record(&self, applied: &NewApplied, files: &[SourceFile]) -> Result<(), HistoryError> {
        let mut connection = self.connection.blocking_lock();
        let done = (|| {
            let transaction = connection.transaction()?;
            let parent: Option<String> = transaction
                .query_row("SELECT revision FROM applied ORDER BY seq DESC LIMIT 1", [], |row| row.get(0))
                .optional()?;
            if parent.as_deref() == Some(applied.revision.0.as_str()) && applied.how != How::Promote {
                return Ok(());
            }
            keep_files(&transaction, &applied.revision, files)?;
            transaction.execute(
                "INSERT INTO applied (at_ms, revision, parent, how, who, why, generation, moved_ppm)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    whole(applied.at.0),
                    applied.revision.0,
                    parent,
                    applied.how.word(),
                    applied.who,
                    applied.why,
                    whole(applied.generation.0),
                    applied.moved_ppm,
                ],
            )?;
            forget_old(&transaction)?;
            transaction.commit()
        })();
        done.map_err(|source| self.failed(source))
    }

    /// The newest `most`, the newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, most: usize) -> Result<Vec<Applied>, HistoryError> {
        let connection = self.connection.blocking_lock();
        let found = (|| {
            let mut rows = connection.prepare(
                "SELECT seq, at_ms, revision, parent, how, who, why, generation, moved_ppm
                 FROM applied ORDER BY seq DESC LIMIT ?1",
            )?;
            let mut listed = rows
                .query_map([i64::try_from(most).unwrap_or(i64::MAX)], applied)?
                .collect::<Result<Vec<_>, _>>()?;
            for applied in &mut listed {
                let now = hashes(&connection, &applied.revision)?;
                let before = applied.parent.as_ref().map(|parent| hashes(&connection, parent));
                applied.changed = changes(&before.transpose()?.unwrap_or_default(), &now);
            }
            Ok(listed)
        })();
        found.map_err(|source| self.failed(source))
    }

    /// The revision whose name begins with `name`, with its files.
    ///
    /// # Errors
    /// There is none, or more than one, or the file cannot be read.
    pub fn find(&self, name: &str) -> Result<Kept, HistoryError> {
        let connection = self.connection.blocking_lock();
        let short = || name.chars().take(64).collect::<String>();
        let found = (|| {
            let mut rows = connection.prepare(
                "SELECT DISTINCT revision FROM applied WHERE substr(revision, 1, length(?1)) = ?1 LIMIT 2",
            )?;
            rows.query_map([name], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        })();
        let revision = match &found.map_err(|source| self.failed(source))?[..] {
            [one] if !name.is_empty() => Revision(one.clone()),
            [] | [_] => return Err(HistoryError::Unknown(short())),
            _ => return Err(HistoryError::Ambiguous(short())),
        };
        let files: rusqlite::Result<Vec<_>> = (|| {
            let mut rows = connection.prepare(
                "SELECT path, text FROM revision_files JOIN texts USING (hash) WHERE revision = ?1 ORDER BY path",
            )?;
            rows.query_map([&revision.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })();
        Ok(Kept { files: files.map_err(|source| self.failed(source))?, revision })
    }
}

fn keep_files(
    transaction: &Transaction<'_>,
    revision: &Revision,
    files: &[SourceFile],
) -> rusqlite::Result<()> {
    for SourceFile { path, text } in files {
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        transaction.execute("INSERT OR IGNORE INTO texts (hash, text) VALUES (?1, ?2)", [&hash, text])?;
        transaction.execute(
            "INSERT OR REPLACE INTO revision_files (revision, path, hash) VALUES (?1, ?2, ?3)",
            [&revision.0, path, &hash],
        )?;
    }
    Ok(())
}

fn forget_old(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let gone = transaction
        .execute("DELETE FROM applied WHERE seq <= (SELECT max(seq) FROM applied) - ?1", [MOST])?;
    if gone > 0 {
        transaction
            .execute("DELETE FROM revision_files WHERE revision NOT IN (SELECT revision FROM applied)", [])?;
        transaction.execute("DELETE FROM texts WHERE hash NOT IN (SELECT hash FROM revision_files)", [])?;
    }
    Ok(())
}

fn applied(row: &Row<'_>) -> rusqlite::Result<Applied> {
    let word: String = row.get(4)?;
    let how = How::ALL.into_iter().find(|how| how.word() == word);
    let how = how.ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            4,
            Type::Text,
            format!("`{word}` is no way to apply").into(),
        )
    })?;
    let natural = |at: usize| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(Applied {
        seq: row.get(0)?,
        at: WallTime(natural(1)?),
        revision: Revision(row.get(2)?),
        parent: row.get::<_, Option<String>>(3)?.map(Revision),
        how,
        who: row.get(5)?,
        why: row.get(6)?,
        generation: Generation(natural(7)?),
        moved_ppm: row.get(8)?,
        changed: Vec::new(),
    })
}

fn hashes(
    connection: &rusqlite::Connection,
    revision: &Revision,
) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut rows = connection.prepare_cached("SELECT path, hash FROM revision_files WHERE revision = ?1")?;
    rows.query_map([&revision.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// What differs, by path, between two maps from path to content.
pub fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<FileChange> {
    let added_or_edited = now.iter().filter_map(|(path, hash)| match before.get(path) {
        None => Some(FileChange::Added(path.clone())),
        Some(other) if other != hash => Some(FileChange::Edited(path.clone())),
        Some(_) => None,
    });
    let removed = before.keys().filter(|path| !now.contains_key(*path)).cloned().map(FileChange::Removed);
    added_or_edited.chain(removed).collect()
}

/// SQLite's integers have a sign.
pub(super) fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
