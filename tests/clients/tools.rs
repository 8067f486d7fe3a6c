//! Command line tools: what they ask for they get, and what they judge they find in order.

use crate::signed::World;
use crate::support::tool;

/// Subnets that are answered by different nodes, 5.6.7.0/24 by one without IPv6.
const SUBNETS: &[&str] = &["5.1.2.0/24", "5.6.7.0/24", "9.1.3.0/24", "64.1.2.0/24", "2a00:100:7::/48"];

/// The zone's keys as records of a master file.
fn anchor_file(world: &World) -> String {
    let keys = world.folder.root.path().join("keys");
    let entries = std::fs::read_dir(&keys).expect("keys").map(|entry| entry.expect("an entry").path());
    let public = entries.filter(|path| path.extension().is_some_and(|ending| ending == "key"));
    let text: String = public.map(|path| std::fs::read_to_string(path).expect("text")).collect();
    let path = world.folder.root.path().join("anchors");
    let records = text.lines().filter(|line| !line.starts_with(';'));
    std::fs::write(&path, records.map(|line| format!("{line}\n")).collect::<String>()).expect("writes");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn kdig_gets_the_options_it_asks_for() {
    let world = World::start();
    let port = world.rhumb.port().to_string();
    for (args, said) in [
        (&["+subnet=5.6.7.0/24"][..], &["192.0.2.3", "CLIENT-SUBNET: 5.6.7.0/24/24"][..]),
        (&["+subnet=5.6.8.0/24"], &["192.0.2.2", "CLIENT-SUBNET: 5.6.8.0/24/"]),
        (&["+nsid"], &["NSID: ", "\"rhumb gen "]),
        (&["+cookie"], &["COOKIE: "]),
        (&["+dnssec"], &["RRSIG", "flags: do"]),
        (&["+tcp", "+keepopen"], &["(TCP)", "192.0.2.4"]),
        (&["+bufsize=512", "+padding=64"], &["NOERROR", "192.0.2.4"]),
        (&["+edns=1"], &["BADVERS"]),
        (&["+noedns"], &["192.0.2.4"]),
    ] {
        let asked = ["@127.0.0.1", "-p", &port, "+retry=0", "live.example.test", "A"];
        let Some((ok, out)) = tool("kdig", "knot-dnsutils", &[&asked[..], args].concat()) else { return };
        assert!(ok && !out.contains("WARNING"), "{args:?}: {out}");
        said.iter().for_each(|text| assert!(out.contains(text), "{args:?}: no {text}: {out}"));
    }
}

#[test]
fn drill_chases_signatures_up_to_the_anchor() {
    let world = World::start();
    let (port, anchors) = (world.rhumb.port().to_string(), anchor_file(&world));
    let names = ["live.example.test", "example.test", "any.w.example.test", "www.example.test"];
    for name in names.into_iter().chain(["any.wild.example.test"]) {
        let args = ["-S", "-k", &anchors, "-p", &port, "@127.0.0.1", name, "A"];
        let Some((_, out)) = tool("drill", "ldnsutils", &args) else { return };
        let is_secure = out.contains("Chase successful") && !out.to_lowercase().contains("bogus");
        assert!(is_secure, "{name}: {out}");
    }
}

#[test]
fn dnsviz_finds_nothing_to_complain_about_under_any_subnet() {
    let world = World::start();
    if tool("dnsviz", "dnsviz", &["help"]).is_none() {
        return;
    }
    let server = format!("example.test+:ns1.example.test=127.0.0.1:{}", world.rhumb.port());
    let file = world.folder.root.path().join("probe.json");
    let file = file.to_str().expect("UTF-8");
    let names =
        ["example.test", "live.example.test", "x.w.example.test", "www.example.test", "b.example.test"];
    for subnet in SUBNETS {
        // A server that does not answer is asked again for minutes.
        let probe =
            ["60", "dnsviz", "probe", "-A", "-4", "-a", ".", "-x", &server, "-E", "-o", file, "-e", subnet];
        let (ok, said) =
            tool("timeout", "coreutils", &[&probe[..], &names].concat()).expect("timeout is there");
        assert!(ok, "{subnet}: {said}");
        let judge = |level: &str| tool("dnsviz", "dnsviz", &["grok", "-P", "-l", level, "-r", file]);
        let (_, all) = judge("info").expect("it ran before");
        assert!(all.matches("\"VALID\"").count() >= 20, "{subnet}: signatures were judged: {all}");
        let (ok, complaints) = judge("warning").expect("it ran before");
        assert!(ok && complaints.trim().is_empty(), "{subnet}: {complaints}");
    }
}
