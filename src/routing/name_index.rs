//! Wire names to positions: the one look-up that every query pays for.
//!
//! ```text
//!  slots, a power of two, at most half full      names, by position
//!  │ 0 │ hash's upper 32 ‖ position + 1 │ 0 │ ─▶ 05 rhumb 04 test 00
//!        linear probing                          compared only if 32 bits of the hash agree
//! ```
//!
//! A map of the standard library costs about twice as much here: it hashes for any key, in any order
//! of insertion and removal, while this table is built once of names that are all known. Not seeded:
//! whoever asks cannot add names, so there is nothing to flood.

/// Multipliers of the folded multiplication: digits of pi, as good as any odd number without pattern.
const FIRST: u64 = 0x243f_6a88_85a3_08d3;
const SECOND: u64 = 0x1319_8a2e_0370_7345;
/// Octets of the longest [`ShortName`].
pub const SHORT: usize = 64;

/// Names, each with the position it was given in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameIndex {
    slots: Box<[u64]>,
    keys: Box<[Key]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// The name in words of eight octets, the last one filled up with zeros.
    words: Box<[u64]>,
    name: Box<[u8]>,
}

/// A name, lower-cased and hashed while it was read.
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

    /// Reads the octets of `message` from `start` to `end`. `None`: longer than [`SHORT`], or not there.
    /// At least seven octets must stand before `start`; a DNS header does.
    #[inline(always)]
    pub fn read(&mut self, message: &[u8], start: usize, end: usize) -> Option<()> {
        let until = message.get(..end)?;
        let name = until.get(start..)?;
        let (whole, rest) = name.as_chunks();
        let mut hash = seed(name.len());
        let mut to = self.words.iter_mut();
        for word in whole {
            let low = lower_case(u64::from_le_bytes(*word));
            *to.next()? = low;
            hash = fold(hash ^ low);
        }
        if !rest.is_empty() {
            // The last eight octets, so that nothing behind the name is read; those before it go.
            let last = u64::from_le_bytes(*until.last_chunk()?) >> (64 - 8 * rest.len());
            let low = lower_case(last);
            *to.next()? = low;
            hash = fold(hash ^ low);
        }
        self.len = name.len();
        self.hash = hash;
        Some(())
    }

    /// Octets of the wire form.
    #[inline]
    pub fn octet_count(&self) -> usize {
        self.len
    }
}

impl NameIndex {
    /// Of distinct lower-case wire names; a name's position is its place in the order given.
    pub fn new<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        let key = |name: &[u8]| Key { words: words(name).collect(), name: name.into() };
        let keys: Box<[Key]> = names.map(key).collect();
        let mut slots = vec![0; (keys.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        let mask = slots.len() - 1;
        for (key, number) in keys.iter().zip(1_u64..) {
            let hash = hash(&key.name);
            let mut at = hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = hash >> 32 << 32 | number;
        }
        Self { slots, keys }
    }

    /// The position of a lower-case wire name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<usize> {
        self.probe(hash(name), |key| *key.name == *name)
    }

    /// As [`get`](Self::get), without another look at the octets.
    #[inline(always)]
    pub fn get_short(&self, name: &ShortName) -> Option<usize> {
        self.probe(name.hash, |key| {
            key.name.len() == name.len
                && key.words.iter().zip(&name.words).all(|(ours, theirs)| ours == theirs)
        })
    }

    #[inline(always)]
    fn probe(&self, hash: u64, is_same: impl Fn(&Key) -> bool) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize;
        loop {
            // Half of the slots are empty, so this ends.
            let slot = *self.slots.get(at & mask)?;
            if slot == 0 {
                return None;
            }
            let position = (slot as u32 as usize).wrapping_sub(1);
            if slot >> 32 == hash >> 32 && self.keys.get(position).is_some_and(&is_same) {
                return Some(position);
            }
            at += 1;
        }
    }

    /// In the order of their positions.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &*key.name)
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
    let (whole, rest) = name.as_chunks();
    let mut state = seed(name.len());
    for word in whole {
        state = fold(state ^ u64::from_le_bytes(*word));
    }
    if rest.is_empty() {
        return state;
    }
    let last = match name.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => words(rest).next().unwrap_or(0),
    };
    fold(state ^ last)
}

#[inline]
const fn seed(len: usize) -> u64 {
    FIRST ^ len as u64
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
    const EACH: u64 = 0x0101_0101_0101_0101;
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
        let names: Vec<Vec<u8>> =
            (0..=255_u8).map(|len| (0..len).map(|at| at % 26 + b'a').collect()).collect();
        let index = NameIndex::new(names.iter().map(Vec::as_slice));
        for (len, name) in names.iter().enumerate() {
            assert_eq!(index.get(name), Some(len));
            let message = [&[0xff; 12], &*name.to_ascii_uppercase(), &[0xff; 4]].concat();
            let mut short = ShortName::EMPTY;
            match short.read(&message, 12, 12 + len) {
                Some(()) => {
                    assert_eq!((index.get_short(&short), short.octet_count()), (Some(len), len));
                    assert_eq!(&short.words.map(u64::to_le_bytes).as_flattened()[..len], name);
                }
                None => assert!(len > SHORT, "{len}"),
            }
            assert!(len > SHORT || short.read(&message[..12 + len], 12, 12 + len).is_some());
            assert!(short.read(&message[..12 + len], 12, 13 + len).is_none());
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
