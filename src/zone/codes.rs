//! Every code a zone file can be refused or warned with.
//!
//! `docs/diagnostics.md` lists them; a test holds document and table together.

use crate::base::diagnostic::Severity;

pub const SYNTAX: &str = "zone-syntax";
pub const UNSUPPORTED: &str = "zone-unsupported";
pub const NO_TTL: &str = "zone-no-ttl";
pub const NO_SOA: &str = "zone-no-soa";
pub const TWO_SOA: &str = "zone-two-soa";
pub const NO_NS: &str = "zone-no-ns";
pub const OUT_OF_ZONE: &str = "zone-out-of-zone";
pub const CNAME_AND_OTHER: &str = "zone-cname-and-other";
pub const DUPLICATE: &str = "zone-duplicate";
pub const TTL: &str = "zone-ttl";
pub const MISSING_GLUE: &str = "zone-missing-glue";
pub const NS_ADDRESS: &str = "zone-ns-address";
pub const OCCLUDED: &str = "zone-occluded";
pub const RRSET_SIZE: &str = "zone-rrset-size";

/// Code, severity, meaning.
pub const ALL: &[(&str, Severity, &str)] = &[
    (SYNTAX, Severity::Error, "an entry of a zone file cannot be read"),
    (UNSUPPORTED, Severity::Error, "a directive, class or record type that rhumb does not serve"),
    (NO_TTL, Severity::Error, "a record has no TTL and the file sets no default"),
    (NO_SOA, Severity::Error, "the zone has no SOA record"),
    (TWO_SOA, Severity::Error, "the file has more than one SOA record"),
    (NO_NS, Severity::Error, "the zone has no NS record at its apex"),
    (OUT_OF_ZONE, Severity::Error, "a record's owner is not in the zone"),
    (CNAME_AND_OTHER, Severity::Error, "a CNAME stands beside other records of its name"),
    (DUPLICATE, Severity::Error, "two files hold the same zone"),
    (TTL, Severity::Warning, "the records of one RRset have different TTLs; the lowest is used"),
    (MISSING_GLUE, Severity::Error, "a delegation names a server below itself without its address"),
    (NS_ADDRESS, Severity::Warning, "an NS record names a host of the zone that has no address in it"),
    (OCCLUDED, Severity::Warning, "a record below a delegation is never answered"),
    (RRSET_SIZE, Severity::Error, "an RRset is too large for any DNS message"),
];
