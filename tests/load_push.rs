//! Load that nodes push: to the admin address, and over TLS to where vantages report.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;
#[path = "vantages/world.rs"]
#[allow(dead_code, reason = "vantages are tested elsewhere")]
mod world;

use rhumb::model::token::TokenHash;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use support::{Rhumb, wait_for};
use world::World;

fn start() -> (World, Rhumb) {
    let world = World::new();
    let text = std::fs::read_to_string(world.folder.path("fleet.yaml")).expect("reads");
    let hash = TokenHash::of("tyo's");
    let push = format!(
        "    capacity: {{ unit: mbps, amount: 1000 }}\n    load: {{ push: {{ token: \"{hash}\" }}, amount: /mbps, ratios: {{ cpu: /cpu }} }}\n"
    );
    let node = "  tyo-1:\n    site: tyo\n    addresses: [127.1.1.1]\n    labels: { role: edge }\n";
    let text = text.replace(
        "  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge } }\n",
        &format!("{node}{push}"),
    );
    assert!(text.contains("push:"), "the node is as it was");
    world.folder.write("fleet.yaml", &text);
    let rhumb = world.serve();
    (world, rhumb)
}

fn request(node: &str, token: Option<&str>, document: &str) -> String {
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let length = document.len();
    format!(
        "POST /load/{node} HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\n{token}content-length: {length}\r\n\r\n{document}"
    )
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("asks");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

const GOOD: &str = r#"{"mbps": 500, "cpu": 0.25}"#;

#[test]
fn a_node_pushes_its_load_to_the_admin_address() {
    let (world, _rhumb) = start();
    let push = |node: &str, token: Option<&str>, document: &str| {
        exchange(TcpStream::connect(world.admin).expect("connects"), &request(node, token, document))
    };
    let check = |(node, token, document): (&str, Option<&str>, &str), code: &str, part: &str| {
        let answer = push(node, token, document);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(part), "{answer}");
    };
    let token = Some("tyo's");
    check(("tyo-1", None, GOOD), "401", "Authorization: Bearer TOKEN");
    check(("tyo-1", Some("fra's"), GOOD), "401", "the wrong token");
    check(("tyo-2", token, GOOD), "404", "no node of this name pushes its load");
    check(("fra-1", token, GOOD), "404", "no node of this name pushes its load");
    check(("tyo-1", token, "mbps 5"), "400", "not json");
    check(("tyo-1", token, r#"{"mbps": 5}"#), "400", r#"lacks a number at \"/cpu\""#);
    check(("tyo-1", token, "{}"), "400", r#"\"/mbps\""#);
    // No octet more, so that all of it is read before the answer.
    check(("tyo-1", token, &" ".repeat((1 << 20) + 1)), "413", "more than 1024 KiB");
    check(("tyo-1", token, GOOD), "204", "");
    let too_soon = || push("tyo-1", token, GOOD).starts_with("HTTP/1.1 429 ").then_some(());
    wait_for("a report that comes too soon", too_soon);
    wait_for("the load to be shown", || {
        let status = world.status();
        let node = status["nodes"].as_array()?.iter().find(|node| node["name"] == "tyo-1")?.clone();
        (node["load"]["amount"] == 500 && node["load"]["binding"] == "mbps").then_some(())
    });
    let metrics = support::fetch(world.admin, "/metrics");
    assert!(!metrics.contains(r#"rhumb_load_pushed_total{outcome="taken"} 0"#), "{metrics}");
}

#[test]
fn a_node_pushes_its_load_over_tls() {
    let (world, _rhumb) = start();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.ca_file()).expect("reads")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let push = |token| {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let session = ClientConnection::new(Arc::clone(&config), name).expect("a session");
        let stream = TcpStream::connect(world.reports).expect("connects");
        exchange(StreamOwned::new(session, stream), &request("tyo-1", Some(token), GOOD))
    };
    assert!(push("fra's").starts_with("HTTP/1.1 401 "));
    let answer = push("tyo's");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}
