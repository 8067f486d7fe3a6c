//! Nodes that the clients of one line or area do not reach, and how they come back to them.
//!
//! ```text
//!  closed for line telecom ──────────────┐  open again: 10 % of its part, 25 %, 50 %, 75 %, all
//!  everybody else: nothing happens       └─ ... nobody on telecom is loyal to a refuge until a minute
//!                                           after that, then the entry is forgotten
//! ```
//! The same ramp and homecoming that a node has when it comes back to everybody, kept by (scope, node)
//! and only while there is something to keep: at most scopes x nodes, mostly nothing.
//!
//! Not here: which nodes are closed (`health` says so) and what that means for groups (`model::reach`).

use super::memory::{HOMECOMING_MS, ramp};
use super::pick::WHOLE;
use super::terrain::Returns;
use crate::model::ids::NodeId;
use crate::model::reach::{Closure, View};
use crate::model::verdict::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By scope, then node. No scope is without nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scoped(BTreeMap<Scope, BTreeMap<NodeId, Absence>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Absence {
    /// No family of the node may serve the clients of the scope.
    Away,
    /// One may again, since then.
    Back { since_ms: u64 },
}

impl Scoped {
    /// Takes in what is closed now. A node that is down for everybody is left as it is: only when it is
    /// back for others can be said whether it is for these.
    pub fn note(&mut self, closures: &[Closure], global: &View, (now_ms, ramp_ms): (u64, u64)) {
        let is_away = |scope: &Scope, node: NodeId| {
            let closure = closures.iter().find(|closure| closure.scope == *scope);
            closure.is_some_and(|closure| closure.nodes.iter().any(|taken| closes(taken, node, global)))
        };
        for (scope, nodes) in &mut self.0 {
            for (&node, absence) in nodes.iter_mut() {
                let serves = global.may_serve.get(node.index()) == Some(&true);
                if *absence == Absence::Away && serves && !is_away(scope, node) {
                    *absence = Absence::Back { since_ms: now_ms };
                }
            }
            let lasts = |absence: &Absence| match *absence {
                Absence::Away => true,
                Absence::Back { since_ms } => now_ms.saturating_sub(since_ms) < ramp_ms + HOMECOMING_MS,
            };
            nodes.retain(|_, absence| lasts(absence));
        }
        for closure in closures {
            let away = closure.nodes.iter().filter(|taken| closes(taken, taken.0, global));
            for (node, _) in away {
                self.0.entry(closure.scope.clone()).or_default().insert(*node, Absence::Away);
            }
        }
        self.0.retain(|_, nodes| !nodes.is_empty());
    }

    /// `closures`, and empty ones for the scopes that nothing is closed for but somebody came back to;
    /// by scope.
    pub fn apart(&self, mut closures: Vec<Closure>) -> Vec<Closure> {
        let has_back = |nodes: &BTreeMap<NodeId, Absence>| nodes.values().any(|it| *it != Absence::Away);
        for (scope, _) in self.0.iter().filter(|(_, nodes)| has_back(nodes)) {
            if let Err(at) = closures.binary_search_by(|closure| closure.scope.cmp(scope)) {
                closures.insert(at, Closure { scope: scope.clone(), nodes: Vec::new() });
            }
        }
        closures
    }

    pub fn returns(&self, view: &View, everybody: &Returns, (now_ms, ramp_ms): (u64, u64)) -> Returns {
        let mut returns = everybody.clone();
        for (&node, absence) in view.scopes.iter().filter_map(|scope| self.0.get(scope)).flatten() {
            let Absence::Back { since_ms } = *absence else { continue };
            if let (Some(part), Some(home)) =
                (returns.ramps.get_mut(node.index()), returns.homecoming.get_mut(node.index()))
            {
                *part = (*part).min(ramp(now_ms.saturating_sub(since_ms), ramp_ms));
                *home = true;
                returns.any_ramp |= *part < WHOLE;
                returns.back[node.index()] = true;
            }
        }
        returns
    }
}

/// Whether what is `taken` leaves no family of `node`, which others may be given.
fn closes((taken, families): &(NodeId, [bool; 2]), node: NodeId, global: &View) -> bool {
    let serving = global.serving.get(node.index()).copied().unwrap_or_default();
    *taken == node && (0..2).all(|at| !serving[at] || families[at])
}
