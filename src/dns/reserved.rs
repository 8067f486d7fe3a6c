//! Address space that locates nobody: private, reserved, multicast, documentation; and IPv6 space
//! that carries an IPv4 address inside.
//!
//! Two questions are answered of a client's address: may it be located, and how short may a scope
//! be without covering addresses that are treated otherwise. `10.0.0.0/8` is answered by the
//! resolver's address, so an answer for `9.1.2.3` must not claim `8.0.0.0/6`.
//!
//! From the IANA special-purpose registries (RFC 6890); it is not a bogon list and nobody's policy.

/// How an address is treated. Lengths are prefix lengths in the family's own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// A location; no scope shorter than `floor`.
    Global { floor: u8 },
    /// None; everything in the covering prefix of this length is treated alike.
    Reserved { len: u8 },
    /// Located by the IPv4 address inside, which `offset` bits precede in scopes.
    Inside { v4: u32, offset: u8 },
}

const V4: [(u32, u8); 13] = [
    (0x0000_0000, 8),  // this network
    (0x0a00_0000, 8),  // private
    (0x6440_0000, 10), // shared by carrier NAT
    (0x7f00_0000, 8),  // loopback
    (0xa9fe_0000, 16), // link-local
    (0xac10_0000, 12), // private
    (0xc000_0000, 24), // protocol assignments
    (0xc000_0200, 24), // documentation
    (0xc0a8_0000, 16), // private
    (0xc612_0000, 15), // benchmarks
    (0xc633_6400, 24), // documentation
    (0xcb00_7100, 24), // documentation
    (0xe000_0000, 3),  // multicast and reserved
];

/// Within 2000::/3: the upper 64 bits and the length.
const V6: [(u64, u8); 7] = [
    (0x2001_0000_0000_0000, 32), // Teredo
    (0x2001_0002_0000_0000, 48), // benchmarks
    (0x2001_0010_0000_0000, 28), // ORCHID
    (0x2001_0020_0000_0000, 28), // ORCHIDv2
    (0x2001_0db8_0000_0000, 32), // documentation
    (0x2002_0000_0000_0000, 16), // 6to4
    (0x3fff_0000_0000_0000, 20), // documentation
];

/// The first sixteen bits of them all.
const V6_FIRST: [u16; 3] = [0x2001, 0x2002, 0x3fff];

const TEREDO: u64 = 0x2001_0000;
const SIX_TO_FOUR: u64 = 0x2002;
/// ::ffff:0:0/96, and 64:ff9b::/96 (RFC 6052).
const MAPPED: u128 = 0xffff_0000_0000;
const NAT64: u128 = 0x0064_ff9b << 96;
const GLOBAL: u128 = 1 << 125;

/// By first octet: 0..=8 a floor, `WHOLE | len` reserved, `MIXED` for the slow way.
const BY_OCTET: [u8; 256] = by_octet();
const WHOLE: u8 = 0x80;
const MIXED: u8 = 0xff;

const fn by_octet() -> [u8; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = octet_treatment((octet as u32) << 24);
        octet += 1;
    }
    table
}

const fn octet_treatment(bits: u32) -> u8 {
    let mut floor = 0;
    let mut at = 0;
    while at < V4.len() {
        let (block, len) = V4[at];
        let common = (bits ^ block).leading_zeros() as u8;
        if len <= 8 && common >= len {
            return WHOLE | len;
        }
        if common >= 8 || (bits ^ block) >> 24 == 0 {
            return MIXED;
        }
        if common >= floor {
            floor = common + 1;
        }
        at += 1;
    }
    floor
}

/// Treats an IPv4 address.
#[inline(always)]
pub fn treat_v4(bits: u32) -> Treatment {
    match BY_OCTET[(bits >> 24) as usize] {
        MIXED => treat_mixed_v4(bits),
        whole if whole & WHOLE != 0 => Treatment::Reserved { len: whole & !WHOLE },
        floor => Treatment::Global { floor },
    }
}

/// The floor of an IPv4 address whose first octet tells that it is global. `None`: see [`treat_v4`].
#[inline(always)]
pub fn global_v4(bits: u32) -> Option<u8> {
    let floor = BY_OCTET[(bits >> 24) as usize];
    (floor & WHOLE == 0).then_some(floor)
}

fn treat_mixed_v4(bits: u32) -> Treatment {
    let mut floor = 0;
    for (block, len) in V4 {
        let common = (bits ^ block).leading_zeros() as u8;
        if common >= len {
            return Treatment::Reserved { len };
        }
        floor = floor.max(common + 1);
    }
    Treatment::Global { floor }
}

/// Treats an IPv6 address; in place, so that the count of an answer does not hang on the compiler's mood.
#[inline(always)]
pub fn treat_v6(bits: u128) -> Treatment {
    if bits >> 125 != 1 {
        return treat_outside_global(bits);
    }
    let upper = (bits >> 64) as u64;
    let first = (upper >> 48) as u16;
    if V6_FIRST.contains(&first) {
        return treat_near_special(bits, upper);
    }
    let common = V6_FIRST.map(|block| (first ^ block).leading_zeros() as u8);
    Treatment::Global { floor: common.into_iter().fold(2, u8::max) + 1 }
}

fn treat_near_special(bits: u128, upper: u64) -> Treatment {
    let mut floor = 3;
    for (block, len) in V6 {
        let common = (upper ^ block).leading_zeros() as u8;
        if common >= len {
            return treat_special(bits, len);
        }
        floor = floor.max(common + 1);
    }
    Treatment::Global { floor }
}

fn treat_special(bits: u128, len: u8) -> Treatment {
    if (bits >> 112) as u64 == SIX_TO_FOUR {
        return Treatment::Inside { v4: (bits >> 80) as u32, offset: 16 };
    }
    if (bits >> 96) as u64 == TEREDO {
        // The client's own address stands last, inverted (RFC 4380 4).
        return Treatment::Inside { v4: !(bits as u32), offset: 96 };
    }
    Treatment::Reserved { len }
}

fn treat_outside_global(bits: u128) -> Treatment {
    if [MAPPED, NAT64].into_iter().any(|block| bits >> 32 == block >> 32) {
        return Treatment::Inside { v4: bits as u32, offset: 96 };
    }
    let common = [MAPPED, NAT64, GLOBAL].map(|block| (bits ^ block).leading_zeros() as u8);
    Treatment::Reserved { len: common.into_iter().max().unwrap_or(0) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(text: &str) -> Treatment {
        treat_v4(text.parse::<Ipv4Addr>().expect("an address").to_bits())
    }

    fn v6(text: &str) -> Treatment {
        treat_v6(text.parse::<Ipv6Addr>().expect("an address").to_bits())
    }

    #[test]
    fn reserved_space_is_known_by_its_block() {
        for (text, len) in [("10.1.2.3", 8), ("172.31.0.1", 12), ("192.168.9.9", 16), ("239.1.1.1", 3)] {
            assert_eq!(v4(text), Treatment::Reserved { len }, "{text}");
        }
        assert_eq!(v6("2001:db8::1"), Treatment::Reserved { len: 32 });
        assert_eq!(v6("fe80::1"), Treatment::Reserved { len: 1 });
    }

    #[test]
    fn a_global_scope_never_covers_reserved_space() {
        for (text, floor) in
            [("9.9.9.9", 7), ("8.8.8.8", 7), ("11.0.0.1", 8), ("100.0.0.1", 10), ("192.0.1.1", 24)]
        {
            assert_eq!(v4(text), Treatment::Global { floor }, "{text}");
        }
        assert_eq!(v6("2400::1"), Treatment::Global { floor: 6 });
    }

    #[test]
    fn the_table_by_octet_equals_the_slow_way() {
        for octet in 0..=255_u32 {
            for low in [0, 1, 0x0040_0000, 0x00a8_0101, 0x00ff_ffff] {
                let bits = octet << 24 | low;
                assert_eq!(treat_v4(bits), treat_mixed_v4(bits), "{octet} {low:x}");
            }
        }
    }

    #[test]
    fn the_short_way_of_ipv6_equals_the_long_one() {
        for first in 0x2000..=0x3fff_u128 {
            let bits = first << 112 | 0x1234 << 96;
            assert_eq!(treat_v6(bits), treat_near_special(bits, (bits >> 64) as u64), "{first:x}");
        }
        assert!(V6.iter().all(|(block, _)| V6_FIRST.contains(&((block >> 48) as u16))));
    }

    #[test]
    fn an_address_inside_an_address_is_found() {
        let inside = |offset| Treatment::Inside { v4: 0x0102_0304, offset };
        assert_eq!(v6("2002:102:304::9"), inside(16));
        assert_eq!(v6("64:ff9b::1.2.3.4"), inside(96));
        assert_eq!(v6("::ffff:1.2.3.4"), inside(96));
        assert_eq!(v6("2001:0:5:6:7:8:fefd:fcfb"), inside(96));
    }
}
