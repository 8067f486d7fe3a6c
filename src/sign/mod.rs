//! DNSSEC: keys on disk, signatures made ahead of the answers that carry them, and key rollover.
//!
//! ```text
//!  keys/K*.key,.private ─▶ files ─▶ KeyRing ─┐
//!  Names, zones ─▶ routing::chain (NSEC) ────┤
//!  service tables (answer sets) ─────────────┼─▶ Signer ─ cache by content ─▶ routing::signed::Signed
//!  likely next tables ─▶ Ahead (a thread) ───┘            hit: copy   miss: sign
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`secret`] | a private key: made, read, used |
//! | [`key`] | a zone's key: DNSKEY, key tag, DS, CDS |
//! | [`times`] | when a key is published, active, retired, removed |
//! | [`ring`] | which key signs what now |
//! | [`files`] | key files as BIND's tools write them, for their owner's eyes only |
//! | [`rollover`] | the next step of replacing a key |
//! | [`trusted_time`] | validity windows that a stepped clock does not break |
//! | [`rrsig`] | one RRSIG record, RFC 4034 3.1.8.1 |
//! | [`cache`] | signatures by content, re-signed before they expire |
//! | [`assemble`](mod@assemble) | what of a table is signed, put where answers find it |
//! | [`signer`] | all signatures of one table |
//! | [`ahead`] | signing what may be needed next, off the writer's thread |
//! | [`check`](mod@check) | policy, zones and keys against each other, for the user |
//!
//! Signing draws system randomness and reads files, so it is no part of the pure modules: it gives
//! them a finished, immutable `Signed`. Nothing here is reached from the query path, and nothing here
//! prints, logs or formats a private key.

pub mod ahead;
mod assemble;
pub mod cache;
pub mod check;
pub mod codes;
pub mod files;
pub mod key;
pub mod ring;
pub mod rollover;
pub mod rrsig;
pub mod secret;
pub mod signer;
pub mod times;
pub mod trusted_time;

pub use ahead::{Ahead, SignedAhead};
pub use check::check;
pub use signer::{SignError, Signer};
