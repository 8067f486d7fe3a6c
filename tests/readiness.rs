//! Readiness and events, by the commands operators ask with: what every loss would do, what would make it fit, and
//! what an event brings with it.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/stage.rs"]
mod stage;
mod support;

use serde_json::Value;
use stage::{Stage, fleet};
use support::{ask, run, wait_for};

/// One node carries it.
const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 30
demand: 80
pools:
  all: { select: { role: edge } }
chains:
  - pools: [all]
";

/// Twice the load, within so many seconds from now.
fn event(from_s: i64, until_s: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    let at = |second: i64| jiff::Timestamp::from_second(now + second).expect("a moment");
    format!("version: 1\nfrom: {}\nuntil: {}\nexpect: {{factor: 2}}\nttl: 10\n", at(from_s), at(until_s))
}

fn world(more: &[(&str, &str)]) -> Stage {
    Stage::with(&[&[("services/live.yaml", SERVICE)], more].concat())
}

/// `more`: added to the capacity of fra-1.
fn fleet_with(port: u16, more: u64) -> String {
    let fra = fleet(port).replace(
        "  fra-1: { ",
        &format!("  fra-1: {{ capacity: {{ unit: mbps, amount: {}, cap: 90% }}, ", 100 + more),
    );
    assert_ne!(fra, fleet(port), "it is in the fleet");
    fra
}

impl Stage {
    /// Exit code, and what is told.
    fn readiness(&self, args: &[&str]) -> (i32, Value) {
        self.json(&[&["readiness"], args].concat())
    }

    fn problems(&self) -> Vec<String> {
        let status = self.status().unwrap_or_default();
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        problems.iter().map(|it| format!("{} {} {}", it["code"], it["message"], it["help"])).collect()
    }

    fn ttl(&self) -> Option<u32> {
        ask(self.dns, "live.example.test", 1, "198.51.0.0/24")?.ttl
    }
}

#[test]
fn the_weakest_loss_is_named_with_what_would_make_it_fit_and_that_does() {
    let world = world(&[]);
    let _rhumb = world.serve_all_up();
    let (code, text) = world.run(&["readiness"]);
    assert_eq!(code, 0, "one node carries it: {text}");
    assert!(text.contains("every loss that was judged is carried"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let (code, told) = world.readiness(&["--factor", "2"]);
    assert_eq!((code, told["not_carried"].as_u64()), (3, Some(1)), "{told:#}");
    let weakest = &told["losses"][0];
    assert_eq!((&weakest["lost"], &weakest["bottleneck"]), (&"region/ea".into(), &"pool all of live".into()));
    let (node, more) = (&weakest["add"][0]["node"], weakest["add"][0]["amount"].as_u64().expect("an amount"));
    assert_eq!(node, "fra-1", "{weakest:#}");
    assert!((77..=80).contains(&more), "160 less 90, of which 90 % may be planned: {more}");
    let (code, text) = world.run(&["readiness", "--factor", "2"]);
    assert!(code == 3 && text.contains("weakest  region/ea") && text.contains("mbps at fra-1"), "{text}");

    let (code, pairs) = world.readiness(&["--n", "2"]);
    assert!(code == 3 && pairs["judged"].as_u64() > told["judged"].as_u64(), "both regions: {pairs:#}");

    // The same without the server, as of its last table.
    let (code, text, error) = run(&["readiness", "--state", &world.folder.state(), "--factor", "2"]);
    assert!(code == 3 && text.contains("region/ea") && text.contains("as of generation"), "{text}{error}");

    world.folder.write("fleet.yaml", &fleet_with(world.port, more));
    let (_, text) = wait_for("the capacity to be in force", || {
        Some(world.run(&["readiness", "--factor", "2"])).filter(|(code, ..)| *code == 0)
    });
    assert!(text.contains("every loss that was judged is carried"), "{text}");
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let world = world(&[("events/final.yaml", &event(86_400, 90_000))]);
    let _rhumb = world.serve_all_up();
    let draft = world.folder.root.path().join("draft.yaml");
    std::fs::write(&draft, event(86_400, 90_000).replace("factor: 2", "factor: 2, areas: europa"))
        .expect("writes");
    let draft = draft.to_str().expect("UTF-8");
    for (args, code, told) in [
        (&["--factor", "0"][..], 2, "0.01 to 100 times"),
        (&["--n", "3"], 2, "3"),
        (&["--event", "fnal"], 1, "did you mean `final`?"),
        (&["--event", "events/other.yaml"], 2, "there is no file events/other.yaml"),
        (&["--event", draft], 1, "there is no area `europa`"),
    ] {
        let (is, text) = world.run(&[&["readiness"], args].concat());
        assert!(is == code && text.contains(told), "{args:?}: {is} {text}");
    }
    let (code, told) = world.readiness(&["--event", "final"]);
    assert_eq!((code, &told["scenario"]), (3, &"event final at its peak".into()), "{told:#}");
    assert_eq!(told["demand"][0]["units"], 160, "{told:#}");
    std::fs::write(draft, event(86_400, 90_000).replace("factor: 2", "factor: 1.1")).expect("writes");
    let (code, told) = world.readiness(&["--event", draft]);
    assert_eq!((code, &told["demand"][0]["units"]), (0, &88.into()), "{told:#}");
    let (code, text) = world.run(&["events", "7"]);
    assert!(code == 1 && text.contains("there is no event 7"), "{text}");
    // The problem tells of it, a day ahead.
    let problem = wait_for("the problem", || {
        world.problems().into_iter().find(|problem| problem.contains("event-not-ready"))
    });
    assert!(problem.contains("region/ea") && problem.contains("mbps at fra-1"), "{problem}");
    let (_, text) = world.run(&["events"]);
    assert!(text.contains("event final") && text.contains("NOT READY"), "{text}");
    world.folder.write("events/final.yaml", &event(86_400, 90_000).replace("factor: 2", "factor: 1.1"));
    wait_for("the fleet to be ready", || {
        (!world.problems().iter().any(|problem| problem.contains("event-not-ready"))).then_some(())
    });
}

#[test]
fn an_event_lowers_ttls_freezes_changes_and_is_reported() {
    let world = world(&[]);
    let _rhumb = world.serve_all_up();
    assert_eq!(world.ttl(), Some(30));
    // Caches may hold answers for 30 s: the TTL is lowered by then, so at once.
    world.folder.write("events/final.yaml", &event(2, 15));
    wait_for("the lower TTL", || (world.ttl() == Some(10)).then_some(()));
    let drain = ["drain", "tyo-1", "--for", "1m", "--reason", "test"];
    let refusal = wait_for("the freeze", || {
        let (code, text) = world.run(&[&drain[..], &["--dry-run"]].concat());
        (code == 1).then_some(text)
    });
    assert!(refusal.contains("event-final"), "{refusal}");
    let (code, text) = world.run(&[&drain[..], &["--break-glass", "event-final"]].concat());
    assert_eq!(code, 0, "{text}");
    wait_for("the old TTL", || (world.ttl() == Some(30)).then_some(()));
    let kept = wait_for("the report", || {
        let (_, shown) = world.json(&["events"]);
        shown["kept"].as_array()?.iter().find(|kept| kept["is_over"] == true).cloned()
    });
    let service = &kept["services"][0];
    assert_eq!((&service["before"], &service["expected"]), (&80.into(), &160.into()), "{kept:#}");
    assert_eq!((&service["came"], &kept["is_cut_short"]), (&80.into(), &false.into()), "{kept:#}");
    assert!(kept["looks"].as_u64().expect("a count") >= 1 && kept["unserved"] == 0, "{kept:#}");
    let (code, replayed) = world.run(&["replay", "--all"]);
    assert_eq!(code, 0, "decided again, with the event and without: {replayed}");
    let (code, text) = world.run(&["events", &kept["number"].to_string()]);
    assert!(code == 0 && text.contains("event final: over") && text.contains("160"), "{text}");
}
