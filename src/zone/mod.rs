//! Zone files: the static records rhumb serves beside steered names.
//!
//! ```text
//!  text ─▶ token ─▶ reader (owner, TTL, class, type) ─▶ rdata ─▶ tree ─▶ audit ─▶ ZoneSet ─▶ print
//!           ▲          │ $INCLUDE, $GENERATE      forms, svcb, loc     what cannot stand together
//!           └──────────┘        every mistake of every file, with line, column and remedy
//! ```
//!
//! The `domain` crate's zone file scanner stops at the first mistake, has no column and takes no TTL
//! units, so reading is ours; its list of type mnemonics and its base64 are used, and tests compare
//! with it. Nothing here reads a disk (included texts are handed in), knows a service, or signs.

mod audit;
pub mod canonical;
pub mod codes;
mod forms;
mod generate;
mod include;
mod loc;
pub mod name;
mod print;
pub mod nsec;
mod rdata;
mod reader;
mod report;
pub mod rtype;
mod svcb;
mod token;
mod tree;

#[cfg(test)]
mod tests;

use crate::base::diagnostic::{Diagnostic, SourceFile};
use name::Name;
use reader::Start;
use report::Report;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

pub use forms::is_well_formed;
pub use include::Includes;
pub use print::data_text;

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

    /// The SOA's serial.
    pub fn serial(&self) -> u32 {
        let serial = self.soa().rdata.first().and_then(|data| data.get(data.len().checked_sub(20)?..));
        serial.and_then(|rest| rest.first_chunk()).map_or(0, |octets| u32::from_be_bytes(*octets))
    }

    /// Puts another serial into the SOA.
    pub fn set_serial(&mut self, serial: u32) {
        let sets = self.names.get_mut(&self.origin).into_iter().flatten();
        let soa = sets.filter(|set| set.rtype == rtype::SOA).flat_map(|set| &mut set.rdata).next();
        let place = soa.and_then(|data| data.last_chunk_mut::<20>()).and_then(|last| last.first_chunk_mut());
        place.into_iter().for_each(|place| *place = serial.to_be_bytes());
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

/// Where a policy folder keeps its zones; `$INCLUDE` does not lead out of it.
const FOLDER: &str = "zones/";

/// Reads the `zones/*.zone` files among `files`; whatever is below `zones/` can be included.
///
/// A zone whose file has errors is left out; the diagnostics say why. Relative names are completed
/// by `$ORIGIN`, before the first one by the file's name (`rhumb.test.zone`).
pub fn load(files: &[SourceFile]) -> (ZoneSet, Vec<Diagnostic>) {
    let mut zones: Vec<Zone> = Vec::new();
    let mut diagnostics = Vec::new();
    let mut seen: HashMap<Name, Diagnostic> = HashMap::new();
    let included = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.map(|file| Arc::from(&*file.text)).ok_or_else(|| not_included(path))
    };
    for file in files {
        let Some(stem) = zone_stem(&file.path) else { continue };
        let mut report = Report::default();
        let origin = Name::parse_text(stem).ok();
        let (path, text) = (&*file.path, Arc::from(&*file.text));
        let start = Start { path, text, origin, folder: FOLDER, includes: &included };
        let records = reader::read(start, &mut report);
        let built = tree::build(records, None, &mut report);
        let place = built.as_ref().map(|(_, soa)| (report.path(soa.source).to_owned(), report.span(*soa)));
        diagnostics.extend(report.finish().1);
        let Some(((zone, _), (path, here))) = built.zip(place) else { continue };
        let message = format!("the zone {} is already in another file", zone.origin);
        let found = Diagnostic::error(codes::DUPLICATE, path, here, message);
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

fn not_included(path: &str) -> String {
    format!("there is no file `{path}` to include; files below zones/ that end in .inc or .zone are read")
}

/// One zone file, read and checked.
#[derive(Clone, Debug)]
pub struct CheckedZone {
    /// `None` if there are errors.
    pub zone: Option<Zone>,
    /// The file and what it includes.
    pub sources: Vec<SourceFile>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads one zone file, whose SOA must be that of `origin`. Includes are resolved beside and below it.
pub fn check(origin: &Name, file: &SourceFile, includes: Includes<'_>) -> CheckedZone {
    let folder = file.path.rfind('/').map_or("", |at| &file.path[..=at]);
    let mut report = Report::default();
    let text = Arc::from(&*file.text);
    let start = Start { path: &file.path, text, origin: Some(origin.clone()), folder, includes };
    let records = reader::read(start, &mut report);
    let built = tree::build(records, Some(origin), &mut report);
    let (sources, diagnostics) = report.finish();
    CheckedZone { zone: built.map(|(zone, _)| zone), sources, diagnostics }
}

/// `rhumb.test` of `zones/rhumb.test.zone`.
fn zone_stem(path: &str) -> Option<&str> {
    let stem = path.strip_prefix(FOLDER)?.strip_suffix(".zone")?;
    stem.rsplit('/').next()
}
