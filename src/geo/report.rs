//! All that is known of one address, and from where: what `rhumb geo lookup` shows.
//!
//! It runs the very overlay and classification that [`super::compile()`] runs, so it cannot disagree
//! with the table; the table itself is asked for group and covering prefix.

use super::attributes::Classifier;
use super::countries::Countries;
use super::database::Database;
use super::embedded_ipv4;
use super::facts::{Field, NetworkFacts};
use super::overlay::Overlay;
use super::table::GeoTable;
use crate::base::prefix::{Family, Prefix};
use crate::model::clients::{ClientGroup, Clients};
use std::net::IpAddr;

/// The report on one address.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressReport {
    pub address: IpAddr,
    /// What was looked up: the IPv4 address inside, for v4-mapped, 6to4, Teredo and NAT64.
    pub looked_up: IpAddr,
    /// After all overlays.
    pub facts: NetworkFacts,
    /// Where each known field came from, in the order of [`Field::ALL`].
    pub sources: Vec<Source>,
    /// The network each database has the address in, in overlay order; databases that know nothing of
    /// it are left out.
    pub networks: Vec<(String, Prefix)>,
    pub line: Option<String>,
    pub areas: Vec<String>,
    /// As in the table.
    pub group: ClientGroup,
    /// All of it is in the group.
    pub covering: Prefix,
}

/// Provenance of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub field: Field,
    pub value: String,
    /// A file's name, `override PREFIX`, or `country table`.
    pub from: String,
}

/// Reports on `address`; `table` was compiled from the other arguments.
pub fn facts(
    databases: &[&Database],
    clients: &Clients,
    countries: &Countries,
    table: &GeoTable,
    address: IpAddr,
) -> AddressReport {
    let looked_up = match address {
        IpAddr::V6(v6) => embedded_ipv4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    let overlay = Overlay::new(clients);
    let patch = overlay.patch_of(Prefix::of(looked_up, Family::of(looked_up).bits()));
    let classifier = Classifier::new(clients, countries);
    let mut layers = Vec::new();
    let mut networks = Vec::new();
    let mut merged = NetworkFacts::default();
    for database in databases {
        let (found, network) = database.lookup(looked_up);
        merged.overlay(found);
        layers.push((database.name().to_owned(), merged.clone()));
        if *found != NetworkFacts::default() {
            networks.push((database.name().to_owned(), network));
        }
    }
    for (position, &last) in patch.overrides.iter().enumerate() {
        let so_far = classifier.overridden(merged.clone(), &patch.overrides[..=position]);
        let prefix = clients.overrides[last as usize].prefix;
        layers.push((format!("override {prefix}"), so_far.facts));
    }
    let known = classifier.known(merged, patch);
    layers.push(("country table".to_owned(), known.facts.clone()));
    AddressReport {
        address,
        looked_up,
        sources: sources(&known.facts, &layers),
        networks,
        line: known.line.and_then(|line| classifier.line_name(line)).map(str::to_owned),
        areas: known.areas.iter().filter_map(|&id| classifier.area_name(id)).map(str::to_owned).collect(),
        group: group_of(table, looked_up),
        covering: table.covering(looked_up),
        facts: known.facts,
    }
}

/// For each known field the first layer from which on it had its final value.
fn sources(last: &NetworkFacts, layers: &[(String, NetworkFacts)]) -> Vec<Source> {
    let known = Field::ALL.into_iter().filter_map(|field| Some((field, last.shown(field)?)));
    known
        .filter_map(|(field, value)| {
            let agreeing =
                layers.iter().rev().take_while(|(_, facts)| facts.shown(field).as_ref() == Some(&value));
            let (from, _) = agreeing.last()?;
            Some(Source { field, value, from: from.clone() })
        })
        .collect()
}

fn group_of(table: &GeoTable, address: IpAddr) -> ClientGroup {
    let located = table.locate(address);
    table.group(located.group).or_else(|| table.groups().first()).cloned().unwrap_or_else(|| ClientGroup {
        key: "unknown".to_owned(),
        country: None,
        line: None,
        location: None,
        areas: Vec::new(),
        v4_slash24: 0,
        v6_slash48: 0,
    })
}
