//! Small worlds for this module's tests. Not compiled otherwise.

use super::{Pass, Plan, PlanInput, PlannerMemory, plan};
use crate::base::units::{Micros, Ppm};
use crate::model::clients::ClientGroup;
use crate::model::demand::Shares;
use crate::model::fleet::{Capacity, Node, Region, Site};
use crate::model::ids::{NodeId, PoolId, RegionId, SiteId};
use crate::model::placement::{Assignment, Latencies, Placement};
use crate::model::policy::Policy;
use crate::model::service::{
    Care, ChainRule, Method, OnAllDown, Pool, PoolMember, Profile, RecoveryTier, Service,
};
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A policy with groups, a prior and health to plan with.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub policy: Policy,
    pub groups: Vec<ClientGroup>,
    pub latencies: Latencies,
    pub health: Vec<NodeHealth>,
}

pub(super) fn node(name: &str, site: u16, capacity: Option<u64>) -> Node {
    Node {
        v4: vec![Ipv4Addr::new(127, 1, 0, 1)],
        capacity: capacity.map(|amount| Capacity {
            unit: "mbps".to_owned(),
            amount,
            target: Ppm::from_percent(75),
            cap: Ppm::from_percent(90),
        }),
        ..Node::named(name, SiteId(site))
    }
}

pub(super) fn pool(nodes: &[u16]) -> Pool {
    let member = |&node: &u16| PoolMember { node: NodeId(node), weight: 100 };
    Pool {
        name: format!("p{}", nodes.iter().map(u16::to_string).collect::<Vec<_>>().join("-")),
        members: nodes.iter().map(member).collect(),
        min_alive: Ppm::from_percent(50),
        method: Method::Latency,
    }
}

/// One catch-all chain over the pools in order.
pub(super) fn service(name: &str, pools: Vec<Pool>) -> Service {
    Service {
        name: name.to_owned(),
        title: None,
        hostnames: vec![format!("{name}.rhumb.test")],
        hostname_spans: Vec::new(),
        profile: Profile::CDN,
        tier: RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) },
        chains: vec![ChainRule::everybody((0..pools.len()).map(PoolId::from_index).collect())],
        pools,
        answers: 1,
        ttl: 30,
        on_all_down: OnAllDown::All,
        shed: None,
        line_penalty: Micros::from_millis(40),
        transfer_default: Vec::new(),
        records: Vec::new(),
        demand: None,
        care: Care::default(),
        audience: Vec::new(),
        source: format!("services/{name}.yaml"),
    }
}

pub(super) fn group(key: &str, line: u16) -> ClientGroup {
    ClientGroup {
        key: key.to_owned(),
        country: None,
        line: (line > 0).then(|| crate::model::ids::LineId(line - 1)),
        location: None,
        areas: Vec::new(),
        v4_slash24: 1_000,
        v6_slash48: 0,
    }
}

pub(super) fn with_verdict(verdict: Verdict) -> NodeHealth {
    NodeHealth {
        families: [Some(FamilyHealth { verdict, ..FamilyHealth::default() }), None],
        load: None,
        forced: None,
    }
}

pub(super) fn up() -> NodeHealth {
    with_verdict(Verdict::Up)
}

pub(super) fn down() -> NodeHealth {
    with_verdict(Verdict::Down)
}

/// Up, reporting an amount only.
pub(super) fn loaded(amount: u64) -> NodeHealth {
    let load = NodeLoad {
        amount: Some(amount),
        utilisation: Ppm::ZERO,
        binding: "mbps".to_owned(),
        ..NodeLoad::default()
    };
    NodeHealth { load: Some(load), ..up() }
}

/// `nodes` nodes without capacity on one site, 20 ms from four groups.
pub(super) fn world(nodes: u16, services: Vec<Service>) -> World {
    let mut policy = Policy { services, ..Policy::default() };
    policy.fleet.regions.push(Region { name: "r".to_owned(), title: None });
    policy.fleet.sites.push(Site { name: "s0".to_owned(), title: None, region: RegionId(0), location: None });
    policy.fleet.nodes = (0..nodes).map(|at| node(&format!("n{at}"), 0, None)).collect();
    let groups: Vec<ClientGroup> = (0..4).map(|at| group(&format!("g{at}"), 0)).collect();
    let latencies = Latencies::prior(1, vec![Micros::from_millis(20); groups.len()]);
    World { policy, groups, latencies, health: vec![up(); usize::from(nodes)] }
}

/// As [`world`], each node on a site of its own: node n is `rtt_ms[g][n]` from group g.
pub(super) fn spread(rtt_ms: &[&[u32]], services: Vec<Service>) -> World {
    let nodes = rtt_ms[0].len();
    let mut world = world(nodes as u16, services);
    let site = world.policy.fleet.sites[0].clone();
    world.policy.fleet.sites = vec![site; nodes];
    for (at, node) in world.policy.fleet.nodes.iter_mut().enumerate() {
        node.site = SiteId::from_index(at);
    }
    world.groups = (0..rtt_ms.len()).map(|at| group(&format!("g{at}"), 0)).collect();
    let rtt = rtt_ms.iter().flat_map(|row| row.iter().map(|&ms| Micros::from_millis(ms)));
    world.latencies = Latencies::prior(nodes, rtt.collect());
    world
}

impl World {
    pub fn plan(&self, previous: Option<&Plan>, now_ms: u64, pass: Pass) -> Plan {
        self.plan_counted(previous, None, now_ms, pass)
    }

    pub fn plan_counted(
        &self,
        previous: Option<&Plan>,
        demand: Option<&Shares>,
        now_ms: u64,
        pass: Pass,
    ) -> Plan {
        let fresh = PlannerMemory::default();
        plan(&PlanInput {
            policy: &self.policy,
            groups: &self.groups,
            latencies: &self.latencies,
            health: &self.health,
            previous: previous.map(|plan| &plan.assignment),
            memory: previous.map_or(&fresh, |plan| &plan.memory),
            demand,
            now_ms,
            pass,
        })
    }

    /// Full passes each second from `from_ms`, over `seconds`.
    pub fn run(&self, mut plan: Plan, from_ms: u64, seconds: u64) -> Plan {
        for second in 0..seconds {
            plan = self.plan(Some(&plan), from_ms + second * 1_000, Pass::Full);
        }
        plan
    }

    pub fn capacity(mut self, amounts: &[u64]) -> Self {
        for (at, &amount) in amounts.iter().enumerate() {
            self.policy.fleet.nodes[at].capacity = node("", 0, Some(amount)).capacity;
        }
        self
    }
}

pub(super) fn plan_first(world: &World) -> Plan {
    world.plan(None, 0, Pass::Full)
}

/// Of service 0: (node, ppm) of a group.
pub(super) fn shares(assignment: &Assignment, group: usize) -> Vec<(u16, u32)> {
    placement(assignment, group).shares.iter().map(|share| (share.node.0, share.share.0)).collect()
}

pub(super) fn placement(assignment: &Assignment, group: usize) -> &Placement {
    let service = &assignment.services[0];
    &service.placements[service.by_group[group] as usize]
}

/// The first of three nodes was lost at 10 s, and who was there fills the second, from where others could go on to
/// the third.
pub fn orphans_fill_a_node() -> (World, Plan) {
    let (near, either) = (service("s", vec![pool(&[0, 1])]), service("t", vec![pool(&[1]), pool(&[2])]));
    let mut w = spread(&[&[20, 20, 60][..]; 8], vec![near, either]).capacity(&[1_000, 1_000, 1_000]);
    for service in &mut w.policy.services {
        service.profile.session = std::time::Duration::ZERO;
    }
    w.health = [300, 600, 0].map(loaded).to_vec();
    let mut first = plan_first(&w);
    for tick in 0..5 {
        let load = first.planned_load.clone();
        w.health = (0..3).map(|at| loaded(load[at])).collect();
        first = w.plan(Some(&first), tick * 1_000, Pass::Full);
    }
    w.health[0] = down();
    let evacuated = w.plan(Some(&first), 10_000, Pass::Evacuation);
    (w, evacuated)
}
