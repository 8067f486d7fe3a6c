//! Countries, continents, subdivisions, networks and carrier numbers, as policy files write them.
//!
//! The country table is ISO 3166-1 alpha-2 by continent (plus XK, which databases use for Kosovo).
//! Continents serve only to tell that a rule for a continent leaves nothing to a later rule for one
//! of its countries; where a client is, geo data says.

use super::codes;
use super::read::{Bad, Scalar};
use crate::base::prefix::Prefix;
use crate::model::clients::CountryCode;
use serde_json::{Value as Json, json};
use std::net::IpAddr;

/// Continent code and its countries.
const CONTINENTS: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ \
         NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY \
         NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD \
         ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX \
         TC TT US VC VG VI",
    ),
    ("OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// The continent that a country is counted to here; `None` for no country.
pub fn continent_of(country: CountryCode) -> Option<CountryCode> {
    let is_in = |list: &str| list.split_whitespace().any(|code| code == country.as_str());
    CONTINENTS.iter().find(|(_, list)| is_in(list)).and_then(|(code, _)| CountryCode::parse(code))
}

/// ISO 3166-1 alpha-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country(pub CountryCode);

impl Scalar for Country {
    fn schema() -> Json {
        let mut codes: Vec<&str> = CONTINENTS.iter().flat_map(|(_, list)| list.split_whitespace()).collect();
        codes.sort_unstable();
        json!({ "type": "string", "enum": codes })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        if let Some(code) = CountryCode::parse(text).filter(|&code| continent_of(code).is_some()) {
            return Ok(Self(code));
        }
        let help = match text.to_ascii_uppercase().as_str() {
            "UK" => "the United Kingdom is GB",
            "EL" => "Greece is GR",
            "EU" => "Europe is a continent: write it under `continents`",
            _ => "two letters of ISO 3166-1, such as CN, JP, DE or NO",
        };
        Err(Bad::of(&codes::UNKNOWN_COUNTRY, format!("`{text}` is not a country code"), help))
    }
}

/// AF AN AS EU NA OC SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continent(pub CountryCode);

impl Scalar for Continent {
    fn schema() -> Json {
        json!({ "type": "string", "enum": CONTINENTS.map(|(code, _)| code) })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let known = |code: &CountryCode| CONTINENTS.iter().any(|(known, _)| *known == code.as_str());
        CountryCode::parse(text).filter(known).map(Self).ok_or_else(|| {
            Bad::of(
                &codes::UNKNOWN_CONTINENT,
                format!("`{text}` is not a continent code"),
                "one of AF (Africa), AN (Antarctica), AS (Asia), EU (Europe), NA (North America), OC (Oceania), \
                 SA (South America)",
            )
        })
    }
}

/// ISO 3166-2: country, hyphen, one to three letters or digits. Upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subdivision(pub String);

impl Subdivision {
    /// The country in front of the hyphen.
    pub fn country(code: &str) -> Option<CountryCode> {
        code.split_once('-').and_then(|(country, _)| CountryCode::parse(country))
    }
}

impl Scalar for Subdivision {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z]{2}-[A-Z0-9]{1,3}$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let upper = text.to_ascii_uppercase();
        let refuse = |help: &str| {
            Err(Bad::of(&codes::BAD_SUBDIVISION, format!("`{text}` is not a subdivision code"), help))
        };
        let Some((country, part)) = upper.split_once('-') else {
            return refuse("country and part of ISO 3166-2 with a hyphen: CN-GD");
        };
        if CountryCode::parse(country).is_none_or(|code| continent_of(code).is_none()) {
            return refuse("the part before the hyphen is a country of ISO 3166-1: CN-GD");
        }
        if !(1..=3).contains(&part.len()) || !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return refuse("the part after the hyphen has one to three letters or digits: CN-GD");
        }
        Ok(Self(upper))
    }
}

/// `192.0.2.0/24`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub Prefix);

impl Scalar for Cidr {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let bad = || {
            Bad::of(
                &codes::BAD_CIDR,
                format!("`{text}` is not a network"),
                "192.0.2.0/24, 2001:db8::/32, or one address",
            )
        };
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => most,
            Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => {
                len.parse::<u8>().ok().filter(|len| *len <= most).ok_or_else(bad)?
            }
            Some(_) => return Err(bad()),
        };
        let prefix = Prefix::of(address, len);
        if prefix.address() != address {
            let message = format!("`{text}` has bits set past its /{len}");
            let help = format!("write `{prefix}` for the network, or `{address}` for the one address");
            return Err(Bad::of(&codes::CIDR_HOST_BITS, message, help));
        }
        Ok(Self(prefix))
    }
}

/// An autonomous system: `4134` or `AS4134`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asn(pub u32);

impl Scalar for Asn {
    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": u32::MAX },
            { "type": "string", "pattern": "^(AS|as)[0-9]+$" },
        ] })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
        match digits.parse::<u32>() {
            Ok(asn) if asn > 0 && !digits.starts_with('+') => Ok(Self(asn)),
            _ => Err(Bad::value(format!("`{text}` is not an AS number"), "write it as 4134 or AS4134")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_is_listed_once_and_norway_is_one() {
        let mut codes: Vec<&str> = CONTINENTS.iter().flat_map(|(_, list)| list.split_whitespace()).collect();
        assert_eq!(codes.len(), 250, "249 of ISO 3166-1 and XK");
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 250);
        let norway = Country::parse("NO", true).map_err(|bad| bad.message).expect("Norway");
        assert_eq!(continent_of(norway.0), CountryCode::parse("EU"));
    }

    #[test]
    fn networks_say_their_masked_form() {
        let bad = Cidr::parse("10.1.2.3/16", true).expect_err("host bits");
        assert_eq!(bad.code.name, "cidr-host-bits");
        assert!(bad.help.contains("`10.1.0.0/16`"));
        for text in ["10.0.0.0/33", "10.0.0/8", "::/129", "::/+8", "x/8", "1.2.3.4/", ""] {
            assert_eq!(Cidr::parse(text, true).expect_err("refused").code.name, "bad-cidr", "{text}");
        }
        assert!(Cidr::parse("2001:db8::/32", true).is_ok());
    }
}
