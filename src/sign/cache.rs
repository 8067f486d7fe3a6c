//! Signatures by content: what was signed once is copied until it is due.
//!
//! A table in which a node fell has new answer sets for some clients and the old ones for all others;
//! when the node is back, all are old again. So signatures are kept past the table they were made for,
//! and thrown away in the order in which they were last used once there are more than [`CAPACITY`].

use super::rrsig::ContentKey;
use super::trusted_time::{Now, Window};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::collections::HashSet;

/// Signatures kept; about 250 octets each.
pub const CAPACITY: usize = 1 << 20;

/// An RRSIG's RDATA and how long it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub rdata: Box<[u8]>,
    pub window: Window,
}

/// Content keys of signatures that need not be made.
pub type Known = HashSet<ContentKey, FixedState>;

#[derive(Debug)]
struct Kept {
    signature: Signature,
    used: u64,
}

/// All signatures of this process.
#[derive(Debug)]
pub struct Cache {
    kept: HashMap<ContentKey, Kept, FixedState>,
    round: u64,
    capacity: usize,
}

impl Cache {
    pub fn new(capacity: usize) -> Self {
        Self { kept: HashMap::default(), round: 0, capacity }
    }

    /// A new table begins.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// The signature, if it is not due.
    pub fn find(&mut self, key: &ContentKey, now: Now) -> Option<&Signature> {
        let kept = self.kept.get_mut(key).filter(|kept| !kept.signature.window.is_due(now))?;
        kept.used = self.round;
        Some(&kept.signature)
    }

    pub fn insert(&mut self, key: ContentKey, signature: Signature) {
        self.kept.insert(key, Kept { signature, used: self.round });
    }

    /// Makes room: the rounds used longest ago go first, the current one stays whatever its size.
    pub fn trim(&mut self) {
        if self.kept.len() <= self.capacity {
            return;
        }
        let mut rounds: Vec<u64> = self.kept.values().map(|kept| kept.used).collect();
        // Half goes, so that this is not done for every table.
        let middle = rounds.len() - self.capacity / 2;
        let (_, limit, _) = rounds.select_nth_unstable(middle);
        let limit = (*limit).min(self.round);
        self.kept.retain(|_, kept| kept.used >= limit);
    }

    /// What will not be due at `at`.
    pub fn known(&self, at: Now) -> Known {
        let fresh = self.kept.iter().filter(|(_, kept)| !kept.signature.window.is_due(at));
        fresh.map(|(key, _)| *key).collect()
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        let now = Now { earliest: 5_000, latest: 5_000 };
        Signature { rdata: Box::default(), window: now.window(0) }
    }

    #[test]
    fn what_was_used_last_stays_and_what_is_due_is_not_found() {
        let now = Now { earliest: 5_000, latest: 5_000 };
        let mut cache = Cache::new(4);
        for round in 0..6_u8 {
            cache.begin();
            cache.insert([round; 32], signature());
        }
        cache.begin();
        assert!(cache.find(&[0; 32], now).is_some());
        cache.trim();
        assert!(cache.len() <= 4 && cache.find(&[0; 32], now).is_some(), "{}", cache.len());
        assert!(cache.find(&[1; 32], now).is_none(), "used longest ago");
        let late = Now { earliest: 5_000 + 14 * 86_400, latest: 5_000 + 14 * 86_400 };
        assert!(cache.find(&[0; 32], late).is_none());
        assert!(cache.known(late).is_empty() && !cache.known(now).is_empty());
    }
}
