//! What was in force when: every policy that was applied, by whom and why, with its files.
//!
//! ```text
//!  inputs published ─▶ record ─▶ state/history.db ─▶ list, files of a revision ─▶ history, diff, rollback
//! ```
//!
//! One SQLite file in the state folder, in WAL mode: whoever wants to query it may, with any client. Texts
//! are kept once however often they are applied, by the SHA-256 of their content. A file that is damaged or
//! of a later version is moved aside and a new one begun: nothing that answers depends on it.

mod db;
mod revisions;

pub use db::{History, HistoryError, Opened, Shelf};
pub use revisions::{Applied, FileChange, How, Kept, NewApplied, changes};

/// In the state folder.
pub const FILE: &str = "history.db";

#[cfg(test)]
mod tests;
