//! What is known of the path from one client group to one site: a bounded sample of votes, and what
//! they say together.
//!
//! ```text
//!  votes, by source hash   03..  0a..  11..  2f..  (up to 64: those with the smallest hashes)
//!                           │     │     │     │
//!                          42 ms 40 ms 44 ms 900 ms      median 43 ms
//! ```
//! A source is a client network (/24, /56); it has one vote however often it reports, smoothed over
//! its own reports. Of more sources than fit those with the smallest hashes stay, which is a uniform
//! sample of networks whatever each of them sends: who reports a thousand times as often as others
//! is not a thousand times as likely to be in it. The hash is salted with a secret of the map.

use crate::base::units::{Micros, Ppm};
use crate::model::placement::{Measured, Quality};

/// Votes that one cell holds.
pub const MOST_VOTES: usize = 64;
/// A new report moves the vote of its source by a quarter of the difference.
const SMOOTHING: i64 = 4;
/// Weight of one vote; votes of a feed that would outvote all others weigh less.
const WHOLE: u64 = 1_000;

/// Who brought a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feed {
    /// The client itself, over a connection from its own address.
    Connection,
    /// Whoever holds the key that signed the client's token: one party, however many clients it
    /// speaks for.
    Key(u8),
}

/// What one report says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub rtt: Micros,
    pub jitter: Option<Micros>,
    pub loss: Option<Ppm>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub source: u64,
    pub feed: Feed,
    pub sample: Sample,
    /// Seconds, by the map's own count.
    pub at_s: u64,
}

/// What the votes of a cell, and of vantages, say together of the round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Median {
    pub rtt: Micros,
    /// How many votes that is worth.
    pub votes: u32,
    /// Everything comes from one key.
    pub is_one_party: bool,
}

/// The votes on one path, sorted by source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    votes: Vec<Vote>,
}

impl Cell {
    /// Whether the vote counts: the source was in the sample or has room in it.
    pub fn cast(&mut self, vote: Vote) -> bool {
        match self.votes.binary_search_by_key(&vote.source, |held| held.source) {
            Ok(at) => {
                let held = &mut self.votes[at];
                // A key may not speak over what the client itself said, nor over another key.
                if held.feed == vote.feed {
                    held.sample = held.sample.towards(vote.sample);
                    held.at_s = vote.at_s;
                } else if vote.feed < held.feed {
                    *held = vote;
                }
                true
            }
            Err(at) if at < MOST_VOTES => {
                // Out before in: one vote more for a moment would double the room a full cell takes.
                self.votes.truncate(MOST_VOTES - 1);
                self.votes.insert(at, vote);
                true
            }
            Err(_) => false,
        }
    }

    /// Drops votes cast before `oldest_s`; whether any is left.
    pub fn expire(&mut self, oldest_s: u64) -> bool {
        self.votes.retain(|vote| vote.at_s >= oldest_s);
        !self.votes.is_empty()
    }

    pub fn sources(&self) -> usize {
        self.votes.len()
    }

    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// Together with `vantages`, each worth `vantage_votes`. `None`: nobody said anything.
    pub fn median(&self, vantages: &[Micros], vantage_votes: u32) -> Option<Median> {
        let words = self.words(|sample| Some(sample.rtt.0));
        let is_one_party = vantages.is_empty() && is_one_key(&words);
        let one = u64::from(vantage_votes) * WHOLE;
        let mut rtts = weigh(&words, vantages.len() as u64 * one);
        rtts.extend(vantages.iter().map(|rtt| (rtt.0, one)));
        let votes = votes(&rtts);
        Some(Median { rtt: Micros(middle(rtts)?), votes, is_one_party })
    }

    /// Jitter and loss, each by the sources that state it: fewer than `least_sources`, or one key alone,
    /// say nothing.
    pub fn quality(&self, least_sources: usize) -> Quality {
        let measured = |value: fn(&Sample) -> Option<u32>| {
            let words = self.words(value);
            if words.len() < least_sources || is_one_key(&words) {
                return Measured::default();
            }
            let weighted = weigh(&words, 0);
            let votes = u16::try_from(votes(&weighted)).unwrap_or(u16::MAX);
            middle(weighted).map_or_else(Measured::default, |value| Measured { value, votes })
        };
        Quality {
            jitter: measured(|sample| sample.jitter.map(|jitter| jitter.0)),
            loss: measured(|sample| sample.loss.map(|loss| loss.0)),
        }
    }

    /// Who says what, of those that say anything.
    fn words(&self, value: impl Fn(&Sample) -> Option<u32>) -> Vec<(Feed, u32)> {
        self.votes.iter().filter_map(|vote| Some((vote.feed, value(&vote.sample)?))).collect()
    }
}

fn is_one_key(words: &[(Feed, u32)]) -> bool {
    let is_key = |feed: Feed| matches!(feed, Feed::Key(_));
    words.first().is_some_and(|&(first, _)| is_key(first) && words.iter().all(|&(feed, _)| feed == first))
}

/// The words with their weights. Those of one key together weigh no more than everybody else's, `others`
/// counted in, where there is anybody else: it may lean on the median but never be the majority.
fn weigh(words: &[(Feed, u32)], others: u64) -> Vec<(u32, u64)> {
    let all = words.len() as u64 * WHOLE + others;
    let own = |feed: Feed| words.iter().filter(|(other, _)| *other == feed).count() as u64 * WHOLE;
    let weight = |feed: Feed| match feed {
        Feed::Connection => WHOLE,
        Feed::Key(_) => {
            let own = own(feed);
            let others = all - own;
            if others == 0 || own <= others { WHOLE } else { WHOLE * others / own }
        }
    };
    words.iter().map(|&(feed, value)| (value, weight(feed))).collect()
}

/// What the weights are worth.
fn votes(weighted: &[(u32, u64)]) -> u32 {
    let total: u64 = weighted.iter().map(|(_, weight)| weight).sum();
    u32::try_from(total / WHOLE).unwrap_or(u32::MAX)
}

impl Sample {
    fn towards(self, newer: Sample) -> Sample {
        let step = |held: u32, new: u32| {
            let moved = i64::from(held) + (i64::from(new) - i64::from(held)) / SMOOTHING;
            u32::try_from(moved).unwrap_or(new)
        };
        let known = |held: Option<u32>, new: Option<u32>| match (held, new) {
            (Some(held), Some(new)) => Some(step(held, new)),
            (held, new) => new.or(held),
        };
        Sample {
            rtt: Micros(step(self.rtt.0, newer.rtt.0)),
            jitter: known(self.jitter.map(|j| j.0), newer.jitter.map(|j| j.0)).map(Micros),
            loss: known(self.loss.map(|l| l.0), newer.loss.map(|l| l.0)).map(Ppm),
        }
    }
}

/// The weighted median: the least value that has half of the weight at or below it. `None` of nothing.
fn middle(mut values: Vec<(u32, u64)>) -> Option<u32> {
    values.sort_unstable();
    let total: u64 = values.iter().map(|(_, weight)| weight).sum();
    let mut below = 0;
    for &(value, weight) in &values {
        below += weight;
        if below * 2 >= total {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(source: u64, feed: Feed, ms: u32) -> Vote {
        let sample = Sample { rtt: Micros::from_millis(ms), jitter: None, loss: None };
        Vote { source, feed, sample, at_s: 0 }
    }

    fn cell(votes: impl IntoIterator<Item = Vote>) -> Cell {
        let mut cell = Cell::default();
        for vote in votes {
            cell.cast(vote);
        }
        cell
    }

    fn rtt(cell: &Cell, vantages: &[Micros]) -> u32 {
        cell.median(vantages, 10).expect("somebody voted").rtt.0 / 1_000
    }

    #[test]
    fn a_minority_of_liars_does_not_move_the_median() {
        let honest = (0..5).map(|at| vote(at, Feed::Connection, 40 + at as u32));
        let liars = (10..14).map(|at| vote(at, Feed::Connection, 9_000));
        assert_eq!(rtt(&cell(honest.chain(liars)), &[]), 44);
    }

    #[test]
    fn a_source_has_one_vote_however_often_it_reports() {
        let mut held = cell((0..3).map(|at| vote(at, Feed::Connection, 40)));
        for _ in 0..10_000 {
            held.cast(vote(7, Feed::Connection, 2_000));
        }
        assert_eq!((held.sources(), rtt(&held, &[])), (4, 40));
    }

    #[test]
    fn one_key_is_never_the_majority_where_anybody_else_speaks() {
        let own = (0..5).map(|at| vote(at, Feed::Connection, 40));
        let forged = (100..150).map(|at| vote(at, Feed::Key(0), 900));
        let both = cell(own.chain(forged.clone()));
        let median = both.median(&[], 10).expect("votes");
        assert_eq!((median.rtt.0, median.votes, median.is_one_party), (40_000, 10, false));
        let with_vantage = cell(forged.clone());
        assert_eq!(rtt(&with_vantage, &[Micros::from_millis(50)]), 50);
        let alone = cell(forged).median(&[], 10).expect("votes");
        assert_eq!((alone.rtt.0, alone.is_one_party), (900_000, true));
    }

    #[test]
    fn a_key_does_not_speak_over_the_client_itself() {
        let mut held = cell([vote(1, Feed::Connection, 40)]);
        assert!(held.cast(vote(1, Feed::Key(0), 4_000)));
        assert_eq!(rtt(&held, &[]), 40);
        let mut held = cell([vote(1, Feed::Key(0), 4_000)]);
        held.cast(vote(1, Feed::Connection, 40));
        assert_eq!(rtt(&held, &[]), 40);
    }

    #[test]
    fn jitter_and_loss_count_by_who_states_them() {
        let stating = |source, feed, loss| {
            let plain = vote(source, feed, 40);
            Vote { sample: Sample { loss: Some(Ppm(loss)), ..plain.sample }, ..plain }
        };
        let honest = |with: u64| {
            (0..9).map(move |at| {
                if at < with { stating(at, Feed::Connection, 2_000) } else { vote(at, Feed::Connection, 40) }
            })
        };
        let told = cell(honest(5)).quality(5);
        assert_eq!((told.loss, told.jitter), (Measured { value: 2_000, votes: 5 }, Measured::default()));
        assert_eq!(cell(honest(4)).quality(5), Quality::default(), "too few state it");
        // Round trips of others do not make a key's word on loss more than one party's.
        let forged = (100..140).map(|at| stating(at, Feed::Key(0), 500_000));
        assert_eq!(cell(honest(0).chain(forged.clone())).quality(5), Quality::default());
        let both = cell(honest(5).chain(forged)).quality(5);
        assert_eq!(both.loss, Measured { value: 2_000, votes: 10 });
    }

    #[test]
    fn the_sample_is_of_networks_and_bounded() {
        let mut held = Cell::default();
        for source in (0..1_000).rev() {
            held.cast(vote(source, Feed::Connection, 1));
        }
        assert_eq!(held.sources(), MOST_VOTES);
        assert!(held.votes().iter().all(|vote| vote.source < MOST_VOTES as u64));
        assert!(!held.cast(vote(5_000, Feed::Connection, 1)));
    }

    #[test]
    fn reports_of_one_source_are_smoothed() {
        let mut held = cell([vote(1, Feed::Connection, 100)]);
        held.cast(vote(1, Feed::Connection, 200));
        assert_eq!(rtt(&held, &[]), 125);
    }

    #[test]
    fn the_weighted_middle() {
        assert_eq!(middle(vec![]), None);
        assert_eq!(middle(vec![(5, 1)]), Some(5));
        assert_eq!(middle(vec![(1, 1), (9, 1)]), Some(1));
        assert_eq!(middle(vec![(9, 3), (1, 1), (2, 1)]), Some(9));
    }
}
