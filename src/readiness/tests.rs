//! Small fleets that carry every loss, and others that do not: what is told is tried out.

use super::*;
use crate::base::units::{Micros, Ppm};
use crate::model::clients::{ClientGroup, Line};
use crate::model::event::Level;
use crate::model::fleet::Region;
use crate::model::ids::{AreaId, LineId, NodeId, RegionId};
use crate::model::placement::Latencies;
use crate::model::profile::Profile;
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use crate::schedule::{self, Pass, Plan, PlannerMemory};
use crate::sim::world::{group, node, pool, service, site};

/// Three regions of a site of two nodes each, 100 units a node, of which 90 may be planned.
struct World {
    policy: Policy,
    groups: Vec<ClientGroup>,
    latencies: Latencies,
    health: Vec<NodeHealth>,
}

fn up() -> NodeHealth {
    let family = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
    NodeHealth { families: [Some(family), None], ..NodeHealth::default() }
}

impl World {
    fn of(demand: u64) -> Self {
        let mut policy = Policy::default();
        for (at, name) in ["ea", "eu", "na"].into_iter().enumerate() {
            policy.fleet.regions.push(Region { name: name.to_owned(), title: None });
            policy.fleet.sites.push(site(&format!("s{at}"), at, None));
            policy.fleet.nodes.extend((1..=2).map(|number| node(&format!("s{at}-{number}"), at, Some(100))));
        }
        policy.services =
            vec![service("live", Profile::CDN, vec![pool("all", &[0, 1, 2, 3, 4, 5])], Some(demand))];
        let groups: Vec<ClientGroup> = (0..24).map(|at| group(&format!("g{at:02}"))).collect();
        // Everybody has a region of his own, 10 ms away; others are 60 and 110.
        let rtt =
            |group: usize| (0..3).map(move |site| Micros::from_millis(10 + 50 * ((site + group) % 3) as u32));
        let latencies = Latencies::prior(3, (0..groups.len()).flat_map(rtt).collect());
        Self { policy, groups, latencies, health: vec![up(); 6] }
    }

    fn input<'w>(&'w self, previous: Option<&'w Plan>, fresh: &'w PlannerMemory) -> PlanInput<'w> {
        PlanInput {
            policy: &self.policy,
            groups: &self.groups,
            latencies: &self.latencies,
            health: &self.health,
            previous: previous.map(|plan| &plan.assignment),
            memory: previous.map_or(fresh, |plan| &plan.memory),
            demand: None,
            now_ms: 1_000,
            pass: Pass::Full,
        }
    }

    fn judge(&self, scenario: &Scenario, depth: Depth) -> Readiness {
        let fresh = PlannerMemory::default();
        let plan = schedule::plan(&self.input(None, &fresh));
        judge(&self.input(Some(&plan), &fresh), scenario, depth, &mut |_, _| ControlFlow::Continue(()))
            .expect("nobody ends it")
    }

    fn now(&self) -> Readiness {
        self.judge(&Scenario::now(), Depth::SINGLE)
    }
}

fn of<'r>(told: &'r Readiness, lost: &str) -> &'r LossOutcome {
    told.losses.iter().find(|loss| loss.lost == lost).unwrap_or_else(|| panic!("{lost} is judged: {told:#?}"))
}

#[test]
fn a_fleet_with_room_carries_every_loss() {
    let told = World::of(300).now();
    assert!(told.is_ready() && told.not_carried == 0, "{told:#?}");
    // A region is its only site: named once.
    assert_eq!(told.judged, 3 + 6);
    let weakest = told.weakest().expect("there is one");
    assert_eq!((weakest.unserved_total(), &weakest.add[..]), (0, &[][..]));
    let fullest = weakest.fullest.as_ref().expect("nodes have capacities");
    assert!((Ppm(700_000)..=Ppm(902_000)).contains(&fullest.utilisation), "{fullest:?}");
    // Who had 10 ms has 60 or 110, and one in three is moved.
    let region = of(&told, "region/eu");
    assert!(region.latency.mean > told.calm.latency.mean && region.nodes == 2, "{region:#?}");
    assert!((Ppm(300_000)..Ppm(400_000)).contains(&region.moved), "{region:#?}");
    assert_eq!(
        told.calm.latency,
        crate::model::readiness::Latency { mean: told.calm.latency.mean, p95: Micros::from_millis(10) }
    );
}

#[test]
fn what_is_to_be_added_suffices_and_no_less_does() {
    let mut world = World::of(400);
    let told = world.now();
    assert_eq!((told.is_ready(), told.not_carried), (false, 3), "{told:#?}");
    let weakest = told.weakest().expect("there is one").clone();
    assert!((38..=41).contains(&weakest.unserved_total()), "four nodes take 360 of 400: {weakest:#?}");
    assert_eq!(weakest.bottleneck.as_deref(), Some("pool all of live"));
    let amount: u64 = weakest.add.iter().map(|it| it.amount).sum();
    assert!((45..=47).contains(&amount), "40 of 90 %: {weakest:#?}");
    assert!(weakest.remedy().expect("capacity helps").contains("units at s"), "{weakest:#?}");
    let lost: String = weakest.lost;
    for addition in &weakest.add {
        let node = world.policy.fleet.node_named(&addition.node).expect("a node of the fleet");
        let capacity = world.policy.fleet.nodes[node.index()].capacity.as_mut().expect("it has one");
        capacity.amount += addition.amount;
    }
    assert!(of(&world.now(), &lost).is_carried, "with it the loss is carried: {:#?}", world.now());
    let first = world.policy.fleet.node_named(&weakest.add[0].node).expect("a node of the fleet");
    if let Some(capacity) = world.policy.fleet.nodes[first.index()].capacity.as_mut() {
        capacity.amount -= 4;
    }
    assert!(!of(&world.now(), &lost).is_carried, "with less it is not");
}

#[test]
fn more_demand_needs_more_and_the_fleet_settles_first() {
    let world = World::of(300);
    let told = world.judge(&Scenario::factor(Ppm::from_fraction(1.4)), Depth::SINGLE);
    assert_eq!(told.scenario, "1.4 times the demand");
    assert_eq!((told.demand[0].units, told.demand[0].units_now), (420, 300));
    assert_eq!((told.calm.unserved, told.not_carried), (0, 3), "six nodes take 540, four 360: {told:#?}");
    let weakest = told.weakest().expect("there is one");
    assert!((58..=61).contains(&weakest.unserved_total()), "{weakest:#?}");
    let told = world.judge(&Scenario::factor(Ppm::from_fraction(2.0)), Depth::SINGLE);
    assert!((58..=61).contains(&told.calm.unserved), "600 of 540 with nothing lost: {told:#?}");
}

#[test]
fn a_peak_of_an_area_is_more_demand_of_its_clients_alone() {
    let mut world = World::of(300);
    world.groups.iter_mut().step_by(3).for_each(|group| group.areas = vec![AreaId(0)]);
    let lift = |to: Level| Scenario {
        name: "match".to_owned(),
        lifts: vec![Lift { services: Vec::new(), areas: vec![AreaId(0)], to }],
    };
    let told = world.judge(&lift(Level::Factor(Ppm::from_percent(150))), Depth::SINGLE);
    assert_eq!(told.demand[0].units, 350, "a third of 300 asks for half as much again");
    let told = world.judge(&lift(Level::Units(250)), Depth::SINGLE);
    assert!((449..=450).contains(&told.demand[0].units), "{told:#?}");
    let weakest = told.weakest().expect("there is one");
    assert!((88..=91).contains(&weakest.unserved_total()), "450 on four nodes: {weakest:#?}");
}

#[test]
fn load_of_another_origin_takes_room_under_any_demand() {
    let loaded = |amount: u64| {
        let load =
            NodeLoad { amount: Some(amount), utilisation: Ppm::ratio(amount, 100), ..NodeLoad::default() };
        NodeHealth { load: Some(load), ..up() }
    };
    let mut world = World::of(240);
    // 40 each are clients, 30 are not.
    world.health = vec![loaded(70); 6];
    let told = world.now();
    assert!(told.is_ready(), "four nodes have room for 60 each: {told:#?}");
    let told = world.judge(&Scenario::factor(Ppm::from_fraction(1.25)), Depth::SINGLE);
    let weakest = told.weakest().expect("there is one");
    assert!((56..=64).contains(&weakest.unserved_total()), "300 of 240: {weakest:#?}");
}

#[test]
fn who_has_no_node_left_is_told_and_no_capacity_helps() {
    let mut world = World::of(60);
    world.policy.services[0] = service("live", Profile::CDN, vec![pool("east", &[0, 1])], Some(60));
    let told = world.now();
    let weakest = told.weakest().expect("there is one");
    assert_eq!((weakest.lost.as_str(), weakest.is_carried, told.not_carried), ("region/ea", false, 1));
    assert_eq!(weakest.stranded_total(), 24);
    assert!((59..=60).contains(&weakest.unserved_total()), "{weakest:#?}");
    assert_eq!(weakest.bottleneck.as_deref(), Some("no node for live"));
    assert!(
        weakest.add.is_empty()
            && weakest.no_remedy.as_deref().is_some_and(|why| why.contains("another pool"))
    );
}

#[test]
fn lines_are_lost_too_and_what_is_down_is_not_lost_again() {
    let mut world = World::of(200);
    world.policy.clients.lines.push(Line { name: "telecom".to_owned(), title: None, asns: Vec::new() });
    for at in [0, 2, 4] {
        world.policy.fleet.nodes[at].line = Some(LineId(0));
    }
    assert!(of(&world.now(), "line/telecom").is_carried, "270 are left");
    world.health[0] = losses::without(&world.health, &[NodeId(0)])[0].clone();
    let told = world.now();
    assert!(!told.losses.iter().any(|loss| loss.lost == "node/s0-1"), "it is down: {told:#?}");
    // What is left of its site is one node, which has the name of the largest thing it is all of.
    assert!(!told.losses.iter().any(|loss| loss.lost == "node/s0-2") && of(&told, "region/ea").nodes == 2);
    assert_eq!(told.judged, 3 + 1 + 4);
    assert_eq!(world.policy.fleet.sites[0].region, RegionId(0));
}

#[test]
fn pairs_are_judged_where_they_are_asked_for() {
    let world = World::of(300);
    let told = world.judge(&Scenario::now(), Depth::PAIRS);
    // All pairs of 3 regions and 6 nodes, but for a node and its own region.
    assert_eq!(told.judged, 9 + 9 * 8 / 2 - 6);
    assert!(told.weakest().is_some_and(|it| it.lost.contains(" + ") && !it.is_carried), "{told:#?}");
    assert!(told.losses.iter().filter(|it| !it.lost.contains(" + ")).all(|it| it.is_carried), "{told:#?}");
    let mut asked = 0;
    let fresh = PlannerMemory::default();
    let ended = judge(&world.input(None, &fresh), &Scenario::now(), Depth::PAIRS, &mut |_, _| {
        asked += 1;
        if asked > 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(ended.is_none() && asked == 4, "whoever asked may end it");
}

#[test]
fn the_worst_single_loss_is_the_first_of_the_matrix() {
    let world = World::of(400);
    let fresh = PlannerMemory::default();
    let worst = worst_single_loss(&world.input(None, &fresh)).expect("there is one");
    assert!(!worst.is_carried && worst.remedy().is_some(), "{worst:#?}");
    let mut gone = World::of(400);
    gone.health = losses::without(&gone.health, &(0..6).map(NodeId).collect::<Vec<_>>());
    assert_eq!(worst_single_loss(&gone.input(None, &fresh)), None, "nothing serves");
}
