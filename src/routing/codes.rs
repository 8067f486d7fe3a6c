//! Every code with which policy and zones can be found to disagree.
//!
//! `docs/diagnostics.md` lists them; a test holds document and table together.

use crate::base::diagnostic::Severity;

pub const OUTSIDE_ZONE: &str = "steered-outside-zone";
pub const AND_STATIC: &str = "steered-and-static";
pub const BELOW_DELEGATION: &str = "steered-below-delegation";
pub const BAD_NAME: &str = "steered-bad-name";
pub const TWICE: &str = "steered-twice";

/// Code, severity, meaning.
pub const ALL: &[(&str, Severity, &str)] = &[
    (OUTSIDE_ZONE, Severity::Error, "a service's hostname is in none of the zones"),
    (AND_STATIC, Severity::Error, "a zone holds a CNAME, A or AAAA record at a steered name"),
    (BELOW_DELEGATION, Severity::Error, "a service's hostname is at or below a delegation to other servers"),
    (BAD_NAME, Severity::Error, "a service's hostname is no domain name"),
    (TWICE, Severity::Error, "two services steer the same hostname"),
];
