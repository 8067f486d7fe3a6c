//! What had a beginning and an end, as documents: by kind and number, written again until it has ended.
//!
//! The document is JSON of whoever keeps it; the columns beside it are what lists need.

use super::db::{History, HistoryError};
use super::revisions::whole;
use crate::base::clock::WallTime;
use rusqlite::{OptionalExtension, Row, params};

/// Records of a kind that are kept; the oldest that have ended go.
const MOST: i64 = 5_000;

/// Before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    pub name: String,
    pub began: WallTime,
    /// JSON.
    pub document: String,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts up within its kind, never used again while a later one is kept.
    pub id: u64,
    pub name: String,
    pub began: WallTime,
    /// `None`: it goes on, or whoever kept it was ended.
    pub ended: Option<WallTime>,
    /// JSON.
    pub document: String,
}

impl History {
    /// Begins a record of `kind`, and tells its number.
    ///
    /// # Errors
    /// The disk does not take it: nothing of it is kept.
    pub fn begin(&self, kind: &str, record: &NewRecord) -> Result<u64, HistoryError> {
        let mut connection = self.connection.blocking_lock();
        let done = (|| {
            let transaction = connection.transaction()?;
            let id: i64 = transaction.query_row(
                "SELECT coalesce(max(id), 0) + 1 FROM records WHERE kind = ?1",
                [kind],
                |row| row.get(0),
            )?;
            transaction.execute(
                "INSERT INTO records (kind, id, name, began_ms, document) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![kind, id, record.name, whole(record.began.0), record.document],
            )?;
            transaction.execute(
                "DELETE FROM records WHERE kind = ?1 AND id <= ?2 AND ended_ms IS NOT NULL",
                params![kind, id - MOST],
            )?;
            transaction.commit()?;
            Ok(u64::try_from(id).unwrap_or(0))
        })();
        done.map_err(|source| self.failed(source))
    }

    /// Puts another document in the place of what the record holds; with `ended` it has ended.
    ///
    /// # Errors
    /// The disk does not take it: the record is as it was.
    pub fn rewrite(
        &self,
        kind: &str,
        id: u64,
        document: &str,
        ended: Option<WallTime>,
    ) -> Result<(), HistoryError> {
        let connection = self.connection.blocking_lock();
        let done = connection.execute(
            "UPDATE records SET document = ?3, ended_ms = ?4 WHERE kind = ?1 AND id = ?2",
            params![kind, whole(id), document, ended.map(|ended| whole(ended.0))],
        );
        done.map(|_| ()).map_err(|source| self.failed(source))
    }

    /// The newest `most` of a kind, the newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn records(&self, kind: &str, most: usize) -> Result<Vec<Record>, HistoryError> {
        let connection = self.connection.blocking_lock();
        let found: rusqlite::Result<Vec<Record>> = (|| {
            let mut rows = connection.prepare(
                "SELECT id, name, began_ms, ended_ms, document FROM records
                 WHERE kind = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            rows.query_map(params![kind, i64::try_from(most).unwrap_or(i64::MAX)], record)?.collect()
        })();
        found.map_err(|source| self.failed(source))
    }

    /// One of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find_record(&self, kind: &str, id: u64) -> Result<Option<Record>, HistoryError> {
        let connection = self.connection.blocking_lock();
        let found = connection
            .query_row(
                "SELECT id, name, began_ms, ended_ms, document FROM records WHERE kind = ?1 AND id = ?2",
                params![kind, whole(id)],
                record,
            )
            .optional();
        found.map_err(|source| self.failed(source))
    }

    /// Those that have not ended, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open_records(&self, kind: &str) -> Result<Vec<Record>, HistoryError> {
        let connection = self.connection.blocking_lock();
        let found: rusqlite::Result<Vec<Record>> = (|| {
            let mut rows = connection.prepare(
                "SELECT id, name, began_ms, ended_ms, document FROM records
                 WHERE kind = ?1 AND ended_ms IS NULL ORDER BY id",
            )?;
            rows.query_map([kind], record)?.collect()
        })();
        found.map_err(|source| self.failed(source))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let natural = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Record {
        id: natural(row.get(0)?),
        name: row.get(1)?,
        began: WallTime(natural(row.get(2)?)),
        ended: row.get::<_, Option<i64>>(3)?.map(|ended| WallTime(natural(ended))),
        document: row.get(4)?,
    })
}
