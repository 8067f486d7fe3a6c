//! Lets a crowd that stays go down: newcomers go elsewhere for a while.
//!
//! ```text
//!  load  ▁▂▄▆█▇▆▆▅▅▅▅▅      above the cap, because sessions stay
//!  cap   ─────────────
//!  table ▁▂▄▆▅▃▃▃▄▄▅▅▅      sends fewer until so many have left
//! ```
//! A table that gives a node what its cap allows does not bring it there soon if it carries more: who is
//! there leaves when his session ends, and as many as that come anew. So while a node carries more than its
//! cap, the table gives it less, by what it has too much x how long clients stay / [`HORIZON_MS`]: with that
//! it would be down at its cap after the horizon, roughly. Nobody's session ends for it.
//!
//! It is a move by choice, within the budget, and only to nodes that have room for newcomers. What a node
//! carries is what it reports; of what that is too much, as much counts as clients are expected to linger.
//! Where load of another origin is known (base load) nothing is done: it would not go away, whoever is sent
//! elsewhere. Less than a 32nd of the cap is what reports may be off by, and counts as none.

use super::demand::Reports;
use super::follow::Habit;
use super::load::{part, ppm_of};
use super::memory::PlannerMemory;
use super::steady::RISING;
use super::sweep::Sweep;
use crate::model::fleet::Node;
use crate::model::ids::NodeId;

/// When a crowd should be gone.
const HORIZON_MS: u64 = 30_000;
/// Clients that stay longer than this count as if they stayed so long: else the table would give the node
/// nobody at all for the sake of a few who stay for hours.
const LONGEST_STAY_MS: u64 = 4 * HORIZON_MS;
/// The table leaves a node this part of its cap whatever it carries.
const LEAST_PPM: u32 = 500_000;
const WHOLE_PPM: u64 = 1_000_000;

/// By node, in fine units: how much less than its cap the table should give it.
pub(super) fn reserves(
    nodes: &[Node],
    reports: &Reports,
    memory: &PlannerMemory,
    habits: &[Habit],
    (demand, base): (&[u64], &[u64]),
) -> Vec<u64> {
    let reserve = |(at, node): (usize, &Node)| {
        let (Some(capacity), Some(burden)) = (&node.capacity, reports.burden(at)) else { return 0 };
        let cap = part(super::load::fine(capacity.amount), capacity.cap.0);
        if burden <= cap {
            return 0;
        }
        let (mut clients, mut lingering, mut stays) = (0_u64, 0_u64, 0_u128);
        for (service, (&demand, habit)) in demand.iter().zip(habits).enumerate() {
            let (has, sent) =
                (memory.carried[service * nodes.len() + at], reports.current()[service * nodes.len() + at]);
            let amount = part(demand, has);
            clients = clients.saturating_add(amount);
            lingering = lingering.saturating_add(part(demand, has.saturating_sub(sent)));
            stays += u128::from(amount) * u128::from(habit.stay_ms().min(LONGEST_STAY_MS));
        }
        let excess = (burden - cap).min(lingering);
        if base[at] > 0 || excess < (cap / RISING).max(1) {
            return 0;
        }
        let mean_ms = stays / u128::from(clients.max(1));
        let reserve = u128::from(excess) * mean_ms / u128::from(HORIZON_MS);
        u64::try_from(reserve).unwrap_or(u64::MAX).min(cap - part(cap, LEAST_PPM))
    };
    nodes.iter().enumerate().map(reserve).collect()
}

impl Sweep<'_> {
    /// Moves from crowded nodes what their reserves ask for, as far as others have room for newcomers.
    pub fn ebb(&mut self, reserves: &[u64], memory: &PlannerMemory) {
        let over = |node: usize| {
            let id = NodeId::from_index(node);
            let over = reserves[node].saturating_sub(self.loads.room(id)).min(self.loads.planned(node));
            // Small steps would make many tables.
            if over >= self.loads.unsure(id).max(1) { over } else { 0 }
        };
        let over: Vec<u64> = (0..reserves.len()).map(over).collect();
        if over.iter().all(|&over| over == 0) {
            return;
        }
        let room = |node: usize| {
            let id = NodeId::from_index(node);
            let room = self.loads.room_beside_what_passes(id).saturating_sub(self.loads.unsure(id));
            if reserves[node] > 0 { 0 } else { room }
        };
        let room: Vec<u64> = (0..reserves.len()).map(room).collect();
        if let Some(by) = self.holds_relief(memory.is_apart(self.rules())) {
            return self.note_crowd(by, over.into_iter().zip(room));
        }
        let gauges = self.divided(&over, &room);
        self.granted |= self.even_out(super::Pass::Full, &gauges, true) > 0;
    }

    /// What leaves and what may come, by node: the budget is divided, and so is what comes, so that nobody is
    /// emptied or filled before others.
    fn divided(&self, over: &[u64], room: &[u64]) -> Vec<(u64, u64)> {
        let sum = |amounts: &[u64]| amounts.iter().fold(0_u64, |sum, &amount| sum.saturating_add(amount));
        let wanted = sum(over);
        let budget = u128::from(self.purse.left().unsigned_abs());
        let affordable = u128::from(sum(&self.demand.services)) * budget / 1_000_000_000;
        let affordable = u64::try_from(affordable).unwrap_or(u64::MAX);
        let leaves_ppm = ppm_of(affordable, wanted).min(WHOLE_PPM) as u32;
        let comes_ppm = ppm_of(wanted.saturating_mul(2), sum(room)).min(WHOLE_PPM) as u32;
        let gauge = |(&over, &room): (&u64, &u64)| (part(over, leaves_ppm), part(room, comes_ppm));
        over.iter().zip(room).map(gauge).collect()
    }
}
