//! Measured latencies on their way from a report to the next plan, and over reloads and restarts.

use super::*;
use crate::base::prefix::Prefix;
use crate::base::units::Ppm;
use crate::daemon::inputs::Loader;
use crate::latency::{Feed, Sample};
use crate::model::ids::{NodeId, SiteId};
use std::net::{IpAddr, Ipv4Addr};

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1] }
  fra-1: { site: fra, addresses: [127.2.1.1] }
";

fn inputs() -> Inputs {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("fleet.yaml"), FLEET).expect("writes");
    let loaded = Loader::new(folder.path()).load();
    loaded.inputs.unwrap_or_else(|| panic!("{:?}", loaded.refusals))
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(seconds * 1_000_000)
}

/// Of a Japanese network to Frankfurt.
fn report(client: u8, ms: u32) -> PathReport {
    PathReport {
        network: Prefix::of(IpAddr::V4(Ipv4Addr::new(133, 11, client, 0)), 24),
        node: NodeId::from_index(1),
        feed: Feed::Connection,
        sample: Sample { rtt: Micros::from_millis(ms), jitter: None, loss: Some(Ppm::ZERO) },
    }
}

fn to_frankfurt(inputs: &Inputs, latencies: &crate::model::placement::Latencies) -> u32 {
    let group = inputs.geo.locate(report(0, 1).network.address()).group;
    let site = SiteId::from_index(inputs.policy.fleet.nodes[1].site.index());
    latencies.row(group.index())[site.index()].0 / 1_000
}

#[test]
fn reports_reach_the_planner_survive_a_reload_and_a_restart() {
    let mut inputs = inputs();
    let mut paths = Paths::restore(None, &mut inputs, at(0), WallTime(0));
    let guess = to_frankfurt(&inputs, &inputs.prior);
    assert_eq!(to_frankfurt(&inputs, &inputs.latencies), guess);
    for client in 0..60 {
        paths.report(&report(client, 20), &inputs, at(1)).expect("a sane report");
    }
    assert!(!paths.is_due(at(9)), "not every tick");
    assert!(paths.is_due(at(10)));
    assert!(paths.draw(&mut inputs, &[], at(10)).problems(WallTime(0)).is_empty());
    assert!(!paths.is_due(at(11)), "drawn");
    let measured = to_frankfurt(&inputs, &inputs.latencies);
    assert_eq!(measured, (60 * 20 + 20 * guess) / 80);

    let mut edited = self::inputs();
    let carried = paths.carried_to(&mut edited, at(11));
    assert_eq!(to_frankfurt(&edited, &edited.latencies), measured);

    assert!(paths.to_keep(at(299), WallTime(0), false).is_none(), "not yet");
    let kept = paths.to_keep(at(300), WallTime(1_000), false).expect("it is time");
    assert!(paths.to_keep(at(900), WallTime(2_000), false).is_none(), "nothing is new");
    let mut fresh = self::inputs();
    Paths::restore(Some(&kept), &mut fresh, at(0), WallTime(60_000));
    assert_eq!(to_frankfurt(&fresh, &fresh.latencies), measured);
    drop(carried);
}

#[test]
fn a_map_that_shrinks_is_told() {
    let mut inputs = inputs();
    let mut paths = Paths::restore(None, &mut inputs, at(0), WallTime(0));
    for client in 0..60 {
        paths.report(&report(client, 20), &inputs, at(1)).expect("a sane report");
    }
    let problems = |paths: &mut Paths, inputs: &mut Inputs, now| {
        paths.draw(inputs, &[], now).problems(WallTime(0)).len()
    };
    assert_eq!(problems(&mut paths, &mut inputs, at(10)), 0);
    let measured = to_frankfurt(&inputs, &inputs.latencies);
    assert_eq!(problems(&mut paths, &mut inputs, at(4_000)), 1);
    assert_eq!(to_frankfurt(&inputs, &inputs.latencies), measured, "the older map stays");
}

#[test]
fn only_a_vantage_that_stands_for_clients_measures_for_them() {
    use crate::model::verdict::FamilyHealth;
    let mut inputs = inputs();
    let mut paths = Paths::restore(None, &mut inputs, at(0), WallTime(0));
    let seen = FamilyHealth {
        verdict: crate::model::verdict::Verdict::Up,
        rtt: Some(Micros::from_millis(7)),
        ..FamilyHealth::default()
    };
    let health = vec![NodeHealth { families: [Some(seen), None], ..NodeHealth::default() }; 2];
    let guess = to_frankfurt(&inputs, &inputs.prior);
    paths.draw(&mut inputs, &health, at(10));
    assert_eq!(to_frankfurt(&inputs, &inputs.latencies), guess);
    let mut policy = Policy::clone(&inputs.policy);
    policy.clients.areas = vec![crate::model::clients::Area { name: "japan".into(), ..Default::default() }];
    policy.fleet.judgement.vantages[0].stands_for = Some(Scope::Area("japan".into()));
    let told = views(&policy, &health);
    let stands_for = Stand::Area(AreaId::from_index(0));
    assert_eq!(told, [VantageView { stands_for, rtts: vec![Some(Micros::from_millis(7)); 2] }]);
}
