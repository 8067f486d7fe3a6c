//! Drills that come by themselves: the calendar looked at every second, each date on record before anything is done.
//!
//! ```text
//!  calendar ─▶ date on record ─┬▶ begun as `schedule`, with everything that forbids a run by hand
//!                              └▶ problem `drill-waiting` ─▶ `rhumb drill confirm` ─▶ begun
//! ```
//! What is decided about dates is in [`crate::drill::dates`]; here it is carried out and kept. A date of which a run
//! is on record is begun, whatever its own record says: that may be older by a crash.

use super::{Desk, Setting, records};
use crate::audit;
use crate::base::clock::{MonoTime, WallTime};
use crate::control::drills::Refused;
use crate::daemon::writer::{About, Event};
use crate::drill::calendar;
use crate::drill::dates::{Book, Date, Looked, Numbered, Step};
use crate::history::NewRecord;
use crate::model::actor::{Actor, Role};
use crate::model::drill::Drill;
use crate::model::status::Problem;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Of dates, in the history.
const DATES: &str = "drill-date";
/// Of how far the calendar was looked at: one record.
const LOOKED: &str = "drill-calendar";
/// Who begins what nobody confirms.
const ACTOR: &str = "schedule";
/// Runs that are looked through after a restart.
const MOST_RECALLED: usize = 200;
/// Dates, likewise: as many as the history keeps.
const MOST_DATES: usize = 5_000;
/// Between two times that it is kept how far the calendar was looked at.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub struct Dates {
    /// `None`: what a former run left is not read yet.
    book: Option<Book>,
    looked: Kept,
    /// Problems as they were told last.
    told: Vec<Problem>,
    /// What the history said against it, told once.
    fault: Option<String>,
}

/// How the look at the calendar is kept.
#[derive(Default)]
struct Kept {
    record: Option<u64>,
    at: Option<MonoTime>,
    document: Option<Looked>,
}

impl Desk {
    pub(super) async fn look_at_dates(&mut self) {
        let policy = Arc::clone(&self.setting.live.load().policy);
        let mut dates = std::mem::take(&mut self.dates);
        let fault = self.turn(&mut dates, &policy.drills).await.err();
        if let Some(why) = fault.as_ref().filter(|_| fault != dates.fault) {
            tracing::error!("dates of drills are not kept, and none is begun: {why}");
        }
        dates.fault = fault;
        self.tell(&mut dates);
        self.dates = dates;
    }

    async fn turn(&mut self, dates: &mut Dates, drills: &[Drill]) -> Result<(), String> {
        let now = self.setting.clock.wall();
        if dates.book.is_none() {
            let (book, record) = self.setting.recall_dates(now).await?;
            dates.book = Some(book);
            dates.looked.record = record;
        }
        let Some(book) = &mut dates.book else { return Ok(()) };
        for date in book.fresh(drills, now) {
            let due_at = date.due_at;
            match self.setting.begin_date(&date).await {
                Ok(id) => book.recorded(id, date),
                Err(why) => {
                    // It is found again, with those after it.
                    book.look_is_cut_short(WallTime(due_at.0.saturating_sub(1)));
                    return Err(why);
                }
            }
        }
        book.look_is_over(drills, now);
        for (id, step) in book.steps(drills, now) {
            match step {
                // A word given right after a start looks here before it is time.
                Step::Try if !self.is_settled => {}
                Step::Try => drop(self.try_by_itself(dates, id).await),
                Step::Write => self.write(dates, id).await?,
            }
        }
        self.keep_look(dates).await
    }

    async fn write(&self, dates: &mut Dates, id: u64) -> Result<(), String> {
        let Some(book) = &mut dates.book else { return Ok(()) };
        let Some(date) = book.find(id) else { return Ok(()) };
        self.setting.rewrite_date(id, date).await?;
        if date.is_settled() {
            let (drill, why) = (&date.drill, date.why.as_deref().unwrap_or("begun"));
            tracing::warn!(drill, "the date {} is settled: {why}", moment(date.due_at));
        }
        book.let_go(id);
        Ok(())
    }

    /// Begins the drill of a date; what comes of it is kept with the date.
    async fn try_date(
        &mut self,
        dates: &mut Dates,
        id: u64,
        break_glass: Vec<String>,
        by: Actor,
    ) -> Result<u64, Refused> {
        let found = dates.book.as_mut().and_then(|book| book.find(id)).cloned();
        let Some(Date { drill, due_at, .. }) = found else {
            return Err(Refused::Unknown("the date is over".to_owned()));
        };
        let done = self.begin(&drill, break_glass, by, Some(due_at)).await;
        let now = self.setting.clock.wall();
        if let Some(date) = dates.book.as_mut().and_then(|book| book.find(id)) {
            match &done {
                Ok(run) => date.begin(*run),
                Err(refused) => date.refuse(refused.told().to_owned(), now),
            }
        }
        if let Err(why) = self.write(dates, id).await {
            tracing::error!("what came of a date of drill {drill} is not kept yet: {why}");
        }
        done
    }

    /// As [`try_date`](Self::try_date), and in the audit log as anybody's action is.
    async fn try_by_itself(&mut self, dates: &mut Dates, id: u64) -> Result<u64, Refused> {
        let found = dates.book.as_mut().and_then(|book| book.find(id)).cloned();
        let detail = found.map(|date| json!({ "name": date.drill, "due_at": date.due_at }));
        let begun = audit::Event::Begun {
            who: ACTOR.to_owned(),
            role: Role::Operator,
            from: ACTOR.to_owned(),
            action: "POST /drills".to_owned(),
            detail: detail.unwrap_or_default(),
        };
        let of = match self.setting.audit(begun).await {
            Ok(of) => of,
            Err(why) => {
                let now = self.setting.clock.wall();
                if let Some(date) = dates.book.as_mut().and_then(|book| book.find(id)) {
                    date.refuse(format!("nothing was done: {why}"), now);
                }
                return Err(Refused::NotNow(why));
            }
        };
        let by = Actor { name: ACTOR.to_owned(), role: Role::Operator };
        let done = self.try_date(dates, id, Vec::new(), by).await;
        let (status, outcome) = match &done {
            Ok(run) => (200, json!({ "id": run })),
            Err(refused) => (409, json!({ "error": refused.told() })),
        };
        let _ = self.setting.audit(audit::Event::Ended { of, status, outcome }).await;
        done
    }

    /// Gives the word that a date waits for.
    pub(super) async fn confirm(
        &mut self,
        name: &str,
        break_glass: Vec<String>,
        by: Actor,
    ) -> Result<u64, Refused> {
        if self.dates.book.is_none() {
            self.look_at_dates().await;
        }
        let mut dates = std::mem::take(&mut self.dates);
        let asks = dates.book.as_ref().and_then(|book| book.asks(name));
        let done = match asks {
            Some(id) => self.try_date(&mut dates, id, break_glass, by).await,
            None if dates.book.is_none() => {
                Err(Refused::NotNow("dates of drills cannot be read yet: see `rhumb status`".to_owned()))
            }
            None => Err(self.why_no_date(name)),
        };
        self.tell(&mut dates);
        self.dates = dates;
        done
    }

    fn why_no_date(&self, name: &str) -> Refused {
        let policy = Arc::clone(&self.setting.live.load().policy);
        let drill = match super::prepare::find(&policy, name) {
            Ok(drill) => drill,
            Err(refused) => return refused,
        };
        let now = self.setting.clock.wall();
        let why = match drill.schedule {
            None => "it has no schedule".to_owned(),
            Some(schedule) if !schedule.confirm => "its dates begin by themselves".to_owned(),
            Some(schedule) => match calendar::next(&schedule, now) {
                Some(next) => format!("its next date is {}", moment(next)),
                None => "it has no date any more".to_owned(),
            },
        };
        Refused::Against(
            format!(
                "drill {name} waits for nobody's word: {why}; `rhumb drill run {name}` runs it without a date"
            ),
            None,
        )
    }

    /// Has the status say which dates wait for a word.
    fn tell(&self, dates: &mut Dates) {
        let asking = dates.book.iter().flat_map(Book::asking);
        let problems: Vec<Problem> = asking.map(|Numbered { date, .. }| waiting(date)).collect();
        if problems == dates.told {
            return;
        }
        let event = Event::Problems { about: About::DrillDates, problems: problems.clone() };
        if self.setting.events.try_send(event).is_ok() {
            dates.told = problems;
        }
    }

    /// Keeps how far the calendar was looked at, at times.
    async fn keep_look(&self, dates: &mut Dates) -> Result<(), String> {
        let Dates { book: Some(book), looked, .. } = dates else { return Ok(()) };
        let (now, document) = (self.setting.clock.mono(), book.looked());
        let is_wanted = document.at.is_some();
        let is_due = looked.at.is_none_or(|at| now.since(at) >= KEEP_EVERY);
        let is_other = looked.document.as_ref().is_none_or(|before| before.of != document.of);
        let is_nothing = !is_wanted && looked.record.is_none();
        if is_nothing || !(is_other || (is_due && is_wanted)) {
            return Ok(());
        }
        looked.record = Some(self.setting.keep_look(looked.record, &document).await?);
        (looked.at, looked.document) = (Some(now), Some(document));
        Ok(())
    }
}

fn waiting(date: &Date) -> Problem {
    let Date { drill, due_at, until, why, .. } = date;
    let why = why.as_ref().map_or_else(String::new, |why| format!("; refused so far: {why}"));
    Problem {
        since: *due_at,
        code: "drill-waiting".to_owned(),
        message: format!(
            "drill {drill} was due at {} and waits for somebody's word until {}{why}",
            moment(*due_at),
            moment(*until)
        ),
        help: format!(
            "`rhumb drill plan {drill}` tells what it would do, `rhumb drill confirm {drill}` begins it; \
             without a word it lapses"
        ),
    }
}

/// `2026-12-01 10:00 UTC`.
fn moment(at: WallTime) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

impl Setting {
    /// What a former run left, and the record of how far it had looked.
    async fn recall_dates(&self, now: WallTime) -> Result<(Book, Option<u64>), String> {
        let (looked, kept, reports) = self
            .in_history(|history| {
                let looked = history.records(LOOKED, 1)?.pop();
                let kept = history.records(DATES, MOST_DATES)?;
                Ok((looked, kept, history.records(records::KIND, MOST_RECALLED)?))
            })
            .await?;
        let unended: BTreeSet<u64> = kept.iter().filter(|it| it.ended.is_none()).map(|it| it.id).collect();
        let mut kept: Vec<Numbered> = kept.iter().rev().filter_map(numbered).collect();
        let runs: Vec<_> = reports.iter().filter_map(|record| records::read(record).ok()).collect();
        for Numbered { date, .. } in kept.iter_mut().filter(|it| !it.date.is_settled()) {
            // It was begun, and rhumb ended before the date was told.
            let its = runs.iter().find(|run| run.name == date.drill && run.due_at == Some(date.due_at));
            if let Some(run) = its {
                date.begin(run.id);
            }
        }
        let settled = kept.iter().filter(|it| it.date.is_settled() && unended.contains(&it.id));
        for Numbered { id, date } in settled {
            self.rewrite_date(*id, date).await?;
        }
        let at = looked.as_ref().and_then(|it| serde_json::from_str::<Looked>(&it.document).ok());
        let book = Book::new(at.unwrap_or_default(), kept, now);
        Ok((book, looked.map(|record| record.id)))
    }

    async fn begin_date(&self, date: &Date) -> Result<u64, String> {
        let record = NewRecord { name: date.drill.clone(), began: date.due_at, document: text(date) };
        let id = self.in_history(move |history| history.begin(DATES, &record)).await?;
        if date.is_settled() {
            self.rewrite_date(id, date).await?;
        }
        Ok(id)
    }

    async fn rewrite_date(&self, id: u64, date: &Date) -> Result<(), String> {
        let (document, ended) = (text(date), date.is_settled().then(|| self.clock.wall()));
        self.in_history(move |history| history.rewrite(DATES, id, &document, ended)).await
    }

    async fn keep_look(&self, record: Option<u64>, looked: &Looked) -> Result<u64, String> {
        let (document, began) = (serde_json::to_string(looked).unwrap_or_default(), self.clock.wall());
        self.in_history(move |history| match record {
            Some(id) => history.rewrite(LOOKED, id, &document, None).map(|()| id),
            None => history.begin(LOOKED, &NewRecord { name: LOOKED.to_owned(), began, document }),
        })
        .await
    }

    /// The newest dates, the newest first.
    pub(super) async fn dates(&self, most: usize) -> Result<Vec<Value>, String> {
        let found = self.in_history(move |history| history.records(DATES, most)).await?;
        Ok(found.iter().filter_map(|record| serde_json::from_str(&record.document).ok()).collect())
    }

    /// The number of the line.
    async fn audit(&self, event: audit::Event) -> Result<u64, String> {
        let (audit, now) = (Arc::clone(&self.audit), self.clock.wall());
        let writing = tokio::task::spawn_blocking(move || match &event {
            audit::Event::Begun { .. } => audit.append(now, event).map_err(|error| error.to_string()),
            _ => Ok(audit.append_or_keep(now, event).unwrap_or(0)),
        });
        writing.await.unwrap_or_else(|_| Err("the daemon is stopping".to_owned()))
    }
}

fn numbered(record: &crate::history::Record) -> Option<Numbered> {
    Some(Numbered { id: record.id, date: serde_json::from_str(&record.document).ok()? })
}

fn text(date: &Date) -> String {
    serde_json::to_string(date).unwrap_or_default()
}
