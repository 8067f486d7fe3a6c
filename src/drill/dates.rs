//! What becomes of each date of a schedule: tried within its window, begun once, or settled with the reason.
//!
//! ```text
//!            ┌ by itself: tried at once, and again every few minutes ─▶ begun
//!  a date ───┤ with a word: waits for it ───────────────────────────▶ begun
//!            └ its window is over ─▶ refused (tried), lapsed (no word), missed (rhumb did not run)
//! ```
//! Whoever keeps the book writes each date down before anything is done with it: so a restart repeats none. How far the
//! calendar was looked at is kept too, with the schedules that it was looked at for: so a restart loses none, and a
//! schedule that is new or edited has no dates in the past. Time is an argument.

use super::calendar;
use crate::base::clock::WallTime;
use crate::model::drill::{Drill, Schedule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two attempts at a date.
pub const RETRY: Duration = Duration::from_secs(300);
/// Dates of one drill that a long absence leaves behind; of more the latest are told.
pub const MOST_MISSED: usize = 12;
/// A clock that was ahead by more and is set right makes the calendar be looked at anew.
const STEP_MS: u64 = 86_400_000;
/// How long a date is known to have been, lest a clock that is set back repeats it: 58 of one drill at most.
const KNOWN_MS: u64 = 400 * 86_400_000;

/// Where a date stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its window is open.
    Waiting,
    /// It became a run.
    Begun,
    /// Something spoke against it whenever it was tried.
    Refused,
    /// rhumb did not run, or could not try.
    Missed,
    /// Nobody gave their word.
    Lapsed,
    /// The policy has it no more.
    Dropped,
}

/// One date of one drill, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Date {
    pub drill: String,
    pub due_at: WallTime,
    /// The end of its window.
    pub until: WallTime,
    /// It waits for somebody's word.
    pub confirm: bool,
    pub state: State,
    /// What spoke against it the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often it was tried.
    #[serde(default)]
    pub tries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<WallTime>,
    /// The run that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
}

impl Date {
    fn new(drill: &str, schedule: &Schedule, due_at: WallTime) -> Self {
        Self {
            drill: drill.to_owned(),
            due_at,
            until: until(schedule, due_at),
            confirm: schedule.confirm,
            state: State::Waiting,
            why: None,
            tries: 0,
            tried_at: None,
            run: None,
        }
    }

    /// Takes over what its schedule says by now; whether that is something else.
    fn follow(&mut self, schedule: &Schedule) -> bool {
        let now = (schedule.confirm, until(schedule, self.due_at));
        let before = (self.confirm, self.until);
        (self.confirm, self.until) = now;
        before != now
    }

    /// Tried in vain; its window may have room for more.
    pub fn refuse(&mut self, why: String, at: WallTime) {
        (self.why, self.tried_at) = (Some(why), Some(at));
        self.tries += 1;
    }

    pub fn begin(&mut self, run: u64) {
        (self.state, self.run, self.why) = (State::Begun, Some(run), None);
    }

    pub fn is_settled(&self) -> bool {
        self.state != State::Waiting
    }

    /// A moment on which it is tried by itself.
    fn is_to_be_tried(&self, now: WallTime) -> bool {
        let rests = |tried: WallTime| now.0.saturating_sub(tried.0) < RETRY.as_millis() as u64;
        !self.confirm && !self.tried_at.is_some_and(rests)
    }

    /// What its end is called.
    fn end(&mut self) {
        self.state = match (self.confirm, self.tries) {
            (true, 0) => State::Lapsed,
            (false, 0) => State::Missed,
            _ => State::Refused,
        };
        let why = match self.state {
            State::Lapsed => "nobody confirmed it in time",
            State::Missed => "rhumb did not run in time",
            _ => return,
        };
        self.why = Some(why.to_owned());
    }
}

fn until(schedule: &Schedule, due_at: WallTime) -> WallTime {
    let within_ms = u64::try_from(schedule.within.as_millis()).unwrap_or(u64::MAX);
    WallTime(due_at.0.saturating_add(within_ms))
}

/// Tells schedules apart.
fn text(schedule: &Schedule) -> String {
    let word = if schedule.confirm { "with a word" } else { "by itself" };
    format!("{}, {word}, within {} s", schedule.told(), schedule.within.as_secs())
}

/// What is to be done with a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin its drill.
    Try,
    /// It was settled, or its schedule was edited: write it down.
    Write,
}

/// A date with its number on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub id: u64,
    pub date: Date,
}

/// How far the calendar was looked at, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// `None`: no drill had a schedule, and none missed a date.
    #[serde(rename = "looked")]
    pub at: Option<WallTime>,
    /// By drill: its schedule. Of another one, or of a drill that is not in it, what is past is past.
    #[serde(default)]
    pub of: BTreeMap<String, String>,
}

/// Dates whose window is open, and how far the calendar was looked at.
#[derive(Debug)]
pub struct Book {
    open: Vec<Numbered>,
    /// Drill and moment of dates of late, which are on record.
    known: Vec<(String, WallTime)>,
    looked: WallTime,
    /// See [`Looked`].
    of: BTreeMap<String, String>,
}

impl Book {
    /// `looked`: how far a former run had looked. `kept`: dates on record, those that are settled too.
    pub fn new(looked: Looked, kept: Vec<Numbered>, now: WallTime) -> Self {
        let known = kept.iter().map(|it| (it.date.drill.clone(), it.date.due_at)).collect();
        let open = kept.into_iter().filter(|it| !it.date.is_settled()).collect();
        Self { open, known, looked: looked.at.unwrap_or(now), of: looked.of }
    }

    pub fn looked(&self) -> Looked {
        Looked { at: (!self.of.is_empty()).then_some(self.looked), of: self.of.clone() }
    }

    /// Dates that came since the last look, the oldest first; what has no window any more is settled already. Each is
    /// to be put [on record](Self::recorded), then [the look is over](Self::look_is_over).
    pub fn fresh(&mut self, drills: &[Drill], now: WallTime) -> Vec<Date> {
        if self.looked.0 > now.0.saturating_add(STEP_MS) {
            self.looked = now;
        }
        let scheduled = drills.iter().filter_map(|drill| Some((drill, drill.schedule.as_ref()?)));
        let mut fresh: Vec<Date> =
            scheduled.flat_map(|(drill, schedule)| self.dates(&drill.name, schedule, now)).collect();
        fresh.sort_by(|one, other| (one.due_at, &one.drill).cmp(&(other.due_at, &other.drill)));
        fresh
    }

    fn dates(&self, drill: &str, schedule: &Schedule, now: WallTime) -> Vec<Date> {
        let later = |at: &WallTime| calendar::next(schedule, *at);
        let is_same = self.of.get(drill).is_some_and(|before| *before == text(schedule));
        let from = if is_same { self.looked } else { now };
        let due = std::iter::successors(calendar::next(schedule, from), later);
        let due = due.take_while(|at| *at <= now);
        let is_new = |at: &WallTime| !self.known.iter().any(|(name, known)| name == drill && known == at);
        let mut dates: Vec<Date> = due.filter(is_new).map(|at| Date::new(drill, schedule, at)).collect();
        dates.drain(..dates.len().saturating_sub(MOST_MISSED));
        for date in dates.iter_mut().filter(|date| now > date.until) {
            // Nobody was asked for their word either.
            (date.state, date.why) = (State::Missed, Some("rhumb did not run in time".to_owned()));
        }
        dates
    }

    /// A fresh date is on record.
    pub fn recorded(&mut self, id: u64, date: Date) {
        self.known.push((date.drill.clone(), date.due_at));
        if !date.is_settled() {
            self.open.push(Numbered { id, date });
        }
    }

    /// The calendar was looked at so far, for all of these.
    pub fn look_is_over(&mut self, drills: &[Drill], until: WallTime) {
        let scheduled = drills.iter().filter_map(|drill| Some((&drill.name, drill.schedule.as_ref()?)));
        self.of = scheduled.map(|(name, schedule)| (name.clone(), text(schedule))).collect();
        self.look_is_cut_short(until);
    }

    /// It was looked at so far, and not to the end: what comes after it is found again.
    pub fn look_is_cut_short(&mut self, until: WallTime) {
        self.looked = self.looked.max(until);
        let looked = self.looked;
        self.known.retain(|(_, due)| due.0.saturating_add(KNOWN_MS) > looked.0);
    }

    /// What is to be done now, and with which.
    pub fn steps(&mut self, drills: &[Drill], now: WallTime) -> Vec<(u64, Step)> {
        let mut steps = Vec::new();
        for Numbered { id, date } in &mut self.open {
            if date.is_settled() {
                // The record did not take it.
                steps.push((*id, Step::Write));
                continue;
            }
            let schedule = drills.iter().find(|it| it.name == date.drill).and_then(|it| it.schedule);
            let its = schedule.filter(|schedule| calendar::has(schedule, date.due_at));
            let is_edited = its.is_some_and(|schedule| date.follow(&schedule));
            if its.is_none() {
                (date.state, date.why) = (State::Dropped, Some("the policy has it no more".to_owned()));
            } else if now > date.until {
                date.end();
            }
            if is_edited || date.is_settled() {
                steps.push((*id, Step::Write));
            }
            if !date.is_settled() && date.is_to_be_tried(now) {
                steps.push((*id, Step::Try));
            }
        }
        steps
    }

    pub fn find(&mut self, id: u64) -> Option<&mut Date> {
        self.open.iter_mut().find(|it| it.id == id).map(|it| &mut it.date)
    }

    /// The date of a drill that waits for somebody's word.
    pub fn asks(&self, drill: &str) -> Option<u64> {
        self.asking().find(|it| it.date.drill == drill).map(|it| it.id)
    }

    /// Dates that wait for somebody's word.
    pub fn asking(&self) -> impl Iterator<Item = &Numbered> {
        self.open.iter().filter(|it| it.date.confirm && !it.date.is_settled())
    }

    /// Lets go of a date that is settled, and on record as such.
    pub fn let_go(&mut self, id: u64) {
        self.open.retain(|it| it.id != id || !it.date.is_settled());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::testing;
    use crate::model::drill::{Every, On};

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    /// A Monday, 2026-01-05T00:00:00Z.
    const MONDAY: u64 = 1_767_571_200_000;
    /// Tuesday at 10:00.
    const DUE: WallTime = WallTime(MONDAY + DAY + 10 * HOUR);

    fn drill(confirm: bool) -> Drill {
        let within = Duration::from_secs(2 * 3_600);
        let schedule = Schedule { every: Every::Week, on: On::Weekday(1), at_min: 600, confirm, within };
        Drill { schedule: Some(schedule), ..testing::drill(&["node/n1"]) }
    }

    fn after(date: WallTime, minutes: u64) -> WallTime {
        WallTime(date.0 + minutes * 60_000)
    }

    /// A look, with everything that is fresh put on record; numbers count up.
    fn look(book: &mut Book, drills: &[Drill], now: WallTime, next: &mut u64) -> Vec<Date> {
        let fresh = book.fresh(drills, now);
        for date in &fresh {
            book.recorded(*next, date.clone());
            *next += 1;
        }
        book.look_is_over(drills, now);
        fresh
    }

    /// Looked at for them at that moment, and kept.
    fn looked(drills: &[Drill], at: u64) -> Looked {
        let mut book = Book::new(Looked::default(), Vec::new(), WallTime(at));
        book.look_is_over(drills, WallTime(at));
        book.looked()
    }

    #[test]
    fn a_date_is_tried_at_its_moment_and_again_until_its_window_is_over() {
        let drills = [drill(false)];
        let (mut book, mut next) = (Book::new(looked(&drills, MONDAY), Vec::new(), WallTime(MONDAY)), 1);
        assert_eq!(look(&mut book, &drills, WallTime(DUE.0 - 1), &mut next), []);
        assert_eq!(look(&mut book, &drills, DUE, &mut next).len(), 1);
        assert_eq!(book.steps(&drills, DUE), [(1, Step::Try)]);
        book.find(1).expect("open").refuse("rule `capacity`".to_owned(), DUE);
        assert_eq!(book.steps(&drills, after(DUE, 4)), []);
        assert_eq!(book.steps(&drills, after(DUE, 5)), [(1, Step::Try)]);
        assert_eq!(look(&mut book, &drills, after(DUE, 5), &mut next), [], "it comes once");
        assert_eq!(book.steps(&drills, after(DUE, 121)), [(1, Step::Write)]);
        let date = book.find(1).expect("kept until it is written").clone();
        assert_eq!((date.state, date.why.as_deref()), (State::Refused, Some("rule `capacity`")));
        book.let_go(1);
        assert_eq!(book.steps(&drills, after(DUE, 122)), []);

        // The next week it is begun.
        let again = WallTime(DUE.0 + 7 * DAY);
        assert_eq!(look(&mut book, &drills, after(again, 1), &mut next)[0].due_at, again);
        assert_eq!(book.steps(&drills, after(again, 1)), [(2, Step::Try)]);
        book.find(2).expect("open").begin(7);
        assert_eq!(book.steps(&drills, after(again, 300)), [(2, Step::Write)], "until it is on record");
        book.let_go(2);
        assert_eq!(book.steps(&drills, after(again, 300)), []);
    }

    #[test]
    fn a_word_is_waited_for_and_its_want_is_told() {
        let drills = [drill(true)];
        let (mut book, mut next) = (Book::new(looked(&drills, MONDAY), Vec::new(), WallTime(MONDAY)), 1);
        look(&mut book, &drills, DUE, &mut next);
        assert_eq!((book.steps(&drills, DUE), book.asks("lose-n1")), (Vec::new(), Some(1)));
        assert_eq!(book.asks("another"), None);
        assert_eq!(book.steps(&drills, after(DUE, 121)), [(1, Step::Write)]);
        assert_eq!(book.find(1).expect("kept").state, State::Lapsed);
        assert_eq!(book.asks("lose-n1"), None);
    }

    #[test]
    fn a_restart_neither_repeats_nor_loses_a_date() {
        let drills = [drill(false)];
        let mut next = 1;
        // Off since Monday: within its window it is made up for, later it is told as missed.
        for (now, state) in [(after(DUE, 90), State::Waiting), (after(DUE, 121), State::Missed)] {
            let mut book = Book::new(looked(&drills, MONDAY), Vec::new(), now);
            let fresh = look(&mut book, &drills, now, &mut next);
            assert_eq!(fresh.iter().map(|it| it.state).collect::<Vec<_>>(), [state]);
            assert_eq!(book.steps(&drills, now).len(), usize::from(state == State::Waiting));
        }
        // What is on record comes no more, though the look is older.
        let mut date = Date::new("lose-n1", &drills[0].schedule.expect("one"), DUE);
        date.begin(3);
        let kept = vec![Numbered { id: 9, date }];
        let mut book = Book::new(looked(&drills, MONDAY), kept, after(DUE, 10));
        assert_eq!(look(&mut book, &drills, after(DUE, 10), &mut next), []);
        assert_eq!(book.steps(&drills, after(DUE, 10)), []);
        // Off for years.
        let later = WallTime(MONDAY + 1_000 * DAY);
        let mut book = Book::new(looked(&drills, MONDAY), Vec::new(), later);
        let fresh = look(&mut book, &drills, later, &mut next);
        assert!(fresh.len() == MOST_MISSED && fresh.iter().all(|it| it.state == State::Missed));
        assert_eq!(fresh[MOST_MISSED - 1].due_at.0, DUE.0 + 142 * 7 * DAY, "the latest are told");
        // New to a rhumb that never looked: what is past is past.
        let mut book = Book::new(Looked::default(), Vec::new(), after(DUE, 10));
        assert_eq!(look(&mut book, &drills, after(DUE, 10), &mut next), []);
    }

    #[test]
    fn an_edit_drops_the_date_and_a_clock_set_right_goes_on() {
        let drills = [drill(false)];
        let (mut book, mut next) = (Book::new(looked(&drills, MONDAY), Vec::new(), WallTime(MONDAY)), 1);
        look(&mut book, &drills, DUE, &mut next);
        assert_eq!(book.steps(&[], DUE), [(1, Step::Write)]);
        assert_eq!(book.find(1).expect("kept").state, State::Dropped);

        let mut book = Book::new(looked(&drills, MONDAY + 3_000 * DAY), Vec::new(), WallTime(MONDAY));
        assert_eq!(look(&mut book, &drills, WallTime(MONDAY), &mut next), []);
        assert_eq!(look(&mut book, &drills, DUE, &mut next).len(), 1, "the clock had been far ahead");
    }

    #[test]
    fn an_edit_of_word_and_window_reaches_an_open_date() {
        let edited = |confirm, minutes: u64| {
            let mut drill = drill(confirm);
            let schedule = drill.schedule.as_mut().expect("one");
            schedule.within = Duration::from_secs(minutes * 60);
            [drill]
        };
        let drills = [drill(true)];
        let (mut book, mut next) = (Book::new(looked(&drills, MONDAY), Vec::new(), WallTime(MONDAY)), 1);
        look(&mut book, &drills, DUE, &mut next);
        // No word is needed any more, then one is needed again.
        assert_eq!(book.steps(&edited(false, 120), DUE), [(1, Step::Write), (1, Step::Try)]);
        assert_eq!(book.asks("lose-n1"), None);
        assert_eq!(book.steps(&edited(true, 120), DUE), [(1, Step::Write)]);
        assert_eq!(book.asks("lose-n1"), Some(1));
        // A longer window, and one that is over.
        assert_eq!(book.steps(&edited(true, 180), after(DUE, 121)), [(1, Step::Write)]);
        assert_eq!(book.steps(&edited(true, 180), after(DUE, 150)), [], "it is open");
        assert_eq!(book.steps(&edited(true, 60), after(DUE, 151)), [(1, Step::Write)]);
        assert_eq!(book.find(1).expect("kept").state, State::Lapsed);
    }

    #[test]
    fn a_schedule_edited_while_rhumb_is_off_has_no_dates_in_the_past() {
        let now = after(DUE, 10);
        let drills = [drill(false)];
        let dates =
            |looked: Looked| look(&mut Book::new(looked, Vec::new(), now), &drills, now, &mut 1).len();
        assert_eq!(dates(looked(&drills, MONDAY)), 1);
        assert_eq!(dates(looked(&[drill(true)], MONDAY)), 0, "edited");
        assert_eq!(dates(looked(&[], MONDAY)), 0, "new");
        let older = serde_json::from_str(&format!("{{\"looked\": {MONDAY}}}")).expect("of an older version");
        assert_eq!(dates(older), 0);
        assert_eq!(looked(&[], MONDAY).at, None, "nothing is scheduled");
        // What is kept is read again as it was.
        let kept = looked(&drills, MONDAY);
        let read: Looked = serde_json::from_str(&serde_json::to_string(&kept).expect("text")).expect("reads");
        assert_eq!(read, kept);
    }

    #[test]
    fn a_clock_set_back_repeats_no_date() {
        let drills = [drill(false)];
        let (mut book, mut next) = (Book::new(looked(&drills, MONDAY), Vec::new(), WallTime(MONDAY)), 1);
        assert_eq!(look(&mut book, &drills, DUE, &mut next).len(), 1);
        book.find(1).expect("open").begin(7);
        book.let_go(1);
        // Ahead by three months, and back.
        assert!(!look(&mut book, &drills, WallTime(DUE.0 + 90 * DAY), &mut next).is_empty());
        assert_eq!(look(&mut book, &drills, WallTime(MONDAY), &mut next), []);
        assert_eq!(look(&mut book, &drills, after(DUE, 1), &mut next), [], "it was begun");
        // Not for ever.
        look(&mut book, &drills, WallTime(DUE.0 + 3_000 * DAY), &mut next);
        assert!(book.known.len() <= 58 + MOST_MISSED, "{}", book.known.len());
    }
}
