//! Record data: presentation form to uncompressed wire form, one field at a time.
//!
//! [`forms`] says which fields a type has; here each kind of field is read, and a mistake is shown at
//! its field. Times may have units (`1h30m`). `\# len hex` (RFC 3597 5) works for every type and is
//! checked against the form of the known ones, because the query path relies on it.

use super::codes;
use super::forms::{self, Field};
use super::name::{self, Name};
use super::token::Token;
use super::{loc, rtype, svcb};
use crate::base::diagnostic::did_you_mean;
use domain::utils::base64;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    pub code: &'static str,
    pub offset: usize,
    pub len: usize,
    pub message: String,
    pub help: String,
}

impl FieldError {
    pub fn at(token: Token<'_>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::coded(codes::SYNTAX, token, message, help)
    }

    pub fn coded(
        code: &'static str,
        token: Token<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (offset, len) = (token.offset, token.text.len());
        Self { code, offset, len, message: message.into(), help: help.into() }
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
    let Some(form) = forms::of(rtype) else {
        let first = tokens.first().copied().unwrap_or(rtype_token);
        let message = format!("{} records have no form of their own here", rtype::text(rtype));
        return Err(FieldError::at(first, message, "write `\\#`, the length, and hexadecimal digits"));
    };
    for field in form {
        fields.field(*field)?;
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
    fn field(&mut self, field: Field) -> Result<(), FieldError> {
        match field {
            Field::U8(what) => self.parsed(what, |text| text.parse::<u8>().ok().map(u8::to_be_bytes)),
            Field::U16(what) => self.parsed(what, |text| text.parse::<u16>().ok().map(u16::to_be_bytes)),
            Field::U32(what) => self.parsed(what, |text| text.parse::<u32>().ok().map(u32::to_be_bytes)),
            Field::Seconds(what) => {
                self.parsed(&format!("{what} (3600, 1h)"), |text| parse_ttl(text).map(u32::to_be_bytes))
            }
            Field::V4 => self.parsed("an IPv4 address such as 192.0.2.1", |text| {
                text.parse::<Ipv4Addr>().ok().map(|address| address.octets())
            }),
            Field::V6 => self.parsed("an IPv6 address such as 2001:db8::1", |text| {
                text.parse::<Ipv6Addr>().ok().map(|address| address.octets())
            }),
            Field::Algorithm => self.parsed("an algorithm (13, ECDSAP256SHA256)", |text| {
                forms::algorithm(text).map(|number| [number])
            }),
            Field::Protocol => self.parsed("the protocol, always 3", |text| (text == "3").then_some([3])),
            Field::Name(what) => self.name(what),
            Field::Mailbox => self.mailbox(),
            Field::String(what) => self.string(what),
            Field::Strings => self.strings(),
            Field::Hex(what) => self.hex(what),
            Field::Base64(what) => self.base64(what),
            Field::Tag => self.tag(),
            Field::Text { what, is_empty_allowed } => self.text(what, is_empty_allowed),
            Field::Location => self.location(),
            Field::SvcParams => self.svc_params(),
        }
    }

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

    /// A field of fixed length in one word.
    fn parsed<const LEN: usize>(
        &mut self,
        what: &str,
        octets: impl Fn(&str) -> Option<[u8; LEN]>,
    ) -> Result<(), FieldError> {
        let token = self.take(what)?;
        self.wire.extend_from_slice(&octets(token.text).ok_or_else(|| not_a(token, what))?);
        Ok(())
    }

    fn name(&mut self, what: &str) -> Result<(), FieldError> {
        let token = self.take(what)?;
        let wire = name::wire_of_text(token.text, self.origin)
            .map_err(|error| FieldError::at(token, error.to_string(), format!("write {what}")))?;
        self.wire.extend_from_slice(&wire);
        Ok(())
    }

    fn mailbox(&mut self) -> Result<(), FieldError> {
        let address = self.tokens.first().filter(|token| token.text.len() > 1 && !token.text.contains("\\@"));
        if let Some((token, (user, host))) =
            address.and_then(|token| Some((token, token.text.split_once('@')?)))
        {
            let dotted = format!("{}.{host}", user.replace('.', r"\."));
            return Err(FieldError::at(*token, "a mailbox is written as a name", format!("write {dotted}")));
        }
        self.name("the mailbox of the person responsible, as a name")
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

    /// RFC 8659 4.1.1.
    fn tag(&mut self) -> Result<(), FieldError> {
        let tag = self.take("a tag such as issue")?;
        if !forms::is_tag(tag.text.as_bytes()) {
            return Err(not_a(tag, "a tag such as issue, issuewild or iodef"));
        }
        self.wire.push(u8::try_from(tag.text.len()).unwrap_or(0));
        self.wire.extend_from_slice(tag.text.as_bytes());
        Ok(())
    }

    fn text(&mut self, what: &str, is_empty_allowed: bool) -> Result<(), FieldError> {
        let token = self.take(what)?;
        if token.text.is_empty() && !is_empty_allowed {
            return Err(not_a(token, what));
        }
        self.wire.extend_from_slice(&octets_of(token)?);
        Ok(())
    }

    fn hex(&mut self, what: &str) -> Result<(), FieldError> {
        self.take(what)?;
        let first = self.last;
        let mut digits = Vec::new();
        for token in std::iter::once(first).chain(std::mem::take(&mut self.tokens).iter().copied()) {
            for digit in token.text.chars() {
                let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
                digits.push(value.ok_or_else(|| not_a(token, "hexadecimal digits"))?);
            }
        }
        if digits.is_empty() || !digits.len().is_multiple_of(2) {
            let message = format!("{} hexadecimal digits are no whole octets", digits.len());
            return Err(FieldError::at(first, message, "write two digits for each octet"));
        }
        self.wire.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
        Ok(())
    }

    fn base64(&mut self, what: &str) -> Result<(), FieldError> {
        let first = self.take(what)?;
        let mut text = first.text.to_owned();
        text.extend(std::mem::take(&mut self.tokens).iter().map(|token| token.text));
        let octets = base64::decode::<Vec<u8>>(&text).ok().filter(|octets| !octets.is_empty());
        self.wire.extend(octets.ok_or_else(|| not_a(first, &format!("{what} in base64")))?);
        Ok(())
    }

    fn location(&mut self) -> Result<(), FieldError> {
        self.take("a latitude such as 31 14 0.000 N")?;
        let tokens: Vec<_> = std::iter::once(self.last).chain(self.tokens.iter().copied()).collect();
        let words: Vec<&str> = tokens.iter().map(|token| token.text).collect();
        self.tokens = &[];
        let wire = loc::parse(&words).map_err(|(at, expected)| match tokens.get(at) {
            Some(token) => not_a(*token, expected),
            None => FieldError::at(
                tokens.last().copied().unwrap_or(self.last),
                format!("the record ends where {expected} is expected"),
                format!("add {expected} after it"),
            ),
        })?;
        self.wire.extend_from_slice(&wire);
        Ok(())
    }

    fn svc_params(&mut self) -> Result<(), FieldError> {
        let mut params = svcb::Params::default();
        let place = self.last;
        while let Some((token, rest)) = self.tokens.split_first() {
            self.tokens = rest;
            let (name, value) = match token.text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (token.text, None),
            };
            let mut value = value.map(|text| Token { text, ..*token });
            // `alpn="h2"` reaches us as two tokens.
            if value.is_some_and(|value| value.text.is_empty())
                && let Some((next, after)) = self.tokens.split_first().filter(|(next, _)| next.is_joined)
            {
                value = Some(*next);
                self.tokens = after;
            }
            let octets = value.map(octets_of).transpose()?;
            params.add(name, octets.as_deref()).map_err(|message| {
                let near = did_you_mean(name, svcb::KEYS).filter(|_| svcb::key(name).is_none());
                let help = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => "write parameters as key=value (RFC 9460 2.1)".to_owned(),
                };
                FieldError::coded(codes::SVCB, *token, message, help)
            })?;
        }
        let wire = params.finish().map_err(|message| {
            let help = "give every parameter that another one needs (RFC 9460 8)";
            FieldError::coded(codes::SVCB, place, message, help)
        })?;
        self.wire.extend_from_slice(&wire);
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
        if !forms::is_well_formed(rtype, &self.wire) {
            let message = format!("these octets are no {} record data", rtype::text(rtype));
            return Err(FieldError::at(len_token, message, "write the record in its own form"));
        }
        Ok(self.wire)
    }
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
        reads("SSHFP 4 2 00 ff", &[4, 2, 0, 255]);
        reads("DNAME T", b"\x01T\x01z\x04test\x00");
        reads(
            "NAPTR 1 2 s SIP+D2U \"\" _sip",
            b"\x00\x01\x00\x02\x01s\x07SIP+D2U\x00\x04_sip\x01z\x04test\x00",
        );
        reads("SMIMEA 3 0 0 ABCD", &[3, 0, 0, 0xab, 0xcd]);
        reads("DNSKEY 257 3 ED25519 AAEC Aw==", &[1, 1, 3, 15, 0, 1, 2, 3]);
        reads("CDNSKEY 0 3 0 AA==", &[0, 0, 3, 0, 0]);
        reads("CDS 0 0 0 00", &[0, 0, 0, 0, 0]);
        reads("OPENPGPKEY AAEC", &[0, 1, 2]);
        reads("URI 10 1 \"ftp://a/b\"", b"\x00\x0a\x00\x01ftp://a/b");
        reads("HINFO \"a b\" c", b"\x03a b\x01c");
        reads(r"RP a\.b.c. .", b"\x03a.b\x01c\x00\x00");
        reads("ZONEMD 5 1 1 ab", &[0, 0, 0, 5, 1, 1, 0xab]);
        reads("LOC 0 N 0 W 0m", &[0, 0x12, 0x16, 0x13, 0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0x98, 0x96, 0x80]);
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
            ("TYPE731 ab", "8:2 TYPE731 records have no form of their own here"),
            ("DS 1 13 2 0g", "10:2 `0g` is not hexadecimal digits"),
            ("DS 1 13 2 abc", "10:3 3 hexadecimal digits are no whole octets"),
            ("DS 1 NONE 2 ab", "5:4 `NONE` is not an algorithm (13, ECDSAP256SHA256)"),
            ("DNSKEY 257 2 13 AAAA", "11:1 `2` is not the protocol, always 3"),
            ("DNSKEY 257 3 13 A", "16:1 `A` is not a public key in base64"),
            ("URI 1 1 \"\"", "9:0 `` is not a URI in quotes"),
            (
                "LOC 91 N 1 E 1",
                "4:2 `91` is not a latitude such as 31 14 0.000 N (degrees, minutes, seconds, N or S)",
            ),
            ("LOC 1 N 1 E", "10:1 the record ends where an altitude in metres, such as 4.00m is expected"),
            ("NAPTR 1 1 a b c", "14:1 the record ends where a replacement, or a dot is expected"),
            ("RP me@z.test .", "3:9 a mailbox is written as a name"),
            (r"DNSKEY \# 5 0101020d00", "10:1 these octets are no DNSKEY record data"),
            (r"LOC \# 3 010203", "7:1 these octets are no LOC record data"),
            ("CAA 0 is.sue x", "6:6 `is.sue` is not a tag such as issue, issuewild or iodef"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
        let long = read(&format!("TXT {}", "x".repeat(256))).expect_err("too long");
        assert!(long.contains("256 octets"), "{long}");
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
        fn no_fields_panic_and_what_is_read_prints_and_reads_again(
            rtype in prop::sample::select(vec![
                "A", "NS", "SOA", "TXT", "CAA", "SRV", "DS", "HTTPS", "NAPTR", "TLSA", "LOC", "SSHFP", "OPENPGPKEY",
                "ZONEMD", "CDS", "CSYNC", "RP", "HINFO", "URI", "TYPE9",
            ]),
            fields in prop_oneof!["[ -~é]{0,50}", r"([0-9]{1,2} |[a-f]{2} |N |E |\\# |port=|alpn=|[a-z=,]{2,5} ){0,9}"],
        ) {
            let Ok(wire) = read(&format!("{rtype} {fields}")) else { return Ok(()) };
            let number = rtype::parse(rtype).expect("a type");
            let text = super::super::print::data_text(number, &wire);
            prop_assert_eq!(read(&format!("{rtype} {text}")), Ok(wire), "{}", text);
        }

        #[test]
        fn generic_data_is_held_to_its_form_and_reads_again(
            rtype in prop::sample::select(vec![1_u16, 2, 6, 12, 15, 16, 17, 29, 33, 35, 43, 48, 52, 61, 64, 65, 256, 257]),
            wire in prop::collection::vec(prop_oneof![3 => 0_u8..5, 1 => any::<u8>()], 0..40),
        ) {
            let hex: String = wire.iter().map(|octet| format!("{octet:02x}")).collect();
            let mnemonic = rtype::text(rtype);
            let Ok(read_back) = read(&format!(r"{mnemonic} \# {} {hex}", wire.len())) else { return Ok(()) };
            prop_assert_eq!(&read_back, &wire);
            let text = super::super::print::data_text(rtype, &wire);
            prop_assert_eq!(read(&format!("{mnemonic} {text}")), Ok(wire), "{}", text);
        }
    }
}
