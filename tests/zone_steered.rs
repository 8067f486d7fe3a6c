//! Steered names of every place in a zone, and the static types beside them: at the apex, at a
//! wildcard, and through aliases; then a wildcard by the spawned binary.

mod support;
mod world;

use rhumb::base::diagnostic::SourceFile;
use rhumb::dns::Transport;
use rhumb::routing::{Snapshot, lint};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use support::{Folder, Rhumb, TestNode, free_port, run, wait_for};
use world::{A, AAAA, ANY, MX, Reply, TXT, World, ask, ctx, reply};

const HTTPS: u16 = 65;

const ZONE: &str = "\
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
@ TXT \"apex\"
@ MX 10 mail
@ HTTPS 1 . alpn=h2
ns1 A 192.0.2.1
mail A 192.0.2.3
*.live TXT \"beside the wildcard\"
*.live MX 10 mail
fixed.live A 192.0.2.80
only.live TXT \"no addresses\"
a.b.live TXT \"b.live is an empty name\"
alias CNAME any.live
old DNAME live
";

/// `live` steers the apex, `one` a wildcard; all clients of `one` go to hkg-1 (203.0.113.2).
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let file = SourceFile { path: "zones/steered.test.zone".to_owned(), text: ZONE.to_owned() };
    let (zones, diagnostics) = rhumb::zone::load(&[file]);
    assert_eq!(diagnostics, []);
    let mut world = World::new();
    let (live, one) = (world.service("live"), world.service("one"));
    for at in (0..world.policy.services.len()).rev().filter(|at| ![live, one].contains(at)) {
        world.policy.services.remove(at);
        world.assignment.services.remove(at);
    }
    world.policy.services[0].hostnames = vec!["steered.test".to_owned()];
    world.policy.services[1].hostnames = vec!["*.live.steered.test".to_owned()];
    world.zones = Arc::new(zones);
    let snapshot = world.snapshot();
    assert_eq!(lint(&snapshot, None), Vec::<String>::new());
    snapshot
});

fn get(name: &str, qtype: u16) -> Reply {
    reply(&SNAPSHOT, &ctx(Transport::Udp), &ask(name, qtype).subnet("9.1.2.0/24"))
}

#[test]
fn a_wildcard_is_steered_where_nothing_else_is() {
    for name in ["x.live.steered.test", "x.y.live.steered.test", "*.live.steered.test", "X.LIVE.steered.test"]
    {
        let reply = get(name, A);
        assert_eq!((reply.rcode, reply.is_authoritative, reply.answers.len()), (0, true, 1), "{name}");
        assert_eq!((&reply.answers[0].3[..], reply.answers[0].2), (&[203, 0, 113, 2][..], 30), "{name}");
        assert_eq!(get(name, AAAA).answers.len(), 1, "{name}");
        assert_eq!((get(name, TXT).answers.len(), get(name, MX).answers.len()), (1, 1), "{name}");
        assert_eq!(get(name, ANY).answers[0].1, 13);
        let absent = get(name, HTTPS);
        assert_eq!((absent.rcode, absent.authority[0].2), (0, 30), "negative answers live no longer");
    }
}

#[test]
fn names_with_records_of_their_own_are_not() {
    assert_eq!(get("fixed.live.steered.test", A).answers[0].3, [192, 0, 2, 80]);
    assert_eq!(get("fixed.live.steered.test", TXT).answers.len(), 0);
    for name in ["only.live.steered.test", "b.live.steered.test", "live.steered.test"] {
        let reply = get(name, A);
        assert_eq!((reply.rcode, reply.answers.len()), (0, 0), "{name}");
    }
    assert_eq!(get("x.b.live.steered.test", A).rcode, 3, "the closest encloser is the empty name");
}

#[test]
fn the_apex_is_steered_beside_its_own_records() {
    assert_eq!(get("steered.test", A).answers.len(), 1);
    for (qtype, count) in [(6, 1), (2, 1), (TXT, 1), (MX, 1), (HTTPS, 1), (CNAME, 0)] {
        assert_eq!(get("steered.test", qtype).answers.len(), count, "{qtype}");
    }
}

const CNAME: u16 = 5;

#[test]
fn aliases_lead_to_a_steered_wildcard_but_not_under_ecs() {
    let with_ecs = get("alias.steered.test", A);
    assert_eq!((with_ecs.answers.len(), with_ecs.rcode), (1, 0), "the first link only");
    let plain = reply(&SNAPSHOT, &ctx(Transport::Udp), &ask("alias.steered.test", A));
    assert_eq!(plain.answers.iter().map(|it| it.1).collect::<Vec<_>>(), [CNAME, A]);
    let redirected = reply(&SNAPSHOT, &ctx(Transport::Udp), &ask("x.old.steered.test", A));
    assert_eq!(redirected.answers.iter().map(|it| it.1).collect::<Vec<_>>(), [39, CNAME, A]);
    assert_eq!(redirected.answers[2].3, [203, 0, 113, 2]);
    assert_eq!(get("x.old.steered.test", A).answers.len(), 2, "under ECS the resolver asks again");
}

const FLEET: &str = "version: 1
regions: { ea: {} }
sites: { tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } } }
nodes: { tyo-1: { site: tyo, addresses: [127.1.1.1] } }
";

const SERVICE: &str = "version: 1
hostnames: [\"*.live.steered.test\"]
pools: { all: { select: { region: ea } } }
chains: [{ pools: all }]
";

#[test]
fn the_binary_serves_a_wildcard_from_a_folder_with_includes() {
    let port = free_port();
    let _node = TestNode::start(SocketAddr::from(([127, 1, 1, 1], port)));
    let fleet = format!("{FLEET}defaults: {{ probes: [{{ kind: tcp, port: {port} }}] }}\n");
    let folder = Folder::with(&[
        ("fleet.yaml", &fleet),
        ("services/live.yaml", SERVICE),
        ("zones/steered.test.zone", "$INCLUDE parts/all.inc\n"),
        ("zones/parts/all.inc", ZONE),
    ]);
    folder.write_server("");
    let (code, out, err) = run(&["check", &folder.policies()]);
    assert_eq!((code, out.contains("no mistakes")), (0, true), "{out}{err}");
    let dns = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let admin = format!("127.0.0.1:{}", free_port());
    let args = ["--policies", &folder.policies(), "--state", &folder.state(), "--listen", &dns.to_string()];
    let mut rhumb = Rhumb::spawn(&[&["serve"], &args[..], &["--admin", &admin, "--log", "human"]].concat());
    rhumb.wait_line("ready");
    wait_for("an answer", || {
        let reply = support::ask(dns, "any.thing.live.steered.test", A, "133.11.0.0/24")?;
        (reply.addresses == ["127.1.1.1".parse::<std::net::IpAddr>().expect("an address")]).then_some(())
    });
}
