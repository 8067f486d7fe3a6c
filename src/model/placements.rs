//! The distinct placements of one service, by number: those that were settled, and those that came since.
//!
//! ```text
//! settled  p0 p1 p2 ... p4711      one list in memory for many assignments
//! fresh    p4712 p4713             what an evacuation added; the next is copied with it
//! ```
//! An evacuation changes few placements of many and has to be quick, so it neither copies nor renumbers
//! the others: [`Placements::with`] adds to them, and a placement that no group has any more stays where it
//! is until a plan that has the time writes the list anew. Where the line between the two is drawn is
//! nobody's business: lists are equal if they hold the same, and are written as one.

use super::placement::{Placement, Shared};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Index, IndexMut};

/// See the module's picture. A clone is two pointers.
#[derive(Clone, Debug, Default)]
pub struct Placements {
    settled: Shared<Placement>,
    fresh: Shared<Placement>,
}

impl Placements {
    pub fn len(&self) -> usize {
        self.settled.len() + self.fresh.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&Placement> {
        self.settled.get(at).or_else(|| self.fresh.get(at.checked_sub(self.settled.len())?))
    }

    pub fn iter(&self) -> std::iter::Chain<std::slice::Iter<'_, Placement>, std::slice::Iter<'_, Placement>> {
        self.settled.iter().chain(self.fresh.iter())
    }

    /// What most assignments of this service have in common.
    pub fn settled(&self) -> &Shared<Placement> {
        &self.settled
    }

    /// What comes after it.
    pub fn fresh(&self) -> &[Placement] {
        &self.fresh
    }

    /// Whether both are the same lists in memory, so equal without a look; false says nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_fresh_same =
            self.fresh.is_same(&other.fresh) || (self.fresh.is_empty() && other.fresh.is_empty());
        self.settled.is_same(&other.settled) && is_fresh_same
    }

    /// Whether both have the same placement at `at`, as far as that can be told without a look at it.
    #[inline]
    pub fn is_same_at(&self, other: &Self, at: usize) -> bool {
        let is_settled = at < self.settled.len() && self.settled.is_same(&other.settled);
        is_settled || (at < self.len() && self.is_same(other))
    }

    /// These, and `more` after them.
    #[must_use]
    pub fn with(&self, more: Vec<Placement>) -> Self {
        let mut fresh: Vec<Placement> = self.fresh.iter().cloned().collect();
        fresh.extend(more);
        if fresh.len() > self.settled.len() / 4 {
            return self.settled.iter().cloned().chain(fresh).collect();
        }
        Self { settled: self.settled.clone(), fresh: fresh.into() }
    }

    pub fn push(&mut self, placement: Placement) {
        self.fresh.push(placement);
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Placement> {
        self.settled.iter_mut().chain(self.fresh.iter_mut())
    }
}

impl PartialEq for Placements {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.len() == other.len() && self.iter().eq(other.iter()))
    }
}

impl From<Vec<Placement>> for Placements {
    fn from(list: Vec<Placement>) -> Self {
        Self { settled: list.into(), fresh: Shared::default() }
    }
}

impl FromIterator<Placement> for Placements {
    fn from_iter<I: IntoIterator<Item = Placement>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl Index<usize> for Placements {
    type Output = Placement;

    #[inline]
    fn index(&self, at: usize) -> &Placement {
        match at.checked_sub(self.settled.len()) {
            None => &self.settled[at],
            Some(at) => &self.fresh[at],
        }
    }
}

impl IndexMut<usize> for Placements {
    fn index_mut(&mut self, at: usize) -> &mut Placement {
        match at.checked_sub(self.settled.len()) {
            None => &mut self.settled[at],
            Some(at) => &mut self.fresh[at],
        }
    }
}

impl<'a> IntoIterator for &'a Placements {
    type Item = &'a Placement;
    type IntoIter = std::iter::Chain<std::slice::Iter<'a, Placement>, std::slice::Iter<'a, Placement>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Placements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Placements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Ppm;
    use crate::model::ids::NodeId;
    use crate::model::placement::{PlacementMode, ServiceAssignment, Share};

    fn on(node: u16) -> Placement {
        let shares = vec![Share { node: NodeId(node), share: Ppm::WHOLE }];
        Placement { shares, backups: Vec::new(), pool: None, mode: PlacementMode::Normal }
    }

    #[test]
    fn what_is_added_leaves_what_was_there_in_place() {
        let first: Placements = (0..8).map(on).collect();
        let second = first.with(vec![on(8)]);
        let third = second.with(vec![on(9)]);
        assert!(third.settled().is_same(first.settled()));
        assert!(third.is_same_at(&first, 7) && !third.is_same_at(&second, 8));
        assert_eq!((third.len(), third.get(9), third.get(10)), (10, Some(&on(9)), None));
        assert_eq!((&third[3], &third[8]), (&on(3), &on(8)));
        // Where there is much of it, it is written as one.
        let fourth = third.with((10..20).map(on).collect());
        assert!(fourth.fresh().is_empty());
        assert_eq!(fourth, (0..20).map(on).collect());
        assert_ne!(fourth, third);
    }

    #[test]
    fn it_is_written_as_one_list() {
        let first: Placements = (0..8).map(on).collect();
        let grown = first.with(vec![on(8)]);
        let text = serde_json::to_string(&grown).expect("serialises");
        let whole: Placements = (0..9).map(on).collect();
        assert_eq!(text, serde_json::to_string(&whole).expect("serialises"));
        assert_eq!(serde_json::from_str::<Placements>(&text).expect("reads"), grown);
    }

    #[test]
    fn assignments_are_equal_by_what_groups_have_and_who_is_shed() {
        let placing = |nodes: [u16; 2], by_group: Vec<u32>, shed: Vec<Ppm>| ServiceAssignment {
            placements: nodes.into_iter().map(on).collect(),
            by_group: by_group.into(),
            shed,
        };
        let one = placing([1, 2], vec![0, 1, 1], Vec::new());
        assert_eq!(one, placing([2, 1], vec![1, 0, 0], Vec::new()));
        assert_ne!(one, placing([1, 2], vec![0, 1, 0], Vec::new()));
        let shedding = ServiceAssignment { shed: vec![Ppm::WHOLE], ..one.clone() };
        assert_ne!(one, shedding);
    }
}
