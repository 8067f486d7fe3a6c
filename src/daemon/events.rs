//! Events, watched: told beforehand when the fleet is not ready for one, looked at while it lasts, reported after.
//!
//! ```text
//!  every few seconds: Situation ─▶ before: readiness at the peak ─▶ problem `event-not-ready`
//!   (on a thread of its own)       while it lasts: a plan ────────▶ record `event`, rewritten when it gets worse
//!                                  after it, or without it ───────▶ record ended
//! ```
//! What an event changes of the policy is the loader's: the folder is read again at its edges (`reload`).

use crate::base::clock::{MonoTime, SharedClock, WallTime};
use crate::control::events::{KIND, Planned};
use crate::daemon::background;
use crate::daemon::readiness::situation;
use crate::daemon::writer::{About, Event as Told, Situation};
use crate::history::{NewRecord, Shelf};
use crate::model::event::{Event, EventReport, PlannedEvent};
use crate::model::ids::Revision;
use crate::model::policy::Policy;
use crate::model::readiness::Readiness;
use crate::model::status::Problem;
use crate::readiness::{self, Depth, Scenario};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a judgement beforehand counts while the policy is the same.
const JUDGED_FOR: Duration = Duration::from_secs(600);

/// Looks as long as the process lives.
pub async fn run(
    events: SyncSender<Told>,
    history: Arc<Shelf>,
    clock: SharedClock,
    shown: watch::Sender<Planned>,
) {
    let mut watcher = Watcher { history, clock, judged: BTreeMap::new(), running: None };
    let mut had_problems = false;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(situation) = situation(&events).await else { continue };
        if shown.borrow().is_none() {
            // Judging them may take a while.
            let planned = watcher.planned(&situation.inputs.policy, watcher.clock.wall());
            shown.send_replace(Some(Arc::new(planned)));
        }
        if situation.inputs.policy.events.is_empty() && watcher.is_idle() {
            shown.send_replace(Some(Arc::default()));
            if std::mem::take(&mut had_problems) {
                let _ = events.try_send(Told::Problems { about: About::Events, problems: Vec::new() });
            }
            continue;
        }
        let looking = tokio::task::spawn_blocking(move || {
            background::let_answers_go_first();
            let looked = watcher.look(&situation);
            (watcher, looked)
        });
        let Ok((used, Looked { planned, problems })) = looking.await else {
            tracing::error!("events are not looked at any more; please report what is above");
            return;
        };
        watcher = used;
        shown.send_replace(Some(Arc::new(planned)));
        if had_problems || !problems.is_empty() {
            had_problems = !problems.is_empty();
            had_problems |= events.try_send(Told::Problems { about: About::Events, problems }).is_err();
        }
    }
}

struct Watcher {
    history: Arc<Shelf>,
    clock: SharedClock,
    /// By name, of events to come.
    judged: BTreeMap<String, Judged>,
    /// By name, with the number of the record; `None`: those of a former run are not looked for yet.
    running: Option<BTreeMap<String, (u64, EventReport)>>,
}

/// What was said of an event beforehand.
struct Judged {
    revision: Revision,
    at: MonoTime,
    is_ready: bool,
    said: String,
    problem: Option<Problem>,
}

struct Looked {
    planned: Vec<PlannedEvent>,
    problems: Vec<Problem>,
}

impl Watcher {
    fn is_idle(&self) -> bool {
        self.running.as_ref().is_some_and(BTreeMap::is_empty)
    }

    fn look(&mut self, situation: &Situation) -> Looked {
        let (policy, now) = (&*situation.inputs.policy, self.clock.wall());
        self.resume();
        for event in policy.events.iter().filter(|event| event.is_on(now)) {
            self.attend(event, situation, now);
        }
        self.close(policy, now);
        for event in policy.events.iter().filter(|event| is_near(event, now)) {
            self.foresee(event, situation, now);
        }
        let to_come = policy.events.iter().filter(|event| now < event.until);
        let problems = to_come.filter_map(|event| self.judgement(event, now)?.problem.clone()).collect();
        Looked { planned: self.planned(policy, now), problems }
    }

    /// Those that are to come or go on, with what is known of them so far.
    fn planned(&self, policy: &Policy, now: WallTime) -> Vec<PlannedEvent> {
        let tell = |event: &Event| {
            let judged = self.judgement(event, now);
            PlannedEvent {
                is_ready: judged.map(|judged| judged.is_ready),
                foreseen: judged.map(|judged| judged.said.clone()),
                ..PlannedEvent::of(event, policy)
            }
        };
        let to_come = policy.events.iter().filter(|event| now < event.until);
        let mut planned: Vec<PlannedEvent> = to_come.map(tell).collect();
        planned.sort_by(|one, other| (one.from, &one.name).cmp(&(other.from, &other.name)));
        planned
    }

    fn judgement(&self, event: &Event, now: WallTime) -> Option<&Judged> {
        self.judged.get(&event.name).filter(|_| is_near(event, now))
    }

    /// Takes up what a former run left open.
    fn resume(&mut self) {
        if self.running.is_some() {
            return;
        }
        let open = self.history.history().and_then(|history| history.open_records(KIND));
        let Ok(open) = open else { return };
        let read = |record: &crate::history::Record| {
            let report: EventReport = serde_json::from_str(&record.document).ok()?;
            Some((report.name.clone(), (record.id, report)))
        };
        self.running = Some(open.iter().filter_map(read).collect());
    }

    /// Looks at an event that goes on, and keeps it if it is worse than before.
    fn attend(&mut self, event: &Event, situation: &Situation, now: WallTime) {
        let input = situation.asked.input();
        let (calm, demand) = readiness::calm(&input);
        let known = self.running.as_ref().and_then(|running| running.get(&event.name)).cloned();
        let known = known.filter(|(_, report)| report.from == event.from);
        let (number, before) = match known {
            Some((number, report)) => (Some(number), report),
            None => {
                let expected = readiness::expected(&input, &Scenario::of_event(event));
                let mut report = EventReport::begun(event, now, &expected);
                report.foreseen = self.judged.get(&event.name).map(|judged| judged.said.clone());
                (None, report)
            }
        };
        let mut report = EventReport { until: event.until, ..before.clone() };
        report.look(now, &demand, calm.unserved, calm.fullest);
        let is_same = EventReport { looks: before.looks, ..report.clone() } == before;
        let number = match number {
            Some(number) if is_same => Some(number),
            number => self.keep(number, &report, None),
        };
        if let (Some(number), Some(running)) = (number, &mut self.running) {
            running.insert(event.name.clone(), (number, report));
        }
    }

    /// Ends the records of events that are over.
    fn close(&mut self, policy: &Policy, now: WallTime) {
        let is_on = |report: &EventReport| {
            let same = |event: &&Event| event.name == report.name && event.from == report.from;
            policy.events.iter().find(same).is_some_and(|event| event.is_on(now))
        };
        let over: Vec<(u64, EventReport)> = match &self.running {
            Some(running) => running.values().filter(|(_, report)| !is_on(report)).cloned().collect(),
            None => return,
        };
        for (number, report) in over {
            let report = EventReport { is_cut_short: now < report.until, ..report };
            tracing::info!(event = report.name, "the event is over; `rhumb events` tells what came");
            if self.keep(Some(number), &report, Some(now.min(report.until))).is_some()
                && let Some(running) = &mut self.running
            {
                running.remove(&report.name);
            }
        }
    }

    /// The number it is kept under; `None`: the disk does not take it.
    fn keep(&self, number: Option<u64>, report: &EventReport, ended: Option<WallTime>) -> Option<u64> {
        let document = serde_json::to_string(report).ok()?;
        let kept = self.history.history().and_then(|history| match number {
            Some(number) => history.rewrite(KIND, number, &document, ended).map(|()| number),
            None => {
                history.begin(KIND, &NewRecord { name: report.name.clone(), began: report.from, document })
            }
        });
        kept.inspect_err(|error| tracing::error!("what comes of event {} is not kept: {error}", report.name))
            .ok()
    }

    /// Judges whether the fleet is ready for the peak, unless that is known.
    fn foresee(&mut self, event: &Event, situation: &Situation, now: WallTime) {
        let (revision, mono) = (&situation.inputs.policy.revision, self.clock.mono());
        let is_fresh = |judged: &Judged| judged.revision == *revision && mono.since(judged.at) < JUDGED_FOR;
        if self.judged.get(&event.name).is_some_and(is_fresh) {
            return;
        }
        let depth = Depth { mended: 1, ..Depth::SINGLE };
        let mut on = |_: usize, _: usize| ControlFlow::Continue(());
        let Some(told) =
            readiness::judge(&situation.asked.input(), &Scenario::of_event(event), depth, &mut on)
        else {
            return;
        };
        let since =
            self.judged.get(&event.name).and_then(|it| it.problem.as_ref()).map_or(now, |it| it.since);
        let (said, problem) = (said(&told), problem(event, &told, since));
        if let Some(problem) = &problem {
            tracing::warn!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        let judged =
            Judged { revision: revision.clone(), at: mono, is_ready: told.is_ready(), said, problem };
        self.judged.insert(event.name.clone(), judged);
    }
}

/// The worst loss in a few words.
fn said(told: &Readiness) -> String {
    let Some(weakest) = told.weakest() else { return "no node serves".to_owned() };
    match weakest.is_carried {
        true => format!("every loss is carried; the weakest is {}", weakest.lost),
        false => format!(
            "{} of {} losses are not carried; the worst is {}, which leaves {} units of demand and {} client \
             groups unserved",
            told.not_carried,
            told.judged,
            weakest.lost,
            weakest.unserved_total(),
            weakest.stranded_total()
        ),
    }
}

/// Whether it is judged beforehand by now.
fn is_near(event: &Event, now: WallTime) -> bool {
    let ahead_ms = u64::try_from(event.ready_ahead.as_millis()).unwrap_or(u64::MAX);
    now < event.from && event.from.0.saturating_sub(now.0) <= ahead_ms
}

/// `None`: the fleet is ready.
fn problem(event: &Event, told: &Readiness, since: WallTime) -> Option<Problem> {
    if told.is_ready() {
        return None;
    }
    let remedy = told.weakest().and_then(|weakest| weakest.remedy().or(weakest.no_remedy.clone()));
    let more = format!("`rhumb readiness --event {}` tells more", event.name);
    let runbook = event.runbook.as_ref().map_or_else(String::new, |runbook| format!(" (see {runbook})"));
    Some(Problem {
        since,
        code: "event-not-ready".to_owned(),
        message: format!("not ready for event {} at its peak: {}", event.name, said(told)),
        help: match remedy {
            Some(remedy) => format!("{remedy}; {more}{runbook}"),
            None => format!("{more}{runbook}"),
        },
    })
}
