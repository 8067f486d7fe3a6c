//! The last good table on disk: everything by name, so that it outlives ids and the process.
//!
//! It holds placements and verdicts, not wire bytes: with the kept policy and geo files beside it
//! the same bytes are compiled again, and with an edited policy most of it still applies.

use crate::model::ids::Generation;
use crate::model::placement::PlacementMode;
use crate::model::provenance::Provenance;
use crate::model::verdict::NodeHealth;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bumped when the shape changes; other formats are refused.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedTable {
    pub format: u32,
    pub provenance: Provenance,
    /// By node name.
    pub health: BTreeMap<String, NodeHealth>,
    /// Group keys, in the order `by_group` counts in.
    pub group_keys: Vec<String>,
    pub services: Vec<SavedService>,
    /// Of transferred zones, by origin.
    #[serde(default)]
    pub serials: BTreeMap<String, SavedSerial>,
}

/// The last serial of a zone and what it stood for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSerial {
    pub serial: u32,
    /// Digest of what is transferred.
    pub content: String,
    /// Digest of the SOA's signature, which changes with the serial.
    pub soa: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedService {
    pub name: String,
    pub placements: Vec<SavedPlacement>,
    /// Position in `placements` for each of `group_keys`.
    pub by_group: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPlacement {
    /// Node name and share in parts per million.
    pub shares: Vec<(String, u32)>,
    pub backups: Vec<String>,
    /// Pool name.
    pub pool: Option<String>,
    pub mode: SavedMode,
}

/// [`PlacementMode`], spelled for the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedMode {
    Normal,
    FailOpen,
    AllDown,
}

impl From<PlacementMode> for SavedMode {
    fn from(mode: PlacementMode) -> Self {
        match mode {
            PlacementMode::Normal => SavedMode::Normal,
            PlacementMode::FailOpen => SavedMode::FailOpen,
            PlacementMode::AllDown => SavedMode::AllDown,
        }
    }
}

impl From<SavedMode> for PlacementMode {
    fn from(mode: SavedMode) -> Self {
        match mode {
            SavedMode::Normal => PlacementMode::Normal,
            SavedMode::FailOpen => PlacementMode::FailOpen,
            SavedMode::AllDown => PlacementMode::AllDown,
        }
    }
}

impl SavedTable {
    /// Parses and checks the payload of a sealed file; the error is one sentence.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let table: SavedTable = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if table.format != FORMAT {
            return Err(format!("format {} is not {FORMAT}", table.format));
        }
        for service in &table.services {
            let in_range = |&at: &u32| (at as usize) < service.placements.len();
            if service.by_group.len() != table.group_keys.len() || !service.by_group.iter().all(in_range) {
                return Err(format!("service {} refers outside its tables", service.name));
            }
        }
        Ok(table)
    }

    pub fn generation(&self) -> Generation {
        self.provenance.generation
    }
}
