//! `countries.csv`: which continent a country is on and where distances to it are measured from.
//!
//! ```text
//!  # comment
//!  code,continent,name,city,latitude,longitude
//!  KR,AS,"Korea, Republic of",Seoul,37.55,126.967
//! ```
//!
//! Fields may be quoted as in RFC 4180; a field does not span lines.

use super::error::GeoError;
use crate::base::units::Coordinates;
use crate::model::clients::CountryCode;
use std::collections::BTreeMap;

/// The table, by code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Countries {
    rows: BTreeMap<CountryCode, Country>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Country {
    pub continent: CountryCode,
    pub name: String,
    /// The principal city.
    pub city: String,
    pub location: Coordinates,
}

impl Countries {
    /// Reads the whole table; `file` is how messages call it.
    ///
    /// # Errors
    /// [`GeoError::Countries`] for the first line that is not as above, or names a country twice.
    pub fn parse(file: &str, text: &str) -> Result<Self, GeoError> {
        let mut rows = BTreeMap::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("code,") {
                continue;
            }
            let refuse = |reason: String| GeoError::Countries { file: file.to_owned(), line: number, reason };
            let (code, country) = row(line).map_err(refuse)?;
            if rows.insert(code, country).is_some() {
                return Err(refuse(format!("{code} is there twice")));
            }
        }
        Ok(Self { rows })
    }

    pub fn country(&self, code: CountryCode) -> Option<&Country> {
        self.rows.get(&code)
    }

    pub fn iter(&self) -> impl Iterator<Item = (CountryCode, &Country)> {
        self.rows.iter().map(|(&code, country)| (code, country))
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn row(line: &str) -> Result<(CountryCode, Country), String> {
    let fields = split(line)?;
    let [code, continent, name, city, latitude, longitude] = fields.as_slice() else {
        return Err(format!("{} fields where 6 are needed", fields.len()));
    };
    let two_letters =
        |text: &str| CountryCode::parse(text).ok_or_else(|| format!("'{text}' is not a code of two letters"));
    let degrees =
        |text: &str| text.parse::<f64>().map_err(|_| format!("'{text}' is not a number of degrees"));
    let location = Coordinates::from_degrees(degrees(latitude)?, degrees(longitude)?)
        .ok_or_else(|| format!("{latitude}, {longitude} is not on the globe"))?;
    let country =
        Country { continent: two_letters(continent)?, name: name.clone(), city: city.clone(), location };
    Ok((two_letters(code)?, country))
}

/// The fields of one line, quotes taken off.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    Ok(fields.iter().map(|field| field.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let got = match Countries::parse("countries.csv", text) {
            Ok(countries) => {
                let shown = countries.iter().map(|(code, c)| {
                    format!("{code} {} {} {} {}", c.continent, c.name, c.city, c.location.latitude_mdeg)
                });
                shown.collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expect), "{got}");
    }

    #[test]
    fn lines_are_read_or_named() {
        check(
            "# c\ncode,continent,name,city,latitude,longitude\nKR,AS,\"Korea, Republic of\",Seoul,37.55,126.967\n\nus,na,USA,New York,40.714,-74.006\n",
            "KR AS Korea, Republic of Seoul 37550; US NA USA New York 40714",
        );
        check("A,AS,x,y,1,1", "country table countries.csv, line 1: 'A' is not a code");
        check("#\nUS,NA,x,y,1", "country table countries.csv, line 2: 5 fields");
        check("US,NA,x,y,99,1", "country table countries.csv, line 1: 99, 1 is not on the globe");
        check("US,NA,x,y,a,1", "country table countries.csv, line 1: 'a' is not a number");
        check("US,NA,\"x,y,1,1", "country table countries.csv, line 1: a quote is not closed");
        check("US,NA,x,y,1,1\nUS,NA,x,y,1,1", "country table countries.csv, line 2: US is there twice");
    }
}
