//! Instructions of one answer, held below a limit: `cargo bench --bench instructions_answer`
//! (needs valgrind and `gungraun-runner` of gungraun's version).

#[path = "../tests/world/mod.rs"]
mod world;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use rhumb::dns::{Ctx, Scratch, Transport};
use rhumb::routing::Snapshot;
use std::hint::black_box;
use world::{A, Ask, World, ask};

/// The project's limit for an answer with ECS.
const LIMIT: u64 = 1_500;

struct Case {
    snapshot: Snapshot,
    ctx: Ctx<'static>,
    query: Vec<u8>,
    out: Box<[u8; 1_232]>,
}

/// Asks once before counting, so that nothing is done for the first time.
fn case(query: Ask) -> Box<Case> {
    let snapshot = World::new().snapshot();
    let (ctx, query) = (world::ctx(Transport::Udp), query.bytes());
    let mut case = Box::new(Case { snapshot, ctx, query, out: Box::new([0; 1_232]) });
    assert!(answer(&mut case) > 0);
    case
}

fn answer(case: &mut Case) -> usize {
    rhumb::dns::answer(
        &case.snapshot,
        &case.ctx,
        &mut Scratch::default(),
        black_box(&case.query),
        &mut case.out[..],
    )
}

fn static_name() -> Box<Case> {
    case(ask("ns1.rhumb.test", A))
}

fn absent() -> Box<Case> {
    case(ask("nobody.rhumb.test", A).edns(1_232))
}

fn steered_ecs() -> Box<Case> {
    case(ask("live.rhumb.test", A).subnet("1.2.3.0/24"))
}

fn split_ecs() -> Box<Case> {
    case(ask("split.rhumb.test", A).subnet("99.2.3.0/24"))
}

fn split_ecs_v6() -> Box<Case> {
    case(ask("split.rhumb.test", A).subnet("2400:1:2::/56"))
}

#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(Callgrind::default().hard_limits([(EventKind::Ir, LIMIT)])))]
#[bench::static_name(static_name())]
#[bench::absent(absent())]
#[bench::steered_ecs(steered_ecs())]
#[bench::split_ecs(split_ecs())]
#[bench::split_ecs_v6(split_ecs_v6())]
fn answers(mut case: Box<Case>) -> (usize, Box<Case>) {
    (black_box(answer(&mut case)), case)
}

library_benchmark_group!(name = group, benchmarks = answers);
main!(library_benchmark_groups = group);
