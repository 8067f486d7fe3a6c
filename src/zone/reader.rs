//! Entries to records: directives, and the owner, TTL, class and type that lead every record.
//!
//! | left out | taken from |
//! |---|---|
//! | owner | the record before |
//! | TTL | `$TTL` (RFC 2308 4), else the last TTL stated (RFC 1035 5.1) |
//! | class | IN, the only one served |
//!
//! A record that cannot be read costs itself; the ones that borrow its owner are left out silently,
//! since their owner is unknown and the cause is already shown.

use super::codes;
use super::name::Name;
use super::rdata::{self, FieldError};
use super::report::{Place, Report};
use super::rtype;
use super::token::{Entries, Entry, Token};
use crate::base::diagnostic::did_you_mean;

/// One record, with the place of its owner (or, without one, of its first word).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub owner: Name,
    pub rtype: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
    pub place: Place,
}

/// Used after the missing TTL has been reported.
const TTL_AFTER_ERROR: u32 = 3_600;

/// Types a zone could hold in principle, with the reason they are refused.
const REFUSED: &[(u16, &str)] = &[
    (rtype::DNAME, "rhumb does not synthesise from DNAME; write a CNAME for each name"),
    (rtype::RRSIG, "leave DNSSEC records out; a pre-signed zone is not served"),
    (rtype::NSEC, "leave DNSSEC records out; a pre-signed zone is not served"),
    (rtype::DNSKEY, "leave DNSSEC records out; a pre-signed zone is not served"),
    (rtype::NSEC3, "leave DNSSEC records out; a pre-signed zone is not served"),
    (rtype::NSEC3PARAM, "leave DNSSEC records out; a pre-signed zone is not served"),
];

/// Reads all records; mistakes go to `report`. `origin` completes relative names until `$ORIGIN`.
pub(super) fn read(text: &str, origin: Option<Name>, report: &mut Report<'_>) -> Vec<Record> {
    let mut reader =
        Reader { origin, default_ttl: None, last_ttl: None, last_owner: LastOwner::None, report };
    let mut records = Vec::new();
    for entry in Entries::new(text) {
        match entry {
            Ok(entry) if is_directive(&entry) => reader.directive(&entry.tokens),
            Ok(entry) => records.extend(reader.record(&entry)),
            Err(error) => reader.report.error(codes::SYNTAX, (error.offset, 1), error.message, error.help),
        }
    }
    records
}

fn is_directive(entry: &Entry<'_>) -> bool {
    !entry.indented && entry.tokens.first().is_some_and(|first| !first.quoted && first.text.starts_with('$'))
}

/// Whose records a line without owner continues.
enum LastOwner {
    None,
    /// It could not be read.
    Broken,
    Name(Name),
}

struct Reader<'r, 't> {
    origin: Option<Name>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    last_owner: LastOwner,
    report: &'r mut Report<'t>,
}

/// Type, TTL and where the data starts.
struct Head<'t> {
    rtype: u16,
    rtype_token: Token<'t>,
    ttl: Option<u32>,
    data_at: usize,
}

impl Reader<'_, '_> {
    fn directive(&mut self, tokens: &[Token<'_>]) {
        if let Err((code, error)) = self.try_directive(tokens) {
            self.report.error(code, (error.offset, error.len), error.message, error.help);
        }
    }

    fn try_directive(&mut self, tokens: &[Token<'_>]) -> Result<(), (&'static str, FieldError)> {
        let word = tokens[0];
        let syntax = |error| (codes::SYNTAX, error);
        let argument = || {
            let help = format!("add it after {}", word.text);
            tokens
                .get(1)
                .copied()
                .ok_or_else(|| syntax(FieldError::at(word, "the directive has no value", help)))
        };
        match word.text.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                let token = argument()?;
                let origin = Name::parse_relative(token.text, self.origin.as_ref()).map_err(|error| {
                    syntax(FieldError::at(token, error.to_string(), "write a domain name"))
                })?;
                self.origin = Some(origin);
            }
            "$TTL" => {
                let token = argument()?;
                let ttl = rdata::parse_ttl(token.text).ok_or_else(|| {
                    syntax(FieldError::at(
                        token,
                        format!("`{}` is not a TTL", token.text),
                        "write 3600 or 1h",
                    ))
                })?;
                self.default_ttl = Some(ttl);
            }
            unsupported @ ("$INCLUDE" | "$GENERATE") => {
                let message = format!("{unsupported} is not supported");
                let help = "write the records out in this file";
                return Err((codes::UNSUPPORTED, FieldError::at(word, message, help)));
            }
            other => {
                let known = did_you_mean(other, ["$ORIGIN", "$TTL"]).unwrap_or("$ORIGIN or $TTL");
                let message = format!("unknown directive {other}");
                return Err(syntax(FieldError::at(word, message, format!("did you mean {known}?"))));
            }
        }
        match tokens.get(2) {
            Some(extra) => Err(syntax(FieldError::at(*extra, "the directive has one value", "remove this"))),
            None => Ok(()),
        }
    }

    fn record(&mut self, entry: &Entry<'_>) -> Option<Record> {
        let first = entry.tokens[0];
        let (owner, rest) = if entry.indented {
            (self.borrowed_owner(first)?, &entry.tokens[..])
        } else {
            (self.own_owner(first)?, &entry.tokens[1..])
        };
        let parsed = self.head(first, rest).and_then(|head| {
            rdata::parse(head.rtype, head.rtype_token, &rest[head.data_at..], self.origin.as_ref())
                .map(|data| (head, data))
                .map_err(|error| (codes::SYNTAX, error))
        });
        let (head, rdata) = match parsed {
            Ok(parsed) => parsed,
            Err((code, error)) => {
                self.report.error(code, (error.offset, error.len), error.message, error.help);
                return None;
            }
        };
        let place = (first.offset, first.text.len());
        let ttl = self.ttl(head.ttl, place);
        Some(Record { owner, rtype: head.rtype, ttl, rdata, place })
    }

    fn borrowed_owner(&mut self, first: Token<'_>) -> Option<Name> {
        match &self.last_owner {
            LastOwner::Name(name) => Some(name.clone()),
            LastOwner::Broken => None,
            LastOwner::None => {
                let help = "begin the line with a name, or with @ for the origin";
                let message = "the first record of a file has no owner to borrow";
                self.report.error(codes::SYNTAX, (first.offset, first.text.len()), message, help);
                self.last_owner = LastOwner::Broken;
                None
            }
        }
    }

    fn own_owner(&mut self, first: Token<'_>) -> Option<Name> {
        match Name::parse_relative(first.text, self.origin.as_ref()) {
            Ok(name) => {
                self.last_owner = LastOwner::Name(name.clone());
                Some(name)
            }
            Err(error) => {
                self.last_owner = LastOwner::Broken;
                let help = "a line begins with the record's owner; to continue the owner before, indent it";
                self.report.error(codes::SYNTAX, (first.offset, first.text.len()), error.to_string(), help);
                None
            }
        }
    }

    /// TTL and class in any order, then the type.
    fn head<'t>(
        &self,
        first: Token<'t>,
        tokens: &[Token<'t>],
    ) -> Result<Head<'t>, (&'static str, FieldError)> {
        let mut ttl = None;
        let mut has_class = false;
        for (index, &token) in tokens.iter().enumerate() {
            let class = class_of(token.text);
            if let Some(number) = rdata::parse_ttl(token.text).filter(|_| ttl.is_none()) {
                ttl = Some(number);
            } else if class == Some("IN") && !has_class {
                has_class = true;
            } else if let Some(class) = class.filter(|class| *class != "IN") {
                let message = format!("class {class} is not served");
                return Err((
                    codes::UNSUPPORTED,
                    FieldError::at(token, message, "write IN, or leave it out"),
                ));
            } else {
                let rtype = known_type(token)?;
                return Ok(Head { rtype, rtype_token: token, ttl, data_at: index + 1 });
            }
        }
        let last = tokens.last().copied().unwrap_or(first);
        let error = FieldError::at(last, "the record has no type", "write: owner, TTL, type, data");
        Err((codes::SYNTAX, error))
    }

    fn ttl(&mut self, stated: Option<u32>, place: Place) -> u32 {
        if stated.is_some() {
            self.last_ttl = stated;
        }
        stated.or(self.default_ttl).or(self.last_ttl).unwrap_or_else(|| {
            let help = "begin the file with a default: $TTL 3600";
            self.report.error(codes::NO_TTL, place, "this record has no TTL and none is set before it", help);
            self.last_ttl = Some(TTL_AFTER_ERROR);
            TTL_AFTER_ERROR
        })
    }
}

fn class_of(text: &str) -> Option<&'static str> {
    ["IN", "CH", "HS", "CS"].into_iter().find(|class| class.eq_ignore_ascii_case(text))
}

fn known_type(token: Token<'_>) -> Result<u16, (&'static str, FieldError)> {
    let Some(rtype) = rtype::parse(token.text).filter(|_| !token.quoted) else {
        let upper = token.text.to_ascii_uppercase();
        let known =
            ["A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TLSA", "TXT"];
        let help = match did_you_mean(&upper, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "write the type's name, or its number as TYPE65280".to_owned(),
        };
        let message = format!("`{}` is no record type", token.text);
        return Err((codes::SYNTAX, FieldError::at(token, message, help)));
    };
    let mnemonic = rtype::text(rtype);
    if rtype::is_meta(rtype) {
        let error = FieldError::at(
            token,
            format!("{mnemonic} is a type of queries, not of data"),
            "remove the record",
        );
        return Err((codes::UNSUPPORTED, error));
    }
    match REFUSED.iter().find(|(refused, _)| *refused == rtype) {
        Some((_, help)) => Err((
            codes::UNSUPPORTED,
            FieldError::at(token, format!("{mnemonic} records are not served"), *help),
        )),
        None => Ok(rtype),
    }
}
