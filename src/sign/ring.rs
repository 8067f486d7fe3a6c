//! The keys of each zone and what each of them signs at a moment.
//!
//! | RRset | signed by |
//! |---|---|
//! | DNSKEY, CDS, CDNSKEY | every published key with the SEP flag, so that either DS of a rollover holds |
//! | everything else | the one active key without it, or else the one active key with it |
//!
//! A zone that has keys is never left without a signature: where a clock or a missed step leaves no key
//! active, the one nearest to it signs. Unsigned answers below a DS would be worse than an early key.

use super::key::Key;
use super::times::{KeyState, Moment};
use crate::zone::name::Name;
use std::collections::BTreeMap;

/// All keys, by zone.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    zones: BTreeMap<Name, ZoneKeys>,
}

/// The keys of one zone, oldest first.
#[derive(Clone, Debug, Default)]
pub struct ZoneKeys {
    pub keys: Vec<Key>,
}

impl KeyRing {
    pub fn new(keys: Vec<Key>) -> Self {
        let mut ring = Self::default();
        for key in keys {
            ring.zones.entry(key.zone.clone()).or_default().keys.push(key);
        }
        ring
    }

    pub fn zone(&self, origin: &Name) -> Option<&ZoneKeys> {
        self.zones.get(origin)
    }

    pub fn zones(&self) -> impl Iterator<Item = (&Name, &ZoneKeys)> {
        self.zones.iter()
    }
}

impl ZoneKeys {
    /// In DNSKEY. All that are not removed if none is published.
    pub fn published(&self, now: Moment) -> Vec<&Key> {
        let published: Vec<_> = self.keys.iter().filter(|key| key.is_published(now)).collect();
        if published.is_empty() { self.stand_in(now).into_iter().collect() } else { published }
    }

    /// Sign DNSKEY, CDS and CDNSKEY.
    pub fn key_signers(&self, now: Moment) -> Vec<&Key> {
        let published = self.published(now);
        let with_sep: Vec<_> = published.iter().copied().filter(|key| key.is_sep()).collect();
        if with_sep.is_empty() { published } else { with_sep }
    }

    /// Signs everything else.
    pub fn zone_signer(&self, now: Moment) -> Option<&Key> {
        let active = |is_sep: bool| {
            let keys = self.keys.iter().filter(|key| key.is_sep() == is_sep);
            let keys = keys.filter(|key| key.times.state(now) == KeyState::Active);
            keys.max_by_key(|key| (key.times.activate, key.times.created))
        };
        active(false).or_else(|| active(true)).or_else(|| self.stand_in(now))
    }

    /// When the zone is left without a key that is active, or without one that a DS can name, unless somebody
    /// makes another: the next such moment that its keys' times tell, or the last where it has come.
    pub fn ends_at(&self, now: Moment) -> Option<Moment> {
        let is_kept = |at: Moment| {
            let is_active = self.keys.iter().any(|key| key.times.state(at) == KeyState::Active);
            is_active && self.keys.iter().any(|key| key.is_sep() && key.is_published(at))
        };
        let moments = self.keys.iter().flat_map(|key| [key.times.inactive, key.times.delete]).flatten();
        let ends = moments.filter(|at| *at > 0 && is_kept(*at - 1) && !is_kept(*at));
        match is_kept(now) {
            true => ends.filter(|at| *at > now).min(),
            false => ends.filter(|at| *at <= now).max(),
        }
    }

    /// What CDS and CDNSKEY name: the keys the parent's DS should stand for.
    pub fn synced(&self, now: Moment) -> Vec<&Key> {
        self.published(now).into_iter().filter(|key| key.is_sep() && key.times.is_synced(now)).collect()
    }

    /// Of the keys that are not removed, that which is or was active nearest to now.
    fn stand_in(&self, now: Moment) -> Option<&Key> {
        let distance = |key: &&Key| {
            let times = &key.times;
            let active_at = times.activate.or(times.publish).or(times.created).unwrap_or(Moment::MAX);
            (!key.is_published(now), key.is_sep(), active_at.abs_diff(now))
        };
        self.keys.iter().filter(|key| key.times.state(now) != KeyState::Removed).min_by_key(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dnssec::Algorithm;
    use crate::sign::key::Role;
    use crate::sign::secret::{self, Secret};
    use crate::sign::times::KeyTimes;
    use std::sync::Arc;

    fn key(role: Role, [publish, activate, inactive, delete]: [Option<Moment>; 4]) -> Key {
        let (octets, public) = secret::generate(Algorithm::Ed25519).expect("a key");
        let secret = Secret::read(Algorithm::Ed25519, &octets, &public).expect("a pair");
        Key {
            zone: Name::parse_text("example").expect("a name"),
            flags: role.flags(),
            algorithm: Algorithm::Ed25519,
            public: public.into(),
            times: KeyTimes { publish, activate, inactive, delete, ..KeyTimes::default() },
            secret: Arc::new(secret),
        }
    }

    #[test]
    fn one_key_signs_the_zone_and_all_published_key_keys_the_keys() {
        let old = key(Role::Csk, [Some(0), Some(0), Some(50), Some(90)]);
        let new = key(Role::Csk, [Some(10), Some(50), None, None]);
        let (old_tag, new_tag) = (old.tag(), new.tag());
        let keys = ZoneKeys { keys: vec![old, new] };
        for (now, signer, published) in
            [(5, old_tag, 1), (10, old_tag, 2), (49, old_tag, 2), (50, new_tag, 2), (90, new_tag, 1)]
        {
            assert_eq!(keys.zone_signer(now).map(Key::tag), Some(signer), "at {now}");
            assert_eq!(keys.published(now).len(), published, "at {now}");
            assert_eq!(keys.key_signers(now).len(), published, "at {now}");
        }
    }

    #[test]
    fn a_zone_ends_with_its_last_key() {
        let old = || key(Role::Csk, [Some(0), Some(0), Some(50), Some(90)]);
        let next = || key(Role::Csk, [Some(10), Some(50), None, None]);
        let late = || key(Role::Csk, [Some(10), Some(60), None, None]);
        let ksk = || key(Role::Ksk, [Some(0), Some(0), None, Some(70)]);
        let zsk = || key(Role::Zsk, [Some(0), Some(0), Some(80), None]);
        for (keys, now, ends) in [
            (vec![old()], 5, Some(50)),
            (vec![old()], 60, Some(50)),
            (vec![old(), next()], 5, None),
            (vec![old(), late()], 5, Some(50)),
            (vec![old(), late()], 61, None),
            (vec![ksk(), zsk()], 5, Some(70)),
            (vec![key(Role::Csk, [Some(0), Some(0), None, None])], 5, None),
        ] {
            assert_eq!(ZoneKeys { keys }.ends_at(now), ends, "at {now}");
        }
    }

    #[test]
    fn a_zone_key_goes_before_a_key_key() {
        let ksk = key(Role::Ksk, [Some(0), Some(0), None, None]);
        let zsk = key(Role::Zsk, [Some(0), Some(0), None, None]);
        let (ksk_tag, zsk_tag) = (ksk.tag(), zsk.tag());
        let keys = ZoneKeys { keys: vec![ksk, zsk] };
        assert_eq!(keys.zone_signer(1).map(Key::tag), Some(zsk_tag));
        let of_keys: Vec<_> = keys.key_signers(1).into_iter().map(Key::tag).collect();
        assert_eq!(of_keys, [ksk_tag]);
    }

    #[test]
    fn a_clock_before_all_keys_leaves_no_zone_unsigned() {
        let keys = ZoneKeys { keys: vec![key(Role::Csk, [Some(100), Some(100), None, None])] };
        assert!(keys.zone_signer(1).is_some());
        assert_eq!((keys.published(1).len(), keys.key_signers(1).len()), (1, 1));
        let gone = ZoneKeys { keys: vec![key(Role::Csk, [Some(0), Some(0), Some(1), Some(2)])] };
        assert!(gone.zone_signer(3).is_none());
    }
}
