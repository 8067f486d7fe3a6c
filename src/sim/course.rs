//! One strategy in one world, step by step: what happens to nodes, what is known of it and when, what
//! is answered, and what the clients then do.
//!
//! | signal | reaches the strategy |
//! |---|---|
//! | a node down or up | after the detection delay |
//! | what ails a node that lives | at once |
//! | load | scraped every 5 s, smoothed as `health` does (tau 15 s), none of a node known to be down |

use super::crowd::{Crowd, Table};
use super::strategy::{Steering, Strategy};
use super::world::World;
use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Scope, ScopedHealth, Verdict};
use std::rc::Rc;

/// Three failed probes, 2 s apart, and the timeout of the last.
pub const DETECTION_S: u32 = 7;
/// Five successes, 2 s apart.
pub const RECOVERY_S: u32 = 10;
/// Between two readings of a node's load, unless said otherwise.
const SCRAPE_S: u32 = 5;
const LOAD_TAU_S: f64 = 15.0;
/// A healthy node's round trip from its prober.
const PROBED_RTT: Micros = Micros(7_000);

/// What is so in a step.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// By node: takes connections.
    pub alive: &'a [bool],
    /// What clients want, against their demand.
    pub factor: f64,
    /// By node: what a report says, against the truth.
    pub noise: &'a [f64],
}

/// What ails a node that lives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ailment {
    /// Judged degraded.
    pub is_degraded: bool,
    /// Slower than usual by so much.
    pub excess: Micros,
    /// Whose clients do not reach it, as their vantages say. (The clients of a course reach every node.)
    pub cut: Vec<Scope>,
    /// Load that no client of these services causes, units.
    pub other_load: f64,
}

/// A simulation under way.
pub struct Course<'w> {
    pub world: &'w World,
    steering: Steering,
    pub crowd: Crowd,
    table: Rc<Table>,
    step_s: u32,
    now_s: u32,
    health: Vec<NodeHealth>,
    /// By node: believed to live.
    believed: Vec<bool>,
    ailments: Vec<Ailment>,
    /// By node: steps (s) that it has been other than believed.
    otherwise_s: Vec<u32>,
    /// By node: smoothed load.
    reports: Vec<f64>,
    scraped_s: u32,
    /// Between two readings.
    pub scrape_s: u32,
}

impl<'w> Course<'w> {
    /// A world that has been calm for long under a strategy; every node is up.
    pub fn new(world: &'w World, strategy: Strategy, step_s: u32) -> Self {
        let nodes = world.nodes();
        let (believed, ailments) = (vec![true; nodes], vec![Ailment::default(); nodes]);
        let mut health = judge(&believed, &ailments);
        let mut steering = Steering::new(strategy, world, &health);
        let mut crowd = Crowd::new(world, (*steering.tick(world, &health, 0)).clone(), step_s);
        // The planner's first tables are made from reports of what they cause themselves.
        for _ in 0..SETTLING {
            report(world, &crowd.loads(), &mut health);
            steering = Steering::new(strategy, world, &health);
            crowd = Crowd::new(world, (*steering.tick(world, &health, 0)).clone(), step_s);
        }
        let reports = crowd.loads();
        report(world, &reports, &mut health);
        let table = steering.tick(world, &health, 0);
        let (otherwise_s, now_s, scraped_s) = (vec![0; nodes], 0, 0);
        Self {
            world,
            steering,
            crowd,
            table,
            step_s,
            now_s,
            health,
            believed,
            ailments,
            otherwise_s,
            reports,
            scraped_s,
            scrape_s: SCRAPE_S,
        }
    }

    /// As [`new`](Self::new), after two hours in which nothing happened: so long a planner needs to learn from
    /// reports alone what each service asks for.
    pub fn after_calm(world: &'w World, strategy: Strategy, step_s: u32) -> Self {
        let mut calm = Self::new(world, strategy, CALM_STEP_S);
        let alive = vec![true; world.nodes()];
        while calm.now_s < CALM_S {
            calm.step(&Step { alive: &alive, factor: 1.0, noise: &[] });
        }
        let crowd = Crowd::new(world, (*calm.table).clone(), step_s);
        Self { crowd, step_s, ..calm }
    }

    /// What ails a node from now on.
    pub fn afflict(&mut self, node: usize, ailment: Ailment) {
        self.ailments[node] = ailment;
    }

    /// What ails a node.
    pub fn ailment(&self, node: usize) -> &Ailment {
        &self.ailments[node]
    }

    pub fn step(&mut self, step: &Step<'_>) {
        self.now_s += self.step_s;
        self.detect(step.alive);
        self.scrape(step);
        self.health = judge(&self.believed, &self.ailments);
        report(self.world, &self.reports, &mut self.health);
        self.table = self.steering.tick(self.world, &self.health, u64::from(self.now_s) * 1_000);
        self.crowd.step(&self.table, step.alive, step.factor);
    }

    pub fn now_s(&self) -> u32 {
        self.now_s
    }

    pub fn table(&self) -> &Rc<Table> {
        &self.table
    }

    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// What is believed of the nodes.
    pub fn health(&self) -> &[NodeHealth] {
        &self.health
    }

    fn detect(&mut self, alive: &[bool]) {
        let beliefs = self.believed.iter_mut().zip(&mut self.otherwise_s).zip(alive);
        for ((believed, otherwise_s), &is_alive) in beliefs {
            *otherwise_s = if *believed == is_alive { 0 } else { *otherwise_s + self.step_s };
            if *otherwise_s > if is_alive { RECOVERY_S } else { DETECTION_S } {
                (*believed, *otherwise_s) = (is_alive, 0);
            }
        }
    }

    fn scrape(&mut self, step: &Step<'_>) {
        if self.now_s < self.scraped_s + self.scrape_s {
            return;
        }
        let dt_s = f64::from(self.now_s - self.scraped_s);
        self.scraped_s = self.now_s;
        let gain = dt_s / (dt_s + LOAD_TAU_S);
        for (node, load) in self.crowd.loads().into_iter().enumerate() {
            let all = load + self.ailments[node].other_load;
            let seen = if step.alive[node] { all * step.noise.get(node).unwrap_or(&1.0) } else { 0.0 };
            self.reports[node] += gain * (seen - self.reports[node]);
        }
    }
}

const CALM_S: u32 = 7_200;
const CALM_STEP_S: u32 = 20;
/// First tables until reports and table agree.
const SETTLING: usize = 4;

/// What is believed of the nodes, but for their load.
fn judge(believed: &[bool], ailments: &[Ailment]) -> Vec<NodeHealth> {
    let judge = |(&is_believed, ailment): (&bool, &Ailment)| {
        let verdict = match (is_believed, ailment.is_degraded) {
            (false, _) => Verdict::Down,
            (true, true) => Verdict::Degraded,
            (true, false) => Verdict::Up,
        };
        let cut = |scope: &Scope| ScopedHealth {
            scope: scope.clone(),
            verdict: Verdict::Down,
            since: WallTime::default(),
            reason: "cut off".to_owned(),
        };
        let family = FamilyHealth {
            verdict,
            rtt: Some(Micros(PROBED_RTT.0 + ailment.excess.0)),
            baseline: Some(PROBED_RTT),
            scoped: ailment.cut.iter().map(cut).collect(),
            ..FamilyHealth::default()
        };
        NodeHealth { families: [Some(family), None], load: None, forced: None }
    };
    believed.iter().zip(ailments).map(judge).collect()
}

/// Tells loads (units) of the nodes that are believed to serve.
fn report(world: &World, loads: &[f64], health: &mut [NodeHealth]) {
    for ((node, health), load) in world.policy.fleet.nodes.iter().zip(health).zip(loads) {
        let amount = load.round().max(0.0) as u64;
        let utilisation = node.capacity.as_ref().map_or(Ppm::ZERO, |c| Ppm::ratio(amount, c.amount));
        health.load = health.may_serve().then(|| NodeLoad {
            amount: Some(amount),
            utilisation,
            binding: "units".to_owned(),
            ..NodeLoad::default()
        });
    }
}
