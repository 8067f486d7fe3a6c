//! A decision as the bytes of a message.
//!
//! ```text
//!  header | question as asked | answers | authority | glue | OPT: NSID, ECS, cookie, keepalive, EDE
//!  12       case kept           copied blocks, owners patched  room kept from the start;  padding
//! ```
//!
//! What does not fit is not cut into: TC is set and header, question and OPT remain, and the client
//! comes back over TCP. Referral glue counts as what must fit (RFC 9471).

use super::code::ExtendedError;
use super::cookie::WHOLE_LEN;
use super::decide::{Decision, Owner, Piece, Step};
use super::ecs::Ecs;
use super::query::{
    Edns, HEADER, OPTION_COOKIE, OPTION_ECS, OPTION_EDE, OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING,
    ParsedQuery,
};
use super::{Ctx, Transport};
use crate::routing::Snapshot;
use crate::routing::block::{Block, QUESTION_POINTER, RECORD_HEAD, Records};
use crate::routing::signed::NsecEntry;
use crate::zone::name::MAX_NAME;
use crate::zone::rtype;

/// Largest UDP answer, and the size our own OPT record names (DNS flag day 2020).
pub const MAX_UDP: u16 = 1_232;
/// Largest UDP answer without EDNS, and the least a client may name (RFC 6891 6.2.3).
pub(super) const MIN_UDP: u16 = 512;
/// Octets of an OPT record without options, and of an option's head.
const OPT_HEAD: usize = 11;
const OPTION_HEAD: usize = 4;
pub(super) const TC: u8 = 0x02;
/// Padded answers have a multiple of this many octets (RFC 8467 4.1).
pub(super) const PADDING_BLOCK: usize = 468;
const CLASS_IN: u16 = 1;
/// A pointer has 14 bits.
const MAX_POINTER: usize = 0x3fff;

/// What became of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Octets written; 0 if `out` is too small even for a truncated answer.
    pub len: usize,
    pub is_truncated: bool,
}

/// Writes the answer; `is_cut`: without its records, for a client that may come back over TCP.
pub fn encode(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    query: &ParsedQuery<'_>,
    decision: &Decision<'_>,
    is_cut: bool,
    out: &mut [u8],
) -> Encoded {
    let opt = query.edns.as_ref().map(|edns| OptReply::new(snapshot, ctx, edns, decision));
    let limit = size_limit(ctx.transport, query.edns.as_ref().map(|edns| edns.size)).min(out.len());
    let opt_len = opt.as_ref().map_or(0, OptReply::len);
    if query.question_end + opt_len > limit {
        return Encoded::default();
    }
    let mut writer = Writer { out, at: query.question_end, limit: limit - opt_len, target_at: 0 };
    let counts = if is_cut { None } else { writer.sections(query, decision) };
    if counts.is_none() {
        writer.at = query.question_end;
    }
    writer.limit = limit;
    let [answers, authority, additional] = counts.unwrap_or_default();
    let is_written = opt.as_ref().is_none_or(|opt| opt.write(&mut writer).is_some());
    let additional = additional + u16::from(opt.is_some());
    let len = writer.at;
    let is_truncated = counts.is_none();
    let is_headed =
        write_head(query, decision, is_truncated, [answers, authority, additional], out).is_some();
    if is_written && is_headed { Encoded { len, is_truncated } } else { Encoded::default() }
}

/// Octets an answer may have; `size` is what the client's OPT record says.
#[inline]
pub(super) fn size_limit(transport: Transport, size: Option<u16>) -> usize {
    let udp = size.map_or(MIN_UDP, |size| size.clamp(MIN_UDP, MAX_UDP));
    usize::from(if transport.is_stream() { u16::MAX } else { udp })
}

/// Header and question; the question is copied as it came (case and all).
fn write_head(
    query: &ParsedQuery<'_>,
    decision: &Decision<'_>,
    is_truncated: bool,
    [answers, authority, additional]: [u16; 3],
    out: &mut [u8],
) -> Option<()> {
    let end = query.question_end;
    out.get_mut(..end)?.copy_from_slice(query.message.get(..end)?);
    let authoritative = u8::from(decision.is_authoritative) << 2;
    let truncated = if is_truncated { TC } else { 0 };
    let flags = 0x80 | query.opcode << 3 | authoritative | truncated | u8::from(query.recursion_desired);
    let more_flags = u8::from(query.checking_disabled) << 4 | decision.rcode.low();
    let counts = [1, answers, authority, additional];
    let counts = counts.into_iter().fold(0, |word, count| word << 16 | u64::from(count));
    let [_, _, to_flags, to_more_flags, to_counts @ ..] = out.first_chunk_mut::<HEADER>()?;
    (*to_flags, *to_more_flags, *to_counts) = (flags, more_flags, counts.to_be_bytes());
    Some(())
}

struct Writer<'o> {
    out: &'o mut [u8],
    at: usize,
    limit: usize,
    /// Where the last CNAME's target stands.
    target_at: usize,
}

impl Writer<'_> {
    /// `None`, with nothing changed, if it does not fit.
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at + bytes.len();
        if end > self.limit {
            return None;
        }
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    /// As [`put`](Self::put), of a length the compiler knows.
    #[inline]
    fn put_array<const N: usize>(&mut self, bytes: [u8; N]) -> Option<()> {
        let end = self.at + N;
        if end > self.limit {
            return None;
        }
        *self.out.get_mut(self.at..)?.first_chunk_mut()? = bytes;
        self.at = end;
        Some(())
    }

    /// Record counts of the three sections; `None` if they do not fit.
    fn sections(&mut self, query: &ParsedQuery<'_>, decision: &Decision<'_>) -> Option<[u16; 3]> {
        let mut counts = [0; 3];
        let mut owner = Owner::Question { skip: 0 };
        for (position, step) in decision.steps().enumerate() {
            let start = self.at;
            let rrsig = decision.proofs.link(position);
            if step.prefix == 0 {
                self.piece(&Piece::of(owner, step.block))?;
                counts[0] += self.beside(owner, rrsig)?;
                self.target_at = start + RECORD_HEAD;
            } else {
                counts[0] += self.redirection(query, owner, step, rrsig)?;
            }
            owner = Owner::Target { skip: 0 };
            counts[0] += step.block.count();
        }
        if let Some(answer) = decision.answer {
            self.piece(&Piece::of(owner, answer))?;
            counts[0] += answer.count() + self.beside(owner, decision.proofs.answer())?;
        }
        let start = self.at;
        if let Some(authority) = &decision.authority {
            self.piece(authority)?;
            counts[1] = authority.count;
            for block in decision.proofs.beside_authority() {
                counts[1] += self.beside(authority.owner, Some(block))?;
            }
        }
        for denial in decision.proofs.denials() {
            counts[1] += self.denial(query, denial)?;
        }
        for glue in decision.glue {
            let at = self.at;
            self.put(glue.block.bytes())?;
            self.patch_owners(at, glue.block.bytes(), start + glue.target_at)?;
            counts[2] += glue.block.count();
        }
        Some(counts)
    }

    /// A DNAME with its signatures and, after it, the CNAME it implies for the name that `owner` is; how many
    /// of the last two.
    ///
    /// The CNAME's target is written whole, so that what follows can point into it.
    #[cold]
    fn redirection(
        &mut self,
        query: &ParsedQuery<'_>,
        owner: Owner,
        step: Step<'_>,
        rrsig: Option<&Block>,
    ) -> Option<u16> {
        let (name_at, dname_owner) = match owner {
            Owner::Question { .. } => (HEADER, Owner::Question { skip: step.prefix }),
            Owner::Target { .. } => (self.target_at, Owner::Target { skip: step.prefix }),
        };
        self.piece(&Piece::of(dname_owner, step.block))?;
        let signatures = self.beside(dname_owner, rrsig)?;
        let Some((ttl, target)) = step.synthesis() else { return Some(signatures) };
        let start = self.at;
        let prefix = usize::from(step.prefix);
        let pointer = u16::try_from(name_at).ok().filter(|at| usize::from(*at) <= MAX_POINTER)?;
        self.put_array((0xc000 | pointer).to_be_bytes())?;
        self.put_array((u32::from(rtype::CNAME) << 16 | u32::from(CLASS_IN)).to_be_bytes())?;
        self.put_array(ttl.to_be_bytes())?;
        self.put_array(u16::try_from(prefix + target.len()).ok()?.to_be_bytes())?;
        match owner {
            // The question is copied last, with the header.
            Owner::Question { .. } => self.put(query.name_as_asked().get(..prefix)?)?,
            Owner::Target { .. } => {
                let mut copy = [0; MAX_NAME];
                let copy = copy.get_mut(..prefix)?;
                copy.copy_from_slice(self.out.get(name_at..name_at + prefix)?);
                self.put(copy)?;
            }
        }
        self.put(target)?;
        self.target_at = start + RECORD_HEAD;
        Some(1 + signatures)
    }

    /// Records that go with others of the same owner, if there are any; how many.
    fn beside(&mut self, owner: Owner, block: Option<&Block>) -> Option<u16> {
        let Some(block) = block else { return Some(0) };
        self.piece(&Piece::of(owner, block))?;
        Some(block.count())
    }

    /// An NSEC and its RRSIG. The owner ends like the question where both are of one zone; it is
    /// written once.
    #[cold]
    fn denial(&mut self, query: &ParsedQuery<'_>, denial: &NsecEntry) -> Option<u16> {
        let (labels, origin) = denial.owner.split_at_checked(usize::from(denial.labels_len))?;
        let owner_at = self.at;
        self.put(labels)?;
        let asked = query.name();
        if asked.ends_with(origin) && origin.len() > 1 {
            let at = u16::try_from(HEADER + asked.len() - origin.len()).ok()?;
            self.put_array((0xc000 | at).to_be_bytes())?;
        } else {
            self.put(origin)?;
        }
        // The owner stands already: the first record follows it, the others point to it.
        let nsec = denial.nsec.bytes().get(QUESTION_POINTER.len()..)?;
        self.put(nsec)?;
        let start = self.at;
        self.put(denial.rrsig.bytes())?;
        self.patch_owners(start, denial.rrsig.bytes(), owner_at)?;
        Some(1 + denial.rrsig.count())
    }

    fn piece(&mut self, piece: &Piece<'_>) -> Option<()> {
        let start = self.at;
        self.put(piece.bytes)?;
        match piece.owner {
            Owner::Question { skip: 0 } => Some(()),
            Owner::Question { skip } => self.patch_owners(start, piece.bytes, HEADER + usize::from(skip)),
            Owner::Target { skip } => {
                self.patch_owners(start, piece.bytes, self.target_at + usize::from(skip))
            }
        }
    }

    /// Lets the records copied to `start` point to the name at `name_at`.
    fn patch_owners(&mut self, start: usize, bytes: &[u8], name_at: usize) -> Option<()> {
        if name_at > MAX_POINTER {
            return None;
        }
        let [high, low] = u16::try_from(name_at).ok()?.to_be_bytes();
        for record in Records::of(bytes) {
            let owner = self.out.get_mut(start + record.at..)?.first_chunk_mut::<2>()?;
            *owner = [QUESTION_POINTER[0] | high, low];
        }
        Some(())
    }
}

/// The OPT record of an answer.
pub(super) struct OptReply<'r> {
    rcode_high: u8,
    dnssec_ok: bool,
    pub(super) nsid: Option<&'r [u8]>,
    pub(super) ecs: Option<(&'r Ecs<'r>, u8)>,
    pub(super) cookie: Option<[u8; WHOLE_LEN]>,
    /// Tenths of a second.
    pub(super) keepalive: Option<u16>,
    pub(super) error: Option<ExtendedError>,
    is_padded: bool,
}

impl<'r> OptReply<'r> {
    pub(super) fn new(
        snapshot: &'r Snapshot,
        ctx: &Ctx<'_>,
        edns: &'r Edns<'r>,
        decision: &Decision<'_>,
    ) -> Self {
        Self {
            rcode_high: decision.rcode.high(),
            dnssec_ok: edns.dnssec_ok,
            nsid: edns.wants_nsid.then(|| snapshot.nsid()),
            ecs: edns.ecs.as_ref().map(|ecs| (ecs, decision.scope)),
            cookie: decision.cookie.map(|cookie| cookie.payload()),
            keepalive: (edns.wants_keepalive && ctx.transport.has_keepalive()).then_some(ctx.idle_tenths),
            error: decision.error,
            is_padded: edns.wants_padding && ctx.transport.is_encrypted(),
        }
    }

    /// Without padding.
    fn options_len(&self) -> usize {
        let nsid = self.nsid.map_or(0, |nsid| OPTION_HEAD + nsid.len());
        let ecs = self.ecs.map_or(0, |(ecs, _)| OPTION_HEAD + ecs.payload.len());
        let cookie = self.cookie.map_or(0, |cookie| OPTION_HEAD + cookie.len());
        let keepalive = self.keepalive.map_or(0, |_| OPTION_HEAD + 2);
        let error = self.error.map_or(0, |error| OPTION_HEAD + 2 + error.text.len());
        nsid + ecs + cookie + keepalive + error
    }

    fn len(&self) -> usize {
        OPT_HEAD + self.options_len()
    }

    /// Octets of padding for a message that has `whole` without the option; none if it has no room.
    fn padding(&self, whole: usize, limit: usize) -> Option<usize> {
        let least = (whole + OPTION_HEAD).next_multiple_of(PADDING_BLOCK);
        let until = least.min(limit);
        self.is_padded.then(|| until.checked_sub(whole + OPTION_HEAD)).flatten()
    }

    fn write(&self, writer: &mut Writer<'_>) -> Option<()> {
        let options = self.options_len();
        let padding = self.padding(writer.at + OPT_HEAD + options, writer.limit);
        let len = u16::try_from(options + padding.map_or(0, |len| OPTION_HEAD + len)).ok()?;
        // Root, type 41, size, extended rcode, version 0, flags, length.
        let head = 41 << 40 | u64::from(MAX_UDP) << 24 | u64::from(self.rcode_high) << 16;
        writer.put_array((head | u64::from(self.dnssec_ok) << 7).to_be_bytes())?;
        let [l0, l1] = len.to_be_bytes();
        writer.put_array([0, l0, l1])?;
        if let Some(nsid) = self.nsid {
            write_option(writer, OPTION_NSID, nsid.len())?;
            writer.put(nsid)?;
        }
        if let Some((ecs, scope)) = self.ecs {
            write_option(writer, OPTION_ECS, ecs.payload.len())?;
            let scope_at = writer.at + 3;
            writer.put(ecs.payload)?;
            *writer.out.get_mut(scope_at)? = scope;
        }
        if let Some(cookie) = self.cookie {
            write_option(writer, OPTION_COOKIE, cookie.len())?;
            writer.put_array(cookie)?;
        }
        if let Some(tenths) = self.keepalive {
            write_option(writer, OPTION_KEEPALIVE, 2)?;
            writer.put_array(tenths.to_be_bytes())?;
        }
        if let Some(error) = self.error {
            write_option(writer, OPTION_EDE, 2 + error.text.len())?;
            writer.put_array(error.code.to_be_bytes())?;
            writer.put(error.text.as_bytes())?;
        }
        if let Some(len) = padding {
            write_option(writer, OPTION_PADDING, len)?;
            writer.out.get_mut(writer.at..writer.at + len)?.fill(0);
            writer.at += len;
        }
        Some(())
    }
}

fn write_option(writer: &mut Writer<'_>, code: u16, len: usize) -> Option<()> {
    let len = u16::try_from(len).ok()?;
    writer.put_array((u32::from(code) << 16 | u32::from(len)).to_be_bytes())
}
