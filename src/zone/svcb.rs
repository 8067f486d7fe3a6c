//! The parameters of SVCB and HTTPS records (RFC 9460 2.2, appendix A; dohpath RFC 9461, ohttp RFC 9540).
//!
//! ```text
//!  alpn=h2,h3 port=8443       00 01 | 00 06 | 02 h2 02 h3      key, length, value; keys ascending
//!                             00 03 | 00 02 | 20 fb
//! ```
//!
//! A value may be in quotes, and a list's items have escapes of their own inside those of the string
//! (appendix A.1), so that `alpn="f\\\\oo\\,bar,h2"` has two items. `keyN=` takes any octets; those of
//! a known key are held to its form. Which records of an RRset agree is not looked at here.

use super::print::quoted;
use domain::utils::base64;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
/// Never a key (RFC 9460 14.3.2).
const INVALID: u16 = u16::MAX;

/// Position is the key's number.
pub(super) const KEYS: [&str; 9] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];

/// Keys with their values as on the wire.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<u16, Vec<u8>>);

/// The number of `alpn` or `key65000`.
pub(super) fn key(text: &str) -> Option<u16> {
    let known = KEYS.iter().position(|known| *known == text).and_then(|at| u16::try_from(at).ok());
    known.or_else(|| {
        let digits = text.strip_prefix("key")?;
        let is_canonical = !digits.starts_with('0') || digits == "0";
        let number = digits.parse().ok().filter(|&number| number != INVALID)?;
        (is_canonical && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
    })
}

fn key_text(number: u16) -> String {
    KEYS.get(usize::from(number)).map_or_else(|| format!("key{number}"), |known| (*known).to_owned())
}

impl Params {
    /// Adds one parameter; `value` has the escapes of the string resolved. Errors are sentences.
    pub fn add(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), String> {
        let number = key(name).ok_or_else(|| format!("`{name}` is no parameter"))?;
        let by_number = name.starts_with("key");
        let octets = value.unwrap_or_default();
        let wire = if by_number { octets.to_vec() } else { value_of(number, octets)? };
        check_value(number, &wire)?;
        match self.0.insert(number, wire) {
            Some(_) => Err(format!("`{name}` stands here twice")),
            None => Ok(()),
        }
    }

    /// What the parameters demand of each other (RFC 9460 7.1.1 and 8).
    pub fn finish(self) -> Result<Vec<u8>, String> {
        let mut wire = Vec::new();
        for (number, value) in &self.0 {
            let len =
                u16::try_from(value.len()).map_err(|_| format!("`{}` is too long", key_text(*number)))?;
            wire.extend_from_slice(&number.to_be_bytes());
            wire.extend_from_slice(&len.to_be_bytes());
            wire.extend_from_slice(value);
        }
        check_together(&wire)?;
        Ok(wire)
    }
}

/// A value's presentation form to its wire form.
fn value_of(number: u16, value: &[u8]) -> Result<Vec<u8>, String> {
    let name = key_text(number);
    let text = || std::str::from_utf8(value).map_err(|_| format!("`{name}` is not text"));
    let no_item = |item: &str, what: &str| format!("`{item}` in `{name}` is not {what}");
    let mut wire = Vec::new();
    match number {
        MANDATORY => {
            let mut keys = Vec::new();
            for item in text()?.split(',') {
                keys.push(key(item).ok_or_else(|| no_item(item, "a parameter"))?);
            }
            keys.sort_unstable();
            keys.iter().for_each(|key| wire.extend_from_slice(&key.to_be_bytes()));
        }
        ALPN => {
            for item in list_items(value).ok_or("`alpn` has a broken escape")? {
                let len = u8::try_from(item.len()).ok().filter(|len| *len > 0);
                wire.push(len.ok_or("a protocol in `alpn` has 1 to 255 octets")?);
                wire.extend_from_slice(&item);
            }
        }
        PORT => {
            let port: u16 = text()?.parse().map_err(|_| "`port` is not a number up to 65535".to_owned())?;
            wire.extend_from_slice(&port.to_be_bytes());
        }
        IPV4HINT => {
            for item in text()?.split(',') {
                let address: Ipv4Addr = item.parse().map_err(|_| no_item(item, "an IPv4 address"))?;
                wire.extend_from_slice(&address.octets());
            }
        }
        IPV6HINT => {
            for item in text()?.split(',') {
                let address: Ipv6Addr = item.parse().map_err(|_| no_item(item, "an IPv6 address"))?;
                wire.extend_from_slice(&address.octets());
            }
        }
        ECH => wire = base64::decode(text()?).map_err(|_| "`ech` is not base64".to_owned())?,
        _ => wire = value.to_vec(),
    }
    Ok(wire)
}

/// Splits at commas; `\,` and `\\` stand for themselves (RFC 9460 A.1).
fn list_items(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut octets = value.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => {
                let escaped = octets.next().filter(|next| matches!(next, b',' | b'\\'))?;
                items.last_mut()?.push(*escaped);
            }
            _ => items.last_mut()?.push(octet),
        }
    }
    Some(items)
}

/// The wire form of one value.
fn check_value(number: u16, value: &[u8]) -> Result<(), String> {
    let name = key_text(number);
    let is_sound = match number {
        MANDATORY => {
            let keys: Vec<u16> = shorts(value).collect();
            let is_ascending = keys.windows(2).all(|pair| pair[0] < pair[1]);
            if !is_ascending || keys.contains(&MANDATORY) {
                return Err("`mandatory` lists a parameter twice, or itself".to_owned());
            }
            !value.is_empty() && value.len().is_multiple_of(2)
        }
        ALPN => protocols(value).is_some_and(|protocols| !protocols.is_empty()),
        NO_DEFAULT_ALPN | OHTTP if !value.is_empty() => return Err(format!("`{name}` takes no value")),
        PORT => value.len() == 2,
        IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
        IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
        ECH | DOHPATH => !value.is_empty(),
        INVALID => false,
        _ => true,
    };
    match (is_sound, value.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(format!("`{name}` needs a value")),
        (false, false) => Err(format!("the value of `{name}` is malformed")),
    }
}

/// Keys of well-formed parameters, ascending.
pub(super) fn check_wire(wire: &[u8]) -> Result<(), String> {
    let mut rest = wire;
    let mut last = None;
    while !rest.is_empty() {
        let (number, value, after) = next(rest).ok_or("the parameters are cut off")?;
        if last.is_some_and(|last| last >= number) {
            return Err("the parameters do not ascend".to_owned());
        }
        check_value(number, value)?;
        (last, rest) = (Some(number), after);
    }
    check_together(wire)
}

fn check_together(wire: &[u8]) -> Result<(), String> {
    let has = |wanted: u16| iter(wire).any(|(number, _)| number == wanted);
    if has(NO_DEFAULT_ALPN) && !has(ALPN) {
        return Err("`no-default-alpn` stands without `alpn`".to_owned());
    }
    let mandatory = iter(wire).find(|(number, _)| *number == MANDATORY);
    match mandatory.and_then(|(_, keys)| shorts(keys).find(|key| !has(*key))) {
        Some(missing) => Err(format!("`{}` is mandatory and absent", key_text(missing))),
        None => Ok(()),
    }
}

fn shorts(value: &[u8]) -> impl Iterator<Item = u16> {
    value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

fn protocols(mut value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut protocols = Vec::new();
    while let Some((&len, rest)) = value.split_first() {
        let (protocol, after) = rest.split_at_checked(usize::from(len))?;
        protocols.push(protocol);
        value = after;
    }
    protocols.iter().all(|protocol| !protocol.is_empty()).then_some(protocols)
}

fn next(wire: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([k0, k1, l0, l1], rest) = wire.split_first_chunk()?;
    let (value, after) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
    Some((u16::from_be_bytes([*k0, *k1]), value, after))
}

fn iter(mut wire: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (number, value, after) = next(wire)?;
        wire = after;
        Some((number, value))
    })
}

/// The text of well-formed parameters, each after a space.
pub(super) fn print(wire: &[u8], out: &mut String) {
    for (number, value) in iter(wire) {
        let _ = write!(out, " {}", key_text(number));
        let list = |items: Vec<String>| items.join(",");
        let text = match number {
            NO_DEFAULT_ALPN | OHTTP => continue,
            MANDATORY => list(shorts(value).map(key_text).collect()),
            ALPN => {
                let items = protocols(value).unwrap_or_default();
                quoted(&items.into_iter().map(escaped_item).collect::<Vec<_>>().join(&b','))
            }
            PORT => list(shorts(value).map(|port| port.to_string()).collect()),
            IPV4HINT => list(addresses::<4>(value, |octets| Ipv4Addr::from(octets).to_string())),
            IPV6HINT => list(addresses::<16>(value, |octets| Ipv6Addr::from(octets).to_string())),
            ECH => base64::encode_string(value),
            _ if value.is_empty() => continue,
            _ => quoted(value),
        };
        out.push('=');
        out.push_str(&text);
    }
}

fn addresses<const LEN: usize>(value: &[u8], text: impl Fn([u8; LEN]) -> String) -> Vec<String> {
    value.as_chunks().0.iter().map(|octets| text(*octets)).collect()
}

fn escaped_item(item: &[u8]) -> Vec<u8> {
    let escape = |octet: &u8| match octet {
        b',' | b'\\' => vec![b'\\', *octet],
        _ => vec![*octet],
    };
    item.iter().flat_map(escape).collect()
}
