//! The lab: a fleet of misbehaving nodes on loopback, and clients that ask for them.
//!
//! ```text
//!  plan ──▶ fleet ──▶ node ──▶ http     sockets a fleet needs; the nodes; one node; its replies
//!             ▲        ▲
//!   control ──┤      fault, target      what is wrong, and with whom
//!             │
//!   clients ──┴─ load, peaks            who asks, and what that costs the node given
//!   audience, population, cache         how often who asks, from where, and who remembers
//!   course                              one run by a script, sampled, without a view
//!   view, plain ◀─ session              what a person sees
//! ```
//! The lab is apart from the daemon by design: it knows the fleet from the same policy, but faults
//! reach the daemon through sockets alone, and what the lab shows of the daemon it reads from the
//! daemon's own [`Status`](crate::model::status::Status). It serves loopback addresses only.

pub mod audience;
pub mod cache;
pub mod clients;
pub mod control;
mod counts;
pub mod course;
mod error;
pub mod fault;
pub mod fleet;
mod http;
mod load;
mod node;
pub mod peaks;
mod plain;
mod plan;
mod population;
#[cfg(test)]
mod sample;
mod session;
pub mod target;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

pub use error::LabError;
pub use fleet::LabFleet;
pub use session::{LabOptions, LabParts, run};
