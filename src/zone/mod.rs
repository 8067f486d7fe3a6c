//! Zone files: the static records rhumb serves beside steered names.
//!
//! ```text
//!  text ─▶ token ─▶ reader (owner, TTL, class, type) ─▶ rdata ─▶ tree (one zone, checked) ─▶ ZoneSet
//!                  every mistake of every file, with line, column and remedy
//! ```
//!
//! The `domain` crate's zone file scanner stops at the first mistake and takes no TTL units, so
//! entries and the everyday types are read here and only the registry's other types go to it.
//! Nothing here reads a disk, knows a service, or signs.

pub mod codes;
pub mod name;
mod rdata;
mod reader;
mod report;
pub mod rtype;
mod token;
mod tree;

#[cfg(test)]
mod tests;

use crate::base::diagnostic::{Diagnostic, SourceFile};
use name::Name;
use report::Report;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// The records of one owner and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// Uncompressed wire form, never empty, sorted, each once. Names inside keep their case.
    pub rdata: Vec<Box<[u8]>>,
}

/// One checked zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub origin: Name,
    /// The file it came from, as [`SourceFile::path`].
    pub file: String,
    /// Owners that have records, in canonical order; all at or below the origin. Delegated parts
    /// hold their NS, DS and glue (and whatever else the file has there, unanswerable).
    pub names: BTreeMap<Name, Vec<Rrset>>,
}

impl Zone {
    /// The apex SOA; one record.
    pub fn soa(&self) -> &Rrset {
        self.rrset(&self.origin, rtype::SOA).expect("loading refuses a zone without SOA")
    }

    /// TTL of negative answers in seconds: the lower of the SOA's TTL and its last field (RFC 2308 5).
    pub fn negative_ttl(&self) -> u32 {
        let soa = self.soa();
        let minimum = soa.rdata.first().and_then(|data| data.last_chunk::<4>());
        minimum.map_or(soa.ttl, |octets| soa.ttl.min(u32::from_be_bytes(*octets)))
    }

    pub fn rrsets(&self, name: &Name) -> &[Rrset] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn rrset(&self, name: &Name, rtype: u16) -> Option<&Rrset> {
        self.rrsets(name).iter().find(|rrset| rrset.rtype == rtype)
    }

    /// Whether the name has records or something is below it (an empty non-terminal, RFC 4592 2.2.2).
    pub fn has_name(&self, name: &Name) -> bool {
        // Canonical order puts what is below a name right after it.
        let mut from = self.names.range::<Name, _>((Bound::Included(name), Bound::Unbounded));
        from.next().is_some_and(|(next, _)| next.is_at_or_below(name))
    }
}

/// All zones of a policy folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneSet {
    /// By origin, in canonical order.
    pub zones: Vec<Zone>,
}

impl ZoneSet {
    /// The zone that holds `name`: of those at or above it, the one with the longest origin.
    pub fn find(&self, name: &Name) -> Option<&Zone> {
        std::iter::successors(Some(name.clone()), Name::parent).find_map(|origin| {
            let at = self.zones.binary_search_by(|zone| zone.origin.cmp(&origin)).ok()?;
            self.zones.get(at)
        })
    }
}

/// Reads the `zones/*.zone` files among `files`.
///
/// A zone whose file has errors is left out; the diagnostics say why. Relative names are completed
/// by `$ORIGIN`, before the first one by the file's name (`rhumb.test.zone`).
pub fn load(files: &[SourceFile]) -> (ZoneSet, Vec<Diagnostic>) {
    let mut zones: Vec<Zone> = Vec::new();
    let mut diagnostics = Vec::new();
    let mut seen: HashMap<Name, Diagnostic> = HashMap::new();
    for file in files {
        let Some(stem) = zone_stem(&file.path) else { continue };
        let mut report = Report::new(&file.path, &file.text);
        let records = reader::read(&file.text, Name::parse_text(stem).ok(), &mut report);
        let built = tree::build(records, &mut report);
        let here = built.as_ref().map(|(_, soa)| report.span(*soa));
        diagnostics.extend(report.finish());
        let Some((zone, _)) = built else { continue };
        let message = format!("the zone {} is already in another file", zone.origin);
        let found = Diagnostic::error(codes::DUPLICATE, &file.path, here, message);
        if let Some(first) = seen.get(&zone.origin) {
            let found = found.help("remove one of the files, or set another $ORIGIN");
            diagnostics.push(found.related(first.file.clone(), first.span, "the first is here"));
        } else {
            seen.insert(zone.origin.clone(), found);
            zones.push(zone);
        }
    }
    zones.sort_by(|a, b| a.origin.cmp(&b.origin));
    (ZoneSet { zones }, diagnostics)
}

/// `rhumb.test` of `zones/rhumb.test.zone`.
fn zone_stem(path: &str) -> Option<&str> {
    let stem = path.strip_prefix("zones/")?.strip_suffix(".zone")?;
    stem.rsplit('/').next()
}
