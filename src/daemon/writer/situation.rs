//! What the writer plans on at one moment, owned: for questions that take longer than it may wait.
//!
//! A plan, a forecast or a rehearsal is worked out on another thread, on this; nothing of it comes back to the
//! writer but as an event of its own.

use super::Writer;
use crate::daemon::inputs::Inputs;
use crate::journal::{Asked, Question};
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
}

impl Writer {
    pub(super) fn situation(&self) -> Situation {
        let health = self.inputs.strategy.health(&Arc::new(self.health.view()));
        let question = Question {
            health,
            previous: Some(Arc::clone(&self.assignment)),
            memory: self.memory.clone(),
            now_ms: self.clock.mono().0 / 1_000,
            pass: Pass::Full,
        };
        Situation {
            asked: self.inputs.asked(question, self.counting.shares()),
            inputs: self.inputs.clone(),
            table: self.publisher.snapshot().provenance.clone(),
        }
    }
}
