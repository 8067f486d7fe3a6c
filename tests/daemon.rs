//! The daemon as its users meet it: the spawned binary, real sockets, real files.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use support::{Folder, Reply, Rhumb, TestNode, ask, exchange, free_port, parse, query, run, wait_for};

/// A Japanese and a German network of the shipped geo data.
const JAPAN: &str = "133.11.0.0/24";
const GERMANY: &str = "141.20.0.0/24";
const A: u16 = 1;

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
records:
  https: { alpn: h2 }
";

fn fleet(port: u16) -> String {
    format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1], labels: {{ role: edge }} }}
  fra-1: {{ site: fra, addresses: [127.2.1.1], labels: {{ role: edge }} }}
"
    )
}

/// Two nodes, one service, one zone, and the ports they use.
struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    tyo: TestNode,
    _fra: TestNode,
}

impl World {
    fn new() -> Self {
        let port = free_port();
        let node = |address: [u8; 4]| TestNode::start(SocketAddr::from((address, port)));
        let folder = Folder::with(&[
            ("fleet.yaml", &fleet(port)),
            ("services/live.yaml", SERVICE),
            ("zones/example.test.zone", ZONE),
        ]);
        folder.write_server("");
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            folder,
            dns: local(free_port()),
            admin: local(free_port()),
            tyo: node([127, 1, 1, 1]),
            _fra: node([127, 2, 1, 1]),
        }
    }

    fn serve(&self) -> Rhumb {
        self.serve_with(&["--state", &self.folder.state()])
    }

    fn serve_with(&self, more: &[&str]) -> Rhumb {
        let (dns, admin, policies) = (self.dns.to_string(), self.admin.to_string(), self.folder.policies());
        let mut args =
            vec!["serve", "--policies", &policies, "--listen", &dns, "--admin", &admin, "--log", "human"];
        args.extend(more);
        let mut rhumb = Rhumb::spawn(&args);
        rhumb.wait_line("ready");
        rhumb
    }

    fn ask(&self, subnet: &str) -> Reply {
        ask(self.dns, "live.example.test", A, subnet).expect("an answer")
    }

    fn wait_answer(&self, subnet: &str, address: &str) {
        let wanted: IpAddr = address.parse().expect("an address");
        wait_for(&format!("{subnet} to be answered {address}"), || {
            (self.ask(subnet).addresses == [wanted]).then_some(())
        });
    }

    fn status(&self) -> serde_json::Value {
        let (_, out, err) = run(&["status", "--admin", &self.admin.to_string(), "--format", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }

    fn generation(&self) -> u64 {
        self.status()["table"]["generation"].as_u64().expect("a number")
    }

    fn state(&self, name: &str) -> std::path::PathBuf {
        self.folder.root.path().join("state").join(name)
    }

    fn problem_codes(&self) -> Vec<String> {
        let status = self.status();
        let problems = status["problems"].as_array().expect("a list");
        problems.iter().filter_map(|problem| problem["code"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until there is something to come back to: a disk may be slow.
    fn wait_kept(&self) {
        let state = std::path::PathBuf::from(self.folder.state());
        let is_there = |name: &str| state.join(name).exists();
        wait_for("the kept state", || (is_there("inputs") && is_there("table")).then_some(()));
    }

    fn wait_problem(&self, code: &str) {
        wait_for(code, || self.problem_codes().iter().any(|known| known == code).then_some(()));
    }
}

/// One exchange over a stream, with lengths before the messages (RFC 1035 4.2.2).
fn exchange_framed(stream: &mut (impl Read + Write), packet: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(packet.len()).expect("short").to_be_bytes().to_vec();
    framed.extend(packet);
    stream.write_all(&framed).expect("sends");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).expect("a reply");
    reply
}

#[test]
fn a_folder_with_only_zones_is_a_plain_authoritative_server() {
    let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
    folder.write_server("");
    let dns = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut rhumb = Rhumb::spawn(&[
        "serve",
        "--policies",
        &folder.policies(),
        "--state",
        &folder.state(),
        "--listen",
        &dns.to_string(),
        "--admin",
        &admin.to_string(),
        "--log",
        "human",
    ]);
    rhumb.wait_line("ready");
    let ask = |name| parse(&exchange(dns, &query(9, name, A, None)).expect("an answer"));
    let www = ask("www.example.test");
    assert_eq!(www.addresses, ["192.0.2.10".parse::<IpAddr>().expect("an address")]);
    assert!(www.authoritative);
    assert_eq!(ask("no.example.test").rcode, 3, "NXDOMAIN");
    assert_eq!(ask("example.org").rcode, 5, "REFUSED");
    assert!(support::fetch(admin, "/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn answers_follow_geography_and_move_when_a_node_fails() {
    let mut world = World::new();
    let rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    world.wait_answer(GERMANY, "127.2.1.1");
    world.tyo.stop();
    world.wait_answer(JAPAN, "127.2.1.1");
    // The table is in force before it is told of.
    let evacuated = serde_json::json!({ "kind": "evacuation", "nodes": ["tyo-1"] });
    wait_for("the evacuation to be told", || {
        let status = world.status();
        let mut recent = status["recent"].as_array().expect("a list").iter();
        recent.any(|change| change["cause"] == evacuated).then_some(())
    });
    wait_for("its metric", || {
        support::fetch(world.admin, "/metrics")
            .contains(r#"rhumb_node_verdict{node="tyo-1",family="ipv4",verdict="down"} 1"#)
            .then_some(())
    });
    drop(rhumb);
}

#[test]
fn after_kill_9_the_first_answer_is_already_right() {
    let mut world = World::new();
    let mut rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    world.tyo.stop();
    world.wait_answer(JAPAN, "127.2.1.1");
    let generation = world.status()["table"]["generation"].as_u64().expect("a number");
    world.wait_kept();
    rhumb.kill();
    let _rhumb = world.serve();
    let wanted: IpAddr = "127.2.1.1".parse().expect("an address");
    assert_eq!(world.ask(JAPAN).addresses, [wanted], "the very first answer");
    assert!(world.status()["table"]["generation"].as_u64().expect("a number") > generation);
}

#[test]
fn generations_rise_although_the_last_tables_were_not_kept() {
    let mut world = World::new();
    let mut rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    let (table, older) = (world.state("table"), world.state("older"));
    wait_for("the table to be kept", || std::fs::copy(&table, &older).ok());
    world.tyo.stop();
    world.wait_answer(JAPAN, "127.2.1.1");
    let generation = world.generation();
    world.wait_kept();
    rhumb.kill();
    // As if the crash had come before the keeper wrote the evacuation.
    std::fs::rename(&older, &table).expect("the older table is back");
    let mut rhumb = world.serve();
    assert!(world.generation() > generation);
    let generation = world.generation();
    world.wait_kept();
    rhumb.kill();
    for name in ["table", "table.previous"] {
        std::fs::write(world.state(name), "no table").expect("writes");
    }
    let _rhumb = world.serve();
    assert!(world.generation() > generation, "nor although no table is left");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told_and_does_without() {
    let world = World::new();
    let state = world.folder.root.path().join("state");
    std::fs::write(&state, "not a folder").expect("writes");
    let mut rhumb = world.serve();
    rhumb.wait_line("cannot write the state folder");
    world.wait_answer(JAPAN, "127.1.1.1");
    world.wait_problem("state-unwritable");
    std::fs::remove_file(&state).expect("removes");
    wait_for("the folder to be taken into use", || world.state("table").exists().then_some(()));
    wait_for("no problem", || world.problem_codes().is_empty().then_some(()));
}

#[test]
fn a_truncated_state_file_costs_a_message_and_nothing_else() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    let state = world.folder.root.path().join("state");
    wait_for("the table to be kept", || state.join("table").exists().then_some(()));
    world.wait_kept();
    rhumb.kill();
    for name in ["table", "table.previous"] {
        let path = state.join(name);
        if let Ok(bytes) = std::fs::read(&path) {
            std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("truncates");
        }
    }
    let mut rhumb = world.serve();
    rhumb.wait_line("is truncated");
    world.wait_answer(JAPAN, "127.1.1.1");
    wait_for("the first round to clear it", || world.problem_codes().is_empty().then_some(()));
}

#[test]
fn a_broken_edit_keeps_the_last_good_policy_also_across_a_restart() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    world.folder.write("services/live.yaml", &SERVICE.replace("pools: [all]", "pools: [al]"));
    world.wait_problem("policy-refused");
    world.wait_answer(JAPAN, "127.1.1.1");
    world.wait_kept();
    rhumb.kill();
    let _rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    world.wait_problem("policy-refused");
    world.folder.write("services/live.yaml", &SERVICE.replace("ttl: 5", "ttl: 6"));
    wait_for("the mended policy", || (world.ask(JAPAN).ttl == Some(6)).then_some(()));
    wait_for("no problem", || world.problem_codes().is_empty().then_some(()));
}

#[test]
fn the_state_folder_of_rhumb_yaml_serves_a_broken_policy_too() {
    let world = World::new();
    world.folder.write_server(&format!("state: {}\n", world.folder.state()));
    let mut rhumb = world.serve_with(&[]);
    world.wait_answer(JAPAN, "127.1.1.1");
    let kept = world.folder.root.path().join("state/table");
    wait_for("the table to be kept", || kept.exists().then_some(()));
    world.wait_kept();
    rhumb.kill();
    world.folder.write("fleet.yaml", "version: 1\nnods: {}\n");
    let _rhumb = world.serve_with(&[]);
    world.wait_answer(JAPAN, "127.1.1.1");
    world.wait_problem("policy-refused");
}

#[test]
fn settings_that_need_a_restart_say_so_and_a_replaced_folder_is_read() {
    let world = World::new();
    let _rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    world.folder.write_server("workers: 1\n");
    world.wait_problem("restart-needed");
    let (folder, aside) = (world.folder.policies(), world.folder.root.path().join("aside"));
    std::fs::rename(&folder, &aside).expect("moves the folder away");
    world.wait_problem("policy-unreadable");
    std::fs::rename(&aside, &folder).expect("moves it back");
    world.folder.write("services/live.yaml", &SERVICE.replace("ttl: 5", "ttl: 7"));
    wait_for("the edit in the folder that came back", || (world.ask(JAPAN).ttl == Some(7)).then_some(()));
}

#[test]
fn a_broken_geo_file_keeps_the_last_good_data_also_across_a_restart() {
    let world = World::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/geo-data/country.mmdb");
    let geo = world.folder.path("geo/country.mmdb");
    std::fs::create_dir_all(geo.parent().expect("a parent")).expect("creates");
    std::fs::copy(shipped, &geo).expect("copies");
    world.folder.write("rhumb.yaml", "version: 1\ngeo: [geo/country.mmdb]\n");
    let mut rhumb = world.serve();
    world.wait_answer(GERMANY, "127.2.1.1");
    let bytes = std::fs::read(&geo).expect("reads");
    std::fs::write(&geo, &bytes[..bytes.len() / 3]).expect("truncates");
    world.wait_problem("geo-refused");
    world.wait_answer(GERMANY, "127.2.1.1");
    world.wait_kept();
    rhumb.kill();
    let _rhumb = world.serve();
    world.wait_answer(GERMANY, "127.2.1.1");
    world.wait_answer(JAPAN, "127.1.1.1");
    world.wait_problem("geo-refused");
}

/// Whatever a crash or a disk did to it, the kept geo table costs time at most.
#[test]
fn a_kept_geo_table_survives_a_kill_and_is_never_needed() {
    let world = World::new();
    let kept = world.folder.root.path().join("state/geo-table");
    let mut rhumb = world.serve();
    world.wait_answer(GERMANY, "127.2.1.1");
    // Killed at the first sign of a write.
    let partial = kept.with_file_name("geo-table.new");
    wait_for("the geo table being kept", || (partial.exists() || kept.exists()).then_some(()));
    rhumb.kill();
    let mut rhumb = world.serve();
    world.wait_answer(GERMANY, "127.2.1.1");
    wait_for("the geo table", || kept.exists().then_some(()));
    rhumb.kill();
    let mut rhumb = world.serve();
    rhumb.wait_line("the compiled geo table is taken from");
    world.wait_answer(GERMANY, "127.2.1.1");
    world.wait_answer(JAPAN, "127.1.1.1");
    rhumb.kill();
    let bytes = std::fs::read(&kept).expect("reads");
    std::fs::write(&kept, &bytes[..bytes.len() / 2]).expect("truncates");
    let mut rhumb = world.serve();
    rhumb.wait_line("is passed over, the geo table is compiled: it is cut short");
    world.wait_answer(JAPAN, "127.1.1.1");
    wait_for("the geo table written anew", || std::fs::read(&kept).ok().filter(|now| *now == bytes));
}

#[test]
fn tcp_answers_as_udp_does() {
    let world = World::new();
    let _rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    let packet = query(3, "live.example.test", A, Some(("133.11.0.0".parse().expect("an address"), 24)));
    let mut stream = TcpStream::connect(world.dns).expect("connects");
    let reply = exchange_framed(&mut stream, &packet);
    assert_eq!(reply, exchange(world.dns, &packet).expect("an answer over UDP"));
}

type Issued = rcgen::CertifiedKey<rcgen::KeyPair>;

/// A new certificate, in the files of `world`.
fn issue(world: &World) -> Issued {
    let made =
        rcgen::generate_simple_self_signed(vec!["dns.example.test".to_owned()]).expect("a certificate");
    world.folder.write("tls/cert.pem", &made.cert.pem());
    world.folder.write("tls/key.pem", &made.signing_key.serialize_pem());
    made
}

/// One exchange over TLS with a server that has to show `trusted`.
fn exchange_tls(server: SocketAddr, trusted: &Issued, packet: &[u8]) -> Option<Vec<u8>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).expect("a root");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "dns.example.test".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(config.into(), name).expect("a session");
    let mut socket = TcpStream::connect(server).expect("connects");
    while session.is_handshaking() {
        session.complete_io(&mut socket).ok()?;
    }
    Some(exchange_framed(&mut rustls::Stream::new(&mut session, &mut socket), packet))
}

/// With DNS over TLS as well, at the address returned.
fn world_with_tls() -> (World, SocketAddr, Issued) {
    let world = World::new();
    let made = issue(&world);
    let dot = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let keys = format!("dot: {{ listen: [\"{dot}\"], certificate: tls/cert.pem, key: tls/key.pem }}\n");
    world.folder.write_server(&keys);
    (world, dot, made)
}

#[test]
fn dns_over_tls_answers_as_udp_does() {
    let (world, dot, made) = world_with_tls();
    let _rhumb = world.serve();
    world.wait_answer(JAPAN, "127.1.1.1");
    let packet = query(3, "live.example.test", A, Some(("133.11.0.0".parse().expect("an address"), 24)));
    let reply = exchange_tls(dot, &made, &packet).expect("trusted");
    let plain = exchange(world.dns, &packet).expect("an answer over UDP");
    assert_eq!(parse(&reply), parse(&plain));
}

#[test]
fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let (world, dot, first) = world_with_tls();
    let _rhumb = world.serve();
    let packet = query(3, "www.example.test", A, None);
    assert!(exchange_tls(dot, &first, &packet).is_some());
    let renewed = issue(&world);
    wait_for("the renewed certificate", || exchange_tls(dot, &renewed, &packet));
    assert!(exchange_tls(dot, &first, &packet).is_none(), "the old one is gone");
    world.folder.write("tls/cert.pem", "no certificate at all\n");
    world.wait_problem("certificate-refused");
    assert!(exchange_tls(dot, &renewed, &packet).is_some(), "the good one stays");
    let mended = issue(&world);
    wait_for("the mended certificate", || exchange_tls(dot, &mended, &packet));
    wait_for("no problem", || world.problem_codes().is_empty().then_some(()));
}

#[test]
fn explain_names_the_node_that_queries_get() {
    let world = World::new();
    let _rhumb = world.serve();
    world.wait_answer(GERMANY, "127.2.1.1");
    let admin = world.admin.to_string();
    let explain = |extra: &[&str]| {
        let mut args = vec!["explain", "live.example.test", "--client", "141.20.0.1", "--admin", &admin];
        args.extend(extra);
        run(&args)
    };
    let (code, out, err) = explain(&["--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["node"], "fra-1");
    let (code, out, _) = explain(&[]);
    assert_eq!(code, 0);
    assert!(out.contains("fra-1") && out.contains("tyo-1"), "the pick and the loser are told:\n{out}");
    let https =
        ["explain", "live.example.test", "--type", "HTTPS", "--client", "141.20.0.1", "--admin", &admin];
    let (code, out, err) = run(&https);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("HTTPS 1 . alpn=\"h2\" ipv4hint=127.2.1.1 (NOERROR)"), "{out}");
    assert!(out.lines().any(|line| line.trim().starts_with("node") && line.ends_with("fra-1")), "{out}");
    let (code, out, _) = run(&[&https[..], &["--format", "json"]].concat());
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["addresses"], &told["node"]), (0, &serde_json::json!([]), &"fra-1".into()));
    let (code, _, err) = run(&["explain", "www.example.org", "--client", "141.20.0.1", "--admin", &admin]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("example.test"), "the zones there are get named: {err}");
}

#[test]
fn a_second_daemon_on_the_same_port_or_state_is_refused_with_a_remedy() {
    let world = World::new();
    let _rhumb = world.serve();
    let (dns, state) = (world.dns.to_string(), world.folder.state());
    let policies = world.folder.policies();
    let (code, _, err) =
        run(&["serve", "--policies", &policies, "--state", &state, "--listen", &dns, "--log", "human"]);
    assert_eq!(code, 2);
    assert!(err.contains("in use by another rhumb"), "{err}");
    let other = world.folder.root.path().join("other").to_str().expect("UTF-8").to_owned();
    let (code, _, err) = run(&[
        "serve",
        "--policies",
        &policies,
        "--state",
        &other,
        "--listen",
        &dns,
        "--admin",
        "127.0.0.1:0",
        "--log",
        "human",
    ]);
    assert_eq!(code, 2);
    assert!(err.contains(&dns), "the address is named: {err}");
}
