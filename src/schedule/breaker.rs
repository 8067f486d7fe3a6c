//! The circuit of each region whose policy has one: closed while its quality holds, open when that collapses.
//!
//! ```text
//!           errors or loss at the bound for 5 s, and every chain has somebody elsewhere
//!  closed ────────────────────────────────────────────────────────────────────────────▶ open, nobody is sent
//!    ▲                                                                                  │  `open_for`, then
//!    │  known to be at the exit bound for `trial_for`                                   ▼  twice, .. 8 times
//!    └──────────────────────────────────────────────────────────────────────────── half open, `trial` of each
//!                                        the bound again for 5 s: open ◀──────────────── group at most
//! ```
//! A region on trial whose quality is between the bounds, or not known, stays on trial. What has to be known is what
//! it was opened for; nothing that is known may be above its exit.
//!
//! Quality is what clients and nodes measure, not what probes do: the mean error rate of the region's nodes
//! that report one, if at least half do, and the loss that clients measured to its sites, by how many
//! measured. A node that is down is no matter of the circuit (its verdict says so already), nor does a
//! closed circuit bring one back. A region that some chain cannot do without stays in, however bad it is.
//!
//! Pure, in integers; part of the planner's memory. What follows for clients is the planner's as for nodes
//! that are down: they move at once, and come back by the ramp.

use super::PlanInput;
use crate::base::units::Ppm;
use crate::model::degradation::{Bounds, RegionCircuit};
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
    /// How the trial goes, for which a part of its clients is sent there; `None`: nobody is.
    pub trial: Option<Trial>,
}

/// How the trial of a region goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trial {
    /// It closes if it goes on like this for `trial_for`.
    #[default]
    Well,
    /// This is above its exit bound.
    Unwell(Signal),
    /// This would have to be known.
    Unknown(Signal),
}

/// What tells the quality of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    Errors,
    Loss,
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
    /// On trial: since when it is well.
    #[serde(default)]
    well_since_ms: Option<u64>,
    #[serde(default)]
    trial: Trial,
    /// What it was opened for: errors, loss.
    #[serde(default)]
    opened_for: [bool; 2],
}

/// What is measured of a region now, errors and loss, with the bounds of what has some.
#[derive(Clone, Copy, Debug, Default)]
struct Seen([Option<(Bounds, Option<Ppm>)>; 2]);

impl Seen {
    const SIGNALS: [Signal; 2] = [Signal::Errors, Signal::Loss];

    fn of(input: &PlanInput<'_>, region: RegionId, policy: &RegionCircuit, global: &View) -> Self {
        let errors = policy.errors.map(|bounds| (bounds, error_rate(input, region, global)));
        Self([errors, policy.loss.map(|bounds| (bounds, client_loss(input, region)))])
    }

    /// By signal, whether it is at the bound that opens.
    fn bad(&self) -> [bool; 2] {
        self.0.map(|it| it.is_some_and(|(bounds, value)| value.is_some_and(|value| value >= bounds.enter)))
    }

    /// `needed`: by signal, whether it has to be known. One has to in any case.
    fn trial(&self, needed: [bool; 2]) -> Trial {
        let named = || Self::SIGNALS.into_iter().zip(self.0).zip(needed);
        let unwell = named().find_map(|((signal, it), _)| {
            it.filter(|(bounds, value)| value.is_some_and(|value| value > bounds.exit)).map(|_| signal)
        });
        let is_any_known = self.0.iter().flatten().any(|(_, value)| value.is_some());
        let unknown = named().find_map(|((signal, it), is_needed)| {
            it.filter(|(_, value)| value.is_none() && (is_needed || !is_any_known)).map(|_| signal)
        });
        unwell.map(Trial::Unwell).or(unknown.map(Trial::Unknown)).unwrap_or_default()
    }
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
            let seen = Seen::of(input, region, &policy, global);
            let Some(circuit) = self.0.get_mut(region.index()) else { continue };
            circuit.step(&seen, &policy, now_ms, || {
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

    /// Has nodes of regions on trial take no more than the trial of their part: together they have that of each
    /// group at most.
    pub fn limit(&self, input: &PlanInput<'_>, ramps: &mut [u32]) {
        for (node, trial) in self.on_trial(input) {
            ramps[node.index()] = ramps[node.index()].min(trial.0);
        }
    }

    /// Nodes of regions on trial, but for those that an operator has serve, and what they are given.
    pub fn on_trial(&self, input: &PlanInput<'_>) -> impl Iterator<Item = (NodeId, Ppm)> {
        let is_on_trial = |region: &RegionId| self.state(*region) == State::HalfOpen;
        let (fleet, health) = (&input.policy.fleet, input.health);
        let regions = fleet.circuits.iter().filter(move |(region, _)| is_on_trial(region));
        regions.flat_map(move |(region, policy)| {
            let nodes = nodes_of(fleet, *region).filter(|node| !is_forced_up(health, *node));
            nodes.map(|node| (node, policy.trial))
        })
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
            trial: (circuit.state == State::HalfOpen).then_some(circuit.trial),
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
    fn step(&mut self, seen: &Seen, policy: &RegionCircuit, now_ms: u64, is_dispensable: impl Fn() -> bool) {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let age_ms = |since_ms: u64| now_ms.saturating_sub(since_ms);
        self.trial = seen.trial(self.opened_for);
        let is_tried =
            |since_ms: u64| self.trial == Trial::Well && age_ms(since_ms) >= millis(policy.trial_for);
        let bad = seen.bad();
        self.bad_since_ms = bad.contains(&true).then(|| self.bad_since_ms.unwrap_or(now_ms));
        let lasts = self.has_lasted(now_ms);
        let next = match self.state {
            State::Closed | State::HalfOpen if lasts && is_dispensable() => State::Open,
            State::Open
                if age_ms(self.since_ms)
                    >= millis(policy.open_for).saturating_mul(self.times.max(1).into()) =>
            {
                State::HalfOpen
            }
            State::HalfOpen if self.well_since_ms.is_some_and(is_tried) => State::Closed,
            same => same,
        };
        let is_well = next == State::HalfOpen && self.trial == Trial::Well;
        self.well_since_ms = is_well.then(|| self.well_since_ms.unwrap_or(now_ms));
        if next == self.state {
            return;
        }
        self.times = match (self.state, next) {
            (State::HalfOpen, State::Open) => (self.times.max(1) * 2).min(MOST_TIMES),
            (_, State::Closed) => 0,
            _ => self.times,
        };
        self.opened_for = match next {
            State::Open => [0, 1].map(|at| bad[at] || self.opened_for[at]),
            State::HalfOpen => self.opened_for,
            State::Closed => [false; 2],
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
mod tests;
