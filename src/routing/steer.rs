//! The steered half of the table: for one service, which bytes each client is answered with.
//!
//! ```text
//!  client ─▶ group ─by_group─▶ distribution ─hash of client prefix─▶ slot ─▶ answer set
//!            (geo)   and how    512 or 4,096 slots, one if all agree          A, AAAA, other types' bytes
//!                    long a prefix
//! ```
//!
//! Groups with equal placements share a distribution and equal answers share a set, so the work
//! and the memory grow with what differs. The number of slots and the hash length come from geo alone: were
//! they to follow health or the size of pools, a node that dies, comes or goes would move clients of others.
//!
//! Filled by [`fill`](super::fill). Out of scope: who is placed where (`schedule`) and what goes around
//! the bytes (`dns`).

use super::block::Block;
use super::guard::{Gate, Guard};
use super::records::{self, RecordBlocks};
use crate::base::hash::{mix_prepared, prepare, stable_hash};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, NodeId, PoolId};
use crate::model::placement::PlacementMode;
use crate::model::reach::Reach;
use std::sync::Arc;

/// Longest client prefixes that are hashed: longer ones would only split resolver caches.
pub const MAX_HASH_LEN: [u8; 2] = [24, 56];
/// A group is cut into so many hash buckets, as a power of two, where it has so many /24s: 4,096 for each of the
/// eight nodes of a placement, so that they are divided among nodes as slots are, within some per cent.
pub const BUCKET_BITS: u8 = 15;

/// One service's answers. Two tables that answer alike may hold their parts at other positions.
#[derive(Clone, Debug)]
pub struct ServiceTable {
    /// Seeds of its clients' slots by family, made by [`seeds`].
    pub seeds: [u64; 2],
    /// Seconds.
    pub ttl: u32,
    /// Where its first group is counted in the ledger beside it.
    pub counted_from: u32,
    /// All clients of both families get the same answer: scope 0.
    pub is_uniform: bool,
    pub sets: Vec<AnswerSet>,
    pub distributions: Vec<Distribution>,
    pub by_group: Vec<GroupPlan>,
    /// Who might be given which node when it was made.
    pub reach: Arc<Reach>,
    /// Of a service that sheds newcomers.
    pub guard: Option<Guard>,
}

/// How the clients of one group are answered: four octets, read for each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Position in [`ServiceTable::distributions`], of which there are no more than groups.
    pub distribution: u16,
    /// By family: the shortest prefix that cuts the group into enough buckets, made by [`hash_lens`].
    pub hash_lens: [u8; 2],
}

/// What some clients are answered with. Arrays are indexed by [`Family::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerSet {
    /// A and AAAA records.
    pub blocks: [Block; 2],
    /// The nodes they belong to, best first; empty for fallback addresses.
    pub picks: [Arc<[NodeId]>; 2],
    /// No node of the placement may serve this family: answered as if all could.
    pub is_open: [bool; 2],
    /// Neither that nor empty: nothing is to be said of this family but its records.
    pub is_plain: [bool; 2],
    /// Of other types, for the same nodes; `None` for most services.
    pub records: RecordBlocks,
}

/// One RRset of an answer set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Addresses(Family),
    Records {
        /// Position in [`AnswerSet::records`].
        at: u16,
        /// Position among the types of the name that is asked.
        nth: u16,
    },
}

impl AnswerSet {
    /// `None`: the set has none of that type.
    #[inline(always)]
    pub fn part(&self, part: Part) -> Option<&Block> {
        let block = match part {
            Part::Addresses(family) => Some(&self.blocks[family.index()]),
            Part::Records { at, .. } => {
                self.records.as_deref().and_then(|blocks| blocks.get(usize::from(at)))
            }
        };
        block.filter(|block| !block.is_empty())
    }

    /// As [`part`](Self::part), of nodes that may serve.
    #[inline(always)]
    pub fn plain_part(&self, part: Part) -> Option<&Block> {
        match part {
            Part::Addresses(family) if self.is_plain[family.index()] => Some(&self.blocks[family.index()]),
            Part::Addresses(_) => None,
            Part::Records { .. } => self.part(part).filter(|_| !self.is_open(part)),
        }
    }

    /// Whether it speaks of nodes that may not serve.
    #[inline]
    pub fn is_open(&self, part: Part) -> bool {
        match part {
            Part::Addresses(family) => self.is_open[family.index()],
            Part::Records { .. } => self.is_open.contains(&true),
        }
    }

    /// Of the part's nodes each once, best first.
    pub fn nodes(&self, part: Part) -> impl Iterator<Item = NodeId> + '_ {
        let [v4, v6] = &self.picks;
        records::nodes(match part {
            Part::Addresses(Family::V4) => [v4, &[]],
            Part::Addresses(Family::V6) => [&[], v6],
            Part::Records { .. } => [v4, v6],
        })
    }
}

/// How the clients of some groups are spread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distribution {
    /// Empty unless `reply` is [`Reply::Addresses`].
    pub slots: Slots,
    pub pool: Option<PoolId>,
    pub mode: PlacementMode,
    pub reply: Reply,
    pub warning: Option<Warning>,
    /// Where newcomers may be shed: at each that clients are given, of a service that does.
    pub gate: Option<Gate>,
    /// [`Reply::Addresses`] without a warning or a gate: most are.
    pub is_plain: bool,
}

/// Positions in [`ServiceTable::sets`]; a power of two of them, or one, or none.
///
/// Cheap to clone: a table takes what did not change from the one before it. Two tables that share
/// slots have the same sets at these positions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slots {
    all: Arc<[u32]>,
    /// Each position that stands in a slot, once, ascending.
    used: Arc<[u32]>,
}

impl Slots {
    /// Of equal slots one is kept.
    pub fn of(all: &[u32]) -> Self {
        let mut used = Vec::new();
        for set in all {
            if !used.contains(set) {
                used.push(*set);
            }
        }
        Self::of_used(all, used)
    }

    /// As [`of`](Self::of), where it is known which positions there are.
    pub(super) fn of_used(all: &[u32], mut used: Vec<u32>) -> Self {
        used.sort_unstable();
        used.dedup();
        let all = if used.len() == 1 { &all[..1] } else { all };
        Self { all: all.into(), used: used.into() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[inline]
    pub fn at(&self, slot: usize) -> Option<u32> {
        self.all.get(slot).copied()
    }

    /// Each set that stands in a slot, once.
    pub fn used(&self) -> &[u32] {
        &self.used
    }

    /// Taken over, one from the other or both from a third.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all)
    }
}

impl Distribution {
    /// More than one set stands in the slots, so the pick depends on the client's prefix.
    #[inline]
    pub fn is_mixed(&self) -> bool {
        self.slots.all.len() > 1
    }

    /// Whether clients see the same.
    pub(super) fn answers_like(&self, other: &Self) -> bool {
        (&self.slots, self.reply, self.warning) == (&other.slots, other.reply, other.warning)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    Addresses,
    NoData,
    ServFail,
    /// The name that newcomers are shed to.
    Alias,
}

/// Why an answer is not what the operator would wish for: an extended error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warning {
    AllAsUp,
    LastGood,
    Fallback,
    NoData,
    ServFail,
    NoNode,
    Shed,
}

impl Warning {
    /// INFO-CODE: 3 is Stale Answer, 0 Other.
    pub const fn info_code(self) -> u16 {
        match self {
            Warning::LastGood => 3,
            _ => 0,
        }
    }

    /// EXTRA-TEXT.
    pub const fn text(self) -> &'static str {
        match self {
            Warning::AllAsUp => "all nodes down: answering as if up",
            Warning::LastGood => "all nodes down: last good answer",
            Warning::Fallback => "all nodes down: fallback addresses",
            Warning::NoData => "all nodes down: no data",
            Warning::ServFail => "all nodes down",
            Warning::NoNode => "no node for this client",
            Warning::Shed => "at capacity: newcomers have to wait",
        }
    }
}

/// What a client was given, and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    pub distribution: &'a Distribution,
    pub distribution_at: u16,
    pub slot: u32,
    pub set: Option<&'a AnswerSet>,
    /// Prefix length that was hashed; 0 where the pick does not depend on it.
    pub hash_len: u8,
    /// The part of newcomers that it is of, being shed; 0: it is not.
    pub shed: Ppm,
}

impl ServiceTable {
    /// Whether every client of every group sees the same, and so does `explain`.
    pub fn answers_like(&self, other: &Self) -> bool {
        let plain = |it: &Self| (it.seeds, it.ttl, it.is_uniform, it.by_group.len());
        // By our distribution, theirs that was last found alike.
        let mut alike = vec![None; self.distributions.len()];
        let mut is_alike = |(ours, theirs): (&GroupPlan, &GroupPlan)| {
            let (at, there) = (usize::from(ours.distribution), usize::from(theirs.distribution));
            let known = alike.get(at) == Some(&Some(there));
            let found = known || self.distribution_like(at, other, there);
            alike.get_mut(at).into_iter().for_each(|it| *it = Some(there));
            found && ours.hash_lens == theirs.hash_lens
        };
        plain(self) == plain(other) && self.by_group.iter().zip(&other.by_group).all(&mut is_alike)
    }

    fn distribution_like(&self, ours: usize, other: &Self, theirs: usize) -> bool {
        let pair = (self.distributions.get(ours), other.distributions.get(theirs));
        let (Some(ours), Some(theirs)) = pair else { return false };
        let share = |it: &Distribution| it.gate.map(|gate| gate.share);
        let plain = |it: &Distribution| (it.pool, it.mode, it.reply, it.warning, it.slots.len(), share(it));
        let same_set = |at: usize| self.set_at(ours, at) == other.set_at(theirs, at);
        // Where a gate leads there is none.
        let same_gate = ours.gate.zip(theirs.gate).is_none_or(|(ours, theirs)| {
            let ungated = |table: &Self, at: u16| {
                table.distributions.get(usize::from(at)).is_some_and(|it| it.gate.is_none())
            };
            ungated(self, ours.to)
                && ungated(other, theirs.to)
                && self.distribution_like(usize::from(ours.to), other, usize::from(theirs.to))
        });
        plain(ours) == plain(theirs)
            && same_gate
            && (ours.slots.is_shared_with(&theirs.slots) || (0..ours.slots.len()).all(same_set))
    }

    /// By set: some slot names it. The others are left from earlier tables.
    pub fn sets_in_use(&self) -> Vec<bool> {
        let mut is_used = vec![false; self.sets.len()];
        for at in self.distributions.iter().flat_map(|it| it.slots.used()) {
            is_used.get_mut(*at as usize).into_iter().for_each(|it| *it = true);
        }
        is_used
    }

    /// What stands in a slot.
    #[inline]
    pub fn set_at(&self, distribution: &Distribution, slot: usize) -> Option<&AnswerSet> {
        self.sets.get(distribution.slots.at(slot)? as usize)
    }

    /// The answer for a client: `upper` is the first half of its address, left-aligned, `depth` that of
    /// its leaf in the geo table.
    #[inline(always)]
    pub fn pick(&self, group: GroupId, family: Family, upper: u64, depth: u8) -> Option<Pick<'_>> {
        let plan = self.by_group.get(group.index())?;
        let distribution_at = plan.distribution;
        let distribution = self.distributions.get(usize::from(distribution_at))?;
        let (mut slot, mut hash_len) = (0, 0);
        if distribution.is_mixed() {
            hash_len = plan.hash_len(family, depth);
            slot = self.slot(distribution, family, upper, hash_len);
        }
        let set = self.set_at(distribution, slot as usize);
        Some(Pick { distribution, distribution_at, slot, set, hash_len, shed: Ppm::ZERO })
    }

    #[inline(always)]
    pub(super) fn slot(&self, distribution: &Distribution, family: Family, upper: u64, hash_len: u8) -> u32 {
        let hash = client_hash(self.seeds[family.index()], upper, hash_len);
        ((u128::from(hash) * distribution.slots.len() as u128) >> 64) as u32
    }

    /// Position in the ledger beside it.
    #[inline(always)]
    pub fn counted_at(&self, group: GroupId) -> u32 {
        self.counted_from.wrapping_add(group.0)
    }
}

impl GroupPlan {
    /// Of the prefix that is hashed: not shorter than the leaf.
    #[inline(always)]
    pub fn hash_len(self, family: Family, depth: u8) -> u8 {
        self.hash_lens[family.index()].max(depth).min(MAX_HASH_LEN[family.index()])
    }
}

/// The first of the pairs whose hash tells a client's slot: the service, which is known by its name, and
/// the family. Prepared, since each answer mixes one with a client.
pub fn seeds(service: &str) -> [u64; 2] {
    Family::BOTH.map(|family| prepare(stable_hash(service.as_bytes()) ^ family.index() as u64))
}

/// Where a client stands among those of its group, of all that a `u64` can be: slots are equal parts of that.
/// `upper`: half of its address; `depth`: of its [leaf](crate::geo::table::Located::depth).
pub fn client_place(service: &str, group: &ClientGroup, family: Family, upper: u64, depth: u8) -> u64 {
    let plan = GroupPlan { distribution: 0, hash_lens: hash_lens(group, BUCKET_BITS) };
    client_hash(seeds(service)[family.index()], upper, plan.hash_len(family, depth))
}

/// Only the upper half of an address takes part: no hashed prefix is longer.
#[inline(always)]
fn client_hash(seed: u64, upper: u64, hash_len: u8) -> u64 {
    let mask = !u64::MAX.checked_shr(u32::from(hash_len)).unwrap_or(0);
    mix_prepared(seed, upper & mask)
}

/// By family, the shortest prefix that cuts a group into `1 << bucket_bits` buckets, if some does. The
/// group's size counts in /24s and /48s, as the power of two that is not above it.
pub fn hash_lens(group: &ClientGroup, bucket_bits: u8) -> [u8; 2] {
    let len = |whole: u8, count: u32, longest: u8| {
        let group_bits = u8::try_from(count.max(1).ilog2()).unwrap_or(31);
        whole.saturating_add(bucket_bits).saturating_sub(group_bits).min(longest)
    };
    let [longest_v4, longest_v6] = MAX_HASH_LEN;
    [len(24, group.v4_slash24, longest_v4), len(48, group.v6_slash48, longest_v6)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(bucket_bits: u8, v4_slash24: u32, v6_slash48: u32) -> GroupPlan {
        let group = ClientGroup {
            key: String::new(),
            country: None,
            line: None,
            location: None,
            areas: Vec::new(),
            v4_slash24,
            v6_slash48,
        };
        GroupPlan { distribution: 0, hash_lens: hash_lens(&group, bucket_bits) }
    }

    #[test]
    fn the_hashed_prefix_is_the_shortest_with_enough_buckets() {
        for size in [1, 100, 511, 512, 513, 5_000, 1 << 20, u32::MAX] {
            let len = plan(9, size, 0).hash_len(Family::V4, 0);
            let buckets = u64::from(size) >> (24 - len);
            assert!(buckets >= 512 || len == 24, "{size}: {buckets} buckets of /{len}");
            assert!(buckets < 1_024 || size == u32::MAX, "{size}: {buckets} buckets, more than needed");
            let len = plan(9, 0, size).hash_len(Family::V6, 0);
            let buckets = u64::from(size) << 8 >> (56 - len);
            assert!(buckets >= 512 || len == 56, "{size}: {buckets} buckets of /{len}");
        }
    }

    #[test]
    fn the_hashed_prefix_is_no_shorter_than_the_leaf_and_no_longer_than_the_bound() {
        let large = plan(9, 1 << 22, 1 << 30);
        assert_eq!(large.hash_len(Family::V4, 20), 20);
        assert_eq!(large.hash_len(Family::V4, 30), 24);
        assert_eq!(large.hash_len(Family::V6, 64), 56);
        assert_eq!(plan(15, 0, 0).hash_len(Family::V4, 0), 24);
        assert_eq!(plan(u8::MAX, 0, 0).hash_lens, MAX_HASH_LEN);
    }
}
