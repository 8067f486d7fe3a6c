//! Replacing a key without a moment in which a validator lacks what it needs (RFC 6781 4.1, RFC 7583).
//!
//! ```text
//!  zone key       roll ─▶ new in DNSKEY ──(DNSKEY TTL)──▶ new signs ──(longest TTL)──▶ old leaves DNSKEY
//!  key with SEP   roll ─▶ new in DNSKEY, signs DNSKEY too ──(DNSKEY TTL)──▶ CDS names new
//!                      ─▶ the parent's DS changes; the operator sees it
//!                 roll --ds-seen ─▶ new signs ──(longest TTL, DS TTL)──▶ old leaves DNSKEY
//! ```
//!
//! A step only writes moments into the key files; the signer follows them, also across restarts.
//! Whether the parent has the new DS is not looked up here: the operator, or a script that asks the
//! parent's servers, says so. The algorithm stays: changing it needs signatures by both first.

use super::key::{KEY_TTL, Key, Role};
use super::ring::ZoneKeys;
use super::times::{KeyState, KeyTimes, Moment, readable};
use crate::model::dnssec::Algorithm;

/// Delays, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Until all instances serve what one does.
    pub propagation: u64,
    /// TTL of DNSKEY.
    pub key_ttl: u64,
    /// Longest TTL in the zone.
    pub longest_ttl: u64,
    /// TTL of the DS records at the parent.
    pub ds_ttl: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { propagation: 3_600, key_ttl: u64::from(KEY_TTL), longest_ttl: 86_400, ds_ttl: 86_400 }
    }
}

/// What a step changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// A key to make.
    pub new: Option<(Role, Algorithm, KeyTimes)>,
    /// Keys (by position) and their new times.
    pub retime: Vec<(usize, KeyTimes)>,
}

/// Why there is no step to take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    #[error("there is no active {0} to replace: make one with `rhumb keys generate`")]
    NoKey(&'static str),
    #[error("key {tag} is still on its way ({state}): finish that rollover first, see `rhumb keys list`")]
    UnderWay { tag: u16, state: &'static str },
    #[error("no new key waits for its DS: begin with `rhumb keys roll ZONE`")]
    NothingWaits,
    #[error("key {tag} is not in every cache before {}: let the parent take its DS then", readable(*.from))]
    TooEarly { tag: u16, from: Moment },
}

/// Times of a zone's first key: there is nothing to wait for.
pub fn first(now: Moment, is_sep: bool) -> KeyTimes {
    KeyTimes {
        created: Some(now),
        publish: Some(now),
        activate: Some(now),
        sync_publish: is_sep.then_some(now),
        ..KeyTimes::default()
    }
}

/// Begins to replace the active key of a role.
pub fn begin(keys: &ZoneKeys, role: Role, now: Moment, delays: &Delays) -> Result<Step, RollError> {
    let is_sep = role.flags() == Role::Ksk.flags();
    let of_role = || keys.keys.iter().enumerate().filter(|(_, key)| key.is_sep() == is_sep);
    let state = |key: &Key| key.times.state(now);
    if let Some((_, key)) = of_role().find(|(_, key)| is_under_way(&key.times, now)) {
        return Err(RollError::UnderWay { tag: key.tag(), state: state(key).name() });
    }
    let active = of_role().filter(|(_, key)| state(key) == KeyState::Active);
    let (at, old) = active.max_by_key(|(_, key)| key.times.activate).ok_or(RollError::NoKey(role.name()))?;
    let known_at = now + delays.key_ttl + delays.propagation;
    let base = KeyTimes { created: Some(now), publish: Some(now), ..KeyTimes::default() };
    let (new, old_times) = if is_sep {
        let new = KeyTimes { sync_publish: Some(known_at), ..base };
        (new, KeyTimes { sync_delete: Some(known_at), ..old.times })
    } else {
        let delete = Some(known_at + delays.longest_ttl + delays.propagation);
        let new = KeyTimes { activate: Some(known_at), ..base };
        (new, KeyTimes { inactive: Some(known_at), delete, ..old.times })
    };
    Ok(Step { new: Some((role, old.algorithm, new)), retime: vec![(at, old_times)] })
}

fn is_under_way(times: &KeyTimes, now: Moment) -> bool {
    matches!(times.state(now), KeyState::Generated | KeyState::Published)
        || times.inactive.is_some_and(|inactive| inactive > now)
}

/// Goes on once the parent's DS names the new key.
pub fn ds_seen(keys: &ZoneKeys, now: Moment, delays: &Delays) -> Result<Step, RollError> {
    let waiting = keys.keys.iter().enumerate().find(|(_, key)| waits_for_ds(key, now));
    let (at, new) = waiting.ok_or(RollError::NothingWaits)?;
    if let Some(from) = new.times.sync_publish.filter(|from| *from > now) {
        return Err(RollError::TooEarly { tag: new.tag(), from });
    }
    let delete = Some(now + delays.longest_ttl.max(delays.ds_ttl) + delays.propagation);
    let is_old = |key: &Key| key.is_sep() && key.times.state(now) == KeyState::Active;
    let others = keys.keys.iter().enumerate().filter(|(_, key)| is_old(key));
    let mut retime: Vec<_> =
        others.map(|(at, key)| (at, KeyTimes { inactive: Some(now), delete, ..key.times })).collect();
    retime.push((at, KeyTimes { activate: Some(now), ..new.times }));
    Ok(Step { new: None, retime })
}

fn waits_for_ds(key: &Key, now: Moment) -> bool {
    key.is_sep() && key.times.activate.is_none() && key.times.state(now) == KeyState::Published
}

/// What comes next for a key, and when, as a sentence for people; empty if nothing does.
pub fn next_step(key: &Key, now: Moment) -> String {
    if waits_for_ds(key, now) {
        return match key.times.sync_publish.filter(|from| *from > now) {
            Some(from) => format!("its DS may go to the parent from {}", readable(from)),
            None => "waits for its DS at the parent, then `rhumb keys roll ZONE --ds-seen`".to_owned(),
        };
    }
    match key.times.next(now) {
        Some((state, moment)) => format!("{} from {}", state.name(), readable(moment)),
        None if key.times.state(now) == KeyState::Removed => "its files can be deleted".to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::secret::{self, Secret};
    use crate::zone::name::Name;
    use std::sync::Arc;

    fn key(role: Role, times: KeyTimes) -> Key {
        let (octets, public) = secret::generate(Algorithm::Ed25519).expect("a key");
        let secret = Secret::read(Algorithm::Ed25519, &octets, &public).expect("a pair");
        let zone = Name::parse_text("example").expect("a name");
        let algorithm = Algorithm::Ed25519;
        Key { zone, flags: role.flags(), algorithm, public: public.into(), times, secret: Arc::new(secret) }
    }

    fn apply(keys: &mut ZoneKeys, step: Step) {
        for (at, times) in step.retime {
            keys.keys[at].times = times;
        }
        if let Some((role, _, times)) = step.new {
            keys.keys.push(key(role, times));
        }
    }

    /// At every second of a rollover, the zone's signer must have been in DNSKEY for as long as caches
    /// may hold an older DNSKEY, and a key must stay as long as caches may hold its signatures.
    #[test]
    fn a_zone_key_is_known_before_it_signs_and_stays_while_cached() {
        let delays = Delays { propagation: 2, key_ttl: 10, longest_ttl: 20, ds_ttl: 30 };
        let mut keys =
            ZoneKeys { keys: vec![key(Role::Ksk, first(0, true)), key(Role::Zsk, first(0, false))] };
        let step = begin(&keys, Role::Zsk, 100, &delays).expect("a step");
        apply(&mut keys, step);
        assert!(matches!(begin(&keys, Role::Zsk, 101, &delays), Err(RollError::UnderWay { .. })));
        let (old, new) = (keys.keys[1].tag(), keys.keys[2].tag());
        let mut signed_until = 0;
        for now in 100..200 {
            let signer = keys.zone_signer(now).expect("a signer").tag();
            let published = |tag, at| keys.published(at).iter().any(|key| key.tag() == tag);
            assert!(published(signer, now - delays.key_ttl) || signer == old, "at {now}");
            signed_until = if signer == old { now } else { signed_until };
            let still_cached = now <= signed_until + delays.longest_ttl;
            assert!(!still_cached || published(old, now), "at {now}");
        }
        assert_eq!(keys.zone_signer(199).map(Key::tag), Some(new));
        assert_eq!(keys.published(199).len(), 2, "the key key and the new zone key");
    }

    #[test]
    fn a_key_with_a_ds_waits_for_the_parent() {
        let delays = Delays { propagation: 2, key_ttl: 10, longest_ttl: 20, ds_ttl: 30 };
        let mut keys = ZoneKeys { keys: vec![key(Role::Csk, first(0, true))] };
        assert_eq!(ds_seen(&keys, 50, &delays), Err(RollError::NothingWaits));
        let step = begin(&keys, Role::Csk, 100, &delays).expect("a step");
        apply(&mut keys, step);
        let (old, new) = (keys.keys[0].tag(), keys.keys[1].tag());
        assert!(matches!(ds_seen(&keys, 105, &delays), Err(RollError::TooEarly { from: 112, .. })));
        let synced = |keys: &ZoneKeys, now| keys.synced(now).iter().map(|key| key.tag()).collect::<Vec<_>>();
        assert_eq!((synced(&keys, 111), synced(&keys, 112)), (vec![old], vec![new]));
        assert_eq!(keys.zone_signer(5_000).map(Key::tag), Some(old), "however long the parent takes");
        assert_eq!(keys.key_signers(5_000).len(), 2, "either DS holds");
        assert!(next_step(&keys.keys[1], 5_000).contains("--ds-seen"));
        let step = ds_seen(&keys, 5_000, &delays).expect("a step");
        apply(&mut keys, step);
        assert_eq!(keys.zone_signer(5_000).map(Key::tag), Some(new));
        assert_eq!(keys.published(5_031).len(), 2);
        assert_eq!(keys.published(5_032).len(), 1);
        assert!(begin(&keys, Role::Csk, 5_040, &delays).is_ok());
    }
}
