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
use super::follow::Habit;
use super::load::{Loads, part, units};
use super::memory::PlannerMemory;
use super::moves::moves;
use super::sweep::{Patience, Sweep};
use super::terrain::{Returns, Terrain};
use super::{Pass, Plan, PlanInput};
use crate::model::account::Account;
use crate::model::fleet::Node;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::placement::{Assignment, PlacementMode, ServiceAssignment, Share};
use crate::model::reach::{self, Reach, View};
use crate::model::service::Service;

/// Rounds of improvement of a first plan over everyone; they end early when nobody moves.
const FIRST_ROUNDS: usize = 3;
/// Before each, rounds over what is priced.
const PRICED_ROUNDS: usize = 3;
const MOST_NOTES: usize = 16;
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
    let steps = memory.degradation.judge(&sweep, &opening.reports, &cut, memory.at_ms);
    let cut = memory.circuits.open(&input.policy.fleet);
    let plan = finish(sweep, memory, opening.first);
    let Opening { memory, demand, .. } = opening;
    let account = Account {
        fractions: demand.fractions,
        counted: demand.counted,
        cut,
        budget_ppb: memory.budget_ppb,
        ..plan.account
    };
    Plan { account, steps, ..plan }
}

/// What is known before the first decision.
pub(super) struct Opening<'a> {
    pub terrain: Terrain<'a>,
    memory: PlannerMemory,
    demand: Demand,
    order: Vec<u32>,
    reports: Reports,
    /// By node: load that is not the plan's.
    base: Vec<u64>,
    /// By node: load that is there beside the previous assignment and will be gone.
    passing: Vec<u64>,
    /// Nobody has a placement.
    first: bool,
}

impl<'a> Opening<'a> {
    /// Also the books, opened at the previous assignment.
    pub fn of(input: &'a PlanInput<'a>) -> (Self, Vec<Book<'a>>) {
        let (mut memory, elapsed_ms) = resume(input);
        let terrain = survey(input, &mut memory);
        let mut demand = Demand::new(input.groups, input.policy.services.len(), input.demand);
        for service in 0..input.policy.services.len() {
            let rule = |group| terrain.rule(service, group);
            let shed = memory.degradation.by_group(service, input.groups.len(), rule);
            demand.thin(shed, input.policy.services[service].demand.is_some());
        }
        let books = open(input);
        let current = carried(&books, &demand, terrain.signals.len());
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
        let first = books.iter().all(|book| book.at.iter().all(|&at| book.get(at).is_none()));
        let order = demand.order(input.groups);
        let mut opening =
            Self { terrain, memory, demand, order, reports, base: vec![], passing: vec![], first };
        if !first {
            opening.see_others(&habits);
        }
        (opening, books)
    }

    /// Load beside what the previous assignment explains, and what is still there or will be for a while.
    fn see_others(&mut self, habits: &[Habit]) {
        let Self { memory, demand, reports, .. } = self;
        let policy = self.terrain.input.policy;
        let base = reports.base(policy, memory);
        let mut passing = memory.passing(reports.current(), habits, &demand.services);
        // What is too little to be base load still takes room from newcomers.
        for (node, unexplained) in reports.unexplained(memory).into_iter().enumerate() {
            passing[node] = passing[node].saturating_add(unexplained.saturating_sub(base[node]));
        }
        (self.base, self.passing) = (base, passing);
    }

    /// The account with the previous assignment on it.
    pub fn account(&self, books: &[Book<'_>]) -> Loads {
        let mut loads = self.idle(&self.base);
        for (node, &passing) in self.passing.iter().enumerate() {
            loads.pass(NodeId::from_index(node), passing);
        }
        loads.division = Division::new(&self.guesses(), self.terrain.signals.len());
        for (service, book) in books.iter().enumerate() {
            for (group, &at) in book.at.iter().enumerate() {
                loads.add(book.shares(at), self.demand.of(service, group));
            }
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
        for (node, &base) in base.iter().enumerate() {
            loads.set_base(node, base);
        }
        for (node, memory) in self.memory.nodes.iter().enumerate() {
            loads.set_full(node, memory.full || memory.strained_at_ms.is_some());
        }
        loads
    }

    fn sweep<'t>(&'t self, loads: Loads, books: Vec<Book<'t>>) -> Sweep<'t> {
        Sweep::new(&self.terrain, &self.demand, &self.order, loads, books, self.memory.budget_ppb)
    }

    /// A first plan; twice where nodes report more than the draft explains.
    fn place_all<'t>(&'t self, books: Vec<Book<'t>>, memory: &mut PlannerMemory) -> Sweep<'t> {
        let draft = self.draft(&[], books);
        let known = |node: usize| draft.loads.planned(node);
        let base = self.reports.base_against(self.terrain.input.policy, memory, known);
        if base.iter().all(|&base| base == 0) {
            return self.improve(draft);
        }
        self.improve(self.draft(&base, open(self.terrain.input)))
    }

    fn draft<'t>(&'t self, base: &[u64], books: Vec<Book<'t>>) -> Sweep<'t> {
        let mut sweep = self.sweep(self.idle(base), books);
        sweep.secure_all();
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
        sweep.refresh_all_backups();
        sweep
    }

    fn follow_up<'t>(&'t self, books: Vec<Book<'t>>, memory: &mut PlannerMemory) -> Sweep<'t> {
        let mut sweep = self.sweep(self.account(&books), books);
        let before = &self.memory.footing;
        let footing = Footing::of(&self.terrain, &sweep.loads, before.next_turn());
        sweep.secure_all();
        sweep.relieve(self.terrain.input.pass);
        match self.terrain.input.pass {
            Pass::Full => {
                sweep.changes = footing.since(before);
                memory.footing = footing;
                sweep.reconsider_all(&self.memory, Patience::Patient);
            }
            Pass::Evacuation => {
                sweep.pending.clone_from(&self.memory.pending);
                sweep.wished_ppb = self.memory.wished_ppb;
            }
        }
        sweep
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
    let memory = input.memory.resumed(services, input.groups.len(), nodes, input.now_ms);
    let elapsed_ms = if memory.is_new() { 0 } else { memory.at_ms.saturating_sub(input.memory.at_ms) };
    (memory, elapsed_ms)
}

/// Also notes in `memory` which nodes serve.
fn survey<'a>(input: &'a PlanInput<'a>, memory: &mut PlannerMemory) -> Terrain<'a> {
    let signal = |(at, node): (usize, &Node)| {
        let target = node.capacity.as_ref().map_or(TARGET_DEFAULT_PPM, |capacity| capacity.target.0);
        memory.settle(at, NodeSignal::of(input.health.get(at)), target)
    };
    let signals: Vec<NodeSignal> = input.policy.fleet.nodes.iter().enumerate().map(signal).collect();
    let mut global = View::global(input.policy, input.health);
    let now_ms = memory.at_ms;
    memory.circuits.judge(input, &mut global, now_ms);
    let mut ramps = memory.ramps(&global.may_serve);
    memory.circuits.limit(&input.policy.fleet, &mut ramps);
    let everybody = Returns { ramps, homecoming: memory.homecomings() };
    let closures = memory.close(reach::closures(input.health, &global), &global);
    let reach = Reach::new(input.policy, input.groups, global, &closures);
    let returns = reach.views().iter().map(|view| memory.returns_of(view, &everybody)).collect();
    Terrain::survey(input, signals, reach, returns)
}

fn open<'a>(input: &PlanInput<'a>) -> Vec<Book<'a>> {
    let nodes = input.policy.fleet.nodes.len();
    let previous = |at: usize| input.previous.and_then(|previous| previous.services.get(at));
    let services = 0..input.policy.services.len();
    services.map(|at| Book::open(previous(at), input.groups.len(), nodes)).collect()
}

/// Row-major services x nodes: ppm of the service's demand on each node.
fn carried(books: &[Book<'_>], demand: &Demand, nodes: usize) -> Vec<u32> {
    let mut carried = Vec::with_capacity(books.len() * nodes);
    for (service, book) in books.iter().enumerate() {
        let mut weighted = vec![0_u128; nodes];
        for (placement, weight) in book.placements().zip(book.weigh(&book.at, demand.weights(service))) {
            for share in &placement.shares {
                weighted[share.node.index()] += u128::from(weight) * u128::from(share.share.0);
            }
        }
        let total = u128::from(demand.total(service).max(1));
        carried.extend(weighted.into_iter().map(|sum| (sum / total).min(1_000_000) as u32));
    }
    carried
}

fn finish(mut sweep: Sweep<'_>, mut memory: PlannerMemory, first: bool) -> Plan {
    let nodes = sweep.terrain.signals.len();
    let after = carried(&sweep.books, sweep.demand, nodes);
    let unserved = unserved(&sweep, &after);
    let notes = notes(&sweep, &unserved);
    note_orphans(&sweep, &mut memory);
    let moves = moves(&sweep.books, sweep.demand);
    for (node, memory) in memory.nodes.iter_mut().enumerate() {
        memory.full = sweep.loads.stays_full(NodeId::from_index(node));
    }
    if first {
        memory.carried = after;
        sweep.loads.note_full();
        memory.footing = Footing::of(sweep.terrain, &sweep.loads, 0);
    }
    memory.pending = sweep.pending;
    memory.wished_ppb = sweep.wished_ppb;
    memory.moved_at_ms = if sweep.granted { Some(memory.at_ms) } else { memory.moved_at_ms };
    memory.budget_ppb = sweep.budget_ppb;
    let account = Account {
        services: sweep.demand.services.clone(),
        base: (0..nodes).map(|node| sweep.loads.base(node)).collect(),
        ..Account::default()
    };
    let close = |(service, book): (usize, Book<'_>)| ServiceAssignment {
        shed: memory.degradation.sheds(service),
        ..book.close()
    };
    Plan {
        planned_load: (0..nodes).map(|node| units(sweep.loads.planned(node))).collect(),
        assignment: Assignment { services: sweep.books.into_iter().enumerate().map(close).collect() },
        steps: Vec::new(),
        moves,
        memory,
        notes,
        unserved,
        account,
    }
}

/// Notes whose node may not serve them any more, and where they were sent instead.
fn note_orphans(sweep: &Sweep<'_>, memory: &mut PlannerMemory) {
    let nodes = sweep.terrain.signals.len();
    for (service, book) in sweep.books.iter().enumerate() {
        let mut left = Vec::new();
        let mut came = Vec::new();
        for (group, (&before, &at)) in book.before.iter().zip(&book.at).enumerate() {
            let may_serve = &sweep.terrain.reach.view(group).may_serve;
            let is_lost = |share: &&Share| !may_serve[share.node.index()];
            if before == at || !book.shares(before).iter().any(|share| is_lost(&share)) {
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

/// What nodes carry above their caps, divided between the services on them, and the demand of
/// groups that no node serves.
fn unserved(sweep: &Sweep<'_>, carried: &[u32]) -> Vec<(ServiceId, u64)> {
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
    for (service, book) in sweep.books.iter().enumerate() {
        for (group, &at) in book.at.iter().enumerate() {
            if book.get(at).is_none_or(|placement| placement.mode != PlacementMode::Normal) {
                lost[service] = lost[service].saturating_add(sweep.demand.of(service, group));
            }
        }
    }
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
    for (service, book) in sweep.books.iter().enumerate() {
        let groups = book.weigh(&book.at, std::iter::repeat_n(1, book.at.len()));
        let open = book.placements().zip(groups);
        let open: u64 =
            open.filter(|(placement, _)| placement.mode != PlacementMode::Normal).map(|(_, n)| n).sum();
        if open > 0 {
            let service = &policy.services[service];
            let rule = service.on_all_down.name();
            notes.push(format!(
                "{}: no node may serve {open} client groups, answered by {rule}",
                service.name
            ));
        }
    }
    if sweep.held_back > 0 {
        notes.push(format!("{} moves wait for the change budget", sweep.held_back));
    }
    notes.truncate(MOST_NOTES);
    notes
}
