//! How fast queries are answered and tables compiled: `cargo bench --bench answer`.
//!
//! The fleet of the compile bench is the one the project's target names: 20 services, 5,000 client
//! groups, 200 nodes. A hundredth of the groups is split over two nodes, five times what a planner
//! that splits the last group of each node can make of it.

#[path = "../tests/world/mod.rs"]
mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use rhumb::base::hash::mix_pair;
use rhumb::base::prefix::{Family, Prefix};
use rhumb::dns::{Scratch, Transport};
use rhumb::model::clients::{Area, Clients};
use rhumb::model::ids::{AreaId, NodeId};
use rhumb::model::placement::{Assignment, Placement, PlacementMode, ServiceAssignment};
use rhumb::model::service::{OnAllDown, PoolMember};
use rhumb::model::verdict::Verdict;
use rhumb::routing::{Snapshot, SnapshotInput, compile};
use std::hint::black_box;
use std::sync::Arc;
use world::{A, World, ask};

const SERVICES: u64 = 20;
const GROUPS: u64 = 5_000;
const NODES: u64 = 200;

fn answers(c: &mut Criterion) {
    let snapshot = World::new().snapshot();
    let ctx = world::ctx(Transport::Udp);
    let cases = [
        ("static", ask("ns1.rhumb.test", A)),
        ("nxdomain", ask("nobody.rhumb.test", A)),
        ("steered", ask("live.rhumb.test", A).edns(1_232)),
        ("steered_ecs", ask("live.rhumb.test", A).subnet("1.2.3.0/24")),
        ("split_ecs", ask("split.rhumb.test", A).subnet("99.2.3.0/24")),
    ];
    let mut group = c.benchmark_group("answer");
    for (name, query) in cases {
        let (query, mut scratch, mut out) = (query.bytes(), Scratch::default(), [0; 1_232]);
        group.bench_function(name, |b| {
            b.iter(|| rhumb::dns::answer(&snapshot, &ctx, &mut scratch, black_box(&query), &mut out));
        });
    }
    group.finish();
}

/// A world of the target's size.
fn large() -> World {
    let mut world = World::new();
    let area = |at: u64| Area {
        name: format!("area-{at}"),
        cidrs: vec![Prefix::new(Family::V4, u128::from(0x1400_0000 + at * 0x1_0000) << 96, 16)],
        ..Area::default()
    };
    let clients = Clients { areas: (1..GROUPS).map(area).collect(), ..Clients::default() };
    world.geo = Arc::new(world::geo_of(&clients));
    assert_eq!(world.geo.groups().len() as u64, GROUPS);
    let template = world.policy.fleet.nodes[0].clone();
    world.policy.fleet.nodes = (0..NODES)
        .map(|at| {
            let mut node = template.clone();
            node.name = format!("node-{at}");
            node
        })
        .collect();
    world.health = world.policy.fleet.nodes.iter().map(|it| world::health_of(it, Verdict::Up)).collect();
    world.policy.clients = clients;
    world.policy.services = (0..SERVICES)
        .map(|at| {
            let (name, hostname) = (format!("s{at}"), format!("s{at}.rhumb.test"));
            let mut service = world::service(&name, &hostname, 1 + (at % 2) as u8, OnAllDown::All);
            service.pools[0].members =
                (0..NODES as u16).map(|it| PoolMember { node: NodeId(it), weight: 100 }).collect();
            service
        })
        .collect();
    world.assignment = Assignment { services: (0..SERVICES).map(|at| plan(at, &world)).collect() };
    world
}

fn plan(service: u64, world: &World) -> ServiceAssignment {
    let mut plan = ServiceAssignment::default();
    let mut seen: std::collections::HashMap<Placement, u32> = std::collections::HashMap::new();
    for group in world.geo.groups() {
        let area = group.areas.first().map_or(0, |AreaId(area)| u64::from(*area));
        let random = mix_pair(service, area);
        let node = |step: u64| NodeId(((random + step * 7) % NODES) as u16);
        let split = [(node(0), 60), (node(1), 40)];
        let shares = if area % 100 == 0 { &split[..] } else { &[(node(0), 100)] };
        let backups: Vec<_> = (2..8).map(node).collect();
        let placement = world::placement(shares, &backups, PlacementMode::Normal);
        let next = u32::try_from(plan.placements.len()).expect("few");
        let at = *seen.entry(placement.clone()).or_insert(next);
        if at == next {
            plan.placements.push(placement);
        }
        plan.by_group.push(at);
    }
    plan
}

fn tables(c: &mut Criterion) {
    let world = large();
    let first = world.snapshot();
    let recompile = |assignment: &Arc<Assignment>, previous: Option<&Snapshot>| {
        let input = SnapshotInput {
            provenance: first.provenance.clone(),
            policy: Arc::clone(&first.policy),
            zones: Arc::clone(&first.zones),
            geo: Arc::clone(&first.geo),
            assignment: Arc::clone(assignment),
            health: Arc::clone(&first.health),
            previous,
        };
        compile(input).expect("the world fits together")
    };
    let mut moved = world.assignment.clone();
    for service in &mut moved.services {
        service.placements[0].shares[0].node = NodeId(199);
    }
    let (same, moved) = (Arc::clone(&first.assignment), Arc::new(moved));
    let mut group = c.benchmark_group("compile");
    group.sample_size(20);
    group.bench_function("from_nothing", |b| b.iter(|| recompile(&same, None)));
    group.bench_function("all_services_changed", |b| b.iter(|| recompile(&moved, Some(&first))));
    group.bench_function("nothing_changed", |b| b.iter(|| recompile(&same, Some(&first))));
    let changed = recompile(&moved, Some(&first));
    group.bench_function("lint", |b| b.iter(|| rhumb::routing::lint(&changed, None)));
    group.bench_function("moves", |b| b.iter(|| rhumb::routing::moves(&first, &changed, |_, _| 1)));
    group.finish();
}

criterion_group!(all, answers, tables);
criterion_main!(all);
