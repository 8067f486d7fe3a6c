//! The answer sets of one service, each made once.
//!
//! An order of nodes becomes a set family by family: of each family the first `answers` nodes that
//! have an address and may serve it, so that A and AAAA name the same nodes wherever they can. A
//! compile that starts from an earlier table keeps that table's sets at their positions, so that
//! slots which name them stay true. What other types say follows from that
//! ([`super::records`]), so it has no part in what makes two sets equal.

use super::block::Block;
use super::records::{self, Answered};
use super::steer::AnswerSet;
use crate::base::prefix::{Family, left_aligned};
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use crate::model::placement::PlacementMode;
use crate::model::service::{OnAllDown, Service};
use crate::zone::rtype;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::net::IpAddr;

/// Nodes in one answer, at most.
pub const MAX_PICKS: usize = 8;

/// Which nodes can answer what.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub fleet: &'a Fleet,
    /// Per node and family: has addresses, and may serve.
    pub serving: &'a [[bool; 2]],
    /// Per node and family: its newest probe failed.
    pub failing: &'a [[bool; 2]],
}

impl Ground<'_> {
    pub fn serves(&self, node: NodeId) -> [bool; 2] {
        self.serving.get(node.index()).copied().unwrap_or_default()
    }

    /// Whether it may be about to fall, so that others are rather asked to fill in. Outside normal service nobody
    /// knows better.
    pub fn is_failing(&self, node: NodeId, family: Family, mode: PlacementMode) -> bool {
        let failing = self.failing.get(node.index()).copied().unwrap_or_default();
        mode == PlacementMode::Normal && failing[family.index()]
    }

    /// Outside normal service every address counts.
    pub fn is_usable(&self, node: NodeId, family: Family, mode: PlacementMode) -> bool {
        self.fleet.node(node).has_family(family)
            && (mode != PlacementMode::Normal || self.serves(node)[family.index()])
    }
}

/// What makes two answer sets equal.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct SetKey {
    picks: [[u16; MAX_PICKS]; 2],
    counts: [u8; 2],
    is_open: [bool; 2],
    is_fallback: bool,
}

impl SetKey {
    fn of(set: &AnswerSet) -> Self {
        let mut key = Self { is_open: set.is_open, ..Self::default() };
        for ((picks, count), nodes) in key.picks.iter_mut().zip(&mut key.counts).zip(&set.picks) {
            *count = picks.iter_mut().zip(nodes.iter()).map(|(pick, node)| *pick = node.0).count() as u8;
        }
        key.is_fallback = key.counts == [0; 2] && set.blocks.iter().any(|block| !block.is_empty());
        key
    }
}

/// Sets by position, and back.
pub struct Sets<'a> {
    /// Its view is that of the clients whose orders come next; equal answers are one set for all.
    pub(super) ground: Ground<'a>,
    service: &'a Service,
    sets: Vec<AnswerSet>,
    index: HashMap<SetKey, u32, FixedState>,
}

impl<'a> Sets<'a> {
    /// Starting from the sets of an earlier table of the same policy, or from none.
    pub fn new(ground: Ground<'a>, service: &'a Service, earlier: &[AnswerSet]) -> Self {
        let index = earlier.iter().map(SetKey::of).zip(0..).collect();
        Self { ground, service, sets: earlier.to_vec(), index }
    }

    pub fn into_sets(self) -> Vec<AnswerSet> {
        self.sets
    }

    /// The set of the first `answers` nodes of an order, family by family. In place of one that cannot answer a
    /// family comes the next that can, of which those that are failing come last.
    pub fn of_order(&mut self, order: &[NodeId], mode: PlacementMode) -> u32 {
        let answers = usize::from(self.service.answers).clamp(1, MAX_PICKS);
        let may_open = matches!(self.service.on_all_down, OnAllDown::All | OnAllDown::LastGood);
        let mut key = SetKey::default();
        for family in Family::BOTH {
            let at = family.index();
            let (first, others) = order.split_at(answers.min(order.len()));
            let mut fill = |usable: &dyn Fn(NodeId) -> bool| {
                let fails = |node: NodeId| self.ground.is_failing(node, family, mode);
                let next = |failing: bool| others.iter().filter(move |&&node| fails(node) == failing);
                let chosen = first.iter().chain(next(false)).chain(next(true));
                let chosen = chosen.filter(|node| usable(**node)).take(answers);
                key.counts[at] =
                    chosen.zip(&mut key.picks[at]).map(|(node, pick)| *pick = node.0).count() as u8;
                key.counts[at] == 0
            };
            let is_empty = fill(&|node| self.ground.is_usable(node, family, mode));
            if is_empty && may_open {
                let is_still_empty = fill(&|node| self.ground.fleet.node(node).has_family(family));
                key.is_open[at] = !is_still_empty;
            }
        }
        if let Some(set) = self.index.get(&key) {
            return *set;
        }
        let made = self.make(&key);
        self.add(key, made)
    }

    /// The set of the addresses that `on_all_down: fallback` names.
    pub fn of_fallback(&mut self) -> u32 {
        let key = SetKey { is_fallback: true, ..SetKey::default() };
        if let Some(set) = self.index.get(&key) {
            return *set;
        }
        let addresses = match &self.service.on_all_down {
            OnAllDown::Fallback(addresses) => addresses.as_slice(),
            _ => &[],
        };
        let block = |family| address_block(family, self.service.ttl, addresses.iter().copied());
        let mut set = AnswerSet { blocks: Family::BOTH.map(block), ..AnswerSet::default() };
        self.add_records(&mut set);
        self.add(key, set)
    }

    fn add(&mut self, key: SetKey, mut set: AnswerSet) -> u32 {
        set.is_plain = Family::BOTH.map(|it| !set.is_open[it.index()] && !set.blocks[it.index()].is_empty());
        let at = u32::try_from(self.sets.len()).expect("sets are bounded by groups times slots");
        self.sets.push(set);
        self.index.insert(key, at);
        at
    }

    fn make(&self, key: &SetKey) -> AnswerSet {
        let picks = Family::BOTH.map(|family| {
            let at = family.index();
            let count = usize::from(key.counts[at]);
            key.picks[at].iter().take(count).map(|node| NodeId(*node)).collect()
        });
        let blocks = Family::BOTH.map(|family| {
            let nodes: &std::sync::Arc<[NodeId]> = &picks[family.index()];
            let addresses = nodes.iter().flat_map(|node| self.ground.fleet.addresses(*node));
            address_block(family, self.service.ttl, addresses)
        });
        let mut set = AnswerSet { blocks, picks, is_open: key.is_open, ..AnswerSet::default() };
        self.add_records(&mut set);
        set
    }

    /// What follows from the addresses and nodes of the set.
    fn add_records(&self, set: &mut AnswerSet) {
        let picks = [&*set.picks[0], &*set.picks[1]];
        let answered = Answered { fleet: self.ground.fleet, blocks: &set.blocks, picks };
        set.records = records::blocks(self.service, answered);
    }
}

/// A or AAAA records of those addresses that are of the family.
fn address_block(family: Family, ttl: u32, addresses: impl Iterator<Item = IpAddr>) -> Block {
    let len = usize::from(family.bits() / 8);
    let of_family = addresses.filter(|address| Family::of(*address) == family);
    let octets: Vec<_> = of_family.map(|address| left_aligned(address).to_be_bytes()).collect();
    let rtype = [rtype::A, rtype::AAAA][family.index()];
    Block::of(rtype, ttl, octets.iter().map(|octets| &octets[..len]))
}
