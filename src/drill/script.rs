//! When what is due, in a drill that goes as planned.

use crate::model::drill::Drill;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// By target: from the end of the watch before to its fault. Ascending.
    pub faults: Vec<Duration>,
    pub hold: Duration,
    /// Before the first fault and after the restoration.
    pub watch: Duration,
}

impl Script {
    pub fn of(drill: &Drill) -> Self {
        let gaps = u32::try_from(drill.targets.len().saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        let fault = |at: usize| drill.ramp * u32::try_from(at).unwrap_or(u32::MAX) / gaps;
        Self { faults: (0..drill.targets.len()).map(fault).collect(), hold: drill.hold, watch: drill.watch }
    }

    /// From a target's fault to its end, as planned.
    pub fn lasts(&self, target: usize) -> Duration {
        let last = self.faults.last().copied().unwrap_or_default();
        let own = self.faults.get(target).copied().unwrap_or_default();
        last.saturating_sub(own) + self.hold
    }

    pub fn total(&self) -> Duration {
        self.faults.last().copied().unwrap_or_default() + self.hold + self.watch * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_evenly_over_the_ramp_and_end_together() {
        let s = Duration::from_secs;
        let script = |targets: usize| {
            let drill = crate::drill::testing::drill(&["node/n"; 8][..targets]);
            Script::of(&Drill { ramp: s(30), hold: s(60), watch: s(10), ..drill })
        };
        assert_eq!(script(1).faults, [s(0)]);
        assert_eq!(script(4).faults, [s(0), s(10), s(20), s(30)]);
        let four = script(4);
        assert_eq!((four.lasts(0), four.lasts(3), four.total()), (s(90), s(60), s(110)));
    }
}
