//! On which days a schedule falls. Everything is UTC: no day is shorter than another, and no moment comes twice.

use crate::base::clock::WallTime;
use crate::model::drill::{Every, On, Schedule};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Months that are looked at: of a quarter's, one at the most lacks the day.
const MONTHS: usize = 8;

/// The first date after a moment, that moment not included; `None`: past the end of the calendar.
pub fn next(schedule: &Schedule, after: WallTime) -> Option<WallTime> {
    let today = date_of(after)?;
    let is_later = |day: &Date| moment(schedule, *day).is_some_and(|at| at > after);
    let found = match schedule.every {
        Every::Week => {
            let days = (0..=7).map_while(|days| today.checked_add(days.days()).ok());
            days.filter(|day| falls_on_weekday(schedule.on, *day)).find(is_later)
        }
        Every::Month | Every::Quarter => {
            let first = today.first_of_month();
            let step = if schedule.every == Every::Quarter { 3 } else { 1 };
            let months = (0..MONTHS * step)
                .map_while(|at| first.checked_add(i64::try_from(at).unwrap_or(i64::MAX).months()).ok());
            let months = months.filter(|month| (usize::from(month.month().unsigned_abs()) - 1) % step == 0);
            months.filter_map(|month| in_month(schedule.on, month)).find(is_later)
        }
    };
    moment(schedule, found?)
}

/// Whether `at` is one of its dates.
pub fn has(schedule: &Schedule, at: WallTime) -> bool {
    at.0.checked_sub(1).and_then(|before| next(schedule, WallTime(before))) == Some(at)
}

fn falls_on_weekday(on: On, day: Date) -> bool {
    on.weekday().is_some_and(|at| weekday(at) == Some(day.weekday()))
}

/// The day in the month that begins with `first`; `None`: the month lacks it.
fn in_month(on: On, first: Date) -> Option<Date> {
    match on {
        On::Day(day) => Date::new(first.year(), first.month(), i8::try_from(day).ok()?).ok(),
        On::LastDay => Some(first.last_of_month()),
        On::Nth(nth, at) => first.nth_weekday_of_month(i8::try_from(nth).ok()?, weekday(at)?).ok(),
        On::Last(at) => first.nth_weekday_of_month(-1, weekday(at)?).ok(),
        On::Weekday(_) => None,
    }
}

fn weekday(at: u8) -> Option<Weekday> {
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}

fn date_of(at: WallTime) -> Option<Date> {
    let at = Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
    Some(TimeZone::UTC.to_datetime(at).date())
}

fn moment(schedule: &Schedule, day: Date) -> Option<WallTime> {
    let (hour, minute) = (i8::try_from(schedule.at_min / 60).ok()?, i8::try_from(schedule.at_min % 60).ok()?);
    let at = TimeZone::UTC.to_timestamp(day.at(hour, minute, 0, 0)).ok()?;
    u64::try_from(at.as_millisecond()).ok().map(WallTime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(text: &str) -> WallTime {
        let moment: Timestamp = text.parse().expect("a moment");
        WallTime(u64::try_from(moment.as_millisecond()).expect("after 1970"))
    }

    fn schedule(every: Every, on: &str, at_min: u16) -> Schedule {
        let on = On::parse(on).unwrap_or_else(|| panic!("{on}"));
        Schedule { every, on, at_min, confirm: false, within: Duration::from_secs(7_200) }
    }

    /// The dates that follow `from`, at 10:00.
    fn check(every: Every, on: &str, from: &str, expected: &[&str]) {
        let schedule = schedule(every, on, 600);
        let mut after = at(from);
        for date in expected {
            let found = next(&schedule, after).expect("there is another");
            assert_eq!(found, at(&format!("{date}T10:00:00Z")), "{every:?} {on} after {from}: {date}");
            assert!(has(&schedule, found) && !has(&schedule, WallTime(found.0 + 1)), "{date}");
            after = found;
        }
    }

    #[test]
    fn weeks_go_on_over_the_end_of_a_year() {
        check(Every::Week, "tuesday", "2026-12-20T00:00:00Z", &["2026-12-22", "2026-12-29", "2027-01-05"]);
        // On the very moment, the next one.
        check(Every::Week, "tue", "2026-12-22T10:00:00Z", &["2026-12-29"]);
        check(Every::Week, "tue", "2026-12-22T09:59:59.999Z", &["2026-12-22"]);
    }

    #[test]
    fn months_have_their_ends_and_leap_years_a_day_more() {
        check(Every::Month, "last", "2027-12-31T10:00:00Z", &["2028-01-31", "2028-02-29", "2028-03-31"]);
        check(Every::Month, "last", "2027-01-31T10:00:00Z", &["2027-02-28", "2027-03-31", "2027-04-30"]);
        check(Every::Month, "28", "2027-01-28T10:00:00Z", &["2027-02-28", "2027-03-28"]);
        // What `check` refuses is passed over here.
        check(Every::Month, "31", "2027-01-31T10:00:00Z", &["2027-03-31", "2027-05-31"]);
        check(Every::Month, "first tuesday", "2026-11-22T00:00:00Z", &["2026-12-01", "2027-01-05"]);
        check(Every::Month, "fourth monday", "2027-02-01T00:00:00Z", &["2027-02-22", "2027-03-22"]);
        check(Every::Month, "last friday", "2027-01-01T00:00:00Z", &["2027-01-29", "2027-02-26"]);
        check(Every::Month, "15", "2026-12-15T10:00:00Z", &["2027-01-15"]);
    }

    #[test]
    fn quarters_begin_in_january_april_july_and_october() {
        let quarters = ["2027-01-15", "2027-04-15", "2027-07-15", "2027-10-15", "2028-01-15"];
        check(Every::Quarter, "15", "2026-11-22T00:00:00Z", &quarters);
        check(Every::Quarter, "last", "2027-01-31T10:00:00Z", &["2027-04-30", "2027-07-31"]);
        check(Every::Quarter, "second sun", "2027-04-11T10:00:00Z", &["2027-07-11"]);
        check(Every::Quarter, "31", "2027-01-31T10:00:00Z", &["2027-07-31", "2027-10-31"]);
    }

    #[test]
    fn days_are_read_as_they_are_written() {
        for text in ["tuesday", "first tuesday", "last sunday", "15", "last"] {
            assert_eq!(On::parse(text).expect("a day").to_string(), text);
        }
        assert_eq!(On::parse("third wed"), On::parse("third wednesday"));
        for text in ["0", "32", "fifth monday", "first", "tuesdays", "first  tuesday", "", "-1", "last 15"] {
            assert_eq!(On::parse(text), None, "{text}");
        }
        let monthly = schedule(Every::Month, "first tuesday", 605);
        assert_eq!(monthly.told(), "first tuesday of every month at 10:05 UTC");
        assert_eq!(next(&monthly, WallTime(u64::MAX)), None, "past the end of the calendar");
    }
}
