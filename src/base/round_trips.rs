//! Round trips of many clients, added up as they come: their mean, and what 95 % of them do not exceed.
//!
//! No list of them is kept, so that it takes the same room for ten clients and for all: a count for each millisecond.

use super::units::Micros;

/// What takes longer is counted as this.
const LONGEST_MS: usize = 2_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct RoundTrips {
    by_ms: Vec<u128>,
    /// Microseconds times weight.
    sum: u128,
    weight: u128,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self { by_ms: vec![0; LONGEST_MS + 1], sum: 0, weight: 0 }
    }
}

impl RoundTrips {
    /// Adds so many clients, in any unit that is the same for all.
    pub fn add(&mut self, rtt: Micros, weight: u128) {
        self.by_ms[(rtt.0 as usize / 1_000).min(LONGEST_MS)] += weight;
        self.sum += weight * u128::from(rtt.0);
        self.weight += weight;
    }

    /// The mean, and the 95th percentile to the millisecond; `None` without clients.
    pub fn mean_and_p95(&self) -> Option<(Micros, Micros)> {
        let mean = Micros(u32::try_from(self.sum.checked_div(self.weight)?).unwrap_or(u32::MAX));
        let mut seen = 0;
        let p95 = self.by_ms.iter().position(|weight| {
            seen += weight;
            seen * 100 >= self.weight * 95
        })?;
        Some((mean, Micros::from_millis(u32::try_from(p95).unwrap_or(u32::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_weighed_and_the_percentile_is_of_whole_milliseconds() {
        let of = |all: &[(u32, u128)]| {
            let mut trips = RoundTrips::default();
            all.iter().for_each(|(rtt, weight)| trips.add(Micros(*rtt), *weight));
            trips.mean_and_p95().map(|(mean, p95)| (mean.0, p95.0))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(9_000, 0)]), None);
        assert_eq!(of(&[(1_999, 95), (100_000, 5)]), Some((6_899, 1_000)));
        assert_eq!(of(&[(1_999, 94), (100_000, 6)]), Some((7_879, 100_000)));
        assert_eq!(of(&[(5_000_000, 1)]), Some((5_000_000, 2_000_000)), "the mean is of the whole of it");
    }
}
