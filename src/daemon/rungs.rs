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
use crate::schedule::{CutRegion, PlannerMemory, RungStep, Signal, Trial};
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
        let (message, help) = told(&region);
        Problem { since: now, code: "region-cut".to_owned(), message, help: help.to_owned() }
    };
    memory.cut_regions(policy).into_iter().map(tell).collect()
}

/// What is the matter with a region, and what ends it.
fn told(CutRegion { name, trial }: &CutRegion) -> (String, &'static str) {
    let mend =
        "its errors or its clients' loss are at the bound of its `circuit`: mend it, and it is tried again";
    let Some(trial) = trial else {
        return (format!("the circuit of region {name} is open: nobody is sent there"), mend);
    };
    let (why, help) = match trial {
        Trial::Well => ("a part of its clients is sent there", "nothing: it closes if that goes well"),
        Trial::Unwell(Signal::Errors) => {
            ("its errors are above `errors_exit`, so that it does not close", mend)
        }
        Trial::Unwell(Signal::Loss) => {
            ("its clients' loss is above `loss_exit`, so that it does not close", mend)
        }
        Trial::Unknown(Signal::Errors) => (
            "fewer than half of its nodes report an error rate, so that it does not close",
            "mend the load feeds of its nodes (`error_rate`); to have them serve meanwhile, `rhumb force-up`",
        ),
        Trial::Unknown(Signal::Loss) => (
            "its clients' loss is not measured, so that it does not close",
            "20 measurements are needed (docs/latency.md); to have its nodes serve meanwhile, `rhumb force-up`",
        ),
    };
    (format!("region {name} is on trial: {why}"), help)
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
