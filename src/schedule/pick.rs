//! Chooses the nodes of one client group: the heart of the planner.
//!
//! ```text
//! level 0, by cost:   12 ms tyo-1   14 ms tyo-2   19 ms osa-1   48 ms sel-1
//!                     └─── peers ───┘  backups ...
//! ```
//! The cheapest node with room and all that cost less than max(3 ms, 10 %) more are *peers*: they
//! split the group by weight x allowance (what their cap leaves beside load the plan does not
//! explain). What does not fit goes to the peers of the next cheapest node with room, then to the
//! next level of the chain. A placement has at most 8 nodes, and none below a 64th.
//!
//! A group that has a placement is loyal: while its cheapest own node is not beaten by max(10 ms,
//! 15 %), that node is the measure of who joins, and its own nodes remain up to that margin. So a
//! cost that wavers moves nobody. Where the cheapest node came back or became better a short while
//! ago, loyalty is suspended: else those who fled from it would never come home.
//!
//! On a level that is divided by weights or by load every node with room is a peer, near or far: costs are
//! the price of congestion alone, so that a node above its target leaves its part to the others. Weights
//! split by weight only, load by weight x what is free. Of more than 8 such nodes each class of groups has 8,
//! its own first, then by hash.
//!
//! When nothing has room, first ramps and spill hysteresis yield, then the group is put above the
//! cap, in proportion to what it could be given: every client has an answer.

use super::cost::{CAP_PRICE_US, margin, nearness};
use super::load::Loads;
use super::order::Order;
use super::terrain::Outlook;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::placement::Share;
use crate::model::service::Method;

/// Most nodes in the shares of a placement, and most backups.
pub(super) const MOST: usize = 8;
/// Fewest backups where the chain has them: one to answer with, one to lose.
const LEAST_BACKUPS: usize = 2;
/// Smaller parts are not worth a slot; where room bounds a part, it is a multiple of this.
pub(super) const LEAST_SHARE: u32 = 1_000_000 / 64;
const WHOLE: u32 = Ppm::WHOLE.0;

/// One group's question.
pub(super) struct Question<'t> {
    pub outlook: Outlook<'t>,
    pub loads: &'t Loads,
    /// Fine units.
    pub demand: u64,
    /// What the group has now, for hysteresis; empty: nothing to be loyal to.
    pub held: &'t [Share],
    /// Whether nodes that reached their cap take it only if it is theirs already.
    pub discretionary: bool,
    /// What the clients cost at first where they come, beyond their load and as a part (ppm) of it.
    pub surge: u32,
}

/// A node in the making of a placement.
#[derive(Clone, Copy, Debug)]
struct Part {
    node: NodeId,
    /// Kept from before; its load is in the account already.
    fixed: u32,
    added: u32,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    cost: u32,
    node: NodeId,
    weight: u64,
    limit: u32,
}

/// Reused between questions, so that a pick allocates nothing.
#[derive(Default)]
pub(super) struct Scratch {
    parts: Vec<Part>,
    peers: Vec<Peer>,
    /// Nodes that were looked at, in their order, and what they cost.
    seen: Vec<(NodeId, u32)>,
    /// The answer: by falling share, then node; sums to the whole.
    pub shares: Vec<Share>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Ramps and spill hysteresis count.
    Careful,
    /// Only caps count.
    Bold,
}

impl Question<'_> {
    /// Congestion as if the group were there (its own part, on a node it has): else it would leave for
    /// a node that its own arrival makes dearer, and come back.
    #[inline]
    pub fn cost(&self, node: NodeId) -> u32 {
        let mut price = self.loads.price_with(node, self.demand);
        if price > 0
            && let Some(held) = self.held.iter().find(|share| share.node == node)
        {
            price = self.loads.price_with(node, super::load::part(self.demand, held.share.0));
        }
        self.bid(node).saturating_add(price)
    }

    /// [`Self::cost`] without congestion.
    #[inline]
    fn bid(&self, node: NodeId) -> u32 {
        self.outlook.bid(node, if self.discretionary { self.held } else { &[] })
    }

    /// Answers in `scratch.shares`: `fixed` shares stay, the rest of the group is placed.
    pub fn answer(&self, fixed: &[Share], scratch: &mut Scratch) {
        scratch.parts.clear();
        scratch.parts.extend(fixed.iter().map(|s| Part { node: s.node, fixed: s.share.0, added: 0 }));
        let mut left = WHOLE.saturating_sub(fixed.iter().map(|share| share.share.0).sum());
        for stage in [Stage::Careful, Stage::Bold] {
            for level in 0..self.outlook.ladder.levels() {
                while left > 0 && self.split(level, stage, &mut left, scratch) {}
            }
        }
        if left > 0 {
            self.force(left, &mut scratch.parts);
        }
        let share = |part: &Part| Share { node: part.node, share: Ppm(part.fixed + part.added) };
        scratch.shares.clear();
        scratch.shares.extend(scratch.parts.iter().map(share));
        scratch.shares.sort_unstable_by_key(|share| (std::cmp::Reverse(share.share), share.node));
    }

    /// Gives `left` to the cheapest node with room on the level and its peers. False: no room.
    fn split(&self, level: usize, stage: Stage, left: &mut u32, scratch: &mut Scratch) -> bool {
        self.find_peers(level, stage, *left, scratch);
        let Some(strongest) = strongest(&scratch.peers) else { return false };
        let total: u64 = scratch.peers.iter().map(|peer| peer.weight).sum();
        let before = *left;
        for at in 0..scratch.peers.len() {
            let peer = scratch.peers[at];
            let due = (u64::from(before) * peer.weight / total.max(1)) as u32;
            let known = scratch.parts.iter().any(|part| part.node == peer.node);
            if at != strongest && (known || due >= LEAST_SHARE) {
                *left -= give(&mut scratch.parts, peer, due);
            }
        }
        // The strongest takes its part, what rounding left, and what was too small to be a share;
        // but not the parts that others could not take: those go where there is room.
        let refused: u32 = scratch.peers.iter().map(|peer| refused(peer, before, total)).sum();
        let peer = scratch.peers[strongest];
        let due = left.saturating_sub(refused);
        *left -= give(&mut scratch.parts, peer, due);
        *left < before
    }

    /// The peers of the cheapest node with room, cheapest first, with weights that sum below 2^40.
    fn find_peers(&self, level: usize, stage: Stage, left: u32, scratch: &mut Scratch) {
        let Scratch { parts, peers, seen, .. } = scratch;
        peers.clear();
        seen.clear();
        let order = self.outlook.order(level);
        let has_room = |node: NodeId| self.limit(node, stage, left, parts) > 0;
        let look = |node: NodeId, is_first: bool| {
            // Who has no room is no peer at any price.
            let is_closed = if is_first { !has_room(node) } else { self.is_closed(node, stage) };
            let cost = if is_closed { u32::MAX } else { self.cost(node) };
            seen.push((node, cost));
            cost
        };
        let Some(circle) = Circle::of(self.outlook, (level, order), self.held, look, has_room) else {
            return;
        };
        let dearest = circle.dearest();
        let near = order.nodes().take_while(|&node| self.outlook.worth(node) < dearest);
        for (at, node) in order.loose.iter().copied().chain(near).enumerate() {
            let is_held = self.is_held(node);
            // Whoever costs too much without a price is not asked for his.
            if !is_held && self.outlook.worth(node) >= circle.join_to {
                continue;
            }
            let known = seen.get(at).filter(|seen| seen.0 == node).map(|seen| seen.1);
            let cost = known.unwrap_or_else(|| self.cost(node));
            if circle.admits(cost, is_held) {
                let limit = self.limit(node, stage, left, parts);
                let weight = self.outlook.ladder.rung(node).map_or(0, |rung| u64::from(rung.weight));
                if limit > 0 {
                    peers.push(Peer { cost, node, weight, limit });
                }
            }
        }
        let method = self.outlook.ladder.method(level);
        if method.is_flat() && parts.len() + peers.len() > MOST {
            peers.sort_by_cached_key(|peer| {
                (!self.is_held(peer.node), self.outlook.rank(peer.node), peer.node)
            });
        } else {
            peers.sort_unstable_by_key(|peer| (peer.cost, peer.node));
        }
        self.keep_the_most(parts, peers);
        self.weigh(method, peers);
    }

    #[inline]
    fn is_held(&self, node: NodeId) -> bool {
        self.held.iter().any(|share| share.node == node)
    }

    /// Drops the dearest peers that no share is left for.
    fn keep_the_most(&self, parts: &[Part], peers: &mut Vec<Peer>) {
        let mut free = MOST.saturating_sub(parts.len());
        peers.retain(|peer| {
            let known = parts.iter().any(|part| part.node == peer.node);
            let kept = known || free > 0;
            free -= usize::from(kept && !known);
            kept
        });
    }

    /// weight x what the method says; a node without capacity counts like the largest beside it.
    fn weigh(&self, method: Method, peers: &mut [Peer]) {
        let most = peers.iter().filter_map(|peer| self.loads.measure(method, peer.node)).max().unwrap_or(1);
        let mut total = 0_u64;
        for peer in peers.iter_mut() {
            peer.weight = peer.weight.saturating_mul(self.loads.measure(method, peer.node).unwrap_or(most));
            total = total.saturating_add(peer.weight);
        }
        let shift = (64 - total.leading_zeros()).saturating_sub(40);
        for peer in peers {
            peer.weight = (peer.weight >> shift).max(1);
        }
    }

    /// Whether a node takes nothing of the group, as far as that is told without counting.
    #[inline]
    fn is_closed(&self, node: NodeId, stage: Stage) -> bool {
        let is_full = || self.discretionary && self.loads.is_full(node) && !self.is_held(node);
        self.loads.room(node) == 0 || (stage == Stage::Careful && (self.loads.is_shunned(node) || is_full()))
    }

    /// How much more of the group (ppm) a node takes.
    #[inline]
    fn limit(&self, node: NodeId, stage: Stage, left: u32, parts: &[Part]) -> u32 {
        let room = self.loads.room(node);
        if room == 0 {
            return 0;
        }
        let part = parts.iter().find(|part| part.node == node);
        if part.is_none() && parts.len() >= MOST {
            return 0;
        }
        let (fixed, added) = part.map_or((0, 0), |part| (part.fixed, part.added));
        let mut fits = fitting(room, self.demand);
        if stage == Stage::Careful {
            fits = fits.min(self.fitting_newcomers(node));
        }
        let mut limit = fits.saturating_sub(added);
        if limit < left {
            // Whole steps, so that splits do not differ by a hair.
            limit -= limit % LEAST_SHARE;
        }
        if stage == Stage::Careful {
            limit = limit.min(self.outlook.ramps[node.index()].saturating_sub(fixed + added));
            let is_closed = self.discretionary && self.loads.is_full(node) && !self.is_held(node);
            if is_closed || self.loads.is_shunned(node) {
                return 0;
            }
        }
        if limit < LEAST_SHARE && limit < left { 0 } else { limit }
    }

    /// As [`fitting`], with what passes on the node, and what those cost who come in a hurry. Who is there
    /// already is not driven out by that.
    fn fitting_newcomers(&self, node: NodeId) -> u32 {
        let surge = super::load::part(self.demand, self.surge);
        let mut room = self.loads.room_for_newcomers(self.outlook.service as usize, node);
        if self.discretionary && self.outlook.is_demand_measured() {
            room = room.saturating_sub(self.loads.unsure(node));
        }
        let fits = fitting(room, self.demand.saturating_add(surge));
        let held = self.held.iter().find(|share| self.discretionary && share.node == node);
        fits.max(held.map_or(0, |share| share.share.0))
    }

    /// Places what fits nowhere: in proportion to the parts there are, or on the cheapest node.
    fn force(&self, left: u32, parts: &mut Vec<Part>) {
        let placed: u64 = parts.iter().map(|part| u64::from(part.fixed + part.added)).sum();
        let mut rest = left;
        for part in parts.iter_mut() {
            let more = u64::from(left) * u64::from(part.fixed + part.added) / placed.max(1);
            part.added += more as u32;
            rest -= more as u32;
        }
        if let Some(first) = parts.first_mut() {
            first.added += rest;
        } else if self.outlook.ladder.levels() > 0 {
            let rungs = self.outlook.ladder.level(0);
            if let Some(rung) = rungs.iter().min_by_key(|rung| (self.cost(rung.node), rung.node)) {
                parts.push(Part { node: rung.node, fixed: 0, added: left });
            }
        }
    }

    /// Whether the answer may be worth a move for a group that has a priced node; asked for less than an
    /// answer. It is not where one of its own nodes has room for all of it, so that it stays on its level, and
    /// no node there is cheaper by the margin of a move, even without the group's own load.
    pub fn may_gain(&self) -> bool {
        let has_room = |share: &Share| self.limit(share.node, Stage::Careful, WHOLE, &[]) == WHOLE;
        if self.outlook.ladder.is_flat
            || self.lowest_level(self.held) != Some(0)
            || self.loads.excess(self.held, self.demand) > 0
            || !self.held.iter().any(has_room)
        {
            return true;
        }
        let order = self.outlook.order(0);
        let priced = |node: NodeId| self.bid(node).saturating_add(self.loads.price[node.index()]);
        let mut least = order.loose.iter().map(|&node| priced(node)).min().unwrap_or(u32::MAX);
        for node in order.nodes() {
            if self.outlook.worth(node) > least {
                break;
            }
            least = least.min(priced(node));
        }
        self.mean_cost(self.held) >= least.saturating_add(margin(least))
    }

    /// What the group costs on average, its own load included, us.
    pub fn mean_cost(&self, shares: &[Share]) -> u32 {
        let weighted = |share: &Share| {
            let own = super::load::part(self.demand, share.share.0);
            let cost = self.outlook.bid(share.node, self.held);
            let cost = cost.saturating_add(self.loads.price_with(share.node, own));
            u64::from(cost) * u64::from(share.share.0)
        };
        (shares.iter().map(weighted).sum::<u64>() / u64::from(WHOLE)) as u32
    }

    /// The level furthest down the chain that the shares reach; `None` beyond the ladder.
    pub fn lowest_level(&self, shares: &[Share]) -> Option<u8> {
        let level = |share: &Share| self.outlook.ladder.rung(share.node).map(|rung| rung.level);
        shares.iter().map(level).try_fold(0, |lowest, level| Some(lowest.max(level?)))
    }

    /// What a backup is ranked by: a price that wavers would reorder backups that few clients use, so
    /// only what stays full counts, as at its cap.
    #[inline]
    pub fn backup_cost(&self, node: NodeId) -> u32 {
        let full = if self.loads.is_full(node) { CAP_PRICE_US as u32 } else { 0 };
        self.outlook.cost(node).saturating_add(full)
    }

    /// Usable nodes beside `shares`, by level, then cost: as many as answers and families need, and one
    /// that may be lost.
    pub fn rank_backups(&self, shares: &[Share]) -> Backups {
        let want = (self.outlook.answers + 1).saturating_sub(shares.len()).clamp(LEAST_BACKUPS, MOST);
        let mut few = self.cheapest(shares, want);
        let mut counts = self.coverage(shares, few.nodes());
        if self.is_covered(counts) {
            return few;
        }
        for &node in &self.cheapest(shares, MOST).nodes()[few.count..] {
            let served = self.outlook.families[node.index()];
            if (0..2).any(|at| served[at] && counts[at] < self.outlook.answers) {
                few.push(node);
                (0..2).for_each(|at| counts[at] += usize::from(served[at]));
            }
        }
        few
    }

    /// Whether `held` backs these shares about as well as `ranked`, which is the best: each costs less
    /// than the margin of a move above the one in its place, and no family has fewer.
    pub fn backs_as_well(&self, held: &[NodeId], ranked: &Backups, shares: &[Share]) -> bool {
        let stays = |(&old, &new): (&NodeId, &NodeId)| {
            let (Some(was), Some(is)) = (self.outlook.ladder.rung(old), self.outlook.ladder.rung(new)) else {
                return false;
            };
            let cost = self.backup_cost(new);
            was.level == is.level && self.backup_cost(old) < cost.saturating_add(margin(cost))
        };
        let fresh = ranked.nodes();
        held.len() == fresh.len()
            && held.iter().zip(fresh).all(stays)
            && self.covers_as_well(held, ranked, shares)
    }

    /// Whether no family has fewer nodes with `held` than with `ranked`, or as many as answers take.
    pub fn covers_as_well(&self, held: &[NodeId], ranked: &Backups, shares: &[Share]) -> bool {
        let (has, could) = (self.coverage(shares, held), self.coverage(shares, ranked.nodes()));
        (0..2).all(|at| has[at] >= could[at].min(self.outlook.answers))
    }

    /// By family: how many of the nodes serve it.
    fn coverage(&self, shares: &[Share], backups: &[NodeId]) -> [usize; 2] {
        let nodes = shares.iter().map(|share| share.node).chain(backups.iter().copied());
        nodes.fold([0; 2], |counts, node| {
            let served = self.outlook.families[node.index()];
            [counts[0] + usize::from(served[0]), counts[1] + usize::from(served[1])]
        })
    }

    fn is_covered(&self, counts: [usize; 2]) -> bool {
        (0..2).all(|at| !self.outlook.offered[at] || counts[at] >= self.outlook.answers)
    }

    /// The `want` first nodes beside `shares`.
    fn cheapest(&self, shares: &[Share], want: usize) -> Backups {
        const NOBODY: (u32, NodeId) = (u32::MAX, NodeId(u16::MAX));
        let mut backups = Backups { nodes: [NOBODY.1; MOST], count: 0 };
        for level in 0..self.outlook.ladder.levels() {
            let mut ranked = [NOBODY; MOST];
            let free = want - backups.count;
            if free == 0 {
                break;
            }
            let rank = |ranked: &mut [(u32, NodeId); MOST], node: NodeId| {
                let key = (self.backup_cost(node), node);
                if key >= ranked[free - 1] || shares.iter().any(|share| share.node == node) {
                    return;
                }
                let mut at = free - 1;
                while at > 0 && ranked[at - 1] > key {
                    ranked[at] = ranked[at - 1];
                    at -= 1;
                }
                ranked[at] = key;
            };
            let order = self.outlook.order(level);
            order.loose.iter().for_each(|&node| rank(&mut ranked, node));
            for node in order.nodes() {
                if self.outlook.cost(node) > ranked[free - 1].0 {
                    break;
                }
                rank(&mut ranked, node);
            }
            ranked[..free].iter().filter(|&&key| key != NOBODY).for_each(|&(_, node)| backups.push(node));
        }
        backups
    }
}

/// Backups in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backups {
    nodes: [NodeId; MOST],
    count: usize,
}

impl Backups {
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes[..self.count]
    }

    fn push(&mut self, node: NodeId) {
        if let Some(place) = self.nodes.get_mut(self.count) {
            *place = node;
            self.count += 1;
        }
    }
}

/// Who may share a group, by cost alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circle {
    best: u32,
    /// Where in the ladder the cheapest of all is; of several, the first.
    first: u16,
    /// The cheapest of the group's own nodes.
    own: u32,
    /// The cheapest of all became better lately.
    homecoming: bool,
    /// Own nodes below this cost remain.
    stay: u32,
    /// Others join from here
    join_from: u32,
    /// to here.
    join_to: u32,
}

impl Default for Circle {
    fn default() -> Self {
        let none = u32::MAX;
        Self {
            best: none,
            first: u16::MAX,
            own: none,
            homecoming: false,
            stay: 0,
            join_from: none,
            join_to: 0,
        }
    }
}

impl Circle {
    /// Of the nodes of a level that have room, at what they cost now; `None`: there is none. `cost` is told
    /// whether nobody was seen yet.
    pub fn of(
        outlook: Outlook<'_>,
        (level, order): (usize, Order<'_>),
        held: &[Share],
        mut cost: impl FnMut(NodeId, bool) -> u32,
        has_room: impl Fn(NodeId) -> bool,
    ) -> Option<Self> {
        let ladder = outlook.ladder;
        let mut circle = Self::default();
        let mut look = |circle: &mut Self, node: NodeId| {
            let own = held.iter().any(|share| share.node == node);
            let (cost, at) = (cost(node, circle.best == u32::MAX), ladder.position(node));
            if circle.would_change(cost, own, at) && has_room(node) {
                circle.see(cost, own, at, outlook.homecoming[node.index()]);
            }
        };
        order.loose.iter().for_each(|&node| look(&mut circle, node));
        for node in order.nodes() {
            // What a node costs without a price is too much already, and so it is for all after it.
            if outlook.worth(node) > circle.best {
                break;
            }
            look(&mut circle, node);
        }
        let is_here =
            |share: &&Share| ladder.rung(share.node).is_some_and(|rung| usize::from(rung.level) == level);
        held.iter().filter(is_here).for_each(|share| look(&mut circle, share.node));
        circle.close().then_some(circle)
    }

    #[inline]
    fn would_change(&self, cost: u32, own: bool, at: u16) -> bool {
        (cost, at) < (self.best, self.first) || (own && cost < self.own)
    }

    /// In any order.
    #[inline]
    fn see(&mut self, cost: u32, own: bool, at: u16, homecoming: bool) {
        if (cost, at) < (self.best, self.first) {
            (self.best, self.first, self.homecoming) = (cost, at, homecoming);
        }
        if own {
            self.own = self.own.min(cost);
        }
    }

    /// Nobody who costs so much is admitted.
    #[inline]
    pub fn dearest(&self) -> u32 {
        self.stay.max(self.join_to)
    }

    /// False: nobody was seen.
    fn close(&mut self) -> bool {
        if self.best == u32::MAX {
            return false;
        }
        let near = nearness(self.best);
        let loyal = self.own != u32::MAX && !self.homecoming && self.own - self.best < margin(self.best);
        let measure = if loyal { self.own } else { self.best };
        self.stay = self.best.saturating_add(if loyal { margin(self.best) } else { near });
        self.join_from = if loyal { measure.saturating_sub(near - 1) } else { self.best };
        self.join_to = measure.saturating_add(nearness(measure));
        true
    }

    #[inline]
    pub fn admits(&self, cost: u32, own: bool) -> bool {
        cost >= self.best && ((own && cost < self.stay) || (cost >= self.join_from && cost < self.join_to))
    }
}

/// How much of `demand` (ppm) fits into `room`.
#[inline]
fn fitting(room: u64, demand: u64) -> u32 {
    if room >= demand { WHOLE } else { super::load::ppm_of(room, demand) as u32 }
}

/// Position of the peer of most weight; the first of equals.
fn strongest(peers: &[Peer]) -> Option<usize> {
    (0..peers.len()).max_by_key(|&at| (peers[at].weight, std::cmp::Reverse(at)))
}

/// What of its due a peer has no room for.
fn refused(peer: &Peer, before: u32, total: u64) -> u32 {
    let due = (u64::from(before) * peer.weight / total.max(1)) as u32;
    if due >= LEAST_SHARE { due.saturating_sub(peer.limit) } else { 0 }
}

fn give(parts: &mut Vec<Part>, peer: Peer, due: u32) -> u32 {
    let given = due.min(peer.limit);
    match parts.iter_mut().find(|part| part.node == peer.node) {
        Some(part) => part.added += given,
        None if given > 0 => parts.push(Part { node: peer.node, fixed: 0, added: given }),
        None => {}
    }
    given
}

/// Half the sum of the differences: the part of the clients (ppm) that moves from one to the other.
pub(super) fn distance(from: &[Share], to: &[Share]) -> u32 {
    let kept = |share: &Share| {
        let there = to.iter().find(|other| other.node == share.node).map_or(0, |other| other.share.0);
        share.share.0.min(there)
    };
    WHOLE.saturating_sub(from.iter().map(kept).sum())
}
