//! `records` of `services/*.yaml`: what is steered besides addresses, and the words it is written in.
//!
//! ```text
//!  srv: {prefix: _sip._udp, port: 5060, target: "{node}.nodes.example.com"}
//!                                                └ a label of the node; `{{` is a brace
//! ```
//!
//! What a word means by itself is looked at here; what parameters demand of each other and of the fleet, when
//! they are lowered.

use crate::policy::codes;
use crate::policy::findings::Findings;
use crate::policy::read::{Bad, OneOrMany, Read, Scalar, Table, record};
use crate::policy::scalars::{Name, Text, Whole};
use crate::policy::tree::{Node, Value};
use serde_json::{Value as Json, json};

record! {
    /// Types that are steered together with the addresses: the same pick decides them all.
    pub struct RecordsFile {
        /// How to connect over HTTP (RFC 9460), with the addresses of the same answer as hints.
        optional https: OneOrMany<BindingFile>,
        /// The same for other protocols, mostly below a prefix such as _dns.
        optional svcb: OneOrMany<BindingFile>,
        /// Port and host of the picked nodes (RFC 2782).
        optional srv: OneOrMany<SrvFile>,
        /// A text for each picked node; with a prefix as {prefix: _where, text: ...}.
        optional txt: OneOrMany<TxtItem>,
    }
}

record! {
    /// An HTTPS or SVCB record.
    pub struct BindingFile {
        /// Labels in front of each hostname. Left out: the hostname itself.
        optional prefix: Prefix,
        /// Lower is tried first. 0: an alias for the target, without parameters.
        optional priority: Whole<0, 65535> = 1,
        /// Left out: the hostname. With a label in braces: one record for each picked node.
        optional target: Template,
        /// Protocols: h2, h3.
        optional alpn: OneOrMany<Text>,
        /// The protocols of `alpn` only, not the one that the scheme stands for.
        optional no_default_alpn: bool = false,
        /// Port, if it is not the scheme's.
        optional port: Whole<1, 65535>,
        /// Encrypted ClientHello configurations, in base64.
        optional ech: Text,
        /// URI template of DNS over HTTPS (RFC 9461).
        optional dohpath: Text,
        /// Oblivious HTTP (RFC 9540).
        optional ohttp: bool = false,
        /// Other parameters by number, key667 or the like; `\DDD` in a value is an octet.
        optional keys: Table<Name, Text>,
        /// Parameters that a client must understand to use the record.
        optional mandatory: OneOrMany<Name>,
        /// The addresses of the same answer as ipv4hint and ipv6hint. Left out: yes, where the target is
        /// a hostname of the service or each picked node.
        optional hints: bool,
    }
}

record! {
    /// SRV records, one for each picked node.
    pub struct SrvFile {
        /// Labels in front of each hostname: _sip._udp. Left out: the hostname itself.
        optional prefix: Prefix,
        /// Lower is tried first.
        optional priority: Whole<0, 65535> = 0,
        /// Share among records of one priority.
        optional weight: Whole<0, 65535> = 0,
        /// Where the service listens.
        required port: Whole<1, 65535>,
        /// The node's own name: a template with labels in braces.
        required target: Template,
    }
}

record! {
    /// A TXT record, or one for each picked node.
    pub struct TxtFile {
        /// Labels in front of each hostname. Left out: the hostname itself.
        optional prefix: Prefix,
        /// A template with labels in braces.
        required text: Template,
    }
}

/// A text alone, or with a prefix.
#[derive(Clone, Debug)]
pub enum TxtItem {
    Plain(Template),
    Placed(TxtFile),
}

impl Read for TxtItem {
    fn schema() -> Json {
        json!({ "anyOf": [<Template as Scalar>::schema(), TxtFile::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Map(_) => TxtFile::read(node, findings).map(Self::Placed),
            _ => <Template as Read>::read(node, findings).map(Self::Plain),
        }
    }
}

/// Labels that begin with an underscore (RFC 8552): `_sip._udp`. Lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

const LABEL: &str = "_[A-Za-z0-9_]([A-Za-z0-9_-]{0,60}[A-Za-z0-9_])?";

impl Scalar for Prefix {
    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 200, "pattern": format!("^{LABEL}(\\.{LABEL})*$") })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let is_label = |label: &str| {
            let inner = label.strip_prefix('_').unwrap_or_default().as_bytes();
            let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
            matches!(inner.len(), 1..=62)
                && inner.iter().all(is_letter)
                && !inner.starts_with(b"-")
                && !inner.ends_with(b"-")
        };
        if text.len() <= 200 && text.split('.').all(is_label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let help =
            "labels that begin with an underscore, without the hostname: _sip._udp, _8443._https, _dns";
        Err(Bad::of(&codes::BAD_HOSTNAME, format!("`{text}` is not a prefix of a hostname"), help))
    }
}

/// A text with labels of a node in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Label(String),
}

impl Template {
    /// The text, if it names no label.
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl Scalar for Template {
    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 512 })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let bad = |what: &str| {
            let help =
                "a label of a node in braces, such as {node}, {site} or {region}; `{{` and `}}` are braces";
            Bad::of(&codes::BAD_TEMPLATE, format!("`{text}` {what}"), help)
        };
        if !matches!(text.len(), 1..=512) {
            return Err(Bad::value("a text that is empty or has more than 512 bytes", "1 to 512 bytes"));
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (label, after) = after
                .split_once('}')
                .filter(|_| brace == "{")
                .ok_or_else(|| bad("has a brace without its other"))?;
            let label = Name::parse(label, true).map_err(|_| bad("has braces around what is no label"))?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Label(label.0));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_to_their_braces() {
        let read = |text| Template::parse(text, true).map(|it| it.0).map_err(|bad| bad.code.name);
        let (text, label) = (|it: &str| Piece::Text(it.to_owned()), |it: &str| Piece::Label(it.to_owned()));
        assert_eq!(read("a"), Ok(vec![text("a")]));
        assert_eq!(read("{node}"), Ok(vec![label("node")]));
        assert_eq!(
            read("n={node} s={site}"),
            Ok(vec![text("n="), label("node"), text(" s="), label("site")])
        );
        assert_eq!(read("{{{node}}}{{}}"), Ok(vec![text("{"), label("node"), text("}{}")]));
        for broken in ["{", "}", "a}b", "{node", "{}", "{a b}", "{{node}"] {
            assert_eq!(read(broken), Err("bad-template"), "{broken}");
        }
        assert_eq!(read(""), Err("wrong-value"));
    }

    #[test]
    fn prefixes_are_labels_with_an_underscore() {
        for text in ["_dns", "_sip._udp", "_8443._https", "_a-b"] {
            assert!(Prefix::parse(text, true).is_ok(), "{text}");
        }
        for text in ["", "_", "dns", "_sip.udp", "_sip._udp.", "*._udp", "_a..b", "_-a", "_a-", "_é"] {
            assert!(Prefix::parse(text, true).is_err(), "{text}");
        }
        assert!(Prefix::parse(&format!("_{}", "a".repeat(63)), true).is_err());
    }
}
