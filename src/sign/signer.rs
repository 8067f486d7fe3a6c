//! All signatures of one table: found, made where missing, and put where answers find them.
//!
//! Nothing is walked twice that has not changed: the static part is taken over while names, keys and
//! signatures are the same, a steered name's signatures while its service's table is. What is missing
//! is signed on every core, 15 to 20 microseconds each; [`ahead`](super::ahead) sees to it that little is
//! missing when it matters. The signer belongs to the one writer; nothing is shared.

use super::ahead::{Ahead, SignedAhead};
use super::assemble::{Job, Scene, Source, Walk};
use super::cache::{CAPACITY, Cache, Signature};
use super::ring::KeyRing;
use super::rrsig::ContentKey;
use super::secret::SecretError;
use super::times::Moment;
use super::trusted_time::{Now, TrustedTime, Window};
use crate::base::clock::{MonoTime, WallTime};
use crate::routing::Snapshot;
use crate::routing::names::Names;
use crate::routing::signed::{Signed, SignedFixed, SteeredSignatures};
use crate::routing::steer::ServiceTable;
use std::sync::Arc;

/// Jobs below which another thread costs more than it saves.
const JOBS_PER_THREAD: usize = 64;
const MAX_THREADS: usize = 8;

/// Why a table has no signatures.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("cannot sign the table: {0}")]
    Secret(#[from] SecretError),
}

/// What was made for the last table, to be taken over.
#[derive(Debug)]
struct MadeFixed {
    names: Arc<Names>,
    fixed: Arc<SignedFixed>,
    holds: Window,
}

#[derive(Debug)]
struct MadeSteered {
    table: Arc<ServiceTable>,
    signatures: Arc<SteeredSignatures>,
    holds: Window,
}

/// Signs tables.
#[derive(Debug)]
pub struct Signer {
    ring: Arc<KeyRing>,
    cache: Cache,
    time: TrustedTime,
    floor: Moment,
    fixed: Option<MadeFixed>,
    steered: Vec<Option<MadeSteered>>,
    /// Between these moments no key changes its state.
    keys_hold: (Moment, Moment),
}

impl Signer {
    /// `floor`: what [`floor`](Self::floor) said in the former run, 0 if that is unknown.
    pub fn new(ring: KeyRing, mono: MonoTime, wall: WallTime, floor: Moment) -> Self {
        Self {
            ring: Arc::new(ring),
            cache: Cache::new(CAPACITY),
            time: TrustedTime::new(mono, wall, floor),
            floor,
            fixed: None,
            steered: Vec::new(),
            keys_hold: (0, 0),
        }
    }

    /// Takes other keys: the files have changed. Signatures of keys that are still there stay good.
    pub fn set_keys(&mut self, ring: KeyRing) {
        self.ring = Arc::new(ring);
        self.forget();
    }

    pub fn keys(&self) -> &KeyRing {
        &self.ring
    }

    /// A moment that has passed; to be kept for the next run.
    pub fn floor(&self) -> Moment {
        self.floor
    }

    /// The signatures of a table; `None` if none of its zones is signed.
    pub fn sign(
        &mut self,
        snapshot: &Snapshot,
        mono: MonoTime,
        wall: WallTime,
    ) -> Result<Option<Arc<Signed>>, SignError> {
        let now = self.look(mono, wall);
        let Some(config) = &snapshot.policy.server.dnssec else { return Ok(None) };
        let ring = Arc::clone(&self.ring);
        let scene = Scene::new(snapshot, config, &ring, now.for_keys(self.floor));
        if !scene.is_signed() {
            return Ok(None);
        }
        self.cache.begin();
        self.drop_stale(snapshot, now);
        let mut walk = Walk::new(Source::Cache(&mut self.cache), now);
        if self.fixed.is_none() {
            scene.fixed(&mut walk);
        }
        for (position, name, zone) in scene.steered_names() {
            if self.steered.get(position as usize).is_none_or(Option::is_none) {
                scene.steered(position, (name, zone), table_of(snapshot, position), &mut walk);
            }
        }
        let jobs = std::mem::take(&mut walk.jobs);
        for (content, signature) in run_all(jobs)? {
            self.cache.insert(content, signature);
        }
        let signed = self.put_together(snapshot, &scene, now);
        self.cache.trim();
        Ok(Some(Arc::new(signed)))
    }

    /// From when on [`sign`](Self::sign) should be called even if the table is the same: a signature is to be
    /// renewed or a key changes its state. Seconds since 1970.
    pub fn renew_at(&self) -> Moment {
        let steered = self.steered.iter().flatten().map(|made| made.holds.renew_at());
        let fixed = self.fixed.iter().map(|made| made.holds.renew_at());
        fixed.chain(steered).min().unwrap_or(Moment::MAX).min(self.keys_hold.1)
    }

    /// When the first of the signatures in use expires, in seconds since 1970; `None`: there are none.
    pub fn expires_at(&self) -> Option<Moment> {
        let steered = self.steered.iter().flatten().map(|made| made.holds);
        let all = self.fixed.iter().map(|made| made.holds).chain(steered);
        // The window of nothing signed has no end.
        all.map(|window| window.expiration).min().filter(|at| *at < Moment::MAX)
    }

    /// Work that a thread may do for tables to come, and for signatures that are due within
    /// `lead` seconds.
    pub fn ahead(&mut self, mono: MonoTime, wall: WallTime, lead: u64) -> Ahead {
        let now = self.look(mono, wall);
        let known = self.cache.known(Now { earliest: now.earliest, latest: now.latest + lead });
        Ahead::new(Arc::clone(&self.ring), now, now.for_keys(self.floor), known)
    }

    /// Takes what was signed ahead.
    pub fn absorb(&mut self, done: SignedAhead) {
        for (content, signature) in done.signatures {
            self.cache.insert(content, signature);
        }
        self.cache.trim();
    }

    /// Signatures kept.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    fn look(&mut self, mono: MonoTime, wall: WallTime) -> Now {
        let now = self.time.now(mono, wall);
        self.floor = self.time.floor(now);
        now
    }

    fn forget(&mut self) {
        self.fixed = None;
        self.steered.clear();
        self.keys_hold = (0, 0);
    }

    /// Forgets what was made for another table, or will not do for `now`.
    fn drop_stale(&mut self, snapshot: &Snapshot, now: Now) {
        let key_time = now.for_keys(self.floor);
        let same_names = |made: &MadeFixed| Arc::ptr_eq(&made.names, snapshot.shared_names());
        let keys_moved = key_time < self.keys_hold.0 || key_time >= self.keys_hold.1;
        if keys_moved || !self.fixed.as_ref().is_some_and(same_names) {
            self.forget();
        }
        if keys_moved {
            self.keys_hold = (key_time, next_key_change(&self.ring, key_time));
        }
        if self.fixed.as_ref().is_some_and(|made| made.holds.is_due(now)) {
            self.fixed = None;
        }
        for (position, place) in (0..).zip(&mut self.steered) {
            let is_good = |made: &MadeSteered| {
                std::ptr::eq(&*made.table, table_of(snapshot, position)) && !made.holds.is_due(now)
            };
            *place = place.take().filter(is_good);
        }
    }

    /// Everything is in the cache or was made before.
    fn put_together(&mut self, snapshot: &Snapshot, scene: &Scene<'_>, now: Now) -> Signed {
        let mut walk = Walk::new(Source::Cache(&mut self.cache), now);
        let made = self.fixed.get_or_insert_with(|| {
            let fixed = Arc::new(scene.fixed(&mut walk));
            MadeFixed { names: Arc::clone(snapshot.shared_names()), fixed, holds: walk.take_window() }
        });
        let fixed = Arc::clone(&made.fixed);
        let mut steered = vec![Arc::default(); fixed.denials.len()];
        self.steered.resize_with(fixed.denials.len(), || None);
        for (position, name, zone) in scene.steered_names() {
            let at = position as usize;
            let service = snapshot.names().steered(position).service;
            let made = self.steered[at].get_or_insert_with(|| {
                let table = Arc::clone(&snapshot.services()[service.index()]);
                let signatures = Arc::new(scene.steered(position, (name, zone), &table, &mut walk));
                MadeSteered { table, signatures, holds: walk.take_window() }
            });
            steered[at] = Arc::clone(&made.signatures);
        }
        Signed { fixed, steered }
    }
}

fn table_of(snapshot: &Snapshot, position: u32) -> &ServiceTable {
    snapshot.service_table(snapshot.names().steered(position).service)
}

/// When a key next changes what it does.
fn next_key_change(ring: &KeyRing, now: Moment) -> Moment {
    let keys = ring.zones().flat_map(|(_, keys)| &keys.keys);
    let moments = keys.flat_map(|key| {
        let mut times = key.times;
        times.fields().map(|(_, moment)| *moment)
    });
    moments.flatten().filter(|moment| *moment > now).min().unwrap_or(Moment::MAX)
}

/// Signs on as many threads as are worth it.
pub(super) fn run_all(jobs: Vec<Job>) -> Result<Vec<(ContentKey, Signature)>, SecretError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (jobs.len() / JOBS_PER_THREAD).clamp(1, cores.min(MAX_THREADS));
    if threads == 1 {
        return jobs.into_iter().map(Job::run).collect();
    }
    let mut parts: Vec<Vec<Job>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, job) in jobs.into_iter().enumerate() {
        parts[at % threads].push(job);
    }
    std::thread::scope(|scope| {
        let sign = |part: Vec<Job>| part.into_iter().map(Job::run).collect::<Result<Vec<_>, _>>();
        let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || sign(part))).collect();
        let mut done = Vec::new();
        for thread in running {
            done.extend(thread.join().map_err(|_| SecretError::Signing)??);
        }
        Ok(done)
    })
}
