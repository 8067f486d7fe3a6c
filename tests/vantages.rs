//! Remote vantages as operators meet them: the scheduler, its vantages and its nodes as processes of their own.

#![allow(clippy::disallowed_methods, reason = "the programs under test live in real time")]

mod support;
#[path = "vantages/world.rs"]
mod world;

use std::net::IpAddr;
use support::{fetch, run, wait_for};
use world::{OTHER, TOKEN, VALID, World, issue, vantages};

#[test]
fn a_quorum_of_remote_and_local_vantages_judges() {
    let mut world = World::new();
    let _scheduler = world.serve();
    let _gz = world.vantage("gz", TOKEN);
    let _bj = world.vantage("bj", OTHER);
    for vantage in ["gz", "bj", "local"] {
        world.wait_word("tyo-1", vantage, "up");
        world.wait_word("fra-1", vantage, "up");
    }
    world.tyo.stop();
    world.wait_verdict("tyo-1", "down");
    for vantage in ["gz", "bj", "local"] {
        world.wait_word("tyo-1", vantage, "down");
    }
    assert_eq!(world.node("tyo-1")["evidence"]["confirmed"], true);
    world.wait_word("fra-1", "gz", "up");
    let metrics = fetch(world.admin, "/metrics");
    assert!(metrics.contains("rhumb_vantages_connected 2\n"), "{metrics}");
    assert!(!metrics.contains(r#"rhumb_vantage_observations_total{outcome="taken"} 0"#), "{metrics}");
    assert!(metrics.contains(r#"rhumb_vantage_observations_total{outcome="surplus"} 0"#), "{metrics}");
}

#[test]
fn a_vantage_that_is_cut_off_is_silent_and_nothing_moves() {
    let world = World::new();
    let _scheduler = world.serve();
    let mut gz = world.vantage("gz", TOKEN);
    let _bj = world.vantage("bj", OTHER);
    for vantage in ["gz", "bj", "local"] {
        world.wait_word("tyo-1", vantage, "up");
    }
    // Of known place: clients of none are between equals, and a busy machine's round trips decide.
    let answers = || ["133.11.0.0/24", "202.112.0.0/24", "141.20.0.0/24"].map(|subnet| world.ask(subnet));
    let before = answers();
    gz.kill();
    world.wait_problem("vantage gz does not count: nothing was heard of it lately");
    assert_eq!(answers(), before, "{}", world.status()["recent"]);
    assert_eq!(world.node("tyo-1")["verdict"], "up");
    assert_ne!(world.word("tyo-1", "gz").map(|word| word.1), Some(true));
    let _gz = world.vantage("gz", TOKEN);
    world.wait_word("tyo-1", "gz", "up");
    wait_for("gz to count again", || (!world.problems().iter().any(|it| it.contains("gz"))).then_some(()));
}

#[test]
fn the_status_shows_who_is_connected_and_what_cannot_be_probed_there() {
    let world = World::new();
    let command = "probes: [{ kind: command, command: [checks/health], interval: 1s, timeout: 900ms }]";
    let ill = format!("  tyo-2: {{ site: tyo, addresses: [127.1.1.2], {command} }}\n");
    world.folder.write_server(&format!("commands: true\n{}", world.reports_key("")));
    world.write_fleet(&format!("{ill}{}", vantages(TOKEN, OTHER)));
    let _scheduler = world.serve();
    assert_eq!(world.shown("gz")["link"], serde_json::Value::Null, "it was never there");
    assert!(world.told().contains("never connected"), "{}", world.told());
    let mut gz = world.vantage("gz", TOKEN);
    world.wait_problem("vantage gz cannot make command of tyo-2 (IPv4): it runs no commands");
    gz.kill();
    let mut gz = world.vantage_more("gz", TOKEN, &["--allow-commands"]);
    world.wait_word("tyo-1", "gz", "up");
    let missing = || world.problems().into_iter().find(|it| it.contains("cannot make command of tyo-2"));
    wait_for("another reason", || missing().filter(|it| !it.contains("runs no commands")));
    let shown = wait_for("the clock of gz", || {
        let shown = world.shown("gz");
        shown["link"]["clock_offset_ms"].is_i64().then_some(shown)
    });
    let link = &shown["link"];
    assert_eq!(
        (&shown["is_remote"], &shown["distrust"], &shown["unmade"]),
        (&true.into(), &().into(), &1.into())
    );
    assert_eq!(link["is_connected"], true);
    assert!(link["clock_offset_ms"].as_i64().expect("a number").abs() < 5_000, "{link}");
    assert!(link["reports"].as_u64() > Some(0) && link["observations"].as_u64() > Some(0), "{link}");
    assert!(link["reported"].is_u64() && link["round_trip"].is_u64(), "{link}");
    assert_eq!((&link["observations_refused"], &link["lost"]), (&0.into(), &0.into()), "{link}");
    let told = world.told();
    assert!(told.contains("from 127.0.0.1:") && told.contains("1 not made"), "{told}");
    // What it says of its machine goes with it.
    gz.kill();
    wait_for("gz to be gone", || (world.shown("gz")["link"]["is_connected"] == false).then_some(()));
    let is_told = || world.problems().iter().any(|problem| problem.contains("vantage gz cannot make"));
    wait_for("its problem to end", || (!is_told()).then_some(()));
    assert!(world.told().contains("gone for"), "{}", world.told());
    assert_eq!(world.shown("gz")["unmade"], 0);
}

/// A node that one carrier cannot reach is taken from the clients of that carrier and from nobody else, and
/// given back when it can be reached.
#[test]
fn the_clients_of_a_line_lose_what_only_their_vantage_misses() {
    const THERE: [u8; 4] = [127, 0, 0, 9];
    const OTHERS: [&str; 3] = ["133.11.0.0/24", "202.112.64.0/24", "202.112.99.0/24"];
    let telecom = || (0..64).map(|network| format!("202.112.{network}.0/24"));
    let world = World::new();
    world.folder.write(
        "clients.yaml",
        "version: 1\nlines: { telecom: { asns: 4134 } }\noverrides: [{ cidrs: 202.112.0.0/18, line: telecom }]\n",
    );
    world.write_fleet(&vantages(TOKEN, OTHER).replacen("gz: {", "gz: { line: telecom,", 1));
    let _scheduler = world.serve();
    let _gz = world.vantage_more("gz", TOKEN, &["--source", "127.0.0.9"]);
    world.wait_word("tyo-1", "gz", "up");
    world.wait_word("tyo-1", "local", "up");
    assert_eq!(world.shown("gz")["stands_for"]["line"], "telecom");
    let (tyo, fra) = ([127, 1, 1, 1].into(), [127, 2, 1, 1].into());
    let given = |node: IpAddr| telecom().filter(|subnet| world.ask(subnet) == [node]).count();
    wait_for("all of telecom on the near node", || (given(tyo) == 64).then_some(()));

    world.tyo.turn_away(Some(THERE.into()));
    wait_for("telecom to leave it", || (given(fra) == 64).then_some(()));
    world.wait_word("tyo-1", "gz", "down");
    let node = world.node("tyo-1");
    assert_eq!((&node["verdict"], &node["scoped"][0]["verdict"]), (&"up".into(), &"down".into()), "{node}");
    for subnet in OTHERS {
        assert_eq!(world.ask(subnet), [tyo], "{subnet} is not on that line");
    }
    // The other vantage of the fleet never came, which is told once it should have.
    let mut problems = world.problems();
    problems.retain(|problem| !problem.starts_with("vantage bj does not count"));
    assert!(problems.is_empty(), "{problems:?}");

    world.tyo.turn_away(None);
    world.wait_word("tyo-1", "gz", "up");
    // By a ramp, which begins with a tenth.
    wait_for("some of telecom to come back", || (given(tyo) > 0).then_some(()));
    assert_eq!(world.node("tyo-1")["scoped"][0]["verdict"], "up");
}

#[test]
fn the_scheduler_may_go_and_come_back() {
    let mut world = World::new();
    let mut scheduler = world.serve();
    let mut gz = world.vantage("gz", TOKEN);
    let _bj = world.vantage("bj", OTHER);
    world.wait_word("tyo-1", "gz", "up");
    gz.wait_line("probing as ordered");
    scheduler.kill();
    gz.wait_line("not connected");
    gz.forget_lines();
    world.tyo.stop();
    let _scheduler = world.serve();
    gz.wait_line("connected as vantage gz");
    world.wait_word("tyo-1", "gz", "down");
    world.wait_word("fra-1", "gz", "up");
    gz.forget_lines();
    // An edit of the fleet reaches it over the same connection.
    world.write_fleet(&format!("{}  ct: {{ source: 127.0.0.9 }}\n", vantages(TOKEN, OTHER)));
    world.wait_word("fra-1", "ct", "up");
    world.wait_word("fra-1", "gz", "up");
}

#[test]
fn a_takeover_hands_the_listener_to_the_successor() {
    let world = World::new();
    let mut first = world.serve();
    let mut gz = world.vantage("gz", TOKEN);
    world.wait_word("tyo-1", "gz", "up");
    gz.wait_line("connected as vantage gz");
    gz.forget_lines();
    let _second = world.serve_with(&["--takeover"]);
    wait_for("the first to end", || first.child.try_wait().expect("waits"));
    gz.wait_line("connected as vantage gz");
    world.wait_word("tyo-1", "gz", "up");
}

#[test]
fn another_of_its_name_takes_its_place() {
    let world = World::new();
    let mut scheduler = world.serve();
    let mut first = world.vantage("gz", TOKEN);
    first.wait_line("connected as vantage gz");
    let mut second = world.vantage("gz", TOKEN);
    second.wait_line("connected as vantage gz");
    first.wait_line("a newer connection took its place");
    scheduler.wait_line("older connection ended");
    world.wait_word("tyo-1", "gz", "up");
}

#[test]
fn a_wrong_token_says_nothing_until_policy_knows_it() {
    let world = World::new();
    let mut scheduler = world.serve();
    let mut gz = world.vantage("gz", "not-the-token");
    gz.wait_line("refused: this name, with this token or certificate, is not let in");
    scheduler.wait_line("wrong token for vantage gz");
    assert_ne!(world.word("tyo-1", "gz").map(|word| word.0), Some("up".to_owned()));
    world.write_fleet(&vantages("not-the-token", OTHER));
    world.wait_word("tyo-1", "gz", "up");
    // And out again, when policy does not know it any more.
    world.write_fleet(&vantages(TOKEN, OTHER));
    scheduler.wait_line("policy does not let it in any more");
    gz.wait_line("refused: policy does not let it in any more");
}

#[test]
fn client_certificates_speak_for_the_vantage_they_name() {
    let world = World::new();
    world.write_server(", client_ca: tls/ca.pem");
    world.write_fleet("vantages: { gz: {}, bj: {} }\n");
    let mut scheduler = world.serve();
    let shown = |file: &str, (certificate, key): (String, String)| {
        world.folder.write(&format!("{file}.pem"), &certificate);
        world.folder.write(&format!("{file}-key.pem"), &key);
        [world.folder.path(&format!("{file}.pem")), world.folder.path(&format!("{file}-key.pem"))]
            .map(|path| path.to_str().expect("a UTF-8 path").to_owned())
    };
    let [certificate, key] = shown("gz", issue(world.ca(), "gz", VALID));
    let _gz = world.vantage_with("gz", &["--cert", &certificate, "--key", &key]);
    world.wait_word("tyo-1", "gz", "up");
    // Another's name, one that has run out, one of an authority that nobody trusts.
    let mut bj = world.vantage_with("bj", &["--cert", &certificate, "--key", &key]);
    bj.wait_line("refused: this name, with this token or certificate, is not let in");
    scheduler.wait_line("vantage bj shows neither a token nor a client certificate of its name");
    scheduler.forget_lines();
    let [certificate, key] = shown("old", issue(world.ca(), "bj", (2020, 2021)));
    let mut bj = world.vantage_with("bj", &["--cert", &certificate, "--key", &key]);
    bj.wait_line("not connected");
    scheduler.wait_line("turned away who wanted to report");
    let stranger = World::new();
    let [certificate, key] = shown("strange", issue(stranger.ca(), "bj", VALID));
    let mut bj = world.vantage_with("bj", &["--cert", &certificate, "--key", &key]);
    bj.wait_line("not connected");
    assert_ne!(world.word("tyo-1", "bj").map(|word| word.0), Some("up".to_owned()));
}

#[test]
fn a_vantage_trusts_no_other_scheduler() {
    let world = World::new();
    let _scheduler = world.serve();
    let other = World::new();
    let ca = other.ca_file();
    let token = world.folder.path("token");
    std::fs::write(&token, TOKEN).expect("writes");
    let [ca, token] = [ca, token].map(|path| path.to_str().expect("a UTF-8 path").to_owned());
    let scheduler = world.reports.to_string();
    let args = ["vantage", "--scheduler", &scheduler, "--name", "gz", "--token-file", &token, "--ca", &ca];
    let mut gz = support::Rhumb::spawn(&args);
    gz.wait_line("cannot connect: invalid peer certificate");
}

#[test]
fn tokens_are_made_with_the_line_that_policy_wants() {
    let (code, token, said) = run(&["vantage", "token", "gz"]);
    assert_eq!(code, 0, "{said}");
    let hash = rhumb::model::token::TokenHash::of(token.trim());
    assert!(said.contains(&format!("vantages: {{gz: {{token: \"{hash}\"}}}}")), "{said}");
    assert_eq!(token.trim().len(), 43, "256 bits in base64");
    let (_, again, _) = run(&["vantage", "token", "gz"]);
    assert_ne!(token, again);
    let (code, _, said) = run(&["vantage", "--name", "gz"]);
    assert!(code == 2 && said.contains("--scheduler"), "{said}");
}
