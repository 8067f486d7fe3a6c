//! A site lost under both strategies, by `rhumb lab compare`: the figures, the plot, every sample, and the
//! journals of both.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/lab.rs"]
mod fixture;
mod support;

use fixture::{POLICIES, wait_for_addresses};
use serde_json::Value;
use std::path::Path;
use support::run;

#[test]
fn a_comparison_keeps_what_was_decided() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (state, plot, series) = (path("kept"), path("plot.svg"), path("series.csv"));
    let times = ["--warm", "4s", "--for", "4s", "--rate", "100", "--load", "60%"];
    let files = ["--state", &state, "--out", &plot, "--series", &series, "--format", "json"];
    let words = ["lab", "compare", "--policies", POLICIES, "--fault", "site/tyo"];
    let words: Vec<&str> = [&words[..], &times, &files].concat();
    wait_for_addresses();
    let (code, out, err) = run(&words);
    assert_eq!(code, 0, "{out}{err}");
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    for strategy in ["rhumb", "nearest"] {
        let of = &told[strategy];
        assert!(of["peak_utilisation"].as_f64().is_some_and(|peak| peak > 0.03), "{of}");
        assert!(of["peak_sent"].as_f64().is_some_and(|peak| peak > 0.03), "{of}");
        assert_eq!(of["nodes"].as_object().map(serde_json::Map::len), Some(17), "of 19, two are lost: {of}");
        let kept = Path::new(&state).join(strategy);
        let kept = kept.to_str().expect("UTF-8");
        let (code, why, err) = run(&["why", "--state", kept]);
        assert!(code == 0 && why.contains("evacuation"), "{strategy}: {why}{err}");
        let (code, replay, err) = run(&["replay", "--all", "--state", kept]);
        assert!(code == 0 && replay.contains("the same, bit for bit"), "{strategy}: {replay}{err}");
    }
    let text = std::fs::read_to_string(&plot).expect("drawn");
    assert!(text.contains("<svg") && text.contains("nearest") && text.contains("rhumb"), "{text}");
    let text = std::fs::read_to_string(&series).expect("written");
    assert!(text.lines().any(|row| row.starts_with("rhumb,") && row.contains(",fra-1,")), "{text}");
    assert!(text.lines().any(|row| row.starts_with("nearest,") && row.contains(",lon-2,")), "{text}");

    let (code, _, err) = run(&words);
    assert!(code == 2 && err.contains("cannot make the folder"), "what is there is not overwritten: {err}");
}
