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
use crate::model::fleet::{Fleet, ProbeSpec};
use crate::model::service::Service;
use std::time::Duration;

/// One planner tick: the longest a verdict waits for a table.
pub const DECISION: Duration = Duration::from_secs(1);

/// The longest time from a fault to the last cached answer's end, for one probe and TTL.
pub fn worst_case(probe: &ProbeSpec, ttl: Duration) -> Duration {
    probe.interval * u32::from(probe.fall) + probe.timeout + DECISION + ttl
}

/// The probe that takes longest to bring a service back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowest {
    /// Position in the fleet.
    pub node: usize,
    /// Position among its probes.
    pub at: usize,
    pub total: Duration,
}

fn lifetime(service: &Service) -> Duration {
    Duration::from_secs(u64::from(service.ttl))
}

/// Of the probes of a service's nodes; `None`: they have none.
pub fn slowest(service: &Service, fleet: &Fleet) -> Option<Slowest> {
    let members = service.pools.iter().flat_map(|pool| &pool.members).map(|member| member.node.index());
    let probes = members.flat_map(|node| {
        let probes = fleet.nodes.get(node).map_or(&[][..], |node| &node.probes);
        probes.iter().enumerate().map(move |(at, probe)| (node, at, worst_case(probe, lifetime(service))))
    });
    let worst = probes.max_by_key(|&(node, at, total)| (total, std::cmp::Reverse((node, at))));
    worst.map(|(node, at, total)| Slowest { node, at, total })
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
    let Some(Slowest { node, at, total }) = slowest(service, &fleet.fleet) else { return };
    let (cached, probe) = (lifetime(service), &fleet.fleet.nodes[node].probes[at]);
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
