//! Any small fleet, clients, demand and course of failures as input of the planner: never a panic, the same
//! plan for the same input, and nothing that the judge of plans would refuse.
//!
//! ```text
//!  data: nodes, groups, services ‖ by node: site, capacity, verdict ‖ distances ‖ by service: pools, demand
//!        ‖ steps: which node, what becomes of it, which pass, how much later
//! ```
//! An input that ends early goes on in zeros.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::units::{Micros, Ppm};
use rhumb::model::clients::ClientGroup;
use rhumb::model::ids::{AreaId, PoolId};
use rhumb::model::placement::Latencies;
use rhumb::model::policy::Policy;
use rhumb::model::profile::Profile;
use rhumb::model::provenance::Cause;
use rhumb::model::reach::Reach;
use rhumb::model::service::{Bias, ChainRule, Method, OnAllDown, PoolMember, Service};
use rhumb::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use rhumb::routing::judge::{Case, judge};
use rhumb::schedule::{Pass, Plan, PlanInput, PlannerMemory, plan};
use rhumb::sim::world;

const MOST_STEPS: usize = 12;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u64::from(*first)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Mostly small, sometimes huge.
    fn amount(&mut self) -> u64 {
        let shift = self.below(40);
        self.next() << (shift / 2 * (shift & 1))
    }
}

struct World {
    policy: Policy,
    groups: Vec<ClientGroup>,
    latencies: Latencies,
    health: Vec<NodeHealth>,
}

fn verdict(bytes: &mut Bytes<'_>) -> Verdict {
    [Verdict::Up, Verdict::Down, Verdict::Degraded, Verdict::Unknown][bytes.below(4) as usize]
}

fn health(bytes: &mut Bytes<'_>) -> NodeHealth {
    let verdict = verdict(bytes);
    let reports = bytes.below(4) == 0;
    let load = reports.then(|| NodeLoad {
        amount: Some(bytes.amount()),
        utilisation: Ppm(bytes.below(30) as u32 * 50_000),
        binding: "units".to_owned(),
        ..NodeLoad::default()
    });
    NodeHealth { families: [Some(FamilyHealth { verdict, ..FamilyHealth::default() }), None], load }
}

fn service(at: u64, nodes: u64, bytes: &mut Bytes<'_>) -> Service {
    let profiles = Profile::ALL;
    let profile = profiles[bytes.below(profiles.len() as u64) as usize].clone();
    let pools = (0..1 + bytes.below(3)).map(|name| {
        let members = (0..nodes).filter_map(|node| {
            let weight = bytes.below(6) as u16 * 50;
            (weight < 250).then_some(PoolMember { node: rhumb::model::ids::NodeId(node as u16), weight })
        });
        let members = members.collect();
        let min_alive = Ppm(bytes.below(5) as u32 * 250_000);
        let method = [Method::Latency, Method::Weights, Method::Load][bytes.below(3) as usize];
        rhumb::model::service::Pool { members, min_alive, method, ..world::pool(&format!("p{name}"), &[]) }
    });
    let pools: Vec<_> = pools.collect();
    let last = PoolId::from_index(pools.len() - 1);
    let demand = (bytes.below(3) > 0).then(|| bytes.amount());
    let mut service = world::service(&format!("s{at}"), profile, pools, demand);
    if bytes.below(2) == 0 {
        service.chains.insert(0, ChainRule::of(AreaId(0), vec![last]));
    }
    for rule in &mut service.chains {
        let nodes = (0..nodes as u16).filter(|_| bytes.below(3) == 0).collect::<Vec<_>>();
        let most = u64::from(Bias::MOST_US.unsigned_abs());
        let by_us = |amount: u64| (amount % (2 * most + 1)) as i32 - Bias::MOST_US;
        let bias = |node| Bias { node: rhumb::model::ids::NodeId(node), by_us: by_us(bytes.amount()) };
        rule.bias = nodes.into_iter().map(bias).collect();
    }
    service.on_all_down = match bytes.below(3) {
        0 => OnAllDown::LastGood,
        1 => OnAllDown::NoData,
        _ => OnAllDown::All,
    };
    service
}

fn draw(bytes: &mut Bytes<'_>) -> World {
    let (nodes, groups, services) = (1 + bytes.below(6), 1 + bytes.below(6), 1 + bytes.below(3));
    let mut policy = Policy::default();
    policy.fleet.sites = (0..3).map(|at| world::site(&format!("site{at}"), 0, None)).collect();
    for at in 0..nodes {
        let site = bytes.below(3) as usize;
        let capacity = (bytes.below(4) > 0).then(|| 1 + bytes.amount());
        policy.fleet.nodes.push(world::node(&format!("n{at}"), site, capacity));
    }
    let health = (0..nodes).map(|_| health(bytes)).collect();
    let group = |at: u64, bytes: &mut Bytes<'_>| ClientGroup {
        v4_slash24: bytes.amount() as u32,
        areas: (bytes.below(2) == 0).then_some(AreaId(0)).into_iter().collect(),
        ..world::group(&format!("g{at}"))
    };
    let groups: Vec<ClientGroup> = (0..groups).map(|at| group(at, bytes)).collect();
    let rtt = (0..groups.len() * 3).map(|_| Micros(bytes.next() as u32 * 2_000)).collect();
    policy.services = (0..services).map(|at| service(at, nodes, bytes)).collect();
    World { policy, groups, latencies: Latencies::prior(3, rtt), health }
}

impl World {
    fn plan(&self, before: Option<&Plan>, now_ms: u64, pass: Pass) -> Plan {
        let fresh = PlannerMemory::default();
        plan(&PlanInput {
            policy: &self.policy,
            groups: &self.groups,
            latencies: &self.latencies,
            health: &self.health,
            previous: before.map(|plan| &plan.assignment),
            memory: before.map_or(&fresh, |plan| &plan.memory),
            now_ms,
            pass,
            demand: None,
        })
    }

    fn judge(&self, before: Option<&Plan>, plan: &Plan, cause: &Cause) {
        let reach = Reach::of(&self.policy, &self.groups, &self.health);
        let said = judge(&Case {
            policy: &self.policy,
            groups: &self.groups,
            reach: &reach,
            cause,
            before: before.map(|plan| &plan.assignment),
            plan: &plan.assignment,
            account: &plan.account,
        });
        // What moves too much or overloads a node is told, and found by other tests.
        assert!(said.answers.is_empty(), "{cause}: {said:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let mut world = draw(&mut bytes);
    let mut now_ms = 0;
    let mut current = world.plan(None, now_ms, Pass::Full);
    assert_eq!(current, world.plan(None, now_ms, Pass::Full), "the same input, the same plan");
    world.judge(None, &current, &Cause::ColdStart);
    for _ in 0..MOST_STEPS {
        if bytes.0.is_empty() {
            return;
        }
        let at = bytes.below(world.health.len() as u64) as usize;
        world.health[at] = health(&mut bytes);
        now_ms += bytes.amount() % 1_000_000;
        let (pass, cause) = match bytes.below(2) {
            0 => (Pass::Evacuation, Cause::Evacuation { nodes: vec![format!("n{at}")] }),
            _ => (Pass::Full, Cause::Rebalance),
        };
        let next = world.plan(Some(&current), now_ms, pass);
        world.judge(Some(&current), &next, &cause);
        current = next;
    }
});
