//! Quantities the planner counts in: integers only, so that the same input gives the same table on
//! every machine (no floating-point order of evaluation to disagree about).

use serde::{Deserialize, Serialize};

/// A share or a rate in parts per million. 1,000,000 is the whole; utilisation may exceed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ppm(pub u32);

impl Ppm {
    pub const ZERO: Ppm = Ppm(0);
    pub const WHOLE: Ppm = Ppm(1_000_000);

    pub const fn from_percent(percent: u32) -> Self {
        Ppm(percent * 10_000)
    }

    /// A fraction such as 0.75; not-a-number and negative values become zero.
    pub fn from_fraction(fraction: f64) -> Self {
        Ppm((fraction * 1e6).round().clamp(0.0, f64::from(u32::MAX)) as u32)
    }

    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1e4
    }

    /// This share of `amount`, rounded down.
    pub const fn of(self, amount: u64) -> u64 {
        (amount as u128 * self.0 as u128 / 1_000_000) as u64
    }

    /// `part` of `whole`; zero if the whole is zero, saturating above.
    pub fn ratio(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Ppm::ZERO;
        }
        let ppm = u128::from(part) * 1_000_000 / u128::from(whole);
        Ppm(u32::try_from(ppm).unwrap_or(u32::MAX))
    }
}

/// A length of time in microseconds: round trips, jitter, costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u32);

impl Micros {
    pub const fn from_millis(ms: u32) -> Self {
        Micros(ms.saturating_mul(1_000))
    }

    pub fn millis(self) -> f64 {
        f64::from(self.0) / 1e3
    }
}

/// Money in millionths of whatever unit the operator counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

/// A point on the globe in thousandths of a degree: integers, so that costs are reproducible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coordinates {
    pub latitude_mdeg: i32,
    pub longitude_mdeg: i32,
}

impl Coordinates {
    /// From degrees; `None` outside -90..=90 and -180..=180, or not a number.
    pub fn from_degrees(latitude: f64, longitude: f64) -> Option<Self> {
        let sane = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        sane.then(|| Self {
            latitude_mdeg: (latitude * 1e3).round() as i32,
            longitude_mdeg: (longitude * 1e3).round() as i32,
        })
    }

    pub fn degrees(self) -> (f64, f64) {
        (f64::from(self.latitude_mdeg) / 1e3, f64::from(self.longitude_mdeg) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_down_and_never_overflow() {
        assert_eq!(Ppm::from_percent(75).of(1_000), 750);
        assert_eq!(Ppm::ratio(1, 3), Ppm(333_333));
        assert_eq!(Ppm::ratio(u64::MAX, 1), Ppm(u32::MAX));
        assert_eq!(Ppm::ratio(5, 0), Ppm::ZERO);
        assert_eq!(Ppm::from_fraction(f64::NAN), Ppm::ZERO);
    }

    #[test]
    fn coordinates_outside_the_globe_are_none() {
        assert!(Coordinates::from_degrees(91.0, 0.0).is_none());
        assert!(Coordinates::from_degrees(0.0, f64::NAN).is_none());
        assert_eq!(Coordinates::from_degrees(1.2345, -2.0).expect("on the globe").latitude_mdeg, 1235);
    }
}
