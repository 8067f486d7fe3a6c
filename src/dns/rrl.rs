//! Response rate limiting: how many responses a client prefix is sent over UDP, so that queries with
//! a forged source cannot turn this server against whoever has that address.
//!
//! ```text
//!  peer, class ─▶ key ─ keyed hash ─▶ set of four │ key   │ key   │ key   │ key   │  one cache line
//!  /24, /56                                       │ until │ until │ until │ until │
//!
//!  until: when the prefix is out of debt. A response moves it on by 1 / rate, from now at least.
//!  within a second of now: sent       further: held; every second one is sent without records
//! ```
//!
//! A bucket that refills with `rate` a second and holds one second's worth, kept as the time at which
//! it is full (the generic cell rate algorithm of ATM), so that an entry needs one number, and an entry
//! whose time has passed says no more than none. A new prefix takes the place of the entry in its set
//! that is soonest out of debt. Keys are stored whole: prefixes that share a set never share a budget.
//! The seed of the hash is random, so that nobody chooses prefixes that meet in one set.
//!
//! One table belongs to one worker, so a prefix whose queries reach several workers has a budget with
//! each. Who is not limited at all (streams, clients with a cookie) is decided before this is asked.

use crate::base::clock::MonoTime;
use crate::base::prefix::Prefix;
use crate::model::policy::{AnswerClass, RateLimit};
use std::net::IpAddr;

/// Entries looked at for one response: a cache line.
const WAYS: usize = 4;
/// 16,384 entries, 256 KiB. An entry counts while it is in debt, which is a second at most: these do
/// for as many prefixes a second and worker.
pub(super) const SETS: usize = 4_096;
/// The bucket, in microseconds.
const BURST: u64 = 1_000_000;
/// Bits of an entry's state that count held responses; the others are microseconds.
const SLIP_BITS: u32 = 8;
/// Digits of pi, as good as any odd number without pattern.
const MULTIPLIER: u64 = 0xa409_3822_299f_31d1;
/// Bits of a key: an entry in use, its family, the class.
const IN_USE: u64 = 1 << 63;
const IS_V6: u64 = 1 << 59;
const CLASS_SHIFT: u32 = 56;

/// What is to be done with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent.
    Within,
    /// Above the limit, and sent: the class is only counted.
    Logged,
    Held(Held),
}

/// What becomes of a response that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A sign of life goes out instead.
    Slipped,
    Dropped,
}

/// The budgets of one worker's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter {
    /// As many as [`place`] tells apart, so that none is looked for in vain.
    sets: Box<[Set; SETS]>,
    seed: u64,
    limits: Limits,
}

/// What policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limits {
    /// Microseconds that a response costs, by class.
    costs: [u32; AnswerClass::ALL.len()],
    is_logged: [bool; AnswerClass::ALL.len()],
    slip: u8,
    allow: Box<[Prefix]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Set {
    keys: [u64; WAYS],
    /// Until when the entry is in debt, and responses held since the last that slipped.
    states: [u64; WAYS],
}

impl Limiter {
    /// Allocates all it will ever need. `seed` is random, and may be the same for all workers.
    pub fn new(limits: &RateLimit, seed: u64) -> Self {
        let sets = vec![Set::default(); SETS].into_boxed_slice().try_into().expect("as many as were made");
        Self { sets, seed, limits: Limits::of(limits) }
    }

    /// Holds to other limits from here on; debts stand.
    pub fn adopt(&mut self, limits: &RateLimit) {
        self.limits = Limits::of(limits);
    }

    /// Charges a response to a prefix.
    #[inline(always)]
    pub fn judge(&mut self, peer: &IpAddr, class: AnswerClass, now: MonoTime) -> Verdict {
        let key = key(peer, class);
        let cost = u64::from(self.limits.costs[class as usize]);
        let set = &mut self.sets[place(key, self.seed)];
        let Some(state) = set.state(key) else {
            set.enter(key, (now.0 + cost) << SLIP_BITS);
            return Verdict::Within;
        };
        let until = (*state >> SLIP_BITS).max(now.0) + cost;
        if until > now.0 + BURST {
            return self.judge_over(*peer, class, key);
        }
        *state = until << SLIP_BITS | *state & ((1 << SLIP_BITS) - 1);
        Verdict::Within
    }

    #[cold]
    #[inline(never)]
    fn judge_over(&mut self, peer: IpAddr, class: AnswerClass, key: u64) -> Verdict {
        let peer = peer.to_canonical();
        if self.limits.allow.iter().any(|prefix| prefix.contains(peer)) {
            return Verdict::Within;
        }
        if self.limits.is_logged[class as usize] {
            return Verdict::Logged;
        }
        let slip = self.limits.slip;
        match self.sets[place(key, self.seed)].state(key) {
            Some(state) if slip > 0 => {
                *state += 1;
                let held = *state & ((1 << SLIP_BITS) - 1);
                if held < u64::from(slip) {
                    return Verdict::Held(Held::Dropped);
                }
                *state -= held;
                Verdict::Held(Held::Slipped)
            }
            _ => Verdict::Held(Held::Dropped),
        }
    }
}

impl Limits {
    fn of(limits: &RateLimit) -> Self {
        Self {
            costs: limits.rates.map(|rate| (BURST / u64::from(rate).clamp(1, BURST)) as u32),
            is_logged: AnswerClass::ALL.map(|class| limits.log_only.contains(&class)),
            slip: limits.slip,
            allow: limits.allow.clone().into(),
        }
    }
}

impl Set {
    #[inline(always)]
    fn state(&mut self, key: u64) -> Option<&mut u64> {
        let at = self.keys.iter().position(|held| *held == key)?;
        self.states.get_mut(at)
    }

    /// In place of the entry that is soonest out of debt, or was never used.
    #[inline(never)]
    fn enter(&mut self, key: u64, state: u64) {
        let places = self.keys.iter_mut().zip(&mut self.states);
        if let Some(place) = places.min_by_key(|(_, state)| **state) {
            (*place.0, *place.1) = (key, state);
        }
    }
}

/// The set of a key: a folded multiplication, as foldhash hashes integers, of which few keys are told
/// apart by who does not know the seed.
#[inline(always)]
pub(super) const fn place(key: u64, seed: u64) -> usize {
    let product = (key ^ seed) as u128 * MULTIPLIER as u128;
    (product as u64 ^ (product >> 64) as u64) as usize % SETS
}

/// The prefix whose budget it is, and which.
#[inline(always)]
fn key(peer: &IpAddr, class: AnswerClass) -> u64 {
    prefix_key(peer) | (class as u64) << CLASS_SHIFT
}

/// A client's /24 or /56, never 0. An IPv4 client is the same over a socket of either family.
#[inline(always)]
pub(super) fn prefix_key(peer: &IpAddr) -> u64 {
    match peer {
        IpAddr::V4(v4) => IN_USE | u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IN_USE | u64::from(v4.to_bits() >> 8),
            None => IN_USE | IS_V6 | (v6.to_bits() >> 72) as u64,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prefix::Family;

    const SEED: u64 = 0x5eed;

    fn limits(rate: u32) -> RateLimit {
        RateLimit { rates: [rate; 5], log_only: Vec::new(), allow: Vec::new(), ..RateLimit::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Responses of each verdict: sent, slipped, dropped, logged.
    fn ask(limiter: &mut Limiter, peer: &str, class: AnswerClass, now_ms: u64, times: u32) -> [u32; 4] {
        let mut counts = [0; 4];
        for _ in 0..times {
            let at = match limiter.judge(&ip(peer), class, MonoTime::from_millis(now_ms)) {
                Verdict::Within => 0,
                Verdict::Held(Held::Slipped) => 1,
                Verdict::Held(Held::Dropped) => 2,
                Verdict::Logged => 3,
            };
            counts[at] += 1;
        }
        counts
    }

    #[test]
    fn a_second_is_full_of_its_rate_and_refills_with_it() {
        for rate in [1, 5, 50, 1_000] {
            let mut limiter = Limiter::new(&limits(rate), SEED);
            let class = AnswerClass::Static;
            assert_eq!(ask(&mut limiter, "192.0.2.1", class, 0, rate + 4), [rate, 2, 2, 0], "{rate}");
            assert_eq!(ask(&mut limiter, "192.0.2.1", class, 500, rate)[0], rate / 2, "half a second later");
            assert_eq!(
                ask(&mut limiter, "192.0.2.1", class, 9_000, 2 * rate)[0],
                rate,
                "no more is saved up"
            );
        }
    }

    #[test]
    fn an_edit_changes_the_rate_and_leaves_debts() {
        let mut limiter = Limiter::new(&limits(50), SEED);
        assert_eq!(ask(&mut limiter, "192.0.2.1", AnswerClass::Static, 0, 60)[0], 50);
        limiter.adopt(&limits(10));
        assert_eq!(ask(&mut limiter, "192.0.2.1", AnswerClass::Static, 0, 60)[0], 0);
        assert_eq!(ask(&mut limiter, "192.0.3.1", AnswerClass::Static, 0, 60)[0], 10);
        assert_eq!(ask(&mut limiter, "192.0.2.1", AnswerClass::Static, 500, 60)[0], 5);
    }

    #[test]
    fn over_ten_seconds_a_flood_gets_its_rate() {
        let mut limiter = Limiter::new(&limits(50), SEED);
        let mut sent = 0;
        for ms in 0..10_000 {
            sent += ask(&mut limiter, "192.0.2.1", AnswerClass::Negative, ms, 3)[0];
        }
        assert!((550 - 2..=550).contains(&sent), "{sent} sent");
    }

    #[test]
    fn slip_says_how_many_of_those_held_go_out() {
        // (slip, of twelve above the limit: slipped, dropped)
        for (slip, slipped, dropped) in [(0, 0, 12), (1, 12, 0), (2, 6, 6), (3, 4, 8), (10, 1, 11)] {
            let mut limiter = Limiter::new(&RateLimit { slip, ..limits(5) }, SEED);
            let counts = ask(&mut limiter, "192.0.2.1", AnswerClass::Error, 0, 17);
            assert_eq!(counts, [5, slipped, dropped, 0], "slip {slip}");
        }
    }

    #[test]
    fn prefixes_and_classes_have_budgets_of_their_own() {
        // (first client, second client, whether they share a budget)
        let cases = [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("2001:db8:0:ff::1", "2001:db8:0:aa:5::9", true),
            ("2001:db8:0:100::1", "2001:db8:0:200::1", false),
            ("0.0.0.1", "::1", false),
        ];
        for (first, second, is_shared) in cases {
            let mut limiter = Limiter::new(&limits(5), SEED);
            assert_eq!(ask(&mut limiter, first, AnswerClass::Static, 0, 5)[0], 5);
            let sent = ask(&mut limiter, second, AnswerClass::Static, 0, 5)[0];
            assert_eq!(sent == 0, is_shared, "{first} and {second}");
            for class in AnswerClass::ALL.into_iter().filter(|class| *class != AnswerClass::Static) {
                assert_eq!(ask(&mut limiter, first, class, 0, 6)[0], 5, "{class:?}");
            }
        }
    }

    #[test]
    fn allowed_networks_and_counted_classes_are_sent_all() {
        let allow = vec![Prefix::new(Family::V4, 0x0a << 120, 8)];
        let log_only = vec![AnswerClass::Steered];
        let mut limiter = Limiter::new(&RateLimit { allow, log_only, ..limits(5) }, SEED);
        assert_eq!(ask(&mut limiter, "10.1.2.3", AnswerClass::Static, 0, 99), [99, 0, 0, 0]);
        assert_eq!(ask(&mut limiter, "::ffff:10.9.2.3", AnswerClass::Static, 0, 99), [99, 0, 0, 0]);
        assert_eq!(ask(&mut limiter, "192.0.2.1", AnswerClass::Steered, 0, 99), [5, 0, 0, 94]);
        assert_eq!(ask(&mut limiter, "192.0.2.1", AnswerClass::Static, 0, 9), [5, 2, 2, 0]);
    }

    /// A table full of others forgets, but lets nobody pay for another.
    #[test]
    fn strangers_are_never_held_however_full_the_table() {
        let mut limiter = Limiter::new(&limits(5), SEED);
        for n in 0..200_000_u32 {
            let peer = IpAddr::from(n.wrapping_mul(256).to_be_bytes());
            let verdict = limiter.judge(&peer, AnswerClass::Static, MonoTime(u64::from(n)));
            assert_eq!(verdict, Verdict::Within, "{peer}");
        }
    }

    /// Those in debt stay, those out of debt go first.
    #[test]
    fn a_flood_of_prefixes_does_not_free_the_one_in_debt() {
        let mut limiter = Limiter::new(&limits(50), SEED);
        ask(&mut limiter, "192.0.2.1", AnswerClass::Static, 0, 50);
        for n in 0..60_000_u32 {
            // 100,000 prefixes a second, each in debt for twenty milliseconds.
            let peer = IpAddr::from(n.wrapping_mul(256).to_be_bytes());
            limiter.judge(&peer, AnswerClass::Static, MonoTime(u64::from(n) * 10));
        }
        let sent = ask(&mut limiter, "192.0.2.1", AnswerClass::Static, 600, 50)[0];
        assert_eq!(sent, 30, "what 600 ms refilled");
    }
}
