//! EDNS Client Subnet (RFC 7871): whose address decides, and how far the answer holds.
//!
//! ```text
//!  0      2      3     4
//!  family source scope address, ceil(source / 8) octets, bits past source zero
//!
//!  option                        located by              scope of a steered answer
//!  none                          resolver's address      (no option in the answer)
//!  /0, any of family 0, 1, 2     resolver's address      0
//!  private, reserved             resolver's address      the reserved block
//!  IPv4 inside IPv6              the IPv4 address        bits before it + as below
//!  else                          its own address         max(leaf, hashed prefix, floor)
//! ```

use super::reserved::{Treatment, treat_v4, treat_v6};
use crate::base::prefix::Family;
use std::net::IpAddr;

/// The option is malformed: FORMERR (RFC 7871 7.1.2, 7.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcsError;

/// The option of a query, valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecs<'q> {
    /// The payload as sent: what the answer echoes but for the scope.
    pub payload: &'q [u8],
    /// `None` for family 0.
    pub family: Option<Family>,
    pub source: u8,
    /// Left-aligned.
    pub bits: u128,
}

/// The address that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub family: Family,
    /// Left-aligned.
    pub bits: u128,
    pub scope: ScopeRule,
}

/// How the scope of an answer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeRule {
    /// The client's own address: what the look-up says, not below `floor`, `offset` bits further on.
    Located { floor: u8, offset: u8 },
    /// The resolver's address stood in: the same for all of this scope.
    Resolver { scope: u8 },
}

impl ScopeRule {
    /// The scope of an answer found `depth` bits deep, whose pick hashed `hash_len` bits.
    #[inline(always)]
    pub fn of(self, depth: u8, hash_len: u8) -> u8 {
        match self {
            // At least one bit: scope 0 would speak for the other family too.
            Self::Located { floor, offset } => depth.max(hash_len).max(floor).max(1) + offset,
            Self::Resolver { scope } => scope,
        }
    }
}

impl<'q> Ecs<'q> {
    /// Reads the option's payload.
    #[inline(always)]
    pub fn read(payload: &'q [u8]) -> Result<Self, EcsError> {
        let (&[f0, f1, source, scope], address) = payload.split_first_chunk().ok_or(EcsError)?;
        let (family, longest) = match u16::from_be_bytes([f0, f1]) {
            0 => (None, 0),
            1 => (Some(Family::V4), 32),
            2 => (Some(Family::V6), 128),
            _ => return Err(EcsError),
        };
        let is_sized = address.len() == usize::from(source).div_ceil(8);
        if scope != 0 || source > longest || !is_sized || !is_masked(address, source) {
            return Err(EcsError);
        }
        Ok(Self { payload, family, source, bits: address_bits(payload, address) })
    }

    /// The address in an option, with its head, of an IPv4 /24 at the start of `options`, and what follows
    /// it. `None`: it may be another one.
    #[inline(always)]
    pub(super) fn read_slash24(options: &'q [u8]) -> Option<(u32, &'q [u8])> {
        // Code, length, family, source, scope.
        const HEAD: u64 = 0x0008_0007_0001_1800;
        let (option, rest) = options.split_first_chunk::<11>()?;
        if u64::from_be_bytes(*option.first_chunk()?) != HEAD {
            return None;
        }
        // The scope, which is zero, and the three octets.
        Some((u32::from_be_bytes(*option.last_chunk()?) << 8, rest))
    }

    /// As [`read_slash24`](Self::read_slash24), of an IPv6 /56: the first half of the address.
    #[inline(always)]
    pub(super) fn read_slash56(options: &'q [u8]) -> Option<(u64, &'q [u8])> {
        const HEAD: u64 = 0x0008_000b_0002_3800;
        let (option, rest) = options.split_first_chunk::<15>()?;
        if u64::from_be_bytes(*option.first_chunk()?) != HEAD {
            return None;
        }
        // The scope, which is zero, and the seven octets.
        Some((u64::from_be_bytes(*option.last_chunk()?) << 8, rest))
    }
}

/// Up to sixteen octets, the end of `payload`, as the first of 128 bits. Words that end with the
/// address are read whole and what stands before it is shifted out.
#[inline(always)]
fn address_bits(payload: &[u8], address: &[u8]) -> u128 {
    match (address.len(), payload.last_chunk::<4>(), payload.last_chunk::<8>()) {
        (0, ..) => 0,
        (len @ 1..=4, Some(last), _) => u128::from(u32::from_be_bytes(*last) << (32 - 8 * len)) << 96,
        (len @ 5..=8, _, Some(last)) => u128::from(u64::from_be_bytes(*last) << (64 - 8 * len)) << 64,
        _ => {
            let mut whole = [0; 16];
            let len = address.len().min(whole.len());
            whole[..len].copy_from_slice(&address[..len]);
            u128::from_be_bytes(whole)
        }
    }
}

/// Whether the bits of the last octet past the prefix are zero.
#[inline]
fn is_masked(octets: &[u8], source: u8) -> bool {
    source.is_multiple_of(8) || octets.last().is_none_or(|last| last << (source % 8) == 0)
}

impl Client {
    /// The client of a query: its subnet if it has a usable one, else its resolver.
    #[inline(always)]
    pub fn of(ecs: Option<&Ecs<'_>>, peer: IpAddr) -> Self {
        let Some(Ecs { family: Some(family), source: 1.., bits, .. }) = ecs else {
            return Self::resolver(peer, 0);
        };
        match Self::treat(*family, *bits) {
            Treatment::Global { floor } => {
                Self { family: *family, bits: *bits, scope: ScopeRule::Located { floor, offset: 0 } }
            }
            Treatment::Reserved { len } => Self::resolver(peer, len),
            Treatment::Inside { v4, offset } => match treat_v4(v4) {
                Treatment::Global { floor } => {
                    let scope = ScopeRule::Located { floor, offset };
                    Self { family: Family::V4, bits: u128::from(v4) << 96, scope }
                }
                Treatment::Reserved { len } => Self::resolver(peer, offset + len),
                Treatment::Inside { .. } => Self::resolver(peer, offset + Family::V4.bits()),
            },
        }
    }

    /// Whether it stands for no more than a network that counts as one: it told a /24, or a /48 of IPv6.
    #[inline]
    pub fn is_one_network(&self, ecs: Option<&Ecs<'_>>) -> bool {
        const SHORTEST: [u8; 2] = [24, 48];
        let ScopeRule::Located { offset, .. } = self.scope else { return false };
        ecs.is_some_and(|ecs| ecs.source.saturating_sub(offset) >= SHORTEST[self.family.index()])
    }

    #[inline(always)]
    fn treat(family: Family, bits: u128) -> Treatment {
        match family {
            Family::V4 => treat_v4((bits >> 96) as u32),
            Family::V6 => treat_v6(bits),
        }
    }

    /// The resolver's address is taken as it is: a private one may well be in an operator's override.
    #[inline(always)]
    fn resolver(peer: IpAddr, scope: u8) -> Self {
        let scope = ScopeRule::Resolver { scope };
        let of_v4 = |v4: u32| Self { family: Family::V4, bits: u128::from(v4) << 96, scope };
        match peer {
            IpAddr::V4(v4) => of_v4(v4.to_bits()),
            IpAddr::V6(v6) => match treat_v6(v6.to_bits()) {
                Treatment::Inside { v4, .. } => of_v4(v4),
                _ => Self { family: Family::V6, bits: v6.to_bits(), scope },
            },
        }
    }

    /// The scope of an answer found `depth` bits deep, whose pick hashed `hash_len` bits.
    pub fn scope(&self, depth: u8, hash_len: u8) -> u8 {
        self.scope.of(depth, hash_len)
    }

    /// Whether the client's own subnet decided.
    pub fn is_subnet(&self) -> bool {
        matches!(self.scope, ScopeRule::Located { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_left_aligned() {
        for len in 0..=16 {
            let octets: Vec<u8> = (1..=len).collect();
            let mut whole = [0; 16];
            whole[..octets.len()].copy_from_slice(&octets);
            let payload = [&[0, 2, 0xff, 0][..], &octets].concat();
            assert_eq!(address_bits(&payload, &octets), u128::from_be_bytes(whole), "{len}");
        }
    }

    #[test]
    fn bits_past_the_prefix_are_seen() {
        for source in 0..=128_u8 {
            let len = usize::from(source).div_ceil(8);
            let ones = u128::MAX << (128 - u32::from(source).max(1));
            let bits = if source == 0 { 0 } else { ones };
            assert!(is_masked(&bits.to_be_bytes()[..len], source), "{source}");
            if source % 8 != 0 {
                let past = bits | 1 << (127 - source);
                assert!(!is_masked(&past.to_be_bytes()[..len], source), "{source}");
            }
        }
    }

    #[test]
    fn only_exact_options_are_read() {
        let good: [&[u8]; 5] = [
            &[0, 0, 0, 0],
            &[0, 1, 0, 0],
            &[0, 1, 24, 0, 1, 2, 3],
            &[0, 2, 3, 0, 0x20],
            &[0, 1, 9, 0, 1, 128],
        ];
        for payload in good {
            assert!(Ecs::read(payload).is_ok(), "{payload:?}");
        }
        let bad: [&[u8]; 9] = [
            &[],
            &[0, 1, 24],
            &[0, 0, 8, 0, 1],
            &[0, 3, 0, 0],
            &[0, 1, 33, 0, 1, 2, 3, 4, 0],
            &[0, 1, 24, 0, 1, 2],
            &[0, 1, 24, 0, 1, 2, 3, 4],
            &[0, 1, 24, 1, 1, 2, 3],
            &[0, 1, 23, 0, 1, 2, 3],
        ];
        for payload in bad {
            assert_eq!(Ecs::read(payload), Err(EcsError), "{payload:?}");
        }
    }
}
