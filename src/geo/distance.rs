//! Great-circle distance, and the round trip to expect from it before anything is measured.
//!
//! The same on every machine: sine, cosine and arc sine are summed here from `+ - * /` and `sqrt`,
//! which IEEE 754 defines to the last bit, because the platform's own differ between C libraries.
//! The Earth is a sphere of 6,371 km (mean radius); the error against the ellipsoid is below 0.6 %.

use crate::base::units::{Coordinates, Micros};
use crate::model::clients::ClientGroup;
use crate::model::fleet::Fleet;
use crate::model::placement::Latencies;
use std::f64::consts::{FRAC_PI_2, PI};

const EARTH_RADIUS_KM: f64 = 6_371.0;
/// 1 ms of round trip for 100 km, times 1.6 for the path's detours.
const MICROS_PER_KM: u32 = 16;
/// Access network and processing, both ends.
const BASE: Micros = Micros::from_millis(5);
/// Where either place is unknown: far, but not the farthest.
const UNKNOWN: Micros = Micros::from_millis(150);

/// Kilometres along the surface, to the nearest.
pub fn distance_km(a: Coordinates, b: Coordinates) -> u32 {
    between(unit_vector(a), unit_vector(b))
}

/// The expected round trip from each group to each site of the fleet.
pub fn latency_prior(groups: &[ClientGroup], fleet: &Fleet) -> Latencies {
    let sites: Vec<_> = fleet.sites.iter().map(|site| site.location.map(unit_vector)).collect();
    let mut rtt = Vec::with_capacity(groups.len() * sites.len());
    for group in groups {
        let from = group.location.map(unit_vector);
        rtt.extend(sites.iter().map(|&site| match (from, site) {
            (Some(from), Some(to)) => Micros(BASE.0 + MICROS_PER_KM * between(from, to)),
            _ => UNKNOWN,
        }));
    }
    Latencies::prior(sites.len(), rtt)
}

type Vector = [f64; 3];

fn unit_vector(at: Coordinates) -> Vector {
    let radians = |mdeg: i32| f64::from(mdeg) * (PI / 180_000.0);
    let (latitude, longitude) = (radians(at.latitude_mdeg), radians(at.longitude_mdeg));
    let on_equator = cosine(latitude);
    [on_equator * cosine(longitude), on_equator * sine(longitude), sine(latitude)]
}

/// By the chord, which keeps its precision for near and for opposite points.
fn between(a: Vector, b: Vector) -> u32 {
    let square = |x: f64| x * x;
    let chord = (square(a[0] - b[0]) + square(a[1] - b[1]) + square(a[2] - b[2])).sqrt();
    (2.0 * EARTH_RADIUS_KM * arc_sine((chord / 2.0).min(1.0))).round() as u32
}

fn cosine(x: f64) -> f64 {
    sine(FRAC_PI_2 - x.abs())
}

/// For |x| up to 3/2 pi: folded to a quarter turn, then the Taylor series.
fn sine(x: f64) -> f64 {
    let folded = if x > FRAC_PI_2 {
        PI - x
    } else if x < -FRAC_PI_2 {
        -PI - x
    } else {
        x
    };
    let square = folded * folded;
    let mut term = folded;
    let mut sum = folded;
    for n in 1..=10 {
        let k = f64::from(2 * n);
        term *= -square / (k * (k + 1.0));
        sum += term;
    }
    sum
}

/// For x in 0..=1: halved above 1/2 (asin x = pi/2 - 2 asin sqrt((1 - x)/2)), then the Taylor series.
fn arc_sine(x: f64) -> f64 {
    if x > 0.5 {
        return FRAC_PI_2 - 2.0 * arc_sine(((1.0 - x) / 2.0).sqrt());
    }
    let square = x * x;
    let mut power = x;
    let mut sum = x;
    for n in 1..=18 {
        let k = f64::from(2 * n);
        power *= square * (k - 1.0) / k;
        sum += power / (k + 1.0);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::Site;
    use crate::model::ids::RegionId;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::from_degrees(latitude, longitude).expect("on the globe")
    }

    #[test]
    fn distances_agree_with_the_platforms_haversine() {
        let mut rng = crate::base::hash::SeededRng::new(11);
        for _ in 0..2_000 {
            let mut point = || at(rng.unit() * 180.0 - 90.0, rng.unit() * 360.0 - 180.0);
            let (a, b) = (point(), point());
            let ((lat1, lon1), (lat2, lon2)) = (a.degrees(), b.degrees());
            let half = |x: f64| (x.to_radians() / 2.0).sin().powi(2);
            let h = half(lat2 - lat1) + lat1.to_radians().cos() * lat2.to_radians().cos() * half(lon2 - lon1);
            let expect = 2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin();
            assert!((f64::from(distance_km(a, b)) - expect).abs() < 0.51, "{a:?} {b:?} {expect}");
        }
    }

    #[test]
    fn known_distances() {
        let (beijing, frankfurt) = (at(39.904, 116.407), at(50.11, 8.682));
        assert!((7_770..7_800).contains(&distance_km(beijing, frankfurt)));
        assert_eq!(distance_km(beijing, beijing), 0);
        assert_eq!(distance_km(at(0.0, 180.0), at(0.0, -180.0)), 0);
        assert_eq!(distance_km(at(90.0, 0.0), at(-90.0, 77.0)), 20_015);
        assert_eq!(distance_km(at(0.0, 0.0), at(0.0, 180.0)), 20_015);
    }

    #[test]
    fn the_prior_is_distance_or_the_unknown() {
        let site = |location| Site { name: "s".into(), title: None, region: RegionId(0), location };
        let fleet = Fleet { sites: vec![site(Some(at(0.0, 0.0))), site(None)], ..Fleet::default() };
        let group = |location| ClientGroup {
            key: "k".into(),
            country: None,
            line: None,
            location,
            areas: vec![],
            v4_slash24: 0,
            v6_slash48: 0,
        };
        let prior = latency_prior(&[group(None), group(Some(at(0.0, 1.0)))], &fleet);
        assert_eq!(*prior.rtt, [UNKNOWN, UNKNOWN, Micros(5_000 + 16 * 111), UNKNOWN]);
    }
}
