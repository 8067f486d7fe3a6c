//! What the data of each record type consists of, said once: reading, printing and checking follow it.
//!
//! ```text
//!  MX   10 mail.example.     [U16, Name]       00 0a | 04 mail 07 example 00
//!  DS   1 13 2 00ff...       [U16, Algorithm, U8, Hex]
//! ```
//!
//! A type without a form (or with one too rare to be worth its code: CSYNC, CERT, APL, IPSECKEY) is
//! written and printed as `\# length hexadecimal` (RFC 3597 5). No compression, here or in any answer.

use super::name;
use super::{loc, rtype, svcb};

/// One field, with what to call it when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    U8(&'static str),
    U16(&'static str),
    U32(&'static str),
    /// 32 bits of seconds, units allowed.
    Seconds(&'static str),
    V4,
    V6,
    Name(&'static str),
    /// A name that stands for a mail address (RFC 1035 8).
    Mailbox,
    /// A DNSSEC algorithm, by number or mnemonic.
    Algorithm,
    /// Always 3 (RFC 4034 2.1.2).
    Protocol,
    /// One character-string.
    String(&'static str),
    /// One or more character-strings, to the end.
    Strings,
    /// To the end, in any number of words.
    Hex(&'static str),
    /// To the end, in any number of words.
    Base64(&'static str),
    /// Letters and digits after their length.
    Tag,
    /// One string without a length, to the end.
    Text {
        what: &'static str,
        is_empty_allowed: bool,
    },
    /// RFC 1876.
    Location,
    /// RFC 9460 2.2, to the end.
    SvcParams,
}

use Field::{
    Algorithm, Base64, Hex, Location, Mailbox, Name, Protocol, Seconds, String, Strings, SvcParams, Tag,
    Text, U8, U16, U32, V4, V6,
};

const HOST: &[Field] = &[Name("a host name")];
const PREFERRED: &[Field] = &[U16("a preference (0 to 65535)"), Name("a host name")];
const SIGNER: &[Field] =
    &[U16("a key tag (0 to 65535)"), Algorithm, U8("a digest type (0 to 255)"), Hex("a digest")];
const KEY: &[Field] = &[U16("flags (256 or 257)"), Protocol, Algorithm, Base64("a public key")];
const ASSOCIATION: &[Field] = &[
    U8("a certificate usage (0 to 3)"),
    U8("a selector (0 or 1)"),
    U8("a matching type (0 to 2)"),
    Hex("certificate data"),
];
const BINDING: &[Field] = &[U16("a priority (0: alias)"), Name("a target name"), SvcParams];

/// The fields of a type; `None` if only `\#` can write it.
pub(super) const fn of(rtype: u16) -> Option<&'static [Field]> {
    Some(match rtype {
        rtype::A => &[V4],
        rtype::AAAA => &[V6],
        // MB, MG and MR are names of old.
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME | 7..=9 => HOST,
        rtype::SOA => &[
            Name("the primary server's name"),
            Mailbox,
            U32("a serial number (0 to 4294967295)"),
            Seconds("the refresh time"),
            Seconds("the retry time"),
            Seconds("the expiry time"),
            Seconds("the negative answers' TTL"),
        ],
        rtype::HINFO => &[String("a machine"), String("an operating system")],
        // AFSDB, RT and KX have the form of MX.
        rtype::MX | 18 | 21 | 36 => PREFERRED,
        // SPF has that of TXT.
        rtype::TXT | 99 => &[Strings],
        rtype::RP => &[Mailbox, Name("a name with TXT records, or a dot")],
        rtype::LOC => &[Location],
        rtype::SRV => &[
            U16("a priority (0 to 65535)"),
            U16("a weight (0 to 65535)"),
            U16("a port (0 to 65535)"),
            Name("a target host"),
        ],
        rtype::NAPTR => &[
            U16("an order (0 to 65535)"),
            U16("a preference (0 to 65535)"),
            String("flags in quotes"),
            String("services in quotes"),
            String("a regular expression in quotes"),
            Name("a replacement, or a dot"),
        ],
        rtype::DS | rtype::CDS => SIGNER,
        rtype::DNSKEY | rtype::CDNSKEY => KEY,
        rtype::SSHFP => {
            &[U8("a key algorithm (1 to 6)"), U8("a fingerprint type (1 or 2)"), Hex("a fingerprint")]
        }
        rtype::TLSA | rtype::SMIMEA => ASSOCIATION,
        rtype::OPENPGPKEY => &[Base64("a public key")],
        rtype::ZONEMD => &[
            U32("a serial number (0 to 4294967295)"),
            U8("a scheme (1)"),
            U8("a hash algorithm (1 or 2)"),
            Hex("a digest"),
        ],
        rtype::SVCB | rtype::HTTPS => BINDING,
        rtype::URI => &[
            U16("a priority (0 to 65535)"),
            U16("a weight (0 to 65535)"),
            Text { what: "a URI in quotes", is_empty_allowed: false },
        ],
        rtype::CAA => {
            &[U8("flags (0 or 128)"), Tag, Text { what: "a value in quotes", is_empty_allowed: true }]
        }
        _ => return None,
    })
}

/// The octets of each field; `None` if `wire` is not of this form.
pub(super) fn split<'w>(form: &[Field], wire: &'w [u8]) -> Option<Vec<&'w [u8]>> {
    let mut rest = wire;
    let mut parts = Vec::with_capacity(form.len());
    for field in form {
        let (part, after) = rest.split_at_checked(len_of(*field, rest)?)?;
        parts.push(part);
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

/// Octets of a field at the start of `rest`.
fn len_of(field: Field, rest: &[u8]) -> Option<usize> {
    let whole = |is_sound: bool| is_sound.then_some(rest.len());
    match field {
        U8(_) | Algorithm => Some(1),
        Protocol => (rest.first() == Some(&3)).then_some(1),
        U16(_) => Some(2),
        U32(_) | Seconds(_) | V4 => Some(4),
        V6 => Some(16),
        Name(_) | Mailbox => name::wire_len(rest),
        String(_) => rest.first().map(|&len| usize::from(len) + 1),
        Strings => whole(!rest.is_empty() && is_strings(rest)),
        Hex(_) | Base64(_) => whole(!rest.is_empty()),
        Tag => {
            let (&len, after) = rest.split_first()?;
            let tag = after.get(..usize::from(len))?;
            is_tag(tag).then_some(tag.len() + 1)
        }
        Text { is_empty_allowed, .. } => whole(is_empty_allowed || !rest.is_empty()),
        Location => whole(loc::is_well_formed(rest)),
        SvcParams => whole(svcb::check_wire(rest).is_ok()),
    }
}

/// RFC 8659 4.1: 1 to 15 letters and digits.
pub(super) fn is_tag(tag: &[u8]) -> bool {
    matches!(tag.len(), 1..=15) && tag.iter().all(u8::is_ascii_alphanumeric)
}

fn is_strings(mut wire: &[u8]) -> bool {
    while let Some((&len, rest)) = wire.split_first() {
        let Some(after) = rest.get(usize::from(len)..) else { return false };
        wire = after;
    }
    true
}

/// Whether `wire` has the shape of its type; true for types whose shape is not known here.
pub fn is_well_formed(rtype: u16, wire: &[u8]) -> bool {
    of(rtype).is_none_or(|form| split(form, wire).is_some())
}

/// DNSSEC algorithms in use (RFC 8624 3.1) by mnemonic.
const ALGORITHMS: [(&str, u8); 9] = [
    ("RSASHA1", 5),
    ("NSEC3RSASHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("PRIVATEDNS", 253),
];

/// By number or mnemonic.
pub(super) fn algorithm(text: &str) -> Option<u8> {
    let by_mnemonic = || ALGORITHMS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    text.parse().ok().or_else(|| by_mnemonic().map(|(_, number)| *number))
}
