//! Fills the slots of one service: placements of client groups become distributions.
//!
//! ```text
//!  group ─▶ placement ─┬ as in the earlier table, its nodes serve as then ─▶ that distribution, shared
//!                      ├ answers like one made before (fold key) ──────────▶ that one
//!                      └ else: every slot goes to the share that wins it ──▶ a new one
//! ```
//! The work grows with what changed: a node that fails costs only the placements it is in. A slot
//! list is by far the largest part of a table, so placements that must answer alike share one.

use super::guard::{Gate, Guard};
use super::material::{BLOCK, MAX_SLOTS, Material, Order};
use super::rendezvous::Contender;
use super::sets::{Ground, MAX_PICKS, Sets};
use super::steer::{
    AnswerSet, BUCKET_BITS, Distribution, GroupPlan, Reply, ServiceTable, Slots, Warning, hash_lens, seeds,
};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::degradation::{Shed, ShedTo};
use crate::model::ids::{NodeId, PoolId};
use crate::model::placement::{Placement, PlacementMode, ServiceAssignment, Share};
use crate::model::reach::Reach;
use crate::model::service::{OnAllDown, PoolMember, Service};
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Slots of a distribution with more than one answer: 64 for each node of a placement, a slot being 1.6 % of a
/// node's part of one group. More would cost time and memory with every distinct placement and say nothing that
/// matters,
const SLOTS: usize = 512;
/// but of a populous group, of at least so many /24s: a few of those are most of what a node carries, and
/// what it wins of them too much is not made up for by many others.
const POPULOUS: u32 = 1 << 15;
/// Neither this nor [`BUCKET_BITS`] follows the size of pools: a node that comes or goes would have everybody's
/// slots dealt anew.
const POPULOUS_SLOTS: usize = MAX_SLOTS;
/// The position of no share.
const NOBODY: u8 = u8::MAX;
/// Of a pool that newcomers are shed to, at most.
const MAX_WAITING_NODES: usize = 64;
/// Sets that no slot names are dropped once there are this many more than that do.
const MAX_IDLE_SETS: usize = 1_024;

/// A service's table of the same policy and client groups, and what it was made from.
pub struct Earlier<'a> {
    pub table: &'a ServiceTable,
    pub plan: &'a ServiceAssignment,
    /// For each pair of views that some group has, then and now; by node: serves the same families as then.
    is_steady: BTreeMap<(u16, u16), Vec<bool>>,
    now: &'a Reach,
}

impl<'a> Earlier<'a> {
    /// `now`: of the same groups.
    pub fn new(table: &'a ServiceTable, plan: &'a ServiceAssignment, now: &'a Reach) -> Self {
        let mut earlier = Self { table, plan, is_steady: BTreeMap::new(), now };
        let alike = table.reach.is_uniform() && now.is_uniform();
        for group in 0..if alike { 1 } else { plan.by_group.len() } {
            let (pair, then, now) = (earlier.views(group), table.reach.view(group), now.view(group));
            earlier.is_steady.entry(pair).or_insert_with(|| {
                now.serving.iter().zip(&then.serving).map(|(now, then)| now == then).collect()
            });
        }
        earlier
    }

    /// Of a group, then and now.
    fn views(&self, group: usize) -> (u16, u16) {
        (self.table.reach.view_of(group) as u16, self.now.view_of(group) as u16)
    }

    /// Whether the table would come out the same.
    pub fn is_for(&self, plan: &ServiceAssignment) -> bool {
        self.plan == plan && self.is_steady.values().flatten().all(|it| *it)
    }

    /// The distribution that a group had, if it may have it still; `at`: its placement in `plan`.
    fn distribution(&self, group: usize, plan: &ServiceAssignment, at: u32) -> Option<&'a Distribution> {
        let then_at = *self.plan.by_group.get(group)?;
        let (then, placement) = (self.plan.placements.get(then_at as usize)?, &plan.placements[at as usize]);
        let is_shared = then_at == at && self.plan.placements.is_same_at(&plan.placements, at as usize);
        let is_steady = self.is_steady.get(&self.views(group))?;
        let steady = |node: NodeId| is_steady.get(node.index()) == Some(&true);
        let is_same = (is_shared || then == placement)
            && placement.shares.iter().all(|share| steady(share.node))
            && placement.backups.iter().all(|&node| steady(node));
        let at = self.table.by_group.get(group)?.distribution;
        self.table.distributions.get(usize::from(at)).filter(|_| is_same)
    }

    fn is_worth_keeping(&self) -> bool {
        let is_used = self.table.sets_in_use();
        let used = is_used.iter().filter(|it| **it).count();
        is_used.len() - used <= used + MAX_IDLE_SETS
    }
}

/// Compiles one service. Every node id must be in the fleet, and every group of the plan in the material.
pub fn compile_service(
    material: &mut Material<'_>,
    service: &Service,
    plan: &ServiceAssignment,
    earlier: Option<&Earlier<'_>>,
    guard: Option<Guard>,
) -> ServiceTable {
    let earlier = earlier.filter(|earlier| earlier.is_worth_keeping());
    let earlier_sets: &[AnswerSet] = earlier.map_or(&[], |earlier| &earlier.table.sets);
    let reach = Arc::clone(&material.reach);
    let failing = Arc::clone(&material.failing);
    let ground = Ground { fleet: material.fleet, serving: &reach.global().serving, failing: &failing };
    let mut filler = Filler {
        sets: Sets::new(ground, service, earlier_sets),
        material,
        service,
        order: Order::of(&service.name),
        slots: SLOTS,
        distributions: Vec::new(),
        plain_index: HashMap::default(),
        fold_index: HashMap::default(),
        gate: None,
    };
    let placements = plan.placements.len();
    let (mut answers, mut gated) = (vec![None; reach.views().len()], HashMap::<_, _, FixedState>::default());
    let mut by_view_and_placement = vec![None; reach.views().len() * placements * 2];
    let mut by_group = Vec::with_capacity(plan.by_group.len());
    for (group, &at) in plan.by_group.iter().enumerate() {
        let placement = &plan.placements[at as usize];
        let view = reach.view_of(group);
        let is_populous = filler.material.groups[group].v4_slash24 >= POPULOUS;
        filler.slots = if is_populous { POPULOUS_SLOTS } else { SLOTS };
        let place = (usize::from(is_populous) * reach.views().len() + view) * placements + at as usize;
        let kept = || earlier.and_then(|earlier| earlier.distribution(group, plan, at));
        let known = match &service.shed {
            None => *by_view_and_placement[place].get_or_insert_with(|| {
                filler.sets.ground.serving = &reach.views()[view].serving;
                filler.distribution(placement, kept())
            }),
            Some(shed) => {
                let share = share_of(service, &filler.material.groups[group], plan);
                *gated.entry((place, share)).or_insert_with(|| {
                    filler.sets.ground.serving = &reach.views()[view].serving;
                    let own = std::mem::replace(&mut filler.slots, SLOTS);
                    let to = *answers[view].get_or_insert_with(|| filler.answer_of_shed(shed));
                    filler.slots = own;
                    filler.gated(placement, kept(), Gate { share, to })
                })
            }
        };
        let hash_lens = hash_lens(&filler.material.groups[group], BUCKET_BITS);
        by_group.push(GroupPlan { distribution: known, hash_lens });
    }
    let distributions = filler.distributions;
    ServiceTable {
        seeds: seeds(&service.name),
        ttl: service.ttl,
        counted_from: 0,
        is_uniform: guard.is_none()
            && distributions.iter().all(|it| !it.is_mixed() && it.answers_like(&distributions[0])),
        sets: filler.sets.into_sets(),
        distributions,
        by_group,
        reach: Arc::clone(&filler.material.reach),
        guard,
    }
}

/// Of the newcomers of a group.
fn share_of(service: &Service, group: &ClientGroup, plan: &ServiceAssignment) -> Ppm {
    let rule = service.chain_for(&group.areas);
    let at = rule.and_then(|rule| service.chains.iter().position(|other| std::ptr::eq(other, rule)));
    at.map_or(Ppm::ZERO, |at| plan.shed_of(at))
}

struct Filler<'m, 'a> {
    material: &'m mut Material<'a>,
    service: &'m Service,
    order: Order,
    /// Of the distributions that come next.
    slots: usize,
    sets: Sets<'m>,
    distributions: Vec<Distribution>,
    /// Of distributions with one answer.
    plain_index: HashMap<Distribution, u16, FixedState>,
    fold_index: HashMap<FoldKey, u16, FixedState>,
    /// Of the distributions that come next.
    gate: Option<Gate>,
}

/// A normal placement without what cannot change its answer, whatever view of the nodes its clients have.
#[derive(Clone, PartialEq, Eq, Hash)]
struct FoldKey {
    slots: usize,
    nodes: [(u16, u32); MAX_PICKS],
    count: u8,
    backups: [u16; MAX_PICKS],
    pool: Option<PoolId>,
    gate: Option<Gate>,
}

impl Filler<'_, '_> {
    fn distribution(&mut self, placement: &Placement, kept: Option<&Distribution>) -> u16 {
        let key = self.fold_key(placement);
        if let Some(at) = key.as_ref().and_then(|key| self.fold_index.get(key)) {
            return *at;
        }
        let mut made = kept.cloned().unwrap_or_else(|| self.make(placement));
        made.gate = self.gate;
        made.is_plain &= self.gate.is_none();
        let at = self.intern(made);
        if let Some(key) = key {
            self.fold_index.insert(key, at);
        }
        at
    }

    fn intern(&mut self, made: Distribution) -> u16 {
        let at = u16::try_from(self.distributions.len()).expect(
            "no more distributions than groups, fewer than 60,000, and an answer of gates for each view",
        );
        if !made.is_mixed() {
            if let Some(known) = self.plain_index.get(&made) {
                return *known;
            }
            self.plain_index.insert(made.clone(), at);
        }
        self.distributions.push(made);
        at
    }

    /// Where every share's node serves both families, backups answer only what shares leave open.
    fn fold_key(&self, placement: &Placement) -> Option<FoldKey> {
        let serves_both = |node: NodeId| self.sets.ground.serves(node) == [true; 2];
        let live = || placement.shares.iter().filter(|share| share.share.0 > 0);
        let count = live().count();
        let is_plain = placement.mode == PlacementMode::Normal && (1..=MAX_PICKS).contains(&count);
        if !is_plain || !live().all(|share| serves_both(share.node)) {
            return None;
        }
        let mut key = FoldKey {
            slots: self.slots,
            nodes: [(0, 0); MAX_PICKS],
            count: count as u8,
            backups: [u16::MAX; MAX_PICKS],
            pool: placement.pool,
            gate: self.gate,
        };
        for (share, place) in live().zip(&mut key.nodes) {
            *place = (share.node.0, share.share.0);
        }
        let open = usize::from(self.service.answers.max(1)).saturating_sub(count);
        for (node, place) in placement.backups.iter().take(open).zip(&mut key.backups) {
            if !serves_both(*node) {
                return None;
            }
            *place = node.0;
        }
        Some(key)
    }

    fn make(&mut self, placement: &Placement) -> Distribution {
        let (reply, warning) = self.reply(placement);
        let slots = match (reply, placement.mode) {
            (Reply::NoData | Reply::ServFail | Reply::Alias, _) => Slots::default(),
            (Reply::Addresses, PlacementMode::AllDown) => Slots::of(&[self.sets.of_fallback()]),
            (Reply::Addresses, _) => self.fill(placement),
        };
        let is_plain = reply == Reply::Addresses && warning.is_none();
        Distribution {
            slots,
            pool: placement.pool,
            mode: placement.mode,
            reply,
            warning,
            gate: None,
            is_plain,
        }
    }

    /// As [`distribution`](Self::distribution), with a gate.
    fn gated(&mut self, placement: &Placement, kept: Option<&Distribution>, gate: Gate) -> u16 {
        self.gate = Some(gate);
        let at = self.distribution(placement, kept);
        self.gate = None;
        at
    }

    /// What newcomers of the view are answered: of a pool the nodes that may serve them, by weight, or all as
    /// if they could.
    fn answer_of_shed(&mut self, shed: &Shed) -> u16 {
        let (pool, reply) = match &shed.to {
            ShedTo::Pool(pool) => (Some(*pool), Reply::Addresses),
            ShedTo::Cname(_) => (None, Reply::Alias),
            ShedTo::NoData => (None, Reply::NoData),
        };
        let placement = pool.map(|id| self.waiting_room(id));
        let mode = placement.as_ref().map_or(PlacementMode::Normal, |placement| placement.mode);
        let slots = placement.map_or_else(Slots::default, |placement| self.fill(&placement));
        let warning = Some(Warning::Shed);
        self.intern(Distribution { slots, pool, mode, reply, warning, gate: None, is_plain: false })
    }

    fn waiting_room(&self, id: PoolId) -> Placement {
        let members = &self.service.pool(id).members;
        let serves = |node: NodeId| self.sets.ground.serves(node) != [false; 2];
        let is_open = members.iter().any(|member| serves(member.node));
        let of_weight = |weigh: &dyn Fn(&PoolMember) -> u64| {
            let all: u64 = members.iter().map(weigh).sum();
            let share =
                |member: &PoolMember| Share { node: member.node, share: Ppm::ratio(weigh(member), all) };
            let shares = members.iter().map(share).filter(|share| share.share > Ppm::ZERO);
            shares.take(MAX_WAITING_NODES).collect::<Vec<_>>()
        };
        let is_in = |member: &PoolMember| !is_open || serves(member.node);
        let weighted = of_weight(&|member| if is_in(member) { u64::from(member.weight) } else { 0 });
        // Members of weight 0 stand in for those that are down.
        let shares = match weighted.is_empty() {
            true => of_weight(&|member| u64::from(is_in(member))),
            false => weighted,
        };
        let mode = if is_open { PlacementMode::Normal } else { PlacementMode::FailOpen };
        Placement { shares, backups: Vec::new(), pool: Some(id), mode }
    }

    /// Which promise of the service this placement calls for.
    fn reply(&self, placement: &Placement) -> (Reply, Option<Warning>) {
        let has_node =
            placement.shares.iter().any(|share| share.share.0 > 0) || !placement.backups.is_empty();
        match (placement.mode, &self.service.on_all_down) {
            (PlacementMode::AllDown, OnAllDown::Fallback(_)) => (Reply::Addresses, Some(Warning::Fallback)),
            (PlacementMode::AllDown, OnAllDown::NoData) => (Reply::NoData, Some(Warning::NoData)),
            (PlacementMode::AllDown, OnAllDown::ServFail) => (Reply::ServFail, Some(Warning::ServFail)),
            (PlacementMode::AllDown, _) => (Reply::ServFail, Some(Warning::NoNode)),
            _ if !has_node => (Reply::ServFail, Some(Warning::NoNode)),
            (PlacementMode::FailOpen, OnAllDown::LastGood) => (Reply::Addresses, Some(Warning::LastGood)),
            (PlacementMode::FailOpen, _) => (Reply::Addresses, Some(Warning::AllAsUp)),
            (PlacementMode::Normal, _) => (Reply::Addresses, None),
        }
    }

    fn fill(&mut self, placement: &Placement) -> Slots {
        let live: Vec<_> = (0..placement.shares.len().min(usize::from(NOBODY)))
            .filter(|at| placement.shares[*at].share.0 > 0)
            .collect();
        if live.len() <= 1 {
            let first = live.iter().map(|at| placement.shares[*at].node);
            let order: Vec<_> = first.chain(placement.backups.iter().copied()).collect();
            return Slots::of(&[self.sets.of_order(&order, placement.mode)]);
        }
        for at in &live {
            self.material.prepare_draws(placement.shares[*at].node, self.slots);
        }
        if self.service.answers <= 1 && self.serves_every_family(placement) {
            return self.fill_by_family(placement, &live);
        }
        let mut known: HashMap<u64, u32, FixedState> = HashMap::default();
        let mut ranked = Vec::with_capacity(live.len());
        let slots: Vec<u32> = (0..self.slots)
            .map(|slot| {
                ranked.clear();
                ranked.extend(
                    live.iter()
                        .map(|at| self.material.contender(placement, *at, self.order, (slot, self.slots))),
                );
                ranked.sort_unstable_by(Contender::order);
                let places =
                    ranked.iter().take(16).fold(1, |key: u64, it| key << 4 | u64::from(it.position & 15));
                if let Some(set) = known.get(&places).filter(|_| ranked.len() <= 15) {
                    return *set;
                }
                let shares = ranked.iter().map(|it| placement.shares[usize::from(it.position)].node);
                let order: Vec<_> = shares.chain(placement.backups.iter().copied()).collect();
                let set = self.sets.of_order(&order, placement.mode);
                known.insert(places, set);
                set
            })
            .collect();
        Slots::of(&slots)
    }

    /// Whether some node of the placement can answer each family that any of its nodes has.
    fn serves_every_family(&self, placement: &Placement) -> bool {
        let nodes = || {
            let shares = placement.shares.iter().filter(|share| share.share.0 > 0).map(|share| share.node);
            shares.chain(placement.backups.iter().copied())
        };
        Family::BOTH.iter().all(|&family| {
            nodes().any(|node| self.sets.ground.is_usable(node, family, placement.mode))
                || !nodes().any(|node| self.sets.ground.fleet.node(node).has_family(family))
        })
    }

    /// Fills slots whose answers name one node: each family is won by the best share that can
    /// answer it, so the order of the others does not matter.
    fn fill_by_family(&mut self, placement: &Placement, live: &[usize]) -> Slots {
        let [able_v4, able_v6] = Family::BOTH.map(|family| -> Vec<usize> {
            let usable =
                |at: &usize| self.sets.ground.is_usable(placement.shares[*at].node, family, placement.mode);
            live.iter().copied().filter(usable).collect()
        });
        let first = self.winners_of_family(placement, live, (Family::V4, &able_v4));
        // Mostly every node serves both, and they are won by the same.
        let second = match able_v4 == able_v6 && able_v4.len() == live.len() {
            true => first.clone(),
            false => self.winners_of_family(placement, live, (Family::V6, &able_v6)),
        };
        let winners = [first, second];
        let [v4, v6] = &winners;
        let width = placement.shares.len() + 1;
        let mut known = vec![None; width * width];
        let place = |winners: &Option<Vec<u8>>, slot: usize| {
            winners.as_ref().map(|winners| winners[slot]).filter(|&at| at != NOBODY).map(usize::from)
        };
        let slots: Vec<u32> = (0..self.slots)
            .map(|slot| {
                let (first, second) = (place(v4, slot), place(v6, slot));
                let at = first.map_or(0, |at| at + 1) * width + second.map_or(0, |at| at + 1);
                *known[at].get_or_insert_with(|| self.set_of_winners(placement, first, second))
            })
            .collect();
        Slots::of_used(&slots, known.into_iter().flatten().collect())
    }

    /// The position of every slot's best share of those `able` to answer a family. Where the best of all is not,
    /// somebody else fills in: who is not failing, of the shares or [nobody](NOBODY) but a backup, if there is one.
    fn winners_of_family(
        &self,
        placement: &Placement,
        live: &[usize],
        (family, able): (Family, &[usize]),
    ) -> Option<Vec<u8>> {
        let fails = |node: NodeId| self.sets.ground.is_failing(node, family, placement.mode);
        let calm: Vec<usize> = able.iter().copied().filter(|&at| !fails(placement.shares[at].node)).collect();
        let winners = (!able.is_empty()).then(|| self.winners(placement, able))?;
        if able.len() == live.len() || able.len() == calm.len() {
            return Some(winners);
        }
        let backs = |&node: &NodeId| self.sets.ground.is_usable(node, family, placement.mode) && !fails(node);
        let next_best = match calm.is_empty() {
            false => self.winners(placement, &calm),
            true if placement.backups.iter().any(backs) => vec![NOBODY; winners.len()],
            true => return Some(winners),
        };
        let best = self.winners(placement, live);
        let of_slot = |((own, best), next_best): ((u8, u8), u8)| if own == best { own } else { next_best };
        Some(winners.into_iter().zip(best).zip(next_best).map(of_slot).collect())
    }

    /// The set in which `v4` and `v6` (positions in the shares) won their families.
    fn set_of_winners(&mut self, placement: &Placement, v4: Option<usize>, v6: Option<usize>) -> u32 {
        let node = |at: usize| placement.shares[at].node;
        // A winner of IPv4 that can answer IPv6 too was beaten there by one that has IPv6 alone.
        let v6_first = v4.is_some_and(|at| self.sets.ground.is_usable(node(at), Family::V6, placement.mode));
        let winners = if v6_first { [v6, v4] } else { [v4, v6] };
        let order: Vec<_> =
            winners.into_iter().flatten().map(node).chain(placement.backups.iter().copied()).collect();
        self.sets.of_order(&order, placement.mode)
    }

    /// The position of every slot's best share, as [`Contender::order`] has it: node by node over
    /// all slots and without a branch that depends on them, since those are random (a compiler makes
    /// branches of `if`, so it is masks). Nodes come in the order that breaks ties, so whoever was there
    /// first keeps what is even.
    fn winners(&self, placement: &Placement, live: &[usize]) -> Vec<u8> {
        let mut live = live.to_vec();
        live.sort_by_key(|&at| self.material.hash(placement.shares[at].node));
        let blocks = |at: usize| self.material.blocks(placement.shares[at].node, self.order, self.slots);
        let mut best_draws: Vec<u32> = blocks(live[0]).flatten().copied().collect();
        let mut best_shares = vec![placement.shares[live[0]].share.0; self.slots];
        let mut winners = vec![live[0] as u32; self.slots];
        for &at in &live[1..] {
            let share = placement.shares[at].share.0;
            let best = best_draws.chunks_exact_mut(BLOCK).zip(best_shares.chunks_exact_mut(BLOCK));
            let best = best.zip(winners.chunks_exact_mut(BLOCK)).zip(blocks(at));
            for (((best_draws, best_shares), winners), draws) in best {
                let best = best_draws.iter_mut().zip(best_shares).zip(winners);
                for (((best_draw, best_share), winner), &draw) in best.zip(draws) {
                    let wins = ones_if_less(
                        u64::from(draw) * u64::from(*best_share),
                        u64::from(*best_draw) * u64::from(share),
                    );
                    *best_draw = chosen(wins, *best_draw, draw);
                    *best_share = chosen(wins, *best_share, share);
                    *winner = chosen(wins, *winner, at as u32);
                }
            }
        }
        winners.into_iter().map(|at| at as u8).collect()
    }
}

/// All ones if `a` is less than `b`, else none; both are below 2^63.
#[inline]
const fn ones_if_less(a: u64, b: u64) -> u32 {
    ((a.wrapping_sub(b).cast_signed()) >> 63) as u32
}

/// `other` where the mask has ones.
#[inline]
const fn chosen(mask: u32, own: u32, other: u32) -> u32 {
    own ^ ((own ^ other) & mask)
}

#[cfg(test)]
mod tests;
