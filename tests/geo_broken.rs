//! Broken geo databases of our own making: each is refused with a reason and a remedy, or read; none
//! panics, hangs or eats memory.
//!
//! `rhumb geo info FILE` exits 1 on each refused file, which is how a script checks a folder of
//! other people's broken files.

#[path = "support/mmdb.rs"]
mod mmdb;

use mmdb::{Item, Writer};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::Family;
use rhumb::geo::{Countries, Database, GeoError, compile};
use rhumb::model::clients::Clients;

const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

fn sound(ip_version: u32, record_size: u32) -> Writer {
    let mut writer = Writer::new("Test-Country", ip_version, record_size);
    for (net, code, number) in
        [("1.0.0.0/8", "CN", 4134), ("1.2.0.0/16", "JP", 2497), ("9.9.9.0/24", "DE", 42)]
    {
        let country = Item::Map(vec![("iso_code", Item::Text(code.to_owned()))]);
        let names = Item::Array(vec![Item::Text("a".to_owned()), Item::Double(1.5)]);
        let fields = vec![("country", country), ("asn", Item::Number(number)), ("names", names)];
        writer.network(net, &Item::Map(fields));
    }
    writer
}

/// What becomes of the bytes; whatever is read must also compile and answer.
fn outcome(bytes: Vec<u8>) -> Result<(), String> {
    match Database::read("test.mmdb", bytes) {
        Ok(database) => {
            let compiled = compile(&[&database], &Clients::default(), &Countries::default());
            let table = compiled.expect("a small database compiles").table;
            for bits in [0, u128::MAX, 0x0102_0304 << 96] {
                for family in Family::BOTH {
                    let located = table.lookup(family, bits);
                    assert!(located.group.index() < table.groups().len() && located.depth <= family.bits());
                }
            }
            Ok(())
        }
        Err(GeoError::Refused { file, reason, remedy }) => {
            assert_eq!(file, "test.mmdb");
            assert!(!reason.is_empty() && !remedy.is_empty());
            assert!(!reason.ends_with('.'), "no final stop: {reason}");
            Err(reason)
        }
        Err(other) => panic!("reading gives Refused only: {other}"),
    }
}

fn check(bytes: Vec<u8>, words: &str) {
    match outcome(bytes) {
        Err(reason) => assert!(reason.contains(words), "{words:?} is not in {reason:?}"),
        Ok(()) => panic!("accepted where {words:?} was expected"),
    }
}

/// A file of one node, whose records and data are given raw, and the metadata of a sound one.
fn raw(left: u32, right: u32, data: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new("Test", 4, 32);
    writer.network("0.0.0.0/1", &Item::Text("x".to_owned()));
    let whole = writer.finish();
    let marker = whole.windows(MARKER.len()).rposition(|window| window == MARKER).expect("a marker");
    [&left.to_be_bytes()[..], &right.to_be_bytes(), &[0; 16], data, &whole[marker..]].concat()
}

#[test]
fn the_fixtures_are_sound_before_they_are_broken() {
    for record_size in [24, 28, 32] {
        for ip_version in [4, 6] {
            assert_eq!(outcome(sound(ip_version, record_size).finish()), Ok(()));
        }
    }
    assert_eq!(outcome(raw(17, 1, b"\x41x")), Ok(()));
}

#[test]
fn files_that_are_something_else() {
    check(vec![], "it is empty");
    check(b"hello, world".to_vec(), "no MMDB metadata marker");
    check(vec![0x1f, 0x8b, 8, 0, 0, 0], "compressed");
    check(MARKER.to_vec(), "metadata is unusable");
    let mut other = sound(6, 28).finish();
    let marker = other.windows(MARKER.len()).rposition(|window| window == MARKER).expect("a marker");
    other[marker + 3] = b'm';
    check(other, "no MMDB metadata marker");
}

#[test]
fn every_truncation_is_refused() {
    for record_size in [24, 28] {
        let whole = sound(6, record_size).finish();
        for len in 0..whole.len() {
            assert!(outcome(whole[..len].to_vec()).is_err(), "cut to {len} of {}", whole.len());
        }
    }
}

#[test]
fn records_out_of_range_and_loops_in_the_tree() {
    check(raw(0, 1, b"\x41x"), "cycle");
    check(raw(2, 1, b"\x41x"), "left record of search tree node 0 (network 0.0.0.0/1)");
    check(raw(1, 16, b"\x41x"), "right record of search tree node 0 (network 128.0.0.0/1)");
    check(raw(19, 1, b"\x41x"), "outside the data section");
    check(raw(u32::MAX, 1, b"\x41x"), "outside the data section");
    check(raw(1, 17, b""), "outside the data section");
}

#[test]
fn data_that_cannot_be_decoded() {
    let cases: &[(&[u8], &str)] = &[
        (b"\x20\x00", "cannot be decoded"),
        (b"\x21\x00\x00", "cannot be decoded"),
        (b"\xe1\x20\x00", "cannot be decoded"),
        (b"\x41\xff", "cannot be decoded"),
        (b"\x65abcde", "cannot be decoded"),
        (b"\xe1\xa2\x00\x01\x41x", "cannot be decoded"),
        (b"\x1f\x04\xff\xff\xff\x41x", "cannot be decoded"),
        (b"\xff\xff\xff\xff\x41x", "cannot be decoded"),
        (b"\x5f\xff\xff\xffx", "cannot be decoded"),
        (b"\x00\x0a", "cannot be decoded"),
    ];
    for (data, words) in cases {
        check(raw(17, 1, data), words);
    }
    let mut deep = b"\x01\x04".repeat(600);
    deep.extend_from_slice(b"\x41x");
    check(raw(17, 1, &deep), "nested deeper than 32 levels");
}

#[test]
fn a_small_file_that_unfolds_to_much_is_refused() {
    // Arrays of 200 pointers to the next array: 200^4 values from 4 kilobytes.
    const LEVEL: usize = 3 + 200 * 5;
    let mut data = Vec::new();
    for level in 1..=4 {
        data.extend_from_slice(&[29, 4, 200 - 29]);
        let target = u32::try_from(level * LEVEL).expect("a small file").to_be_bytes();
        for _ in 0..200 {
            data.push(0x38);
            data.extend_from_slice(&target);
        }
    }
    data.extend_from_slice(b"\x41x");
    check(raw(17, 1, &data), "exceeded maximum number of data structure values");
}

#[test]
fn flipped_bytes_are_refused_or_read() {
    let (mut refused, mut read) = (0, 0);
    for (seed, record_size) in [(1, 24), (2, 28), (3, 32)] {
        let whole = sound(6, record_size).finish();
        let mut rng = SeededRng::new(seed);
        for _ in 0..3_000 {
            let mut bytes = whole.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            match outcome(bytes) {
                Ok(()) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 1_000, "{refused} refused, {read} read");
    assert!(read > 100, "{refused} refused, {read} read: flips inside text are still sound files");
}

#[test]
fn random_bytes_before_sound_metadata() {
    let whole = sound(4, 24).finish();
    let marker = whole.windows(MARKER.len()).rposition(|window| window == MARKER).expect("a marker");
    let mut rng = SeededRng::new(9);
    for _ in 0..2_000 {
        let mut bytes = whole.clone();
        let tree_end = marker - 16;
        let from = rng.below(tree_end as u64) as usize;
        for byte in &mut bytes[from..marker] {
            *byte = rng.next_u64() as u8;
        }
        let _ = outcome(bytes);
    }
}
