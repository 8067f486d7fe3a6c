//! What drills of a former process left: taken back at the start, and said so in their records.
//!
//! A drill that nobody runs is over. Its overrides are known by owner and reason, since numbers that a lost state
//! folder gave anew are somebody else's; what its record says it broke is healed.

use super::{Setting, deeds, records};
use crate::drill::report::{Report, Traces};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between attempts.
const AGAIN: Duration = Duration::from_secs(2);
const MOST_ATTEMPTS: u32 = 5;
/// Records that are looked through for what was never taken back.
const MOST_LOOKED: usize = 50;

/// Takes back what drills of a former process left, and ends their records. A drill that nobody runs is over.
/// What cannot be taken back goes to `unrestored`.
pub(super) async fn take_back(setting: &Setting, unrestored: &mpsc::Sender<Report>) {
    let mut status = setting.status.clone();
    if status.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let open = match setting.open_records().await {
        Ok(open) => open,
        Err(error) => {
            tracing::error!("whether a former drill is to be taken back is not known: {error}");
            Vec::new()
        }
    };
    for report in setting.unrestored(MOST_LOOKED).await.unwrap_or_default() {
        let _ = unrestored.try_send(report);
    }
    for record in open {
        match records::read(&record) {
            Ok(report) => end_former(setting, report, unrestored).await,
            Err(error) => {
                tracing::error!("{error}; its overrides are cancelled all the same");
                let _ = setting.end_record(record, setting.clock.wall()).await;
            }
        }
    }
    // Of drills whose record is lost.
    let overrides = setting.left_behind().iter().map(|it| it.set.id.0).collect();
    let mut traces =
        Traces { owner: format!("{}of a former run", deeds::OWNER), overrides, ..Traces::default() };
    if !traces.overrides.is_empty()
        && let Err(error) = restore(setting, &mut traces).await
    {
        tracing::error!("overrides of a former drill could not be cancelled, and end by themselves: {error}");
    }
}

async fn end_former(setting: &Setting, mut report: Report, unrestored: &mpsc::Sender<Report>) {
    let Report { id, name, .. } = &report;
    tracing::warn!(id, "drill {name} was not ended: what it did is taken back");
    // Numbers that a lost state folder gave anew are somebody else's; and one may not be on record yet.
    let own = |owner: &str, reason: &str| owner == report.traces.owner && reason == report.traces.reason;
    let left = setting.left_behind();
    let own: Vec<u64> =
        left.iter().filter(|it| own(&it.set.owner, &it.set.reason)).map(|it| it.set.id.0).collect();
    if !report.traces.broken.is_empty() {
        setting.mark(report.id, report.nodes.clone()).await;
    }
    let count = own.len() + report.traces.broken.len();
    report.traces.overrides = own;
    let told = match restore(setting, &mut report.traces).await {
        Ok(()) if count == 0 => "restored after a restart: nothing of it was left".to_owned(),
        Ok(()) => format!("restored after a restart: {count} of its faults taken back"),
        Err(why) => format!("not everything could be restored after a restart: {why}"),
    };
    tracing::warn!(id = report.id, "{told}");
    let is_restored = report.traces.is_restored;
    report.close_after_crash(setting.clock.wall(), &told);
    report.traces.is_restored = is_restored;
    if let Err(error) = setting.rewrite_record(&report).await {
        tracing::error!("the report of a former drill is not ended: {error}");
    }
    if is_restored {
        tokio::spawn(setting.clone().let_go(report.id, report.nodes));
    } else {
        let _ = unrestored.try_send(report);
    }
}

/// Tries for a while.
async fn restore(setting: &Setting, traces: &mut Traces) -> Result<(), String> {
    let mut attempts = 0;
    loop {
        match setting.restore(traces).await {
            Err(_) if attempts < MOST_ATTEMPTS => attempts += 1,
            done => return done,
        }
        tokio::time::sleep(AGAIN).await;
    }
}
