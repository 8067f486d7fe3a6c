//! The planner's interface: what it is given and what it hands to the table compiler.
//!
//! ```text
//!  policy, groups, latency prior ─┐
//!  health, previous assignment ───┼─▶ schedule::plan ─▶ Assignment ─▶ routing::compile
//!  demand ────────────────────────┘
//! ```

use super::ids::{GroupId, NodeId, PoolId, ServiceId};
use super::placements::Placements;
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Estimated round trips from client groups to sites: a prior by distance, and what was measured in it
/// (semantics.md, "Signals").
///
/// Row-major `groups x sites`. A copy shares its lists until one of them is written to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    pub sites: usize,
    pub rtt: Shared<Micros>,
    /// Measurements behind each, against [`PRIOR_VOTES`](Self::PRIOR_VOTES) of the prior. Empty: none behind
    /// any.
    pub votes: Shared<u16>,
    /// The few paths of which clients measured jitter or loss. Ascending by group, then site.
    pub quality: Shared<PathQuality>,
}

/// What clients of a group measured of the path to a site, beside its round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathQuality {
    pub group: u32,
    pub site: u32,
    pub quality: Quality,
}

/// Jitter (us) and loss (ppm).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quality {
    pub jitter: Measured,
    pub loss: Measured,
}

/// A median, and how many measurements are behind it; of none it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Measured {
    pub value: u32,
    pub votes: u16,
}

impl Measured {
    /// Pulled towards what is known otherwise: (n * median + k * own) / (n + k).
    #[inline]
    pub fn with(self, own: u32) -> u32 {
        if self.votes == 0 {
            return own;
        }
        let (n, k) = (u64::from(self.votes), u64::from(Latencies::PRIOR_VOTES));
        ((n * u64::from(self.value) + k * u64::from(own)) / (n + k)) as u32
    }
}

impl Latencies {
    /// How many measurements the prior is worth: k.
    pub const PRIOR_VOTES: u32 = 20;

    /// Nothing is measured.
    pub fn prior(sites: usize, rtt: Vec<Micros>) -> Self {
        Self { sites, rtt: rtt.into(), votes: Shared::default(), quality: Shared::default() }
    }

    /// By site; empty for a group that is not there.
    pub fn row(&self, group: usize) -> &[Micros] {
        self.rtt.get(group * self.sites..(group + 1) * self.sites).unwrap_or(&[])
    }

    /// By site; empty where nothing is measured.
    pub fn votes(&self, group: usize) -> &[u16] {
        self.votes.get(group * self.sites..(group + 1) * self.sites).unwrap_or(&[])
    }

    /// The measured paths of a group, ascending by site.
    pub fn quality(&self, group: usize) -> &[PathQuality] {
        let start = self.quality.partition_point(|path| (path.group as usize) < group);
        let own = &self.quality[start..];
        &own[..own.partition_point(|path| path.group as usize == group)]
    }

    /// What is left of something guessed (us) when there are `votes` measurements: with every one a k-th
    /// less, so nothing from k on.
    pub fn unmeasured(guess_us: u32, votes: u16) -> u32 {
        let left = Self::PRIOR_VOTES.saturating_sub(u32::from(votes));
        (u64::from(guess_us) * u64::from(left) / u64::from(Self::PRIOR_VOTES)) as u32
    }

    /// How sure an estimate with `votes` measurements is, in ppm: n / (n + k).
    pub fn confidence(votes: u16) -> Ppm {
        let n = u64::from(votes);
        Ppm::ratio(n, n + u64::from(Self::PRIOR_VOTES))
    }
}

/// Where each client group of each service goes. Dense: `services[s].by_group[g]` is a position in
/// `services[s].placements`, which holds each distinct placement once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub services: Vec<ServiceAssignment>,
}

/// Equal are those that place every group alike, by whatever numbers, and shed alike.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServiceAssignment {
    pub placements: Placements,
    pub by_group: Shared<u32>,
    /// By rule of the service: which part of its newcomers is shed. Empty: nobody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shed: Vec<Ppm>,
}

impl ServiceAssignment {
    /// Of the newcomers of a rule.
    pub fn shed_of(&self, rule: usize) -> Ppm {
        self.shed.get(rule).copied().unwrap_or_default()
    }
}

impl PartialEq for ServiceAssignment {
    fn eq(&self, other: &Self) -> bool {
        if self.shed != other.shed {
            return false;
        }
        if self.placements.is_same(&other.placements) && self.by_group.is_same(&other.by_group) {
            return true;
        }
        // By our number, theirs that was last found alike.
        let mut alike = vec![None; self.placements.len()];
        let mut is_alike = |(&ours, &theirs): (&u32, &u32)| {
            let known = alike.get(ours as usize) == Some(&Some(theirs));
            if !known && self.placements.get(ours as usize) != other.placements.get(theirs as usize) {
                return false;
            }
            alike.get_mut(ours as usize).into_iter().for_each(|it| *it = Some(theirs));
            true
        };
        self.by_group.len() == other.by_group.len()
            && self.by_group.iter().zip(&other.by_group).all(&mut is_alike)
    }
}

/// A list that generations share until one of them changes it: a clone is a pointer, and so is a
/// comparison of lists that were never changed. Writing to a shared list copies it first.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared<T>(Arc<Vec<T>>);

impl<T> Shared<T> {
    /// Whether both are the same list in memory, so equal without a look; false says nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::new(Vec::new()))
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(list: Vec<T>) -> Self {
        Self(Arc::new(list))
    }
}

impl<T> FromIterator<T> for Shared<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Arc::new(items.into_iter().collect()))
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

impl<T> Deref for Shared<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut Shared<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::make_mut(&mut self.0).iter_mut()
    }
}

/// One way to answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// Nodes that carry the group, with the share of it each takes; sums to [`Ppm::WHOLE`] unless
    /// empty. Ordered by falling share, then by node. Empty: see `fallback`.
    pub shares: Vec<Share>,
    /// Further usable nodes in about rising cost, without those in `shares`: they fill answers beyond
    /// the first and families that the picked node lacks. As many as that takes, at most 8.
    pub backups: Vec<NodeId>,
    /// Which pool of the chain the first share came from.
    pub pool: Option<PoolId>,
    pub mode: PlacementMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    pub node: NodeId,
    pub share: Ppm,
}

/// How the placement came to be: which promise it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PlacementMode {
    /// From nodes that may serve.
    Normal,
    /// No node of the chain may serve: `on_all_down: all` or `last_good` chose these nodes anyway.
    FailOpen,
    /// No node of the chain may serve: the service's `on_all_down` says what to answer.
    AllDown,
}

impl Assignment {
    pub fn placement(&self, service: ServiceId, group: GroupId) -> Option<&Placement> {
        let service = self.services.get(service.index())?;
        service.placements.get(*service.by_group.get(group.index())? as usize)
    }

    /// Client groups of a service that no node may serve.
    pub fn stranded(&self, service: ServiceId) -> u32 {
        let Some(service) = self.services.get(service.index()) else { return 0 };
        let is_stranded = |at: &&u32| {
            let placement = service.placements.get(**at as usize);
            placement.is_none_or(|it| it.mode != PlacementMode::Normal || it.shares.is_empty())
        };
        u32::try_from(service.by_group.iter().filter(is_stranded).count()).unwrap_or(u32::MAX)
    }
}

/// A move of clients between two generations, for the log, the view and the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub service: ServiceId,
    /// `None`: clients that had no node.
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    /// Share of the service's demand.
    pub share: Ppm,
}
