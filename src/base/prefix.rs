//! Address families and 128-bit prefix arithmetic shared by geo, DNS and policy.
//!
//! A [`Prefix`] keeps its address left-aligned in 128 bits whatever the family, so that one set of
//! shifts serves both. Host bits are always zero.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP version; the discriminants index per-family arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Bits in an address of this family.
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    pub const fn other(self) -> Self {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }

    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// An address as 128 bits, left-aligned: the IPv4 address 1.2.3.4 is `0x01020304 << 96`.
pub const fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => (v4.to_bits() as u128) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// `bits` with all but the first `len` cleared; `len` up to 128.
pub const fn masked(bits: u128, len: u8) -> u128 {
    if len == 0 { 0 } else { bits & (u128::MAX << (128 - len as u32)) }
}

/// A network: family, left-aligned bits with host bits zero, length in the family's own terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    family: Family,
    bits: u128,
    len: u8,
}

impl Prefix {
    /// Masks host bits away and clamps the length to the family's.
    pub const fn new(family: Family, bits: u128, len: u8) -> Self {
        let max = family.bits();
        let len = if len > max { max } else { len };
        Self { family, bits: masked(bits, len), len }
    }

    pub const fn of(address: IpAddr, len: u8) -> Self {
        Self::new(Family::of(address), left_aligned(address), len)
    }

    pub const fn family(self) -> Family {
        self.family
    }

    /// Left-aligned, host bits zero.
    pub const fn bits(self) -> u128 {
        self.bits
    }

    #[allow(clippy::len_without_is_empty, reason = "a prefix length, not a size")]
    pub const fn len(self) -> u8 {
        self.len
    }

    pub const fn contains(self, address: IpAddr) -> bool {
        self.family as u8 == Family::of(address) as u8 && masked(left_aligned(address), self.len) == self.bits
    }

    /// Whether every address of `other` is in this prefix.
    pub const fn covers(self, other: Prefix) -> bool {
        self.family as u8 == other.family as u8
            && self.len <= other.len
            && masked(other.bits, self.len) == self.bits
    }

    /// The network address.
    pub const fn address(self) -> IpAddr {
        match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits((self.bits >> 96) as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(self.bits)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ipnet::IpNet> for Prefix {
    fn from(net: ipnet::IpNet) -> Self {
        Self::of(net.addr(), net.prefix_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_masks_compares_and_prints() {
        let net = Prefix::of("10.1.2.3".parse().expect("address"), 16);
        assert_eq!(net.to_string(), "10.1.0.0/16");
        assert!(net.contains("10.1.255.255".parse().expect("address")));
        assert!(!net.contains("10.2.0.0".parse().expect("address")));
        assert!(!net.contains("::a01:0".parse().expect("address")));
        assert!(net.covers(Prefix::of("10.1.9.0".parse().expect("address"), 24)));
        assert_eq!(Prefix::of("::1".parse().expect("address"), 200).to_string(), "::1/128");
        assert_eq!(Prefix::of("9.9.9.9".parse().expect("address"), 0).to_string(), "0.0.0.0/0");
    }
}
