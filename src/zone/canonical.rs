//! RDATA in the form signatures are made over (RFC 4034 6.2 and 6.3, RFC 6840 5.1).
//!
//! | types | names inside |
//! |---|---|
//! | NS MD MF CNAME SOA MB MG MR PTR MINFO MX RP AFSDB RT PX NXT SIG KX SRV NAPTR DNAME RRSIG | lower case |
//! | HINFO (listed in RFC 4034, holds no name), NSEC (RFC 6840), all others | as they are |
//!
//! Owners are lower case already ([`Name`](super::name::Name)). Bytes that do not fit their type's shape
//! are left as they are from there on: what cannot be read cannot be folded, and is signed as sent.

use super::name;
use super::rtype;
use std::borrow::Cow;

const SIG: u16 = 24;
const NXT: u16 = 30;
const NAPTR: u16 = 35;

/// What comes before a type's names, and how many names there are.
enum Shape {
    /// Fixed octets, then names one after another; what follows them is kept.
    Names {
        skip: usize,
        names: usize,
    },
    /// NAPTR: two numbers, three character strings, a name.
    Naptr,
    Opaque,
}

fn shape(rtype: u16) -> Shape {
    let names = |skip, names| Shape::Names { skip, names };
    match rtype {
        // NS MD MF CNAME, MB MG MR, PTR, NXT, DNAME
        rtype::NS..=rtype::CNAME | 7..=9 | rtype::PTR | NXT | rtype::DNAME => names(0, 1),
        // SOA, MINFO, RP
        rtype::SOA | 14 | 17 => names(0, 2),
        // MX, AFSDB, RT, KX
        rtype::MX | 18 | 21 | 36 => names(2, 1),
        // PX
        26 => names(2, 2),
        rtype::SRV => names(6, 1),
        SIG | rtype::RRSIG => names(18, 1),
        NAPTR => Shape::Naptr,
        _ => Shape::Opaque,
    }
}

/// One record's canonical RDATA; `rdata` is uncompressed.
pub fn rdata(rtype: u16, rdata: &[u8]) -> Cow<'_, [u8]> {
    let (start, names) = match shape(rtype) {
        Shape::Opaque => return Cow::Borrowed(rdata),
        Shape::Names { skip, names } => (skip, names),
        Shape::Naptr => (naptr_name_at(rdata), 1),
    };
    let mut end = start;
    for _ in 0..names {
        let Some(len) = rdata.get(end..).and_then(name::wire_len) else { break };
        end += len;
    }
    match rdata.get(start..end) {
        // A length octet is at most 63, so no length is taken for a letter.
        Some(part) if part.iter().any(u8::is_ascii_uppercase) => {
            let mut folded = rdata.to_vec();
            folded[start..end].make_ascii_lowercase();
            Cow::Owned(folded)
        }
        _ => Cow::Borrowed(rdata),
    }
}

fn naptr_name_at(rdata: &[u8]) -> usize {
    (0..3).fold(4, |at, _| at + 1 + usize::from(rdata.get(at).copied().unwrap_or(0)))
}

/// A whole RRset's RDATA in canonical form and order, each once.
pub fn rrset<'r>(rtype: u16, records: impl IntoIterator<Item = &'r [u8]>) -> Vec<Cow<'r, [u8]>> {
    let mut set: Vec<_> = records.into_iter().map(|record| rdata(rtype, record)).collect();
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_where_the_type_says_so_and_nowhere_else() {
        let check = |rtype: u16, given: &[u8], expected: &[u8]| {
            assert_eq!(&*rdata(rtype, given), expected, "type {rtype}");
        };
        check(rtype::NS, b"\x02NS\x01A\x00", b"\x02ns\x01a\x00");
        check(rtype::MX, b"AB\x02MX\x00", b"AB\x02mx\x00");
        check(rtype::SRV, b"ABCDEF\x01X\x00", b"ABCDEF\x01x\x00");
        check(
            rtype::SOA,
            b"\x01A\x00\x01B\x00AAAABBBBCCCCDDDDEEEE",
            b"\x01a\x00\x01b\x00AAAABBBBCCCCDDDDEEEE",
        );
        check(NAPTR, b"ABCD\x01S\x03SIP\x00\x01X\x00", b"ABCD\x01S\x03SIP\x00\x01x\x00");
        check(rtype::TXT, b"\x03ABC", b"\x03ABC");
        check(rtype::NSEC, b"\x01A\x00\x00\x01\x40", b"\x01A\x00\x00\x01\x40");
        // SVCB and HTTPS came after RFC 4034: their target keeps its case.
        check(65, b"\x00\x01\x01A\x00", b"\x00\x01\x01A\x00");
    }

    #[test]
    fn what_does_not_fit_its_type_is_kept() {
        for rtype in 0..70 {
            for bytes in [&b""[..], b"\xff", b"\x05AB", b"\xc0\x0c", b"ABCD\x40"] {
                assert_eq!(rdata(rtype, bytes).len(), bytes.len(), "type {rtype}");
            }
        }
    }

    #[test]
    fn an_rrset_is_ordered_after_folding() {
        let set = rrset(rtype::NS, [&b"\x01a\x00"[..], b"\x01B\x00", b"\x01A\x00"]);
        assert_eq!(set, [&b"\x01a\x00"[..], b"\x01b\x00"]);
    }
}
