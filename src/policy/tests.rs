//! The example policies, and what the lowering makes of small folders.

use super::*;
use crate::base::diagnostic::SourceFile;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn example() -> Vec<SourceFile> {
    vec![
        file("rhumb.yaml", include_str!("../../policies/rhumb.yaml")),
        file("clients.yaml", include_str!("../../policies/clients.yaml")),
        file("fleet.yaml", include_str!("../../policies/fleet.yaml")),
        file("services/live.yaml", include_str!("../../policies/services/live.yaml")),
        file("services/rtc.yaml", include_str!("../../policies/services/rtc.yaml")),
        file("services/im.yaml", include_str!("../../policies/services/im.yaml")),
        file("zones/rhumb.test.zone", include_str!("../../policies/zones/rhumb.test.zone")),
    ]
}

#[test]
fn the_example_is_clean_and_complete() {
    let (policy, problems) = load(&example());
    assert_eq!(problems, []);
    let policy = policy.expect("no errors");
    assert!(policy.fleet.regions.len() >= 3 && policy.fleet.sites.len() >= 6);
    assert!(policy.fleet.nodes.len() >= 14 && policy.clients.lines.len() == 3);
    let live = policy.services.iter().find(|service| service.name == "live").expect("live");
    assert_eq!(live.hostnames, ["live.rhumb.test"]);
    assert!(live.chains.last().is_some_and(|rule| rule.area.is_none()));
    let dual = policy.fleet.node_named("tyo-1").expect("tyo-1");
    let probe = &policy.fleet.node(dual).probes[0];
    assert_eq!(probe.targets[0].map(|t| t.to_string()).as_deref(), Some("127.1.3.1:8081"));
    assert_eq!(probe.targets[1].map(|t| t.to_string()).as_deref(), Some("[::1]:18101"));
    let load = policy.fleet.node(dual).load.as_ref().expect("a load feed");
    assert_eq!(load.url, "http://127.1.3.1:8081/load");
}

#[test]
fn only_zones_is_a_plain_server_and_nothing_is_allowed() {
    for files in [vec![], vec![file("zones/a.test.zone", "anything")]] {
        let (policy, problems) = load(&files);
        assert_eq!(problems, []);
        let policy = policy.expect("a policy");
        assert!(policy.services.is_empty() && policy.fleet.nodes.is_empty());
        assert_eq!(policy.server, crate::model::policy::ServerConfig::default());
    }
}

#[test]
fn an_error_in_one_file_hides_none_in_another_and_makes_none() {
    let mut files = example();
    files[2].text.push_str("\n  broken: [\n");
    files[3].text.push_str("\ncolour: red\n");
    let (policy, problems) = load(&files);
    assert!(policy.is_none());
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["yaml-syntax", "unknown-key"]);
}

#[test]
fn norway_is_a_country() {
    let text = "version: 1\nareas:\n  north: {countries: [NO, SE]}\noverrides:\n  - {cidrs: 192.0.2.0/24, country: NO}\n";
    let (policy, problems) = load(&[file("clients.yaml", text)]);
    assert_eq!(problems, []);
    let clients = policy.expect("a policy").clients;
    assert_eq!(clients.areas[0].countries[0].as_str(), "NO");
    assert_eq!(clients.overrides[0].country.expect("a country").as_str(), "NO");
}
