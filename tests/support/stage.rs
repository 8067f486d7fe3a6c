//! What most end-to-end tests stand on: three nodes that can be broken, one service over them, and rhumb.
//!
//! A binary under `tests/` takes it in with `#[path = "support/stage.rs"] mod stage;` beside `mod support;`.

#![allow(dead_code, reason = "each test binary uses its own part")]

use crate::support::{Folder, Rhumb, TestNode, fetch, free_port, run, wait_for};
use serde_json::Value;
use std::net::SocketAddr;

/// Of 100 units each, of which 90 may be planned; the site is the beginning of the name.
pub const NODES: [(&str, [u8; 4]); 3] =
    [("tyo-1", [127, 1, 9, 1]), ("tyo-2", [127, 1, 9, 2]), ("fra-1", [127, 1, 9, 3])];

/// Of the names that clients ask for.
pub const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

/// A fleet of these nodes, whose probes knock at `port`.
pub fn fleet(port: u16) -> String {
    let row = |(name, [a, b, c, d]): &(&str, [u8; 4])| {
        let site = &name[..3];
        format!("  {name}: {{ site: {site}, addresses: [{a}.{b}.{c}.{d}], labels: {{ role: edge }} }}\n")
    };
    let rows: String = NODES.iter().map(row).collect();
    format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
  capacity: {{ unit: mbps, amount: 100, cap: 90% }}
nodes:
{rows}"
    )
}

/// See the module.
pub struct Stage {
    pub folder: Folder,
    pub dns: SocketAddr,
    pub admin: SocketAddr,
    /// Where nodes are probed.
    pub port: u16,
    /// As [`NODES`] has them; `None`: it is off.
    pub nodes: Vec<Option<TestNode>>,
}

impl Stage {
    /// With these files besides, or in place of fleet and zone; all nodes are on.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let port = free_port();
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::with(&[("fleet.yaml", &fleet(port)), ("zones/example.test.zone", ZONE)]);
        folder.write_server("");
        files.iter().for_each(|(path, text)| folder.write(path, text));
        let mut stage = Self { folder, dns: local(), admin: local(), port, nodes: Vec::new() };
        stage.nodes = (0..NODES.len()).map(|at| Some(stage.node_at(at))).collect();
        stage
    }

    /// One of them, on.
    pub fn node_at(&self, at: usize) -> TestNode {
        TestNode::start(SocketAddr::from((NODES[at].1, self.port)))
    }

    pub fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    /// Serving, and every node is known to be up.
    pub fn serve_all_up(&self) -> Rhumb {
        let rhumb = self.serve();
        self.wait_all_up();
        rhumb
    }

    /// Until every node is known to be up.
    pub fn wait_all_up(&self) {
        self.wait_nodes("all nodes to be up", |node| node["families"][0]["verdict"] == "up");
    }

    /// Until every node has clients too.
    pub fn wait_all_used(&self) {
        self.wait_nodes("clients on all nodes", |node| {
            node["families"][0]["verdict"] == "up" && node["share"] != 0
        });
    }

    fn wait_nodes(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        wait_for(what, || {
            let status = self.status()?;
            let nodes = status["nodes"].as_array()?;
            (nodes.len() == NODES.len() && nodes.iter().all(&is_so)).then_some(())
        });
    }

    /// What `rhumb status` is made of; `None` before there is a table.
    pub fn status(&self) -> Option<Value> {
        let text = fetch(self.admin, "/status");
        serde_json::from_str(text.split_once("\r\n\r\n")?.1)
            .ok()
            .filter(|told: &Value| told["nodes"].is_array())
    }

    /// A command to its end: exit code and what is printed, both streams.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let admin = self.admin.to_string();
        let (code, out, err) = run(&[args, &["--admin", &admin]].concat());
        (code, out + &err)
    }

    /// The same as JSON, which it has to be.
    pub fn json(&self, args: &[&str]) -> (i32, Value) {
        let (code, said) = self.run(&[args, &["--format", "json"]].concat());
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}")))
    }
}
