//! What a start begins with: the inputs in force or those before them, and what a former run kept.

use crate::base::clock::SharedClock;
use crate::daemon::canary;
use crate::daemon::first::{self, FirstTable, Former};
use crate::daemon::inputs::{self, Loaded, Loader, Refusal, StateFolder};
use crate::daemon::offline;
use crate::daemon::overrides::OverrideBook;
use crate::daemon::start::{Options, StartError};
use crate::daemon::writer::About;
use crate::model::overrides::KeptOverrides;
use crate::model::policy::ServerConfig as Settings;
use crate::model::status::Problem;
use crate::routing;
use crate::serve::handover::Line;
use crate::store::policy_write;
use crate::store::state_dir::{Found, KeptInputs, StateDir, StateError};
use std::path::Path;
use std::time::Duration;

/// How long a successor waits for a process that has the state folder and hands over to nobody: one that
/// has only just started, or is about to end.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const HANDOVER_LOOK: Duration = Duration::from_millis(20);

/// What a start begins with.
pub struct Recovered {
    pub state: StateDir,
    pub loader: Loader,
    pub first: FirstTable,
    pub problems: Vec<(About, Problem)>,
    /// To the process whose place this one is to take.
    pub predecessor: Option<Line>,
}

/// Inputs from the folder, or else the last good ones; and the last good table.
pub fn recover(options: &Options, clock: &SharedClock) -> Result<Recovered, StartError> {
    let state_folder = options.state.clone().map_or(StateFolder::Configured, StateFolder::Given);
    let mut loader =
        Loader::new(&options.policies).recalling(state_folder).steering(options.strategy).by(clock);
    let mut loaded = loader.load();
    let configured = || inputs::settings_of(&options.policies).map(|server| server.state_dir);
    let in_force = || loaded.inputs.as_ref().map(|it| it.policy.server.state_dir.clone());
    let folder = options.state.clone().or_else(in_force).or_else(configured);
    let folder = folder.unwrap_or_else(|| Settings::default().state_dir);
    let Opened { state, unwritable, predecessor } = open(&folder, options.takeover)?;
    let mut problems = Problems { clock, found: Vec::new() };
    if predecessor.is_none() {
        match policy_write::finish(&options.policies, &folder) {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!("finished an apply that a crash had left half done");
                loaded = loader.load();
            }
            Err(why) => problems.found.push((About::Recovery, half_applied(&why, clock))),
        }
    }

    if !loaded.refusals.is_empty() {
        let kept = problems.unwrap(state.recall_inputs());
        loaded = fall_back(&mut loader, loaded, kept)?;
    }
    problems
        .found
        .extend(loaded.refusals.iter().map(|refusal| (About::Inputs, refusal.problem(clock.wall()))));
    if let Some(newer) = loaded.inputs.as_ref().filter(|_| loaded.refusals.is_empty())
        && let Some(last) = offline::held_back(&state, &options.policies, newer, clock)
    {
        tracing::warn!(
            "an edit made since breaks a guardrail or would mix with a canary: starting with the last good policy"
        );
        loaded.inputs = Some(last);
    }
    let Some(inputs) = loaded.inputs else {
        let none = || Refusal::Unreadable("there is no policy".to_owned());
        return Err(StartError::Inputs(loaded.refusals.pop().unwrap_or_else(none)));
    };
    let hold = canary::hold_of(&folder, &inputs.policy.revision);
    let inputs = inputs::Inputs { hold, ..inputs };
    let recalled = state.recall_table();
    // What was published while nothing could be kept is not known either.
    let is_history_lost = recalled.is_err() || unwritable.is_some() && matches!(recalled, Ok(None));
    let latencies = problems.unwrap(state.recall_latencies());
    let demand = problems.unwrap(state.recall_demand());
    let overrides = problems.overrides(state.recall_overrides());
    let former = Former { table: problems.unwrap(recalled), is_history_lost, latencies, demand, overrides };
    let kept = || {
        let kept = state.recall_inputs().ok().flatten()?.value;
        let inputs = loader.load_kept(kept).ok()?;
        Some(inputs)
    };
    let first = first::first_table(inputs, &former, kept, clock, routing::findings)?;
    Ok(Recovered { state, loader, first, problems: problems.found, predecessor })
}

fn half_applied(why: &str, clock: &SharedClock) -> Problem {
    Problem {
        since: clock.wall(),
        code: "policy-half-applied".to_owned(),
        message: format!("a crash left an apply half done, and it cannot be finished: {why}"),
        help: "make the policy folder writable and start again, or apply or roll back anew".to_owned(),
    }
}

/// The state folder, and who has it.
struct Opened {
    state: StateDir,
    unwritable: Option<StateError>,
    predecessor: Option<Line>,
}

fn open(folder: &Path, takeover: bool) -> Result<Opened, StartError> {
    let mut looks = if takeover { HANDOVER_PATIENCE.as_millis() / HANDOVER_LOOK.as_millis() } else { 0 };
    let mut is_told = false;
    loop {
        if takeover && let Some(predecessor) = Line::connect(folder)? {
            tracing::info!("asking the rhumb that uses {} to hand over", folder.display());
            let state = StateDir::open_held(folder);
            return Ok(Opened { state, unwritable: None, predecessor: Some(predecessor) });
        }
        match (StateDir::open(folder), looks) {
            (Ok((state, unwritable)), _) => {
                if takeover {
                    tracing::info!("nobody to take over from in {}: starting as usual", folder.display());
                }
                return Ok(Opened { state, unwritable, predecessor: None });
            }
            (Err(StateError::Locked(_)), 1..) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!(
                        "the rhumb that uses {} hands over to nobody yet: waiting for it, at most {} s",
                        folder.display(),
                        HANDOVER_PATIENCE.as_secs()
                    );
                }
                std::thread::park_timeout(HANDOVER_LOOK);
                looks -= 1;
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
}

/// Takes what a former run kept where the folder has nothing usable. Geo data first: with it, the
/// folder's own policy may be fine.
fn fall_back(loader: &mut Loader, loaded: Loaded, kept: Option<KeptInputs>) -> Result<Loaded, StartError> {
    let Some(kept) = kept else { return Ok(loaded) };
    let mut loaded = loaded;
    if loaded.inputs.is_none() && loaded.refusals.iter().all(|refusal| matches!(refusal, Refusal::Geo(_))) {
        loader.recall_geo(kept.geo.clone()).map_err(StartError::Inputs)?;
        let refusals = loaded.refusals;
        loaded = loader.load();
        loaded.refusals = refusals;
    }
    if loaded.inputs.is_none() {
        match loader.load_kept(kept) {
            Ok(inputs) => loaded.inputs = Some(inputs),
            Err(refusal) => {
                tracing::error!("the last good inputs are of no use either: {}", refusal.sentence());
            }
        }
    }
    Ok(loaded)
}

/// Collects what was wrong with the state folder on the way.
struct Problems<'a> {
    clock: &'a SharedClock,
    found: Vec<(About, Problem)>,
}

impl Problems<'_> {
    /// What operators said, as far as it can be read. What cannot stays a problem until somebody has looked.
    fn overrides(&mut self, recalled: Result<Option<Found<KeptOverrides>>, String>) -> KeptOverrides {
        let (kept, note) = match recalled {
            Ok(None) => return KeptOverrides::default(),
            Ok(Some(Found { value, passed_over })) => (value, passed_over),
            Err(message) => (KeptOverrides::default(), Some(message)),
        };
        if let Some(message) = note {
            let problem = Problem {
                since: self.clock.wall(),
                code: "overrides-unreadable".to_owned(),
                message,
                help: "the file is put aside; `rhumb overrides` lists what is in force: set what is missing again, \
                       cancel what had ended"
                    .to_owned(),
            };
            self.found.push((About::Overrides, problem));
        }
        let (_, over) = OverrideBook::restore(&kept, self.clock.mono(), self.clock.wall());
        for set in over {
            tracing::warn!(id = set.id.0, "while rhumb was not running this ended: {}", set.told());
        }
        kept
    }

    fn unwrap<T>(&mut self, recalled: Result<Option<Found<T>>, String>) -> Option<T> {
        let (value, note) = match recalled {
            Ok(Some(Found { value, passed_over })) => (Some(value), passed_over),
            Ok(None) => (None, None),
            Err(message) => (None, Some(message)),
        };
        if let Some(message) = note {
            let help = match value {
                Some(_) => "the version before it is in use; nothing to do",
                None => {
                    "it is written anew with the next table; until the first probes are back, unknown nodes may be answered"
                }
            };
            let problem = Problem {
                since: self.clock.wall(),
                code: "state-unreadable".to_owned(),
                message,
                help: help.to_owned(),
            };
            self.found.push((About::Recovery, problem));
        }
        value
    }
}
