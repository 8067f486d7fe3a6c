//! The fleet the lab's tests run on: two regions, three sites, four nodes, two lines used of three.
//!
//! Ports are fixed here; tests that open sockets move them with [`on_free_ports`].

use crate::base::units::Ppm;
use crate::model::fleet::{Capacity, Fleet, HttpProbe, LoadFeed, Node, ProbeKind, ProbeSpec, Region, Site};
use crate::model::ids::{LineId, RegionId, SiteId};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
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
        name: name.to_owned(),
        site: SiteId(site),
        v4: vec![address],
        v6: vec![Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())],
        location: None,
        line: line.map(LineId),
        labels: BTreeMap::new(),
        capacity: Some(capacity),
        probes: vec![probe(address, number)],
        load: Some(LoadFeed {
            url: format!("http://{address}:8081/load"),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            max_age: Duration::from_secs(5),
            amount: Some("/mbps".to_owned()),
            ratios: BTreeMap::from([("cpu".to_owned(), "/cpu".to_owned())]),
        }),
    }
}

fn probe(address: Ipv4Addr, number: u8) -> ProbeSpec {
    let http = HttpProbe {
        tls: false,
        path: "/health".to_owned(),
        host: None,
        status: vec![(200, 299)],
        body: Some("fine".to_owned()),
        verify: true,
    };
    let v4 = SocketAddr::from((address, 8_081));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 18_100 + u16::from(number)));
    ProbeSpec {
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
        if let Some(feed) = &mut node.load {
            feed.url = format!("http://{v4}/load");
        }
    }
    fleet
}

fn free(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("loopback takes a listener");
    listener.local_addr().expect("it is bound")
}
