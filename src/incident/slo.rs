//! What services promised and what they kept: time counted by day, and told against objectives.
//!
//! ```text
//!  table: clients without a node ──▶ unserved ─┐ SloDay, one a day ─▶ availability, budget ─┐
//!  incidents: lost node until out of caches ─▶ stale ┘                                      ├▶ SloReport
//!  incidents: both clocks ───────────────────────────▶ times to recover, by tier and month ─┘
//! ```

use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::incident::Charge;
use crate::model::incident::{Incident, NamedShare, ServiceImpact};
use crate::model::slo::{
    MonthRecovery, Objective, Recovery, ServiceSlo, SloCell, SloDay, SloReport, TierRecovery, WINDOW_DAYS,
};
use std::collections::BTreeMap;

pub const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Services of one day; more are not counted.
const MOST_SERVICES: usize = 10_000;
/// Days told one by one.
const DAYS_TOLD: usize = 14;
/// Months told.
const MONTHS_TOLD: usize = 12;

/// The day of UTC, since 1970.
pub fn day_of(now: WallTime) -> u64 {
    now.0 / DAY_MS
}

/// Counts a length of time in which of each service this much of its clients had a usable node.
pub fn watch<'a>(day: &mut SloDay, served: impl IntoIterator<Item = (&'a str, Ppm)>, elapsed_ms: u64) {
    for (service, served) in served {
        if let Some(cell) = cell(day, service) {
            let missing = u64::from(Ppm::WHOLE.0.saturating_sub(served.0));
            let unserved_ns = missing.saturating_mul(elapsed_ms);
            cell.add(&SloCell { watched_ms: elapsed_ms, unserved_ns, stale_ns: 0 });
        }
    }
}

/// Counts what clients lost on lost nodes.
pub fn charge(day: &mut SloDay, charges: &[Charge]) {
    for Charge { service, lost_ns } in charges {
        if let Some(cell) = cell(day, service) {
            cell.add(&SloCell { stale_ns: *lost_ns, ..SloCell::default() });
        }
    }
}

fn cell<'d>(day: &'d mut SloDay, service: &str) -> Option<&'d mut SloCell> {
    if !day.services.contains_key(service) {
        if day.services.len() >= MOST_SERVICES {
            return None;
        }
        day.services.insert(service.to_owned(), SloCell::default());
    }
    day.services.get_mut(service)
}

/// Availability against objectives over the window until `now`, and how incidents ended. `days` in any order, at most
/// one of each.
pub fn report(objectives: &[Objective], days: &[SloDay], incidents: &[Incident], now: WallTime) -> SloReport {
    let today = day_of(now);
    let mut window: Vec<&SloDay> =
        days.iter().filter(|it| it.day <= today && today - it.day < WINDOW_DAYS).collect();
    window.sort_by_key(|it| it.day);
    let services =
        objectives.iter().map(|objective| of_service(objective, &window, incidents, now)).collect();
    SloReport {
        now,
        window_days: WINDOW_DAYS,
        days: window.len() as u64,
        services,
        tiers: tiers(objectives, incidents, now),
    }
}

fn of_service(
    objective: &Objective,
    window: &[&SloDay],
    incidents: &[Incident],
    now: WallTime,
) -> ServiceSlo {
    let cells = || window.iter().filter_map(|day| Some((day.day, day.services.get(&objective.service)?)));
    let mut all = SloCell::default();
    cells().for_each(|(_, cell)| all.add(cell));
    let allowed = u64::from(Ppm::WHOLE.0.saturating_sub(objective.availability.0));
    let budget_ms = allowed.saturating_mul(WINDOW_DAYS * DAY_MS) / 1_000_000;
    // Who is without a node and waits for a cache is counted twice.
    let unavailable_ms = (all.lost_ns() / 1_000_000).min(all.watched_ms);
    let by_day: Vec<NamedShare> =
        cells().map(|(day, cell)| NamedShare { name: date(day), share: cell.availability() }).collect();
    let skipped = by_day.len().saturating_sub(DAYS_TOLD);
    let touched = touched(incidents, |service| service.name == objective.service);
    ServiceSlo {
        name: objective.service.clone(),
        tier: objective.tier.clone(),
        objective: objective.availability,
        availability: all.availability(),
        watched_ms: all.watched_ms,
        unavailable_ms,
        budget_ms,
        spent: Ppm::ratio(unavailable_ms, budget_ms),
        by_day: by_day.into_iter().skip(skipped).collect(),
        recovery: recovery(touched.iter().filter(|it| is_in_window(it.incident, now))),
        months: months(&touched),
    }
}

/// One incident, as one service felt it.
struct Touched<'a> {
    incident: &'a Incident,
    service: &'a ServiceImpact,
}

fn touched<'a>(incidents: &'a [Incident], is_its: impl Fn(&ServiceImpact) -> bool) -> Vec<Touched<'a>> {
    let of = |incident: &'a Incident| {
        let services =
            incident.impact.services.iter().filter(|service| service.is_touched() && is_its(service));
        services.map(move |service| Touched { incident, service }).collect::<Vec<_>>()
    };
    incidents.iter().flat_map(of).collect()
}

fn is_in_window(incident: &Incident, now: WallTime) -> bool {
    now.0.saturating_sub(incident.opened_at.0) < WINDOW_DAYS * DAY_MS
}

fn recovery<'a, 'i: 'a>(touched: impl Iterator<Item = &'a Touched<'i>>) -> Recovery {
    let mut all = Recovery::default();
    let (mut sum_ms, mut count) = (0_u64, 0_u64);
    for Touched { incident, service } in touched {
        all.incidents += 1;
        if let Some(ms) = incident.clocks.quality_ms {
            (sum_ms, count) = (sum_ms.saturating_add(ms), count + 1);
        }
        all.rto_ms = all.rto_ms.max(service.restored_ms);
        all.above_tier += u32::from(service.is_within_tier() == Some(false));
    }
    all.mttr_ms = sum_ms.checked_div(count);
    all
}

fn months(touched: &[Touched<'_>]) -> Vec<MonthRecovery> {
    let mut by_month: BTreeMap<String, Vec<&Touched<'_>>> = BTreeMap::new();
    for it in touched {
        by_month.entry(month(it.incident.opened_at)).or_default().push(it);
    }
    let skipped = by_month.len().saturating_sub(MONTHS_TOLD);
    let told = |(month, all): (String, Vec<&Touched<'_>>)| MonthRecovery {
        month,
        recovery: recovery(all.into_iter()),
    };
    by_month.into_iter().skip(skipped).map(told).collect()
}

fn tiers(objectives: &[Objective], incidents: &[Incident], now: WallTime) -> Vec<TierRecovery> {
    let tiers: BTreeMap<u64, &str> =
        objectives.iter().map(|objective| (objective.tier_ms, objective.tier.as_str())).collect();
    let of = |(tier_ms, tier): (u64, &str)| {
        let touched = touched(incidents, |service| service.tier == tier);
        TierRecovery {
            tier: tier.to_owned(),
            tier_ms,
            recovery: recovery(touched.iter().filter(|it| is_in_window(it.incident, now))),
            months: months(&touched),
        }
    };
    tiers.into_iter().map(of).collect()
}

/// `2026-11-22`.
pub fn date(day: u64) -> String {
    let text = timestamp(WallTime(day.saturating_mul(DAY_MS)));
    text.split('T').next().unwrap_or("?").to_owned()
}

/// `2026-11`.
fn month(at: WallTime) -> String {
    timestamp(at).get(..7).unwrap_or("?").to_owned()
}

fn timestamp(at: WallTime) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::incident::{Clocks, Impact};

    const NOW: WallTime = WallTime(20_000 * DAY_MS + DAY_MS / 2);

    fn objective(service: &str, percent: f64) -> Objective {
        let availability = Ppm::from_fraction(percent / 100.0);
        Objective { service: service.to_owned(), tier: "15m".to_owned(), tier_ms: 900_000, availability }
    }

    #[test]
    fn a_tenth_of_the_clients_for_an_hour_is_six_minutes() {
        let mut day = SloDay { day: day_of(NOW), ..SloDay::default() };
        watch(&mut day, [("live", Ppm::WHOLE), ("vod", Ppm::WHOLE)], DAY_MS - 3_600_000);
        watch(&mut day, [("live", Ppm::from_percent(90)), ("vod", Ppm::WHOLE)], 3_600_000);
        let report = report(&[objective("live", 99.95), objective("vod", 99.5)], &[day], &[], NOW);
        let (live, vod) = (&report.services[0], &report.services[1]);
        assert_eq!((live.unavailable_ms, live.budget_ms), (360_000, 1_296_000), "of 21.6 minutes in 30 days");
        assert_eq!((live.spent, live.availability), (Ppm(277_777), Ppm(995_834)));
        assert_eq!((vod.spent, vod.availability), (Ppm::ZERO, Ppm::WHOLE));
        assert_eq!(live.by_day, [NamedShare { name: "2024-10-04".to_owned(), share: Ppm(995_834) }]);
    }

    #[test]
    fn what_is_older_than_the_window_or_never_watched_costs_nothing() {
        let mut old = SloDay { day: day_of(NOW) - WINDOW_DAYS, ..SloDay::default() };
        watch(&mut old, [("live", Ppm::ZERO)], DAY_MS);
        let report = report(&[objective("live", 99.9)], &[old], &[], NOW);
        let live = &report.services[0];
        assert_eq!((live.spent, live.availability, live.watched_ms), (Ppm::ZERO, Ppm::WHOLE, 0));
        assert_eq!((report.days, live.by_day.len()), (0, 0));
    }

    #[test]
    fn caches_that_hold_a_lost_node_are_charged() {
        let mut day = SloDay { day: day_of(NOW), ..SloDay::default() };
        watch(&mut day, [("live", Ppm::WHOLE)], DAY_MS);
        // A quarter of the clients for 8 s: two seconds of all of them.
        charge(&mut day, &[Charge { service: "live".to_owned(), lost_ns: 250_000 * 8_000 }]);
        let report = report(&[objective("live", 99.9)], &[day], &[], NOW);
        assert_eq!(report.services[0].unavailable_ms, 2_000);
    }

    fn incident(opened_at: u64, restored_ms: u64, quality_ms: u64) -> Incident {
        let service = ServiceImpact {
            name: "live".to_owned(),
            tier: "15m".to_owned(),
            tier_ms: 900_000,
            clients: Ppm::from_percent(20),
            restored_ms: Some(restored_ms),
            ..ServiceImpact::default()
        };
        Incident {
            opened_at: WallTime(opened_at),
            impact: Impact { services: vec![service], ..Impact::default() },
            clocks: Clocks { quality_ms: Some(quality_ms), ..Clocks::default() },
            ..Incident::default()
        }
    }

    #[test]
    fn times_to_recover_are_told_by_service_tier_and_month() {
        let month = 31 * DAY_MS;
        let all = [
            incident(NOW.0 - 2 * month, 9_000, 400_000),
            incident(NOW.0 - 3_600_000, 20_000, 300_000),
            incident(NOW.0 - 60_000, 1_000_000, 500_000),
        ];
        let report = report(&[objective("live", 99.9), objective("vod", 99.9)], &[], &all, NOW);
        let live = report.services[0].recovery;
        assert_eq!(
            live,
            Recovery { incidents: 2, mttr_ms: Some(400_000), rto_ms: Some(1_000_000), above_tier: 1 }
        );
        let months: Vec<_> =
            report.services[0].months.iter().map(|it| (it.month.as_str(), it.recovery.rto_ms)).collect();
        assert_eq!(months, [("2024-08", Some(9_000)), ("2024-10", Some(1_000_000))]);
        assert_eq!(report.services[1].recovery, Recovery::default());
        assert_eq!((report.tiers.len(), report.tiers[0].recovery), (1, live));
    }
}
