//! What the tests of this module share.

use crate::base::units::{Micros, Ppm};
use crate::model::clients::ClientGroup;
use crate::model::drill::{Drill, Fault, Guardrails};
use crate::model::fleet::{Node, Region, Site};
use crate::model::ids::{NodeId, PoolId, RegionId, SiteId};
use crate::model::overrides::Action;
use crate::model::policy::Policy;
use crate::model::profile::Profile;
use crate::model::service::{ChainRule, Method, OnAllDown, Pool, PoolMember, RecoveryTier, Service};
use std::net::Ipv4Addr;
use std::time::Duration;

pub fn drill(targets: &[&str]) -> Drill {
    Drill {
        name: "lose-n1".to_owned(),
        title: None,
        targets: targets.iter().map(|target| target.parse().expect("a target")).collect(),
        fault: Fault::Withdraw(Action::ForceDown),
        ramp: Duration::ZERO,
        hold: Duration::from_secs(60),
        watch: Duration::from_secs(10),
        clients: 100,
        guardrails: Guardrails::default(),
        blackout: Vec::new(),
        tier: tier(),
        schedule: None,
        runbook: None,
    }
}

fn tier() -> RecoveryTier {
    RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) }
}

/// n1 and n2 in the pool of the only chain, n3 in another; n1 is in region a, the others in b.
pub fn policy() -> Policy {
    let mut policy = Policy::default();
    for (at, name) in ["a", "b"].into_iter().enumerate() {
        let name = name.to_owned();
        policy.fleet.regions.push(Region { name: name.clone(), title: None });
        policy.fleet.sites.push(Site { name, title: None, region: RegionId::from_index(at), location: None });
    }
    for (at, site) in [(1, 0), (2, 1), (3, 1)] {
        let mut node = Node::named(format!("n{at}"), SiteId(site));
        node.v4 = vec![Ipv4Addr::new(127, 1, 1, at)];
        policy.fleet.nodes.push(node);
    }
    let pool = |name: &str, nodes: &[u16]| Pool {
        name: name.to_owned(),
        members: nodes.iter().map(|&node| PoolMember { node: NodeId(node), weight: 100 }).collect(),
        min_alive: Ppm::from_percent(50),
        method: Method::Latency,
    };
    policy.services.push(Service {
        name: "live".to_owned(),
        title: None,
        hostnames: vec!["live.test".to_owned()],
        hostname_spans: Vec::new(),
        profile: Profile::CDN,
        tier: tier(),
        pools: vec![pool("all", &[0, 1]), pool("waiting", &[2])],
        chains: vec![ChainRule::everybody(vec![PoolId(0)])],
        answers: 1,
        ttl: 10,
        on_all_down: OnAllDown::All,
        shed: None,
        line_penalty: Micros(0),
        transfer_default: Vec::new(),
        records: Vec::new(),
        demand: None,
        care: crate::model::service::Care::default(),
        audience: Vec::new(),
        source: "services/live.yaml".to_owned(),
    });
    policy
}

pub fn group() -> ClientGroup {
    ClientGroup {
        key: "g".to_owned(),
        country: None,
        line: None,
        location: None,
        areas: Vec::new(),
        v4_slash24: 1,
        v6_slash48: 0,
    }
}
