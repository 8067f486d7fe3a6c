//! Hashes that are part of the table's meaning: the same on every machine and in every version.
//!
//! A client's slot and a slot's node come from [`mix64`]; changing it moves clients, so it does not
//! change. Hash maps that nobody else sees use foldhash instead. The mixer is the finaliser of
//! SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).

/// A bijective mix of 64 bits.
#[inline]
pub const fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Two values into one well-mixed value; not symmetric.
#[inline]
pub const fn mix_pair(a: u64, b: u64) -> u64 {
    mix_prepared(prepare(a), b)
}

/// What [`mix_prepared`] takes as the first of a pair, for who mixes it with many others.
#[inline]
pub const fn prepare(a: u64) -> u64 {
    mix64(a.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// [`mix_pair`] of a value that was [prepared](prepare) and another.
#[inline]
pub const fn mix_prepared(prepared: u64, b: u64) -> u64 {
    mix64(prepared ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A stable 64-bit hash of bytes (FNV-1a, then mixed), for names.
pub const fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    mix64(hash)
}

/// 128 bits that tell one large content from another, and a damaged one from a whole one.
///
/// Several bytes a clock: a geo database is hashed at each start. Four lanes take a word of 32 bytes
/// each; a step is a bijection of the lane and of the word, so that one changed word always shows.
/// It is no match for somebody who looks for a collision: it guards against damage and mistakes.
pub fn content_hash(bytes: &[u8]) -> [u64; 2] {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [1_u64, 2, 3, 4].map(mix64);
    let mut take = |block: &[u8; 32]| {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
        }
    };
    let (blocks, rest) = bytes.as_chunks::<32>();
    blocks.iter().for_each(&mut take);
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    take(&last);
    let [a, b, c, d] = lanes;
    let length = bytes.len() as u64;
    let low = mix_pair(mix_pair(mix_pair(a, b), mix_pair(c, d)), length);
    [low, mix_pair(mix_pair(mix_pair(d, a), mix_pair(b, c)), !length)]
}

/// A seeded generator (SplitMix64): jitter, synthetic clients, tests. Never for secrets.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.0)
    }

    /// A value in `0..bound`; 0 if `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// A value in `0.0..1.0`.
    pub const fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_pinned_because_clients_would_move() {
        assert_eq!(mix64(1), 0x5692_161d_100b_05e5);
        assert_eq!(SeededRng::new(0).next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_ne!(mix_pair(1, 2), mix_pair(2, 1));
        assert_ne!(stable_hash(b"a"), stable_hash(b"b"));
    }

    #[test]
    fn contents_that_differ_in_one_bit_or_in_length_have_other_hashes() {
        let content: Vec<u8> = (0..100).collect();
        let whole = content_hash(&content);
        for bit in 0..content.len() * 8 {
            let mut bent = content.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let [low, high] = content_hash(&bent);
            assert!(low != whole[0] && high != whole[1], "bit {bit}");
        }
        let zeros = [0; 100];
        let mut hashes: Vec<_> = (0..=zeros.len()).map(|len| content_hash(&zeros[..len])).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 101);
        // It stands in files.
        assert_eq!(content_hash(b"rhumb"), [0xda33_945a_3863_72d0, 0xd8fa_d8c4_d821_5d47]);
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut rng = SeededRng::new(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(rng.below(5)).expect("below five")] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
