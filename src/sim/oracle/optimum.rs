//! The exact optimum of a small world, and its proof: a min-cost flow with convex prices.
//!
//! ```text
//!            cost             price: steps, rising
//!  pair ──────────▶ node ─────────────────────────▶ served        (beyond the cap: a price above all)
//!    ▲                │ what is there may go elsewhere: cost there - cost here,
//!    └── one by one   └───────▶ node                                 least over all pairs on it
//! ```
//! Pairs (service, group) come one by one; each takes the cheapest way to where another unit is served
//! cheapest, sending on whoever is in its way, until all of it is placed (successive shortest paths over
//! a network of the nodes alone). Prices of nodes only rise by that.
//!
//! The proof is the dual: with `l(n)` the price of a node at the end,
//! `sum of demand x least(cost + l) - sum over nodes of (most that load could earn at l)`
//! is a lower bound of every plan's cost by weak duality, whatever the algorithm did; if it equals the cost
//! found, both are exact. Amounts are the planner's fine units; everything is an integer.

use super::instances::Instance;
use crate::model::ids::{AreaId, LineId, NodeId};
use crate::model::service::Service;
use crate::model::verdict::NodeHealth;
use crate::schedule::cost::{NodeSignal, Path, congestion_price, terms};
use crate::schedule::{BEYOND_STEPS, BEYOND_US, weights};

const FINE_BITS: u32 = 16;
/// Price beyond the cap, us, and what it rises by there: no way around it is dearer.
const OVER_US: i64 = 1 << 40;
/// Cost of a node that is not allowed.
const NEVER_US: i64 = 1 << 50;

/// Demand, costs and prices.
pub struct Problem {
    pub nodes: usize,
    /// By pair (services x groups), fine units; pairs without an allowed node ask for nothing.
    pub demand: Vec<u64>,
    /// Row-major pairs x nodes, us.
    cost: Vec<i64>,
    meters: Vec<Meter>,
}

/// How a node's price rises.
struct Meter {
    /// From which load on which marginal price: ascending, from 0; the last is beyond the cap.
    steps: Vec<(u64, i64)>,
    cap: u64,
}

/// The best there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optimum {
    /// us x fine units, congestion included.
    pub cost: i128,
    /// Fine units above caps.
    pub over: u64,
    /// Cost with what is over priced, as found and as the dual says.
    found: i128,
    bound: i128,
}

impl Optimum {
    /// Whether no plan can be better.
    pub fn is_proven(&self) -> bool {
        self.found == self.bound
    }
}

impl Problem {
    pub fn of(instance: &Instance, health: &[NodeHealth]) -> Self {
        let policy = &instance.policy;
        let nodes = policy.fleet.nodes.len();
        let shares = weights(&instance.groups);
        let total = u128::from(shares.iter().sum::<u64>().max(1));
        let signals: Vec<NodeSignal> = health.iter().map(|health| NodeSignal::of(Some(health))).collect();
        let (mut demand, mut cost) = (Vec::new(), Vec::new());
        for service in &policy.services {
            let asked = service.demand.unwrap_or(0) << FINE_BITS;
            for (group, &share) in shares.iter().enumerate() {
                let allowed = allowed(service, &instance.groups[group].areas, &signals);
                let of_node = |node| match allowed.contains(&node) {
                    true => cost_of(instance, service, group, node, &signals[node.index()]),
                    false => NEVER_US,
                };
                cost.extend(policy.fleet.node_ids().map(of_node));
                let part = (u128::from(asked) * u128::from(share) / total) as u64;
                demand.push(if allowed.is_empty() { 0 } else { part });
            }
        }
        let meters = policy.fleet.nodes.iter().map(Meter::of).collect();
        Self { nodes, demand, cost, meters }
    }

    fn cost(&self, pair: usize, node: usize) -> i64 {
        self.cost[pair * self.nodes + node]
    }

    /// Cost (congestion included) and what is above caps, of flows row-major pairs x nodes.
    pub fn value(&self, flows: &[u64]) -> (i128, u64) {
        let mut load = vec![0; self.nodes];
        let mut cost = 0;
        for (at, &flow) in flows.iter().enumerate() {
            load[at % self.nodes] += flow;
            cost += if flow == 0 { 0 } else { i128::from(flow) * i128::from(self.cost[at]) };
        }
        let mut over = 0;
        for (meter, &load) in self.meters.iter().zip(&load) {
            over += load.saturating_sub(meter.cap);
            cost += meter.price(load);
        }
        (cost, over)
    }

    pub fn solve(&self) -> Optimum {
        let mut solver = Solver::new(self);
        for pair in 0..self.demand.len() {
            solver.insert(pair);
        }
        let (cost, over) = self.value(&solver.flows);
        let beyond = |meter: &Meter| i128::from(OVER_US) - i128::from(meter.price_at_cap());
        let pairs = self.meters.iter().zip(&solver.load);
        let fines = pairs.map(|(meter, &load)| i128::from(load.saturating_sub(meter.cap)) * beyond(meter));
        Optimum { cost, over, found: cost + fines.sum::<i128>(), bound: self.bound(&solver.price) }
    }

    /// The dual at these prices of nodes.
    fn bound(&self, price: &[i64]) -> i128 {
        let pay = |(pair, &demand): (usize, &u64)| {
            let least = (0..self.nodes).map(|node| self.cost(pair, node) + price[node]).min().unwrap_or(0);
            i128::from(demand) * i128::from(least)
        };
        let paid: i128 = self.demand.iter().enumerate().filter(|(_, demand)| **demand > 0).map(pay).sum();
        let earned: i128 = self.meters.iter().zip(price).map(|(meter, &price)| meter.surplus(price)).sum();
        paid - earned
    }
}

/// Nodes of the chain that may serve; the instances' chains have one pool.
fn allowed(service: &Service, areas: &[AreaId], signals: &[NodeSignal]) -> Vec<NodeId> {
    let pools = service.chain_for(areas).map_or(&[][..], |rule| &rule.pools);
    let members = pools.iter().flat_map(|pool| &service.pools[pool.index()].members);
    members.map(|member| member.node).filter(|node| signals[node.index()].may_serve).collect()
}

fn cost_of(instance: &Instance, service: &Service, group: usize, node: NodeId, signal: &NodeSignal) -> i64 {
    let fleet = &instance.policy.fleet;
    let prior = instance.latencies.row(group)[fleet.node(node).site.index()];
    let foreign = |a: Option<LineId>, b: Option<LineId>| a.is_some() && b.is_some() && a != b;
    let crosses = foreign(instance.groups[group].line, fleet.node(node).line);
    let line = if crosses { service.line_penalty.0 } else { 0 };
    let path = Path { distance: prior, ..Path::default() };
    let rule = service.chain_for(&instance.groups[group].areas);
    let bias = rule.and_then(|rule| rule.bias.iter().find(|bias| bias.node == node));
    let terms = terms(service.profile.weights.shape, path, signal).with_line(line, 0);
    i64::from(terms.with_price(0, bias.map_or(0, |bias| bias.by_us), 0).total_us)
}

impl Meter {
    fn of(node: &crate::model::fleet::Node) -> Self {
        let Some(capacity) = &node.capacity else { return Self { steps: vec![(0, 0)], cap: u64::MAX } };
        let amount = capacity.amount << FINE_BITS;
        let (target, cap) = (u64::from(capacity.target.0), u64::from(capacity.cap.0));
        let load_at = |ppm: u64| (u128::from(amount) * u128::from(ppm)).div_ceil(1_000_000) as u64;
        let cap_load = capacity.cap.of(amount);
        let mut steps = vec![(0, 0)];
        // Prices change only where the way from target to cap reaches another thousandth.
        for way in 0..=1_000 {
            let ppm = target + (cap.saturating_sub(target).max(10_000) * way).div_ceil(1_000);
            let price = i64::from(congestion_price(ppm, target, cap));
            if load_at(ppm) < cap_load && steps.last().is_some_and(|&(_, last)| price > last) {
                steps.push((load_at(ppm), price));
            }
        }
        let width = (cap_load / BEYOND_STEPS).max(1);
        steps.extend((0..=BEYOND_STEPS).map(|at| (cap_load + at * width, OVER_US + at as i64 * BEYOND_US)));
        Self { steps, cap: cap_load }
    }

    /// Position of the step that the next unit is on.
    fn step(&self, load: u64) -> usize {
        self.steps.partition_point(|&(from, _)| from <= load) - 1
    }

    /// What the next unit pays, and how many units pay that.
    fn next(&self, load: u64) -> (i64, u64) {
        let at = self.step(load);
        let end = self.steps.get(at + 1).map_or(u64::MAX, |&(from, _)| from);
        (self.steps[at].1, end - load)
    }

    fn price_at_cap(&self) -> i64 {
        self.steps.iter().map(|&(_, price)| price).take_while(|&price| price < OVER_US).last().unwrap_or(0)
    }

    /// What all units of a load pay. The price goes on beyond the cap: being unserved is no cost, but counted.
    fn price(&self, load: u64) -> i128 {
        let pay = |at: usize| {
            let (from, price) = self.steps[at];
            let price = if price < OVER_US { price } else { price - OVER_US + self.price_at_cap() };
            let end = self.steps.get(at + 1).map_or(u64::MAX, |&(from, _)| from).min(load);
            i128::from(end.saturating_sub(from)) * i128::from(price)
        };
        (0..self.steps.len()).map(pay).sum()
    }

    /// What load could earn at most if each unit were paid `price`.
    fn surplus(&self, price: i64) -> i128 {
        let earn = |at: usize| {
            let (from, pays) = self.steps[at];
            let end = self.steps.get(at + 1).map_or(from, |&(from, _)| from);
            i128::from(end - from) * i128::from((price - pays).max(0))
        };
        (0..self.steps.len()).map(earn).sum()
    }
}

/// The flow in the making.
struct Solver<'a> {
    problem: &'a Problem,
    /// Row-major pairs x nodes.
    flows: Vec<u64>,
    load: Vec<u64>,
    /// By node: pairs on it.
    here: Vec<Vec<u32>>,
    /// Row-major nodes x nodes: what sending a unit on costs at least, and whose unit that is.
    onward: Vec<(i64, u32)>,
    /// By node: the least it costs to serve another unit that arrives there.
    price: Vec<i64>,
    /// By node: where that unit pushes one on to; itself: nowhere.
    next: Vec<usize>,
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem) -> Self {
        let nodes = problem.nodes;
        let mut solver = Self {
            problem,
            flows: vec![0; problem.demand.len() * nodes],
            load: vec![0; nodes],
            here: vec![Vec::new(); nodes],
            onward: vec![(NEVER_US, 0); nodes * nodes],
            price: vec![0; nodes],
            next: (0..nodes).collect(),
        };
        solver.measure();
        solver
    }

    /// Places all of a pair.
    fn insert(&mut self, pair: usize) {
        let mut left = self.problem.demand[pair];
        while left > 0 {
            let cost = |&node: &usize| self.problem.cost(pair, node).saturating_add(self.price[node]);
            let Some(entry) = (0..self.problem.nodes).min_by_key(cost) else { return };
            left -= self.push(pair, entry, left);
            self.measure();
        }
    }

    /// Sends up to `most` of a pair in by a node and whoever is in the way on; how much.
    fn push(&mut self, pair: usize, entry: usize, most: u64) -> u64 {
        let nodes = self.problem.nodes;
        let mut way = vec![entry];
        let mut amount = most;
        while self.next[way[way.len() - 1]] != way[way.len() - 1] {
            let (from, to) = (way[way.len() - 1], self.next[way[way.len() - 1]]);
            let who = self.onward[from * nodes + to].1 as usize;
            amount = amount.min(self.flows[who * nodes + from]);
            way.push(to);
        }
        let last = way[way.len() - 1];
        amount = amount.min(self.problem.meters[last].next(self.load[last]).1);
        // Whom to send on is read before anybody moves.
        let movers: Vec<usize> =
            way.windows(2).map(|hop| self.onward[hop[0] * nodes + hop[1]].1 as usize).collect();
        self.arrive(pair, entry, amount);
        for (hop, who) in way.windows(2).zip(movers) {
            self.flows[who * nodes + hop[0]] -= amount;
            self.arrive(who, hop[1], amount);
        }
        self.load[last] += amount;
        way.iter().for_each(|&node| self.refresh(node));
        amount
    }

    fn arrive(&mut self, pair: usize, node: usize, amount: u64) {
        let flow = &mut self.flows[pair * self.problem.nodes + node];
        if *flow == 0 {
            self.here[node].push(pair as u32);
        }
        *flow += amount;
    }

    /// Recounts what it costs to send a unit on from a node.
    fn refresh(&mut self, node: usize) {
        let nodes = self.problem.nodes;
        let flows = &self.flows;
        self.here[node].retain(|&pair| flows[pair as usize * nodes + node] > 0);
        self.here[node].sort_unstable();
        self.here[node].dedup();
        for to in 0..nodes {
            let rise = |&pair: &u32| {
                let pair = pair as usize;
                (self.problem.cost(pair, to) - self.problem.cost(pair, node), pair as u32)
            };
            let least = self.here[node].iter().map(rise).min();
            self.onward[node * nodes + to] = least.unwrap_or((NEVER_US, 0));
        }
    }

    /// The cheapest way from every node to where a unit is served (Bellman and Ford, with a queue).
    fn measure(&mut self) {
        let nodes = self.problem.nodes;
        for node in 0..nodes {
            (self.price[node], self.next[node]) = (self.problem.meters[node].next(self.load[node]).0, node);
        }
        let mut queue: std::collections::VecDeque<usize> = (0..nodes).collect();
        let mut queued = vec![true; nodes];
        while let Some(to) = queue.pop_front() {
            queued[to] = false;
            for from in (0..nodes).filter(|&from| from != to) {
                let price = self.onward[from * nodes + to].0.saturating_add(self.price[to]);
                if price < self.price[from] {
                    (self.price[from], self.next[from]) = (price, to);
                    if !queued[from] {
                        queued[from] = true;
                        queue.push_back(from);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(demand: &[u64], cost: &[&[i64]], caps: &[u64]) -> Problem {
        let meter = |&cap: &u64| Meter { steps: vec![(0, 0), (cap / 2, 5), (cap, OVER_US)], cap };
        Problem {
            nodes: caps.len(),
            demand: demand.to_vec(),
            cost: cost.concat(),
            meters: caps.iter().map(meter).collect(),
        }
    }

    #[test]
    fn whoever_loses_least_gives_way() {
        // Both want node 0, which carries 4 (2 of them for 5 more each); the second loses less.
        let best = problem(&[4, 4], &[&[10, 100], &[10, 20]], &[4, 8]).solve();
        assert_eq!((best.cost, best.over), (4 * 10 + 2 * 5 + 4 * 20, 0));
        assert!(best.is_proven());
    }

    #[test]
    fn a_fence_is_held_and_what_does_not_fit_is_over() {
        let best = problem(&[6, 4], &[&[10, NEVER_US], &[10, 20]], &[4, 8]).solve();
        assert_eq!(best.over, 2);
        assert_eq!(best.cost, 6 * 10 + 2 * 5 + 2 * 5 + 4 * 20);
        assert!(best.is_proven());
    }

    #[test]
    fn every_optimum_of_the_instances_is_proven() {
        for (at, is_tight) in [(0, false), (1, false), (0, true)] {
            let instance = Instance::random(3, at, is_tight);
            let best = Problem::of(&instance, &instance.health).solve();
            assert!(best.is_proven() && best.cost > 0, "{at} {is_tight}: {best:?}");
        }
    }
}
