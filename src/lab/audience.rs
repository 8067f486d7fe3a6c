//! Who asks how often: so that the fleet suits its clients.
//!
//! ```text
//!  networks x names ─▶ home: nodes that would be the nearest ─▶ crowd of one home ─▶ weight
//!                                                               (pairs)              so that every node
//!                                                                                    has its capacity's part
//! ```
//! By address space alone half of the clients would be American, and the fleet would be full in one place and
//! idle in all others before anything went wrong. Operators build where their clients are; so a crowd is as
//! large as its home can carry, and by the nearest node every node would be equally full. Who has no home
//! (no distances are known) asks as often as the others.
//!
//! More load is more networks, and not the same ones more often: who comes when the load rises is a newcomer.
//!
//! A network of the lab stands for hundreds of people and for many networks that it does not draw, whose chances
//! even out. So arrivals are as even as can be (multiples of the golden ratio, not chance): of crowds, of the
//! groups of each, and of the places of a group's clients, which slots of a table are equal parts of:
//!
//! ```text
//!  places of a group  0 ├──────┬──┬─────────┬───┤ all    arrivals fall evenly on this line,
//!  networks drawn              a  b         c   d        and are of the next network: c comes often, b seldom
//!  slots                ├─────┼─────┼─────┼─────┤        each has its part, also if few networks were drawn
//! ```
//! A node's load wavers by what a table and a resolver's cache do to it, and not by the few thousand sessions and
//! networks that a machine can play.

use super::population::{self, Client};
use crate::base::hash::{SeededRng, mix64};
use crate::model::fleet::Fleet;
use crate::model::ids::{GroupId, NodeId};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The nodes nearest to a client, and the part of each in ppm; empty if unknown.
pub type Home = Vec<(NodeId, u32)>;
/// Of the client at an address, its home for each name; `None` if it is not known where that is.
pub type Homes<'a> = &'a dyn Fn(IpAddr) -> Option<Vec<Home>>;
/// Of the client at an address, where it stands for a name (by position).
pub type Places<'a> = &'a dyn Fn(IpAddr, usize) -> Place;

/// Load at which every network takes part.
const FULL_HOUSE: f64 = 1.5;
/// However idle the fleet is, this part of the networks asks.
const REGULARS: f64 = 0.2;
/// Of the expectation-maximisation that finds the weights: few, since the last per cents would be had by
/// letting a handful of networks stand for a continent.
const ROUNDS: usize = 20;
/// The fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// A network and a name: positions in the lists of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    pub client: u32,
    pub name: u16,
}

/// Where a client stands among those of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub group: GroupId,
    /// Of all that a `u64` can be; slots of a table are equal parts of that.
    pub at: u64,
}

/// One who may ask.
#[derive(Clone, Copy, Debug)]
struct Seat {
    at: u64,
    pair: Pair,
    /// Takes part where more than this part of all does: of 2^32.
    joins: u32,
}

/// Pairs of one home.
#[derive(Debug)]
struct Crowd {
    /// By group and name, each in the order of places.
    strata: Vec<Vec<Seat>>,
    home: Home,
    /// Up to which point of 0 to 1 it is this crowd's turn.
    until: f64,
    /// Where in the order of those present its last client was.
    at: f64,
    /// Who asks at the load asked for last.
    present: Present,
}

/// Who asks of a crowd at some load.
#[derive(Debug, Default)]
struct Present {
    /// Of all, of 2^32.
    part: u32,
    /// Place and who stands there, stratum by stratum.
    seats: Vec<(u64, Pair)>,
    /// Where each stratum ends.
    ends: Vec<usize>,
}

/// Everybody, and how often who asks.
#[derive(Debug)]
pub struct Gathering {
    pub clients: Vec<Client>,
    pub audience: Audience,
}

/// Draws everybody who asks for one of so many names: some hundred thousand lookups. The same seed gives the
/// same.
pub fn gather(fleet: &Fleet, names: usize, homes: Homes<'_>, places: Places<'_>, seed: u64) -> Gathering {
    let clients = population::draw(seed, homes);
    let of_client = |(client, drawn): (usize, &Client)| {
        let address = drawn.prefix.address();
        let mut homes = homes(address).unwrap_or_default();
        homes.resize(names, Home::new());
        homes.into_iter().enumerate().map(move |(name, home)| {
            let client = u32::try_from(client).unwrap_or(u32::MAX);
            let pair = Pair { client, name: u16::try_from(name).unwrap_or(u16::MAX) };
            (pair, home, places(address, name))
        })
    };
    let pairs = clients.iter().enumerate().flat_map(of_client);
    let audience = Audience::new(fleet, pairs, &mut SeededRng::new(mix64(seed)));
    Gathering { clients, audience }
}

/// Of 2^32: how many take part at a load.
fn part_present(load: f64) -> u32 {
    ((load / FULL_HOUSE).clamp(REGULARS, 1.0) * f64::from(u32::MAX)) as u32
}

impl Crowd {
    fn new(home: Home, strata: BTreeMap<(GroupId, u16), Vec<Seat>>, rng: &mut SeededRng) -> Self {
        let mut strata: Vec<Vec<Seat>> = strata.into_values().collect();
        for seats in &mut strata {
            seats.sort_unstable_by_key(|seat| (seat.at, seat.pair));
            // As even as can be here as well: whichever part of them takes part is from everywhere.
            let mut joins = fraction(rng);
            for seat in seats {
                joins = (joins + GOLDEN).fract();
                seat.joins = (joins * f64::from(u32::MAX)) as u32;
            }
        }
        Self { strata, home, until: 0.0, at: fraction(rng), present: Present::default() }
    }

    fn pairs(&self) -> usize {
        self.strata.iter().map(Vec::len).sum()
    }

    fn next(&mut self, part: u32) -> Option<Pair> {
        if self.present.part != part {
            self.present = Present::of(&self.strata, part);
        }
        self.at = (self.at + GOLDEN).fract();
        self.present.at(self.at)
    }
}

impl Present {
    /// Somebody is there, if there is anybody.
    fn of(strata: &[Vec<Seat>], part: u32) -> Self {
        let mut present = Self { part, ..Self::default() };
        for seats in strata {
            let joined = seats.iter().filter(|seat| seat.joins <= part);
            present.seats.extend(joined.map(|seat| (seat.at, seat.pair)));
            present.ends.push(present.seats.len());
        }
        if present.seats.is_empty()
            && let Some(first) = strata.iter().flatten().min_by_key(|seat| seat.joins)
        {
            present.seats.push((first.at, first.pair));
            present.ends = vec![1];
        }
        present
    }

    fn strata(&self) -> impl Iterator<Item = &[(u64, Pair)]> {
        let since = std::iter::once(0).chain(self.ends.iter().copied());
        since.zip(&self.ends).map(|(since, &end)| &self.seats[since..end])
    }

    /// Whose turn it is at a point of 0 to 1: a stratum has so much of it as it has pairs, and a pair as much of
    /// its stratum as lies between its place and the one before.
    fn at(&self, point: f64) -> Option<Pair> {
        let point = point * self.seats.len() as f64;
        let stratum =
            self.ends.partition_point(|&end| end as f64 <= point).min(self.ends.len().checked_sub(1)?);
        let since = stratum.checked_sub(1).map_or(0, |before| self.ends[before]);
        let seats = &self.seats[since..self.ends[stratum]];
        let within = ((point - since as f64) / seats.len() as f64).clamp(0.0, 1.0);
        let wanted = (within * u64::MAX as f64) as u64;
        let first = seats.partition_point(|&(at, _)| at < wanted);
        let first = if first < seats.len() { first } else { 0 };
        let (at, _) = *seats.get(first)?;
        // Networks of one hash bucket have one place: by turns.
        let run = seats[first..].partition_point(|&(other, _)| other == at);
        let gap = gap(seats[first.checked_sub(1).unwrap_or(seats.len() - 1)].0, at);
        let left = at.wrapping_sub(wanted) as f64;
        let turn = (1.0 - left / gap) * run as f64;
        seats.get(first + (turn as usize).min(run - 1)).map(|&(_, pair)| pair)
    }

    /// Everybody, and how much of 0 to 1 is his.
    fn parts(&self) -> impl Iterator<Item = (Pair, f64)> {
        let all = self.seats.len() as f64;
        self.strata().flat_map(move |seats| {
            let mut last = seats.last().map_or(0, |&(at, _)| at);
            seats.chunk_by(|one, other| one.0 == other.0).flat_map(move |run| {
                let gap = gap(std::mem::replace(&mut last, run[0].0), run[0].0);
                let part = gap / u64::MAX as f64 * seats.len() as f64 / all / run.len() as f64;
                run.iter().map(move |&(_, pair)| (pair, part))
            })
        })
    }
}

/// From a place to the next, around; one place alone has all of it.
fn gap(before: u64, at: u64) -> f64 {
    if before == at { u64::MAX as f64 } else { at.wrapping_sub(before) as f64 }
}

/// All that may ask.
#[derive(Debug)]
pub struct Audience {
    crowds: Vec<Crowd>,
    at: f64,
}

impl Audience {
    /// Of pairs, and of each its home and where it stands.
    pub fn new(fleet: &Fleet, pairs: impl Iterator<Item = (Pair, Home, Place)>, rng: &mut SeededRng) -> Self {
        let mut by_home: BTreeMap<Home, BTreeMap<(GroupId, u16), Vec<Seat>>> = BTreeMap::new();
        for (pair, home, place) in pairs {
            let seat = Seat { at: place.at, pair, joins: 0 };
            by_home.entry(home).or_default().entry((place.group, pair.name)).or_default().push(seat);
        }
        let crowd = |(home, strata)| Crowd::new(home, strata, rng);
        let mut crowds: Vec<Crowd> = by_home.into_iter().map(crowd).collect();
        let weights = weigh(fleet, &crowds);
        let total: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut until = 0.0;
        for (crowd, weight) in crowds.iter_mut().zip(weights) {
            until += weight / total;
            crowd.until = until;
        }
        Self { crowds, at: fraction(rng) }
    }

    /// Who comes next while the fleet is as full as `load` (1: to its capacity).
    pub fn next(&mut self, load: f64) -> Option<Pair> {
        self.at = (self.at + GOLDEN).fract();
        let at = self.crowds.partition_point(|crowd| crowd.until <= self.at);
        let last = self.crowds.len().checked_sub(1)?;
        self.crowds.get_mut(at.min(last))?.next(part_present(load))
    }

    /// Everybody who asks while the fleet is as full as `load`, and how often: parts of 1.
    pub fn present(&self, load: f64) -> Vec<(Pair, f64)> {
        let (mut since, mut all) = (0.0, Vec::new());
        for crowd in &self.crowds {
            let part = crowd.until - std::mem::replace(&mut since, crowd.until);
            let present = Present::of(&crowd.strata, part_present(load));
            all.extend(present.parts().map(|(pair, own)| (pair, own * part)));
        }
        all
    }
}

/// At least 0, less than 1.
fn fraction(rng: &mut SeededRng) -> f64 {
    rng.below(1 << 32) as f64 / (1_u64 << 32) as f64
}

/// By crowd: its part in all demand, so that what homes get is as near as can be to the nodes' capacities.
///
/// Multiplicative and begun at the crowds' own sizes: where several answers fit, the one nearest to those.
fn weigh(fleet: &Fleet, crowds: &[Crowd]) -> Vec<f64> {
    let wanted = capacities(fleet);
    let mut weights: Vec<f64> = crowds.iter().map(|crowd| crowd.pairs() as f64).collect();
    let total: f64 = weights.iter().sum();
    let homed: f64 = crowds.iter().zip(&weights).filter(|(c, _)| !c.home.is_empty()).map(|(_, w)| w).sum();
    if homed <= 0.0 || wanted.iter().sum::<f64>() <= 0.0 {
        return weights;
    }
    for _ in 0..ROUNDS {
        let mut given = vec![0.0; wanted.len()];
        for (crowd, weight) in crowds.iter().zip(&weights) {
            crowd.home.iter().for_each(|&(node, part)| given[node.index()] += weight * part_of(part));
        }
        let scale = |node: NodeId| wanted[node.index()] * total / given[node.index()].max(f64::MIN_POSITIVE);
        for (crowd, weight) in crowds.iter().zip(&mut weights) {
            if !crowd.home.is_empty() {
                *weight *= crowd.home.iter().map(|&(node, part)| part_of(part) * scale(node)).sum::<f64>();
            }
        }
    }
    weights
}

fn part_of(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

/// By node: its part of all capacity, each unit for itself; a node without any counts for nothing.
fn capacities(fleet: &Fleet) -> Vec<f64> {
    let mut total: BTreeMap<&str, u64> = BTreeMap::new();
    for capacity in fleet.nodes.iter().filter_map(|node| node.capacity.as_ref()) {
        *total.entry(&capacity.unit).or_default() += capacity.amount;
    }
    let units = total.len().max(1) as f64;
    let part = |unit: &str, amount: u64| {
        amount as f64 / total.get(unit).copied().unwrap_or_default().max(1) as f64 / units
    };
    let nodes = fleet.nodes.iter();
    nodes.map(|node| node.capacity.as_ref().map_or(0.0, |c| part(&c.unit, c.amount))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;

    /// Of two groups; places are random.
    fn pairs(count: u32, home: impl Fn(Pair) -> Home) -> impl Iterator<Item = (Pair, Home, Place)> {
        let place = |client: u32| Place { group: GroupId(client % 2), at: mix64(u64::from(client) + 1) };
        (0..count).map(move |client| {
            let pair = Pair { client, name: 0 };
            (pair, home(pair), place(client))
        })
    }

    #[test]
    fn every_home_gets_what_it_can_carry() {
        let mut fleet = sample::fleet();
        fleet.nodes[3].capacity.as_mut().expect("has one").amount = 2_000;
        // Most live near tyo-1 or near both of Tokyo, few near the others.
        let home = |pair: Pair| match pair.client % 10 {
            0..6 => vec![(NodeId(0), 1_000_000)],
            6 | 7 => vec![(NodeId(0), 500_000), (NodeId(1), 500_000)],
            8 => vec![(NodeId(2), 1_000_000)],
            _ => vec![(NodeId(3), 1_000_000)],
        };
        let mut rng = SeededRng::new(7);
        let mut audience = Audience::new(&fleet, pairs(1_000, home), &mut rng);
        let mut given = [0.0; 4];
        for _ in 0..10_000 {
            let pair = audience.next(0.7).expect("somebody");
            home(pair).iter().for_each(|&(node, part)| given[node.index()] += part_of(part));
        }
        for (node, (given, wanted)) in given.iter().zip([2_000.0, 2_000.0, 2_000.0, 4_000.0]).enumerate() {
            assert!((given - wanted).abs() < wanted * 0.05, "{node}: {given} of {wanted}");
        }
        let present = audience.present(0.75);
        assert!((490..=510).contains(&present.len()), "{}", present.len());
        let to_frankfurt = present.iter().filter(|(pair, _)| pair.client % 10 == 9).map(|(_, part)| part);
        assert!((to_frankfurt.sum::<f64>() - 0.4).abs() < 0.01);
    }

    #[test]
    fn more_load_is_more_networks() {
        let fleet = sample::fleet();
        let mut rng = SeededRng::new(7);
        let mut audience = Audience::new(&fleet, pairs(1_000, |_| Home::new()), &mut rng);
        let present = |audience: &Audience, load: f64| -> std::collections::BTreeSet<Pair> {
            audience.present(load).into_iter().map(|(pair, _)| pair).collect()
        };
        let [idle, usual, full] = [0.01, 0.75, 2.0].map(|load| present(&audience, load));
        assert!((196..=204).contains(&idle.len()), "{}", idle.len());
        assert!((496..=504).contains(&usual.len()), "{}", usual.len());
        assert_eq!(full.len(), 1_000);
        assert!(idle.is_subset(&usual));
        for (load, present) in [(0.75, &usual), (0.01, &idle), (2.0, &full)] {
            let came: std::collections::BTreeSet<Pair> =
                (0..20_000).filter_map(|_| audience.next(load)).collect();
            assert!(came.is_subset(present) && came.len() > present.len() / 10 * 9, "{}", came.len());
        }
    }

    #[test]
    fn every_part_of_a_group_comes_as_often_as_another_at_any_time() {
        let home = |pair: Pair| {
            if pair.client.is_multiple_of(3) { vec![(NodeId(0), 1_000_000)] } else { Home::new() }
        };
        let mut rng = SeededRng::new(7);
        let all: Vec<(Pair, Home, Place)> = pairs(9_000, home).collect();
        let mut audience = Audience::new(&sample::fleet(), all.iter().cloned(), &mut rng);
        // Of the larger crowd's groups, by slot: some 1,500 networks of each are present.
        let slot = |pair: Pair| {
            let (_, home, place) = &all[pair.client as usize];
            home.is_empty().then_some((place.group.index(), (place.at >> 61) as usize))
        };
        let parts = audience.present(0.75);
        assert!((parts.iter().map(|(_, part)| part).sum::<f64>() - 1.0).abs() < 1e-9);
        let mut by_slot = [[0.0; 8]; 2];
        parts
            .iter()
            .filter_map(|&(pair, part)| slot(pair).map(|at| (at, part)))
            .for_each(|((group, slot), part)| by_slot[group][slot] += part);
        let whole: f64 = by_slot.iter().flatten().sum();
        for _ in 0..5 {
            let mut came = [[0.0; 8]; 2];
            let arrivals = 3_000;
            for (group, slot) in (0..arrivals).filter_map(|_| slot(audience.next(0.75)?)) {
                came[group][slot] += 1.0;
            }
            for (came, part) in came.iter().flatten().zip(by_slot.iter().flatten()) {
                let (even, told) = (whole / 16.0 * f64::from(arrivals), part * f64::from(arrivals));
                assert!((came - even).abs() < even * 0.05, "{came} of {even}");
                assert!((told - even).abs() < even * 0.03, "{told} of {even}");
            }
        }
    }

    #[test]
    fn networks_of_one_place_take_turns_and_one_alone_has_all() {
        let place = |client: u32| Place { group: GroupId(0), at: [7, 7, 7, u64::MAX / 2][client as usize] };
        let of = |count: u32| {
            let pairs = (0..count).map(|client| (Pair { client, name: 0 }, Home::new(), place(client)));
            Audience::new(&sample::fleet(), pairs, &mut SeededRng::new(7))
        };
        let (mut audience, mut came) = (of(4), [0.0_f64; 4]);
        for _ in 0..6_000 {
            came[audience.next(2.0).expect("somebody").client as usize] += 1.0;
        }
        let parts: Vec<f64> = audience.present(2.0).iter().map(|(_, part)| *part).collect();
        for ((came, part), wanted) in came.iter().zip(&parts).zip([1_000.0, 1_000.0, 1_000.0, 3_000.0]) {
            assert!((came - wanted).abs() < 20.0 && (part * 6_000.0 - wanted).abs() < 1.0, "{came} {part}");
        }
        assert_eq!(of(3).present(2.0).iter().map(|(_, part)| part).sum::<f64>(), 1.0);
        assert_eq!(of(1).present(0.0), [(Pair { client: 0, name: 0 }, 1.0)]);
    }

    #[test]
    fn nobody_is_nobody() {
        let mut rng = SeededRng::new(7);
        let mut none = Audience::new(&sample::fleet(), pairs(0, |_| Home::new()), &mut rng);
        assert_eq!(none.next(1.0), None);
    }
}
