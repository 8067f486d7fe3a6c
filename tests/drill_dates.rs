//! Drills that come by themselves: begun on their dates, held back with the reason, waiting for a word, missed while
//! rhumb was off; and none of it twice when it is killed.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

mod support;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Folder, Rhumb, free_port, run, wait_for};

/// Without probes, and so up. Of 100 units each, of which 90 may be planned.
const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
defaults:
  capacity: { unit: mbps, amount: 100, cap: 90% }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.23.1], labels: { role: edge } }
  tyo-2: { site: tyo, addresses: [127.1.23.2], labels: { role: edge } }
  fra-1: { site: fra, addresses: [127.1.23.3], labels: { role: edge } }
";
const SERVICE: &str = "version: 1
hostnames: [live.example.test]
tier: 15m
ttl: 5
demand: 120
pools:
  all: { select: { role: edge }, method: weights }
chains:
  - pools: [all]
";
const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A drill whose weekly date was so long ago.
fn drill(targets: &str, hold: &str, ago_s: u64, rest: &str) -> String {
    let at = now_s() - ago_s;
    // 1970-01-01 was a Thursday.
    let day = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][(at / 86_400 % 7) as usize];
    let (hour, minute) = (at / 3_600 % 24, at / 60 % 60);
    format!(
        "version: 1\ntargets: {targets}\nhold: {hold}\nwatch: 2s\nclients: 100\ntier: 5m\n\
         schedule: {{every: weekly, on: {day}, at: \"{hour:02}:{minute:02}\"{rest}}}\n"
    )
}

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new(drills: &[(&str, String)]) -> Self {
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::with(&[
            ("fleet.yaml", FLEET),
            ("services/live.yaml", SERVICE),
            ("zones/example.test.zone", ZONE),
        ]);
        for (name, text) in drills {
            folder.write(&format!("drills/{name}.yaml"), text);
        }
        folder.write_server("");
        Self { folder, dns: local(), admin: local() }
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    /// Exit code and what is printed, both streams.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let admin = self.admin.to_string();
        let (code, out, err) = run(&[args, &["--admin", &admin]].concat());
        (code, out + &err)
    }

    fn json(&self, args: &[&str]) -> Value {
        let admin = self.admin.to_string();
        let (_, out, _) = run(&[args, &["--admin", &admin, "--format", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_default()
    }

    /// The dates of a drill on record.
    fn dates(&self, drill: &str) -> Vec<Value> {
        let listed = self.json(&["drill", "list"]);
        let dates = listed["dates"].as_array().cloned().unwrap_or_default();
        dates.into_iter().filter(|date| date["drill"] == drill).collect()
    }

    /// Its only date, once it is as wanted.
    fn wait_date(&self, drill: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{drill}: {what}"), || {
            let dates = self.dates(drill);
            assert!(dates.len() <= 1, "{dates:#?}");
            dates.first().filter(|date| is_so(date)).cloned()
        })
    }

    fn report(&self, id: u64) -> Value {
        self.json(&["drill", "show", &id.to_string()])
    }

    fn wait_phase(&self, id: u64, phase: &str) {
        wait_for(phase, || (self.report(id)["phase"] == phase).then_some(()));
    }

    /// Has a rhumb that is off believe that it looked at the calendar last so long ago.
    fn look_back(&self, ago_s: u64) {
        let database = self.database().expect("opens");
        let kept = "SELECT document FROM records WHERE kind = 'drill-calendar'";
        let document: String = database.query_row(kept, [], |row| row.get(0)).expect("one record");
        let mut document: Value = serde_json::from_str(&document).expect("JSON");
        document["looked"] = ((now_s() - ago_s) * 1_000).into();
        let changed = database
            .execute("UPDATE records SET document = ?1 WHERE kind = 'drill-calendar'", [document.to_string()])
            .expect("writes");
        assert_eq!(changed, 1, "the calendar is one record");
    }

    /// `None`: rhumb has not made it yet.
    fn database(&self) -> Option<Connection> {
        let path = format!("{}/history.db", self.folder.state());
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
        database.busy_timeout(Duration::from_secs(20)).expect("waits");
        Some(database)
    }

    fn has_looked(&self) -> bool {
        let Some(database) = self.database() else { return false };
        let count = "SELECT count(*) FROM records WHERE kind = 'drill-calendar'";
        database.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap_or(0) == 1
    }
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

fn run_of(date: &Value) -> u64 {
    date["run"].as_u64().unwrap_or_else(|| panic!("a run: {date:#}"))
}

#[test]
fn dates_are_begun_held_back_confirmed_or_missed_and_none_twice() {
    let world = World::new(&[
        // 120 units, and 90 of them fit on the node that is left. It is tried before the next one.
        ("lose-tyo", drill("site/tyo", "5s", 7 * MINUTE, ", confirm: false")),
        ("lose-fra", drill("site/fra", "2h", 5 * MINUTE, ", confirm: false")),
        ("ask-fra", drill("site/fra", "5s", 4 * MINUTE, "")),
        ("late", drill("site/fra", "5s", 3 * HOUR, ", confirm: false")),
    ]);
    let mut rhumb = world.serve();
    wait_for("a look at the calendar", || world.has_looked().then_some(()));
    let (code, said) = world.run(&["drill", "list"]);
    assert!(
        code == 0 && said.contains("with a word: every ") && said.contains("by itself: every "),
        "{said}"
    );
    fits(&said);
    assert_eq!(world.json(&["drill", "list"])["dates"], Value::Array(Vec::new()), "what is past is past");
    let (code, said) = world.run(&["drill", "confirm", "ask-fra"]);
    assert!(code == 1 && said.contains("waits for nobody's word: its next date is"), "{said}");
    let (code, said) = world.run(&["drill", "confirm", "ask-far"]);
    assert!(code == 1 && said.contains("did you mean `ask-fra`?"), "{said}");
    assert_eq!(rhumb.terminate(), Some(0));

    // Off for a day.
    world.look_back(24 * HOUR);
    let mut rhumb = world.serve();
    let begun = world.wait_date("lose-fra", "begun", |date| date["state"] == "begun");
    let id = run_of(&begun);
    let report = world.report(id);
    assert_eq!((&report["by"], &report["due_at"]), (&"schedule".into(), &begun["due_at"]), "{report:#}");
    let held = world.wait_date("lose-tyo", "tried", |date| date["tries"] == 1);
    let why = held["why"].as_str().expect("a reason");
    assert!(held["state"] == "waiting" && why.contains("rule `capacity`"), "{held:#}");
    let late = world.wait_date("late", "missed", |date| date["state"] == "missed");
    assert_eq!(late["why"], "rhumb did not run in time");
    world.wait_date("ask-fra", "waiting", |date| date["state"] == "waiting" && date["tries"] == 0);
    the_waiting_is_told(&world);
    let (_, audit) = world.run(&["audit", "show"]);
    assert!(audit.contains("schedule"), "{audit}");

    // A word while another one runs is refused, and the date goes on waiting.
    let (code, said) = world.run(&["drill", "confirm", "ask-fra"]);
    assert!(code == 1 && said.contains(&format!("drill {id} (lose-fra) is running")), "{said}");

    // Killed in the middle, and believing that the calendar was last looked at before all of it.
    world.wait_phase(id, "holding");
    rhumb.kill();
    world.look_back(24 * HOUR);
    let mut rhumb = world.serve();
    wait_for("the end of the run", || (world.report(id)["ending"]["kind"] == "crashed").then_some(()));
    // Its exit code is its verdict, and after the other one there may be nobody to lose yet.
    let (_, said) = world.run(&["drill", "confirm", "ask-fra"]);
    assert!(said.contains("completed as planned"), "{said}");
    let confirmed = world.wait_date("ask-fra", "begun", |date| date["state"] == "begun");
    let report = world.report(run_of(&confirmed));
    assert_eq!((&report["due_at"], &report["ending"]["kind"]), (&confirmed["due_at"], &"completed".into()));
    assert_ne!(report["by"], "schedule");
    let again = world.wait_date("lose-fra", "once", |date| date["state"] == "begun");
    assert_eq!(run_of(&again), id, "begun once");
    assert_eq!(world.dates("late").len(), 1);
    let (_, said) = world.run(&["drill", "list"]);
    fits(&said);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("missed: rhumb did not run in time") && said.contains("rule `capacity`"), "{said}");
    let problems = world.json(&["status"])["problems"].clone();
    assert!(!problems.to_string().contains("drill-waiting"), "{problems:#}");
    assert_eq!(rhumb.terminate(), Some(0));
}

fn the_waiting_is_told(world: &World) {
    let problem = wait_for("the problem", || {
        let status = world.json(&["status"]);
        let problems = status["problems"].as_array()?.clone();
        problems.into_iter().find(|problem| problem["code"] == "drill-waiting")
    });
    let message = problem["message"].as_str().expect("a sentence");
    assert!(message.starts_with("drill ask-fra was due at ") && message.contains("until"), "{message}");
    assert!(problem["help"].as_str().is_some_and(|help| help.contains("rhumb drill confirm ask-fra")));
    let (_, said) = world.run(&["drill", "list"]);
    fits(&said);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("waits for `rhumb drill confirm ask-fra`"), "{said}");
}
