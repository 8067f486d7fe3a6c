//! `docs/steering.md` is the table of cases: every method it lists has an example that is read without a
//! word, and the examples do what the text says of them.

use rhumb::base::diagnostic::SourceFile;
use rhumb::base::units::Micros;
use rhumb::model::clients::ClientGroup;
use rhumb::model::ids::{GroupId, ServiceId};
use rhumb::model::placement::Latencies;
use rhumb::model::policy::Policy;
use rhumb::model::service::Method;
use rhumb::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use rhumb::schedule::{self, Pass, Plan, PlanInput, PlannerMemory};
use std::collections::BTreeMap;

type Folder = BTreeMap<String, String>;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/steering.md");
    std::fs::read_to_string(path).expect("the document is there")
}

/// Code blocks that begin with the name of their file.
fn files_of(text: &str) -> Folder {
    let blocks = text.split("```").skip(1).step_by(2);
    let named = |block: &str| {
        let block = block.strip_prefix("yaml\n")?;
        let name = block.lines().next()?.trim_start_matches(['#', ' ']).to_owned();
        Some((name, block.to_owned()))
    };
    blocks.filter_map(named).collect()
}

/// Sections by title, each with its text.
fn sections(document: &str) -> BTreeMap<String, String> {
    let methods = document.split("\n# What is not here\n").next().unwrap_or("");
    let split = methods.split("\n## ").skip(1);
    split.filter_map(|text| Some((text.lines().next()?.to_owned(), text.to_owned()))).collect()
}

/// The example of a section over the folder at the top.
fn policy(title: &str) -> Policy {
    let document = document();
    let mut folder = files_of(document.split("\n## ").next().unwrap_or(""));
    assert_eq!(folder.len(), 2, "a fleet and clients");
    let own = files_of(&sections(&document)[title]);
    assert!(!own.is_empty(), "{title} has no example");
    folder.extend(own);
    let files: Vec<SourceFile> = folder.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    let (policy, said) = rhumb::policy::load(&files);
    assert_eq!(said, [], "{title}");
    policy.expect("nothing is wrong")
}

#[test]
fn every_method_of_the_table_has_an_example_that_is_read_without_a_word() {
    let document = document();
    let sections = sections(&document);
    let rows = document.lines().filter(|line| line.starts_with("| ") && line.contains("](#"));
    let linked: Vec<String> = rows
        .filter_map(|row| row.split("](#").nth(1)?.split(')').next().map(|anchor| anchor.replace('-', " ")))
        .collect();
    assert!(linked.len() >= 11, "{linked:?}");
    for title in sections.keys() {
        policy(title);
        let anchor = title.to_lowercase().replace('-', " ");
        assert!(linked.contains(&anchor), "no row of the table leads to {title}");
    }
    assert_eq!(linked.len(), sections.len(), "a row for each section");
}

#[test]
fn methods_and_biases_are_what_the_text_says() {
    let weights = policy("Weights");
    let pool = &weights.services[0].pools[0];
    assert_eq!((pool.method, pool.members.iter().map(|it| it.weight).max()), (Method::Weights, Some(300)));
    assert_eq!(policy("Load").services[0].pools[0].method, Method::Load);
    assert_eq!(policy("Latency").services[0].pools[0].method, Method::Latency);
    let bias = policy("Bias");
    let told: Vec<_> = bias.services[0].chains[0]
        .bias
        .iter()
        .map(|it| (bias.fleet.node(it.node).name.as_str(), it.by_us / 1_000))
        .collect();
    let expected = [("tyo-1", -10), ("tyo-2", -10), ("fra-1", 20), ("fra-2", 20), ("ams-1", 20)];
    assert_eq!(told, expected);
}

/// Clients in some areas, and how far they are from each site, ms.
struct Clients<'a> {
    areas: &'a [&'a str],
    rtt_ms: [u32; 4],
}

/// Sites in the order of the file: tyo, fra, ams, iad.
fn place(policy: &Policy, clients: &[Clients<'_>]) -> Plan {
    let groups: Vec<ClientGroup> = clients.iter().enumerate().map(|(at, it)| group(policy, at, it)).collect();
    let rtt = clients.iter().flat_map(|it| it.rtt_ms.map(Micros::from_millis));
    let up = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
    let health =
        vec![NodeHealth { families: [Some(up), None], load: None, forced: None }; policy.fleet.nodes.len()];
    let input = PlanInput {
        policy,
        groups: &groups,
        latencies: &Latencies::prior(policy.fleet.sites.len(), rtt.collect()),
        health: &health,
        previous: None,
        memory: &PlannerMemory::default(),
        demand: None,
        now_ms: 0,
        pass: Pass::Full,
    };
    let plan = schedule::plan(&input);
    assert_eq!(plan, schedule::plan(&input), "the same input gives the same plan");
    plan
}

fn group(policy: &Policy, at: usize, clients: &Clients<'_>) -> ClientGroup {
    let area = |name: &&str| policy.clients.areas.iter().position(|area| area.name == **name);
    let mut areas: Vec<_> = clients
        .areas
        .iter()
        .map(|name| rhumb::model::ids::AreaId::from_index(area(name).expect("an area")))
        .collect();
    areas.sort_unstable();
    ClientGroup {
        key: format!("group-{at}"),
        country: None,
        line: None,
        location: None,
        areas,
        v4_slash24: 1_000,
        v6_slash48: 0,
    }
}

/// Node and percent of the group, largest part first.
fn shares(policy: &Policy, plan: &Plan, service: &str, group: usize) -> Vec<String> {
    let service = policy.services.iter().position(|it| it.name == service).expect("it is there");
    let placement = plan
        .assignment
        .placement(ServiceId::from_index(service), GroupId::from_index(group))
        .expect("placed");
    let tell = |share: &rhumb::model::placement::Share| {
        format!("{} {:.0}", policy.fleet.node(share.node).name, share.share.percent())
    };
    placement.shares.iter().map(tell).collect()
}

#[test]
fn each_method_places_clients_as_its_section_says() {
    let near_fra = Clients { areas: &["europe", "germany"], rtt_ms: [250, 10, 40, 90] };
    let check = |title: &str, service: &str, clients: Clients<'_>, expected: &[&str]| {
        let policy = policy(title);
        let plan = place(&policy, &[clients]);
        assert_eq!(shares(&policy, &plan, service, 0), expected, "{title}");
    };
    check("Weights", "web", near_fra, &["iad-1 50", "fra-1 17", "fra-2 17", "ams-1 17"]);
    let near_fra = || Clients { areas: &["europe"], rtt_ms: [250, 10, 40, 90] };
    check(
        "Load",
        "batch",
        near_fra(),
        &["tyo-1 17", "tyo-2 17", "fra-1 17", "fra-2 17", "ams-1 17", "iad-1 17"],
    );
    check("Latency", "call", near_fra(), &["fra-1 50", "fra-2 50"]);
    // 20 ms dearer in Europe: America is nearer by 15 ms then.
    let between = |ms| Clients { areas: &[], rtt_ms: [250, ms, 120, 90] };
    check("Bias", "web", between(85), &["iad-1 100"]);
    check("Bias", "web", between(60), &["fra-1 50", "fra-2 50"]);
    // A fence holds although others are nearer.
    let abroad = Clients { areas: &["europe"], rtt_ms: [5, 80, 80, 90] };
    check("Fence", "records", abroad, &["fra-1 33", "fra-2 33", "ams-1 33"]);
    let colleague = Clients { areas: &["office"], rtt_ms: [5, 80, 80, 90] };
    check("Networks", "web", colleague, &["fra-2 100"]);
}

#[test]
fn a_composed_service_places_clients_as_the_other_one_does() {
    let policy = policy("Composition");
    let rtt_ms = [10, 40, 60, 30];
    let sets: [&[&str]; 4] = [&["europe", "telecom"], &["telecom"], &["europe"], &[]];
    let plan = place(&policy, &sets.map(|areas| Clients { areas, rtt_ms }));
    let of = |service, group| shares(&policy, &plan, service, group);
    assert_eq!(of("live", 0), ["tyo-1 50", "tyo-2 50"]);
    assert_eq!(of("live", 1), ["tyo-1 50", "tyo-2 50"]);
    for group in [2, 3] {
        assert_eq!(of("live", group), of("web", group), "group {group}");
    }
    assert_eq!(
        (of("live", 2), of("live", 3)),
        (vec!["fra-1 50".to_owned(), "fra-2 50".to_owned()], vec!["iad-1 100".to_owned()])
    );
    let live = policy.services.iter().find(|service| service.name == "live").expect("live");
    let names: Vec<_> = live.chains.iter().map(|rule| rule.area_name(&policy.clients)).collect();
    let expected = ["europe+telecom", "telecom", "europe"].map(|name| Some(name.to_owned()));
    assert_eq!(names, [&expected[..], &[None]].concat());
}
