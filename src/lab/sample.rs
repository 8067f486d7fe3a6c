//! The fleet the lab's tests run on: two regions, three sites, four nodes, two lines used of three.
//!
//! Ports are fixed here; tests that open sockets move them with [`on_free_ports`].

use super::fleet::{DEFAULT_LEVEL, LabNode, LabStatus};
use super::peaks::Peak;
use super::session::Fixed;
use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use crate::model::fleet::{
    Capacity, FeedSource, Fleet, HttpProbe, LoadFeed, Node, ProbeKind, ProbeSpec, Region, Site,
};
use crate::model::ids::{Generation, LineId, RegionId, Revision, SiteId};
use crate::model::judgement::StaleLoad;
use crate::model::provenance::{Cause, Provenance};
use crate::model::status::{Change, NodeStatus, Problem, QueryCounts, Status};
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub fn lines() -> Vec<String> {
    ["telecom", "unicom", "mobile"].map(str::to_owned).into()
}

pub fn fleet() -> Fleet {
    let region = |name: &str| Region { name: name.to_owned(), title: None };
    let site = |name: &str, region| Site {
        name: name.to_owned(),
        title: None,
        region: RegionId(region),
        location: None,
    };
    Fleet {
        regions: vec![region("asia"), region("fra")],
        sites: vec![site("tyo", 0), site("hkg", 0), site("fra", 1)],
        nodes: vec![
            node("tyo-1", 0, Some(1), 1),
            node("tyo-2", 0, None, 2),
            node("hkg-1", 1, Some(0), 3),
            node("fra-1", 2, Some(0), 4),
        ],
        ..Fleet::default()
    }
}

fn node(name: &str, site: u16, line: Option<u16>, number: u8) -> Node {
    let address = Ipv4Addr::new(127, 77, 1, number);
    let capacity = Capacity {
        unit: "mbps".to_owned(),
        amount: 1_000,
        target: Ppm::from_percent(75),
        cap: Ppm::from_percent(90),
    };
    Node {
        v4: vec![address],
        v6: vec![Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())],
        line: line.map(LineId),
        capacity: Some(capacity),
        probes: vec![probe(address, number)],
        load: Some(LoadFeed {
            source: FeedSource::Pulled {
                url: format!("http://{address}:8081/load"),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
            },
            max_age: Duration::from_secs(5),
            stale: StaleLoad::Ignore,
            clients: None,
            amount: Some("/mbps".to_owned()),
            ratios: BTreeMap::from([("cpu".to_owned(), "/cpu".to_owned())]),
        }),
        ..Node::named(name, SiteId(site))
    }
}

fn probe(address: Ipv4Addr, number: u8) -> ProbeSpec {
    let http =
        HttpProbe { path: "/health".to_owned(), body: Some("fine".to_owned()), ..HttpProbe::default() };
    let v4 = SocketAddr::from((address, 8_081));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 18_100 + u16::from(number)));
    ProbeSpec {
        name: None,
        kind: ProbeKind::Http(http),
        targets: [Some(v4), Some(v6)],
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(600),
        rise: 2,
        fall: 3,
        ok: 2,
    }
}

/// The sample fleet, each node on ports that were free a moment ago.
pub fn on_free_ports() -> Fleet {
    let mut fleet = fleet();
    for node in &mut fleet.nodes {
        let v4 = free(SocketAddr::from((node.v4[0], 0)));
        let v6 = free(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
        node.probes[0].targets = [Some(v4), Some(v6)];
        if let Some(LoadFeed { source: FeedSource::Pulled { url, .. }, .. }) = &mut node.load {
            *url = format!("http://{v4}/load");
        }
    }
    fleet
}

/// A free port of `address`, given to no other test: not one that the kernel gives a client's socket.
fn free(mut address: SocketAddr) -> SocketAddr {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(37);
    loop {
        let at = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % 20_000;
        address.set_port(u16::try_from(10_000 + at).expect("below 30,000"));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub fn fixed() -> Fixed {
    Fixed {
        dns: SocketAddr::from(([127, 0, 0, 1], 5_300)),
        control: SocketAddr::from(([127, 0, 0, 1], 8_054)),
        hostname: "live.rhumb.test".to_owned(),
        fleet: "4 nodes in 3 sites and 2 regions".to_owned(),
        example_target: "tyo-1".to_owned(),
    }
}

/// Two in the morning, and some seconds.
fn at(second: u64) -> WallTime {
    WallTime((2 * 3_600 + second) * 1_000)
}

/// Nine seconds into a run: one node down, one slow, one problem.
pub fn status() -> Status {
    let change = |second, generation, cause, moves: &[&str]| Change {
        at: at(second),
        generation: Generation(generation),
        cause,
        policy: Revision("3f2a9c0d1e5b".to_owned()),
        moves: moves.iter().copied().map(str::to_owned).collect(),
    };
    let evacuation = Cause::Evacuation { nodes: vec!["tyo-1".to_owned()] };
    Status {
        instance: "rhumb".to_owned(),
        version: "0.1.0".to_owned(),
        now: at(9),
        started_at: at(0),
        table: Provenance {
            generation: Generation(12),
            parent: Generation(11),
            published_at: at(7),
            cause: evacuation.clone(),
            policy: Revision("3f2a9c0d1e5b".to_owned()),
            geo: Revision("77aa00112233".to_owned()),
        },
        listen: vec!["127.0.0.1:5300".to_owned()],
        admin: "127.0.0.1:8053".to_owned(),
        nodes: vec![
            node_status("tyo-1", Verdict::Down),
            node_status("tyo-2", Verdict::Up),
            node_status("hkg-1", Verdict::Up),
            node_status("fra-1", Verdict::Degraded),
        ],
        services: Vec::new(),
        vantages: Vec::new(),
        recent: vec![
            change(0, 11, Cause::ColdStart, &[]),
            change(7, 12, evacuation, &["live: tyo-1 -> tyo-2 21.5 %"]),
        ],
        problems: vec![Problem {
            since: at(8),
            code: "policy-refused".to_owned(),
            message: "services/live.yaml:3:1 has an unknown key".to_owned(),
            help: "run `rhumb check`".to_owned(),
        }],
        queries: QueryCounts::default(),
        held_back: Default::default(),
        canary: None,
        overrides: Vec::new(),
        drilled: Vec::new(),
        expiries: Vec::new(),
        alerts: Vec::new(),
        alerts_omitted: 0,
        receivers: Vec::new(),
        incidents: Vec::new(),
    }
}

pub fn node_status(name: &str, verdict: Verdict) -> NodeStatus {
    let (reason, rtt, loss, share, load) = match verdict {
        Verdict::Up => ("", 400, 0, 40, 55),
        Verdict::Degraded => ("round trip 151 ms, usually 1 ms", 151_000, 0, 20, 93),
        Verdict::Unknown => ("not yet probed", 0, 0, 0, 0),
        Verdict::Down => ("3 of 3 http probes refused", 400, 100, 0, 3),
    };
    let health = FamilyHealth {
        verdict,
        reason: reason.to_owned(),
        rtt: Some(Micros(rtt)),
        loss: Ppm::from_percent(loss),
        ..FamilyHealth::default()
    };
    let utilisation = Ppm::from_percent(load);
    let load = NodeLoad {
        amount: Some(utilisation.of(1_000)),
        utilisation,
        binding: "mbps".to_owned(),
        ..NodeLoad::default()
    };
    let site = name.split('-').next().unwrap_or(name);
    NodeStatus {
        name: name.to_owned(),
        site: site.to_owned(),
        region: if site == "fra" { "fra" } else { "asia" }.to_owned(),
        line: (name != "tyo-2").then(|| "telecom".to_owned()),
        addresses: Vec::new(),
        health: NodeHealth { families: [Some(health), None], load: Some(load), forced: None },
        share: Ppm::from_percent(share),
        probed: true,
    }
}

pub fn lab_status() -> LabStatus {
    let node = |name: &str, faults: &str| LabNode {
        name: name.to_owned(),
        faults: faults.to_owned(),
        amount: 30,
        utilisation: Ppm::from_percent(3),
        cap: Some(Ppm::from_percent(90)),
        peak: Peak { utilisation: Ppm::from_percent(3), above_ms: 0 },
        given: 7,
    };
    let nodes =
        vec![node("tyo-1", "down"), node("tyo-2", ""), node("hkg-1", ""), node("fra-1", "latency 150 ms")];
    LabStatus { level: DEFAULT_LEVEL, nodes, faults: Vec::new() }
}
