//! The change budget: what is moved by choice is at most so much in every window of time, wherever it begins.
//!
//! ```text
//!        8 %       7 % 5 %           20 % in 60 s: a wish of 6 % waits ...
//!  ───────┼─────────┼───┼────▶
//!         └─── 60 s ────┘ └ now      ... until the 8 % are 60 s old
//! ```
//! What was spent is remembered with its time and given back when it is a window old, so it is never more than
//! the budget between any two moments a window apart. There is no overdraft: of a move that can be divided the
//! part that fits is made, another waits for room. One is larger than the whole budget where a single group is;
//! it is made alone, when nothing else was for a window. Who has waited for a window keeps smaller ones from
//! taking what comes free.
//!
//! Bounded: a window is divided into [`GRAINS`] parts, and what is spent in one counts from the last of it, so
//! rather too long than too short.

use crate::base::units::Ppm;
use crate::model::held_back::BudgetLeft;
use crate::model::planner::ChangeBudget;
use serde::{Deserialize, Serialize};

const GRAINS: u64 = 64;
/// Moves for want of room elsewhere are not begun with less than this part of the budget left: small steps
/// would make many tables.
const STEPS: i64 = 64;

/// When (ms) how much was moved by choice (parts per billion of all demand), oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent(Vec<(u64, i64)>);

impl Spent {
    pub fn note(&mut self, now_ms: u64, ppb: i64, budget: &ChangeBudget) {
        if ppb <= 0 {
            return;
        }
        let grain = |at_ms: u64| at_ms / (budget.window_ms() / GRAINS).max(1);
        match self.0.last_mut().filter(|last| grain(last.0) == grain(now_ms)) {
            Some(last) => *last = (now_ms.max(last.0), last.1.saturating_add(ppb)),
            None => self.0.push((now_ms, ppb)),
        }
    }

    /// Forgets what is a window old, and what is of another clock.
    pub fn forget(&mut self, now_ms: u64, budget: &ChangeBudget) {
        self.0.retain(|&(at_ms, _)| now_ms.checked_sub(at_ms).is_some_and(|age| age < budget.window_ms()));
    }

    pub fn purse(&self, budget: &ChangeBudget) -> Purse {
        let sum = self.0.iter().fold(0_i64, |sum, &(_, ppb)| sum.saturating_add(ppb));
        let whole = budget.share_ppb();
        Purse { whole, left: whole.saturating_sub(sum), spent: 0, is_saving: false }
    }

    /// For people: what is left at a time, and when there is more.
    pub fn left(&self, now_ms: u64, budget: &ChangeBudget) -> BudgetLeft {
        let ppm = |ppb: i64| Ppm(u32::try_from(ppb / 1_000).unwrap_or(u32::MAX));
        let left = self.purse(budget).left();
        let back_ms = |spent: Option<&(u64, i64)>| {
            spent.map_or(0, |&(at_ms, _)| at_ms.saturating_add(budget.window_ms()).saturating_sub(now_ms))
        };
        BudgetLeft {
            left: ppm(left),
            whole: ppm(budget.share_ppb()),
            some_in_ms: if left > 0 { 0 } else { back_ms(self.0.first()) },
            whole_in_ms: back_ms(self.0.last()),
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What one plan may move by choice, parts per billion of all demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Purse {
    whole: i64,
    left: i64,
    spent: i64,
    /// For somebody who has waited long and does not fit.
    is_saving: bool,
}

impl Purse {
    /// Whether a move that cannot be divided fits.
    pub const fn affords(&self, ppb: i64) -> bool {
        !self.is_saving && (ppb <= self.left || (ppb > self.whole && self.left == self.whole))
    }

    pub const fn pay(&mut self, ppb: i64) {
        self.left = self.left.saturating_sub(ppb);
        self.spent = self.spent.saturating_add(ppb);
    }

    /// Nobody else is moved until more is left.
    pub const fn save(&mut self) {
        self.is_saving = true;
    }

    /// Never below nothing.
    pub const fn left(&self) -> i64 {
        if self.left > 0 { self.left } else { 0 }
    }

    pub const fn spent(&self) -> i64 {
        self.spent
    }

    /// Whether so little is left that no step is worth beginning.
    pub const fn is_empty(&self) -> bool {
        self.left <= self.whole / STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::SeededRng;
    use std::time::Duration;

    const PERCENT: i64 = 10_000_000;

    #[test]
    fn what_was_spent_comes_back_when_it_is_a_window_old() {
        let (budget, mut spent) = (ChangeBudget::default(), Spent::default());
        for (at_ms, percent) in [(1_000, 8), (21_000, 7), (30_000, 5)] {
            spent.forget(at_ms, &budget);
            assert!(spent.purse(&budget).affords(percent * PERCENT), "{at_ms}");
            spent.note(at_ms, percent * PERCENT, &budget);
        }
        for (at_ms, left) in [(30_000, 0), (60_999, 0), (61_000, 8), (81_000, 15), (90_000, 20)] {
            spent.forget(at_ms, &budget);
            assert_eq!(spent.purse(&budget).left(), left * PERCENT, "{at_ms}");
        }
        assert!(spent.is_empty());
    }

    #[test]
    fn what_is_larger_than_the_budget_goes_alone_and_nothing_overdraws_it() {
        let (budget, mut spent) = (ChangeBudget::default(), Spent::default());
        let mut purse = spent.purse(&budget);
        assert!(purse.affords(20 * PERCENT) && purse.affords(50 * PERCENT));
        purse.pay(PERCENT);
        assert!(
            purse.affords(19 * PERCENT) && !purse.affords(19 * PERCENT + 1) && !purse.affords(50 * PERCENT)
        );
        purse.save();
        assert!(!purse.affords(0), "what is left is for another");
        spent.note(0, 50 * PERCENT, &budget);
        let purse = spent.purse(&budget);
        assert!(purse.is_empty() && purse.left() == 0 && !purse.affords(1));
    }

    /// Whoever spends all that is left at any time: no window has more, and the memory stays small.
    #[test]
    fn no_window_has_more_than_the_budget() {
        for seed in 0..50 {
            let mut rng = SeededRng::new(seed);
            let window = Duration::from_millis(1 + rng.below(120_000));
            let budget = ChangeBudget { share: Ppm::from_percent(1 + rng.below(100) as u32), window };
            let (mut spent, mut seen, mut now_ms) = (Spent::default(), Vec::new(), 0);
            for _ in 0..2_000 {
                now_ms += rng.below(budget.window_ms() / 20 + 2);
                spent.forget(now_ms, &budget);
                let ppb = rng.below(spent.purse(&budget).left() as u64 + 1) as i64;
                spent.note(now_ms, ppb, &budget);
                seen.push((now_ms, ppb));
                let recent = seen.iter().rev().take_while(|(at_ms, _)| now_ms - at_ms < budget.window_ms());
                assert!(recent.map(|(_, ppb)| ppb).sum::<i64>() <= budget.share_ppb(), "seed {seed}");
                assert!(spent.0.len() as u64 <= GRAINS + 2, "seed {seed}: {}", spent.0.len());
            }
        }
    }
}
