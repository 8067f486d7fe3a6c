//! To and from what is kept for a restart, and over a reload: by group key and service name.

use super::estimate::Division;
use super::{Counted, DemandBook, Subject};
use crate::base::clock::WallTime;
use crate::model::clients::ClientGroup;
use crate::model::demand::{KeptCell, KeptDemand, KeptService, WHOLE};
use std::collections::HashMap;
use std::sync::Arc;

/// Parts of a query that are kept.
const FINE: f64 = 16.0;

impl DemandBook {
    /// Everything, as of `wall`.
    pub fn keep(&self, wall: WallTime) -> KeptDemand {
        let service = |counted: &Counted| {
            let division = counted.division.as_ref()?;
            Some(KeptService {
                name: counted.subject.name.clone(),
                cells: (0..division.verified.len()).map(|at| kept(division, at)).collect(),
                drawn_from: (!division.settled.is_empty()).then_some(division.drawn_from as u64),
            })
        };
        let audience = self.services.iter().enumerate();
        KeptDemand {
            at: wall,
            groups: self.groups.iter().map(|group| group.key.clone()).collect(),
            services: self.services.iter().filter_map(service).collect(),
            audience: audience
                .map(|(at, counted)| (counted.subject.name.clone(), kept(&self.audience, at)))
                .collect(),
        }
    }

    /// The same counts for other services or client groups; totals begin anew for services that are new.
    pub fn reloaded(
        &self,
        subjects: Vec<Subject>,
        groups: &Arc<[ClientGroup]>,
        weights: &[u64],
        now_ms: u64,
    ) -> Self {
        let mut book = Self::new(subjects, groups, weights, now_ms);
        book.adopt(&self.keep(WallTime(0)), 0.0);
        for counted in &mut book.services {
            if let Some(old) = self.services.iter().find(|old| old.subject.name == counted.subject.name) {
                counted.at_ms = old.at_ms;
                counted.told = old.told;
            }
        }
        book.audience_at_ms = self.audience_at_ms;
        book
    }

    /// Goes on where `kept` ended. A clock that went back makes nothing older than it is.
    #[must_use]
    pub fn restored(mut self, kept: &KeptDemand, wall: WallTime) -> Self {
        self.adopt(kept, wall.0.saturating_sub(kept.at.0) as f64);
        self
    }

    /// Takes over what is known by name here. What is new goes by what is assumed of it, and together all
    /// sum to the whole again.
    fn adopt(&mut self, from: &KeptDemand, elapsed_ms: f64) {
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
            counted.division = Some(read(&prior, cell, own.drawn_from, elapsed_ms));
            counted.tell();
        }
        let names: HashMap<&str, KeptCell> =
            from.audience.iter().map(|(name, cell)| (name.as_str(), *cell)).collect();
        let cell = |at: usize| names.get(self.services.get(at)?.subject.name.as_str()).copied();
        let is_drawn = from.audience.iter().any(|(_, cell)| cell.3 > 0);
        let prior = super::even(self.services.len());
        self.audience = read(&prior, cell, is_drawn.then_some(0), elapsed_ms);
        self.show_all();
    }
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
