//! A policy for a share of the clients first, as operators do it: the spawned binary, asked for a thousand networks.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "canary/measured.rs"]
mod measured;
mod support;
#[path = "vantages/world.rs"]
#[allow(dead_code, reason = "vantages are tested elsewhere")]
mod vantage;

use rhumb::canary::Canary;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use support::{Folder, Rhumb, TestNode, ask, free_port, run, wait_for};

const A: u16 = 1;
/// Client groups that are asked for, and networks of each.
const GROUPS: usize = 100;
const NETWORKS: usize = 10;
const NODES: [(&str, [u8; 4]); 2] = [("tyo-1", [127, 1, 11, 1]), ("fra-1", [127, 1, 11, 2])];

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

fn service(tyo: u16, fra: u16) -> String {
    format!(
        "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
pools:
  all:
    select: {{ role: edge }}
    method: weights
    weights:
      - {{ select: {{ node: tyo-1 }}, weight: {tyo} }}
      - {{ select: {{ node: fra-1 }}, weight: {fra} }}
chains:
  - pools: [all]
"
    )
}

fn without_tokyo() -> String {
    let text = service(0, 1_000).replace("role: edge", "site: fra");
    text.lines().filter(|line| !line.contains("tyo-1")).map(|line| format!("{line}\n")).collect()
}

/// Without a port nobody watches the nodes, so that a machine too busy to answer probes ends no canary.
fn fleet(port: Option<u16>) -> String {
    let row = |(name, [a, b, c, d]): &(&str, [u8; 4])| {
        format!(
            "  {name}: {{ site: {}, addresses: [{a}.{b}.{c}.{d}], labels: {{ role: edge }} }}\n",
            &name[..3]
        )
    };
    let rows: String = NODES.iter().map(row).collect();
    let probe = |port: u16| {
        format!(
            "defaults:\n  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]\n"
        )
    };
    let probes = port.map_or_else(String::new, probe);
    format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
{probes}nodes:
{rows}"
    )
}

/// Each with networks of its own, so that each is a client group.
fn clients() -> String {
    let area = |at: usize| format!("  a{at:03}: {{ cidrs: [5.{at}.0.0/16] }}\n");
    format!("version: 1\nareas:\n{}", (0..GROUPS).map(area).collect::<String>())
}

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    nodes: Vec<TestNode>,
}

fn canary_of(admin: &str) -> Canary {
    wait_for("the canary to be told", || {
        let (_, said, _) = run(&["canary", "--format", "json", "--admin", admin]);
        serde_json::from_str(&said).ok()
    })
}

/// By group: what each of its networks is answered.
type Answers = Vec<Vec<IpAddr>>;

impl World {
    fn new() -> Self {
        Self::with(None)
    }

    /// With probes, and nodes that answer them.
    fn watched() -> Self {
        Self::with(Some(free_port()))
    }

    fn with(port: Option<u16>) -> Self {
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::with(&[
            ("fleet.yaml", &fleet(port)),
            ("clients.yaml", &clients()),
            ("services/live.yaml", &service(100, 100)),
            ("zones/example.test.zone", ZONE),
        ]);
        // What one canary moved is not to keep the next one waiting for a minute.
        folder.write_server("planner: {change_window: 5s}\n");
        let node = |port: u16| NODES.map(|(_, address)| TestNode::start(SocketAddr::from((address, port))));
        let nodes = port.map_or_else(Vec::new, |port| node(port).into());
        Self { folder, dns: local(), admin: local(), nodes }
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

    /// A folder of policies with this text in place of a file.
    fn proposal(&self, name: &str, path: &str, text: &str) -> String {
        let folder = self.folder.root.path().join(name);
        for file in
            ["rhumb.yaml", "fleet.yaml", "clients.yaml", "services/live.yaml", "zones/example.test.zone"]
        {
            let to = folder.join(file);
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("creates");
            std::fs::copy(self.folder.path(file), to).expect("copies");
        }
        std::fs::write(folder.join(path), text).expect("writes");
        folder.to_str().expect("UTF-8").to_owned()
    }

    fn canary(&self) -> Canary {
        canary_of(&self.admin.to_string())
    }

    fn wait_stage(&self, stage: &str) -> Canary {
        wait_for(&format!("the canary to be {stage}"), || {
            let canary = self.canary();
            (canary.stage.word() == stage).then_some(canary)
        })
    }

    fn status(&self) -> serde_json::Value {
        let (_, said) = self.run(&["status", "--format", "json"]);
        serde_json::from_str(&said).unwrap_or(serde_json::Value::Null)
    }

    fn wait_all_up(&self) {
        wait_for("all nodes to be up", || {
            let status = self.status();
            let nodes = status["nodes"].as_array()?;
            nodes.iter().all(|node| node["families"][0]["verdict"] == "up").then_some(())
        });
    }

    fn answers(&self) -> Answers {
        let one = |group: usize, network: usize| {
            wait_for("an answer", || {
                let reply = ask(self.dns, "live.example.test", A, &format!("5.{group}.{network}.0/24"))?;
                reply.addresses.first().copied()
            })
        };
        (0..GROUPS).map(|group| (0..NETWORKS).map(|network| one(group, network)).collect()).collect()
    }

    /// Waits until the answers are so; they may be otherwise for a while.
    fn wait_answers(&self, what: &str, are: impl Fn(&Answers) -> bool) -> Answers {
        wait_for(what, || Some(self.answers()).filter(&are))
    }

    /// Which of the groups are in the canary, by the hold that it tells and the keys that `explain` tells.
    fn members(&self, canary: &Canary) -> BTreeSet<usize> {
        let explain = ["explain", "live.example.test", "--client", "5.0.1.1", "--format", "json"];
        let (_, said) = self.run(&explain);
        let told: serde_json::Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let key = told["steering"]["group"].as_str().unwrap_or_else(|| panic!("a key: {said}")).to_owned();
        assert!(key.contains("a000"), "{key}");
        let is_member = |group: &usize| !canary.hold.holds(&key.replace("a000", &format!("a{group:03}")));
        (0..GROUPS).filter(is_member).collect()
    }
}

/// Groups of which any network is answered otherwise.
fn moved(before: &Answers, after: &Answers) -> BTreeSet<usize> {
    (0..GROUPS).filter(|&group| before[group] != after[group]).collect()
}

fn is_all_of(answers: &Answers, group: usize, node: usize) -> bool {
    answers[group].iter().all(|address| *address == IpAddr::from(NODES[node].1))
}

#[test]
fn a_canary_moves_its_share_alone_survives_a_crash_and_goes_back_or_to_all() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_all_up();
    let before = world.answers();
    // Nearly all to Frankfurt.
    let next = world.proposal("next", "services/live.yaml", &service(1, 1_000));
    let begin = ["apply", &next, "--canary", "20%", "--for", "30m", "--why", "ticket 1", "--detach"];
    let (code, said) = world.run(&begin);
    assert!(code == 0 && said.contains("as canary 1") && said.contains("rhumb canary abort"), "{said}");
    let canary = world.canary();
    let members = world.members(&canary);
    assert!((5..=45).contains(&members.len()), "about a fifth of a hundred: {}", members.len());
    assert!(canary.reached.percent() > 10.0 && canary.reached.percent() < 30.0, "{:?}", canary.reached);
    assert_eq!(canary.gaining.keys().collect::<Vec<_>>(), ["fra-1"]);
    let there = |answers: &Answers| members.iter().all(|&group| is_all_of(answers, group, 1));
    let during = world.wait_answers("the canary's clients to be in Frankfurt", there);
    assert!(moved(&before, &during).is_subset(&members), "nobody else moves");
    let networks = |of: &BTreeSet<usize>| {
        of.iter().flat_map(|&it| before[it].iter().zip(&during[it])).filter(|(a, b)| a != b).count()
    };
    assert_eq!(networks(&(0..GROUPS).collect()), networks(&members));

    let held = (0..GROUPS).find(|group| !members.contains(group)).expect("somebody is held");
    for (group, is_told) in [(held, true), (*members.first().expect("somebody is in it"), false)] {
        let (_, said) = world.run(&["explain", "live.example.test", "--client", &format!("5.{group}.1.1")]);
        assert_eq!(said.contains("while a canary runs"), is_told, "{said}");
    }
    mistakes(&world, &next);

    edits_wait(&world);

    rhumb.kill();
    let mut rhumb = world.serve();
    rhumb.wait_line("goes on after a restart");
    world.wait_all_up();
    let again = world.canary();
    assert_eq!((again.stage.word(), again.hold, again.id), ("running", canary.hold, canary.id));
    let during = world.wait_answers("the canary's clients to be in Frankfurt again", there);
    assert!(moved(&before, &during).is_subset(&members), "nobody else moves after a restart");
    let (_, status) = world.run(&["status"]);
    assert!(status.contains("canary 1 is running"), "{status}");
    let metrics = support::fetch(world.admin, "/metrics");
    assert!(metrics.contains("rhumb_canary_running 1"), "{metrics}");

    let (code, said) = world.run(&["canary", "abort", "--why", "too hot"]);
    assert!(code == 0 && said.contains("canary 1 is aborted") && said.contains("too hot"), "{said}");
    world.wait_answers("everybody to be back", |answers| *answers == before);
    let file = std::fs::read_to_string(world.folder.path("services/live.yaml")).expect("readable");
    assert_eq!(file, service(100, 100), "the folder holds what is in force");

    let (code, said) = world.run(&begin);
    assert!(code == 0 && said.contains("as canary 2"), "{said}");
    promote_with_an_edit_behind_it(&world);
    // By the change budget, so some of them soon and all of them later.
    let more = canary.groups[0] as usize + 5;
    world.wait_answers("others to follow", |answers| moved(&before, answers).len() > more);
    let (_, told) = world.run(&["history"]);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["canary", "promote", "rollback", "canary 1", "too hot"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let (_, told) = world.run(&["audit", "show"]);
    assert!(told.contains("POST /canary/abort") && told.contains("POST /canary/promote"), "{told}");
    assert_eq!(rhumb.terminate(), Some(0));
}

/// What waits for the end of canary 2 follows its promotion.
fn promote_with_an_edit_behind_it(world: &World) {
    world.folder.write("services/live.yaml", &service(1, 999));
    wait_for("the edit to wait", || {
        world.status()["problems"].to_string().contains("waits for the end of canary 2").then_some(())
    });
    let (code, said) = world.run(&["canary", "promote", "--why", "fine"]);
    assert!(code == 0 && said.contains("canary 2 is promoted"), "{said}");
    wait_for("the edit to be in force", || world.run(&["history"]).1.contains(" edit ").then_some(()));
    wait_for("nothing to wait", || {
        (!world.status()["problems"].to_string().contains("edit-held")).then_some(())
    });
}

/// An edit in place waits for its end, and is forgotten when it is mended.
fn edits_wait(world: &World) {
    world.folder.write("services/live.yaml", &service(300, 100));
    wait_for("the edit to wait", || {
        world.status()["problems"].to_string().contains("waits for the end of canary 1").then_some(())
    });
    world.folder.write("services/live.yaml", &service(1, 1_000));
    wait_for("nothing to wait", || {
        (!world.status()["problems"].to_string().contains("edit-held")).then_some(())
    });
}

/// What people do wrong while one runs; each is told how to do it right, and nothing changes.
fn mistakes(world: &World, next: &str) {
    let revision = world.canary().revision;
    let cases: [(&[&str], i32, &str); 8] = [
        (&["apply", next, "--canary", "20%", "--why", "x"], 1, "rhumb canary abort"),
        (&["apply", next, "--why", "x"], 1, "rhumb canary promote"),
        (&["apply", next, "--canary", "20", "--why", "x"], 2, "write it as 10%"),
        (&["apply", next, "--for", "10m", "--why", "x"], 2, "--canary"),
        (&["apply", next, "--canary", "20%", "--for", "10", "--why", "x"], 2, "10"),
        (&["apply", "--confirm", "abc", "--canary", "20%", "--why", "x"], 2, "cannot be used with"),
        (&["canary", "abort", "--why", " "], 1, "a reason is needed"),
        (&["canary", "promote"], 2, "--why"),
    ];
    for (args, expected, told) in cases {
        let (code, said) = world.run(args);
        assert!(code == expected && said.contains(told), "{args:?}: {code} {said}");
    }
    let now = world.canary();
    assert_eq!((now.revision, now.stage.word()), (revision, "running"));
}

#[test]
fn what_a_canary_cannot_be_is_refused_and_a_node_that_falls_ends_it() {
    let mut world = World::watched();
    let mut rhumb = world.serve();
    world.wait_all_up();
    let (code, said) = world.run(&["canary"]);
    assert!(code == 1 && said.contains("rhumb apply DIR --canary"), "{said}");
    let (code, said) = world.run(&["canary", "abort", "--why", "x"]);
    assert!(code == 1 && said.contains("no canary is running"), "{said}");
    let next = world.proposal("next", "services/live.yaml", &service(1, 1_000));
    let refused = [
        (
            world.proposal("ttl", "services/live.yaml", &service(1, 1_000).replace("ttl: 5", "ttl: 9")),
            "10%",
            "ttl of service live",
        ),
        (
            world.proposal("zone", "zones/example.test.zone", &ZONE.replace("127.0.0.1", "127.0.0.2")),
            "10%",
            "zone files",
        ),
        (
            world.proposal("none", "services/live.yaml", &without_tokyo()),
            "10%",
            "could not stay where they are",
        ),
        (world.proposal("same", "services/live.yaml", &service(100, 100)), "10%", "in force already"),
        (next.clone(), "95%", "at most 90 %"),
        (next.clone(), "0%", "more than 0 %"),
    ];
    for (folder, share, told) in &refused {
        let (code, said) = world.run(&["apply", folder, "--canary", share, "--why", "x", "--detach"]);
        assert!(code == 1 && said.contains(told), "{told}: {code} {said}");
    }
    let file = std::fs::read_to_string(world.folder.path("services/live.yaml")).expect("readable");
    assert_eq!(file, service(100, 100), "nothing was written");

    let (code, said) =
        world.run(&["apply", &next, "--canary", "30%", "--for", "30m", "--why", "x", "--detach"]);
    assert_eq!(code, 0, "{said}");
    world.nodes[1].stop();
    let aborted = world.wait_stage("aborted");
    let why = aborted.stage.why().unwrap_or_default().to_owned();
    assert!(why.contains("fra-1, which its clients come to, is"), "{why}");
    let (code, said) = world.run(&["canary"]);
    assert!(code == 1 && said.contains("aborted by rhumb"), "{said}");
    world.wait_answers("everybody to be in Tokyo", |answers| (0..GROUPS).all(|it| is_all_of(answers, it, 0)));
    let file = std::fs::read_to_string(world.folder.path("services/live.yaml")).expect("readable");
    assert_eq!(file, service(100, 100), "the former policy is back");
    let (_, told) = world.run(&["history"]);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("aborted: fra-1"), "folded as it may be: {told}");
    let (_, status) = world.run(&["status"]);
    assert!(status.contains("was aborted"), "{status}");
    wait_for("the audit log to tell", || {
        let (_, told) = world.run(&["audit", "show"]);
        (told.contains("canary aborted") && told.contains("which its clients come to")).then_some(())
    });
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn left_alone_it_looks_ten_times_and_goes_to_all() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_all_up();
    // By estimate both are far enough for the difference to matter: it is said not to.
    let next = world.proposal("next", "services/live.yaml", &service(1, 1_000));
    let (code, said) =
        world.run(&["apply", &next, "--canary", "30%", "--for", "10s", "--latency", "10s", "--why", "x"]);
    assert!(code == 0 && said.contains("is promoted by rhumb: no harm was seen"), "{code} {said}");
    let canary = world.canary();
    assert!(canary.looks >= 1 && canary.look.is_some_and(|look| look.latency.is_some()), "{canary:?}");
    // The estimate alone says that clients of Tokyo get farther from their node than the others.
    let back = world.proposal("back", "services/live.yaml", &service(1_000, 1));
    let (code, said) =
        world.run(&["apply", &back, "--canary", "30%", "--for", "10s", "--min-groups", "5000", "--why", "x"]);
    assert!(code == 1 && said.contains("is held: its time is up, and fewer than 5000"), "{code} {said}");
    wait_for("the problem", || world.status()["problems"].to_string().contains("canary-held").then_some(()));
    let (code, said) = world.run(&["canary", "abort", "--why", "enough"]);
    assert_eq!(code, 0, "{said}");
    wait_for("no problem", || {
        (!world.status()["problems"].to_string().contains("canary-held")).then_some(())
    });
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn killed_at_any_moment_of_its_beginning_it_goes_on_or_back() {
    let world = World::new();
    let next = world.proposal("next", "services/live.yaml", &service(1, 1_000));
    let mut rhumb = world.serve();
    world.wait_all_up();
    for round in 0..4_u64 {
        let admin = world.admin.to_string();
        let mut apply = std::process::Command::new(env!("CARGO_BIN_EXE_rhumb"))
            .args([
                "apply", &next, "--canary", "30%", "--for", "1h", "--why", "x", "--detach", "--admin", &admin,
            ])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        // From before it is asked to after it is in force.
        std::thread::sleep(std::time::Duration::from_millis(round * round * 150));
        rhumb.kill();
        apply.wait().expect("ends");
        rhumb = world.serve();
        // Either it goes on, or all is as before; nothing in between, for long.
        let is_running = wait_for("one or the other", || {
            let (code, said) = world.run(&["canary", "--format", "json"]);
            let stage = serde_json::from_str::<Canary>(&said).ok().map(|canary| canary.stage.word());
            let file = std::fs::read_to_string(world.folder.path("services/live.yaml")).expect("readable");
            match (stage, file == service(1, 1_000)) {
                (Some("running"), true) => Some(true),
                (Some("aborted"), false) => Some(false),
                (None, false) if code == 1 && said.contains("no canary yet") => Some(false),
                _ => None,
            }
        });
        if is_running {
            let (code, said) = world.run(&["canary", "abort", "--why", "round over"]);
            assert!(code == 0 && said.contains("is aborted"), "round {round}: {said}");
        }
        let file = std::fs::read_to_string(world.folder.path("services/live.yaml")).expect("readable");
        assert_eq!(file, service(100, 100), "round {round}");
    }
    assert_eq!(rhumb.terminate(), Some(0));
}
