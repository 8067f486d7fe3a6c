//! Nodes report whose load they carry, and the plan goes by that: a real process, three nodes on loopback, one of
//! which dies.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::{Folder, Rhumb, ask, fetch, free_port, run, wait_for};

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
demand: 1000
pools: { all: { select: { role: edge } } }
chains: [ { pools: [all] } ]
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

const JAPAN: &str = "133.11.0.1";
const GERMANY: &str = "141.20.0.1";
const NODES: [&str; 3] = ["tyo-1", "tyo-2", "fra-1"];

/// A node that answers everything with its load, and is well as long as it answers.
struct Node {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn start(address: SocketAddr, document: String) -> Self {
        let listener = wait_for("the node's address to be free", || TcpListener::bind(address).ok());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 2_048];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                if stream.read(&mut request).is_ok_and(|read| read > 0) {
                    let length = document.len();
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    let _ = stream.write_all(&[head.as_bytes(), document.as_bytes()].concat());
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the node's thread ends");
        }
    }
}

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    nodes: Vec<Node>,
}

fn start() -> (World, Rhumb) {
    let port = free_port();
    let fleet = format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  capacity: {{ unit: mbps, amount: 10000 }}
  probes: [ {{ kind: http, port: {port}, path: /health, interval: 1s, timeout: 900ms, rise: 1, fall: 2 }} ]
  load: {{ port: {port}, interval: 1s, max_age: 20s, amount: /mbps, clients: /clients }}
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1], labels: {{ role: edge }} }}
  tyo-2: {{ site: tyo, addresses: [127.1.1.2], labels: {{ role: edge }} }}
  fra-1: {{ site: fra, addresses: [127.2.1.1], labels: {{ role: edge }} }}
"
    );
    let folder = Folder::with(&[
        ("fleet.yaml", &fleet),
        ("services/live.yaml", SERVICE),
        ("zones/example.test.zone", ZONE),
    ]);
    folder.write_server("");
    // Four fifths of all are in Japan, half of them on each node there; what cannot be read is left out.
    let tokyo = r#"{"mbps": 400, "clients": {"133.11.0.0/16": 400, "somewhere": 1}}"#;
    let frankfurt = r#"{"mbps": 200, "clients": {"live": {"141.20.0.0/17": 200}}}"#;
    let addresses = ["127.1.1.1", "127.1.1.2", "127.2.1.1"];
    let nodes = addresses.into_iter().zip([tokyo, tokyo, frankfurt]).map(|(address, document)| {
        let address = format!("{address}:{port}").parse().expect("an address");
        Node::start(address, document.to_owned())
    });
    let nodes = nodes.collect();
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let world = World { folder, dns: local(free_port()), admin: local(free_port()), nodes };
    let rhumb = world.folder.serve(world.dns, world.admin);
    (world, rhumb)
}

impl World {
    fn explained(&self, client: &str, more: &[&str]) -> String {
        let admin = self.admin.to_string();
        let args = ["explain", "live.example.test", "--client", client, "--admin", &admin];
        let (code, out, err) = run(&[&args[..], more].concat());
        assert_eq!(code, 0, "{out}{err}");
        out
    }

    /// What is told of the demand of a client's group.
    fn demand(&self, client: &str) -> Value {
        let told: Value = serde_json::from_str(&self.explained(client, &["--format", "json"])).expect("JSON");
        told["steering"]["demand"].clone()
    }

    fn share(&self, client: &str) -> u64 {
        self.demand(client)["share"].as_u64().expect("a number")
    }

    fn status(&self) -> Value {
        let answer = fetch(self.admin, "/status");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
    }

    fn verdict(&self, node: &str) -> String {
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|told| told["name"] == node).expect("it is there");
        node["families"][0]["verdict"].as_str().expect("a verdict").to_owned()
    }
}

fn is_near(share: u64, expected: u64) -> bool {
    share.abs_diff(expected) < 15_000
}

#[test]
fn shares_go_by_what_nodes_report_and_outlive_a_reporter_and_a_crash() {
    let (mut world, mut rhumb) = start();
    // All who ask are in Germany.
    let asked = (0..200).filter_map(|_| ask(world.dns, "live.example.test", 1, "141.20.0.0/24")).count();
    assert!(asked > 100, "{asked} answers");
    wait_for("the plan to go by what all three report", || {
        let told = world.demand(JAPAN);
        let share = told["share"].as_u64()?;
        (told["reporters"] == 3 && told["reported"] == 1_000_000 && is_near(share, 800_000)).then_some(())
    });
    let told = world.demand(GERMANY);
    assert!(is_near(told["share"].as_u64().expect("a number"), 200_000), "{told}");
    assert!(told["by_queries"].as_u64().expect("a number") < 200_000, "queries alone say little: {told}");
    rhumb
        .wait_line("client networks of its load feed: 1 of 2 left out, such as \"somewhere\": not a network");
    let text = world.explained(JAPAN, &[]);
    assert!(text.contains("by 3 nodes, on which 100 % of the plan is"), "{text}");
    assert!(fetch(world.admin, "/metrics").contains("rhumb_demand_reported_ratio{service=\"live\"} 1\n"));
    let (_, node, _) = run(&["node", "tyo-1", "--admin", &world.admin.to_string()]);
    assert!(node.contains("by network: 1 in its last report"), "{node}");

    // Half of Japan's load is reported no more. The other node could tell of it only once its clients are there.
    drop(world.nodes.remove(0));
    wait_for("the node to be down", || (world.verdict("tyo-1") == "down").then_some(()));
    wait_for("its silence to be noticed", || (world.demand(JAPAN)["silent"] == 1).then_some(()));
    let before = world.share(JAPAN);
    assert!(is_near(before, 800_000), "{before}");
    let (_, status, _) = run(&["status", "--admin", &world.admin.to_string()]);
    assert!(status.contains("shares of clients stay: 1 of 3 nodes that report them fell silent"), "{status}");
    let told = world.status()["services"][0]["demand"].clone();
    assert!(told["reporters"] == 3 && told["silent"] == 1 && told["reported"] == 1_000_000, "{told}");

    // Nor does it shrink when all is forgotten but what was kept, before anybody reported again and after.
    let kept = world.folder.state();
    wait_for("the shares to be kept", || {
        let files = std::fs::read_dir(&kept).ok()?.filter_map(Result::ok);
        let is_demand = |name: &str| name.starts_with("demand");
        let mut demands = files.filter(|file| file.file_name().to_str().is_some_and(is_demand));
        demands.any(|file| has_reports(&file.path())).then_some(())
    });
    rhumb.kill();
    let _rhumb = world.folder.serve(world.dns, world.admin);
    assert_eq!(world.share(JAPAN), before, "known at once");
    wait_for("those that are left to report again", || (world.demand(JAPAN)["silent"] == 1).then_some(()));
    assert_eq!(world.share(JAPAN), before);
    wait_for("the others to be known as well", || {
        (NODES.map(|node| world.verdict(node)) == ["down", "up", "up"]).then_some(())
    });
    assert_eq!(world.share(JAPAN), before);
}

/// Whether a kept file, or one in a kept folder, has what all three nodes reported.
fn has_reports(path: &std::path::Path) -> bool {
    if path.is_dir() {
        let files = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        return files.map(|file| file.path()).any(|path| has_reports(&path));
    }
    let Ok(kept) = std::fs::read(path) else { return false };
    let kept = String::from_utf8_lossy(&kept);
    let reporters = kept.split_once("\"reporters\":[").and_then(|(_, rest)| rest.split_once(']'));
    reporters.is_some_and(|(names, _)| NODES.iter().all(|node| names.contains(node)))
}
