//! The snapshot: everything an answer, an explanation or a restart needs, immutable behind one
//! pointer; and the compiler that makes it.
//!
//! | part | changes with |
//! |---|---|
//! | names | policy, zones |
//! | one table per service | policy, geo, its placements, which node families may serve |
//!
//! A part whose ground has not changed is taken over from the previous snapshot by pointer, so that
//! a table in which one node fell costs only the services that used it.

use super::block::Block;
use super::fill::{Earlier, compile_service};
use super::guard::Guard;
use super::ledger::Ledger;
use super::material::Material;
use super::names::Names;
use super::signed::Signed;
use super::steer::ServiceTable;
use crate::base::diagnostic::Diagnostic;
use crate::geo::GeoTable;
use crate::model::ids::{GroupId, ServiceId};
use crate::model::placement::{Assignment, ServiceAssignment};
use crate::model::policy::Policy;
use crate::model::provenance::Provenance;
use crate::model::reach::Reach;
use crate::model::verdict::NodeHealth;
use crate::zone::{ZoneSet, rtype};
use std::sync::Arc;

/// Octets of NSID: with the longest question and every other option they still fit 512.
const MAX_NSID: usize = 128;
/// Class CH (RFC 1035 3.2.4).
pub const CLASS_CHAOS: u16 = 3;

/// What a table is made of.
pub struct SnapshotInput<'a> {
    pub provenance: Provenance,
    pub policy: Arc<Policy>,
    pub zones: Arc<ZoneSet>,
    pub geo: Arc<GeoTable>,
    pub assignment: Arc<Assignment>,
    /// One per node of the policy's fleet.
    pub health: Arc<Vec<NodeHealth>>,
    /// Parts that are still right are taken from it.
    pub previous: Option<&'a Snapshot>,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("policy and zones disagree: {first} ({count} in all); run `rhumb check`")]
    Disagree { first: String, count: usize },
    #[error("the assignment covers {assigned} of {services} services; plan again for this policy")]
    Services { assigned: usize, services: usize },
    #[error("the assignment of service `{service}` covers {assigned} of {groups} client groups; plan again")]
    Groups { service: String, assigned: usize, groups: usize },
    #[error(
        "the assignment of service `{service}` names a placement or node that does not exist; plan again"
    )]
    Dangling { service: String },
    #[error("health covers {judged} of {nodes} nodes; it belongs to another policy")]
    Health { judged: usize, nodes: usize },
}

/// A generation.
#[derive(Clone)]
pub struct Snapshot {
    pub provenance: Provenance,
    pub policy: Arc<Policy>,
    pub zones: Arc<ZoneSet>,
    pub geo: Arc<GeoTable>,
    pub assignment: Arc<Assignment>,
    pub health: Arc<Vec<NodeHealth>>,
    names: Arc<Names>,
    services: Vec<Arc<ServiceTable>>,
    reach: Arc<Reach>,
    ledger: Arc<Ledger>,
    nsid: Box<[u8]>,
    identity: Option<Identity>,
    signed: Option<Arc<Signed>>,
}

/// What an instance says of itself in class CHAOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// TXT `version.bind` and `version.server`.
    pub version: Block,
    /// TXT `hostname.bind` and `id.server` (RFC 4892).
    pub instance: Block,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("provenance", &self.provenance).finish_non_exhaustive()
    }
}

impl Snapshot {
    #[inline]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Signatures; `None`: no zone is signed.
    #[inline]
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_deref()
    }

    /// Puts signatures of this very table beside it. They are no part of its content: a table signed
    /// again is the same table.
    #[must_use]
    pub fn with_signed(self, signed: Option<Arc<Signed>>) -> Self {
        Self { signed, ..self }
    }

    /// The same table over zones that differ in their serials only; without signatures.
    pub fn with_zones(self, zones: Arc<ZoneSet>) -> Result<Self, CompileError> {
        let names = Arc::new(Names::build(&self.policy, &zones).map_err(disagree)?);
        Ok(Self { zones, names, signed: None, ..self })
    }

    /// As [`names`](Self::names), to tell by pointer whether they are another table's too.
    pub fn shared_names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Where queries for it are counted: the same as of other tables of its services and client groups.
    #[inline(always)]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub fn services(&self) -> &[Arc<ServiceTable>] {
        &self.services
    }

    #[inline]
    pub fn service_table(&self, service: ServiceId) -> &ServiceTable {
        &self.services[service.index()]
    }

    /// Of the service of this name.
    fn guard_of(&self, name: &str) -> Option<&Guard> {
        let at = self.policy.services.iter().position(|service| service.name == name)?;
        self.services.get(at)?.guard.as_ref()
    }

    /// Who might be given which node when this table was made.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What NSID (RFC 5001) answers: `instance gen 7`.
    pub fn nsid(&self) -> &[u8] {
        &self.nsid
    }

    /// Takes the part of one service over from `live`, a table of the same policy and geo data, as
    /// it stands there: what is wrong with the new part stays out, and the rest can be published.
    pub fn hold(&mut self, service: ServiceId, live: &Snapshot) {
        let at = service.index();
        self.services[at] = Arc::clone(&live.services[at]);
        let assignment = Arc::make_mut(&mut self.assignment);
        assignment.services[at].clone_from(&live.assignment.services[at]);
    }

    /// For tests of those who refuse: one service's part as it must never be.
    #[cfg(test)]
    pub(crate) fn damage(&mut self, service: ServiceId, change: impl FnOnce(&mut ServiceTable)) {
        change(Arc::make_mut(&mut self.services[service.index()]));
    }

    /// `None`: the policy does not want it told.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether both answer every query alike. Generation, provenance and health evidence do not
    /// count; addresses, TTLs, scopes and what `explain` shows of the pick do.
    pub fn same_content(&self, other: &Snapshot) -> bool {
        let same_geo = Arc::ptr_eq(&self.geo, &other.geo) || self.geo.revision() == other.geo.revision();
        same_geo
            && same(&self.policy, &other.policy)
            && same(&self.zones, &other.zones)
            && same(&self.names, &other.names)
            && self.services.len() == other.services.len()
            && self
                .services
                .iter()
                .zip(&other.services)
                .all(|(ours, theirs)| Arc::ptr_eq(ours, theirs) || ours.answers_like(theirs))
    }
}

fn same<T: PartialEq>(ours: &Arc<T>, theirs: &Arc<T>) -> bool {
    Arc::ptr_eq(ours, theirs) || ours == theirs
}

/// Makes the table. Fails only if the parts do not fit together; the caller keeps the table it has.
pub fn compile(input: SnapshotInput<'_>) -> Result<Snapshot, CompileError> {
    verify(&input)?;
    let SnapshotInput { provenance, policy, zones, geo, assignment, health, previous } = input;
    let same_policy = previous.filter(|old| Arc::ptr_eq(&old.policy, &policy));
    let names = match same_policy.filter(|old| Arc::ptr_eq(&old.zones, &zones)) {
        Some(old) => Arc::clone(&old.names),
        None => Arc::new(Names::build(&policy, &zones).map_err(disagree)?),
    };
    let reach = Arc::new(Reach::of(&policy, geo.groups(), &health));
    let ledger = match previous {
        Some(old) if is_counted_alike(old, &policy, &geo) => Arc::clone(&old.ledger),
        Some(old) => Arc::new(old.ledger.succeeded(policy.services.len(), geo.groups().len())),
        None => Arc::new(Ledger::new(policy.services.len(), geo.groups().len())),
    };
    // Client groups are numbered by policy and geo.
    let kin = same_policy.filter(|old| Arc::ptr_eq(&old.geo, &geo));
    let mut material = Material::new(&policy.fleet, geo.groups(), &reach, &health);
    let mut services = Vec::with_capacity(policy.services.len());
    for (id, plan) in policy.service_ids().zip(&assignment.services) {
        let earlier = kin.and_then(|old| {
            let plan = old.assignment.services.get(id.index())?;
            Some((&old.services[id.index()], Earlier::new(&old.services[id.index()], plan, &reach)))
        });
        services.push(match &earlier {
            Some((table, earlier)) if earlier.is_for(plan) => Arc::clone(table),
            _ => {
                let earlier = earlier.as_ref().map(|(_, earlier)| earlier);
                let service = policy.service(id);
                let guard = Guard::of(service, previous.and_then(|old| old.guard_of(&service.name)));
                let table = compile_service(&mut material, service, plan, earlier, guard);
                let counted_from = ledger.position(id, GroupId(0));
                Arc::new(ServiceTable { counted_from, ..table })
            }
        });
    }
    let nsid = nsid(&policy, &provenance);
    let identity = policy.server.identify.then(|| identity(&policy));
    Ok(Snapshot {
        provenance,
        policy,
        zones,
        geo,
        assignment,
        health,
        names,
        services,
        reach,
        ledger,
        nsid,
        identity,
        signed: None,
    })
}

/// Whether services and client groups of both are the same, at the same positions.
fn is_counted_alike(old: &Snapshot, policy: &Policy, geo: &Arc<GeoTable>) -> bool {
    let (before, now) = (old.geo.groups(), geo.groups());
    let same_groups = Arc::ptr_eq(&old.geo, geo)
        || before.len() == now.len() && before.iter().zip(now).all(|(a, b)| a.key == b.key);
    let names =
        |policy: &Policy| policy.services.iter().map(|service| service.name.clone()).collect::<Vec<_>>();
    same_groups && (std::ptr::eq(&*old.policy, policy) || names(&old.policy) == names(policy))
}

fn nsid(policy: &Policy, provenance: &Provenance) -> Box<[u8]> {
    let tail = format!(" gen {}", provenance.generation);
    let instance = policy.server.instance.as_bytes();
    let room = MAX_NSID.saturating_sub(tail.len()).min(instance.len());
    [&instance[..room], tail.as_bytes()].concat().into()
}

fn identity(policy: &Policy) -> Identity {
    let text = |text: &str| {
        // One character string, of 255 octets at most.
        let octets = &text.as_bytes()[..text.len().min(255)];
        let rdata = [&[octets.len() as u8][..], octets].concat();
        Block::in_class(CLASS_CHAOS, rtype::TXT, 0, [&rdata[..]])
    };
    Identity {
        version: text(concat!("rhumb ", env!("CARGO_PKG_VERSION"))),
        instance: text(&policy.server.instance),
    }
}

fn disagree(problems: Vec<Diagnostic>) -> CompileError {
    let first = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
    CompileError::Disagree { first, count: problems.len() }
}

fn verify(input: &SnapshotInput<'_>) -> Result<(), CompileError> {
    let services = &input.policy.services;
    let nodes = input.policy.fleet.nodes.len();
    if input.assignment.services.len() != services.len() {
        let assigned = input.assignment.services.len();
        return Err(CompileError::Services { assigned, services: services.len() });
    }
    if input.health.len() != nodes {
        return Err(CompileError::Health { judged: input.health.len(), nodes });
    }
    let groups = input.geo.groups().len();
    for (service, plan) in services.iter().zip(&input.assignment.services) {
        if plan.by_group.len() != groups {
            let (service, assigned) = (service.name.clone(), plan.by_group.len());
            return Err(CompileError::Groups { service, assigned, groups });
        }
        if is_dangling(plan, nodes) {
            return Err(CompileError::Dangling { service: service.name.clone() });
        }
    }
    Ok(())
}

fn is_dangling(plan: &ServiceAssignment, nodes: usize) -> bool {
    let placements = plan.placements.len();
    let bad_node = |id: crate::model::ids::NodeId| id.index() >= nodes;
    plan.by_group.iter().any(|at| *at as usize >= placements)
        || plan.placements.iter().any(|placement| {
            placement.shares.iter().any(|share| bad_node(share.node))
                || placement.backups.iter().any(|node| bad_node(*node))
        })
}
