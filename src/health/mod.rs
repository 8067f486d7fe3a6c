//! Observations to verdicts: which nodes may serve, on which address family, and why.
//!
//! ```text
//!  Observation ─▶ Track (one probe, one family) ─┐            ┌─▶ Transition (what changed, why)
//!                  counter   rise, fall, ok      ├─▶ verdict ─┤
//!                  latency   rtt, baseline       │            └─▶ view(): Vec<NodeHealth>
//!                  loss      sliding window      │
//!  LoadReport ──▶ LoadState ─────────────────────┘ (load has no part in the verdict)
//! ```
//! A family is **down** if any of its probes stands down, **degraded** if any is slower than usual or
//! loses too much, else **up**. Until each of its probes has been seen once it keeps the verdict the last
//! good table had, else `unknown`; a first failure decides without waiting for the rest. Families
//! are judged apart. A family without a probe is up, and says so.
//!
//! Not here: quorum and blindness (several vantages), flap damping, operator force, and what load
//! means for placement. Time is passed in; nothing here waits or reads a clock.

mod counter;
mod latency;
mod load;
mod loss;
mod reason;
mod smooth;
mod track;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;

use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::model::fleet::{Fleet, Node};
use crate::model::ids::NodeId;
use crate::model::observation::{LoadReport, Observation};
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use load::LoadState;
use std::collections::BTreeMap;
use std::sync::Arc;
use track::{Finding, Track};

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub node: NodeId,
    pub family: Family,
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
}

#[derive(Clone, Debug)]
struct NodeState {
    families: [Option<FamilyState>; 2],
    load: LoadState,
}

#[derive(Clone, Debug)]
struct FamilyState {
    /// Verdict, since, reason and observed are kept here; the figures are filled in when shown.
    held: FamilyHealth,
    /// The probe and the finding the held reason tells of.
    cause: Option<(u8, Finding)>,
    /// Empty: nothing probes this family.
    tracks: Vec<Track>,
}

impl HealthModel {
    /// A model of `fleet` that believes `restored` (by node name, from the last good table) until
    /// its own first round is complete.
    pub fn new(
        fleet: Arc<Fleet>,
        restored: &BTreeMap<String, NodeHealth>,
        now: MonoTime,
        wall: WallTime,
    ) -> Self {
        let nodes = fleet.nodes.iter().map(|node| NodeState::new(node, restored.get(&node.name), now, wall));
        Self { nodes: nodes.collect(), fleet }
    }

    /// Takes in the end of one probe. Observations of nodes or probes the fleet lacks are ignored.
    pub fn apply(&mut self, observation: &Observation, wall: WallTime) -> Option<Transition> {
        let node = self.fleet.nodes.get(observation.node.index())?;
        let spec = node.probes.get(usize::from(observation.probe))?;
        let state = self.nodes.get_mut(observation.node.index())?;
        let family = state.families[observation.family.index()].as_mut()?;
        let track = family.tracks.iter_mut().find(|track| track.probe == observation.probe)?;
        track.observe(&observation.outcome, observation.at, spec);
        family.settle(observation.node, node, observation.family, wall)
    }

    /// Takes in a reading of a load feed. A failed reading leaves the last one to its age.
    pub fn apply_load(&mut self, report: &LoadReport, _wall: WallTime) {
        let node = self.fleet.nodes.get(report.node.index());
        let (Some(node), Some(state)) = (node, self.nodes.get_mut(report.node.index())) else { return };
        if let Ok(sample) = &report.result {
            state.load.report(sample, report.at, node);
        }
    }

    /// Lets time pass: stale loads are forgotten, and verdicts that a reload changed are announced.
    pub fn tick(&mut self, now: MonoTime, wall: WallTime) -> Vec<Transition> {
        let mut changed = Vec::new();
        for (index, (node, state)) in self.fleet.nodes.iter().zip(&mut self.nodes).enumerate() {
            if let Some(feed) = &node.load {
                state.load.expire(now, feed);
            }
            for family in Family::BOTH {
                let Some(held) = state.families[family.index()].as_mut() else { continue };
                changed.extend(held.settle(NodeId::from_index(index), node, family, wall));
            }
        }
        changed
    }

    /// Whether every family of every node has been judged by this process, so that nothing believed is
    /// only restored or unknown.
    pub fn first_round_is_complete(&self) -> bool {
        self.nodes.iter().flat_map(|node| node.families.iter().flatten()).all(|family| family.held.observed)
    }

    /// Every node as believed now, indexed by [`NodeId`].
    pub fn view(&self) -> Vec<NodeHealth> {
        self.nodes.iter().map(NodeState::view).collect()
    }

    /// The same by node name, for the state file and for [`HealthModel::new`] of the next process.
    pub fn transfer(&self) -> BTreeMap<String, NodeHealth> {
        let named = self.fleet.nodes.iter().zip(&self.nodes);
        named.map(|(node, state)| (node.name.clone(), state.view())).collect()
    }

    /// The model for an edited fleet. A node keeps, by name and family, its verdict and load, and
    /// what each probe learned if an equal probe (same kind, same target) is still there; new
    /// thresholds hold from the next observation. Verdicts that the edit itself changes are announced
    /// by the next [`HealthModel::tick`].
    #[must_use]
    pub fn reload(&self, fleet: Arc<Fleet>, now: MonoTime, wall: WallTime) -> HealthModel {
        let mut next = Self::new(fleet, &BTreeMap::new(), now, wall);
        let old: BTreeMap<&str, usize> =
            self.fleet.nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
        for (node, state) in next.fleet.nodes.iter().zip(&mut next.nodes) {
            if let Some(&index) = old.get(node.name.as_str()) {
                state.inherit(node, &self.nodes[index], &self.fleet.nodes[index]);
            }
        }
        next
    }
}

impl NodeState {
    fn new(node: &Node, restored: Option<&NodeHealth>, now: MonoTime, wall: WallTime) -> Self {
        let family = |family: Family| {
            let before = restored.and_then(|health| health.family(family));
            node.has_family(family).then(|| FamilyState::new(node, family, before, wall))
        };
        Self {
            families: Family::BOTH.map(family),
            load: LoadState::restored(restored.and_then(|health| health.load.as_ref()), node, now),
        }
    }

    fn view(&self) -> NodeHealth {
        NodeHealth {
            families: Family::BOTH
                .map(|family| self.families[family.index()].as_ref().map(FamilyState::view)),
            load: self.load.shown().cloned(),
        }
    }

    fn inherit(&mut self, node: &Node, old: &NodeState, old_node: &Node) {
        for family in Family::BOTH {
            let before = old.families[family.index()].as_ref();
            if let (Some(state), Some(before)) = (self.families[family.index()].as_mut(), before) {
                state.inherit(node, before, old_node, family);
            }
        }
        if node.load == old_node.load && node.capacity == old_node.capacity {
            self.load = old.load.clone();
        }
    }
}

impl FamilyState {
    fn new(node: &Node, family: Family, restored: Option<&FamilyHealth>, wall: WallTime) -> Self {
        let mut tracks = Track::all_of(node, family);
        let restored = restored.filter(|before| before.verdict != Verdict::Unknown);
        let held = match restored {
            _ if tracks.is_empty() => FamilyHealth {
                verdict: Verdict::Up,
                since: restored.map_or(wall, |before| before.since),
                reason: reason::unprobed(node, family),
                observed: true,
                ..FamilyHealth::default()
            },
            Some(before) => {
                if let (Some(first), Some(_)) = (tracks.first_mut(), before.baseline) {
                    *first = Track::new(first.probe, before.baseline);
                }
                let reason = reason::restored(&before.reason);
                FamilyHealth { reason, observed: false, ..before.clone() }
            }
            None => FamilyHealth { since: wall, reason: reason::awaiting(node), ..FamilyHealth::default() },
        };
        Self { held, cause: None, tracks }
    }

    fn inherit(&mut self, node: &Node, before: &FamilyState, old_node: &Node, family: Family) {
        let mut kept = before.tracks.clone();
        for track in &mut self.tracks {
            let spec = &node.probes[usize::from(track.probe)];
            let same =
                |old: &Track| track::same_question(&old_node.probes[usize::from(old.probe)], spec, family);
            if let Some(at) = kept.iter().position(same) {
                let probe = track.probe;
                *track = kept.swap_remove(at);
                track.probe = probe;
            }
        }
        if !self.tracks.is_empty() || before.held.verdict != Verdict::Up {
            self.held = before.held.clone();
        }
    }

    /// The probe that decides and what it found; `None` while the first round is incomplete and
    /// nothing has failed.
    fn judge(&self) -> Option<(&Track, Finding)> {
        let mut pending = false;
        let mut worst: Option<(&Track, Finding)> = None;
        for track in &self.tracks {
            match track.finding() {
                Some(Finding::Failing) => return Some((track, Finding::Failing)),
                // The first of the worst, so that the reason names one probe while nothing changes.
                Some(found) if worst.is_none_or(|(_, held)| severity(found) < severity(held)) => {
                    worst = Some((track, found));
                }
                Some(_) => {}
                None => pending = true,
            }
        }
        worst.filter(|_| !pending)
    }

    fn settle(&mut self, id: NodeId, node: &Node, family: Family, wall: WallTime) -> Option<Transition> {
        if self.tracks.is_empty() {
            if self.held.verdict == Verdict::Up {
                return None;
            }
            let why = reason::unprobed(node, family);
            return self.hold(id, family, Verdict::Up, why, wall);
        }
        let (track, finding) = self.judge()?;
        let cause = Some((track.probe, finding));
        let verdict = verdict_of(finding);
        if self.held.observed && self.cause == cause && self.held.verdict == verdict {
            return None;
        }
        let before = self.cause.filter(|_| self.held.observed);
        // What got well is what was ill, not the first probe of the list.
        let told = match (finding, before) {
            (Finding::Answers, Some((ill, _))) => self.tracks.iter().find(|other| other.probe == ill),
            _ => None,
        };
        let told = told.unwrap_or(track);
        let spec = &node.probes[usize::from(told.probe)];
        let why = reason::of_finding(finding, told, spec, family, before.map(|(_, finding)| finding));
        (self.cause, self.held.observed) = (cause, true);
        self.hold(id, family, verdict, why, wall)
    }

    fn hold(
        &mut self,
        id: NodeId,
        family: Family,
        to: Verdict,
        why: String,
        wall: WallTime,
    ) -> Option<Transition> {
        let from = std::mem::replace(&mut self.held.verdict, to);
        self.held.reason = why;
        if from == to {
            return None;
        }
        self.held.since = wall;
        Some(Transition { node: id, family, from, to, reason: self.held.reason.clone() })
    }

    fn view(&self) -> FamilyHealth {
        let mut health = self.held.clone();
        // One probe prices the node, else a table would mix the round trips of two kinds.
        if let Some(track) = self.tracks.iter().find(|track| track.latency.rtt().is_some()) {
            health.rtt = track.latency.rtt();
            health.baseline = track.latency.baseline();
            health.jitter = track.latency.jitter();
        }
        if let Some(loss) = self.tracks.iter().map(|track| track.loss.loss()).max() {
            health.loss = if health.observed { loss } else { health.loss.max(loss) };
        }
        health
    }
}

fn severity(finding: Finding) -> u8 {
    match finding {
        Finding::Failing => 0,
        Finding::Slow(_) => 1,
        Finding::Lossy => 2,
        Finding::Answers => 3,
    }
}

fn verdict_of(finding: Finding) -> Verdict {
    match finding {
        Finding::Failing => Verdict::Down,
        Finding::Slow(_) | Finding::Lossy => Verdict::Degraded,
        Finding::Answers => Verdict::Up,
    }
}
