//! The client networks that are asked for: drawn at random, so many of each client group as its part in the demand.
//!
//! Every group with demand has one at least, while there are more of them than groups; each network stands for its
//! part of its group. Networks that locate nobody are left to whoever lists them. The same seed draws the same.

use crate::base::hash::{SeededRng, mix_pair};
use crate::base::prefix::{Family, Prefix};

/// As resolvers name clients (RFC 7871 11.1).
const NETWORK: [u8; 2] = [24, 56];
/// Networks of one leaf that are told apart, in bits: more of IPv6 than can be counted is in one leaf.
const MOST_BITS: u8 = 32;
/// For a network that locates somebody.
const TRIES: usize = 16;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub network: Prefix,
    /// Position of its group.
    pub group: u32,
    /// Of its group, how many there are.
    pub of: u32,
}

/// Draws about `wanted` clients. `weights`: by group, its part in the demand, in any unit. `leaves`: networks, each
/// in one group whole; of what is in them, only networks that `locates` somebody are drawn.
pub fn draw(
    seed: u64,
    wanted: u32,
    weights: &[u64],
    leaves: impl Iterator<Item = (Prefix, u32)>,
    locates: impl Fn(Prefix) -> bool,
) -> Vec<Client> {
    let mut homes: Vec<[Home; 2]> = weights.iter().map(|_| Default::default()).collect();
    for (leaf, group) in leaves {
        if let Some(home) = homes.get_mut(group as usize) {
            home[leaf.family().index()].add(leaf);
        }
    }
    // Who has no network cannot be asked for.
    let weights: Vec<u64> = weights
        .iter()
        .zip(&homes)
        .map(|(weight, home)| if home.iter().all(|it| it.all == 0) { 0 } else { *weight })
        .collect();
    let mut clients = Vec::with_capacity(wanted as usize);
    for (group, count) in divide(wanted, &weights).into_iter().enumerate() {
        let mut rng = SeededRng::new(mix_pair(seed, group as u64));
        // IPv4 is what most resolvers name their clients by.
        let home = homes[group].iter().find(|home| home.all > 0);
        let group = u32::try_from(group).unwrap_or(u32::MAX);
        let mut network = || (0..TRIES).find_map(|_| home?.draw(&mut rng).filter(|it| locates(*it)));
        let networks: Vec<Prefix> = (0..count).filter_map(|_| network()).collect();
        let of = u32::try_from(networks.len()).unwrap_or(u32::MAX);
        clients.extend(networks.into_iter().map(|network| Client { network, group, of }));
    }
    clients
}

/// The networks of a group and family.
#[derive(Debug, Default)]
struct Home {
    /// With the networks up to and with it.
    leaves: Vec<(Prefix, u64)>,
    all: u64,
}

impl Home {
    fn add(&mut self, leaf: Prefix) {
        let free = NETWORK[leaf.family().index()].saturating_sub(leaf.len()).min(MOST_BITS);
        self.all = self.all.saturating_add(1 << free);
        self.leaves.push((leaf, self.all));
    }

    fn draw(&self, rng: &mut SeededRng) -> Option<Prefix> {
        let at = rng.below(self.all);
        let (leaf, _) = self.leaves.get(self.leaves.partition_point(|(_, up_to)| *up_to <= at))?;
        let len = NETWORK[leaf.family().index()].max(leaf.len());
        let inside = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let below = if leaf.len() == 0 { inside } else { inside >> leaf.len() };
        Some(Prefix::new(leaf.family(), leaf.bits() | below & family_bits(leaf.family()), len))
    }
}

/// The bits that an address of the family has.
const fn family_bits(family: Family) -> u128 {
    match family {
        Family::V4 => (u32::MAX as u128) << 96,
        Family::V6 => u128::MAX,
    }
}

/// So many for each weight: one at least, as far as they go, the greatest weights first; the rest in proportion.
fn divide(wanted: u32, weights: &[u64]) -> Vec<u32> {
    let mut counts = vec![0; weights.len()];
    let mut order: Vec<usize> = (0..weights.len()).filter(|&at| weights[at] > 0).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(weights[at]), at));
    order.truncate(wanted as usize);
    let total: u128 = order.iter().map(|&at| u128::from(weights[at])).sum();
    let mut left = u128::from(wanted) - order.len() as u128;
    let spare = left;
    for &at in &order {
        let more = spare * u128::from(weights[at]) / total.max(1);
        counts[at] = 1 + u32::try_from(more).unwrap_or(0);
        left -= more;
    }
    // What rounding left over, fewer than there are groups.
    for &at in order.iter().take(usize::try_from(left).unwrap_or(0)) {
        counts[at] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str, group: u32) -> (Prefix, u32) {
        let net: ipnet::IpNet = text.parse().expect("a network");
        (net.into(), group)
    }

    #[test]
    fn groups_have_their_part_and_each_has_one() {
        assert_eq!(divide(10, &[0, 1, 98, 1]), [0, 1, 8, 1]);
        assert_eq!(divide(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(divide(2, &[5, 1, 9]), [1, 0, 1], "the greatest");
        assert_eq!(divide(10, &[0, 0]), [0, 0]);
        let many = divide(1_000, &(0..700).map(|at| at * at).collect::<Vec<u64>>());
        assert_eq!(many.iter().sum::<u32>(), 1_000);
        assert!(many[1..].iter().all(|&count| count > 0) && many[0] == 0);
    }

    #[test]
    fn networks_lie_in_their_group_and_the_seed_decides() {
        let leaves = || {
            [
                leaf("1.0.0.0/8", 0),
                leaf("2.1.2.128/25", 1),
                leaf("2001:db8::/32", 2),
                leaf("5.0.0.0/20", 0),
                leaf("2400::/20", 0),
            ]
            .into_iter()
        };
        let draw = |seed| draw(seed, 100, &[2, 1, 1, 5], leaves(), |_| true);
        let clients = draw(7);
        assert_eq!(clients, draw(7));
        assert_ne!(clients, draw(8));
        assert_eq!(clients.len(), 100, "nobody is in the fourth group");
        for client in &clients {
            let own = leaves().find(|(leaf, _)| leaf.covers(client.network)).expect("drawn from the leaves");
            assert_eq!(own.1, client.group);
            assert_eq!(client.of as usize, clients.iter().filter(|it| it.group == client.group).count());
            let is_as_named = [24, 25, 56].contains(&client.network.len());
            assert!(is_as_named && (client.group != 0 || own.0.family() == Family::V4), "{client:?}");
        }
        let of_first: std::collections::BTreeSet<_> =
            clients.iter().filter(|it| it.group == 0).map(|it| it.network).collect();
        assert!(of_first.len() > 45, "all over the leaf: {}", of_first.len());
        let low = |network: Prefix| network.bits() >> 120 < 2;
        let clients = super::draw(7, 100, &[1, 1, 1], leaves(), low);
        assert!(clients.len() > 20 && clients.iter().all(|it| it.group == 0 && low(it.network)));
        assert_eq!(clients[0].of as usize, clients.len());
    }
}
