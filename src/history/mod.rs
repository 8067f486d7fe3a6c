//! What was in force when, and what happened: every policy that was applied, by whom and why, with its files;
//! and records of what had a beginning and an end.
//!
//! ```text
//!  inputs published ───▶ record ─┐
//!                                ├▶ state/history.db ─▶ list, files of a revision ─▶ history, diff, rollback
//!  drills, incidents ─▶ records ─┘                   └▶ records of a kind
//! ```
//!
//! One SQLite file in the state folder, in WAL mode: whoever wants to query it may, with any client. Texts
//! are kept once however often they are applied, by the SHA-256 of their content. A file that is damaged or
//! of a later version is moved aside and a new one begun: nothing that answers depends on it.

mod db;
mod records;
mod revisions;

pub use db::{History, HistoryError, Opened, Shelf};
pub use records::{NewRecord, Record};
pub use revisions::{Applied, FileChange, How, Kept, NewApplied, changes};

/// In the state folder.
pub const FILE: &str = "history.db";

#[cfg(test)]
mod tests;
