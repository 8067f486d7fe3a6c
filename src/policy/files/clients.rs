//! `clients.yaml`: carrier lines, areas, and what the operator knows better than the databases.

use super::fleet::LocationFile;
use crate::policy::places::{Asn, Cidr, Continent, Country, Subdivision};
use crate::policy::read::{List, OneOrMany, Table, record};
use crate::policy::scalars::{Name, Text, Version};

record! {
    /// Who asks.
    pub struct ClientsFile {
        /// Version of the policy language.
        gated version: Version,
        /// Carrier lines by name.
        optional lines: Table<Name, LineFile>,
        /// Areas (sets of clients) by name.
        optional areas: Table<Name, AreaFile>,
        /// What is known better than the databases about networks; where they nest, the longest wins, key by key.
        optional overrides: List<OverrideFile>,
    }
}

record! {
    /// A carrier: a set of autonomous systems.
    pub struct LineFile {
        /// For people: China Telecom.
        optional title: Text,
        /// Its AS numbers: 4134 or AS4134.
        required asns: OneOrMany<Asn>,
    }
}

record! {
    /// A set of clients: those in one of the places (any place, if none is named) and on one of the
    /// lines (any, if none is named); those of `cidrs` always.
    pub struct AreaFile {
        /// For people: mainland China.
        optional title: Text,
        /// Places: continents.
        optional continents: OneOrMany<Continent>,
        /// Places: countries (ISO 3166-1).
        optional countries: OneOrMany<Country>,
        /// Places: subdivisions (ISO 3166-2).
        optional subdivisions: OneOrMany<Subdivision>,
        /// Carrier lines.
        optional lines: OneOrMany<Name>,
        /// Networks that are in the area whatever the databases say.
        optional cidrs: OneOrMany<Cidr>,
    }
}

record! {
    /// What the operator knows better than the databases.
    pub struct OverrideFile {
        /// The networks it is about.
        required cidrs: OneOrMany<Cidr>,
        /// The continent they are in.
        optional continent: Continent,
        /// The country they are in (ISO 3166-1).
        optional country: Country,
        /// The subdivision they are in (ISO 3166-2).
        optional subdivision: Subdivision,
        /// The carrier line they are on.
        optional line: Name,
        /// Where they are.
        optional location: LocationFile,
        /// Areas they are in, beside those that follow from place and line.
        optional areas: OneOrMany<Name>,
    }
}
