//! A scheduler in one namespace, its nodes in another, its anchors in a third.

use super::net::Net;
use super::support::{Folder, Rhumb, ask, fetch, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 10.77.0.2
";
const SERVICE: &str = "version: 1
hostnames: web.example.test
profile: cdn
ttl: 5
pools: {all: {select: {site: [a, b]}, min_alive: 20%}}
chains: [{pools: [all]}]
";
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)), 53);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8053);
const A: u16 = 1;
/// Networks that are asked for.
const CLIENTS: u8 = 64;

pub struct World {
    pub net: Net,
    pub nodes: Vec<Ipv4Addr>,
    _rhumb: Rhumb,
    _folder: Folder,
}

impl World {
    /// With `count` nodes, probed by `probe`. `None`: skipped.
    pub fn start(count: u8, probe: &str) -> Option<Self> {
        let net = Net::new(&["scheduler", "fleet", "world"])?;
        let nodes: Vec<Ipv4Addr> = (0..count).map(|at| net.add_address("fleet", 10 + at)).collect();
        let anchors = [10, 11].map(|host| net.add_address("world", host));
        for &node in &nodes {
            net.within("fleet", || listen(SocketAddr::from((node, 8000))));
        }
        for anchor in anchors {
            net.within("world", || listen(SocketAddr::from((anchor, 443))));
        }
        let folder = Folder::with(&[
            ("zones/example.test.zone", ZONE),
            ("services/web.yaml", SERVICE),
            ("rhumb.yaml", "version: 1\nworkers: 1\n"),
            ("fleet.yaml", &fleet(&nodes, &anchors, probe)),
        ]);
        let (policies, state) = (folder.policies(), folder.state());
        let mut command = net.command("scheduler", env!("CARGO_BIN_EXE_rhumb"));
        command.args(["serve", "--policies", &policies, "--state", &state, "--log", "human"]);
        command.args(["--listen", &DNS.to_string(), "--admin", &ADMIN.to_string()]);
        let mut rhumb = Rhumb::spawn_command(command);
        rhumb.wait_line("ready: DNS");
        let world = Self { net, nodes, _rhumb: rhumb, _folder: folder };
        for at in 0..world.nodes.len() {
            world.wait_verdict(at, "up");
        }
        Some(world)
    }

    pub fn status(&self) -> Value {
        let text = self.net.within("scheduler", || fetch(ADMIN, "/status"));
        let body = text.split_once("\r\n\r\n").expect("head and body").1;
        serde_json::from_str(body).expect("JSON")
    }

    /// The IPv4 health of a node.
    pub fn health(&self, node: usize) -> Value {
        let name = format!("n{node}");
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("nodes");
        let found = nodes.iter().find(|known| known["name"] == name.as_str());
        found.expect("a node of the fleet")["families"][0].clone()
    }

    /// Waits for a verdict and returns its reason.
    pub fn wait_verdict(&self, node: usize, verdict: &str) -> String {
        wait_for(&format!("n{node} to be {verdict}"), || {
            std::thread::sleep(Duration::from_millis(50));
            let health = self.health(node);
            (health["verdict"] == verdict).then(|| health["reason"].as_str().expect("a reason").to_owned())
        })
    }

    /// Waits for a problem and returns its message.
    pub fn wait_problem(&self, code: &str) -> String {
        wait_for(code, || {
            std::thread::sleep(Duration::from_millis(50));
            self.problem(code)
        })
    }

    pub fn problem(&self, code: &str) -> Option<String> {
        let status = self.status();
        let problems = status["problems"].as_array().expect("problems");
        let found = problems.iter().find(|problem| problem["code"] == code)?;
        Some(found["message"].as_str().expect("a message").to_owned())
    }

    /// What each client network is answered.
    pub fn answers(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let all = || {
            let answer = |network: u8| {
                let subnet = format!("198.51.{network}.0/24");
                let reply = wait_for("an answer", || ask(DNS, "web.example.test", A, &subnet));
                (subnet, reply.addresses)
            };
            (0..CLIENTS).map(answer).collect()
        };
        self.net.within("scheduler", all)
    }

    /// Whether any client is given the node.
    pub fn is_answered(&self, node: usize) -> bool {
        let address = IpAddr::V4(self.nodes[node]);
        self.answers().values().any(|addresses| addresses.contains(&address))
    }
}

/// Takes connections and drops them, as long as the process lives.
fn listen(address: SocketAddr) {
    let listener = TcpListener::bind(address).expect("an address of the namespace");
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

fn fleet(nodes: &[Ipv4Addr], anchors: &[Ipv4Addr], probe: &str) -> String {
    let anchors: Vec<String> = anchors.iter().map(|anchor| format!("\"{anchor}:443\"")).collect();
    let mut text = format!(
        "version: 1\nregions: {{r: {{}}}}\nsites: {{a: {{region: r}}, b: {{region: r}}}}\n\
         defaults: {{probes: [{probe}]}}\nvantages: {{local: {{anchors: [{}]}}}}\nnodes:\n",
        anchors.join(", ")
    );
    for (at, node) in nodes.iter().enumerate() {
        let site = if at % 2 == 0 { "a" } else { "b" };
        text.push_str(&format!("  n{at}: {{site: {site}, addresses: [{node}]}}\n"));
    }
    text
}
