//! What becomes of a plan: judged before it is offered, and told after.

use super::{About, Writer, is_new};
use crate::daemon::publish::Outcome;
use crate::model::account::Account;
use crate::model::status::Problem;
use crate::routing::Snapshot;
use crate::routing::judge::Case;

impl Writer {
    /// What speaks against publishing the plan of `candidate`: wrong answers. What moves too much or overloads
    /// a node is published all the same, and told. A plan that changes no answer is looked at only while
    /// there is something to take back. Returns what it moves by choice, parts per billion of all demand.
    pub(super) fn judged(
        &mut self,
        candidate: &Snapshot,
        account: &Account,
        now_ms: u64,
    ) -> Result<u64, Vec<String>> {
        if candidate.same_content(&self.publisher.snapshot()) && !self.reporter.has(About::Plan) {
            return Ok(0);
        }
        let said = (self.judge)(&Case {
            policy: &self.inputs.planned,
            groups: self.inputs.geo.groups(),
            reach: candidate.reach(),
            cause: &candidate.provenance.cause,
            before: Some(&self.assignment),
            plan: &candidate.assignment,
            account,
            movements: &self.movements,
            now_ms,
        });
        if !said.answers.is_empty() {
            return Err(said.answers);
        }
        let mut problems = Vec::new();
        if !said.balance.is_empty() {
            let state = "it is published, since no table before it is better";
            let told = self.defect("a plan breaks its promises", &said.balance, state);
            problems.push(self.logged(Problem { code: "plan-faulted".to_owned(), ..told }));
        }
        self.reporter.set_problems(About::Plan, problems);
        Ok(said.moved_ppb)
    }

    /// Tells what became of a candidate and keeps what a restart needs.
    pub(super) fn settle(&mut self, outcome: &Outcome, former: &Snapshot) {
        if let Outcome::Refused(findings) = outcome {
            return self.table_faulted(
                findings,
                "a rebuilt table was not published",
                "the last good table answers",
            );
        }
        let is_published = is_new(outcome);
        if is_published {
            self.reporter.record(Some(former), &self.publisher.snapshot(), self.counting.shares());
        }
        match outcome {
            Outcome::Held { findings, .. } => self.table_faulted(
                findings,
                "a rebuilt table was published without some services",
                "for those the last good table answers",
            ),
            _ => self.reporter.set_problems(About::Table, Vec::new()),
        }
        if matches!(outcome, Outcome::Published) {
            self.reporter.set_problems(About::FirstTable, Vec::new());
        }
        if !is_published && !self.verdicts_moved {
            return;
        }
        self.verdicts_moved = false;
        self.keep_table();
    }

    fn table_faulted(&mut self, findings: &[String], what: &str, state: &str) {
        let told = self.defect(what, findings, state);
        let problem = self.logged(Problem { code: "table-refused".to_owned(), ..told });
        self.reporter.set_problems(About::Table, vec![problem]);
    }

    /// A problem that no operator made, without its code.
    fn defect(&self, what: &str, findings: &[String], state: &str) -> Problem {
        Problem {
            since: self.clock.wall(),
            code: String::new(),
            message: format!("{what}: {}", findings.join("; ")),
            help: format!("{state}; this is a defect of rhumb, please report it"),
        }
    }

    /// Logs it if it is new.
    fn logged(&self, problem: Problem) -> Problem {
        if !self.reporter.knows(&problem) {
            tracing::error!("{}", problem.message);
        }
        problem
    }
}
