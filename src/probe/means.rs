//! What `rhumb check` can know of probes that this machine cannot make: pings that the kernel forbids,
//! programs that are not there or may not be run.
//!
//! Only warnings: the machine that checks need not be the one that serves. What turns out while serving is a
//! problem in the status ([`ProbeEvent::Trouble`](super::ProbeEvent::Trouble)).

use super::{command, icmp};
use crate::base::diagnostic::{Diagnostic, Severity};
use crate::base::prefix::Family;
use crate::model::fleet::Fleet;
use crate::model::probe::ProbeKind;
use std::collections::BTreeSet;
use std::path::Path;

pub const IMPOSSIBLE: &str = "probe-impossible";

/// Name, severity, meaning.
pub const CODES: &[(&str, Severity, &str)] =
    &[(IMPOSSIBLE, Severity::Warning, "this machine cannot make a probe of the fleet")];

/// Reasons told at most.
const MOST: usize = 16;

/// Each reason once. `folder`: of the policy.
pub fn check(fleet: &Fleet, folder: &Path) -> Vec<Diagnostic> {
    let mut reasons = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for spec in fleet.nodes.iter().flat_map(|node| &node.probes) {
        match &spec.kind {
            ProbeKind::Icmp(_) => {
                let families = Family::BOTH.into_iter().filter(|at| spec.targets[at.index()].is_some());
                for family in families {
                    if asked.insert(family.to_string()) {
                        reasons.extend(icmp::forbidden(family).map(|why| format!("{family} pings: {why}")));
                    }
                }
            }
            ProbeKind::Command(probe) => {
                let program = probe.command.first().map_or("", String::as_str);
                if asked.insert(program.to_owned()) {
                    reasons.extend(command::missing(program, folder));
                }
            }
            _ => {}
        }
    }
    let told = |why: String| {
        let message = format!("a probe cannot be made on this machine: {why}");
        let help =
            "mend that where rhumb serves, or take the probe out; as it is, it says nothing of the node";
        Diagnostic::warning(IMPOSSIBLE, "fleet.yaml", None, message).help(help)
    };
    reasons.into_iter().take(MOST).map(told).collect()
}
