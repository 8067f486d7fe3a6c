//! What it costs the writer to answer an event: plan, compile, judge, lint, swap (criterion).
//!
//! `lab` is the shipped fleet over the shipped geo data; `large` has 200 nodes, 20 services and
//! 5,000 client groups.

#![allow(clippy::print_stdout, reason = "says which world is measured")]

#[path = "support/worlds.rs"]
mod worlds;

use criterion::{Criterion, criterion_group, criterion_main};
use rhumb::daemon::publish::{Outcome, Publisher};
use rhumb::routing::judge::Faults;
use rhumb::schedule::Pass;
use std::hint::black_box;
use worlds::World;

/// Nothing is signed here: the policy has no keys.
fn signing() -> rhumb::daemon::signing::Signing {
    let clock = rhumb::base::clock::SystemClock::new();
    rhumb::daemon::signing::Signing::new(std::sync::Arc::new(clock), rhumb::base::clock::WallTime(0))
}

fn publish(criterion: &mut Criterion) {
    for (name, world) in [("lab", World::lab()), ("large", World::large())] {
        println!(
            "{name}: {} nodes, {} services, {} client groups",
            world.policy.fleet.nodes.len(),
            world.policy.services.len(),
            world.groups()
        );
        let (first, snapshot) = world.first();
        let placements = first.assignment.services.iter().map(|service| service.placements.len());
        println!(
            "{name}: distinct placements, all services {}, most of one {}",
            placements.clone().sum::<usize>(),
            placements.max().unwrap_or(0)
        );
        let down = world.without(0);
        criterion.bench_function(&format!("{name}/cold plan"), |bench| {
            bench.iter(|| black_box(world.plan(&world.health, None, Pass::Full)));
        });
        criterion.bench_function(&format!("{name}/replan, nothing changed"), |bench| {
            bench.iter(|| black_box(world.plan(&world.health, Some(&first), Pass::Full)));
        });
        criterion.bench_function(&format!("{name}/cold compile"), |bench| {
            bench.iter(|| black_box(world.compile(&first, &world.health, None)));
        });
        criterion.bench_function(&format!("{name}/evacuation plan"), |bench| {
            bench.iter(|| black_box(world.plan(&down, Some(&first), Pass::Evacuation)));
        });
        let evacuated = world.plan(&down, Some(&first), Pass::Evacuation);
        let table = world.compile(&evacuated, &down, Some(&snapshot));
        criterion.bench_function(&format!("{name}/judge an evacuation"), |bench| {
            bench.iter(|| black_box(world.judge(&table, &evacuated, Some(&first))));
        });
        // Alternates between a node down and up, so that every round publishes a changed table.
        let mut publisher = Publisher::new(snapshot, signing());
        let mut is_down = false;
        criterion.bench_function(&format!("{name}/plan + compile + judge + lint + swap"), |bench| {
            bench.iter(|| {
                is_down = !is_down;
                let health = if is_down { &down } else { &world.health };
                let live = publisher.snapshot();
                let plan = world.plan(health, Some(&first), Pass::Evacuation);
                let candidate = world.compile(&plan, health, Some(&live));
                assert_eq!(world.judge(&candidate, &plan, Some(&first)), Faults::default());
                assert!(matches!(publisher.offer(candidate), Outcome::Published));
                drop(live);
                publisher.free_retired();
            });
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = publish }
criterion_main!(benches);
