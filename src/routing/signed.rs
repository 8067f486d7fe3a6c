//! Signatures and denials beside a table: immutable, found without searching twice.
//!
//! ```text
//!  entry number ─▶ SignedEntry   RRSIG per type │ its NSEC │ the NSEC that denies its `*` │ parent side
//!  steered name ─▶ one RRSIG per answer set and type │ SOA, NSEC without A, without AAAA, without each other
//!  zone         ─▶ SOA's RRSIG, DNSKEY, CDS, CDNSKEY │ chain: sorted keys ─▶ NSEC + RRSIG
//! ```
//!
//! | answer | needs |
//! |---|---|
//! | data | [`Signed::signature`] or [`Signed::steered`] |
//! | data of a wildcard | that, and [`Signed::covering`] of the name asked |
//! | NODATA | [`Signed::at`], at a wildcard also [`Signed::covering`] |
//! | NXDOMAIN | [`Signed::covering`] and [`Signed::no_wildcard`] of the closest encloser |
//! | referral | DS's signature, or [`Signed::at`] to show that there is none |
//!
//! Filled by `sign`, read by `dns`; makes no signature itself. Only [`covering`](Signed::covering) searches:
//! a binary search over prepared keys, without allocation.

use super::block::Block;
use super::steer::Part;
use crate::base::prefix::Family;
use crate::zone::nsec::SortKey;
use std::sync::Arc;

/// A zone that is not signed, an entry without NSEC.
pub const NONE: u32 = u32::MAX;

/// Everything signed in one table.
#[derive(Clone, Debug, Default)]
pub struct Signed {
    /// What changes with policy, zones and keys only.
    pub fixed: Arc<SignedFixed>,
    /// By position of the steered name; empty where its zone is not signed.
    pub steered: Vec<Arc<SteeredSignatures>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedFixed {
    /// By zone number; `None`: not signed.
    pub zones: Vec<Option<SignedZone>>,
    /// By entry number.
    pub entries: Vec<SignedEntry>,
    /// By position of the steered name.
    pub denials: Vec<Option<SteeredDenial>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedZone {
    /// RRSIG of the SOA, with the TTL of negative answers.
    pub negative: Block,
    /// Type, records and RRSIG of what signing adds at the apex: DNSKEY, CDS, CDNSKEY.
    pub apex: Vec<(u16, Block, Block)>,
    /// Position of the apex in the entries.
    pub apex_entry: u32,
    /// In canonical order; the first is the apex.
    pub chain: Vec<NsecEntry>,
}

/// An NSEC record and its signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NsecEntry {
    /// The owner as [`SortKey`].
    pub key: Box<[u8]>,
    /// The owner: lower-case wire form, whole.
    pub owner: Box<[u8]>,
    /// Octets of `owner` before the zone's origin, which an encoder can point to.
    pub labels_len: u8,
    pub nsec: Block,
    pub rrsig: Block,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEntry {
    /// RRSIG by type covered, ascending.
    pub signatures: Box<[(u16, Block)]>,
    /// Position in the zone's chain of the NSEC that tells its types: its own, or at an empty non-terminal
    /// the one before it.
    pub nsec: u32,
    /// Of the NSEC that denies its `*` child, where it has none.
    pub no_wildcard: u32,
    /// At an apex whose parent zone is here and signed: the parent's DS signature and NSEC position.
    pub parent: Option<Box<(Option<Block>, u32)>>,
}

impl Default for SignedEntry {
    fn default() -> Self {
        Self { signatures: Box::default(), nsec: NONE, no_wildcard: NONE, parent: None }
    }
}

/// Negative answers of a steered name, whose TTL is no longer than its service's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeredDenial {
    /// RRSIG of the SOA.
    pub negative: Block,
    /// By family: the NSEC without it. For a client that no node can answer in that family.
    pub without: [NsecEntry; 2],
    /// By family: RRSIG of what stands for the name in transfers; empty where nothing does.
    pub standin: [Block; 2],
    /// Of the other types that are steered at the name, in their order.
    pub records: Box<[RecordDenial]>,
    /// The NSEC to be transferred where something stands for some of its types only.
    pub standin_nsec: Option<NsecEntry>,
}

/// As [`SteeredDenial`] has it for A and AAAA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordDenial {
    pub without: NsecEntry,
    pub standin: Block,
}

/// RRSIG per position in the service's sets, by family; an empty block where there are no records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeredSignatures {
    /// A and AAAA.
    pub by_set: Box<[[Block; 2]]>,
    /// Of the other types: as many for each set as the name has, one set after the other.
    pub records: Box<[Block]>,
    pub records_per_set: u16,
    /// Of the name that newcomers are shed to.
    pub alias: Block,
}

impl Signed {
    /// A zone by number; `None`: it is not signed.
    #[inline]
    pub fn zone(&self, zone: u32) -> Option<&SignedZone> {
        self.fixed.zones.get(zone as usize)?.as_ref()
    }

    /// RRSIG of a static set at an entry.
    #[inline]
    pub fn signature(&self, entry: u32, rtype: u16) -> Option<&Block> {
        let signatures = &self.fixed.entries.get(entry as usize)?.signatures;
        signatures.iter().find(|(covered, _)| *covered == rtype).map(|(_, block)| block)
    }

    /// RRSIG of a steered name's answer set.
    #[inline]
    pub fn steered(&self, position: u32, set: u32, family: Family) -> Option<&Block> {
        let by_set = &self.steered.get(position as usize)?.by_set;
        by_set.get(set as usize).map(|families| &families[family.index()]).filter(|block| !block.is_empty())
    }

    /// The same of any type that is steered.
    #[inline]
    pub fn steered_part(&self, position: u32, set: u32, part: Part) -> Option<&Block> {
        let nth = match part {
            Part::Addresses(family) => return self.steered(position, set, family),
            Part::Records { nth, .. } => usize::from(nth),
        };
        let signatures = self.steered.get(position as usize)?;
        let at = usize::from(signatures.records_per_set).checked_mul(set as usize)?.checked_add(nth)?;
        signatures.records.get(at).filter(|block| !block.is_empty())
    }

    /// RRSIG of the name that newcomers of a steered name are shed to.
    pub fn alias(&self, position: u32) -> Option<&Block> {
        self.steered.get(position as usize).map(|it| &it.alias).filter(|block| !block.is_empty())
    }

    /// The NSEC for a client that is answered nothing of that part.
    #[inline]
    pub fn without(&self, position: u32, part: Part) -> Option<&NsecEntry> {
        let denial = self.denial(position)?;
        match part {
            Part::Addresses(family) => Some(&denial.without[family.index()]),
            Part::Records { nth, .. } => denial.records.get(usize::from(nth)).map(|it| &it.without),
        }
    }

    /// What a steered name is denied with.
    #[inline]
    pub fn denial(&self, position: u32) -> Option<&SteeredDenial> {
        self.fixed.denials.get(position as usize)?.as_ref()
    }

    /// The NSEC that tells what an entry of `zone` has.
    #[inline]
    pub fn at(&self, zone: u32, entry: u32) -> Option<&NsecEntry> {
        let position = self.fixed.entries.get(entry as usize)?.nsec;
        self.zone(zone)?.chain.get(position as usize)
    }

    /// The NSEC that shows an entry to have no `*` child.
    #[inline]
    pub fn no_wildcard(&self, zone: u32, entry: u32) -> Option<&NsecEntry> {
        let position = self.fixed.entries.get(entry as usize)?.no_wildcard;
        self.zone(zone)?.chain.get(position as usize)
    }

    /// The parent's answer about DS at the apex of `zone`'s child: signature, and the NSEC there.
    pub fn parent(&self, zone: u32, entry: u32) -> Option<(Option<&Block>, &NsecEntry)> {
        let (signature, position) = self.fixed.entries.get(entry as usize)?.parent.as_deref()?;
        Some((signature.as_ref(), self.zone(zone)?.chain.get(*position as usize)?))
    }

    /// The NSEC whose span holds a name of the zone that does not exist: lower case, whole.
    pub fn covering(&self, zone: u32, name: &[u8]) -> Option<&NsecEntry> {
        let chain = &self.zone(zone)?.chain;
        chain.get(position_covering(chain, SortKey::of(name).as_bytes())? as usize)
    }

    /// DNSKEY, CDS or CDNSKEY of a zone, and their RRSIG.
    pub fn apex_set(&self, zone: u32, rtype: u16) -> Option<(&Block, &Block)> {
        let found = self.zone(zone)?.apex.iter().find(|(held, ..)| *held == rtype);
        found.map(|(_, block, rrsig)| (block, rrsig))
    }
}

/// Position of the last entry at or before `key`; `None` for an empty chain.
pub fn position_covering(chain: &[NsecEntry], key: &[u8]) -> Option<u32> {
    let after = chain.partition_point(|entry| &*entry.key <= key);
    u32::try_from(after.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::name::Name;

    fn chain(owners: &[&str]) -> Vec<NsecEntry> {
        let entry = |owner: &&str| {
            let name = Name::parse_text(owner).expect("a name");
            let key = SortKey::of(name.as_wire()).as_bytes().into();
            NsecEntry { key, owner: name.as_wire().into(), ..NsecEntry::default() }
        };
        owners.iter().map(entry).collect()
    }

    #[test]
    fn the_covering_record_is_the_last_before_the_name() {
        let zone = SignedZone {
            chain: chain(&["x.test", "*.x.test", "b.x.test", "z.b.x.test"]),
            ..SignedZone::default()
        };
        let fixed = Arc::new(SignedFixed { zones: vec![Some(zone)], ..SignedFixed::default() });
        let signed = Signed { fixed, steered: Vec::new() };
        for (asked, owner) in [
            ("a.x.test", "*.x.test"),
            ("!.x.test", "x.test"),
            ("b.x.test", "b.x.test"),
            ("a.b.x.test", "b.x.test"),
            ("c.x.test", "z.b.x.test"),
            ("x.z.b.x.test", "z.b.x.test"),
        ] {
            let asked = Name::parse_text(asked).expect("a name");
            let found = signed.covering(0, asked.as_wire()).expect("covered");
            assert_eq!(Name::from_wire(&found.owner).expect("a name").to_string(), owner, "{asked}");
        }
        assert!(signed.covering(1, b"\x00").is_none(), "a zone that is not signed");
    }
}
