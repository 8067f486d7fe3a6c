//! What must hold of every plan, tried on random small worlds. A failure prints its world's seed.

use super::ladder::{Ladder, rule_for};
use super::testing::*;
use super::{Pass, Plan, remap};
use crate::base::hash::SeededRng;
use crate::base::units::{Micros, Ppm};
use crate::model::clients::Line;
use crate::model::ids::{AreaId, GroupId, LineId, NodeId, PoolId, ServiceId, SiteId};
use crate::model::placement::{PlacementMode, Share};
use crate::model::service::{ChainRule, OnAllDown, Pool, PoolMember, Profile};
use crate::model::verdict::Verdict;
use proptest::prelude::*;

/// Up to 12 nodes on up to 5 sites, 3 services, 12 groups; some nodes down, some without capacity.
pub(super) fn random(seed: u64, down_percent: u64) -> World {
    let mut rng = SeededRng::new(seed);
    let nodes = 1 + rng.below(12) as u16;
    let mut w = world(nodes, Vec::new());
    let sites = 1 + rng.below(5) as usize;
    w.policy.fleet.sites = vec![w.policy.fleet.sites[0].clone(); sites];
    let line = |at: u64| Line { name: format!("l{at}"), title: None, asns: vec![] };
    w.policy.clients.lines = (0..2).map(line).collect();
    for fleet_node in &mut w.policy.fleet.nodes {
        fleet_node.site = SiteId(rng.below(sites as u64) as u16);
        fleet_node.line = (rng.below(3) > 0).then(|| LineId(rng.below(2) as u16));
        let capacity = (rng.below(4) > 0).then(|| 50 + rng.below(200));
        fleet_node.capacity = node("", 0, capacity).capacity;
    }
    w.health = (0..nodes).map(|_| with_verdict(verdict(&mut rng, down_percent))).collect();
    let mut chance = SeededRng::new(seed ^ 0xfa11);
    for family in w.health.iter_mut().filter_map(|health| health.families[0].as_mut()) {
        family.is_failing = family.verdict.may_serve() && chance.below(8) == 0;
    }
    w.groups = (0..1 + rng.below(12)).map(|at| group(&format!("g{at}"), rng.below(3) as u16)).collect();
    for group in &mut w.groups {
        group.v4_slash24 = rng.below(20_000) as u32;
        group.areas = (rng.below(2) > 0).then_some(AreaId(0)).into_iter().collect();
    }
    w.latencies.sites = sites;
    w.latencies.rtt =
        (0..w.groups.len() * sites).map(|_| Micros(5_000 + rng.below(200_000) as u32)).collect();
    w.policy.services = (0..1 + rng.below(3)).map(|at| random_service(at, nodes, &mut rng)).collect();
    w
}

fn verdict(rng: &mut SeededRng, down_percent: u64) -> Verdict {
    if rng.below(100) < down_percent {
        return Verdict::Down;
    }
    [Verdict::Up, Verdict::Up, Verdict::Up, Verdict::Degraded, Verdict::Unknown][rng.below(5) as usize]
}

fn random_service(at: u64, nodes: u16, rng: &mut SeededRng) -> crate::model::service::Service {
    let random_pool = |name: u64, rng: &mut SeededRng| {
        let members = (0..nodes).filter_map(|node| {
            let weight = [0, 50, 100, 100][rng.below(4) as usize];
            (rng.below(2) > 0).then_some(PoolMember { node: NodeId(node), weight })
        });
        Pool { name: format!("p{name}"), members: members.collect(), ..pool(&[]) }
    };
    let pools: Vec<Pool> = (0..1 + rng.below(3)).map(|name| random_pool(name, rng)).collect();
    let mut service = service(&format!("s{at}"), pools);
    service.profile = Profile::ALL[rng.below(3) as usize].clone();
    let last = PoolId::from_index(service.pools.len() - 1);
    service.chains.insert(0, ChainRule::of(AreaId(0), vec![last, PoolId(0)]));
    service.demand = Some([0, 10, 100, 400][rng.below(4) as usize] * rng.below(100) / 100);
    service.on_all_down = match rng.below(4) {
        0 => OnAllDown::LastGood,
        1 => OnAllDown::NoData,
        _ => OnAllDown::All,
    };
    service
}

/// Every (service, group) with its ladder.
pub(super) fn pairs(w: &World) -> Vec<(ServiceId, GroupId, Ladder)> {
    let may_serve: Vec<bool> = w.health.iter().map(|health| health.may_serve()).collect();
    let mut pairs = Vec::new();
    for id in w.policy.service_ids() {
        let service = w.policy.service(id);
        for (group, client) in w.groups.iter().enumerate() {
            let rule = rule_for(service, &client.areas).expect("there is a catch-all");
            let ladder = Ladder::build(service, &service.chains[rule], &may_serve, &may_serve);
            pairs.push((id, GroupId::from_index(group), ladder));
        }
    }
    pairs
}

fn check_shape(w: &World, plan: &Plan) -> Result<(), TestCaseError> {
    for (service, group, ladder) in pairs(w) {
        let placement = plan.assignment.placement(service, group).expect("every group has one");
        let sum: u64 = placement.shares.iter().map(|share| u64::from(share.share.0)).sum();
        prop_assert_eq!(sum, if placement.shares.is_empty() { 0 } else { 1_000_000 });
        // Only who would be unserved otherwise is given more than 8 nodes.
        let is_split = |share: &Share| is_full(w, plan, share.node);
        prop_assert!(placement.shares.len() <= 8 || placement.shares.iter().any(is_split));
        prop_assert!(placement.backups.len() <= 8);
        let key = |at: usize| (std::cmp::Reverse(placement.shares[at].share), placement.shares[at].node);
        prop_assert!((1..placement.shares.len()).all(|at| key(at - 1) < key(at)));
        for share in &placement.shares {
            prop_assert!(!placement.backups.contains(&share.node) && share.share > Ppm::ZERO);
            let alive = w.health[share.node.index()].may_serve();
            prop_assert!(alive || placement.mode != PlacementMode::Normal);
        }
        prop_assert_eq!(placement.mode == PlacementMode::Normal, !ladder.all_down);
        prop_assert!(ladder.all_down || !placement.shares.is_empty());
    }
    Ok(())
}

fn room(w: &World, plan: &Plan, node: NodeId) -> i64 {
    let capacity = w.policy.fleet.node(node).capacity.as_ref();
    capacity.map_or(i64::MAX, |c| c.cap.of(c.amount) as i64 - plan.planned_load[node.index()] as i64)
}

fn is_full(w: &World, plan: &Plan, node: NodeId) -> bool {
    room(w, plan, node) <= 1
}

/// Clients of nodes that serve before and after stay where they are.
fn check_only_orphans_moved(w: &World, before: &Plan, after: &Plan) -> Result<(), TestCaseError> {
    for (service, group, _) in pairs(w) {
        let old = before.assignment.placement(service, group).expect("every group has one");
        let new = after.assignment.placement(service, group).expect("every group has one");
        if old.mode != PlacementMode::Normal || new.mode != PlacementMode::Normal {
            continue;
        }
        for share in old.shares.iter().filter(|share| w.health[share.node.index()].may_serve()) {
            let kept = new.shares.iter().find(|other| other.node == share.node);
            prop_assert!(kept.is_some_and(|kept| kept.share >= share.share), "{:?} -> {:?}", old, new);
        }
    }
    Ok(())
}

proptest! {
    // PROPTEST_CASES in the environment asks for more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_group_has_a_sound_placement(seed: u64, down in 0_u64..101) {
        let w = random(seed, down);
        let first = plan_first(&w);
        check_shape(&w, &first)?;
        let later = World { health: random(seed ^ 1, down).health, ..w.clone() };
        let mut later = later;
        later.health.resize(w.health.len(), up());
        for pass in [Pass::Evacuation, Pass::Full] {
            let second = later.plan(Some(&first), 1_000, pass);
            check_shape(&later, &second)?;
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(seed: u64) {
        let w = random(seed, 20);
        let (one, other) = (plan_first(&w), plan_first(&w.clone()));
        prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        // A remap to the same names changes nothing either.
        let same = remap(&w.policy, &w.groups, &one.assignment, &w.policy, &w.groups);
        let kept = Plan { assignment: same, ..one.clone() };
        prop_assert_eq!(w.plan(Some(&kept), 0, Pass::Full).assignment, one.assignment);
    }

    #[test]
    fn planning_again_moves_nobody(seed: u64) {
        let w = random(seed, 20);
        let first = plan_first(&w);
        let second = w.plan(Some(&first), 0, Pass::Full);
        prop_assert_eq!(&second.assignment, &first.assignment);
        prop_assert!(second.moves.is_empty());
        let evacuated = w.plan(Some(&first), 0, Pass::Evacuation);
        prop_assert_eq!(&evacuated.assignment, &first.assignment);
        // Under congestion a few groups may still find something better (about 1 world in 2,500).
        let largest = w.policy.services.iter().filter_map(|service| service.demand).max();
        let at_ease = w.policy.fleet.nodes.iter().zip(&first.planned_load).all(|(node, load)| {
            let target = node.capacity.as_ref().map(|capacity| capacity.target.of(capacity.amount));
            target.is_none_or(|target| load + largest.unwrap_or(0) <= target)
        });
        if at_ease {
            let later = w.run(first.clone(), 0, 10);
            prop_assert_eq!(later.assignment, first.assignment);
        }
    }

    #[test]
    fn a_loss_moves_only_orphans(seed: u64, victim: prop::sample::Index) {
        let mut w = random(seed, 10);
        let before = plan_first(&w);
        let victim = victim.index(w.health.len());
        w.health[victim] = down();
        let evacuated = w.plan(Some(&before), 1_000, Pass::Evacuation);
        check_only_orphans_moved(&w, &before, &evacuated)?;
        // Others make room only where demand would be unserved, be it a part of a unit.
        if !w.policy.fleet.node_ids().any(|node| is_full(&w, &evacuated, node)) {
            check_only_orphans_moved(&w, &before, &w.plan(Some(&before), 1_000, Pass::Full))?;
        }
    }

    #[test]
    fn nobody_is_above_cap_while_another_has_room(seed: u64) {
        check_room_is_used(seed)?;
    }
}

#[test]
fn a_world_in_which_others_had_to_make_room() -> Result<(), TestCaseError> {
    check_room_is_used(2_033_899_909_433_694_429)
}

#[test]
fn a_world_in_which_who_asks_for_nothing_stays_on_a_full_node() -> Result<(), TestCaseError> {
    check_room_is_used(5_317_060_001_251_878_819)
}

fn check_room_is_used(seed: u64) -> Result<(), TestCaseError> {
    let w = random(seed, 10);
    let plan = plan_first(&w);
    for (service, group, ladder) in pairs(&w).into_iter().filter(|(_, _, ladder)| !ladder.all_down) {
        // Wherever it is, it takes no room.
        let asks_nothing =
            w.policy.service(service).demand == Some(0) || w.groups[group.index()].v4_slash24 == 0;
        if asks_nothing {
            continue;
        }
        let placement = plan.assignment.placement(service, group).expect("every group has one");
        let over = placement.shares.iter().find(|share| room(&w, &plan, share.node) < -1);
        let spare = ladder.rungs.iter().find(|rung| room(&w, &plan, rung.node) > 1);
        if let (Some(over), Some(spare)) = (over, spare) {
            prop_assert!(false, "{:?} is above its cap, {:?} has room", over.node, spare.node);
        }
    }
    Ok(())
}
