//! Which changes of a signal count: the dead bands that keep noise out of the plan.
//!
//! Probes jitter with the machine they run on and loads waver with the hour. Each signal of a node is
//! therefore *settled*: the plan keeps the value it last acted on and takes a new one only when it
//! differs by more than the band. A plan whose settled signals are all as before has nothing to do.
//!
//! ```text
//! reported  ~~~~^~~v~~~^~~~~~~~/‾‾‾‾~~^~~v~~
//! settled   ___________________/‾‾‾‾‾‾‾‾‾‾‾‾      one step, when the band is left
//! ```
//! | signal | band: the larger of | below that, from nothing |
//! |---|---|---|
//! | excess round trip | 10 ms, 25 % | counts as 0 |
//! | jitter | 5 ms, 25 % | counts as 0 |
//! | loss | 1 %, 25 % | counts as 0 |
//! | utilisation | 10 points | below the target counts as 0, until 10 points below it keeps |
//! | base load | 1/8 of capacity, 1/4 of the load; rising above the target 1/16 | below 1/16 counts as 0 |
//! | measured demand | 1/8 falling, 1/32 rising | |
//!
//! Not settled: verdicts (they have a hysteresis of their own) and what the operator states.

use super::cost::NodeSignal;
use crate::base::units::Ppm;

// What would change a cost by less than the margin that a move needs (10 ms) is noise.
const EXCESS_US: u32 = 10_000;
const JITTER_US: u32 = 5_000;
const LOSS_PPM: u32 = 10_000;
const UTILISATION_PPM: u32 = 100_000;

/// Of its capacity: below it a node is no longer strained.
const AT_EASE: Ppm = Ppm::from_percent(50);

/// Measured demand may rise by one part in so many before that counts.
pub(super) const RISING: u64 = 32;

/// The signal to plan with. `held` is the one that was planned with last.
pub(super) fn settle(held: Option<NodeSignal>, now: NodeSignal, target_ppm: u32) -> NodeSignal {
    let floor = |now: u32, band: u32| if now < band { 0 } else { now };
    let Some(held) = held.filter(|held| held.may_serve && now.may_serve) else {
        return NodeSignal {
            excess_us: floor(now.excess_us, EXCESS_US),
            jitter_us: floor(now.jitter_us, JITTER_US),
            loss_ppm: floor(now.loss_ppm, LOSS_PPM),
            utilisation_ppm: floor(now.utilisation_ppm, target_ppm),
            ..now
        };
    };
    let keep = |held: u32, now: u32, band: u32| {
        if held.abs_diff(now) < band.max(held / 4) { held } else { floor(now, band) }
    };
    let (was, is) = (held.utilisation_ppm, now.utilisation_ppm);
    let utilisation_ppm = if was == 0 || is < target_ppm.saturating_sub(UTILISATION_PPM) {
        floor(is, target_ppm)
    } else if was.abs_diff(is) >= UTILISATION_PPM {
        is
    } else {
        was
    };
    NodeSignal {
        excess_us: keep(held.excess_us, now.excess_us, EXCESS_US),
        jitter_us: keep(held.jitter_us, now.jitter_us, JITTER_US),
        loss_ppm: keep(held.loss_ppm, now.loss_ppm, LOSS_PPM),
        utilisation_ppm,
        ..now
    }
}

/// Whether a node became better than it was: whoever fled from it may want to come home.
pub(super) fn has_eased(held: Option<NodeSignal>, now: NodeSignal) -> bool {
    let Some(held) = held else { return false };
    let rank = |signal: NodeSignal| (!signal.may_serve, signal.verdict as u8);
    let milder = now.excess_us < held.excess_us || now.loss_ppm < held.loss_ppm;
    now.may_serve && (rank(now) < rank(held) || (milder && rank(now) == rank(held)))
}

/// Load of which the plan knows nothing, and all that the node reports, in fine units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burden {
    pub base: u64,
    pub all: u64,
    pub capacity: u64,
    pub target: u64,
}

impl Burden {
    /// Above the target, and not for what the plan put there.
    pub fn is_strain(&self) -> bool {
        self.capacity > 0 && self.all >= self.target && self.base >= self.capacity / 16
    }

    /// Whether the strain is over: below half of the capacity, or, `after_a_while`, below where spill ends.
    pub fn is_relief(&self, after_a_while: Option<Ppm>) -> bool {
        let most = after_a_while.map_or(AT_EASE, |spill_end| spill_end.max(AT_EASE));
        self.capacity == 0 || self.all < most.of(self.capacity)
    }
}

/// The base load to plan with.
pub(super) fn settle_base(held: Option<u64>, now: Burden) -> u64 {
    // Above its capacity a node is just full.
    let base = if now.capacity == 0 { now.base } else { now.base.min(now.capacity) };
    let fresh = if base < now.capacity / 16 { 0 } else { base };
    let Some(held) = held else { return fresh };
    let rises = now.all >= now.target && base >= held.saturating_add(now.capacity / 16);
    let band = (now.capacity / 8).max(now.all / 4);
    if rises || held.abs_diff(base) >= band { fresh } else { held }
}

/// The measured demand to plan with.
pub(super) fn settle_demand(held: u64, now: u64) -> u64 {
    let kept = now <= held.saturating_add(held / RISING) && now >= held - held / 8;
    if kept { held } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::Verdict;

    fn up(excess_us: u32, utilisation_ppm: u32) -> NodeSignal {
        NodeSignal { verdict: Verdict::Up, excess_us, utilisation_ppm, ..NodeSignal::of(None) }
    }

    #[test]
    fn noise_is_kept_out_and_a_step_is_followed_both_ways() {
        let mut held = settle(None, up(4_000, 500_000), 750_000);
        assert_eq!((held.excess_us, held.utilisation_ppm), (0, 0), "below its target a node is at ease");
        for (excess, load) in [(9_900, 450_000), (0, 550_000), (3_000, 740_000)] {
            held = settle(Some(held), up(excess, load), 750_000);
            assert_eq!((held.excess_us, held.utilisation_ppm), (0, 0));
        }
        let slow = settle(Some(held), up(150_000, 950_000), 750_000);
        assert_eq!((slow.excess_us, slow.utilisation_ppm), (150_000, 950_000));
        assert_eq!(settle(Some(slow), up(130_000, 900_000), 750_000), slow);
        assert_eq!(settle(Some(slow), up(150_000, 700_000), 750_000).utilisation_ppm, 700_000);
        let again = settle(Some(slow), up(2_000, 640_000), 750_000);
        assert_eq!((again.excess_us, again.utilisation_ppm), (0, 0));
        assert!(has_eased(Some(slow), again) && !has_eased(Some(again), slow));
    }

    #[test]
    fn a_node_that_is_down_or_comes_back_has_no_past() {
        let down = NodeSignal { may_serve: false, verdict: Verdict::Down, ..up(0, 0) };
        assert_eq!(settle(Some(up(150_000, 0)), down, 750_000), down);
        assert_eq!(settle(Some(down), up(150_000, 0), 750_000), up(150_000, 0));
        assert!(has_eased(Some(down), up(0, 0)));
    }

    #[test]
    fn base_load_is_coarse_until_it_hurts() {
        let burden = |base, all| Burden { base, all, capacity: 1_600, target: 1_200 };
        assert_eq!(settle_base(None, burden(99, 500)), 0);
        assert_eq!(settle_base(Some(0), burden(199, 500)), 0);
        assert_eq!(settle_base(Some(0), burden(199, 1_300)), 199);
        assert_eq!(settle_base(Some(199), burden(20, 700)), 199);
        assert_eq!(settle_base(Some(400), burden(20, 700)), 0);
        assert_eq!(settle_demand(800, 820), 800);
        assert_eq!(settle_demand(800, 830), 830);
        assert_eq!(settle_demand(800, 701), 800);
        assert_eq!(settle_demand(800, 650), 650);
    }

    #[test]
    fn a_strain_is_over_below_half_or_later_below_where_spill_ends() {
        let burden = |base, all| Burden { base, all, capacity: 1_600, target: 1_200 };
        assert!(burden(100, 1_200).is_strain());
        assert!(!burden(99, 1_200).is_strain() && !burden(800, 1_199).is_strain());
        assert!(burden(0, 799).is_relief(None) && !burden(0, 801).is_relief(None));
        let late = Some(Ppm::from_percent(65));
        assert!(burden(0, 1_039).is_relief(late) && !burden(0, 1_041).is_relief(late));
        assert!(burden(0, 799).is_relief(Some(Ppm(1))), "never later than at first");
    }
}
