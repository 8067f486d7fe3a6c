//! What a drill under way sees, and puts into its report: tables, verdicts, loads, answers; and whether that is too much.

use super::Run;
use crate::base::clock::WallTime;
use crate::daemon::drills::facts::reported;
use crate::daemon::drills::forecast::Standing;
use crate::daemon::drills::{Setting, situation};
use crate::drill::guardrail;
use crate::drill::machine::Phase;
use crate::drill::report::{Latency, WayShare, What};
use crate::drill::tally::Part;
use crate::model::ids::ServiceId;
use crate::model::provenance::Cause;
use crate::model::verdict::Verdict;
use crate::schedule;

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

    /// Of a real fault: when it was seen, and when it was believed.
    pub(super) fn note_verdict(&mut self) {
        let status = self.setting.status.borrow().clone();
        let Some(status) = status else { return };
        let is_target = |name: &str| self.report.nodes.iter().any(|node| node == name);
        let families = status.nodes.iter().filter(|node| is_target(&node.name)).flat_map(|node| {
            node.health.families.iter().flatten().map(|family| (node.name.clone(), family.clone()))
        });
        let down = families
            .filter(|(_, family)| family.verdict == Verdict::Down && family.since >= self.report.began_at);
        let Some((name, family)) = down.min_by_key(|(_, family)| family.since) else { return };
        let began_at = self.report.began_at;
        let since = |at: WallTime| at.0.saturating_sub(began_at.0);
        if let Some(first) = family.evidence.first.filter(|first| *first >= began_at) {
            self.report.mark(since(first), What::FirstFailure, format!("of {name}"));
        }
        self.report.mark(since(family.since), What::Verdict, format!("{name} is down: {}", family.reason));
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
        if !matches!(self.machine.phase(), Phase::Injecting | Phase::Holding) {
            return;
        }
        let status = self.setting.status.borrow().clone();
        let Some(status) = status else { return };
        for survivor in &mut self.report.survivors {
            survivor.peak = survivor.peak.max(reported(&status, &survivor.node));
        }
        self.report.observed.utilisation = self.report.survivors.iter().map(|it| it.peak).max();
        let facts = self.former.facts(&status, &self.latest, &self.policy.fleet, &self.tally, self.now_ms());
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
