//! What a database record says of a network, whatever layout it is in.
//!
//! | fact | MaxMind, DB-IP | IPinfo and flat layouts |
//! |---|---|---|
//! | country | `country.iso_code`, else `registered_country.iso_code` | `country_code`, `country: "US"` |
//! | continent | `continent.code` | `continent_code`, `continent: "NA"` |
//! | subdivision | `subdivisions[0].iso_code` | `region_code` |
//! | city | `city.names.en` | `city: "..."` |
//! | location | `location.latitude`, `.longitude` | `lat`+`lng`, `latitude`+`longitude`, `loc: "1.5,2.5"` |
//! | asn | `autonomous_system_number`, also in `traits` | `asn: "AS123"`, `asn.asn` |
//! | organisation | `autonomous_system_organization`, `isp`, `organization` | `as_name`, `asn.name`, `as_domain` |
//!
//! `represented_country` (a base abroad) is ignored: packets leave from where the base is.

use super::value::Value;
use crate::base::units::Coordinates;
use crate::model::clients::CountryCode;

/// All that is known of one network; every field may be unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkFacts {
    pub continent: Option<CountryCode>,
    pub country: Option<CountryCode>,
    /// ISO 3166-2: `CN-GD`.
    pub subdivision: Option<String>,
    pub city: Option<String>,
    pub location: Option<Coordinates>,
    pub asn: Option<u32>,
    pub organisation: Option<String>,
}

/// A field of [`NetworkFacts`], for provenance and for `geo info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    Continent,
    Country,
    Subdivision,
    City,
    Location,
    Asn,
    Organisation,
}

impl Field {
    pub const ALL: [Field; 7] = [
        Field::Continent,
        Field::Country,
        Field::Subdivision,
        Field::City,
        Field::Location,
        Field::Asn,
        Field::Organisation,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Field::Continent => "continent",
            Field::Country => "country",
            Field::Subdivision => "subdivision",
            Field::City => "city",
            Field::Location => "location",
            Field::Asn => "asn",
            Field::Organisation => "organisation",
        }
    }
}

impl NetworkFacts {
    /// The field as text for people; `None` if unknown.
    pub fn shown(&self, field: Field) -> Option<String> {
        match field {
            Field::Continent => self.continent.map(|code| code.to_string()),
            Field::Country => self.country.map(|code| code.to_string()),
            Field::Subdivision => self.subdivision.clone(),
            Field::City => self.city.clone(),
            Field::Location => self.location.map(shown_location),
            Field::Asn => self.asn.map(|asn| format!("AS{asn}")),
            Field::Organisation => self.organisation.clone(),
        }
    }

    pub fn knows(&self, field: Field) -> bool {
        match field {
            Field::Continent => self.continent.is_some(),
            Field::Country => self.country.is_some(),
            Field::Subdivision => self.subdivision.is_some(),
            Field::City => self.city.is_some(),
            Field::Location => self.location.is_some(),
            Field::Asn => self.asn.is_some(),
            Field::Organisation => self.organisation.is_some(),
        }
    }

    /// `later` laid over `self`, field by field.
    ///
    /// Where it names another country, what `self` says of the place (continent, subdivision, city,
    /// location) goes: a city of the old country would contradict the new one.
    pub fn overlay(&mut self, later: &NetworkFacts) {
        if later.country.is_some() && self.country.is_some() && later.country != self.country {
            self.forget_place();
        }
        fn lay<T: Clone>(under: &mut Option<T>, over: &Option<T>) {
            if over.is_some() {
                under.clone_from(over);
            }
        }
        lay(&mut self.continent, &later.continent);
        lay(&mut self.country, &later.country);
        lay(&mut self.subdivision, &later.subdivision);
        lay(&mut self.city, &later.city);
        lay(&mut self.location, &later.location);
        lay(&mut self.asn, &later.asn);
        lay(&mut self.organisation, &later.organisation);
    }

    pub(super) fn forget_place(&mut self) {
        self.continent = None;
        self.subdivision = None;
        self.city = None;
        self.location = None;
    }

    pub(super) fn of_record(record: &Value<'_>) -> Self {
        let traits = record.field("traits");
        let country = country(record);
        Self {
            continent: continent(record),
            country,
            subdivision: subdivision(record, country),
            city: city(record),
            location: location(record),
            asn: asn(record).or_else(|| asn(traits?)),
            organisation: organisation(record).or_else(|| organisation(traits?)).map(str::to_owned),
        }
    }
}

pub(super) fn shown_location(at: Coordinates) -> String {
    let (latitude, longitude) = at.degrees();
    format!("{latitude:.3}, {longitude:.3}")
}

/// A country code that names a country: not the "EU" and "AP" of old databases, not "unknown".
fn country_code(value: &Value<'_>) -> Option<CountryCode> {
    let code = CountryCode::parse(value.text()?)?;
    (!matches!(&code.0, b"EU" | b"AP" | b"XX" | b"ZZ")).then_some(code)
}

fn country(record: &Value<'_>) -> Option<CountryCode> {
    let named = |key: &str| {
        let value = record.field(key)?;
        country_code(value.field("iso_code").unwrap_or(value))
    };
    named("country").or_else(|| named("country_code")).or_else(|| named("registered_country"))
}

fn continent(record: &Value<'_>) -> Option<CountryCode> {
    let code = |value: &Value<'_>| {
        let code = CountryCode::parse(value.text()?)?;
        matches!(&code.0, b"AF" | b"AN" | b"AS" | b"EU" | b"NA" | b"OC" | b"SA").then_some(code)
    };
    let named = |key: &str| {
        let value = record.field(key)?;
        code(value.field("code").unwrap_or(value))
    };
    named("continent").or_else(|| named("continent_code"))
}

/// `CN-GD` from `GD` and the country, or as it stands if it is complete already.
fn subdivision(record: &Value<'_>, country: Option<CountryCode>) -> Option<String> {
    let nested = record.field("subdivisions").and_then(|list| list.first()?.field("iso_code")?.text());
    let code = nested.or_else(|| record.field("region_code")?.text())?.to_ascii_uppercase();
    let part = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match code.split_once('-') {
        Some((country, rest)) => (CountryCode::parse(country).is_some() && part(rest)).then_some(code),
        None if part(&code) => Some(format!("{}-{code}", country?)),
        None => None,
    }
}

fn city(record: &Value<'_>) -> Option<String> {
    let city = record.field("city")?;
    let name = city.text().or_else(|| {
        let names = city.field("names")?;
        names
            .field("en")
            .or(match names {
                Value::Map(entries) => entries.first().map(|(_, name)| name),
                _ => None,
            })?
            .text()
    });
    name.map(str::to_owned)
}

fn location(record: &Value<'_>) -> Option<Coordinates> {
    let pair = |of: &Value<'_>, latitude: &str, longitude: &str| {
        Coordinates::from_degrees(of.field(latitude)?.number()?, of.field(longitude)?.number()?)
    };
    let packed = || {
        let (latitude, longitude) = record.field("loc")?.text()?.split_once(',')?;
        Coordinates::from_degrees(latitude.trim().parse().ok()?, longitude.trim().parse().ok()?)
    };
    record
        .field("location")
        .and_then(|nested| pair(nested, "latitude", "longitude"))
        .or_else(|| pair(record, "latitude", "longitude"))
        .or_else(|| pair(record, "lat", "lng"))
        .or_else(packed)
}

/// Number 0 is nobody's (RFC 7607).
fn asn(record: &Value<'_>) -> Option<u32> {
    let value = record.field("autonomous_system_number").or_else(|| record.field("asn"))?;
    let value = value.field("asn").unwrap_or(value);
    let number = match value {
        Value::Unsigned(number) => u32::try_from(*number).ok(),
        Value::Signed(number) => u32::try_from(*number).ok(),
        Value::Text(text) => {
            let text = text.trim();
            let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
            digits.parse().ok()
        }
        _ => None,
    };
    number.filter(|&number| number != 0)
}

fn organisation<'a>(record: &Value<'a>) -> Option<&'a str> {
    let nested = record.field("asn").and_then(|asn| asn.field("name")?.text());
    ["autonomous_system_organization", "as_name", "isp", "organization", "as_domain"]
        .iter()
        .find_map(|key| record.field(key)?.text())
        .or(nested)
}

#[cfg(test)]
mod tests {
    use super::Value::{Array, Float, Map, Text, Unsigned};
    use super::*;

    fn check(record: &[(&'static str, Value<'static>)], expect: &str) {
        let facts = NetworkFacts::of_record(&Map(record.to_vec()));
        let shown: Vec<String> = Field::ALL
            .iter()
            .filter_map(|&field| Some(format!("{}={}", field.name(), facts.shown(field)?)))
            .collect();
        assert_eq!(shown.join(" "), expect, "{record:?}");
    }

    #[test]
    fn layouts_are_read_by_what_they_hold() {
        let iso = |code| Map(vec![("iso_code", Text(code))]);
        check(
            &[
                ("continent", Map(vec![("code", Text("AS"))])),
                ("country", iso("CN")),
                ("registered_country", iso("US")),
                ("subdivisions", Array(vec![iso("GD"), iso("X")])),
                ("city", Map(vec![("names", Map(vec![("de", Text("Kanton")), ("en", Text("Guangzhou"))]))])),
                ("location", Map(vec![("latitude", Float(23.1)), ("longitude", Float(113.25))])),
            ],
            "continent=AS country=CN subdivision=CN-GD city=Guangzhou location=23.100, 113.250",
        );
        check(&[("registered_country", iso("us"))], "country=US");
        check(&[("represented_country", iso("US"))], "");
        check(
            &[
                ("country", Text("Japan")),
                ("country_code", Text("JP")),
                ("continent", Text("Asia")),
                ("continent_code", Text("AS")),
                ("asn", Text("AS2497")),
                ("as_name", Text("IIJ")),
                ("as_domain", Text("iij.ad.jp")),
            ],
            "continent=AS country=JP asn=AS2497 organisation=IIJ",
        );
        check(
            &[
                ("country", Text("US")),
                ("region", Text("California")),
                ("region_code", Text("CA")),
                ("city", Text("Los Angeles")),
                ("lat", Text("34.05")),
                ("lng", Text("-118.24")),
            ],
            "country=US subdivision=US-CA city=Los Angeles location=34.050, -118.240",
        );
        check(&[("loc", Text("1.5, 2.5"))], "location=1.500, 2.500");
        check(&[("asn", Map(vec![("asn", Text("AS1")), ("name", Text("One"))]))], "asn=AS1 organisation=One");
        check(
            &[("autonomous_system_number", Unsigned(7018)), ("isp", Text("AT&T"))],
            "asn=AS7018 organisation=AT&T",
        );
        check(&[("traits", Map(vec![("autonomous_system_number", Unsigned(9))]))], "asn=AS9");
    }

    #[test]
    fn nonsense_is_nothing_rather_than_wrong() {
        check(&[("country", Text("EU")), ("asn", Unsigned(0)), ("loc", Text("north"))], "");
        check(&[("asn", Text("ASx")), ("lat", Float(91.0)), ("lng", Float(0.0))], "");
        check(&[("region_code", Text("GD"))], "");
        check(&[("country", Text("T1")), ("city", Text(" "))], "");
    }

    #[test]
    fn another_country_takes_the_old_place_with_it() {
        let mut facts = NetworkFacts {
            country: CountryCode::parse("CN"),
            subdivision: Some("CN-GD".to_owned()),
            asn: Some(4134),
            ..NetworkFacts::default()
        };
        facts.overlay(&NetworkFacts { country: CountryCode::parse("CN"), ..NetworkFacts::default() });
        assert_eq!(facts.subdivision.as_deref(), Some("CN-GD"));
        facts.overlay(&NetworkFacts { country: CountryCode::parse("HK"), ..NetworkFacts::default() });
        assert_eq!((facts.subdivision, facts.asn), (None, Some(4134)));
    }
}
