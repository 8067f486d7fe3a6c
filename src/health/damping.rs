//! Flap damping: a family that keeps changing sides is kept down until it has been quiet.
//!
//! ```text
//!  penalty
//!   3,000 ┤ · · · · · · ·/|· · · · · · · · start: recovery is held back from here on ...
//!         │      /|     / |\
//!         │  /| / | \ /   |   ` .
//!   1,000 ┤ / |/  |  '    |· · · · `·.· · · ... until here, or until 30 minutes have passed
//!         └─┴──┴────┴─────┴────────────▶ time     each flip adds 1,000, every 5 minutes halve it
//! ```
//! RFC 2439 for nodes. It delays recovery only: a failure counts at once, always. The flip that reaches the
//! start is itself still followed. Faults of a drill are no flips. Whether a pool can do without the node
//! is asked by the caller, who lets it back if not.

use crate::base::clock::MonoTime;
use crate::model::judgement::DampingRules;

/// Penalties do not rise above so many starts, so that a long flapping is not remembered for ever.
const CEILING: f64 = 4.0;

/// The memory of one family of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Damping {
    penalty: f64,
    at: MonoTime,
    /// Since when recovery is held back.
    since: Option<MonoTime>,
    pub flips: u32,
}

impl Damping {
    /// The family changed sides.
    pub fn flip(&mut self, now: MonoTime, rules: &DampingRules) {
        self.fade(now, rules);
        let most = f64::from(rules.start) * CEILING;
        self.penalty = (self.penalty + f64::from(rules.per_flip)).min(most);
        self.flips = self.flips.saturating_add(1);
        if self.since.is_none() && self.penalty >= f64::from(rules.start) && rules.per_flip > 0 {
            self.since = Some(now);
        }
    }

    /// Whether recovery is held back at `now`.
    pub fn holds(&mut self, now: MonoTime, rules: &DampingRules) -> bool {
        if self.since.is_none() {
            return false;
        }
        self.fade(now, rules);
        let is_over = self.since.is_some_and(|since| now.since(since) >= rules.longest);
        if is_over || self.penalty <= f64::from(rules.end) {
            *self = Self { penalty: self.penalty.min(f64::from(rules.end)), at: now, ..Self::default() };
        }
        self.since.is_some()
    }

    /// Whether it might be holding recovery back, without letting time pass.
    pub fn is_armed(&self) -> bool {
        self.since.is_some()
    }

    pub fn penalty(&self) -> u32 {
        self.penalty.round() as u32
    }

    /// As it has faded by `now`.
    pub fn penalty_at(mut self, now: MonoTime, rules: &DampingRules) -> u32 {
        self.fade(now, rules);
        self.penalty()
    }

    fn fade(&mut self, now: MonoTime, rules: &DampingRules) {
        let half_lives = now.since(self.at).as_secs_f64() / rules.half_life.as_secs_f64().max(1e-3);
        self.penalty *= (-half_lives).exp2();
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flips at these seconds; the seconds at which recovery begins and ends to be held back.
    fn check(flips: &[u64], from: Option<u64>, until: Option<u64>) {
        let (rules, mut damping) = (DampingRules::default(), Damping::default());
        let mut held = Vec::new();
        for second in 0..10_000 {
            let now = MonoTime::from_millis(second * 1_000);
            flips.iter().filter(|&&flip| flip == second).for_each(|_| damping.flip(now, &rules));
            if damping.holds(now, &rules) {
                held.push(second);
            }
        }
        assert_eq!((held.first().copied(), held.last().map(|last| last + 1)), (from, until), "{flips:?}");
    }

    #[test]
    fn three_quick_flips_are_not_enough_and_four_are() {
        check(&[0, 10, 20], None, None);
        check(&[0, 10, 20, 30], Some(30), Some(616));
    }

    #[test]
    fn slow_flaps_are_followed_for_ever() {
        let hourly: Vec<u64> = (0..3).flat_map(|hour| [hour * 3_600, hour * 3_600 + 60]).collect();
        check(&hourly, None, None);
        let every_five_minutes: Vec<u64> = (0..30).map(|at| at * 300).collect();
        check(&every_five_minutes, None, None);
    }

    #[test]
    fn nobody_is_held_back_longer_than_the_longest() {
        let every_ten_seconds: Vec<u64> = (0..100).map(|at| at * 10).collect();
        check(&every_ten_seconds, Some(30), Some(1_830));
    }

    #[test]
    fn the_penalty_has_a_ceiling() {
        let (rules, mut damping) = (DampingRules::default(), Damping::default());
        (0..1_000).for_each(|_| damping.flip(MonoTime(0), &rules));
        assert_eq!(damping.penalty(), 12_000);
    }
}
