//! Who is asking, from an address: databases and operator knowledge merged into one flat table.
//!
//! ```text
//!  *.mmdb ─▶ Database::read (refuse or keep) ─┐
//!  later files overlay earlier ones           ├─▶ compile ─▶ GeoTable: address ─▶ group, depth
//!  clients.yaml: lines, areas, overrides ─────┤              ClientGroup per group
//!  countries.csv: continent, principal city ──┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`database`], `tree`, `value` | one MMDB file, verified up front, bounded on any bytes |
//! | [`mod@facts`] | the field layouts operators have, decoded to one struct |
//! | [`countries`] | `countries.csv` |
//! | `overlay`, `attributes` | files, overrides and CIDR lists on top of each other; what policy can tell apart |
//! | [`mod@compile`], `leaves` | the walk over all inputs at once, merging equal siblings as it goes |
//! | [`table`], `trie` | the lookup structure and how it is laid out |
//! | `scope_proof` | that what lookups call one leaf is one |
//! | [`frozen`] | a compiled table as bytes, checked when it is read again |
//! | [`distance`] | great-circle distance and the latency prior |
//! | [`build`] | makes such files from Debian's packages |
//! | [`shipped`] | the databases and countries embedded in the binary |
//! | [`report`] | all that is known of one address, for people |
//!
//! Pure: it takes bytes and text and opens no file. It does not watch, download or update data.

mod attributes;
pub mod build;
pub mod compile;
pub mod countries;
pub mod database;
pub mod distance;
mod error;
pub mod facts;
pub mod frozen;
mod leaves;
mod overlay;
pub mod report;
mod scope_proof;
pub mod shipped;
pub mod table;
mod tree;
mod trie;
mod value;

pub use compile::{Compiled, compile};
pub use countries::Countries;
pub use database::Database;
pub use distance::{distance_km, latency_prior};
pub use error::GeoError;
pub use facts::NetworkFacts;
pub use report::{AddressReport, facts};
pub use table::{GeoTable, Located};

use std::net::{Ipv4Addr, Ipv6Addr};

/// The IPv4 address inside a v4-mapped, 6to4, Teredo or NAT64 (well-known prefix) address.
///
/// Such clients are located by it (RFC 4291 2.5.5.2, RFC 3056, RFC 4380, RFC 6052). The table's IPv6
/// part knows nothing under these prefixes, whatever a database says there.
pub fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    if bits >> 32 == 0xffff || bits >> 32 == 0x0064_ff9b_u128 << 64 {
        Some(low)
    } else if bits >> 112 == 0x2002 {
        Some(Ipv4Addr::from_bits((bits >> 80) as u32))
    } else if bits >> 96 == 0x2001_0000 {
        // Teredo stores the client's address inverted.
        Some(Ipv4Addr::from_bits(!(bits as u32)))
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
