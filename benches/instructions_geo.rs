//! Instructions per lookup in the shipped geo data, held below their limits:
//! `cargo bench --features instructions --bench instructions_geo` (needs valgrind and
//! `gungraun-runner` of gungraun's version).
//!
//! Callgrind counts only inside [`one`], a function of its own around the lookup, so that the loop
//! over the addresses stays out and a call's own entry and return count in. Each figure printed is
//! for 1,000 lookups: divide by 1,000. A figure over its limit fails the bench.
//!
//! `drawn` takes the networks that the databases tell apart at random from a seed, each as likely as
//! any other, which makes small ones far more frequent than among clients; `deepest` takes those
//! with the longest prefixes, which have the most steps to go.

#[path = "support/worlds.rs"]
mod worlds;

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint, EventKind};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::Family;
use rhumb::geo::{GeoTable, Located};
use std::hint::black_box;
use std::sync::Arc;
use worlds::World;

const LOOKUPS: usize = 1_000;
/// The project's limits, for a thousand lookups.
const LIMIT_V4: u64 = 40 * LOOKUPS as u64;
const LIMIT_V6: u64 = 120 * LOOKUPS as u64;
/// The databases' thousand deepest IPv6 networks are single hosts: some thirty steps of a few bits each,
/// which no client network needs. Held so that it does not grow.
const LIMIT_V6_DEEPEST: u64 = 400 * LOOKUPS as u64;

struct Case {
    table: Arc<GeoTable>,
    family: Family,
    addresses: Vec<u128>,
}

fn drawn(family: Family) -> Case {
    let table = World::lab().geo;
    let networks = networks(&table, family);
    let mut rng = SeededRng::new(7);
    let any = |_| networks[rng.below(networks.len() as u64) as usize].0;
    let addresses = (0..LOOKUPS).map(any).collect();
    Case { table, family, addresses }
}

fn deepest(family: Family) -> Case {
    let table = World::lab().geo;
    let mut networks = networks(&table, family);
    networks.sort_by_key(|&(_, depth)| std::cmp::Reverse(depth));
    let addresses = networks.iter().map(|&(bits, _)| bits).take(LOOKUPS).collect();
    Case { table, family, addresses }
}

/// Every network of which the databases know something: its first address, left-aligned, and the
/// prefix length that the table tells for it.
fn networks(table: &GeoTable, family: Family) -> Vec<(u128, u8)> {
    let mut networks = Vec::new();
    let mut next = Some(0_u128);
    while let Some(bits) = next {
        let located = table.lookup(family, bits);
        if located.group.0 != 0 {
            networks.push((bits, located.depth));
        }
        let size = 1_u128.checked_shl(128 - u32::from(located.depth));
        next = size.and_then(|size| bits.checked_add(size));
    }
    assert!(networks.len() > 10 * LOOKUPS, "the shipped data has networks");
    networks
}

/// The one function that is counted.
#[inline(never)]
fn one(table: &GeoTable, family: Family, bits: u128) -> Located {
    table.lookup(family, bits)
}

fn all(case: &Case) -> u64 {
    case.addresses.iter().fold(0, |sum, &bits| {
        let located = one(black_box(&case.table), black_box(case.family), black_box(bits));
        sum + u64::from(located.group.0) + u64::from(located.depth)
    })
}

fn counted(limit: u64) -> Callgrind {
    let mut callgrind = Callgrind::default();
    callgrind.entry_point(EntryPoint::Custom("*::one".to_owned()));
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    callgrind
}

#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(counted(LIMIT_V4)))]
#[bench::drawn(drawn(Family::V4))]
#[bench::deepest(deepest(Family::V4))]
fn ipv4(case: Case) -> (u64, Case) {
    (all(&case), case)
}

#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(counted(LIMIT_V6)))]
#[bench::drawn(drawn(Family::V6))]
fn ipv6(case: Case) -> (u64, Case) {
    (all(&case), case)
}

#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(counted(LIMIT_V6_DEEPEST)))]
#[bench::deepest(deepest(Family::V6))]
fn ipv6_hosts(case: Case) -> (u64, Case) {
    (all(&case), case)
}

library_benchmark_group!(name = lookups, benchmarks = [ipv4, ipv6, ipv6_hosts]);
main!(library_benchmark_groups = lookups);
