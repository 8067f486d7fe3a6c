//! Plans of random worlds before the judge: nothing that the planner does is against its promises.

use super::oracle::instances::Instance;
use crate::base::hash::SeededRng;
use crate::model::placement::Assignment;
use crate::model::provenance::Cause;
use crate::model::reach::Reach;
use crate::model::verdict::{NodeHealth, Verdict};
use crate::routing::judge::{Case, Movements, judge};
use crate::schedule::{Pass, Plan, PlanInput, PlannerMemory, plan};

struct Trial {
    instance: Instance,
    health: Vec<NodeHealth>,
    now_ms: u64,
    current: Option<Plan>,
    movements: Movements,
}

impl Trial {
    fn step(&mut self, pass: Pass, cause: &Cause) {
        let fresh = PlannerMemory::default();
        let before: Option<&Assignment> = self.current.as_ref().map(|plan| &plan.assignment);
        let next = plan(&PlanInput {
            policy: &self.instance.policy,
            groups: &self.instance.groups,
            latencies: &self.instance.latencies,
            health: &self.health,
            previous: before,
            memory: self.current.as_ref().map_or(&fresh, |plan| &plan.memory),
            now_ms: self.now_ms,
            pass,
            demand: None,
        });
        let reach = Reach::of(&self.instance.policy, &self.instance.groups, &self.health);
        let said = judge(&Case {
            policy: &self.instance.policy,
            groups: &self.instance.groups,
            reach: &reach,
            cause,
            before,
            plan: &next.assignment,
            account: &next.account,
            movements: &self.movements,
            now_ms: self.now_ms,
        });
        let window_ms = self.instance.policy.planner.budget.window_ms();
        self.movements.note(self.now_ms, said.moved_ppb, window_ms);
        assert!(said.is_empty(), "at {} ms, {cause}: {said:#?}", self.now_ms);
        self.current = Some(next);
    }

    fn set(&mut self, node: usize, verdict: Verdict) {
        self.health[node].families.iter_mut().flatten().for_each(|family| family.verdict = verdict);
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now_ms += 1_000;
            self.step(Pass::Full, &Cause::Rebalance);
        }
    }
}

/// Nodes fail one after the other, up to two in three, and come back; between, it is calm.
fn course(seed: u64, at: usize, is_tight: bool) {
    let instance = Instance::random(seed, at, is_tight);
    let health = instance.health.clone();
    let mut trial = Trial { instance, health, now_ms: 0, current: None, movements: Movements::default() };
    trial.step(Pass::Full, &Cause::ColdStart);
    trial.run(2);
    let mut rng = SeededRng::new(seed ^ at as u64);
    let nodes = trial.health.len();
    let mut down = Vec::new();
    for _ in 0..6 {
        let node = rng.below(nodes as u64) as usize;
        if down.contains(&node) {
            continue;
        }
        down.push(node);
        trial.set(node, Verdict::Down);
        trial.now_ms += 200;
        trial.step(Pass::Evacuation, &Cause::Evacuation { nodes: vec![node.to_string()] });
        trial.run(rng.below(6));
        if down.len() * 3 > nodes * 2 || rng.below(3) == 0 {
            let back = down.swap_remove(rng.below(down.len() as u64) as usize);
            trial.set(back, Verdict::Up);
            trial.step(Pass::Full, &Cause::Recovery { nodes: vec![back.to_string()] });
            trial.run(rng.below(40));
        }
    }
}

#[test]
fn no_plan_breaks_a_promise() {
    (0..12).for_each(|at| course(3, at, at % 3 == 0));
}
