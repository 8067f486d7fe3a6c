//! Who goes where: places every client group of every service on nodes.
//!
//! ```text
//! PlanInput ─▶ terrain: costs, ladders, classes ─┐
//!          ─▶ demand, base load ─▶ load: account ─┼─▶ sweep: secure all, then reconsider ─▶ Plan
//!          ─▶ memory: dwell, ramps, budget ───────┘        (pick chooses one group's nodes)
//! ```
//! Pure and deterministic: integers only, no clock, no randomness, no order taken from a hash map;
//! the same input gives the same plan on every machine. `docs/planner.md` tells the rules in prose.
//!
//! | file | holds |
//! |---|---|
//! | `cost` | what a node costs a group, by profile |
//! | `ladder` | which nodes a chain of pools offers |
//! | `steady` | which changes of a signal count |
//! | `demand`, `load` | who asks for how much, who carries how much |
//! | `follow` | how late clients follow, and what those cost who lost their node |
//! | `division` | of room, between services whose demand is a guess |
//! | `divisor` | division by what stays the same |
//! | `terrain` | all of it that stays fixed during a plan |
//! | `ground` | of it, what only an edit changes |
//! | `rows` | of it, what nodes cost from where |
//! | `order` | of it, which node costs less than which |
//! | `book`, `spread` | a service's placements while a plan is made, and an index of them |
//! | `tally` | what a service puts on every node |
//! | `kept` | what makes the next plan quicker, and decides nothing |
//! | `change` | what changed since the last plan, so whom to ask |
//! | `pick` | chooses the nodes of one group |
//! | `circle` | who may share a group, by cost alone |
//! | `gain` | whether a move is worth it |
//! | `wish` | what it remembers: the best for an idle world |
//! | `backup` | which nodes stand behind its shares |
//! | `sweep` | who stays and who goes |
//! | `ebb` | sends newcomers elsewhere while a node carries more than its cap |
//! | `relief` | brings nodes under their caps, others moving if they must |
//! | `polish` | makes a first plan cheaper for all together |
//! | `flow` | how much that can be, by kind of demand and node |
//! | `memory` | what is remembered between plans |
//! | `waits` | of it, moves that are not made, and by which rule |
//! | `budget` | of it, what was moved by choice lately, and what may be |
//! | `scoped` | of it, nodes that one line or area does not reach |
//! | `breaker` | the circuits of regions whose quality collapses |
//! | `degrade` | the rungs of the ladder: who is shed, and since when |
//! | `outlook` | what a memory says of the plans to come |
//! | `bars` | which rule keeps a group from a better node |
//! | `remap` | carries an assignment over a reload |
//! | `explain` | tells one group's decision, by the same functions |
//! | `strategy` | the world with or without load, for comparison |
//! | `contest` | of it, what would have to change for another node to win |
//!
//! What an operator may set is `model::planner`, of the policy; constants here bound work or keep noise out.
//!
//! Deliberately not here: what shed newcomers are answered (`routing::guard`).

mod backup;
#[cfg(test)]
mod barred;
mod bars;
mod book;
mod breaker;
mod budget;
#[cfg(test)]
mod budgeted;
#[cfg(test)]
mod calm;
mod change;
mod circle;
mod contest;
pub mod cost;
mod degrade;
mod demand;
mod division;
mod divisor;
mod ebb;
#[cfg(test)]
mod exact;
pub mod explain;
#[cfg(test)]
mod forced;
mod flow;
mod follow;
mod gain;
mod ground;
#[cfg(test)]
mod held;
mod kept;
mod ladder;
mod load;
mod memory;
#[cfg(test)]
mod methods;
mod moves;
mod order;
mod outlook;
#[cfg(test)]
mod permuted;
mod pick;
mod plan;
mod polish;
#[cfg(test)]
mod properties;
mod relief;
mod remap;
mod returning;
mod rows;
#[cfg(test)]
mod ruled;
mod scoped;
mod spread;
mod steady;
mod steps;
mod strategy;
mod sweep;
mod tally;
mod terrain;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod waits;
mod wish;

pub use breaker::{CutRegion, Signal, Trial};
pub use contest::Hurdle;
pub use degrade::RungStep;
pub use demand::weights;
pub use explain::{CandidateState, CandidateView, Explanation, PoolRole, PoolView, QualityView, explain};
pub use memory::PlannerMemory;
pub use moves::{Movers, movers};
pub use plan::plan;
pub use polish::{BEYOND_STEPS, BEYOND_US};
pub use remap::remap;
pub use strategy::Strategy;

use crate::base::units::Ppm;
use crate::model::account::Account;
use crate::model::clients::ClientGroup;
use crate::model::demand::Shares;
use crate::model::ids::ServiceId;
use crate::model::placement::{Assignment, Latencies, Move};
use crate::model::policy::Policy;
use crate::model::verdict::NodeHealth;
use serde::{Deserialize, Serialize};

/// What may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Only clients of nodes that may not serve them any more.
    Evacuation,
    /// Everything, with hysteresis and within the change budget.
    Full,
}

/// All a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    pub policy: &'a Policy,
    pub groups: &'a [ClientGroup],
    pub latencies: &'a Latencies,
    /// By node. A node without an entry counts as `unknown`.
    pub health: &'a [NodeHealth],
    /// In the positions of `policy` and `groups`; after a reload, [`remap`]ped.
    pub previous: Option<&'a Assignment>,
    pub memory: &'a PlannerMemory,
    /// How services' demands divide between groups; absent, or where it says nothing: by address space.
    pub demand: Option<&'a Shares>,
    /// Any clock that does not go back while `memory` lives.
    pub now_ms: u64,
    pub pass: Pass,
}

/// The decision and what came with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub assignment: Assignment,
    /// Largest first.
    pub moves: Vec<Move>,
    /// For the next plan.
    pub memory: PlannerMemory,
    /// For people: what the plan could not do. Bounded.
    pub notes: Vec<String>,
    /// Areas that changed their rung, or how many of their newcomers are shed.
    pub steps: Vec<RungStep>,
    /// Demand above what nodes may be given, in capacity units; services without any are left out.
    pub unserved: Vec<(ServiceId, u64)>,
    /// Of it, by service, what is above the caps of nodes that serve. Told, and no part of the decision.
    #[serde(skip)]
    pub over_capacity: Vec<Overload>,
    /// By node, in capacity units.
    pub planned_load: Vec<u64>,
    /// What it was made for, for whoever judges it. No part of the decision.
    #[serde(skip)]
    pub account: Account,
}

/// A service with more demand than its nodes may be given. Amounts are in capacity units, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    pub service: ServiceId,
    pub units: u64,
    /// The whole demand of the service.
    pub demand: u64,
    /// Of it, what is above caps.
    pub share: Ppm,
}

impl Plan {
    /// Whether there is demand above what nodes may be given, or a node as good as full: a pass that may ask
    /// everybody might do better.
    pub fn is_tight(&self) -> bool {
        !self.unserved.is_empty() || self.memory.has_full_node()
    }
}
