//! Drills by the commands they are run with: predicted, measured from outside, aborted, given up, killed in the middle
//! and restored.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Folder, Rhumb, TestNode, free_port, run, wait_for};

/// Of 100 units each, of which 90 may be planned.
const NODES: [(&str, [u8; 4]); 3] =
    [("tyo-1", [127, 1, 19, 1]), ("tyo-2", [127, 1, 19, 2]), ("fra-1", [127, 1, 19, 3])];

fn service(demand: u64) -> String {
    format!(
        "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
demand: {demand}
pools:
  all: {{ select: {{ role: edge }}, method: weights }}
chains:
  - pools: [all]
"
    )
}

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

fn fleet(port: u16) -> String {
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

/// A drill with so much hold; a second of watch, a hundred clients.
fn drill(rest: &str) -> String {
    format!("version: 1\nwatch: 2s\nclients: 100\ntier: 5m\n{rest}")
}

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    nodes: Vec<TestNode>,
}

impl World {
    /// With so many units of demand.
    fn new(demand: u64, drills: &[(&str, String)]) -> Self {
        let port = free_port();
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::with(&[
            ("fleet.yaml", &fleet(port)),
            ("services/live.yaml", &service(demand)),
            ("zones/example.test.zone", ZONE),
        ]);
        for (name, text) in drills {
            folder.write(&format!("drills/{name}.yaml"), text);
        }
        folder.write_server("commands: true\n");
        let node = |(_, address): &(&str, [u8; 4])| TestNode::start(SocketAddr::from((*address, port)));
        Self { folder, dns: local(), admin: local(), nodes: NODES.iter().map(node).collect() }
    }

    fn serve(&self) -> Rhumb {
        let rhumb = self.folder.serve(self.dns, self.admin);
        wait_for("all nodes to be up", || {
            let status = self.json(&["status"]);
            let nodes = status["nodes"].as_array()?;
            nodes.iter().all(|node| node["families"][0]["verdict"] == "up").then_some(())
        });
        rhumb
    }

    /// Exit code and what is printed, both streams.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let admin = self.admin.to_string();
        let (code, out, err) = run(&[args, &["--admin", &admin]].concat());
        (code, out + &err)
    }

    fn json(&self, args: &[&str]) -> Value {
        let admin = self.admin.to_string();
        let (_, out, _) = run(&[args, &["--admin", &admin, "--format", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_default()
    }

    /// Starts a drill and leaves it running; its number.
    fn begin(&self, name: &str) -> u64 {
        let body = format!("{{\"name\": \"{name}\"}}");
        let answer = support::post(self.admin, "/drills", &body);
        let document = answer.split("\r\n\r\n").nth(1).expect("a body");
        let said: Value = serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {answer}"));
        said["id"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    fn report(&self, id: u64) -> Value {
        self.json(&["drill", "show", &id.to_string()])
    }

    fn wait_phase(&self, id: u64, phase: &str) {
        wait_for(phase, || (self.report(id)["phase"] == phase).then_some(()));
    }

    /// `None`: it cannot be asked; within: there is none.
    fn problem(&self, code: &str) -> Option<Option<Value>> {
        let status = self.json(&["status"]);
        let problems = status["problems"].as_array()?;
        Some(problems.iter().find(|problem| problem["code"] == code).cloned())
    }

    fn has_overrides(&self) -> bool {
        let overrides = self.json(&["overrides"]);
        overrides.as_array().expect("a list").iter().any(|_| true)
    }
}

fn marks(report: &Value) -> Vec<String> {
    let timeline = report["timeline"].as_array().expect("a timeline");
    timeline.iter().map(|mark| mark["what"].as_str().expect("a word").to_owned()).collect()
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn a_drill_is_predicted_measured_reported_and_listed() {
    let world =
        World::new(120, &[("lose-fra", drill("targets: site/fra\nhold: 8s\nrunbook: runbooks/fra.md\n"))]);
    let mut rhumb = world.serve();
    let (code, said) = world.run(&["drill", "plan", "lose-fra"]);
    assert!(code == 0 && said.contains("predicted") && said.contains("fra-1"), "{said}");
    fits(&said);
    assert!(!world.has_overrides(), "nothing is done");

    let file = world.folder.path("drills/lose-fra.yaml");
    let file = file.to_str().expect("UTF-8");
    let (code, said) = world.run(&["drill", "run", file, "--yes"]);
    assert_eq!(code, 0, "{said}");
    for told in [
        "injected",
        "override 1: site/fra is forced down",
        "first good answer",
        "restored",
        "within the tier",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    fits(&said);
    assert!(!world.has_overrides(), "everything is given back");
    let report = world.report(1);
    assert_eq!(report["ending"]["kind"], "completed", "{report:#}");
    let answers = &report["answers"];
    for part in ["before", "during", "after"] {
        let failed = &answers[part]["failed"];
        assert!(failed == 0 && answers[part]["answers"].as_u64() > Some(50), "{part}: {report:#}");
    }
    // A third of the demand, as the planner says it and as a hundred clients have it.
    for side in ["predicted", "observed"] {
        let affected = report[side]["affected"].as_u64().expect("a share");
        assert!((150_000..550_000).contains(&affected), "{side}: {affected}");
        assert!(report[side]["followed"]["p99_ms"].as_u64().is_some_and(|ms| ms >= 4_900), "{report:#}");
    }
    let last = report["curve"].as_array().and_then(|curve| curve.last()).expect("a curve");
    assert_eq!(last["moved"], 1_000_000, "all have moved: {report:#}");
    let marks = marks(&report);
    for what in ["began", "injected", "published", "first_good", "ended", "restored"] {
        assert!(marks.iter().any(|mark| mark == what), "{what}: {marks:?}");
    }

    let (_, page) = world.run(&["drill", "show", "1", "--format", "html"]);
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && !page.contains("<script"));
    let (_, text) = world.run(&["drill", "show", "1", "--format", "md"]);
    assert!(text.starts_with("# Drill 1") && text.contains("runbooks/fra.md"), "{text}");
    let (_, listed) = world.run(&["drill", "list"]);
    assert!(listed.contains("lose-fra") && listed.contains("5m"), "{listed}");
    fits(&listed);

    // Stopped in the middle: restored before it ends, and the record says so.
    let id = world.begin("lose-fra");
    world.wait_phase(id, "holding");
    assert_eq!(rhumb.terminate(), Some(0));
    let _rhumb = world.serve();
    let report = world.report(id);
    assert_eq!(
        (&report["ending"]["kind"], &report["traces"]["is_restored"]),
        (&"stopped".into(), &true.into())
    );
    assert!(!world.has_overrides());
}

#[test]
fn a_killed_daemon_restores_and_says_so_and_an_abort_does_at_once() {
    let marker = tempfile::tempdir().expect("a folder");
    let broken = marker.path().join("broken");
    let hook = format!(
        "targets: site/fra\nhold: 2h\nfault:\n  inject: [touch, \"{0}\"]\n  heal: [rm, \"-f\", \"{0}\"]\n",
        broken.display()
    );
    let world = World::new(
        60,
        &[
            ("long", drill("targets: [tyo-1, fra-1]\nramp: 1s\nhold: 2h\nfault: drain\n")),
            ("hook", drill(&hook)),
        ],
    );
    let mut rhumb = world.serve();
    let id = world.begin("long");
    world.wait_phase(id, "holding");
    let overrides = world.json(&["overrides"]);
    assert_eq!(overrides.as_array().map(Vec::len), Some(2), "{overrides:#}");
    let owner = overrides[0]["owner"].as_str().expect("an owner");
    assert!(owner.starts_with("drill long by "), "{owner}");
    let (code, said) = world.run(&["drill", "run", "long", "--yes"]);
    assert!(code == 1 && said.contains(&format!("drill {id} (long) is running")), "{said}");
    rhumb.kill();
    let mut rhumb = world.serve();
    wait_for("the overrides to be cancelled", || (!world.has_overrides()).then_some(()));
    let report = wait_for("the end of the record", || {
        Some(world.report(id)).filter(|report| report["ending"]["kind"] == "crashed")
    });
    assert_eq!((&report["phase"], &report["traces"]["is_restored"]), (&"over".into(), &true.into()));
    let (_, text) = world.run(&["drill", "show", &id.to_string()]);
    fits(&text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("restored after a restart: 2 of its faults taken back"), "{text}");

    // A program that broke something is healed likewise.
    let id = world.begin("hook");
    wait_for("the fault", || broken.exists().then_some(()));
    rhumb.kill();
    let _rhumb = world.serve();
    wait_for("it to be healed", || (!broken.exists()).then_some(()));
    wait_for("the end of the record", || (world.report(id)["ending"]["kind"] == "crashed").then_some(()));

    let id = world.begin("long");
    world.wait_phase(id, "holding");
    let (code, said) = world.run(&["drill", "abort", "--why", "a real incident"]);
    assert!(code == 0 && said.contains("everything is given back"), "{said}");
    assert!(!world.has_overrides());
    world.wait_phase(id, "over");
    let report = world.report(id);
    assert_eq!(report["ending"]["why"], "a real incident", "{report:#}");
    let (code, said) = world.run(&["drill", "abort"]);
    assert!(code == 1 && said.contains("no drill is running"), "{said}");
}

#[test]
fn what_the_rest_cannot_carry_and_mistakes_are_refused_and_guardrails_hold() {
    let guarded = "targets: node/fra-1\nhold: 2h\nguardrails: { others_down: 0, utilisation: 200% }\n";
    let mut world = World::new(
        120,
        &[
            ("lose-tyo", drill("targets: site/tyo\nhold: 5s\n")),
            ("never", drill("targets: site/fra\nhold: 5s\nblackout: {from: \"00:00\", to: \"23:59\"}\n")),
            ("guarded", drill(guarded)),
        ],
    );
    let _rhumb = world.serve();
    // 120 units, and 90 of them fit on the node that is left.
    let (code, said) = world.run(&["drill", "run", "lose-tyo", "--yes"]);
    assert!(code == 1 && said.contains("breaks `capacity`") && said.contains("nothing was done"), "{said}");
    fits(&said);
    let (code, said) = world.run(&["drill", "plan", "lose-tyo"]);
    assert!(code == 1 && said.contains("breaks `capacity`"), "{said}");
    let minute = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    if minute.as_secs() / 60 % 1_440 < 1_438 {
        let (code, said) = world.run(&["drill", "run", "never", "--yes"]);
        assert!(code == 1 && said.contains("breaks `blackout`"), "{said}");
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let copy = elsewhere.path().join("guarded.yaml");
    std::fs::write(&copy, drill("targets: node/fra-1\nhold: 9s\n")).expect("writes");
    for (args, code, told) in [
        (&["run", "guarded"][..], 2, "say --yes"),
        (&["run", "loose-tyo", "--yes"], 1, "did you mean `lose-tyo`?"),
        (&["run", "guarded", "--yes", "--break-glass", "capacty"], 1, "did you mean `capacity`?"),
        (&["run", copy.to_str().expect("UTF-8"), "--yes"], 1, "is not what is in force"),
        (&["plan", "drills/none.yaml"], 1, "cannot read"),
        (&["show", "77"], 1, "there is no drill 77"),
        (&["abort", "77"], 1, "drill 77 is not running: none is"),
    ] {
        let (got, said) = world.run(&[&["drill"], args].concat());
        assert!(got == code && said.contains(told), "{args:?}: {got}: {said}");
    }
    let (code, token) = world.run(&["token", "create", "vera", "--role", "viewer"]);
    assert_eq!(code, 0, "{token}");
    let file = world.folder.path("vera.token").to_str().expect("UTF-8").to_owned();
    std::fs::write(&file, token.split_whitespace().next().expect("a token")).expect("writes");
    let (code, said) = world.run(&["drill", "plan", "guarded", "--token-file", &file]);
    assert_eq!(code, 0, "whoever may look may plan: {said}");
    let (code, said) = world.run(&["drill", "run", "guarded", "--yes", "--token-file", &file]);
    assert!(code == 1 && said.contains("takes the role operator"), "{said}");
    assert!(!world.has_overrides(), "nothing was done");

    // A node that is no target fails in the middle: it is given up, and everything given back.
    let id = world.begin("guarded");
    world.wait_phase(id, "holding");
    world.nodes[0].stop();
    let report = wait_for("the guardrail", || {
        Some(world.report(id)).filter(|report| report["ending"]["kind"] == "guardrail")
    });
    assert_eq!(report["ending"]["rail"], "others_down", "{report:#}");
    wait_for("the restoration", || (!world.has_overrides()).then_some(()));
    let begun = Instant::now();
    wait_for("its end", || (world.report(id)["phase"] == "over").then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(3_600), "long before its hold is over");
    let (code, said) = world.run(&["drill", "run", "guarded", "--yes"]);
    assert!(code == 1 && said.contains("breaks `others-down`: tyo-1 may not serve"), "{said}");
}

#[test]
fn what_a_drill_breaks_is_its_own_and_other_faults_end_it() {
    let place = tempfile::tempdir().expect("a folder");
    let (broken, may_heal) = (place.path().join("broken"), place.path().join("may-heal"));
    let hook = format!(
        "targets: node/fra-1\nhold: 2h\nfault:\n  inject: [touch, \"{0}\"]\n  \
         heal: [sh, \"-c\", \"test -e {1} && rm -f {0}\"]\n\
         guardrails: {{ others_down: 5, failed_answers: 100%, utilisation: 200%, problems: [], quorum: false }}\n",
        broken.display(),
        may_heal.display()
    );
    let mut world =
        World::new(60, &[("break", drill(&hook)), ("next", drill("targets: node/tyo-2\nhold: 5s\n"))]);
    let _rhumb = world.serve();
    let id = world.begin("break");
    wait_for("the fault", || broken.exists().then_some(()));
    world.nodes[2].stop();
    let is_told = |report: &Value, what: &str, part: &str| {
        let timeline = report["timeline"].as_array().expect("a timeline");
        timeline.iter().any(|mark| {
            mark["what"] == what && mark["detail"].as_str().is_some_and(|told| told.contains(part))
        })
    };
    wait_for("its verdict in the timeline", || {
        is_told(&world.report(id), "verdict", "fra-1 is down: ").then_some(())
    });
    let status = world.json(&["status"]);
    assert_eq!(status["drilled"], serde_json::json!(["fra-1"]), "{status:#}");

    // A node that is no target fails: that is an incident, and the end of the drill.
    world.nodes[0].stop();
    let report = wait_for("the guardrail", || {
        Some(world.report(id)).filter(|report| report["ending"]["kind"] == "guardrail")
    });
    let ending = &report["ending"];
    let why = ending["why"].as_str().expect("a reason");
    assert!(ending["rail"] == "incidents" && why.contains("tyo"), "{ending:#}");
    let is_of_fra = || {
        let incidents = world.json(&["incidents"]);
        let all = incidents.as_array().expect("a list");
        assert!(!all.is_empty(), "that of tyo is open");
        all.iter().any(|it| it["summary"].as_str().is_some_and(|told| told.contains("fra")))
    };
    assert!(!is_of_fra(), "what the drill breaks is none");
    wait_for("the refusal of another", || {
        let (code, said) = world.run(&["drill", "plan", "next"]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        (code == 1 && said.contains("breaks `open-incidents`: incident 1 (")).then_some(())
    });

    // Its program does not heal: that is a problem until it does, and nobody's incident.
    let unrestored = || world.problem("drill-unrestored");
    let problem = wait_for("the problem", || unrestored()?);
    let message = problem["message"].as_str().expect("a sentence");
    assert!(message.contains("(break) did to node/fra-1 is not taken back"), "{message}");
    assert_eq!(world.report(id)["traces"]["is_restored"], false);
    assert!(!is_of_fra(), "it is still the drill's");
    std::fs::write(&may_heal, "").expect("writes");
    wait_for("it to be healed", || (!broken.exists()).then_some(()));
    wait_for("the end of the problem", || unrestored().and_then(|it| it.is_none().then_some(())));
    let report = world.report(id);
    assert_eq!(report["traces"]["is_restored"], true, "{report:#}");
    assert!(is_told(&report, "restored", "after all"), "{report:#}");
    // Well again, it is nobody's any more.
    world.nodes[2] = TestNode::start(world.nodes[2].address);
    wait_for("it to be let go", || {
        let status = world.json(&["status"]);
        (status.is_object() && status["drilled"].is_null()).then_some(())
    });
}

#[test]
fn an_events_freeze_refuses_drills_and_applies_and_lets_everything_back() {
    let world = World::new(60, &[("lose-fra", drill("targets: site/fra\nhold: 2h\n"))]);
    let _rhumb = world.serve();
    let base = world.json(&["history"])[0]["revision"].as_str().expect("a revision").to_owned();
    world.folder.write(
        "events/final.yaml",
        "version: 1\nfrom: 2020-01-01T00:00:00Z\nuntil: 2100-01-01T00:00:00Z\nservices: live\n\
         expect: { factor: 1.1 }\n",
    );
    wait_for("the freeze", || {
        let (code, said) = world.run(&["drill", "plan", "lose-fra"]);
        (code == 1 && said.contains("breaks `event-final`")).then_some(())
    });
    let (code, said) = world.run(&["drill", "run", "lose-fra", "--yes"]);
    assert!(
        code == 1 && said.contains("breaks `event-final`") && said.contains("nothing was done"),
        "{said}"
    );

    // An apply that moves clients, likewise.
    let next = world.folder.root.path().join("next");
    copy(std::path::Path::new(&world.folder.policies()), &next);
    std::fs::write(
        next.join("services/live.yaml"),
        service(60).replace("select: { role: edge }", "members: [tyo-1, tyo-2]"),
    )
    .expect("writes");
    let next = next.to_str().expect("UTF-8");
    let (code, said) = world.run(&["apply", next, "--why", "fra is sold"]);
    assert!(code == 1 && said.contains("`event-final` speaks against it"), "{said}");

    // Named, the rule is broken; and what takes something back is not asked.
    let body = "{\"name\": \"lose-fra\", \"break_glass\": [\"event-final\"]}";
    let id = wait_for("the start", || {
        let answer = support::post(world.admin, "/drills", body);
        let said: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()?;
        said["id"].as_u64()
    });
    world.wait_phase(id, "holding");
    assert_eq!(world.report(id)["break_glass"], serde_json::json!(["event-final"]));
    let (code, said) = world.run(&["drill", "abort"]);
    assert!(code == 0 && said.contains("everything is given back"), "{said}");
    let (code, said) = world.run(&["apply", next, "--why", "fra is sold", "--break-glass", "event-final"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = world.run(&["rollback", &base, "--why", "the event is off"]);
    assert_eq!(code, 0, "{said}");
    assert!(!world.folder.path("events/final.yaml").exists(), "as it was before");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("reads") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copies");
        }
    }
}
