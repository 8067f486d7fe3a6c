//! Wire names to positions: the one look-up that every query pays for.
//!
//! ```text
//!  slots, a power of two, at most a quarter full keys, by position: a cache line each
//!  │ 0 │ hash's upper 32 ‖ position + 1 │ 0 │ ─▶ 05 rhumb 04 test 00 ┄ zeros, in words of eight octets
//!        linear probing                          compared only if 32 bits of the hash agree
//! ```
//!
//! A map of the standard library costs about twice as much here: it hashes for any key, in any order
//! of insertion and removal, while this table is built once of names that are all known. Not seeded:
//! whoever asks cannot add names, so there is nothing to flood.
//!
//! A question's name is read up to its first zero octet, eight at a time, without a look at its labels.
//! A name in the table is whole, so one that equals it octet by octet has the same labels; of one that
//! is not found nothing is known yet, not even where it ends.

/// What hashes start from and are multiplied with: digits of pi, as good as any odd number without
/// pattern.
const FIRST: u64 = 0x243f_6a88_85a3_08d3;
const SECOND: u64 = 0x1319_8a2e_0370_7345;
/// Octets of the longest [`ShortName`].
pub const SHORT: usize = 64;
/// Words of a name that stand in its key.
const NEAR: usize = 4;
const EACH: u64 = 0x0101_0101_0101_0101;

/// Names, each with the position it was given in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameIndex {
    slots: Box<[u64]>,
    keys: Box<[Key]>,
    names: Box<[Box<[u8]>]>,
}

/// A name in words of eight octets, filled up with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(64))]
struct Key {
    near: [u64; NEAR],
    len: usize,
    /// What does not fit `near`.
    far: Box<[u64]>,
}

/// The octets of a message up to a zero, lower-cased and hashed while they were read.
#[derive(Clone, Copy, Debug)]
pub struct ShortName {
    /// As in the index.
    words: [u64; SHORT / 8],
    len: usize,
    hash: u64,
}

impl ShortName {
    /// To be [`read`](Self::read): in two steps, so that it is not moved.
    pub const EMPTY: Self = Self { words: [0; SHORT / 8], len: 0, hash: 0 };

    /// Reads the octets of `message` from `start` up to its first zero, and gives the offset after that.
    /// `None`: more than [`SHORT`], or there is none. To be called once.
    #[inline(always)]
    pub fn read(&mut self, message: &[u8], start: usize) -> Option<usize> {
        let (words, rest) = message.get(start..)?.as_chunks();
        let (mut at, mut hash) = (0, FIRST);
        for word in words {
            let word = u64::from_le_bytes(*word);
            let to = self.words.get_mut(at / 8)?;
            let zeros = zero_octets(word);
            if zeros != 0 {
                *to = before_zero(word, zeros);
                let hash = step(hash, *to);
                return Some(start + self.end(at, zeros, hash));
            }
            *to = lower_case(word);
            hash = step(hash, *to);
            at += 8;
        }
        // Octets past the end are none of the name's.
        let word = last_word(message, rest.len())? | u64::MAX << (8 * rest.len());
        let (to, zeros) = (self.words.get_mut(at / 8)?, zero_octets(word));
        *to = before_zero(word, zeros);
        let hash = step(hash, *to);
        (zeros != 0).then(|| start + self.end(at, zeros, hash))
    }

    /// Octets of all, if the last word is that at `at`.
    #[inline(always)]
    fn end(&mut self, at: usize, zeros: u64, hash: u64) -> usize {
        self.hash = fold(hash);
        self.len = at + (zeros.trailing_zeros() / 8) as usize + 1;
        self.len
    }

    /// Octets, the zero with them.
    #[inline]
    pub fn octet_count(&self) -> usize {
        self.len
    }
}

/// The lowest bit that is set is the highest of the first octet that is zero.
#[inline(always)]
const fn zero_octets(word: u64) -> u64 {
    word.wrapping_sub(EACH) & !word & (EACH * 0x80)
}

/// In lower case what stands before the zero octet.
#[inline(always)]
const fn before_zero(word: u64, zeros: u64) -> u64 {
    lower_case(word & (zeros & zeros.wrapping_neg()).wrapping_sub(1))
}

/// The last `len` octets of a message, fewer than eight.
#[cold]
fn last_word(message: &[u8], len: usize) -> Option<u64> {
    let shift = (64 - 8 * len as u32) & 63;
    match message.last_chunk() {
        Some(last) if len > 0 => Some(u64::from_le_bytes(*last) >> shift),
        _ => None,
    }
}

impl NameIndex {
    /// Of distinct lower-case wire names; a name's position is its place in the order given.
    pub fn new<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        let names: Box<[Box<[u8]>]> = names.map(Box::from).collect();
        let keys: Box<[Key]> = names.iter().map(|name| Key::of(name)).collect();
        let mut slots = vec![0; (names.len() * 4).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (name, number) in names.iter().zip(1_u64..) {
            let hash = hash(name);
            let mut at = hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = hash >> 32 << 32 | number;
        }
        Self { slots, keys, names }
    }

    /// The position of a lower-case wire name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<usize> {
        self.probe(hash(name), |at| self.names.get(at).is_some_and(|held| **held == *name))
    }

    /// As [`get`](Self::get), without another look at the octets.
    #[inline(always)]
    pub fn get_short(&self, name: &ShortName) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = name.hash as usize;
        loop {
            // Most slots are empty, so this ends.
            let slot = *self.slots.get(at & mask)?;
            if slot >> 32 == name.hash >> 32 && slot != 0 {
                let position = (slot as u32 as usize).wrapping_sub(1);
                return if self.keys.get(position)?.is_near(name) {
                    Some(position)
                } else {
                    self.get_far(name)
                };
            }
            if slot == 0 {
                return None;
            }
            at = at.wrapping_add(1);
        }
    }

    /// Of a long name, or of one that shares half of its hash with another.
    #[inline(never)]
    fn get_far(&self, name: &ShortName) -> Option<usize> {
        self.probe(name.hash, |at| self.keys.get(at).is_some_and(|key| key.is(name)))
    }

    #[inline(always)]
    fn probe(&self, hash: u64, is_same: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize;
        loop {
            // Most slots are empty, so this ends.
            let slot = *self.slots.get(at & mask)?;
            if slot == 0 {
                return None;
            }
            let position = (slot as u32 as usize).wrapping_sub(1);
            if slot >> 32 == hash >> 32 && is_same(position) {
                return Some(position);
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
        let mut words = words(name);
        let near = std::array::from_fn(|_| words.next().unwrap_or(0));
        Self { near, len: name.len(), far: words.collect() }
    }

    /// The same name, and no word is far.
    #[inline(always)]
    fn is_near(&self, name: &ShortName) -> bool {
        let (near, _) = name.words.split_at(NEAR);
        // Lengths differ where a label holds a zero octet.
        self.len == name.len && self.near == *near && self.far.is_empty()
    }

    fn is(&self, name: &ShortName) -> bool {
        let (near, far) = name.words.split_at(NEAR);
        self.len == name.len
            && self.near == *near
            && self.far.iter().zip(far).all(|(ours, theirs)| ours == theirs)
    }
}

/// Little-endian words of eight octets, the last one filled up with zeros.
#[inline]
fn words(name: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = name.as_chunks();
    let tail = rest.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain((!rest.is_empty()).then_some(tail))
}

#[inline]
fn hash(name: &[u8]) -> u64 {
    fold(words(name).fold(FIRST, step))
}

/// Takes in a word: its upper bits reach the lower ones with the last [`fold`].
#[inline(always)]
const fn step(state: u64, word: u64) -> u64 {
    (state.rotate_left(5) ^ word).wrapping_mul(SECOND)
}

#[inline]
const fn fold(state: u64) -> u64 {
    let product = state as u128 * SECOND as u128;
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
    fn names_of_every_length_are_told_apart_in_both_ways() {
        let octets = |len: u8| (1..len).map(|at| at % 26 + b'a').chain([0]).collect();
        let names: Vec<Vec<u8>> = (1..=255_u8).map(octets).collect();
        let index = NameIndex::new(names.iter().map(Vec::as_slice));
        for (at, name) in names.iter().enumerate() {
            assert_eq!(index.get(name), Some(at));
            // With other octets behind it, and at the very end.
            for rest in 0..10 {
                let message = [&[0xff; 12], &*name.to_ascii_uppercase(), &vec![0xff; rest]].concat();
                let mut short = ShortName::EMPTY;
                match short.read(&message, 12) {
                    Some(end) => {
                        assert_eq!(end, 12 + name.len());
                        assert_eq!((index.get_short(&short), short.octet_count()), (Some(at), name.len()));
                        assert_eq!(&short.words.map(u64::to_le_bytes).as_flattened()[..name.len()], name);
                    }
                    None => assert!(name.len() > SHORT, "{}", name.len()),
                }
                let mut cut = ShortName::EMPTY;
                assert_eq!(cut.read(&message[..11 + name.len()], 12), None, "no zero octet");
            }
        }
    }

    #[test]
    fn a_zero_octet_in_a_label_ends_no_name_of_the_table() {
        // The label holds a zero octet; its first octets look like a name.
        let whole = b"\x03a\x00b\x00";
        let index = NameIndex::new([&whole[..], b"\x01\x00\x00"].into_iter());
        for (name, end) in [(&whole[..], 15), (b"\x01\x00\x00", 14)] {
            let message = [&[0xff; 12], name, &[0xff; 8]].concat();
            let mut short = ShortName::EMPTY;
            assert_eq!(short.read(&message, 12), Some(end));
            assert_eq!(index.get_short(&short), None, "it is looked for the long way");
            assert!(index.get(name).is_some());
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
        let names: Vec<Vec<u8>> = (0..50_000_u32).map(|at| format!("{at:x}").into_bytes()).collect();
        let index = NameIndex::new(names.iter().map(Vec::as_slice));
        let longest = index.slots.split(|slot| *slot == 0).map(<[u64]>::len).max();
        assert!(longest < Some(64), "{longest:?} slots in a row are full");
    }
}
