//! The rules a source file is held to. Each takes a file and says what is wrong with it, so that
//! the tests can show that a file which breaks it is caught.

use crate::tokens::{CodePath, Source};
use crate::{Module, SAFETY_LINES, module_named};

pub const MOST_FILE_LINES: usize = 800;
pub const MOST_FUNCTION_LINES: usize = 70;

/// A path starting or ending so has no place in a pure module. `a::b*` matches `a::b` and all
/// below it; `*a::b` matches wherever the two stand together.
const IMPURE: [&str; 24] = [
    "tokio*",
    "tokio_util*",
    "socket2*",
    "reqwest*",
    "libc*",
    "std::fs*",
    "std::env*",
    "std::process*",
    "std::thread*",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os*",
    "std::time::SystemTime*",
    "std::hash::RandomState",
    "rand*",
    "*Instant::now",
    "*SystemTime::now",
    "*Timestamp::now",
    "*Zoned::now",
];

/// Files of pure modules that may do one impure thing, with that thing.
const IMPURE_BUT_NAMED: [(&str, &str); 1] = [("src/base/clock.rs", "SystemTime")];

/// Imports the table does not grant.
pub fn imports(source: &Source, table: &[Module]) -> Vec<String> {
    let Some(name) = source.module() else { return Vec::new() };
    let Some(module) = module_named(table, name) else {
        return vec![format!("{}: module {name} is not in the table", source.path)];
    };
    let granted = |target: &str| target == name || target == "base" || module.may_import.contains(&target);
    let mut out = Vec::new();
    for (target, line) in source.imports() {
        if !granted(&target) {
            out.push(format!("{}:{line}: {name} may not import {target}", source.path));
        }
    }
    out
}

/// Waiting, files, sockets, clocks and chance in a pure module.
pub fn purity(source: &Source, table: &[Module]) -> Vec<String> {
    let is_pure =
        source.module().and_then(|name| module_named(table, name)).is_some_and(|module| module.is_pure);
    if !is_pure {
        return Vec::new();
    }
    let mut out = Vec::new();
    for path in source.paths() {
        let named = IMPURE_BUT_NAMED
            .iter()
            .any(|(file, word)| *file == source.path && path.segments.iter().any(|segment| segment == word))
            || (source.path == "src/base/clock.rs" && ends_with(&path, &["Instant", "now"]));
        if !named && IMPURE.iter().any(|pattern| matches(&path, pattern)) {
            out.push(format!("{}:{}: {} in a pure module", source.path, path.line, path.segments.join("::")));
        }
    }
    out
}

fn ends_with(path: &CodePath, end: &[&str]) -> bool {
    path.segments.len() >= end.len()
        && path.segments[path.segments.len() - end.len()..].iter().zip(end).all(|(a, b)| a == b)
}

fn matches(path: &CodePath, pattern: &str) -> bool {
    if let Some(end) = pattern.strip_prefix('*') {
        return ends_with(path, &end.split("::").collect::<Vec<_>>());
    }
    let (start, below) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
    let start: Vec<&str> = start.split("::").collect();
    // A single word is a crate only when something of it is named; alone it may be a variable.
    let long_enough = path.segments.len() >= start.len().max(2);
    long_enough
        && path.segments.iter().zip(&start).all(|(a, b)| a == b)
        && (below || path.segments.len() == start.len())
}

/// The file opens by saying what it is.
pub fn opening(source: &Source) -> Vec<String> {
    let opens = source.text.strip_prefix("//! ").is_some_and(|rest| rest.len() > 20);
    if opens { Vec::new() } else { vec![format!("{}: does not open with `//!` and what it is", source.path)] }
}

/// Files and functions too long; `ratchet` names functions that may be as long as they are.
pub fn size(source: &Source, ratchet: &[(&str, &str, usize)]) -> Vec<String> {
    let mut out = Vec::new();
    let lines = source.text.lines().count();
    if lines > MOST_FILE_LINES {
        out.push(format!("{}: {lines} lines, at most {MOST_FILE_LINES}", source.path));
    }
    for function in source.functions() {
        let most = ratchet
            .iter()
            .find(|(path, name, _)| *path == source.path && *name == function.name)
            .map_or(MOST_FUNCTION_LINES, |row| row.2);
        if function.lines > most {
            let (name, line) = (&function.name, function.line);
            out.push(format!("{}:{line}: {name} has {} lines, at most {most}", source.path, function.lines));
        }
    }
    out
}

/// `unsafe` outside the named files, or without its reason.
pub fn unsafety(source: &Source, named: &[&str]) -> Vec<String> {
    let text: Vec<&str> = source.text.lines().collect();
    let mut out = Vec::new();
    for line in source.unsafe_lines() {
        if !named.contains(&source.path.as_str()) {
            out.push(format!("{}:{line}: unsafe outside the named files", source.path));
        } else if !text[line.saturating_sub(1 + SAFETY_LINES)..line]
            .iter()
            .any(|text| text.contains("SAFETY:"))
        {
            out.push(format!("{}:{line}: unsafe without a SAFETY reason above it", source.path));
        }
    }
    out
}

/// Allowing a banned call (clock, environment, lock) outside the named files.
pub fn banned_calls(source: &Source, named: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for lint in source.allowed_lints() {
        let is_ban = lint.segments.last().is_some_and(|name| name.starts_with("disallowed_"));
        if is_ban && !named.contains(&source.path.as_str()) {
            out.push(format!("{}:{}: allows a banned call; it is not a named file", source.path, lint.line));
        }
    }
    out
}

/// A path that exists on one machine only.
pub fn machine_paths(path: &str, text: &str) -> Vec<String> {
    // Taken apart, so that this file does not hold what it looks for.
    let folders = [["/wo", "rk/"], ["/ro", "ot/"], ["/tmp/", "wt"], ["/ho", "me/"], ["/Us", "ers/"]]
        .map(|halves| halves.concat());
    let mut out = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for folder in &folders {
            let starts = line.match_indices(folder.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '.' | '_' | '-'))
            });
            if starts {
                out.push(format!("{path}:{}: names a folder of one machine ({folder})", index + 1));
            }
        }
    }
    out
}
