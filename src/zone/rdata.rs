//! Record data: presentation form to uncompressed wire form, one field at a time.
//!
//! The types operators write every day are read here, so that a mistake is shown at its field and
//! timers may have units (`1h30m`). The registry's other types go to the `domain` crate, whose
//! errors are shown at the first field. `\# len hex` (RFC 3597 5) works for every type, and is checked
//! against the shape of the known ones, because the query path relies on it.

use super::name::{self, Name};
use super::rtype;
use super::token::Token;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    pub offset: usize,
    pub len: usize,
    pub message: String,
    pub help: String,
}

impl FieldError {
    pub fn at(token: Token<'_>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { offset: token.offset, len: token.text.len(), message: message.into(), help: help.into() }
    }
}

/// The largest value of a TTL (RFC 2181 8).
pub(super) const MAX_TTL: u32 = i32::MAX as u32;

/// Reads the data of one record. `rtype_token` is where a missing field is shown.
pub(super) fn parse(
    rtype: u16,
    rtype_token: Token<'_>,
    tokens: &[Token<'_>],
    origin: Option<&Name>,
) -> Result<Vec<u8>, FieldError> {
    let mut fields = Fields { tokens, last: rtype_token, origin, wire: Vec::new() };
    if tokens.first().is_some_and(|first| first.text == r"\#" && !first.quoted) {
        return fields.generic(rtype);
    }
    match rtype {
        rtype::A => fields.address::<Ipv4Addr, 4>("an IPv4 address such as 192.0.2.1", |a| a.octets())?,
        rtype::AAAA => {
            fields.address::<Ipv6Addr, 16>("an IPv6 address such as 2001:db8::1", |a| a.octets())?;
        }
        rtype::NS | rtype::CNAME | rtype::PTR => fields.name("a host name")?,
        rtype::MX => {
            fields.u16("a preference (0 to 65535)")?;
            fields.name("a mail host")?;
        }
        rtype::SRV => {
            for what in ["a priority (0 to 65535)", "a weight (0 to 65535)", "a port (0 to 65535)"] {
                fields.u16(what)?;
            }
            fields.name("a target host")?;
        }
        rtype::TXT => fields.strings()?,
        rtype::SOA => fields.soa()?,
        rtype::CAA => fields.caa()?,
        _ => return fields.by_library(rtype),
    }
    fields.finish()
}

/// Seconds, or a sum of units: `1w2d3h4m5s`. Up to [`MAX_TTL`].
pub(super) fn parse_ttl(text: &str) -> Option<u32> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (mut total, mut number, mut has_digits) = (0_u32, 0_u32, false);
    for byte in text.bytes() {
        let unit = match byte.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
                has_digits = true;
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        if !has_digits {
            return None;
        }
        total = total.checked_add(number.checked_mul(unit)?)?;
        (number, has_digits) = (0, false);
    }
    total.checked_add(number).filter(|&ttl| ttl <= MAX_TTL)
}

/// A cursor over the fields of one record, and the wire form so far.
struct Fields<'a, 't> {
    tokens: &'a [Token<'t>],
    /// The field taken last: where a missing one is shown.
    last: Token<'t>,
    origin: Option<&'a Name>,
    wire: Vec<u8>,
}

impl<'t> Fields<'_, 't> {
    fn take(&mut self, what: &str) -> Result<Token<'t>, FieldError> {
        let Some((first, rest)) = self.tokens.split_first() else {
            return Err(FieldError::at(
                self.last,
                format!("the record ends where {what} is expected"),
                format!("add {what} after it"),
            ));
        };
        self.tokens = rest;
        self.last = *first;
        Ok(*first)
    }

    fn finish(self) -> Result<Vec<u8>, FieldError> {
        match self.tokens.first() {
            Some(extra) => Err(FieldError::at(
                *extra,
                "the record is complete before this",
                "remove it, or put it in quotes together with what is before it",
            )),
            None if self.wire.len() > usize::from(u16::MAX) => {
                Err(FieldError::at(self.last, "the record data is longer than 65535 octets", "shorten it"))
            }
            None => Ok(self.wire),
        }
    }

    fn name(&mut self, what: &str) -> Result<(), FieldError> {
        let token = self.take(what)?;
        let wire = name::wire_of_text(token.text, self.origin)
            .map_err(|error| FieldError::at(token, error.to_string(), format!("write {what}")))?;
        self.wire.extend_from_slice(&wire);
        Ok(())
    }

    fn address<A: std::str::FromStr, const LEN: usize>(
        &mut self,
        what: &str,
        octets: impl Fn(A) -> [u8; LEN],
    ) -> Result<(), FieldError> {
        let token = self.take(what)?;
        let address = token.text.parse::<A>().map_err(|_| not_a(token, what))?;
        self.wire.extend_from_slice(&octets(address));
        Ok(())
    }

    fn u16(&mut self, what: &str) -> Result<(), FieldError> {
        let token = self.take(what)?;
        let number = token.text.parse::<u16>().map_err(|_| not_a(token, what))?;
        self.wire.extend_from_slice(&number.to_be_bytes());
        Ok(())
    }

    /// A character-string: up to 255 octets after their length.
    fn string(&mut self, what: &str) -> Result<(), FieldError> {
        let token = self.take(what)?;
        let octets = octets_of(token)?;
        let Ok(len) = u8::try_from(octets.len()) else {
            return Err(FieldError::at(
                token,
                format!("this string has {} octets and one string holds 255", octets.len()),
                "split it into several strings: \"first part\" \"second part\"",
            ));
        };
        self.wire.push(len);
        self.wire.extend_from_slice(&octets);
        Ok(())
    }

    fn strings(&mut self) -> Result<(), FieldError> {
        self.string("a string in quotes")?;
        while !self.tokens.is_empty() {
            self.string("a string in quotes")?;
        }
        Ok(())
    }

    fn soa(&mut self) -> Result<(), FieldError> {
        self.name("the primary server's name")?;
        let mailbox = self.tokens.first().copied();
        if let Some(token) = mailbox.filter(|token| token.text.len() > 1 && token.text.contains('@')) {
            let (user, host) = token.text.split_once('@').unwrap_or((token.text, ""));
            let dotted = format!("{}.{host}", user.replace('.', r"\."));
            return Err(FieldError::at(token, "a mailbox is written as a name", format!("write {dotted}")));
        }
        self.name("the mailbox of the person responsible, as a name")?;
        let serial = self.take("a serial number")?;
        let number =
            serial.text.parse::<u32>().map_err(|_| not_a(serial, "a serial number (0 to 4294967295)"))?;
        self.wire.extend_from_slice(&number.to_be_bytes());
        for what in ["the refresh time", "the retry time", "the expiry time", "the negative answers' TTL"] {
            let token = self.take(what)?;
            let timer = parse_ttl(token.text).ok_or_else(|| not_a(token, &format!("{what} (3600, 1h)")))?;
            self.wire.extend_from_slice(&timer.to_be_bytes());
        }
        Ok(())
    }

    /// RFC 8659 4.1.1.
    fn caa(&mut self) -> Result<(), FieldError> {
        let flags = self.take("flags (0 or 128)")?;
        self.wire.push(flags.text.parse().map_err(|_| not_a(flags, "flags (0 or 128)"))?);
        let tag = self.take("a tag such as issue")?;
        if tag.text.is_empty() || tag.text.len() > 15 || !tag.text.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(not_a(tag, "a tag such as issue, issuewild or iodef"));
        }
        self.wire.push(u8::try_from(tag.text.len()).unwrap_or(0));
        self.wire.extend_from_slice(tag.text.as_bytes());
        let value = self.take("a value in quotes")?;
        self.wire.extend_from_slice(&octets_of(value)?);
        Ok(())
    }

    /// `\# 4 c0000201`, in any number of words (RFC 3597 5).
    fn generic(mut self, rtype: u16) -> Result<Vec<u8>, FieldError> {
        self.take("\\#")?;
        let len_token = self.take("a length in octets")?;
        let len = len_token.text.parse::<u16>().map_err(|_| not_a(len_token, "a length in octets"))?;
        let mut high: Option<u8> = None;
        for token in std::mem::take(&mut self.tokens) {
            for digit in token.text.chars() {
                let Some(value) = digit.to_digit(16).and_then(|value| u8::try_from(value).ok()) else {
                    return Err(not_a(*token, "hexadecimal digits"));
                };
                match high.take() {
                    None => high = Some(value << 4),
                    Some(upper) => self.wire.push(upper | value),
                }
            }
        }
        if high.is_some() || self.wire.len() != usize::from(len) {
            let found = self.wire.len();
            let half = if high.is_some() { " and a half" } else { "" };
            return Err(FieldError::at(
                len_token,
                format!("the length says {len} octets, and {found}{half} follow"),
                "make length and digits agree",
            ));
        }
        if !is_well_formed(rtype, &self.wire) {
            let message = format!("these octets are no {} record data", rtype::text(rtype));
            return Err(FieldError::at(len_token, message, "write the record in its own form"));
        }
        Ok(self.wire)
    }

    /// Hands the record to the `domain` crate, word by word as it was written.
    fn by_library(self, rtype: u16) -> Result<Vec<u8>, FieldError> {
        let first = self.tokens.first().copied().unwrap_or(self.last);
        let mnemonic = rtype::text(rtype);
        let refuse =
            |message: String| FieldError::at(first, message, format!("see the form of {mnemonic} records"));
        if mnemonic.starts_with("TYPE") {
            let message = format!("the data of {mnemonic} is unknown");
            return Err(FieldError::at(
                first,
                message,
                "write it as `\\#`, its length, and hexadecimal digits",
            ));
        }
        let mut text = format!(". 0 IN {mnemonic}");
        for token in self.tokens {
            let quote = if token.quoted { "\"" } else { "" };
            text.extend([" ", quote, token.text, quote]);
        }
        text.push('\n');
        let mut zonefile = Zonefile::from(text.as_str());
        if let Some(origin) = self.origin {
            match origin.to_string().parse() {
                Ok(origin) => zonefile.set_origin(origin),
                Err(_) => return Err(refuse(format!("the origin {origin} cannot be used here"))),
            }
        }
        match zonefile.next_entry() {
            Ok(Some(Entry::Record(record))) => {
                let mut wire = Vec::new();
                record
                    .data()
                    .compose_rdata(&mut wire)
                    .map_err(|_| refuse("the data is too long".to_owned()))?;
                Ok(wire)
            }
            Ok(_) => Err(refuse(format!("the {mnemonic} record is incomplete"))),
            Err(error) => {
                Err(refuse(format!("the {mnemonic} record cannot be read: {}", without_place(&error))))
            }
        }
    }
}

/// The library counts lines of the text we made up; only the reason is of use.
fn without_place(error: &domain::zonefile::inplace::Error) -> String {
    let text = error.to_string();
    text.splitn(3, ':').nth(2).map_or(text.clone(), |reason| reason.trim().to_owned())
}

fn not_a(token: Token<'_>, what: &str) -> FieldError {
    FieldError::at(token, format!("`{}` is not {what}", token.text), format!("write {what}"))
}

/// A string's octets, escapes resolved; characters outside ASCII stand as their UTF-8.
fn octets_of(token: Token<'_>) -> Result<Vec<u8>, FieldError> {
    let mut octets = Vec::with_capacity(token.text.len());
    let mut rest = token.text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            octets.push(byte);
            continue;
        }
        let (octet, used) = name::unescape(rest).ok_or_else(|| {
            FieldError::at(token, "this string has a broken escape", "write `\\\\` for a backslash")
        })?;
        octets.push(octet);
        rest = &rest[used..];
    }
    Ok(octets)
}

/// Whether `wire` has the shape of its type; true for types whose shape is not known here.
fn is_well_formed(rtype: u16, wire: &[u8]) -> bool {
    let is_name = |bytes: &[u8]| name::wire_len(bytes) == Some(bytes.len());
    match rtype {
        rtype::A => wire.len() == 4,
        rtype::AAAA => wire.len() == 16,
        rtype::NS | rtype::CNAME | rtype::PTR => is_name(wire),
        rtype::MX => wire.get(2..).is_some_and(is_name),
        rtype::SRV => wire.get(6..).is_some_and(is_name),
        rtype::TXT => !wire.is_empty() && is_strings(wire),
        rtype::CAA => wire.get(1).is_some_and(|&len| len > 0 && wire.len() >= 2 + usize::from(len)),
        rtype::SOA => is_soa(wire),
        _ => true,
    }
}

fn is_strings(mut wire: &[u8]) -> bool {
    while let Some((&len, rest)) = wire.split_first() {
        let Some(after) = rest.get(usize::from(len)..) else { return false };
        wire = after;
    }
    true
}

fn is_soa(wire: &[u8]) -> bool {
    let after_name = |bytes: &[u8]| name::wire_len(bytes).map(|len| len..bytes.len());
    after_name(wire).and_then(|rest| after_name(&wire[rest]).map(|rest| rest.len())) == Some(20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::token::Entries;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        let entry = Entries::new(text).next().expect("an entry").map_err(|error| error.message.to_owned())?;
        let rtype = rtype::parse(entry.tokens[0].text).expect("a type");
        let origin = Name::parse_text("z.test").expect("a name");
        parse(rtype, entry.tokens[0], &entry.tokens[1..], Some(&origin))
            .map_err(|error| format!("{}:{} {}", error.offset, error.len, error.message))
    }

    fn reads(text: &str, wire: &[u8]) {
        assert_eq!(read(text), Ok(wire.to_vec()), "{text}");
    }

    #[test]
    fn fields_become_wire() {
        reads("A 192.0.2.1", &[192, 0, 2, 1]);
        reads("NS Ns1", b"\x03Ns1\x01z\x04test\x00");
        reads("MX 10 .", &[0, 10, 0]);
        reads("SRV 1 2 443 a.", &[0, 1, 0, 2, 1, 187, 1, b'a', 0]);
        reads(r#"TXT "a;b" c\"\065"#, b"\x03a;b\x03c\"A");
        reads(r#"TXT "" é"#, b"\x00\x02\xc3\xa9");
        reads(r#"CAA 0 issue "ca.test; x=1""#, b"\x00\x05issueca.test; x=1");
        reads(
            "SOA . @ 1 2h 3 1w 5",
            b"\x00\x01z\x04test\x00\0\0\0\x01\0\0\x1c\x20\0\0\0\x03\0\x09\x3a\x80\0\0\0\x05",
        );
        reads(r"TYPE731 \# 3 ab cd (ef)", &[0xab, 0xcd, 0xef]);
        reads(r"A \# 4 C0000201", &[192, 0, 2, 1]);
        reads("DS 1 13 2 00ff", &[0, 1, 13, 2, 0, 255]);
        reads("HTTPS 1 . alpn=h2", &[0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2']);
        reads("SSHFP 4 2 00ff", &[4, 2, 0, 255]);
    }

    #[test]
    fn mistakes_are_shown_at_their_field() {
        for (text, error) in [
            ("A 1.2.3", "2:5 `1.2.3` is not an IPv4 address such as 192.0.2.1"),
            ("A", "0:1 the record ends where an IPv4 address such as 192.0.2.1 is expected"),
            ("A 1.2.3.4 5", "10:1 the record is complete before this"),
            ("MX mail 10", "3:4 `mail` is not a preference (0 to 65535)"),
            ("SOA a me@z.test 1 1 1 1 1", "6:9 a mailbox is written as a name"),
            ("SOA a b 1 1x 1 1 1", "10:2 `1x` is not the refresh time (3600, 1h)"),
            (r"TXT a\999", "4:5 this string has a broken escape"),
            (r"TYPE731 \# 3 abc", "11:1 the length says 3 octets, and 1 and a half follow"),
            (r"MX \# 3 00010a", "6:1 these octets are no MX record data"),
            (r"SOA \# 3 000000", "7:1 these octets are no SOA record data"),
            ("TYPE731 ab", "8:2 the data of TYPE731 is unknown"),
            ("CAA 0 is.sue x", "6:6 `is.sue` is not a tag such as issue, issuewild or iodef"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
        let long = read(&format!("TXT {}", "x".repeat(256))).expect_err("too long");
        assert!(long.contains("256 octets"), "{long}");
        let by_library = read("DS 1 13 2 0g").expect_err("no hexadecimal");
        assert!(by_library.starts_with("3:1 the DS record cannot be read: "), "{by_library}");
    }

    #[test]
    fn ttls_have_units_and_a_bound() {
        for (text, ttl) in [
            ("0", Some(0)),
            ("1h30M", Some(5_400)),
            ("1w", Some(604_800)),
            ("2147483647", Some(MAX_TTL)),
            ("2147483648", None),
            ("9999w", None),
            ("h", None),
            ("1hh", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse_ttl(text), ttl, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_fields_panic(
            rtype in prop::sample::select(vec![
                "A", "NS", "SOA", "TXT", "CAA", "SRV", "DS", "HTTPS", "NAPTR", "TLSA", "LOC", "SSHFP", "OPENPGPKEY",
                "ZONEMD", "CDS", "CSYNC", "RP", "HINFO",
            ]),
            fields in "[ -~é]{0,50}",
        ) {
            let _ = read(&format!("{rtype} {fields}"));
        }
    }
}
