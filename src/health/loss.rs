//! The loss of one probe over a sliding window, and when it is too much.
//!
//! The window holds the last 32 observations, and of those older than a minute only as many as keep
//! it at 16: with long intervals a minute alone would never fill it. Three lost of five are not
//! 60 %: below 8 observations nothing is said, below 16 nothing is held against the node.
//!
//! Every failed probe counts as lost, whatever the reason; slow answers do not. A node that comes back
//! from down starts a new window: its outage has had its verdict already.

use super::counter::Thresholds;
use crate::base::clock::MonoTime;
use crate::base::units::Ppm;
use std::collections::VecDeque;
use std::time::Duration;

const LONGEST: usize = 32;
const SPAN: Duration = Duration::from_secs(60);
const SAYS_SOMETHING: usize = 8;
const WEIGHS: usize = 16;
/// Above this share of lost probes a node is degraded.
const BOUND: Ppm = Ppm::from_percent(10);

/// The last observations of one probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LossWindow {
    /// Oldest first: when, and whether it was lost.
    seen: VecDeque<(MonoTime, bool)>,
    lossy: bool,
    calm: u32,
}

impl LossWindow {
    pub fn add(&mut self, lost: bool, at: MonoTime, thresholds: Thresholds) {
        self.seen.push_back((at, lost));
        while self.seen.len() > LONGEST || (self.seen.len() > WEIGHS && self.oldest_is_stale(at)) {
            self.seen.pop_front();
        }
        let loss = self.loss();
        let calm = loss.0 < BOUND.0 / 2;
        self.calm = if calm { self.calm.saturating_add(1) } else { 0 };
        self.lossy = match self.lossy {
            false => loss > BOUND && self.seen.len() >= WEIGHS,
            true => self.calm < thresholds.ok,
        };
    }

    fn oldest_is_stale(&self, now: MonoTime) -> bool {
        self.seen.front().is_some_and(|&(at, _)| now.since(at) > SPAN)
    }

    /// Zero while the window says nothing yet.
    pub fn loss(&self) -> Ppm {
        if self.seen.len() < SAYS_SOMETHING {
            return Ppm::ZERO;
        }
        let (lost, all) = self.counts();
        Ppm::ratio(lost as u64, all as u64)
    }

    /// Lost and all observations of the window.
    pub fn counts(&self) -> (usize, usize) {
        (self.seen.iter().filter(|(_, lost)| *lost).count(), self.seen.len())
    }

    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
