//! A fleet past its capacity, from outside: newcomers are answered the waiting room, networks that were
//! answered before keep their nodes, and when the load is gone the ladder is climbed down step by step.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use rhumb::model::token::TokenHash;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use support::{Folder, Reply, Rhumb, TestNode, ask, fetch, free_port, push_load, run, wait_for};

const TOKEN: &str = "of all nodes";
const NAME: &str = "live.example.test";
const HALL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 3, 1, 1));

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
pools:
  all: { select: { role: edge } }
  hall: { select: { role: hall } }
chains:
  - pools: [all]
shed: { pool: hall, enter: 90%, exit: 75%, dwell: 2s }
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    _nodes: Vec<TestNode>,
    pushed: Option<Instant>,
}

impl World {
    fn new() -> Self {
        let port = free_port();
        let nodes = [[127, 1, 1, 1], [127, 2, 1, 1], [127, 3, 1, 1]];
        let nodes = nodes.map(|address| TestNode::start(SocketAddr::from((address, port)))).into();
        let folder = Folder::with(&[("services/live.yaml", SERVICE), ("zones/example.test.zone", ZONE)]);
        folder.write_server("");
        let token = TokenHash::of(TOKEN);
        folder.write(
            "fleet.yaml",
            &format!(
                "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
  capacity: {{ unit: mbps, amount: 1000 }}
  load: {{ push: {{ token: \"{token}\" }}, amount: /mbps }}
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1], labels: {{ role: edge }} }}
  fra-1: {{ site: fra, addresses: [127.2.1.1], labels: {{ role: edge }} }}
  hall-1: {{ site: fra, addresses: [127.3.1.1], labels: {{ role: hall }} }}
"
            ),
        );
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { folder, dns: local(), admin: local(), _nodes: nodes, pushed: None }
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    /// What both nodes report from now on; a report that comes too soon after the last is not made.
    fn report(&mut self, mbps: u32) {
        if self.pushed.is_some_and(|at| at.elapsed() < Duration::from_millis(1_200)) {
            return;
        }
        self.pushed = Some(Instant::now());
        for node in ["tyo-1", "fra-1"] {
            push_load(self.admin, node, TOKEN, &format!("{{\"mbps\": {mbps}}}"));
        }
    }

    fn ask(&self, network: u32) -> Reply {
        let subnet = format!("133.{}.{}.0/24", 11 + (network >> 8), network & 255);
        wait_for("an answer", || ask(self.dns, NAME, 1, &subnet))
    }

    /// Rung and share of the one area.
    fn rung(&self) -> (String, u64) {
        let (_, out, err) = run(&["status", "--admin", &self.admin.to_string(), "--format", "json"]);
        let status: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        let area = &status["services"][0]["rungs"][0];
        (area["rung"].as_str().expect("a rung").to_owned(), area["shed"].as_u64().expect("a share"))
    }

    fn explain(&self, client: &str) -> Value {
        let admin = self.admin.to_string();
        let (_, out, err) =
            run(&["explain", NAME, "--client", client, "--admin", &admin, "--format", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }
}

#[test]
fn newcomers_wait_while_the_fleet_is_full_and_nobody_else_does() {
    let mut world = World::new();
    let mut rhumb = world.serve();
    wait_for("load to be known", || {
        world.report(500);
        let metrics = fetch(world.admin, "/metrics");
        metrics.contains("rhumb_area_utilisation_ratio{").then_some(())
    });
    let placed: Vec<Vec<IpAddr>> = (0..40).map(|network| world.ask(network).addresses).collect();
    assert!(placed.iter().all(|addresses| *addresses != [HALL]), "{placed:?}");
    assert_eq!(world.ask(0).scope, Some(24), "whoever is seen is seen alone");

    let shed = wait_for("newcomers to be shed", || {
        world.report(1_400);
        let (rung, shed) = world.rung();
        (rung == "shed").then_some(shed)
    });
    assert!(shed >= 100_000, "{shed} ppm");
    rhumb.wait_line("of newcomers shed");
    // For two TTLs after the start everybody is let in.
    let mut late = 1_000;
    wait_for("somebody to be turned away", || {
        world.report(1_400);
        late += 1;
        (world.ask(late).addresses == [HALL]).then_some(())
    });
    let newcomers: Vec<u32> = (100..250).filter(|&network| world.ask(network).addresses == [HALL]).collect();
    assert!((5..150).contains(&newcomers.len()), "{} of 150 newcomers wait", newcomers.len());
    for (network, before) in (0..).zip(&placed) {
        let (now, nodes) = (world.ask(network).addresses, [[127, 1, 1, 1], [127, 2, 1, 1]]);
        assert!(nodes.iter().any(|node| now == [IpAddr::from(*node)]), "{network}: {before:?} -> {now:?}");
    }
    let told = world.explain(&format!("133.11.{}.9", newcomers[0]));
    let gate = &told["steering"]["gate"];
    assert!(gate["is_shed"] == true && told["node"] == "hall-1", "{told}");
    let told = world.explain("133.11.0.9");
    assert!(told["steering"]["gate"]["is_known"] == true && told["node"] != "hall-1", "{told}");
    let metrics = fetch(world.admin, "/metrics");
    assert!(metrics.contains(r#"rhumb_rung{service="live",area="*",rung="shed"} 1"#), "{metrics}");
    assert!(!metrics.contains("rhumb_responses_shed_total 0"), "{metrics}");
    let (_, why, _) = run(&["why", "--admin", &world.admin.to_string()]);
    assert!(why.contains("degradation: live, area *"), "{why}");
    let (_, status, _) = run(&["status", "--admin", &world.admin.to_string()]);
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("of newcomers are answered `pool` "), "{status}");

    let mut steps = vec![shed];
    wait_for("the ladder to be climbed down", || {
        world.report(200);
        let (rung, shed) = world.rung();
        if steps.last() != Some(&shed) {
            steps.push(shed);
        }
        (rung == "normal").then_some(())
    });
    assert!(steps.windows(2).all(|pair| pair[1] < pair[0] || pair[1] > 0), "{steps:?}");
    rhumb.wait_line("shed -> normal");
    let late = world.ask(newcomers[0]).addresses;
    assert!(late != [HALL], "{late:?}");
    assert_eq!(rhumb.terminate(), Some(0));
}
