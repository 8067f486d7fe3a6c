//! A scheduler with a listener for reports, its nodes, and the vantages that watch them: real processes.

use super::support::{Folder, Rhumb, TestNode, ask, free_port, run, wait_for};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rhumb::model::token::TokenHash;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub const TOKEN: &str = "a-token-of-gz";
pub const OTHER: &str = "a-token-of-bj";

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

/// Two nodes, two remote vantages, one service.
pub struct World {
    pub folder: Folder,
    pub dns: SocketAddr,
    pub admin: SocketAddr,
    pub reports: SocketAddr,
    pub tyo: TestNode,
    pub _fra: TestNode,
    port: u16,
    ca: CertifiedIssuer<'static, KeyPair>,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// Certificate and key for `name`, valid for the days before and after today that are given.
pub fn issue(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, years: (i32, i32)) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let made = params.signed_by(&key, ca).expect("a certificate");
    (made.pem(), key.serialize_pem())
}

pub const VALID: (i32, i32) = (2020, 2090);

pub fn vantages(gz: &str, bj: &str) -> String {
    let (gz, bj) = (TokenHash::of(gz), TokenHash::of(bj));
    format!("vantages:\n  gz: {{ token: \"{gz}\" }}\n  bj: {{ token: \"{bj}\" }}\n")
}

impl World {
    pub fn new() -> Self {
        let port = free_port();
        let node = |address: [u8; 4]| TestNode::start(SocketAddr::from((address, port)));
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let world = Self {
            folder: Folder::with(&[("services/live.yaml", SERVICE), ("zones/example.test.zone", ZONE)]),
            dns: local(free_port()),
            admin: local(free_port()),
            reports: local(free_port()),
            tyo: node([127, 1, 1, 1]),
            _fra: node([127, 2, 1, 1]),
            port,
            ca: authority(),
        };
        let (certificate, key) = issue(&world.ca, "127.0.0.1", VALID);
        world.folder.write("tls/cert.pem", &certificate);
        world.folder.write("tls/key.pem", &key);
        world.folder.write("tls/ca.pem", &world.ca.pem());
        world.write_server("");
        world.write_fleet(&vantages(TOKEN, OTHER));
        world
    }

    /// `more`: keys of `reports:`.
    pub fn write_server(&self, more: &str) {
        self.folder.write_server(&self.reports_key(more));
    }

    pub fn reports_key(&self, more: &str) -> String {
        let reports = self.reports;
        format!("reports: {{ listen: \"{reports}\", certificate: tls/cert.pem, key: tls/key.pem{more} }}\n")
    }

    /// `more`: further sections of the file.
    pub fn write_fleet(&self, more: &str) {
        let port = self.port;
        self.folder.write(
            "fleet.yaml",
            &format!(
                "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
health: {{ trust: {{ max_age: 2s }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1], labels: {{ role: edge }} }}
  fra-1: {{ site: fra, addresses: [127.2.1.1], labels: {{ role: edge }} }}
{more}"
            ),
        );
    }

    pub fn ca(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.ca
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.path("tls/ca.pem")
    }

    pub fn serve(&self) -> Rhumb {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, more: &[&str]) -> Rhumb {
        let (dns, admin) = (self.dns.to_string(), self.admin.to_string());
        let (policies, state) = (self.folder.policies(), self.folder.state());
        let args = ["serve", "--policies", &policies, "--state", &state, "--listen", &dns, "--admin", &admin];
        let mut rhumb = Rhumb::spawn(&[&args[..], &["--log", "human"], more].concat());
        rhumb.wait_line("ready");
        rhumb
    }

    /// A vantage with `proof`: flags that show who it is.
    pub fn vantage_with(&self, name: &str, proof: &[&str]) -> Rhumb {
        let (scheduler, ca) = (self.reports.to_string(), self.ca_file());
        let ca = ca.to_str().expect("a UTF-8 path").to_owned();
        let args = ["vantage", "--scheduler", &scheduler, "--ca", &ca, "--name", name];
        Rhumb::spawn(&[&args[..], proof].concat())
    }

    pub fn vantage(&self, name: &str, token: &str) -> Rhumb {
        self.vantage_more(name, token, &[])
    }

    pub fn vantage_more(&self, name: &str, token: &str, more: &[&str]) -> Rhumb {
        let file = self.folder.root.path().join(format!("{name}.token"));
        std::fs::write(&file, format!("{token}\n")).expect("writes");
        let proof = ["--token-file", file.to_str().expect("a UTF-8 path")];
        self.vantage_with(name, &[&proof[..], more].concat())
    }

    /// What clients of a network are answered.
    pub fn ask(&self, subnet: &str) -> Vec<IpAddr> {
        wait_for("an answer", || ask(self.dns, "live.example.test", 1, subnet)).addresses
    }

    /// What the status says to a person.
    pub fn told(&self) -> String {
        run(&["status", "--admin", &self.admin.to_string()]).1
    }

    pub fn status(&self) -> Value {
        let (_, out, err) = run(&["status", "--admin", &self.admin.to_string(), "--format", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }

    /// A node as the status shows it, on IPv4.
    pub fn node(&self, name: &str) -> Value {
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("a list");
        let node = nodes.iter().find(|node| node["name"] == name).expect("the node");
        node["families"][0].clone()
    }

    /// What `vantage` says of a node: its verdict, and whether it counts.
    pub fn word(&self, node: &str, vantage: &str) -> Option<(String, bool)> {
        let node = self.node(node);
        let votes = node["votes"].as_array()?;
        let vote = votes.iter().find(|vote| vote["vantage"] == vantage)?;
        Some((vote["verdict"].as_str()?.to_owned(), vote["is_trusted"].as_bool()?))
    }

    pub fn wait_word(&self, node: &str, vantage: &str, verdict: &str) {
        let wanted = Some((verdict.to_owned(), true));
        wait_for(&format!("{vantage} to say that {node} is {verdict}"), || {
            (self.word(node, vantage) == wanted).then_some(())
        });
    }

    pub fn wait_verdict(&self, node: &str, verdict: &str) {
        wait_for(&format!("{node} to be {verdict}"), || {
            (self.node(node)["verdict"] == verdict).then_some(())
        });
    }

    pub fn problems(&self) -> Vec<String> {
        let status = self.status();
        let problems = status["problems"].as_array().expect("a list");
        problems.iter().filter_map(|problem| problem["message"].as_str().map(str::to_owned)).collect()
    }

    pub fn wait_problem(&self, part: &str) {
        wait_for(part, || self.problems().iter().any(|message| message.contains(part)).then_some(()));
    }

    /// A vantage as the status shows it.
    pub fn shown(&self, name: &str) -> Value {
        let status = self.status();
        let vantages = status["vantages"].as_array().expect("a list");
        vantages.iter().find(|vantage| vantage["name"] == name).expect("the vantage").clone()
    }
}
