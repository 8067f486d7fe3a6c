//! The situation that a start with a state folder would begin in, without starting anything.
//!
//! Nothing is locked and nothing is written: the folder may be a copy, or that of a running rhumb.

use crate::base::clock::SharedClock;
use crate::base::error::chain;
use crate::daemon::canary;
use crate::daemon::first::{self, Former};
use crate::daemon::inputs::{Inputs, Loader, StateFolder};
use crate::daemon::planning::{self, Reach};
use crate::daemon::writer::Situation;
use crate::model::safety::OnEdit;
use crate::policy;
use crate::routing;
use crate::store::state_dir::{Found, StateDir};
use std::path::Path;

/// Of what `state` keeps; `folder` is the policy folder, for what policies name beside themselves.
///
/// # Errors
/// A sentence: it keeps no policy or no table, or none that can be read.
pub fn situation(state: &Path, folder: &Path, clock: &SharedClock) -> Result<Situation, String> {
    let kept = StateDir::open_held(state);
    let name = state.display();
    let none = |what: &str| {
        format!(
            "{name} keeps no {what}; name the state folder of a rhumb that has been running (`state:` of rhumb.yaml)"
        )
    };
    let inputs = kept.recall_inputs()?.ok_or_else(|| none("policy"))?.value;
    let table = kept.recall_table()?.ok_or_else(|| none("table"))?.value;
    let mut loader = Loader::new(folder).recalling(StateFolder::Given(state.to_owned())).by(clock);
    let inputs = loader
        .load_kept(inputs)
        .map_err(|why| format!("the policy kept in {name} is of no use: {}", why.sentence()))?;
    let former = Former {
        table: Some(table),
        is_history_lost: false,
        latencies: value(kept.recall_latencies()),
        demand: value(kept.recall_demand()),
        overrides: value(kept.recall_overrides()).unwrap_or_default(),
    };
    let first = first::first_table(inputs, &former, || None, clock, routing::findings)
        .map_err(|error| chain(&error))?;
    Ok(Situation::of_first(first, clock))
}

/// The last good inputs that `kept` has, where their policy holds back what has come into the folder since: `newer` would
/// break a guardrail, or a canary is running. Who reads the folder judges it again on what is live then, and tells.
pub fn held_back(kept: &StateDir, folder: &Path, newer: &Inputs, clock: &SharedClock) -> Option<Inputs> {
    let last = kept.recall_inputs().ok().flatten()?.value;
    if last.revision == newer.policy.revision {
        return None;
    }
    if canary::waits(kept.path(), &last.revision, &newer.policy.revision) {
        return situation(kept.path(), folder, clock).ok().map(|situation| situation.inputs);
    }
    let policy = policy::load(&last.files).0?;
    if policy.guardrails.on_edit == OnEdit::Apply || !planning::has_limits(&policy) {
        return None;
    }
    let situation = situation(kept.path(), folder, clock).ok()?;
    let planned = planning::weigh(&situation, newer.clone(), Reach::Moves).ok()?;
    (!planned.broken.is_empty()).then_some(situation.inputs)
}

/// What cannot be read is done without, as at a start.
fn value<T>(found: Result<Option<Found<T>>, String>) -> Option<T> {
    found.ok().flatten().map(|found| found.value)
}
