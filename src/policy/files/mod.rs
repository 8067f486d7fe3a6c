//! The policy files as operators write them: one record per mapping, nothing resolved yet.
//!
//! These types are the policy language of `version: 1`. They are lowered to the model by exhaustive
//! destructuring ([`super::lower`]), so that a key added here cannot be forgotten there. A change
//! that old files would not survive needs a new version and records beside these.

pub mod alerts;
pub mod clients;
pub mod events;
pub mod drill;
pub mod fleet;
pub mod health;
pub mod probe;
pub mod profiles;
pub mod records;
pub mod safety;
pub mod server;
pub mod service;
