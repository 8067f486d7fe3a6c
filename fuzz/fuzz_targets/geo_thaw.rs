//! Any bytes under a sound header: refused, or a table in which every lookup ends where it may; never
//! a panic or a hang.
//!
//! ```text
//!  input: [ two root entries | what stands before the roots in a frozen table ]
//! ```
//! The checksum is made to fit, for no fuzzer finds it; the roots are long and dull, so they are made
//! of the first two words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::hash::content_hash;
use rhumb::base::prefix::Family;
use rhumb::geo::frozen::{Key, freeze, thaw};
use rhumb::geo::{Countries, compile};
use rhumb::model::clients::Clients;
use std::sync::LazyLock;

const HEADER_LEN: usize = 52;
const ROOTS: [usize; 2] = [1 << 20, 1 << 16];

/// The header of some table, and the key in it.
static HEADER: LazyLock<(Vec<u8>, Key)> = LazyLock::new(|| {
    let (clients, countries) = (Clients::default(), Countries::default());
    let key = Key::of([], &clients, &countries);
    let table = compile(&[], &clients, &countries).expect("nothing is compiled").table;
    let bytes = freeze(&table, &[], key).expect("a small table");
    (bytes[..HEADER_LEN].to_vec(), key)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((of_roots, body)) = bytes.split_at_checked(8) else { return };
    let (header, key) = &*HEADER;
    let mut frozen = header.clone();
    frozen.extend(body);
    for (word, length) in of_roots.as_chunks::<4>().0.iter().zip(ROOTS) {
        frozen.extend(word.iter().cycle().take(length * 4));
    }
    let (length, sum) = ((frozen.len() - HEADER_LEN) as u64, content_hash(&frozen[HEADER_LEN..]));
    frozen[28..36].copy_from_slice(&length.to_le_bytes());
    frozen[36..44].copy_from_slice(&sum[0].to_le_bytes());
    frozen[44..HEADER_LEN].copy_from_slice(&sum[1].to_le_bytes());
    let Ok(thawed) = thaw(&frozen, *key, &Clients::default(), &Countries::default()) else { return };
    let mut bits = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
    for round in 0..256 {
        for family in Family::BOTH {
            let located = thawed.table.lookup(family, bits);
            assert!(located.depth <= family.bits());
            assert!(located.group.index() < thawed.table.groups().len());
        }
        bits = bits.rotate_left(5) ^ round;
    }
});
