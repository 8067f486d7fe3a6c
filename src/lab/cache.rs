//! What a resolver remembers: answers by name, type and the scope they are valid for.
//!
//! RFC 7871 section 7.3.1: an answer with scope S serves every client inside the client's prefix cut
//! to S bits, never more bits than were sent; scope 0 serves everybody of that family. The longest
//! prefix that covers a client wins. Bounded: what has run out goes first, then nothing new enters.

use crate::base::prefix::{Family, Prefix};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Which question: position in the list of hostnames, and the record type by family.
pub type Asked = (usize, Family);

#[derive(Debug)]
struct Entry {
    addresses: Vec<IpAddr>,
    expires: Instant,
}

/// One resolver's memory for all synthetic clients.
#[derive(Debug)]
pub struct ResolverCache {
    entries: HashMap<(Asked, Prefix), Entry, foldhash::fast::RandomState>,
    /// Lengths in use, by family of the client: what a lookup must try.
    lengths: [BTreeSet<u8>; 2],
    capacity: usize,
}

impl ResolverCache {
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), lengths: Default::default(), capacity }
    }

    /// The answer a client in `client` gets without asking.
    pub fn find(&self, asked: Asked, client: Prefix, now: Instant) -> Option<&[IpAddr]> {
        let lengths = self.lengths[client.family().index()].range(..=client.len()).rev();
        let covering = lengths.map(|&len| Prefix::new(client.family(), client.bits(), len));
        let fresh = |prefix| self.entries.get(&(asked, prefix)).filter(|entry| entry.expires > now);
        covering.into_iter().find_map(fresh).map(|entry| entry.addresses.as_slice())
    }

    /// Keeps an answer to a question asked for `client` for `ttl`.
    pub fn keep(
        &mut self,
        asked: Asked,
        client: Prefix,
        scope: Option<u8>,
        addresses: Vec<IpAddr>,
        ttl: Duration,
        now: Instant,
    ) {
        if ttl.is_zero() {
            return;
        }
        if self.entries.len() >= self.capacity {
            self.entries.retain(|_, entry| entry.expires > now);
        }
        let len = scope.unwrap_or(0).min(client.len());
        let key = (asked, Prefix::new(client.family(), client.bits(), len));
        if self.entries.len() < self.capacity || self.entries.contains_key(&key) {
            self.lengths[client.family().index()].insert(len);
            self.entries.insert(key, Entry { addresses, expires: now + ttl });
        }
    }

    #[allow(clippy::len_without_is_empty, reason = "a count for the view, not a collection")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Prefix {
        text.parse::<ipnet::IpNet>().expect("a network").into()
    }

    const A: Asked = (0, Family::V4);

    #[test]
    fn an_answer_serves_its_scope_until_it_runs_out() {
        let now = Instant::now();
        let address = |last: u8| vec![IpAddr::from([192, 0, 2, last])];
        let mut cache = ResolverCache::new(10);
        let ttl = Duration::from_secs(30);
        cache.keep(A, net("198.51.100.0/24"), Some(16), address(1), ttl, now);
        cache.keep(A, net("198.51.7.0/24"), Some(32), address(2), ttl, now);
        let find = |cache: &ResolverCache, asked, client, now| {
            cache.find(asked, net(client), now).map(<[IpAddr]>::to_vec)
        };
        assert_eq!(find(&cache, A, "198.51.9.0/24", now), Some(address(1)));
        assert_eq!(
            find(&cache, A, "198.51.7.0/24", now),
            Some(address(2)),
            "the longest wins, cut to the source"
        );
        assert_eq!(find(&cache, A, "198.52.0.0/24", now), None);
        assert_eq!(find(&cache, (1, Family::V4), "198.51.9.0/24", now), None);
        assert_eq!(find(&cache, (0, Family::V6), "198.51.9.0/24", now), None);
        assert_eq!(find(&cache, A, "198.51.9.0/24", now + ttl), None);
        cache.keep((2, Family::V4), net("198.51.100.0/24"), None, address(3), ttl, now);
        assert_eq!(find(&cache, (2, Family::V4), "9.9.9.0/24", now), Some(address(3)), "scope 0 serves all");
    }

    #[test]
    fn a_full_cache_makes_room_only_of_what_ran_out() {
        let now = Instant::now();
        let mut cache = ResolverCache::new(2);
        let keep = |cache: &mut ResolverCache, client, secs, now| {
            cache.keep(A, net(client), Some(24), Vec::new(), Duration::from_secs(secs), now);
        };
        keep(&mut cache, "9.0.0.0/24", 1, now);
        keep(&mut cache, "9.0.1.0/24", 60, now);
        keep(&mut cache, "9.0.2.0/24", 60, now);
        assert!(cache.find(A, net("9.0.2.0/24"), now).is_none());
        let later = now + Duration::from_secs(2);
        keep(&mut cache, "9.0.2.0/24", 60, later);
        assert!(cache.find(A, net("9.0.2.0/24"), later).is_some());
        assert_eq!(cache.len(), 2);
    }
}
