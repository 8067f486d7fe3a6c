//! More that may be in a tiny world: two regions with circuits, lines and areas with verdicts of their own,
//! operators' words, error rates, newcomers that are shed, demand that was counted, clients that are held.
//!
//! What each byte says is in the order of the code; a world of zeros has none of it.

use super::{Bytes, World, verdict};
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::model::canary::Hold;
use crate::model::clients::{Area, Line};
use crate::model::degradation::{Bounds, RegionCircuit, Shed, ShedTo};
use crate::model::demand::{Shares, WHOLE};
use crate::model::fleet::Region;
use crate::model::ids::{LineId, PoolId, RegionId};
use crate::model::overrides::{Action, Forced, OverrideId};
use crate::model::service::{Pool, PoolMember, Service};
use crate::model::verdict::{NodeHealth, Scope, ScopedHealth};
use std::sync::Arc;
use std::time::Duration;

const AREA: &str = "area";
const LINES: [&str; 2] = ["one", "two"];

/// Adds to a world as [`super::draw`] made it.
pub(super) fn enrich(world: &mut World, bytes: &mut Bytes<'_>) {
    let World { policy, groups, .. } = world;
    policy.fleet.regions = ["near", "far"].map(|name| Region { name: name.to_owned(), title: None }).to_vec();
    policy.fleet.sites[1].region = RegionId(1);
    policy.fleet.sites[2].region = RegionId(1);
    policy.clients.areas = vec![Area { name: AREA.to_owned(), ..Area::default() }];
    policy.clients.lines =
        LINES.map(|name| Line { name: name.to_owned(), title: None, asns: Vec::new() }).to_vec();
    let line = |bytes: &mut Bytes<'_>| [None, Some(LineId(0)), Some(LineId(1))][bytes.below(3) as usize];
    policy.fleet.nodes.iter_mut().for_each(|node| node.line = line(bytes));
    groups.iter_mut().for_each(|group| group.line = line(bytes));
    for region in 0..2 {
        if bytes.below(2) > 0 {
            policy.fleet.circuits.push((RegionId(region), circuit(bytes)));
        }
    }
    let nodes = policy.fleet.nodes.len();
    policy.services.iter_mut().for_each(|service| shed(service, nodes, bytes));
    world.demand = (bytes.below(2) > 0).then(|| counted(world, bytes));
    world.hold = (bytes.below(8) == 7)
        .then(|| Hold { share: Ppm(bytes.amount() as u32 % 1_000_000), seed: bytes.next() });
    for at in 0..nodes {
        say_more(&mut world.health[at], bytes);
    }
}

fn circuit(bytes: &mut Bytes<'_>) -> RegionCircuit {
    RegionCircuit {
        errors: Some(Bounds::from_enter(Ppm(100_000 * (1 + bytes.below(8) as u32)))),
        loss: None,
        open_for: Duration::from_secs(bytes.below(60)),
        trial: Ppm(100_000 * (1 + bytes.below(8) as u32)),
        trial_for: Duration::from_secs(bytes.below(60)),
    }
}

fn shed(service: &mut Service, nodes: usize, bytes: &mut Bytes<'_>) {
    let to = match bytes.below(6) {
        0..=2 => return,
        3 => ShedTo::NoData,
        4 => ShedTo::Cname("wait.rhumb.test".to_owned()),
        _ => {
            // A pool that no chain has.
            let member = |node| PoolMember { node: crate::model::ids::NodeId::from_index(node), weight: 100 };
            let members = (0..nodes).filter(|_| bytes.below(2) > 0).map(member).collect();
            service.pools.push(Pool { members, ..super::world::pool("hall", &[]) });
            ShedTo::Pool(PoolId::from_index(service.pools.len() - 1))
        }
    };
    let enter = Ppm(50_000 * (1 + bytes.below(24) as u32));
    let exit = Shed::exit_of(enter);
    let (dwell, remember) = (Duration::from_secs(bytes.below(60)), Shed::REMEMBER);
    service.shed = Some(Shed { to, enter, exit, dwell, remember });
}

/// Shares of all, some or none of the services.
pub(super) fn counted(world: &World, bytes: &mut Bytes<'_>) -> Shares {
    let groups = world.groups.len();
    let of = |_: &Service| {
        let parts: Vec<u64> = (0..groups).map(|_| bytes.next()).collect();
        let all: u64 = parts.iter().sum();
        let mut shares: Vec<u32> =
            parts.iter().map(|part| (part * u64::from(WHOLE)).checked_div(all).unwrap_or(0) as u32).collect();
        shares[0] += WHOLE - shares.iter().sum::<u32>();
        (!all.is_multiple_of(3)).then(|| Arc::from(shares))
    };
    Shares { groups: world.policy.services.iter().map(of).collect(), services: Arc::default() }
}

/// What is seen of a node besides its verdict and load, and what an operator says of it.
pub(super) fn say_more(health: &mut NodeHealth, bytes: &mut Bytes<'_>) {
    if let Some(load) = &mut health.load {
        load.error_rate = (bytes.below(2) > 0).then(|| Ppm(50_000 * bytes.below(21) as u32));
    }
    if let Some(family) = &mut health.families[0] {
        let scopes = [
            Scope::Area(AREA.to_owned()),
            Scope::Line(LINES[0].to_owned()),
            Scope::Line(LINES[1].to_owned()),
        ];
        let heard = scopes.into_iter().filter(|_| bytes.below(4) == 3).collect::<Vec<_>>();
        let scoped = |scope| ScopedHealth {
            scope,
            verdict: verdict(bytes),
            since: WallTime(0),
            reason: String::new(),
        };
        family.scoped = heard.into_iter().map(scoped).collect();
        family.is_failing = bytes.below(8) == 7;
    }
    let action = match bytes.below(16) {
        13 => Action::Drain,
        14 => Action::ForceDown,
        15 => Action::ForceUp,
        _ => return,
    };
    health.forced = Some(Forced {
        action,
        by: OverrideId(1),
        owner: "o".to_owned(),
        reason: "r".to_owned(),
        until: WallTime(0),
    });
}
