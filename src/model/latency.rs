//! Measured paths as they are kept for a restart: by names and ages, so that they outlive ids and clocks.

use crate::base::clock::WallTime;
use serde::{Deserialize, Serialize};

/// The latency map on disk. Client networks are salted hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLatencies {
    pub salt: u64,
    /// When it was kept; ages count from here.
    pub at: WallTime,
    pub cells: Vec<KeptCell>,
    /// Group key, site name, round trip (us) and votes of what was in force.
    pub settled: Vec<(String, String, u32, u16)>,
    /// Jitter and loss that were in force.
    #[serde(default)]
    pub quality: Vec<KeptQuality>,
}

/// Group key, site name, jitter (us) and loss (ppm), each with its votes.
pub type KeptQuality = (String, String, (u32, u16), (u32, u16));

/// What clients of a group said of the path to a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCell {
    pub group: String,
    pub site: String,
    pub votes: Vec<KeptVote>,
}

/// Source, key if there was one, round trip (us), jitter (us), loss (ppm), age (s).
pub type KeptVote = (u64, Option<u8>, u32, Option<u32>, Option<u32>, u64);
