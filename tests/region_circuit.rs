//! The circuit of a region, from outside: its nodes answer every probe and report errors, so it is given
//! nobody; then a part of its clients tries it, and it closes.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use rhumb::model::token::TokenHash;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use support::{Folder, TestNode, ask, fetch, free_port, push_load, run, wait_for};

const TOKEN: &str = "of all nodes";
const NAME: &str = "live.example.test";
const NETWORKS: u32 = 100;
/// Japan's clients are near the first five, which are the region.
const NODES: [(&str, [u8; 4]); 6] = [
    ("tyo-1", [127, 1, 1, 1]),
    ("tyo-2", [127, 1, 1, 2]),
    ("tyo-3", [127, 1, 1, 3]),
    ("tyo-4", [127, 1, 1, 4]),
    ("tyo-5", [127, 1, 1, 5]),
    ("fra-1", [127, 2, 1, 1]),
];
/// The bound is a tenth; from three tenths on health would have the nodes degraded for it.
const TOO_MANY: &str = "0.28";
/// Below the bound that opens, above the one that closes.
const STILL_MANY: &str = "0.04";

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
pools: { all: { select: { role: edge } } }
chains:
  - pools: [all]
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

struct World {
    dns: SocketAddr,
    admin: SocketAddr,
    pushed: Option<Instant>,
}

impl World {
    fn policies(port: u16) -> Folder {
        let folder = Folder::with(&[("services/live.yaml", SERVICE), ("zones/example.test.zone", ZONE)]);
        folder.write_server("");
        let token = TokenHash::of(TOKEN);
        folder.write(
            "fleet.yaml",
            &format!(
                "version: 1
regions:
  ea: {{ circuit: {{ errors: 10%, errors_exit: 3%, open_for: 8s, trial: 10%, trial_for: 3s }} }}
  eu: {{}}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
  capacity: {{ unit: mbps, amount: 1000 }}
  load: {{ push: {{ token: \"{token}\" }}, amount: /mbps, ratios: {{ error_rate: /errors }} }}
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1], labels: {{ role: edge }} }}
  tyo-2: {{ site: tyo, addresses: [127.1.1.2], labels: {{ role: edge }} }}
  tyo-3: {{ site: tyo, addresses: [127.1.1.3], labels: {{ role: edge }} }}
  tyo-4: {{ site: tyo, addresses: [127.1.1.4], labels: {{ role: edge }} }}
  tyo-5: {{ site: tyo, addresses: [127.1.1.5], labels: {{ role: edge }} }}
  fra-1: {{ site: fra, addresses: [127.2.1.1], labels: {{ role: edge }} }}
"
            ),
        );
        folder
    }

    /// What all nodes report, those of the region with this error rate. A report that comes too soon after
    /// the last is not made.
    fn report(&mut self, errors: &str) {
        if self.pushed.is_some_and(|at| at.elapsed() < Duration::from_millis(1_200)) {
            return;
        }
        self.pushed = Some(Instant::now());
        for (node, _) in NODES {
            let errors = if node.starts_with("tyo") { errors } else { "0" };
            push_load(self.admin, node, TOKEN, &format!("{{\"mbps\": 100, \"errors\": {errors}}}"));
        }
    }

    /// How many of the networks are sent to the region.
    fn in_region(&self) -> usize {
        let address = |network: u32| {
            let subnet = format!("133.11.{network}.0/24");
            wait_for("an answer", || ask(self.dns, NAME, 1, &subnet)?.addresses.first().copied())
        };
        let of_region = |address: &IpAddr| {
            NODES.iter().any(|(name, own)| name.starts_with("tyo") && *address == IpAddr::from(*own))
        };
        (0..NETWORKS).map(address).filter(of_region).count()
    }

    fn status(&self) -> Value {
        let (_, out, err) = run(&["status", "--admin", &self.admin.to_string(), "--format", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }

    /// What the status says of the region's circuit; `None`: it is closed.
    fn problem(&self) -> Option<String> {
        let status = self.status();
        let problems = status["problems"].as_array().expect("problems").clone();
        let cut = problems.iter().find(|problem| problem["code"] == "region-cut")?;
        Some(cut["message"].as_str().expect("a message").to_owned())
    }
}

#[test]
fn a_region_that_errs_is_left_tried_and_taken_back() {
    let port = free_port();
    let nodes = NODES.map(|(_, address)| TestNode::start(SocketAddr::from((address, port))));
    let folder = World::policies(port);
    let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut world = World { dns: local(), admin: local(), pushed: None };
    let mut rhumb = folder.serve(world.dns, world.admin);
    wait_for("all of Japan to be near", || {
        world.report("0");
        (world.in_region() == NETWORKS as usize).then_some(())
    });
    assert_eq!(world.problem(), None);

    let told = wait_for("the circuit to open", || {
        world.report(TOO_MANY);
        world.problem()
    });
    assert_eq!(told, "the circuit of region ea is open: nobody is sent there");
    assert_eq!(world.in_region(), 0, "though every probe succeeds");
    let status = world.status();
    let verdicts: Vec<&Value> = status["nodes"].as_array().expect("nodes").iter().collect();
    assert!(verdicts.iter().all(|node| node["families"][0]["verdict"] == "up"), "{status}");
    assert_eq!(status["services"][0]["rungs"][0]["rung"], "circuit", "{status}");
    let metrics = fetch(world.admin, "/metrics");
    assert!(metrics.contains(r#"rhumb_rung{service="live",area="*",rung="circuit"} 1"#), "{metrics}");

    // By and by the average that is reported forgets. It is not well enough to be taken back.
    let unwell = "region ea is on trial: its errors are above `errors_exit`, so that it does not close";
    let on_trial = wait_for("a trial", || {
        world.report(STILL_MANY);
        let sent = world.in_region();
        let told = world.problem().expect("it does not close without a trial, nor above its exit");
        (told == unwell && sent > 0).then_some(sent)
    });
    // All five nodes together; a hundred networks do not divide exactly.
    assert!(on_trial <= NETWORKS as usize / 5, "{on_trial} of {NETWORKS} for a trial of 10 %");
    wait_for("the circuit to close", || {
        world.report("0");
        world.problem().is_none().then_some(())
    });
    assert!(world.in_region() > 0, "it fills by the ramp");
    wait_for("normal service", || {
        (world.status()["services"][0]["rungs"][0]["rung"] == "normal").then_some(())
    });
    assert_eq!(rhumb.terminate(), Some(0));
    drop(nodes);
}
