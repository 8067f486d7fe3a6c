//! The commands a newcomer types first, with the real `dig`: three networks, three sites.
//!
//! `rhumb serve` runs on the shipped policies with every probe taken out, so that no node has to
//! listen. Without `dig` the test says that it is skipped; with `RHUMB_REQUIRE_TOOLS` set, as in
//! `.ci/run`, it fails instead.

mod support;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use support::{Folder, Rhumb, free_port};

const INSTALL: &str = "install it (Debian: `apt-get install bind9-dnsutils`)";

#[test]
fn the_first_commands_of_the_readme_give_three_sites() {
    if !has_dig() {
        return;
    }
    let server = Server::start();
    for (network, sites) in [
        ("202.112.0.0/24", &["127.1.1.", "127.1.2."][..]),
        ("133.11.0.0/24", &["127.1.3."]),
        ("141.20.0.0/24", &["127.2.1.", "127.2.2."]),
    ] {
        let out = server.dig(&["live.rhumb.test", &format!("+subnet={network}"), "+nsid"]);
        let told = Told::read(&out);
        assert_eq!(told.status, "NOERROR", "{out}");
        assert!(told.is_authoritative, "{out}");
        assert!(!told.addresses.is_empty(), "{out}");
        let is_there = |address: &Ipv4Addr| sites.iter().any(|site| address.to_string().starts_with(site));
        assert!(told.addresses.iter().all(is_there), "{network} is answered from {sites:?}:\n{out}");
        assert!(told.ttls.iter().all(|&ttl| ttl == 20), "the policy's TTL:\n{out}");
        let scope = told.subnet.strip_prefix(&format!("{network}/")).expect("the subnet asked, and a scope");
        let scope: u8 = scope.parse().expect("a scope");
        assert!((1..=24).contains(&scope), "{network} has scope {scope}:\n{out}");
        // `; NSID: 6c 61 ... ("lab-1 ...")`: the instance of rhumb.yaml and the table's generation.
        assert!(told.nsid.contains("(\"lab-1"), "{out}");
    }
}

/// Whether `dig` runs. If not, says so, or panics where tools are required.
#[allow(clippy::disallowed_methods, reason = "the environment says whether a test may be skipped")]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn has_dig() -> bool {
    let Err(error) = Command::new("dig").arg("-v").output() else { return true };
    let is_required = std::env::var_os("RHUMB_REQUIRE_TOOLS").is_some();
    assert!(!is_required, "`dig` does not run ({error}) and RHUMB_REQUIRE_TOOLS is set; {INSTALL}");
    eprintln!("skipped: `dig` does not run ({error}); {INSTALL}");
    false
}

struct Server {
    port: u16,
    _rhumb: Rhumb,
    _folder: Folder,
}

impl Server {
    fn start() -> Self {
        let folder = Folder::with(&[]);
        copy_policies(&folder);
        let port = free_port();
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let rhumb = folder.serve(local(port), local(free_port()));
        Self { port, _rhumb: rhumb, _folder: folder }
    }

    fn dig(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        // Without the user's own settings, and with a patience that a busy machine needs.
        let fixed = ["-r", "@127.0.0.1", "-p", &port, "+time=5", "+tries=3"];
        let output = Command::new("dig").args(fixed).args(words).output().expect("dig runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

/// The shipped policies, but no node is probed and none reports its load.
fn copy_policies(folder: &Folder) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for part in ["", "services", "zones"] {
        for entry in std::fs::read_dir(from.join(part)).expect("the shipped policies") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.strip_prefix(&from).expect("inside").to_str().expect("UTF-8");
                let text = std::fs::read_to_string(&path).expect("text");
                folder.write(name, &if name == "fleet.yaml" { without_probes(&text) } else { text });
            }
        }
    }
}

/// Drops probes, load feeds and what only a probe has use for. Nodes keep their capacity.
fn without_probes(fleet: &str) -> String {
    let (mut is_default, mut is_dropped) = (false, false);
    let mut kept = String::new();
    for line in fleet.lines() {
        if !line.is_empty() && !line.starts_with([' ', '#']) {
            is_default = line.starts_with("defaults:");
        }
        if is_default && line.starts_with("  ") && !line.starts_with("   ") {
            is_dropped = line.starts_with("  probes:") || line.starts_with("  load:");
        }
        if !(line.contains("probe_target:") || is_default && is_dropped) {
            kept.push_str(line);
            kept.push('\n');
        }
        is_dropped &= is_default;
    }
    assert!(kept.contains("capacity:") && !kept.contains("probes:"), "the fleet without its probes:\n{kept}");
    kept
}

/// What `dig` shows of one reply.
#[derive(Default)]
struct Told<'a> {
    status: &'a str,
    is_authoritative: bool,
    addresses: Vec<Ipv4Addr>,
    ttls: Vec<u32>,
    subnet: &'a str,
    nsid: &'a str,
}

impl<'a> Told<'a> {
    fn read(out: &'a str) -> Self {
        let mut told = Self::default();
        for line in out.lines() {
            if let Some((_, rest)) = line.split_once("status: ") {
                told.status = rest.split(',').next().unwrap_or_default();
            } else if let Some(rest) = line.strip_prefix(";; flags: ") {
                let flags = rest.split(';').next().unwrap_or_default();
                told.is_authoritative = flags.split(' ').any(|flag| flag == "aa");
            } else if let Some(rest) = line.strip_prefix("; CLIENT-SUBNET: ") {
                told.subnet = rest;
            } else if let Some(rest) = line.strip_prefix("; NSID: ") {
                told.nsid = rest;
            } else if !line.starts_with(';') {
                told.record(line);
            }
        }
        told
    }

    fn record(&mut self, line: &str) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let ["live.rhumb.test.", ttl, "IN", "A", address] = fields[..] {
            self.ttls.push(ttl.parse().expect("a TTL"));
            self.addresses.push(address.parse().expect("an address"));
        }
    }
}
