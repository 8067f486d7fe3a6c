//! To and from what is kept for a restart.

use super::cell::{Cell, Feed, MOST_VOTES, Sample, Vote};
use super::{LatencyMap, MOST_CELLS, Path, Settled, seconds};
use crate::base::clock::MonoTime;
use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use crate::model::latency::{KeptCell, KeptLatencies, KeptVote};
use crate::model::placement::{Measured, Quality};
use std::collections::HashMap;
use std::time::Duration;

impl LatencyMap {
    /// Everything, as of `now` and `wall`.
    pub fn keep(&self, now: MonoTime, wall: WallTime) -> KeptLatencies {
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
        let told = |measured: Measured| (measured.value, measured.votes);
        let quality = self.quality.iter().filter_map(|(&path, quality)| {
            let (group, site) = name(path)?;
            Some((group, site, told(quality.jitter), told(quality.loss)))
        });
        KeptLatencies {
            salt: self.salt,
            at: wall,
            cells: cells.collect(),
            settled: settled.collect(),
            quality: quality.collect(),
        }
    }

    /// Goes on where `kept` ended. A clock that went back makes nothing younger than it was.
    pub fn restored(mut self, kept: &KeptLatencies, now: MonoTime, wall: WallTime) -> Self {
        self.salt = kept.salt;
        self.adopt(kept, now, Duration::from_millis(wall.0.saturating_sub(kept.at.0)));
        self
    }

    /// Takes over what is known by name here; the rest is dropped, as is what no path can have.
    pub(super) fn adopt(&mut self, kept: &KeptLatencies, now: MonoTime, since: Duration) {
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
        let quality = kept.quality.iter().take(MOST_CELLS).filter_map(|(group, site, jitter, loss)| {
            let jitter = measured(*jitter, super::MOST_RTT.0)?;
            let loss = measured(*loss, Ppm::WHOLE.0)?;
            Some((path(group, site)?, Quality { jitter, loss }))
        });
        let quality: Vec<(Path, Quality)> = quality.collect();
        self.cells.extend(cells);
        self.settled.extend(settled);
        self.quality.extend(quality);
    }
}

/// `None`: no path has such a value.
fn measured((value, votes): (u32, u16), most: u32) -> Option<Measured> {
    (value <= most).then_some(Measured { value, votes })
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
    sample.check().ok()?;
    let feed = key.map_or(Feed::Connection, Feed::Key);
    Some(Vote { source, feed, sample, at_s: now_s.checked_sub(age)? })
}
