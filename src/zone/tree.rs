//! Records to a checked zone: where it is, what is in it, and what cannot stand together.
//!
//! The zone is where its SOA is. Checks that look for something absent (SOA, NS, glue) only run on a
//! file that was read whole, so that one typing mistake is one diagnostic.

use super::codes;
use super::name::Name;
use super::reader::Record;
use super::report::{Place, Report};
use super::rtype;
use super::{Rrset, Zone};
use std::collections::{BTreeMap, HashMap};

/// What the RRsets of the largest message may take; leaves room for header, question, SOA and EDNS.
const MAX_RRSET: usize = 64_000;

/// An RRset and where its first record is.
type Placed = (Rrset, Place);

/// Builds the zone of one file; `None` if it cannot be served, with the reason in `report`.
pub(super) fn build(records: Vec<Record>, report: &mut Report<'_>) -> Option<(Zone, Place)> {
    let (origin, soa_place) = apex(&records, report)?;
    let mut names: BTreeMap<Name, Vec<Placed>> = BTreeMap::new();
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
    for (rrset, _) in names.values_mut().flatten() {
        // Canonical order (RFC 4034 6.3), a record written twice counting once (RFC 2181 5).
        rrset.rdata.sort_unstable();
        rrset.rdata.dedup();
    }
    check_names(&names, report);
    if !report.has_errors() {
        check_presence(&names, &origin, soa_place, report);
    }
    if report.has_errors() {
        return None;
    }
    let names = names
        .into_iter()
        .map(|(name, rrsets)| (name, rrsets.into_iter().map(|(rrset, _)| rrset).collect()))
        .collect();
    Some((Zone { origin, file: report.file.to_owned(), names }, soa_place))
}

/// The owner of the one SOA record.
fn apex(records: &[Record], report: &mut Report<'_>) -> Option<(Name, Place)> {
    let mut soas = records.iter().filter(|record| record.rtype == rtype::SOA);
    let Some(first) = soas.next() else {
        if !report.has_errors() {
            let help = "begin it with: @ 3600 IN SOA ns1 hostmaster 1 1h 15m 1w 5m";
            report.error(codes::NO_SOA, (0, 0), "the zone has no SOA record", help);
        }
        return None;
    };
    for second in soas {
        let message = format!("a second SOA record, at {}", second.owner);
        report.error(codes::TWO_SOA, second.place, message, "keep one; each zone has a file of its own");
        report.related(first.place, "the first is here");
    }
    Some((first.owner.clone(), first.place))
}

/// Adds a record to its RRset.
fn insert(names: &mut BTreeMap<Name, Vec<Placed>>, record: Record, report: &mut Report<'_>) {
    let rrsets = names.entry(record.owner).or_default();
    let data = record.rdata.into_boxed_slice();
    let Some((rrset, place)) = rrsets.iter_mut().find(|(rrset, _)| rrset.rtype == record.rtype) else {
        let rrset = Rrset { rtype: record.rtype, ttl: record.ttl, rdata: vec![data] };
        rrsets.push((rrset, record.place));
        return;
    };
    if rrset.ttl != record.ttl {
        let low = rrset.ttl.min(record.ttl);
        let message = format!("the RRset's TTL is {} s, this record's {} s", rrset.ttl, record.ttl);
        report.warning(
            codes::TTL,
            record.place,
            message,
            format!("give all its records one TTL; {low} s is used"),
        );
        report.related(*place, "the first record is here");
        rrset.ttl = low;
    }
    rrset.rdata.push(data);
}

/// What each name's RRsets must satisfy.
fn check_names(names: &BTreeMap<Name, Vec<Placed>>, report: &mut Report<'_>) {
    for (name, rrsets) in names {
        for (rrset, place) in rrsets {
            let octets: usize = rrset.rdata.iter().map(|data| data.len() + 12).sum();
            if octets > MAX_RRSET {
                let message = format!("the RRset takes {octets} octets and a message holds {MAX_RRSET}");
                report.error(codes::RRSET_SIZE, *place, message, "spread its records over several names");
            }
        }
        let Some((cname, place)) = rrsets.iter().find(|(rrset, _)| rrset.rtype == rtype::CNAME) else {
            continue;
        };
        if let Some((other, other_place)) = rrsets.iter().find(|(rrset, _)| rrset.rtype != rtype::CNAME) {
            let message = format!("{name} has a CNAME and {} records", rtype::text(other.rtype));
            let help = "an alias has no other records (RFC 1034 3.6.2); keep one of them";
            report.error(codes::CNAME_AND_OTHER, *place, message, help);
            report.related(*other_place, "the other is here");
        } else if cname.rdata.len() > 1 {
            let message = format!("{name} has {} CNAME records", cname.rdata.len());
            report.error(
                codes::CNAME_AND_OTHER,
                *place,
                message,
                "an alias has one target; keep one of them",
            );
        }
    }
}

fn check_presence(names: &BTreeMap<Name, Vec<Placed>>, origin: &Name, soa: Place, report: &mut Report<'_>) {
    let has = |name: &Name, rtype: u16| {
        names.get(name).is_some_and(|rrsets| rrsets.iter().any(|(rrset, _)| rrset.rtype == rtype))
    };
    if !has(origin, rtype::NS) {
        let help = "add one for each server of the zone: @ NS ns1";
        report.error(codes::NO_NS, soa, format!("the zone {origin} has no NS record at its apex"), help);
    }
    let cuts = cuts(names, origin);
    for (name, rrsets) in names {
        let cut = cuts.get(name).unwrap_or(&None);
        for (rrset, place) in rrsets {
            if rrset.rtype == rtype::NS {
                for target in rrset.rdata.iter().filter_map(|data| Name::from_wire(data).ok()) {
                    if !has(&target, rtype::A) && !has(&target, rtype::AAAA) {
                        check_target(&target, name, origin, &cuts, *place, report);
                    }
                }
            }
            check_occluded(name, rrset, cut.as_ref(), *place, report);
        }
    }
}

/// The nearest delegation at or above each name, for the names that have one.
fn cuts(names: &BTreeMap<Name, Vec<Placed>>, origin: &Name) -> HashMap<Name, Option<Name>> {
    let mut cuts = HashMap::new();
    let mut current: Option<&Name> = None;
    // Canonical order puts everything below a name right after it.
    for (name, rrsets) in names {
        if current.is_some_and(|cut| !name.is_at_or_below(cut)) {
            current = None;
        }
        if current.is_none() && name != origin && rrsets.iter().any(|(rrset, _)| rrset.rtype == rtype::NS) {
            current = Some(name);
        }
        if current.is_some() {
            cuts.insert(name.clone(), current.cloned());
        }
    }
    cuts
}

/// A server in this zone without an address: fatal below its own delegation, doubtful elsewhere
/// (its name may be steered).
fn check_target(
    target: &Name,
    owner: &Name,
    origin: &Name,
    cuts: &HashMap<Name, Option<Name>>,
    place: Place,
    report: &mut Report<'_>,
) {
    let is_delegation = owner != origin;
    if is_delegation && target.is_at_or_below(owner) {
        let message = format!("{owner} is delegated to {target}, whose address only this zone can give");
        let help = format!("add the glue: {target}. A ...");
        report.error(codes::MISSING_GLUE, place, message, help);
    } else if target.is_at_or_below(origin) && !below_a_cut(target, cuts) {
        let message = format!("the server {target} has no address in this zone");
        let help = format!("add {target}. A or AAAA, unless it is a steered name");
        report.warning(codes::NS_ADDRESS, place, message, help);
    }
}

fn below_a_cut(name: &Name, cuts: &HashMap<Name, Option<Name>>) -> bool {
    let above = std::iter::successors(Some(name.clone()), Name::parent);
    above.into_iter().any(|name| matches!(cuts.get(&name), Some(Some(_))))
}

/// Below a delegation only addresses are of use, as glue; at it, also NS and DS.
fn check_occluded(name: &Name, rrset: &Rrset, cut: Option<&Name>, place: Place, report: &mut Report<'_>) {
    let Some(cut) = cut else { return };
    let is_used = match rrset.rtype {
        rtype::A | rtype::AAAA => true,
        rtype::NS | rtype::DS => name == cut,
        _ => false,
    };
    if !is_used {
        let message = format!("{} of {name} is never answered: {cut} is delegated", rtype::text(rrset.rtype));
        report.warning(
            codes::OCCLUDED,
            place,
            message,
            "move it to the zone it is delegated to, or remove it",
        );
    }
}
