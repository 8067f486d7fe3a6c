//! What services are compiled against, and each node's numbers for their slots.
//!
//! A node's numbers are made once and shared by all services; a service has them in an order of its own, in
//! blocks, by node. So what a node wins too much of one service it does not win too much of every other.

use super::rendezvous::{self, Contender, node_hash};
use crate::base::hash::{mix_pair, stable_hash};
use crate::base::prefix::Family;
use crate::model::clients::ClientGroup;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use crate::model::placement::Placement;
use crate::model::reach::Reach;
use crate::model::verdict::NodeHealth;
use std::sync::Arc;

/// Most slots of a distribution.
pub const MAX_SLOTS: usize = 4_096;
/// Numbers that stay together; each block has one of every part (`rendezvous`).
pub const BLOCK: usize = 1 << rendezvous::RUN_BITS;

/// What services are compiled against.
pub struct Material<'a> {
    pub fleet: &'a Fleet,
    pub groups: &'a [ClientGroup],
    pub reach: Arc<Reach>,
    /// Per node and family: its newest probe failed.
    pub failing: Arc<[[bool; 2]]>,
    draws: Vec<Option<Box<[u32]>>>,
    node_hashes: Vec<u64>,
}

/// A service's own order of a node's blocks.
#[derive(Clone, Copy, Debug)]
pub struct Order(u64);

impl Order {
    pub fn of(service: &str) -> Self {
        Self(stable_hash(service.as_bytes()))
    }

    /// What is exclusive-ored with the position of a block, among so many slots.
    fn turn(self, node_hash: u64, slots: usize) -> usize {
        mix_pair(self.0, node_hash) as usize & (slots / BLOCK).saturating_sub(1)
    }
}

impl<'a> Material<'a> {
    /// `health`: by node.
    pub fn new(
        fleet: &'a Fleet,
        groups: &'a [ClientGroup],
        reach: &Arc<Reach>,
        health: &[NodeHealth],
    ) -> Self {
        let fails = |node: &NodeHealth| {
            Family::BOTH.map(|family| node.family(family).is_some_and(|judged| judged.is_failing))
        };
        Self {
            fleet,
            groups,
            reach: Arc::clone(reach),
            failing: health.iter().map(fails).collect(),
            draws: vec![None; fleet.nodes.len()],
            node_hashes: fleet.nodes.iter().map(|node| node_hash(&node.name)).collect(),
        }
    }

    /// Makes a node's draws for so many slots, when first wanted.
    pub fn prepare_draws(&mut self, node: NodeId, slots: usize) {
        let draws = &mut self.draws[node.index()];
        if draws.as_ref().is_none_or(|draws| draws.len() < slots) {
            let hash = self.node_hashes[node.index()];
            *draws = Some((0..slots as u32).map(|slot| rendezvous::draw(hash, slot)).collect());
        }
    }

    pub fn hash(&self, node: NodeId) -> u64 {
        self.node_hashes[node.index()]
    }

    /// One of the shares in the contest for one of so many slots.
    pub fn contender(
        &self,
        placement: &Placement,
        position: usize,
        order: Order,
        (slot, slots): (usize, usize),
    ) -> Contender {
        let share = placement.shares[position];
        let node_hash = self.hash(share.node);
        let turned = slot ^ (order.turn(node_hash, slots) * BLOCK);
        Contender {
            node_hash,
            draw: self.draws(share.node).get(turned).copied().unwrap_or(u32::MAX),
            share: share.share.0,
            position: position as u8,
        }
    }

    /// A node's draws for so many slots, block by block.
    pub fn blocks(&self, node: NodeId, order: Order, slots: usize) -> impl Iterator<Item = &[u32]> {
        let (draws, turn) = (self.draws(node), order.turn(self.hash(node), slots));
        (0..slots / BLOCK).map(move |block| &draws[(block ^ turn) * BLOCK..][..BLOCK])
    }

    /// [`prepare_draws`](Self::prepare_draws) comes first.
    fn draws(&self, node: NodeId) -> &[u32] {
        self.draws[node.index()].as_deref().unwrap_or(&[u32::MAX; MAX_SLOTS])
    }
}
