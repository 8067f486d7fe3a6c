//! Which nodes a chain of pools offers now, and in which order of preference.
//!
//! ```text
//! chain   east (2 of 4 alive, needs 3)   east-backup (passes)   world (passes)
//!         └──────────── level 0 ────────────────────────────┘   └─ level 1 ─┘
//! ```
//! A pool passes while at least ceil(min_alive * members) are not down. Below that the next pool is
//! used *as well*, so level 0 runs up to and including the first pool that passes. Every later pool
//! is a level of its own, for spill. Members of weight 0 stand in only while every weighted member
//! of their pool is down. Level 0 by cost comes before level 1 by cost; chains are an order. A level has
//! one method: that of the first pool that offers a node on it, whoever helps it out.
//!
//! A ladder whose chain has no node that may serve is marked all down; its levels are then built as
//! if all were up, for the services that answer that way. Where only a line or area cannot reach any, as if
//! its clients could reach whom everybody else can: a node that nobody reaches is no better for them.

use crate::base::units::Ppm;
use crate::model::ids::{AreaId, NodeId, PoolId};
use crate::model::service::{Bias, ChainRule, Method, Pool, Service};

/// A node that may be picked, and from which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub node: NodeId,
    pub weight: u16,
    pub pool: PoolId,
    pub level: u8,
}

/// How a pool of the chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    pub pool: PoolId,
    pub members: usize,
    /// Members that are not down.
    pub alive: usize,
    /// Members that must not be down for the pool to pass.
    pub needed: usize,
    pub passes: bool,
    /// The level its members are on; `None` if it offers none.
    pub level: Option<u8>,
}

/// A chain, evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// By level, then by pool and node.
    pub rungs: Vec<Rung>,
    /// Where each level starts in `rungs`, and the end.
    pub starts: Vec<usize>,
    pub pools: Vec<PoolState>,
    /// By node: position in `rungs`, or [`NOWHERE`].
    at: Vec<u16>,
    /// By node: in any pool of the chain.
    member: Vec<bool>,
    pub all_down: bool,
    /// All rungs weigh the same, and go by cost.
    pub is_even: bool,
    /// By level.
    methods: Vec<Method>,
    /// On some level distance decides nothing.
    pub is_flat: bool,
    /// By node, us; empty: nothing is biased.
    bias: Vec<i32>,
}

const NOWHERE: u16 = u16::MAX;

impl Ladder {
    /// Evaluates `rule` for clients who may be given the nodes of `may_serve`, by node; `everybody` may be
    /// given those and perhaps more.
    pub fn build(service: &Service, rule: &ChainRule, may_serve: &[bool], everybody: &[bool]) -> Self {
        let mut ladder = Self::climb(service, rule, may_serve);
        if ladder.rungs.is_empty() {
            let pools = std::mem::take(&mut ladder.pools);
            ladder = Self::climb(service, rule, everybody);
            if ladder.rungs.is_empty() {
                ladder = Self::climb(service, rule, &vec![true; may_serve.len()]);
            }
            ladder.pools = pools;
            ladder.all_down = true;
        }
        ladder
    }

    fn climb(service: &Service, rule: &ChainRule, may_serve: &[bool]) -> Self {
        let mut ladder = Self {
            rungs: Vec::new(),
            starts: vec![0],
            pools: Vec::new(),
            at: vec![NOWHERE; may_serve.len()],
            member: vec![false; may_serve.len()],
            all_down: false,
            is_even: true,
            methods: Vec::new(),
            is_flat: false,
            bias: bias(&rule.bias, may_serve.len()),
        };
        let mut primary_done = false;
        for &id in &rule.pools {
            let Some(pool) = service.pools.get(id.index()) else { continue };
            let state = ladder.add_pool(id, pool, may_serve);
            primary_done |= state.passes;
            ladder.pools.push(state);
            if primary_done {
                ladder.close_level();
            }
        }
        ladder.close_level();
        ladder.is_flat = ladder.methods.iter().any(|method| method.is_flat());
        let weighs_alike = ladder.rungs.windows(2).all(|two| two[0].weight == two[1].weight);
        ladder.is_even = weighs_alike && !ladder.is_flat;
        ladder
    }

    fn add_pool(&mut self, id: PoolId, pool: &Pool, may_serve: &[bool]) -> PoolState {
        let level = u8::try_from(self.starts.len() - 1).unwrap_or(u8::MAX);
        let before = self.rungs.len();
        let alive = |node: NodeId| may_serve.get(node.index()).copied().unwrap_or(false);
        let standby = !pool.members.iter().any(|member| member.weight > 0 && alive(member.node));
        for member in &pool.members {
            let index = member.node.index();
            if index >= self.member.len() {
                continue;
            }
            self.member[index] = true;
            let offered = alive(member.node) && (member.weight > 0 || standby);
            if offered && self.at[index] == NOWHERE {
                self.at[index] = u16::try_from(self.rungs.len()).unwrap_or(NOWHERE);
                // A standby has no weight of its own: among themselves standbys are equals.
                let weight = if member.weight == 0 { 100 } else { member.weight };
                self.rungs.push(Rung { node: member.node, weight, pool: id, level });
            }
        }
        if self.rungs.len() > before && self.methods.len() < self.starts.len() {
            self.methods.push(pool.method);
        }
        let alive = pool.members.iter().filter(|member| alive(member.node)).count();
        let needed = needed(pool.members.len(), pool.min_alive);
        PoolState {
            pool: id,
            members: pool.members.len(),
            alive,
            needed,
            passes: alive > 0 && alive >= needed,
            level: (self.rungs.len() > before).then_some(level),
        }
    }

    /// Ends a level, unless nothing is on it.
    fn close_level(&mut self) {
        if self.starts.last() != Some(&self.rungs.len()) {
            self.starts.push(self.rungs.len());
        }
    }

    /// Whether every node it offers is on the same level of `other`.
    pub fn is_levelled_as(&self, other: &Self) -> bool {
        let is_same = |rung: &Rung| other.rung(rung.node).is_some_and(|then| then.level == rung.level);
        self.rungs.iter().all(is_same)
    }

    pub fn levels(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn level(&self, level: usize) -> &[Rung] {
        &self.rungs[self.starts[level]..self.starts[level + 1]]
    }

    #[inline]
    pub fn rung(&self, node: NodeId) -> Option<&Rung> {
        let at = *self.at.get(node.index())?;
        self.rungs.get(usize::from(at))
    }

    /// Where a node is in `rungs`; of others, behind all.
    #[inline]
    pub fn position(&self, node: NodeId) -> u16 {
        self.at.get(node.index()).copied().unwrap_or(NOWHERE)
    }

    #[inline]
    pub fn method(&self, level: usize) -> Method {
        self.methods.get(level).copied().unwrap_or_default()
    }

    /// How the level of a node is divided.
    pub fn method_of(&self, node: NodeId) -> Method {
        self.rung(node).map_or(Method::Latency, |rung| self.method(usize::from(rung.level)))
    }

    pub fn is_biased(&self) -> bool {
        !self.bias.is_empty()
    }

    /// What the rule adds to the cost of a node, us.
    pub fn bias(&self, node: NodeId) -> i32 {
        self.bias.get(node.index()).copied().unwrap_or(0)
    }

    pub fn is_member(&self, node: NodeId) -> bool {
        self.member.get(node.index()).copied().unwrap_or(false)
    }
}

/// By node; empty where there is none.
fn bias(list: &[Bias], nodes: usize) -> Vec<i32> {
    let mut by_node = vec![0; if list.is_empty() { 0 } else { nodes }];
    for bias in list {
        if let Some(own) = by_node.get_mut(bias.node.index()) {
            *own = bias.by_us;
        }
    }
    by_node
}

/// ceil(min_alive * members).
fn needed(members: usize, min_alive: Ppm) -> usize {
    let exact = members as u64 * u64::from(min_alive.0);
    usize::try_from(exact.div_ceil(1_000_000)).unwrap_or(usize::MAX)
}

/// Position of the rule for clients in `areas`; `check` refuses services where there is none.
pub fn rule_for(service: &Service, areas: &[AreaId]) -> Option<usize> {
    let rule = service.chain_for(areas)?;
    service.chains.iter().position(|other| std::ptr::eq(other, rule))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pool, service};
    use super::*;

    fn ladder(pools: Vec<Pool>, alive: &[bool]) -> Ladder {
        let service = service("s", pools);
        Ladder::build(&service, &service.chains[0], alive, alive)
    }

    fn nodes(ladder: &Ladder, level: usize) -> Vec<u16> {
        ladder.level(level).iter().map(|rung| rung.node.0).collect()
    }

    #[test]
    fn a_passing_pool_is_the_first_level_and_the_rest_are_spill() {
        let l = ladder(vec![pool(&[0, 1, 2]), pool(&[3])], &[true, false, true, true]);
        assert!(l.pools[0].passes && l.levels() == 2);
        assert_eq!((nodes(&l, 0), nodes(&l, 1)), (vec![0, 2], vec![3]));
    }

    #[test]
    fn below_min_alive_the_next_pool_is_used_as_well() {
        let l = ladder(vec![pool(&[0, 1, 2]), pool(&[3]), pool(&[4])], &[true, false, false, true, true]);
        assert_eq!((l.pools[0].needed, l.pools[0].alive, l.pools[0].passes), (2, 1, false));
        assert_eq!((nodes(&l, 0), nodes(&l, 1)), (vec![0, 3], vec![4]));
    }

    #[test]
    fn standbys_serve_only_when_every_weighted_member_is_down() {
        let mut standby = pool(&[0, 1]);
        standby.members[1].weight = 0;
        standby.min_alive = Ppm::ZERO;
        assert_eq!(nodes(&ladder(vec![standby.clone()], &[true, true]), 0), vec![0]);
        assert_eq!(nodes(&ladder(vec![standby], &[false, true]), 0), vec![1]);
    }

    #[test]
    fn a_chain_without_a_live_node_is_all_down_and_ranked_as_if_up() {
        let l = ladder(vec![pool(&[0, 1]), pool(&[2])], &[false; 3]);
        assert!(l.all_down && !l.pools[0].passes);
        assert_eq!((nodes(&l, 0), nodes(&l, 1)), (vec![0, 1], vec![2]));
    }

    #[test]
    fn clients_who_reach_none_are_ranked_as_if_they_reached_whom_others_do() {
        let service = service("s", vec![pool(&[0, 1]), pool(&[2])]);
        let l = Ladder::build(&service, &service.chains[0], &[false; 3], &[false, true, true]);
        assert!(l.all_down && l.pools[0].alive == 0);
        assert_eq!((nodes(&l, 0), nodes(&l, 1)), (vec![1], vec![2]));
    }

    #[test]
    fn a_node_in_two_pools_counts_where_it_comes_first() {
        let l = ladder(vec![pool(&[1]), pool(&[0, 1])], &[true, true]);
        assert_eq!((nodes(&l, 0), nodes(&l, 1)), (vec![1], vec![0]));
        assert_eq!(l.rung(NodeId(1)).map(|rung| rung.pool), Some(PoolId(0)));
    }
}
