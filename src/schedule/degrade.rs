//! The degradation ladder of each rule of each service: which rung its clients are on, and which part of its
//! newcomers is shed.
//!
//! ```text
//!  load of what the chain offers
//!    enter ───┬───────────── above for 3 s: shed more, at once by as much as is too much, then every 15 s
//!             │  as it is
//!    exit  ───┴───────────── below for `dwell`: shed 20 points less, and again after `dwell`
//!
//!  normal ◀─▶ spill ◀─▶ shed            part on later pools: from 1 % on for 3 s, up to 0.2 % for 30 s
//! ```
//! The load is what nodes report, and what is planned where they report nothing; a plan spills before it
//! leaves demand unserved, so what is above `enter` has nowhere to go. A share that is raised shows in the
//! load only when caches and sessions end, so steps up have a pause; steps down have the operator's. What counts as spilling is the policy's
//! (`planner.spill`).
//!
//! Pure, in integers, bounded by services and rules; it is part of the planner's memory, so a replay climbs
//! as the plan did. What a shed client is answered is the table's (`routing::guard`).

use super::book::{Book, NONE};
use super::demand::Reports;
use super::kept::Moved;
use super::ladder::Ladder;
use super::load::{Loads, part, ppm_of};
use super::sweep::Sweep;
use super::terrain::Terrain;
use crate::base::units::Ppm;
use crate::model::degradation::{Rung, RungStatus, Shed};
use crate::model::ids::{NodeId, ServiceId};
use crate::model::placement::{Placement, PlacementMode, Share};
use crate::model::planner::SpillRung;
use crate::model::policy::Policy;
use crate::model::service::Service;
use serde::{Deserialize, Serialize};

/// What begins a rung has to last so long: a report that is off once turns nobody away.
const ENTER_MS: u64 = 3_000;
/// Between two steps up: an answer lives in caches for about so long.
const RAISE_MS: u64 = 15_000;
/// Steps of the share, at least and down.
const LEAST_RAISE: u32 = 100_000;
const RAISE_GRAIN: u32 = 50_000;
const LOWER: u32 = 200_000;

/// All areas, by service and rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Degradation {
    services: Vec<Vec<Area>>,
}

/// The clients of one rule of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Area {
    pub rung: Rung,
    since_ms: u64,
    /// Of its newcomers.
    pub shed: Ppm,
    is_spilling: bool,
    /// Since when the share of spilled demand asks for a change.
    spill_turns_ms: Option<u64>,
    above_since_ms: Option<u64>,
    below_since_ms: Option<u64>,
    stepped_at_ms: u64,
    pressure: Pressure,
}

/// How hard the nodes of an area are pressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pressure {
    /// `None`: some node has no capacity to be full by, or none serves.
    pub utilisation: Option<Ppm>,
    pub spilled: Ppm,
    pub unserved: Ppm,
}

/// An area that changed its rung, or how many of its newcomers are shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungStep {
    pub service: ServiceId,
    /// Position of the rule.
    pub rule: u16,
    pub from: Rung,
    pub to: Rung,
    pub shed_before: Ppm,
    pub shed: Ppm,
    pub utilisation: Option<Ppm>,
}

impl Degradation {
    /// The state for services with so many rules each: this one where it fits.
    fn fit(&mut self, policy: &Policy) {
        self.services.resize_with(policy.services.len(), Vec::new);
        for (areas, service) in self.services.iter_mut().zip(&policy.services) {
            areas.resize(service.chains.len(), Area::default());
        }
    }

    /// By rule; empty while nobody is shed.
    pub fn sheds(&self, service: usize) -> Vec<Ppm> {
        let areas = self.services.get(service).map_or(&[][..], Vec::as_slice);
        match areas.iter().any(|area| area.shed > Ppm::ZERO) {
            true => areas.iter().map(|area| area.shed).collect(),
            false => Vec::new(),
        }
    }

    /// By group of a service: which part of its demand is not to be placed. `None`: nobody of it is shed.
    pub fn by_group(
        &self,
        service: usize,
        groups: usize,
        rule: impl Fn(usize) -> Option<usize>,
    ) -> Option<Vec<Ppm>> {
        let sheds = self.sheds(service);
        let of = |group: usize| rule(group).and_then(|rule| sheds.get(rule)).copied().unwrap_or_default();
        (!sheds.is_empty()).then(|| (0..groups).map(of).collect())
    }

    /// For the services of another policy: areas of the same service and name stay where they are.
    pub fn carried_over(&self, old: &Policy, new: &Policy) -> Self {
        let mut carried = Self::default();
        carried.fit(new);
        for (areas, service) in carried.services.iter_mut().zip(&new.services) {
            let was = old.services.iter().position(|other| other.name == service.name);
            let Some((was, known)) = was.and_then(|at| Some((&old.services[at], self.services.get(at)?)))
            else {
                continue;
            };
            for (area, rule) in areas.iter_mut().zip(&service.chains) {
                let name = rule.area_name(&new.clients);
                let before = was.chains.iter().position(|rule| rule.area_name(&old.clients) == name);
                if let Some(before) = before.and_then(|at| known.get(at)) {
                    *area = *before;
                }
                if service.shed.is_none() {
                    area.shed = Ppm::ZERO;
                }
            }
        }
        carried
    }

    /// By rule of a service, as of `now_ms`.
    pub fn tell(&self, policy: &Policy, service: usize, now_ms: u64) -> Vec<RungStatus> {
        let (Some(areas), Some(of)) = (self.services.get(service), policy.services.get(service)) else {
            return Vec::new();
        };
        let tell = |(area, rule): (&Area, &crate::model::service::ChainRule)| RungStatus {
            area: rule.area_name(&policy.clients),
            rung: area.rung,
            for_s: now_ms.saturating_sub(area.since_ms) / 1_000,
            shed: area.shed,
            utilisation: area.pressure.utilisation,
            spilled: area.pressure.spilled,
            unserved: area.pressure.unserved,
        };
        areas.iter().zip(&of.chains).map(tell).collect()
    }

    /// Takes in what a plan came to; who changed. `cut`: by node, the circuit of its region is not closed;
    /// empty: none is.
    pub fn judge(
        &mut self,
        sweep: &Sweep<'_>,
        reports: &Reports,
        (cut, moved): (&[bool], &Moved<'_>),
        now_ms: u64,
    ) -> Vec<RungStep> {
        let policy = sweep.terrain.input.policy;
        self.fit(policy);
        let is_tense =
            (0..policy.fleet.nodes.len()).any(|node| sweep.loads.stays_full(NodeId::from_index(node)));
        let over = over_ppm(sweep);
        let mut steps = Vec::new();
        for (at, areas) in self.services.iter_mut().enumerate() {
            let service = &policy.services[at];
            let is_spilling = areas.iter().any(|area| area.is_spilling);
            let mut pressures = vec![Pressure::default(); areas.len()];
            if is_tense || is_spilling {
                weigh(sweep, at, &over, moved, &mut pressures);
            }
            if service.shed.is_some() {
                for (rule, pressure) in pressures.iter_mut().enumerate() {
                    let ladder = sweep.terrain.ladder_of_all(at, rule);
                    pressure.utilisation = utilisation(ladder, &sweep.loads, reports);
                }
            }
            for ((rule, area), pressure) in areas.iter_mut().enumerate().zip(pressures) {
                let (from, shed_before) = (area.rung, area.shed);
                let is_cut = !cut.is_empty() && is_cut(service, rule, cut);
                area.step(pressure, (&policy.planner.spill, service.shed.as_ref()), is_cut, now_ms);
                if (from, shed_before) != (area.rung, area.shed) {
                    steps.push(RungStep {
                        service: ServiceId::from_index(at),
                        rule: u16::try_from(rule).unwrap_or(u16::MAX),
                        from,
                        to: area.rung,
                        shed_before,
                        shed: area.shed,
                        utilisation: pressure.utilisation,
                    });
                }
            }
        }
        steps
    }
}

impl Area {
    fn step(
        &mut self,
        pressure: Pressure,
        (spill, policy): (&SpillRung, Option<&Shed>),
        is_cut: bool,
        now_ms: u64,
    ) {
        self.pressure = pressure;
        self.spill(pressure.spilled, spill, now_ms);
        match (policy, pressure.utilisation) {
            (Some(policy), Some(utilisation)) => self.shed(utilisation, policy, now_ms),
            (Some(_), None) => (self.above_since_ms, self.below_since_ms) = (None, None),
            (None, _) => self.shed = Ppm::ZERO,
        }
        let rung = match (self.shed > Ppm::ZERO, self.is_spilling) {
            _ if is_cut => Rung::Circuit,
            (true, _) => Rung::Shed,
            (false, true) => Rung::Spill,
            (false, false) => Rung::Normal,
        };
        if rung != self.rung {
            (self.rung, self.since_ms) = (rung, now_ms);
        }
    }

    fn spill(&mut self, spilled: Ppm, rung: &SpillRung, now_ms: u64) {
        let (is_asked, dwell_ms) = match self.is_spilling {
            false => (spilled >= rung.enter, ENTER_MS),
            true => (spilled <= rung.exit, rung.dwell_ms()),
        };
        let since_ms = is_asked.then(|| self.spill_turns_ms.unwrap_or(now_ms));
        let turns = since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= dwell_ms);
        self.is_spilling ^= turns;
        self.spill_turns_ms = since_ms.filter(|_| !turns);
    }

    fn shed(&mut self, utilisation: Ppm, policy: &Shed, now_ms: u64) {
        let lasts = |since_ms: Option<u64>, is_so: bool| is_so.then(|| since_ms.unwrap_or(now_ms));
        self.above_since_ms = lasts(self.above_since_ms, utilisation > policy.enter);
        self.below_since_ms = lasts(self.below_since_ms, utilisation < policy.exit);
        let age_ms = |since_ms: u64| now_ms.saturating_sub(since_ms);
        let is_first = self.shed == Ppm::ZERO;
        let has_lasted = |since_ms: Option<u64>, ms: u64| since_ms.is_some_and(|since| age_ms(since) >= ms);
        if has_lasted(self.above_since_ms, ENTER_MS) && (is_first || age_ms(self.stepped_at_ms) >= RAISE_MS) {
            let excess = Ppm::ratio(u64::from(utilisation.0 - policy.enter.0), u64::from(utilisation.0));
            let step = excess.0.next_multiple_of(RAISE_GRAIN).max(LEAST_RAISE);
            let raised = Ppm(self.shed.0.saturating_add(step).min(Ppm::WHOLE.0));
            if raised != self.shed {
                (self.shed, self.stepped_at_ms) = (raised, now_ms);
            }
            return;
        }
        let dwell_ms = u64::try_from(policy.dwell.as_millis()).unwrap_or(u64::MAX);
        if !is_first && has_lasted(self.below_since_ms, dwell_ms) && age_ms(self.stepped_at_ms) >= dwell_ms {
            (self.shed, self.stepped_at_ms) = (Ppm(self.shed.0.saturating_sub(LOWER)), now_ms);
        }
    }
}

/// Whether a region of the rule's chain is given nobody, or only a few.
fn is_cut(service: &Service, rule: usize, cut: &[bool]) -> bool {
    let pools = service.chains[rule].pools.iter().filter_map(|id| service.pools.get(id.index()));
    let mut members = pools.flat_map(|pool| &pool.members);
    members.any(|member| cut.get(member.node.index()) == Some(&true))
}

/// Load against capacity of all that a chain offers.
fn utilisation(ladder: &Ladder, loads: &Loads, reports: &Reports) -> Option<Ppm> {
    if ladder.all_down {
        return None;
    }
    let (mut load, mut all) = (0_u64, 0_u64);
    for rung in &ladder.rungs {
        let (capacity, ..) = loads.limits(rung.node)?;
        let own = reports.burden(rung.node.index()).unwrap_or_else(|| loads.load(rung.node));
        (load, all) = (load.saturating_add(own), all.saturating_add(capacity));
    }
    (all > 0).then(|| Ppm(u32::try_from(ppm_of(load, all)).unwrap_or(u32::MAX)))
}

/// By node: which part of what is planned there is above its cap.
fn over_ppm(sweep: &Sweep<'_>) -> Vec<u32> {
    let over = |at: usize| {
        let planned = sweep.loads.planned(at);
        ppm_of(sweep.loads.over_cap(NodeId::from_index(at)).min(planned), planned).min(1_000_000) as u32
    };
    (0..sweep.terrain.signals.len()).map(over).collect()
}

/// By placement: whether any of its clients may be on a later pool or above a cap. So that not every one is
/// looked at: they are many, and all over the memory.
fn suspects(book: &Book<'_>, is_over: &[bool], strays: Option<&[u32]>, changed: &[u32]) -> Vec<bool> {
    let Some(strays) = strays else { return vec![true; book.count()] };
    let mut suspects = match is_over.contains(&true) {
        true => book.names_any(is_over),
        false => vec![false; book.count()],
    };
    for &group in strays.iter().chain(changed) {
        let suspect = suspects.get_mut(book.at[group as usize] as usize);
        suspect.into_iter().for_each(|suspect| *suspect = true);
    }
    suspects
}

/// Whether a part of the group counts as spilled or unserved while no node is above its cap.
fn is_astray(terrain: &Terrain<'_>, book: &Book<'_>, service: usize, group: usize) -> bool {
    let Some(ladder) = terrain.ladder(service, group) else { return false };
    let is_spilled = |share: &Share| ladder.rung(share.node).is_some_and(|rung| rung.level > 0);
    let held = book.get(book.at[group]);
    held.is_none_or(|it| it.mode != PlacementMode::Normal || it.shares.iter().any(is_spilled))
}

/// How much of a service's demand, by rule, is on later pools and above caps; `over`: [`over_ppm`].
fn weigh(sweep: &Sweep<'_>, service: usize, over: &[u32], moved: &Moved<'_>, pressures: &mut [Pressure]) {
    let (terrain, book) = (sweep.terrain, &sweep.books[service]);
    let (changed, strays) = (&moved.changed[service], moved.strays[service]);
    let is_over: Vec<bool> = over.iter().map(|&over| over > 0).collect();
    let is_known = strays.is_some() && !book.at.contains(&NONE);
    // Mostly no node is above its cap, and nobody who moved went down his chain.
    let mut moving = strays.unwrap_or_default().iter().chain(changed).map(|&group| group as usize);
    if is_known && !is_over.contains(&true) && !moving.any(|it| is_astray(terrain, book, service, it)) {
        return;
    }
    let suspects = suspects(book, &is_over, strays, changed);
    if is_known && !suspects.contains(&true) {
        return;
    }
    let mut sums = vec![Sums::default(); pressures.len()];
    // By placement: clients of one rule who see the nodes alike are weighed together.
    let mut crowds: Vec<Option<Crowd>> = vec![None; book.count()];
    let chains = &terrain.ground.chains[service];
    let of_set: Vec<Option<(usize, usize)>> = terrain
        .ground
        .rules(service)
        .iter()
        .map(|rule| rule.map(|rule| (usize::from(rule), chains[usize::from(rule)] as usize)))
        .collect();
    let is_uniform = terrain.reach.is_uniform();
    let of = |group: usize| match is_uniform {
        true => of_set[terrain.ground.area_set(group)],
        false => terrain.rule_and_ladder(service, group),
    };
    for ((group, &at), own) in book.at.iter().enumerate().zip(sweep.demand.amounts(service)) {
        let Some((rule, ladder)) = of(group) else { continue };
        sums[rule].all = sums[rule].all.saturating_add(own);
        if suspects.get(at as usize) == Some(&false) {
            continue;
        }
        match crowds.get_mut(at as usize) {
            Some(Some(crowd)) if (crowd.rule, crowd.ladder) == (rule, ladder) => {
                crowd.amount = crowd.amount.saturating_add(own);
            }
            Some(place) => {
                let before = place.replace(Crowd { rule, ladder, amount: own });
                before.iter().for_each(|crowd| crowd.weigh((sweep, over), book.get(at), &mut sums));
            }
            None => sums[rule].unserved = sums[rule].unserved.saturating_add(own),
        }
    }
    for (at, crowd) in crowds.iter().enumerate() {
        crowd.iter().for_each(|crowd| crowd.weigh((sweep, over), book.get(at as u32), &mut sums));
    }
    for (pressure, sums) in pressures.iter_mut().zip(sums) {
        (pressure.spilled, pressure.unserved) =
            (Ppm::ratio(sums.spilled, sums.all), Ppm::ratio(sums.unserved, sums.all));
    }
}

/// Of a rule's clients, fine units.
#[derive(Clone, Copy, Default)]
struct Sums {
    all: u64,
    spilled: u64,
    unserved: u64,
}

/// Clients of one rule and view that have the same placement.
#[derive(Clone, Copy)]
struct Crowd {
    rule: usize,
    ladder: usize,
    amount: u64,
}

impl Crowd {
    fn weigh(&self, (sweep, over): (&Sweep<'_>, &[u32]), placement: Option<&Placement>, sums: &mut [Sums]) {
        let sums = &mut sums[self.rule];
        let Some(placement) = placement.filter(|it| it.mode == PlacementMode::Normal) else {
            sums.unserved = sums.unserved.saturating_add(self.amount);
            return;
        };
        let ladder = &sweep.terrain.ladders[self.ladder];
        for share in &placement.shares {
            let is_spilled = ladder.rung(share.node).is_some_and(|rung| rung.level > 0);
            let over = over[share.node.index()];
            if is_spilled || over > 0 {
                let own = part(self.amount, share.share.0);
                sums.spilled = sums.spilled.saturating_add(if is_spilled { own } else { 0 });
                sums.unserved = sums.unserved.saturating_add(part(own, over));
            }
        }
    }
}

#[cfg(test)]
mod tests;
