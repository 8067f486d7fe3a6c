//! Which edits can be had by a share of the clients alone: those that say who goes where, and nothing else.
//!
//! | confined | not confined |
//! |---|---|
//! | weights, methods, `min_alive` and members of pools; pools added | hostnames, records, TTL, `answers`, `shed`, `on_all_down` |
//! | chains, biases, profile, `line_penalty` | demand and audience, which say how full nodes are for everybody |
//! | capacities, cost per unit and labels of nodes; nodes and sites added | addresses, places, lines, probes, load feeds; what is removed |
//! | | clients, settings, zones, alerts, rules, drills, events |
//!
//! That the clients outside stay where they are is asked of the planner besides: a pool that loses a member moves
//! whom it served, whatever this table says.

use crate::model::fleet::{Fleet, Node, Site};
use crate::model::policy::Policy;
use crate::model::service::Service;

/// Names in one sentence.
const MOST_NAMED: usize = 4;

/// What differs that everybody would see, in words; empty: a canary can confine all of it.
pub fn unconfined(old: &Policy, new: &Policy) -> Vec<String> {
    let mut said = Vec::new();
    let whole = [
        ("settings of rhumb.yaml", old.server != new.server || old.planner != new.planner),
        ("lines, areas or what is known of client networks", old.clients != new.clients),
        ("alerts", old.alerts != new.alerts),
        ("safety rules", old.safety != new.safety),
        ("guardrails", old.guardrails != new.guardrails),
        ("how canaries go", old.canary != new.canary),
        ("events", old.events != new.events),
        ("drills", old.drills != new.drills),
        ("how nodes are judged", judging(&old.fleet) != judging(&new.fleet)),
    ];
    said.extend(whole.into_iter().filter(|(_, differ)| *differ).map(|(what, _)| what.to_owned()));
    fleet(&old.fleet, &new.fleet, &mut said);
    services(&old.services, &new.services, &mut said);
    said
}

/// Services whose clients may be moved: those that differ, or all of them if the fleet does.
pub fn services_of(old: &Policy, new: &Policy) -> Vec<String> {
    let members = |policy: &Policy, service: &Service| -> Vec<(String, String, u16)> {
        let of_pool = |pool: &crate::model::service::Pool| {
            let of = |member: &crate::model::service::PoolMember| {
                (pool.name.clone(), policy.fleet.node(member.node).name.clone(), member.weight)
            };
            pool.members.iter().map(of).collect::<Vec<_>>()
        };
        service.pools.iter().flat_map(of_pool).collect()
    };
    let steers = |policy: &Policy, service: &Service| {
        let methods: Vec<_> = service.pools.iter().map(|pool| (pool.method, pool.min_alive)).collect();
        let chains: Vec<_> =
            service.chains.iter().map(|rule| (rule.areas.clone(), rule.pools.clone())).collect();
        let bias: Vec<Vec<(String, i32)>> = service
            .chains
            .iter()
            .map(|rule| {
                rule.bias.iter().map(|it| (policy.fleet.node(it.node).name.clone(), it.by_us)).collect()
            })
            .collect();
        (members(policy, service), methods, chains, bias, service.profile.clone(), service.line_penalty)
    };
    let is_other_fleet = old.fleet != new.fleet;
    let differs = |service: &&Service| {
        let was = old.services.iter().find(|was| was.name == service.name);
        is_other_fleet || was.is_none_or(|was| steers(old, was) != steers(new, service))
    };
    new.services.iter().filter(differs).map(|service| service.name.clone()).collect()
}

fn judging(fleet: &Fleet) -> impl PartialEq {
    let circuits =
        fleet.circuits.iter().map(|(region, it)| (fleet.regions[region.index()].name.clone(), *it));
    (fleet.judgement.clone(), circuits.collect::<Vec<_>>(), fleet.runbooks.clone())
}

fn fleet(old: &Fleet, new: &Fleet, said: &mut Vec<String>) {
    let region_of = |fleet: &Fleet, site: &Site| fleet.regions[site.region.index()].name.clone();
    let (mut gone, mut moved) = (Vec::new(), Vec::new());
    for site in &old.sites {
        match new.sites.iter().find(|other| other.name == site.name) {
            None => gone.push(site.name.clone()),
            Some(other)
                if (region_of(old, site), site.location) != (region_of(new, other), other.location) =>
            {
                moved.push(site.name.clone());
            }
            Some(_) => {}
        }
    }
    listed("site", "removed", &gone, said);
    listed("site", "at another place", &moved, said);
    let (mut gone, mut edited) = (Vec::new(), Vec::new());
    for id in old.node_ids() {
        let node = old.node(id);
        let Some(other) = new.node_named(&node.name) else {
            gone.push(node.name.clone());
            continue;
        };
        let is_elsewhere = old.site_of(id).name != new.site_of(other).name;
        if is_elsewhere || seen_by_all(node) != seen_by_all(new.node(other)) {
            edited.push(node.name.clone());
        }
    }
    listed("node", "removed", &gone, said);
    listed("node", "with another address, place, line, probe or load feed", &edited, said);
}

/// Of a node, what does not only say whom it is given.
fn seen_by_all(node: &Node) -> Node {
    Node {
        site: crate::model::ids::SiteId(0),
        labels: std::collections::BTreeMap::new(),
        capacity: None,
        cost_per_unit: crate::base::units::Money::default(),
        ..node.clone()
    }
}

fn services(old: &[Service], new: &[Service], said: &mut Vec<String>) {
    let lacks = |all: &[Service], name: &str| !all.iter().any(|service| service.name == name);
    let names = |of: &[Service], others: &[Service]| -> Vec<String> {
        of.iter().filter(|it| lacks(others, &it.name)).map(|it| it.name.clone()).collect()
    };
    listed("service", "removed", &names(old, new), said);
    listed("service", "added", &names(new, old), said);
    for is in new {
        let Some(was) = old.iter().find(|was| was.name == is.name) else { continue };
        let differing: Vec<&str> =
            answered(was, is).into_iter().filter(|(_, differ)| *differ).map(|(what, _)| what).collect();
        if !differing.is_empty() {
            said.push(format!("{} of service {}", differing.join(", "), is.name));
        }
    }
}

/// What everybody sees of a service, and whether it differs.
fn answered(was: &Service, is: &Service) -> Vec<(&'static str, bool)> {
    let records = |service: &Service| {
        let mut records = service.records.clone();
        records.iter_mut().for_each(|set| set.span = crate::base::diagnostic::Span::default());
        records
    };
    let pools = |service: &Service| service.pools.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let kept = pools(is);
    vec![
        ("hostnames", was.hostnames != is.hostnames),
        ("records", records(was) != records(is)),
        ("ttl", was.ttl != is.ttl),
        ("tier", was.tier != is.tier),
        ("answers", was.answers != is.answers),
        ("on_all_down", was.on_all_down != is.on_all_down),
        ("shed", was.shed.is_some() != is.shed.is_some() || was.shed != is.shed),
        ("demand", was.demand != is.demand),
        ("audience", was.audience != is.audience),
        ("transfer_default", was.transfer_default != is.transfer_default),
        ("pools removed", pools(was).iter().any(|name| !kept.contains(name))),
    ]
}

fn listed(what: &str, how: &str, names: &[String], said: &mut Vec<String>) {
    let told = match names {
        [] => return,
        [one] => format!("{what} {one}"),
        few if few.len() <= MOST_NAMED => format!("{what}s {}", few.join(", ")),
        many => format!("{} {what}s ({}, ...)", many.len(), many[..MOST_NAMED].join(", ")),
    };
    said.push(format!("{told} {how}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::SourceFile;
    use crate::policy;

    const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites: { tyo: { region: ea }, fra: { region: eu } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge } }
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge } }
";
    const SERVICE: &str = "version: 1
hostnames: [live.example.test]
profile: cdn
tier: 15m
ttl: 30
pools: { a: { select: { role: edge }, method: weights } }
chains: [{ pools: [a] }]
";

    fn of(fleet: &str, service: &str) -> Policy {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let (policy, found) = policy::load(&[file("fleet.yaml", fleet), file("services/live.yaml", service)]);
        policy.unwrap_or_else(|| panic!("{found:?}"))
    }

    #[test]
    fn how_the_planner_moves_is_for_everybody() {
        let old = of(FLEET, SERVICE);
        let mut new = old.clone();
        new.planner.ramp = std::time::Duration::ZERO;
        assert_eq!(unconfined(&old, &new), ["settings of rhumb.yaml"]);
    }

    #[test]
    fn what_says_who_goes_where_is_confined_and_all_else_named() {
        let old = of(FLEET, SERVICE);
        assert_eq!(unconfined(&old, &old), Vec::<String>::new());
        let added =
            format!("{FLEET}  fra-2: {{ site: fra, addresses: [127.2.1.2], labels: {{ role: edge }} }}\n");
        let cases = [
            (FLEET.to_owned(), SERVICE.replace("method: weights", "method: latency"), None),
            (
                FLEET.to_owned(),
                SERVICE.replace("method: weights", "weights: [{ select: { node: tyo-1 }, weight: 10 }]"),
                None,
            ),
            (FLEET.to_owned(), SERVICE.replace("profile: cdn", "profile: im"), None),
            (added, SERVICE.to_owned(), None),
            (FLEET.to_owned(), SERVICE.replace("ttl: 30", "ttl: 60"), Some("ttl of service live")),
            (
                FLEET.to_owned(),
                SERVICE.replace("live.example", "other.example"),
                Some("hostnames of service live"),
            ),
            (FLEET.replace("127.2.1.1", "127.2.1.9"), SERVICE.to_owned(), Some("node fra-1 with another")),
            (FLEET.replace("fra-1:", "fra-7:"), SERVICE.to_owned(), Some("node fra-1 removed")),
        ];
        for (fleet, service, told) in cases {
            let new = of(&fleet, &service);
            let said = unconfined(&old, &new);
            match told {
                None => assert_eq!(
                    (said, services_of(&old, &new)),
                    (vec![], vec!["live".to_owned()]),
                    "{service}"
                ),
                Some(told) => assert!(said.iter().any(|it| it.contains(told)), "{told}: {said:?}"),
            }
        }
        let gone = Policy { services: Vec::new(), ..of(FLEET, SERVICE) };
        assert_eq!(unconfined(&old, &gone), ["service live removed"]);
        assert_eq!(unconfined(&gone, &old), ["service live added"]);
    }
}
