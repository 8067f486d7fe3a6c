//! What would be best for an idle world: the same for all groups of a class and services of a taste, so it is
//! remembered, at the prices it was found at.
//!
//! ```text
//! heads   class x taste ─▶ first of them ─▶ next, of another ladder ─▶ ...
//! ```

use super::backup::Backups;
use super::order::Whose;
use crate::model::placement::Share;

const NONE: u32 = u32::MAX;

/// What is best for an idle world, at prices of some epoch.
pub(super) struct Wanted {
    pub epoch: u32,
    /// Some node of it had one, so that nobody could be given it.
    pub is_priced: bool,
    pub shares: Vec<Share>,
    pub backups: Backups,
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
