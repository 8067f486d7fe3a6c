//! What the map makes of votes, vantages, time, restarts and nonsense.

use super::*;
use crate::model::fleet::Site;
use crate::model::ids::RegionId;
use crate::model::latency::{KeptCell, KeptLatencies};
use std::net::{IpAddr, Ipv4Addr};

const MINUTE: u64 = 60_000_000;

fn group(key: &str, line: Option<LineId>, areas: &[AreaId]) -> ClientGroup {
    ClientGroup {
        key: key.into(),
        country: None,
        line,
        location: None,
        areas: areas.to_vec(),
        v4_slash24: 1,
        v6_slash48: 0,
    }
}

fn fleet(sites: &[&str]) -> Fleet {
    let site = |name: &&str| Site { name: (*name).into(), title: None, region: RegionId(0), location: None };
    Fleet { sites: sites.iter().map(site).collect(), ..Fleet::default() }
}

fn groups() -> Vec<ClientGroup> {
    vec![
        group("unknown", None, &[]),
        group("a", Some(LineId(0)), &[AreaId(0)]),
        group("b", Some(LineId(1)), &[]),
    ]
}

fn map() -> LatencyMap {
    LatencyMap::new(MeasureRules::default(), 7, &groups(), &fleet(&["x", "y"]))
}

fn prior() -> Latencies {
    Latencies::prior(2, vec![Micros::from_millis(100); 6])
}

fn network(number: u32) -> Prefix {
    Prefix::of(IpAddr::V4(Ipv4Addr::from_bits(0xc000_0000 | number << 8)), 24)
}

fn sample(ms: u32) -> Sample {
    Sample { rtt: Micros::from_millis(ms), jitter: None, loss: None }
}

fn at(minutes: u64) -> MonoTime {
    MonoTime(minutes * MINUTE)
}

fn feed(map: &mut LatencyMap, who: Feed, clients: std::ops::Range<u32>, ms: u32, now: MonoTime) {
    for client in clients {
        map.report((GroupId(1), SiteId(0)), network(client), who, sample(ms), now).expect("a sane report");
    }
}

fn planned(map: &LatencyMap) -> u32 {
    map.over(&prior()).rtt[2].0
}

#[test]
fn votes_lean_and_many_decide() {
    for (clients, expected) in [(5, 92_000), (20, 80_000), (60, 70_000)] {
        let mut map = map();
        feed(&mut map, Feed::Connection, 0..clients, 60, at(0));
        assert!(matches!(map.draw(&prior(), at(1)), Drawing::Drawn(_)));
        assert_eq!(planned(&map), expected, "{clients} clients");
        assert_eq!(map.over(&prior()).rtt[3], Micros::from_millis(100), "the other site is not touched");
    }
}

#[test]
fn fewer_networks_than_k_are_neither_used_nor_shown() {
    let mut map = map();
    feed(&mut map, Feed::Connection, 0..4, 10, at(0));
    for _ in 0..100 {
        feed(&mut map, Feed::Connection, 0..4, 10, at(0));
    }
    assert_eq!(map.draw(&prior(), at(0)), Drawing::Unchanged);
    assert_eq!(map.over(&prior()), prior());
    feed(&mut map, Feed::Connection, 4..5, 10, at(0));
    assert!(matches!(map.draw(&prior(), at(0)), Drawing::Drawn(_)));
}

#[test]
fn one_key_alone_pulls_by_less_than_anybody_is_moved_for() {
    for (lie, expected) in [(1, 93_000), (9_000, 107_000)] {
        let mut map = map();
        feed(&mut map, Feed::Key(3), 0..64, lie, at(0));
        map.draw(&prior(), at(0));
        assert_eq!(planned(&map), expected);
    }
    // Two paths, one drawn nearer and one farther, differ by less than the planner's 15 %.
    assert!(2 * leash(Micros(100_000)) < 15_000);
    assert!(2 * leash(Micros(1_000)) < 10_000);
}

#[test]
fn a_vantage_speaks_for_its_clients_only() {
    let mut map = map();
    let rtts = vec![Some(Micros::from_millis(40)), None];
    map.set_vantages(vec![VantageView { stands_for: Stand::Line(LineId(0)), rtts }]);
    let Drawing::Drawn(drawn) = map.draw(&prior(), at(0)) else { panic!("something was measured") };
    let ms: Vec<u32> = drawn.rtt.iter().map(|rtt| rtt.0 / 1_000).collect();
    assert_eq!(ms, [100, 100, 80, 100, 100, 100]);
    let rtts = vec![None, Some(Micros::from_millis(40))];
    map.set_vantages(vec![VantageView { stands_for: Stand::Area(AreaId(0)), rtts }]);
    assert!(matches!(map.draw(&prior(), at(0)), Drawing::Drawn(_)));
    assert_eq!(map.coverage(), 1);
}

#[test]
fn noise_redraws_nothing() {
    let mut map = map();
    feed(&mut map, Feed::Connection, 0..60, 60, at(0));
    map.draw(&prior(), at(0));
    for ms in [58, 61, 63, 57] {
        feed(&mut map, Feed::Connection, 0..60, ms, at(1));
        assert_eq!(map.draw(&prior(), at(1)), Drawing::Unchanged, "{ms} ms");
    }
    for _ in 0..20 {
        feed(&mut map, Feed::Connection, 0..60, 120, at(2));
    }
    assert!(matches!(map.draw(&prior(), at(2)), Drawing::Drawn(_)));
}

#[test]
fn votes_age_but_a_map_of_less_is_held_back_for_a_day() {
    let mut map = map();
    feed(&mut map, Feed::Connection, 0..60, 60, at(0));
    map.draw(&prior(), at(0));
    assert_eq!(map.draw(&prior(), at(61)), Drawing::Thin { now: 0, before: 1 });
    assert_eq!(planned(&map), 70_000);
    assert_eq!(map.draw(&prior(), at(61 + 24 * 60 - 1)), Drawing::Thin { now: 0, before: 1 });
    assert!(matches!(map.draw(&prior(), at(61 + 24 * 60)), Drawing::Drawn(_)));
    assert_eq!(planned(&map), 100_000);
}

#[test]
fn a_map_that_covers_again_starts_the_wait_anew() {
    let mut map = map();
    feed(&mut map, Feed::Connection, 0..60, 60, at(0));
    map.draw(&prior(), at(0));
    assert!(matches!(map.draw(&prior(), at(61)), Drawing::Thin { .. }));
    feed(&mut map, Feed::Connection, 0..60, 60, at(62));
    assert_eq!(map.draw(&prior(), at(62)), Drawing::Unchanged);
    assert!(matches!(map.draw(&prior(), at(24 * 60 + 62)), Drawing::Thin { .. }));
}

#[test]
fn what_no_path_can_have_is_refused() {
    let mut map = map();
    let place = (GroupId(1), SiteId(0));
    let bad = [
        (place, Sample { rtt: Micros(99), ..sample(1) }, Rejected::Rtt),
        (place, sample(10_001), Rejected::Rtt),
        (place, Sample { jitter: Some(Micros(10_000_001)), ..sample(1) }, Rejected::Jitter),
        (place, Sample { loss: Some(Ppm(1_000_001)), ..sample(1) }, Rejected::Loss),
        ((GroupId(3), SiteId(0)), sample(1), Rejected::Place),
        ((GroupId(0), SiteId(2)), sample(1), Rejected::Place),
    ];
    for (place, sample, why) in bad {
        assert_eq!(map.report(place, network(1), Feed::Connection, sample, at(0)), Err(why));
    }
    assert_eq!(map.draw(&prior(), at(0)), Drawing::Unchanged);
}

/// Of group 1 to site 0.
fn lossy(map: &mut LatencyMap, clients: std::ops::Range<u32>, loss: u32, now: MonoTime) {
    let sample = Sample { loss: Some(Ppm(loss)), ..sample(60) };
    for client in clients {
        let path = (GroupId(1), SiteId(0));
        map.report(path, network(client), Feed::Connection, sample, now).expect("a sane report");
    }
}

fn drawn_loss(map: &LatencyMap) -> Option<Measured> {
    let drawn = map.over(&prior());
    assert_eq!((drawn.quality(0), drawn.quality(2)), (&[][..], &[][..]), "nobody else is measured");
    drawn.quality(1).first().map(|path| path.quality.loss)
}

#[test]
fn loss_of_clients_is_drawn_settled_and_forgotten() {
    let mut map = map();
    lossy(&mut map, 0..4, 20_000, at(0));
    map.draw(&prior(), at(0));
    assert_eq!(drawn_loss(&map), None, "fewer networks than k");
    lossy(&mut map, 4..8, 20_000, at(0));
    assert!(matches!(map.draw(&prior(), at(0)), Drawing::Drawn(_)));
    assert_eq!(drawn_loss(&map), Some(Measured { value: 20_000, votes: 8 }));
    // Smoothed by a quarter: 2 % becomes 2.25 %, which is no news; 4 % is.
    lossy(&mut map, 0..8, 30_000, at(1));
    assert_eq!(map.draw(&prior(), at(1)), Drawing::Unchanged);
    (0..20).for_each(|_| lossy(&mut map, 0..8, 40_000, at(1)));
    assert!(matches!(map.draw(&prior(), at(1)), Drawing::Drawn(_)));
    assert!(drawn_loss(&map).is_some_and(|loss| loss.value > 39_000));
    // Round trips go on, losses are stated no more.
    feed(&mut map, Feed::Connection, 20..70, 60, at(50));
    map.draw(&prior(), at(62));
    assert_eq!((drawn_loss(&map), map.coverage()), (None, 1));
}

#[test]
fn loss_of_clients_survives_a_restart_and_a_reload() {
    let mut before = map();
    lossy(&mut before, 0..8, 20_000, at(0));
    before.draw(&prior(), at(0));
    let text = serde_json::to_string(&before.keep(at(1), WallTime(0))).expect("plain data");
    let kept: KeptLatencies = serde_json::from_str(&text).expect("what was written");
    let after = map().restored(&kept, at(0), WallTime(0));
    assert_eq!(after.over(&prior()), before.over(&prior()));
    // As an older version wrote it.
    let older = text.split(r#","quality""#).next().expect("the last field").to_owned() + "}";
    let kept: KeptLatencies = serde_json::from_str(&older).expect("what an older version wrote");
    let after = map().restored(&kept, at(0), WallTime(0));
    assert_eq!((planned(&after), drawn_loss(&after)), (planned(&before), None));
    let after = before.reloaded(MeasureRules::default(), &groups(), &fleet(&["y", "x"]), at(1));
    assert_eq!(after.over(&prior()).quality(1).first().map(|path| path.site), Some(1));
}

#[test]
fn a_restart_keeps_the_map_and_its_age() {
    let mut before = map();
    feed(&mut before, Feed::Connection, 0..60, 60, at(50));
    before.draw(&prior(), at(50));
    let text = serde_json::to_string(&before.keep(at(70), WallTime(1_000_000))).expect("plain data");
    let kept: KeptLatencies = serde_json::from_str(&text).expect("what was written");
    // Another process, whose clock begins at zero, half an hour later.
    let mut after = map().restored(&kept, at(0), WallTime(1_000_000 + 30 * 60_000));
    assert_eq!((planned(&after), after.coverage()), (70_000, 1));
    assert_eq!(after.draw(&prior(), at(9)), Drawing::Unchanged);
    assert!(matches!(after.draw(&prior(), at(11)), Drawing::Thin { .. }), "an hour old by now");
}

#[test]
fn a_reload_carries_over_by_name() {
    let mut before = map();
    feed(&mut before, Feed::Connection, 0..60, 60, at(0));
    before.draw(&prior(), at(0));
    let groups = [group("b", None, &[]), group("a", None, &[])];
    let after = before.reloaded(MeasureRules::default(), &groups, &fleet(&["z", "y", "x"]), at(1));
    let prior = Latencies::prior(3, vec![Micros::from_millis(100); 6]);
    let drawn = after.over(&prior);
    let ms: Vec<u32> = drawn.rtt.iter().map(|rtt| rtt.0 / 1_000).collect();
    assert_eq!(ms, [100, 100, 100, 100, 100, 70]);
    assert_eq!(drawn.votes(1), [0, 0, 60]);
    assert_eq!(Latencies::confidence(60), Ppm(750_000));
}

#[test]
fn damaged_leftovers_do_no_harm() {
    let vote = |rtt, age| (1, None, rtt, None, None, age);
    let cell = |group: &str, votes| KeptCell { group: group.into(), site: "x".into(), votes };
    let kept = KeptLatencies {
        salt: 1,
        at: WallTime(5),
        cells: vec![
            cell("a", vec![vote(0, 0), vote(u32::MAX, 0), vote(50_000, u64::MAX), vote(50_000, 3)]),
            cell("nowhere", vec![vote(50_000, 0)]),
        ],
        settled: vec![("a".into(), "x".into(), u32::MAX, 1), ("a".into(), "nowhere".into(), 5, 1)],
        quality: vec![
            ("a".into(), "x".into(), (10_000_001, 9), (0, 0)),
            ("a".into(), "x".into(), (0, 0), (1_000_001, 9)),
            ("a".into(), "nowhere".into(), (1, 9), (0, 0)),
        ],
    };
    let map = map().restored(&kept, at(0), WallTime(u64::MAX));
    assert_eq!((map.coverage(), map.cells.len(), map.quality.len()), (0, 0, 0));
    let map = super::tests::map().restored(&kept, at(0), WallTime(0));
    assert_eq!((map.coverage(), map.cells[&(1, 0)].sources()), (0, 1));
}
