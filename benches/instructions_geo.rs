//! Instructions per lookup: `cargo bench --bench instructions_geo` (needs valgrind and gungraun-runner).
//!
//! The bar is 40 for IPv4 and 120 for IPv6, call included, on a world as large as the shipped data.
//! Each figure printed is for 1,000 lookups: divide by 1,000. The loop's own six or so count in.

#[path = "support/networks.rs"]
mod networks;

use gungraun::{library_benchmark, library_benchmark_group, main};
use rhumb::base::prefix::Family;
use rhumb::geo::GeoTable;
use std::hint::black_box;

const LOOKUPS: usize = 1_000;

fn setup(v6: bool) -> (GeoTable, Vec<u128>) {
    let table = networks::compiled(&networks::read(&networks::files())).table;
    (table, networks::addresses(v6, LOOKUPS))
}

fn sum(table: &GeoTable, family: Family, addresses: &[u128]) -> u64 {
    addresses.iter().fold(0, |sum, &bits| {
        let located = table.lookup(family, bits);
        sum + u64::from(located.group.0) + u64::from(located.depth)
    })
}

#[library_benchmark]
#[bench::thousand(setup(false))]
fn ipv4((table, addresses): (GeoTable, Vec<u128>)) -> (u64, GeoTable) {
    (sum(&table, Family::V4, black_box(&addresses)), table)
}

#[library_benchmark]
#[bench::thousand(setup(true))]
fn ipv6((table, addresses): (GeoTable, Vec<u128>)) -> (u64, GeoTable) {
    (sum(&table, Family::V6, black_box(&addresses)), table)
}

library_benchmark_group!(name = lookups, benchmarks = [ipv4, ipv6]);
main!(library_benchmark_groups = lookups);
