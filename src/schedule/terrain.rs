//! Everything about a plan that does not change while it is made: prices at a distance, ladders,
//! and which groups are alike.
//!
//! ```text
//!  group ─▶ place (equal rows of latencies) ─▶ row of costs per profile ─┐
//!        ─▶ line ─────────────────▶ row of line penalties per service ───┼─▶ Outlook
//!        ─▶ areas ─┬──────────────▶ rule per service ─▶ Ladder ──────────┘
//!        ─▶ line ──┴──────────────▶ view: what lines and areas can reach ┘
//! ```
//! Costs are kept per (profile, place), not per (service, group): services and groups share them.
//! Groups of one place, line and set of areas are one *class*: what is best for one is for all. There is
//! one view, and one ladder per rule, until a line or area cannot reach a node that others can.

use super::PlanInput;
use super::cost::{self, CostTerms, NodeSignal, Path};
use super::ladder::{self, Ladder};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::clients::ClientGroup;
use crate::model::ids::{LineId, NodeId};
use crate::model::placement::{Latencies, PathQuality, Quality, Share};
use crate::model::reach::{Reach, View};
use crate::model::service::Service;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::Hash;

/// See the module's picture.
pub(super) struct Terrain<'a> {
    pub input: &'a PlanInput<'a>,
    pub signals: Vec<NodeSignal>,
    /// Who may be given which node.
    pub reach: Reach,
    /// By view of `reach`.
    pub returns: Vec<Returns>,
    /// By view: families that any node serves.
    offered: Vec<[bool; 2]>,
    /// By group.
    pub classes: Vec<u32>,
    pub class_count: usize,
    /// By class: how many groups.
    pub class_sizes: Vec<u32>,
    places: Vec<u32>,
    area_sets: Vec<u32>,
    area_set_count: usize,
    /// By service: position of what its profile makes of a distance,
    shapes: Vec<usize>,
    /// and shapes x places: costs by node, filled when first asked for.
    rows: Vec<OnceCell<Box<[u32]>>>,
    /// By place: a group that is there,
    samples: Vec<usize>,
    /// and whether anything is measured from there.
    is_measured: Vec<bool>,
    /// (services x (lines + 1)) x nodes; the last row of a service is for clients of no known line.
    /// Line penalty and price in money.
    penalties: Vec<u32>,
    /// Services x nodes: the price in money alone.
    money: Vec<u32>,
    line_rows: usize,
    /// By node.
    sites: Vec<u32>,
    /// By service, then views x rules.
    pub ladders: Vec<Vec<Ladder>>,
    /// services x area sets: position of the rule.
    rules: Vec<Option<u16>>,
}

/// How nodes are coming back to the clients of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Returns {
    /// By node: ppm of its weight while it ramps up again.
    pub ramps: Vec<u32>,
    /// By node: became better lately, so nobody is loyal to a refuge from it.
    pub homecoming: Vec<bool>,
}

/// What one group sees of one service's chain.
#[derive(Clone, Copy)]
pub(super) struct Outlook<'t> {
    pub ladder: &'t Ladder,
    /// Nodes in one answer.
    pub answers: usize,
    pub may_serve: &'t [bool],
    /// By node: the families it has and may serve.
    pub families: &'t [[bool; 2]],
    /// Families that any node serves.
    pub offered: [bool; 2],
    /// As in [`Returns`].
    pub ramps: &'t [u32],
    pub homecoming: &'t [bool],
    row: &'t [u32],
    penalty: &'t [u32],
    terrain: &'t Terrain<'t>,
    pub service: u32,
    group: u32,
    /// Whether anything is measured for the group: almost none is, so almost none pays for the questions.
    is_measured: bool,
}

impl Outlook<'_> {
    /// Cost without congestion, us.
    #[inline]
    pub fn cost(&self, node: NodeId) -> u32 {
        let penalty = if self.is_measured { self.measured_penalty(node) } else { self.penalty[node.index()] };
        self.row[node.index()].saturating_add(penalty)
    }

    /// Measurements waive the line, not the money.
    #[cold]
    fn measured_penalty(&self, node: NodeId) -> u32 {
        let money = self.terrain.money_us(self.service as usize, node);
        let votes = self.terrain.votes(self.group as usize, node);
        Latencies::unmeasured(self.penalty[node.index()] - money, votes) + money
    }

    /// What a node costs a group that has a placement: an estimate is not gambled on, so a node that is
    /// less surely known than the surest of the group's own [bids](cost::bid) with its doubt.
    #[inline]
    pub fn bid(&self, node: NodeId, held: &[Share]) -> u32 {
        if self.is_measured { self.doubtful(node, held) } else { self.cost(node) }
    }

    #[cold]
    fn doubtful(&self, node: NodeId, held: &[Share]) -> u32 {
        let cost = self.cost(node);
        let own = || held.iter().map(|share| self.cost(share.node)).min().unwrap_or(u32::MAX);
        match self.doubt(node, held) {
            0 => cost,
            doubt => cost::bid(cost, doubt, own()),
        }
    }

    /// Whether what the service asks for is told by load reports alone.
    pub fn is_demand_measured(&self) -> bool {
        self.terrain.input.policy.services[self.service as usize].demand.is_none()
    }

    /// Of a node that the group does not have, us.
    pub fn doubt(&self, node: NodeId, held: &[Share]) -> u32 {
        let votes = |node: NodeId| self.terrain.votes(self.group as usize, node);
        let surest = held.iter().map(|share| votes(share.node)).max().unwrap_or(0);
        if votes(node) >= surest || held.iter().any(|share| share.node == node) {
            return 0;
        }
        cost::doubt(self.terrain.path(self.group as usize, node).distance, votes(node), surest)
    }
}

impl<'a> Terrain<'a> {
    pub fn survey(
        input: &'a PlanInput<'a>,
        signals: Vec<NodeSignal>,
        reach: Reach,
        returns: Vec<Returns>,
    ) -> Self {
        let (places, samples) = places(input.groups, input.latencies);
        let (area_sets, area_samples) = classify(input.groups.iter().map(|group| group.areas.as_slice()));
        let (classes, class_samples) =
            classify((0..input.groups.len()).map(|g| (places[g], input.groups[g].line, area_sets[g])));
        let mut class_sizes = vec![0; class_samples.len()];
        for &class in &classes {
            class_sizes[class as usize] += 1;
        }
        let ladders = input.policy.services.iter().map(|service| {
            let of_view = |view: &View| {
                let build = |rule| Ladder::build(service, rule, &view.may_serve, &reach.global().may_serve);
                service.chains.iter().map(build).collect::<Vec<_>>()
            };
            reach.views().iter().flat_map(of_view).collect()
        });
        let ladders = ladders.collect();
        let rules = input.policy.services.iter().flat_map(|service| {
            let rule = |&sample: &usize| ladder::rule_for(service, &input.groups[sample].areas);
            area_samples.iter().map(rule).map(|rule| rule.and_then(|rule| u16::try_from(rule).ok()))
        });
        let money = money(input);
        let shape = |service: &Service| service.profile.weights.shape;
        let (shapes, shape_samples) = classify(input.policy.services.iter().map(shape));
        Self {
            rules: rules.collect(),
            rows: vec![OnceCell::new(); shape_samples.len() * samples.len()],
            shapes: shapes.into_iter().map(|shape| shape as usize).collect(),
            is_measured: samples.iter().map(|&group| is_measured(input.latencies.votes(group))).collect(),
            samples,
            penalties: penalties(input, &money),
            money,
            line_rows: input.policy.clients.lines.len() + 1,
            sites: input.policy.fleet.nodes.iter().map(|node| node.site.index() as u32).collect(),
            area_set_count: area_samples.len(),
            class_count: class_samples.len(),
            class_sizes,
            input,
            signals,
            offered: reach.views().iter().map(offered).collect(),
            reach,
            returns,
            classes,
            places,
            area_sets,
            ladders,
        }
    }

    /// `None`: the service has no rule for the group.
    #[inline]
    pub fn outlook(&self, service: usize, group: usize) -> Option<Outlook<'_>> {
        let nodes = self.signals.len();
        let ladder = self.ladder(service, group)?;
        let view = self.reach.view_of(group);
        let View { may_serve, serving, .. } = &self.reach.views()[view];
        let place = self.places[group] as usize;
        let line = self.input.groups[group].line.map_or(self.line_rows - 1, LineId::index);
        let at = (service * self.line_rows + line.min(self.line_rows - 1)) * nodes;
        Some(Outlook {
            ladder,
            answers: usize::from(self.input.policy.services[service].answers),
            may_serve,
            families: serving,
            offered: self.offered[view],
            ramps: &self.returns[view].ramps,
            homecoming: &self.returns[view].homecoming,
            row: self.rows[self.shapes[service] * self.samples.len() + place]
                .get_or_init(|| self.row(service, place)),
            penalty: &self.penalties[at..at + nodes],
            terrain: self,
            service: service as u32,
            group: group as u32,
            is_measured: self.is_measured[place],
        })
    }

    /// The chain as it stands for the group.
    #[inline]
    pub fn ladder(&self, service: usize, group: usize) -> Option<&Ladder> {
        Some(&self.ladders[service][self.ladder_position(service, group)?])
    }

    /// Where in the service's `ladders` it is.
    #[inline]
    pub fn ladder_position(&self, service: usize, group: usize) -> Option<usize> {
        let rule = self.rule(service, group)?;
        let rules = self.input.policy.services[service].chains.len();
        Some(self.reach.view_of(group) * rules + rule)
    }

    fn row(&self, service: usize, place: usize) -> Box<[u32]> {
        let shape = self.input.policy.services[service].profile.weights.shape;
        let paths = Paths::of(self.input, self.samples[place]);
        let price = |(signal, &site): (&NodeSignal, &u32)| {
            cost::terms(shape, paths.to(site as usize), signal).total_us
        };
        self.signals.iter().zip(&self.sites).map(price).collect()
    }

    pub fn rule(&self, service: usize, group: usize) -> Option<usize> {
        let set = self.area_sets[group] as usize;
        self.rules[service * self.area_set_count + set].map(usize::from)
    }

    /// The cost of a node in parts, as the rows hold it in sum.
    pub fn terms(&self, at: usize, group: usize, node: NodeId, congestion_us: u32) -> CostTerms {
        let input = self.input;
        let service = &input.policy.services[at];
        let due = cost::line_us(&service.profile.weights, service.line_penalty);
        let line = line_penalty(input, due, input.groups[group].line, node);
        let left = Latencies::unmeasured(line, self.votes(group, node));
        let money = self.money_us(at, node);
        let signal = &self.signals[node.index()];
        let terms = cost::terms(service.profile.weights.shape, self.path(group, node), signal);
        terms.with_line(left, line - left).with_price(money, congestion_us)
    }

    /// What is known of the way from a group to a node.
    pub fn path(&self, group: usize, node: NodeId) -> Path {
        Paths::of(self.input, group).to(self.sites[node.index()] as usize)
    }

    /// What a service pays for a node, us.
    fn money_us(&self, service: usize, node: NodeId) -> u32 {
        self.money[service * self.signals.len() + node.index()]
    }

    /// Measurements behind the distance of a node.
    pub fn votes(&self, group: usize, node: NodeId) -> u16 {
        let site = self.sites[node.index()] as usize;
        self.input.latencies.votes(group).get(site).copied().unwrap_or(0)
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

fn offered(view: &View) -> [bool; 2] {
    Family::BOTH.map(|family| view.serving.iter().any(|serves| serves[family.index()]))
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

/// The ways from one group to all sites.
struct Paths<'a> {
    distances: &'a [Micros],
    /// Of almost no path.
    quality: &'a [PathQuality],
}

impl<'a> Paths<'a> {
    fn of(input: &PlanInput<'a>, group: usize) -> Self {
        Self { distances: input.latencies.row(group), quality: input.latencies.quality(group) }
    }

    fn to(&self, site: usize) -> Path {
        let measured = self.quality.binary_search_by_key(&site, |path| path.site as usize);
        Path {
            distance: self.distances.get(site).copied().unwrap_or(cost::PRIOR_DEFAULT),
            quality: measured.map_or_else(|_| Quality::default(), |at| self.quality[at].quality),
        }
    }
}

fn line_penalty(input: &PlanInput<'_>, due_us: u32, line: Option<LineId>, node: NodeId) -> u32 {
    match (line, input.policy.fleet.nodes[node.index()].line) {
        (Some(client), Some(node)) if client != node => due_us,
        _ => 0,
    }
}

fn money(input: &PlanInput<'_>) -> Vec<u32> {
    let nodes = &input.policy.fleet.nodes;
    let of_service = |service: &Service| {
        let weights = service.profile.weights;
        nodes.iter().map(move |node| cost::money_us(&weights, node.cost_per_unit))
    };
    input.policy.services.iter().flat_map(of_service).collect()
}

/// `money`: of each service on each node.
fn penalties(input: &PlanInput<'_>, money: &[u32]) -> Vec<u32> {
    let (nodes, lines) = (input.policy.fleet.nodes.len(), input.policy.clients.lines.len());
    let mut penalties = Vec::with_capacity(money.len() * (lines + 1));
    for (at, service) in input.policy.services.iter().enumerate() {
        let due = cost::line_us(&service.profile.weights, service.line_penalty);
        for line in (0..=lines).map(|line| (line < lines).then(|| LineId::from_index(line))) {
            let own = money[at * nodes..(at + 1) * nodes].iter().zip(input.policy.fleet.node_ids());
            penalties.extend(own.map(|(&money, node)| line_penalty(input, due, line, node) + money));
        }
    }
    penalties
}

#[cfg(test)]
mod tests;
