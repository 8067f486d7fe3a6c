//! The admin address: `/status`, `/explain`, `/metrics`, `/healthz`, `/readyz` over HTTP.
//!
//! Talks to the daemon by channel only: a watch for the status, a queue for questions. It serves
//! loopback by default and changes nothing; authentication comes with the first call that does.

pub mod admin;
pub mod metrics;
