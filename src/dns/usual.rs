//! The usual query, answered in one walk over its bytes: one question of at most 64 octets, class IN,
//! at most an OPT record with client subnet and cookie, for a name whose answer is one prebuilt block.
//!
//! ```text
//!  query  header │ question │ OPT          answer  header │ question │ block, RRSIG │ OPT
//!         checked  lower-cased, hashed,            one copy, patched    a copy each    the query's with
//!                  in words of eight               (or its SOA)                        our fields
//! ```
//!
//! Whatever is not usual (`None`, nothing written) goes the long way: faults, other classes, meta
//! types, wildcards, aliases of both kinds, referrals, denials with proofs, others' names, warnings,
//! NSID, padding, an answer that does not fit. Both ways say the same; `tests/encoders.rs` holds them together. Nothing is decided
//! here that [`decide`](super::decide()) does not decide.

use super::code::Rcode;
use super::cookie::{Cookie, CookieReply, WHOLE_LEN};
use super::ecs::{Client, Ecs, ScopeRule};
use super::encode::{MAX_UDP, MIN_UDP, size_limit};
use super::query::{HEADER, OPTION_COOKIE, OPTION_ECS, OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING};
use super::reserved::global_v4;
use super::scratch::Scratch;
use super::{Ctx, answer_held};
use crate::base::prefix::Family;
use crate::geo::Located;
use crate::model::policy::AnswerClass;
use crate::routing::Snapshot;
use crate::routing::block::Block;
use crate::routing::name_index::ShortName;
use crate::routing::names::{Entry, Found};
use crate::routing::signed::Signed;
use crate::routing::steer::{Part, Reply};
use crate::zone::rtype;
use std::net::IpAddr;

/// Of a header's first four octets, read from the last: what a query may not have (QR and the opcode),
/// what is kept (ID, RD, CD), and what every answer here has (QR and AA).
const NOT_A_QUERY: u32 = 0x00f8_0000;
const KEPT: u32 = 0x1001_ffff;
const ANSWERED: u32 = 0x0084_0000;
/// The counts of a header: one question, and at most one additional record.
const ONE_QUESTION: u64 = 1 << 48;
const CLASS_IN: u32 = 1;
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
const OPT_HEAD: usize = 11;
/// An option's code and length.
const OPTION_HEAD: usize = 4;
const COOKIE_LEN: usize = OPTION_HEAD + WHOLE_LEN;
/// Of an OPT record that begins with a client subnet, where its scope stands.
const SCOPE_AT: usize = OPT_HEAD + OPTION_HEAD + 3;

/// A query as far as it is known, in memory: passed by reference to functions that have the registers
/// for themselves.
struct Job<'j> {
    snapshot: &'j Snapshot,
    ctx: &'j Ctx<'j>,
    query: &'j [u8],
    question_end: usize,
    name: ShortName,
    qtype: u16,
    asked: Asked<'j>,
    /// Of a positive answer.
    rrsig: Option<&'j Block>,
}

/// What the OPT record says.
struct Asked<'q> {
    /// Empty if there is none.
    record: &'q [u8],
    size: u16,
    dnssec_ok: bool,
    /// Its options are those of the answer, in that order, and as long.
    is_echoed: bool,
    subnet: Subnet,
    /// Of a /24.
    v4: u32,
    /// Any other.
    other: Option<Ecs<'q>>,
    cookie: Option<Cookie<'q>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subnet {
    None,
    /// Of IPv4, as most are.
    Slash24,
    Other,
}

/// What goes with a block of records.
#[derive(Clone, Copy)]
struct Note {
    class: AnswerClass,
    rcode: Rcode,
    /// Of the client subnet.
    scope: u8,
    /// Of a SOA: where its owner stands.
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

/// Answers a usual query, and counts it. `None`: take the long way ([`answer_any`](super::answer_any)).
#[inline(always)]
pub fn answer(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    query: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let (head, counts) = query.first_chunk::<HEADER>()?.split_first_chunk::<4>()?;
    let (head, counts) = (u32::from_le_bytes(*head), u64::from_be_bytes(*counts.first_chunk()?));
    if head & NOT_A_QUERY != 0 || counts & !1 != ONE_QUESTION {
        return None;
    }
    let asked = Asked::nothing();
    let name = ShortName::EMPTY;
    let mut job = Job { snapshot, ctx, query, question_end: 0, name, qtype: 0, asked, rrsig: None };
    let name_end = job.name.read(query, HEADER)?;
    let (fields, record) = query.get(name_end..)?.split_first_chunk()?;
    let fields = u32::from_be_bytes(*fields);
    (job.question_end, job.qtype) = (name_end + 4, (fields >> 16) as u16);
    if fields & 0xffff != CLASS_IN || is_unusual(job.qtype) {
        return None;
    }
    if counts != ONE_QUESTION {
        job.asked.read(record, ctx)?;
    } else if !record.is_empty() {
        return None;
    }
    job.answer(scratch, out)
}

#[inline(always)]
const fn is_unusual(qtype: u16) -> bool {
    if qtype < 64 { UNUSUAL >> qtype & 1 != 0 } else { qtype >= 128 && qtype <= 255 }
}

impl Note {
    #[inline(always)]
    const fn positive(class: AnswerClass, scope: u8) -> Self {
        Self { class, rcode: Rcode::NoError, scope, owner: 0 }
    }
}

impl<'j> Job<'j> {
    /// Finds the records and sends them.
    #[inline(always)]
    fn answer(&mut self, scratch: &mut Scratch, out: &mut [u8]) -> Option<usize> {
        let names = self.snapshot.names();
        let Some(entry) = names.get_short(&self.name) else {
            return self.answer_none(scratch, out);
        };
        let family = match self.qtype {
            rtype::A => Some(Family::V4),
            rtype::AAAA => Some(Family::V6),
            _ => None,
        };
        if let (Some(position), Some(family)) = (entry.steered, family) {
            return self.steer(position, family, scratch, out);
        }
        match entry.set(self.qtype) {
            _ if entry.cname.is_some() || entry.cut.is_some() => None,
            Some(block) => {
                if let Some(signed) = self.signed() {
                    self.rrsig = signed.signature(entry.number, self.qtype);
                }
                self.send::<false>(block, Note::positive(AnswerClass::Static, 0), scratch, out)
            }
            None => match entry.typed.and_then(|at| Some((at, names.steered(at).part(self.qtype)?))) {
                Some((position, part)) => self.steer_other(position, part, scratch, out),
                None => self.deny(entry, false, scratch, out),
            },
        }
    }

    /// What was signed, if it is asked for.
    #[inline(always)]
    fn signed(&self) -> Option<&'j Signed> {
        if self.asked.dnssec_ok { self.snapshot.signed() } else { None }
    }

    /// Of a name that is not in the table, and whose labels have not been looked at.
    #[inline(never)]
    fn answer_none(&mut self, scratch: &mut Scratch, out: &mut [u8]) -> Option<usize> {
        let (end, labels) = walk_name(self.query)?;
        if end != HEADER + self.name.octet_count() {
            return None;
        }
        match self.snapshot.names().find_above_short(self.query, HEADER, end, labels)? {
            Found::Absent(entry) if entry.dname.is_none() => self.deny(entry, true, scratch, out),
            _ => None,
        }
    }

    #[inline]
    fn deny(&self, entry: &Entry, is_absent: bool, scratch: &mut Scratch, out: &mut [u8]) -> Option<usize> {
        let names = self.snapshot.names();
        let head = names.zone(entry.zone);
        let block = match entry.steering() {
            Some(position) if !is_absent => &names.steered(position).negative,
            _ => &head.negative,
        };
        if block.count() != 1 || self.signed().is_some() {
            return None;
        }
        let skip = self.name.octet_count().saturating_sub(head.origin.as_wire().len());
        // A name of at most 64 octets: an offset of one octet.
        let owner = (HEADER + skip) as u8;
        let rcode = if is_absent { Rcode::NxDomain } else { Rcode::NoError };
        let note = Note { class: AnswerClass::Negative, rcode, scope: 0, owner };
        self.send::<true>(block, note, scratch, out)
    }

    #[inline(always)]
    fn steer(
        &mut self,
        position: u32,
        family: Family,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Option<usize> {
        let (v4, floor) = match self.asked.subnet {
            Subnet::Slash24 => (self.asked.v4, global_v4(self.asked.v4)),
            // No scope is told then.
            Subnet::None if let IpAddr::V4(peer) = self.ctx.peer => (peer.to_bits(), Some(0)),
            _ => (0, None),
        };
        let part = Part::Addresses(family);
        let Some(floor) = floor else { return self.steer_other(position, part, scratch, out) };
        let located = self.snapshot.geo.lookup(Family::V4, u128::from(v4) << 96);
        let scope = ScopeRule::Located { floor, offset: 0 };
        let place = Place { located, family: Family::V4, upper: u64::from(v4) << 32, scope };
        self.steer_from(&place, position, part, scratch, out)
    }

    /// From anywhere else, or of other types: the place is found as the long way finds it.
    #[inline(never)]
    fn steer_other(
        &mut self,
        position: u32,
        part: Part,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Option<usize> {
        let client = Client::of(self.asked.ecs().as_ref(), self.ctx.peer);
        let located = self.snapshot.geo.lookup(client.family, client.bits);
        let upper = (client.bits >> 64) as u64;
        let place = Place { located, family: client.family, upper, scope: client.scope };
        self.steer_from(&place, position, part, scratch, out)
    }

    #[inline(always)]
    fn steer_from(
        &mut self,
        place: &Place,
        position: u32,
        part: Part,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Option<usize> {
        let snapshot = self.snapshot;
        let table = snapshot.service_table(snapshot.names().steered(position).service);
        let Located { group, depth } = place.located;
        let group_bits = || snapshot.group_bits(group);
        let pick = table.pick_upper(group, place.family, place.upper, depth, group_bits)?;
        let set = pick.set?;
        let block = set.part(part)?;
        let has_warning = set.is_open(part) || pick.distribution.warning.is_some();
        if has_warning || pick.distribution.reply != Reply::Addresses {
            return None;
        }
        let scope = if table.is_uniform { 0 } else { place.scope.of(depth, pick.hash_len) };
        if let Some(signed) = self.signed() {
            let set = pick.distribution.slots.at(pick.slot as usize)?;
            self.rrsig = signed.steered_part(position, set, part);
        }
        self.send::<false>(block, Note::positive(AnswerClass::Steered, scope), scratch, out)
    }

    /// Writes the answer, gives its length, and counts it. Of a negative one the block is a SOA, whose
    /// owner is what the question's name has from an offset on.
    ///
    /// A function of its own, once for either: all that is known by now is in memory.
    #[inline(never)]
    fn send<const IS_NEGATIVE: bool>(
        &self,
        block: &Block,
        note: Note,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Option<usize> {
        let asked = &self.asked;
        let (cookie, is_verified) = match &asked.cookie {
            None => (None, false),
            Some(shown) if self.is_current(shown) => (None, true),
            Some(shown) => {
                let reply = self.ctx.cookie_reply(Some(shown))?;
                (Some(reply), reply.is_verified)
            }
        };
        let rrsig = self.rrsig.filter(|_| !IS_NEGATIVE);
        let block_end = self.question_end + block.bytes().len();
        let opt_at = block_end + rrsig.map_or(0, |rrsig| rrsig.bytes().len());
        let len = opt_at + if asked.is_echoed { asked.record.len() } else { asked.answer_len() };
        // Most answers fit whatever was said.
        if len > usize::from(MIN_UDP) && len > size_limit(self.ctx.transport, Some(asked.size)) {
            return None;
        }
        let place = out.get_mut(..len)?;
        let mut counts = u64::from(block.count()) << if IS_NEGATIVE { 16 } else { 32 };
        if !asked.record.is_empty() {
            counts += 1;
            asked.write(cookie.as_ref(), note.scope, place.get_mut(opt_at..)?)?;
        }
        if let Some(rrsig) = rrsig {
            counts += u64::from(rrsig.count()) << 32;
            copy(place.get_mut(block_end..opt_at)?, rrsig.bytes());
        }
        let rcode = if IS_NEGATIVE { note.rcode } else { Rcode::NoError };
        self.write(block, counts, rcode, place.get_mut(..block_end)?)?;
        if IS_NEGATIVE {
            *place.get_mut(self.question_end..)?.first_chunk_mut()? = [0xc0, note.owner];
        }
        // Last, when least has to be remembered meanwhile; what is held was written for nothing.
        let class = if IS_NEGATIVE { AnswerClass::Negative } else { note.class };
        if let Some(held) = scratch.hold(self.ctx, class, is_verified) {
            return Some(answer_held(self.snapshot, self.ctx, scratch, self.query, out, held));
        }
        scratch.ecs += u64::from(asked.subnet != Subnet::None);
        match (IS_NEGATIVE, rcode) {
            (false, _) => scratch.answered += 1,
            (true, Rcode::NxDomain) => scratch.nxdomain += 1,
            (true, _) => scratch.nodata += 1,
        }
        Some(len)
    }

    /// Whether a cookie stays as it is in a record that is echoed.
    #[inline(always)]
    fn is_current(&self, shown: &Cookie<'_>) -> bool {
        let (ctx, is_echoed) = (self.ctx, self.asked.is_echoed);
        is_echoed && ctx.cookies.is_some_and(|secrets| secrets.is_current(shown, &ctx.peer, ctx.seconds))
    }

    /// Header, question and block: `out` ends with it.
    #[inline(always)]
    fn write(&self, block: &Block, counts: u64, rcode: Rcode, out: &mut [u8]) -> Option<()> {
        let (head, body) = out.split_at_mut_checked(self.question_end)?;
        copy(body, block.bytes());
        copy(head, self.query.get(..self.question_end)?);
        // Flags and counts over those of the query. Every answer here is authoritative.
        let (flags, to_counts) = head.first_chunk_mut::<HEADER>()?.split_first_chunk_mut::<4>()?;
        let kept = u32::from_le_bytes(*flags) & KEPT;
        *flags = (kept | ANSWERED | u32::from(rcode.low()) << 24).to_le_bytes();
        *to_counts.first_chunk_mut()? = (ONE_QUESTION | counts).to_be_bytes();
        Some(())
    }
}

/// Copies 8 to 128 octets as two pieces that may overlap, which needs no loop and no call.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        16..=32 => copy_ends::<16>(to, from),
        33..=64 => copy_ends::<32>(to, from),
        65..=128 => copy_ends::<64>(to, from),
        8..=15 => copy_ends::<8>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(first)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *first;
    }
    if let (Some(to), Some(last)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *last;
    }
}

/// The offset after the name of the question, and its labels. `None`: compressed, or cut.
#[inline]
fn walk_name(query: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut labels) = (HEADER, 0);
    loop {
        let len = *query.get(at)?;
        at += usize::from(len) + 1;
        if len == 0 {
            return Some((at, labels));
        }
        if len > 63 {
            return None;
        }
        labels += 1;
    }
}

impl<'q> Asked<'q> {
    /// Without an OPT record.
    #[inline(always)]
    fn nothing() -> Self {
        Self {
            record: &[],
            size: MIN_UDP,
            dnssec_ok: false,
            is_echoed: true,
            subnet: Subnet::None,
            v4: 0,
            other: None,
            cookie: None,
        }
    }

    /// The OPT record that ends the message. `None`: anything else, or with options that are not usual.
    #[inline(always)]
    fn read(&mut self, record: &'q [u8], ctx: &Ctx<'_>) -> Option<()> {
        let (head, options) = record.split_first_chunk::<OPT_HEAD>()?;
        // Root, type, size, extended rcode, version, flags.
        let first = u64::from_be_bytes(*head.first_chunk()?);
        let &[_, l0, l1] = head.last_chunk()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if first & 0xffff_ff00_0000_ff00 != 41 << 40 || len != options.len() {
            return None;
        }
        (self.record, self.size, self.dnssec_ok) = (record, (first >> 24) as u16, first & 0x80 != 0);
        let mut rest = options;
        // Most options are like that, and in this order.
        if let Some((bits, after)) = Ecs::read_slash24(rest) {
            (self.subnet, self.v4, rest) = (Subnet::Slash24, bits, after);
        }
        if let Some((shown, after)) = Cookie::read_whole(rest)
            && ctx.cookies.is_some()
        {
            (self.cookie, rest) = (Some(shown), after);
        }
        if rest.is_empty() { Some(()) } else { self.read_others(options, ctx) }
    }

    /// Whatever options there are.
    #[inline(never)]
    fn read_others(&mut self, mut options: &'q [u8], ctx: &Ctx<'_>) -> Option<()> {
        (self.subnet, self.cookie) = (Subnet::None, None);
        while !options.is_empty() {
            let (&[c0, c1, l0, l1], rest) = options.split_first_chunk()?;
            let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
            options = rest;
            match u16::from_be_bytes([c0, c1]) {
                OPTION_ECS if self.subnet == Subnet::None => {
                    self.is_echoed &= self.cookie.is_none();
                    (self.subnet, self.other) = (Subnet::Other, Some(Ecs::read(data).ok()?));
                }
                OPTION_COOKIE if self.cookie.is_none() => {
                    self.is_echoed &= data.len() == WHOLE_LEN;
                    self.cookie = Some(Cookie::read(data).ok()?);
                }
                OPTION_ECS | OPTION_COOKIE | OPTION_NSID | OPTION_KEEPALIVE | OPTION_PADDING => return None,
                _ => self.is_echoed = false,
            }
        }
        if ctx.cookies.is_none() && self.cookie.take().is_some() {
            self.is_echoed = false;
        }
        Some(())
    }

    /// The client subnet; of a /24 made anew.
    #[inline(always)]
    fn ecs(&self) -> Option<Ecs<'q>> {
        match self.subnet {
            Subnet::None => None,
            Subnet::Slash24 => Some(Ecs::slash24(self.v4, self.record.get(OPT_HEAD + OPTION_HEAD..)?)),
            Subnet::Other => self.other,
        }
    }

    /// Octets of the OPT record that answers it.
    #[inline(never)]
    fn answer_len(&self) -> usize {
        let ecs = self.ecs().map_or(0, |ecs| OPTION_HEAD + ecs.payload.len());
        OPT_HEAD + ecs + if self.cookie.is_some() { COOKIE_LEN } else { 0 }
    }

    /// Writes the record that answers it to `out`, which has its length.
    #[inline(always)]
    fn write(&self, cookie: Option<&CookieReply>, scope: u8, out: &mut [u8]) -> Option<()> {
        if !self.is_echoed {
            return self.write_anew(cookie, scope, out);
        }
        copy(out, self.record);
        self.write_head(out)?;
        if self.subnet != Subnet::None {
            *out.get_mut(SCOPE_AT)? = scope;
        }
        if let Some(cookie) = cookie {
            *out.last_chunk_mut()? = cookie.payload();
        }
        Some(())
    }

    /// Type, size, extended rcode, version, flags, behind the root.
    #[inline(always)]
    fn write_head(&self, out: &mut [u8]) -> Option<()> {
        let fields = 41 << 48 | u64::from(MAX_UDP) << 32 | u64::from(self.dnssec_ok) << 15;
        *out.get_mut(1..)?.first_chunk_mut()? = fields.to_be_bytes();
        Some(())
    }

    /// Not from the record as it was sent.
    #[inline(never)]
    fn write_anew(&self, cookie: Option<&CookieReply>, scope: u8, out: &mut [u8]) -> Option<()> {
        *out.first_mut()? = 0;
        self.write_head(out)?;
        let (head, mut rest) = out.split_first_chunk_mut::<OPT_HEAD>()?;
        *head.last_chunk_mut()? = (rest.len() as u16).to_be_bytes();
        if let Some(ecs) = self.ecs() {
            let (head, after) = rest.split_first_chunk_mut::<OPTION_HEAD>()?;
            *head = (u32::from(OPTION_ECS) << 16 | ecs.payload.len() as u32).to_be_bytes();
            let (payload, after) = after.split_at_mut_checked(ecs.payload.len())?;
            payload.copy_from_slice(ecs.payload);
            *payload.get_mut(3)? = scope;
            rest = after;
        }
        if let Some(cookie) = cookie {
            let (head, payload) = rest.split_first_chunk_mut::<OPTION_HEAD>()?;
            *head = (u32::from(OPTION_COOKIE) << 16 | WHOLE_LEN as u32).to_be_bytes();
            *payload.first_chunk_mut()? = cookie.payload();
        }
        Some(())
    }
}
