//! The loss of one probe over a sliding window, and when it is too much.
//!
//! The window holds the last 32 observations, and of those older than a minute only as many as keep
//! it at 16: with long intervals a minute alone would never fill it. Below 8 packets nothing is said,
//! below 16 observations nothing is held against the node.
//!
//! Three lost of five are not 60 %. What counts against a node is Wilson's lower bound (one-sided, 95 %):
//! the loss that is surely exceeded, given how little was seen.
//!
//! ```text
//!   lost of all    share   surely above        with the default bound of 4 %
//!     3 of   5      60 %     27 %              says nothing: too few
//!     2 of  16    12.5 %    4.2 %              degraded
//!     3 of  32     9.4 %    3.8 %              not degraded
//!    30 of 300      10 %    7.5 %              degraded
//! ```
//! It is left when the bound is below half for `ok` observations in a row. Every failed probe counts as
//! lost, whatever the reason; slow answers do not. A probe of many packets counts each. A node that
//! comes back from down starts a new window: its outage has had its verdict already.

use super::counter::Thresholds;
use crate::base::clock::MonoTime;
use crate::base::units::Ppm;
use crate::model::judgement::LossRules;
use crate::model::observation::Packets;
use std::time::Duration;

pub(super) const LONGEST: usize = 32;
const SPAN: Duration = Duration::from_secs(60);
const SAYS_SOMETHING: u32 = 8;
const WEIGHS: usize = 16;
/// Of the normal distribution: 95 % lie below so many deviations.
const Z: f64 = 1.645;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Milliseconds of the monotonic clock, wrapping: only differences of minutes are taken.
    at_ms: u32,
    packets: Packets,
}

/// The last observations of one probe, in a ring of fixed size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LossWindow {
    ring: [Seen; LONGEST],
    /// Where the next one goes.
    next: u8,
    len: u8,
    lossy: bool,
    calm: u32,
}

impl LossWindow {
    pub fn add(&mut self, packets: Packets, at: MonoTime, thresholds: Thresholds, rules: &LossRules) {
        let at_ms = (at.0 / 1_000) as u32;
        self.ring[usize::from(self.next)] = Seen { at_ms, packets };
        self.next = (self.next + 1) % LONGEST as u8;
        self.len = (self.len + 1).min(LONGEST as u8);
        while usize::from(self.len) > WEIGHS && self.oldest_is_stale(at_ms) {
            self.len -= 1;
        }
        let surely = self.at_least();
        let calm = surely == Ppm::ZERO || surely.0 < rules.bound.0 / 2;
        self.calm = if calm { self.calm.saturating_add(1) } else { 0 };
        self.lossy = match self.lossy {
            false => surely > rules.bound && usize::from(self.len) >= WEIGHS,
            true => self.calm < thresholds.ok,
        };
    }

    fn oldest_is_stale(&self, now_ms: u32) -> bool {
        let oldest = (usize::from(self.next) + LONGEST - usize::from(self.len)) % LONGEST;
        let age_ms = now_ms.wrapping_sub(self.ring[oldest].at_ms);
        // An observation that came out of order looks as if it were of the future: not stale.
        age_ms < u32::MAX / 2 && Duration::from_millis(u64::from(age_ms)) > SPAN
    }

    fn window(&self) -> impl Iterator<Item = Packets> + '_ {
        let newest = usize::from(self.next) + LONGEST;
        (1..=usize::from(self.len)).map(move |back| self.ring[(newest - back) % LONGEST].packets)
    }

    /// Lost and all packets of the window.
    pub fn counts(&self) -> (u32, u32) {
        self.window().fold((0, 0), |(lost, all), packets| {
            (lost + u32::from(packets.lost), all + u32::from(packets.sent))
        })
    }

    /// The share lost; zero while the window says nothing yet.
    pub fn loss(&self) -> Ppm {
        match self.counts() {
            (_, all) if all < SAYS_SOMETHING => Ppm::ZERO,
            (lost, all) => Ppm::ratio(u64::from(lost), u64::from(all)),
        }
    }

    /// The loss that is surely exceeded; zero while the window says nothing yet.
    pub fn at_least(&self) -> Ppm {
        match self.counts() {
            (_, all) if all < SAYS_SOMETHING => Ppm::ZERO,
            (lost, all) => wilson(lost, all),
        }
    }

    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Wilson's lower bound of the share `lost` / `all` (Wilson 1927, one-sided at 95 %).
pub(super) fn wilson(lost: u32, all: u32) -> Ppm {
    if lost == 0 || all == 0 {
        return Ppm::ZERO;
    }
    let n = f64::from(all);
    let share = f64::from(lost.min(all)) / n;
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Ppm::from_fraction((share + Z * Z / (2.0 * n) - spread) / (1.0 + Z * Z / n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::ProbeKind;

    #[test]
    fn few_observations_are_sure_of_little() {
        let percent = |lost, all| wilson(lost, all).0 / 1_000;
        assert_eq!([percent(3, 5), percent(30, 50), percent(300, 500)], [272, 483, 563]);
        assert_eq!([percent(2, 16), percent(3, 29), percent(3, 32)], [42, 42, 38]);
        assert_eq!([percent(0, 0), percent(0, 9)], [0, 0]);
        assert!(percent(9, 9) > 700 && wilson(9, 3) <= Ppm::WHOLE, "more lost than sent is all lost");
    }

    fn thresholds() -> Thresholds {
        let second = Duration::from_secs(1);
        let spec = crate::model::fleet::ProbeSpec {
            name: None,
            kind: ProbeKind::Tcp,
            targets: [None; 2],
            interval: second,
            timeout: second,
            rise: 5,
            fall: 3,
            ok: 5,
        };
        Thresholds::of(&spec)
    }

    fn window(seen: impl IntoIterator<Item = (u64, u8, u8)>) -> LossWindow {
        let mut window = LossWindow::default();
        for (second, sent, lost) in seen {
            let at = MonoTime::from_millis(second * 1_000);
            window.add(Packets { sent, lost }, at, thresholds(), &LossRules::default());
        }
        window
    }

    #[test]
    fn a_window_is_a_minute_but_never_less_than_sixteen() {
        assert_eq!(window((0..100).map(|second| (second, 1, 0))).counts(), (0, 32));
        assert_eq!(window((0..100).map(|second| (second * 10, 1, 0))).counts(), (0, 16));
        assert_eq!(window((0..30).map(|at| (at * 3, 1, 0))).counts(), (0, 21), "a minute holds 21");
        let aged = window((0..16).map(|at| (at * 5, 1, 1)).chain((20..40).map(|at| (at * 5, 1, 0))));
        assert_eq!((aged.counts(), aged.is_lossy()), ((0, 16), false));
    }

    #[test]
    fn a_bound_of_nothing_is_left_when_nothing_is_lost() {
        let rules = LossRules { bound: Ppm::ZERO };
        let mut window = LossWindow::default();
        let mut lossy = Vec::new();
        for second in 0..90 {
            let lost = u8::from(second == 20);
            let at = MonoTime::from_millis(second * 1_000);
            window.add(Packets { sent: 1, lost }, at, thresholds(), &rules);
            lossy.push(window.is_lossy());
        }
        assert!(lossy[20] && !lossy[89]);
    }

    #[test]
    fn every_packet_of_a_probe_counts() {
        let one_in_twenty = window((0..16).map(|second| (second, 20, 1)));
        assert_eq!((one_in_twenty.counts(), one_in_twenty.is_lossy()), ((16, 320), false));
        let two_in_twenty = window((0..16).map(|second| (second, 20, 2)));
        assert!(two_in_twenty.is_lossy() && two_in_twenty.at_least() > Ppm::from_percent(7));
    }
}
