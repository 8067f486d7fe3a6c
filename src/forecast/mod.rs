//! What a change would do: two tables, stood side by side and told by name.
//!
//! ```text
//!  table before, its demand ─▶ Stand ─┐
//!                                     ├─▶ Forecast: before, after, what moves from where to where
//!  new policy ─▶ settle ─▶ table after ─▶ Stand ─┘
//!               (full passes until nobody wants to move)
//! ```
//! | file | holds |
//! |---|---|
//! | `settle` | the plan that a change ends in, and how long that takes |
//! | `stand` | one table: shares, utilisation, latency, scopes |
//! | `moved` | which clients are answered otherwise, slot by slot |
//! | `overlap` | client groups of one geo table in those of another |
//! | `edits` | two policies, and what differs in words |
//! | `guardrails` | which limits of policy a forecast breaks |
//!
//! Policies before and after have other ids, so everything here goes by name. Moves are counted in slots, as clients
//! see them, and not in shares of the plan. Nothing is published, remembered or asked again here.

mod edits;
mod guardrails;
mod moved;
mod overlap;
mod settle;
mod stand;
#[cfg(test)]
mod tests;

pub use edits::edits;
pub use guardrails::judge;
pub use moved::{Moved, moved, ways};
pub use settle::{HORIZON_S, Settled, settle};
pub use stand::{Latency, NodeStand, Part, Scopes, ServiceStand, Stand};

use crate::base::units::Ppm;
use crate::model::account::Account;
use crate::model::placement::Latencies;
use crate::routing::Snapshot;
use overlap::Overlap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A table, and what its plan was made for.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub table: &'a Snapshot,
    pub latencies: &'a Latencies,
    pub account: &'a Account,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    pub before: Stand,
    pub after: Stand,
    pub moved: Moved,
    /// What is carried otherwise than before, the most different first of each kind.
    pub differences: Vec<Difference>,
    /// Seconds until nobody is moved any more; `None`: more than [`HORIZON_S`].
    pub settles_s: Option<u32>,
}

/// One thing that carries clients, before and after; what is not there carries none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub of: Kind,
    pub name: String,
    pub clients: [Ppm; 2],
    pub load: [Ppm; 2],
}

/// What a [`Difference`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Region,
    Line,
    Node,
}

impl Forecast {
    /// What becomes of `before`. `settles_s` as [`settle`] found it.
    pub fn of(before: &Side<'_>, after: &Side<'_>, settles_s: Option<u32>) -> Self {
        let overlap = Overlap::of(&before.table.geo, &after.table.geo);
        let moved = moved::between(before, after, &overlap);
        let (was, is) = (Stand::of(before), Stand::of(after));
        let differences = differences(&was, &is);
        Self { before: was, after: is, moved, differences, settles_s }
    }

    /// How full each node is, before and after, of those with a capacity at either time: the fullest afterwards first.
    pub fn utilisation(&self) -> Vec<(&str, Option<Ppm>, Option<Ppm>)> {
        let mut by_name: BTreeMap<&str, [Option<Ppm>; 2]> = BTreeMap::new();
        for (at, stand) in [&self.before, &self.after].into_iter().enumerate() {
            for node in &stand.nodes {
                by_name.entry(&node.node).or_default()[at] = node.utilisation;
            }
        }
        let mut all: Vec<_> =
            by_name.into_iter().map(|(name, [before, after])| (name, before, after)).collect();
        all.retain(|(_, before, after)| before.is_some() || after.is_some());
        all.sort_by_key(|&(name, before, after)| (std::cmp::Reverse((after, before)), name));
        all
    }
}

fn differences(was: &Stand, is: &Stand) -> Vec<Difference> {
    let nodes = |stand: &Stand| -> Vec<Part> {
        let part = |it: &NodeStand| Part { name: it.node.clone(), clients: it.clients, load: it.load };
        stand.nodes.iter().map(part).collect()
    };
    let mut all = compared(Kind::Region, &was.regions, &is.regions);
    all.extend(compared(Kind::Line, &was.lines, &is.lines));
    all.extend(compared(Kind::Node, &nodes(was), &nodes(is)));
    all
}

fn compared(of: Kind, was: &[Part], is: &[Part]) -> Vec<Difference> {
    let mut by_name: BTreeMap<&str, ([Ppm; 2], [Ppm; 2])> = BTreeMap::new();
    for (at, parts) in [was, is].into_iter().enumerate() {
        for part in parts {
            let (clients, load) = by_name.entry(&part.name).or_default();
            (clients[at], load[at]) = (part.clients, part.load);
        }
    }
    let differing =
        by_name.into_iter().filter(|(_, (clients, load))| clients[0] != clients[1] || load[0] != load[1]);
    let told = |(name, (clients, load)): (&str, _)| Difference { of, name: name.to_owned(), clients, load };
    let mut all: Vec<Difference> = differing.map(told).collect();
    let by = |it: &Difference| it.clients[0].0.abs_diff(it.clients[1].0);
    all.sort_by(|one, other| (by(other), &one.name).cmp(&(by(one), &other.name)));
    all
}
