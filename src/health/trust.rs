//! Whom to believe: the vantages weighed against their anchors and each other, and whether enough is surely
//! known to move anybody by choice.
//!
//! ```text
//!   observation in the dark, anchor report, tick ─▶ assess ─▶ who is trusted, by family (a mask of vantages)
//!                                           tick ─▶ census ─▶ what each sees, and how many words differ
//!                                           tick ─▶ freeze ─▶ fewer than half of the nodes surely known
//! ```
//! The rules for one vantage are [`sight`](super::sight)'s; here they meet. A freeze is never declared for a
//! vantage alone without anchors, nor while everybody is still awaited after a start.

use super::sight::{Change, Peers, Sight};
use super::{HealthModel, peers};
use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Family;
use crate::model::ids::NodeId;
use crate::model::judgement::Vantage;
use crate::model::verdict::{Freeze, NodeHealth, VantageHealth, Verdict};
use std::net::SocketAddr;

impl HealthModel {
    /// Fewer than half of the nodes are surely known: nobody is to be moved by choice. Never for a vantage
    /// alone without anchors.
    pub fn freeze(&self) -> Option<Freeze> {
        self.freeze
    }

    /// How each vantage is listened to.
    pub fn vantages(&self) -> Vec<VantageHealth> {
        let told = |(vantage, sight): (&Vantage, &Sight)| {
            let (answering, asked) = sight.counts();
            let heard = sight.heard().map(|at| self.bench.now.since(at).as_millis());
            let heard_ago_ms = heard.map(|ago| u64::try_from(ago).unwrap_or(u64::MAX));
            let (name, distrust) = (vantage.name.clone(), sight.distrust());
            VantageHealth { name, distrust, answering, asked, heard_ago_ms }
        };
        self.fleet.judgement.vantages.iter().zip(&self.sights).map(told).collect()
    }

    /// Anchors that never answered though the targets of their vantage did: they tell nothing.
    pub fn silent_anchors(&self) -> Vec<(&str, SocketAddr)> {
        let vantages = self.fleet.judgement.vantages.iter().zip(&self.sights);
        let of = |(vantage, sight): (&'_ Vantage, &'_ Sight)| {
            sight.silent_anchors().filter_map(|at| vantage.anchors.get(at).copied()).collect::<Vec<_>>()
        };
        vantages
            .flat_map(|(vantage, sight)| {
                of((vantage, sight)).into_iter().map(|anchor| (vantage.name.as_str(), anchor))
            })
            .collect()
    }

    /// As [`HealthModel::view`], but nodes of which no trusted vantage says anything fresh are unknown: while
    /// the table is frozen an evacuation prefers nodes just seen to succeed.
    pub fn view_of_the_seen(&self) -> Vec<NodeHealth> {
        let seen = |id: NodeId| {
            let mut health = self.view_of(id);
            for family in Family::BOTH {
                let case = self.case(id, family, WallTime::default());
                let state = self.nodes[id.index()].families[family.index()].as_ref();
                let is_trusted = state.is_some_and(|state| state.is_trusted(&case));
                let held = health.families[family.index()].as_mut();
                if let Some(held) = held.filter(|held| !is_trusted && held.verdict.may_serve()) {
                    held.verdict = Verdict::Unknown;
                }
            }
            health
        };
        self.fleet.node_ids().map(seen).collect()
    }

    /// Weighs every vantage anew.
    pub(super) fn assess(&mut self, now: MonoTime) {
        let (rules, max_age) = (&self.fleet.judgement.rules.trust, self.max_age);
        let longest = max_age[0].max(max_age[1]);
        let several = self.sights.len() > 1;
        let anchored = self.fleet.judgement.vantages.iter().any(|vantage| !vantage.anchors.is_empty());
        self.bench.is_watched = several || anchored;
        if !self.bench.is_watched {
            (self.bench.trusted, self.bench.seeing) = ([1; 2], [1; 2]);
            return;
        }
        let heard: Vec<bool> =
            self.sights.iter().map(|it| it.is_heard_at_all(now, self.started, max_age)).collect();
        let seeing: Vec<bool> = self
            .sights
            .iter()
            .zip(&heard)
            .map(|(sight, &heard)| heard && !sight.is_dark(rules) && sight.saw_something(now, longest))
            .collect();
        let mut see_again = Vec::new();
        for at in 0..self.sights.len() {
            let among_others = |of: &dyn Fn(usize) -> bool| {
                (0..self.sights.len()).filter(|&other| other != at && of(other)).count() as u32
            };
            let peers = Peers {
                others: among_others(&|other| self.sights[other].was_ever_heard()) > 0
                    || (several && !self.sights[at].has_ever_seen()),
                heard: among_others(&|other| heard[other] && self.sights[other].was_ever_heard()),
                seeing: among_others(&|other| seeing[other]),
            };
            if self.sights[at].weigh(heard[at], peers, now, rules) == Change::SeesAgain {
                see_again.push(at);
            }
        }
        for family in Family::BOTH {
            let mask = |counts: &dyn Fn(&Sight) -> bool| {
                self.sights
                    .iter()
                    .enumerate()
                    .fold(0_u16, |mask, (at, sight)| mask | u16::from(counts(sight)) << at)
            };
            let max_age = max_age[family.index()];
            let is_heard = |sight: &Sight| sight.is_heard(family, now, self.started, max_age);
            self.bench.trusted[family.index()] = mask(&|sight| sight.distrust().is_none() && is_heard(sight));
            self.bench.seeing[family.index()] =
                mask(&|sight| is_heard(sight) && sight.saw_something(now, max_age));
        }
        see_again.into_iter().for_each(|vantage| self.begin_again(vantage));
    }

    /// What a vantage counted while blind was its own outage.
    fn begin_again(&mut self, vantage: usize) {
        for family in self.nodes.iter_mut().flat_map(|node| node.families.iter_mut().flatten()) {
            let up = family.agreed.unwrap_or(family.held.verdict) != Verdict::Down;
            if let Some(standing) = family.standings.get_mut(vantage) {
                standing.restart(up);
            }
        }
    }

    /// Counts anew what each vantage sees, and how many of its words differ from its peers'.
    pub(super) fn census(&mut self, now: MonoTime) {
        let vantages = self.sights.len();
        let mut counts = vec![(0_u32, 0_u32); vantages];
        let mut differing = vec![(0_u32, 0_u32); vantages];
        for id in self.fleet.node_ids() {
            for family in Family::BOTH {
                let case = self.case(id, family, WallTime::default());
                let Some(state) = &self.nodes[id.index()].families[family.index()] else { continue };
                for (standing, (asked, answering)) in state.standings.iter().zip(&mut counts) {
                    let newest = standing.newest.filter(|_| standing.is_fresh(now, case.max_age));
                    *asked += u32::from(newest.is_some());
                    *answering += u32::from(newest == Some(true));
                }
                if vantages > 2 {
                    peers::compare_words(state, &case, &mut differing);
                }
            }
        }
        let odds = self.fleet.judgement.rules.trust.odds;
        for (sight, (counts, differing)) in self.sights.iter_mut().zip(counts.into_iter().zip(differing)) {
            sight.recount(counts.0, counts.1);
            sight.compare(differing.0, differing.1, now, odds);
        }
    }

    pub(super) fn note_freeze(&mut self, wall: WallTime) {
        if !self.bench.is_watched {
            // Also where an edit has taken away the anchors or peers it was declared by.
            self.freeze = None;
            return;
        }
        // At first everybody is awaited.
        if self.bench.now.since(self.started) <= self.max_age[0].max(self.max_age[1]) {
            return;
        }
        let is_known = |&id: &NodeId| {
            let families = Family::BOTH.iter().filter_map(|&family| {
                let state = self.nodes[id.index()].families[family.index()].as_ref()?;
                Some(state.is_trusted(&self.case(id, family, wall)))
            });
            families.clone().any(|known| known) || families.count() == 0
        };
        let known = self.fleet.node_ids().filter(is_known).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.freeze = (known * 2 < self.nodes.len()).then(|| Freeze {
            since: self.freeze.map_or(wall, |before| before.since),
            known: count(known),
            nodes: count(self.nodes.len()),
        });
    }
}
