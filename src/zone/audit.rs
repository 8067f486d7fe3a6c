//! What cannot stand together in a zone, and what leads nowhere.
//!
//! ```text
//!  at one name        CNAME and other data, two DNAMEs, NS or DNAME at a wildcard, an RRset too large
//!  over the zone      no NS, glue missing, names below a cut (NS or DNAME) that nobody will be answered,
//!                     targets without address or that are aliases
//! ```
//!
//! An error is what would make answers wrong; what is only of no use is a warning.

use super::codes;
use super::name::Name;
use super::report::{Place, Report};
use super::rtype;
use super::tree::{Draft, Drafts};
use std::collections::HashMap;

/// What the RRsets of the largest message may take; leaves room for header, question, SOA and EDNS.
const MAX_RRSET: usize = 64_000;

/// Looks at every name, then, unless something is wrong already, at what the zone lacks.
pub(super) fn audit(names: &Drafts, origin: &Name, soa: Place, report: &mut Report) {
    for (name, drafts) in names {
        drafts.iter().for_each(|draft| check_size(draft, report));
        check_alias(name, drafts, report);
        check_dname(name, drafts, name == origin, report);
        check_wildcard(name, drafts, report);
        check_bindings(name, drafts, report);
    }
    if !report.has_errors() {
        Presence { names, origin, cuts: cuts(names, origin), report }.check(soa);
    }
}

fn find(drafts: &[Draft], rtype: u16) -> Option<&Draft> {
    drafts.iter().find(|draft| draft.rtype == rtype)
}

fn check_size(draft: &Draft, report: &mut Report) {
    let octets: usize = draft.data().map(|data| data.len() + 12).sum();
    if octets > MAX_RRSET {
        let message = format!("the RRset takes {octets} octets and a message holds {MAX_RRSET}");
        report.error(codes::RRSET_SIZE, draft.place, message, "spread its records over several names");
    }
}

fn check_alias(name: &Name, drafts: &[Draft], report: &mut Report) {
    let Some(cname) = find(drafts, rtype::CNAME) else { return };
    if let Some(other) = drafts.iter().find(|draft| draft.rtype != rtype::CNAME) {
        let message = format!("{name} has a CNAME and {} records", rtype::text(other.rtype));
        let help = "an alias has no other records (RFC 1034 3.6.2); keep one of them";
        report.error(codes::CNAME_AND_OTHER, cname.place, message, help);
        report.related(other.place, "the other is here");
    } else if cname.records.len() > 1 {
        let message = format!("{name} has {} CNAME records", cname.records.len());
        let help = "an alias has one target; keep one of them";
        report.error(codes::CNAME_AND_OTHER, cname.place, message, help);
    }
}

/// RFC 6672 2.3 and 2.4.
fn check_dname(name: &Name, drafts: &[Draft], is_apex: bool, report: &mut Report) {
    let Some(dname) = find(drafts, rtype::DNAME) else { return };
    let target = dname.data().find_map(|data| Name::from_wire(data).ok());
    let (message, help) = if dname.records.len() > 1 {
        (format!("{name} has {} DNAME records", dname.records.len()), "a DNAME has one target; keep one")
    } else if !is_apex && find(drafts, rtype::NS).is_some() {
        let help = "a name is delegated or redirected, not both; keep one";
        (format!("{name} has a DNAME and NS records"), help)
    } else if target.is_some_and(|target| target.is_at_or_below(name)) {
        (format!("the DNAME of {name} leads below {name} again"), "name a target elsewhere")
    } else {
        return;
    };
    report.error(codes::DNAME, dname.place, message, help);
}

/// RFC 4592 4.2 and 4.4 leave open what such records would mean.
fn check_wildcard(name: &Name, drafts: &[Draft], report: &mut Report) {
    if !name.is_wildcard() {
        return;
    }
    for rtype in [rtype::NS, rtype::DNAME] {
        if let Some(draft) = find(drafts, rtype) {
            let message = format!("the wildcard {name} has {} records", rtype::text(rtype));
            let help = "servers disagree on what it means (RFC 4592 4); write it for each name";
            report.error(codes::WILDCARD, draft.place, message, help);
        }
    }
}

/// RFC 9460 2.4.1 and 2.4.2.
fn check_bindings(name: &Name, drafts: &[Draft], report: &mut Report) {
    for draft in drafts.iter().filter(|draft| matches!(draft.rtype, rtype::SVCB | rtype::HTTPS)) {
        let alias = draft.records.iter().find(|(data, _)| data.starts_with(&[0, 0]));
        let Some((data, place)) = alias else { continue };
        let mnemonic = rtype::text(draft.rtype);
        let target = data.get(2..).and_then(super::name::wire_len).unwrap_or(0);
        let message = if data.len() > 2 + target {
            format!("the {mnemonic} record of {name} is an alias (priority 0) and has parameters")
        } else if draft.records.len() > 1 {
            format!("{name} has an alias (priority 0) and other {mnemonic} records")
        } else {
            continue;
        };
        let help = "clients ignore what is beside an alias; remove it, or give a priority above 0";
        report.warning(codes::SVCB_ALIAS, *place, message, help);
    }
}

/// What hides the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    name: Name,
    is_dname: bool,
}

/// The nearest delegation at or DNAME above each name, for the names that have one.
fn cuts(names: &Drafts, origin: &Name) -> HashMap<Name, Cut> {
    let mut cuts = HashMap::new();
    let mut current: Option<Cut> = None;
    // Canonical order puts everything below a name right after it.
    for (name, drafts) in names {
        if current.as_ref().is_some_and(|cut| !name.is_at_or_below(&cut.name)) {
            current = None;
        }
        if current.is_none() {
            let is_dname = find(drafts, rtype::DNAME).is_some();
            let is_delegated = name != origin && find(drafts, rtype::NS).is_some();
            current = (is_dname || is_delegated).then(|| Cut { name: name.clone(), is_dname });
        }
        if let Some(cut) = &current {
            cuts.insert(name.clone(), cut.clone());
        }
    }
    cuts
}

/// Checks for which the whole zone must have been read.
struct Presence<'a> {
    names: &'a Drafts,
    origin: &'a Name,
    cuts: HashMap<Name, Cut>,
    report: &'a mut Report,
}

impl Presence<'_> {
    fn check(mut self, soa: Place) {
        if !self.has(self.origin, rtype::NS) {
            let help = "add one for each server of the zone: @ NS ns1";
            let message = format!("the zone {} has no NS record at its apex", self.origin);
            self.report.error(codes::NO_NS, soa, message, help);
        }
        for (name, drafts) in self.names {
            for draft in drafts {
                for (data, place) in &draft.records {
                    self.check_target(name, draft.rtype, data, *place);
                }
                self.check_occluded(name, draft);
            }
        }
    }

    fn has(&self, name: &Name, rtype: u16) -> bool {
        self.names.get(name).is_some_and(|drafts| find(drafts, rtype).is_some())
    }

    /// Also what a wildcard gives the name (RFC 4592 3.3.1).
    fn gives(&self, name: &Name, rtype: u16) -> bool {
        let exists =
            |name: &Name| self.names.range(name..).next().is_some_and(|(next, _)| next.is_at_or_below(name));
        if exists(name) {
            return self.has(name, rtype);
        }
        let above = std::iter::successors(name.parent(), Name::parent).find(exists);
        above.and_then(|encloser| encloser.wildcard()).is_some_and(|wildcard| self.has(&wildcard, rtype))
    }

    /// The host that a record of `owner` names.
    fn check_target(&mut self, owner: &Name, rtype: u16, data: &[u8], place: Place) {
        let skip = match rtype {
            rtype::NS => 0,
            rtype::MX => 2,
            rtype::SRV => 6,
            _ => return,
        };
        let Some(target) = data.get(skip..).and_then(|wire| Name::from_wire(wire).ok()) else { return };
        if !target.is_at_or_below(self.origin) {
            return;
        }
        if self.gives(&target, rtype::CNAME) {
            let message = format!("{target}, which this {} record names, is an alias", rtype::text(rtype));
            let help = "name the host itself (RFC 2181 10.3)";
            self.report.warning(codes::TARGET_ALIAS, place, message, help);
        } else if rtype == rtype::NS && !self.gives(&target, rtype::A) && !self.gives(&target, rtype::AAAA) {
            self.check_server(owner, &target, place);
        }
    }

    /// A server in this zone without an address: fatal below its own delegation, doubtful elsewhere
    /// (its name may be steered).
    fn check_server(&mut self, owner: &Name, target: &Name, place: Place) {
        let is_delegation = owner != self.origin;
        if is_delegation && target.is_at_or_below(owner) {
            let message = format!("{owner} is delegated to {target}, whose address only this zone can give");
            let help = format!("add the glue: {target}. A ...");
            self.report.error(codes::MISSING_GLUE, place, message, help);
        } else if !self.is_below_cut(target) {
            let message = format!("the server {target} has no address in this zone");
            let help = format!("add {target}. A or AAAA, unless it is a steered name");
            self.report.warning(codes::NS_ADDRESS, place, message, help);
        }
    }

    fn is_below_cut(&self, name: &Name) -> bool {
        std::iter::successors(Some(name.clone()), Name::parent).any(|name| self.cuts.contains_key(&name))
    }

    /// Below a delegation only addresses are of use, as glue; at it, also NS and DS. Below a DNAME
    /// nothing is.
    fn check_occluded(&mut self, name: &Name, draft: &Draft) {
        let Some(cut) = self.cuts.get(name) else { return };
        let is_used = match draft.rtype {
            _ if cut.is_dname => *name == cut.name,
            rtype::A | rtype::AAAA => true,
            rtype::NS | rtype::DS => *name == cut.name,
            _ => false,
        };
        if is_used {
            return;
        }
        let (what, help) = if cut.is_dname {
            ("has a DNAME", "remove it, or the DNAME (RFC 6672 2.4)")
        } else {
            ("is delegated", "move it to the zone it is delegated to, or remove it")
        };
        let message =
            format!("{} of {name} is never answered: {} {what}", rtype::text(draft.rtype), cut.name);
        self.report.warning(codes::OCCLUDED, draft.place, message, help);
    }
}
