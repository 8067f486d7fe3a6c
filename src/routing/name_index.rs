//! Wire names to positions: the one look-up that every query pays for.
//!
//! ```text
//!  03 www 05 rhumb 04 test 00        four words of eight octets, the last two counted from the end,
//!  │  a  │  b  │                     so that no octet is looked for and nothing is cut off:
//!         │  c  │  d  │              a name of 16 to 32 octets; of a shorter one a is the first word,
//!                                    b the last
//!  buckets of two slots, a power of two of them    keys, by position: a cache line each
//!  │ 0 0 │ check, position + 1; 0 │ 0 0 │ ─────────▶ the four words, and where letters are;
//!        24 bits of hash, and the length              compared only if the check agrees
//!        at most a quarter of all slots is in use; of three names with one bucket one is in the next
//! ```
//!
//! A map of the standard library costs about twice as much here: it hashes for any key, in any order
//! of insertion and removal, while this table is built once of names that are all known. Not seeded:
//! whoever asks cannot add names, so there is nothing to flood.
//!
//! Names are asked for as they stand in a message, in any case: the hash does not see the bit in which
//! cases differ, and a key says at which octets that bit does not count. That is cheaper than to lower
//! the octets first, and does not grow where a resolver mixes cases (0x20). A name in the table is
//! whole, so one that equals it octet by octet has the same labels, wherever it came from.

/// What hashes are made with: digits of pi, as good as any odd number without pattern.
const FIRST: u64 = 0x243f_6a88_85a3_08d3;
const SECOND: u64 = 0x1319_8a2e_0370_7345;
const EACH: u64 = 0x0101_0101_0101_0101;
/// The bit in which lower-case letters differ from others, of each octet.
const CASE: u64 = EACH * 0x20;
/// Octets of two words, and of the longest name that four words tell.
const HALF: usize = 16;
const MOST: usize = 32;

/// Names, each with the position it was given in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameIndex {
    buckets: Box<[[Slot; 2]]>,
    keys: Box<[Key]>,
    names: Box<[Box<[u8]>]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(8))]
struct Slot {
    /// See [`check`]. No name is empty, so that of an empty slot fits none.
    check: u32,
    /// 0: the slot is empty.
    number: u32,
}

/// A name of eight to [`MOST`] octets; no other is compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(64))]
struct Key {
    words: [u64; 4],
    /// [`CASE`] where there is a letter.
    letters: [u64; 4],
}

impl NameIndex {
    /// Of distinct lower-case wire names; a name's position is its place in the order given.
    pub fn new<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        let names: Box<[Box<[u8]>]> = names.map(Box::from).collect();
        let keys: Box<[Key]> = names.iter().map(|name| Key::of(name)).collect();
        let mut buckets =
            vec![[Slot::default(); 2]; (names.len() * 2).next_power_of_two()].into_boxed_slice();
        let mask = buckets.len() - 1;
        for (name, number) in names.iter().zip(1..) {
            let hash = hash_any(name);
            let mut at = hash as usize & mask;
            let slot = loop {
                match buckets[at].iter().position(|slot| slot.number == 0) {
                    Some(free) => break &mut buckets[at][free],
                    None => at = (at + 1) & mask,
                }
            };
            *slot = Slot { check: check(hash, name.len()), number };
        }
        Self { buckets, keys, names }
    }

    /// The position of a wire name in any case.
    #[inline(always)]
    pub fn get(&self, name: &[u8]) -> Option<usize> {
        let Some(words) = words(name) else { return self.get_from(hash_any(name), name) };
        let hash = hash(words);
        let [first, second] = self.buckets.get(hash as usize & (self.buckets.len() - 1))?;
        // Most names stand where their hash says, and few buckets are full: without a loop, whose registers
        // every answer would pay for.
        let check = check(hash, name.len());
        let slot = if first.check == check { first } else { second };
        if slot.check == check {
            let position = (slot.number as usize).wrapping_sub(1);
            if self.keys.get(position)?.is(words) {
                return Some(position);
            }
        }
        if second.number == 0 { None } else { self.get_from(hash, name) }
    }

    /// Of any name and its hash.
    #[inline(never)]
    fn get_from(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let (mask, check) = (self.buckets.len() - 1, check(hash, name.len()));
        let mut at = hash as usize;
        loop {
            // Most slots are empty, so this ends.
            for slot in self.buckets.get(at & mask)? {
                let position = (slot.number as usize).checked_sub(1)?;
                if slot.check == check && self.names.get(position)?.eq_ignore_ascii_case(name) {
                    return Some(position);
                }
            }
            at = at.wrapping_add(1);
        }
    }

    /// In the order of their positions.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(|name| &**name)
    }
}

impl Key {
    fn of(name: &[u8]) -> Self {
        let letters: Vec<u8> =
            name.iter().map(|octet| if octet.is_ascii_lowercase() { 0x20 } else { 0 }).collect();
        Self { words: words(name).unwrap_or_default(), letters: words(&letters).unwrap_or_default() }
    }

    /// Without a branch until all is compared.
    #[inline(always)]
    fn is(&self, words: [u64; 4]) -> bool {
        let [a, b, c, d] = words;
        let [ours, letters] = [&self.words, &self.letters];
        ((a | letters[0]) ^ ours[0])
            | ((b | letters[1]) ^ ours[1])
            | ((c | letters[2]) ^ ours[2])
            | ((d | letters[3]) ^ ours[3])
            == 0
    }
}

/// Part of the hash, and the whole length, since four words of a name do not tell it.
#[inline(always)]
const fn check(hash: u64, len: usize) -> u32 {
    (hash >> 32) as u32 & 0xffff_ff00 | len as u32
}

/// Of a name of eight to [`MOST`] octets.
#[inline(always)]
fn words(name: &[u8]) -> Option<[u64; 4]> {
    let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) else {
        return Some([
            u64::from_le_bytes(*name.first_chunk()?),
            u64::from_le_bytes(*name.last_chunk()?),
            0,
            0,
        ]);
    };
    let ([a, b], [c, d]) = (halves(first), halves(last));
    (name.len() <= MOST).then_some([a, b, c, d])
}

#[inline(always)]
const fn halves(octets: &[u8; HALF]) -> [u64; 2] {
    let both = u128::from_le_bytes(*octets);
    [both as u64, (both >> 64) as u64]
}

/// The same in upper and lower case.
#[inline(always)]
const fn hash([a, b, c, d]: [u64; 4]) -> u64 {
    fold(a | CASE, (b | CASE).wrapping_add(FIRST)) ^ fold(c | CASE, (d | CASE).wrapping_add(SECOND))
}

/// Of a name of any length: a longer one in pieces, the last of which ends with it.
fn hash_any(name: &[u8]) -> u64 {
    if let Some(words) = words(name) {
        return hash(words);
    }
    let Some(end) = name.last_chunk::<MOST>() else {
        let word = name.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
        return hash([word, 0, 0, 0]);
    };
    let pieces = name.as_chunks::<MOST>().0.iter().chain([end]);
    pieces.filter_map(|piece| words(piece)).fold(0, |state, words| fold(state ^ FIRST, SECOND) ^ hash(words))
}

/// All bits of both reach all of the result.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// ASCII letters of eight octets at once. Length octets are at most 63, below the letters, so that
/// labels keep their structure.
#[inline]
pub const fn lower_case(word: u64) -> u64 {
    // Without an octet that has bit 0x40 and lacks 0x20 there is nothing to do, as mostly.
    if word & !(word << 1) & (EACH * 0x40) == 0 {
        return word;
    }
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let past_z = low + EACH * (0x7f - b'Z' as u64);
    let is_upper = (from_a ^ past_z) & !word & (EACH * 0x80);
    word | is_upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let wire = |at: usize| {
            let label = format!("n{at}");
            let len = u8::try_from(label.len()).expect("short");
            [&[len][..], label.as_bytes(), b"\x05rhumb\x04test\x00"].concat()
        };
        for count in [0, 1, 2, 3, 100, 5_000] {
            let names: Vec<Vec<u8>> = (0..count).map(wire).collect();
            let index = NameIndex::new(names.iter().map(Vec::as_slice));
            for (at, name) in names.iter().enumerate() {
                assert_eq!(index.get(name), Some(at));
            }
            assert!((count..count + 1_000).all(|at| index.get(&wire(at)).is_none()));
            assert_eq!(index.get(b"\x00"), None);
            assert!(index.names().eq(names.iter().map(Vec::as_slice)));
        }
    }

    #[test]
    fn names_of_every_length_are_told_apart_in_any_case() {
        let octets = |len: u8| (1..len).map(|at| at % 26 + b'a').chain([0]).collect();
        let names: Vec<Vec<u8>> = (1..=255_u8).map(octets).collect();
        let index = NameIndex::new(names.iter().map(Vec::as_slice));
        for (at, name) in names.iter().enumerate() {
            assert_eq!(index.get(name), Some(at));
            assert_eq!(index.get(&name.to_ascii_uppercase()), Some(at));
            for place in 0..name.len() {
                let mut other = name.clone();
                other[place] ^= 0x40;
                assert_eq!(index.get(&other), None, "octet {place} of {}", name.len());
            }
        }
    }

    /// Names whose first and last halves are the same octets.
    #[test]
    fn names_that_repeat_themselves_are_told_apart_by_length() {
        let names: Vec<Vec<u8>> = (0..127).map(|count| [b"\x01a".repeat(count), vec![0]].concat()).collect();
        let index = NameIndex::new(names.iter().map(Vec::as_slice));
        for (at, name) in names.iter().enumerate() {
            assert_eq!(index.get(name), Some(at));
        }
    }

    #[test]
    fn case_is_of_letters_only() {
        for octet in 0..=255_u8 {
            for len in [3, 12, 20, 40] {
                let name = |octet: u8| [&[octet][..], &b"x".repeat(len), &[0]].concat();
                let index = NameIndex::new([&name(octet.to_ascii_lowercase())[..]].into_iter());
                for asked in 0..=255_u8 {
                    let is_same = asked.eq_ignore_ascii_case(&octet);
                    assert_eq!(index.get(&name(asked)).is_some(), is_same, "{asked} for {octet} in {len}");
                }
            }
        }
    }

    #[test]
    fn every_octet_is_lowered_as_ascii_is() {
        for octet in 0..=255_u8 {
            for place in 0..8 {
                let mut octets = *b"aZ@[`{\xff\x00";
                octets[place] = octet;
                let lowered = lower_case(u64::from_le_bytes(octets)).to_le_bytes();
                assert_eq!(lowered.to_vec(), octets.to_ascii_lowercase(), "{octet} at {place}");
            }
        }
    }

    #[test]
    fn probes_stay_short() {
        for prefix in ["", "\x05rhumb", "\x03www\x07example\x03com", "a name of more than thirty-two octets"]
        {
            let name = |at: u32| [prefix.as_bytes(), format!("{at:x}").as_bytes(), b"\x04test\x00"].concat();
            let names: Vec<Vec<u8>> = (0..50_000).map(name).collect();
            let index = NameIndex::new(names.iter().map(Vec::as_slice));
            let slots = index.buckets.as_flattened();
            let longest = slots.split(|slot| slot.number == 0).map(<[Slot]>::len).max();
            assert!(longest < Some(64), "{longest:?} slots in a row are full");
        }
    }
}
