//! `countries.csv`: every ISO 3166 code with its continent, name and one place to stand for it.
//!
//! Names come from tzdata's `iso3166.tab`, places from its `zone.tab` (both public domain). A
//! country with one time zone is stood for by that zone's city; for one with several the table
//! below names the zone of the capital or, where another city is where the people are, of that
//! city. The result is a point to measure distance from, not a claim about any client.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::BuildError;

/// Continent codes as MaxMind writes them, each with its countries.
const CONTINENTS: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR \
         MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN \
         MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU \
         LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM \
         PR SV SX TC TT US VC VG VI",
    ),
    ("OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// The zone that stands for a country with several.
const PRINCIPAL_ZONE: [(&str, &str); 31] = [
    ("AQ", "Antarctica/McMurdo"),
    ("AR", "America/Argentina/Buenos_Aires"),
    ("AU", "Australia/Sydney"),
    ("BR", "America/Sao_Paulo"),
    ("CA", "America/Toronto"),
    ("CD", "Africa/Kinshasa"),
    ("CL", "America/Santiago"),
    ("CN", "Asia/Shanghai"),
    ("CY", "Asia/Nicosia"),
    ("DE", "Europe/Berlin"),
    ("EC", "America/Guayaquil"),
    ("ES", "Europe/Madrid"),
    ("FM", "Pacific/Pohnpei"),
    ("GL", "America/Nuuk"),
    ("ID", "Asia/Jakarta"),
    ("KI", "Pacific/Tarawa"),
    ("KZ", "Asia/Almaty"),
    ("MH", "Pacific/Majuro"),
    ("MN", "Asia/Ulaanbaatar"),
    ("MX", "America/Mexico_City"),
    ("MY", "Asia/Kuala_Lumpur"),
    ("NZ", "Pacific/Auckland"),
    ("PF", "Pacific/Tahiti"),
    ("PG", "Pacific/Port_Moresby"),
    ("PS", "Asia/Gaza"),
    ("PT", "Europe/Lisbon"),
    ("RU", "Europe/Moscow"),
    ("UA", "Europe/Kyiv"),
    ("UM", "Pacific/Wake"),
    ("US", "America/New_York"),
    ("UZ", "Asia/Tashkent"),
];

/// Uninhabited islands that `zone.tab` leaves out: code, place, latitude, longitude.
const WITHOUT_ZONE: [(&str, &str, f64, f64); 2] =
    [("BV", "Bouvet Island", -54.43, 3.38), ("HM", "Heard Island", -53.10, 73.51)];

/// The continent of an ISO 3166 code; `None` for anything else.
pub fn continent_of(code: &str) -> Option<&'static str> {
    if code.len() != 2 {
        return None;
    }
    CONTINENTS
        .iter()
        .find(|(_, countries)| countries.split(' ').any(|country| country == code))
        .map(|(name, _)| *name)
}

/// The whole file from `iso3166.tab` and `zone.tab`, sorted by code.
pub fn csv(iso3166_tab: &str, zone_tab: &str, source: &str) -> Result<String, BuildError> {
    let zones = zones(zone_tab)?;
    let mut out = format!(
        "# Every ISO 3166 country code with its continent and one place to stand for it.\n\
         # Source: iso3166.tab and zone.tab of {source} (public domain); made by `rhumb geo build`.\n\
         # The place is the principal city of the time zone chosen for the country; decimal degrees.\n\
         code,continent,name,city,latitude,longitude\n"
    );
    let names: BTreeMap<&str, &str> = lines(iso3166_tab).filter_map(|line| line.split_once('\t')).collect();
    if names.is_empty() {
        return Err(BuildError::Empty);
    }
    for (code, name) in names {
        let refuse = |problem| BuildError::Country { code: code.to_owned(), problem };
        let continent = continent_of(code).ok_or_else(|| refuse("no continent is known for it"))?;
        let (city, latitude, longitude) = place(code, &zones).map_err(refuse)?;
        // A comma in a name would need quoting, which a reader of plain fields would not undo.
        let name = name.replace(',', " ");
        writeln!(out, "{code},{continent},{name},{city},{latitude:.4},{longitude:.4}")
            .expect("writing to a string cannot fail");
    }
    Ok(out)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty())
}

/// One row of `zone.tab`.
struct Zone<'a> {
    name: &'a str,
    latitude: f64,
    longitude: f64,
}

fn zones(zone_tab: &str) -> Result<BTreeMap<&str, Vec<Zone<'_>>>, BuildError> {
    let mut zones: BTreeMap<&str, Vec<Zone<'_>>> = BTreeMap::new();
    for line in lines(zone_tab) {
        let mut fields = line.split('\t');
        let code = fields.next().unwrap_or_default();
        let refuse = || BuildError::Country {
            code: code.to_owned(),
            problem: "its line in zone.tab has no place or zone",
        };
        let (latitude, longitude) = fields.next().and_then(coordinates).ok_or_else(refuse)?;
        let name = fields.next().ok_or_else(refuse)?;
        zones.entry(code).or_default().push(Zone { name, latitude, longitude });
    }
    Ok(zones)
}

fn place(code: &str, zones: &BTreeMap<&str, Vec<Zone<'_>>>) -> Result<(String, f64, f64), &'static str> {
    if let Some((_, place, latitude, longitude)) = WITHOUT_ZONE.iter().find(|row| row.0 == code) {
        return Ok(((*place).to_owned(), *latitude, *longitude));
    }
    let candidates = zones.get(code).map(Vec::as_slice).unwrap_or_default();
    let zone = match (candidates, PRINCIPAL_ZONE.iter().find(|row| row.0 == code)) {
        (_, Some((_, principal))) => candidates
            .iter()
            .find(|zone| zone.name == *principal)
            .ok_or("zone.tab lacks the zone chosen for it")?,
        ([only], None) => only,
        ([], None) => return Err("zone.tab has no zone for it"),
        _ => return Err("it has several zones and none is chosen for it"),
    };
    let city = zone.name.rsplit('/').next().unwrap_or_default().replace('_', " ");
    Ok((city, zone.latitude, zone.longitude))
}

/// `±DDMM±DDDMM` or `±DDMMSS±DDDMMSS` (ISO 6709) to decimal degrees.
fn coordinates(text: &str) -> Option<(f64, f64)> {
    let split = 1 + text.get(1..)?.find(['+', '-'])?;
    Some((degrees(&text[..split], 2)?, degrees(&text[split..], 3)?))
}

fn degrees(text: &str, whole_digits: usize) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1.0, &text[1..]),
        b'-' => (-1.0, &text[1..]),
        _ => return None,
    };
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok().map(f64::from);
    let whole = part(0, whole_digits)?;
    let minutes = part(whole_digits, whole_digits + 2)?;
    let seconds =
        if digits.len() > whole_digits + 2 { part(whole_digits + 2, whole_digits + 4)? } else { 0.0 };
    Some(sign * (whole + minutes / 60.0 + seconds / 3_600.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_on_one_continent() {
        let mut all: Vec<_> = CONTINENTS.iter().flat_map(|(_, codes)| codes.split(' ')).collect();
        all.sort_unstable();
        assert_eq!(all.len(), 249);
        all.dedup();
        assert_eq!(all.len(), 249, "a code stands twice");
        assert_eq!(continent_of("CN"), Some("AS"));
        assert_eq!(continent_of("EU"), None);
        assert_eq!(continent_of(""), None);
    }

    #[test]
    fn places_are_read_and_chosen() {
        let iso = "# comment\nDE\tGermany\nBV\tBouvet Island\nGB\tBritain (UK)\n";
        let zone = "DE\t+5230+01322\tEurope/Berlin\tmost\nDE\t+4742+00841\tEurope/Busingen\tBusingen\n\
                    GB\t+513030-0000731\tEurope/London\n";
        let csv = csv(iso, zone, "tzdata 1").expect("builds");
        let rows: Vec<_> = csv.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rows,
            [
                "code,continent,name,city,latitude,longitude",
                "BV,AN,Bouvet Island,Bouvet Island,-54.4300,3.3800",
                "DE,EU,Germany,Berlin,52.5000,13.3667",
                "GB,EU,Britain (UK),London,51.5083,-0.1253",
            ]
        );
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let problem = |iso: &str, zone: &str| csv(iso, zone, "x").expect_err("refused").to_string();
        assert!(problem("XX\tNowhere\n", "").contains("no continent"));
        assert!(problem("GB\tBritain\n", "").contains("no zone"));
        assert!(problem("GB\tBritain\n", "GB\t+5130\tEurope/London\n").contains("no place"));
        let two = "GB\t+5130-00007\tEurope/London\nGB\t+5130-00007\tEurope/Leeds\n";
        assert!(problem("GB\tBritain\n", two).contains("several zones"));
        assert!(problem("DE\tGermany\n", two).contains("lacks the zone"));
        assert!(problem("", "").contains("no networks"));
    }
}
