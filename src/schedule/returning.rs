//! How clients come back to a node: by a ramp, in parts of what it would have without one.
//!
//! ```text
//!  as if nobody ramped     a-1 ██████████ 50 %   a-2 ██████████ 50 %
//!  at a ramp of 10 %       a-1 █ 5 %             a-2 █ 5 %    the refuge keeps 90 %
//!
//!  0 ──── ramp x (cap - base) ──────────── cap      and by choice no node is planned past the first mark
//! ```
//! The bound of a node is a part of what the same question gives it when ramps are left out, so that nodes that
//! come back together have that part of their clients together, whether they are one or eight. That is counted
//! group by group; what groups ask for one after another adds up to no more than the ramp's part of the cap.
//!
//! The ramp is a choice: who is there already is not sent away for it, and it yields where nothing else has
//! room.

use super::load::share_of;
use super::pick::{LEAST_SHARE, Question, WHOLE, fitting};
use super::terrain::Returns;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::placement::Share;

/// Of a group (ppm): a part of a node that ramps up may be as small, and so small a step home is worth it. A
/// tenth of an even eighth is more.
pub(super) const LEAST_RETURNING: u32 = LEAST_SHARE / 2;

impl Returns {
    #[inline]
    pub fn is_ramping(&self, node: NodeId) -> bool {
        self.ramps[node.index()] < WHOLE
    }

    /// Whether nobody is on his way home to the node in steps.
    #[inline]
    pub fn is_settled(&self, node: NodeId) -> bool {
        !self.is_ramping(node) && !self.back[node.index()]
    }

    /// Of what a node would have, what it may have; `None`: it does not ramp up.
    pub fn bound(&self, share: Share) -> Option<Share> {
        let ramp = u64::from(self.ramps[share.node.index()]);
        let bound = u64::from(share.share.0) * ramp / u64::from(WHOLE);
        (ramp < u64::from(WHOLE)).then_some(Share { node: share.node, share: Ppm(bound as u32) })
    }

    /// Whether nodes that came back get a part of the group that counts.
    pub fn is_step_home(&self, from: &[Share], to: &[Share]) -> bool {
        let gain = |share: &Share| match self.back[share.node.index()] {
            true => share.share.0.saturating_sub(share_of(from, share.node)),
            false => 0,
        };
        to.iter().map(gain).sum::<u32>() >= LEAST_RETURNING
    }
}

impl Question<'_> {
    /// How much more of the group (ppm) a node that ramps up takes; `fixed` of it is on the account, `added` is not.
    pub(super) fn most_returning(&self, node: NodeId, (fixed, added): (u32, u32), bounds: &[Share]) -> u32 {
        let most = share_of(bounds, node).saturating_sub(fixed);
        let fits = fitting(self.loads.room_of_ramp(node), self.demand);
        // Whole steps, so that splits do not differ by a hair.
        let fits = if fits < most { fits - fits % LEAST_RETURNING } else { most };
        let kept = if self.discretionary { share_of(self.held, node) } else { 0 };
        fits.max(kept).saturating_sub(added)
    }
}

#[cfg(test)]
mod tests;
