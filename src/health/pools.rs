//! What pools can bear: who may be taken from them by choice.
//!
//! A failure takes a node whatever its pools say. Flap damping, circuits and outliers are choices: they stop
//! where a pool would fall below `min_alive`, or where more than a share of it would be set apart.

use crate::model::ids::NodeId;
use crate::model::service::PoolBound;

/// The pools of a fleet, and which node is in which.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools {
    bounds: Vec<PoolBound>,
    /// By node.
    of: Vec<Vec<u32>>,
}

impl Pools {
    pub fn new(mut bounds: Vec<PoolBound>, nodes: usize) -> Self {
        // Nobody's choice empties a pool, whatever it says it can do without.
        bounds.iter_mut().for_each(|bound| bound.least_alive = bound.least_alive.max(1));
        let mut of = vec![Vec::new(); nodes];
        for (index, bound) in (0_u32..).zip(&bounds) {
            for member in &bound.members {
                if let Some(pools) = of.get_mut(member.index()) {
                    pools.push(index);
                }
            }
        }
        Self { bounds, of }
    }

    pub fn of(&self, node: NodeId) -> impl Iterator<Item = (usize, &PoolBound)> {
        let pools = self.of.get(node.index()).map_or(&[][..], Vec::as_slice);
        pools.iter().map(|&pool| (pool as usize, &self.bounds[pool as usize]))
    }

    pub fn iter(&self) -> impl Iterator<Item = &PoolBound> {
        self.bounds.iter()
    }

    /// Whether some pool would be below its least number of living members without `node`, of those that
    /// have the family in question: `is_alive` is `None` for the others.
    pub fn need(&self, node: NodeId, is_alive: impl Fn(NodeId) -> Option<bool>) -> bool {
        self.of(node).any(|(_, pool)| {
            let having = pool.members.iter().filter(|&&other| is_alive(other).is_some()).count();
            let least = (pool.least_alive * having).div_ceil(pool.members.len().max(1));
            let is_other = |other: NodeId| other != node && is_alive(other) == Some(true);
            pool.members.iter().filter(|&&other| is_other(other)).count() < least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(members: &[u16], least_alive: usize) -> PoolBound {
        PoolBound { members: members.iter().map(|&node| NodeId(node)).collect(), least_alive }
    }

    #[test]
    fn a_node_is_needed_where_a_pool_would_fall_short() {
        let pools = Pools::new(vec![pool(&[0, 1, 2, 3], 2), pool(&[3, 4], 1)], 6);
        let needed = |node, dead: &[u16]| pools.need(NodeId(node), |other| Some(!dead.contains(&other.0)));
        assert!(!needed(0, &[0]) && !needed(0, &[0, 1]));
        assert!(needed(0, &[0, 1, 2]), "one of the others is left, two are wanted");
        assert!(needed(3, &[3, 4]), "the smaller pool has nobody else");
        assert!(!needed(5, &[0, 1, 2, 3, 4, 5]), "in no pool");
    }

    #[test]
    fn the_last_of_a_family_is_needed_and_the_last_of_a_pool_always() {
        let pools = Pools::new(vec![pool(&[0, 1, 2, 3], 0)], 4);
        assert!(pools.need(NodeId(0), |_| Some(false)), "none is wanted, but one has to be");
        assert!(!pools.need(NodeId(0), |other| Some(other.0 == 1)));
        let only_two = |alive: bool| move |other: NodeId| (other.0 < 2).then_some(alive);
        assert!(pools.need(NodeId(0), only_two(false)) && !pools.need(NodeId(0), only_two(true)));
    }

    #[test]
    fn members_the_fleet_lacks_are_no_harm() {
        let pools = Pools::new(vec![pool(&[0, 9], 1)], 1);
        assert!(pools.need(NodeId(0), |_| Some(false)) && !pools.need(NodeId(9), |_| Some(false)));
    }
}
