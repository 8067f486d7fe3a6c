//! Makes a first plan cheaper for all together, not only for one group after another.
//!
//! ```text
//!          price of the unit that leaves (a gain)         cost there - cost here, least over the groups here
//!  outside ─────────────────────────────────────▶ node ──────────────────────────────────────────▶ node
//!     ▲                                              price of the next unit                          │
//!     └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Every cycle of negative length in this network is a way to make the plan cheaper: groups swap nodes,
//! or one makes room for another and goes where load is cheap. Cycles are sought (Bellman and Ford) and
//! cancelled, first with coarse steps of the congestion price, then with its own; without any left the
//! plan is a min-cost flow. The work is counted and bounded, so large worlds are improved as far as that
//! goes; worlds of more than 256 nodes are left as they are.
//!
//! What no node has room for is spread as well: beyond the cap the price goes on rising, above all costs. So
//! as little as possible is there, and it is where it is near and no node is far above its cap.
//!
//! Peers stay peers: on nodes without a price nobody leaves a node for one that is about as near. Groups
//! whose nodes have different weights keep what the walk gave them: weights are an order, costs a wish.

use super::cost::{congestion_price, nearness};
use super::load::part;
use super::order::Listed;
use super::pick::{LEAST_SHARE, MOST};
use super::sweep::Sweep;
use super::terrain::Outlook;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::placement::{PlacementMode, Share};
use std::collections::BTreeMap;

const MOST_NODES: usize = 256;
/// Questions about one (group, node) or (node, node): of worlds of up to [`FEW_NODES`], which end long before,
const MOST_WORK_OF_FEW: u64 = 32_000_000;
/// and of others: some 20 ms.
const MOST_WORK: u64 = 4_000_000;
const FEW_NODES: usize = 64;
/// Of the steps of the price that are taken as one, per round.
const GRAINS: [usize; 3] = [25, 5, 1];
/// Each part of a cycle must gain so much, or the last per mille would take most of the work.
const LEAST_GAIN_US: i64 = 50;
/// What a level further down the chain costs more than any node of this one.
const LEVEL_US: i64 = 1 << 32;
const NEVER_US: i64 = 1 << 50;
const OVER_US: i64 = 1 << 40;
const NOBODY: u32 = u32::MAX;
/// Beyond the cap the price goes on rising by so much for each part of the cap, of which there are so many:
/// many nodes a little above their caps are better than one far above.
pub const BEYOND_US: i64 = 100_000;
pub const BEYOND_STEPS: u64 = 16;

/// A pair and where it is.
struct Pair<'t> {
    service: usize,
    group: usize,
    outlook: Outlook<'t>,
    demand: u64,
    /// What of it is where, fine units.
    parts: Vec<(NodeId, u64)>,
    /// So many parts it may have: more than others only if it has them already.
    most: usize,
    is_changed: bool,
}

/// A node's load and how its price rises with it.
struct Gauge {
    load: u64,
    cap: u64,
    /// From which load on which marginal price; from 0.
    steps: Vec<(u64, i64)>,
}

struct Polish<'t> {
    pairs: Vec<Pair<'t>>,
    gauges: Vec<Gauge>,
    /// By node: pairs on it.
    here: Vec<Vec<u32>>,
    /// Row-major nodes x nodes: the least rise in cost of sending a unit on,
    rises: Vec<i64>,
    /// and of which pair.
    movers: Vec<u32>,
    grain: usize,
    work: u64,
    most_work: u64,
}

impl Sweep<'_> {
    /// Makes the plan cheaper as far as the work goes; how many pairs moved.
    pub fn polish(&mut self) -> usize {
        let nodes = self.terrain.signals.len();
        if nodes > MOST_NODES || !self.is_priced() || self.is_too_much() {
            return 0;
        }
        let pairs = self.polished_pairs();
        let mut polish = Polish::new(pairs, self.gauges());
        for grain in GRAINS {
            // Looking at everybody may be more than there is time for, and changes nothing by itself.
            if polish.work + polish.first_look() >= polish.most_work {
                break;
            }
            polish.grain = grain;
            (0..nodes).for_each(|node| polish.refresh(node));
            while polish.work < polish.most_work && polish.cancel() {}
        }
        let changed: Vec<_> = polish.changed().collect();
        let moved = changed.len();
        for (service, group, outlook, shares) in changed {
            self.rearrange(service, group, outlook, shares);
        }
        moved
    }

    fn is_priced(&self) -> bool {
        self.loads.price.iter().any(|&price| price > 0)
    }

    /// Whether the first look at those alone who are where a price is, of whom nobody is left out, is more than there
    /// is work for: then nothing would come of it.
    fn is_too_much(&self) -> bool {
        let most = most_work(self.terrain.signals.len());
        let mut work = 0;
        self.walk.order.iter().any(|&group| {
            work += (0..self.books.len()).map(|at| self.pressed_look(at, group as usize)).sum::<u64>();
            work >= most
        })
    }

    /// The work of looking at a pair that has a priced node.
    fn pressed_look(&self, service: usize, group: usize) -> u64 {
        let book = &self.books[service];
        let held = book.get(book.at[group]).filter(|held| held.mode == PlacementMode::Normal);
        let is_pressed = |share: &Share| self.loads.price[share.node.index()] > 0;
        let Some(held) = held.filter(|held| held.shares.iter().any(is_pressed)) else { return 0 };
        let ladder = self.terrain.ladder(service, group).filter(|ladder| ladder.is_even && !ladder.all_down);
        let Some(ladder) = ladder else { return 0 };
        let demand = self.demand.of(service, group);
        let parts = held.shares.iter().filter(|share| part(demand, share.share.0) > 0).count();
        parts as u64 * ladder.rungs.len() as u64
    }

    fn gauges(&self) -> Vec<Gauge> {
        let mut known: BTreeMap<(u64, u64), Vec<(u64, u32)>> = BTreeMap::new();
        let nodes = (0..self.terrain.signals.len()).map(NodeId::from_index);
        let gauge = |node: NodeId| {
            let load = self.loads.load(node);
            let Some((capacity, target, cap)) = self.loads.limits(node) else {
                let price = i64::from(self.loads.price[node.index()]);
                return Gauge { load, cap: u64::MAX, steps: vec![(0, price)] };
            };
            let steps = known.entry((target, cap)).or_insert_with(|| price_steps(target, cap));
            let at = |&(ppm, price): &(u64, u32)| {
                let from = (u128::from(capacity) * u128::from(ppm)).div_ceil(1_000_000);
                (u64::try_from(from).unwrap_or(u64::MAX), i64::from(price))
            };
            let full = self.loads.room(node).saturating_add(load).saturating_sub(self.loads.over_cap(node));
            // A hair below the cap: shares are rounded to ppm in the end.
            Gauge { load, cap: full.min(full - full / 4_096), steps: steps.iter().map(at).collect() }
        };
        nodes.map(gauge).collect()
    }
}

fn most_work(nodes: usize) -> u64 {
    if nodes <= FEW_NODES { MOST_WORK_OF_FEW } else { MOST_WORK }
}

/// From which utilisation on which price, both in ppm.
fn price_steps(target: u64, cap: u64) -> Vec<(u64, u32)> {
    let span = cap.saturating_sub(target).max(10_000);
    let mut steps = vec![(0, 0)];
    for way in 0..=1_000 {
        let ppm = target + (span * way).div_ceil(1_000);
        let price = congestion_price(ppm, target, cap);
        if ppm < cap && steps.last().is_some_and(|&(_, last)| price > last) {
            steps.push((ppm, price));
        }
    }
    steps
}

impl<'t> Sweep<'t> {
    /// In the order of the walk. Small worlds whole; of large ones, those who are where a price is or are
    /// not where they would like to be.
    fn polished_pairs(&self) -> Vec<Pair<'t>> {
        let mut pairs = Vec::new();
        let count = self.walk.order.len() * self.books.len();
        let is_small = count * self.terrain.signals.len() <= 1 << 18;
        for &group in &self.walk.order {
            for service in 0..self.books.len() {
                pairs.extend(self.polished(service, group as usize, is_small));
            }
        }
        pairs
    }

    fn polished(&self, service: usize, group: usize, anyway: bool) -> Option<Pair<'t>> {
        let demand = self.demand.of(service, group);
        let book = &self.books[service];
        let held = book.get(book.at[group]).filter(|held| held.mode == PlacementMode::Normal)?;
        let outlook = self.terrain.outlook(service, group).filter(|outlook| !outlook.ladder.all_down)?;
        if demand == 0 || !outlook.ladder.is_even {
            return None;
        }
        let is_pressed = |share: &Share| self.loads.price[share.node.index()] > 0;
        if !anyway && !held.shares.iter().any(is_pressed) {
            let first = if outlook.ladder.levels() > 0 { outlook.ladder.level(0) } else { &[] };
            let order = outlook.order(0);
            let cheapest = order.loose.iter().copied().chain(order.listed().next().map(Listed::node));
            let best = cheapest.map(|node| outlook.cost(node)).min()?;
            let near = i64::from(best) + i64::from(nearness(outlook.cost(first[0].node)));
            if held.shares.iter().all(|share| standing(outlook, share.node) < near) {
                return None;
            }
        }
        let parts = held.shares.iter().map(|share| (share.node, part(demand, share.share.0)));
        let parts: Vec<_> = parts.filter(|&(_, amount)| amount > 0).collect();
        let most = parts.len().max(MOST);
        Some(Pair { service, group, outlook, demand, parts, most, is_changed: false })
    }
}

/// Cost of a node, by level first.
fn standing(outlook: Outlook<'_>, node: NodeId) -> i64 {
    let level = outlook.ladder.rung(node).map_or(i64::from(u8::MAX), |rung| i64::from(rung.level));
    level * LEVEL_US + i64::from(outlook.cost(node))
}

impl Gauge {
    fn at(&self, load: u64) -> usize {
        self.steps.partition_point(|&(from, _)| from <= load).saturating_sub(1)
    }

    /// What another unit pays at most, and for how many that holds.
    fn next(&self, grain: usize) -> (i64, u64) {
        if self.load >= self.cap {
            // What is unserved wherever it is may be where it is near and spread.
            let (price, _, end) = self.beyond(self.load - self.cap);
            return (OVER_US + price, end - (self.load - self.cap));
        }
        let at = self.at(self.load);
        // Below the target there is one step; above, so many as the grain says are one.
        let last = if at == 0 { 0 } else { ((at - 1) / grain + 1) * grain };
        let last = last.min(self.steps.len() - 1);
        let end = self.steps.get(last + 1).map_or(u64::MAX, |&(from, _)| from).min(self.cap);
        (self.steps[last].1, end - self.load)
    }

    /// What the last unit pays at least, and for how many that holds.
    fn last(&self, grain: usize) -> (i64, u64) {
        if self.load > self.cap.saturating_add(self.cap / 2_048) {
            let (price, from, _) = self.beyond(self.load - self.cap - 1);
            return (OVER_US + price, self.load - self.cap - from);
        }
        let Some(below) = self.load.checked_sub(1) else { return (-NEVER_US, 0) };
        let at = self.at(below);
        let first = if at == 0 { 0 } else { (at - 1) / grain * grain + 1 };
        (self.steps[first].1, self.load - self.steps[first].0)
    }

    /// The price of the unit so far beyond the cap, from where on it is that, and up to where.
    fn beyond(&self, over: u64) -> (i64, u64, u64) {
        let width = (self.cap / BEYOND_STEPS).max(1);
        let step = over / width;
        match step < BEYOND_STEPS {
            true => (step as i64 * BEYOND_US, step * width, (step + 1) * width),
            false => (BEYOND_STEPS as i64 * BEYOND_US, BEYOND_STEPS * width, u64::MAX),
        }
    }

    fn is_priced(&self) -> bool {
        self.at(self.load) > 0
    }
}

impl<'t> Polish<'t> {
    fn new(pairs: Vec<Pair<'t>>, gauges: Vec<Gauge>) -> Self {
        let nodes = gauges.len();
        let mut here = vec![Vec::new(); nodes];
        for (at, pair) in pairs.iter().enumerate() {
            pair.parts.iter().for_each(|(node, _)| here[node.index()].push(at as u32));
        }
        Self {
            pairs,
            gauges,
            here,
            rises: vec![NEVER_US; nodes * nodes],
            movers: vec![NOBODY; nodes * nodes],
            grain: 1,
            work: 0,
            most_work: most_work(nodes),
        }
    }

    /// The work of refreshing every node.
    fn first_look(&self) -> u64 {
        let of_pair = |pair: &Pair<'_>| pair.parts.len() as u64 * pair.outlook.ladder.rungs.len() as u64;
        self.pairs.iter().map(of_pair).sum()
    }

    /// Recounts what it costs to send a unit on from a node.
    fn refresh(&mut self, node: usize) {
        let nodes = self.gauges.len();
        let rises = &mut self.rises[node * nodes..(node + 1) * nodes];
        let movers = &mut self.movers[node * nodes..(node + 1) * nodes];
        rises.fill(NEVER_US);
        movers.fill(NOBODY);
        let is_priced = self.gauges[node].is_priced();
        for &at in &self.here[node] {
            let pair = &self.pairs[at as usize];
            let from = standing(pair.outlook, NodeId::from_index(node));
            let is_split = pair.parts.len() >= pair.most;
            self.work += pair.outlook.ladder.rungs.len() as u64;
            for rung in &pair.outlook.ladder.rungs {
                let to = i64::from(rung.level) * LEVEL_US + i64::from(pair.outlook.cost(rung.node));
                let mut rise = to - from;
                if rise < 0 && !is_priced && from < to + i64::from(nearness((to % LEVEL_US) as u32)) {
                    rise = 0;
                }
                let to = rung.node.index();
                if rise < rises[to] && to != node {
                    let has_place = !is_split || pair.parts.iter().any(|&(held, _)| held == rung.node);
                    if has_place {
                        (rises[to], movers[to]) = (rise, at);
                    }
                }
            }
        }
    }

    /// Length of an arc; the vertex after the nodes is outside.
    fn length(&self, from: usize, to: usize) -> i64 {
        let nodes = self.gauges.len();
        LEAST_GAIN_US
            + match (from == nodes, to == nodes) {
                (true, _) => -self.gauges[to].last(self.grain).0,
                (_, true) => self.gauges[from].next(self.grain).0,
                _ => self.rises[from * nodes + to],
            }
    }

    /// Finds cycles of negative length and cancels them. False: there are none.
    fn cancel(&mut self) -> bool {
        let nodes = self.gauges.len();
        let outside = nodes;
        let enter: Vec<i64> = (0..nodes).map(|to| self.length(outside, to)).collect();
        let leave: Vec<i64> = (0..nodes).map(|from| self.length(from, outside)).collect();
        let mut far = vec![0_i64; nodes + 1];
        let mut before = vec![usize::MAX; nodes + 1];
        // As far as it was when its arcs were last looked at: until it is nearer they tell nothing new.
        let mut looked = vec![i64::MAX; nodes + 1];
        loop {
            let mut is_settled = true;
            for from in 0..nodes {
                let is_nearer = std::mem::replace(&mut looked[from], far[from]) != far[from];
                if !self.here[from].is_empty() {
                    // A look that is spared counts as well: what is found must not depend on it.
                    self.work += nodes as u64;
                    let start = far[from] + LEAST_GAIN_US;
                    let row = &self.rises[from * nodes..(from + 1) * nodes];
                    let arcs = row.iter().zip(&mut far[..nodes]).enumerate();
                    for (to, (&rise, far)) in arcs.take(if is_nearer { nodes } else { 0 }) {
                        if start + rise < *far {
                            (*far, before[to], is_settled) = (start + rise, from, false);
                        }
                    }
                }
                if far[from] + leave[from] < far[outside] {
                    (far[outside], before[outside], is_settled) = (far[from] + leave[from], from, false);
                }
            }
            if std::mem::replace(&mut looked[outside], far[outside]) != far[outside] {
                for (to, &enter) in enter.iter().enumerate() {
                    if far[outside] + enter < far[to] {
                        (far[to], before[to], is_settled) = (far[outside] + enter, outside, false);
                    }
                }
            }
            if is_settled {
                return false;
            }
            let cycles = cycles(&before);
            if !cycles.is_empty() {
                cycles.iter().for_each(|cycle| self.apply(cycle));
                return true;
            }
            if self.work >= self.most_work {
                return false;
            }
        }
    }

    /// Sends as much as it takes around a cycle: `cycle[i]` to `cycle[i + 1]`, the last to the first.
    fn apply(&mut self, cycle: &[usize]) {
        let nodes = self.gauges.len();
        let arcs = || (0..cycle.len()).map(|at| (cycle[at], cycle[(at + 1) % cycle.len()]));
        let width = |(from, to): (usize, usize)| match (from == nodes, to == nodes) {
            (true, _) => self.gauges[to].last(self.grain).1,
            (_, true) => self.gauges[from].next(self.grain).1,
            _ => self.amount(self.movers[from * nodes + to], from),
        };
        let amount = arcs().map(width).min().unwrap_or(0);
        let moves: Vec<_> = arcs().filter(|&(from, to)| from != nodes && to != nodes).collect();
        let movers: Vec<u32> = moves.iter().map(|&(from, to)| self.movers[from * nodes + to]).collect();
        for (&(from, to), who) in moves.iter().zip(movers) {
            self.send(who, from, to, amount);
        }
        for &node in cycle.iter().filter(|&&vertex| vertex != nodes) {
            self.refresh(node);
        }
    }

    fn amount(&self, pair: u32, node: usize) -> u64 {
        let parts = self.pairs.get(pair as usize).map_or(&[][..], |pair| &pair.parts);
        parts.iter().find(|(held, _)| held.index() == node).map_or(0, |&(_, amount)| amount)
    }

    fn send(&mut self, who: u32, from: usize, to: usize, amount: u64) {
        let pair = &mut self.pairs[who as usize];
        pair.is_changed = true;
        for (node, held) in &mut pair.parts {
            if node.index() == from {
                *held -= amount;
            }
        }
        if pair.parts.iter().any(|&(node, held)| node.index() == from && held == 0) {
            pair.parts.retain(|&(node, _)| node.index() != from);
            self.here[from].retain(|&other| other != who);
        }
        match pair.parts.iter_mut().find(|(node, _)| node.index() == to) {
            Some((_, held)) => *held += amount,
            None => {
                pair.parts.push((NodeId::from_index(to), amount));
                self.here[to].push(who);
            }
        }
        self.gauges[from].load -= amount;
        self.gauges[to].load += amount;
    }

    /// Pairs that moved, with their shares.
    fn changed(mut self) -> impl Iterator<Item = (usize, usize, Outlook<'t>, Vec<Share>)> {
        let mut changed = Vec::new();
        for pair in self.pairs.iter_mut().filter(|pair| pair.is_changed) {
            tidy(pair, &mut self.gauges);
            changed.push((pair.service, pair.group, pair.outlook, shares(pair)));
        }
        changed.into_iter()
    }
}

/// Gives parts too small to be worth a slot to the largest, where its node has room.
fn tidy(pair: &mut Pair<'_>, gauges: &mut [Gauge]) {
    let Some(most) = pair.parts.iter().max_by_key(|&&(node, held)| (held, std::cmp::Reverse(node))).copied()
    else {
        return;
    };
    let small = part(pair.demand, LEAST_SHARE);
    for at in 0..pair.parts.len() {
        let (node, held) = pair.parts[at];
        let into = &mut gauges[most.0.index()];
        if node != most.0 && held < small && into.load.saturating_add(held) <= into.cap {
            into.load += held;
            gauges[node.index()].load -= held;
            pair.parts[at].1 = 0;
        }
    }
}

/// The parts in ppm. What rounding leaves goes to the largest.
fn shares(pair: &Pair<'_>) -> Vec<Share> {
    let all: u64 = pair.parts.iter().map(|&(_, held)| held).sum();
    let share = |held: u64| (u128::from(held) * 1_000_000 / u128::from(all.max(1))) as u32;
    let kept = pair.parts.iter().filter(|&&(_, held)| share(held) > 0);
    let mut shares: Vec<Share> = kept.map(|&(node, held)| Share { node, share: Ppm(share(held)) }).collect();
    shares.sort_unstable_by_key(|share| (std::cmp::Reverse(share.share), share.node));
    let rest = Ppm::WHOLE.0.saturating_sub(shares.iter().map(|share| share.share.0).sum());
    if let Some(first) = shares.first_mut() {
        first.share.0 += rest;
    }
    shares
}

/// Cycles among the predecessors, each from some vertex forward. No two share a vertex.
fn cycles(before: &[usize]) -> Vec<Vec<usize>> {
    let mut seen = vec![usize::MAX; before.len()];
    let mut found = Vec::new();
    for start in 0..before.len() {
        let mut at = start;
        while at != usize::MAX && seen[at] == usize::MAX {
            seen[at] = start;
            at = before[at];
        }
        if at != usize::MAX && seen[at] == start {
            let mut cycle = vec![at];
            let mut back = before[at];
            while back != at {
                cycle.push(back);
                back = before[back];
            }
            cycle.reverse();
            found.push(cycle);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn predecessors_give_their_cycles_forward() {
        // 0 <- 1 <- 2 <- 0, 3 <- 2, 4 alone.
        let none = usize::MAX;
        assert_eq!(cycles(&[1, 2, 0, 2, none]), [vec![2, 1, 0]]);
        assert!(cycles(&[none, 0, 1]).is_empty());
    }

    #[test]
    fn the_group_that_loses_least_gives_way() {
        // The larger group is placed first and takes the node that only the smaller needs.
        let mut w = spread(&[&[20, 25], &[20, 200]], vec![service("s", vec![pool(&[0, 1])])]);
        w.groups[0].v4_slash24 = 2_000;
        w.policy.services[0].demand = Some(160);
        let w = w.capacity(&[100, 200]);
        let plan = plan_first(&w);
        let of = |group| shares(&plan.assignment, group)[0].0;
        assert_eq!((of(0), of(1)), (1, 0), "{:?}", plan.planned_load);
    }

    fn shares(assignment: &crate::model::placement::Assignment, group: usize) -> Vec<(u16, u32)> {
        super::super::testing::shares(assignment, group)
    }
}
