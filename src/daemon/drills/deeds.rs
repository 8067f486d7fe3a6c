//! What a drill does to the fleet, and how it is taken back: overrides through the writer, programs of the operator's.
//!
//! Nothing is done before the record says how to take it back; what is an override ends by itself besides.

use super::Setting;
use super::hook;
use crate::control::overrides::Answer;
use crate::daemon::writer::Event;
use crate::drill::report::Traces;
use crate::model::actor::{Actor, Role};
use crate::model::overrides::{
    Action, OverrideAsk, OverrideDone, OverrideId, OverrideRefusal, OverrideRequest, OverrideStatus, Target,
};
use crate::model::status::{NodeStatus, Status};
use crate::model::verdict::Verdict;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;
use tokio::sync::oneshot;

/// Beyond its planned end an override of a drill holds for so long: whatever happens, nothing stays for ever.
pub const MARGIN: Duration = Duration::from_secs(60);
/// What overrides of drills are owned by begins so.
pub const OWNER: &str = "drill ";
/// After the restoration its nodes may take so long to be well again.
const AFTERMATH: Duration = Duration::from_secs(300);
/// Between attempts to tell the writer, of which there are so many.
const AGAIN: Duration = Duration::from_millis(100);
const MARK_ATTEMPTS: u32 = 50;
/// Longest that the writer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// An override to be set.
pub struct Withdrawal<'a> {
    pub action: Action,
    pub target: &'a Target,
    pub lasts: Duration,
    pub break_glass: &'a [String],
}

impl Setting {
    /// Has nodes withdrawn by an override, which ends by itself.
    ///
    /// # Errors
    /// A sentence: it is not set.
    pub async fn withdraw(&self, traces: &Traces, it: Withdrawal<'_>) -> Result<OverrideDone, String> {
        let request = OverrideRequest {
            action: it.action,
            target: it.target.to_string(),
            for_s: (it.lasts + MARGIN).as_secs(),
            reason: traces.reason.clone(),
            break_glass: it.break_glass.to_vec(),
            dry_run: false,
        };
        let (done, kept) = match self.say(OverrideAsk::Set(request), &traces.owner).await? {
            Ok(done) => done,
            Err(OverrideRefusal::Wrong(why) | OverrideRefusal::Unknown(why)) => return Err(why),
            Err(OverrideRefusal::Broken(told)) => {
                let rules: Vec<String> =
                    told.forbids().map(|it| format!("rule `{}`: {}", it.rule, it.why)).collect();
                return Err(rules.join("; "));
            }
        };
        // It is in force; that a restart knows of it too is not waited for any longer.
        if let Some(kept) = kept {
            let _ = tokio::time::timeout(Duration::from_secs(2), kept).await;
        }
        Ok(done)
    }

    /// Takes everything back that is there; what is left of it stays in `traces`.
    ///
    /// # Errors
    /// A sentence: not everything could be taken back.
    pub async fn restore(&self, traces: &mut Traces) -> Result<(), String> {
        let mut failed = Vec::new();
        for id in std::mem::take(&mut traces.overrides) {
            if let Err(why) = self.cancel(id, &traces.owner).await {
                failed.push(why);
                traces.overrides.push(id);
            }
        }
        for target in std::mem::take(&mut traces.broken).into_iter().rev() {
            let timeout = Duration::from_millis(traces.heal_timeout_ms);
            if let Err(why) = hook::run(&traces.heal, &target, &self.policies, timeout).await {
                failed.push(why);
                traces.broken.insert(0, target);
            }
        }
        traces.is_restored = failed.is_empty();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    async fn cancel(&self, id: u64, owner: &str) -> Result<(), String> {
        let reason = Some("the drill is over".to_owned());
        match self.say(OverrideAsk::Cancel { id: OverrideId(id), reason }, owner).await? {
            // It ended by itself, or somebody else ended it.
            Ok(_) | Err(OverrideRefusal::Unknown(_)) => Ok(()),
            Err(_) => Err(format!("override {id} could not be cancelled")),
        }
    }

    /// What is judged of these nodes is the run's from now on. Where it has none any more that is never given up:
    /// otherwise they were the drill's for ever.
    pub async fn mark(&self, run: u64, nodes: Vec<String>) {
        let mut attempts = 0_u32;
        while nodes.is_empty() || attempts < MARK_ATTEMPTS {
            attempts += 1;
            let event = Event::Drilled { run, nodes: nodes.clone() };
            if !matches!(self.events.try_send(event), Err(TrySendError::Full(_))) {
                // It is taken, or the writer is gone.
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
        tracing::error!(run, "the writer is too busy to be told which nodes a drill has");
    }

    /// Lets go of a run's nodes once they are well again, or have had their time: what is wrong with them then is
    /// not the drill's any more.
    pub async fn let_go(self, run: u64, nodes: Vec<String>) {
        let mut status = self.status.clone();
        let nodes: BTreeSet<String> = nodes.into_iter().collect();
        let is_well = |status: &Option<Arc<Status>>| {
            let of = |node: &&NodeStatus| nodes.contains(&node.name);
            let up = |node: &NodeStatus| node.health.best().is_none_or(|best| best.verdict == Verdict::Up);
            status.as_ref().is_some_and(|status| status.nodes.iter().filter(of).all(up))
        };
        let waited = tokio::time::timeout(AFTERMATH, status.wait_for(is_well)).await.is_err();
        if waited {
            tracing::warn!(run, "nodes of the drill are not well yet, which is not the drill's any more");
        }
        self.mark(run, Vec::new()).await;
    }

    /// Overrides that drills of this or a former process have set and that are in force.
    pub fn left_behind(&self) -> Vec<OverrideStatus> {
        let status = self.status.borrow();
        let all = status.as_ref().map_or(&[][..], |status| &status.overrides);
        all.iter().filter(|it| it.set.owner.starts_with(OWNER)).cloned().collect()
    }

    async fn say(&self, ask: OverrideAsk, owner: &str) -> Result<Answer, String> {
        let by = Actor { name: owner.to_owned(), role: Role::Operator };
        let (reply, answer) = oneshot::channel();
        let event = Event::Override { ask: Box::new(ask), by, reply };
        if self.events.try_send(event).is_err() {
            return Err("the writer is too busy".to_owned());
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("the writer has ended".to_owned()),
            Err(_) => Err("the writer does not answer".to_owned()),
        }
    }
}
