//! `fleet.yaml` to [`Fleet`]: inheritance from `defaults`, references, addresses, capacity.

use super::health::{self, Places};
use super::load;
use super::probe::{self, Ends};
use super::selector::{Fact, NodeFacts};
use super::{LINE, Names, REGION, SITE, location, title};
use crate::base::prefix::Family;
use crate::base::units::{Money, Ppm};
use crate::model::degradation::{Bounds, RegionCircuit};
use crate::model::fleet::{Capacity, Fleet, Node, Region, Runbooks, Site};
use crate::model::ids::{LineId, RegionId, SiteId};
use crate::policy::codes;
use crate::policy::files::fleet::{
    CapacityFile, DefaultsFile, FleetFile, LoadFile, NodeFile, RegionCircuitFile, RegionFile, SiteFile,
    TargetsFile,
};
use crate::policy::files::probe::ProbeFile;
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{List, OrNone, Slot, Table};
use crate::policy::scalars::{Name, Percent, Text};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The fleet, and what the checks of services need beside it.
pub struct Lowered {
    pub fleet: Fleet,
    pub nodes: Names,
    /// One per node.
    pub facts: Vec<NodeFacts>,
    /// Where each probe of each node is declared.
    pub probe_places: Vec<Vec<Place>>,
    /// Where what a unit of each node costs is stated, if it is.
    pub cost_places: Vec<Option<Place>>,
    /// Whether every node is there and its attributes could be read.
    pub whole: bool,
}

/// Built-in labels; selectors use them like any other.
pub const BUILT_IN: [&str; 4] = ["node", "site", "region", "line"];

/// `commands`: whether this instance runs the programs of probes.
pub fn lower(
    file: &Slot<FleetFile>,
    places: &Places<'_>,
    commands: bool,
    findings: &mut Findings,
) -> Lowered {
    let empty = FleetFile {
        place: Place::default(),
        version: Slot::Absent,
        regions: Slot::Absent,
        sites: Slot::Absent,
        defaults: Slot::Absent,
        health: Slot::Absent,
        vantages: Slot::Absent,
        nodes: Slot::Absent,
    };
    let FleetFile { place: _, version: _, regions, sites, defaults, health, vantages, nodes } =
        file.value().unwrap_or(&empty);
    let region_names = Names::of(regions, "regions", findings);
    let site_names = Names::of(sites, "sites", findings);
    let node_names = Names::of(nodes, "nodes", findings);
    let mut lowering = Lowering {
        regions: &region_names,
        sites: &site_names,
        lines: places.lines,
        commands,
        site_regions: Vec::new(),
        addresses: HashMap::new(),
        out: Lowered {
            fleet: Fleet {
                regions: lower_regions(regions),
                judgement: health::lower(health, vantages, places, findings),
                circuits: lower_circuits(regions, findings),
                runbooks: lower_runbooks(regions, sites),
                ..Fleet::default()
            },
            nodes: Names::default(),
            facts: Vec::new(),
            probe_places: Vec::new(),
            cost_places: Vec::new(),
            whole: !(file.is_broken() || nodes.is_broken()) && nodes.value().is_none_or(|table| table.whole),
        },
    };
    lowering.lower_sites(sites, findings);
    check_defaults(defaults, commands, findings);
    for (name, node) in nodes.value().map_or(&[][..], |table| &table.rows) {
        lowering.lower_node(name, node.as_ref(), defaults.value(), findings);
    }
    let mut out = lowering.out;
    out.nodes = if file.is_broken() { Names::unreadable() } else { node_names };
    out
}

fn lower_circuits(
    regions: &Slot<Table<Name, RegionFile>>,
    findings: &mut Findings,
) -> Vec<(RegionId, RegionCircuit)> {
    let rows = regions.value().map_or(&[][..], |table| &table.rows);
    let mut circuits = Vec::new();
    for (at, (_, file)) in rows.iter().enumerate() {
        let Some(At { value, place }) = file.as_ref().and_then(|file| file.circuit.given()) else { continue };
        let RegionCircuitFile { place: _, errors, errors_exit, loss, loss_exit, open_for, trial, trial_for } =
            value;
        if errors.is_absent() && loss.is_absent() {
            findings
                .report(&codes::WRONG_VALUE, *place, "a circuit without a bound never opens")
                .help("give `errors`, `loss` or both, such as {errors: 50%, loss: 30%}, or remove it");
        }
        let circuit = RegionCircuit {
            errors: lower_bounds("errors", errors, errors_exit, findings),
            loss: lower_bounds("loss", loss, loss_exit, findings),
            open_for: open_for.value().map_or(RegionCircuit::OPEN_FOR, |span| span.0),
            trial: trial.value().map_or(RegionCircuit::TRIAL, |share| share.0),
            trial_for: trial_for.value().map_or(RegionCircuit::TRIAL_FOR, |span| span.0),
        };
        circuits.push((RegionId::from_index(at), circuit));
    }
    circuits
}

/// `name`: of the bound that enters.
fn lower_bounds(
    name: &str,
    enter: &Slot<Percent<1, 100>>,
    exit: &Slot<Percent<0, 100>>,
    findings: &mut Findings,
) -> Option<Bounds> {
    let Some(&Percent(enter_ppm)) = enter.value() else {
        if let Some(at) = exit.given().filter(|_| enter.is_absent()) {
            findings
                .report(
                    &codes::WRONG_VALUE,
                    at.place,
                    format!("`{name}_exit` means nothing without `{name}`"),
                )
                .help(format!("give `{name}`, where the circuit opens, or remove `{name}_exit`"));
        }
        return None;
    };
    let usual = Bounds::from_enter(enter_ppm);
    let Some(At { value: &Percent(exit_ppm), place }) =
        exit.given().map(|at| At { value: &at.value, place: at.place })
    else {
        return Some(usual);
    };
    if exit_ppm >= enter_ppm {
        let (exit, enter) = (exit_ppm.percent(), enter_ppm.percent());
        findings
            .report(&codes::WRONG_VALUE, place, format!("`{name}_exit` of {exit} % is not below `{name}` of {enter} %"))
            .help("leave a gap, such as 50% and 25%: without one the region would be cut and taken back in turn");
    }
    Some(Bounds { exit: exit_ppm, ..usual })
}

fn lower_regions(regions: &Slot<Table<Name, RegionFile>>) -> Vec<Region> {
    let rows = regions.value().map_or(&[][..], |table| &table.rows);
    let lower = |(name, region): &(At<Name>, Option<RegionFile>)| Region {
        name: name.value.0.clone(),
        title: region
            .as_ref()
            .and_then(|RegionFile { place: _, title: text, circuit: _, runbook: _ }| title(text)),
    };
    rows.iter().map(lower).collect()
}

fn lower_runbooks(regions: &Slot<Table<Name, RegionFile>>, sites: &Slot<Table<Name, SiteFile>>) -> Runbooks {
    fn named<T>(
        table: &Slot<Table<Name, T>>,
        runbook: impl Fn(&T) -> Option<&Text>,
    ) -> BTreeMap<String, String> {
        let rows = table.value().map_or(&[][..], |table| &table.rows);
        let of = |(name, row): &(At<Name>, Option<T>)| {
            Some((name.value.0.clone(), runbook(row.as_ref()?)?.0.clone()))
        };
        rows.iter().filter_map(of).collect()
    }
    Runbooks {
        regions: named(regions, |region| region.runbook.value()),
        sites: named(sites, |site| site.runbook.value()),
    }
}

fn check_defaults(defaults: &Slot<DefaultsFile>, commands: bool, findings: &mut Findings) {
    let Some(DefaultsFile { place: _, probes, combine: _, capacity, load, cost_per_unit: _ }) =
        defaults.value()
    else {
        return;
    };
    check_probes(probes, commands, findings);
    if let Some(capacity) = capacity.value() {
        check_capacity(capacity, None, findings);
    }
    if let Some(load) = load.value() {
        load::check_places(load, None, findings);
        load::check_push(load, findings);
    }
    if let Some(LoadFile { url: Slot::Given(_), port: Slot::Given(port), .. }) = load.value() {
        findings
            .report(&codes::WRONG_VALUE, port.place, "`port` means nothing beside `url`")
            .help("keep one of the two");
    }
}

fn check_probes(probes: &Slot<List<ProbeFile>>, commands: bool, findings: &mut Findings) {
    let probes = probes.value().map_or(&[][..], |list| &list.items);
    for probe in probes {
        probe::check(&probe.value, commands, findings);
    }
    probe::check_names(probes, findings);
}

struct Lowering<'a> {
    regions: &'a Names,
    sites: &'a Names,
    lines: &'a Names,
    commands: bool,
    /// The region's name of each site, if it could be read.
    site_regions: Vec<Option<String>>,
    /// Who has an address.
    addresses: HashMap<IpAddr, (String, Place)>,
    out: Lowered,
}

impl Lowering<'_> {
    fn lower_sites(&mut self, sites: &Slot<Table<Name, SiteFile>>, findings: &mut Findings) {
        for (name, site) in sites.value().map_or(&[][..], |table| &table.rows) {
            let mut lowered =
                Site { name: name.value.0.clone(), title: None, region: RegionId(0), location: None };
            let mut region_name = None;
            if let Some(SiteFile { place: _, region, title: text, location: place, runbook: _ }) = site {
                if let Some(At { value: Name(region), place }) = region.given() {
                    let found =
                        self.regions.resolve(region, *place, &codes::UNKNOWN_REGION, REGION, findings);
                    lowered.region = RegionId::from_index(found.unwrap_or(0));
                    region_name = found.map(|_| region.clone());
                }
                lowered.title = title(text);
                lowered.location = location(place);
            }
            self.site_regions.push(region_name);
            self.out.fleet.sites.push(lowered);
        }
    }

    fn lower_node(
        &mut self,
        name: &At<Name>,
        node: Option<&NodeFile>,
        defaults: Option<&DefaultsFile>,
        findings: &mut Findings,
    ) {
        let mut lowered = Node::named(&name.value.0, SiteId(0));
        let mut facts = NodeFacts::new(&name.value.0);
        let Some(node) = node else {
            facts.set_all_unknown();
            self.push(lowered, facts, Vec::new(), None);
            return;
        };
        let NodeFile {
            place: _,
            site,
            addresses,
            location: place,
            line,
            labels,
            capacity,
            probes,
            combine,
            probe_target,
            load,
            cost_per_unit,
        } = node;
        let site = self.site_of(site, &mut facts, findings);
        lowered.site = site.unwrap_or(SiteId(0));
        lowered.line = self.line_of(line, &mut facts, findings);
        lowered.location =
            location(place).or_else(|| site.and_then(|site| self.out.fleet.sites[site.index()].location));
        lowered.labels = lower_labels(labels, &mut facts, findings);
        self.take_addresses(addresses, &mut lowered, name, findings);
        lowered.capacity = lower_capacity(capacity, defaults, name, findings);
        let ends = ends_of(&lowered, addresses, probe_target, findings);
        check_probes(probes, self.commands, findings);
        let places = lower_probes(probes, defaults, &ends, name, &mut lowered.probes, findings);
        let of_defaults = defaults.map(|defaults| &defaults.combine);
        lowered.combine = health::combine(combine, of_defaults, lowered.probes.len(), findings);
        let inherited = defaults.and_then(|defaults| defaults.load.value());
        lowered.load = match load.value() {
            Some(OrNone(None)) => None,
            Some(OrNone(Some(own))) => {
                load::check(own, inherited, findings);
                load::lower(Some(own), inherited, &ends)
            }
            None => inherited.and_then(|inherited| load::lower(None, Some(inherited), &ends)),
        };
        let absent = Slot::Absent;
        let cost = cost_per_unit.or(defaults.map_or(&absent, |defaults| &defaults.cost_per_unit)).given();
        lowered.cost_per_unit = cost.map_or_else(Money::default, |cost| Money(cost.value.millionths()));
        self.push(lowered, facts, places, cost.map(|cost| cost.place));
    }

    fn push(&mut self, node: Node, facts: NodeFacts, places: Vec<Place>, cost: Option<Place>) {
        self.out.cost_places.push(cost);
        self.out.fleet.nodes.push(node);
        self.out.facts.push(facts);
        self.out.probe_places.push(places);
    }

    fn site_of(&self, slot: &Slot<Name>, facts: &mut NodeFacts, findings: &mut Findings) -> Option<SiteId> {
        let found = slot.given().and_then(|At { value: Name(site), place }| {
            self.sites.resolve(site, *place, &codes::UNKNOWN_SITE, SITE, findings)
        });
        // Selectors are judged by the site that was probably meant.
        let meant = found.or_else(|| slot.value().and_then(|site| self.sites.meant(&site.0)));
        let region = meant.and_then(|site| self.site_regions[site].clone());
        facts.set("site", meant.map_or(Fact::Unknown, |site| Fact::Is(self.sites.name(site).to_owned())));
        facts.set("region", region.map_or(Fact::Unknown, Fact::Is));
        found.map(SiteId::from_index)
    }

    fn line_of(&self, slot: &Slot<Name>, facts: &mut NodeFacts, findings: &mut Findings) -> Option<LineId> {
        let At { value: Name(line), place } = match slot {
            Slot::Given(at) => at,
            Slot::Broken => {
                facts.set("line", Fact::Unknown);
                return None;
            }
            Slot::Absent => return None,
        };
        let found = self.lines.resolve(line, *place, &codes::UNKNOWN_LINE, LINE, findings);
        let meant = found.or_else(|| self.lines.meant(line));
        facts.set("line", meant.map_or(Fact::Unknown, |line| Fact::Is(self.lines.name(line).to_owned())));
        found.map(LineId::from_index)
    }

    fn take_addresses(
        &mut self,
        slot: &Slot<List<IpAddr>>,
        node: &mut Node,
        name: &At<Name>,
        findings: &mut Findings,
    ) {
        let Some(At { value: list, place }) = slot.given() else {
            return;
        };
        if list.items.is_empty() && list.whole {
            findings
                .report(&codes::WRONG_VALUE, *place, format!("node `{}` has no address", name.value.0))
                .help("list at least one address to answer with");
        }
        for At { value: address, place } in &list.items {
            if let Some((owner, first)) = self.addresses.get(address) {
                let message = match *owner == name.value.0 {
                    true => format!("{address} is listed twice for node `{owner}`"),
                    false => format!("{address} belongs to two nodes, `{owner}` and `{}`", name.value.0),
                };
                findings
                    .report(&codes::DUPLICATE_ADDRESS, *place, message)
                    .help("an address leads to one node: remove it from one of them")
                    .related(*first, "first given here");
                continue;
            }
            self.addresses.insert(*address, (name.value.0.clone(), *place));
            match address {
                IpAddr::V4(v4) => node.v4.push(*v4),
                IpAddr::V6(v6) => node.v6.push(*v6),
            }
        }
    }
}

fn lower_labels(
    slot: &Slot<Table<Name, crate::policy::scalars::Text>>,
    facts: &mut NodeFacts,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if slot.is_broken() {
        facts.set_all_unknown();
    }
    for (label, text) in slot.value().map_or(&[][..], |table| &table.rows) {
        if BUILT_IN.contains(&label.value.0.as_str()) {
            findings
                .report(&codes::WRONG_VALUE, label.place, format!("`{}` is a built-in label", label.value.0))
                .help("every node has it already; choose another name");
            continue;
        }
        facts.set(&label.value.0, text.as_ref().map_or(Fact::Unknown, |text| Fact::Is(text.0.clone())));
        if let Some(text) = text {
            labels.insert(label.value.0.clone(), text.0.clone());
        }
    }
    labels
}

fn ends_of(
    node: &Node,
    addresses: &Slot<List<IpAddr>>,
    target: &Slot<TargetsFile>,
    findings: &mut Findings,
) -> Ends {
    let mut ends = Ends {
        name: node.name.clone(),
        addresses: [node.v4.first().copied().map(IpAddr::V4), node.v6.first().copied().map(IpAddr::V6)],
        whole: addresses.value().is_some_and(|list| list.whole),
        targets: [None; 2],
        first: addresses.value().and_then(|list| list.items.first()).map(|at| at.value),
    };
    if let Some(targets) = target.value() {
        probe::check_targets(targets, findings);
        let TargetsFile { place: _, ipv4, ipv6 } = targets;
        for socket in ipv4.given().into_iter().chain(ipv6.given()) {
            probe::check_has_family(socket, &ends, findings);
            ends.targets[Family::of(socket.value.ip()).index()] = Some(socket.value);
        }
    }
    ends
}

/// Fills `out` and returns where each probe is declared.
fn lower_probes(
    own: &Slot<List<ProbeFile>>,
    defaults: Option<&DefaultsFile>,
    ends: &Ends,
    name: &At<Name>,
    out: &mut Vec<crate::model::fleet::ProbeSpec>,
    findings: &mut Findings,
) -> Vec<Place> {
    let absent = Slot::Absent;
    let slot = own.or(defaults.map_or(&absent, |defaults| &defaults.probes));
    let declared = slot.value().map_or(&[][..], |list| &list.items);
    let whole = !slot.is_broken() && slot.value().is_none_or(|list| list.whole);
    let mut places = Vec::new();
    for At { value: file, place: _ } in declared {
        if let Some(spec) = probe::lower(file, ends, findings) {
            out.push(spec);
            places.push(file.place);
        }
    }
    if out.len() > 64 {
        findings
            .report(&codes::TOO_MANY, name.place, format!("node `{}` has more than 64 probes", ends.name))
            .help("a probe or two tell whether a node serves");
    }
    if declared.is_empty() && whole {
        findings
            .report(&codes::NODE_WITHOUT_PROBE, name.place, format!("nothing watches node `{}`", ends.name))
            .help("add `probes`, here or under `defaults`; without one the node counts as up for ever");
    } else if whole && ends.whole && out.len() == declared.len() {
        warn_unprobed_families(ends, out, name, findings);
    }
    places
}

fn warn_unprobed_families(
    ends: &Ends,
    probes: &[crate::model::fleet::ProbeSpec],
    name: &At<Name>,
    findings: &mut Findings,
) {
    for family in Family::BOTH {
        let at = family.index();
        let watched = probes.iter().any(|probe| probe.targets[at].is_some());
        let meant = probes.iter().any(|probe| probe.targets[1 - at].is_some());
        if ends.addresses[at].is_some() && !watched && meant {
            let message = format!("no probe watches {family} of node `{}`", ends.name);
            findings
                .report(&codes::FAMILY_WITHOUT_PROBE, name.place, message)
                .help(format!("give a probe an {family} target; without one {family} counts as up for ever"));
        }
    }
}

/// Zero and target above cap, with what is inherited counted in but reported where it is written.
fn check_capacity(own: &CapacityFile, inherited: Option<&CapacityFile>, findings: &mut Findings) {
    let CapacityFile { place: _, unit: _, amount, target, cap } = own;
    if let Some(at) = amount.given()
        && at.value.0 == 0
    {
        findings
            .report(&codes::ZERO_CAPACITY, at.place, "a capacity of 0 can carry nothing")
            .help("state what it can carry, use `capacity: none` for no limit, or drain the node instead");
    }
    let target_percent =
        own.target.value().or(inherited.and_then(|c| c.target.value())).map_or(TARGET, |p| p.0);
    let cap_percent = own.cap.value().or(inherited.and_then(|c| c.cap.value())).map_or(CAP, |p| p.0);
    let place = target.given().map(|at| at.place).or(cap.given().map(|at| at.place));
    if let Some(place) = place
        && target_percent > cap_percent
    {
        let message = format!(
            "the target, {} %, is above the cap, {} %",
            target_percent.percent(),
            cap_percent.percent()
        );
        findings.report(&codes::TARGET_ABOVE_CAP, place, message).help(
            "the target is where congestion gets a price, the cap what is never planned past: target <= cap",
        );
    }
}

const TARGET: Ppm = Ppm::from_percent(75);
const CAP: Ppm = Ppm::from_percent(90);

fn lower_capacity(
    slot: &Slot<OrNone<CapacityFile>>,
    defaults: Option<&DefaultsFile>,
    name: &At<Name>,
    findings: &mut Findings,
) -> Option<Capacity> {
    let inherited = defaults.and_then(|defaults| defaults.capacity.value());
    let own = match slot.value() {
        Some(OrNone(None)) => return None,
        Some(OrNone(Some(own))) => Some(own),
        None if slot.is_broken() => return None,
        None => None,
    };
    if let Some(own) = own {
        check_capacity(own, inherited, findings);
    }
    // The node's own keys first, then the defaults'.
    let layers = || own.into_iter().chain(inherited);
    let broken = layers().any(|c| c.unit.is_broken() || c.amount.is_broken());
    let unit = layers().find_map(|c| c.unit.value());
    let amount = layers().find_map(|c| c.amount.value());
    let (Some(amount), Some(unit)) = (amount, unit) else {
        let missing = if amount.is_none() { "amount" } else { "unit" };
        let place = own.map_or(name.place, |own| own.place);
        if !broken && (own.is_some() || amount.is_some()) {
            findings
                .report(&codes::MISSING_KEY, place, format!("`{missing}` of the capacity is missing"))
                .help(format!("add `{missing}: …` here or under `defaults`"));
        }
        return None;
    };
    Some(Capacity {
        unit: unit.0.clone(),
        amount: amount.0,
        target: layers().find_map(|c| c.target.value()).map_or(TARGET, |percent| percent.0),
        cap: layers().find_map(|c| c.cap.value()).map_or(CAP, |percent| percent.0),
    })
}
