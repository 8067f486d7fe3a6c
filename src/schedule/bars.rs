//! Why a group that stays does not have a better node: the ramp of one that came back, the end of spill, strain, or
//! the margin of a move. Told ([`super::waits`]), never decided by.
//!
//! ```text
//!  of its own nodes: is one at its part of the ramp, with peers or dearer ones beside it? ──▶ ramp
//!  the cheapest other with room, of an earlier level or dearer own ones: treated as full? ──▶ strain, spill
//!                                                                        cheaper by less? ─▶ margin
//! ```

use super::cost;
use super::load;
use super::memory::PlannerMemory;
use super::pick::{LEAST_SHARE, Question, WHOLE};
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

    /// A node of the group that has its part of the ramp, and would have more of those on the group's others.
    fn ramping(
        &self,
        outlook: Outlook<'_>,
        shares: &[Share],
        cost: impl Fn(NodeId) -> u32,
    ) -> Option<(HeldBy, Flow)> {
        let ramp = |share: &Share| outlook.returns.ramps[share.node.index()];
        let is_capped = |share: &&Share| ramp(share) < WHOLE;
        let capped = shares.iter().filter(is_capped).min_by_key(|share| cost(share.node))?;
        let (price, rung) = (cost(capped.node), outlook.ladder.rung(capped.node)?);
        let method = outlook.ladder.method(usize::from(rung.level));
        let weight = |node: NodeId| {
            let weight = outlook.ladder.rung(node).map_or(0, |rung| u64::from(rung.weight));
            weight.saturating_mul(self.loads.measure(method, node).unwrap_or(1))
        };
        let near = price.saturating_add(cost::nearness(price));
        let is_peer = |share: &&Share| {
            let same = outlook.ladder.rung(share.node).is_some_and(|it| it.level == rung.level);
            same && cost(share.node) < near
        };
        if shares
            .iter()
            .any(|share| cost(share.node).saturating_add(cost::nearness(cost(share.node))) <= price)
        {
            return None;
        }
        let all =
            shares.iter().filter(is_peer).fold(0_u64, |sum, share| sum.saturating_add(weight(share.node)));
        let due = load::ppm_of(weight(capped.node), all).min(u64::from(WHOLE)) as u32;
        let missing = due.saturating_sub(capped.share.0);
        let others = shares.iter().filter(|share| share.node != capped.node);
        let most = others.max_by_key(|share| share.share).map(|share| share.node);
        (missing >= LEAST_SHARE).then_some((HeldBy::Ramp, (most, Some(capped.node), missing)))
    }
}
