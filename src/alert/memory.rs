//! What conditions remember of a node: when it changed sides, and what its error rate usually is.

use crate::base::clock::MonoTime;
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::status::{NodeStatus, Status};
use crate::model::verdict::Verdict;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Changes remembered of one node.
const MOST_FLIPS: usize = 64;
/// Time constant of the usual error rate.
const TAU: Duration = Duration::from_secs(600);

/// Of one node.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whether each family was down when it was last looked at.
    was_down: [Option<bool>; 2],
    /// When it went down or came back, the newest last.
    flips: VecDeque<MonoTime>,
    /// The slow average of its error rate, in ppm, and when it was last told.
    usual_errors: Option<(f64, MonoTime)>,
}

impl Memory {
    fn note(&mut self, node: &NodeStatus, now: MonoTime) {
        for family in Family::BOTH {
            // What was not observed since the start, or is not known yet, is no side to change from.
            let Some(health) = node.health.family(family).filter(|health| health.observed) else { continue };
            let is_down = match health.verdict {
                Verdict::Unknown => continue,
                verdict => verdict == Verdict::Down,
            };
            let before = self.was_down[family.index()].replace(is_down);
            if before.is_some_and(|before| before != is_down) {
                if self.flips.len() == MOST_FLIPS {
                    self.flips.pop_front();
                }
                self.flips.push_back(now);
            }
        }
        let rate = node.health.load.as_ref().and_then(|load| load.error_rate);
        let Some(Ppm(rate)) = rate else {
            self.usual_errors = None;
            return;
        };
        let rate = f64::from(rate);
        let usual = match self.usual_errors {
            None => rate,
            Some((usual, at)) => {
                let alpha = 1.0 - (-now.since(at).as_secs_f64() / TAU.as_secs_f64()).exp();
                usual + alpha * (rate - usual)
            }
        };
        self.usual_errors = Some((usual, now));
    }

    /// How often the node changed sides within `span`.
    pub fn flips(&self, span: Duration, now: MonoTime) -> u32 {
        let recent = self.flips.iter().rev().take_while(|at| now.since(**at) <= span).count();
        u32::try_from(recent).unwrap_or(u32::MAX)
    }

    pub fn usual_errors(&self) -> Option<Ppm> {
        self.usual_errors.map(|(usual, _)| Ppm(usual.round().clamp(0.0, 1e9) as u32))
    }
}

/// Of every node of the fleet.
#[derive(Debug, Default)]
pub(super) struct Memories {
    by_node: BTreeMap<String, Memory>,
    none: Memory,
}

impl Memories {
    pub fn note(&mut self, status: &Status, now: MonoTime) {
        for node in &status.nodes {
            match self.by_node.get_mut(&node.name) {
                Some(memory) => memory.note(node, now),
                None => self.by_node.entry(node.name.clone()).or_default().note(node, now),
            }
        }
        if self.by_node.len() > status.nodes.len() {
            let names: std::collections::BTreeSet<&str> =
                status.nodes.iter().map(|node| node.name.as_str()).collect();
            self.by_node.retain(|name, _| names.contains(name.as_str()));
        }
    }

    pub fn of(&self, node: &str) -> &Memory {
        self.by_node.get(node).unwrap_or(&self.none)
    }
}
