//! Alerts to those who want to know: an Alertmanager, any webhook. And lines that a webhook gets in order.
//!
//! ```text
//!  Bulletin (watch, newest wins) ─▶ courier, one per receiver ─▶ letters due ─▶ POST ─▶ taken? remember it
//!                                     what it was told last          ▲            │ no
//!                                                                    └── backoff ─┘ and say so in the status
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `letter` | what a receiver is to be told now, by what it was told last |
//! | `message` | the JSON of it |
//! | `post` | one attempt over HTTP |
//! | `backoff` | how long to wait after a failure |
//! | `courier` | the loop: attempts, waits, the receiver's status |
//! | `outlet` | documents in order, for whoever has to have each of them taken |
//!
//! There is no queue that could fill: a courier compares the present state with what it has delivered, so a
//! receiver that was away is told how things are, not how they were, and an alert that came and went
//! meanwhile is not told. Nothing here holds anybody up, and a slow receiver does not hold up another.
//! What was taken is shown to whoever keeps it for a restart: the next process tells the end of what ended in
//! between, and not again what still is.

mod backoff;
mod courier;
mod letter;
mod message;
mod outlet;
mod post;
#[cfg(test)]
mod tests;

pub use courier::{Courier, start};
pub use outlet::{NotTaken, Outlet};
