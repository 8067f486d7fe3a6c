//! Record type numbers that code names, and the text of any type.
//!
//! Not a list of all types: the registry's mnemonics come from the `domain` crate.

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const HINFO: u16 = 13;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const RP: u16 = 17;
pub const AAAA: u16 = 28;
pub const LOC: u16 = 29;
pub const SRV: u16 = 33;
pub const NAPTR: u16 = 35;
pub const DNAME: u16 = 39;
pub const OPT: u16 = 41;
pub const DS: u16 = 43;
pub const SSHFP: u16 = 44;
pub const RRSIG: u16 = 46;
pub const NSEC: u16 = 47;
pub const DNSKEY: u16 = 48;
pub const NSEC3: u16 = 50;
pub const NSEC3PARAM: u16 = 51;
pub const TLSA: u16 = 52;
pub const SMIMEA: u16 = 53;
pub const CDS: u16 = 59;
pub const CDNSKEY: u16 = 60;
pub const OPENPGPKEY: u16 = 61;
pub const ZONEMD: u16 = 63;
pub const SVCB: u16 = 64;
pub const HTTPS: u16 = 65;
pub const URI: u16 = 256;
pub const CAA: u16 = 257;

/// The mnemonic, or `TYPEnnn` (RFC 3597 5).
pub fn text(rtype: u16) -> String {
    domain::base::iana::Rtype::from_int(rtype).to_string()
}

/// From a mnemonic in any case, or `TYPEnnn`.
pub fn parse(text: &str) -> Option<u16> {
    text.parse::<domain::base::iana::Rtype>().ok().map(domain::base::iana::Rtype::to_int)
}

/// Query types, OPT and the like, which no zone holds (RFC 6895 3.1).
pub const fn is_meta(rtype: u16) -> bool {
    rtype == 0 || rtype == OPT || matches!(rtype, 128..=255) || rtype == u16::MAX
}
