//! Synthetic clients drawn from real address space.
//!
//! Random routable IPv4 /24s and IPv6 /48s (in the regional registries' blocks) that `locate` knows
//! the country of. Where the policy names countries, half of the clients are drawn from those, evenly, and
//! the rest from anywhere: by address space alone half the world's clients would be American. How often
//! each asks is `audience`'s. Without
//! a locator every routable network will do. The same seed gives the same clients.

use crate::base::hash::SeededRng;
use crate::base::prefix::{Family, Prefix};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One client network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub prefix: Prefix,
    /// ISO 3166-1 alpha-2, if located.
    pub country: Option<String>,
}

/// One in this many clients is on IPv6.
const ONE_IN_V6: u64 = 5;
/// One in this many is from a country that policy does not name.
const ONE_IN_ELSEWHERE: u64 = 2;
/// Networks drawn per client wanted; bounds the search where few are located.
const DRAWS_PER_CLIENT: usize = 16;
/// Tries for a located IPv6 network: the registries' blocks are mostly empty.
const V6_TRIES: usize = 16;

/// Draws up to `size` clients; fewer where `locate` knows too little.
pub fn draw(
    seed: u64,
    size: usize,
    countries: &[String],
    locate: impl Fn(IpAddr) -> Option<String>,
) -> Vec<Client> {
    let mut rng = SeededRng::new(seed);
    let mut by_country: BTreeMap<String, Vec<Prefix>> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    for _ in 0..size * DRAWS_PER_CLIENT {
        let (prefix, located) = random_network(&mut rng, &locate);
        match located {
            Some(country) if countries.contains(&country) => {
                by_country.entry(country).or_default().push(prefix);
            }
            located => elsewhere.push(Client { prefix, country: located }),
        }
    }
    // Known countries first; a network of no known country is only a last resort.
    elsewhere.sort_by_key(|client| client.country.is_some());
    let mut clients = Vec::with_capacity(size);
    let mut named: Vec<(String, Vec<Prefix>)> = by_country.into_iter().collect();
    while clients.len() < size {
        let at = usize::try_from(rng.below(named.len() as u64)).unwrap_or(0);
        let from_elsewhere = named.is_empty() || rng.below(ONE_IN_ELSEWHERE) == 0;
        let next = match named.get_mut(at) {
            Some((country, left)) if !from_elsewhere => {
                left.pop().map(|prefix| Client { prefix, country: Some(country.clone()) })
            }
            _ => elsewhere.pop(),
        };
        match next {
            Some(client) => clients.push(client),
            None if named.is_empty() => break,
            // This country is used up, or everywhere else is: go on with the others.
            None if from_elsewhere => {
                elsewhere.extend(named.pop().into_iter().flat_map(|(country, left)| {
                    left.into_iter().map(move |prefix| Client { prefix, country: Some(country.clone()) })
                }));
            }
            None => drop(named.swap_remove(at)),
        }
    }
    clients
}

fn random_network(
    rng: &mut SeededRng,
    locate: impl Fn(IpAddr) -> Option<String>,
) -> (Prefix, Option<String>) {
    if rng.below(ONE_IN_V6) == 0 {
        let located = (0..V6_TRIES).find_map(|_| {
            let prefix = random_v6(rng);
            Some((prefix, Some(locate(prefix.address())?)))
        });
        return located.unwrap_or_else(|| (random_v6(rng), None));
    }
    loop {
        let address = Ipv4Addr::from_bits((rng.next_u64() >> 32) as u32);
        if is_routable(address) {
            let prefix = Prefix::of(IpAddr::V4(address), 24);
            return (prefix, locate(prefix.address()));
        }
    }
}

/// A /48 in one of the blocks the five registries allocate from (IANA IPv6 unicast assignments).
fn random_v6(rng: &mut SeededRng) -> Prefix {
    const BLOCKS: [(u16, u64); 6] =
        [(0x2001, 1), (0x2400, 16), (0x2600, 16), (0x2800, 16), (0x2a00, 16), (0x2c00, 16)];
    let (first, width) = BLOCKS[usize::try_from(rng.below(BLOCKS.len() as u64)).unwrap_or(0)];
    let bits = rng.next_u64();
    let high = first + u16::try_from(rng.below(width)).unwrap_or(0);
    let address = Ipv6Addr::new(high, bits as u16, (bits >> 16) as u16, 0, 0, 0, 0, 0);
    Prefix::new(Family::V6, address.to_bits(), 48)
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

    /// The first octet decides: one small country, one large, the rest unknown.
    fn locate(address: IpAddr) -> Option<String> {
        match address {
            IpAddr::V4(v4) if v4.octets()[0] == 1 => Some("JP".to_owned()),
            IpAddr::V4(v4) if v4.octets()[0] < 120 => Some("US".to_owned()),
            IpAddr::V4(v4) if v4.octets()[0] < 160 => Some("DE".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn named_countries_share_evenly_and_the_seed_decides() {
        let countries = ["JP".to_owned(), "DE".to_owned()];
        let clients = draw(7, 400, &countries, locate);
        assert_eq!(clients, draw(7, 400, &countries, locate));
        assert_ne!(clients, draw(8, 400, &countries, locate));
        assert_eq!(clients.len(), 400);
        let count = |country: &str| {
            clients.iter().filter(|client| client.country.as_deref() == Some(country)).count()
        };
        assert!(count("DE") >= 80, "{} of 400 are German", count("DE"));
        assert!(count("JP") >= 20, "{} Japanese of the few there are", count("JP"));
        assert!(count("US") >= 20, "{} from elsewhere", count("US"));
    }

    #[test]
    fn without_a_locator_every_routable_network_will_do() {
        let clients = draw(7, 500, &[], |_| None);
        assert_eq!(clients.len(), 500);
        let v6 = clients.iter().filter(|client| client.prefix.family() == Family::V6).count();
        assert!((50..200).contains(&v6), "{v6} of 500 on IPv6");
        assert!(draw(7, 0, &[], |_| None).is_empty());
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
