//! Readiness: what the fleet would make of every loss, by the planner that would have to deal with it.
//!
//! ```text
//!  a planner's question ─▶ scenario: whose demand ─▶ stage, with nothing lost
//!                                                      │ by loss: region, site, line, node, or two of them
//!                                                      ▼
//!                                        evacuation, then full pass ─▶ outcome ─▶ ranked ─▶ capacity to add
//! ```
//! | file | holds |
//! |---|---|
//! | `losses` | what may be lost |
//! | `scenario` | the demand it is lost under |
//! | `effect` | what the planner makes of it, and what is read off a plan |
//! | `outcome` | one loss, judged |
//! | `capacity` | what would make it fit |
//!
//! Pure: a question in, what is told out. Not here: how fast clients follow (TTLs), which `check` proves and drills
//! measure.

mod capacity;
pub mod effect;
mod losses;
mod outcome;
mod scenario;
#[cfg(test)]
mod tests;

pub use losses::{Loss, singles};
pub use scenario::{Lift, Scenario, Stage};

use crate::model::policy::Policy;
use crate::model::readiness::{Calm, LossOutcome, Readiness, ServiceDemand};
use crate::schedule::PlanInput;
use std::ops::ControlFlow;

/// Losses that are listed.
pub const MOST_LISTED: usize = 400;
/// Losses, of those that are not carried, for which capacity is looked for: the worst.
pub const MOST_MENDED: usize = 8;
/// Pairs of losses that are judged: of the worst single ones.
pub const MOST_PAIRS: usize = 500;

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Pairs of losses too.
    pub pairs: bool,
    /// Losses for which capacity is looked for.
    pub mended: usize,
}

impl Depth {
    pub const SINGLE: Self = Self { pairs: false, mended: MOST_MENDED };
    pub const PAIRS: Self = Self { pairs: true, mended: MOST_MENDED };
}

/// Told how many of how many losses are judged; may put an end to it.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize) -> ControlFlow<()>;

/// Judges every loss. `None`: `progress` put an end to it.
pub fn judge(
    input: &PlanInput<'_>,
    scenario: &Scenario,
    depth: Depth,
    progress: Progress<'_>,
) -> Option<Readiness> {
    let stage = Stage::set(input, scenario);
    let losses = singles(&stage.policy, &stage.health);
    let mut judged = Vec::with_capacity(losses.len());
    let all = losses.len();
    for (at, loss) in losses.into_iter().enumerate() {
        if progress(at, all).is_break() {
            return None;
        }
        judged.push((outcome::judge(&stage, &loss), loss));
    }
    rank(&mut judged);
    let mut notes = notes(&stage, scenario);
    if depth.pairs {
        notes.extend(judge_pairs(&stage, &mut judged, progress)?);
        rank(&mut judged);
    }
    for (told, loss) in judged.iter_mut().filter(|(told, _)| !told.is_carried).take(depth.mended) {
        if progress(all, all).is_break() {
            return None;
        }
        outcome::mend(&stage, loss, told);
    }
    let (count, not_carried) = (judged.len(), judged.iter().filter(|(told, _)| !told.is_carried).count());
    if count > MOST_LISTED {
        notes.push(format!("the worst {MOST_LISTED} of {count} losses are listed"));
    }
    Some(Readiness {
        scenario: scenario.name.clone(),
        demand: demand(&stage),
        calm: outcome::calm(&stage),
        losses: judged.into_iter().map(|(told, _)| told).take(MOST_LISTED).collect(),
        judged: count,
        not_carried,
        notes,
    })
}

/// The worst of all single losses under the demand as it is, with what would make it fit; `None`: no node serves.
pub fn worst_single_loss(input: &PlanInput<'_>) -> Option<LossOutcome> {
    let depth = Depth { mended: 1, ..Depth::SINGLE };
    let told = judge(input, &Scenario::now(), depth, &mut |_, _| ControlFlow::Continue(()))?;
    told.losses.into_iter().next()
}

/// The fleet as it is, and what is asked of it.
pub fn calm(input: &PlanInput<'_>) -> (Calm, Vec<ServiceDemand>) {
    let stage = Stage::set(input, &Scenario::now());
    (outcome::calm(&stage), demand(&stage))
}

/// What would be asked of it.
pub fn expected(input: &PlanInput<'_>, scenario: &Scenario) -> Vec<ServiceDemand> {
    demand(&Stage::set(input, scenario))
}

type Judged = (LossOutcome, Loss);

/// The worst first; of those alike the one that takes fewer nodes, since it is likelier.
fn rank(judged: &mut [Judged]) {
    judged.sort_by_cached_key(|(told, _)| {
        let badness = (told.unserved_total(), told.stranded_total(), told.above_cap());
        let strain = told.fullest.as_ref().map_or(0, |it| i64::from(it.utilisation.0) - i64::from(it.cap.0));
        let harm = (!told.is_carried, badness, strain, told.latency.p95, told.latency.mean);
        (std::cmp::Reverse(harm), told.nodes, told.lost.clone())
    });
}

/// Judges pairs of the worst losses; a note says of how many.
fn judge_pairs(
    stage: &Stage<'_>,
    judged: &mut Vec<Judged>,
    progress: Progress<'_>,
) -> Option<Option<String>> {
    let (singles, mut of) = (judged.len(), judged.len());
    while of * of.saturating_sub(1) / 2 > MOST_PAIRS {
        of -= 1;
    }
    let worst: Vec<Loss> = judged.iter().take(of).map(|(_, loss)| loss.clone()).collect();
    let later = |at: usize| worst.iter().skip(at + 1);
    let pairs: Vec<Loss> = worst
        .iter()
        .enumerate()
        .flat_map(|(at, one)| later(at).filter_map(move |other| losses::pair(one, other)))
        .collect();
    for (at, pair) in pairs.iter().enumerate() {
        if progress(singles + at, singles + pairs.len()).is_break() {
            return None;
        }
        judged.push((outcome::judge(stage, pair), pair.clone()));
    }
    Some((of < singles).then(|| format!("pairs are judged of the {of} worst of {singles} single losses")))
}

fn demand(stage: &Stage<'_>) -> Vec<ServiceDemand> {
    let units = stage.units.iter().zip(&stage.units_now);
    let told = |(service, (&units, &units_now)): (&crate::model::service::Service, (&u64, &u64))| {
        ServiceDemand { service: service.name.clone(), units, units_now }
    };
    stage.policy.services.iter().zip(units).map(told).collect()
}

fn notes(stage: &Stage<'_>, scenario: &Scenario) -> Vec<String> {
    let policy: &Policy = &stage.policy;
    let mut notes = Vec::new();
    if policy.fleet.nodes.iter().all(|node| node.capacity.is_none()) {
        notes.push("no node has a capacity: only who is left without a node is judged".to_owned());
    }
    let unknown = stage.units.iter().zip(&policy.services).filter(|(units, _)| **units == 0);
    let unknown: Vec<&str> = unknown.map(|(_, service)| service.name.as_str()).collect();
    if !unknown.is_empty() {
        notes.push(format!(
            "nothing is known of the demand of {}: state it as `demand`, or have nodes report their load",
            unknown.join(", ")
        ));
    }
    if scenario.lifts.is_empty() && stage.calm.assignment.services.iter().any(|own| !own.shed.is_empty()) {
        notes.push("newcomers are shed now: the demand is what is left".to_owned());
    }
    notes
}
