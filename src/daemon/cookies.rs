//! The secrets of DNS cookies: from a file that a fleet shares, or random and rolled every day.
//!
//! The file has 32 hexadecimal digits in a line: the secret cookies are made with, and in a second
//! line one that is accepted too, so that a fleet can be told the next secret before it is used
//! (RFC 9018 5). It is read at the start only. Random ones are taken over from a predecessor. What cookies mean is `dns::cookie`'s to know.

use crate::dns::CookieSecrets;
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

/// What everything that answers looks at.
pub type SharedSecrets = Arc<ArcSwap<CookieSecrets>>;

/// The secrets in force, and what renews them.
pub struct Secrets {
    live: Arc<ArcSwap<CookieSecrets>>,
    seed: u64,
    rolling: Option<JoinHandle<()>>,
}

impl Secrets {
    /// Those of `file`, else those of a predecessor, else random ones. Must be called inside a runtime.
    pub fn start(file: Option<&Path>, inherited: Option<SharedSecrets>) -> Result<Self, SecretsError> {
        let seed = u64::from_ne_bytes(random()?);
        let Some(file) = file else {
            let live = match inherited {
                Some(live) => live,
                None => Arc::new(ArcSwap::from_pointee(CookieSecrets::new(&random()?, None))),
            };
            let rolling = tokio::spawn(roll(Arc::clone(&live)));
            return Ok(Self { live, seed, rolling: Some(rolling) });
        };
        let secrets = read(file)?;
        Ok(Self { live: Arc::new(ArcSwap::from_pointee(secrets)), seed, rolling: None })
    }

    /// What workers look at.
    pub fn live(&self) -> &Arc<ArcSwap<CookieSecrets>> {
        &self.live
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

async fn roll(live: Arc<ArcSwap<CookieSecrets>>) {
    loop {
        tokio::time::sleep(ROLL_EVERY).await;
        match random() {
            Ok(next) => live.store(Arc::new(CookieSecrets::clone(&live.load()).roll(&next))),
            Err(error) => tracing::error!("the cookie secret stays: {error}"),
        }
    }
}

/// From the system.
fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut secret = [0; N];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut secret).map_err(|_| SecretsError::NoRandomness)?;
    Ok(secret)
}

fn read(file: &Path) -> Result<CookieSecrets, SecretsError> {
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

    #[tokio::test]
    async fn random_secrets_differ_and_files_that_are_not_there_are_told() {
        assert_ne!(random::<16>().expect("random"), random().expect("random"));
        assert!(Secrets::start(None, None).is_ok());
        let error = Secrets::start(Some(Path::new("no/such/file")), None).err().expect("no file");
        assert!(error.to_string().starts_with("cannot read the cookie secrets no/such/file"), "{error}");
    }
}
