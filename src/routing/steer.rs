//! The steered half of the table: for one service, which bytes each client is answered with.
//!
//! ```text
//!  client ─▶ group ─by_group─▶ distribution ─hash of client prefix─▶ slot ─▶ answer set
//!            (geo)              64..1,024 slots, one if all agree             A bytes, AAAA bytes
//! ```
//!
//! Groups with equal placements share a distribution and equal answers share a set, so the work
//! and the memory grow with what differs. The number of slots and the hash length come from policy
//! and geo alone: were they to follow health, a node's death would move clients of other nodes.
//!
//! Out of scope: who is placed where (`schedule`) and what goes around the bytes (`dns`).

use super::block::Block;
use super::rendezvous::{self, Contender};
use crate::base::hash::{mix_pair, stable_hash};
use crate::base::prefix::{Family, left_aligned};
use crate::model::clients::ClientGroup;
use crate::model::fleet::Fleet;
use crate::model::ids::{GroupId, NodeId, PoolId};
use crate::model::placement::{Placement, PlacementMode, ServiceAssignment};
use crate::model::service::{OnAllDown, Service};
use crate::zone::rtype;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::net::IpAddr;

/// Bounds on the slots of a distribution with more than one answer.
pub const MIN_SLOTS: usize = 64;
pub const MAX_SLOTS: usize = 1_024;
/// Hash buckets for each node: enough that one is below a hundredth of a node.
const PARTS_PER_NODE: usize = 128;
/// Slots for each node that a group may be split over: a slot is 1.6 % of a node's part of one group.
/// More would cost time and memory with every distinct placement and say nothing that matters.
const SLOTS_PER_NODE: usize = 64;
/// A placement has at most this many shares.
const MAX_SHARES: usize = 8;
/// Longest client prefixes that are hashed: longer ones would only split resolver caches.
pub const MAX_HASH_LEN: [u8; 2] = [24, 56];
/// Nodes in one answer, at most.
const MAX_PICKS: usize = 8;

/// One service's answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTable {
    /// Seed of its clients' slots.
    pub name_hash: u64,
    /// Seconds.
    pub ttl: u32,
    /// log2 of the hash buckets wanted in a group.
    pub bucket_bits: u8,
    /// All clients of both families get the same answer: scope 0.
    pub is_uniform: bool,
    pub sets: Vec<AnswerSet>,
    pub distributions: Vec<Distribution>,
    /// Group to position in `distributions`.
    pub by_group: Vec<u32>,
}

/// What some clients are answered with. Arrays are indexed by [`Family::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerSet {
    /// A and AAAA records.
    pub blocks: [Block; 2],
    /// The nodes they belong to, best first; empty for fallback addresses.
    pub picks: [Box<[NodeId]>; 2],
    /// No node of the placement may serve this family: answered as if all could.
    pub is_open: [bool; 2],
}

/// How the clients of some groups are spread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distribution {
    /// Positions in [`ServiceTable::sets`]; a power of two of them, or one. Empty unless `reply`
    /// is [`Reply::Addresses`].
    pub slots: Box<[u32]>,
    /// More than one set stands in the slots, so the pick depends on the client's prefix.
    pub is_mixed: bool,
    pub pool: Option<PoolId>,
    pub mode: PlacementMode,
    pub reply: Reply,
    pub warning: Option<Warning>,
}

impl Distribution {
    /// Whether clients see the same.
    fn answers_like(&self, other: &Self) -> bool {
        (&self.slots, self.reply, self.warning) == (&other.slots, other.reply, other.warning)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    Addresses,
    NoData,
    ServFail,
}

/// Why an answer is not what the operator would wish for: an extended error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warning {
    AllAsUp,
    LastGood,
    Fallback,
    NoData,
    ServFail,
    NoNode,
}

impl Warning {
    /// INFO-CODE: 3 is Stale Answer, 0 Other.
    pub const fn info_code(self) -> u16 {
        match self {
            Warning::LastGood => 3,
            _ => 0,
        }
    }

    /// EXTRA-TEXT.
    pub const fn text(self) -> &'static str {
        match self {
            Warning::AllAsUp => "all nodes down: answering as if up",
            Warning::LastGood => "all nodes down: last good answer",
            Warning::Fallback => "all nodes down: fallback addresses",
            Warning::NoData => "all nodes down: no data",
            Warning::ServFail => "all nodes down",
            Warning::NoNode => "no node for this client",
        }
    }
}

/// What a client was given, and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    pub distribution: &'a Distribution,
    pub distribution_at: u32,
    pub slot: u32,
    pub set: Option<&'a AnswerSet>,
    /// Prefix length that was hashed; 0 where the pick does not depend on it.
    pub hash_len: u8,
}

impl ServiceTable {
    /// The answer for a client: `bits` left-aligned, `depth` of its leaf in the geo table, and
    /// `group_bits` as made by [`group_bits`].
    #[inline]
    pub fn pick(
        &self,
        group: GroupId,
        family: Family,
        bits: u128,
        depth: u8,
        group_bits: [u8; 2],
    ) -> Option<Pick<'_>> {
        let distribution_at = *self.by_group.get(group.index())?;
        let distribution = self.distributions.get(distribution_at as usize)?;
        let hash_len = if distribution.is_mixed { self.hash_len(family, depth, group_bits) } else { 0 };
        let hash = self.client_hash(family, bits, hash_len);
        let slot = (u128::from(hash) * distribution.slots.len() as u128) >> 64;
        let set = distribution.slots.get(slot as usize).and_then(|set| self.sets.get(*set as usize));
        Some(Pick { distribution, distribution_at, slot: slot as u32, set, hash_len })
    }

    /// The shortest prefix that still cuts the group into enough buckets, not shorter than the leaf.
    #[inline]
    pub fn hash_len(&self, family: Family, depth: u8, group_bits: [u8; 2]) -> u8 {
        let whole = [24, 48][family.index()];
        let wanted = (whole + self.bucket_bits).saturating_sub(group_bits[family.index()]);
        wanted.max(depth).min(MAX_HASH_LEN[family.index()])
    }

    /// Only the upper half of an address takes part: no hashed prefix is longer.
    #[inline]
    fn client_hash(&self, family: Family, bits: u128, hash_len: u8) -> u64 {
        let mask = !u64::MAX.checked_shr(u32::from(hash_len)).unwrap_or(0);
        let upper = (bits >> 64) as u64 & mask;
        mix_pair(self.name_hash ^ family.index() as u64, upper)
    }
}

/// log2 of a group's size in /24s and /48s, rounded down.
pub fn group_bits(group: &ClientGroup) -> [u8; 2] {
    let log2 = |count: u32| u8::try_from(count.max(1).ilog2()).unwrap_or(31);
    [log2(group.v4_slash24), log2(group.v6_slash48)]
}

/// What services are compiled against.
pub struct Material<'a> {
    pub fleet: &'a Fleet,
    /// Per node and family: has addresses, and may serve.
    pub serving: &'a [[bool; 2]],
    draws: Vec<Option<Box<[u32]>>>,
    node_hashes: Vec<u64>,
}

impl<'a> Material<'a> {
    pub fn new(fleet: &'a Fleet, serving: &'a [[bool; 2]]) -> Self {
        let node_hashes = fleet.nodes.iter().map(|node| rendezvous::node_hash(&node.name)).collect();
        Self { fleet, serving, draws: vec![None; fleet.nodes.len()], node_hashes }
    }

    /// A node's draws for every slot, made when first wanted and shared by all services.
    fn prepare_draws(&mut self, node: NodeId) {
        let hash = self.node_hashes[node.index()];
        let draw = |slot| rendezvous::draw(hash, slot);
        self.draws[node.index()].get_or_insert_with(|| (0..MAX_SLOTS as u32).map(draw).collect());
    }

    fn contender(&self, placement: &Placement, position: usize, slot: usize) -> Contender {
        let share = placement.shares[position];
        Contender {
            node_hash: self.node_hashes[share.node.index()],
            draw: self.draws(share.node)[slot],
            share: share.share.0,
            position: position as u8,
        }
    }

    /// [`prepare_draws`](Self::prepare_draws) comes first.
    fn draws(&self, node: NodeId) -> &[u32] {
        self.draws[node.index()].as_deref().unwrap_or(&[u32::MAX; MAX_SLOTS])
    }
}

/// Compiles one service. Every node id must be in the fleet.
pub fn compile_service(
    material: &mut Material<'_>,
    service: &Service,
    plan: &ServiceAssignment,
) -> ServiceTable {
    let largest_pool = service.pools.iter().map(|pool| pool.members.len()).max().unwrap_or(1).max(1);
    let wanted_slots = (largest_pool.min(MAX_SHARES) * SLOTS_PER_NODE).next_power_of_two();
    let mut compiler = Compiler {
        material,
        service,
        slots: wanted_slots.clamp(MIN_SLOTS, MAX_SLOTS),
        sets: Vec::new(),
        set_index: HashMap::default(),
        distributions: Vec::new(),
        distribution_index: HashMap::default(),
        plain_index: HashMap::default(),
    };
    let mut by_placement = vec![None; plan.placements.len()];
    let mut by_group = Vec::with_capacity(plan.by_group.len());
    for placement in &plan.by_group {
        let known = &mut by_placement[*placement as usize];
        let place = || compiler.distribution(&plan.placements[*placement as usize]);
        by_group.push(*known.get_or_insert_with(place));
    }
    let bucket_bits = (largest_pool * PARTS_PER_NODE).next_power_of_two().ilog2();
    let distributions = compiler.distributions;
    ServiceTable {
        name_hash: stable_hash(service.name.as_bytes()),
        ttl: service.ttl,
        bucket_bits: u8::try_from(bucket_bits).unwrap_or(u8::MAX),
        is_uniform: distributions.iter().all(|it| !it.is_mixed && it.answers_like(&distributions[0])),
        sets: compiler.sets,
        distributions,
        by_group,
    }
}

/// What makes two answer sets equal.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct SetKey {
    picks: [[u16; MAX_PICKS]; 2],
    counts: [u8; 2],
    is_open: [bool; 2],
    is_fallback: bool,
}

struct Compiler<'m, 'a> {
    material: &'m mut Material<'a>,
    service: &'m Service,
    slots: usize,
    sets: Vec<AnswerSet>,
    set_index: HashMap<SetKey, u32, FixedState>,
    distributions: Vec<Distribution>,
    distribution_index: HashMap<Distribution, u32, FixedState>,
    /// Distributions of placements on one node, by the nodes that are answered.
    plain_index: HashMap<PlainKey, u32, FixedState>,
}

/// A placement on one node, without what cannot change its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PlainKey {
    nodes: [u16; MAX_PICKS],
    count: u8,
    pool: Option<PoolId>,
}

impl Compiler<'_, '_> {
    fn distribution(&mut self, placement: &Placement) -> u32 {
        let plain = self.plain_key(placement);
        if let Some(at) = plain.and_then(|key| self.plain_index.get(&key)) {
            return *at;
        }
        let made = self.make_distribution(placement);
        let at = self.intern(made);
        if let Some(key) = plain {
            self.plain_index.insert(key, at);
        }
        at
    }

    fn intern(&mut self, made: Distribution) -> u32 {
        let at = position(self.distributions.len());
        if made.is_mixed {
            // Equal ones are rare and long to compare.
            self.distributions.push(made);
            return at;
        }
        if let Some(known) = self.distribution_index.get(&made) {
            return *known;
        }
        self.distributions.push(made.clone());
        self.distribution_index.insert(made, at);
        at
    }

    /// Of a placement on one node, if the nodes first in order serve every family there is: those
    /// behind them do not matter then.
    fn plain_key(&self, placement: &Placement) -> Option<PlainKey> {
        let [share] = placement.shares.as_slice() else { return None };
        if placement.mode != PlacementMode::Normal || share.share.0 == 0 {
            return None;
        }
        let mut key = PlainKey { nodes: [0; MAX_PICKS], count: 0, pool: placement.pool };
        let order = std::iter::once(share.node).chain(placement.backups.iter().copied());
        for (node, place) in order.take(usize::from(self.service.answers.max(1))).zip(&mut key.nodes) {
            if self.material.serving.get(node.index()) != Some(&[true; 2]) {
                return None;
            }
            *place = node.0;
            key.count += 1;
        }
        Some(key)
    }

    fn make_distribution(&mut self, placement: &Placement) -> Distribution {
        let (reply, warning) = self.reply(placement);
        let slots = match (reply, placement.mode) {
            (Reply::NoData | Reply::ServFail, _) => Box::default(),
            (Reply::Addresses, PlacementMode::AllDown) => Box::from([self.fallback_set()]),
            (Reply::Addresses, _) => self.fill_slots(placement),
        };
        let is_mixed = slots.iter().any(|set| *set != slots[0]);
        let slots = if is_mixed { slots } else { slots.iter().take(1).copied().collect() };
        Distribution { slots, is_mixed, pool: placement.pool, mode: placement.mode, reply, warning }
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

    fn fill_slots(&mut self, placement: &Placement) -> Box<[u32]> {
        let live: Vec<_> =
            (0..placement.shares.len().min(256)).filter(|at| placement.shares[*at].share.0 > 0).collect();
        if live.len() <= 1 {
            let first = live.iter().map(|at| placement.shares[*at].node);
            let order: Vec<_> = first.chain(placement.backups.iter().copied()).collect();
            return Box::from([self.set_for(&order, placement.mode)]);
        }
        for at in &live {
            self.material.prepare_draws(placement.shares[*at].node);
        }
        if self.service.answers <= 1 && self.serves_every_family(placement) {
            return self.fill_by_family(placement, &live);
        }
        let mut known: HashMap<u64, u32, FixedState> = HashMap::default();
        let mut ranked = Vec::with_capacity(live.len());
        let slots = (0..self.slots).map(|slot| {
            ranked.clear();
            ranked.extend(live.iter().map(|at| self.material.contender(placement, *at, slot)));
            ranked.sort_unstable_by(Contender::order);
            let places =
                ranked.iter().take(16).fold(1, |key: u64, it| key << 4 | u64::from(it.position & 15));
            if let Some(set) = known.get(&places).filter(|_| ranked.len() <= 15) {
                return *set;
            }
            let shares = ranked.iter().map(|it| placement.shares[usize::from(it.position)].node);
            let order: Vec<_> = shares.chain(placement.backups.iter().copied()).collect();
            let set = self.set_for(&order, placement.mode);
            known.insert(places, set);
            set
        });
        slots.collect()
    }

    /// Whether some node of the placement can answer each family that any of its nodes has.
    fn serves_every_family(&self, placement: &Placement) -> bool {
        let nodes = || {
            let shares = placement.shares.iter().filter(|share| share.share.0 > 0).map(|share| share.node);
            shares.chain(placement.backups.iter().copied())
        };
        Family::BOTH.iter().all(|&family| {
            nodes().any(|node| self.is_usable(node, family, placement.mode))
                || !nodes().any(|node| self.material.fleet.node(node).has_family(family))
        })
    }

    /// Fills slots whose answers name one node: each family is won by the best share that can
    /// answer it, so the order of the others does not matter.
    fn fill_by_family(&mut self, placement: &Placement, live: &[usize]) -> Box<[u32]> {
        let winners = Family::BOTH.map(|family| {
            let usable = |at: &usize| self.is_usable(placement.shares[*at].node, family, placement.mode);
            let able: Vec<usize> = live.iter().copied().filter(usable).collect();
            (!able.is_empty()).then(|| self.winners(placement, &able))
        });
        let [v4, v6] = &winners;
        let width = placement.shares.len() + 1;
        let mut known = vec![None; width * width];
        let place = |winners: &Option<Vec<u8>>, slot: usize| {
            winners.as_ref().map(|winners| usize::from(winners[slot]))
        };
        let slots = (0..self.slots).map(|slot| {
            let (first, second) = (place(v4, slot), place(v6, slot));
            let at = first.map_or(0, |at| at + 1) * width + second.map_or(0, |at| at + 1);
            *known[at].get_or_insert_with(|| self.set_of_winners(placement, first, second))
        });
        slots.collect()
    }

    /// The set in which `v4` and `v6` (positions in the shares) won their families.
    fn set_of_winners(&mut self, placement: &Placement, v4: Option<usize>, v6: Option<usize>) -> u32 {
        let node = |at: usize| placement.shares[at].node;
        // A winner of IPv4 that can answer IPv6 too was beaten there by one that has IPv6 alone.
        let v6_first = v4.is_some_and(|at| self.is_usable(node(at), Family::V6, placement.mode));
        let winners = if v6_first { [v6, v4] } else { [v4, v6] };
        let order: Vec<_> =
            winners.into_iter().flatten().map(node).chain(placement.backups.iter().copied()).collect();
        self.set_for(&order, placement.mode)
    }

    /// The position of every slot's best share, as [`Contender::order`] has it: node by node over
    /// all slots and without a branch that depends on them, since those are random.
    fn winners(&self, placement: &Placement, live: &[usize]) -> Vec<u8> {
        let of = |at: usize| self.material.contender(placement, at, 0);
        let first = of(live[0]);
        let draws = self.material.draws(placement.shares[live[0]].node);
        let mut best: Vec<_> = draws[..self.slots].iter().map(|draw| (*draw, first.share)).collect();
        let mut winners = vec![first.position; self.slots];
        for at in &live[1..] {
            let challenger = of(*at);
            let draws = self.material.draws(placement.shares[*at].node);
            for ((best, winner), draw) in best.iter_mut().zip(&mut winners).zip(draws) {
                let ours = u64::from(*draw) * u64::from(best.1);
                let theirs = u64::from(best.0) * u64::from(challenger.share);
                let wins_tie = ours == theirs && challenger.node_hash < of(usize::from(*winner)).node_hash;
                let wins = (ours < theirs) | wins_tie;
                *best = if wins { (*draw, challenger.share) } else { *best };
                *winner = if wins { challenger.position } else { *winner };
            }
        }
        winners
    }

    fn is_usable(&self, node: NodeId, family: Family, mode: PlacementMode) -> bool {
        let has = self.material.fleet.node(node).has_family(family);
        let serves = || self.material.serving.get(node.index()).is_some_and(|it| it[family.index()]);
        has && (mode != PlacementMode::Normal || serves())
    }

    /// The set of the first `answers` nodes of an order, family by family.
    fn set_for(&mut self, order: &[NodeId], mode: PlacementMode) -> u32 {
        let answers = usize::from(self.service.answers).clamp(1, MAX_PICKS);
        let may_open = matches!(self.service.on_all_down, OnAllDown::All | OnAllDown::LastGood);
        let mut key = SetKey::default();
        for family in Family::BOTH {
            let at = family.index();
            let mut fill = |usable: &dyn Fn(NodeId) -> bool| {
                let chosen = order.iter().filter(|node| usable(**node)).take(answers);
                key.counts[at] =
                    chosen.zip(&mut key.picks[at]).map(|(node, pick)| *pick = node.0).count() as u8;
                key.counts[at] == 0
            };
            let is_empty = fill(&|node| self.is_usable(node, family, mode));
            if is_empty && may_open {
                let is_still_empty = fill(&|node| self.material.fleet.node(node).has_family(family));
                key.is_open[at] = !is_still_empty;
            }
        }
        if let Some(set) = self.set_index.get(&key) {
            return *set;
        }
        let made = self.make_set(&key);
        self.add_set(key, made)
    }

    fn add_set(&mut self, key: SetKey, set: AnswerSet) -> u32 {
        let at = position(self.sets.len());
        self.sets.push(set);
        self.set_index.insert(key, at);
        at
    }

    fn make_set(&self, key: &SetKey) -> AnswerSet {
        let picks = Family::BOTH.map(|family| {
            let at = family.index();
            key.picks[at]
                .iter()
                .take(usize::from(key.counts[at]))
                .map(|node| NodeId(*node))
                .collect::<Box<[_]>>()
        });
        let blocks = Family::BOTH.map(|family| {
            let addresses =
                picks[family.index()].iter().flat_map(|node| self.material.fleet.addresses(*node));
            address_block(family, self.service.ttl, addresses)
        });
        AnswerSet { blocks, picks, is_open: key.is_open }
    }

    fn fallback_set(&mut self) -> u32 {
        let key = SetKey { is_fallback: true, ..SetKey::default() };
        if let Some(set) = self.set_index.get(&key) {
            return *set;
        }
        let addresses = match &self.service.on_all_down {
            OnAllDown::Fallback(addresses) => addresses.as_slice(),
            _ => &[],
        };
        let block = |family| address_block(family, self.service.ttl, addresses.iter().copied());
        let set = AnswerSet { blocks: Family::BOTH.map(block), ..AnswerSet::default() };
        self.add_set(key, set)
    }
}

/// A or AAAA records of those addresses that are of the family.
fn address_block(family: Family, ttl: u32, addresses: impl Iterator<Item = IpAddr>) -> Block {
    let len = usize::from(family.bits() / 8);
    let of_family = addresses.filter(|address| Family::of(*address) == family);
    let octets: Vec<_> = of_family.map(|address| left_aligned(address).to_be_bytes()).collect();
    let rtype = [rtype::A, rtype::AAAA][family.index()];
    Block::of(rtype, ttl, octets.iter().map(|octets| &octets[..len]))
}

fn position(len: usize) -> u32 {
    u32::try_from(len).expect("sets and distributions are bounded by groups times slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bucket_bits: u8) -> ServiceTable {
        ServiceTable {
            name_hash: 0,
            ttl: 30,
            bucket_bits,
            is_uniform: false,
            sets: Vec::new(),
            distributions: Vec::new(),
            by_group: Vec::new(),
        }
    }

    fn group(v4_slash24: u32, v6_slash48: u32) -> [u8; 2] {
        group_bits(&ClientGroup {
            key: String::new(),
            country: None,
            line: None,
            location: None,
            areas: Vec::new(),
            v4_slash24,
            v6_slash48,
        })
    }

    #[test]
    fn the_hashed_prefix_is_the_shortest_with_enough_buckets() {
        let table = table(9);
        for size in [1, 100, 511, 512, 513, 5_000, 1 << 20, u32::MAX] {
            let len = table.hash_len(Family::V4, 0, group(size, 0));
            let buckets = u64::from(size) >> (24 - len);
            assert!(buckets >= 512 || len == 24, "{size}: {buckets} buckets of /{len}");
            assert!(buckets < 1_024 || size == u32::MAX, "{size}: {buckets} buckets, more than needed");
            let len = table.hash_len(Family::V6, 0, group(0, size));
            let buckets = u64::from(size) << 8 >> (56 - len);
            assert!(buckets >= 512 || len == 56, "{size}: {buckets} buckets of /{len}");
        }
    }

    #[test]
    fn the_hashed_prefix_is_no_shorter_than_the_leaf_and_no_longer_than_the_bound() {
        let large = group(1 << 22, 1 << 30);
        assert_eq!(table(9).hash_len(Family::V4, 20, large), 20);
        assert_eq!(table(9).hash_len(Family::V4, 30, large), 24);
        assert_eq!(table(9).hash_len(Family::V6, 64, large), 56);
        assert_eq!(table(15).hash_len(Family::V4, 0, group(0, 0)), 24);
    }
}
