//! What changed since the last full pass, so that a calm plan need not ask everybody again.
//!
//! ```text
//! policy, groups, prior ─▶ world   another: ask everybody
//! chains as they stand  ─▶ ladders another: ask whoever is on it, or came to it from another
//! a node's settled offer           another: ask whom it serves, backs, or could win
//! who is held           ─▶ hold    another: ask everybody
//! nothing of it                    ask one group in 64, so that nothing is missed for long
//! ```
//! Fingerprints are 64 bits of a hash with a fixed seed: an accidental equality costs at most the
//! minute that the turns take.

use super::PlanInput;
use super::cost::{NodeSignal, nearness};
use super::ladder::Ladder;
use super::load::Loads;
use super::terrain::{Outlook, Terrain};
use crate::model::canary::Hold;
use crate::model::ids::NodeId;
use crate::model::placement::Placement;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash, Hasher};

/// One group in so many is asked although nothing changed.
const TURNS: u32 = 64;

/// What a full pass was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footing {
    world: u64,
    /// By service, then views x rules.
    ladders: Vec<Vec<u64>>,
    /// By group, unless all have the same.
    views: Vec<u16>,
    offers: Vec<Offer>,
    turn: u32,
    /// Who was not asked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<Hold>,
}

/// All that one node offers to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offer {
    signal: NodeSignal,
    families: [bool; 2],
    ramp_ppm: u32,
    homecoming: bool,
    allowance: Option<u64>,
    full: bool,
    price_us: u32,
}

impl Footing {
    pub fn of(terrain: &Terrain<'_>, loads: &Loads, turn: u32) -> Self {
        let (global, returns) = (terrain.reach.global(), &terrain.returns[0]);
        let offer = |(at, &signal): (usize, &NodeSignal)| Offer {
            signal,
            families: global.serving[at],
            ramp_ppm: returns.ramps[at],
            homecoming: returns.homecoming[at],
            allowance: loads.allowance(NodeId::from_index(at)),
            full: loads.is_full(NodeId::from_index(at)),
            price_us: loads.price[at],
        };
        let offers = terrain.signals.iter().enumerate().map(offer);
        let views: Vec<u64> = (0..terrain.returns.len()).map(|view| own_of(terrain, view)).collect();
        let prints: Vec<u64> = terrain.ladders.iter().map(|ladder| fingerprint(ladder)).collect();
        let count = terrain.ground.chain_samples.len();
        let ladders = terrain.ground.chains.iter().map(|chains| {
            let of_view = |(at, view): (usize, &u64)| {
                let (prints, view) = (&prints[at * count..(at + 1) * count], *view);
                chains.iter().map(move |&chain| prints[chain as usize] ^ view)
            };
            views.iter().enumerate().flat_map(of_view).collect()
        });
        Self {
            world: terrain.ground.world,
            ladders: ladders.collect(),
            views: terrain.reach.by_group().to_vec(),
            offers: offers.collect(),
            turn,
            hold: terrain.input.memory.hold,
        }
    }

    /// The chain of a rule as it stands for a group; `rules`: of the service.
    fn ladder(&self, service: usize, rule: usize, rules: usize, group: usize) -> Option<u64> {
        let view = self.views.get(group).map_or(0, |&view| usize::from(view));
        self.ladders.get(service)?.get(view * rules + rule).copied()
    }

    pub fn next_turn(&self) -> u32 {
        (self.turn + 1) % TURNS
    }

    /// What is different from `before`; `None`: everything may be.
    pub fn since(&self, before: &Self) -> Option<Changes> {
        let comparable = self.world == before.world
            && self.hold == before.hold
            && self.offers.len() == before.offers.len();
        let pairs = self.offers.iter().zip(&before.offers);
        let is_changed: Vec<bool> = pairs.map(|(now, then)| now != then).collect();
        let nodes: Vec<NodeId> =
            (0..is_changed.len()).filter(|&at| is_changed[at]).map(NodeId::from_index).collect();
        let ladders = match self.views.is_empty() && before.views.is_empty() {
            true => Chains::Alike(by_rule(&self.ladders, &before.ladders)),
            false => Chains::ByGroup(self.clone(), before.clone()),
        };
        comparable.then_some(Changes { ladders, is_changed, nodes, turn: self.turn })
    }
}

fn by_rule(now: &[Vec<u64>], then: &[Vec<u64>]) -> Vec<Vec<bool>> {
    let differs =
        |(now, then): (&Vec<u64>, &Vec<u64>)| now.iter().zip(then).map(|(now, then)| now != then).collect();
    now.iter().zip(then).map(differs).collect()
}

/// Which chains are another than before.
enum Chains {
    /// By service and rule: everybody sees the same.
    Alike(Vec<Vec<bool>>),
    /// Some see others, now and then.
    ByGroup(Footing, Footing),
}

/// What a view has of its own beside its ladders; nothing for the first, whose nodes are offers.
fn own_of(terrain: &Terrain<'_>, view: usize) -> u64 {
    if view == 0 {
        return 0;
    }
    let mut hasher = hasher();
    (&terrain.reach.views()[view].serving, &terrain.returns[view]).hash(&mut hasher);
    hasher.finish()
}

/// The difference between two footings.
pub(super) struct Changes {
    ladders: Chains,
    is_changed: Vec<bool>,
    nodes: Vec<NodeId>,
    turn: u32,
}

impl Changes {
    pub fn is_turn_of(&self, group: usize) -> bool {
        group % TURNS as usize == self.turn as usize
    }

    /// Whether the chain is another for the group; `rules`: how many the service has.
    pub fn of_ladder(&self, service: usize, rule: usize, rules: usize, group: usize) -> bool {
        match &self.ladders {
            Chains::Alike(differs) => differs[service][rule],
            Chains::ByGroup(now, then) => {
                now.ladder(service, rule, rules, group) != then.ladder(service, rule, rules, group)
            }
        }
    }

    pub fn any_node(&self) -> bool {
        !self.nodes.is_empty()
    }

    pub fn touches(&self, placement: &Placement) -> bool {
        let shares = placement.shares.iter().map(|share| share.node);
        let mut nodes = shares.chain(placement.backups.iter().copied());
        nodes.any(|node| self.is_changed[node.index()])
    }

    /// Whether a changed node is near enough to join or to win a group that is elsewhere.
    pub fn tempts(&self, outlook: Outlook<'_>, loads: &Loads, placement: &Placement) -> bool {
        let cost = |node: NodeId| outlook.worth(node).saturating_add(loads.price[node.index()]);
        let own = placement.shares.iter().map(|share| cost(share.node)).min().unwrap_or(u32::MAX);
        let level = |node: NodeId| outlook.ladder.rung(node).map(|rung| rung.level);
        let lowest = placement.shares.iter().map(|share| level(share.node)).max().flatten();
        let reach = own.saturating_add(nearness(own));
        let tempts = |&node: &NodeId| {
            level(node).is_some_and(|level| cost(node) < reach || lowest.is_none_or(|lowest| level < lowest))
        };
        self.nodes.iter().any(tempts)
    }
}

fn hasher() -> impl Hasher {
    foldhash::fast::FixedState::with_seed(0).build_hasher()
}

fn fingerprint(ladder: &Ladder) -> u64 {
    let mut hasher = hasher();
    (ladder.all_down, &ladder.starts).hash(&mut hasher);
    for rung in &ladder.rungs {
        (rung.node, rung.weight, rung.pool, rung.level).hash(&mut hasher);
        (ladder.method(usize::from(rung.level)), ladder.bias(rung.node)).hash(&mut hasher);
    }
    hasher.finish()
}

/// Groups, prior, and what the policy says beside chains and what nodes offer.
pub(super) fn world(input: &PlanInput<'_>) -> u64 {
    let mut hasher = hasher();
    for group in input.groups {
        (group.line, &group.areas, group.v4_slash24, group.v6_slash48).hash(&mut hasher);
    }
    for pair in input.latencies.rtt.chunks(2) {
        let second = pair.get(1).map_or(0, |rtt| rtt.0);
        hasher.write_u64(u64::from(pair[0].0) << 32 | u64::from(second));
    }
    (&*input.latencies.votes, &*input.latencies.quality).hash(&mut hasher);
    for node in &input.policy.fleet.nodes {
        let capacity = node.capacity.as_ref().map(|c| (c.amount, c.target, c.cap));
        (node.site, node.line, capacity, node.cost_per_unit).hash(&mut hasher);
    }
    input.policy.planner.hash(&mut hasher);
    for service in &input.policy.services {
        (service.profile.weights, service.demand, service.line_penalty, service.chains.len())
            .hash(&mut hasher);
        service.chains.iter().for_each(|rule| (&rule.areas, &rule.pools, &rule.bias).hash(&mut hasher));
    }
    hasher.finish()
}
