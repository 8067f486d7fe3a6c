//! Readiness of the running fleet: judged on what the writer plans on, on a thread of its own.
//!
//! ```text
//!  GET /readiness ─▶ Event::Situation ─▶ writer ─▶ Situation ─▶ blocking thread: readiness::judge ─▶ answer
//!        └ a second one meanwhile: 503              └ whoever asked is gone: it ends
//! ```

use crate::base::diagnostic::{SourceFile, did_you_mean};
use crate::control::readiness::{Foresee, Unready};
use crate::daemon::background;
use crate::daemon::writer::{Event, Situation};
use crate::model::policy::Policy;
use crate::model::readiness::{Readiness, ReadinessAsk};
use crate::policy;
use crate::readiness::{self, Depth, Scenario};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::{Semaphore, oneshot};

/// Judged at a time.
const AT_A_TIME: usize = 1;

/// What the admin address asks.
pub fn foresee(events: &SyncSender<Event>) -> Foresee {
    let (events, turns) = (events.clone(), Arc::new(Semaphore::new(AT_A_TIME)));
    Arc::new(move |ask| {
        let (reply, answer) = oneshot::channel();
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            let _ =
                reply.send(Err(Unready::Busy("readiness is being worked out already; ask again".to_owned())));
            return answer;
        };
        let events = events.clone();
        tokio::spawn(async move {
            let Some(situation) = situation(&events).await else {
                let _ = reply.send(Err(Unready::Busy("the writer's queue is full; ask again".to_owned())));
                return;
            };
            let judging = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                background::let_answers_go_first();
                let told = judge(&situation, &ask, || reply.is_closed());
                (reply, told)
            });
            let Ok((reply, told)) = judging.await else { return };
            if let Some(told) = told {
                let _ = reply.send(told);
            }
        });
        answer
    })
}

/// What the writer plans on; `None` when it is too busy or gone.
pub async fn situation(events: &SyncSender<Event>) -> Option<Situation> {
    let (reply, answer) = oneshot::channel();
    events.try_send(Event::Situation { reply }).ok()?;
    answer.await.ok()
}

/// `None`: nobody waits for it any more.
fn judge(
    situation: &Situation,
    ask: &ReadinessAsk,
    is_unwanted: impl Fn() -> bool,
) -> Option<Result<Readiness, Unready>> {
    let asked = &situation.asked;
    let scenario = match scenario(ask, &asked.policy, &asked.sources) {
        Ok(scenario) => scenario,
        Err(why) => return Some(Err(Unready::Wrong(why))),
    };
    let mut progress =
        |_: usize, _: usize| if is_unwanted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    readiness::judge(&asked.input(), &scenario, depth(ask), &mut progress).map(Ok)
}

/// Whose demand is asked for, of a policy and the files it is of.
///
/// # Errors
/// A sentence: there is no such event, or its text has mistakes.
pub fn scenario(ask: &ReadinessAsk, policy: &Policy, sources: &[SourceFile]) -> Result<Scenario, String> {
    let Some(event) = &ask.event else {
        return Ok(ask.factor.map_or_else(Scenario::now, Scenario::factor));
    };
    let with_text = event.text.as_ref().map(|text| policy_with(&event.name, text, sources)).transpose()?;
    let events = &with_text.as_ref().unwrap_or(policy).events;
    let Some(found) = events.iter().find(|it| it.name == event.name) else {
        let known: Vec<&str> = events.iter().map(|it| it.name.as_str()).collect();
        let help = match (did_you_mean(&event.name, known.iter().copied()), known.as_slice()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => "the policy has none; name a file: --event events/NAME.yaml".to_owned(),
            (None, some) => format!("there are {}", some.join(", ")),
        };
        return Err(format!("there is no event `{}`; {help}", event.name));
    };
    let scenario = Scenario::of_event(found);
    Ok(match ask.factor {
        Some(factor) => scenario.times(factor),
        None => scenario,
    })
}

/// The policy of these files with this event.
fn policy_with(name: &str, text: &str, sources: &[SourceFile]) -> Result<Policy, String> {
    let path = format!("events/{name}.yaml");
    let others = sources.iter().filter(|file| file.path != path).cloned();
    let own = SourceFile { path: path.clone(), text: text.to_owned() };
    let files: Vec<SourceFile> = others.chain([own]).collect();
    let (policy, found) = policy::load(&files);
    let mistake = || {
        let first = found.iter().filter(|it| it.is_error()).min_by_key(|it| it.file != path)?;
        let help = first.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        Some(format!("{}: {}{help}", first.place(), first.message))
    };
    policy.ok_or_else(|| mistake().unwrap_or_else(|| format!("{path} cannot be read")))
}

/// How far.
pub const fn depth(ask: &ReadinessAsk) -> Depth {
    if ask.pairs { Depth::PAIRS } else { Depth::SINGLE }
}
