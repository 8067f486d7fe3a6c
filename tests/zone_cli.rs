//! `rhumb zone check` and `rhumb zone dump` by the spawned binary: exit codes, output, includes.

mod support;

use support::{Folder, run};

const GOOD: &str = "$TTL 1h\n@ SOA ns1 admin 1 2h 15m 1w 5m\n@ NS ns1\nns1 A 192.0.2.1\n";

/// Runs `rhumb zone COMMAND ORIGIN FILE MORE...` in a folder.
fn zone(folder: &Folder, command: &str, origin: &str, file: &str, more: &[&str]) -> (i32, String, String) {
    let path = folder.path(file).display().to_string();
    run(&[&["zone", command, origin, &path], more].concat())
}

fn folder() -> Folder {
    Folder::with(&[
        ("good.zone", &format!("{GOOD}$INCLUDE more.txt sub\n$GENERATE 1-2 h$ A 192.0.2.$\n")),
        ("more.txt", "w TXT \"a b\" (\n c )\n"),
        ("bad.zone", &format!("{GOOD}a A 1.2.3\nb CNAME c\nb A 192.0.2.1\n$INCLUDE none\n$INCLUDE ../x\n")),
        ("warned.zone", &format!("{GOOD}ns1 A 192.0.2.1\n")),
    ])
}

#[test]
fn check_tells_by_its_exit_code() {
    let folder = folder();
    let (code, out, err) = zone(&folder, "check", "z.test", "good.zone", &[]);
    assert_eq!((code, out.trim()), (0, "no mistakes in 2 files"), "{err}");
    let (code, out, _) = zone(&folder, "check", "z.test", "warned.zone", &[]);
    assert_eq!((code, out.contains("zone-repeated")), (0, true), "{out}");
    let (code, out, _) = zone(&folder, "check", "z.test", "bad.zone", &[]);
    assert_eq!(code, 1);
    for found in ["bad.zone:5:5", "bad.zone:8:10", "bad.zone:9:10", "bad.zone:6:1", "4 errors in 1 file"] {
        assert!(out.contains(found), "{found} in {out}");
    }
    let (code, out, _) = zone(&folder, "check", "other.test", "good.zone", &[]);
    assert_eq!(code, 0, "relative names: the origin is what is said: {out}");
    let (code, _, err) = zone(&folder, "check", "z.test", "none.zone", &[]);
    assert_eq!((code, err.contains("none.zone")), (2, true), "{err}");
    let (code, _, _) = zone(&folder, "check", "z..test", "good.zone", &[]);
    assert_eq!(code, 2);
}

#[test]
fn check_speaks_json() {
    let folder = folder();
    let (code, out, _) = zone(&folder, "check", "z.test", "bad.zone", &["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, json["errors"].as_u64(), json["files"].as_u64()), (1, Some(4), Some(1)));
    let codes: Vec<_> =
        json["diagnostics"].as_array().expect("a list").iter().map(|it| it["code"].as_str()).collect();
    assert_eq!(
        codes,
        [Some("zone-syntax"), Some("zone-cname-and-other"), Some("zone-include"), Some("zone-include")]
    );
}

#[test]
fn dump_is_canonical_text_that_reads_back() {
    let folder = folder();
    let (code, out, err) = zone(&folder, "dump", "z.test", "good.zone", &[]);
    let expected = "z.test. 3600 IN SOA ns1.z.test. admin.z.test. 1 7200 900 604800 300\n\
                    z.test. 3600 IN NS ns1.z.test.\n\
                    h1.z.test. 3600 IN A 192.0.2.1\n\
                    h2.z.test. 3600 IN A 192.0.2.2\n\
                    ns1.z.test. 3600 IN A 192.0.2.1\n\
                    w.sub.z.test. 3600 IN TXT \"a b\" \"c\"\n";
    assert_eq!((code, out.as_str()), (0, expected), "{err}");
    folder.write("again.zone", &out);
    assert_eq!(zone(&folder, "dump", "z.test", "again.zone", &[]).1, expected);
    let (code, out, err) = zone(&folder, "dump", "z.test", "bad.zone", &[]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("zone-syntax") && err.contains("4 errors"), "{err}");
}

#[test]
fn help_teaches() {
    let (code, out, _) = run(&["zone", "dump", "--help"]);
    assert_eq!((code, out.contains("diff <(rhumb zone dump")), (0, true), "{out}");
}
