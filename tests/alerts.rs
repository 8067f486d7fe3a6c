//! Alerts as people get them: the spawned daemon, breakable nodes, receivers on loopback.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/lab.rs"]
mod fixture;
#[path = "alerts/receiver.rs"]
mod receiver;
mod support;

use fixture::Lab;
use receiver::{Manner, Receiver};
use rhumb::model::status::PROBLEM_CODES;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Folder, Rhumb, TestNode, fetch, free_port, run, wait_for};

/// Three sites of a region and one of another, a node each but for the last.
const NODES: [(&str, [u8; 4]); 5] = [
    ("tyo-1", [127, 1, 7, 1]),
    ("osa-1", [127, 1, 7, 2]),
    ("sel-1", [127, 1, 7, 3]),
    ("fra-1", [127, 1, 7, 4]),
    ("fra-2", [127, 1, 7, 5]),
];

fn fleet(port: u16) -> String {
    let rows: String = NODES
        .iter()
        .map(|(name, [a, b, c, d])| {
            format!("  {name}: {{ site: {}, addresses: [{a}.{b}.{c}.{d}] }}\n", &name[..3])
        })
        .collect();
    format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites: {{ tyo: {{ region: ea }}, osa: {{ region: ea }}, sel: {{ region: ea }}, fra: {{ region: eu }} }}
defaults:
  probes: [{{ kind: http, port: {port}, path: /health, class: fast, body: ok }}]
nodes:
{rows}"
    )
}

fn alerts(receivers: &[(&str, &Receiver)]) -> String {
    let rows: String = receivers
        .iter()
        .map(|(kind, receiver)| {
            format!("  to-{kind}: {{ {kind}: \"{}\", timeout: 1s }}\n", receiver.url(kind))
        })
        .collect();
    let rules = "rules:
  node-down: { summary: down, severity: { node: warning, region: critical }, when: { verdict: down } }
  policy-rejected: { severity: warning, when: { problem: [policy-refused] } }
";
    format!("version: 1\nresolve_after: 1s\nreceivers:\n{rows}{rules}")
}

struct World {
    folder: Folder,
    admin: SocketAddr,
    nodes: Vec<TestNode>,
}

impl World {
    /// `None`: the shipped rules, and nobody is told.
    fn new(alerts: Option<&str>) -> Self {
        let port = free_port();
        let folder = Folder::with(&[("fleet.yaml", &fleet(port))]);
        folder.write_server("");
        if let Some(alerts) = alerts {
            folder.write("alerts.yaml", alerts);
        }
        let nodes =
            NODES.iter().map(|(_, address)| TestNode::start(SocketAddr::from((*address, port)))).collect();
        Self { folder, admin: SocketAddr::from(([127, 0, 0, 1], free_port())), nodes }
    }

    /// Serves, and waits until every node is up.
    fn serve(&self) -> Rhumb {
        self.folder.serve(SocketAddr::from(([127, 0, 0, 1], free_port())), self.admin)
    }

    fn wait_all_up(&self) {
        wait_for("every node to be up", || {
            let status = self.status();
            let nodes = status["nodes"].as_array()?;
            nodes.iter().all(|node| node["families"][0]["verdict"] == "up").then_some(())
        });
    }

    fn status(&self) -> Value {
        let text = fetch(self.admin, "/status");
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    fn region(&mut self, is_up: bool) {
        for node in self.nodes.iter_mut().take(3) {
            match is_up {
                false => node.stop(),
                true => *node = TestNode::start(node.address),
            }
        }
    }
}

fn members(message: &Value) -> Vec<String> {
    let alerts = message["alerts"].as_array().expect("members");
    alerts.iter().map(|alert| alert["name"].as_str().expect("a name").to_owned()).collect()
}

/// Key and status of every message.
fn outline(messages: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    messages
        .iter()
        .map(|message| format!("{} {}", text(&message["group_key"]), text(&message["status"])))
        .collect()
}

#[test]
fn a_region_down_is_one_message_and_its_end_another() {
    let (hook, manager) = (Receiver::start(), Receiver::start());
    let mut world = World::new(Some(&alerts(&[("webhook", &hook), ("alertmanager", &manager)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    let first = hook.wait(1).remove(0);
    assert_eq!((&first["scope"], &first["severity"]), (&"region".into(), &"critical".into()));
    assert_eq!(members(&first), ["osa-1", "sel-1", "tyo-1"]);
    let evidence = first["alerts"][0]["evidence"].as_str().expect("a sentence");
    // A probe that was under way is cut off; the next ones are refused.
    assert!(["refused", "cut off", "reset"].iter().any(|why| evidence.contains(why)), "{first}");
    let (code, out, _) = run(&["alerts", "--admin", &world.admin.to_string()]);
    assert_eq!(code, 1, "something is the matter");
    assert!(out.contains("critical") && out.contains("region ea: down: 3 of 3 nodes"), "{out}");
    let metrics = fetch(world.admin, "/metrics");
    assert!(metrics.contains("rhumb_alerts{rule=\"node-down\",severity=\"critical\"} 1"), "{metrics}");
    world.region(true);
    let all = hook.wait(2);
    assert_eq!(outline(&all), ["node-down/region/ea firing", "node-down/region/ea resolved"]);
    assert_eq!(members(&all[1]).len(), 3);

    // The Alertmanager: the same alert, first open and then with an end that has come.
    let posts = wait_for("the end at the Alertmanager", || {
        let posts = manager.posts();
        (posts.len() >= 2).then_some(posts)
    });
    for post in &posts {
        let [alert] = &post.as_array().expect("an array")[..] else { panic!("{post}") };
        let labels = &alert["labels"];
        assert_eq!((&labels["alertname"], &labels["region"]), (&"node-down".into(), &"ea".into()));
        assert_eq!(labels["node"], Value::Null);
    }
    let ends = |post: &Value| post[0]["endsAt"].as_str().expect("a time").to_owned();
    assert!(ends(&posts[0]) > ends(&posts[1]), "first ahead, then past");
    assert_eq!(posts[0][0]["startsAt"], posts[1][0]["startsAt"]);
    wait_for("both being counted", || {
        let metrics = fetch(world.admin, "/metrics");
        metrics.contains("rhumb_alerts_sent_total{receiver=\"to-webhook\"} 2").then_some(())
    });
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn a_receiver_that_was_away_is_told_how_things_are_and_the_failure_is_seen() {
    let hook = Receiver::start();
    hook.be(Manner::Fail);
    let mut world = World::new(Some(&alerts(&[("webhook", &hook)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    rhumb.wait_line("an alert could not be delivered");
    let problem = wait_for("the failure in the status", || {
        let status = world.status();
        let problems = status["problems"].as_array()?.clone();
        problems.into_iter().find(|problem| problem["code"] == "alerts-undelivered")
    });
    assert!(
        problem["message"].as_str().is_some_and(|text| text.contains("to-webhook") && text.contains("500"))
    );
    let (_, out, _) = run(&["alerts", "--admin", &world.admin.to_string()]);
    assert!(out.contains("receiver to-webhook (webhook): 0 messages sent"), "{out}");
    hook.be(Manner::Take);
    hook.forget();
    let told = hook.wait(1);
    assert_eq!(outline(&told), ["node-down/region/ea firing"]);
    wait_for("the problem to be over", || world.status()["problems"].as_array()?.is_empty().then_some(()));
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn a_slow_receiver_holds_up_neither_another_nor_the_daemon() {
    let (hook, manager) = (Receiver::start(), Receiver::start());
    manager.be(Manner::Silent);
    let mut world = World::new(Some(&alerts(&[("webhook", &hook), ("alertmanager", &manager)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    hook.wait(1);
    wait_for("the timeout to be told", || {
        let status = world.status();
        let receivers = status["receivers"].as_array()?.clone();
        let slow = receivers.iter().find(|receiver| receiver["name"] == "to-alertmanager")?;
        slow["last_error"].as_str()?.contains("no answer within").then_some(())
    });
    assert_eq!(rhumb.terminate(), Some(0), "an attempt under way does not keep it from ending");
}

/// Waits until the state folder says that each of the receivers was told of `alert`.
fn wait_kept(world: &World, receivers: &[&str], alert: &str) {
    let file = Path::new(&world.folder.state()).join("alerts");
    wait_for("the alert being kept", || {
        let text = std::fs::read_to_string(&file).ok()?;
        let body = &text[text.find('{')?..];
        let kept = serde_json::Deserializer::from_str(body).into_iter::<Value>().next()?.ok()?;
        let rows = kept["receivers"].as_array()?;
        let was_told = |name: &&str| {
            let row = rows.iter().find(|row| row["name"] == *name);
            row.is_some_and(|row| {
                row["told"].as_array().is_some_and(|told| told.iter().any(|it| it[0] == alert))
            })
        };
        receivers.iter().all(was_told).then_some(())
    });
}

const EA: &str = "node-down/region/ea";

#[test]
fn a_restart_does_not_tell_again_what_stands_and_tells_its_end() {
    let hook = Receiver::start();
    let mut world = World::new(Some(&alerts(&[("webhook", &hook)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    let before = hook.wait(1).remove(0);
    wait_kept(&world, &["to-webhook"], EA);
    rhumb.kill();
    let mut rhumb = world.serve();
    wait_for("the alert to stand as before", || {
        let status = world.status();
        let alert = status["alerts"].as_array()?.first()?.clone();
        let is_seen = |node: &Value| {
            node["families"][0]["reason"].as_str().is_some_and(|reason| !reason.starts_with("as before"))
        };
        let seen = status["nodes"].as_array()?.iter().all(is_seen);
        (seen && alert["key"] == EA).then_some(())
    });
    world.region(true);
    let all = hook.wait(2);
    assert_eq!(outline(&all), [format!("{EA} firing"), format!("{EA} resolved")], "told once");
    assert_eq!(all[1]["since"], before["since"]);
    assert_eq!(members(&all[1]), members(&before));
    // And once over it is forgotten.
    let file = Path::new(&world.folder.state()).join("alerts");
    wait_for("it to be forgotten", || (!std::fs::read_to_string(&file).ok()?.contains(EA)).then_some(()));
    assert_eq!(rhumb.terminate(), Some(0));
    assert_eq!(hook.posts().len(), 2);
}

#[test]
fn what_ended_while_rhumb_was_not_running_is_told_as_over() {
    let (hook, manager) = (Receiver::start(), Receiver::start());
    let mut world = World::new(Some(&alerts(&[("webhook", &hook), ("alertmanager", &manager)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    hook.wait(1);
    wait_for("the Alertmanager to know", || (!manager.posts().is_empty()).then_some(()));
    wait_kept(&world, &["to-webhook", "to-alertmanager"], EA);
    rhumb.kill();
    world.region(true);
    let mut rhumb = world.serve();
    assert_eq!(outline(&hook.wait(2)), [format!("{EA} firing"), format!("{EA} resolved")]);
    let posts = wait_for("the end at the Alertmanager", || {
        let posts = manager.posts();
        (posts.len() >= 2).then_some(posts)
    });
    assert_eq!(posts[0][0]["startsAt"], posts[1][0]["startsAt"]);
    assert!(posts[1][0]["endsAt"].as_str() < posts[0][0]["endsAt"].as_str(), "an end that has come");
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn a_damaged_ledger_is_put_aside_and_costs_a_message() {
    let hook = Receiver::start();
    let mut world = World::new(Some(&alerts(&[("webhook", &hook)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    hook.wait(1);
    wait_kept(&world, &["to-webhook"], EA);
    rhumb.kill();
    let file = |name: &str| Path::new(&world.folder.state()).join(name);
    let bytes = std::fs::read(file("alerts")).expect("reads");
    std::fs::write(file("alerts"), &bytes[..bytes.len() / 2]).expect("truncates");
    let _ = std::fs::remove_file(file("alerts.previous"));
    let mut rhumb = world.serve();
    rhumb.wait_line("alerts.damaged");
    let is_told =
        |problem: &Value| problem["message"].as_str().is_some_and(|text| text.contains("truncated"));
    wait_for("the problem", || world.status()["problems"].as_array()?.iter().any(is_told).then_some(()));
    assert_eq!(std::fs::read(file("alerts.damaged")).expect("reads").len(), bytes.len() / 2);
    assert_eq!(outline(&hook.wait(2)), vec![format!("{EA} firing"); 2], "who knows nothing tells again");
    wait_kept(&world, &["to-webhook"], EA);
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn a_refused_edit_is_an_alert_of_this_instance_and_an_edit_of_the_rules_takes_effect() {
    let hook = Receiver::start();
    let world = World::new(Some(&alerts(&[("webhook", &hook)])));
    let mut rhumb = world.serve();
    world.folder.write("clients.yaml", "version: 1\nlimes: {}\n");
    let first = hook.wait(1).remove(0);
    assert_eq!(first["group_key"], "policy-rejected/instance/policy-refused");
    assert!(first["summary"].as_str().is_some_and(|text| text.contains("clients.yaml:2:1")), "{first}");
    world.folder.write("clients.yaml", "version: 1\n");
    assert_eq!(hook.wait(2)[1]["status"], "resolved");
    world.folder.write("alerts.yaml", "version: 1\nrules: {}\n");
    wait_for("no receiver", || world.status()["receivers"].as_array()?.is_empty().then_some(()));
    assert_eq!(rhumb.terminate(), Some(0));
}

#[test]
fn a_broken_region_of_the_lab_is_one_alert_at_its_webhook() {
    let hook = Receiver::start();
    let policies = copy_of_policies();
    let folder = policies.path().to_str().expect("UTF-8").to_owned();
    let mut lab = Lab::start_with(&folder, &["--webhook", &hook.url("webhook")]);
    lab.wait_all_up();
    let of_the_fleet = |messages: Vec<Value>| -> Vec<Value> {
        messages.into_iter().filter(|message| message["rule"] == "node-down").collect()
    };
    lab.command(&["fault", "region:na", "--down"]);
    let first = wait_for("the alert", || of_the_fleet(hook.posts()).into_iter().next());
    assert_eq!((&first["group_key"], &first["alerts_total"]), (&"node-down/region/na".into(), &4.into()));
    assert_eq!(members(&first), ["iad-1", "iad-2", "sfo-1", "sfo-2"]);
    lab.rhumb.wait_line("evacuation");
    lab.command(&["heal"]);
    let all = wait_for("its end", || {
        let all = of_the_fleet(hook.posts());
        (all.len() >= 2).then_some(all)
    });
    assert_eq!(outline(&all), ["node-down/region/na firing", "node-down/region/na resolved"]);
    assert_eq!(lab.rhumb.terminate(), Some(0));
}

/// A certificate of a listener that ends in three days is told of, with the shipped rules; its successor ends it.
#[test]
fn a_certificate_about_to_end_is_told_of_until_it_is_replaced() {
    let hook = Receiver::start();
    let world = World::new(Some(&format!(
        "version: 1\nresolve_after: 1s\nreceivers: {{ hook: {{ webhook: \"{}\" }} }}\n",
        hook.url("webhook")
    )));
    let issue = |days: u64| {
        let mut params = rcgen::CertificateParams::new(vec!["dns.example.test".to_owned()]).expect("a name");
        params.not_after = (std::time::SystemTime::now() + Duration::from_secs(days * 86_400 + 3_600)).into();
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        world.folder.write("key.pem", &key.serialize_pem());
        world.folder.write("cert.pem", &made.pem());
    };
    issue(3);
    let dot = format!("127.0.0.1:{}", free_port());
    world
        .folder
        .write_server(&format!("dot: {{ listen: \"{dot}\", certificate: cert.pem, key: key.pem }}\n"));
    let mut rhumb = world.serve();
    let first = hook.wait(1).remove(0);
    let summary = first["summary"].as_str().expect("a summary");
    assert!(summary.contains("certificate") && summary.contains("3 days"), "{first}");
    assert_eq!((&first["status"], &first["scope"]), (&"firing".into(), &"instance".into()), "{first}");
    issue(300);
    let all = hook.wait(2);
    assert_eq!((&all[1]["status"], &all[1]["group_key"]), (&"resolved".into(), &first["group_key"]));
    assert_eq!(rhumb.terminate(), Some(0));
}

/// The shipped policies, with alerts that end sooner.
fn copy_of_policies() -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    let from = Path::new(fixture::POLICIES);
    for folder in ["", "services", "zones"] {
        std::fs::create_dir_all(to.path().join(folder)).expect("created");
        for entry in std::fs::read_dir(from.join(folder)).expect("read") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name");
                std::fs::copy(&path, to.path().join(folder).join(name)).expect("copied");
            }
        }
    }
    let file = to.path().join("alerts.yaml");
    let text =
        std::fs::read_to_string(&file).expect("read").replace("resolve_after: 30s", "resolve_after: 1s");
    std::fs::write(file, text).expect("written");
    to
}

/// Every code of a problem that the sources make can be named by a rule, and no other.
#[test]
fn rules_know_every_code_of_a_problem() {
    let mut found: Vec<String> = Vec::new();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/daemon"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.extend(codes(&std::fs::read_to_string(path).expect("text"))),
            }
        }
    }
    found.extend(["policy-refused", "policy-unreadable", "geo-refused"].map(str::to_owned));
    found.sort();
    found.dedup();
    assert_eq!(
        found, PROBLEM_CODES,
        "PROBLEM_CODES of src/model/status.rs is the list that rules are checked by"
    );
}

/// What stands in `code: "..."`.
fn codes(text: &str) -> Vec<String> {
    let parts = text.split("code: \"").skip(1);
    parts.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// Longest that messages which should not come are waited for.
const QUIET: Duration = Duration::from_secs(2);

#[test]
fn nobody_is_told_twice() {
    let hook = Receiver::start();
    let mut world = World::new(Some(&alerts(&[("webhook", &hook)])));
    let mut rhumb = world.serve();
    world.wait_all_up();
    world.region(false);
    hook.wait(1);
    assert!(!hook.more_within(QUIET), "{:?}", outline(&hook.posts()));
    assert_eq!(rhumb.terminate(), Some(0));
}
