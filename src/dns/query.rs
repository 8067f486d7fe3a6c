//! A query, read on the stack: header, question, and what its OPT record asks for.
//!
//! ```text
//!  0   2     4    6    8    10   12
//!  id  flags QD   AN   NS   AR   question, then records; nothing may follow the last one
//!      QR set: dropped. QDCOUNT not 1, compressed or cut question: FORMERR, header only
//! ```
//!
//! A fault found after the question (a bad OPT, garbage at the end) still has a question to echo, so
//! it travels in [`ParsedQuery::fault`] to `decide`. Records other than OPT are skipped unread.

use super::code::Rcode;
use super::cookie::{Cookie, CookieError};
use super::ecs::{Ecs, EcsError};
use crate::routing::name_index::lower_case;
use crate::zone::rtype;

/// Octets of a header.
pub const HEADER: usize = 12;
/// EDNS options (RFC 6891 9): NSID, Client Subnet, Cookie, TCP keepalive, Padding, Extended Error.
pub const OPTION_NSID: u16 = 3;
pub const OPTION_ECS: u16 = 8;
pub const OPTION_COOKIE: u16 = 10;
pub const OPTION_KEEPALIVE: u16 = 11;
pub const OPTION_PADDING: u16 = 12;
pub const OPTION_EDE: u16 = 15;

const OPCODE_UPDATE: u8 = 5;

/// Nothing was asked that could be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// A response, or shorter than a header: never answered.
    Drop,
    /// Answered with this header alone.
    Bare([u8; HEADER]),
}

/// One question and its circumstances.
#[derive(Clone, Debug)]
pub struct ParsedQuery<'q> {
    pub message: &'q [u8],
    /// 0: QUERY.
    pub opcode: u8,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    /// Lower case; the first `name_len` octets count.
    name: [u8; 256],
    name_len: u8,
    /// The root not counted.
    pub labels: usize,
    pub qtype: u16,
    pub qclass: u16,
    /// Where the question ends in the message.
    pub question_end: usize,
    pub edns: Option<Edns<'q>>,
    /// Where the TSIG record begins that ends the message.
    pub tsig_at: Option<usize>,
    /// By a key of ours, and rightly.
    pub is_signed: bool,
    /// Decided already: the rcode of a malformed or foreign query.
    pub fault: Option<Rcode>,
}

/// What the OPT record says.
#[derive(Clone, Copy, Debug)]
pub struct Edns<'q> {
    pub size: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    pub wants_nsid: bool,
    /// A padding option was there: the answer may be padded too (RFC 7830 4).
    pub wants_padding: bool,
    /// How long a connection may be silent is asked for (RFC 7828).
    pub wants_keepalive: bool,
    pub cookie: Option<Cookie<'q>>,
    pub ecs: Option<Ecs<'q>>,
}

impl Edns<'_> {
    /// Without options: the sender's size, version, and the first octet of the flags.
    #[inline]
    pub(super) fn bare(size: u16, version: u8, flags: u8) -> Self {
        Self {
            size,
            version,
            dnssec_ok: flags & 0x80 != 0,
            wants_nsid: false,
            wants_padding: false,
            wants_keepalive: false,
            cookie: None,
            ecs: None,
        }
    }
}

impl<'q> ParsedQuery<'q> {
    pub fn id(&self) -> u16 {
        be16(self.message, 0).unwrap_or(0)
    }

    /// Lower-case wire form.
    #[inline]
    pub fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.name_len)]
    }

    /// Wire form in the case it was asked in, as long as [`name`](Self::name).
    pub fn name_as_asked(&self) -> &'q [u8] {
        self.message.get(HEADER..HEADER + usize::from(self.name_len)).unwrap_or(&[0])
    }

    pub fn ecs(&self) -> Option<&Ecs<'q>> {
        self.edns.as_ref()?.ecs.as_ref()
    }
}

/// Big-endian 16 bits at an offset.
#[inline]
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a message as a query.
#[inline]
pub fn parse(message: &[u8]) -> Result<ParsedQuery<'_>, Rejected> {
    let mut query = ParsedQuery::unread(message);
    query.read()?;
    Ok(query)
}

impl<'q> ParsedQuery<'q> {
    /// To be [`read`](Self::read): in two steps, so that the name is not moved.
    #[inline]
    pub(super) fn unread(message: &'q [u8]) -> Self {
        Self {
            message,
            opcode: 0,
            recursion_desired: false,
            checking_disabled: false,
            name: [0; 256],
            name_len: 0,
            labels: 0,
            qtype: 0,
            qclass: 0,
            question_end: HEADER,
            edns: None,
            tsig_at: None,
            is_signed: false,
            fault: None,
        }
    }

    pub(super) fn read(&mut self) -> Result<(), Rejected> {
        let message = self.message;
        let Some(&[_, _, flags, more_flags, q0, q1, ..]) = message.first_chunk::<HEADER>() else {
            return Err(Rejected::Drop);
        };
        if flags & 0x80 != 0 {
            return Err(Rejected::Drop);
        }
        self.opcode = flags >> 3 & 0x0f;
        self.recursion_desired = flags & 1 != 0;
        self.checking_disabled = more_flags & 0x10 != 0;
        let is_read = [q0, q1] == [0, 1] && read_question(self).is_some();
        if !is_read {
            return Err(bare(message, if self.opcode == 0 { Rcode::FormErr } else { foreign(self.opcode) }));
        }
        self.fault = read_records(self).err();
        if self.edns.as_ref().is_some_and(|edns| edns.version > 0) {
            self.fault = Some(Rcode::BadVers);
        }
        if self.opcode != 0 {
            self.fault = Some(foreign(self.opcode));
        }
        Ok(())
    }
}

/// What other opcodes than QUERY are answered: nobody may change data here (UPDATE, RFC 2136), and
/// the rest is not known.
fn foreign(opcode: u8) -> Rcode {
    if opcode == OPCODE_UPDATE { Rcode::Refused } else { Rcode::NotImp }
}

/// The header of an answer to a message whose question cannot be read.
fn bare(message: &[u8], rcode: Rcode) -> Rejected {
    let mut header = [0; HEADER];
    if let Some(&[i0, i1, flags, more_flags]) = message.first_chunk() {
        let flags = 0x80 | flags & 0x79;
        header[..4].copy_from_slice(&[i0, i1, flags, more_flags & 0x10 | rcode.low()]);
    }
    Rejected::Bare(header)
}

/// Copies the name in lower case and reads type and class. `None`: cut, compressed or too long.
fn read_question(query: &mut ParsedQuery<'_>) -> Option<()> {
    let bytes = query.message.get(HEADER..)?;
    let mut at = 0;
    loop {
        let len = usize::from(*bytes.get(at)?);
        if len == 0 {
            break;
        }
        // 254: the label must leave room for the final zero in 255 octets.
        if len > 63 || at + len + 1 > 254 {
            return None;
        }
        query.labels += 1;
        at += len + 1;
    }
    query.name.get_mut(..=at)?.copy_from_slice(bytes.get(..=at)?);
    for chunk in query.name.as_chunks_mut().0.iter_mut().take(at / 8 + 1) {
        *chunk = lower_case(u64::from_le_bytes(*chunk)).to_le_bytes();
    }
    query.name_len = u8::try_from(at + 1).ok()?;
    let [t0, t1, c0, c1] = *bytes.get(at + 1..)?.first_chunk()?;
    query.qtype = u16::from_be_bytes([t0, t1]);
    query.qclass = u16::from_be_bytes([c0, c1]);
    query.question_end = HEADER + at + 5;
    Some(())
}

/// Walks the records after the question; the OPT record among the additional ones is read.
fn read_records(query: &mut ParsedQuery<'_>) -> Result<(), Rcode> {
    let message = query.message;
    let count = |at| be16(message, at).unwrap_or(0);
    let (before, additional) = (u32::from(count(6)) + u32::from(count(8)), u32::from(count(10)));
    let mut at = query.question_end;
    for number in 0..before + additional {
        let head = skip_name(message, at).ok_or(Rcode::FormErr)?;
        let rest = message.get(head..).ok_or(Rcode::FormErr)?;
        let &[t0, t1, s0, s1, _, version, flags, _, l0, l1] = rest.first_chunk().ok_or(Rcode::FormErr)?;
        let rdata_at = head + 10;
        let end = rdata_at + usize::from(u16::from_be_bytes([l0, l1]));
        let rdata = message.get(rdata_at..end).ok_or(Rcode::FormErr)?;
        if u16::from_be_bytes([t0, t1]) == rtype::OPT {
            let is_misplaced = number < before || query.edns.is_some() || head != at + 1;
            if is_misplaced {
                return Err(Rcode::FormErr);
            }
            let size = u16::from_be_bytes([s0, s1]);
            let edns = query.edns.insert(Edns::bare(size, version, flags));
            // Options of a version we do not speak are not ours to judge.
            if version == 0 {
                read_options(edns, rdata)?;
            }
        } else if [t0, t1] == [0, 250] {
            // RFC 8945 5.1: once, and last.
            if number + 1 != before + additional || additional == 0 {
                return Err(Rcode::FormErr);
            }
            query.tsig_at = Some(at);
        }
        at = end;
    }
    if at == message.len() { Ok(()) } else { Err(Rcode::FormErr) }
}

/// The offset after a name, which may end in a pointer.
#[inline]
pub(super) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += usize::from(len) + 1,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[inline]
pub(super) fn read_options<'q>(edns: &mut Edns<'q>, mut options: &'q [u8]) -> Result<(), Rcode> {
    while let Some((&[c0, c1, l0, l1], rest)) = options.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let (data, rest) = rest.split_at_checked(len).ok_or(Rcode::FormErr)?;
        options = rest;
        match u16::from_be_bytes([c0, c1]) {
            OPTION_ECS if edns.ecs.is_some() => return Err(Rcode::FormErr),
            OPTION_ECS => edns.ecs = Some(Ecs::read(data).map_err(|EcsError| Rcode::FormErr)?),
            // Of several cookies the first counts (RFC 7873 5.2).
            OPTION_COOKIE if edns.cookie.is_none() => {
                edns.cookie = Some(Cookie::read(data).map_err(|CookieError| Rcode::FormErr)?);
            }
            OPTION_NSID => edns.wants_nsid = true,
            OPTION_PADDING => edns.wants_padding = true,
            OPTION_KEEPALIVE => edns.wants_keepalive = true,
            _ => {}
        }
    }
    if options.is_empty() { Ok(()) } else { Err(Rcode::FormErr) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &[u8]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(name);
        message.extend_from_slice(&[0, 1, 0, 1]);
        message
    }

    #[test]
    fn a_question_is_read_in_lower_case() {
        let message = question(b"\x03WwW\x04TeSt\x00");
        let query = parse(&message).expect("a query");
        assert_eq!(query.name(), b"\x03www\x04test\x00");
        assert_eq!((query.labels, query.qtype, query.qclass), (2, 1, 1));
        assert_eq!(query.question_end, message.len());
        assert_eq!(query.fault, None);
    }

    #[test]
    fn what_is_no_query_is_dropped_or_refused_bare() {
        let good = question(b"\x01a\x00");
        assert_eq!(parse(&good[..11]).err(), Some(Rejected::Drop));
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(parse(&response).err(), Some(Rejected::Drop));
        let mut none = good.clone();
        none[5] = 0;
        let formerr = [0xab, 0xcd, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&none).err(), Some(Rejected::Bare(formerr)));
        assert_eq!(parse(&question(b"\xc0\x0c")).err(), Some(Rejected::Bare(formerr)));
        assert_eq!(parse(&good[..good.len() - 1]).err(), Some(Rejected::Bare(formerr)));
    }

    #[test]
    fn a_name_of_255_octets_is_read_and_256_are_not() {
        let mut name = Vec::new();
        for _ in 0..3 {
            name.push(63);
            name.extend_from_slice(&[b'a'; 63]);
        }
        let mut longest = name.clone();
        longest.push(61);
        longest.extend_from_slice(&[b'b'; 61]);
        longest.push(0);
        assert_eq!(longest.len(), 255);
        assert_eq!(parse(&question(&longest)).expect("a query").name().len(), 255);
        name.push(62);
        name.extend_from_slice(&[b'b'; 62]);
        name.push(0);
        assert!(matches!(parse(&question(&name)), Err(Rejected::Bare(_))));
    }

    #[test]
    fn garbage_behind_the_records_is_a_fault() {
        let mut message = question(b"\x01a\x00");
        message.push(0);
        assert_eq!(parse(&message).expect("the question is whole").fault, Some(Rcode::FormErr));
    }
}
