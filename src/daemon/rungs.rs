//! The degradation ladder as the writer tells it, and the filter of recently served networks as it keeps it.
//!
//! Who climbs is decided in `schedule::degrade`, who is shed in `routing::guard`.

use crate::base::clock::{MonoTime, WallTime};
use crate::health::HealthModel;
use crate::model::degradation::Rung;
use crate::model::policy::Policy;
use crate::model::provenance::Cause;
use crate::model::status::Problem;
use crate::routing::Snapshot;
use crate::schedule::{CutRegion, PlannerMemory, RungStep};
use std::time::Duration;

/// Forgets networks that were not seen for long, and draws resolvers anew; where each is due. Whoever has an
/// answer of a former process in a cache asks again within a TTL.
pub fn turn(live: &Snapshot, now: MonoTime) {
    for (service, table) in live.policy.services.iter().zip(live.services()) {
        if let (Some(shed), Some(guard)) = (&service.shed, &table.guard) {
            let ttl = Duration::from_secs(u64::from(service.ttl));
            guard.seen().keep(now, 2 * ttl, shed.remember, ttl);
        }
    }
}

/// A plan that was made for nothing else, and changed who is shed, was made for that.
pub fn cause(cause: Cause, steps: &[RungStep], policy: &Policy) -> Cause {
    let counts = |step: &&RungStep| step.shed != step.shed_before;
    let told: Vec<String> =
        steps.iter().filter(counts).take(Cause::STEPS_TOLD).map(|step| step.told(policy)).collect();
    match cause {
        Cause::Rebalance if !told.is_empty() => Cause::Degradation { steps: told },
        other => other,
    }
}

/// Of each region that is given nobody, or a few on trial.
pub fn problems(memory: &PlannerMemory, policy: &Policy, now: WallTime) -> Vec<Problem> {
    let tell = |region: CutRegion| {
        Problem {
        since: now,
        code: "region-cut".to_owned(),
        message: match region.is_on_trial {
            true => format!("region {} is on trial: a part of its clients is sent there", region.name),
            false => format!("the circuit of region {} is open: nobody is sent there", region.name),
        },
        help: "its errors or its clients' loss are at the bound of its `circuit`: mend it, and it is tried again"
            .to_owned(),
    }
    };
    memory.cut_regions(policy).into_iter().map(tell).collect()
}

/// Of each node and region that a safety rule keeps in, though it would be withdrawn by choice.
pub fn kept_in(
    health: &HealthModel,
    memory: &PlannerMemory,
    policy: &Policy,
    (now_ms, now): (u64, WallTime),
) -> Vec<Problem> {
    let tell = |subject: String, rule: &str, what: &str| Problem {
        since: now,
        code: "withdrawal-held".to_owned(),
        message: format!("the safety rule `{rule}` keeps {subject} in: {what}"),
        help: "bring back others that the rule counts, or mend it; a failure of it is followed all the same"
            .to_owned(),
    };
    let nodes = health.kept_in();
    let nodes =
        nodes.iter().map(|(node, rule, what)| tell(policy.fleet.node(*node).name.clone(), rule, what));
    let regions = memory.kept_regions(policy, &health.view(), now_ms);
    let regions =
        regions.iter().map(|(name, rule)| tell(format!("region {name}"), rule, "its circuit would open"));
    nodes.chain(regions).collect()
}

/// A line for each area that changed.
pub fn log(steps: &[RungStep], policy: &Policy) {
    for step in steps {
        let (service, area) = step.names(policy);
        let used = step.utilisation.map_or(-1.0, |used| used.percent());
        let (from, to) = (step.from.name(), step.to.name());
        let said = step.told(policy);
        match step.to.max(step.from) {
            Rung::Normal | Rung::Spill => tracing::info!(service, area, from, to, used, "{said}"),
            Rung::Shed | Rung::Circuit => tracing::warn!(service, area, from, to, used, "{said}"),
        }
    }
}
