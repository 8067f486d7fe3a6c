//! Makes the country and ASN databases that `geo-data/` ships, from the two exports of the IPFire
//! Location Database that Debian packages: text in, MMDB bytes out.
//!
//! ```text
//! tor-geoipdb   geoip, geoip6 ──▶ tor ────┐                 ┌─▶ country.mmdb
//!                                         ├─▶ tree ─▶ writer ┤
//! libloc-database  location dump ─▶ libloc┘                 └─▶ asn.mmdb
//! tzdata   iso3166.tab, zone.tab ─▶ countries ──────────────▶ countries.csv
//! ```
//!
//! The same input gives the same bytes on every machine: the build date in a file is its source's
//! date, and node numbers depend on the input's networks alone. Nothing here reads a file or asks
//! for the time; `rhumb geo build` does the first and nobody the second. Reading MMDB files is not
//! done here either: the writer is checked against a reader we did not write.

pub mod countries;
pub mod libloc;
pub mod tor;
pub mod tree;
pub mod writer;

use std::collections::HashMap;

use crate::base::clock::WallTime;
use libloc::Dump;
use tor::CountryRange;
use tree::{NO_DATA, Network, Tree};
use writer::{Database, Value};

/// What keeps a database from being built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error(
        "no line `Generated: <date>` in the header; give the export as it was published, comments included"
    )]
    NoDate,
    #[error("the input holds no networks; is it the right file?")]
    Empty,
    #[error("{what} needs more than 32-bit records; the input is too large")]
    TooLarge { what: &'static str },
    #[error("country code {code}: {problem}")]
    Country { code: String, problem: &'static str },
}

/// A finished database and what is worth telling about it.
#[derive(Clone, Debug)]
pub struct Built {
    pub bytes: Vec<u8>,
    /// Networks or ranges taken from the input.
    pub networks: usize,
    /// Distinct records in the data section.
    pub records: usize,
    /// Nodes of the search tree after sharing.
    pub nodes: usize,
    /// The source's own date, and the build date the file carries.
    pub dated: WallTime,
    /// Networks left out because they say nothing a record could hold, by country code; IPv4
    /// aliases inside IPv6 stand under `alias`.
    pub left_out: Vec<(String, usize)>,
}

/// Builds the country database from the two files of `tor-geoipdb` (either may be empty).
pub fn country_from_tor(ranges: &[CountryRange], dated: WallTime) -> Result<Built, BuildError> {
    let mut records = CountryRecords::default();
    let mut networks = Vec::with_capacity(ranges.len() * 2);
    for range in ranges {
        let value = records.of(range.code);
        if value != NO_DATA {
            tree::cover_range(range.first, range.last, value, &mut networks);
        }
    }
    records.finish(networks, ranges.len(), dated)
}

/// Builds the country database from a `location dump`.
pub fn country_from_libloc(dump: &Dump) -> Result<Built, BuildError> {
    let mut records = CountryRecords::default();
    let mut networks = Vec::with_capacity(dump.networks.len());
    for entry in &dump.networks {
        // A network without a country still hides the wider one around it.
        let value = entry.country.map_or(NO_DATA, |code| records.of(code));
        networks.push(Network::new(entry.prefix, value));
    }
    if dump.aliases > 0 {
        records.left_out.insert("alias".into(), dump.aliases);
    }
    records.finish(networks, dump.networks.len(), dump.dated)
}

/// Builds the ASN database from a `location dump`.
pub fn asn_from_libloc(dump: &Dump) -> Result<Built, BuildError> {
    let mut values = Values::default();
    let mut by_number: HashMap<u32, u32> = HashMap::new();
    let mut networks = Vec::with_capacity(dump.networks.len());
    for entry in &dump.networks {
        let value = entry.asn.map_or(NO_DATA, |asn| {
            *by_number.entry(asn).or_insert_with(|| values.push(asn_record(asn, dump.names.get(&asn))))
        });
        networks.push(Network::new(entry.prefix, value));
    }
    let left_out = (dump.aliases > 0).then(|| ("alias".to_owned(), dump.aliases));
    finish(Finish {
        networks,
        values: values.0,
        taken: dump.networks.len(),
        dated: dump.dated,
        left_out: left_out.into_iter().collect(),
        kind: "ASN",
        about: "rhumb autonomous systems",
    })
}

fn asn_record(asn: u32, name: Option<&String>) -> Value {
    let mut fields = vec![("autonomous_system_number", Value::U32(asn))];
    if let Some(name) = name {
        fields.push(("autonomous_system_organization", Value::Text(name.clone())));
    }
    Value::Map(fields)
}

/// Record values; index 0 is "no data".
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn push(&mut self, value: Value) -> u32 {
        self.0.push(value);
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// The country records met so far, and the codes that name no country.
#[derive(Default)]
struct CountryRecords {
    values: Values,
    by_code: HashMap<[u8; 2], u32>,
    left_out: HashMap<String, usize>,
}

impl CountryRecords {
    fn of(&mut self, code: [u8; 2]) -> u32 {
        let value = match self.by_code.get(&code) {
            Some(&value) => value,
            None => {
                let value = country_record(code).map_or(NO_DATA, |record| self.values.push(record));
                self.by_code.insert(code, value);
                value
            }
        };
        if value == NO_DATA {
            *self.left_out.entry(String::from_utf8_lossy(&code).into_owned()).or_default() += 1;
        }
        value
    }

    fn finish(self, networks: Vec<Network>, taken: usize, dated: WallTime) -> Result<Built, BuildError> {
        let mut left_out: Vec<_> = self.left_out.into_iter().collect();
        left_out.sort();
        finish(Finish {
            networks,
            values: self.values.0,
            taken,
            dated,
            left_out,
            kind: "Country",
            about: "rhumb countries",
        })
    }
}

/// `{"country":{"iso_code":"CN"},"continent":{"code":"AS"}}`; the continent alone for the two
/// codes registries use for a whole region; nothing for a code that is not ISO 3166's.
fn country_record(code: [u8; 2]) -> Option<Value> {
    let code = if &code == b"UK" { *b"GB" } else { code };
    let text = std::str::from_utf8(&code).ok()?;
    let continent = |code: &str| ("continent", Value::Map(vec![("code", Value::Text(code.to_owned()))]));
    match text {
        "EU" => return Some(Value::Map(vec![continent("EU")])),
        "AP" => return Some(Value::Map(vec![continent("AS")])),
        _ => {}
    }
    let of_country = countries::continent_of(text)?;
    let country = ("country", Value::Map(vec![("iso_code", Value::Text(text.to_owned()))]));
    Some(Value::Map(vec![country, continent(of_country)]))
}

struct Finish {
    networks: Vec<Network>,
    values: Vec<Value>,
    taken: usize,
    dated: WallTime,
    left_out: Vec<(String, usize)>,
    kind: &'static str,
    about: &'static str,
}

fn finish(parts: Finish) -> Result<Built, BuildError> {
    if parts.taken == 0 {
        return Err(BuildError::Empty);
    }
    let tree = Tree::of(parts.networks).ok_or(BuildError::TooLarge { what: "the search tree" })?;
    let description = format!(
        "{}; made from the IPFire Location Database (https://location.ipfire.org/), converted to MMDB; \
         CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)",
        parts.about
    );
    let database = Database {
        tree: &tree,
        values: &parts.values,
        database_type: format!("rhumb-{}", parts.kind),
        description,
        build_epoch_s: parts.dated.0 / 1_000,
    };
    let written = writer::write(&database).ok_or(BuildError::TooLarge { what: "the data section" })?;
    Ok(Built {
        bytes: written.bytes,
        networks: parts.taken,
        records: written.records,
        nodes: tree.nodes.len(),
        dated: parts.dated,
        left_out: parts.left_out,
    })
}

/// The time of a header line such as `# Generated: Thu, 25 Jun 2026 04:33:59 GMT`.
fn generated(line: &str) -> Option<WallTime> {
    let date = line.trim_start_matches('#').trim().strip_prefix("Generated:")?.trim();
    let at = jiff::fmt::rfc2822::parse(date).ok()?;
    u64::try_from(at.timestamp().as_millisecond()).ok().map(WallTime)
}

#[cfg(test)]
mod tests;
