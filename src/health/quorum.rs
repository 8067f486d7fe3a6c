//! Many vantages, one verdict: what a majority stands behind, and nothing else.
//!
//! Of V vantages that are trusted and heard, q = floor(V/2) + 1 have to agree. A verdict is a scale (up,
//! degraded, down), so "agree" is asked of both ends of it:
//!
//! ```text
//!   at least so bad: the worst s that q votes are at or above      up ── degraded ── down
//!   at most so bad:  the best s that q votes are at or below          [═════════]
//! ```
//! What is held stays if it lies between, else it moves to the nearer end. A vantage without a word on
//! the node counts into V and for neither end. For an odd V with every vote in, both ends are the median.
//!
//! Two against two is therefore no change, whichever way it was; with V of 2 or more a single vantage never
//! changes a verdict, `degraded` included, whatever it says. V = 1 stands alone, unconfirmed.

use crate::model::verdict::Verdict;

const SCALE: [Verdict; 3] = [Verdict::Up, Verdict::Degraded, Verdict::Down];

/// How many votes there are for each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Votes {
    pub up: u32,
    pub degraded: u32,
    pub down: u32,
}

impl Votes {
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Up => self.up += 1,
            Verdict::Degraded => self.degraded += 1,
            Verdict::Down => self.down += 1,
            Verdict::Unknown => {}
        }
    }

    pub fn total(self) -> u32 {
        self.up + self.degraded + self.down
    }

    fn of(self, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Up => self.up,
            Verdict::Degraded => self.degraded,
            Verdict::Down => self.down,
            Verdict::Unknown => 0,
        }
    }

    fn count(self, matches: impl Fn(Verdict) -> bool) -> u32 {
        SCALE.into_iter().filter(|&verdict| matches(verdict)).map(|verdict| self.of(verdict)).sum()
    }

    /// The verdict of `present` vantages, where `held` was the last one (`None` or unknown: none).
    /// `None`: no majority says anything, and nothing was held.
    pub fn verdict(self, present: u32, held: Option<Verdict>) -> Option<Verdict> {
        let quorum = present / 2 + 1;
        let at_least = SCALE.into_iter().rev().find(|&s| self.count(|vote| vote >= s) >= quorum);
        let at_most = SCALE.into_iter().find(|&s| self.count(|vote| vote <= s) >= quorum);
        let held = held.filter(|&held| held != Verdict::Unknown);
        match (at_least, at_most) {
            (Some(low), Some(high)) if low == high => Some(low),
            (low, high) => {
                let (low, high) = (low.unwrap_or(Verdict::Up), high.unwrap_or(Verdict::Down));
                held.map(|held| held.max(low).min(high))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(letter: char) -> Option<Verdict> {
        match letter {
            'u' => Some(Verdict::Up),
            'g' => Some(Verdict::Degraded),
            'd' => Some(Verdict::Down),
            _ => None,
        }
    }

    fn decide(votes: &str, held: Option<Verdict>) -> Option<Verdict> {
        let mut counted = Votes::default();
        votes.chars().filter_map(read).for_each(|verdict| counted.add(verdict));
        counted.verdict(votes.len() as u32, held)
    }

    #[test]
    fn a_majority_decides_and_a_tie_holds() {
        // One letter a vantage, `-` says nothing; what was held; the verdict.
        for (votes, held, expected) in [
            ("u", None, Some(Verdict::Up)),
            ("d", Some(Verdict::Up), Some(Verdict::Down)),
            ("-", Some(Verdict::Up), Some(Verdict::Up)),
            ("-", None, None),
            ("ud", Some(Verdict::Up), Some(Verdict::Up)),
            ("ud", Some(Verdict::Down), Some(Verdict::Down)),
            ("ud", None, None),
            ("dd", Some(Verdict::Up), Some(Verdict::Down)),
            ("d-", Some(Verdict::Up), Some(Verdict::Up)),
            ("gd", Some(Verdict::Up), Some(Verdict::Degraded)),
            ("gd", Some(Verdict::Down), Some(Verdict::Down)),
            ("udd", Some(Verdict::Up), Some(Verdict::Down)),
            ("ugd", Some(Verdict::Up), Some(Verdict::Degraded)),
            ("uug", Some(Verdict::Degraded), Some(Verdict::Up)),
            ("uudd", Some(Verdict::Up), Some(Verdict::Up)),
            ("uudd", Some(Verdict::Down), Some(Verdict::Down)),
            ("uddd", Some(Verdict::Up), Some(Verdict::Down)),
            ("u-d", Some(Verdict::Down), Some(Verdict::Down)),
            ("u-u", Some(Verdict::Down), Some(Verdict::Up)),
            ("u--", Some(Verdict::Down), Some(Verdict::Down)),
        ] {
            assert_eq!(decide(votes, held), expected, "{votes} where {held:?} was held");
        }
    }

    /// Where all others agree, and what is held is what they say, no word of one changes it.
    #[test]
    fn a_single_liar_changes_nothing() {
        for present in 2..=16_u32 {
            for truth in SCALE {
                for lie in SCALE.into_iter().map(Some).chain([None]) {
                    let mut votes = Votes::default();
                    (1..present).for_each(|_| votes.add(truth));
                    lie.into_iter().for_each(|lie| votes.add(lie));
                    assert_eq!(votes.verdict(present, Some(truth)), Some(truth), "{present}, {lie:?}");
                }
            }
        }
    }
}
