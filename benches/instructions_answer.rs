//! Instructions of one answer: `bash .ci/instructions` (needs valgrind and `gungraun-runner` of
//! gungraun's version) holds them to `benches/instructions.baseline`, 5 % above at most.

#[path = "../tests/dnssec/signed_world.rs"]
mod signed_world;
#[path = "../tests/world/mod.rs"]
mod world;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use rhumb::dns::cookie::Cookie;
use rhumb::dns::{CookieSecrets, Ctx, Limiter, Scratch, Transport};
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::model::policy::RateLimit;
use rhumb::routing::Snapshot;
use rhumb::sign::key::Role;
use signed_world::SignedWorld;
use std::hint::black_box;
use std::sync::LazyLock;
use world::{A, Ask, World, ask};

/// The project's limit for usual answers.
const LIMIT: u64 = 1_500;
/// The long way is over it since it asks the rate limits too; held so that it does not grow.
const LIMIT_LONG: u64 = 1_800;
const NOW: u32 = 1_700_000_000;
static SECRETS: LazyLock<CookieSecrets> = LazyLock::new(|| CookieSecrets::new(&[7; 16], None));

struct Case {
    snapshot: Snapshot,
    ctx: Ctx<'static>,
    scratch: Scratch,
    query: Vec<u8>,
    out: Box<[u8; 1_232]>,
}

fn case(query: Ask) -> Box<Case> {
    case_in(World::new().snapshot(), query)
}

/// With the DO bit, of zones that are signed with ECDSA.
fn signed(mut query: Ask) -> Box<Case> {
    query.dnssec_ok = true;
    let world = SignedWorld::new(SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    case_in(world.snapshot.with_signed(Some(world.signed)), query)
}

/// Asks once before counting, so that nothing is done for the first time.
fn case_in(snapshot: Snapshot, query: Ask) -> Box<Case> {
    let mut scratch = Scratch::limited(Limiter::new(&RateLimit::default(), 1));
    scratch.follow(&snapshot, 0);
    let mut case = Box::new(Case {
        snapshot,
        ctx: Ctx { cookies: Some(&SECRETS), seconds: NOW, ..world::ctx(Transport::Udp) },
        scratch,
        query: query.bytes(),
        out: Box::new([0; 1_232]),
    });
    assert!(answer(&mut case) > 0);
    case
}

fn answer(case: &mut Case) -> usize {
    rhumb::dns::answer(
        &case.snapshot,
        &case.ctx,
        &mut case.scratch,
        black_box(&case.query),
        &mut case.out[..],
    )
}

fn static_name() -> Box<Case> {
    case(ask("ns1.rhumb.test", A))
}

fn static_edns() -> Box<Case> {
    case(ask("ns1.rhumb.test", A).edns(1_232))
}

fn absent() -> Box<Case> {
    case(ask("nobody.rhumb.test", A))
}

fn steered() -> Box<Case> {
    case(ask("live.rhumb.test", A))
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

/// With the cookie of an earlier answer, as a resolver that keeps them asks.
fn split_ecs_cookie() -> Box<Case> {
    let shown = Cookie::read(b"8 octets").expect("a client cookie");
    let payload = SECRETS.reply(&shown, world::ctx(Transport::Udp).peer, NOW - 60).payload();
    case(ask("split.rhumb.test", A).subnet("99.2.3.0/24").option(10, &payload))
}

fn signed_static() -> Box<Case> {
    signed(ask("ns1.rhumb.test", A).edns(1_232))
}

fn signed_steered_ecs() -> Box<Case> {
    signed(ask("split.rhumb.test", A).subnet("99.2.3.0/24"))
}

/// NSID is not usual.
fn long_way() -> Box<Case> {
    case(ask("mail.rhumb.test", A).option(3, b""))
}

#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(Callgrind::default().hard_limits([(EventKind::Ir, LIMIT)])))]
#[bench::static_name(static_name())]
#[bench::static_edns(static_edns())]
#[bench::absent(absent())]
#[bench::steered(steered())]
#[bench::steered_ecs(steered_ecs())]
#[bench::split_ecs(split_ecs())]
#[bench::split_ecs_v6(split_ecs_v6())]
#[bench::split_ecs_cookie(split_ecs_cookie())]
#[bench::signed_static(signed_static())]
#[bench::signed_steered_ecs(signed_steered_ecs())]
fn answers(mut case: Box<Case>) -> (usize, Box<Case>) {
    (black_box(answer(&mut case)), case)
}

#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(Callgrind::default().hard_limits([(EventKind::Ir, LIMIT_LONG)])))]
#[bench::long_way(long_way())]
fn unusual(mut case: Box<Case>) -> (usize, Box<Case>) {
    (black_box(answer(&mut case)), case)
}

library_benchmark_group!(name = group, benchmarks = [answers, unusual]);
main!(library_benchmark_groups = group);
