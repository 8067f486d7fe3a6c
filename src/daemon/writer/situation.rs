//! What the writer plans on at one moment, owned: for questions that take longer than it may wait.
//!
//! A plan, a forecast or a rehearsal is worked out on another thread, on this; nothing of it comes back to the
//! writer but as an event of its own.

use super::carry::{Carried, Ground, carry};
use super::{Snapshot, Writer};
use crate::base::clock::{MonoTime, WallTime};
use crate::daemon::counting::Counting;
use crate::daemon::inputs::Inputs;
use crate::daemon::paths::Paths;
use crate::health::HealthModel;
use crate::journal::{Asked, Question};
use crate::model::overrides::{Override, forces};
use crate::model::provenance::Provenance;
use crate::schedule::Pass;
use std::sync::Arc;

/// See the module.
pub struct Situation {
    pub inputs: Inputs,
    /// The next full plan's question. `asked.input()` plans it; its health has what operators said.
    pub asked: Asked,
    /// Of the live table.
    pub table: Provenance,
    pub live: Arc<Snapshot>,
    pub health: HealthModel,
    pub paths: Paths,
    pub counting: Counting,
    pub overrides: Vec<Override>,
    /// When it was so.
    pub at: (MonoTime, WallTime),
}

impl Situation {
    /// Everything as the writer would have it after taking up `inputs`, before it plans.
    pub fn carried_to(&self, inputs: Inputs) -> Carried {
        let Question { previous, memory, .. } = &self.asked.question;
        let ground = Ground {
            inputs: &self.inputs,
            health: &self.health,
            assignment: previous.as_deref().unwrap_or(&self.live.assignment),
            memory,
            paths: &self.paths,
            counting: &self.counting,
        };
        let mut carried = carry(&ground, inputs, self.at);
        carried.health.force(forces(&self.overrides, &carried.inputs.policy));
        carried
    }
}

impl Writer {
    pub(super) fn situation(&self) -> Situation {
        let health = self.inputs.strategy.health(&Arc::new(self.health.view()));
        let at = (self.clock.mono(), self.clock.wall());
        let question = Question {
            health,
            previous: Some(Arc::clone(&self.assignment)),
            memory: self.memory.clone(),
            now_ms: at.0.0 / 1_000,
            pass: Pass::Full,
        };
        let live = self.publisher.snapshot();
        Situation {
            asked: self.inputs.asked(question, self.counting.shares()),
            inputs: self.inputs.clone(),
            table: live.provenance.clone(),
            live,
            health: self.health.clone(),
            paths: self.paths.clone(),
            counting: self.counting.clone(),
            overrides: self.overrides.list(),
            at,
        }
    }
}
