//! A running `rhumb lab` on the shipped policies, for what breaks it and watches.
//!
//! DNS, admin and control take free ports; the nodes' addresses are the policy's, so one lab runs at
//! a time on a machine. [`Lab::start`] waits for another one to end, and says so.

#![allow(dead_code, reason = "each program uses its own part")]
#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]
#![allow(clippy::print_stderr, reason = "says what it waits for")]

use crate::support::{Rhumb, fetch, free_port, run, wait_for};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

pub const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
/// Where the first node of `policies/fleet.yaml` listens.
const A_NODE: &str = "127.1.1.1:8081";
/// Longest wait for another lab to end.
const OTHER_LAB: Duration = Duration::from_secs(180);
/// Between two looks at what takes seconds, so that looking is no load.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Lab {
    pub rhumb: Rhumb,
    pub dns: SocketAddr,
    admin: String,
    control: String,
    _state: tempfile::TempDir,
}

impl Lab {
    pub fn start() -> Self {
        Self::start_with(POLICIES, &[])
    }

    /// With a policy folder of the same nodes, and further flags.
    pub fn start_with(policies: &str, more: &[&str]) -> Self {
        wait_for_addresses();
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (dns, admin, control) = (local(), local().to_string(), local().to_string());
        let state = tempfile::tempdir().expect("a temporary folder");
        let state_path = state.path().to_str().expect("UTF-8").to_owned();
        let listen = dns.to_string();
        let flags = [
            ("--policies", policies),
            ("--state", &state_path),
            ("--listen", &listen),
            ("--admin", &admin),
            ("--control", &control),
        ];
        let mut args = vec!["lab", "--plain"];
        args.extend(flags.iter().flat_map(|(flag, value)| [*flag, *value]));
        args.extend(more);
        if !more.contains(&"--rate") {
            // A build without optimisation beside other tests.
            args.extend(["--rate", "200"]);
        }
        let mut rhumb = Rhumb::spawn(&args);
        rhumb.wait_line("DNS on");
        Self { rhumb, dns, admin, control, _state: state }
    }

    pub fn pid(&self) -> u32 {
        self.rhumb.child.id()
    }

    pub fn status(&self) -> serde_json::Value {
        let (_, out, err) = run(&["status", "--admin", &self.admin, "--format", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }

    /// An operator's command about this lab to its end: exit code, and what is printed.
    pub fn operator(&self, command: &[&str]) -> (i32, String) {
        let (code, out, err) = run(&[command, &["--admin", &self.admin]].concat());
        (code, out + &err)
    }

    /// The same as JSON, which it has to be.
    pub fn told(&self, command: &[&str]) -> (i32, serde_json::Value) {
        let (code, said) = self.operator(&[command, &["--format", "json"]].concat());
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command:?}: {error}: {said}")))
    }

    /// The line of a metric that begins so, and its value.
    pub fn metric(&self, begins: &str) -> f64 {
        let metrics = fetch(self.admin.parse().expect("an address"), "/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(begins)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{begins}: {metrics}"))
    }

    /// Name of the node that has this address.
    pub fn node(&self, address: IpAddr) -> String {
        self.node_status(address)["name"].as_str().expect("a name").to_owned()
    }

    /// What the status says of the node that has this address.
    pub fn node_status(&self, address: IpAddr) -> serde_json::Value {
        let (text, status) = (address.to_string(), self.status());
        let nodes = status["nodes"].as_array().expect("nodes");
        let has = |node: &&serde_json::Value| {
            node["addresses"].as_array().is_some_and(|all| all.iter().any(|one| one == text.as_str()))
        };
        nodes.iter().find(has).unwrap_or_else(|| panic!("{text} is a node's address")).clone()
    }

    pub fn wait_all_up(&self) {
        wait_for("every node to be up", || {
            let status = self.status();
            let nodes = status["nodes"].as_array().expect("nodes");
            let is_up = |node: &serde_json::Value| {
                let families = node["families"].as_array().expect("families");
                families.iter().filter(|family| !family.is_null()).all(|family| family["verdict"] == "up")
            };
            let all = nodes.iter().all(is_up);
            if !all {
                std::thread::sleep(LOOK_EVERY);
            }
            all.then_some(())
        });
    }

    /// The words of a `rhumb lab` command for this lab.
    pub fn words(&self, command: &[&str]) -> Vec<String> {
        let (name, rest) = command.split_first().expect("a command");
        let words = ["lab", name, "--control", &self.control].into_iter().chain(rest.iter().copied());
        words.map(str::to_owned).collect()
    }

    /// Runs `rhumb lab fault ...` or `rhumb lab heal ...`.
    pub fn command(&self, command: &[&str]) {
        let words = self.words(command);
        let (code, out, err) = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, 0, "{words:?}: {out}{err}");
    }
}

/// Waits until no other lab has the addresses of the nodes.
pub fn wait_for_addresses() {
    let deadline = Instant::now() + OTHER_LAB;
    let mut is_told = false;
    while let Err(error) = TcpListener::bind(A_NODE) {
        assert!(Instant::now() < deadline, "{A_NODE} was not free within {OTHER_LAB:?}: {error}");
        if !is_told {
            eprintln!("waiting for another lab to end, {A_NODE} is taken (for at most {OTHER_LAB:?})");
            is_told = true;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
