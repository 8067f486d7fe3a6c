//! Entries to records: directives, and the owner, TTL, class and type that lead every record.
//!
//! | left out | taken from |
//! |---|---|
//! | owner | the record before |
//! | TTL | `$TTL` (RFC 2308 4), else the last TTL stated (RFC 1035 5.1) |
//! | class | IN, the only one served |
//!
//! A record that cannot be read costs itself; the ones that borrow its owner are left out silently,
//! since their owner is unknown and the cause is already shown. After `$INCLUDE` origin and owner are
//! what they were before it (RFC 1035 5.1); a `$TTL` in the included text stays, as with other servers.

use super::codes;
use super::generate::{Range, Template};
use super::include::{self, Budget, Includes};
use super::name::Name;
use super::rdata::{self, FieldError};
use super::report::{Place, Report};
use super::rtype;
use super::token::{Entries, Entry, Token};
use crate::base::diagnostic::did_you_mean;
use std::sync::Arc;

/// One record, with the place of its owner (or, without one, of its first word).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub owner: Name,
    pub rtype: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
    pub place: Place,
}

/// The text to begin with.
pub(super) struct Start<'a> {
    pub path: &'a str,
    pub text: Arc<str>,
    /// Completes relative names until `$ORIGIN`.
    pub origin: Option<Name>,
    /// What includes may not lead out of; empty, or with a slash at its end.
    pub folder: &'a str,
    pub includes: Includes<'a>,
}

/// Used after the missing TTL has been reported.
const TTL_AFTER_ERROR: u32 = 3_600;

/// Types a zone could hold in principle, which signing makes anew.
const SIGNED: [u16; 4] = [rtype::RRSIG, rtype::NSEC, rtype::NSEC3, rtype::NSEC3PARAM];

/// Directives, for suggestions.
const DIRECTIVES: [&str; 4] = ["$ORIGIN", "$TTL", "$INCLUDE", "$GENERATE"];

/// Reads all records; mistakes go to `report`.
pub(super) fn read(start: Start<'_>, report: &mut Report) -> Vec<Record> {
    let mut reader = Reader {
        origin: start.origin,
        default_ttl: None,
        last_ttl: None,
        last_owner: LastOwner::None,
        folder: start.folder,
        includes: start.includes,
        open: vec![start.path.to_owned()],
        source: report.add_source(start.path, &start.text, None),
        budget: Budget::new(),
        records: Vec::new(),
        report,
    };
    reader.read(&start.text);
    reader.records
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

struct Reader<'r> {
    origin: Option<Name>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    last_owner: LastOwner,
    folder: &'r str,
    includes: Includes<'r>,
    /// Paths of the texts being read, the outermost first.
    open: Vec<String>,
    /// The innermost one's position in the report.
    source: usize,
    budget: Budget,
    records: Vec<Record>,
    report: &'r mut Report,
}

/// Type, TTL and where the data starts.
struct Head<'t> {
    rtype: u16,
    rtype_token: Token<'t>,
    ttl: Option<u32>,
    data_at: usize,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        for entry in Entries::new(text) {
            match entry {
                Ok(entry) if is_directive(&entry) => {
                    if let Err(error) = self.directive(&entry.tokens) {
                        self.refuse(error);
                    }
                }
                Ok(entry) => {
                    let record = self.record(&entry);
                    self.records.extend(record);
                }
                Err(error) => {
                    let place = self.place(error.offset, 1);
                    self.report.error(codes::SYNTAX, place, error.message, error.help);
                }
            }
        }
    }

    fn place(&self, offset: usize, len: usize) -> Place {
        Place { source: self.source, offset, len }
    }

    fn place_of(&self, token: Token<'_>) -> Place {
        self.place(token.offset, token.text.len())
    }

    fn refuse(&mut self, error: FieldError) {
        let place = self.place(error.offset, error.len);
        self.report.error(error.code, place, error.message, error.help);
    }

    fn directive(&mut self, tokens: &[Token<'_>]) -> Result<(), FieldError> {
        let word = tokens[0];
        let argument = || {
            let help = format!("add it after {}", word.text);
            tokens.get(1).copied().ok_or_else(|| FieldError::at(word, "the directive has no value", help))
        };
        let values = match word.text.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                self.origin = Some(self.name_of(argument()?)?);
                1
            }
            "$TTL" => {
                let token = argument()?;
                let message = || format!("`{}` is not a TTL", token.text);
                let ttl = rdata::parse_ttl(token.text);
                self.default_ttl =
                    Some(ttl.ok_or_else(|| FieldError::at(token, message(), "write 3600 or 1h"))?);
                1
            }
            "$INCLUDE" => {
                let origin = tokens.get(2).map(|token| self.name_of(*token)).transpose()?;
                self.include(argument()?, origin)?;
                2
            }
            "$GENERATE" => return self.generate(argument()?, tokens),
            other => {
                let known = did_you_mean(other, DIRECTIVES).unwrap_or("$ORIGIN or $TTL");
                let message = format!("unknown directive {other}");
                return Err(FieldError::at(word, message, format!("did you mean {known}?")));
            }
        };
        match tokens.get(values + 1) {
            Some(extra) => {
                Err(FieldError::at(*extra, "the directive is complete before this", "remove this"))
            }
            None => Ok(()),
        }
    }

    fn name_of(&self, token: Token<'_>) -> Result<Name, FieldError> {
        Name::parse_relative(token.text, self.origin.as_ref())
            .map_err(|error| FieldError::at(token, error.to_string(), "write a domain name"))
    }

    fn include(&mut self, token: Token<'_>, origin: Option<Name>) -> Result<(), FieldError> {
        let refuse = |message: String, help: &str| FieldError::coded(codes::INCLUDE, token, message, help);
        let from = self.open.last().map_or("", String::as_str);
        let path = include::resolve(self.folder, from, token.text).ok_or_else(|| {
            let message = format!("`{}` leads out of the folder of zones", token.text);
            refuse(message, "name a file below it, relative to this one")
        })?;
        if self.open.contains(&path) {
            return Err(refuse(format!("`{path}` includes itself"), "remove one of the includes"));
        }
        if self.open.len() > include::MAX_DEPTH {
            let message = format!("more than {} includes within each other", include::MAX_DEPTH);
            return Err(refuse(message, "include the file from one further out"));
        }
        let text = (self.includes)(&path).map_err(|why| refuse(why, "correct the name, or add the file"))?;
        self.budget.take_include(text.len()).ok_or_else(|| too_large(token))?;
        let place = self.place_of(token);
        let source = self.report.add_source(&path, &text, Some(place));
        let outer_source = std::mem::replace(&mut self.source, source);
        let outer_origin = self.origin.clone();
        let outer_owner = std::mem::replace(&mut self.last_owner, LastOwner::None);
        self.origin = origin.or_else(|| outer_origin.clone());
        self.open.push(path);
        self.read(&text);
        self.open.pop();
        (self.source, self.origin, self.last_owner) = (outer_source, outer_origin, outer_owner);
        Ok(())
    }

    /// `$GENERATE range owner [ttl] [class] type data`.
    fn generate(&mut self, range: Token<'_>, tokens: &[Token<'_>]) -> Result<(), FieldError> {
        let numbers = Range::parse(range)?.numbers();
        let owner = *tokens.get(2).ok_or_else(|| {
            FieldError::at(range, "the directive ends where an owner is expected", "add: owner type data")
        })?;
        let rest = &tokens[3..];
        let head = self.head(owner, rest)?;
        let owner = Template::parse(owner)?;
        let data = &rest[head.data_at..];
        let data = data.iter().map(|token| Template::parse(*token)).collect::<Result<Vec<_>, _>>()?;
        let ttl = self.ttl(head.ttl, self.place_of(tokens[0]));
        for number in numbers {
            let (owner, rdata) = self.generate_one(number, &owner, &head, &data).map_err(|error| {
                let template = data.iter().map(|it| it.token).find(|token| token.offset == error.offset);
                let len = template.map_or(error.len, |token| token.text.len());
                FieldError { message: format!("for {number}: {}", error.message), len, ..error }
            })?;
            let place = self.place_of(tokens[0]);
            self.records.push(Record { owner, rtype: head.rtype, ttl, rdata, place });
        }
        Ok(())
    }

    fn generate_one(
        &mut self,
        number: u32,
        owner: &Template<'_>,
        head: &Head<'_>,
        data: &[Template<'_>],
    ) -> Result<(Name, Vec<u8>), FieldError> {
        let render = |template: &Template<'_>| {
            let help = "raise the offset, or begin the range later";
            let negative = || FieldError::at(template.token, "the offset makes it negative", help);
            template.render(number).ok_or_else(negative)
        };
        let name = render(owner)?;
        let words = data.iter().map(render).collect::<Result<Vec<_>, _>>()?;
        let octets = name.len() + words.iter().map(String::len).sum::<usize>();
        self.budget.take_generated(octets).ok_or_else(|| too_large(owner.token))?;
        let name = Name::parse_relative(&name, self.origin.as_ref())
            .map_err(|error| FieldError::at(owner.token, error.to_string(), "write a domain name"))?;
        let templates = data.iter().map(|template| template.token);
        let mut tokens: Vec<Token<'_>> =
            words.iter().zip(templates).map(|(text, token)| Token { text, ..token }).collect();
        // BIND takes all data as one string, which it then reads as a record's fields.
        if let &[Token { text, offset, quoted: true, .. }] = &tokens[..]
            && let Some(entry) = Entries::new(text).next()
        {
            let whole = tokens[0];
            let entry = entry.map_err(|error| FieldError::at(whole, error.message, error.help))?;
            tokens = entry.tokens.into_iter().map(|token| Token { offset, ..token }).collect();
        }
        let data = rdata::parse(head.rtype, head.rtype_token, &tokens, self.origin.as_ref())?;
        Ok((name, data))
    }

    fn record(&mut self, entry: &Entry<'_>) -> Option<Record> {
        let first = entry.tokens[0];
        let (owner, rest) = if entry.indented {
            (self.borrowed_owner(first)?, &entry.tokens[..])
        } else {
            (self.own_owner(first)?, &entry.tokens[1..])
        };
        let parsed = self.head(first, rest).and_then(|head| {
            let data = &rest[head.data_at..];
            rdata::parse(head.rtype, head.rtype_token, data, self.origin.as_ref()).map(|data| (head, data))
        });
        let (head, rdata) = parsed.map_err(|error| self.refuse(error)).ok()?;
        let place = self.place_of(first);
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
                self.report.error(codes::SYNTAX, self.place_of(first), message, help);
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
                self.report.error(codes::SYNTAX, self.place_of(first), error.to_string(), help);
                None
            }
        }
    }

    /// TTL and class in any order, then the type.
    fn head<'t>(&self, first: Token<'t>, tokens: &[Token<'t>]) -> Result<Head<'t>, FieldError> {
        let mut ttl = None;
        let mut has_class = false;
        for (index, &token) in tokens.iter().enumerate() {
            let class = class_of(token.text);
            if let Some(number) = rdata::parse_ttl(token.text).filter(|_| ttl.is_none()) {
                ttl = Some(number);
            } else if class == Some(CLASS_IN) && !has_class {
                has_class = true;
            } else if class.is_some_and(|class| class != CLASS_IN) {
                let message = format!("class {} is not served", token.text);
                return Err(FieldError::coded(
                    codes::UNSUPPORTED,
                    token,
                    message,
                    "write IN, or leave it out",
                ));
            } else {
                let rtype = known_type(token)?;
                return Ok(Head { rtype, rtype_token: token, ttl, data_at: index + 1 });
            }
        }
        let last = tokens.last().copied().unwrap_or(first);
        Err(FieldError::at(last, "the record has no type", "write: owner, TTL, type, data"))
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

const CLASS_IN: u16 = 1;

/// By mnemonic or as `CLASSnnn` (RFC 3597 5).
fn class_of(text: &str) -> Option<u16> {
    let known = [("IN", CLASS_IN), ("CS", 2), ("CH", 3), ("HS", 4)];
    let by_mnemonic = known.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    by_mnemonic.map(|(_, class)| class).or_else(|| {
        let (word, digits) = text.split_at_checked(5)?;
        if word.eq_ignore_ascii_case("CLASS") { digits.parse().ok() } else { None }
    })
}

fn too_large(token: Token<'_>) -> FieldError {
    let message = format!(
        "the zone has more than {} generated records, {} includes or {} MiB of either",
        include::MAX_GENERATED,
        include::MAX_INCLUDES,
        include::MAX_ADDED >> 20
    );
    FieldError::coded(codes::TOO_LARGE, token, message, "make the range smaller, or split the zone")
}

fn known_type(token: Token<'_>) -> Result<u16, FieldError> {
    let Some(rtype) = rtype::parse(token.text).filter(|_| !token.quoted) else {
        let upper = token.text.to_ascii_uppercase();
        let known = [
            "A",
            "AAAA",
            "CAA",
            "CDNSKEY",
            "CDS",
            "CNAME",
            "DNAME",
            "DNSKEY",
            "DS",
            "HINFO",
            "HTTPS",
            "LOC",
            "MX",
            "NAPTR",
            "NS",
            "OPENPGPKEY",
            "PTR",
            "RP",
            "SMIMEA",
            "SOA",
            "SRV",
            "SSHFP",
            "SVCB",
            "TLSA",
            "TXT",
            "URI",
        ];
        let help = match did_you_mean(&upper, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "write the type's name, or its number as TYPE65280".to_owned(),
        };
        return Err(FieldError::at(token, format!("`{}` is no record type", token.text), help));
    };
    let mnemonic = rtype::text(rtype);
    if rtype::is_meta(rtype) {
        let message = format!("{mnemonic} is a type of queries, not of data");
        return Err(FieldError::coded(codes::UNSUPPORTED, token, message, "remove the record"));
    }
    if SIGNED.contains(&rtype) {
        let message = format!("{mnemonic} records are not read from files");
        let help = "leave signatures and their proofs out; a pre-signed zone is not served";
        return Err(FieldError::coded(codes::UNSUPPORTED, token, message, help));
    }
    Ok(rtype)
}
