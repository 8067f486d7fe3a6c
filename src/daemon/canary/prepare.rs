//! Whether an edit can be had by a share of the clients alone, who they are, and how all are at the beginning.
//!
//! ```text
//!  edits ─▶ confined by kind? ─▶ seed nearest to the share ─▶ planned with the others held ─▶ do they stay? ─▶ Kept
//! ```

use super::Kept;
use crate::base::clock::WallTime;
use crate::base::hash::mix_pair;
use crate::base::units::Ppm;
use crate::canary::confine;
use crate::canary::sample::Ground;
use crate::canary::{Canary, Stage};
use crate::control::policies::{Apply, Refused};
use crate::daemon::background;
use crate::daemon::inputs::{self, Inputs};
use crate::daemon::planning::not_for_use;
use crate::daemon::writer::{Carried, Situation};
use crate::forecast::{self, Settled};
use crate::model::account::Account;
use crate::model::canary::{CanaryRules, Hold};
use crate::model::clients::ClientGroup;
use crate::model::degradation::Rung;
use crate::model::ids::{GroupId, ServiceId};
use crate::model::placement::{Assignment, Placement};
use crate::model::policy::Policy;
use crate::model::verdict::{NodeHealth, Verdict};
use crate::schedule::{self, Pass, PlanInput, PlannerMemory};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Seeds that are tried, so that the share is about what was asked for also where groups are few and uneven.
const SEEDS: u64 = 64;

const WHOLE_WAY: &str = "apply it without --canary (`rhumb plan` tells what it does), or in two steps: this part to \
                         all first, then the rest as a canary";

/// All that has to be known before a canary is begun; nothing is done.
///
/// # Errors
/// Why it cannot be one.
pub fn prepare(
    situation: &Situation,
    folder: &Path,
    order: &Apply,
    rules: CanaryRules,
) -> Result<Kept, Refused> {
    background::let_answers_go_first();
    let (in_force, now) = (&situation.inputs, situation.at.1);
    let (newer, _) =
        inputs::propose(folder, in_force, order.files.clone(), now).map_err(|why| not_for_use(&why))?;
    if newer.policy.revision == in_force.policy.revision {
        return Err(Refused::Canary("these files are in force already: there is nothing to try".to_owned()));
    }
    confined(in_force, &newer)?;
    let was = schedule::plan(&PlanInput { pass: Pass::Evacuation, ..situation.asked.input() });
    let groups = in_force.geo.groups();
    let (hold, reached) = draw(groups, &was.account, rules.share, now);
    let counts = count(groups, &hold);
    if counts.contains(&0) {
        return Err(Refused::Canary(format!(
            "of {} client groups no canary of {} % can be made: take a larger share, or apply it to all",
            groups.len(),
            rules.share.percent()
        )));
    }
    let begun = Ground {
        policy: &in_force.policy,
        groups,
        latencies: &situation.asked.latencies,
        assignment: situation.asked.question.previous.as_deref().unwrap_or(&situation.live.assignment),
    };
    let services = confine::services_of(&in_force.policy, &newer.policy);
    let pairs = begun.begin(&hold, &services);
    let revision = newer.policy.revision.clone();
    let carried = situation.carried_to(Inputs { hold: Some(hold), ..newer });
    let settled = settled(&carried, situation.asked.question.now_ms);
    stays(&carried, &settled, &hold)?;
    let lasts_ms = u64::try_from(rules.lasts.as_millis()).unwrap_or(u64::MAX);
    let canary = Canary {
        id: 0,
        base: in_force.policy.revision.clone(),
        revision,
        who: order.who.clone(),
        why: order.terms.why.clone(),
        began: now,
        until: WallTime(now.0.saturating_add(lasts_ms)),
        rules,
        hold,
        reached,
        groups: counts,
        services,
        gaining: gaining(&carried, &settled, &hold),
        rungs: rungs(&situation.asked.question.memory, &in_force.policy),
        stage: Stage::Running,
        look: None,
        looks: 0,
    };
    let files = in_force.sources.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
    Ok(Kept { canary, files, pairs: Arc::new(pairs) })
}

/// Whether only some clients can have the edit.
fn confined(old: &Inputs, new: &Inputs) -> Result<(), Refused> {
    let mut said = confine::unconfined(&old.policy, &new.policy);
    let zones = |inputs: &Inputs| {
        let own = inputs.sources.iter().filter(|file| file.path.starts_with("zones/"));
        own.map(|file| (file.path.clone(), file.text.clone())).collect::<Vec<_>>()
    };
    if zones(old) != zones(new) {
        said.push("zone files".to_owned());
    }
    if old.geo.revision() != new.geo.revision() {
        said.push("geo data".to_owned());
    }
    match said.is_empty() {
        true => Ok(()),
        false => Err(Refused::Canary(format!(
            "everybody would see some of it at once, so a canary cannot confine it: {}; {WHOLE_WAY}",
            said.join("; ")
        ))),
    }
}

/// The hold that comes nearest to the share, and the part of all demand that it leaves free.
fn draw(groups: &[ClientGroup], account: &Account, share: Ppm, now: WallTime) -> (Hold, Ppm) {
    let services = account.services.len().max(1);
    let weights: Vec<u64> = (0..groups.len())
        .map(|group| (0..services).map(|service| account.part_ppb(service, group, 1_000_000)).sum())
        .collect();
    let whole: u64 = weights.iter().sum::<u64>().max(1);
    let reached = |hold: &Hold| {
        let free = groups.iter().zip(&weights).filter(|(group, _)| !hold.holds(&group.key));
        Ppm::ratio(free.map(|(_, weight)| weight).sum(), whole)
    };
    let candidate = |at: u64| {
        let hold = Hold { share, seed: mix_pair(now.0, at) };
        (hold, reached(&hold))
    };
    // One with somebody on both sides, if there is any.
    let badness =
        |(hold, reached): &(Hold, Ppm)| (count(groups, hold).contains(&0), reached.0.abs_diff(share.0));
    let best = (1..SEEDS).map(candidate).min_by_key(badness);
    let first = candidate(0);
    best.filter(|best| badness(best) < badness(&first)).unwrap_or(first)
}

/// In the canary, and held.
fn count(groups: &[ClientGroup], hold: &Hold) -> [u32; 2] {
    let held = groups.iter().filter(|group| hold.holds(&group.key)).count();
    [groups.len() - held, held].map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn settled(carried: &Carried, now_ms: u64) -> Settled {
    let seen = carried.inputs.strategy.health(&Arc::new(carried.health.view()));
    forecast::settle(&PlanInput {
        policy: &carried.inputs.planned,
        groups: carried.inputs.geo.groups(),
        latencies: &carried.inputs.latencies,
        health: &seen,
        previous: Some(&carried.assignment),
        memory: &carried.memory,
        demand: Some(carried.counting.shares()),
        now_ms,
        pass: Pass::Full,
    })
}

/// Who is held can stay where he is under the new policy, as the planner has it.
fn stays(carried: &Carried, settled: &Settled, hold: &Hold) -> Result<(), Refused> {
    let policy = &carried.inputs.policy;
    let (mut moved, mut first) = (0_u32, None);
    for (group, known) in carried.inputs.geo.groups().iter().enumerate().filter(|(_, it)| hold.holds(&it.key))
    {
        for service in policy.service_ids() {
            let place = |of: &Assignment| of.placement(service, GroupId::from_index(group)).cloned();
            let (was, is) = (place(&carried.assignment), place(&settled.plan.assignment));
            let answers =
                |it: &Option<Placement>| it.as_ref().map(|it| (it.shares.clone(), seen(policy, service, it)));
            if answers(&was) != answers(&is) {
                moved += 1;
                first.get_or_insert((policy.service(service).name.clone(), known.key.clone()));
            }
        }
    }
    match first {
        None => Ok(()),
        Some((service, group)) => Err(Refused::Canary(format!(
            "clients outside the canary could not stay where they are: {moved} client groups lose a node or a \
             backup that the new policy gives nobody of their chain (service {service}, group {group}, ...); give such \
             nodes the weight 0 in place of taking them out, or {WHOLE_WAY}"
        ))),
    }
}

/// Of the backups, those that answers show.
fn seen(policy: &Policy, service: ServiceId, placement: &Placement) -> Vec<crate::model::ids::NodeId> {
    let shown = usize::from(policy.service(service).answers).saturating_sub(placement.shares.len());
    placement.backups.iter().take(shown).copied().collect()
}

/// Nodes that clients of the canary come to, with their verdicts.
fn gaining(carried: &Carried, settled: &Settled, hold: &Hold) -> BTreeMap<String, Verdict> {
    let (inputs, health): (_, Vec<NodeHealth>) = (&carried.inputs, carried.health.view());
    let fleet = &inputs.policy.fleet;
    let loads = |of: &Assignment| {
        let mut sums = vec![0_u128; fleet.nodes.len()];
        for (group, _) in inputs.geo.groups().iter().enumerate().filter(|(_, it)| !hold.holds(&it.key)) {
            for service in inputs.policy.service_ids() {
                let Some(placement) = of.placement(service, GroupId::from_index(group)) else { continue };
                let demand = u128::from(settled.plan.account.part_ppb(service.index(), group, 1_000_000));
                for share in &placement.shares {
                    sums[share.node.index()] += demand * u128::from(share.share.0);
                }
            }
        }
        sums
    };
    let (was, is) = (loads(&carried.assignment), loads(&settled.plan.assignment));
    let verdict = |node: crate::model::ids::NodeId| {
        health.get(node.index()).map_or(Verdict::Unknown, NodeHealth::verdict)
    };
    let gains = |node: &crate::model::ids::NodeId| is[node.index()] > was[node.index()];
    fleet.node_ids().filter(gains).map(|node| (fleet.node(node).name.clone(), verdict(node))).collect()
}

/// By service: the highest rung of its rules.
pub fn rungs(memory: &PlannerMemory, policy: &Policy) -> BTreeMap<String, Rung> {
    let highest = |service: ServiceId| {
        let rungs = memory.rungs(policy, service.index());
        (policy.service(service).name.clone(), rungs.iter().map(|it| it.rung).max().unwrap_or_default())
    };
    policy.service_ids().map(highest).collect()
}
