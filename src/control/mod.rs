//! The admin address over HTTP: status, explanations, metrics; who may look and act, and the record of it.
//!
//! Talks to the daemon by channel only: a watch for the status, a queue for questions. [`access`] stands
//! before every route but `/healthz`.

pub mod access;
pub mod admin;
pub mod canary;
pub mod events;
pub mod drills;
pub mod incidents;
pub mod local;
pub mod metrics;
pub mod operators;
pub mod overrides;
pub mod plan;
pub mod policies;
pub mod readiness;
mod status_html;
pub mod status_page;
