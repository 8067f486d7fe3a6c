//! What would happen: fleets and their clients, simulated second by second around the real planner.
//!
//! ```text
//!  World ──▶ Strategy ──▶ Table ──▶ Crowd: resolver caches ─▶ sessions ─▶ load by node
//!              ▲   the planner, or what peers do                              │
//!              └────────── verdicts, load reports (late, smoothed) ◀──────────┘
//! ```
//! Clients are a fluid and nothing is drawn while a simulation runs: a seed makes a world, and one
//! world has one course. Floating-point numbers are counted with here, never in the planner.
//!
//! | file | holds |
//! |---|---|
//! | `world` | fleets, client groups and demand; large ones from a seed |
//! | `crowd` | the resolver TTL model, live sessions, reconnect bursts |
//! | `strategy` | the planner, and what others do |
//! | `course` | one strategy in one world, step by step |
//! | `oracle` | the exact optimum of small worlds, to measure plans by |
//! | `region_loss` | a region lost, the strategies compared |
//! | `tiny` | any bytes as a small world and its course, for fuzzing |
//! | `stability` | noise, a day of demand, loops of feedback |
//!
//! Deliberately not here: what a user feels on a node that is too full, and failures that follow from
//! it. Both would be worse for whoever overloads nodes.

pub mod course;
pub mod crowd;
#[cfg(test)]
mod judged;
pub mod oracle;
pub mod region_loss;
pub mod stability;
pub mod strategy;
pub mod tiny;
pub mod world;
