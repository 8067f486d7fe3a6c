//! Policies applied, looked back at and rolled back, as operators do it: the spawned binary.

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use support::{Folder, Rhumb, ask, free_port, run, wait_for};

const A: u16 = 1;
const JAPAN: &str = "192.0.2.0/24";
const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new() -> Self {
        let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
        folder.write_server("");
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { folder, dns: local(), admin: local() }
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    fn rhumb(&self, args: &[&str]) -> (i32, String, String) {
        run(&[args, &["--admin", &self.admin.to_string()]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, told, error) = self.rhumb(&[args, &["--format", "json"]].concat());
        assert_eq!(code, 0, "{args:?}: {error}");
        serde_json::from_str(&told).expect("JSON")
    }

    /// A folder of policies whose `www` has this address.
    fn proposal(&self, name: &str, address: &str) -> String {
        let folder = self.folder.root.path().join(name);
        std::fs::create_dir_all(folder.join("zones")).expect("creates");
        let zone = ZONE.replace("192.0.2.10", address);
        std::fs::write(folder.join("zones/example.test.zone"), zone).expect("writes");
        std::fs::copy(self.folder.path("rhumb.yaml"), folder.join("rhumb.yaml")).expect("copies");
        folder.to_str().expect("UTF-8").to_owned()
    }

    fn zone_file(&self) -> PathBuf {
        self.folder.path("zones/example.test.zone")
    }

    fn wait_www(&self, address: &str) {
        wait_for(&format!("www to be {address}"), || {
            let reply = ask(self.dns, "www.example.test", A, JAPAN)?;
            reply.addresses.contains(&address.parse().expect("an address")).then_some(())
        });
    }

    /// Revision, how and why of each, the newest first.
    fn history(&self) -> Vec<[String; 3]> {
        let listed = self.json(&["history"]);
        let text = |it: &Value, key: &str| it[key].as_str().expect("text").to_owned();
        let all = listed.as_array().expect("a list").iter();
        all.map(|it| ["revision", "how", "why"].map(|key| text(it, key))).collect()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}

#[test]
fn apply_history_diff_and_rollback_go_round_also_over_a_crash() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_www("192.0.2.10");
    let next = world.proposal("next", "192.0.2.20");
    let (code, told, error) = world.rhumb(&["apply", &next, "--why", "www moves"]);
    assert!(code == 0 && told.contains("edited   zones/example.test.zone"), "{told}{error}");
    assert!(told.contains("back: rhumb rollback "), "{told}");
    world.wait_www("192.0.2.20");
    assert!(read(&world.zone_file()).contains("192.0.2.20"), "the folder holds what is in force");
    let (code, told, _) = world.rhumb(&["apply", &next, "--why", "again"]);
    assert!(code == 0 && told.contains("is in force already"), "{told}");
    rhumb.kill();
    let mut rhumb = world.serve();
    world.wait_www("192.0.2.20");
    let history = world.history();
    let told: Vec<_> = history.iter().map(|[_, how, why]| (how.as_str(), why.as_str())).collect();
    assert_eq!(told, [("apply", "www moves"), ("start", "found in the folder at a start")]);
    let first = &history[1][0];
    let (code, diff, _) = world.rhumb(&["diff", first]);
    assert!(code == 1 && diff.contains("-www IN A 192.0.2.10\n+www IN A 192.0.2.20\n"), "{diff}");
    let (code, told, error) = world.rhumb(&["rollback", &first[..6], "--why", "it was fine"]);
    assert!(code == 0 && told.contains(&format!("{first} is in force")), "{told}{error}");
    world.wait_www("192.0.2.10");
    assert_eq!(world.history()[0][1], "rollback");
    let (_, shown, _) = world.rhumb(&["audit", "show"]);
    assert!(shown.contains("POST /rollback") && shown.contains("it was fine"), "{shown}");
    // Editing in place still works, and is told too.
    std::fs::write(world.zone_file(), ZONE.replace("192.0.2.10", "192.0.2.30")).expect("writes");
    world.wait_www("192.0.2.30");
    wait_for("the edit in the history", || (world.history()[0][1] == "edit").then_some(()));
    assert_eq!(world.history().len(), 4);
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn what_cannot_come_into_force_changes_nothing_and_says_why() {
    let world = World::new();
    let _rhumb = world.serve();
    world.wait_www("192.0.2.10");
    let next = world.proposal("next", "192.0.2.20");
    let cases = [
        (vec!["apply", "/nothing", "--why", "x"], 2, "there is no policy folder"),
        (vec!["apply", &next, "--why", " "], 1, "a reason is needed"),
        (vec!["apply", &next, "--why", "x", "--base", "0123456789ab"], 1, "and plan again"),
        (vec!["rollback", "ffffff", "--why", "x"], 1, "rhumb history"),
        (vec!["diff", "ffffff"], 1, "rhumb history"),
    ];
    for (args, expected, said) in cases {
        let (code, _, told) = world.rhumb(&args);
        assert!(code == expected && told.contains(said), "{args:?}: {code} {told}");
    }
    let broken = world.proposal("broken", "not an address");
    let (code, shown, told) = world.rhumb(&["apply", &broken, "--why", "x"]);
    assert!(
        code == 1 && told.contains("nothing was applied") && shown.contains("zones/example.test.zone:5"),
        "{shown}{told}"
    );
    // Past the check of the command line: the running one checks too.
    let viewer = serde_json::json!({ "files": [["zones/example.test.zone", "garbage"]], "why": "x" });
    let told = support::post(world.admin, "/policy", &viewer.to_string());
    assert!(told.starts_with("HTTP/1.1 422") && told.contains("mistakes"), "{told}");
    let outside = serde_json::json!({ "files": [["../escape.yaml", "version: 1\n"]], "why": "x" });
    let told = support::post(world.admin, "/policy", &outside.to_string());
    assert!(told.starts_with("HTTP/1.1 422"), "{told}");
    assert!(!world.folder.root.path().join("escape.yaml").exists());
    world.wait_www("192.0.2.10");
    assert_eq!((world.history().len(), read(&world.zone_file()).as_str()), (1, ZONE));
}

#[test]
fn edits_that_are_not_in_force_are_never_lost() {
    let world = World::new();
    let _rhumb = world.serve();
    world.wait_www("192.0.2.10");
    let broken = format!("{ZONE}broken IN A nothing\n");
    std::fs::write(world.zone_file(), &broken).expect("writes");
    let problems = || world.json_status()["problems"].to_string();
    wait_for("the edit to be refused", || problems().contains("policy-refused").then_some(()));
    let next = world.proposal("next", "192.0.2.20");
    let (code, _, told) = world.rhumb(&["apply", &next, "--why", "x"]);
    assert!(code == 1 && told.contains("zones/example.test.zone") && told.contains("--overwrite"), "{told}");
    assert_eq!(read(&world.zone_file()), broken);
    let (code, told, error) = world.rhumb(&["apply", &next, "--why", "x", "--overwrite"]);
    assert_eq!(code, 0, "{error}");
    world.wait_www("192.0.2.20");
    let aside = Path::new(&world.folder.state()).join("set-aside/1/zones/example.test.zone");
    assert!(told.contains("set-aside/1") && read(&aside) == broken, "{told}");
    wait_for("no problem", || (!problems().contains("policy-refused")).then_some(()));
}

impl World {
    fn json_status(&self) -> Value {
        let text = support::fetch(self.admin, "/status");
        serde_json::from_str(&text[text.find("\r\n\r\n").expect("a body") + 4..]).expect("JSON")
    }
}

#[test]
fn a_history_that_is_damaged_is_moved_aside_and_the_service_starts() {
    let world = World::new();
    let mut rhumb = world.serve();
    world.wait_www("192.0.2.10");
    wait_for("a history", || (world.history().len() == 1).then_some(()));
    rhumb.kill();
    let file = Path::new(&world.folder.state()).join("history.db");
    std::fs::write(&file, "no database").expect("writes");
    // What was not moved into the file yet would mend it.
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    let mut rhumb = world.serve();
    rhumb.wait_line("history.db.damaged");
    world.wait_www("192.0.2.10");
    wait_for("a history anew", || (world.history().len() == 1).then_some(()));
    assert!(world.json_status()["problems"].to_string().contains("history-damaged"));
}
