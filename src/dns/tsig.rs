//! TSIG (RFC 8945): a message with a MAC by a key both ends know, checked and made.
//!
//! ```text
//!  digest of a request   message without TSIG, original id │ key name │ ANY │ 0 │ algorithm │ time │
//!                        fudge │ error │ other
//!            a reply     MAC of the request, with its length │ reply │ the same variables
//!            a later message of a stream   MAC of the one before │ message │ time │ fudge
//! ```
//!
//! SHA-256, SHA-384 and SHA-512 in full length; MD5, SHA-1 and truncated MACs are not taken. Keys come
//! as text that `tsig-keygen` wrote; reading the file is the daemon's.

use super::code::Rcode;
use super::query::{HEADER, be16, skip_name};
use crate::zone::name::Name;
use data_encoding::BASE64;
use ring::hmac;
use std::sync::Arc;

/// Type number.
pub const TSIG: u16 = 250;
const CLASS_ANY: u16 = 255;
/// Seconds that clocks may differ, in what is sent.
const FUDGE: u16 = 300;
/// Longest text of keys that is read, in octets.
pub const LONGEST_FILE: u64 = 64 << 10;
const MAX_KEYS: usize = 256;
/// Shorter secrets than this (in octets) are mistakes.
const LEAST_SECRET: usize = 8;

/// TSIG's own error codes (RFC 8945 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TsigError {
    None = 0,
    BadSig = 16,
    BadKey = 17,
    BadTime = 18,
    BadTrunc = 22,
}

/// What a key file says wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    #[error("line {line}: {what}; write keys as `tsig-keygen NAME` does")]
    Syntax { line: usize, what: &'static str },
    #[error("there is no key in it; make one with `tsig-keygen NAME`")]
    Empty,
}

/// A shared secret under a name.
pub struct TsigKey {
    name: Name,
    algorithm: Name,
    key: hmac::Key,
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TsigKey({}, {})", self.name, self.algorithm)
    }
}

/// All keys of a server.
#[derive(Clone, Debug, Default)]
pub struct TsigKeys(Vec<Arc<TsigKey>>);

impl TsigKeys {
    /// Reads `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`, once or more.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let mut words = Words { text, line: 1 };
        let mut keys = Vec::new();
        while let Some(word) = words.next() {
            if word != "key" || keys.len() == MAX_KEYS {
                return Err(words.wrong("this is no key"));
            }
            keys.push(Arc::new(words.key()?));
        }
        if keys.is_empty() { Err(KeyTextError::Empty) } else { Ok(Self(keys)) }
    }

    /// By name, as policy writes it.
    pub fn named(&self, name: &str) -> Option<&Arc<TsigKey>> {
        let name = Name::parse_text(name).ok()?;
        self.0.iter().find(|key| key.name == name)
    }

    fn find(&self, name: &Name, algorithm: &Name) -> Option<&Arc<TsigKey>> {
        self.0.iter().find(|key| key.name == *name && key.algorithm == *algorithm)
    }
}

fn algorithm(text: &str) -> Option<hmac::Algorithm> {
    match text.trim_end_matches('.') {
        "hmac-sha256" => Some(hmac::HMAC_SHA256),
        "hmac-sha384" => Some(hmac::HMAC_SHA384),
        "hmac-sha512" => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// Words of a key file: quoted or bare, braces and semicolons alone; comments are left out.
struct Words<'t> {
    text: &'t str,
    line: usize,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<&'t str> {
        loop {
            let rest = self.text.trim_start();
            self.line += self.text[..self.text.len() - rest.len()].matches('\n').count();
            self.text = rest;
            if !(rest.starts_with('#') || rest.starts_with("//")) {
                break;
            }
            self.text = rest.find('\n').map_or("", |end| &rest[end..]);
        }
        let first = self.text.chars().next()?;
        let (word, rest) = match first {
            '{' | '}' | ';' => self.text.split_at(1),
            '"' => {
                let inside = &self.text[1..];
                let end = inside.find(['"', '\n']).unwrap_or(inside.len());
                (&inside[..end], inside.get(end + 1..).unwrap_or(""))
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"');
                self.text.split_at(self.text.find(ends).unwrap_or(self.text.len()))
            }
        };
        self.text = rest;
        Some(word)
    }

    fn wrong(&self, what: &'static str) -> KeyTextError {
        KeyTextError::Syntax { line: self.line, what }
    }

    fn expect(&mut self, wanted: &str, what: &'static str) -> Result<(), KeyTextError> {
        if self.next() == Some(wanted) { Ok(()) } else { Err(self.wrong(what)) }
    }

    fn key(&mut self) -> Result<TsigKey, KeyTextError> {
        let name = self.next().and_then(|word| Name::parse_text(word).ok());
        let name = name.ok_or_else(|| self.wrong("a key needs a name"))?;
        self.expect("{", "`{` follows the name")?;
        let (mut chosen, mut secret) = (None, None);
        loop {
            match self.next() {
                Some("algorithm") => {
                    let word = self.next().unwrap_or("").to_ascii_lowercase();
                    let known = algorithm(&word).zip(Name::parse_text(&word).ok());
                    chosen = Some(known.ok_or_else(|| {
                        self.wrong("the algorithm is hmac-sha256, hmac-sha384 or hmac-sha512")
                    })?);
                }
                Some("secret") => {
                    let octets = self.next().and_then(|word| BASE64.decode(word.as_bytes()).ok());
                    let octets = octets.filter(|octets| octets.len() >= LEAST_SECRET);
                    secret =
                        Some(octets.ok_or_else(|| self.wrong("the secret is at least 8 octets in base64"))?);
                }
                Some("}") => break,
                _ => return Err(self.wrong("a key has `algorithm` and `secret`")),
            }
            self.expect(";", "`;` ends each setting")?;
        }
        self.expect(";", "`;` ends each key")?;
        let (hash, algorithm) = chosen.ok_or_else(|| self.wrong("the key has no algorithm"))?;
        let secret = secret.ok_or_else(|| self.wrong("the key has no secret"))?;
        let key = hmac::Key::new(hash, &secret);
        drop(zeroize::Zeroizing::new(secret));
        Ok(TsigKey { name, algorithm, key })
    }
}

/// The TSIG record that ends a message.
struct Record<'m> {
    name: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: &'m [u8],
    original_id: [u8; 2],
    error: u16,
    other: &'m [u8],
}

impl<'m> Record<'m> {
    /// The record at an offset; it must be the last. Its names may not be compressed (RFC 8945 4.2).
    fn read(message: &'m [u8], at: usize) -> Option<Self> {
        let name_end = skip_name(message, at)?;
        let name = Name::from_wire(message.get(at..name_end)?).ok()?;
        let (head, rest) = message.get(name_end..)?.split_first_chunk::<10>()?;
        let &[0, 250, 0, 255, 0, 0, 0, 0, l0, l1] = head else { return None };
        if rest.len() != usize::from(u16::from_be_bytes([l0, l1])) {
            return None;
        }
        let algorithm_end = skip_name(rest, 0)?;
        let algorithm = Name::from_wire(rest.get(..algorithm_end)?).ok()?;
        let (&[t0, t1, t2, t3, t4, t5, f0, f1, m0, m1], rest) =
            rest.get(algorithm_end..)?.split_first_chunk()?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([m0, m1])))?;
        let (&[i0, i1, e0, e1, o0, o1], other) = rest.split_first_chunk()?;
        if other.len() != usize::from(u16::from_be_bytes([o0, o1])) {
            return None;
        }
        Some(Self {
            name,
            algorithm,
            time: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
            fudge: u16::from_be_bytes([f0, f1]),
            mac,
            original_id: [i0, i1],
            error: u16::from_be_bytes([e0, e1]),
            other,
        })
    }
}

/// What signs the replies to one signed request.
#[derive(Debug)]
pub struct Signer {
    name: Name,
    algorithm: Name,
    /// `None`: the key is not known or the MAC was wrong, so replies tell the error unsigned.
    key: Option<Arc<TsigKey>>,
    prior: Vec<u8>,
    is_later: bool,
    error: TsigError,
    /// Of the request.
    time: u64,
    fudge: u16,
    id: [u8; 2],
}

/// The MAC of a record is what the parts of its digest say.
struct Digest(hmac::Context);

impl Digest {
    fn new(key: &TsigKey) -> Self {
        Self(hmac::Context::with_key(&key.key))
    }

    fn prior(&mut self, mac: &[u8]) {
        self.0.update(&(mac.len() as u16).to_be_bytes());
        self.0.update(mac);
    }

    /// A message that ends where the TSIG record begins; `additional`: its ARCOUNT without it.
    fn message(&mut self, message: &[u8], id: [u8; 2], additional: u16) {
        let (Some(flags), Some(rest)) = (message.get(2..10), message.get(HEADER..)) else { return };
        self.0.update(&id);
        self.0.update(flags);
        self.0.update(&additional.to_be_bytes());
        self.0.update(rest);
    }

    fn timers(&mut self, time: u64, fudge: u16) {
        self.0.update(&time.to_be_bytes()[2..]);
        self.0.update(&fudge.to_be_bytes());
    }

    fn variables(
        &mut self,
        (name, algorithm): (&Name, &Name),
        (time, fudge): (u64, u16),
        error: u16,
        other: &[u8],
    ) {
        self.0.update(name.as_wire());
        self.0.update(&CLASS_ANY.to_be_bytes());
        self.0.update(&[0; 4]);
        self.0.update(algorithm.as_wire());
        self.timers(time, fudge);
        self.0.update(&error.to_be_bytes());
        self.0.update(&(other.len() as u16).to_be_bytes());
        self.0.update(other);
    }

    fn finish(self) -> Vec<u8> {
        self.0.sign().as_ref().to_vec()
    }
}

/// Checks a signed request whose TSIG record is at `at`; `now` in seconds since 1970.
///
/// The signer is there for errors too: its [`error`](Signer::error) then is what replies say.
///
/// # Errors
/// FORMERR for a record that is none.
pub fn verify(keys: &TsigKeys, message: &[u8], at: usize, now: u64) -> Result<Signer, Rcode> {
    let record = Record::read(message, at).ok_or(Rcode::FormErr)?;
    let found = keys.find(&record.name, &record.algorithm);
    let (error, key) = match found {
        None => (TsigError::BadKey, None),
        Some(key) => match check(key, &record, message, at, &[])? {
            TsigError::None if now.abs_diff(record.time) > u64::from(record.fudge) => {
                (TsigError::BadTime, Some(Arc::clone(key)))
            }
            TsigError::None => (TsigError::None, Some(Arc::clone(key))),
            error => (error, None),
        },
    };
    Ok(Signer {
        prior: record.mac.to_vec(),
        name: record.name,
        algorithm: record.algorithm,
        key,
        is_later: false,
        error,
        time: record.time,
        fudge: record.fudge,
        id: record.original_id,
    })
}

/// Whether the MAC is right; `prior`: of the request, in a reply.
fn check(
    key: &TsigKey,
    record: &Record<'_>,
    message: &[u8],
    at: usize,
    prior: &[u8],
) -> Result<TsigError, Rcode> {
    let whole = key.key.algorithm().digest_algorithm().output_len();
    // RFC 8945 5.2.2.1.
    if record.mac.len() > whole || record.mac.len() < (whole / 2).max(10) {
        return Err(Rcode::FormErr);
    }
    if record.mac.len() < whole {
        return Ok(TsigError::BadTrunc);
    }
    let mut digest = Digest::new(key);
    if !prior.is_empty() {
        digest.prior(prior);
    }
    let additional = be16(message, 10).unwrap_or(0).saturating_sub(1);
    digest.message(message.get(..at).unwrap_or_default(), record.original_id, additional);
    let names = (&record.name, &record.algorithm);
    digest.variables(names, (record.time, record.fudge), record.error, record.other);
    // Every octet is looked at, so that the time tells nothing; `ring` only verifies whole messages.
    let made = digest.finish();
    let is_right = made.iter().zip(record.mac).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
    Ok(if is_right { TsigError::None } else { TsigError::BadSig })
}

impl Signer {
    /// For a request of our own.
    pub fn of_request(key: &Arc<TsigKey>, id: [u8; 2]) -> Self {
        Self {
            name: key.name.clone(),
            algorithm: key.algorithm.clone(),
            key: Some(Arc::clone(key)),
            prior: Vec::new(),
            is_later: false,
            error: TsigError::None,
            time: 0,
            fudge: FUDGE,
            id,
        }
    }

    pub fn error(&self) -> TsigError {
        self.error
    }

    /// Octets that [`sign`](Self::sign) adds.
    pub fn added_len(&self) -> usize {
        let mac = self.key.as_ref().map_or(0, |key| key.key.algorithm().digest_algorithm().output_len());
        let other = if self.error == TsigError::BadTime { 6 } else { 0 };
        self.name.as_wire().len() + 10 + self.algorithm.as_wire().len() + 16 + mac + other
    }

    /// Appends the TSIG record; `now` in seconds since 1970. A message past 65,535 octets stays as it is.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        let Some(additional) = be16(message, 10).filter(|_| message.len() + self.added_len() <= 65_535)
        else {
            return;
        };
        let is_late = self.error == TsigError::BadTime;
        let (time, fudge) =
            if self.error == TsigError::None { (now, FUDGE) } else { (self.time, self.fudge) };
        let clock = now.to_be_bytes();
        let other: &[u8] = if is_late { &clock[2..] } else { &[] };
        let mac = self.key.as_ref().map_or_else(Vec::new, |key| {
            let mut digest = Digest::new(key);
            if !self.prior.is_empty() {
                digest.prior(&self.prior);
            }
            let id = [message[0], message[1]];
            digest.message(message, id, additional);
            if self.is_later {
                digest.timers(time, fudge);
            } else {
                let names = (&self.name, &self.algorithm);
                digest.variables(names, (time, fudge), self.error as u16, other);
            }
            digest.finish()
        });
        let rdata_len = self.algorithm.as_wire().len() + 16 + mac.len() + other.len();
        message.extend_from_slice(self.name.as_wire());
        message.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
        message.extend_from_slice(&(rdata_len as u16).to_be_bytes());
        message.extend_from_slice(self.algorithm.as_wire());
        message.extend_from_slice(&time.to_be_bytes()[2..]);
        message.extend_from_slice(&fudge.to_be_bytes());
        message.extend_from_slice(&(mac.len() as u16).to_be_bytes());
        message.extend_from_slice(&mac);
        message.extend_from_slice(&self.id);
        message.extend_from_slice(&(self.error as u16).to_be_bytes());
        message.extend_from_slice(&(other.len() as u16).to_be_bytes());
        message.extend_from_slice(other);
        if let Some(count) = message.get_mut(10..12) {
            count.copy_from_slice(&(additional + 1).to_be_bytes());
        }
        self.prior = mac;
        self.is_later = true;
    }

    /// Whether `reply` is signed for the request that this signer signed last.
    pub fn accepts(&self, reply: &[u8], at: usize, now: u64) -> bool {
        let Some(record) = Record::read(reply, at) else { return false };
        let Some(key) = self.key.as_ref().filter(|key| key.name == record.name) else { return false };
        check(key, &record, reply, at, &self.prior) == Ok(TsigError::None)
            && record.error == 0
            && now.abs_diff(record.time) <= u64::from(record.fudge)
    }
}

/// Where the last record of a message begins, if that is a TSIG record.
pub fn find(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    for _ in 0..be16(message, 4)? {
        at = skip_name(message, at)? + 4;
    }
    let records = u32::from(be16(message, 6)?) + u32::from(be16(message, 8)?) + u32::from(be16(message, 10)?);
    for left in (0..records).rev() {
        let head = skip_name(message, at)?;
        if left == 0 {
            return (be16(message, head)? == TSIG).then_some(at);
        }
        at = head + 10 + usize::from(be16(message, head + 8)?);
    }
    None
}

#[cfg(test)]
mod tests;
