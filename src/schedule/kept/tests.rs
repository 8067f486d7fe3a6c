//! A plan with what was kept equals the plan without it, over random worlds to which random things happen.

use super::super::testing::World;
use super::super::{Pass, Plan, PlanInput, PlannerMemory, plan, properties};
use super::Kept;
use crate::base::clock::WallTime;
use crate::base::hash::SeededRng;
use crate::base::units::{Micros, Ppm};
use crate::model::degradation::{Bounds, RegionCircuit, Shed, ShedTo};
use crate::model::demand::{Shares, WHOLE};
use crate::model::fleet::Region;
use crate::model::ids::RegionId;
use crate::model::placement::{Assignment, ServiceAssignment};
use crate::model::verdict::{NodeLoad, Scope, ScopedHealth, Verdict};
use proptest::prelude::*;
use std::time::Duration;

/// A world and what is counted in it.
struct Scene {
    world: World,
    shares: Option<Shares>,
}

/// With sessions of all lengths, services that shed and regions with circuits.
fn scene(seed: u64, rng: &mut SeededRng) -> Scene {
    let mut world = properties::random(seed, 10);
    let bound = |percent: u64| Ppm::from_percent(percent as u32);
    for service in &mut world.policy.services {
        if rng.below(3) == 0 {
            service.demand = None;
        }
        if rng.below(2) == 0 {
            let (enter, dwell) = (bound(10 + rng.below(90)), Duration::from_secs(rng.below(40)));
            let exit = Shed::exit_of(enter);
            service.shed = Some(Shed { to: ShedTo::NoData, enter, exit, dwell, remember: Shed::REMEMBER });
        }
        service.profile.session = Duration::from_secs([0, 60, 3_600][rng.below(3) as usize]);
    }
    let fleet = &mut world.policy.fleet;
    fleet.regions.push(Region { name: "other".to_owned(), ..fleet.regions[0].clone() });
    for site in &mut fleet.sites {
        site.region = RegionId(rng.below(2) as u16);
    }
    let circuit = RegionCircuit {
        errors: Some(Bounds::from_enter(bound(20))),
        loss: None,
        open_for: Duration::from_secs(5),
        trial: RegionCircuit::TRIAL,
        trial_for: Duration::from_secs(5),
    };
    fleet.circuits.push((RegionId(rng.below(2) as u16), circuit));
    Scene { world, shares: None }
}

/// So many parts that sum to the whole.
fn parts(rng: &mut SeededRng, count: usize) -> Vec<u32> {
    let raw: Vec<u64> = (0..count).map(|_| rng.below(100)).collect();
    let all = raw.iter().sum::<u64>().max(1);
    let mut parts: Vec<u32> = raw.iter().map(|part| (part * u64::from(WHOLE) / all) as u32).collect();
    let rest = WHOLE - parts.iter().sum::<u32>();
    parts.first_mut().into_iter().for_each(|first| *first += rest);
    parts
}

/// The same by value; nothing of it is the same in memory.
fn copied(assignment: &Assignment) -> Assignment {
    let of_service = |service: &ServiceAssignment| ServiceAssignment {
        placements: service.placements.iter().cloned().collect(),
        by_group: service.by_group.iter().copied().collect(),
        shed: service.shed.clone(),
    };
    Assignment { services: assignment.services.iter().map(of_service).collect() }
}

fn decide(scene: &Scene, previous: Option<(&Assignment, &PlannerMemory)>, now_ms: u64, pass: Pass) -> Plan {
    let fresh = PlannerMemory::default();
    plan(&PlanInput {
        policy: &scene.world.policy,
        groups: &scene.world.groups,
        latencies: &scene.world.latencies,
        health: &scene.world.health,
        previous: previous.map(|(assignment, _)| assignment),
        memory: previous.map_or(&fresh, |(_, memory)| memory),
        demand: scene.shares.as_ref(),
        now_ms,
        pass,
    })
}

/// What is counted changes, of one service or of who asks at all.
fn count(scene: &mut Scene, rng: &mut SeededRng) {
    let services = scene.world.policy.services.len();
    if rng.below(8) == 0 {
        return scene.shares = None;
    }
    let shares = scene.shares.get_or_insert_default();
    shares.groups.resize(services, None);
    let service = rng.below(services as u64) as usize;
    match rng.below(6) {
        0 => shares.services = parts(rng, services).into(),
        1 => shares.groups[service] = None,
        _ => shares.groups[service] = Some(parts(rng, scene.world.groups.len()).into()),
    }
}

/// Something happens: mostly to a node, now and then to a path, a demand or a chain.
fn befall(scene: &mut Scene, rng: &mut SeededRng) {
    let world = &mut scene.world;
    let nodes = world.health.len() as u64;
    let node = rng.below(nodes) as usize;
    let verdicts =
        [Verdict::Up, Verdict::Up, Verdict::Down, Verdict::Down, Verdict::Degraded, Verdict::Unknown];
    match rng.below(16) {
        0..=6 => {
            for family in world.health[node].families.iter_mut().flatten() {
                family.verdict = verdicts[rng.below(6) as usize];
            }
        }
        7 => {
            let line = world.policy.clients.lines[rng.below(2) as usize].name.clone();
            let verdict = verdicts[rng.below(6) as usize];
            let own =
                ScopedHealth { scope: Scope::Line(line), verdict, since: WallTime(0), reason: String::new() };
            for family in world.health[node].families.iter_mut().flatten() {
                family.scoped = vec![own.clone()];
            }
        }
        8..=10 => {
            let amount = rng.below(300);
            let load = NodeLoad {
                amount: Some(amount),
                utilisation: Ppm::ratio(amount, 250),
                error_rate: Some(Ppm::from_percent([0, 0, 50][rng.below(3) as usize])),
                ..NodeLoad::default()
            };
            world.health[node].load = (rng.below(3) > 0).then_some(load);
        }
        11..=12 => count(scene, rng),
        13 => {
            let cells = world.latencies.rtt.len() as u64;
            world.latencies.rtt[rng.below(cells) as usize] = Micros(5_000 + rng.below(200_000) as u32);
        }
        14 => {
            let services = world.policy.services.len() as u64;
            let demand = (rng.below(3) > 0).then(|| rng.below(400));
            world.policy.services[rng.below(services) as usize].demand = demand;
        }
        _ => {
            let service = &mut world.policy.services[0];
            service.chains[0].pools.reverse();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_are_the_same_with_and_without_what_was_kept(seed in any::<u64>()) {
        let mut rng = SeededRng::new(seed);
        let mut scene = scene(seed, &mut rng);
        let mut quick = decide(&scene, None, 0, Pass::Full);
        let mut now_ms = 0;
        for step in 0..40 {
            if rng.below(4) > 0 {
                befall(&mut scene, &mut rng);
            }
            now_ms += [1, 1_000, 1_000, 5_000, 70_000][rng.below(5) as usize];
            let pass = if rng.below(2) > 0 { Pass::Evacuation } else { Pass::Full };
            let forgetful = PlannerMemory { kept: Kept::default(), ..quick.memory.clone() };
            let slow = decide(&scene, Some((&copied(&quick.assignment), &forgetful)), now_ms, pass);
            // A question that is asked beside the sequence changes nothing in it.
            if rng.below(4) == 0 {
                decide(&scene, Some((&quick.assignment, &quick.memory)), now_ms + 7, Pass::Full);
            }
            quick = decide(&scene, Some((&quick.assignment, &quick.memory)), now_ms, pass);
            prop_assert_eq!(&quick, &slow, "step {} of seed {}", step, seed);
            let written = |plan: &Plan| serde_json::to_string(&(&plan.assignment, &plan.moves)).expect("serialises");
            prop_assert_eq!(written(&quick), written(&slow), "step {} of seed {}", step, seed);
        }
    }
}
