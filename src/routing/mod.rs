//! The table: from an assignment of client groups to nodes to bytes that only need copying.
//!
//! ```text
//!  policy + zones ─▶ names   every name rhumb knows ─▶ entry (static sets, cut, wildcard, steered)
//!  assignment ────▶ steer    per service: group ─▶ distribution ─▶ slot ─▶ answer set (A, AAAA bytes)
//!  geo ───────────▶          client ─▶ group
//!                   └──────── all of it, with provenance, is one immutable Snapshot
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`block`] | records as wire bytes |
//! | [`names`] | the static half of the table |
//! | [`name_index`] | wire names to their entries, fast |
//! | [`steer`] | the steered half: distributions, slots, answer sets |
//! | [`fill`], [`sets`] | which make it |
//! | [`records`] | what an answer set says in types besides A and AAAA |
//! | [`guard`] | who is a newcomer, and what shed newcomers are answered |
//! | [`rendezvous`], `material` | which node a slot belongs to; the numbers it is decided by |
//! | [`standin`] | what a transferred zone has at steered names |
//! | [`chain`](mod@chain) | the NSEC chain over names and zones |
//! | [`signed`] | signatures and denials, found by what was decided |
//! | [`ledger`] | who asked for what how often, by worker |
//! | [`snapshot`] | the pointer's target and [`compile`], which makes it |
//! | [`check`](mod@check) | policy and zones against each other, for the user |
//! | [`judge`](mod@judge) | a plan against the promises every plan makes |
//! | [`lint`](mod@lint) | a finished table against the promises it must keep |
//! | [`moves`](mod@moves) | who moved between two tables |
//!
//! Nothing here decides where clients go (that is `schedule`) or parses a query (that is `dns`).

pub mod block;
pub mod chain;
pub mod check;
pub mod codes;
pub mod fill;
pub mod guard;
pub mod judge;
pub mod ledger;
pub mod lint;
mod material;
pub mod moves;
pub mod name_index;
pub mod names;
pub mod records;
pub mod rendezvous;
pub mod sets;
pub mod signed;
pub mod snapshot;
pub mod standin;
pub mod steer;

pub use check::check;
pub use judge::judge;
pub use lint::{Findings, findings, lint};
pub use moves::moves;
pub use snapshot::{CompileError, Snapshot, SnapshotInput, compile};
