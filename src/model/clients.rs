//! Who asks: carrier lines, areas, operator overrides, and the client groups made of them.

use super::ids::{AreaId, LineId};
use crate::base::prefix::Prefix;
use crate::base::units::Coordinates;
use serde::{Deserialize, Serialize};

/// `clients.yaml`, compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clients {
    pub lines: Vec<Line>,
    pub areas: Vec<Area>,
    /// In file order; where prefixes nest the longest wins, field by field.
    pub overrides: Vec<ClientOverride>,
}

/// A carrier: a set of autonomous systems. (Carrier x area is said by an area that names a line.)
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub name: String,
    pub title: Option<String>,
    /// Sorted, unique over all lines.
    pub asns: Vec<u32>,
}

/// A set of clients named by policy.
///
/// A client is in the area when it is in one of the places (or no place is named) and on one of
/// the lines (or no line is named). An area naming neither holds only the clients of its CIDRs.
/// Clients of `cidrs`, and of overrides that name the area, are in it always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Area {
    pub name: String,
    pub title: Option<String>,
    pub continents: Vec<CountryCode>,
    pub countries: Vec<CountryCode>,
    /// ISO 3166-2, upper case: `CN-GD`.
    pub subdivisions: Vec<String>,
    pub lines: Vec<LineId>,
    pub cidrs: Vec<Prefix>,
}

/// What the operator knows better than the databases about a prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientOverride {
    pub prefix: Prefix,
    pub continent: Option<CountryCode>,
    pub country: Option<CountryCode>,
    pub subdivision: Option<String>,
    pub line: Option<LineId>,
    pub location: Option<Coordinates>,
    pub areas: Vec<AreaId>,
}

/// Two upper-case letters: ISO 3166-1 alpha-2, or a continent (AF AN AS EU NA OC SA).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CountryCode(pub [u8; 2]);

impl CountryCode {
    /// Two ASCII letters, any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl std::fmt::Display for CountryCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Clients that no policy can tell apart: same areas, same line, same place to measure from.
///
/// Made by `geo::compile` from every network of the databases; a few hundred for country data,
/// thousands with city data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientGroup {
    /// Stable across reloads while the attributes are: `CN/line=telecom/areas=mainland`. Used in
    /// files, logs and `explain`. Group 0 is `unknown`.
    pub key: String,
    pub country: Option<CountryCode>,
    pub line: Option<LineId>,
    /// Where distances are measured from (a principal city, or a quantised city location).
    pub location: Option<Coordinates>,
    /// Areas the group is in, ascending.
    pub areas: Vec<AreaId>,
    /// Address space in the group: IPv4 in /24s and IPv6 in /48s (saturating), for demand priors
    /// and hash lengths.
    pub v4_slash24: u32,
    pub v6_slash48: u32,
}

impl ClientGroup {
    pub fn in_area(&self, area: AreaId) -> bool {
        self.areas.binary_search(&area).is_ok()
    }
}
