//! Plays a scenario: the planner in a closed loop with clients, its rules watched each second, and what
//! it does told in lines.

use super::script::{Event, Script};
use rhumb::base::units::Micros;
use rhumb::model::ids::{GroupId, NodeId, ServiceId};
use rhumb::model::placement::PlacementMode;
use rhumb::model::verdict::{NodeHealth, Scope};
use rhumb::schedule::Plan;
use rhumb::sim::course::{Ailment, Course, Step};
use rhumb::sim::crowd::Table;
use rhumb::sim::strategy::Strategy;
use rhumb::sim::world::World;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// Of demand, in a minute, at discretion.
const BUDGET: f64 = 0.2;

pub struct Play<'w> {
    course: Course<'w>,
    world: &'w World,
    alive: Vec<bool>,
    factor: f64,
    /// Where the factor goes, and when it is there.
    aim: (f64, u32),
    /// Moved at discretion in each of the last 60 s.
    minute: VecDeque<f64>,
    above_s: u32,
    patience_s: u32,
    has_relief: bool,
    /// Since the last look: of demand, all and by choice.
    moved: [f64; 2],
    told: String,
    pub wrong: Vec<String>,
}

/// What happened, in lines, and what broke a rule.
pub fn play(script: &Script) -> (String, Vec<String>) {
    let world = script.world();
    let mut play = Play {
        course: Course::new(&world, Strategy::Rhumb, 1),
        world: &world,
        alive: vec![true; world.nodes()],
        factor: 1.0,
        aim: (1.0, 0),
        minute: VecDeque::new(),
        above_s: 0,
        patience_s: script.above_cap_s,
        has_relief: script.has_relief,
        moved: [0.0; 2],
        told: format!("{}\n", script.title),
        wrong: Vec::new(),
    };
    for second in 1..=script.look.iter().max().copied().unwrap_or(0) {
        script.events.iter().filter(|event| event.at == second).for_each(|event| play.happen(event));
        play.second(second);
        if script.look.contains(&second) {
            play.look(second);
        }
    }
    (play.told, play.wrong)
}

impl Play<'_> {
    /// Nodes by name, by site, or all.
    fn named(&self, name: &str) -> Vec<usize> {
        let fleet = &self.world.policy.fleet;
        let is_meant = |node: &usize| {
            let node = &fleet.nodes[*node];
            name == "*" || node.name == name || fleet.site(node.site).name == name
        };
        let nodes: Vec<usize> = (0..fleet.nodes.len()).filter(is_meant).collect();
        assert!(!nodes.is_empty(), "no node is meant by {name}");
        nodes
    }

    fn happen(&mut self, event: &Event) {
        for (name, is_alive) in [(&event.down, false), (&event.up, true)] {
            let nodes = name.as_ref().map(|name| self.named(name));
            nodes.into_iter().flatten().for_each(|node| self.alive[node] = is_alive);
        }
        if let Some(factor) = event.demand {
            self.aim = (factor, event.at + event.over);
        }
        let by = Micros::from_millis(event.by);
        self.ail(&event.slow, |ailment| (ailment.is_degraded, ailment.excess) = (true, by));
        let line = event.from.clone().unwrap_or_default();
        self.ail(&event.cut, |ailment| ailment.cut.push(Scope::Line(line.clone())));
        self.ail(&event.load, |ailment| ailment.other_load = event.of);
        self.ail(&event.mend, |ailment| *ailment = Ailment::default());
    }

    fn ail(&mut self, name: &Option<String>, alter: impl Fn(&mut Ailment)) {
        for node in name.as_ref().map(|name| self.named(name)).into_iter().flatten() {
            let mut ailment = self.course.ailment(node).clone();
            alter(&mut ailment);
            self.course.afflict(node, ailment);
        }
    }

    fn second(&mut self, second: u32) {
        let left = self.aim.1.saturating_sub(second) + 1;
        self.factor += (self.aim.0 - self.factor) / f64::from(left);
        let before = (self.course.table().clone(), self.served());
        self.course.step(&Step { alive: &self.alive, factor: self.factor, noise: &[] });
        let is_calm = before.1 == self.served();
        self.count_moves(second, &before.0, is_calm);
        let plan = self.course.steering().last_plan().expect("the planner decides").clone();
        self.check_placements(second, &plan);
        self.check_caps(second, &plan);
    }

    /// Who may serve whom, as believed: where it changes, moves are no matter of choice.
    fn served(&self) -> Vec<(bool, usize)> {
        let cuts = |health: &NodeHealth| health.families[0].as_ref().map_or(0, |family| family.scoped.len());
        self.course.health().iter().map(|health| (health.may_serve(), cuts(health))).collect()
    }

    fn count_moves(&mut self, second: u32, before: &Table, is_calm: bool) {
        let demand = self.world.demand_by_pair();
        let (all, after) = (demand.iter().sum::<f64>(), self.course.table());
        let (mut moved, mut largest) = (0.0, 0.0_f64);
        for (pair, demand) in demand.iter().enumerate() {
            let gone = before.row(pair).iter().zip(after.row(pair)).map(|(old, new)| (old - new).max(0.0));
            moved += gone.sum::<f64>() * demand / all;
            largest = largest.max(demand / all);
        }
        self.minute.push_front(if is_calm { moved } else { 0.0 });
        self.minute.truncate(60);
        self.moved[0] += moved;
        self.moved[1] += self.minute[0];
        let minute: f64 = self.minute.iter().sum();
        // A group that is larger than the budget is moved alone.
        if minute > BUDGET.max(largest) + 1e-4 && !self.has_relief {
            self.wrong.push(format!("{second} s: {minute:.3} of demand moved by choice in a minute"));
        }
    }

    fn check_placements(&mut self, second: u32, plan: &Plan) {
        for pair in 0..self.world.pairs() {
            let groups = self.world.groups.len();
            let (service, group) = (ServiceId::from_index(pair / groups), GroupId::from_index(pair % groups));
            let Some(placement) = plan.assignment.placement(service, group) else {
                self.wrong.push(format!("{second} s: group {pair} has no placement"));
                continue;
            };
            let sum: u64 = placement.shares.iter().map(|share| u64::from(share.share.0)).sum();
            let is_open = placement.mode != PlacementMode::Normal;
            if sum != 1_000_000 && !(is_open && placement.shares.is_empty()) {
                self.wrong.push(format!("{second} s: group {pair} has shares of {sum} ppm"));
            }
            let is_dead = |node: NodeId| !self.course.health()[node.index()].may_serve();
            if !is_open && placement.shares.iter().any(|share| is_dead(share.node)) {
                self.wrong.push(format!("{second} s: group {pair} is on a node that is down"));
            }
        }
    }

    /// Nobody is planned above the cap while another has room. Worlds whose pools leave no choice say
    /// so by unserved demand on every node that may be chosen.
    fn check_caps(&mut self, second: u32, plan: &Plan) {
        let fleet = &self.world.policy.fleet;
        let load = |node: usize| plan.planned_load[node] as f64 / self.world.capacities()[node];
        let serving = (0..fleet.nodes.len()).filter(|&node| self.course.health()[node].may_serve());
        let loads: Vec<f64> = serving.map(load).collect();
        let is_above = loads.iter().any(|load| *load > 0.905) && loads.iter().any(|load| *load < 0.85);
        self.above_s = if is_above { self.above_s + 1 } else { 0 };
        if self.above_s > self.patience_s {
            self.wrong
                .push(format!("{second} s: a node is above its cap while another has room: {loads:.2?}"));
        }
    }

    fn look(&mut self, second: u32) {
        let plan = self.course.steering().last_plan().expect("the planner decides");
        let unserved: u64 = plan.unserved.iter().map(|(_, units)| units).sum();
        let [all, chosen] = self.moved.map(|part| part * 100.0);
        let _ = writeln!(
            self.told,
            "\n{second} s: moved {all:.1} %, by choice {chosen:.1} %; cannot place {unserved}; waiting {:.0}",
            self.course.crowd.waiting()
        );
        for (at, service) in self.world.policy.services.iter().enumerate().filter(|(_, it)| it.shed.is_some())
        {
            for area in plan.memory.rungs(&self.world.policy, at) {
                let (shed, spilled) = (area.shed.percent(), area.spilled.percent());
                let used = area.utilisation.map_or(0.0, |used| used.percent());
                let _ = writeln!(
                    self.told,
                    "  {} is on rung {}: {shed:.0} % of newcomers shed, {spilled:.0} % spilled, {used:.0} % used",
                    service.name, area.rung,
                );
            }
        }
        let (demand, loads) = (self.world.demand_by_pair(), self.course.crowd.loads());
        let all: f64 = demand.iter().sum();
        for (at, node) in self.world.policy.fleet.nodes.iter().enumerate() {
            let share: f64 =
                demand.iter().enumerate().map(|(pair, d)| d * self.course.table().row(pair)[at]).sum();
            let capacity = self.world.capacities()[at];
            let verdict = self.course.health()[at].verdict();
            let _ = writeln!(
                self.told,
                "  {:6} {:8} answers {:5.1} %  planned {:.2}  load {:.2}",
                node.name,
                verdict.name(),
                share * 100.0 / all,
                plan.planned_load[at] as f64 / capacity,
                loads[at] / capacity,
            );
        }
        self.moved = [0.0; 2];
    }
}
