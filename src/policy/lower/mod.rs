//! From file types to the model: defaults applied, names resolved, contradictions reported.
//!
//! Every record is taken apart by exhaustive destructuring. While errors exist the result may hold
//! placeholders; [`super::load`] then drops it, so they never leave this module. A reference into
//! something that could not be read is not reported again.

pub mod alerts;
mod audience;
mod binding;
mod chain;
pub mod clients;
mod compose;
pub mod events;
mod drill_schedule;
pub mod drills;
pub mod fleet;
pub mod health;
pub mod admin;
pub mod listeners;
mod load;
pub mod planner;
pub mod probe;
mod probe_kind;
pub mod profiles;
mod records;
pub mod safety;
pub mod selector;
pub mod server;
pub mod service;
mod shed;
mod transfer;

use super::codes::{self, Code};
use super::files::fleet::LocationFile;
use super::findings::{At, Findings, Place};
use super::read::{Slot, Table};
use super::scalars::Name;
use crate::base::diagnostic::did_you_mean;
use crate::base::units::Coordinates;
use std::collections::HashMap;

/// Ids are 16-bit positions.
const MAX_IDS: usize = 60_000;

/// The names of one table, with positions equal to the model's ids.
#[derive(Clone, Debug, Default)]
pub struct Names {
    list: Vec<(String, Place)>,
    index: HashMap<String, usize>,
    /// Whether the whole table could be read: if not, unknown names are not reported.
    whole: bool,
}

impl Names {
    /// The names of an optional section of an optional file.
    pub fn of<T>(section: &Slot<Table<Name, T>>, what: &str, findings: &mut Findings) -> Self {
        let mut names = Self { whole: !section.is_broken(), ..Self::default() };
        let Some(table) = section.value() else {
            return names;
        };
        names.whole = table.whole;
        for (name, _) in &table.rows {
            names.index.insert(name.value.0.clone(), names.list.len());
            names.list.push((name.value.0.clone(), name.place));
        }
        if names.list.len() > MAX_IDS {
            findings
                .report(&codes::TOO_MANY, names.list[MAX_IDS].1, format!("more than {MAX_IDS} {what}"))
                .help("split the fleet over several instances");
        }
        names
    }

    /// Names of a file that could not be read.
    pub fn unreadable() -> Self {
        Self::default()
    }

    /// Whether every name could be read.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(String, Place)> {
        self.list.iter()
    }

    /// The position that a misspelt `name` probably stands for.
    pub fn meant(&self, name: &str) -> Option<usize> {
        did_you_mean(name, self.list.iter().map(|(name, _)| name.as_str())).and_then(|near| self.find(near))
    }

    /// The name at a position that [`Names::find`] or [`Names::meant`] gave.
    pub fn name(&self, at: usize) -> &str {
        self.list.get(at).map_or("", |(name, _)| name)
    }

    /// The position of `name`, or a report that there is none.
    pub fn resolve(
        &self,
        name: &str,
        place: Place,
        code: &'static Code,
        (what, where_from): (&str, &str),
        findings: &mut Findings,
    ) -> Option<usize> {
        let found = self.find(name);
        if found.is_none() && self.whole {
            let known = self.list.iter().map(|(name, _)| name.as_str());
            findings.report(code, place, format!("there is no {what} `{name}`")).suggest(name, known, || {
                let known: Vec<&str> = self.list.iter().map(|(name, _)| name.as_str()).take(13).collect();
                match known.len() {
                    0 => format!("{where_from} defines no {what}: add it there"),
                    1..=12 => format!("known are {}; or add it to {where_from}", known.join(", ")),
                    _ => format!("add it to {where_from}, or use one that is there"),
                }
            });
        }
        found
    }
}

pub const REGION: (&str, &str) = ("region", "`regions` of fleet.yaml");
pub const SITE: (&str, &str) = ("site", "`sites` of fleet.yaml");
pub const NODE: (&str, &str) = ("node", "`nodes` of fleet.yaml");
pub const LINE: (&str, &str) = ("line", "`lines` of clients.yaml");
pub const AREA: (&str, &str) = ("area", "`areas` of clients.yaml");
pub const POOL: (&str, &str) = ("pool", "`pools` of this file");

fn location(slot: &Slot<LocationFile>) -> Option<Coordinates> {
    let LocationFile { place: _, lat, lon } = slot.value()?;
    Coordinates::from_degrees(lat.value()?.0, lon.value()?.0)
}

/// The text of an optional title.
fn title(slot: &Slot<super::scalars::Text>) -> Option<String> {
    slot.value().map(|text| text.0.clone())
}

fn values<T: Clone>(list: &[At<T>]) -> impl Iterator<Item = T> + '_ {
    list.iter().map(|at| at.value.clone())
}
