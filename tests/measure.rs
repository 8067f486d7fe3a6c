//! Clients report what they measure, and the plan follows: real processes, TLS and DNS on loopback.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;
#[path = "vantages/world.rs"]
#[allow(dead_code, reason = "vantages are tested elsewhere")]
mod world;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use support::{Rhumb, free_port, run, wait_for};
use world::World;

struct Listener {
    world: World,
    address: SocketAddr,
    keys: String,
    _rhumb: Rhumb,
}

fn start() -> Listener {
    let world = World::new();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (code, line, err) = run(&["measure", "key", "player"]);
    assert_eq!(code, 0, "{err}");
    world.folder.write("passes", &line);
    let keys = world.folder.path("passes");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&keys, private).expect("sets");
    world.folder.write_server(&format!(
        "measure: {{ listen: \"{address}\", certificate: tls/cert.pem, key: tls/key.pem, passes: passes }}\n"
    ));
    let (code, out, err) = run(&["check", &world.folder.policies()]);
    assert!(code <= 1 && !out.contains("error"), "{code} {out}{err}");
    let keys = keys.to_str().expect("UTF-8").to_owned();
    let rhumb = world.serve();
    Listener { world, address, keys, _rhumb: rhumb }
}

impl Listener {
    fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.world.folder.path("tls/ca.pem")).expect("a certificate");
        roots.add(ca).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        Arc::new(builder.expect("a version").with_root_certificates(roots).with_no_client_auth())
    }

    /// What the listener answers, or how the connection ended.
    fn post(
        &self,
        version: &'static SupportedProtocolVersion,
        pass: Option<&str>,
        document: &str,
    ) -> std::io::Result<String> {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let connection = ClientConnection::new(self.client(version), name).expect("a client");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(self.address)?);
        let pass = pass.map_or_else(String::new, |pass| format!("authorization: Bearer {pass}\r\n"));
        let length = document.len();
        write!(
            stream,
            "POST /measure HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\n{pass}content-length: {length}\r\n\r\n{document}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn pass(&self, client: &str) -> String {
        let (code, out, err) =
            run(&["measure", "pass", "--keys", &self.keys, "--key", "player", "--client", client]);
        assert_eq!(code, 0, "{err}");
        out.trim().to_owned()
    }

    /// Round trip (us) and measurements behind it, of Frankfurt for a client in Japan.
    fn distance(&self) -> (u64, u64) {
        let admin = self.world.admin.to_string();
        let command =
            ["explain", "live.example.test", "--client", "133.11.0.1", "--admin", &admin, "--format", "json"];
        let (code, out, err) = run(&command);
        assert_eq!(code, 0, "{out}{err}");
        let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let candidates = told["steering"]["plan"]["candidates"].as_array().expect("candidates");
        let found = candidates.iter().find(|candidate| candidate["node"] == "fra-1").expect("a member");
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        (number(&found["cost"]["distance_us"]), number(&found["measurements"]))
    }
}

#[test]
fn what_clients_measure_enters_their_groups_cost_and_a_key_alone_only_a_little() {
    let listener = start();
    let (guess, votes) = listener.distance();
    assert!(guess > 100_000 && votes == 0, "{guess} {votes}");
    // One party that speaks for ten networks.
    for client in 0..10 {
        let pass = listener.pass(&format!("133.11.{client}.1"));
        let answer =
            listener.post(&TLS13, Some(&pass), r#"{"node": "fra-1", "rtt_ms": 9.5}"#).expect("answers");
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
    let drawn = wait_for("the map to be drawn", || {
        let now = listener.distance();
        (now.0 != guess).then_some(now)
    });
    assert!(
        drawn.0 < guess && drawn.0 > guess - guess / 10 && drawn.1 == 0,
        "on its leash: {drawn:?} {guess}"
    );
}

#[test]
fn strangers_are_told_what_is_wrong() {
    let listener = start();
    let good = r#"{"node": "fra-1", "rtt_ms": 9.5}"#;
    let cases = [
        (None, good, "204"),
        (None, "{", "400"),
        (None, r#"{"node": "nowhere", "rtt_ms": 9.5}"#, "404"),
        (Some("player.e.e"), good, "401"),
    ];
    for (pass, document, code) in cases {
        let answer = listener.post(&TLS13, pass, document).expect("answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{document}: {answer}");
    }
    assert!(listener.post(&TLS12, None, good).is_err(), "TLS 1.3 only");
    let metrics = support::fetch(listener.world.admin, "/metrics");
    let has = |line: &str| metrics.lines().any(|told| told == line);
    assert!(has("rhumb_measurements_total 1") && has("rhumb_measurements_refused_total 3"), "{metrics}");
    // Not HTTP, and nothing at all: the next is served.
    let mut garbage = TcpStream::connect(listener.address).expect("connects");
    garbage.write_all(&[0xff; 600]).expect("sends");
    let _silent = TcpStream::connect(listener.address).expect("connects");
    assert!(listener.post(&TLS13, None, good).is_ok());
}

#[test]
fn a_key_file_that_others_may_read_keeps_the_server_down_and_says_why() {
    let listener = start();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&listener.keys, open).expect("sets");
    let (code, out, err) =
        run(&["measure", "pass", "--keys", &listener.keys, "--key", "player", "--client", "192.0.2.1"]);
    assert!(code == 2 && err.contains("chmod 600"), "{code} {out}{err}");
    let (code, out, err) = run(&["check", &listener.world.folder.policies()]);
    let told = format!("{out}{err}");
    assert!(code == 0 && told.contains("secrets-unusable") && told.contains("chmod 600"), "{code} {told}");
    let moved = format!("{}.away", listener.keys);
    std::fs::rename(&listener.keys, &moved).expect("moves");
    let (_, out, _) = run(&["check", &listener.world.folder.policies()]);
    assert!(out.contains("secrets-unusable") && out.contains("cannot read"), "{out}");
    std::fs::rename(&moved, &listener.keys).expect("moves back");
    let state = listener.world.folder.root.path().join("another");
    let policies = listener.world.folder.policies();
    let state = state.to_str().expect("UTF-8");
    let free = format!("127.0.0.1:{}", free_port());
    let (code, out, err) = run(&[
        "serve",
        "--policies",
        &policies,
        "--state",
        state,
        "--listen",
        &free,
        "--admin",
        "127.0.0.1:0",
    ]);
    assert!(code != 0 && format!("{out}{err}").contains("chmod 600"), "{code} {out}{err}");
}
