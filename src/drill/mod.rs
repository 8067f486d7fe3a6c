//! Drills: a fault on purpose, for a while, measured from outside.
//!
//! ```text
//!  policy: Drill ─▶ Script ─▶ Machine ──▶ due: inject, restore, close ─▶ the daemon does it
//!                               ▲
//!  guardrail::broken ───────────┤ end
//!  abort, stop ─────────────────┘
//!  sample ─▶ asked over real DNS ─▶ Judge ─▶ Tally ─▶ recovery ─▶ Report
//! ```
//! | file | holds |
//! |---|---|
//! | [`calendar`] | on which days a schedule falls |
//! | [`dates`] | what becomes of each: begun, refused, missed, lapsed |
//! | [`script`] | when what is due |
//! | [`machine`] | the course, and how every end leads over the restoration |
//! | [`guardrail`] | when it is given up |
//! | [`sample`] | client networks to ask for |
//! | [`judge`] | whether an answer is right |
//! | [`tally`] | answers added up |
//! | [`recovery`] | how long clients took, at the server and behind caches |
//! | [`report`] | all of it, as it is kept |
//!
//! Pure: what is asked, set and written is done by the daemon (`daemon::drills`), the same live as in tests.

pub mod calendar;
pub mod dates;
pub mod guardrail;
pub mod judge;
pub mod machine;
pub mod recovery;
pub mod report;
pub mod sample;
pub mod script;
pub mod tally;
#[cfg(test)]
pub(crate) mod testing;
