//! To and from what is kept for a restart, and over a reload: by group key and service name.

use super::estimate::Division;
use super::reported::{KEPT, Reported};
use super::{Counted, DemandBook, Subjects};
use crate::base::clock::WallTime;
use crate::model::clients::ClientGroup;
use crate::model::demand::{KeptCell, KeptDemand, KeptReports, KeptService, WHOLE};
use crate::model::ids::NodeId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Parts of a query that are kept.
const FINE: f64 = 16.0;
/// Parts of a unit of capacity that are kept.
const MILLI: f64 = 1_000.0;

impl DemandBook {
    /// Everything, as of `wall`.
    pub fn keep(&self, wall: WallTime) -> KeptDemand {
        let service = |counted: &Counted| {
            let (division, reported) = (counted.division.as_ref(), self.kept_reports(counted));
            let cells = |of: &Division| (0..of.verified.len()).map(|at| kept(of, at)).collect();
            (division.is_some() || reported.is_some()).then(|| KeptService {
                name: counted.subject.name.clone(),
                cells: division.map(cells).unwrap_or_default(),
                drawn_from: division.filter(|of| !of.settled.is_empty()).map(|of| of.drawn_from as u64),
                reported,
            })
        };
        let names = self.services.iter().map(|counted| counted.subject.name.clone());
        let audience = self.services.iter().enumerate();
        KeptDemand {
            at: wall,
            groups: self.groups.iter().map(|group| group.key.clone()).collect(),
            services: self.services.iter().filter_map(service).collect(),
            audience: audience
                .map(|(at, counted)| (counted.subject.name.clone(), kept(&self.audience, at)))
                .collect(),
            divided: names.zip(self.divided.iter().copied()).collect(),
        }
    }

    fn kept_reports(&self, counted: &Counted) -> Option<KeptReports> {
        let reported = &counted.reported;
        let of = |at: usize| {
            let load = reported.smoothed.get(at).copied().unwrap_or_default();
            let share = reported.settled.get(at).copied().unwrap_or_default();
            ((load * MILLI).round() as u64, share)
        };
        let cell = |at: usize| {
            let ((load, share), group) = (of(at), u32::try_from(at).unwrap_or(u32::MAX));
            (load > 0 || share > 0).then_some((group, load, share))
        };
        let name = |node: &NodeId| self.reporting.get(node.index())?.clone();
        (!reported.reporters.is_empty()).then(|| KeptReports {
            reporters: reported.reporters.iter().filter_map(name).collect(),
            cells: (0..self.groups.len()).filter_map(cell).collect(),
            covered: reported.covered(),
            held_ms: reported.held_ms(),
        })
    }

    /// The same counts for other services or client groups; totals begin anew for services that are new.
    pub fn reloaded(
        &self,
        subjects: impl Into<Subjects>,
        groups: &Arc<[ClientGroup]>,
        weights: &[u64],
        now_ms: u64,
    ) -> Self {
        let mut book = Self::new(subjects, groups, weights, now_ms);
        book.adopt(&self.keep(WallTime(0)), 0.0, now_ms);
        for counted in &mut book.services {
            if let Some(old) = self.services.iter().find(|old| old.subject.name == counted.subject.name) {
                counted.at_ms = old.at_ms;
                counted.told = old.told;
                counted.tell_reported();
            }
        }
        book.audience_at_ms = self.audience_at_ms;
        book
    }

    /// Goes on where `kept` ended. A clock that went back makes nothing older than it is.
    #[must_use]
    pub fn restored(mut self, kept: &KeptDemand, wall: WallTime) -> Self {
        let now_ms = self.audience_at_ms;
        self.adopt(kept, wall.0.saturating_sub(kept.at.0) as f64, now_ms);
        self
    }

    /// Takes over what is known by name here. What is new goes by what is assumed of it, and together all
    /// sum to the whole again.
    fn adopt(&mut self, from: &KeptDemand, elapsed_ms: f64, now_ms: u64) {
        let keys: HashMap<&str, usize> =
            from.groups.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
        let old: Vec<Option<usize>> =
            self.groups.iter().map(|group| keys.get(group.key.as_str()).copied()).collect();
        let prior = Arc::clone(&self.prior);
        for counted in &mut self.services {
            let Some(own) = from.services.iter().find(|own| own.name == counted.subject.name) else {
                continue;
            };
            let cell = |at: usize| old.get(at).copied().flatten().and_then(|at| own.cells.get(at)).copied();
            if !own.cells.is_empty() {
                counted.division = Some(read(&prior, cell, own.drawn_from, elapsed_ms));
                counted.tell();
            }
            if let Some(kept) = &own.reported {
                let elapsed = (elapsed_ms as u64, now_ms);
                counted.reported = read_reports(kept, &self.reporting, (&old, &prior), elapsed);
                counted.tell_reported();
            }
        }
        let names: HashMap<&str, KeptCell> =
            from.audience.iter().map(|(name, cell)| (name.as_str(), *cell)).collect();
        let cell = |at: usize| names.get(self.services.get(at)?.subject.name.as_str()).copied();
        let is_drawn = from.audience.iter().any(|(_, cell)| cell.3 > 0);
        let prior = super::even(self.services.len());
        self.audience = read(&prior, cell, is_drawn.then_some(0), elapsed_ms);
        // Of reports that nobody makes any more nothing stays.
        if self.services.iter().any(|counted| counted.reported.says()) {
            self.divided = self.read_divided(&from.divided);
        }
        self.show_all();
    }

    /// Nothing unless it knows every service: what is new would have no part.
    fn read_divided(&self, kept: &[(String, u32)]) -> Vec<u32> {
        let find = |name: &str| kept.iter().find(|(known, _)| known == name).map(|(_, share)| *share);
        let known = self.services.iter().map(|counted| find(&counted.subject.name));
        match known.collect::<Option<Vec<u32>>>() {
            Some(shares) if shares.iter().any(|&share| share > 0) => {
                super::whole(shares.into_iter().map(f64::from))
            }
            _ => Vec::new(),
        }
    }
}

/// As far as nodes that report still are. A group that is new has what it would have without reports, of
/// the hundredth that stays so.
fn read_reports(
    kept: &KeptReports,
    reporting: &[Option<String>],
    (old, prior): (&[Option<usize>], &[f64]),
    (elapsed_ms, now_ms): (u64, u64),
) -> Reported {
    let names: HashSet<&str> = kept.reporters.iter().map(String::as_str).collect();
    let is_known = |name: &Option<String>| name.as_deref().is_some_and(|name| names.contains(name));
    let ids = reporting.iter().enumerate().filter(|(_, name)| is_known(name));
    let reporters: BTreeSet<NodeId> = ids.map(|(at, _)| NodeId::from_index(at)).collect();
    let are_fewer = reporters.len() < names.len();
    let cells: HashMap<usize, (u64, u32)> =
        kept.cells.iter().map(|&(group, load, share)| (group as usize, (load, share))).collect();
    let is_settled = cells.values().any(|(_, share)| *share > 0);
    if reporters.is_empty() || cells.is_empty() {
        return Reported::default();
    }
    let cell = |at: &Option<usize>| at.map(|at| cells.get(&at).copied().unwrap_or_default());
    let smoothed = old.iter().map(|at| cell(at).unwrap_or_default().0 as f64 / MILLI).collect();
    let share = |(at, prior): (&Option<usize>, &f64)| {
        cell(at).map_or(prior * KEPT, |(_, share)| f64::from(share) / f64::from(WHOLE))
    };
    let settled = match is_settled {
        true => super::whole(old.iter().zip(prior).map(share)),
        false => Vec::new(),
    };
    let held_ms = kept.held_ms.map(|held| held.saturating_add(elapsed_ms));
    let covered = if is_settled { kept.covered.fraction() } else { 0.0 };
    let reporters = (reporters, are_fewer);
    Reported::restored(reporters, smoothed, settled, (covered, held_ms), now_ms)
}

fn kept(division: &Division, at: usize) -> KeptCell {
    let count = |counts: &[f64]| (counts.get(at).copied().unwrap_or_default() * FINE).round() as u32;
    let slow = division.slow.get(at).copied().unwrap_or_default();
    let settled = division.settled.get(at).copied().unwrap_or_default();
    (count(&division.verified), count(&division.forgeable), (slow * f64::from(WHOLE)).round() as u32, settled)
}

fn read(
    prior: &[f64],
    cell: impl Fn(usize) -> Option<KeptCell>,
    drawn_from: Option<u64>,
    elapsed_ms: f64,
) -> Division {
    let mut division = Division::new(prior);
    let mut settled = Vec::with_capacity(prior.len());
    for (at, &assumed) in prior.iter().enumerate() {
        let known = cell(at);
        if let Some((verified, forgeable, slow, _)) = known {
            division.add(at, f64::from(forgeable) / FINE, f64::from(verified) / FINE);
            // Never nothing, from where no share could rise again.
            division.slow[at] = f64::from(slow.clamp(1, WHOLE)) / f64::from(WHOLE);
        }
        settled.push(known.map_or(assumed, |cell| f64::from(cell.3) / f64::from(WHOLE)));
    }
    let sum: f64 = division.slow.iter().sum();
    division.slow.iter_mut().for_each(|slow| *slow /= sum);
    if let Some(queries) = drawn_from {
        division.settled = super::whole(settled.into_iter());
        division.drawn_from = queries as f64;
    }
    division.fade(elapsed_ms);
    division
}
