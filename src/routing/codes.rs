//! Every code with which policy and zones can be found to disagree.
//!
//! `docs/diagnostics.md` lists them; a test holds document and table together.

use crate::base::diagnostic::Severity;

pub const OUTSIDE_ZONE: &str = "steered-outside-zone";
pub const AND_STATIC: &str = "steered-and-static";
pub const BELOW_DELEGATION: &str = "steered-below-delegation";
pub const BELOW_DNAME: &str = "steered-below-dname";
pub const SHED_CNAME: &str = "shed-cname-misplaced";
pub const TRANSFER_ZONE: &str = "transfer-zone-unknown";

/// Code, severity, meaning.
pub const ALL: &[(&str, Severity, &str)] = &[
    (OUTSIDE_ZONE, Severity::Error, "a service's hostname is in none of the zones"),
    (AND_STATIC, Severity::Error, "a zone holds a CNAME or a record of a steered type at a steered name"),
    (BELOW_DELEGATION, Severity::Error, "a service's hostname is at or below a delegation to other servers"),
    (BELOW_DNAME, Severity::Error, "a service's hostname is below a DNAME, which redirects it elsewhere"),
    (SHED_CNAME, Severity::Error, "newcomers are shed to a CNAME at the apex of a zone or beside other data"),
    (TRANSFER_ZONE, Severity::Error, "a zone to be transferred is none of the zones"),
];
