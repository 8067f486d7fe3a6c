//! The words of the policy language: durations, percents, names, addresses, and how each is refused.
//!
//! A scalar is parsed into the type the model wants, so that nothing later has to ask again.

use super::codes;
use super::read::{Bad, Scalar};
use crate::base::diagnostic::did_you_mean;
use crate::base::metrics_text::Selector;
use crate::base::pattern::Pattern;
use crate::base::units::Ppm;
use crate::model::service::Bias;
use crate::model::token::TokenHash;
use serde_json::{Value as Json, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The refusal of a word outside a fixed set.
pub fn not_one_of(text: &str, words: &[&str]) -> Bad {
    let help = match did_you_mean(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}", words.join(", ")),
    };
    Bad::value(format!("`{text}` is not one of {}", words.join(", ")), help)
}

/// Any text, not empty. A plain number or boolean is taken as the text it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Scalar for Text {
    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 1024 })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        match text.len() {
            0 => Err(Bad::value("an empty text", "give it a value, or remove the key")),
            1..=1024 => Ok(Self(text.to_owned())),
            _ => Err(Bad::value("a text of more than 1,024 bytes", "shorten it")),
        }
    }
}

/// What operators name things by; safe in files, metrics and command lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);

const NAME_HELP: &str =
    "1 to 63 letters, digits, `-`, `_` or `.`, beginning and ending with a letter or digit";

impl Scalar for Name {
    fn schema() -> Json {
        json!({ "type": ["string", "integer"], "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let good = bytes.len() <= 63
            && bytes.iter().all(|&byte| inner(byte))
            && ends(bytes.first())
            && ends(bytes.last());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Bad::value(format!("`{text}` is not a name"), NAME_HELP))
        }
    }
}

/// The hash of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWord(pub TokenHash);

impl Scalar for TokenWord {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^sha256:[0-9A-Fa-f]{64}$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let help = "`sha256:` and 64 hexadecimal digits: `rhumb vantage token NAME` makes a token and prints \
                    this line";
        // What stands there may be the token itself, so it is not repeated.
        TokenHash::parse(text).map(Self).ok_or_else(|| Bad::value("not the hash of a token", help))
    }
}

/// A network interface of Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(pub String);

impl Scalar for Interface {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^/\\s]{1,15}$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let is_name = (1..=15).contains(&text.len())
            && !matches!(text, "." | "..")
            && text.chars().all(|c| c != '/' && !c.is_whitespace() && !c.is_control());
        match is_name {
            true => Ok(Self(text.to_owned())),
            false => {
                Err(Bad::value(format!("`{text}` is not an interface"), "as `ip link` lists them: eth0"))
            }
        }
    }
}

/// `true` or `false`.
impl Scalar for bool {
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        match text {
            "true" if plain => Ok(true),
            "false" if plain => Ok(false),
            _ => Err(Bad::of(
                &codes::WRONG_TYPE,
                format!("`{text}` is not a boolean"),
                "write true or false, without quotes",
            )),
        }
    }
}

/// A whole number between bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Scalar for Whole<MIN, MAX> {
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        let value = whole(text, plain)?;
        if (MIN..=MAX).contains(&value) {
            return Ok(Self(value));
        }
        Err(Bad::value(format!("{value} is out of range"), format!("{MIN} to {MAX}")))
    }
}

fn whole(text: &str, plain: bool) -> Result<u64, Bad> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || !digits {
        let help = if digits { "remove the quotes" } else { "digits only: 30" };
        return Err(Bad::of(&codes::WRONG_TYPE, format!("`{text}` is not a whole number"), help));
    }
    text.parse().map_err(|_| Bad::value(format!("{text} is too large"), "use a smaller number"))
}

/// A number with up to six decimals, from 0 to `MAX`: weights and prices. Kept exactly, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<const MAX: u64>(u64);

impl<const MAX: u64> Decimal<MAX> {
    pub const fn millionths(self) -> u64 {
        self.0
    }
}

impl<const MAX: u64> Scalar for Decimal<MAX> {
    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": MAX })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, rest) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        if !plain || whole.is_empty() || rest.is_empty() || !digits(whole) || !digits(rest) {
            let message = format!("`{text}` is not a number");
            return Err(Bad::of(&codes::WRONG_TYPE, message, "write it plainly: 0.25"));
        }
        let bounds = format!("0 to {MAX}");
        if unsigned.len() < text.len() {
            return Err(Bad::value(format!("{text} is negative"), bounds));
        }
        if rest.len() > 6 {
            return Err(Bad::value(format!("{text} has more than six decimals"), "round it"));
        }
        let millionths = format!("{whole}{rest:0<6}").parse::<u64>().ok();
        let value = millionths.filter(|&value| value <= MAX * 1_000_000);
        value.map(Self).ok_or_else(|| Bad::value(format!("{text} is out of range"), bounds))
    }
}

/// `version: 1`. Any other number is refused before the rest of the file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version;

impl Scalar for Version {
    fn schema() -> Json {
        json!({ "const": 1 })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        match whole(text, plain)? {
            1 => Ok(Self),
            other => Err(Bad::of(
                &codes::UNSUPPORTED_VERSION,
                format!("version {other} of the policy language is not known to this rhumb"),
                "this rhumb reads `version: 1`; a newer rhumb may read the file",
            )),
        }
    }
}

/// Seconds a resolver may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(pub u32);

impl Ttl {
    pub const MIN: u32 = 5;
    pub const MAX: u32 = 300;
    pub const DEFAULT: u32 = 30;
}

impl Scalar for Ttl {
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": Self::MIN, "maximum": Self::MAX })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        let value = whole(text, plain)?;
        match u32::try_from(value) {
            Ok(ttl) if (Self::MIN..=Self::MAX).contains(&ttl) => Ok(Self(ttl)),
            _ => Err(Bad::of(
                &codes::TTL_OUT_OF_BOUNDS,
                format!("a TTL of {value} s is outside 5 to 300 s"),
                if value < 5 {
                    "use 5 or more: resolvers ignore or clamp shorter ones, and every query would come here"
                } else {
                    "use 300 or less: clients keep a dead node for as long as the TTL says"
                },
            )),
        }
    }
}

/// Degrees of latitude (`LIMIT` 90) or longitude (180).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Degrees<const LIMIT: i32>(pub f64);

impl<const LIMIT: i32> Scalar for Degrees<LIMIT> {
    fn schema() -> Json {
        json!({ "type": "number", "minimum": -LIMIT, "maximum": LIMIT })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        let looks = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let Some(value) = text.parse::<f64>().ok().filter(|_| plain && looks) else {
            return Err(Bad::of(
                &codes::WRONG_TYPE,
                format!("`{text}` is not a number of degrees"),
                "write it as 31.23",
            ));
        };
        if value.abs() <= f64::from(LIMIT) {
            return Ok(Self(value));
        }
        Err(Bad::value(format!("{text} degrees is off the globe"), format!("-{LIMIT} to {LIMIT}")))
    }
}

/// A length of time between bounds in milliseconds: `200ms`, `2s`, `5m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<const MIN_MS: u64, const MAX_MS: u64>(pub Duration);

const DURATION_HELP: &str = "a number and a unit: 200ms, 2s, 5m, 1h30m";

impl<const MIN_MS: u64, const MAX_MS: u64> Scalar for Span<MIN_MS, MAX_MS> {
    fn schema() -> Json {
        let bounds = format!("{} to {}", duration_text(ms(MIN_MS)), duration_text(ms(MAX_MS)));
        json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$", "$comment": bounds })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let Some(value) = parse_duration(text) else {
            return Err(Bad::value(format!("`{text}` is not a length of time"), DURATION_HELP));
        };
        if (ms(MIN_MS)..=ms(MAX_MS)).contains(&value) {
            return Ok(Self(value));
        }
        let bounds = format!("{} to {}", duration_text(ms(MIN_MS)), duration_text(ms(MAX_MS)));
        Err(Bad::value(format!("{text} is out of range"), bounds))
    }
}

/// A length of time to add or, with a minus, to take away, up to [`Bias::MOST_US`]: `20ms`, `-10ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    by_us: i32,
}

impl Shift {
    pub const fn micros(self) -> i32 {
        self.by_us
    }
}

impl Scalar for Shift {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[+-]?([0-9]+(ms|s))+$", "$comment": "-10s to 10s" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let (is_less, size) = match text.strip_prefix('-') {
            Some(size) => (true, size),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let Some(size) = parse_duration(size) else {
            return Err(Bad::value(format!("`{text}` is not a length of time"), "such as 20ms or -10ms"));
        };
        match i32::try_from(size.as_micros()).ok().filter(|size| *size <= Bias::MOST_US) {
            Some(size) => Ok(Self { by_us: if is_less { -size } else { size } }),
            None => Err(Bad::value(format!("{text} is out of range"), "-10s to 10s")),
        }
    }
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// `1h30m` to a duration; units may follow each other, largest first or not.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then(|| ms(total))
}

/// As policy files write it: `200ms`, `1h30m`, `5m1s800ms`.
pub fn duration_text(duration: Duration) -> String {
    let total = duration.as_millis();
    let parts = [
        (total / 3_600_000, "h"),
        (total / 60_000 % 60, "m"),
        (total / 1_000 % 60, "s"),
        (total % 1_000, "ms"),
    ];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `75%`, between bounds in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent<const MIN: u32, const MAX: u32>(pub Ppm);

impl<const MIN: u32, const MAX: u32> Scalar for Percent<MIN, MAX> {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,4})?%$", "$comment": format!("{MIN}% to {MAX}%") })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let number = text.strip_suffix('%').filter(|n| n.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        let Some(percent) = number.and_then(|number| number.parse::<f64>().ok()) else {
            return Err(Bad::value(format!("`{text}` is not a percentage"), "write it as 75%"));
        };
        if (f64::from(MIN)..=f64::from(MAX)).contains(&percent) {
            return Ok(Self(Ppm::from_fraction(percent / 100.0)));
        }
        Err(Bad::value(format!("{text} is out of range"), format!("{MIN}% to {MAX}%")))
    }
}

impl Scalar for IpAddr {
    fn schema() -> Json {
        json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let Ok(address) = text.parse::<IpAddr>() else {
            return Err(Bad::value(
                format!("`{text}` is not an IPv4 or IPv6 address"),
                "an address without port or prefix length: 192.0.2.1 or 2001:db8::1",
            ));
        };
        match address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(Bad::value(
                format!("`{text}` is an IPv4 address inside an IPv6 one"),
                format!("write it as {}", address.to_canonical()),
            )),
            _ if address.is_unspecified() || address.is_multicast() => {
                Err(Bad::value(format!("`{text}` is not the address of one host"), "use a unicast address"))
            }
            _ => Ok(address),
        }
    }
}

/// Where to listen or connect: address and port.
impl Scalar for SocketAddr {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        text.parse().map_err(|_| {
            Bad::value(
                format!("`{text}` is not an address with a port"),
                "write it as 127.0.0.1:5300 or \"[::1]:5300\"",
            )
        })
    }
}

/// A name that DNS can carry, lower-cased, without the final dot. The first label may be `*`, which
/// stands for every name below the rest that has no records of its own (RFC 4592).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname(pub String);

impl Scalar for Hostname {
    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 254, "pattern": "^(\\*\\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\\.?$" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match hostname_fault(&name) {
            None => Ok(Self(name)),
            Some((what, help)) => {
                Err(Bad::of(&codes::BAD_HOSTNAME, format!("`{text}` is not a hostname: {what}"), help))
            }
        }
    }
}

fn hostname_fault(name: &str) -> Option<(&'static str, &'static str)> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.len() > 253 {
        return Some(("longer than 253 characters", "shorten it"));
    }
    let name = match name.strip_prefix("*.") {
        Some(rest) if !rest.contains('.') => {
            return Some(("a wildcard for a whole top-level domain", "a name such as *.live.example.com"));
        }
        Some(rest) => rest,
        None => name,
    };
    if name.contains('*') {
        return Some(("an asterisk stands alone, as the first label", "write *.example.com, or each name"));
    }
    if !name.is_ascii() {
        return Some(("not ASCII", "write international names in their xn-- form"));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Some(("an empty label", "a full name such as live.example.com"));
        }
        if label.len() > 63 {
            return Some(("a label longer than 63 characters", "shorten it"));
        }
        if label.starts_with('-') || label.ends_with('-') || !label.bytes().all(letters) {
            return Some((
                "a label with other than letters, digits and inner hyphens",
                "a full name such as live.example.com",
            ));
        }
    }
    (!name.contains('.')).then_some(("a single label", "give the full name, such as live.example.com"))
}

/// The path of an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPath(pub String);

impl Scalar for HttpPath {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[!-~]*$", "maxLength": 1024 })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::value(format!("`{text}` is not a path"), "begin with `/`, no spaces: /health"))
    }
}

/// The name of a header of an HTTP request (RFC 9110 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(pub String);

/// Those that say how the message itself is sent.
const FRAMING: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

impl Scalar for HeaderName {
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "maxLength": 64 })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(token) {
            return Err(Bad::value(
                format!("`{text}` is not the name of a header"),
                "as in `x-probe`, without colon",
            ));
        }
        if FRAMING.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(Bad::value(
                format!("`{text}` is not the policy's to set"),
                "`host` is a key of the probe; the others say how the message is sent",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A regular expression, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternText(pub Pattern);

impl Scalar for PatternText {
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 1024 })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let help = "the syntax of Rust's regex crate: no look-around, no back-references";
        if text.is_empty() || text.len() > 1024 {
            return Err(Bad::of(&codes::BAD_PATTERN, "a pattern of none or more than 1,024 bytes", help));
        }
        let read = Pattern::new(text).map(Self);
        read.map_err(|why| {
            Bad::of(&codes::BAD_PATTERN, format!("`{text}` is not a regular expression: {why}"), help)
        })
    }
}

/// Accepted HTTP status: `200` or `200-299`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

impl Scalar for StatusRange {
    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9]{2}-[1-5][0-9]{2}$" },
        ] })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (code(low), code(high)) {
            (Some(low), Some(high)) if low <= high => Ok(Self(low, high)),
            _ => Err(Bad::value(format!("`{text}` is not an HTTP status"), "200, or a range: 200-299")),
        }
    }
}

/// Where in a load feed's answer a number is; what that looks like depends on the feed's format, so it is
/// checked by [`json_pointer`] or [`metric_selector`] once that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPlace(pub String);

impl Scalar for FeedPlace {
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 1024 })
    }

    fn parse(text: &str, plain: bool) -> Result<Self, Bad> {
        Text::parse(text, plain).map(|text| Self(text.0))
    }
}

/// Why `text` is not a JSON pointer (RFC 6901).
pub fn json_pointer(text: &str) -> Result<(), Bad> {
    let escapes =
        text.match_indices('~').all(|(at, _)| matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')));
    if text.starts_with('/') && escapes {
        return Ok(());
    }
    let help = if escapes { "begin with `/`: /mbps" } else { "write `~` as ~0 and `/` inside a key as ~1" };
    Err(Bad::of(&codes::BAD_JSON_POINTER, format!("`{text}` is not a JSON pointer"), help))
}

/// Why `text` names no metric of Prometheus' text format.
pub fn metric_selector(text: &str) -> Result<(), Bad> {
    let read = Selector::parse(text).map(drop);
    read.map_err(|why| {
        let message = format!("`{text}` is not a metric: {why}");
        Bad::of(&codes::BAD_METRIC, message, "a name, perhaps with labels by = and !=: busy{job=\"edge\"}")
    })
}

/// The address of a load feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(pub String);

impl Scalar for HttpUrl {
    fn schema() -> Json {
        json!({ "type": "string", "format": "uri", "pattern": "^https?://" })
    }

    fn parse(text: &str, _plain: bool) -> Result<Self, Bad> {
        let refuse = |why: &str| {
            Err(Bad::of(
                &codes::BAD_URL,
                format!("`{text}` is not a load feed's URL: {why}"),
                "http://192.0.2.1:8081/load",
            ))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("it has no scheme");
        };
        if !matches!(scheme, "http" | "https") {
            return refuse("only http and https are read");
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        if host.contains('@') {
            return refuse("credentials do not belong into a policy file");
        }
        if !good_authority(host) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("its host or port cannot be read");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether `host` is an address or a name, perhaps with a port.
pub fn good_authority(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) {
        return true;
    }
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let digits_only = name.split('.').all(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    !digits_only && name.split('.').all(label) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, millis) in [
            ("200ms", 200),
            ("2s", 2_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1m30s", 90_000),
            ("5m1s800ms", 301_800),
            ("0s", 0),
        ] {
            let read = parse_duration(text).expect("a duration");
            assert_eq!(read.as_millis(), millis);
            assert_eq!(duration_text(read), text);
        }
        for text in
            ["", "5", "s", "5 s", "1.5s", "-1s", "5d", "99999999999999999999h", "18446744073709551615h"]
        {
            assert!(parse_duration(text).is_none(), "{text}");
        }
    }

    #[test]
    fn hostnames_are_lowered_or_refused() {
        let read = |text| Hostname::parse(text, true).map(|name| name.0).map_err(|bad| bad.message);
        assert_eq!(read("Live.Rhumb.Test."), Ok("live.rhumb.test".to_owned()));
        assert_eq!(read("_dns.a.b"), Ok("_dns.a.b".to_owned()));
        assert_eq!(read("*.Live.rhumb.test"), Ok("*.live.rhumb.test".to_owned()));
        for text in [
            "",
            ".",
            "live",
            "a..b",
            "-a.b",
            "a-.b",
            "*.a",
            "*",
            "a.*.b",
            "a*.b.c",
            "*.*.b.c",
            "a b.c",
            "é.b",
            &"a.".repeat(130),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_and_pointers() {
        for text in
            ["http://127.0.0.1:8081/load", "https://[::1]:1/x?y", "http://node.example.com/", "http://a:80"]
        {
            assert!(HttpUrl::parse(text, true).is_ok(), "{text}");
        }
        for text in
            ["127.0.0.1/load", "ftp://a/b", "http:///x", "http://1.2.3/x", "http://a:0/x", "http://u@a/x"]
        {
            assert!(HttpUrl::parse(text, true).is_err(), "{text}");
        }
        assert!(json_pointer("/a~1b/0").is_ok());
        assert!(json_pointer("/a~2").is_err());
        assert!(json_pointer("mbps").is_err());
        assert!(metric_selector("mbps").is_ok());
        assert!(metric_selector("/mbps").is_err());
    }
}
