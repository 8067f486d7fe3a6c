//! The gate of a service that sheds: who has a node already, who is a newcomer, and which newcomers are
//! answered something else.
//!
//! ```text
//!  client of one network (/24, /56, by ECS) ─ seen lately? ─ yes ─────────────▶ its node
//!                                                 └─ no: hash of the network ─┬ ≥ share ▶ its node, now seen
//!                                                                             └ < share ▶ shed
//!  resolver that stands for many ─ hash of its network and the epoch ─────────┬ ≥ share ▶ a node
//!                                                                             └ < share ▶ shed
//!
//!  seen:  current 2^22 bits │ former 2^22 bits      `turn`: the former is emptied and becomes the current
//! ```
//! The filter outlives tables: each takes it from the one before, by the service's name. Workers only ever
//! set bits in it and the writer only ever turns it, all without order between them (`Relaxed`): a bit that
//! is lost or stays on too long lets somebody in or turns somebody away once, and nothing else.
//!
//! Two bits of one word stand for a network, so a look is one load for each half. With 100,000 networks seen
//! about 1 % of the newcomers are taken for one of them and let in; with 1,000,000 about a third are.
//!
//! A shed network stays shed while the share does not fall below its hash: were it drawn anew, everybody
//! would be in after a while. A resolver without ECS is drawn anew each epoch, since behind it are people
//! of both kinds, and nobody can tell which.

use super::block::Block;
use super::names::Cname;
use super::steer::{Distribution, MAX_HASH_LEN, Pick, ServiceTable};
use crate::base::clock::MonoTime;
use crate::base::hash::{mix_pair, mix_prepared, mix64, prepare, stable_hash};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::degradation::{Shed, ShedTo};
use crate::model::service::Service;
use crate::zone::name::Name;
use crate::zone::rtype;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Words of 64 bits in one half of the filter: half a MiB.
const WORDS: usize = 1 << 16;
/// Epochs are no shorter: resolvers ask again when the TTL is over.
const LEAST_EPOCH: Duration = Duration::from_secs(10);

/// At which distribution the gate is: who is shed there, and what those are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    /// Of newcomers.
    pub share: Ppm,
    /// Position of the distribution they are given.
    pub to: u16,
}

/// What the gates of a service have in common.
#[derive(Clone, Debug)]
pub struct Guard {
    seen: Arc<Seen>,
    /// By family, [prepared](prepare): others than those of slots, so that shedding thins all nodes alike.
    seeds: [u64; 2],
    /// What is answered in place of every type, where policy sheds to another name.
    alias: Option<Cname>,
}

/// Networks that were answered with a node lately.
#[derive(Debug)]
pub struct Seen {
    halves: [Box<[AtomicU64]>; 2],
    /// Turns so far: the half that is written is its last bit.
    turns: AtomicU64,
    epoch: AtomicU64,
    /// It is too young to tell a newcomer: nobody is shed.
    is_warming: AtomicBool,
    /// The writer's alone, ms: of the last turn, of the epoch's beginning, of the end of warming up.
    turned_at_ms: AtomicU64,
    epoch_at_ms: AtomicU64,
    warm_at_ms: AtomicU64,
    is_kept: AtomicBool,
}

impl Default for Seen {
    fn default() -> Self {
        let half = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self {
            halves: [half(), half()],
            turns: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            is_warming: AtomicBool::new(false),
            turned_at_ms: AtomicU64::new(0),
            epoch_at_ms: AtomicU64::new(0),
            warm_at_ms: AtomicU64::new(0),
            is_kept: AtomicBool::new(false),
        }
    }
}

impl Seen {
    const fn place(hash: u64) -> (usize, u64) {
        ((hash >> 48) as usize % WORDS, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        let (word, bits) = Self::place(hash);
        self.halves.iter().any(|half| half[word].load(Ordering::Relaxed) & bits == bits)
    }

    #[inline]
    fn note(&self, hash: u64) {
        let (word, bits) = Self::place(hash);
        let half = &self.halves[(self.turns.load(Ordering::Relaxed) & 1) as usize];
        // Mostly they are there, and a look shares the line where a write takes it away from the others.
        if half[word].load(Ordering::Relaxed) & bits != bits {
            half[word].fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// For the writer, at every tick: whoever was served by a process before this one comes within `warm`
    /// and is noted before anybody is shed; then as [`turn`](Self::turn).
    pub fn keep(&self, now: MonoTime, warm: Duration, remember: Duration, epoch: Duration) {
        let now_ms = now.0 / 1_000;
        if !self.is_kept.swap(true, Ordering::Relaxed) {
            self.turned_at_ms.store(now_ms, Ordering::Relaxed);
            self.epoch_at_ms.store(now_ms, Ordering::Relaxed);
            let warm_ms = u64::try_from(warm.as_millis()).unwrap_or(u64::MAX);
            self.warm_at_ms.store(now_ms.saturating_add(warm_ms), Ordering::Relaxed);
        }
        self.is_warming.store(now_ms < self.warm_at_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        self.turn(now, remember, epoch);
    }

    /// Forgets what was not seen again for `remember`, and begins another epoch after `epoch`; when each is
    /// due. For the writer alone.
    pub fn turn(&self, now: MonoTime, remember: Duration, epoch: Duration) {
        let now_ms = now.0 / 1_000;
        let is_due = |since: &AtomicU64, length: Duration| {
            let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            let due = now_ms.saturating_sub(since.load(Ordering::Relaxed)) >= length_ms;
            if due {
                since.store(now_ms, Ordering::Relaxed);
            }
            due
        };
        if is_due(&self.turned_at_ms, remember) {
            let turns = self.turns.load(Ordering::Relaxed) + 1;
            self.halves[(turns & 1) as usize].iter().for_each(|word| word.store(0, Ordering::Relaxed));
            self.turns.store(turns, Ordering::Relaxed);
        }
        if is_due(&self.epoch_at_ms, epoch.max(LEAST_EPOCH)) {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub family: Family,
    /// The first half of its address, left-aligned.
    pub upper: u64,
    /// It told its network, no larger than what is counted as one; else it stands for many.
    pub is_one_network: bool,
    /// Nobody is noted as seen: the answer is not sent to anybody.
    pub is_rehearsal: bool,
}

impl Guard {
    /// `None`: the service turns nobody away. `former`: that of the table before.
    pub fn of(service: &Service, former: Option<&Guard>) -> Option<Self> {
        let Shed { to, .. } = service.shed.as_ref()?;
        let name = stable_hash(service.name.as_bytes());
        let seeds = Family::BOTH.map(|family| prepare(mix64(name) ^ family.index() as u64));
        let alias = match to {
            ShedTo::Cname(target) => alias(target, service.ttl),
            ShedTo::Pool(_) | ShedTo::NoData => None,
        };
        Some(Self { seen: former.map_or_else(Arc::default, |former| Arc::clone(&former.seen)), seeds, alias })
    }

    pub fn alias(&self) -> Option<&Cname> {
        self.alias.as_ref()
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Of the network.
    #[inline]
    fn hash(&self, asker: &Asker) -> u64 {
        let at = asker.family.index();
        let mask = !u64::MAX.checked_shr(u32::from(MAX_HASH_LEN[at])).unwrap_or(0);
        mix_prepared(self.seeds[at], asker.upper & mask)
    }

    /// Whether the asker is turned away; who is not is noted.
    #[inline]
    fn sheds(&self, share: Ppm, asker: &Asker) -> bool {
        let hash = self.hash(asker);
        let share = if self.seen.is_warming.load(Ordering::Relaxed) { Ppm::ZERO } else { share };
        if !asker.is_one_network {
            return is_below(mix_pair(hash, self.seen.epoch.load(Ordering::Relaxed)), share);
        }
        let is_shed = is_below(mix64(hash), share) && !self.seen.has(hash);
        if !is_shed && !asker.is_rehearsal {
            self.seen.note(hash);
        }
        is_shed
    }
}

/// Whether a hash is in the first `share` of all.
#[inline]
const fn is_below(hash: u64, share: Ppm) -> bool {
    ((hash >> 32) * 1_000_000) >> 32 < share.0 as u64
}

fn alias(target: &str, ttl: u32) -> Option<Cname> {
    let name = Name::parse_text(target).ok()?;
    let block = Block::of(rtype::CNAME, ttl, [name.as_wire()]);
    Some(Cname { block, target: name.as_wire().into() })
}

impl ServiceTable {
    /// Whether the network of the asker was answered with a node lately.
    pub fn knows(&self, asker: &Asker) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.seen.has(guard.hash(asker)))
    }

    /// As the client leaves the gate of its distribution: with what it was picked, or what newcomers are
    /// answered. The answer is its network's and nobody else's.
    pub fn admit<'a>(&'a self, pick: Pick<'a>, asker: &Asker) -> Pick<'a> {
        let (Some(gate), Some(guard)) = (pick.distribution.gate, &self.guard) else { return pick };
        let hash_len = MAX_HASH_LEN[asker.family.index()];
        if !guard.sheds(gate.share, asker) {
            return Pick { hash_len, ..pick };
        }
        let Some(distribution) = self.distributions.get(usize::from(gate.to)) else { return pick };
        let slot = self.slot(distribution, asker.family, asker.upper, hash_len);
        let set = self.set_at(distribution, slot as usize);
        Pick { distribution, distribution_at: gate.to, slot, set, hash_len, shed: gate.share }
    }

    /// Of a distribution about which nothing is to be said but its gate: the bits that the answer depends on,
    /// for a client that is let in. `None`: there is more to say.
    #[cold]
    #[inline(never)]
    pub fn admits_plainly(&self, distribution: &Distribution, asker: &Asker) -> Option<u8> {
        let (gate, guard) = (distribution.gate?, self.guard.as_ref()?);
        let is_in = distribution.warning.is_none() && !guard.sheds(gate.share, asker);
        is_in.then_some(MAX_HASH_LEN[asker.family.index()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [u64; 0] = [];

    fn asker(network: u64, is_one_network: bool) -> Asker {
        Asker { family: Family::V4, upper: network << 40, is_one_network, is_rehearsal: false }
    }

    fn guard() -> Guard {
        Guard { seen: Arc::default(), seeds: [prepare(1), prepare(2)], alias: None }
    }

    fn shed(guard: &Guard, share: Ppm, networks: std::ops::Range<u64>, is_one: bool) -> Vec<u64> {
        networks.filter(|&network| guard.sheds(share, &asker(network, is_one))).collect()
    }

    #[test]
    fn newcomers_are_shed_by_share_and_who_was_seen_is_not() {
        let guard = guard();
        assert_eq!(shed(&guard, Ppm::ZERO, 0..1_000, true), NOBODY);
        assert_eq!(shed(&guard, Ppm::WHOLE, 0..1_000, true), NOBODY, "all of them were answered before");
        let [few, more] = [20, 60].map(|percent| {
            let fresh = Guard { seen: Arc::default(), ..guard.clone() };
            shed(&fresh, Ppm::from_percent(percent), 10_000..20_000, true)
        });
        assert!((1_800..2_200).contains(&few.len()) && (5_700..6_300).contains(&more.len()));
        assert!(few.iter().all(|network| more.contains(network)), "a larger share sheds the same, and more");
        let everybody = shed(&guard, Ppm::WHOLE, 10_000..20_000, true);
        assert!(everybody.len() > 9_950, "{} of 10,000 are newcomers", everybody.len());
    }

    #[test]
    fn who_was_not_seen_for_long_is_a_newcomer_again() {
        let guard = guard();
        let minute = Duration::from_secs(60);
        let turn = |s: u64| guard.seen.turn(MonoTime::from_millis(s * 1_000), minute, minute);
        turn(60);
        assert_eq!(shed(&guard, Ppm::ZERO, 0..100, true), NOBODY);
        turn(119);
        turn(120);
        assert_eq!(shed(&guard, Ppm::WHOLE, 0..50, true), NOBODY, "remembered over one turn, and seen again");
        turn(180);
        assert_eq!(shed(&guard, Ppm::WHOLE, 0..100, true).len(), 50, "the others are forgotten");
    }

    #[test]
    fn a_young_filter_sheds_nobody() {
        let guard = guard();
        let (hour, ten) = (Duration::from_secs(3_600), Duration::from_secs(10));
        let keep = |s: u64| guard.seen.keep(MonoTime::from_millis(s * 1_000), ten, hour, ten);
        keep(7_000);
        assert_eq!(shed(&guard, Ppm::WHOLE, 0..100, true), NOBODY);
        keep(7_009);
        assert_eq!(shed(&guard, Ppm::WHOLE, 0..200, true), NOBODY);
        keep(7_010);
        let later = shed(&guard, Ppm::WHOLE, 0..300, true);
        assert!(later.len() > 95 && later.iter().all(|network| *network >= 200), "{later:?}");
    }

    #[test]
    fn a_rehearsal_notes_nobody() {
        let guard = guard();
        let rehearsal = Asker { is_rehearsal: true, ..asker(7, true) };
        assert!(!guard.sheds(Ppm::ZERO, &rehearsal));
        assert!(guard.sheds(Ppm::WHOLE, &rehearsal));
    }

    #[test]
    fn resolvers_that_stand_for_many_are_drawn_anew_each_epoch() {
        let guard = guard();
        let half = Ppm::from_percent(50);
        let first = shed(&guard, half, 0..1_000, false);
        assert_eq!(first, shed(&guard, half, 0..1_000, false));
        let (hour, epoch) = (Duration::from_secs(3_600), Duration::from_secs(30));
        guard.seen.turn(MonoTime::from_millis(30_000), hour, epoch);
        let second = shed(&guard, half, 0..1_000, false);
        let both = first.iter().filter(|network| second.contains(network)).count();
        assert!((400..600).contains(&first.len()) && (150..350).contains(&both), "{both} in both");
    }
}
