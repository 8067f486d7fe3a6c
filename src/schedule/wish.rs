//! What would be best for an idle world: the same for all groups of a class and services of a taste, so it is
//! remembered, at the prices it was found at.
//!
//! ```text
//! heads   class x taste ─▶ first of them ─▶ next, of another ladder ─▶ ...
//! ```

use super::backup::Backups;
use super::order::Whose;
use super::pick::WIDEST;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::placement::Share;

const NONE: u32 = u32::MAX;

/// What is best for an idle world, at prices of some epoch.
pub(super) struct Wanted {
    pub epoch: u32,
    /// Some node of it had one, so that nobody could be given it.
    pub is_priced: bool,
    pub shares: Few,
    pub backups: Backups,
}

/// The shares of an answer, in place.
#[derive(Clone, Copy)]
pub(super) struct Few {
    shares: [Share; WIDEST],
    count: usize,
}

impl Few {
    /// Of at most [`WIDEST`].
    pub fn of(shares: &[Share]) -> Self {
        debug_assert!(shares.len() <= WIDEST);
        let mut few = Self { shares: [Share { node: NodeId(0), share: Ppm::ZERO }; WIDEST], count: 0 };
        for (place, share) in few.shares.iter_mut().zip(shares) {
            *place = *share;
            few.count += 1;
        }
        few
    }

    #[inline]
    pub fn get(&self) -> &[Share] {
        &self.shares[..self.count]
    }
}

/// See the module's picture.
pub(super) struct Wishes {
    tastes: usize,
    heads: Vec<u32>,
    all: Vec<Wish>,
}

struct Wish {
    ladder: usize,
    next: u32,
    wanted: Wanted,
}

impl Wishes {
    pub fn new(classes: usize, tastes: usize) -> Self {
        Self { tastes, heads: vec![NONE; classes * tastes], all: Vec::new() }
    }

    #[inline]
    pub fn get(&self, whose: Whose) -> Option<&Wanted> {
        Some(&self.all[self.find(whose)?].wanted)
    }

    /// Instead of what is known.
    pub fn put(&mut self, whose: Whose, wanted: Wanted) {
        if let Some(at) = self.find(whose) {
            self.all[at].wanted = wanted;
            return;
        }
        let head = &mut self.heads[whose.class * self.tastes + whose.taste];
        let next = std::mem::replace(head, self.all.len() as u32);
        self.all.push(Wish { ladder: whose.ladder, next, wanted });
    }

    #[inline]
    fn find(&self, whose: Whose) -> Option<usize> {
        let mut at = self.heads[whose.class * self.tastes + whose.taste] as usize;
        while let Some(wish) = self.all.get(at) {
            if wish.ladder == whose.ladder {
                return Some(at);
            }
            at = wish.next as usize;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_taste_and_ladder_has_its_own() {
        let whose = |at: usize| Whose { class: at / 6, taste: at / 3 % 2, ladder: at % 3 };
        let few = |count: usize| Few::of(&vec![Share { node: NodeId(7), share: Ppm(1) }; count]);
        let wanted = |epoch: u32, count: usize| Wanted {
            epoch,
            is_priced: false,
            shares: few(count),
            backups: Backups::default(),
        };
        let mut wishes = Wishes::new(2, 2);
        for at in 0..12 {
            assert!(wishes.get(whose(at)).is_none());
            wishes.put(whose(at), wanted(at as u32, at % WIDEST));
        }
        wishes.put(whose(4), wanted(99, WIDEST));
        for at in 0..12 {
            let epoch = if at == 4 { 99 } else { at as u32 };
            let known = wishes.get(whose(at)).map(|known| (known.epoch, known.shares.get().len()));
            assert_eq!(known, Some((epoch, if at == 4 { WIDEST } else { at % WIDEST })));
        }
        assert_eq!(wishes.all.len(), 12);
    }
}
