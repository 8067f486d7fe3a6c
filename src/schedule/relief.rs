//! Brings nodes back under their caps as far as that can be done at all.
//!
//! ```text
//! account ─▶ stock: demand by (kind, node) ─▶ flow ─▶ gains by (kind, node) ─▶ which groups move
//!            kind = pairs with equal ladders                                   cheapest move first
//! ```
//! The walk of `sweep` places one group after another and never asks those already placed to make
//! room; here they are asked, while demand is unserved and only then. The flow says how much of each
//! kind leaves which node and arrives where: so what stays above caps is exactly the least that any
//! assignment would leave there, up to a millionth of a group for each part. Levels of a chain are
//! opened one after the other: spill is no larger than it must be for that.
//!
//! An evacuation asks only whom it moved anyway, and only for the part that moved; who is held is asked no more
//! than that by any pass. Nothing here looks at ramps, spill hysteresis, margins or the budget: unserved demand
//! outranks them all. If no node is above its cap nothing is done but to see that.

use super::Pass;
use super::flow::Network;
use super::load::{part, ppm_of, share_of};
use super::memory::PlannerMemory;
use super::sweep::Sweep;
use super::terrain::Outlook;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::placement::{Placement, PlacementMode, Share};
use crate::model::verdict::NodeHealth;
use std::collections::{BinaryHeap, HashMap};

const NO_KIND: u32 = u32::MAX;
/// What a level further down the chain costs more than any node of this one, us.
const LEVEL_US: i64 = 1 << 32;
/// Less than this many fine units (a thousandth of a unit) is not worth a share.
const CRUMB: u64 = 64;
/// Of its cap: by so much a node may be further above it than the others must be.
const UNEVEN_PPM: u32 = 250_000;
/// How often it is asked how far above their caps nodes must be.
const LEVEL_QUESTIONS: usize = 5;

/// Demand that may be given the same nodes.
struct Kinds {
    /// By position of the ladder.
    of_ladder: Vec<u32>,
    /// By kind: nodes by level, as the ladder has them.
    nodes: Vec<Vec<(u8, NodeId)>>,
}

/// A part of a group on a node, that may move.
#[derive(Clone, Copy, Debug)]
struct Piece {
    kind: u32,
    node: NodeId,
    service: u32,
    group: u32,
    /// The group's place in the order of the walk, which does not depend on that of the input.
    rank: u32,
    /// Of the pair's clients.
    ppm: u32,
}

/// A piece and the best place for it: lowest rise in cost first, then in a fixed order.
type Offer = (std::cmp::Reverse<(i64, u32, u32)>, usize, usize);

impl Sweep<'_> {
    /// Moves what must move so that as little as possible is above caps. How many pieces moved.
    pub fn relieve(&mut self, pass: Pass) -> usize {
        if !self.loads.any_over_cap() {
            return 0;
        }
        let gauge = |node: NodeId| (self.loads.relievable(node), self.loads.room(node));
        let nodes = (0..self.terrain.signals.len()).map(NodeId::from_index);
        let gauges: Vec<(u64, u64)> = nodes.map(gauge).collect();
        self.even_out(pass, &gauges, false)
    }

    /// Places who lost a node, and nobody else. It goes round nodes whose newest probe failed as far as others have
    /// room: those of one machine room fall one after another, and who was sent from one to the next would be moved
    /// again. Likewise it leaves what is `kept` of nodes for those who are next (empty: nothing).
    pub fn rescue(&mut self, touched: &[Vec<u32>], kept: &[u64]) {
        let fails = |health: &NodeHealth| health.best().is_some_and(|best| best.is_failing);
        let failing = self.terrain.input.health.iter().enumerate().filter(|(_, health)| fails(health));
        failing.for_each(|(at, _)| self.loads.shun(NodeId::from_index(at)));
        self.secure(touched);
        self.relieve(Pass::Evacuation);
        let room = |sweep: &Self, node| if sweep.loads.is_shunned(node) { 0 } else { sweep.loads.room(node) };
        let gauges = self.spared(kept, room);
        if gauges.iter().any(|&(over, _)| over > 0) {
            self.even_out(Pass::Evacuation, &gauges, false);
        }
    }

    /// Where who lost a node fills others further than [`Self::spared`] lets them, has clients of those make way, by
    /// choice and within the budget.
    pub fn make_room(&mut self, memory: &PlannerMemory) {
        let gauges = self.spared(&[], |sweep, node| sweep.loads.room_beside_what_passes(node));
        let is_much = |node: usize, amount: u64| amount >= self.loads.unsure(NodeId::from_index(node)).max(1);
        let leaves = |node: usize| is_much(node, gauges[node].0);
        if !(0..gauges.len()).any(leaves) || gauges.iter().all(|&(_, room)| room == 0) {
            return;
        }
        if let Some(by) = self.holds_relief(memory.may_make_room(self.rules())) {
            return self.note_crowd(by, gauges.into_iter());
        }
        // Small steps would make many tables: as sessions end and reports waver a little room comes to be again and
        // again, and what is left of it waits until some node is relieved by it.
        let kinds = self.kinds();
        let pieces = self.pieces(&kinds, Pass::Full);
        let network = network(&kinds, &pieces, &gauges, |piece| self.amount(piece));
        let Some((network, _)) = network else { return };
        if (0..gauges.len()).any(|node| is_much(node, network.relieved(node))) {
            self.granted |= self.rearrange_all(&pieces, &network, true) > 0;
        }
    }

    /// What must leave each node, and what it may take, so that room is left: what is measured may be too little by
    /// [`Loads::unsure`], and a table divides a group only about as planned, so that twice that much below its
    /// cap is as full as a node should become while others have `room`. Nothing where all demand is stated. And what
    /// is `kept` (empty: nothing).
    ///
    /// [`Loads::unsure`]: super::load::Loads::unsure
    fn spared(&self, kept: &[u64], room: impl Fn(&Self, NodeId) -> u64) -> Vec<(u64, u64)> {
        let is_measured = self.terrain.input.policy.services.iter().any(|service| service.demand.is_none());
        let gauge = |node: NodeId| {
            let spare = if is_measured { 2 * self.loads.unsure(node) } else { 0 };
            let spare = spare.saturating_add(kept.get(node.index()).copied().unwrap_or(0));
            let over = spare.saturating_sub(self.loads.room(node)).min(self.loads.planned(node.index()));
            (over, room(self, node).saturating_sub(spare))
        };
        (0..self.terrain.signals.len()).map(NodeId::from_index).map(gauge).collect()
    }

    /// Moves what must leave each node to where there is room, both of which `gauges` say; `by_choice`: as
    /// far as the budget goes.
    pub fn even_out(&mut self, pass: Pass, gauges: &[(u64, u64)], by_choice: bool) -> usize {
        let kinds = self.kinds();
        let pieces = self.pieces(&kinds, pass);
        let network = network(&kinds, &pieces, gauges, |piece| self.amount(piece));
        let Some((network, _)) = network else { return 0 };
        self.rearrange_all(&pieces, &network, by_choice)
    }

    /// Moves as the network says.
    fn rearrange_all(&mut self, pieces: &[Piece], network: &Network, by_choice: bool) -> usize {
        let mut moved = 0;
        for of_kind in pieces.chunk_by(|one, other| one.kind == other.kind) {
            let gains = network.gains(of_kind[0].kind as usize);
            moved += self.redistribute(of_kind, &gains, by_choice);
        }
        moved
    }

    /// Where demand is unserved, has no node be much further above its cap than all must be: others that
    /// are full as well take of it.
    pub fn level(&mut self) {
        let caps: Vec<u64> = (0..self.terrain.signals.len()).map(|node| self.cap(node)).collect();
        let over_ppm = |node: usize| {
            let id = NodeId::from_index(node);
            ppm_of(self.loads.relievable(id), caps[node]).min(u64::from(u32::MAX)) as u32
        };
        let worst_ppm = (0..caps.len()).map(over_ppm).max().unwrap_or(0);
        if worst_ppm <= UNEVEN_PPM {
            return;
        }
        let kinds = self.kinds();
        let pieces = self.pieces(&kinds, Pass::Full);
        let gauges = |least_ppm: u32| {
            let gauge = |(node, &cap): (usize, &u64)| {
                let id = NodeId::from_index(node);
                let more = u128::from(cap) * u128::from(least_ppm) / 1_000_000;
                let most = cap.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
                let load = self.loads.load(id);
                (load.saturating_sub(most).min(self.loads.planned(node)), most.saturating_sub(load))
            };
            caps.iter().enumerate().map(gauge).collect::<Vec<(u64, u64)>>()
        };
        let fits = |least_ppm: u32| {
            let gauges = gauges(least_ppm);
            let over = gauges.iter().fold(0_u64, |sum, gauge| sum.saturating_add(gauge.0));
            let pushed = network(&kinds, &pieces, &gauges, |piece| self.amount(piece)).map_or(0, |it| it.1);
            over.saturating_sub(pushed) <= over / 64
        };
        let (mut low, mut high) = (0, worst_ppm);
        for _ in 0..LEVEL_QUESTIONS {
            let middle = low + (high - low) / 2;
            (low, high) = if fits(middle) { (low, middle) } else { (middle, high) };
        }
        if worst_ppm - high > UNEVEN_PPM {
            let gauges = gauges(high);
            self.even_out(Pass::Full, &gauges, false);
        }
    }

    fn cap(&self, node: usize) -> u64 {
        let id = NodeId::from_index(node);
        let load = self.loads.load(id);
        self.loads.limits(id).map_or(u64::MAX >> 1, |_| {
            self.loads.room(id).saturating_add(load).saturating_sub(self.loads.over_cap(id))
        })
    }

    fn kinds(&self) -> Kinds {
        // Looked up, never iterated.
        let mut known: HashMap<Vec<(u8, NodeId)>, u32, _> =
            HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0));
        let mut nodes = Vec::new();
        let ladders = &self.terrain.ladders;
        let mut of_ladder = vec![NO_KIND; ladders.len()];
        // In the order of services: among flows that are as good, it says which is found.
        for at in self.terrain.ladders_by_service() {
            if ladders[at].all_down || of_ladder[at] != NO_KIND {
                continue;
            }
            let mut key: Vec<_> = ladders[at].rungs.iter().map(|rung| (rung.level, rung.node)).collect();
            key.sort_unstable();
            of_ladder[at] = *known.entry(key).or_insert_with_key(|key| {
                nodes.push(key.clone());
                nodes.len() as u32 - 1
            });
        }
        Kinds { of_ladder, nodes }
    }

    /// All that may move, by kind and node.
    fn pieces(&self, kinds: &Kinds, pass: Pass) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (service, book) in self.books.iter().enumerate() {
            for (group, &at) in book.at.iter().enumerate() {
                if (pass == Pass::Evacuation || self.is_held(group)) && book.before[group] == at {
                    continue;
                }
                let Some(ladder) = self.terrain.ladder_position(service, group) else { continue };
                let kind = kinds.of_ladder[ladder];
                let normal = |held: &&Placement| held.mode == PlacementMode::Normal && kind != NO_KIND;
                let Some(held) = book.get(at).filter(normal) else { continue };
                for share in &held.shares {
                    let fixed = match pass {
                        Pass::Full => 0,
                        Pass::Evacuation => share_of(book.shares(book.before[group]), share.node),
                    };
                    let ppm = share.share.0.saturating_sub(fixed);
                    if part(self.demand.of(service, group), ppm) == 0 {
                        continue;
                    }
                    let (rank, service, group) = (self.walk.ranks[group], service as u32, group as u32);
                    pieces.push(Piece { kind, node: share.node, service, group, rank, ppm });
                }
            }
        }
        pieces.sort_unstable_by_key(|piece| (piece.kind, piece.node, piece.service, piece.rank));
        pieces
    }

    fn amount(&self, piece: &Piece) -> u64 {
        part(self.demand.of(piece.service as usize, piece.group as usize), piece.ppm)
    }

    /// Moves pieces of one kind from the nodes that lose to those that gain, cheapest move first.
    fn redistribute(&mut self, pieces: &[Piece], gains: &[(usize, i128)], by_choice: bool) -> usize {
        let mut due: Vec<(NodeId, u64)> = gains
            .iter()
            .filter(|&&(_, gain)| gain > 0)
            .map(|&(node, gain)| (NodeId::from_index(node), u64::try_from(gain).unwrap_or(u64::MAX)))
            .collect();
        let mut moved = 0;
        for &(node, gain) in gains.iter().filter(|&&(_, gain)| gain < 0) {
            let from = pieces.partition_point(|piece| piece.node.index() < node);
            let count = pieces[from..].partition_point(|piece| piece.node.index() == node);
            let surplus = u64::try_from(-gain).unwrap_or(u64::MAX);
            moved += self.drain(&pieces[from..from + count], surplus, &mut due, by_choice);
        }
        moved
    }

    /// Moves `surplus` of the pieces, all on one node, to where it is due.
    fn drain(
        &mut self,
        pieces: &[Piece],
        mut surplus: u64,
        due: &mut [(NodeId, u64)],
        by_choice: bool,
    ) -> usize {
        let mut left: Vec<u32> = pieces.iter().map(|piece| piece.ppm).collect();
        let offers = (0..pieces.len()).filter_map(|at| self.offer(&pieces[at], at, due));
        let mut offers: BinaryHeap<Offer> = offers.collect();
        let mut moved = 0;
        while surplus >= CRUMB
            && let Some((_, at, to)) = offers.pop()
        {
            if !self.can_take(&pieces[at], due[to].1) {
                offers.extend(self.offer(&pieces[at], at, due));
                continue;
            }
            let (service, group) = (pieces[at].service as usize, pieces[at].group as usize);
            let most = if by_choice { self.affordable_ppm(service, group) } else { left[at] };
            let piece = Piece { ppm: left[at].min(most), ..pieces[at] };
            let (ppm, amount) = self.fitting(&piece, due[to].0, surplus.min(due[to].1));
            if amount == 0 {
                // Less than a millionth of this group must go; a smaller one may.
                continue;
            }
            let wanted = surplus.min(due[to].1).min(amount);
            self.carry(&piece, due[to].0, ppm);
            if by_choice {
                self.purse.pay(self.size_ppb(service, group, ppm));
            }
            left[at] -= ppm;
            surplus -= wanted;
            // What was rounded up takes nothing from others, where there is room for them as well.
            let others = due[to].1 - wanted;
            due[to].1 = if self.loads.room(due[to].0) >= others {
                others
            } else {
                others.saturating_sub(amount - wanted)
            };
            moved += 1;
            if left[at] > 0 {
                offers.extend(self.offer(&pieces[at], at, due));
            }
        }
        moved
    }

    /// The cheapest place for a piece among those where something is due.
    fn offer(&self, piece: &Piece, at: usize, due: &[(NodeId, u64)]) -> Option<Offer> {
        let outlook = self.terrain.outlook(piece.service as usize, piece.group as usize)?;
        let here = standing(outlook, piece.node);
        let open = due.iter().enumerate().filter(|(_, due)| self.can_take(piece, due.1));
        let (cost, to) = open.map(|(to, due)| (standing(outlook, due.0), to)).min()?;
        let rise = cost.saturating_sub(here);
        Some((std::cmp::Reverse((rise, piece.service, piece.rank)), at, to))
    }

    /// Whether what is due somewhere is worth a share, and not less than a millionth of the group.
    fn can_take(&self, piece: &Piece, due: u64) -> bool {
        let demand = self.demand.of(piece.service as usize, piece.group as usize);
        due >= CRUMB && ppm_of(due, demand) > 0
    }

    /// How much of a piece goes to a node, at most about `wanted`: ppm of the pair, and the amount. Rounded
    /// up where there is room for it.
    fn fitting(&self, piece: &Piece, to: NodeId, wanted: u64) -> (u32, u64) {
        let demand = self.demand.of(piece.service as usize, piece.group as usize);
        let whole = part(demand, piece.ppm);
        if whole <= wanted {
            return (piece.ppm, whole);
        }
        let down = ppm_of(wanted, demand).min(u64::from(piece.ppm)) as u32;
        let up = (down + 1).min(piece.ppm);
        let ppm = if part(demand, up) <= self.loads.room(to) { up } else { down };
        (ppm, part(demand, ppm))
    }

    /// Gives `ppm` of a pair's clients another node.
    fn carry(&mut self, piece: &Piece, to: NodeId, ppm: u32) {
        let (service, group) = (piece.service as usize, piece.group as usize);
        let Some(outlook) = self.terrain.outlook(service, group) else { return };
        let book = &self.books[service];
        let Some(held) = book.get(book.at[group]) else { return };
        let mut shares = held.shares.clone();
        for share in &mut shares {
            if share.node == piece.node {
                share.share.0 -= ppm.min(share.share.0);
            }
        }
        match shares.iter_mut().find(|share| share.node == to) {
            Some(share) => share.share.0 += ppm,
            None => shares.push(Share { node: to, share: Ppm(ppm) }),
        }
        shares.retain(|share| share.share > Ppm::ZERO);
        shares.sort_unstable_by_key(|share| (std::cmp::Reverse(share.share), share.node));
        self.rearrange(service, group, outlook, shares);
    }
}

/// The network with all pushed that can be; `None`: nothing can.
fn network(
    kinds: &Kinds,
    pieces: &[Piece],
    gauges: &[(u64, u64)],
    amount: impl Fn(&Piece) -> u64,
) -> Option<(Network, u64)> {
    let mut network = Network::new(gauges.len(), kinds.nodes.len());
    for (node, &(over, room)) in gauges.iter().enumerate() {
        network.load(node, over, room);
    }
    for pieces in pieces.chunk_by(|a, b| (a.kind, a.node) == (b.kind, b.node)) {
        let amount = pieces.iter().map(&amount).sum();
        network.stock(pieces[0].kind as usize, pieces[0].node.index(), amount);
    }
    let levels = kinds.nodes.iter().flatten().map(|&(level, _)| level).max()?;
    let mut pushed = 0_u64;
    for level in 0..=levels {
        for (kind, nodes) in kinds.nodes.iter().enumerate() {
            let from = nodes.partition_point(|&(of, _)| of < level);
            let nodes = nodes[from..].iter().take_while(|&&(of, _)| of == level);
            nodes.for_each(|&(_, node)| network.allow(kind, node.index()));
        }
        pushed = pushed.saturating_add(network.push());
    }
    (pushed > 0).then_some((network, pushed))
}

/// Cost of a node, by level first.
fn standing(outlook: Outlook<'_>, node: NodeId) -> i64 {
    let level = outlook.ladder.rung(node).map_or(i64::from(u8::MAX), |rung| i64::from(rung.level));
    level * LEVEL_US + i64::from(outlook.cost(node))
}
