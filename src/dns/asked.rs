//! The OPT record of a usual query: what it says, and the one that answers it.
//!
//! ```text
//!  head 11 octets │ client subnet, if any │ cookie of 24 octets, if any
//!  ours, but DO     scope is ours           the same if it is ours and not old, else a new one
//! ```
//!
//! Most records are like that, and are echoed: copied, with our fields over them. Any others are read option
//! by option and written anew; NSID, padding and keepalive are not usual. What is answered is decided in
//! [`usual`](super::usual).

use super::Ctx;
use super::cookie::{Cookie, CookieReply, WHOLE_LEN};
use super::copy::copy;
use super::ecs::Ecs;
use super::encode::MAX_UDP;
use super::query::{OPTION_COOKIE, OPTION_ECS, OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING};
use crate::base::prefix::Family;

const OPT_HEAD: usize = 11;
/// An option's code and length.
const OPTION_HEAD: usize = 4;
const COOKIE_LEN: usize = OPTION_HEAD + WHOLE_LEN;
/// Of an OPT record that begins with a client subnet, where its scope stands.
const SCOPE_AT: usize = OPT_HEAD + OPTION_HEAD + 3;

/// What the OPT record says.
pub(super) struct Asked<'q> {
    pub dnssec_ok: bool,
    /// Its options are those of the answer, in that order, and as long.
    pub is_echoed: bool,
    pub subnet: Subnet,
    /// The first half of the address of a /24 or /56.
    pub upper: u64,
    /// The payload of any other subnet.
    other: &'q [u8],
    pub cookie: Option<Cookie<'q>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subnet {
    None,
    /// Of IPv4, as most are.
    Slash24,
    /// Of IPv6. As with a /24, the record is echoed.
    Slash56,
    Other,
}

impl<'q> Asked<'q> {
    /// Without an OPT record.
    pub const NOTHING: Self =
        Self { dnssec_ok: false, is_echoed: true, subnet: Subnet::None, upper: 0, other: &[], cookie: None };

    /// The OPT record that ends the message, and whether its options are as most are; if not, they are to
    /// be [read one by one](Self::read_others). `None`: anything else, or options that are not usual.
    #[inline(always)]
    pub fn read(record: &'q [u8], ctx: &Ctx<'_>) -> Option<(Self, bool)> {
        let (head, options) = record.split_first_chunk::<OPT_HEAD>()?;
        // Root, type, size, extended rcode, version, flags.
        let first = u64::from_be_bytes(*head.first_chunk()?);
        let &[_, l0, l1] = head.last_chunk()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if first & 0xffff_ff00_0000_ff00 != 41 << 40 || len != options.len() {
            return None;
        }
        let mut asked = Self { dnssec_ok: first & 0x80 != 0, ..Self::NOTHING };
        let mut rest = options;
        // Most options are like that, and in this order.
        if let Some((bits, after)) = Ecs::read_slash24(rest) {
            (asked.subnet, asked.upper, rest) = (Subnet::Slash24, u64::from(bits) << 32, after);
        } else if let Some((upper, after)) = Ecs::read_slash56(rest) {
            (asked.subnet, asked.upper, rest) = (Subnet::Slash56, upper, after);
        }
        if let Some((shown, after)) = Cookie::read_whole(rest)
            && ctx.cookies.is_some()
        {
            (asked.cookie, rest) = (Some(shown), after);
        }
        match rest.first_chunk() {
            // Asked for by hand mostly, and alone.
            Some([c0, c1]) if u16::from_be_bytes([*c0, *c1]) == OPTION_NSID => None,
            _ => Some((asked, rest.is_empty())),
        }
    }

    /// Whatever options there are in an OPT record, of which the rest was read. `None`: they are not usual.
    pub fn read_others(&self, record: &'q [u8], ctx: &Ctx<'_>) -> Option<Self> {
        let mut asked = Self { dnssec_ok: self.dnssec_ok, ..Self::NOTHING };
        let mut options = record.get(OPT_HEAD..)?;
        while !options.is_empty() {
            let (&[c0, c1, l0, l1], rest) = options.split_first_chunk()?;
            let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
            options = rest;
            match u16::from_be_bytes([c0, c1]) {
                OPTION_ECS if asked.subnet == Subnet::None => {
                    Ecs::read(data).ok()?;
                    asked.is_echoed &= asked.cookie.is_none();
                    (asked.subnet, asked.other) = (Subnet::Other, data);
                }
                OPTION_COOKIE if asked.cookie.is_none() => {
                    asked.is_echoed &= data.len() == WHOLE_LEN;
                    asked.cookie = Some(Cookie::read(data).ok()?);
                }
                OPTION_ECS | OPTION_COOKIE | OPTION_NSID | OPTION_KEEPALIVE | OPTION_PADDING => return None,
                _ => asked.is_echoed = false,
            }
        }
        if ctx.cookies.is_none() && asked.cookie.take().is_some() {
            asked.is_echoed = false;
        }
        Some(asked)
    }

    /// The client subnet; without its payload where the record is echoed in any case.
    #[inline(always)]
    pub fn ecs(&self) -> Option<Ecs<'q>> {
        let (family, source) = match self.subnet {
            Subnet::None => return None,
            Subnet::Slash24 => (Some(Family::V4), 24),
            Subnet::Slash56 => (Some(Family::V6), 56),
            Subnet::Other => return Ecs::read(self.other).ok(),
        };
        Some(Ecs { payload: &[], family, source, bits: u128::from(self.upper) << 64 })
    }

    /// Octets of the record that answers one that is not echoed.
    #[inline(always)]
    pub fn answer_len(&self) -> usize {
        let ecs = if self.subnet == Subnet::None { 0 } else { OPTION_HEAD + self.other.len() };
        OPT_HEAD + ecs + if self.cookie.is_some() { COOKIE_LEN } else { 0 }
    }

    /// Writes the record that answers `record` to `out`, which is as long; the cookie as it was shown.
    #[inline(always)]
    pub fn echo(&self, record: &[u8], scope: u8, out: &mut [u8]) -> Option<()> {
        copy(out, record);
        write_head(self.dnssec_ok, out)?;
        if self.subnet != Subnet::None {
            *out.get_mut(SCOPE_AT)? = scope;
        }
        Some(())
    }
}

/// The longest answer the client takes; `record` is its OPT record, or empty.
#[inline]
pub(super) fn udp_size(record: &[u8]) -> Option<u16> {
    let [_, _, _, s0, s1] = *record.first_chunk()?;
    Some(u16::from_be_bytes([s0, s1]))
}

/// Type, size, extended rcode, version, flags, behind the root.
#[inline(always)]
fn write_head(dnssec_ok: bool, out: &mut [u8]) -> Option<()> {
    let fields = 41 << 48 | u64::from(MAX_UDP) << 32 | u64::from(dnssec_ok) << 15;
    *out.get_mut(1..)?.first_chunk_mut()? = fields.to_be_bytes();
    Some(())
}

/// A record with these options, as long as `out`.
#[inline(never)]
pub(super) fn write_anew(
    ecs: Option<Ecs<'_>>,
    cookie: Option<CookieReply>,
    scope: u8,
    dnssec_ok: bool,
    out: &mut [u8],
) -> Option<()> {
    *out.first_mut()? = 0;
    write_head(dnssec_ok, out)?;
    let (head, mut rest) = out.split_first_chunk_mut::<OPT_HEAD>()?;
    *head.last_chunk_mut()? = (rest.len() as u16).to_be_bytes();
    if let Some(ecs) = ecs {
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
