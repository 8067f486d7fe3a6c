//! Orders and edits against guardrails, and against rules of when things are done.
//!
//! ```text
//!  apply, confirm ─▶ thought through ─▶ broken? planned? ─▶ refused, with figures and the way out
//!  edit in place ──▶ limits at all? ──▶ thought through ─▶ broken? ─▶ on_edit: applied and told, held, refused
//!  rollback ───────▶ taken as it is
//! ```
//! What judges is the policy in force, not the one that is to come: an edit cannot loosen what it is judged by.

use crate::base::clock::WallTime;
use crate::base::diagnostic::did_you_mean;
use crate::base::units::Ppm;
use crate::control::plan::Planned;
use crate::control::policies::{Apply, Refused};
use crate::daemon::inputs::Inputs;
use crate::daemon::planning::{self, Reach};
use crate::daemon::writer::Event;
use crate::history::How;
use crate::model::ids::Revision;
use crate::model::policy::Policy;
use crate::model::preflight::BrokenRule;
use crate::model::safety::{GUARDRAILS, OnEdit};
use crate::model::status::Problem;
use std::path::Path;
use std::sync::mpsc::SyncSender;

/// An apply may move so much more of all clients than was planned,
const MARGIN_PPM: u32 = 20_000;
/// or this part more of what was planned.
const MARGIN_PART: u32 = 4;

const UNKNOWN: &str = "what it would do could not be worked out (the log says why), so guardrails cannot judge it; \
                       --break-glass with the name of one applies it all the same";

/// What is known of an order that may be carried out.
#[derive(Debug, Default)]
pub struct Leave {
    /// Of all clients; `None`: it was not thought through.
    pub moved: Option<Ppm>,
    /// What it breaks knowingly, by name.
    pub broken: Vec<String>,
}

/// Judges an order before anything is written. What cannot be thought through is left to the checks that follow.
pub async fn judge(
    events: &SyncSender<Event>,
    folder: &Path,
    in_force: &Inputs,
    order: &Apply,
) -> Result<Leave, Refused> {
    let Apply { files, how, terms, .. } = order;
    names_rules(&in_force.policy, &terms.break_glass)?;
    let has_moved_on = terms.base.as_ref().is_some_and(|base| *base != in_force.policy.revision);
    if *how == How::Rollback || has_moved_on {
        return Ok(Leave::default());
    }
    let Some(situation) = planning::situation(events).await else { return Ok(Leave::default()) };
    let (folder, files) = (folder.to_owned(), files.clone());
    let thought =
        tokio::task::spawn_blocking(move || planning::think(&situation, &folder, files, Reach::Moves)).await;
    let planned = match thought {
        Ok(Ok(planned)) => planned,
        // The checks that follow say what is wrong with the files.
        Ok(Err(_)) => return Ok(Leave::default()),
        Err(error) => {
            tracing::error!("what an apply would do could not be worked out, please report it: {error}");
            match planning::has_limits(&in_force.policy) && terms.break_glass.is_empty() {
                true => return Err(Refused::Files(UNKNOWN.to_owned())),
                false => return Ok(Leave::default()),
            }
        }
    };
    let now = planned.forecast.moved.clients;
    if let Some(then) = terms.planned.filter(|then| now.0 > then.0 + MARGIN_PPM.max(then.0 / MARGIN_PART)) {
        return Err(Refused::Drifted { planned: then.percent(), now: now.percent() });
    }
    let broken = overridden(planned.broken, &terms.break_glass);
    if broken.iter().any(|it| !it.is_overridden) {
        return Err(Refused::Broken(broken));
    }
    Ok(Leave { moved: Some(now), broken: broken.into_iter().map(|it| it.rule).collect() })
}

fn overridden(mut broken: Vec<BrokenRule>, named: &[String]) -> Vec<BrokenRule> {
    for it in &mut broken {
        it.is_overridden = named.contains(&it.rule);
    }
    broken
}

/// Whether all of these are guardrails or rules that there are.
fn names_rules(policy: &Policy, named: &[String]) -> Result<(), Refused> {
    let known = || GUARDRAILS.into_iter().chain(policy.safety.iter().map(|rule| rule.name.as_str()));
    let Some(name) = named.iter().find(|name| !known().any(|rule| rule == name.as_str())) else {
        return Ok(());
    };
    let near = did_you_mean(name, known()).map(|near| format!("did you mean `{near}`?"));
    let help = near.unwrap_or_else(|| format!("there are {}", known().collect::<Vec<_>>().join(", ")));
    Err(Refused::NoRule { name: name.clone(), help })
}

/// What becomes of files edited in place.
pub enum Verdict {
    /// They are taken into force; what is to be told of it.
    Take(Option<Problem>),
    Hold(Held),
}

/// Files in the folder that are not taken into force.
pub struct Held {
    pub revision: Revision,
    /// By name.
    pub broken: Vec<String>,
    /// As of the policy in force.
    pub on_edit: OnEdit,
    pub problem: Problem,
}

/// Judges an edit in place.
pub async fn judge_edit(
    events: &SyncSender<Event>,
    in_force: &Inputs,
    newer: &Inputs,
    folder: &Path,
) -> Verdict {
    let policy = &in_force.policy;
    if !planning::has_limits(policy) {
        return Verdict::Take(None);
    }
    let Some(situation) = planning::situation(events).await else { return Verdict::Take(None) };
    let (at, thought_of) = (situation.at.1, newer.clone());
    let thought =
        tokio::task::spawn_blocking(move || planning::weigh(&situation, thought_of, Reach::Moves)).await;
    let planned = match thought {
        Ok(Ok(planned)) => planned,
        Ok(Err(_)) => return Verdict::Take(None),
        Err(error) => {
            tracing::error!("what an edit would do could not be worked out, please report it: {error}");
            return Verdict::Take(None);
        }
    };
    if planned.broken.is_empty() {
        return Verdict::Take(None);
    }
    let problem = problem(&planned, policy.guardrails.on_edit, folder, at);
    match policy.guardrails.on_edit {
        OnEdit::Apply => Verdict::Take(Some(problem)),
        on_edit => Verdict::Hold(Held {
            revision: newer.policy.revision.clone(),
            broken: planned.broken.into_iter().map(|it| it.rule).collect(),
            on_edit,
            problem,
        }),
    }
}

fn problem(planned: &Planned, on_edit: OnEdit, folder: &Path, at: WallTime) -> Problem {
    let why: Vec<String> = planned.broken.iter().map(|it| format!("`{}`: {}", it.rule, it.why)).collect();
    let names: Vec<&str> = planned.broken.iter().map(|it| it.rule.as_str()).collect();
    let (why, names, folder) = (why.join("; "), names.join(","), folder.display());
    let Planned { revision, base, .. } = planned;
    match on_edit {
        OnEdit::Apply => Problem {
            since: at,
            code: "edit-over-guardrail".to_owned(),
            message: format!("the edit in force ({revision}) breaks {why}"),
            help: format!("if it was not meant so: rhumb rollback {base} --why '...'"),
        },
        OnEdit::Hold => Problem {
            since: at,
            code: "edit-held".to_owned(),
            message: format!("an edit of the policy folder ({revision}) waits, since it breaks {why}"),
            help: format!(
                "look at it with `rhumb plan {folder}`; then `rhumb apply --confirm {revision} --why '...'`, or \
                 mend the files"
            ),
        },
        OnEdit::Refuse => Problem {
            since: at,
            code: "edit-refused".to_owned(),
            message: format!("an edit of the policy folder ({revision}) is refused, since it breaks {why}"),
            help: format!(
                "mend the files, or `rhumb apply {folder} --break-glass {names} --why '...'`; the last good policy \
                 is in force"
            ),
        },
    }
}
