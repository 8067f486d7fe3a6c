//! The architecture, held against the code: who may import whom, what is pure, how large things are.
//!
//! The table below is the map; ARCHITECTURE.md repeats it for people and a test holds the two
//! together. `base` is open to everyone and stands in no list. Test code (`#[cfg(test)]` items,
//! `tests.rs` files) may import what it likes; everything else here binds it too. Every rule has a
//! case that breaks it, because a check that cannot fail checks nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/tokens.rs"]
mod tokens;

use tokens::Source;

/// A row of the map.
pub struct Module {
    pub level: u8,
    pub name: &'static str,
    pub is_pure: bool,
    /// Modules besides `base`.
    pub may_import: &'static [&'static str],
}

const fn pure(level: u8, name: &'static str, may_import: &'static [&'static str]) -> Module {
    Module { level, name, is_pure: true, may_import }
}

const fn io(level: u8, name: &'static str, may_import: &'static [&'static str]) -> Module {
    Module { level, name, is_pure: false, may_import }
}

/// Modules in the order of ARCHITECTURE.md; a row for each that `src/lib.rs` declares.
const TABLE: &[Module] = &[
    pure(0, "base", &[]),
    pure(1, "model", &[]),
    pure(2, "policy", &["model"]),
    pure(2, "alert", &["model"]),
    pure(2, "incident", &["model"]),
    pure(2, "geo", &["model"]),
    pure(2, "health", &["model"]),
    pure(2, "latency", &["model"]),
    pure(2, "demand", &["model"]),
    pure(2, "zone", &["model"]),
    pure(2, "schedule", &["model"]),
    pure(2, "drill", &["model"]),
    pure(2, "canary", &["model"]),
    pure(3, "routing", &["model", "geo", "zone"]),
    pure(3, "readiness", &["model", "schedule"]),
    pure(4, "dns", &["model", "geo", "zone", "routing"]),
    pure(4, "forecast", &["model", "policy", "geo", "schedule", "routing"]),
    pure(5, "explain", &["model", "geo", "schedule", "zone", "routing", "dns"]),
    pure(5, "sim", &["model", "geo", "health", "schedule", "routing", "dns"]),
    io(2, "probe", &["model"]),
    io(2, "deliver", &["model"]),
    io(2, "store", &["model"]),
    io(2, "audit", &["model"]),
    io(2, "history", &["model"]),
    io(3, "journal", &["model", "policy", "schedule", "store"]),
    io(4, "sign", &["model", "zone", "routing"]),
    io(5, "serve", &["model", "zone", "dns", "routing"]),
    io(5, "observe", &["model", "zone", "dns"]),
    io(6, "vantage", &["model", "probe", "serve"]),
    io(6, "measure", &["model", "latency", "serve"]),
    io(7, "control", &["model", "canary", "explain", "forecast", "store", "audit", "history"]),
    io(8, "daemon", BELOW_DAEMON),
    io(8, "lab", &["model", "geo", "observe"]),
    io(9, "cli", BELOW_CLI),
];

const BELOW_DAEMON: &[&str] = &[
    "model",
    "canary",
    "policy",
    "geo",
    "health",
    "latency",
    "demand",
    "zone",
    "schedule",
    "routing",
    "dns",
    "explain",
    "probe",
    "store",
    "sign",
    "serve",
    "observe",
    "vantage",
    "measure",
    "control",
    "alert",
    "deliver",
    "journal",
    "audit",
    "history",
    "readiness",
    "forecast",
    "drill",
    "incident",
];

const BELOW_CLI: &[&str] = &[
    "model",
    "canary",
    "policy",
    "geo",
    "health",
    "latency",
    "demand",
    "zone",
    "schedule",
    "routing",
    "dns",
    "explain",
    "probe",
    "store",
    "sign",
    "serve",
    "observe",
    "vantage",
    "measure",
    "control",
    "daemon",
    "lab",
    "alert",
    "deliver",
    "journal",
    "sim",
    "audit",
    "history",
    "readiness",
    "forecast",
    "drill",
    "incident",
];

/// Functions longer than the limit, as long as they are now: file, name, lines. It only shrinks.
const RATCHET: &[(&str, &str, usize)] = &[];

/// Files that may hold `unsafe`, and how far above it the reason may start.
const UNSAFE_FILES: &[&str] = &[
    "src/serve/udp_batch.rs",
    "tests/support/mod.rs",
    "tests/network/delay.rs",
    "tests/support/counting.rs",
    "benches/throughput/mmsg.rs",
];
const SAFETY_LINES: usize = 6;

/// Files that may read a clock, the environment or take a standard lock.
const BANNED_CALL_FILES: &[&str] = &["src/base/clock.rs", "src/serve/udp.rs"];

fn module_named<'a>(table: &'a [Module], name: &str) -> Option<&'a Module> {
    table.iter().find(|module| module.name == name)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<Source> {
    let mut folders = vec![root().join(folder)];
    let mut out = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target" && name != "corpus") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(Source::parse(&relative(&path), &read(&path)));
            }
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("a path inside the repository");
    inside.to_string_lossy().replace('\\', "/")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn everywhere() -> Vec<Source> {
    ["src", "tests", "benches", "fuzz"].iter().flat_map(|folder| rust_files(folder)).collect()
}

/// Runs a rule over files and shows all that is wrong at once.
fn hold(files: &[Source], rule: impl Fn(&Source) -> Vec<String>) {
    assert!(!files.is_empty(), "no files were found to check");
    let wrong: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(wrong.is_empty(), "{} problems:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn modules_import_only_what_the_table_grants() {
    hold(&rust_files("src"), |source| rules::imports(source, TABLE));
}

#[test]
fn pure_modules_are_pure() {
    hold(&rust_files("src"), |source| rules::purity(source, TABLE));
}

#[test]
fn every_file_says_what_it_is() {
    hold(&everywhere(), rules::opening);
}

#[test]
fn files_and_functions_keep_their_size() {
    hold(&everywhere(), |source| rules::size(source, RATCHET));
}

#[test]
fn unsafe_stands_in_named_files_with_its_reason() {
    hold(&everywhere(), |source| rules::unsafety(source, UNSAFE_FILES));
}

#[test]
fn banned_calls_are_allowed_in_named_files_only() {
    hold(&rust_files("src"), |source| rules::banned_calls(source, BANNED_CALL_FILES));
}

#[test]
fn no_tracked_file_names_a_folder_of_one_machine() {
    let files = tracked_files();
    assert!(files.len() > 20, "only {} files were found", files.len());
    let texts = files.iter().filter_map(|path| Some((relative(path), std::fs::read_to_string(path).ok()?)));
    let wrong: Vec<String> = texts.flat_map(|(path, text)| rules::machine_paths(&path, &text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What git tracks; outside a checkout (an unpacked archive), every file but built ones.
fn tracked_files() -> Vec<PathBuf> {
    let listed = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    if let Some(listed) = listed.ok().filter(|output| output.status.success()) {
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        let files = names.split('\0').filter(|name| !name.is_empty()).map(|name| root().join(name));
        return files.filter(|path| path.is_file()).collect();
    }
    let mut out: Vec<PathBuf> = everywhere().iter().map(|source| root().join(&source.path)).collect();
    for entry in std::fs::read_dir(root()).expect("the repository's folder") {
        out.extend(Some(entry.expect("an entry").path()).filter(|path| path.is_file()));
    }
    out
}

#[test]
fn the_readme_has_the_two_commands() {
    let missing = missing_commands(&read(&root().join("README.md")));
    assert!(missing.is_empty(), "README.md lacks {missing:?}");
}

fn missing_commands(readme: &str) -> Vec<&'static str> {
    let commands = ["cargo run --release -- lab", "cargo test"];
    commands.into_iter().filter(|command| !readme.contains(command)).collect()
}

#[test]
fn the_table_is_whole_and_has_no_cycle() {
    let lib = read(&root().join("src/lib.rs"));
    let mut declared: Vec<&str> =
        lib.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut rows: Vec<&str> = TABLE.iter().map(|module| module.name).collect();
    declared.sort_unstable();
    rows.sort_unstable();
    assert_eq!(declared, rows, "modules of src/lib.rs and rows of the table");
    for module in TABLE {
        for target in module.may_import {
            let target = module_named(TABLE, target).unwrap_or_else(|| panic!("{target} is no module"));
            assert!(target.level < module.level, "{} may not stand on {}", module.name, target.name);
            assert!(target.is_pure || !module.is_pure, "{} is pure, {} is not", module.name, target.name);
        }
    }
}

#[test]
fn architecture_md_repeats_the_table() {
    let difference = table_difference(&read(&root().join("ARCHITECTURE.md")), TABLE);
    assert!(difference.is_empty(), "{}", difference.join("\n"));
}

/// How the map in a document differs from `table`: rows `| level | module | what it is | may import |`.
fn table_difference(document: &str, table: &[Module]) -> Vec<String> {
    let cells = |line: &str| -> Option<Vec<String>> {
        let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(inside.split('|').map(|cell| cell.trim().replace('`', "")).collect())
    };
    let header = ["level", "module", "what it is", "may import"];
    let rows = document.lines().skip_while(|line| cells(line).is_none_or(|cells| cells != header));
    let written: Vec<String> = rows
        .skip(2)
        .map_while(cells)
        .filter(|cells| cells.len() == 4)
        .map(|cells| {
            let imports: Vec<&str> =
                cells[3].split([' ', ',']).filter(|name| !matches!(*name, "" | "-")).collect();
            map_row(&cells[0], &cells[1], &imports)
        })
        .collect();
    let expected: Vec<String> = table
        .iter()
        .map(|module| {
            let kind = match (module.level, module.is_pure) {
                (0 | 1 | 8 | 9, _) => "",
                (_, true) => " pure",
                (_, false) => " io",
            };
            map_row(&format!("{}{kind}", module.level), module.name, module.may_import)
        })
        .collect();
    let missing = expected.iter().filter(|row| !written.contains(row)).map(|row| format!("lacks `{row}`"));
    let surplus = written.iter().filter(|row| !expected.contains(row)).map(|row| format!("has `{row}`"));
    missing.chain(surplus).collect()
}

/// A row in one spelling, whatever order its imports were written in.
fn map_row(level: &str, name: &str, imports: &[&str]) -> String {
    let mut imports = imports.to_vec();
    imports.sort_unstable();
    format!("{level} | {name} | {}", if imports.is_empty() { "-".to_owned() } else { imports.join(" ") })
}

#[path = "architecture/broken.rs"]
mod broken;
