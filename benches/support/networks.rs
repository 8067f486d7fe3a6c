//! A synthetic world as large as the shipped data: 400,000 IPv4 and 150,000 IPv6 networks over 240
//! countries, and a second database of autonomous systems, from a fixed seed.
//!
//! Prefix lengths follow what registries hand out (most at /24, /22, /20; /32 and /48), clustered so
//! that neighbours often share a country, as real allocations do.

#[path = "../../tests/support/mmdb.rs"]
mod mmdb;

use mmdb::{Item, Writer};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::masked;
use rhumb::geo::{Compiled, Countries, Database, compile};
use rhumb::model::clients::{Area, Clients, CountryCode, Line};

const V4_NETWORKS: usize = 400_000;
const V6_NETWORKS: usize = 150_000;
const COUNTRIES: u64 = 240;
const SYSTEMS: u64 = 60_000;

/// The files, country first.
pub fn files() -> [Vec<u8>; 2] {
    let mut rng = SeededRng::new(42);
    let networks = networks(&mut rng);
    let mut country = Writer::new("Synthetic-Country", 6, 24);
    let mut system = Writer::new("Synthetic-ASN", 6, 28);
    for &(bits, len, seed) in &networks {
        let code = Item::Text(code(seed % COUNTRIES));
        let iso = Item::Map(vec![("iso_code", code)]);
        country.insert(bits, len, &Item::Map(vec![("country", iso)]));
        let asn = mix(seed) % SYSTEMS + 1;
        let organisation = Item::Text(format!("Network operator {asn}"));
        let fields = vec![
            ("autonomous_system_number", Item::Number(asn as u32)),
            ("autonomous_system_organization", organisation),
        ];
        system.insert(bits, len, &Item::Map(fields));
    }
    [country.finish(), system.finish()]
}

pub fn read(files: &[Vec<u8>; 2]) -> [Database; 2] {
    let [country, system] = files;
    [("country", country), ("asn", system)]
        .map(|(name, bytes)| Database::read(name, bytes.clone()).expect("a sound database"))
}

/// Three carrier lines and two areas, as an operator would have.
pub fn clients() -> Clients {
    let line = |name: &str, first: u32| Line {
        name: name.to_owned(),
        title: None,
        asns: (first..SYSTEMS as u32).step_by(30).collect(),
    };
    let area = |name: &str, first: u64| Area {
        name: name.to_owned(),
        countries: (first..first + 20).filter_map(|n| CountryCode::parse(&code(n))).collect(),
        ..Area::default()
    };
    Clients {
        lines: vec![line("one", 1), line("two", 2), line("three", 3)],
        areas: vec![area("east", 0), area("west", 100)],
        overrides: vec![],
    }
}

pub fn compiled(databases: &[Database; 2]) -> Compiled {
    compile(&[&databases[0], &databases[1]], &clients(), &Countries::default()).expect("compiles")
}

/// Addresses inside the networks, left-aligned in their own family.
#[allow(dead_code, reason = "each bench uses some of it")]
pub fn addresses(v6: bool, count: usize) -> Vec<u128> {
    let networks = networks(&mut SeededRng::new(42));
    let of_family: Vec<_> =
        networks.iter().filter(|(bits, len, _)| (*bits >> 96 != 0 || *len < 96) == v6).collect();
    let mut rng = SeededRng::new(7);
    (0..count)
        .map(|_| {
            let (bits, len, _) = *of_family[rng.below(of_family.len() as u64) as usize];
            let noise = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
            let address = bits | noise & !masked(u128::MAX, len as u8);
            if v6 { address } else { address << 96 }
        })
        .collect()
}

fn mix(seed: u64) -> u64 {
    rhumb::base::hash::mix64(seed)
}

fn code(n: u64) -> String {
    format!("{}{}", char::from(b'A' + (n / 26) as u8), char::from(b'A' + (n % 26) as u8))
}

/// (bits, length, owner) in an IPv6 tree, disjoint; IPv4 is under ::/96.
fn networks(rng: &mut SeededRng) -> Vec<(u128, u32, u64)> {
    const V4_LENGTHS: [u32; 16] = [16, 18, 19, 20, 20, 21, 22, 22, 22, 23, 24, 24, 24, 24, 24, 24];
    const V6_LENGTHS: [u8; 14] = [28, 29, 32, 32, 32, 36, 40, 44, 48, 48, 48, 48, 56, 64];
    const V6_TOPS: [u64; 11] =
        [0x2001, 0x2400, 0x2404, 0x2600, 0x2606, 0x2800, 0x2a00, 0x2a02, 0x2a06, 0x2a0c, 0x2c0f];
    let mut networks = Vec::with_capacity(V4_NETWORKS + V6_NETWORKS);
    let mut taken = vec![false; 1 << 24];
    while networks.len() < V4_NETWORKS {
        let len = V4_LENGTHS[rng.below(16) as usize];
        let size = 1 << (24 - len);
        let first = ((1 << 16) + rng.below(222 << 16) as usize) & !(size - 1);
        if !taken[first..first + size].contains(&true) {
            taken[first..first + size].fill(true);
            networks.push(((first as u128) << 8, 96 + len, owner(rng, first as u64 >> 12)));
        }
    }
    let mut seen = std::collections::HashSet::new();
    while networks.len() < V4_NETWORKS + V6_NETWORKS {
        let top = V6_TOPS[rng.below(11) as usize];
        let len = V6_LENGTHS[rng.below(14) as usize];
        // Longer prefixes cluster under a few thousand /32s that are not handed out whole.
        let second = if len > 32 { rng.below(1 << 9) << 3 } else { 1 << 15 | rng.below(1 << 15) };
        let noise = u128::from(rng.next_u64()) << 32;
        let bits = masked(u128::from(top) << 112 | u128::from(second) << 96 | noise, len);
        let above = |known: u8| known <= len && seen.contains(&(masked(bits, known), known));
        if !V6_LENGTHS.into_iter().any(above) {
            seen.insert((bits, len));
            networks.push((bits, u32::from(len), owner(rng, top << 8 | second >> 8)));
        }
    }
    networks.sort_by_key(|&(bits, len, _)| (len, bits));
    networks
}

/// Mostly that of the neighbourhood.
fn owner(rng: &mut SeededRng, neighbourhood: u64) -> u64 {
    if rng.below(4) == 0 { rng.below(1 << 20) } else { mix(neighbourhood) >> 12 }
}
