//! Records to a zone: where it is and what stands together at each name.
//!
//! The zone is where its SOA is. Checks that look for something absent (SOA, NS, glue) only run on a
//! file that was read whole, so that one typing mistake is one diagnostic.

use super::name::Name;
use super::reader::Record;
use super::report::{Place, Report};
use super::{Rrset, Zone, audit, codes, rtype};
use std::collections::BTreeMap;

/// An RRset in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub rtype: u16,
    pub ttl: u32,
    /// Sorted by data, each once.
    pub records: Vec<(Box<[u8]>, Place)>,
    /// Of the first record.
    pub place: Place,
}

impl Draft {
    pub fn data(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|(data, _)| &**data)
    }
}

/// Every owner with its RRsets, ascending by type.
pub(super) type Drafts = BTreeMap<Name, Vec<Draft>>;

/// Builds the zone of one file; `None` if it cannot be served, with the reason in `report`. `wanted`
/// is the origin it must have.
pub(super) fn build(
    records: Vec<Record>,
    wanted: Option<&Name>,
    report: &mut Report,
) -> Option<(Zone, Place)> {
    let (origin, soa_place) = apex(&records, wanted, report)?;
    let mut names = Drafts::new();
    for record in records {
        if record.owner.is_at_or_below(&origin) {
            insert(&mut names, record, report);
        } else {
            let message = format!("{} is not in the zone {origin}", record.owner);
            let help =
                "end names that are complete with a dot and leave it off others, or move it to its own zone";
            report.error(codes::OUT_OF_ZONE, record.place, message, help);
        }
    }
    for drafts in names.values_mut() {
        drafts.sort_by_key(|draft| draft.rtype);
        drafts.iter_mut().for_each(|draft| put_in_order(draft, report));
    }
    audit::audit(&names, &origin, soa_place, report);
    if report.has_errors() {
        return None;
    }
    let rrset = |draft: Draft| {
        let rdata = draft.records.into_iter().map(|(data, _)| data).collect();
        Rrset { rtype: draft.rtype, ttl: draft.ttl, rdata }
    };
    let names = names.into_iter().map(|(name, drafts)| (name, drafts.into_iter().map(rrset).collect()));
    Some((Zone { origin, file: report.path(0).to_owned(), names: names.collect() }, soa_place))
}

/// The owner of the one SOA record.
fn apex(records: &[Record], wanted: Option<&Name>, report: &mut Report) -> Option<(Name, Place)> {
    let mut soas = records.iter().filter(|record| record.rtype == rtype::SOA);
    let Some(first) = soas.next() else {
        if !report.has_errors() {
            let help = "begin it with: @ 3600 IN SOA ns1 hostmaster 1 1h 15m 1w 5m";
            report.error(codes::NO_SOA, Place::default(), "the zone has no SOA record", help);
        }
        return None;
    };
    if let Some(wanted) = wanted.filter(|wanted| **wanted != first.owner) {
        let message = format!("the zone {wanted} has no SOA record; this one is of {}", first.owner);
        report.error(codes::NO_SOA, first.place, message, "name the origin that the file is for");
    }
    for second in soas {
        let message = format!("a second SOA record, at {}", second.owner);
        report.error(codes::TWO_SOA, second.place, message, "keep one; each zone has a file of its own");
        report.related(first.place, "the first is here");
    }
    Some((first.owner.clone(), first.place))
}

/// Adds a record to its RRset.
fn insert(names: &mut Drafts, record: Record, report: &mut Report) {
    let Record { owner, rtype, ttl, rdata, place } = record;
    let drafts = names.entry(owner).or_default();
    let record = (rdata.into_boxed_slice(), place);
    let Some(draft) = drafts.iter_mut().find(|draft| draft.rtype == rtype) else {
        drafts.push(Draft { rtype, ttl, records: vec![record], place });
        return;
    };
    if draft.ttl != ttl {
        let low = draft.ttl.min(ttl);
        let message = format!("the RRset's TTL is {} s, this record's {ttl} s", draft.ttl);
        let help = format!("give all its records one TTL; {low} s is used");
        report.warning(codes::TTL, place, message, help);
        report.related(draft.place, "the first record is here");
        draft.ttl = low;
    }
    draft.records.push(record);
}

/// Canonical order (RFC 4034 6.3), a record written twice counting once (RFC 2181 5).
fn put_in_order(draft: &mut Draft, report: &mut Report) {
    draft.records.sort();
    draft.records.dedup_by(|later, first| {
        let is_same = later.0 == first.0;
        if is_same {
            let message = format!("this {} record is already in the zone", rtype::text(draft.rtype));
            report.warning(codes::REPEATED, later.1, message, "remove it; it counts once");
            report.related(first.1, "the first is here");
        }
        is_same
    });
}
