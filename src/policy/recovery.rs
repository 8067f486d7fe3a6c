//! Worst-case recovery time: what a service's probes and TTL allow, against the tier it declares.
//!
//! ```text
//! node dies ─▶ `fall` probes fail ─▶ the last one times out ─▶ table swapped ─▶ caches expire
//!              fall * interval       timeout                   decision 1 s     TTL
//! ```
//!
//! This is the clock "answer restored" (semantics.md) for a single loss that the rest can carry;
//! whether it can is for readiness to say. The sum is taken for the slowest probe of the slowest
//! node: a fault that only that probe sees is found by it alone. Nodes without probes are left to
//! their own warning.

use super::codes;
use super::files::service::TierWord;
use super::findings::{Findings, Place};
use super::lower::fleet::Lowered;
use super::read::Slot;
use super::scalars::{Ttl, duration_text};
use crate::model::fleet::ProbeSpec;
use crate::model::service::Service;
use std::time::Duration;

/// One planner tick: the longest a verdict waits for a table.
pub const DECISION: Duration = Duration::from_secs(1);

/// The longest time from a fault to the last cached answer's end, for one probe and TTL.
pub fn worst_case(probe: &ProbeSpec, ttl: Duration) -> Duration {
    probe.interval * u32::from(probe.fall) + probe.timeout + DECISION + ttl
}

/// Reports a service whose sum is above its tier.
pub fn check(
    service: &Service,
    tier: &Slot<TierWord>,
    ttl: &Slot<Ttl>,
    start: Place,
    fleet: &Lowered,
    findings: &mut Findings,
) {
    if tier.is_broken() || ttl.is_broken() {
        return;
    }
    let cached = Duration::from_secs(u64::from(service.ttl));
    let members = service.pools.iter().flat_map(|pool| &pool.members).map(|member| member.node.index());
    let worst = members
        .flat_map(|node| {
            fleet.fleet.nodes[node].probes.iter().enumerate().map(move |(at, probe)| (node, at, probe))
        })
        .max_by_key(|(node, at, probe)| (worst_case(probe, cached), std::cmp::Reverse((*node, *at))));
    let Some((node, at, probe)) = worst else {
        return;
    };
    let total = worst_case(probe, cached);
    if total <= service.tier.limit {
        return;
    }
    let place = tier.given().map(|at| at.place).or(ttl.given().map(|at| at.place)).unwrap_or(start);
    let sum = format!(
        "{} x {} probes + {} timeout + {} decision + {} TTL = {}",
        probe.fall,
        duration_text(probe.interval),
        duration_text(probe.timeout),
        duration_text(DECISION),
        duration_text(cached),
        duration_text(total)
    );
    let message = format!(
        "recovery takes up to {sum}, more than the tier's {} (node `{}`)",
        service.tier.name, fleet.fleet.nodes[node].name
    );
    findings
        .report(&codes::RECOVERY_TOO_SLOW, place, message)
        .help("probe more often, lower `fall` or the TTL, or declare a longer tier")
        .related(fleet.probe_places[node][at], "the slowest probe");
}
