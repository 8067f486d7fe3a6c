//! Parameters of HTTPS and SVCB records as they are written to their wire form (RFC 9460 7, RFC 9461, RFC
//! 9540), and what they demand of each other.
//!
//! | key | number | here |
//! |---|---|---|
//! | mandatory | 0 | checked against the others |
//! | alpn, no-default-alpn, port, ech, dohpath, ohttp | 1 2 3 5 7 8 | fields of their own |
//! | ipv4hint, ipv6hint | 4 6 | never written: the picked nodes' addresses |
//! | keyN | 9 to 65534 | `keys` |
//!
//! Keys are sorted here, so they always ascend; two ways to write one key are an error.

use crate::base::diagnostic::did_you_mean;
use crate::policy::codes;
use crate::policy::files::records::BindingFile;
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::Slot;
use data_encoding::BASE64;
use std::collections::BTreeMap;

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const ECH: u16 = 5;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
/// Position is the number.
const KEYS: [&str; 9] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
/// Octets of all parameters but hints: several records of them have to fit a message.
const MAX_PARAMS: usize = 512;

/// Keys with their values as on the wire.
#[derive(Debug, Default)]
pub struct Params {
    values: BTreeMap<u16, Vec<u8>>,
    /// Where the first was written.
    first: Option<Place>,
}

impl Params {
    /// Reports what is wrong and goes on without it.
    pub fn of(file: &BindingFile, findings: &mut Findings) -> Self {
        let BindingFile {
            place,
            prefix: _,
            priority: _,
            target: _,
            alpn,
            no_default_alpn,
            port,
            ech,
            dohpath,
            ohttp,
            keys,
            mandatory,
            hints: _,
        } = file;
        let mut params = Self::default();
        if let Some(At { value, place }) = alpn.given() {
            let protocols = value.0.items.iter().map(|item| (&item.value.0, item.place));
            params.put_alpn(protocols.map(|(text, at)| (text.as_str(), at)), *place, findings);
        }
        params.put_flag(NO_DEFAULT_ALPN, no_default_alpn);
        if let Some(At { value, place }) = port.given() {
            params.put(PORT, u16::try_from(value.0).unwrap_or(0).to_be_bytes().to_vec(), *place);
        }
        if let Some(At { value, place }) = ech.given() {
            match BASE64.decode(value.0.as_bytes()) {
                Ok(octets) => params.put(ECH, octets, *place),
                Err(_) => {
                    report(
                        findings,
                        *place,
                        "`ech` is not base64",
                        "copy the text that the TLS server prints",
                    );
                }
            }
        }
        if let Some(At { value, place }) = dohpath.given() {
            if !value.0.starts_with('/') || !has_dns_variable(&value.0) {
                let help = "a path with the variable `dns`, such as /dns-query{?dns} (RFC 9461 5)";
                report(findings, *place, "`dohpath` is not a template of DNS over HTTPS", help);
            }
            params.put(DOHPATH, value.0.as_bytes().to_vec(), *place);
        }
        params.put_flag(OHTTP, ohttp);
        for (name, value) in keys.value().map_or(&[][..], |table| &table.rows) {
            if let Some(value) = value {
                params.put_other(&name.value.0, &value.0, name.place, findings);
            }
        }
        if let Some(At { value, place }) = mandatory.given() {
            let names = value.0.items.iter().map(|item| (item.value.0.as_str(), item.place));
            params.put_mandatory(names, *place, findings);
        }
        params.check_together(*place, alpn.is_absent(), findings);
        params
    }

    /// Ascending.
    pub fn into_list(self) -> Vec<(u16, Vec<u8>)> {
        self.values.into_iter().collect()
    }

    fn put(&mut self, number: u16, value: Vec<u8>, place: Place) {
        self.first.get_or_insert(place);
        self.values.insert(number, value);
    }

    fn put_flag(&mut self, number: u16, slot: &Slot<bool>) {
        if let Some(At { place, .. }) = slot.given().filter(|flag| flag.value) {
            self.put(number, Vec::new(), *place);
        }
    }

    fn put_alpn<'t>(
        &mut self,
        protocols: impl Iterator<Item = (&'t str, Place)>,
        place: Place,
        findings: &mut Findings,
    ) {
        let mut wire = Vec::new();
        for (protocol, at) in protocols {
            match u8::try_from(protocol.len()) {
                Ok(len) => {
                    wire.push(len);
                    wire.extend_from_slice(protocol.as_bytes());
                }
                Err(_) => {
                    report(findings, at, "a protocol of more than 255 bytes", "such as h2 or h3");
                }
            }
        }
        if wire.is_empty() {
            report(findings, place, "`alpn` without a protocol", "list h2, h3 or others, or remove the key");
            return;
        }
        self.put(ALPN, wire, place);
    }

    /// `key667`; what has a name is written by it.
    fn put_other(&mut self, name: &str, value: &str, place: Place, findings: &mut Findings) {
        let by_number = name.strip_prefix("key").and_then(number_of);
        let help = match by_number.map(|number| KEYS.get(usize::from(number))) {
            Some(None) => match unescape(value) {
                Some(octets) => return self.put(by_number.unwrap_or(u16::MAX), octets, place),
                None => "octets are written as \\DDD with three digits, a backslash as \\\\".to_owned(),
            },
            Some(Some(&("ipv4hint" | "ipv6hint"))) => HINTS_HELP.to_owned(),
            Some(Some(known)) => format!("write it as `{}`", known.replace('-', "_")),
            None => "key9 to key65534, without leading zeros".to_owned(),
        };
        report(findings, place, format!("`{name}` is no parameter to be written under `keys`"), help);
    }

    fn put_mandatory<'t>(
        &mut self,
        names: impl Iterator<Item = (&'t str, Place)>,
        place: Place,
        findings: &mut Findings,
    ) {
        let mut wanted: Vec<u16> = Vec::new();
        for (name, at) in names {
            let text = name.replace('_', "-");
            let known = KEYS.iter().position(|known| *known == text).and_then(|at| u16::try_from(at).ok());
            let number = known.or_else(|| name.strip_prefix("key").and_then(number_of));
            let (message, help) = match number {
                Some(MANDATORY) => (format!("`{name}` lists itself"), "leave it out".to_owned()),
                Some(4 | 6) => (format!("`{name}` cannot be mandatory"), HINTS_HELP.to_owned()),
                Some(number) if wanted.contains(&number) => {
                    (format!("`{name}` is mandatory twice"), "a key is listed once".to_owned())
                }
                Some(number) if !self.values.contains_key(&number) => (
                    format!("`{name}` is mandatory and absent"),
                    format!("give `{name}`, or leave it out here"),
                ),
                Some(number) => {
                    wanted.push(number);
                    continue;
                }
                None => {
                    let near = did_you_mean(&text, KEYS).map(|near| format!("did you mean `{near}`?"));
                    let help = near.unwrap_or_else(|| format!("one of: {}, keyN", KEYS[1..].join(", ")));
                    (format!("`{name}` is no parameter"), help)
                }
            };
            report(findings, at, message, help);
        }
        wanted.sort_unstable();
        let wire: Vec<u8> = wanted.into_iter().flat_map(u16::to_be_bytes).collect();
        if !wire.is_empty() {
            self.put(MANDATORY, wire, place);
        }
    }

    fn check_together(&self, place: Place, lacks_alpn: bool, findings: &mut Findings) {
        if self.values.contains_key(&NO_DEFAULT_ALPN) && lacks_alpn {
            let help = "list the protocols under `alpn`, or remove `no_default_alpn` (RFC 9460 7.1.1)";
            report(findings, place, "`no_default_alpn` stands without `alpn`", help);
        }
        let octets: usize = self.values.values().map(|value| value.len() + 4).sum();
        if octets > MAX_PARAMS {
            let message = format!("the parameters have {octets} bytes, more than {MAX_PARAMS}");
            report(findings, place, message, "shorten them: an answer has to fit a message of 1,232 bytes");
        }
    }
}

const HINTS_HELP: &str = "hints are the addresses of the answer and change with it: see `hints`";

/// Whether a binding has hints. `is_followed`: its target is a hostname of the service or each picked node.
pub fn hints(file: &BindingFile, priority: u16, is_followed: bool, findings: &mut Findings) -> bool {
    let is_possible = is_followed && priority > 0;
    match file.hints.given() {
        Some(At { value: true, place }) if !is_possible => {
            let message = "hints for a target whose addresses are not of this answer";
            let help = "remove `hints`, or let the target be a hostname of the service or a template by node";
            report(findings, *place, message, help);
            false
        }
        Some(At { value, .. }) => *value && is_possible,
        None => is_possible,
    }
}

/// RFC 9460 2.4.2.
pub fn check_alias(file: &BindingFile, has_target: bool, params: &Params, findings: &mut Findings) {
    if let Some(place) = params.first {
        let help = "give it a priority of 1 or more, or remove the parameters (RFC 9460 2.4.2)";
        report(findings, place, "an alias (priority 0) has no parameters", help);
    }
    if !has_target && !file.target.is_broken() {
        report(findings, file.place, "an alias (priority 0) for its own name", "give it a `target`");
    }
}

fn report(findings: &mut Findings, place: Place, message: impl Into<String>, help: impl Into<String>) {
    findings.report(&codes::BAD_BINDING, place, message).help(help);
}

/// 0 to 65534, in its one form.
fn number_of(digits: &str) -> Option<u16> {
    let is_canonical = digits == "0" || !digits.starts_with('0');
    let all_digits = digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|&number| is_canonical && all_digits && number != u16::MAX)
}

/// An expression in braces names `dns` (RFC 6570).
fn has_dns_variable(template: &str) -> bool {
    let expressions = template.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let names = |expression: &str| {
        expression.trim_start_matches(['?', '&', '/', '+']).split(',').any(|it| it == "dns")
    };
    expressions.into_iter().any(|(expression, _)| names(expression))
}

/// `\DDD` is an octet, a backslash before anything else stands for that.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        let (&next, after) = rest.split_first()?;
        if next.is_ascii_digit() {
            let (digits, after) = rest.split_first_chunk::<3>()?;
            octets.push(std::str::from_utf8(digits).ok()?.parse().ok()?);
            rest = after;
        } else {
            octets.push(next);
            rest = after;
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_other_keys_have_escapes() {
        assert_eq!(unescape("hello"), Some(b"hello".to_vec()));
        assert_eq!(unescape(r"a\000\255\\b"), Some(b"a\x00\xff\\b".to_vec()));
        for broken in [r"\", r"\25", r"\256", r"\2a5"] {
            assert_eq!(unescape(broken), None, "{broken}");
        }
    }

    #[test]
    fn templates_of_dns_over_https_have_their_variable() {
        for template in ["/q{?dns}", "/q{?a,dns}", "/{+x}{&dns}"] {
            assert!(has_dns_variable(template), "{template}");
        }
        for template in ["/q", "/q{?dnsx}", "/q{?dns", "dns"] {
            assert!(!has_dns_variable(template), "{template}");
        }
    }
}
