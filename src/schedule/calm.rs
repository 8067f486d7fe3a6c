//! Scenarios over a fleet like the lab's: noise moves nobody, real changes do, and then it is calm.

use super::demand::{Assumed, Demand};
use super::testing::*;
use super::{Pass, Plan};
use crate::base::hash::SeededRng;
use crate::base::units::{Micros, Ppm};
use crate::model::ids::{NodeId, SiteId};
use crate::model::placement::{Measured, PathQuality, Quality, ServiceAssignment, Share};
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
    /// How much of their demand the clients ask, percent.
    climb: u64,
    /// What clients of the victim ask more than the plan thinks they do, percent of that.
    skew: u64,
    /// By node: the load as reports smooth it (tau 15 s), in thousandths.
    reported: Option<Vec<u64>>,
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
            // The clients of a scene are where the table sends them at the next tick.
            service.profile.session = std::time::Duration::ZERO;
        }
        let mut w = world(SITES * PER_SITE, services).capacity(&vec![CAPACITY; nodes.len()]);
        w.policy.fleet.sites = vec![w.policy.fleet.sites[0].clone(); usize::from(SITES)];
        for (at, node) in w.policy.fleet.nodes.iter_mut().enumerate() {
            node.site = SiteId(at as u16 % SITES);
        }
        w.groups = (0..60).map(|at| group(&format!("g{at}"), 0)).collect();
        w.groups.iter_mut().for_each(|group| group.v4_slash24 = rng.below(20_000) as u32);
        let rtt = (0..60 * usize::from(SITES)).map(|_| Micros(5_000 + rng.below(150_000) as u32));
        w.latencies = crate::model::placement::Latencies::prior(usize::from(SITES), rtt.collect());
        // Half of the scenes measure their demand, half state it.
        let draft = plan_first(&w);
        if seed.is_multiple_of(2) {
            w.policy.services.iter_mut().for_each(|service| service.demand = None);
        }
        let mut scene = Self {
            world: w,
            rng,
            plan: draft,
            now_ms: 0,
            fault: Fault::None,
            climb: 100,
            skew: 100,
            reported: None,
        };
        // Until the first table is made from reports of what it causes itself.
        for _ in 0..4 {
            scene.report();
            scene.plan = plan_first(&scene.world);
        }
        scene
    }

    /// Loads as the table causes them, give or take a tenth; round trips give or take 3 ms.
    fn report(&mut self) {
        let mut true_load = self.true_load();
        true_load.iter_mut().for_each(|load| *load = *load * self.climb / 100);
        true_load[VICTIM] = true_load[VICTIM] * self.skew / 100;
        if let Some(reported) = &mut self.reported {
            for (seen, load) in reported.iter_mut().zip(&mut true_load) {
                *seen = (*seen * 15 + *load * 1_000) / 16;
                *load = *seen / 1_000 + CAPACITY * 3 / 100;
            }
        }
        for (at, health) in self.world.health.iter_mut().enumerate() {
            let fault = if at == VICTIM { self.fault } else { Fault::None };
            // What is smoothed wavers less.
            let waver = if self.reported.is_some() { 30 } else { 100 };
            let noise = 1_000 - waver + self.rng.below(2 * waver + 1);
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
            let load = NodeLoad {
                amount: Some(amount),
                utilisation,
                binding: "mbps".to_owned(),
                ..NodeLoad::default()
            };
            *health = NodeHealth { families: [Some(family), None], load: Some(load), forced: None };
        }
    }

    /// What the clients cause on each node.
    fn true_load(&self) -> Vec<u64> {
        let services = &self.plan.assignment.services;
        let demand = Demand::new(&Assumed::of(&self.world.groups), services.len(), None);
        let mut load = vec![0; self.world.health.len()];
        for service in services {
            for (at, weight) in service.by_group.iter().zip(demand.weights(0)) {
                for share in &service.placements[*at as usize].shares {
                    load[share.node.index()] += share.share.of(DEMAND * weight / 64);
                }
            }
        }
        load.iter().map(|load| load * 64 / demand.total(0)).collect()
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

    /// Of every service and group. Backups may change: load that wavers fills a node now and then.
    fn all_shares(&self) -> Vec<Vec<Share>> {
        let services = self.plan.assignment.services.iter();
        let of = |service: &ServiceAssignment| {
            let shares = |&at: &u32| service.placements[at as usize].shares.clone();
            service.by_group.iter().map(shares).collect::<Vec<_>>()
        };
        services.flat_map(of).collect()
    }

    /// Ppm of the clients of all services that are on the victim, by group alone.
    fn on_victim(&self) -> u64 {
        let placements = self
            .plan
            .assignment
            .services
            .iter()
            .flat_map(|service| service.by_group.iter().map(|&at| &service.placements[at as usize]));
        let of = |share: &Share| {
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

/// Some paths are measured by many, some by few, some lossy; what is guessed stays in doubt.
#[test]
fn noise_moves_nobody_where_paths_are_measured() {
    for seed in 0..6 {
        let mut scene = Scene::new(seed);
        let cells = scene.world.latencies.rtt.len();
        let rng = &mut scene.rng;
        scene.world.latencies.votes = (0..cells).map(|_| [0, 0, 5, 20, 60][rng.below(5) as usize]).collect();
        let lossy = |(at, votes): (usize, &u16)| {
            let loss = Measured { value: at as u32 % 7 * 5_000, votes: *votes };
            let (group, site) = (at as u32 / u32::from(SITES), at as u32 % u32::from(SITES));
            let quality = Quality { loss, ..Quality::default() };
            (*votes > 0 && at % 3 == 0).then_some(PathQuality { group, site, quality })
        };
        let votes = scene.world.latencies.votes.iter().enumerate();
        scene.world.latencies.quality = votes.filter_map(lossy).collect();
        scene.plan = plan_first(&scene.world);
        scene.tick(1);
        let settled = scene.all_shares();
        for _ in 0..200 {
            scene.tick(1);
            assert!(scene.all_shares() == settled, "seed {seed}: somebody moved");
        }
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
        assert!(scene.tick(180) > 0);
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

/// A lab after its start: services measure their demand, clients come over a minute until the busiest
/// node is `percent` full, and reports follow them.
fn started(seed: u64, percent: u64) -> (Scene, u64) {
    let mut scene = Scene::new(seed * 2);
    let busiest = scene.true_load().into_iter().max().unwrap_or(1).max(1);
    scene.climb = 0;
    scene.reported = Some(vec![0; scene.world.health.len()]);
    scene.report();
    scene.plan = plan_first(&scene.world);
    (scene, CAPACITY * percent / busiest)
}

#[test]
fn load_that_climbs_below_the_target_moves_nobody() {
    for seed in 0..8 {
        let (mut scene, full) = started(seed, 60);
        let mut changes = scene.tick(5);
        for second in 1..=60 {
            scene.climb = full * second / 60;
            changes += scene.tick(1);
        }
        changes += scene.tick(120);
        assert_eq!(changes, 0, "seed {seed}");
    }
}

#[test]
fn a_node_that_fills_beyond_its_target_is_relieved_in_few_steps() {
    let mut relieved = 0;
    for seed in 0..8 {
        let (mut scene, full) = started(seed, 60);
        scene.climb = full;
        scene.tick(200);
        let load = scene.true_load()[VICTIM] * full / 100;
        if load < CAPACITY / 5 {
            continue;
        }
        scene.skew = 95 * CAPACITY / load;
        let before = scene.on_victim();
        let changes = scene.tick(180);
        let load = scene.true_load()[VICTIM] * full / 100 * scene.skew / 100;
        assert!((1..=6).contains(&changes), "seed {seed}: {changes} tables");
        assert!(scene.on_victim() < before && load < CAPACITY * 80 / 100, "seed {seed}: {load}");
        // Nobody is sent back to be sent away again.
        let after = scene.on_victim();
        let changes = scene.tick(180);
        assert!(changes <= 2 && scene.on_victim() <= after, "seed {seed}: {changes} more tables");
        relieved += 1;
    }
    assert!(relieved >= 4, "of the scenes, few load the victim");
}
