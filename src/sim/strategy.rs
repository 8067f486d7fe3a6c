//! Who is answered what: the planner, and what is done elsewhere.
//!
//! | strategy | each client is answered |
//! |---|---|
//! | `rhumb` | what [`schedule::plan`] says: evacuation as soon as a failure is known, a full pass each second; it measures demand by the nodes' load reports |
//! | `rhumb_stated` | the same where policy states each service's demand |
//! | `nearest` | the nearest site with a healthy node; its nodes alike |
//! | `weighted` | all healthy nodes, by capacity |
//! | `round_robin` | all healthy nodes alike |
//!
//! All are told of a failure at the same moment, and the services' pools bind all of them.

use super::crowd::Table;
use super::world::World;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::Assignment;
use crate::model::policy::Policy;
use crate::model::verdict::NodeHealth;
use crate::schedule::{self, Pass, Plan, PlanInput, PlannerMemory};
use std::rc::Rc;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    Rhumb,
    RhumbStated,
    Nearest,
    Weighted,
    RoundRobin,
}

impl Strategy {
    pub const ALL: [Self; 5] =
        [Self::Rhumb, Self::RhumbStated, Self::Nearest, Self::Weighted, Self::RoundRobin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Rhumb => "rhumb",
            Self::RhumbStated => "rhumb_stated",
            Self::Nearest => "nearest",
            Self::Weighted => "weighted",
            Self::RoundRobin => "round_robin",
        }
    }

    /// The policy of a world as the strategy is given it.
    fn policy(self, world: &World) -> Policy {
        let mut policy = world.policy.clone();
        if self == Self::RhumbStated {
            policy.services.iter_mut().zip(&world.demand).for_each(|(s, demand)| s.demand = Some(*demand));
        }
        policy
    }
}

/// A strategy at work.
pub struct Steering {
    strategy: Strategy,
    policy: Policy,
    may_serve: Vec<bool>,
    plan: Option<Plan>,
    table: Rc<Table>,
}

impl Steering {
    /// Also makes the first table, at time 0.
    pub fn new(strategy: Strategy, world: &World, health: &[NodeHealth]) -> Self {
        let table = Rc::new(Table::empty(world.pairs(), world.nodes()));
        let policy = strategy.policy(world);
        let mut steering = Self { strategy, policy, may_serve: Vec::new(), plan: None, table };
        steering.tick(world, health, 0);
        steering
    }

    /// The table after what `health` says at `now_ms`: the same as before if nothing changed.
    pub fn tick(&mut self, world: &World, health: &[NodeHealth], now_ms: u64) -> Rc<Table> {
        let may_serve: Vec<bool> = health.iter().map(NodeHealth::may_serve).collect();
        match self.strategy {
            Strategy::Rhumb | Strategy::RhumbStated => self.plan(world, health, now_ms, &may_serve),
            simple if self.may_serve != may_serve => {
                self.table = Rc::new(tabulate_simple(simple, world, &may_serve));
            }
            _ => {}
        }
        self.may_serve = may_serve;
        Rc::clone(&self.table)
    }

    /// The plan in force, where the planner decides.
    pub fn last_plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// As the daemon does: an evacuation when a node went down, else a full pass.
    fn plan(&mut self, world: &World, health: &[NodeHealth], now_ms: u64, may_serve: &[bool]) {
        let is_loss = self.may_serve.iter().zip(may_serve).any(|(was, is)| *was && !*is);
        let fresh = PlannerMemory::default();
        let plan = schedule::plan(&PlanInput {
            policy: &self.policy,
            groups: &world.groups,
            latencies: &world.latencies,
            health,
            previous: self.plan.as_ref().map(|plan| &plan.assignment),
            memory: self.plan.as_ref().map_or(&fresh, |plan| &plan.memory),
            demand: None,
            now_ms,
            pass: if is_loss { Pass::Evacuation } else { Pass::Full },
        });
        if self.plan.as_ref().is_none_or(|before| before.assignment != plan.assignment) {
            self.table = Rc::new(tabulate(world, &plan.assignment));
        }
        self.plan = Some(plan);
    }
}

/// An assignment as shares of answers.
fn tabulate(world: &World, assignment: &Assignment) -> Table {
    let mut table = Table::empty(world.pairs(), world.nodes());
    let groups = world.groups.len();
    for pair in 0..world.pairs() {
        let (service, group) = (ServiceId::from_index(pair / groups), GroupId::from_index(pair % groups));
        let Some(placement) = assignment.placement(service, group) else { continue };
        let row = table.row_mut(pair);
        for share in &placement.shares {
            row[share.node.index()] += share.share.fraction();
        }
    }
    table
}

fn tabulate_simple(strategy: Strategy, world: &World, may_serve: &[bool]) -> Table {
    let mut table = Table::empty(world.pairs(), world.nodes());
    let groups = world.groups.len();
    for (at, service) in world.policy.services.iter().enumerate() {
        let members = || service.pools.iter().flat_map(|pool| &pool.members).map(|member| member.node);
        let mut nodes: Vec<NodeId> = members().filter(|node| may_serve[node.index()]).collect();
        if nodes.is_empty() {
            nodes = members().collect();
        }
        nodes.sort_unstable();
        nodes.dedup();
        for group in 0..groups {
            let weight = |node: NodeId| weigh(strategy, world, group, &nodes, node);
            let total: f64 = nodes.iter().map(|&node| weight(node)).sum();
            let row = table.row_mut(at * groups + group);
            nodes.iter().for_each(|&node| row[node.index()] = weight(node) / total.max(f64::MIN_POSITIVE));
        }
    }
    table
}

/// How much of a group a node gets, relative.
fn weigh(strategy: Strategy, world: &World, group: usize, nodes: &[NodeId], node: NodeId) -> f64 {
    let fleet = &world.policy.fleet;
    match strategy {
        Strategy::Nearest => {
            let far = |node: NodeId| {
                let site = fleet.node(node).site;
                (world.latencies.row(group).get(site.index()).copied().unwrap_or_default(), site)
            };
            let nearest = nodes.iter().map(|&node| far(node)).min();
            if nearest == Some(far(node)) { 1.0 } else { 0.0 }
        }
        Strategy::Weighted => {
            fleet.node(node).capacity.as_ref().map_or(1.0, |capacity| capacity.amount as f64)
        }
        Strategy::RoundRobin | Strategy::Rhumb | Strategy::RhumbStated => 1.0,
    }
}
