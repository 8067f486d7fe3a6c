//! A zone as canonical text: one record a line, the same text for the same zone, which reads back as
//! the same zone.
//!
//! ```text
//!  rhumb.test. 300 IN SOA ns1.rhumb.test. admin.rhumb.test. 7 3600 600 86400 60
//!  rhumb.test. 300 IN NS ns1.rhumb.test.
//! ```
//!
//! Names are absolute, in canonical order (RFC 4034 6.1); at one name the SOA is first and other types
//! follow by number, their records by data. Nothing is abbreviated, no directive is written.

use super::forms::{self, Field};
use super::name::push_octet;
use super::{Zone, loc, rtype, svcb};
use domain::utils::base64;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

impl Zone {
    /// The zone's canonical text.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (name, rrsets) in &self.names {
            let owner = absolute(name.as_wire());
            let mut rrsets: Vec<_> = rrsets.iter().collect();
            rrsets.sort_by_key(|rrset| (rrset.rtype != rtype::SOA, rrset.rtype));
            for rrset in rrsets {
                let mnemonic = rtype::text(rrset.rtype);
                for data in &rrset.rdata {
                    let _ =
                        writeln!(out, "{owner} {} IN {mnemonic} {}", rrset.ttl, data_text(rrset.rtype, data));
                }
            }
        }
        out
    }
}

/// Record data in presentation form; as `\#` if its type has none here.
pub fn data_text(rtype: u16, data: &[u8]) -> String {
    let fields = forms::of(rtype).and_then(|form| Some((form, forms::split(form, data)?)));
    let Some((form, parts)) = fields else { return generic(data) };
    let mut out = String::new();
    for (field, part) in form.iter().zip(parts) {
        let separator = if out.is_empty() || matches!(field, Field::SvcParams) { "" } else { " " };
        out.push_str(separator);
        print_field(*field, part, &mut out);
    }
    out
}

fn generic(data: &[u8]) -> String {
    let separator = if data.is_empty() { "" } else { " " };
    format!("\\# {}{separator}{}", data.len(), hex(data))
}

fn print_field(field: Field, part: &[u8], out: &mut String) {
    let text = match field {
        Field::U8(_)
        | Field::U16(_)
        | Field::U32(_)
        | Field::Seconds(_)
        | Field::Algorithm
        | Field::Protocol => {
            part.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet)).to_string()
        }
        Field::V4 => part.first_chunk::<4>().map_or_else(String::new, |it| Ipv4Addr::from(*it).to_string()),
        Field::V6 => part.first_chunk::<16>().map_or_else(String::new, |it| Ipv6Addr::from(*it).to_string()),
        Field::Name(_) | Field::Mailbox => absolute(part),
        Field::String(_) => quoted(part.get(1..).unwrap_or_default()),
        Field::Strings => strings(part),
        Field::Hex(_) => hex(part),
        Field::Base64(_) => base64::encode_string(part),
        Field::Tag => String::from_utf8_lossy(part.get(1..).unwrap_or_default()).into_owned(),
        Field::Text { .. } => quoted(part),
        Field::Location => return loc::print(part, out),
        Field::SvcParams => return svcb::print(part, out),
    };
    out.push_str(&text);
}

/// With its final dot, the case kept.
fn absolute(wire: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = wire;
    while let Some((&len, after)) = rest.split_first()
        && len != 0
        && let Some((label, after)) = after.split_at_checked(usize::from(len))
    {
        for &octet in label {
            let _ = push_octet(octet, &mut out);
        }
        out.push('.');
        rest = after;
    }
    if out.is_empty() { ".".to_owned() } else { out }
}

fn strings(mut wire: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some((&len, rest)) = wire.split_first() {
        let (string, after) = rest.split_at(usize::from(len).min(rest.len()));
        words.push(quoted(string));
        wire = after;
    }
    words.join(" ")
}

/// A string in quotes, what is not printable ASCII as `\DDD`.
pub(super) fn quoted(octets: &[u8]) -> String {
    let mut out = String::from("\"");
    for &octet in octets {
        match octet {
            b'"' | b'\\' => out.extend(['\\', char::from(octet)]),
            b' '..=b'~' => out.push(char::from(octet)),
            _ => {
                let _ = write!(out, "\\{octet:03}");
            }
        }
    }
    out.push('"');
    out
}

fn hex(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len() * 2);
    for octet in octets {
        let _ = write!(out, "{octet:02x}");
    }
    out
}
