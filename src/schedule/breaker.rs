//! The circuit of each region whose policy has one: closed while its quality holds, open when that collapses.
//!
//! ```text
//!           errors or loss at the bound for 5 s, and every chain has somebody elsewhere
//!  closed ────────────────────────────────────────────────────────────────────────────▶ open, nobody is sent
//!    ▲                                                                                  │  `open_for`, then
//!    │  `trial_for` without                                                             ▼  twice, .. 8 times
//!    └──────────────────────────────────────────────────────────────────────────── half open, `trial` of each
//!                                        the bound again for 5 s: open ◀──────────────── group at most
//! ```
//! Quality is what clients and nodes measure, not what probes do: the mean error rate of the region's nodes
//! that report one, if at least half do, and the loss that clients measured to its sites, by how many
//! measured. A node that is down is no matter of the circuit (its verdict says so already), nor does a
//! closed circuit bring one back. A region that some chain cannot do without stays in, however bad it is.
//!
//! Pure, in integers; part of the planner's memory. What follows for clients is the planner's as for nodes
//! that are down: they move at once, and come back by the ramp.

use super::PlanInput;
use crate::base::units::Ppm;
use crate::model::degradation::RegionCircuit;
use crate::model::fleet::{Fleet, Region};
use crate::model::ids::{NodeId, RegionId};
use crate::model::policy::Policy;
use crate::model::reach::View;
use crate::model::safety;
use crate::model::verdict::NodeHealth;
use serde::{Deserialize, Serialize};

/// How long a bound has to be reached.
const COLLAPSE_MS: u64 = 5_000;
/// Measurements below which clients' loss says nothing.
const LEAST_VOTES: u64 = 20;
/// A circuit that opens again and again stays open for so many times `open_for` at most.
const MOST_TIMES: u32 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

/// A region whose circuit is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRegion {
    pub name: String,
    /// A part of its clients is sent there.
    pub is_on_trial: bool,
}

/// All regions' circuits, by region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Circuits(Vec<Circuit>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Circuit {
    state: State,
    since_ms: u64,
    bad_since_ms: Option<u64>,
    /// How many times `open_for` it stays open.
    times: u32,
}

impl Circuits {
    /// Takes in what is measured now, and takes from `global` whom no client is to be sent to.
    pub fn judge(&mut self, input: &PlanInput<'_>, global: &mut View, now_ms: u64) {
        let fleet = &input.policy.fleet;
        self.0.resize(fleet.regions.len(), Circuit::default());
        for (at, circuit) in self.0.iter_mut().enumerate() {
            if !fleet.circuits.iter().any(|(region, _)| region.index() == at) {
                *circuit = Circuit::default();
            }
        }
        // Regions are judged one after another, each without those that are cut already.
        let mut cut = self.open(fleet, input.health);
        cut.resize(fleet.nodes.len(), false);
        for &(region, policy) in &fleet.circuits {
            let is_bad = is_collapsed(input, region, &policy, global);
            let Some(circuit) = self.0.get_mut(region.index()) else { continue };
            circuit.step(is_bad, &policy, now_ms, || {
                is_dispensable(input.policy, region, |node| {
                    global.may_serve[node.index()] && !cut[node.index()]
                }) && forbidding(input.policy, region, input.health, &cut).is_none()
            });
            // An operator's word goes before the circuit.
            let is_forced = |node: &NodeId| is_forced_up(input.health, *node);
            let is_open = circuit.state == State::Open;
            nodes_of(fleet, region).for_each(|node| cut[node.index()] = is_open && !is_forced(&node));
            if is_open {
                nodes_of(fleet, region).filter(|node| !is_forced(node)).for_each(|node| {
                    global.may_serve[node.index()] = false;
                    global.serving[node.index()] = [false; 2];
                });
            }
        }
    }

    /// Of each group at most this part goes to the nodes of regions on trial.
    pub fn limit(&self, fleet: &Fleet, ramps: &mut [u32]) {
        let on_trial = |region: &RegionId| self.state(*region) == State::HalfOpen;
        for (region, policy) in fleet.circuits.iter().filter(|(region, _)| on_trial(region)) {
            for node in nodes_of(fleet, *region) {
                ramps[node.index()] = ramps[node.index()].min(policy.trial.0);
            }
        }
    }

    fn state(&self, region: RegionId) -> State {
        self.0.get(region.index()).map_or(State::Closed, |circuit| circuit.state)
    }

    /// By node: its region is given nobody, or a few on trial. Empty: none is.
    pub fn cut(&self, fleet: &Fleet) -> Vec<bool> {
        if self.0.iter().all(|circuit| circuit.state == State::Closed) {
            return Vec::new();
        }
        fleet.node_ids().map(|node| self.state(region_of(fleet, node)) != State::Closed).collect()
    }

    /// By node: it is given nobody for the sake of its region. Empty: all are given some.
    pub fn open(&self, fleet: &Fleet, health: &[NodeHealth]) -> Vec<bool> {
        if self.0.iter().all(|circuit| circuit.state != State::Open) {
            return Vec::new();
        }
        let is_open =
            |node: NodeId| self.state(region_of(fleet, node)) == State::Open && !is_forced_up(health, node);
        fleet.node_ids().map(is_open).collect()
    }

    /// Regions that are given nobody, or a few on trial.
    pub fn tell(&self, fleet: &Fleet) -> Vec<CutRegion> {
        let cut = self.0.iter().zip(&fleet.regions).filter(|(circuit, _)| circuit.state != State::Closed);
        let tell = |(circuit, region): (&Circuit, &Region)| CutRegion {
            name: region.name.clone(),
            is_on_trial: circuit.state == State::HalfOpen,
        };
        cut.map(tell).collect()
    }

    /// Regions whose circuit would be open if it were not for a safety rule, with its name.
    pub fn kept_in(&self, policy: &Policy, health: &[NodeHealth], now_ms: u64) -> Vec<(String, String)> {
        let is_bad = |circuit: &Circuit| circuit.state != State::Open && circuit.has_lasted(now_ms);
        let bad =
            policy.fleet.circuits.iter().filter(|(region, _)| self.0.get(region.index()).is_some_and(is_bad));
        let cut = self.open(&policy.fleet, health);
        let of = |(region, _): &(RegionId, RegionCircuit)| {
            let rule = forbidding(policy, *region, health, &cut)?;
            Some((policy.fleet.regions.get(region.index())?.name.clone(), rule))
        };
        bad.filter_map(of).collect()
    }

    /// By name: regions of another policy keep what is known of them.
    pub fn carried_over(&self, old: &Policy, new: &Policy) -> Self {
        let of = |name: &str| old.fleet.regions.iter().position(|region| region.name == name);
        let circuit = |name: &str| of(name).and_then(|at| self.0.get(at)).copied().unwrap_or_default();
        Self(new.fleet.regions.iter().map(|region| circuit(&region.name)).collect())
    }
}

impl Circuit {
    fn step(&mut self, is_bad: bool, policy: &RegionCircuit, now_ms: u64, is_dispensable: impl Fn() -> bool) {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let age_ms = now_ms.saturating_sub(self.since_ms);
        self.bad_since_ms = is_bad.then(|| self.bad_since_ms.unwrap_or(now_ms));
        let lasts = self.has_lasted(now_ms);
        let next = match self.state {
            State::Closed | State::HalfOpen if lasts && is_dispensable() => State::Open,
            State::Open if age_ms >= millis(policy.open_for).saturating_mul(self.times.max(1).into()) => {
                State::HalfOpen
            }
            State::HalfOpen if !is_bad && age_ms >= millis(policy.trial_for) => State::Closed,
            same => same,
        };
        if next == self.state {
            return;
        }
        self.times = match (self.state, next) {
            (State::HalfOpen, State::Open) => (self.times.max(1) * 2).min(MOST_TIMES),
            (_, State::Closed) => 0,
            _ => self.times,
        };
        (self.state, self.since_ms, self.bad_since_ms) = (next, now_ms, None);
    }

    fn has_lasted(&self, now_ms: u64) -> bool {
        self.bad_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= COLLAPSE_MS)
    }
}

/// The safety rule that would be broken without the region; `cut`: nodes of other regions that are given nobody.
fn forbidding(policy: &Policy, region: RegionId, health: &[NodeHealth], cut: &[bool]) -> Option<String> {
    let of = |node: NodeId| health.get(node.index());
    let is_cut = |node: NodeId| cut.get(node.index()).copied().unwrap_or(false);
    let serves = |node| of(node).is_none_or(NodeHealth::may_serve) && !is_cut(node);
    let is_withdrawn = |node| of(node).and_then(NodeHealth::forced_to_serve) == Some(false);
    // Whom an operator forces up stays.
    let is_lost = |node| region_of(&policy.fleet, node) == region && !is_forced_up(health, node);
    let found = safety::bounds(policy).into_iter().find(|bound| bound.forbids(is_lost, serves, is_withdrawn));
    found.map(|bound| bound.rule)
}

fn is_forced_up(health: &[NodeHealth], node: NodeId) -> bool {
    health.get(node.index()).and_then(NodeHealth::forced_to_serve) == Some(true)
}

fn region_of(fleet: &Fleet, node: NodeId) -> RegionId {
    fleet.site(fleet.node(node).site).region
}

fn nodes_of(fleet: &Fleet, region: RegionId) -> impl Iterator<Item = NodeId> {
    fleet.node_ids().filter(move |node| region_of(fleet, *node) == region)
}

/// Whether every chain that offers nodes of the region offers others that serve.
fn is_dispensable(policy: &Policy, region: RegionId, serves: impl Fn(NodeId) -> bool) -> bool {
    let fleet = &policy.fleet;
    policy.services.iter().all(|service| {
        service.chains.iter().all(|rule| {
            let members = || {
                let pools = rule.pools.iter().filter_map(|id| service.pools.get(id.index()));
                pools.flat_map(|pool| &pool.members).map(|member| member.node)
            };
            let is_within = |node: &NodeId| region_of(fleet, *node) == region;
            !members().any(|node| is_within(&node)) || members().any(|node| !is_within(&node) && serves(node))
        })
    })
}

fn is_collapsed(input: &PlanInput<'_>, region: RegionId, policy: &RegionCircuit, global: &View) -> bool {
    let errors = error_rate(input, region, global);
    let loss = policy.loss.and_then(|bound| Some((client_loss(input, region)?, bound)));
    let is_at = |(value, bound): (Ppm, Ppm)| value >= bound;
    policy.errors.zip(errors).is_some_and(|(bound, rate)| rate >= bound) || loss.is_some_and(is_at)
}

/// The mean over nodes that serve, if half of them say.
fn error_rate(input: &PlanInput<'_>, region: RegionId, global: &View) -> Option<Ppm> {
    let serving = nodes_of(&input.policy.fleet, region).filter(|node| global.may_serve[node.index()]);
    let (mut all, mut told, mut sum) = (0_u64, 0_u64, 0_u64);
    for node in serving {
        all += 1;
        let load = input.health.get(node.index()).and_then(|health| health.load.as_ref());
        if let Some(rate) = load.and_then(|load| load.error_rate) {
            (told, sum) = (told + 1, sum + u64::from(rate.0));
        }
    }
    (told > 0 && told * 2 >= all).then(|| Ppm(u32::try_from(sum / told).unwrap_or(u32::MAX)))
}

/// Of what clients measured, by how many measured; a path of which none measured loss lost nothing.
fn client_loss(input: &PlanInput<'_>, region: RegionId) -> Option<Ppm> {
    let (fleet, latencies) = (&input.policy.fleet, input.latencies);
    let is_within: Vec<bool> = fleet.sites.iter().map(|site| site.region == region).collect();
    let within = |site: usize| is_within.get(site).copied().unwrap_or(false);
    let (mut votes, mut lost) = (0_u64, 0_u64);
    for group in 0..input.groups.len() {
        let measured = latencies.votes(group).iter().enumerate().filter(|(site, _)| within(*site));
        votes += measured.map(|(_, &count)| u64::from(count)).sum::<u64>();
        for path in latencies.quality(group).iter().filter(|path| within(path.site as usize)) {
            let loss = path.quality.loss;
            lost += u64::from(loss.value) * u64::from(loss.votes);
            // Who measured loss need not have measured a round trip.
            let known = latencies.votes(group).get(path.site as usize);
            votes += u64::from(loss.votes.saturating_sub(known.copied().unwrap_or(0)));
        }
    }
    (votes >= LEAST_VOTES).then(|| Ppm(u32::try_from(lost / votes).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::contest::Hurdle;
    use super::super::explain::CandidateState;
    use super::super::testing::{loaded, plan_first, pool, service, shares, spread, up};
    use super::super::{Pass, Plan};
    use super::*;
    use crate::model::degradation::Rung;
    use crate::model::ids::{GroupId, ServiceId};
    use crate::model::placement::{Measured, PathQuality, Quality};
    use std::time::Duration;

    const CIRCUIT: RegionCircuit = RegionCircuit {
        errors: Some(Ppm::from_percent(50)),
        loss: Some(Ppm::from_percent(30)),
        open_for: Duration::from_secs(60),
        trial: Ppm::from_percent(10),
        trial_for: Duration::from_secs(30),
    };

    #[test]
    fn it_opens_tries_and_closes_in_its_time() {
        let mut circuit = Circuit::default();
        let mut now_s = 0;
        let mut run = |circuit: &mut Circuit, seconds: u64, is_bad: bool, expected: State| {
            for _ in 0..seconds {
                circuit.step(is_bad, &CIRCUIT, now_s * 1_000, || true);
                now_s += 1;
            }
            assert_eq!(circuit.state, expected, "after {now_s} s");
        };
        run(&mut circuit, 5, true, State::Closed);
        run(&mut circuit, 1, false, State::Closed);
        run(&mut circuit, 5, true, State::Closed);
        run(&mut circuit, 1, true, State::Open);
        run(&mut circuit, 59, true, State::Open);
        run(&mut circuit, 1, true, State::HalfOpen);
        run(&mut circuit, 6, true, State::Open);
        run(&mut circuit, 119, false, State::Open);
        run(&mut circuit, 1, false, State::HalfOpen);
        run(&mut circuit, 29, false, State::HalfOpen);
        run(&mut circuit, 1, false, State::Closed);
        run(&mut circuit, 6, true, State::Open);
        run(&mut circuit, 60, false, State::HalfOpen);
    }

    /// Two regions of a node each; all groups are near the first.
    fn world() -> super::super::testing::World {
        let mut world = spread(&[&[10, 60], &[12, 60]], vec![service("s", vec![pool(&[0, 1])])]);
        world.policy.fleet.regions.push(Region { name: "far".to_owned(), title: None });
        world.policy.fleet.sites[1].region = RegionId(1);
        world.policy.fleet.circuits = vec![(RegionId(0), CIRCUIT)];
        world
    }

    fn rung(world: &super::super::testing::World, plan: &Plan) -> Rung {
        plan.memory.rungs(&world.policy, 0)[0].rung
    }

    fn of_first(plan: &Plan) -> u32 {
        shares(&plan.assignment, 0).iter().find(|(node, _)| *node == 0).map_or(0, |(_, share)| *share)
    }

    #[test]
    fn clients_leave_a_region_that_errs_and_come_back_by_a_trial() {
        let mut world = world();
        let mut plan = plan_first(&world);
        assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
        let mut erring = loaded(10);
        if let Some(load) = &mut erring.load {
            load.error_rate = Some(Ppm::from_percent(60));
        }
        world.health = vec![erring, up()];
        plan = world.run(plan, 1_000, 8);
        assert_eq!((of_first(&plan), rung(&world, &plan)), (0, Rung::Circuit));
        let input = PlanInput {
            policy: &world.policy,
            groups: &world.groups,
            latencies: &world.latencies,
            health: &world.health,
            previous: Some(&plan.assignment),
            memory: &plan.memory,
            now_ms: 9_000,
            pass: Pass::Full,
            demand: None,
        };
        let told = super::super::explain(&input, ServiceId(0), GroupId(0)).expect("both exist");
        let node = told.candidates.iter().find(|it| it.node == "n0").expect("a member");
        assert_eq!(node.to_win, [Hurdle::Circuit]);
        let because = "the circuit of its region is open";
        assert!(matches!(&node.state, CandidateState::Lost { because: it } if it == because), "{node:?}");
        world.health = vec![up(), up()];
        plan = world.run(plan, 9_000, 50);
        assert_eq!(of_first(&plan), 0, "still open");
        plan = world.run(plan, 59_000, 25);
        assert_eq!(rung(&world, &plan), Rung::Circuit);
        assert!((1..=100_000).contains(&of_first(&plan)), "{} ppm on trial", of_first(&plan));
        plan = world.run(plan, 84_000, 400);
        assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
    }

    #[test]
    fn clients_leave_a_region_that_loses_what_they_send() {
        let mut world = world();
        let plan = plan_first(&world);
        world.latencies.votes = vec![100, 0, 100, 0].into();
        let quality = Quality { loss: Measured { value: 450_000, votes: 100 }, ..Quality::default() };
        world.latencies.quality = (0..2).map(|group| PathQuality { group, site: 0, quality }).collect();
        let plan = world.run(plan, 1_000, 8);
        assert_eq!(rung(&world, &plan), Rung::Circuit);
        assert_eq!(of_first(&plan), 0);
    }

    #[test]
    fn a_region_that_a_safety_rule_speaks_for_stays_and_the_rule_is_told() {
        use crate::model::safety::{Assertion, SafetyRule, Unit};
        let mut world = world();
        let plan = plan_first(&world);
        let mut erring = loaded(10);
        if let Some(load) = &mut erring.load {
            load.error_rate = Some(Ppm::WHOLE);
        }
        world.health = vec![erring, up()];
        let name = "two-regions".to_owned();
        let what = Assertion::AtLeast { count: 2, of: Unit::Region };
        world.policy.safety = vec![SafetyRule { name, what, among: Vec::new(), runbook: None }];
        let plan = world.run(plan, 1_000, 20);
        assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
        let kept = plan.memory.kept_regions(&world.policy, &world.health, 21_000);
        assert_eq!(kept.iter().map(|(_, rule)| rule.as_str()).collect::<Vec<_>>(), ["two-regions"]);
        // It fails for real: nobody asks a rule.
        world.health = vec![super::super::testing::down(), up()];
        let plan = world.plan(Some(&plan), 30_000, Pass::Evacuation);
        assert_eq!(of_first(&plan), 0);
    }

    #[test]
    fn regions_that_are_cut_already_do_not_count_for_a_rule() {
        use crate::model::safety::{Assertion, SafetyRule, Unit};
        let mut world = spread(&[&[10, 60, 110], &[12, 60, 110]], vec![service("s", vec![pool(&[0, 1, 2])])]);
        for (at, id, name) in [(1, RegionId(1), "far"), (2, RegionId(2), "farther")] {
            world.policy.fleet.regions.push(Region { name: name.to_owned(), title: None });
            world.policy.fleet.sites[at].region = id;
        }
        world.policy.fleet.circuits = vec![(RegionId(0), CIRCUIT), (RegionId(1), CIRCUIT)];
        let what = Assertion::AtLeast { count: 2, of: Unit::Region };
        let name = "two-regions".to_owned();
        world.policy.safety = vec![SafetyRule { name, what, among: Vec::new(), runbook: None }];
        let plan = plan_first(&world);
        let mut erring = loaded(10);
        if let Some(load) = &mut erring.load {
            load.error_rate = Some(Ppm::WHOLE);
        }
        // Both at once: one may go, and the other then not.
        world.health = vec![erring.clone(), erring, up()];
        let plan = world.run(plan, 1_000, 8);
        assert_eq!(shares(&plan.assignment, 0), [(1, 1_000_000)]);
        let kept = plan.memory.kept_regions(&world.policy, &world.health, 9_000);
        assert_eq!(kept, [("far".to_owned(), "two-regions".to_owned())]);
    }

    #[test]
    fn a_region_that_nobody_can_do_without_stays() {
        let mut world = world();
        world.policy.services[0].pools = vec![pool(&[0])];
        let plan = plan_first(&world);
        let mut erring = loaded(10);
        if let Some(load) = &mut erring.load {
            load.error_rate = Some(Ppm::WHOLE);
        }
        world.health = vec![erring, up()];
        let plan = world.run(plan, 1_000, 20);
        assert_eq!((of_first(&plan), rung(&world, &plan)), (1_000_000, Rung::Normal));
        let passes = world.plan(Some(&plan), 30_000, Pass::Evacuation);
        assert_eq!(of_first(&passes), 1_000_000);
    }
}
