//! The secrets of DNS cookies: from a file that a fleet shares, or random and rolled every day.
//!
//! The file has 32 hexadecimal digits in a line: the secret cookies are made with, and in a second
//! line one that is accepted too, so that a fleet can be told the next secret before it is used
//! (RFC 9018 5). It is read at the start only. Random ones are taken over from a predecessor with their
//! age, so that they are rolled in time however often one process follows another. What cookies mean is
//! `dns::cookie`'s to know.

use crate::base::clock::{SharedClock, WallTime};
use crate::dns::CookieSecrets;
use crate::serve::handover::Cookies;
use arc_swap::ArcSwap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// RFC 7873 7.1 wants a secret to live 26 hours at least and 36 days at most.
const ROLL_EVERY: Duration = Duration::from_secs(26 * 3_600);
/// Two lines and room for a comment's worth of blanks.
const LONGEST_FILE: u64 = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("cannot read the cookie secrets {file}: {source}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the cookie secrets {0} are not one or two lines of 32 hexadecimal digits")]
    Malformed(PathBuf),
    #[error("the system gives no random numbers for cookie secrets")]
    NoRandomness,
}

/// The secrets in force, and what renews them.
pub struct Secrets {
    cookies: Cookies,
    seed: u64,
    rolling: Option<JoinHandle<()>>,
}

impl Secrets {
    /// Those of `file`, else those of a predecessor, else random ones. Must be called inside a runtime.
    pub fn start(
        file: Option<&Path>,
        inherited: Option<Cookies>,
        clock: &SharedClock,
    ) -> Result<Self, SecretsError> {
        let (seed, now) = (u64::from_ne_bytes(random()?), clock.wall());
        if let Some(file) = file {
            return Ok(Self { cookies: Cookies::new(read(file)?, now), seed, rolling: None });
        }
        let cookies = match inherited {
            Some(cookies) if is_possible(cookies.made(), now) => cookies,
            Some(cookies) => Cookies::new(CookieSecrets::clone(&cookies.secrets.load()), now),
            None => Cookies::new(CookieSecrets::new(&random()?, None), now),
        };
        let rolling = tokio::spawn(roll(cookies.clone(), Arc::clone(clock)));
        Ok(Self { cookies, seed, rolling: Some(rolling) })
    }

    /// What workers look at.
    pub fn live(&self) -> &Arc<ArcSwap<CookieSecrets>> {
        &self.cookies.secrets
    }

    /// For a successor.
    pub fn cookies(&self) -> Cookies {
        self.cookies.clone()
    }

    /// What the tables that strangers fill are keyed with.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        if let Some(rolling) = &self.rolling {
            rolling.abort();
        }
    }
}

async fn roll(cookies: Cookies, clock: SharedClock) {
    loop {
        tokio::time::sleep(left(cookies.made(), clock.wall())).await;
        match random() {
            Ok(next) => {
                let rolled = CookieSecrets::clone(&cookies.secrets.load()).roll(&next);
                cookies.replace(rolled, clock.wall());
            }
            Err(error) => {
                tracing::error!("the cookie secret stays: {error}");
                tokio::time::sleep(ROLL_EVERY).await;
            }
        }
    }
}

/// Whether a predecessor told the moment, and its clock was no later than ours.
fn is_possible(made: WallTime, now: WallTime) -> bool {
    made != WallTime(0) && made <= now
}

/// Until a secret made then is rolled; all of it where the clock went back.
fn left(made: WallTime, now: WallTime) -> Duration {
    let age = if is_possible(made, now) { now.0 - made.0 } else { 0 };
    ROLL_EVERY.saturating_sub(Duration::from_millis(age))
}

/// From the system.
fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut secret = [0; N];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut secret).map_err(|_| SecretsError::NoRandomness)?;
    Ok(secret)
}

/// Those in a file.
///
/// # Errors
/// It cannot be read, or is not one or two lines of 32 hexadecimal digits.
pub fn read(file: &Path) -> Result<CookieSecrets, SecretsError> {
    let failed = |source| SecretsError::Read { file: file.to_owned(), source };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(LONGEST_FILE).read_to_string(&mut text).map_err(failed)?;
    parse(&text).ok_or_else(|| SecretsError::Malformed(file.to_owned()))
}

fn parse(text: &str) -> Option<CookieSecrets> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let current = secret(lines.next()?)?;
    let other = lines.next().map(|line| secret(line).ok_or(())).transpose().ok()?;
    lines.next().is_none().then(|| CookieSecrets::new(&current, other.as_ref()))
}

fn secret(line: &str) -> Option<[u8; 16]> {
    let is_hex = line.len() == 32 && line.bytes().all(|digit| digit.is_ascii_hexdigit());
    let value = u128::from_str_radix(line, 16).ok().filter(|_| is_hex)?;
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::dns::cookie::Cookie;
    use std::net::IpAddr;

    const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const SECOND: &str = "dd3bdf9344b678b185a6f5cb60fca715";

    #[test]
    fn one_or_two_lines_are_secrets() {
        let good = [format!("{FIRST}\n"), format!("\n  {FIRST}  \n\n{SECOND}"), FIRST.to_uppercase()];
        assert!(good.iter().all(|text| parse(text).is_some()));
        let bad =
            ["", "\n", "e5e9", &format!("{FIRST}0"), &format!("{FIRST}\nx"), &format!("+{}", &FIRST[1..])];
        for text in bad {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse(&[FIRST, SECOND, FIRST].join("\n")).is_none());
    }

    #[test]
    fn the_second_line_is_accepted_and_the_first_is_used() {
        let peer = IpAddr::from([192, 0, 2, 1]);
        let reply = |secrets: &CookieSecrets, payload: &[u8]| {
            secrets.reply(&Cookie::read(payload).expect("a cookie"), peer, 5)
        };
        let (both, second) = (parse(&[FIRST, SECOND].join("\n")), parse(SECOND));
        let (both, second) = (both.expect("two secrets"), second.expect("one secret"));
        let cookie = reply(&second, b"8 octets").payload();
        assert!(reply(&both, &cookie).is_verified);
        assert!(!reply(&second, &reply(&both, &cookie).payload()).is_verified);
    }

    fn clock(now: WallTime) -> SharedClock {
        Arc::new(ManualClock::starting_at(now))
    }

    #[tokio::test]
    async fn random_secrets_differ_and_files_that_are_not_there_are_told() {
        assert_ne!(random::<16>().expect("random"), random().expect("random"));
        let clock = clock(WallTime(1));
        assert!(Secrets::start(None, None, &clock).is_ok());
        let error = Secrets::start(Some(Path::new("no/such/file")), None, &clock).err().expect("no file");
        assert!(error.to_string().starts_with("cannot read the cookie secrets no/such/file"), "{error}");
    }

    #[tokio::test]
    async fn a_secret_keeps_its_age_when_it_goes_from_process_to_process() {
        let hours = |n: u64| n * 3_600_000;
        let (made, first) = (WallTime(hours(1_000)), CookieSecrets::new(&[1; 16], None));
        let young = clock(WallTime(made.0 + hours(25)));
        // Each takes over from the one before, an hour before the secret is due.
        let mut handed = Cookies::new(first, made);
        for _ in 0..3 {
            let secrets = Secrets::start(None, Some(handed), &young).expect("starts");
            handed = secrets.cookies();
            assert_eq!(handed.made(), made);
        }
        // And one after it was: the secret is rolled at once, and the one before stays good.
        let due = clock(WallTime(made.0 + hours(26)));
        let secrets = Secrets::start(None, Some(handed), &due).expect("starts");
        while secrets.live().load().keys().len() < 2 {
            tokio::task::yield_now().await;
        }
        let keys = secrets.live().load().keys();
        assert!(keys[0] != [1; 16] && keys[1] == [1; 16], "{keys:?}");
        assert_eq!(secrets.cookies().made(), due.wall());
    }

    #[tokio::test]
    async fn an_age_that_cannot_be_begins_now() {
        let now = clock(WallTime(5_000));
        for made in [0, 5_001, 4_000] {
            let handed = Cookies::new(CookieSecrets::new(&[1; 16], None), WallTime(made));
            let secrets = Secrets::start(None, Some(handed), &now).expect("starts");
            let expected = if made == 4_000 { made } else { 5_000 };
            assert_eq!(secrets.cookies().made(), WallTime(expected));
        }
    }

    #[test]
    fn what_is_left_of_a_secrets_life() {
        let day = 24 * 3_600_000;
        let check = |made: u64, now: u64, left_ms: u128| {
            assert_eq!(left(WallTime(made), WallTime(now)).as_millis(), left_ms, "{made} {now}");
        };
        let whole = ROLL_EVERY.as_millis();
        check(5 * day, 6 * day, whole - u128::from(day));
        check(5 * day, 9 * day, 0);
        check(0, 9 * day, whole);
        check(6 * day, 5 * day, whole);
    }
}
