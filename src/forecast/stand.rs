//! One table, told by name: who carries how much, how far clients are from it, how finely it divides them.
//!
//! Shares are the plan's, in parts of all clients and of all demand. *Clients* count alike whatever their service asks
//! for, as for the change budget; *load* is capacity units. A service without demand has clients and no load.

use super::Side;
use super::overlap::leaves;
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::geo::GeoTable;
use crate::model::account::Account;
use crate::model::demand::Split;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::PlacementMode;
use crate::model::policy::Policy;
use crate::routing::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stand {
    pub services: Vec<ServiceStand>,
    pub regions: Vec<Part>,
    /// Of nodes; those on no line of their own are `any`.
    pub lines: Vec<Part>,
    pub nodes: Vec<NodeStand>,
    /// Over all services.
    pub latency: Latency,
}

/// What some nodes have of all clients, and of all demand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub clients: Ppm,
    pub load: Ppm,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceStand {
    pub service: String,
    /// Capacity units; 0 where it is neither stated nor reported.
    pub demand: u64,
    /// Of it, above the caps of nodes or of clients whom no node serves.
    pub unserved: u64,
    /// Client groups that no node may serve.
    pub stranded: u32,
    pub latency: Latency,
    pub scopes: Scopes,
    /// Seconds.
    pub ttl: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStand {
    pub node: String,
    pub site: String,
    pub region: String,
    pub clients: Ppm,
    pub load: Ppm,
    /// Planned and other load, as a part of the capacity; `None` without one.
    pub utilisation: Option<Ppm>,
    /// Never planned past while another has room.
    pub cap: Option<Ppm>,
}

/// Estimated round trips from clients to the sites they are sent to, weighted by demand; by clients where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub mean_ms: f64,
    pub p95_ms: f64,
}

/// Answers that a resolver which asks for everybody would have to keep apart (RFC 7871 7.3.1): prefixes of the
/// networks that geo data know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes {
    pub v4: u64,
    pub v6: u64,
}

impl Stand {
    pub fn of(side: &Side<'_>) -> Self {
        let sums = Sums::of(side);
        let policy = &side.table.policy;
        let part = |name: &str, nodes: &dyn Fn(NodeId) -> bool| {
            let all = policy.fleet.node_ids().filter(|node| nodes(*node)).map(|node| node.index());
            let (clients, load) = all.fold((0, 0), |(c, l), at| (c + sums.clients[at], l + sums.load[at]));
            Part { name: name.to_owned(), clients: sums.of_clients(clients), load: sums.of_load(load) }
        };
        let region = |at: &crate::model::fleet::Region| {
            part(&at.name, &|node| policy.fleet.region_of(node).name == at.name)
        };
        let lines = policy.clients.lines.iter().enumerate();
        let on_line = |(at, line): (usize, &crate::model::clients::Line)| {
            part(&line.name, &|node| policy.fleet.node(node).line.is_some_and(|line| line.index() == at))
        };
        let mut lines: Vec<Part> = lines.map(on_line).collect();
        lines.push(part("any", &|node| policy.fleet.node(node).line.is_none()));
        let leaves = leaves(&side.table.geo);
        Self {
            services: policy.service_ids().map(|id| sums.service(side, id, &leaves)).collect(),
            regions: policy.fleet.regions.iter().map(region).collect(),
            lines,
            nodes: policy.fleet.node_ids().map(|node| sums.node(side, node)).collect(),
            latency: latency(&mut sums.paths.concat()),
        }
    }

    /// Over all services, capacity units.
    pub fn unserved(&self) -> u64 {
        self.services.iter().map(|it| it.unserved).sum()
    }

    /// Over all services.
    pub fn scopes(&self) -> Scopes {
        let add = |all: Scopes, it: &ServiceStand| {
            let Scopes { v4, v6 } = it.scopes;
            Scopes { v4: all.v4.saturating_add(v4), v6: all.v6.saturating_add(v6) }
        };
        self.services.iter().fold(Scopes::default(), add)
    }
}

/// Of a geo table: how many, by group, family and depth.
type Leaves = BTreeMap<(GroupId, Family, u8), u64>;

/// By node, row-major services x nodes, and by path.
struct Sums {
    /// Of all clients, ppm times 2^32, services alike.
    clients: Vec<u128>,
    /// Fine units times 10^6.
    load: Vec<u128>,
    by_service: Vec<u128>,
    nodes: usize,
    services: usize,
    demand: u128,
    /// By service: round trip (us) and weight.
    paths: Vec<Vec<(u32, u128)>>,
}

impl Sums {
    fn of(side: &Side<'_>) -> Self {
        let Side { table, latencies, account } = *side;
        let (policy, groups) = (&table.policy, table.geo.groups().len());
        let (nodes, services) = (policy.fleet.nodes.len(), policy.services.len());
        let mut sums = Self {
            clients: vec![0; nodes],
            load: vec![0; nodes],
            by_service: vec![0; nodes * services],
            nodes,
            services,
            demand: account.services.iter().map(|&demand| u128::from(demand)).sum(),
            paths: vec![Vec::new(); services],
        };
        for service in policy.service_ids() {
            for group in (0..groups).map(GroupId::from_index) {
                let Some(placement) = table.assignment.placement(service, group) else { continue };
                let fraction = u128::from(account.split.fraction(service.index(), group.index()));
                let demand = u128::from(account.of(service.index(), group.index()));
                let rtts = latencies.row(group.index());
                for share in &placement.shares {
                    let (node, ppm) = (share.node.index(), u128::from(share.share.0));
                    sums.clients[node] += fraction * ppm;
                    sums.load[node] += demand * ppm;
                    sums.by_service[service.index() * nodes + node] += demand * ppm;
                    let site = policy.fleet.node(share.node).site.index();
                    let weight = if sums.demand > 0 { demand * ppm } else { fraction * ppm };
                    if let Some(rtt) = rtts.get(site).filter(|_| weight > 0) {
                        sums.paths[service.index()].push((rtt.0, weight));
                    }
                }
            }
        }
        sums
    }

    fn of_clients(&self, sum: u128) -> Ppm {
        let whole = (self.services.max(1) as u128) << Split::FRACTION_BITS;
        Ppm(u32::try_from(sum / whole).unwrap_or(u32::MAX))
    }

    fn of_load(&self, sum: u128) -> Ppm {
        Ppm(u32::try_from(sum / self.demand.max(1)).unwrap_or(u32::MAX))
    }

    fn node(&self, side: &Side<'_>, node: NodeId) -> NodeStand {
        let fleet = &side.table.policy.fleet;
        let planned = u64::try_from(self.load[node.index()] / 1_000_000).unwrap_or(u64::MAX);
        NodeStand {
            node: fleet.node(node).name.clone(),
            site: fleet.site_of(node).name.clone(),
            region: fleet.region_of(node).name.clone(),
            clients: self.of_clients(self.clients[node.index()]),
            load: self.of_load(self.load[node.index()]),
            utilisation: utilisation(planned >> FINE_BITS, side.account, &side.table.policy, node),
            cap: fleet.node(node).capacity.as_ref().map(|capacity| capacity.cap),
        }
    }

    fn service(&self, side: &Side<'_>, id: ServiceId, leaves: &Leaves) -> ServiceStand {
        let service = side.table.policy.service(id);
        let mut paths = self.paths[id.index()].clone();
        ServiceStand {
            service: service.name.clone(),
            demand: side.account.services.get(id.index()).map_or(0, |demand| demand >> FINE_BITS),
            unserved: self.unserved(side, id),
            stranded: side.table.assignment.stranded(id),
            latency: latency(&mut paths),
            scopes: scopes(side.table, id, leaves, &side.table.geo),
            ttl: service.ttl,
        }
    }

    /// What is above caps, divided between the services on a node as their load is, and what nobody serves.
    fn unserved(&self, side: &Side<'_>, id: ServiceId) -> u64 {
        let above = |node: NodeId| {
            let capacity = side.table.policy.fleet.node(node).capacity.as_ref()?;
            let (at, planned) = (node.index(), self.load[node.index()] / 1_000_000);
            let base = u128::from(side.account.base.get(at).copied().unwrap_or(0));
            let cap = u128::from(Account::fine(capacity.cap.of(capacity.amount)));
            let over = (planned + base).saturating_sub(cap).min(planned);
            let own = self.by_service[id.index() * self.nodes + at] / 1_000_000;
            (planned > 0).then(|| over * own / planned)
        };
        let above: u128 = side.table.policy.fleet.node_ids().filter_map(above).sum();
        let nobody = |group: usize| {
            let placement = side.table.assignment.placement(id, GroupId::from_index(group));
            let is_served = placement.is_some_and(|it| it.mode == PlacementMode::Normal);
            if is_served { 0 } else { u128::from(side.account.of(id.index(), group)) }
        };
        let stranded: u128 = (0..side.table.geo.groups().len()).map(nobody).sum();
        u64::try_from((above + stranded) >> FINE_BITS).unwrap_or(u64::MAX)
    }
}

/// [`Account`] counts in these.
const FINE_BITS: u32 = Account::fine(1).trailing_zeros();

/// Planned (units) and other load of a node, as a part of its capacity; `None` without one.
fn utilisation(planned: u64, account: &Account, policy: &Policy, node: NodeId) -> Option<Ppm> {
    let capacity = policy.fleet.node(node).capacity.as_ref()?;
    let base = account.base.get(node.index()).copied().unwrap_or(0) >> FINE_BITS;
    Some(Ppm::ratio(planned.saturating_add(base), capacity.amount))
}

fn latency(paths: &mut [(u32, u128)]) -> Latency {
    let total: u128 = paths.iter().map(|(_, weight)| weight).sum();
    if total == 0 {
        return Latency::default();
    }
    paths.sort_unstable();
    let sum: u128 = paths.iter().map(|&(rtt, weight)| u128::from(rtt) * (weight >> 16)).sum();
    let weighed: u128 = paths.iter().map(|(_, weight)| weight >> 16).sum();
    let mut below = 0;
    let p95 = paths.iter().find(|(_, weight)| {
        below += weight;
        below * 100 >= total * 95
    });
    let tenths = |us: u128| (us as f64 / 100.0).round() / 10.0;
    let p95_us = p95.map_or(0, |&(rtt, _)| u128::from(rtt));
    Latency { mean_ms: tenths(sum / weighed.max(1)), p95_ms: tenths(p95_us) }
}

/// How many prefixes answers of a service are told apart by. Space that nobody knows is left out: it is large and empty.
fn scopes(table: &Snapshot, id: ServiceId, leaves: &Leaves, geo: &GeoTable) -> Scopes {
    let service = table.service_table(id);
    if service.is_uniform {
        return Scopes { v4: 1, v6: 0 };
    }
    let mut found = Scopes::default();
    for (&(group, family, depth), &count) in leaves {
        if group == GroupId(0) && geo.groups().len() > 1 {
            continue;
        }
        let Some(plan) = service.by_group.get(group.index()) else { continue };
        let distribution = service.distributions.get(usize::from(plan.distribution));
        let scope = match distribution.is_some_and(|it| it.is_mixed()) {
            true => plan.hash_len(family, depth).max(depth),
            false => depth,
        };
        let own = count.saturating_mul(1_u64.checked_shl(u32::from(scope - depth)).unwrap_or(u64::MAX));
        let sum = match family {
            Family::V4 => &mut found.v4,
            Family::V6 => &mut found.v6,
        };
        *sum = sum.saturating_add(own);
    }
    found
}
