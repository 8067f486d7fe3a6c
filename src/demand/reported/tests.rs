//! Reports become sums, and sums take the place of counts: where reporters carry the plan, and for as long as
//! nobody vanishes.

use super::*;
use crate::base::hash::SeededRng;
use crate::base::prefix::Prefix;
use crate::demand::gathered::{LINGER_MS, Reading, Servers, sums};
use crate::model::ids::GroupId;
use crate::model::observation::{ClientLoad, ClientRow};
use crate::model::placement::{Placement, PlacementMode, Share};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

const ROUND_MS: u64 = 5_000;
const MAX_AGE_MS: u64 = 10_000;
const HOUR_MS: u64 = 3_600_000;

/// 10.g.0.0/16 is group g, and 11.0.0.0/8 by its second octet's first half or second.
fn locate(address: IpAddr) -> (GroupId, u8) {
    let IpAddr::V4(v4) = address else { return (GroupId(0), 0) };
    match v4.octets() {
        [10, group, ..] => (GroupId(u32::from(group)), 16),
        [11, octet, ..] => (GroupId(u32::from(octet >> 7)), 9),
        _ => (GroupId(0), 4),
    }
}

fn load(rows: &[(&str, f64)], service: Option<&str>) -> ClientLoad {
    let row = |(network, load): &(&str, f64)| ClientRow {
        prefix: Prefix::from(network.parse::<ipnet::IpNet>().expect("a network")),
        service: service.map(|_| 0),
        milli: (load * 1_000.0) as u64,
    };
    let services = service.into_iter().map(str::to_owned).collect();
    ClientLoad { rows: rows.iter().map(row).collect(), services, left_out: None }
}

/// By group.
fn by_group(loads: &[f64]) -> ClientLoad {
    let names: Vec<String> = (0..loads.len()).map(|group| format!("10.{group}.0.0/16")).collect();
    let rows: Vec<(&str, f64)> = names.iter().map(String::as_str).zip(loads.iter().copied()).collect();
    load(&rows, None)
}

/// By group: the nodes of its placement and their parts.
fn placed(groups: &[&[(u16, f64)]]) -> ServiceAssignment {
    let placement = |shares: &&[(u16, f64)]| Placement {
        shares: shares
            .iter()
            .map(|&(node, part)| Share { node: NodeId(node), share: Ppm::from_fraction(part) })
            .collect(),
        backups: Vec::new(),
        pool: None,
        mode: PlacementMode::Normal,
    };
    let mut assigned =
        ServiceAssignment { by_group: (0..groups.len() as u32).collect(), ..Default::default() };
    groups.iter().map(placement).for_each(|placement| assigned.placements.push(placement));
    assigned
}

/// One service, its nodes and their last words.
struct World {
    reported: Reported,
    readings: BTreeMap<NodeId, Reading>,
    counted: Vec<f64>,
    assigned: ServiceAssignment,
    down: Vec<NodeId>,
    now_ms: u64,
}

impl World {
    fn new(counted: &[f64], groups: &[&[(u16, f64)]]) -> Self {
        Self {
            reported: Reported::default(),
            readings: BTreeMap::new(),
            counted: counted.to_vec(),
            assigned: placed(groups),
            down: Vec::new(),
            now_ms: 1,
        }
    }

    fn say(&mut self, node: u16, loads: &[f64]) {
        let said = Reading::of(&by_group(loads), None, (self.now_ms, MAX_AGE_MS), &|_| Some(0), &locate);
        self.readings.insert(NodeId(node), said);
    }

    /// Has the reporters say so much again and again, and tells how often shares were drawn anew.
    fn pass(&mut self, for_ms: u64, said: &[(u16, &[f64])]) -> usize {
        let rounds = 0..for_ms / ROUND_MS;
        let round = |_| {
            self.now_ms += ROUND_MS;
            said.iter().for_each(|(node, loads)| self.say(*node, loads));
            self.hear()
        };
        rounds.map(round).filter(|is_drawn| *is_drawn).count()
    }

    fn hear(&mut self) -> bool {
        let nodes = vec![(0..9).map(NodeId).collect()];
        let servers = Servers { names: vec!["s".to_owned()], nodes, parts: Vec::new() };
        let is_down = |node: NodeId| self.down.contains(&node);
        let sums = sums(&mut self.readings, &servers, self.counted.len(), is_down, self.now_ms);
        self.reported.hear((&sums, 0), &self.counted, &self.assigned, self.now_ms)
    }

    fn shares(&self) -> Vec<f64> {
        self.reported.settled.iter().map(|&share| f64::from(share) / f64::from(WHOLE)).collect()
    }
}

fn check(shares: &[f64], expected: &[f64]) {
    let is_near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
    assert!(shares.len() == expected.len(), "{shares:?}, not {expected:?}");
    assert!(shares.iter().zip(expected).all(is_near), "{shares:?}, not {expected:?}");
}

const ON_FIRST: &[(u16, f64)] = &[(0, 1.0)];
const ON_SECOND: &[(u16, f64)] = &[(1, 1.0)];
const ON_BOTH: &[(u16, f64)] = &[(0, 0.5), (1, 0.5)];

#[test]
fn reports_replace_counts_in_the_part_of_the_plan_that_reporters_carry() {
    let mut world = World::new(&[0.5, 0.3, 0.2], &[ON_FIRST, ON_BOTH, ON_SECOND]);
    assert_eq!(world.pass(ROUND_MS, &[(0, &[30.0, 10.0, 0.0])]), 1);
    // C = 0.5 + 0.15. Of the first group 0.65 * 30 / 40, of the second 0.65 * 10 / 40 + 0.15; of all 1 %
    // stays as counted.
    check(&world.shares(), &[0.487_625, 0.312_375, 0.2]);
    assert_eq!((world.reported.covered(), world.reported.reporters()), (Ppm(650_000), 1));
    // The other reports too: all goes by reports, from its first word on.
    assert_eq!(world.pass(ROUND_MS, &[(0, &[30.0, 10.0, 0.0]), (1, &[0.0, 20.0, 40.0])]), 1);
    check(&world.shares(), &[0.99 * 0.3 + 0.005, 0.99 * 0.3 + 0.003, 0.99 * 0.4 + 0.002]);
    assert_eq!((world.reported.covered(), world.reported.reporters()), (Ppm(1_000_000), 2));
}

#[test]
fn who_vanishes_takes_no_demand_along() {
    let mut world = World::new(&[0.5, 0.5], &[ON_FIRST, ON_SECOND]);
    let both: &[(u16, &[f64])] = &[(0, &[60.0, 0.0]), (1, &[0.0, 40.0])];
    assert_eq!(world.pass(HOUR_MS, both), 1);
    let before = world.shares();
    check(&before, &[0.599, 0.401]);
    // Its clients are on their way: the plan has them on the other already.
    (world.down, world.assigned) = (vec![NodeId(0)], placed(&[ON_SECOND, ON_SECOND]));
    assert_eq!(world.pass(10 * HOUR_MS, &[(1, &[0.0, 40.0])]), 0);
    assert_eq!((world.shares(), world.reported.awaited()), (before.clone(), 1));
    // As many as were there have come, and a few of the others have left.
    assert_eq!(world.pass(HOUR_MS, &[(1, &[59.0, 33.0])]), 0);
    assert_eq!((world.reported.awaited(), world.reported.reporters()), (0, 1));
    // From now on it goes by what the other says alone.
    assert!(world.pass(HOUR_MS, &[(1, &[20.0, 60.0])]) > 0);
    assert!((0.24..0.3).contains(&world.shares()[0]), "{:?}", world.shares());
}

#[test]
fn shares_wait_for_a_day_and_no_longer() {
    let mut world = World::new(&[0.5, 0.5], &[ON_FIRST, ON_SECOND]);
    world.pass(HOUR_MS, &[(0, &[60.0, 0.0]), (1, &[0.0, 40.0])]);
    // It is up, and its feed is broken: of its clients only queries tell.
    assert_eq!(world.pass(24 * HOUR_MS, &[(1, &[0.0, 40.0])]), 0);
    assert_eq!(world.pass(ROUND_MS * 4, &[(1, &[0.0, 40.0])]), 1);
    check(&world.shares(), &[0.5, 0.5]);
    assert_eq!((world.reported.awaited(), world.reported.covered()), (0, Ppm(500_000)));
    // And when nobody is left, none is in force a day later.
    assert_eq!(world.pass(24 * HOUR_MS, &[]), 0);
    assert_eq!(world.pass(ROUND_MS * 4, &[]), 1);
    assert_eq!((world.shares(), world.reported.reporters()), (vec![], 0));
}

#[test]
fn a_small_one_that_vanishes_is_stood_in_for_until_its_clients_are_seen_elsewhere() {
    let all: &[(u16, f64)] = &[(0, 0.95), (1, 0.05)];
    let mut world = World::new(&[0.5, 0.5], &[ON_FIRST, all]);
    world.pass(HOUR_MS, &[(0, &[95.0, 0.0]), (1, &[0.0, 5.0])]);
    let before = world.shares();
    (world.down, world.assigned) = (vec![NodeId(1)], placed(&[ON_FIRST, ON_FIRST]));
    assert_eq!(world.pass(LINGER_MS / 2, &[(0, &[95.0, 0.0])]), 0, "nobody is held up for it");
    assert_eq!((world.shares(), world.reported.awaited()), (before.clone(), 0));
    let whole: f64 = world.reported.amount();
    assert!((whole - 100.0).abs() < 0.1, "{whole}");
    assert_eq!(world.pass(LINGER_MS, &[(0, &[95.0, 5.0])]), 0);
    let whole: f64 = world.reported.amount();
    assert!((whole - 100.0).abs() < 0.1, "counted once: {whole}");
    assert_eq!((world.shares(), world.reported.reporters()), (before, 1));
}

#[test]
fn stationary_noise_moves_nobody_and_what_changed_is_taken_up() {
    let counted = vec![1.0 / 20.0; 20];
    let mut world = World::new(&counted, &[ON_BOTH; 20]);
    let mut rng = SeededRng::new(7);
    let mut noisy = |mean: f64| mean * (0.5 + rng.below(1_000) as f64 / 1_000.0);
    let means: Vec<f64> = (0..20).map(|group| f64::from(group % 5 + 1)).collect();
    let mut drawn = 0;
    for _ in 0..5_000 {
        let said: [Vec<f64>; 2] = [0, 1].map(|_| means.iter().map(|mean| noisy(*mean)).collect());
        drawn += world.pass(ROUND_MS, &[(0, &said[0]), (1, &said[1])]);
    }
    assert!((1..4).contains(&drawn), "only while the first noise is smoothed away: {drawn}");
    let mut others = means.clone();
    others[0] = 60.0;
    assert!(world.pass(HOUR_MS, &[(0, &others), (1, &others)]) > 0);
    assert!(world.shares()[0] > 0.45, "{:?}", world.shares());
}

#[test]
fn nodes_that_say_nothing_of_anybody_change_nothing() {
    let mut world = World::new(&[0.5, 0.5], &[ON_FIRST, ON_FIRST]);
    assert_eq!(world.pass(HOUR_MS, &[(0, &[])]), 0);
    assert!(world.shares().is_empty());
    world.pass(ROUND_MS, &[(0, &[1.0, 0.0])]);
    let before = world.shares();
    assert_eq!(world.pass(23 * HOUR_MS, &[(0, &[])]), 0);
    assert_eq!(world.shares(), before);
    assert_eq!(world.pass(2 * HOUR_MS, &[(0, &[])]), 1);
    assert!(world.shares().is_empty(), "a day later queries know better");
    assert_eq!((world.pass(48 * HOUR_MS, &[(0, &[])]), world.reported.held_ms()), (0, None));
    assert_eq!(world.pass(ROUND_MS, &[(0, &[1.0, 0.0])]), 1);
}

/// It is down, and whoever is asked there goes on saying what was so.
#[test]
fn the_dead_are_waited_for_no_longer_though_they_speak() {
    let mut world = World::new(&[0.5, 0.5], &[ON_FIRST, ON_SECOND]);
    let both: &[(u16, &[f64])] = &[(0, &[60.0, 0.0]), (1, &[0.0, 40.0])];
    world.pass(HOUR_MS, both);
    world.down = vec![NodeId(0)];
    assert_eq!(world.pass(24 * HOUR_MS, both), 0);
    assert_eq!(world.pass(HOUR_MS, both), 1);
    check(&world.shares(), &[0.5, 0.5]);
    assert_eq!((world.reported.reporters(), world.reported.held_ms()), (1, None));
}

/// What is reported comes and goes as caches and sessions end, minutes after the table.
#[test]
fn a_group_that_comes_from_a_node_without_reports_or_leaves_for_one_is_counted_once() {
    let away: &[(u16, f64)] = &[(9, 1.0)];
    let mut world = World::new(&[0.5, 0.5], &[ON_FIRST, away]);
    world.pass(HOUR_MS, &[(0, &[50.0, 0.0])]);
    check(&world.shares(), &[0.5, 0.5]);
    let mut follow = |assigned: ServiceAssignment, part: &dyn Fn(f64) -> f64| {
        world.assigned = assigned;
        for step in 0..720 {
            let part = part((f64::from(step) / 24.0).min(1.0));
            world.pass(ROUND_MS, &[(0, &[50.0, 50.0 * part])]);
            let shares = world.shares();
            assert!((0.4..0.6).contains(&shares[1]), "round {step}: {shares:?}");
        }
    };
    follow(placed(&[ON_FIRST, ON_FIRST]), &|come| come);
    follow(placed(&[ON_FIRST, away]), &|gone| 1.0 - gone);
}

#[test]
fn nobody_is_believed_to_carry_many_times_what_it_can() {
    use crate::demand::gathered::believed;
    assert_eq!(believed(Some(900), Some(1_000)), Some(900));
    assert_eq!(believed(Some(4_000_000_000), Some(1_000)), Some(2_000));
    assert_eq!(
        (believed(None, Some(1_000)), believed(Some(7), None), believed(None, None)),
        (Some(2_000), Some(7), None)
    );
}

#[test]
fn whom_reporters_do_not_carry_goes_by_queries() {
    let mut world = World::new(&[0.9, 0.1], &[ON_SECOND, ON_SECOND]);
    assert_eq!(world.pass(HOUR_MS, &[(0, &[1.0, 99.0])]), 0);
    assert!(world.shares().is_empty() && world.reported.covered() == Ppm::ZERO);
}

#[test]
fn a_node_claims_no_more_than_it_carries_and_a_wide_network_is_in_many_groups() {
    let read = |rows: &[(&str, f64)], amount: Option<u64>| {
        let said = Reading::of(&load(rows, None), amount, (0, 1), &|_| Some(0), &locate);
        let servers = Servers { names: vec!["s".to_owned()], nodes: vec![vec![NodeId(0)]], parts: vec![] };
        let mut readings = BTreeMap::from([(NodeId(0), said)]);
        sums(&mut readings, &servers, 3, |_| false, 0).services[0].fresh.clone()
    };
    check(&read(&[("10.1.0.0/16", 30.0), ("10.2.3.0/24", 10.0)], None), &[0.0, 30.0, 10.0]);
    check(&read(&[("10.1.0.0/16", 30.0), ("10.2.3.0/24", 10.0)], Some(20)), &[0.0, 15.375, 5.125]);
    check(&read(&[("10.1.0.0/16", 3.0)], Some(20)), &[0.0, 3.0, 0.0]);
    check(&read(&[("11.0.0.0/8", 10.0)], None), &[5.0, 5.0, 0.0]);
    check(&read(&[("11.128.0.0/9", 10.0)], None), &[0.0, 10.0, 0.0]);
    // Sixteen parts of 10.0.0.0/12, the last of which are in groups that are not there.
    check(&read(&[("10.0.0.0/12", 16.0)], None), &[1.0, 1.0, 1.0]);
    check(&read(&[("10.1.0.0/30", 4.0), ("0.0.0.0/0", 16.0)], None), &[16.0, 4.0, 0.0]);
}

#[test]
fn what_is_said_of_several_services_is_divided_as_they_are() {
    let names = ["live".to_owned(), "rtc".to_owned()];
    let all = [NodeId(0), NodeId(1)];
    let servers = Servers {
        names: names.to_vec(),
        nodes: vec![all.to_vec(), all[..1].to_vec()],
        parts: vec![3.0, 1.0],
    };
    let find = |name: &str| names.iter().position(|known| known == name);
    let read = |said: &ClientLoad| Reading::of(said, None, (0, 1), &find, &locate);
    let summed = |first: &ClientLoad, second: &ClientLoad| {
        let mut readings = BTreeMap::from([(NodeId(0), read(first)), (NodeId(1), read(second))]);
        sums(&mut readings, &servers, 2, |_| false, 0).services
    };
    let of_all = summed(&by_group(&[8.0, 0.0]), &by_group(&[0.0, 8.0]));
    check(&of_all[0].fresh, &[6.0, 8.0]);
    check(&of_all[1].fresh, &[2.0, 0.0]);
    assert!(of_all.iter().all(|sum| sum.is_shared));
    assert_eq!((of_all[0].nodes.len(), of_all[1].nodes.len()), (2, 1), "the second does not serve both");
    let named = summed(&load(&[("10.1.0.0/16", 8.0)], Some("rtc")), &load(&[], Some("none")));
    check(&named[1].fresh, &[0.0, 8.0]);
    assert!(!named[1].is_shared && named[0].nodes.is_empty());
    assert_eq!(read(&load(&[], Some("none"))).unknown.as_deref(), Some("none"));
    let beside_an_idle_one = summed(&load(&[("10.1.0.0/16", 8.0)], Some("rtc")), &load(&[], None));
    assert!(beside_an_idle_one.iter().all(|sum| !sum.is_shared), "nobody is shared");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is said, by whomever and with whatever gaps.
    #[test]
    fn shares_sum_to_the_whole_and_none_is_less_than_what_stays_as_counted(
        weights in proptest::collection::vec(1_u32..10_000, 2..20),
        parts in proptest::collection::vec(0_u32..=100, 20),
        said in proptest::collection::vec(
            (0_u16..4, proptest::collection::vec(0.0..1e9_f64, 0..20), 0_u64..100_000),
            1..60,
        ),
    ) {
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let counted: Vec<f64> = weights.iter().map(|&weight| f64::from(weight) / total).collect();
        let own = |&part: &u32| vec![(0, f64::from(part) / 100.0), (9, 1.0 - f64::from(part) / 100.0)];
        let owned: Vec<_> = parts[..counted.len()].iter().map(own).collect();
        let groups: Vec<&[(u16, f64)]> = owned.iter().map(Vec::as_slice).collect();
        let mut world = World::new(&counted, &groups);
        for (node, loads, pause_ms) in said {
            world.now_ms += pause_ms;
            world.say(node, &loads);
            world.hear();
            let shares = world.shares();
            if !shares.is_empty() {
                prop_assert_eq!(world.reported.settled.iter().map(|&it| u64::from(it)).sum::<u64>(), u64::from(WHOLE));
                let least = counted.iter().map(|counted| KEPT * counted);
                prop_assert!(shares.iter().zip(least).all(|(share, least)| *share >= least - 1e-8));
            }
        }
    }
}
