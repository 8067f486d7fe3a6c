//! The state folder kept in a file while rhumb runs, and put back: by the commands that operators do it with.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use std::net::SocketAddr;
use support::{Folder, free_port, run, wait_for};

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites: { tyo: { region: ea }, fra: { region: eu } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.13.1] }
  fra-1: { site: fra, addresses: [127.1.13.2] }
";
const SERVICE: &str = "version: 1
hostnames: live.example.test
pools: { all: { members: [tyo-1, fra-1] } }
chains: [{ pools: all }]
";
const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

#[test]
fn a_backup_taken_while_it_runs_brings_everything_back() {
    let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (dns, admin) = (local(), local());
    let folder = Folder::with(&[
        ("fleet.yaml", FLEET),
        ("services/live.yaml", SERVICE),
        ("zones/example.test.zone", ZONE),
    ]);
    folder.write_server("");
    let state = folder.state();
    let file = folder.root.path().join("backup").to_str().expect("UTF-8").to_owned();
    let ask = |args: &[&str]| run(&[args, &["--admin", &admin.to_string()]].concat());
    let mut rhumb = folder.serve(dns, admin);
    let (code, _, error) = ask(&["drain", "tyo-1", "--for", "1h", "--reason", "disks"]);
    assert_eq!(code, 0, "{error}");
    wait_for("the first revision to be kept", || {
        let (code, told, _) = ask(&["history", "--format", "json"]);
        (code == 0 && told.contains("revision")).then_some(())
    });
    let (code, told, error) = run(&["backup", &file, "--state", &state]);
    assert!(code == 0 && told.contains(" files, "), "{told}{error}");

    // What happens after it is not in it.
    let (code, _, error) = ask(&["undrain", "tyo-1"]);
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = run(&["restore", &file, "--state", &state, "--replace"]);
    assert!(code == 1 && error.contains("in use by another rhumb"), "{code} {error}");
    assert_eq!(rhumb.terminate(), Some(0));
    let (code, _, error) = run(&["restore", &file, "--state", &state]);
    assert!(code == 1 && error.contains("--replace"), "{code} {error}");
    let damaged = format!("{file}.damaged");
    let mut octets = std::fs::read(&file).expect("readable");
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    std::fs::write(&damaged, octets).expect("writes");
    let (code, _, error) = run(&["restore", &damaged, "--state", &state, "--replace"]);
    assert!(code == 1 && error.contains("is no whole backup"), "{code} {error}");
    let (code, _, error) = run(&["backup", &file, "--state", "nowhere"]);
    assert!(code == 2 && error.contains("--state DIR"), "{code} {error}");

    let (code, told, error) = run(&["restore", &file, "--state", &state, "--replace"]);
    assert!(code == 0 && told.contains("what it held before is in"), "{code} {told}{error}");
    let _rhumb = folder.serve(dns, admin);
    let (code, told, error) =
        wait_for("the overrides", || Some(ask(&["overrides"])).filter(|(code, ..)| *code == 0));
    assert!(told.contains("drain node/tyo-1"), "{code} {told}{error}");
    let (code, told, error) = run(&["audit", "verify", "--state", &state]);
    assert_eq!(code, 0, "{told}{error}");
    let (code, told, error) = ask(&["history"]);
    assert!(code == 0 && !told.trim().is_empty(), "{told}{error}");
}
