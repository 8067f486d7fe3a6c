//! What an edit of the policy says, in words: names added and removed, numbers before and after.
//!
//! What people ask about first is told in full (nodes, capacities, pools, weights, chains, lifetimes, demand); of the
//! rest it is said that it differs, and `rhumb diff` shows how. Nodes that change alike are one line.

use crate::model::clients::Clients;
use crate::model::fleet::{Fleet, Node};
use crate::model::policy::Policy;
use crate::model::service::{Pool, Service};
use std::collections::{BTreeMap, BTreeSet};

/// Lines at most.
const MOST: usize = 40;
/// Names in one line.
const MOST_NAMES: usize = 4;

/// See the module; nothing where both mean the same.
pub fn edits(old: &Policy, new: &Policy) -> Vec<String> {
    let mut said = Vec::new();
    fleet(&old.fleet, &new.fleet, &mut said);
    clients(&old.clients, &new.clients, &mut said);
    services(old, new, &mut said);
    let others = [
        ("safety rules", old.safety != new.safety),
        ("events", old.events != new.events),
        ("guardrails", old.guardrails != new.guardrails),
        ("alerts", old.alerts != new.alerts),
        ("settings of rhumb.yaml", old.server != new.server || old.planner != new.planner),
    ];
    said.extend(others.into_iter().filter(|(_, differ)| *differ).map(|(what, _)| format!("{what}: edited")));
    if said.len() > MOST {
        let more = said.len() - (MOST - 1);
        said.truncate(MOST - 1);
        said.push(format!("and {more} more: `rhumb diff` shows all"));
    }
    said
}

fn fleet(old: &Fleet, new: &Fleet, said: &mut Vec<String>) {
    let names = |of: &[String]| of.to_vec();
    let regions = |fleet: &Fleet| fleet.regions.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let sites = |fleet: &Fleet| fleet.sites.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let nodes = |fleet: &Fleet| fleet.nodes.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    come_and_gone("region", &names(&regions(old)), &regions(new), said);
    come_and_gone("site", &sites(old), &sites(new), said);
    come_and_gone("node", &nodes(old), &nodes(new), said);
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in new.node_ids() {
        let node = new.node(id);
        let Some(was) = old.node_named(&node.name) else { continue };
        let place = |fleet: &Fleet, id| (fleet.site_of(id).name.clone(), fleet.region_of(id).name.clone());
        let (from, to) = (place(old, was), place(new, id));
        if from != to {
            let text = format!("site {} ({}) -> {} ({})", from.0, from.1, to.0, to.1);
            alike.entry(text).or_default().push(node.name.clone());
        }
        for text in of_node(old.node(was), node) {
            alike.entry(text).or_default().push(node.name.clone());
        }
    }
    said.extend(alike.into_iter().map(|(text, names)| format!("{}: {text}", listed("node", &names))));
    if old.judgement != new.judgement || old.circuits != new.circuits {
        said.push("how nodes are judged: edited".to_owned());
    }
}

fn of_node(old: &Node, new: &Node) -> Vec<String> {
    let mut said = Vec::new();
    if old.capacity != new.capacity {
        let told = |node: &Node| {
            node.capacity.as_ref().map_or_else(
                || "none".to_owned(),
                |it| {
                    let (target, cap) = (it.target.percent(), it.cap.percent());
                    format!("{} {} (target {target:.0} %, cap {cap:.0} %)", it.amount, it.unit)
                },
            )
        };
        said.push(format!("capacity {} -> {}", told(old), told(new)));
    }
    let others = [
        ("addresses", (&old.v4, &old.v6) != (&new.v4, &new.v6)),
        ("location", old.location != new.location),
        ("line", old.line != new.line),
        ("labels", old.labels != new.labels),
        ("probes", old.probes != new.probes || old.combine != new.combine),
        ("load feed", old.load != new.load),
        ("cost per unit", old.cost_per_unit != new.cost_per_unit),
    ];
    said.extend(others.into_iter().filter(|(_, differ)| *differ).map(|(what, _)| format!("{what} edited")));
    said
}

fn clients(old: &Clients, new: &Clients, said: &mut Vec<String>) {
    let lines = |it: &Clients| it.lines.iter().map(|line| line.name.clone()).collect::<Vec<_>>();
    let areas = |it: &Clients| it.areas.iter().map(|area| area.name.clone()).collect::<Vec<_>>();
    come_and_gone("line", &lines(old), &lines(new), said);
    come_and_gone("area", &areas(old), &areas(new), said);
    let edited = |of: &str, names: Vec<String>| format!("{} edited", listed(of, &names));
    let line = |new: &crate::model::clients::Line| {
        old.lines.iter().any(|old| old.name == new.name && old != new).then(|| new.name.clone())
    };
    let area = |new: &crate::model::clients::Area| {
        old.areas.iter().any(|old| old.name == new.name && old != new).then(|| new.name.clone())
    };
    let (lines, areas): (Vec<_>, Vec<_>) =
        (new.lines.iter().filter_map(line).collect(), new.areas.iter().filter_map(area).collect());
    said.extend((!lines.is_empty()).then(|| edited("line", lines)));
    said.extend((!areas.is_empty()).then(|| edited("area", areas)));
    if old.overrides != new.overrides {
        said.push("what is known of client networks: edited".to_owned());
    }
}

fn services(old: &Policy, new: &Policy, said: &mut Vec<String>) {
    let names = |policy: &Policy| policy.services.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    come_and_gone("service", &names(old), &names(new), said);
    for service in &new.services {
        if let Some(was) = old.services.iter().find(|was| was.name == service.name) {
            let told = of_service((old, was), (new, service));
            said.extend(told.into_iter().map(|text| format!("service {}: {text}", service.name)));
        }
    }
}

fn of_service((old, was): (&Policy, &Service), (new, is): (&Policy, &Service)) -> Vec<String> {
    let mut said = Vec::new();
    let numbers = [
        ("ttl", was.ttl.to_string(), is.ttl.to_string()),
        ("tier", was.tier.name.clone(), is.tier.name.clone()),
        ("answers", was.answers.to_string(), is.answers.to_string()),
        ("profile", was.profile.name.to_string(), is.profile.name.to_string()),
        ("on_all_down", was.on_all_down.name().to_owned(), is.on_all_down.name().to_owned()),
        ("demand", amount(was.demand), amount(is.demand)),
    ];
    let differing = numbers.into_iter().filter(|(_, from, to)| from != to);
    said.extend(differing.map(|(what, from, to)| format!("{what} {from} -> {to}")));
    let pools = |service: &Service| service.pools.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    come_and_gone("pool", &pools(was), &pools(is), &mut said);
    for pool in &is.pools {
        if let Some(before) = was.pools.iter().find(|before| before.name == pool.name) {
            said.extend(of_pool((&old.fleet, before), (&new.fleet, pool)));
        }
    }
    let chains = |policy: &Policy, service: &Service| {
        let rule = |rule: &crate::model::service::ChainRule| {
            let pools: Vec<&str> = rule.pools.iter().map(|&pool| service.pool(pool).name.as_str()).collect();
            let bias: Vec<(String, i32)> =
                rule.bias.iter().map(|it| (policy.fleet.node(it.node).name.clone(), it.by_us)).collect();
            let area = rule.area_name(&policy.clients).unwrap_or_else(|| "everybody".to_owned());
            (format!("{area} -> {}", pools.join(", ")), bias)
        };
        service.chains.iter().map(rule).collect::<Vec<_>>()
    };
    let (before, after) = (chains(old, was), chains(new, is));
    if before != after {
        let told: Vec<&str> = after.iter().map(|(text, _)| text.as_str()).collect();
        said.push(format!("chains are now {}", told.join("; ")));
    }
    let others = [
        ("hostnames", was.hostnames != is.hostnames),
        ("records", was.records != is.records),
        ("shed", was.shed != is.shed),
        ("audience", was.audience != is.audience),
        ("line_penalty", was.line_penalty != is.line_penalty),
    ];
    said.extend(others.into_iter().filter(|(_, differ)| *differ).map(|(what, _)| format!("{what} edited")));
    said
}

fn amount(demand: Option<u64>) -> String {
    demand.map_or_else(|| "as reported".to_owned(), |units| units.to_string())
}

fn of_pool((old, was): (&Fleet, &Pool), (new, is): (&Fleet, &Pool)) -> Vec<String> {
    let weights = |fleet: &Fleet, pool: &Pool| -> BTreeMap<String, u16> {
        pool.members.iter().map(|it| (fleet.node(it.node).name.clone(), it.weight)).collect()
    };
    let (before, after) = (weights(old, was), weights(new, is));
    let mut said = Vec::new();
    come_and_gone("member", &before.keys().cloned().collect::<Vec<_>>(), &keys(&after), &mut said);
    let mut alike: BTreeMap<(u16, u16), Vec<String>> = BTreeMap::new();
    for (name, &weight) in &after {
        if let Some(&then) = before.get(name).filter(|&&then| then != weight) {
            alike.entry((then, weight)).or_default().push(name.clone());
        }
    }
    let told = |((then, now), names): ((u16, u16), Vec<String>)| {
        format!("weight of {} {then} -> {now}", listed("", &names))
    };
    said.extend(alike.into_iter().map(told));
    if was.method != is.method {
        said.push(format!("method {} -> {}", was.method.name(), is.method.name()));
    }
    if was.min_alive != is.min_alive {
        let percent = |pool: &Pool| pool.min_alive.percent();
        said.push(format!("min_alive {:.0} % -> {:.0} %", percent(was), percent(is)));
    }
    said.into_iter().map(|text| format!("pool {}: {text}", is.name)).collect()
}

fn keys(of: &BTreeMap<String, u16>) -> Vec<String> {
    of.keys().cloned().collect()
}

fn come_and_gone(what: &str, old: &[String], new: &[String], said: &mut Vec<String>) {
    let (old, new): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let added: Vec<String> = new.difference(&old).map(|name| (*name).clone()).collect();
    let removed: Vec<String> = old.difference(&new).map(|name| (*name).clone()).collect();
    said.extend((!added.is_empty()).then(|| format!("{} added", listed(what, &added))));
    said.extend((!removed.is_empty()).then(|| format!("{} removed", listed(what, &removed))));
}

/// `node a`, `nodes a, b`, `7 nodes (a, b, c, d, ...)`.
fn listed(what: &str, names: &[String]) -> String {
    let told = match names {
        [one] => format!("{what} {one}"),
        few if few.len() <= MOST_NAMES => format!("{} {}", plural(what), few.join(", ")),
        many => format!("{} {} ({}, ...)", many.len(), plural(what), many[..MOST_NAMES].join(", ")),
    };
    told.trim_start().replace("  ", " ")
}

fn plural(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!("{what}s") }
}
