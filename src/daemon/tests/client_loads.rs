//! Reports of client networks reach the shares of the next plan, and those of another policy do not.

use super::*;
use crate::base::clock::MonoTime;
use crate::base::prefix::Prefix;
use crate::daemon::client_loads::ClientLoads;
use crate::daemon::counting::Counting;
use crate::model::demand::{Shares, WHOLE};
use crate::model::observation::{ClientLoad, ClientRow, LoadReport, LoadSample};
use std::net::IpAddr;

const JAPAN: &str = "133.11.0.0/16";
const GERMANY: &str = "141.20.0.0/16";
/// Mapped into IPv6.
const GERMANY_MAPPED: &str = "::ffff:141.20.7.0/120";

/// The first node's feed tells of clients.
fn world() -> Inputs {
    let folder = folder(&["live"]);
    let fleet = FLEET.replace(
        "addresses: [127.1.1.1],",
        "addresses: [127.1.1.1], load: { port: 9, max_age: 10s, clients: /clients },",
    );
    assert_ne!(fleet, FLEET);
    std::fs::write(folder.path().join("policies/fleet.yaml"), fleet).expect("writes");
    let loaded = Loader::new(&folder.path().join("policies")).load();
    loaded.inputs.unwrap_or_else(|| panic!("{:?}", loaded.refusals))
}

fn report(node: u16, at: MonoTime, rows: &[(&str, u64)]) -> LoadReport {
    let row = |(network, load): &(&str, u64)| ClientRow {
        prefix: Prefix::from(network.parse::<ipnet::IpNet>().expect("a network")),
        service: None,
        milli: load * 1_000,
    };
    let clients = ClientLoad { rows: rows.iter().map(row).collect(), ..ClientLoad::default() };
    let result = Ok(LoadSample { amount: None, ratios: Vec::new(), clients: Some(Arc::new(clients)) });
    LoadReport { node: NodeId(node), at, result }
}

/// The writer's part, on a clock of its own.
struct Desk {
    loads: ClientLoads,
    counting: Counting,
    now: MonoTime,
}

impl Desk {
    fn new(inputs: &Inputs) -> Self {
        let counting = Counting::restore(None, inputs, MonoTime(0), WallTime(0));
        Self { loads: ClientLoads::default(), counting, now: MonoTime(0) }
    }

    /// A round of the clock, and as long as the thread takes: what it summed is heard.
    fn round(&mut self, inputs: &Inputs, table: &Snapshot, down: &[NodeId]) {
        let is_down = |node: NodeId| down.contains(&node);
        self.now = self.now + Duration::from_secs(5);
        let sums = loop {
            if let Some(sums) = self.loads.turn(inputs, &Shares::default(), is_down, self.now) {
                break sums;
            }
            std::thread::yield_now();
        };
        self.counting.take_reports(sums);
        self.now = self.now + Duration::from_secs(5);
        self.counting.look(table, is_down, self.now);
    }

    fn share(&self, inputs: &Inputs, network: &str) -> f64 {
        let address = network.split('/').next().and_then(|it| it.parse::<IpAddr>().ok()).expect("an address");
        let group = inputs.geo.locate(address).group;
        let shares = self.counting.shares().of(0).expect("reported");
        f64::from(shares[group.index()]) / f64::from(WHOLE)
    }
}

#[test]
fn what_nodes_report_is_planned_with_until_they_are_gone_for_good() {
    let inputs = world();
    let table = begin(&inputs, &NOTHING_KEPT, 0, routing::findings).snapshot;
    let mut desk = Desk::new(&inputs);
    // Whoever has no place for it in its feed is not heard.
    desk.loads.note(&report(1, desk.now, &[(GERMANY, 900)]), &inputs);
    desk.round(&inputs, &table, &[]);
    assert!(desk.counting.shares().is_empty());
    let said = [(JAPAN, 60), (GERMANY, 10), (GERMANY_MAPPED, 30)];
    desk.loads.note(&report(0, desk.now, &said), &inputs);
    desk.round(&inputs, &table, &[]);
    let group = inputs.geo.locate(IpAddr::from([133, 11, 0, 0])).group;
    let key = &inputs.geo.group(group).expect("a group").key;
    let told = desk.counting.told("live", key).expect("known");
    assert!(told.reporters == 1 && told.reported.0 > 0, "{told:?}");
    let (japan, germany) = (desk.share(&inputs, JAPAN), desk.share(&inputs, GERMANY));
    let expected = told.reported.fraction() * 0.6;
    assert!(japan > expected * 0.95 && germany > expected * 0.6, "{japan} {germany} {told:?}");
    // Down, silent, or unheard after an edit: it is waited for.
    desk.round(&inputs, &table, &[NodeId(0)]);
    assert_eq!((desk.share(&inputs, JAPAN), desk.counting.shown()[0].silent), (japan, 1));
    (0..3).for_each(|_| desk.round(&inputs, &table, &[]));
    assert_eq!((desk.share(&inputs, JAPAN), desk.counting.shown()[0].silent), (japan, 1));
    let edited = world();
    desk.loads.note(&report(0, desk.now, &said), &inputs);
    desk.counting = desk.counting.carried_to(&edited, desk.now);
    let table = begin(&edited, &NOTHING_KEPT, 0, routing::findings).snapshot;
    desk.round(&edited, &table, &[]);
    assert!((desk.share(&edited, JAPAN) - japan).abs() < 1e-6);
    // Its feed tells of nobody any more.
    let plain = load(&["live"]);
    assert_eq!(desk.counting.carried_to(&plain, desk.now).shares().of(0), None);
}
