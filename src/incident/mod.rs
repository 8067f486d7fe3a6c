//! Status to incidents: what went wrong for clients, since when, why most likely, and when it was restored.
//!
//! ```text
//!  Status ─▶ facts (real faults) ─▶ hold ─▶ which case? ─▶ case: members, timeline, clocks ─▶ Incident
//!  table before ─▶ Clientele (who was where) ──────────────▶ impact: services, areas, lines ─┘
//! ```
//!
//! | file | its idea |
//! |---|---|
//! | `facts` | what is a fault at all, and its evidence |
//! | `cause` | which faults are one incident, and what they have in common |
//! | `case` | one incident under way |
//! | `impact` | who felt it |
//! | `slo` | what services promised and kept |
//!
//! The book is given the status that everybody sees, as [`alert`](crate::model::alert)s are made of it, and asks for one
//! thing more: who was where in the table before. Time is an argument; state is bounded by the fleet and by
//! [`MOST_OPEN`].

mod case;
mod cause;
mod facts;
mod impact;
pub mod slo;
#[cfg(test)]
mod tests;

pub use case::Charge;

use crate::base::clock::{MonoTime, WallTime};
use crate::base::units::Ppm;
use crate::model::incident::{Clientele, Incident, IncidentRules, MOST_OPEN, Part};
use crate::model::status::Status;
use case::Case;
use facts::{Facts, Found};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// After a start, until it is known what is not the matter any more.
const SETTLING: Duration = Duration::from_secs(30);

/// Time, as a book is given it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub mono: MonoTime,
    pub wall: WallTime,
}

/// Something that is wrong and may yet be nothing.
#[derive(Clone, Debug)]
struct Pending {
    since: MonoTime,
    /// An operator did it, who is told of what they do.
    is_excused: bool,
}

/// What the book hands to whoever keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub serial: u64,
    pub incident: Incident,
}

/// Everything that is the matter, by cause.
#[derive(Debug, Default)]
pub struct IncidentBook {
    rules: IncidentRules,
    cases: Vec<Case>,
    /// Closed since somebody asked.
    closed: Vec<Kept>,
    charges: Vec<Charge>,
    pending: BTreeMap<(Part, String), Pending>,
    /// Of each node, while nothing is wrong with it: the share of all planned demand that it carries.
    shares: BTreeMap<String, Ppm>,
    serials: u64,
    settles_at: Option<MonoTime>,
}

impl IncidentBook {
    pub fn new(rules: IncidentRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: IncidentRules) {
        self.rules = rules;
    }

    /// Takes up what a former run left open, before the first status. Gives the serials.
    pub fn restore(&mut self, incidents: Vec<Incident>, now: Moment) -> Vec<u64> {
        self.settles_at = Some(now.mono + SETTLING);
        let take = |incident| {
            self.serials += 1;
            self.cases.push(Case::restored(self.serials, incident, now));
            self.serials
        };
        incidents.into_iter().take(MOST_OPEN).map(take).collect()
    }

    /// Takes in a status, or the same again later. `before` tells who was where in the last table that was seen before
    /// this status.
    pub fn observe(&mut self, status: &Status, before: &dyn Fn() -> Arc<Clientele>, now: Moment) {
        let facts = Facts::of(status, &self.rules, now.wall);
        self.take_in(&facts, before, now);
        self.unite(&facts, now);
        let is_settled = self.settles_at.is_none_or(|at| now.mono >= at);
        for case in &mut self.cases {
            let charges = case.look(&facts, &self.rules, is_settled, now);
            self.charges.extend(charges);
        }
        self.put_away();
        self.note_shares(&facts);
    }

    /// What is new joins a case, or opens one.
    fn take_in(&mut self, facts: &Facts<'_>, before: &dyn Fn() -> Arc<Clientele>, now: Moment) {
        let mut still = BTreeMap::new();
        let mut taken: Option<Arc<Clientele>> = None;
        for found in &facts.found {
            if self.cases.iter().any(|case| case.is_of(found)) {
                continue;
            }
            let key = (found.part, found.name.clone());
            let fresh = || Pending { since: now.mono, is_excused: found.excuse.is_some() };
            let pending = self.pending.remove(&key).unwrap_or_else(fresh);
            let seat = self.cases.iter().position(|case| cause::belongs(case, found));
            let has_lasted = now.mono.since(pending.since) >= found.lasting;
            if seat.is_none() && (pending.is_excused || !has_lasted) {
                still.insert(key, pending);
                continue;
            }
            let base = Arc::clone(taken.get_or_insert_with(before));
            let at = seat.unwrap_or_else(|| self.open(found, &base, facts, now));
            let share =
                found.node.as_ref().and_then(|node| self.shares.get(node)).copied().unwrap_or_default();
            let case = &mut self.cases[at];
            case.join(found, share, now);
            let base = Arc::clone(case.base.get_or_insert(base));
            impact::recount(&mut case.incident, &base, facts.status);
        }
        self.pending = still;
    }

    fn open(&mut self, found: &Found, base: &Arc<Clientele>, facts: &Facts<'_>, now: Moment) -> usize {
        if self.cases.len() < MOST_OPEN {
            self.serials += 1;
            self.cases.push(Case::open(self.serials, found, Arc::clone(base), facts.status, now));
        }
        self.cases.len() - 1
    }

    /// Cases that turned out to be one become the older of them.
    fn unite(&mut self, facts: &Facts<'_>, now: Moment) {
        let mut at = 0;
        while at < self.cases.len() {
            let other = (at + 1..self.cases.len()).find(|other| {
                let (one, other) = (&self.cases[at], &self.cases[*other]);
                cause::is_one(one, other, facts)
            });
            let Some(other) = other else {
                at += 1;
                continue;
            };
            let mut other = self.cases.remove(other);
            let case = &mut self.cases[at];
            case.absorb(&other, now);
            if let Some(base) = case.base.clone() {
                impact::recount(&mut case.incident, &base, facts.status);
            }
            let into = match case.incident.id {
                0 => "another incident of the same cause".to_owned(),
                id => format!("part of incident {id}, which has the same cause"),
            };
            other.close(now, into);
            self.closed.push(Kept { serial: other.serial, incident: other.incident });
        }
    }

    fn put_away(&mut self) {
        let (closed, open) = self.cases.drain(..).partition(|case| case.incident.is_closed());
        self.cases = open;
        let kept = |case: Case| Kept { serial: case.serial, incident: case.incident };
        self.closed.extend(Vec::into_iter(closed).map(kept));
    }

    fn note_shares(&mut self, facts: &Facts<'_>) {
        let wrong: Vec<&String> = facts.found.iter().filter_map(|found| found.node.as_ref()).collect();
        let members: Vec<&str> = self
            .cases
            .iter()
            .flat_map(|case| case.members().iter().filter(|member| member.whole_at.is_none()))
            .map(|member| member.name.as_str())
            .collect();
        for node in &facts.status.nodes {
            let is_well = !wrong.contains(&&node.name) && !members.contains(&node.name.as_str());
            if is_well {
                match self.shares.get_mut(&node.name) {
                    Some(share) => *share = node.share,
                    None => drop(self.shares.insert(node.name.clone(), node.share)),
                }
            }
        }
        if self.shares.len() > facts.nodes.len() + MOST_OPEN {
            self.shares.retain(|name, _| facts.nodes.contains_key(name.as_str()));
        }
    }

    /// The incidents under way, the oldest first.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.cases.iter().map(|case| &case.incident)
    }

    /// What is to be kept: at once what is news, and with `all` what changed in figures alone.
    pub fn take_changed(&mut self, all: bool) -> Vec<Kept> {
        let mut changed = std::mem::take(&mut self.closed);
        for case in &mut self.cases {
            if case.is_news || (all && case.is_changed) {
                (case.is_news, case.is_changed) = (false, false);
                changed.push(Kept { serial: case.serial, incident: case.incident.clone() });
            }
        }
        changed
    }

    /// What was not kept after all is to be kept again.
    pub fn give_back(&mut self, kept: Kept) {
        match self.cases.iter_mut().find(|case| case.serial == kept.serial) {
            Some(case) => case.is_news = true,
            None => self.closed.push(kept),
        }
    }

    /// The number that the history gave it.
    pub fn number(&mut self, serial: u64, id: u64) {
        if let Some(case) = self.cases.iter_mut().find(|case| case.serial == serial) {
            case.incident.id = id;
        }
    }

    /// Has every incident that is open name these, in place of those before.
    pub fn set_runbooks(&mut self, of: impl Fn(&Incident) -> Vec<String>) {
        for case in &mut self.cases {
            let runbooks = of(&case.incident);
            if runbooks != case.incident.runbooks {
                case.incident.runbooks = runbooks;
                case.is_changed = true;
            }
        }
    }

    /// What clients lost while caches held lost nodes, since somebody asked.
    pub fn take_charges(&mut self) -> Vec<Charge> {
        std::mem::take(&mut self.charges)
    }

    /// Services of which clients may be without a node.
    pub fn is_quiet(&self) -> bool {
        self.cases.is_empty() && self.pending.is_empty()
    }
}
