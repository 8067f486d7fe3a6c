//! What is told of drills: which there are and when they are due, what was run, one run, what one would do.

use super::Setting;
use super::prepare::prepare;
use crate::control::drills::{Refused, RunId};
use crate::drill::calendar;
use crate::drill::report::{Report, Summary};
use crate::model::actor::{Actor, Role};
use crate::model::drill::Drill;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// Runs in one answer.
const MOST_LISTED: usize = 1_000;
/// Dates in one answer.
const MOST_DATES: usize = 12;

/// The run under way: its number and its report.
pub type Current = Option<(u64, watch::Receiver<Arc<Report>>)>;

pub async fn list(setting: &Setting, most: usize, current: Current) -> Result<Value, Refused> {
    let runs = setting.summaries(most.min(MOST_LISTED)).await.map_err(Refused::NotNow)?;
    let live: Option<Summary> = current.map(|(_, shown)| shown.borrow().summary());
    let newer = |run: Summary| live.clone().filter(|live| live.id == run.id).unwrap_or(run);
    let runs: Vec<Summary> = runs.into_iter().map(newer).collect();
    let dates = setting.dates(MOST_DATES).await.map_err(Refused::NotNow)?;
    let (policy, now) = (Arc::clone(&setting.live.load().policy), setting.clock.wall());
    let told = |drill: &Drill| {
        json!({
            "name": drill.name,
            "title": drill.title,
            "fault": drill.fault.name(),
            "targets": drill.targets,
            "hold_s": drill.hold.as_secs(),
            "tier": drill.tier.name,
            "schedule": drill.schedule.map(|it| json!({
                "told": it.told(),
                "confirm": it.confirm,
                "within_s": it.within.as_secs(),
                "next_at": calendar::next(&it, now),
            })),
        })
    };
    let drills: Vec<Value> = policy.drills.iter().map(told).collect();
    Ok(json!({ "drills": drills, "dates": dates, "runs": runs, "running": live.map(|live| live.id) }))
}

pub async fn show(setting: &Setting, id: RunId, current: Current) -> Result<Value, Refused> {
    let wanted = |own: u64| id == RunId::Current || id == RunId::Number(own);
    if let Some((_, shown)) = current.filter(|(own, _)| wanted(*own)) {
        return Ok(json!(**shown.borrow()));
    }
    let RunId::Number(id) = id else {
        return Err(Refused::Unknown(
            "no drill is running; `rhumb drill list` shows what was run".to_owned(),
        ));
    };
    match setting.find_report(id).await.map_err(Refused::NotNow)? {
        Some(report) => Ok(json!(report)),
        None => {
            Err(Refused::Unknown(format!("there is no drill {id}; `rhumb drill list` shows what was run")))
        }
    }
}

pub async fn plan(setting: &Setting, name: &str) -> Result<Value, Refused> {
    let nobody = Actor { name: String::new(), role: Role::Viewer };
    let prepared = prepare(setting, name, Vec::new(), &nobody).await?;
    Ok(json!(prepared.beginning.report))
}
