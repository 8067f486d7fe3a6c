//! Pools that are other services: what a chain comes to once each has its place in it.
//!
//! ```text
//! live  mobile   [edge, {service: im}]        im  europe  [eu, us]
//!       *        [edge, {service: im}]            *       [us]
//!
//! live  europe+mobile  [edge, im/eu, im/us]   everybody of a rule is divided as the other service
//!       mobile         [edge, im/us]          divides them, in its order; its pools stand where the
//!       europe         [edge, im/eu, im/us]   pool stood
//!       *              [edge, im/us]
//! ```
//! So the planner, the compiler and the judges know nothing of composition: to them a service has pools
//! and rules. A rule whose areas hold all of an earlier one's is left out, since nobody gets as far. A
//! pool comes with its weights, `min_alive` and method, and with the bias of the rule it is from; what
//! else a service promises (TTL, answers, shedding) is its own and does not come along.
//!
//! Services that lead back to themselves are reported with the way around, and that way is cut, so that
//! whatever else is wrong is found as well.

use crate::base::diagnostic::did_you_mean;
use crate::model::ids::{AreaId, NodeId, PoolId};
use crate::model::service::{Bias, ChainRule, Pool};
use crate::policy::codes;
use crate::policy::findings::{At, Findings, Place};
use std::collections::{BTreeMap, BTreeSet};

/// Rules of one service once all is in its place; a few dozen areas make a few hundred.
const MAX_RULES: usize = 400;
pub(super) const MAX_POOLS: usize = 200;

/// A service as it is written.
pub(super) struct Outline {
    pub name: String,
    /// Those that are services are empty.
    pub pools: Vec<Pool>,
    /// By pool: the name of the service it is.
    pub stands_for: Vec<Option<At<String>>>,
    pub rules: Vec<ChainRule>,
    pub place: Place,
}

/// A service without any pool that is another.
#[derive(Default)]
pub(super) struct Composed {
    pub pools: Vec<Pool>,
    pub rules: Vec<ChainRule>,
    /// By rule: the position of the written one.
    pub written: Vec<usize>,
    /// By written pool: where it is now.
    pub own: Vec<Option<PoolId>>,
    /// By pool: service and position of where it was written.
    origins: Vec<(usize, usize)>,
}

/// In the order of `outlines`. `whole`: no service is missing from them.
pub(super) fn compose(outlines: &[Outline], whole: bool, findings: &mut Findings) -> Vec<Composed> {
    let mut links = links(outlines, whole, findings);
    let order = Walk::new(outlines, &mut links, findings).order();
    let mut composed: Vec<Composed> = outlines.iter().map(|_| Composed::default()).collect();
    for at in order {
        composed[at] = Joiner::new(at, outlines, &links, &composed).join(findings);
    }
    composed
}

/// By service and pool: the service that the pool is.
type Links = Vec<Vec<Option<usize>>>;

fn links(outlines: &[Outline], whole: bool, findings: &mut Findings) -> Links {
    let known = || outlines.iter().map(|outline| outline.name.as_str());
    let mut find = |named: &Option<At<String>>| {
        let At { value: name, place } = named.as_ref()?;
        let found = known().position(|other| other == name);
        if found.is_none() && whole {
            let list = known().take(12).collect::<Vec<_>>().join(", ");
            findings
                .report(&codes::UNKNOWN_SERVICE, *place, format!("there is no service `{name}`"))
                .suggest(name, known(), || format!("known are {list}; each file of services/ is one"));
        }
        // A misspelt one is probably the one meant: what it leads to is looked at as well.
        found.or_else(|| did_you_mean(name, known()).and_then(|near| known().position(|name| name == near)))
    };
    outlines.iter().map(|outline| outline.stands_for.iter().map(&mut find).collect()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnWay,
    Done,
}

/// Orders services so that each comes after those it leads to, cutting what leads back.
struct Walk<'a, 'f> {
    outlines: &'a [Outline],
    links: &'a mut Links,
    findings: &'f mut Findings,
    marks: Vec<Mark>,
    /// Services on the way here, each with the next of its pools to look at.
    way: Vec<(usize, usize)>,
    order: Vec<usize>,
}

impl<'a, 'f> Walk<'a, 'f> {
    fn new(outlines: &'a [Outline], links: &'a mut Links, findings: &'f mut Findings) -> Self {
        let marks = vec![Mark::New; outlines.len()];
        Self { outlines, links, findings, marks, way: Vec::new(), order: Vec::new() }
    }

    fn order(mut self) -> Vec<usize> {
        for start in 0..self.outlines.len() {
            if self.marks[start] == Mark::New {
                self.enter(start);
            }
            while let Some((at, pool)) = self.way.pop() {
                self.step(at, pool);
            }
        }
        self.order
    }

    fn enter(&mut self, service: usize) {
        self.marks[service] = Mark::OnWay;
        self.way.push((service, 0));
    }

    fn step(&mut self, at: usize, pool: usize) {
        if pool == self.links[at].len() {
            self.marks[at] = Mark::Done;
            self.order.push(at);
            return;
        }
        self.way.push((at, pool + 1));
        let Some(to) = self.links[at][pool] else { return };
        match self.marks[to] {
            Mark::New => self.enter(to),
            Mark::Done => {}
            Mark::OnWay => {
                self.report(at, pool, to);
                self.links[at][pool] = None;
            }
        }
    }

    fn report(&mut self, at: usize, pool: usize, to: usize) {
        let Some(At { place, .. }) = &self.outlines[at].stands_for[pool] else { return };
        let name = |service: usize| self.outlines[service].name.as_str();
        let from = self.way.iter().position(|&(service, _)| service == to).unwrap_or(0);
        let mut around: Vec<&str> = self.way[from..].iter().map(|&(service, _)| name(service)).collect();
        around.push(name(to));
        let message = format!("services lead back to themselves: `{}`", around.join(" -> "));
        let own = &self.outlines[at].pools[pool].name;
        let help = format!(
            "give pool `{own}` of service `{}` nodes of its own, or another service that does not lead here",
            name(at)
        );
        self.findings.report(&codes::SERVICE_LOOP, *place, message).help(help);
    }
}

/// A rule in the making.
#[derive(Clone, Default)]
struct Branch {
    areas: BTreeSet<AreaId>,
    pools: Vec<PoolId>,
    bias: BTreeMap<NodeId, i32>,
}

/// Puts one service together from its own pools and from services that are put together already.
struct Joiner<'a> {
    outline: &'a Outline,
    links: &'a [Option<usize>],
    done: &'a [Composed],
    made: Composed,
}

impl<'a> Joiner<'a> {
    fn new(at: usize, outlines: &'a [Outline], links: &'a Links, done: &'a [Composed]) -> Self {
        let outline = &outlines[at];
        let mut made = Composed::default();
        for (position, pool) in outline.pools.iter().enumerate() {
            let is_own = outline.stands_for[position].is_none();
            made.own.push(is_own.then(|| PoolId::from_index(made.pools.len())));
            if is_own {
                made.pools.push(pool.clone());
                made.origins.push((at, position));
            }
        }
        Self { outline, links: &links[at], done, made }
    }

    fn join(mut self, findings: &mut Findings) -> Composed {
        for (written, rule) in self.outline.rules.iter().enumerate() {
            let Some(branches) = self.branches(rule) else {
                return self.refuse(format!("more than {MAX_RULES} rules"), findings);
            };
            for branch in branches {
                let is_reached = !self.made.rules.iter().any(|it| covers(&it.areas, &branch.areas));
                if is_reached {
                    self.made.rules.push(branch.rule());
                    self.made.written.push(written);
                }
            }
        }
        if self.made.rules.len() > MAX_RULES {
            return self.refuse(format!("more than {MAX_RULES} rules"), findings);
        }
        if self.made.pools.len() > MAX_POOLS {
            return self.refuse(format!("more than {MAX_POOLS} pools"), findings);
        }
        self.made
    }

    /// Nothing is left of it, so that what leads here is not too much as well.
    fn refuse(self, what: String, findings: &mut Findings) -> Composed {
        let named = self.outline.stands_for.iter().flatten().next();
        let place = named.map_or(self.outline.place, |at| at.place);
        let message = format!("service `{}` has {what} with the services it leads to", self.outline.name);
        findings
            .report(&codes::TOO_MANY, place, message)
            .help("name fewer services in one chain, or give it pools of its own");
        Composed { own: self.made.own, ..Composed::default() }
    }

    /// What a rule becomes; `None`: too much.
    fn branches(&mut self, rule: &ChainRule) -> Option<Vec<Branch>> {
        let mut branches = vec![Branch {
            areas: rule.areas.iter().copied().collect(),
            pools: Vec::new(),
            bias: rule.bias.iter().map(|bias| (bias.node, bias.by_us)).collect(),
        }];
        for pool in &rule.pools {
            if let Some(own) = self.made.own[pool.index()] {
                branches.iter_mut().for_each(|branch| branch.pools.push(own));
            } else if let Some(other) = self.links[pool.index()] {
                branches = self.divide(&branches, other)?;
            }
        }
        Some(branches)
    }

    /// Every branch by every rule of another service.
    fn divide(&mut self, branches: &[Branch], other: usize) -> Option<Vec<Branch>> {
        let done = self.done;
        let imported: Vec<PoolId> =
            (0..done[other].pools.len()).map(|pool| self.import(&done[other], pool)).collect();
        let mut divided: Vec<Branch> = Vec::new();
        for branch in branches {
            for rule in &done[other].rules {
                let mut areas = branch.areas.clone();
                areas.extend(&rule.areas);
                if divided.iter().any(|earlier| earlier.areas.is_subset(&areas)) {
                    continue;
                }
                if divided.len() == MAX_RULES {
                    return None;
                }
                let branch = Branch { areas, ..branch.clone() };
                divided.push(self.extended(branch, rule, &imported));
            }
        }
        Some(divided)
    }

    /// `imported`: by pool of the other service.
    fn extended(&self, mut branch: Branch, rule: &ChainRule, imported: &[PoolId]) -> Branch {
        let members = |id: &PoolId| self.made.pools[id.index()].members.iter().map(|member| member.node);
        // A node counts where it comes first.
        let is_before: BTreeSet<NodeId> = branch.pools.iter().flat_map(members).collect();
        for bias in rule.bias.iter().filter(|bias| !is_before.contains(&bias.node)) {
            let by_us = branch.bias.entry(bias.node).or_default();
            *by_us = by_us.saturating_add(bias.by_us).clamp(-Bias::MOST_US, Bias::MOST_US);
        }
        for pool in &rule.pools {
            let pool = imported[pool.index()];
            if !branch.pools.contains(&pool) {
                branch.pools.push(pool);
            }
        }
        branch
    }

    /// The position here of a pool of another service.
    fn import(&mut self, from: &Composed, pool: usize) -> PoolId {
        let origin = from.origins[pool];
        let known = self.made.origins.iter().position(|known| *known == origin);
        let at = known.unwrap_or_else(|| {
            self.made.origins.push(origin);
            self.made.pools.push(from.pools[pool].clone());
            self.made.pools.len() - 1
        });
        PoolId::from_index(at)
    }
}

impl Composed {
    /// Names pools of other services by these: `im/europe`.
    pub fn name_pools(&mut self, at: usize, outlines: &[Outline]) {
        for (pool, &(service, _)) in self.pools.iter_mut().zip(&self.origins) {
            if service != at {
                pool.name = format!("{}/{}", outlines[service].name, pool.name);
            }
        }
    }
}

impl Branch {
    fn rule(self) -> ChainRule {
        let bias = self.bias.into_iter().filter(|&(_, by_us)| by_us != 0);
        ChainRule {
            areas: self.areas.into_iter().collect(),
            pools: self.pools,
            bias: bias.map(|(node, by_us)| Bias { node, by_us }).collect(),
        }
    }
}

/// Whether everybody in all of `areas` is in all of `earlier`.
fn covers(earlier: &[AreaId], areas: &BTreeSet<AreaId>) -> bool {
    earlier.iter().all(|area| areas.contains(area))
}

#[cfg(test)]
mod tests;
