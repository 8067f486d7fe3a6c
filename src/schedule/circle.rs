//! Who may share a group, by cost alone: the cheapest node with room, those about as near, and the group's own.

use super::cost::nearness;
use super::order::Order;
use super::terrain::Outlook;
use crate::model::ids::NodeId;
use crate::model::placement::Share;
use crate::model::planner::Margin;

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
    /// How many nodes of the order were looked at.
    pub looked: usize,
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
            looked: 0,
        }
    }
}

/// A node that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub node: NodeId,
    /// As [`Outlook::worth`] has it.
    pub worth: u32,
    /// The group has it.
    pub own: bool,
    /// Where in the ladder it is.
    at: u16,
}

impl Circle {
    /// Of the nodes of a level that have room, at what they cost now; `None`: there is none. `look` tells what a
    /// node costs, if it has room; it need not where that [changes](Self::would_change) nothing.
    /// Loose nodes are looked at first, then those in order, then the group's own once more.
    pub fn of(
        outlook: Outlook<'_>,
        (level, order): (usize, Order<'_>),
        held: &[Share],
        mut look: impl FnMut(&Self, Candidate) -> Option<u32>,
    ) -> Option<Self> {
        let mut circle = Self::default();
        for &node in order.loose {
            circle.look(outlook, node, outlook.worth(node), held, &mut look);
        }
        for listed in order.listed() {
            let worth = outlook.listed_worth(listed);
            // What a node costs without a price is too much already, and so it is for all after it.
            if worth > circle.best {
                break;
            }
            circle.looked += 1;
            circle.look(outlook, listed.node(), worth, held, &mut look);
        }
        for share in held {
            if outlook.ladder.rung(share.node).is_some_and(|rung| usize::from(rung.level) == level) {
                circle.look(outlook, share.node, outlook.worth(share.node), held, &mut look);
            }
        }
        circle.close(outlook.margin).then_some(circle)
    }

    // Of three callers one matters, and that one for each node of each question.
    #[inline(always)]
    fn look(
        &mut self,
        outlook: Outlook<'_>,
        node: NodeId,
        worth: u32,
        held: &[Share],
        look: &mut impl FnMut(&Self, Candidate) -> Option<u32>,
    ) {
        let own = held.iter().any(|share| share.node == node);
        let candidate = Candidate { node, worth, own, at: outlook.ladder.position(node) };
        if let Some(cost) = look(self, candidate) {
            self.see(cost, &candidate, outlook.returns.homecoming[node.index()]);
        }
    }

    /// Whether a node at this cost is better than what is known.
    #[inline]
    pub fn would_change(&self, cost: u32, it: &Candidate) -> bool {
        cost < self.best || (cost == self.best && it.at < self.first) || (it.own && cost < self.own)
    }

    /// In any order.
    #[inline]
    fn see(&mut self, cost: u32, it: &Candidate, homecoming: bool) {
        if (cost, it.at) < (self.best, self.first) {
            (self.best, self.first, self.homecoming) = (cost, it.at, homecoming);
        }
        if it.own {
            self.own = self.own.min(cost);
        }
    }

    /// Nobody who costs so much is admitted.
    #[inline]
    pub fn dearest(&self) -> u32 {
        self.stay.max(self.join_to)
    }

    /// False: nobody was seen.
    fn close(&mut self, margin: Margin) -> bool {
        if self.best == u32::MAX {
            return false;
        }
        let near = nearness(self.best);
        let loyal = self.own != u32::MAX && !self.homecoming && self.own - self.best < margin.of(self.best);
        let measure = if loyal { self.own } else { self.best };
        self.stay = self.best.saturating_add(if loyal { margin.of(self.best) } else { near });
        self.join_from = if loyal { measure.saturating_sub(near - 1) } else { self.best };
        self.join_to = measure.saturating_add(nearness(measure));
        true
    }

    #[inline]
    pub fn admits(&self, cost: u32, own: bool) -> bool {
        cost >= self.best && ((own && cost < self.stay) || (cost >= self.join_from && cost < self.join_to))
    }
}
