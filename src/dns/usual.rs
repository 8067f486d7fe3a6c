//! The usual query, answered in one walk over its bytes: one question of at most 64 octets, class IN,
//! at most an OPT record with client subnet and cookie, for a name whose answer is one prebuilt block.
//!
//! ```text
//!  query  header │ question │ OPT          answer  header │ question │ block, RRSIG │ OPT
//!         checked  hashed                          one copy, patched    a copy each    the query's with
//!                  as it is                                (or its SOA)                our fields
//!
//!  read ─▶ Job ─▶ find ─▶ Found ─▶ send            what OPT records say is in `asked`
//! ```
//!
//! Whatever is not usual (`None`, nothing written) goes the long way: faults, other classes, meta
//! types, wildcards, aliases of both kinds, referrals, denials with proofs, others' names, warnings,
//! NSID, padding, an answer that does not fit. Both ways say the same; `tests/encoders.rs` holds them
//! together. Nothing is decided here that [`decide`](super::decide()) does not decide.
//!
//! It becomes one function, twice. Once for what most send from where most are: options as most are, an
//! address that is located as it is. There [`Job`] is never in memory, since no function is called that
//! is given a reference to it, or returns part of it. What comes upon anything else begins anew in the
//! other one ([`answer_others`]), which knows every case.

use super::asked::{self, Asked, Subnet};
use super::code::Rcode;
use super::copy::copy;
use super::ecs::{Client, ScopeRule};
use super::encode::{MIN_UDP, size_limit};
use super::query::HEADER;
use super::reserved::{Treatment, global_v4, treat_v6};
use super::scratch::Scratch;
use super::{Call, Ctx, answer_held};
use crate::base::prefix::Family;
use crate::geo::Located;
use crate::model::policy::AnswerClass;
use crate::routing::Snapshot;
use crate::routing::block::Block;
use crate::routing::guard::Asker;
use crate::routing::names::{self, Entry, Steered};
use crate::routing::signed::Signed;
use crate::routing::steer::Part;
use crate::zone::rtype;
use std::net::IpAddr;

/// Of a header's first four octets, read from the last: what a query may not have (QR and the opcode),
/// what is kept (ID, RD, CD), and what every answer here has (QR and AA).
const NOT_A_QUERY: u32 = 0x00f8_0000;
const KEPT: u32 = 0x1001_ffff;
const ANSWERED: u32 = 0x0084_0000;
/// The counts of a header: one question, and at most one additional record.
const ONE_QUESTION: u64 = 1 << 48;
/// Octets of type and class.
const FIELDS: usize = 4;
const CLASS_IN: u32 = 1;
/// Octets of the longest name that is usual.
const MAX_NAME: usize = 64;
/// Types that go the long way: none and OPT, which are no types; DS, which may be the parent's; and those
/// that only signing makes. Meta types too, from 128 on.
const UNUSUAL: u64 = 1
    | 1 << rtype::OPT
    | 1 << rtype::DS
    | 1 << rtype::RRSIG
    | 1 << rtype::NSEC
    | 1 << rtype::DNSKEY
    | 1 << rtype::CDS
    | 1 << rtype::CDNSKEY;

/// No position of a ledger.
const UNCOUNTED: u32 = u32::MAX;

/// A query as far as it is known.
struct Job<'j> {
    snapshot: &'j Snapshot,
    ctx: &'j Ctx<'j>,
    query: &'j [u8],
    /// Then comes an OPT record, or nothing.
    question_end: usize,
    /// As it was sent.
    name: &'j [u8],
    qtype: u16,
    asked: Asked<'j>,
}

/// A block of records, and what goes with it.
struct Found<'j> {
    block: &'j Block,
    /// Of a positive answer.
    rrsig: Option<&'j Block>,
    class: AnswerClass,
    rcode: Rcode,
    /// Of the client subnet.
    scope: u8,
    /// Where it is counted: nowhere unless it is steered.
    counted_at: u32,
    /// Of a SOA, which is negative: where its owner stands.
    owner: u8,
}

/// Where a client is, and what the scope of its answer follows from.
struct Place {
    located: Located,
    family: Family,
    /// The first half of its address.
    upper: u64,
    scope: ScopeRule,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    Unusual,
    /// The client is not where most are, or its options are not what most are.
    Elsewhere,
}

/// Answers a usual query, and counts it. `None`: take the long way ([`answer_any`](super::answer_any)).
pub fn answer(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    query: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let mut call = Call { snapshot, ctx, scratch, query, out };
    match answer_most(&mut call) {
        Ok(len) => Some(len),
        Err(Miss::Elsewhere) => answer_others(&mut call),
        Err(Miss::Unusual) => None,
    }
}

/// As [`answer`], without [`answer_others`].
#[inline(always)]
pub(super) fn answer_most(call: &mut Call<'_>) -> Result<usize, Miss> {
    let (job, is_read) = Job::read(call).ok_or(Miss::Unusual)?;
    if !is_read {
        return Err(Miss::Elsewhere);
    }
    let found = job.find::<false>()?;
    job.send(&found, call).ok_or(Miss::Unusual)
}

/// With options of any order and kind, from anywhere.
#[inline(never)]
pub(super) fn answer_others(call: &mut Call<'_>) -> Option<usize> {
    let (mut job, is_read) = Job::read(call)?;
    if !is_read {
        job.asked = job.asked.read_others(job.query.get(job.question_end..)?, job.ctx)?;
    }
    let found = job.find::<true>().ok()?;
    job.send(&found, call)
}

#[inline(always)]
const fn is_unusual(qtype: u16) -> bool {
    match qtype {
        rtype::A | rtype::AAAA => false,
        ..64 => UNUSUAL >> qtype & 1 != 0,
        _ => qtype >= 128 && qtype <= 255,
    }
}

/// The offset after the name of the question, if it has no more than [`MAX_NAME`] octets. Lengths that
/// no label has are not told from others: such a name is found nowhere.
#[inline(always)]
fn name_end(query: &[u8]) -> Option<usize> {
    let near = query.get(..query.len().min(HEADER + MAX_NAME))?;
    let mut at = HEADER;
    loop {
        let len = usize::from(*near.get(at)?);
        at += len + 1;
        if len == 0 {
            return Some(at);
        }
    }
}

impl<'j> Job<'j> {
    /// A query, and whether its options are [all read](Asked::read).
    ///
    /// Labels are not looked at: only a name that is found, or that ends in one of ours label by label,
    /// is answered here, and no other octets are equal to those.
    #[inline(always)]
    fn read(call: &Call<'j>) -> Option<(Self, bool)> {
        let Call { snapshot, ctx, query, .. } = *call;
        let (head, counts) = query.first_chunk::<HEADER>()?.split_first_chunk::<4>()?;
        let (head, counts) = (u32::from_le_bytes(*head), u64::from_be_bytes(*counts.first_chunk()?));
        if head & NOT_A_QUERY != 0 || counts & !1 != ONE_QUESTION {
            return None;
        }
        let has_opt = counts != ONE_QUESTION;
        let question_end = if has_opt { name_end(query)? + FIELDS } else { query.len() };
        let (name, fields) = query.get(HEADER..question_end)?.split_last_chunk::<FIELDS>()?;
        let fields = u32::from_be_bytes(*fields);
        let qtype = (fields >> 16) as u16;
        if fields & 0xffff != CLASS_IN || is_unusual(qtype) || name.len() > MAX_NAME {
            return None;
        }
        let (asked, is_read) =
            if has_opt { Asked::read(query.get(question_end..)?, ctx)? } else { (Asked::NOTHING, true) };
        Some((Self { snapshot, ctx, query, question_end, name, qtype, asked }, is_read))
    }

    /// Finds the records; for clients of any place, or where most are.
    #[inline(always)]
    fn find<const ANYWHERE: bool>(&self) -> Result<Found<'j>, Miss> {
        let names = self.snapshot.names();
        let Some(entry) = names.get(self.name) else {
            return match names.find_above(self.name) {
                Some(names::Found::Absent(entry)) if entry.dname.is_none() => self.deny(entry, true),
                _ => Err(Miss::Unusual),
            };
        };
        let family = match self.qtype {
            rtype::A => Some(Family::V4),
            rtype::AAAA => Some(Family::V6),
            _ => None,
        };
        if let (Some(steered), Some(family)) = (entry.steered, family) {
            return self.steer::<ANYWHERE>(steered, Part::Addresses(family));
        }
        match entry.set(self.qtype) {
            _ if entry.cname.is_some() || entry.cut.is_some() => Err(Miss::Unusual),
            Some(block) => {
                let rrsig = match self.signed() {
                    Some(signed) => signed.signature(entry.number, self.qtype),
                    None => None,
                };
                Ok(Found::positive(block, rrsig, AnswerClass::Static, 0))
            }
            None => {
                if let Some(position) = entry.typed
                    && let name = names.steered(position)
                    && let Some(part) = name.part(self.qtype)
                {
                    return self.steer::<ANYWHERE>(Steered { position, service: name.service }, part);
                }
                self.deny(entry, false)
            }
        }
    }

    /// What was signed, if it is asked for.
    #[inline(always)]
    fn signed(&self) -> Option<&'j Signed> {
        if self.asked.dnssec_ok { self.snapshot.signed() } else { None }
    }

    /// NXDOMAIN below the entry, or NODATA at it.
    #[inline(always)]
    fn deny(&self, entry: &Entry, is_absent: bool) -> Result<Found<'j>, Miss> {
        let names = self.snapshot.names();
        let head = names.zone(entry.zone);
        let block = match entry.steering() {
            Some(position) if !is_absent && !names.steered(position).is_aliased => {
                &names.steered(position).negative
            }
            // Not there for newcomers who are shed to another name.
            Some(_) if !is_absent => return Err(Miss::Unusual),
            _ => &head.negative,
        };
        if block.count() != 1 || self.signed().is_some() {
            return Err(Miss::Unusual);
        }
        let skip = self.name.len().saturating_sub(head.origin.as_wire().len());
        // A name of at most 64 octets: an offset of one octet.
        let owner = (HEADER + skip) as u8;
        let rcode = if is_absent { Rcode::NxDomain } else { Rcode::NoError };
        Ok(Found {
            block,
            rrsig: None,
            class: AnswerClass::Negative,
            rcode,
            scope: 0,
            counted_at: UNCOUNTED,
            owner,
        })
    }

    #[inline(always)]
    fn steer<const ANYWHERE: bool>(&self, steered: Steered, part: Part) -> Result<Found<'j>, Miss> {
        let place = match self.place() {
            Some(place) => place,
            None if ANYWHERE => self.place_anywhere(),
            None => return Err(Miss::Elsewhere),
        };
        self.pick::<ANYWHERE>(&place, steered, part)
    }

    #[inline(always)]
    fn pick<const ANYWHERE: bool>(
        &self,
        place: &Place,
        steered: Steered,
        part: Part,
    ) -> Result<Found<'j>, Miss> {
        let table = self.snapshot.service_table(steered.service);
        let Located { group, depth } = place.located;
        let pick = table.pick(group, place.family, place.upper, depth).ok_or(Miss::Unusual)?;
        let block = pick.set.and_then(|set| set.plain_part(part)).ok_or(Miss::Unusual)?;
        let mut hash_len = pick.hash_len;
        if !pick.distribution.is_plain {
            // Most services shed nobody: here is no room for what the others need.
            if !ANYWHERE {
                return Err(Miss::Elsewhere);
            }
            let is_one_network = self.is_one_network();
            let (family, upper, is_rehearsal) = (place.family, place.upper, self.ctx.is_rehearsal);
            let asker = Asker { family, upper, is_one_network, is_rehearsal };
            hash_len = table.admits_plainly(pick.distribution, &asker).ok_or(Miss::Unusual)?;
        }
        let scope = if table.is_uniform { 0 } else { place.scope.of(depth, hash_len) };
        let rrsig = match self.signed() {
            None => None,
            Some(signed) => {
                let set = pick.distribution.slots.at(pick.slot as usize).ok_or(Miss::Unusual)?;
                signed.steered_part(steered.position, set, part)
            }
        };
        let counted_at = table.counted_at(group);
        Ok(Found { counted_at, ..Found::positive(block, rrsig, AnswerClass::Steered, scope) })
    }

    /// Where the client is, if its subnet or else its address is one that is located as it is.
    #[inline(always)]
    fn place(&self) -> Option<Place> {
        let upper = self.asked.upper;
        // Without a subnet no scope is told.
        match (self.asked.subnet, self.ctx.peer) {
            (Subnet::Slash24, _) => self.place_v4((upper >> 32) as u32),
            (Subnet::None, IpAddr::V4(peer)) => {
                Some(self.located(Family::V4, u128::from(peer.to_bits()) << 96, 0))
            }
            (Subnet::Slash56, _) => self.place_v6(u128::from(upper) << 64),
            (Subnet::None, IpAddr::V6(peer)) => self.place_v6(peer.to_bits()),
            (Subnet::Other, _) => None,
        }
    }

    #[inline(always)]
    fn place_v4(&self, bits: u32) -> Option<Place> {
        Some(self.located(Family::V4, u128::from(bits) << 96, global_v4(bits)?))
    }

    #[inline(always)]
    fn place_v6(&self, bits: u128) -> Option<Place> {
        match treat_v6(bits) {
            Treatment::Global { floor } => Some(self.located(Family::V6, bits, floor)),
            _ => None,
        }
    }

    #[inline(always)]
    fn located(&self, family: Family, bits: u128, floor: u8) -> Place {
        let located = self.snapshot.geo.lookup(family, bits);
        Place { located, family, upper: (bits >> 64) as u64, scope: ScopeRule::Located { floor, offset: 0 } }
    }

    /// As the long way finds it.
    #[inline(always)]
    fn place_anywhere(&self) -> Place {
        let client = Client::of(self.asked.ecs().as_ref(), self.ctx.peer);
        Place { scope: client.scope, ..self.located(client.family, client.bits, 0) }
    }

    fn is_one_network(&self) -> bool {
        let ecs = self.asked.ecs();
        Client::of(ecs.as_ref(), self.ctx.peer).is_one_network(ecs.as_ref())
    }

    /// Writes the answer, gives its length, and counts it.
    #[inline(always)]
    fn send(&self, found: &Found<'_>, call: &mut Call<'_>) -> Option<usize> {
        match found.class {
            AnswerClass::Negative => self.send_as::<true, false>(found, call),
            AnswerClass::Steered => self.send_as::<false, true>(found, call),
            _ => self.send_as::<false, false>(found, call),
        }
    }

    #[inline(always)]
    fn send_as<const IS_NEGATIVE: bool, const IS_STEERED: bool>(
        &self,
        found: &Found<'_>,
        call: &mut Call<'_>,
    ) -> Option<usize> {
        let record = self.query.get(self.question_end..)?;
        let rrsig = if IS_NEGATIVE { None } else { found.rrsig };
        // Read once, since what is written in between might be it, for all the compiler knows.
        let block = found.block.bytes();
        let block_end = self.question_end + block.len();
        let opt_at = block_end + if let Some(rrsig) = rrsig { rrsig.bytes().len() } else { 0 };
        let len = opt_at + if self.asked.is_echoed { record.len() } else { self.asked.answer_len() };
        // Most answers fit whatever was said.
        if len > usize::from(MIN_UDP) && len > size_limit(self.ctx.transport, asked::udp_size(record)) {
            return None;
        }
        let place = call.out.get_mut(..len)?;
        let mut counts = u64::from(found.block.count()) << if IS_NEGATIVE { 16 } else { 32 };
        if let Some(rrsig) = rrsig {
            counts += u64::from(rrsig.count()) << 32;
            copy(place.get_mut(block_end..opt_at)?, rrsig.bytes());
        }
        let mut is_verified = false;
        if !record.is_empty() {
            counts += 1;
            is_verified = self.write_opt(record, found.scope, place.get_mut(opt_at..)?)?;
        }
        self.write::<IS_NEGATIVE>(found, block, counts, place.get_mut(..block_end)?)?;
        // Last, when least has to be remembered meanwhile; what is held was written for nothing.
        let class = match (IS_NEGATIVE, IS_STEERED) {
            (true, _) => AnswerClass::Negative,
            (_, true) => AnswerClass::Steered,
            _ => found.class,
        };
        let is_sure = self.ctx.is_sure(is_verified);
        if let Some(held) = call.scratch.hold(self.ctx, class, is_sure) {
            return Some(answer_held(call, held));
        }
        let has_subnet = self.asked.subnet != Subnet::None;
        call.scratch.ecs += u64::from(has_subnet);
        if IS_STEERED {
            // Anybody may write a client subnet into a query.
            call.scratch.tally.count(found.counted_at, is_sure && !has_subnet);
        }
        match (IS_NEGATIVE, found.rcode) {
            (false, _) => call.scratch.answered += 1,
            (true, Rcode::NxDomain) => call.scratch.nxdomain += 1,
            (true, _) => call.scratch.nodata += 1,
        }
        Some(len)
    }

    /// The OPT record; whether its cookie shows that the client receives what is sent to its address.
    #[inline(always)]
    fn write_opt(&self, record: &[u8], scope: u8, out: &mut [u8]) -> Option<bool> {
        let (asked, ctx) = (&self.asked, self.ctx);
        if asked.is_echoed {
            asked.echo(record, scope, out)?;
            let Some(shown) = &asked.cookie else { return Some(false) };
            if let Some(secrets) = ctx.cookies
                && secrets.is_current(shown, &ctx.peer, ctx.seconds)
            {
                return Some(true);
            }
        }
        // A copy, since what is pointed to from elsewhere is in memory for every answer.
        let shown = asked.cookie;
        let reply = ctx.cookie_reply(shown.as_ref());
        if asked.is_echoed {
            *out.last_chunk_mut()? = reply?.payload();
        } else {
            asked::write_anew(asked.ecs(), reply, scope, asked.dnssec_ok, out)?;
        }
        Some(reply.is_some_and(|reply| reply.is_verified))
    }

    /// Header, question and block: `out` ends with it. A SOA is owned by the end of the question's name.
    #[inline(always)]
    fn write<const IS_NEGATIVE: bool>(
        &self,
        found: &Found<'_>,
        block: &[u8],
        counts: u64,
        out: &mut [u8],
    ) -> Option<()> {
        let (head, body) = out.split_at_mut_checked(self.question_end)?;
        copy(body, block);
        if IS_NEGATIVE {
            *body.first_chunk_mut()? = [0xc0, found.owner];
        }
        copy(head, self.query.get(..self.question_end)?);
        // Flags and counts over those of the query. Every answer here is authoritative.
        let (flags, to_counts) = head.first_chunk_mut::<HEADER>()?.split_first_chunk_mut::<4>()?;
        let kept = u32::from_le_bytes(*flags) & KEPT;
        let rcode = if IS_NEGATIVE { found.rcode } else { Rcode::NoError };
        *flags = (kept | ANSWERED | u32::from(rcode.low()) << 24).to_le_bytes();
        *to_counts.first_chunk_mut()? = (ONE_QUESTION | counts).to_be_bytes();
        Some(())
    }
}

impl<'j> Found<'j> {
    #[inline(always)]
    fn positive(block: &'j Block, rrsig: Option<&'j Block>, class: AnswerClass, scope: u8) -> Self {
        Self { block, rrsig, class, rcode: Rcode::NoError, scope, counted_at: UNCOUNTED, owner: 0 }
    }
}
