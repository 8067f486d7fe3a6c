//! `$GENERATE`: one line for many similar records, in the forms that BIND reads.
//!
//! ```text
//!  $GENERATE 1-3    host-$ A 192.0.2.$              host-1 A 192.0.2.1   host-2 ...   host-3 ...
//!  $GENERATE 0-20/2 ${0,3,d} PTR h${10}.example.    000 PTR h10.example. 002 PTR h12 ...
//!                   ${offset,width,base}            base: d o x X, or n N for reversed nibbles
//! ```
//!
//! `\$` and `$$` are a plain dollar sign. The data may be one quoted string of several fields, as BIND
//! wants it, or several words. The bounds are those of the zone ([`super::include`]).

use super::rdata::FieldError;
use super::token::Token;
use std::fmt::Write;

/// `start-stop[/step]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

/// As BIND's: up to 2^31 - 1.
const MAX_NUMBER: u32 = i32::MAX as u32;
/// Digits of one number.
const MAX_WIDTH: usize = 255;

impl Range {
    pub fn parse(token: Token<'_>) -> Result<Self, FieldError> {
        let (range, step) = token.text.split_once('/').unwrap_or((token.text, "1"));
        let number = |text: &str| text.parse::<u32>().ok().filter(|&number| number <= MAX_NUMBER);
        let parsed = range.split_once('-').and_then(|(start, stop)| {
            Some(Self { start: number(start)?, stop: number(stop)?, step: number(step)? })
        });
        parsed.filter(|range| range.start <= range.stop && range.step > 0).ok_or_else(|| {
            let message = format!("`{}` is no range", token.text);
            FieldError::at(token, message, "write start-stop or start-stop/step, such as 1-254")
        })
    }

    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

/// A word with places for the number.
#[derive(Debug)]
pub(super) struct Template<'t> {
    pub token: Token<'t>,
    parts: Vec<Part<'t>>,
}

#[derive(Debug)]
enum Part<'t> {
    Text(&'t str),
    Number { offset: i64, width: usize, base: u8 },
}

impl<'t> Template<'t> {
    pub fn parse(token: Token<'t>) -> Result<Self, FieldError> {
        let mut parts = Vec::new();
        let mut rest = token.text;
        while let Some(at) = rest.find(['$', '\\']) {
            let (before, marked) = rest.split_at(at);
            parts.push(Part::Text(before));
            let after = &marked[1..];
            if marked.starts_with('\\') {
                // Whatever is escaped stays so; the field's own reader resolves it.
                let len = 1 + after.chars().next().map_or(0, char::len_utf8);
                parts.push(Part::Text(&marked[..len]));
                rest = &marked[len..];
            } else if let Some(after) = after.strip_prefix('$') {
                parts.push(Part::Text("\\$"));
                rest = after;
            } else if let Some(inner) = after.strip_prefix('{') {
                let (modifier, after) = inner.split_once('}').ok_or_else(|| broken(token))?;
                parts.push(number_of(modifier).ok_or_else(|| broken(token))?);
                rest = after;
            } else {
                parts.push(Part::Number { offset: 0, width: 0, base: b'd' });
                rest = after;
            }
        }
        parts.push(Part::Text(rest));
        Ok(Self { token, parts })
    }

    /// The word for one number; `None` if an offset makes it negative.
    pub fn render(&self, number: u32) -> Option<String> {
        let mut out = String::with_capacity(self.token.text.len() + 8);
        for part in &self.parts {
            match *part {
                Part::Text(text) => out.push_str(text),
                Part::Number { offset, width, base } => {
                    let value = u64::try_from(i64::from(number) + offset).ok()?;
                    push_number(value, width, base, &mut out);
                }
            }
        }
        Some(out)
    }
}

fn broken(token: Token<'_>) -> FieldError {
    let help = "write ${offset,width,base} with a base of d, o, x, X, n or N, or `\\$` for the character";
    FieldError::at(token, format!("`{}` has a broken ${{...}}", token.text), help)
}

/// `offset[,width[,base]]`.
fn number_of<'t>(modifier: &str) -> Option<Part<'t>> {
    let mut parts = modifier.split(',');
    let offset: i32 = parts.next()?.parse().ok()?;
    let width = parts.next().map_or(Some(0), |width| width.parse().ok().filter(|&it| it <= MAX_WIDTH))?;
    let base = parts.next().unwrap_or("d");
    let is_known = matches!(base, "d" | "o" | "x" | "X" | "n" | "N") && parts.next().is_none();
    is_known.then(|| Part::Number { offset: i64::from(offset), width, base: base.as_bytes()[0] })
}

fn push_number(value: u64, width: usize, base: u8, out: &mut String) {
    let _ = match base {
        b'o' => write!(out, "{value:0width$o}"),
        b'x' => write!(out, "{value:0width$x}"),
        b'X' => write!(out, "{value:0width$X}"),
        b'n' | b'N' => {
            push_nibbles(value, width, base == b'N', out);
            Ok(())
        }
        _ => write!(out, "{value:0width$}"),
    };
}

/// Hexadecimal digits, lowest first, with dots between; `width` counts the dots too.
fn push_nibbles(mut value: u64, mut width: usize, is_upper: bool, out: &mut String) {
    loop {
        let digit = char::from_digit((value & 0x0f) as u32, 16).unwrap_or('0');
        out.push(if is_upper { digit.to_ascii_uppercase() } else { digit });
        value >>= 4;
        width = width.saturating_sub(1);
        if width == 0 && value == 0 {
            return;
        }
        out.push('.');
        width = width.saturating_sub(1);
        if width == 0 && value == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token<'_> {
        Token { text, offset: 0, quoted: false, is_joined: false }
    }

    fn render(template: &str, number: u32) -> Result<Option<String>, String> {
        Template::parse(token(template)).map(|it| it.render(number)).map_err(|error| error.message)
    }

    #[test]
    fn places_take_the_number() {
        for (template, number, text) in [
            ("host-$", 7, "host-7"),
            ("$.$", 7, "7.7"),
            ("plain", 7, "plain"),
            (r"\$$$$", 7, r"\$\$7"),
            (r"\\$", 7, r"\\7"),
            ("${10}", 7, "17"),
            ("${-7,3}x", 7, "000x"),
            ("${0,4,x}", 255, "00ff"),
            ("${0,0,X}", 255, "FF"),
            ("${0,3,o}", 8, "010"),
            ("${0,0,n}", 0x1a, "a.1"),
            ("${0,7,N}", 0x1a, "A.1.0.0"),
            ("${0,8,n}", 0x1a, "a.1.0.0."),
            ("é$é", 1, "é1é"),
        ] {
            assert_eq!(render(template, number), Ok(Some(text.to_owned())), "{template}");
        }
        assert_eq!(render("${-8}", 7), Ok(None));
        for broken in ["${", "${x}", "${1,2,3}", "${1,2,d,4}", "${1,256}", "${}"] {
            assert!(render(broken, 7).is_err(), "{broken}");
        }
    }

    #[test]
    fn ranges_have_steps() {
        let numbers = |text| Range::parse(token(text)).map(|range| range.numbers().collect::<Vec<_>>());
        assert_eq!(numbers("1-3"), Ok(vec![1, 2, 3]));
        assert_eq!(numbers("0-7/3"), Ok(vec![0, 3, 6]));
        for text in ["3-1", "1", "1-", "-1", "1-2/0", "1-2147483648", "a-b", "1-2/"] {
            assert!(numbers(text).is_err(), "{text}");
        }
    }
}
