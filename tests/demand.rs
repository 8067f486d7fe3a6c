//! Clients of one country ask ten times as often as those of another, and the plan weighs them so: a real
//! process, asked over TCP and UDP on loopback.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use support::{Folder, Rhumb, fetch, free_port, query, run, wait_for};

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
defaults: { capacity: { unit: mbps, amount: 10000 } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge } }
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge } }
";

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
demand: 1000
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

/// Loopback stands for two countries, so that clients of both have an address of their own.
const CLIENTS: &str = "version: 1
overrides:
  - { cidrs: 127.5.0.0/16, country: JP }
  - { cidrs: 127.6.0.0/16, country: DE }
";

const JAPAN: &str = "127.5.0.1";
const GERMANY: &str = "127.6.0.1";
/// Another network of the same group.
const GERMAN_SUBNET: &str = "141.20.0.0";
/// Queries on one connection before the next, and before replies are read.
const BATCH: usize = 100;

struct Server {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    rhumb: Rhumb,
}

impl Server {
    fn start() -> Self {
        let files = [
            ("fleet.yaml", FLEET),
            ("clients.yaml", CLIENTS),
            ("services/live.yaml", SERVICE),
            ("zones/example.test.zone", ZONE),
        ];
        let folder = Folder::with(&files);
        folder.write_server("");
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (dns, admin) = (local(free_port()), local(free_port()));
        let rhumb = folder.serve(dns, admin);
        Self { folder, dns, admin, rhumb }
    }

    fn restart(&mut self) {
        assert_eq!(self.rhumb.terminate(), Some(0));
        self.rhumb = self.folder.serve(self.dns, self.admin);
    }

    /// Over TCP: nobody can forge the address of who asks.
    fn ask(&self, client: &str, times: usize) {
        let packet = query(7, "live.example.test", 1, None);
        let frame = [&(packet.len() as u16).to_be_bytes()[..], &packet].concat();
        for _ in 0..times / BATCH {
            let mut stream = self.connect(client);
            stream.write_all(&frame.repeat(BATCH)).expect("asks");
            for _ in 0..BATCH {
                let mut len = [0; 2];
                stream.read_exact(&mut len).expect("answers");
                let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
                stream.read_exact(&mut reply).expect("answers");
            }
        }
    }

    fn connect(&self, client: &str) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let client = SocketAddr::new(client.parse().expect("an address"), 0);
        socket.bind(&client.into()).expect("binds");
        socket.connect(&self.dns.into()).expect("connects");
        socket.into()
    }

    /// In the name of a client, over UDP without a cookie: anybody may have sent it.
    fn forge(&self, client: &str, times: usize) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        socket.connect(self.dns).expect("connects");
        let client: IpAddr = client.parse().expect("an address");
        let (packet, mut reply) = (query(7, "live.example.test", 1, Some((client, 24))), [0; 1_232]);
        for _ in 0..times {
            socket.send(&packet).expect("asks");
            socket.recv(&mut reply).expect("answers");
        }
    }

    /// What is told of the demand of a client's group.
    fn demand(&self, client: &str) -> Demand {
        let admin = self.admin.to_string();
        let (code, out, err) =
            run(&["explain", "live.example.test", "--client", client, "--admin", &admin, "--format", "json"]);
        assert_eq!(code, 0, "{out}{err}");
        let told: Value = serde_json::from_str(&out).expect("JSON");
        let number = |key: &str| told["steering"]["demand"][key].as_u64().expect("a number");
        Demand {
            share_ppm: number("share"),
            assumed_ppm: number("assumed"),
            confidence_ppm: number("confidence"),
            queries: number("verified") + number("forgeable"),
        }
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let metrics = fetch(self.admin, "/metrics");
        let value = metrics.lines().find_map(|told| told.strip_prefix(line)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    fn counted(&self, verified: &str) -> f64 {
        let line = format!("rhumb_demand_queries_total{{service=\"live\",verified=\"{verified}\"}}");
        self.metric(&line).expect("it is there")
    }

    fn share_of(&self, node: &str) -> f64 {
        self.metric(&format!("rhumb_node_share_ratio{{node=\"{node}\"}}")).expect("it is there")
    }
}

#[derive(Debug)]
struct Demand {
    share_ppm: u64,
    assumed_ppm: u64,
    confidence_ppm: u64,
    queries: u64,
}

#[test]
fn who_asks_ten_times_as_often_counts_ten_times_as_much_and_forgers_do_not() {
    let mut server = Server::start();
    let before = server.demand(JAPAN);
    assert_eq!((before.share_ppm, before.confidence_ppm), (before.assumed_ppm, 0), "{before:?}");
    let share_before = server.share_of("tyo-1");
    server.ask(JAPAN, 5_000);
    server.ask(GERMANY, 500);
    wait_for("all queries to be counted", || (server.counted("yes") >= 5_500.0).then_some(()));
    assert!((server.counted("yes") - 5_500.0).abs() < 0.5, "each once");
    let drawn = wait_for("the shares to be drawn anew", || {
        let now = server.demand(JAPAN);
        (now.share_ppm > 700_000).then_some(now)
    });
    let other = server.demand(GERMANY);
    let ratio = drawn.share_ppm as f64 / other.share_ppm as f64;
    assert!((7.0..13.0).contains(&ratio), "{drawn:?} {other:?}");
    assert!(drawn.confidence_ppm > 900_000 && drawn.queries > 1_000, "{drawn:?}");
    let share = wait_for("the plan to weigh it", || {
        Some(server.share_of("tyo-1")).filter(|&share| share > share_before + 0.1)
    });
    assert!(share > 0.7, "{share}");
    let (_, text, _) =
        run(&["explain", "live.example.test", "--client", JAPAN, "--admin", &server.admin.to_string()]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("verified and 0 other queries in 5 minutes"), "{text}");

    assert_eq!(server.demand(GERMAN_SUBNET).share_ppm, other.share_ppm, "of the same group");
    server.forge(GERMAN_SUBNET, 5_000);
    wait_for("forged queries to be counted", || (server.counted("no") >= 5_000.0).then_some(()));
    let forged = server.demand(GERMANY);
    assert!(forged.share_ppm < other.share_ppm * 11 / 10 + 1_000, "{forged:?} {other:?}");

    let before = server.demand(JAPAN);
    server.restart();
    let after = server.demand(JAPAN);
    assert_eq!(after.share_ppm, before.share_ppm, "known at once");
    assert!(server.share_of("tyo-1") > 0.7);
}
