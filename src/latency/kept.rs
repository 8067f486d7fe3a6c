//! The map as it is kept for a restart: by names and ages, so that it outlives ids and clocks.

use super::cell::{Cell, Feed, MOST_VOTES, Sample, Vote};
use super::{LatencyMap, MOST_CELLS, Path, Settled, check, seconds};
use crate::base::clock::MonoTime;
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// See the module. Client networks are salted hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMap {
    pub salt: u64,
    pub cells: Vec<KeptCell>,
    /// Group key, site name, round trip (us) and votes of what was in force.
    pub settled: Vec<(String, String, u32, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCell {
    pub group: String,
    pub site: String,
    pub votes: Vec<KeptVote>,
}

/// Source, key if there was one, round trip (us), jitter (us), loss (ppm), age (s).
pub type KeptVote = (u64, Option<u8>, u32, Option<u32>, Option<u32>, u64);

impl LatencyMap {
    pub fn keep(&self, now: MonoTime) -> KeptMap {
        let name = |(group, site): Path| {
            Some((self.groups.get(group as usize)?.clone(), self.sites.get(site as usize)?.clone()))
        };
        let cells = self.cells.iter().filter_map(|(&path, cell)| {
            let (group, site) = name(path)?;
            let votes = cell.votes().iter().map(|vote| keep_vote(vote, seconds(now)));
            Some(KeptCell { group, site, votes: votes.collect() })
        });
        let settled = self.settled.iter().filter_map(|(&path, settled)| {
            let (group, site) = name(path)?;
            Some((group, site, settled.rtt.0, settled.votes))
        });
        KeptMap { salt: self.salt, cells: cells.collect(), settled: settled.collect() }
    }

    /// A map that goes on where `kept` ended, which is `since` ago.
    pub fn restored(mut self, kept: &KeptMap, now: MonoTime, since: Duration) -> Self {
        self.salt = kept.salt;
        self.adopt(kept, now, since);
        self
    }

    /// Takes over what is known by name here; the rest is dropped, as is what no path can have.
    pub(super) fn adopt(&mut self, kept: &KeptMap, now: MonoTime, since: Duration) {
        let groups = positions(&self.groups);
        let sites = positions(&self.sites);
        let path = |group: &str, site: &str| Some((*groups.get(group)?, *sites.get(site)?));
        let now_s = seconds(now).saturating_sub(since.as_secs());
        let mut cells = Vec::new();
        for kept in kept.cells.iter().take(MOST_CELLS) {
            let Some(path) = path(&kept.group, &kept.site) else { continue };
            let mut cell = Cell::default();
            for vote in kept.votes.iter().take(MOST_VOTES).filter_map(|vote| read_vote(vote, now_s)) {
                cell.cast(vote);
            }
            if cell.sources() > 0 {
                cells.push((path, cell));
            }
        }
        let settled = kept.settled.iter().filter_map(|(group, site, rtt, votes)| {
            let settled = Settled { rtt: Micros(*rtt), votes: *votes };
            (settled.rtt <= super::MOST_RTT).then_some((path(group, site)?, settled))
        });
        let settled: Vec<(Path, Settled)> = settled.collect();
        self.cells.extend(cells);
        self.settled.extend(settled);
    }
}

fn positions(names: &[String]) -> HashMap<&str, u32> {
    names.iter().enumerate().map(|(at, name)| (name.as_str(), at as u32)).collect()
}

fn keep_vote(vote: &Vote, now_s: u64) -> KeptVote {
    let key = match vote.feed {
        Feed::Connection => None,
        Feed::Key(key) => Some(key),
    };
    let Sample { rtt, jitter, loss } = vote.sample;
    let age = now_s.saturating_sub(vote.at_s);
    (vote.source, key, rtt.0, jitter.map(|jitter| jitter.0), loss.map(|loss| loss.0), age)
}

fn read_vote(&(source, key, rtt, jitter, loss, age): &KeptVote, now_s: u64) -> Option<Vote> {
    let sample = Sample { rtt: Micros(rtt), jitter: jitter.map(Micros), loss: loss.map(Ppm) };
    check(&sample).ok()?;
    let feed = key.map_or(Feed::Connection, Feed::Key);
    Some(Vote { source, feed, sample, at_s: now_s.checked_sub(age)? })
}
