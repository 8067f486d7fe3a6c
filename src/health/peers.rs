//! Comparing those who ought to be alike: a vantage with its peers, a node with the others of its site or pool.
//!
//! Both happen on the tick, over the whole fleet, and leave their result with the one compared: a count of
//! differing words with the vantage, an admitted outlier with the standing.

use super::HealthModel;
use super::family::{Case, FamilyState};
use super::outlier::{self, Bounds, Candidate, LEAST};
use crate::base::clock::MonoTime;
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::ids::NodeId;
use crate::model::judgement::OutlierRules;
use crate::model::verdict::Verdict;

/// Counts for every vantage whether its word on a family (down or not) is another than that of most of its
/// trusted peers; `counts` are (differing, compared).
pub(super) fn compare_words(state: &FamilyState, case: &Case<'_>, counts: &mut [(u32, u32)]) {
    let trusted = case.bench.trusted[case.family.index()];
    let says_down = |at: usize| state.word(at, case).map(|word| word.verdict() == Verdict::Down);
    let (mut down, mut all) = (0_u32, 0_u32);
    for at in (0..counts.len()).filter(|at| trusted >> at & 1 == 1) {
        if let Some(is_down) = says_down(at) {
            down += u32::from(is_down);
            all += 1;
        }
    }
    for (at, (differing, compared)) in counts.iter_mut().enumerate() {
        let Some(own) = says_down(at) else { continue };
        let counted = u32::from(trusted >> at & 1 == 1);
        let (peers, peers_down) = (all - counted, down - (counted & u32::from(own)));
        // Two peers at least, and more than half of them of one mind.
        let mind = match peers {
            0 | 1 => continue,
            _ if peers_down * 2 > peers => true,
            _ if peers_down * 2 < peers => false,
            _ => continue,
        };
        *compared += 1;
        *differing += u32::from(own != mind);
    }
}

impl HealthModel {
    /// Sets apart, for each vantage, the nodes far worse than their peers, as many as the pools bear.
    pub(super) fn compare_peers(&mut self, now: MonoTime) {
        let rules = self.fleet.judgement.rules.outlier.clone();
        if rules.share.0 == 0 {
            return;
        }
        for family in Family::BOTH {
            let mut candidates = Vec::new();
            for vantage in 0..self.sights.len() {
                self.note_outliers((vantage, family), now, &rules, &mut candidates);
            }
            if candidates.is_empty() {
                self.admit_outliers(family, &[]);
                continue;
            }
            let admitted = outlier::admit(candidates, &self.pools, &rules);
            self.admit_outliers(family, &admitted);
        }
    }

    fn note_outliers(
        &mut self,
        of: (usize, Family),
        now: MonoTime,
        rules: &OutlierRules,
        candidates: &mut Vec<Candidate>,
    ) {
        // Nodes of large sites are compared there, the others within their pools.
        let mut judged = vec![None; self.nodes.len()];
        for site in self.sites.iter().filter(|site| site.len() >= LEAST) {
            let paces = site.iter().filter_map(|&id| Some((id, self.pace(id, of)?.0)));
            judge(paces, true, rules, &mut judged);
        }
        for pool in self.pools.iter() {
            let excess = |&id: &NodeId| Some((id, self.pace(id, of)?.1?));
            judge(pool.members.iter().filter_map(excess), false, rules, &mut judged);
        }
        for (id, found) in self.fleet.node_ids().zip(judged) {
            let state = self.nodes[id.index()].families[of.1.index()].as_mut();
            let Some(standing) = state.and_then(|state| state.standings.get_mut(of.0)) else { continue };
            let wanted = found.map_or(Some(false), |(value, bounds): (Micros, Bounds)| {
                super::lasting::wanted(value, bounds.enter, bounds.leave)
            });
            standing.outlier.note(wanted, now, rules.lasting, rules.lasting * 2);
            if standing.outlier.is_on() {
                let out = found.map_or(0, |(value, bounds)| value.0.saturating_sub(bounds.leave.0));
                candidates.push(Candidate { is_admitted: standing.is_admitted_outlier, out, node: id });
            }
        }
    }

    /// The round trip of a node that stands up, and its distance from the usual one.
    fn pace(&self, id: NodeId, (vantage, family): (usize, Family)) -> Option<(Micros, Option<Micros>)> {
        let standing =
            self.nodes.get(id.index())?.families[family.index()].as_ref()?.standings.get(vantage)?;
        let is_up = standing.tracks.iter().all(|track| track.counter.standing() == Some(true));
        is_up.then(|| standing.pace()).flatten()
    }

    fn admit_outliers(&mut self, family: Family, admitted: &[NodeId]) {
        let mut is_admitted = vec![false; self.nodes.len()];
        admitted.iter().for_each(|id| is_admitted[id.index()] = true);
        for (node, admitted) in self.nodes.iter_mut().zip(is_admitted) {
            for standing in node.families[family.index()].iter_mut().flat_map(|it| &mut it.standings) {
                standing.is_admitted_outlier = admitted && standing.outlier.is_on();
            }
        }
    }
}

/// Judges one group of peers; a node judged already stays as judged.
fn judge(
    paces: impl Iterator<Item = (NodeId, Micros)>,
    is_ratio: bool,
    rules: &OutlierRules,
    judged: &mut [Option<(Micros, Bounds)>],
) {
    let paces: Vec<(NodeId, Micros)> = paces.collect();
    let mut values: Vec<u32> = paces.iter().map(|(_, pace)| pace.0).collect();
    let Some(bounds) = outlier::bounds(&mut values, is_ratio, rules) else { return };
    for (id, pace) in paces {
        judged[id.index()].get_or_insert((pace, bounds));
    }
}
