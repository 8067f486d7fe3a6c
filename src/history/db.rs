//! The database file: opened, checked, brought to the present shape.

use super::FILE;
use arc_swap::ArcSwapOption;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Each step brings a file of the version before it to the next; none is ever changed.
const STEPS: &[&str] = &[
    "
    CREATE TABLE texts (
        hash TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE revision_files (
        revision TEXT NOT NULL,
        path TEXT NOT NULL,
        hash TEXT NOT NULL REFERENCES texts (hash),
        PRIMARY KEY (revision, path)
    ) STRICT;
    CREATE TABLE applied (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        revision TEXT NOT NULL,
        parent TEXT,
        how TEXT NOT NULL,
        who TEXT NOT NULL,
        why TEXT NOT NULL,
        generation INTEGER NOT NULL,
        moved_ppm INTEGER
    ) STRICT;
",
    "
    CREATE TABLE records (
        kind TEXT NOT NULL,
        id INTEGER NOT NULL,
        name TEXT NOT NULL,
        began_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT;
",
];
/// Of another process that has the file: during a takeover there are two.
const BUSY: Duration = Duration::from_secs(5);

/// Why the history was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history in {}: {source}", path.display())]
    Sql { path: PathBuf, source: rusqlite::Error },
    #[error(
        "the history in {} is of version {found}, and this rhumb knows {} at most; use the rhumb that wrote it",
        path.display(), STEPS.len()
    )]
    Later { path: PathBuf, found: i64 },
    #[error("the history in {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("cannot move {} aside: {source}", path.display())]
    Aside { path: PathBuf, source: io::Error },
    #[error("no revision begins with `{0}`; `rhumb history` shows those there are")]
    Unknown(String),
    #[error("more than one revision begins with `{0}`; write more of it")]
    Ambiguous(String),
}

/// The history of a state folder. All of it waits for the disk: it is for threads that may.
#[derive(Debug)]
pub struct History {
    pub(super) path: PathBuf,
    pub(super) connection: Mutex<Connection>,
}

/// The history of a state folder that may come to be writable later.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    open: ArcSwapOption<History>,
}

impl Shelf {
    /// The sentence says what had to be put aside. A folder that cannot be written is tried again with each use.
    pub fn new(folder: &Path) -> (Self, Option<String>) {
        let shelf = Self { folder: folder.to_owned(), open: ArcSwapOption::empty() };
        let told = match History::open(folder) {
            Ok(Opened { history, put_aside }) => {
                shelf.open.store(Some(Arc::new(history)));
                put_aside
            }
            Err(error) => {
                tracing::warn!("{error}; it is tried again");
                None
            }
        };
        (shelf, told)
    }

    /// The history, opened if it could not be before.
    ///
    /// # Errors
    /// It cannot be opened now either.
    pub fn history(&self) -> Result<Arc<History>, HistoryError> {
        if let Some(history) = self.open.load_full() {
            return Ok(history);
        }
        let Opened { history, put_aside } = History::open(&self.folder)?;
        if let Some(told) = put_aside {
            tracing::error!("{told}");
        }
        let history = Arc::new(history);
        self.open.store(Some(Arc::clone(&history)));
        Ok(history)
    }
}

/// A history, and what had to be put aside to have it.
#[derive(Debug)]
pub struct Opened {
    pub history: History,
    /// A sentence for people.
    pub put_aside: Option<String>,
}

impl History {
    /// Opens the one in `folder`, or begins one; a file that cannot be used is moved aside.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(folder: &Path) -> Result<Opened, HistoryError> {
        let path = folder.join(FILE);
        match Self::open_checked(&path) {
            Ok(history) => Ok(Opened { history, put_aside: None }),
            Err(error) if path.exists() => {
                let aside = put_aside(&path)?;
                let history = Self::open_checked(&path)?;
                let told = format!("{error}; it was moved aside to {}, and a new one begun", aside.display());
                Ok(Opened { history, put_aside: Some(told) })
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the one in `folder` to look at it, whether a rhumb uses it or not.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn open_to_read(folder: &Path) -> Result<Self, HistoryError> {
        let path = folder.join(FILE);
        let failed = |source| HistoryError::Sql { path: path.clone(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        Ok(Self { path: path.clone(), connection: Mutex::new(connection) })
    }

    fn open_checked(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Sql { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        // A crash loses no row that was committed, and readers and the one writer do not wait for each other.
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        let what: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if what != "ok" {
            return Err(HistoryError::Damaged { path: path.to_owned(), what });
        }
        migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Writes a whole copy to `file`, while others go on.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub fn copy_to(&self, file: &Path) -> Result<(), HistoryError> {
        let connection = self.connection.blocking_lock();
        connection
            .backup("main", file, None::<fn(rusqlite::backup::Progress)>)
            .map_err(|source| self.failed(source))
    }

    pub(super) fn failed(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError::Sql { path: self.path.clone(), source }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), HistoryError> {
    let failed = |source| HistoryError::Sql { path: path.to_owned(), source };
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let later = || HistoryError::Later { path: path.to_owned(), found };
    let done = usize::try_from(found).map_err(|_| later())?;
    for (at, step) in STEPS.iter().enumerate().skip(done) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", i64::try_from(at + 1).unwrap_or(i64::MAX))
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    if done > STEPS.len() { Err(later()) } else { Ok(()) }
}

/// With its write-ahead log, which belongs to it alone.
fn put_aside(path: &Path) -> Result<PathBuf, HistoryError> {
    let aside = path.with_extension("db.damaged");
    for ending in ["-wal", "-shm"] {
        let of = |path: &Path| PathBuf::from(format!("{}{ending}", path.display()));
        let _ = fs::rename(of(path), of(&aside));
    }
    let moved = fs::rename(path, &aside);
    moved.map_err(|source| HistoryError::Aside { path: path.to_owned(), source })?;
    Ok(aside)
}
