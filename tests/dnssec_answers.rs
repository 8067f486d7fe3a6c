//! Signed answers, judged by a validator: BIND's `delv` asks over UDP and TCP with the zone's key as its
//! anchor, for every kind of answer there is.

#[path = "dnssec/signed_world.rs"]
mod signed_world;
mod world;

use rhumb::dns::{Scratch, Transport, answer};
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::routing::Snapshot;
use rhumb::sign::key::Role;
use rhumb::zone::rtype;
use signed_world::{SignedWorld, tool};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use world::{ask, ctx, reply};

const SECURE: &str = "fully validated";
const DENIED: &str = "negative response, fully validated";

/// Name, type, what delv says of it, and a text its output has.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("rhumb.test", "SOA", SECURE, "admin.rhumb.test."),
    ("rhumb.test", "NS", SECURE, "ns2.rhumb.test."),
    ("rhumb.test", "DNSKEY", SECURE, "257 3"),
    ("rhumb.test", "CDS", SECURE, "CDS"),
    ("rhumb.test", "CDNSKEY", SECURE, "CDNSKEY"),
    ("rhumb.test", "NSEC", SECURE, "NSEC"),
    ("rhumb.test", "ANY", SECURE, "rhumb.test."),
    ("MaIl.rHumb.Test", "A", SECURE, "192.0.2.3"),
    ("odd.rhumb.test", "TYPE65400", SECURE, "010203"),
    ("srv.rhumb.test", "SRV", SECURE, "443"),
    // Steered: static types beside, addresses, an apex, policies of last resort.
    ("live.rhumb.test", "A", SECURE, "203.0.113."),
    ("live.rhumb.test", "AAAA", SECURE, "2001:db8:"),
    ("live.rhumb.test", "TXT", SECURE, "beside a steered name"),
    ("split.rhumb.test", "A", SECURE, "203.0.113."),
    ("pair.rhumb.test", "A", SECURE, "203.0.113."),
    ("open.rhumb.test", "A", SECURE, "203.0.113."),
    ("fallback.rhumb.test", "AAAA", SECURE, "2001:db8:f::7"),
    ("apex.test", "A", SECURE, "203.0.113."),
    ("apex.test", "TXT", SECURE, "static beside steered"),
    ("live.rhumb.test", "MX", DENIED, ""),
    ("nodata.rhumb.test", "A", DENIED, ""),
    ("nodata.rhumb.test", "AAAA", DENIED, ""),
    // Other steered types, at the hostname and below it.
    ("multi.rhumb.test", "HTTPS", SECURE, "ipv4hint=203.0.113."),
    ("multi.rhumb.test", "TXT", SECURE, "nodes.rhumb.test"),
    ("multi.rhumb.test", "SRV", SECURE, "5060"),
    ("multi.rhumb.test", "SVCB", DENIED, ""),
    ("_sip._udp.multi.rhumb.test", "SRV", SECURE, "nodes.rhumb.test."),
    ("_sip._udp.multi.rhumb.test", "A", DENIED, ""),
    ("_sip._udp.multi.rhumb.test", "ANY", SECURE, ""),
    ("_udp.multi.rhumb.test", "SRV", DENIED, ""),
    ("_x._udp.multi.rhumb.test", "SRV", DENIED, ""),
    ("_dns.multi.rhumb.test", "SVCB", SECURE, "ipv6hint=2001:db8:"),
    ("_8443._https.multi.rhumb.test", "HTTPS", SECURE, "port=8443"),
    ("fallback.rhumb.test", "HTTPS", SECURE, "198.51.100.7"),
    ("fallback.rhumb.test", "SRV", DENIED, ""),
    ("nodata.rhumb.test", "HTTPS", DENIED, ""),
    // Aliases, in the zone and out of it.
    ("www.rhumb.test", "A", SECURE, "live.rhumb.test."),
    ("alias.rhumb.test", "A", SECURE, "192.0.2.3"),
    ("alias.rhumb.test", "CNAME", SECURE, "deep.alias"),
    ("gone.rhumb.test", "A", SECURE, "$NXDOMAIN"),
    ("www.child.rhumb.test", "A", SECURE, "192.0.2.80"),
    // Wildcards.
    ("x.wild.rhumb.test", "A", SECURE, "192.0.2.9"),
    ("a.b.wild.rhumb.test", "TXT", SECURE, "any of them"),
    ("x.wild.rhumb.test", "MX", DENIED, ""),
    ("x.walias.rhumb.test", "A", SECURE, "192.0.2.3"),
    ("host.wild.rhumb.test", "A", DENIED, ""),
    ("x.host.wild.rhumb.test", "A", DENIED, ""),
    // What is not there.
    ("nothing.rhumb.test", "A", DENIED, ""),
    ("x.y.mail.rhumb.test", "A", DENIED, ""),
    ("ent.rhumb.test", "A", DENIED, ""),
    ("b.c.ent.rhumb.test", "TXT", DENIED, ""),
    ("x.ent.rhumb.test", "A", DENIED, ""),
    ("!.rhumb.test", "A", DENIED, ""),
    ("zzz.rhumb.test", "A", DENIED, ""),
    ("none.apex.test", "A", DENIED, ""),
    // Delegations: with DS, and to a zone that is here too and has none.
    ("sub.rhumb.test", "DS", SECURE, "8 2"),
    ("child.rhumb.test", "DS", DENIED, ""),
];

/// Answers queries on a port of both transports until the test ends.
fn serve(snapshot: Arc<Snapshot>) -> u16 {
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = tcp.local_addr().expect("bound").port();
        if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
            break (udp, tcp);
        }
    };
    let port = tcp.local_addr().expect("bound").port();
    let of_udp = Arc::clone(&snapshot);
    std::thread::spawn(move || {
        let (mut query, mut out) = ([0; 4_096], [0; 1_232]);
        while let Ok((len, peer)) = udp.recv_from(&mut query) {
            let ctx = ctx(Transport::Udp);
            let len = answer(&of_udp, &ctx, &mut Scratch::default(), &query[..len], &mut out);
            let _ = udp.send_to(&out[..len], peer);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut head = [0; 2];
            while stream.read_exact(&mut head).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(head))];
                let mut out = vec![0; 65_535];
                if stream.read_exact(&mut query).is_err() {
                    break;
                }
                let ctx = ctx(Transport::Tcp);
                let len = answer(&snapshot, &ctx, &mut Scratch::default(), &query, &mut out);
                let _ = stream.write_all(&u16::try_from(len).expect("short").to_be_bytes());
                let _ = stream.write_all(&out[..len]);
            }
        }
    });
    port
}

/// A trust anchor of every zone, as delv reads it.
fn anchors(world: &SignedWorld) -> String {
    let mut text = String::from("trust-anchors {\n");
    for (head, zone) in world.snapshot.names().zones().iter().zip(0..) {
        let (keys, _) = world.signed.apex_set(zone, rtype::DNSKEY).expect("a signed zone");
        for record in keys.records().filter(|record| record.rdata[1] & 1 == 1) {
            let key = data_encoding::BASE64.encode(&record.rdata[4..]);
            let algorithm = record.rdata[3];
            let line = writeln!(text, "  {}. static-key 257 3 {algorithm} \"{key}\";", head.origin);
            line.expect("writing to a string does not fail");
        }
    }
    text + "};\n"
}

#[test]
fn delv_validates_every_kind_of_answer() {
    for (algorithm, roles) in
        [(Algorithm::EcdsaP256Sha256, &[Role::Csk][..]), (Algorithm::Ed25519, &[Role::Ksk, Role::Zsk])]
    {
        let world = SignedWorld::new(SignedZones::All, algorithm, roles);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("anchors");
        std::fs::write(&file, anchors(&world)).expect("written");
        let file = file.to_str().expect("UTF-8").to_owned();
        let port = serve(Arc::new(world.snapshot.with_signed(Some(world.signed)))).to_string();
        let mut wrong = Vec::new();
        for (name, rtype, verdict, text) in CASES {
            let zone = ["apex.test", "child.rhumb.test", "rhumb.test"];
            let name_below = name.to_lowercase();
            let is_parent = *rtype == "DS";
            let within = |zone: &&&str| name_below.ends_with(**zone) && !(is_parent && name_below == ***zone);
            let root = format!("+root={}", zone.iter().find(within).expect("one of the zones"));
            let args = ["@127.0.0.1", "-p", &port, "-a", &file, &root, "+nomultiline", name, rtype];
            let Some((_, said)) = tool("delv", "bind9-dnsutils", &args) else { return };
            if !said.contains(&format!("; {verdict}")) || !said.contains(text) {
                wrong.push(format!("{name} {rtype}: expected {verdict} and {text:?}, got\n{said}"));
            }
        }
        assert!(wrong.is_empty(), "{algorithm:?}: {} wrong\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn signed_world() -> Snapshot {
    let world = SignedWorld::new(SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    world.snapshot.with_signed(Some(world.signed))
}

#[test]
fn without_the_do_bit_nothing_is_added() {
    let (plain, signed) = (world::World::new().snapshot(), signed_world());
    for (name, rtype, ..) in CASES {
        let Some(qtype) =
            rhumb::zone::rtype::parse(rtype).filter(|qtype| !matches!(qtype, 46..=48 | 59 | 60))
        else {
            continue;
        };
        let query = ask(name, qtype).edns(1_232);
        let transport = ctx(Transport::Udp);
        assert_eq!(
            reply(&plain, &transport, &query).bytes,
            reply(&signed, &transport, &query).bytes,
            "{name}"
        );
    }
}

#[test]
fn usual_signed_answers_fit_a_datagram() {
    let snapshot = signed_world();
    for (name, rtype, ..) in CASES {
        let qtype = rhumb::zone::rtype::parse(rtype).unwrap_or(255);
        let mut query = ask(name, qtype).edns(1_232);
        query.dnssec_ok = true;
        let reply = reply(&snapshot, &ctx(Transport::Udp), &query);
        assert!(!reply.is_truncated, "{name} {rtype}: {} octets", reply.bytes.len());
    }
    // What does not fit is cut to nothing, and the bit says so.
    let mut query = ask("nothing.rhumb.test", 1).edns(512);
    query.dnssec_ok = true;
    let reply = reply(&snapshot, &ctx(Transport::Udp), &query);
    assert!(reply.is_truncated && reply.authority.is_empty(), "{}", reply.bytes.len());
}

#[test]
fn a_referral_tells_whether_it_is_signed() {
    let snapshot = signed_world();
    let mut query = ask("x.sub.rhumb.test", 1).edns(1_232);
    query.dnssec_ok = true;
    let reply = reply(&snapshot, &ctx(Transport::Udp), &query);
    let types: Vec<u16> = reply.authority.iter().map(|(_, rtype, ..)| *rtype).collect();
    assert_eq!(types, [2, 2, 43, 46]);
    assert!(!reply.is_authoritative && reply.answers.is_empty() && !reply.additional.is_empty());
}
