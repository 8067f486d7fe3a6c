//! How long a certificate lasts: the one field of X.509 (RFC 5280 4.1) that a probe reports.
//!
//! ```text
//! Certificate SEQ { tbs SEQ { [0] version?, serial INT, algorithm SEQ, issuer SEQ, validity SEQ { from, to } … } … }
//!                                                                                                       ^^
//! ```
//! rustls has parsed and, where wanted, verified all of it; this reads on to `to` and gives up on
//! anything unexpected.

use crate::base::clock::WallTime;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Whole days from `now` until the certificate expires, negative after it.
pub(super) fn days_left(certificate: &[u8], now: WallTime) -> Option<i32> {
    let expiry = not_after(certificate)?;
    let left = expiry.checked_sub(i64::try_from(now.0).ok()?)?;
    i32::try_from(left.div_euclid(DAY_MS)).ok()
}

/// When a certificate in DER expires.
pub fn expires_at(certificate: &[u8]) -> Option<WallTime> {
    u64::try_from(not_after(certificate)?).ok().map(WallTime)
}

/// Milliseconds since 1970.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (tbs, _) = element(element(certificate, SEQUENCE)?.0, SEQUENCE)?;
    let rest = element(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
    let (_, rest) = element(rest, INTEGER)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, to) = time(validity)?;
    let ((tag, text), _) = time(to)?;
    moment(tag, text)
}

type Time<'a> = (u8, &'a [u8]);

fn time(der: &[u8]) -> Option<(Time<'_>, &[u8])> {
    let tag = *der.first()?;
    let (text, rest) = element(der, tag)?;
    Some(((tag, text), rest))
}

/// The contents of the first element, which has to have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` (years 1950 to 2049) or `YYYYMMDDHHMMSSZ`, RFC 5280 4.1.2.5.
fn moment(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let pair = |at: usize| -> Option<i8> {
        let pair = digits.get(at..at + 2)?;
        let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0') as i8);
        Some(digit(pair[0])? * 10 + digit(pair[1])?)
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = i16::from(pair(0)?);
            (if year < 50 { 2_000 + year } else { 1_900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (i16::from(pair(0)?) * 100 + i16::from(pair(2)?), 4),
        _ => return None,
    };
    let date =
        DateTime::new(year, pair(at)?, pair(at + 2)?, pair(at + 4)?, pair(at + 6)?, pair(at + 8)?, 0).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["live.example".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn days_are_counted_to_the_expiry() {
        let at = |text: &str| {
            let moment: jiff::Timestamp = text.parse().expect("a moment");
            WallTime(moment.as_millisecond() as u64)
        };
        let near = made(2026);
        assert_eq!(days_left(&near, at("2026-02-27T00:00:00Z")), Some(2));
        assert_eq!(days_left(&near, at("2026-02-28T12:00:00Z")), Some(0));
        assert_eq!(days_left(&near, at("2026-03-01T00:00:01Z")), Some(-1));
        // Past 2049 the time is of the other type.
        assert_eq!(days_left(&made(2060), at("2060-02-28T00:00:00Z")), Some(2));
    }

    #[test]
    fn what_is_no_certificate_has_no_days() {
        let whole = made(2026);
        for cut in 0..whole.len().min(200) {
            let _ = days_left(&whole[..cut], WallTime(0));
        }
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x00"] {
            assert_eq!(days_left(bytes, WallTime(0)), None, "{bytes:?}");
        }
    }
}
