//! Judgement as data: scripts of what a fleet does and what every vantage sees of it, against what is
//! concluded, when, and what is not.
//!
//! Each `tests/judgement/*.yaml` is a scenario; `tests/judgement/script.rs` says what may be in one. Every
//! change of a verdict, of the freeze and of a vantage's trust has to be expected, so a scenario also says
//! what must not happen; only the first verdicts, up from unknown, need no word. Time is moved by hand.
//! `JUDGEMENT=part-of-a-name cargo test --test judgement -- --nocapture` tells all that one does.

#![allow(clippy::print_stdout, reason = "what a scenario did is told to people")]

#[path = "judgement/expectation.rs"]
mod expectation;
#[path = "judgement/fleet.rs"]
mod fleet;
#[path = "judgement/lies.rs"]
mod lies;
#[path = "judgement/script.rs"]
mod script;
#[path = "judgement/world.rs"]
mod world;

use script::Script;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judgement")
}

fn scenarios() -> Vec<(String, Script)> {
    let entries = std::fs::read_dir(folder()).expect("the folder of scenarios");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable scenario");
        let script = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, script)
    };
    paths.into_iter().map(read).collect()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a person may ask for one scenario")]
fn every_scenario_holds() {
    let only = std::env::var("JUDGEMENT").ok();
    let mut wrong = Vec::new();
    let mut held = 0;
    for (name, script) in scenarios() {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let happened = world::run(&script);
        if only.is_some() {
            happened.iter().for_each(|event| println!("{name}: {event}"));
        }
        match expectation::judge(&script, &happened) {
            problems if problems.is_empty() => held += 1,
            problems => wrong.push(format!("{name}: {}\n  {}", script.title, problems.join("\n  "))),
        }
    }
    assert!(wrong.is_empty(), "{} scenarios do not hold:\n{}", wrong.len(), wrong.join("\n"));
    assert!(only.is_some() || held >= 30, "only {held} scenarios were found");
}

/// The same script gives the same events: nothing depends on the order of a hash map or on chance.
#[test]
fn a_scenario_repeats_itself() {
    for (name, script) in scenarios().into_iter().step_by(5) {
        assert_eq!(world::run(&script), world::run(&script), "{name}");
    }
}
