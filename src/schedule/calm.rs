//! Scenarios over a fleet like the lab's: noise moves nobody, real changes do, and then it is calm.

use super::demand::Demand;
use super::testing::*;
use super::{Pass, Plan};
use crate::base::hash::SeededRng;
use crate::base::units::{Micros, Ppm};
use crate::model::ids::{NodeId, SiteId};
use crate::model::service::Profile;
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};

const CAPACITY: u64 = 10_000;
/// Of each service, in truth.
const DEMAND: u64 = 15_000;
const SITES: u16 = 6;
const PER_SITE: u16 = 3;

/// What is wrong with one node.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Load(Ppm),
    LatencyMs(u32),
    Down,
}

/// The world, its clients' true load, and noise.
struct Scene {
    world: World,
    rng: SeededRng,
    plan: Plan,
    now_ms: u64,
    fault: Fault,
}

const VICTIM: usize = 0;

impl Scene {
    fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let nodes: Vec<u16> = (0..SITES * PER_SITE).collect();
        let (near, far) = nodes.split_at(nodes.len() / 2);
        let pools = vec![pool(near), pool(far)];
        let mut services = vec![
            service("cdn", pools.clone()),
            service("rtc", vec![pool(&nodes)]),
            service("im", vec![pool(far), pool(near)]),
        ];
        for (service, profile) in services.iter_mut().zip(Profile::ALL) {
            service.profile = profile;
            service.demand = Some(DEMAND);
        }
        let mut w = world(SITES * PER_SITE, services).capacity(&vec![CAPACITY; nodes.len()]);
        w.policy.fleet.sites = vec![w.policy.fleet.sites[0].clone(); usize::from(SITES)];
        for (at, node) in w.policy.fleet.nodes.iter_mut().enumerate() {
            node.site = SiteId(at as u16 % SITES);
        }
        w.groups = (0..60).map(|at| group(&format!("g{at}"), 0)).collect();
        w.groups.iter_mut().for_each(|group| group.v4_slash24 = rng.below(20_000) as u32);
        let rtt = (0..60 * usize::from(SITES)).map(|_| Micros(5_000 + rng.below(150_000) as u32));
        w.prior = crate::model::placement::LatencyPrior { sites: usize::from(SITES), rtt: rtt.collect() };
        // Half of the scenes measure their demand, half state it.
        let draft = plan_first(&w);
        if seed.is_multiple_of(2) {
            w.policy.services.iter_mut().for_each(|service| service.demand = None);
        }
        let mut scene = Self { world: w, rng, plan: draft, now_ms: 0, fault: Fault::None };
        // Until the first table is made from reports of what it causes itself.
        for _ in 0..4 {
            scene.report();
            scene.plan = plan_first(&scene.world);
        }
        scene
    }

    /// Loads as the table causes them, give or take a tenth; round trips give or take 3 ms.
    fn report(&mut self) {
        let true_load = self.true_load();
        for (at, health) in self.world.health.iter_mut().enumerate() {
            let fault = if at == VICTIM { self.fault } else { Fault::None };
            let noise = 900 + self.rng.below(201);
            let mut amount = true_load[at] * noise / 1_000;
            let (mut rtt, mut verdict) = (4_000 + self.rng.below(6_001) as u32, Verdict::Up);
            match fault {
                Fault::None => {}
                Fault::Load(share) => amount = share.of(CAPACITY),
                Fault::LatencyMs(more) => rtt += more * 1_000,
                Fault::Down => (verdict, amount) = (Verdict::Down, 0),
            }
            let family = FamilyHealth {
                verdict,
                rtt: Some(Micros(rtt)),
                baseline: Some(Micros(7_000)),
                jitter: Some(Micros(self.rng.below(3_000) as u32)),
                ..FamilyHealth::default()
            };
            let utilisation = Ppm::ratio(amount, CAPACITY);
            let load = NodeLoad { amount: Some(amount), utilisation, binding: "mbps".to_owned() };
            *health = NodeHealth { families: [Some(family), None], load: Some(load) };
        }
    }

    /// What the clients cause on each node.
    fn true_load(&self) -> Vec<u64> {
        let demand = Demand::new(&self.world.groups);
        let mut load = vec![0; self.world.health.len()];
        for service in &self.plan.assignment.services {
            for (at, weight) in service.by_group.iter().zip(&demand.weights) {
                for share in &service.placements[*at as usize].shares {
                    load[share.node.index()] += share.share.of(DEMAND * weight / 64);
                }
            }
        }
        load.iter().map(|load| load * 64 / demand.total_weight).collect()
    }

    /// Ticks of a second; how many of them changed the assignment.
    fn tick(&mut self, times: u32) -> u32 {
        let mut changes = 0;
        for _ in 0..times {
            self.now_ms += 1_000;
            self.report();
            let next = self.world.plan(Some(&self.plan), self.now_ms, Pass::Full);
            changes += u32::from(next.assignment != self.plan.assignment);
            self.plan = next;
        }
        changes
    }

    /// Ppm of the clients of all services that are on the victim, by group alone.
    fn on_victim(&self) -> u64 {
        let placements = self
            .plan
            .assignment
            .services
            .iter()
            .flat_map(|service| service.by_group.iter().map(|&at| &service.placements[at as usize]));
        let of = |share: &crate::model::placement::Share| {
            if share.node == NodeId::from_index(VICTIM) { u64::from(share.share.0) } else { 0 }
        };
        placements.flat_map(|placement| placement.shares.iter().map(of)).sum()
    }
}

#[test]
fn noise_moves_nobody_after_the_first_tick() {
    for seed in 0..12 {
        let mut scene = Scene::new(seed);
        scene.tick(1);
        assert_eq!(scene.tick(300), 0, "seed {seed}");
    }
}

#[test]
fn a_real_change_moves_clients_and_then_it_is_calm() {
    let faults = [Fault::Load(Ppm::from_percent(95)), Fault::LatencyMs(150), Fault::Down];
    for (seed, fault) in (0..4).flat_map(|seed| faults.map(|fault| (seed, fault))) {
        let mut scene = Scene::new(seed);
        scene.tick(5);
        let before = scene.on_victim();
        scene.fault = fault;
        assert!(scene.tick(120) > 0);
        let during = scene.on_victim();
        assert!(during < before * 3 / 4, "seed {seed}: {before} -> {during}");
        assert_eq!(scene.tick(100), 0, "seed {seed}");
        scene.fault = Fault::None;
        assert!(scene.tick(450) > 0);
        let after = scene.on_victim();
        assert!(after > before * 3 / 4, "seed {seed}: {before} -> {during} -> {after}");
        assert_eq!(scene.tick(100), 0, "seed {seed}");
    }
}
