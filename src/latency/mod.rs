//! How far client groups are from sites, as measured: the latency map.
//!
//! ```text
//!  prior (great circle) ───────────────────────────────┐
//!  vantages that stand for a line or area ─┐           ├─▶ estimate ─▶ settle ─▶ the map planned with
//!  reports of clients ─▶ cell: 64 votes ───┴─▶ median ─┘
//! ```
//! For a group and a site, with n votes and k = 20: `estimate = (n * median + k * prior) / (n + k)`.
//! So a few votes lean, many decide, and nothing measured leaves the prior. A vantage is worth ten.
//!
//! - *Per site, not per node*: the nodes of a site share its network; by what one of them is slower
//!   than usual the planner prices it anyway.
//! - *Anonymous*: below `least_sources` client networks nothing of a group is used or shown. Sources
//!   are kept as salted hashes.
//! - *Poison*: a source has one vote, of a key's all votes together never the majority (`cell`). Where
//!   a key is all there is, it may pull the estimate by less than the planner moves anybody for.
//! - *Settled*: an estimate stands until the new one differs by 2 ms and 5 %, or has twice or half the
//!   votes, so noise moves nobody.
//! - *Jitter and loss* are medians of the clients that state them, each by the same rules, and settled by 2 ms
//!   and 0.5 %, or a quarter. The prior that pulls them is what probes see of the node, so the planner blends
//!   them when it prices; a vantage has no word in them, and one key alone neither.
//! - *Coverage*: a map that covers a tenth less than the one before is held back, for a day at most.
//!
//! Pure: time is an argument. It neither receives reports (`control`) nor knows clients' addresses.

mod cell;
mod keep;
#[cfg(test)]
mod tests;

pub use cell::{Feed, MOST_VOTES, Sample};

use crate::base::clock::{MonoTime, WallTime};
use crate::base::hash::mix_pair;
use crate::base::prefix::Prefix;
use crate::base::units::{Micros, Ppm};
use crate::model::clients::ClientGroup;
use crate::model::fleet::Fleet;
use crate::model::ids::{AreaId, GroupId, LineId, NodeId, SiteId};
use crate::model::placement::{Latencies, Measured, PathQuality, Quality};
use crate::model::policy::MeasureRules;
use cell::{Cell, Median, Vote};
use std::collections::BTreeMap;
use std::time::Duration;

/// Paths with votes of clients, in all; further ones are refused. Full, they take about 20 MiB.
pub const MOST_CELLS: usize = 8_192;
/// Votes a vantage is worth.
const VANTAGE_VOTES: u32 = 10;
/// Round trips believed at all.
const LEAST_RTT: Micros = Micros(100);
const MOST_RTT: Micros = Micros::from_millis(10_000);
/// Seconds count from here, so that what was kept may be older than the process.
const EPOCH_S: u64 = 1 << 32;

/// From where on another jitter or loss is news, if it is a quarter of what stands, too.
const JITTER_NEWS_US: u32 = 2_000;
const LOSS_NEWS_PPM: u32 = 5_000;
/// Longest that a map is kept for want of one that covers as much.
const HOLD: Duration = Duration::from_secs(86_400);

/// What somebody says of the path from a client network to a node.
#[derive(Clone, Debug, PartialEq)]
pub struct PathReport {
    /// A /24 or /56.
    pub network: Prefix,
    pub node: NodeId,
    pub feed: Feed,
    pub sample: Sample,
}

/// Whose clients see as a vantage does, in the ids of the policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    Line(LineId),
    Area(AreaId),
}

/// What one vantage that stands for clients measured: by site, `None` where it has nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VantageView {
    pub stands_for: Stand,
    pub rtts: Vec<Option<Micros>>,
}

/// Why a report is not taken; a sentence for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the round trip has to be between 0.1 ms and 10 s")]
    Rtt,
    #[error("the jitter has to be at most 10 s")]
    Jitter,
    #[error("the loss is above 1")]
    Loss,
    #[error("no such client group or site")]
    Place,
    #[error("as many paths are measured as the map holds")]
    Full,
}

/// What is planned with, of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settled {
    rtt: Micros,
    /// 0 where one party alone measured: guesses beside the distance stay as they are.
    votes: u16,
}

/// What became of [`LatencyMap::draw`].
#[derive(Clone, Debug, PartialEq)]
pub enum Drawing {
    Unchanged,
    /// Plan with this from now on.
    Drawn(Latencies),
    /// Held back: it would cover `now` paths where the one in force covers `before`.
    Thin {
        now: usize,
        before: usize,
    },
}

/// Where the clients of a group are counted in.
#[derive(Clone, Debug, Default, PartialEq)]
struct Standing {
    line: Option<LineId>,
    areas: Vec<AreaId>,
}

type Path = (u32, u32);

/// See the module.
#[derive(Clone, Debug)]
pub struct LatencyMap {
    rules: MeasureRules,
    salt: u64,
    groups: Vec<String>,
    standings: Vec<Standing>,
    sites: Vec<String>,
    cells: BTreeMap<Path, Cell>,
    vantages: Vec<VantageView>,
    /// In force, by path; where it says nothing the prior stands.
    settled: BTreeMap<Path, Settled>,
    /// In force, of paths whose clients measured jitter or loss; at most [`MOST_CELLS`].
    quality: BTreeMap<Path, Quality>,
    /// Since when a thinner map is held back.
    thin_since_s: Option<u64>,
}

impl LatencyMap {
    /// An empty map. `salt` is secret.
    pub fn new(rules: MeasureRules, salt: u64, groups: &[ClientGroup], fleet: &Fleet) -> Self {
        let standing = |group: &ClientGroup| Standing { line: group.line, areas: group.areas.clone() };
        Self {
            rules,
            salt,
            groups: groups.iter().map(|group| group.key.clone()).collect(),
            standings: groups.iter().map(standing).collect(),
            sites: fleet.sites.iter().map(|site| site.name.clone()).collect(),
            cells: BTreeMap::new(),
            vantages: Vec::new(),
            settled: BTreeMap::new(),
            quality: BTreeMap::new(),
            thin_since_s: None,
        }
    }

    /// The same measurements for another policy or other geo data: by group key and site name.
    pub fn reloaded(
        &self,
        rules: MeasureRules,
        groups: &[ClientGroup],
        fleet: &Fleet,
        now: MonoTime,
    ) -> Self {
        let mut map = Self::new(rules, self.salt, groups, fleet);
        map.adopt(&self.keep(now, WallTime(0)), now, Duration::ZERO);
        map
    }

    /// Takes what a client of `network` says of the path from its group to a site. Whether it is in the
    /// sample that counts is not told.
    ///
    /// # Errors
    /// Values no path can have, ids of another policy, or no room.
    pub fn report(
        &mut self,
        (group, site): (GroupId, SiteId),
        network: Prefix,
        feed: Feed,
        sample: Sample,
        now: MonoTime,
    ) -> Result<(), Rejected> {
        sample.check()?;
        if group.index() >= self.groups.len() || site.index() >= self.sites.len() {
            return Err(Rejected::Place);
        }
        let path = path(group, site);
        if self.cells.len() >= MOST_CELLS && !self.cells.contains_key(&path) {
            return Err(Rejected::Full);
        }
        let vote = Vote { source: self.source(network), feed, sample, at_s: seconds(now) };
        self.cells.entry(path).or_default().cast(vote);
        Ok(())
    }

    fn source(&self, network: Prefix) -> u64 {
        let bits = network.bits();
        let halves = mix_pair((bits >> 64) as u64, bits as u64);
        mix_pair(self.salt, mix_pair(halves, u64::from(network.len()) << 1 | network.family().index() as u64))
    }

    /// Replaces what vantages that stand for clients measured.
    pub fn set_vantages(&mut self, views: Vec<VantageView>) {
        self.vantages = views;
    }

    /// Drops what is too old, and draws the map anew over `prior`.
    pub fn draw(&mut self, prior: &Latencies, now: MonoTime) -> Drawing {
        let oldest = seconds(now).saturating_sub(self.rules.max_age.as_secs());
        self.cells.retain(|_, cell| cell.expire(oldest));
        let fresh = self.estimates(prior);
        let before = self.settled.len();
        if fresh.len() * 10 < before * 9 && !self.has_held(now) {
            return Drawing::Thin { now: fresh.len(), before };
        }
        self.thin_since_s = None;
        let settled = fresh.into_iter().map(|(path, estimate)| {
            let held = self.settled.get(&path).filter(|held| !is_news(held, &estimate));
            (path, held.copied().unwrap_or(estimate))
        });
        let settled = settled.collect();
        let quality = self.qualities();
        if settled == self.settled && quality == self.quality {
            return Drawing::Unchanged;
        }
        (self.settled, self.quality) = (settled, quality);
        Drawing::Drawn(self.over(prior))
    }

    /// Of every path whose clients say enough of it; what is no news stays as it is.
    fn qualities(&self) -> BTreeMap<Path, Quality> {
        let of_path = |(&path, cell): (&Path, &Cell)| {
            let fresh = cell.quality(self.rules.least_sources);
            let held = self.quality.get(&path).copied().unwrap_or_default();
            let jitter = stands(held.jitter, fresh.jitter, JITTER_NEWS_US);
            let loss = stands(held.loss, fresh.loss, LOSS_NEWS_PPM);
            (jitter.votes > 0 || loss.votes > 0).then_some((path, Quality { jitter, loss }))
        };
        self.cells.iter().filter_map(of_path).collect()
    }

    /// Whether a thin map has been held back for long enough.
    fn has_held(&mut self, now: MonoTime) -> bool {
        let since = *self.thin_since_s.get_or_insert(seconds(now));
        seconds(now).saturating_sub(since) >= HOLD.as_secs()
    }

    /// `prior` with what is in force in place of what it guesses.
    pub fn over(&self, prior: &Latencies) -> Latencies {
        let mut drawn = prior.clone();
        if self.settled.is_empty() {
            return drawn;
        }
        let rtt: &mut Vec<Micros> = &mut drawn.rtt;
        let mut votes = vec![0; rtt.len()];
        for (&(group, site), settled) in &self.settled {
            let at = group as usize * prior.sites + site as usize;
            if (site as usize) < prior.sites && at < rtt.len() {
                (rtt[at], votes[at]) = (settled.rtt, settled.votes);
            }
        }
        drawn.votes = votes.into();
        let quality =
            self.quality.iter().map(|(&(group, site), &quality)| PathQuality { group, site, quality });
        drawn.quality = quality.filter(|path| (path.site as usize) < prior.sites).collect();
        drawn
    }

    /// Paths in force that are measured.
    pub fn coverage(&self) -> usize {
        self.settled.len()
    }

    /// By path, of every path that is measured enough.
    fn estimates(&self, prior: &Latencies) -> BTreeMap<Path, Settled> {
        let mut paths: Vec<Path> = self.cells.keys().copied().collect();
        for (group, standing) in self.standings.iter().enumerate() {
            let seen = self.vantages.iter().filter(|view| standing.is_in(view.stands_for));
            let sites = seen.flat_map(|view| view.rtts.iter().enumerate());
            paths.extend(sites.filter(|(_, rtt)| rtt.is_some()).map(|(site, _)| (group as u32, site as u32)));
        }
        paths.sort_unstable();
        paths.dedup();
        let estimate = |path: Path| {
            let prior = prior.rtt.get(path.0 as usize * prior.sites + path.1 as usize)?;
            Some((path, blend(*prior, &self.median(path)?)))
        };
        paths.into_iter().filter_map(estimate).collect()
    }

    fn median(&self, path: Path) -> Option<Median> {
        let standing = self.standings.get(path.0 as usize)?;
        let seen = self.vantages.iter().filter(|view| standing.is_in(view.stands_for));
        let seen = seen.filter_map(|view| *view.rtts.get(path.1 as usize)?);
        let vantages: Vec<Micros> = seen.collect();
        let enough = self.cells.get(&path).filter(|cell| cell.sources() >= self.rules.least_sources);
        enough.unwrap_or(&Cell::default()).median(&vantages, VANTAGE_VOTES)
    }
}

impl Standing {
    fn is_in(&self, stand: Stand) -> bool {
        match stand {
            Stand::Line(line) => self.line == Some(line),
            Stand::Area(area) => self.areas.binary_search(&area).is_ok(),
        }
    }
}

fn path(group: GroupId, site: SiteId) -> Path {
    (group.index() as u32, site.index() as u32)
}

fn seconds(now: MonoTime) -> u64 {
    EPOCH_S + now.0 / 1_000_000
}

impl Sample {
    /// # Errors
    /// Values that no path has.
    pub fn check(&self) -> Result<(), Rejected> {
        if !(LEAST_RTT..=MOST_RTT).contains(&self.rtt) {
            return Err(Rejected::Rtt);
        }
        if self.jitter.is_some_and(|jitter| jitter > MOST_RTT) {
            return Err(Rejected::Jitter);
        }
        if self.loss.is_some_and(|loss| loss > Ppm::WHOLE) {
            return Err(Rejected::Loss);
        }
        Ok(())
    }
}

/// What the measured and the prior make together. One party alone stays within its leash.
fn blend(prior: Micros, median: &Median) -> Settled {
    let (n, k) = (u64::from(median.votes), u64::from(Latencies::PRIOR_VOTES));
    let sum = n * u64::from(median.rtt.0) + k * u64::from(prior.0);
    let blended = (sum / (n + k)) as u32;
    if !median.is_one_party {
        return Settled { rtt: Micros(blended), votes: u16::try_from(n).unwrap_or(u16::MAX) };
    }
    let leash = leash(prior);
    let rtt = blended.clamp(prior.0.saturating_sub(leash), prior.0.saturating_add(leash));
    Settled { rtt: Micros(rtt), votes: 0 }
}

/// Half of what a cost has to differ by for the planner to move anybody (10 ms or 15 %), and a little
/// less: one path drawn nearer and another drawn farther are still no reason to move.
const fn leash(prior: Micros) -> u32 {
    let relative = prior.0 / 100 * 7;
    if relative > 4_900 { relative } else { 4_900 }
}

/// Whether the difference is worth a new map: 2 ms and 5 %, or twice or half the votes.
fn is_news(held: &Settled, fresh: &Settled) -> bool {
    let difference = held.rtt.0.abs_diff(fresh.rtt.0);
    difference >= 2_000 && difference >= held.rtt.0 / 20 || is_other_weight(held.votes, fresh.votes)
}

fn is_other_weight(held: u16, fresh: u16) -> bool {
    u32::from(held.max(fresh)) > 2 * u32::from(held.min(fresh))
}

/// The one that stands.
fn stands(held: Measured, fresh: Measured, band: u32) -> Measured {
    let difference = held.value.abs_diff(fresh.value);
    let is_news = difference >= band.max(held.value / 4) || is_other_weight(held.votes, fresh.votes);
    if is_news { fresh } else { held }
}
