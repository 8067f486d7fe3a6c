//! A resolver in front: unbound validates a signed zone from its trust anchor and caches by client subnet,
//! and no network is ever handed what another was answered.
//!
//! ```text
//!  clients, 127.0.0.0/8 ── ECS of many networks ──▶ unbound ── misses ──▶ rhumb
//!         └───────────── the same, directly ────────────────────────────────▶┘
//! ```
//!
//! Networks are at most /24 and /56 long, as long as what unbound asks for: what is longer shares an answer
//! with its neighbours before any cache is asked.

use crate::signed::{World, ZONE};
use crate::support::{Folder, exchange, free_port, parse, query, run, tool, wait_for};
use rhumb::base::hash::SeededRng;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Networks at whose edges answers differ; clients come from within, and from their neighbours.
const NETWORKS: &[(&str, u8)] = &[
    ("5.0.0.0", 8),
    ("5.6.0.0", 16),
    ("5.6.7.0", 24),
    ("9.1.2.0", 24),
    ("9.1.3.0", 24),
    ("9.1.4.0", 23),
    ("20.0.0.0", 7),
    ("64.0.0.0", 4),
    // Nobody's location: the resolver's address decides.
    ("10.0.0.0", 8),
    ("127.0.0.0", 8),
    ("2a00::", 12),
    ("2a00:100::", 24),
    ("2a00:100:7::", 48),
    ("2400:1:2:300::", 56),
    ("2400:1:2:400::", 56),
    ("2600::", 12),
    // IPv4 inside: 6to4 of 5.6.7.0/24 and of its neighbours.
    ("2002:506:700::", 40),
    ("2002:506::", 32),
];

/// unbound, killed when dropped.
struct Unbound {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Unbound {
    /// `None`: it is not installed, or was built without the module.
    fn start(world: &World, anchors: &str) -> Option<Self> {
        let (_, said) = tool("unbound", "unbound", &["-V"])?;
        assert!(said.contains("subnetcache"), "unbound was built without its subnet module: {said}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let port = free_port();
        std::fs::write(file("anchors"), anchors).expect("writes");
        let conf = format!(
            "server:
 interface: 127.0.0.1
 port: {port}
 directory: \"{}\"
 chroot: \"\"
 username: \"\"
 pidfile: \"\"
 use-syslog: no
 logfile: \"\"
 do-daemonize: no
 num-threads: 1
 access-control: 127.0.0.0/8 allow
 module-config: \"subnetcache validator iterator\"
 send-client-subnet: 127.0.0.1
 client-subnet-always-forward: yes
 do-not-query-localhost: no
 do-ip6: no
 outgoing-interface: 127.0.0.1
 local-zone: \"test.\" nodefault
 trust-anchor-file: \"{}\"
 harden-dnssec-stripped: yes
 val-log-level: 2
 verbosity: 1
 aggressive-nsec: yes
 qname-minimisation: no
remote-control:
 control-enable: no
stub-zone:
 name: \"example.test\"
 stub-addr: 127.0.0.1@{}
",
            file(""),
            file("anchors"),
            world.rhumb.port()
        );
        std::fs::write(file("unbound.conf"), conf).expect("writes");
        let log = std::fs::File::create(file("log")).expect("a log");
        let child = Command::new("unbound")
            .args(["-d", "-p", "-c", &file("unbound.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it ran before");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let unbound = Self { child, address, folder };
        wait_for("unbound to answer", || exchange(address, &query(1, "www.example.test", A, None)));
        Some(unbound)
    }

    /// The end of what it wrote.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A client's socket.
fn client(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("loopback is wide");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
    socket
}

/// What of an answer must not depend on who asked before.
#[derive(Debug, PartialEq)]
struct Said {
    rcode: u8,
    addresses: Vec<IpAddr>,
    is_authentic: bool,
}

fn ask(from: &UdpSocket, server: SocketAddr, name: &str, qtype: u16, subnet: Option<(IpAddr, u8)>) -> Said {
    const AD: u8 = 0x20;
    let mut asked = query(7, name, qtype, subnet);
    asked[3] |= AD;
    from.send_to(&asked, server).expect("sent");
    let mut reply = [0; 4_096];
    let len = from.recv(&mut reply).unwrap_or_else(|error| panic!("{name} {qtype} {subnet:?}: {error}"));
    let parsed = parse(&reply[..len]);
    let mut addresses = parsed.addresses;
    addresses.sort();
    Said { rcode: parsed.rcode, addresses, is_authentic: reply[3] & AD != 0 }
}

#[test]
fn unbound_validates_static_and_steered_names_from_a_trust_anchor() {
    let world = World::start();
    let Some(unbound) = Unbound::start(&world, &world.anchors()) else { return };
    let socket = client(Ipv4Addr::LOCALHOST);
    let subnets = [None, Some("5.1.2.0"), Some("5.6.7.0"), Some("64.1.2.0"), Some("8.8.8.0")];
    for (name, qtype, rcode, answers) in [
        ("www.example.test", A, 0, 1),
        ("WWW.example.test", TXT, 0, 0),
        ("example.test", SOA, 0, 0),
        ("live.example.test", A, 0, 1),
        ("example.test", AAAA, 0, 1),
        ("any.w.example.test", A, 0, 1),
        // By a node without IPv6 for some: NODATA at a wildcard whose NSEC also shows that nothing is closer.
        ("any.w.example.test", AAAA, 0, 1),
        ("alias.example.test", A, 0, 1),
        ("below.example.test", A, 0, 1),
        ("any.wild.example.test", A, 0, 1),
        ("www.example.test", AAAA, 0, 0),
        ("live.example.test", TXT, 0, 0),
        ("b.example.test", TXT, 0, 0),
        ("none.example.test", A, 3, 0),
        ("x.www.example.test", A, 3, 0),
    ] {
        for subnet in subnets {
            let subnet = subnet.map(|address| (address.parse().expect("an address"), 24));
            let said = ask(&socket, unbound.address, name, qtype, subnet);
            // 5.6.7.0 is answered by a node without IPv6.
            let is_without = qtype == AAAA && said.addresses.is_empty() && subnet == subnet_of("5.6.7.0");
            assert!(
                (said.rcode, said.is_authentic) == (rcode, true),
                "{name} {qtype} {subnet:?}: {said:?}\n{}",
                unbound.log()
            );
            assert!(said.addresses.len() == answers || is_without, "{name} {qtype} {subnet:?}: {said:?}");
        }
    }

    // With another key as its anchor all of it is bogus: what is above was validated.
    let other = Folder::with(&[("zones/example.test.zone", ZONE)]);
    let keys = other.root.path().join("keys");
    other.write_server(&format!("dnssec: {{zones: all, keys: {}}}\n", keys.display()));
    let (_, _, said) = run(&["keys", "generate", "example.test", "--policies", &other.policies()]);
    let (_, ds, _) = run(&["keys", "ds", "example.test", "--policies", &other.policies()]);
    assert!(ds.contains(" DS "), "{ds} {said}");
    let misled = Unbound::start(&world, &ds).expect("it ran before");
    for name in ["www.example.test", "live.example.test", "none.example.test"] {
        let said = ask(&socket, misled.address, name, A, subnet_of("5.1.2.0"));
        assert_eq!(said, Said { rcode: 2, addresses: Vec::new(), is_authentic: false }, "{name}");
    }
}

fn subnet_of(address: &str) -> Option<(IpAddr, u8)> {
    Some((address.parse().expect("an address"), 24))
}

/// A client's subnet in or near one of the networks.
fn subnet(rng: &mut SeededRng) -> (IpAddr, u8) {
    let (address, len) = NETWORKS[rng.below(NETWORKS.len() as u64) as usize];
    let address: IpAddr = address.parse().expect("an address");
    let (bits, width, most) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32, 24),
        IpAddr::V6(v6) => (v6.to_bits(), 128, 56),
    };
    // Few random bits after the network's own, so that clients meet in what is cached.
    let spare = most - len;
    let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let kept = if spare == 0 { 0 } else { random % (1 << spare.min(3)) };
    let near = u128::from(rng.below(8) == 0) << (128 - u32::from(len));
    let bits = (bits | kept << (128 - u32::from(len) - u32::from(spare.min(3)))) ^ near;
    let source = [most, most, width][rng.below(3) as usize];
    let masked = bits & (u128::MAX << (128 - u32::from(source)));
    match address {
        IpAddr::V4(_) => (Ipv4Addr::from_bits((masked >> 96) as u32).into(), source),
        IpAddr::V6(_) => (Ipv6Addr::from_bits(masked).into(), source),
    }
}

#[test]
fn a_cache_by_client_subnet_never_hands_one_networks_answer_to_another() {
    const ASKED: usize = 4_000;
    let names = ["live.example.test", "example.test", "x.w.example.test", "alias.example.test"];
    let world = World::start();
    let Some(unbound) = Unbound::start(&world, &world.anchors()) else { return };
    let clients = [[127, 0, 0, 1], [127, 8, 1, 2], [127, 9, 9, 9], [127, 200, 3, 4]].map(Ipv4Addr::from);
    let sockets = clients.map(client);
    let direct = client(Ipv4Addr::LOCALHOST);
    let mut rng = SeededRng::new(7_871);
    let mut wrong = Vec::new();
    let (mut different, mut direct_count) = (HashSet::new(), 0);
    let before = world.asked();
    for _ in 0..ASKED {
        let socket = &sockets[rng.below(4) as usize];
        let name = names[rng.below(4) as usize];
        let qtype = if rng.below(4) == 0 { AAAA } else { A };
        let subnet = match rng.below(10) {
            0 => None,
            // Who wants nobody to know.
            1 => Some((Ipv4Addr::UNSPECIFIED.into(), 0)),
            _ => Some(subnet(&mut rng)),
        };
        let through = ask(socket, unbound.address, name, qtype, subnet);
        // Under ECS rhumb leaves the rest of a chain to the resolver.
        let target = if name == "alias.example.test" { "live.example.test" } else { name };
        let straight = ask(&direct, world.rhumb, target, qtype, subnet);
        direct_count += 1;
        if (through.rcode, &through.addresses) != (straight.rcode, &straight.addresses) {
            wrong.push(format!("{name} {qtype} {subnet:?}: {straight:?}, through the cache {through:?}"));
        }
        assert!(
            through.is_authentic,
            "{name} {qtype} {subnet:?}: {through:?}, directly {straight:?}\n{}",
            unbound.log()
        );
        different.insert(straight.addresses);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(different.len() > 6, "the policy tells networks apart: {different:?}");
    let by_unbound = world.asked() - before - direct_count;
    assert!(by_unbound < ASKED as u64 / 2, "{by_unbound} of {ASKED} were asked on: what is cached is used");
    assert!(by_unbound > 100, "{by_unbound} of {ASKED} were asked on: networks are told apart");
}
