//! Which usable nodes stand behind the shares of a group, and whether those it has still do.
//!
//! By level, then by cost without congestion: as many as answers and families need, and one that may be lost.

use super::cost::CAP_PRICE_US;
use super::order::Listed;
use super::pick::{MOST, Question};
use crate::model::ids::NodeId;
use crate::model::placement::Share;

/// Fewest backups where the chain has them: one to answer with, one to lose.
const LEAST_BACKUPS: usize = 2;

/// Backups in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backups {
    nodes: [NodeId; MOST],
    count: usize,
}

impl Default for Backups {
    fn default() -> Self {
        Self { nodes: [NodeId(u16::MAX); MOST], count: 0 }
    }
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

impl Question<'_> {
    /// What a backup is ranked by: a price that wavers would reorder backups that few clients use, so
    /// only what stays full counts, as at its cap.
    #[inline]
    pub fn backup_cost(&self, node: NodeId) -> u32 {
        self.with_fullness(node, self.outlook.cost(node))
    }

    #[inline]
    fn with_fullness(&self, node: NodeId, cost: u32) -> u32 {
        let full = if self.loads.is_full(node) { CAP_PRICE_US as u32 } else { 0 };
        cost.saturating_add(full)
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
            let served = self.outlook.view.serving[node.index()];
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
            was.level == is.level && self.backup_cost(old) < cost.saturating_add(self.outlook.margin.of(cost))
        };
        let fresh = ranked.nodes();
        held == fresh
            || held.len() == fresh.len()
                && held.iter().zip(fresh).all(stays)
                && self.covers_as_well(held, ranked, shares)
    }

    /// Whether no family has fewer nodes with `held` than with `ranked`, or as many as answers take.
    pub fn covers_as_well(&self, held: &[NodeId], ranked: &Backups, shares: &[Share]) -> bool {
        let has = self.coverage(shares, held);
        if self.is_covered(has) {
            return true;
        }
        let could = self.coverage(shares, ranked.nodes());
        (0..2).all(|at| has[at] >= could[at].min(self.outlook.answers))
    }

    /// By family: how many of the nodes serve it.
    fn coverage(&self, shares: &[Share], backups: &[NodeId]) -> [usize; 2] {
        let nodes = shares.iter().map(|share| share.node).chain(backups.iter().copied());
        nodes.fold([0; 2], |counts, node| {
            let served = self.outlook.view.serving[node.index()];
            [counts[0] + usize::from(served[0]), counts[1] + usize::from(served[1])]
        })
    }

    fn is_covered(&self, counts: [usize; 2]) -> bool {
        (0..2).all(|at| !self.outlook.offered[at] || counts[at] >= self.outlook.answers)
    }

    /// The `want` first nodes beside `shares`.
    fn cheapest(&self, shares: &[Share], want: usize) -> Backups {
        let nobody = Listed::new(NodeId(u16::MAX), u32::MAX);
        let mut backups = Backups::default();
        for level in 0..self.outlook.ladder.levels() {
            let free = want - backups.count;
            if free == 0 {
                break;
            }
            let mut ranked = [nobody; MOST];
            let rank = |ranked: &mut [Listed; MOST], node: NodeId, cost: u32| {
                let new = Listed::new(node, self.with_fullness(node, cost));
                if new >= ranked[free - 1] || shares.iter().any(|share| share.node == node) {
                    return;
                }
                let mut at = free - 1;
                while at > 0 && ranked[at - 1] > new {
                    ranked[at] = ranked[at - 1];
                    at -= 1;
                }
                ranked[at] = new;
            };
            let order = self.outlook.order(level);
            order.loose.iter().for_each(|&node| rank(&mut ranked, node, self.outlook.cost(node)));
            for listed in order.listed() {
                let cost = self.outlook.listed_cost(listed);
                if cost > ranked[free - 1].cost() {
                    break;
                }
                rank(&mut ranked, listed.node(), cost);
            }
            ranked[..free].iter().filter(|&&it| it != nobody).for_each(|it| backups.push(it.node()));
        }
        backups
    }
}
