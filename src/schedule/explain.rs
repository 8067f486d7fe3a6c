//! Tells one group's decision: which rule, which pools, what every node costs and why it lost.
//!
//! Nothing is computed here that the planner does not compute: costs come from the same terms,
//! candidates from the same ladder, room from the same account, opened at the assignment that is
//! live (`previous`). Names instead of ids, so that it means something outside the process.

use super::PlanInput;
use super::contest::Hurdle;
use super::cost::{CostTerms, nearness};
use super::ladder::Ladder;
use super::load::Loads;
use super::pick::MOST;
use super::plan::Opening;
use super::terrain::{Outlook, Terrain};
use crate::base::units::Ppm;
use crate::model::held_back::{BudgetLeft, HeldBy, HeldMove};
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::{Latencies, Placement, PlacementMode, Share};
use crate::model::service::{Method, Service};
use crate::model::verdict::{NodeHealth, Verdict};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The whole decision for one group of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub service: String,
    pub profile: String,
    /// What the profile makes of the terms.
    #[serde(default)]
    pub weights: String,
    pub group: String,
    /// The area of the rule that chose the chain; `None`: the catch-all.
    pub area: Option<String>,
    /// `normal`, `fail_open` or `all_down`.
    pub mode: String,
    /// It stays on its nodes while they serve, since a canary runs and it is not in it.
    #[serde(default)]
    pub is_held: bool,
    /// Where it would go, and what holds it, if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldMove>,
    /// What may still be moved by choice.
    #[serde(default)]
    pub budget: BudgetLeft,
    pub pools: Vec<PoolView>,
    /// Every member of the chain: picked, then backups, then the rest in rising cost.
    pub candidates: Vec<CandidateView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    pub name: String,
    pub members: usize,
    /// Members that are not down.
    pub alive: usize,
    /// Members that must not be down for the pool to pass.
    pub needed: usize,
    pub passes: bool,
    /// What the pool is for now.
    pub role: PoolRole,
    /// How its clients are divided: `latency`, `weights` or `load`. That of the pool it helps out, if it
    /// does.
    #[serde(default)]
    pub method: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolRole {
    /// Its nodes are first choice.
    First,
    /// Its nodes are taken when those before are full.
    Spill,
    /// It offers no node.
    Unused,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateView {
    pub node: String,
    pub site: String,
    pub pool: String,
    pub verdict: String,
    pub cost: CostTerms,
    /// Measurements behind the distance; 0: it is a guess.
    #[serde(default)]
    pub measurements: u16,
    /// How sure the distance is: n / (n + 20) of n measurements.
    #[serde(default)]
    pub confidence: Ppm,
    #[serde(default)]
    pub quality: QualityView,
    /// What it has to be cheaper by, beside the margin of a move, for being less surely known than what
    /// the group has (us).
    #[serde(default)]
    pub doubt_us: u32,
    /// Base and planned load against capacity; `None` without capacity.
    pub utilisation: Option<Ppm>,
    pub state: CandidateState,
    /// What would have to change for it to win the group, all of it; empty if it has, or soon will.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_win: Vec<Hurdle>,
}

/// Jitter and loss as they are priced, and how many clients measured each; 0: probes alone tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityView {
    pub jitter_us: u32,
    pub jitter_measurements: u16,
    pub loss_ppm: u32,
    pub loss_measurements: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CandidateState {
    Picked {
        share: Ppm,
    },
    /// Rank from 1.
    Backup {
        rank: usize,
        because: String,
    },
    Lost {
        because: String,
    },
}

/// Explains what `input.previous`, the live assignment, gives the group. `None`: no such service or
/// group, or the service has no chain for it.
pub fn explain(input: &PlanInput<'_>, service: ServiceId, group: GroupId) -> Option<Explanation> {
    if service.index() >= input.policy.services.len() || group.index() >= input.groups.len() {
        return None;
    }
    let (opening, _) = Opening::of(input);
    let terrain = &opening.terrain;
    let loads = opening.account();
    let outlook = terrain.outlook(service.index(), group.index())?;
    let placement = input.previous.and_then(|previous| previous.placement(service, group));
    let policy = input.policy;
    let held = opening.memory().held_move((service, group), policy, input.groups);
    let budget = opening.memory().budget(&policy.planner);
    let told = Told { terrain, loads: &loads, outlook, service, group, placement, held, budget };
    let rule = &policy.service(service).chains[terrain.rule(service.index(), group.index())?];
    Some(Explanation {
        service: policy.service(service).name.clone(),
        profile: policy.service(service).profile.name().to_owned(),
        weights: policy.service(service).profile.weights.to_string(),
        group: input.groups[group.index()].key.clone(),
        area: rule.area_name(&policy.clients),
        mode: mode(placement).to_owned(),
        is_held: input.memory.hold.is_some_and(|hold| hold.holds(&input.groups[group.index()].key)),
        held_back: told.held.clone(),
        budget,
        pools: pools(policy.service(service), outlook.ladder),
        candidates: told.candidates(),
    })
}

fn mode(placement: Option<&Placement>) -> &'static str {
    match placement.map(|placement| placement.mode) {
        Some(PlacementMode::Normal) => "normal",
        Some(PlacementMode::FailOpen) => "fail_open",
        Some(PlacementMode::AllDown) | None => "all_down",
    }
}

fn pools(service: &Service, ladder: &Ladder) -> Vec<PoolView> {
    let view = |state: &super::ladder::PoolState| PoolView {
        name: service.pool(state.pool).name.clone(),
        members: state.members,
        alive: state.alive,
        needed: state.needed,
        passes: state.passes,
        role: match state.level {
            Some(0) => PoolRole::First,
            Some(_) => PoolRole::Spill,
            None => PoolRole::Unused,
        },
        method: method(service, ladder, state).name().to_owned(),
    };
    ladder.pools.iter().map(view).collect()
}

fn method(service: &Service, ladder: &Ladder, state: &super::ladder::PoolState) -> Method {
    let of_level = state.level.map(|level| ladder.method(usize::from(level)));
    of_level.unwrap_or(service.pool(state.pool).method)
}

/// Why a node may not serve a group.
pub(super) enum Absence {
    /// It is down for the group's line or area, named here.
    Scope(String),
    Circuit,
    Down,
    /// An operator withdrew it: how, who and why.
    Forced(String),
}

/// What the texts are made of.
pub(super) struct Told<'t> {
    pub(super) terrain: &'t Terrain<'t>,
    pub(super) loads: &'t Loads,
    pub(super) outlook: Outlook<'t>,
    pub(super) service: ServiceId,
    group: GroupId,
    placement: Option<&'t Placement>,
    /// Where the group would go, and what holds it.
    held: Option<HeldMove>,
    budget: BudgetLeft,
}

impl Told<'_> {
    fn candidates(&self) -> Vec<CandidateView> {
        let fleet = &self.terrain.input.policy.fleet;
        let members = fleet.node_ids().filter(|&node| self.outlook.ladder.is_member(node));
        let mut views: Vec<_> = members.map(|node| (self.rank(node), self.candidate(node))).collect();
        views.sort_by_key(|((order, rank), view)| (*order, *rank, view.cost.total_us));
        views.into_iter().map(|(_, view)| view).collect()
    }

    pub(super) fn shares(&self) -> &[Share] {
        self.placement.map_or(&[], |placement| &placement.shares)
    }

    /// Picked first, by share; backups by rank; the rest.
    fn rank(&self, node: NodeId) -> (u8, usize) {
        let Some(placement) = self.placement else { return (2, 0) };
        if let Some(at) = placement.shares.iter().position(|share| share.node == node) {
            return (0, at);
        }
        placement.backups.iter().position(|&backup| backup == node).map_or((2, 0), |at| (1, at))
    }

    fn candidate(&self, node: NodeId) -> CandidateView {
        let policy = self.terrain.input.policy;
        let utilisation = self.loads.utilisation_ppm(node);
        CandidateView {
            node: policy.fleet.node(node).name.clone(),
            site: policy
                .fleet
                .sites
                .get(policy.fleet.node(node).site.index())
                .map_or("", |s| &s.name)
                .to_owned(),
            pool: self.pool(node),
            verdict: self.verdict(node).name().to_owned(),
            cost: self.cost(node),
            measurements: self.terrain.votes(self.group.index(), node),
            confidence: Latencies::confidence(self.terrain.votes(self.group.index(), node)),
            quality: self.quality(node),
            doubt_us: self.outlook.doubt(node, self.shares()),
            utilisation: utilisation.map(|ppm| Ppm(u32::try_from(ppm).unwrap_or(u32::MAX))),
            state: self.state(node),
            to_win: self.hurdles(node),
        }
    }

    /// What it costs the group at present, us.
    pub(super) fn total_us(&self, node: NodeId) -> u32 {
        self.cost(node).total_us
    }

    fn cost(&self, node: NodeId) -> CostTerms {
        let congestion = self.loads.price[node.index()];
        self.terrain.terms(self.service.index(), self.group.index(), node, congestion)
    }

    fn quality(&self, node: NodeId) -> QualityView {
        let path = self.terrain.path(self.group.index(), node);
        let (jitter_us, loss_ppm) = path.seen(&self.terrain.signals[node.index()]);
        QualityView {
            jitter_us,
            jitter_measurements: path.quality.jitter.votes,
            loss_ppm,
            loss_measurements: path.quality.loss.votes,
        }
    }

    /// The pool it is on the ladder by, else the first of the chain that has it.
    pub(super) fn pool(&self, node: NodeId) -> String {
        let service = self.terrain.input.policy.service(self.service);
        let on_ladder = self.outlook.ladder.rung(node).map(|rung| rung.pool);
        let in_chain = || {
            let has = |state: &&super::ladder::PoolState| {
                service.pool(state.pool).members.iter().any(|member| member.node == node)
            };
            self.outlook.ladder.pools.iter().find(has).map(|state| state.pool)
        };
        on_ladder.or_else(in_chain).map_or_else(String::new, |pool| service.pool(pool).name.clone())
    }

    fn state(&self, node: NodeId) -> CandidateState {
        let shares = self.shares();
        if let Some(share) = shares.iter().find(|share| share.node == node) {
            return CandidateState::Picked { share: share.share };
        }
        let because = self.because(node);
        match self.rank(node) {
            (1, at) => CandidateState::Backup { rank: at + 1, because },
            _ => CandidateState::Lost { because },
        }
    }

    /// For the group: down where its line or area cannot reach the node at all.
    fn verdict(&self, node: NodeId) -> Verdict {
        let may_serve = self.outlook.view.may_serve[node.index()];
        let health = self.terrain.input.health.get(node.index());
        match health.filter(|health| health.forced.is_some()) {
            // Told beside what an operator says of it.
            Some(health) => health.verdict(),
            None if may_serve => self.terrain.signals[node.index()].verdict,
            None => Verdict::Down,
        }
    }

    /// Of a node that may not serve the group.
    pub(super) fn absence(&self, node: NodeId) -> Absence {
        let health = self.terrain.input.health.get(node.index());
        let view = self.terrain.reach.view(self.group.index());
        let is_global = !self.terrain.reach.global().may_serve[node.index()];
        match health.and_then(|health| view.taken_by(health)).filter(|_| !is_global) {
            Some(scope) => Absence::Scope(scope.to_string()),
            None if health.is_none_or(NodeHealth::may_serve) => Absence::Circuit,
            None => match health.and_then(|health| health.forced.as_ref()) {
                Some(forced) => Absence::Forced(forced.told()),
                None => Absence::Down,
            },
        }
    }

    /// Whether a pool before this place of the chain has a node below its cap.
    fn has_room_before(&self, level: u8) -> bool {
        self.outlook.ladder.rungs.iter().any(|rung| rung.level < level && self.loads.room(rung.node) > 0)
    }

    /// Why it carries none of the group.
    fn because(&self, node: NodeId) -> String {
        if !self.outlook.view.may_serve[node.index()] {
            return match self.absence(node) {
                Absence::Scope(scope) => format!("it is down for {scope}"),
                Absence::Circuit => "the circuit of its region is open".to_owned(),
                Absence::Down => "it is down".to_owned(),
                Absence::Forced(told) => format!("it is {told}"),
            };
        }
        let Some(rung) = self.outlook.ladder.rung(node) else {
            return "it has weight 0 and a weighted member of its pool serves".to_owned();
        };
        let picked = self.shares().iter().filter_map(|share| self.outlook.ladder.rung(share.node));
        let Some(best) = picked.min_by_key(|rung| (rung.level, self.total_us(rung.node))) else {
            return "nobody is picked: the next plan places the group".to_owned();
        };
        if rung.level > best.level && self.has_room_before(rung.level) {
            return format!("pool {} is for spill: an earlier pool has room", self.pool(node));
        }
        if rung.level > best.level && self.loads.room(node) > 0 {
            return format!(
                "pool {} is for spill, and the group has a place in an earlier one",
                self.pool(node)
            );
        }
        if self.loads.room(node) == 0 {
            return "it is at its cap".to_owned();
        }
        if self.loads.is_full(node) {
            if let Some(held) = self.held_from(node).filter(|held| held.by == HeldBy::Strain) {
                return held.told(&self.budget);
            }
            let end = Ppm(u32::try_from(self.loads.spill_end_ppm).unwrap_or(u32::MAX)).percent();
            return format!("it reached its cap and takes no newcomers before it is at {end} %");
        }
        let method = self.outlook.ladder.method(usize::from(rung.level));
        let least = self.total_us(best.node);
        let is_near = self.total_us(node) < least.saturating_add(nearness(least));
        let ramp = Ppm(self.outlook.returns.ramps[node.index()]);
        if ramp < Ppm::WHOLE && (method.is_flat() || is_near) {
            return format!("it came back: for now it takes at most {:.0} % of its part", ramp.percent());
        }
        match method {
            Method::Latency => self.compared(node, best.node),
            method => self.left_out(node, method),
        }
    }

    /// Of a level whose nodes all have their part.
    fn left_out(&self, node: NodeId, method: Method) -> String {
        let pool = self.pool(node);
        if self.loads.price[node.index()] > 0 {
            return format!("pool {pool} goes by {}, but it is above its target", method.name());
        }
        if self.shares().len() >= MOST {
            return format!(
                "pool {pool} goes by {}, and these clients have {MOST} of its nodes",
                method.name()
            );
        }
        let dwell = seconds(self.terrain.input.policy.planner.dwell);
        format!("pool {pool} goes by {}: clients come to it when it has served for {dwell}", method.name())
    }

    fn compared(&self, node: NodeId, best: NodeId) -> String {
        let (cost, least) = (self.total_us(node), self.total_us(best));
        let name = &self.terrain.input.policy.fleet.node(best).name;
        if cost >= least {
            return format!("{} more than {name}", millis(cost - least));
        }
        let less = millis(least - cost);
        let doubt = self.outlook.doubt(node, self.shares());
        let bid = cost.saturating_add(doubt);
        if least < bid.saturating_add(self.outlook.margin.of(bid)) {
            let doubt = match doubt {
                0 => String::new(),
                us => format!(", since it is less surely known, which counts for {}", millis(us)),
            };
            format!("{less} less than {name}: too little to move clients for{doubt}")
        } else {
            match self.held_from(node) {
                Some(held) => format!("{less} less than {name}: {}", held.told(&self.budget)),
                None => format!("{less} less than {name}: the next plan asks whether the group moves"),
            }
        }
    }

    /// What keeps the group from this node, of all others.
    fn held_from(&self, node: NodeId) -> Option<&HeldMove> {
        let name = &self.terrain.input.policy.fleet.node(node).name;
        self.held.as_ref().filter(|held| held.to.as_ref() == Some(name))
    }
}

/// `3 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn millis(us: u32) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, down, group, plan_first, pool, service, spread};
    use super::*;
    use crate::model::clients::Line;
    use crate::model::ids::LineId;
    use crate::model::placement::{Measured, PathQuality, Quality};
    use crate::schedule::{Pass, Plan, PlannerMemory};

    fn input<'a>(w: &'a World, plan: &'a Plan, memory: &'a PlannerMemory) -> PlanInput<'a> {
        PlanInput {
            policy: &w.policy,
            groups: &w.groups,
            latencies: &w.latencies,
            health: &w.health,
            previous: Some(&plan.assignment),
            memory,
            demand: None,
            now_ms: 0,
            pass: Pass::Full,
        }
    }

    fn told(w: &World, plan: &Plan) -> Explanation {
        let memory = PlannerMemory::default();
        explain(&input(w, plan, &memory), ServiceId(0), GroupId(0)).expect("both exist")
    }

    #[test]
    fn every_member_of_the_chain_is_accounted_for() {
        let pools = vec![pool(&[0, 1, 2, 4]), pool(&[3])];
        let mut w = spread(&[&[20, 50, 10, 5, 22]], vec![service("s", pools)]);
        w.health[2] = down();
        let plan = plan_first(&w);
        let told = told(&w, &plan);
        let text: Vec<String> = told
            .candidates
            .iter()
            .map(|c| match &c.state {
                CandidateState::Picked { share } => format!("{} picked {}", c.node, share.0),
                CandidateState::Backup { rank, because } => format!("{} backup {rank}: {because}", c.node),
                CandidateState::Lost { because } => format!("{} lost: {because}", c.node),
            })
            .collect();
        assert_eq!(
            text,
            [
                "n0 picked 500000",
                "n4 picked 500000",
                "n1 backup 1: 30.0 ms more than n0",
                "n3 backup 2: pool p3 is for spill: an earlier pool has room",
                "n2 lost: it is down",
            ]
        );
        assert_eq!((told.mode.as_str(), told.pools[0].alive, told.pools[0].needed), ("normal", 3, 2));
        assert_eq!((told.pools[0].role, told.pools[1].role), (PoolRole::First, PoolRole::Spill));
        for candidate in &told.candidates {
            let c = candidate.cost;
            assert_eq!(c.distance_us + c.excess_us + c.verdict_us + c.line_us, c.total_us);
        }
        let memory = PlannerMemory::default();
        assert!(explain(&input(&w, &plan, &memory), ServiceId(7), GroupId(0)).is_none());
        assert!(serde_json::to_string(&told).expect("plain data").contains(r#""state":"picked""#));
    }

    #[test]
    fn what_was_measured_is_told_with_its_weight() {
        let mut w = spread(&[&[22, 50]], vec![service("s", vec![pool(&[0, 1])])]);
        w.groups[0] = group("g0", 1);
        let line = |name: &str| Line { name: name.to_owned(), title: None, asns: Vec::new() };
        w.policy.clients.lines = ["a", "b"].map(line).to_vec();
        w.policy.fleet.nodes.iter_mut().for_each(|node| node.line = Some(LineId(1)));
        w.latencies.votes = vec![5, 20].into();
        let loss = Measured { value: 20_000, votes: 20 };
        let quality = Quality { loss, ..Quality::default() };
        w.latencies.quality = vec![PathQuality { group: 0, site: 1, quality }].into();
        let plan = plan_first(&w);
        let told = told(&w, &plan);
        let of = |node: &str| told.candidates.iter().find(|c| c.node == node).expect("a member");
        // 40 ms for another line: five votes leave three quarters, twenty nothing.
        let border = |node| (of(node).cost.line_us, of(node).cost.line_waived_us, of(node).measurements);
        assert_eq!((border("n0"), border("n1")), ((30_000, 10_000, 5), (0, 40_000, 20)));
        assert_eq!(of("n1").confidence, Ppm(500_000));
        assert_eq!((of("n1").quality.loss_ppm, of("n1").quality.loss_measurements), (10_000, 20));
        assert_eq!((of("n1").cost.loss_us, of("n1").cost.total_us), (5_000, 55_000));
        assert_eq!((of("n0").quality, of("n0").cost.total_us), (QualityView::default(), 52_000));
        // The planner priced by the same: within 10 % the two are peers.
        assert_eq!(of("n0").state, CandidateState::Picked { share: Ppm(500_000) });
    }
}
