//! Which clients a plan moves, told as flows between nodes.

use super::book::{Book, NONE};
use super::demand::{Demand, weights};
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, NodeId, ServiceId};
use crate::model::placement::{Assignment, Move, Share};
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, HashMap};

type Flow = (Option<NodeId>, Option<NodeId>);
/// Looked up and drained into a sorted list: their order means nothing.
type Sums<K, V> = HashMap<K, V, FixedState>;

/// All moves of all services, largest first. `changed`: by service, groups that are not where they were.
pub(super) fn moves(books: &[Book<'_>], changed: &[Vec<u32>], demand: &Demand) -> Vec<Move> {
    let mut moves = Vec::new();
    for (service, (book, changed)) in books.iter().zip(changed).enumerate() {
        let share = |weighted: u128| {
            let ppm = weighted / u128::from(demand.total(service).max(1));
            Ppm(u32::try_from(ppm).unwrap_or(u32::MAX))
        };
        let weight = |group: usize| demand.weight(service, group);
        let of_service = flows(book, changed, weight).into_iter().map(|((from, to), weighted)| Move {
            service: ServiceId::from_index(service),
            from,
            to,
            share: share(weighted),
        });
        moves.extend(of_service.filter(|one| one.share > Ppm::ZERO));
    }
    moves.sort_unstable_by_key(|one| (std::cmp::Reverse(one.share), one.service, one.from, one.to));
    moves
}

/// The clients of one move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movers {
    pub groups: usize,
    /// The group that most of them are in.
    pub largest: GroupId,
}

/// Who moves between two assignments of the same groups, by service and flow.
pub fn movers(
    groups: &[ClientGroup],
    before: Option<&Assignment>,
    after: &Assignment,
) -> BTreeMap<(ServiceId, Option<NodeId>, Option<NodeId>), Movers> {
    let weights = weights(groups);
    let mut found: BTreeMap<_, (Movers, u128)> = BTreeMap::new();
    for service in (0..after.services.len()).map(ServiceId::from_index) {
        for (group, &weight) in (0..groups.len()).map(GroupId::from_index).zip(&weights) {
            let shares = |of: Option<&Assignment>| {
                of.and_then(|it| it.placement(service, group)).map_or_else(Vec::new, |it| it.shares.clone())
            };
            change(&shares(before), &shares(Some(after)), &mut |(from, to), ppm| {
                let own = u128::from(weight) * u128::from(ppm);
                let nobody = (Movers { groups: 0, largest: group }, 0);
                let (movers, most) = found.entry((service, from, to)).or_insert(nobody);
                movers.groups += 1;
                if own > *most {
                    (movers.largest, *most) = (group, own);
                }
            });
        }
    }
    found.into_iter().map(|(flow, (movers, _))| (flow, movers)).collect()
}

/// Group weight times ppm, by flow: only of pairs whose placement changed.
fn flows(book: &Book<'_>, changed: &[u32], weight: impl Fn(usize) -> u64) -> Sums<Flow, u128> {
    let mut changes: Sums<(u32, u32), u64> = HashMap::default();
    // Many who come to one placement come from the same one, at first from none.
    let is_upheaval = changed.len() > book.count() / 4;
    let mut by_end = vec![(NONE, 0_u64); if is_upheaval { book.count() } else { 0 }];
    for group in changed.iter().map(|&group| group as usize) {
        let (before, after) = (book.before[group], book.at[group]);
        match by_end.get_mut(after as usize) {
            Some((first, sum)) if *sum == 0 || *first == before => {
                *first = before;
                *sum += weight(group);
            }
            _ => *changes.entry((before, after)).or_default() += weight(group),
        }
    }
    let at_end = |(after, &(before, weight)): (usize, &(u32, u64))| ((before, after as u32), weight);
    let changes = by_end.iter().enumerate().map(at_end).filter(|&(_, weight)| weight > 0).chain(changes);
    let mut flows: Sums<Flow, u128> = HashMap::default();
    // By node: of those who were nowhere, which is everybody at first.
    let mut arrivals: Vec<u128> = Vec::new();
    for ((before, after), weight) in changes {
        let (from, to) = (book.shares(before), book.shares(after));
        // Most of what changes in a refresh is backups.
        if from == to && before != NONE {
            continue;
        }
        change(from, to, &mut |flow, ppm| {
            let own = u128::from(weight) * u128::from(ppm);
            match flow {
                (None, Some(node)) => {
                    arrivals.resize(arrivals.len().max(node.index() + 1), 0);
                    arrivals[node.index()] += own;
                }
                _ => *flows.entry(flow).or_default() += own,
            }
        });
    }
    let arrived = arrivals.into_iter().enumerate().filter(|&(_, sum)| sum > 0);
    flows.extend(arrived.map(|(node, sum)| ((None, Some(NodeId::from_index(node))), sum)));
    flows
}

/// What there is of `of` more than of `against`, by node; from nobody, or to nobody, all of it.
fn surplus<'s>(of: &'s [Share], against: &'s [Share]) -> impl Iterator<Item = (Option<NodeId>, u32)> {
    let rest = of.iter().map(|share| {
        let other = against.iter().find(|other| other.node == share.node);
        (Some(share.node), share.share.0.saturating_sub(other.map_or(0, |other| other.share.0)))
    });
    let nobody = of.is_empty().then_some((None, Ppm::WHOLE.0));
    rest.filter(|&(_, ppm)| ppm > 0).chain(nobody)
}

/// Matches what nodes lose with what nodes gain, both in the order of the shares.
fn change(from: &[Share], to: &[Share], emit: &mut impl FnMut(Flow, u32)) {
    if from.is_empty() && to.is_empty() {
        return;
    }
    let mut gains = surplus(to, from);
    let mut gain = gains.next();
    for (loser, mut lost) in surplus(from, to) {
        while lost > 0
            && let Some((gainer, gained)) = gain
        {
            let ppm = lost.min(gained);
            emit((loser, gainer), ppm);
            lost -= ppm;
            gain = if gained > ppm { Some((gainer, gained - ppm)) } else { gains.next() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(shares: &[(u16, u32)]) -> Vec<Share> {
        shares.iter().map(|&(node, ppm)| Share { node: NodeId(node), share: Ppm(ppm) }).collect()
    }

    #[test]
    fn losses_are_matched_with_gains() {
        let mut seen = Vec::new();
        let from = shares(&[(0, 600_000), (1, 400_000)]);
        let to = shares(&[(2, 500_000), (1, 400_000), (3, 100_000)]);
        change(&from, &to, &mut |flow, ppm| seen.push((flow, ppm)));
        let n = |node| Some(NodeId(node));
        assert_eq!(seen, [((n(0), n(2)), 500_000), ((n(0), n(3)), 100_000)]);
        seen.clear();
        change(&[], &from, &mut |flow, ppm| seen.push((flow, ppm)));
        assert_eq!(seen, [((None, n(0)), 600_000), ((None, n(1)), 400_000)]);
    }
}
