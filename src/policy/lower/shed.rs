//! `shed` of a service to [`Shed`]: exactly one answer, thresholds in order, and nothing that the rest of the
//! service contradicts.
//!
//! | answer | has to be |
//! |---|---|
//! | `pool` | in no chain, and of none of the nodes that a chain offers: those are what is full |
//! | `cname` | another name; nothing steered below the hostnames, which would still name nodes |
//! | `nodata` | `true` |
//!
//! What zones have at the hostnames of a `cname` is `routing::check`'s to hold against it.

use super::{Names, POOL, fleet};
use crate::model::degradation::{Shed, ShedTo};
use crate::model::ids::{NodeId, PoolId};
use crate::model::service::Service;
use crate::policy::codes;
use crate::policy::files::service::ShedFile;
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::Slot;
use std::collections::BTreeSet;

/// Position of the pool that newcomers are sent to, if it is there.
pub fn pool(slot: &Slot<ShedFile>, names: &Names, findings: &mut Findings) -> Option<usize> {
    let At { value, place } = slot.value()?.pool.given()?;
    let found = names.resolve(&value.0, *place, &codes::UNKNOWN_POOL, POOL, findings);
    // The misspelt pool is probably the one that then looks unused.
    found.or_else(|| names.meant(&value.0))
}

/// Newcomers are sent to nodes that stand by for them: another service has its own users there.
pub fn refuse_service(slot: &Slot<ShedFile>, findings: &mut Findings) -> Option<PoolId> {
    let At { value, place } = slot.value()?.pool.given()?;
    findings
        .report(&codes::BAD_SHED, *place, format!("pool `{}` is another service", value.0))
        .help("shed to a pool with nodes of its own, or send newcomers there by name with `cname`");
    None
}

/// `pool`: as [`pool`] found it, among those of the service. The service's pools, chains and records are there.
pub fn lower(
    slot: &Slot<ShedFile>,
    pool: Option<PoolId>,
    service: &Service,
    fleet: &fleet::Lowered,
    findings: &mut Findings,
) -> Option<Shed> {
    let At { value: file, place } = slot.given()?;
    let to = answer(file, *place, pool, findings)?;
    match &to {
        ShedTo::Pool(id) => check_pool(file, *id, service, fleet, findings),
        ShedTo::Cname(target) => check_cname(file, target, service, findings),
        ShedTo::NoData => {}
    }
    check_capacities(*place, service, fleet, findings);
    let ShedFile { place: _, pool: _, cname: _, nodata: _, enter, exit, dwell, remember } = file;
    let enter_ppm = enter.value().map_or(Shed::ENTER, |share| share.0);
    let exit_ppm = exit.value().map_or(Shed::exit_of(enter_ppm), |share| share.0);
    if exit_ppm >= enter_ppm && !enter.is_broken() && !exit.is_broken() {
        let at = exit.given().map_or(*place, |at| at.place);
        findings
            .report(
                &codes::BAD_SHED,
                at,
                format!(
                    "`exit` of {} % is not below `enter` of {} %",
                    exit_ppm.percent(),
                    enter_ppm.percent()
                ),
            )
            .help("leave a gap, such as 90% and 75%: without one the answers would swing to and fro");
    }
    Some(Shed {
        to,
        enter: enter_ppm,
        exit: exit_ppm,
        dwell: dwell.value().map_or(Shed::DWELL, |span| span.0),
        remember: remember.value().map_or(Shed::REMEMBER, |span| span.0),
    })
}

/// The one answer; reports none and several.
fn answer(file: &ShedFile, place: Place, pool: Option<PoolId>, findings: &mut Findings) -> Option<ShedTo> {
    let ShedFile { pool: pool_slot, cname, nodata, .. } = file;
    let said = [!pool_slot.is_absent(), !cname.is_absent(), matches!(nodata.value(), Some(true))];
    match said.iter().filter(|is_said| **is_said).count() {
        1 => {}
        0 if nodata.is_broken() => return None,
        0 => {
            findings
                .report(&codes::BAD_SHED, place, "`shed` without an answer")
                .help("give one: `pool: NAME` (a waiting room), `cname: NAME` or `nodata: true`");
            return None;
        }
        _ => {
            findings
                .report(&codes::BAD_SHED, place, "`shed` with several answers")
                .help("keep one of `pool`, `cname` and `nodata`");
            return None;
        }
    }
    match cname.value() {
        Some(target) => Some(ShedTo::Cname(target.0.clone())),
        None if said[2] => Some(ShedTo::NoData),
        None => pool.map(ShedTo::Pool),
    }
}

fn offered(service: &Service) -> BTreeSet<NodeId> {
    let ids = service.chains.iter().flat_map(|rule| &rule.pools);
    let pools = ids.filter_map(|id| service.pools.get(id.index()));
    pools.flat_map(|pool| &pool.members).map(|member| member.node).collect()
}

fn check_pool(
    file: &ShedFile,
    id: PoolId,
    service: &Service,
    fleet: &fleet::Lowered,
    findings: &mut Findings,
) {
    let (Some(pool), Some(At { place, .. })) = (service.pools.get(id.index()), file.pool.given()) else {
        return;
    };
    if service.chains.iter().any(|rule| rule.pools.contains(&id)) {
        findings
            .report(&codes::BAD_SHED, *place, format!("pool `{}` is in a chain", pool.name))
            .help("newcomers are shed when all of a chain is full: send them to a pool of its own");
        return;
    }
    let offered = offered(service);
    if let Some(member) = pool.members.iter().find(|member| offered.contains(&member.node)) {
        let node = fleet.fleet.nodes.get(member.node.index()).map_or("", |node| &node.name);
        findings
            .report(
                &codes::BAD_SHED,
                *place,
                format!("node `{node}` of pool `{}` is also in a pool of a chain", pool.name),
            )
            .help("newcomers would be sent to what is full: take the node out of one of the pools");
    }
}

fn check_cname(file: &ShedFile, target: &str, service: &Service, findings: &mut Findings) {
    let Some(At { place, .. }) = file.cname.given() else { return };
    if target.starts_with("*.") {
        findings
            .report(&codes::BAD_SHED, *place, format!("`{target}` is no name to be sent to"))
            .help("a whole name, such as wait.example.com");
    } else if service.hostnames.iter().any(|hostname| hostname == target) {
        findings
            .report(&codes::BAD_SHED, *place, format!("`{target}` is a hostname of the service itself"))
            .help("newcomers would come back: use a name that something else answers");
    } else if let Some(owner) = service.records.iter().find_map(|set| set.owner.as_deref()) {
        findings
            .report(&codes::BAD_SHED, *place, format!("a `cname` beside records at `{owner}`"))
            .help("those would still name nodes that are full: shed to a `pool`, whose nodes they name then");
    }
}

/// A node without capacity never counts as full, so its clients would never be shed.
fn check_capacities(place: Place, service: &Service, fleet: &fleet::Lowered, findings: &mut Findings) {
    if !fleet.whole {
        return;
    }
    let unbounded = |id: &NodeId| fleet.fleet.nodes.get(id.index()).filter(|node| node.capacity.is_none());
    let offered = offered(service);
    if let Some(node) = offered.iter().find_map(unbounded) {
        findings
            .report(
                &codes::BAD_SHED,
                place,
                format!("node `{}` has no `capacity`, so it is never full", node.name),
            )
            .help("state the capacity of every node that a chain of this service offers");
    }
}
