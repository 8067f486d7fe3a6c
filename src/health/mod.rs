//! Observations to verdicts: which nodes may serve, on which address family, for whom, and why.
//!
//! ```text
//!  Observation ─▶ track (one check) ─▶ combine ─▶ standing (one vantage) ─┐ words of those who are
//!                   counter  rise, fall, ok                               │ trusted and fresh
//!                   latency  rtt, baseline                                ▼
//!                   loss     sliding window          sight ─────▶ quorum ─▶ damping ─┐
//!  AnchorReport ─▶ sight (is the vantage blind?)                                     ├─▶ verdict ─▶ Transition
//!  LoadReport ───▶ load ─▶ circuit (errors) ─────────────────────────────────────────┘          └▶ view()
//!  tick ─▶ outlier (peers), freeze
//! ```
//! | file | its idea |
//! |---|---|
//! | `counter` | rise, fall and ok: up or down |
//! | `latency`, `smooth` | averages, and whether a round trip left its baseline |
//! | `loss` | the loss of a window, and what it surely is |
//! | `track` | one check: all of the above, and its certificate |
//! | `combine` | all, any or some of the checks of a node |
//! | `standing` | what one vantage says of one family of a node |
//! | `sight`, `trust` | whether a vantage is to be believed, and whether enough is surely known |
//! | `quorum` | what a majority of vantages says |
//! | `damping` | who changes sides too often waits |
//! | `load`, `circuit` | fullness, errors, and what a silent feed means |
//! | `outlier`, `peers` | who is far worse than its peers |
//! | `pools` | what pools can bear |
//! | `family` | all of it for one family of one node: the verdict that is held |
//! | `shown`, `reason` | the same for others: figures, evidence, sentences |
//! | `portrait`, `history` | one node in full, and its last hour |
//! | `lasting` | a condition that has to last |
//!
//! A vantage alone and without anchors is believed always and without an age limit: there is nobody to ask.
//! Families are judged apart, but that one which falls takes the other along if that fails too, a failure
//! early. State per (node, family, check, vantage) is of fixed size but for one bounded
//! text; nothing grows with time. Time is passed in; nothing here waits or reads a clock.
//!
//! Not here: operator force, ramps (the planner's), and what a verdict costs. Words that changed because a
//! vantage gained or lost trust are heard by the next [`HealthModel::tick`].

mod circuit;
mod combine;
mod counter;
mod damping;
mod family;
mod history;
mod lasting;
mod latency;
mod load;
mod loss;
mod outlier;
mod peers;
mod pools;
mod portrait;
mod quorum;
mod reason;
mod shown;
mod sight;
mod smooth;
mod standing;
mod track;
mod trust;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;

use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::model::fleet::{Fleet, Node};
use crate::model::ids::{NodeId, VantageId};
use crate::model::judgement::Vantage;
use crate::model::observation::{AnchorReport, LoadReport, Observation};
use crate::model::overrides::Forced;
use crate::model::safety::Bound;
use crate::model::service::PoolBound;
use crate::model::verdict::{Freeze, NodeHealth, Scope, Verdict};
use family::{Bench, Case, FamilyState, Scoped};
use history::History;
use load::LoadState;
use pools::Pools;
use sight::{Sight, Witness};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub node: NodeId,
    pub family: Family,
    /// Whose clients it is for; `None`: everybody's.
    pub scope: Option<Scope>,
    pub from: Verdict,
    pub to: Verdict,
    /// The evidence, for people.
    pub reason: String,
}

/// What is believed of every node of one fleet.
#[derive(Clone, Debug)]
pub struct HealthModel {
    fleet: Arc<Fleet>,
    /// Indexed by [`NodeId`].
    nodes: Vec<NodeState>,
    /// By vantage.
    sights: Vec<Sight>,
    bench: Bench,
    pools: Pools,
    /// Safety rules about who serves.
    safety: Vec<Bound>,
    /// Nodes of each site, for comparing them.
    sites: Vec<Vec<NodeId>>,
    /// By node: its faults are a drill's.
    drilled: Vec<bool>,
    /// By node: what operators say of it, beside the verdict. Empty: nothing of any.
    forces: Vec<Option<Forced>>,
    started: MonoTime,
    /// How long a vantage counts in each family after it was last heard there: no shorter than its quickest
    /// probe takes to speak.
    max_age: [Duration; 2],
    freeze: Option<Freeze>,
    /// Changes for lines and areas, until they are told with the rest.
    scoped: Vec<Transition>,
}

#[derive(Clone, Debug)]
struct NodeState {
    families: [Option<FamilyState>; 2],
    load: LoadState,
    /// How full it was of late.
    fullness: History,
    /// How old a vantage's word on it may be.
    max_age: Duration,
}

impl HealthModel {
    /// A model of `fleet` that believes `restored` (by node name, from the last good table) until
    /// its own first round is complete. It knows of no pools until [`HealthModel::bound_pools`].
    pub fn new(
        fleet: Arc<Fleet>,
        restored: &BTreeMap<String, NodeHealth>,
        now: MonoTime,
        wall: WallTime,
    ) -> Self {
        let scopes = scopes_of(&fleet);
        let mut sights: Vec<Sight> = fleet.judgement.vantages.iter().map(Sight::new).collect();
        if sights.is_empty() {
            sights.push(Sight::new(&Vantage::local()));
        }
        let vantages = sights.len();
        let state = |node: &Node| {
            let kept = restored.get(&node.name);
            NodeState::new(node, kept, (vantages, &scopes), fleet.judgement.rules.trust.max_age, now, wall)
        };
        let nodes: Vec<NodeState> = fleet.nodes.iter().map(state).collect();
        let mut sites = vec![Vec::new(); fleet.sites.len()];
        for (id, node) in fleet.node_ids().zip(&fleet.nodes) {
            if let Some(site) = sites.get_mut(node.site.index()) {
                site.push(id);
            }
        }
        let mut model = Self {
            sights,
            bench: Bench::default(),
            safety: Vec::new(),
            pools: Pools::default(),
            sites,
            drilled: vec![false; nodes.len()],
            forces: Vec::new(),
            started: now,
            max_age: Family::BOTH.map(|family| max_age_of(&fleet, &nodes, family)),
            freeze: None,
            scoped: Vec::new(),
            nodes,
            fleet,
        };
        model.assess(now);
        model
    }

    /// What the pools of all services can bear, for what is done to nodes by choice.
    pub fn bound_pools(&mut self, bounds: Vec<PoolBound>) {
        self.pools = Pools::new(bounds, self.nodes.len());
    }

    /// What safety rules say of who serves, likewise.
    pub fn bound_safety(&mut self, safety: Vec<Bound>) {
        self.safety = safety;
    }

    /// Nodes that would be withdrawn by choice if it were not for a safety rule: node, rule, and what would be done.
    pub fn kept_in(&self) -> Vec<(NodeId, &str, &'static str)> {
        let of = |id: NodeId| {
            let state = &self.nodes[id.index()];
            let is_damped =
                |family: &FamilyState| family.damping.is_armed() && family.held.verdict.may_serve();
            let what = match state.load.is_open() || state.load.is_to_open() {
                true => "its circuit would open",
                false if state.families.iter().flatten().any(is_damped) => {
                    "it would be held back for flapping"
                }
                false => return None,
            };
            let is_pooled = Family::BOTH.into_iter().any(|family| self.is_pooled(id, family));
            let rule = self.forbidding(id, None).filter(|_| !is_pooled)?;
            Some((id, rule, what))
        };
        if self.safety.is_empty() { Vec::new() } else { self.fleet.node_ids().filter_map(of).collect() }
    }

    /// Faults of these nodes are a drill's from now on, and of no others: they are no flips.
    pub fn drill(&mut self, nodes: &[NodeId]) {
        self.drilled.fill(false);
        for node in nodes {
            if let Some(drilled) = self.drilled.get_mut(node.index()) {
                *drilled = true;
            }
        }
    }

    /// What operators say, by node, from now on. It changes no verdict: views show it, and what is done by
    /// choice reckons with it. A [reload](Self::reload) forgets it, since nodes have other ids then.
    pub fn force(&mut self, forces: Vec<Option<Forced>>) {
        self.forces = forces;
    }

    /// What operators say of it.
    pub fn forced(&self, id: NodeId) -> Option<&Forced> {
        self.forces.get(id.index())?.as_ref()
    }

    /// Whether an operator has taken its clients away.
    fn is_withdrawn(&self, id: NodeId) -> bool {
        self.forced(id).is_some_and(|forced| !forced.action.serves())
    }

    /// Takes in the end of one probe. Observations of nodes, probes or vantages the fleet lacks are
    /// ignored. What changed first is told first.
    pub fn apply(&mut self, seen: &Observation, wall: WallTime) -> Vec<Transition> {
        let mut changed = Vec::new();
        if self.observe(seen, wall).is_some() {
            changed.extend(self.settle(seen.node, seen.family, wall));
            if changed.first().is_some_and(|it| it.to == Verdict::Down) {
                changed.extend(self.take_along(seen.node, seen.family.other(), wall));
            }
            changed.append(&mut self.scoped);
        }
        changed
    }

    /// Has checks of a family that fail fall a failure early, since the node's other family fell.
    fn take_along(&mut self, id: NodeId, family: Family, wall: WallTime) -> Option<Transition> {
        let node = &self.fleet.nodes[id.index()];
        let state = self.nodes[id.index()].families[family.index()].as_mut()?;
        let fell = state.standings.iter_mut().fold(false, |any, it| it.fall_with_other(node) | any);
        if fell { self.settle(id, family, wall) } else { None }
    }

    /// `None`: it is not for use.
    fn observe(&mut self, seen: &Observation, wall: WallTime) -> Option<()> {
        let (index, vantage) = (seen.node.index(), seen.vantage.index());
        let node = self.fleet.nodes.get(index)?;
        let family = self.nodes.get_mut(index)?.families[seen.family.index()].as_mut()?;
        if seen.vantage == VantageId::LOCAL {
            family.history.note(seen.outcome.rtt(), seen.at);
        }
        let standing = family.standings.get_mut(vantage)?;
        let (rules, is_watched) = (&self.fleet.judgement.rules, self.bench.is_watched);
        let sight = self.sights.get_mut(vantage)?;
        let witness = Witness::new(sight, is_watched, &rules.trust, seen.at);
        let answered = standing.observe(seen, node, rules, witness, wall)?;
        self.bench.now = self.bench.now.max(seen.at);
        sight.note(answered, standing.newest.replace(answered), seen.family, seen.at);
        let unheard = self.bench.trusted[seen.family.index()] >> vantage & 1 == 0;
        if is_watched && (unheard || sight.is_dark(&rules.trust)) {
            self.assess(seen.at);
        }
        Some(())
    }

    /// Takes in what an anchor of a vantage said.
    pub fn apply_anchor(&mut self, report: &AnchorReport) {
        if let Some(sight) = self.sights.get_mut(report.vantage.index()) {
            sight.anchor(usize::from(report.anchor), report.is_success, report.at);
            self.bench.now = self.bench.now.max(report.at);
            self.assess(report.at);
        }
    }

    /// Takes in a reading of a load feed. A failed reading leaves the last one to its age. What it says
    /// of the node is heard by the next [`HealthModel::tick`].
    pub fn apply_load(&mut self, report: &LoadReport, _wall: WallTime) {
        let may_open = !Family::BOTH.into_iter().any(|family| self.is_needed(report.node, family));
        let node = self.fleet.nodes.get(report.node.index());
        let (Some(node), Some(state)) = (node, self.nodes.get_mut(report.node.index())) else { return };
        if let Ok(sample) = &report.result {
            state.load.report(sample, report.at, node, may_open, &self.fleet.judgement.rules);
        }
    }

    /// Lets time pass: words and loads grow stale, vantages are weighed against each other, nodes against
    /// their peers. Announces what that changes, and what a reload changed.
    pub fn tick(&mut self, now: MonoTime, wall: WallTime) -> Vec<Transition> {
        self.bench.now = self.bench.now.max(now);
        for (node, state) in self.fleet.nodes.iter().zip(&mut self.nodes) {
            if let Some(feed) = &node.load {
                state.load.pass(now, feed, &self.fleet.judgement.rules);
                state.load.utilisation().into_iter().for_each(|it| state.fullness.fill(it, now));
            }
        }
        if self.bench.is_watched {
            self.census(now);
            self.assess(now);
        }
        self.compare_peers(now);
        let mut changed = Vec::new();
        for id in self.fleet.node_ids() {
            for family in Family::BOTH {
                changed.extend(self.settle(id, family, wall));
            }
        }
        self.note_freeze(wall);
        changed.append(&mut self.scoped);
        changed
    }

    /// Whether every family of every node has been judged by this process, so that nothing believed is
    /// only restored or unknown.
    pub fn first_round_is_complete(&self) -> bool {
        self.nodes.iter().flat_map(|node| node.families.iter().flatten()).all(|family| family.held.observed)
    }

    /// Every node as believed now, indexed by [`NodeId`].
    pub fn view(&self) -> Vec<NodeHealth> {
        self.fleet.node_ids().map(|id| self.view_of(id)).collect()
    }

    fn view_of(&self, id: NodeId) -> NodeHealth {
        let (state, vantages) = (&self.nodes[id.index()], &self.fleet.judgement.vantages);
        let shown = |family: Family| {
            let case = self.case(id, family, WallTime::default());
            state.families[family.index()].as_ref().map(|held| held.view(&case, vantages))
        };
        let forced = self.forced(id).cloned();
        NodeHealth { families: Family::BOTH.map(shown), load: state.load.shown().cloned(), forced }
    }

    /// Whether no family of it is believed to be reachable, whatever operators say.
    pub fn is_down(&self, id: NodeId) -> bool {
        let Some(state) = self.nodes.get(id.index()) else { return false };
        let mut judged = state.families.iter().flatten().peekable();
        judged.peek().is_some() && judged.all(|family| !family.held.verdict.may_serve())
    }

    /// Every node by name, for the state file and for [`HealthModel::new`] of the next process. What
    /// operators say is kept elsewhere.
    pub fn transfer(&self) -> BTreeMap<String, NodeHealth> {
        let told = |id| NodeHealth { forced: None, ..self.view_of(id) };
        self.fleet.node_ids().map(|id| (self.fleet.node(id).name.clone(), told(id))).collect()
    }

    /// The model for an edited fleet. A node keeps, by name and family, its verdict and load, and
    /// what each probe learned if an equal probe (same kind, same target) is still there; new
    /// thresholds hold from the next observation. What a vantage learned is kept while the vantages are the
    /// same. Verdicts that the edit itself changes are announced by the next [`HealthModel::tick`].
    #[must_use]
    pub fn reload(&self, fleet: Arc<Fleet>, now: MonoTime, wall: WallTime) -> HealthModel {
        let mut next = Self::new(fleet, &BTreeMap::new(), now, wall);
        let old: BTreeMap<&str, usize> =
            self.fleet.nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
        let (these, those) = (&self.fleet.judgement.vantages, &next.fleet.judgement.vantages);
        let same_vantages =
            these.len() == those.len() && these.iter().zip(those).all(|(a, b)| a.is_same_place(b));
        for (at, node) in next.fleet.nodes.iter().enumerate() {
            if let Some(&index) = old.get(node.name.as_str()) {
                let before = (&self.nodes[index], &self.fleet.nodes[index]);
                next.nodes[at].inherit(node, before, same_vantages);
                next.drilled[at] = self.drilled[index];
            }
        }
        if same_vantages {
            (next.sights, next.started, next.bench) = (self.sights.clone(), self.started, self.bench);
            next.census(now);
            next.assess(now);
        }
        next.freeze = self.freeze;
        next
    }

    fn case(&self, id: NodeId, family: Family, wall: WallTime) -> Case<'_> {
        let state = &self.nodes[id.index()];
        Case {
            id,
            node: &self.fleet.nodes[id.index()],
            family,
            bench: self.bench,
            rules: &self.fleet.judgement.rules,
            max_age: state.max_age,
            load: &state.load,
            // Somebody works on a node that was withdrawn: no flips either.
            is_drilled: self.drilled[id.index()] || self.is_withdrawn(id),
            is_needed: false,
            wall,
        }
    }

    fn settle(&mut self, id: NodeId, family: Family, wall: WallTime) -> Option<Transition> {
        // Taken out so that it can change while the rest is read; a family is a few words to move.
        let mut state = self.nodes[id.index()].families[family.index()].take()?;
        let mut case = self.case(id, family, wall);
        let by_choice = state.damping.is_armed() || case.load.is_open();
        case.is_needed = by_choice && self.is_needed(id, family);
        let changed = state.settle(&case);
        if !state.scoped.is_empty() {
            let scoped = state.settle_scoped(&case);
            self.scoped.extend(scoped);
        }
        self.nodes[id.index()].families[family.index()] = Some(state);
        changed
    }

    /// Whether some pool cannot do without the node in this family, or a safety rule without the node.
    fn is_needed(&self, node: NodeId, family: Family) -> bool {
        self.is_pooled(node, family) || self.forbidding(node, Some(family)).is_some()
    }

    /// The safety rule that would be broken without the node; `by`: in this family alone.
    fn forbidding(&self, node: NodeId, by: Option<Family>) -> Option<&str> {
        let may_serve = |other: NodeId| {
            let Some(state) = self.nodes.get(other.index()) else { return false };
            let by_verdict = match other == node {
                // By its verdict it may be away already, for the reason that is in question.
                true => true,
                false => Family::BOTH.into_iter().any(|family| state.may_serve(family) == Some(true)),
            };
            by_verdict && !self.is_withdrawn(other)
        };
        let serves = |family: Family| self.nodes.get(node.index())?.may_serve(family);
        let serves_otherwise = by.is_some_and(|by| serves(by.other()) == Some(true));
        let forbids = |bound: &&Bound| {
            bound.forbids(|other| other == node, may_serve, |other| self.is_withdrawn(other))
        };
        let found = if serves_otherwise { None } else { self.safety.iter().find(forbids) };
        found.map(|bound| bound.rule.as_str())
    }

    /// Whether some pool cannot do without the node in this family, which it has.
    fn is_pooled(&self, node: NodeId, family: Family) -> bool {
        let has = self.fleet.nodes.get(node.index()).is_some_and(|node| node.has_family(family));
        let may_serve = |other: NodeId| {
            let by_verdict = self.nodes.get(other.index())?.may_serve(family)?;
            Some(by_verdict && !self.is_withdrawn(other))
        };
        has && self.pools.need(node, |other| if other == node { Some(true) } else { may_serve(other) })
    }
}

/// How long the quickest target of a family may be silent.
fn max_age_of(fleet: &Fleet, nodes: &[NodeState], family: Family) -> Duration {
    let is_asked = |node: &Node| node.probes.iter().any(|probe| probe.targets[family.index()].is_some());
    let asked = fleet.nodes.iter().zip(nodes).filter(|(node, _)| is_asked(node));
    asked.map(|(_, state)| state.max_age).min().unwrap_or(fleet.judgement.rules.trust.max_age)
}

/// The lines and areas that vantages stand for, with who stands for each.
fn scopes_of(fleet: &Fleet) -> Vec<Scoped> {
    let mut scopes: Vec<Scoped> = Vec::new();
    for (at, vantage) in fleet.judgement.vantages.iter().enumerate() {
        let Some(scope) = &vantage.stands_for else { continue };
        match scopes.iter_mut().find(|scoped| scoped.scope == *scope) {
            Some(scoped) => scoped.mask |= 1 << at,
            None => scopes.push(Scoped { scope: scope.clone(), mask: 1 << at, held: None }),
        }
    }
    scopes
}

impl NodeState {
    fn new(
        node: &Node,
        restored: Option<&NodeHealth>,
        (vantages, scopes): (usize, &[Scoped]),
        max_age: Duration,
        now: MonoTime,
        wall: WallTime,
    ) -> Self {
        let family = |family: Family| {
            let before = restored.and_then(|health| health.family(family));
            node.has_family(family).then(|| FamilyState::new(node, family, before, vantages, scopes, wall))
        };
        let round = node.probes.iter().map(|probe| probe.interval * 3 + probe.timeout).max();
        Self {
            families: Family::BOTH.map(family),
            load: LoadState::restored(restored.and_then(|health| health.load.as_ref()), node, now),
            fullness: History::default(),
            max_age: round.unwrap_or_default().max(max_age),
        }
    }

    /// `None` without the family.
    fn may_serve(&self, family: Family) -> Option<bool> {
        self.families[family.index()].as_ref().map(|family| family.held.verdict.may_serve())
    }

    fn inherit(&mut self, node: &Node, (old, old_node): (&NodeState, &Node), same_vantages: bool) {
        for family in Family::BOTH {
            let before = old.families[family.index()].as_ref();
            if let (Some(state), Some(before)) = (self.families[family.index()].as_mut(), before) {
                state.inherit(node, before, old_node, family, same_vantages);
            }
        }
        if node.load == old_node.load && node.capacity == old_node.capacity {
            (self.load, self.fullness) = (old.load.clone(), old.fullness.clone());
        }
    }
}
