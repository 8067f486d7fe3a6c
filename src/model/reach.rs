//! Which clients may be given which node: the global verdict, less what lines and areas cannot reach.
//!
//! ```text
//!  n1 up; for line telecom: down         view 0, everybody      n1 n2 n3
//!  n2 up                           ─▶    view 1, line telecom      n2 n3
//!  n3 up                                 group ─▶ view
//! ```
//! A verdict for a line or area (`health`, from the vantages that stand for it) only takes away: a node
//! that is down for everybody is down for its clients too, whatever their vantage sees. A client of several
//! scopes gets the nodes that none of them takes. While no scope takes anything there is one view, and
//! groups are not even looked at. An operator's word goes before both: what is forced up is open to all, what is
//! drained or forced down to nobody. The planner places by it and the table is filled and linted by it, so
//! that all three agree.
//!
//! Not here: what `degraded` costs (it is not priced by scope), and how a node comes back (the planner's).

use super::clients::ClientGroup;
use super::ids::{AreaId, LineId, NodeId};
use super::policy::Policy;
use super::verdict::{NodeHealth, Scope, Verdict};
use crate::base::prefix::Family;

/// Scopes that are told apart: as many as there can be vantages to stand for one. A mask has a bit for each.
const MOST_SCOPES: usize = super::judgement::MOST_VANTAGES;

/// What some clients may be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By node and family: has addresses of it and may serve it.
    pub serving: Vec<[bool; 2]>,
    /// By node.
    pub may_serve: Vec<bool>,
    /// Whose view it is: their clients are in all of these and in no other that is told apart. None:
    /// everybody else's.
    pub scopes: Vec<Scope>,
}

/// What one line or area cannot reach, of what serves everybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    pub scope: Scope,
    /// Ascending, with the families that are down.
    pub nodes: Vec<(NodeId, [bool; 2])>,
}

/// See the module's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// By group; empty: all have the first view.
    of_group: Vec<u16>,
    /// Never empty; the first is by the global verdicts.
    views: Vec<View>,
}

impl Default for Reach {
    /// Of no nodes.
    fn default() -> Self {
        Self { of_group: Vec::new(), views: vec![View::default()] }
    }
}

impl Reach {
    /// `health` is by node; a node without an entry counts as unknown.
    pub fn of(policy: &Policy, groups: &[ClientGroup], health: &[NodeHealth]) -> Self {
        let global = View::global(policy, health);
        let closures = closures(health, &global);
        Self::new(policy, groups, global, &closures)
    }

    /// One view for each combination of `closures` that some group is in. A closure without nodes tells
    /// its clients apart and takes nothing from them.
    pub fn new(policy: &Policy, groups: &[ClientGroup], global: View, closures: &[Closure]) -> Self {
        let mut reach = Self { of_group: Vec::new(), views: vec![global] };
        let places: Vec<(usize, Place)> = closures
            .iter()
            .enumerate()
            .take(MOST_SCOPES)
            .filter_map(|(at, it)| Some((at, Place::of(policy, &it.scope)?)))
            .collect();
        if places.is_empty() {
            return reach;
        }
        let mut known: Vec<u16> = vec![0];
        let number = |group: &ClientGroup| {
            let holds = |(at, place): &(usize, Place)| u16::from(place.has(group)) << at;
            let mask = places.iter().fold(0_u16, |mask, place| mask | holds(place));
            let view = known.iter().position(|&other| other == mask).unwrap_or_else(|| {
                known.push(mask);
                known.len() - 1
            });
            view as u16
        };
        reach.of_group = groups.iter().map(number).collect();
        for &mask in &known[1..] {
            let of_mask = closures.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
            reach.views.push(reach.views[0].without(of_mask.map(|(_, closure)| closure)));
        }
        reach
    }

    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Everybody's who is in no scope that is told apart.
    pub fn global(&self) -> &View {
        &self.views[0]
    }

    /// Position in [`Self::views`] of what a group may be given.
    #[inline]
    pub fn view_of(&self, group: usize) -> usize {
        self.of_group.get(group).map_or(0, |&view| usize::from(view))
    }

    #[inline]
    pub fn view(&self, group: usize) -> &View {
        &self.views[self.view_of(group)]
    }

    /// Whether all groups are alike.
    #[inline]
    pub fn is_uniform(&self) -> bool {
        self.views.len() == 1
    }

    /// By group, the position of its view; empty while all have the first.
    pub fn by_group(&self) -> &[u16] {
        &self.of_group
    }
}

impl View {
    /// By the global verdicts.
    pub fn global(policy: &Policy, health: &[NodeHealth]) -> Self {
        let nodes = &policy.fleet.nodes;
        let serves = |at: usize, family: Family| {
            let seen = health.get(at);
            let judged = seen.and_then(|health| health.family(family));
            let by_verdict = || judged.is_none_or(|judged| judged.verdict.may_serve());
            let forced = seen.and_then(NodeHealth::forced_to_serve);
            nodes[at].has_family(family) && forced.unwrap_or_else(by_verdict)
        };
        Self {
            serving: (0..nodes.len()).map(|at| Family::BOTH.map(|family| serves(at, family))).collect(),
            may_serve: (0..nodes.len()).map(|at| health.get(at).is_none_or(NodeHealth::may_serve)).collect(),
            scopes: Vec::new(),
        }
    }

    fn without<'c>(&self, closures: impl Iterator<Item = &'c Closure>) -> Self {
        let mut view = self.clone();
        for closure in closures {
            view.scopes.push(closure.scope.clone());
            for &(node, taken) in &closure.nodes {
                let Some(serving) = view.serving.get_mut(node.index()) else { continue };
                (0..2).for_each(|at| serving[at] &= !taken[at]);
                view.may_serve[node.index()] &= serving.contains(&true);
            }
        }
        view
    }

    /// Which scope of the view takes the node, in any family, from its clients.
    pub fn taken_by(&self, node: &NodeHealth) -> Option<&Scope> {
        self.scopes.iter().find(|scope| taken(node, scope) != [false; 2])
    }
}

/// By family: whether the clients of `scope` cannot reach it.
fn taken(node: &NodeHealth, scope: &Scope) -> [bool; 2] {
    if node.forced.is_some() {
        return [false; 2];
    }
    let is_down = |family: Family| {
        node.family(family).is_some_and(|health| {
            health.scoped.iter().any(|own| own.scope == *scope && own.verdict == Verdict::Down)
        })
    };
    Family::BOTH.map(is_down)
}

/// What lines and areas cannot reach of the `global` view, by scope. Empty where all see alike.
pub fn closures(health: &[NodeHealth], global: &View) -> Vec<Closure> {
    let mut closures: Vec<Closure> = Vec::new();
    for (at, (node, serving)) in health.iter().zip(&global.serving).enumerate() {
        if node.forced.is_some() {
            continue;
        }
        for family in Family::BOTH.into_iter().filter(|family| serving[family.index()]) {
            let scoped = node.family(family).map_or(&[][..], |judged| &judged.scoped);
            for own in scoped.iter().filter(|own| own.verdict == Verdict::Down) {
                note(&mut closures, &own.scope, NodeId::from_index(at), family);
            }
        }
    }
    closures.sort_by(|one, other| one.scope.cmp(&other.scope));
    closures
}

fn note(closures: &mut Vec<Closure>, scope: &Scope, node: NodeId, family: Family) {
    let at = closures.iter().position(|closure| closure.scope == *scope).unwrap_or_else(|| {
        closures.push(Closure { scope: scope.clone(), nodes: Vec::new() });
        closures.len() - 1
    });
    let nodes = &mut closures[at].nodes;
    if nodes.last().is_none_or(|(last, _)| *last != node) {
        nodes.push((node, [false; 2]));
    }
    if let Some((_, taken)) = nodes.last_mut() {
        taken[family.index()] = true;
    }
}

/// A scope as client groups know it.
#[derive(Clone, Copy)]
enum Place {
    Line(LineId),
    Area(AreaId),
}

impl Place {
    /// `None`: the policy has no such clients.
    fn of(policy: &Policy, scope: &Scope) -> Option<Self> {
        let clients = &policy.clients;
        match scope {
            Scope::Line(name) => {
                let at = clients.lines.iter().position(|line| line.name == *name)?;
                Some(Place::Line(LineId::from_index(at)))
            }
            Scope::Area(name) => {
                let at = clients.areas.iter().position(|area| area.name == *name)?;
                Some(Place::Area(AreaId::from_index(at)))
            }
        }
    }

    fn has(self, group: &ClientGroup) -> bool {
        match self {
            Place::Line(line) => group.line == Some(line),
            Place::Area(area) => group.in_area(area),
        }
    }
}
