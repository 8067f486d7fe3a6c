//! A scheduler in one namespace, its nodes in another, its anchors in a third.

use super::net::Net;
use super::support::{Folder, Rhumb, ask, fetch, wait_for};
use rhumb::model::token::TokenHash;
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
    vantages: Vec<Rhumb>,
    folder: Folder,
}

/// Who watches beside the scheduler itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eyes {
    Own,
    Remote,
    TwoLinks,
}

/// Remote vantages, each in a namespace of its own.
pub const VANTAGES: [&str; 2] = ["gz", "bj"];
/// Where they report.
const REPORTS: &str = "10.77.0.2:8853";

impl World {
    /// With `count` nodes, probed by `probe`. `None`: skipped.
    pub fn start(count: u8, probe: &str) -> Option<Self> {
        Self::build(count, probe, Eyes::Own)
    }

    /// The same, watched over each of the scheduler's two links by a vantage of its own too.
    pub fn start_on_two_links(count: u8, probe: &str) -> Option<Self> {
        Self::build(count, probe, Eyes::TwoLinks)
    }

    /// The same, watched by [`VANTAGES`] too.
    pub fn start_watched(count: u8, probe: &str) -> Option<Self> {
        let mut world = Self::build(count, probe, Eyes::Remote)?;
        world.vantages = VANTAGES.map(|name| world.vantage(name)).into();
        for name in VANTAGES {
            wait_for("a vantage to be heard", || {
                std::thread::sleep(Duration::from_millis(50));
                let health = world.health(0);
                let votes = health["votes"].as_array()?.clone();
                votes.iter().any(|vote| vote["vantage"] == name && vote["verdict"] == "up").then_some(())
            });
        }
        Some(world)
    }

    fn vantage(&self, name: &str) -> Rhumb {
        let mut command = self.net.command(name, env!("CARGO_BIN_EXE_rhumb"));
        command.args(["vantage", "--scheduler", REPORTS, "--name", name]);
        command.arg("--token-file").arg(self.folder.path(name)).arg("--ca").arg(self.folder.path("cert.pem"));
        Rhumb::spawn_command(command)
    }

    fn build(count: u8, probe: &str, eyes: Eyes) -> Option<Self> {
        let net = Net::new(&["scheduler", "fleet", "world", "gz", "bj"])?;
        if eyes == Eyes::TwoLinks {
            net.second_link("scheduler");
        }
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
            ("fleet.yaml", &fleet(&nodes, &anchors, probe, eyes)),
        ]);
        match eyes {
            Eyes::Remote => report_to(&folder),
            Eyes::Own | Eyes::TwoLinks => folder.write_server("workers: 1\n"),
        }
        let (policies, state) = (folder.policies(), folder.state());
        let mut command = net.command("scheduler", env!("CARGO_BIN_EXE_rhumb"));
        command.args(["serve", "--policies", &policies, "--state", &state, "--log", "human"]);
        command.args(["--listen", &DNS.to_string(), "--admin", &ADMIN.to_string()]);
        let mut rhumb = Rhumb::spawn_command(command);
        rhumb.wait_line("ready: DNS");
        let world = Self { net, nodes, _rhumb: rhumb, vantages: Vec::new(), folder };
        for at in 0..world.nodes.len() {
            world.wait_verdict(at, "up");
        }
        Some(world)
    }

    /// What `rhumb status` says to a person.
    pub fn told(&self) -> String {
        let mut command = self.net.command("scheduler", env!("CARGO_BIN_EXE_rhumb"));
        let output = command.args(["status", "--admin", &ADMIN.to_string()]).output().expect("runs");
        String::from_utf8(output.stdout).expect("UTF-8")
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

    /// Waits until a vantage says this of a node, and counts.
    pub fn wait_word(&self, node: usize, vantage: &str, verdict: &str) {
        wait_for(&format!("{vantage} to say that n{node} is {verdict}"), || {
            std::thread::sleep(Duration::from_millis(50));
            let votes = self.health(node)["votes"].as_array()?.clone();
            let says_so = |vote: &Value| {
                vote["vantage"] == vantage && vote["verdict"] == verdict && vote["is_trusted"] == true
            };
            votes.iter().any(says_so).then_some(())
        });
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

/// The listener for reports, its certificate, and a token for each vantage.
fn report_to(folder: &Folder) {
    let made = rcgen::generate_simple_self_signed(vec!["10.77.0.2".to_owned()]).expect("a certificate");
    folder.write("cert.pem", &made.cert.pem());
    folder.write("key.pem", &made.signing_key.serialize_pem());
    for name in VANTAGES {
        folder.write(name, name);
    }
    let reports = format!("reports: {{listen: \"{REPORTS}\", certificate: cert.pem, key: key.pem}}");
    folder.write_server(&format!("workers: 1\n{reports}\n"));
}

fn fleet(nodes: &[Ipv4Addr], anchors: &[Ipv4Addr], probe: &str, eyes: Eyes) -> String {
    let anchors: Vec<String> = anchors.iter().map(|anchor| format!("\"{anchor}:443\"")).collect();
    let anchors = anchors.join(", ");
    let mut vantages = format!("local: {{anchors: [{anchors}]}}");
    if eyes == Eyes::TwoLinks {
        vantages.push_str(", first: {interface: eth0}, second: {interface: eth1}");
    }
    for name in VANTAGES.into_iter().filter(|_| eyes == Eyes::Remote) {
        let hash = TokenHash::of(name);
        vantages.push_str(&format!(", {name}: {{anchors: [{anchors}], token: \"{hash}\"}}"));
    }
    let mut text = format!(
        "version: 1\nregions: {{r: {{}}}}\nsites: {{a: {{region: r}}, b: {{region: r}}}}\n\
         defaults: {{probes: [{probe}]}}\nvantages: {{{vantages}}}\nnodes:\n",
    );
    for (at, node) in nodes.iter().enumerate() {
        let site = if at % 2 == 0 { "a" } else { "b" };
        text.push_str(&format!("  n{at}: {{site: {site}, addresses: [{node}]}}\n"));
    }
    text
}
