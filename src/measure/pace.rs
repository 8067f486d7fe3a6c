//! How often a client network may report: a bucket each, in a table of fixed size.
//!
//! Networks share a bucket when their salted hashes meet, which costs one of them some reports and nobody
//! anything else; so the table needs no eviction and no lock. A bucket is one word: when it will be full
//! again, in milliseconds. A report takes a token by moving that moment ahead.

use crate::base::clock::MonoTime;
use crate::base::hash::mix_pair;
use crate::base::prefix::Prefix;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets, of 8 octets each.
const BUCKETS: usize = 1 << 16;
/// One report a second, a handful at once: a player that starts measures a few nodes.
pub const EVERY_MS: u64 = 1_000;
pub const BURST: u64 = 30;

/// See the module.
#[derive(Debug)]
pub struct Pace {
    salt: u64,
    /// When each bucket is full again.
    full_at: Box<[AtomicU64]>,
}

impl Pace {
    pub fn new(salt: u64) -> Self {
        Self { salt, full_at: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether `reports` more may be taken of `network` now; they are counted if so.
    pub fn take(&self, network: Prefix, reports: u64, now: MonoTime) -> bool {
        let bits = network.bits();
        let at = mix_pair(self.salt, mix_pair((bits >> 64) as u64, bits as u64)) as usize % BUCKETS;
        let Some(bucket) = self.full_at.get(at) else { return false };
        let now_ms = now.0 / 1_000;
        let spend = |full_at: u64| {
            let then = full_at.max(now_ms) + reports * EVERY_MS;
            (then <= now_ms + BURST * EVERY_MS).then_some(then)
        };
        bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::pass::network_of;
    use std::net::IpAddr;

    #[test]
    fn a_burst_then_one_a_second_for_each_network() {
        let pace = Pace::new(7);
        let [one, other] = [1, 2].map(|octet| network_of(IpAddr::from([192, 0, octet, 1])));
        let at = MonoTime::from_millis;
        assert!((0..BURST).all(|_| pace.take(one, 1, at(5_000))));
        assert!(!pace.take(one, 1, at(5_000)) && !pace.take(one, 1, at(5_999)));
        assert!(pace.take(one, 1, at(6_000)) && !pace.take(one, 1, at(6_000)));
        assert!(pace.take(other, BURST, at(6_000)) && !pace.take(other, 1, at(6_000)));
        assert!(!pace.take(other, BURST + 1, at(1_000_000)), "more than ever fits");
        assert!(pace.take(one, BURST, at(1_000_000)), "it fills up and no further");
        assert!(!pace.take(one, 1, at(1_000_000)));
    }
}
