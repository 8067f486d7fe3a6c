//! The fleet of a scenario: its sites and nodes, their probes, feeds and vantages.

use super::script::{Script, VantageScript, is_meant};
use rhumb::base::units::Ppm;
use rhumb::model::fleet::{Capacity, FeedSource, Fleet, LoadFeed, Node, ProbeKind, ProbeSpec, Region, Site};
use rhumb::model::ids::{RegionId, SiteId};
use rhumb::model::judgement::{Combine, Judgement, StaleLoad, Vantage};
use rhumb::model::verdict::Scope;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub fn fleet_of(script: &Script) -> Fleet {
    let has_feeds =
        script.world.iter().any(|it| it.load.is_some() || it.errors.is_some() || it.feed.is_some());
    let mut fleet = Fleet { judgement: judgement_of(script), ..Fleet::default() };
    fleet.regions.push(Region { name: "r".to_owned(), title: None });
    for (site, &count) in &script.sites {
        let id = SiteId::from_index(fleet.sites.len());
        fleet.sites.push(Site { name: site.clone(), title: None, region: RegionId(0), location: None });
        for n in 1..=count {
            let name = format!("{site}-{n}");
            fleet.nodes.push(node_of(script, name, id, has_feeds));
        }
    }
    fleet
}

fn node_of(script: &Script, name: String, site: SiteId, has_feed: bool) -> Node {
    let has = |family: &str| script.families.iter().any(|name| name == family);
    let is_fast = script.fast.as_ref().is_some_and(|pattern| is_meant(pattern, &name));
    let quick = Duration::from_millis(200);
    let probe = ProbeSpec {
        name: None,
        kind: ProbeKind::Tcp,
        targets: [
            has("v4").then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 80))),
            has("v6").then(|| SocketAddr::from((Ipv6Addr::LOCALHOST, 80))),
        ],
        interval: if is_fast { quick } else { script.probe.interval.0 },
        timeout: if is_fast { quick } else { script.probe.timeout.0 },
        rise: script.probe.rise,
        fall: script.probe.fall,
        ok: script.probe.ok,
    };
    let feed = LoadFeed {
        source: FeedSource::Pulled {
            url: "http://127.0.0.1:1/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
        },
        max_age: Duration::from_secs(30),
        stale: match script.stale.as_deref() {
            Some("hold") => StaleLoad::Hold,
            Some("degraded") => StaleLoad::Degraded,
            _ => StaleLoad::Ignore,
        },
        clients: None,
        amount: None,
        ratios: BTreeMap::new(),
    };
    let (target, cap) = (Ppm::from_percent(75), Ppm::from_percent(90));
    Node {
        v4: if has("v4") { vec![Ipv4Addr::LOCALHOST] } else { Vec::new() },
        v6: if has("v6") { vec![Ipv6Addr::LOCALHOST] } else { Vec::new() },
        capacity: Some(Capacity { unit: "mbps".to_owned(), amount: 1_000, target, cap }),
        probes: vec![probe; usize::from(script.checks)],
        combine: match script.combine.as_deref() {
            None | Some("all") => Combine::All,
            Some("any") => Combine::Any,
            Some(count) => Combine::AtLeast(count.parse().expect("all, any or a number")),
        },
        load: has_feed.then_some(feed),
        ..Node::named(name, site)
    }
}

pub fn anchor_addresses(count: u8) -> Vec<SocketAddr> {
    (0..count).map(|n| SocketAddr::from(([127, 0, 0, 1], 9_000 + u16::from(n)))).collect()
}

fn judgement_of(script: &Script) -> Judgement {
    let vantage = |it: &VantageScript| Vantage {
        name: it.name.clone(),
        stands_for: it.line.clone().map(Scope::Line),
        anchors: anchor_addresses(it.anchors),
        ..Vantage::local()
    };
    match script.vantages.is_empty() {
        true => Judgement::default(),
        false => {
            Judgement { vantages: script.vantages.iter().map(vantage).collect(), ..Judgement::default() }
        }
    }
}
