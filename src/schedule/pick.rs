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
//! While a node ramps up again the question is asked twice: first as if nobody did, which tells its part, and then
//! with that part times its ramp as the most that it takes ([`super::returning`]).
//!
//! When nothing has room, first ramps and spill hysteresis yield, then the group is put above the
//! cap, in proportion to what it could be given: every client has an answer.

use super::circle::{Candidate, Circle};
use super::load::{Loads, part};
use super::returning::LEAST_RETURNING;
use super::terrain::{Outlook, Returns};
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::placement::Share;
use crate::model::service::Method;

/// Most nodes in the shares of a placement, and most backups.
pub(super) const MOST: usize = 8;
/// Most nodes in the shares while some ramp up: as many as these, and as many that keep what those do not take yet.
pub(super) const WIDEST: usize = 2 * MOST;
/// Smaller parts are not worth a slot; where room bounds a part, it is a multiple of this.
pub(super) const LEAST_SHARE: u32 = 1_000_000 / 64;
pub(super) const WHOLE: u32 = Ppm::WHOLE.0;

/// One group's question.
pub(super) struct Question<'t> {
    pub outlook: Outlook<'t>,
    pub loads: &'t Loads,
    /// Fine units.
    pub demand: u64,
    /// What the group has now, for hysteresis; empty: nothing to be loyal to.
    pub held: &'t [Share],
    /// Whether nodes that reached their cap take it only if it is theirs already.
    pub(super) discretionary: bool,
    /// The demand with what the clients cost at first where they come.
    at_first: u64,
    /// Room for newcomers that is less takes no share of the group.
    least: u64,
    /// Newcomers leave room for what the demand may be off by.
    is_unsure: bool,
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
    /// Its part by weight of what is to be split.
    due: u32,
}

/// A node that was looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    node: NodeId,
    own: bool,
    /// What it costs, or less; `u32::MAX`: it takes nothing.
    cost: u32,
    is_exact: bool,
    /// How much it takes, if that was asked.
    limit: Option<u32>,
}

/// Reused between questions, so that a pick allocates nothing.
#[derive(Default)]
pub(super) struct Scratch {
    parts: Vec<Part>,
    peers: Vec<Peer>,
    seen: Vec<Seen>,
    /// What nodes that ramp up take at most; those that are not named take nothing.
    bounds: Vec<Share>,
    /// The answer: by falling share, then node; sums to the whole.
    pub shares: Vec<Share>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// As the next, as if no node were ramping up.
    Ideal,
    /// Ramps and spill hysteresis count.
    Careful,
    /// Only caps count.
    Bold,
}

/// What stands of an answer.
#[derive(Clone, Copy)]
struct Draft<'s> {
    stage: Stage,
    /// Of the group, still to be placed.
    left: u32,
    parts: &'s [Part],
    bounds: &'s [Share],
}

impl Scratch {
    /// Begins an answer; what is left to be placed.
    fn begin(&mut self, fixed: &[Share]) -> u32 {
        self.parts.clear();
        self.parts.extend(fixed.iter().map(|s| Part { node: s.node, fixed: s.share.0, added: 0 }));
        WHOLE.saturating_sub(fixed.iter().map(|share| share.share.0).sum())
    }

    /// Notes the bounds of nodes that ramp up, which have in the answer so far what they would have otherwise.
    fn bound(&mut self, returns: &Returns) {
        let share = |part: &Part| Share { node: part.node, share: Ppm(part.fixed + part.added) };
        self.bounds.extend(self.parts.iter().map(share).filter_map(|share| returns.bound(share)));
    }
}

impl<'t> Question<'t> {
    /// Of a group without demand and without a past.
    #[inline]
    pub fn idle(loads: &'t Loads, outlook: Outlook<'t>) -> Self {
        let (held, discretionary) = (&[][..], false);
        Self { outlook, loads, demand: 0, held, discretionary, at_first: 0, least: 0, is_unsure: false }
    }

    /// Of a group that has these shares, or keeps them; `surge`: what the clients cost at first where they come,
    /// beyond their load and as a part (ppm) of it.
    pub fn of(loads: &'t Loads, outlook: Outlook<'t>, demand: u64, held: &'t [Share], surge: u32) -> Self {
        let at_first = demand.saturating_add(part(demand, surge));
        let least = at_first.div_ceil(u64::from(WHOLE / LEAST_SHARE));
        Self { demand, held, at_first, least, ..Self::idle(loads, outlook) }
    }

    /// Of a group that might stay where it is.
    pub fn at_discretion(loads: &'t Loads, outlook: Outlook<'t>, demand: u64, held: &'t [Share]) -> Self {
        let is_unsure = outlook.is_demand_measured();
        // Who is there already is not driven out by what newcomers leave free.
        Self { discretionary: true, is_unsure, least: 0, ..Self::of(loads, outlook, demand, held, 0) }
    }

    /// Congestion as if the group were there (its own part, on a node it has): else it would leave for
    /// a node that its own arrival makes dearer, and come back.
    #[inline]
    pub fn cost(&self, node: NodeId) -> u32 {
        self.bid(node).saturating_add(self.price(node, self.is_held(node)))
    }

    /// The congestion of [`Self::cost`].
    #[inline]
    fn price(&self, node: NodeId, own: bool) -> u32 {
        if !own {
            return self.loads.price_with(node, self.demand);
        }
        let held = self.held.iter().find(|share| share.node == node).map_or(0, |share| share.share.0);
        self.loads.price_with(node, part(self.demand, held))
    }

    /// [`Self::cost`] without congestion.
    #[inline]
    pub fn bid(&self, node: NodeId) -> u32 {
        self.bid_of(node, self.outlook.worth(node))
    }

    #[inline]
    pub fn bid_of(&self, node: NodeId, worth: u32) -> u32 {
        self.outlook.bid_of(node, worth, if self.discretionary { self.held } else { &[] })
    }

    /// Answers in `scratch.shares`: `fixed` shares stay, the rest of the group is placed.
    pub fn answer(&self, fixed: &[Share], scratch: &mut Scratch) {
        scratch.bounds.clear();
        let mut left = scratch.begin(fixed);
        if self.outlook.returns.any_ramp {
            self.fill(Stage::Ideal, &mut left, scratch);
            scratch.bound(self.outlook.returns);
            if left > 0 || !scratch.bounds.is_empty() {
                left = scratch.begin(fixed);
            }
        }
        self.fill(Stage::Careful, &mut left, scratch);
        self.fill(Stage::Bold, &mut left, scratch);
        if left > 0 {
            self.force(left, &mut scratch.parts);
        }
        let share = |part: &Part| Share { node: part.node, share: Ppm(part.fixed + part.added) };
        scratch.shares.clear();
        scratch.shares.extend(scratch.parts.iter().map(share));
        scratch.shares.sort_unstable_by_key(|share| (std::cmp::Reverse(share.share), share.node));
    }

    /// Places of what is `left` as much as the stage lets it, level by level.
    fn fill(&self, stage: Stage, left: &mut u32, scratch: &mut Scratch) {
        let mut levels = 0..self.outlook.ladder.levels();
        while *left > 0
            && let Some(level) = levels.next()
        {
            while *left > 0 && self.split(level, stage, left, scratch) {}
        }
    }

    /// Gives `left` to the cheapest node with room on the level and its peers. False: no room.
    fn split(&self, level: usize, stage: Stage, left: &mut u32, scratch: &mut Scratch) -> bool {
        self.find_peers(level, stage, *left, scratch);
        let Scratch { parts, peers, .. } = scratch;
        if let [peer] = &peers[..] {
            *left -= give(parts, peer, *left);
            return true;
        }
        let Some(strongest) = strongest(peers) else { return false };
        let before = *left;
        divide(before, peers);
        for (at, peer) in peers.iter().enumerate() {
            let known = parts.iter().any(|part| part.node == peer.node);
            if at != strongest && (known || peer.due >= LEAST_SHARE) {
                *left -= give(parts, peer, peer.due);
            }
        }
        // The strongest takes its part, what rounding left, and what was too small to be a share;
        // but not the parts that others could not take: those go where there is room.
        let refused: u32 = peers.iter().map(refused).sum();
        *left -= give(parts, &peers[strongest], left.saturating_sub(refused));
        *left < before
    }

    /// The peers of the cheapest node with room, cheapest first, with weights that sum below 2^40.
    fn find_peers(&self, level: usize, stage: Stage, left: u32, scratch: &mut Scratch) {
        let Scratch { parts, peers, seen, bounds, .. } = scratch;
        let draft = Draft { stage, left, parts, bounds };
        peers.clear();
        seen.clear();
        let order = self.outlook.order(level);
        let look = |circle: &Circle, it: Candidate| {
            let (it, found) = self.look(circle, it, draft);
            seen.push(it);
            found
        };
        let Some(circle) = Circle::of(self.outlook, (level, order), self.held, look) else { return };
        // The group's own were looked at twice.
        seen.truncate(order.loose.len() + circle.looked);
        let dearest = circle.dearest();
        let mut admit = |it: &Seen| {
            let cost = if it.is_exact { it.cost } else { self.cost(it.node) };
            if circle.admits(cost, it.own) {
                let limit = it.limit.unwrap_or_else(|| match self.is_closed(it.node, it.own, draft) {
                    true => 0,
                    false => self.limit(it.node, draft),
                });
                let weight = self.outlook.ladder.rung(it.node).map_or(0, |rung| u64::from(rung.weight));
                if limit > 0 {
                    peers.push(Peer { cost, node: it.node, weight, limit, due: 0 });
                }
            }
        };
        seen.iter().filter(|it| it.cost < dearest).for_each(&mut admit);
        for listed in order.listed().skip(circle.looked) {
            let (node, worth) = (listed.node(), self.outlook.listed_worth(listed));
            if worth >= dearest {
                break;
            }
            let cost = self.bid_of(node, worth).saturating_add(self.loads.price[node.index()]);
            if cost < dearest {
                admit(&Seen { node, own: self.is_held(node), cost, is_exact: false, limit: None });
            }
        }
        if peers.len() > 1 {
            self.rank(self.outlook.ladder.method(level), (stage, parts), peers);
        }
    }

    /// Looks at a node, also how much of the group it takes if nobody is known to be better.
    #[inline]
    fn look(&self, circle: &Circle, it: Candidate, draft: Draft<'_>) -> (Seen, Option<u32>) {
        let Candidate { node, worth, own, .. } = it;
        let bid = self.bid_of(node, worth);
        let cost = bid.saturating_add(self.loads.price[node.index()]);
        let seen = Seen { node, own, cost, is_exact: false, limit: None };
        if !circle.would_change(cost, &it) {
            return (seen, None);
        }
        // Who has no room is no peer at any price.
        let nothing = Seen { cost: u32::MAX, ..seen };
        if self.is_closed(node, own, draft) {
            return (nothing, None);
        }
        let cost = bid.saturating_add(self.price(node, own));
        let seen = Seen { cost, is_exact: true, ..seen };
        if !circle.would_change(cost, &it) {
            return (seen, None);
        }
        match self.limit(node, draft) {
            0 => (nothing, None),
            limit => (Seen { limit: Some(limit), ..seen }, Some(cost)),
        }
    }

    /// Puts peers in order, drops whom no share is left for, and weighs the others.
    fn rank(&self, method: Method, (stage, parts): (Stage, &[Part]), peers: &mut Vec<Peer>) {
        if method.is_flat() && parts.len() + peers.len() > MOST {
            peers.sort_by_cached_key(|peer| {
                (!self.is_held(peer.node), self.outlook.rank(peer.node), peer.node)
            });
        } else {
            peers.sort_unstable_by_key(|peer| (peer.cost, peer.node));
        }
        if parts.len() + peers.len() > MOST {
            self.keep_the_most(stage, parts, peers);
        }
        self.weigh(method, peers);
    }

    #[inline]
    fn is_held(&self, node: NodeId) -> bool {
        self.held.iter().any(|share| share.node == node)
    }

    /// Drops the dearest peers that no share is left for.
    fn keep_the_most(&self, stage: Stage, parts: &[Part], peers: &mut Vec<Peer>) {
        let mut free = self.places(stage, parts);
        peers.retain(|peer| {
            let known = parts.iter().any(|part| part.node == peer.node);
            let free = &mut free[self.kind(stage, peer.node)];
            let kept = known || *free > 0;
            *free -= usize::from(kept && !known);
            kept
        });
    }

    /// Which places a node takes: those that ramp up have their own, or none would be left for who keeps the rest.
    #[inline]
    fn kind(&self, stage: Stage, node: NodeId) -> usize {
        let returns = self.outlook.returns;
        usize::from(returns.any_ramp && stage == Stage::Careful && returns.is_ramping(node))
    }

    /// How many shares more there may be, by kind.
    #[inline]
    fn places(&self, stage: Stage, parts: &[Part]) -> [usize; 2] {
        if !self.outlook.returns.any_ramp {
            return [MOST.saturating_sub(parts.len()); 2];
        }
        let mut free = [MOST; 2];
        for part in parts {
            let free = &mut free[self.kind(stage, part.node)];
            *free = free.saturating_sub(1);
        }
        free
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
    fn is_closed(&self, node: NodeId, own: bool, draft: Draft<'_>) -> bool {
        let room = self.loads.room(node);
        if room == 0 || draft.stage == Stage::Bold {
            return room == 0;
        }
        let is_full = || self.discretionary && self.loads.is_full(node) && !own;
        let is_too_little = || draft.left >= LEAST_SHARE && self.room_for_newcomers(node, room) < self.least;
        self.loads.is_shunned(node) || is_full() || (self.least > 0 && is_too_little())
    }

    /// How much more of the group (ppm) a node takes that is not [closed](Self::is_closed).
    #[inline]
    fn limit(&self, node: NodeId, Draft { stage, left, parts, bounds }: Draft<'_>) -> u32 {
        let part = parts.iter().find(|part| part.node == node);
        if part.is_none() && self.places(stage, parts)[self.kind(stage, node)] == 0 {
            return 0;
        }
        let (fixed, added) = part.map_or((0, 0), |part| (part.fixed, part.added));
        let room = self.loads.room(node);
        let mut fits = fitting(room, self.demand);
        if stage != Stage::Bold {
            fits = fits.min(self.fitting_newcomers(node, room));
        }
        let mut limit = fits.saturating_sub(added);
        if limit < left {
            // Whole steps, so that splits do not differ by a hair.
            limit -= limit % LEAST_SHARE;
        }
        let mut least = LEAST_SHARE;
        if stage == Stage::Careful && self.outlook.returns.is_ramping(node) {
            limit = limit.min(self.most_returning(node, (fixed, added), bounds));
            least = LEAST_RETURNING;
        }
        if limit < least && limit < left { 0 } else { limit }
    }

    /// As [`fitting`], with what passes on the node, and what those cost who come in a hurry. Who is there
    /// already is not driven out by that.
    #[inline]
    fn fitting_newcomers(&self, node: NodeId, room: u64) -> u32 {
        let fits = self.newcomers(node, room);
        if fits >= WHOLE || !self.discretionary {
            return fits;
        }
        let held = self.held.iter().find(|share| share.node == node);
        fits.max(held.map_or(0, |share| share.share.0))
    }

    /// How much of the group fits into the room of a node as long as none of it is there.
    #[inline]
    pub fn newcomers(&self, node: NodeId, room: u64) -> u32 {
        fitting(self.room_for_newcomers(node, room), self.at_first)
    }

    /// Of the room of a node, what is left beside what passes.
    #[inline]
    fn room_for_newcomers(&self, node: NodeId, room: u64) -> u64 {
        let room = self.loads.part_for_newcomers(self.outlook.service as usize, node, room);
        if self.is_unsure { room.saturating_sub(self.loads.unsure(node)) } else { room }
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
}

/// How much of `demand` (ppm) fits into `room`.
#[inline]
pub(super) fn fitting(room: u64, demand: u64) -> u32 {
    if room >= demand { WHOLE } else { super::load::ppm_of(room, demand) as u32 }
}

/// Position of the peer of most weight; the first of equals.
fn strongest(peers: &[Peer]) -> Option<usize> {
    (0..peers.len()).max_by_key(|&at| (peers[at].weight, std::cmp::Reverse(at)))
}

/// Notes what is due to each peer, by weight.
fn divide(all: u32, peers: &mut [Peer]) {
    let total: u64 = peers.iter().map(|peer| peer.weight).sum();
    for peer in peers {
        peer.due = (u64::from(all) * peer.weight / total.max(1)) as u32;
    }
}

/// What of its due a peer has no room for.
fn refused(peer: &Peer) -> u32 {
    if peer.due >= LEAST_SHARE { peer.due.saturating_sub(peer.limit) } else { 0 }
}

fn give(parts: &mut Vec<Part>, peer: &Peer, due: u32) -> u32 {
    let given = due.min(peer.limit);
    match parts.iter_mut().find(|part| part.node == peer.node) {
        Some(part) => part.added += given,
        None if given > 0 => parts.push(Part { node: peer.node, fixed: 0, added: given }),
        None => {}
    }
    given
}
