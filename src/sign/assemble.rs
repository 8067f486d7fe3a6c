//! What of a table is signed, and where its signatures are put.
//!
//! The same walk runs twice: once to find which signatures are missing, and again, when those have
//! been made, to put all of them in place. Between the two, the missing ones are signed on every core.
//!
//! | signed | not signed |
//! |---|---|
//! | every set of a zone's own names, DS at delegations, DNSKEY, CDS, CDNSKEY | NS and glue of delegations |
//! | SOA (once: the copy in negative answers has a lower TTL, not another signature) | |
//! | every answer set of every steered name, by type; NSEC | HINFO for ANY where there is a set to give |
//!
//! An RRSIG's original TTL is that of the RRset in its zone (RFC 4034 3.1.4); the TTL of the record
//! itself is that of the records it comes with, which in negative answers is lower.

use super::cache::{Cache, Known, Signature};
use super::key::{KEY_TTL, Key};
use super::ring::{KeyRing, ZoneKeys};
use super::rrsig::{ContentKey, SetToSign};
use super::secret::{SIGNATURE_LEN, Secret, SecretError};
use super::times::Moment;
use super::trusted_time::{Now, Window};
use crate::base::prefix::Family;
use crate::model::dnssec::DnssecConfig;
use crate::routing::Snapshot;
use crate::routing::block::Block;
use crate::routing::chain::{self, ChainLink};
use crate::routing::guard::Guard;
use crate::routing::names::{Entry, HINFO, Names, SteeredName};
use crate::routing::signed::{
    NONE, NsecEntry, RecordDenial, SignedEntry, SignedFixed, SignedZone, SteeredDenial, SteeredSignatures,
    position_covering,
};
use crate::routing::standin::Standin;
use crate::routing::steer::{AnswerSet, ServiceTable};
use crate::zone::name::Name;
use crate::zone::nsec::SortKey;
use crate::zone::rtype;
use std::collections::HashSet;
use std::sync::Arc;

/// A signature to be made.
pub struct Job {
    pub content: ContentKey,
    head: Vec<u8>,
    message: Vec<u8>,
    secret: Arc<Secret>,
    window: Window,
}

impl Job {
    pub fn run(self) -> Result<(ContentKey, Signature), SecretError> {
        let signature = self.secret.sign(&self.message)?;
        let rdata = [&self.head[..], &signature[..SIGNATURE_LEN]].concat().into();
        Ok((self.content, Signature { rdata, window: self.window }))
    }
}

/// Where signatures are looked up on a walk.
pub enum Source<'c> {
    Cache(&'c mut Cache),
    /// Only whether they are there: for signing ahead.
    Known(&'c Known),
}

/// A walk over a table.
pub struct Walk<'c> {
    source: Source<'c>,
    now: Now,
    pub jobs: Vec<Job>,
    asked: HashSet<ContentKey, foldhash::fast::FixedState>,
    /// Over which all signatures put in place since it was last taken hold.
    holds: Window,
}

impl<'c> Walk<'c> {
    pub fn new(source: Source<'c>, now: Now) -> Self {
        Self { source, now, jobs: Vec::new(), asked: HashSet::default(), holds: Window::FOREVER }
    }

    /// The window over which what was put in place since the last call holds.
    pub fn take_window(&mut self) -> Window {
        std::mem::replace(&mut self.holds, Window::FOREVER)
    }

    /// RRSIG records of a set by some keys, with a TTL of their own; empty while they are missing.
    fn rrsig(&mut self, keys: &[&Key], set: &SetToSign<'_>, ttl: u32) -> Block {
        let mut found: Vec<Box<[u8]>> = Vec::with_capacity(keys.len());
        for key in keys {
            let content = set.content(key);
            match &mut self.source {
                Source::Known(known) if known.contains(&content) => continue,
                Source::Cache(cache) => {
                    if let Some(signature) = cache.find(&content, self.now) {
                        self.holds = self.holds.and(signature.window);
                        found.push(signature.rdata.clone());
                        continue;
                    }
                }
                Source::Known(_) => {}
            }
            if self.asked.insert(content) {
                let [a, b, c, d, e, f, g, h, ..] = content;
                let window = self.now.window(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
                let (head, message) = set.message(key, window);
                self.jobs.push(Job { content, head, message, secret: Arc::clone(&key.secret), window });
            }
        }
        Block::of(rtype::RRSIG, ttl, found.iter().map(|rdata| &**rdata))
    }

    fn rrsig_of_block(&mut self, keys: &[&Key], owner: &Name, block: &Block, ttl: u32) -> Block {
        let Some(first) = block.records().next() else { return Block::default() };
        let records = block.records().map(|record| record.rdata);
        self.rrsig(keys, &SetToSign::new(owner, first.rtype, first.ttl, records), ttl)
    }
}

/// A table and the keys of its zones.
pub struct Scene<'a> {
    snapshot: &'a Snapshot,
    names: &'a Names,
    ordered: Vec<(Name, &'a Entry)>,
    /// By zone number: keys of the zones that are signed.
    zones: Vec<Option<&'a ZoneKeys>>,
    key_time: Moment,
}

impl<'a> Scene<'a> {
    pub fn new(snapshot: &'a Snapshot, config: &DnssecConfig, ring: &'a KeyRing, key_time: Moment) -> Self {
        let names = snapshot.names();
        let keys_of = |origin: &Name| {
            let is_wanted = config.zones.has(&origin.to_string());
            ring.zone(origin).filter(|keys| is_wanted && keys.zone_signer(key_time).is_some())
        };
        let zones = names.zones().iter().map(|zone| keys_of(&zone.origin)).collect();
        Self { snapshot, names, ordered: chain::ordered(names), zones, key_time }
    }

    /// Whether anything is signed at all.
    pub fn is_signed(&self) -> bool {
        self.zones.iter().any(Option::is_some)
    }

    fn keys(&self, zone: u32) -> Option<&'a ZoneKeys> {
        self.zones.get(zone as usize).copied().flatten()
    }

    fn zone_signer(&self, zone: u32) -> Option<&'a Key> {
        self.keys(zone)?.zone_signer(self.key_time)
    }

    /// All that does not change with placements.
    pub fn fixed(&self, walk: &mut Walk<'_>) -> SignedFixed {
        let count = u32::try_from(self.zones.len()).unwrap_or(u32::MAX);
        let mut fixed = SignedFixed {
            zones: Vec::new(),
            entries: vec![SignedEntry::default(); self.ordered.len()],
            denials: vec![None; self.steered_names().count()],
        };
        for zone in 0..count {
            let made = self.keys(zone).map(|keys| self.zone(zone, keys, &mut fixed, walk));
            fixed.zones.push(made);
        }
        fixed
    }

    fn zone(&self, zone: u32, keys: &ZoneKeys, fixed: &mut SignedFixed, walk: &mut Walk<'_>) -> SignedZone {
        let signer: Vec<&Key> = keys.zone_signer(self.key_time).into_iter().collect();
        let head = self.names.zone(zone);
        let apex = apex_sets(keys, self.key_time, &head.origin, walk);
        let added: Vec<u16> = apex.iter().map(|(rtype, ..)| *rtype).collect();
        let facts = (&*self.snapshot.policy, &*self.snapshot.zones);
        let links = chain::chain(self.names, &self.ordered, facts, zone, &added);
        let ttl = head.negative.ttl().unwrap_or(0);
        let chain: Vec<NsecEntry> = links
            .iter()
            .map(|link| nsec_entry(link, &link.rdata(), ttl, &head.origin, &signer, walk))
            .collect();
        self.sign_entries(zone, &signer, &links, fixed, walk);
        self.place_denials(zone, &chain, fixed);
        self.steered_denials(zone, &signer, &links, fixed, walk);
        let apex_entry = links.first().map_or(NONE, |link| link.entry);
        SignedZone { negative: self.soa_signature(zone, ttl, &signer, walk), apex, apex_entry, chain }
    }

    /// RRSIG of the SOA for an answer in which the SOA has a lower TTL.
    fn soa_signature(&self, zone: u32, ttl: u32, signer: &[&Key], walk: &mut Walk<'_>) -> Block {
        let Some(zone) = self.snapshot.zones.zones.get(zone as usize) else { return Block::default() };
        let soa = zone.soa();
        let set = SetToSign::new(&zone.origin, soa.rtype, soa.ttl, soa.rdata.iter().map(|data| &**data));
        walk.rrsig(signer, &set, ttl)
    }

    /// Signatures of all static sets of a zone.
    fn sign_entries(
        &self,
        zone: u32,
        signer: &[&Key],
        links: &[ChainLink],
        fixed: &mut SignedFixed,
        walk: &mut Walk<'_>,
    ) {
        for link in links {
            let (owner, entry) = &self.ordered[link.entry as usize];
            if entry.zone != zone {
                continue; // The apex of a zone below: its DS is put with the parent side.
            }
            let own = entry.sets.iter().map(|(rtype, block)| (*rtype, block));
            let cname = entry.cname.as_deref().map(|cname| (rtype::CNAME, &cname.block));
            // A steered name without other sets has nothing to give to ANY but HINFO (RFC 8482 4.2).
            let any =
                (entry.steering().is_some() && entry.sets.is_empty()).then(|| (HINFO, self.names.any()));
            let mut sign = |(rtype, block): (u16, &Block)| {
                (rtype, walk.rrsig_of_block(signer, owner, block, block.ttl().unwrap_or(0)))
            };
            let mut signatures: Vec<_> = own.chain(cname).chain(any).map(&mut sign).collect();
            signatures.sort_by_key(|(rtype, _)| *rtype);
            fixed.entries[link.entry as usize].signatures = signatures.into();
        }
        for (owner, entry) in &self.ordered {
            let Some(parent) = entry.parent.as_deref().filter(|parent| parent.zone == zone) else { continue };
            let ds =
                parent.ds.as_ref().map(|ds| walk.rrsig_of_block(signer, owner, ds, ds.ttl().unwrap_or(0)));
            fixed.entries[entry.number as usize].parent = Some(Box::new((ds, NONE)));
        }
    }

    /// Which NSEC shows what at every entry of a zone.
    fn place_denials(&self, zone: u32, chain: &[NsecEntry], fixed: &mut SignedFixed) {
        for (owner, entry) in &self.ordered {
            let signed = &mut fixed.entries[entry.number as usize];
            let at = || position_covering(chain, SortKey::of(owner.as_wire()).as_bytes()).unwrap_or(NONE);
            if entry.parent.as_deref().is_some_and(|parent| parent.zone == zone)
                && let Some(parent) = &mut signed.parent
            {
                parent.1 = at();
            }
            if entry.zone != zone {
                continue;
            }
            signed.nsec = at();
            if entry.wildcard.is_none() && entry.cut.is_none() {
                let mut wildcard = b"\x01*".to_vec();
                wildcard.extend_from_slice(owner.as_wire());
                // Too long to exist, so nobody can ask below it either.
                let key = SortKey::of(&wildcard);
                signed.no_wildcard = position_covering(chain, key.as_bytes()).unwrap_or(NONE);
            }
        }
    }

    /// What is denied of steered names, with TTLs no longer than their services'.
    fn steered_denials(
        &self,
        zone: u32,
        signer: &[&Key],
        links: &[ChainLink],
        fixed: &mut SignedFixed,
        walk: &mut Walk<'_>,
    ) {
        let origin = &self.names.zone(zone).origin;
        for link in links {
            let (owner, entry) = &self.ordered[link.entry as usize];
            let Some(position) = entry.steering().filter(|_| entry.zone == zone) else { continue };
            let ttl = self.names.steered(position).negative.ttl().unwrap_or(0);
            let negative = self.soa_signature(zone, ttl, signer, walk);
            let mut without =
                |absent: &[u16]| nsec_entry(link, &link.rdata_without(absent), ttl, origin, signer, walk);
            let standin = self.standin(position);
            let mut denial = SteeredDenial { negative, ..SteeredDenial::default() };
            if entry.steered.is_some() {
                denial.without = Family::BOTH.map(|family| without(&[chain::address_type(family)]));
            }
            let records = &self.names.steered(position).records;
            let of_type =
                |(rtype, _): &(u16, u16)| RecordDenial { without: without(&[*rtype]), ..Default::default() };
            denial.records = records.iter().map(of_type).collect();
            let lacking = standin.as_ref().map(|standin| standin.lacking(self.names.steered(position)));
            denial.standin_nsec = lacking.filter(|types| !types.is_empty()).map(|types| without(&types));
            if let Some(standin) = standin {
                let mut sign =
                    |block: &Block| walk.rrsig_of_block(signer, owner, block, block.ttl().unwrap_or(0));
                if entry.steered.is_some() {
                    denial.standin = standin.blocks.each_ref().map(&mut sign);
                }
                for (denial, (_, at)) in denial.records.iter_mut().zip(records) {
                    denial.standin = standin.record(*at).map(&mut sign).unwrap_or_default();
                }
            }
            if let Some(place) = fixed.denials.get_mut(position as usize) {
                *place = Some(denial);
            }
        }
    }

    /// What stands for a steered name in transfers, if there are any.
    fn standin(&self, position: u32) -> Option<Standin> {
        let policy = &self.snapshot.policy;
        let service = policy.service(self.names.steered(position).service);
        policy.server.transfer.as_ref().map(|_| Standin::of(policy, service))
    }

    /// Steered names by position: name and zone.
    pub fn steered_names(&self) -> impl Iterator<Item = (u32, &Name, u32)> {
        self.ordered.iter().filter_map(|(name, entry)| Some((entry.steering()?, name, entry.zone)))
    }

    /// Signatures of every answer set of a steered name.
    pub fn steered(
        &self,
        position: u32,
        (name, zone): (&Name, u32),
        table: &ServiceTable,
        walk: &mut Walk<'_>,
    ) -> SteeredSignatures {
        let Some(signer) = self.zone_signer(zone) else { return SteeredSignatures::default() };
        let mut sign = |block: &Block| walk.rrsig_of_block(&[signer], name, block, block.ttl().unwrap_or(0));
        let SteeredName { has_addresses, is_aliased, records: types, .. } = self.names.steered(position);
        let cname = table.guard.as_ref().and_then(Guard::alias).filter(|_| *is_aliased);
        let alias = cname.map(|cname| sign(&cname.block)).unwrap_or_default();
        let is_used = table.sets_in_use();
        let sets = || table.sets.iter().zip(&is_used);
        let mut addresses = |(set, stands): (&AnswerSet, &bool)| match stands {
            true => [sign(&set.blocks[0]), sign(&set.blocks[1])],
            false => <[Block; 2]>::default(),
        };
        let by_set = sets().filter(|_| *has_addresses).map(&mut addresses).collect();
        let parts = sets().flat_map(|(set, stands)| {
            let blocks = set.records.as_deref().filter(|_| *stands);
            types.iter().map(move |(_, at)| blocks.and_then(|blocks| blocks.get(usize::from(*at))))
        });
        let records = parts.map(|block| block.map(&mut sign).unwrap_or_default()).collect();
        SteeredSignatures { by_set, records, records_per_set: u16::try_from(types.len()).unwrap_or(0), alias }
    }
}

/// DNSKEY, CDS and CDNSKEY with their signatures.
fn apex_sets(keys: &ZoneKeys, now: Moment, origin: &Name, walk: &mut Walk<'_>) -> Vec<(u16, Block, Block)> {
    let signers = keys.key_signers(now);
    let synced = keys.synced(now);
    let published: Vec<Vec<u8>> = keys.published(now).into_iter().map(Key::dnskey).collect();
    let cds: Vec<Vec<u8>> = synced.iter().map(|key| key.ds()).collect();
    let cdnskey: Vec<Vec<u8>> = synced.iter().map(|key| key.dnskey()).collect();
    let sets = [(rtype::DNSKEY, published), (rtype::CDS, cds), (rtype::CDNSKEY, cdnskey)];
    let mut sign = |(rtype, mut records): (u16, Vec<Vec<u8>>)| {
        records.sort();
        let block = Block::of(rtype, KEY_TTL, records.iter().map(Vec::as_slice));
        let rrsig = walk.rrsig_of_block(&signers, origin, &block, KEY_TTL);
        (rtype, block, rrsig)
    };
    sets.into_iter().filter(|(_, records)| !records.is_empty()).map(&mut sign).collect()
}

fn nsec_entry(
    link: &ChainLink,
    rdata: &[u8],
    ttl: u32,
    origin: &Name,
    signer: &[&Key],
    walk: &mut Walk<'_>,
) -> NsecEntry {
    let nsec = Block::of(rtype::NSEC, ttl, [rdata]);
    let rrsig = walk.rrsig_of_block(signer, &link.owner, &nsec, ttl);
    let owner: Box<[u8]> = link.owner.as_wire().into();
    let labels_len = u8::try_from(owner.len().saturating_sub(origin.as_wire().len())).unwrap_or(0);
    NsecEntry { key: link.key.clone(), owner, labels_len, nsec, rrsig }
}
