//! What policy can tell of a network: areas, line, country, and the place to measure from.
//!
//! Two networks with equal attributes are in one client group. Order of precedence for each field:
//! longest override, then the later database, then the earlier one, then the country table.

use super::countries::Countries;
use super::facts::{NetworkFacts, shown_location};
use super::overlay::Patch;
use crate::base::units::Coordinates;
use crate::model::clients::{Area, Clients, CountryCode};
use crate::model::ids::{AreaId, LineId};
use foldhash::HashMap;

/// The first grid for locations from databases: 2.5 degrees, about 280 km at the equator.
const GRID_MDEG: i32 = 2_500;

/// One possible identity of a client group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attributes {
    pub country: Option<CountryCode>,
    pub place: Place,
    pub line: Option<LineId>,
    /// Ascending.
    pub areas: Vec<AreaId>,
}

/// Where distances are measured from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// The principal city of the country, if that is known.
    #[default]
    OfCountry,
    /// A cell of the grid, counted from the south pole and the date line.
    Cell { row: i16, column: i16 },
    /// As an override says.
    Exact { latitude_mdeg: i32, longitude_mdeg: i32 },
}

impl Place {
    fn cell(at: Coordinates) -> Self {
        let row = (at.latitude_mdeg + 90_000).clamp(0, 179_999) / GRID_MDEG;
        let column = (at.longitude_mdeg + 180_000).clamp(0, 359_999) / GRID_MDEG;
        Place::Cell { row: row as i16, column: column as i16 }
    }

    /// The same place on a grid `2^doublings` times as coarse.
    pub fn coarser(self, doublings: u32) -> Self {
        match self {
            Place::Cell { row, column } => Place::Cell { row: row >> doublings, column: column >> doublings },
            other => other,
        }
    }

    /// The point itself: a cell's is its centre.
    pub fn location(
        self,
        doublings: u32,
        country: Option<CountryCode>,
        countries: &Countries,
    ) -> Option<Coordinates> {
        match self {
            Place::OfCountry => countries.country(country?).map(|row| row.location),
            Place::Exact { latitude_mdeg, longitude_mdeg } => {
                Some(Coordinates { latitude_mdeg, longitude_mdeg })
            }
            Place::Cell { row, column } => {
                let size = GRID_MDEG << doublings;
                let centre = |index: i16, least: i32| (i32::from(index) * size + size / 2 - least).min(least);
                Some(Coordinates {
                    latitude_mdeg: centre(row, 90_000),
                    longitude_mdeg: centre(column, 180_000),
                })
            }
        }
    }
}

/// Degrees per cell after `doublings`, for messages.
pub(super) fn grid_degrees(doublings: u32) -> f64 {
    f64::from(GRID_MDEG << doublings) / 1e3
}

/// The policy side of the computation, indexed for many calls.
#[derive(Debug)]
pub(super) struct Classifier<'a> {
    clients: &'a Clients,
    countries: &'a Countries,
    line_of_asn: HashMap<u32, LineId>,
}

/// Everything known of one network after all overlays.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub facts: NetworkFacts,
    pub line: Option<LineId>,
    pub areas: Vec<AreaId>,
    /// Whether the location is an override's, and so exact.
    pub exact: bool,
}

impl<'a> Classifier<'a> {
    pub fn new(clients: &'a Clients, countries: &'a Countries) -> Self {
        let mut line_of_asn = HashMap::default();
        for (position, line) in clients.lines.iter().enumerate() {
            line_of_asn.extend(line.asns.iter().map(|&asn| (asn, LineId::from_index(position))));
        }
        Self { clients, countries, line_of_asn }
    }

    /// Lays the patch over `facts` (which the databases gave) and finds line and areas.
    pub fn known(&self, facts: NetworkFacts, patch: &Patch) -> Known {
        let mut known = self.overridden(facts, &patch.overrides);
        if known.facts.continent.is_none() {
            let row = known.facts.country.and_then(|code| self.countries.country(code));
            known.facts.continent = row.map(|row| row.continent);
        }
        known.line = known.line.or_else(|| self.line_of_asn.get(&known.facts.asn?).copied());
        known.areas = self.areas(&known.facts, known.line, &patch.areas);
        known
    }

    /// `facts` with these overrides laid over in turn, and nothing inferred yet.
    pub fn overridden(&self, facts: NetworkFacts, overrides: &[u32]) -> Known {
        let mut known = Known { facts, ..Known::default() };
        let found = overrides.iter().filter_map(|&position| self.clients.overrides.get(position as usize));
        for over in found {
            known.facts.overlay(&NetworkFacts {
                continent: over.continent,
                country: over.country,
                subdivision: over.subdivision.clone(),
                location: over.location,
                ..NetworkFacts::default()
            });
            known.exact = over.location.is_some() || (known.exact && known.facts.location.is_some());
            known.line = over.line.or(known.line);
        }
        known
    }

    /// What of it tells groups apart.
    pub fn attributes(&self, known: &Known) -> Attributes {
        let place = match known.facts.location {
            Some(at) if known.exact => {
                Place::Exact { latitude_mdeg: at.latitude_mdeg, longitude_mdeg: at.longitude_mdeg }
            }
            Some(at) => Place::cell(at),
            None => Place::OfCountry,
        };
        Attributes { country: known.facts.country, place, line: known.line, areas: known.areas.clone() }
    }

    fn areas(&self, facts: &NetworkFacts, line: Option<LineId>, always: &[AreaId]) -> Vec<AreaId> {
        let areas = self.clients.areas.iter().enumerate();
        areas
            .map(|(position, area)| (AreaId::from_index(position), area))
            .filter(|(id, area)| always.binary_search(id).is_ok() || holds(area, facts, line))
            .map(|(id, _)| id)
            .collect()
    }

    /// `CN/at=23.750,113.750/line=telecom/areas=mainland+south`; ZZ is CLDR's unknown country.
    pub fn key(&self, attributes: &Attributes, doublings: u32) -> String {
        let mut key = match attributes.country {
            Some(code) => code.to_string(),
            None => "ZZ".to_owned(),
        };
        if attributes.place != Place::OfCountry
            && let Some(at) = attributes.place.location(doublings, None, self.countries)
        {
            key += &format!("/at={}", shown_location(at).replace(", ", ","));
        }
        if let Some(line) = attributes.line.and_then(|line| self.clients.lines.get(line.index())) {
            key += &format!("/line={}", line.name);
        }
        let names: Vec<&str> = attributes.areas.iter().filter_map(|id| self.area_name(*id)).collect();
        if !names.is_empty() {
            key += &format!("/areas={}", names.join("+"));
        }
        key
    }

    pub fn area_name(&self, area: AreaId) -> Option<&'a str> {
        self.clients.areas.get(area.index()).map(|area| area.name.as_str())
    }

    pub fn line_name(&self, line: LineId) -> Option<&'a str> {
        self.clients.lines.get(line.index()).map(|line| line.name.as_str())
    }
}

/// In one of the places (or none is named) and on one of the lines (or none is named); an area naming
/// neither holds its CIDRs only.
fn holds(area: &Area, facts: &NetworkFacts, line: Option<LineId>) -> bool {
    let names_place =
        !(area.continents.is_empty() && area.countries.is_empty() && area.subdivisions.is_empty());
    let in_place = || {
        facts.continent.is_some_and(|code| area.continents.contains(&code))
            || facts.country.is_some_and(|code| area.countries.contains(&code))
            || facts.subdivision.as_ref().is_some_and(|code| area.subdivisions.contains(code))
    };
    (names_place || !area.lines.is_empty())
        && (!names_place || in_place())
        && (area.lines.is_empty() || line.is_some_and(|line| area.lines.contains(&line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_centre_inside_and_double_evenly() {
        for (latitude, longitude) in [(90.0, 180.0), (-90.0, -180.0), (23.1, 113.25), (0.0, 0.0)] {
            let at = Coordinates::from_degrees(latitude, longitude).expect("on the globe");
            for doublings in 0..7 {
                let place = Place::cell(at).coarser(doublings);
                let centre = place.location(doublings, None, &Countries::default()).expect("a cell");
                let near = |a: i32, b: i32| (a - b).abs() <= (GRID_MDEG << doublings);
                assert!(near(centre.latitude_mdeg, at.latitude_mdeg), "{centre:?} {at:?}");
                assert!(near(centre.longitude_mdeg, at.longitude_mdeg), "{centre:?} {at:?}");
            }
        }
    }

    #[test]
    fn an_area_wants_place_and_line_where_it_names_both() {
        let code = |text: &str| CountryCode::parse(text).expect("a code");
        let facts = NetworkFacts { country: Some(code("CN")), ..NetworkFacts::default() };
        let area = |countries: &[&str], lines: &[u16]| Area {
            countries: countries.iter().map(|text| code(text)).collect(),
            lines: lines.iter().copied().map(LineId).collect(),
            ..Area::default()
        };
        let line = Some(LineId(1));
        assert!(holds(&area(&["JP", "CN"], &[]), &facts, None));
        assert!(holds(&area(&["CN"], &[1]), &facts, line));
        assert!(holds(&area(&[], &[0, 1]), &facts, line));
        assert!(!holds(&area(&["CN"], &[0]), &facts, line));
        assert!(!holds(&area(&["JP"], &[1]), &facts, line));
        assert!(!holds(&area(&["CN"], &[1]), &facts, None));
        assert!(!holds(&area(&[], &[]), &facts, line), "an area of CIDRs only");
    }
}
