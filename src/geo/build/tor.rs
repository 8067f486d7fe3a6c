//! Reads the text files of Debian's `tor-geoipdb`: `first,last,CC` per line, `#` comments.
//!
//! In `geoip` the ends are decimal integers (IPv4), in `geoip6` they are IPv6 addresses; a line
//! tells by itself which it is. Ranges are inclusive and need not be a network. `??` means unknown.
//! The header keeps the `Generated:` date of the export the file was converted from, which is the
//! only date we trust. Ends are returned in the 128-bit space of the search tree, IPv4 at `::/96`.

use std::net::Ipv6Addr;

use super::{BuildError, generated, tree};
use crate::base::clock::WallTime;

/// One line: an inclusive range in tree space (IPv4 in the low 32 bits) and its two-letter code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountryRange {
    pub first: u128,
    pub last: u128,
    pub code: [u8; 2],
}

/// Appends the file's ranges to `out` and gives its date. `progress` hears the bytes done so far.
pub fn read(
    text: &[u8],
    out: &mut Vec<CountryRange>,
    progress: &mut dyn FnMut(usize),
) -> Result<WallTime, BuildError> {
    let mut dated = None;
    let mut done = 0;
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        done += line.len() + 1;
        if index % 16_384 == 0 {
            progress(done);
        }
        let line = std::str::from_utf8(line).unwrap_or("").trim();
        if line.starts_with('#') {
            dated = dated.or_else(|| generated(line));
        } else if !line.is_empty() {
            out.push(range(line).map_err(|problem| BuildError::Line { line: index + 1, problem })?);
        } else if index == 0 && !text.is_empty() && text[0] != b'\n' {
            return Err(BuildError::Line { line: 1, problem: "not text".into() });
        }
    }
    progress(text.len());
    dated.ok_or(BuildError::NoDate)
}

fn range(line: &str) -> Result<CountryRange, String> {
    let mut fields = line.split(',');
    let (Some(first), Some(last), Some(code), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(format!("`{line}` is not `first,last,CC`"));
    };
    let code: [u8; 2] =
        code.as_bytes().try_into().map_err(|_| format!("`{code}` is not a two-letter code"))?;
    let (first, last) = (address(first)?, address(last)?);
    if first > last || tree::is_v4(first) != tree::is_v4(last) {
        return Err(format!("the range `{line}` ends before it starts"));
    }
    Ok(CountryRange { first, last, code })
}

fn address(text: &str) -> Result<u128, String> {
    if let Ok(v4) = text.parse::<u32>() {
        return Ok(u128::from(v4));
    }
    match text.parse::<Ipv6Addr>() {
        Ok(v6) if !tree::is_v4(v6.to_bits()) => Ok(v6.to_bits()),
        Ok(_) => Err(format!("`{text}` lies in ::/96, where the database keeps IPv4")),
        Err(_) => Err(format!("`{text}` is neither an IPv4 number nor an IPv6 address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n";

    fn read_all(lines: &str) -> Result<(Vec<CountryRange>, WallTime), BuildError> {
        let mut out = Vec::new();
        let dated = read(format!("{HEADER}{lines}").as_bytes(), &mut out, &mut |_| {})?;
        Ok((out, dated))
    }

    #[test]
    fn both_families_and_the_date_are_read() {
        let (ranges, dated) =
            read_all("16777216,16777471,AU\n2001:200::,2001:200:ffff::,JP\n").expect("reads");
        assert_eq!(dated, WallTime(1_782_362_039_000));
        assert_eq!(ranges[0], CountryRange { first: 0x0100_0000, last: 0x0100_00ff, code: *b"AU" });
        assert_eq!(ranges[1].first, 0x2001_0200 << 96);
    }

    #[test]
    fn a_bad_line_is_refused_by_number() {
        for bad in ["1,2", "1,2,AUS", "2,1,AU", "x,2,AU", "1,2001::,AU", "::5,::6,AU", "1,2,AU,9"] {
            match read_all(&format!("1,2,AU\n{bad}\n")) {
                Err(BuildError::Line { line: 3, .. }) => {}
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_without_its_header_is_refused() {
        assert!(matches!(read(b"1,2,AU\n", &mut Vec::new(), &mut |_| {}), Err(BuildError::NoDate)));
    }
}
