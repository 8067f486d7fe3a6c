//! Signatures beside every table that is published, and again when they or the keys grow old.
//!
//! | when | what |
//! |---|---|
//! | a table is published | it is signed just before; nearly all of it is copied |
//! | a signature is due, a key changes its state, the key folder was touched | the live table is signed again |
//! | keys cannot be read | the keys read last go on, or else the zones go out unsigned; the status says so |
//!
//! Unsigned answers below a DS are refused by validators, but withholding them would take the zone
//! from everybody else as well.

use crate::base::clock::{MonoTime, SharedClock, WallTime};
use crate::base::error::chain;
use crate::daemon::serials::Serials;
use crate::model::dnssec::DnssecConfig;
use crate::model::status::{Expiry, ExpiryKind, Problem};
use crate::routing::Snapshot;
use crate::sign::files::KeyFolder;
use crate::sign::ring::KeyRing;
use crate::sign::{Ahead, SignedAhead, Signer};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Between two attempts to read keys that could not be read: mending a file's mode shows nowhere else.
const RETRY: Duration = Duration::from_secs(10);

/// Signatures that are due that soon count as missing when signing ahead.
const LEAD_SECONDS: u64 = 3_600;

/// The writer's signer, if policy has one.
pub struct Signing {
    clock: SharedClock,
    /// When the former run last published.
    floor: WallTime,
    signer: Option<Signer>,
    /// Where keys were read from, and how the folder was then.
    read: Option<(PathBuf, Option<SystemTime>)>,
    unread: Option<Unread>,
    problem: Option<String>,
    serials: Serials,
}

/// Keys could not be read.
struct Unread {
    what: String,
    /// They are tried again from then on, or when the folder is no longer as it was.
    retry_at: MonoTime,
    stamp: Option<SystemTime>,
}

impl Signing {
    /// `floor`: a moment that has passed, from the last good table.
    pub fn new(clock: SharedClock, floor: WallTime) -> Self {
        Self {
            clock,
            floor,
            signer: None,
            read: None,
            unread: None,
            problem: None,
            serials: Serials::default(),
        }
    }

    /// With the serials that transferred zones had last.
    #[must_use]
    pub fn with_serials(self, serials: Serials) -> Self {
        Self { serials, ..self }
    }

    pub fn serials(&self) -> &Serials {
        &self.serials
    }

    /// Puts signatures beside a table, as policy and keys have it, and raises the serials of transferred
    /// zones whose content that changes.
    pub fn sign(&mut self, snapshot: Snapshot) -> Snapshot {
        let signed = self.sign_once(snapshot);
        let mut serials = std::mem::take(&mut self.serials);
        let settled = serials.settle(signed, |renumbered| self.sign_once(renumbered));
        self.serials = serials;
        settled
    }

    fn sign_once(&mut self, snapshot: Snapshot) -> Snapshot {
        self.problem = None;
        let Some(config) = snapshot.policy.server.dnssec.clone() else {
            (self.signer, self.read, self.unread) = (None, None, None);
            return snapshot.with_signed(None);
        };
        self.read_keys(&config);
        let Some(signer) = &mut self.signer else { return snapshot.with_signed(None) };
        match signer.sign(&snapshot, self.clock.mono(), self.clock.wall()) {
            Ok(signed) => snapshot.with_signed(signed),
            Err(error) => {
                self.problem = Some(chain(&error));
                snapshot.with_signed(None)
            }
        }
    }

    /// Whether the live table is to be signed again.
    pub fn is_due(&self, live: &Snapshot) -> bool {
        let Some(config) = &live.policy.server.dnssec else { return false };
        if let Some(unread) = &self.unread {
            return unread.retry_at <= self.clock.mono() || unread.stamp != stamp_of(&config.keys);
        }
        let is_touched = self.read.as_ref().is_none_or(|(_, stamp)| *stamp != stamp_of(&config.keys));
        let now = self.clock.wall().0 / 1_000;
        is_touched || self.signer.as_ref().is_some_and(|signer| signer.renew_at() <= now)
    }

    /// Work for a thread: signatures that tables to come will need.
    pub fn ahead(&mut self) -> Option<Ahead> {
        let (mono, wall) = (self.clock.mono(), self.clock.wall());
        self.signer.as_mut().map(|signer| signer.ahead(mono, wall, LEAD_SECONDS))
    }

    /// Takes what such a thread signed.
    pub fn absorb(&mut self, done: SignedAhead) {
        if let Some(signer) = &mut self.signer {
            signer.absorb(done);
        }
    }

    /// What is wrong with signing, if anything.
    pub fn problem(&self) -> Option<Problem> {
        let unread = self.unread.as_ref().map(|unread| &unread.what);
        let message = unread.or(self.problem.as_ref())?.clone();
        Some(Problem {
            since: self.clock.wall(),
            code: "signing-failed".to_owned(),
            message,
            help: "mend the key folder (`rhumb keys list` tells what is wrong with it)".to_owned(),
        })
    }

    /// When the first signature in use and the last key of a zone end. Signatures are renewed and keys are
    /// replaced long before, so one that is near says that this fails.
    pub fn expiries(&self) -> Vec<Expiry> {
        let Some(signer) = &self.signer else { return Vec::new() };
        let expiry =
            |kind, name: String, at: u64| Expiry { kind, name, at: WallTime(at.saturating_mul(1_000)) };
        let now = self.clock.wall().0 / 1_000;
        let keys = signer
            .keys()
            .zones()
            .filter_map(|(zone, keys)| Some(expiry(ExpiryKind::Key, zone.to_string(), keys.ends_at(now)?)));
        let signatures =
            signer.expires_at().map(|at| expiry(ExpiryKind::Signature, "the live table".to_owned(), at));
        keys.chain(signatures).collect()
    }

    fn read_keys(&mut self, config: &DnssecConfig) {
        // Looked at before reading: what changes meanwhile is read again.
        let stamp = stamp_of(&config.keys);
        if self.read.as_ref().is_some_and(|(folder, seen)| *folder == config.keys && *seen == stamp) {
            return;
        }
        let keys = match KeyFolder::new(&config.keys).read() {
            Ok(keys) => keys,
            Err(error) => {
                let what = format!("cannot read the keys of signed zones: {}", chain(&error));
                tracing::error!("{what}");
                let retry_at = self.clock.mono() + RETRY;
                (self.read, self.unread) = (None, Some(Unread { what, retry_at, stamp }));
                return;
            }
        };
        (self.read, self.unread) = (Some((config.keys.clone(), stamp)), None);
        let ring = KeyRing::new(keys);
        match &mut self.signer {
            Some(signer) => signer.set_keys(ring),
            None => {
                let (mono, wall) = (self.clock.mono(), self.clock.wall());
                self.signer = Some(Signer::new(ring, mono, wall, self.floor.0 / 1_000));
            }
        }
    }
}

/// When an entry of the folder was last made, replaced or removed. Key files are only ever replaced.
fn stamp_of(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder).and_then(|it| it.modified()).ok()
}
