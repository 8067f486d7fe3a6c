//! Databases built here, read by the `maxminddb` crate and compared with a naive scan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use maxminddb::Reader;
use proptest::prelude::*;

use super::*;
use crate::base::hash::SeededRng;
use crate::base::prefix::{Family, Prefix};
use libloc::Entry;

const DATED: WallTime = WallTime(1_782_362_039_000);

fn address(bits: u128) -> IpAddr {
    if tree::is_v4(bits) {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).expect("an IPv4 address")))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

fn open(bytes: &[u8]) -> Reader<&[u8]> {
    let reader = Reader::from_source(bytes).expect("opens");
    reader.verify().expect("verifies");
    reader
}

fn country_at(reader: &Reader<&[u8]>, at: IpAddr) -> (Option<String>, Option<String>) {
    let found: Option<maxminddb::geoip2::Country<'_>> =
        reader.lookup(at).expect("looks up").decode().expect("decodes");
    found.map_or((None, None), |record| {
        (record.country.iso_code.map(str::to_owned), record.continent.code.map(str::to_owned))
    })
}

fn asn_at(reader: &Reader<&[u8]>, at: IpAddr) -> Option<(u32, Option<String>)> {
    let found: Option<maxminddb::geoip2::Asn<'_>> =
        reader.lookup(at).expect("looks up").decode().expect("decodes");
    found.map(|record| {
        let name = record.autonomous_system_organization.map(str::to_owned);
        (record.autonomous_system_number.expect("a number"), name)
    })
}

/// What the narrowest network around `at` says.
fn narrowest(networks: &[Entry], at: IpAddr) -> Option<&Entry> {
    let mut best: Option<&Entry> = None;
    for entry in networks.iter().filter(|entry| entry.prefix.contains(at)) {
        if best.is_none_or(|found| entry.prefix.len() >= found.prefix.len()) {
            best = Some(entry);
        }
    }
    best
}

#[test]
fn ranges_of_tor_are_found_again() {
    let text = b"# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n\
        16777216,16777471,AU\n16777472,16778239,CN\n3000000001,3000000007,UK\n100,200,??\n\
        2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,JP\n2a00::5,2a00::9,EU\n";
    let mut ranges = Vec::new();
    let dated = tor::read(text, &mut ranges, &mut |_| {}).expect("reads");
    let built = country_from_tor(&ranges, dated).expect("builds");
    assert_eq!(built.left_out, [("??".to_owned(), 1)]);
    let reader = open(&built.bytes);
    assert_eq!(reader.metadata().build_epoch, 1_782_362_039);
    assert_eq!(reader.metadata().database_type, "rhumb-Country");
    assert!(reader.metadata().description["en"].contains("CC BY-SA 4.0"));
    let at = |text: &str| country_at(&reader, text.parse().expect("address"));
    let is = |country: &str, continent: &str| (Some(country.to_owned()), Some(continent.to_owned()));
    assert_eq!(at("1.0.0.255"), is("AU", "OC"));
    assert_eq!(at("1.0.1.0"), is("CN", "AS"));
    assert_eq!(at("1.0.4.0"), (None, None));
    assert_eq!(at("178.208.94.7"), is("GB", "EU"), "3000000007, and UK means GB");
    assert_eq!(at("178.208.94.8"), (None, None));
    assert_eq!(at("0.0.0.150"), (None, None));
    assert_eq!(at("2001:200:8::1"), is("JP", "AS"));
    assert_eq!(at("2a00::9"), (None, Some("EU".to_owned())), "a region has a continent only");
    assert_eq!(at("2002:100::1"), (None, None), "no alias of IPv4");
}

#[test]
fn the_narrowest_network_speaks_alone() {
    let text = b"# Generated: Sat, 29 Oct 2022 05:59:54 GMT\n\naut-num: AS7\nname: SEVEN\n\n\
        net: 10.0.0.0/8\ncountry: DE\naut-num: 7\n\nnet: 10.1.0.0/16\ncountry: FR\n\n\
        net: 10.1.1.0/24\naut-num: 8\n";
    let dump = libloc::read(text, &mut |_| {}).expect("reads");
    let (country, asn) =
        (country_from_libloc(&dump).expect("builds"), asn_from_libloc(&dump).expect("builds"));
    let (country, asn) = (open(&country.bytes), open(&asn.bytes));
    let at = |text: &str| {
        let at = text.parse().expect("address");
        (country_at(&country, at).0, asn_at(&asn, at))
    };
    assert_eq!(at("10.9.9.9"), (Some("DE".into()), Some((7, Some("SEVEN".into())))));
    assert_eq!(at("10.1.9.9"), (Some("FR".into()), None));
    assert_eq!(at("10.1.1.9"), (None, Some((8, None))));
}

#[test]
fn an_empty_input_is_refused() {
    assert!(matches!(country_from_tor(&[], DATED), Err(BuildError::Empty)));
}

/// Networks that nest and repeat: few first bytes, few lengths, few values.
fn networks() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (any::<bool>(), any::<u32>(), any::<u32>(), 0_u8..=32, 0_u32..6).prop_map(
        |(is_v4, high, low, len, value)| {
            let high = high & 0x0303_0f0f;
            let prefix = if is_v4 {
                Prefix::new(Family::V4, u128::from(high) << 96, len.max(1))
            } else {
                let bits = u128::from(high | 0x2400_0000) << 96 | u128::from(low);
                Prefix::new(Family::V6, bits, len * 3 + 16)
            };
            let codes = [None, Some(*b"CN"), Some(*b"JP"), Some(*b"DE"), Some(*b"US"), Some(*b"??")];
            Entry { prefix, country: codes[value as usize], asn: (value > 0).then_some(value * 1_000) }
        },
    );
    prop::collection::vec(entry, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_built_file_equals_a_naive_scan(networks in networks(), seed in any::<u64>()) {
        let names = HashMap::from([(1_000, "one".to_owned()), (2_000, "one".to_owned())]);
        let dump = Dump { dated: DATED, networks, names, aliases: 0 };
        let asn = asn_from_libloc(&dump).expect("builds");
        let country = country_from_libloc(&dump).expect("builds");
        prop_assert_eq!(&asn.bytes, &asn_from_libloc(&dump).expect("builds").bytes);
        let reader = Reader::from_source(asn.bytes.as_slice()).expect("opens");
        let countries = Reader::from_source(country.bytes.as_slice()).expect("opens");
        let mut rng = SeededRng::new(seed);
        for entry in &dump.networks {
            let host_bits = entry.prefix.family().bits() - entry.prefix.len();
            let noise = (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) & !(u128::MAX << host_bits.min(127));
            let shift = if entry.prefix.family() == Family::V4 { 96 } else { 0 };
            let first = entry.prefix.bits() >> shift;
            for bits in [first, first | noise, first.wrapping_sub(1), first ^ 1] {
                let at = address(bits);
                let expected = narrowest(&dump.networks, at);
                let number = expected.and_then(|entry| entry.asn);
                prop_assert_eq!(asn_at(&reader, at).map(|found| found.0), number);
                let code = expected.and_then(|entry| entry.country).filter(|code| code != b"??");
                let code = code.map(|code| String::from_utf8_lossy(&code).into_owned());
                prop_assert_eq!(country_at(&countries, at).0, code);
            }
        }
    }

    #[test]
    fn a_range_and_its_networks_hold_the_same_addresses(first in any::<u32>(), length in 0_u32..5_000, v6 in any::<bool>()) {
        let base = if v6 { 0x2400_u128 << 112 } else { 0 };
        let first = u128::from(first.min(u32::MAX - 5_000)) + base;
        let last = first + u128::from(length);
        let built = country_from_tor(&[CountryRange { first, last, code: *b"CN" }], DATED).expect("builds");
        let reader = Reader::from_source(built.bytes.as_slice()).expect("opens");
        for (bits, inside) in [(first, true), (last, true), (first.wrapping_sub(1), false), (last + 1, false)] {
            if bits != u128::MAX {
                prop_assert_eq!(country_at(&reader, address(bits)).0.is_some(), inside);
            }
        }
    }
}
