//! One plan, from start to finish.
//!
//! A first plan has nobody to be loyal to: it places everyone, improves the result for a few rounds
//! at the congestion prices that came out of it, and, where nodes already report more load than it
//! put on them, does so once more with that load taken as given. Every later plan secures first
//! (newcomers, orphans) and then, in a full pass, reconsiders the rest.

use super::book::Book;
use super::change::Footing;
use super::cost::NodeSignal;
use super::demand::{Demand, Reports};
use super::division::Division;
use super::ebb;
use super::follow::Habit;
use super::kept::{self, Keep, Kept, KeptService, Moved, Walk};
use super::load::{Loads, part, ppm_of, units};
use super::memory::PlannerMemory;
use super::moves::moves;
use super::pick::WHOLE;
use super::sweep::{Patience, Sweep};
use super::tally::Tally;
use super::terrain::{Returns, Terrain};
use super::{Overload, Pass, Plan, PlanInput};
use crate::base::units::Ppm;
use crate::model::account::Account;
use crate::model::fleet::Node;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::placement::{Assignment, PlacementMode, ServiceAssignment, Share};
use crate::model::reach::{self, Reach, View};
use crate::model::service::Service;
use crate::model::verdict::{NodeHealth, Verdict};
use std::sync::Arc;

/// Rounds of improvement of a first plan over everyone; they end early when nobody moves.
const FIRST_ROUNDS: usize = 3;
/// Before each, rounds over what is priced.
const PRICED_ROUNDS: usize = 3;
const MOST_NOTES: usize = 16;
/// A service's demand above caps up to this part of it is what rounding leaves there.
const OVERLOAD_TRACE: Ppm = Ppm(1_000);
/// Of nodes without capacity.
const TARGET_DEFAULT_PPM: u32 = 750_000;

/// Makes the plan. Never fails: what cannot be placed well is placed badly, and noted.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let (opening, books) = Opening::of(input);
    let mut memory = opening.memory.clone();
    let sweep = if opening.first {
        opening.place_all(books, &mut memory)
    } else {
        opening.follow_up(books, &mut memory)
    };
    let cut = memory.circuits.cut(&input.policy.fleet);
    let strays = kept::strays(&opening.terrain, input.memory.kept.of_ground(&opening.terrain.ground));
    let changed: Vec<Vec<u32>> = sweep.books.iter().map(Book::changed).collect();
    let moved = Moved { changed: &changed, strays: &strays };
    let steps = memory.degradation.judge(&sweep, &opening.reports, (&cut, &moved), memory.at_ms);
    let (plan, services) = finish(sweep, memory, &opening, &moved);
    let kept = opening.keep(services);
    Plan { memory: PlannerMemory { kept, ..plan.memory }, steps, ..plan }
}

/// What is known before the first decision.
pub(super) struct Opening<'a> {
    pub terrain: Terrain<'a>,
    memory: PlannerMemory,
    demand: Demand,
    walk: Arc<Walk>,
    reports: Reports,
    /// By node: load that is not the plan's.
    base: Vec<u64>,
    /// By node: load that is there beside the previous assignment and will be gone.
    passing: Vec<u64>,
    /// By node: how much less than its cap the table should give it.
    reserves: Vec<u64>,
    /// Nobody has a placement.
    first: bool,
    /// By service: the previous assignment.
    tallies: Vec<Arc<Tally>>,
}

impl<'a> Opening<'a> {
    /// Also the books, opened at the previous assignment.
    pub fn of(input: &'a PlanInput<'a>) -> (Self, Vec<Book<'a>>) {
        let (mut memory, elapsed_ms) = resume(input);
        let keep = input.memory.kept.of(input);
        let terrain = survey(input, &mut memory, keep);
        let mut demand = divide(&terrain, &memory);
        let alike = keep.map_or_else(Vec::new, |keep| demand.is_split_as(&keep.demand));
        let walk = keep.filter(|_| alike.iter().all(|alike| *alike)).map(|keep| Arc::clone(&keep.walk));
        let walk = walk.unwrap_or_else(|| Arc::new(Walk::new(&demand, input.groups)));
        let books = open(input, keep);
        let known =
            |at: usize| keep.filter(|_| alike.get(at) == Some(&true))?.service(at, previous(input, at));
        let mut tallies = tallies(&books, &demand, terrain.signals.len(), known);
        let current = carried(&tallies);
        let habits: Vec<Habit> = input.policy.services.iter().map(Habit::of).collect();
        if memory.is_new() {
            memory.carried.clone_from(&current);
        } else {
            memory.follow(elapsed_ms, &current, &habits);
        }
        let reports = Reports::new(input.policy, input.health, current);
        let reports = reports.divided_by(input.demand, input.policy.services.len());
        demand.services =
            reports.measure(input.policy, &mut memory, elapsed_ms, |service| demand.kept(service));
        for (at, (tally, book)) in tallies.iter_mut().zip(&books).enumerate() {
            let then = keep.and_then(|keep| keep.demand.services.get(at));
            if known(at).is_none() || then != demand.services.get(at) {
                Arc::make_mut(tally).load(book, &demand, at);
            }
        }
        let first = books.iter().all(|book| book.at.iter().all(|&at| book.get(at).is_none()));
        let (base, passing, reserves) = (Vec::new(), Vec::new(), Vec::new());
        let mut opening =
            Self { terrain, memory, demand, walk, reports, base, passing, reserves, first, tallies };
        if !first {
            opening.see_others(&habits);
        }
        (opening, books)
    }

    /// Load beside what the previous assignment explains, and what is still there or will be for a while.
    fn see_others(&mut self, habits: &[Habit]) {
        let Self { memory, demand, reports, .. } = self;
        let policy = self.terrain.input.policy;
        let known = reports.known(memory);
        let base = reports.base(policy, memory, |node| known[node]);
        let mut passing = memory.passing(reports.current(), habits, &demand.services);
        // What is too little to be base load still takes room from newcomers.
        for (node, unexplained) in reports.unexplained(&known).enumerate() {
            passing[node] = passing[node].saturating_add(unexplained.saturating_sub(base[node]));
        }
        let carried = (&demand.services[..], &base[..]);
        self.reserves = ebb::reserves(&policy.fleet.nodes, reports, memory, habits, carried);
        (self.base, self.passing) = (base, passing);
    }

    /// As it was before this plan, at its time.
    pub fn memory(&self) -> &PlannerMemory {
        &self.memory
    }

    /// The account with the previous assignment on it.
    pub fn account(&self) -> Loads {
        let mut loads = self.idle(&self.base);
        for (node, &passing) in self.passing.iter().enumerate() {
            loads.pass(NodeId::from_index(node), passing);
        }
        loads.division = Division::new(&self.guesses(), self.terrain.signals.len());
        let mut planned = vec![0_u128; self.terrain.signals.len()];
        for tally in &self.tallies {
            planned.iter_mut().zip(&tally.loads).for_each(|(sum, own)| *sum = sum.saturating_add(*own));
        }
        for (node, planned) in planned.into_iter().enumerate() {
            loads.set_planned(node, u64::try_from(planned).unwrap_or(u64::MAX));
        }
        loads
    }

    /// By service whose demand is measured: what was on nodes that may not serve any more, or all of it if
    /// nobody lost a node.
    fn guesses(&self) -> Vec<Option<u64>> {
        let (nodes, serving) = (self.terrain.signals.len(), &self.terrain.reach.global().may_serve);
        let lost = |(service, policy): (usize, &Service)| {
            let row = &self.reports.current()[service * nodes..(service + 1) * nodes];
            let lost = row.iter().zip(serving).filter(|(_, serves)| !**serves).map(|(&ppm, _)| ppm).sum();
            policy.demand.is_none().then(|| part(self.demand.services[service], lost))
        };
        let services = &self.terrain.input.policy.services;
        let lost: Vec<Option<u64>> = services.iter().enumerate().map(lost).collect();
        if lost.iter().flatten().any(|&lost| lost > 0) {
            return lost;
        }
        let demands = services.iter().zip(&self.demand.services);
        demands.map(|(service, &demand)| service.demand.is_none().then_some(demand)).collect()
    }

    /// The account with nothing planned.
    fn idle(&self, base: &[u64]) -> Loads {
        let reported = |node: usize| u64::from(self.terrain.signals[node].utilisation_ppm);
        let mut loads = Loads::idle(&self.terrain.input.policy.fleet.nodes, reported);
        loads.spill_end_ppm = u64::from(self.terrain.input.policy.planner.spill_end.0);
        for (node, &base) in base.iter().enumerate() {
            loads.set_base(node, base);
        }
        for (node, memory) in self.memory.nodes.iter().enumerate() {
            loads.set_full(node, memory.full || memory.strained_at_ms.is_some());
        }
        let ramps = self.terrain.returns[0].ramps.iter().enumerate();
        ramps.filter(|(_, ramp)| **ramp < WHOLE).for_each(|(node, &ramp)| loads.ramp(node, ramp));
        loads
    }

    fn sweep<'t>(&'t self, loads: Loads, books: Vec<Book<'t>>) -> Sweep<'t> {
        let purse = self.memory.spent.purse(&self.terrain.input.policy.planner.budget);
        let mut sweep = Sweep::new(&self.terrain, &self.demand, &self.walk, loads, books, purse);
        // Who has no place yet cannot be held there.
        if !self.first {
            sweep.held = self.memory.held(self.terrain.input.groups);
        }
        sweep
    }

    /// A first plan; twice where nodes report more than the draft explains.
    fn place_all<'t>(&'t self, books: Vec<Book<'t>>, memory: &mut PlannerMemory) -> Sweep<'t> {
        let draft = self.draft(&[], books);
        let known = |node: usize| draft.loads.planned(node);
        let base = self.reports.base(self.terrain.input.policy, memory, known);
        if base.iter().all(|&base| base == 0) {
            return self.improve(draft);
        }
        self.improve(self.draft(&base, open(self.terrain.input, None)))
    }

    fn draft<'t>(&'t self, base: &[u64], books: Vec<Book<'t>>) -> Sweep<'t> {
        let mut sweep = self.sweep(self.idle(base), books);
        sweep.place_all();
        sweep
    }

    fn improve<'t>(&self, mut sweep: Sweep<'t>) -> Sweep<'t> {
        if !sweep.contended {
            sweep.refresh_all_backups();
            return sweep;
        }
        sweep.relieve(Pass::Full);
        for _ in 0..FIRST_ROUNDS {
            while_moving(&mut sweep, &self.memory);
            sweep.next_round();
            if sweep.reconsider_all(&self.memory, Patience::Free) == 0 {
                break;
            }
        }
        sweep.polish();
        sweep.relieve(Pass::Full);
        sweep.level();
        sweep.refresh_all_backups();
        sweep
    }

    fn follow_up<'t>(&'t self, books: Vec<Book<'t>>, memory: &mut PlannerMemory) -> Sweep<'t> {
        let input = self.terrain.input;
        let touched = kept::touched(&self.terrain, &books, input.memory.kept.of_ground(&self.terrain.ground));
        let mut sweep = self.sweep(self.account(), books);
        let before = &self.memory.footing;
        let footing = || Footing::of(&self.terrain, &sweep.loads, before.next_turn());
        let footing = (input.pass == Pass::Full).then(footing);
        match input.pass {
            Pass::Evacuation => sweep.rescue(&touched, &self.kept_for_the_next()),
            Pass::Full => {
                sweep.secure(&touched);
                sweep.relieve(Pass::Full);
            }
        }
        match footing {
            Some(footing) => {
                sweep.level();
                if memory.is_aftermath() {
                    sweep.make_room(&self.memory);
                }
                sweep.ebb(&self.reserves, &self.memory);
                sweep.changes = footing.since(before);
                memory.footing = footing;
                sweep.reconsider_all(&self.memory, Patience::Patient);
            }
            None => {
                sweep.pending.clone_from(&self.memory.pending);
                sweep.wished_ppb = self.memory.wished_ppb;
            }
        }
        sweep.touched = touched;
        sweep
    }

    /// By node: of what all of them would take of it if nodes that fail too fell now as well, the part of those nodes' clients;
    /// of the regions where nodes are lost. Empty: nothing fails there. Else those of the first to fall, who could go
    /// anywhere, would be where those of the last have to go.
    fn kept_for_the_next(&self) -> Vec<u64> {
        let (input, next) = (self.terrain.input, self.next_to_fall());
        if next.is_empty() {
            return Vec::new();
        }
        let mut health = input.health.to_vec();
        for &node in &next {
            let families = &mut health[node.index()].families;
            families.iter_mut().flatten().for_each(|family| family.verdict = Verdict::Down);
        }
        let all = plan(&PlanInput { health: &health, ..*input });
        let is_next = |from: Option<NodeId>| from.is_some_and(|from| next.contains(&from));
        // By service: ppm of it that move, and those of them whose node falls next.
        let mut moved = vec![[0_u64; 2]; self.demand.services.len()];
        for one in &all.moves {
            let [all, next] = &mut moved[one.service.index()];
            *all += u64::from(one.share.0);
            *next += if is_next(one.from) { u64::from(one.share.0) } else { 0 };
        }
        let mut kept = vec![0_u64; self.terrain.signals.len()];
        for one in &all.moves {
            let (Some(to), [all, next]) = (one.to, moved[one.service.index()]) else { continue };
            let amount = part(self.demand.services[one.service.index()], one.share.0);
            let theirs = part(amount, ppm_of(next, all) as u32);
            kept[to.index()] = kept[to.index()].saturating_add(theirs);
        }
        kept
    }

    /// Nodes that serve and failed last, in regions where a node that carries somebody is lost. An operator's word goes
    /// before both.
    fn next_to_fall(&self) -> Vec<NodeId> {
        let input = self.terrain.input;
        let serves = &self.terrain.reach.global().may_serve;
        let region = |node: NodeId| input.policy.fleet.site_of(node).region;
        let judged = || {
            let judged = (0..).map(NodeId::from_index).zip(input.health).zip(serves);
            judged.filter(|((_, health), _)| health.forced.is_none())
        };
        let carries = |node: NodeId| self.tallies.iter().any(|tally| tally.loads[node.index()] > 0);
        let lost: Vec<NodeId> = judged()
            .filter(|((node, _), serves)| !**serves && carries(*node))
            .map(|((node, _), _)| node)
            .collect();
        let is_hit = |node: NodeId| lost.iter().any(|&other| region(other) == region(node));
        let fails = |health: &NodeHealth| health.best().is_some_and(|best| best.is_failing);
        let next = judged().filter(|((node, health), serves)| **serves && fails(health) && is_hit(*node));
        next.map(|((node, _), _)| node).collect()
    }

    /// What makes the next plan quicker.
    fn keep(self, services: Vec<KeptService>) -> Kept {
        let Self { demand, walk, .. } = self;
        let Terrain { ground, reach, pricing, orders, ladders, .. } = self.terrain;
        let (rows, orders) = (pricing.keep(), orders.keep());
        Kept::new(Keep { ground, rows, orders, reach, ladders, demand, walk, services })
    }
}

/// Improves what is priced, for a few rounds.
fn while_moving(sweep: &mut Sweep<'_>, memory: &PlannerMemory) {
    for _ in 0..PRICED_ROUNDS {
        sweep.next_round();
        if sweep.reconsider_all(memory, Patience::FreeIfPriced) == 0 {
            return;
        }
    }
}

fn resume(input: &PlanInput<'_>) -> (PlannerMemory, u64) {
    let (services, nodes) = (input.policy.services.len(), input.policy.fleet.nodes.len());
    let mut memory = input.memory.resumed(services, input.groups.len(), nodes, input.now_ms);
    memory.spent.forget(memory.at_ms, &input.policy.planner.budget);
    let elapsed_ms = if memory.is_new() { 0 } else { memory.at_ms.saturating_sub(input.memory.at_ms) };
    (memory, elapsed_ms)
}

/// Also notes in `memory` which nodes serve.
fn survey<'a>(input: &'a PlanInput<'a>, memory: &mut PlannerMemory, keep: Option<&Keep>) -> Terrain<'a> {
    let signal = |(at, node): (usize, &Node)| {
        let target = node.capacity.as_ref().map_or(TARGET_DEFAULT_PPM, |capacity| capacity.target.0);
        memory.settle(at, NodeSignal::of(input.health.get(at)), target)
    };
    let signals: Vec<NodeSignal> = input.policy.fleet.nodes.iter().enumerate().map(signal).collect();
    let mut global = View::global(input.policy, input.health);
    let (now_ms, rules) = (memory.at_ms, &input.policy.planner);
    memory.circuits.judge(input, &mut global, now_ms);
    memory.hold_on_trial(input);
    let mut ramps = memory.ramps(&global.may_serve, rules.ramp_ms());
    memory.drain(input.health);
    memory.circuits.limit(input, &mut ramps);
    let (homecoming, back) = (memory.homecomings(rules.ramp_ms()), memory.back());
    let everybody = Returns { any_ramp: ramps.iter().any(|&ramp| ramp < WHOLE), ramps, homecoming, back };
    let closures = memory.close(reach::closures(input.health, &global), &global, rules);
    let reach = Reach::new(input.policy, input.groups, global, &closures);
    let returns = reach.views().iter().map(|view| memory.returns_of(view, &everybody, rules)).collect();
    Terrain::survey(input, signals, reach, returns, keep)
}

/// How each service's demand divides between the groups, without what is shed of it.
fn divide(terrain: &Terrain<'_>, memory: &PlannerMemory) -> Demand {
    let input = terrain.input;
    let mut demand = Demand::new(&terrain.ground.assumed, input.policy.services.len(), input.demand);
    for (at, service) in input.policy.services.iter().enumerate() {
        let shed = memory.degradation.by_group(at, input.groups.len(), |group| terrain.rule(at, group));
        demand.thin(shed, service.demand.is_some());
    }
    demand
}

fn previous<'a>(input: &'a PlanInput<'_>, service: usize) -> Option<&'a ServiceAssignment> {
    input.previous.and_then(|previous| previous.services.get(service))
}

fn open<'a>(input: &'a PlanInput<'a>, keep: Option<&Keep>) -> Vec<Book<'a>> {
    let nodes = input.policy.fleet.nodes.len();
    let spread = |at: usize| keep.and_then(|keep| keep.services.get(at)).map(|kept| &kept.spread);
    let services = 0..input.policy.services.len();
    services.map(|at| Book::open(previous(input, at), input.groups.len(), nodes, spread(at))).collect()
}

/// By service, as far as weights alone say: what is `known` of one is taken as it is.
fn tallies<'k>(
    books: &[Book<'_>],
    demand: &Demand,
    nodes: usize,
    known: impl Fn(usize) -> Option<&'k KeptService>,
) -> Vec<Arc<Tally>> {
    let of_service = |(at, book): (usize, &Book<'_>)| match known(at) {
        Some(kept) => Arc::clone(&kept.tally),
        None => Arc::new(Tally::weigh(book, demand, at, nodes)),
    };
    books.iter().enumerate().map(of_service).collect()
}

/// Row-major services x nodes: ppm of the service's demand on each node.
fn carried(tallies: &[Arc<Tally>]) -> Vec<u32> {
    tallies.iter().flat_map(|tally| &tally.carried).copied().collect()
}

fn finish(
    mut sweep: Sweep<'_>,
    mut memory: PlannerMemory,
    opening: &Opening<'_>,
    &Moved { changed, strays }: &Moved<'_>,
) -> (Plan, Vec<KeptService>) {
    let nodes = sweep.terrain.signals.len();
    let mut tallies = opening.tallies.clone();
    for (at, tally) in tallies.iter_mut().enumerate().filter(|(at, _)| !changed[*at].is_empty()) {
        Arc::make_mut(tally).follow(&sweep.books[at], &changed[at], sweep.demand, at);
    }
    let after = carried(&tallies);
    let mut lost = above_caps(&sweep, &after);
    let over_capacity = overloads(&lost, &sweep.demand.services);
    lose_unplaced(&sweep, &mut lost);
    let unserved = unserved(lost);
    let notes = notes(&sweep, &unserved);
    note_orphans(&sweep, changed, &mut memory);
    let moves = moves(&sweep.books, changed, sweep.demand);
    note_waits(&mut sweep, &tallies, changed, &mut memory);
    for (node, memory) in memory.nodes.iter_mut().enumerate() {
        memory.full = sweep.loads.stays_full(NodeId::from_index(node));
    }
    if opening.first {
        memory.carried = after;
        sweep.loads.note_full();
        memory.footing = Footing::of(sweep.terrain, &sweep.loads, 0);
    }
    if sweep.terrain.input.pass == Pass::Evacuation && !moves.is_empty() {
        memory.lost_at_ms = Some(memory.at_ms);
    }
    memory.moved_at_ms = if sweep.granted { Some(memory.at_ms) } else { memory.moved_at_ms };
    memory.spent.note(memory.at_ms, sweep.purse.spent(), &sweep.terrain.input.policy.planner.budget);
    memory.wished_ppb = sweep.wished_ppb;
    memory.pending = std::mem::take(&mut sweep.pending);
    let planned_load = (0..nodes).map(|node| units(sweep.loads.planned(node))).collect();
    let account = Account {
        services: sweep.demand.services.clone(),
        split: sweep.demand.split.clone(),
        cut: memory.circuits.open(&sweep.terrain.input.policy.fleet, sweep.terrain.input.health),
        base: (0..nodes).map(|node| sweep.loads.base(node)).collect(),
    };
    let mut services = close(sweep, changed, tallies, strays);
    for (at, service) in services.iter_mut().enumerate() {
        service.assignment.shed = memory.degradation.sheds(at);
    }
    let assignment = Assignment { services: services.iter().map(|kept| kept.assignment.clone()).collect() };
    let steps = Vec::new();
    let plan =
        Plan { planned_load, assignment, steps, moves, memory, notes, unserved, over_capacity, account };
    (plan, services)
}

/// The assignment by service, but for who is shed, with what the next plan may use of it.
fn close(
    sweep: Sweep<'_>,
    changed: &[Vec<u32>],
    tallies: Vec<Arc<Tally>>,
    strays: &[Option<&[u32]>],
) -> Vec<KeptService> {
    let Sweep { terrain, books, touched, .. } = sweep;
    let is_quick = terrain.input.pass == Pass::Evacuation;
    let mut asked = touched.into_iter().chain(std::iter::repeat_with(Vec::new));
    let mut services = Vec::with_capacity(books.len());
    for (at, ((book, changed), tally)) in books.into_iter().zip(changed).zip(tallies).enumerate() {
        let strays = kept::astray(terrain, &book, at, strays[at], changed);
        let mut asked = asked.next().unwrap_or_default();
        asked.extend_from_slice(changed);
        asked.sort_unstable();
        asked.dedup();
        let restless = kept::restless(terrain, &book, at, asked.into_iter());
        let (assignment, spread) = if is_quick { book.close_quickly(changed) } else { book.close() };
        services.push(KeptService { assignment, spread, tally, restless, strays });
    }
    services
}

/// Notes which moves are not made.
fn note_waits(
    sweep: &mut Sweep<'_>,
    tallies: &[Arc<Tally>],
    changed: &[Vec<u32>],
    memory: &mut PlannerMemory,
) {
    let on = sweep.demand.services.iter().copied().zip(tallies.iter().map(|tally| &tally.carried[..]));
    let is_full = sweep.terrain.input.pass == Pass::Full;
    let crowds = is_full.then(|| sweep.crowds(on, memory.at_ms));
    memory.waits.follow(std::mem::take(&mut sweep.noted), changed, crowds);
}

/// Notes whose node may not serve them any more, and where they were sent instead.
fn note_orphans(sweep: &Sweep<'_>, changed: &[Vec<u32>], memory: &mut PlannerMemory) {
    let nodes = sweep.terrain.signals.len();
    for (service, (book, changed)) in sweep.books.iter().zip(changed).enumerate() {
        let mut left = Vec::new();
        let mut came = Vec::new();
        for group in changed.iter().map(|&group| group as usize) {
            let (before, at) = (book.before[group], book.at[group]);
            let may_serve = &sweep.terrain.reach.view(group).may_serve;
            // Whose node is drained leaves it when his session ends.
            let keeps = |node: NodeId| memory.nodes[node.index()].is_draining;
            let is_lost = |share: &&Share| !may_serve[share.node.index()] && !keeps(share.node);
            if !book.shares(before).iter().any(|share| is_lost(&share)) {
                continue;
            }
            left.resize(nodes, 0_u128);
            came.resize(nodes, 0_u128);
            let weight = u128::from(sweep.demand.weight(service, group));
            for share in book.shares(before).iter().filter(is_lost) {
                left[share.node.index()] += weight * u128::from(share.share.0);
            }
            for share in book.shares(at).iter().filter(|share| !is_lost(share)) {
                let kept = book.shares(before).iter().find(|other| other.node == share.node);
                let more = share.share.0.saturating_sub(kept.map_or(0, |kept| kept.share.0));
                came[share.node.index()] += weight * u128::from(more);
            }
        }
        if !left.is_empty() {
            let total = u128::from(sweep.demand.total(service).max(1));
            let ppm = |sums: Vec<u128>| -> Vec<u32> { sums.iter().map(|sum| (sum / total) as u32).collect() };
            memory.send(service, &ppm(left), &ppm(came));
        }
    }
}

/// By service, in fine units: what nodes carry above their caps, divided between the services on them.
fn above_caps(sweep: &Sweep<'_>, carried: &[u32]) -> Vec<u64> {
    let nodes = sweep.terrain.signals.len();
    let mut lost = vec![0_u64; sweep.books.len()];
    for node in 0..nodes {
        let planned = sweep.loads.planned(node);
        let over = sweep.loads.over_cap(NodeId::from_index(node)).min(planned);
        if over == 0 {
            continue;
        }
        let over_ppm = super::load::ppm_of(over, planned).min(1_000_000) as u32;
        for (service, lost) in lost.iter_mut().enumerate() {
            let own = part(sweep.demand.services[service], carried[service * nodes + node]);
            *lost = lost.saturating_add(part(own, over_ppm));
        }
    }
    lost
}

/// Services that have more demand than their nodes may be given. What rounding leaves above caps is none.
fn overloads(above: &[u64], demand: &[u64]) -> Vec<Overload> {
    let all = above.iter().zip(demand).enumerate();
    let overload = |(at, (&above, &demand)): (usize, (&u64, &u64))| Overload {
        service: ServiceId::from_index(at),
        units: units(above),
        demand: units(demand),
        share: Ppm::ratio(above, demand),
    };
    let is_any = |one: &Overload| one.units > 0 && one.share > OVERLOAD_TRACE;
    all.map(overload).filter(is_any).collect()
}

/// Adds the demand of groups that no node serves.
fn lose_unplaced(sweep: &Sweep<'_>, lost: &mut [u64]) {
    for (service, book) in sweep.books.iter().enumerate().filter(|(_, book)| book.is_open()) {
        for (group, &at) in book.at.iter().enumerate() {
            if book.get(at).is_none_or(|placement| placement.mode != PlacementMode::Normal) {
                lost[service] = lost[service].saturating_add(sweep.demand.of(service, group));
            }
        }
    }
}

fn unserved(lost: Vec<u64>) -> Vec<(ServiceId, u64)> {
    let named = lost.into_iter().enumerate().map(|(at, lost)| (ServiceId::from_index(at), units(lost)));
    named.filter(|&(_, lost)| lost > 0).collect()
}

fn notes(sweep: &Sweep<'_>, unserved: &[(ServiceId, u64)]) -> Vec<String> {
    let policy = sweep.terrain.input.policy;
    let mut notes = Vec::new();
    for &(service, lost) in unserved {
        let name = &policy.service(service).name;
        notes.push(format!("{name}: demand of {lost} units is above what its nodes may be given"));
    }
    for (service, book) in sweep.books.iter().enumerate().filter(|(_, book)| book.is_open()) {
        let is_open = |&&at: &&u32| book.get(at).is_some_and(|held| held.mode != PlacementMode::Normal);
        let open = book.at.iter().filter(is_open).count();
        if open > 0 {
            let service = &policy.services[service];
            let rule = service.on_all_down.name();
            notes.push(format!(
                "{}: no node may serve {open} client groups, answered by {rule}",
                service.name
            ));
        }
    }
    notes.truncate(MOST_NOTES);
    notes
}
