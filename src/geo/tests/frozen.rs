//! Frozen tables: the same table back, or none; whatever was done to the bytes.

use super::{asn, countries, country, database};
use crate::base::hash::{SeededRng, content_hash};
use crate::base::prefix::{Family, masked};
use crate::geo::frozen::{FrozenError, Key, freeze, thaw};
use crate::geo::{Compiled, Countries, GeoTable, compile};
use crate::model::clients::{Area, ClientOverride, Clients, CountryCode, Line};
use crate::model::ids::{AreaId, LineId};

const HEADER_LEN: usize = 52;

fn clients() -> Clients {
    let code = |text| CountryCode::parse(text).expect("a code");
    Clients {
        lines: vec![Line { name: "telecom".to_owned(), title: None, asns: vec![4134] }],
        areas: vec![
            Area { name: "mainland".to_owned(), countries: vec![code("CN")], ..Area::default() },
            Area { name: "ours".to_owned(), ..Area::default() },
        ],
        overrides: vec![ClientOverride {
            prefix: "10.1.2.128/25".parse::<ipnet::IpNet>().expect("a prefix").into(),
            continent: None,
            country: None,
            subdivision: None,
            line: Some(LineId(0)),
            location: crate::base::units::Coordinates::from_degrees(1.5, -2.5),
            areas: vec![AreaId(1)],
        }],
    }
}

/// Chunks of each kind: IPv4 past /24, IPv6 on both sides of bit 64.
fn compiled() -> Compiled {
    // Shorter prefixes first; IPv4 stands under ::/96.
    let of_country = [
        ("2001:db8::/32", country("DE")),
        ("2a00:1::/32", country("CN")),
        ("2001:db8:1:2:8000::/68", country("JP")),
        ("::1.0.0.0/104", country("CN")),
        ("::1.2.3.0/120", country("JP")),
        ("::203.0.113.0/125", country("DE")),
        ("::1.2.3.4/128", country("DE")),
    ];
    let of_country = database("country", 6, &of_country);
    let of_line = database("asn", 4, &[("1.2.0.0/16", asn(4134))]);
    let mut made = compile(&[&of_country, &of_line], &clients(), &countries()).expect("few networks");
    made.notes.push("a note".to_owned());
    made
}

fn key() -> Key {
    Key::of([&b"one"[..], b"two"], &clients(), &countries())
}

fn frozen() -> Vec<u8> {
    let made = compiled();
    freeze(&made.table, &made.notes, key()).expect("small")
}

fn thawed(bytes: &[u8]) -> Result<Compiled, FrozenError> {
    thaw(bytes, key(), &clients(), &countries())
}

/// With a header that fits the payload.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let [low, high] = content_hash(&bytes[HEADER_LEN..]).map(u64::to_le_bytes);
    bytes[36..44].copy_from_slice(&low);
    bytes[44..HEADER_LEN].copy_from_slice(&high);
    bytes
}

/// Looks up addresses of every kind; the table is to hold its promises about each.
fn ask_around(table: &GeoTable) -> Vec<(u32, u8)> {
    let mut rng = SeededRng::new(5);
    let known = ["1.2.3.4", "1.2.3.5", "10.1.2.200", "203.0.113.7", "2001:db8:1:2:8000::1", "2a00:1::1"];
    let known = known.map(|text| text.parse().expect("an address"));
    let mut bits: Vec<(Family, u128)> =
        known.iter().map(|&it| (Family::of(it), crate::base::prefix::left_aligned(it))).collect();
    for _ in 0..500 {
        let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        bits.extend(Family::BOTH.map(|family| (family, masked(random, family.bits()))));
    }
    let near: Vec<_> = bits[..6]
        .iter()
        .flat_map(|&(family, at)| (0..64).map(move |by| (family, at ^ 1 << (127 - by))))
        .collect();
    bits.extend(near);
    bits.iter()
        .map(|&(family, bits)| {
            let located = table.lookup(family, bits);
            assert!(located.depth <= family.bits());
            assert!(located.group.index() < table.groups().len());
            (located.group.0, located.depth)
        })
        .collect()
}

#[test]
fn a_frozen_table_comes_back_as_it_was() {
    let (made, bytes) = (compiled(), frozen());
    let back = thawed(&bytes).expect("it is whole");
    assert_eq!((back.table.groups(), &back.notes), (made.table.groups(), &made.notes));
    assert_eq!(back.table.revision(), made.table.revision());
    assert_eq!(back.table.countries(), made.table.countries());
    assert_eq!(ask_around(&back.table), ask_around(&made.table));
    assert_eq!(freeze(&back.table, &back.notes, key()), Some(bytes));
}

#[test]
fn the_key_is_of_all_that_a_table_is_compiled_from() {
    let of = |files: &[&[u8]], clients: &Clients, countries: &Countries| {
        Key::of(files.iter().copied(), clients, countries)
    };
    let mut others = vec![
        of(&[b"one", b"two"], &clients(), &countries()),
        of(&[b"two", b"one"], &clients(), &countries()),
        of(&[b"onetwo"], &clients(), &countries()),
        of(&[b"one", b"two", b""], &clients(), &countries()),
        of(&[b"one", b"two"], &Clients::default(), &countries()),
        of(&[b"one", b"two"], &clients(), &Countries::default()),
    ];
    while let Some(one) = others.pop() {
        assert!(!others.contains(&one), "{}", others.len());
    }
    let other = Key::of([&b"one"[..]], &clients(), &countries());
    assert_eq!(thaw(&frozen(), other, &clients(), &countries()).err(), Some(FrozenError::OtherInputs));
}

#[test]
fn truncation_at_any_length_and_any_bit_flip_are_refused() {
    let whole = frozen();
    let mut rng = SeededRng::new(1);
    let lengths = (0..2_000).chain((0..2_000).map(|_| rng.below(whole.len() as u64) as usize));
    for len in lengths.chain([whole.len() - 1]) {
        let refused = thawed(&whole[..len]).expect_err("something is missing");
        let expected = if len < 8 { FrozenError::Foreign } else { FrozenError::Truncated };
        assert_eq!(refused, expected, "{len} bytes");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(matches!(thawed(&longer), Err(FrozenError::Damaged(_))));
    // Each flip in the header, and some in what the checksum covers.
    let of_header = (0..36 * 8).chain((36 * 8..HEADER_LEN * 8).step_by(7));
    let anywhere = (0..60).map(|_| rng.below(whole.len() as u64 * 8) as usize).collect::<Vec<_>>();
    for bit in of_header.chain(anywhere) {
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let refused = thawed(&bent).expect_err("a bit is wrong");
        let expected = match bit / 8 {
            0..8 => matches!(refused, FrozenError::Foreign),
            8..12 => matches!(refused, FrozenError::Format(_)),
            12..28 => refused == FrozenError::OtherInputs,
            28..36 => matches!(refused, FrozenError::Truncated | FrozenError::Damaged(_)),
            _ => matches!(refused, FrozenError::Damaged(_)),
        };
        assert!(expected, "bit {bit}: {refused}");
    }
}

#[test]
fn a_damaged_table_under_a_sound_checksum_can_mislead_and_nothing_worse() {
    let whole = frozen();
    // The two roots come last; most of what leads anywhere stands before them.
    let body = whole.len() - ((1 << 20) + (1 << 16)) * 4;
    let mut rng = SeededRng::new(2);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..120 {
        let mut bent = whole.clone();
        for _ in 0..=rng.below(3) {
            let end = if rng.below(3) == 0 { bent.len() } else { body };
            let at = HEADER_LEN + rng.below((end - HEADER_LEN) as u64) as usize;
            bent[at] = rng.next_u64() as u8;
        }
        match thawed(&sealed(bent)) {
            Ok(compiled) => {
                taken += 1;
                ask_around(&compiled.table);
            }
            Err(FrozenError::Truncated | FrozenError::Damaged(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}

#[test]
fn what_compile_makes_is_pinned_because_kept_tables_would_go_stale() {
    let made = compiled();
    let groups = format!("{:?}", made.table.groups());
    let hashes = [content_hash(groups.as_bytes())[0], {
        let words: Vec<u8> =
            ask_around(&made.table).iter().flat_map(|&(group, depth)| [group as u8, depth]).collect();
        content_hash(&words)[0]
    }];
    assert_eq!(
        hashes,
        [0x27ed_c77d_3ccf_5ab8, 0xaa34_6246_898e_04c6],
        "raise FORMAT in geo/frozen.rs, then mend this"
    );
}
