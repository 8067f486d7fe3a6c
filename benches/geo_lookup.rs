//! How fast geo data is read, compiled and looked up: `cargo bench --bench geo_lookup`.
//!
//! `shipped` is the data and the client policy in the repository, from the files' bytes to the table,
//! on one core: the project's limit is 1 s. The other figures are of a larger synthetic world.

#![allow(clippy::print_stderr, reason = "says what is measured")]

#[path = "support/networks.rs"]
mod networks;
#[path = "support/worlds.rs"]
mod worlds;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhumb::base::prefix::Family;
use rhumb::geo::{self, Countries};
use std::hint::black_box;
use worlds::World;

fn shipped(c: &mut Criterion) {
    let clients = World::lab().policy.clients.clone();
    let from_files = || {
        let databases = geo::shipped::databases().expect("the shipped databases are sound");
        let databases: Vec<&geo::Database> = databases.iter().collect();
        geo::compile(&databases, black_box(&clients), Countries::shipped()).expect("compiles")
    };
    let mut slow = c.benchmark_group("geo");
    slow.sample_size(10);
    slow.bench_function("shipped, files to table", |b| b.iter(from_files));
    slow.finish();
}

fn benches(c: &mut Criterion) {
    let files = networks::files();
    let databases = networks::read(&files);
    let compiled = networks::compiled(&databases);
    eprintln!(
        "files {} + {} KiB, table {} KiB, {} groups",
        files[0].len() >> 10,
        files[1].len() >> 10,
        compiled.table.size_bytes() >> 10,
        compiled.table.groups().len()
    );

    let mut slow = c.benchmark_group("geo");
    slow.sample_size(10);
    slow.bench_function("read", |b| b.iter(|| networks::read(black_box(&files))));
    slow.bench_function("compile", |b| b.iter(|| networks::compiled(black_box(&databases))));
    slow.finish();

    let mut lookups = c.benchmark_group("geo_lookup");
    for (family, name) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
        let addresses = networks::addresses(family == Family::V6, 1 << 16);
        lookups.throughput(Throughput::Elements(addresses.len() as u64));
        lookups.bench_function(name, |b| {
            b.iter(|| {
                addresses
                    .iter()
                    .fold(0, |sum, &bits| sum + u64::from(compiled.table.lookup(family, bits).group.0))
            });
        });
    }
    lookups.finish();
}

criterion_group!(all, shipped, benches);
criterion_main!(all);
