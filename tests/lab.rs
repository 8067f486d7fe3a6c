//! `rhumb lab` as a newcomer meets it: three clients, three sites, a fault, and the way back.
//!
//! The lab uses the shipped `policies/`, so these tests share its node addresses and run one after
//! another (one test function).

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use support::{Reply, Rhumb, ask, free_port, run, wait_for};

const A: u16 = 1;
const NETWORKS: [&str; 3] = ["202.112.0.0/24", "133.11.0.0/24", "141.20.0.0/24"];

struct Lab {
    rhumb: Rhumb,
    dns: SocketAddr,
    admin: String,
    control: String,
    _state: tempfile::TempDir,
}

impl Lab {
    fn start() -> Self {
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (dns, admin, control) = (local(), local().to_string(), local().to_string());
        let state = tempfile::tempdir().expect("a temporary folder");
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
        let state_path = state.path().to_str().expect("UTF-8").to_owned();
        let mut rhumb = Rhumb::spawn(&[
            "lab",
            "--policies",
            policies,
            "--state",
            &state_path,
            "--listen",
            &dns.to_string(),
            "--admin",
            &admin,
            "--control",
            &control,
        ]);
        rhumb.wait_line("DNS on");
        Self { rhumb, dns, admin, control, _state: state }
    }

    fn ask(&self, subnet: &str) -> Reply {
        wait_for("an answer", || ask(self.dns, "live.rhumb.test", A, subnet))
    }

    fn status(&self) -> serde_json::Value {
        let (_, out, err) = run(&["status", "--admin", &self.admin, "--format", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }

    /// Site of the node with this address.
    fn site(&self, address: IpAddr) -> String {
        let text = address.to_string();
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("nodes").clone();
        let has = |node: &&serde_json::Value| {
            node["addresses"].as_array().is_some_and(|all| all.iter().any(|one| one == text.as_str()))
        };
        let node = nodes.iter().find(has).unwrap_or_else(|| panic!("{text} is a node's address"));
        node["site"].as_str().expect("a site").to_owned()
    }

    fn sites(&self) -> Vec<String> {
        NETWORKS.iter().map(|subnet| self.site(self.ask(subnet).addresses[0])).collect()
    }

    fn lab(&self, args: &[&str]) -> (i32, String, String) {
        let mut all = vec!["lab", args[0], "--control", &self.control];
        all.extend(&args[1..]);
        run(&all)
    }

    fn wait_verdicts(&self, wanted: &str) {
        wait_for("every node to be judged", || {
            let status = self.status();
            let nodes = status["nodes"].as_array().expect("nodes");
            let is = |node: &serde_json::Value| {
                let families = node["families"].as_array().expect("families");
                families.iter().filter(|family| !family.is_null()).all(|family| family["verdict"] == wanted)
            };
            nodes.iter().all(is).then_some(())
        });
    }
}

#[test]
fn three_networks_get_three_sites_and_a_fault_moves_one() {
    let mut lab = Lab::start();
    lab.wait_verdicts("up");
    let sites = lab.sites();
    assert!(sites[0] != sites[1] && sites[1] != sites[2] && sites[0] != sites[2], "{sites:?}");
    for subnet in NETWORKS {
        let scope = lab.ask(subnet).scope.expect("ECS is answered with ECS");
        assert!((1..=24).contains(&scope), "{subnet} has scope {scope}");
    }

    let tokyo = sites[1].clone();
    let before = lab.ask(NETWORKS[1]).addresses[0];
    let (code, out, err) = lab.lab(&["fault", &tokyo, "--down"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&tokyo), "what was hit is told: {out}");
    let since = Instant::now();
    let after = wait_for("the answer to move", || {
        let addresses = lab.ask(NETWORKS[1]).addresses;
        addresses.first().copied().filter(|address| *address != before && lab.site(*address) != tokyo)
    });
    eprintln!("moved from {before} to {after} in {:?}", since.elapsed());
    lab.rhumb.wait_line("evacuation");

    let (code, out, err) = lab.lab(&["heal"]);
    assert_eq!(code, 0, "{out}{err}");
    lab.wait_verdicts("up");

    let (code, _, err) = lab.lab(&["fault", "tyoo", "--down"]);
    assert_eq!(code, 1, "an unknown target is refused");
    assert!(err.contains("did you mean"), "{err}");
    assert_eq!(lab.rhumb.terminate(), Some(0));
}
