//! Rules of a chain that no client can reach.
//!
//! A rule is shadowed when it stands after a catch-all, or when everybody in its area is in the
//! areas of earlier rules. An area is split into *atoms* and each must be covered:
//!
//! | atom | covered by an earlier area that |
//! |---|---|
//! | place x line (either may be "any") | has a place holding this place (or any) and this line (or any) |
//! | CIDR | has a CIDR holding it |
//! | override naming the area | is named by the same override, or has a CIDR holding its prefix |
//!
//! A subdivision lies in its country and a country in its continent. "Any place" is covered only by
//! "any place": nobody is sure to be somewhere. So what is reported is certain; unions that cover
//! only together (every country of a continent) are not found.

use super::codes;
use super::findings::{Findings, Place};
use super::lower::clients::Lowered;
use super::places::{Subdivision, continent_of};
use crate::model::clients::{Area, CountryCode};
use crate::model::ids::{AreaId, LineId};

/// Reports shadowed rules, given by their areas with the place of each.
pub fn check(rules: &[(Option<AreaId>, Place)], clients: &Lowered, findings: &mut Findings) {
    let mut earlier: Vec<(AreaId, Place)> = Vec::new();
    let mut catch_all: Option<Place> = None;
    for (area, place) in rules {
        if let Some(first) = catch_all {
            findings
                .report(&codes::SHADOWED_RULE, *place, "no client gets as far as this rule")
                .help("the rule for everybody comes last: move it down, or remove this one")
                .related(first, "this rule takes everybody");
            continue;
        }
        let Some(area) = *area else {
            catch_all = Some(*place);
            continue;
        };
        if let Some(by) = covering_rule(area, &earlier, clients) {
            let name = &clients.clients.areas[area.index()].name;
            findings
                .report(
                    &codes::SHADOWED_RULE,
                    *place,
                    format!("everybody in area `{name}` has an earlier rule"),
                )
                .help("the first match counts: put the narrower area first, or remove this rule")
                .related(by, "taken from here on");
            continue;
        }
        if clients.area_whole[area.index()] {
            earlier.push((area, *place));
        }
    }
}

/// The first rule after which nothing of `area` is left.
fn covering_rule(area: AreaId, earlier: &[(AreaId, Place)], clients: &Lowered) -> Option<Place> {
    if let Some((_, place)) = earlier.iter().find(|(other, _)| *other == area) {
        return Some(*place);
    }
    if !clients.area_whole[area.index()] || !clients.overrides_whole {
        return None;
    }
    let atoms = atoms(area, clients);
    let mut last = None;
    for atom in &atoms {
        let by = earlier.iter().position(|(other, _)| covers(*other, atom, clients))?;
        last = last.max(Some(by));
    }
    last.map(|at| earlier[at].1)
}

/// A part of an area that one earlier area covers or does not.
enum Atom {
    Where(PlaceOf, Option<LineId>),
    Cidr(crate::base::prefix::Prefix),
    /// Position in the overrides.
    Override(usize),
}

#[derive(Clone)]
enum PlaceOf {
    Any,
    Continent(CountryCode),
    Country(CountryCode),
    Subdivision(String),
}

fn atoms(area: AreaId, clients: &Lowered) -> Vec<Atom> {
    let Area { name: _, title: _, continents, countries, subdivisions, lines, cidrs } =
        &clients.clients.areas[area.index()];
    let mut places: Vec<PlaceOf> = Vec::new();
    places.extend(continents.iter().map(|code| PlaceOf::Continent(*code)));
    places.extend(countries.iter().map(|code| PlaceOf::Country(*code)));
    places.extend(subdivisions.iter().map(|code| PlaceOf::Subdivision(code.clone())));
    if places.is_empty() && !lines.is_empty() {
        places.push(PlaceOf::Any);
    }
    let lines: Vec<Option<LineId>> =
        if lines.is_empty() { vec![None] } else { lines.iter().copied().map(Some).collect() };
    let mut atoms: Vec<Atom> =
        places.iter().flat_map(|place| lines.iter().map(|line| Atom::Where(place.clone(), *line))).collect();
    atoms.extend(cidrs.iter().map(|prefix| Atom::Cidr(*prefix)));
    let overrides = clients.clients.overrides.iter().enumerate();
    atoms
        .extend(overrides.filter(|(_, given)| given.areas.contains(&area)).map(|(at, _)| Atom::Override(at)));
    atoms
}

fn covers(earlier: AreaId, atom: &Atom, clients: &Lowered) -> bool {
    let area = &clients.clients.areas[earlier.index()];
    match atom {
        Atom::Where(place, line) => {
            let by_line = area.lines.is_empty() || line.is_some_and(|line| area.lines.contains(&line));
            by_line && covers_place(area, place)
        }
        Atom::Cidr(prefix) => area.cidrs.iter().any(|own| own.covers(*prefix)),
        Atom::Override(at) => {
            let given = &clients.clients.overrides[*at];
            given.areas.contains(&earlier) || area.cidrs.iter().any(|own| own.covers(given.prefix))
        }
    }
}

fn covers_place(area: &Area, place: &PlaceOf) -> bool {
    let in_continent =
        |country: CountryCode| continent_of(country).is_some_and(|code| area.continents.contains(&code));
    let in_country = |country: CountryCode| area.countries.contains(&country) || in_continent(country);
    let no_place = area.continents.is_empty() && area.countries.is_empty() && area.subdivisions.is_empty();
    // An area with neither place nor line is only its CIDRs.
    if no_place && !area.lines.is_empty() {
        return true;
    }
    match place {
        PlaceOf::Any => false,
        PlaceOf::Continent(code) => area.continents.contains(code),
        PlaceOf::Country(code) => in_country(*code),
        PlaceOf::Subdivision(code) => {
            area.subdivisions.contains(code) || Subdivision::country(code).is_some_and(in_country)
        }
    }
}
