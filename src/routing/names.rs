//! The static half of the table: every name rhumb knows, found in a few hash look-ups.
//!
//! ```text
//!  a.b.example. asked          index: lower-case wire name ─▶ entry
//!    a.b.example   miss
//!      b.example   miss         the first hit, going up, is the closest encloser (RFC 4592 2.2.2):
//!        example   hit ──▶      a cut: referral; a `*` child: wildcard; else NXDOMAIN. No hit: not ours
//! ```
//!
//! Empty non-terminals are entries, names below a delegation or a DNAME are not: the closest encloser
//! of whatever is asked below a DNAME is its owner. A name in two zones belongs to the deeper one. Depends on policy and zones only, so that tables of one policy share it.

use super::block::Block;
use super::name_index::NameIndex;
use super::steer::Part;
use crate::base::diagnostic::Diagnostic;
use crate::model::degradation::{Shed, ShedTo};
use crate::model::ids::ServiceId;
use crate::model::policy::Policy;
use crate::model::service::Service;
use crate::zone::name::{MAX_LABEL, Name};
use crate::zone::{Rrset, Zone, ZoneSet, rtype};
use std::collections::{BTreeMap, BTreeSet};

/// Type number of HINFO (RFC 1035 3.3.2), which answers ANY.
pub const HINFO: u16 = 13;
/// TTL of the answer to ANY, in seconds: long, since it never changes.
const ANY_TTL: u32 = 3_600;

/// Every name of all zones and services.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// Positions in `entries`.
    index: NameIndex,
    entries: Vec<Entry>,
    zones: Vec<ZoneHead>,
    steered: Vec<SteeredName>,
    /// Labels of the longest name: whatever is longer need not be looked up whole.
    max_labels: usize,
    any: Block,
}

/// What answers need of a zone beyond its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneHead {
    pub origin: Name,
    /// The SOA with the negative TTL (RFC 2308 3).
    pub negative: Block,
}

/// A name answered by a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeredName {
    pub service: ServiceId,
    /// It is a hostname: A and AAAA are steered.
    pub has_addresses: bool,
    /// A hostname whose newcomers are shed to another name, for every type.
    pub is_aliased: bool,
    /// Other types that are steered, ascending, and where answer sets have them.
    pub records: Box<[(u16, u16)]>,
    /// The zone's SOA, its TTL no longer than the service's.
    pub negative: Block,
}

/// One name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its position in the canonical order of all names, by which signatures are found.
    pub number: u32,
    /// Position in the table's zones.
    pub zone: u32,
    /// Ascending by type; without CNAME. Empty at an empty non-terminal.
    pub sets: Box<[(u16, Block)]>,
    pub cname: Option<Box<Cname>>,
    /// Redirects every name below; its records are among the sets too.
    pub dname: Option<Box<Dname>>,
    /// Where A and AAAA are steered.
    pub steered: Option<Steered>,
    /// Position in the table's steered names, where other types are.
    pub typed: Option<u32>,
    /// The entry of the `*` child.
    pub wildcard: Option<u32>,
    /// The name is delegated away.
    pub cut: Option<Box<Referral>>,
    /// At the apex of a zone whose parent zone is here too: DS is the parent's to answer.
    pub parent: Option<Box<ParentSide>>,
}

/// Which of the steered names an entry is, and its service, which most answers need nothing else of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steered {
    /// Position in the table's steered names.
    pub position: u32,
    pub service: ServiceId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cname {
    pub block: Block,
    /// Lower case.
    pub target: Box<[u8]>,
}

/// RFC 6672.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dname {
    pub block: Block,
    /// Octets of the owner's name.
    pub owner_len: usize,
    /// Lower case.
    pub target: Box<[u8]>,
}

/// Delegation: NS in the authority section, addresses of its servers as additional data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    pub ns: Block,
    pub glue: Box<[Glue]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glue {
    /// Offset in the NS block of the name these addresses belong to.
    pub target_at: usize,
    pub target: Name,
    pub block: Block,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentSide {
    pub zone: u32,
    pub ds: Option<Block>,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// In none of the zones.
    NotOurs,
    Exact(&'a Entry),
    /// The entry of the `*` that covers the name.
    Wildcard(&'a Entry),
    /// At or below a delegation; `skip` octets of the name stand before the cut.
    Cut {
        entry: &'a Entry,
        referral: &'a Referral,
        skip: usize,
    },
    /// The entry is the closest encloser.
    Absent(&'a Entry),
}

impl SteeredName {
    /// Where answer sets have a type other than A and AAAA.
    #[inline]
    pub fn part(&self, rtype: u16) -> Option<Part> {
        let mut types = self.records.iter().zip(0_u16..);
        types.find(|((held, _), _)| *held == rtype).map(|((_, at), nth)| Part::Records { at: *at, nth })
    }
}

impl Entry {
    /// Position in the table's steered names, whatever is steered.
    #[inline]
    pub fn steering(&self) -> Option<u32> {
        self.steered.map(|it| it.position).or(self.typed)
    }

    #[inline]
    pub fn set(&self, wanted: u16) -> Option<&Block> {
        self.sets.iter().find(|(rtype, _)| *rtype == wanted).map(|(_, block)| block)
    }
}

impl Names {
    /// Builds the half-table; the errors of [`check`](super::check::check) if policy and zones disagree.
    pub fn build(policy: &Policy, zones: &ZoneSet) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = super::check::check(policy, zones);
        problems.retain(Diagnostic::is_error);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Builder::new(zones).build(policy))
    }

    #[inline]
    pub fn zone(&self, zone: u32) -> &ZoneHead {
        &self.zones[zone as usize]
    }

    pub fn zones(&self) -> &[ZoneHead] {
        &self.zones
    }

    #[inline]
    pub fn steered(&self, position: u32) -> &SteeredName {
        &self.steered[position as usize]
    }

    /// The HINFO record that stands for "any" (RFC 8482 4.2).
    pub fn any(&self) -> &Block {
        &self.any
    }

    /// Every name with its entry, in canonical order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.index.names().zip(&self.entries)
    }

    /// The entry of the very name, in any case.
    #[inline(always)]
    pub fn get(&self, wire: &[u8]) -> Option<&Entry> {
        self.entries.get(self.index.get(wire)?)
    }

    /// Finds a lower-case wire name of `labels` labels (the root not counted).
    #[inline]
    pub fn find(&self, wire: &[u8], labels: usize) -> Found<'_> {
        if labels <= self.max_labels
            && let Some(entry) = self.get(wire)
        {
            return match &entry.cut {
                None => Found::Exact(entry),
                Some(referral) => Found::Cut { entry, referral, skip: 0 },
            };
        }
        self.find_encloser(wire, labels)
    }

    /// What [`find`](Self::find) finds of a name in any case that [`get`](Self::get) does not. `None`: none
    /// of our names ends it, if it is a name at all.
    #[inline(always)]
    pub fn find_above(&self, wire: &[u8]) -> Option<Found<'_>> {
        let mut skip = 0;
        loop {
            let len = usize::from(*wire.get(skip)?);
            if len == 0 || len > MAX_LABEL {
                return None;
            }
            skip += len + 1;
            if let Some(entry) = self.get(wire.get(skip..)?) {
                return Some(self.enclosed(entry, skip));
            }
        }
    }

    /// What the closest encloser says of a name whose first `skip` octets stand before it.
    #[inline]
    fn enclosed<'a>(&'a self, entry: &'a Entry, skip: usize) -> Found<'a> {
        if let Some(referral) = &entry.cut {
            return Found::Cut { entry, referral, skip };
        }
        match entry.wildcard {
            Some(at) => Found::Wildcard(&self.entries[at as usize]),
            None => Found::Absent(entry),
        }
    }

    #[inline]
    fn find_encloser(&self, wire: &[u8], labels: usize) -> Found<'_> {
        let mut skip = 0;
        let mut left = labels;
        while let Some(&len) = wire.get(skip)
            && len != 0
        {
            skip += usize::from(len) + 1;
            left = left.saturating_sub(1);
            if left > self.max_labels {
                continue;
            }
            let Some(entry) = wire.get(skip..).and_then(|suffix| self.get(suffix)) else { continue };
            return self.enclosed(entry, skip);
        }
        Found::NotOurs
    }
}

/// Names on their way into the table.
struct Builder<'a> {
    zones: &'a ZoneSet,
    origins: BTreeMap<&'a Name, u32>,
    drafts: BTreeMap<Name, Entry>,
    steered: Vec<SteeredName>,
}

impl<'a> Builder<'a> {
    fn new(zones: &'a ZoneSet) -> Self {
        let number = |(at, zone): (usize, &'a Zone)| (&zone.origin, u32::try_from(at).unwrap_or(u32::MAX));
        let origins = zones.zones.iter().enumerate().map(number).collect();
        Self { zones, origins, drafts: BTreeMap::new(), steered: Vec::new() }
    }

    fn build(mut self, policy: &Policy) -> Names {
        for (number, zone) in (0..).zip(&self.zones.zones) {
            // Canonical order puts everything below a name right after it.
            let mut cut: Option<&Name> = None;
            for (name, sets) in &zone.names {
                if cut.is_some_and(|cut| name.is_at_or_below(cut)) {
                    continue;
                }
                cut = hides_names_below(zone, name, sets).then_some(name);
                if zone_of(&self.origins, name) == Some(number) {
                    self.insert(number, name.clone(), entry_of(zone, number, name, sets));
                }
            }
        }
        for id in policy.service_ids() {
            let service = policy.service(id);
            for (text, is_hostname) in names_of(service) {
                if let Ok(name) = Name::parse_text(text) {
                    let sets = service.records_at(text);
                    let records = sets.map(|(at, set)| (set.kind.number(), at as u16)).collect();
                    self.steer((id, service), name, is_hostname, records);
                }
            }
        }
        self.link_parents();
        self.finish()
    }

    /// Puts an entry in, and empty ones for the names between it and its zone's origin.
    fn insert(&mut self, zone: u32, name: Name, entry: Entry) {
        let origin = &self.zones.zones[zone as usize].origin;
        let mut above = name.clone();
        while above != *origin
            && let Some(parent) = above.parent()
        {
            self.drafts.entry(parent.clone()).or_insert_with(|| Entry { zone, ..Entry::default() });
            above = parent;
        }
        self.drafts.insert(name, entry);
    }

    fn steer(
        &mut self,
        (id, service): (ServiceId, &Service),
        name: Name,
        has_addresses: bool,
        records: Box<[(u16, u16)]>,
    ) {
        let Some(zone) = zone_of(&self.origins, &name) else { return };
        let mut entry = self.drafts.get(&name).cloned().unwrap_or_else(|| Entry { zone, ..Entry::default() });
        let negative = negative_block(&self.zones.zones[zone as usize], service.ttl);
        let position = u32::try_from(self.steered.len()).ok();
        let steered = position.map(|position| Steered { position, service: id });
        entry.steered = steered.filter(|_| has_addresses);
        entry.typed = position.filter(|_| !records.is_empty());
        let is_elsewhere = matches!(service.shed, Some(Shed { to: ShedTo::Cname(_), .. }));
        let is_aliased = has_addresses && is_elsewhere;
        self.steered.push(SteeredName { service: id, has_addresses, is_aliased, records, negative });
        self.insert(zone, name, entry);
    }

    /// DS at the top of a zone belongs to the zone above (RFC 4035 3.1.4.1), if that is here.
    fn link_parents(&mut self) {
        for zone in &self.zones.zones {
            let above = zone.origin.parent().and_then(|parent| zone_of(&self.origins, &parent));
            let (Some(above), Some(apex)) = (above, self.drafts.get_mut(&zone.origin)) else { continue };
            let sets = self.zones.zones[above as usize].names.get(&zone.origin);
            let ds = sets.and_then(|sets| sets.iter().find(|set| set.rtype == rtype::DS)).map(block_of);
            apex.parent = Some(Box::new(ParentSide { zone: above, ds }));
        }
    }

    fn finish(mut self) -> Names {
        let positions: BTreeMap<Name, u32> = self.drafts.keys().cloned().zip(0..).collect();
        for (name, at) in &positions {
            let parent = name.is_wildcard().then(|| name.parent()).flatten();
            if let Some(entry) = parent.and_then(|parent| self.drafts.get_mut(&parent)) {
                entry.wildcard = Some(*at);
            }
        }
        let head =
            |zone: &Zone| ZoneHead { origin: zone.origin.clone(), negative: negative_block(zone, u32::MAX) };
        let max_labels = self.drafts.keys().map(|name| label_count(name.as_wire())).max().unwrap_or(0);
        Names {
            index: NameIndex::new(positions.keys().map(Name::as_wire)),
            entries: self
                .drafts
                .into_values()
                .zip(0..)
                .map(|(entry, number)| Entry { number, ..entry })
                .collect(),
            zones: self.zones.zones.iter().map(head).collect(),
            steered: self.steered,
            max_labels,
            any: Block::of(HINFO, ANY_TTL, [&b"\x07RFC8482\x00"[..]]),
        }
    }
}

/// A service's names, and whether each is a hostname.
fn names_of(service: &Service) -> impl Iterator<Item = (&str, bool)> {
    let hostnames = service.hostnames.len();
    service.answered_names().enumerate().map(move |(at, name)| (name, at < hostnames))
}

/// Labels of a whole wire name, the root not counted.
pub fn label_count(wire: &[u8]) -> usize {
    let mut at = 0;
    let mut labels = 0;
    while let Some(&len) = wire.get(at)
        && len != 0
    {
        at += usize::from(len) + 1;
        labels += 1;
    }
    labels
}

/// The deepest zone a name is in.
fn zone_of(origins: &BTreeMap<&Name, u32>, name: &Name) -> Option<u32> {
    let mut at = Some(name.clone());
    while let Some(name) = at {
        if let Some(zone) = origins.get(&name) {
            return Some(*zone);
        }
        at = name.parent();
    }
    None
}

/// Whether a name of a zone is at or below a delegation.
pub fn is_delegated(zone: &Zone, name: &Name) -> bool {
    let mut at_and_above = std::iter::successors(Some(name.clone()), Name::parent);
    let mut inside = at_and_above.by_ref().take_while(|name| *name != zone.origin);
    inside.any(|name| zone.rrset(&name, rtype::NS).is_some())
}

/// The owner of the DNAME that a name of a zone is below.
pub(super) fn redirection(zone: &Zone, name: &Name) -> Option<Name> {
    let mut above = std::iter::successors(name.parent(), Name::parent);
    let mut inside = above.by_ref().take_while(|name| name.is_at_or_below(&zone.origin));
    inside.find(|name| zone.rrset(name, rtype::DNAME).is_some())
}

/// What is below a delegation or a DNAME is never answered (RFC 4592 2.2.1, RFC 6672 2.4).
fn hides_names_below(zone: &Zone, name: &Name, sets: &[Rrset]) -> bool {
    let has = |rtype: u16| sets.iter().any(|set| set.rtype == rtype);
    has(rtype::DNAME) || (has(rtype::NS) && *name != zone.origin)
}

fn entry_of(zone: &Zone, number: u32, name: &Name, sets: &[Rrset]) -> Entry {
    let mut entry = Entry { zone: number, ..Entry::default() };
    let ns = sets.iter().find(|set| set.rtype == rtype::NS);
    if let Some(ns) = ns.filter(|_| *name != zone.origin) {
        entry.cut = Some(Box::new(referral_of(zone, ns)));
    }
    // Of a delegated name only DS is the zone's own; the rest belongs to the child.
    let kept = |set: &&Rrset| entry.cut.is_none() || set.rtype == rtype::DS;
    let others = sets.iter().filter(|set| set.rtype != rtype::CNAME).filter(kept);
    let mut blocks: Vec<_> = others.map(|set| (set.rtype, block_of(set))).collect();
    blocks.sort_by_key(|(rtype, _)| *rtype);
    entry.sets = blocks.into();
    let dname = sets.iter().find(|set| set.rtype == rtype::DNAME);
    entry.dname = dname.filter(|_| entry.cut.is_none()).and_then(|set| {
        let target = set.rdata.first()?.to_ascii_lowercase().into();
        Some(Box::new(Dname { block: block_of(set), owner_len: name.as_wire().len(), target }))
    });
    let cname = sets.iter().find(|set| set.rtype == rtype::CNAME);
    entry.cname = cname.and_then(|set| {
        let target = set.rdata.first()?.to_ascii_lowercase();
        Some(Box::new(Cname { block: block_of(set), target: target.into() }))
    });
    entry
}

fn block_of(set: &Rrset) -> Block {
    Block::of(set.rtype, set.ttl, set.rdata.iter().map(|data| &**data))
}

fn negative_block(zone: &Zone, ttl: u32) -> Block {
    let soa = zone.soa();
    Block::of(soa.rtype, ttl.min(zone.negative_ttl()), soa.rdata.iter().map(|data| &**data))
}

fn referral_of(zone: &Zone, ns: &Rrset) -> Referral {
    let block = block_of(ns);
    let mut glue = Vec::new();
    let mut seen = BTreeSet::new();
    for record in block.records() {
        let Ok(target) = Name::from_wire(record.rdata) else { continue };
        if !seen.insert(target.clone()) {
            continue;
        }
        let sets = zone.names.get(&target).map_or(&[][..], Vec::as_slice);
        let addresses = sets.iter().filter(|set| matches!(set.rtype, rtype::A | rtype::AAAA));
        for set in addresses {
            let target_at = record.at + super::block::RECORD_HEAD;
            glue.push(Glue { target_at, target: target.clone(), block: block_of(set) });
        }
    }
    Referral { ns: block, glue: glue.into() }
}
