//! The usual query, answered in one walk over its bytes: one question of at most 64 octets, class IN,
//! at most an OPT record with client subnet and cookie, for a name whose answer is one prebuilt block.
//!
//! ```text
//!  query  header │ question │ OPT          answer  header │ question │ block │ OPT
//!         checked  lower-cased, hashed,            one copy, patched    one     made from parts
//!                  in words of eight               (or its SOA)        copy
//! ```
//!
//! Whatever is not usual (`None`, nothing written) goes the long way: faults, other classes, meta
//! types, wildcards, aliases of both kinds, referrals, signatures, others' names, warnings, NSID,
//! padding, an answer that does not fit. Both ways say the same; `tests/encoders.rs` holds them together. Nothing is decided
//! here that [`decide`](super::decide()) does not decide.

use super::code::Rcode;
use super::cookie::{Cookie, CookieReply, WHOLE_LEN};
use super::ecs::{Client, Ecs};
use super::encode::{MAX_UDP, MIN_UDP, size_limit};
use super::query::{HEADER, OPTION_COOKIE, OPTION_ECS, OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING};
use super::scratch::Scratch;
use super::{Ctx, answer_held};
use crate::base::prefix::Family;
use crate::geo::Located;
use crate::model::policy::AnswerClass;
use crate::routing::Snapshot;
use crate::routing::block::Block;
use crate::routing::name_index::ShortName;
use crate::routing::names::{Entry, Found};
use crate::routing::steer::{Part, Reply};
use crate::zone::rtype;

/// Of the header's first flag octet, what a query may not have: QR and the opcode.
const NOT_A_QUERY: u8 = 0xf8;
/// The counts of a header: one question, and at most one additional record.
const ONE_QUESTION: u64 = 1 << 48;
const OPT_HEAD: usize = 11;
/// An option's code and length; with family, source and scope of a client subnet.
const OPTION_HEAD: usize = 4;
const ECS_HEAD: usize = 8;
const COOKIE_LEN: usize = OPTION_HEAD + WHOLE_LEN;

struct Question<'n> {
    query: &'n [u8],
    name: &'n ShortName,
    labels: usize,
    qtype: u16,
}

/// What the OPT record says.
struct Asked<'q> {
    size: u16,
    dnssec_ok: bool,
    ecs: Option<Ecs<'q>>,
    cookie: Option<Cookie<'q>>,
}

/// What is answered: a block, in one section or the other.
struct Piece<'a> {
    block: &'a Block,
    /// Of the block's records, where they stand in the header's counts.
    counts: u64,
    /// Of a SOA: the pointer to its owner, instead of that to the question.
    owner: Option<[u8; 2]>,
    rcode: Rcode,
    scope: u8,
    class: AnswerClass,
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
    let &[_, _, flags, _, ref counts @ ..] = query.first_chunk::<HEADER>()?;
    let counts = u64::from_be_bytes(*counts);
    if flags & NOT_A_QUERY != 0 || counts & !1 != ONE_QUESTION {
        return None;
    }
    let (name_end, labels) = walk_name(query)?;
    let &[t0, t1, 0, 1] = query.get(name_end..)?.first_chunk()? else { return None };
    let qtype = u16::from_be_bytes([t0, t1]);
    let question_end = name_end + 4;
    let is_signed = snapshot.signed().is_some();
    if is_signed && is_made_by_signing(qtype) {
        return None;
    }
    let mut name = ShortName::EMPTY;
    name.read(query, HEADER, name_end)?;
    let question = Question { query, name: &name, labels, qtype };
    if counts == ONE_QUESTION {
        if query.len() != question_end {
            return None;
        }
        let piece = find(snapshot, ctx, &question, None)?;
        let len = question_end + piece.block.bytes().len();
        if len > usize::from(MIN_UDP) && len > size_limit(ctx.transport, None) {
            return None;
        }
        write(&piece, query, question_end, out.get_mut(..len)?, 0)?;
        if let Some(held) = scratch.hold(ctx, piece.class, false) {
            return Some(answer_held(snapshot, ctx, scratch, query, out, held));
        }
        count(&piece, scratch);
        return Some(len);
    }
    let asked = Asked::read(query.get(question_end..)?)?;
    if is_signed && asked.dnssec_ok {
        return None;
    }
    let piece = find(snapshot, ctx, &question, asked.ecs.as_ref())?;
    let cookie = match &asked.cookie {
        Some(shown) => ctx.cookie_reply(Some(shown)),
        None => None,
    };
    let opt_len = asked.answer_len(cookie.is_some());
    let len = question_end + piece.block.bytes().len() + opt_len;
    // Most answers fit whatever was said.
    if len > usize::from(MIN_UDP) && len > size_limit(ctx.transport, Some(asked.size)) {
        return None;
    }
    let place = out.get_mut(..len)?;
    // From behind, since each part may spill over what comes before it.
    asked.write(opt_len, cookie.as_ref(), piece.scope, place)?;
    write(&piece, query, question_end, place, 1)?;
    let is_verified = cookie.as_ref().is_some_and(|cookie| cookie.is_verified);
    // Last, when least has to be remembered meanwhile; what is held was written for nothing.
    if let Some(held) = scratch.hold(ctx, piece.class, is_verified) {
        return Some(answer_held(snapshot, ctx, scratch, query, out, held));
    }
    scratch.ecs += u64::from(asked.ecs.is_some());
    count(&piece, scratch);
    Some(len)
}

#[inline(always)]
fn count(piece: &Piece<'_>, scratch: &mut Scratch) {
    let outcome = match (piece.rcode, piece.owner) {
        (Rcode::NxDomain, _) => &mut scratch.nxdomain,
        (_, Some(_)) => &mut scratch.nodata,
        _ => &mut scratch.answered,
    };
    *outcome += 1;
}

/// Writes all but the OPT record: `out` has the length of the answer.
#[inline(always)]
fn write(
    piece: &Piece<'_>,
    query: &[u8],
    question_end: usize,
    out: &mut [u8],
    additional: u64,
) -> Option<()> {
    let block = piece.block.bytes();
    let (head, rest) = out.split_at_mut_checked(question_end)?;
    let body = rest.get_mut(..block.len())?;
    copy(body, block);
    if let Some(owner) = piece.owner {
        *body.first_chunk_mut()? = owner;
    }
    copy(head, query.get(..question_end)?);
    // Flags and counts over those of the query. Every answer here is authoritative.
    let [_, _, flags, more_flags, counts @ ..] = head.first_chunk_mut::<HEADER>()?;
    *flags = 0x84 | *flags & 1;
    *more_flags = *more_flags & 0x10 | piece.rcode.low();
    *counts = (ONE_QUESTION | piece.counts | additional).to_be_bytes();
    Some(())
}

/// Types that no entry holds but a signed zone answers.
const fn is_made_by_signing(qtype: u16) -> bool {
    matches!(qtype, rtype::RRSIG | rtype::NSEC | rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY)
}

impl<'a> Piece<'a> {
    #[inline(always)]
    fn answer(block: &'a Block, scope: u8, class: AnswerClass) -> Self {
        let counts = u64::from(block.count()) << 32;
        Self { block, counts, owner: None, rcode: Rcode::NoError, scope, class }
    }
}

/// Copies up to 128 octets as two pieces that may overlap, which needs no loop and no call.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        16..=32 => copy_ends::<16>(to, from),
        33..=64 => copy_ends::<32>(to, from),
        65..=128 => copy_ends::<64>(to, from),
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
#[inline(always)]
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
    /// The OPT record that ends the message. `None`: anything else, or with options that are not usual.
    #[inline(always)]
    fn read(record: &'q [u8]) -> Option<Self> {
        let (head, mut options) = record.split_first_chunk::<OPT_HEAD>()?;
        let &[0, 0, 41, s0, s1, _, 0, flags, _, l0, l1] = head else { return None };
        if usize::from(u16::from_be_bytes([l0, l1])) != options.len() {
            return None;
        }
        let (size, dnssec_ok) = (u16::from_be_bytes([s0, s1]), flags & 0x80 != 0);
        let (mut ecs, mut cookie) = (None, None);
        // Most options are like that, and stand first.
        if let Some((subnet, rest)) = Ecs::read_slash24(options) {
            (ecs, options) = (Some(subnet), rest);
        }
        while !options.is_empty() {
            let (&[c0, c1, l0, l1], rest) = options.split_first_chunk()?;
            let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
            options = rest;
            match u16::from_be_bytes([c0, c1]) {
                OPTION_ECS if ecs.is_none() => ecs = Some(Ecs::read(data).ok()?),
                OPTION_COOKIE if cookie.is_none() => cookie = Some(Cookie::read(data).ok()?),
                OPTION_ECS | OPTION_COOKIE | OPTION_NSID | OPTION_KEEPALIVE | OPTION_PADDING => return None,
                _ => {}
            }
        }
        Some(Self { size, dnssec_ok, ecs, cookie })
    }

    /// Octets of the OPT record that answers it.
    #[inline(always)]
    fn answer_len(&self, has_cookie: bool) -> usize {
        let ecs = self.ecs.as_ref().map_or(0, |ecs| OPTION_HEAD + ecs.payload.len());
        OPT_HEAD + ecs + if has_cookie { COOKIE_LEN } else { 0 }
    }

    /// Writes that record, of `len` octets, to the end of `out`, from behind.
    #[inline(always)]
    fn write(&self, len: usize, cookie: Option<&CookieReply>, scope: u8, mut out: &mut [u8]) -> Option<()> {
        if let Some(cookie) = cookie {
            let (rest, tail) = out.split_last_chunk_mut::<COOKIE_LEN>()?;
            let (head, payload) = tail.split_first_chunk_mut::<OPTION_HEAD>()?;
            *head = (u32::from(OPTION_COOKIE) << 16 | WHOLE_LEN as u32).to_be_bytes();
            *payload.first_chunk_mut()? = cookie.payload();
            out = rest;
        }
        if let Some(ecs) = &self.ecs {
            let octets = ecs.payload.len().checked_sub(OPTION_HEAD)?;
            // Four or sixteen octets that end with the address; those before it are overwritten next.
            if octets == 3 {
                *out.last_chunk_mut()? = ((ecs.bits >> 104) as u32).to_be_bytes();
            } else {
                let address = ecs.bits.checked_shr(128 - 8 * octets as u32).unwrap_or(0);
                *out.last_chunk_mut()? = address.to_be_bytes();
            }
            let (rest, _) = out.split_at_mut_checked(out.len().checked_sub(octets)?)?;
            let (rest, head) = rest.split_last_chunk_mut::<ECS_HEAD>()?;
            let fields = u64::from(OPTION_ECS) << 48 | (ecs.payload.len() as u64) << 32;
            *head = (fields | ecs.family_number() << 16 | u64::from(ecs.source) << 8 | u64::from(scope))
                .to_be_bytes();
            out = rest;
        }
        let (rest, length) = out.split_last_chunk_mut::<3>()?;
        let [l0, l1] = ((len - OPT_HEAD) as u16).to_be_bytes();
        *length = [0, l0, l1];
        let fields = 41 << 40 | u64::from(MAX_UDP) << 24 | u64::from(self.dnssec_ok) << 7;
        *rest.last_chunk_mut()? = fields.to_be_bytes();
        Some(())
    }
}

#[inline(always)]
fn find<'a>(
    snapshot: &'a Snapshot,
    ctx: &Ctx<'_>,
    question: &Question<'_>,
    ecs: Option<&Ecs<'_>>,
) -> Option<Piece<'a>> {
    let (names, name, qtype) = (snapshot.names(), question.name, question.qtype);
    if matches!(qtype, 0 | rtype::OPT | rtype::DS | 128..=255) {
        return None;
    }
    let Some(entry) = names.get_short(name) else { return find_none(snapshot, question) };
    match entry.steered {
        Some(position) if qtype == rtype::A => {
            steer(snapshot, ctx, ecs, position, Part::Addresses(Family::V4))
        }
        Some(position) if qtype == rtype::AAAA => {
            steer(snapshot, ctx, ecs, position, Part::Addresses(Family::V6))
        }
        _ if entry.cname.is_some() || entry.cut.is_some() => None,
        _ => match entry.set(qtype) {
            Some(block) => Some(Piece::answer(block, 0, AnswerClass::Static)),
            None => match entry.typed.and_then(|at| Some((at, names.steered(at).part(qtype)?))) {
                Some((position, part)) => steer_records(snapshot, ctx, ecs, position, part),
                None => deny(snapshot, name, entry, false),
            },
        },
    }
}

/// As [`steer`], out of the way of addresses.
#[inline(never)]
fn steer_records<'a>(
    snapshot: &'a Snapshot,
    ctx: &Ctx<'_>,
    ecs: Option<&Ecs<'_>>,
    position: u32,
    part: Part,
) -> Option<Piece<'a>> {
    steer(snapshot, ctx, ecs, position, part)
}

fn find_none<'a>(snapshot: &'a Snapshot, question: &Question<'_>) -> Option<Piece<'a>> {
    let end = HEADER + question.name.octet_count();
    match snapshot.names().find_above_short(question.query, HEADER, end, question.labels) {
        Found::Absent(entry) if entry.dname.is_none() => deny(snapshot, question.name, entry, true),
        _ => None,
    }
}

#[inline]
fn deny<'a>(snapshot: &'a Snapshot, name: &ShortName, entry: &Entry, is_absent: bool) -> Option<Piece<'a>> {
    let names = snapshot.names();
    let head = names.zone(entry.zone);
    let block = match entry.steering() {
        Some(position) if !is_absent => &names.steered(position).negative,
        _ => &head.negative,
    };
    if block.count() != 1 {
        return None;
    }
    let skip = name.octet_count().saturating_sub(head.origin.as_wire().len());
    // A name of at most 64 octets: an offset of one octet.
    let owner = Some([0xc0, (HEADER + skip) as u8]);
    let rcode = if is_absent { Rcode::NxDomain } else { Rcode::NoError };
    let (counts, class) = (u64::from(block.count()) << 16, AnswerClass::Negative);
    Some(Piece { block, counts, owner, rcode, scope: 0, class })
}

#[inline(always)]
fn steer<'a>(
    snapshot: &'a Snapshot,
    ctx: &Ctx<'_>,
    ecs: Option<&Ecs<'_>>,
    position: u32,
    part: Part,
) -> Option<Piece<'a>> {
    let table = snapshot.service_table(snapshot.names().steered(position).service);
    let client = Client::of(ecs, ctx.peer);
    let Located { group, depth } = snapshot.geo.lookup(client.family, client.bits);
    let pick = table.pick(group, client.family, client.bits, depth, snapshot.group_bits(group))?;
    let set = pick.set?;
    let block = set.part(part)?;
    let has_warning = set.is_open(part) || pick.distribution.warning.is_some();
    if has_warning || pick.distribution.reply != Reply::Addresses {
        return None;
    }
    let scope = if table.is_uniform { 0 } else { client.scope(depth, pick.hash_len) };
    Some(Piece::answer(block, scope, AnswerClass::Steered))
}
