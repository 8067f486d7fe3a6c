//! What judgement costs: one observation, a tick and a view of 10,000 targets, for one vantage and for three.
//! `cargo bench --bench judge`.
//!
//! The project's limit for memory is a few tens of MiB for 10,000 targets; the size of the state is said first.

#![allow(clippy::print_stderr, reason = "says what is measured")]

use criterion::{Criterion, criterion_group, criterion_main};
use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::prefix::Family;
use rhumb::base::units::Micros;
use rhumb::health::HealthModel;
use rhumb::model::fleet::{Fleet, Node, ProbeKind, ProbeSpec, Region, Site};
use rhumb::model::ids::{NodeId, RegionId, SiteId, VantageId};
use rhumb::model::judgement::{Judgement, Vantage};
use rhumb::model::observation::{FailureReason, Measured, Observation, Outcome};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const NODES: u16 = 10_000;
const SITE: u16 = 20;

fn fleet(vantages: u8) -> Fleet {
    let probe = ProbeSpec {
        name: None,
        kind: ProbeKind::Tcp,
        targets: [Some(SocketAddr::from(([127, 0, 0, 1], 80))), None],
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 5,
        fall: 3,
        ok: 5,
    };
    let node = |n: u16| Node {
        v4: vec![Ipv4Addr::LOCALHOST],
        probes: vec![probe.clone()],
        ..Node::named(format!("n-{n}"), SiteId(n / SITE))
    };
    let site = |n| Site { name: format!("s-{n}"), title: None, region: RegionId(0), location: None };
    let vantage = |n| Vantage { name: format!("v{n}"), ..Vantage::local() };
    Fleet {
        regions: vec![Region { name: "r".to_owned(), title: None }],
        sites: (0..NODES / SITE).map(site).collect(),
        nodes: (0..NODES).map(node).collect(),
        judgement: Judgement { vantages: (0..vantages).map(vantage).collect(), ..Judgement::default() },
        circuits: Vec::new(),
        runbooks: Default::default(),
    }
}

/// Round after round: every vantage sees every node, one in a hundred fails.
struct Stream {
    vantages: u64,
    count: u64,
}

impl Iterator for Stream {
    type Item = Observation;

    fn next(&mut self) -> Option<Observation> {
        let per_round = u64::from(NODES) * self.vantages;
        let (round, at) = (self.count / per_round, self.count % per_round);
        self.count += 1;
        let node = (at / self.vantages) as u16;
        let outcome = match (round, node % 100) {
            (20.., 7) => Outcome::Failure { reason: FailureReason::Refused, detail: "refused".to_owned() },
            _ => Outcome::Success {
                rtt: Micros(10_000 + (self.count.wrapping_mul(2_654_435_761) >> 20) as u32 % 1_000),
            },
        };
        Some(Observation {
            vantage: VantageId((at % self.vantages) as u8),
            node: NodeId(node),
            family: Family::V4,
            probe: 0,
            at: MonoTime::from_millis(round * 2_000 + at * 2_000 / per_round),
            outcome,
            measured: Measured::default(),
        })
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn judge(c: &mut Criterion) {
    for vantages in [1, 3] {
        let before = resident_kib();
        let fleet = Arc::new(fleet(vantages));
        let mut model = HealthModel::new(fleet, &BTreeMap::new(), MonoTime(0), WallTime(0));
        let mut stream = Stream { vantages: u64::from(vantages), count: 0 };
        for seen in stream.by_ref().take(usize::from(NODES) * usize::from(vantages) * 40) {
            model.apply(&seen, WallTime(seen.at.0 / 1_000));
        }
        let now = MonoTime::from_millis(80_000);
        model.tick(now, WallTime(80_000));
        eprintln!("{vantages} vantages: {} KiB for {NODES} targets each", resident_kib() - before);
        let mut group = c.benchmark_group(format!("judge, {vantages} vantages"));
        group.sample_size(20);
        group.bench_function("one observation", |b| {
            b.iter(|| {
                let seen = stream.next().expect("endless");
                black_box(model.apply(&seen, WallTime(seen.at.0 / 1_000)))
            });
        });
        group.bench_function("tick of 10,000 nodes", |b| {
            let now = stream.next().expect("endless").at;
            b.iter(|| black_box(model.tick(now, WallTime(0)).len()));
        });
        group.bench_function("view of 10,000 nodes", |b| b.iter(|| black_box(model.view().len())));
        group.finish();
    }
}

criterion_group!(judgement, judge);
criterion_main!(judgement);
