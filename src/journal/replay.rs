//! Makes a kept plan again and compares.

use super::record::{self, Recorded};
use crate::schedule::{self, Plan};
use std::io;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub plan: Plan,
    /// SHA-256 of the plan.
    pub digest: String,
    /// It is the plan that was made then, bit for bit.
    pub is_same: bool,
    /// Another version of the program decided then.
    pub other_version: Option<String>,
}

/// Plans with what was kept.
///
/// # Errors
/// As [`record::digest`].
pub fn replay(kept: &Recorded) -> io::Result<Replayed> {
    let plan = schedule::plan(&kept.asked.input());
    let digest = record::digest(&plan)?;
    let is_same = digest == kept.decision.digest;
    let version = &kept.decision.version;
    let other_version = (version != env!("CARGO_PKG_VERSION")).then(|| version.clone());
    Ok(Replayed { plan, digest, is_same, other_version })
}
