//! Looks at the canary that runs, each second, and has done what they decide.

use super::prepare::rungs;
use super::{BY_ITSELF, KIND, NOT_HELD, Shown};
use crate::audit::{AuditLog, Event as Line};
use crate::base::clock::SharedClock;
use crate::canary::sample::{Ground, Pair};
use crate::canary::{Canary, Decision, Evidence, Stage};
use crate::control::canary::Shown as Seen;
use crate::control::policies::{Course, Order, Turn};
use crate::daemon::planning;
use crate::daemon::writer::{About, Event, Situation};
use crate::history::Shelf;
use crate::model::actor::Role;
use crate::model::ids::NodeId;
use crate::model::safety::{self, Change, SafetyRule};
use crate::model::status::Problem;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const EVERY: Duration = Duration::from_secs(1);

/// What watching takes.
pub struct Look {
    pub events: SyncSender<Event>,
    pub orders: mpsc::Sender<Order>,
    pub shown: Shown,
    pub clock: SharedClock,
    pub history: Arc<Shelf>,
}

/// Watches until its task ends.
pub async fn watch(look: Look) {
    let mut seen = look.shown.canary.subscribe();
    let mut told = None;
    loop {
        let current = seen.borrow_and_update().clone();
        if told != current && look.tell(current.as_deref()).await {
            told.clone_from(&current);
        }
        match current.filter(|canary| canary.stage.is_open()) {
            Some(canary) => {
                look.once(&canary).await;
                let _ = tokio::time::timeout(EVERY, seen.changed()).await;
            }
            // The queue was full: its last word has to be told all the same.
            None if told != *seen.borrow() => tokio::time::sleep(EVERY).await,
            None if seen.changed().await.is_err() => return,
            None => {}
        }
    }
}

/// Writes down how canaries end that nobody ended by hand: those are written down where they are asked for.
pub async fn write_down(mut seen: Seen, audit: Arc<AuditLog>, clock: SharedClock) {
    let (started, mut last) = (clock.wall(), None);
    while seen.changed().await.is_ok() {
        let Some(canary) = seen.borrow_and_update().clone() else { continue };
        let was = last.replace(Arc::clone(&canary)).filter(|was: &Arc<Canary>| was.began == canary.began);
        let is_other = was.as_ref().map(|was| was.stage != canary.stage);
        let (by, is_news) = match &canary.stage {
            Stage::Running => continue,
            Stage::Held { .. } => (BY_ITSELF, is_other == Some(true)),
            // How the last one of a former run ended is written down.
            Stage::Promoted { by, at, .. } | Stage::Aborted { by, at, .. } => {
                (by.as_str(), is_other.unwrap_or(*at >= started))
            }
        };
        if !is_news || by != BY_ITSELF {
            continue;
        }
        let (audit, at) = (Arc::clone(&audit), clock.wall());
        let _ = tokio::task::spawn_blocking(move || {
            let detail = json!({ "canary": canary.id, "revision": canary.revision, "base": canary.base });
            let (who, from) = (BY_ITSELF.to_owned(), "local".to_owned());
            let action = format!("canary {}", canary.stage.word());
            let of = audit.append_or_keep(at, Line::Begun { who, role: Role::Admin, from, action, detail });
            let outcome = json!({ "why": canary.stage.why() });
            audit.append_or_keep(at, Line::Ended { of: of.unwrap_or(0), status: 200, outcome });
        })
        .await;
    }
}

impl Look {
    async fn once(&self, canary: &Canary) {
        let Some(situation) = planning::situation(&self.events).await else { return };
        let pairs = Arc::clone(&self.shown.pairs.borrow());
        let (mut judged, now) = (canary.clone(), situation.at.1);
        let worked_out = tokio::task::spawn_blocking(move || {
            // A situation of before it came into force, or after, says nothing of it.
            if situation.inputs.policy.revision != judged.revision {
                return None;
            }
            match situation.inputs.hold {
                Some(hold) if hold == judged.hold => {}
                // It could not be taken back at the start: that is tried again. One that is being promoted is over
                // by the time this is heard.
                None => return Some((judged, Decision::Abort(NOT_HELD.to_owned()))),
                Some(_) => return None,
            }
            let evidence = evidence(&situation, &judged, &pairs);
            let decision = judged.judge(now, &evidence);
            Some((judged, decision))
        });
        let Ok(Some((judged, decision))) = worked_out.await else { return };
        if judged.look != canary.look {
            tracing::info!(
                id = judged.id,
                look = judged.look.map(|look| look.number),
                "looked at the canary"
            );
            self.shown.canary.send_if_modified(|shown| {
                let is_same =
                    shown.as_deref().is_some_and(|it| it.began == judged.began && it.stage == judged.stage);
                if is_same {
                    *shown = Some(Arc::new(judged.clone()));
                }
                is_same
            });
        }
        let (to, why) = match decision {
            Decision::GoOn => return,
            Decision::Hold(why) => (Course::Hold, why),
            Decision::Promote(why) => (Course::Promote, why),
            Decision::Abort(why) => (Course::Abort, why),
        };
        self.turn(&judged, to, why).await;
    }

    async fn turn(&self, canary: &Canary, to: Course, why: String) {
        tracing::warn!(id = canary.id, ?to, "{}: {why}", canary.told());
        let (reply, answer) = oneshot::channel();
        let turn = Turn { of: Some(canary.began), to, who: BY_ITSELF.to_owned(), why: why.clone(), reply };
        if self.orders.send(Order::Canary(turn)).await.is_err() {
            return;
        }
        if let Ok(Err(refused)) = answer.await {
            tracing::error!("{} could not be ended: {refused}", canary.told());
            self.problem(Some(Problem {
                since: self.clock.wall(),
                code: "canary-stuck".to_owned(),
                message: format!("{} should end ({why}), and cannot: {refused}", canary.told()),
                help: "it is tried again each second; mend what is told, or `rhumb canary abort --why '...'`"
                    .to_owned(),
            }));
        }
    }

    /// Status, problems and the record in the history, of what is so now; whether all of them know.
    async fn tell(&self, canary: Option<&Canary>) -> bool {
        let Some(canary) = canary else { return true };
        let held = matches!(canary.stage, Stage::Held { .. }).then(|| Problem {
            since: self.clock.wall(),
            code: "canary-held".to_owned(),
            message: format!("{} waits: {}", canary.told(), canary.stage.why().unwrap_or_default()),
            help: "look at `rhumb canary`; then `rhumb canary promote --why '...'` or `rhumb canary abort --why '...'`"
                .to_owned(),
        });
        let is_shown = self.events.try_send(Event::Canary(Box::new(canary.brief()))).is_ok();
        let is_told = self.problem(held);
        // One after the other: the newest word has to be the last.
        self.keep(canary.clone()).await;
        is_shown && is_told
    }

    fn problem(&self, problem: Option<Problem>) -> bool {
        let problems = problem.into_iter().collect();
        self.events.try_send(Event::Problems { about: About::Canary, problems }).is_ok()
    }

    async fn keep(&self, canary: Canary) {
        let (history, now) = (Arc::clone(&self.history), self.clock.wall());
        let keeping = tokio::task::spawn_blocking(move || {
            let document = serde_json::to_string(&canary).unwrap_or_default();
            let ended = (!canary.stage.is_open()).then_some(now);
            let kept = history.history().map(|history| history.rewrite(KIND, canary.id, &document, ended));
            if let Ok(Err(error)) | Err(error) = kept {
                tracing::warn!("the record of the canary is not as it should be: {error}");
            }
        });
        let _ = keeping.await;
    }
}

fn evidence(situation: &Situation, canary: &Canary, pairs: &[Pair]) -> Evidence {
    let (policy, at) = (&situation.inputs.policy, situation.at.1);
    let health = situation.health.view();
    let gaining: Vec<NodeId> =
        canary.gaining.keys().filter_map(|name| policy.fleet.node_named(name)).collect();
    let verdicts =
        gaining.iter().map(|node| (policy.fleet.node(*node).name.clone(), health[node.index()].verdict()));
    let rules: Vec<SafetyRule> = policy.safety.iter().filter(|rule| rule.is_of_time()).cloned().collect();
    // Whoever they leave is touched as much as whoever they come to.
    let changed = policy.services.iter().filter(|service| canary.services.contains(&service.name));
    let members = changed.flat_map(|service| service.pools.iter().flat_map(|pool| &pool.members));
    let touched: Vec<NodeId> = members.map(|member| member.node).collect();
    let change = Change { policy, before: &health, after: &health, touched: &touched, at };
    let broken = safety::judge(&rules, &change);
    let ground = Ground {
        policy,
        groups: situation.inputs.geo.groups(),
        latencies: &situation.asked.latencies,
        assignment: situation.asked.question.previous.as_deref().unwrap_or(&situation.live.assignment),
    };
    Evidence {
        verdicts: verdicts.collect(),
        rungs: rungs(&situation.asked.question.memory, policy),
        is_frozen: situation.health.freeze().is_some(),
        forbidden: broken.first().map(|it| format!("rule `{}` speaks against it: {}", it.rule, it.why)),
        samples: canary.look_due(at).map(|_| ground.look(pairs)),
    }
}
