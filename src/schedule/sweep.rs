//! Walks over all (group, service) pairs and decides who stays and who goes.
//!
//! ```text
//!                    ┌ no placement, or not a normal one ─▶ place       at once
//! a pair, all alive ─┼ a node of it may not serve ────────▶ evacuate    at once, only that share
//!                    └ sound ─────────────────────────────▶ reconsider  full pass only: wanted for
//!                                                                       3 s, within the budget
//! a pair, all down ────▶ what `on_all_down` says            at once
//! ```
//! All previous placements are on the account before the walk begins, so that whoever is placed sees
//! the room that really is left. Groups go largest first, each through all services, so that no
//! service takes all room before another.
//!
//! Groups that are held (`model::canary`) are never moved by choice; where they would go is noted.
//!
//! What is best for an idle world is the same for all groups of a class and is remembered; it is used
//! when it fits, and a pair that already has it is not looked at further.

use super::backup::Backups;
use super::book::{Book, NONE, nothing};
use super::budget::Purse;
use super::change::Changes;
use super::circle::{Candidate, Circle};
use super::demand::Demand;
use super::follow::Habit;
use super::gain::distance;
use super::kept::Walk;
use super::ladder::Ladder;
use super::load::{Loads, part};
use super::memory::PlannerMemory;
use super::order::Listed;
use super::pick::{MOST, Question, Scratch, WHOLE};
use super::terrain::{Outlook, Terrain};
use super::waits::{Flow, Noted, flow};
use super::wish::{Few, Wanted, Wishes};
use crate::base::units::Ppm;
use crate::model::held_back::HeldBy;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::{Placement, PlacementMode, Share};
use crate::model::planner::PlannerRules;
use crate::model::service::{Method, OnAllDown};
use std::collections::BTreeMap;

/// Shares of the same nodes are corrected when this part of the clients (ppm) is on the wrong one,
const UNEVEN_PPM: u32 = 50_000;
/// and other nodes are chosen when at least this part moves.
const WORTHWHILE_PPM: u32 = 20_000;

/// A first plan is improved by at most so many questions, so that a cold start is bounded by work.
const MOST_QUESTIONS: usize = 40_000;
/// An overload is relieved when more than this part of the group comes under the caps (1 in ...).
const RELIEF: u64 = 64;
/// Less than this part of a group above a cap is what rounding leaves there, and no overload.
const TRACE: u64 = 1_024;

/// A wish that is not granted: the rule, since when it is wished, and what would move.
type Refused = (HeldBy, u64, Flow);

/// What a discretionary move must respect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Dwell time and budget.
    Patient,
    /// Neither: nobody has these placements yet.
    Free,
    /// As `Free`, but only where a node is priced: most of what there is to gain in a first plan.
    FreeIfPriced,
}

pub(super) struct Sweep<'t> {
    pub terrain: &'t Terrain<'t>,
    pub demand: &'t Demand,
    pub walk: &'t Walk,
    pub loads: Loads,
    pub books: Vec<Book<'t>>,
    /// services x classes: the epoch plus one, or 0, and the placement that is best if all of it fits.
    calm: Vec<u64>,
    /// As `calm`, for all services of one taste.
    wanted: Wishes,
    /// Loads only rise: nobody was placed yet, and nobody is moved.
    only_rises: bool,
    /// By services x groups: moved in this plan, so not to be moved again at discretion.
    moved: Vec<bool>,
    scratch: Scratch,
    pub pending: BTreeMap<(GroupId, ServiceId), u64>,
    pub purse: Purse,
    /// What the pending wishes would move, parts per billion of all demand.
    pub wished_ppb: i64,
    /// Whether this plan grants wishes,
    may_grant: bool,
    /// and whether it did.
    pub granted: bool,
    /// Somebody was placed beside what is best for an idle world.
    pub contended: bool,
    /// Moves that are not made.
    pub noted: Noted,
    /// Some node has less than its whole weight for somebody, since it came back.
    pub is_ramping: bool,
    /// Since the last full pass; `None`: everything may have changed.
    pub changes: Option<Changes>,
    /// How many pairs were asked where they would rather be.
    questions: usize,
    /// By service: groups that something had to be done about; empty: all.
    pub touched: Vec<Vec<u32>>,
    /// By group: it stays where it is while its nodes serve; empty: none does.
    pub held: Vec<bool>,
}

impl<'t> Sweep<'t> {
    pub fn new(
        terrain: &'t Terrain<'t>,
        demand: &'t Demand,
        walk: &'t Walk,
        loads: Loads,
        books: Vec<Book<'t>>,
        purse: Purse,
    ) -> Self {
        let pairs = books.len() * terrain.ground.classes.len();
        Self {
            calm: vec![0; books.len() * terrain.ground.class_count],
            wanted: Wishes::new(terrain.ground.class_count, terrain.ground.taste_count),
            only_rises: false,
            moved: vec![false; pairs],
            scratch: Scratch::default(),
            pending: BTreeMap::new(),
            noted: Noted::default(),
            is_ramping: terrain.returns.iter().any(|it| it.ramps.iter().any(|&ramp| ramp < Ppm::WHOLE.0)),
            changes: None,
            questions: 0,
            touched: Vec::new(),
            held: Vec::new(),
            contended: false,
            purse,
            wished_ppb: 0,
            may_grant: false,
            granted: false,
            terrain,
            demand,
            walk,
            loads,
            books,
        }
    }

    pub fn rules(&self) -> &'t PlannerRules {
        &self.terrain.input.policy.planner
    }

    /// A first plan's: everybody is new.
    pub fn place_all(&mut self) {
        let walk = self.walk;
        self.only_rises = true;
        for &group in &walk.order {
            for service in 0..self.books.len() {
                self.secure_pair(service, group as usize);
            }
        }
        self.only_rises = false;
    }

    /// Everything that does not wait: newcomers, orphans, and what stands or falls with all nodes.
    /// `touched`: by service, the groups it can be said of; in the order of the walk.
    pub fn secure(&mut self, touched: &[Vec<u32>]) {
        let ranks = &self.walk.ranks;
        let pair = |service: usize| move |&group: &u32| (ranks[group as usize], service as u32, group);
        let pairs = touched.iter().enumerate().flat_map(|(service, groups)| groups.iter().map(pair(service)));
        let mut pairs: Vec<(u32, u32, u32)> = pairs.collect();
        pairs.sort_unstable();
        for (_, service, group) in pairs {
            self.secure_pair(service as usize, group as usize);
        }
    }

    /// One round of improvement over everything that was not moved yet; how many moved.
    pub fn reconsider_all(&mut self, memory: &PlannerMemory, patience: Patience) -> usize {
        let walk = self.walk;
        self.may_grant = memory.may_grant(self.rules());
        let mut count = 0;
        for &group in &walk.order {
            if patience != Patience::Patient && self.questions > MOST_QUESTIONS {
                break;
            }
            for service in 0..self.books.len() {
                count += usize::from(self.reconsider(service, group as usize, memory, patience));
            }
        }
        count
    }

    /// Ranks backups anew, now that it is known which nodes are full.
    pub fn refresh_all_backups(&mut self) {
        self.loads.note_full();
        // Whoever has no full node behind it has what it had before any was.
        let is_full = |node: usize| self.loads.is_full(NodeId::from_index(node));
        let full: Vec<bool> = (0..self.terrain.signals.len()).map(is_full).collect();
        if !full.contains(&true) {
            return;
        }
        for service in 0..self.books.len() {
            for group in 0..self.terrain.ground.classes.len() {
                let held = self.books[service].get(self.books[service].at[group]);
                if !held.is_some_and(|it| it.backups.iter().any(|node| full[node.index()])) {
                    continue;
                }
                if let Some(outlook) = self.terrain.outlook(service, group) {
                    self.refresh_backups(service, group, outlook);
                }
            }
        }
    }

    /// Forgets who was moved, between the rounds of a first plan.
    pub fn next_round(&mut self) {
        self.moved.fill(false);
    }

    fn secure_pair(&mut self, service: usize, group: usize) {
        let held = self.books[service].at[group];
        if let Some(placement) = self.books[service].get(held)
            && let Some(ladder) = self.terrain.ladder(service, group)
            && is_untouched(ladder, &self.terrain.reach.view(group).may_serve, placement)
        {
            return;
        }
        let Some(outlook) = self.terrain.outlook(service, group) else {
            return self.set(service, group, nothing());
        };
        if outlook.ladder.all_down {
            return self.all_down(service, group, outlook);
        }
        let sound = self.books[service]
            .get(held)
            .filter(|placement| placement.mode == PlacementMode::Normal && !placement.shares.is_empty());
        let Some(placement) = sound else { return self.place(service, group, outlook) };
        let alive = |node: NodeId| outlook.view.may_serve[node.index()] && outlook.ladder.is_member(node);
        let survivors: Vec<Share> = if placement.shares.iter().all(|share| alive(share.node)) {
            if placement.backups.iter().any(|&node| outlook.ladder.rung(node).is_none()) {
                self.refresh_backups(service, group, outlook);
            }
            return;
        } else {
            placement.shares.iter().copied().filter(|share| alive(share.node)).collect()
        };
        if survivors.is_empty() {
            self.place(service, group, outlook);
        } else {
            self.evacuate(service, group, outlook, &survivors);
        }
    }

    /// Whether the group is moved only if its node may not serve it any more.
    pub fn is_held(&self, group: usize) -> bool {
        self.held.get(group) == Some(&true)
    }

    /// Whether anything changed that a pair could care about, or it is its turn.
    fn may_wish(&self, service: usize, group: usize, held: u32, memory: &PlannerMemory) -> bool {
        let Some(changes) = &self.changes else { return true };
        if changes.is_turn_of(group) {
            return true;
        }
        let key = (GroupId::from_index(group), ServiceId::from_index(service));
        if !memory.pending.is_empty() && memory.pending.contains_key(&key) {
            return true;
        }
        let Some(rule) = self.terrain.rule(service, group) else { return false };
        let Some(placement) = self.books[service].get(held) else { return true };
        let rules = self.terrain.input.policy.services[service].chains.len();
        if changes.of_ladder(service, rule, rules, group) {
            return true;
        }
        changes.any_node()
            && (changes.touches(placement)
                || self
                    .terrain
                    .outlook(service, group)
                    .is_some_and(|outlook| changes.tempts(outlook, &self.loads, placement)))
    }

    /// Places a group that has nothing to be loyal to.
    fn place(&mut self, service: usize, group: usize, outlook: Outlook<'t>) {
        let demand = self.demand.of(service, group);
        let held = self.books[service].at[group];
        self.loads.remove(self.books[service].shares(held), demand);
        // By load nothing is best for an idle world.
        let is_asked = !is_by_load(outlook.ladder) && !self.is_beside_calm(outlook);
        let calm = if is_asked { self.calm(service, group, outlook) } else { NONE };
        let surge = if self.books[service].shares(held).is_empty() { 0 } else { self.surge(service) };
        // With the whole group on each of its nodes there is no price: so none in a question either.
        let at_first = demand.saturating_add(part(demand, surge));
        let fits = |share: &Share| {
            self.loads.is_at_ease_with(share.node, demand)
                && !outlook.returns.is_ramping(share.node)
                && self.loads.room_for_newcomers(service, share.node) >= at_first
        };
        if calm != NONE && self.books[service].shares(calm).iter().all(fits) {
            self.loads.add(self.books[service].shares(calm), demand);
            self.loads.receive(service, &[], self.books[service].shares(calm), demand, surge);
            return self.enter(service, group, calm);
        }
        self.contended = true;
        self.ask(outlook, demand, &[], surge);
        self.loads.receive(service, &[], &self.scratch.shares, demand, surge);
        self.settle(service, group, outlook, demand, PlacementMode::Normal);
    }

    fn evacuate(&mut self, service: usize, group: usize, outlook: Outlook<'t>, survivors: &[Share]) {
        let demand = self.demand.of(service, group);
        let held = self.books[service].at[group];
        self.loads.remove(self.books[service].shares(held), demand);
        self.loads.add(survivors, demand);
        let surge = self.surge(service);
        self.ask(outlook, demand, survivors, surge);
        self.loads.remove(survivors, demand);
        self.loads.receive(service, survivors, &self.scratch.shares, demand, surge);
        self.settle(service, group, outlook, demand, PlacementMode::Normal);
    }

    /// Whether to ask at once where a pair fits, and not first what is best for an idle world: nodes that were best
    /// had a price before. Should others be best by now, and it fits there, it is given the same by either question.
    /// At first that is for those to whom it is no news that somebody does not fit.
    fn is_beside_calm(&self, outlook: Outlook<'t>) -> bool {
        if self.only_rises && !self.contended {
            return false;
        }
        let known = self.wanted.get(outlook.whose());
        known.is_some_and(|known| known.is_priced) || (!self.only_rises && self.is_nearest_priced(outlook))
    }

    fn is_nearest_priced(&self, outlook: Outlook<'t>) -> bool {
        let nearest = outlook.order(0).listed().next();
        nearest.is_some_and(|nearest| self.loads.price[nearest.node().index()] > 0)
    }

    /// What is best if everything fits: same for all groups of a class and services of a taste while no
    /// price changes. While loads only rise it remains so as long as its nodes have no price.
    fn calm(&mut self, service: usize, group: usize, outlook: Outlook<'t>) -> u32 {
        let ground = &self.terrain.ground;
        let class = ground.classes[group];
        let slot = service * ground.class_count + class as usize;
        let epoch = u64::from(self.loads.epoch) + 1;
        let (then, known) = (self.calm[slot] >> 32, self.calm[slot] as u32);
        let still = |shares: &[Share]| shares.iter().all(|share| self.loads.is_at_ease_with(share.node, 0));
        if then == epoch || (self.only_rises && then > 0 && still(self.books[service].shares(known))) {
            return known;
        }
        let whose = outlook.whose();
        let is_current = |wanted: &Wanted| {
            wanted.epoch == self.loads.epoch || (self.only_rises && still(wanted.shares.get()))
        };
        if !self.wanted.get(whose).is_some_and(is_current) {
            self.ask(outlook, 0, &[], 0);
            let shares = Few::of(&self.scratch.shares);
            let backups = Question::idle(&self.loads, outlook).rank_backups(shares.get());
            let is_priced = shares.get().iter().any(|share| self.loads.price[share.node.index()] > 0);
            self.wanted.put(whose, Wanted { epoch: self.loads.epoch, is_priced, shares, backups });
        }
        let at = self.enlist(service, outlook);
        self.calm[slot] = epoch << 32 | u64::from(at);
        at
    }

    /// Interns what is wanted by all services of a taste for one.
    fn enlist(&mut self, service: usize, outlook: Outlook<'t>) -> u32 {
        let wanted = self.wanted.get(outlook.whose()).map(|it| (it.shares.get(), &it.backups));
        let Some((shares, backups)) = wanted.filter(|(shares, _)| !shares.is_empty()) else {
            return self.books[service].intern(&nothing());
        };
        let pool = outlook.ladder.rung(shares[0].node).map(|rung| rung.pool);
        let question = Question::idle(&self.loads, outlook);
        let will_do = |held: &[NodeId]| question.backs_as_well(held, backups, shares);
        self.books[service].fold(shares, (pool, PlacementMode::Normal), backups.nodes(), will_do)
    }

    /// Whether a pair has what is best for its class. A class of one is not worth remembering.
    fn is_calm(&mut self, service: usize, group: usize, outlook: Outlook<'t>, held: u32) -> bool {
        let size = self.terrain.ground.class_sizes[self.terrain.ground.classes[group] as usize];
        size > 1 && !is_by_load(outlook.ladder) && self.calm(service, group, outlook) == held
    }

    /// Whether the nodes of a placement are unpriced, still the peers of the cheapest, evenly used, and
    /// nobody else is near enough to join: what the whole question would find, for less.
    fn is_content(&self, outlook: Outlook<'t>, shares: &[Share]) -> bool {
        if shares.len() > MOST {
            return false;
        }
        let (ladder, order) = (outlook.ladder, outlook.order(0));
        let cost = |node| outlook.bid(node, shares).saturating_add(self.loads.price[node.index()]);
        let look = |_: &Circle, it: Candidate| Some(cost(it.node));
        let Some(circle) = Circle::of(outlook, (0, order), shares, look) else { return false };
        let method = ladder.method(0);
        // Each group has some of many nodes that are alike to it.
        let is_one_of_many = method.is_flat() && shares.len() == MOST;
        let joins =
            |node: NodeId| !shares.iter().any(|share| share.node == node) && circle.admits(cost(node), false);
        let near = order.listed().take_while(|&listed| outlook.listed_worth(listed) < circle.dearest());
        if !is_one_of_many && order.loose.iter().copied().chain(near.map(Listed::node)).any(joins) {
            return false;
        }
        let mut found = [(0_u64, 0_u32); MOST];
        for (found, share) in found.iter_mut().zip(shares) {
            let Some(rung) = ladder.rung(share.node).filter(|rung| rung.level == 0) else { return false };
            if !outlook.returns.is_settled(share.node) || !circle.admits(cost(share.node), true) {
                return false;
            }
            let measure = self.loads.measure(method, share.node).unwrap_or(0);
            *found = (u64::from(rung.weight).saturating_mul(measure), share.share.0);
        }
        shares.len() == 1 || is_even(&found[..shares.len()])
    }

    fn reconsider(
        &mut self,
        service: usize,
        group: usize,
        memory: &PlannerMemory,
        patience: Patience,
    ) -> bool {
        let held = self.books[service].at[group];
        let pair = service * self.terrain.ground.classes.len() + group;
        if self.moved[pair] || held == NONE || !self.may_wish(service, group, held, memory) {
            return false;
        }
        let is_held = self.is_held(group);
        let at_ease = |share: &Share| self.loads.is_at_ease_with(share.node, 0);
        let at_ease = self.books[service].shares(held).iter().all(at_ease);
        if at_ease && patience == Patience::FreeIfPriced {
            return false;
        }
        let outlook = self.terrain.outlook(service, group).filter(|outlook| !outlook.ladder.all_down);
        let Some(outlook) = outlook else { return false };
        if at_ease && !is_held && self.is_calm(service, group, outlook, held) {
            if patience == Patience::Patient {
                self.note_best((service, group), outlook, memory);
            }
            return false;
        }
        if at_ease && self.is_content(outlook, self.books[service].shares(held)) {
            self.stay(service, group, outlook, None, memory, patience);
            return false;
        }
        self.questions += 1;
        let demand = self.demand.of(service, group);
        let shares = self.books[service].shares(held);
        if !at_ease && !Question::at_discretion(&self.loads, outlook, demand, shares).may_gain() {
            self.stay(service, group, outlook, None, memory, patience);
            return false;
        }
        let epoch = self.loads.epoch;
        self.loads.remove(self.books[service].shares(held), demand);
        let mut scratch = std::mem::take(&mut self.scratch);
        let shares = self.books[service].shares(held);
        let question = Question::at_discretion(&self.loads, outlook, demand, shares);
        question.answer(&[], &mut scratch);
        let moving = distance(shares, &scratch.shares);
        let wanted = self.is_worth(&question, shares, &scratch.shares, moving);
        let flow = flow(shares, &scratch.shares, moving);
        self.scratch = scratch;
        let refused = match wanted {
            false => None,
            true if is_held => Some((HeldBy::Hold, memory.at_ms, flow)),
            true => match self.allow(service, group, moving, memory, patience) {
                Ok(()) => {
                    self.follow_wish(service, group, outlook, memory, patience);
                    return true;
                }
                Err((by, since_ms)) => Some((by, since_ms, flow)),
            },
        };
        self.loads.add(self.books[service].shares(held), demand);
        // The account is what it was before this question.
        self.loads.epoch = epoch;
        self.stay(service, group, outlook, refused, memory, patience);
        false
    }

    /// Gives a group that wants it the answer just given; what it had is off the account.
    fn follow_wish(
        &mut self,
        service: usize,
        group: usize,
        outlook: Outlook<'t>,
        memory: &PlannerMemory,
        patience: Patience,
    ) {
        let demand = self.demand.of(service, group);
        if patience == Patience::Patient {
            let before = self.books[service].shares(self.books[service].at[group]);
            self.loads.release(before, &self.scratch.shares, demand);
            self.loads.receive(service, before, &self.scratch.shares, demand, 0);
        }
        self.settle(service, group, outlook, demand, PlacementMode::Normal);
        if patience == Patience::Patient {
            self.note_wait((service, group), outlook, None, memory);
        }
    }

    /// Leaves a group where it is, and notes why if it would be better off elsewhere; its backups may change.
    fn stay(
        &mut self,
        service: usize,
        group: usize,
        outlook: Outlook<'t>,
        refused: Option<Refused>,
        memory: &PlannerMemory,
        patience: Patience,
    ) {
        // In a first plan everybody has just been given the best, and which nodes are full is noted later.
        if patience != Patience::Patient {
            return;
        }
        self.note_wait((service, group), outlook, refused, memory);
        if !self.is_held(group) {
            self.tidy(service, group, outlook, memory);
        }
    }

    /// Whether clients should move from one split to another, what they have being off the account.
    fn is_worth(&self, question: &Question<'_>, from: &[Share], to: &[Share], moving_ppm: u32) -> bool {
        let demand = question.demand;
        let (now, then) = (self.loads.excess(from, demand), self.loads.excess(to, demand));
        if now.max(then) > demand / TRACE {
            // In an overload that nobody can take, only what relieves it is worth a move.
            return now.saturating_sub(then) > demand / RELIEF;
        }
        // Whoever goes home goes in the steps of the ramp, and each step has to be worth it for itself.
        let is_step_home = question.outlook.returns.is_step_home(from, to);
        if moving_ppm < threshold(from, to) && !is_step_home {
            return false;
        }
        let eased = |shares: &[Share]| {
            shares.iter().all(|s| self.loads.is_at_ease_with(s.node, part(demand, s.share.0)))
        };
        if (eased(from) && eased(to)) || question.lowest_level(to) != question.lowest_level(from) {
            return true;
        }
        // Congestion must not make clients chase each other: the whole group must gain.
        let (now, then) = (question.mean_cost(from), question.mean_cost(to));
        let margin = question.outlook.margin.of(then);
        let due = if is_step_home { part(u64::from(margin), moving_ppm) as u32 } else { margin };
        now >= then.saturating_add(due.max(1))
    }

    /// Dwell time, then the budget. Notes the wish.
    fn allow(
        &mut self,
        service: usize,
        group: usize,
        moving_ppm: u32,
        memory: &PlannerMemory,
        patience: Patience,
    ) -> Result<(), (HeldBy, u64)> {
        if patience != Patience::Patient {
            return Ok(());
        }
        let size_ppb = self.size_ppb(service, group, moving_ppm);
        self.grant(service, group, size_ppb, memory, self.purse.affords(size_ppb))?;
        self.purse.pay(size_ppb);
        Ok(())
    }

    /// Whether a wish has waited long enough and this plan grants any; else it is noted, and by which rule it waits
    /// since when.
    fn grant(
        &mut self,
        service: usize,
        group: usize,
        size_ppb: i64,
        memory: &PlannerMemory,
        affordable: bool,
    ) -> Result<(), (HeldBy, u64)> {
        let key = (GroupId::from_index(group), ServiceId::from_index(service));
        let since = memory.pending.get(&key).copied().unwrap_or(memory.at_ms);
        let waited = memory.at_ms.saturating_sub(since) >= self.rules().dwell_ms();
        if waited && affordable && self.may_grant {
            self.granted = true;
            return Ok(());
        }
        self.wished_ppb = self.wished_ppb.saturating_add(size_ppb);
        let window_ms = self.rules().budget.window_ms();
        if self.may_grant && !affordable && memory.at_ms.saturating_sub(since) >= window_ms {
            self.purse.save();
        }
        self.pending.insert(key, since);
        Err(match () {
            () if !waited => (HeldBy::Dwell, since),
            () if !affordable => (HeldBy::Budget, since),
            () if !memory.is_apart(self.rules()) => (HeldBy::Pause, since),
            () => (HeldBy::Batch, since),
        })
    }

    /// Which part (ppm) of a group's clients of a service may be moved by choice now.
    pub fn affordable_ppm(&self, service: usize, group: usize) -> u32 {
        let all = u128::from(self.demand.total(service)) * self.books.len() as u128;
        let of_one = u128::from(self.demand.weight(service, group)) * 1_000;
        let ppm = u128::from(self.purse.left().unsigned_abs()) * all / of_one.max(1);
        u32::try_from(ppm).unwrap_or(u32::MAX).min(WHOLE)
    }

    /// A part of one group's clients of one service, in parts per billion of all demand.
    pub fn size_ppb(&self, service: usize, group: usize, moving_ppm: u32) -> i64 {
        let all = u128::from(self.demand.total(service)) * self.books.len() as u128;
        let moved = u128::from(moving_ppm) * 1_000 * u128::from(self.demand.weight(service, group));
        i64::try_from(moved / all.max(1)).unwrap_or(i64::MAX)
    }

    fn all_down(&mut self, service: usize, group: usize, outlook: Outlook<'t>) {
        let rule = &self.terrain.input.policy.services[service].on_all_down;
        let held = self.books[service].get(self.books[service].at[group]);
        let held = held.filter(|placement| !placement.shares.is_empty());
        let as_if_up = |placement: &&Placement| {
            placement.mode == PlacementMode::FailOpen
                && placement.shares.iter().all(|share| outlook.ladder.rung(share.node).is_some())
                && placement.backups.iter().all(|&node| outlook.ladder.rung(node).is_some())
        };
        let keep = match rule {
            OnAllDown::All => held.filter(as_if_up).cloned(),
            OnAllDown::LastGood => held.cloned(),
            OnAllDown::Fallback(_) | OnAllDown::NoData | OnAllDown::ServFail => {
                return self.set(service, group, nothing());
            }
        };
        if let Some(placement) = keep {
            return self.set(service, group, Placement { mode: PlacementMode::FailOpen, ..placement });
        }
        let demand = self.demand.of(service, group);
        let held = self.books[service].at[group];
        self.loads.remove(self.books[service].shares(held), demand);
        self.ask(outlook, demand, &[], 0);
        self.settle(service, group, outlook, demand, PlacementMode::FailOpen);
    }

    /// Where to put a group at once; `fixed`: what of it stays where it is.
    fn ask(&mut self, outlook: Outlook<'t>, demand: u64, fixed: &[Share], surge: u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        Question::of(&self.loads, outlook, demand, fixed, surge).answer(fixed, &mut scratch);
        self.scratch = scratch;
    }

    /// What clients of a service who lost a node cost at first elsewhere.
    fn surge(&self, service: usize) -> u32 {
        Habit::of(&self.terrain.input.policy.services[service]).surge_ppm
    }

    /// Interns the answer just given.
    fn write(&mut self, service: usize, outlook: Outlook<'t>, mode: PlacementMode) -> u32 {
        let shares = &self.scratch.shares;
        let Some(first) = shares.first() else { return self.books[service].intern(&nothing()) };
        let pool = outlook.ladder.rung(first.node).map(|rung| rung.pool);
        let question = Question::idle(&self.loads, outlook);
        let ranked = question.rank_backups(shares);
        let will_do = |held: &[NodeId]| question.backs_as_well(held, &ranked, shares);
        self.books[service].fold(shares, (pool, mode), ranked.nodes(), will_do)
    }

    /// Gives a pair these shares, account included: at once, by nobody's wish.
    pub fn rearrange(&mut self, service: usize, group: usize, outlook: Outlook<'t>, shares: Vec<Share>) {
        let demand = self.demand.of(service, group);
        let held = self.books[service].at[group];
        self.loads.remove(self.books[service].shares(held), demand);
        self.scratch.shares = shares;
        self.settle(service, group, outlook, demand, PlacementMode::Normal);
    }

    /// Gives a pair other backups for the shares it has: these, or about as good and in use already.
    fn back(&mut self, service: usize, group: usize, outlook: Outlook<'t>, ranked: &Backups) {
        let book = &mut self.books[service];
        let Some(held) = book.get(book.at[group]) else { return };
        let (pool, mode, shares) = (held.pool, held.mode, &mut self.scratch.shares);
        shares.clone_from(&held.shares);
        let question = Question::idle(&self.loads, outlook);
        let will_do = |held: &[NodeId]| question.backs_as_well(held, ranked, shares);
        book.at[group] = book.fold(shares, (pool, mode), ranked.nodes(), will_do);
    }

    /// Gives the group the answer just given; what it had is off the account.
    fn settle(
        &mut self,
        service: usize,
        group: usize,
        outlook: Outlook<'t>,
        demand: u64,
        mode: PlacementMode,
    ) {
        let at = self.write(service, outlook, mode);
        self.loads.add(self.books[service].shares(at), demand);
        self.enter(service, group, at);
    }

    /// Replaces a placement, account included.
    fn set(&mut self, service: usize, group: usize, placement: Placement) {
        let demand = self.demand.of(service, group);
        let held = self.books[service].at[group];
        let at = self.books[service].intern(&placement);
        self.loads.remove(self.books[service].shares(held), demand);
        self.loads.add(self.books[service].shares(at), demand);
        self.enter(service, group, at);
    }

    fn enter(&mut self, service: usize, group: usize, at: u32) {
        self.books[service].at[group] = at;
        self.moved[service * self.terrain.ground.classes.len() + group] = true;
    }

    /// Keeps the shares; keeps the backups too while each costs about what the best in its place does.
    fn refresh_backups(&mut self, service: usize, group: usize, outlook: Outlook<'t>) {
        if let Some((_, ranked)) = self.badly_backed(service, group, outlook) {
            self.back(service, group, outlook, &ranked);
        }
    }

    /// As [`Self::refresh_backups`], when that was wished for long enough or a family is at stake.
    fn tidy(&mut self, service: usize, group: usize, outlook: Outlook<'t>, memory: &PlannerMemory) {
        let Some((placement, ranked)) = self.badly_backed(service, group, outlook) else { return };
        // As many clients see it as answers name a backup.
        let answers = outlook.answers.max(1);
        let seen_ppm = answers.saturating_sub(placement.shares.len()) * 1_000_000 / answers;
        let size_ppb = self.size_ppb(service, group, seen_ppm as u32);
        let question = Question::idle(&self.loads, outlook);
        let is_urgent = !question.covers_as_well(&placement.backups, &ranked, &placement.shares);
        if is_urgent || self.grant(service, group, size_ppb, memory, true).is_ok() {
            self.back(service, group, outlook, &ranked);
        }
    }

    /// What a pair has, and by whom it would be backed clearly better, if by anybody.
    fn badly_backed(
        &self,
        service: usize,
        group: usize,
        outlook: Outlook<'t>,
    ) -> Option<(&Placement, Backups)> {
        let book = &self.books[service];
        let held = book.get(book.at[group]).filter(|held| !held.shares.is_empty())?;
        let question = Question::idle(&self.loads, outlook);
        let ranked = question.rank_backups(&held.shares);
        (!question.backs_as_well(&held.backups, &ranked, &held.shares)).then_some((held, ranked))
    }
}

/// Whether all nodes of a normal placement may serve its clients: most pairs of most plans.
pub(super) fn is_untouched(ladder: &Ladder, may_serve: &[bool], placement: &Placement) -> bool {
    let alive = |share: &Share| may_serve[share.node.index()] && ladder.is_member(share.node);
    !ladder.all_down
        && placement.mode == PlacementMode::Normal
        && !placement.shares.is_empty()
        && placement.shares.iter().all(alive)
        && placement.backups.iter().all(|&node| ladder.rung(node).is_some())
}

/// Whether what is free decides on some level.
fn is_by_load(ladder: &Ladder) -> bool {
    ladder.is_flat && (0..ladder.levels()).any(|level| ladder.method(level) == Method::Load)
}

/// From which part of the clients on a change is worth it.
fn threshold(from: &[Share], to: &[Share]) -> u32 {
    let among = |share: &Share| from.iter().any(|other| other.node == share.node);
    let same = from.len() == to.len() && to.iter().all(among);
    if same { UNEVEN_PPM } else { WORTHWHILE_PPM }
}

/// Whether shares (ppm) are near enough to their weights. Unknown weights: no.
fn is_even(of: &[(u64, u32)]) -> bool {
    let total: u64 = of.iter().fold(0, |sum, &(weight, _)| sum.saturating_add(weight));
    let off = |&(weight, share): &(u64, u32)| super::load::ppm_of(weight, total).abs_diff(u64::from(share));
    of.iter().all(|&(weight, _)| weight > 0) && of.iter().map(off).sum::<u64>() / 2 < u64::from(UNEVEN_PPM)
}
