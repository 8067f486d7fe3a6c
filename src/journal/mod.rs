//! The decision journal: each generation with everything it was decided on, so that it can be told and
//! decided again.
//!
//! ```text
//!  writer: publishes ─▶ Made ─▶ keeper ─▶ record::pack ─▶ store::journal (bounded, deltas)
//!                                                              │
//!  rhumb why, rhumb replay ◀─ replay ◀─ record::unpack ◀───────┘
//!                               └─ schedule::plan with what was kept: the same plan, bit for bit
//! ```
//! | file | holds |
//! |---|---|
//! | `record` | a decision and its input, as kept |
//! | `replay` | makes the plan again and compares |
//! | `why` | says of each move why it was made |
//!
//! Kept is what the planner was given (policy texts, client groups, latencies, counted demand, verdicts, the assignment
//! before, its memory) and a digest of what it gave. The table is not: it is compiled from these. What
//! cannot be replayed is told apart: aged out, decided by another version, damaged.

pub mod record;
pub mod replay;
#[cfg(test)]
mod tests;
pub mod why;

use crate::base::diagnostic::SourceFile;
use crate::model::clients::ClientGroup;
use crate::model::demand::Shares;
use crate::model::held_back::HeldRule;
use crate::model::placement::{Assignment, Latencies};
use crate::model::policy::Policy;
use crate::model::provenance::Provenance;
use crate::model::verdict::NodeHealth;
use crate::schedule::{Pass, Plan, PlanInput, PlannerMemory, Strategy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bumped when the shape of what is kept changes.
pub const FORMAT: u32 = 2;
/// Moves told in the head of a record.
const MOST_MOVES: usize = 64;

/// What a plan was asked for, but for the world it is made in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub health: Arc<Vec<NodeHealth>>,
    /// In the ids of the policy and groups beside it.
    pub previous: Option<Arc<Assignment>>,
    pub memory: PlannerMemory,
    pub now_ms: u64,
    pub pass: Pass,
}

/// Everything a plan depends on, owned.
#[derive(Clone, Debug)]
pub struct Asked {
    pub sources: Arc<Vec<SourceFile>>,
    /// As `strategy` sees what `sources` say.
    pub policy: Arc<Policy>,
    pub strategy: Strategy,
    pub groups: Arc<[ClientGroup]>,
    pub latencies: Arc<Latencies>,
    /// Nothing in it: demand went by address space.
    pub demand: Arc<Shares>,
    /// Events for whose sake the policy is not as `sources` have it.
    pub during: Arc<[String]>,
    pub question: Question,
}

impl Asked {
    pub fn input(&self) -> PlanInput<'_> {
        PlanInput {
            policy: &self.policy,
            groups: &self.groups,
            latencies: &self.latencies,
            health: &self.question.health,
            previous: self.question.previous.as_deref(),
            memory: &self.question.memory,
            demand: Some(&self.demand),
            now_ms: self.question.now_ms,
            pass: self.question.pass,
        }
    }
}

/// A generation as the writer made it.
#[derive(Clone, Debug)]
pub struct Made {
    pub provenance: Provenance,
    pub asked: Asked,
    pub plan: Plan,
    /// Some services stayed as they were, since lint found faults with their part.
    pub is_held: bool,
}

/// The head of a record: what was decided, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub format: u32,
    /// Of the program that decided.
    pub version: String,
    #[serde(flatten)]
    pub provenance: Provenance,
    pub pass: Pass,
    /// Largest first.
    pub moves: Vec<NamedMove>,
    /// More than are listed.
    pub moves_omitted: usize,
    pub notes: Vec<String>,
    /// Capacity units by service.
    pub unserved: Vec<(String, u64)>,
    /// Moves that were not made, by rule and service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<HeldRule>,
    pub is_held: bool,
    /// SHA-256 of the plan.
    pub digest: String,
}

/// What a journal holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Newest first; maybe not all.
    pub decisions: Vec<Decision>,
    /// The oldest generation of all.
    pub oldest: Option<u64>,
}

/// [`Move`](crate::model::placement::Move), by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedMove {
    pub service: String,
    /// `None`: clients that had no node.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Parts per million of the service's demand.
    pub share_ppm: u32,
}
