//! What nodes report of one service's clients takes the place of what is counted, in the part of the plan that
//! they carry.
//!
//! ```text
//!  sum of all that is fresh ─▶ short of what it was, and a reporter silent? ─yes─▶ all stays, for a day at most
//!                                       └no─▶ smoothed (5 min) ─▶ shares ─▶ settled
//! ```
//! With f(g) the part of the group's placement that is on reporters, and C the sum of f(g) * counted(g):
//! `share(g) = C * reported(g) / R + (1 - f(g)) * counted(g)`. A hundredth stays as counted, so that a group in
//! which nobody is yet has its place in the plan.
//!
//! **Nobody who vanishes takes demand along.** Clients of a node that fell silent are there still, or on
//! their way to others. Where they are more than a tenth, everything waits until as much is reported again;
//! where they are fewer, what was last said of them stands in for them, as far as others do not report them.
//! Only when it is settled who reports, the sum is smoothed; of other reporters it is taken as it is.
//!
//! **Nobody is two groups' demand.** A table moves clients at once, and what nodes report of them follows as caches
//! and sessions end. So f is smoothed as the reports are: else a group that comes from a node without
//! reports would count for nothing until it is there, and one that leaves for such a node twice.

use super::estimate::{TAU_MS, whole};
use super::gathered::{Sum, Sums};
use crate::base::units::Ppm;
use crate::model::demand::WHOLE;
use crate::model::ids::NodeId;
use crate::model::placement::ServiceAssignment;
use std::collections::BTreeSet;

/// Less than so much of what was reported is short.
const ENOUGH: f64 = 0.9;
/// For how long shares wait for who is silent.
const HOLD_MS: i64 = 86_400_000;
/// Stays as counted; of a group that is new, all that it has.
pub(super) const KEPT: f64 = 0.01;
/// Part of all that has to be elsewhere for shares to be drawn anew,
const NEWS: f64 = 0.05;
/// or of one group, which also has to differ by a quarter.
const GROUP_NEWS: f64 = 0.01;
/// For so long after a restart or an edit whoever has not reported again yet stays a reporter.
const RETURN_MS: u64 = 60_000;
/// Reporters that carry less of a service do not say how large it is beside others.
const LEAST_COVERED: f64 = 0.5;

/// One service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    /// Who reports, and whoever is waited for.
    pub(super) reporters: BTreeSet<NodeId>,
    /// By group, in the unit of capacity; empty: nothing was ever reported.
    pub(super) smoothed: Vec<f64>,
    /// f: by group, the part of its placement that is on reporters; smoothed alike.
    on: Vec<f64>,
    /// In force, of [`WHOLE`]; empty: what is counted is.
    pub(super) settled: Vec<u32>,
    /// Since when shares wait for who is silent; it may be before the clock began.
    held_since_ms: Option<i64>,
    /// C, of the last draw.
    covered: f64,
    silent: usize,
    is_shared: bool,
    /// Who reports is not who reported when the sum was smoothed last, so that it is taken as it is.
    is_other: bool,
    at_ms: u64,
    /// When a restart or an edit was.
    restored_at_ms: Option<u64>,
}

impl Reported {
    /// As it was kept; everybody is silent yet, and some may be gone for good.
    pub(super) fn restored(
        (reporters, is_other): (BTreeSet<NodeId>, bool),
        smoothed: Vec<f64>,
        settled: Vec<u32>,
        (covered, held_ms): (f64, Option<u64>),
        now_ms: u64,
    ) -> Self {
        let silent = reporters.len();
        let held_since_ms = held_ms.map(|held| signed(now_ms).saturating_sub(signed(held)));
        Self {
            reporters,
            smoothed,
            settled,
            held_since_ms,
            covered,
            silent,
            is_shared: false,
            is_other,
            at_ms: now_ms,
            restored_at_ms: Some(now_ms),
            on: Vec::new(),
        }
    }

    /// Takes what is said now, beside what is `counted` (parts of one) and where clients are placed. Whether
    /// other shares are in force.
    pub fn hear(
        &mut self,
        (sums, service): (&Sums, usize),
        counted: &[f64],
        assigned: &ServiceAssignment,
        now_ms: u64,
    ) -> bool {
        let Some(sum) = sums.services.get(service) else { return false };
        let elapsed_ms = now_ms.saturating_sub(self.at_ms) as f64;
        self.at_ms = now_ms;
        self.is_other |= sum.nodes.iter().any(|node| !self.reporters.contains(node));
        self.reporters.extend(&sum.nodes);
        // One that speaks of other services only is silent of this one.
        let speaks = |node: &NodeId| sum.nodes.binary_search(node).is_ok();
        self.silent = self.reporters.iter().filter(|node| !speaks(node)).count();
        let total: f64 = sum.fresh.iter().sum();
        if self.waits(total, now_ms) {
            return false;
        }
        // Who is silent still is missed by nobody, or for longer than anybody is waited for.
        let known = self.reporters.len();
        let is_over_due = self.held_since_ms.is_some();
        let is_new = self.restored_at_ms.is_some_and(|at| now_ms.saturating_sub(at) < RETURN_MS);
        let stays = |node: &NodeId| !is_over_due && (is_new || sums.lingering.contains(node));
        self.reporters.retain(|node| speaks(node) || stays(node));
        self.is_other |= self.reporters.len() < known;
        let is_over = self.held_since_ms.take().is_some() && total <= 0.0;
        if self.reporters.is_empty() || is_over {
            return self.end();
        }
        if total <= 0.0 && self.smoothed.is_empty() {
            return false;
        }
        self.is_shared = sum.is_shared;
        self.smooth((sum, is_over_due), &parts_on(assigned, &self.reporters), elapsed_ms);
        self.settle(counted)
    }

    /// Whether what is in force stays, since too much of what was reported is missing.
    fn waits(&mut self, total: f64, now_ms: u64) -> bool {
        let known = self.amount();
        let is_short = (self.silent > 0 && total < ENOUGH * known) || total <= 0.0;
        if known <= 0.0 || !is_short {
            self.held_since_ms = None;
            return false;
        }
        let since = *self.held_since_ms.get_or_insert(signed(now_ms));
        signed(now_ms).saturating_sub(since) < HOLD_MS
    }

    /// Nobody stands in for who was waited for in vain.
    fn smooth(&mut self, (sum, in_vain): (&Sum, bool), on: &[f64], elapsed_ms: f64) {
        let is_first = self.smoothed.len() != on.len();
        self.smoothed.resize(on.len(), 0.0);
        let is_other = std::mem::take(&mut self.is_other);
        let left = if is_first || is_other { 0.0 } else { TAU_MS / (TAU_MS + elapsed_ms) };
        for (group, smoothed) in self.smoothed.iter_mut().enumerate() {
            let of = |loads: &[f64]| loads.get(group).copied().unwrap_or_default();
            let (fresh, stale) = (of(&sum.fresh), if in_vain { 0.0 } else { of(&sum.stale) });
            let now = fresh + stale.min((*smoothed - fresh).max(0.0));
            *smoothed = *smoothed * left + now * (1.0 - left);
        }
        let left = if self.on.len() == on.len() { left } else { 0.0 };
        self.on.resize(on.len(), 0.0);
        for (smoothed, now) in self.on.iter_mut().zip(on) {
            *smoothed = *smoothed * left + now * (1.0 - left);
        }
    }

    fn settle(&mut self, counted: &[f64]) -> bool {
        let part = |group: usize| self.on.get(group).copied().unwrap_or_default();
        let covered: f64 = counted.iter().enumerate().map(|(group, share)| part(group) * share).sum();
        let amount = self.amount();
        if covered <= 0.0 || amount <= 0.0 {
            return self.end();
        }
        let share = |(group, &counted): (usize, &f64)| {
            let reported = self.smoothed.get(group).copied().unwrap_or_default();
            let mixed = covered * reported / amount + (1.0 - part(group)) * counted;
            (1.0 - KEPT) * mixed + KEPT * counted
        };
        let fresh: Vec<f64> = counted.iter().enumerate().map(share).collect();
        self.covered = covered;
        let is_drawn = is_news(&self.settled, &fresh);
        if is_drawn {
            self.settled = whole(fresh.into_iter());
        }
        is_drawn
    }

    /// What is counted is in force again.
    fn end(&mut self) -> bool {
        let was = !self.settled.is_empty();
        (self.settled, self.covered) = (Vec::new(), 0.0);
        (self.smoothed, self.on) = (Vec::new(), Vec::new());
        was
    }

    /// All that is reported, smoothed.
    fn amount(&self) -> f64 {
        self.smoothed.iter().sum()
    }

    /// What all nodes together would report; `None`: too few do, or not of this service alone.
    pub fn extent(&self) -> Option<f64> {
        let says = !self.settled.is_empty() && !self.is_shared && self.covered >= LEAST_COVERED;
        says.then(|| self.amount() / self.covered)
    }

    /// The part of the plan that reporters carry; 0: what is counted is in force.
    pub fn covered(&self) -> Ppm {
        super::ppm(self.covered)
    }

    pub fn reporters(&self) -> u32 {
        u32::try_from(self.reporters.len()).unwrap_or(u32::MAX)
    }

    /// Whoever of them shares wait for.
    pub fn awaited(&self) -> u32 {
        let silent = self.held_since_ms.map_or(0, |_| self.silent);
        u32::try_from(silent).unwrap_or(u32::MAX)
    }

    /// For how long shares have waited.
    pub(super) fn held_ms(&self) -> Option<u64> {
        self.held_since_ms.map(|since| signed(self.at_ms).saturating_sub(since).unsigned_abs())
    }

    /// Whether reports are in force.
    pub(super) fn says(&self) -> bool {
        !self.settled.is_empty()
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// By group: the part of its placement that is on one of `nodes`.
fn parts_on(assigned: &ServiceAssignment, nodes: &BTreeSet<NodeId>) -> Vec<f64> {
    let of_placement: Vec<f64> = assigned
        .placements
        .iter()
        .map(|placement| {
            let own = placement.shares.iter().filter(|share| nodes.contains(&share.node));
            own.map(|share| share.share.fraction()).sum::<f64>().min(1.0)
        })
        .collect();
    let of_group = |&at: &u32| of_placement.get(at as usize).copied().unwrap_or_default();
    assigned.by_group.iter().map(of_group).collect()
}

/// Whether `fresh` shares are worth a move from those in force, none of which is news anyway.
pub(super) fn is_news(settled: &[u32], fresh: &[f64]) -> bool {
    if settled.len() != fresh.len() {
        return true;
    }
    let mut gap = 0.0;
    for (&held, fresh) in settled.iter().zip(fresh) {
        let held = f64::from(held) / f64::from(WHOLE);
        let difference = (fresh - held).abs();
        if difference > GROUP_NEWS.max(held / 4.0) {
            return true;
        }
        gap += difference / 2.0;
    }
    gap > NEWS
}

#[cfg(test)]
mod tests;
