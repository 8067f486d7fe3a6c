//! `schedule` of a drill, and whether it ever comes: days that its months lack, moments that its blackout forbids.

use crate::base::clock::WallTime;
use crate::model::drill::{Every, On, Schedule};
use crate::model::safety::Window;
use crate::policy::codes;
use crate::policy::files::drill::{EveryWord, OnText, ScheduleFile};
use crate::policy::findings::{At, Findings};
use crate::policy::read::Slot;

/// A Monday's first moment: 1970-01-05.
const MONDAY_MS: u64 = 4 * DAY_MS;
const DAY_MS: u64 = 86_400_000;

/// `None`: it has none, or what it has is wrong and was told.
pub fn lower(slot: &Slot<ScheduleFile>, blackout: &[Window], findings: &mut Findings) -> Option<Schedule> {
    let ScheduleFile { place: _, every, on, at, confirm, within } = slot.value()?;
    let (every, at) = (every.value()?, at.given()?);
    let every = match every {
        EveryWord::Weekly => Every::Week,
        EveryWord::Monthly => Every::Month,
        EveryWord::Quarterly => Every::Quarter,
    };
    let on = lower_day(on.given()?, every, findings)?;
    let schedule = Schedule {
        every,
        on,
        at_min: at.value.0,
        confirm: confirm.value().copied().unwrap_or(true),
        within: within.value().map_or(Schedule::WITHIN, |span| span.0),
    };
    if is_always_black(&schedule, blackout) {
        let message = format!("{} is always within its blackout", schedule.told());
        findings
            .report(&codes::DRILL_NEVER_DUE, at.place, message)
            .help("choose another hour or day (the schedule is in UTC), or another blackout");
    }
    Some(schedule)
}

fn lower_day(at: &At<OnText>, every: Every, findings: &mut Findings) -> Option<On> {
    let on = at.value.0;
    let fault = match (every, on) {
        (Every::Week, On::Weekday(_)) => None,
        (Every::Week, _) => Some((format!("`{on}` is no day of a week"), "name one: tuesday")),
        (_, On::Weekday(_)) => Some((
            format!("`{on}` is several days of a month"),
            "say which: first, second, third, fourth or last, as in `first tuesday`",
        )),
        (Every::Month, On::Day(day)) if day > 28 => Some((
            format!("not every month has a day {day}"),
            "choose a day up to 28, or `last`, which is the last day of the month",
        )),
        (Every::Quarter, On::Day(31)) => Some((
            "April has no day 31".to_owned(),
            "choose a day up to 30, or `last`, which is the last day of the month",
        )),
        _ => None,
    };
    match fault {
        None => Some(on),
        Some((message, help)) => {
            findings.report(&codes::WRONG_VALUE, at.place, message).help(help);
            None
        }
    }
}

/// Whether every weekday that a date may be on has its moment in one of the windows.
fn is_always_black(schedule: &Schedule, blackout: &[Window]) -> bool {
    let moment = |day: u64| WallTime(MONDAY_MS + day * DAY_MS + u64::from(schedule.at_min) * 60_000);
    let is_black = |day: u64| blackout.iter().any(|window| window.is_open(moment(day)));
    match schedule.on.weekday() {
        Some(day) => is_black(u64::from(day)),
        None => (0..7).all(is_black),
    }
}

#[cfg(test)]
mod tests {
    use crate::base::diagnostic::SourceFile;
    use crate::model::drill::Schedule;
    use crate::policy;

    const FLEET: &str = "version: 1
regions: { eu: {} }
sites: { fra: { region: eu } }
defaults: { probes: [{ kind: tcp, port: 80 }] }
nodes:
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge } }
  fra-2: { site: fra, addresses: [127.2.1.2], labels: { role: edge } }
";
    const SERVICE: &str = "version: 1\nhostnames: a.test\nttl: 20\npools: { all: { select: { role: edge } } }\nchains: [{ pools: all }]\n";

    /// The schedule of a drill, and what is told of it.
    fn load(schedule: &str, rest: &str) -> (Option<Schedule>, Vec<String>) {
        let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
        let drill =
            format!("version: 1\ntargets: fra-1\nhold: 1m\ntier: 15m\nschedule: {{{schedule}}}\n{rest}");
        let (policy, found) = policy::load(&[
            file("fleet.yaml", FLEET.to_owned()),
            file("services/a.yaml", SERVICE.to_owned()),
            file("drills/a.yaml", drill),
        ]);
        let of_drills = found.iter().filter(|it| it.file.starts_with("drills/"));
        let told =
            of_drills.map(|it| format!("{}: {} ({})", it.code, it.message, it.help.as_deref().unwrap_or("")));
        (policy.and_then(|policy| policy.drills.first()?.schedule), told.collect())
    }

    #[test]
    fn schedules_are_read() {
        for (text, told, confirm, within_s) in [
            ("every: weekly, on: tue, at: \"09:30\"", "every tuesday at 09:30 UTC", true, 7_200),
            (
                "every: monthly, on: first tuesday, at: \"10:00\", confirm: false, within: 30m",
                "first tuesday of every month at 10:00 UTC",
                false,
                1_800,
            ),
            ("every: monthly, on: 15, at: \"00:00\"", "day 15 of every month at 00:00 UTC", true, 7_200),
            (
                "every: quarterly, on: last, at: \"23:59\"",
                "last day of every January, April, July and October at 23:59 UTC",
                true,
                7_200,
            ),
        ] {
            let (schedule, found) = load(text, "");
            let schedule = schedule.unwrap_or_else(|| panic!("{text}: {found:?}"));
            assert_eq!((schedule.told().as_str(), schedule.confirm), (told, confirm));
            assert_eq!((schedule.within.as_secs(), found), (within_s, Vec::new()), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_remedy() {
        let evening = "blackout: {from: \"18:00\", to: \"00:00\", utc_offset: \"+09:00\"}\n";
        let fridays = "blackout: {days: fri, from: \"00:00\", to: \"23:59\"}\n";
        for (text, rest, told) in [
            (
                "every: monthly, on: 31, at: \"10:00\"",
                "",
                "not every month has a day 31 (choose a day up to 28",
            ),
            ("every: quarterly, on: 31, at: \"10:00\"", "", "April has no day 31"),
            ("every: monthly, on: 32, at: \"10:00\"", "", "`32` is not a day (first tuesday"),
            (
                "every: monthly, on: tuesday, at: \"10:00\"",
                "",
                "`tuesday` is several days of a month (say which",
            ),
            ("every: weekly, on: 15, at: \"10:00\"", "", "`15` is no day of a week (name one"),
            ("every: daily, on: 15, at: \"10:00\"", "", "is not one of weekly, monthly, quarterly"),
            ("every: monthly, on: fifth tuesday, at: \"10:00\"", "", "`fifth tuesday` is not a day"),
            ("every: monthly, on: 1, at: \"25:00\"", "", "`25:00` is not a time of day"),
            ("every: monthly, on: 1", "", "missing-key: `at` is missing"),
            ("every: monthly, on: 1, at: \"10:00\", within: 1m", "", "1m is out of range"),
            // 10:00 UTC is 19:00 in Tokyo, whatever the day.
            (
                "every: monthly, on: 1, at: \"10:00\"",
                evening,
                "drill-never-due: day 1 of every month at 10:00 UTC",
            ),
            ("every: weekly, on: fri, at: \"10:00\"", fridays, "is always within its blackout"),
        ] {
            let (schedule, found) = load(text, rest);
            assert!(schedule.is_none() && found.iter().any(|it| it.contains(told)), "{text}: {found:?}");
        }
        let (schedule, found) = load("every: monthly, on: 1, at: \"10:00\"", fridays);
        assert!(schedule.is_some() && found.is_empty(), "other days come: {found:?}");
    }
}
