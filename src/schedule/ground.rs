//! What a plan stands on that only an edit changes: which groups and chains are alike, penalties, and
//! which rule is whose.
//!
//! ```text
//! groups, latencies ─▶ place ─┐
//! line, areas ────────────────┴▶ class     groups of one are alike to every service
//! pools of a chain ───────────▶ chain      equal chains of all services are one ladder
//! policy ─────────────────────▶ rules, penalties, money
//! ```
//! It is made from policy, groups and latencies alone, and kept from plan to plan beside a copy of them:
//! it is used again only where they are equal, so that a plan comes out the same with and without.

use super::PlanInput;
use super::change;
use super::cost;
use super::demand::Assumed;
use super::ladder;
use crate::base::hash::stable_hash;
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::ids::{LineId, NodeId, PoolId};
use crate::model::placement::{Latencies, PathQuality};
use crate::model::policy::Policy;
use crate::model::service::{Bias, ChainRule, Method, Pool, Service};
use std::collections::HashMap;
use std::hash::Hash;

const NO_CHAIN: u32 = u32::MAX;

/// See the module's picture.
pub(super) struct Ground {
    policy: Policy,
    groups: Vec<ClientGroup>,
    latencies: Latencies,
    pub assumed: Assumed,
    /// By group.
    pub classes: Vec<u32>,
    pub class_count: usize,
    /// By class: how many groups.
    pub class_sizes: Vec<u32>,
    /// By class: what chooses among nodes that are all alike to it, when there are too many.
    seeds: Vec<u64>,
    /// By group.
    pub places: Vec<u32>,
    /// By place: a group that is there,
    pub samples: Vec<usize>,
    /// and whether anything is measured from there.
    pub is_measured: Vec<bool>,
    area_sets: Vec<u32>,
    area_set_count: usize,
    /// services x area sets: position of the rule,
    rules: Vec<Option<u16>>,
    /// and the number of its chain; without a rule [`NO_CHAIN`].
    chain_of: Vec<u32>,
    /// By service: position of what its profile makes of a distance.
    pub shapes: Vec<usize>,
    /// By service: those with equal numbers want the same of the same chain.
    pub tastes: Vec<u32>,
    pub taste_count: usize,
    pub shape_count: usize,
    /// (services x (lines + 1)) x nodes; the last row of a service is for clients of no known line.
    /// Line penalty and price in money.
    pub penalties: Vec<u32>,
    /// Services x nodes: the price in money alone.
    pub money: Vec<u32>,
    pub line_rows: usize,
    /// By node.
    pub sites: Vec<u32>,
    /// By service and rule: the number of its chain.
    pub chains: Vec<Vec<u32>>,
    /// By number: a service and rule that has it.
    pub chain_samples: Vec<(usize, usize)>,
    /// A fingerprint of all that stays but chains and what nodes offer.
    pub world: u64,
}

impl Ground {
    pub fn of(input: &PlanInput<'_>) -> Self {
        let policy = input.policy;
        let (places, samples) = places(input.groups, input.latencies);
        let (area_sets, area_samples) = classify(input.groups.iter().map(|group| group.areas.as_slice()));
        let (classes, class_samples) =
            classify((0..input.groups.len()).map(|g| (places[g], input.groups[g].line, area_sets[g])));
        let mut class_sizes = vec![0; class_samples.len()];
        for &class in &classes {
            class_sizes[class as usize] += 1;
        }
        // The least of all, so that neither the order of groups nor who else is there matters.
        let mut seeds = vec![u64::MAX; class_samples.len()];
        for (group, &class) in input.groups.iter().zip(&classes) {
            let seed = &mut seeds[class as usize];
            *seed = stable_hash(group.key.as_bytes()).min(*seed);
        }
        let rules = policy.services.iter().flat_map(|service| {
            let rule = |&sample: &usize| ladder::rule_for(service, &input.groups[sample].areas);
            area_samples.iter().map(rule).map(|rule| rule.and_then(|rule| u16::try_from(rule).ok()))
        });
        let rules: Vec<Option<u16>> = rules.collect();
        let money = money(policy);
        let (shapes, shape_samples) =
            classify(policy.services.iter().map(|service| service.profile.weights.shape));
        let (chains, chain_samples) = chains(policy);
        let penalties = penalties(policy, &money);
        let own = (policy.clients.lines.len() + 1) * policy.fleet.nodes.len();
        let taste = |(at, service): (usize, &Service)| {
            (shapes[at], service.answers, &penalties[at * own..(at + 1) * own])
        };
        let (tastes, taste_samples) = classify(policy.services.iter().enumerate().map(taste));
        Self {
            chain_of: chain_of(&rules, &chains),
            rules,
            shapes: shapes.into_iter().map(|shape| shape as usize).collect(),
            shape_count: shape_samples.len(),
            is_measured: samples.iter().map(|&group| is_measured(input.latencies.votes(group))).collect(),
            samples,
            tastes,
            taste_count: taste_samples.len(),
            penalties,
            money,
            line_rows: policy.clients.lines.len() + 1,
            sites: policy.fleet.nodes.iter().map(|node| node.site.index() as u32).collect(),
            area_set_count: area_samples.len(),
            class_count: class_samples.len(),
            class_sizes,
            seeds,
            classes,
            places,
            area_sets,
            chains,
            chain_samples,
            assumed: Assumed::of(input.groups),
            world: change::world(input),
            policy: policy.clone(),
            groups: input.groups.to_vec(),
            latencies: input.latencies.clone(),
        }
    }

    /// Whether it would come out the same for `input`.
    pub fn is_of(&self, input: &PlanInput<'_>) -> bool {
        self.groups == input.groups && self.latencies == *input.latencies && self.policy == *input.policy
    }

    #[inline]
    pub fn rule(&self, service: usize, group: usize) -> Option<usize> {
        let set = self.area_sets[group] as usize;
        self.rules[service * self.area_set_count + set].map(usize::from)
    }

    /// The number of the chain of a group's rule.
    #[inline]
    pub fn chain(&self, service: usize, group: usize) -> Option<usize> {
        let chain = self.chain_of[service * self.area_set_count + self.area_sets[group] as usize];
        (chain != NO_CHAIN).then_some(chain as usize)
    }

    /// Which areas a group is in, as a number.
    #[inline]
    pub fn area_set(&self, group: usize) -> usize {
        self.area_sets[group] as usize
    }

    /// As [`rule`](Self::rule), by number of the areas.
    pub fn rules(&self, service: usize) -> &[Option<u16>] {
        &self.rules[service * self.area_set_count..(service + 1) * self.area_set_count]
    }

    pub fn seed(&self, group: usize) -> u64 {
        self.seeds[self.classes[group] as usize]
    }

    /// What a service pays for a node, us.
    pub fn money_us(&self, service: usize, node: NodeId) -> u32 {
        self.money[service * self.sites.len() + node.index()]
    }

    /// What all nodes cost clients of a line beside the distance, by node, us.
    #[inline]
    pub fn penalties(&self, service: usize, line: Option<LineId>) -> &[u32] {
        let line = line.map_or(self.line_rows - 1, LineId::index);
        let at = (service * self.line_rows + line.min(self.line_rows - 1)) * self.sites.len();
        &self.penalties[at..at + self.sites.len()]
    }
}

/// Numbers equal keys equally, in order of first appearance; also a sample position for each number.
fn classify<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> (Vec<u32>, Vec<usize>) {
    // Looked up, never iterated.
    let mut numbers = HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0));
    let mut samples = Vec::new();
    let number = keys.enumerate().map(|(position, key)| {
        *numbers.entry(key).or_insert_with(|| {
            samples.push(position);
            (samples.len() - 1) as u32
        })
    });
    (number.collect(), samples)
}

fn is_measured(votes: &[u16]) -> bool {
    votes.iter().any(|&votes| votes > 0)
}

/// Groups that are as far from every site, by as much evidence, are at one place.
fn places(groups: &[ClientGroup], latencies: &Latencies) -> (Vec<u32>, Vec<usize>) {
    // Almost always empty, which allocates nothing.
    let quality = |path: &PathQuality| (path.site, path.quality);
    let key = |group| {
        let quality: Vec<_> = latencies.quality(group).iter().map(quality).collect();
        (latencies.row(group), latencies.votes(group), quality)
    };
    classify((0..groups.len()).map(key))
}

/// The pools, each with the number of what it offers, and the bias.
type ChainKey<'p> = (Vec<(PoolId, Option<u32>)>, &'p [Bias]);

/// Which rules have the same nodes in the same order under the same conditions and with the same bias: they
/// are one ladder.
fn chains(policy: &Policy) -> (Vec<Vec<u32>>, Vec<(usize, usize)>) {
    let members = |pool: &Pool| -> (Ppm, Method, Vec<(NodeId, u16)>) {
        let members = pool.members.iter().map(|member| (member.node, member.weight));
        (pool.min_alive, pool.method, members.collect())
    };
    let all_pools = policy.services.iter().flat_map(|service| &service.pools);
    let (pools, _) = classify(all_pools.map(members));
    let mut first = 0;
    let mut keys: Vec<ChainKey<'_>> = Vec::new();
    let mut places = Vec::new();
    for (at, service) in policy.services.iter().enumerate() {
        let own = &pools[first..first + service.pools.len()];
        first += service.pools.len();
        for (rule, chain) in service.chains.iter().enumerate() {
            let pools = chain.pools.iter().map(|&pool| (pool, own.get(pool.index()).copied()));
            keys.push((pools.collect(), &chain.bias));
            places.push((at, rule));
        }
    }
    let (numbers, samples) = classify(keys.iter());
    let mut numbers = numbers.into_iter();
    let of_service = |chains: &Vec<ChainRule>| numbers.by_ref().take(chains.len()).collect();
    let chains = policy.services.iter().map(|service| &service.chains).map(of_service).collect();
    (chains, samples.into_iter().map(|sample| places[sample]).collect())
}

/// `rules`: of as many area sets for every service.
fn chain_of(rules: &[Option<u16>], chains: &[Vec<u32>]) -> Vec<u32> {
    let sets = rules.len() / chains.len().max(1);
    let of_rule = |(at, rule): (usize, &Option<u16>)| {
        rule.and_then(|rule| chains[at / sets].get(usize::from(rule)).copied()).unwrap_or(NO_CHAIN)
    };
    rules.iter().enumerate().map(of_rule).collect()
}

pub(super) fn line_penalty(policy: &Policy, due_us: u32, line: Option<LineId>, node: NodeId) -> u32 {
    match (line, policy.fleet.nodes[node.index()].line) {
        (Some(client), Some(node)) if client != node => due_us,
        _ => 0,
    }
}

fn money(policy: &Policy) -> Vec<u32> {
    let nodes = &policy.fleet.nodes;
    let of_service = |service: &Service| {
        let weights = service.profile.weights;
        nodes.iter().map(move |node| cost::money_us(&weights, node.cost_per_unit))
    };
    policy.services.iter().flat_map(of_service).collect()
}

/// `money`: of each service on each node.
fn penalties(policy: &Policy, money: &[u32]) -> Vec<u32> {
    let (nodes, lines) = (policy.fleet.nodes.len(), policy.clients.lines.len());
    let mut penalties = Vec::with_capacity(money.len() * (lines + 1));
    for (at, service) in policy.services.iter().enumerate() {
        let due = cost::line_us(&service.profile.weights, service.line_penalty);
        for line in (0..=lines).map(|line| (line < lines).then(|| LineId::from_index(line))) {
            let own = money[at * nodes..(at + 1) * nodes].iter().zip(policy.fleet.node_ids());
            penalties.extend(own.map(|(&money, node)| line_penalty(policy, due, line, node) + money));
        }
    }
    penalties
}
