//! Synthetic clients drawn from real address space.
//!
//! Random routable IPv4 /24s and IPv6 /56s (in the regional registries' blocks) of which `kind` knows
//! something, a bounded number of each kind: by address space alone half the world's clients would be
//! American, and the few of a small country would each have to stand for a city. How often who asks is
//! `audience`'s. Where nothing is known of anybody, every routable network will do. The same seed gives the
//! same clients.

use crate::base::hash::SeededRng;
use crate::base::prefix::{Family, Prefix};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One client network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub prefix: Prefix,
}

/// One in this many clients is on IPv6.
const ONE_IN_V6: u64 = 5;
/// Networks drawn; bounds the search where few are located.
const DRAWS: usize = 600_000;
/// Networks of each kind that are kept, so that none stands for too many: some hundred thousand in all. Chance gives
/// each of two nodes alike its half of those that ask, within 1.5 % of it or so; of a thousand it was 5 %, which
/// no real crowd is off by.
pub const OF_A_KIND: usize = 8_192;
/// Tries for a located IPv6 network: the registries' blocks are mostly empty.
const V6_TRIES: usize = 4;

/// Draws clients, up to [`OF_A_KIND`] of each kind.
pub fn draw<K: Ord>(seed: u64, kind: impl Fn(IpAddr) -> Option<K>) -> Vec<Client> {
    let mut rng = SeededRng::new(seed);
    let mut by_kind: BTreeMap<K, usize> = BTreeMap::new();
    let (mut clients, mut strangers) = (Vec::new(), Vec::new());
    for _ in 0..DRAWS {
        let (prefix, kind) = random_network(&mut rng, &kind);
        match kind {
            Some(kind) => {
                let count = by_kind.entry(kind).or_default();
                if *count < OF_A_KIND {
                    *count += 1;
                    clients.push(Client { prefix });
                }
            }
            None if strangers.len() < OF_A_KIND => strangers.push(Client { prefix }),
            None => {}
        }
    }
    if clients.is_empty() { strangers } else { clients }
}

fn random_network<K>(rng: &mut SeededRng, kind: impl Fn(IpAddr) -> Option<K>) -> (Prefix, Option<K>) {
    if rng.below(ONE_IN_V6) == 0 {
        let located = (0..V6_TRIES).find_map(|_| {
            let prefix = random_v6(rng);
            Some((prefix, Some(kind(prefix.address())?)))
        });
        return located.unwrap_or_else(|| (random_v6(rng), None));
    }
    loop {
        let address = Ipv4Addr::from_bits((rng.next_u64() >> 32) as u32);
        if is_routable(address) {
            let prefix = Prefix::of(IpAddr::V4(address), 24);
            return (prefix, kind(prefix.address()));
        }
    }
}

/// A /56, as resolvers name a client (RFC 7871 11.1), in one of the blocks the five registries allocate from (IANA IPv6 unicast assignments).
fn random_v6(rng: &mut SeededRng) -> Prefix {
    const BLOCKS: [(u16, u64); 6] =
        [(0x2001, 1), (0x2400, 16), (0x2600, 16), (0x2800, 16), (0x2a00, 16), (0x2c00, 16)];
    let (first, width) = BLOCKS[usize::try_from(rng.below(BLOCKS.len() as u64)).unwrap_or(0)];
    let bits = rng.next_u64();
    let high = first + u16::try_from(rng.below(width)).unwrap_or(0);
    let (second, third) = (bits as u16, (bits >> 16) as u16);
    let address = Ipv6Addr::new(high, second, third, (bits >> 32) as u16 & 0xff00, 0, 0, 0, 0);
    Prefix::new(Family::V6, address.to_bits(), 56)
}

/// Whether clients can have the address (IANA special-purpose registry, RFC 6890).
const fn is_routable(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    let benchmark = a == 198 && b & 0xfe == 18;
    let protocol = (a == 192 && b == 0 && c == 0) || (a == 192 && b == 88 && c == 99);
    !(a == 0
        || a >= 224
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || shared
        || benchmark
        || protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first octet decides: a large country, a small one, the rest unknown.
    fn kind(address: IpAddr) -> Option<&'static str> {
        match address {
            IpAddr::V4(v4) if v4.octets()[0] < 8 => Some("small"),
            IpAddr::V4(v4) if v4.octets()[0] < 120 => Some("large"),
            _ => None,
        }
    }

    #[test]
    fn no_kind_has_more_than_its_number_and_the_seed_decides() {
        let clients = draw(7, kind);
        assert_eq!(clients, draw(7, kind));
        assert_ne!(clients, draw(8, kind));
        let count =
            |name: &str| clients.iter().filter(|client| kind(client.prefix.address()) == Some(name)).count();
        assert_eq!((count("large"), count("small")), (OF_A_KIND, OF_A_KIND));
        assert_eq!(clients.len(), 2 * OF_A_KIND, "of whom nothing is known stays away");
    }

    #[test]
    fn where_nothing_is_known_every_routable_network_will_do() {
        let clients = draw(7, |_| None::<()>);
        assert_eq!(clients.len(), OF_A_KIND);
        let v6 = clients.iter().filter(|client| client.prefix.family() == Family::V6).count();
        assert!((OF_A_KIND / 10..OF_A_KIND / 3).contains(&v6), "{v6} of {OF_A_KIND} on IPv6");
    }

    #[test]
    fn special_addresses_are_never_clients() {
        for special in [
            "0.1.2.3",
            "10.1.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.20.0.1",
            "192.0.0.9",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_routable(special.parse().expect("address")), "{special}");
        }
        for normal in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.1"] {
            assert!(is_routable(normal.parse().expect("address")), "{normal}");
        }
    }
}
