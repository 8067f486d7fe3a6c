//! Says of each move of a kept decision why it was made: from what the planner saw, by its own functions.

use super::replay::Replayed;
use super::{Decision, NamedMove, record};
use crate::base::clock::WallTime;
use crate::model::held_back::HeldBack;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::placement::Move;
use crate::model::verdict::{NodeHealth, Verdict};
use crate::schedule::cost::CostTerms;
use crate::schedule::{self, CandidateState, CandidateView, CutRegion, Explanation, Movers};
use serde::{Deserialize, Serialize};

/// Moves that are looked into.
const MOST: usize = 32;
/// A node that came back so lately (ms) still draws its clients home.
const LATELY_MS: u64 = 360_000;

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    #[serde(flatten)]
    pub decision: Decision,
    /// Nodes by verdict, as the planner saw them.
    pub nodes: Vec<(Verdict, usize)>,
    pub services: usize,
    pub groups: usize,
    /// Of the largest moves, in their order.
    pub reasons: Vec<Reason>,
    /// Moves that were not made: by rule, and the largest by name.
    #[serde(default)]
    pub held_back: HeldBack,
    /// The same input gives the same plan with this program.
    pub is_same: bool,
}

/// One move and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    #[serde(flatten)]
    pub moved: NamedMove,
    /// How many client groups it is about.
    pub groups: usize,
    /// The group that most of these clients are in; the costs are its.
    pub largest_group: String,
    pub because: String,
    pub from_cost: Option<CostTerms>,
    pub to_cost: Option<CostTerms>,
}

/// Looks into the largest moves.
pub fn account(kept: &record::Recorded, replayed: &Replayed) -> Account {
    let (asked, plan) = (&kept.asked, &replayed.plan);
    let before = asked.question.previous.as_deref();
    let movers = schedule::movers(&asked.groups, before, &plan.assignment);
    let cut = plan.memory.cut_regions(&asked.policy);
    let look = |moved: &Move| {
        let movers = movers.get(&(moved.service, moved.from, moved.to))?;
        Some(Look { kept, moved, movers, cut: &cut }.reason())
    };
    let health = &asked.question.health;
    let count = |wanted: Verdict| health.iter().filter(|node| node.verdict() == wanted).count();
    let nodes = [Verdict::Up, Verdict::Degraded, Verdict::Unknown, Verdict::Down];
    Account {
        decision: kept.decision.clone(),
        nodes: nodes.into_iter().map(|verdict| (verdict, count(verdict))).filter(|(_, n)| *n > 0).collect(),
        services: asked.policy.services.len(),
        groups: asked.groups.len(),
        reasons: plan.moves.iter().take(MOST).filter_map(look).collect(),
        held_back: plan.memory.held_back(&asked.policy, &asked.groups),
        is_same: replayed.is_same,
    }
}

struct Look<'a> {
    kept: &'a record::Recorded,
    moved: &'a Move,
    movers: &'a Movers,
    cut: &'a [CutRegion],
}

/// Where the pool does not go by cost.
fn by_method(
    source: &str,
    from: &CandidateView,
    to: &CandidateView,
    told: Option<&Explanation>,
) -> Option<String> {
    let pool = told?.pools.iter().find(|pool| pool.name == to.pool)?;
    let shares = match pool.method.as_str() {
        "weights" => "shares by weight",
        "load" => "shares by what is free",
        _ => return None,
    };
    Some(match from.pool == to.pool && from.cost.congestion_us > 0 {
        true => format!("{source} is above its target, and pool {} has {shares} below that", pool.name),
        false => format!("pool {} has {shares}", pool.name),
    })
}

impl Look<'_> {
    fn reason(&self) -> Reason {
        let asked = &self.kept.asked;
        let told = schedule::explain(&asked.input(), self.moved.service, self.movers.largest);
        let view = |node: Option<NodeId>| {
            let name = self.name(node?);
            told.as_ref()?.candidates.iter().find(|candidate| candidate.node == name)
        };
        let (from, to) = (view(self.moved.from), view(self.moved.to));
        Reason {
            moved: NamedMove {
                service: self.service(self.moved.service),
                from: self.moved.from.map(|node| self.name(node).to_owned()),
                to: self.moved.to.map(|node| self.name(node).to_owned()),
                share_ppm: self.moved.share.0,
            },
            groups: self.movers.groups,
            largest_group: asked.groups[self.movers.largest.index()].key.clone(),
            because: self.because(from, to, told.as_ref()),
            from_cost: from.map(|view| view.cost),
            to_cost: to.map(|view| view.cost),
        }
    }

    fn because(
        &self,
        from: Option<&CandidateView>,
        to: Option<&CandidateView>,
        told: Option<&Explanation>,
    ) -> String {
        let Some(source) = self.moved.from else { return "they had no node".to_owned() };
        let source_name = self.name(source);
        if let Some(forced) =
            self.health(source).and_then(|it| it.forced.as_ref()).filter(|it| !it.action.serves())
        {
            return format!("{source_name} is {}", forced.told());
        }
        if self.health(source).is_some_and(|health| !health.may_serve()) {
            let reason = self.health(source).and_then(NodeHealth::best).map(|best| best.reason.as_str());
            let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or("its verdict");
            return format!("{source_name} is down: {reason}");
        }
        let region = &self.kept.asked.policy.fleet.region_of(source).name;
        if let Some(cut) = self.cut.iter().find(|cut| cut.name == *region && cut.trial.is_none()) {
            return format!("the circuit of region {} is open", cut.name);
        }
        let Some(from) = from else {
            return format!("{source_name} is in no pool that serves them");
        };
        if from.verdict == Verdict::Down.name() {
            // Not down for everybody, so for these.
            return match &from.state {
                CandidateState::Backup { because, .. } | CandidateState::Lost { because } => {
                    format!("{source_name}: {because}")
                }
                CandidateState::Picked { .. } => format!("{source_name} is down for them"),
            };
        }
        let Some(to) = to else {
            let mode = told.map_or("all_down", |told| told.mode.as_str());
            return format!("no node of their chain may serve ({mode})");
        };
        if let Some(because) = by_method(source_name, from, to, told) {
            return because;
        }
        let less = from.cost.total_us.saturating_sub(to.cost.total_us);
        if less > 0 {
            let congestion = match from.cost.congestion_us {
                0 => String::new(),
                us => format!(", of {source_name}'s {} are the price of its load", millis(us)),
            };
            return format!("{} costs {} less{congestion}", to.node, millis(less));
        }
        match self.came_back(to) {
            Some(seconds) => format!("{} came back {seconds} s before", to.node),
            None => "clients of nodes about as near are spread by their capacity".to_owned(),
        }
    }

    /// Seconds since the node serves again, if that is lately.
    fn came_back(&self, to: &CandidateView) -> Option<u64> {
        let WallTime(now) = self.kept.decision.provenance.published_at;
        let WallTime(since) = self.health(self.moved.to?)?.best()?.since;
        let age = now.checked_sub(since).filter(|&age| age < LATELY_MS && since > 0)?;
        (to.verdict != Verdict::Down.name()).then_some(age / 1_000)
    }

    fn health(&self, node: NodeId) -> Option<&NodeHealth> {
        self.kept.asked.question.health.get(node.index())
    }

    fn name(&self, node: NodeId) -> &str {
        &self.kept.asked.policy.fleet.node(node).name
    }

    fn service(&self, service: ServiceId) -> String {
        self.kept.asked.policy.service(service).name.clone()
    }
}

fn millis(us: u32) -> String {
    format!("{:.1} ms", f64::from(us) / 1e3)
}
