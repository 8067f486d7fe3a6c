//! What the commands print, as a newcomer sees it: run against a real rhumb on loopback and compared with the files in
//! `tests/transcripts/` (`UPDATE=1` rewrites those that differ; read the diff).
//!
//! The files hold what was really printed. What differs from run to run is masked by [`MASKS`] when it is compared; and of
//! each command the words are compared, wherever they stand: a column may be wider because a time was longer, and of two
//! nodes that are equally full either may come first. What depends on how long things took (a drill's course, an
//! incident's) is kept to be read, and held against words that it has to have.
//!
//! That every line fits 80 columns and holds no colour is checked besides; but what an error says is one line, for
//! whoever looks for it with another program.

#![allow(
    clippy::disallowed_methods,
    reason = "the program under test lives in real time, and UPDATE is asked for"
)]

#[path = "support/stage.rs"]
mod stage;
mod support;

use regex::Regex;
use serde_json::Value;
use stage::Stage;
use std::path::Path;
use support::{run, wait_for};

/// What differs from run to run, and what it is compared as, in this order.
const MASKS: &[(&str, &str)] = &[
    (r"\b[0-9a-f]{64}\b", "HASH"),
    (r"\b[0-9a-f]{12}\b", "REVISION"),
    (r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?Z?", "MOMENT"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?", "MOMENT"),
    (r"\b1[0-9]{12}\b", "MOMENT"),
    (r"\b127(\.\d+){3}:\d+", "ADDRESS"),
    // Alone or with a unit, and not within a name.
    (r"(^|[\s(])[+-]?\d[\d.]*(ms|s|m|h|d|%)?", "${1}N"),
];
/// Of a screen.
const WIDTH: usize = 80;
/// Begins each command in a file.
const PROMPT: &str = "$ rhumb ";

/// Commands and what they print, one after another.
struct Transcript {
    admin: String,
    state: String,
    /// Above the folders of policies and state.
    root: String,
    text: String,
    commands: usize,
    /// Commands whose text is not compared, by number.
    loose: Vec<usize>,
    /// Lines that no screen of 80 columns shows in one.
    wide: Vec<String>,
}

impl Transcript {
    fn of(stage: &Stage) -> Self {
        let root = stage.folder.root.path().to_str().expect("UTF-8").to_owned();
        let (admin, state) = (stage.admin.to_string(), stage.folder.state());
        let (text, loose, wide) = (String::new(), Vec::new(), Vec::new());
        Self { admin, state, root, text, commands: 0, loose, wide }
    }

    /// A command of the running rhumb's operator.
    fn admin(&mut self, args: &[&str]) {
        self.note(args, run(&[args, &["--admin", &self.admin]].concat()));
    }

    /// The same, of which only these words are the same each time.
    fn loosely(&mut self, args: &[&str], words: &[&str]) {
        self.loose.push(self.commands);
        let before = self.text.len();
        self.admin(args);
        let told = self.text[before..].split_whitespace().collect::<Vec<_>>().join(" ");
        let missing: Vec<_> = words.iter().filter(|word| !told.contains(**word)).collect();
        assert!(missing.is_empty(), "{missing:?} missing:\n{}", &self.text[before..]);
    }

    /// A command on the state folder.
    fn state(&mut self, args: &[&str]) {
        self.note(args, run(&[args, &["--state", &self.state]].concat()));
    }

    fn note(&mut self, args: &[&str], (code, out, err): (i32, String, String)) {
        let printed = out + &err;
        assert!(!printed.contains('\u{1b}'), "colours where there is no terminal: {printed}");
        let is_document = args.contains(&"md");
        let is_error = |line: &&str| ["rhumb: ", "error: "].iter().any(|lead| line.starts_with(lead));
        let shown = printed.replace(&self.root, "DIR");
        let shown = shown.lines().filter(|line| !is_document && !is_error(line));
        let wide = shown.filter(|line| line.chars().count() > WIDTH);
        self.wide.extend(wide.map(|line| format!("{args:?}: {line}")));
        let quoted = |word: &&str| match word.contains([' ', '*']) {
            true => format!("'{word}'"),
            false => (*word).to_owned(),
        };
        let called: Vec<String> = args.iter().map(quoted).collect();
        // Neither folders that are gone nor secrets, even dead ones, are for a file that is kept.
        let text = format!("{PROMPT}{}\n{printed}", called.join(" ")).replace(&self.root, "DIR");
        let text = match args {
            ["token", "create", ..] => ascii(r"\b[0-9a-f]{64}\b").replace_all(&text, "TOKEN").into_owned(),
            _ => text,
        };
        self.text.push_str(text.trim_end());
        self.text.push_str(&match code {
            0 => "\n\n".to_owned(),
            code => format!("\n[exit:{code}]\n\n"),
        });
        self.commands += 1;
    }

    /// Compares with the file of this name.
    fn end(self, name: &str) {
        assert!(self.wide.is_empty(), "wider than {WIDTH} columns:\n{}", self.wide.join("\n"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let (was, is) = (self.words(&kept), self.words(&self.text));
        if was == is {
            return;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
            std::fs::write(&path, &self.text).expect("writes");
            return;
        }
        let differing = was.iter().zip(&is).find(|(was, is)| was != is);
        let lines = similar::TextDiff::from_lines(&kept, &self.text);
        let diff = lines.unified_diff().context_radius(3).to_string();
        panic!("{name} differs; read, then UPDATE=1:\n{diff}what differs first: {differing:?}");
    }

    /// By command, what is compared of a text.
    fn words(&self, text: &str) -> Vec<Vec<String>> {
        // As whoever recorded it was called, or whoever runs this is.
        let user = ascii(&format!(r"\b({}|root)\b", user()));
        let masks: Vec<(Regex, &str)> = MASKS.iter().map(|(pattern, mask)| (ascii(pattern), *mask)).collect();
        let masked = |text: &str| {
            let named = user.replace_all(text, "USER").into_owned();
            let mask = |text: String, it: &(Regex, &str)| it.0.replace_all(&text, it.1).into_owned();
            masks.iter().fold(named, mask)
        };
        let of = |(at, command): (usize, &str)| {
            let (called, printed) = command.split_once('\n').unwrap_or((command, ""));
            let printed = if self.loose.contains(&at) { "" } else { printed };
            let mut words: Vec<String> = masked(printed).split_whitespace().map(str::to_owned).collect();
            words.sort_unstable();
            words.insert(0, masked(called));
            words
        };
        text.split(PROMPT).skip(1).enumerate().map(of).collect()
    }
}

/// A pattern of which `\d` and `\b` are those of ASCII.
fn ascii(pattern: &str) -> Regex {
    Regex::new(&format!("(?-u){pattern}")).expect("a pattern")
}

/// Who runs this, as the local socket knows.
fn user() -> String {
    let uid = std::fs::read_to_string("/proc/self/status").expect("readable");
    let uid = uid.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line of it");
    let uid = uid.split_whitespace().next().expect("a number").to_owned();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut rows = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = rows.find(|row| row.get(2) == Some(&uid.as_str())).map(|row| row[0].to_owned());
    name.unwrap_or(uid)
}

fn service(demand: u64) -> String {
    format!(
        "version: 1
title: Live streams
hostnames: [live.example.test]
tier: 15m
ttl: 5
demand: {demand}
pools:
  all: {{ select: {{ role: edge }}, method: weights }}
chains:
  - pools: [all]
slo: {{ availability: 99.9% }}
runbook: runbooks/live.md
"
    )
}

const SAFETY: &str = "version: 1
guardrails: { moved: 20% }
rules:
  both-continents: { at_least: { count: 2, of: region }, runbook: runbooks/continents.md }
";

/// What the files below name.
const RUNBOOKS: [(&str, &str); 3] = [
    ("runbooks/live.md", "# Live\n"),
    ("runbooks/continents.md", "# Continents\n"),
    ("runbooks/fra.md", "# Frankfurt\n"),
];

fn staged(files: &[(&str, &str)]) -> Stage {
    Stage::with(&[files, &RUNBOOKS].concat())
}

/// A folder beside the policies, with one file otherwise.
fn proposal(stage: &Stage, name: &str, path: &str, text: &str) -> String {
    let folder = stage.folder.root.path().join(name);
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&stage.folder.path(""), &folder])
        .status()
        .expect("cp runs");
    assert!(copied.success());
    std::fs::write(folder.join(path), text).expect("writes");
    folder.to_str().expect("UTF-8").to_owned()
}

#[test]
fn policies_planned_applied_and_rolled_back() {
    let stage = staged(&[("services/live.yaml", &service(120)), ("safety.yaml", SAFETY)]);
    let _rhumb = stage.serve_all_up();
    stage.wait_all_used();
    let near = proposal(&stage, "near", "services/live.yaml", &service(150));
    let broken =
        proposal(&stage, "broken", "services/live.yaml", &service(150).replace("tier: 15m", "tier: 15"));
    let far = proposal(
        &stage,
        "far",
        "services/live.yaml",
        &service(120).replace("select: { role: edge }", "members: [tyo-1, tyo-2]"),
    );
    let mut script = Transcript::of(&stage);
    script.admin(&["history"]);
    script.admin(&["plan", &near]);
    script.admin(&["apply", &near, "--why", "ticket 4711: more is asked for"]);
    script.admin(&["plan", &near]);
    script.admin(&["history"]);
    let first = stage.json(&["history"]).1[1]["revision"].as_str().expect("a revision").to_owned();
    script.admin(&["diff", &first]);
    script.admin(&["rollback", &first, "--why", "it was less after all"]);
    script.admin(&["history"]);
    script.admin(&["plan", &broken]);
    script.admin(&["apply", &broken, "--why", "a typing error"]);
    script.admin(&["plan", &far]);
    script.admin(&["apply", &far, "--why", "tyo is cheaper"]);
    script.admin(&["rollback", "ffffff", "--why", "there is none"]);
    script.end("policies.txt");
}

#[test]
fn nodes_drained_forced_and_given_back() {
    let stage = staged(&[("services/live.yaml", &service(120)), ("safety.yaml", SAFETY)]);
    let _rhumb = stage.serve_all_up();
    stage.wait_all_used();
    let mut script = Transcript::of(&stage);
    let drain = ["drain", "node/*-2", "--for", "30m", "--reason", "CHG-7: new disks"];
    script.admin(&["overrides"]);
    script.admin(&[&drain[..], &["--dry-run"]].concat());
    script.admin(&drain);
    script.admin(&drain);
    script.admin(&["overrides"]);
    script.admin(&["overrides", "extend", "1", "--for", "2h"]);
    script.admin(&["undrain", "node/tyo-2"]);
    script.admin(&["undrain", "node/*-2", "--reason", "disks are in"]);
    script.admin(&["drain", "site/tio", "--for", "30m", "--reason", "power"]);
    script.admin(&["drain", "site/tyo", "--for", "30m", "--reason", "power"]);
    let fire = ["--break-glass", "both-continents,capacity"];
    script.admin(&[&["force-down", "site/tyo", "--for", "10m", "--reason", "fire"], &fire[..]].concat());
    script.admin(&["force-up", "tyo-1", "--for", "10m", "--reason", "the probe is wrong"]);
    script.admin(&["overrides", "cancel", "2", "--reason", "out again"]);
    script.admin(&["overrides", "cancel", "2"]);
    script.end("overrides.txt");
}

#[test]
fn losses_and_events_told_beforehand() {
    let event = "version: 1
title: The final
from: 2099-06-01T18:00:00Z
until: 2099-06-01T21:00:00Z
expect: { factor: 2 }
ttl: 5
";
    let stage = staged(&[("services/live.yaml", &service(80)), ("events/final.yaml", event)]);
    let _rhumb = stage.serve_all_up();
    stage.wait_all_used();
    let mut script = Transcript::of(&stage);
    script.admin(&["readiness"]);
    script.admin(&["readiness", "--factor", "2"]);
    script.admin(&["readiness", "--event", "final"]);
    script.admin(&["readiness", "--event", "fnal"]);
    script.admin(&["events"]);
    script.admin(&["events", "7"]);
    script.end("readiness.txt");
}

#[test]
fn operators_let_in_recorded_and_backed_up() {
    let stage = staged(&[("services/live.yaml", &service(120))]);
    let mut rhumb = stage.serve_all_up();
    stage.wait_all_used();
    let mut script = Transcript::of(&stage);
    script.admin(&["token", "list"]);
    script.admin(&["token", "create", "vera", "--role", "viewer", "--for", "720h"]);
    script.admin(&["token", "create", "vera", "--role", "viewer"]);
    script.admin(&["token", "create", "olga", "--role", "boss"]);
    script.admin(&["token", "list"]);
    script.admin(&["drain", "tyo-2", "--for", "30m", "--reason", "CHG-7: new disks"]);
    script.admin(&["token", "revoke", "vera"]);
    script.admin(&["token", "revoke", "vera"]);
    // What of it fits hangs on how long names and numbers are.
    let done = ["POST /tokens", "1: done (200)", "refused (409)", "POST /overrides", "DELETE /tokens/vera"];
    script.loosely(&["audit", "show"], &done);
    script.state(&["audit", "verify"]);
    let file = stage.folder.root.path().join("monday").to_str().expect("UTF-8").to_owned();
    script.state(&["backup", &file]);
    script.state(&["restore", &file, "--replace"]);
    assert_eq!(rhumb.terminate(), Some(0));
    script.state(&["restore", &file]);
    script.state(&["restore", &file, "--replace"]);
    script.admin(&["status"]);
    script.end("operators.txt");
}

#[test]
fn a_drill_planned_run_and_shown() {
    let drill = "version: 1
title: Lose the site of Frankfurt
targets: site/fra
hold: 6s
watch: 1s
clients: 50
guardrails: { failed_answers: 100% }
tier: 5m
runbook: runbooks/fra.md
";
    let stage = staged(&[("services/live.yaml", &service(120)), ("drills/lose-fra.yaml", drill)]);
    let _rhumb = stage.serve_all_up();
    stage.wait_all_used();
    let mut script = Transcript::of(&stage);
    script.admin(&["drill", "list"]);
    script.admin(&["drill", "plan", "lose-fra"]);
    script.admin(&["drill", "run", "loose-fra", "--yes"]);
    script.admin(&["drill", "run", "lose-fra"]);
    let course = ["injected", "first good answer", "restored", "recovery time: 99 % behind caches (5m)"];
    script.loosely(&["drill", "run", "lose-fra", "--yes"], &course);
    script.loosely(
        &["drill", "list"],
        &["run drill begun (UTC) predicted recovered tier failed", "1 lose-fra"],
    );
    script.loosely(&["drill", "show", "1"], &course);
    script.loosely(&["drill", "show", "1", "--format", "md"], &["# Drill 1", "runbooks/fra.md"]);
    script.admin(&["drill", "abort"]);
    script.end("drill.txt");
}

#[test]
fn an_incident_while_it_is_open_and_after_it() {
    const ALERTS: &str = "version: 1\nresolve_after: 1s\nincidents: { close_after: 1s }\n";
    let mut stage = staged(&[("services/live.yaml", &service(264)), ("alerts.yaml", ALERTS)]);
    let _rhumb = stage.serve_all_up();
    stage.wait_all_used();
    let mut script = Transcript::of(&stage);
    script.admin(&["incidents"]);
    script.admin(&["incident", "show", "1"]);
    stage.nodes[1] = None;
    let wait = |stage: &Stage, what: &str, is_so: &dyn Fn(&Value) -> bool| {
        wait_for(what, || is_so(&stage.json(&["incidents", "--all"]).1[0]).then_some(()));
    };
    wait(&stage, "the answer restored", &|it| it["answer_ms"].is_u64());
    let told = [
        "incident 1, ",
        "node tyo-2: down",
        "of clients were on what is lost",
        "likeliest cause: node tyo-2: the other node of site tyo is well",
        "runbook: runbooks/live.md",
    ];
    script.loosely(&["incidents"], &told);
    stage.nodes[1] = Some(stage.node_at(1));
    wait(&stage, "its end", &|it| it["phase"] == "closed");
    script.admin(&["incidents"]);
    script.loosely(&["incidents", "--all"], &told);
    let course =
        ["the first observation that failed", "published: evacuation of tyo-2", "full quality restored"];
    script.loosely(&["incident", "show", "1"], &[&told[..], &course].concat());
    script.loosely(&["incident", "show", "1", "--format", "md"], &["## Timeline", "## Evidence"]);
    script.loosely(&["slo"], &["OBJECTIVE AVAILABLE DOWN SPENT INCIDENTS RTO MTTR", "tier 15m: 1 incident"]);
    script.end("incidents.txt");
}
