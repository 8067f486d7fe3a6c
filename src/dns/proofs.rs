//! What a validator needs beside an answer: signatures, and records that show what is not there.
//!
//! | answer | proof (RFC 4035 3.1) |
//! |---|---|
//! | records, links | their RRSIG, behind them |
//! | from a wildcard | and the NSEC around the name asked, which shows that nothing is closer |
//! | NODATA | the SOA's RRSIG, and the NSEC that tells the name's types |
//! | NXDOMAIN | the SOA's RRSIG, the NSEC around the name, and the one around the closest encloser's `*` |
//! | referral | DS and its RRSIG, or the NSEC that shows that there is none |
//!
//! Collected while deciding, from what was signed with the table; only for queries with the DO bit and
//! only in zones that are signed. A chain of aliases through several zones takes from each its own.

use super::decide::{MAX_LINKS, Resolution};
use crate::routing::block::Block;
use crate::routing::names::Entry;
use crate::routing::signed::{NsecEntry, Signed};
use crate::routing::steer::Part;
use crate::zone::rtype;

/// One for each link, two for the last name.
const MAX_DENIALS: usize = MAX_LINKS + 2;

/// Prebuilt proofs of a decision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proofs<'a> {
    links: [Option<&'a Block>; MAX_LINKS],
    answer: Option<&'a Block>,
    authority: Option<&'a Block>,
    /// DS of a referral and its RRSIG.
    ds: Option<(&'a Block, &'a Block)>,
    denials: [Option<&'a NsecEntry>; MAX_DENIALS],
    denial_count: usize,
}

impl<'a> Proofs<'a> {
    /// RRSIG of the link at a position.
    #[inline]
    pub fn link(&self, at: usize) -> Option<&'a Block> {
        self.links.get(at).copied().flatten()
    }

    /// RRSIG of the answer.
    pub fn answer(&self) -> Option<&'a Block> {
        self.answer
    }

    /// What stands behind SOA or NS in the authority section and has the same owner.
    pub fn beside_authority(&self) -> impl Iterator<Item = &'a Block> {
        let ds = self.ds.into_iter().flat_map(|(ds, rrsig)| [ds, rrsig]);
        self.authority.into_iter().chain(ds)
    }

    /// NSEC records with their RRSIG.
    pub fn denials(&self) -> impl Iterator<Item = &'a NsecEntry> {
        self.denials[..self.denial_count].iter().copied().flatten()
    }

    /// Adds an NSEC of an owner that has none there yet; one often shows two things.
    fn deny(&mut self, entry: Option<&'a NsecEntry>) {
        let Some(entry) = entry else { return };
        if self.denials().any(|known| known.owner == entry.owner) {
            return;
        }
        if let Some(place) = self.denials.get_mut(self.denial_count) {
            *place = Some(entry);
            self.denial_count += 1;
        }
    }

    /// Adds an NSEC that tells fewer types than the chain's own of that owner, in place of that: two of
    /// one owner would be one RRset, which neither signature covers. Both show the same names absent.
    fn deny_type(&mut self, entry: &'a NsecEntry) {
        let known = self.denials.iter_mut().flatten().find(|known| known.owner == entry.owner);
        match known {
            Some(known) => *known = entry,
            None => self.deny(Some(entry)),
        }
    }
}

/// Collecting, step by step as the decision is made.
impl<'a> Resolution<'a, '_> {
    /// What was signed, if the query asks for it.
    fn signed(&self) -> Option<&'a Signed> {
        let is_asked = self.query.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
        self.snapshot.signed().filter(|_| is_asked)
    }

    /// Nothing closer than the wildcard exists.
    pub(super) fn prove_expansion(&mut self, name: &[u8], wildcard: &Entry) {
        if let Some(signed) = self.signed() {
            self.decision.proofs.deny(signed.covering(wildcard.zone, name));
        }
    }

    pub(super) fn prove_answer(&mut self, entry: &Entry, rtype: u16) {
        if let Some(signed) = self.signed() {
            self.decision.proofs.answer = signed.signature(entry.number, rtype);
        }
    }

    /// The link at position `at` of the chain.
    pub(super) fn prove_link(&mut self, at: usize, entry: &Entry, rtype: u16) {
        if let (Some(signed), Some(place)) = (self.signed(), self.decision.proofs.links.get_mut(at)) {
            *place = signed.signature(entry.number, rtype);
        }
    }

    pub(super) fn prove_steered(&mut self, position: u32, set: u32, part: Part) {
        if let Some(signed) = self.signed() {
            self.decision.proofs.answer = signed.steered_part(position, set, part);
        }
    }

    /// The name that newcomers are shed to, as the answer,
    pub(super) fn prove_alias(&mut self, position: u32) {
        if let Some(signed) = self.signed() {
            self.decision.proofs.answer = signed.alias(position);
        }
    }

    /// and as a link.
    pub(super) fn prove_alias_link(&mut self, at: usize, position: u32) {
        if let (Some(signed), Some(place)) = (self.signed(), self.decision.proofs.links.get_mut(at)) {
            *place = signed.alias(position);
        }
    }

    /// The SOA of a negative answer.
    pub(super) fn prove_soa(&mut self, zone: u32, steered: Option<u32>) {
        let Some(signed) = self.signed() else { return };
        let of_name = steered.and_then(|position| signed.denial(position)).map(|denial| &denial.negative);
        self.decision.proofs.authority = of_name.or_else(|| signed.zone(zone).map(|zone| &zone.negative));
    }

    /// The entry has no records of the type asked.
    pub(super) fn prove_nodata(&mut self, entry: &Entry) {
        if let Some(signed) = self.signed() {
            self.decision.proofs.deny(signed.at(entry.zone, entry.number));
        }
    }

    /// This client is answered nothing, others may be.
    pub(super) fn prove_no_part(&mut self, position: u32, part: Part) {
        if let Some(without) = self.signed().and_then(|signed| signed.without(position, part)) {
            self.decision.proofs.deny_type(without);
        }
    }

    /// Neither the name nor a wildcard for it; `encloser` is the closest name that exists.
    pub(super) fn prove_absence(&mut self, name: &[u8], encloser: &Entry) {
        if let Some(signed) = self.signed() {
            self.decision.proofs.deny(signed.covering(encloser.zone, name));
            self.decision.proofs.deny(signed.no_wildcard(encloser.zone, encloser.number));
        }
    }

    /// DS at a delegation, or that there is none. `is_referral`: the answer is about the names below.
    pub(super) fn prove_cut(&mut self, entry: &'a Entry, is_referral: bool) {
        let Some(signed) = self.signed() else { return };
        let (ds, rrsig) = (entry.set(rtype::DS), signed.signature(entry.number, rtype::DS));
        match ds.zip(rrsig) {
            Some(proof) if is_referral => self.decision.proofs.ds = Some(proof),
            Some((_, rrsig)) => self.decision.proofs.answer = Some(rrsig),
            None => self.decision.proofs.deny(signed.at(entry.zone, entry.number)),
        }
    }

    /// DS of a zone that is here as well as its parent, as the parent knows it.
    pub(super) fn prove_parent(&mut self, zone: u32, entry: &Entry, has_ds: bool) {
        let Some((rrsig, nsec)) = self.signed().and_then(|signed| signed.parent(zone, entry.number)) else {
            return;
        };
        if has_ds {
            self.decision.proofs.answer = rrsig;
        } else {
            self.decision.proofs.deny(Some(nsec));
        }
    }

    /// Records that signing makes: DNSKEY, CDS, CDNSKEY, NSEC; one RRSIG for those who ask for any of
    /// them (RFC 8482 7). `None`: the type is none of these, or the zone is not signed.
    pub(super) fn made_by_signing(&self, entry: &Entry) -> Option<(&'a Block, Option<&'a Block>)> {
        let signed = self.snapshot.signed()?;
        let is_empty = entry.sets.is_empty() && entry.cname.is_none() && entry.steering().is_none();
        let nsec = || signed.at(entry.zone, entry.number).filter(|_| !is_empty);
        match self.query.qtype {
            rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY => {
                let zone = signed.zone(entry.zone)?;
                let found = signed.apex_set(entry.zone, self.query.qtype);
                found.filter(|_| zone.apex_entry == entry.number).map(|(block, rrsig)| (block, Some(rrsig)))
            }
            rtype::NSEC => nsec().map(|nsec| (&nsec.nsec, Some(&nsec.rrsig))),
            rtype::RRSIG => nsec().map(|nsec| (&nsec.rrsig, None)),
            _ => None,
        }
    }

    /// The RRSIG of a record that signing made.
    pub(super) fn prove_made(&mut self, rrsig: Option<&'a Block>) {
        if self.signed().is_some() {
            self.decision.proofs.answer = rrsig;
        }
    }

    /// ANY in a signed zone: one set that the name has (RFC 8482 4.1), whose signature is there.
    pub(super) fn one_of_any(&self, entry: &'a Entry) -> Option<(u16, &'a Block)> {
        self.signed()?.zone(entry.zone)?;
        let (rtype, block) = entry.sets.first()?;
        Some((*rtype, block))
    }
}
