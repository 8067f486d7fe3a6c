//! For every rule a file that breaks it, and one beside it that does not.

use crate::tokens::Source;
use crate::{Module, TABLE, missing_commands, rules, table_difference};

fn source(path: &str, code: &str) -> Source {
    Source::parse(path, &format!("//! A file made up for this test.\n{code}"))
}

/// Holds `rule` to `code`: as many problems as `expected`.
fn check(rule: impl Fn(&Source) -> Vec<String>, path: &str, code: &str, expected: usize) {
    let found = rule(&source(path, code));
    assert_eq!(found.len(), expected, "{path}: {code}\nfound {found:?}");
}

#[test]
fn an_import_past_the_table_is_seen_however_it_is_written() {
    let imports = |source: &Source| rules::imports(source, TABLE);
    let path = "src/geo/table.rs";
    check(imports, path, "use crate::{base::prefix::Prefix, model::ids::NodeId};", 0);
    check(imports, path, "use super::mmdb::Reader; use crate::geo::table;", 0);
    check(imports, path, "use crate::dns::wire;", 1);
    check(imports, path, "use crate::{model, dns::{wire, edns}, serve};", 3);
    check(imports, path, "fn f() -> crate::schedule::Plan { x!(crate::zone::load(1)) }", 2);
    check(imports, path, "use super::super::dns;", 1);
    check(imports, "src/geo/build/tree.rs", "use super::super::Thing;", 0);
    check(imports, "src/geo/build/tree.rs", "use super::super::super::dns;", 1);
    check(imports, path, "// use crate::dns;\n/// [crate::dns::x]\nfn f() { \"crate::dns::x\"; }", 0);
    check(imports, path, "#[cfg(test)]\nmod tests { use crate::dns::x; }\nuse crate::serve::y;", 1);
    check(imports, path, "#[cfg(test)]\nuse crate::dns::x;\nfn f() {}", 0);
    check(imports, "src/geo/tests.rs", "use crate::dns::x;", 0);
    check(imports, "src/daemon/mod.rs", "use crate::{dns, serve, control, lab, cli};", 2);
    check(imports, "src/cli/serve.rs", "use crate::{daemon, lab, base, policy};", 0);
    check(imports, "src/strange/mod.rs", "", 1);
    check(imports, "src/lib.rs", "pub mod strange;", 0);
}

#[test]
fn impure_code_is_seen() {
    let purity = |source: &Source| rules::purity(source, TABLE);
    for code in [
        "use tokio::sync::mpsc;",
        "fn f() { std::fs::read(\"x\"); }",
        "use std::{fs::File, time::Duration};",
        "use std::net::{IpAddr, UdpSocket};",
        "use std::env; ",
        "fn f() { Instant::now(); }",
        "fn f() { std::time::Instant::now(); }",
        "use std::time::SystemTime;",
        "fn f() { rand::rng(); }",
        "fn f() { jiff::Timestamp::now(); }",
        "use std::thread;",
    ] {
        check(purity, "src/schedule/cost.rs", code, 1);
        check(purity, "src/probe/runner.rs", code, 0);
        check(purity, "src/schedule/cost.rs", &format!("#[cfg(test)] mod tests {{ {code} }}"), 0);
    }
    let fine = "use std::net::{IpAddr, Ipv4Addr}; use std::time::Duration; fn f(env: u8, tokio: u8) { env + tokio; }";
    check(purity, "src/schedule/cost.rs", fine, 0);
    check(purity, "src/base/clock.rs", "fn f() { Instant::now(); SystemTime::now(); }", 0);
    check(purity, "src/base/clock.rs", "use std::fs::File;", 1);
}

#[test]
fn a_file_without_an_opening_is_seen() {
    let opening = |text: &str| rules::opening(&Source::parse("src/geo/x.rs", text)).len();
    assert_eq!(opening("//! What this file is for, in words.\n"), 0);
    assert_eq!(opening("use std::fmt;\n//! late\n"), 1);
    assert_eq!(opening("//! x\n"), 1);
    assert_eq!(opening(""), 1);
}

#[test]
fn long_files_and_functions_are_seen() {
    let size = |source: &Source| rules::size(source, &[("src/geo/old.rs", "long", 80)]);
    let function = |lines: usize| format!("fn long() {{\n{}}}", "    // }\n".repeat(lines - 2));
    check(size, "src/geo/x.rs", &function(70), 0);
    check(size, "src/geo/x.rs", &function(71), 1);
    check(size, "src/geo/old.rs", &function(80), 0);
    check(size, "src/geo/old.rs", &function(81), 1);
    check(size, "src/geo/x.rs", &format!("impl X {{ {} }}", function(71)), 1);
    check(size, "src/geo/x.rs", &format!("#[cfg(test)] mod tests {{ {} }}", function(71)), 1);
    check(size, "src/geo/x.rs", &format!("trait X {{ fn f(&self); }}\n{}", "// x\n".repeat(100)), 0);
    check(size, "src/geo/x.rs", &"// x\n".repeat(799), 0);
    check(size, "src/geo/x.rs", &"// x\n".repeat(800), 1);
}

#[test]
fn unsafe_without_place_or_reason_is_seen() {
    let unsafety = |source: &Source| rules::unsafety(source, &["src/serve/socket.rs"]);
    check(unsafety, "src/geo/x.rs", "// SAFETY: none\nfn f() { unsafe { g() } }", 1);
    check(unsafety, "src/serve/socket.rs", "fn f() { unsafe { g() } }", 1);
    check(unsafety, "src/serve/socket.rs", "// SAFETY: g has no precondition\nfn f() { unsafe { g() } }", 0);
    check(unsafety, "src/geo/x.rs", "// unsafe\nfn f() { \"unsafe\"; }", 0);
}

#[test]
fn a_lifted_ban_is_seen() {
    let banned = |source: &Source| rules::banned_calls(source, &["src/base/clock.rs"]);
    let lifted = "#[allow(clippy::disallowed_methods, reason = \"x\")]\nfn f() {}";
    check(banned, "src/geo/x.rs", lifted, 1);
    check(banned, "src/geo/x.rs", &format!("mod inner {{ {lifted} }}"), 1);
    check(banned, "src/geo/x.rs", "#[expect(clippy::disallowed_types)]\nfn f() {}", 1);
    check(banned, "src/base/clock.rs", lifted, 0);
    check(banned, "src/geo/x.rs", "#[allow(clippy::too_many_arguments)]\nfn f() {}", 0);
    check(banned, "src/geo/x.rs", &format!("#[cfg(test)] mod tests {{ {lifted} }}"), 0);
}

#[test]
fn a_folder_of_one_machine_is_seen() {
    let found = |text: &str| rules::machine_paths("x.md", text).len();
    for folder in [["/wo", "rk/x"], ["/ro", "ot/.cargo"], ["/tmp/", "wt/x"], ["/ho", "me/me/x"]] {
        assert_eq!(found(&format!("see {}", folder.concat())), 1, "{folder:?}");
        assert_eq!(found(&format!("`{}`", folder.concat())), 1, "{folder:?}");
    }
    assert_eq!(found(&format!("see ./net{}", ["wo", "rk/x"].concat())), 0);
    assert_eq!(found("/usr/share/tor/geoip and /tmp/x"), 0);
}

#[test]
fn a_readme_without_a_command_is_seen() {
    assert_eq!(missing_commands("cargo test\ncargo run --release -- lab").len(), 0);
    assert_eq!(missing_commands("cargo test").len(), 1);
    assert_eq!(missing_commands("").len(), 2);
}

#[test]
fn a_table_that_differs_is_seen() {
    let table = &[
        Module { level: 0, name: "base", is_pure: true, may_import: &[] },
        Module { level: 2, name: "geo", is_pure: true, may_import: &["model", "zone"] },
        Module { level: 9, name: "cli", is_pure: false, may_import: &["base", "geo"] },
    ];
    let document = |geo: &str| {
        format!(
            "# Map\n\n| level | module | what it is | may import |\n|---|---|---|---|\n\
             | 0 | `base` | words | - |\n{geo}| 9 | cli | commands | geo, base |\n\nMore.\n"
        )
    };
    assert_eq!(table_difference(&document("| 2 pure | geo | tables | zone, model |\n"), table).len(), 0);
    assert_eq!(table_difference(&document("| 2 pure | geo | tables | model |\n"), table).len(), 2);
    assert_eq!(table_difference(&document("| 2 io | geo | tables | model zone |\n"), table).len(), 2);
    assert_eq!(table_difference(&document(""), table).len(), 1);
    assert_eq!(table_difference("no table", table).len(), 3);
}
