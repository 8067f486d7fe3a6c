//! Nodes far worse than their peers, whatever the fixed limits say.
//!
//! ```text
//!  round trips of one site from one vantage (ms)
//!     10  11  12  12  13                     48
//!     ────────┴──────────                    ▲
//!      median 12, deviation 1                12 + max(6 x 1.4826 x 1, 20) = 32, and twice the median
//! ```
//! Median and median absolute deviation, because half of the peers would have to be ill to move them. Nodes
//! of one site are as far from a vantage as each other, so their round trips are compared; where a site has
//! fewer than [`LEAST`] nodes, the pool's are, by how far each is from its own baseline.
//!
//! Only what lasts counts ([`OutlierRules::lasting`](crate::model::judgement::OutlierRules)). Of a pool only a
//! share is set apart at once, the worst first ([`admit`]). An outlier is degraded for its vantage, so the
//! quorum of vantages guards it like any other word.

use super::pools::Pools;
use crate::base::units::Micros;
use crate::model::ids::NodeId;
use crate::model::judgement::OutlierRules;

/// Nodes to compare, the one in question included.
pub(super) const LEAST: usize = 4;
/// Well again is below this share of the way to the bound, in percent.
const LEAVE_PERCENT: u64 = 75;

/// The bounds of one group of peers: worse than `enter` is an outlier, better than `leave` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub enter: Micros,
    pub leave: Micros,
}

/// `None` for too few peers. Reorders `values`.
pub(super) fn bounds(values: &mut [u32], is_ratio: bool, rules: &OutlierRules) -> Option<Bounds> {
    if values.len() < LEAST {
        return None;
    }
    let middle = middle_of(values, (values.len() - 1) / 2);
    values.iter_mut().for_each(|value| *value = value.abs_diff(middle));
    let deviation = u64::from(middle_of(values, values.len() / 2));
    // 1.4826 makes the median deviation of a normal distribution its standard deviation.
    let spread = deviation * 14_826 / 10_000 * u64::from(rules.deviations);
    let mut reach = spread.max(u64::from(rules.margin.0));
    if is_ratio {
        reach = reach.max(u64::from(middle));
    }
    let at = |reach: u64| Micros(u32::try_from(u64::from(middle) + reach).unwrap_or(u32::MAX));
    Some(Bounds { enter: at(reach), leave: at(reach * LEAVE_PERCENT / 100) })
}

/// Of two middle ones the lower is the usual value and the higher the usual deviation: a half that is slow
/// neither makes outliers of the other half nor becomes outliers itself.
fn middle_of(values: &mut [u32], at: usize) -> u32 {
    *values.select_nth_unstable(at).1
}

/// A node that is out: whether it is set apart already, and how far it is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub is_admitted: bool,
    pub out: u32,
    pub node: NodeId,
}

/// Who may be set apart: those that are first, else they would change places with the noise; then the worst
/// first, no pool beyond its share.
pub(super) fn admit(mut candidates: Vec<Candidate>, pools: &Pools, rules: &OutlierRules) -> Vec<NodeId> {
    candidates.sort_unstable_by_key(|it| (std::cmp::Reverse((it.is_admitted, it.out)), it.node));
    // Several vantages may name one node: it counts once.
    let mut named = std::collections::BTreeSet::new();
    candidates.retain(|it| named.insert(it.node));
    let mut left: Vec<usize> = pools.iter().map(|pool| allowance(pool.members.len(), rules)).collect();
    let mut admitted = Vec::new();
    for Candidate { node, .. } in candidates {
        if pools.of(node).all(|(pool, _)| left[pool] > 0) {
            pools.of(node).for_each(|(pool, _)| left[pool] -= 1);
            admitted.push(node);
        }
    }
    admitted
}

fn allowance(members: usize, rules: &OutlierRules) -> usize {
    let share = rules.share.of(members as u64) as usize;
    if rules.share.0 > 0 && members >= LEAST { share.max(1) } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::PoolBound;

    fn check(millis: &[u32], is_ratio: bool, enter: Option<u32>) {
        let mut values: Vec<u32> = millis.iter().map(|ms| ms * 1_000).collect();
        let found = bounds(&mut values, is_ratio, &OutlierRules::default());
        assert_eq!(found.map(|found| found.enter.0 / 1_000), enter, "{millis:?}");
    }

    #[test]
    fn the_bound_follows_the_peers() {
        check(&[10, 11, 48], true, None);
        check(&[10, 11, 12, 12, 13, 48], true, Some(32));
        check(&[100, 101, 102, 103, 104], true, Some(204));
        check(&[0, 1, 2, 0, 90], false, Some(21));
        check(&[10, 30, 50, 70, 90], true, Some(227));
    }

    #[test]
    fn half_a_site_is_no_outlier() {
        check(&[10, 10, 10, 90, 90, 90], true, Some(721));
        check(&[10, 10, 10, 10, 90, 90], true, Some(30));
        check(&[10, 10, 90, 90, 90, 90], true, Some(180));
    }

    #[test]
    fn a_pool_gives_up_a_share_and_no_more() {
        let members: Vec<NodeId> = (0..10).map(NodeId).collect();
        let pools = Pools::new(vec![PoolBound { members: members.clone(), least_alive: 5 }], 10);
        let candidate = |out, node| Candidate { is_admitted: false, out, node };
        let candidates: Vec<Candidate> =
            members.iter().map(|&node| candidate(u32::from(node.0), node)).collect();
        let mut twice = candidates.clone();
        twice.push(candidate(1, NodeId(9)));
        twice.extend([candidate(8, NodeId(9)), Candidate { is_admitted: true, ..candidate(0, NodeId(2)) }]);
        let admitted = admit(twice, &pools, &OutlierRules::default());
        assert_eq!(admitted, [NodeId(2), NodeId(9)], "who is set apart stays, and nobody counts twice");
        let admitted = admit(candidates, &pools, &OutlierRules::default());
        assert_eq!(admitted, [NodeId(9), NodeId(8)], "a fifth of ten, the worst first");
        let small = Pools::new(vec![PoolBound { members: vec![NodeId(0), NodeId(1)], least_alive: 1 }], 2);
        assert_eq!(
            admit(vec![candidate(5, NodeId(0))], &small, &OutlierRules::default()),
            [],
            "of two, none"
        );
    }
}
