//! What is counted becomes shares that sum to one, follow the verified, doubt the others and keep calm.

use super::estimate::{Division, TAU_MS, normal, prior_queries, whole};
use super::*;
use crate::base::clock::WallTime;
use crate::base::hash::SeededRng;
use crate::model::demand::KeptDemand;
use crate::model::ids::AreaId;
use crate::model::service::AudienceRule;
use proptest::prelude::*;

const TICK_MS: u64 = 10_000;
const K: f64 = 20.0;

/// A few groups, some much larger than others.
fn priors() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(1_u64..10_000, 2..40).prop_map(|weights| normal(&weights))
}

fn step(division: &mut Division, prior: &[f64], counts: &[(u32, u32)], now_ms: u64) -> bool {
    division.fade(TICK_MS as f64);
    for (at, &(forgeable, verified)) in counts.iter().enumerate() {
        division.add(at, f64::from(forgeable), f64::from(verified));
    }
    division.lean(prior, K, TICK_MS as f64);
    division.settle(prior, K, now_ms)
}

/// Poisson-like noise around `mean`: a sum of coin tosses.
fn noisy(rng: &mut SeededRng, mean: u32) -> u32 {
    (0..2 * mean).filter(|_| rng.below(2) == 0).count() as u32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shares_sum_to_one_whatever_is_counted(
        prior in priors(),
        counts in proptest::collection::vec((0_u32..100_000, 0_u32..100_000), 40),
        rounds in 1_u64..20,
    ) {
        let mut division = Division::new(&prior);
        for round in 0..rounds {
            step(&mut division, &prior, &counts[..prior.len()], round * TICK_MS);
        }
        if !division.settled.is_empty() {
            prop_assert_eq!(division.settled.iter().map(|&share| u64::from(share)).sum::<u64>(), u64::from(WHOLE));
        }
        for shares in [division.slow.clone(), division.estimate(K)] {
            prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(shares.iter().all(|&share| share > 0.0 && share <= 1.0));
        }
    }

    /// Whatever is forged, and whatever honest clients do meanwhile, an hour of it moves nobody's share by
    /// more than a tenth of what it would be without.
    #[test]
    fn forged_queries_move_no_share_by_more_than_a_tenth_an_hour(
        prior in priors(),
        honest in proptest::collection::vec(0_u32..200, 40),
        forged in proptest::collection::vec(0_u32..1_000_000, 40),
    ) {
        let (mut clean, mut attacked) = (Division::new(&prior), Division::new(&prior));
        for round in 0..360 {
            for (division, forged) in [(&mut clean, None), (&mut attacked, Some(&forged))] {
                let count = |at: usize| (forged.map_or(0, |forged| forged[at]), honest[at] / 10);
                let counts: Vec<_> = (0..prior.len()).map(count).collect();
                step(division, &prior, &counts, round * TICK_MS);
            }
        }
        // Honest clients alone lean too, as much as they may.
        for (with, without) in attacked.estimate(K).iter().zip(clean.estimate(K)) {
            prop_assert!(*with < without * 1.1 * 1.1 && *with > without / 1.1 / 1.1, "{} {}", with, without);
        }
        let mut alone = Division::new(&prior);
        let counts: Vec<_> = forged[..prior.len()].iter().map(|&forged| (forged, 0)).collect();
        (0..360).for_each(|round| { step(&mut alone, &prior, &counts, round * TICK_MS); });
        for (share, prior) in alone.estimate(K).iter().zip(&prior) {
            prop_assert!(*share <= prior * 1.1 && *share >= prior / 1.1, "{} {}", share, prior);
        }
    }

    #[test]
    fn the_order_of_groups_means_nothing(
        prior in priors(),
        counts in proptest::collection::vec((0_u32..1_000, 0_u32..1_000), 40),
    ) {
        let counts = &counts[..prior.len()];
        let mut one = Division::new(&prior);
        let backwards: Vec<f64> = prior.iter().rev().copied().collect();
        let mut other = Division::new(&backwards);
        let counts_backwards: Vec<_> = counts.iter().rev().copied().collect();
        for round in 0..5 {
            step(&mut one, &prior, counts, round * TICK_MS);
            step(&mut other, &backwards, &counts_backwards, round * TICK_MS);
        }
        prop_assert_eq!(one.settled.len(), other.settled.len());
        for (a, b) in one.settled.iter().zip(other.settled.iter().rev()) {
            prop_assert!(a.abs_diff(*b) <= 2, "{} {}", a, b);
        }
    }
}

#[test]
fn rounding_keeps_the_sum_and_one_group_has_it_all() {
    assert_eq!(whole([1.0, 1.0, 1.0].into_iter()).iter().sum::<u32>(), WHOLE);
    assert_eq!(whole([0.3].into_iter()), [WHOLE]);
    assert_eq!(whole(std::iter::empty()), [0_u32; 0]);
}

/// A day of noise without a trend: after the shares were learned nothing moves.
#[test]
fn a_stationary_stream_draws_nothing_anew() {
    let mut rng = SeededRng::new(7);
    let means: Vec<u32> = (0..50).map(|at| if at < 3 { 60 } else { at % 7 }).collect();
    let prior = normal(&vec![1; means.len()]);
    let (mut division, mut drawn) = (Division::new(&prior), Vec::new());
    for round in 0..8_640_u64 {
        let count = |mean: &u32| (noisy(&mut rng, *mean), noisy(&mut rng, *mean));
        let counts: Vec<_> = means.iter().map(count).collect();
        if step(&mut division, &prior, &counts, round * TICK_MS) {
            drawn.push(round);
        }
    }
    assert!(!drawn.is_empty() && drawn.len() < 20, "{drawn:?}");
    assert!(*drawn.last().expect("drawn") < 100, "only while learning: {drawn:?}");
}

#[test]
fn a_group_that_asks_ten_times_as_often_has_ten_times_the_share_if_it_shows_that_it_is_there() {
    let prior = normal(&[1; 20]);
    let counts = |forgeable: u32, verified: u32| {
        let mut counts = vec![(forgeable, verified); 20];
        counts[4] = (10 * forgeable, 10 * verified);
        counts
    };
    let mut verified = Division::new(&prior);
    let mut forgeable = Division::new(&prior);
    for round in 0..60 {
        step(&mut verified, &prior, &counts(0, 30), round * TICK_MS);
        step(&mut forgeable, &prior, &counts(30, 0), round * TICK_MS);
    }
    let share = |division: &Division| f64::from(*division.settled.get(4).unwrap_or(&0)) / f64::from(WHOLE);
    assert!((0.30..0.36).contains(&share(&verified)), "10 of 29: {}", share(&verified));
    assert!(forgeable.settled.is_empty(), "ten minutes of anybody's word are no news");
    assert!(verified.confidence(4, K) > 0.98 && forgeable.confidence(4, K) < 0.01);
    // A day later they are believed, all the same.
    (60..8_640).for_each(|round| {
        step(&mut forgeable, &prior, &counts(30, 0), round * TICK_MS);
    });
    assert!(share(&forgeable) > 0.13, "{}", share(&forgeable));
}

#[test]
fn silence_where_many_queries_were_expected_says_as_much_as_queries() {
    let prior = normal(&[1, 1]);
    let mut division = Division::new(&prior);
    (0..60).for_each(|round| {
        step(&mut division, &prior, &[(0, 100), (0, 0)], round * TICK_MS);
    });
    assert!(division.settled[1] < WHOLE / 50, "{:?}", division.settled);
    assert!(division.settled[1] > 0);
    // Whereas a handful of queries says next to nothing.
    let mut few = Division::new(&prior);
    (0..60).for_each(|round| {
        step(&mut few, &prior, &[(0, u32::from(round == 0) * 3), (0, 0)], round * TICK_MS);
    });
    assert!(few.settled.is_empty());
}

#[test]
fn a_stream_that_thins_out_keeps_its_shares_for_a_day() {
    let prior = normal(&[1, 1, 1, 1]);
    let mut division = Division::new(&prior);
    (0..60).for_each(|round| {
        step(&mut division, &prior, &[(0, 300), (0, 10), (0, 10), (0, 10)], round * TICK_MS);
    });
    let settled = division.settled.clone();
    let quiet = |division: &mut Division, from: u64, to: u64| {
        (from..to).filter(|round| step(division, &prior, &[(0, 1); 4], round * TICK_MS)).count()
    };
    assert_eq!(quiet(&mut division, 60, 8_000), 0);
    assert_eq!(division.settled, settled);
    assert!(quiet(&mut division, 8_000, 9_000) > 0);
    assert_ne!(division.settled, settled);
}

#[test]
fn a_cache_counts_once_in_each_ttl() {
    assert!((prior_queries(300) - 20.0).abs() < 1e-9);
    assert!((prior_queries(5) - 2.0 * TAU_MS / 5_000.0).abs() < 1e-9);
}

pub(super) fn subject(name: &str, audience: &[AudienceRule]) -> Subject {
    Subject { name: name.to_owned(), ttl_s: 30, audience: audience.to_vec() }
}

pub(super) fn groups(keys: &[&str]) -> Arc<[ClientGroup]> {
    let group = |(at, key): (usize, &&str)| ClientGroup {
        key: (*key).to_owned(),
        country: None,
        line: None,
        location: None,
        areas: vec![AreaId(at as u16)],
        v4_slash24: 1,
        v6_slash48: 0,
    };
    keys.iter().enumerate().map(group).collect()
}

fn asked(counts: &[u32]) -> Vec<Asked> {
    counts.iter().map(|&verified| Asked { forgeable: 0, verified }).collect()
}

pub(super) fn told(book: &DemandBook, service: &str, group: &str) -> DemandView {
    book.find(service, group).and_then(|pair| book.view(pair)).expect("known")
}

/// Ten minutes of the same.
pub(super) fn count_for_long(book: &mut DemandBook, from_ms: u64, service: u16, counts: &[u32]) {
    for round in 1..60 {
        book.count(ServiceId(service), &asked(counts), from_ms + round * TICK_MS);
    }
}

#[test]
fn a_service_nobody_asks_for_goes_by_address_space_and_what_is_stated_by_what_is_stated() {
    let rule = AudienceRule { area: AreaId(1), at_least: Ppm(250_000), at_most: Ppm(500_000) };
    let groups = groups(&["a", "b"]);
    let mut book = DemandBook::new(vec![subject("s", &[]), subject("t", &[rule])], &groups, &[9, 1], 0);
    assert_eq!(book.shares().of(0), None);
    assert_eq!(told(&book, "s", "b").share, Ppm(100_000));
    assert_eq!(book.shares().of(1), Some(&[WHOLE / 4 * 3, WHOLE / 4][..]));
    assert!(told(&book, "t", "b").is_bounded && !told(&book, "t", "a").is_bounded);
    count_for_long(&mut book, 0, 1, &[0, 1_000]);
    assert_eq!(told(&book, "t", "b").share, Ppm(500_000), "and no more, whoever asks");
    count_for_long(&mut book, 0, 0, &[0, 1_000]);
    assert!(told(&book, "s", "b").share > Ppm(900_000));
    assert_eq!(told(&book, "s", "b").assumed, Ppm(100_000));
    assert!(told(&book, "s", "b").confidence > Ppm(990_000));
    assert_eq!(book.counts()[0].verified, 59_000);
}

#[test]
fn services_are_weighed_by_the_caches_that_ask() {
    let mut slow = subject("slow", &[]);
    slow.ttl_s = 300;
    let mut book = DemandBook::new(vec![subject("s", &[]), slow], &groups(&["a"]), &[1], 0);
    assert!(book.shares().services.is_empty());
    for round in 1..60 {
        book.count(ServiceId(0), &asked(&[1_000]), round * TICK_MS);
        book.count(ServiceId(1), &asked(&[300]), round * TICK_MS);
        book.weigh_services(round * TICK_MS);
    }
    let part = f64::from(book.shares().services[1]) / f64::from(WHOLE);
    assert!((0.73..0.77).contains(&part), "three times as many caches: {part}");
}

#[test]
fn counts_outlive_a_restart_and_an_edit_by_name() {
    let old = groups(&["a", "b", "c"]);
    let mut book = DemandBook::new(vec![subject("s", &[]), subject("t", &[])], &old, &[1, 1, 1], 0);
    count_for_long(&mut book, 0, 0, &[700, 200, 100]);
    count_for_long(&mut book, 0, 1, &[1, 1, 998]);
    let text = serde_json::to_string(&book.keep(WallTime(1_000))).expect("serialises");
    let kept: KeptDemand = serde_json::from_str(&text).expect("reads");
    let begun = || DemandBook::new(vec![subject("s", &[]), subject("t", &[])], &old, &[1, 1, 1], 0);
    let restored = begun().restored(&kept, WallTime(1_000));
    assert_eq!(restored.shares().of(0), book.shares().of(0));
    assert_eq!(restored.shares().of(1), book.shares().of(1));
    assert_eq!(told(&restored, "s", "a").verified, told(&book, "s", "a").verified);
    // Of a clock that went back nothing comes that is older than it was.
    assert_eq!(begun().restored(&kept, WallTime(0)).shares(), restored.shares());
    let fresh = groups(&["new", "c", "a"]);
    let edited = book.reloaded(vec![subject("new", &[]), subject("s", &[])], &fresh, &[2, 1, 1], 0);
    assert_eq!(edited.shares().of(0), None);
    let of_s = edited.shares().of(1).expect("kept");
    assert_eq!(of_s.iter().sum::<u32>(), WHOLE);
    let ratio = f64::from(of_s[2]) / f64::from(of_s[1]);
    assert!((6.0..8.0).contains(&ratio), "a asks seven times as often as c: {ratio}");
    assert!(of_s[0] > WHOLE / 4, "of the new group only address space is known: {of_s:?}");
}

#[test]
fn what_was_kept_by_hands_is_read_without_harm() {
    let kept = KeptDemand {
        at: WallTime(9),
        groups: vec!["a".to_owned(), "b".to_owned()],
        services: vec![crate::model::demand::KeptService {
            name: "s".to_owned(),
            cells: vec![(u32::MAX, u32::MAX, 0, u32::MAX)],
            drawn_from: Some(u64::MAX),
            reported: None,
        }],
        audience: vec![("s".to_owned(), (0, 0, 0, 0)), ("t".to_owned(), (u32::MAX, 0, u32::MAX, u32::MAX))],
        divided: vec![("s".to_owned(), u32::MAX)],
    };
    let mut book = DemandBook::new(vec![subject("s", &[])], &groups(&["a", "b"]), &[1, 1], 0);
    book = book.restored(&kept, WallTime(10));
    assert_eq!(book.shares().of(0).map(|shares| shares.iter().sum::<u32>()), Some(WHOLE));
    count_for_long(&mut book, 0, 0, &[5, 5]);
}
