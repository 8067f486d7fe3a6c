//! LOC records (RFC 1876): where on earth something is.
//!
//! ```text
//!  31 14 0.000 N 121 28 0.000 E 4.00m 1m 10000m 10m        size, horizontal and vertical precision
//!  00 | 12 | 16 | 13 | latitude | longitude | altitude     as digit and power of ten, in centimetres
//! ```
//!
//! Latitude and longitude are thousandths of a second of arc from 2^31, altitude centimetres from
//! 100 km below the ellipsoid. Integers all the way: what is printed reads back as the same octets.

use std::fmt::Write;

/// Of the data on the wire.
const LEN: usize = 16;
/// Latitude and longitude 0.
const ORIGIN: u32 = 1 << 31;
/// Altitude 0, in centimetres.
const GROUND_CM: u32 = 10_000_000;
/// Thousandths of a second of arc in a degree.
const DEGREE: u32 = 3_600_000;
/// 1 m, 10 km, 10 m: what is left out (RFC 1876 3).
const DEFAULTS: [u8; 3] = [0x12, 0x16, 0x13];

/// Reads the words of one record; the error is the word's position and what is expected there.
pub(super) fn parse(words: &[&str]) -> Result<[u8; LEN], (usize, &'static str)> {
    let mut at = 0;
    let latitude = angle(words, &mut at, 90, ["N", "S"])
        .ok_or((at, "a latitude such as 31 14 0.000 N (degrees, minutes, seconds, N or S)"))?;
    let longitude = angle(words, &mut at, 180, ["E", "W"])
        .ok_or((at, "a longitude such as 121 28 0.000 E (degrees, minutes, seconds, E or W)"))?;
    let altitude = words
        .get(at)
        .and_then(|word| centimetres(word))
        .and_then(|cm| u32::try_from(cm + i64::from(GROUND_CM)).ok())
        .ok_or((at, "an altitude in metres, such as 4.00m"))?;
    let mut sizes = DEFAULTS;
    for (size, word) in sizes.iter_mut().zip(words.get(at + 1..).unwrap_or_default()) {
        at += 1;
        *size =
            centimetres(word).and_then(digit_and_power).ok_or((at, "a size in metres, up to 90000000m"))?;
    }
    if words.len() > at + 1 {
        return Err((at + 1, "the end of the record"));
    }
    let mut wire = [0; LEN];
    wire[1..4].copy_from_slice(&sizes);
    wire[4..8].copy_from_slice(&latitude.to_be_bytes());
    wire[8..12].copy_from_slice(&longitude.to_be_bytes());
    wire[12..].copy_from_slice(&altitude.to_be_bytes());
    Ok(wire)
}

/// Degrees, then minutes and seconds that may be left out, then the direction.
fn angle(words: &[&str], at: &mut usize, limit: u32, [plus, minus]: [&str; 2]) -> Option<u32> {
    let mut thousandths = 0;
    for (place, (unit, below)) in [(DEGREE, limit + 1), (60_000, 60), (1_000, 60)].into_iter().enumerate() {
        let word = words.get(*at)?;
        if place > 0 && (word.eq_ignore_ascii_case(plus) || word.eq_ignore_ascii_case(minus)) {
            break;
        }
        let amount =
            if place == 2 { decimal(word, 3)? } else { i64::from(word.parse::<u32>().ok()?) * 1_000 };
        if amount >= i64::from(below) * 1_000 {
            return None;
        }
        thousandths += u32::try_from(amount * i64::from(unit) / 1_000).ok()?;
        *at += 1;
    }
    let word = words.get(*at)?;
    let is_plus = word.eq_ignore_ascii_case(plus);
    if thousandths > limit * DEGREE || !(is_plus || word.eq_ignore_ascii_case(minus)) {
        return None;
    }
    *at += 1;
    Some(if is_plus { ORIGIN + thousandths } else { ORIGIN - thousandths })
}

/// `-12.5` with `digits` 3 is -12500; more decimals than `digits` are refused.
fn decimal(text: &str, digits: u32) -> Option<i64> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let decimals = u32::try_from(part.len()).ok()?;
    if whole.is_empty() || whole.len() > 10 || decimals > digits || !is_number(whole) || !is_number(part) {
        return None;
    }
    let scaled = format!("{whole}{part}").parse::<i64>().ok()? * 10_i64.pow(digits - decimals);
    Some(if is_negative { -scaled } else { scaled })
}

fn centimetres(word: &str) -> Option<i64> {
    decimal(word.strip_suffix(['m', 'M']).unwrap_or(word), 2)
}

/// The largest of `d * 10^p` centimetres that is not above; both digits at most 9.
fn digit_and_power(centimetres: i64) -> Option<u8> {
    let mut digit = u64::try_from(centimetres).ok()?;
    let mut power = 0_u8;
    while digit > 9 {
        digit /= 10;
        power += 1;
    }
    (power <= 9).then(|| u8::try_from(digit).map_or(0, |digit| digit << 4 | power))
}

/// Version 0, sizes of two decimal digits, angles within the sphere.
pub(super) fn is_well_formed(wire: &[u8]) -> bool {
    let Some([version, sizes @ .., _, _, _, _, _, _, _, _, _, _, _, _]) = wire.first_chunk::<LEN>() else {
        return false;
    };
    let angle_at =
        |at: usize| wire.get(at..).and_then(|rest| rest.first_chunk()).map(|it| u32::from_be_bytes(*it));
    let within = |at, limit: u32| angle_at(at).is_some_and(|it| it.abs_diff(ORIGIN) <= limit * DEGREE);
    let is_size = |size: &u8| size >> 4 <= 9 && size & 0x0f <= 9;
    wire.len() == LEN && *version == 0 && sizes.iter().all(is_size) && within(4, 90) && within(8, 180)
}

/// The text of well-formed data.
pub(super) fn print(wire: &[u8], out: &mut String) {
    let word = |at: usize| {
        wire.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |octets| u32::from_be_bytes(*octets))
    };
    for (at, [plus, minus]) in [(4, ["N", "S"]), (8, ["E", "W"])] {
        let direction = if word(at) >= ORIGIN { plus } else { minus };
        let angle = word(at).abs_diff(ORIGIN);
        let (degrees, minutes, seconds) = (angle / DEGREE, angle / 60_000 % 60, angle % 60_000);
        let _ = write!(out, "{degrees} {minutes} {}.{:03} {direction} ", seconds / 1_000, seconds % 1_000);
    }
    let altitude = i64::from(word(12)) - i64::from(GROUND_CM);
    let sign = if altitude < 0 { "-" } else { "" };
    let _ = write!(out, "{sign}{}.{:02}m", altitude.abs() / 100, altitude.abs() % 100);
    for size in wire.iter().skip(1).take(3) {
        let centimetres = u64::from(size >> 4) * 10_u64.pow(u32::from(size & 0x0f));
        let _ = write!(out, " {}.{:02}m", centimetres / 100, centimetres % 100);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, (usize, &'static str)> {
        let words: Vec<&str> = text.split(' ').collect();
        let wire = parse(&words)?;
        assert!(is_well_formed(&wire), "{text}");
        let mut out = String::new();
        print(&wire, &mut out);
        Ok(out)
    }

    #[test]
    fn the_examples_of_rfc_1876_read_back() {
        for (text, printed) in [
            (
                "42 21 54 N 71 06 18 W -24m 30m",
                "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
            ),
            (
                "42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
                "42 21 43.952 N 71 5 6.344 W -24.00m 1.00m 200.00m 10.00m",
            ),
            ("52 14 05 N 00 08 50 E 10m", "52 14 5.000 N 0 8 50.000 E 10.00m 1.00m 10000.00m 10.00m"),
            ("32 7 19 S 116 2 25 E 10m", "32 7 19.000 S 116 2 25.000 E 10.00m 1.00m 10000.00m 10.00m"),
            ("42 N 71 W 0", "42 0 0.000 N 71 0 0.000 W 0.00m 1.00m 10000.00m 10.00m"),
            (
                "90 S 180 W -100000.00 90000000.00m 0 0m",
                "90 0 0.000 S 180 0 0.000 W -100000.00m 90000000.00m 0.00m 0.00m",
            ),
        ] {
            assert_eq!(read(text), Ok(printed.to_owned()), "{text}");
            assert_eq!(read(printed), Ok(printed.to_owned()));
        }
        let words = ["42", "21", "54", "N", "71", "06", "18", "W", "-24m", "30m"];
        let wire = [0, 0x33, 0x16, 0x13, 0x89, 0x17, 0x2d, 0xd0, 0x70, 0xbe, 0x15, 0xf0, 0, 0x98, 0x8d, 0x20];
        assert_eq!(parse(&words), Ok(wire));
    }

    #[test]
    fn what_is_no_place_is_refused_where_it_is() {
        for (text, at) in [
            ("91 N 0 E 0", 0),
            ("90 0 0.001 N 0 E 0", 3),
            ("1 60 N 0 E 0", 1),
            ("1 E", 1),
            ("1 N 181 E 0", 2),
            ("1 N 1 E x", 4),
            ("1 N 1 E", 4),
            ("1 N 1 E 1.001m", 4),
            ("1 N 1 E 1m 99999999999m", 5),
            ("1 N 1 E 1m 1m 1m 1m 1m", 8),
            ("1 N 1 E -100000.01m", 4),
            ("", 0),
        ] {
            assert_eq!(read(text).map_err(|(at, _)| at), Err(at), "{text}");
        }
    }
}
