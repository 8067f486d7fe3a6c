//! What drills of a former process left: taken back at the start, and said so in their records.
//!
//! A drill that nobody runs is over. Its overrides are known by owner and reason, since numbers that a lost state
//! folder gave anew are somebody else's; what its record says it broke is healed. It is healed once more a while
//! later, since a program that breaks may have outlived the process that was killed. As long as the history cannot be
//! read nobody knows what is left: that is tried again, and no drill is begun.

use super::{Desk, Setting, deeds, records};
use crate::base::clock::MonoTime;
use crate::control::drills::Refused;
use crate::drill::report::{Report, Traces};
use crate::history::Record;
use std::time::Duration;
use tokio::sync::mpsc;

/// Between attempts.
const AGAIN: Duration = Duration::from_secs(2);
const MOST_ATTEMPTS: u32 = 5;
/// Records that are looked through for what was never taken back.
const MOST_LOOKED: usize = 50;

/// What is known of drills of a former process.
#[derive(Default)]
pub(super) struct Known {
    /// All that is on record of them was read.
    is_whole: bool,
    /// What the history said against it, told once.
    fault: Option<String>,
    /// Healed, and healed once more at its time.
    again: Vec<(MonoTime, Report)>,
}

impl Known {
    /// # Errors
    /// A drill could be begun over what another one left.
    pub fn is_enough(&self) -> Result<(), Refused> {
        let why = "what a former drill left cannot be read yet; without that no drill is begun";
        if self.is_whole { Ok(()) } else { Err(Refused::NotNow(why.to_owned())) }
    }
}

impl Desk {
    /// Takes back what is not known yet, and heals once more what is due.
    pub(super) async fn look_at_former(&mut self) {
        if !self.former.is_whole {
            self.take_back().await;
        }
        // Whatever runs may have broken the same on purpose.
        if self.running.is_some() {
            return;
        }
        let now = self.setting.clock.mono();
        for (_, mut report) in self.former.again.extract_if(.., |(due, _)| *due <= now) {
            if let Err(why) = self.setting.restore(&mut report.traces).await {
                tracing::error!(id = report.id, "what the drill broke is not healed once more: {why}");
                let _ = self.unrestored.try_send(report);
            }
        }
    }

    /// Takes back what drills of a former process left, and ends their records. A drill that nobody runs is over.
    pub(super) async fn take_back(&mut self) {
        let (setting, unrestored) = (&self.setting, &self.unrestored);
        let mut status = setting.status.clone();
        if status.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let open = setting.open_records().await;
        let left = setting.unrestored(MOST_LOOKED).await;
        let fault = open.as_ref().err().or(left.as_ref().err()).cloned();
        if let Some(why) = fault.as_ref().filter(|_| fault != self.former.fault) {
            tracing::error!(
                "whether a former drill is to be taken back is not known, and none is begun: {why}"
            );
        }
        (self.former.is_whole, self.former.fault) = (fault.is_none(), fault);
        for report in left.unwrap_or_default() {
            let _ = unrestored.try_send(report);
        }
        let healed = take_back(setting, open.unwrap_or_default(), unrestored).await;
        let now = setting.clock.mono();
        let due = |report: &Report| now + Duration::from_millis(report.traces.heal_timeout_ms);
        self.former.again.extend(healed.into_iter().map(|report| (due(&report), report)));
    }
}

/// What cannot be taken back goes to `unrestored`; what programs had broken and is healed is told.
async fn take_back(setting: &Setting, open: Vec<Record>, unrestored: &mpsc::Sender<Report>) -> Vec<Report> {
    let mut healed = Vec::new();
    for record in open {
        match records::read(&record) {
            Ok(report) => healed.extend(end_former(setting, report, unrestored).await),
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
    healed
}

/// What it had broken, if programs healed that.
async fn end_former(
    setting: &Setting,
    mut report: Report,
    unrestored: &mpsc::Sender<Report>,
) -> Option<Report> {
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
    let broken = report.traces.broken.clone();
    let count = own.len() + broken.len();
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
    if !is_restored {
        let _ = unrestored.try_send(report);
        return None;
    }
    tokio::spawn(setting.clone().let_go(report.id, report.nodes.clone()));
    report.traces.broken = broken;
    (!report.traces.broken.is_empty()).then_some(report)
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
