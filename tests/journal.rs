//! Why somebody was moved, asked of the spawned program: running, killed, started again, and of its folder alone.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;
#[path = "vantages/world.rs"]
#[allow(dead_code, reason = "vantages are tested elsewhere")]
mod world;

use serde_json::Value;
use support::{run, wait_for};
use world::World;

/// What a command prints as JSON, and how it ends.
fn told(args: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(&[args, &["--format", "json"]].concat());
    let value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}"));
    (code, value)
}

fn generations(source: &[&str]) -> Vec<u64> {
    let (_, listed) = told(&[&["why"], source].concat());
    let decisions = listed["decisions"].as_array().expect("a list");
    decisions.iter().map(|it| it["generation"].as_u64().expect("a number")).collect()
}

/// The newest generation that evacuated the node and moved somebody.
fn evacuation(admin: &str) -> Option<u64> {
    let (_, listed) = told(&["why", "--admin", admin]);
    let decisions = listed["decisions"].as_array()?;
    let is_it = |it: &&Value| {
        it["cause"]["kind"] == "evacuation" && it["moves"].as_array().is_some_and(|moves| !moves.is_empty())
    };
    decisions.iter().find(is_it)?["generation"].as_u64()
}

#[test]
fn a_failure_is_told_and_decided_again_also_after_a_crash_and_without_a_program() {
    let mut world = World::new();
    let admin = world.admin.to_string();
    let state = world.folder.state();
    let mut rhumb = world.serve();
    wait_for("both nodes to be up", || {
        ["tyo-1", "fra-1"].iter().all(|name| world.node(name)["verdict"] == "up").then_some(())
    });
    world.tyo.stop();
    let generation = wait_for("the evacuation", || evacuation(&admin));
    let number = generation.to_string();

    let (code, account) = told(&["why", &number, "--admin", &admin]);
    assert_eq!((code, &account["is_same"]), (0, &Value::Bool(true)));
    let reason = &account["reasons"][0];
    assert_eq!((&reason["from"], &reason["to"]), (&"tyo-1".into(), &"fra-1".into()), "{reason:#}");
    let because = reason["because"].as_str().expect("a sentence");
    assert!(because.starts_with("tyo-1 is down: "), "{because}");
    let (code, out, err) = run(&["why", &number, "--admin", &admin]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(": tyo-1 -> fra-1 ") && out.contains("cause      evacuation of tyo-1"), "{out}");

    // A file for a colleague, who has no rhumb running.
    let file = world.folder.path("a.record").to_str().expect("UTF-8").to_owned();
    let (code, _, err) = run(&["why", &number, "--admin", &admin, "--save", &file]);
    assert_eq!(code, 0, "{err}");
    let before = generations(&["--admin", &admin]);
    rhumb.kill();
    let (code, replayed) = told(&["replay", "--file", &file]);
    assert_eq!((code, &replayed["replayed"][0]["same"]), (0, &Value::Bool(true)), "{replayed:#}");
    assert_eq!(generations(&["--state", &state]), before, "nothing told is lost by a kill");

    let _rhumb = world.serve();
    let after = wait_for("the first generation of the next process", || {
        let all = generations(&["--admin", &admin]);
        (all.first() > before.first()).then_some(all)
    });
    assert!(before.iter().all(|generation| after.contains(generation)));
    let (code, replayed) = told(&["replay", "--all", "--admin", &admin]);
    let outcomes = replayed["replayed"].as_array().expect("a list");
    assert!(code == 0 && outcomes.len() >= after.len(), "{replayed:#}");
    assert!(outcomes.iter().all(|outcome| outcome["same"] == true), "{replayed:#}");
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let world = World::new();
    let admin = world.admin.to_string();
    let (code, _, err) = run(&["why", "--admin", &admin]);
    assert!(code == 2 && err.contains("no rhumb answers"), "{code} {err}");
    let _rhumb = world.serve();
    wait_for("the first generation", || (!generations(&["--admin", &admin]).is_empty()).then_some(()));
    let newest = generations(&["--admin", &admin])[0];
    let (code, _, err) = run(&["why", "999999999", "--admin", &admin]);
    assert!(code == 2 && err.contains("no generation 999999999 yet; the newest is"), "{code} {err}");
    let (code, out, _) = run(&["replay", "0", "--admin", &admin]);
    assert!(code == 1 && out.contains("has aged out; the oldest that is kept is"), "{code} {out}");
    let folder = world.folder.root.path().to_str().expect("UTF-8").to_owned();
    let (code, _, err) = run(&["why", "--state", &folder]);
    assert!(code == 2 && err.contains("has no journal"), "{code} {err}");
    // Half a record.
    let file = world.folder.path("a.record");
    let name = file.to_str().expect("UTF-8");
    let (code, _, err) = run(&["why", &newest.to_string(), "--admin", &admin, "--save", name]);
    assert_eq!(code, 0, "{err}");
    let whole = std::fs::read(&file).expect("reads");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("writes");
    let (code, out, _) = run(&["replay", "--file", name]);
    assert!(code == 1 && out.contains("no whole record"), "{code} {out}");
    let (code, _, err) = run(&["replay"]);
    assert!(code == 2 && err.contains("--all"), "{code} {err}");
}
