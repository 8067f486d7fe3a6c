//! A domain name as its lower-case, uncompressed wire bytes.
//!
//! One representation serves files, the table and the query path: comparing, hashing and copying a
//! name is comparing, hashing and copying bytes. Case is folded once, when the name is made.
//!
//! ```text
//!  live.rhumb.test.   4 l i v e 5 r h u m b 4 t e s t 0
//! ```
//!
//! Limits are those of RFC 1035 3.1: 63 octets in a label, 255 in a name. Order is the canonical one
//! of RFC 4034 6.1 (labels compared from the right), so a name is followed by what is below it.
//! Compressed names of messages are not read here, and no IDNA mapping is done.

use std::cmp::Ordering;
use std::fmt;

/// Octets in a name, the final zero included.
pub const MAX_NAME: usize = 255;
/// Octets in a label.
pub const MAX_LABEL: usize = 63;
/// Labels that fit a name, the root not counted.
const MAX_LABELS: usize = 127;

/// Why some text or bytes are no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty; the root is written `.`")]
    Empty,
    #[error("the name has an empty label (two dots in a row, or a dot at its start)")]
    EmptyLabel,
    #[error("a label is longer than 63 octets")]
    LongLabel,
    #[error("the name is longer than 255 octets")]
    LongName,
    #[error("an escape is neither `\\` and a character nor `\\` and three digits up to 255")]
    BadEscape,
    #[error("the name has a character outside ASCII; write it in its `xn--` form")]
    NotAscii,
    #[error("the name is relative and there is no origin to complete it")]
    NoOrigin,
    #[error("the bytes are not one whole uncompressed name")]
    BadWire,
}

/// An absolute domain name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// `.`
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads presentation form (RFC 1035 5.1, `\.` and `\DDD`). Always absolute: the final dot may
    /// be left out.
    pub fn parse_text(text: &str) -> Result<Self, NameError> {
        let mut wire = wire_of_text(text, Some(&Name::root()))?;
        wire.make_ascii_lowercase();
        Ok(Self(wire.into_boxed_slice()))
    }

    /// Reads presentation form, completing a name without final dot by `origin`. `@` is the origin.
    pub fn parse_relative(text: &str, origin: Option<&Name>) -> Result<Self, NameError> {
        let mut wire = wire_of_text(text, origin)?;
        wire.make_ascii_lowercase();
        Ok(Self(wire.into_boxed_slice()))
    }

    /// Takes one whole uncompressed name, final zero included, nothing after it.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        match wire_len(wire) {
            Some(len) if len == wire.len() => Ok(Self(wire.to_ascii_lowercase().into_boxed_slice())),
            _ => Err(NameError::BadWire),
        }
    }

    /// Length-prefixed labels, then a zero.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        let first = usize::from(self.0[0]);
        (first != 0).then(|| Self(self.0[first + 1..].into()))
    }

    /// Whether the name is `ancestor` or below it.
    pub fn is_at_or_below(&self, ancestor: &Name) -> bool {
        let Some(start) = self.0.len().checked_sub(ancestor.0.len()) else { return false };
        self.label_starts().any(|at| at == start) && self.0[start..] == *ancestor.0
    }

    /// From the left, without the root label.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.label_starts().filter_map(|at| {
            let len = usize::from(self.0[at]);
            (len > 0).then(|| &self.0[at + 1..=at + len])
        })
    }

    /// Labels, the root not counted (RFC 4034 3.1.3, but `*` is counted).
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether the first label is `*` (RFC 4592).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(&[1, b'*'])
    }

    /// The `*` below the name; `None` if it would be too long.
    pub fn wildcard(&self) -> Option<Name> {
        let wire = [b"\x01*", self.as_wire()].concat();
        (wire.len() <= MAX_NAME).then(|| Self(wire.into_boxed_slice()))
    }

    /// Offsets of every length octet, that of the root included.
    fn label_starts(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(0), |&at| {
            let len = usize::from(self.0[at]);
            (len > 0).then_some(at + 1 + len)
        })
    }
}

/// Octets of the uncompressed name that `bytes` starts with, final zero included; `None` if it is
/// cut off, compressed or too long.
pub fn wire_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < MAX_NAME {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            len if len > MAX_LABEL => return None,
            len => at += len + 1,
        }
    }
    None
}

/// Presentation form to wire form, the case kept. `@` is the origin, and a name without a final dot
/// is completed by it.
pub(crate) fn wire_of_text(text: &str, origin: Option<&Name>) -> Result<Vec<u8>, NameError> {
    if text == "@" {
        return origin.map(|origin| origin.as_wire().to_vec()).ok_or(NameError::NoOrigin);
    }
    let (mut wire, is_absolute) = labels_of_text(text)?;
    if is_absolute {
        wire.push(0);
    } else {
        wire.extend_from_slice(origin.ok_or(NameError::NoOrigin)?.as_wire());
    }
    if wire.len() > MAX_NAME { Err(NameError::LongName) } else { Ok(wire) }
}

/// The labels without the root, and whether the text ends with a dot.
fn labels_of_text(text: &str) -> Result<(Vec<u8>, bool), NameError> {
    match text {
        "" => return Err(NameError::Empty),
        "." => return Ok((Vec::new(), true)),
        _ => {}
    }
    let mut wire = vec![0];
    let mut label_at = 0;
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octet = match byte {
            b'.' => {
                close_label(&mut wire, label_at)?;
                if rest.is_empty() {
                    return Ok((wire, true));
                }
                label_at = wire.len();
                wire.push(0);
                continue;
            }
            b'\\' => {
                let (octet, used) = unescape(rest).ok_or(NameError::BadEscape)?;
                rest = &rest[used..];
                octet
            }
            _ if byte.is_ascii() => byte,
            _ => return Err(NameError::NotAscii),
        };
        if wire.len() > MAX_NAME {
            return Err(NameError::LongName);
        }
        wire.push(octet);
    }
    close_label(&mut wire, label_at)?;
    Ok((wire, false))
}

/// Writes the length of the label that starts at `label_at` and ends here.
fn close_label(wire: &mut [u8], label_at: usize) -> Result<(), NameError> {
    match wire.len() - label_at - 1 {
        0 => Err(NameError::EmptyLabel),
        len if len > MAX_LABEL => Err(NameError::LongLabel),
        len => {
            wire[label_at] = u8::try_from(len).unwrap_or(0);
            Ok(())
        }
    }
}

/// The octet that the text after a backslash stands for, and how many bytes of it were used.
pub(crate) fn unescape(after: &[u8]) -> Option<(u8, usize)> {
    match after {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            let value = digit(a) * 100 + digit(b) * 10 + digit(c);
            u8::try_from(value).ok().map(|octet| (octet, 3))
        }
        [b'0'..=b'9', ..] | [] => None,
        [byte, ..] if byte.is_ascii() => Some((*byte, 1)),
        _ => None,
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut ours, mut theirs) = ([0; MAX_LABELS], [0; MAX_LABELS]);
        let (our_count, their_count) = (fill_starts(self, &mut ours), fill_starts(other, &mut theirs));
        let ours = ours[..our_count].iter().rev().map(|&at| label_at(&self.0, at));
        let theirs = theirs[..their_count].iter().rev().map(|&at| label_at(&other.0, at));
        ours.cmp(theirs)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Label offsets from the left into `starts`; returns how many.
fn fill_starts(name: &Name, starts: &mut [u8; MAX_LABELS]) -> usize {
    let mut count = 0;
    for (slot, at) in starts.iter_mut().zip(name.label_starts().take(name.label_count())) {
        *slot = u8::try_from(at).unwrap_or(u8::MAX);
        count += 1;
    }
    count
}

fn label_at(wire: &[u8], at: u8) -> &[u8] {
    let at = usize::from(at);
    &wire[at + 1..=at + usize::from(wire[at])]
}

impl fmt::Display for Name {
    /// With a final dot only for the root, and with escapes where needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                push_octet(byte, f)?;
            }
        }
        Ok(())
    }
}

/// One octet of a label, escaped where a zone file or a reader needs it.
pub(super) fn push_octet(octet: u8, out: &mut impl fmt::Write) -> fmt::Result {
    match octet {
        b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(out, "\\{}", char::from(octet)),
        0x21..=0x7e => out.write_char(char::from(octet)),
        _ => write!(out, "\\{octet:03}"),
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Name::parse_text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse_text(text).expect("a good name")
    }

    #[test]
    fn text_becomes_lower_case_wire() {
        assert_eq!(name("Live.rhumb.TEST").as_wire(), b"\x04live\x05rhumb\x04test\x00");
        assert_eq!(name("a.").as_wire(), name("a").as_wire());
        assert_eq!(name(".").as_wire(), [0]);
        assert_eq!(name(r"a\.b\065.c").as_wire(), b"\x04a.ba\x01c\x00");
        assert_eq!(name(r"a\.b\000.c").to_string(), r"a\.b\000.c");
    }

    #[test]
    fn bad_text_is_refused_with_its_reason() {
        let label = "x".repeat(63);
        let fits = format!("{label}.{label}.{label}.{}", "y".repeat(61));
        assert_eq!(name(&fits).as_wire().len(), 255);
        for (text, error) in [
            ("", NameError::Empty),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            (&"x".repeat(64), NameError::LongLabel),
            (&format!("{fits}y"), NameError::LongName),
            (&"x.".repeat(9_000), NameError::LongName),
            (r"a\", NameError::BadEscape),
            (r"a\25", NameError::BadEscape),
            (r"a\256", NameError::BadEscape),
            ("münchen", NameError::NotAscii),
        ] {
            assert_eq!(Name::parse_text(text), Err(error), "{text}");
        }
        assert_eq!(Name::parse_relative("www", None), Err(NameError::NoOrigin));
        assert_eq!(Name::parse_relative("@", Some(&name("b"))), Ok(name("b")));
    }

    #[test]
    fn wire_is_checked() {
        assert_eq!(Name::from_wire(b"\x01A\x00"), Ok(name("a")));
        for wire in [&b""[..], b"\x01a", b"\x01a\x00\x00", b"\xc0\x0c", b"\x40", &[1; 300]] {
            assert_eq!(Name::from_wire(wire), Err(NameError::BadWire), "{wire:?}");
        }
    }

    #[test]
    fn ancestry_follows_labels_not_bytes() {
        assert!(name("a.b.c").is_at_or_below(&name("b.c")));
        assert!(name("b.c").is_at_or_below(&name("b.c")));
        assert!(name("b.c").is_at_or_below(&Name::root()));
        assert!(!name("c").is_at_or_below(&name("b.c")));
        assert!(!name("xb.c").is_at_or_below(&name("b.c")));
        // The bytes `1 b 1 c 0` end this name, but inside a label.
        assert!(!name(r"x\001b.c").is_at_or_below(&name("b.c")));
        assert_eq!(name("a.b").parent(), Some(name("b")));
        assert_eq!(Name::root().parent(), None);
        assert_eq!((name("*.b").is_wildcard(), name("*.b").label_count()), (true, 2));
    }

    #[test]
    fn order_is_that_of_rfc_4034_6_1() {
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            r"\001.z.example",
            "*.z.example",
            r"\200.z.example",
        ];
        let mut names: Vec<Name> = sorted.iter().rev().map(|text| name(text)).collect();
        names.sort();
        assert_eq!(names, sorted.map(name));
        assert!(Name::root() < name("example"));
    }

    proptest! {
        #[test]
        fn any_wire_name_survives_its_text(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..12)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).expect("short"));
                wire.extend_from_slice(label);
            }
            wire.push(0);
            prop_assume!(wire.len() <= MAX_NAME);
            let name = Name::from_wire(&wire).expect("well formed");
            prop_assert_eq!(Name::parse_text(&name.to_string()), Ok(name));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Name::parse_text(&text);
        }
    }
}
