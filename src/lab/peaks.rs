//! How full nodes have been: of every sample the highest, and how long above the cap.
//!
//! A node that is down carries nobody and is no sample. What is said of all is the highest of any node, in
//! parts of that node's own capacity: one node above its cap is what a plan must never come to, however idle
//! the others are.

use super::fleet::LabStatus;
use crate::base::units::Ppm;
use crate::model::fleet::Fleet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    pub utilisation: Ppm,
    /// Milliseconds above the cap, of the samples' lengths.
    pub above_ms: u64,
}

/// Of every node.
#[derive(Debug)]
pub struct Peaks {
    caps: Vec<Option<Ppm>>,
    peaks: Vec<Peak>,
}

impl Peaks {
    pub fn new(fleet: &Fleet) -> Self {
        let caps = fleet.nodes.iter().map(|node| node.capacity.as_ref().map(|capacity| capacity.cap));
        Self { caps: caps.collect(), peaks: vec![Peak::default(); fleet.nodes.len()] }
    }

    /// Counts anew.
    pub fn clear(&mut self) {
        self.peaks.fill(Peak::default());
    }

    /// Takes a sample of the node at this position, which stands for this long.
    pub fn sample(&mut self, at: usize, utilisation: Ppm, is_down: bool, lasts: Duration) {
        let (Some(peak), Some(Some(cap))) = (self.peaks.get_mut(at), self.caps.get(at)) else { return };
        if is_down {
            return;
        }
        peak.utilisation = peak.utilisation.max(utilisation);
        if utilisation > *cap {
            peak.above_ms += u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        }
    }

    pub fn of(&self, at: usize) -> Peak {
        self.peaks.get(at).copied().unwrap_or_default()
    }

    pub fn cap(&self, at: usize) -> Option<Ppm> {
        self.caps.get(at).copied().flatten()
    }
}

/// The fleet's peaks in a phrase: `peak 0.86 of cap 0.90 at lon-1, never above`.
pub struct Summary<'a>(pub &'a LabStatus);

impl Summary<'_> {
    /// Some node is above its cap at the last sample.
    pub fn is_above(&self) -> bool {
        self.above().next().is_some()
    }

    fn above(&self) -> impl Iterator<Item = String> {
        let nodes = self.0.nodes.iter().filter(|node| !is_down(&node.faults));
        let above = nodes.filter(|node| node.cap.is_some_and(|cap| node.utilisation > cap));
        above.map(|node| format!("{} {:.2}", node.name, node.utilisation.fraction()))
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above: Vec<String> = self.above().collect();
        if !above.is_empty() {
            write!(f, "ABOVE CAP: {}; ", above.join(", "))?;
        }
        // The one that came nearest to its cap, or went farthest above it.
        let nodes = self.0.nodes.iter().filter_map(|node| Some((node, node.cap?)));
        let highest = nodes.min_by_key(|(node, cap)| i64::from(cap.0) - i64::from(node.peak.utilisation.0));
        let Some((node, cap)) = highest else { return f.write_str("no node has a capacity") };
        write!(
            f,
            "peak {:.2} of cap {:.2} at {}",
            node.peak.utilisation.fraction(),
            cap.fraction(),
            node.name
        )?;
        let seconds: u64 = self.0.nodes.iter().map(|node| node.peak.above_ms).sum();
        match seconds {
            0 => f.write_str(", never above"),
            ms => write!(f, ", {:.1} s above in all", ms as f64 / 1e3),
        }
    }
}

fn is_down(faults: &str) -> bool {
    faults.split(", ").any(|fault| fault == "down")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;

    #[test]
    fn the_highest_stays_and_what_is_down_is_no_sample() {
        let mut peaks = Peaks::new(&sample::fleet());
        let look = Duration::from_millis(200);
        for (percent, is_down) in [(50, false), (95, false), (92, false), (80, false), (99, true)] {
            peaks.sample(1, Ppm::from_percent(percent), is_down, look);
        }
        assert_eq!(peaks.of(1), Peak { utilisation: Ppm::from_percent(95), above_ms: 400 });
        assert_eq!(peaks.of(0), Peak::default());
        peaks.clear();
        assert_eq!(peaks.of(1), Peak::default());
        peaks.sample(9, Ppm::WHOLE, false, look);
    }

    #[test]
    fn a_phrase_says_who_is_above_and_who_was() {
        let mut status = sample::lab_status();
        assert_eq!(Summary(&status).to_string(), "peak 0.03 of cap 0.90 at tyo-1, never above");
        status.nodes[3].utilisation = Ppm::from_percent(124);
        status.nodes[3].peak = Peak { utilisation: Ppm::from_percent(130), above_ms: 2_600 };
        let said = Summary(&status).to_string();
        assert_eq!(said, "ABOVE CAP: fra-1 1.24; peak 1.30 of cap 0.90 at fra-1, 2.6 s above in all");
        status.nodes[3].faults = "down, latency 150 ms".to_owned();
        assert!(!Summary(&status).is_above());
    }
}
