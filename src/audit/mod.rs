//! What people did to a running rhumb: an append-only file whose lines are chained by their hashes.
//!
//! ```text
//!  a changing request ─▶ begun ─▶ (synced to the disk) ─▶ the action ─▶ ended, with its outcome
//!                         └─ cannot be written ─▶ refused, but for what takes something back
//! ```
//!
//! Each line is one [`Entry`] as JSON with `prev`, the hash of the line before it, and `hash`, the SHA-256 of
//! the line without it. So a changed, missing or foreign line is found by [`verify`]; lines cut off at the
//! end are found by the note of the newest line beside the file, or by a copy elsewhere.

mod append;
mod entry;
mod tail;
mod verify;

pub use append::{AuditError, AuditLog, Backlog, verify_folder};
pub use entry::{Entry, Event};
pub use tail::{Piece, Tail};
pub use verify::{Fault, Verdict, newest, verify};

/// Of the log in the state folder.
pub const FILE: &str = "audit.jsonl";
/// What the first line follows: no line has this hash.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[cfg(test)]
mod tests;
