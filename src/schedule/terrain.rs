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
//! one view, and one ladder per chain, until a line or area cannot reach a node that others can. What only
//! edits change is [`Ground`]; what did not change since the last plan is kept.

use super::PlanInput;
use super::cost::{self, CostTerms, NodeSignal, Path};
use super::ground::{Ground, line_penalty};
use super::kept::Keep;
use super::ladder::{Ladder, Rung};
use super::order::{Listed, Order, Orders, Whose};
use super::rows::Pricing;
use crate::base::hash::{mix_pair, stable_hash};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::ids::NodeId;
use crate::model::placement::{Latencies, PathQuality, Quality, Share};
use crate::model::planner::Margin;
use crate::model::reach::{Reach, View};
use std::sync::Arc;

/// See the module's picture.
pub(super) struct Terrain<'a> {
    pub input: &'a PlanInput<'a>,
    pub ground: Arc<Ground>,
    pub signals: Vec<NodeSignal>,
    /// Who may be given which node.
    pub reach: Reach,
    /// By view of `reach`.
    pub returns: Vec<Returns>,
    /// By view: families that any node serves.
    offered: Vec<[bool; 2]>,
    /// Shapes x places: costs by node, worked out when first asked for.
    pub pricing: Pricing,
    /// Views x chains, chains by their number.
    pub ladders: Vec<Arc<Ladder>>,
    pub orders: Orders,
}

/// How nodes are coming back to the clients of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Returns {
    /// By node: ppm of its part that it takes at most, while it ramps up again.
    pub ramps: Vec<u32>,
    /// Whether any does.
    pub any_ramp: bool,
    /// By node: became better lately, so nobody is loyal to a refuge from it.
    pub homecoming: Vec<bool>,
    /// By node: ramps up, or did a short while ago, so that clients go home in small steps.
    pub back: Vec<bool>,
}

/// What one group sees of one service's chain.
#[derive(Clone, Copy)]
pub(super) struct Outlook<'t> {
    pub ladder: &'t Ladder,
    pub view: &'t View,
    pub returns: &'t Returns,
    row: &'t [u32],
    penalty: &'t [u32],
    terrain: &'t Terrain<'t>,
    /// Of a move.
    pub margin: Margin,
    /// Nodes in one answer.
    pub answers: usize,
    pub service: u32,
    group: u32,
    /// Where the ladder is in the terrain's.
    ladder_at: u32,
    /// Families that any node serves.
    pub offered: [bool; 2],
    /// Whether anything is measured for the group: almost none is, so almost none pays for the questions.
    is_measured: bool,
    /// Neither that, nor is anything biased.
    is_plain: bool,
}

impl<'t> Outlook<'t> {
    /// The nodes of a level, by [`cost`](Self::cost).
    #[inline]
    pub fn order(&self, level: usize) -> Order<'t> {
        self.terrain.orders.of(self.whose(), level, || self.sorted(level))
    }

    /// With whom the group is alike, asking for this service.
    #[inline]
    pub fn whose(&self) -> Whose {
        let ground = &self.terrain.ground;
        Whose {
            class: ground.classes[self.group as usize] as usize,
            taste: ground.tastes[self.service as usize] as usize,
            ladder: self.ladder_at as usize,
        }
    }

    fn sorted(&self, level: usize) -> Box<[Listed]> {
        let listed = |rung: &Rung| Listed::new(rung.node, self.cost(rung.node));
        let mut list: Box<[Listed]> = self.ladder.level(level).iter().map(listed).collect();
        list.sort_unstable();
        list
    }

    /// [`cost`](Self::cost) of a node of an [`order`](Self::order).
    #[inline]
    pub fn listed_cost(&self, listed: Listed) -> u32 {
        if self.is_plain {
            debug_assert_eq!(listed.cost(), self.cost(listed.node()));
            return listed.cost();
        }
        self.particular_cost(listed.node())
    }

    /// [`worth`](Self::worth) of a node of an [`order`](Self::order).
    #[inline]
    pub fn listed_worth(&self, listed: Listed) -> u32 {
        if self.ladder.is_flat { self.worth(listed.node()) } else { self.listed_cost(listed) }
    }

    /// Cost without congestion, us.
    #[inline]
    pub fn cost(&self, node: NodeId) -> u32 {
        if self.is_plain {
            return self.row[node.index()].saturating_add(self.penalty[node.index()]);
        }
        self.particular_cost(node)
    }

    /// Where something is measured or biased.
    #[cold]
    fn particular_cost(&self, node: NodeId) -> u32 {
        let penalty = if self.is_measured { self.measured_penalty(node) } else { self.penalty[node.index()] };
        cost::biased(self.row[node.index()].saturating_add(penalty), self.ladder.bias(node))
    }

    /// What counts of the cost in choosing: nothing where the level of the node is divided otherwise.
    #[inline]
    pub fn worth(&self, node: NodeId) -> u32 {
        if self.ladder.is_flat && self.ladder.method_of(node).is_flat() { 0 } else { self.cost(node) }
    }

    /// Measurements waive the line, not the money.
    fn measured_penalty(&self, node: NodeId) -> u32 {
        let money = self.terrain.ground.money_us(self.service as usize, node);
        let votes = self.terrain.votes(self.group as usize, node);
        Latencies::unmeasured(self.penalty[node.index()] - money, votes) + money
    }

    /// What a node costs a group that has a placement: an estimate is not gambled on, so a node that is
    /// less surely known than the surest of the group's own [bids](cost::bid) with its doubt.
    #[inline]
    pub fn bid(&self, node: NodeId, held: &[Share]) -> u32 {
        self.bid_of(node, self.worth(node), held)
    }

    /// [`bid`](Self::bid) of a node of this [`worth`](Self::worth).
    #[inline]
    pub fn bid_of(&self, node: NodeId, worth: u32, held: &[Share]) -> u32 {
        if self.is_measured { self.doubtful(node, worth, held) } else { worth }
    }

    #[cold]
    fn doubtful(&self, node: NodeId, cost: u32, held: &[Share]) -> u32 {
        let own = || held.iter().map(|share| self.worth(share.node)).min().unwrap_or(u32::MAX);
        match self.doubt(node, held) {
            0 => cost,
            doubt => cost::bid(cost, doubt, own(), self.margin),
        }
    }

    /// Whether what the service asks for is told by load reports alone.
    pub fn is_demand_measured(&self) -> bool {
        self.terrain.input.policy.services[self.service as usize].demand.is_none()
    }

    /// The place of a node in the order in which the group would take nodes that are all alike to it.
    pub fn rank(&self, node: NodeId) -> u64 {
        let name = &self.terrain.input.policy.fleet.node(node).name;
        mix_pair(self.terrain.ground.seed(self.group as usize), stable_hash(name.as_bytes()))
    }

    /// Of a node that the group does not have, us.
    pub fn doubt(&self, node: NodeId, held: &[Share]) -> u32 {
        let votes = |node: NodeId| self.terrain.votes(self.group as usize, node);
        let surest = held.iter().map(|share| votes(share.node)).max().unwrap_or(0);
        if self.ladder.is_flat && self.ladder.method_of(node).is_flat() {
            return 0;
        }
        if votes(node) >= surest || held.iter().any(|share| share.node == node) {
            return 0;
        }
        cost::doubt(self.terrain.path(self.group as usize, node).distance, votes(node), surest)
    }
}

impl<'a> Terrain<'a> {
    /// What is `kept` is used as far as it fits.
    pub fn survey(
        input: &'a PlanInput<'a>,
        signals: Vec<NodeSignal>,
        reach: Reach,
        returns: Vec<Returns>,
        kept: Option<&Keep>,
    ) -> Self {
        let ground = kept.map_or_else(|| Arc::new(Ground::of(input)), |kept| Arc::clone(&kept.ground));
        let rows = ground.shape_count * ground.samples.len();
        let ladders = ladders(input, &ground, &reach, kept.map(|kept| (&kept.reach, &kept.ladders[..])));
        let is_asked = |node: usize| {
            reach.views().iter().any(|view| view.may_serve[node])
                || ladders.iter().any(|ladder| ladder.rung(NodeId::from_index(node)).is_some())
        };
        let of_nodes = (&ground.sites[..], &signals[..]);
        let pricing = Pricing::new(kept.map(|kept| &kept.rows), rows, of_nodes, is_asked);
        let sizes = (ground.class_count, ground.taste_count);
        Self {
            orders: Orders::new(kept.map(|kept| &kept.orders), &ladders, &pricing.signals, sizes),
            pricing,
            ladders,
            offered: reach.views().iter().map(offered).collect(),
            input,
            ground,
            signals,
            reach,
            returns,
        }
    }

    /// `None`: the service has no rule for the group.
    #[inline]
    pub fn outlook(&self, service: usize, group: usize) -> Option<Outlook<'_>> {
        let ladder_at = self.ladder_position(service, group)?;
        let ladder: &Ladder = &self.ladders[ladder_at];
        let view = self.reach.view_of(group);
        let place = self.ground.places[group] as usize;
        let row = self.ground.shapes[service] * self.ground.samples.len() + place;
        let is_measured = self.ground.is_measured[place];
        Some(Outlook {
            ladder,
            view: &self.reach.views()[view],
            returns: &self.returns[view],
            row: self.pricing.row(row, || self.prices(service, place)),
            penalty: self.ground.penalties(service, self.input.groups[group].line),
            terrain: self,
            margin: self.input.policy.planner.margin,
            answers: usize::from(self.input.policy.services[service].answers),
            service: service as u32,
            group: group as u32,
            ladder_at: ladder_at as u32,
            offered: self.offered[view],
            is_measured,
            is_plain: !is_measured && !ladder.is_biased(),
        })
    }

    /// The chain as it stands for the group.
    #[inline]
    pub fn ladder(&self, service: usize, group: usize) -> Option<&Ladder> {
        Some(&self.ladders[self.ladder_position(service, group)?])
    }

    /// The chain of a rule as it stands for everybody whom no closure concerns.
    pub fn ladder_of_all(&self, service: usize, rule: usize) -> &Ladder {
        &self.ladders[self.ground.chains[service][rule] as usize]
    }

    /// Positions in `ladders`: of every service those of each view by rule, some more than once.
    pub fn ladders_by_service(&self) -> Vec<usize> {
        let count = self.ground.chain_samples.len();
        let mut ladders = Vec::new();
        for chains in &self.ground.chains {
            for view in 0..self.reach.views().len() {
                ladders.extend(chains.iter().map(|&chain| view * count + chain as usize));
            }
        }
        ladders
    }

    /// Where in `ladders` it is.
    #[inline]
    pub fn ladder_position(&self, service: usize, group: usize) -> Option<usize> {
        let chain = self.ground.chain(service, group)?;
        Some(self.reach.view_of(group) * self.ground.chain_samples.len() + chain)
    }

    /// The rule of a group, and where in `ladders` its chain is.
    #[inline]
    pub fn rule_and_ladder(&self, service: usize, group: usize) -> Option<(usize, usize)> {
        let rule = self.rule(service, group)?;
        let chain = self.ground.chains[service][rule] as usize;
        Some((rule, self.reach.view_of(group) * self.ground.chain_samples.len() + chain))
    }

    /// What nodes are to clients at a place, but for line, money and congestion.
    fn prices(&self, service: usize, place: usize) -> impl Fn(usize) -> u32 {
        let shape = self.input.policy.services[service].profile.weights.shape;
        let paths = Paths::of(self.input, self.ground.samples[place]);
        let (sites, signals) = (&self.ground.sites, &self.pricing.signals);
        move |node| cost::terms(shape, paths.to(sites[node] as usize), &signals[node]).total_us
    }

    #[inline]
    pub fn rule(&self, service: usize, group: usize) -> Option<usize> {
        self.ground.rule(service, group)
    }

    /// The cost of a node in parts, as the rows hold it in sum.
    pub fn terms(&self, at: usize, group: usize, node: NodeId, congestion_us: u32) -> CostTerms {
        let input = self.input;
        let service = &input.policy.services[at];
        let due = cost::line_us(&service.profile.weights, service.line_penalty);
        let line = line_penalty(input.policy, due, input.groups[group].line, node);
        let left = Latencies::unmeasured(line, self.votes(group, node));
        let money = self.ground.money_us(at, node);
        let signal = &self.signals[node.index()];
        let terms = cost::terms(service.profile.weights.shape, self.path(group, node), signal);
        let bias = self.ladder(at, group).map_or(0, |ladder| ladder.bias(node));
        terms.with_line(left, line - left).with_price(money, bias, congestion_us)
    }

    /// What is known of the way from a group to a node.
    pub fn path(&self, group: usize, node: NodeId) -> Path {
        Paths::of(self.input, group).to(self.ground.sites[node.index()] as usize)
    }

    /// Measurements behind the distance of a node.
    pub fn votes(&self, group: usize, node: NodeId) -> u16 {
        let site = self.ground.sites[node.index()] as usize;
        self.input.latencies.votes(group).get(site).copied().unwrap_or(0)
    }
}

/// Views x chains. A ladder that no change concerns is `kept`, which has those of some earlier reach.
fn ladders(
    input: &PlanInput<'_>,
    ground: &Ground,
    reach: &Reach,
    kept: Option<(&Reach, &[Arc<Ladder>])>,
) -> Vec<Arc<Ladder>> {
    let count = ground.chain_samples.len();
    let everybody = &reach.global().may_serve;
    let mut ladders = Vec::with_capacity(reach.views().len() * count);
    for (at, view) in reach.views().iter().enumerate() {
        let known = kept.and_then(|(then, ladders)| {
            let known = ladders.get(at * count..(at + 1) * count)?;
            let before = [&then.views()[at].may_serve[..], &then.global().may_serve];
            Some((changed([&view.may_serve, everybody], before), known))
        });
        for (chain, &(service, rule)) in ground.chain_samples.iter().enumerate() {
            let known = known.as_ref().map(|(nodes, ladders)| (nodes, &ladders[chain]));
            let known = known.filter(|(nodes, ladder)| !nodes.iter().any(|&node| ladder.is_member(node)));
            ladders.push(match known {
                Some((_, ladder)) => Arc::clone(ladder),
                None => {
                    let service = &input.policy.services[service];
                    Arc::new(Ladder::build(service, &service.chains[rule], &view.may_serve, everybody))
                }
            });
        }
    }
    ladders
}

/// Nodes that are another now, in any of the lists.
fn changed(now: [&[bool]; 2], then: [&[bool]; 2]) -> Vec<NodeId> {
    let differs = |&node: &usize| (0..2).any(|list| now[list].get(node) != then[list].get(node));
    (0..now[0].len()).filter(differs).map(NodeId::from_index).collect()
}

fn offered(view: &View) -> [bool; 2] {
    Family::BOTH.map(|family| view.serving.iter().any(|serves| serves[family.index()]))
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

#[cfg(test)]
mod tests;
