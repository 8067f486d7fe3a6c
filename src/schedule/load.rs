//! The running account of who carries how much while a plan is made.
//!
//! ```text
//!  0 ────────────── target ───────── cap ──── capacity
//!  │ base │ planned │  price rises   │ no room
//! ```
//! Base is load that the plan does not explain: reported, minus what the previous table should be
//! causing. It takes room, so a node that says it is 95 % full receives nobody. *Passing* load, sessions
//! that outlast the move of their clients and what reconnecting costs, takes room from newcomers only,
//! and only while they have another choice: it has no price, and nobody leaves for it. Amounts are *fine
//! units*: capacity units times 65,536, so that a hundred connections can be split over thousands
//! of groups without rounding them away.

use super::cost::{self, congestion_price};
use super::division::Division;
use super::divisor::Divisor;
use super::steady::RISING;
use crate::model::fleet::Node;
use crate::model::ids::NodeId;
use crate::model::placement::Share;
use crate::model::planner::PlannerRules;
use crate::model::service::Method;

/// Fine units in one capacity unit.
const FINE_BITS: u32 = 16;
/// Amounts are clamped to this many units, so that sums over services cannot overflow.
const MAX_UNITS: u64 = 1 << 40;
/// A node counts as having reached its cap when less than this is left of its capacity.
const NEARLY_PPM: u64 = 20_000;
const TARGET_DEFAULT_PPM: u64 = 750_000;
const CAP_DEFAULT_PPM: u64 = 900_000;

pub(super) fn fine(units: u64) -> u64 {
    units.min(MAX_UNITS) << FINE_BITS
}

pub(super) fn units(fine: u64) -> u64 {
    fine >> FINE_BITS
}

/// `ppm` of `amount`, rounded down.
#[inline]
pub(super) fn part(amount: u64, ppm: u32) -> u64 {
    if amount < 1 << 43 {
        amount * u64::from(ppm) / 1_000_000
    } else {
        (u128::from(amount) * u128::from(ppm) / 1_000_000) as u64
    }
}

/// `amount` of `whole` in ppm, saturating.
pub(super) fn ppm_of(amount: u64, whole: u64) -> u64 {
    if amount < 1 << 43 {
        return amount * 1_000_000 / whole.max(1);
    }
    let ppm = u128::from(amount) * 1_000_000 / u128::from(whole.max(1));
    u64::try_from(ppm).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug)]
struct Meter {
    /// `None`: never full.
    capacity: Option<u64>,
    target: u64,
    cap: u64,
    target_ppm: u64,
    cap_ppm: u64,
    by_capacity: Divisor,
    /// By the way from target to cap.
    by_span: Divisor,
    base: u64,
    passing: u64,
    allowance: Option<u64>,
    planned: u64,
    /// While it ramps up again: the most that is planned by choice.
    ramped: u64,
    /// Up to the target; of a node without capacity, at any load.
    idle_price: u32,
    /// Whether it counts as full for newcomers.
    full: bool,
    /// Whether newcomers are sent there last.
    shunned: bool,
}

/// All nodes' accounts.
#[derive(Clone, Debug)]
pub(super) struct Loads {
    meters: Vec<Meter>,
    /// Congestion price by node, us.
    pub price: Vec<u32>,
    /// Rises whenever a price changes.
    pub epoch: u32,
    /// ... until its utilisation has fallen to this: spill ends.
    pub spill_end_ppm: u64,
    /// Of the room for newcomers.
    pub division: Option<Division>,
}

impl Loads {
    /// Idle nodes. `reported_ppm` prices the nodes that have no capacity to plan by.
    pub fn idle(nodes: &[Node], reported_ppm: impl Fn(usize) -> u64) -> Self {
        let mut meters: Vec<Meter> = nodes.iter().map(Meter::of).collect();
        for (index, meter) in meters.iter_mut().enumerate().filter(|(_, meter)| meter.capacity.is_none()) {
            meter.idle_price = congestion_price(reported_ppm(index), TARGET_DEFAULT_PPM, CAP_DEFAULT_PPM);
        }
        let price = meters.iter().map(|meter| meter.idle_price).collect();
        let spill_end_ppm = u64::from(PlannerRules::default().spill_end.0);
        Self { price, meters, epoch: 0, spill_end_ppm, division: None }
    }

    pub fn set_base(&mut self, node: usize, base: u64) {
        self.meters[node].base = base;
        self.meters[node].allow();
        self.reprice(node);
    }

    /// Opens an account: what is planned so far.
    pub fn set_planned(&mut self, node: usize, planned: u64) {
        self.meters[node].planned = planned;
        self.reprice(node);
    }

    pub fn set_full(&mut self, node: usize, full: bool) {
        self.meters[node].full = full;
    }

    /// Has the node take by choice no more than this part (ppm) of what its cap leaves beside base load.
    pub fn ramp(&mut self, node: usize, ppm: u32) {
        let meter = &mut self.meters[node];
        meter.ramped = part(meter.cap.saturating_sub(meter.base), ppm);
    }

    /// What its ramp leaves of that.
    #[inline]
    pub fn room_of_ramp(&self, node: NodeId) -> u64 {
        let meter = &self.meters[node.index()];
        meter.ramped.saturating_sub(meter.planned)
    }

    /// Has the node take newcomers only for whom others have no room.
    pub fn shun(&mut self, node: NodeId) {
        self.meters[node.index()].shunned = true;
    }

    #[inline]
    pub fn is_shunned(&self, node: NodeId) -> bool {
        self.meters[node.index()].shunned
    }

    /// More load that is neither base nor planned and will be gone after a while.
    pub fn pass(&mut self, node: NodeId, more: u64) {
        let passing = &mut self.meters[node.index()].passing;
        *passing = passing.saturating_add(more);
    }

    /// Notes clients of a service who come to more than the shares they had before; `surge`: what they cost
    /// at first, beyond their load and as a part (ppm) of it.
    pub fn receive(&mut self, service: usize, before: &[Share], after: &[Share], demand: u64, surge: u32) {
        if surge == 0 && self.division.is_none() {
            return;
        }
        for share in after {
            let come = part(demand, share.share.0.saturating_sub(share_of(before, share.node)));
            let surge = part(come, surge);
            self.pass(share.node, surge);
            if let Some(division) = &mut self.division {
                division.take(service, share.node, come + surge);
            }
        }
    }

    /// Notes clients who leave for other nodes when their sessions end.
    pub fn release(&mut self, before: &[Share], after: &[Share], demand: u64) {
        for share in before {
            let left = share.share.0.saturating_sub(share_of(after, share.node));
            self.pass(share.node, part(demand, left));
        }
    }

    /// What newcomers of all services may take.
    #[inline]
    pub fn room_beside_what_passes(&self, node: NodeId) -> u64 {
        self.room(node).saturating_sub(self.meters[node.index()].passing)
    }

    /// What newcomers may take of the room.
    #[inline]
    pub fn room_for_newcomers(&self, service: usize, node: NodeId) -> u64 {
        self.part_for_newcomers(service, node, self.room(node))
    }

    /// What newcomers may take of this room.
    #[inline]
    pub fn part_for_newcomers(&self, service: usize, node: NodeId, room: u64) -> u64 {
        let room = room.saturating_sub(self.meters[node.index()].passing);
        self.division.as_ref().map_or(room, |division| division.room(service, node, room))
    }

    /// What measured demand may be off by before that is taken up ([`super::steady`]).
    #[inline]
    pub fn unsure(&self, node: NodeId) -> u64 {
        let meter = &self.meters[node.index()];
        meter.capacity.map_or(0, |_| meter.cap / RISING)
    }

    /// What still fits under the cap.
    #[inline]
    pub fn room(&self, node: NodeId) -> u64 {
        let meter = &self.meters[node.index()];
        meter.cap.saturating_sub(meter.load())
    }

    /// Congestion price (us) with `more` on the node, as far as its cap lets it.
    #[inline]
    pub fn price_with(&self, node: NodeId, more: u64) -> u32 {
        let meter = &self.meters[node.index()];
        let load = meter.load();
        if load.saturating_add(more) <= meter.target {
            return meter.idle_price;
        }
        meter.price(load.saturating_add(more).min(meter.cap.max(load)))
    }

    /// Congestion price (us) without `own`, which is of the plan.
    #[inline]
    pub fn price_without(&self, node: NodeId, own: u64) -> u32 {
        let meter = &self.meters[node.index()];
        match self.price[node.index()] {
            0 => 0,
            price if meter.capacity.is_none() => price,
            _ => meter.price(meter.load_without(own)),
        }
    }

    /// What still fits under the cap without `own`, which is of the plan.
    #[inline]
    pub fn room_without(&self, node: NodeId, own: u64) -> u64 {
        let meter = &self.meters[node.index()];
        meter.cap.saturating_sub(meter.load_without(own))
    }

    /// Whether `more` fits without any price.
    #[inline]
    pub fn is_at_ease_with(&self, node: NodeId, more: u64) -> bool {
        let meter = &self.meters[node.index()];
        meter.load().saturating_add(more) <= meter.target
    }

    /// How much of base and plan lies above the cap.
    pub fn over_cap(&self, node: NodeId) -> u64 {
        let meter = &self.meters[node.index()];
        meter.load().saturating_sub(meter.cap)
    }

    /// How much of the plan lies above the cap: base load is nobody's to move.
    pub fn relievable(&self, node: NodeId) -> u64 {
        self.over_cap(node).min(self.meters[node.index()].planned)
    }

    /// Whether any plan lies above a cap.
    pub fn any_over_cap(&self) -> bool {
        (0..self.meters.len()).any(|node| self.relievable(NodeId::from_index(node)) > 0)
    }

    /// How much of `demand`, split by `shares`, would lie above caps.
    pub fn excess(&self, shares: &[Share], demand: u64) -> u64 {
        let over = |share: &Share| part(demand, share.share.0).saturating_sub(self.room(share.node));
        shares.iter().map(over).sum()
    }

    /// Whether newcomers at discretion stay away: it reached its cap and is not yet at ease.
    #[inline]
    pub fn is_full(&self, node: NodeId) -> bool {
        self.meters[node.index()].full
    }

    /// What the node counts for in a split, in capacity units: the cap, and less once base load takes
    /// more than half of it. In quarters of the cap, rounded up, so that load that climbs or wavers
    /// moves nobody until it matters. `None`: without capacity.
    #[inline]
    pub fn allowance(&self, node: NodeId) -> Option<u64> {
        self.meters[node.index()].allowance
    }

    /// What a node counts for in a split by this method, beside its weight; `None`: without capacity.
    #[inline]
    pub fn measure(&self, method: Method, node: NodeId) -> Option<u64> {
        match method {
            Method::Latency => self.allowance(node),
            Method::Weights => Some(1),
            // In parts of a unit that let weights be multiplied with the largest there is.
            Method::Load => self.meters[node.index()].capacity.map(|_| (self.room(node) >> 8).max(1)),
        }
    }

    /// Base and plan.
    pub fn load(&self, node: NodeId) -> u64 {
        let meter = &self.meters[node.index()];
        meter.load()
    }

    /// Capacity, and target and cap in ppm of it; `None` without capacity.
    pub fn limits(&self, node: NodeId) -> Option<(u64, u64, u64)> {
        let meter = &self.meters[node.index()];
        meter.capacity.map(|capacity| (capacity, meter.target_ppm, meter.cap_ppm))
    }

    pub fn base(&self, node: usize) -> u64 {
        self.meters[node].base
    }

    pub fn planned(&self, node: usize) -> u64 {
        self.meters[node].planned
    }

    /// Base and planned load against capacity; `None` without capacity.
    pub fn utilisation_ppm(&self, node: NodeId) -> Option<u64> {
        let meter = &self.meters[node.index()];
        meter.capacity.map(|capacity| ppm_of(meter.load(), capacity))
    }

    pub fn add(&mut self, shares: &[Share], demand: u64) {
        for share in shares {
            let meter = &mut self.meters[share.node.index()];
            meter.planned = meter.planned.saturating_add(part(demand, share.share.0));
            self.reprice(share.node.index());
        }
    }

    /// Undoes [`Loads::add`] exactly: parts are rounded alike.
    pub fn remove(&mut self, shares: &[Share], demand: u64) {
        for share in shares {
            let meter = &mut self.meters[share.node.index()];
            meter.planned = meter.planned.saturating_sub(part(demand, share.share.0));
            self.reprice(share.node.index());
        }
    }

    #[inline]
    fn reprice(&mut self, node: usize) {
        let meter = &self.meters[node];
        if meter.capacity.is_none() {
            return;
        }
        let load = meter.load();
        if load <= meter.target && self.price[node] == 0 {
            return;
        }
        // Whoever remembers a choice must also forget it when a node fills up or gets room again.
        if load >= meter.cap {
            self.epoch += 1;
        }
        let price = meter.price(load);
        if price != self.price[node] {
            self.price[node] = price;
            self.epoch += 1;
        }
    }

    /// Treats as full what the next plan will treat as full.
    pub fn note_full(&mut self) {
        for node in 0..self.meters.len() {
            self.meters[node].full = self.stays_full(NodeId::from_index(node));
        }
    }

    /// Whether the node is to be treated as full by the next plan.
    pub fn stays_full(&self, node: NodeId) -> bool {
        let meter = &self.meters[node.index()];
        let Some(utilisation) = self.utilisation_ppm(node) else { return false };
        utilisation + NEARLY_PPM >= meter.cap_ppm || (meter.full && utilisation > self.spill_end_ppm)
    }
}

/// What a node has of these shares, ppm.
pub(super) fn share_of(shares: &[Share], node: NodeId) -> u32 {
    shares.iter().find(|share| share.node == node).map_or(0, |share| share.share.0)
}

impl Meter {
    /// Base and plan.
    #[inline]
    fn load(&self) -> u64 {
        self.base.saturating_add(self.planned)
    }

    /// Of the plan there is as much as `own` at least.
    #[inline]
    fn load_without(&self, own: u64) -> u64 {
        self.base.saturating_add(self.planned.saturating_sub(own))
    }

    /// [`congestion_price`] at a load, of a node with capacity, without a division.
    #[inline]
    fn price(&self, load: u64) -> u32 {
        if load <= self.target {
            return 0;
        }
        let ppm = match load < 1 << 43 {
            true => self.by_capacity.divide(load * 1_000_000),
            false => ppm_of(load, self.capacity.unwrap_or(0)),
        };
        cost::price_above(ppm.saturating_sub(self.target_ppm), &self.by_span)
    }

    fn of(node: &Node) -> Self {
        let capacity = node.capacity.as_ref();
        let amount = capacity.map(|capacity| fine(capacity.amount));
        let ppm_or = |ppm: Option<u32>, default: u64| ppm.map_or(default, u64::from);
        let target_ppm = ppm_or(capacity.map(|c| c.target.0), TARGET_DEFAULT_PPM);
        let cap_ppm = ppm_or(capacity.map(|c| c.cap.0), CAP_DEFAULT_PPM);
        let mut meter = Self {
            capacity: amount,
            target: amount.map_or(u64::MAX, |a| part(a, capacity.map_or(0, |c| c.target.0))),
            cap: amount.map_or(u64::MAX, |a| part(a, capacity.map_or(0, |c| c.cap.0))),
            by_capacity: Divisor::new(amount.unwrap_or(1)),
            by_span: Divisor::new(cost::price_span(target_ppm, cap_ppm)),
            target_ppm,
            cap_ppm,
            base: 0,
            passing: 0,
            allowance: None,
            planned: 0,
            ramped: u64::MAX,
            idle_price: 0,
            full: false,
            shunned: false,
        };
        meter.allow();
        meter
    }

    fn allow(&mut self) {
        let step = (self.cap / 4).max(1);
        let left = self.cap.saturating_sub(self.base).saturating_mul(2).min(self.cap);
        self.allowance = self.capacity.map(|_| units((left.div_ceil(step) * step).min(self.cap)).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;
    use crate::base::units::Ppm;

    const N: NodeId = NodeId(0);

    fn whole() -> [Share; 1] {
        [Share { node: N, share: Ppm::WHOLE }]
    }

    #[test]
    fn room_ends_at_the_cap_and_removal_undoes_addition() {
        let mut loads = Loads::idle(&[node("a", 0, Some(1_000))], |_| 0);
        assert_eq!(loads.room(N), fine(900));
        loads.set_base(0, fine(100));
        loads.add(&whole(), fine(800));
        assert_eq!((loads.room(N), loads.over_cap(N), loads.price[0]), (0, 0, 100_000));
        loads.remove(&whole(), fine(800));
        assert_eq!((loads.room(N), loads.price[0]), (fine(800), 0));
    }

    #[test]
    fn full_lasts_until_at_ease() {
        let mut loads = Loads::idle(&[node("a", 0, Some(1_000))], |_| 0);
        loads.add(&whole(), fine(890));
        assert!(loads.stays_full(N));
        loads.remove(&whole(), fine(190));
        assert!(!loads.stays_full(N));
        loads.set_full(0, true);
        assert!(loads.stays_full(N));
        loads.remove(&whole(), fine(60));
        assert!(!loads.stays_full(N));
    }

    #[test]
    fn a_node_without_capacity_is_never_full_but_priced_by_what_it_says() {
        let mut loads = Loads::idle(&[node("a", 0, None)], |_| 900_000);
        assert_eq!(loads.price[0], 100_000);
        loads.add(&whole(), u64::MAX / 4);
        assert!(loads.room(N) > u64::MAX / 2 && loads.over_cap(N) == 0 && !loads.stays_full(N));
    }
}
