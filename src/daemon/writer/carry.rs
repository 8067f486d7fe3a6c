//! What is carried over to other inputs: for the writer that takes them up, and for a forecast of what it would do.

use crate::base::clock::{MonoTime, WallTime};
use crate::daemon::counting::Counting;
use crate::daemon::inputs::Inputs;
use crate::daemon::paths::Paths;
use crate::health::HealthModel;
use crate::model::placement::Assignment;
use crate::model::safety;
use crate::schedule::{self, PlannerMemory};
use std::sync::Arc;

/// What plans are made on.
pub struct Ground<'a> {
    pub inputs: &'a Inputs,
    pub health: &'a HealthModel,
    pub assignment: &'a Assignment,
    pub memory: &'a PlannerMemory,
    pub paths: &'a Paths,
    pub counting: &'a Counting,
}

/// The same for other inputs.
pub struct Carried {
    pub inputs: Inputs,
    /// Nobody's word is on it if the fleet is another: see [`HealthModel::force`].
    pub health: HealthModel,
    pub assignment: Arc<Assignment>,
    pub memory: PlannerMemory,
    pub paths: Paths,
    pub counting: Counting,
    /// Ids of nodes mean something else.
    pub is_new_fleet: bool,
}

/// Carries `from` over to `inputs`, at a moment.
pub fn carry(from: &Ground<'_>, mut inputs: Inputs, (now, wall): (MonoTime, WallTime)) -> Carried {
    let (old, new) = (&from.inputs.policy, &inputs.policy);
    let (old_groups, new_groups) = (from.inputs.geo.groups(), inputs.geo.groups());
    let assignment = schedule::remap(old, old_groups, from.assignment, new, new_groups);
    let is_new_fleet = old.fleet != new.fleet;
    // Ramps and dwell times outlive edits that leave the planner's world as it is.
    let memory = match is_same_world(from.inputs, &inputs) {
        true => from.memory.clone(),
        false => from.memory.carried_over(old, new),
    };
    let memory = memory.holding(inputs.hold);
    let mut health = match is_new_fleet {
        true => from.health.reload(Arc::new(new.fleet.clone()), now, wall),
        false => from.health.clone(),
    };
    health.bound_pools(new.pool_bounds());
    health.bound_safety(safety::bounds(new));
    let paths = from.paths.carried_to(&mut inputs, now);
    let counting = from.counting.carried_to(&inputs, now);
    Carried { inputs, health, assignment: Arc::new(assignment), memory, paths, counting, is_new_fleet }
}

/// Whether a plan of one is a plan of the other.
pub fn is_same_world(old: &Inputs, new: &Inputs) -> bool {
    old.policy.fleet == new.policy.fleet
        && old.policy.services == new.policy.services
        && old.geo.revision() == new.geo.revision()
}
