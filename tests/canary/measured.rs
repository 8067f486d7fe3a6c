//! A canary whose clients say that they fare worse: over TLS, with passes, as players do.

use super::support::{self, Rhumb, run, wait_for};
use super::vantage::World;
use super::{canary_of, fleet, service};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Client groups that measure, and networks of each.
const GROUPS: usize = 24;
const NETWORKS: usize = 3;

struct Players {
    world: World,
    listener: SocketAddr,
    keys: String,
    _rhumb: Rhumb,
}

fn start() -> Players {
    let world = World::new();
    let listener = SocketAddr::from(([127, 0, 0, 1], support::free_port()));
    let mut lines = String::new();
    // Two parties: one alone would be believed little.
    for key in ["player", "other"] {
        let (code, line, err) = run(&["measure", "key", key]);
        assert_eq!(code, 0, "{err}");
        lines.push_str(&line);
    }
    world.folder.write("passes", &lines);
    let keys = world.folder.path("passes");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&keys, private).expect("sets");
    world.folder.write_server(&format!(
        "measure: {{ listen: \"{listener}\", certificate: tls/cert.pem, key: tls/key.pem, passes: passes, least_sources: 2 }}\n"
    ));
    world.folder.write("fleet.yaml", &fleet(None));
    world.folder.write("services/live.yaml", &service(100, 100));
    let area = |at: usize| format!("  a{at:03}: {{ cidrs: [5.{at}.0.0/16] }}\n");
    let areas: String = (0..GROUPS).map(area).collect();
    world.folder.write("clients.yaml", &format!("version: 1\nareas:\n{areas}"));
    let keys = keys.to_str().expect("UTF-8").to_owned();
    let rhumb = world.serve();
    Players { world, listener, keys, _rhumb: rhumb }
}

impl Players {
    fn post(&self, config: &Arc<ClientConfig>, pass: &str, document: &str) -> String {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(self.listener).expect("connects"));
        let length = document.len();
        write!(
            stream,
            "POST /measure HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\nauthorization: Bearer {pass}\r\n\
             content-length: {length}\r\n\r\n{document}"
        )
        .expect("asks");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn pass(&self, key: &str, client: &str) -> String {
        let (code, out, err) =
            run(&["measure", "pass", "--keys", &self.keys, "--key", key, "--client", client]);
        assert_eq!(code, 0, "{err}");
        out.trim().to_owned()
    }

    /// Clients of every group say that Frankfurt is far.
    fn measure(&self) {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.world.ca_file()).expect("a certificate");
        roots.add(ca).expect("an authority");
        let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        for group in 0..GROUPS {
            for network in 0..NETWORKS {
                let pass = self.pass(["player", "other"][network % 2], &format!("5.{group}.{network}.1"));
                let answer = self.post(&config, &pass, r#"{"node": "fra-1", "rtt_ms": 5000, "loss": 0.0}"#);
                assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
            }
        }
    }

    /// Measurements behind the distance from the last group to Frankfurt.
    fn votes(&self) -> Option<u64> {
        let (admin, client) = (self.world.admin.to_string(), format!("5.{}.0.1", GROUPS - 1));
        let explain =
            ["explain", "live.example.test", "--client", &client, "--format", "json", "--admin", &admin];
        let told: serde_json::Value = serde_json::from_str(&run(&explain).1).ok()?;
        let candidates = told["steering"]["plan"]["candidates"].as_array()?;
        candidates.iter().find(|it| it["node"] == "fra-1")?["measurements"].as_u64()
    }
}

#[test]
fn clients_that_measure_worse_round_trips_end_a_canary() {
    let players = start();
    let world = &players.world;
    players.measure();
    wait_for("the map to be drawn", || players.votes().filter(|&votes| votes > 0));
    let next = world.folder.root.path().join("next");
    for file in ["rhumb.yaml", "fleet.yaml", "clients.yaml", "services/live.yaml", "zones/example.test.zone"]
    {
        let to = next.join(file);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("creates");
        std::fs::copy(world.folder.path(file), to).expect("copies");
    }
    std::fs::write(next.join("services/live.yaml"), service(1, 1_000)).expect("writes");
    let (admin, next) = (world.admin.to_string(), next.to_str().expect("UTF-8").to_owned());
    let flags =
        ["--canary", "50%", "--for", "2m", "--latency", "50ms", "--alpha", "50%", "--min-groups", "3"];
    let apply = [&["apply", &next, "--why", "x", "--admin", &admin][..], &flags].concat();
    let (code, out, err) = run(&apply);
    assert!(code == 1, "{code} {out}{err}");
    for told in ["aborted by rhumb: the round trip of its clients rose by", "worse", "round trip"] {
        assert!(out.contains(told), "{told}: {out}{err}");
    }
    let canary = canary_of(&admin);
    let look = canary.look.expect("it looked");
    assert!(look.measured.iter().all(|&count| count > 0), "{look:?}");
    let latency = look.latency.expect("enough groups");
    assert!(latency.is_worse() && latency.control.mean.abs() < latency.canary.mean / 2.0, "{latency:?}");
    let file = std::fs::read_to_string(world.folder.path("services/live.yaml")).expect("readable");
    assert_eq!(file, service(100, 100), "the former policy is back");
}
