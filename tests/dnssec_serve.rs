//! A signed zone by the commands an operator types: keys, serve, validate, roll.

mod support;

use std::process::Command;
use support::{Folder, Rhumb, free_port, wait_for};

const ZONE: &str = "\
$TTL 300
@ SOA ns1 hostmaster 1 2h 15m 2w 1m
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.80
";

/// Runs the binary and gives what it printed.
fn rhumb(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rhumb")).args(args).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

/// The zone's key as delv's anchor, from the file that `rhumb keys generate` wrote.
fn anchor(keys: &std::path::Path) -> String {
    let mut entries =
        std::fs::read_dir(keys).expect("a key folder").map(|entry| entry.expect("an entry").path());
    let public = entries.find(|path| path.extension().is_some_and(|ending| ending == "key")).expect("a key");
    let text = std::fs::read_to_string(public).expect("text");
    let record = text.lines().find(|line| !line.starts_with(';')).expect("a record");
    let fields: Vec<&str> = record.split_whitespace().collect();
    let [zone, _, _, _, flags, protocol, algorithm, key] = fields[..] else { panic!("{record}") };
    format!("trust-anchors {{ {zone} static-key {flags} {protocol} {algorithm} \"{key}\"; }};\n")
}

/// What delv says; `None`: it is not installed.
#[allow(clippy::disallowed_methods, reason = "the environment says whether a test may be skipped")]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn delv(port: u16, anchors: &str, name: &str, rtype: &str) -> Option<String> {
    let port = port.to_string();
    let args = ["@127.0.0.1", "-p", &port, "-a", anchors, "+root=example.test", name, rtype];
    match Command::new("delv").args(args).output() {
        Ok(output) => Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        Err(error) => {
            let install = format!("`delv` does not run ({error}); Debian: `apt-get install bind9-dnsutils`");
            assert!(std::env::var_os("RHUMB_REQUIRE_TOOLS").is_none(), "{install}");
            eprintln!("skipped: {install}");
            None
        }
    }
}

#[test]
fn a_zone_is_signed_validated_and_its_key_rolled_while_it_is_served() {
    let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
    let keys = folder.root.path().join("keys");
    let keys_text = keys.to_str().expect("UTF-8").to_owned();
    folder.write_server(&format!("dnssec: {{zones: all, keys: {keys_text}}}\n"));
    let (policies, state) = (folder.policies(), folder.state());
    let of_folder = ["--policies", policies.as_str()];
    let said = rhumb(&[&["keys", "generate", "example.test"], &of_folder[..]].concat());
    assert!(said.contains("example.test. IN DS "), "{said}");
    let ds = rhumb(&[&["keys", "ds", "example.test"], &of_folder[..]].concat());
    assert!(said.contains(ds.trim()), "{said} has {ds}");

    let port = free_port();
    let (dns, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", free_port()));
    let serve = ["serve", "--state", &state, "--listen", &dns, "--admin", &admin, "--log", "human"];
    let mut server = Rhumb::spawn(&[&serve[..], &of_folder].concat());
    server.wait_line("ready");
    let anchors = folder.root.path().join("anchors");
    std::fs::write(&anchors, anchor(&keys)).expect("written");
    let anchors = anchors.to_str().expect("UTF-8");
    for (name, rtype, verdict) in [
        ("www.example.test", "A", "; fully validated"),
        ("example.test", "DNSKEY", "; fully validated"),
        ("no.example.test", "A", "; negative response, fully validated"),
        ("www.example.test", "AAAA", "; negative response, fully validated"),
    ] {
        let Some(said) = delv(port, anchors, name, rtype) else { return };
        assert!(said.contains(verdict), "{name} {rtype}: {said}");
    }

    let said = rhumb(&[&["keys", "roll", "example.test"], &of_folder[..]].concat());
    assert!(said.contains("published") && said.contains("its DS may go to the parent from"), "{said}");
    wait_for("the second key in DNSKEY", || {
        let said = delv(port, anchors, "example.test", "DNSKEY")?;
        (said.contains("; fully validated") && said.matches("257 3 13").count() == 2).then_some(())
    });
    let said = delv(port, anchors, "www.example.test", "A").expect("it ran before");
    assert!(said.contains("; fully validated"), "under the old key still: {said}");
}
