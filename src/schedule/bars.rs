//! Why a group that stays does not have a better node: the ramp of one that came back, the end of spill, strain, or
//! the margin of a move. Told ([`super::waits`]), never decided by.
//!
//! ```text
//!  nodes that ramp up, of the earliest level that has one: peers of the nearest there? ─────▶ ramp
//!  the cheapest other with room, of an earlier level or dearer own ones: treated as full? ──▶ strain, spill
//!                                                                        cheaper by less? ─▶ margin
//! ```

use super::cost;
use super::ladder::Rung;
use super::load::{self, share_of};
use super::memory::PlannerMemory;
use super::pick::{LEAST_SHARE, MOST, Question, WHOLE};
use super::sweep::Sweep;
use super::terrain::Outlook;
use super::waits::Flow;
use crate::model::held_back::HeldBy;
use crate::model::ids::NodeId;
use crate::model::placement::Share;

impl Sweep<'_> {
    /// Which better node a pair does not have, or not as much of, and by which rule. What has no room is no better node.
    pub fn barred(
        &self,
        service: usize,
        group: usize,
        outlook: Outlook<'_>,
        memory: &PlannerMemory,
    ) -> Option<(HeldBy, Flow)> {
        let shares = self.books[service].shares(self.books[service].at[group]);
        let demand = self.demand.of(service, group);
        let question = Question::at_discretion(&self.loads, outlook, demand, shares);
        let cost = |node: NodeId| question.bid(node).saturating_add(self.loads.price[node.index()]);
        if let Some(found) = self.ramping(outlook, shares, cost) {
            return Some(found);
        }
        let level = |node: NodeId| outlook.ladder.rung(node).map_or(u8::MAX, |rung| rung.level);
        let lowest = question.lowest_level(shares)?;
        let dearest = shares.iter().map(|share| cost(share.node)).max()?;
        let gains = |at: u8, node: NodeId, price: u32| {
            let near = price.saturating_add(cost::nearness(price));
            let gains = move |share: &&Share| {
                let is_dearer = level(share.node) == at && cost(share.node) >= near;
                share.node != node && (level(share.node) > at || is_dearer)
            };
            shares.iter().filter(gains)
        };
        let is_better = |at: u8, node: NodeId| {
            let price = cost(node);
            (self.loads.room(node) > 0 && gains(at, node, price).next().is_some()).then_some((price, node))
        };
        let best = |at: u8| {
            let order = outlook.order(usize::from(at));
            let is_near = |worth: u32| at < lowest || worth < dearest;
            let listed = order.listed().map(|listed| (listed.node(), outlook.listed_worth(listed)));
            let near = listed.take_while(|&(_, worth)| is_near(worth)).map(|(node, _)| node);
            let all = order.loose.iter().copied().chain(near).filter_map(|node| is_better(at, node));
            all.min().map(|(price, node)| (at, price, node))
        };
        let (at, price, node) = (0..=lowest).find_map(best)?;
        let sum = |is: &dyn Fn(&Share) -> bool| -> u32 {
            gains(at, node, price).filter(|share| is(share)).map(|share| share.share.0).sum()
        };
        let most = gains(at, node, price).max_by_key(|share| (share.share, std::cmp::Reverse(share.node)));
        let flow = |ppm: u32| (most.map(|share| share.node), Some(node), ppm);
        if !shares.iter().any(|share| share.node == node) && self.loads.is_full(node) {
            let is_strained = memory.nodes[node.index()].strained_at_ms.is_some();
            let by = if is_strained { HeldBy::Strain } else { HeldBy::Spill };
            return Some((by, flow(sum(&|_| true))));
        }
        let is_little = |share: &Share| {
            level(share.node) == at && cost(share.node).saturating_sub(price) < self.rules().margin.of(price)
        };
        let little = sum(&is_little);
        (little > 0).then(|| (HeldBy::Margin, flow(little)))
    }

    /// What nodes that ramp up would have more of, were they not: of the earliest level that has one, if they are as
    /// near as the nearest there. Of more peers than a group may have, those it has.
    fn ramping(
        &self,
        outlook: Outlook<'_>,
        shares: &[Share],
        cost: impl Fn(NodeId) -> u32,
    ) -> Option<(HeldBy, Flow)> {
        if !outlook.returns.any_ramp {
            return None;
        }
        let rungs = &outlook.ladder.rungs;
        let ramps = |node: NodeId| outlook.returns.is_ramping(node);
        let level = rungs.iter().filter(|rung| ramps(rung.node)).map(|rung| rung.level).min()?;
        let method = outlook.ladder.method(usize::from(level));
        let weight = |rung: &Rung| {
            u64::from(rung.weight).saturating_mul(self.loads.measure(method, rung.node).unwrap_or(1))
        };
        let has = |node: NodeId| share_of(shares, node) > 0;
        let of_level = || rungs.iter().filter(|rung| rung.level == level && rung.weight > 0);
        let open = || of_level().filter(|rung| has(rung.node) || self.loads.room(rung.node) > 0);
        let least = open().map(|rung| cost(rung.node)).min()?;
        let near = least.saturating_add(cost::nearness(least));
        let mut peers: Vec<&Rung> =
            open().filter(|rung| method.is_flat() || cost(rung.node) < near).collect();
        if peers.len() > MOST {
            peers.retain(|rung| has(rung.node));
        }
        let all = peers.iter().fold(0_u64, |sum, rung| sum.saturating_add(weight(rung)));
        let missing = |rung: &&&Rung| {
            let due = load::ppm_of(weight(rung), all).min(u64::from(WHOLE)) as u32;
            due.saturating_sub(share_of(shares, rung.node))
        };
        let held = || peers.iter().filter(|rung| ramps(rung.node));
        let ppm = held().map(|rung| missing(&rung)).sum::<u32>().min(WHOLE);
        let to = held().max_by_key(|rung| (missing(rung), std::cmp::Reverse(rung.node)))?.node;
        let others = shares.iter().filter(|share| !ramps(share.node));
        let from = others.max_by_key(|share| share.share).map(|share| share.node)?;
        (ppm >= LEAST_SHARE).then_some((HeldBy::Ramp, (Some(from), Some(to), ppm)))
    }
}
