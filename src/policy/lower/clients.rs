//! `clients.yaml` to [`Clients`]: lines, areas, overrides; one owner per AS and per network.

use super::{AREA, LINE, Names, location, title, values};
use crate::base::prefix::Prefix;
use crate::model::clients::{Area, ClientOverride, Clients, Line};
use crate::model::ids::{AreaId, LineId};
use crate::policy::codes;
use crate::policy::files::clients::{AreaFile, ClientsFile, LineFile, OverrideFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot, Table};
use crate::policy::scalars::Name;
use std::collections::HashMap;

/// Clients, and what the checks of services need beside them.
pub struct Lowered {
    pub clients: Clients,
    pub lines: Names,
    pub areas: Names,
    /// Per area: whether all that decides who is in it could be read.
    pub area_whole: Vec<bool>,
    pub overrides_whole: bool,
}

pub fn lower(file: &Slot<ClientsFile>, findings: &mut Findings) -> Lowered {
    let mut out = Lowered {
        clients: Clients::default(),
        lines: Names { whole: !file.is_broken(), ..Names::default() },
        areas: Names { whole: !file.is_broken(), ..Names::default() },
        area_whole: Vec::new(),
        overrides_whole: !file.is_broken(),
    };
    let Some(ClientsFile { place: _, version: _, lines, areas, overrides }) = file.value() else {
        return out;
    };
    out.lines = Names::of(lines, "lines", findings);
    out.areas = Names::of(areas, "areas", findings);
    out.clients.lines = lower_lines(lines, findings);
    for (name, area) in areas.value().map_or(&[][..], |table| &table.rows) {
        let (area, whole) = lower_area(name, area.as_ref(), &out.lines, findings);
        out.clients.areas.push(area);
        out.area_whole.push(whole);
    }
    let mut seen = HashMap::new();
    for At { value, place: _ } in overrides.value().map_or(&[][..], |list| &list.items) {
        out.overrides_whole &= !value.areas.is_broken();
        lower_override(value, &out.lines, &out.areas, &mut seen, &mut out.clients.overrides, findings);
    }
    out.overrides_whole &= !overrides.is_broken() && overrides.value().is_none_or(|list| list.whole);
    report_empty_areas(&out, areas, findings);
    out
}

fn lower_lines(lines: &Slot<Table<Name, LineFile>>, findings: &mut Findings) -> Vec<Line> {
    let mut owners: HashMap<u32, (String, Place)> = HashMap::new();
    let mut out = Vec::new();
    for (name, line) in lines.value().map_or(&[][..], |table| &table.rows) {
        let mut lowered = Line { name: name.value.0.clone(), title: None, asns: Vec::new() };
        if let Some(LineFile { place: _, title: text, asns }) = line {
            lowered.title = title(text);
            for At { value, place } in asns.value().map_or(&[][..], |list| &list.0.items) {
                if let Some((owner, first)) = owners.get(&value.0) {
                    let message =
                        format!("AS{} is in line `{}` and in line `{owner}`", value.0, name.value.0);
                    findings
                        .report(&codes::DUPLICATE_ASN, *place, message)
                        .help("an AS is on one line: remove it from one of them")
                        .related(*first, "first listed here");
                    continue;
                }
                owners.insert(value.0, (name.value.0.clone(), *place));
                lowered.asns.push(value.0);
            }
        }
        lowered.asns.sort_unstable();
        out.push(lowered);
    }
    out
}

fn lower_area(
    name: &At<Name>,
    area: Option<&AreaFile>,
    line_names: &Names,
    findings: &mut Findings,
) -> (Area, bool) {
    let mut out = Area { name: name.value.0.clone(), ..Area::default() };
    let Some(AreaFile { place: _, title: text, continents, countries, subdivisions, lines, cidrs }) = area
    else {
        return (out, false);
    };
    out.title = title(text);
    out.continents = sorted(values(items(continents)).map(|continent| continent.0));
    out.countries = sorted(values(items(countries)).map(|country| country.0));
    out.subdivisions = sorted(values(items(subdivisions)).map(|subdivision| subdivision.0));
    out.cidrs = sorted(values(items(cidrs)).map(|cidr| cidr.0));
    let mut whole = all_read(continents) && all_read(countries) && all_read(subdivisions);
    whole &= all_read(lines) && all_read(cidrs);
    let mut ids = Vec::new();
    for At { value: Name(line), place } in items(lines) {
        match line_names.resolve(line, *place, &codes::UNKNOWN_LINE, LINE, findings) {
            Some(line) => ids.push(LineId::from_index(line)),
            None => whole = false,
        }
    }
    out.lines = sorted(ids.into_iter());
    (out, whole)
}

fn items<T>(slot: &Slot<OneOrMany<T>>) -> &[At<T>] {
    slot.value().map_or(&[], |list| &list.0.items)
}

fn all_read<T>(slot: &Slot<OneOrMany<T>>) -> bool {
    !slot.is_broken() && slot.value().is_none_or(|list| list.0.whole)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn lower_override(
    file: &OverrideFile,
    line_names: &Names,
    area_names: &Names,
    seen: &mut HashMap<Prefix, Place>,
    out: &mut Vec<ClientOverride>,
    findings: &mut Findings,
) {
    let OverrideFile { place, cidrs, continent, country, subdivision, line, location: at, areas } = file;
    let line = line.given().and_then(|At { value: Name(line), place }| {
        line_names.resolve(line, *place, &codes::UNKNOWN_LINE, LINE, findings)
    });
    let mut ids = Vec::new();
    for At { value: Name(area), place } in items(areas) {
        ids.extend(
            area_names.resolve(area, *place, &codes::UNKNOWN_AREA, AREA, findings).map(AreaId::from_index),
        );
    }
    let says_nothing = continent.is_absent() && country.is_absent() && subdivision.is_absent();
    if says_nothing && file.line.is_absent() && at.is_absent() && areas.is_absent() {
        findings
            .report(&codes::WRONG_VALUE, *place, "an override that says nothing about its networks")
            .help("add country, subdivision, continent, line, location or areas");
    }
    for At { value: cidr, place } in items(cidrs) {
        if let Some(first) = seen.get(&cidr.0) {
            findings
                .report(&codes::DUPLICATE_OVERRIDE, *place, format!("{} is overridden twice", cidr.0))
                .help("put all that is known about it into one override")
                .related(*first, "first overridden here");
            continue;
        }
        seen.insert(cidr.0, *place);
        out.push(ClientOverride {
            prefix: cidr.0,
            continent: continent.value().map(|continent| continent.0),
            country: country.value().map(|country| country.0),
            subdivision: subdivision.value().map(|subdivision| subdivision.0.clone()),
            line: line.map(LineId::from_index),
            location: location(at),
            areas: sorted(ids.iter().copied()),
        });
    }
}

/// An area that names nothing and that no override names has no clients.
fn report_empty_areas(out: &Lowered, areas: &Slot<Table<Name, AreaFile>>, findings: &mut Findings) {
    if !out.overrides_whole {
        return;
    }
    for (at, (name, _)) in areas.value().map_or(&[][..], |table| &table.rows).iter().enumerate() {
        let area = &out.clients.areas[at];
        let places = area.continents.len() + area.countries.len() + area.subdivisions.len();
        let id = AreaId::from_index(at);
        let overridden = out.clients.overrides.iter().any(|given| given.areas.contains(&id));
        if out.area_whole[at] && places + area.lines.len() + area.cidrs.len() == 0 && !overridden {
            findings
                .report(&codes::EMPTY_AREA, name.place, format!("no client can be in area `{}`", area.name))
                .help(
                    "give it continents, countries, subdivisions, lines or cidrs, or name it in an override",
                );
        }
    }
}
