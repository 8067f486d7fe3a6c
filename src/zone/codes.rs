//! Every code a zone file can be refused or warned with.
//!
//! `docs/diagnostics.md` lists them; a test holds document and table together.

use crate::base::diagnostic::Severity;

pub const SYNTAX: &str = "zone-syntax";
pub const UNSUPPORTED: &str = "zone-unsupported";
pub const INCLUDE: &str = "zone-include";
pub const TOO_LARGE: &str = "zone-too-large";
pub const SVCB: &str = "zone-svcb";
pub const NO_TTL: &str = "zone-no-ttl";
pub const NO_SOA: &str = "zone-no-soa";
pub const TWO_SOA: &str = "zone-two-soa";
pub const NO_NS: &str = "zone-no-ns";
pub const OUT_OF_ZONE: &str = "zone-out-of-zone";
pub const CNAME_AND_OTHER: &str = "zone-cname-and-other";
pub const DNAME: &str = "zone-dname";
pub const WILDCARD: &str = "zone-wildcard";
pub const DUPLICATE: &str = "zone-duplicate";
pub const REPEATED: &str = "zone-repeated";
pub const TTL: &str = "zone-ttl";
pub const MISSING_GLUE: &str = "zone-missing-glue";
pub const NS_ADDRESS: &str = "zone-ns-address";
pub const OCCLUDED: &str = "zone-occluded";
pub const TARGET_ALIAS: &str = "zone-target-alias";
pub const SVCB_ALIAS: &str = "zone-svcb-alias";
pub const RRSET_SIZE: &str = "zone-rrset-size";

/// Code, severity, meaning.
pub const ALL: &[(&str, Severity, &str)] = &[
    (SYNTAX, Severity::Error, "an entry of a zone file cannot be read"),
    (UNSUPPORTED, Severity::Error, "a class or record type that rhumb does not serve"),
    (
        INCLUDE,
        Severity::Error,
        "an included file is missing, outside the folder of zones, or includes itself",
    ),
    (TOO_LARGE, Severity::Error, "includes and $GENERATE make the zone larger than its bound"),
    (
        SVCB,
        Severity::Error,
        "the parameters of an SVCB or HTTPS record are malformed or contradict each other",
    ),
    (NO_TTL, Severity::Error, "a record has no TTL and the file sets no default"),
    (NO_SOA, Severity::Error, "the zone has no SOA record"),
    (TWO_SOA, Severity::Error, "the file has more than one SOA record"),
    (NO_NS, Severity::Error, "the zone has no NS record at its apex"),
    (OUT_OF_ZONE, Severity::Error, "a record's owner is not in the zone"),
    (CNAME_AND_OTHER, Severity::Error, "a CNAME stands beside other records of its name"),
    (DNAME, Severity::Error, "a DNAME stands where it cannot work"),
    (WILDCARD, Severity::Error, "a wildcard name has NS or DNAME records"),
    (DUPLICATE, Severity::Error, "two files hold the same zone"),
    (REPEATED, Severity::Warning, "a record is in the zone twice"),
    (TTL, Severity::Warning, "the records of one RRset have different TTLs; the lowest is used"),
    (MISSING_GLUE, Severity::Error, "a delegation names a server below itself without its address"),
    (NS_ADDRESS, Severity::Warning, "an NS record names a host of the zone that has no address in it"),
    (OCCLUDED, Severity::Warning, "a record below a delegation or a DNAME is never answered"),
    (TARGET_ALIAS, Severity::Warning, "an NS, MX or SRV record names an alias"),
    (
        SVCB_ALIAS,
        Severity::Warning,
        "an SVCB or HTTPS record in alias mode has parameters or other records beside it",
    ),
    (RRSET_SIZE, Severity::Error, "an RRset is too large for any DNS message"),
];
