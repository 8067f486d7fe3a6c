//! Tiny worlds made of bytes, and what becomes of their plans: for fuzzing, and for a search with seeds.
//!
//! ```text
//!  data: nodes, groups, services ‖ by node: site, capacity, verdict ‖ distances ‖ by service: pools, demand
//!        ‖ steps: which node, what becomes of it, which pass, how much later
//! ```
//! An input that ends early goes on in zeros. Any bytes are a world, however strange. Three kinds of worlds read
//! the same bytes, each with more than the one before: plain ones, mixed ones (methods, biases), rich ones
//! ([`rich`]). Of rich ones each plan is made twice, the second time from a memory that was written down and
//! read again, as a restart and a replay have it.

mod rich;

use super::world;
use crate::base::units::{Micros, Ppm};
use crate::model::canary::Hold;
use crate::model::clients::ClientGroup;
use crate::model::demand::Shares;
use crate::model::ids::{AreaId, NodeId, PoolId};
use crate::model::placement::Latencies;
use crate::model::policy::Policy;
use crate::model::profile::Profile;
use crate::model::provenance::Cause;
use crate::model::reach::Reach;
use crate::model::service::{Bias, ChainRule, Method, OnAllDown, Pool, PoolMember, Service};
use crate::model::verdict::{FamilyHealth, NodeHealth, NodeLoad, Verdict};
use crate::routing::judge::{Case, Movements, judge};
use crate::schedule::{Pass, Plan, PlanInput, PlannerMemory, plan};

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

#[derive(Debug)]
pub struct World {
    pub policy: Policy,
    pub groups: Vec<ClientGroup>,
    pub latencies: Latencies,
    pub health: Vec<NodeHealth>,
    pub demand: Option<Shares>,
    /// Who stays where he is, as while a policy is tried on others.
    pub hold: Option<Hold>,
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
    NodeHealth {
        families: [Some(FamilyHealth { verdict, ..FamilyHealth::default() }), None],
        load,
        forced: None,
    }
}

fn service(at: u64, nodes: u64, bytes: &mut Bytes<'_>) -> Service {
    let profiles = Profile::ALL;
    let profile = profiles[bytes.below(profiles.len() as u64) as usize].clone();
    let pools = (0..1 + bytes.below(3)).map(|name| {
        let members = (0..nodes).filter_map(|node| {
            let weight = bytes.below(6) as u16 * 50;
            (weight < 250).then_some(PoolMember { node: NodeId(node as u16), weight })
        });
        let members = members.collect();
        let min_alive = Ppm(bytes.below(5) as u32 * 250_000);
        Pool { members, min_alive, ..world::pool(&format!("p{name}"), &[]) }
    });
    let pools: Vec<_> = pools.collect();
    let last = PoolId::from_index(pools.len() - 1);
    let demand = (bytes.below(3) > 0).then(|| bytes.amount());
    let mut service = world::service(&format!("s{at}"), profile, pools, demand);
    if bytes.below(2) == 0 {
        service.chains.insert(0, ChainRule::of(AreaId(0), vec![last]));
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
    World { policy, groups, latencies: Latencies::prior(3, rtt), health, demand: None, hold: None }
}

/// Pools of any method, and biases.
fn mix(policy: &mut Policy, bytes: &mut Bytes<'_>) {
    let nodes = policy.fleet.nodes.len();
    for service in &mut policy.services {
        for pool in &mut service.pools {
            pool.method = [Method::Latency, Method::Weights, Method::Load][bytes.below(3) as usize];
        }
        for rule in &mut service.chains {
            let biased = (0..nodes).filter(|_| bytes.below(3) == 0).collect::<Vec<_>>();
            let most = u64::from(Bias::MOST_US.unsigned_abs());
            let by_us = |amount: u64| (amount % (2 * most + 1)) as i32 - Bias::MOST_US;
            let bias = |node| Bias { node: NodeId::from_index(node), by_us: by_us(bytes.amount()) };
            rule.bias = biased.into_iter().map(bias).collect();
        }
    }
}

/// A course of failures in a tiny world, plan by plan.
pub struct Play<'a> {
    bytes: Bytes<'a>,
    pub world: World,
    pub now_ms: u64,
    pub current: Option<Plan>,
    movements: Movements,
    steps: usize,
    is_rich: bool,
    /// So many ticks are to come before anything happens.
    calm: u64,
}

/// A plan was made.
#[derive(Debug)]
pub struct Told {
    pub cause: Cause,
    /// Answers that would be refused.
    pub wrong: Option<String>,
    /// Whatever the judge finds; not where clients are held, who may stand in the way of caps.
    pub doubtful: Option<String>,
    /// What came out otherwise when the same was asked again.
    pub unsteady: Option<String>,
}

impl<'a> Play<'a> {
    /// All pools go by latency, and nothing is biased.
    pub fn of(data: &'a [u8]) -> Self {
        Self::begin(data, |_, _| {})
    }

    /// With pools of every method, and biases.
    pub fn mixed(data: &'a [u8]) -> Self {
        Self::begin(data, |world, bytes| mix(&mut world.policy, bytes))
    }

    /// With all that a world may have, and ticks between the steps in which time passes.
    pub fn rich(data: &'a [u8]) -> Self {
        let both = |world: &mut World, bytes: &mut Bytes<'_>| {
            mix(&mut world.policy, bytes);
            rich::enrich(world, bytes);
        };
        Self { is_rich: true, ..Self::begin(data, both) }
    }

    /// Of the kind that the first byte says; `None`: there is none.
    pub fn any(data: &'a [u8]) -> Option<Self> {
        let (first, rest) = data.split_first()?;
        Some(match first % 3 {
            0 => Self::of(rest),
            1 => Self::mixed(rest),
            _ => Self::rich(rest),
        })
    }

    fn begin(data: &'a [u8], more: fn(&mut World, &mut Bytes<'_>)) -> Self {
        let mut bytes = Bytes(data);
        let mut world = draw(&mut bytes);
        more(&mut world, &mut bytes);
        let movements = Movements::default();
        Self { bytes, world, now_ms: 0, current: None, movements, steps: 0, is_rich: false, calm: 0 }
    }

    /// Makes the next plan; `None`: that was all.
    pub fn step(&mut self) -> Option<Told> {
        if self.current.is_none() {
            return Some(self.plan(Pass::Full, Cause::ColdStart));
        }
        if self.calm > 0 {
            self.calm -= 1;
            self.now_ms += 1_000;
            return Some(self.plan(Pass::Full, Cause::Rebalance));
        }
        if self.bytes.0.is_empty() || self.steps == MOST_STEPS {
            return None;
        }
        self.steps += 1;
        let at = self.bytes.below(self.world.health.len() as u64) as usize;
        self.world.health[at] = health(&mut self.bytes);
        if self.is_rich {
            self.go_on(at);
        }
        self.now_ms += self.bytes.amount() % 1_000_000;
        Some(match self.bytes.below(2) {
            0 => self.plan(Pass::Evacuation, Cause::Evacuation { nodes: vec![format!("n{at}")] }),
            _ => self.plan(Pass::Full, Cause::Rebalance),
        })
    }

    /// What else happens in a rich world.
    fn go_on(&mut self, node: usize) {
        rich::say_more(&mut self.world.health[node], &mut self.bytes);
        if self.world.demand.is_some() && self.bytes.below(4) == 0 {
            self.world.demand = Some(rich::counted(&self.world, &mut self.bytes));
        }
        self.calm = self.bytes.below(3) * self.bytes.below(12);
    }

    fn plan(&mut self, pass: Pass, cause: Cause) -> Told {
        let next = self.world.plan(self.current.as_ref(), self.now_ms, pass);
        let before = self.current.as_ref();
        let (mut told, moved_ppb) = self.world.judge(before, &next, cause, (&self.movements, self.now_ms));
        let window_ms = self.world.policy.planner.budget.window_ms();
        self.movements.note(self.now_ms, moved_ppb, window_ms);
        if self.is_rich {
            told.unsteady = self.world.differs(self.current.as_ref(), self.now_ms, pass, &next);
        }
        self.current = Some(next);
        told
    }
}

impl World {
    /// The plan after `before`.
    pub fn plan(&self, before: Option<&Plan>, now_ms: u64, pass: Pass) -> Plan {
        let memory = before.map_or_else(PlannerMemory::default, |plan| plan.memory.clone());
        self.plan_from(before, &memory.holding(self.hold), now_ms, pass)
    }

    fn plan_from(&self, before: Option<&Plan>, memory: &PlannerMemory, now_ms: u64, pass: Pass) -> Plan {
        plan(&PlanInput {
            policy: &self.policy,
            groups: &self.groups,
            latencies: &self.latencies,
            health: &self.health,
            previous: before.map(|plan| &plan.assignment),
            memory,
            now_ms,
            pass,
            demand: self.demand.as_ref(),
        })
    }

    /// Whether another plan comes of what is kept of the memory when it is written down.
    fn differs(&self, before: Option<&Plan>, now_ms: u64, pass: Pass, plan: &Plan) -> Option<String> {
        let memory = before.map_or_else(PlannerMemory::default, |plan| plan.memory.clone());
        let mut kept = Vec::new();
        ciborium::into_writer(&memory.holding(self.hold), &mut kept)
            .expect("memory takes all that is written");
        let read = ciborium::from_reader(kept.as_slice()).expect("what was written is read");
        let again = self.plan_from(before, &read, now_ms, pass);
        (again != *plan).then(|| format!("planned {plan:?}; and again {again:?}"))
    }

    /// Also what it moves by choice, parts per billion of all demand.
    fn judge(
        &self,
        before: Option<&Plan>,
        plan: &Plan,
        cause: Cause,
        (movements, now_ms): (&Movements, u64),
    ) -> (Told, u64) {
        let reach = Reach::of(&self.policy, &self.groups, &self.health);
        let said = judge(&Case {
            policy: &self.policy,
            groups: &self.groups,
            reach: &reach,
            cause: &cause,
            before: before.map(|plan| &plan.assignment),
            plan: &plan.assignment,
            account: &plan.account,
            movements,
            now_ms,
        });
        let wrong = (!said.answers.is_empty()).then(|| format!("{cause}: {said:?}"));
        let is_doubtful = !said.is_empty() && self.hold.is_none();
        let doubtful = is_doubtful.then(|| format!("{cause}: {said:?}"));
        (Told { cause, wrong, doubtful, unsteady: None }, said.moved_ppb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::SeededRng;

    fn bytes(seed: u64) -> Vec<u8> {
        let mut rng = SeededRng::new(seed);
        let count = 200 + rng.below(200);
        (0..count).map(|_| rng.below(256) as u8).collect()
    }

    fn check(seed: u64) {
        watch(seed, Play::of(&bytes(seed)));
    }

    fn watch(seed: u64, mut play: Play<'_>) {
        while let Some(told) = play.step() {
            let Told { wrong, doubtful, unsteady, .. } = &told;
            let faults = wrong.is_some() || doubtful.is_some() || unsteady.is_some();
            assert!(!faults, "seed {seed}, at {} ms: {told:?}", play.now_ms);
        }
    }

    #[test]
    fn nothing_that_happens_in_tiny_worlds_breaks_a_promise() {
        (0..600).for_each(check);
        (0..600).for_each(|seed| watch(seed, Play::mixed(&bytes(seed))));
        (0..120).for_each(|seed| watch(seed, Play::rich(&bytes(seed))));
    }

    /// Those that lie beside the fuzz target, for it to begin with.
    #[test]
    fn seeds_of_the_fuzz_target_are_worlds_in_which_no_promise_is_broken() {
        let seeds: [&[u8]; 4] = [
            include_bytes!("../../fuzz/seeds/plan_make/plain-817"),
            include_bytes!("../../fuzz/seeds/plan_make/mixed-1233"),
            include_bytes!("../../fuzz/seeds/plan_make/rich-circuit"),
            include_bytes!("../../fuzz/seeds/plan_make/rich-shed"),
        ];
        for (at, data) in (0..).zip(seeds) {
            watch(at, Play::any(data).expect("not empty"));
        }
    }

    /// Groups without demand stood in the way of others, what was rounded up took room from others,
    /// groups so large that a millionth of them fits nowhere, room made for orphans in the same pass.
    #[test]
    fn worlds_in_which_a_promise_was_broken_once() {
        [817, 1_233, 1_277, 2_404, 3_664, 6_752, 11_734, 17_504, 20_743, 62_967].into_iter().for_each(check);
    }
}
