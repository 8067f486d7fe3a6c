//! Whether a move is worth it: what a group would gain, and whether it may gain anything at all.

use super::load::part;
use super::pick::{Question, WHOLE};
use crate::model::ids::NodeId;
use crate::model::placement::Share;

impl Question<'_> {
    /// Whether the answer may be worth a move for a group that has a priced node; asked for less than an
    /// answer, and while the group's load is on the account. It is not where one of its own nodes has room for
    /// all of it, so that it stays on its level, and no node there is cheaper by the margin of a move, even
    /// without the group's own load.
    pub fn may_gain(&self) -> bool {
        if self.outlook.ladder.is_flat {
            return true;
        }
        let (mut sum, mut has_room) = (0, false);
        for share in self.held {
            let is_first = self.outlook.ladder.rung(share.node).is_some_and(|rung| rung.level == 0);
            let is_over = || self.loads.over_cap(share.node) > 0 && part(self.demand, share.share.0) > 0;
            if !is_first || is_over() {
                return true;
            }
            has_room = has_room || self.stays_whole(share);
            let cost = self.bid(share.node).saturating_add(self.loads.price[share.node.index()]);
            sum += u64::from(cost) * u64::from(share.share.0);
        }
        let mean = (sum / u64::from(WHOLE)) as u32;
        !has_room || self.is_undercut(mean)
    }

    /// Whether a node of its own could have all of a group.
    fn stays_whole(&self, share: &Share) -> bool {
        let node = share.node;
        let room = self.loads.room_without(node, part(self.demand, share.share.0));
        room > 0
            && room >= self.demand
            && self.outlook.returns.ramps[node.index()] >= WHOLE
            && !self.loads.is_shunned(node)
            && (share.share.0 >= WHOLE || self.newcomers(node, room) == WHOLE)
    }

    /// Whether a node of the first level costs less by the margin of a move, without the group's own load.
    fn is_undercut(&self, mean: u32) -> bool {
        let is_less = |cost: u32| cost.saturating_add(self.outlook.margin.of(cost)) <= mean;
        let undercuts = |node: NodeId, worth: u32| {
            let (bid, price) = (self.bid_of(node, worth), self.loads.price[node.index()]);
            if price == 0 || is_less(bid.saturating_add(price)) {
                return is_less(bid);
            }
            self.held.iter().find(|share| share.node == node).is_some_and(|share| {
                let own = part(self.demand, share.share.0);
                is_less(bid.saturating_add(self.loads.price_without(node, own)))
            })
        };
        let order = self.outlook.order(0);
        let listed = order.listed().map(|listed| (listed.node(), self.outlook.listed_worth(listed)));
        let mut near = listed.take_while(|&(_, worth)| is_less(worth));
        order.loose.iter().any(|&node| undercuts(node, self.outlook.worth(node)))
            || near.any(|(node, worth)| undercuts(node, worth))
    }

    /// What the group costs on average, its own load included, us.
    pub fn mean_cost(&self, shares: &[Share]) -> u32 {
        let weighted = |share: &Share| {
            let own = part(self.demand, share.share.0);
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
}

/// Half the sum of the differences: the part of the clients (ppm) that moves from one to the other.
pub(super) fn distance(from: &[Share], to: &[Share]) -> u32 {
    let kept = |share: &Share| {
        let there = to.iter().find(|other| other.node == share.node).map_or(0, |other| other.share.0);
        share.share.0.min(there)
    };
    WHOLE.saturating_sub(from.iter().map(kept).sum())
}
