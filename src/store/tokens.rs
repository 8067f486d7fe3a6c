//! `state/tokens`: who may use the admin address from elsewhere. Sealed; what is kept of a token is its hash.

use super::sealed;
use crate::base::clock::WallTime;
use crate::base::error::chain;
use crate::model::actor::{Actor, Role};
use crate::model::token::TokenHash;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Mutex;

/// In the state folder.
const FILE: &str = "tokens";
/// Bumped when the shape changes.
const FORMAT: u32 = 1;
/// Tokens at once; each request is held against all of them.
const MOST: usize = 1_000;
const LONGEST_NAME: usize = 64;

/// A token, but for the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenShown {
    pub name: String,
    pub role: Role,
    /// Milliseconds since 1970.
    pub made_at: WallTime,
    pub made_by: String,
    /// `None`: until it is revoked.
    pub expires_at: Option<WallTime>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    shown: TokenShown,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    tokens: Vec<Kept>,
}

/// Why a token was not made, or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "{0:?} cannot be the name of a token; use 1 to {LONGEST_NAME} letters, digits, `.`, `-`, `_` and `@`"
    )]
    Name(String),
    #[error("there is a token `{0}` already; revoke it first, or choose another name")]
    Taken(String),
    #[error("there is no token `{0}`; `rhumb token list` shows those there are")]
    Unknown(String),
    #[error("there are {MOST} tokens already; revoke those that nobody uses")]
    TooMany,
    #[error("cannot write {}: {source}; make room or mend its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The tokens of a state folder. What another process wrote is taken up with the next look.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: ArcSwap<Read>,
    /// Who writes; only threads that may wait do.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Read {
    tokens: Vec<Kept>,
    /// Of the file when it was read; `None`: there was none.
    changed: Option<Version>,
}

/// When a file was written, and its inode: each write makes a new file.
type Version = (SystemTime, u64);

impl Tokens {
    /// The sentence says what was wrong with the file; it is put aside as `tokens.damaged`.
    pub fn open(folder: &Path) -> (Self, Option<String>) {
        let path = folder.join(FILE);
        let (read, fault) = match read(&path) {
            Ok(read) => (read, None),
            Err(fault) => {
                let aside = folder.join(format!("{FILE}.damaged"));
                let told = match fs::rename(&path, &aside) {
                    Ok(()) => format!("{fault}; it was put aside as {}", aside.display()),
                    Err(error) => format!("{fault}; it cannot be put aside: {error}"),
                };
                (Read::default(), Some(told))
            }
        };
        (Self { path, read: ArcSwap::from_pointee(read), turn: Mutex::new(()) }, fault)
    }

    /// Whose `token` this is, unless it has expired.
    pub fn actor(&self, token: &str, now: WallTime) -> Option<Actor> {
        let read = self.refreshed();
        // All are compared, so that the time it takes does not tell which was nearly right.
        let matching = read.tokens.iter().filter(|kept| {
            let is_it = TokenHash::parse(&kept.hash).is_some_and(|hash| hash.is_of(token));
            is_it && kept.shown.expires_at.is_none_or(|at| now < at)
        });
        let found = matching.fold(None, |_, kept| Some(kept))?;
        Some(Actor { name: found.shown.name.clone(), role: found.shown.role })
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<TokenShown> {
        let mut shown: Vec<_> = self.refreshed().tokens.iter().map(|kept| kept.shown.clone()).collect();
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        shown
    }

    /// Lets whoever shows the token of `hash` in.
    ///
    /// # Errors
    /// A name that is taken or none, too many, or a disk that does not take it: nothing changes.
    pub fn add(&self, token: TokenShown, hash: TokenHash) -> Result<(), TokenError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
        if !(1..=LONGEST_NAME).contains(&token.name.len()) || !token.name.chars().all(fits) {
            return Err(TokenError::Name(token.name.chars().take(LONGEST_NAME).collect()));
        }
        let _turn = self.turn.blocking_lock();
        let now = token.made_at;
        let mut tokens = self.refreshed().tokens.clone();
        tokens.retain(|kept| kept.shown.expires_at.is_none_or(|at| now < at));
        if tokens.iter().any(|kept| kept.shown.name == token.name) {
            return Err(TokenError::Taken(token.name));
        }
        if tokens.len() >= MOST {
            return Err(TokenError::TooMany);
        }
        tokens.push(Kept { shown: token, hash: hash.to_string() });
        self.keep(tokens)
    }

    /// Lets nobody in any more who shows the token of this name.
    ///
    /// # Errors
    /// There is none, or the disk does not take it: nothing changes.
    pub fn revoke(&self, name: &str) -> Result<TokenShown, TokenError> {
        let _turn = self.turn.blocking_lock();
        let mut tokens = self.refreshed().tokens.clone();
        let at = tokens.iter().position(|kept| kept.shown.name == name);
        let at = at.ok_or_else(|| TokenError::Unknown(name.chars().take(LONGEST_NAME).collect()))?;
        let revoked = tokens.remove(at).shown;
        self.keep(tokens)?;
        // Or the version before would let it in again if this file were damaged.
        let _ = fs::remove_file(self.path.with_file_name(format!("{FILE}.previous")));
        Ok(revoked)
    }

    fn keep(&self, tokens: Vec<Kept>) -> Result<(), TokenError> {
        let failed = |source| TokenError::Io { path: self.path.clone(), source };
        let on_disk = OnDisk { format: FORMAT, tokens };
        let payload = serde_json::to_vec(&on_disk).map_err(|error| failed(io::Error::other(error)))?;
        sealed::write(&self.path, &payload).map_err(failed)?;
        self.read.store(Arc::new(Read { tokens: on_disk.tokens, changed: changed(&self.path) }));
        Ok(())
    }

    fn refreshed(&self) -> Arc<Read> {
        let held = self.read.load_full();
        if changed(&self.path) == held.changed {
            return held;
        }
        match read(&self.path) {
            Ok(read) => {
                let read = Arc::new(read);
                self.read.store(Arc::clone(&read));
                read
            }
            // As they were: a file that somebody is about to mend locks nobody out, and lets nobody in.
            Err(fault) => {
                tracing::warn!("{fault}; the tokens stay as they were");
                held
            }
        }
    }
}

fn changed(path: &Path) -> Option<Version> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.ino()))
}

/// The error is a sentence for people.
fn read(path: &Path) -> Result<Read, String> {
    let changed = changed(path);
    let payload = match sealed::read(path) {
        Ok(payload) => payload,
        Err(sealed::SealError::Missing(_)) => return Ok(Read::default()),
        Err(error) => return Err(chain(&error)),
    };
    let unusable = |what: String| format!("{} is of no use: {what}", path.display());
    let on_disk: OnDisk = serde_json::from_slice(&payload).map_err(|error| unusable(error.to_string()))?;
    match on_disk.format {
        FORMAT => Ok(Read { tokens: on_disk.tokens, changed }),
        other => Err(unusable(format!("it has format {other}, this version reads {FORMAT}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, role: Role, expires_at: Option<u64>) -> TokenShown {
        let (made_by, expires_at) = ("root".to_owned(), expires_at.map(WallTime));
        TokenShown { name: name.to_owned(), role, made_at: WallTime(1_000), made_by, expires_at }
    }

    fn open(folder: &Path) -> Tokens {
        let (tokens, fault) = Tokens::open(folder);
        assert_eq!(fault, None);
        tokens
    }

    #[test]
    fn a_token_lets_in_until_it_expires_or_is_revoked_also_after_a_restart_and_by_another_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (open(folder.path()), open(folder.path()));
        let now = WallTime(2_000);
        assert_eq!(one.actor("abc", now), None);
        one.add(token("alice", Role::Operator, None), TokenHash::of("abc")).expect("room");
        one.add(token("bob", Role::Viewer, Some(3_000)), TokenHash::of("def")).expect("room");
        for tokens in [&one, &other, &open(folder.path())] {
            let alice = tokens.actor("abc", now).expect("hers");
            assert_eq!((alice.name.as_str(), alice.role), ("alice", Role::Operator));
            assert_eq!(tokens.actor("def", now).map(|it| it.role), Some(Role::Viewer));
            assert_eq!(tokens.actor("def", WallTime(3_000)), None, "expired");
            assert_eq!(tokens.actor("abd", now), None);
            assert_eq!(tokens.actor("", now), None);
        }
        let text = String::from_utf8_lossy(&fs::read(folder.path().join(FILE)).expect("there")).into_owned();
        assert!(!text.contains("abc") && text.contains("sha256:"), "{text}");
        one.revoke("alice").expect("there");
        assert_eq!((one.actor("abc", now), other.actor("abc", now)), (None, None));
        assert_eq!(other.list(), [token("bob", Role::Viewer, Some(3_000))]);
        assert!(!folder.path().join("tokens.previous").exists(), "a revoked token is nowhere");
    }

    #[test]
    fn mistakes_say_what_to_do_and_an_expired_name_is_free_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = open(folder.path());
        tokens.add(token("alice", Role::Admin, Some(1_500)), TokenHash::of("abc")).expect("room");
        let again = tokens.add(token("alice", Role::Admin, None), TokenHash::of("x"));
        assert!(again.expect_err("taken").to_string().contains("revoke it first"));
        let mut later = token("alice", Role::Admin, None);
        later.made_at = WallTime(1_500);
        tokens.add(later, TokenHash::of("x")).expect("the other has expired");
        for name in ["", "a b", "a/b", "ü", &"a".repeat(65)] {
            let refused = tokens.add(token(name, Role::Admin, None), TokenHash::of("y"));
            assert!(refused.expect_err("no name").to_string().contains("letters"), "{name}");
        }
        assert!(tokens.revoke("carol").expect_err("nobody").to_string().contains("rhumb token list"));
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_lets_nobody_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = open(folder.path());
        tokens.add(token("alice", Role::Admin, None), TokenHash::of("abc")).expect("room");
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).expect("there");
        fs::write(&path, &whole[..whole.len() - 3]).expect("writes");
        let (damaged, fault) = Tokens::open(folder.path());
        assert!(fault.expect("told").contains("tokens.damaged"));
        assert_eq!(damaged.actor("abc", WallTime(2_000)), None);
        assert!(folder.path().join("tokens.damaged").exists() && !path.exists());
        damaged.add(token("alice", Role::Admin, None), TokenHash::of("new")).expect("room");
        assert!(open(folder.path()).actor("new", WallTime(2_000)).is_some());
    }
}
