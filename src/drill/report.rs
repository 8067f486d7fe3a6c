//! The report of a drill: what was expected, what was seen, when what happened. It is kept as it goes on, and is what
//! a restart restores by.
//!
//! Names, not ids: it is read long after the policy has changed. Bounded whatever the drill does.

use super::machine::{Ending, Phase};
use super::recovery::Quantiles;
use crate::base::clock::WallTime;
use crate::base::units::{Micros, Ppm};
use crate::model::preflight::Preflight;
use serde::{Deserialize, Serialize};

/// Bumped when the shape changes in a way that readers have to know.
pub const FORMAT: u32 = 1;
/// Of the curve; with more, every other is dropped.
pub const MOST_POINTS: usize = 600;
/// Of the timeline.
pub const MOST_MARKS: usize = 200;
/// Nodes that are shown with their load.
pub const MOST_SURVIVORS: usize = 12;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    pub id: u64,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who started it.
    pub by: String,
    /// The date of its schedule that it was begun for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<WallTime>,
    /// Rules that it broke, which they named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    pub fault: String,
    pub targets: Vec<String>,
    pub nodes: Vec<String>,
    /// Those that are asked for.
    pub services: Vec<String>,
    /// Of the policy in force at its start.
    pub revision: String,
    pub phase: String,
    /// `None`: it goes on.
    pub ending: Option<Ending>,
    pub began_at: WallTime,
    pub ended_at: Option<WallTime>,
    /// From its beginning to its end, as planned.
    pub planned_ms: u64,
    pub tier: Tier,
    pub traces: Traces,
    pub sample: Sample,
    pub predicted: Measures,
    pub observed: Measures,
    /// Answers by part of the drill.
    pub answers: Answers,
    /// The most frequent first.
    pub failures: Vec<Failure>,
    /// Where clients went, of each service's demand.
    pub ways: Vec<WayShare>,
    /// Nodes that were no targets, the fullest first.
    pub survivors: Vec<Survivor>,
    pub timeline: Vec<Mark>,
    pub curve: Vec<Point>,
    /// What was said before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
}

/// What was promised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    pub name: String,
    pub limit_s: u64,
}

/// What it leaves behind while it runs, to be taken away whoever does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// Of its overrides.
    pub owner: String,
    pub reason: String,
    pub overrides: Vec<u64>,
    /// Targets for which a program was run, or was about to be, and none has healed them.
    pub broken: Vec<String>,
    /// What heals a target; empty: nothing has to be.
    pub heal: Vec<String>,
    pub heal_timeout_ms: u64,
    pub is_restored: bool,
}

/// Who was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub seed: u64,
    pub clients: u32,
    /// Client groups that they are of.
    pub groups: u32,
    /// Clients times services.
    pub pairs: u32,
    /// Time in which each is asked for once: what times are seen to.
    pub round_ms: u64,
}

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// Part of the demand that loses its node.
    pub affected: Ppm,
    /// Until the server answers them right.
    pub answered: Quantiles,
    /// Until resolvers' caches do: a model of the caches over what the server does.
    pub followed: Quantiles,
    /// Planned round trips before it, and at their worst in it; `None`: nobody has one.
    pub before: Option<Latency>,
    pub during: Option<Latency>,
    /// Planned, of the fullest survivor.
    pub utilisation: Option<Ppm>,
}

impl Measures {
    /// 99 % of the clients behind their caches.
    pub fn rto_ms(&self) -> Option<u64> {
        self.followed.p99_ms
    }
}

/// Round trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub mean: Micros,
    pub p95: Micros,
}

/// By part of the drill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub before: Counts,
    pub during: Counts,
    pub after: Counts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub answers: u64,
    pub failed: u64,
    /// As newcomers are answered by a full service.
    pub shed: u64,
}

/// Answers that failed alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub why: String,
    pub count: u64,
    pub first_ms: u64,
    pub last_ms: u64,
    /// Who asked for what.
    pub example: String,
}

/// From region to region, of a service's demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayShare {
    pub service: String,
    pub from: Option<String>,
    /// `None`: no node is left to them.
    pub to: Option<String>,
    pub predicted: Ppm,
    pub observed: Ppm,
}

/// How full a node that is no target was planned to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    pub node: String,
    pub before: Ppm,
    pub predicted: Ppm,
    /// Highest of what was in force.
    pub peak: Ppm,
    pub cap: Ppm,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Since the drill began.
    pub at_ms: u64,
    pub what: What,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Began,
    /// A target's fault.
    Injected,
    /// Of a node that a program broke.
    FirstFailure,
    Verdict,
    /// A table without a target's nodes.
    Published,
    /// The first client that lost its node is answered right.
    FirstGood,
    /// By so many per cent of them.
    Moved,
    Ended,
    Restored,
    Note,
}

impl What {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Injected => "injected",
            Self::FirstFailure => "first failing probe",
            Self::Verdict => "verdict",
            Self::Published => "table",
            Self::FirstGood => "first good answer",
            Self::Moved => "moved",
            Self::Ended => "ended",
            Self::Restored => "restored",
            Self::Note => "note",
        }
    }
}

/// How far clients are at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub at_ms: u64,
    /// Of those who lost their node: answered right by the server,
    pub moved: Ppm,
    /// and by their resolver.
    pub followed: Ppm,
    /// Since the point before.
    pub answers: u64,
    pub failed: u64,
}

/// What a drill has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As planned, and recovered within the tier.
    Within,
    /// As planned, and not recovered within the tier.
    Over,
    /// As planned, and nobody who was asked for was on the targets.
    Unmeasured,
    /// Given up by a guardrail.
    Guardrail,
    Aborted,
    Failed,
    /// The daemon was stopped, or was ended, in the middle of it.
    Interrupted,
}

impl Verdict {
    pub const fn told(self) -> &'static str {
        match self {
            Self::Within => "recovered within the tier",
            Self::Over => "not recovered within the tier",
            Self::Unmeasured => "nobody who was asked for was on the targets",
            Self::Guardrail => "given up by a guardrail",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted, and restored",
        }
    }
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: u64,
    pub name: String,
    pub by: String,
    pub began_at: WallTime,
    pub ended_at: Option<WallTime>,
    pub phase: String,
    pub verdict: Option<Verdict>,
    pub rto_ms: Option<u64>,
    pub predicted_rto_ms: Option<u64>,
    pub tier: Tier,
    pub answers: u64,
    pub failed: u64,
}

impl Report {
    /// `None`: it goes on.
    pub fn verdict(&self) -> Option<Verdict> {
        let limit_ms = self.tier.limit_s * 1_000;
        Some(match self.ending.as_ref().filter(|_| self.ended_at.is_some())? {
            Ending::Completed if self.observed.affected == Ppm::ZERO => Verdict::Unmeasured,
            Ending::Completed if self.observed.rto_ms().is_some_and(|rto| rto <= limit_ms) => Verdict::Within,
            Ending::Completed => Verdict::Over,
            Ending::Guardrail { .. } => Verdict::Guardrail,
            Ending::Aborted { .. } => Verdict::Aborted,
            Ending::Failed { .. } => Verdict::Failed,
            Ending::Stopped | Ending::Crashed => Verdict::Interrupted,
        })
    }

    pub fn summary(&self) -> Summary {
        let Answers { before, during, after } = &self.answers;
        let sum = |of: fn(&Counts) -> u64| [before, during, after].into_iter().map(of).sum();
        Summary {
            id: self.id,
            name: self.name.clone(),
            by: self.by.clone(),
            began_at: self.began_at,
            ended_at: self.ended_at,
            phase: self.phase.clone(),
            verdict: self.verdict(),
            rto_ms: self.observed.rto_ms(),
            predicted_rto_ms: self.predicted.rto_ms(),
            tier: self.tier.clone(),
            answers: sum(|it| it.answers),
            failed: sum(|it| it.failed),
        }
    }

    /// Adds to the timeline, which stays in order.
    pub fn mark(&mut self, at_ms: u64, what: What, detail: impl Into<String>) {
        if self.timeline.len() < MOST_MARKS {
            let at = self.timeline.partition_point(|mark| mark.at_ms <= at_ms);
            self.timeline.insert(at, Mark { at_ms, what, detail: detail.into() });
        }
    }

    /// Whether something of the kind has happened.
    pub fn has(&self, what: What) -> bool {
        self.timeline.iter().any(|mark| mark.what == what)
    }

    /// Adds to the curve, and thins it out when it becomes too long.
    pub fn draw(&mut self, point: Point) {
        self.curve.push(point);
        if self.curve.len() <= MOST_POINTS {
            return;
        }
        let mut thin = Vec::with_capacity(self.curve.len() / 2 + 1);
        for pair in self.curve.chunks(2) {
            let last = pair[pair.len() - 1];
            let sum = |of: fn(&Point) -> u64| pair.iter().map(of).sum();
            thin.push(Point { answers: sum(|it| it.answers), failed: sum(|it| it.failed), ..last });
        }
        self.curve = thin;
    }

    pub fn set_phase(&mut self, phase: Phase) {
        phase.name().clone_into(&mut self.phase);
    }

    /// The record of a process that was ended in the middle of it, once what it left is taken away.
    pub fn close_after_crash(&mut self, at: WallTime, restored: &str) {
        let at_ms = at.0.saturating_sub(self.began_at.0);
        if self.ending.is_none() {
            self.ending = Some(Ending::Crashed);
            self.mark(at_ms, What::Ended, Ending::Crashed.told());
        }
        self.mark(at_ms, What::Restored, restored);
        self.traces.is_restored = true;
        self.ended_at = Some(at);
        self.set_phase(Phase::Over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ending: Ending, rto_ms: Option<u64>) -> Report {
        let followed = Quantiles { p99_ms: rto_ms, ..Quantiles::default() };
        let observed = Measures { affected: Ppm(1), followed, ..Measures::default() };
        let tier = Tier { name: "5m".to_owned(), limit_s: 300 };
        Report { ending: Some(ending), observed, tier, ended_at: Some(WallTime(9)), ..Report::default() }
    }

    #[test]
    fn a_verdict_goes_by_the_end_and_the_tier() {
        let guardrail = || Ending::Guardrail { rail: "quorum".to_owned(), why: String::new() };
        for (report, verdict) in [
            (report(Ending::Completed, Some(300_000)), Some(Verdict::Within)),
            (report(Ending::Completed, Some(300_001)), Some(Verdict::Over)),
            (report(Ending::Completed, None), Some(Verdict::Over)),
            (report(guardrail(), Some(1)), Some(Verdict::Guardrail)),
            (report(Ending::Crashed, Some(1)), Some(Verdict::Interrupted)),
            (Report { ended_at: None, ..report(Ending::Completed, Some(1)) }, None),
        ] {
            assert_eq!(report.verdict(), verdict, "{:?}", report.ending);
        }
        let nobody = Measures::default();
        let unmeasured = Report { observed: nobody, ..report(Ending::Completed, None) };
        assert_eq!(unmeasured.verdict(), Some(Verdict::Unmeasured));
    }

    #[test]
    fn it_stays_bounded_and_in_order_and_reads_itself() {
        let mut report = Report::default();
        for second in 0..5_000 {
            report.draw(Point { at_ms: second * 1_000, answers: 2, failed: 1, ..Point::default() });
            report.mark(5_000 - second, What::Note, "something");
        }
        assert!(report.curve.len() <= MOST_POINTS && report.curve.is_sorted_by_key(|point| point.at_ms));
        assert_eq!(report.curve.iter().map(|point| point.answers).sum::<u64>(), 10_000, "nothing is lost");
        assert!(report.timeline.len() == MOST_MARKS && report.timeline.is_sorted_by_key(|mark| mark.at_ms));
        report.close_after_crash(WallTime(7), "by a restart");
        let text = serde_json::to_string(&report).expect("JSON");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("reads itself"), report);
        assert_eq!(report.verdict(), Some(Verdict::Interrupted));
    }
}
