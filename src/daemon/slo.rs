//! What services kept of their objectives: counted while watching, kept by day in the history, told when asked.

use crate::base::clock::{MonoTime, SharedClock, WallTime};
use crate::base::units::Ppm;
use crate::control::incidents::{AskSlo, read};
use crate::daemon::answering::Live;
use crate::daemon::clientele;
use crate::history::{History, HistoryError, NewRecord, Shelf};
use crate::incident::{Charge, slo};
use crate::model::incident::{self, Incident};
use crate::model::policy::Policy;
use crate::model::slo::{KIND, Objective, SloDay, SloReport, WINDOW_DAYS};
use crate::model::status::Status;
use crate::routing::Snapshot;
use std::sync::Arc;
use std::time::Duration;

/// Between two times that a day is written: what a kill -9 loses of it.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// A longer gap was no watching: the machine slept.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// Incidents that times to recover are told from.
const MOST_INCIDENTS: usize = 1_000;

/// The day under way.
#[derive(Default)]
pub struct Tally {
    day: SloDay,
    /// Its record.
    id: Option<u64>,
    looked_at: Option<MonoTime>,
    kept_at: Option<MonoTime>,
    /// Of a generation, who had a usable node: by service.
    served: Option<(u64, Vec<Ppm>)>,
}

impl Tally {
    /// Goes on with the day that a former run left; what was counted before it could be read is part of it.
    pub fn recall(&mut self, history: &History, now: WallTime) -> Result<(), HistoryError> {
        let (mut day, mut id) = (SloDay { day: slo::day_of(now), ..SloDay::default() }, None);
        for record in history.open_records(KIND)? {
            let kept = serde_json::from_str::<SloDay>(&record.document).ok();
            match kept.filter(|kept| kept.day == day.day) {
                Some(kept) => (day, id) = (kept, Some(record.id)),
                None => history.rewrite(KIND, record.id, &record.document, Some(now))?,
            }
        }
        for (service, cell) in std::mem::take(&mut self.day.services) {
            day.services.entry(service).or_default().add(&cell);
        }
        (self.day, self.id) = (day, id);
        Ok(())
    }

    /// Counts the time since the last look, by the table that is live.
    pub fn look(&mut self, status: &Status, live: &Snapshot, charges: &[Charge], mono: MonoTime) {
        let elapsed = self.looked_at.map_or(Duration::ZERO, |before| mono.since(before)).min(LONGEST_LOOK);
        self.looked_at = Some(mono);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(0);
        let served = self.served(status, live);
        let named = status.services.iter().map(|service| service.name.as_str()).zip(served);
        slo::watch(&mut self.day, named, elapsed_ms);
        slo::charge(&mut self.day, charges);
    }

    /// Mostly everybody is served, which the status says itself.
    fn served(&mut self, status: &Status, live: &Snapshot) -> Vec<Ppm> {
        if status.services.iter().all(|service| service.groups_all_down == 0) {
            return vec![Ppm::WHOLE; status.services.len()];
        }
        let generation = live.provenance.generation.0;
        if let Some((of, served)) = &self.served
            && *of == generation
        {
            return served.clone();
        }
        let groups = live.geo.groups();
        let served: Vec<Ppm> =
            live.assignment.services.iter().map(|plan| clientele::served(plan, groups)).collect();
        self.served = Some((generation, served.clone()));
        served
    }

    /// Writes the day if it is time, and begins the next.
    pub fn keep(&mut self, history: &History, mono: MonoTime, now: WallTime) -> Result<(), HistoryError> {
        let is_over = slo::day_of(now) > self.day.day;
        let is_due = self.kept_at.is_none_or(|before| mono.since(before) >= KEEP_EVERY);
        if !is_over && !is_due {
            return Ok(());
        }
        self.kept_at = Some(mono);
        let document = serde_json::to_string(&self.day).unwrap_or_default();
        match self.id {
            Some(id) => history.rewrite(KIND, id, &document, is_over.then_some(now))?,
            None => {
                let name = slo::date(self.day.day);
                let id = history.begin(KIND, &NewRecord { name, began: now, document: document.clone() })?;
                self.id = Some(id);
                if is_over {
                    history.rewrite(KIND, id, &document, Some(now))?;
                }
            }
        }
        if is_over {
            (self.day, self.id) = (SloDay { day: slo::day_of(now), ..SloDay::default() }, None);
        }
        Ok(())
    }

    pub fn day(&self) -> &SloDay {
        &self.day
    }
}

/// Works the report out whenever somebody asks. `today`: the day under way, as it stands.
pub fn ask(
    history: &Arc<Shelf>,
    live: &Live,
    clock: &SharedClock,
    today: tokio::sync::watch::Receiver<Arc<SloDay>>,
) -> AskSlo {
    let (history, live, clock) = (Arc::clone(history), Arc::clone(live), Arc::clone(clock));
    Arc::new(move || {
        let policy = Arc::clone(&live.load().policy);
        let today = SloDay::clone(&today.borrow());
        report(&*history.history()?, &policy, today, clock.wall())
    })
}

/// From what is kept, and the day under way.
pub fn report(
    history: &History,
    policy: &Policy,
    today: SloDay,
    now: WallTime,
) -> Result<SloReport, HistoryError> {
    let most = usize::try_from(WINDOW_DAYS).unwrap_or(usize::MAX).saturating_add(1);
    let kept = history.records(KIND, most)?;
    let read_day = |record: &crate::history::Record| serde_json::from_str::<SloDay>(&record.document).ok();
    let mut days: Vec<SloDay> = kept.iter().filter_map(read_day).filter(|day| day.day != today.day).collect();
    days.push(today);
    let incidents: Vec<Incident> =
        history.records(incident::KIND, MOST_INCIDENTS)?.iter().filter_map(read).collect();
    Ok(slo::report(&objectives(policy), &days, &incidents, now))
}

fn objectives(policy: &Policy) -> Vec<Objective> {
    let of = |service: &crate::model::service::Service| Objective {
        service: service.name.clone(),
        tier: service.tier.name.clone(),
        tier_ms: u64::try_from(service.tier.limit.as_millis()).unwrap_or(u64::MAX),
        availability: service.objective(),
    };
    policy.services.iter().map(of).collect()
}
