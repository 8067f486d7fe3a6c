//! DNS: from the bytes of a query to the bytes of its answer, with nothing to wait for in between.
//!
//! ```text
//!  query bytes ─▶ usual::answer ─ all that most queries need, in one walk ─────────────▶ answer bytes
//!                  └─ anything else ─┐
//!                     query::parse ◀─┘ ─▶ decide(Snapshot, Ctx, query) ─▶ Decision ─┬─▶ encode   bytes
//!                      on the stack        the one function that decides            └─▶ records  for hickory
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`usual`](mod@usual) | the short way of the usual query; the same answer, sooner |
//! | `asked` | the OPT record of the short way |
//! | `copy` | copies of a few octets |
//! | [`query`] | header, question, OPT of a query; what is refused before anything is looked up |
//! | [`ecs`] | EDNS Client Subnet: whose address decides, and how far the answer holds |
//! | [`cookie`] | DNS cookies: whose address is not forged |
//! | [`reserved`] | address space that is nobody's location |
//! | [`decide`](mod@decide) | names, types, chains, referrals, steering |
//! | [`proofs`] | signatures and denials that go with a decision |
//! | [`encode`](mod@encode) | a decision as bytes; truncation, padding |
//! | [`records`](mod@records) | a decision as hickory records |
//! | [`rrl`] | how many responses a client prefix gets over UDP |
//! | [`fair`] | how many of a prefix's queries are answered by a worker that cannot answer all |
//! | [`scratch`] | a worker's own counters, and its limits |
//! | [`transfer`] | a zone as an iterator of messages |
//! | [`tsig`] | signed messages |
//! | [`code`] | response codes and extended errors |
//!
//! No allocation, lock, log line or panic on the byte path, and no recursion or updates. Transfers and
//! signed messages are no matter of speed and do allocate.

mod asked;
pub mod code;
pub mod cookie;
mod copy;
pub mod decide;
pub mod ecs;
pub mod encode;
pub mod fair;
pub mod proofs;
pub mod query;
pub mod records;
pub mod reserved;
pub mod rrl;
pub mod scratch;
pub mod transfer;
pub mod tsig;
pub mod usual;

pub use cookie::CookieSecrets;
pub use decide::{Decision, decide};
pub use encode::encode;
pub use fair::Fair;
pub use query::{ParsedQuery, Rejected, parse};
pub use records::{RecordReply, records};
pub use rrl::Limiter;
pub use scratch::Scratch;
pub use tsig::TsigKeys;

use crate::base::clock::MonoTime;
use crate::model::policy::AnswerClass;
use crate::routing::Snapshot;
use code::Rcode;
use fair::Share;
use rrl::Held;
use std::net::IpAddr;
use tsig::{Signer, TsigError};
use usual::Miss;

/// How a query came, to whom, and when.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'c> {
    /// The resolver's address.
    pub peer: IpAddr,
    /// The address it asked.
    pub local: IpAddr,
    pub transport: Transport,
    pub now: MonoTime,
    /// Seconds since 1970, modulo 2^32: the age of cookies.
    pub seconds: u32,
    /// `None`: cookies are neither made nor looked at.
    pub cookies: Option<&'c CookieSecrets>,
    /// How long a stream may be silent, told to who asks (RFC 7828), in tenths of a second.
    pub idle_tenths: u16,
    /// Of signed messages; `None`: there are no keys.
    pub keys: Option<&'c TsigKeys>,
    /// The answer is told and not sent: nobody counts as answered by it.
    pub is_rehearsal: bool,
}

impl<'c> Ctx<'c> {
    /// Without cookies, on streams that may be silent for ten seconds.
    pub const fn new(peer: IpAddr, local: IpAddr, transport: Transport, now: MonoTime) -> Self {
        Self {
            peer,
            local,
            transport,
            now,
            seconds: 0,
            cookies: None,
            idle_tenths: 100,
            keys: None,
            is_rehearsal: false,
        }
    }

    /// Whether it is sure that the peer is who it says: it spoke over a stream, or showed a cookie.
    #[inline(always)]
    const fn is_sure(&self, is_verified: bool) -> bool {
        is_verified || self.transport.is_stream()
    }

    #[inline(always)]
    fn cookie_reply(&self, shown: Option<&cookie::Cookie<'_>>) -> Option<cookie::CookieReply> {
        Some(self.cookies?.reply(shown?, self.peer, self.seconds))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
    Quic,
}

impl Transport {
    /// Whether messages have a length of their own instead of a datagram's.
    #[inline]
    pub const fn is_stream(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// Whether zones are transferred over it.
    #[inline]
    pub const fn has_transfer(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }

    /// Whether lengths are all that a listener sees, so that padding hides something.
    #[inline]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }

    /// Whether edns-tcp-keepalive means anything: HTTP and QUIC tell idle times in their own way, and
    /// DNS over QUIC forbids the option (RFC 9250 5.5.2).
    #[inline]
    pub const fn has_keepalive(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }
}

/// The arguments of [`answer`], in memory: the short way has many exits to functions that need them all,
/// and would load all seven registers before each.
struct Call<'c> {
    snapshot: &'c Snapshot,
    ctx: &'c Ctx<'c>,
    scratch: &'c mut Scratch,
    query: &'c [u8],
    out: &'c mut [u8],
}

/// Answers one message into `out` and gives the answer's length; 0: send nothing.
///
/// `out` bounds the answer beside the protocol's own limits; 1,232 octets do for UDP, 65,535 for
/// streams. With less than 512 some answers are dropped.
#[inline]
pub fn answer(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    query: &[u8],
    out: &mut [u8],
) -> usize {
    let mut call = Call { snapshot, ctx, scratch, query, out };
    match usual::answer_most(&mut call) {
        Ok(len) => len,
        Err(miss) => answer_missed(&mut call, miss),
    }
}

/// What the short way did not answer.
#[cold]
#[inline(never)]
fn answer_missed(call: &mut Call<'_>, miss: Miss) -> usize {
    let len = if miss == Miss::Elsewhere { usual::answer_others(call) } else { None };
    match len {
        Some(len) => len,
        None => answer_any(call.snapshot, call.ctx, call.scratch, call.query, call.out),
    }
}

/// As [`answer`], without its short way: what that is held against.
pub fn answer_any(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    query: &[u8],
    out: &mut [u8],
) -> usize {
    answer_long(snapshot, ctx, scratch, query, out, None)
}

/// As [`answer`], for a query over UDP while its worker [is pressed](Fair::is_pressed): answered, answered
/// without records or dropped, as its client's share has it.
#[inline(never)]
pub fn answer_fairly(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    fair: &mut Fair,
    query: &[u8],
    out: &mut [u8],
) -> usize {
    match fair.judge(ctx.peer, ctx.now, || fair::is_verified(ctx, query)) {
        Share::Within | Share::Logged => answer(snapshot, ctx, scratch, query, out),
        Share::Held(held) => answer_held(&mut Call { snapshot, ctx, scratch, query, out }, held),
    }
}

/// `judged`: its client's budget was asked already, and does not cover the answer.
#[inline(never)]
fn answer_long(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    query: &[u8],
    out: &mut [u8],
    judged: Option<Held>,
) -> usize {
    let mut parsed = ParsedQuery::unread(query);
    match parsed.read() {
        Ok(()) if parsed.tsig_at.is_some() => answer_signed(snapshot, ctx, scratch, parsed, out),
        Ok(()) => {
            let mut decision = decide(snapshot, ctx, &parsed);
            let held =
                judged.or_else(|| scratch.hold(ctx, decision.class(), ctx.is_sure(decision.is_verified())));
            let is_cut = match held {
                None => false,
                Some(Held::Slipped) => !decision.ask_for_cookie(),
                Some(Held::Dropped) => {
                    scratch.dropped += 1;
                    return 0;
                }
            };
            let encoded = encode(snapshot, ctx, &parsed, &decision, is_cut, out);
            scratch.count(&decision, &parsed, encoded);
            encoded.len
        }
        Err(Rejected::Drop) => {
            scratch.dropped += 1;
            0
        }
        Err(Rejected::Bare(header)) => answer_bare(ctx, scratch, header, out),
    }
}

/// With a header alone.
#[cold]
fn answer_bare(
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    mut header: [u8; query::HEADER],
    out: &mut [u8],
) -> usize {
    match scratch.hold(ctx, AnswerClass::Error, ctx.is_sure(false)) {
        Some(Held::Dropped) => {
            scratch.dropped += 1;
            return 0;
        }
        Some(Held::Slipped) => header[2] |= encode::TC,
        None => {}
    }
    scratch.count_bare(&header);
    let Some(place) = out.first_chunk_mut() else { return 0 };
    *place = header;
    header.len()
}

/// What is left of a short answer that its client's budget does not cover: nothing, or as little as
/// shows a client that did ask how to be answered in full, over TCP or with a cookie.
#[cold]
fn answer_held(call: &mut Call<'_>, held: Held) -> usize {
    if held == Held::Dropped {
        call.scratch.dropped += 1;
        return 0;
    }
    answer_long(call.snapshot, call.ctx, call.scratch, call.query, call.out, Some(held))
}

/// Answers a signed message with a signed one, or says why not (RFC 8945 5).
#[cold]
fn answer_signed(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    mut parsed: ParsedQuery<'_>,
    out: &mut [u8],
) -> usize {
    let (none, now) = (TsigKeys::default(), u64::from(ctx.seconds));
    let at = parsed.tsig_at.unwrap_or_default();
    let mut signer = tsig::verify(ctx.keys.unwrap_or(&none), parsed.message, at, now)
        .map_err(|rcode| parsed.fault = Some(rcode))
        .ok();
    let error = signer.as_ref().map(Signer::error);
    if error.is_some_and(|error| error != TsigError::None) {
        parsed.fault = Some(Rcode::NotAuth);
    }
    parsed.is_signed = parsed.fault.is_none();
    let decision = decide(snapshot, ctx, &parsed);
    let is_verified = parsed.is_signed || decision.cookie.is_some_and(|cookie| cookie.is_verified);
    if scratch.hold(ctx, decision.class(), ctx.is_sure(is_verified)).is_some() {
        scratch.dropped += 1;
        return 0;
    }
    let size = encode::size_limit(ctx.transport, parsed.edns.as_ref().map(|edns| edns.size)).min(out.len());
    let room = size.saturating_sub(signer.as_ref().map_or(0, Signer::added_len));
    let Some(place) = out.get_mut(..room) else { return 0 };
    let encoded = encode(snapshot, ctx, &parsed, &decision, false, place);
    scratch.count(&decision, &parsed, encoded);
    let Some(signer) = signer.as_mut().filter(|_| encoded.len > 0) else { return encoded.len };
    let mut message = place.get(..encoded.len).unwrap_or_default().to_vec();
    signer.sign(&mut message, now);
    let Some(place) = out.get_mut(..message.len()) else { return 0 };
    place.copy_from_slice(&message);
    message.len()
}

/// The same as records, for listeners whose replies can only be those. `None`: a message that only
/// [`answer`] can answer or drop; it is not counted here.
pub fn answer_records(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    scratch: &mut Scratch,
    query: &[u8],
) -> Option<RecordReply> {
    let parsed = parse(query).ok()?;
    if parsed.tsig_at.is_some() || parsed.edns.as_ref().is_some_and(|edns| edns.wants_padding) {
        return None;
    }
    let decision = decide(snapshot, ctx, &parsed);
    scratch.count(&decision, &parsed, encode::Encoded { len: query.len(), is_truncated: false });
    Some(records(snapshot, ctx, &parsed, &decision))
}
