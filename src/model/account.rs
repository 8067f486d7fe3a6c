//! What a plan reckons with: who asks for how much, what nodes carry besides.
//!
//! The planner makes it from policy, reports and counts, and hands it on beside its plan, so that the
//! plan can be judged by somebody else.

use super::demand::Split;

/// Amounts are *fine units*: capacity units times 65,536.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// By service: its whole demand.
    pub services: Vec<u64>,
    /// How that divides between groups.
    pub split: Split,
    /// By node: the circuit of its region is open, so that nobody is to be sent there; no node that is forced up.
    /// Empty: none is.
    pub cut: Vec<bool>,
    /// By node: load that is not the plan's.
    pub base: Vec<u64>,
}

impl Account {
    const FINE_BITS: u32 = 16;

    pub const fn fine(units: u64) -> u64 {
        units.saturating_mul(1 << Self::FINE_BITS)
    }

    /// Demand of a pair; 0 where there is none of that number.
    pub fn of(&self, service: usize, group: usize) -> u64 {
        let whole = self.services.get(service).copied().unwrap_or(0);
        self.split.part(whole, service, group)
    }

    /// `ppm` of a group's clients of a service, in parts per billion of all clients: services count alike.
    pub fn part_ppb(&self, service: usize, group: usize, ppm: u64) -> u64 {
        let fraction = u128::from(self.split.fraction(service, group));
        let moved = (u128::from(ppm) * 1_000 * fraction) >> Split::FRACTION_BITS;
        (moved / self.services.len().max(1) as u128) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::demand::WHOLE;

    #[test]
    fn a_pair_has_its_part_of_the_service_and_of_all_clients() {
        let split = Split { assumed: vec![1 << 30, 3 << 30].into(), counted: Vec::new() };
        let account = Account { services: vec![Account::fine(100), 0], split, ..Account::default() };
        assert_eq!((account.of(0, 0), account.of(0, 1), account.of(1, 1)), (25 << 16, 75 << 16, 0));
        assert_eq!((account.of(7, 0), account.of(0, 7)), (0, 0));
        let counted = vec![None, Some([WHOLE / 2, WHOLE / 2].into())];
        let split = Split { counted, ..account.split.clone() };
        let told = Account { split, services: vec![Account::fine(100); 2], ..account.clone() };
        assert_eq!((told.of(0, 0), told.of(1, 0)), (25 << 16, 50 << 16), "of a service that is counted");
        assert_eq!(account.part_ppb(0, 1, 500_000), 187_500_000, "half of three quarters, of two services");
    }
}
