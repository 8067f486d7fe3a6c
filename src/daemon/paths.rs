//! The latency map beside the writer: fed by clients and vantages, drawn anew every few seconds.
//!
//! ```text
//!  POST /measure ─▶ PathReport ─┐
//!  verdicts: round trips of ────┼─▶ LatencyMap ─▶ (every 10 s) ─▶ inputs.latencies ─▶ the next plan
//!  vantages that stand for ─────┘        └─▶ (every 5 min, and at the end) ─▶ state/latencies
//! ```

use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::daemon::inputs::Inputs;
use crate::latency::{Drawing, LatencyMap, PathReport, Rejected, Stand, VantageView};
use crate::model::ids::{AreaId, LineId};
use crate::model::judgement::Vantage;
use crate::model::latency::KeptLatencies;
use crate::model::policy::{MeasureRules, Policy};
use crate::model::status::Problem;
use crate::model::verdict::{NodeHealth, Scope};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// How often what was measured reaches the planner.
const DRAW_EVERY: Duration = Duration::from_secs(10);
/// How often it is kept.
const KEEP_EVERY: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Clone)]
pub struct Paths {
    map: LatencyMap,
    drawn_at: MonoTime,
    kept_at: MonoTime,
    /// Something came in since it was kept.
    is_news: bool,
}

impl Paths {
    /// Goes on where a former run ended, and lays what was measured over the prior of `inputs`.
    pub fn restore(kept: Option<&KeptLatencies>, inputs: &mut Inputs, now: MonoTime, wall: WallTime) -> Self {
        let salt = RandomState::new().hash_one(wall.0);
        let empty = LatencyMap::new(rules(inputs), salt, inputs.geo.groups(), &inputs.policy.fleet);
        let map = match kept {
            Some(kept) => empty.restored(kept, now, wall),
            None => empty,
        };
        inputs.latencies = Arc::new(map.over(&inputs.prior));
        Self { map, drawn_at: now, kept_at: now, is_news: false }
    }

    /// The same for other inputs.
    pub fn carried_to(&self, inputs: &mut Inputs, now: MonoTime) -> Self {
        let map = self.map.reloaded(rules(inputs), inputs.geo.groups(), &inputs.policy.fleet, now);
        inputs.latencies = Arc::new(map.over(&inputs.prior));
        Self { map, ..self.clone() }
    }

    /// # Errors
    /// Why it is not taken.
    pub fn report(&mut self, report: &PathReport, inputs: &Inputs, now: MonoTime) -> Result<(), Rejected> {
        let node = inputs.policy.fleet.nodes.get(report.node.index()).ok_or(Rejected::Place)?;
        let group = inputs.geo.locate(report.network.address()).group;
        self.map.report((group, node.site), report.network, report.feed, report.sample, now)?;
        self.is_news = true;
        Ok(())
    }

    pub fn is_due(&self, now: MonoTime) -> bool {
        now.since(self.drawn_at) >= DRAW_EVERY
    }

    /// Draws the map anew into `inputs`, and says whether it is held back.
    pub fn draw(&mut self, inputs: &mut Inputs, health: &[NodeHealth], now: MonoTime) -> Held {
        self.drawn_at = now;
        self.map.set_vantages(views(&inputs.policy, health));
        match self.map.draw(&inputs.prior, now) {
            Drawing::Unchanged => Held(None),
            Drawing::Drawn(latencies) => {
                tracing::info!(paths = self.map.coverage(), "measured latencies drawn anew");
                inputs.latencies = Arc::new(latencies);
                self.is_news = true;
                Held(None)
            }
            Drawing::Thin { now, before } => Held(Some((now, before))),
        }
    }

    /// What is to be kept now, if it is time.
    pub fn to_keep(&mut self, now: MonoTime, wall: WallTime, is_last: bool) -> Option<KeptLatencies> {
        let is_due = is_last || now.since(self.kept_at) >= KEEP_EVERY;
        (is_due && std::mem::take(&mut self.is_news)).then(|| {
            self.kept_at = now;
            self.map.keep(now, wall)
        })
    }
}

fn rules(inputs: &Inputs) -> MeasureRules {
    inputs.policy.server.measure.as_ref().map_or_else(MeasureRules::default, |measure| measure.rules)
}

/// Whether a map of less coverage is held back, and how many paths it has against how many.
pub struct Held(Option<(usize, usize)>);

impl Held {
    pub fn problems(&self, wall: WallTime) -> Vec<Problem> {
        let told = |(now, before)| Problem {
            since: wall,
            code: "latencies-thin".to_owned(),
            message: format!("of {before} measured paths only {now} are still reported: the older map stays"),
            help: "see whether clients or vantages still reach the measurement listener; after a day the \
                   smaller map is used"
                .to_owned(),
        };
        self.0.map(told).into_iter().collect()
    }
}

/// What the vantages that stand for a line or area measured: by site the shortest of its nodes, since what
/// else tells nodes of a site apart is priced by node.
fn views(policy: &Policy, health: &[NodeHealth]) -> Vec<VantageView> {
    let fleet = &policy.fleet;
    let view = |(at, vantage): (usize, &Vantage)| {
        let stands_for = stand(policy, vantage.stands_for.as_ref()?)?;
        let mut rtts = vec![None; fleet.sites.len()];
        for (node, health) in fleet.nodes.iter().zip(health) {
            let seen = Family::BOTH.into_iter().filter_map(|family| rtt(health, family, vantage, at == 0));
            if let (Some(seen), Some(site)) = (seen.min(), rtts.get_mut(node.site.index())) {
                *site = Some(site.map_or(seen, |other: Micros| other.min(seen)));
            }
        }
        Some(VantageView { stands_for, rtts })
    };
    fleet.judgement.vantages.iter().enumerate().filter_map(view).collect()
}

/// The smoothed round trip from a vantage that is believed; where there is one vantage only, the family's own.
fn rtt(health: &NodeHealth, family: Family, vantage: &Vantage, is_own: bool) -> Option<Micros> {
    let family = health.family(family)?;
    match family.votes.iter().find(|vote| vote.vantage == vantage.name) {
        Some(vote) => vote.rtt.filter(|_| vote.is_trusted && vote.verdict.may_serve()),
        None if is_own && family.votes.is_empty() => family.rtt.filter(|_| family.verdict.may_serve()),
        None => None,
    }
}

fn stand(policy: &Policy, scope: &Scope) -> Option<Stand> {
    let clients = &policy.clients;
    match scope {
        Scope::Line(name) => {
            let at = clients.lines.iter().position(|line| line.name == *name)?;
            Some(Stand::Line(LineId::from_index(at)))
        }
        Scope::Area(name) => {
            let at = clients.areas.iter().position(|area| area.name == *name)?;
            Some(Stand::Area(AreaId::from_index(at)))
        }
    }
}

#[cfg(test)]
#[path = "tests/paths.rs"]
mod tests;
