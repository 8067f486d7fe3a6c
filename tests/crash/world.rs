//! A small fleet, two policies for it, and what has to be so after each start.

use crate::support::{Folder, Rhumb, ask, free_port, request, run, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

const A: u16 = 1;
const JAPAN: &str = "198.51.0.0/24";

/// Nobody probes them, so that they are up from the start. Operators have their words on those of tyo, drills on two
/// of fra, and the last one is always left.
const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites: { tyo: { region: ea }, fra: { region: eu } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.21.1] }
  tyo-2: { site: tyo, addresses: [127.1.21.2] }
  tyo-3: { site: tyo, addresses: [127.1.21.3] }
  fra-1: { site: fra, addresses: [127.1.21.4] }
  fra-2: { site: fra, addresses: [127.1.21.5] }
  fra-3: { site: fra, addresses: [127.1.21.6] }
";
const NODES: [&str; 6] = ["tyo-1", "tyo-2", "tyo-3", "fra-1", "fra-2", "fra-3"];
/// On the first nodes, one each.
pub const MOST_OVERRIDES: usize = 3;
const SERVICE: &str = "version: 1
hostnames: live.example.test
ttl: 5
pools: { all: { members: [tyo-1, tyo-2, tyo-3, fra-1, fra-2, fra-3] } }
chains: [{ pools: all }]
";
/// Its ramp leaves room between its two overrides.
const DRILL: &str = "version: 1
targets: [node/fra-1, node/fra-2]
ramp: 200ms
hold: 2h
watch: 1s
clients: 10
guardrails: { others_down: 1000, failed_answers: 100% }
tier: 5m
";
const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";
/// What `www` is by each policy.
const WWW: [&str; 2] = ["192.0.2.10", "192.0.2.20"];
const ZONE_FILE: &str = "zones/example.test.zone";
/// The second policy has it, and the first has not.
const MORE_FILE: &str = "zones/more.test.zone";

/// By number: target, and when it ends.
pub type Overrides = BTreeMap<u64, (String, u64)>;

/// Something asked for, whose answer never came: it was done or it was not.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsure {
    Nothing,
    Policy,
    Set { target: String },
    Extend { id: u64 },
    Cancel { id: u64 },
}

/// See the module.
pub struct World {
    folder: Folder,
    dns: SocketAddr,
    pub admin: SocketAddr,
    /// Which of the two policies is in force.
    pub policy: usize,
    /// As the history names them, once it does.
    pub revisions: [Option<String>; 2],
    pub overrides: Overrides,
    /// Everything the history held, the newest first.
    history: Vec<Value>,
}

impl World {
    pub fn new() -> Self {
        let folder = Folder::with(&[]);
        folder.write_server("");
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (overrides, history) = (Overrides::new(), Vec::new());
        let (revisions, policy) = ([None, None], 0);
        let world = Self { folder, dns: local(), admin: local(), policy, revisions, overrides, history };
        for (path, text) in world.files(0) {
            world.folder.write(&path, &text);
        }
        world
    }

    pub fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    /// The same, and nobody waits until it serves.
    pub fn begin_to_serve(&self) -> Rhumb {
        self.folder.spawn(self.dns, self.admin, &[])
    }

    /// All files of a policy.
    pub fn files(&self, policy: usize) -> Vec<(String, String)> {
        let server = std::fs::read_to_string(self.folder.path("rhumb.yaml")).expect("it is there");
        let zone = ZONE.replace(WWW[0], WWW[policy]);
        let mut files = vec![
            ("rhumb.yaml", server),
            ("fleet.yaml", FLEET.to_owned()),
            ("services/live.yaml", SERVICE.to_owned()),
            ("drills/two.yaml", DRILL.to_owned()),
            (ZONE_FILE, zone),
        ];
        files.extend((policy == 1).then(|| (MORE_FILE, ZONE.to_owned())));
        files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect()
    }

    /// Nodes that an override may be on, and that have none.
    pub fn free_targets(&self) -> Vec<String> {
        let targets = NODES[..MOST_OVERRIDES].iter().map(|node| format!("node/{node}"));
        targets.filter(|target| !self.overrides.values().any(|(held, _)| held == target)).collect()
    }

    /// What is told of a path once it can be.
    pub fn told(&self, path: &str) -> Value {
        wait_for(path, || {
            let (code, told) = answer(self.admin, "GET", path, &Value::Null)?;
            (code == 200).then_some(told)
        })
    }

    /// Looks at everything, after a start; `unsure` is what was going on when the last process was killed.
    pub fn check(&mut self, unsure: &Unsure) {
        self.no_drill_goes_on();
        self.overrides_are_as_told(unsure);
        self.policy_is_whole(*unsure == Unsure::Policy);
        self.history_is_whole();
        self.state_is_whole();
        self.clients_are_answered();
    }

    /// Of a drill that was killed nothing is left but its record, which says so.
    fn no_drill_goes_on(&self) {
        wait_for("all drills to be over", || {
            let told = self.told("/drills?most=1000");
            let runs = told["runs"].as_array().expect("a list");
            (told["running"].is_null() && runs.iter().all(|run| run["phase"] == "over")).then_some(())
        });
        wait_for("no override of a drill", || (self.in_force().len() == self.all().len()).then_some(()));
    }

    fn all(&self) -> Vec<Value> {
        self.told("/overrides").as_array().expect("a list").clone()
    }

    /// Overrides but those of drills.
    fn in_force(&self) -> Overrides {
        let all = self.all();
        let own = all.iter().filter(|it| !it["owner"].as_str().expect("an owner").starts_with("drill "));
        own.map(described).collect()
    }

    fn overrides_are_as_told(&mut self, unsure: &Unsure) {
        let actual = self.in_force();
        let (mut found, mut expected) = (actual.clone(), self.overrides.clone());
        match unsure {
            Unsure::Nothing | Unsure::Policy => {}
            Unsure::Set { target } => {
                found.retain(|id, (of, _)| of != target || expected.contains_key(id));
            }
            Unsure::Extend { id } => {
                let (was, now) = (expected[id].1, found.get(id).expect("it was not cancelled").1);
                assert!(now >= was, "an end that was put off came nearer: {was} {now}");
                found.insert(*id, expected[id].clone());
            }
            Unsure::Cancel { id } => {
                found.remove(id);
                expected.remove(id);
            }
        }
        assert_eq!(found, expected, "overrides, where it is not sure of {unsure:?}");
        self.overrides = actual;
    }

    fn policy_is_whole(&mut self, may_be_other: bool) {
        let zone = std::fs::read_to_string(self.folder.path(ZONE_FILE)).expect("readable");
        let at = WWW.iter().position(|address| zone.contains(address)).expect("one of the two");
        assert!(
            at == self.policy || may_be_other,
            "what was acknowledged is gone, or what nobody wanted came"
        );
        self.policy = at;
        for (path, text) in self.files(at) {
            let is = std::fs::read_to_string(self.folder.path(&path)).unwrap_or_default();
            assert_eq!(is, text, "{path}: some files of each policy");
        }
        assert_eq!(self.folder.path(MORE_FILE).exists(), at == 1, "some files of each policy");
        let zones = std::fs::read_dir(self.folder.path("zones")).expect("a folder");
        let beside =
            zones.filter(|it| it.as_ref().is_ok_and(|it| it.file_name().to_string_lossy().starts_with('.')));
        assert!(beside.count() <= 1, "what was written beside a file is written over the next time");
        let files = self.files(at).into_iter().collect::<BTreeSet<_>>();
        wait_for("the folder to be in force", || {
            let told = self.told("/policy");
            let in_force: BTreeSet<(String, String)> =
                serde_json::from_value(told["files"].clone()).expect("files");
            (in_force == files).then_some(())
        });
    }

    /// What was in the history still is, below what came since, and its first line is what is in force.
    fn history_is_whole(&mut self) {
        let (former, revision) =
            (std::mem::take(&mut self.history), self.told("/policy")["revision"].clone());
        self.history = wait_for("the history to tell what is in force", || {
            let told = self.told("/history?most=1000").as_array().expect("a list").clone();
            (told.first()?["revision"] == revision).then_some(told)
        });
        assert!(self.history.ends_with(&former), "{:#?}\nwas\n{former:#?}", self.history);
        let name = revision.as_str().expect("a name").to_owned();
        let kept = self.told(&format!("/history/{name}"));
        assert!(kept.to_string().contains(WWW[self.policy]), "its files are kept: {kept:#}");
        self.revisions[self.policy] = Some(name);
    }

    /// Whether the history says that something was done for this reason.
    pub fn history_tells(&self, why: &str) -> bool {
        self.told("/history?most=1000").as_array().expect("a list").iter().any(|it| it["why"] == why)
    }

    fn state_is_whole(&self) {
        let state = self.folder.state();
        let (code, told, error) = run(&["audit", "verify", "--state", &state]);
        assert!(code == 0 || error.contains("nobody has done anything"), "{told}{error}");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let history =
            Connection::open_with_flags(Path::new(&state).join("history.db"), flags).expect("opens");
        let sound: String =
            history.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
        assert_eq!(sound, "ok");
        let strays = history.prepare("PRAGMA foreign_key_check").expect("a statement").exists([]);
        assert_eq!(strays, Ok(false), "rows that refer to nothing");
        let entries = std::fs::read_dir(&state).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let damaged: Vec<String> = names.filter(|name| name.contains("damaged")).collect();
        assert!(damaged.is_empty(), "put aside as damaged: {damaged:?}");
    }

    fn clients_are_answered(&self) {
        let www: IpAddr = WWW[self.policy].parse().expect("an address");
        wait_for("www as the policy has it", || {
            let reply = ask(self.dns, "www.example.test", A, JAPAN)?;
            (reply.addresses == [www]).then_some(())
        });
        let withdrawn: BTreeSet<&str> =
            self.overrides.values().filter_map(|(target, _)| target.strip_prefix("node/")).collect();
        for at in 0..16 {
            let subnet = format!("198.51.{at}.0/24");
            let reply = wait_for("an answer", || ask(self.dns, "live.example.test", A, &subnet));
            let node = |address: &IpAddr| match address {
                IpAddr::V4(v4) => NODES[usize::from(v4.octets()[3]) - 1],
                IpAddr::V6(_) => panic!("{address} is no node's"),
            };
            let named: Vec<&str> = reply.addresses.iter().map(node).collect();
            assert!(!named.is_empty() && named.iter().all(|node| !withdrawn.contains(node)), "{named:?}");
        }
    }
}

/// Number, target and end of an override.
pub fn described(it: &Value) -> (u64, (String, u64)) {
    let text = it["target"].as_str().expect("a target").to_owned();
    (it["id"].as_u64().expect("a number"), (text, it["expires_at"].as_u64().expect("a moment")))
}

/// What the admin address answers: status code and document. `None`: it went away before it had said everything.
pub fn answer(admin: SocketAddr, method: &str, path: &str, document: &Value) -> Option<(u16, Value)> {
    let text = if document.is_null() { String::new() } else { document.to_string() };
    let answer = request(admin, method, path, &text).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, serde_json::from_str(body).ok()?))
}
