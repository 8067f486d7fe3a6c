//! Policies thought through before they are applied, as operators do it: the spawned binary, and what real DNS clients
//! are answered before and after.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use support::{Folder, Rhumb, ask, free_port, run, wait_for};

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
defaults: { capacity: { unit: mbps, amount: 1000, cap: 90% } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.9.1], labels: { role: edge, at: tyo-1 } }
  tyo-2: { site: tyo, addresses: [127.1.9.2], labels: { role: edge, at: tyo-2 } }
  fra-1: { site: fra, addresses: [127.1.9.3], labels: { role: edge, at: fra-1 } }
";

/// Clients are divided by weight, wherever they are.
const SERVICE: &str = "version: 1
hostnames: [live.example.test]
ttl: 5
demand: 600
pools:
  all:
    select: { role: edge }
    method: weights
    weights: [{ select: { at: fra-1 }, weight: 100 }]
chains:
  - pools: [all]
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

/// So many that chance has a quarter of a per cent in what is seen of them, and not two thirds as of 1,000.
const CLIENTS: u32 = 8_000;

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new(safety: &str) -> Self {
        let folder = Folder::with(&[
            ("fleet.yaml", FLEET),
            ("services/live.yaml", SERVICE),
            ("zones/example.test.zone", ZONE),
        ]);
        folder.write_server("");
        if !safety.is_empty() {
            folder.write("safety.yaml", &format!("version: 1\n{safety}"));
        }
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { folder, dns: local(), admin: local() }
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let (code, out, err) = run(&[args, &["--admin", &self.admin.to_string()]].concat());
        (code, out + &err)
    }

    fn json(&self, args: &[&str]) -> (i32, Value) {
        let (code, out, err) =
            run(&[args, &["--admin", &self.admin.to_string(), "--format", "json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}")))
    }

    /// A copy of the folder in which fra-1 has another weight.
    fn proposal(&self, name: &str, weight: u32) -> String {
        let folder = self.folder.root.path().join(name);
        copy(&self.folder.root.path().join("policies"), &folder);
        std::fs::write(folder.join("services/live.yaml"), weighted(weight)).expect("writes");
        text(&folder)
    }

    /// What each of many clients, spread over all networks, is answered.
    fn answers(&self) -> Vec<IpAddr> {
        let of = |at: u32| {
            let subnet = Ipv4Addr::from((0x0100_0000 + at * (0xde00_0000 / CLIENTS)) & 0xffff_ff00);
            let reply = ask(self.dns, "live.example.test", 1, &format!("{subnet}/24")).expect("answered");
            *reply.addresses.first().expect("an address")
        };
        (0..CLIENTS).map(of).collect()
    }

    /// Of all clients, as the table has them: per cent.
    fn share(&self, node: &str) -> f64 {
        let (_, status) = self.json(&["status"]);
        let nodes = status["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|it| it["name"] == node).expect("a node of this name");
        node["share"].as_f64().expect("a share") / 1e4
    }

    fn wait_share(&self, node: &str, percent: f64) {
        wait_for(&format!("{node} to have {percent} %"), || {
            ((self.share(node) - percent).abs() < 0.1).then_some(())
        });
    }

    fn problem(&self, code: &str) -> Option<Value> {
        let (_, status) = self.json(&["status"]);
        let problems = status["problems"].as_array().expect("a list");
        problems.iter().find(|it| it["code"] == code).cloned()
    }

    fn newest(&self) -> Value {
        self.json(&["history"]).1[0].clone()
    }
}

fn weighted(weight: u32) -> String {
    SERVICE.replace("weight: 100", &format!("weight: {weight}"))
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

fn copy(from: &Path, to: &PathBuf) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a kind").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copies")),
        }
    }
}

/// Which part of the clients is answered otherwise, per cent.
fn moved(before: &[IpAddr], after: &[IpAddr]) -> f64 {
    let others = before.iter().zip(after).filter(|(was, is)| was != is).count();
    others as f64 * 100.0 / before.len() as f64
}

#[test]
fn what_is_planned_is_what_clients_see_after_the_apply() {
    let world = World::new("");
    let mut rhumb = world.serve();
    world.wait_share("fra-1", 33.3);
    let same = world.folder.policies();
    let (code, said) = world.run(&["plan", &same]);
    assert!(code == 0 && said.contains("nothing changes"), "{said}");

    let next = world.proposal("next", 125);
    let file = text(&world.folder.root.path().join("plan.json"));
    let (code, said) = world.run(&["plan", &next, "--out", &file]);
    assert_eq!(code, 2, "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    for part in [
        "service live: pool all: weight of fra-1 100 -> 125",
        "moves   ",
        "ea -> eu",
        "fullest",
        "worst   losing",
        "tier",
        "scopes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, planned) = world.json(&["plan", &next]);
    let predicted = planned["forecast"]["moved"]["clients"].as_f64().expect("a share") / 1e4;
    assert!(code == 2 && (4.0..7.0).contains(&predicted), "125 of 325 instead of a third: {predicted}");

    let before = world.answers();
    let (code, said) = world.run(&["apply", &file, "--why", "as planned"]);
    assert!(code == 0 && said.contains(&format!("moves {predicted:.1} % of clients")), "{said}");
    world.wait_share("fra-1", 38.5);
    let after = world.answers();
    let seen = moved(&before, &after);
    assert!((seen - predicted).abs() <= 1.0, "{predicted} % were planned to move, {seen} % of {CLIENTS} did");
    let to_fra =
        before.iter().zip(&after).filter(|(was, is)| was != is).all(|(_, is)| is.to_string() == "127.1.9.3");
    assert!(to_fra, "nobody moves between nodes whose weight stays");

    let newest = world.newest();
    let kept = newest["moved_ppm"].as_f64().expect("it is kept") / 1e4;
    assert!((kept - predicted).abs() < 0.1 && newest["why"] == "as planned", "{newest}");
    let (_, told) = world.run(&["history"]);
    assert!(told.contains("MOVED") && told.contains(&format!("{predicted:.1} %")), "{told}");
    // What the plan was made on is not in force any more.
    let (code, said) = world.run(&["apply", &file, "--why", "again"]);
    assert!(code == 1 && said.contains("plan again"), "{said}");

    let base = planned["base"].as_str().expect("a revision");
    let (code, said) = world.run(&["rollback", base, "--why", "back"]);
    assert_eq!(code, 0, "{said}");
    world.wait_share("fra-1", 33.3);
    assert!(moved(&before, &world.answers()) <= 1.0, "everybody is back");

    // Without a running rhumb, from what it kept.
    assert_eq!(rhumb.terminate(), Some(0));
    let (code, said) = world.run(&["plan", &next]);
    assert!(code == 1 && said.contains("--state DIR"), "{said}");
    let (code, planned) = world.json(&["plan", &next, "--state", &world.folder.state()]);
    let offline = planned["forecast"]["moved"]["clients"].as_f64().expect("a share") / 1e4;
    assert!(code == 2 && (offline - predicted).abs() < 0.1, "{offline} and {predicted}");
}

#[test]
fn guardrails_refuse_with_figures_and_can_be_broken_by_name() {
    let world = World::new("guardrails: { moved: 3%, utilisation: 95% }\n");
    let _rhumb = world.serve();
    world.wait_share("fra-1", 33.3);
    let far = world.proposal("far", 125);
    let (code, said) = world.run(&["plan", &far]);
    assert!(code == 3 && said.contains("breaks `moved`") && said.contains("--break-glass moved"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let (code, said) = world.run(&["apply", &far, "--why", "more to fra"]);
    assert!(
        code == 1 && said.contains("`moved` speaks against it") && said.contains("3.0 % at most"),
        "{said}"
    );
    assert_eq!(world.newest()["how"], "start");
    let mistakes = [
        (vec!["apply", &far, "--why", "x", "--break-glass", "moves"], 1, "did you mean `moved`?"),
        (vec!["apply", &far, "--why", "x", "--break-glass", "utilisation"], 1, "`moved` speaks against it"),
        (vec!["apply", "--confirm", "0123", "--why", "x"], 1, "no edit of revision 0123 waits"),
        (vec!["apply", "--why", "x"], 2, "DIR or PLAN"),
        (vec!["plan", "/nothing"], 1, "there is no policy folder"),
        (vec!["plan", &far, "--state", "/nothing"], 1, "keeps no policy"),
    ];
    for (args, expected, told) in mistakes {
        let (code, said) = world.run(&args);
        assert!(code == expected && said.contains(told), "{args:?}: {code} {said}");
    }
    let file = world.folder.root.path().join("no-plan.json");
    std::fs::write(&file, "{}").expect("writes");
    let (code, said) = world.run(&["apply", &text(&file), "--why", "x"]);
    assert!(code == 1 && said.contains("is no plan") && said.contains("rhumb plan DIR --out FILE"), "{said}");
    let broken = world.proposal("broken", 100);
    std::fs::write(Path::new(&broken).join("services/live.yaml"), "version: 1\nhostname: x\n")
        .expect("writes");
    let (code, said) = world.run(&["plan", &broken]);
    assert!(code == 1 && said.contains("services/live.yaml:2"), "{said}");

    let args = ["apply", &far, "--why", "more to fra", "--break-glass", "moved"];
    let (code, said) = world.run(&args);
    assert!(code == 0 && said.contains("over moved, which is recorded"), "{said}");
    let newest = world.newest();
    assert_eq!(newest["why"], "more to fra (over moved)");
    let (_, shown) = world.run(&["audit", "show", "--format", "json"]);
    assert!(shown.contains("POST /policy") && shown.contains("break_glass"), "{shown}");
    assert!(!shown.contains("POST /plan"), "a plan changes nothing: {shown}");
    world.wait_share("fra-1", 38.5);
    // The way back moves as many, and is never held.
    let base = newest["parent"].as_str().expect("a revision").to_owned();
    let (code, said) = world.run(&["rollback", &base, "--why", "too much"]);
    assert_eq!(code, 0, "{said}");
    world.wait_share("fra-1", 33.3);
    // In place it is applied and told, since policy says nothing else.
    std::fs::write(world.folder.path("services/live.yaml"), weighted(125)).expect("writes");
    let told = wait_for("the edit to be told", || world.problem("edit-over-guardrail"));
    assert!(
        told["help"].as_str().is_some_and(|help| help.contains(&format!("rhumb rollback {base}"))),
        "{told}"
    );
    world.wait_share("fra-1", 38.5);
    std::fs::write(world.folder.path("services/live.yaml"), weighted(126)).expect("writes");
    wait_for("a small edit to end the problem", || {
        world.problem("edit-over-guardrail").is_none().then_some(())
    });
}

#[test]
fn edits_in_place_wait_where_policy_says_so_and_a_viewer_may_plan() {
    let world = World::new(
        "guardrails: { moved: 3%, on_edit: hold }
rules: { night: { freeze: { from: 2020-01-01T00:00:00Z, until: 2020-01-02T00:00:00Z } } }
",
    );
    let mut rhumb = world.serve();
    world.wait_share("fra-1", 33.3);
    let (code, token) = world.run(&["token", "create", "vera", "--role", "viewer"]);
    assert_eq!(code, 0, "{token}");
    let file = world.folder.root.path().join("vera.token");
    std::fs::write(&file, token.split_whitespace().next().expect("a token")).expect("writes");
    let (file, near) = (text(&file), world.proposal("near", 105));
    let (code, said) = world.run(&["plan", &near, "--token-file", &file]);
    assert_eq!(code, 2, "{said}");
    let (code, said) = world.run(&["apply", &near, "--why", "x", "--token-file", &file]);
    assert!(code == 1 && said.contains("takes the role operator"), "{said}");

    std::fs::write(world.folder.path("services/live.yaml"), weighted(125)).expect("writes");
    let held = wait_for("the edit to be held", || world.problem("edit-held"));
    let help = held["help"].as_str().expect("text").to_owned();
    let revision =
        help.split("--confirm ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a revision");
    assert_eq!(world.newest()["how"], "start", "the last good policy stays: {held}");
    assert!((world.share("fra-1") - 33.3).abs() < 0.1);
    // Nor does a restart take it into force.
    rhumb.kill();
    let _rhumb = world.serve();
    wait_for("the edit to be held again", || world.problem("edit-held"));
    world.wait_share("fra-1", 33.3);
    let (code, said) = world.run(&["apply", "--confirm", revision, "--why", "meant so"]);
    assert!(code == 0 && said.contains("over moved"), "{said}");
    world.wait_share("fra-1", 38.5);
    wait_for("nothing to wait any more", || world.problem("edit-held").is_none().then_some(()));
    assert_eq!(world.newest()["why"], "meant so (over moved)");

    // A freeze binds applies by name, and rolling back not at all.
    let frozen = world.proposal("frozen", 125);
    let safety = "version: 1
guardrails: { on_edit: refuse }
rules: { sale: { freeze: { from: 2020-01-01T00:00:00Z, until: 2100-01-01T00:00:00Z } } }
";
    std::fs::write(Path::new(&frozen).join("safety.yaml"), safety).expect("writes");
    let (code, said) = world.run(&["apply", &frozen, "--why", "the sale begins"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = world.run(&["apply", &near, "--why", "x"]);
    assert!(
        code == 1 && said.contains("`sale` speaks against it") && said.contains("freeze is over"),
        "{said}"
    );
    std::fs::write(world.folder.path("services/live.yaml"), weighted(124)).expect("writes");
    let refused = wait_for("the edit to be refused", || world.problem("edit-refused"));
    assert!(refused["help"].as_str().is_some_and(|help| help.contains("--break-glass sale")), "{refused}");
    let parent = world.newest()["parent"].as_str().expect("a revision").to_owned();
    let (code, said) = world.run(&["rollback", &parent, "--why", "the sale is off", "--overwrite"]);
    assert_eq!(code, 0, "{said}");
}
