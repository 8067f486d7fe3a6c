//! Files edited in place that guardrails or rules speak against: told, held, confirmed.

use super::Reader;
use crate::control::policies::{Apply, Confirm, Refused};
use crate::daemon::inputs::Inputs;
use crate::daemon::rails::{self, Verdict};
use crate::daemon::writer::{About, Event};
use crate::history::How;
use crate::model::safety::OnEdit;
use crate::model::status::Problem;
use crate::store::policy_dir;
use std::path::Path;

impl Reader {
    /// Takes up files edited in place, unless policy holds them back; whether it did.
    pub(super) async fn take_edit(&mut self, newer: Inputs, what: String, folder: &Path) -> bool {
        if self.held.as_ref().is_some_and(|held| held.revision == newer.policy.revision) {
            return false;
        }
        if let Some(held) = self.waits_for_canary(&newer.policy, folder) {
            self.tell(Some(held.problem.clone()));
            self.held = Some(held);
            return false;
        }
        // What an event brings with it, and other geo data, are no edits.
        let verdict = match newer.policy.revision == self.inputs.policy.revision {
            true => Verdict::Take(None),
            false => rails::judge_edit(&self.events, &self.inputs, &newer, folder).await,
        };
        match verdict {
            Verdict::Take(problem) => {
                self.let_go();
                let is_taken = self.take_up(newer, what, None).await;
                self.tell(problem.filter(|_| is_taken));
                true
            }
            Verdict::Hold(held) => {
                self.tell(Some(held.problem.clone()));
                self.held = Some(held);
                false
            }
        }
    }

    /// Nothing is held back any more, and nothing told of what was.
    pub(super) fn let_go(&mut self) {
        self.held = None;
        self.tell(None);
    }

    fn tell(&self, problem: Option<Problem>) {
        if let Some(problem) = &problem {
            tracing::warn!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        let problems = problem.into_iter().collect();
        let _ = self.events.try_send(Event::Problems { about: About::Edit, problems });
    }

    /// The order to apply what is held, if it is what somebody confirms.
    pub(super) async fn confirmed(&self, folder: &Path, order: Confirm) -> Option<Apply> {
        let Confirm { revision, who, mut terms, reply } = order;
        let held = self.held.as_ref().filter(|held| held.revision.0.starts_with(revision.as_str()));
        let of_canary = self.against(How::Apply).map(|refused| refused.to_string());
        let why_not = match held {
            _ if of_canary.is_some() => of_canary,
            _ if revision.is_empty() => Some("name the revision, as `rhumb status` tells it".to_owned()),
            None => Some(format!("no edit of revision {revision} waits: `rhumb status` tells which does")),
            Some(held) if held.on_edit == OnEdit::Refuse => Some(held.problem.help.clone()),
            Some(_) => None,
        };
        if let Some(why) = why_not {
            let _ = reply.send(Err(Refused::NotHeld(why)));
            return None;
        }
        terms.break_glass.extend(held.map(|held| held.broken.clone()).unwrap_or_default());
        let folder = folder.to_owned();
        let read = tokio::task::spawn_blocking(move || policy_dir::read_folder(&folder)).await;
        match read {
            Ok(Ok(files)) => Some(Apply { files, how: How::Apply, who, terms, reply }),
            _ => {
                let _ = reply.send(Err(Refused::NotHeld("the folder cannot be read".to_owned())));
                None
            }
        }
    }
}
