//! A signed zone with static and steered names, answered differently to many networks by the binary.

use crate::support::{Folder, Rhumb, fetch, free_port, run};
use std::net::{Ipv4Addr, SocketAddr};

const FLEET: &str = "\
version: 1
regions: {asia: {}}
sites: {tyo: {region: asia, location: {lat: 35.68, lon: 139.69}}}
nodes:
  n1: {site: tyo, addresses: [192.0.2.1, '2001:db8::1']}
  n2: {site: tyo, addresses: [192.0.2.2, '2001:db8::2']}
  n3: {site: tyo, addresses: [192.0.2.3]}
  n4: {site: tyo, addresses: [192.0.2.4, '2001:db8::4']}
  n5: {site: tyo, addresses: [192.0.2.5, '2001:db8::5']}
";
/// Networks inside networks and beside each other, down to what unbound asks for.
const CLIENTS: &str = "\
version: 1
areas:
  wide: {cidrs: [5.0.0.0/8, 9.1.2.0/24, 9.1.4.0/23, '2a00::/12', '2400:1:2:300::/56']}
  within: {cidrs: [5.6.0.0/16, 9.1.3.0/24, '2a00:100::/24', '2400:1:2:400::/56']}
  deep: {cidrs: [5.6.7.0/24, 20.0.0.0/7, '2a00:100:7::/48']}
  here: {cidrs: 127.0.0.0/8}
";
/// Everybody else is spread by the hash of their prefix.
const SERVICE: &str = "\
version: 1
hostnames: [live.example.test, example.test, '*.w.example.test']
ttl: 300
pools:
  p1: {members: [n1]}
  p2: {members: [n2]}
  p3: {members: [n3]}
  p4: {members: [n4]}
  rest: {members: [n1, n2, n5]}
chains:
  - {area: deep, pools: [p3]}
  - {area: within, pools: [p2]}
  - {area: wide, pools: [p1]}
  - {area: here, pools: [p4]}
  - {pools: [rest]}
";
pub const ZONE: &str = "\
$TTL 300
@ SOA ns1 hostmaster 1 2h 15m 2w 1m
@ NS ns1
ns1 A 127.0.0.1
www A 192.0.2.80
www TXT \"text\"
alias CNAME live
below CNAME x.w
*.wild A 192.0.2.90
a.b TXT \"below an empty name\"
";

/// rhumb with a signed zone.
pub struct World {
    pub folder: Folder,
    pub rhumb: SocketAddr,
    admin: SocketAddr,
    _process: Rhumb,
}

impl World {
    pub fn start() -> Self {
        let folder = Folder::with(&[
            ("zones/example.test.zone", ZONE),
            ("fleet.yaml", FLEET),
            ("clients.yaml", CLIENTS),
            ("services/live.yaml", SERVICE),
        ]);
        let keys = folder.root.path().join("keys");
        let dnssec = format!("dnssec: {{zones: all, keys: {}}}", keys.to_str().expect("UTF-8"));
        folder.write_server(&format!("{dnssec}\n"));
        let (policies, state) = (folder.policies(), folder.state());
        let (code, _, said) = run(&["keys", "generate", "example.test", "--policies", &policies]);
        assert_eq!(code, 0, "{said}");
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (rhumb, admin) = (local(free_port()), local(free_port()));
        let (dns, admin_text) = (rhumb.to_string(), admin.to_string());
        let of_folder = ["--policies", &policies, "--state", &state];
        let listening = ["--listen", &dns, "--admin", &admin_text, "--log", "human"];
        let mut process = Rhumb::spawn(&[&["serve"][..], &of_folder, &listening].concat());
        process.wait_line("ready");
        Self { folder, rhumb, admin, _process: process }
    }

    /// The DS set that the operator would hand to the parent.
    pub fn anchors(&self) -> String {
        let (code, ds, said) = run(&["keys", "ds", "example.test", "--policies", &self.folder.policies()]);
        assert_eq!(code, 0, "{said}");
        ds
    }

    /// Queries that rhumb was asked so far over UDP and TCP.
    pub fn asked(&self) -> u64 {
        let text = fetch(self.admin, "/metrics");
        let lines = text.lines().filter(|line| line.starts_with("rhumb_queries_total{"));
        let counts = lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()));
        counts.map(|count| count.expect("a number")).sum()
    }
}
