//! `rhumb node` and `rhumb status --watch` against a real daemon on loopback: one node that answers, one that
//! stops, a daemon that is started again, and probes that this machine cannot make.

mod support;

use std::net::SocketAddr;
use support::{Folder, Rhumb, TestNode, free_port, run, wait_for};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
";

fn fleet(port: u16) -> String {
    format!(
        "version: 1
regions: {{ ea: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1], labels: {{ role: edge }} }}
  tyo-2: {{ site: tyo, addresses: [127.1.1.2], labels: {{ role: edge }} }}
"
    )
}

struct World {
    folder: Folder,
    port: u16,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new() -> Self {
        let port = free_port();
        let folder = Folder::with(&[
            ("fleet.yaml", &fleet(port)),
            ("services/live.yaml", SERVICE),
            ("zones/example.test.zone", ZONE),
        ]);
        folder.write_server("");
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { folder, port, dns: local(), admin: local() }
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }
}

#[test]
fn a_node_is_told_in_one_screen() {
    let world = World::new();
    let (port, admin) = (world.port, world.admin.to_string());
    let node = |last: u8| TestNode::start(SocketAddr::from(([127, 1, 1, last], port)));
    let (_one, mut two) = (node(1), node(2));
    // Before the first probe: one that was under way would find its connection reset, not refused.
    two.stop();
    let mut rhumb = world.serve();
    let ask = |name: &str, format: &str| run(&["node", name, "--admin", &admin, "--format", format]);
    let json = |name: &str| -> serde_json::Value {
        let (code, out, err) = ask(name, "json");
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    };
    let down = wait_for("tyo-2 to go down", || {
        let told = json("tyo-2");
        (told["verdict"] == "down").then_some(told)
    });
    let family = &down["families"][0];
    assert_eq!((&family["family"], &family["verdict"]), (&"v4".into(), &"down".into()), "{down:#}");
    assert_eq!(
        (&family["evidence"]["rule"], &family["evidence"]["check"]),
        (&"failures".into(), &"http".into())
    );
    assert_eq!(family["checks"][0]["target"], format!("127.1.1.2:{port}"));
    assert!(family["checks"][0]["failure"].as_str().is_some_and(|why| why.contains("refused")), "{down:#}");
    assert!(family["history"][0]["loss"].as_u64().is_some_and(|loss| loss > 0), "{down:#}");
    let share = |told: &serde_json::Value| told["services"][0]["share"].as_u64().expect("a share");
    wait_for("its clients to have moved", || (share(&json("tyo-2")) == 0).then_some(()));
    assert_eq!(share(&json("tyo-1")), 1_000_000);

    // A refusal is known at once; the other node may have finished no probe by then.
    wait_for("tyo-1 to be up", || (json("tyo-1")["verdict"] == "up").then_some(()));
    let text = wait_for("tyo-1 to carry everything", || {
        let (code, text, err) = ask("tyo-1", "text");
        assert_eq!(code, 0, "{err}");
        text.contains("100.0 % of it").then_some(text)
    });
    for part in ["tyo-1  up", "IPv4  up for", "role=edge", "site tyo, region ea", "http", "round trip"] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80) && !text.contains('\u{1b}'), "{text}");
    assert!(ask("tyo-2", "text").1.contains("down for"));

    let (code, out, err) = ask("tyo-3", "text");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no node `tyo-3`; did you mean `tyo-"), "{err}");
    assert_eq!(rhumb.terminate(), Some(0));
    let (code, _, err) = ask("tyo-1", "text");
    assert_eq!(code, 2, "nobody to ask: {err}");
}

#[test]
fn a_watch_outlives_the_daemon_and_ends_by_ctrl_c() {
    let world = World::new();
    let mut watch = Rhumb::spawn(&["status", "--admin", &world.admin.to_string(), "--watch", "0.1"]);
    watch.wait_line("no rhumb answers");
    for _ in 0..2 {
        watch.forget_lines();
        let mut rhumb = world.serve();
        watch.wait_line("no problems");
        watch.forget_lines();
        watch.wait_line("tyo-2");
        watch.forget_lines();
        rhumb.terminate();
        watch.wait_line("trying again");
    }
    watch.signal(libc::SIGINT);
    let ended = wait_for("the watch to end", || watch.child.try_wait().expect("waits"));
    assert_eq!(ended.code(), Some(0));

    let _rhumb = world.serve();
    let mut watch =
        Rhumb::spawn(&["status", "--admin", &world.admin.to_string(), "--watch", "--format", "json"]);
    let line = watch.wait_line("{");
    assert!(serde_json::from_str::<serde_json::Value>(&line).expect("a line each")["nodes"].is_array());
    let (code, _, err) = run(&["status", "--admin", &world.admin.to_string(), "--watch", "0"]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn a_probe_that_cannot_be_made_is_a_problem_until_it_can() {
    let fleet = "version: 1
regions: { ea: {} }
sites: { tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge }, probes: [{ kind: command, command: [checks/health], interval: 1s, timeout: 900ms }] }
  tyo-2: { site: tyo, addresses: [127.1.1.2], labels: { role: edge }, probes: [{ kind: command, command: [checks/health], interval: 1s, timeout: 900ms }] }
";
    let world = World::new();
    let path = |name: &str| std::path::Path::new(&world.folder.policies()).join(name);
    std::fs::write(path("fleet.yaml"), fleet).expect("writes");
    world.folder.write_server("commands: true\n");
    let (code, out, err) = run(&["check", &world.folder.policies()]);
    assert_eq!(code, 0, "a warning: {out}{err}");
    assert!(out.contains("probe-impossible") && out.contains("there is no program `checks/health`"), "{out}");

    let _rhumb = world.serve();
    let problems = || {
        let (_, out, err) = run(&["status", "--admin", &world.admin.to_string(), "--format", "json"]);
        let status: serde_json::Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        let told = |problem: &serde_json::Value| problem["message"].as_str().unwrap_or_default().to_owned();
        let all = status["problems"].as_array().expect("a list");
        all.iter().filter(|it| it["code"] == "probe-not-made").map(told).collect::<Vec<_>>()
    };
    let told = wait_for("the problem", || {
        problems().into_iter().find(|told| told.contains("tyo-1") && told.contains("tyo-2"))
    });
    assert!(told.contains("command of tyo-1 (IPv4)") && told.contains("checks/health"), "{told}");
    assert_eq!(problems().len(), 1, "what is wrong is told once");

    std::fs::create_dir(path("checks")).expect("a folder");
    let program = path("checks/health");
    // Made whole and runnable before it has its name, so that no probe finds half of it.
    let draft = path("checks/draft");
    std::fs::write(&draft, "#!/bin/sh\necho '{\"ok\": true}'\n").expect("writes");
    let mut mode = std::fs::metadata(&draft).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&draft, mode).expect("may be run");
    std::fs::rename(&draft, &program).expect("a name");
    wait_for("the problem to end", || problems().is_empty().then_some(()));
    assert!(!run(&["check", &world.folder.policies()]).1.contains("probe-impossible"));
}
