//! What a drill under way sees, and puts into its report: tables, verdicts, loads, answers; and whether that is too much.

use super::Run;
use crate::base::clock::WallTime;
use crate::daemon::drills::Setting;
use crate::daemon::drills::facts::reported;
use crate::daemon::drills::forecast::Standing;
use crate::daemon::drills::prepare::situation;
use crate::drill::guardrail::{self, Facts};
use crate::drill::machine::Phase;
use crate::drill::report::{Latency, WayShare, What};
use crate::drill::tally::Part;
use crate::model::ids::ServiceId;
use crate::model::provenance::Cause;
use crate::model::verdict::{FamilyHealth, Verdict};
use crate::schedule;
use std::sync::Arc;

/// Verdicts in the timeline: others have to have room.
const MOST_VERDICTS: usize = 60;

impl Run {
    /// Marks a table that takes nodes of the targets out, and has its load worked out.
    pub(super) fn note_table(&mut self, since_ms: u64) {
        let live = self.setting.live.load_full();
        let provenance = &live.provenance;
        self.seen = provenance.generation;
        let takes = matches!(&provenance.cause, Cause::Withdrawal { .. } | Cause::Evacuation { .. });
        if takes && self.machine.phase() < Phase::Restoring {
            let at_ms = provenance.published_at.0.saturating_sub(self.report.began_at.0);
            let told = format!("generation {}: {}", provenance.generation, provenance.cause);
            self.report.mark(at_ms.max(since_ms), What::Published, told);
        }
        if self.standing.is_none() {
            let (setting, services, base) =
                (self.setting.clone(), self.services.clone(), self.former.base.clone());
            self.standing = Some(tokio::spawn(async move { standing(&setting, services, base).await }));
        }
    }

    /// Tells what becomes of the targets' verdicts: it is the drill's, and nobody's incident.
    pub(super) fn note_verdicts(&mut self) {
        if !self.setting.status.has_changed().unwrap_or(false) {
            return;
        }
        let status = self.setting.status.borrow_and_update().clone();
        let Some(status) = status else { return };
        let began_at = self.report.began_at;
        let since = |at: WallTime| at.0.saturating_sub(began_at.0);
        let mut changed: Vec<(&str, &FamilyHealth)> = Vec::new();
        for node in &status.nodes {
            let known = self.verdicts.get_mut(&node.name);
            let Some((known, best)) = known.zip(node.health.best()) else { continue };
            if std::mem::replace(known, best.verdict) != best.verdict {
                changed.push((&node.name, best));
            }
        }
        changed.sort_by_key(|(_, health)| health.since);
        for (name, health) in changed {
            let first = health.evidence.first.filter(|first| *first >= began_at);
            let is_fault = matches!(health.verdict, Verdict::Down | Verdict::Degraded);
            if let Some(first) = first.filter(|_| is_fault && !self.report.has(What::FirstFailure)) {
                self.report.mark(since(first), What::FirstFailure, format!("of {name}"));
            }
            let count = self.report.timeline.iter().filter(|mark| mark.what == What::Verdict).count();
            if count < MOST_VERDICTS {
                let told = format!("{name} is {}: {}", health.verdict, health.reason);
                self.report.mark(since(health.since.max(began_at)), What::Verdict, told);
            }
        }
    }

    /// A table's load, against the highest so far.
    pub(super) fn weigh(&mut self, now: Standing) {
        if self.machine.phase() < Phase::Restoring {
            for survivor in &mut self.report.survivors {
                let at =
                    self.policy.fleet.node_ids().find(|id| self.policy.fleet.node(*id).name == survivor.node);
                let share = at.and_then(|at| now.utilisation.get(at.index()).copied().flatten());
                survivor.peak = survivor.peak.max(share.unwrap_or_default());
            }
            let observed = &mut self.report.observed;
            observed.utilisation = self.report.survivors.iter().map(|it| it.peak).max();
            let worse = |latency: &Latency| latency.mean;
            if now.latency.as_ref().map(worse) > observed.during.as_ref().map(worse) {
                observed.during = now.latency;
            }
        }
        self.latest = now;
    }

    pub(super) fn sum_up(&mut self) {
        let now_ms = self.now_ms();
        let point = self.tally.point(now_ms);
        self.report.draw(point);
        self.fill();
    }

    /// Everything of the report that the tally tells.
    pub(super) fn fill(&mut self) {
        let [answered, followed] = self.tally.quantiles();
        let report = &mut self.report;
        report.observed.affected = self.tally.affected();
        (report.observed.answered, report.observed.followed) = (answered, followed);
        report.answers.before = self.tally.counts(Part::Before).clone();
        report.answers.during = self.tally.counts(Part::During).clone();
        report.answers.after = self.tally.counts(Part::After).clone();
        report.failures = self.tally.failures();
        let seen = self.tally.ways(&self.policy.fleet, &report.services);
        for way in &mut report.ways {
            way.observed = Default::default();
        }
        for way in seen {
            let key = |it: &WayShare| (it.service.clone(), it.from.clone(), it.to.clone());
            match report.ways.iter_mut().find(|it| key(it) == key(&way)) {
                Some(own) => own.observed = way.observed,
                None => report.ways.push(way),
            }
        }
        report.set_phase(self.machine.phase());
    }

    /// Gives the drill up if a guardrail is broken.
    pub(super) fn judge(&mut self) {
        if !self.machine.phase().is_guarded() {
            return;
        }
        // Those first: what an incident was opened by is in the status then.
        let incidents = Arc::clone(&self.setting.incidents.borrow());
        let status = self.setting.status.borrow().clone();
        let Some(status) = status else { return };
        for survivor in &mut self.report.survivors {
            survivor.peak = survivor.peak.max(reported(&status, &survivor.node));
        }
        self.report.observed.utilisation = self.report.survivors.iter().map(|it| it.peak).max();
        let seen = self.former.facts(&status, &self.latest, &self.policy.fleet, &self.tally, self.now_ms());
        let facts = Facts { incidents: self.former.opened(&incidents), ..seen };
        if let Some(ending) = guardrail::broken(&self.drill.guardrails, &facts) {
            self.end(ending);
        }
    }
}

/// How full nodes are and how far clients are from them now.
async fn standing(setting: &Setting, services: Vec<ServiceId>, base: Vec<u64>) -> Option<Standing> {
    let situation = situation(setting).await.ok()?;
    let worked_out = tokio::task::spawn_blocking(move || {
        let input = situation.asked.input();
        let plan = schedule::plan(&input);
        Standing::of(&input, input.previous.unwrap_or(&plan.assignment), (&plan.account, &base), &services)
    });
    worked_out.await.ok()
}
