//! How long a plan takes: the lab's size should stay under 1 ms, the large one under 30 ms.
//!
//! | case | what happens |
//! |---|---|
//! | first | no previous assignment and no load reports, as at start-up: everyone is placed |
//! | first-loaded | as `first`, with reports that differ from the plan: placed twice, then improved |
//! | calm | nothing changed since, 8 ticks after the start |
//! | evacuation | a node died: its clients move |
//! | jitter | every node's latency wavers, nobody should move |
//! | tight | calm, with the fleet 80 % full |
//!
//! With stated demand, 60 % of all capacity, the sizes the planner is built for:
//!
//! | size | cold, at most | one node fails, at most |
//! |---|---|---|
//! | 200 nodes, 2,000 groups, 20 services | 50 ms | 2 ms |
//! | 1,000 nodes, 10,000 groups, 50 services | 1.5 s | 20 ms |
//!
//! `cold` is a first plan, `fails` the evacuation of the busiest node, `makes-room` the full pass after it.
//! The high-water mark of the process after the large one is printed: at most 400 MiB.

#![allow(clippy::print_stdout, reason = "a bench reports figures")]

#[path = "support/world.rs"]
mod world;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rhumb::base::units::{Micros, Ppm};
use rhumb::model::verdict::{NodeHealth, Verdict};
use rhumb::schedule::{Pass, Plan, PlanInput, PlannerMemory, plan};
use world::{Size, World};

fn run(world: &World, health: &[NodeHealth], previous: Option<&Plan>, now_ms: u64, pass: Pass) -> Plan {
    let fresh = PlannerMemory::default();
    plan(&PlanInput {
        policy: &world.policy,
        groups: &world.groups,
        latencies: &world.latencies,
        health,
        previous: previous.map(|plan| &plan.assignment),
        memory: previous.map_or(&fresh, |plan| &plan.memory),
        demand: None,
        now_ms,
        pass,
    })
}

fn with_node_down(world: &World) -> Vec<NodeHealth> {
    let mut health = world.health.clone();
    for family in health[0].families.iter_mut().flatten() {
        family.verdict = Verdict::Down;
    }
    health
}

fn with_jitter(world: &World) -> Vec<NodeHealth> {
    let mut health = world.health.clone();
    for (at, node) in health.iter_mut().enumerate() {
        for family in node.families.iter_mut().flatten() {
            family.rtt = Some(Micros(10_000 + 700 * (at as u32 % 5)));
        }
    }
    health
}

fn size(c: &mut Criterion, name: &str, size: Size) {
    let mut bench = c.benchmark_group(name);
    let world = World::build(size, Ppm::from_percent(40), 7);
    let draft = run(&world, &world.health, None, 0, Pass::Full);
    // Reports that no table caused: let base loads settle, as they do within seconds of a start.
    let first =
        (1..=8).fold(draft, |plan, at| run(&world, &world.health, Some(&plan), at * 1_000, Pass::Full));
    let mut unreported = world.health.clone();
    unreported.iter_mut().for_each(|health| health.load = None);
    bench.bench_function("first", |b| b.iter(|| run(&world, &unreported, None, 0, Pass::Full)));
    bench.bench_function("first-loaded", |b| b.iter(|| run(&world, &world.health, None, 0, Pass::Full)));
    bench.bench_function("calm", |b| {
        b.iter(|| run(&world, &world.health, Some(&first), 9_000, Pass::Full));
    });
    let dead = with_node_down(&world);
    bench.bench_function("evacuation", |b| {
        b.iter(|| run(&world, &dead, Some(&first), 9_000, Pass::Evacuation));
    });
    let wavering = with_jitter(&world);
    bench.bench_function("jitter", |b| {
        b.iter(|| run(&world, &wavering, Some(&first), 9_000, Pass::Full));
    });
    let tight = World::build(size, Ppm::from_percent(80), 7);
    let full = run(&tight, &tight.health, None, 0, Pass::Full);
    bench.bench_function("tight", |b| {
        b.iter_batched(
            || full.clone(),
            |full| run(&tight, &tight.health, Some(&full), 1_000, Pass::Full),
            BatchSize::LargeInput,
        );
    });
    bench.finish();
}

/// As built by [`World`], but the operator states the demand: `percent` of all capacity.
fn stated(size: Size, percent: u64) -> World {
    let mut world = World::build(size, Ppm::ZERO, 11);
    let capacities = world.policy.fleet.nodes.iter().filter_map(|node| node.capacity.as_ref());
    let all: u64 = capacities.map(|capacity| capacity.amount).sum();
    let services = world.policy.services.len() as u64;
    world
        .policy
        .services
        .iter_mut()
        .for_each(|service| service.demand = Some(all * percent / 100 / services));
    world.health.iter_mut().for_each(|health| health.load = None);
    world
}

fn aims(c: &mut Criterion, name: &str, size: Size) {
    let mut bench = c.benchmark_group(name);
    let world = stated(size, 60);
    bench.bench_function("cold", |b| b.iter(|| run(&world, &world.health, None, 0, Pass::Full)));
    let first = run(&world, &world.health, None, 0, Pass::Full);
    let busiest = (0..world.health.len()).max_by_key(|&node| first.planned_load[node]).unwrap_or(0);
    let mut dead = world.health.clone();
    for family in dead[busiest].families.iter_mut().flatten() {
        family.verdict = Verdict::Down;
    }
    let evacuate = || run(&world, &dead, Some(&first), 1_000, Pass::Evacuation);
    bench.bench_function("fails", |b| b.iter(evacuate));
    let after = evacuate();
    bench.bench_function("makes-room", |b| {
        b.iter(|| run(&world, &dead, Some(&after), 2_000, Pass::Full));
    });
    bench.finish();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mark = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    println!("{name}: {mark}");
}

fn plans(c: &mut Criterion) {
    size(c, "plan-lab", Size::LAB);
    size(c, "plan-large", Size::LARGE);
    aims(c, "plan-aim", Size::AIM);
    aims(c, "plan-aim-large", Size::AIM_LARGE);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = plans
}
criterion_main!(benches);
