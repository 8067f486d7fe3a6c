//! What operators say of nodes, by the commands they say it with: set, refused, extended, ended; killed and started
//! again in between.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/stage.rs"]
mod stage;
mod support;

use serde_json::Value;
use stage::{NODES, Stage};
use std::collections::BTreeSet;
use std::net::IpAddr;
use support::{ask, fetch, wait_for};

/// Two nodes carry it, one does not.
const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
demand: 150
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
";

fn world() -> Stage {
    Stage::with(&[("services/live.yaml", SERVICE)])
}

impl Stage {
    fn overrides(&self) -> Vec<Value> {
        // A moment after a start there is nothing to list yet.
        wait_for("the list", || {
            let (_, out) = self.run(&["overrides", "--format", "json"]);
            serde_json::from_str::<Value>(&out).ok()?.as_array().cloned()
        })
    }

    fn node(&self, name: &str) -> Value {
        let (_, status) = self.json(&["status"]);
        let nodes = status["nodes"].as_array().expect("nodes");
        nodes.iter().find(|node| node["name"] == name).expect("a node of this name").clone()
    }

    /// The nodes that clients of many networks are given.
    fn answered(&self) -> BTreeSet<String> {
        let of = |subnet: u8| {
            let reply =
                ask(self.dns, "live.example.test", 1, &format!("198.51.{subnet}.0/24")).expect("answered");
            reply.addresses
        };
        let name = |address: IpAddr| {
            let found = NODES.iter().find(|(_, octets)| address == IpAddr::from(*octets));
            found.expect("an address of a node").0.to_owned()
        };
        (0..64).flat_map(of).map(name).collect()
    }

    /// Whether the table sends anybody to a node: at the foot of a ramp that is too few to meet by chance.
    fn has_clients(&self, name: &str) -> bool {
        let (_, status) = self.json(&["status"]);
        let nodes = status["nodes"].as_array().expect("a list");
        let node = nodes.iter().find(|node| node["name"] == name).expect("a node");
        node["share"].as_f64().is_some_and(|share| share > 0.0)
    }

    fn problems(&self) -> Vec<String> {
        let (_, status) = self.json(&["status"]);
        let problems = status["problems"].as_array().expect("a list");
        problems.iter().map(|problem| problem["code"].as_str().expect("a code").to_owned()).collect()
    }
}

impl Stage {
    /// The line of a metric that begins so, and its value.
    fn metric(&self, begins: &str) -> f64 {
        let metrics = fetch(self.admin, "/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(begins)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{begins}: {metrics}"))
    }

    /// Demand that no node has room for: in the status, as a line of it, as a metric.
    fn check_over_capacity(&self) {
        let over = wait_for("demand above all caps", || {
            let told = self.status()?["services"][0]["over_capacity"].clone();
            told.is_object().then_some(told)
        });
        // 150 less the 90 of fra-1, but for what rounding leaves.
        assert!(over["units"].as_u64().is_some_and(|units| (58..=60).contains(&units)), "{over:#}");
        assert_eq!((&over["demand"], &over["unit"]), (&150.into(), &"mbps".into()));
        let (_, said) = self.run(&["status"]);
        assert!(said.contains("of 150 mbps ("), "{said}");
        assert!(self.metric("rhumb_over_capacity_ratio{service=\"live\"}") > 0.35);
        assert!(self.metric("rhumb_over_capacity_units{service=\"live\"}") >= 58.0);
    }

    /// Clients who would go to a node that came back, and what keeps them: wherever an operator may look.
    fn check_ramp(&self) {
        let rule = wait_for("clients who wait for the ramp", || {
            let held = self.status()?["held_back"].clone();
            held["rules"].as_array()?.iter().find(|rule| rule["by"] == "ramp").cloned()
        });
        assert_eq!(rule["service"], "live");
        assert!(rule["groups"].as_u64() > Some(0) && rule["share"].as_u64() > Some(0), "{rule:#}");
        assert!(rule["left_ms"].as_u64().is_some_and(|left| left <= 300_000), "{rule:#}");
        let (_, said) = self.run(&["status"]);
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("held back: ") && words.contains("% ramp (up to "), "{said}");
        assert!(self.metric("rhumb_planner_held_back_ratio{service=\"live\",rule=\"ramp\"}") > 0.0);
        assert!(self.metric("rhumb_planner_frozen") < 0.5);
        // Tokyo's clients have both nodes there, the one that came back only in part.
        let client = ["explain", "live.example.test", "--client", "133.11.0.1"];
        wait_for("one of them to be told so", || {
            let (_, told) = self.json(&client);
            let held = &told["steering"]["plan"]["held_back"];
            (held["by"] == "ramp" && held["to"] == "tyo-2").then_some(())
        });
        let (_, said) = self.run(&client);
        assert!(said.contains("waits") && said.contains("by ramp: "), "{said}");
    }
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn mistakes_are_refused_with_what_was_meant() {
    let world = world();
    let _rhumb = world.serve();
    let drain = |rest: &[&str]| world.run(&[&["drain"], rest].concat());
    for (args, code, told) in [
        (&["site/tyo", "--reason", "test"][..], 2, "--for <TIME>"),
        (&["site/tyo", "--for", "10m"], 2, "--reason <REASON>"),
        (&["site/tyo", "--for", "10", "--reason", "test"], 2, "write 150ms, 2s, 1h30m"),
        (&["site/tyo", "--for", "73h", "--reason", "test"], 1, "72 h at most"),
        (&["site/tyo", "--for", "0s", "--reason", "test"], 1, "a second at least"),
        (&["site/tyo", "--for", "10m", "--reason", "  "], 1, "needs a reason"),
        (&["site/tio", "--for", "10m", "--reason", "test"], 1, "did you mean `site/tyo`?"),
        (&["node/tyo", "--for", "10m", "--reason", "test"], 1, "did you mean `site/tyo`?"),
        (&["region/asia*", "--for", "10m", "--reason", "test"], 1, "there is region/ea, region/eu"),
        (&["sites/tyo", "--for", "10m", "--reason", "test"], 1, "did you mean `site/tyo`?"),
        (
            &["tyo-1", "--for", "10m", "--reason", "test", "--break-glass", "capacty"],
            1,
            "did you mean `capacity`?",
        ),
    ] {
        let (got, said) = drain(args);
        assert!(got == code && said.contains(told), "{args:?}: {got}: {said}");
    }
    let (code, said) = world.run(&["undrain", "site/tyo"]);
    assert!(code == 1 && said.contains("nothing is drained"), "{said}");
    let (code, said) = world.run(&["overrides", "cancel", "7"]);
    assert!(code == 1 && said.contains("no override 7"), "{said}");
    // Who may only look.
    let (code, token) = world.run(&["token", "create", "vera", "--role", "viewer"]);
    assert_eq!(code, 0, "{token}");
    let file = world.folder.path("vera.token").to_str().expect("UTF-8").to_owned();
    std::fs::write(&file, token.split_whitespace().next().expect("a token")).expect("writes");
    let (code, said) = drain(&["site/tyo", "--for", "10m", "--reason", "test", "--token-file", &file]);
    assert!(code == 1 && said.contains("takes the role operator"), "{said}");
    assert!(world.overrides().is_empty());
}

#[test]
fn a_drain_empties_its_nodes_outlives_a_kill_and_is_undone() {
    let world = world();
    let mut rhumb = world.serve();
    world.wait_all_up();
    let drain = ["drain", "node/*-2", "--for", "30m", "--reason", "CHG-7: new disks"];
    let (code, said) = world.run(&[&drain[..], &["--dry-run"]].concat());
    assert!(code == 0 && said.contains("moves   live ") && said.contains("nothing was changed"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    assert!(world.overrides().is_empty());

    let (code, done) = world.json(&drain);
    assert_eq!((code, &done["override"]["id"], &done["is_kept"]), (0, &1.into(), &true.into()), "{done:#}");
    assert_eq!(world.answered(), names(&["tyo-1", "fra-1"]), "at once");
    let node = world.node("tyo-2");
    assert_eq!((&node["families"][0]["verdict"], &node["forced"]["action"]), (&"up".into(), &"drain".into()));
    let (_, said) = world.run(&["status"]);
    assert!(said.contains("up, drained") && said.contains("override 1: drain node/*-2 by "), "{said}");
    let (_, said) = world.run(&["node", "tyo-2"]);
    assert!(said.contains("drained by ") && said.contains("CHG-7"), "{said}");
    let (_, listed) = world.json(&["why"]);
    let decisions = listed["decisions"].as_array().expect("a list");
    let withdrawal = decisions.iter().find(|it| it["cause"]["kind"] == "withdrawal").expect("a generation");
    assert!(withdrawal["cause"]["said"][0].as_str().expect("a sentence").contains("drained node/*-2: CHG-7"));
    let (code, replayed) = world.json(&["replay", "--all"]);
    assert!(code == 0, "decided again, bit for bit: {replayed:#}");

    let (code, said) = world.run(&drain);
    assert!(code == 1 && said.contains("drained already") && said.contains("overrides extend 1"), "{said}");
    let (code, said) = world.run(&["overrides", "extend", "1", "--for", "5m"]);
    assert!(code == 1 && said.contains("longer than that already"), "{said}");
    let (code, done) = world.json(&["overrides", "extend", "1", "--for", "2h"]);
    let expires = done["override"]["expires_at"].clone();
    assert!(code == 0 && expires.is_u64(), "{done:#}");

    rhumb.kill();
    let mut rhumb = world.serve();
    assert_eq!(world.answered(), names(&["tyo-1", "fra-1"]), "from the first answer on");
    let left = &world.overrides()[0];
    assert_eq!((&left["id"], &left["nodes"][0]), (&1.into(), &"tyo-2".into()));
    assert!(left["expires_at"].as_u64() >= expires.as_u64().map(|at| at - 1_000), "{left:#}");

    world.wait_all_up();
    let (code, said) = world.run(&["undrain", "node/tyo-2"]);
    assert!(code == 1 && said.contains("drained are node/*-2"), "{said}");
    let (code, said) = world.run(&["undrain", "node/*-2", "--reason", "disks are in"]);
    assert!(code == 0 && world.overrides().is_empty(), "{said}");
    wait_for("clients on the node again", || world.answered().contains("tyo-2").then_some(()));

    // A file that lost its end: it is put aside, said so, and everybody is served.
    let (code, _) = world.run(&drain);
    assert_eq!(code, 0);
    rhumb.kill();
    let state = std::path::PathBuf::from(world.folder.state());
    std::fs::remove_file(state.join("overrides.previous")).expect("there was one before");
    let whole = std::fs::read(state.join("overrides")).expect("readable");
    std::fs::write(state.join("overrides"), &whole[..whole.len() - 10]).expect("writes");
    let _rhumb = world.serve();
    wait_for("the problem", || world.problems().contains(&"overrides-unreadable".to_owned()).then_some(()));
    assert!(state.join("overrides.damaged").exists() && world.overrides().is_empty());
    assert!(!world.answered().is_empty());
}

#[test]
fn what_the_rest_cannot_carry_and_what_rules_forbid_needs_its_name() {
    let world = world();
    world.folder.write(
        "safety.yaml",
        "version: 1
rules:
  both-continents: { at_least: { count: 2, of: region }, runbook: runbooks/continents.md }
  one-at-a-time: { never_both: [node/tyo-1, node/tyo-2] }
  year-2001: { freeze: { from: 2001-01-01T00:00:00Z, until: 2001-01-02T00:00:00Z } }
",
    );
    let _rhumb = world.serve();
    world.wait_all_up();
    let all = ["drain", "site/tyo", "--for", "10m", "--reason", "power"];
    let (code, refused) = world.json(&all);
    assert_eq!(code, 1, "{refused:#}");
    let broken = refused["preflight"]["broken"].as_array().expect("rules");
    let rules: Vec<&str> = broken.iter().map(|it| it["rule"].as_str().expect("a name")).collect();
    assert_eq!(rules, ["capacity", "both-continents", "one-at-a-time"]);
    // 150 less the 90 of fra-1, but for what rounding leaves.
    let unserved = refused["preflight"]["unserved"][0]["after"].as_u64();
    assert!(unserved.is_some_and(|units| (58..=60).contains(&units)), "{refused:#}");
    let (code, said) = world.run(&all);
    for told in
        ["breaks `capacity`", "fra-1 at 1", "at least 2 have to", "(see runbooks/continents.md)", "refused"]
    {
        assert!(code == 1 && said.contains(told), "{told}: {said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    assert!(world.overrides().is_empty() && world.answered().len() == 3, "nothing was changed");

    let (code, _) = world.run(&["drain", "tyo-1", "--for", "10m", "--reason", "power"]);
    assert_eq!(code, 0, "one at a time");
    let (code, said) = world.run(&["force-down", "tyo-2", "--for", "10m", "--reason", "power"]);
    assert!(code == 1 && said.contains("bring node/tyo-1 back first"), "{said}");
    let rules = "capacity,both-continents,one-at-a-time";
    let down = ["force-down", "tyo-2", "--for", "10m", "--reason", "fire", "--break-glass", rules];
    let (code, done) = world.json(&down);
    assert_eq!(code, 0, "{done:#}");
    assert_eq!(done["override"]["break_glass"].as_array().expect("recorded").len(), 3);
    assert_eq!(world.answered(), names(&["fra-1"]));
    world.check_over_capacity();
    let (code, said) =
        world.run(&["drain", "fra-1", "--for", "1m", "--reason", "x", "--break-glass", "capacity"]);
    assert!(code == 1 && said.contains("breaks `last-node`"), "{said}");

    // Ending one is refused by nothing; and one that is down can be forced up.
    let (code, _) = world.run(&["undrain", "tyo-1"]);
    assert_eq!(code, 0);
    wait_for("clients on tyo-1 again", || world.answered().contains("tyo-1").then_some(()));
    let (code, said) = world.run(&["force-up", "tyo-2", "--for", "10m", "--reason", "why not"]);
    assert!(code == 0 && said.contains("tyo-2 stays forced down"), "{said}");
    assert!(!world.answered().contains("tyo-2"));
    let (code, _) = world.run(&["overrides", "cancel", "2"]);
    assert_eq!(code, 0);
    wait_for("clients on tyo-2 again", || world.has_clients("tyo-2").then_some(()));
}

#[test]
fn an_override_ends_by_itself_and_a_dead_node_can_be_forced_up() {
    let mut world = world();
    let _rhumb = world.serve();
    world.wait_all_up();
    let (code, _) = world.run(&["drain", "tyo-2", "--for", "3s", "--reason", "a moment"]);
    assert_eq!(code, 0);
    wait_for("its end", || world.overrides().is_empty().then_some(()));
    wait_for("clients on tyo-2 again", || world.has_clients("tyo-2").then_some(()));
    world.check_ramp();
    let (_, listed) = world.json(&["why"]);
    let decisions = listed["decisions"].as_array().expect("a list");
    assert!(decisions.iter().any(|it| it["cause"]["kind"] == "release"), "{listed:#}");

    world.nodes[1] = None;
    // While it ramps up it has few clients: that nobody of some is sent there does not say that it is down.
    let is_down = || world.node("tyo-2")["families"][0]["verdict"] == "down";
    wait_for("tyo-2 to be out", || (is_down() && !world.answered().contains("tyo-2")).then_some(()));
    let (code, said) = world.run(&["force-up", "tyo-2", "--for", "10m", "--reason", "the probe is wrong"]);
    assert!(code == 0 && said.contains("clients are sent there all the same"), "{said}");
    wait_for("clients on it all the same", || world.has_clients("tyo-2").then_some(()));
    let node = world.node("tyo-2");
    assert_eq!(
        (&node["families"][0]["verdict"], &node["forced"]["action"]),
        (&"down".into(), &"force-up".into())
    );
    let (code, _) = world.run(&["overrides", "cancel", "2"]);
    assert_eq!(code, 0);
    assert!(!world.answered().contains("tyo-2"), "evacuated at once");
}
