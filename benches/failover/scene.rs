//! The lab's nodes in this process, the program beside them, and a client.

use super::net;
use super::support::{PATIENCE, Rhumb, free_port, parse, query, wait_for};
use rhumb::base::diagnostic::SourceFile;
use rhumb::base::hash::SeededRng;
use rhumb::lab::LabFleet;
use rhumb::lab::fault::Fault;
use rhumb::model::fleet::Node;
use rhumb::model::policy::Policy;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
const NAME: &str = "live.rhumb.test";
const A: u16 = 1;
/// Client networks that are asked for, to find one that is given a certain node.
const NETWORKS: usize = 400;
/// Of a state folder: what spares the next start the compiling. Nothing else is copied, so no verdict is.
const GEO_TABLE: &str = "geo-table";
/// What stands in for a silent drop.
const SILENCE: Fault = Fault::Latency { ms: 30_000 };

/// Everything but the program, which is new for every failure.
pub struct Scene {
    pub policy: Policy,
    lab: LabFleet,
    runtime: Runtime,
    /// The shipped policies, but a probe waits for a second: by theirs, 400 ms is a failure.
    patient: tempfile::TempDir,
    /// Where the first program left the compiled geo table.
    state: tempfile::TempDir,
    pub networks: Vec<IpAddr>,
    pub rng: SeededRng,
    pub most_resident_kib: u64,
}

impl Scene {
    pub fn start() -> Self {
        let files = rhumb::store::policy_dir::read_folder(Path::new(POLICIES)).expect("shipped policies");
        let patient = patient(&files);
        let policy = rhumb::policy::load(&files).0.expect("shipped policies are right");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let lines = policy.clients.lines.iter().map(|line| line.name.clone()).collect();
        let lab = runtime.block_on(rhumb::lab::fleet::start(&Arc::new(policy.fleet.clone()), lines, 1));
        let lab = lab.expect("the lab's addresses are free: one lab at a time on a machine");
        let mut rng = SeededRng::new(u64::from(std::process::id()));
        let network = |_| IpAddr::V4(Ipv4Addr::from_bits(((1 << 24) + rng.below(222 << 24) as u32) & !0xff));
        let networks = (0..NETWORKS).map(network).collect();
        let state = tempfile::tempdir().expect("a temporary folder");
        let scene = Self { policy, lab, runtime, patient, state, networks, rng, most_resident_kib: 0 };
        let mut first = Server::start(Path::new(POLICIES), scene.state.path());
        wait_for("the geo table to be kept", || scene.state.path().join(GEO_TABLE).exists().then_some(()));
        assert_eq!(first.rhumb.terminate(), Some(0), "the first start ends well");
        scene
    }

    /// A new program, to which every node is known.
    pub fn server(&self, is_patient: bool) -> Server {
        let state = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(self.state.path().join(GEO_TABLE), state.path().join(GEO_TABLE)).expect("copies");
        let policies = if is_patient { self.patient.path() } else { Path::new(POLICIES) };
        let mut server = Server::start(policies, state.path());
        server.state = Some(state);
        server.wait_known();
        server
    }

    pub fn end(&mut self, mut server: Server) {
        self.most_resident_kib = self.most_resident_kib.max(server.resident_kib());
        self.heal();
        server.rhumb.kill();
    }

    pub fn fault(&self, target: &str, fault: Fault) {
        let applied = self.runtime.block_on(self.lab.apply(target, &[fault], None));
        applied.expect("the fault is accepted");
    }

    /// Nothing that is sent to these nodes arrives, or they answer nothing.
    pub fn silence(&self, target: &str, nodes: &[String]) {
        if !net::is_own() {
            return self.fault(target, SILENCE);
        }
        let nodes: Vec<&Node> =
            self.policy.fleet.nodes.iter().filter(|node| nodes.contains(&node.name)).collect();
        let targets = nodes.iter().flat_map(|node| &node.probes).flat_map(|probe| probe.targets).flatten();
        let ports: Vec<u16> = targets.filter(SocketAddr::is_ipv6).map(|target| target.port()).collect();
        let addresses: Vec<IpAddr> =
            nodes.iter().flat_map(|node| &node.v4).copied().map(IpAddr::V4).collect();
        net::drop_packets(&addresses, &ports);
    }

    pub fn heal(&self) {
        self.runtime.block_on(self.lab.heal(None)).expect("nodes come back");
        if net::is_own() {
            net::heal();
        }
    }
}

/// The program, and what asks it.
pub struct Server {
    pub rhumb: Rhumb,
    admin: SocketAddr,
    socket: UdpSocket,
    id: u16,
    state: Option<tempfile::TempDir>,
}

impl Server {
    fn start(policies: &Path, state: &Path) -> Self {
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (dns, admin) = (local(), local());
        let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
        command.args(["serve", "--log", "json", "--listen", &dns.to_string(), "--policies"]).arg(policies);
        command.args(["--admin", &admin.to_string(), "--state"]).arg(state).env("RUST_LOG", "info");
        let rhumb = Rhumb::spawn_command(command);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
        socket.connect(dns).expect("connects");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("sets");
        Self { rhumb, admin, socket, id: 0, state: None }
    }

    /// Waits until every node is up and has a baseline: it was probed five times and more.
    fn wait_known(&self) {
        wait_for("every node to be known", || {
            let status = self.status()?;
            let is_known = |family: &Value| family["verdict"] == "up" && !family["baseline"].is_null();
            let families = |node: &Value| {
                node["families"]
                    .as_array()
                    .is_some_and(|families| families.iter().filter(|family| !family.is_null()).all(is_known))
            };
            let all = status["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(families));
            if !all {
                std::thread::sleep(Duration::from_millis(50));
            }
            all.then_some(())
        });
    }

    /// `None` while it starts.
    fn status(&self) -> Option<Value> {
        use std::io::{Read, Write};
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr as LocalAddress, UnixStream};
        let local = LocalAddress::from_abstract_name(format!("rhumb-admin/{}", self.admin)).ok()?;
        let mut stream = UnixStream::connect_addr(&local).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET /status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text[text.find("\r\n\r\n")? + 4..]).ok()
    }

    /// The addresses that clients of a network are given now; `None` if no answer came.
    pub fn ask(&mut self, network: IpAddr) -> Option<Vec<IpAddr>> {
        self.id = self.id.wrapping_add(1);
        self.socket.send(&query(self.id, NAME, A, Some((network, 24)))).ok()?;
        let mut buffer = [0; 1_500];
        loop {
            let read = self.socket.recv(&mut buffer).ok()?;
            if buffer[..2] == self.id.to_be_bytes() {
                return Some(parse(&buffer[..read]).addresses).filter(|addresses| !addresses.is_empty());
            }
        }
    }

    /// What was logged so far, with the moment of each.
    pub fn log(&mut self) -> Vec<(Duration, Value)> {
        let read = |line: &String| {
            let line: Value = serde_json::from_str(line).ok()?;
            let at: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
            Some((Duration::from_micros(u64::try_from(at.as_microsecond()).ok()?), line))
        };
        self.rhumb.lines().iter().filter_map(read).collect()
    }

    /// From the kernel.
    fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.rhumb.child.id());
        let text = std::fs::read_to_string(path).expect("it is running");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

fn patient(files: &[SourceFile]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in files {
        let path = folder.path().join(&file.path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
        let text = file.text.replace("class: fast,", "class: fast, timeout: 1s,");
        assert!(file.path != "fleet.yaml" || text != file.text, "the shipped fleet has fast probes");
        std::fs::write(path, text).expect("writes");
    }
    folder
}

/// By the wall clock, as the log has it.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}
