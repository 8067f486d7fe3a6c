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
//! Arrivals follow sequences that are as even as can be (multiples of the golden ratio), of crowds and of the
//! networks of each, since each stands for hundreds of people, whose chances even out: a node's load wavers by
//! what a table does to it, and not by the few thousand sessions that a machine can play.

use super::population::{self, Client};
use crate::base::hash::{SeededRng, mix64};
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The nodes nearest to a client, and the part of each in ppm; empty if unknown.
pub type Home = Vec<(NodeId, u32)>;
/// Of the client at an address, its home for each name; `None` if it is not known where that is.
pub type Homes<'a> = &'a dyn Fn(IpAddr) -> Option<Vec<Home>>;

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

/// Pairs of one home, in the order in which they begin to take part.
#[derive(Debug)]
struct Crowd {
    pairs: Vec<Pair>,
    home: Home,
    /// Up to which point of 0 to 1 it is this crowd's turn.
    until: f64,
    /// Where in the order of those present its last client was.
    at: f64,
}

/// Everybody, and how often who asks.
#[derive(Debug)]
pub struct Gathering {
    pub clients: Vec<Client>,
    pub audience: Audience,
}

/// Draws everybody who asks for one of so many names: some hundred thousand lookups. The same seed gives the
/// same.
pub fn gather(fleet: &Fleet, names: usize, homes: Homes<'_>, seed: u64) -> Gathering {
    let clients = population::draw(seed, homes);
    let of_client = |(client, drawn): (usize, &Client)| {
        let mut homes = homes(drawn.prefix.address()).unwrap_or_default();
        homes.resize(names, Home::new());
        homes.into_iter().enumerate().map(move |(name, home)| {
            let client = u32::try_from(client).unwrap_or(u32::MAX);
            (Pair { client, name: u16::try_from(name).unwrap_or(u16::MAX) }, home)
        })
    };
    let pairs = clients.iter().enumerate().flat_map(of_client);
    let audience = Audience::new(fleet, pairs, &mut SeededRng::new(mix64(seed)));
    Gathering { clients, audience }
}

impl Crowd {
    fn present(&self, load: f64) -> &[Pair] {
        let part = (load / FULL_HOUSE).clamp(REGULARS, 1.0);
        let count = (self.pairs.len() as f64 * part).ceil() as usize;
        &self.pairs[..count.min(self.pairs.len())]
    }

    fn next(&mut self, load: f64) -> Option<Pair> {
        self.at = (self.at + GOLDEN).fract();
        let present = self.present(load);
        present.get((self.at * present.len() as f64) as usize).or(present.last()).copied()
    }
}

/// All that may ask.
#[derive(Debug)]
pub struct Audience {
    crowds: Vec<Crowd>,
    at: f64,
}

impl Audience {
    /// Of pairs and the home of each.
    pub fn new(fleet: &Fleet, pairs: impl Iterator<Item = (Pair, Home)>, rng: &mut SeededRng) -> Self {
        let mut by_home: BTreeMap<Home, Crowd> = BTreeMap::new();
        for (pair, home) in pairs {
            if let Some(crowd) = by_home.get_mut(&home) {
                crowd.pairs.push(pair);
            } else {
                by_home
                    .insert(home.clone(), Crowd { pairs: vec![pair], home, until: 0.0, at: fraction(rng) });
            }
        }
        let mut crowds: Vec<Crowd> = by_home.into_values().collect();
        for crowd in &mut crowds {
            shuffle(&mut crowd.pairs, rng);
        }
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
        self.crowds.get_mut(at.min(last))?.next(load)
    }

    /// Everybody who asks while the fleet is as full as `load`, and how often: parts of 1.
    pub fn present(&self, load: f64) -> impl Iterator<Item = (Pair, f64)> {
        let mut since = 0.0;
        self.crowds.iter().flat_map(move |crowd| {
            let part = crowd.until - std::mem::replace(&mut since, crowd.until);
            let present = crowd.present(load);
            present.iter().map(move |&pair| (pair, part / present.len() as f64))
        })
    }
}

/// At least 0, less than 1.
fn fraction(rng: &mut SeededRng) -> f64 {
    rng.below(1 << 32) as f64 / (1_u64 << 32) as f64
}

fn shuffle(pairs: &mut [Pair], rng: &mut SeededRng) {
    for last in (1..pairs.len()).rev() {
        let other = usize::try_from(rng.below(last as u64 + 1)).unwrap_or(0);
        pairs.swap(last, other);
    }
}

/// By crowd: its part in all demand, so that what homes get is as near as can be to the nodes' capacities.
///
/// Multiplicative and begun at the crowds' own sizes: where several answers fit, the one nearest to those.
fn weigh(fleet: &Fleet, crowds: &[Crowd]) -> Vec<f64> {
    let wanted = capacities(fleet);
    let mut weights: Vec<f64> = crowds.iter().map(|crowd| crowd.pairs.len() as f64).collect();
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

    fn pairs(count: u32, home: impl Fn(Pair) -> Home) -> impl Iterator<Item = (Pair, Home)> {
        (0..count).map(|client| Pair { client, name: 0 }).map(move |pair| (pair, home(pair)))
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
        let present: Vec<(Pair, f64)> = audience.present(0.75).collect();
        assert!((499..=504).contains(&present.len()), "{}", present.len());
        let to_frankfurt = present.iter().filter(|(pair, _)| pair.client % 10 == 9).map(|(_, part)| part);
        assert!((to_frankfurt.sum::<f64>() - 0.4).abs() < 0.01);
    }

    #[test]
    fn more_load_is_more_networks() {
        let fleet = sample::fleet();
        let mut rng = SeededRng::new(7);
        let mut audience = Audience::new(&fleet, pairs(1_000, |_| Home::new()), &mut rng);
        let mut asking = |load: f64| {
            let all: std::collections::BTreeSet<Pair> =
                (0..20_000).filter_map(|_| audience.next(load)).collect();
            all.len()
        };
        let (idle, usual, full) = (asking(0.01), asking(0.75), asking(2.0));
        assert!((190..=201).contains(&idle), "{idle}");
        assert!((490..=501).contains(&usual), "{usual}");
        assert!((990..=1_000).contains(&full), "{full}");
    }

    #[test]
    fn each_network_comes_as_often_as_another() {
        let home = |pair: Pair| {
            if pair.client.is_multiple_of(3) { vec![(NodeId(0), 1_000_000)] } else { Home::new() }
        };
        let mut rng = SeededRng::new(7);
        let mut audience = Audience::new(&sample::fleet(), pairs(900, home), &mut rng);
        let present: BTreeMap<Pair, f64> = audience.present(0.75).collect();
        let mut came: BTreeMap<Pair, f64> = BTreeMap::new();
        (0..20_000)
            .filter_map(|_| audience.next(0.75))
            .for_each(|pair| *came.entry(pair).or_default() += 1.0);
        for (pair, part) in present {
            let (came, wanted) = (came.get(&pair).copied().unwrap_or_default(), part * 20_000.0);
            assert!((came - wanted).abs() <= 5.0, "{pair:?} came {came} times, not {wanted}");
        }
    }

    #[test]
    fn nobody_is_nobody() {
        let mut rng = SeededRng::new(7);
        let mut none = Audience::new(&sample::fleet(), pairs(0, |_| Home::new()), &mut rng);
        assert_eq!(none.next(1.0), None);
    }
}
