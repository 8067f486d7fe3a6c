//! Which node a slot belongs to: weighted rendezvous hashing, in integers.
//!
//! Every (node, slot) pair has a fixed random number u in (0, 1]; a slot goes to the node with the
//! smallest -log2(u) / share (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005).
//! A node that leaves gives up only its own slots and a weight that changes moves only the
//! difference, because nobody else's number changes.
//!
//! The numbers of one node are not independent: of 64 slots in a row one lies in each 64th of (0, 1], in an
//! order of the node's own. So far a node's part is fixed, and what it wins is off by less: with four nodes
//! alike and 512 slots by 5.3 % of its part (root mean square) instead of 7.7 %, with two by 2.6 % instead of
//! 4.4 %; with 4,096 slots it is 1.5 % and 0.9 %. It is not exact: no node looks at what others won, so that nobody else moves when one leaves.
//!
//! The logarithm is a table with linear interpolation, not floating point: two machines that
//! compute the same table must not disagree in the last bit. A node is known by its name, so that
//! renumbering the fleet moves nobody.

use crate::base::hash::{mix_pair, stable_hash};
use std::cmp::Ordering;

/// Fraction bits of the logarithm.
const SCALE: u32 = 24;
const STEPS: usize = 256;
/// A run of so many slots, as a power of two, has a number of every part of (0, 1].
pub const RUN_BITS: u32 = 6;

/// log2(1 + i/256), scaled.
const LOG2: [u32; STEPS + 1] = log2_table();

const fn log2_table() -> [u32; STEPS + 1] {
    let mut table = [0; STEPS + 1];
    let mut i = 0;
    while i <= STEPS {
        table[i] = log2_of_mantissa(i as u64);
        i += 1;
    }
    table
}

/// log2(1 + i/256) by repeated squaring, one bit of the result for each.
const fn log2_of_mantissa(i: u64) -> u32 {
    if i as usize == STEPS {
        return 1 << SCALE;
    }
    let mut x = (STEPS as u64 + i) << 22;
    let mut log = 0;
    let mut bit = 0;
    while bit < SCALE {
        x = (x * x) >> 30;
        log <<= 1;
        if x >= 1 << 31 {
            log |= 1;
            x >>= 1;
        }
        bit += 1;
    }
    log
}

/// -log2((hash + 1) / 2^64), scaled by 2^24: at most 64 * 2^24.
pub fn neg_log2(hash: u64) -> u32 {
    let u = hash.max(1);
    let zeros = u.leading_zeros();
    let mantissa = (u << zeros) << 1;
    let step = (mantissa >> 56) as usize;
    let within = (mantissa >> 40) & 0xffff;
    let (low, high) = (u64::from(LOG2[step]), u64::from(LOG2[step + 1]));
    let log = low + (((high - low) * within) >> 16);
    // log is at most 2^24, so the difference is positive and fits.
    ((zeros + 1) << SCALE) - u32::try_from(log).unwrap_or(1 << SCALE)
}

/// A node's number for one slot.
pub fn draw(node_hash: u64, slot: u32) -> u32 {
    let within = mix_pair(node_hash, u64::from(slot)) >> RUN_BITS;
    neg_log2(place(node_hash, slot) << (u64::BITS - RUN_BITS) | within)
}

/// The place of a slot among those of its run, in the node's order: rounds of keyed steps that can be undone.
fn place(node_hash: u64, slot: u32) -> u64 {
    const MASK: u64 = (1 << RUN_BITS) - 1;
    // Beyond every slot, so that keys and numbers are not mixed from the same.
    let key = mix_pair(node_hash, 1 << 32 | u64::from(slot >> RUN_BITS));
    (0..3).fold(u64::from(slot) & MASK, |place, round| {
        let key = key >> (2 * RUN_BITS * round);
        let moved = (place * (key & MASK | 1) + (key >> RUN_BITS)) & MASK;
        moved ^ moved >> (RUN_BITS / 2)
    })
}

/// What a node's draws are made from.
pub fn node_hash(name: &str) -> u64 {
    stable_hash(name.as_bytes())
}

/// A node in the contest for one slot.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    pub node_hash: u64,
    pub draw: u32,
    /// Any unit, not zero.
    pub share: u32,
    /// Position in the placement's shares.
    pub position: u8,
}

impl Contender {
    /// The better contender is the lesser one; ties go by node, which no edit of shares changes.
    pub fn order(&self, other: &Self) -> Ordering {
        let ours = u64::from(self.draw) * u64::from(other.share);
        let theirs = u64::from(other.draw) * u64::from(self.share);
        ours.cmp(&theirs).then(self.node_hash.cmp(&other.node_hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::SeededRng;

    /// The winning name of every slot.
    fn winners(nodes: &[(&str, u32)], slots: u32) -> Vec<String> {
        let winner = |slot| {
            let contenders = nodes.iter().filter(|(_, share)| *share > 0).map(|(name, share)| {
                let node_hash = node_hash(name);
                (Contender { node_hash, draw: draw(node_hash, slot), share: *share, position: 0 }, name)
            });
            contenders.min_by(|a, b| a.0.order(&b.0)).expect("a node has a share").1.to_string()
        };
        (0..slots).map(winner).collect()
    }

    fn share_of(winners: &[String], name: &str) -> f64 {
        winners.iter().filter(|winner| *winner == name).count() as f64 / winners.len() as f64
    }

    #[test]
    fn the_logarithm_agrees_with_floating_point() {
        let mut rng = SeededRng::new(3);
        for hash in (0..10_000).map(|_| rng.next_u64()).chain([0, 1, 2, u64::MAX, 1 << 63]) {
            let exact = 64.0 - (hash.max(1) as f64).log2();
            let ours = f64::from(neg_log2(hash)) / f64::from(1 << SCALE);
            assert!((ours - exact).abs() < 1e-5, "{hash}: {ours} for {exact}");
        }
    }

    #[test]
    fn a_run_of_slots_has_a_number_of_every_part() {
        for node in 0..20 {
            for run in 0..16 {
                let slots = run << RUN_BITS..(run + 1) << RUN_BITS;
                let mut places: Vec<u64> = slots.map(|slot| place(mix_pair(7, node), slot)).collect();
                assert!(!places.is_sorted());
                places.sort_unstable();
                assert!(places.into_iter().eq(0..1 << RUN_BITS), "{node} {run}");
            }
        }
    }

    #[test]
    fn few_slots_are_won_by_about_the_shares() {
        let error = |trial: u32, count: u32| {
            let names: Vec<String> = (0..count).map(|at| format!("{trial}-{at}")).collect();
            let nodes: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
            let winners = winners(&nodes, 512);
            let off = |name: &String| share_of(&winners, name) * f64::from(count) - 1.0;
            names.iter().map(|name| off(name).powi(2)).sum::<f64>() / f64::from(count)
        };
        for (count, most) in [(2, 0.032), (4, 0.06)] {
            let mean = (0..100).map(|trial| error(trial, count)).sum::<f64>() / 100.0;
            assert!(mean.sqrt() < most, "{count}: {}", mean.sqrt());
        }
    }

    #[test]
    fn shares_are_kept() {
        let nodes = [("a", 500_000), ("b", 300_000), ("c", 200_000)];
        let winners = winners(&nodes, 20_000);
        for (name, share) in nodes {
            let got = share_of(&winners, name);
            assert!((got - f64::from(share) / 1e6).abs() < 0.015, "{name}: {got}");
        }
    }

    #[test]
    fn a_node_that_leaves_moves_only_its_own_slots() {
        let before = winners(&[("a", 1), ("b", 1), ("c", 1)], 1_024);
        let after = winners(&[("a", 1), ("c", 1)], 1_024);
        for (was, is) in before.iter().zip(&after) {
            assert!(was == is || was == "b", "{was} -> {is}");
        }
    }

    #[test]
    fn a_weight_that_grows_only_gains() {
        let before = winners(&[("a", 100), ("b", 100), ("c", 100)], 1_024);
        let after = winners(&[("a", 150), ("b", 100), ("c", 100)], 1_024);
        for (was, is) in before.iter().zip(&after) {
            assert!(was == is || is == "a", "{was} -> {is}");
        }
        assert!(share_of(&after, "a") > share_of(&before, "a"));
    }
}
