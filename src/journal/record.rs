//! A decision and its input, as kept.
//!
//! The head is JSON, for people and scripts; the input is CBOR (RFC 8949), which has room for maps by
//! ids and for every integer. Policy is kept as its texts.

use super::{Asked, Decision, FORMAT, MOST_MOVES, Made, NamedMove, Question};
use crate::base::diagnostic::SourceFile;
use crate::model::event;
use crate::model::ids::NodeId;
use crate::model::placement::Move;
use crate::model::policy::Policy;
use crate::model::provenance::Cause;
use crate::policy;
use crate::schedule::{Plan, Strategy};
use crate::store::journal::Record;
use crate::store::sealed::hex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;

const SOURCES: u8 = 1;
const GROUPS: u8 = 2;
const LATENCIES: u8 = 3;
const QUESTION: u8 = 4;
/// Not there: nothing was counted.
const DEMAND: u8 = 5;
/// Not there: `rhumb`.
const STRATEGY: u8 = 6;
/// Not there: none was in force.
const EVENTS: u8 = 7;

/// Steps of the ladder that are noted.
const MOST_STEPS: usize = 32;

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record is of format {0}; this rhumb reads {FORMAT}")]
    Format(u32),
    #[error("the record is damaged: {0}")]
    Damaged(String),
    #[error("its policy cannot be read any more: {0}")]
    Policy(String),
}

/// A generation as it was kept.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub decision: Decision,
    pub asked: Asked,
}

/// What is kept of a generation.
///
/// # Errors
/// Values that have no place in CBOR or JSON; there are none in what is given.
pub fn pack(made: &Made) -> io::Result<Record> {
    let Made { provenance, asked, plan, is_held } = made;
    let policy = &asked.policy;
    let named = |at: &Move| NamedMove {
        service: policy.service(at.service).name.clone(),
        from: at.from.map(|node| name(policy, node)),
        to: at.to.map(|node| name(policy, node)),
        share_ppm: at.share.0,
    };
    let unserved =
        plan.unserved.iter().map(|&(service, lost)| (policy.service(service).name.clone(), lost)).collect();
    let decision = Decision {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        provenance: provenance.clone(),
        pass: asked.question.pass,
        moves: plan.moves.iter().take(MOST_MOVES).map(named).collect(),
        moves_omitted: plan.moves.len().saturating_sub(MOST_MOVES),
        notes: notes(made),
        unserved,
        held_back: plan.memory.held_back(policy, &asked.groups).rules,
        is_held: *is_held,
        digest: digest(plan)?,
    };
    let sources: Vec<(&str, &str)> =
        asked.sources.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut parts = vec![
        (SOURCES, cbor(&sources)?),
        (GROUPS, cbor(&asked.groups)?),
        (LATENCIES, cbor(&*asked.latencies)?),
        (QUESTION, cbor(&asked.question)?),
    ];
    if !asked.demand.is_empty() {
        parts.push((DEMAND, cbor(&*asked.demand)?));
    }
    if asked.strategy != Strategy::Rhumb {
        parts.push((STRATEGY, cbor(&asked.strategy)?));
    }
    if !asked.during.is_empty() {
        parts.push((EVENTS, cbor(&asked.during)?));
    }
    Ok(Record { generation: provenance.generation.0, head: serde_json::to_vec(&decision)?, parts })
}

/// What the plan says, and steps of the ladder that are not its cause.
fn notes(Made { provenance, asked, plan, .. }: &Made) -> Vec<String> {
    let other = match asked.strategy {
        Strategy::Rhumb => None,
        Strategy::Nearest => {
            Some("strategy nearest: planned as if nodes had no capacity and no load".to_owned())
        }
    };
    let is_cause =
        |step: &String| matches!(&provenance.cause, Cause::Degradation { steps } if steps.contains(step));
    let steps = plan.steps.iter().map(|step| step.told(&asked.policy)).filter(|step| !is_cause(step));
    let held = plan.memory.held_back(&asked.policy, &asked.groups).told();
    other.into_iter().chain(plan.notes.iter().cloned()).chain(held).chain(steps.take(MOST_STEPS)).collect()
}

fn name(policy: &Policy, node: NodeId) -> String {
    policy.fleet.node(node).name.clone()
}

/// Reads it back.
pub fn unpack(record: &Record) -> Result<Recorded, RecordError> {
    let decision = head(&record.head)?;
    let texts: Vec<(String, String)> = part(record, SOURCES)?;
    let sources: Vec<SourceFile> = texts.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    let (policy, diagnostics) = policy::load(&sources);
    let mistakes = || {
        let mut errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
        errors.next().map_or_else(|| "nothing is said of why".to_owned(), |first| first.message.clone())
    };
    let policy = policy.ok_or_else(|| RecordError::Policy(mistakes()))?;
    let question: Question = part(record, QUESTION)?;
    let groups: Arc<[_]> = part(record, GROUPS)?;
    let latencies = Arc::new(part(record, LATENCIES)?);
    let is_counted = record.parts.iter().any(|(kind, _)| *kind == DEMAND);
    let demand = if is_counted { Arc::new(part(record, DEMAND)?) } else { Arc::default() };
    let is_told = record.parts.iter().any(|(kind, _)| *kind == STRATEGY);
    let strategy: Strategy = if is_told { part(record, STRATEGY)? } else { Strategy::Rhumb };
    let is_during = record.parts.iter().any(|(kind, _)| *kind == EVENTS);
    let during: Vec<String> = if is_during { part(record, EVENTS)? } else { Vec::new() };
    let policy = event::during(policy, &during);
    let (sources, policy) = (Arc::new(sources), strategy.policy(&Arc::new(policy)));
    let during = during.into();
    let asked = Asked { sources, policy, strategy, groups, latencies, demand, during, question };
    Ok(Recorded { decision, asked })
}

/// The decision alone.
pub fn head(head: &[u8]) -> Result<Decision, RecordError> {
    #[derive(serde::Deserialize)]
    struct Stamp {
        format: u32,
    }
    let damaged = |error: serde_json::Error| RecordError::Damaged(error.to_string());
    let Stamp { format } = serde_json::from_slice(head).map_err(damaged)?;
    if format != FORMAT {
        return Err(RecordError::Format(format));
    }
    serde_json::from_slice(head).map_err(damaged)
}

/// SHA-256 of all a plan decides, in lower-case hexadecimal.
pub fn digest(plan: &Plan) -> io::Result<String> {
    let mut hasher = Hashed(Sha256::new());
    ciborium::into_writer(plan, &mut hasher).map_err(io::Error::other)?;
    Ok(hex(&hasher.0.finalize()))
}

struct Hashed(Sha256);

impl io::Write for Hashed {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cbor(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    ciborium::into_writer(value, &mut octets).map_err(io::Error::other)?;
    Ok(octets)
}

fn part<T: DeserializeOwned>(record: &Record, kind: u8) -> Result<T, RecordError> {
    let found = record.parts.iter().find(|(known, _)| *known == kind);
    let (_, octets) = found.ok_or_else(|| RecordError::Damaged(format!("part {kind} is missing")))?;
    ciborium::from_reader(octets.as_slice())
        .map_err(|error| RecordError::Damaged(format!("part {kind}: {error}")))
}
