//! Incidents as people meet them: a node dies and is back, rhumb is killed in between, and everybody may look at a page.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::{Folder, Rhumb, TestNode, free_port, run, wait_for};

/// Of 100 units each, of which 90 may be planned.
const NODES: [(&str, [u8; 4]); 3] =
    [("tyo-1", [127, 1, 13, 1]), ("tyo-2", [127, 1, 13, 2]), ("fra-1", [127, 1, 13, 3])];

/// More than two nodes may be given, so that one that comes back is filled at once, whatever its ramp says.
const SERVICE: &str = "version: 1
title: Live streams
hostnames: [live.example.test]
tier: 15m
ttl: 5
demand: 264
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
slo: { availability: 99.9% }
runbook: runbooks/live.md
";

const ALERTS: &str = "version: 1
resolve_after: 1s
incidents: { close_after: 1s }
rules:
  node-down: { severity: warning, when: { verdict: down }, runbook: runbooks/node-down.md }
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

fn fleet(port: u16) -> String {
    let row = |(name, [a, b, c, d]): &(&str, [u8; 4])| {
        format!(
            "  {name}: {{ site: {}, addresses: [{a}.{b}.{c}.{d}], labels: {{ role: edge }} }}\n",
            &name[..3]
        )
    };
    let rows: String = NODES.iter().map(row).collect();
    format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }}, runbook: https://wiki.example.com/tyo }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
  capacity: {{ unit: mbps, amount: 100, cap: 90% }}
nodes:
{rows}"
    )
}

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    page: SocketAddr,
    port: u16,
    nodes: Vec<Option<TestNode>>,
}

impl World {
    fn new() -> Self {
        let port = free_port();
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::with(&[
            ("fleet.yaml", &fleet(port)),
            ("services/live.yaml", SERVICE),
            ("alerts.yaml", ALERTS),
            ("zones/example.test.zone", ZONE),
        ]);
        let page = local();
        folder.write_server(&format!("status_page: {{ listen: \"{page}\", title: Example status }}\n"));
        let mut world = Self { folder, dns: local(), admin: local(), page, port, nodes: Vec::new() };
        world.nodes = (0..NODES.len()).map(|at| Some(world.node_at(at))).collect();
        world
    }

    fn node_at(&self, at: usize) -> TestNode {
        TestNode::start(SocketAddr::from((NODES[at].1, self.port)))
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    /// Exit code and what is printed, both streams.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let admin = self.admin.to_string();
        let (code, out, err) = run(&[args, &["--admin", &admin]].concat());
        (code, out + &err)
    }

    fn json(&self, args: &[&str]) -> Value {
        let (_, said) = self.run(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
    }

    fn wait_all_up(&self) {
        wait_for("all nodes to be up", || {
            let (_, said) = self.run(&["status", "--format", "json"]);
            let status: Value = serde_json::from_str(&said).ok()?;
            let nodes = status["nodes"].as_array()?;
            let is_up = |node: &Value| node["families"][0]["verdict"] == "up" && node["share"] != 0;
            (nodes.len() == NODES.len() && nodes.iter().all(is_up)).then_some(())
        });
    }

    /// The one incident, once it is as wanted.
    fn wait_incident(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let listed = self.json(&["incidents", "--all"]);
            let listed = listed.as_array()?;
            assert!(listed.len() <= 1, "{listed:#?}");
            listed.first().filter(|incident| is_so(incident)).cloned()
        })
    }

    /// What the page answers to a request line, head and body.
    fn ask_page(&self, line: &str) -> String {
        let mut stream = wait_for("the page", || TcpStream::connect(self.page).ok());
        write!(stream, "{line} HTTP/1.1\r\nhost: status\r\n\r\n").expect("asks");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        text
    }
}

fn is_narrow(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= 80)
}

#[test]
fn a_node_that_dies_is_told_of_kept_over_a_kill_and_closed_with_both_clocks() {
    let mut world = World::new();
    let mut rhumb = world.serve();
    world.wait_all_up();
    let (code, said) = world.run(&["incidents"]);
    assert_eq!((code, said.trim()), (0, "no incident is open"));

    world.nodes[1] = None;
    let incident = world.wait_incident("the incident", |it| it["answer_ms"].is_u64());
    assert_eq!((&incident["id"], &incident["phase"]), (&1.into(), &"open".into()), "{incident:#}");
    assert_eq!((&incident["cause"]["of"], &incident["cause"]["subject"]), (&"node".into(), &"tyo-2".into()));
    let impact = incident["impact"].as_str().expect("a sentence");
    assert!(impact.starts_with("live: ") && impact.contains("of clients were on what is lost"), "{impact}");
    let (code, said) = world.run(&["incidents"]);
    assert!(code == 1 && is_narrow(&said), "{said}");
    for expected in [
        "incident 1, open, since",
        "node tyo-2: down",
        "likeliest cause: node tyo-2: the other node of site tyo is well",
        "runbook: https://wiki.example.com/tyo",
        "runbook: runbooks/live.md",
        "runbook: runbooks/node-down.md",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let (_, said) = world.run(&["status"]);
    assert!(said.contains("incident 1, open"), "{said}");
    let (_, said) = world.run(&["alerts"]);
    assert!(said.contains("node tyo-2") && said.contains("runbook: runbooks/node-down.md"), "{said}");
    the_page_tells_and_has_no_secrets(&world, "A server failed");

    // Killed while it is open, and started again.
    rhumb.kill();
    let mut rhumb = world.serve();
    // Something that the audit log has.
    assert_eq!(world.run(&["token", "create", "vera", "--role", "viewer"]).0, 0);
    let shown = wait_for("the incident after the kill", || {
        let shown = world.json(&["incident", "show", "1"]);
        let is_told =
            |step: &Value| step["what"].as_str().is_some_and(|it| it.contains("rhumb was started again"));
        shown["timeline"].as_array()?.iter().any(is_told).then_some(shown)
    });
    assert_eq!(
        (&shown["phase"], &shown["clocks"]["failed_at"]),
        (&"open".into(), &incident["failed_at"]),
        "{shown:#}"
    );

    world.nodes[1] = Some(world.node_at(1));
    world.wait_incident("all to be well", |it| it["phase"] != "open");
    let closed = world.wait_incident("its end", |it| it["phase"] == "closed");
    let ms = |key: &str| closed[key].as_u64().unwrap_or_else(|| panic!("{key}: {closed:#}"));
    // A TTL of 5 s is waited for, and the whole is no sooner.
    assert!(ms("answer_ms") >= 4_950 && ms("quality_ms") >= ms("answer_ms"), "{closed:#}");
    assert_eq!(world.run(&["incidents"]).0, 0);
    the_postmortem_has_it_all(&world);
    the_objective_was_charged(&world);
    the_page_tells_and_has_no_secrets(&world, "Everybody is served as before.");
    assert_eq!(rhumb.terminate(), Some(0));
}

fn the_page_tells_and_has_no_secrets(world: &World, expected: &str) {
    let html = wait_for("the page", || {
        let html = world.ask_page("GET /");
        html.contains(expected).then_some(html)
    });
    assert!(html.starts_with("HTTP/1.1 200 OK\r\n") && html.contains("content-type: text/html"), "{html}");
    assert!(html.contains("<title>Example status</title>") && html.contains("Live streams"), "{html}");
    let json = world.ask_page("GET /status.json");
    let body = json.split("\r\n\r\n").nth(1).expect("a body");
    let told: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(told["services"][0]["name"], "Live streams");
    for page in [&html, &json] {
        for secret in ["127.1.13", "tyo", "fra-1", "wiki.example", "example.test", "127.0.0.1"] {
            assert!(!page.contains(secret), "{secret}: {page}");
        }
    }
    assert!(!html.contains("<script"));
    assert!(world.ask_page("POST /").starts_with("HTTP/1.1 405 "));
    for path in ["/status", "/metrics", "/incidents", "/../etc/passwd"] {
        assert!(world.ask_page(&format!("GET {path}")).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

fn the_postmortem_has_it_all(world: &World) {
    let (code, text) = world.run(&["incident", "show", "1"]);
    assert!(code == 0 && is_narrow(&text), "{text}");
    let (code, draft) = world.run(&["incident", "show", "1", "--format", "md"]);
    assert_eq!(code, 0, "{draft}");
    for expected in [
        "# Incident 1: node tyo-2: down",
        "## Impact",
        "| live | ",
        "## Timeline",
        "the first observation that failed",
        "## Evidence",
        "- **tyo-2**, down: ",
        "published: evacuation of tyo-2",
        "`POST /tokens`",
        "- [ ] What was the cause behind",
    ] {
        assert!(draft.contains(expected), "{expected}: {draft}");
    }
}

fn the_objective_was_charged(world: &World) {
    let report = world.json(&["slo"]);
    let live = &report["services"][0];
    assert_eq!(
        (&live["name"], &live["objective"], &live["tier"]),
        (&"live".into(), &999_000.into(), &"15m".into())
    );
    assert_eq!(live["recovery"]["incidents"], 1, "{live:#}");
    assert!(live["watched_ms"].as_u64().is_some_and(|ms| ms > 0), "{live:#}");
    let (_, said) = world.run(&["slo"]);
    assert!(
        said.contains("live")
            && said.contains("99.9%")
            && is_narrow(&said)
            && said.contains("tier 15m: 1 incident"),
        "{said}"
    );
}

#[test]
fn mistakes_are_answered_with_what_was_meant() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_all_up();
    for (args, code, told) in [
        (&["incident", "show", "99"][..], 1, "there is no incident 99; `rhumb incidents --all` lists"),
        (&["incident", "show", "tyo"], 2, "invalid value 'tyo' for '<NUMBER>'"),
        (&["incident", "show"], 2, "<NUMBER>"),
        (&["incidents", "--most", "0", "--all"], 0, "no incident is kept"),
    ] {
        let (got, said) = world.run(args);
        assert!(got == code && said.contains(told), "{args:?}: {got}: {said}");
    }
    // An objective that leaves no time to recover in, and a port that is taken.
    world.folder.write("services/live.yaml", &SERVICE.replace("99.9%", "100%"));
    let (code, out, _) = run(&["check", &world.folder.policies()]);
    assert!(code == 1 && out.contains("leaves no time to recover in"), "{out}");
    world.folder.write("services/live.yaml", SERVICE);
    world.folder.write_server(&format!("listen: \"{0}\"\nstatus_page: {{ listen: \"{0}\" }}\n", world.page));
    let (code, out, _) = run(&["check", &world.folder.policies()]);
    assert!(code == 1 && out.contains("over TCP is for `listen` already"), "{out}");
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn what_an_operator_takes_out_is_no_incident() {
    let mut world = World::new();
    world.folder.write("services/live.yaml", &SERVICE.replace("264", "60"));
    let mut rhumb = world.serve();
    world.wait_all_up();
    let (code, said) = world.run(&["drain", "site/tyo", "--for", "10m", "--reason", "new switches"]);
    assert_eq!(code, 0, "{said}");
    // It goes down while it is drained, which the status shows and nobody is called for.
    world.nodes[1] = None;
    wait_for("its verdict", || {
        let status = world.json(&["status"]);
        let nodes = status["nodes"].as_array()?;
        nodes.iter().any(|node| node["families"][0]["verdict"] == "down").then_some(())
    });
    // Another one is an incident: what comes later was looked for.
    world.nodes[2] = None;
    let incident = world.wait_incident("the other one", |_| true);
    assert_eq!(incident["cause"]["subject"], "fra-1", "{incident:#}");
    assert_eq!(rhumb.terminate(), Some(0));
}
