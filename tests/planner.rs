//! The planner as data: what happens to a small fleet, and what the planner makes of it.
//!
//! Each `tests/planner/*.yaml` is a scenario (`tests/planner/script.rs` says what may be in one), played
//! second by second with clients whose caches and sessions follow late. The rules are watched all the
//! time; beside it lies `*.expected`, who is answered what at the moments looked at.
//! `UPDATE=1 cargo test --test planner` writes these anew, to be reviewed as a diff.

#[path = "planner/play.rs"]
mod play;
#[path = "planner/script.rs"]
mod script;

use script::Script;
use std::path::{Path, PathBuf};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planner");
    let entries = std::fs::read_dir(folder).expect("the folder of scenarios");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "there are scenarios");
    paths
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a person may ask for the files to be written")]
fn every_scenario_ends_as_expected() {
    let is_update = std::env::var("UPDATE").is_ok();
    let mut wrong = Vec::new();
    for path in scenarios() {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable scenario");
        let script: Script = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (told, broken) = play::play(&script);
        wrong.extend(broken.into_iter().take(5).map(|rule| format!("{name}: {rule}")));
        let expected = path.with_extension("expected");
        if is_update {
            std::fs::write(&expected, &told).expect("the file is written");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{name}: other than expected:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
