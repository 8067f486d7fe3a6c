//! rhumb: a global traffic scheduler that speaks DNS.
//!
//! Policy files and geo data go in, nodes are probed, a planner places every client group, an
//! immutable table is compiled and swapped in, and DNS workers copy answers out of it. ARCHITECTURE.md
//! has the picture; this is the tour, lowest first. A module may use those above it in this list
//! only as `tests/architecture.rs` allows.
//!
//! - [`base`] and [`model`]: the words.
//! - [`policy`], [`geo`], [`zone`]: text and databases to checked data. [`health`]: observations to
//!   verdicts. [`demand`]: how much who asks. [`schedule`]: who goes where. [`alert`]: what people are told of. [`incident`]:
//!   what went wrong for clients, and what was promised them. All pure.
//! - [`routing`]: the table and the [`routing::snapshot::Snapshot`] it lives in; [`dns`] answers
//!   from it; [`explain`] tells why.
//! - [`forecast`]: what a change would do, from two tables. [`canary`]: what it does to a share of the clients first.
//! - [`readiness`]: what the fleet would make of every loss. [`sim`]: fleets and their clients, simulated around the
//!   planner.
//! - [`sim`]: fleets and their clients, simulated around the planner. [`drill`]: faults on purpose, and what they show.
//! - [`probe`], [`store`], [`sign`], [`serve`], [`observe`], [`deliver`]: the network and the disk.
//!   [`vantage`]: probes from elsewhere, and load that nodes push. [`measure`]: what clients measure.
//!   [`audit`]: what people did. [`history`]: which policy was in force when.
//! - [`control`], [`daemon`], [`lab`], [`cli`]: the process.

pub mod alert;
pub mod audit;
pub mod base;
pub mod canary;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod deliver;
pub mod demand;
pub mod dns;
pub mod drill;
pub mod explain;
pub mod forecast;
pub mod geo;
pub mod health;
pub mod history;
pub mod incident;
pub mod journal;
pub mod lab;
pub mod latency;
pub mod measure;
pub mod model;
pub mod observe;
pub mod policy;
pub mod probe;
pub mod readiness;
pub mod routing;
pub mod schedule;
pub mod serve;
pub mod sign;
pub mod sim;
pub mod store;
pub mod vantage;
pub mod zone;
