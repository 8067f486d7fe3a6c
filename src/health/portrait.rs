//! One node told in full, as far as health knows it: every check of every vantage, and what is held.

use super::HealthModel;
use super::circuit::State;
use super::family::{Case, FamilyState};
use super::load::LoadState;
use super::standing::Standing;
use super::track::{Track, target};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use crate::model::judgement::Vantage;
use crate::model::portrait::{CheckPortrait, DampingPortrait, FamilyPortrait, LoadPortrait};

impl HealthModel {
    /// The families a node has. Nothing for a node that the fleet lacks.
    pub fn families_of(&self, id: NodeId, now: MonoTime) -> Vec<FamilyPortrait> {
        let Some(state) = self.nodes.get(id.index()) else { return Vec::new() };
        let vantages = &self.fleet.judgement.vantages;
        let told = |family: Family| {
            let held = state.families[family.index()].as_ref()?;
            let case = self.case(id, family, WallTime::default());
            Some(FamilyPortrait {
                family,
                health: held.view(&case, vantages),
                checks: held.checks(&case, vantages),
                damping: DampingPortrait {
                    penalty: held.damping.penalty_at(now, &case.rules.damping),
                    flips: held.damping.flips,
                    holds: held.damping.is_armed(),
                },
                history: held.history.minutes(now),
            })
        };
        Family::BOTH.into_iter().filter_map(told).collect()
    }

    /// What its feed says; `None` without one.
    pub fn load_of(&self, id: NodeId, now: MonoTime) -> Option<LoadPortrait> {
        let node = self.fleet.nodes.get(id.index())?;
        node.load.as_ref()?;
        let state = self.nodes.get(id.index())?;
        let told = state.load.portrait(now);
        let capacity = node.capacity.as_ref().map(Into::into);
        Some(LoadPortrait { capacity, history: state.fullness.minutes(now), ..told })
    }
}

impl FamilyState {
    fn checks(&self, case: &Case<'_>, vantages: &[Vantage]) -> Vec<CheckPortrait> {
        let name = |at: usize| vantages.get(at).map_or("", |vantage| &vantage.name).to_owned();
        let of = |(at, standing): (usize, &Standing)| {
            let told = |track: &Track| CheckPortrait { vantage: name(at), ..track.portrait(case) };
            standing.tracks.iter().map(told).collect::<Vec<_>>()
        };
        self.standings.iter().enumerate().flat_map(of).collect()
    }
}

impl Track {
    fn portrait(&self, case: &Case<'_>) -> CheckPortrait {
        let spec = case.node.probes.get(usize::from(self.probe));
        let (lost, of) = self.loss.counts();
        let counts_against = self.counter.episode().failures > 0;
        let failure = self.failure().filter(|_| counts_against);
        CheckPortrait {
            check: spec.map_or("", |spec| spec.label()).to_owned(),
            vantage: String::new(),
            target: spec.and_then(|spec| target(spec, case.family)).map(|target| match target.port() {
                0 => target.ip().to_string(),
                _ => target.to_string(),
            }),
            verdict: self.finding().map(|finding| finding.verdict()),
            rtt: self.latency.rtt(),
            baseline: self.latency.baseline(),
            jitter: self.latency.jitter(),
            lost,
            of,
            failure: failure.map(|(_, detail)| detail.to_owned()),
            certificate_days: self.certificate_days,
        }
    }
}

impl LoadState {
    /// Without capacity and history, which are not known here.
    fn portrait(&self, now: MonoTime) -> LoadPortrait {
        let shown = self.shown();
        LoadPortrait {
            amount: shown.and_then(|load| load.amount),
            ratios: self.ratios().map(|(name, ppm)| (name.to_owned(), ppm)).collect(),
            utilisation: shown.map(|load| load.utilisation),
            binding: shown.map(|load| load.binding.clone()).filter(|binding| !binding.is_empty()),
            age_ms: self.age(now).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            networks: self.networks(),
            circuit: match self.circuit_state() {
                State::Closed => "closed",
                State::Open { .. } => "open",
                State::HalfOpen => "half-open",
            }
            .to_owned(),
            ..LoadPortrait::default()
        }
    }

    /// By how much it is full; `None`: unknown.
    pub(super) fn utilisation(&self) -> Option<Ppm> {
        self.shown().map(|load| load.utilisation)
    }
}
