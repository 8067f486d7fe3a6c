//! What would have to change for a node that carries none of a group to win it.
//!
//! ```text
//! down ─▶ recover    stands by ─▶ its pool's others down    spill ─▶ pools before it fail or fill up
//! at its cap ─▶ room       dearer ─▶ undercut: bid + margin <= the cheapest that is picked
//! ```
//! All that is listed has to change, each by the rule that decides it: the numbers are the planner's own
//! thresholds, so that a cost one microsecond below what is told here moves clients and one above does
//! not. Winning means being worth a move for clients who have a node; newcomers already go to nodes that
//! are nearly as cheap.

use super::explain::{Absence, Told};
use super::ladder::PoolState;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::planner::Margin;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that has to change. Costs in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Hurdle {
    /// It has to be up again.
    Recover,
    /// The circuit of its region has to close.
    Circuit,
    /// The override that withdraws it has to end.
    Override,
    /// It has weight 0: the weighted members of its pool have to be down.
    Standby { pool: String },
    /// A pool before its own has to fall below `needed` nodes alive, or have no room left.
    Pool { pool: String, alive: usize, needed: usize },
    /// Its utilisation has to fall below this.
    Room { below: Ppm },
    /// It has to cost at most this, or the cheapest picked node at least that.
    Undercut {
        cost_us: u32,
        at_most_us: Option<u32>,
        rival: String,
        rival_cost_us: u32,
        rival_at_least_us: u32,
    },
}

impl fmt::Display for Hurdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u32| f64::from(us) / 1e3;
        match self {
            Self::Recover => f.write_str("it has to be up again"),
            Self::Circuit => f.write_str("the circuit of its region has to close"),
            Self::Override => f.write_str("the override that withdraws it has to end"),
            Self::Standby { pool } => write!(f, "every weighted node of pool {pool} has to be down"),
            Self::Pool { pool, alive, needed } => {
                write!(
                    f,
                    "pool {pool} has to be full, or to have fewer than {needed} of its nodes alive (now {alive})"
                )
            }
            Self::Room { below } => write!(f, "its utilisation has to fall below {:.0} %", below.percent()),
            Self::Undercut { cost_us, at_most_us, rival, rival_cost_us, rival_at_least_us } => {
                if let Some(at_most) = at_most_us {
                    write!(
                        f,
                        "it has to cost at most {:.1} ms (now {:.1}), or ",
                        ms(*at_most),
                        ms(*cost_us)
                    )?;
                }
                write!(f, "{rival} at least {:.1} ms (now {:.1})", ms(*rival_at_least_us), ms(*rival_cost_us))
            }
        }
    }
}

impl Told<'_> {
    /// Empty for a node that is picked, and for one that will be once its advantage has lasted.
    pub(super) fn hurdles(&self, node: NodeId) -> Vec<Hurdle> {
        if self.shares().iter().any(|share| share.node == node) {
            return Vec::new();
        }
        let mut hurdles = Vec::new();
        if !self.outlook.view.may_serve[node.index()] {
            hurdles.push(match self.absence(node) {
                Absence::Circuit => Hurdle::Circuit,
                Absence::Forced(_) => Hurdle::Override,
                Absence::Scope(_) | Absence::Down => Hurdle::Recover,
            });
        }
        let Some(rung) = self.outlook.ladder.rung(node) else {
            if hurdles.is_empty() {
                hurdles.push(Hurdle::Standby { pool: self.pool(node) });
            }
            return hurdles;
        };
        let picked = || self.shares().iter().filter_map(|share| self.outlook.ladder.rung(share.node));
        let before = picked().map(|rung| rung.level).min().unwrap_or(rung.level);
        hurdles.extend(self.pools_before(rung.level, before));
        if self.loads.room(node) == 0 || self.loads.is_full(node) {
            hurdles.push(self.room(node));
        }
        let rivals = picked().filter(|rival| rival.level == rung.level).map(|rival| rival.node);
        if let Some(rival) = rivals.min_by_key(|&rival| (self.total_us(rival), rival)) {
            hurdles.extend(self.undercut(node, rival));
        }
        hurdles
    }

    /// Pools from level `from` to below `level` that pass: while they do and have room, nobody spills.
    fn pools_before(&self, level: u8, from: u8) -> impl Iterator<Item = Hurdle> {
        let between = move |state: &&PoolState| {
            state.passes && state.level.is_some_and(|at| (from..level).contains(&at))
        };
        let service = self.terrain.input.policy.service(self.service);
        self.outlook.ladder.pools.iter().filter(between).map(|state| Hurdle::Pool {
            pool: service.pool(state.pool).name.clone(),
            alive: state.alive,
            needed: state.needed,
        })
    }

    fn room(&self, node: NodeId) -> Hurdle {
        let cap = self.loads.limits(node).map_or(1_000_000, |(_, _, cap)| cap);
        let below = if self.loads.is_full(node) { cap.min(self.loads.spill_end_ppm) } else { cap };
        Hurdle::Room { below: Ppm(u32::try_from(below).unwrap_or(u32::MAX)) }
    }

    fn undercut(&self, node: NodeId, rival: NodeId) -> Option<Hurdle> {
        if self.outlook.ladder.method_of(node).is_flat() {
            let target =
                self.loads.limits(node).map(|(_, target, _)| u32::try_from(target).unwrap_or(u32::MAX));
            let is_priced = self.loads.price[node.index()] > 0;
            return target.filter(|_| is_priced).map(|target| Hurdle::Room { below: Ppm(target) });
        }
        let (cost, own) = (self.total_us(node), self.total_us(rival));
        let doubt = self.outlook.doubt(node, self.shares());
        let bid = cost.saturating_add(doubt);
        let at_least = bid.saturating_add(self.outlook.margin.of(bid));
        (own < at_least).then(|| Hurdle::Undercut {
            cost_us: cost,
            at_most_us: highest_winning_bid(own, self.outlook.margin).and_then(|bid| bid.checked_sub(doubt)),
            rival: self.terrain.input.policy.fleet.node(rival).name.clone(),
            rival_cost_us: own,
            rival_at_least_us: at_least,
        })
    }
}

/// The largest bid that wins clients from a node of cost `own`; `None`: none is low enough.
fn highest_winning_bid(own: u32, margin: Margin) -> Option<u32> {
    let wins = |bid: u32| bid.saturating_add(margin.of(bid)) <= own;
    // What wins is a range from 0: bid + margin(bid) rises with the bid.
    let (mut low, mut high) = (0, own);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if wins(middle) { low = middle } else { high = middle - 1 }
    }
    wins(low).then_some(low)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, down, placement, plan_first, pool, service, shares, spread};
    use super::super::{Plan, PlanInput, PlannerMemory, explain};
    use super::*;
    use crate::base::units::Micros;
    use crate::model::ids::{GroupId, ServiceId};
    use crate::schedule::Pass;

    fn hurdles(w: &World, plan: &Plan, node: &str) -> Vec<Hurdle> {
        let memory = PlannerMemory::default();
        let input = PlanInput {
            policy: &w.policy,
            groups: &w.groups,
            latencies: &w.latencies,
            health: &w.health,
            previous: Some(&plan.assignment),
            memory: &memory,
            demand: None,
            now_ms: 0,
            pass: Pass::Full,
        };
        let told = explain(&input, ServiceId(0), GroupId(0)).expect("both exist");
        told.candidates.into_iter().find(|it| it.node == node).expect("a member").to_win
    }

    /// Whether node 1 carries some of group 0 ten seconds after the rows became these.
    fn wins(w: &World, plan: &Plan, us: [u32; 2]) -> bool {
        let mut w = w.clone();
        w.latencies.rtt = us.map(Micros).to_vec().into();
        let after = w.run(plan.clone(), 1_000, 10);
        shares(&after.assignment, 0).iter().any(|&(node, _)| node == 1)
    }

    #[test]
    fn the_numbers_are_those_at_which_clients_move() {
        for (near, far) in [(40, 90), (200, 260), (12, 13_000)] {
            let w = spread(&[&[near, far]], vec![service("s", vec![pool(&[0, 1])])]);
            let plan = plan_first(&w);
            let told = hurdles(&w, &plan, "n1");
            let [Hurdle::Undercut { cost_us, at_most_us, rival, rival_cost_us, rival_at_least_us }] =
                &told[..]
            else {
                panic!("{told:?}")
            };
            assert_eq!((*cost_us, *rival_cost_us, rival.as_str()), (far * 1_000, near * 1_000, "n0"));
            let at_most = at_most_us.expect("low enough");
            assert!(wins(&w, &plan, [near * 1_000, at_most]), "{near} {far} {told:?}");
            assert!(!wins(&w, &plan, [near * 1_000, at_most + 1]), "{near} {far} {told:?}");
            assert!(wins(&w, &plan, [*rival_at_least_us, far * 1_000]), "{near} {far} {told:?}");
            assert!(!wins(&w, &plan, [rival_at_least_us - 1, far * 1_000]), "{near} {far} {told:?}");
            assert!(hurdles(&w, &plan, "n0").is_empty(), "it is picked");
        }
    }

    #[test]
    fn nobody_wins_by_cost_against_less_than_the_margin() {
        assert_eq!(highest_winning_bid(9_999, Margin::default()), None);
        assert_eq!(highest_winning_bid(10_000, Margin::default()), Some(0));
        assert_eq!(highest_winning_bid(20_000, Margin::default()), Some(10_000));
        let w = spread(&[&[8, 90]], vec![service("s", vec![pool(&[0, 1])])]);
        let told = hurdles(&w, &plan_first(&w), "n1");
        assert_eq!(told[0].to_string(), "n0 at least 103.5 ms (now 8.0)");
    }

    #[test]
    fn verdicts_pools_and_weights_come_first() {
        let mut w = spread(&[&[20, 50, 10, 30]], vec![service("s", vec![pool(&[0, 2]), pool(&[1, 3])])]);
        w.health[2] = down();
        w.policy.services[0].pools[1].members[1].weight = 0;
        let plan = plan_first(&w);
        assert_eq!(placement(&plan.assignment, 0).shares.len(), 1);
        assert_eq!(hurdles(&w, &plan, "n2"), [Hurdle::Recover]);
        let standby = Hurdle::Standby { pool: w.policy.services[0].pools[1].name.clone() };
        assert_eq!(hurdles(&w, &plan, "n3"), [standby]);
        let spill = hurdles(&w, &plan, "n1");
        let name = w.policy.services[0].pools[0].name.clone();
        assert_eq!(spill, [Hurdle::Pool { pool: name, alive: 1, needed: 1 }]);
        assert_eq!(
            spill[0].to_string(),
            "pool p0-2 has to be full, or to have fewer than 1 of its nodes alive (now 1)"
        );
    }
}
