//! All that has to be known before a drill is begun: its forecast, who is asked for, what forbids it, its report so far.

use super::facts::Former;
use super::forecast::{self, Around, Forecast};
use super::observer::Round;
use super::run::Beginning;
use super::{Setting, deeds};
use crate::base::diagnostic::did_you_mean;
use crate::base::hash::{mix_pair, stable_hash};
use crate::control::drills::Refused;
use crate::daemon::writer::{Event, Situation};
use crate::drill::machine::Phase;
use crate::drill::report::{FORMAT, Measures, Report, Sample, Tier, Traces};
use crate::drill::script::Script;
use crate::model::actor::Actor;
use crate::model::drill::{Drill, Fault};
use crate::model::overrides::names;
use crate::model::policy::Policy;
use crate::model::preflight::BrokenRule;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

pub struct Prepared {
    pub beginning: Beginning,
    /// Rules that forbid it.
    pub against: Vec<BrokenRule>,
}

/// All that has to be known before a drill is begun; nothing is done.
pub async fn prepare(
    setting: &Setting,
    name: &str,
    break_glass: Vec<String>,
    by: &Actor,
) -> Result<Prepared, Refused> {
    let situation = situation(setting).await.map_err(Refused::NotNow)?;
    let policy = Arc::clone(&situation.inputs.policy);
    let drill = find(&policy, name)?;
    forecast::names_rules(&policy, &break_glass).map_err(Refused::Wrong)?;
    let incidents = Arc::clone(&setting.incidents.borrow());
    let (status, at, by) = (setting.status.borrow().clone(), setting.clock.wall(), by.name.clone());
    let worked_out = tokio::task::spawn_blocking(move || {
        let around = Around { status: status.as_deref(), incidents: &incidents, at };
        let told = forecast::forecast(&situation, &drill, &around, &break_glass);
        let nodes = drill.nodes(&policy);
        let services = Drill::services(&policy, &nodes);
        // Another sample each time, which its report tells.
        let seed = mix_pair(at.0, stable_hash(drill.name.as_bytes()));
        let round =
            Round::draw(&policy, &situation.inputs.geo, &told.account, &services, (seed, drill.clients));
        let against: Vec<BrokenRule> = told.preflight.forbids().cloned().collect();
        let planned = (told.standing.clone(), told.account.base.clone());
        let former = Former::of((status.as_deref(), &incidents), planned, nodes);
        let mut report = report_of(&drill, &policy, told, &round, seed);
        (report.by, report.began_at) = (by, at);
        report.traces.owner = format!("{}{} by {}", deeds::OWNER, drill.name, report.by);
        let beginning = Beginning { drill, policy, services, former, round, report };
        Prepared { beginning, against }
    });
    worked_out.await.map_err(|_| Refused::NotNow("the daemon is stopping".to_owned()))
}

pub fn find(policy: &Policy, name: &str) -> Result<Drill, Refused> {
    let names = || policy.drills.iter().map(|drill| drill.name.as_str());
    policy.drills.iter().find(|drill| drill.name == name).cloned().ok_or_else(|| {
        let help = match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if policy.drills.is_empty() => "write one in drills/ of the policy folder".to_owned(),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Refused::Unknown(format!("no drill in force is called `{name}`; {help}"))
    })
}

fn report_of(drill: &Drill, policy: &Policy, told: Forecast, round: &Round, seed: u64) -> Report {
    let nodes = drill.nodes(policy);
    let services = Drill::services(policy, &nodes);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let heal = match &drill.fault {
        Fault::Withdraw(_) => (Vec::new(), 0),
        Fault::Hook(hook) => (hook.heal.clone(), millis(hook.timeout)),
    };
    let mut observed = Measures::default();
    (observed.before, observed.during) = (told.predicted.before, told.predicted.before);
    Report {
        format: FORMAT,
        name: drill.name.clone(),
        title: drill.title.clone(),
        runbook: drill.runbook.clone(),
        break_glass: told.preflight.overridden(),
        fault: drill.fault.name().to_owned(),
        targets: drill.targets.iter().map(ToString::to_string).collect(),
        nodes: names(&nodes, &policy.fleet),
        services: services.iter().map(|id| policy.service(*id).name.clone()).collect(),
        revision: policy.revision.to_string(),
        phase: Phase::Planned.name().to_owned(),
        planned_ms: millis(Script::of(drill).total()),
        tier: Tier { name: drill.tier.name.clone(), limit_s: drill.tier.limit.as_secs() },
        traces: Traces { heal: heal.0, heal_timeout_ms: heal.1, ..Traces::default() },
        sample: Sample {
            seed,
            clients: round.clients,
            groups: round.groups,
            pairs: u32::try_from(round.pairs.len()).unwrap_or(u32::MAX),
            round_ms: millis(round.lasts()),
        },
        predicted: told.predicted,
        observed,
        survivors: told.survivors,
        ways: told.ways,
        preflight: Some(told.preflight),
        ..Report::default()
    }
}

pub async fn situation(setting: &Setting) -> Result<Situation, String> {
    let (reply, answer) = oneshot::channel();
    if setting.events.try_send(Event::Situation { reply }).is_err() {
        return Err("the writer's queue is full; ask again".to_owned());
    }
    answer.await.map_err(|_| "the writer has ended: see `rhumb status`".to_owned())
}
