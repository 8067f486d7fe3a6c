//! Signing before it is needed: for tables that may come, and for signatures that soon end.
//!
//! ```text
//!  writer: Signer::ahead ─▶ Ahead ──▶ a thread: cover(table) for each likely table ──▶ SignedAhead
//!  writer: Signer::absorb ◀────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The likely tables are those in which one node, or one site, is gone: an evacuation to them then finds
//! every signature made and only copies. [`Ahead`] holds no lock and no part of the signer but a list
//! of what need not be made; the writer goes on meanwhile. Which tables are likely is the caller's to
//! know; they are compiled like any other and never published.

use super::assemble::{Scene, Source, Walk};
use super::cache::{Known, Signature};
use super::ring::KeyRing;
use super::rrsig::ContentKey;
use super::secret::SecretError;
use super::signer::run_all;
use super::times::Moment;
use super::trusted_time::Now;
use crate::routing::Snapshot;
use std::sync::Arc;

/// Signatures made ahead by one [`Ahead`]: half of what the cache holds.
const MAX_AHEAD: usize = super::cache::CAPACITY / 2;

/// What was signed ahead.
#[derive(Debug, Default)]
pub struct SignedAhead {
    pub(super) signatures: Vec<(ContentKey, Signature)>,
}

impl SignedAhead {
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }
}

/// A thread's share of the signer.
pub struct Ahead {
    ring: Arc<KeyRing>,
    now: Now,
    key_time: Moment,
    known: Known,
    done: SignedAhead,
}

impl Ahead {
    pub(super) fn new(ring: Arc<KeyRing>, now: Now, key_time: Moment, known: Known) -> Self {
        Self { ring, now, key_time, known, done: SignedAhead::default() }
    }

    /// Signs what a table would need and is not there yet; how many that were. Stops making more at
    /// a bound.
    pub fn cover(&mut self, snapshot: &Snapshot) -> Result<usize, SecretError> {
        let Some(config) = &snapshot.policy.server.dnssec else { return Ok(0) };
        let scene = Scene::new(snapshot, config, &self.ring, self.key_time);
        let mut walk = Walk::new(Source::Known(&self.known), self.now);
        scene.fixed(&mut walk);
        for (position, name, zone) in scene.steered_names() {
            let service = snapshot.names().steered(position).service;
            scene.steered(position, (name, zone), snapshot.service_table(service), &mut walk);
        }
        let mut jobs = walk.jobs;
        jobs.truncate(MAX_AHEAD.saturating_sub(self.done.len()));
        let made = run_all(jobs)?;
        let count = made.len();
        self.known.extend(made.iter().map(|(content, _)| *content));
        self.done.signatures.extend(made);
        Ok(count)
    }

    pub fn finish(self) -> SignedAhead {
        self.done
    }
}
