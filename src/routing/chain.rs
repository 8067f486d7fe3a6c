//! What of a zone is signed, and the chain of NSEC records over it (RFC 4034 4, RFC 4035 2.3).
//!
//! ```text
//!  apex ─NSEC─▶ b.apex ─▶ *.c.apex ─▶ cut.apex ─▶ apex       canonical order, a ring
//!               c.apex is an empty non-terminal: denied by the NSEC before it, owner of none
//! ```
//!
//! | at | types in the bitmap |
//! |---|---|
//! | the apex | its sets, DNSKEY, and CDS and CDNSKEY where there are any |
//! | a delegation | NS, and DS if there is one; glue has no part |
//! | a steered name | its static sets, A and AAAA as far as the service can ever answer them, and every other type it declares |
//!
//! The chain depends on names and policy alone, never on health: a family that no node can answer at
//! this moment is NODATA by the steered name's own variants, not by another chain. A name that is
//! delegated to a zone that is here too belongs to both chains.

use super::names::{Entry, Names};
use crate::base::prefix::Family;
use crate::model::policy::Policy;
use crate::model::service::{OnAllDown, Service};
use crate::zone::name::Name;
use crate::zone::nsec::{self, SortKey};
use crate::zone::{ZoneSet, rtype};
use std::collections::BTreeSet;

/// One owner of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainLink {
    pub owner: Name,
    /// The owner as [`SortKey`].
    pub key: Box<[u8]>,
    /// Of NSEC; the types besides it and RRSIG.
    pub types: BTreeSet<u16>,
    pub next: Name,
    /// Position in the names' entries.
    pub entry: u32,
    /// The name is delegated away from this zone.
    pub is_cut: bool,
}

impl ChainLink {
    pub fn rdata(&self) -> Vec<u8> {
        nsec::rdata(&self.next, &self.types)
    }

    /// RDATA that denies `absent` as well: for a client to whom no node can answer them.
    pub fn rdata_without(&self, absent: &[u16]) -> Vec<u8> {
        let mut types = self.types.clone();
        absent.iter().for_each(|rtype| {
            types.remove(rtype);
        });
        nsec::rdata(&self.next, &types)
    }
}

/// A or AAAA.
pub const fn address_type(family: Family) -> u16 {
    match family {
        Family::V4 => rtype::A,
        Family::V6 => rtype::AAAA,
    }
}

/// Names with their entries, by entry number, with the key to sort by.
pub fn ordered(names: &Names) -> Vec<(Name, &Entry)> {
    let mut all: Vec<_> = names
        .entries()
        .map(|(wire, entry)| (Name::from_wire(wire).expect("the table holds whole names"), entry))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The chain of zone number `zone`. `ordered` as made by [`ordered`]; `at_apex` are the types that
/// signing adds there.
pub fn chain(
    names: &Names,
    ordered: &[(Name, &Entry)],
    (policy, zones): (&Policy, &ZoneSet),
    zone: u32,
    at_apex: &[u16],
) -> Vec<ChainLink> {
    let origin = &names.zone(zone).origin;
    let mut links = Vec::new();
    for ((name, entry), number) in ordered.iter().zip(0_u32..) {
        let parent = entry.parent.as_deref().filter(|parent| parent.zone == zone);
        let parent = parent.filter(|_| is_delegated(zones, zone, name));
        let (types, is_cut) = if let Some(parent) = parent {
            (cut_types(parent.ds.is_some()), true)
        } else if entry.zone == zone {
            let mut types = types_of(names, policy, entry);
            if name == origin {
                types.extend(at_apex);
            }
            (types, entry.cut.is_some())
        } else {
            continue;
        };
        if types.is_empty() {
            continue;
        }
        let key = SortKey::of(name.as_wire()).as_bytes().into();
        links.push(ChainLink {
            owner: name.clone(),
            key,
            types,
            next: origin.clone(),
            entry: number,
            is_cut,
        });
    }
    let followers: Vec<Name> = links.iter().skip(1).map(|link| link.owner.clone()).collect();
    for (link, next) in links.iter_mut().zip(followers) {
        link.next = next;
    }
    links
}

/// Whether a zone delegates a name that is another zone's apex.
fn is_delegated(zones: &ZoneSet, zone: u32, name: &Name) -> bool {
    zones.zones.get(zone as usize).is_some_and(|zone| zone.rrset(name, rtype::NS).is_some())
}

fn cut_types(has_ds: bool) -> BTreeSet<u16> {
    let mut types = BTreeSet::from([rtype::NS]);
    if has_ds {
        types.insert(rtype::DS);
    }
    types
}

/// Types an entry of its own zone can be asked for with success; none at an empty non-terminal.
fn types_of(names: &Names, policy: &Policy, entry: &Entry) -> BTreeSet<u16> {
    if entry.cut.is_some() {
        return cut_types(entry.set(rtype::DS).is_some());
    }
    let mut types: BTreeSet<u16> = entry.sets.iter().map(|(rtype, _)| *rtype).collect();
    if entry.cname.is_some() {
        types.insert(rtype::CNAME);
    }
    if let Some(steered) = entry.steered {
        types.extend(steered_types(policy, policy.service(steered.service)));
    }
    if let Some(position) = entry.typed {
        types.extend(names.steered(position).records.iter().map(|(rtype, _)| *rtype));
    }
    types
}

/// Address types that a service may ever be answered with: too many do no harm, one too few would
/// let a resolver that uses NSEC aggressively (RFC 8198) deny what exists.
fn steered_types(policy: &Policy, service: &Service) -> impl Iterator<Item = u16> {
    let members = service.pools.iter().flat_map(|pool| &pool.members).map(|member| member.node);
    let mut has = [false; 2];
    for node in members {
        Family::BOTH
            .iter()
            .for_each(|family| has[family.index()] |= policy.fleet.node(node).has_family(*family));
    }
    for address in &service.transfer_default {
        has[Family::of(*address).index()] = true;
    }
    if let OnAllDown::Fallback(addresses) = &service.on_all_down {
        addresses.iter().for_each(|address| has[Family::of(*address).index()] = true);
    }
    Family::BOTH.into_iter().filter(move |family| has[family.index()]).map(address_type)
}
