//! What every other module may use: time, seeded randomness, hashing, patterns, prefixes, units, diagnostics,
//! round trips summed up, text made safe for HTML, and errors in words.
//!
//! Nothing here knows what a node or a query is, and nothing here does I/O. The one exception to
//! "no wall clock" is [`clock::SystemClock`], which the daemon makes once and hands down.

pub mod clock;
pub mod diagnostic;
pub mod error;
pub mod hash;
pub mod html;
pub mod metrics_text;
pub mod pattern;
pub mod prefix;
pub mod round_trips;
pub mod units;
