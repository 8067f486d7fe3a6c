//! Every code with which policy, zones and keys can be found to disagree about signing.
//!
//! `docs/diagnostics.md` lists them; a test holds document and table together.

use crate::base::diagnostic::Severity;

pub const UNKNOWN_ZONE: &str = "signed-zone-unknown";
pub const WITHOUT_KEY: &str = "signed-zone-without-key";
pub const KEYS_UNREADABLE: &str = "keys-unreadable";

/// Code, severity, meaning.
pub const ALL: &[(&str, Severity, &str)] = &[
    (UNKNOWN_ZONE, Severity::Error, "a zone to be signed is none of the zones"),
    (WITHOUT_KEY, Severity::Warning, "a zone to be signed has no key and is served unsigned"),
    (KEYS_UNREADABLE, Severity::Warning, "the keys of signed zones cannot be read"),
];
