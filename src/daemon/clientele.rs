//! Who was where in a table, by names: what an incident's impact is counted from.
//!
//! One pass over services and client groups. It takes a millisecond for small fleets and a tenth of a second for
//! tens of thousands of groups, so it is made only when something went wrong, off the threads that wait for nothing.

use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::incident::{Clientele, NamedShare, NodeClients, ServiceClients};
use crate::model::placement::{PlacementMode, ServiceAssignment};
use crate::model::policy::Policy;
use crate::model::service::Service;
use crate::routing::Snapshot;

/// Clients in none of the policy's areas.
const ELSEWHERE: &str = "elsewhere";

/// Of every service.
pub fn of(table: &Snapshot) -> Clientele {
    let services = table.policy.services.iter().zip(&table.assignment.services);
    let groups = table.geo.groups();
    Clientele { services: services.map(|(service, plan)| of_service(table, service, plan, groups)).collect() }
}

/// Of one service: clients that have a usable node.
pub fn served(plan: &ServiceAssignment, groups: &[ClientGroup]) -> Ppm {
    let (mut with, mut all) = (0_u64, 0_u64);
    for (at, group) in plan.by_group.iter().zip(groups) {
        let weight = u64::from(group.v4_slash24);
        all += weight;
        let placement = plan.placements.get(*at as usize);
        if placement.is_some_and(|it| it.mode == PlacementMode::Normal && !it.shares.is_empty()) {
            with += weight;
        }
    }
    if all == 0 { Ppm::WHOLE } else { Ppm::ratio(with, all) }
}

/// Weights by node, and within by area or line.
struct Sums {
    by_node: Vec<u128>,
    areas: Parts,
    lines: Parts,
}

/// Weights of the parts that clients are in, one of them for who is in none.
struct Parts {
    names: Vec<String>,
    all: Vec<u64>,
    by_node: Vec<Vec<u128>>,
}

impl Parts {
    fn new(names: Vec<String>, nodes: usize) -> Self {
        let count = names.len();
        Self { names, all: vec![0; count], by_node: vec![Vec::new(); nodes] }
    }

    fn add(&mut self, part: usize, weight: u64) {
        if let Some(all) = self.all.get_mut(part) {
            *all += weight;
        }
    }

    fn add_on(&mut self, node: usize, part: usize, amount: u128) {
        let count = self.names.len();
        if let Some(sums) = self.by_node.get_mut(node) {
            sums.resize(count, 0);
            sums[part] += amount;
        }
    }

    /// Of each part, what of it is on the node.
    fn on(&self, node: usize) -> Vec<NamedShare> {
        let sums = self.by_node.get(node).map_or(&[][..], Vec::as_slice);
        let of = |(part, sum): (usize, &u128)| {
            let share = ratio(*sum, self.all[part]);
            (share > Ppm::ZERO).then(|| NamedShare { name: self.names[part].clone(), share })
        };
        sums.iter().enumerate().filter_map(of).collect()
    }
}

fn of_service(
    table: &Snapshot,
    service: &Service,
    plan: &ServiceAssignment,
    groups: &[ClientGroup],
) -> ServiceClients {
    let (policy, nodes) = (&table.policy, table.policy.fleet.nodes.len());
    let mut sums = Sums {
        by_node: vec![0; nodes],
        areas: Parts::new(area_names(policy), nodes),
        lines: Parts::new(policy.clients.lines.iter().map(|line| line.name.clone()).collect(), nodes),
    };
    let elsewhere = policy.clients.areas.len();
    let mut all = 0_u64;
    for (at, group) in plan.by_group.iter().zip(groups) {
        let weight = u64::from(group.v4_slash24);
        all += weight;
        let parts: Vec<usize> = match group.areas.is_empty() {
            // Where no area is named, everybody is elsewhere, which is worth nothing.
            true if elsewhere == 0 => Vec::new(),
            true => vec![elsewhere],
            false => group.areas.iter().map(|area| area.index()).collect(),
        };
        parts.iter().for_each(|part| sums.areas.add(*part, weight));
        group.line.into_iter().for_each(|line| sums.lines.add(line.index(), weight));
        let shares = plan.placements.get(*at as usize).map_or(&[][..], |placement| &placement.shares);
        for share in shares {
            let (node, amount) = (share.node.index(), u128::from(weight) * u128::from(share.share.0));
            sums.by_node[node] += amount;
            parts.iter().for_each(|part| sums.areas.add_on(node, *part, amount));
            group.line.into_iter().for_each(|line| sums.lines.add_on(node, line.index(), amount));
        }
    }
    let on = |node: usize| NodeClients {
        share: ratio(sums.by_node[node], all),
        areas: sums.areas.on(node),
        lines: sums.lines.on(node),
    };
    let named = (0..nodes).filter(|node| sums.by_node[*node] > 0);
    ServiceClients {
        name: service.name.clone(),
        tier: service.tier.name.clone(),
        tier_ms: u64::try_from(service.tier.limit.as_millis()).unwrap_or(u64::MAX),
        ttl: service.ttl,
        served: served(plan, groups),
        nodes: named.map(|node| (policy.fleet.nodes[node].name.clone(), on(node))).collect(),
    }
}

fn area_names(policy: &Policy) -> Vec<String> {
    let areas = policy.clients.areas.iter().map(|area| area.name.clone());
    areas.chain(std::iter::once(ELSEWHERE.to_owned())).collect()
}

/// `sum` is a weight times millionths.
fn ratio(sum: u128, all: u64) -> Ppm {
    match all {
        0 => Ppm::ZERO,
        all => Ppm(u32::try_from(sum / u128::from(all)).unwrap_or(u32::MAX).min(Ppm::WHOLE.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::NodeId;
    use crate::model::placement::{Placement, Share};

    fn group(v4_slash24: u32) -> ClientGroup {
        ClientGroup {
            key: String::new(),
            country: None,
            line: None,
            location: None,
            areas: Vec::new(),
            v4_slash24,
            v6_slash48: 0,
        }
    }

    #[test]
    fn clients_without_a_usable_node_count_by_their_address_space() {
        let placement = |mode| {
            let shares = vec![Share { node: NodeId(0), share: Ppm::WHOLE }];
            Placement { shares, backups: Vec::new(), pool: None, mode }
        };
        let placements = vec![placement(PlacementMode::Normal), placement(PlacementMode::FailOpen)].into();
        let plan = ServiceAssignment { placements, by_group: vec![0, 1, 0].into(), shed: Vec::new() };
        assert_eq!(served(&plan, &[group(70), group(20), group(10)]), Ppm::from_percent(80));
        assert_eq!(served(&plan, &[]), Ppm::WHOLE, "nobody lacks anything");
    }

    #[test]
    fn parts_are_shares_of_their_own_clients() {
        let mut parts = Parts::new(vec!["asia".to_owned(), "europe".to_owned()], 2);
        parts.add(0, 40);
        parts.add(1, 60);
        parts.add_on(1, 0, 40 * 250_000);
        assert_eq!(parts.on(1), [NamedShare { name: "asia".to_owned(), share: Ppm::from_percent(25) }]);
        assert!(parts.on(0).is_empty());
    }
}
