//! Division by a number that stays the same: a product and a shift, to the bit what a division gives.
//!
//! With k = ceil(log2(d)) and m = floor(2^(63+k) / d) + 1, which 64 bits hold, m x d exceeds 2^(63+k) by e with
//! 0 < e <= d <= 2^k. So n x m / 2^(63+k) is n / d and less than 1 / d more for all n < 2^63, and the whole
//! parts of both are the same (Granlund and Montgomery, "Division by invariant integers using multiplication").

/// By at least 1 and less than 2^63.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divisor {
    magic: u64,
    shift: u32,
}

impl Divisor {
    /// Nothing counts as 1.
    pub fn new(by: u64) -> Self {
        debug_assert!(by < 1 << 63, "{by}");
        let shift = by.max(1).next_power_of_two().trailing_zeros();
        Self { magic: ((1_u128 << (63 + shift)) / u128::from(by.max(1)) + 1) as u64, shift }
    }

    /// The whole part; `n` is below 2^63.
    #[inline]
    pub fn divide(&self, n: u64) -> u64 {
        debug_assert!(n < 1 << 63, "{n}");
        let product = u128::from(n << 1) * u128::from(self.magic);
        ((product >> 64) as u64) >> self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::SeededRng;

    #[test]
    fn it_divides() {
        let mut rng = SeededRng::new(5);
        let most = (1_u64 << 63) - 1;
        for bits in 0..63 {
            for by in [1 << bits, (1 << bits) + 1, (2 << bits) - 1, (1 << bits) + rng.below(1 << bits)] {
                let by = by.min(most);
                let divisor = Divisor::new(by);
                let last = most / by * by;
                let any = (0..50).map(|_| rng.below(1 << 62) >> rng.below(62)).collect::<Vec<_>>();
                let edges = [0, by - 1, by, last - 1, last, most].into_iter();
                for n in edges.chain(any.iter().copied()).chain(any.iter().map(|n| n / by * by)) {
                    assert_eq!(divisor.divide(n), n / by, "{n} / {by}");
                }
            }
        }
        assert_eq!(Divisor::new(0).divide(7), 7);
    }
}
