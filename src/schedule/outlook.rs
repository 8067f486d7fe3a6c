//! What a memory says of the plans to come, for whoever looks ahead.

use super::load::{part, units};
use super::memory::PlannerMemory;

impl PlannerMemory {
    /// Whether nobody waits to be moved.
    pub fn is_at_rest(&self) -> bool {
        self.pending.is_empty()
    }

    /// By node: what clients should be causing by now, following the plan as late as they do, in capacity units.
    pub fn expected(&self) -> Vec<u64> {
        let nodes = self.nodes.len();
        let mut sums = vec![0_u64; nodes];
        for (row, &demand) in self.carried.chunks_exact(nodes.max(1)).zip(&self.demand) {
            for (sum, &ppm) in sums.iter_mut().zip(row) {
                *sum = sum.saturating_add(part(demand, ppm));
            }
        }
        sums.into_iter().map(units).collect()
    }
}
