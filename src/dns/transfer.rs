//! Zone transfer out (AXFR, RFC 5936): a zone as an iterator of messages.
//!
//! ```text
//!  Content  SOA │ DNSKEY, CDS │ each owner of the file │ steered names' stand-ins │ NSEC chain │ SOA
//!     └─▶ Transfer ─▶ message, message, ...   16 KiB each, signed one after another if the query was
//! ```
//!
//! IXFR (RFC 1995) is answered with the whole zone, or with the SOA alone where the client has the
//! serial already, and always over UDP. Names are not compressed. Who may have what is policy's and
//! the keys' to say; here it is only looked up. Nothing here waits: whoever writes the messages bounds how
//! long, and how many at once.

use super::Ctx;
use super::code::{ExtendedError, Rcode};
use super::query::{HEADER, ParsedQuery, be16, skip_name};
use super::tsig::{self, Signer, TsigError, TsigKeys};
use crate::routing::Snapshot;
use crate::routing::block::{Block, RECORD_HEAD};
use crate::routing::names::{Entry, Found, is_delegated, label_count};
use crate::routing::signed::NsecEntry;
use crate::routing::standin::Standin;
use crate::zone::name::Name;
use crate::zone::{Rrset, Zone, rtype};
use std::ops::Bound;
use std::sync::Arc;

pub const QTYPE_IXFR: u16 = 251;
pub const QTYPE_AXFR: u16 = 252;
/// Octets after which a message is sent; a longer record has a longer one.
const MESSAGE: usize = 16 << 10;
const MOST: usize = 65_535;

/// What a request for a zone is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole zone of this number.
    Whole(u32),
    /// Its SOA alone.
    Soa(u32),
    Refused(ExtendedError),
}

/// What a question of type AXFR or IXFR is to be told; `is_signed`: by one of our keys.
pub fn judge(snapshot: &Snapshot, ctx: &Ctx<'_>, query: &ParsedQuery<'_>, is_signed: bool) -> Verdict {
    let Some(config) = &snapshot.policy.server.transfer else {
        return Verdict::Refused(ExtendedError::NOT_SUPPORTED);
    };
    let heads = (0_u32..).zip(snapshot.names().zones());
    let mut ours = heads.filter(|(_, head)| head.origin.as_wire() == query.name());
    let Some((zone, head)) = ours.next() else {
        return Verdict::Refused(ExtendedError::NOT_AUTHORITATIVE);
    };
    let is_keyed = is_signed || config.keys.is_none();
    if !config.zones.has(&head.origin.to_string()) || !config.allows(ctx.peer) || !is_keyed {
        return Verdict::Refused(ExtendedError::PROHIBITED);
    }
    if query.qtype == QTYPE_IXFR {
        let serial = snapshot.zones.zones.get(zone as usize).map_or(0, Zone::serial);
        if !ctx.transport.has_transfer() || client_serial(query) == Some(serial) {
            return Verdict::Soa(zone);
        }
    } else if !ctx.transport.has_transfer() {
        return Verdict::Refused(ExtendedError::NOT_SUPPORTED);
    }
    Verdict::Whole(zone)
}

/// The serial in the authority section of an IXFR query (RFC 1995 3).
fn client_serial(query: &ParsedQuery<'_>) -> Option<u32> {
    let message = query.message;
    let head = skip_name(message, query.question_end)?;
    let is_soa = be16(message, 6)? == 0 && be16(message, 8)? >= 1 && be16(message, head)? == rtype::SOA;
    let serial_at = skip_name(message, skip_name(message, head + 10)?)?;
    let serial = message.get(serial_at..)?.first_chunk()?;
    is_soa.then(|| u32::from_be_bytes(*serial))
}

/// The SOA records of a zone.
pub(super) fn soa(snapshot: &Snapshot, zone: u32) -> Option<&Block> {
    let origin = snapshot.names().zone(zone).origin.as_wire();
    match snapshot.names().find(origin, label_count(origin)) {
        Found::Exact(entry) => entry.set(rtype::SOA),
        _ => None,
    }
}

/// The transfer that a message over a stream asks for and may have; `None`: an ordinary answer does.
pub fn wanted(snapshot: &Arc<Snapshot>, ctx: &Ctx<'_>, keys: &TsigKeys, message: &[u8]) -> Option<Transfer> {
    let query = super::parse(message).ok()?;
    let asks = matches!(query.qtype, QTYPE_AXFR | QTYPE_IXFR) && query.qclass == 1;
    if !asks || query.fault.is_some() {
        return None;
    }
    let signer = match query.tsig_at {
        Some(at) => Some(tsig::verify(keys, message, at, u64::from(ctx.seconds)).ok()?),
        None => None,
    };
    let is_signed = signer.as_ref().is_some_and(|signer| signer.error() == TsigError::None);
    if signer.is_some() && !is_signed {
        return None;
    }
    let Verdict::Whole(zone) = judge(snapshot, ctx, &query, is_signed) else { return None };
    Some(Transfer {
        content: Content::new(Arc::clone(snapshot), zone),
        head: message.get(..query.question_end)?.into(),
        has_edns: query.edns.as_ref().map(|edns| edns.dnssec_ok),
        pending: None,
        signer,
        is_begun: false,
        is_ended: false,
    })
}

/// Whether a message's question may be one of transfer: cheap, so that others need not be parsed for it.
pub fn is_asked(message: &[u8]) -> bool {
    let end = skip_name(message, HEADER);
    matches!(end.and_then(|end| be16(message, end)), Some(QTYPE_AXFR | QTYPE_IXFR))
}

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    content: Content,
    /// Header and question of the query.
    head: Box<[u8]>,
    /// The query had an OPT record, with this DO bit.
    has_edns: Option<bool>,
    /// A record that had no room in the last message.
    pending: Option<Vec<u8>>,
    signer: Option<Signer>,
    is_begun: bool,
    is_ended: bool,
}

impl Transfer {
    /// The next message, signed at `now` (seconds since 1970). After the last one, or where a record fits no
    /// message at all, there is none.
    pub fn next(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.is_ended {
            return None;
        }
        let mut message = self.open()?;
        let tail =
            self.signer.as_ref().map_or(0, Signer::added_len) + if self.is_begun { 0 } else { OPT.len() };
        let (empty, mut count) = (message.len(), 0_u16);
        loop {
            let Some(record) = self.pending.take().or_else(|| self.content.next()) else {
                self.is_ended = true;
                break;
            };
            let whole = message.len() + record.len() + tail;
            if count == u16::MAX || (whole > MESSAGE && message.len() > empty) || whole > MOST {
                self.is_ended = message.len() == empty;
                self.pending = Some(record);
                break;
            }
            message.extend_from_slice(&record);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        message.get_mut(6..8)?.copy_from_slice(&count.to_be_bytes());
        if let (Some(dnssec_ok), false) = (self.has_edns, self.is_begun) {
            message.extend_from_slice(&OPT);
            let flags = message.len() - 4;
            *message.get_mut(flags)? = u8::from(dnssec_ok) << 7;
            *message.get_mut(11)? = 1;
        }
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut message, now);
        }
        self.is_begun = true;
        Some(message)
    }

    /// The header, and in the first message the question (RFC 5936 2.2).
    fn open(&self) -> Option<Vec<u8>> {
        let mut message = Vec::with_capacity(MESSAGE + 512);
        let kept = if self.is_begun { HEADER } else { self.head.len() };
        message.extend_from_slice(self.head.get(..kept)?);
        let recursion_desired = self.head.get(2)? & 1;
        message.get_mut(2..HEADER)?.copy_from_slice(&[
            0x84 | recursion_desired,
            0,
            0,
            u8::from(!self.is_begun),
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        Some(message)
    }
}

/// Root, type 41, 1,232 octets, no flags, no options.
const OPT: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

/// Where a walk over a zone is.
#[derive(Debug)]
enum At {
    Start,
    /// After this owner of the file; `None`: before the first.
    Owner(Option<Name>),
    /// Service and its name.
    Steered(usize, usize),
    Chain(usize),
    End,
    Done,
}

/// The records of a zone as they are transferred, in uncompressed wire form: the SOA first and last. It
/// follows from policy, zone files and signatures, and never from health.
#[derive(Debug)]
pub struct Content {
    snapshot: Arc<Snapshot>,
    zone: u32,
    at: At,
    /// Made and not yet given; from behind.
    ready: Vec<Vec<u8>>,
}

impl Content {
    /// Of the zone of this number.
    pub fn new(snapshot: Arc<Snapshot>, zone: u32) -> Self {
        Self { snapshot, zone, at: At::Start, ready: Vec::new() }
    }

    fn step(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        let Some(zone) = snapshot.zones.zones.get(self.zone as usize) else {
            self.at = At::Done;
            return;
        };
        let view = View { snapshot: &snapshot, zone, number: self.zone };
        let ready = &mut self.ready;
        self.at = match std::mem::replace(&mut self.at, At::Done) {
            At::Start => {
                view.soa(ready);
                view.apex(ready);
                At::Owner(None)
            }
            At::Owner(last) => {
                let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                match zone.names.range::<Name, _>((from, Bound::Unbounded)).next() {
                    Some((owner, sets)) => {
                        view.owner(owner, sets, ready);
                        At::Owner(Some(owner.clone()))
                    }
                    None => At::Steered(0, 0),
                }
            }
            At::Steered(service, hostname) => match snapshot.policy.services.get(service) {
                Some(of) => match of.answered_name(hostname) {
                    Some(name) => {
                        view.steered(name, ready);
                        At::Steered(service, hostname + 1)
                    }
                    None => At::Steered(service + 1, 0),
                },
                None => At::Chain(0),
            },
            At::Chain(position) => {
                let signed = snapshot.signed().and_then(|signed| signed.zone(self.zone));
                match signed.and_then(|signed| signed.chain.get(position)) {
                    Some(link) => {
                        view.link(link, ready);
                        At::Chain(position + 1)
                    }
                    None => At::End,
                }
            }
            At::End => {
                view.last_soa(ready);
                At::Done
            }
            At::Done => At::Done,
        };
        self.ready.reverse();
    }
}

impl Iterator for Content {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(record) = self.ready.pop() {
                return Some(record);
            }
            if matches!(self.at, At::Done) {
                return None;
            }
            self.step();
        }
    }
}

/// One zone of a snapshot.
struct View<'a> {
    snapshot: &'a Snapshot,
    zone: &'a Zone,
    number: u32,
}

impl View<'_> {
    fn entry(&self, owner: &Name) -> Option<&Entry> {
        match self.snapshot.names().find(owner.as_wire(), owner.label_count()) {
            Found::Exact(entry) => Some(entry),
            Found::Cut { entry, skip: 0, .. } => Some(entry),
            _ => None,
        }
    }

    /// RRSIG of a set of the file.
    fn signature(&self, entry: &Entry, wanted: u16) -> Option<&Block> {
        let signed = self.snapshot.signed()?;
        if entry.zone == self.number {
            return signed.signature(entry.number, wanted);
        }
        // The apex of a zone below, of which DS is ours.
        signed.parent(self.number, entry.number).and_then(|(ds, _)| ds).filter(|_| wanted == rtype::DS)
    }

    fn last_soa(&self, ready: &mut Vec<Vec<u8>>) {
        put_set(&self.zone.origin, self.zone.soa(), ready);
    }

    fn soa(&self, ready: &mut Vec<Vec<u8>>) {
        self.last_soa(ready);
        let signature = self.entry(&self.zone.origin).and_then(|entry| self.signature(entry, rtype::SOA));
        signature.into_iter().for_each(|block| put_block(self.zone.origin.as_wire(), block, ready));
    }

    /// What signing adds.
    fn apex(&self, ready: &mut Vec<Vec<u8>>) {
        let signed = self.snapshot.signed().and_then(|signed| signed.zone(self.number));
        for (_, block, rrsig) in signed.map_or(&[][..], |signed| &signed.apex) {
            put_block(self.zone.origin.as_wire(), block, ready);
            put_block(self.zone.origin.as_wire(), rrsig, ready);
        }
    }

    fn owner(&self, owner: &Name, sets: &[Rrset], ready: &mut Vec<Vec<u8>>) {
        let of_other = self.snapshot.zones.find(owner).is_none_or(|zone| zone.origin != self.zone.origin);
        // Below a zone of its own only what delegates it is ours.
        if of_other && !is_delegated(self.zone, owner) {
            return;
        }
        let entry = self.entry(owner);
        for set in sets.iter().filter(|set| set.rtype != rtype::SOA) {
            put_set(owner, set, ready);
            let signature = entry.and_then(|entry| self.signature(entry, set.rtype));
            signature.into_iter().for_each(|block| put_block(owner.as_wire(), block, ready));
        }
    }

    fn steered(&self, hostname: &str, ready: &mut Vec<Vec<u8>>) {
        let Ok(owner) = Name::parse_text(hostname) else { return };
        let entry = self.entry(&owner).filter(|entry| entry.zone == self.number);
        let Some(position) = entry.and_then(Entry::steering) else { return };
        let denial = self.snapshot.signed().and_then(|signed| signed.denial(position));
        let (policy, name) = (&self.snapshot.policy, self.snapshot.names().steered(position));
        let standin = Standin::of(policy, policy.service(name.service));
        let addresses = standin.blocks.iter().enumerate().filter(|_| name.has_addresses);
        for (at, block) in addresses {
            put_block(owner.as_wire(), block, ready);
            let signature = denial.and_then(|denial| denial.standin.get(at));
            signature.into_iter().for_each(|block| put_block(owner.as_wire(), block, ready));
        }
        for (nth, (_, at)) in name.records.iter().enumerate() {
            let signature = denial.and_then(|denial| denial.records.get(nth)).map(|denial| &denial.standin);
            for block in standin.record(*at).into_iter().chain(signature) {
                put_block(owner.as_wire(), block, ready);
            }
        }
    }

    /// An NSEC; where something stands for some types of a steered name only, the one that tells those.
    fn link(&self, link: &NsecEntry, ready: &mut Vec<Vec<u8>>) {
        let owner = Name::from_wire(&link.owner).ok();
        let entry = owner.as_ref().and_then(|owner| self.entry(owner));
        let position = entry.filter(|entry| entry.zone == self.number).and_then(Entry::steering);
        let denial = position.and_then(|at| self.snapshot.signed()?.denial(at));
        let shown = denial.and_then(|denial| denial.standin_nsec.as_ref()).unwrap_or(link);
        put_block(&link.owner, &shown.nsec, ready);
        put_block(&link.owner, &shown.rrsig, ready);
    }
}

fn put_set(owner: &Name, set: &Rrset, ready: &mut Vec<Vec<u8>>) {
    let block = Block::of(set.rtype, set.ttl, set.rdata.iter().map(|data| &**data));
    put_block(owner.as_wire(), &block, ready);
}

/// The records of a block with their owner instead of the pointer to the question.
fn put_block(owner: &[u8], block: &Block, ready: &mut Vec<Vec<u8>>) {
    for record in block.records() {
        let end = record.at + RECORD_HEAD + record.rdata.len();
        let rest = block.bytes().get(record.at + 2..end).unwrap_or_default();
        ready.push([owner, rest].concat());
    }
}

/// What a query about a zone is answered with if it is no whole transfer.
pub(super) fn told(snapshot: &Snapshot, verdict: Verdict) -> Result<&Block, (Rcode, ExtendedError)> {
    match verdict {
        Verdict::Refused(error) => Err((Rcode::Refused, error)),
        Verdict::Whole(_) => Err((Rcode::ServFail, ExtendedError::BUSY)),
        Verdict::Soa(zone) => soa(snapshot, zone).ok_or((Rcode::ServFail, ExtendedError::NOT_SUPPORTED)),
    }
}
