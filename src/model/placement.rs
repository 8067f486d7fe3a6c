//! The planner's interface: what it is given and what it hands to the table compiler.
//!
//! ```text
//!  policy, groups, latency prior ─┐
//!  health, previous assignment ───┼─▶ schedule::plan ─▶ Assignment ─▶ routing::compile
//!  demand ────────────────────────┘
//! ```

use super::ids::{GroupId, NodeId, PoolId, ServiceId};
use crate::base::units::{Micros, Ppm};

/// Estimated round trip from a client group to a site, before anything is measured.
///
/// Row-major `groups x sites`. Depends only on geo data and fleet, so it is computed once per reload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyPrior {
    pub sites: usize,
    pub rtt: Vec<Micros>,
}

impl LatencyPrior {
    pub fn rtt(&self, group: GroupId, site: super::ids::SiteId) -> Micros {
        self.rtt[group.index() * self.sites + site.index()]
    }
}

/// Where each client group of each service goes. Dense: `services[s].by_group[g]` is a position in
/// `services[s].placements`, which holds each distinct placement once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    pub services: Vec<ServiceAssignment>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceAssignment {
    pub placements: Vec<Placement>,
    pub by_group: Vec<u32>,
}

/// One way to answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Nodes that carry the group, with the share of it each takes; sums to [`Ppm::WHOLE`] unless
    /// empty. Ordered by falling share, then by node. Empty: see `fallback`.
    pub shares: Vec<Share>,
    /// Further usable nodes in rising cost, without those in `shares`: they fill answers beyond
    /// the first and families that the picked node lacks. At most 8.
    pub backups: Vec<NodeId>,
    /// Which pool of the chain the first share came from.
    pub pool: Option<PoolId>,
    pub mode: PlacementMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    pub node: NodeId,
    pub share: Ppm,
}

/// How the placement came to be: which promise it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlacementMode {
    /// From nodes that may serve.
    Normal,
    /// No node of the chain may serve: `on_all_down: all` or `last_good` chose these nodes anyway.
    FailOpen,
    /// No node of the chain may serve: the service's `on_all_down` says what to answer.
    AllDown,
}

impl Assignment {
    pub fn placement(&self, service: ServiceId, group: GroupId) -> Option<&Placement> {
        let service = self.services.get(service.index())?;
        service.placements.get(*service.by_group.get(group.index())? as usize)
    }
}

/// A move of clients between two generations, for the log, the view and later the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub service: ServiceId,
    /// `None`: clients that had no node.
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    /// Share of the service's demand.
    pub share: Ppm,
}
