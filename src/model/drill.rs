//! Drills as policy states them: what is done to which nodes, how long, and when it is to be given up.
//!
//! What a drill does with it is in [`crate::drill`]; who carries it out is the daemon.

use super::ids::{NodeId, ServiceId};
use super::overrides::{Action, Target};
use super::policy::Policy;
use super::safety::Window;
use super::service::RecoveryTier;
use crate::base::units::{Micros, Ppm};
use std::collections::BTreeSet;
use std::time::Duration;

/// Drills of a policy.
pub const MOST_DRILLS: usize = 256;
/// Targets of one.
pub const MOST_DRILL_TARGETS: usize = 32;

/// One file of `drills/`, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// The file's stem.
    pub name: String,
    pub title: Option<String>,
    /// In the order in which they are taken; at least one.
    pub targets: Vec<Target>,
    pub fault: Fault,
    /// From the first target to the last.
    pub ramp: Duration,
    /// From the last target's fault to the restoration.
    pub hold: Duration,
    /// Before the first fault and after the restoration: how long clients are asked all the same.
    pub watch: Duration,
    /// Client networks that are asked for.
    pub clients: u32,
    pub guardrails: Guardrails,
    /// It does not begin within these.
    pub blackout: Vec<Window>,
    pub tier: RecoveryTier,
    /// Where people read on: a file beside the policies, or a URL.
    pub runbook: Option<String>,
}

/// What is done to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An override: a drain, or forced down.
    Withdraw(Action),
    /// Something real, that probes have to find.
    Hook(Hook),
}

impl Fault {
    /// As policy has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Withdraw(action) => action.name(),
            Self::Hook(_) => "hook",
        }
    }
}

/// Programs with their arguments, run without a shell once for each target; `{target}` stands for it, `{name}`
/// for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub inject: Vec<String>,
    pub heal: Vec<String>,
    /// Of one run; then its process group is killed.
    pub timeout: Duration,
}

/// When a drill is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrails {
    /// Planned, of a node that is no target; `None`: its cap.
    pub utilisation: Option<Ppm>,
    /// Planned round trip of 95 % of the clients; `None`: any.
    pub latency_p95: Option<Micros>,
    /// Of the answers of ten seconds.
    pub failed_answers: Ppm,
    /// So many other nodes may go down.
    pub others_down: u32,
    /// Problems of the status that were not there before.
    pub problems: Vec<String>,
    /// Most vantages have to be trusted, and the table not be frozen.
    pub quorum: bool,
}

impl Guardrails {
    pub const FAILED_ANSWERS: Ppm = Ppm::from_percent(1);
    /// Of the status: what says that the machinery is not well.
    pub const PROBLEMS: [&str; 6] =
        ["plan-faulted", "region-cut", "signing-failed", "table-frozen", "table-refused", "writer-silent"];
}

impl Default for Guardrails {
    fn default() -> Self {
        Self {
            utilisation: None,
            latency_p95: None,
            failed_answers: Self::FAILED_ANSWERS,
            others_down: 0,
            problems: Self::PROBLEMS.map(str::to_owned).to_vec(),
            quorum: true,
        }
    }
}

impl Drill {
    pub const WATCH: Duration = Duration::from_secs(10);
    pub const CLIENTS: u32 = 1_000;
    pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

    /// Nodes of all targets, ascending, none twice.
    pub fn nodes(&self, policy: &Policy) -> Vec<NodeId> {
        let all: BTreeSet<NodeId> = self.targets.iter().flat_map(|target| target.nodes(policy)).collect();
        all.into_iter().collect()
    }

    /// Services that have one of `nodes` in a pool.
    pub fn services(policy: &Policy, nodes: &[NodeId]) -> Vec<ServiceId> {
        let has = |id: &ServiceId| {
            let members = policy.service(*id).pools.iter().flat_map(|pool| &pool.members);
            members.into_iter().any(|member| nodes.binary_search(&member.node).is_ok())
        };
        policy.service_ids().filter(has).collect()
    }
}
