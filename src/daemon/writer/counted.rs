//! Who asks, and whom nodes report: to the shares of the next plan.

use super::Writer;
use crate::base::clock::MonoTime;
use crate::model::ids::NodeId;

impl Writer {
    /// Has the next plan know who asked how often since the last look, and what nodes say of their clients.
    pub(super) fn count(&mut self, is_last: bool) {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        self.hear_clients(now);
        let health = &self.health;
        self.counting.look(&self.publisher.snapshot(), |node| health.is_down(node), now);
        if let Some(kept) = self.counting.take_kept(now, wall, is_last) {
            self.keeper.keep_demand(kept);
        }
    }

    fn hear_clients(&mut self, now: MonoTime) {
        let is_down = |node: NodeId| self.health.is_down(node);
        let sums = self.client_loads.turn(&self.inputs, self.counting.shares(), is_down, now);
        if let Some(sums) = sums {
            self.counting.take_reports(sums);
        }
    }
}
