//! The first table of a process: planned from what a former run left, linted like every other, and
//! numbered above whatever clients have seen.
//!
//! Of several ways to make it the first without a fault is taken:
//!
//! ```text
//!  1  the inputs in force, everybody where the last good table had them
//!  2  the inputs in force, everybody placed anew
//!  3  the last good inputs, everybody where the last good table had them
//!  -  all of them faulty: the first that compiles answers, and the status says so
//! ```

use crate::base::clock::{SharedClock, WallTime};
use crate::base::error::chain;
use crate::daemon::counting::Counting;
use crate::daemon::inputs::Inputs;
use crate::daemon::overrides::OverrideBook;
use crate::daemon::paths::Paths;
use crate::daemon::publish::Lint;
use crate::daemon::saved;
use crate::daemon::serials::Serials;
use crate::health::HealthModel;
use crate::journal::{Asked, Question};
use crate::model::demand::KeptDemand;
use crate::model::ids::Generation;
use crate::model::latency::KeptLatencies;
use crate::model::overrides::{KeptOverrides, forces};
use crate::model::provenance::{Cause, Provenance};
use crate::model::safety;
use crate::model::status::Problem;
use crate::routing::{self, CompileError, Snapshot, SnapshotInput};
use crate::schedule::{self, Pass, Plan, PlannerMemory};
use crate::store::saved_table::SavedTable;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Generations left free after a restart, besides those that time alone accounts for.
const RESTART_GAP: u64 = 1_000;
/// Tables do not follow each other faster: the writer waits 2 ms before an evacuation, and longer
/// before anything else.
const LEAST_INTERVAL_MS: u64 = 2;

/// What a former run left behind.
pub struct Former {
    pub table: Option<SavedTable>,
    /// There was a table, or there may have been one, that cannot be read: its number is unknown.
    pub is_history_lost: bool,
    /// What was measured of the paths from clients to sites.
    pub latencies: Option<KeptLatencies>,
    /// How often who asked.
    pub demand: Option<KeptDemand>,
    /// What operators said of nodes.
    pub overrides: KeptOverrides,
}

/// A table to begin with, not published yet.
pub struct FirstTable {
    pub inputs: Inputs,
    pub health: HealthModel,
    pub plan: Plan,
    /// What the plan was made of.
    pub asked: Asked,
    pub snapshot: Snapshot,
    /// When the former run last published; 0 if that is unknown.
    pub published_before: WallTime,
    /// Why it is not the table that was asked for.
    pub problem: Option<Problem>,
    /// Of transferred zones.
    pub serials: Serials,
    pub paths: Paths,
    pub counting: Counting,
    pub overrides: OverrideBook,
}

/// A writer's first table could not be made: the inputs do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("cannot compile the first table")]
pub struct FirstTableError(#[from] CompileError);

/// Makes the first table. `kept` gives the last good inputs, if they are others than `inputs`.
///
/// # Errors
/// Nothing compiles.
pub fn first_table(
    inputs: Inputs,
    former: &Former,
    kept: impl FnOnce() -> Option<Inputs>,
    clock: &SharedClock,
    lint: Lint,
) -> Result<FirstTable, FirstTableError> {
    let generation = first_generation(former, clock.wall());
    let attempt = |inputs: &Inputs, placed: bool| {
        let table = make(inputs.clone(), former, placed, generation, clock)?;
        let findings = lint(&table.snapshot, None).sentences();
        Ok::<_, CompileError>((table, findings))
    };
    let (mut faulty, mut why, mut error) = (None, None, None);
    let mut take = |made: Result<(FirstTable, Vec<String>), CompileError>| match made {
        Ok((table, findings)) if findings.is_empty() => Some(table),
        Ok((table, findings)) => {
            why.get_or_insert(findings.join("; "));
            faulty.get_or_insert(table);
            None
        }
        Err(failed) => {
            why.get_or_insert(chain(&failed));
            error.get_or_insert(failed);
            None
        }
    };
    let mut help = "everybody was placed anew; this is a defect of rhumb, please report it";
    let mut found = take(attempt(&inputs, true));
    if found.is_none() && former.table.is_some() {
        found = take(attempt(&inputs, false));
    }
    if found.is_none() {
        help = "the last good policy is in force; this is a defect of rhumb, please report it";
        found = kept().and_then(|kept| take(attempt(&kept, true)));
    }
    if found.is_none() {
        help = "a table with this fault answers, for want of a better one; this is a defect of rhumb, \
                please report it";
    }
    let Some(mut table) = found.or(faulty) else {
        return Err(error.expect("a table that is neither found nor faulty failed").into());
    };
    table.problem = why.map(|why| Problem {
        since: clock.wall(),
        code: "table-refused".to_owned(),
        message: format!("the first table was not published as planned: {why}"),
        help: help.to_owned(),
    });
    Ok(table)
}

fn make(
    mut inputs: Inputs,
    former: &Former,
    keeps_placements: bool,
    generation: Generation,
    clock: &SharedClock,
) -> Result<FirstTable, CompileError> {
    let (now, wall) = (clock.mono(), clock.wall());
    let saved = former.table.as_ref();
    let paths = Paths::restore(former.latencies.as_ref(), &mut inputs, now, wall);
    let counting = Counting::restore(former.demand.as_ref(), &inputs, now, wall);
    let serials = Serials::restored(saved.map_or_else(BTreeMap::new, |table| table.serials.clone()));
    inputs.zones = serials.apply(&inputs.policy, &inputs.zones);
    let restored = saved.map_or_else(BTreeMap::new, |table| table.health.clone());
    let mut health = HealthModel::new(Arc::new(inputs.policy.fleet.clone()), &restored, now, wall);
    health.bound_pools(inputs.policy.pool_bounds());
    health.bound_safety(safety::bounds(&inputs.policy));
    // Before the first answer: who was drained is not asked for a moment.
    let (overrides, _) = OverrideBook::restore(&former.overrides, now, wall);
    health.force(forces(&overrides.list(), &inputs.policy));
    let previous = saved.filter(|_| keeps_placements);
    let previous = previous.map(|table| saved::restore(table, &inputs.policy, inputs.geo.groups()));
    if previous.is_none() {
        // Nobody can be held where nobody knows.
        inputs.hold = None;
    }
    let view = Arc::new(health.view());
    let question = Question {
        health: inputs.strategy.health(&view),
        // A warm start moves only those who must: everything else waits for fresh data.
        pass: if previous.is_some() { Pass::Evacuation } else { Pass::Full },
        previous: previous.map(Arc::new),
        memory: PlannerMemory::default().holding(inputs.hold),
        now_ms: now.0 / 1_000,
    };
    let asked = inputs.asked(question, counting.shares());
    let plan = schedule::plan(&asked.input());
    let snapshot = routing::compile(SnapshotInput {
        provenance: Provenance {
            generation,
            parent: saved.map_or(Generation(0), SavedTable::generation),
            published_at: wall,
            cause: if saved.is_some() { Cause::WarmStart } else { Cause::ColdStart },
            policy: inputs.policy.revision.clone(),
            geo: inputs.geo.revision().clone(),
        },
        policy: Arc::clone(&inputs.policy),
        zones: Arc::clone(&inputs.zones),
        geo: Arc::clone(&inputs.geo),
        assignment: Arc::new(plan.assignment.clone()),
        health: view,
        previous: None,
    })?;
    let published_before = saved.map_or(WallTime(0), |table| table.provenance.published_at);
    Ok(FirstTable {
        inputs,
        health,
        plan,
        asked,
        snapshot,
        published_before,
        problem: None,
        serials,
        paths,
        counting,
        overrides,
    })
}

/// A number above any that clients can have seen.
///
/// The keeper writes a table beside publishing it, so a killed process may have shown numbers above
/// the kept one, but not more than fit into the time since that was published. Where the kept table
/// is lost, the milliseconds since 1970 stand in, which run ahead of every such count. A clock set
/// back by more than the gap covers is the one way to defeat this.
fn first_generation(former: &Former, now: WallTime) -> Generation {
    let by_time = |since: WallTime| now.0.saturating_sub(since.0) / LEAST_INTERVAL_MS;
    let above_kept = former
        .table
        .as_ref()
        .map(|table| table.generation().0 + RESTART_GAP + by_time(table.provenance.published_at));
    let above_lost = former.is_history_lost.then_some(now.0);
    Generation(above_kept.max(above_lost).unwrap_or(1))
}
