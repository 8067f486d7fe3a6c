//! Any bytes as a message of a vantage, and of a scheduler: what is taken of a report is of targets there are,
//! dated no later than now and never back; orders that are followed keep every probe at its place.
//!
//! ```text
//!  data: who speaks ‖ a message of JSON, without its length
//! ```
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::clock::MonoTime;
use rhumb::model::fleet::Fleet;
use rhumb::model::ids::VantageId;
use rhumb::model::judgement::{Judgement, Vantage};
use rhumb::probe::{Files, ProbeEvent};
use rhumb::vantage::frame::decode;
use rhumb::vantage::intake::Intake;
use rhumb::vantage::orders::{orders, task};
use rhumb::vantage::wire::{FromScheduler, FromVantage, MOST_SEEN, OrderedKind, OrderedNode, OrderedProbe, Orders};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const NOW: MonoTime = MonoTime::from_millis(60_000);

/// Three nodes with a probe of each family, and a vantage with an anchor.
static FLEET: LazyLock<Arc<Fleet>> = LazyLock::new(|| {
    let target = |text: &str| Some(text.parse().expect("an address"));
    let probe = OrderedProbe {
        kind: OrderedKind::Tcp,
        targets: [target("127.0.0.1:80"), target("[::1]:80")],
        interval_ms: 200,
        timeout_ms: 200,
    };
    let node = |n: u8| OrderedNode { name: format!("n-{n}"), probes: vec![probe.clone(); 2] };
    let told = Orders {
        mark: String::new(),
        max_age_ms: 10_000,
        anchors: Vec::new(),
        nodes: (0..3).map(node).collect(),
        files: BTreeMap::new(),
    };
    let fleet = task(told, "gz", false).expect("good orders").fleet;
    let anchors = vec!["127.0.0.1:9".parse().expect("an address")];
    let far = Vantage { name: "gz".to_owned(), anchors, ..Vantage::local() };
    let judgement = Judgement { vantages: vec![Vantage::local(), far], ..Judgement::default() };
    Arc::new(Fleet { judgement, ..fleet })
});

fuzz_target!(|data: &[u8]| {
    let Some((&who, message)) = data.split_first() else { return };
    if who % 2 == 0 {
        if let Ok(FromVantage::Report(report)) = decode(message) {
            take(report);
        }
    } else if let Ok(FromScheduler::Orders(told)) = decode(message) {
        let counts: Vec<usize> = told.nodes.iter().map(|node| node.probes.len()).collect();
        if let Ok(done) = task(told, "gz", false) {
            let kept: Vec<usize> = done.fleet.nodes.iter().map(|node| node.probes.len()).collect();
            assert_eq!(kept, counts);
        }
    }
});

fn take(mut report: rhumb::vantage::wire::Report) {
    let mark = orders(&FLEET, VantageId(1), &Files::default()).mark;
    // A mark cannot be guessed; half of the reports have it.
    if report.mark.len() % 2 == 0 {
        report.mark.clone_from(&mark);
    }
    let mut intake = Intake::new(VantageId(1), Arc::clone(&FLEET), mark, NOW);
    let Ok(taken) = intake.take(report, NOW, Duration::from_millis(20)) else { return };
    assert!(taken.events.len() <= MOST_SEEN);
    let mut newest = MonoTime(0);
    for event in taken.events {
        let (vantage, at) = match event {
            ProbeEvent::Observation(seen) => {
                let spec = &FLEET.nodes[seen.node.index()].probes[usize::from(seen.probe)];
                assert!(spec.targets[seen.family.index()].is_some());
                (seen.vantage, seen.at)
            }
            ProbeEvent::Anchor(report) => (report.vantage, report.at),
            ProbeEvent::Load(_) | ProbeEvent::Trouble(_) => panic!("a vantage reports neither"),
        };
        assert!(vantage == VantageId(1) && at <= NOW && at >= newest);
        newest = at;
    }
}
