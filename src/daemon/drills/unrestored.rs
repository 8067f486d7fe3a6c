//! What a drill broke and could not take back: tried again for as long as rhumb runs, and a problem meanwhile.

use super::Setting;
use crate::daemon::writer::{About, Event};
use crate::drill::report::{Report, What};
use crate::model::status::Problem;
use std::time::Duration;
use tokio::sync::mpsc;

/// Between attempts.
const AGAIN: Duration = Duration::from_secs(10);

/// A drill, and why its restoration failed last.
struct Left {
    report: Report,
    why: Option<String>,
}

/// Runs as long as somebody may hand over another.
pub async fn keep(setting: Setting, mut found: mpsc::Receiver<Report>) {
    let mut left: Vec<Left> = Vec::new();
    // Whether the status says so.
    let mut is_told = true;
    loop {
        tokio::select! {
            report = found.recv() => match report {
                Some(report) if left.iter().any(|it| it.report.id == report.id) => continue,
                Some(report) => {
                    tracing::error!(drill = report.name, id = report.id, "the drill is not restored");
                    // Its nodes are the drill's until they are healed.
                    setting.mark(report.id, report.nodes.clone()).await;
                    left.push(Left { report, why: None });
                }
                None => return,
            },
            () = tokio::time::sleep(AGAIN), if !left.is_empty() || !is_told => {
                let mut still = Vec::new();
                for it in left {
                    still.extend(try_again(&setting, it).await);
                }
                left = still;
            }
        }
        let problems = left.iter().map(problem).collect();
        is_told = setting.events.try_send(Event::Problems { about: About::DrillsLeft, problems }).is_ok();
    }
}

/// `None`: everything is taken back.
async fn try_again(setting: &Setting, it: Left) -> Option<Left> {
    let Left { mut report, .. } = it;
    if let Err(why) = setting.restore(&mut report.traces).await {
        return Some(Left { report, why: Some(why) });
    }
    tracing::warn!(drill = report.name, id = report.id, "the drill is restored after all");
    let at_ms = setting.clock.wall().0.saturating_sub(report.began_at.0);
    report.mark(at_ms, What::Restored, "everything broken is healed, after all");
    if let Err(error) = setting.rewrite_record(&report).await {
        tracing::error!("the report of a drill is not kept: {error}");
    }
    tokio::spawn(setting.clone().let_go(report.id, report.nodes));
    None
}

fn problem(Left { report, why }: &Left) -> Problem {
    let Report { id, name, traces, .. } = report;
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let program = traces.heal.join(" ");
    Problem {
        since: report.ended_at.unwrap_or(report.began_at),
        code: "drill-unrestored".to_owned(),
        message: format!(
            "what drill {id} ({name}) did to {} is not taken back{why}",
            traces.broken.join(", ")
        ),
        help: format!(
            "heal it by hand; `{program}` is tried again every {} s, and its success ends this",
            AGAIN.as_secs()
        ),
    }
}
